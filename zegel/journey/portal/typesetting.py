"""Has values set as a PDF by another process, which gets nothing of this one's (ADR-33).

What is to be set is known here as strings alone: this module reads no message, and can open none.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from zegel.edge.log import Broken, log

PLACES: Final = threading.BoundedSemaphore(2)  # in one web process
_PATIENCE: Final = 40.0  # seconds, for the typesetter; it ends itself sooner
_CHILD: Final = Path(__file__).with_name("typeset.py")
_LONG_RUN: Final = re.compile(r"\S{60}")
_BREAK: Final = "\u200b"  # where a line may end


@dataclass(frozen=True, slots=True)
class Made:
    """A PDF."""

    octets: bytes


class NotMade(Enum):
    """Why there is none."""

    TOO_LONG = "too long"
    BUSY = "busy"
    BROKEN = "broken"


class TypesetterFailed(RuntimeError):
    """It ended without a PDF. What it would say could quote what was to be set."""


def typeset(given: dict[str, Any]) -> Made | NotMade:
    """In a process with no environment and no open files. Nobody waits for a place: a thread that waits serves no
    page."""
    if not PLACES.acquire(blocking=False):
        return NotMade.BUSY
    try:
        return _typeset(given)
    finally:
        PLACES.release()


def _typeset(given: dict[str, Any]) -> Made | NotMade:
    try:
        done = subprocess.run(  # noqa: S603 – our own file, no shell, nothing of what is set in the arguments
            [sys.executable, "-I", str(_CHILD)],
            input=json.dumps(given).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as cause:
        log(Broken("setting a PDF", cause))
        return NotMade.BROKEN
    if done.returncode != 0 or not done.stdout.startswith(b"%PDF-"):
        log(Broken("setting a PDF", TypesetterFailed()))
        return NotMade.BROKEN
    return Made(done.stdout)


def words(line: str) -> dict[str, Any]:
    """A line as the typesetter takes it: with its direction, and places to break what is long."""
    line = _LONG_RUN.sub(lambda found: found[0] + _BREAK, clean(line))
    return {"text": line, "rtl": _is_right_to_left(line)}


def clean(line: Sequence[str]) -> str:
    """Without what has no look, and what would turn the line round."""
    return "".join(
        " " if char == "\t" else char
        for char in line
        if (char == "\t" or unicodedata.category(char) not in ("Cc", "Cs"))
        and char not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    )


def _is_right_to_left(line: str) -> bool:
    """By the first letter that has a direction (UAX 9, rules P2 and P3)."""
    for char in line:
        direction = unicodedata.bidirectional(char)
        if direction in ("L", "R", "AL"):
            return direction != "L"
    return False
