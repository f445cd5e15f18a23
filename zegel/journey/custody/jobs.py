"""Jobs: work that is due, leased by one process at a time, done in the transaction that records its result."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from itertools import accumulate, groupby
from typing import Final

from django.db import connection

from zegel.core.clock import Instant
from zegel.edge import rows
from zegel.edge.chance import identifier
from zegel.journey.custody.models import Job

LEASE: Final = timedelta(seconds=30)  # the holder renews it; one that was killed delays its jobs no longer than this


class Kind(StrEnum):
    """What is to be done, and to what the subject id belongs."""

    DECIDE = "decide"  # a submission
    TRANSMIT = "transmit"  # a transmission
    SMS = "sms"  # an sms
    REPORT = "report"  # a recipient that can't be served
    DELAYED = "delayed"  # a recipient that is still being tried
    RELAYED = "relayed"  # a recipient whose server took the mail
    CONFIRMED = "confirmed"  # a recipient whose server reported success
    REMIND = "remind"  # a recipient who may not have opened yet
    UNREAD = "unread"  # a submission with recipients who were reminded
    WARN = "warn"  # a submission whose control fields hold something odd
    HELD = "held"  # a submission with recipients that are held
    RELEASE = "release"  # a recipient that is held, and about whom something may have become known
    WITHHELD = "withheld"  # a transmission with a code that was not sent
    ANSWERED = "answered"  # a message that answers
    CONTINUES = "continues"  # a submission that names earlier messages
    MAILBOX = "mailbox"  # a mailbox that somebody says is theirs
    EXPIRE = "expire"  # a conversation
    IMPORT = "import"  # a file of verification data


class LeaseLost(Exception):
    """Another process took the job over; what this one did is not recorded."""


@dataclass(frozen=True, slots=True)
class Leased:
    """The right to do one job; results are refused once somebody else took it over."""

    job: uuid.UUID
    kind: Kind
    subject: uuid.UUID
    token: uuid.UUID


def put(kind: Kind, subjects: Sequence[uuid.UUID], *, due: Instant) -> None:
    """Inside a transaction: one job for each subject that has none of this kind yet."""
    rows.insert(
        Job,
        ("id", "kind", "subject", "due_at"),
        [(identifier(), kind.value, subject, due) for subject in subjects],
        unless_there=True,
    )


def put_again(kind: Kind, subjects: Sequence[uuid.UUID], *, due: Instant) -> None:
    """Inside a transaction, as :func:`put`, for work whose facts changed just now: a job that is there is due again,
    and who is doing it loses the lease, so that no result is recorded that was made of the old facts. For kinds that
    do nothing outside the transaction of their result."""
    Job.objects.filter(kind=kind.value, subject__in=subjects).update(due_at=due, lease=None, leased_until=None)
    put(kind, subjects, due=due)


def forget(kind: Kind, subjects: Sequence[uuid.UUID]) -> None:
    """Inside a transaction: this work is not to be done any more; who is doing it loses the lease."""
    Job.objects.filter(kind=kind.value, subject__in=subjects).delete()


def lease(
    kinds: Sequence[Kind],
    *,
    most: int,
    now: Instant,
    ours: Collection[uuid.UUID] = frozenset(),
    light: Collection[Kind] = frozenset(),
) -> list[Leased]:
    """Inside a transaction: takes up to ``most`` due jobs for this process, oldest first; none of ``ours``, which it is
    doing: after a stall, or where the clock was set forward, their leases look as if nobody did them. Two that are
    ``light`` count as one.

    ``kind || ''`` keeps the database from going by kind, and so through every expiry of the years to come.
    """
    skip = " FOR UPDATE SKIP LOCKED" if connection.features.has_select_for_update_skip_locked else ""
    found = rows.select(
        f"""SELECT id, kind, subject FROM {rows.table(Job)}
        WHERE kind || '' IN ({rows.marks(len(kinds))}) AND due_at <= %s
        AND (leased_until IS NULL OR leased_until < %s)
        ORDER BY due_at LIMIT {(2 if light else 1) * int(most) + len(ours)}{skip}""",  # noqa: S608
        (*(kind.value for kind in kinds), rows.moment(now), rows.moment(now)),
    )
    free = [row for row in found if rows.found(row[0]) not in ours]
    filled = accumulate(0.5 if kind in light else 1.0 for _, kind, _ in free)
    taken = [row for row, count in zip(free, filled, strict=True) if count <= most]
    token = identifier()
    if taken:
        rows.execute(
            f"""UPDATE {rows.table(Job)} SET lease = %s, leased_until = %s
            WHERE id IN ({rows.marks(len(taken))})""",  # noqa: S608
            (rows.identifier(token), rows.moment(now + LEASE), *(job for job, _, _ in taken)),
        )
    return [Leased(rows.found(job), Kind(kind), rows.found(subject), token) for job, kind, subject in taken]


def finish(*leased: Leased) -> None:
    """Inside the transaction that records the results; raises :class:`LeaseLost`, which undoes that transaction."""
    done = 0
    for token, ours in groupby(sorted(leased, key=lambda one: one.token), key=lambda one: one.token):
        ids = [rows.identifier(one.job) for one in ours]
        done += rows.execute(
            f"DELETE FROM {rows.table(Job)} WHERE id IN ({rows.marks(len(ids))}) AND lease = %s",  # noqa: S608
            (*ids, rows.identifier(token)),
        )
    if done != len(leased):
        raise LeaseLost


def postpone(leased: Leased, *, until: Instant) -> None:
    """Inside the transaction that records the attempt: the same job again later. Raises :class:`LeaseLost`."""
    found = Job.objects.filter(id=leased.job, lease=leased.token)
    if not found.update(due_at=until, lease=None, leased_until=None):
        raise LeaseLost


def is_held(leased: Leased) -> bool:
    """Inside a transaction: the job is still this process's. For work that can't be undone."""
    return Job.objects.filter(id=leased.job, lease=leased.token).exists()


def renew(leased: Sequence[Leased], *, now: Instant) -> None:
    """Keeps jobs that are still being done."""
    for one in leased:
        Job.objects.filter(id=one.job, lease=one.token).update(leased_until=now + LEASE)


def release_everything() -> None:
    """Inside a transaction, before any process of this database runs: what a crash left leased is free at once."""
    Job.objects.exclude(lease=None).update(lease=None, leased_until=None)
