"""What the stops tell each other. A milestone is a job in the transaction that reached it: told once, and durably."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from zegel.core.clock import Instant
from zegel.journey.custody.jobs import Kind, forget, put, put_again

TOGETHER: Final = timedelta(hours=1)  # recipients of one message are reminded at about the same time
SPLIT_WINDOW: Final = timedelta(minutes=10)  # D-4: a split names recipients of its other half


def accepted(submissions: Sequence[uuid.UUID], *, warn: Sequence[uuid.UUID], now: Instant) -> None:
    """Arrival: submissions are durable and sealed; their recipients await their decision. In ``warn`` those with
    control fields about which the author may have to hear."""
    put(Kind.DECIDE, submissions, due=now)
    put(Kind.WARN, warn, due=now + SPLIT_WINDOW)


def decided(transmissions: Sequence[uuid.UUID], *, now: Instant) -> None:
    """Decision, or delivery that fell back: these transmissions are to be made."""
    put(Kind.TRANSMIT, transmissions, due=now)


def held(submissions: Sequence[uuid.UUID], *, now: Instant) -> None:
    """Decision: recipients of these submissions lack what policy demands; the sender is to be told."""
    put_again(Kind.HELD, submissions, due=now)


def supplied(recipients: Sequence[uuid.UUID], *, now: Instant) -> None:
    """Portal or console: what these held recipients lack may be known now; they are decided again, also where that is
    being done with what was known before."""
    put_again(Kind.RELEASE, recipients, due=now)


def still_held(recipients: Sequence[uuid.UUID], *, now: Instant) -> None:
    """Report, at each look: these are decided again, in case something became known that nobody told."""
    put(Kind.RELEASE, recipients, due=now)


def contradicted(submissions: Sequence[uuid.UUID], *, now: Instant) -> None:
    """Decision: the policy kept these messages from what they asked; the author is to hear of it, also where a warning
    is just being written without it."""
    put_again(Kind.WARN, submissions, due=now + SPLIT_WINDOW)


def undeliverable(recipients: Sequence[uuid.UUID], *, now: Instant) -> None:
    """Decision or delivery: nothing is left for these recipients; the sender is to be told."""
    put(Kind.REPORT, recipients, due=now)


def notified(recipients: Sequence[uuid.UUID], *, remind: Instant) -> None:
    """Delivery: the receiving servers took the notifications; who has not opened by then is reminded."""
    put(Kind.REMIND, recipients, due=remind)


def reminded(submissions: Sequence[uuid.UUID], *, now: Instant) -> None:
    """Delivery: recipients of these submissions were reminded; the sender hears of all of them together."""
    put(Kind.UNREAD, submissions, due=now + TOGETHER)


def delayed(recipients: Sequence[uuid.UUID], *, now: Instant) -> None:
    """Delivery, or a report that came home: it takes long with these recipients; the sender is to be told."""
    put(Kind.DELAYED, recipients, due=now)


def relayed(recipients: Sequence[uuid.UUID], *, now: Instant) -> None:
    """Delivery: the receiving servers took the mail for these recipients, and the sender asked to hear so."""
    put(Kind.RELAYED, recipients, due=now)


def confirmed(recipients: Sequence[uuid.UUID], *, now: Instant) -> None:
    """Report: the receiving servers reported success for these recipients, and the sender asked to hear so."""
    put(Kind.CONFIRMED, recipients, due=now)


def code_withheld(transmission: uuid.UUID, *, now: Instant) -> None:
    """Delivery: a mail with a code could not travel as securely as demanded; the sender is to be told."""
    put(Kind.WITHHELD, [transmission], due=now)


def code_asked(transmission: uuid.UUID, *, now: Instant) -> None:
    """Portal: a mail with a code is to go out."""
    put(Kind.TRANSMIT, [transmission], due=now)


def sms_asked(sms: uuid.UUID, *, now: Instant) -> None:
    """Portal: a text message with a code is to go out."""
    put(Kind.SMS, [sms], due=now)


def method_asked(transmission: uuid.UUID, *, now: Instant) -> None:
    """Portal: a recipient can't use the method that was decided; this mail tells the author."""
    put(Kind.TRANSMIT, [transmission], due=now)


def device_remembered(transmission: uuid.UUID, *, now: Instant) -> None:
    """Portal: a guest needs no code on a device any more; this mail tells that guest."""
    put(Kind.TRANSMIT, [transmission], due=now)


def answered(message: uuid.UUID, *, now: Instant) -> None:
    """Portal: an answer is durable and sealed; the other readers of its conversation are to hear of it."""
    put(Kind.ANSWERED, [message], due=now)


def refers(submissions: Sequence[uuid.UUID], *, now: Instant) -> None:
    """Arrival: these submissions name earlier messages, and may continue their conversations (D-5)."""
    put(Kind.CONTINUES, submissions, due=now)


def mailbox_asked(proof: uuid.UUID, *, now: Instant) -> None:
    """Portal: somebody says that a mailbox is theirs; what it is told is decided elsewhere, for all alike (P14)."""
    put(Kind.MAILBOX, [proof], due=now)


def revoked(conversation: uuid.UUID, *, now: Instant) -> None:
    """Portal: the keys of this conversation were destroyed at its sender's wish; its files are to be removed now, also
    where that was to be later."""
    put_again(Kind.EXPIRE, [conversation], due=now)


def expires_at_another_time(conversation: uuid.UUID, *, at: Instant | None) -> None:
    """Portal: the keys of this conversation are to be destroyed then, and no sooner; ``None``: never."""
    if at is None:
        forget(Kind.EXPIRE, [conversation])
    else:
        put_again(Kind.EXPIRE, [conversation], due=at)


def notify_again(transmission: uuid.UUID, *, now: Instant) -> None:
    """Portal: the sender wants this notification to go out once more."""
    put(Kind.TRANSMIT, [transmission], due=now)


def expires(conversations: Sequence[uuid.UUID], *, at: Instant) -> None:
    """Arrival: the keys of these conversations are to be destroyed then."""
    put(Kind.EXPIRE, conversations, due=at)
