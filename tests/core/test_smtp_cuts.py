"""How the network cuts the octets makes no difference; random octets do no harm; memory stays bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.smtp_dialogue import (
    EHLO,
    HANDSHAKE,
    MAIL,
    PROFILE,
    RCPT,
    Conversation,
    Piece,
    Verdict,
    accept,
    byte_by_byte,
    converse,
    cut,
)
from zegel.core.mail.reply import Reply
from zegel.core.smtp.lines import MAX_AUTH
from zegel.core.smtp.server import (
    Authenticate,
    ContentAborted,
    ContentBegins,
    ContentChunk,
    ContentEnds,
    Event,
    Mail,
    Pause,
    Recipient,
    Server,
)

NARROW = replace(PROFILE, max_size=60, max_recipients=2, max_errors=8, max_auth_failures=2, requires_tls=False)

commands = st.sampled_from(
    [
        EHLO,
        b"HELO client.example.org\r\n",
        MAIL,
        MAIL,
        b"MAIL FROM:<weg@example.org> SIZE=10\r\n",
        b"MAIL FROM:<afzender@example.org> SIZE=9999\r\n",
        RCPT,
        RCPT,
        b"RCPT TO:<weg@voorbeeld.test>\r\n",
        b"DATA\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"VRFY balie\r\n",
        b"QUIT\r\n",
        b"AUTH PLAIN AGJhbGllAGdlaGVpbQ==\r\n",
        b"AUTH PLAIN\r\nAHdlZwB3ZWc=\r\n",
        b"AUTH LOGIN\r\nYmFsaWU=\r\nZ2VoZWlt\r\n",
        b"AUTH PLAIN\r\n*\r\n",
        b"SING\r\n",
        b"NOOP\nNOOP\r\n",
        b"NOOP " + b"x" * 600 + b"\r\n",
        b"x" * 700 + b"\r\r\n",
        b"BDAT x\r\n",
        b"GET / HTTP/1.1\r\n",
    ]
)
lines = st.sampled_from(
    [b"text\r\n", b".\r\n", b"..\r\n", b".dot\r\n", b"\r\n", b"\n", b"\r", b"\0", b".", b"RSET\r\n"]
)
content = st.lists(lines, max_size=8).map(b"".join)


def as_chunk(octets: bytes, marker: bytes) -> bytes:
    return b"BDAT %d%s\r\n" % (len(octets), marker) + octets


chunks = st.builds(as_chunk, content, st.sampled_from([b"", b"", b" LAST", b" LAST", b" FIRST"]))
opening = EHLO + MAIL + RCPT
message = st.one_of(
    content.map(lambda octets: MAIL + RCPT + b"DATA\r\n" + octets + b"\r\n.\r\n"),
    st.lists(chunks, min_size=1, max_size=3).map(lambda parts: MAIL + RCPT + b"".join(parts)),
)
clean = st.sampled_from([b"text\r\n", b"..\r\n", b"\r\n"])
sound_message = st.lists(clean, max_size=6).map(lambda parts: MAIL + RCPT + b"DATA\r\n" + b"".join(parts) + b".\r\n")
dialogues = st.lists(st.one_of(commands, message, sound_message, chunks, content), max_size=12).map(
    lambda parts: EHLO + b"".join(parts)
)


def moody(event: Event) -> Reply:
    """Refuses some of everything, by what it says."""
    match event:
        case Authenticate(username="weg"):
            return Reply(535, "5.7.8", "Wrong")
        case Mail(reverse_path=path) if str(path).startswith("weg@"):
            return Reply(451, "4.3.0", "Later")
        case Recipient(mailbox=mailbox) if mailbox.local == "weg":
            return Reply(550, "5.1.1", "Nobody")
        case _:
            return accept(event)


def unwilling(event: Event) -> Reply:
    """Wants no content, or not what it was."""
    return Reply(452, "4.3.1", "Full") if isinstance(event, ContentBegins) else moody(event)


def outcome(talk: Conversation) -> tuple[object, ...]:
    server = talk.server
    return talk.meaning, talk.sent, talk.pause, server.state, server.authenticated, server.helo


@settings(max_examples=300, deadline=None)
@given(dialogues, st.lists(st.integers(0, 2000), max_size=12), st.sampled_from([moody, unwilling]), st.booleans())
def test_how_the_network_cuts_the_bytes_makes_no_difference(
    dialogue: bytes, positions: list[int], verdict: Verdict, eof: bool
) -> None:
    whole = converse([dialogue], profile=NARROW, verdict=verdict, eof=eof)
    cuts = converse(cut(dialogue, positions), profile=NARROW, verdict=verdict, eof=eof)
    bytewise = converse(byte_by_byte(dialogue), profile=NARROW, verdict=verdict, eof=eof)
    assert outcome(whole) == outcome(cuts) == outcome(bytewise)


@settings(max_examples=100, deadline=None)
@given(dialogues, dialogues, st.lists(st.integers(0, 2000), max_size=8))
def test_cuts_make_no_difference_on_either_side_of_a_handshake(
    clear: bytes, secure: bytes, positions: list[int]
) -> None:
    before = EHLO + b"STARTTLS\r\n"
    assert converse([before], profile=NARROW, tls=False).pause is Pause.NEED_INPUT

    def speak(first: Sequence[Piece], second: Sequence[Piece]) -> Conversation:
        return converse([*first, HANDSHAKE, *second], profile=NARROW, tls=False, verdict=moody)

    whole = speak([before + clear], [secure])
    cuts = speak([*cut(before, positions), *cut(clear, positions)], cut(secure, positions))
    assert outcome(whole) == outcome(cuts) == outcome(speak([before], [secure]))


@settings(max_examples=200, deadline=None)
@given(dialogues, st.sampled_from([moody, unwilling]))
def test_every_content_that_was_let_in_has_exactly_one_end(dialogue: bytes, verdict: Verdict) -> None:
    talk = converse([dialogue], profile=NARROW, verdict=verdict, eof=True)
    assert talk.pause is Pause.CLOSED
    is_open = False
    for event in talk.events:
        match event:
            case ContentBegins():
                assert not is_open
                is_open = verdict is moody
            case ContentChunk():
                assert is_open
            case ContentEnds() | ContentAborted():
                assert is_open
                is_open = False
            case _:
                assert not is_open
    assert not is_open


@settings(max_examples=200, deadline=None)
@given(dialogues)
def test_content_that_ends_well_has_sound_lines_and_fits(dialogue: bytes) -> None:
    talk = converse([dialogue], profile=NARROW, verdict=moody)
    held = b""
    for event in talk.meaning:
        match event:
            case ContentBegins():
                held = b""
            case ContentChunk(octets):
                held = octets
            case ContentEnds():
                assert len(held) <= NARROW.max_size
                assert not set(held.replace(b"\r\n", b"")) & set(b"\r\n\0")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=20), st.booleans(), st.booleans())
def test_random_octets_do_no_harm(pieces: list[bytes], tls: bool, inside: bool) -> None:
    start = [opening + b"BDAT 40\r\n"] if inside else []
    talk = converse([*start, *pieces], profile=NARROW, tls=tls, eof=True)
    assert talk.pause is Pause.CLOSED
    for line in talk.sent.split(b"\r\n")[:-1]:
        assert line[:3].isdigit()
        assert line.isascii()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"\r", b"\n", b".", b"\0", b" ", b"MAIL", b"BDAT 9", b"DATA", b"*", b"<", b">"]), max_size=60
    )
)
def test_octets_that_mean_something_in_any_order_do_no_harm(parts: list[bytes]) -> None:  # fmt: skip
    octets = b"".join(parts)
    for start in (b"", opening, opening + b"DATA\r\n", EHLO + b"AUTH LOGIN\r\n"):
        whole = converse([start + octets], profile=NARROW, eof=True)
        assert outcome(whole) == outcome(converse(byte_by_byte(start + octets), profile=NARROW, eof=True))


def test_a_line_without_an_end_takes_bounded_memory() -> None:
    for start in (b"", EHLO, EHLO + b"AUTH PLAIN ", EHLO + b"MAIL FROM:<", EHLO + b"AUTH LOGIN\r\n"):
        server = Server(NARROW, tls=True)
        server.greet()
        for piece in (start, *[b"x" * 10_000] * 200):
            server.receive(piece)
            assert server.next_event() is Pause.NEED_INPUT
            assert server.buffered <= MAX_AUTH
        assert len(server.outgoing()) < 1000


def test_content_takes_no_memory_of_the_machine() -> None:
    for start in (opening + b"DATA\r\n", opening + b"BDAT 99999999999999999999\r\n", b"BDAT 99999999999999999999\r\n"):
        talk = converse([start], profile=NARROW)
        for _ in range(50):
            talk.server.receive(b"x.\r\n.\r" * 20_000)
            while not isinstance(event := talk.server.next_event(), Pause):
                assert not isinstance(event, ContentEnds)
            assert talk.server.buffered == 0
