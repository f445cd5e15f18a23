"""What a process counts, and the metrics role, which shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from zegel.compose.clock import now
from zegel.compose.parts import is_trusted, resolver
from zegel.compose.process import stop_event
from zegel.compose.state import MINIMUM_FREE
from zegel.edge import metrics as meter
from zegel.edge.log import Started, Stopped, log
from zegel.settings import Settings


def count(settings: Settings, role: str) -> None:
    """This process counts what it logs, where the settings ask for metrics."""
    if settings.metrics.listen is not None:
        meter.start(settings.run, role)


async def metrics(settings: Settings, ready: Callable[[], None]) -> None:
    """Shows what the other processes counted, and how things stand, until SIGTERM. Holds no key to mail."""
    from zegel.edge.exposition import Door
    from zegel.edge.metrics import Taking, Totals
    from zegel.journey.watch import Watch

    stop, listen = stop_event(), settings.metrics.listen
    assert listen is not None
    totals = Totals()
    watch = Watch(settings, totals, resolver(settings), now, room=MINIMUM_FREE, trusted=is_trusted(settings))
    taking = Taking(settings.run, totals)
    door = Door(listen.host, listen.port, totals, is_ready=watch.is_ready)
    looking = asyncio.create_task(watch.keep_looking())
    log(Started("metrics", str(listen)))
    ready()
    await stop.wait()
    looking.cancel()
    await asyncio.to_thread(door.close)
    await asyncio.to_thread(taking.close)
    log(Stopped("metrics"))
