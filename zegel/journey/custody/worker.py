"""Takes jobs that are due and has them done, many at once, each by the stop that wired itself to its kind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final

from zegel.core.clock import Instant
from zegel.edge.database import Writer
from zegel.edge.log import Broken, log
from zegel.edge.wake import Bell
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import Kind, Leased, LeaseLost

Doing = Callable[[Leased], Awaitable[None]]
LOOK: Final = 1.0  # seconds between looks when nobody rings
AFTER_DEFECT: Final = timedelta(seconds=30)
FEW: Final = 8  # jobs at a time while there is a crowd
LOOK_FOR_CROWD: Final = 0.05  # seconds between looks whether it is gone
SLOW: Final = 5.0  # seconds
RENEW: Final = 8.0  # seconds; several times within a lease
ON_TIME: Final = (Kind.EXPIRE,)  # neither a crowd at the door nor receivers that hang keep what has its hour waiting
LIGHT: Final = frozenset({Kind.DECIDE})
LOOK_ON_TIME: Final = 5.0  # seconds
MANY_ON_TIME: Final = 32  # at a time


class Worker:
    """Leases due jobs and runs their doers; a doer finishes or postpones its job in the transaction of its result."""

    def __init__(
        self,
        doers: Mapping[Kind, Doing],
        *,
        writer: Writer,
        bell: Bell,
        most: int,
        now: Callable[[], Instant],
        chores: Callable[[], Awaitable[None]],
        is_crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        """``is_crowded``: many wait for their 250. Then few jobs are taken at a time, with pauses between them."""
        self._doers = doers
        self._writer = writer
        self._bell = bell
        self._most = most
        self._now = now
        self._chores = chores
        self._is_crowded = is_crowded
        self._running: dict[asyncio.Task[None], Leased] = {}
        self._since: dict[asyncio.Task[None], float] = {}
        self._stopping = False

    async def run(self) -> None:
        """Until :meth:`stop`; then what is under way is finished and the rest given back."""
        aside = [asyncio.create_task(self._keep_renewing()), asyncio.create_task(self._keep_on_time())]
        try:
            while not self._stopping:
                try:
                    await self._round()
                except Exception as cause:  # the database is away or full: wait, and look again (P22)
                    log(Broken("worker", cause))
                    await asyncio.sleep(LOOK)
        finally:
            for task in aside:
                task.cancel()
            if self._running:
                await asyncio.wait(self._running, timeout=15)

    def stop(self) -> None:
        """Takes no more jobs."""
        self._stopping = True
        self._bell.ring()

    async def _round(self) -> None:
        if self._is_crowded():
            await self._let_them_in()
            return
        room = self._room()
        taken = await self._take(self._most)
        await self._chores()
        if len(taken) < max(room, 1):
            await self._bell.wait(LOOK)

    async def _let_them_in(self) -> None:
        """An eighth of the time is ours: mail that was accepted must not wait for the end of a long crowd. Pauses come
        between jobs, when nothing is locked; a low priority would also hold those up who wait for a lock of ours."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        if taken := await self._take(FEW, light=frozenset()):
            ours = [task for task, leased in self._running.items() if leased in taken]
            await asyncio.wait(ours, timeout=LOOK)
        await self._chores()
        until = loop.time() + min(max(7 * (loop.time() - began), 0.02), LOOK)
        while (left := until - loop.time()) > 0 and self._is_crowded():
            await asyncio.sleep(min(left, LOOK_FOR_CROWD))

    async def _take(self, most: int, *, light: Collection[Kind] = LIGHT) -> list[Leased]:
        room = min(most, self._room())  # what hangs since long keeps nobody else from his turn
        kinds = tuple(kind for kind in self._doers if kind not in ON_TIME)
        return await self._start(kinds, room, light) if room > 0 else []

    def _room(self) -> int:
        """Work that takes long counts half: it is most often a server that is slow, and others wait behind it. So does
        what asks the database alone: the next of it is read while the last is written."""
        now = asyncio.get_running_loop().time()
        taken = [(task, leased.kind) for task, leased in self._running.items() if leased.kind not in ON_TIME]
        half = sum(kind in LIGHT or now - self._since[task] > SLOW for task, kind in taken)
        return self._most - len(taken) + half // 2

    async def _start(self, kinds: tuple[Kind, ...], most: int, light: Collection[Kind] = frozenset()) -> list[Leased]:
        taken = await self._writer.write(lambda: self._lease(kinds, most, light)) if kinds else []
        for leased in taken:
            task = asyncio.create_task(self._do(leased))
            self._running[task], self._since[task] = leased, asyncio.get_running_loop().time()
            task.add_done_callback(self._done)
        return taken

    def _lease(self, kinds: tuple[Kind, ...], most: int, light: Collection[Kind]) -> list[Leased]:
        ours = frozenset(leased.job for leased in tuple(self._running.values()))
        return jobs.lease(kinds, most=most, now=self._now(), ours=ours, light=light)

    async def _keep_on_time(self) -> None:
        """Beside everything else: no crowd, no full house puts these off."""
        kinds = tuple(kind for kind in self._doers if kind in ON_TIME)
        while kinds:
            taken: list[Leased] = []
            try:
                taken = await self._start(kinds, MANY_ON_TIME)
                if taken:
                    await asyncio.wait([task for task, leased in self._running.items() if leased in taken])
            except Exception as cause:  # as in run()
                log(Broken("worker", cause))
            await asyncio.sleep(self._pause_after(taken))

    def _pause_after(self, taken: Sequence[Leased]) -> float:
        if len(taken) < MANY_ON_TIME:
            return LOOK_ON_TIME
        return LOOK if self._is_crowded() else 0.0

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        self._since.pop(task, None)
        self._bell.ring()  # what it did may have made a job, and there is room again

    async def _do(self, leased: Leased) -> None:
        try:
            await self._doers[leased.kind](leased)
        except LeaseLost:
            return
        except Exception as cause:
            log(Broken(f"job {leased.kind}", cause))
            try:
                await self._writer.write(lambda: jobs.postpone(leased, until=self._now() + AFTER_DEFECT))
            except Exception as second:  # the lease runs out by itself
                log(Broken(f"job {leased.kind}, giving it back", second))

    async def _keep_renewing(self) -> None:
        while True:
            await asyncio.sleep(RENEW)
            try:
                await self._writer.write(self._renew)
            except Exception as cause:
                log(Broken("renewing leases", cause))

    def _renew(self) -> None:
        jobs.renew(tuple(self._running.values()), now=self._now())
