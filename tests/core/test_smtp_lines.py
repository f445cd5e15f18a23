"""The grammar of arguments, and the framing of content, on their own."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.mail.address import NotAMailbox
from zegel.core.secret import Secret
from zegel.core.smtp import sasl
from zegel.core.smtp.lines import (
    BadParameter,
    ChunkHeader,
    DotStuffed,
    LineEndings,
    OriginalRecipient,
    WrongForm,
    decode_unitext,
    decode_xtext,
    is_stray,
    limit_of,
    parse_chunk,
    parse_original_recipient,
    parse_parameters,
    split_path,
)


@pytest.mark.parametrize("argument", ["", "<a@example.org>", "TO:<a@example.org>", "FROM <a@example.org>", "FRO"])
def test_without_its_keyword_it_is_no_path(argument: str) -> None:
    with pytest.raises(WrongForm):
        split_path(argument, "FROM:")


@pytest.mark.parametrize(
    "argument",
    [
        "FROM:",
        "FROM:a@example.org",
        "FROM:<a@example.org",
        'FROM:<"a>@example.org',
        "FROM:<a@example.org>SIZE=1",
        "FROM:< a@example.org>",
        "FROM:<a@ example.org>",
        "FROM:<a@example.org\u00a0>",
        'FROM:<"a\u0085b"@example.org>',
        'FROM:<"a\u2028b"@example.org>',
        "FROM:<>>",
    ],
)
def test_what_is_not_between_brackets_is_no_path(argument: str) -> None:
    with pytest.raises(NotAMailbox):
        split_path(argument, "FROM:")


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("FROM:<>", ("", "")),
        ("from:<a@example.org>", ("a@example.org", "")),
        ("From: <a@example.org>  SIZE=1 ", ("a@example.org", "SIZE=1")),
        ('FROM:<"a>b c"@example.org> X', ('"a>b c"@example.org', "X")),
        ('FROM:<"a\\">b"@example.org>', ('"a\\">b"@example.org', "")),
        ("FROM:<@one.test,@two.test:a@example.org>", ("a@example.org", "")),
        ('FROM:<@one.test:"a>b"@example.org>', ('"a>b"@example.org', "")),
    ],
)
def test_a_path_loses_its_brackets_and_its_route(argument: str, expected: tuple[str, str]) -> None:
    assert split_path(argument, "FROM:") == expected


@pytest.mark.parametrize("text", ["=1", "-A=1", "A=", "A=1=2", "A A", "A a=1", "A=\x07", "Ä=1", "A=\x7f"])
def test_what_is_no_parameter_is_refused(text: str) -> None:
    with pytest.raises(BadParameter):
        parse_parameters(text)


def test_parameters_are_found_by_their_keyword_in_capitals() -> None:
    assert parse_parameters("size=1  Body=8bitMIME X-Y") == {"SIZE": "1", "BODY": "8bitMIME", "X-Y": None}


@pytest.mark.parametrize("text", ["", "a b", "a=b", "+4", "+4g", "+4a", "+", "+0A", "+7F", "+C3+A9", "é"])
def test_what_is_not_xtext_of_something_printable_is_refused(text: str) -> None:
    with pytest.raises(BadParameter):
        decode_xtext(text)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1))
def test_xtext_means_what_was_encoded(text: str) -> None:
    encoded = "".join(char if char.isalnum() else f"+{ord(char):02X}" for char in text)
    assert decode_xtext(encoded) == text


@pytest.mark.parametrize("text", ["", "a b", "a+b", "\\", "\\x{}", "\\x{E9", "\\x{110000}", "\\x{DFFF}", "\\x{0D}"])
def test_what_is_not_an_encoded_utf8_address_is_refused(text: str) -> None:
    with pytest.raises(BadParameter):
        decode_unitext(text)


def test_an_encoded_utf8_address_means_its_characters() -> None:
    assert decode_unitext("caf\\x{E9}\\x{5C}\\x{1F600}@x.test") == "café\\\U0001f600@x.test"
    assert decode_unitext("café@x.test") == "café@x.test"


def test_raw_utf8_in_orcpt_needs_permission() -> None:
    assert parse_original_recipient("UTF-8;café", unicode=True) == OriginalRecipient("UTF-8", "café")
    with pytest.raises(BadParameter):
        parse_original_recipient("utf-8;café", unicode=False)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("", None),
        ("LAST", None),
        ("+1", None),
        ("1.", None),
        ("²", None),
        ("0", ChunkHeader(0, last=False, well_formed=True)),
        ("12  last ", ChunkHeader(12, last=True, well_formed=True)),
        ("12 FIRST", ChunkHeader(12, last=False, well_formed=False)),
        ("12 LAST LAST", ChunkHeader(12, last=True, well_formed=False)),
    ],
)
def test_the_size_of_a_chunk_is_read_when_it_can_be(argument: str, expected: ChunkHeader | None) -> None:
    assert parse_chunk(argument) == expected


def test_each_kind_of_command_has_its_own_limit() -> None:
    assert [limit_of(start) for start in (b"mail ", b"RCPT TO:", b"AUTH ", b"EHLO ", b"MAILX", b"")] == [
        *(2048, 2048, 12288, 512, 512, 512)
    ]


@pytest.mark.parametrize("octets", [b"\0", b"\r", b"\n", b"\n\r", b"a\r\r\n", b"\r\n\n", b"\r\na\rb\n", b"\n\r\n\r"])
def test_a_stray_octet_is_found(octets: bytes) -> None:
    assert is_stray(octets)


@given(st.lists(st.sampled_from([b"\r\n", b"a", b".", b"\xff"])).map(b"".join))
def test_whole_line_ends_are_not_stray(octets: bytes) -> None:
    assert not is_stray(octets)


@given(st.lists(st.sampled_from([b"\r", b"\n", b"a", b"\0"]), max_size=8), st.lists(st.integers(0, 8), max_size=4))
def test_line_endings_are_watched_over_every_border(octets: list[bytes], cuts: list[int]) -> None:
    text = b"".join(octets)
    edges = sorted({0, len(text), *(at for at in cuts if at < len(text))})
    endings = LineEndings()
    seen = [endings.are_broken_by(text[start:end]) for start, end in pairwise(edges)]
    assert (any(seen) or endings.are_unfinished) == is_stray(text)


def test_what_follows_the_end_of_data_is_given_back() -> None:
    assert DotStuffed().feed(b".\r\nQUIT\r\n") == (b"", b"QUIT\r\n")
    assert DotStuffed().feed(b"x\r\n.\r\n") == (b"x\r\n", b"")
    stuffed = DotStuffed()
    assert stuffed.feed(b"x\r\n.") == (b"x", None)
    assert stuffed.feed(b"\r") == (b"", None)
    assert stuffed.feed(b"\n.") == (b"\r\n", b".")


@pytest.mark.parametrize(
    ("stage", "response"),
    [
        (sasl.Plain(), b"AGJhbGllAGdlaGVpbQ"),
        (sasl.Plain(), b"AGJhbGllAGdlaGVpbQ=="[::-1]),
        (sasl.Plain(), b" AGJhbGllAGdlaGVpbQ=="),
        (sasl.LoginName(), b"AAAA"),
        (sasl.LoginPassword("balie"), b"AAAA"),
        (sasl.LoginPassword("balie"), b""),
        (sasl.LoginPassword("balie"), b"/w=="),
    ],
)
def test_a_response_that_is_not_exact_is_malformed(stage: sasl.Stage, response: bytes) -> None:
    assert sasl.answer(stage, response) is sasl.Failure.MALFORMED


def test_login_asks_twice() -> None:
    stage = sasl.answer(sasl.LoginName(), b"YmFsaWU=")
    assert stage == sasl.LoginPassword("balie")
    assert sasl.answer(sasl.LoginPassword("balie"), b"Z2VoZWlt") == sasl.Credentials("balie", Secret("geheim"))


def test_a_password_is_not_printed() -> None:
    assert "geheim" not in repr(sasl.answer(sasl.Plain(), b"AGJhbGllAGdlaGVpbQ=="))
