"""Many rows at once: what a group commit is made of. The ORM's objects cost more than the database does."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, Final

from django.core.management.color import no_style
from django.db import DEFAULT_DB_ALIAS, connection, connections, models

Converter = Callable[[Sequence[Any]], Sequence[Any]]


def select(statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The rows of a question that is asked for every message; values and rows as the database has them
    (:func:`identifier`, :func:`moment`, :func:`instant` and :func:`loaded` translate)."""
    return _cursor(statement, values).fetchall()  # type: ignore[no-any-return]


def _cursor(statement: str, values: Sequence[Any], *, many: bool = False) -> Any:
    """Django's own cursor costs more than SQLite does; its errors are kept, and so is whoever listens to it, and that a
    connection to a server is looked at before a request uses it."""
    ours: Any = connections[DEFAULT_DB_ALIAS]  # what stands behind ``connection`` in this thread, looked up once
    is_unseen = ours.health_check_enabled and not ours.health_check_done
    if ours.connection is None or is_unseen or ours.queries_logged or ours.execute_wrappers:
        told = ours.cursor()
        (told.executemany if many else told.execute)(statement, values)
        return told
    with ours.wrap_database_errors:
        cursor = ours.connection.cursor()
        (cursor.executemany if many else cursor.execute)(_spelled(ours.vendor, statement), values)
    return cursor


@lru_cache(256)
def _spelled(vendor: str, statement: str) -> str:
    """With the marks that the driver knows; no statement here has a percent sign of its own."""
    return statement.replace("%s", "?") if vendor == "sqlite" else statement


def execute(statement: str, values: Sequence[Any]) -> int:
    """How many rows it changed."""
    return int(_cursor(statement, values).rowcount)


def execute_many(statement: str, values: Sequence[Sequence[Any]]) -> int:
    """One statement for each of the values, if there are any; how many rows all of them changed."""
    return int(_cursor(statement, values, many=True).rowcount) if values else 0


def number_on(model: type[models.Model]) -> None:
    """Inside a transaction in which rows got numbers by hand: those to come follow them. SQLite does so by itself."""
    for statement in connection.ops.sequence_reset_sql(no_style(), [model]):
        execute(statement, ())


@cache
def marks(count: int) -> str:
    """The places of so many values in a statement, for ``IN (…)``; of none at all there is nothing in it."""
    return ", ".join(["%s"] * count) or "NULL"


@cache
def table(model: type[models.Model]) -> str:
    """The quoted name of its table."""
    return connection.ops.quote_name(model._meta.db_table)


def identifier(value: uuid.UUID) -> Any:
    """A UUID as the database has it."""
    return value if _native_identifiers() else value.hex


def found(value: Any) -> uuid.UUID:
    """A UUID that the database gave."""
    return value if isinstance(value, uuid.UUID) else uuid.UUID(value)


@lru_cache(1024)  # one instant stands in many rows of one message
def moment(value: datetime) -> Any:
    """An instant as the database has it."""
    return connection.ops.adapt_datetimefield_value(value)


def instant(value: Any) -> datetime | None:
    """An instant that the database gave; ``None`` for none."""
    if value is None:
        return None
    found: datetime = datetime.fromisoformat(value) if isinstance(value, str) else value
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def loaded(value: Any) -> Any:
    """What a JSON field holds."""
    return json.loads(value) if isinstance(value, str) else value


@cache
def _native_identifiers() -> bool:
    return bool(connection.features.has_native_uuid_field)


def insert(
    model: type[models.Model], names: Sequence[str], rows: Iterable[Sequence[Any]], *, unless_there: bool = False
) -> None:
    """Inserts ``rows``; with ``unless_there`` a row that breaks a unique constraint is left out. ``names`` are
    attribute names (``conversation_id``); fields that are left out get nothing, not even their default in Python, so
    every field without a default in the database is named."""
    head, marks, tail, convert = _insert(model, tuple(names), unless_there)
    converted = [convert(row) for row in rows]
    done = 0
    while done < len(converted):
        # The driver lets other threads go first at every step of a statement, so many rows are one step. Powers of two:
        # few different statements, which the driver keeps prepared.
        count = min(_MOST_ROWS, 1 << (len(converted) - done).bit_length() - 1)
        values = [value for row in converted[done : done + count] for value in row]
        _cursor(_rows(head, marks, tail, count), values)
        done += count


def update(model: type[models.Model], names: Sequence[str], rows: Iterable[Sequence[Any]], *, where: str = "") -> int:
    """Sets the fields ``names`` of each row whose primary key is the last value of a row. ``where`` narrows it. How
    many rows it changed."""
    statement, convert = _update(model, tuple(names), where)
    return execute_many(statement, [convert(row) for row in rows])


_MOST_ROWS: Final = 32  # of one statement


@cache
def _rows(head: str, marks: str, tail: str, count: int) -> str:
    return f"{head} VALUES {', '.join([marks] * count)}{tail}"


@cache
def _insert(model: type[models.Model], names: tuple[str, ...], unless_there: bool) -> tuple[str, str, str, Converter]:
    fields = [_field(model, name) for name in names]
    columns = ", ".join(connection.ops.quote_name(field.column) for field in fields)
    places = marks(len(fields))
    table = connection.ops.quote_name(model._meta.db_table)
    conflict = " ON CONFLICT DO NOTHING" if unless_there else ""
    return f"INSERT INTO {table} ({columns})", f"({places})", conflict, _converter(fields)


@cache
def _update(model: type[models.Model], names: tuple[str, ...], where: str) -> tuple[str, Converter]:
    fields = [_field(model, name) for name in names]
    settings = ", ".join(f"{connection.ops.quote_name(field.column)} = %s" for field in fields)
    table = connection.ops.quote_name(model._meta.db_table)
    key: Any = model._meta.pk
    condition = f"{connection.ops.quote_name(key.column)} = %s" + (f" AND {where}" if where else "")
    return f"UPDATE {table} SET {settings} WHERE {condition}", _converter([*fields, key])  # noqa: S608


def _field(model: type[models.Model], name: str) -> Any:
    return next(field for field in model._meta.concrete_fields if name in (field.attname, field.name))


def _converter(fields: Sequence[Any]) -> Converter:
    """Only what the database can't take as it is goes through Django: the rest is passed on untouched."""
    prepared = tuple((number, _preparing(field)) for number, field in enumerate(fields) if not _is_plain(field))

    def convert(row: Sequence[Any]) -> Sequence[Any]:
        values = list(row)
        for number, prepare in prepared:
            if values[number] is not None:
                values[number] = prepare(values[number])
        return values

    return convert


def _preparing(field: Any) -> Callable[[Any], Any]:
    target = _target(field)
    if isinstance(target, models.UUIDField):
        return identifier if _native_identifiers() else attrgetter("hex")
    if isinstance(target, models.DateTimeField):
        return moment
    return lambda value: field.get_db_prep_save(value, connection)


def _target(field: Any) -> Any:
    return field.target_field if isinstance(field, models.ForeignKey) else field


def _is_plain(field: Any) -> bool:
    target = _target(field)
    return isinstance(target, models.IntegerField | models.CharField | models.TextField | models.BinaryField) and (
        not isinstance(target, models.JSONField)
    )
