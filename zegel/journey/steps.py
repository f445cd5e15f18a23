"""Where a recipient stands in the plan. Decision begins the first step, delivery those it falls back to."""

from __future__ import annotations

from typing import Final, assert_never

from zegel.core.clock import Instant
from zegel.core.policy.precedence import Hold, Notify, Plan, Readable, Step, Undeliverable
from zegel.core.policy.transport import NO_DEMAND, TransportSecurity
from zegel.edge.chance import identifier
from zegel.journey import milestones
from zegel.journey.custody.models import Recipient, Transmission

RETURN_PATH_PREFIX: Final = "bounce+"


def begin(recipient: Recipient, plan: Plan, index: int, *, now: Instant) -> None:
    """Inside a transaction: the recipient now stands at ``plan.steps[index]``; saves the recipient."""
    recipient.step = index
    step = plan.steps[index]
    match step:
        case Readable() | Notify():
            transmission = _transmission(recipient, step, index, now=now)
            transmission.save(force_insert=True)
            recipient.state = Recipient.State.DECIDED
            if isinstance(step, Notify):
                recipient.method = step.method.value
                recipient.masked = step.masked or ""
                demand = step.code_mail_needs or NO_DEMAND
                recipient.code_needs_tls = demand.tls
                recipient.code_needs_authentication = demand.authentication
            milestones.decided([transmission.id], now=now)
        case Hold():
            recipient.state = Recipient.State.HELD
        case Undeliverable(status=status, why=why):
            give_up(recipient, status=status, reason=why.value, now=now)
        case _:
            assert_never(step)
    recipient.save()


def give_up(recipient: Recipient, *, status: str, reason: str, now: Instant) -> None:
    """Inside a transaction: nothing is left for the recipient; the sender will be told. Doesn't save the recipient."""
    recipient.state = Recipient.State.UNDELIVERABLE
    recipient.status = status
    recipient.reason = reason[:300]
    milestones.undeliverable([recipient.id], now=now)


def _transmission(recipient: Recipient, step: Step, index: int, *, now: Instant) -> Transmission:
    is_readable = isinstance(step, Readable)
    needs: TransportSecurity = step.needs if isinstance(step, Readable) else NO_DEMAND
    submission = recipient.submission
    identity = identifier()
    domain = submission.account.mailbox.domain
    return Transmission(
        id=identity,
        organisation_id=submission.organisation_id,
        submission=submission,
        recipient=recipient,
        kind=Transmission.Kind.READABLE if is_readable else Transmission.Kind.NOTIFICATION,
        step=index,
        reverse_path=f"{RETURN_PATH_PREFIX}{identity.hex}@zegel-bounce.{domain.ascii}",
        address=recipient.address,
        message_id=submission.message_id if is_readable else f"<{identity.hex}@{domain.ascii}>",
        needs_tls=needs.tls,
        needs_authentication=needs.authentication,
        created_at=now,
    )
