"""Places on the way to each destination: who may go, who waits for a place, who comes back later."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, assert_never

from zegel.core.clock import Instant
from zegel.core.policy import destinations
from zegel.core.policy.carriage import Outcome
from zegel.core.policy.destinations import SLOW, UNKNOWN, Destination, Go, Later, WaitForPlace

MOST_REMEMBERED: Final = 10_000  # destinations


@dataclass(slots=True)
class Places:
    """Of one process. ``most``: for one destination, so that there are always some for others."""

    most: int
    now: Callable[[], Instant]
    known: dict[Hashable, Destination] = field(default_factory=dict)  # of which there is something to know
    _given_back: dict[Hashable, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))

    async def take(self, where: Hashable, *, is_pressing: bool) -> Instant | Later:
        """A place: since when it is taken, for :meth:`give_back`. Or when to come back."""
        patience = asyncio.get_running_loop().time() + SLOW.total_seconds()
        while True:
            now = self.now()
            known = self.known.get(where, UNKNOWN)
            match destinations.admit(known, places=self.most, is_pressing=is_pressing, now=now):
                case Go():
                    self.known[where] = destinations.begun(known, now=now)
                    return now
                case Later() as later:
                    return later
                case WaitForPlace():
                    if not await self._wait(where, patience - asyncio.get_running_loop().time()):
                        return Later(now + destinations.COME_BACK)
                case unreachable:
                    assert_never(unreachable)

    def give_back(self, where: Hashable, since: Instant, outcome: Outcome | None) -> None:
        """It is over, and this is how. A destination that is well, and to which nothing is under way, is forgotten."""
        known = destinations.ended(self.known.pop(where, UNKNOWN), since, outcome, now=self.now())
        if known != UNKNOWN:
            self.known[where] = known  # at the end: the oldest are forgotten first
        if len(self.known) > MOST_REMEMBERED:
            oldest = next((one for one, found in self.known.items() if not found.under_way), None)
            if oldest is not None:
                del self.known[oldest]
        if (event := self._given_back.pop(where, None)) is not None:
            event.set()

    async def _wait(self, where: Hashable, seconds: float) -> bool:
        """True when a place was given back; everybody who waits looks then."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._given_back[where].wait()
        except TimeoutError:
            return False
        return True
