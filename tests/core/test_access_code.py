"""What may be an access code, and what may recall one: for a field of a message and for a page alike."""

from __future__ import annotations

import pytest

from zegel.core.policy.access_code import (
    LONGEST,
    LONGEST_HINT,
    SHORTEST,
    Flaw,
    NotAnAccessCode,
    is_all_visible,
    parse_access_code,
    parse_hint,
)
from zegel.core.policy.directives import MalformedField, read_directives


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("", Flaw.LENGTH),
        ("   ", Flaw.LENGTH),
        ("1" * (SHORTEST - 1), Flaw.LENGTH),
        ("1" * (LONGEST + 1), Flaw.LENGTH),
        ("vier\twoorden", Flaw.SPACES),
        ("vier\u00a0woorden", Flaw.SPACES),
        ("vier\u200bwoorden", Flaw.INVISIBLE),
        ("vier\u202ewoorden", Flaw.INVISIBLE),
        ("vier\nwoorden", Flaw.INVISIBLE),
        ("vier\u3164woorden", Flaw.INVISIBLE),
        ("vier\x00woorden", Flaw.INVISIBLE),
    ],
)
def test_what_two_people_may_read_differently_is_no_code(text: str, flaw: Flaw) -> None:
    with pytest.raises(NotAnAccessCode) as caught:
        parse_access_code(text)
    assert caught.value.flaw is flaw
    assert not text.strip() or text.strip() not in str(caught.value)
    with pytest.raises(MalformedField):
        read_directives([("zivver-access-right", f"gast@open.test sharedAccessCode {text}".encode())])


@pytest.mark.parametrize("code", ["0012", "vier losse woorden hier", "Geheim é 9", "1" * LONGEST, "1 2 3 4"])
def test_a_code_is_kept_as_it_is_written(code: str) -> None:
    assert parse_access_code(f"  {code} ") == code


@pytest.mark.parametrize("hint", ["x" * (LONGEST_HINT + 1), "een\ttab", "on\u200bzichtbaar", "twee\nregels"])
def test_a_hint_is_one_short_line_that_shows(hint: str) -> None:
    with pytest.raises(NotAnAccessCode) as caught:
        parse_hint(hint, code="0042 17")
    assert caught.value.flaw is Flaw.HINT


@pytest.mark.parametrize("hint", ["0042 17", "het is 004217!", "code: ００４２１７", "0 0 4 2 1 7"])
def test_a_hint_does_not_hold_the_code(hint: str) -> None:
    with pytest.raises(NotAnAccessCode) as caught:
        parse_hint(hint, code="0042 17")
    assert caught.value.flaw is Flaw.HINT_TELLS


def test_a_hint_reminds() -> None:
    assert parse_hint(" het nummer op uw pas ", code="004217") == "het nummer op uw pas"
    assert parse_hint("", code="004217") == ""


def test_a_tab_is_seen() -> None:
    assert is_all_visible("a\tb")
