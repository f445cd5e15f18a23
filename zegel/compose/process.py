"""What every process does, whatever its role: takes its settings and Django into use, and ends in good order."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import threading
from pathlib import Path
from typing import Final, Literal

from zegel.edge.sqlite import use_current_sqlite
from zegel.settings import CONFIG_VARIABLE

Role = Literal["submission", "recorder", "inbound", "dispatch", "web", "certificates", "metrics"]
ROLE_VARIABLE: Final = "ZEGEL_ROLE"
GRACE: Final = 10.0  # seconds to finish what is under way
GARBAGE: Final = 20_000  # objects made and not yet freed, before cycles are looked for
FILES: Final = 65_536  # open at once in one process


class NotReady(Exception):
    """One sentence for the operator: what stands in the way of starting, and what to do."""


def use(settings_file: Path | None, *, role: Role | None = None) -> None:
    """Makes this process (and those it starts) use a configuration file. Before :func:`start_django`."""
    if settings_file is not None:
        os.environ[CONFIG_VARIABLE] = str(settings_file.resolve())
    if role is not None:
        os.environ[ROLE_VARIABLE] = role
    os.environ["DJANGO_SETTINGS_MODULE"] = "zegel.web.settings"
    os.umask(0o077)  # what we write is nobody else's to read
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # memory with keys in it never becomes a file
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES:  # the usual 1024 is fewer than our connections
        most = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def start_django() -> None:
    """After this the models can be imported."""
    use_current_sqlite()
    import django

    django.setup()


def collect_less() -> None:
    """What was imported stays: looking through it again and again costs a tenth of all."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)


def stop_event() -> asyncio.Event:
    """Set by SIGTERM, and by Ctrl-C. Inside an event loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def end_with_stdin() -> None:
    """The supervisor holds the other end of our standard input: its death, even by kill -9, ends us in good order."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def end_with_parent() -> None:
    """A worker whose server was killed must not keep the port."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            threading.Event().wait(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(5.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
