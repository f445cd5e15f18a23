"""What is repeated possessively means the same in every Python that the gateway runs with.

Before 3.11.5 (https://github.com/python/cpython/issues/106052), and so in Debian 12, a group that is repeated
possessively and fails in its middle doesn't go back to where it began: ``(?:a b++)*+`` takes the ``a`` of ``a c`` with
it. An alternative that never matches, ``|(?!)``, takes it back, and costs nothing.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pytest

import zegel

PARSER: Final[Any] = importlib.import_module("re._parser")  # what reads a pattern has no public name
OF_ONE_CHARACTER: Final = frozenset({"LITERAL", "NOT_LITERAL", "IN", "ANY"})
REPEATS: Final = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})

Items = Sequence[tuple[Any, Any]]


def patterns() -> Iterator[tuple[str, re.Pattern[Any]]]:
    for module in pkgutil.walk_packages(zegel.__path__, "zegel."):
        if module.name.endswith("__main__") or ".migrations" in module.name:
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, re.Pattern):
                yield f"{module.name}.{name}", value


def possessive_groups(items: Items) -> Iterator[Items]:
    """The bodies of all groups that are repeated possessively, however deep."""
    for kind, rest in items:
        if str(kind) == "POSSESSIVE_REPEAT" and not is_one_character(rest[2]):
            yield rest[2]
        for inner in bodies(rest):
            yield from possessive_groups(inner)


def bodies(rest: Any) -> Iterator[Items]:
    if isinstance(rest, PARSER.SubPattern):
        yield rest
    elif isinstance(rest, list | tuple):
        for one in rest:
            yield from bodies(one)


def is_one_character(body: Items) -> bool:
    return len(body) == 1 and str(body[0][0]) in OF_ONE_CHARACTER


def goes_back(body: Items) -> bool:
    """It ends with an alternative that never matches, or it fails at its begin or not at all."""
    if len(body) == 1 and str(body[0][0]) == "BRANCH":
        alternatives = body[0][1][1]
        return never_matches(alternatives[-1]) or all(map(goes_back, alternatives))
    has_moved = False
    for position, (kind, rest) in enumerate(body):
        if str(kind) in OF_ONE_CHARACTER:
            can_fail = True
        elif str(kind) in REPEATS and (is_one_character(rest[2]) or goes_back(rest[2])):
            can_fail = rest[0] > 0
            has_moved = has_moved or position > 0  # where it begins is remembered, before it is known whether it fits
        else:
            return False
        if can_fail and has_moved:
            return False
        has_moved = has_moved or str(kind) in REPEATS
    return True


def never_matches(alternative: Items) -> bool:
    """``(?!)``, as each Python reads it."""
    ((kind, rest), *more) = alternative
    return not more and (str(kind) == "FAILURE" or (str(kind) == "ASSERT_NOT" and not len(rest[1])))


def read(pattern: str) -> Items:
    (body,) = possessive_groups(PARSER.parse(pattern))
    return body


@pytest.mark.parametrize(
    "pattern", [r"(?:ab++)*+", r"(?:a[bc]*+d)*+", r'(?:[^"]++|"[^"]*+")*+', r"(?:a(?!b))*+", r"(?:(?:ab)?c)*+"]
)
def test_a_group_that_fails_in_its_middle_is_noticed(pattern: str) -> None:
    assert not goes_back(read(pattern))


@pytest.mark.parametrize("pattern", [r"(?:ab++|(?!))*+", r"(?:abc)*+", r"(?:[ab]|c[de]*+)*+", r"(?:\\.[^x]*+)*+"])
def test_a_group_that_goes_back_is_left_alone(pattern: str) -> None:
    assert goes_back(read(pattern))


def test_what_goes_back_means_the_same_in_this_python() -> None:
    assert re.fullmatch(r"a(?: b++|(?!))*+ c", "a b b c")
    assert re.match(r'<(?:[^">]++|"[^"]*+"|(?!))*+>', '<a ">') is None


def test_no_group_that_is_repeated_possessively_fails_in_its_middle() -> None:
    found = list(patterns())
    assert len(found) > 100
    for name, pattern in found:
        tree = PARSER.parse(pattern.pattern, pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else 0)
        assert all(map(goes_back, possessive_groups(tree))), name
