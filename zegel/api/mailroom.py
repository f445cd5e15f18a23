"""Where messages of the API are handed to arrival: its one event loop in a web process, and the limits of its door."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from zegel.core.mail.reply import Reply
from zegel.journey.arrival.intake import Intake, Place
from zegel.journey.custody.seal import GROUP_LIVES

_FORGET: Final = GROUP_LIVES + 0.1  # seconds


@dataclass(slots=True)
class Mailroom:
    """One for each web process. Begins with the first message; requests wait for it in their own threads."""

    furnish: Callable[[], Place]  # in a loop that runs
    max_size: int
    max_recipients: int
    has_room: Callable[[], bool]  # on the disk (P4)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)
    _place: Place | None = field(default=None, init=False)

    def place(self) -> Place:
        """Arrival's surroundings."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="mailroom", daemon=True).start()
            if self._place is None:  # also where furnishing failed the last time
                self._place = asyncio.run_coroutine_threadsafe(self._furnished(), self._loop).result()
            return self._place

    def finish(self, intake: Intake) -> Reply:
        """The verdict on a message that was fed: 250 once it is durable and sealed (P2). Blocks."""
        place, loop = self.place(), self._loop
        assert loop is not None
        reply = asyncio.run_coroutine_threadsafe(intake.finish(), loop).result()
        loop.call_soon_threadsafe(lambda: loop.call_later(_FORGET, place.wrapper.forget_if_old))
        return reply

    def close(self) -> None:
        """Ends it; for tests."""
        with self._lock:
            if self._place is not None and self._loop is not None:
                self._place.writer.close()
                self._place.readers.close()
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._place = self._loop = None

    async def _furnished(self) -> Place:
        return self.furnish()
