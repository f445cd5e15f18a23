"""The submission role, and the recorder, which commits for several of its processes."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from zegel.compose.certificates import certificate_sources, tell_of_certificate
from zegel.compose.clock import now
from zegel.compose.database import turns
from zegel.compose.parts import resolver
from zegel.compose.process import GRACE, stop_event
from zegel.compose.state import MINIMUM_FREE
from zegel.edge import keyring
from zegel.edge.blobs import Blobs
from zegel.edge.certificates import LiveCertificate
from zegel.edge.log import Started, Stopped, log
from zegel.edge.wake import Crowd, Rope
from zegel.settings import Settings

if TYPE_CHECKING:
    from zegel.journey.arrival.listener import Desk

HATCH: Final = "recorder.hatch"  # where the submission processes hand over what is to be recorded


async def submission(settings: Settings, ready: Callable[[], None]) -> None:
    """The door for mail servers, until SIGTERM. Holds the sealing key only."""
    from zegel.core.smtp.server import Profile
    from zegel.edge.database import Readers, Writer
    from zegel.edge.hatch import Hatch
    from zegel.journey.arrival.apart import Recorder
    from zegel.journey.arrival.intake import Place
    from zegel.journey.arrival.listener import Desk
    from zegel.journey.custody.seal import Wrapper

    stop = stop_event()
    own, readers = Writer(turns(settings), crowded=Crowd(settings.run).tell), Readers()
    section, keys = settings.submission, keyring.submission_keys(settings.keys)
    certificate = LiveCertificate(certificate_sources(settings), names=(settings.hostname,), now=now)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, certificate.look_now)
    writer = Recorder(Hatch(settings.run / HATCH), own) if section.has_recorder else own
    desk = Desk(
        Place(
            hostname=settings.hostname,
            keys=keys,
            wrapper=Wrapper(keys.sealing),
            blobs=Blobs(settings.blobs),
            writer=writer,
            readers=readers,
            dns=resolver(settings),
            now=now,
            ring=Rope(settings.run).pull,
        )
    )
    profile = Profile(
        hostname=settings.hostname,
        requires_auth=False,  # SPF may be the proof; the listener refuses who has neither
        offers_requiretls=True,
        max_size=section.max_size,
        max_recipients=section.max_recipients,
    )
    door = desk.door(profile, certificate.context)
    await door.open([(one.host, one.port) for one in section.listen])
    await door.open([(one.host, one.port) for one in section.listen_implicit_tls], implicit_tls=True)
    watches = [
        asyncio.create_task(_watch_space(settings, desk)),
        asyncio.create_task(certificate.watch(tell_of_certificate)),
    ]
    log(Started("submission", " ".join(map(str, (*section.listen, *section.listen_implicit_tls)))))
    ready()
    await stop.wait()
    for watch in watches:
        watch.cancel()
    await door.close(grace=GRACE)
    writer.close()
    readers.close()
    log(Stopped("submission"))


def recorder(settings: Settings, ready: Callable[[], None]) -> None:
    """Commits what the submission processes took, until SIGTERM, and then until they have gone. Holds no key."""
    from zegel.edge.database import Scribe
    from zegel.edge.hatch import Serving
    from zegel.journey.arrival.apart import settle

    is_told, limit = threading.Event(), float("inf")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: is_told.set())
    scribe = Scribe(turns(settings), crowded=Crowd(settings.run).tell)
    serving = Serving(settings.run / HATCH)
    log(Started("recorder", ""))
    ready()
    while time.monotonic() < limit and (serving.is_asked or not is_told.is_set()):
        serving.round(lambda asked: settle(asked, scribe))
        if is_told.is_set() and limit == float("inf"):
            limit = time.monotonic() + GRACE + 2
    serving.close()
    log(Stopped("recorder"))


async def _watch_space(settings: Settings, desk: Desk) -> None:
    while True:
        with contextlib.suppress(OSError):
            desk.has_room = shutil.disk_usage(settings.folder).free > MINIMUM_FREE
        await asyncio.sleep(1.0)
