"""The client's half of SMTP: replies of any kind of server, and content on its way to the wire."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zegel.core.mail.reply import Reply
from zegel.core.smtp.client import MAX_REPLY, MAX_WAITING, Extensions, NotSmtp, ReplyReader, Stuffer
from zegel.core.smtp.lines import DotStuffed


def replies(*pieces: bytes) -> list[Reply]:
    """All replies in the octets, taken out after each piece."""
    reader = ReplyReader()
    found: list[Reply] = []
    for piece in pieces:
        reader.feed(piece)
        while (reply := reader.next()) is not None:
            found.append(reply)
    return found


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(octets), *(place % (len(octets) + 1) for place in places)})
    return [octets[start:end] for start, end in pairwise(edges)]


# --- replies: what is none ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\0",
        b"hello",
        b"25",
        b"2500 no",
        b"250\tno",
        b"250_no",
        b" 250 no",
        b"150 no",
        b"650 no",
        b"099 no",
        b"+OK POP3 server ready",
        b"HTTP/1.1 400 Bad Request",
        b"SSH-2.0-OpenSSH_9.2",
        b"\x16\x03\x01\x00\x05",
        "２５０ no".encode(),
    ],
)
def test_what_is_no_reply_is_not_taken_for_one(line: bytes) -> None:
    with pytest.raises(NotSmtp):
        replies(line + b"\r\n")


def test_garbage_within_a_reply_is_not_passed_over() -> None:
    with pytest.raises(NotSmtp):
        replies(b"250-one\r\nsomething else\r\n250 two\r\n")


@pytest.mark.parametrize("octets", [b"550-no\r\n250 yes\r\n", b"250-yes\r\n550 no\r\n", b"250-a\r\n251-b\r\n250 c\r\n"])
def test_a_reply_with_two_codes_says_neither(octets: bytes) -> None:
    with pytest.raises(NotSmtp):
        replies(octets)


def test_two_replies_may_have_two_codes() -> None:
    assert [reply.code for reply in replies(b"250 yes\r\n550-no\r\n550 no\r\n250-yes\r\n250 yes\r\n")] == [
        250,
        550,
        250,
    ]


def test_a_line_without_an_end_is_given_up() -> None:
    with pytest.raises(NotSmtp):
        replies(*[b"2" * 1024] * 65)


def test_a_reply_without_an_end_is_given_up() -> None:
    line = b"250-" + b"x" * 500 + b"\r\n"
    with pytest.raises(NotSmtp):
        replies(*[line] * (MAX_REPLY // len(line) + 1))


def test_a_long_line_that_ends_too_late_is_given_up_as_well() -> None:
    with pytest.raises(NotSmtp):
        replies(b"250 " + b"x" * MAX_REPLY + b"\r\n")


def test_replies_that_are_long_one_by_one_are_taken() -> None:
    reply = b"250 " + b"x" * (MAX_REPLY - 100) + b"\r\n"
    assert [one.code for one in replies(reply, reply, reply, reply)] == [250] * 4


def test_what_nobody_takes_out_stays_bounded() -> None:
    """A server that sends while we send: its octets must not fill our memory."""
    reader = ReplyReader()
    for _ in range(MAX_WAITING // 1024 + 10):
        reader.feed(b"250 yes\r\n" * 114)
    assert len(reader._buffer) <= MAX_WAITING
    with pytest.raises(NotSmtp):
        reader.next()


# --- replies: what they say ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"250\r\n", Reply(250, None, "")),
        (b"250 \r\n", Reply(250, None, "")),
        (b"250 yes\n", Reply(250, None, "yes")),
        (b"250 yes\r\r\n", Reply(250, None, "yes")),
        (b"250 2.1.5 Recipient taken\r\n", Reply(250, "2.1.5", "Recipient taken")),
        (b"250 2.1.5\r\n", Reply(250, "2.1.5", "")),
        (b"450 4.7.1.2 no status\r\n", Reply(450, None, "4.7.1.2 no status")),
        (b"550 3.1.1 no status\r\n", Reply(550, None, "3.1.1 no status")),
        (b"550-5.7.1 first\r\n550 5.7.1 second\r\n", Reply(550, "5.7.1", "first", ("second",))),
        (b"550-5.7.1 first\r\n550 second\r\n", Reply(550, "5.7.1", "first", ("second",))),
        (b"550-first\r\n550 5.7.1 second\r\n", Reply(550, None, "first", ("5.7.1 second",))),
        (b"250-mx.test\r\n250-SIZE 1000\r\n250 DSN\r\n", Reply(250, None, "mx.test", ("SIZE 1000", "DSN"))),
        (b"250-\r\n250 \r\n", Reply(250, None, "", ("",))),
        ("550 onbekend: één\r\n".encode(), Reply(550, None, "onbekend: één")),
        (b"550 \xff\r\n", Reply(550, None, "\ufffd")),
    ],
)
def test_a_reply_is_read_with_its_status(octets: bytes, expected: Reply) -> None:
    assert replies(octets) == [expected]


def test_half_a_reply_is_none_yet() -> None:
    reader = ReplyReader()
    for piece in (b"2", b"50-one", b"\r", b"\n25", b"0 tw"):
        reader.feed(piece)
        assert reader.next() is None
        assert reader.has_leftover
    reader.feed(b"o\r\n")
    assert reader.next() == Reply(250, None, "one", ("two",))
    assert not reader.has_leftover


@pytest.mark.parametrize("octets", [b"250 injected\r\n", b"250-begun\r\n", b"2", b"\r\n", b"\0"])
def test_whatever_stands_behind_a_reply_is_a_leftover(octets: bytes) -> None:
    reader = ReplyReader()
    reader.feed(b"220 go ahead\r\n" + octets)
    assert reader.next() == Reply(220, None, "go ahead")
    assert reader.has_leftover


DIALOGUE = (
    b"220 mx.test ESMTP\r\n250-mx.test\r\n250-PIPELINING\r\n250 SIZE 1000\r\n250 2.1.0 yes\r\n"
    b"550-5.1.1 no\r\n550 5.1.1 such mailbox\r\n354\r\n250 2.0.0 \xe2\x9c\x93\r\n"
)


@given(st.lists(st.integers(0, len(DIALOGUE)), max_size=30))
@example(list(range(len(DIALOGUE))))
def test_how_the_network_cuts_the_bytes_makes_no_difference(places: list[int]) -> None:
    assert replies(*cut(DIALOGUE, places)) == replies(DIALOGUE)


@given(st.binary(max_size=300))
def test_any_octets_are_replies_or_not_smtp(octets: bytes) -> None:
    try:
        found = replies(octets)
    except NotSmtp:
        return
    assert all(200 <= reply.code <= 599 for reply in found)


# --- extensions ---------------------------------------------------------------------------------------------------


def offered(*lines: str) -> Extensions:
    return Extensions.of(Reply(250, None, "mx.test Hello", lines))


def test_the_first_line_offers_nothing() -> None:
    assert "STARTTLS" not in Extensions.of(Reply(250, None, "STARTTLS"))


def test_keywords_are_found_in_any_case_and_only_whole() -> None:
    found = offered("starttls", "Size 1000", "8BITMIME ", " PIPELINING")
    assert all(word in found for word in ("STARTTLS", "SIZE", "8BITMIME", "PIPELINING"))
    assert "START" not in found
    assert "SMTPUTF8" not in found
    assert "" not in found


@pytest.mark.parametrize(
    ("line", "size"),
    [
        ("SIZE 1000", 1000),
        ("size  1000", 1000),
        ("SIZE 0", None),  # RFC 1870 §4: no fixed limit
        ("SIZE", None),
        ("SIZE many", None),
        ("SIZE -1", None),
        ("SIZE 10 20", None),
        ("SIZE ²", None),
        ("SIZE ١٠", None),
        ("SIZE " + "9" * 20, int("9" * 20)),
        ("SIZE " + "9" * 5000, None),
        ("PIPELINING", None),
    ],
)
def test_a_size_is_a_number_or_nothing(line: str, size: int | None) -> None:
    assert offered(line).size == size


# --- dot-stuffing -------------------------------------------------------------------------------------------------


def stuffed(*pieces: bytes) -> bytes:
    stuffer = Stuffer()
    return b"".join(map(stuffer.feed, pieces)) + stuffer.finish()


def unstuffed(octets: bytes) -> bytes:
    """As the gateway's own server reads it, which ends at CRLF . CRLF alone."""
    framing = DotStuffed()
    content, rest = framing.feed(octets)
    assert rest == b"", "the end of data is missing, or something stands behind it"
    assert not framing.malformed
    return content


LINES = st.lists(
    st.one_of(
        st.sampled_from([b"", b".", b"..", b"...", b".x", b"x.", b". ", b"QUIT"]),
        st.binary(max_size=5).map(lambda octets: octets.translate(None, b"\0\r\n")),
    ),
    max_size=12,
).map(lambda lines: b"".join(line + b"\r\n" for line in lines))


@given(LINES, st.lists(st.integers(0, 200), max_size=20))
@example(b".\r\n", [0, 1, 2])
@example(b"\r\n.\r\n", list(range(6)))
@example(b"", [])
def test_a_server_gets_back_what_was_stuffed_in_any_cut(content: bytes, places: list[int]) -> None:
    assert unstuffed(stuffed(*cut(content, places))) == content


@given(LINES, st.sampled_from([b"x", b".", b"..", b"end", b"x."]), st.lists(st.integers(0, 200), max_size=20))
def test_a_last_line_without_an_end_gets_one(content: bytes, tail: bytes, places: list[int]) -> None:
    assert unstuffed(stuffed(*cut(content + tail, places))) == content + tail + b"\r\n"


def test_the_end_of_data_stands_once_and_at_the_end() -> None:
    wire = stuffed(b"Subject: x\r\n\r\n", b".\r\n", b"MAIL FROM:<>\r\n", b".", b"\r\n")
    assert wire.count(b"\r\n.\r\n") == 1
    assert wire.endswith(b"\r\n.\r\n")


def test_empty_pieces_change_nothing() -> None:
    assert stuffed(b"", b"a\r\n", b"", b".b\r\n", b"") == b"a\r\n..b\r\n.\r\n"
    assert stuffed() == stuffed(b"") == b".\r\n"
