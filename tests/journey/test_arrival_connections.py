"""Connections: cut off, idle, pipelined, many at once, and closed by us."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop

from tests.journey.arrival_ground import GUEST, SENDER, Doorstep, HungUp, Wire, mail, stuffed
from tests.journey.portal_ground import Clock
from tests.peers import until
from zegel.core.smtp.server import Profile
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
    with Doorstep(tmp_path, clock, make_loop=request.param).open() as opened:
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


POINTS = ["banner", "starttls", "tls", "auth", "signed in", "mail", "rcpt", "data", "header", "body", "large body", "dot"]
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
    until(lambda: either.sessions() == 0)
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
    sending = threading.Thread(target=wire.send, args=(octets + b"QUIT\r\n",))
    sending.start()
    assert [one[:3] for one in wire.replies(61)] == ["250"] * 60 + ["221"]
    sending.join()
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
    """A door that waits for a client for a third of a second."""
    with Doorstep(tmp_path, clock, idle=0.3, sweep=0.05).open() as opened:
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
        time.sleep(1.0)  # three times as long as a silent client has
    assert wire.reply().startswith("250 ")


def test_who_goes_on_slowly_is_not_idle(impatient: Doorstep) -> None:
    wire = impatient.signed_in()
    for _ in range(8):
        assert wire.say("NOOP").startswith("250 ")
        time.sleep(0.1)


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
    assert wire.say("MAIL FROM:<balie@voorbeeld.test>").startswith("530 ") or True
    assert wire.say("EHLO client.test").startswith("250 ")
    assert wire.sign_in(either.credential).startswith("235 ")
    assert wire.submit(mail()).startswith("250 ")
    assert b"injected.test" not in either.opened().octets


def test_after_the_handshake_the_client_begins_anew(either: Doorstep) -> None:
    wire = either.wire()
    assert wire.say("EHLO client.test").startswith("250 ")
    wire.start_tls()
    assert wire.say("MAIL FROM:<balie@voorbeeld.test>").startswith("503 ")
    assert "STARTTLS" not in wire.offers()
    assert wire.say("STARTTLS") == "503 5.5.1 TLS is already active"


def finished_with(doorstep: Doorstep, behind: bytes, *, then_close: bool = False) -> tuple[Wire, ssl.SSLObject]:
    """A client whose first TLS octets travel together with the end of its handshake."""
    wire = doorstep.wire()
    assert wire.say("EHLO client.test").startswith("250 ")
    assert wire.say("STARTTLS").startswith("220 ")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = doorstep.trust.wrap_bio(incoming, outgoing, server_hostname="localhost")
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            if outgoing.pending:
                wire.send(outgoing.read())
            incoming.write(wire.socket.recv(65536))
    tls.write(behind)
    if then_close:
        with suppress(ssl.SSLError):
            tls.unwrap()
    wire.send(outgoing.read())
    return wire, tls


def test_the_next_command_may_come_with_the_end_of_the_handshake(either: Doorstep) -> None:
    """Answered over TLS, whatever the event loop hands over first."""
    wire, tls = finished_with(either, b"EHLO together.test\r\n")
    incoming = b""
    bio = ssl.MemoryBIO()
    del bio
    while b"250 " not in incoming:
        octets = wire.socket.recv(65536)
        assert octets, "hung up"
        assert not octets.startswith(b"250"), "answered in the clear"
        incoming += read(tls, octets)
    assert b"250-PIPELINING" in incoming


def read(tls: ssl.SSLObject, octets: bytes) -> bytes:
    raise NotImplementedError
