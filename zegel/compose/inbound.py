"""The inbound role: the door for bounces of our own mail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from zegel.compose.certificates import certificate_sources, tell_of_certificate
from zegel.compose.clock import now
from zegel.compose.database import turns
from zegel.compose.process import GRACE, stop_event
from zegel.edge.certificates import LiveCertificate
from zegel.edge.log import Started, Stopped, log
from zegel.edge.wake import Rope
from zegel.settings import Settings


async def inbound(settings: Settings, ready: Callable[[], None]) -> None:
    """The door for bounces of our own mail, until SIGTERM. Holds no key to mail."""
    from zegel.edge.database import Readers, Writer
    from zegel.journey.report.inbound import Homecoming

    stop = stop_event()
    writer, readers = Writer(turns(settings)), Readers()
    certificate = LiveCertificate(certificate_sources(settings), names=(settings.hostname,), now=now)
    home = Homecoming(settings.hostname, writer, readers, now, Rope(settings.run).pull)
    door = home.door(certificate.context)
    await door.open([(one.host, one.port) for one in settings.inbound.listen])
    watch = asyncio.create_task(certificate.watch(tell_of_certificate))
    log(Started("inbound", " ".join(map(str, settings.inbound.listen))))
    ready()
    await stop.wait()
    watch.cancel()
    await door.close(grace=GRACE)
    writer.close()
    readers.close()
    log(Stopped("inbound"))
