"""At a real door: hostile messages, and clients that vanish at any point. Nothing is left behind, and the next client
is served as if there had been none before."""

from __future__ import annotations

import socket
import ssl
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from fuzz.seeds import SEEDS
from tests.core.test_mime_hostile import DEEP_AND_WIDE, growth, much
from tests.journey.arrival_ground import GUEST, SENDER, Doorstep, Wire, mail, stuffed
from tests.journey.portal_ground import Clock
from tests.peers import until
from zegel.core.mail.address import NULL_PATH
from zegel.core.mail.fields import MAX_HEADER_SECTION
from zegel.journey.arrival.intake import Client, Envelope, Intake
from zegel.journey.arrival.listener import Session
from zegel.journey.custody.models import Content, Submission

pytestmark = pytest.mark.django_db(transaction=True)

LARGE: Final = b"0123456789abcdef\r\n" * 20_000
HOW: Final = ("close", "reset", "farewell", "half")


@pytest.fixture
def doorstep(tmp_path: Path, clock: Clock) -> Iterator[Doorstep]:
    with Doorstep(tmp_path, clock).open() as opened:
        yield opened


def vanish(wire: Wire, how: str) -> None:
    """As a crash does, or the end of a process; with an orderly end of TLS; or with an end of what it says alone."""
    with suppress(OSError):  # the server may have gone first
        match how:
            case "reset":
                wire.reset()
            case "farewell":
                wire.socket.settimeout(0.01)  # our close_notify is out at once; theirs need not come
                wire.socket.unwrap()  # type: ignore[attr-defined]
            case "half":
                wire.socket.shutdown(socket.SHUT_WR)
    if how != "half":
        wire.close()


def is_calm(doorstep: Doorstep) -> None:
    """Nobody is in the door any more; the next client is served."""
    until(lambda: doorstep.sessions() == 0)
    wire = doorstep.signed_in()
    assert wire.say("NOOP").startswith("250 ")
    assert wire.say("QUIT").startswith("221 ")
    wire.close()
    until(lambda: doorstep.sessions() == 0)


# Vanished


def transaction(identity: str, *, body: bytes = b"Inhoud.\r\n..\r\n", way: str = "DATA", sender: str = SENDER) -> bytes:
    """All that a client says for one message."""
    content = mail(identity=identity, body=body, sender=sender)
    envelope = f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{GUEST}>\r\nRCPT TO:<blind@example.org>\r\n".encode()
    if way == "DATA":
        return envelope + b"DATA\r\n" + stuffed(content) + b".\r\n"
    half = len(content) // 2
    chunks = b"BDAT %d\r\n%bBDAT %d LAST\r\n%b" % (half, content[:half], len(content) - half, content[half:])
    return envelope + chunks


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("way", ["DATA", "BDAT"])
def test_a_client_that_vanishes_at_any_octet_of_a_message_leaves_nothing(
    doorstep: Doorstep, way: str, how: str
) -> None:
    """After every command, inside every line, within the content and within its end."""
    said = transaction("een", way=way)
    places = {*range(HOW.index(how), len(said), 7), *range(len(said) - 6, len(said))}
    for place in sorted(places):
        wire = doorstep.signed_in()
        wire.send(said[:place])
        vanish(wire, how)
    until(lambda: doorstep.sessions() == 0)
    assert doorstep.custody() == []
    is_calm(doorstep)
    assert doorstep.submit(mail()).startswith("250 ")


@pytest.mark.parametrize("how", HOW)
def test_a_client_that_vanishes_within_a_large_message_leaves_no_file(doorstep: Doorstep, how: str) -> None:
    """Around each segment that is sealed, and each that is written."""
    for way in ("DATA", "BDAT"):
        said = transaction("een", body=LARGE, way=way)
        for place in (*range(60_000, len(said), 40_000), 65_536, 131_072, len(said) - 5, len(said) - 1):
            wire = doorstep.signed_in()
            wire.send(said[:place])
            vanish(wire, how)
    until(lambda: doorstep.sessions() == 0)
    assert any(doorstep.blobs.folder.iterdir()), "nothing was written, so nothing was tried"
    assert doorstep.custody() == []
    is_calm(doorstep)


def test_a_client_that_vanishes_within_its_next_message_has_submitted_the_first(doorstep: Doorstep) -> None:
    second = transaction("twee", body=LARGE)
    for number, place in enumerate((1, 30, 100, 150, 200, 70_000, len(second) - 1)):
        wire = doorstep.signed_in()
        assert wire.submit(mail(identity=f"eerste-{number}")).startswith("250 ")
        wire.send(second[:place])
        vanish(wire, HOW[number % len(HOW)])
    until(lambda: doorstep.sessions() == 0)
    assert {one.message_id for one in Submission.objects.all()} == {f"<eerste-{n}@voorbeeld.test>" for n in range(7)}
    assert doorstep.files() == []
    is_calm(doorstep)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("way", ["DATA", "BDAT"])
@pytest.mark.parametrize("body", [b"Klein.\r\n", LARGE], ids=["small", "large"])
def test_a_client_that_vanishes_before_the_reply_has_submitted_all_of_it_or_nothing(
    doorstep: Doorstep, body: bytes, way: str, how: str
) -> None:
    """The end came and the verdict is under way. What would be refused leaves nothing; what is accepted is whole, and
    the same again is not a second one (D-4)."""
    with doorstep.held():
        wires = [doorstep.signed_in(), doorstep.signed_in()]
        for wire, identity, sender in zip(wires, ("een", "twee"), (SENDER, "niemand@voorbeeld.test"), strict=True):
            wire.send(transaction(identity, body=body, way=way, sender=sender))
        until(lambda: doorstep.busy() == 2)
        for wire in wires:
            vanish(wire, how)
    until(lambda: doorstep.sessions() == 0)
    until(Submission.objects.exists)
    assert Submission.objects.get().message_id == "<een@voorbeeld.test>"
    kept = [Content.objects.get().id.hex] if body is LARGE else []
    until(lambda: doorstep.files() == kept)  # the other's verdict may come after the end of its session
    before = doorstep.custody()
    assert doorstep.submit(mail(identity="een", body=body), GUEST, "blind@example.org").startswith("250 ")
    assert doorstep.custody() == before
    is_calm(doorstep)


def client_hello(doorstep: Doorstep) -> bytes:
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        doorstep.trust.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_vanishes_within_the_handshake_is_forgotten(doorstep: Doorstep, how: str) -> None:
    hello = client_hello(doorstep)
    assert len(hello) > 200
    for place in (0, 1, 5, 6, 50, len(hello) - 1, len(hello)):
        wire = doorstep.wire()
        assert wire.say("EHLO client.test").startswith("250 ")
        assert wire.say("STARTTLS").startswith("220 ")
        wire.send(hello[:place])
        vanish(wire, how)
        with socket.create_connection((doorstep.address, doorstep.tls_port)) as implicit:
            implicit.sendall(hello[:place])
            if how == "reset":
                implicit.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    is_calm(doorstep)
    assert doorstep.custody() == []


@pytest.mark.parametrize("how", HOW)
def test_a_client_that_vanishes_within_its_sign_in_is_forgotten(doorstep: Doorstep, how: str) -> None:
    for said in (b"AUTH", b"AUTH PLAIN ", b"AUTH PLAIN\r\n", b"AUTH LOGIN\r\nYmFsaWU=\r\n", b"AUTH PLAIN AGEAYg==\r\n"):
        for place in (len(said) - 1, len(said)):
            wire = doorstep.secure()
            wire.send(said[:place])
            vanish(wire, how)
    is_calm(doorstep)
    assert doorstep.custody() == []


# Hostile content


def sent(wire: Wire, content: bytes, way: str) -> str:
    """The verdict on content that may hold anything."""
    wire.begin([GUEST])
    if way == "BDAT":
        wire.send(b"BDAT %d LAST\r\n" % len(content) + content)
    else:
        assert wire.say("DATA").startswith("354 ")
        wire.send(stuffed(content) + b"\r\n.\r\n")
    return wire.reply()


@pytest.mark.parametrize("way", ["DATA", "BDAT"])
def test_every_hostile_content_is_stored_as_it_came_or_refused_and_leaves_nothing(doorstep: Doorstep, way: str) -> None:
    """Never 4yz: nothing of this is our trouble. Never a trace of what was refused."""
    wire = doorstep.signed_in()
    for seed in SEEDS["content"]:
        known = doorstep.custody()
        reply = sent(wire, seed[1:], way)
        if reply.startswith("250 "):
            assert len(doorstep.custody()) >= len(known)
        else:
            assert reply[:9] in ("550 5.6.0", "550 5.7.1", "552 5.3.4", "554 5.4.6"), (seed, reply)
            assert doorstep.custody() == known, seed
    assert wire.submit(mail(identity="na-alles")).startswith("250 ")


@pytest.mark.parametrize("name", DEEP_AND_WIDE)
def test_whatever_is_deep_or_wide_is_accepted_and_stored_as_it_came(doorstep: Doorstep, name: str) -> None:
    content = DEEP_AND_WIDE[name]
    reply = sent(doorstep.signed_in(), content, "BDAT")
    assert reply.startswith("250 "), reply
    opened = doorstep.opened()
    assert opened.octets[opened.header_size :] == content.partition(b"\r\n\r\n")[2]
    assert len(opened.head.parts) <= 2000
    assert doorstep.submit(mail()).startswith("250 ")


FROM: Final = b"From: Balie <balie@voorbeeld.test>\r\n"
ROOM: Final = MAX_HEADER_SECTION - 2_000


@pytest.mark.parametrize(
    ("section", "accepted"),
    [
        (FROM + b"X: " + b"x" * ROOM + b"\r\n", True),
        (FROM + much(b"a:\r\n", ROOM), True),
        (FROM + b"Subject:" + much(b"\r\n x", ROOM) + b"\r\n", True),
        (FROM + b"Subject: " + much(b"=?utf-8?B?4oKs?= ", ROOM) + b"\r\n", True),
        (FROM + b"To: " + much(b"a@b.test, ", ROOM) + b"\r\n", True),
        (FROM + b"To: " + b"(" * (ROOM // 2) + b")" * (ROOM // 2) + b"\r\n", True),
        (FROM + b"To: " + b"(" * ROOM + b"\r\n", True),
        (FROM + b"To: " + much(b'"\\', ROOM) + b"\r\n", True),
        (FROM + b"Content-Type: a/b" + much(b";(", ROOM) + b"\r\n", True),
        (b"From: " + b"(" * (ROOM // 2) + b")" * (ROOM // 2) + b"balie@voorbeeld.test\r\n", False),
        (b"From: " + much(b"a@b.test, ", ROOM) + b"\r\n", False),
        (FROM + much(b"From: a@b.test\r\n", ROOM), False),
        (FROM + much(b"zegel-access-right: a@b.test access-code 1234\r\n", ROOM), False),
        (FROM + much(b"Received: x\r\n", ROOM), False),
        (FROM + b"x" * ROOM + b"\r\n", False),
        (FROM + b"X: " + b"x" * MAX_HEADER_SECTION + b"\r\n", False),
    ],
    ids=lambda value: repr(value[30:50]) + repr(value[-8:]) if isinstance(value, bytes) else "",
)
def test_a_header_section_of_the_greatest_size_is_accepted_or_refused(
    doorstep: Doorstep, section: bytes, accepted: bool
) -> None:
    reply = sent(doorstep.signed_in(), section + b"\r\nInhoud.\r\n", "BDAT")
    if accepted:
        assert reply.startswith("250 "), reply
        opened = doorstep.opened()
        assert opened.octets[opened.header_size :] == b"Inhoud.\r\n"
    else:
        assert reply[:9] in ("550 5.6.0", "552 5.3.4", "554 5.4.6")
        assert doorstep.custody() == []
    assert doorstep.submit(mail()).startswith("250 ")


# What one piece from the network may cost


def intake(doorstep: Doorstep) -> Intake:
    """Of a client that has signed in."""
    wire = doorstep.signed_in()
    (session,) = doorstep.door.sessions
    assert isinstance(session, Session)
    submitter = session._submitter
    assert submitter is not None
    wire.close()
    until(lambda: doorstep.sessions() == 0)
    client = Client("127.0.0.1", "client.test", "TLSv1.3 TLS_AES_256_GCM_SHA384")
    return Intake(doorstep.place, submitter, client, Envelope(NULL_PATH))


HOSTILE: Final = {
    "small fields": lambda size: FROM + much(b"a:\r\n", size),
    "To fields": lambda size: FROM + much(b"To:,\r\n", size),
    "addresses": lambda size: FROM + b"To: " + much(b"a@b.t,", size) + b"\r\n",
    "commas": lambda size: FROM + b"Cc: " + much(b",", size) + b"\r\n",
    "closing parentheses": lambda size: FROM + b"To: " + much(b")", size) + b"\r\n",
    "semicolons of an author": lambda size: FROM[:-2] + much(b";", size) + b"\r\n",
    "comments of an author": lambda size: FROM[:-2] + much(b"()", size) + b"\r\n",
    "words": lambda size: FROM + b"Subject: " + much(b"=?a?q?b?= ", size) + b"\r\n",
    "parameters": lambda size: FROM + b"Content-Type: a/b" + much(b";a*0=%41", size) + b"\r\n",
    "folds": lambda size: FROM + b"Subject:" + much(b"\r\n x", size) + b"\r\n",
    "access rights": lambda size: (
        FROM + b"".join(b"zegel-access-right: %d@b.t access-code 1234\r\n" % number for number in range(size // 42))
    ),
    "access rights by sms": lambda size: (
        FROM + b"".join(b"zegel-access-right: %d@b.t sms +31612345678\r\n" % number for number in range(size // 42))
    ),
    "parts": lambda size: FROM + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + much(b"--b\r\n\r\n", size),
    "containers": lambda size: (
        FROM
        + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        + much(b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n", size)
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_one_piece_costs_as_much_as_it_is_long_whatever_is_in_it(doorstep: Doorstep, name: str) -> None:
    """The loop serves nobody else meanwhile. The work is counted, never timed."""
    taking = [intake(doorstep), intake(doorstep)]

    def feed(size: int) -> None:
        taking[size > 40_000].feed(HOSTILE[name](size) + b"\r\n")

    once, twice = growth(feed, 40_000)  # more than what is looked through only when it is opened
    for one in taking:
        one.abandon()
    assert twice <= 2.2 * once + 2_000
    assert twice <= 60 * 80_000
    assert doorstep.custody() == []


def test_fifty_megabytes_of_hostile_content_pass_through_little_memory(doorstep: Doorstep) -> None:
    """Read, sealed and written as they come: what is held is bounded by constants."""
    taking = intake(doorstep)
    piece = much(b"\r\n--b\r\nContent-Disposition: attachment; filename=x\r\n\r\n", 65_536)
    taking.feed(FROM + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n")
    tracemalloc.start()
    try:
        for _ in range(50 * 1024 * 1024 // len(piece)):
            taking.feed(piece)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        assert doorstep.files() != []
        taking.abandon()
    assert most < 8 * 1024 * 1024
    assert doorstep.custody() == []
