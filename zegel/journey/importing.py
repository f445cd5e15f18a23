"""A file of verification data, in two steps: it is judged, which changes nothing; and imported, once somebody says so.

Between the two the file is kept sealed, for an hour at most. Both are done in dispatch, some rows at a time: the import
in transactions that each say how far they came, so that it goes on after a crash; the judging from the start again.
"""

from __future__ import annotations

import asyncio
import codecs
import hashlib
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from itertools import islice
from typing import Final, Protocol, assert_never

from django.db import transaction

from zegel.accounts import audit
from zegel.accounts.models import Account, Organisation
from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.policy.audit import Act, Actor, ActorKind
from zegel.core.policy.verification import AccessCode, Method, SmsCode, method_of
from zegel.core.policy.verification_import import (
    BAD,
    MAX_OCTETS,
    MAX_RECORD,
    MAX_ROWS,
    Complaint,
    Effect,
    Effects,
    FileFault,
    Layout,
    Place,
    Reading,
    Record,
    Refused,
    RowFault,
    Together,
    Wanted,
    judge,
    read_layout,
    records,
)
from zegel.core.seal.wrap import CannotOpen, SealingKey
from zegel.core.secret import Secret
from zegel.edge import rows
from zegel.edge.blobs import Blobs
from zegel.edge.database import Readers, Writer
from zegel.edge.log import Broken, log
from zegel.journey import milestones
from zegel.journey.custody import jobs, memory
from zegel.journey.custody.held import held_among
from zegel.journey.custody.jobs import Kind, Leased, LeaseLost
from zegel.journey.custody.memory import OpensFields, Present
from zegel.journey.custody.models import ImportComplaint, StagedFile, VerificationData, VerificationImport
from zegel.journey.custody.seal import ContentSink, wrap_field

State = VerificationImport.State
OPEN: Final = (State.JUDGING, State.READY, State.IMPORTING)
KEPT: Final = timedelta(hours=1)  # the file, until somebody says that it is to be imported
REMEMBERED: Final = timedelta(days=7)  # what became of it, with its complaints
AT_ONCE: Final = 250  # rows of one step: other writers wait for no more than that
_NAME: Final = "verification-import"
_CROWDED: Final = 1.0  # seconds between steps while mail waits for its 250


class OpensFiles(Protocol):
    """Opens a file that was kept sealed; :class:`zegel.journey.custody.unseal.Unsealer`."""

    def field(self, wrapped: bytes | memoryview | None, *, name: str, owner: uuid.UUID | str) -> Secret[bytes]: ...

    def octets(
        self, content: SealedFile, message_key: Secret[bytes], offset: int = 0, length: int | None = None
    ) -> Iterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A sealed stream, as custody knows them."""

    id: uuid.UUID
    size: int
    sealed: bytes | None
    header_size: int = 0
    head: bytes = b""


# --- a file comes ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Received:
    """A sealed, durable file, of which the database doesn't know yet."""

    file: SealedFile
    key: Secret[bytes]
    layout: Layout
    sha256: str


class Receiving:
    """Seals a file while it comes, in any cut; in clear it is in memory alone, and no more of it than a beginning.

    One of :meth:`finish` and :meth:`abandon` ends it; ``abandon`` may follow ``finish`` and leaves nothing.
    """

    def __init__(self, blobs: Blobs) -> None:
        self._sink = ContentSink(blobs)
        self._digest = hashlib.sha256()
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._is_utf8 = True
        self._beginning = b""
        self._is_too_large = False

    def feed(self, octets: bytes) -> None:
        """Raises ``OSError`` when the disk is full. What is too much is not kept."""
        if self._is_too_large or self._sink.size + len(octets) > MAX_OCTETS:
            self._is_too_large = True
            self._sink.abandon()
            return
        self._beginning += octets[: max(0, 4 * MAX_RECORD - len(self._beginning))]
        self._digest.update(octets)
        self._look_whether_utf8(octets)
        self._sink.feed(octets)

    def finish(self) -> Received | Refused:
        """Durable when it returns, as far as it isn't the database's to keep. Nothing is left of what is refused."""
        if self._is_too_large:
            return Refused(FileFault.TOO_LARGE)
        self._look_whether_utf8(b"", is_end=True)
        layout = read_layout(self._beginning, is_utf8=self._is_utf8)
        if isinstance(layout, Refused):
            self.abandon()
            return layout
        size, sealed = self._sink.size, self._sink.finish()
        file = SealedFile(self._sink.id, size, sealed)
        return Received(file, self._sink.message_key, layout, self._digest.hexdigest())

    def abandon(self) -> None:
        """Leaves nothing behind."""
        self._beginning = b""
        self._sink.abandon()

    def _look_whether_utf8(self, octets: bytes, *, is_end: bool = False) -> None:
        if self._is_utf8:
            try:
                self._decoder.decode(octets, is_end)
            except UnicodeDecodeError:
                self._is_utf8 = False


class OneIsOpen(Exception):
    """The organisation has an import that is not over; that one is to be confirmed or cancelled first."""

    def __init__(self, other: uuid.UUID) -> None:
        super().__init__("an import is open")
        self.other: Final = other


def open_of(organisation: Organisation) -> VerificationImport | None:
    """The import that is not over, if there is one."""
    return VerificationImport.objects.filter(organisation=organisation, state__in=OPEN).order_by("-id").first()


def stage(
    received: Received, organisation: Organisation, account: Account | None, *, now: Instant, sealing: SealingKey
) -> VerificationImport:
    """The file is to be judged. Raises :class:`OneIsOpen`; the caller then abandons it."""
    with transaction.atomic():
        row = _new(organisation, received.layout, received.file.size, received.sha256, now)
        row.account = account
        row.save(force_insert=True)
        StagedFile.objects.create(
            of=row,
            content=received.file.id,
            size=received.file.size,
            key=wrap_field(received.key.reveal(), name=_NAME, owner=row.id, to=sealing),
            sealed=received.file.sealed,
        )
        jobs.put(Kind.IMPORT, [row.id], due=now)
    return row


def _new(organisation: Organisation, layout: Layout, size: int, sha256: str, now: Instant) -> VerificationImport:
    """Inside a transaction."""
    current = Organisation.objects.select_for_update().get(pk=organisation.pk)
    other = open_of(current)
    if other is not None:
        raise OneIsOpen(other.id)
    return VerificationImport(
        organisation=current,
        created_at=now,
        region=current.region,
        size=size,
        sha256=sha256,
        layout=layout.to_json(),
        octet=layout.first.octet,
        line=layout.first.line,
    )


# --- what somebody says about it ---------------------------------------------------------------------------------


class Answer(Enum):
    """What became of a word about an import."""

    TAKEN = auto()
    AGAIN = auto()  # the organisation reads national numbers otherwise by now: it is judged again
    NOT = auto()  # somebody said something before, or it lapsed


def confirm(row: VerificationImport, *, now: Instant) -> Answer:
    """The good rows of what was judged are to be imported, by whoever acts."""
    actor = audit.acting_now()
    with transaction.atomic():
        current = VerificationImport.objects.select_for_update().select_related("organisation").get(id=row.id)
        if current.state != State.READY or current.judged_at != row.judged_at or now >= current.created_at + KEPT:
            return Answer.NOT
        is_same = current.region == current.organisation.region
        first = Layout.of_json(current.layout).first
        current.state = State.IMPORTING if is_same else State.JUDGING
        current.confirmed_at = now if is_same else None
        current.by_kind, current.by = (actor.kind.value, actor.name) if is_same else ("", "")
        current.octet, current.line, current.passed = first.octet, first.line, 0
        current.save()
        jobs.put_again(Kind.IMPORT, [current.id], due=now)
    return Answer.TAKEN if is_same else Answer.AGAIN


def cancel(row: VerificationImport, blobs: Blobs, *, now: Instant) -> Answer:
    """Nothing of it is imported, and the file is destroyed."""
    with transaction.atomic():
        current = VerificationImport.objects.select_for_update().get(id=row.id)
        if current.state not in (State.JUDGING, State.READY):
            return Answer.NOT
        content = _end(current, State.CANCELLED, now=now)
        jobs.forget(Kind.IMPORT, [current.id])
    _remove(blobs, content)
    return Answer.TAKEN


def _end(
    row: VerificationImport, state: VerificationImport.State, *, now: Instant, fault: FileFault | None = None
) -> uuid.UUID | None:
    """Inside a transaction: the key of the file is destroyed. Returns the name of its blob, to be removed after."""
    staged = StagedFile.objects.filter(of=row).first()
    if staged is not None:
        staged.delete()
    row.state, row.ended_at, row.verdicts = state, now, None
    row.fault = fault.value if fault is not None else ""
    row.save()
    return staged.content if staged is not None and staged.sealed is None else None


def _remove(blobs: Blobs, content: uuid.UUID | None) -> None:
    """Raises ``OSError``; the sweep finds it then. Its key is gone: it is waste, not a secret."""
    if content is not None:
        blobs.remove(content)


def forget_old(now: Instant) -> None:
    """What became of imports is no longer told."""
    VerificationImport.objects.filter(ended_at__lt=now - REMEMBERED).delete()


# --- judging -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """A complaint about a row."""

    line: int
    address: str
    complaint: Complaint


@dataclass(frozen=True, slots=True)
class Totals:
    """Rows, by what they do."""

    rows: int
    bad: int
    to_add: int
    to_change: int
    same: int

    @classmethod
    def of(cls, verdicts: bytes | bytearray) -> Totals:
        """Of all rows of a file."""
        octets = Counter(verdicts)
        effects: Counter[Effect] = Counter()
        for octet, count in octets.items():
            if octet != BAD:
                effects[Effects.of_octet(octet).together] += count
        return cls(len(verdicts), octets[BAD], effects[Effect.ADD], effects[Effect.CHANGE], effects[Effect.SAME])

    @property
    def good(self) -> int:
        """Rows that an import acts on, or that say what is known."""
        return self.rows - self.bad


class TooManyRows(Exception):
    """More than :data:`MAX_ROWS`."""


class DryRun:
    """One pass over the rows of a file. Nothing is written."""

    def __init__(self, organisation: int, layout: Layout, pieces: Iterable[bytes], *, region: str) -> None:
        self._organisation = organisation
        self._records = records(pieces, layout, at=layout.first)
        self._reading = Reading(region=region)
        self.place = layout.first
        self.verdicts = bytearray()

    def read(self) -> list[Together]:
        """The next rows, judged without a database; none at the end. Raises :class:`TooManyRows`."""
        found = list(islice(self._records, AT_ONCE))
        if self._reading.rows + len(found) > MAX_ROWS:
            raise TooManyRows
        if found:
            self.place = found[-1].after
        return [self._reading.read(one) for one in found]

    def hold_against(self, these: Sequence[Together], *, open_field: OpensFields) -> list[Told]:
        """What the rows do to what is known now, and what is wrong with any."""
        wanted = [one.wanted for one in these if one.wanted is not None]
        known = memory.present(self._organisation, {one.recipient.key for one in wanted}) if wanted else {}
        told: list[Told] = []
        for one in these:
            effects = _effects(one.wanted, known, open_field) if one.wanted is not None else None
            self.verdicts.append(effects.octet if effects is not None else BAD)
            told += (Told(one.row.line, one.row.address, complaint) for complaint in one.row.complaints)
            for number, line in one.spoiled:
                self.verdicts[number] = BAD
                told.append(Told(line, one.row.address, Complaint(RowFault.CONFLICT, None, one.row.line)))
        return told


def _effects(wanted: Wanted, known: dict[tuple[str, Method], Present], open_field: OpensFields) -> Effects:
    effects: dict[Method, Effect] = {}
    for value in wanted.values:
        method = method_of(value)
        before = known.get((wanted.recipient.key, method))
        if before is None:
            effects[method] = Effect.ADD
        else:
            effects[method] = Effect.SAME if before.is_same(value, open_field=open_field) else Effect.CHANGE
    return Effects.of(effects)


# --- importing ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Planned:
    """A good row, and what it was judged to do."""

    line: int
    recipient: Mailbox
    values: tuple[tuple[SmsCode | AccessCode, Effect], ...]
    together: Effect


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of an import."""

    first: int  # the number of the first
    count: int
    after: Place
    planned: tuple[_Planned, ...]


def batches(
    pieces: Iterable[bytes], layout: Layout, verdicts: bytes, *, at: Place, first: int, region: str
) -> Iterator[Batch]:
    """Of the rows from ``at`` on, of which the first one has the number ``first``."""
    found = records(pieces, layout, at=at)
    while some := list(islice(found, AT_ONCE)):
        octets = verdicts[first : first + len(some)]
        planned = tuple(filter(None, map(lambda one, octet: _plan(one, octet, region), some, octets)))
        yield Batch(first, len(some), some[-1].after, planned)
        first += len(some)


def _plan(record: Record, octet: int, region: str) -> _Planned | None:
    """``None`` for a bad row."""
    wanted = judge(record, region=region).wanted if octet != BAD else None
    if wanted is None:
        return None
    effects = Effects.of_octet(octet)
    values = tuple((value, effects.of_method(method_of(value))) for value in wanted.values)
    return _Planned(record.line, wanted.recipient, values, effects.together)


def import_batch(row: uuid.UUID, batch: Batch, *, now: Instant, sealing: SealingKey) -> VerificationImport:
    """Inside a transaction: once, however often it is tried. Raises :class:`LeaseLost` where somebody else was there.

    What was added, changed or removed since it was judged is left as it is.
    """
    current = VerificationImport.objects.select_for_update().select_related("organisation").get(id=row)
    if current.state != State.IMPORTING or current.passed != batch.first or current.judged_at is None:
        raise LeaseLost
    keys = {one.recipient.key for one in batch.planned}
    known = memory.present(current.organisation_id, keys) if keys else {}
    supplied: list[tuple[Mailbox, SmsCode | AccessCode, uuid.UUID | None]] = []
    left: list[Told] = []
    for one in batch.planned:
        if not _is_as_judged(one, known, current.judged_at):
            left.append(Told(one.line, str(one.recipient), Complaint(RowFault.CHANGED)))
            continue
        supplied += _supplied(one, known)
        current.added += one.together is Effect.ADD
        current.changed += one.together is Effect.CHANGE
    _supply(current, supplied, now=now, sealing=sealing)
    _complain(current, left)
    current.left += len(left)
    current.passed += batch.count
    current.octet, current.line = batch.after.octet, batch.after.line
    current.save(update_fields=["added", "changed", "left", "passed", "octet", "line"])
    return current


def _is_as_judged(one: _Planned, known: dict[tuple[str, Method], Present], judged_at: Instant) -> bool:
    for value, effect in one.values:
        before = known.get((one.recipient.key, method_of(value)))
        match effect:
            case Effect.NONE:
                continue
            case Effect.ADD:
                is_same = before is None
            case Effect.CHANGE | Effect.SAME:
                is_same = before is not None and before.created_at <= judged_at
            case unreachable:
                assert_never(unreachable)
        if not is_same:
            return False
    return True


def _supplied(
    one: _Planned, known: dict[tuple[str, Method], Present]
) -> Iterator[tuple[Mailbox, SmsCode | AccessCode, uuid.UUID | None]]:
    for value, effect in one.values:
        if effect in (Effect.ADD, Effect.CHANGE):
            before = known.get((one.recipient.key, method_of(value)))
            yield one.recipient, value, before.id if before is not None else None


def _supply(
    row: VerificationImport,
    supplied: Sequence[tuple[Mailbox, SmsCode | AccessCode, uuid.UUID | None]],
    *,
    now: Instant,
    sealing: SealingKey,
) -> None:
    """Who was held for lack of it is decided again."""
    if supplied:
        origin = VerificationData.Origin.IMPORT
        memory.supply_many(row.organisation_id, supplied, origin=origin, now=now, sealing=sealing)
        held = held_among(row.organisation_id, {recipient.key for recipient, _, _ in supplied})
        milestones.supplied(held, now=now)


def _complain(row: VerificationImport, told: Sequence[Told]) -> None:
    rows.insert(
        ImportComplaint,
        ("of_id", "line", "column", "fault", "address", "other"),
        [
            (
                row.id,
                one.line,
                one.complaint.column.value if one.complaint.column else "",
                one.complaint.fault.value,
                one.address,
                one.complaint.other,
            )
            for one in told
        ],
    )


def finish(row: uuid.UUID, *, now: Instant, fault: FileFault | None = None) -> uuid.UUID | None:
    """Inside a transaction: the import is over, and noted. ``fault``: the rest can't be read any more. Returns the name
    of the blob to be removed."""
    current = VerificationImport.objects.select_for_update().select_related("organisation").get(id=row)
    content = _end(current, State.REFUSED if fault is not None else State.DONE, now=now, fault=fault)
    audit.note(
        Act.VERIFICATION_IMPORTED,
        current.organisation,
        details={
            "sha256": current.sha256,
            "rows": current.rows,
            "bad": current.bad,
            "added": current.added,
            "changed": current.changed,
            "left": current.left,
            "is_complete": fault is None,
        },
        by=Actor(ActorKind(current.by_kind), current.by),
        now=now,
    )
    return content


# --- in dispatch -------------------------------------------------------------------------------------------------


class Importing:
    """Judges and imports the files that wait, and destroys those that nobody wants."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        opens: OpensFiles,
        blobs: Blobs,
        *,
        sealing: SealingKey,
        now: Callable[[], Instant],
        is_over: Callable[[], bool] = lambda: False,
        is_crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        """``is_over``: this process is to end; what is under way goes on in the next one."""
        self._writer = writer
        self._readers = readers
        self._opens = opens
        self._blobs = blobs
        self._sealing = sealing
        self._now = now
        self._is_over = is_over
        self._is_crowded = is_crowded

    async def work(self, leased: Leased) -> None:
        """What is to be done about one file now."""
        found = await self._readers.read(lambda: VerificationImport.objects.filter(id=leased.subject).first())
        if found is None or found.state not in OPEN:
            await self._writer.write(lambda: jobs.finish(leased))
        elif found.state != State.IMPORTING and self._now() >= found.created_at + KEPT:
            await self._conclude(leased, lambda: self._ended(leased, State.LAPSED))
        elif found.state == State.READY:
            await self._writer.write(lambda: jobs.postpone(leased, until=found.created_at + KEPT))
        else:
            try:
                await (self._judge(leased) if found.state == State.JUDGING else self._import(leased, found))
            except CannotOpen:
                await self._lose(leased, found)

    # judging

    async def _judge(self, leased: Leased) -> None:
        found = await self._writer.write(lambda: self._begun(leased))
        layout = Layout.of_json(found.layout)
        pieces = await self._readers.read(lambda: self._pieces(found, layout.first))
        dry_run = DryRun(found.organisation_id, layout, pieces, region=found.region)
        try:
            while these := await asyncio.to_thread(dry_run.read):
                await self._judge_these(leased, dry_run, these)
                if not await self._may_go_on(leased):
                    return
        except TooManyRows:
            await self._conclude(leased, lambda: self._ended(leased, State.REFUSED, FileFault.TOO_MANY))
            return
        if dry_run.verdicts:
            await self._writer.write(lambda: self._ready(leased, dry_run))
        else:
            await self._conclude(leased, lambda: self._ended(leased, State.REFUSED, FileFault.EMPTY))

    async def _judge_these(self, leased: Leased, dry_run: DryRun, these: Sequence[Together]) -> None:
        told = await self._readers.read(lambda: dry_run.hold_against(these, open_field=self._opens.field))
        await self._writer.write(lambda: self._judged_some(leased, dry_run, told))

    def _begun(self, leased: Leased) -> VerificationImport:
        """What an earlier try found is forgotten: it may have seen what is known otherwise."""
        row = self._ours(leased, State.JUDGING)
        row.judged_at, row.region = self._now(), row.organisation.region
        first = Layout.of_json(row.layout).first
        row.octet, row.line, row.rows = first.octet, first.line, 0
        row.save()
        row.complaints.all().delete()
        return row

    def _judged_some(self, leased: Leased, dry_run: DryRun, told: Sequence[Told]) -> None:
        row = self._ours(leased, State.JUDGING)
        row.octet, row.line, row.rows = dry_run.place.octet, dry_run.place.line, len(dry_run.verdicts)
        row.save(update_fields=["octet", "line", "rows"])
        _complain(row, told)

    def _ready(self, leased: Leased, dry_run: DryRun) -> None:
        row, totals = self._ours(leased, State.JUDGING), Totals.of(dry_run.verdicts)
        _set_judged(row, totals, bytes(dry_run.verdicts))
        row.state = State.READY
        row.save()
        jobs.postpone(leased, until=row.created_at + KEPT)

    # importing

    async def _import(self, leased: Leased, found: VerificationImport) -> None:
        at = Place(found.octet, found.line)
        pieces = await self._readers.read(lambda: self._pieces(found, at))
        coming = batches(
            pieces,
            Layout.of_json(found.layout),
            bytes(found.verdicts or b""),
            at=at,
            first=found.passed,
            region=found.region,
        )
        while (batch := await asyncio.to_thread(next, coming, None)) is not None:
            await self._import_these(leased, batch)
            if not await self._may_go_on(leased):
                return
        await self._conclude(leased, lambda: finish(leased.subject, now=self._now()))

    async def _import_these(self, leased: Leased, batch: Batch) -> None:
        def work() -> None:
            self._ours(leased, State.IMPORTING)
            import_batch(leased.subject, batch, now=self._now(), sealing=self._sealing)

        await self._writer.write(work)

    async def _lose(self, leased: Leased, found: VerificationImport) -> None:
        """The file can't be opened any more."""
        if found.state == State.IMPORTING:
            await self._conclude(leased, lambda: finish(leased.subject, now=self._now(), fault=FileFault.LOST))
        else:
            await self._conclude(leased, lambda: self._ended(leased, State.REFUSED, FileFault.LOST))

    # both

    def _ours(self, leased: Leased, state: VerificationImport.State) -> VerificationImport:
        """Inside a transaction. Raises :class:`LeaseLost` where it was cancelled, or somebody else has it."""
        row = VerificationImport.objects.select_related("organisation").filter(id=leased.subject, state=state).first()
        if row is None or not jobs.is_held(leased):
            raise LeaseLost
        return row

    def _pieces(self, found: VerificationImport, at: Place) -> Iterator[bytes]:
        """The octets of the file from there on. Raises :class:`CannotOpen`."""
        staged = StagedFile.objects.filter(of=found).first()
        if staged is None:
            raise CannotOpen("destroyed")
        sealed = bytes(staged.sealed) if staged.sealed is not None else None
        file = SealedFile(staged.content, staged.size, sealed)
        key = self._opens.field(staged.key, name=_NAME, owner=found.id)
        return self._opens.octets(file, key, at.octet)

    async def _may_go_on(self, leased: Leased) -> bool:
        """``False``: the next process goes on."""
        if self._is_over():
            await self._writer.write(lambda: jobs.postpone(leased, until=self._now()))
            return False
        if self._is_crowded():
            await asyncio.sleep(_CROWDED)
        return True

    def _ended(
        self, leased: Leased, state: VerificationImport.State, fault: FileFault | None = None
    ) -> uuid.UUID | None:
        row = VerificationImport.objects.get(id=leased.subject)
        return _end(row, state, now=self._now(), fault=fault) if row.state in OPEN else None

    async def _conclude(self, leased: Leased, work: Callable[[], uuid.UUID | None]) -> None:
        """Does ``work`` with the end of the job, and removes the file."""

        def concluded() -> uuid.UUID | None:
            jobs.finish(leased)
            return work()

        content = await self._writer.write(concluded)
        try:
            await asyncio.to_thread(_remove, self._blobs, content)
        except OSError as cause:  # the sweep finds it; its key is gone
            log(Broken("removing a file that was imported", cause))


def _set_judged(row: VerificationImport, totals: Totals, verdicts: bytes) -> None:
    row.rows, row.bad, row.to_add, row.to_change, row.same = (
        totals.rows,
        totals.bad,
        totals.to_add,
        totals.to_change,
        totals.same,
    )
    row.verdicts = verdicts


# --- without dispatch --------------------------------------------------------------------------------------------


def begin_here(
    organisation: Organisation, layout: Layout, octets: bytes, dry_run: DryRun, told: Sequence[Told], *, now: Instant
) -> VerificationImport:
    """For the command line, which has the file itself: what it judged from ``now`` on is imported by whoever acts, with
    :func:`import_here`. Should that be killed, dispatch says after :data:`KEPT` how far it came. Raises
    :class:`OneIsOpen`."""
    actor = audit.acting_now()
    with transaction.atomic():
        row = _new(organisation, layout, len(octets), hashlib.sha256(octets).hexdigest(), now)
        row.judged_at = row.confirmed_at = now
        row.by_kind, row.by, row.state = actor.kind.value, actor.name, State.IMPORTING
        _set_judged(row, Totals.of(dry_run.verdicts), bytes(dry_run.verdicts))
        row.save(force_insert=True)
        _complain(row, told)
        jobs.put(Kind.IMPORT, [row.id], due=now + KEPT)
    return row


def import_here(
    row: VerificationImport, octets: bytes, *, now: Callable[[], Instant], sealing: SealingKey
) -> Iterator[VerificationImport]:
    """Some rows at each step; over at the end. Raises :class:`LeaseLost` where somebody else was there."""
    layout = Layout.of_json(row.layout)
    pieces, verdicts = [octets[layout.first.octet :]], bytes(row.verdicts or b"")
    for batch in batches(pieces, layout, verdicts, at=layout.first, first=0, region=row.region):
        with transaction.atomic():
            row = import_batch(row.id, batch, now=now(), sealing=sealing)
        yield row
    with transaction.atomic():
        finish(row.id, now=now())
        jobs.forget(Kind.IMPORT, [row.id])
