"""Caps on text messages: how many codes may go out by SMS, to which countries, and what they may cost.

A code costs money, and anybody who holds a link can ask for one. Decisions over values; what was sent is counted by
:mod:`zegel.accounts.submitting`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

import phonenumbers

from zegel.core.mail.reply import Reply
from zegel.core.policy.submitting import NotARule

HOURS_A_MONTH: Final = 30 * 24
MOST_CENTS: Final = 2**31 - 1
_AMOUNT: Final = re.compile(r"([0-9]{1,7})(?:[.,]([0-9]{1,2}))?", re.ASCII)
_PREFIX: Final = re.compile(r"\+[1-9][0-9]{0,6}", re.ASCII)
_CURRENCY: Final = re.compile(r"[A-Z]{3}", re.ASCII)


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
    cents_this_month: int = 0  # what these cost, by the prices that were in force when each was asked for


@dataclass(frozen=True, slots=True)
class TextMoney:
    """What text messages cost, as the organisation says, and the most that they may cost in a month; ``None`` is no
    limit. In whole cents of one currency, so a price between two is the higher one. What a provider reports is no part
    of it."""

    currency: str = "EUR"
    price: int = 0  # of one text message, where no prefix says otherwise
    prices: tuple[tuple[str, int], ...] = ()  # of numbers that begin so, such as ("+31", 8)
    most_per_month: int | None = None

    def price_of(self, number: str) -> int:
        """Of one text message to a number as ``+31612345678``, or to all that begin so: the longest prefix counts."""
        fitting = [one for one in self.prices if number.startswith(one[0])]
        return max(fitting, key=lambda one: len(one[0]))[1] if fitting else self.price

    def price_in(self, country: str) -> int:
        """Of one to a number of a country by its two letters, as far as that tells where the number begins."""
        code = phonenumbers.country_code_for_region(country) if country else 0
        return self.price_of(f"+{code}") if code else self.price


class TextLimit(Enum):
    """Which cap it is. ``value`` stands in the log and in metrics."""

    HOUR = "texts per hour"
    DAY = "texts per day"
    MONTH = "texts per month"
    COUNTRIES = "text countries"
    MONEY = "text money"


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


def too_dear(money: TextMoney, used: TextsUsed, price: int) -> bool:
    """One more text message at that price would cost more than the month may."""
    return money.most_per_month is not None and used.cents_this_month + price > money.most_per_month


def is_spent(money: TextMoney, used: TextsUsed) -> bool:
    """There is no room for a text message at the price that holds for most; for one that costs nothing, for a cent."""
    return too_dear(money, used, max(money.price, 1))


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


def parse_cents(text: str) -> int:
    """An amount as ``0.08`` or ``250``, in cents. Raises :class:`NotARule`."""
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        raise NotARule(f"{text[:50]!r} is not an amount; write it like 0.08 or 250")
    return int(found[1]) * 100 + int((found[2] or "").ljust(2, "0"))


def written_cents(cents: int) -> str:
    """As :func:`parse_cents` reads it."""
    return f"{cents // 100}.{cents % 100:02}"


def parse_prices(text: str) -> tuple[tuple[str, int], ...]:
    """Prices by where numbers begin, as ``+31=0.08``, separated by white space or commas. Raises
    :class:`NotARule`."""
    found = {}
    for word in text.replace(",", " ").split():
        prefix, _, amount = word.partition("=")
        if not _PREFIX.fullmatch(prefix) or not amount:
            raise NotARule(f"{word[:50]!r} is not a price; write where numbers begin and the amount, like +31=0.08")
        found[prefix] = parse_cents(amount)
    return tuple(sorted(found.items()))


def written_prices(prices: Iterable[tuple[str, int]]) -> str:
    """As :func:`parse_prices` reads it."""
    return " ".join(f"{prefix}={written_cents(cents)}" for prefix, cents in prices)


def parse_currency(text: str) -> str:
    """Three letters, as EUR. Raises :class:`NotARule`."""
    found = text.strip().upper()
    if not _CURRENCY.fullmatch(found):
        raise NotARule(f"{text[:50]!r} is not a currency; write its three letters, like EUR")
    return found


TEXTS_CAPPED: Final = Reply(
    451,
    "4.7.1",
    "A limit on text messages of your organisation is reached, or it sends none to the country of a number; try again "
    "later, or ask your administrator",
)
