"""Connections: cut off, idle, pipelined, many at once, and closed by us."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from tests.journey.arrival_ground import GUEST, PATIENCE, PROFILE, SENDER, Doorstep, HungUp, Wire, mail, stuffed
from tests.journey.portal_ground import Clock
from tests.peers import until
from zegel.journey.custody.models import Conversation, Message, Submission

pytestmark = pytest.mark.django_db(transaction=True)

LARGE = b"0123456789abcdef\r\n" * 20_000
LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [uvloop.new_event_loop, asyncio.new_event_loop]
FAREWELL = "421 4.3.2 This server is being restarted; try again"


@pytest.fixture
def doorstep(tmp_path: Path, clock: Clock) -> Iterator[Doorstep]:
    with Doorstep(tmp_path, clock).open() as opened:
        yield opened


@pytest.fixture(params=LOOPS, ids=["uvloop", "asyncio"])
def either(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Doorstep]:
    """A door on each event loop: what a loop does around TLS is its own affair, and differs."""
    profile = replace(PROFILE, max_idle_commands=10**9)  # floods are what some of these tests are made of
    with Doorstep(tmp_path, clock, profile, make_loop=request.param).open() as opened:
        yield opened


# Cut off


def go_to(point: str, doorstep: Doorstep) -> Wire:
    """A client that has come so far."""
    if point == "banner":
        return doorstep.wire()
    if point == "starttls":
        wire = doorstep.wire()
        wire.say("EHLO client.test")
        wire.say("STARTTLS")
        return wire
    if point == "tls":
        return doorstep.secure()
    if point == "auth":
        wire = doorstep.secure()
        wire.say("AUTH LOGIN")
        return wire
    wire = doorstep.signed_in()
    if point == "mail":
        wire.say(f"MAIL FROM:<{SENDER}>")
    elif point in ("rcpt", "data", "header", "body", "large body", "dot", "chunk", "chunks", "large chunk"):
        wire.begin([GUEST])
    if point in ("data", "header", "body", "large body", "dot"):
        wire.say("DATA")
    match point:
        case "header":
            wire.send(mail()[:40])
        case "body":
            wire.send(mail())
        case "large body":
            wire.send(mail(body=LARGE))
            until(lambda: doorstep.files() != [])
        case "dot":
            wire.send(mail() + b".\r")
        case "chunk":
            wire.send(b"BDAT 4000\r\n" + mail())
        case "chunks":
            wire.send(b"BDAT %d\r\n" % len(mail()) + mail())
            wire.reply()
        case "large chunk":
            wire.send(b"BDAT 999999 LAST\r\n" + mail(body=LARGE))
            until(lambda: doorstep.files() != [])
    return wire


POINTS = [
    "banner",
    "starttls",
    "tls",
    "auth",
    "signed in",
    "mail",
    "rcpt",
    "data",
    "header",
    "body",
    "large body",
    "dot",
]
POINTS += ["chunk", "chunks", "large chunk"]


@pytest.mark.parametrize("how", ["close", "reset"])
def test_whoever_hangs_up_leaves_nothing(doorstep: Doorstep, how: str) -> None:
    for point in POINTS:
        wire = go_to(point, doorstep)
        getattr(wire, how)()
        try:
            until(lambda: doorstep.sessions() == 0)
        except TimeoutError:
            pytest.fail(f"the session stays after {point}")
        assert doorstep.custody() == [], point
    assert doorstep.submit(mail()).startswith("250 ")


def test_who_hangs_up_after_the_final_dot_has_submitted(doorstep: Doorstep) -> None:
    """We may have said 250; the client comes again, and D-4 recognises it."""
    with doorstep.held():
        wire = doorstep.signed_in()
        wire.begin([GUEST])
        assert wire.say("DATA").startswith("354 ")
        wire.send(mail(body=LARGE) + b".\r\n")
        until(lambda: doorstep.busy() == 1)
        wire.reset()
    until(Submission.objects.exists)
    until(lambda: doorstep.sessions() == 0)
    assert doorstep.opened().rest == mail(body=LARGE)
    before = doorstep.custody()
    assert doorstep.submit(mail(body=LARGE)).startswith("250 ")
    assert doorstep.custody() == before


def test_what_was_pipelined_behind_a_verdict_is_dropped_with_its_connection(either: Doorstep) -> None:
    """The next message had begun to come when the client vanished."""
    with either.held():
        wire = either.signed_in()
        wire.begin([GUEST])
        first = mail(identity="een")
        following = f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{GUEST}>\r\nBDAT 999999 LAST\r\n".encode()
        wire.send(b"BDAT %d LAST\r\n" % len(first) + first + following + mail(identity="twee", body=LARGE)[:100_000])
        until(lambda: either.busy() == 1)
        wire.reset()
        time.sleep(0.2)  # gives the loss time to be noticed; the test holds whether it is or not
    until(Submission.objects.exists)
    until(lambda: either.sessions() == 0)
    time.sleep(0.1)  # what would be begun now, is begun at once
    assert Submission.objects.get().message_id == "<een@voorbeeld.test>"
    assert either.files() == []


# Pipelined


def test_a_whole_envelope_may_come_at_once(doorstep: Doorstep) -> None:
    wire = doorstep.signed_in()
    wire.send(f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{GUEST}>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n".encode())
    assert [one[:3] for one in wire.replies(4)] == ["250", "250", "250", "354"]
    wire.send(mail() + b".\r\nQUIT\r\n")
    assert [one[:3] for one in wire.replies(2)] == ["250", "221"]
    assert wire.is_closed()
    assert doorstep.opened(Message.objects.filter(conversation__is_blind=False).get()).rest == mail()


def test_many_messages_may_come_at_once(either: Doorstep) -> None:
    wire = either.signed_in()
    octets = b""
    for number in range(20):
        content = mail(identity=str(number), body=LARGE if number == 7 else b"x\r\n")
        octets += f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{GUEST}>\r\nBDAT {len(content)} LAST\r\n".encode() + content
    wire.send(octets + b"QUIT\r\n")
    assert [one[:3] for one in wire.replies(61)] == ["250"] * 60 + ["221"]
    stored = {one.message_id for one in Submission.objects.all()}
    assert stored == {f"<{number}@voorbeeld.test>" for number in range(20)}


def test_a_refusal_in_between_touches_only_its_own_message(doorstep: Doorstep) -> None:
    wire = doorstep.signed_in()
    octets = b""
    for number in range(3):
        content = mail(*(["zivver-nonsense: 1"] if number == 1 else []), identity=str(number))
        octets += f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{GUEST}>\r\nBDAT {len(content)} LAST\r\n".encode() + content
    wire.send(octets)
    assert [one[:3] for one in wire.replies(9)] == ["250"] * 5 + ["550"] + ["250"] * 3
    assert {one.message_id for one in Submission.objects.all()} == {"<0@voorbeeld.test>", "<2@voorbeeld.test>"}


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_how_the_network_cuts_the_octets_makes_no_difference(doorstep: Doorstep, size: int) -> None:
    wire = doorstep.signed_in()
    wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    content = mail(body=b".\r\n..x\r\nregel\r\n")
    octets = f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{GUEST}>\r\nDATA\r\n".encode() + stuffed(content) + b".\r\n"
    for start in range(0, len(octets), size):
        wire.send(octets[start : start + size])
    assert [one[:3] for one in wire.replies(4)] == ["250", "250", "354", "250"]
    assert doorstep.opened().rest == content


# Idle


@pytest.fixture
def impatient(tmp_path: Path, clock: Clock) -> Iterator[Doorstep]:
    """A door that waits for a client for less than a second."""
    with Doorstep(tmp_path, clock, idle=0.7, sweep=0.05).open() as opened:
        yield opened


@pytest.mark.parametrize("point", ["banner", "tls", "auth", "mail", "data", "large body", "chunks"])
def test_who_says_nothing_is_told_so_and_leaves_nothing(impatient: Doorstep, point: str) -> None:
    wire = go_to(point, impatient)
    assert wire.reply().startswith("421 4.4.2 ")
    assert wire.is_closed()
    until(lambda: impatient.sessions() == 0)
    assert impatient.custody() == []


def test_who_waits_for_our_verdict_is_not_idle(impatient: Doorstep) -> None:
    with impatient.held():
        wire = impatient.signed_in()
        wire.begin([GUEST])
        assert wire.say("DATA").startswith("354 ")
        wire.send(mail() + b".\r\n")
        time.sleep(1.4)  # twice as long as a silent client has
    assert wire.reply().startswith("250 ")


def test_who_goes_on_slowly_is_not_idle(impatient: Doorstep) -> None:
    wire = impatient.signed_in()
    for _ in range(10):
        assert wire.say("NOOP").startswith("250 ")
        time.sleep(0.15)


# Closed by us


def close(doorstep: Doorstep, grace: float = 10.0) -> threading.Thread:
    """Begins to close the door; to be joined."""
    closing = threading.Thread(target=lambda: doorstep.loop.run(doorstep.door.close(grace=grace)))
    closing.start()
    until(lambda: doorstep.door.closing)
    return closing


def test_a_closing_door_says_goodbye_to_who_is_idle(doorstep: Doorstep) -> None:
    wires = [go_to(point, doorstep) for point in ("banner", "tls", "signed in", "rcpt", "large body", "chunks")]
    closing = close(doorstep)
    assert [wire.reply() for wire in wires] == [FAREWELL] * len(wires)
    assert all(wire.is_closed() for wire in wires)
    closing.join()
    assert doorstep.custody() == []


def test_a_message_whose_verdict_is_under_way_gets_it_before_the_goodbye(doorstep: Doorstep) -> None:
    with doorstep.held():
        wire = doorstep.signed_in()
        wire.begin([GUEST])
        assert wire.say("DATA").startswith("354 ")
        wire.send(mail() + b".\r\n")
        until(lambda: doorstep.busy() == 1)
        closing = close(doorstep)
    assert wire.reply().startswith("250 2.0.0 ")
    assert wire.reply() == FAREWELL
    assert wire.is_closed()
    closing.join()
    assert doorstep.opened().rest == mail()


def test_a_closed_door_takes_no_connection(doorstep: Doorstep) -> None:
    close(doorstep).join()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", doorstep.port), timeout=1)


def test_grace_ends(doorstep: Doorstep) -> None:
    """A verdict that never comes does not keep a process alive; no 250 is told."""
    with doorstep.held():
        wire = doorstep.signed_in()
        wire.begin([GUEST])
        assert wire.say("DATA").startswith("354 ")
        wire.send(mail() + b".\r\n")
        until(lambda: doorstep.busy() == 1)
        close(doorstep, grace=0.2).join()
        with pytest.raises(HungUp):
            wire.reply()


# STARTTLS


def test_what_is_injected_behind_starttls_is_never_obeyed(either: Doorstep) -> None:
    """CVE-2011-0411: in the clear, and read as if it had come over TLS."""
    wire = either.wire()
    assert wire.say("EHLO client.test").startswith("250 ")
    wire.send(b"STARTTLS\r\nEHLO injected.test\r\nNOOP\r\n")
    assert wire.reply().startswith("220 ")
    wire.socket = either.trust.wrap_socket(wire.socket, server_hostname="localhost")
    assert wire.say("MAIL FROM:<balie@voorbeeld.test>") == "503 5.5.1 Send EHLO first"
    assert wire.say("EHLO client.test").startswith("250 ")
    assert wire.sign_in(either.credential).startswith("235 ")
    assert wire.submit(mail()).startswith("250 ")
    assert b"injected.test" not in either.opened().octets


def test_after_the_handshake_the_client_begins_anew(either: Doorstep) -> None:
    wire = either.wire()
    assert wire.say("EHLO client.test").startswith("250 ")
    wire.start_tls()
    assert wire.say("MAIL FROM:<balie@voorbeeld.test>") == "503 5.5.1 Send EHLO first"
    assert "STARTTLS" not in wire.offers()
    assert wire.say("STARTTLS") == "503 5.5.1 TLS is already active"


class ByHand:
    """A TLS client whose records are put into packets by the test; its last flight is kept back."""

    def __init__(self, wire: Wire, trust: ssl.SSLContext) -> None:
        self._socket = wire.socket
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = trust.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.flush()
                self._receive()

    def write(self, octets: bytes) -> None:
        self._tls.write(octets)

    def say_goodbye(self) -> None:
        with suppress(ssl.SSLError):
            self._tls.unwrap()

    def flush(self) -> None:
        if self._outgoing.pending:
            self._socket.sendall(self._outgoing.read())

    def read_until(self, word: bytes) -> bytes:
        found = b""
        while word not in found:
            try:
                found += self._tls.read(65536)
            except ssl.SSLWantReadError:
                self._receive()
        return found

    def _receive(self) -> None:
        octets = self._socket.recv(65536)
        if not octets:
            raise HungUp
        self._incoming.write(octets)


def ready_for_tls(doorstep: Doorstep) -> Wire:
    wire = doorstep.wire()
    assert wire.say("EHLO client.test").startswith("250 ")
    assert wire.say("STARTTLS").startswith("220 ")
    return wire


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_next_command_may_come_with_the_end_of_the_handshake(either: Doorstep, version: ssl.TLSVersion) -> None:
    """And is answered over TLS, whatever the event loop hands over first."""
    wire = ready_for_tls(either)
    either.trust.maximum_version = version
    tls = ByHand(wire, either.trust)
    tls.write(b"EHLO together.test\r\n")
    tls.write(b"NOOP\r\n")
    tls.flush()
    assert b"250-PIPELINING" in tls.read_until(b"250 2.0.0 OK\r\n")


@pytest.mark.parametrize("behind", [b"", b"QUIT\r\n", b"EHLO together.test\r\nNOOP\r\n"])
@pytest.mark.parametrize("how", ["farewell", "close", "reset"])
def test_who_leaves_with_the_end_of_the_handshake_is_forgotten(either: Doorstep, behind: bytes, how: str) -> None:
    wire = ready_for_tls(either)
    tls = ByHand(wire, either.trust)
    if behind:
        tls.write(behind)
    if how == "farewell":
        tls.say_goodbye()
    tls.flush()
    (wire.reset if how == "reset" else wire.close)()
    until(lambda: either.sessions() == 0)
    assert either.submit(mail()).startswith("250 ")


@pytest.mark.parametrize(
    "garbage",
    [b"EHLO in-clear.test\r\n", b"\x16\x03\x01\xff\xff" + bytes(400), bytes(range(256)) * 300, b"\x16\x03\x01"],
)
@pytest.mark.parametrize("implicit", [False, True])
def test_what_is_no_handshake_ends_the_connection_and_nothing_else(
    either: Doorstep, garbage: bytes, implicit: bool
) -> None:
    if implicit:
        plain = socket.create_connection(("127.0.0.1", either.tls_port), timeout=20)
    else:
        plain = ready_for_tls(either).socket
    with plain, suppress(OSError):
        plain.sendall(garbage)
        plain.shutdown(socket.SHUT_WR)
        while octets := plain.recv(65536):
            assert b"250" not in octets
    until(lambda: either.sessions() == 0)
    assert either.submit(mail()).startswith("250 ")


@pytest.mark.parametrize("implicit", [False, True])
def test_a_client_that_does_not_trust_us_sends_nothing(either: Doorstep, implicit: bool) -> None:
    """The certificate is verified by the client; for us it is one more connection that ended early."""
    stranger = ssl.create_default_context()
    plain = (
        socket.create_connection(("127.0.0.1", either.tls_port), timeout=20)
        if implicit
        else ready_for_tls(either).socket
    )
    with plain, pytest.raises(ssl.SSLCertVerificationError):
        stranger.wrap_socket(plain, server_hostname="localhost")
    until(lambda: either.sessions() == 0)
    assert either.submit(mail()).startswith("250 ")


@pytest.mark.parametrize("implicit", [False, True])
def test_an_old_tls_version_is_refused(either: Doorstep, implicit: bool) -> None:
    old = ssl.create_default_context(cafile=str(either.authority.certificate_path))
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    plain = (
        socket.create_connection(("127.0.0.1", either.tls_port), timeout=20)
        if implicit
        else ready_for_tls(either).socket
    )
    with plain, pytest.raises((ssl.SSLError, OSError)):
        old.wrap_socket(plain, server_hostname="localhost")
    until(lambda: either.sessions() == 0)


def test_over_implicit_tls_everything_is_the_same(either: Doorstep) -> None:
    wire = either.secure(implicit_tls=True)
    assert "STARTTLS" not in wire.offers()
    assert wire.say("STARTTLS") == "503 5.5.1 TLS is already active"
    assert wire.sign_in(either.credential).startswith("235 ")
    assert wire.submit(mail()).startswith("250 ")
    assert either.opened().rest == mail()


# Many at once, and clients that mean no good


def test_idle_clients_do_not_stop_the_busy_ones(doorstep: Doorstep) -> None:
    """P21."""
    idle = [doorstep.wire() for _ in range(240)] + [doorstep.secure() for _ in range(60)]
    replies: dict[int, list[str]] = {}

    def submit(number: int) -> None:
        wire = doorstep.signed_in()
        replies[number] = [wire.submit(mail(identity=f"{number}-{turn}")) for turn in range(5)]

    busy = [threading.Thread(target=submit, args=(number,)) for number in range(20)]
    for thread in busy:
        thread.start()
    for thread in busy:
        thread.join()
    assert [reply[:3] for each in replies.values() for reply in each] == ["250"] * 100
    assert Conversation.objects.count() == 100
    assert {wire.say("NOOP")[:3] for wire in idle} == {"250"}


def test_where_all_places_are_taken_by_who_has_signed_in_nobody_else_is_let_in(doorstep: Doorstep) -> None:
    doorstep.door.most_connections = 3
    first = [doorstep.signed_in() for _ in range(3)]
    late = Wire(doorstep.port, trust=doorstep.trust)
    assert late.reply() == "421 4.7.0 Too many connections; try again later"
    assert late.is_closed()
    first[0].close()
    until(lambda: doorstep.sessions() == 2)
    assert doorstep.wire().say("NOOP").startswith("250 ")


def sent_away(two: list[Wire]) -> list[Wire]:
    """The one that was sent away, then the other. Which it is, is a matter of milliseconds where both are as old."""
    gone = [bool(select.select([one.socket], [], [], 0)[0]) for one in two]
    assert sorted(gone) == [False, True]
    return two if gone[0] else two[::-1]


def test_strangers_who_say_nothing_make_room_for_who_comes_next(doorstep: Doorstep) -> None:
    doorstep.door.most_connections = 3
    at_work = doorstep.signed_in()
    strangers = [doorstep.wire() for _ in range(2)]
    assert doorstep.signed_in().submit(mail()).startswith("250 ")
    ended, kept = sent_away(strangers)
    assert ended.reply() == "421 4.7.0 Too many connections, and this one is not signed in; try again later"
    assert ended.is_closed()
    assert {kept.say("NOOP")[:3], at_work.say("NOOP")[:3]} == {"250"}


def test_strangers_who_stop_in_the_middle_of_a_handshake_make_room_too(doorstep: Doorstep) -> None:
    doorstep.door.most_connections = 3
    at_work = doorstep.signed_in()
    stuck = [doorstep.wire() for _ in range(2)]
    for one in stuck:
        assert one.say("EHLO client.test").startswith("250")
        assert one.say("STARTTLS").startswith("220 ")
    until(lambda: doorstep.busy() == 2)
    assert doorstep.signed_in().submit(mail()).startswith("250 ")
    ended, _ = sent_away(stuck)
    assert ended.is_closed()  # and nothing was said in clear
    assert at_work.say("NOOP").startswith("250 ")


def test_strangers_who_do_not_begin_the_handshake_that_comes_first_make_room_too(doorstep: Doorstep) -> None:
    """Nobody is a session before it, and whoever says nothing would only go after thirty seconds."""
    doorstep.door.most_connections = 3
    silent = [socket.create_connection(("127.0.0.1", doorstep.tls_port)) for _ in range(20)]
    try:
        until(lambda: doorstep.loop.call(lambda: len(doorstep.door.handshakes)) == 3)
        for one in silent[:17]:
            one.settimeout(PATIENCE)
            assert one.recv(1) == b""
        wire = doorstep.secure(implicit_tls=True)
        assert wire.sign_in(doorstep.credential).startswith("235 ")
        assert wire.submit(mail()).startswith("250 ")
    finally:
        for one in silent:
            one.close()
    until(lambda: doorstep.loop.call(lambda: not doorstep.door.handshakes))
    assert wire.say("NOOP").startswith("250 ")


def test_a_closing_door_waits_for_no_handshake(doorstep: Doorstep) -> None:
    with socket.create_connection(("127.0.0.1", doorstep.tls_port)) as silent:
        until(lambda: doorstep.loop.call(lambda: len(doorstep.door.handshakes)) == 1)
        doorstep.loop.run(doorstep.door.close(grace=5))
        silent.settimeout(PATIENCE)
        assert silent.recv(1) == b""


def test_a_command_that_is_trickled_does_not_keep_the_connection(tmp_path: Path, clock: Clock) -> None:
    with Doorstep(tmp_path, clock, idle=0.6, sweep=0.1).open() as doorstep:
        wire = doorstep.secure()
        until(lambda: _trickles(wire, b"N"))
        assert wire.replies()[-1] == "421 4.4.2 Nothing heard for five minutes; closing"


def test_content_that_is_trickled_is_dropped_and_leaves_nothing(tmp_path: Path, clock: Clock) -> None:
    with Doorstep(tmp_path, clock, idle=0.6, sweep=0.1).open() as doorstep:
        wire = doorstep.signed_in()
        wire.begin([GUEST])
        assert wire.say("DATA").startswith("354 ")
        wire.send(mail())
        until(lambda: _trickles(wire, b"a line of content\r\n"))
        assert wire.reply().startswith("421 4.4.2 ")
        assert doorstep.custody() == []


def _trickles(wire: Wire, octets: bytes) -> bool:
    """Sends a little; true once the server has said something."""
    with suppress(OSError):
        wire.send(octets)
    return bool(select.select([wire.socket], [], [], 0.05)[0])


QUESTION = b"EHLO a\r\n"  # small, with a large answer
QUESTIONS = QUESTION * 8_000


def fill(wire: Wire, most: int = 60_000_000) -> int:
    """Asks again and again, until the other side takes no more or ``most`` is reached; how many octets it took."""
    wire.socket.settimeout(0.5)
    sent = 0
    with suppress(TimeoutError):
        while sent < most:
            sent += wire.socket.send(QUESTIONS[sent % len(QUESTIONS) :])
    return sent


@pytest.mark.parametrize("secure", [False, True])
def test_a_client_that_never_listens_cannot_fill_our_memory(either: Doorstep, secure: bool) -> None:
    """It asks on and on, and reads no reply: at some point we stop reading too."""

    def kept() -> int:
        (session,) = either.door.sessions
        assert session._transport is not None
        return session._transport.get_write_buffer_size() + session.machine.buffered

    wire = either.secure() if secure else either.wire()
    most, end = 0, time.monotonic() + 2
    while time.monotonic() < end:
        with suppress(OSError):
            fill(wire, most=1_000_000)
        most = max(most, either.loop.call(kept))
    assert most > 0, "nothing was kept waiting, so nothing was tried"
    assert most < 12_000_000


def test_a_client_that_listens_late_misses_nothing(either: Doorstep) -> None:
    wire = Wire(either.port, trust=either.trust, buffers=8192)
    either.wires.append(wire)
    sent = fill(wire)
    wire.socket.settimeout(20)
    rest = QUESTION[sent % len(QUESTION) :]
    sending = threading.Thread(target=lambda: wire.send(rest + b"QUIT\r\n"))
    sending.start()
    heard = bytearray()
    while octets := wire.socket.recv(262_144):
        heard += octets
    sending.join()
    assert heard.count(b"250 STARTTLS\r\n") == (sent + len(rest)) // len(QUESTION)
    assert heard.endswith(b"221 2.0.0 Closing the connection\r\n")


@pytest.mark.parametrize("secure", [False, True])
def test_a_client_that_never_listens_is_let_go(tmp_path: Path, clock: Clock, secure: bool) -> None:
    with Doorstep(tmp_path, clock, idle=0.7, sweep=0.05, linger=0.2).open() as doorstep:
        wire = doorstep.secure() if secure else doorstep.wire()
        with suppress(OSError):
            fill(wire)
        until(lambda: doorstep.sessions() == 0)
        wire.socket.settimeout(20)
        with pytest.raises((ConnectionError, ssl.SSLError)):
            while True:
                wire.send(QUESTIONS)


# When something of ours breaks


def test_what_breaks_after_the_commit_takes_nothing_back(tmp_path: Path, clock: Clock) -> None:
    """The client gets no 250 and comes again; then it gets one, and the content is there."""

    def broken() -> None:
        raise OSError("no file descriptor is left")

    doorstep = Doorstep(tmp_path, clock, ring=broken)
    with doorstep.open(may_break=True):
        wire = doorstep.signed_in()
        assert wire.submit(mail(body=LARGE)) == "451 4.3.0 Temporary local problem; try again later"
        assert doorstep.opened().rest == mail(body=LARGE)
        before = doorstep.custody()
        assert wire.submit(mail(body=LARGE)).startswith("250 ")
        assert doorstep.custody() == before
    assert [one["where"] for one in doorstep.logged if one["event"] == "broken"] == ["intake"]


def test_what_breaks_before_the_commit_leaves_nothing(tmp_path: Path, clock: Clock) -> None:
    """Here the blob folder can't be written: a file stands in its place."""
    doorstep = Doorstep(tmp_path, clock)
    with doorstep.open(may_break=True):
        doorstep.blobs.folder.write_text("in the way")
        wire = doorstep.signed_in()
        assert wire.submit(mail(body=LARGE)) == "451 4.3.0 Temporary local problem; try again later"
        assert doorstep.custody() == []
        doorstep.blobs.folder.unlink()
        assert wire.submit(mail(body=LARGE)).startswith("250 ")
    assert doorstep.opened().rest == mail(body=LARGE)
