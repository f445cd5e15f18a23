"""Access codes: what people may agree on, so that what one writes is what the other types."""

from __future__ import annotations

import re
import unicodedata
from enum import Enum, auto
from typing import Final

SHORTEST: Final = 4  # characters: ten wrong tries a day find four digits in a year and a half, on average
LONGEST: Final = 100
LONGEST_HINT: Final = 200
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_BLANK_ALTHOUGH_VISIBLE: Final = re.compile(  # fillers, joiners and selectors that have the category of what shows
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


class Flaw(Enum):
    """What keeps a text from being an access code, or what recalls one."""

    LENGTH = auto()
    SPACES = auto()
    INVISIBLE = auto()
    HINT = auto()  # too long, or with characters that don't show
    HINT_TELLS = auto()  # the code stands in it, for everybody who has the link


class NotAnAccessCode(ValueError):
    """The text is none; ``flaw`` says why, and the text itself is not told."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw.name)
        self.flaw: Final = flaw


def parse_access_code(text: str) -> str:
    """The code without white space around it. Raises :class:`NotAnAccessCode`."""
    code = text.strip()
    if not is_all_visible(code):
        raise NotAnAccessCode(Flaw.INVISIBLE)
    if not SHORTEST <= len(code) <= LONGEST:
        raise NotAnAccessCode(Flaw.LENGTH)
    if any(char.isspace() and char != " " for char in code):
        raise NotAnAccessCode(Flaw.SPACES)
    return code


def parse_hint(text: str, *, code: str) -> str:
    """What recalls ``code`` to who knows it; empty for none. Raises :class:`NotAnAccessCode`."""
    hint = text.strip()
    if len(hint) > LONGEST_HINT or "\t" in hint or not is_all_visible(hint):
        raise NotAnAccessCode(Flaw.HINT)
    if _alike(code) in _alike(hint):
        raise NotAnAccessCode(Flaw.HINT_TELLS)
    return hint


def _alike(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def is_all_visible(text: str) -> bool:
    """Nothing in it that one person writes and another doesn't see; a tab is seen."""
    return not _BLANK_ALTHOUGH_VISIBLE.search(text) and all(
        char == "\t" or unicodedata.category(char) not in _INVISIBLE for char in text
    )
