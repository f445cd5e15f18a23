"""How attempts ended, recorded for many transmissions at once, inside the writer's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, assert_never

from django.db.models import F

from zegel.core.clock import Instant
from zegel.core.mail.dsn import wants
from zegel.core.policy.carriage import (
    Accepted,
    Bounce,
    Cause,
    Done,
    LargePartsBecomeLinks,
    Next,
    NextHost,
    NextStep,
    Outcome,
    RetryAt,
    close,
)
from zegel.core.policy.destinations import Later
from zegel.core.policy.precedence import Undeliverable
from zegel.core.policy.retry import is_warning_due
from zegel.core.policy.webhooks import Event
from zegel.edge import rows
from zegel.journey import milestones, steps
from zegel.journey.custody import forgetting, jobs, outbox
from zegel.journey.custody.jobs import Leased
from zegel.journey.custody.models import Attempt, Confirmation, Recipient, Transmission
from zegel.journey.delivery import answers
from zegel.journey.delivery.connection import Evidence
from zegel.journey.delivery.tasks import Addressee, Kind, Outgoing, Task


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt, to be recorded."""

    at: Instant
    outcome: Outcome
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Ending:
    """How making a transmission ended, for now."""

    task: Task
    tried: Sequence[Tried]
    follows: Next | Later


def record(ended: Sequence[Ending], *, now: Instant) -> None:
    """Inside a transaction: attempts, and what follows from them. Raises ``LeaseLost``."""
    done = [one for one in ended if not isinstance(one.follows, RetryAt | Later)]
    jobs.finish(*(one.task.leased for one in done))
    _keep_attempts(ended)
    _sent([one for one in done if isinstance(one.follows, Done)], now)
    for one in ended:
        match one.follows:
            case RetryAt(delay=delay):
                jobs.postpone(one.task.leased, until=now + delay)
                _retried(one.task, now)
            case Later(at=at):
                jobs.postpone(one.task.leased, until=at)
                _put_off(one.task, now)
            case NextStep() | Bounce():
                _failed(one.task, one.follows, now)
            case Done():
                pass
            case NextHost() | LargePartsBecomeLinks():
                raise AssertionError("carried out, not recorded")
            case unreachable:
                assert_never(unreachable)


def _keep_attempts(ended: Sequence[Ending]) -> None:
    """Of who was erased while a server was asked, what it answered is kept without its text."""
    mails = [one.task.transmission.id for one in ended if one.tried]
    nameless = forgetting.nameless(mails) if mails else frozenset()
    found = [
        _attempt(one.task.transmission, tried, is_nameless=one.task.transmission.id in nameless)
        for one in ended
        for tried in one.tried
    ]
    rows.insert(Attempt, _ATTEMPT, found)


def drop(leased: Leased) -> None:
    """Inside a transaction: there is nothing to be sent any more. With the mail goes its copy of the link's secret."""
    jobs.finish(leased)
    values = (Transmission.State.FAILED.value, None, leased.subject)
    rows.update(Transmission, ("state", "sealed"), [values], where="state = 'queued'")


def _retried(task: Task, now: Instant) -> None:
    found = Transmission.objects.filter(id=task.transmission.id)
    found.update(tries=F("tries") + 1, warned=_warned(task, now))


def _put_off(task: Task, now: Instant) -> None:
    """This was no try; time goes by all the same."""
    if _warned(task, now) != task.transmission.warned:
        Transmission.objects.filter(id=task.transmission.id).update(warned=True)


def _warned(task: Task, now: Instant) -> bool:
    """The sender hears once for each recipient that it takes long (RFC 3464 §2.3.3: ``delayed``)."""
    transmission = task.transmission
    due = task.plan is not None and is_warning_due(task.retries, age=task.age, warned=transmission.warned)
    if due and transmission.recipient is not None:
        recipient = transmission.recipient.id
        if not Transmission.objects.filter(recipient=recipient, warned=True).exists():
            milestones.delayed([recipient], now=now)
    return transmission.warned or due


def _sent(ended: Sequence[Ending], now: Instant) -> None:
    """With the sealed mail goes the last copy of the link's secret that we had. Who asked to hear of success hears it
    from us, or from the server that was asked to report it (RFC 3461 §5.2.2 b, §5.2.1 c)."""
    sent = [one.task.transmission for one in ended]
    confirmed = [one.task.transmission.recipient for one in ended if _will_be_confirmed(one)]
    told_later = frozenset(one.id for one in confirmed if one is not None)
    rows.insert(Confirmation, ("recipient_id",), [(one,) for one in told_later], unless_there=True)
    for one in sent:
        days = _days_until_reminder(one)
        if days is not None and one.recipient is not None:
            milestones.notified([one.recipient.id], remind=now + timedelta(days=days))
    reached = [
        (one.recipient, _REACHED[one.kind]) for one in sent if one.recipient is not None and one.kind in _REACHED
    ]
    told_now = [one.id for one, _ in reached if _wants_success(one) and one.id not in told_later]
    milestones.relayed(told_now, now=now)
    values = [(Transmission.State.SENT.value, one.tries + 1, None, one.id) for one in sent]
    rows.update(Transmission, ("state", "tries", "sealed"), values)
    for event, state in _HEARD.items():
        outbox.reached(event, [one.id for one, to in reached if to == state], now=now, standing=_ON_ITS_WAY)
    rows.update(
        Recipient,
        ("state", "delivered_at"),
        [(state, now, recipient.id) for recipient, state in reached],
        where="state = 'decided'",
    )


def _failed(task: Task, follows: NextStep | Bounce, now: Instant) -> None:
    transmission = task.transmission
    values = (Transmission.State.FAILED.value, transmission.tries + 1, None, transmission.id)
    rows.update(Transmission, ("state", "tries", "sealed"), [values])
    if transmission.kind == Kind.READABLE_ANSWER and isinstance(follows, NextStep):
        answers.fall_back(transmission.id, now=now)
    if task.plan is None or transmission.recipient is None:
        if transmission.kind == Kind.CODE and follows.why is Cause.LEVEL_NOT_REACHED:
            milestones.code_withheld(transmission.id, now=now)
        return
    recipient = Recipient.objects.select_related("submission__account").get(id=transmission.recipient.id)
    if recipient.state != Recipient.State.DECIDED:
        return
    bounce: Bounce | None = follows if isinstance(follows, Bounce) else None
    if isinstance(follows, NextStep):
        next_step = task.plan.steps[transmission.step + 1]
        if isinstance(next_step, Undeliverable):
            recipient.step = transmission.step + 1
            bounce = close(next_step, follows)
    if bounce is None:
        steps.begin_all([steps.Begun(steps.UnderWay.of(recipient), task.plan, transmission.step + 1)], now=now)
    else:
        steps.give_up(recipient, status=bounce.status, reason=bounce.why.value, now=now)


def _days_until_reminder(transmission: Outgoing) -> int | None:
    """``None``: nobody is reminded of it."""
    if transmission.kind != Kind.NOTIFICATION or transmission.recipient is None:
        return None
    return transmission.recipient.conversation.remind_after_days


def _will_be_confirmed(ended: Ending) -> bool:
    return any(isinstance(one.outcome, Accepted) and one.outcome.confirms for one in ended.tried)


def _wants_success(recipient: Addressee) -> bool:
    """RFC 3461 §4.1."""
    return bool(recipient.notify) and wants(frozenset(recipient.notify.split(",")), "relayed")


_REACHED: Final[dict[str, str]] = {
    Kind.READABLE.value: Recipient.State.DELIVERED.value,
    Kind.NOTIFICATION.value: Recipient.State.NOTIFIED.value,
}
_HEARD: Final = {
    Event.DELIVERED: Recipient.State.DELIVERED.value,
    Event.NOTIFIED: Recipient.State.NOTIFIED.value,
}
_ON_ITS_WAY: Final = (Recipient.State.DECIDED.value,)
_ATTEMPT: Final = (
    "transmission_id",
    "at",
    "host",
    "address",
    "outcome",
    "stage",
    "reply",
    "tls",
    "authentication",
    "protocol",
    "cipher",
    "key_exchange",
    "certificate",
    "named_by",
)


def _attempt(transmission: Outgoing, tried: Tried, *, is_nameless: bool) -> tuple[Any, ...]:
    evidence = tried.evidence
    reply = _kept(evidence.detail, transmission, tried.outcome)
    stage = getattr(tried.outcome, "stage", None)
    return (
        transmission.id,
        tried.at,
        evidence.host,
        evidence.address,
        type(tried.outcome).__name__,
        stage.name.lower() if stage else "",
        forgetting.code_alone(reply) if is_nameless else reply,
        int(evidence.security.tls),
        int(evidence.security.authentication),
        evidence.protocol,
        evidence.cipher,
        evidence.key_exchange,
        steps.printable(evidence.certificate)[:500],
        evidence.named_by,
    )


def _kept(detail: str, transmission: Outgoing, outcome: Outcome) -> str:
    """What of a reply is stored, shown and reported. A server that refuses a mail may quote it: no link's secret and
    no code comes back that way."""
    reply = getattr(outcome, "reply", None)
    if reply is not None and (transmission.kind == Kind.CODE or steps.quotes(detail, transmission.secret)):
        detail = f"{reply.code} {reply.status or ''}".strip()
    return steps.without_links(detail)[:500]
