"""What a transmission needs to be made: read for many at once, one statement, as plain values."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import Any, Final, cast

from zegel.accounts.addresses import own_address
from zegel.accounts.models import Account, Organisation
from zegel.core.clock import Duration, Instant
from zegel.core.mail.address import Domain, Mailbox
from zegel.core.policy import precedence
from zegel.core.policy.carriage import Carried, CodeMail, Stage
from zegel.core.policy.precedence import Notify, Plan, plan_from_json
from zegel.core.policy.retry import CODE_RETRIES, Patience, RetryPolicy, is_warning_due
from zegel.core.policy.transport import NO_DEMAND, Authentication, Tls, TransportSecurity
from zegel.core.secret import Secret
from zegel.edge import rows
from zegel.journey import steps
from zegel.journey.custody.jobs import Leased
from zegel.journey.custody.models import (
    Attempt,
    Content,
    Conversation,
    Job,
    Message,
    Recipient,
    Submission,
    Transmission,
)

Kind = Transmission.Kind


@dataclass(frozen=True, slots=True)
class Presented:
    """An organisation, as mail shows it."""

    name: str
    subject: str
    language: str
    accent: str
    own_texts: object


@dataclass(frozen=True, slots=True)
class ClosedConversation:
    """A conversation, as far as its content is opened."""

    id: uuid.UUID
    gateway_slot: bytes | None
    expires_at: Instant | None
    destroyed_at: Instant | None
    remind_after_days: int | None  # of its organisation
    organisation: Presented


@dataclass(frozen=True, slots=True)
class ClosedContent:
    """The sealed octets of a message."""

    id: uuid.UUID
    size: int
    header_size: int
    sealed: bytes | None  # None: a blob
    head: bytes


@dataclass(frozen=True, slots=True)
class ClosedMessage:
    """The message that began a conversation, or an answer in it."""

    id: uuid.UUID
    key: bytes | None
    content: ClosedContent


@dataclass(frozen=True, slots=True)
class Addressee:
    """The recipient that a transmission serves, with what its submission and conversation say about it."""

    id: uuid.UUID
    state: str
    step: int
    plan: Plan
    is_opened: bool
    is_revoked: bool  # for this recipient alone; its mail, if any was on its way, may have a link that leads nowhere
    notify: str
    original: str
    method: str
    masked: str
    decided_at: Instant  # when it was accepted, where nobody decided yet
    requires_tls: bool
    sender: Domain
    conversation: ClosedConversation
    message: ClosedMessage | None  # of what carries it, and of notifications that are to be composed

    def has_expired(self, now: Instant) -> bool:
        """Also while the destruction of its keys is still to come."""
        ends = self.conversation.expires_at
        return ends is not None and ends <= now


@dataclass(slots=True)
class Outgoing:
    """A transmission that is to be made."""

    id: uuid.UUID
    kind: str
    step: int
    reverse_path: str
    address: str
    message_id: str
    sealed: bytes | None
    needs: TransportSecurity
    tries: int
    created_at: Instant
    expires_at: Instant | None
    warned: bool
    recipient: Addressee | None
    secret: Secret[str] | None = None  # of the link that the mail has, once it was opened


@dataclass(frozen=True, slots=True)
class ReadableAnswer:
    """In whose name an answer leaves, and whom an ordinary answer to it reaches."""

    own: Mailbox  # the organisation's
    answers_go_to: Mailbox


@dataclass(slots=True)
class Task:
    """A transmission with what the core needs to judge it."""

    leased: Leased
    transmission: Outgoing
    carried: Carried
    needs: TransportSecurity
    retries: RetryPolicy
    age: Duration
    plan: Plan | None = None
    reached: TransportSecurity | None = None  # by an earlier readable attempt at the recipient's ordinary MX
    looked_at: float = 0.0  # of the event loop: when it was last seen that the mail may leave
    readable_answer: ReadableAnswer | None = None

    @property
    def is_pressing(self) -> bool:
        """Somebody waits for a code; or the sender is to hear of a delay, or of the end."""
        warning = self.plan is not None and is_warning_due(self.retries, age=self.age, warned=self.transmission.warned)
        return self.transmission.kind == Kind.CODE or warning or self.age >= self.retries.give_up_after


def gather(leased: Sequence[Leased], *, patience: Patience, now: Instant) -> list[Task | None]:
    """For each its task; ``None``: nothing is left to do. Reads only."""
    found = _outgoing([one.subject for one in leased])
    return [_task(one, found.get(one.subject), patience, now) for one in leased]


class Standing(Enum):
    """How a transmission stands that was gathered a while ago."""

    DUE = "due"
    OTHERS = "others"  # somebody else does it, or it was done
    REVOKED = "revoked"
    GONE = "gone"  # with its keys
    TOO_LATE = "too late"


def look_again(task: Task, *, now: Instant) -> Standing:
    """What became of it since :func:`gather`. Reads only."""
    leased = task.leased
    found = rows.select(
        f"""SELECT t.expires_at, r.revoked_at, c.id, c.destroyed_at, c.expires_at FROM {rows.table(Job)} j
        JOIN {rows.table(Transmission)} t ON t.id = j.subject AND t.state = 'queued'
        LEFT JOIN {rows.table(Recipient)} r ON r.id = t.recipient_id
        LEFT JOIN {rows.table(Conversation)} c ON c.id = r.conversation_id
        WHERE j.id = %s AND j.lease = %s""",  # noqa: S608
        (rows.identifier(leased.job), rows.identifier(leased.token)),
    )
    if not found:
        return Standing.OTHERS
    ((expires, revoked, conversation, destroyed, ends),) = found
    if revoked is not None:
        return Standing.REVOKED
    if conversation is not None and (destroyed is not None or _is_past(ends, now)):
        return Standing.GONE
    if _is_past(expires, now):
        return Standing.TOO_LATE
    return Standing.DUE


def _is_past(value: Any, now: Instant) -> bool:
    found = rows.instant(value)
    return found is not None and found <= now


_LINK: Final = re.compile(rb"/m/([\w-]{43})(?![\w-])")


def link_in(mail: bytes) -> Secret[str] | None:
    """The secret of the link in a mail of ours, as it stands there in plain text."""
    found = _LINK.search(mail.replace(b"=\r\n", b""))
    return Secret(found[1].decode("ascii")) if found else None


def _task(leased: Leased, transmission: Outgoing | None, patience: Patience, now: Instant) -> Task | None:
    if transmission is None:
        return None
    if transmission.kind in (Kind.READABLE, Kind.NOTIFICATION):
        return _step(leased, transmission, patience, now)
    if transmission.kind in (Kind.ANSWER, Kind.READABLE_ANSWER):
        return _answer(leased, transmission, patience, now)
    if transmission.kind == Kind.REMINDER and not _is_unread(transmission.recipient):
        return None
    if transmission.kind == Kind.AGAIN and not _can_be_notified_again(transmission.recipient, now):
        return None
    policy = CODE_RETRIES if transmission.kind == Kind.CODE else patience.notification
    needs = transmission.needs
    carried = CodeMail(needs if needs != NO_DEMAND else None)
    return Task(leased, transmission, carried, needs, policy, now - transmission.created_at)


def _step(leased: Leased, transmission: Outgoing, patience: Patience, now: Instant) -> Task | None:
    recipient = transmission.recipient
    assert recipient is not None
    if recipient.state != Recipient.State.DECIDED or recipient.step != transmission.step:
        return None
    step = recipient.plan.steps[transmission.step]
    assert isinstance(step, precedence.Readable | Notify)
    is_readable = isinstance(step, precedence.Readable)
    return Task(
        leased,
        transmission,
        step,
        step.needs if isinstance(step, precedence.Readable) else NO_DEMAND,
        patience.readable if is_readable else patience.notification,
        now - recipient.decided_at,  # not while it was held
        recipient.plan,
        _reached_before(recipient) if transmission.step > 0 else None,  # none comes before the first step
    )


def _answer(leased: Leased, transmission: Outgoing, patience: Patience, now: Instant) -> Task | None:
    """Answers are few: each is read by itself. One travels by a step of the recipient's plan; word of one that isn't a
    fall-back is a mail of ours of which nothing more is asked: its step was taken when the message arrived."""
    recipient = transmission.recipient
    row = Transmission.objects.select_related("answer__content", "answer__conversation__author", "organisation").get(
        id=transmission.id
    )
    if recipient is None or row.answer is None or recipient.state == Recipient.State.UNDELIVERABLE:
        return None
    step = next(iter(recipient.plan.steps[transmission.step :]), None)
    age = now - transmission.created_at  # who waits for the message waits for its answers
    if transmission.kind == Kind.ANSWER:
        carried = step if isinstance(step, Notify) and transmission.step != recipient.step else CodeMail()
        return Task(leased, transmission, carried, NO_DEMAND, patience.notification, age)
    own, content = own_address(row.organisation), row.answer.content
    if not isinstance(step, precedence.Readable) or own is None:
        return None
    closed = ClosedContent(content.id, content.size, content.header_size, _octets(content.sealed), bytes(content.head))
    answer = ClosedMessage(row.answer.id, _octets(row.answer.key), closed)
    transmission.recipient = replace(recipient, sender=own.domain, message=answer)
    return Task(
        leased,
        transmission,
        step,
        step.needs,
        patience.readable,
        age,
        readable_answer=ReadableAnswer(own, row.answer.conversation.author.mailbox),
    )


def _is_unread(recipient: Addressee | None) -> bool:
    if recipient is None or recipient.is_opened or recipient.is_revoked:
        return False
    return recipient.state == Recipient.State.NOTIFIED


def _can_be_notified_again(recipient: Addressee | None, now: Instant) -> bool:
    if recipient is None:
        return False
    return steps.can_be_notified_again(Recipient.objects.select_related("conversation").get(id=recipient.id), now)


# --- rows ---------------------------------------------------------------------------------------------------------

# One statement for all that were leased together. Content is read where it is sent, or a mail about it is composed.
_FIELDS: Final = """
t.id, t.kind, t.step, t.reverse_path, t.address, t.message_id, t.sealed, t.needs_tls, t.needs_authentication, t.tries,
t.created_at, t.expires_at, t.warned,
r.id, r.state, r.step, CAST(r.plan AS text), r.opened_at, r.revoked_at, r.notify, r.original, r.method,
r.masked,
r.decided_at, s.accepted_at, s.requires_tls,
a.email, c.id, c.gateway_slot, c.expires_at, c.destroyed_at,
o.remind_after_days, o.name, o.subject, o.language, o.accent, CAST(o.own_texts AS text),
m.id, m.key, k.id, k.size, k.header_size, k.sealed, k.head"""


def _outgoing(ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Outgoing]:
    table = rows.table
    found: dict[uuid.UUID, Outgoing] = {}
    for row in rows.select(
        f"""SELECT {_FIELDS} FROM {table(Transmission)} t
        LEFT JOIN {table(Recipient)} r ON r.id = t.recipient_id
        LEFT JOIN {table(Submission)} s ON s.id = r.submission_id
        LEFT JOIN {table(Account)} a ON a.id = s.account_id
        LEFT JOIN {table(Conversation)} c ON c.id = r.conversation_id
        LEFT JOIN {table(Organisation)} o ON o.id = c.organisation_id
        LEFT JOIN {table(Message)} m ON m.conversation_id = c.id AND m.answered_by_id IS NULL
            AND (t.kind = 'readable' OR (t.kind IN ('notification', 'reminder', 'again') AND t.sealed IS NULL))
        LEFT JOIN {table(Content)} k ON k.id = m.content_id
        WHERE t.id IN ({rows.marks(len(ids))}) AND t.state = 'queued'
        ORDER BY m.created_at, m.id""",  # noqa: S608 – the message that began the conversation comes first
        [rows.identifier(one) for one in ids],
    ):
        identity = rows.found(row[0])
        if identity not in found:
            found[identity] = _transmission(identity, row)
    return found


def _transmission(identity: uuid.UUID, row: Sequence[Any]) -> Outgoing:
    _, kind, step, reverse_path, address, message_id, sealed, tls, authentication, *rest = row
    tries, created, expires, warned, *rest = rest
    return Outgoing(
        identity,
        kind,
        step,
        reverse_path,
        address,
        message_id,
        _octets(sealed),
        TransportSecurity(Tls(tls), Authentication(authentication)),
        tries,
        _instant(created),
        rows.instant(expires),
        bool(warned),
        _addressee(rest, goes_by_plan=kind in _BY_PLAN) if rest[0] is not None else None,
    )


def _addressee(row: Sequence[Any], *, goes_by_plan: bool) -> Addressee:
    identity, state, step, plan, opened, revoked, notify, original, method, masked, *rest = row
    decided, accepted, requires_tls, *rest = rest
    sender, conversation, slot, expires, destroyed, remind, name, subject, language, accent, own_texts, *message = rest
    return Addressee(
        rows.found(identity),
        state,
        step,
        _NOT_DECIDED if plan is None or not goes_by_plan else _plan(plan),
        opened is not None,
        revoked is not None,
        notify,
        original,
        method,
        masked,
        _instant(decided if decided is not None else accepted),
        bool(requires_tls),
        Mailbox.parse(sender).domain,
        ClosedConversation(
            rows.found(conversation),
            _octets(slot),
            rows.instant(expires),
            rows.instant(destroyed),
            remind,
            Presented(name, subject, language, accent, json.loads(own_texts)),
        ),
        _message(message) if message[0] is not None else None,
    )


def _message(row: Sequence[Any]) -> ClosedMessage:
    identity, key, content, size, header_size, sealed, head = row
    closed = ClosedContent(rows.found(content), size, header_size, _octets(sealed), bytes(head))
    return ClosedMessage(rows.found(identity), _octets(key), closed)


_NOT_DECIDED: Final = Plan((), ())
_BY_PLAN: Final = frozenset(
    one.value for one in (Kind.READABLE, Kind.NOTIFICATION, Kind.ANSWER, Kind.READABLE_ANSWER)
)  # others don't need it, and don't wait where it can't be understood


@lru_cache(1024)
def _plan(stored: str) -> Plan:
    """Most messages of an organisation have one of a few plans."""
    return plan_from_json(rows.loaded(stored))


def _instant(value: Any) -> Instant:
    return cast(Instant, rows.instant(value))


def _octets(value: Any) -> bytes | None:
    return None if value is None else bytes(value)


_BEFORE_TLS: Final = frozenset(
    stage.name.lower() for stage in Stage if stage <= Stage.STARTTLS
)  # an attempt that ended there tells nothing of the level


def _reached_before(recipient: Addressee) -> TransportSecurity | None:
    """The level that the last readable attempt found at the recipient's ordinary MX, if one came that far."""
    last = (
        Attempt.objects.filter(transmission__recipient=recipient.id, transmission__kind=Kind.READABLE)
        .exclude(outcome__in=steps.CAME_HOME)
        .select_related("transmission")
        .order_by("-id")
        .first()
    )
    if last is None or last.host == "" or last.stage in _BEFORE_TLS:
        return None
    step = recipient.plan.steps[last.transmission.step]
    if isinstance(step, precedence.Readable) and step.over_nta:  # other servers
        return None
    return TransportSecurity(Tls(last.tls), Authentication(last.authentication))
