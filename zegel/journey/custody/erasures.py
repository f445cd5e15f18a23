"""What was destroyed is noted, with the destruction, and copied to a journal outside of the database.

A restored backup would bring back what was destroyed after it was made; :mod:`zegel.journey.custody.restoring` learns
from the journal what to destroy again.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from django.db import DatabaseError
from django.db.models import Max
from django.db.models.functions import Now

from zegel.core.clock import Instant
from zegel.edge.database import Readers
from zegel.edge.journal import Erased, Journal, JournalTrouble
from zegel.edge.log import Broken, log
from zegel.journey.custody.models import Erasure

EVERY: Final = 5.0  # seconds until the journal has what was destroyed
AFTER_TROUBLE: Final = 60.0
MOST: Final = 10_000  # lines at a time


class Kind(StrEnum):
    """What was destroyed, and whose identifier stands in the journal."""

    CONVERSATION = "conversation"  # all its keys
    RECIPIENT = "recipient"  # its ways in
    VERIFICATION = "verification"  # remembered or passed verification data, or an earlier value of it
    ADDRESS = "address"  # a recipient: who it was
    ORGANISATION = "organisation"  # its number: all that it had
    SUBMISSION = "submission"  # all that was known of its way: its term was over
    METHOD = "method"  # a recipient's number, code or method for one message: another took its place


def note(kind: Kind, subjects: Sequence[uuid.UUID], *, at: Instant | None = None) -> None:
    """Inside the transaction that destroys. Without ``at`` the moment is the database's."""
    moment = Now() if at is None else at
    Erasure.objects.bulk_create(Erasure(kind=kind.value, subject=one, at=moment) for one in subjects)


def last() -> int:
    """The number of the last one; 0: there is none."""
    return Erasure.objects.aggregate(last=Max("id"))["last"] or 0


def after(number: int) -> list[Erased]:
    """What was noted after that one. Raises :class:`JournalTrouble` where the journal knows more than the database."""
    newest = last()
    if number > newest:
        raise JournalTrouble(
            "The journal of erasures knows of later ones than the database: an older database was put in its place. "
            "What was destroyed since would be readable again. Move it away, and use: zegel restore"
        )
    rows = Erasure.objects.filter(id__gt=number).order_by("id")[:MOST]
    return [Erased(one.id, one.at, one.kind, one.subject) for one in rows]


def write_journal(journal: Journal) -> int:
    """Brings the journal up to date, and returns the number of its last line. Raises :class:`JournalTrouble` and
    ``OSError``."""
    written = journal.add(after)
    while written < last():
        written = journal.add(after)
    return written


async def keep_journal(journal: Journal, readers: Readers) -> None:
    """For ever: what was destroyed is in the journal within :data:`EVERY` seconds."""
    while True:
        try:
            await readers.read(lambda: write_journal(journal))
        except DatabaseError as cause:  # a server that is started again is back soon
            log(Broken("journal of erasures", cause))
        except Exception as cause:
            log(Broken("journal of erasures", cause))
            await asyncio.sleep(AFTER_TROUBLE)
        await asyncio.sleep(EVERY)
