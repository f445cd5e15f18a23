"""Questions of the ORM whose SQL is made once. Making it again for every page costs more than the database does."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection, models
from django.db.models.query import ModelIterable, get_related_populators

from zegel.edge import rows

Row = TypeVar("Row", bound=models.Model)
Value = uuid.UUID | bytes | str | datetime | int
_FAR: Final = datetime(9000, 1, 1, tzinfo=UTC)
_EXAMPLES: Final[Mapping[type, Callable[[int], Value]]] = {
    uuid.UUID: lambda number: uuid.UUID(int=(0x5A6567656C << 88) + number, version=4),
    bytes: lambda number: b"zegel example %d" % number,
    str: lambda number: f"zegel example {number}",
    datetime: lambda number: _FAR + timedelta(microseconds=number),
    int: lambda number: (1 << 40) + number,
}


@dataclass(frozen=True, slots=True)
class _Made:
    """What Django makes of a question before it asks it."""

    statement: str
    constants: Sequence[Any]
    places: Sequence[tuple[int, str]]  # in ``constants``, of the values
    converters: Sequence[tuple[int, Sequence[Callable[..., Any]], Any]]
    model: type[models.Model]
    names: Sequence[str]  # of its fields, which come first
    own: slice
    related: Sequence[Any]


class Prepared(Generic[Row]):
    """A question that is the same each time but for its values.

    ``question`` makes the query set from one keyword argument for each of ``kinds``; with values it may do nothing but
    compare columns with them (``filter(hash=hash)``, ``filter(at__lte=at)``), and it is called once, with examples.
    What it gives is that of the query set: objects of the model, with what ``select_related`` brings. Not for
    ``prefetch_related``, annotations, ``values``, lists of values and managers of a row (``TypeError`` at first use).
    """

    def __init__(self, question: Callable[..., models.QuerySet[Row]], **kinds: type[Value]) -> None:
        self._question = question
        self._kinds = kinds

    def __call__(self, **values: Value) -> list[Row]:
        """The rows, in the order of the question. Asks the database, as any query set that is read."""
        made = self._made
        given = list(made.constants)
        for place, name in made.places:
            given[place] = _adapted(values[name])
        found = []
        for row in map(list, rows.select(made.statement, given)):
            for column, converters, expression in made.converters:
                for convert in converters:
                    row[column] = convert(row[column], expression, connection)
            one = made.model.from_db(DEFAULT_DB_ALIAS, made.names, row[made.own])
            for populator in made.related:
                populator.populate(row, one)
            found.append(one)
        return found  # type: ignore[return-value]  # the model of the query set

    def first(self, **values: Value) -> Row | None:
        """The first of the rows; for a question that gives few."""
        return next(iter(self(**values)), None)

    @cached_property
    def _made(self) -> _Made:
        examples = {name: _EXAMPLES[kind](number) for number, (name, kind) in enumerate(self._kinds.items())}
        asked = self._question(**examples)
        _refuse_what_is_not_kept(asked)
        compiler = asked.query.get_compiler(using=DEFAULT_DB_ALIAS)
        statement, constants = compiler.as_sql()
        information, select = compiler.klass_info, compiler.select
        if compiler.annotation_col_map or information is None:
            raise TypeError("a prepared question has no annotations")
        adapted = {name: _adapted(example) for name, example in examples.items()}
        plain = [_plain(one) for one in constants]
        places = [(place, name) for place, one in enumerate(plain) for name, it in adapted.items() if _same(one, it)]
        if lost := set(examples) - {name for _, name in places}:
            raise TypeError(f"not compared with a column as they are: {sorted(lost)}")
        fields = information["select_fields"]
        converters = compiler.get_converters([column[0] for column in select[: compiler.col_count]])
        return _Made(
            statement=statement,
            constants=plain,
            places=places,
            converters=[(column, *those) for column, those in converters.items()],
            model=information["model"],
            names=[column[0].target.attname for column in select[fields[0] : fields[-1] + 1]],
            own=slice(fields[0], fields[-1] + 1),
            related=get_related_populators(information, select, DEFAULT_DB_ALIAS),  # type: ignore[call-arg]  # since 6.1
        )


def _refuse_what_is_not_kept(asked: Any) -> None:
    if asked._prefetch_related_lookups or asked._known_related_objects or asked._iterable_class is not ModelIterable:
        raise TypeError("a prepared question gives rows of a model, and nothing that Django adds to them afterwards")


def _plain(constant: Any) -> Any:
    """Octets without what a driver wraps them in."""
    octets = getattr(constant, "obj", constant)
    return bytes(octets) if isinstance(octets, bytes | bytearray | memoryview) else constant


def _same(one: Any, example: Any) -> bool:
    return type(one) is type(example) and one == example


def _adapted(value: Value) -> Any:
    """As the driver takes it."""
    if isinstance(value, uuid.UUID):
        return rows.identifier(value)
    return rows.moment(value) if isinstance(value, datetime) else value
