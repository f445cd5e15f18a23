"""What a passed verification allows, and until when (P19)."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db import transaction

from zegel.core.clock import Instant
from zegel.core.policy.verification import Method
from zegel.edge.log import Opened, log
from zegel.journey.custody import memory
from zegel.journey.custody.models import Proof, Recipient
from zegel.journey.portal.setup import portal

IDLE: Final = timedelta(minutes=30)
_NOTED_EVERY: Final = timedelta(minutes=1)  # not every click is written


def proof_of(recipient: Recipient, browser: bytes | None, now: Instant) -> Proof | None:
    """This browser passed the verification that is demanded today, and was not away for long. Reads only.

    A clock that was set back doesn't lengthen a proof (P23).
    """
    if browser is None:
        return None
    return (
        Proof.objects.filter(
            recipient=recipient,
            browser=browser,
            method=recipient.method,
            created_at__lte=now + _NOTED_EVERY,
            used_at__gt=now - IDLE,
            expires_at__gt=now,
        )
        .order_by("-created_at")
        .first()
    )


def note_use(proof: Proof, now: Instant) -> None:
    """The thirty minutes begin anew."""
    if now - proof.used_at >= _NOTED_EVERY:
        Proof.objects.filter(id=proof.id).update(used_at=now)


def withdraw(recipient: Recipient, browser: bytes | None) -> None:
    """This browser may no longer read."""
    if browser is not None:
        Proof.objects.filter(recipient=recipient, browser=browser).delete()


def note_reading(recipient: Recipient, method: Method, now: Instant) -> None:
    """The first reading is what the sender is told as *opened*, also where a bounce had said that it never arrived; and
    it makes a number or code one that is remembered (rows 5 and 6). Later ones change nothing."""
    if recipient.opened_at is not None:
        return
    with transaction.atomic():
        first = Recipient.objects.filter(id=recipient.id, opened_at=None).update(
            opened_at=now, opened_with=method.value, state=Recipient.State.OPENED, status="", reason=""
        )
        if first and method.value == recipient.method:
            unsealer = portal().unsealer
            memory.remember(recipient, now=now, open_field=unsealer.field, sealing=unsealer.keys.sealing)
    if first:
        log(Opened(recipient=recipient.id, method=method.value))
