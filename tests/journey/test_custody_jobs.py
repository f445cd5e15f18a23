"""Jobs: leased by one at a time, done in the transaction that records the result, and never lost."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection, transaction
from structlog.testing import capture_logs

from tests.journey.portal_ground import Clock
from zegel.accounts.models import Organisation
from zegel.edge.chance import identifier
from zegel.edge.database import Writer
from zegel.edge.wake import Bell
from zegel.journey.custody import jobs
from zegel.journey.custody import worker as working
from zegel.journey.custody.jobs import LEASE, Kind, Leased, LeaseLost
from zegel.journey.custody.models import Job
from zegel.journey.custody.worker import AFTER_DEFECT, Worker

pytestmark = pytest.mark.django_db(transaction=True)

KINDS = tuple(Kind)
SECOND = timedelta(seconds=1)


def put(clock: Clock, count: int = 1, kind: Kind = Kind.DECIDE, **later: float) -> list[uuid.UUID]:
    subjects = [identifier() for _ in range(count)]
    with transaction.atomic():
        jobs.put(kind, subjects, due=clock() + timedelta(**later))
    return subjects


def lease(
    clock: Clock, most: int = 100, kinds: tuple[Kind, ...] = KINDS, ours: Collection[Leased] = ()
) -> list[Leased]:
    with transaction.atomic():
        return jobs.lease(kinds, most=most, now=clock(), ours=frozenset(one.job for one in ours))


# Again


def test_what_is_put_again_is_taken_from_who_does_it_and_done_anew(clock: Clock) -> None:
    """A put that finds the job there is otherwise lost, with what it was put for."""
    (subject,) = put(clock)
    (first,) = lease(clock)
    with transaction.atomic():
        jobs.put_again(Kind.DECIDE, [subject], due=clock())
    with pytest.raises(LeaseLost), transaction.atomic():
        jobs.finish(first)
    (second,) = lease(clock)
    assert (second.job, second.subject) == (first.job, subject)
    with transaction.atomic():
        jobs.finish(second)
    assert not Job.objects.exists()


def test_what_is_put_again_is_due_now_however_far_it_was_postponed(clock: Clock) -> None:
    (subject,) = put(clock, days=3)
    assert lease(clock) == []
    with transaction.atomic():
        jobs.put_again(Kind.DECIDE, [subject], due=clock())
    assert [one.subject for one in lease(clock)] == [subject]


def test_what_is_not_there_is_put_and_nothing_else_is_touched(clock: Clock) -> None:
    (same_subject,) = put(clock, kind=Kind.WARN)
    (other,) = put(clock, kind=Kind.DECIDE)
    before = lease(clock)
    with transaction.atomic():
        jobs.put_again(Kind.DECIDE, [same_subject], due=clock())
    assert {(one.kind, one.subject) for one in lease(clock)} == {(Kind.DECIDE, same_subject)}
    with transaction.atomic():
        jobs.finish(*before)
    assert other in {one.subject for one in before}


# A lease


def test_what_is_leased_is_not_leased_again(clock: Clock) -> None:
    put(clock)
    assert len(lease(clock)) == 1
    assert lease(clock) == []


def test_threads_that_lease_at_the_same_moment_never_share_a_job(clock: Clock) -> None:
    put(clock, 60)
    barrier, taken = threading.Barrier(6), []

    def take() -> None:
        barrier.wait()
        try:
            while found := lease(clock, most=3):
                taken.extend(found)
        finally:
            connection.close()

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 60
    assert len({one.job for one in taken}) == 60


def test_a_lease_ends_and_somebody_else_takes_over(clock: Clock) -> None:
    (subject,) = put(clock)
    (first,) = lease(clock)
    clock.at += LEASE
    assert lease(clock) == []
    clock.at += SECOND
    (second,) = lease(clock)
    assert (second.job, second.subject) == (first.job, subject)
    assert second.token != first.token


def test_what_we_do_is_not_taken_again_when_its_lease_looks_as_if_it_ended(clock: Clock) -> None:
    put(clock, 2)
    held = lease(clock)
    clock.at += LEASE + SECOND
    assert lease(clock, ours=held) == []
    assert {one.job for one in lease(clock, ours=held[:1])} == {held[1].job}


def test_what_we_do_takes_the_turn_of_nothing_else(clock: Clock) -> None:
    put(clock, 3)
    held = lease(clock)
    clock.at += LEASE + SECOND
    later = put(clock, 2)
    assert [one.subject in later for one in lease(clock, most=1, ours=held)] == [True]
    assert [one.subject in later for one in lease(clock, most=5, ours=held)] == [True]


def test_what_we_do_stays_ours_to_finish(clock: Clock) -> None:
    put(clock)
    (held,) = lease(clock)
    clock.at += LEASE + SECOND
    lease(clock, ours=[held])
    with transaction.atomic():
        jobs.finish(held)
    assert not Job.objects.exists()


def test_a_renewed_lease_goes_on(clock: Clock) -> None:
    put(clock, 2)
    held = lease(clock)
    clock.at += LEASE
    jobs.renew(held, now=clock())
    clock.at += LEASE
    assert lease(clock) == []


def test_renewing_does_not_bring_back_a_lease_that_was_lost(clock: Clock) -> None:
    put(clock)
    held = lease(clock)
    clock.at += LEASE + SECOND
    (taken_over,) = lease(clock)
    jobs.renew(held, now=clock() + timedelta(days=1))
    assert Job.objects.get().lease == taken_over.token
    assert Job.objects.get().leased_until == clock() + LEASE


def test_what_a_crash_left_leased_is_free_at_the_next_start(clock: Clock) -> None:
    put(clock, 3)
    lease(clock)
    jobs.release_everything()
    assert len(lease(clock)) == 3


# What is due


def test_nothing_is_leased_before_its_time(clock: Clock) -> None:
    put(clock, seconds=10)
    assert lease(clock) == []
    clock.forward(seconds=10)
    assert len(lease(clock)) == 1


def test_the_oldest_goes_first_and_no_more_than_asked(clock: Clock) -> None:
    late, early = put(clock, seconds=-1), put(clock, seconds=-2)
    assert [one.subject for one in lease(clock, most=1)] == early
    assert [one.subject for one in lease(clock, most=1)] == late


def test_two_that_are_light_count_as_one(clock: Clock) -> None:
    put(clock, 3, Kind.TRANSMIT)
    put(clock, 4, Kind.DECIDE, seconds=1)
    put(clock, 3, Kind.TRANSMIT, seconds=2)
    clock.forward(seconds=5)
    kinds = (Kind.DECIDE, Kind.TRANSMIT)

    def taken(most: int) -> list[Kind]:
        with transaction.atomic():
            found = jobs.lease(kinds, most=most, now=clock(), light={Kind.DECIDE})
            transaction.set_rollback(True)
        return [one.kind for one in found]

    assert taken(2) == [Kind.TRANSMIT] * 2
    assert taken(4) == [Kind.TRANSMIT] * 3 + [Kind.DECIDE] * 2
    assert taken(6) == [Kind.TRANSMIT] * 3 + [Kind.DECIDE] * 4 + [Kind.TRANSMIT]


def test_only_the_kinds_that_were_asked_for_are_leased(clock: Clock) -> None:
    put(clock, kind=Kind.REPORT)
    assert lease(clock, kinds=(Kind.DECIDE, Kind.TRANSMIT)) == []
    assert [one.kind for one in lease(clock, kinds=(Kind.REPORT,))] == [Kind.REPORT]


def test_a_subject_has_one_job_of_a_kind(clock: Clock) -> None:
    (subject,) = put(clock)
    with transaction.atomic():
        jobs.put(Kind.DECIDE, [subject, identifier()], due=clock())
        jobs.put(Kind.WARN, [subject], due=clock())
    assert Job.objects.filter(subject=subject).count() == 2
    assert Job.objects.count() == 3


def test_a_job_belongs_to_the_transaction_that_made_it(clock: Clock) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        jobs.put(Kind.DECIDE, [identifier()], due=clock())
        raise ZeroDivisionError
    assert not Job.objects.exists()


# The end


def test_what_is_finished_is_gone(clock: Clock) -> None:
    put(clock)
    (held,) = lease(clock)
    jobs.finish(held)
    assert not Job.objects.exists()


def record(*finished: Leased, name: str = "result") -> None:
    """A result and the end of its jobs, in one transaction."""
    with transaction.atomic():
        Organisation.objects.create(name=name)
        jobs.finish(*finished)


@pytest.mark.parametrize("after", ["taken over", "finished by another", "given back"])
def test_who_lost_the_lease_records_nothing(clock: Clock, after: str) -> None:
    put(clock)
    (held,) = lease(clock)
    clock.at += LEASE + SECOND
    (other,) = lease(clock)
    if after == "finished by another":
        jobs.finish(other)
    elif after == "given back":
        jobs.postpone(other, until=clock())
    with pytest.raises(LeaseLost):
        record(held)
    assert not Organisation.objects.exists()
    assert Job.objects.exists() is (after != "finished by another")


def test_nobody_finishes_twice(clock: Clock) -> None:
    put(clock)
    (held,) = lease(clock)
    record(held)
    with pytest.raises(LeaseLost):
        record(held, name="again")
    assert [one.name for one in Organisation.objects.all()] == ["result"]


def test_several_are_finished_together_or_not_at_all(clock: Clock) -> None:
    put(clock, 2)
    early = lease(clock)
    put(clock, 2)
    late = lease(clock)
    record(*early, *late)
    assert not Job.objects.exists()

    put(clock, 3)
    held = lease(clock)
    jobs.finish(held[1])
    with pytest.raises(LeaseLost):
        record(*held, name="again")
    assert Job.objects.count() == 2
    assert Organisation.objects.count() == 1


def test_what_is_postponed_comes_again_at_its_time(clock: Clock) -> None:
    (subject,) = put(clock)
    (held,) = lease(clock)
    jobs.postpone(held, until=clock() + timedelta(minutes=5))
    assert lease(clock) == []
    clock.forward(minutes=5)
    (again,) = lease(clock)
    assert (again.job, again.subject) == (held.job, subject)
    with pytest.raises(LeaseLost):
        jobs.postpone(held, until=clock())


# The worker


class Shop:
    """A worker with one doer, in a loop of its own."""

    def __init__(self, folder: Path, clock: Clock, *, most: int = 5, crowded: bool = False) -> None:
        self._folder, self._clock, self._most, self._crowded = folder, clock, most, crowded

    async def work(self, doer: Callable[[Leased, Writer], Awaitable[None]], until: Callable[[], bool]) -> None:
        """Until ``until`` holds."""
        writer, bell = Writer(), Bell(self._folder)

        async def chores() -> None:
            return

        worker = Worker(
            {kind: lambda leased: doer(leased, writer) for kind in (Kind.DECIDE, Kind.TRANSMIT)},
            writer=writer,
            bell=bell,
            most=self._most,
            now=self._clock,
            chores=chores,
            is_crowded=lambda: self._crowded,
        )
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(20):
            while not await asyncio.to_thread(_asking, until):
                await asyncio.sleep(0.01)
        worker.stop()
        await running
        bell.close()
        writer.close()


def _asking(question: Callable[[], bool]) -> bool:
    try:
        return question()
    finally:
        connection.close()


def test_every_job_is_done_once(tmp_path: Path, clock: Clock) -> None:
    subjects = put(clock, 40)
    done: list[uuid.UUID] = []

    async def do(leased: Leased, writer: Writer) -> None:
        done.append(leased.subject)
        await asyncio.sleep(0)
        await writer.write(lambda: jobs.finish(leased))

    asyncio.run(Shop(tmp_path, clock).work(do, lambda: not Job.objects.exists()))
    assert sorted(done) == sorted(subjects)


def test_a_crowd_at_the_door_lets_work_go_on_and_what_hangs_stops_nobody(tmp_path: Path, clock: Clock) -> None:
    """While mail comes in, few jobs are taken at a time; those that wait for a slow server are not in the way."""
    subjects = put(clock, 30)
    slow = set(sorted(subjects)[:12])
    done: list[uuid.UUID] = []
    release = asyncio.Event()

    async def do(leased: Leased, writer: Writer) -> None:
        if leased.subject in slow:
            await release.wait()
        done.append(leased.subject)
        if set(done) == set(subjects) - slow:
            release.set()
        await writer.write(lambda: jobs.finish(leased))

    shop = Shop(tmp_path, clock, most=50, crowded=True)
    asyncio.run(shop.work(do, lambda: not Job.objects.exists()))
    assert sorted(done) == sorted(subjects)


@pytest.mark.parametrize(("kind", "wanted"), [(Kind.TRANSMIT, 4), (Kind.DECIDE, 8)])
def test_no_more_than_so_many_are_done_at_once(tmp_path: Path, clock: Clock, kind: Kind, wanted: int) -> None:
    """Decisions ask the database alone: two of them count as one."""
    put(clock, 30, kind)
    now, most = 0, 0

    async def do(leased: Leased, writer: Writer) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        await writer.write(lambda: jobs.finish(leased))

    asyncio.run(Shop(tmp_path, clock, most=4).work(do, lambda: not Job.objects.exists()))
    assert most == wanted


def test_a_defect_puts_its_job_off_and_stops_no_other(tmp_path: Path, clock: Clock) -> None:
    bad, *good = put(clock, 4)

    async def do(leased: Leased, writer: Writer) -> None:
        if leased.subject == bad:
            raise ZeroDivisionError
        await writer.write(lambda: jobs.finish(leased))

    def put_off() -> bool:
        return list(Job.objects.values_list("subject", "due_at", "lease")) == [(bad, clock() + AFTER_DEFECT, None)]

    with capture_logs() as logged:
        asyncio.run(Shop(tmp_path, clock).work(do, put_off))
    assert [one["where"] for one in logged] == ["job decide"]
    assert len(good) == 3


def test_a_lost_lease_is_nobodys_defect(tmp_path: Path, clock: Clock) -> None:
    put(clock)

    async def do(leased: Leased, writer: Writer) -> None:
        def lose() -> None:
            Job.objects.all().delete()

        await writer.write(lose)
        await writer.write(lambda: jobs.finish(leased))

    with capture_logs() as logged:
        asyncio.run(Shop(tmp_path, clock).work(do, lambda: not Job.objects.exists()))
    assert logged == []


def test_what_is_under_way_is_finished_before_the_end(tmp_path: Path, clock: Clock) -> None:
    put(clock)
    begun = threading.Event()

    async def do(leased: Leased, writer: Writer) -> None:
        begun.set()
        await asyncio.sleep(0.2)
        await writer.write(lambda: jobs.finish(leased))

    asyncio.run(Shop(tmp_path, clock).work(do, begun.is_set))
    assert not Job.objects.exists()


def put_one_more(clock: Clock) -> None:
    try:
        put(clock)
    finally:
        connection.close()


@pytest.mark.parametrize("stalls", [False, True], ids=["clock set forward", "writer stalled"])
def test_a_worker_does_not_begin_again_what_it_is_doing(tmp_path: Path, clock: Clock, stalls: bool) -> None:
    """The next job that is begun shows that the worker looked while the lease of the first seemed to have ended."""
    (first,) = put(clock)
    begun: list[uuid.UUID] = []
    second_was_begun = asyncio.Event()
    stall = threading.Event()

    async def stalled(writer: Writer) -> None:
        hangs = asyncio.create_task(writer.write(lambda: stall.wait(20)))
        while writer._queue.qsize() == 0:  # the worker's next look waits behind it
            await asyncio.sleep(0.01)
        clock.at += LEASE + SECOND
        stall.set()
        await hangs

    async def do(leased: Leased, writer: Writer) -> None:
        begun.append(leased.subject)
        if leased.subject != first:
            second_was_begun.set()
        elif begun.count(first) == 1:
            if stalls:
                await stalled(writer)
            else:
                clock.forward(hours=2)
            await asyncio.to_thread(put_one_more, clock)
            await second_was_begun.wait()
        await writer.write(lambda: jobs.finish(leased))

    with capture_logs() as logged:
        asyncio.run(Shop(tmp_path, clock).work(do, lambda: not Job.objects.exists()))
    assert begun.count(first) == 1 and len(begun) == 2
    assert logged == []


def test_what_takes_long_leaves_room_for_others_and_not_without_end(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four places each two that hang give one back: with seven under way nothing is left."""
    monkeypatch.setattr(working, "SLOW", -1.0)
    put(clock, 12, Kind.TRANSMIT, seconds=-1)
    under_way, most = 0, 0
    release = asyncio.Event()

    async def do(leased: Leased, writer: Writer) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if under_way == 7:
            release.set()
        await release.wait()
        await writer.write(lambda: jobs.finish(leased))
        under_way -= 1

    asyncio.run(Shop(tmp_path, clock, most=4).work(do, lambda: not Job.objects.exists()))
    assert most == 7
