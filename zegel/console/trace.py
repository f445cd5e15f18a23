"""The way of a message as it is shown: what was decided for each recipient, why, and what happened then.

Reads metadata alone. Nothing here can open content: there is no import that could.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

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
from zegel.journey.custody.models import Attempt, Recipient, Submission, Transmission


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
    found = recipients.prefetch_related("transmissions__attempts").order_by("key")
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
    )


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
    if state == Recipient.State.UNDELIVERABLE:
        moments.append(Moment(None, _("Undeliverable: the sender was told"), "failed"))
    return tuple(moments)
