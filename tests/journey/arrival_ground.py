"""Ground for arrival's tests: a door on loopback in a thread of its own, over a database file and a blob folder."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop
from django.db import connection, models
from structlog.testing import capture_logs

from tests.journey.portal_ground import Clock
from tests.journey.zone import Zone
from tests.local.running import Loop
from zegel.accounts import credentials
from zegel.accounts.credentials import NewCredential
from zegel.accounts.models import Account, Organisation, SendingDomain
from zegel.core.mail.head import Head
from zegel.core.smtp.server import Profile
from zegel.edge.blobs import Blobs
from zegel.edge.database import Readers, Scribe, Writer
from zegel.edge.hatch import Hatch, Serving, Settle
from zegel.edge.keyring import opening_keys, submission_keys
from zegel.edge.smtp_door import IDLE, LINGER, SWEEP
from zegel.edge.tls import server_context
from zegel.journey.arrival.apart import Recorder
from zegel.journey.arrival.apart import settle as settle_all
from zegel.journey.arrival.intake import Place
from zegel.journey.arrival.listener import Desk
from zegel.journey.custody.models import Content, Conversation, Job, Message, Recipient, Submission
from zegel.journey.custody.seal import Wrapper
from zegel.journey.custody.unseal import Unsealer
from zegel.local.authority import LocalAuthority

HOST: Final = "zegel.test"
SENDER: Final = "balie@voorbeeld.test"
GUEST: Final = "ontvanger@example.org"
PROFILE: Final = Profile(HOST)  # as compose has it: SPF may be the proof
PATIENCE: Final = 20.0  # seconds after which a test gives up; nothing is measured with it
CUSTODY: Final[tuple[type[models.Model], ...]] = (Content, Submission, Conversation, Message, Recipient, Job)


class HungUp(Exception):
    """The server closed the connection where a reply was awaited."""


class Wire:
    """A client that says exactly what it is told to, and reads one reply at a time."""

    def __init__(
        self,
        port: int,
        *,
        trust: ssl.SSLContext,
        implicit_tls: bool = False,
        buffers: int = 0,
        address: str = "127.0.0.1",
    ) -> None:
        """``buffers``: how many octets may lie in the system between us and the server, roughly."""
        self._trust = trust
        self._pending = b""
        self.socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        if buffers:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
        self.socket.settimeout(PATIENCE)
        self.socket.connect((address, port))
        if implicit_tls:
            self.socket = trust.wrap_socket(self.socket, server_hostname="localhost")

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def replies(self, count: int = 1) -> list[str]:
        """The next replies; of one with several lines only the last."""
        found: list[str] = []
        while len(found) < count:
            line = self._line()
            if line[3:4] == " ":
                found.append(line)
        return found

    def reply(self) -> str:
        return self.replies()[0]

    def say(self, line: str | bytes) -> str:
        """One command and its reply."""
        self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return self.reply()

    def offers(self) -> list[str]:
        """The keywords that EHLO brings, with their values."""
        self.send(b"EHLO client.test\r\n")
        lines = [self._line()]
        while lines[-1][3:4] == "-":
            lines.append(self._line())
        return [line[4:] for line in lines[1:]]

    def start_tls(self) -> None:
        assert self.say("STARTTLS").startswith("220 ")
        self.socket = self._trust.wrap_socket(self.socket, server_hostname="localhost")

    def sign_in(self, made: NewCredential) -> str:
        plain = f"\0{made.credential.username}\0{made.secret.reveal()}".encode()
        return self.say(b"AUTH PLAIN " + base64.b64encode(plain))

    def begin(self, recipients: Sequence[str], *, sender: str = SENDER, parameters: str = "") -> None:
        """The envelope, which must be accepted."""
        assert self.say(f"MAIL FROM:<{sender}>{parameters}").startswith("250 ")
        for one in recipients:
            assert self.say(f"RCPT TO:<{one}>").startswith("250 ")

    def submit(self, content: bytes, *recipients: str, sender: str = SENDER, parameters: str = "") -> str:
        """One transaction; the reply to its content, which is dot-stuffed on the way and ends with CRLF."""
        self.begin(recipients or (GUEST,), sender=sender, parameters=parameters)
        assert self.say("DATA").startswith("354 ")
        self.send(stuffed(content) + b".\r\n")
        return self.reply()

    def is_closed(self) -> bool:
        """Nothing more will come. Waits for it."""
        try:
            return not self._pending and self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:  # a reset, or TLS cut off without a farewell
            return True

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Hangs up as a crash does: RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def _line(self) -> str:
        while b"\r\n" not in self._pending:
            try:
                octets = self.socket.recv(65536)
            except TimeoutError:
                raise
            except OSError as cause:
                raise HungUp from cause
            if not octets:
                raise HungUp
            self._pending += octets
        line, _, self._pending = self._pending.partition(b"\r\n")
        return line.decode()


@dataclass
class Opened:
    """One stored message, opened with the gateway's key."""

    octets: bytes
    head: Head
    header_size: int
    is_blob: bool

    @property
    def trace(self) -> bytes:
        """What arrival put on top."""
        return self.octets[: len(self.octets) - len(self.rest)]

    @property
    def rest(self) -> bytes:
        """All but the two trace fields on top."""
        rest = self.octets
        for name in (b"Received:", b"X-Zegel-Transport:"):
            assert rest.startswith(name), rest[:80]
            end = rest.index(b"\r\n")
            while rest[end + 2 : end + 3] in (b" ", b"\t"):
                end = rest.index(b"\r\n", end + 2)
            rest = rest[end + 2 :]
        return rest


@dataclass
class Doorstep:
    """A door that is open, an organisation that may use it, and what lies behind."""

    folder: Path
    clock: Clock
    profile: Profile = PROFILE
    idle: float = IDLE
    sweep: float = SWEEP
    linger: float = LINGER
    address: str = "127.0.0.1"
    make_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    ring: Callable[[], None] | None = None
    hatch: Path | None = None  # where a recorder serves, or should
    rings: list[int] = field(default_factory=list)
    zone: Zone = field(default_factory=Zone)
    logged: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        keys = Path(os.environ["ZEGEL_FOLDER"]) / "keys"
        self.blobs = Blobs(self.folder / "blobs")
        self.unsealer = Unsealer(opening_keys(keys), self.blobs)
        self.keys = submission_keys(keys)
        self.authority = LocalAuthority.load_or_create(self.folder / "ca")
        self.trust = ssl.create_default_context(cafile=str(self.authority.certificate_path))
        self.certificate = self.authority.issue([HOST, "localhost", "127.0.0.1"], self.folder / "certificates")
        self.organisation = Organisation.objects.create(name="Voorbeeldziekenhuis")
        self.domain("voorbeeld.test")
        self.account = self.account_of(SENDER)
        self.credential = credentials.issue(self.organisation, "tests")

    def domain(self, name: str, *, organisation: Organisation | None = None, in_place: bool = True) -> SendingDomain:
        return SendingDomain.objects.create(
            organisation=organisation or self.organisation,
            name=name,
            ownership_token="t",
            dkim_key=b"",
            dkim_record="",
            in_place=in_place,
        )

    def account_of(self, address: str, *, organisation: Organisation | None = None, **fields: Any) -> Account:
        return Account.objects.create_user(address, organisation=organisation or self.organisation, **fields)

    # the door

    @contextmanager
    def open(self, *, may_break: bool = False) -> Iterator[Doorstep]:
        """Until the block ends. Connections that a test left open are closed. Unless a test breaks something itself,
        nothing may have broken: whatever a client does, a defect of ours is never what comes of it."""
        with capture_logs() as self.logged, self._open():
            yield self
        assert may_break or [one for one in self.logged if one["event"] == "broken"] == []
        assert self.loop.complaints == []

    @contextmanager
    def _open(self) -> Iterator[None]:
        self.loop = Loop(self.make_loop())
        self.wires: list[Wire] = []
        self.place = self._place()
        tls = server_context(*self.certificate)
        self.desk = Desk(self.place)
        self.door = self.desk.door(self.profile, tls, idle=self.idle, sweep=self.sweep, linger=self.linger)
        try:
            self.loop.run(self.door.open([("127.0.0.1", 0)]))
            self.loop.run(self.door.open([("127.0.0.1", 0)], implicit_tls=True))
            self.port, self.tls_port = (one.sockets[0].getsockname()[1] for one in self.door.servers)
            yield
        finally:
            for wire in self.wires:
                wire.close()
            self.loop.run(self.door.close(grace=5))
            self.loop.stop()
            self.place.writer.close()
            self.place.readers.close()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is committed before the block ends: verdicts on content are under way."""
        release, holds = threading.Event(), threading.Event()

        async def hold() -> None:
            def work() -> None:
                holds.set()
                release.wait(PATIENCE)

            await self.place.writer.write(work)

        holding = asyncio.run_coroutine_threadsafe(hold(), self.loop._loop)
        assert holds.wait(PATIENCE)
        try:
            yield
        finally:
            release.set()
            holding.result(PATIENCE)

    def sessions(self) -> int:
        """How many connections the door believes to have."""
        return self.loop.call(lambda: len(self.door.sessions))

    def busy(self) -> int:
        """How many of them wait for a verdict."""
        return self.loop.call(lambda: sum(one.is_busy for one in self.door.sessions))

    def another(self) -> Doorstep:
        """A second door to the same database and folder, as a second process has it; to be opened."""
        return copy(self)

    def _place(self) -> Place:
        return Place(
            hostname=HOST,
            keys=self.keys,
            wrapper=Wrapper(self.keys.sealing),
            blobs=self.blobs,
            writer=Writer() if self.hatch is None else Recorder(Hatch(self.hatch), Writer()),
            readers=Readers(),
            dns=self.zone,
            now=self.clock,
            ring=self.ring or (lambda: self.rings.append(1)),
        )

    # clients

    def wire(self, *, implicit_tls: bool = False) -> Wire:
        """Connected and greeted."""
        port = self.tls_port if implicit_tls else self.port
        wire = Wire(port, trust=self.trust, implicit_tls=implicit_tls, address=self.address)
        self.wires.append(wire)
        assert wire.reply().startswith("220 ")
        return wire

    def secure(self, *, implicit_tls: bool = False) -> Wire:
        """Over TLS, and greeted again."""
        wire = self.wire(implicit_tls=implicit_tls)
        if not implicit_tls:
            assert wire.say("EHLO client.test").startswith("250 ")
            wire.start_tls()
        assert wire.say("EHLO client.test").startswith("250 ")
        return wire

    def signed_in(self, made: NewCredential | None = None) -> Wire:
        wire = self.secure()
        assert wire.sign_in(made or self.credential).startswith("235 ")
        return wire

    def submit(self, content: bytes, *recipients: str) -> str:
        """One transaction on a connection of its own; the last reply."""
        wire = self.signed_in()
        try:
            return wire.submit(content, *recipients)
        finally:
            wire.close()

    # what lies behind

    def files(self) -> list[str]:
        """Every file of the blob folder, finished or not."""
        return sorted(path.name for path in self.blobs.folder.rglob("*") if path.is_file())

    def custody(self) -> list[str]:
        """Everything that arrival may leave: rows and files."""
        rows = [f"{model.__name__} {row}" for model in CUSTODY for row in model._default_manager.values()]
        return sorted(rows) + self.files()

    def opened(self, message: Message | None = None) -> Opened:
        """A stored message; without a name the only one."""
        found = message or Message.objects.get()
        key = self.unsealer.message_key(found, self.unsealer.conversation_key(found.conversation))
        octets = b"".join(self.unsealer.octets(found.content, key))
        head = self.unsealer.head(found.content, key)
        return Opened(octets, head, found.content.header_size, found.content.sealed is None)


class RecorderKilled(BaseException):
    """Here its process ends, and another one starts."""


@contextmanager
def recording(hatch: Path, settle: Settle = lambda asked: settle_all(asked, Scribe())) -> Iterator[list[int]]:
    """A recorder at that hatch, as its process would be, until the block ends; how many messages each round had."""
    serving, rounds, over = Serving(hatch), list[int](), threading.Event()

    def run() -> None:
        nonlocal serving
        while not over.is_set():
            try:
                if count := serving.round(settle):
                    rounds.append(count)
            except RecorderKilled:
                serving.close()
                serving = Serving(hatch)
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield rounds
    finally:
        over.set()
        thread.join(PATIENCE)
        serving.close()


def stuffed(content: bytes) -> bytes:
    """RFC 5321 §4.5.2."""
    return (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]


def mail(
    *fields: str,
    sender: str = SENDER,
    to: str = GUEST,
    subject: str = "Uitslag",
    identity: str | None = "een",
    body: bytes = b"Beste ontvanger,\r\n\r\nDe uitslag is goed.\r\n",
) -> bytes:
    """A message as a mail program writes it; more fields stand behind the usual ones."""
    lines = [f"From: Balie <{sender}>", f"To: {to}", f"Subject: {subject}", "Date: Mon, 23 Nov 2026 12:00:00 +0000"]
    if identity is not None:
        lines.append(f"Message-ID: <{identity}@voorbeeld.test>")
    return "".join(f"{line}\r\n" for line in (*lines, *fields)).encode() + b"\r\n" + body
