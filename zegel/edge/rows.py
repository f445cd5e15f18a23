"""Many rows at once: what a group commit is made of. The ORM's objects cost more than the database does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from django.db import connection, models

Converter = Callable[[Sequence[Any]], tuple[Any, ...]]


def insert(
    model: type[models.Model], names: Sequence[str], rows: Iterable[Sequence[Any]], *, unless_there: bool = False
) -> None:
    """Inserts ``rows`` with one statement; with ``unless_there`` a row that breaks a unique constraint is left out.
    ``names`` are attribute names (``conversation_id``); fields that are left
    out get nothing, not even their default in Python, so every field without a default in the database is named."""
    statement, convert = _insert(model, tuple(names), unless_there)
    values = [convert(row) for row in rows]
    if values:
        with connection.cursor() as cursor:
            cursor.executemany(statement, values)


def update(model: type[models.Model], names: Sequence[str], rows: Iterable[Sequence[Any]], *, where: str = "") -> None:
    """Sets the fields ``names`` of each row whose primary key is the last value of a row. ``where`` narrows it."""
    statement, convert = _update(model, tuple(names), where)
    values = [convert(row) for row in rows]
    if values:
        with connection.cursor() as cursor:
            cursor.executemany(statement, values)


@cache
def _insert(model: type[models.Model], names: tuple[str, ...], unless_there: bool) -> tuple[str, Converter]:
    fields = [_field(model, name) for name in names]
    columns = ", ".join(connection.ops.quote_name(field.column) for field in fields)
    marks = ", ".join(["%s"] * len(fields))
    table = connection.ops.quote_name(model._meta.db_table)
    conflict = " ON CONFLICT DO NOTHING" if unless_there else ""
    return f"INSERT INTO {table} ({columns}) VALUES ({marks}){conflict}", _converter(fields)  # noqa: S608


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
    prepared = [None if _is_plain(field) else field.get_db_prep_save for field in fields]

    def convert(row: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(
            value if prepare is None or value is None else prepare(value, connection)
            for prepare, value in zip(prepared, row, strict=True)
        )

    return convert


def _is_plain(field: Any) -> bool:
    target = field.target_field if isinstance(field, models.ForeignKey) else field
    return isinstance(target, models.IntegerField | models.CharField | models.TextField | models.BinaryField) and (
        not isinstance(target, models.JSONField)
    )
