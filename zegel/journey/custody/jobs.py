"""Jobs: work that is due, leased by one process at a time, done in the transaction that records its result."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from itertools import groupby
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
    REMIND = "remind"  # a recipient who may not have opened yet
    UNREAD = "unread"  # a submission with recipients who were reminded
    WARN = "warn"  # a submission whose control fields hold something odd
    HELD = "held"  # a submission with recipients that are held
    RELEASE = "release"  # a recipient that is held, and about whom something may have become known
    WITHHELD = "withheld"  # a transmission with a code that was not sent
    EXPIRE = "expire"  # a conversation


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


def lease(kinds: Sequence[Kind], *, most: int, now: Instant) -> list[Leased]:
    """Inside a transaction: takes up to ``most`` due jobs for this process, oldest first.

    ``kind || ''`` keeps the database from going by kind, and so through every expiry of the years to come.
    """
    skip = " FOR UPDATE SKIP LOCKED" if connection.features.has_select_for_update_skip_locked else ""
    taken = rows.select(
        f"""SELECT id, kind, subject FROM {rows.table(Job)}
        WHERE kind || '' IN ({", ".join(["%s"] * len(kinds))}) AND due_at <= %s
        AND (leased_until IS NULL OR leased_until < %s)
        ORDER BY due_at LIMIT {int(most)}{skip}""",  # noqa: S608
        (*(kind.value for kind in kinds), rows.moment(now), rows.moment(now)),
    )
    token = identifier()
    leased = [Leased(rows.found(job), Kind(kind), rows.found(subject), token) for job, kind, subject in taken]
    rows.update(Job, ("lease", "leased_until"), [(token, now + LEASE, one.job) for one in leased])
    return leased


def finish(*leased: Leased) -> None:
    """Inside the transaction that records the results; raises :class:`LeaseLost`, which undoes that transaction."""
    done = 0
    for token, ours in groupby(sorted(leased, key=lambda one: one.token), key=lambda one: one.token):
        found = Job.objects.filter(id__in=[one.job for one in ours], lease=token)
        done += found._raw_delete(found.db)  # nothing refers to a job: no need to look for what does
    if done != len(leased):
        raise LeaseLost


def postpone(leased: Leased, *, until: Instant) -> None:
    """Inside the transaction that records the attempt: the same job again later. Raises :class:`LeaseLost`."""
    found = Job.objects.filter(id=leased.job, lease=leased.token)
    if not found.update(due_at=until, lease=None, leased_until=None):
        raise LeaseLost


def renew(leased: Sequence[Leased], *, now: Instant) -> None:
    """Keeps jobs that are still being done."""
    for one in leased:
        Job.objects.filter(id=one.job, lease=one.token).update(leased_until=now + LEASE)


def release_everything() -> None:
    """Inside a transaction, before any process of this database runs: what a crash left leased is free at once."""
    Job.objects.exclude(lease=None).update(lease=None, leased_until=None)
