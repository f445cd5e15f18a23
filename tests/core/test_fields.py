"""The header section: what is refused, what is left alone, and who the author is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.mail import fields
from zegel.core.mail.address import Mailbox
from zegel.core.mail.fields import (
    Author,
    BrokenHeader,
    Field,
    HeaderReader,
    HeaderSection,
    HeaderTooLong,
    NotOneAuthor,
    addresses,
    author,
    decode,
    decode_words,
    message_id,
)

ORDINARY = (
    b"Received: from a.test (a.test [192.0.2.1])\r\n\tby b.test with ESMTPS id 1;\r\n\tSun, 1 Mar 2026 12:00:00 +0000"
    b"\r\n"
    b"From: Balie <balie@voorbeeld.test>\r\n"
    b"to:ontvanger@example.org\r\n"
    b"Subject: =?utf-8?Q?Caf=C3=A9?=\r\n"
    b"X-Empty:\r\n"
    b"X-Utf8: caf\xc3\xa9\r\n"
    b"Message-ID: <1@voorbeeld.test>\r\n"
)


def from_field(value: bytes) -> HeaderSection:
    return HeaderSection.parse(b"From: " + value + b"\r\n")


# Parsing


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b" folded: first\r\n", fields.BEGINS_WITH_SPACE),
        (b"\tfolded\r\nFrom: a\r\n", fields.BEGINS_WITH_SPACE),
        (b"From balie@voorbeeld.test Sun Mar  1 12:00:00 2026\r\n", fields.MBOX_SEPARATOR),
        (b"Subject: a\0b\r\n", fields.HAS_NUL),
        (b"Sub\0ject: a\r\n", fields.HAS_NUL),
        (b"Subject: a\nBcc: b\r\n", fields.BARE_LINE_END),
        (b"Subject: a\rBcc: b\r\n", fields.BARE_LINE_END),
        (b"Subject: a\r\n\nBcc: b\r\n", fields.BARE_LINE_END),
        (b"Subject: a\r\r\n", fields.BARE_LINE_END),
        (b"Subject: a", fields.NO_LINE_END),
        (b"Subject: a\r\n b", fields.NO_LINE_END),
        (b"From : a@example.org\r\n", fields.NO_FIELD),
        (b"Subject : a\r\n", fields.NO_FIELD),
        (b"Subject\t: a\r\n", fields.NO_FIELD),
        (b": a\r\n", fields.NO_FIELD),
        (b"Subject\r\n", fields.NO_FIELD),
        (b"Sub ject: a\r\n", fields.NO_FIELD),
        (b"Subj\xc3\xa9ct: a\r\n", fields.NO_FIELD),
        (b"Sub\x7fject: a\r\n", fields.NO_FIELD),
        (b"Subject: a\r\n\r\nBody: b\r\n", fields.NO_FIELD),
        (b"Subject: a\r\nFrom balie@voorbeeld.test\r\n", fields.NO_FIELD),
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(octets: bytes, reason: str) -> None:
    with pytest.raises(BrokenHeader) as broken:
        HeaderSection.parse(octets)
    assert str(broken.value) == reason


def test_a_long_line_without_colon_is_refused_without_reading_it_over_and_over() -> None:
    with pytest.raises(BrokenHeader):
        HeaderSection.parse(b"a" * 1_000_000 + b"\r\n")


def test_parsing_and_encoding_leave_every_octet_alone() -> None:
    assert HeaderSection.parse(ORDINARY).encode() == ORDINARY


def test_an_empty_header_section_has_no_fields() -> None:
    assert HeaderSection.parse(b"") == HeaderSection(())
    assert HeaderSection(()).encode() == b""


FOLDED = st.lists(st.binary(max_size=20).map(lambda b: b.translate(None, b"\r\n\0")), min_size=1, max_size=3)
NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1, max_size=12)


@given(st.lists(st.tuples(NAMES, FOLDED), max_size=8))
def test_whatever_is_a_header_section_comes_back_to_the_octet(pairs: list[tuple[str, list[bytes]]]) -> None:
    octets = b"".join(name.encode() + b":" + b"\r\n ".join(value) + b"\r\n" for name, value in pairs)
    section = HeaderSection.parse(octets)
    assert section.encode() == octets
    assert [field.name for field in section] == [name for name, _ in pairs]
    assert [field.value for field in section] == [b" ".join(value).strip(b" \t") for _, value in pairs]


@given(
    st.binary(max_size=60) | st.lists(st.sampled_from([b"a", b":", b" ", b"\r\n", b"\r", b"\n", b"\0"])).map(b"".join)
)
def test_octets_are_a_header_section_that_comes_back_or_are_broken(octets: bytes) -> None:
    try:
        section = HeaderSection.parse(octets)
    except BrokenHeader:
        return
    assert section.encode() == octets


def test_a_value_is_unfolded_and_keeps_the_white_space_of_its_folds() -> None:
    field = HeaderSection.parse(b"Subject:\r\n  one\r\n\ttwo \r\n").first("subject")
    assert field is not None
    assert field.value == b"one\ttwo"
    assert field.raw == b"Subject:\r\n  one\r\n\ttwo \r\n"
    assert (field.name, field.key) == ("Subject", "subject")


# Editing


def test_fields_are_found_in_any_case_and_in_order() -> None:
    section = HeaderSection.parse(b"A: 1\r\nb: 2\r\na: 3\r\n")
    assert [field.value for field in section.all("a")] == [b"1", b"3"]
    assert section.first("A") == Field("A", b"A: 1\r\n", "a")
    assert section.first("c") is None
    assert (section.count("a"), section.count("B"), section.count("c"), len(section)) == (2, 1, 0, 3)


def test_removed_fields_are_gone_and_the_others_keep_their_octets() -> None:
    section = HeaderSection.parse(
        b"Bcc: a\r\n b\r\nTo:  x\r\nZEGEL-Message-Expiration: delete P1D\r\nRESENT-BCC: c\r\n"
    )
    assert section.without(["bcc", "Resent-Bcc"]).encode() == b"To:  x\r\nZEGEL-Message-Expiration: delete P1D\r\n"
    assert section.without([]) == section


def test_new_fields_go_on_top_or_below_and_the_old_section_stays_as_it_was() -> None:
    section = HeaderSection.parse(b"To: x\r\n")
    assert section.prepend(b"Received: a\r\n\tb\r\n").encode() == b"Received: a\r\n\tb\r\nTo: x\r\n"
    assert section.append(b"Date: d\r\nMessage-ID: <a@b>\r\n").count("message-id") == 1
    assert section.encode() == b"To: x\r\n"


@pytest.mark.parametrize(
    "raw", [b"Date: d", b"\r\nBody", b"Date: d\r\n\r\nBody\r\n", b" folded\r\n", b"Date: a\nBcc: b\r\n"]
)
def test_what_is_no_field_cannot_be_put_in(raw: bytes) -> None:
    section = HeaderSection.parse(b"To: x\r\n")
    with pytest.raises(BrokenHeader):
        section.prepend(raw)
    with pytest.raises(BrokenHeader):
        section.append(raw)


# Finding the end


def read(octets: bytes, cuts: list[int], limit: int = fields.MAX_HEADER_SECTION) -> tuple[bytes, bytes] | None:
    """The section and all of the body, or None when the octets end before the empty line."""
    reader = HeaderReader(limit)
    places = sorted({min(cut, len(octets)) for cut in cuts} | {len(octets)})
    begin = 0
    for place in places:
        if (found := reader.feed(octets[begin:place])) is not None:
            return found[0], found[1] + octets[place:]
        begin = place
    reader.finish()
    return None


@given(
    st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"a:", b"x", b"\r\n\r\n"]), max_size=12).map(b"".join),
    st.lists(st.integers(0, 40), max_size=8),
    st.integers(0, 12),
)
def test_how_the_octets_are_cut_makes_no_difference_to_the_header(octets: bytes, cuts: list[int], limit: int) -> None:
    def outcome(at: list[int]) -> object:
        try:
            return read(octets, at, limit)
        except HeaderTooLong:
            return HeaderTooLong

    assert outcome(cuts) == outcome([]) == outcome(list(range(len(octets))))


def test_the_header_ends_at_the_first_empty_line_and_the_rest_is_body() -> None:
    assert read(ORDINARY + b"\r\nHello\r\n\r\nthere", []) == (ORDINARY, b"Hello\r\n\r\nthere")


def test_a_message_that_begins_with_an_empty_line_has_an_empty_header() -> None:
    assert read(b"\r\nHello", []) == (b"", b"Hello")
    assert read(b"\r\n\r\nHello", [1, 2, 3]) == (b"", b"\r\nHello")


def test_a_message_without_body_is_all_header() -> None:
    reader = HeaderReader()
    assert reader.feed(ORDINARY[:20]) is None
    assert reader.feed(ORDINARY[20:]) is None
    assert reader.finish() == ORDINARY


def test_a_header_of_exactly_the_limit_is_read_and_one_octet_more_is_not() -> None:
    section = b"A: " + b"x" * 95 + b"\r\n"
    assert read(section + b"\r\nbody", [], limit=100) == (section, b"body")
    with pytest.raises(HeaderTooLong):
        read(section + b"\r\nbody", [], limit=99)
    reader = HeaderReader(99)
    with pytest.raises(HeaderTooLong):  # before its end has come
        reader.feed(section + b"\r")


def test_a_header_too_long_without_end_is_refused_at_the_end_too() -> None:
    reader = HeaderReader(10)
    assert reader.feed(b"A: 1234\r\nBC"[:11]) is None
    with pytest.raises(HeaderTooLong):
        reader.finish()


def test_a_reader_is_for_one_header() -> None:
    reader = HeaderReader()
    assert reader.feed(b"A: b\r\n\r\n") == (b"A: b\r\n", b"")
    with pytest.raises(ValueError, match="has ended"):
        reader.feed(b"C: d\r\n\r\n")
    with pytest.raises(ValueError, match="has ended"):
        reader.finish()


# Text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        (b"caf\xc3\xa9", "café"),
        (b"caf\xe9 \xff", "caf\ufffd \ufffd"),
        (b"=?utf-8?Q?Caf=C3=A9?=", "Café"),
        (b"=?UTF-8?B?Q2Fmw6k=?=", "Café"),
        (b"=?utf-8?b?Q2Fmw6k?=", "Café"),
        (b"=?iso-8859-1*nl?Q?Caf=E9?= open", "Café open"),
        (b"=?utf-8?Q?a?= =?utf-8?Q?b?=", "ab"),
        (b"=?utf-8?Q?a?=\t \t=?iso-8859-1?Q?=E9?=", "aé"),
        (b"=?utf-8?Q?a?= b =?utf-8?Q?c?=", "a b c"),
        (b" =?utf-8?Q?a?= ", " a "),
        (b"=?utf-8?Q?=C3?= =?UTF-8?Q?=A9?=", "é"),
        (b"=?utf-8?B?8J+Y?= =?utf-8?B?gA==?=", "\U0001f600"),
        (b"=?utf-8?Q?under_score?=", "under score"),
        (b"=?utf-8?Q?Wat??=", "Wat?"),
        (b"=?x-nobody?Q?Caf=C3=A9?=", "Café"),
        (b"=?x-nobody?Q?Caf=E9?=", "Café"),
        (b"=?us-ascii?Q?Caf=E9?=", "Café"),
        (b"=?utf-8?Q?=E9?=", "\ufffd"),
        (b"=?utf-8?Q?a", "=?utf-8?Q?a"),
        (b"=?utf-8?X?a?=", "=?utf-8?X?a?="),
        (b"=?unicode_escape?Q?=5Cu0041?=", "\\u0041"),
        (b"=?zlib?B?eJw=?=", "xœ"),
        (b"=?utf-8?B?!!!?=", ""),
        (b"=?utf-8?Q?=4?= x", "=4 x"),
    ],
)
def test_encoded_words_are_read_as_they_were_meant(value: bytes, text: str) -> None:
    assert decode_words(value) == text


@pytest.mark.parametrize(
    "value",
    [
        b"a\r\nBcc: b",
        b"=?utf-8?Q?a=0D=0ABcc:_b?=",
        b"=?utf-8?B?YQ0KQmNjOiBi?=",
        b"a\0\x1b\x7fBcc: b",
        "a\u0085\u2028\u2029\u202e\u2066Bcc: b".encode(),
        b"=?utf-16le?B?YQAuIA==?=Bcc: b",
    ],
)
def test_no_control_character_and_nothing_that_reverses_text_survives(value: bytes) -> None:
    assert decode_words(value) == "aBcc: b"


WORDS = [b"=?", b"?Q?", b"?b?", b"?=", b"utf-8", b"hz", b" ", b"=C3", b"x", b"\xe9"]


@given(st.binary(max_size=200) | st.lists(st.sampled_from(WORDS)).map(b"".join))
def test_any_octets_give_clean_text(value: bytes) -> None:
    text = decode_words(value)
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text)
    text.encode("utf-8")


CHARSETS = [*fields._CODECS, None, "x-nobody", "idna", "base64", "\0", "../utf-8", "a" * 10_000]


@given(st.sampled_from(CHARSETS), st.binary(max_size=40))
def test_any_octets_in_any_charset_give_text_that_can_be_encoded(charset: str | None, octets: bytes) -> None:
    decode(octets, charset).encode("utf-8")


@pytest.mark.parametrize(
    ("octets", "charset", "text"),
    [
        ("prijs € 5".encode("cp1252"), "iso-8859-1", "prijs € 5"),
        (b"\x81", "iso-8859-1", "\x81"),
        ("é".encode(), "US-ASCII", "é"),
        (b"\xe9", "us-ascii", "é"),
        ("é".encode(), None, "é"),
        ("Привет".encode("koi8-r"), " KOI8-R ", "Привет"),
        ("日本".encode("iso-2022-jp"), "ISO-2022-JP", "日本"),
        ("中文".encode("gbk"), "gb2312", "中文"),
        (b"\xff", "utf-8", "\ufffd"),
    ],
)
def test_text_is_read_in_the_charset_that_was_meant(octets: bytes, charset: str | None, text: str) -> None:
    assert decode(octets, charset) == text


# The author


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"Subject: x\r\n",
        b"From: a@example.org\r\nFrom: a@example.org\r\n",
        b"From: a@example.org\r\nfrom: b@example.org\r\n",
    ],
)
def test_no_from_field_or_a_second_one_is_not_one_author(octets: bytes) -> None:
    with pytest.raises(NotOneAuthor, match=fields.ONE_FROM):
        author(HeaderSection.parse(octets))


@pytest.mark.parametrize(
    "value",
    [
        b"<a@example.org>, <c@example.org>",
        b"a@example.org, c@example.org",
        b"a@example.org; c@example.org",
        b'"Balie" <a@example.org>, c@example.org',
        b"a, b <c@example.org>",
        b"a@example.org,<c@example.org>",
    ],
)
def test_two_addresses_are_not_one_author(value: bytes) -> None:
    with pytest.raises(NotOneAuthor, match="more than one address"):
        author(from_field(value))


@pytest.mark.parametrize(
    "value", [b"Balies: a@example.org;", b"undisclosed:;", b"Balies: a@example.org, b@example.org;"]
)
def test_a_group_is_not_one_author(value: bytes) -> None:
    with pytest.raises(NotOneAuthor, match="names a group"):
        author(from_field(value))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"<>",
        b"Balie",
        b"Balie <>",
        b"()",
        b"Balie <balie>",
        b"balie@localhost",
        b"balie@[192.0.2.1]",
        b"balie@192.0.2.1",
        b"<@relay.test:a@example.org>",
        b"<@relay.test,@b.test:a@example.org>",
        b"<a@example.org",
        b"a@example.org>",
        b"<a@example.org>>",
        b"<<a@example.org>>",
        b"<a@example.org> <c@example.org>",
        b"<a@example.org> Balie",
        b"a@b@example.org",
        b"Balie a@example.org",
        b'"Balie <a@example.org>',
        b"(Balie <a@example.org>",
        b"Balie) <a@example.org>",
        b"a @example.org",
        b"a@ example.org",
        b"a(x)@example.org",
        b"a@(x)example.org",
        b"=?utf-8?Q?a?=@example.org",
        b"=?utf-8?Q?a=40example.org?=",
        b'"a@example.org"',
        b"caf\xe9@example.org",
        b"a@caf\xe9.test",
        b"<a@example.org\\>",
        b"a" * 65 + b"@example.org",
        b"<" + b"(" * 500 + b"a@example.org>",
    ],
)
def test_what_is_no_address_is_not_one_author(value: bytes) -> None:
    with pytest.raises(NotOneAuthor, match="is not an address"):
        author(from_field(value))


@pytest.mark.parametrize(
    "value",
    [
        b"admin@bank.test <a@example.org>",
        b"admin@bank.test (x) <a@example.org>",
        b"admin@bank.test> <a@example.org>",
        b"a@example.org (admin@bank.test)",
        b"(<admin@bank.test>) <a@example.org>",
        b"=?utf-8?Q?<admin@bank.test>,?= <a@example.org>",
        b"Balie\\ <a@example.org>",
    ],
)
def test_what_other_readers_could_take_for_another_author_is_refused(value: bytes) -> None:
    with pytest.raises(NotOneAuthor, match="more than one way"):
        author(from_field(value))


@pytest.mark.parametrize(
    ("value", "display", "mailbox"),
    [
        (b"a@example.org", "", "a@example.org"),
        (b"<a@example.org>", "", "a@example.org"),
        (b" \t<A@Example.ORG>", "", "a@example.org"),
        (b"Balie <a@example.org>", "Balie", "a@example.org"),
        (b"J. de Balie <a@example.org>", "J. de Balie", "a@example.org"),
        (b'"Balie, de" <a@example.org>', "Balie, de", "a@example.org"),
        (b'"a \\"b\\" \\\\ c"  d<a@example.org>', 'a "b" \\ c d', "a@example.org"),
        (b'"admin@bank.test" <a@example.org>', "admin@bank.test", "a@example.org"),
        (b'"<admin@bank.test>, x" <a@example.org>', "<admin@bank.test>, x", "a@example.org"),
        (
            b"=?utf-8?Q?admin=40bank.test_=3Cx=40bank.test=3E?= <a@example.org>",
            "admin@bank.test <x@bank.test>",
            "a@example.org",
        ),
        (b"=?utf-8?B?Q2Fmw6k=?= <a@example.org>", "Café", "a@example.org"),
        (b'"=?utf-8?B?Q2Fmw6k=?=" <a@example.org>', "Café", "a@example.org"),
        (b"a@example.org <a@example.org>", "a@example.org", "a@example.org"),
        (b"[Balie] <a@example.org>", "[Balie]", "a@example.org"),
        (b"a@example.org (Balie (de))", "Balie (de)", "a@example.org"),
        (b"a@example.org (Balie, de)", "Balie, de", "a@example.org"),
        (b"Balie (x) <a@example.org> (y)", "Balie", "a@example.org"),
        (b"caf\xc3\xa9 <a@example.org>", "café", "a@example.org"),
        ("balie@bücher.test".encode(), "", "balie@xn--bcher-kva.test"),
        ("bälie@example.org".encode(), "", "bälie@example.org"),
        (b'"a b"@example.org', "", '"a b"@example.org'),
        (b'Balie\r\n <"a@b"@example.org>', "Balie", '"a@b"@example.org'),
        (b", a@example.org,", "", "a@example.org"),
        (b'"\r\n a" <a@example.org>', "a", "a@example.org"),
    ],
)
def test_one_address_is_the_author_whatever_the_display_name_says(value: bytes, display: str, mailbox: str) -> None:
    assert author(from_field(value)) == Author(display, Mailbox.parse(mailbox))


# Lists of addresses


@pytest.mark.parametrize(
    ("value", "mailboxes"),
    [
        (b"", []),
        (b",,;,", []),
        (b"a@example.org", ["a@example.org"]),
        (
            b'A <a@example.org>, "B, b" <b@example.org>;c@example.org',
            ["a@example.org", "b@example.org", "c@example.org"],
        ),
        (
            b"Team: a@example.org, B <b@example.org>;, c@example.org",
            ["a@example.org", "b@example.org", "c@example.org"],
        ),
        (b"undisclosed-recipients:;", []),
        (b"broken, <a@example.org", []),
        (b"a@, b@example.org", ["b@example.org"]),
        (b"<a@example.org, b@example.org", ["b@example.org"]),
        (b'"open, b@example.org', ["b@example.org"]),
        (b"(open, b@example.org", ["b@example.org"]),
        (b"<@x.test,@y.test:a@example.org>, b@example.org", ["b@example.org"]),
        (b"x@y.test <a@example.org>", ["a@example.org"]),
        (b"=?utf-8?Q?Balie,_de?= <a@example.org>", ["a@example.org"]),
    ],
)
def test_a_list_gives_every_address_that_can_be_read(value: bytes, mailboxes: list[str]) -> None:
    assert [str(one.mailbox) for one in addresses(value)] == mailboxes


def test_names_in_a_list_are_decoded() -> None:
    assert [one.display for one in addresses(b"=?utf-8?Q?Caf=C3=A9?= <a@b.test>, c@d.test (Balie)")] == [
        "Café",
        "Balie",
    ]


PIECES = [b"a", b"@", b"b.test", b"<", b">", b",", b":", b";", b"(", b")", b'"', b"\\", b" ", b".", b"[", b"]"]
PIECES += [b"\xe9", b"\xc3\xa9", b"=?utf-8?Q?x?="]


@given(st.lists(st.sampled_from(PIECES), max_size=25).map(b"".join) | st.binary(max_size=50))
def test_any_value_is_a_list_of_addresses_and_one_author_or_none(value: bytes) -> None:
    addresses(value)
    clean = value.translate(None, b"\r\n\0")
    try:
        one = author(from_field(clean))
    except NotOneAuthor:
        return
    assert addresses(clean) == (one,)


@pytest.mark.parametrize(
    "piece", [b"(", b'"\\', b'\\"', b"[", b"<", b"<@", b"a@b.test,", b"=?a?q?", b"=?a?q? ", b"(\\", b":", b'("']
)
def test_a_value_of_the_greatest_length_is_read_in_one_pass(piece: bytes) -> None:
    value = piece * (fields.MAX_HEADER_SECTION // len(piece))
    addresses(value)
    decode_words(value)


# Message-ID


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"Message-ID:\r\n",
        b"Message-ID: a@b\r\n",
        b"Message-ID: <a>\r\n",
        b"Message-ID: <@b>\r\n",
        b"Message-ID: <a@b@c>\r\n",
        b"Message-ID: <a b@c>\r\n",
        b"Message-ID: <a@b> x\r\n",
        b"Message-ID: <a@b><c@d>\r\n",
        b"Message-ID: <\xff@b>\r\n",
        b"Message-ID: <a@b>\r\nmessage-id: <a@b>\r\n",
    ],
)
def test_what_is_not_one_well_formed_message_id_is_none(octets: bytes) -> None:
    assert message_id(HeaderSection.parse(octets)) is None


def test_a_message_id_keeps_its_brackets() -> None:
    assert message_id(HeaderSection.parse(b"message-id:\r\n <a+1=$b@c.example.org>\r\n")) == "<a+1=$b@c.example.org>"
    assert message_id(HeaderSection.parse("Message-ID: <é@[x]>\r\n".encode())) == "<é@[x]>"


# The short way of reading an address list, beside the long one

_WORDS = st.sampled_from(
    [
        "Balie",
        "Jan de Boer",
        '"Boer, Jan"',
        '"x"',
        "=?utf-8?q?x?=",
        "(c)",
        "jan@a.test",
        '"a\\"b"',
        "a.b",
        "é",
        "",
        "-",
        "a=b",
    ]
)
_ADDRESS = st.sampled_from(
    ["jan@a.test", "JAN@A.test", "a.b+c@x-y.test", "a..b@x.test", "jan@a", '"a b"@x.test', "jan@bücher.test", "@x.test"]
)
_SPACE = st.sampled_from(["", " ", "  ", "\t"])


@given(_SPACE, _WORDS, _SPACE, _ADDRESS, st.booleans(), _SPACE)
def test_the_short_way_reads_an_address_as_the_long_one_does(
    before: str, words: str, between: str, address: str, in_brackets: bool, after: str
) -> None:
    text = f"{before}{words}{between}{f'<{address}>' if in_brackets else address}{after}"
    simple = fields._simple(text)
    if simple is None:
        return
    assert fields._author_of(text.strip()) == simple
    assert fields._mailboxes_of(text) == (simple,)


def test_the_short_way_is_the_usual_one() -> None:
    for text in ("jan@a.test", "<jan@a.test>", "Jan de Boer <jan@a.test>", '"Boer, Jan" <jan@a.test>'):
        assert fields._simple(text) is not None
