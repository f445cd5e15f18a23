"""The test suite of openspf.org for RFC 7208, and pyspf to compare with. Neither is ours, so neither is committed.

Both stand in pyspf's source distribution. pip fetches it into the cache of the tests, and looks at its hash before it
looks into it; from the archive they are read as they are, nothing is unpacked or installed.
"""

from __future__ import annotations

import hashlib
import io
import ipaddress
import os
import subprocess
import sys
import tarfile
import tempfile
import types
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.peers import debian
from tests.spec.zone import Zone
from zegel.core.policy.submitting import Spf

NAME: Final = "pyspf-2.0.14"
SHA256: Final = "57a7ef01bda090173aafb6af0106251686ed73f03db4e911fcd34c57fc347186"

# Hashes are demanded, so an archive with another one is refused before pip asks its setup.py for its metadata, which
# it can't be kept from. setuptools is our own, from the lock file.
_PIP: Final = ("download", "--quiet", "--no-deps", "--no-build-isolation", "--no-binary", "pyspf", "--require-hashes")


@dataclass(frozen=True, slots=True)
class Case:
    """One test of the suite. ``results`` are those that it allows, ``spec`` the sections that it names."""

    name: str
    host: str
    helo: str
    mailfrom: str
    results: frozenset[Spf]
    spec: str
    records: Mapping[tuple[str, str], list[str]] = field(repr=False)
    silent: frozenset[str] = field(repr=False)

    @property
    def zone(self) -> Zone:
        return Zone(self.records, self.silent)


def archive() -> bytes:
    """pyspf's source distribution, fetched where it is missing. Raises :class:`tests.peers.debian.Unavailable`."""
    place = debian.cache() / f"{NAME}.tar.gz"
    if not (place.is_file() and _is_it(place.read_bytes())):
        _fetch(place)
    return place.read_bytes()


def needs_archive() -> bytes:
    """:func:`archive`, or the calling test or module is skipped as in :mod:`tests.needs`; with ``CI=true`` it fails."""
    try:
        return archive()
    except debian.Unavailable as cause:
        said = f"NOT TESTED HERE, {NAME}: {cause}"
    if debian.in_ci():
        pytest.fail(said, pytrace=False)
    pytest.skip(said, allow_module_level=True)


def _is_it(octets: bytes) -> bool:
    return hashlib.sha256(octets).hexdigest() == SHA256


def _fetch(place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=place.parent) as temporary:
        wanted = Path(temporary, "requirements.txt")
        wanted.write_text(f"{NAME.replace('-', '==')} --hash=sha256:{SHA256}\n")
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pip", *_PIP, "--dest", temporary, "--requirement", wanted],
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=300,
            )
        except (OSError, subprocess.TimeoutExpired) as cause:
            raise debian.Unavailable(f"pip: {type(cause).__name__}") from cause
        fetched = Path(temporary, place.name)
        if done.returncode != 0 or not fetched.is_file() or not _is_it(fetched.read_bytes()):
            raise debian.Unavailable(f"pip download ended with {done.returncode}")
        os.replace(fetched, place)  # noqa: PTH105  # several runs may do this at once


def _member(octets: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(octets)) as files:
        found = files.extractfile(f"{NAME}/{name}")
        assert found is not None
        return found.read()


def pyspf(octets: bytes) -> Any:
    """The module ``spf``, which asks its ``DNSLookup`` for everything; it is not among the imported modules."""
    module = types.ModuleType("spf")
    with warnings.catch_warnings(action="ignore"):  # it is older than Python's complaints about it
        exec(compile(_member(octets, "spf.py"), f"{NAME}/spf.py", "exec"), module.__dict__)
    return module


def cases(octets: bytes) -> Iterator[Case]:
    """Every test of every scenario, in the order of the suite."""
    for scenario in yaml.safe_load_all(_member(octets, f"test/rfc{7208}-tests.yml")):
        records, silent = _zone(scenario["zonedata"])
        for name, test in scenario["tests"].items():
            results = test["result"] if isinstance(test["result"], list) else [test["result"]]
            yield Case(
                name,
                test["host"],
                test["helo"],
                test["mailfrom"],
                frozenset(map(Spf, results)),
                str(test["spec"]),
                records,
                silent,
            )


def _zone(zonedata: Mapping[str, list[Any]]) -> tuple[dict[tuple[str, str], list[str]], frozenset[str]]:
    """The suite writes policies as records of the abolished type SPF. They are published as TXT, unless the name has
    a TXT of its own; ``NONE`` is one that is not there. What the DNS can't hold is not there either."""
    records: dict[tuple[str, str], list[str]] = {}
    zonedata = {
        name: entries for name, entries in zonedata.items() if all(len(label) < 64 for label in name.split("."))
    }
    silent = frozenset(name for name, entries in zonedata.items() if "TIMEOUT" in entries)
    for name, entries in zonedata.items():
        pairs = [pair for entry in entries if entry != "TIMEOUT" for pair in entry.items()]
        has_txt = any(kind == "TXT" for kind, _ in pairs)
        for kind, value in pairs:
            if (kind == "SPF" and has_txt) or value == "NONE":
                continue
            records.setdefault((name, kind.replace("SPF", "TXT")), []).append(_record(kind, value))
    return records, silent


def _record(kind: str, value: Any) -> str:
    match kind:
        case "A" | "AAAA":
            return str(ipaddress.ip_address(value))
        case "MX":
            return f"{value[0]} {value[1]}."
        case "PTR" | "CNAME":
            return f"{value}."
        case _:
            return "".join(value)
