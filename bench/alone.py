"""One role of Zegel by itself, on the state of a gateway that is stopped; perhaps with a profile of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report import row
from bench.surroundings import MeasuredGateway
from tests.peers import Peer
from zegel.cli.supervise import answers
from zegel.settings import Listen


class RoleAlone(Peer):
    """``zegel run --role ROLE``; with ``is_profiled`` under :mod:`bench.profiled`."""

    def __init__(self, gateway: MeasuredGateway, folder: Path, role: str, *, is_profiled: bool = False) -> None:
        super().__init__(folder, gateway.ip, gateway.port)
        self._gateway = gateway
        self._role = role
        self._profile = folder / "profile" if is_profiled else None

    def _command(self) -> list[str]:
        arguments = ["run", "--role", self._role, "--config", str(self._gateway.config)]
        if self._profile is None:
            return [sys.executable, "-P", "-m", "zegel", *arguments]
        return [sys.executable, "-P", str(Path(__file__).with_name("profiled.py")), str(self._profile), *arguments]

    def _environment(self) -> Mapping[str, str]:
        return self._gateway.environment()

    def _answers(self) -> bool:
        if self._role == "submission":
            return answers(Listen(host=self.ip, port=self.port))
        return '"started"' in self.log()

    def log(self) -> str:
        output = self.folder / "output"
        return output.read_text(errors="replace") if output.exists() else ""

    def print_top(self, messages: int, rate: float, most: int = 10) -> None:
        """After it was stopped: where its processor time went."""
        assert self._profile is not None
        found: list[Looked] = json.loads(self._profile.read_text())
        print(f"{_total(found) * 1000 / messages:.2f} ms CPU for each message, {rate:.0f}/s while observed\n")
        print_top(found, messages, most)


Looked = tuple[str, int, str, float, float]
"""What :class:`bench.profiled.Observer` says of a function: the fields of :class:`Spent`."""


def _total(found: Sequence[Looked]) -> float:
    return sum(Spent(*one).own for one in found)


def print_top(looked: Sequence[Looked], times: int, most: int = 10) -> None:
    """The functions in which most time went, for each of so many ``times`` that the same was done."""
    total, found = _total(looked), [Spent(*one) for one in looked]
    row("own ms", "part", "function, by what it does itself")
    for one in sorted(found, key=lambda one: -one.own)[:most]:
        row(f"{one.own * 1000 / times:.3f}", f"{one.own / total:.1%}", one.function)
    print()
    row("ms", "part", "function of Zegel, with all that it calls")
    ours = [one for one in found if one.is_ours]
    for one in sorted(ours, key=lambda one: -one.with_calls)[: 2 * most]:
        row(f"{one.with_calls * 1000 / times:.3f}", f"{one.with_calls / total:.1%}", one.function)


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of processor time in one function."""

    file: str
    line: int
    name: str
    own: float
    with_calls: float

    @property
    def is_ours(self) -> bool:
        """Of what Zegel does for a message or a page; starting it is left out."""
        return any(f"/zegel/{part}/" in self.file for part in ("core", "edge", "journey", "accounts", "web"))

    @property
    def function(self) -> str:
        """As one reads it: the path within the package."""
        parts = Path(self.file).parts
        begins = [number for number, part in enumerate(parts) if part in ("zegel", "site-packages")]
        shown = Path(*(parts[begins[-1] :] if begins else parts[-2:]))
        if shown.parts[0] == "site-packages":
            shown = shown.relative_to("site-packages")
        return f"{shown}:{self.line} {self.name}"
