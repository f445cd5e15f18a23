"""One process tree: starts the roles, starts them again when they end, stops them in order."""

from __future__ import annotations

import fcntl
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Final

from zegel.compose.process import ROLE_VARIABLE, NotReady
from zegel.edge.log import ProcessEnded, log
from zegel.settings import CONFIG_VARIABLE, Listen, Settings

START_LIMIT: Final = 60.0  # seconds until a role must be ready
STOP_LIMIT: Final = 15.0
PORT_LIMIT: Final = 3.0
NOTIFY_VARIABLE: Final = "NOTIFY_SOCKET"
CONFIGURATION: Final = 78  # EX_CONFIG: the child said what is wrong; starting it again would not help
_BACK_OFF: Final = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0)


@dataclass(slots=True)
class Child:
    """One process of a role."""

    role: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    failures: int = 0
    start_at: float = 0.0
    started: float = 0.0

    @property
    def name(self) -> str:
        return self.role


@dataclass(slots=True)
class Supervisor:
    """Runs until it is told to stop by SIGTERM or SIGINT."""

    settings: Settings
    config: Path | None
    stderr: IO[bytes] | None = None  # where the children's log goes; None: to ours
    children: list[Child] = field(default_factory=list)
    _stopping: bool = False
    _lock: IO[str] | None = None

    def take_folder(self) -> None:
        """One Zegel for each folder. Raises :class:`NotReady`."""
        path = self.settings.run / "zegel.pid"
        try:
            self.settings.run.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = path.open("a+")
        except OSError as cause:
            raise NotReady(
                f"The folder {self.settings.folder} can't be made or written: {cause.strerror}. Choose another in the "
                "setting folder, or give it to the user that Zegel runs as."
            ) from cause
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as cause:
            self._lock.seek(0)
            raise NotReady(
                f"Zegel already runs with {self.settings.folder} (process {self._lock.read().strip() or 'unknown'}). "
                "Stop it first, or give this one another folder."
            ) from cause
        self._lock.truncate(0)
        self._lock.write(f"{os.getpid()}\n")
        self._lock.flush()

    def add(self, role: str, count: int = 1, *, module: str = "zegel", arguments: Sequence[str] = ()) -> None:
        """Processes to run; nothing starts yet."""
        # -P: not what happens to be called `zegel` where we were started, such as a clone of the repository.
        command = [sys.executable, "-P", "-m", module, *(arguments or ("run", "--role", role))]
        self.children.extend(Child(role, command) for _ in range(count))

    def start(self) -> None:
        """Starts what does not run yet; returns when it is ready. Raises :class:`NotReady`."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, self._on_hangup)
        fresh = [child for child in self.children if child.process is None]
        for child in fresh:
            self._spawn(child)
        for child in fresh:
            self._await_ready(child)

    def watch(self) -> None:
        """Until told to stop: a role that ends is started again, with growing pauses."""
        while not self._stopping:
            for child in self.children:
                self._look_after(child)
            time.sleep(0.2)

    def stop(self) -> None:
        """Asks all to finish, waits, and ends what is left."""
        self._stopping = True
        running = [child.process for child in self.children if child.process is not None]
        for process in running:
            if process.poll() is None:
                process.terminate()
        limit = time.monotonic() + STOP_LIMIT
        for process in running:
            try:
                process.wait(max(0.1, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._lock is not None:
            self._lock.close()

    @property
    def is_stopping(self) -> bool:
        return self._stopping

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        """Certificates are looked at now; nothing else is read again."""
        for child in self.children:
            if child.role == "submission" and child.process is not None:
                child.process.send_signal(signal.SIGHUP)

    def _spawn(self, child: Child) -> None:
        environment = {**os.environ, "ZEGEL_CHILD": "1", ROLE_VARIABLE: child.role, "PYTHONUNBUFFERED": "1"}
        environment.pop(NOTIFY_VARIABLE, None)  # that is ours
        if self.config is not None:
            environment[CONFIG_VARIABLE] = str(self.config.resolve())
        child.started = time.monotonic()
        child.process = subprocess.Popen(  # noqa: S603
            list(child.command),
            stdin=subprocess.PIPE,  # held open: its end tells the child that we are gone
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            env=environment,
            start_new_session=True,  # Ctrl-C is for us; we stop the children in order
        )

    def _await_ready(self, child: Child) -> None:
        limit = time.monotonic() + START_LIMIT
        while time.monotonic() < limit and not self._stopping:
            code = child.process.poll() if child.process is not None else None
            if code is not None and code > 0:
                told = code == CONFIGURATION  # by the child itself
                raise NotReady("" if told else f"The {child.role} process ended at its start (code {code}).")
            if code is not None or child.process is None:  # one that was killed meanwhile is started again
                self._look_after(child)
            if child.process is None:
                time.sleep(0.05)
            elif self._is_ready(child):
                return
        if not self._stopping:
            raise NotReady(f"The {child.role} process was not ready within {START_LIMIT:.0f} seconds.")

    def _is_ready(self, child: Child) -> bool:
        if child.role == "web":
            time.sleep(0.05)
            return answers(self.settings.portal.listen)
        assert child.process is not None and child.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(child.process.stdout, selectors.EVENT_READ)
            if not selector.select(0.1):
                return False
        return child.process.stdout.readline() == b"ready\n"

    def _look_after(self, child: Child) -> None:
        if child.process is None:
            if time.monotonic() >= child.start_at:
                self._spawn(child)
            return
        code = child.process.poll()
        if code is None or self._stopping:
            return
        log(ProcessEnded(child.role, code))
        if time.monotonic() - child.started > 60:
            child.failures = 0
        child.start_at = time.monotonic() + _BACK_OFF[min(child.failures, len(_BACK_OFF) - 1)]
        child.failures += 1
        for pipe in (child.process.stdin, child.process.stdout):
            if pipe is not None:
                pipe.close()
        child.process = None


def answers(listen: Listen) -> bool:
    """Somebody takes connections there."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)  # noqa: S104
    try:
        with socket.create_connection((host, listen.port), timeout=1):
            return True
    except OSError:
        return False


def tell_service_manager(state: str) -> None:
    """``READY=1``, ``STOPPING=1``: to systemd, where it started us and asked to hear of it (sd_notify(3))."""
    address = os.environ.get(NOTIFY_VARIABLE)
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.sendto(state.encode("ascii"), f"\0{address[1:]}" if address.startswith("@") else address)


def is_running(settings: Settings) -> bool:
    """A supervisor is at work in the folder. Looks only: to take its lock, even for a moment, could stop one that
    is starting."""
    try:
        pid = int((settings.run / "zegel.pid").read_text())
        return b"zegel" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return False


def require_free(listens: Sequence[tuple[str, Listen]]) -> None:
    """Each address can be bound now, or within a moment: a process that was killed keeps its sockets a little longer.
    Raises :class:`NotReady` that names the setting."""
    limit = time.monotonic() + PORT_LIMIT
    for setting, listen in listens:
        while (trouble := _trouble_binding(listen)) is not None:
            if isinstance(trouble, PermissionError) or time.monotonic() > limit:
                raise NotReady(_told(setting, listen, trouble))
            time.sleep(0.1)


def trouble_binding(setting: str, listen: Listen) -> str | None:
    """Why the address can't be bound now, and what to do; names the setting."""
    trouble = _trouble_binding(listen)
    return None if trouble is None else _told(setting, listen, trouble)


def _told(setting: str, listen: Listen, trouble: OSError) -> str:
    if isinstance(trouble, PermissionError):
        return (
            f"{setting}: port {listen.port} needs more rights. Choose a port above 1023, or give the service "
            "CAP_NET_BIND_SERVICE."
        )
    return f"{setting}: {listen} can't be had ({trouble.strerror}). Stop what listens there, or change it."


def _trouble_binding(listen: Listen) -> OSError | None:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen.host, listen.port))
        except OSError as cause:
            return cause
    return None
