"""Places on the way to each destination: who may go, who waits for a place, who comes back later."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from zegel.core.clock import Instant
from zegel.core.policy import destinations
from zegel.core.policy.carriage import Outcome
from zegel.core.policy.destinations import SLOW, UNKNOWN, Destination, Go, Later, Scope, WaitForPlace

MOST_REMEMBERED: Final = 10_000  # destinations


@dataclass(frozen=True, slots=True)
class Place:
    """One at a destination, and since when it is taken."""

    where: Hashable
    since: Instant


@dataclass(slots=True)
class Places:
    """Of one process. ``most``: for one destination, so that there are always some for others."""

    most: int
    now: Callable[[], Instant]
    scope: Scope = Scope.DOMAIN
    known: dict[Hashable, Destination] = field(default_factory=dict)  # of which there is something to know
    _waiting: dict[Hashable, deque[asyncio.Future[None]]] = field(default_factory=lambda: defaultdict(deque))

    async def take(self, where: Hashable, *, is_pressing: bool) -> Instant | Later:
        """A place: since when it is taken, for :meth:`give_back`. Or when to come back."""
        taken = await self.take_one_of((where,), is_pressing=is_pressing)
        return taken if isinstance(taken, Later) else taken.since

    async def take_one_of(self, wheres: Sequence[Hashable], *, is_pressing: bool) -> Place | Later:
        """A place at the first destination that has one. Where none has, the first that is worth it is waited for."""
        patience = asyncio.get_running_loop().time() + SLOW.total_seconds()
        awaited: Hashable = None
        while True:
            later: list[Later] = []
            full: list[Hashable] = []
            for where in wheres:
                match self._admit(where, is_pressing=is_pressing):
                    case Go():
                        if awaited not in (None, where):
                            self._wake(awaited)  # what was given back there is for the next
                        return self._taken(where)
                    case Later() as found:
                        later.append(found)
                        self._wake(where)  # whoever waits there hears the same
                    case WaitForPlace():
                        full.append(where)
                    case unreachable:
                        assert_never(unreachable)
            if not full:
                return min(later, key=lambda one: one.at)
            awaited = full[0]
            if not await self._wait(awaited, patience - asyncio.get_running_loop().time()):
                return Later(self.now() + destinations.COME_BACK)

    def take_now(self, where: Hashable, *, is_pressing: bool) -> Place | None:
        """A place, if there is one."""
        return self._taken(where) if isinstance(self._admit(where, is_pressing=is_pressing), Go) else None

    def give_back(self, where: Hashable, since: Instant, outcome: Outcome | None) -> None:
        """It is over, and this is how. A destination that is well, and to which nothing is under way, is forgotten."""
        before = self.known.pop(where, UNKNOWN)
        known = destinations.ended(before, since, outcome, now=self.now(), scope=self.scope)
        if known != UNKNOWN:
            self.known[where] = known  # at the end: the oldest are forgotten first
        if len(self.known) > MOST_REMEMBERED:
            oldest = next((one for one, found in self.known.items() if not found.under_way), None)
            if oldest is not None:
                del self.known[oldest]
        self._wake(where)

    def _admit(self, where: Hashable, *, is_pressing: bool) -> Go | WaitForPlace | Later:
        known = self.known.get(where, UNKNOWN)
        return destinations.admit(known, places=self.most, is_pressing=is_pressing, now=self.now())

    def _taken(self, where: Hashable) -> Place:
        now = self.now()
        self.known[where] = destinations.begun(self.known.get(where, UNKNOWN), now=now)
        return Place(where, now)

    async def _wait(self, where: Hashable, seconds: float) -> bool:
        """True when it is this one's turn to look again: a place was given back, or there will be none."""
        turn = asyncio.get_running_loop().create_future()
        waiting = self._waiting[where]
        waiting.append(turn)
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await turn
        except TimeoutError:
            return turn.done() and not turn.cancelled()
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the turn goes to the next
                self._wake(where)
            raise
        finally:
            if turn in waiting:
                waiting.remove(turn)
            if not waiting and self._waiting.get(where) is waiting:
                del self._waiting[where]
        return True

    def _wake(self, where: Hashable) -> None:
        """One only: a hundred that look for one place cost more than the mail."""
        waiting = self._waiting.get(where)
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
