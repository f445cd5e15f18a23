"""Real servers and a real browser, on loopback, for tests in which the other side must be real.

A peer is one process group that is started here, and is gone when the test is over.
"""

from __future__ import annotations

import atexit
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

PATIENCE: Final = 45.0  # seconds after which waiting is given up; nothing is measured with it


class PeerDidNotStart(RuntimeError):
    """The server ended, or stayed silent, before it answered; the text is the end of its log."""


class Peer(ABC):
    """One real server. ``with`` starts it and goes on when it answers; after the block no process of it is left.

    After :meth:`stop` it may be started again, and then finds the state that it left in its folder.
    """

    def __init__(self, folder: Path, ip: str, port: int = 0) -> None:
        """Port 0 means one that is free."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ip, self.port = ip, port or free_port(ip)
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _command(self) -> list[str]:
        """What to run; it must stay in the foreground."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether a client gets an answer by now."""

    @abstractmethod
    def log(self) -> str:
        """All that the server wrote to its log so far."""

    def _environment(self) -> Mapping[str, str]:
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}

    @property
    def pid(self) -> int | None:
        """The process to signal, leader of the group of all its children; ``None`` while stopped."""
        return self._process.pid if self._process else None

    def start(self) -> Self:
        """Returns when the server answers; else raises :class:`PeerDidNotStart` and leaves no process behind."""
        if self._process is not None:
            raise RuntimeError("already started")
        if not is_free(self.ip, self.port):
            raise PeerDidNotStart(f"something else listens on {self.ip}:{self.port}")
        output = self.folder / "output"
        with output.open("wb") as written:
            process = self._process = subprocess.Popen(
                self._command(),
                env=dict(self._environment()),
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        atexit.register(self.stop)
        with suppress(TimeoutError):
            until(lambda: process.poll() is not None or self._answers())
            if process.poll() is None:
                return self
        self.stop()
        said = output.read_text(errors="replace") + self.log()
        raise PeerDidNotStart(f"{type(self).__name__} (exit status {process.returncode}):\n{said[-4000:]}")

    def stop(self) -> None:
        """Ends the server and its children, at first politely; returns when they are gone. Harmless while stopped."""
        process, self._process = self._process, None
        if process is None:
            return
        atexit.unregister(self.stop)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        for last_word in (signal.SIGTERM, signal.SIGKILL):
            with suppress(TimeoutError, ProcessLookupError):
                if _members(process.pid):
                    os.killpg(process.pid, last_word)
                until(lambda: not _members(process.pid))
        process.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, cause: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def until(holds: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Returns once ``holds()`` does; raises ``TimeoutError`` when patience ends first."""
    end = time.monotonic() + patience
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {patience} seconds")
        time.sleep(0.02)


def free_port(ip: str = "127.0.0.1") -> int:
    """A port on which nothing listens at this moment, neither TCP nor UDP, and that was given to nobody yet.

    Below the ports that the kernel gives to clients: one that tries again and again to reach a server which is being
    restarted could else be given the server's own port, and connect to itself. Each process that runs tests side by
    side with others has ports of its own: what one found free, another doesn't take before it is used.
    """
    while True:
        port = next(_PORTS)
        if is_free(ip, port):
            return port


def _ports(worker: int, workers: int) -> Iterator[int]:
    own = range(20_000 + worker, 32_000, workers)
    start = random.SystemRandom().randrange(len(own))  # hypothesis gives ``random`` the same seed everywhere
    return itertools.cycle([*own[start:], *own[:start]])


_PORTS: Final = _ports(
    int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")),
    int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")),
)


def is_free(ip: str, port: int) -> bool:
    """Nothing listens there, neither TCP nor UDP."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
    ):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ended connections don't hold a port
        try:
            stream.bind((ip, port))
            datagram.bind((ip, port))
        except OSError:
            return False
    return True


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """A temporary folder that other accounts may pass through, removed afterwards.

    pytest keeps its ``tmp_path`` to one account; a server that gives up root would not reach its own files there.
    """
    folder = Path(tempfile.mkdtemp(prefix="zegel-peer-"))
    try:
        folder.chmod(0o711)
        yield folder
    finally:
        shutil.rmtree(folder)


def _members(group: int) -> list[int]:
    """The living processes of a process group. A zombie waits for its parent and does nothing any more."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _parent, its_group = stat.read_text(errors="replace").rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                found.append(int(stat.parent.name))
    return found
