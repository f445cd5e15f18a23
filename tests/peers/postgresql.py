"""Debian's PostgreSQL: a cluster of its own, on a Unix socket and on loopback."""

from __future__ import annotations

import atexit
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import psycopg

from tests.peers import Peer, until

VARIABLE: Final = "ZEGEL_TEST_DATABASE"  # "postgresql": the tests run on one
USER: Final = "zegel"
PASSWORD: Final = "een wachtwoord: met 'alles'"
_UNPRIVILEGED: Final = ("postgres", "nobody")  # PostgreSQL refuses to run as root
_NUMBERS: Final = itertools.count()


def programs() -> Path | None:
    """The folder of the newest PostgreSQL of this machine."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class PostgreSql(Peer):
    """A server for one run of tests. By its socket anybody comes in as :data:`USER`; by loopback who knows
    :data:`PASSWORD`. The user may make databases, and nothing else."""

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        """``folder`` can be passed through by all accounts. ``LookupError`` where there is no PostgreSQL here."""
        found = programs()
        if found is None:
            raise LookupError("no postgresql: python -m tests.peers.debian")
        super().__init__(folder.absolute(), "127.0.0.1")
        self._programs, self._durable = found, durable
        self.data, self.socket = self.folder / "data", self.folder / "socket"
        if not self.data.exists():
            self._make()

    def _make(self) -> None:
        for folder in (self.data, self.socket):
            folder.mkdir(mode=0o755)
            if (account := _account()) is not None:
                os.chown(folder, account.pw_uid, account.pw_gid)
        made = subprocess.run(
            [
                *_as_account(),
                str(self._programs / "initdb"),
                f"--pgdata={self.data}",
                "--username=administrator",
                "--auth-local=trust",
                "--auth-host=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ],
            env=dict(self._environment()),
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise RuntimeError(made.stdout + made.stderr)

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": self.ip,
            "port": str(self.port),
            "unix_socket_directories": str(self.socket),
            "fsync": "on" if self._durable else "off",
            "max_connections": "100",
            "shared_buffers": "32MB",
            "log_min_error_statement": "panic",  # statements hold addresses; a log of tests is looked through for them
        }
        told = [f"--{name}={value}" for name, value in settings.items()]
        return [*_as_account(), str(self._programs / "postgres"), "-D", str(self.data), *told]

    def _answers(self) -> bool:
        with suppress(psycopg.Error), self.administrator() as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [USER]).fetchall():
                connection.execute(f"CREATE ROLE {USER} LOGIN CREATEDB")
                literal = PASSWORD.replace("'", "''")
                connection.execute(f"ALTER ROLE {USER} PASSWORD '{literal}'")
            return True
        return False

    def log(self) -> str:
        path = self.folder / "output"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self) -> None:
        """Clients are thrown out; what is asked politely waits for them to leave."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGINT)
        super().stop()

    def kill(self) -> None:
        """kill -9 of the server and all that it started: as when the power goes."""
        assert self.pid is not None
        os.killpg(self.pid, signal.SIGKILL)
        super().stop()
        until(lambda: not self._answers())

    @contextmanager
    def administrator(self, database: str = "postgres") -> Iterator[psycopg.Connection[Any]]:
        """A connection that may do anything, and commits each statement."""
        where = {"host": str(self.socket), "port": self.port, "user": "administrator", "dbname": database}
        with psycopg.connect(**where, autocommit=True, connect_timeout=5) as connection:  # type: ignore[arg-type]
            yield connection

    def create(self, name: str = "") -> str:
        """A new database of :data:`USER`; its name."""
        name = name or f"zegel_{os.getpid()}_{next(_NUMBERS)}"
        with self.administrator() as connection:
            connection.execute(f"CREATE DATABASE {name} OWNER {USER} TEMPLATE template0")
        return name

    def url(self, name: str) -> str:
        """As `database_url` has it, by the socket."""
        return f"postgresql://{USER}@:{self.port}/{name}?host={self.socket}"

    def url_by_loopback(self, name: str) -> str:
        """Here a password is asked for."""
        return f"postgresql://{USER}@{self.ip}:{self.port}/{name}"


@cache
def _account() -> pwd.struct_passwd | None:
    """Whom the server runs as; ``None``: whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    known = {one.pw_name: one for one in pwd.getpwall()}
    return next(known[name] for name in _UNPRIVILEGED if name in known)


def _as_account() -> list[str]:
    account = _account()
    if account is None:
        return []
    return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]


# --- for a whole run of tests -------------------------------------------------------------------------------------


def is_wanted() -> bool:
    """All tests that can are to run on PostgreSQL."""
    return os.environ.get(VARIABLE) == "postgresql"


@cache
def shared() -> PostgreSql:
    """One for this process, as fast as it can be; gone when the process is."""
    folder = Path(tempfile.mkdtemp(prefix="zegel-pg-"))
    folder.chmod(0o711)
    server = PostgreSql(folder, durable=False)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return server.start()


def setting() -> str:
    """A line for a configuration file: with a database of its own, where tests are to run on PostgreSQL."""
    if not is_wanted():
        return ""
    server = shared()
    return f'database_url = "{server.url(server.create())}"\n'


def environment() -> Mapping[str, str]:
    """The same as a variable, for this process."""
    return {"ZEGEL_DATABASE_URL": shared().url("zegel")} if is_wanted() else {}
