"""The group-commit writer and the readers: threads that take whatever waits, all at once.

A mail process writes through one thread. Units of work queue up; one transaction takes what is there,
COMMIT makes it durable (synchronous FULL), and only then do the futures resolve: one disk write serves
everybody who waits, and no 250 goes out before it (P2). Reads go through a few threads in the same manner, so that
a question that many ask at the same moment is asked once.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final, TypeVar

from django.db import DatabaseError, connection, transaction

from zegel.edge import metrics
from zegel.edge.log import Broken, log

Item = TypeVar("Item")
T = TypeVar("T")
MOST_UNITS: Final = 256  # taken at once
FEW_UNITS: Final = 3  # taken at once by who lets others go first
TURN_LIMIT: Final = 1.0  # seconds to wait for another process's commit before SQLite is asked regardless
FIRST_LOOK: Final = 0.0003  # seconds until the lock is looked at again, at first
LAST_LOOK: Final = 0.002  # and later
MANY: Final = 3  # units of one commit, from which on there is a crowd
GATHER: Final = 0.003  # seconds that a commit waits for more units, while there are many


@dataclass(slots=True)
class _Unit:
    together: Callable[[Sequence[Any]], Sequence[Any]]
    item: Any
    done: asyncio.Future[Any]

    def settle(self, result: Any) -> None:
        """In the loop of whoever waits. An exception as the result is raised there."""
        if self.done.done():  # nobody waits any more
            return
        if isinstance(result, BaseException):
            self.done.set_exception(result)
        else:
            self.done.set_result(result)


class _Station:
    """Threads that work off a queue of units, in the order of their arrival."""

    def __init__(self, name: str, threads: int) -> None:
        self._queue: queue.SimpleQueue[_Unit | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._run, name=name, daemon=True) for _ in range(threads)]
        self._is_closed = False
        for thread in self._threads:
            thread.start()

    async def _ask(self, together: Callable[[Sequence[Item]], Sequence[T]], item: Item) -> T:
        if self._is_closed:
            raise RuntimeError("nothing is done here any more")
        unit = _Unit(together, item, asyncio.get_running_loop().create_future())
        self._queue.put(unit)
        result: T = await unit.done
        return result

    def close(self) -> None:
        """Finishes what was queued; what comes later is a ``RuntimeError``."""
        self._is_closed = True
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (batch := self._gather()) is not None:
            if batch:
                self._work_off(batch)
        connection.close()

    def _gather(self) -> list[_Unit] | None:
        first = self._queue.get()
        if first is None:
            return None
        self._let_others_come(first)
        batch = [first]
        most = self._most()
        while len(batch) < most:
            try:
                unit = self._queue.get_nowait()
            except queue.Empty:
                break
            if unit is None:
                self._queue.put(None)
                break
            batch.append(unit)
        return [unit for unit in batch if not unit.done.cancelled()]

    def _most(self) -> int:
        """How many units a batch may have."""
        return MOST_UNITS

    def _let_others_come(self, first: _Unit) -> None:
        """Before a batch is closed."""

    def _work_off(self, batch: Sequence[_Unit]) -> None:
        """All at once; when one of them fails, each by itself, so that no unit suffers for another."""
        try:
            results = self._results(batch)
        except BaseException as cause:  # a thread that ended would leave everybody waiting for ever
            _drop_broken_connection()
            if len(batch) == 1:
                _tell([(batch[0], cause)])
            else:
                for unit in batch:
                    self._work_off([unit])
            return
        _tell(zip(batch, results, strict=True))
        try:
            self._worked_off(batch)
        except Exception as cause:  # they have their results; the next ones must not wait for a thread that ended
            log(Broken("after a commit", cause))

    def _worked_off(self, batch: Sequence[_Unit]) -> None:
        """Afterwards: the results are told, and nothing here can undo them."""

    def _results(self, batch: Sequence[_Unit]) -> list[Any]:
        results: list[Any] = []
        for together, units in groupby(batch, key=lambda unit: unit.together):
            results.extend(together([unit.item for unit in units]))
        return results


class Writer(_Station):
    """Runs units of work in shared transactions, one after the other."""

    def __init__(
        self,
        turns: Path | None = None,
        *,
        crowded: Callable[[], None] = lambda: None,
        is_crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        """``turns``: as of :class:`Turn`.

        ``crowded`` is called, in the writer's thread, after a commit for which several waited with
        :meth:`write_together`; it doesn't raise. While ``is_crowded``, commits are small and so short: others wait."""
        self.commits = 0
        self.units = 0
        self._last = 0  # units of the last commit that served several together
        self._crowded = crowded
        self._is_crowded = is_crowded
        self._turn = Turn(turns)
        super().__init__("writer", 1)

    async def write(self, work: Callable[[], T]) -> T:
        """Runs ``work`` in a transaction; returns its result once that is durable.

        What ``work`` raises is raised here, and nothing it wrote stays. It may run twice, so it has no other effects.
        """
        return await self._ask(_each, work)

    async def write_together(self, together: Callable[[Sequence[Item]], Sequence[T]], item: Item) -> T:
        """As :meth:`write`, for work whose units share statements: ``together`` gets all the items that wait, in their
        order, and returns a result for each. When it raises, each item is tried alone."""
        return await self._ask(together, item)

    def _results(self, batch: Sequence[_Unit]) -> list[Any]:
        with self._turn.taken(), transaction.atomic():
            results = super()._results(batch)
        self.commits += 1
        self.units += len(batch)
        metrics.commit_made(len(batch))
        return results

    def _worked_off(self, batch: Sequence[_Unit]) -> None:
        together = sum(unit.together is not _each for unit in batch)
        if together:
            self._last = len(batch)
        if together >= MANY:
            self._crowded()

    def _most(self) -> int:
        return FEW_UNITS if self._is_crowded() else MOST_UNITS

    def _let_others_come(self, first: _Unit) -> None:
        """Where several came together a moment ago, more are on their way: one commit costs as much for ten as for two.
        A client that is alone waits for nobody, and neither does work that has no fellows."""
        if first.together is not _each and self._last > 1 and self._queue.qsize() < self._last:
            time.sleep(GATHER)


class Scribe:
    """Commits what others bring, in the thread that calls it: one transaction for all of it."""

    def __init__(self, turns: Path | None = None, *, crowded: Callable[[], None] = lambda: None) -> None:
        """``turns``: as of :class:`Turn`. ``crowded`` as of :class:`Writer`."""
        self._turn = Turn(turns)
        self._crowded = crowded

    def record(
        self, together: Callable[[Sequence[Item]], Sequence[T]], items: Sequence[Item]
    ) -> list[T | BaseException]:
        """What ``together`` says of each, durable; when it fails, each is tried alone, so that none suffers for
        another, and what one fails with is its result. Never raises."""
        if not items:
            return []
        try:
            with self._turn.taken(), transaction.atomic():
                results: list[T | BaseException] = list(together(items))
        except BaseException as cause:
            _drop_broken_connection()
            if len(items) == 1:
                return [cause]
            return [result for one in items for result in self.record(together, [one])]
        metrics.commit_made(len(items))
        if len(items) >= MANY:
            self._crowded()
        return results


class Turn:
    """Which process writes. SQLite has one writer at a time, and who finds it busy sleeps for up to a tenth of a second
    before it looks again; here it looks every few milliseconds."""

    def __init__(self, turns: Path | None) -> None:
        """``turns``: a file, the same for all; ``None``: nobody waits for a turn."""
        self._file = None if turns is None else turns.open("ab")

    @contextmanager
    def taken(self) -> Iterator[None]:
        """While it is this process's; or regardless, where another keeps it for too long."""
        is_ours = self._file is not None and self._wait(self._file.fileno())
        try:
            yield
        finally:
            if is_ours and self._file is not None:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    @staticmethod
    def _wait(turn: int) -> bool:
        """Not for ever: behind a process that hangs SQLite itself says that it is locked, and that is answered."""
        limit, pause = time.monotonic() + TURN_LIMIT, FIRST_LOOK
        while True:
            try:
                fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() > limit:
                    return False
            time.sleep(pause)
            pause = min(2 * pause, LAST_LOOK)


def is_full(cause: BaseException) -> bool:
    """No space is left, for a file or for the database (SQLite, PostgreSQL)."""
    if isinstance(cause, OSError):
        return cause.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(cause, DatabaseError) and ("full" in str(cause) or "No space left" in str(cause))


class Readers(_Station):
    """Runs reads in a few threads, so that the event loop never waits for a disk."""

    def __init__(self, threads: int = 2) -> None:
        super().__init__("reader", threads)

    async def read(self, work: Callable[[], T]) -> T:
        """The result of ``work``, run outside a transaction. What it raises is raised here."""
        return await self._ask(_each, work)

    async def read_together(self, together: Callable[[Sequence[Item]], Sequence[T]], item: Item) -> T:
        """As :meth:`read`, for questions asked for many items at once; see :meth:`Writer.write_together`."""
        return await self._ask(together, item)


def _tell(settled: Iterable[tuple[_Unit, Any]]) -> None:
    """Wakes each event loop once, however many units of it were settled: a wake-up costs more than a row."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Unit, Any]]] = {}
    for unit, result in settled:
        by_loop.setdefault(unit.done.get_loop(), []).append((unit, result))
    for loop, those in by_loop.items():
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, those)


def _settle(settled: Sequence[tuple[_Unit, Any]]) -> None:
    for unit, result in settled:
        unit.settle(result)


def _each(works: Sequence[Callable[[], Any]]) -> list[Any]:
    return [work() for work in works]


def _drop_broken_connection() -> None:
    """After a full disk or a lost server the next unit starts on a new connection (P4, P22)."""
    try:
        connection.close_if_unusable_or_obsolete()
    except Exception:
        connection.close()
