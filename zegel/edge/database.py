"""The group-commit writer and the reader threads.

A mail process writes through one thread. Units of work queue up; one transaction takes what is there,
COMMIT makes it durable (synchronous FULL), and only then do the futures resolve: one disk write serves
everybody who waits, and no 250 goes out before it (P2).
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from django.db import close_old_connections, connection, transaction

T = TypeVar("T")
MOST_UNITS: Final = 256  # in one transaction


@dataclass(slots=True)
class _Unit:
    work: Callable[[], Any]
    done: Future[Any]


class Writer:
    """Runs units of work in shared transactions, in the order of their arrival."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[_Unit | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()
        self.commits = 0
        self.units = 0

    async def write(self, work: Callable[[], T]) -> T:
        """Runs ``work`` in a transaction; returns its result once that is durable.

        What ``work`` raises is raised here, and nothing it wrote stays. It may run twice, so it has no other effects.
        """
        unit = _Unit(work, Future())
        self._queue.put(unit)
        result: T = await asyncio.wrap_future(unit.done)
        return result

    def close(self) -> None:
        """Finishes what was queued."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (batch := self._gather()) is not None:
            self._commit(batch)
        connection.close()

    def _gather(self) -> list[_Unit] | None:
        first = self._queue.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < MOST_UNITS:
            try:
                unit = self._queue.get_nowait()
            except queue.Empty:
                break
            if unit is None:
                self._queue.put(None)
                break
            batch.append(unit)
        return [unit for unit in batch if unit.done.set_running_or_notify_cancel()]

    def _commit(self, batch: Sequence[_Unit]) -> None:
        """All in one transaction; when one of them fails, each in its own, so that no unit suffers for another."""
        results: list[Any] = []
        try:
            with transaction.atomic():
                results.extend(unit.work() for unit in batch)
        except Exception as cause:
            if len(batch) == 1:
                self._drop_broken_connection()
                batch[0].done.set_exception(cause)
            else:
                for unit in batch:
                    self._commit([unit])
            return
        self.commits += 1
        self.units += len(batch)
        for unit, result in zip(batch, results, strict=True):
            unit.done.set_result(result)

    @staticmethod
    def _drop_broken_connection() -> None:
        """After a full disk or a lost server the next unit starts on a new connection (P4, P22)."""
        try:
            connection.close_if_unusable_or_obsolete()
        except Exception:
            connection.close()


class Readers:
    """Runs reads in a few threads, so that the event loop never waits for a disk."""

    def __init__(self, threads: int = 2) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="reader")

    async def read(self, work: Callable[[], T]) -> T:
        """The result of ``work``, run outside a transaction."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, _reading, work)

    def close(self) -> None:
        """Waits for what runs."""
        self._pool.shutdown()


def _reading(work: Callable[[], T]) -> T:
    close_old_connections()
    return work()
