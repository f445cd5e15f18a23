"""Which SQLite is used. Debian 12's 3.40 has the WAL-reset defect (3.7.0–3.51.2, several connections)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

SAFE_SINCE: Final = (3, 51, 3)


def use_current_sqlite() -> None:
    """Puts the wheel's SQLite in the place of the system's; called before Django imports a database backend."""
    try:
        import pysqlite3
    except ImportError:
        return  # :func:`version` is checked at start; a system SQLite that is new enough is as good
    sys.modules["sqlite3"] = pysqlite3
    sys.modules["sqlite3.dbapi2"] = pysqlite3.dbapi2


def version() -> tuple[int, ...]:
    """Of the library in use."""
    import sqlite3

    return tuple(int(part) for part in sqlite3.sqlite_version.split("."))


def is_safe() -> bool:
    """WAL with several connections may be used."""
    return version() >= SAFE_SINCE


OPTIONS: Final[dict[str, Any]] = {
    # IMMEDIATE: a transaction that reads and then writes must not find out at its write that it has to start again.
    "transaction_mode": "IMMEDIATE",
    "timeout": 30,
    "init_command": (
        "PRAGMA journal_mode=WAL;"
        "PRAGMA synchronous=FULL;"  # a 250 survives a power cut: P2
        "PRAGMA foreign_keys=ON;"
        "PRAGMA secure_delete=ON;"  # destroyed keys are overwritten
        "PRAGMA temp_store=MEMORY;"  # nothing in temporary folders
        "PRAGMA wal_autocheckpoint=16000;"
        "PRAGMA cache_size=-16000;"
        "PRAGMA mmap_size=0;"
    ),
}

PASSES: Final = 8  # over a log that others write to
IN_THE_WAY: Final = 100  # milliseconds that emptying the log may hold writers up, each time
PAUSES: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 1.0, 2.0, 2.0)  # seconds between tries, while somebody reads


def shorten_log(ask: Callable[[str], Any]) -> None:
    """Moves what the write-ahead log holds into the database file, beside readers and writers, so that the next commit
    can begin the log anew. Most of it in the first pass; what was committed meanwhile in those that follow.

    ``ask`` as of :func:`empty_log`."""
    for _ in range(PASSES):
        _, frames, moved = ask("PRAGMA wal_checkpoint(PASSIVE)")
        if frames == moved:
            return


def empty_log(ask: Callable[[str], Sequence[Any]], *, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Brings what was committed into the database file and cuts the write-ahead log to nothing, so that pages as they
    were before are in neither. ``False``: somebody went on reading them for seconds, and they are still there.

    ``ask`` runs a pragma on a connection outside of a transaction and returns its row; the connection gives up early
    afterwards where others keep their patience, so it is to be closed.
    """
    ask(f"PRAGMA busy_timeout={IN_THE_WAY}")
    for pause in (*PAUSES, 0.0):
        ask("PRAGMA wal_checkpoint(PASSIVE)")  # most of the work, beside readers and writers
        if ask("PRAGMA wal_checkpoint(TRUNCATE)")[0] == 0:
            return True
        sleep(pause)
    return False
