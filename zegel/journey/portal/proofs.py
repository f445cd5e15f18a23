"""What a passed verification, or a remembered device, allows, and until when (P19)."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction

from zegel.accounts.models import Account, RememberedDevice
from zegel.core.clock import Instant
from zegel.core.policy.verification import Method
from zegel.core.policy.webhooks import Event
from zegel.edge.log import Opened, log
from zegel.edge.prepared import Prepared
from zegel.journey.custody import memory, outbox
from zegel.journey.custody.models import Proof, Recipient
from zegel.journey.portal.devices import is_trusted
from zegel.journey.portal.setup import portal

IDLE: Final = timedelta(minutes=30)
ABSOLUTE: Final = timedelta(hours=12)
_NOTED_EVERY: Final = timedelta(minutes=1)  # not every click is written
_VALID: Final = Prepared(
    lambda recipient, browser, method, latest, idle_since, now: Proof.objects.filter(
        recipient_id=recipient,
        browser=browser,
        method=method,
        created_at__lte=latest,
        used_at__gt=idle_since,
        expires_at__gt=now,
    ).order_by("-created_at")[:1],
    recipient=uuid.UUID,
    browser=bytes,
    method=str,
    latest=datetime,
    idle_since=datetime,
    now=datetime,
)


def prove(recipient: Recipient, browser: bytes, now: Instant, device: RememberedDevice | None = None) -> None:
    """Inside a transaction: this browser may read from now on; because of ``device``, where no code was given."""
    withdraw(recipient, browser)
    Proof.objects.create(
        recipient=recipient,
        method=recipient.method,
        device=device,
        browser=browser,
        created_at=now,
        used_at=now,
        expires_at=now + ABSOLUTE,
    )


def proof_of(recipient: Recipient, browser: bytes | None, now: Instant) -> Proof | None:
    """This browser passed the verification that is demanded today, and was not away for long. Reads only.

    A clock that was set back doesn't lengthen a proof (P23); a device that is remembered no more ends its own.
    """
    if browser is None:
        return None
    found = _VALID.first(
        recipient=recipient.id,
        browser=browser,
        method=recipient.method,
        latest=now + _NOTED_EVERY,
        idle_since=now - IDLE,
        now=now,
    )
    if found is not None and found.device is not None and not is_trusted(found.device, recipient, now):
        return None
    return found


def note_use(proof: Proof, now: Instant) -> None:
    """The thirty minutes begin anew."""
    if now - proof.used_at >= _NOTED_EVERY:
        Proof.objects.filter(id=proof.id).update(used_at=now)


def withdraw(recipient: Recipient, browser: bytes | None) -> None:
    """This browser may no longer read."""
    if browser is not None:
        Proof.objects.filter(recipient=recipient, browser=browser).delete()


def note_reading(recipient: Recipient, method: Method, now: Instant, *, confirms: bool = True) -> None:
    """The first reading is what the sender is told as *opened*, also where a bounce had said that it never arrived; and
    it makes a number or code one that is remembered (rows 5 and 6), where it ``confirms`` it: on a remembered device
    neither was used. Later ones change nothing, nor does a page that was under way while the message was revoked."""
    if recipient.opened_at is not None:
        return
    with transaction.atomic():
        first = Recipient.objects.filter(id=recipient.id, opened_at=None, revoked_at=None).update(
            opened_at=now, opened_with=method.value, state=Recipient.State.OPENED, status="", reason=""
        )
        if first:
            outbox.reached(Event.OPENED, [recipient.id], now=now)
        if first and confirms and method.value == recipient.method:
            unsealer = portal().unsealer
            memory.remember(recipient, now=now, open_field=unsealer.field, sealing=unsealer.keys.sealing)
    if first:
        log(Opened(recipient=recipient.id, method=method.value))


def note_passed(user: object, recipient: Recipient, now: Instant) -> None:
    """Who is signed in passed, in this browser, the verification of a recipient that is the same mailbox: from now on
    the account stands in the place of that number or code, for messages of that organisation (D-9)."""
    if not isinstance(user, Account) or user.key != recipient.key:
        return
    unsealer = portal().unsealer
    with transaction.atomic():
        memory.note_passed(user, recipient, now=now, open_field=unsealer.field, sealing=unsealer.keys.sealing)
