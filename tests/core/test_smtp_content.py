"""Content behind DATA and BDAT: its end, its dots, its size, and every known way to smuggle a second message."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from tests.core.smtp_dialogue import EHLO, ENVELOPE, MAIL, PROFILE, RCPT, accept, byte_by_byte, converse, cut, refusing
from zegel.core.mail.reply import Reply
from zegel.core.smtp.server import ContentBegins, ContentEnds, Pause, State

DATA = EHLO + ENVELOPE + b"DATA\r\n"
HEAD = b"Subject: Sample\r\n\r\nText"
SMUGGLED = (
    b"MAIL FROM:<baas@example.org>\r\nRCPT TO:<slachtoffer@voorbeeld.test>\r\nDATA\r\nSubject: Smuggled\r\n\r\nText"
)
FALSE_ENDS = (
    b"\n.\n",
    b"\r.\r",
    b"\r.\n",
    b"\n.\r",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\r\n.\r\r\n",
    b"\n\n.\r\n",
    b"\r\n.\n\r\n",
    b"\0\r\n\0.\r\n",
)


def chunk(octets: bytes, *, last: bool = False) -> bytes:
    return b"BDAT %d%s\r\n" % (len(octets), b" LAST" if last else b"") + octets


# Smuggling (P9)


@pytest.mark.parametrize("false_end", FALSE_ENDS, ids=repr)
def test_a_false_end_of_data_ends_nothing_wherever_the_network_cuts(false_end: bytes) -> None:
    content = HEAD + false_end + SMUGGLED + b"\r\n.\r\n"
    for position in range(len(content) + 1):
        talk = converse([DATA, *cut(content, [position]), b"NOOP\r\n"])
        assert talk.kinds == ["Mail", "Recipient", "ContentBegins", "ContentAborted"]
        assert talk.replies == ["250", "250 2.1.0", "250 2.1.5", "354", "550 5.6.0", "250 2.0.0"]
        assert talk.server.state is State.GREETED


@pytest.mark.parametrize("false_end", FALSE_ENDS, ids=repr)
def test_a_false_end_right_before_the_true_one_spoils_the_message(false_end: bytes) -> None:
    content = HEAD + false_end + b"\r\n.\r\n"
    for pieces in ([DATA + content], byte_by_byte(DATA + content)):
        talk = converse(pieces)
        assert talk.last == "550 5.6.0"
        assert talk.kinds[3:] == ["ContentAborted"]


@pytest.mark.parametrize("false_end", FALSE_ENDS, ids=repr)
def test_a_false_end_as_the_very_first_octets_spoils_the_message(false_end: bytes) -> None:
    content = false_end + SMUGGLED + b"\r\n.\r\n"
    for pieces in ([DATA + content], byte_by_byte(DATA + content)):
        talk = converse(pieces)
        assert talk.kinds == ["Mail", "Recipient", "ContentBegins", "ContentAborted"]
        assert talk.last == "550 5.6.0"


@pytest.mark.parametrize("false_end", FALSE_ENDS, ids=repr)
def test_a_chunk_with_a_false_end_is_swallowed_to_its_last_octet(false_end: bytes) -> None:
    content = HEAD + false_end + SMUGGLED + b"\r\n"
    said = EHLO + ENVELOPE + chunk(content, last=True)
    start = len(said) - len(content)
    for position in range(start, len(said) + 1):
        talk = converse([*cut(said, [position]), b"NOOP\r\n"])
        assert talk.kinds == ["Mail", "Recipient", "ContentBegins", "ContentAborted"]
        assert talk.replies[3:] == ["550 5.6.0", "250 2.0.0"]


@pytest.mark.parametrize("false_end", FALSE_ENDS, ids=repr)
def test_a_false_end_divided_over_two_chunks_is_seen(false_end: bytes) -> None:
    for at in range(len(false_end) + 1):
        first, second = HEAD + false_end[:at], false_end[at:] + b"more\r\n"
        talk = converse([EHLO + ENVELOPE + chunk(first) + chunk(second, last=True)])
        assert talk.kinds == ["Mail", "Recipient", "ContentBegins", "ContentAborted"]
        assert "550 5.6.0" in talk.replies
        assert talk.server.state is State.GREETED


def test_a_defect_is_not_forgotten_however_long_the_message_goes_on() -> None:
    pieces = [DATA, b"one\ntwo\r\n", *[b"good line\r\n" * 500] * 20, b".\r\n"]
    talk = converse(pieces)
    assert talk.last == "550 5.6.0"
    assert talk.content == b""


def test_a_cr_at_the_end_of_the_last_chunk_is_bare() -> None:
    talk = converse([EHLO + ENVELOPE + chunk(b"text\r", last=True)])
    assert (talk.kinds[-1], talk.last) == ("ContentAborted", "550 5.6.0")
    talk = converse([EHLO + ENVELOPE + chunk(b"text\r") + chunk(b"", last=True)])
    assert (talk.kinds[-1], talk.replies[-2:]) == ("ContentAborted", ["250 2.0.0", "550 5.6.0"])


def test_a_crlf_divided_over_two_chunks_is_whole() -> None:
    talk = converse([EHLO + ENVELOPE + chunk(b"text\r") + chunk(b"\nmore\r\n", last=True)])
    assert talk.content == b"text\r\nmore\r\n"
    assert talk.replies[-2:] == ["250 2.0.0", "250 2.0.0"]


def test_an_end_of_data_inside_a_chunk_is_content() -> None:
    content = b"text\r\n.\r\n..dots\r\n.\r\n"
    talk = converse([EHLO + ENVELOPE + chunk(content, last=True)])
    assert talk.content == content
    assert talk.kinds[-1] == "ContentEnds"


# The end of data, and dots


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"...\r\n.\r\n", b"..\r\n"),
        (b".x\r\n.\r\n", b"x\r\n"),  # RFC 5321 §4.5.2: any first dot goes
        (b"a\r\n..b\r\n...\r\n.\r\n", b"a\r\n.b\r\n..\r\n"),
        (b"a..\r\n.b.\r\n.\r\n", b"a..\r\nb.\r\n"),
        (b"..\r\n..\r\n..\r\n.\r\n", b".\r\n.\r\n.\r\n"),
        (b"\r\n\r\n..\r\n\r\n.\r\n", b"\r\n\r\n.\r\n\r\n"),
        (b"no dots\r\n\r\nat all\r\n.\r\n", b"no dots\r\n\r\nat all\r\n"),
        (b"\xc3\xa9\xff\x80\r\n.\r\n", b"\xc3\xa9\xff\x80\r\n"),
    ],
)
def test_content_arrives_as_it_was_meant_wherever_the_network_cuts(sent: bytes, meant: bytes) -> None:
    for first, second in product(range(len(sent) + 1), repeat=2):
        talk = converse([DATA, *cut(sent, [first, second])])
        assert talk.content == meant
        assert talk.kinds[-1] == "ContentEnds"
        assert talk.last == "250 2.0.0"


def test_a_whole_message_may_stand_behind_another_one() -> None:
    message = MAIL + RCPT + b"DATA\r\n..one\r\n.\r\n"
    talk = converse([EHLO + message * 3 + b"QUIT\r\n"])
    assert talk.kinds == ["Mail", "Recipient", "ContentBegins", "ContentChunk", "ContentEnds"] * 3 + ["Quit"]
    assert talk.content == b".one\r\n" * 3


def test_large_content_is_handed_on_as_it_arrives() -> None:
    piece = b"A line of text, and a dot in it.\r\n" * 2000
    talk = converse([DATA, *[piece] * 4, b".\r\n"])
    assert talk.content == piece * 4
    assert len(talk.events) <= len(["Mail", "Recipient", "ContentBegins", "ContentEnds"]) + 5


def test_a_very_long_line_is_content_like_any_other() -> None:
    line = b"x" * 2_000_000 + b"\r\n"
    assert converse([DATA + line + b".\r\n"]).content == line


def test_content_of_which_the_end_never_came_is_aborted() -> None:
    for end in (b"", b"\r", b"\r\n", b"\r\n.", b"\r\n.\r"):
        talk = converse([DATA + b"half a message" + end], eof=True)
        assert talk.kinds[-1] == "ContentAborted"
        assert talk.pause is Pause.CLOSED
        assert talk.last == "354"


def test_the_driver_chooses_the_words_of_354_and_nothing_else() -> None:
    talk = converse([EHLO + ENVELOPE + b"DATA\r\n"], verdict=refusing(ContentBegins, Reply(354, None, "Tell me")))
    assert talk.sent.endswith(b"\r\n354 Tell me\r\n")
    talk = converse([EHLO + ENVELOPE + b"DATA\r\n"], verdict=refusing(ContentBegins, Reply(250, "2.0.0", "Fine")))
    assert talk.last == "354"
    assert talk.server.state is State.CONTENT


def test_a_refused_data_leaves_the_transaction_open() -> None:
    refusal = refusing(ContentBegins, Reply(452, "4.3.1", "Disk full"))
    talk = converse([EHLO + ENVELOPE + b"DATA\r\nDATA\r\nRSET\r\n"], verdict=refusal)
    assert talk.replies[3:] == ["452 4.3.1", "452 4.3.1", "250 2.0.0"]
    assert talk.kinds == ["Mail", "Recipient", "ContentBegins", "ContentBegins", "Reset"]


def test_the_transaction_is_over_whatever_the_verdict_on_the_message() -> None:
    for verdict in (Reply(250, "2.0.0", "OK"), Reply(451, "4.3.0", "Later"), Reply(550, "5.7.1", "Never")):
        talk = converse([DATA + b"x\r\n.\r\nDATA\r\n"], verdict=refusing(ContentEnds, verdict))
        assert talk.replies[-2:] == [f"{verdict.code} {verdict.status}", "503 5.5.1"]
        assert talk.server.state is State.GREETED


# Size

SMALL = replace(PROFILE, max_size=20)


def test_content_of_exactly_the_limit_is_accepted_and_one_octet_more_is_not() -> None:
    assert converse([DATA + b"..345678\r\n012345678\r\n.\r\n"], profile=SMALL).last == "250 2.0.0"
    assert converse([DATA + b"..345678\r\n0123456789\r\n.\r\n"], profile=SMALL).last == "552 5.3.4"
    at_limit = chunk(b"a" * 10) + chunk(b"b" * 10, last=True)
    assert converse([EHLO + ENVELOPE + at_limit], profile=SMALL).last == "250 2.0.0"
    above = chunk(b"a" * 10) + chunk(b"b" * 11, last=True)
    assert converse([EHLO + ENVELOPE + above], profile=SMALL).last == "552 5.3.4"


def test_content_that_is_too_large_is_aborted_at_once_and_swallowed_to_its_end() -> None:
    talk = converse([DATA + b"x" * 30], profile=SMALL)
    assert talk.kinds[-1] == "ContentAborted"
    assert talk.last == "354"
    talk = converse([DATA + b"x" * 30, b"MAIL FROM:<baas@example.org>\r\n" * 9, b".\r\n" + MAIL], profile=SMALL)
    assert talk.kinds == ["Mail", "Recipient", "ContentBegins", "ContentAborted", "Mail"]
    assert talk.replies[3:] == ["354", "552 5.3.4", "250 2.1.0"]


def test_both_too_large_and_malformed_is_malformed_whichever_was_seen_first() -> None:
    for content in (b"x" * 30 + b"\n\r\n.\r\n", b"\n" + b"x" * 30 + b"\r\n.\r\n"):
        for pieces in ([DATA + content], byte_by_byte(DATA + content)):
            assert converse(pieces, profile=SMALL).last == "550 5.6.0"


# Chunks


def test_chunks_make_one_message() -> None:
    said = chunk(b"one\r\n") + chunk(b"") + chunk(b"two\r\n") + b"bdat 0 last\r\n"
    for pieces in ([EHLO + ENVELOPE + said], byte_by_byte(EHLO + ENVELOPE + said)):
        talk = converse(pieces)
        assert talk.content == b"one\r\ntwo\r\n"
        assert talk.kinds == ["Mail", "Recipient", "ContentBegins", "ContentChunk", "ContentEnds"]
        assert talk.replies[3:] == ["250 2.0.0"] * 4
        assert talk.server.state is State.GREETED


def test_an_empty_message_may_be_one_empty_chunk() -> None:
    talk = converse([EHLO + ENVELOPE + b"BDAT 0 LAST\r\n"])
    assert talk.kinds == ["Mail", "Recipient", "ContentBegins", "ContentEnds"]
    assert talk.last == "250 2.0.0"


def test_the_driver_is_asked_once_and_nothing_is_said_before_the_octets_came() -> None:
    talk = converse([EHLO + ENVELOPE + b"BDAT 10\r\nhalf"])
    assert talk.replies == ["250", "250 2.1.0", "250 2.1.5"]
    talk = converse([EHLO + ENVELOPE + chunk(b"one") + chunk(b"two")])
    assert talk.kinds.count("ContentBegins") == 1


def test_data_does_not_mix_with_chunks() -> None:
    talk = converse([EHLO + ENVELOPE + chunk(b"one\r\n") + b"DATA\r\n" + chunk(b"two\r\n", last=True)])
    assert talk.replies[3:] == ["250 2.0.0", "503 5.5.1", "250 2.0.0"]
    assert talk.content == b"one\r\ntwo\r\n"
    talk = converse([DATA + b"one\r\n.\r\n" + chunk(b"two\r\n", last=True) + b"NOOP\r\n"])
    assert talk.replies[3:] == ["354", "250 2.0.0", "503 5.5.1", "250 2.0.0"]


def test_the_octets_of_a_chunk_out_of_place_are_not_commands() -> None:
    hidden = chunk(b"RSET\r\nQUIT\r\n")
    for before in (b"", EHLO, EHLO + MAIL):
        talk = converse([before + hidden + hidden + b"NOOP\r\n"])
        assert talk.replies[-3:] == ["503 5.5.1", "503 5.5.1", "250 2.0.0"]
    talk = converse([EHLO + hidden + b"NOOP\r\n"], tls=False)
    assert talk.replies[1:] == ["530 5.7.0", "250 2.0.0"]


@pytest.mark.parametrize("argument", [b"", b" x", b" 6\nLAST", b" " + b"6" * 600], ids=len)
def test_behind_a_chunk_of_unknown_size_nothing_is_read(argument: bytes) -> None:
    said = EHLO + ENVELOPE + b"BDAT" + argument + b"\r\nRSET\r\n"
    for pieces in ([said], byte_by_byte(said)):
        talk = converse(pieces)
        assert talk.replies[3:] == ["501 5.5.4"]
        assert talk.pause is Pause.CLOSED


def test_behind_a_failed_chunk_all_others_fail_until_the_last() -> None:
    many = chunk(b"QUIT\r\n") * 20  # pipelined, so their refusals are no new errors
    for failed in (chunk(b"bare\n"), chunk(b"x" * 30), b"BDAT 4 NEXT\r\nQUIT"):
        talk = converse([EHLO + ENVELOPE + failed + many + chunk(b"", last=True) + MAIL], profile=SMALL)
        assert talk.replies[4:] == [*["503 5.5.1"] * 21, "250 2.1.0"]
        assert "ContentEnds" not in talk.kinds


def test_behind_a_failed_chunk_rset_starts_anew() -> None:
    again = b"RSET\r\n" + ENVELOPE + chunk(b"good\r\n", last=True)
    talk = converse([EHLO + ENVELOPE + chunk(b"bare\n") + again])
    assert talk.kinds == [
        *("Mail", "Recipient", "ContentBegins", "ContentAborted"),
        *("Mail", "Recipient", "ContentBegins", "ContentChunk", "ContentEnds"),
    ]
    assert talk.last == "250 2.0.0"


def test_a_failed_chunk_in_the_middle_aborts_what_went_before() -> None:
    for failed in (chunk(b"bare\n"), chunk(b"x" * 30), b"BDAT 4 NEXT\r\nQUIT"):
        talk = converse([EHLO + ENVELOPE + chunk(b"good\r\n") + failed + chunk(b"", last=True)], profile=SMALL)
        assert talk.kinds == ["Mail", "Recipient", "ContentBegins", "ContentAborted"]
        assert talk.last == "503 5.5.1"


def test_a_chunk_that_the_driver_refuses_is_swallowed_before_the_refusal_is_said() -> None:
    refusal = refusing(ContentBegins, Reply(452, "4.3.1", "Disk full"))
    talk = converse([EHLO + ENVELOPE + b"BDAT 12\r\nRSET\r\n"], verdict=refusal)
    assert talk.replies == ["250", "250 2.1.0", "250 2.1.5"]
    talk = converse([EHLO + ENVELOPE + b"BDAT 12\r\nRSET\r\n", b"QUIT\r\n", chunk(b"", last=True)], verdict=refusal)
    assert talk.replies[3:] == ["452 4.3.1", "503 5.5.1"]
    assert talk.kinds == ["Mail", "Recipient", "ContentBegins", "Reset"]
    assert talk.server.state is State.GREETED


def test_a_refused_last_chunk_ends_the_transaction() -> None:
    refusal = refusing(ContentBegins, Reply(552, "5.3.4", "Too much for you"))
    talk = converse([EHLO + ENVELOPE + chunk(b"x\r\n", last=True) + MAIL], verdict=refusal)
    assert talk.replies[3:] == ["552 5.3.4", "250 2.1.0"]
    assert talk.kinds == ["Mail", "Recipient", "ContentBegins", "Reset", "Mail"]


def test_a_421_of_the_driver_is_said_after_the_chunk_and_closes() -> None:
    refusal = refusing(ContentBegins, Reply(421, "4.3.2", "Shutting down"))
    talk = converse([EHLO + ENVELOPE + chunk(b"QUIT\r\n") + b"NOOP\r\n"], verdict=refusal)
    assert talk.replies[3:] == ["421 4.3.2"]
    assert talk.pause is Pause.CLOSED


@pytest.mark.parametrize("said", [b"RSET\r\n", EHLO, b"QUIT\r\n", b"BDAT 9\r\nhalf", b""], ids=repr)
def test_whatever_ends_a_message_in_chunks_halfway_aborts_it(said: bytes) -> None:
    talk = converse([EHLO + ENVELOPE + chunk(b"one\r\n") + said], eof=True)
    assert [kind for kind in talk.kinds if kind != "Quit"] == ["Mail", "Recipient", "ContentBegins", "ContentAborted"]
    assert talk.pause is Pause.CLOSED


def test_an_aborting_rset_leaves_room_for_the_next_message() -> None:
    talk = converse([EHLO + ENVELOPE + chunk(b"one") + b"RSET\r\n" + ENVELOPE + b"DATA\r\ntwo\r\n.\r\n"])
    assert talk.kinds[3:] == [
        *("ContentAborted", "Mail", "Recipient", "ContentBegins", "ContentChunk", "ContentEnds"),
    ]


def test_a_second_message_is_counted_from_zero() -> None:
    message = ENVELOPE + chunk(b"x" * 15, last=True)
    talk = converse([EHLO + message * 3 + (ENVELOPE + b"DATA\r\n" + b"x" * 15 + b"\r\n.\r\n") * 3], profile=SMALL)
    assert talk.kinds.count("ContentEnds") == 6


def test_too_many_errors_between_chunks_abort_the_content() -> None:
    talk = converse([EHLO + ENVELOPE + chunk(b"one") + b"SING\r\n" * 10], verdict=accept)
    assert talk.kinds[-1] == "ContentAborted"
    assert talk.last == "421 4.7.0"
