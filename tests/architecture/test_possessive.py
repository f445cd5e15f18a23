"""No pattern repeats a group possessively, and none has an atomic group.

Before Python 3.11.5 (https://github.com/python/cpython/issues/106052), and so in Debian 12, such a group that fails in
its middle keeps what it took until there: ``(?:ab++)*+`` takes the ``a`` of ``ac`` with it. One character that is
repeated so (``[ab]*+``) is right everywhere. Where fewer repetitions than there are must not be tried, what follows
says so: ``(?:\\r\\n )*(?!\\r\\n )``.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pytest

import zegel
from tests.architecture.source import ROOT

PARSER: Final[Any] = importlib.import_module("re._parser")  # what reads a pattern has no public name
OF_ONE_CHARACTER: Final = frozenset({"LITERAL", "NOT_LITERAL", "IN", "ANY"})

Items = Sequence[tuple[Any, Any]]


def patterns() -> Iterator[tuple[str, Items]]:
    """Those that modules have, and those that are written where they are used."""
    for module in pkgutil.walk_packages(zegel.__path__, "zegel."):
        if module.name.endswith("__main__") or ".migrations" in module.name:
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, re.Pattern):
                yield f"{module.name}.{name}", read(value)
    for path in ROOT.glob("zegel/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re.") and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str | bytes):
                    yield f"{path}:{node.lineno}", PARSER.parse(first.value)


def read(pattern: re.Pattern[Any]) -> Items:
    flags = pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags
    items: Items = PARSER.parse(pattern.pattern, flags)
    return items


def groups_that_hold_on(items: Items) -> int:
    """How many groups are atomic or are repeated possessively, however deep."""
    found = 0
    for kind, rest in items:
        is_group = str(kind) == "POSSESSIVE_REPEAT" and not is_one_character(rest[2])
        found += (str(kind) == "ATOMIC_GROUP") + is_group
        found += sum(map(groups_that_hold_on, bodies(rest)))
    return found


def bodies(rest: Any) -> Iterator[Items]:
    if isinstance(rest, PARSER.SubPattern):
        yield rest
    elif isinstance(rest, list | tuple):
        for one in rest:
            yield from bodies(one)


def is_one_character(body: Items) -> bool:
    return len(body) == 1 and str(body[0][0]) in OF_ONE_CHARACTER


@pytest.mark.parametrize(
    "pattern", [r"(?:ab++)*+", r"x(?:y(?:a|bc)?+)?", r"(?=(?:ab){2,3}+)", r"(?>ab)", r"(a|(?:bc)++)"]
)
def test_a_group_that_holds_on_is_noticed(pattern: str) -> None:
    assert groups_that_hold_on(PARSER.parse(pattern)) == 1


@pytest.mark.parametrize("pattern", [r"[ab]*+", r"a{1,3}+", r"[^\r]++\.?+", r"(?:ab)*", r"(?:a|b)+(?!a|b)"])
def test_others_are_left_alone(pattern: str) -> None:
    assert groups_that_hold_on(PARSER.parse(pattern)) == 0


def test_no_pattern_has_one() -> None:
    found = list(patterns())
    assert len(found) > 100
    assert [name for name, items in found if groups_that_hold_on(items)] == []
