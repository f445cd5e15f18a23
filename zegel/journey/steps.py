"""Where a recipient stands in the plan. Decision begins the first step, delivery those it falls back to."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never
from urllib.parse import unquote

from zegel.core.clock import Instant
from zegel.core.mail.address import Domain, Mailbox
from zegel.core.policy.precedence import Hold, Notify, Plan, Readable, Undeliverable
from zegel.core.policy.transport import NO_DEMAND, TransportSecurity
from zegel.core.policy.verification import Method
from zegel.core.policy.webhooks import Event
from zegel.core.secret import Secret
from zegel.edge import rows
from zegel.edge.chance import identifier
from zegel.journey import milestones
from zegel.journey.custody import outbox
from zegel.journey.custody.models import Recipient, Transmission

RETURN_PATH_PREFIX: Final = "bounce+"
RETURN_PATH_HOST: Final = "zegel-bounce."  # before the author's domain
# Outcomes of attempts that are none of ours: what others reported later.
CAME_HOME: Final = ("Bounced", "DelayedElsewhere", "ArrivedElsewhere", "AutoReply", "Unclear")
_RETURN_PATH: Final = re.compile(r"bounce\+([0-9a-f]{32})", re.IGNORECASE)
_SLASH: Final = "(?:/|[%=](?:25)*2f)"  # also where it was encoded
_LINK: Final = re.compile(  # its token stands behind /m/, or by itself
    rf"{_SLASH}m{_SLASH}(?:[\w=-]|%[0-9a-f]{{2}})+(?:\s+[\w=-]{{8,}})?|(?<![\w-])[\w-]{{43}}(?![\w-])", re.IGNORECASE
)
_PIECE: Final = 8  # characters of a link's secret that may not be seen
_RECIPIENT: Final = (
    "plan",
    "step",
    "state",
    "method",
    "masked",
    "code_needs_tls",
    "code_needs_authentication",
    "status",
    "reason",
    "decided_at",
)
_TRANSMISSION: Final = (
    "id",
    "organisation_id",
    "submission_id",
    "recipient_id",
    "kind",
    "step",
    "reverse_path",
    "address",
    "message_id",
    "needs_tls",
    "needs_authentication",
    "state",
    "tries",
    "created_at",
    "warned",
)


@dataclass(slots=True)
class UnderWay:
    """A recipient on its way through its plan: what of its row changes there, and what its mails are made of."""

    id: uuid.UUID
    address: str
    submission: uuid.UUID
    organisation: int
    message_id: str  # of what was submitted
    sender: Domain
    state: str
    plan: dict[str, Any] | None  # as it is stored
    step: int = 0
    method: str = ""
    masked: str = ""
    code_needs_tls: int = 0
    code_needs_authentication: int = 0
    status: str = ""
    reason: str = ""
    decided_at: Instant | None = None

    @classmethod
    def of(cls, recipient: Recipient) -> UnderWay:
        """With its submission and that one's account loaded."""
        submission = recipient.submission
        return cls(
            recipient.id,
            recipient.address,
            submission.id,
            submission.organisation_id,
            submission.message_id,
            submission.account.mailbox.domain,
            **{name: getattr(recipient, name) for name in _RECIPIENT},
        )


@dataclass(frozen=True, slots=True)
class Begun:
    """A recipient that now stands at ``plan.steps[index]``."""

    recipient: UnderWay
    plan: Plan
    index: int


def begin_all(begun: Sequence[Begun], *, now: Instant) -> None:
    """Inside a transaction: moves the recipients, makes their transmissions, and tells who is to act."""
    transmissions: list[tuple[Any, ...]] = []
    lost: list[uuid.UUID] = []
    held: list[uuid.UUID] = []
    newly_held: list[uuid.UUID] = []
    for one in begun:
        recipient, step = one.recipient, one.plan.steps[one.index]
        recipient.step = one.index
        match step:
            case Readable():
                recipient.state = Recipient.State.DECIDED
                transmissions.append(_transmission(one, Transmission.Kind.READABLE, step.needs, now))
            case Notify():
                recipient.state = Recipient.State.DECIDED
                _await_verification(recipient, step)
                transmissions.append(_transmission(one, Transmission.Kind.NOTIFICATION, NO_DEMAND, now))
            case Hold():
                if recipient.state != Recipient.State.HELD:
                    newly_held.append(recipient.id)
                recipient.state = Recipient.State.HELD
                held.append(recipient.submission)
            case Undeliverable(status=status, why=why):
                _give_up(recipient, status, why.value)
                lost.append(recipient.id)
            case _:
                assert_never(step)
    rows.update(
        Recipient,
        _RECIPIENT,
        [(*(getattr(one.recipient, name) for name in _RECIPIENT), one.recipient.id) for one in begun],
    )
    rows.insert(Transmission, _TRANSMISSION, transmissions)
    milestones.decided([row[0] for row in transmissions], now=now)
    milestones.undeliverable(lost, now=now)
    outbox.reached(Event.UNDELIVERABLE, lost, now=now)
    outbox.reached(Event.HELD, newly_held, now=now)
    milestones.held(list(dict.fromkeys(held)), now=now)


def remind(recipient: Recipient, *, now: Instant) -> None:
    """Inside a transaction: a reminder is to be made for a recipient (with its submission and that one's account)."""
    milestones.decided([_beside_plan(recipient, Transmission.Kind.REMINDER, now)], now=now)


def can_be_notified_again(recipient: Recipient | None, now: Instant) -> bool:
    """The recipient (with its conversation) was notified, and what the notification leads to is there."""
    if recipient is None or recipient.revoked_at is not None:
        return False
    conversation = recipient.conversation
    is_there = conversation.gateway_slot is not None and (
        conversation.expires_at is None or now < conversation.expires_at
    )
    return is_there and recipient.state in (Recipient.State.NOTIFIED, Recipient.State.OPENED)


def notify_again(recipient: Recipient, *, now: Instant) -> None:
    """Inside a transaction: the notification of a recipient (with its submission and that one's account) goes out once
    more, with a link of its own."""
    milestones.notify_again(_beside_plan(recipient, Transmission.Kind.AGAIN, now), now=now)


def _beside_plan(recipient: Recipient, kind: Transmission.Kind, now: Instant) -> uuid.UUID:
    """One more mail for a recipient that stays where it stands."""
    row = _transmission(Begun(UnderWay.of(recipient), Plan((), ()), recipient.step), kind, NO_DEMAND, now)
    rows.insert(Transmission, _TRANSMISSION, [row])
    identity: uuid.UUID = row[0]
    return identity


def give_up(recipient: Recipient | UnderWay, *, status: str, reason: str, now: Instant) -> None:
    """Inside a transaction: nothing is left for the recipient; the sender will be told. Its row is changed, too."""
    _give_up(recipient, status, reason)
    rows.update(
        Recipient,
        ("step", "state", "status", "reason"),
        [(recipient.step, recipient.state, recipient.status, recipient.reason, recipient.id)],
    )
    milestones.undeliverable([recipient.id], now=now)
    outbox.reached(Event.UNDELIVERABLE, [recipient.id], now=now)


def _give_up(recipient: Recipient | UnderWay, status: str, reason: str) -> None:
    recipient.state = Recipient.State.UNDELIVERABLE
    recipient.status = status
    recipient.reason = reason[:300]


def await_verification(recipient: Recipient, step: Notify) -> None:
    """Inside a transaction: from now on the recipient verifies as this step says; not less safely than before. Saves
    the recipient."""
    if recipient.method in ("", Method.EMAIL.value):
        _await_verification(recipient, step)
        recipient.save(update_fields=["method", "masked", "code_needs_tls", "code_needs_authentication"])


def _await_verification(recipient: Recipient | UnderWay, step: Notify) -> None:
    recipient.method = step.method.value
    recipient.masked = step.masked or ""
    demand = step.code_mail_needs or NO_DEMAND
    recipient.code_needs_tls = demand.tls
    recipient.code_needs_authentication = demand.authentication


def _transmission(one: Begun, kind: Transmission.Kind, needs: TransportSecurity, now: Instant) -> tuple[Any, ...]:
    recipient, identity = one.recipient, identifier()
    domain = recipient.sender
    is_readable = kind is Transmission.Kind.READABLE
    return (
        identity,
        recipient.organisation,
        recipient.submission,
        recipient.id,
        kind.value,
        one.index,
        return_path(identity, domain),
        recipient.address,
        recipient.message_id if is_readable else f"<{identity.hex}@{domain.ascii}>",
        int(needs.tls),
        int(needs.authentication),
        Transmission.State.QUEUED.value,
        0,
        now,
        False,
    )


def return_path(transmission: uuid.UUID, domain: Domain) -> str:
    """Where a mail comes back to that can't be delivered (VERP); ``domain``: the author's."""
    return f"{RETURN_PATH_PREFIX}{transmission.hex}@{RETURN_PATH_HOST}{domain.ascii}"


def transmission_of(mailbox: Mailbox) -> uuid.UUID | None:
    """Which mail a return path was made for (VERP); ``None`` where it can't be one of ours."""
    found = _RETURN_PATH.fullmatch(mailbox.local)
    is_ours = found is not None and mailbox.domain.ascii.startswith(RETURN_PATH_HOST)
    return uuid.UUID(hex=found[1]) if found is not None and is_ours else None


def quotes(text: str, secret: Secret[str] | None) -> bool:
    """A piece of the secret stands in it, also where the text was folded or encoded."""
    if secret is None:
        return False
    token, plain = secret.reveal().lower(), "".join(unquote(unquote(text)).split()).lower()
    return any(token[start : start + _PIECE] in plain for start in range(len(token) - _PIECE + 1))


def printable(text: str) -> str:
    """On one line, without what a terminal or a database would take for more than text."""
    return "".join(char if char.isprintable() else " " for char in text)


def without_links(text: str) -> str:
    """What servers say of a mail, without what they may quote of it: the link's secret. On one line."""
    return _LINK.sub("…", printable(text))
