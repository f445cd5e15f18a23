"""A message as a PDF that lasts: who wrote what to whom, in words, with the sum of each attachment (ADR-33)."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from zegel.journey.portal.reader import OpenMessage
from zegel.journey.portal.showing import size_in_words
from zegel.journey.portal.typesetting import Made, NotMade, clean, typeset
from zegel.journey.portal.typesetting import words as _words

MAX_CHARACTERS: Final = 100_000
MAX_LINES: Final = 5_000
MAX_HASHED: Final = 100_000_000  # octets of all attachments together: what a reader waits for
AGAIN: Final = 15  # seconds until a place may be free
_TURNS: Final = threading.Lock()
_at_work: Final[set[str]] = set()  # readers for whom this process makes one


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
        return typeset(_given(opened, words.text, organisation))  # reads the attachments first, which takes no place


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


def _given(opened: OpenMessage, text: str, organisation: str) -> dict[str, Any]:
    head = opened.head
    subject = clean(head.subject) or _("(no subject)")
    files = _files(opened)
    lacking = _("Some characters of this message can’t be shown here. The message saved as a file (.eml) has them.")
    return {
        "as": "message",
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
