"""What is installed is what was looked at: every pin has its hashes, and no lock file says where to fetch it."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Any, Final

import pytest

from tests.architecture import source

RUN: Final = "requirements.lock"
DEVELOP: Final = "requirements-dev.lock"
_PIN: Final = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;]+)(?: ; (?P<marker>[^\\]+?))?(?: \\)?"
)
_HASH: Final = re.compile(r" {4}--hash=sha256:[0-9a-f]{64}(?: \\)?")


class NotALock(ValueError):
    """A line is neither a pin nor a hash; the message names it."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One version of one distribution, and where it is wanted."""

    name: str
    version: str
    marker: str
    hashes: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What pyproject.toml asks for: ``name[extra]>=1.2,<2; marker``."""

    name: str
    extras: frozenset[str]
    bounds: tuple[tuple[str, tuple[int, ...]], ...]

    @classmethod
    def parse(cls, text: str) -> Wanted:
        """Raises ``ValueError`` for what has more to it than extras, bounds and a marker."""
        found = _WANTED.fullmatch(text)
        if found is None:
            raise ValueError(text)
        bounds = [_BOUND.fullmatch(one.strip()) for one in (found["bounds"] or "").split(",") if one.strip()]
        return cls(
            canonical(found["name"]),
            frozenset(filter(None, (found["extras"] or "").split(","))),
            tuple((one[1], _numbers(one[2])) for one in bounds if one),
        )

    def allows(self, version: str) -> bool:
        """Whether every bound holds."""
        is_so = {">=": tuple.__ge__, "<": tuple.__lt__, "<=": tuple.__le__, ">": tuple.__gt__}
        return all(is_so[sign](_numbers(version), bound) for sign, bound in self.bounds)

    def brings(self) -> set[str]:
        """What its extras ask for."""
        found = requires(self.name) or []
        return {
            Wanted.parse(one).name
            for one in found
            if any(re.search(rf"extra == ['\"]{extra}['\"]", one) for extra in self.extras)
        }


_WANTED: Final = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[(?P<extras>[\w,-]+)\])?\s*\(?"
    r"(?P<bounds>(?:[<>=!~]=?[\d.]+\s*,?\s*)*)\)?(?:\s*;.*)?"
)
_BOUND: Final = re.compile(r"([<>=!~]=?)([\d.]+)")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(one) for one in re.findall(r"\d+", version))


def canonical(name: str) -> str:
    """One spelling for each distribution."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, Pin]:
    """By canonical name. Raises :class:`NotALock`."""
    found: dict[str, Pin] = {}
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        if pin := _PIN.fullmatch(line):
            current = canonical(pin["name"])
            if current in found:
                raise NotALock(f"line {number}: {current} is pinned twice")
            found[current] = Pin(current, pin["version"], pin["marker"] or "", 0)
        elif current and _HASH.fullmatch(line):
            one = found[current]
            found[current] = Pin(one.name, one.version, one.marker, one.hashes + 1)
        else:
            raise NotALock(f"line {number}: {line}")
    return found


def locked(name: str) -> dict[str, Pin]:
    return pins((source.ROOT / name).read_text())


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((source.ROOT / "pyproject.toml").read_text())["project"]
    return found


def wanted(*extras: str) -> list[Wanted]:
    """What pyproject.toml asks for, with these extras."""
    own = project()
    optional = own["optional-dependencies"]
    return [Wanted.parse(one) for one in (*own["dependencies"], *(one for extra in extras for one in optional[extra]))]


@pytest.mark.parametrize("name", [RUN, DEVELOP])
def test_every_pin_has_a_hash_and_there_is_nothing_else(name: str) -> None:
    found = locked(name)
    assert len(found) > 10
    assert [pin.name for pin in found.values() if not pin.hashes] == []


@pytest.mark.parametrize("name", [RUN, DEVELOP])
def test_no_lock_says_where_to_fetch(name: str) -> None:
    text = (source.ROOT / name).read_text()
    assert "://" not in text
    assert not re.search(r"index-url|find-links|trusted-host|@ |file:", text)


def test_both_locks_agree() -> None:
    run, develop = locked(RUN), locked(DEVELOP)
    assert {name: pin for name, pin in run.items() if develop.get(name) != pin} == {}


@pytest.mark.parametrize(("name", "extras"), [(RUN, ("build",)), (DEVELOP, ("build", "dev"))])
def test_all_that_is_asked_for_is_locked_at_a_version_that_does(name: str, extras: tuple[str, ...]) -> None:
    found = locked(name)
    for one in wanted(*extras):
        assert one.name in found, one
        assert one.allows(found[one.name].version), f"{one}: {found[one.name].version} is locked"


def test_what_is_needed_to_build_is_locked() -> None:
    build = tomllib.loads((source.ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert all(Wanted.parse(one).name in locked(RUN) for one in build)


def _foreign(*folders: str) -> Iterator[tuple[str, Path]]:
    for path in source.modules(*folders):
        for _, name in source.imported(path):
            top = name.partition(".")[0]
            if top not in {"zegel", "tests", "bench", "fuzz"} and top not in sys.stdlib_module_names:
                yield top, path


@pytest.mark.parametrize(("folder", "extras"), [("zegel", ()), ("tests", ("build", "dev"))])
def test_all_that_is_imported_is_asked_for(folder: str, extras: tuple[str, ...]) -> None:
    """What only comes along with something else is gone the day that the other one no longer needs it."""
    asked = {name for one in wanted(*extras) for name in (one.name, *one.brings())}
    owners = packages_distributions()
    missing = {
        f"{top} ({path.relative_to(source.ROOT)})"
        for top, path in _foreign(folder)
        if not {canonical(owner) for owner in owners.get(top, [])} & asked
    }
    assert missing == set()


@pytest.mark.parametrize(
    "text",
    [
        "--index-url https://packages.test/simple\n",
        "click==8.5.1\n# from somewhere\n",
        "    --hash=sha256:" + 64 * "0" + "\n",
        "click>=8.5.1 \\\n    --hash=sha256:" + 64 * "0" + "\n",
        "click==8.5.1 \\\n    --hash=md5:" + 32 * "0" + "\n",
        "click==8.5.1\nClick==8.5.0\n",
        "click @ file:///wheels/click.whl\n",
    ],
)
def test_a_line_that_is_no_pin_would_be_found(text: str) -> None:
    with pytest.raises(NotALock):
        pins(text)


def test_a_version_outside_its_bounds_would_be_found() -> None:
    django = Wanted.parse("Django[argon2]>=5.2, <5.3 ; python_version > '3'")
    assert django.name == "django"
    assert django.extras == {"argon2"}
    assert [django.allows(version) for version in ("5.1.9", "5.2", "5.2.19", "5.3", "6.0")] == [
        *(False, True, True, False, False),
    ]


def test_a_pin_without_hashes_would_be_found() -> None:
    assert pins("uvloop==0.23.0 ; sys_platform != 'win32'\n")["uvloop"] == Pin(
        "uvloop", "0.23.0", "sys_platform != 'win32'", 0
    )
