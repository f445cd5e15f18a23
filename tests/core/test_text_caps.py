"""Caps on text messages: which is reached, and which country is left out."""

from __future__ import annotations

import pytest

from zegel.core.policy.submitting import NotARule
from zegel.core.policy.texts import (
    TextCaps,
    TextLimit,
    TextMoney,
    TextsUsed,
    is_spent,
    objection,
    parse_cents,
    parse_countries,
    parse_currency,
    parse_prices,
    reached,
    too_dear,
    written_cents,
    written_prices,
)

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


# --- money -------------------------------------------------------------------------------------------------------

PRICED = TextMoney("EUR", 8, (("+1", 2), ("+1242", 20), ("+32", 9)), 100)


@pytest.mark.parametrize(
    ("number", "cents"),
    [("+31612345678", 8), ("+32470123456", 9), ("+12025550123", 2), ("+12425550123", 20), ("", 8)],
)
def test_the_longest_beginning_of_a_number_says_what_it_costs(number: str, cents: int) -> None:
    assert PRICED.price_of(number) == cents


@pytest.mark.parametrize(("country", "cents"), [("NL", 8), ("BE", 9), ("US", 2), ("BS", 2), ("", 8), ("XX", 8)])
def test_of_a_country_counts_where_its_numbers_begin(country: str, cents: int) -> None:
    assert PRICED.price_in(country) == cents


@pytest.mark.parametrize(
    ("most", "so_far", "price", "is_dear"),
    [(100, 92, 8, False), (100, 93, 8, True), (100, 100, 0, False), (0, 0, 1, True), (None, 10**9, 10**9, False)],
)
def test_a_text_that_would_cost_more_than_is_left_is_too_dear(
    most: int | None, so_far: int, price: int, is_dear: bool
) -> None:
    money = TextMoney(price=8, most_per_month=most)
    assert too_dear(money, TextsUsed(cents_this_month=so_far), price) is is_dear


@pytest.mark.parametrize(("price", "so_far", "stands"), [(8, 92, False), (8, 93, True), (0, 99, False), (0, 100, True)])
def test_the_alarm_stands_while_there_is_no_room_for_one_more(price: int, so_far: int, stands: bool) -> None:
    assert is_spent(TextMoney(price=price, most_per_month=100), TextsUsed(cents_this_month=so_far)) is stands


def test_amounts_and_prices_are_read_as_people_write_them() -> None:
    assert [parse_cents(text) for text in ("0.08", "0,08", "250", " 2.5 ", "0")] == [8, 8, 25_000, 250, 0]
    assert parse_prices("+32=0.09,+31=0.08\n+31=0.07") == (("+31", 7), ("+32", 9))
    assert parse_prices("") == ()
    assert parse_currency(" eur ") == "EUR"
    assert parse_prices(written_prices(PRICED.prices)) == PRICED.prices
    assert parse_cents(written_cents(12_345)) == 12_345


@pytest.mark.parametrize("bad", ["", "-1", "1.234", "1e3", "٣", "12345678", "€ 5"])
def test_what_is_no_amount_is_refused(bad: str) -> None:
    with pytest.raises(NotARule, match=r"like 0\.08 or 250"):
        parse_cents(bad)


@pytest.mark.parametrize("bad", ["31=0.08", "+31", "+31=", "+0=1", "+12345678=1"])
def test_what_is_no_price_is_refused(bad: str) -> None:
    with pytest.raises(NotARule):
        parse_prices(bad)


@pytest.mark.parametrize("bad", ["", "EURO", "€", "E1R"])
def test_what_is_no_currency_is_refused(bad: str) -> None:
    with pytest.raises(NotARule, match="like EUR"):
        parse_currency(bad)
