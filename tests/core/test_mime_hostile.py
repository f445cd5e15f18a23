"""Content that means harm: deep, wide, broken, endless. It is read in time and memory that its length bounds.

Time is never measured. :func:`steps` counts lines and calls, which no busy machine changes; what a single call of C
may waste, such as a regular expression that begins again and again, shows in a process of its own that would not end.
"""

from __future__ import annotations

import base64
import gc
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.promises import address, content, in_pieces_of
from fuzz.seeds import SEEDS
from tests.architecture import source
from zegel.core.mail import mime
from zegel.core.mail.fields import (
    MAX_HEADER_SECTION,
    BrokenHeader,
    HeaderReader,
    HeaderSection,
    HeaderTooLong,
    NotOneAuthor,
    addresses,
    author,
    decode_words,
    message_id,
)
from zegel.core.mail.mime import MimeIndexer, Part, decoder, select
from zegel.core.mail.trace import carries_own_marker, received_count
from zegel.core.policy.conversation import fields_for_identity
from zegel.core.policy.directives import MalformedField, read_directives
from zegel.core.secret import Secret
from zegel.core.smtp.lines import DotStuffed

FROM: Final = b"From: Balie <balie@voorbeeld.test>\r\n"
KEY: Final = Secret(bytes(32))
TraceFunction = Callable[[FrameType, str, Any], Any]


def steps(work: Callable[[], object]) -> int:
    """How many lines of Python it goes through, each time round a loop included, and how many calls of C it makes."""
    count = 0

    def lines(_: FrameType, event: str, __: Any) -> TraceFunction:
        nonlocal count
        count += event == "line"
        return lines

    def calls(_: FrameType, event: str, __: Any) -> None:
        nonlocal count
        count += event == "c_call"

    before = sys.gettrace(), sys.getprofile()
    gc.disable()  # whose callbacks are not ours
    sys.settrace(lines)
    sys.setprofile(calls)
    try:
        work()
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
        gc.enable()
    return count


def growth(work: Callable[[int], object], size: int) -> tuple[int, int]:
    """The steps for so many octets, and for twice as many."""
    return steps(lambda: work(size)), steps(lambda: work(2 * size))


def much(piece: bytes, size: int) -> bytes:
    """That many octets of it, rounded up to whole pieces."""
    return piece * -(-size // len(piece))


def mixed(boundary: bytes = b"b") -> bytes:
    return FROM + b"Content-Type: multipart/mixed; boundary=" + boundary + b"\r\n\r\n"


def index(message: bytes, size: int | None = None) -> tuple[Part, ...]:
    """As arrival does: the header section, then the body in pieces of that size."""
    header, _, body = message.partition(b"\r\n\r\n")
    indexer = MimeIndexer(header + b"\r\n", len(header) + 4)
    for piece in in_pieces_of(size)(body) if size else [body]:
        indexer.feed(piece)
    return indexer.finish()


def octets_of(message: bytes, part: Part) -> bytes:
    return message[part.offset : part.offset + part.length]


# Deep, wide, and full of almost-boundaries


def nested(levels: int) -> bytes:
    """Multiparts inside each other, every boundary but the outermost the beginning of the next one."""
    opening = b"".join(
        b"--b%b\r\nContent-Type: multipart/mixed; boundary=b%b\r\n\r\n" % (b"x" * level, b"x" * (level + 1))
        for level in range(levels)
    )
    return mixed() + opening + b"".join(b"\r\n--b%b--" % (b"x" * level) for level in range(levels, -1, -1))


def deep(levels: int) -> bytes:
    opening = b"".join(
        b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (level, level + 1) for level in range(levels)
    )
    return mixed(b"b0") + opening + b"\r\ninhoud\r\n"


DEEP_AND_WIDE: Final = {
    "500 levels": deep(500),
    "10 000 levels": deep(10_000),
    "49 levels whose boundaries begin each other": nested(49),
    "300 levels whose boundaries begin each other": nested(300),
    "5 000 parts": mixed() + much(b"--b\r\n\r\nx\r\n", 50_000) + b"--b--\r\n",
    "5 000 attachments that all have one name": mixed()
    + b"--b\r\nContent-Disposition: attachment; filename=x\r\n\r\nx\r\n" * 5_000
    + b"--b--\r\n",
    "100 000 lines that are almost boundaries": mixed(b"bb") + b"--b\r\n--bbb\r\n--bb-\r\n-bb\r\n --bb\r\n" * 20_000,
    "100 000 dashes": mixed() + b"\r\n--" * 100_000,
    "100 000 closing boundaries": mixed() + b"--b--\r\n" * 100_000,
    "a line of 100 000 blanks behind a boundary": mixed() + b"--b" + b" " * 100_000 + b"\r\n--b--",
    "a part header of 50 000 fields": mixed() + b"--b\r\n" + b"a:\r\n" * 50_000 + b"\r\nx\r\n--b--",
    "a part header of one endless line": mixed() + b"--b\r\nContent-Type: " + b"x" * 300_000,
    "a container in each epilogue": mixed()
    + b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n" * 2_000,
    "the same boundary at each level": mixed()
    + b"--b\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n" * 3_000,
}


@pytest.mark.parametrize("name", DEEP_AND_WIDE)
def test_whatever_is_deep_or_wide_is_read_like_any_other(name: str) -> None:
    """Every promise: parts in their containers, sizes right, each leaf shown once and saved under a name, however the
    octets are cut."""
    content(b"\xff" + DEEP_AND_WIDE[name])


BOUNDARIES: Final = (b"b", b"bb", b"b-", b"b--", b"bbb", b"-", b"--", b"b b", b"bb--")
Tree = list["Tree"] | bytes
texts = st.lists(
    st.sampled_from([*(b"--" + one for one in BOUNDARIES), b"x", b"", b"--b---", b"--bbbb"]), max_size=4
).map(b"\r\n".join)
trees: st.SearchStrategy[Tree] = st.recursive(
    texts, lambda inside: st.lists(inside, min_size=1, max_size=3), max_leaves=8
)


def written(tree: Tree, boundaries: Sequence[bytes], open_ones: frozenset[bytes]) -> bytes:
    """A part as a careful sender writes it: no line of a leaf is a delimiter of what it is in (RFC 2046 §5.1.1)."""
    if isinstance(tree, bytes):
        delimiters = {b"--" + one for one in open_ones} | {b"--" + one + b"--" for one in open_ones}
        lines = [line if line.rstrip() not in delimiters else b"x" + line for line in tree.split(b"\r\n")]
        return b"\r\n" + b"\r\n".join(lines)
    mine, *rest = boundaries
    inside = [written(one, rest, open_ones | {mine}) for one in tree]
    return b"".join(
        [
            b'Content-Type: multipart/mixed; boundary="' + mine + b'"\r\n\r\n',
            *(b"--" + mine + b"\r\n" + one + b"\r\n" for one in inside),
            b"--" + mine + b"--",
        ]
    )


def leaves(tree: Tree, path: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    if isinstance(tree, bytes):
        yield path
    else:
        for number, one in enumerate(tree):
            yield from leaves(one, (*path, number))


def depth(tree: Tree) -> int:
    return 0 if isinstance(tree, bytes) else 1 + max(map(depth, tree))


def unambiguous(boundaries: Sequence[bytes]) -> bool:
    """No line can both close one of them and open another."""
    return not {one + b"--" for one in boundaries} & set(boundaries)


@settings(max_examples=300)
@given(trees, st.permutations(BOUNDARIES), st.integers(1, 40))
def test_boundaries_that_begin_each_other_divide_a_message_as_it_was_written(
    tree: Tree, boundaries: list[bytes], size: int
) -> None:
    used = boundaries[: depth(tree)]
    if depth(tree) > len(boundaries) or not unambiguous(used):
        return
    message = FROM + written(tree, used, frozenset())
    parts = index(message, size)
    assert [part.path for part in parts if not part.is_container] == list(leaves(tree))
    for part in parts:
        if not part.is_container and part.path:
            assert b"\r\n" + octets_of(message, part) in message
            assert octets_of(message, part).count(b"\r\n") == _leaf(tree, part.path).count(b"\r\n")


def _leaf(tree: Tree, path: tuple[int, ...]) -> bytes:
    for number in path:
        assert not isinstance(tree, bytes)
        tree = tree[number]
    assert isinstance(tree, bytes)
    return tree


def test_a_hundred_thousand_almost_boundaries_are_the_content_of_one_part() -> None:
    body = b"--b\r\n--bbb\r\n--bb-\r\n-bb\r\n --bb\r\n" * 20_000
    message = mixed(b"bb") + b"--bb\r\n\r\n" + body + b"--bb--\r\n"
    _, leaf = index(message, 1000)
    assert octets_of(message, leaf) == body[:-2]


@pytest.mark.parametrize(
    "inner",
    [
        b"--c\r\nX: y\r\n",  # cut off in its header
        b"--c\r\n",  # before its header
        b"--c\r\n\r\n",  # behind its header
        b"--c\r\nContent-Type: multipart/mixed; boundary=d\r\n\r\n",
        b"--c\r\nContent-Type: multipart/mixed; boundary=d\r\n\r\n--d\r\n\r\n",
        b"",
    ],
)
def test_a_part_that_an_outer_boundary_cuts_short_does_not_reach_beyond_its_container(inner: bytes) -> None:
    """Found by fuzzing: the CRLF before a boundary belongs to it, and was inside the empty part nevertheless."""
    message = (
        mixed() + b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n" + inner + b"--b\r\n\r\nx\r\n--b--\r\n"
    )
    content(b"\xff" + message)
    content(b"\xff" + message.replace(b"--b--\r\n", b""))
    by_path = {part.path: part for part in index(message)}
    assert octets_of(message, by_path[1,]) == b"x"
    assert all(part.length == 0 for part in by_path.values() if len(part.path) > 1 and not part.is_container)


# Encodings, charsets, parameters


RICH: Final = (
    FROM
    + b'To: =?utf-8?Q?=C3=A9?= <a@b.test>, groep: (x (y)) "c d"@e.test;\r\nSubject: =?utf-8?B?4oKs?= =?x?y?z?=\r\n'
    + b'Content-Type: multipart/mixed; boundary*0=b; boundary*1="c"\r\n\r\npreamble\r\n'
    + b"--bc\r\nContent-Type: text/html; charset=iso-2022-jp\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    + b"=1B$B=\r\n= \r\n=C3\r\n--bc\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n"
    + b"--b\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename*0*=utf-8''%e2%82;"
    + b" filename*1*=%ac.txt\r\n\r\nQUJD=\r\nREVG\r\n--b--\r\nepilogue\r\n--bc\r\n\xff: \0\r\n\r\n\xed\xa0\x80\r\n"
    + b"--bc--\r\n"
)


def test_content_may_end_anywhere() -> None:
    for end in range(len(RICH) + 1):
        content(b"\7" + RICH[:end])


@pytest.mark.parametrize("octet", range(256), ids=lambda octet: f"{octet:02x}")
def test_any_octet_may_stand_anywhere_in_a_message(octet: int) -> None:
    """In place of one that is there, and beside it: NUL, eight bits, and what means something."""
    for at in range(octet % 23, len(RICH), 23):
        content(b"\x1f" + RICH[:at] + bytes([octet]) + RICH[at + 1 :])
        content(b"\x1f" + RICH[:at] + bytes([octet]) + RICH[at:])


ENCODINGS: Final = (
    b"base64",
    b"quoted-printable",
    b"8bit",
    b"binary",
    b"x-uuencode",
    b"BASE64 (x)",
    b"=?q?",
    b"\xff",
    b"",
)
CHARSETS: Final = (
    *(b"utf-8", b"utf-7", b"utf-16", b"utf-32", b"iso-2022-kr", b"hz", b"gb18030", b"idna", b"punycode", b"mbcs"),
    *(b"unicode_escape", b"rot13", b"zlib", b"base64", b"undefined", b"..", b"", b"\xff"),
)


@settings(max_examples=300)
@given(st.sampled_from(ENCODINGS), st.sampled_from(CHARSETS), st.sampled_from(CHARSETS), st.binary(max_size=120))
def test_any_encoding_in_any_charset_is_read(encoding: bytes, charset: bytes, other: bytes, octets: bytes) -> None:
    """Also in names and subjects; an unknown charset is never looked up (some of Python's run for ever, or unpack)."""
    word = b"=?" + charset + b"?B?" + base64.b64encode(octets) + b"?="
    fields = b"Subject: " + word + b" " + word + b"\r\nContent-Transfer-Encoding: " + encoding + b"\r\n"
    name = b"; name*=" + other + b"''" + b"".join(b"%%%02x" % octet for octet in octets) + b"\r\n"
    content(b"\x0f" + FROM + fields + b"Content-Type: text/plain; charset=" + charset + name + b"\r\n" + octets)


@pytest.mark.parametrize(
    "value",
    [
        b'a/b; name="' + b"=?utf-8?Q?" + b"=41" * 20_000 + b'?="',
        b'a/b; name="' + b"=?utf-8?B?QUFB?= " * 3_500 + b'"',
        b"a/b" + b"".join(b"; name*%d*=%%41%%41" % number for number in range(3_000)),
        b"a/b; name*=utf-8''" + b"%41" * 20_000,
        b"a/b; name*=utf-8'" + b"x" * 60_000,
        b"a/b" + b"; name=x" * 7_000,
        b"a/b; name=" + b'"' * 60_000,
        b"a/b; name=" + b"\\" * 60_000,
    ],
    ids=lambda value: repr(value[:30]),
)
def test_a_name_that_was_blown_up_is_as_short_as_any(value: bytes) -> None:
    """RFC 2047 and RFC 2231 let a few octets stand for many, and many for one name."""
    message = mixed() + b"--b\r\nContent-Type: " + value + b"\r\n\r\nx\r\n--b--"
    _, part = index(message)
    assert part.name is None or len(part.name) <= mime.MAX_NAME
    assert octets_of(message, part) == b"x"


def test_text_grows_no_more_than_its_octets() -> None:
    for word in (b"=?iso-2022-jp?B?GyRC?= ", b"=?utf-16?B?AAA=?= ", b"=?hz?Q?~{!!~}?= ", b"=?gb18030?Q?=81=30?=x"):
        value = much(word, 50_000)
        assert len(decode_words(value)) <= len(value)


# Header sections


def test_a_field_name_has_the_octets_that_it_may_have_and_no_others() -> None:
    """RFC 5322 §2.2: printable ASCII without the colon, in every place of the name."""
    for octet in range(256):
        for name in (b"%c", b"%cx", b"x%c", b"x%cy"):
            raw = name % octet + b": z\r\n"
            if 33 <= octet <= 126 and octet != ord(":"):
                assert [one.name.encode() for one in HeaderSection.parse(raw)] == [name % octet]
            elif octet == ord(":") and name.startswith(b"x"):
                assert [one.name for one in HeaderSection.parse(raw)] == ["x"]
            else:
                with pytest.raises(BrokenHeader):
                    HeaderSection.parse(raw)


def test_one_line_of_the_greatest_size_and_as_many_fields_as_fit_are_read() -> None:
    for section in (
        FROM + b"X: " + b"x" * (MAX_HEADER_SECTION - len(FROM) - 5) + b"\r\n",
        FROM + b"a:\r\n" * ((MAX_HEADER_SECTION - len(FROM)) // 4),
        FROM + b"X:" + b"\r\n x" * ((MAX_HEADER_SECTION - len(FROM) - 4) // 4) + b"\r\n",
    ):
        assert MAX_HEADER_SECTION - 4 < len(section) <= MAX_HEADER_SECTION
        reader = HeaderReader()
        found = [got for piece in in_pieces_of(4096)(section + b"\r\n") if (got := reader.feed(piece)) is not None]
        assert found == [(section, b"")]
        parsed = HeaderSection.parse(section)
        assert parsed.encode() == section
        assert author(parsed).mailbox.local == "balie"


@pytest.mark.parametrize("piece", [b"x", b"a:\r\n", b" x\r\n", b"\r", b"\n", b"\0", b":"])
def test_a_header_section_without_an_end_is_given_up_at_its_limit(piece: bytes) -> None:
    reader, held = HeaderReader(), 0
    reader.feed(FROM)
    with pytest.raises(HeaderTooLong):
        for _ in range(3 * MAX_HEADER_SECTION // 1000):
            reader.feed(much(piece, 1000))
            held += 1000
    assert held <= MAX_HEADER_SECTION + 2000


def test_comments_a_hundred_thousand_deep_are_one_comment() -> None:
    deep, shallow = (b"(" * depth + b")" * depth for depth in (100_000, 4_000))
    for before, after in (
        (b"", b" balie@voorbeeld.test"),
        (b"balie@voorbeeld.test ", b""),
        (b"Balie ", b"<balie@voorbeeld.test>"),
    ):
        assert [str(one.mailbox) for one in addresses(before + deep + after)] == ["balie@voorbeeld.test"]
        allowed = HeaderSection.parse(b"From: " + before + shallow + after + b"\r\n")
        assert author(allowed).mailbox.local == "balie"
        with pytest.raises(NotOneAuthor, match="too long"):
            author(HeaderSection.parse(b"From: " + before + deep + after + b"\r\n"))
    comment = deep
    for value in (b"(" * 100_000 + b"balie@voorbeeld.test", b"balie@voorbeeld.test" + b")" * 100_000, comment):
        with pytest.raises(NotOneAuthor):
            author(HeaderSection.parse(b"From: " + value + b"\r\n"))


def test_a_list_of_fifty_thousand_addresses_has_fifty_thousand() -> None:
    value = b",".join(b"%d@b.test" % number for number in range(50_000))
    found = addresses(value)
    assert [one.mailbox.local for one in found] == [str(number) for number in range(50_000)]
    with pytest.raises(NotOneAuthor):
        author(HeaderSection.parse(b"From: " + value + b"\r\n"))


# Work


def _section(name: str) -> Callable[[bytes], bytes]:
    return lambda value: FROM + name.encode() + b": " + value + b"\r\n"


def _as_directive(name: str) -> Callable[[bytes], object]:
    def read(value: bytes) -> object:
        try:
            return read_directives([("zivver-" + name, value)])
        except MalformedField as refused:
            return refused

    return read


def _as_author(value: bytes) -> object:
    try:
        return author(HeaderSection.parse(b"From: " + value.replace(b"\r", b"").replace(b"\n", b"") + b"\r\n"))
    except NotOneAuthor as refused:
        return refused


def _as_type(value: bytes) -> object:
    return MimeIndexer(b"Content-Type: multipart/mixed" + value + b"\r\nContent-Disposition: a" + value + b"\r\n", 0)


READERS: Final[dict[str, Callable[[bytes], object]]] = {
    "addresses": addresses,
    "author": _as_author,
    "words": decode_words,
    "Message-ID": lambda value: message_id(HeaderSection.parse(_section("Message-ID")(value.translate(None, b"\r\n")))),
    "parameters": _as_type,
    "access-right": _as_directive("access-right"),
    "access-right by sms": lambda value: _as_directive("access-right")(b"a@b.test sms " + value),
    "direct-delivery": _as_directive("direct-delivery"),
    "minimum-recipient-verification": _as_directive("minimum-recipient-verification"),
    "message-expiration": lambda value: _as_directive("message-expiration")(b"delete " + value),
    "identity": lambda value: fields_for_identity([("subject", value)]),
}
PIECES: Final = (
    *(
        b"(",
        b")",
        b"()",
        b"(()",
        b"(\\",
        b'"',
        b'"\\',
        b'\\"',
        b'"" ',
        b'("',
        b"[",
        b"<",
        b"<@",
        b"<@a,",
        b">",
        b"@",
        b",",
        b";",
    ),
    *(
        b":",
        b".",
        b". ",
        b"a",
        b"a ",
        b" a",
        b" ",
        b"\t",
        b"\r\n ",
        b"a,",
        b"a@b.t,",
        b"g:a@b.t;",
        b'"a"<a@b.t>,',
        b"\xff",
    ),
    *(
        b"=",
        b"=?",
        b"?=",
        b"=?a?q?",
        b"=?a?q? ",
        b"=?a?q?b?=",
        b"=?a?q?b?= ",
        b"=?utf-8?B?QUJD?=",
        b"=?" + b"a" * 75 + b"?q?",
    ),
    *(
        b";a=b",
        b";a*0=%41",
        b"(;",
        b'a="\\"',
        b"%41",
        b"=;",
        b"tls ",
        b"a@b.test sms ",
        b"P1D",
        b"<a@",
        b"\xe3\x80\x80",
    ),
)


@pytest.mark.parametrize("name", READERS)
def test_what_stands_in_a_field_costs_as_much_as_it_is_long(name: str) -> None:
    read = READERS[name]
    for piece in PIECES:
        once, twice = growth(lambda size, piece=piece: read(much(piece, size)), 2_000)  # type: ignore[misc]
        assert twice <= 2.2 * once + 300, piece
        assert twice <= 60 * 4_000, piece


def _as_section(octets: bytes) -> object:
    """As far as arrival reads a header section."""
    section = HeaderSection.parse(FROM + octets)
    written = [(one.key, one.value) for one in section]
    try:
        read_directives(written)
        author(section)
    except (MalformedField, NotOneAuthor):
        pass
    return received_count(section), fields_for_identity(written), section.without({"bcc"})


FIELDS: Final = (
    *(
        b"a:\r\n",
        b"From: a@b.test\r\n",
        b"To: a@b.test\r\n",
        b"Subject: x\r\n",
        b"Received: x\r\n",
        b"Message-ID: <a@b>\r\n",
    ),
    *(
        b"Date: x\r\n",
        b"Bcc: x\r\n",
        b"zegel-access-right: a@b.test access-code 1234\r\n",
        b"zegel-direct-delivery: x\r\n",
    ),
    *(
        b"X-Zegel-Transport: v1 a b\r\n",
        b"Content-Type: a/b\r\n",
        b"DKIM-Signature: x\r\n",
        b"ARC-Seal: x\r\n",
        b"x: y\r\n z\r\n",
    ),
)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: repr(field[:24]))
def test_many_fields_cost_as_much_as_they_are_long(field: bytes) -> None:
    once, twice = growth(lambda size: _as_section(much(field, size)), 6_000)
    assert twice <= 2.2 * once + 300
    assert twice <= 60 * 12_000


def test_many_markers_cost_as_much_as_they_are_long() -> None:
    def read(size: int) -> object:
        return carries_own_marker(HeaderSection.parse(FROM + much(b"X-Zegel-Transport: v1 a b\r\n", size)), KEY)

    once, twice = growth(read, 6_000)
    assert twice <= 2.2 * once + 300


def test_domains_with_endless_dots_are_not_remembered() -> None:
    def read(number: int) -> None:
        value = b"a@b%d.test%b access-code 1234" % (number, b"." * 200_000)
        with suppress(MalformedField):
            read_directives([("zegel-access-right", value)])

    read(0)
    tracemalloc.start()
    try:
        for number in range(1, 40):
            read(number)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000


BODIES: Final = (
    *(
        b"\r\n--",
        b"\r\n--b",
        b"\r\n--b\r\n",
        b"\r\n--b--",
        b"--b\r\n\r\n",
        b"\r\n--b ",
        b"\r\n--bb\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b"-",
    ),
    *(b"--", b" ", b"=", b"=\r\n", b"= ", b"a", b"a:\r\n", b"\r\n--b" + b" " * 990, b"\r\n--b" + b" " * 994 + b"\r\n"),
    *(
        b"\r\n--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n",
        b"\r\n--b\r\na\r\n",
        b"\r\n--b\r\n a:b\r\n",
        b"\r\n--b\r\n:",
    ),
    b"\r\n--b\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n",
    b"\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n====",
    b"\r\n--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=\r\n= =",
    b"\r\n--b\r\nContent-Disposition: a; filename=" + b"=?a?q?b?=" * 20 + b"\r\n\r\n",
)


@pytest.mark.parametrize("size", [None, 64, 1])
@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:30]))
def test_a_body_costs_as_much_as_it_is_long_however_it_is_cut(body: bytes, size: int | None) -> None:
    once, twice = growth(lambda length: index(mixed() + much(body, length), size), 4_000)
    assert twice <= 2.2 * once + 500
    assert twice <= 100 * 8_000


def test_attachments_that_take_each_others_names_cost_as_much_as_there_are() -> None:
    """Unnamed ones get a number; who takes all the numbers makes each of them search."""

    def parts(number: int) -> bytes:
        named = b"".join(
            b"--b\r\nContent-Disposition: attachment; filename=bijlage-%d\r\n\r\nx\r\n" % (number + one)
            for one in range(1, number + 1)
        )
        return mixed() + named + b"--b\r\nContent-Type: x/y\r\n\r\nx\r\n" * number + b"--b--"

    few, many = index(parts(200)), index(parts(400))
    once, twice = steps(lambda: select(few)), steps(lambda: select(many))
    assert twice <= 2.2 * once + 300
    names = [part.name for part in select(many).attachments]
    assert len(names) == len(set(names)) == 800


def test_nothing_in_a_field_or_body_can_hold_up_a_single_call() -> None:
    """A call of C does not show in the count of calls. The largest input that may come, wherever little is called: a
    regular expression that begins again at every octet would need minutes for it. The limit guards against a hang and
    measures nothing."""
    subprocess.run([sys.executable, "-m", __name__], cwd=source.ROOT, check=True, timeout=300)


def _without_a_hold_up() -> None:
    for piece in PIECES:
        for read in READERS.values():
            if steps(lambda read=read, piece=piece: read(much(piece, 600))) < 100:  # type: ignore[misc]
                read(much(piece, MAX_HEADER_SECTION))
    for body in BODIES:
        for size in (None, 4096):
            index(mixed() + much(body, MAX_HEADER_SECTION), size)


# Memory


PIECE: Final = 65_536
STREAM: Final = 50 * 1024 * 1024
BOUND: Final = 4 * 1024 * 1024  # octets at most, while STREAM of them go by


def peak(stream: Callable[[Iterator[bytes]], object], piece: bytes, *, before: bytes = b"") -> int:
    """How much more memory there was in use, at most, while so much of this went by."""
    one = much(piece, PIECE)

    def pieces() -> Iterator[bytes]:
        yield before
        for _ in range(STREAM // len(one)):
            yield one

    tracemalloc.start()
    try:
        begin = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        stream(pieces())
        return tracemalloc.get_traced_memory()[1] - begin
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        b"\r\n--b\r\n\r\n",
        b"\r\n--b" + b" " * 994 + b"\r\n",
        b"--b\r\nX: " + b"x" * 60_000 + b"\r\n",
        b"\r\n--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n",
        b"\r\n--b\r\nContent-Disposition: attachment; filename=" + b"n" * 200 + b"\r\n\r\n",
    ],
    ids=lambda body: repr(body[:30]),
)
def test_the_index_of_fifty_megabytes_stands_in_four(body: bytes) -> None:
    def read(pieces: Iterator[bytes]) -> None:
        indexer = MimeIndexer(mixed(), 0)
        for piece in pieces:
            indexer.feed(piece)
        assert len(indexer.finish()) <= mime.MAX_PARTS

    assert peak(read, body) < BOUND


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "unknown"])
@pytest.mark.parametrize(
    "octets", [b"QUJD\r\n", b"=\r\n" + b"x" * 60, b"= \xff" + b"x" * 60], ids=lambda octets: repr(octets[:5])
)
def test_decoding_fifty_megabytes_takes_no_more_than_a_few_pieces(encoding: str, octets: bytes) -> None:
    def read(pieces: Iterator[bytes]) -> None:
        machine = decoder(encoding)
        for piece in pieces:
            machine.feed(piece)
        machine.finish()

    assert peak(read, octets) < BOUND


@pytest.mark.parametrize("octets", [b"\r\n..\r\n", b"\r\n.x", b"x", b"\r", b"\0"], ids=repr)
def test_taking_fifty_megabytes_behind_data_takes_no_more_than_a_few_pieces(octets: bytes) -> None:
    def read(pieces: Iterator[bytes]) -> None:
        framing = DotStuffed()
        for piece in pieces:
            assert framing.feed(piece)[1] is None

    assert peak(read, octets) < BOUND


# Seeds


@pytest.mark.parametrize(("target", "promise"), [("content", content), ("address", address)])
def test_every_seed_keeps_every_promise(target: str, promise: Callable[[bytes], None]) -> None:
    """What fuzzing begins with, and what it found."""
    for seed in SEEDS[target]:
        promise(seed)


def test_a_promise_can_be_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that forgets what it held at the end of a piece depends on the pieces."""

    def forgetful(self: MimeIndexer, octets: bytes) -> None:
        self._held, self._position = octets, self._position + len(self._held)
        self._read(last=False)

    monkeypatch.setattr(MimeIndexer, "feed", forgetful)
    with pytest.raises(AssertionError, match="depends on how the body is cut"):
        content(b"\2" + mixed() + b"--b\r\n\r\nx\r\n--b--\r\n")


if __name__ == "__main__":
    _without_a_hold_up()
