"""Caps on text messages of an organisation: how many codes may go out by SMS, and to which countries.

A code costs money, and anybody who holds a link can ask for one. Decisions over values; what was sent is counted by
:mod:`zegel.accounts.submitting`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

import phonenumbers

from zegel.core.mail.reply import Reply
from zegel.core.policy.submitting import NotARule

HOURS_A_MONTH: Final = 30 * 24


@dataclass(frozen=True, slots=True)
class TextCaps:
    """The most text messages that may go out; ``None`` is no limit. An hour is one of the clock; a day is that hour and
    the 23 before it, a month that hour and the 719 before it. ``text_countries``: nothing goes to other ones, such as
    ``NL``; none: wherever the gateway sends to."""

    texts_per_hour: int | None = None
    texts_per_day: int | None = None
    texts_per_month: int | None = None
    text_countries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TextsUsed:
    """Text messages that were asked for; whether the provider took them makes no difference."""

    this_hour: int = 0
    today: int = 0
    this_month: int = 0


class TextLimit(Enum):
    """Which cap it is. ``value`` stands in the log and in metrics."""

    HOUR = "texts per hour"
    DAY = "texts per day"
    MONTH = "texts per month"
    COUNTRIES = "text countries"


def reached(caps: TextCaps, used: TextsUsed) -> tuple[TextLimit, ...]:
    """The caps that one more text message would break, whoever it is for."""
    return tuple(
        limit
        for limit, most, so_far in (
            (TextLimit.HOUR, caps.texts_per_hour, used.this_hour),
            (TextLimit.DAY, caps.texts_per_day, used.today),
            (TextLimit.MONTH, caps.texts_per_month, used.this_month),
        )
        if most is not None and so_far >= most
    )


def objection(caps: TextCaps, used: TextsUsed, countries: Iterable[str]) -> TextLimit | None:
    """The cap that one more text message to a number of these countries would break; of a number whose country nobody
    knows (empty) nobody can say that it is one of those allowed. ``None``: it may go."""
    if caps.text_countries and not set(countries) <= set(caps.text_countries):
        return TextLimit.COUNTRIES
    return next(iter(reached(caps, used)), None)


def parse_countries(text: str) -> tuple[str, ...]:
    """Countries by their two letters, separated by white space or commas, in capitals.

    Raises :class:`NotARule` for what is no country with telephone numbers.
    """
    found = []
    for word in text.replace(",", " ").split():
        if word.upper() not in phonenumbers.SUPPORTED_REGIONS:
            raise NotARule(f"{word[:50]!r} is not a country; write its two letters, like NL or BE")
        found.append(word.upper())
    return tuple(dict.fromkeys(found))


TEXTS_CAPPED: Final = Reply(
    451,
    "4.7.1",
    "A limit on text messages of your organisation is reached, or it sends none to the country of a number; try again "
    "later, or ask your administrator",
)
