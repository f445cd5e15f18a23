"""Django's PostgreSQL backend, with what the code relies on: one writer at a time, and columns as SQLite has them.

Whoever writes holds :data:`WRITING` until its transaction ends: every outermost ``atomic`` takes it first, and a
statement outside of one gets a transaction of its own. So what a transaction read can't be changed by another one
before it commits, as with SQLite's IMMEDIATE transactions; see ADR 45.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from django.db import DatabaseError
from django.db.backends.postgresql import base, operations
from psycopg.pq import TransactionStatus
from psycopg.types.string import StrDumperUnknown

WRITING: Final = 0x7A6567656C  # of the advisory lock; "zegel"
_TAKE: Final = f"SELECT pg_advisory_xact_lock({WRITING})"
_WRITES: Final = ("INSERT", "UPDATE", "DELETE")
NOT_STORABLE: Final = "\ufffd"  # in the place of NUL, and of half a surrogate pair, which PostgreSQL refuses


def storable(value: Any) -> Any:
    """A text, or what JSON can hold, without what PostgreSQL refuses in texts. Hostile input reads a little
    differently then; it is never an error that is told to be ours, or that is tried again for ever."""
    match value:
        case str():
            return value.replace("\0", NOT_STORABLE).encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        case dict():
            return {storable(key): storable(one) for key, one in value.items()}
        case list() | tuple():
            return [storable(one) for one in value]
        case _:
            return value


class _Text(StrDumperUnknown):
    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", NOT_STORABLE))


class Cursor(psycopg.ClientCursor[Any]):
    """Writes in a transaction, of its own where there is none."""

    def execute(self, query: Any, params: Any = None, **more: Any) -> Any:
        """As every cursor."""
        with self._alone_if_writing(query):
            return super().execute(query, params, **more)

    def executemany(self, query: Any, params_seq: Iterable[Any], **more: Any) -> None:
        """As every cursor."""
        with self._alone_if_writing(query):
            super().executemany(query, params_seq, **more)

    @contextmanager
    def _alone_if_writing(self, query: Any) -> Iterator[None]:
        ours: psycopg.Connection[Any] = self.connection
        if (
            ours.autocommit
            and isinstance(query, str)
            and query.lstrip()[:6].upper() in _WRITES
            and ours.pgconn.transaction_status == TransactionStatus.IDLE
        ):
            with ours.transaction():
                ours.execute(_TAKE)
                yield
        else:
            yield


class DatabaseOperations(operations.DatabaseOperations):
    """Integers of 64 bits, and JSON of whatever came in."""

    def integer_field_range(self, internal_type: str) -> tuple[int, int]:
        """As columns are made here."""
        return (0 if internal_type.startswith("Positive") else -(1 << 63)), (1 << 63) - 1

    def adapt_json_value(self, value: Any, encoder: Any) -> Any:
        """Without what PostgreSQL refuses."""
        return super().adapt_json_value(storable(value), encoder)


class DatabaseWrapper(base.DatabaseWrapper):
    """One writer at a time. Texts have no limit of the database's own, and integers have 64 bits: as in SQLite."""

    data_types = base.DatabaseWrapper.data_types | {
        "CharField": "varchar",
        "SlugField": "varchar",
        "IntegerField": "bigint",
        "PositiveIntegerField": "bigint",
        "PositiveSmallIntegerField": "bigint",
        "SmallIntegerField": "bigint",
    }
    ops_class = DatabaseOperations

    def get_connection_params(self) -> dict[str, Any]:
        """With our cursor."""
        return {**super().get_connection_params(), "cursor_factory": Cursor}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """One that takes any text."""
        made = super().get_new_connection(conn_params)
        made.adapters.register_dumper(str, _Text)
        return made

    def set_autocommit(self, autocommit: bool, force_begin_transaction_with_broken_autocommit: bool = False) -> None:
        """A transaction that ``atomic`` begins waits here until nobody else writes."""
        if autocommit or not force_begin_transaction_with_broken_autocommit:
            super().set_autocommit(autocommit, force_begin_transaction_with_broken_autocommit)
            return
        try:
            self._begin()
        except DatabaseError:
            if self.connection is not None:  # it is well: the others write for too long
                raise
            self._begin()  # once more, on a new connection: nothing was done yet on the one that the server had ended

    def _begin(self) -> None:
        """Without a connection where it raises because there is none any more."""
        try:
            super().set_autocommit(False)
            with self.wrap_database_errors:
                self.connection.execute(_TAKE)
        except DatabaseError:
            if self.connection is None or self.connection.closed:
                self.close()
            else:
                self.rollback()
                super().set_autocommit(True)
            raise
