"""What ends: keys at expiry, and blobs that a crash left behind before their commit."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from django.db import connection

from zegel.core.clock import Instant
from zegel.edge.blobs import Blobs
from zegel.edge.database import Writer
from zegel.edge.log import Broken, log
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import Leased
from zegel.journey.custody.models import Content, Conversation, Message, Recipient, Sms, Submission, Transmission

SWEEP: Final = 3600.0  # seconds between sweeps
DESTROYED: Final = b"\0"  # not empty: that would read as "nothing was asked"
ORPHAN: Final = timedelta(hours=24)  # no upload takes longer


class Retention:
    """Destroys what may no longer be read."""

    def __init__(self, writer: Writer, blobs: Blobs, *, now: Callable[[], Instant]) -> None:
        self._writer = writer
        self._blobs = blobs
        self._now = now

    async def expire(self, leased: Leased) -> None:
        """The keys of a conversation are destroyed; what has no key left is removed."""
        contents = await self._writer.write(lambda: self._destroy(leased))
        await asyncio.to_thread(self._clear, contents)

    def _clear(self, contents: list[uuid.UUID]) -> None:
        """After the commit: blobs go, and the destroyed keys leave the write-ahead log too."""
        for content in contents:
            self._blobs.remove(content)
        try:
            if connection.vendor == "sqlite":
                with connection.cursor() as cursor:
                    cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()

    def _destroy(self, leased: Leased) -> list[uuid.UUID]:
        jobs.finish(leased)
        return destroy(leased.subject, now=self._now())

    async def keep_sweeping(self, *others: Callable[[], object]) -> None:
        """Removes orphaned blobs, now and then, and has ``others`` clear up what is theirs."""
        while True:
            try:
                await asyncio.to_thread(self._sweep, others)
            except Exception as cause:
                log(Broken("sweep", cause))
            await asyncio.sleep(SWEEP)

    def _sweep(self, others: Sequence[Callable[[], object]]) -> None:
        try:
            for name, path in self._blobs.names_older_than(ORPHAN.total_seconds()):
                if path.suffix == ".part" or not Content.objects.filter(id=name).exclude(head=b"").exists():
                    path.unlink(missing_ok=True)
            for clear_up in others:
                clear_up()
        finally:
            connection.close()


def destroy(conversation: uuid.UUID, *, now: Instant) -> list[uuid.UUID]:
    """Inside a transaction: destroys every key of a conversation. Returns the contents that no conversation can open
    any more; their rows are empty, their blobs are the caller's to remove after the commit (else the sweep's)."""
    Conversation.objects.filter(id=conversation).update(gateway_slot=None, destroyed_at=now)
    Recipient.objects.filter(conversation_id=conversation).update(
        link_slot=None, link_share=None, link_hash=None, verification=None
    )
    Transmission.objects.filter(recipient__conversation_id=conversation).update(sealed=None)
    Sms.objects.filter(recipient__conversation_id=conversation, state="queued").update(sealed=None, state="failed")
    Submission.objects.filter(recipients__conversation_id=conversation).exclude(
        recipients__conversation__destroyed_at=None
    ).update(directives=DESTROYED)  # numbers and codes as they were asked
    messages = Message.objects.filter(conversation_id=conversation)
    contents = set(messages.values_list("content_id", flat=True))
    messages.update(key=None)
    alive = set(Message.objects.filter(content_id__in=contents, key__isnull=False).values_list("content_id", flat=True))
    gone = sorted(contents - alive)
    Content.objects.filter(id__in=gone).update(sealed=None, head=b"")
    return gone
