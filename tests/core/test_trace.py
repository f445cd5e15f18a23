"""Trace fields: nothing a stranger wrote gets out of them, and a message of ours is known when it comes back."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime, parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.mail.fields import HeaderSection
from zegel.core.mail.trace import (
    MAX_RECEIVED,
    carries_own_marker,
    date_field,
    date_time,
    loop_marker,
    received,
    received_count,
)
from zegel.core.secret import Secret

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
KEY = Secret(b"k" * 32)
OTHER_KEY = Secret(b"o" * 32)
MESSAGE = HeaderSection.parse(
    b"Message-ID: <1@voorbeeld.test>\r\nDate: Sun, 01 Mar 2026 12:00:00 +0000\r\nSubject: x\r\n"
)


def field_from(source: str, tls: str | None = None) -> bytes:
    return received(by="gateway.voorbeeld.test", source=source, protocol="ESMTPSA", id="a1b2", tls=tls, at=NOON)


# Received


@pytest.mark.parametrize(
    "source",
    [
        "a\r\nBcc: ontvanger@example.org",
        "a\nb",
        "a\0b",
        "a; Mon, 01 Jan 2001 00:00:00 +0000",
        "a (b",
        "a) b",
        ")(",
        'a "b',
        "a \\",
        "",
        "   ",
        "é\u2028\u202e",
        "x" * 5000,
        "(" * 5000 + ")" * 5000,
    ],
)
def test_what_a_stranger_calls_itself_cannot_end_the_field_or_its_date(source: str) -> None:
    for raw in (field_from(source), field_from("a.test", source or "x")):
        (field,) = HeaderSection.parse(raw)
        assert field.key == "received"
        value = field.value.decode("ascii")
        assert value.count(";") == 1
        assert value.endswith("\t" + date_time(NOON))
        assert "by gateway.voorbeeld.test with ESMTPSA id a1b2" in value
        assert not re.search(r'["\\]', value)
        assert value.count("(") == value.count(")")
        assert max(len(line) for line in raw.split(b"\r\n")) <= 998  # RFC 5322 §2.1.1


@given(st.text(max_size=100), st.none() | st.text(max_size=100))
def test_any_text_gives_one_field(source: str, tls: str | None) -> None:
    section = HeaderSection.parse(field_from(source, tls))
    assert (len(section), received_count(section)) == (1, 1)
    assert section.encode().isascii()


@pytest.mark.parametrize("wrong", ["", "a b", "a\r\nb", "a;b", "(a)", "é"])
def test_our_own_words_are_words(wrong: str) -> None:
    with pytest.raises(ValueError, match="single words"):
        received(by=wrong, source="a", protocol="ESMTPS", id="1", tls=None, at=NOON)
    with pytest.raises(ValueError, match="single words"):
        received(by="a.test", source="a", protocol=wrong, id="1", tls=None, at=NOON)
    with pytest.raises(ValueError, match="single words"):
        received(by="a.test", source="a", protocol="ESMTPS", id=wrong, tls=None, at=NOON)


def test_a_received_field_says_where_the_message_came_by_and_never_for_whom() -> None:
    assert field_from("client.test (client.test [192.0.2.1])", "TLSv1.3 TLS_AES_256_GCM_SHA384") == (
        b"Received: from client.test (client.test [192.0.2.1])\r\n"
        b"\tby gateway.voorbeeld.test with ESMTPSA id a1b2\r\n"
        b"\t(TLSv1.3 TLS_AES_256_GCM_SHA384);\r\n"
        b"\tSun, 01 Mar 2026 12:00:00 +0000\r\n"
    )
    assert field_from("client.test") == (
        b"Received: from client.test\r\n"
        b"\tby gateway.voorbeeld.test with ESMTPSA id a1b2;\r\n"
        b"\tSun, 01 Mar 2026 12:00:00 +0000\r\n"
    )


def test_hops_are_counted_whatever_the_case_of_their_fields() -> None:
    section = HeaderSection.parse(
        b"Received: a\r\nRECEIVED: b\r\nX-Received: c\r\n" + b"received: d\r\n" * MAX_RECEIVED
    )
    assert received_count(section) == MAX_RECEIVED + 2
    assert received_count(HeaderSection()) == 0


# Date


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001
def test_a_date_is_what_the_standard_library_writes_and_reads_in_any_zone(naive: datetime, minutes: int) -> None:
    at = naive.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=minutes)))
    assert date_time(at) == format_datetime(at.astimezone(UTC))
    assert parsedate_to_datetime(date_time(at)) == at


def test_a_date_field_is_a_field() -> None:
    assert date_field(NOON) == b"Date: Sun, 01 Mar 2026 12:00:00 +0000\r\n"


# The marker


def marked(section: HeaderSection = MESSAGE) -> HeaderSection:
    return section.prepend(loop_marker("gateway-1", section, KEY))


def test_a_message_without_marker_is_not_ours() -> None:
    assert not carries_own_marker(MESSAGE, KEY)
    assert not carries_own_marker(HeaderSection(), KEY)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"v1",
        b"v1 gateway-1",
        b"v1 gateway-1 ",
        b"v1 gateway-1 " + b"0" * 64,
        b"v1 gateway-1 \xff",
        b"v1 \xff " + b"0" * 64,
        b"v1 gateway-1 x x",
        b"v1 " + b"g" * 65 + b" " + b"0" * 64,
    ],
)
def test_a_forged_or_malformed_marker_does_not_count(value: bytes) -> None:
    assert not carries_own_marker(MESSAGE.prepend(b"X-Zegel-Transport: " + value + b"\r\n"), KEY)


def test_the_marker_of_another_gateway_does_not_count() -> None:
    assert not carries_own_marker(marked(), OTHER_KEY)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"v1 ", b"v2 "),
        (b"gateway-1", b"gateway-2"),
        (b"<1@voorbeeld.test>", b"<2@voorbeeld.test>"),
        (b"Date: Sun, 01", b"Date: Sun, 08"),
        (b"Message-ID: <1@voorbeeld.test>\r\n", b""),
        (b"Date: ", b"X-Date: "),
        (b"Subject: x\r\n", b"Message-ID: <0@voorbeeld.test>\r\n"),
    ],
)
def test_a_marker_cannot_be_carried_over_to_other_mail(old: bytes, new: bytes) -> None:
    octets = marked().encode()
    assert old in octets
    changed = HeaderSection.parse(octets.replace(old, new, 1))
    if new.startswith(b"Message-ID"):
        changed = HeaderSection(tuple(reversed(changed.fields)))  # the added field is the first one
    assert not carries_own_marker(changed, KEY)


def test_values_cannot_be_moved_from_one_field_into_the_other() -> None:
    one = HeaderSection.parse(b"Message-ID: ab\r\nDate: c\r\n")
    other = HeaderSection.parse(b"Message-ID: a\r\nDate: bc\r\n")
    assert loop_marker("g", one, KEY) != loop_marker("g", other, KEY)
    first, second = HeaderSection.parse(b"Message-ID: x\r\n"), HeaderSection.parse(b"Date: x\r\n")
    assert loop_marker("g", first, KEY) != loop_marker("g", second, KEY)


def test_our_message_is_known_when_it_comes_back_however_it_was_folded() -> None:
    assert carries_own_marker(marked(), KEY)
    octets = marked().encode().replace(b"Date: Sun, 01", b"DATE:\r\n Sun,\r\n\t 01").replace(b"v1 ", b"v1\r\n  ")
    travelled = HeaderSection.parse(octets).prepend(b"Received: x\r\n").append(b"X-Zegel-Transport: v1 other 00\r\n")
    assert carries_own_marker(travelled, KEY)
    assert carries_own_marker(travelled.prepend(b"X-Zegel-Transport: forged\r\n"), KEY)


def test_a_message_without_message_id_and_date_can_be_marked_too() -> None:
    assert carries_own_marker(marked(HeaderSection()), KEY)


@pytest.mark.parametrize("wrong", ["", "a b", "a\r\nb", "é", "g" * 65])
def test_a_gateway_id_is_one_word(wrong: str) -> None:
    with pytest.raises(ValueError, match="one word"):
        loop_marker(wrong, MESSAGE, KEY)


def test_a_marker_shows_the_gateway_and_nothing_of_the_key_or_message() -> None:
    raw = loop_marker("gateway-1", MESSAGE, KEY)
    assert re.fullmatch(rb"X-Zegel-Transport: v1 gateway-1\r\n\t[0-9a-f]{64}\r\n", raw)
