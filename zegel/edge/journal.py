"""The journal of erasures: a file, outside of the database, that says what was destroyed, so that a backup from before
does not bring it back. Identifiers and times alone; lines are added and never changed.

The first line names the gateway by the identifier of its key; each other one is ``number time kind identifier``.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final

from zegel.core.clock import Instant
from zegel.edge.durable import sync_folder

_FIRST: Final = "zegel erasures v1"
_TAIL: Final = 4096  # octets from the end; a line has fewer than a hundred


class JournalTrouble(Exception):
    """One sentence for the operator: which journal, what is wrong, what to do."""


@dataclass(frozen=True, slots=True)
class Erased:
    """Something was destroyed. Numbers grow in the order of commits."""

    number: int
    at: Instant
    kind: str
    subject: uuid.UUID

    def line(self) -> str:
        """As it stands in the file."""
        return f"{self.number} {self.at.isoformat()} {self.kind} {self.subject.hex}\n"

    @classmethod
    def of_line(cls, line: str) -> Erased:
        """Raises ``ValueError``."""
        number, at, kind, subject = line.split(" ")
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError(line)
        return cls(int(number), moment, kind, uuid.UUID(hex=subject))


@dataclass(frozen=True, slots=True)
class Journal:
    """The journal of one gateway. ``gateway``: the identifier of its sealing key."""

    path: Path
    gateway: bytes

    def add(self, after: Callable[[int], Sequence[Erased]]) -> int:
        """Adds what ``after`` gives for the number of the last line, durably; one process at a time. Returns the number
        that is the last one now. Raises :class:`JournalTrouble` for another's journal, and ``OSError``."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        is_new = not self.path.exists()
        with os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
            end = _end_of_whole_lines(file)
            last = self._last(file, end)
            more = after(last)
            text = "".join(one.line() for one in more)
            if end == 0:
                text = f"{_FIRST} {self.gateway.hex()}\n{text}"
            if text:
                file.seek(end)
                file.truncate()  # a line of which a crash left a part
                file.write(text.encode("ascii"))
                file.flush()
                os.fsync(file.fileno())
        if is_new:
            sync_folder(self.path.parent)
        return more[-1].number if more else last

    def read(self) -> tuple[Erased, ...]:
        """All of it, in order. Raises :class:`JournalTrouble`, also where a crash left less than the first line, and
        ``OSError`` where there is none."""
        text = self.path.read_bytes().decode("ascii", "replace")
        lines = text[: text.rfind("\n") + 1].splitlines()
        self._require_ours(lines[0] if lines else "")
        try:
            found = tuple(Erased.of_line(line) for line in lines[1:])
            if any(earlier.number >= later.number for earlier, later in pairwise(found)):
                raise ValueError("order")
        except ValueError as cause:
            raise self._damaged() from cause
        return found

    def last(self) -> int:
        """The number of the last line; 0 where there is none. Raises as :meth:`read`."""
        with self.path.open("rb") as file:
            return self._last(file, _end_of_whole_lines(file))

    def _last(self, file: BinaryIO, end: int) -> int:
        if end == 0:
            return 0
        file.seek(0)
        self._require_ours(file.read(min(end, _TAIL)).decode("ascii", "replace").partition("\n")[0])
        file.seek(max(0, end - _TAIL))
        line = file.read(min(end, _TAIL)).decode("ascii", "replace").splitlines()[-1]
        if line.startswith(_FIRST):
            return 0
        try:
            return Erased.of_line(line).number
        except ValueError as cause:
            raise self._damaged() from cause

    def _require_ours(self, first: str) -> None:
        if not first.startswith(f"{_FIRST} "):
            raise self._damaged()
        if first != f"{_FIRST} {self.gateway.hex()}":
            raise JournalTrouble(
                f"{self.path} is the journal of erasures of a gateway with other keys. Name the one of this gateway, "
                "or put back the keys that belong to it."
            )

    def _damaged(self) -> JournalTrouble:
        return JournalTrouble(
            f"{self.path} is not a journal of erasures, or is damaged. Beside a database that is well: move it away, "
            "it is made anew. For a restore: move it away, and name another copy; every backup has the one of its time."
        )


def _end_of_whole_lines(file: BinaryIO) -> int:
    """Where the last whole line ends."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _TAIL)
    file.seek(start)
    return start + file.read(size - start).rfind(b"\n") + 1


def agree(one: Sequence[Erased], other: Sequence[Erased]) -> bool:
    """One goes on where the other ends: what both have under a number is the same."""
    known = {line.number: line.subject for line in one}
    return all(known.get(line.number, line.subject) == line.subject for line in other)
