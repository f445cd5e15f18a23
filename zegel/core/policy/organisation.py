"""What an organisation is called, the language it writes in, and the country whose telephone numbers need no code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import phonenumbers

from zegel.core.mail.compose import writable

LANGUAGES: Final = ("nl", "en")
LONGEST_NAME: Final = 200  # characters


class NotADescription(ValueError):
    """It can't be this; the text says why."""


class NameTaken(NotADescription):
    """Another organisation of this gateway is called so."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is an organisation {name!r} already")


@dataclass(frozen=True, slots=True)
class Described:
    """As it is stored."""

    name: str
    language: str  # of LANGUAGES: of its mails, and of its pages for who chose none
    region: str  # two letters, in capitals


def parse_description(name: str, language: str, region: str) -> Described:
    """Of what people write: the name on one line, the country in any case. Raises :class:`NotADescription`."""
    name, region = writable(name), region.strip().upper()
    if not name:
        raise NotADescription("an organisation has a name")
    if len(name) > LONGEST_NAME:
        raise NotADescription(f"a name has at most {LONGEST_NAME} characters")
    if language not in LANGUAGES:
        raise NotADescription(f"{language[:20]!r} is not a language of these mails; write nl or en")
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise NotADescription(f"{region[:20]!r} is not a country; write its two letters, like NL or BE")
    return Described(name, language, region)
