"""Caps on text messages: which is reached, and which country is left out."""

from __future__ import annotations

import pytest

from zegel.core.policy.submitting import NotARule
from zegel.core.policy.texts import TextCaps, TextLimit, TextsUsed, objection, parse_countries, reached

NO_CAPS = TextCaps()


@pytest.mark.parametrize(
    ("caps", "used", "expected"),
    [
        (TextCaps(texts_per_hour=2), TextsUsed(2, 2, 2), TextLimit.HOUR),
        (TextCaps(texts_per_hour=2), TextsUsed(1, 9, 9), None),
        (TextCaps(texts_per_day=3), TextsUsed(0, 3, 3), TextLimit.DAY),
        (TextCaps(texts_per_month=4), TextsUsed(0, 0, 5), TextLimit.MONTH),
        (TextCaps(texts_per_month=4), TextsUsed(3, 3, 3), None),
        (TextCaps(texts_per_hour=0), TextsUsed(), TextLimit.HOUR),
        (NO_CAPS, TextsUsed(10**9, 10**9, 10**9), None),
    ],
)
def test_a_cap_is_reached_by_what_was_asked_for_in_its_own_time(
    caps: TextCaps, used: TextsUsed, expected: TextLimit | None
) -> None:
    assert objection(caps, used, ["NL"]) is expected
    assert reached(caps, used) == ((expected,) if expected else ())


@pytest.mark.parametrize(
    ("allowed", "asked", "may_go"),
    [
        (("NL", "BE"), ["NL"], True),
        (("NL", "BE"), ["NL", "DE"], False),
        (("NL",), [""], False),  # nobody knows of which country it is
        ((), ["DE", ""], True),
        (("NL",), [], True),
    ],
)
def test_a_country_that_is_not_in_the_list_is_left_out(
    allowed: tuple[str, ...], asked: list[str], may_go: bool
) -> None:
    caps = TextCaps(text_countries=allowed)
    assert objection(caps, TextsUsed(), asked) is (None if may_go else TextLimit.COUNTRIES)
    assert reached(caps, TextsUsed()) == (), "no time makes it otherwise: it is no limit that is reached"


def test_countries_are_read_as_people_write_them() -> None:
    assert parse_countries(" nl, BE\nNL ") == ("NL", "BE")
    assert parse_countries("") == ()


@pytest.mark.parametrize("bad", ["Nederland", "31", "XX", "NL;BE", "001", "N"])
def test_what_is_no_country_is_refused(bad: str) -> None:
    with pytest.raises(NotARule, match="like NL or BE"):
        parse_countries(bad)
