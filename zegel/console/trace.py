"""The way of a message as it is shown: what was decided for each recipient, why, and what happened then.

Reads metadata alone. Nothing here can open content: there is no import that could.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from zegel.accounts.models import Organisation
from zegel.console import words
from zegel.console.words import Badge, Words
from zegel.core.clock import Instant
from zegel.core.policy.explain import compared, facts, gives_the_same_today, said_in
from zegel.core.policy.precedence import (
    PRECEDENCE,
    Hold,
    Notify,
    Plan,
    Readable,
    Step,
    Undeliverable,
    UnknownPlan,
    plan_from_json,
    replay,
)
from zegel.journey.custody.models import Attempt, MethodRequest, Recipient, SenderAct, Submission, Transmission


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the precedence table, and what it had to say."""

    rank: int
    name: str
    hit: bool
    why: str


@dataclass(frozen=True, slots=True)
class Because:
    """The facts behind a decision, and what the tables say of them when asked again."""

    facts: tuple[str, ...]
    compared: tuple[str, ...]
    is_same: bool


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step of the plan, and whether it was reached."""

    words: str
    mark: str  # done, current, failed, skipped: a class of the list


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt with its evidence."""

    attempt: Attempt
    carries: Words
    outcome: Badge
    authentication: Words
    because: str  # where the reply is a code of ours


@dataclass(frozen=True, slots=True)
class Moment:
    """A point on the way."""

    at: Instant | None
    words: str
    mark: str


@dataclass(frozen=True, slots=True)
class RecipientTrace:
    """All that is known of one recipient's message, without its content."""

    recipient: Recipient
    state: Badge
    method: Words
    reason: str
    moments: tuple[Moment, ...]
    steps: tuple[PlannedStep, ...]
    rows: tuple[Row, ...]
    because: Because | None  # ``None``: nothing was decided, or no facts were stored with it
    tried: tuple[Tried, ...]


def of_submission(organisation: Organisation, submission: Submission) -> tuple[RecipientTrace, ...]:
    """One trace for each recipient, in the order of their addresses."""
    recipients = Recipient.objects.filter(submission=submission, conversation__organisation=organisation)
    found = recipients.prefetch_related("transmissions__attempts", "acts__account").order_by("key")
    return tuple(_of_recipient(recipient, submission) for recipient in found)


def _of_recipient(recipient: Recipient, submission: Submission) -> RecipientTrace:
    plan = _plan(recipient)
    transmissions = sorted(recipient.transmissions.all(), key=lambda one: one.id)
    return RecipientTrace(
        recipient,
        words.state(recipient.state),
        words.method(recipient.method),
        words.reason(recipient.reason) if recipient.reason else "",
        _moments(recipient, submission),
        tuple(_planned(index, step, recipient) for index, step in enumerate(plan.steps)) if plan else (),
        tuple(Row(one.rank, _row_name(one.rank), one.hit, words.said(one.why)) for one in plan.findings)
        if plan
        else (),
        _because(recipient),
        tuple(_tried(attempt, transmission) for transmission in transmissions for attempt in _attempts(transmission)),
    )


def _plan(recipient: Recipient) -> Plan | None:
    """``None`` before the decision, and for a plan that another version stored."""
    try:
        return plan_from_json(recipient.plan) if recipient.plan else None
    except (UnknownPlan, KeyError):
        return None


def _because(recipient: Recipient) -> Because | None:
    try:
        replayed = replay(recipient.plan or {})
    except (ValueError, KeyError):  # of another version
        return None
    language = get_language() or ""
    return Because(
        tuple(said_in(language, fact) for fact in facts(replayed.case)),
        tuple(said_in(language, sentence) for sentence in compared(replayed)),
        gives_the_same_today(replayed),
    )


def _row_name(rank: int) -> str:
    row = next(row for row in PRECEDENCE if row.rank == rank)
    return row.naam if get_language() == "nl" else row.name


def _planned(index: int, step: Step, recipient: Recipient) -> PlannedStep:
    if index > recipient.step:
        mark = "skipped" if recipient.state in _FINAL else ""
    elif index < recipient.step:
        mark = "failed"
    else:
        mark = {**_MARKS, Recipient.State.DECIDED: "current"}.get(recipient.state, "done")
    return PlannedStep(_step_words(step), mark)


_FINAL = frozenset({Recipient.State.DELIVERED, Recipient.State.OPENED, Recipient.State.UNDELIVERABLE})
_MARKS: dict[str, str] = {
    Recipient.State.ACCEPTED: "",
    Recipient.State.HELD: "current",
    Recipient.State.UNDELIVERABLE: "failed",
}


def _step_words(step: Step) -> str:
    match step:
        case Readable(needs=needs, over_nta=True):
            return _("Readable message to the NTA 7516 servers, over at least: %(level)s") % {
                "level": words.level(needs)
            }
        case Readable(needs=needs):
            return _("Readable message, over at least: %(level)s") % {"level": words.level(needs)}
        case Notify(method=method, masked=masked):
            shown = f"{words.method(method.value)} {masked or ''}".strip()
            return _("Notification; opens with: %(method)s") % {"method": shown}
        case Hold(required=required):
            methods = ", ".join(sorted(str(words.method(one.value)) for one in required))
            return _("Held until one of these is known: %(methods)s") % {"methods": methods}
        case Undeliverable(why=why):
            return _("Report to the sender: %(reason)s") % {"reason": words.said(why)}
        case unreachable:
            assert_never(unreachable)


def _attempts(transmission: Transmission) -> list[Attempt]:
    return sorted(transmission.attempts.all(), key=lambda one: one.pk)


def _tried(attempt: Attempt, transmission: Transmission) -> Tried:
    return Tried(
        attempt,
        words.kind(transmission.kind),
        words.outcome(attempt.outcome),
        words.authentication(attempt.authentication),
        words.of_nta(attempt.reply),
    )


def _shared_readings(recipient: Recipient) -> list[Moment]:
    """Where the recipient is a functional mailbox: which of its readers opened it."""
    found = recipient.conversation.shared_readings.filter(mailbox__key=recipient.key).select_related("account")
    return [
        Moment(one.first_at, _("Read by %(who)s, for this mailbox") % {"who": one.account.email}, "done")
        for one in found.order_by("first_at", "id")
    ]


def _acts(recipient: Recipient) -> list[Moment]:
    """What the sender did about it: for this recipient, or for the whole conversation."""
    own = list(recipient.acts.all())
    of_all = recipient.conversation.acts.filter(recipient=None).select_related("account")
    return [
        Moment(act.at, _act_words(act), "done") for act in sorted([*own, *of_all], key=lambda act: (act.at, act.id))
    ]


def _act_words(act: SenderAct) -> str:
    who = {"who": act.account.email if act.account else _("an account that is gone")}
    match SenderAct.Kind(act.kind):
        case SenderAct.Kind.REVOKED:
            return _("Revoked by %(who)s") % who
        case SenderAct.Kind.EXPIRY if act.until is None:
            return _("Changed by %(who)s: it does not expire") % who
        case SenderAct.Kind.EXPIRY:
            until = date_format(timezone.localtime(act.until), "j F Y H:i")
            return _("Changed by %(who)s: it expires on %(until)s") % {**who, "until": until}
        case SenderAct.Kind.AGAIN:
            return _("Notified once more, asked by %(who)s") % who
        case unreachable:
            assert_never(unreachable)


def _other_methods(recipient: Recipient) -> list[Moment]:
    """What the recipient could not use, and what the sender made of it."""
    moments = []
    for one in recipient.method_requests.order_by("at", "id"):
        if one.why:
            could_not = _("The recipient could not use this method, and the sender was told: %(method)s")
            moments.append(Moment(one.at, could_not % {"method": words.method(one.method)}, "done"))
        elif not one.method:
            shut = _("Restored from before another method was allowed: nothing opens it until one is allowed again")
            moments.append(Moment(one.at, shut, "done"))
        if one.answer == MethodRequest.Answer.ALLOWED:
            other = f"{words.method(one.other)} {one.masked}".strip()
            allowed = _("The sender allowed another method: %(method)s") % {"method": other}
            moments.append(Moment(one.answered_at, allowed, "done"))
        elif one.answer == MethodRequest.Answer.REFUSED:
            moments.append(Moment(one.answered_at, _("The sender allowed no other method"), "done"))
    return moments


def _moments(recipient: Recipient, submission: Submission) -> tuple[Moment, ...]:
    """Accepted, decided, notified or delivered, opened: those that were reached, and the next one."""
    state = recipient.state
    moments = [Moment(submission.accepted_at, _("Accepted: durable and sealed"), "done")]
    if recipient.decided_at:
        moments.append(Moment(recipient.decided_at, _("Decided: the plan below"), "done"))
    else:
        moments.append(Moment(None, _("Awaits the decision"), "current"))
    if state == Recipient.State.HELD:
        moments.append(Moment(None, _("Held: something that policy demands is not known"), "current"))
    elif state == Recipient.State.DECIDED:
        moments.append(Moment(None, _("On its way to the receiving server"), "current"))
    if recipient.delivered_at:
        delivered = (
            _("Delivered: the receiving server took the readable message; whether it was opened is unknown")
            if state == Recipient.State.DELIVERED
            else _("Notified: the receiving server took the notification")
        )
        moments.append(Moment(recipient.delivered_at, delivered, "done"))
    if recipient.opened_at:
        opened = _("Opened after verification: %(method)s") % {"method": words.method(recipient.opened_with)}
        moments.append(Moment(recipient.opened_at, opened, "done"))
    elif state == Recipient.State.NOTIFIED:
        moments.append(Moment(None, _("Not opened yet"), "current"))
    moments += _shared_readings(recipient)
    moments += _acts(recipient)
    moments += _other_methods(recipient)
    if state == Recipient.State.UNDELIVERABLE:
        moments.append(Moment(None, _("Undeliverable: the sender was told"), "failed"))
    return tuple(moments)
