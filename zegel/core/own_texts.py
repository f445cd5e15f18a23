"""What an organisation adds in its own words to the mails and pages that recipients meet.

Two texts, each in Dutch and in English: an introduction, and where to turn with questions. They are plain text, and no
address on the web may stand in them: a mail with one way in can be trusted at a glance, one with several can't, neither
by people nor by scanners.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

LONGEST: Final = 400  # characters

_ADDRESS: Final = re.compile(r"(?i)(?:[^\s@]*://\S*|www\.\S*|(?:[\w-]{1,63}\.){1,9}[^\W\d_]{2,24}(?:[:/?#]\S*)?)")
_AROUND_A_WORD: Final = "()[]{}<>«»„“”‘’\"'.,;:!?…"
_NOT_SHOWN: Final = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


class NotAnOwnText(ValueError):
    """It can't be used; the text says why."""


class TooLong(NotAnOwnText):
    """More than :data:`LONGEST` characters."""

    def __init__(self, length: int) -> None:
        super().__init__(f"this text has {length} characters; at most {LONGEST} are shown")
        self.length = length


class HoldsAnAddress(NotAnOwnText):
    """An address on the web stands in it."""

    def __init__(self, word: str) -> None:
        super().__init__(
            f"{word[:60]!r} would become a link, and the only link of these mails is the way to the message; "
            "name a telephone number or an e-mail address"
        )
        self.word = word


class Words(NamedTuple):
    """In one language; empty: nothing is said."""

    introduction: str = ""
    help: str = ""


NO_WORDS: Final = Words()


@dataclass(frozen=True, slots=True)
class OwnTexts:
    """As an administrator wrote them, each through :func:`parse_own_text`; empty: nothing is said there."""

    introduction_nl: str = ""
    introduction_en: str = ""
    help_nl: str = ""
    help_en: str = ""

    def within(self, language: str) -> Words:
        """Never those of the other language: who reads one of them may not read the other."""
        if language == "en":
            return Words(self.introduction_en, self.help_en)
        return Words(self.introduction_nl, self.help_nl)


def parse_own_text(text: str) -> str:
    """On one line, without what isn't shown. Raises :class:`NotAnOwnText`."""
    shown = "".join([" " if unicodedata.category(char) in _NOT_SHOWN else char for char in text])
    words = shown.split()
    text = " ".join(words)
    if len(text) > LONGEST:
        raise TooLong(len(text))
    for word in words:
        bare = word.strip(_AROUND_A_WORD)
        if _ADDRESS.fullmatch(bare) or "://" in bare:
            raise HoldsAnAddress(bare)
    return text


def kept(texts: OwnTexts) -> dict[str, str]:
    """As they are stored."""
    return {name: text for name, text in asdict(texts).items() if text}


def stored(values: object) -> OwnTexts:
    """What :func:`kept` gave, perhaps of another version: what can't be used is left out."""
    if not isinstance(values, Mapping) or not values:
        return _NONE
    return OwnTexts(**{name: _usable(values.get(name)) for name in OwnTexts.__dataclass_fields__})


def _usable(text: Any) -> str:
    return _parsed(text) if isinstance(text, str) else ""


@lru_cache(maxsize=1024)  # the same few, for every mail and page
def _parsed(text: str) -> str:
    try:
        return parse_own_text(text)
    except NotAnOwnText:
        return ""


_NONE: Final = OwnTexts()
