"""The dispatch role: jobs are done, much else runs beside them, and all of it ends in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from zegel.compose.clock import now
from zegel.compose.process import stop_event
from zegel.edge.log import Started, Stopped, log
from zegel.edge.wake import Bell
from zegel.settings import Settings


async def dispatch(settings: Settings, ready: Callable[[], None]) -> None:
    """Decision, delivery and report, until SIGTERM. Holds the opening key."""
    from zegel.compose import beside
    from zegel.compose.doers import Shared, delivering, doers
    from zegel.journey.custody.retention import Retention
    from zegel.journey.custody.worker import Worker

    stop = stop_event()
    shared, bell = Shared.of(settings), Bell(settings.run)
    delivery, tls_results = delivering(shared)
    retention = Retention(shared.writer, shared.blobs, now=now)
    worker = Worker(
        doers(shared, delivery, retention, is_over=stop.is_set),
        writer=shared.writer,
        bell=bell,
        most=settings.delivery.connections,
        now=now,
        chores=delivery.dialler.tidy,
        is_crowded=shared.crowd.is_there,
    )
    end_beside = beside.start(shared, retention)
    log(Started("dispatch", ""))
    ready()
    counting = asyncio.create_task(tls_results.keep_writing())
    running = asyncio.create_task(worker.run())
    await stop.wait()
    worker.stop()
    await running
    end_beside()
    await delivery.dialler.close()
    tls_results.stop()
    await counting
    bell.close()
    shared.close()
    log(Stopped("dispatch"))
