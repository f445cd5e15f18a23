"""What a sender takes back: from one recipient, or from all of them. Importable without the power to open."""

from __future__ import annotations

import uuid

from zegel.accounts.audit import note
from zegel.core.clock import Instant
from zegel.core.policy.audit import Act, Details
from zegel.core.policy.ended import Ended
from zegel.core.policy.webhooks import Event
from zegel.journey.custody import erasures, jobs, outbox, retention
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import (
    Conversation,
    Job,
    Link,
    Proof,
    Recipient,
    SealedVerification,
    Sms,
    Transmission,
)

State = Recipient.State


def revoke(recipient: Recipient, *, now: Instant) -> bool:
    """Inside a transaction: ``recipient`` can't open the conversation any more. ``False``: that was so before.

    Its links, its proofs and what it would verify itself with are destroyed. What is on its way to it ends at the next
    look; who was not decided yet, or is held, gets nothing, and the sender a report (P7).
    """
    if not take_back(recipient, now=now):
        return False
    conversation = recipient.conversation
    about: Details = {"message": str(conversation.submission_id)}
    note(Act.MESSAGE_REVOKED, conversation.organisation, recipient.address, about, now=now)
    return True


def take_back(recipient: Recipient, *, now: Instant) -> bool:
    """As :func:`revoke`, where the audit log has it by another name."""
    fresh = Recipient.objects.filter(id=recipient.id, revoked_at=None)
    if not fresh.update(revoked_at=now):
        return False
    erasures.note(erasures.Kind.RECIPIENT, [recipient.id], at=now)
    queued = Transmission.objects.filter(recipient=recipient, state=Transmission.State.QUEUED)
    queued.update(sealed=None)  # first: delivery stores a link only beside a mail that it may still send
    Link.objects.filter(recipient=recipient).delete()
    SealedVerification.objects.filter(recipient=recipient).delete()
    Proof.objects.filter(recipient=recipient).delete()
    Sms.objects.filter(recipient=recipient, state="queued").update(sealed=None, state="failed")
    waiting = Job.objects.filter(kind=Kind.TRANSMIT, subject__in=list(queued.values_list("id", flat=True)), lease=None)
    waiting.filter(due_at__gt=now).update(due_at=now)
    untouched = Recipient.objects.filter(id=recipient.id, state__in=(State.ACCEPTED, State.HELD))
    if untouched.update(state=State.UNDELIVERABLE, status=retention.STATUS, reason=Ended.REVOKED.value):
        jobs.put(Kind.REPORT, [recipient.id], due=now)
        outbox.reached(Event.UNDELIVERABLE, [recipient.id], now=now)
    outbox.reached(Event.REVOKED, [recipient.id], now=now)
    return True


def revoke_all(conversation: Conversation, *, now: Instant) -> list[uuid.UUID]:
    """Inside a transaction: nobody can open the conversation any more, its sender included; every key is destroyed.
    Returns those from whom it was taken. Whoever got it readable keeps it.

    The caller tells :func:`zegel.journey.milestones.revoked`, so that files and write-ahead log are cleared too.
    """
    taken = [one for one in conversation.recipients.exclude(state=State.DELIVERED) if take_back(one, now=now)]
    retention.destroy(conversation.id, now=now)
    Proof.objects.filter(recipient__conversation=conversation).delete()
    about: Details = {"message": str(conversation.submission_id), "recipients": len(taken)}
    note(Act.MESSAGE_REVOKED, conversation.organisation, details=about, now=now)
    return [one.id for one in taken]
