"""The mailbox at the other end, met by well-behaved clients and by others."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import re
import resource
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from zegel.core.mail.address import Domain, Mailbox
from zegel.local.authority import LocalAuthority, self_signed
from zegel.local.folders import folder_name, mailbox_folders, mailbox_of, messages
from zegel.local.loopback import NotLoopback
from zegel.local.mx import ReceivingServer, receiving_tls
from zegel.local.reading import arrived, summary

from .running import Loop

FROM, TO = "afzender@example.org", "ontvanger@voorbeeld.test"
MESSAGE = b"From: afzender@example.org\r\nSubject: dag\r\n\r\n.punt\r\nregel\r\n"
NAMES = ["mx.voorbeeld.test", "127.0.0.1"]


class World:
    """One receiving server, its authority, and clients that connect to it."""

    def __init__(self, folder: Path, loop: asyncio.AbstractEventLoop, tls: ssl.SSLContext | None) -> None:
        self.folder = folder
        self.loop = Loop(loop)
        self.server = ReceivingServer(folder, "mx.voorbeeld.test", [Domain.parse("voorbeeld.test")], tls)
        self.port = self.loop.run(self.server.listen("127.0.0.1", 0))

    def stop(self) -> None:
        self.loop.call(self.server.close)
        self.loop.stop()

    def client(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.port, "client.example.org", timeout=10)

    def socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if not path.is_dir()]

    def only_file(self) -> bytes:
        (path,) = self.files()
        return path.read_bytes()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> LocalAuthority:
    return LocalAuthority.load_or_create(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def tls(authority: LocalAuthority) -> ssl.SSLContext:
    return receiving_tls(authority.issue(NAMES, authority.certificate_path.parent))


@pytest.fixture(scope="module")
def trusting(authority: LocalAuthority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.certificate_path))


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def world(request: pytest.FixtureRequest, tmp_path: Path, tls: ssl.SSLContext) -> Iterator[World]:
    new_loop: Callable[[], asyncio.AbstractEventLoop] = request.param
    world = World(tmp_path / "mail", new_loop(), tls)
    yield world
    world.stop()
    assert not world.loop.complaints


def read_reply(stream: io.IOBase) -> bytes:
    """All lines of one reply."""
    lines = b""
    while True:
        line = bytes(stream.readline())
        lines += line
        if line[3:4] != b"-":
            return lines


def say(client: socket.socket, stream: io.IOBase, *commands: bytes) -> list[bytes]:
    replies = []
    for command in commands:
        client.sendall(command + b"\r\n")
        replies.append(read_reply(stream))
    return replies


class ByHand:
    """A TLS client that decides itself which octets travel together."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        self._socket, self._in, self._out = connection, ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname="mx.voorbeeld.test")

    def shake_hands_and_say(self, commands: bytes) -> None:
        """The client's last handshake octets and its first commands leave in one piece."""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._socket.sendall(self._out.read())
                self._in.write(self._socket.recv(65536))
        self._tls.write(commands)
        self._socket.sendall(self._out.read())

    def read(self) -> bytes:
        """What arrived, decrypted; anything in clear would raise."""
        while True:
            try:
                return self._tls.read(65536)
            except ssl.SSLWantReadError:
                arrived = self._socket.recv(65536)
                if not arrived:
                    raise ConnectionError("closed") from None
                self._in.write(arrived)

    def read_replies(self, count: int) -> list[bytes]:
        octets = b""
        while len(replies := re.findall(rb"(?:\d{3}-[^\n]*\n)*\d{3} [^\n]*\n", octets)) < count:
            octets += self.read()
        assert b"".join(replies) == octets
        return replies


def wait_until(is_so: Callable[[], bool]) -> None:
    for _ in range(500):
        if is_so():
            return
        time.sleep(0.02)
    raise AssertionError("did not come about in ten seconds")


# What strangers try


@pytest.mark.parametrize(
    "injected",
    [
        b"NOOP\r\n",
        b"EHLO x\r\nMAIL FROM:<kwaad@example.org>\r\nRCPT TO:<ontvanger@voorbeeld.test>\r\n",
        b"STARTTLS\r\n",
        b"Q" * 4_000,  # arrives together with STARTTLS; what the network delivers later is a broken handshake
        b"MAIL FR",
    ],
)
def test_what_came_in_clear_behind_starttls_has_no_effect(
    world: World, trusting: ssl.SSLContext, injected: bytes
) -> None:
    with world.socket() as client:
        stream = client.makefile("rb", buffering=0)
        read_reply(stream)
        say(client, stream, b"EHLO client.example.org")
        client.sendall(b"STARTTLS\r\n" + injected)
        assert read_reply(stream).startswith(b"220 ")
        by_hand = ByHand(client, trusting)
        by_hand.shake_hands_and_say(b"OM:<x@example.org>\r\nRCPT TO:<ontvanger@voorbeeld.test>\r\nEHLO again\r\n")
        replies = by_hand.read_replies(3)
    assert [reply[:3] for reply in replies] == [b"500", b"503", b"250"]
    assert b"STARTTLS" not in replies[2]


def test_what_came_in_clear_after_starttls_was_obeyed_has_no_effect_either(
    world: World, trusting: ssl.SSLContext
) -> None:
    with world.socket() as client:
        stream = client.makefile("rb", buffering=0)
        read_reply(stream)
        say(client, stream, b"EHLO client.example.org")
        (connection,) = world.server._connections
        world.loop.call(connection.pause_writing)  # as if our answer didn't fit in the network's buffers
        say(client, stream, b"STARTTLS")
        client.sendall(b"NOOP\r\nMAIL FR")
        wait_until(lambda: bool(connection._arrived))
        world.loop.call(connection.resume_writing)
        by_hand = ByHand(client, trusting)
        by_hand.shake_hands_and_say(b"EHLO client.example.org\r\n")
        assert [reply[:4] for reply in by_hand.read_replies(1)] == [b"250-"]


def test_clear_text_in_place_of_a_handshake_ends_the_connection(world: World) -> None:
    with world.socket() as client:
        stream = client.makefile("rb")
        read_reply(stream)
        say(client, stream, b"EHLO client.example.org", b"STARTTLS")
        client.sendall(b"MAIL FROM:<kwaad@example.org>\r\nRCPT TO:<ontvanger@voorbeeld.test>\r\nDATA\r\n")
        rest = stream.read()
    assert b"250" not in rest and b"354" not in rest


def test_what_arrives_with_the_end_of_the_handshake_is_answered_under_tls(
    world: World, trusting: ssl.SSLContext
) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        trusting.maximum_version = version
        with world.socket() as client:
            stream = client.makefile("rb", buffering=0)
            read_reply(stream)
            say(client, stream, b"EHLO client.example.org", b"STARTTLS")
            by_hand = ByHand(client, trusting)
            by_hand.shake_hands_and_say(b"EHLO client.example.org\r\nMAIL FROM:<>\r\nNOOP\r\n")
            assert [reply[:3] for reply in by_hand.read_replies(3)] == [b"250"] * 3
    trusting.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED


@pytest.mark.parametrize("how", ["shutdown", "reset"])
@pytest.mark.parametrize("under_tls", [False, True])
def test_a_client_that_disconnects_midway_leaves_no_file(
    world: World, trusting: ssl.SSLContext, how: str, under_tls: bool
) -> None:
    client = world.client()
    client.ehlo()
    if under_tls:
        client.starttls(context=trusting)
        client.ehlo()
    client.mail(FROM)
    client.rcpt(TO)
    assert client.docmd("DATA")[0] == 354
    client.send(b"Subject: half\r\n\r\n" + b"x" * 70 + b"\r\n")
    client.send((b"x" * 70 + b"\r\n") * 3000)
    assert client.sock is not None
    if how == "reset":
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    wait_until(lambda: not world.server._connections)
    assert not world.files()


def test_a_server_that_closes_midway_leaves_no_file(tmp_path: Path, tls: ssl.SSLContext) -> None:
    world = World(tmp_path, asyncio.new_event_loop(), tls)
    with world.socket() as client:
        stream = client.makefile("rb")
        read_reply(stream)
        say(client, stream, b"EHLO x", f"MAIL FROM:<{FROM}>".encode(), f"RCPT TO:<{TO}>".encode(), b"DATA")
        client.sendall(MESSAGE)
        world.stop()
        assert not world.files()
        with pytest.raises(ConnectionError):
            client.recv(100)
            raise ConnectionResetError
    with pytest.raises(ConnectionRefusedError):
        world.socket()


def test_only_its_own_domains_are_taken(world: World) -> None:
    with world.client() as client:
        client.ehlo()
        client.mail(FROM)
        for address in ("a@example.org", "a@sub.voorbeeld.test", "a@test.test"):
            assert client.rcpt(address)[0] == 550
        assert client.rcpt("A.B+c@VOORBEELD.test")[0] == 250


def test_a_message_with_a_bare_line_end_is_refused_and_leaves_no_file(world: World) -> None:
    with world.client() as client:
        client.ehlo()
        client.mail(FROM)
        client.rcpt(TO)
        client.docmd("DATA")
        client.send(b"Subject: a\n.\r\n\r\nb\r\n.\r\n")
        assert client.getreply()[0] == 550
        assert client.noop()[0] == 250
    assert not world.files()


@pytest.mark.parametrize("local", ['"../../buiten"', '".."', '"a/../b"', "a/b", '"a b"', '"x\\"y"', "%2e%2e"])
def test_no_local_part_leads_out_of_the_folder(world: World, local: str) -> None:
    with world.client() as client:
        client.ehlo()
        client.mail(FROM)
        assert client.rcpt(f"<{local}@voorbeeld.test>")[0] == 250
        assert client.data(MESSAGE)[0] == 250
    (path,) = world.files()
    assert path.parent.parent == world.folder
    assert mailbox_of(path.parent.name) == Mailbox.parse(f"{local}@voorbeeld.test").key
    assert [folder.name for folder in mailbox_folders(world.folder)] == [path.parent.name]
    assert messages(path.parent) == [path]


def test_a_mailbox_that_cannot_be_a_folder_is_refused(world: World) -> None:
    with world.client() as client:
        client.ehlo()
        client.mail(FROM, options=["SMTPUTF8"])
        client.send(f"RCPT TO:<{'é' * 32}@voorbeeld.test>\r\n".encode())
        assert client.getreply()[0] == 250
        client.send(f"RCPT TO:<{'Ⱥ' * 32}@voorbeeld.test>\r\n".encode())  # three octets in small, for two
        assert client.getreply()[0] == 550


def test_a_full_disk_is_told_and_leaves_no_file(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with world.client() as client, monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(smtplib.SMTPDataError) as refusal:
            client.sendmail(FROM, [TO, "tweede@voorbeeld.test"], MESSAGE)
        assert refusal.value.smtp_code == 452
        assert not world.files()
        disk.undo()
        client.sendmail(FROM, TO, MESSAGE)
    assert len(world.files()) == 1


def test_content_that_could_not_be_kept_is_refused_even_if_there_is_room_again_at_its_end(world: World) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with world.client() as client:
        client.ehlo()
        client.mail(FROM)
        client.rcpt(TO)
        client.docmd("DATA")
        (connection,) = world.server._connections
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
        try:
            client.send((b"x" * 76 + b"\r\n") * 20_000)
            wait_until(lambda: connection._current.trouble is not None)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        client.send(b".\r\n")
        assert client.getreply()[0] == 451
        assert not world.files()
        client.sendmail(FROM, TO, MESSAGE)
    assert len(world.files()) == 1


def test_a_folder_that_went_away_is_our_trouble(world: World) -> None:
    world.folder.rmdir()
    with world.client() as client, pytest.raises(smtplib.SMTPDataError) as refusal:
        client.sendmail(FROM, TO, MESSAGE)
    assert refusal.value.smtp_code == 451


def test_a_client_that_does_not_read_is_not_written_to_without_end(world: World) -> None:
    with world.socket() as client:
        client.settimeout(1)
        sent = 0
        with pytest.raises((TimeoutError, ConnectionError)):  # commands without a message end it before it blocks
            while sent < 50_000_000:
                sent += client.send(b"HELP\r\n" * 10_000)
    assert sent < 50_000_000


# What is taken


def test_mail_comes_over_verified_tls_and_the_file_says_so(world: World, trusting: ssl.SSLContext) -> None:
    with world.client() as client:
        client.ehlo()
        assert client.has_extn("STARTTLS") and not client.has_extn("AUTH")
        client.starttls(context=trusting)
        client.sendmail(FROM, TO, MESSAGE)
    head, _, content = world.only_file().partition(b"From:")
    assert head == (
        b"Return-Path: <afzender@example.org>\r\n"
        b"Delivered-To: ontvanger@voorbeeld.test\r\n"
        b"X-Local-Transport: TLSv1.3 TLS_AES_256_GCM_SHA384\r\n"
    )
    assert b"From:" + content == MESSAGE


def test_mail_in_clear_is_taken_and_the_file_says_so(world: World) -> None:
    with world.client() as client:
        client.sendmail("", TO, MESSAGE)
    assert world.only_file().startswith(
        b"Return-Path: <>\r\nDelivered-To: ontvanger@voorbeeld.test\r\nX-Local-Transport: none\r\n"
    )


def test_a_message_of_five_megabytes_is_streamed(world: World, trusting: ssl.SSLContext) -> None:
    content = b"Subject: groot\r\n\r\n" + (b"x" * 76 + b"\r\n") * 70_000
    with world.client() as client:
        client.starttls(context=trusting)
        client.sendmail(FROM, TO, content)
    assert world.only_file().endswith(content)


def test_the_size_of_a_message_does_not_show_in_memory(world: World) -> None:
    line = b"x" * 998 + b"\r\n"
    with world.client() as client:
        client.ehlo()
        client.mail(FROM)
        client.rcpt(TO)
        client.docmd("DATA")
        client.send(line * 1000)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(30):
            client.send(line * 1000)
        client.send(b".\r\n")
        assert client.getreply()[0] == 250
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(world.only_file()) > 30_000_000
    assert after - before < 10_000  # KiB


def test_each_recipient_gets_a_copy_and_nobody_two(world: World) -> None:
    with world.client() as client:
        client.sendmail(FROM, [TO, "Tweede@Voorbeeld.test", "tweede@voorbeeld.test"], MESSAGE)
    assert sorted(path.parent.name for path in world.files()) == [TO, "tweede@voorbeeld.test"]
    for path in world.files():
        assert b"Delivered-To: " + path.parent.name.encode() in path.read_bytes().lower().replace(
            b"delivered-to", b"Delivered-To"
        )
        assert path.stat().st_mode & 0o077 == 0


def test_several_messages_on_one_connection_keep_their_order(world: World) -> None:
    with world.client() as client:
        for number in range(3):
            client.sendmail(FROM, TO, f"Subject: {number}\r\n\r\n".encode())
        client.mail(FROM)
        client.rcpt("niet@voorbeeld.test")
        client.rset()
    found = messages(world.folder / folder_name(Mailbox.parse(TO)))
    assert [summary(path).subject for path in found] == ["2", "1", "0"]
    assert all(arrived(path) is not None for path in found)
    assert len(world.files()) == 3


def test_pipelined_chunks_are_taken_and_a_half_closed_client_gets_its_replies(world: World) -> None:
    with world.socket() as client:
        client.sendall(
            b"EHLO x\r\nMAIL FROM:<a@example.org> BODY=8BITMIME\r\nRCPT TO:<ontvanger@voorbeeld.test>\r\n"
            b"BDAT 10\r\nSubject: \xc3BDAT 7 LAST\r\n\xa9\r\n\r\nabQUIT\r\n"
        )
        client.shutdown(socket.SHUT_WR)
        replies = client.makefile("rb").read()
    assert replies.rstrip().splitlines()[-1].startswith(b"221 ")
    assert b"250 2.0.0 Stored" in replies
    assert world.only_file().endswith("X-Local-Transport: none\r\nSubject: é\r\n\r\nab".encode())


def test_international_addresses_are_kept(world: World) -> None:
    with world.client() as client:
        client.ehlo()
        client.command_encoding = "utf-8"
        client.mail("été@example.org", options=["SMTPUTF8"])
        assert client.rcpt("één@voorbeeld.test")[0] == 250
        assert client.data(MESSAGE)[0] == 250
    content = world.only_file().decode()
    assert "Return-Path: <été@example.org>\r\nDelivered-To: één@voorbeeld.test\r\n" in content
    assert [mailbox_of(folder.name) for folder in mailbox_folders(world.folder)] == ["één@voorbeeld.test"]


def test_the_receiving_servers_show_every_fall_back(
    tmp_path: Path, authority: LocalAuthority, tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    loop, domains = Loop(), [Domain.parse("voorbeeld.test")]
    self_made = receiving_tls(self_signed(NAMES, tmp_path / "tls"))
    servers = [ReceivingServer(tmp_path / "mail", NAMES[0], domains, each) for each in (tls, None, self_made)]
    port = loop.run(servers[0].listen("127.0.0.1", 0))
    for host, server in zip(("127.0.0.2", "127.0.0.3"), servers[1:], strict=True):
        loop.run(server.listen(host, port))
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=10) as good:
            good.starttls(context=trusting)
            good.sendmail(FROM, TO, MESSAGE)
        with smtplib.SMTP("127.0.0.2", port, timeout=10) as without:
            without.ehlo()
            assert not without.has_extn("STARTTLS")
            assert without.docmd("STARTTLS")[0] == 502
            without.sendmail(FROM, TO, MESSAGE)
        with smtplib.SMTP("127.0.0.3", port, timeout=10) as bad, pytest.raises(ssl.SSLCertVerificationError):
            bad.starttls(context=trusting)
    finally:
        for server in servers:
            loop.call(server.close)
        loop.stop()
    overs = sorted(summary(path).transport for path in messages(tmp_path / "mail" / TO))
    assert overs == ["TLSv1.3 TLS_AES_256_GCM_SHA384", "none"]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_is_not_spoken(world: World, authority: LocalAuthority) -> None:
    old = ssl.create_default_context(cafile=str(authority.certificate_path))
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with world.client() as client, pytest.raises((ssl.SSLError, ConnectionError, smtplib.SMTPServerDisconnected)):
        client.starttls(context=old)
    lax = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    lax.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.raises(ValueError, match=r"1\.2"):
        ReceivingServer(world.folder, "mx.test", [], lax)


def test_tls_1_2_is_spoken(world: World, authority: LocalAuthority) -> None:
    older = ssl.create_default_context(cafile=str(authority.certificate_path))
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    with world.client() as client:
        client.starttls(context=older)
        client.sendmail(FROM, TO, MESSAGE)
    assert b"X-Local-Transport: TLSv1.2 ECDHE-ECDSA-" in world.only_file()


def test_others_cannot_reach_it(world: World) -> None:
    with pytest.raises(NotLoopback):
        world.loop.run(world.server.listen("0.0.0.0", 0))
