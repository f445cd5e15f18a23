"""Where a recipient stands in the plan. Decision begins the first step, delivery those it falls back to."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never

from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.policy.precedence import Hold, Notify, Plan, Readable, Undeliverable
from zegel.core.policy.transport import NO_DEMAND, TransportSecurity
from zegel.edge import rows
from zegel.edge.chance import identifier
from zegel.journey import milestones
from zegel.journey.custody.models import Recipient, Transmission

RETURN_PATH_PREFIX: Final = "bounce+"
RETURN_PATH_HOST: Final = "zegel-bounce."  # before the author's domain
# Outcomes of attempts that are none of ours: what others reported later.
CAME_HOME: Final = ("Bounced", "DelayedElsewhere", "ArrivedElsewhere", "AutoReply", "Unclear")
_RETURN_PATH: Final = re.compile(r"bounce\+([0-9a-f]{32})", re.IGNORECASE)
_SLASH: Final = "(?:/|[%=](?:25)*2f)"  # also where it was encoded
_LINK: Final = re.compile(  # its token stands behind /m/, or by itself
    rf"{_SLASH}m{_SLASH}[\w=-]+|(?<![\w-])[\w-]{{43}}(?![\w-])", re.IGNORECASE
)
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


@dataclass(frozen=True, slots=True)
class Begun:
    """A recipient (with its submission and that one's account loaded) that now stands at ``plan.steps[index]``."""

    recipient: Recipient
    plan: Plan
    index: int


def begin_all(begun: Sequence[Begun], *, now: Instant) -> None:
    """Inside a transaction: moves the recipients, makes their transmissions, and tells who is to act."""
    transmissions: list[tuple[Any, ...]] = []
    lost: list[uuid.UUID] = []
    held: list[uuid.UUID] = []
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
                recipient.state = Recipient.State.HELD
                held.append(recipient.submission_id)
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
    milestones.held(list(dict.fromkeys(held)), now=now)


def remind(recipient: Recipient, *, now: Instant) -> None:
    """Inside a transaction: a reminder is to be made for a recipient (with its submission and that one's account)."""
    begun = Begun(recipient, Plan((), ()), recipient.step)
    reminder = _transmission(begun, Transmission.Kind.REMINDER, NO_DEMAND, now)
    rows.insert(Transmission, _TRANSMISSION, [reminder])
    milestones.decided([reminder[0]], now=now)


def give_up(recipient: Recipient, *, status: str, reason: str, now: Instant) -> None:
    """Inside a transaction: nothing is left for the recipient; the sender will be told. Saves the recipient."""
    _give_up(recipient, status, reason)
    recipient.save(update_fields=["step", "state", "status", "reason"])
    milestones.undeliverable([recipient.id], now=now)


def _give_up(recipient: Recipient, status: str, reason: str) -> None:
    recipient.state = Recipient.State.UNDELIVERABLE
    recipient.status = status
    recipient.reason = reason[:300]


def _await_verification(recipient: Recipient, step: Notify) -> None:
    recipient.method = step.method.value
    recipient.masked = step.masked or ""
    demand = step.code_mail_needs or NO_DEMAND
    recipient.code_needs_tls = demand.tls
    recipient.code_needs_authentication = demand.authentication


def _transmission(one: Begun, kind: Transmission.Kind, needs: TransportSecurity, now: Instant) -> tuple[Any, ...]:
    submission, identity = one.recipient.submission, identifier()
    domain = submission.account.mailbox.domain
    is_readable = kind is Transmission.Kind.READABLE
    return (
        identity,
        submission.organisation_id,
        submission.id,
        one.recipient.id,
        kind.value,
        one.index,
        f"{RETURN_PATH_PREFIX}{identity.hex}@{RETURN_PATH_HOST}{domain.ascii}",
        one.recipient.address,
        submission.message_id if is_readable else f"<{identity.hex}@{domain.ascii}>",
        int(needs.tls),
        int(needs.authentication),
        Transmission.State.QUEUED.value,
        0,
        now,
        False,
    )


def transmission_of(mailbox: Mailbox) -> uuid.UUID | None:
    """Which mail a return path was made for (VERP); ``None`` where it can't be one of ours."""
    found = _RETURN_PATH.fullmatch(mailbox.local)
    is_ours = found is not None and mailbox.domain.ascii.startswith(RETURN_PATH_HOST)
    return uuid.UUID(hex=found[1]) if found is not None and is_ours else None


def without_links(text: str) -> str:
    """What servers say of a mail, without what they may quote of it: the link's secret. On one line."""
    return _LINK.sub("…", "".join(char if char.isprintable() else " " for char in text))
