"""What ends: keys at expiry, and blobs that a crash left behind before their commit."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.db import connection
from django.db.models import DateTimeField, QuerySet, Value
from django.db.models.functions import Coalesce

from zegel.core.clock import Instant
from zegel.core.policy.ended import Ended
from zegel.core.policy.webhooks import Event
from zegel.edge import postgresql, rows, sqlite
from zegel.edge.blobs import Blobs
from zegel.edge.database import Writer
from zegel.edge.log import Broken, log
from zegel.journey.custody import erasures, jobs, outbox
from zegel.journey.custody.jobs import Kind, Leased, LeaseLost
from zegel.journey.custody.models import (
    Content,
    Conversation,
    Draft,
    Job,
    Link,
    Message,
    Recipient,
    SealedVerification,
    Sms,
    Submission,
    Transmission,
    VerificationData,
)

HELD_KEYS: Final = (  # tables whose rows held keys, numbers or codes that are destroyed
    Conversation,
    Message,
    Content,
    Link,
    Draft,
    SealedVerification,
    Transmission,
    Sms,
    Submission,
    VerificationData,
)
SWEEP: Final = 3600.0  # seconds between sweeps
DESTROYED: Final = b"\0"  # not empty: that would read as "nothing was asked"
ORPHAN: Final = timedelta(hours=24)  # no upload takes longer
DRAFTS: Final = timedelta(days=7)  # how long a text is kept that was not sent
OWN_MAILS: Final = timedelta(days=30)  # a bounce comes home within a few
AT_ONCE: Final = 500  # rows in a transaction
AGAIN: Final = timedelta(minutes=2)  # what was being written at the moment of a destruction is there by then
STATUS: Final = "5.7.0"  # RFC 3463 §3.8: of who was to get what is destroyed


class StillRead(Exception):
    """Somebody reads old pages of the database; what was destroyed stays in its write-ahead log for now."""


@dataclass(frozen=True, slots=True)
class _Destroyed:
    """What became of a conversation."""

    contents: list[uuid.UUID]  # that nothing opens any more
    was_before: bool  # destroyed earlier: this was the second look


class Retention:
    """Destroys what may no longer be read."""

    def __init__(self, writer: Writer, blobs: Blobs, *, now: Callable[[], Instant]) -> None:
        self._writer = writer
        self._blobs = blobs
        self._now = now
        self._emptying = asyncio.Lock()
        self._asked = self._covered = 0
        self._is_empty = True

    async def expire(self, leased: Leased) -> None:
        """The keys of a conversation are destroyed; what has no key left is removed.

        The job is finished by a second pass, after :data:`AGAIN`, that found files and write-ahead log cleared: so a
        crash, a full disk or a reader in the way puts that off and skips nothing, and what another process was about to
        write when the keys were destroyed (a link, a code) goes too.
        """
        destroyed = await self._writer.write(lambda: self._destroy(leased))
        is_cleared = await self._clear(destroyed.contents)

        def record() -> None:
            if destroyed.was_before and is_cleared:
                jobs.finish(leased)
            else:
                jobs.postpone(leased, until=self._now() + AGAIN)

        await self._writer.write(record)

    def _destroy(self, leased: Leased) -> _Destroyed:
        """Raises :class:`LeaseLost` where the sender put the expiry off at the last moment."""
        if not jobs.is_held(leased):
            raise LeaseLost
        conversation = leased.subject
        was_before = not Conversation.objects.filter(id=conversation, destroyed_at=None).exists()
        return _Destroyed(destroy(conversation, now=self._now()), was_before)

    async def _clear(self, contents: Sequence[uuid.UUID]) -> bool:
        """After the commit: blobs go, and the destroyed keys leave the write-ahead log too."""
        is_removed = await asyncio.to_thread(self._remove, contents)
        return await self._empty_log() and is_removed

    def _remove(self, contents: Sequence[uuid.UUID]) -> bool:
        is_removed = True
        for content in contents:
            try:
                self._blobs.remove(content)
            except OSError as cause:  # its key is gone: it is waste, not a secret
                log(Broken("removing what expired", cause))
                is_removed = False
        return is_removed

    async def _empty_log(self) -> bool:
        """One at a time, and once for all who wait: an emptying covers what was committed before it began."""
        self._asked = number = self._asked + 1
        async with self._emptying:
            if self._covered < number:
                self._covered, self._is_empty = self._asked, await asyncio.to_thread(empty_log)
            return self._is_empty

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


def empty_log() -> bool:
    """Outside of a transaction: keys that were destroyed leave the write-ahead log too, and with PostgreSQL the tables.
    ``False``: somebody goes on reading old pages, and they are still there."""
    try:
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                is_empty = sqlite.empty_log(lambda pragma: cursor.execute(pragma).fetchone())
        else:
            is_empty = postgresql.vacuum(postgresql.ask, [rows.table(one) for one in HELD_KEYS])
    finally:
        connection.close()  # with its short patience
    if not is_empty:
        log(Broken("emptying the write-ahead log", StillRead()))
    return is_empty


def destroy(conversation: uuid.UUID, *, now: Instant) -> list[uuid.UUID]:
    """Inside a transaction: destroys every key of a conversation. Returns the contents that no conversation can open
    any more; their rows are empty, their blobs are the caller's to remove after the commit (else the sweep's). Who was
    still to get the message won't: the sender is told (P7)."""
    first = Coalesce("destroyed_at", Value(now, DateTimeField()))
    if Conversation.objects.filter(id=conversation, destroyed_at=None).exists():
        erasures.note(erasures.Kind.CONVERSATION, [conversation], at=now)
        _tell_of_expiry(conversation, now)
    Conversation.objects.filter(id=conversation).update(gateway_slot=None, destroyed_at=first)
    _end_waiting(conversation, now)
    Link.objects.filter(recipient__conversation_id=conversation).delete()
    Draft.objects.filter(conversation_id=conversation).delete()
    SealedVerification.objects.filter(recipient__conversation_id=conversation).delete()
    Transmission.objects.filter(recipient__conversation_id=conversation).update(sealed=None)
    Sms.objects.filter(recipient__conversation_id=conversation, state="queued").update(sealed=None, state="failed")
    _forget_what_was_asked(conversation)
    held = Recipient.objects.filter(conversation_id=conversation, state=Recipient.State.HELD)
    waiting = list(held.order_by().values_list("submission_id", flat=True).distinct())
    jobs.put_again(Kind.HELD, waiting, due=now)  # nothing is left to wait for
    messages = Message.objects.filter(conversation_id=conversation)
    contents = set(messages.values_list("content_id", flat=True))
    messages.update(key=None)
    alive = set(Message.objects.filter(content_id__in=contents, key__isnull=False).values_list("content_id", flat=True))
    gone = sorted(contents - alive)
    Content.objects.filter(id__in=gone).update(sealed=None, head=b"")
    return gone


def forget_drafts(now: Instant) -> None:
    """What was begun and not sent for long."""
    Draft.objects.filter(saved_at__lt=now - DRAFTS).delete()


def of_no_message() -> QuerySet[Transmission]:
    """The gateway's own mails that no trace shows, and that end with none: codes and words about accounts, alarms, the
    state of domains."""
    return Transmission.objects.filter(submission=None, recipient=None, answer=None)


def forget_mails_of_no_message(now: Instant) -> None:
    """To whom they went, and what servers answered, once nothing more will come of them."""
    over = of_no_message().filter(created_at__lt=now - OWN_MAILS).exclude(state=Transmission.State.QUEUED)
    while some := list(over.values_list("id", flat=True)[:AT_ONCE]):
        Transmission.objects.filter(id__in=some).delete()


def _end_waiting(conversation: uuid.UUID, now: Instant) -> None:
    """Who was not decided yet is undeliverable; mail in the queue is looked at now, and ends there."""
    undecided = Recipient.objects.filter(conversation_id=conversation, state=Recipient.State.ACCEPTED)
    lost = list(undecided.values_list("id", flat=True))
    undecided.update(state=Recipient.State.UNDELIVERABLE, status=STATUS, reason=Ended.DESTROYED.value)
    jobs.put(Kind.REPORT, lost, due=now)
    outbox.reached(Event.UNDELIVERABLE, lost, now=now)
    queued = Transmission.objects.filter(
        recipient__conversation_id=conversation, state=Transmission.State.QUEUED
    ).values_list("id", flat=True)
    Job.objects.filter(kind=Kind.TRANSMIT, subject__in=list(queued), lease=None, due_at__gt=now).update(due_at=now)


def _tell_of_expiry(conversation: uuid.UUID, now: Instant) -> None:
    """Those who could open it until now, or were to; not from whom it was taken before."""
    could = Recipient.objects.filter(conversation_id=conversation, revoked_at=None)
    could = could.exclude(state__in=(Recipient.State.DELIVERED, Recipient.State.UNDELIVERABLE))
    outbox.reached(Event.EXPIRED, list(could.values_list("id", flat=True)), now=now)


def _forget_what_was_asked(conversation: uuid.UUID) -> None:
    """Numbers and codes stand in it; so it goes with the last conversation that it was asked for. Decisions and
    warnings, which need it, have no sense any more; who is at one loses the lease."""
    over = list(
        Submission.objects.filter(recipients__conversation_id=conversation)
        .exclude(recipients__conversation__destroyed_at=None)
        .values_list("id", flat=True)
        .distinct()
    )
    Submission.objects.filter(id__in=over).update(directives=DESTROYED)
    Job.objects.filter(kind__in=(Kind.DECIDE, Kind.WARN), subject__in=over).delete()
