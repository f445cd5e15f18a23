"""The server machine and a client that means harm: every short content, and dialogues of any kind with any verdicts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.promises import HANDSHAKE, Dialogue, in_pieces_of, smtp_server
from fuzz.promises import converse as converse_in
from fuzz.seeds import FALSE_ENDS, SEEDS, dialogue, plain
from tests.core.smtp_dialogue import EHLO, ENVELOPE, PROFILE, byte_by_byte, converse, cut
from tests.core.test_mime_hostile import steps
from zegel.core.mail.address import Mailbox
from zegel.core.smtp.lines import DotStuffed, LineEndings
from zegel.core.smtp.server import ContentAborted, ContentEnds, Mail, Pause, Recipient, Server, State

DATA = EHLO + ENVELOPE + b"DATA\r\n"
OCTETS = (b"\r", b"\n", b".", b"\0", b"x")
STRAY = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
VICTIM = Mailbox.parse("slachtoffer@voorbeeld.test")
SMUGGLED = b"MAIL FROM:<baas@example.org>\r\nRCPT TO:<slachtoffer@voorbeeld.test>\r\nDATA\r\nx\r\n.\r\n"


def every(longest: int) -> Iterator[bytes]:
    """Every content of so many of these octets."""
    for length in range(longest + 1):
        for octets in product(OCTETS, repeat=length):
            yield b"".join(octets)


def meant(stream: bytes) -> tuple[bytes | None, bytes]:
    """What a client that sends this behind DATA has said, by the letter of RFC 5321 §4.1.1.4 and §4.5.2: its content,
    ``None`` where that is not sound, and what follows. There must be an end in it."""
    content, end, rest = (b"\r\n" + stream).partition(b"\r\n.\r\n")
    assert end
    content += b"\r\n"
    if STRAY.search(content):
        return None, rest
    lines = content.split(b"\r\n")[1:-1]
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in lines), rest


# Every short content


def test_every_short_content_behind_data_is_taken_as_it_was_meant_or_refused() -> None:
    for octets in every(5):
        stream = octets + b"\r\n.\r\n"
        content, rest = meant(stream)
        for pieces in ([DATA + stream], [DATA, *byte_by_byte(stream)]):
            talk = converse(pieces)
            assert talk.replies[4] == ("250 2.0.0" if content is not None else "550 5.6.0"), stream
            # Behind the true end are no verbs in these octets, so each line is one that nobody knows.
            assert talk.replies[5:] == ["500 5.5.2"] * rest.count(b"\r\n"), stream
            if content is None:
                assert talk.kinds == ["Mail", "Recipient", "ContentBegins", "ContentAborted"], stream
            else:
                assert talk.content == content, stream
                assert talk.kinds[-1] == "ContentEnds", stream


def test_every_short_content_is_framed_as_it_was_meant() -> None:
    for octets in every(7):
        stream = octets + b"\r\n.\r\n"
        content, rest = meant(stream)
        framing = DotStuffed()
        body, behind = framing.feed(stream)
        assert framing.malformed is (content is None), stream
        assert behind == rest, stream
        assert content is None or body == content, stream


def test_every_short_content_in_chunks_is_taken_as_it_came_or_refused() -> None:
    for octets in every(4):
        for at in range(len(octets) + 1):
            first, last = octets[:at], octets[at:]
            chunks = b"BDAT %d\r\n%bBDAT %d LAST\r\n%b" % (len(first), first, len(last), last)
            talk = converse([EHLO + ENVELOPE + chunks + b"NOOP\r\n"])
            assert len(talk.replies) == 3 + 2 + 1, octets
            assert talk.last == "250 2.0.0", octets
            assert talk.server.state is State.GREETED
            if STRAY.search(octets):
                assert "550 5.6.0" in talk.replies[3:5], octets
                assert talk.kinds == ["Mail", "Recipient", "ContentBegins", "ContentAborted"], octets
            else:
                assert (talk.content, talk.kinds[-1]) == (octets, "ContentEnds"), octets


def test_every_short_content_has_the_same_line_endings_in_any_chunks() -> None:
    for octets in every(6):
        endings = LineEndings()
        seen = [endings.are_broken_by(octet) for octet in byte_by_byte(octets)]
        assert (any(seen) or endings.are_unfinished) is bool(STRAY.search(octets)), octets


# Smuggled commands


lines = st.sampled_from([b"text\r\n", b"..\r\n", b".x\r\n", b"\r\n", b"\xff\r\n", b"RSET\r\n", b"QUIT\r\n"])
sound = st.lists(lines, max_size=5).map(b"".join)
false_ends = st.sampled_from(FALSE_ENDS)
spoilt = st.builds(lambda before, end, after: before + end + SMUGGLED + after, sound, false_ends, sound)


def without_end(content: bytes) -> bytes:
    """Stuffed as it must be (RFC 5321 §4.5.2), so that only the true end is one."""
    return (b"\r\n" + content).replace(b"\r\n.\r\n", b"\r\n..\r\n")[2:]


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """One transaction, sound or with a smuggled one inside, and the replies that are due to it."""
    is_sound = draw(st.booleans())
    content = draw(sound if is_sound else spoilt)
    verdict = "250 2.0.0" if is_sound else "550 5.6.0"
    match draw(st.sampled_from(["DATA", "BDAT", "chunks"])):
        case "DATA":
            said = b"DATA\r\n" + without_end(content) + b"\r\n.\r\n"
            return ENVELOPE + said, ["250 2.1.0", "250 2.1.5", "354", verdict]
        case "BDAT":
            said = b"BDAT %d LAST\r\n" % len(content) + content
            return ENVELOPE + said, ["250 2.1.0", "250 2.1.5", verdict]
        case _:
            at = draw(st.integers(0, len(content)))
            first, last = content[:at], content[at:]
            seen = bool(STRAY.search(first.removesuffix(b"\r")))
            said = b"BDAT %d\r\n%bBDAT %d LAST\r\n%b" % (len(first), first, len(last), last)
            replies = ["550 5.6.0", "503 5.5.1"] if seen else ["250 2.0.0", verdict]
            return ENVELOPE + said, ["250 2.1.0", "250 2.1.5", *replies]


@settings(max_examples=300)
@given(st.lists(messages(), max_size=6), st.lists(st.integers(0, 3000), max_size=10))
def test_nothing_inside_a_content_is_ever_taken_for_a_command(
    made: list[tuple[bytes, list[str]]], positions: list[int]
) -> None:
    said = EHLO + b"".join(octets for octets, _ in made) + b"NOOP\r\n"
    due = ["250", *(reply for _, replies in made for reply in replies), "250 2.0.0"]
    for pieces in ([said], byte_by_byte(said), cut(said, positions)):
        talk = converse(pieces)
        assert talk.replies == due
        assert sum(isinstance(event, Mail) for event in talk.events) == len(made)
        assert not any(isinstance(event, Recipient) and event.mailbox == VICTIM for event in talk.events)
        ends = [type(event) for event in talk.events if isinstance(event, ContentEnds | ContentAborted)]
        assert ends == [ContentAborted if "550 5.6.0" in replies else ContentEnds for _, replies in made]


# Dialogues of any kind


commands = st.sampled_from(
    [
        *(
            EHLO,
            b"HELO [::1]\r\n",
            b"EHLO \r\n",
            b"EHLO -\xff\r\n",
            b"NOOP\r\n",
            b"noop x\r\n",
            b"HELP\r\n",
            b"RSET\r\n",
        ),
        *(
            b"VRFY x\r\n",
            b"RSET now\r\n",
            b"QUIT\r\n",
            b"QUIT\n",
            b"EXPN x\r\n",
            b"SING\r\n",
            b"\r\n",
            b" \r\n",
            b"\0\r\n",
        ),
        *(
            b"POST / HTTP/1.1\r\n",
            b"x" * 600 + b"\r\n",
            b"y" * 513 + b"\r\r\n",
            b"\xff\xff\r\n",
            b"DATA\r\n",
            b"BDAT\r\n",
        ),
        *(b"MAIL FROM:<balie@voorbeeld.test>\r\n", b"MAIL FROM:<>\r\n", b"MAIL FROM:<a@b.test> SIZE=99999\r\n"),
        *(b"MAIL FROM:a@b.test\r\n", b"MAIL FROM:<\xc3\xa9@b.test> SMTPUTF8\r\n", b"MAIL FROM:<a@b.test> AUTH=<>\r\n"),
        *(b"RCPT TO:<ontvanger@example.org>\r\n", b"RCPT TO:<postmaster>\r\n", b"RCPT TO:<\xc3\xa9@b.test>\r\n"),
        *(b"RCPT TO:<a@b.test> NOTIFY=NEVER,DELAY\r\n", b"RCPT TO:<a b@c.test>\r\n", b"RCPT TO:<a@b.test> X=1\r\n"),
        *(b"STARTTLS\r\n", b"STARTTLS\r\n", b"STARTTLS now\r\n", b"starttls\r\n"),
    ]
)
exchanges = st.sampled_from(
    [
        b"AUTH PLAIN " + plain() + b"\r\n",
        b"AUTH PLAIN\r\n" + plain("weg") + b"\r\n",
        b"AUTH PLAIN " + plain()[:-2] + b"\r\n",
        b"AUTH PLAIN =\r\n",
        b"AUTH PLAIN\r\n*\r\n",
        b"AUTH PLAIN\r\nQUIT\r\n",
        b"AUTH PLAIN YQBiAGM=\r\n",
        b"AUTH LOGIN\r\nYmFsaWU=\r\nZ2VoZWlt\r\n",
        b"AUTH LOGIN YmFsaWU=\r\n*\r\n",
        b"AUTH LOGIN\r\n\r\n",
        b"AUTH LOGIN\r\n" + b"A" * 13_000 + b"\r\n",
        b"AUTH CRAM-MD5\r\n",
        b"AUTH\r\n",
        b"auth plain\r\n" + plain() + b"\nRSET\r\n",
    ]
)
content = st.one_of(sound, spoilt, st.lists(st.sampled_from(OCTETS), max_size=12).map(b"".join))
contents = st.one_of(
    content.map(lambda octets: b"DATA\r\n" + octets + b"\r\n.\r\n"),
    content.map(lambda octets: b"BDAT %d LAST\r\n" % len(octets) + octets),
    content.map(lambda octets: b"BDAT %d\r\n" % len(octets) + octets),
    st.builds(lambda octets, size: b"BDAT %d LAST\r\n" % size + octets, content, st.integers(0, 40)),
)
whole = contents.map(lambda octets: ENVELOPE + octets)
flights = st.lists(st.one_of(commands, exchanges, whole, contents, content), max_size=8).map(b"".join)
dialogues = st.lists(flights, min_size=1, max_size=3).map(lambda some: EHLO + HANDSHAKE.join(some))
verdicts = st.lists(st.sampled_from([0, 0, 0, 0, 1, 2, 3]), max_size=15).map(bytes)


@settings(max_examples=400)
@given(dialogues, verdicts, st.integers(0, 31), st.lists(st.integers(0, 4000), max_size=12))
def test_any_dialogue_is_the_same_however_it_is_cut_and_keeps_every_promise(
    said: bytes, decided: bytes, choices: int, positions: list[int]
) -> None:
    """Behind every verdict, on either side of a handshake, with and without TLS, and under small limits."""
    octets = dialogue(said, choices=choices, verdicts=decided)
    smtp_server(octets)  # whole, and in pieces of 1, 3 and 61 octets
    read = Dialogue.read(octets)
    assert converse_in(read, lambda flight: cut(flight, positions)) == converse_in(read, lambda flight: [flight])


@settings(max_examples=200)
@given(flights, flights, st.lists(st.integers(0, 4000), max_size=6))
def test_what_is_sent_in_clear_behind_starttls_was_never_sent(
    clear: bytes, secure: bytes, positions: list[int]
) -> None:
    """CVE-2011-0411, and RFC 3207 §4.2: the client has to begin anew."""
    begun = EHLO + b"STARTTLS\r\n"
    said = Dialogue.read(dialogue(begun + clear + HANDSHAKE + secure, choices=0))
    silent = Dialogue.read(dialogue(begun + HANDSHAKE + secure, choices=0))
    heard = converse_in(silent, lambda flight: [flight])
    for pieces in (in_pieces_of(1), lambda flight: [flight], lambda flight: cut(flight, positions)):
        assert converse_in(said, pieces) == heard


def test_every_seed_keeps_every_promise() -> None:
    """What fuzzing begins with, and what it found."""
    for seed in SEEDS["smtp_server"]:
        smtp_server(seed)


def test_a_promise_can_be_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes LF.LF for an end obeys what follows, and depends on how it is cut."""

    class Lax(DotStuffed):
        def feed(self, octets: bytes) -> tuple[bytes, bytes | None]:
            return super().feed(octets.replace(b"\n.\n", b"\r\n.\r\n"))

    monkeypatch.setattr("zegel.core.smtp.server.DotStuffed", Lax)
    octets = dialogue(DATA + b"text\n.\n" + SMUGGLED + b".\r\n", choices=17)
    with pytest.raises(AssertionError, match="another dialogue"):
        smtp_server(octets)


# Floods


def talk_through(start: bytes, flood: bytes) -> tuple[int, int]:
    """How many steps it takes to hear this in one go, and how many octets are then said."""
    machine = Server(PROFILE, tls=True)
    machine.greet()
    machine.receive(start)
    assert machine.next_event() is Pause.NEED_INPUT
    machine.outgoing()
    machine.receive(flood)

    def listen() -> None:
        while machine.next_event() not in (Pause.NEED_INPUT, Pause.CLOSED):
            pass

    work = steps(listen)
    assert machine.buffered <= 1  # a CR may be half of a line's end
    return work, len(machine.outgoing())


@pytest.mark.parametrize(
    "piece",
    [
        *(b"NOOP\r\n", b"VRFY\r\n", b"HELP\r\n", b"RSET\r\n", b"EHLO a\r\n", b"\r\n", b"x\r\n", b"AUTH PLAIN\r\n*\r\n"),
        *(
            b"BDAT 0\r\n",
            b"BDAT 3\r\nx\r\n",
            b"x" * 511 + b"\r\n",
            b"\r",
            b"\n",
            b"\r\r\n",
            b"AUTH PLAIN " + b"A" * 200,
        ),
        *(b"MAIL FROM:<" + b"@a," * 200 + b"a@b.test\r\n", b"MAIL FROM:<" + b"a " * 500 + b"@b.test>\r\n"),
        *(b"MAIL FROM:<a@b.test> " + b"A " * 900 + b"\r\n", b'MAIL FROM:<"' + b"\\a" * 900 + b"@b.test\r\n"),
    ],
    ids=lambda piece: repr(piece[:20]),
)
def test_a_flood_of_commands_costs_as_much_as_it_is_long(piece: bytes) -> None:
    """However much one look at the network brings: twice as much is twice the work, and replies are in proportion."""
    once, twice = (talk_through(EHLO, piece * (size // len(piece))) for size in (20_000, 40_000))
    assert twice[0] <= 2.2 * once[0] + 500
    assert twice[0] <= 20 * 40_000
    assert twice[1] <= 40 * 40_000
