"""A message as a PDF that lasts: who wrote what to whom, in words, with the sum of each attachment (ADR-33)."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from zegel.edge.log import Broken, log
from zegel.journey.portal.reader import OpenMessage
from zegel.journey.portal.showing import size_in_words

MAX_CHARACTERS: Final = 100_000
MAX_LINES: Final = 5_000
MAX_HASHED: Final = 100_000_000  # octets of all attachments together: what a reader waits for
AGAIN: Final = 15  # seconds until a place may be free
_PLACES: Final = threading.BoundedSemaphore(2)  # in one web process
_TURNS: Final = threading.Lock()
_at_work: Final[set[str]] = set()  # readers for whom this process makes one
_PATIENCE: Final = 40.0  # seconds, for the typesetter; it ends itself sooner
_CHILD: Final = Path(__file__).with_name("typeset.py")
_LONG_RUN: Final = re.compile(r"\S{60}")
_BREAK: Final = "\u200b"  # where a line may end


@dataclass(frozen=True, slots=True)
class Made:
    """A PDF."""

    octets: bytes


class NotMade(Enum):
    """Why there is none. The message can still be saved as it is."""

    TOO_LONG = "too long"
    BUSY = "busy"
    BROKEN = "broken"


class TypesetterFailed(RuntimeError):
    """It ended without a PDF. What it would say could quote the message."""


def is_too_long(text: str) -> bool:
    """Before anything is opened for it."""
    return len(text) > MAX_CHARACTERS or text.count("\n") > MAX_LINES


def as_pdf(opened: OpenMessage, organisation: str, *, who: str) -> Made | NotMade:
    """Bounded in time, in memory, and in how many at once, of which ``who`` has one at most. Nobody waits for another:
    a thread that waits serves no page. Raises ``CannotOpen`` for damaged attachments."""
    with _turn(who) as is_free:
        if not is_free:
            return NotMade.BUSY
        words = opened.in_words()
        if words.is_cut or is_too_long(words.text):
            return NotMade.TOO_LONG
        given = _given(opened, words.text, organisation)  # reads the attachments, which takes no place
        if not _PLACES.acquire(blocking=False):
            return NotMade.BUSY
        try:
            return _typeset(given)
        finally:
            _PLACES.release()


@contextmanager
def _turn(who: str) -> Iterator[bool]:
    """Whether this reader has none under way."""
    with _TURNS:
        is_free = who not in _at_work
        _at_work.add(who)
    try:
        yield is_free
    finally:
        if is_free:
            with _TURNS:
                _at_work.discard(who)


def _typeset(given: dict[str, Any]) -> Made | NotMade:
    """Another process, with nothing of this one's: no environment, no open files."""
    try:
        done = subprocess.run(  # noqa: S603 – our own file, no shell, nothing of the message in the arguments
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


def _given(opened: OpenMessage, text: str, organisation: str) -> dict[str, Any]:
    head = opened.head
    subject = _clean(head.subject) or _("(no subject)")
    files = _files(opened)
    lacking = _("Some characters of this message can’t be shown here. The message saved as a file (.eml) has them.")
    return {
        "title": subject,
        "language": "nl" if (get_language() or "nl").startswith("nl") else "en",
        "heading": _words(subject),
        "facts": [
            [_("From"), [_words(_who(head.author, head.author_address))]],
            *([[_("To"), [_words(_who(*one)) for one in head.to]]] if head.to else []),
            *([[_("Cc"), [_words(_who(*one)) for one in head.cc]]] if head.cc else []),
            [_("Sent"), [_words(date_format(localtime(opened.row.created_at), "j F Y H:i"))]],
            [_("Organisation"), [_words(organisation)]],
        ],
        "paragraphs": _paragraphs(text) or [[_words(_("This message has no text."))]],
        "notes": [],
        "if_glyphs_lack": [lacking],
        "files-title": ngettext("%(count)d attachment", "%(count)d attachments", len(files)) % {"count": len(files)},
        "files": files,
    }


def _files(opened: OpenMessage) -> list[dict[str, Any]]:
    reading, left, files = opened.reading(), MAX_HASHED, []
    for part in (*reading.attachments, *reading.inline):
        about = size_in_words(part.decoded_size)
        left -= part.decoded_size
        about += f" · SHA-256: {_sum(opened.octets(part)) if left >= 0 else _not_summed()}"
        files.append({"name": _words(part.name or _("file")), "about": about})
    return files


def _not_summed() -> str:
    most = size_in_words(MAX_HASHED)
    return _("not calculated, since the attachments are larger than %(most)s together") % {"most": most}


def _sum(pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _who(name: str, address: str) -> str:
    return f"{name} <{address}>" if name else address


def _paragraphs(text: str) -> list[list[dict[str, Any]]]:
    blocks: list[list[dict[str, Any]]] = [[]]
    for line in text.replace("\r\n", "\n").split("\n"):
        if line.strip():
            blocks[-1].append(_words(line.rstrip()))
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def _words(line: str) -> dict[str, Any]:
    line = _LONG_RUN.sub(lambda found: found[0] + _BREAK, _clean(line))
    return {"text": line, "rtl": _is_right_to_left(line)}


def _clean(line: Sequence[str]) -> str:
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
