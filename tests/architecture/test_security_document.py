"""``docs/security.md`` goes through ASVS 5.0.0 without a gap, and what it points to is there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.architecture import source

DOCUMENT: Final = Path("docs/security.md")
STATUS: Final = frozenset({"met", "partly", "n/a", "not met"})

# Requirements of levels 1 and 2 by section, as the CSV of ASVS 5.0.0 has them; what lacks in between is of level 3.
LEVEL_2: Final = """
    1.1:1-2 1.2:1-9 1.3:1-11 1.4:1-3 1.5:1-2
    2.1:1-3 2.2:1-3 2.3:1-4 2.4:1-1
    3.2:1-2 3.3:1-4 3.4:1-6 3.5:1-5 3.7:1-2
    4.1:1-3 4.2:1-1 4.3:1-2 4.4:1-4
    5.1:1-1 5.2:1-3 5.3:1-2 5.4:1-3
    6.1:1-3 6.2:1-12 6.3:1-4 6.4:1-4 6.5:1-5 6.6:1-3 6.8:1-4
    7.1:1-3 7.2:1-4 7.3:1-2 7.4:1-5 7.5:1-2 7.6:1-2
    8.1:1-2 8.2:1-3 8.3:1-1 8.4:1-1
    9.1:1-3 9.2:1-4
    10.1:1-2 10.2:1-2 10.3:1-4 10.4:1-11 10.5:1-5 10.6:1-2 10.7:1-3
    11.1:1-2 11.2:1-3 11.3:1-3 11.4:1-4 11.5:1-1 11.6:1-1
    12.1:1-3 12.2:1-2 12.3:1-4
    13.1:1-1 13.2:1-5 13.3:1-2 13.4:1-5
    14.1:1-2 14.2:1-4 14.3:1-3
    15.1:1-3 15.2:1-3 15.3:1-7
    16.1:1-1 16.2:1-5 16.3:1-4 16.4:1-3 16.5:1-3
    17.1:1-1 17.2:1-4 17.3:1-2
"""
LEVEL_3: Final = frozenset({"3.4.8", "5.2.4", "6.3.5", "6.3.7", "6.3.8", "11.2.4", "11.3.4", "16.5.4"})

_ROW: Final = re.compile(r"^\| (\d+\.\d+\.\d+(?:, \d+\.\d+\.\d+)*) \| ([123]) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$")
_PATH: Final = re.compile(r"`((?:zegel|tests|docs|bench)/[\w./-]+|[\w-]+\.(?:md|lock|toml))`")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the walk-through."""

    numbers: tuple[str, ...]
    level: int
    status: str
    where: str


def document() -> str:
    return (source.ROOT / DOCUMENT).read_text()


def rows() -> list[Row]:
    found = [_ROW.match(line) for line in document().splitlines()]
    return [Row(tuple(one[1].split(", ")), int(one[2]), one[4].strip(), one[5]) for one in found if one is not None]


def demanded() -> set[str]:
    found = set()
    for part in LEVEL_2.split():
        section, _, span = part.partition(":")
        first, _, last = span.partition("-")
        found |= {f"{section}.{number}" for number in range(int(first), int(last) + 1)}
    return found


def test_every_requirement_of_the_goal_has_its_line_and_only_one() -> None:
    assert len(demanded()) == 253, "so many requirements have levels 1 and 2"
    told = [number for row in rows() for number in row.numbers]
    assert len(told) == len(set(told))
    assert set(told) == demanded() | LEVEL_3
    assert {number for row in rows() for number in row.numbers if row.level == 3} == LEVEL_3


def test_every_line_has_a_status_and_what_is_met_says_where() -> None:
    for row in rows():
        assert row.status in STATUS, row.numbers
        is_shown = _PATH.search(row.where) or "](#" in row.where or row.where.strip() == "there is none"
        assert row.status not in ("met", "partly") or is_shown, row.numbers


@pytest.mark.parametrize("path", sorted(set(_PATH.findall((source.ROOT / DOCUMENT).read_text()))))
def test_what_it_points_to_is_there(path: str) -> None:
    assert (source.ROOT / path).is_file()


def test_its_own_headings_are_there() -> None:
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in document().splitlines()
        if line.startswith("#")
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", document())) <= headings


def test_the_known_limits_are_said_openly() -> None:
    said = " ".join(document().split())
    assert "NIST SP 800-63B does not accept e-mail" in said and "ASVS level 3 refuses SMS" in said
