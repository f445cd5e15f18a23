"""An organisation's own words: what may stand in them, and where they come to stand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.test_texts import AT, NOTIFICATION
from zegel.core.mail.address import Mailbox
from zegel.core.mail.texts import CodeMail, code_mail, notification_mail
from zegel.core.own_texts import (
    LONGEST,
    NO_WORDS,
    HoldsAnAddress,
    NotAnOwnText,
    OwnTexts,
    TooLong,
    Words,
    kept,
    parse_own_text,
    stored,
)
from zegel.core.secret import Secret

INTRODUCTION = "Het Voorbeeldziekenhuis mailt medische gegevens alleen beveiligd."
HELP = "Bel 030 123 4567 (werkdagen, 9 tot 17 uur) of mail naar balie@voorbeeld.test."


@pytest.mark.parametrize(
    "text",
    [
        "Kijk op https://voorbeeld.test/uitleg.",
        "Kijk op http://voorbeeld",
        "Kijk op (www.voorbeeld.test)!",
        "Kijk op voorbeeld.test/uitleg",
        "Kijk op “Veilig.Voorbeeld.TEST”.",
        "Kijk op voorbeeld.test:8443",
        "Kijk op münchen.voorbeeld.test",
        "Kijk op пример.рф",
        "Klik hier:javascript://x",
        "Kijk op voorbeeld\u200b.test en ftp://voorbeeld.test",
    ],
)
def test_no_address_on_the_web_may_stand_in_it(text: str) -> None:
    with pytest.raises(HoldsAnAddress):
        parse_own_text(text)


@pytest.mark.parametrize(
    "text",
    [
        HELP,
        INTRODUCTION,
        "Vragen? Zie a.u.b. de brief; of bel i.v.m. uw afspraak toestel 12.34.",
        "Ma. t/m vr. 8.30–17.00 uur, behalve op feestdagen…",
        "",
    ],
)
def test_what_people_write_of_telephones_and_hours_may(text: str) -> None:
    assert parse_own_text(text) == text


def test_it_is_one_line_of_what_can_be_seen() -> None:
    assert parse_own_text("  Bel\r\n\tons\u202e nu\x00 \u2028") == "Bel ons nu"
    with pytest.raises(TooLong) as told:
        parse_own_text("a" * (LONGEST + 1))
    assert told.value.length == LONGEST + 1
    assert parse_own_text("a" * LONGEST)


@given(st.text(max_size=2 * LONGEST))
def test_what_is_taken_is_taken_again_as_it_is(text: str) -> None:
    try:
        found = parse_own_text(text)
    except NotAnOwnText:
        return
    assert parse_own_text(found) == found
    assert "://" not in found and len(found) <= LONGEST and found.splitlines() in ([found], [])


def test_a_long_word_takes_no_time() -> None:
    assert parse_own_text("a" * 200 + "." + "-" * 198 + "!")


def test_what_is_empty_is_not_kept_and_what_is_strange_is_not_used() -> None:
    texts = OwnTexts(introduction_nl=INTRODUCTION, help_en="Call us.")
    assert kept(texts) == {"introduction_nl": INTRODUCTION, "help_en": "Call us."}
    assert stored(kept(texts)) == texts
    assert (
        stored({"help_nl": "zie www.voorbeeld.test", "help_en": ["x"], "introduction_en": 4, "later": "x"})
        == OwnTexts()
    )
    nothings: tuple[object, ...] = (None, {}, "x", [])
    for nothing in nothings:
        assert stored(nothing) == OwnTexts()


def test_each_language_says_its_own_and_nothing_of_the_other() -> None:
    texts = OwnTexts(introduction_nl=INTRODUCTION, help_en="Call us.")
    assert texts.within("nl") == Words(INTRODUCTION, "")
    assert texts.within("en") == Words("", "Call us.")
    assert OwnTexts().within("nl") == NO_WORDS


# In mail


def test_a_notification_begins_and_ends_with_them_and_says_all_else_as_before() -> None:
    told = NOTIFICATION
    plain = notification_mail(told, "nl")
    worded = notification_mail(replace(told, own=Words(INTRODUCTION, HELP)), "nl")
    assert worded.subject == plain.subject
    assert worded.text.index(INTRODUCTION) < worded.text.index("Bericht openen") < worded.text.index(HELP)
    assert worded.text.endswith(f"Vragen of hulp nodig?\n{HELP}\n")
    for part in plain.text.split("\n\n"):
        assert part.strip() in worded.text
    assert worded.html.count("<a ") == plain.html.count("<a ") == 1


def test_they_can_not_become_markup() -> None:
    hostile = Words('<img src="x" onerror="alert(1)">', "</p><script>alert(1)</script>")
    shown = notification_mail(replace(NOTIFICATION, own=hostile), "en").html
    assert "<img" not in shown and "<script" not in shown and "&lt;script&gt;" in shown


def test_a_code_comes_with_where_to_turn_and_without_an_introduction() -> None:
    mail = code_mail(
        CodeMail(
            Secret("123456"),
            "Balie",
            Mailbox.parse("balie@voorbeeld.test"),
            "Voorbeeldziekenhuis",
            AT,
            own=Words(INTRODUCTION, HELP),
        ),
        "nl",
    )
    assert HELP in mail.text and HELP in mail.html
    assert INTRODUCTION not in mail.text and INTRODUCTION not in mail.html
