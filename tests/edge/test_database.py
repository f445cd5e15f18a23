"""The group-commit writer: what waits for its result has it only once it is durable, and nobody suffers for another."""

from __future__ import annotations

import asyncio
import fcntl
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from django.db import IntegrityError, connection
from structlog.testing import capture_logs

from zegel.accounts.models import Organisation, SmtpCredential
from zegel.edge.database import FEW_UNITS, MANY, MOST_UNITS, Readers, Writer

pytestmark = pytest.mark.django_db(transaction=True)


T = TypeVar("T")
PATIENCE = 20.0


class Oops(Exception):
    pass


@pytest.fixture
def writer() -> Iterator[Writer]:
    made = Writer()
    yield made
    made.close()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, PATIENCE))


def add(name: str) -> Callable[[], int]:
    return lambda: Organisation.objects.create(name=name).id


def names() -> list[str]:
    return list(Organisation.objects.order_by("id").values_list("name", flat=True))


class Gate:
    """A unit of work that lets nothing pass before it is opened, so that others queue up behind it."""

    def __init__(self, writer: Writer) -> None:
        self._writer, self._open, self.is_reached = writer, threading.Event(), threading.Event()

    def _work(self) -> None:
        self.is_reached.set()
        assert self._open.wait(PATIENCE)

    async def reach(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self._writer.write(self._work))
        await asyncio.to_thread(self.is_reached.wait, PATIENCE)
        return task

    def open(self) -> None:
        self._open.set()


async def behind_a_gate(writer: Writer, units: Sequence[Callable[[], Any]]) -> list[Any]:
    """The outcomes of units that wait together, so that one transaction takes them."""
    gate = Gate(writer)
    passing = await gate.reach()
    waiting = [asyncio.ensure_future(writer.write(unit)) for unit in units]
    await asyncio.sleep(0)
    gate.open()
    await passing
    return list(await asyncio.gather(*waiting, return_exceptions=True))


# Failures


def raise_oops() -> None:
    Organisation.objects.create(name="half")
    raise Oops("private words")


def break_at_commit() -> None:
    """SQLite looks at this reference when the transaction ends."""
    SmtpCredential.objects.create(organisation_id=999_999, username="nobody", secret_hash=b"")


def test_what_a_unit_raises_is_raised_where_its_result_is_awaited(writer: Writer) -> None:
    with pytest.raises(Oops):
        run(writer.write(raise_oops))
    assert names() == []


def test_a_unit_that_fails_leaves_nothing_and_hurts_nobody(writer: Writer) -> None:
    outcomes = run(behind_a_gate(writer, [add("a"), raise_oops, add("b"), raise_oops, add("c")]))
    assert [type(one) for one in outcomes] == [int, Oops, int, Oops, int]
    assert names() == ["a", "b", "c"]


def test_a_commit_that_fails_is_the_failure_of_its_unit(writer: Writer) -> None:
    with pytest.raises(IntegrityError):
        run(writer.write(break_at_commit))
    assert not SmtpCredential.objects.exists()
    assert run(writer.write(add("after"))) > 0


def test_a_unit_that_fails_at_the_commit_hurts_nobody(writer: Writer) -> None:
    outcomes = run(behind_a_gate(writer, [add("a"), break_at_commit, add("b")]))
    assert [type(one) for one in outcomes] == [int, IntegrityError, int]
    assert names() == ["a", "b"]
    assert not SmtpCredential.objects.exists()


def test_whatever_is_raised_the_thread_goes_on(writer: Writer) -> None:
    """Also what is no Exception: a writer without a thread would leave everybody waiting for ever."""

    def leave() -> None:
        raise SystemExit

    with pytest.raises(BaseException):  # noqa: B017
        run(writer.write(leave))
    assert run(writer.write(add("after"))) > 0


def test_after_the_connection_broke_the_next_unit_has_a_new_one(writer: Writer) -> None:
    def sever() -> None:
        connection.connection.close()  # behind Django's back
        Organisation.objects.create(name="never")

    with pytest.raises(Exception, match="closed"):
        run(writer.write(sever))
    assert run(writer.write(add("after"))) > 0
    assert names() == ["after"]


def test_a_connection_that_broke_hurts_only_who_broke_it(writer: Writer) -> None:
    def sever() -> None:
        connection.connection.close()

    outcomes = run(behind_a_gate(writer, [add("a"), sever, add("b"), add("c")]))
    assert [type(one) for one in outcomes if isinstance(one, int)] == [int, int, int]
    assert names() == ["a", "b", "c"]


# Those who no longer wait


def test_who_gave_up_before_the_turn_came_is_passed_over(writer: Writer) -> None:
    async def story() -> None:
        gate = Gate(writer)
        passing = await gate.reach()
        given_up = asyncio.ensure_future(writer.write(add("given up")))
        waiting = asyncio.ensure_future(writer.write(add("waiting")))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        gate.open()
        await passing
        await waiting

    run(story())
    assert names() == ["waiting"]


def test_who_gives_up_while_it_is_done_changes_nothing(writer: Writer) -> None:
    async def story() -> None:
        gate = Gate(writer)
        passing = await gate.reach()
        passing.cancel()
        await asyncio.gather(passing, return_exceptions=True)
        gate.open()
        await writer.write(add("after"))

    run(story())
    assert names() == ["after"]


def test_a_loop_that_ended_does_not_end_the_thread(writer: Writer) -> None:
    gate = Gate(writer)

    async def leave() -> None:
        await gate.reach()

    run(leave())
    gate.open()
    assert run(writer.write(add("after"))) > 0


# What it promises


def test_a_result_comes_only_after_its_commit(writer: Writer) -> None:
    """Another connection sees it at once."""

    async def story() -> None:
        for number in range(20):
            await writer.write(add(str(number)))
            assert await asyncio.to_thread(_seen_by_another_connection) == number + 1

    run(story())


def _seen_by_another_connection() -> int:
    try:
        return Organisation.objects.count()
    finally:
        connection.close()


def test_what_waits_together_is_committed_together(writer: Writer) -> None:
    before = writer.commits
    run(behind_a_gate(writer, [add(str(number)) for number in range(100)]))
    assert writer.commits == before + 2  # the gate, and all others
    assert writer.units == 101


def test_a_transaction_takes_no_more_than_its_share(writer: Writer) -> None:
    run(behind_a_gate(writer, [add(str(number)) for number in range(MOST_UNITS + 1)]))
    assert writer.commits == 3
    assert len(names()) == MOST_UNITS + 1


def test_units_are_done_in_the_order_of_their_arrival(writer: Writer) -> None:
    outcomes = run(behind_a_gate(writer, [add(str(number)) for number in range(300)]))
    assert outcomes == sorted(outcomes)
    assert names() == [str(number) for number in range(300)]


def test_units_that_share_statements_get_their_own_results(writer: Writer) -> None:
    taken: list[list[str]] = []

    def together(items: Sequence[str]) -> list[int]:
        taken.append(list(items))
        return [Organisation.objects.create(name=item).id for item in items]

    async def story() -> list[int]:
        gate = Gate(writer)
        passing = await gate.reach()
        waiting = [asyncio.ensure_future(writer.write_together(together, name)) for name in ("a", "b")]
        waiting.append(asyncio.ensure_future(writer.write(add("apart"))))
        waiting.append(asyncio.ensure_future(writer.write_together(together, "c")))
        await asyncio.sleep(0)
        gate.open()
        await passing
        return list(await asyncio.gather(*waiting))

    found = run(story())
    assert [Organisation.objects.get(id=one).name for one in found] == ["a", "b", "apart", "c"]
    assert taken == [["a", "b"], ["c"]]
    assert names() == ["a", "b", "apart", "c"]


def test_one_that_can_not_be_done_together_is_tried_alone(writer: Writer) -> None:
    def together(items: Sequence[str]) -> list[int]:
        if "bad" in items:
            raise Oops
        return [Organisation.objects.create(name=item).id for item in items]

    async def story() -> list[Any]:
        gate = Gate(writer)
        passing = await gate.reach()
        waiting = [asyncio.ensure_future(writer.write_together(together, name)) for name in ("a", "bad", "b")]
        await asyncio.sleep(0)
        gate.open()
        await passing
        return list(await asyncio.gather(*waiting, return_exceptions=True))

    assert [type(one) for one in run(story())] == [int, Oops, int]
    assert names() == ["a", "b"]


def test_closing_finishes_what_was_queued() -> None:
    writer = Writer()

    async def story() -> None:
        gate = Gate(writer)
        passing = await gate.reach()
        waiting = [asyncio.ensure_future(writer.write(add(str(number)))) for number in range(300)]
        await asyncio.sleep(0)
        closing = threading.Thread(target=writer.close)
        closing.start()
        gate.open()
        await asyncio.gather(passing, *waiting)
        await asyncio.to_thread(closing.join)

    run(story())
    assert len(names()) == 300


def test_a_closed_writer_says_so() -> None:
    """Nobody waits for ever."""
    writer = Writer()
    writer.close()
    with pytest.raises(RuntimeError):
        run(writer.write(add("never")))


# Readers


def test_a_read_gives_its_result_or_what_it_raises() -> None:
    readers = Readers()

    async def story() -> None:
        assert await readers.read(Organisation.objects.count) == 1
        with pytest.raises(Organisation.DoesNotExist):
            await readers.read(lambda: Organisation.objects.get(name="nobody"))

    Organisation.objects.create(name="one")
    run(story())
    readers.close()


def test_a_read_that_fails_hurts_no_other() -> None:
    readers = Readers(threads=1)
    Organisation.objects.create(name="one")

    async def story() -> list[Any]:
        release = threading.Event()
        blocked = asyncio.ensure_future(readers.read(lambda: release.wait(PATIENCE)))
        others = [asyncio.ensure_future(readers.read(work)) for work in (Organisation.objects.count, _fail)]
        others.append(asyncio.ensure_future(readers.read(Organisation.objects.count)))
        await asyncio.sleep(0.05)
        release.set()
        await blocked
        return list(await asyncio.gather(*others, return_exceptions=True))

    first, failed, last = run(story())
    assert (first, last) == (1, 1)
    assert isinstance(failed, Oops)
    readers.close()


def _fail() -> None:
    raise Oops


def test_questions_that_are_asked_together_get_their_own_answers() -> None:
    readers = Readers(threads=1)
    made = {name: Organisation.objects.create(name=name).id for name in ("a", "b")}

    def together(names: Sequence[str]) -> list[int]:
        known = dict(Organisation.objects.filter(name__in=names).values_list("name", "id"))
        return [known[name] for name in names]

    async def story() -> list[Any]:
        asked = [readers.read_together(together, name) for name in ("a", "nobody", "b")]
        return list(await asyncio.gather(*asked, return_exceptions=True))

    a, nobody, b = run(story())
    assert (a, b) == (made["a"], made["b"])
    assert isinstance(nobody, KeyError)
    readers.close()


def test_closed_readers_say_so() -> None:
    readers = Readers()
    readers.close()
    with pytest.raises(RuntimeError):
        run(readers.read(Organisation.objects.count))


def test_reads_go_on_while_a_write_is_under_way(writer: Writer) -> None:
    readers = Readers()
    Organisation.objects.create(name="one")

    async def story() -> None:
        gate = Gate(writer)
        passing = await gate.reach()
        assert await readers.read(Organisation.objects.count) == 1
        gate.open()
        await passing

    run(story())
    readers.close()


def test_a_read_never_blocks_the_event_loop() -> None:
    readers = Readers()
    release = threading.Event()

    async def story() -> None:
        blocked = asyncio.ensure_future(readers.read(lambda: release.wait(PATIENCE)))
        await asyncio.sleep(0.05)
        release.set()
        assert await _bounded(blocked)

    run(story())
    readers.close()


async def _bounded(awaited: Awaitable[T]) -> T:
    return await asyncio.wait_for(awaited, PATIENCE)


# Several processes, and a crowd


def test_two_writers_take_turns_and_lose_nothing(tmp_path: Path) -> None:
    turns = tmp_path / "turns"
    writers = [Writer(turns) for _ in range(2)]

    async def story() -> None:
        units = [writers[number % 2].write(add(f"o{number}")) for number in range(40)]
        await asyncio.gather(*units)

    try:
        run(story())
    finally:
        for one in writers:
            one.close()
    assert sorted(names()) == sorted(f"o{number}" for number in range(40))


def test_behind_a_process_that_hangs_a_writer_does_not_wait_for_ever(tmp_path: Path) -> None:
    turns = tmp_path / "turns"
    with turns.open("ab") as other:  # another open file: the lock of another process
        fcntl.flock(other, fcntl.LOCK_EX)
        writer = Writer(turns)
        try:
            assert run(writer.write(add("went on"))) > 0
        finally:
            writer.close()


def test_a_crowd_is_told_of_messages_that_waited_together_and_of_nothing_else() -> None:
    told: list[int] = []
    writer = Writer(crowded=lambda: told.append(1))

    def together(items: Sequence[int]) -> list[int]:
        return list(items)

    async def story(count: int, *, of_messages: bool) -> None:
        gate = Gate(writer)
        passing = await gate.reach()
        waiting = [
            asyncio.ensure_future(writer.write_together(together, one) if of_messages else writer.write(add(f"x{one}")))
            for one in range(count)
        ]
        await asyncio.sleep(0)
        gate.open()
        await passing
        await asyncio.gather(*waiting)

    try:
        run(story(MANY - 1, of_messages=True))
        run(story(MANY + 5, of_messages=False))
        writer.close()
        assert told == []
        writer = Writer(crowded=lambda: told.append(1))
        run(story(MANY, of_messages=True))
    finally:
        writer.close()
    assert told == [1]


def test_who_lets_others_go_first_commits_few_units_at_a_time() -> None:
    writer = Writer(is_crowded=lambda: True)
    try:
        run(behind_a_gate(writer, [add(f"u{number}") for number in range(10)]))
    finally:
        writer.close()
    assert len(names()) == 10
    assert writer.commits >= 1 + 10 / FEW_UNITS


def test_what_goes_wrong_after_a_commit_stops_neither_it_nor_the_next() -> None:
    def break_down() -> None:
        raise Oops("private words")

    writer = Writer(crowded=break_down)

    async def story() -> list[int]:
        gate = Gate(writer)
        passing = await gate.reach()
        waiting = [asyncio.ensure_future(writer.write_together(list, one)) for one in range(MANY)]
        await asyncio.sleep(0)
        gate.open()
        await passing
        return list(await asyncio.gather(*waiting))

    try:
        with capture_logs() as logged:
            assert run(story()) == list(range(MANY))
            assert run(writer.write(add("the next"))) > 0
    finally:
        writer.close()
    assert [one["event"] for one in logged] == ["broken"]
    assert "private" not in str(logged)
