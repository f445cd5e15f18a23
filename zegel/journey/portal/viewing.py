"""What a browser may show of a file, decided by its first octets: never by what its sender says that it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from zegel.core.mail.mime import Part, as_text
from zegel.journey.portal.reader import PICTURES

LOOKED_AT: Final = 4096  # octets


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of a kind that has no scripts, no links and nothing from elsewhere."""

    type: str


class Other(Enum):
    """What isn't an image."""

    PDF = "pdf"
    TEXT = "text"
    UNKNOWN = "unknown"  # saved, never shown: HTML and SVG are of this kind


Kind = Picture | Other

_MAGIC: Final = (
    # The signatures that begin each format; of WebP RFC 9649 §2.4.
    (re.compile(rb"\x89PNG\r\n\x1a\n", re.DOTALL), Picture("image/png")),
    (re.compile(rb"\xff\xd8\xff", re.DOTALL), Picture("image/jpeg")),
    (re.compile(rb"GIF8[79]a", re.DOTALL), Picture("image/gif")),
    (re.compile(rb"RIFF....WEBPVP8[ LX]", re.DOTALL), Picture("image/webp")),
    (re.compile(rb"%PDF-[12]\.[0-9]"), Other.PDF),
)
_TEXTS: Final = frozenset({"text/plain", "text/csv", "text/tab-separated-values", "text/markdown"})
_SHOWN: Final = frozenset({*PICTURES, "application/pdf"})
_SAYS_NOTHING: Final = frozenset({"application/octet-stream", "application/x-download", "application/force-download"})
_TEXT_NAMES: Final = (".txt", ".csv", ".tsv", ".md", ".log")
_SHOWN_NAMES: Final = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".pdf", *_TEXT_NAMES)
_NOT_IN_TEXT: Final = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\ufffd]")


def is_offered(part: Part) -> bool:
    """Whether its sender says that it is something we could show. Only :func:`kind_of` knows."""
    if part.decoded_size == 0 or part.encoding == "unknown":
        return False
    named = part.type in _SAYS_NOTHING and (part.name or "").lower().endswith(_SHOWN_NAMES)
    return part.type in _SHOWN or part.type in _TEXTS or named


def kind_of(part: Part, first: bytes) -> Kind:
    """By the first octets. Text has no mark of its own: it must be called text, and be nothing else."""
    for magic, kind in _MAGIC:
        if magic.match(first):
            return kind
    called = part.type in _TEXTS or (part.type in _SAYS_NOTHING and (part.name or "").lower().endswith(_TEXT_NAMES))
    text = as_text(first, part.charset)
    if part.decoded_size > len(first):
        text = text[:-4]  # a cut can leave the last character in pieces
    return Other.TEXT if called and not _NOT_IN_TEXT.search(text) else Other.UNKNOWN
