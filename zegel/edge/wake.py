"""Wake-ups between processes on one machine: "there is work", without polling the database for it.

A lost wake-up costs a second, not a message: who waits also looks by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

CROWD_LASTS: Final = 0.15  # seconds
_PATTERN: Final = "*.bell"
_LONGEST: Final = 80  # octets of a folder's name; a socket's whole name has room for 107


def ring(folder: Path) -> None:
    """Wakes every process that listens in ``folder``. Never blocks, never raises: what was done is done."""
    with (
        contextlib.suppress(OSError),  # no file descriptor is left, or no folder is there
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as bell,
        within_reach(folder) as near,
    ):
        for path in near.glob(_PATTERN):
            with contextlib.suppress(OSError):  # its buffer is full: it is awake
                _ring_one(bell, path)


def _ring_one(bell: socket.socket, path: Path) -> None:
    try:
        bell.sendto(b"!", str(path))
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)  # its process was killed


@contextlib.contextmanager
def within_reach(folder: Path) -> Iterator[Path]:
    """The folder, under another name where its own is too long for a socket in it."""
    if len(os.fsencode(folder)) <= _LONGEST:
        yield folder
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


class Rope:
    """Rings for many: at once where nobody rang lately, else once for all who ask meanwhile. For one event loop."""

    def __init__(self, folder: Path, *, pause: float = 0.02) -> None:
        """``pause``: seconds between two rings; who waits for a bell looks by itself after a second anyway."""
        self._folder = folder
        self._pause = pause
        self._is_resting = False
        self._is_asked = False

    def pull(self) -> None:
        """There is work. Never blocks, never raises."""
        if self._is_resting:
            self._is_asked = True
            return
        ring(self._folder)
        self._is_resting = True
        asyncio.get_running_loop().call_later(self._pause, self._rested)

    def _rested(self) -> None:
        self._is_resting = False
        if self._is_asked:
            self._is_asked = False
            self.pull()


class Crowd:
    """Tells the processes of one machine that many wait at the door: who can do their work later lets them go first.

    A file whose time is that of the last crowd; a lost sign costs nothing but speed.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = folder / "crowd"
        self._clock = clock
        self._told = 0.0

    def tell(self) -> None:
        """There is one now. Never raises; from any thread."""
        now = self._clock()
        if not 0 <= now - self._told < CROWD_LASTS / 4:
            self._told = now
            with contextlib.suppress(OSError):
                self._path.touch()
                os.utime(self._path, (now, now))

    def is_there(self) -> bool:
        """Somebody told of one a moment ago."""
        try:
            return 0 <= self._clock() - self._path.stat().st_mtime < CROWD_LASTS
        except OSError:
            return False


class Bell:
    """What a process waits on. Made inside a running event loop."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / f"{os.getpid()}.bell"
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        with within_reach(folder) as near:
            self._socket.bind(str(near / self._path.name))
        self._rung = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._drain)

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(16):
                pass
        self._rung.set()

    def ring(self) -> None:
        """From inside this process."""
        self._rung.set()

    async def wait(self, seconds: float) -> None:
        """Until somebody rings, at most ``seconds``."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._rung.wait(), seconds)
        self._rung.clear()

    def close(self) -> None:
        """Stops listening."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        self._path.unlink(missing_ok=True)
