"""Which SQLite is used. Debian 12's 3.40 has the WAL-reset defect (3.7.0–3.51.2, several connections)."""

from __future__ import annotations

import sys
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
