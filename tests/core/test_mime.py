"""The index over a body: where parts lie, however broken the mail and however it is cut."""

from __future__ import annotations

import base64
import binascii
import email
import email.policy
from email.message import EmailMessage, Message

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from zegel.core.mail import mime
from zegel.core.mail.mime import MimeIndexer, Part, as_text, decoder, select

MIXED = b"Content-Type: multipart/mixed; boundary=b\r\n"


def index(header: bytes, body: bytes, cuts: list[int] | None = None) -> tuple[Part, ...]:
    indexer = MimeIndexer(header, len(header) + 2)
    begin = 0
    for place in [*sorted({min(cut, len(body)) for cut in cuts or []}), len(body)]:
        indexer.feed(body[begin:place])
        begin = place
    return indexer.finish()


def content(header: bytes, body: bytes, part: Part) -> bytes:
    """The part's octets, found in the message by its range."""
    return (header + b"\r\n" + body)[part.offset : part.offset + part.length]


def contents(header: bytes, body: bytes) -> dict[tuple[int, ...], bytes]:
    """The octets of every leaf."""
    return {part.path: content(header, body, part) for part in index(header, body) if not part.is_container}


def decoded(encoding: str, octets: bytes, cuts: list[int] | None = None) -> bytes:
    machine = decoder(encoding)
    begin, pieces = 0, []
    for place in [*sorted({min(cut, len(octets)) for cut in cuts or []}), len(octets)]:
        pieces.append(machine.feed(octets[begin:place]))
        begin = place
    return b"".join([*pieces, machine.finish()])


def part_with(*fields: bytes, body: bytes = b"x") -> Part:
    """The only child of a multipart, with these fields."""
    header = b"".join(field + b"\r\n" for field in fields)
    parts = index(MIXED, b"--b\r\n" + header + b"\r\n" + body + b"\r\n--b--\r\n")
    assert len(parts) == 2
    return parts[1]


# Boundaries


@pytest.mark.parametrize(
    ("body", "leaves"),
    [
        # No delimiter at all: the multipart is text.
        (b"", {(): b""}),
        (b"hello\r\n", {(): b"hello\r\n"}),
        (b"--bb\r\n\r\nhello\r\n", {(): b"--bb\r\n\r\nhello\r\n"}),
        (b"-", {(): b"-"}),
        (b"--", {(): b"--"}),
        (b"\r", {(): b"\r"}),
        # The last one, or every other thing, is missing.
        (b"--b", {(0,): b""}),
        (b"--b\r\n", {(0,): b""}),
        (b"--b\r\n\r\n", {(0,): b""}),
        (b"--b\r\n\r\nhello\r\n", {(0,): b"hello\r\n"}),
        (b"--b\r\n\r\nhello\r\n--b--", {(0,): b"hello"}),
        (b"--b--", {}),
        (b"--b--\r\nhello", {}),
        (b"--b\r\nX: y", {(0,): b""}),
        (b"--b\r\nX: y\r\n", {(0,): b""}),
        (b"--b\r\nX: y\r\n--b--\r\n", {(0,): b""}),
        (b"--b\r\nX: y\r\n\r\n--b--\r\n", {(0,): b""}),
        (b"--b\r\nhello", {(0,): b"hello"}),
        (b"--b\r\nhello\r\n--b--", {(0,): b"hello"}),
        (b"--b\r\nX: y\r\nhello\r\n--b--", {(0,): b"hello"}),
        (b"--b\r\n--x\r\n--b--", {(0,): b"--x"}),
        # Preamble and epilogue are nobody's content.
        (b"pre\r\n--b\r\n\r\nhello\r\n--b--\r\nepi\r\n--b\r\n\r\nmore", {(0,): b"hello"}),
        # The CRLF before a delimiter belongs to it, and no other does.
        (b"--b\r\n\r\nhello\r\n\r\n\r\n--b--", {(0,): b"hello\r\n\r\n"}),
        (b"--b\r\n\r\n\r\n--b--", {(0,): b""}),
        (b"--b\r\n\r\n\r\n\r\n--b--", {(0,): b"\r\n"}),
        # A delimiter is a whole line; blanks may follow it, nothing else may.
        (b"--b \t \r\n\r\nhello\r\n--b-- \t\r\n", {(0,): b"hello"}),
        (
            b"--b\r\n\r\nhello\r\n--bb\r\n--b-\r\n --b\r\n--b---\r\nx--b\r\n--b--x\r\n--b--",
            {(0,): b"hello\r\n--bb\r\n--b-\r\n --b\r\n--b---\r\nx--b\r\n--b--x"},
        ),
        (b"--b\r\n\r\n--b" + b" " * 995 + b"\r\nhello\r\n--b--", {(0,): b"", (1,): b"hello"}),
        (b"--b\r\n\r\n--b" + b" " * 996 + b"\r\nhello\r\n--b--", {(0,): b"--b" + b" " * 996 + b"\r\nhello"}),
        (b"--b\r\n\r\nhello\n--b\nthere\n\r\n--b--", {(0,): b"hello\n--b\nthere\n"}),
        # Twice the same.
        (b"--b\r\n--b\r\n\r\nhello\r\n--b--", {(0,): b"hello"}),
        (b"--b\r\n\r\n--b\r\n\r\nhello\r\n--b--", {(0,): b"", (1,): b"hello"}),
        (b"--b\r\n\r\nhello\r\n--b--\r\n--b--\r\n", {(0,): b"hello"}),
    ],
)
def test_a_broken_multipart_gives_the_parts_that_are_there(body: bytes, leaves: dict[tuple[int, ...], bytes]) -> None:
    assert contents(MIXED, body) == leaves
    assert index(MIXED, body) == index(MIXED, body, list(range(len(body))))


def test_a_boundary_that_begins_another_one_is_not_mistaken_for_it() -> None:
    body = (
        b"--b\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n"
        b"--bb\r\n\r\none\r\n--bb--\r\n"
        b"--b\r\nContent-Type: multipart/mixed; boundary=b--\r\n\r\n"
        b"--b--\r\n\r\ntwo\r\n--b----\r\n"
        b"--b\r\n\r\nthree\r\n--b--\r\n"
    )
    assert contents(MIXED, body) == {(0, 0): b"one", (1, 0): b"two", (2,): b"three"}


def test_a_line_that_could_end_two_multiparts_belongs_to_the_inner_one() -> None:
    header = b"Content-Type: multipart/mixed; boundary=b--\r\n"
    inner = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b--\r\n"
    assert contents(header, b"--b--\r\n" + inner + b"--b--\r\n\r\ntwo\r\n--b----\r\n") == {(0, 0): b"one", (1,): b"two"}


def test_an_inner_multipart_with_the_same_boundary_is_read_first() -> None:
    inner = b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n"
    assert contents(MIXED, inner + b"--b\r\n\r\nthree\r\n--b--\r\n") == {(0, 0): b"one", (0, 1): b"two", (1,): b"three"}


def test_an_outer_delimiter_ends_everything_inside() -> None:
    body = (
        b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n"
        b"--c\r\nContent-Type: multipart/mixed; boundary=d\r\n\r\n"
        b"--d\r\n\r\none\r\n"
        b"--b\r\n\r\ntwo\r\n--d\r\n--c\r\n--b--\r\n"
    )
    assert contents(MIXED, body) == {(0, 0, 0): b"one", (1,): b"two\r\n--d\r\n--c"}
    parts = {part.path: part for part in index(MIXED, body)}
    assert [parts[path].type for path in ((0,), (0, 0), (0, 0, 0))] == [
        "multipart/mixed",
        "multipart/mixed",
        "text/plain",
    ]
    assert content(MIXED, body, parts[0,]).endswith(b"--d\r\n\r\none")


def test_a_container_covers_its_parts_and_what_is_around_them() -> None:
    inside = b"in\r\n--c\r\n\r\nx\r\n--c--\r\nout"
    body = b"pre\r\n--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n" + inside + b"\r\n--b--\r\nepi\r\n"
    root, inner, child = index(MIXED, body)
    assert content(MIXED, body, root) == body
    assert content(MIXED, body, inner) == inside
    assert content(MIXED, body, child) == b"x"
    assert (root.decoded_size, inner.is_container, child.is_container) == (len(body), True, False)


@pytest.mark.parametrize(
    "parameter",
    [
        b"",
        b"; boundary",
        b"; boundary=",
        b'; boundary=""',
        b'; boundary="  "',
        b"; boundary=" + b"b" * 501,
        b"; boundary=" + b"b" * 1_000_000,
        b'; boundary="a\rb"',
    ],
)
def test_a_multipart_without_usable_boundary_is_text(parameter: bytes) -> None:
    (part,) = index(b"Content-Type: multipart/mixed" + parameter + b"\r\n", b"--\r\n\r\n--b\r\n\r\nx")
    assert (part.type, part.path, part.length) == ("text/plain", (), 14)


@pytest.mark.parametrize(
    ("written", "line"),
    [
        (b'boundary="a b"', b"--a b"),
        (b'boundary="a;b"', b"--a;b"),
        (b'boundary="a\\"b"', b'--a"b'),
        (b'boundary="a  "', b"--a"),
        (b"boundary=a (comment)", b"--a"),
        (b"BOUNDARY = a", b"--a"),
        (b"charset=x; (comment) boundary=a; boundary=b", b"--a"),
        (b'boundary="a', b"--a"),
        (b'boundary*0="a";\r\n boundary*1=b', b"--ab"),
        (b"boundary*=utf-8''a%20b", b"--a b"),
        (b"boundary=" + b"x" * 500, b"--" + b"x" * 500),
        ('boundary="é"'.encode(), "--é".encode()),
        (b'boundary="\xe9"', b"--\xe9"),
    ],
)
def test_a_boundary_is_what_its_parameter_says(written: bytes, line: bytes) -> None:
    header = b"Content-Type: multipart/mixed; " + written + b"\r\n"
    assert contents(header, line + b"\r\n\r\nhello\r\n" + line + b"--\r\n") == {(0,): b"hello"}


# Limits


def nested(levels: int) -> bytes:
    opening = b"".join(
        b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (level, level + 1) for level in range(levels)
    )
    closing = b"".join(b"\r\n--b%d--" % level for level in range(levels, -1, -1))
    return opening + b"--b%d\r\n\r\nhello" % levels + closing


ROOT_0 = b"Content-Type: multipart/mixed; boundary=b0\r\n"


def test_multiparts_are_opened_up_to_the_greatest_depth() -> None:
    parts = index(ROOT_0, nested(mime.MAX_DEPTH - 1))
    assert [len(part.path) for part in parts] == list(range(mime.MAX_DEPTH + 1))
    assert all(part.is_container for part in parts[:-1])
    assert content(ROOT_0, nested(mime.MAX_DEPTH - 1), parts[-1]) == b"hello"


@pytest.mark.parametrize("levels", [mime.MAX_DEPTH, 500, 20_000])
def test_a_deeper_multipart_is_one_opaque_leaf(levels: int) -> None:
    body = nested(levels)
    parts = index(ROOT_0, body)
    assert len(parts) == mime.MAX_DEPTH + 1
    deepest = parts[-1]
    assert (deepest.type, len(deepest.path), deepest.encoding) == (mime.OPAQUE, mime.MAX_DEPTH, "binary")
    inside = content(ROOT_0, body, deepest)
    assert inside.startswith(b"--b%d\r\n" % mime.MAX_DEPTH)
    assert inside.endswith(b"--b%d--" % mime.MAX_DEPTH)


def test_the_last_part_that_is_counted_takes_what_is_left() -> None:
    body = b"".join(b"--b\r\n\r\n%d\r\n" % number for number in range(5000)) + b"--b--\r\n"
    parts = index(MIXED, body)
    assert len(parts) == mime.MAX_PARTS
    assert content(MIXED, body, parts[-2]) == b"1997"
    assert parts[-1].type == mime.OPAQUE
    assert content(MIXED, body, parts[-1]).startswith(b"\r\n1998\r\n--b\r\n")
    assert content(MIXED, body, parts[-1]).endswith(b"\r\n--b--\r\n")


def test_as_many_parts_as_are_allowed_are_all_read() -> None:
    body = b"".join(b"--b\r\n\r\n%d\r\n" % number for number in range(mime.MAX_PARTS - 2)) + b"--b--\r\n"
    parts = index(MIXED, body)
    assert len(parts) == mime.MAX_PARTS - 1
    assert content(MIXED, body, parts[-1]) == b"%d" % (mime.MAX_PARTS - 3)


def test_the_part_that_is_one_too_many_may_be_cut_off_in_its_delimiter() -> None:
    body = b"".join(b"--b\r\n\r\n\r\n" for _ in range(mime.MAX_PARTS - 2)) + b"--b"
    last = index(MIXED, body)[-1]
    assert (last.type, last.length, last.offset) == (mime.OPAQUE, 0, len(MIXED) + 2 + len(body))


@pytest.mark.parametrize(
    "piece", [b"--b\r\n", b"--b\r\n\r\n", b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"]
)
def test_any_number_of_empty_parts_gives_a_bounded_number(piece: bytes) -> None:
    parts = index(MIXED, piece * 100_000)
    assert len(parts) <= mime.MAX_PARTS
    assert parts[-1].type == mime.OPAQUE


def part_header(size: int) -> bytes:
    """Fields of that many octets in all, and the type at the end."""
    end = b"Content-Type: text/html\r\n"
    return b"X: " + b"x" * (size - len(end) - 5) + b"\r\n" + end


@pytest.mark.parametrize("cuts", [[], [5], [70], [40_000, 65_000], list(range(0, 70_000, 997))])
def test_a_part_header_of_the_greatest_size_is_read_and_a_larger_one_is_content(cuts: list[int]) -> None:
    header = part_header(mime.MAX_PART_HEADER)
    body = b"--b\r\n" + header + b"\r\nhello\r\n--b--\r\n"
    part = index(MIXED, body, cuts)[1]
    assert (part.type, content(MIXED, body, part)) == ("text/html", b"hello")
    header = part_header(mime.MAX_PART_HEADER + 1)
    body = b"--b\r\n" + header + b"\r\nhello\r\n--b--\r\n"
    part = index(MIXED, body, cuts)[1]
    assert (part.type, content(MIXED, body, part)) == (mime.OPAQUE, header + b"\r\nhello")


@pytest.mark.parametrize(
    "line",
    [
        b"x" * 998,
        b"x" * 999,
        b"x" * 2000,
        b"X: " + b"x" * 996,
        b"X:" + b" x" * 40_000,
        b"x" * 998 + b":y",
        b"x" * 999 + b":y",
        b"--" + b"x" * 2000,
        b" " * 70_000,
    ],
)
def test_a_long_line_in_a_part_header_means_the_same_however_it_is_cut(line: bytes) -> None:
    for end in (b"\r\n\r\nhello\r\n--b--\r\n", b"\r\n--b--\r\n", b"\r\n", b"\r", b""):
        body = b"--b\r\nY: z\r\n" + line + end
        whole = index(MIXED, body)
        for cuts in ([500], [1005], [len(body) - 3], list(range(0, len(body), 97)), list(range(990, 1030))):
            assert index(MIXED, body, cuts) == whole


def test_what_is_held_back_is_bounded_by_constants() -> None:
    for body in (
        b"\r\n--" * 200_000,
        b"\r\n--b" + b" " * 500_000,
        b"--b\r\n" + b"x" * 500_000,
        b"--b\r\n" + b"X:" * 300_000,
    ):
        indexer = MimeIndexer(MIXED, 100)
        for begin in range(0, len(body), 1000):
            indexer.feed(body[begin : begin + 1000])
            assert len(indexer._held) <= mime.MAX_PART_HEADER + 2 * mime.MAX_DELIMITER_LINE


def much(piece: bytes) -> bytes:
    return piece * (60_000 // len(piece))


HOSTILE_FIELDS = [b"a:\r\n", b"Content-Type: a/b\r\n", b"Content-Type: a/b" + much(b";a=b") + b"\r\n"]
PIECES = (b";", b"(;", b'a="\\"', b"(", b"=", b'"')
HOSTILE_FIELDS += [b"Content-Type: a/b;" + much(piece) + b"\r\n" for piece in PIECES]
WORDS = (b"=?a?q? ", b"=?", b"=?a?b?A?=", b"\\", b"%41")
HOSTILE_FIELDS += [b'Content-Type: a/b; name="' + much(piece) + b'"\r\n' for piece in WORDS]
HOSTILE_FIELDS += [b"Content-Type: a/b; name*=utf-8''" + much(b"%41") + b"\r\n"]
HOSTILE_FIELDS += [b"Content-Type: a/b" + b"".join(b"; name*%d*=%%41" % n for n in range(4000)) + b"\r\n"]


@pytest.mark.parametrize("field", HOSTILE_FIELDS)
def test_a_field_made_to_cost_much_is_read_in_one_pass(field: bytes) -> None:
    body = (b"--b\r\n" + field + b"\r\nhello\r\n") * 20
    parts = index(MIXED, body)
    assert len(parts) == 21
    assert all(part.name is None or len(part.name) <= mime.MAX_NAME for part in parts)


# How it is cut


LINES = [
    b"",
    b"hello",
    b"--b",
    b"--b--",
    b"--b ",
    b"--bb",
    b"--bb--",
    b"--",
    b"-",
    b"--b--x",
    b"X: y",
    b" folded",
    b"no field",
]
LINES += [b"Content-Type: multipart/mixed; boundary=b", b"Content-Type: multipart/digest; boundary=bb"]
LINES += [
    b"Content-Transfer-Encoding: base64",
    b"Content-Transfer-Encoding: quoted-printable",
    b"QUJD",
    b"QU",
    b"I=",
    b"=41=",
]
ENDS = [b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\r", b"\n", b""]
BODIES = st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(ENDS)).map(b"".join), max_size=20).map(b"".join)


@settings(max_examples=400)
@given(BODIES | st.binary(max_size=50), st.lists(st.integers(0, 300), max_size=8))
def test_how_the_octets_are_cut_makes_no_difference(body: bytes, cuts: list[int]) -> None:
    whole = index(MIXED, body)
    assert index(MIXED, body, cuts) == whole
    assert index(MIXED, body, list(range(len(body)))) == whole


@settings(max_examples=400)
@given(BODIES)
def test_parts_lie_in_the_message_and_in_their_containers_and_their_sizes_are_right(body: bytes) -> None:
    parts = index(MIXED, body)
    by_path = {part.path: part for part in parts}
    assert len(by_path) == len(parts)
    assert [part.path for part in parts] == sorted(by_path)
    for part in parts:
        assert len(MIXED) + 2 <= part.offset <= part.offset + part.length <= len(MIXED) + 2 + len(body)
        assert len(decoded(part.encoding, content(MIXED, body, part))) == part.decoded_size
        if part.path:
            outer = by_path[part.path[:-1]]
            assert outer.is_container
            assert outer.offset <= part.offset
            assert part.offset + part.length <= outer.offset + outer.length


def test_a_message_that_is_one_part_is_its_whole_body() -> None:
    body = b"--b\r\n\r\nhello\r\n--b--\r\n"
    (part,) = index(b"Subject: x\r\n", body)
    assert (part.path, part.type, part.offset, part.length) == ((), "text/plain", 14, len(body))
    assert index(b"", b"")[0].length == 0


# What the fields say


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b"text/HTML; charset=utf-8", "text/html"),
        (b" application / pdf (x)", "application/pdf"),
        (b"text/html charset=utf-8", "text/html"),
        (b"text", "text/plain"),
        (b"text/", "text/plain"),
        (b"/plain", "text/plain"),
        (b"", "text/plain"),
        (b"text/html/x", "text/plain"),
        (b"text/h\xc3\xa9", "text/plain"),
        (b"text/" + b"x" * 128, "text/plain"),
        (b"\r\n\ttext/\r\n\thtml", "text/html"),
    ],
)
def test_a_type_is_lower_case_and_text_where_it_is_malformed(value: bytes, kind: str) -> None:
    assert part_with(b"Content-Type: " + value).type == kind


def test_parts_of_a_digest_are_messages_unless_they_say_otherwise() -> None:
    header = b"Content-Type: multipart/digest; boundary=b\r\n"
    parts = index(header, b"--b\r\n\r\nSubject: x\r\n\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n")
    assert [part.type for part in parts] == ["multipart/digest", "message/rfc822", "text/plain"]


def test_a_message_inside_is_a_leaf() -> None:
    message = b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nhello\r\n--c--"
    part = part_with(b"Content-Type: message/rfc822", body=message)
    assert (part.type, part.length) == ("message/rfc822", len(message))


@pytest.mark.parametrize(
    ("value", "encoding"),
    [
        (b"BASE64", "base64"),
        (b" quoted-printable (x)", "quoted-printable"),
        (b"7bit;", "7bit"),
        (b"8-bit", "8bit"),
        (b"x-uuencode", "unknown"),
        (b"", "unknown"),
        (b"\xff", "unknown"),
    ],
)
def test_an_encoding_is_one_of_those_that_are_known(value: bytes, encoding: str) -> None:
    assert part_with(b"Content-Transfer-Encoding: " + value).encoding == encoding
    assert part_with(b"X: y").encoding == "7bit"


def test_a_container_has_no_encoding_whatever_it_says() -> None:
    header = MIXED + b"Content-Transfer-Encoding: base64\r\n"
    body = b"--b\r\n\r\nhello\r\n--b--"
    root, child = index(header, body)
    assert (root.encoding, root.decoded_size) == ("binary", len(body))
    assert content(header, body, child) == b"hello"


EXTENDED = b"Content-Disposition: attachment;\r\n filename*0*=utf-8''"


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ([b'Content-Disposition: attachment; filename="a b.pdf"'], "a b.pdf"),
        ([b"Content-Disposition: attachment; filename=a b (1).pdf; size=3"], "a b (1).pdf"),
        ([b"Content-Type: application/pdf; name=a.pdf"], "a.pdf"),
        ([b"Content-Type: application/pdf; name=a.pdf", b"Content-Disposition: inline; filename=b.pdf"], "b.pdf"),
        ([b"Content-Disposition: attachment; filename*=UTF-8'nl'caf%C3%A9.pdf; filename=x.pdf"], "café.pdf"),
        ([b"Content-Disposition: attachment; filename=x.pdf; filename*=iso-8859-1''caf%E9.pdf"], "café.pdf"),
        ([b"Content-Disposition: attachment; filename*=caf%C3%A9%zz.pdf"], "café%zz.pdf"),
        ([b"Content-Disposition: attachment; filename*=x-nobody''caf%E9=41.pdf"], "café=41.pdf"),
        ([EXTENDED + b"caf%C3;\r\n filename*1*=%A9;\r\n filename*2=\" %41.pdf\""], "café %41.pdf"),
        ([b"Content-Disposition: attachment; filename*1=b; filename*0=a; filename*3=d"], "ab"),
        ([b'Content-Disposition: attachment; filename="=?utf-8?B?Y2Fmw6kucGRm?="'], "café.pdf"),
        ([b'Content-Disposition: attachment; filename="=?utf-8?Q?ca?=\r\n =?utf-8?Q?f=C3=A9.pdf?="'], "café.pdf"),
        (["Content-Disposition: attachment; filename=\"café.pdf\"".encode()], "café.pdf"),
        ([b'Content-Disposition: attachment; filename="a\\"b.pdf"'], 'a"b.pdf'),
        ([b'Content-Disposition: attachment; filename="a.pdf'], "a.pdf"),
        ([b"Content-Disposition: attachment; filename="], None),
        ([b"Content-Disposition: attachment; filename*="], None),
        ([b"Content-Disposition: attachment; filename"], None),
        ([b"Content-Disposition: attachment"], None),
    ],
)  # fmt: skip
def test_a_file_name_is_read_as_it_was_meant(fields: list[bytes], name: str | None) -> None:
    assert part_with(*fields).name == name


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("../../etc/passwd", "_.._etc_passwd"),
        (r"..\..\boot.ini", "_.._boot.ini"),
        (r"C:\map\brief.doc", "C__map_brief.doc"),
        ("brief.doc:stream", "brief.doc_stream"),
        ("offerte 1/2.pdf", "offerte 1_2.pdf"),
        (".htaccess", "htaccess"),
        ("... ", None),
        ("/", "_"),
        ("brief.pdf. . ", "brief.pdf"),
        ("  a \t\t b.pdf ", "a b.pdf"),
        ("a\0b\r\nc\x1b\x7f\x9fd.pdf", "abcd.pdf"),
        ("brief\u202efdp.exe", "brieffdp.exe"),
        ("\u2066a\u2069\u200e\u200f\u061c\ufeff.pdf", "a.pdf"),
        ("\u2028a\u2029b.pdf", "ab.pdf"),
        ("x" * 300 + ".pdf", "x" * 196 + ".pdf"),
        ("x" * 300, "x" * 200),
        ("x." + "y" * 300, "x." + "y" * 198),
        ("\U0001f600" * 300 + ".docx", "\U0001f600" * 195 + ".docx"),
        ("x" * 194 + "." * 20 + "y" * 10 + ".pdf", "x" * 194 + ".pdf"),
    ],
)
def test_a_file_name_stays_in_its_folder_and_is_what_it_looks_like(written: str, name: str | None) -> None:
    encoded = "".join(f"%{octet:02X}" for octet in written.encode())
    assert part_with(f"Content-Disposition: attachment; filename*=utf-8''{encoded}".encode()).name == name


@given(st.text(max_size=300))
def test_no_file_name_can_leave_its_folder(written: str) -> None:
    encoded = "".join(f"%{octet:02X}" for octet in written.encode("utf-8", "replace"))
    name = part_with(f"Content-Disposition: attachment; filename*=utf-8''{encoded}".encode()).name
    assert name is None or (
        0 < len(name) <= mime.MAX_NAME and name[0] != "." and not set(name) & set("/\\:\0\r\n\u202e")
    )


def test_a_disposition_is_inline_attachment_or_not_given() -> None:
    assert part_with(b"Content-Disposition: INLINE; filename=a").disposition == "inline"
    assert part_with(b"Content-Disposition: form-data").disposition == "attachment"
    assert part_with(b"Content-Disposition: ;filename=a").disposition is None
    assert part_with(b"X: y").disposition is None


def test_other_parameters_are_read_and_bounded() -> None:
    part = part_with(b'Content-Type: text/calendar; method=REQUEST; charset="UTF-8"', b"Content-ID:  <a@b> ")
    assert (part.method, part.charset, part.content_id) == ("REQUEST", "utf-8", "a@b")
    part = part_with(b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data")
    assert part.smime_type == "enveloped-data"
    signed = b'Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary=b; start="<x@y>"\r\n'
    root = index(signed, b"--b\r\n\r\nx\r\n--b--")[0]
    assert (root.protocol, root.start) == ("application/pgp-signature", "<x@y>")
    part = part_with(
        b"Content-Type: a/b; method=" + b"x" * 256 + b"; charset=" + b"x" * 65, b"Content-ID: <" + b"x" * 256 + b">"
    )
    assert (part.method, part.charset, part.content_id) == (None, None, None)
    assert part_with(b"Content-ID: <a b>").content_id is None


def test_the_first_of_two_equal_fields_counts() -> None:
    part = part_with(b"Content-Type: text/html", b"Content-Type: text/plain; name=a", b"content-type: image/png")
    assert (part.type, part.name) == ("text/html", None)


SYNTAX = [b"Content-Type", b":", b"text/html", b";", b"name", b"*0", b"*", b"=", b'"', b"\\", b"(", b")", b"a", b"'"]
SYNTAX += [b"%41", b"\xff", b"\r\n ", b" ", b"=?utf-8?q?x?="]


@given(st.lists(st.sampled_from(SYNTAX), max_size=25).map(b"".join))
def test_any_octets_can_stand_in_the_fields_of_a_part(octets: bytes) -> None:
    for field in (octets, b"Content-Type: a/b; name" + octets, b"Content-Disposition: attachment; filename" + octets):
        parts = index(MIXED, b"--b\r\n" + field + b"\r\n\r\nx\r\n--b--\r\n")
        assert parts[0].is_container
        assert all(part.name is None or part.name.encode("utf-8") for part in parts)


# Decoding


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"", b""),
        (b"QUJD", b"ABC"),
        (b"QUI=", b"AB"),
        (b"QQ==", b"A"),
        (b"QQ", b"A"),
        (b"QUI", b"AB"),
        (b"Q", b""),
        (b"QUJDQ", b"ABC"),
        (b"Q\r\nU J\x00-D\xff!", b"ABC"),
        (b"QQ==QUJD", b"A"),
        (b"=QUJD", b""),
        (b"QUJD\r\n=\r\nQUJD", b"ABC"),
    ],
)
def test_base64_is_decoded_whatever_stands_between(octets: bytes, expected: bytes) -> None:
    assert decoded("base64", octets) == expected
    part = part_with(b"Content-Transfer-Encoding: base64", body=octets)
    assert part.decoded_size == len(expected)


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"caf=C3=a9", "café".encode()),
        (b"a=\r\nb", b"ab"),
        (b"a= \t\r\nb", b"ab"),
        (b"a=" + b" " * 76 + b"\r\nb", b"ab"),
        (b"a=" + b" " * 77 + b"\r\nb", b"a=" + b" " * 77 + b"\r\nb"),
        (b"a=", b"a"),
        (b"a= ", b"a"),
        (b"a=\r", b"a"),
        (b"a=4", b"a=4"),
        (b"a=4x=", b"a=4x"),
        (b"a==41=", b"a=A"),
        (b"=\r\n=\r\n41", b"41"),
        (b"==\r\n41", b"=41"),
        (b"=\n=\rx==", b"=\n=\rx="),
        (b"a b \r\n", b"a b \r\n"),
        (b"a_b=5F", b"a_b_"),
        (b"=00=0D=0A", b"\0\r\n"),
    ],
)
def test_quoted_printable_is_decoded_and_what_quotes_nothing_stays(octets: bytes, expected: bytes) -> None:
    assert decoded("quoted-printable", octets) == expected
    assert decoded("quoted-printable", octets, list(range(len(octets)))) == expected


def test_an_unknown_encoding_is_left_as_it_is() -> None:
    assert decoded("unknown", b"=41") == decoded("8bit", b"=41") == b"=41"


CODED = st.lists(
    st.sampled_from([b"=", b"4", b"C", b"g", b" ", b"\t", b"\r\n", b"\r", b"\n", b"=\r\n", b"QUJD", b"\xff"])
).map(b"".join)


@given(
    CODED | st.binary(max_size=60),
    st.lists(st.integers(0, 120), max_size=6),
    st.sampled_from(["base64", "quoted-printable", "7bit"]),
)
def test_how_it_is_cut_makes_no_difference_to_decoding(octets: bytes, cuts: list[int], encoding: str) -> None:
    whole = decoded(encoding, octets)
    assert decoded(encoding, octets, cuts) == whole
    assert decoded(encoding, octets, list(range(len(octets)))) == whole


@given(st.binary(max_size=300), st.lists(st.integers(0, 400), max_size=5))
def test_what_was_encoded_comes_back(octets: bytes, cuts: list[int]) -> None:
    assert decoded("base64", base64.encodebytes(octets).replace(b"\n", b"\r\n"), cuts) == octets
    quoted = binascii.b2a_qp(octets, istext=False).replace(b"=\n", b"=\r\n")
    assert decoded("quoted-printable", quoted, cuts) == octets


def test_many_quotes_are_decoded_in_one_pass() -> None:
    for piece in (b"=", b"= ", b"=" + b" " * 75, b"=4", b"=\r"):
        assert len(decoded("quoted-printable", piece * (1_000_000 // len(piece)), list(range(0, 1_000_000, 5000)))) > 0


def test_text_has_no_byte_order_mark_and_no_nul() -> None:
    assert as_text(b"\xef\xbb\xbfcaf\xc3\xa9\0", "utf-8") == "café\ufffd"
    assert as_text("é€".encode("cp1252"), None) == "é€"
    assert as_text("é".encode("utf-16"), "utf-16") == "é"


# Against the standard library


TEXTS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs"), include_characters="\n"), max_size=200)
FILES = st.sampled_from(["brief.pdf", "café.docx", "overzicht 2026.xlsx", "日本.png"])


@st.composite
def messages(draw: st.DrawFn, depth: int = 2) -> EmailMessage:
    message = EmailMessage(policy=email.policy.SMTP)
    cte = draw(st.sampled_from([None, "quoted-printable", "base64", "8bit"]))
    if cte is None:
        message.set_content(draw(TEXTS))
    else:
        message.set_content(draw(TEXTS), cte=cte)
    if draw(st.booleans()):
        message.add_alternative("<p>" + draw(TEXTS) + "</p>", subtype="html")
        if draw(st.booleans()):
            html = list(message.iter_parts())[1]
            assert isinstance(html, EmailMessage)
            html.add_related(draw(st.binary(max_size=50)), "image", "png", cid="<beeld@voorbeeld.test>")
    for _ in range(draw(st.integers(0, 2))):
        message.add_attachment(draw(st.binary(max_size=400)), "application", "octet-stream", filename=draw(FILES))
    if depth and draw(st.booleans()):
        message.add_attachment(draw(messages(depth - 1)))
    if depth and draw(st.booleans()):
        if message.get_content_type() != "multipart/mixed":
            message.make_mixed()
        message.attach(draw(messages(depth - 1)))
    message["Subject"] = "x"
    return message


def leaves_of(message: Message, path: tuple[int, ...] = ()) -> dict[tuple[int, ...], Message]:
    """As the standard library sees them; messages inside are leaves too."""
    if message.get_content_maintype() != "multipart":
        return {path: message}
    found: dict[tuple[int, ...], Message] = {}
    for number, child in enumerate(message.get_payload()):
        assert isinstance(child, Message)
        found |= leaves_of(child, (*path, number))
    return found


@settings(max_examples=60, deadline=None)
@given(messages(), st.lists(st.integers(0, 3000), max_size=5))
def test_ordinary_messages_have_the_parts_that_the_standard_library_finds(
    message: EmailMessage, cuts: list[int]
) -> None:
    octets = message.as_bytes()
    header, empty, body = octets.partition(b"\r\n\r\n")
    assume(empty)
    header += b"\r\n"
    ours = {part.path: part for part in index(header, body, cuts) if not part.is_container}
    theirs = leaves_of(email.message_from_bytes(octets, policy=email.policy.default))
    assert ours.keys() == theirs.keys()
    for path, other in theirs.items():
        part = ours[path]
        assert part.type == other.get_content_type()
        assert part.name == other.get_filename()
        assert part.disposition == other.get_content_disposition()
        if part.type != "message/rfc822":
            got = decoded(part.encoding, content(header, body, part))
            assert got == other.get_payload(decode=True)
            assert len(got) == part.decoded_size


# What to show


def leaf(kind: str, *, disposition: str | None = None, name: str | None = None, cid: str | None = None) -> bytes:
    fields = f"Content-Type: {kind}\r\n"
    if disposition or name:
        fields += (
            f"Content-Disposition: {disposition or 'attachment'}" + (f"; filename={name}" if name else "") + "\r\n"
        )
    if cid:
        fields += f"Content-ID: <{cid}>\r\n"
    return (fields + "\r\nx").encode()


def container(kind: str, *children: bytes, number: list[int] = []) -> bytes:  # noqa: B006
    number.append(len(number))
    boundary = f"b{len(number)}".encode()
    inside = b"".join(b"--" + boundary + b"\r\n" + child + b"\r\n" for child in children)
    return f"Content-Type: {kind}; boundary={boundary.decode()}\r\n\r\n".encode() + inside + b"--" + boundary + b"--"


def reading(message: bytes) -> mime.Reading:
    header, _, body = message.partition(b"\r\n\r\n")
    return select(index(header + b"\r\n", body))


def path(part: Part | None) -> tuple[int, ...] | None:
    return None if part is None else part.path


def mixed(*children: bytes) -> bytes:
    return container("multipart/mixed", *children)


def alternative(*children: bytes) -> bytes:
    return container("multipart/alternative", *children)


def related(*children: bytes) -> bytes:
    return container("multipart/related", *children)


TEXT, HTML = leaf("text/plain"), leaf("text/html")
PDF = leaf("application/pdf", name="a.pdf")
IMAGE = leaf("image/png", cid="i@x")
STATUS = leaf("message/delivery-status")
PGP_SIGNATURE = leaf("application/pgp-signature")
PGP_VERSION = leaf("application/pgp-encrypted")
ATTACHED_IMAGE = leaf("image/png", cid="i@x", disposition="attachment")
SMIME_SIGNATURE = leaf("application/pkcs7-signature")


@pytest.mark.parametrize(
    ("message", "html", "text", "inline", "attachments"),
    [
        (TEXT, None, (), [], []),
        (HTML, (), None, [], []),
        (PDF, None, None, [], [()]),
        (leaf("text/plain", disposition="attachment"), None, None, [], [()]),
        (leaf("text/plain", disposition="inline", name="a.txt"), None, (), [], []),
        (leaf("text/plain; name=a.txt"), None, None, [], [()]),
        (b"Content-Type: text/plain\r\nContent-Transfer-Encoding: x-uue\r\n\r\nx", None, None, [], [()]),
        (b"Content-Type: text/plain\r\n\r\n", None, None, [], []),
        (leaf("message/rfc822"), None, None, [], [()]),
        (mixed(TEXT, PDF), None, (0,), [], [(1,)]),
        (mixed(TEXT, TEXT, HTML), None, (0,), [], [(1,), (2,)]),
        (mixed(b"\r\n", HTML), (1,), None, [], []),
        (container("multipart/x-unknown", PDF, TEXT), None, (1,), [], [(0,)]),
        (alternative(TEXT, HTML), (1,), (0,), [], []),
        (alternative(TEXT, leaf("text/x-amp-html"), HTML), (2,), (0,), [], []),
        (alternative(leaf("text/enriched")), None, None, [], [(0,)]),
        (alternative(TEXT, HTML, leaf("text/calendar; method=REQUEST")), (1,), (0,), [], [(2,)]),
        (alternative(TEXT, PDF), None, (0,), [], [(1,)]),
        (alternative(TEXT, related(HTML, IMAGE)), (1, 0), (0,), [(1, 1)], []),
        (related(alternative(TEXT, HTML), IMAGE), (0, 1), (0, 0), [(1,)], []),
        (alternative(TEXT, mixed(HTML, PDF)), (1, 0), (0,), [], [(1, 1)]),
        (container('multipart/related; start="<r@x>"', IMAGE, leaf("text/html", cid="r@x")), (1,), None, [(0,)], []),
        (related(TEXT, IMAGE), None, (0,), [], [(1,)]),
        (related(), None, None, [], []),
        (mixed(HTML, IMAGE), (0,), None, [(1,)], []),
        (mixed(HTML, ATTACHED_IMAGE), (0,), None, [], [(1,)]),
        (mixed(alternative(TEXT, HTML), alternative(TEXT, HTML)), (0, 1), (0, 0), [], [(1, 0), (1, 1)]),
        (container("multipart/signed", mixed(TEXT, PDF), PGP_SIGNATURE), None, (0, 0), [], [(0, 1), (1,)]),
        (container("multipart/digest", b"\r\nSubject: x\r\n", b"\r\nSubject: y\r\n"), None, None, [], [(0,), (1,)]),
        (container("multipart/report", TEXT, STATUS, PDF), None, (0,), [], [(1,), (2,)]),
    ],
)  # fmt: skip
def test_what_is_read_and_what_lies_beside_it(
    message: bytes,
    html: tuple[int, ...] | None,
    text: tuple[int, ...] | None,
    inline: list[tuple[int, ...]],
    attachments: list[tuple[int, ...]],
) -> None:
    chosen = reading(message)
    assert (path(chosen.html), path(chosen.text)) == (html, text)
    assert [part.path for part in chosen.inline] == inline
    assert [part.path for part in chosen.attachments] == attachments
    assert all(part.name for part in chosen.attachments)


def test_attachments_without_a_name_get_one_that_no_other_has() -> None:
    message = mixed(
        leaf("application/pdf"),
        leaf("application/pdf", name="bijlage-3.pdf"),
        leaf("application/pdf", disposition="attachment"),
        leaf("application/x-nobody"),
        leaf("message/rfc822"),
    )
    names = [part.name for part in reading(message).attachments]
    assert names == ["bijlage-1.pdf", "bijlage-3.pdf", "bijlage-4.pdf", "bijlage-4", "bijlage-5.eml"]
    header, _, body = message.partition(b"\r\n\r\n")
    english = select(index(header + b"\r\n", body), unnamed="attachment")
    assert english.attachments[0].name == "attachment-1.pdf"


def test_inline_parts_that_the_page_does_not_show_become_attachments() -> None:
    message = container("multipart/mixed", related(HTML, IMAGE, leaf("image/gif", cid="j@x")), PDF)
    shown = reading(message).with_references({"j@x", "k@x"})
    assert [part.path for part in shown.inline] == [(0, 2)]
    assert [(part.path, part.name) for part in shown.attachments] == [((0, 1), "bijlage-1.png"), ((1,), "a.pdf")]


@pytest.mark.parametrize(
    ("message", "cryptographic"),
    [
        (mixed(TEXT, PDF), False),
        (leaf("application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m"), True),
        (leaf("application/x-pkcs7-mime"), True),
        (container("multipart/signed", TEXT, SMIME_SIGNATURE), True),
        (container("multipart/encrypted", PGP_VERSION, leaf("application/octet-stream")), True),
        (mixed(container("multipart/signed", TEXT, PGP_SIGNATURE), TEXT), True),
    ],
)  # fmt: skip
def test_signed_and_encrypted_messages_are_known_as_such(message: bytes, cryptographic: bool) -> None:
    assert reading(message).is_cryptographic is cryptographic


def test_nothing_is_read_from_nothing() -> None:
    assert select(()) == mime.Reading(None, None, (), (), False)


@given(BODIES)
def test_every_leaf_is_shown_somewhere_and_once(body: bytes) -> None:
    parts = index(MIXED, body)
    chosen = select(parts)
    shown = [*chosen.inline, *chosen.attachments, *(part for part in (chosen.html, chosen.text) if part)]
    expected = [
        part.path
        for part in parts
        if not part.is_container and not (part.decoded_size == 0 and part.type == "text/plain")
    ]
    assert sorted(part.path for part in shown) == expected
    assert len({part.name for part in chosen.attachments}) == len(chosen.attachments)
