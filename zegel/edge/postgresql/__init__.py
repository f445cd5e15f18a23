"""PostgreSQL in the place of SQLite: how it is reached, and what it is asked to promise (ADR 45)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from zegel.core.secret import Secret
from zegel.settings import BadSettings, DatabasePlace, Settings

OLDEST: Final = 14  # Django 5.2 knows no older ones
WAIT: Final = 30  # seconds that a writer waits for the others, as with SQLite
PAUSES: Final = (0.05, 0.2, 1.0, 2.0)  # seconds between tries, while somebody reads
_OPTIONS: Final = (
    f"-c lock_timeout={WAIT}s",
    "-c synchronous_commit=on",  # a 250 survives a power cut: P2
    "-c default_transaction_isolation=read\\ committed",  # what follows the lock sees all that was committed before it
    "-c idle_in_transaction_session_timeout=300s",  # who hangs must not keep all others from writing for ever
)


def database(settings: Settings, place: DatabasePlace) -> dict[str, Any]:
    """Django's settings for it. Raises :class:`zegel.settings.BadSettings`."""
    secret = password(settings)
    return {
        "ENGINE": "zegel.edge.postgresql",
        "NAME": place.name,
        "USER": place.user,
        "PASSWORD": secret.reveal() if secret is not None else "",
        "HOST": place.host,
        "PORT": str(place.port),
        "OPTIONS": {
            **dict(place.options),
            "application_name": "zegel",
            "connect_timeout": 10,
            "gssencmode": "disable",  # where it is used, libpq doesn't look at the certificate
            "tcp_user_timeout": 30_000,  # milliseconds; a server that went away silently is given up
            "options": " ".join(_OPTIONS),
        },
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
    }


def password(settings: Settings) -> Secret[str] | None:
    """``None``: none is set; libpq looks in its own places. Raises :class:`zegel.settings.BadSettings`."""
    path = settings.database_password
    if path is None:
        return None
    try:
        return Secret(path.read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError) as cause:
        why = cause.strerror if isinstance(cause, OSError) else "not UTF-8"
        raise BadSettings(f"database_password: {path} can't be read ({why}).") from None


@dataclass(frozen=True, slots=True)
class Program:
    """How a program of PostgreSQL reaches the database: nothing secret is among its arguments."""

    arguments: tuple[str, ...]
    environment: dict[str, str]


def program(settings: Settings, place: DatabasePlace) -> Program:
    """For pg_dump and pg_restore. Raises :class:`zegel.settings.BadSettings`."""
    environment = {f"PG{name.upper()}": value for name, value in place.options}
    if (secret := password(settings)) is not None:
        environment["PGPASSWORD"] = secret.reveal()
    environment |= {
        "PGAPPNAME": "zegel",
        "PGCONNECT_TIMEOUT": "10",
        "PGGSSENCMODE": "disable",
        "PGCLIENTENCODING": "UTF8",
    }
    arguments = (f"--host={place.host}", f"--port={place.port}", f"--dbname={place.name}", "--no-password")
    return Program((*arguments, *((f"--username={place.user}",) if place.user else ())), environment)


# --- what is asked of it ------------------------------------------------------------------------------------------

Ask = Callable[[str], Any]
"""Runs a statement outside of a transaction, and returns the first value of its first row, if it has one."""


def ask(statement: str, values: Sequence[Any] = ()) -> Any:
    """As :data:`Ask`, on Django's connection."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


def major(ask: Ask) -> int:
    """The version of the server."""
    return int(ask("SHOW server_version_num")) // 10_000


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a server, and what to do."""

    what: str
    remedy: str


def faults(ask: Ask) -> list[Fault]:
    """Why a database can't be used at all. The first is the worst."""
    found = []
    version = major(ask)
    if version < OLDEST:
        found.append(Fault(f"its server is PostgreSQL {version}", f"Bring it to version {OLDEST} or newer."))
    encoding = ask("SHOW server_encoding")
    if encoding != "UTF8":
        found.append(Fault(f"its encoding is {encoding}", _MAKE))
    if not ask("SELECT 'Z' < 'a' AND 'a' < 'é' AND 'z' < 'é'"):
        found.append(Fault("it doesn't sort texts by their octets", _MAKE))
    return found


_MAKE: Final = "Make another: createdb --owner=zegel --template=template0 --encoding=UTF8 --locale=C.UTF-8 zegel"


def undurable(ask: Ask) -> list[Fault]:
    """What could lose mail that was accepted."""
    remedy = "A power cut could lose accepted mail. Set it to on in postgresql.conf of the server."
    names = ("fsync", "full_page_writes", "synchronous_commit")
    return [Fault(f"{name} is {value}", remedy) for name in names if (value := ask(f"SHOW {name}")) == "off"]


@dataclass(frozen=True, slots=True)
class Seen:
    """A connection as the server sees it."""

    version: str
    name: str  # of the database
    user: str
    is_superuser: bool
    tls: str  # empty: none


def looked_at(ask: Ask) -> Seen:
    """Of the connection in use."""
    tls = ask("SELECT version || ' ' || cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl")
    return Seen(
        version=str(ask("SHOW server_version")).split(" ")[0],
        name=ask("SELECT current_database()"),
        user=ask("SELECT current_user"),
        is_superuser=ask("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"),
        tls=tls or "",
    )


def vacuum(ask: Ask, tables: Sequence[str], *, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Takes rows as they were before out of ``tables``. ``False``: somebody goes on reading them, a backup of ours for
    one; what other users of the server do is not shown to us.

    What is taken out is not overwritten; docs/expiry.md says where it can stay.
    """
    for pause in (*PAUSES, 0.0):
        began: datetime = ask("SELECT clock_timestamp()")
        ask(f"VACUUM {', '.join(tables)}")
        if not ask(_READS_OLD_ROWS.format(began.isoformat())):
            return True
        sleep(pause)
    return False


# A transaction that began before, and has a snapshot or wrote something: rows that ended since then stay for it.
_READS_OLD_ROWS: Final = """SELECT EXISTS (SELECT 1 FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start < '{}'
AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL))"""
