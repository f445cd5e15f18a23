"""Who of those who read a functional mailbox read what; shown to all of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.db import transaction

from zegel.accounts.models import Account
from zegel.core.clock import Duration, Instant
from zegel.journey.custody.models import Conversation, SharedReading

_NOTED_EVERY: Final[Duration] = timedelta(minutes=1)  # not every click is written


@dataclass(frozen=True, slots=True)
class ReadBy:
    """One of them, and when."""

    who: str
    first_at: Instant
    last_at: Instant
    answered_at: Instant | None


def note_reading(conversation: Conversation, mailbox: Account, account: Account, now: Instant) -> None:
    """``account`` reads it as ``mailbox``. The first time is kept for good."""
    with transaction.atomic():
        row, is_new = SharedReading.objects.get_or_create(
            conversation=conversation, mailbox=mailbox, account=account, defaults={"first_at": now, "last_at": now}
        )
        if not is_new and now - row.last_at >= _NOTED_EVERY:
            SharedReading.objects.filter(id=row.id).update(last_at=now)


def note_answer(conversation: Conversation, mailbox: Account, account: Account, now: Instant) -> None:
    """``account`` answered it as ``mailbox``, whether or not it was seen to read it before."""
    with transaction.atomic():
        SharedReading.objects.update_or_create(
            conversation=conversation,
            mailbox=mailbox,
            account=account,
            defaults={"answered_at": now},
            create_defaults={"answered_at": now, "first_at": now, "last_at": now},
        )


def read_by(conversation: Conversation, mailbox: Account) -> list[ReadBy]:
    """By time of the first reading."""
    rows = SharedReading.objects.filter(conversation=conversation, mailbox=mailbox).select_related("account")
    return [
        ReadBy(one.account.display_name or one.account.email, one.first_at, one.last_at, one.answered_at)
        for one in rows.order_by("first_at", "id")
    ]
