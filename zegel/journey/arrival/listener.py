"""The door on port 587: drives the sans-I/O machine of :mod:`zegel.core.smtp.server` over asyncio.

Nothing here decides what is legal; the machine does. Here are sockets, handshakes, time limits and the verdicts
of sender and intake. One connection does one thing at a time: while a verdict is awaited, reading is paused,
so a client can't fill memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from zegel.core.mail.reply import Reply
from zegel.core.smtp.server import (
    Authenticate,
    ContentAborted,
    ContentBegins,
    ContentChunk,
    ContentEnds,
    Event,
    Mail,
    Pause,
    Profile,
    Quit,
    Recipient,
    Reset,
    Server,
    StartTls,
)
from zegel.edge.log import Broken, SignInRefused, SubmissionRefused, log
from zegel.journey.arrival.intake import (
    DISK_FULL,
    LOCAL_PROBLEM,
    Client,
    Envelope,
    Intake,
    Place,
)
from zegel.journey.arrival.record import AcceptedRecipient
from zegel.journey.arrival.sender import AUTHENTICATED, BAD_CREDENTIALS, Submitter, authenticate, note_use

IDLE: Final = 300.0  # seconds, RFC 5321 §4.5.3.2.7
HANDSHAKE: Final = 30.0  # seconds
LINGER: Final = 5.0  # seconds for a client to take our last words
MOST_CONNECTIONS: Final = 2000  # per process
SWEEP: Final = 5.0  # seconds between two looks at who is idle
TIMED_OUT: Final = Reply(421, "4.4.2", "Nothing heard for five minutes; closing")
SHUTTING_DOWN: Final = Reply(421, "4.3.2", "This server is being restarted; try again")
TOO_MANY: Final = Reply(421, "4.7.0", "Too many connections; try again later")
SENDER_OK: Final = Reply(250, "2.1.0", "Sender accepted")
RECIPIENT_OK: Final = Reply(250, "2.1.5", "Recipient accepted")
GO_AHEAD: Final = Reply(354, None, "Send the message, end with a line that holds a dot only")
NOT_AUTHENTICATED: Final = Reply(530, "5.7.0", "Authentication required")


@dataclass(slots=True)
class Door:
    """What all connections of a process share."""

    place: Place
    profile: Profile
    tls: ssl.SSLContext
    idle: float = IDLE
    sweep: float = SWEEP
    linger: float = LINGER
    most_connections: int = MOST_CONNECTIONS
    has_room: bool = True  # kept by the space watch: below the minimum every submission gets 452 (P4)
    closing: bool = False
    sessions: set[Session] = field(default_factory=set)
    servers: list[asyncio.Server] = field(default_factory=list)
    notes: set[asyncio.Task[None]] = field(default_factory=set)
    _sweeper: asyncio.Task[None] | None = None

    async def open(self, addresses: Sequence[tuple[str, int]], *, implicit_tls: bool = False) -> None:
        """Listens; raises ``OSError`` when an address can't be had. Several processes may share a port."""
        loop = asyncio.get_running_loop()
        for host, port in addresses:
            self.servers.append(
                await loop.create_server(
                    lambda: Session(self, implicit_tls=implicit_tls),
                    host,
                    port,
                    backlog=512,
                    reuse_port=True,
                    ssl=self.tls if implicit_tls else None,
                    ssl_handshake_timeout=HANDSHAKE if implicit_tls else None,
                )
            )
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep())

    async def close(self, *, grace: float) -> None:
        """Takes no new connection; lets verdicts that are under way be told, then ends what is left."""
        self.closing = True
        for server in self.servers:
            server.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for session in tuple(self.sessions):
            session.close_when_idle(SHUTTING_DOWN)
        limit = asyncio.get_running_loop().time() + grace
        while self.sessions and asyncio.get_running_loop().time() < limit:
            await asyncio.sleep(0.05)
        for session in tuple(self.sessions):
            session.end()

    async def _sweep(self) -> None:
        """One timer for all connections: a hundred idle ones cost next to nothing."""
        while True:
            await asyncio.sleep(self.sweep)
            late = asyncio.get_running_loop().time() - self.idle
            for session in tuple(self.sessions):
                if session.heard_at < late and not session.is_busy:
                    session.close_when_idle(TIMED_OUT)


class Session(asyncio.Protocol):
    """One connection."""

    def __init__(self, door: Door, *, implicit_tls: bool) -> None:
        self._door = door
        self._machine = Server(door.profile, tls=implicit_tls)
        self._transport: asyncio.Transport | None = None
        self._peer = ""
        self._verdict: asyncio.Task[None] | None = None
        self._handshaking = False
        self._held: list[bytes] = []
        self._held_eof = False
        self._deaf = False  # the client takes no replies, so we take no commands
        self._gone = False
        self._submitter: Submitter | None = None
        self._envelope: Envelope | None = None
        self._intake: Intake | None = None
        self._smtputf8 = False
        self.heard_at = asyncio.get_running_loop().time()

    @property
    def is_busy(self) -> bool:
        """A verdict is under way: the client waits for us, not we for it."""
        return self._verdict is not None and not self._verdict.done()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._handshaking:  # start_tls hands over the encrypted transport; the conversation goes on
            return
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        refusal = None
        if self._door.closing:
            refusal = SHUTTING_DOWN
        elif len(self._door.sessions) >= self._door.most_connections:
            refusal = TOO_MANY
        self._door.sessions.add(self)
        if refusal is None:
            self._machine.greet()
        else:
            self._machine.greet(refusal=refusal)
        self._advance()

    def data_received(self, data: bytes) -> None:
        if self._gone:
            return
        self.heard_at = asyncio.get_running_loop().time()
        if self._handshaking:
            # start_tls may deliver the first decrypted octets before it returns; answering them now would be in clear.
            self._held.append(data)
            return
        self._machine.receive(data)
        self._advance()

    def eof_received(self) -> bool:
        if self._handshaking:  # it left with its last flight; the machine is told once it knows of TLS
            self._held_eof = True
            return False
        self._machine.receive_eof()
        self._advance()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        self._drop_intake()
        self._door.sessions.discard(self)

    def pause_writing(self) -> None:
        """Replies pile up unread: then no more commands are read (P21)."""
        self._deaf = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._deaf = False
        if not self.is_busy:
            self._resume_reading()

    def close_when_idle(self, farewell: Reply) -> None:
        """Says goodbye between two commands; a message that is being accepted gets its reply first."""
        if self._transport is None or self._transport.is_closing():
            self.end()
        elif not self.is_busy:
            with contextlib.suppress(OSError):
                self._transport.write(farewell.encode())
            self.end()

    def end(self) -> None:
        """Closes the connection now."""
        self._gone = True
        if self._verdict is not None:
            self._verdict.cancel()
        if self._transport is not None:
            self._transport.close()
            asyncio.get_running_loop().call_later(self._door.linger, self._transport.abort)
        self._drop_intake()
        self._door.sessions.discard(self)

    def _advance(self) -> None:
        """Works through what the machine has understood, until it needs octets or a verdict."""
        machine = self._machine
        while True:
            event = machine.next_event()
            if isinstance(event, Pause):
                break
            if not self._settle_at_once(event):
                break
        self._flush()
        if event is Pause.CLOSED and self._transport is not None:
            self._transport.close()

    def _settle_at_once(self, event: Event) -> bool:
        """True when the event was dealt with here; False when its verdict takes a while."""
        match event:
            case ContentChunk(octets=octets):
                if self._intake is not None:
                    self._intake.feed(octets)
            case Mail():
                self._machine.reply(self._begin(event))
            case Recipient():
                self._machine.reply(self._add(event))
            case ContentBegins():
                self._machine.reply(self._begin_content())
            case ContentAborted() | Reset():
                self._drop_intake()
                self._envelope = None
            case Quit():
                pass
            case Authenticate() | ContentEnds() | StartTls():
                self._flush()
                self._await(event)
                return False
        return True

    def _begin(self, event: Mail) -> Reply:
        if self._submitter is None:
            return NOT_AUTHENTICATED
        if not self._door.has_room:
            return DISK_FULL
        self._smtputf8 = event.parameters.smtputf8
        self._envelope = Envelope(event.reverse_path, event.parameters.envid or "")
        return SENDER_OK

    def _add(self, event: Recipient) -> Reply:
        assert self._envelope is not None
        given = event.parameters
        original = f"{given.orcpt[0]};{given.orcpt[1]}" if given.orcpt else ""
        self._envelope.recipients.append(AcceptedRecipient(event.mailbox, given.notify, original[:500]))
        return RECIPIENT_OK

    def _begin_content(self) -> Reply:
        assert self._envelope is not None and self._submitter is not None
        client = Client(self._peer, self._machine.helo or "unknown", self._tls(), self._smtputf8)
        self._intake = Intake(self._door.place, self._submitter, client, self._envelope)
        return GO_AHEAD

    def _await(self, event: Authenticate | ContentEnds | StartTls) -> None:
        if self._transport is not None:
            self._transport.pause_reading()
        self._verdict = asyncio.get_running_loop().create_task(self._settle(event))

    async def _settle(self, event: Authenticate | ContentEnds | StartTls) -> None:
        try:
            match event:
                case StartTls():
                    if not await self._handshake():
                        return
                case Authenticate():
                    self._machine.reply(await self._authenticate(event))
                case ContentEnds():
                    self._machine.reply(await self._end_content())
        except Exception as cause:
            log(Broken("listener", cause))
            self.end()
            return
        self._verdict = None
        if self._gone:  # what it had pipelined has nobody to hear of it
            return
        self.heard_at = asyncio.get_running_loop().time()
        if not self._deaf:
            self._resume_reading()
        self._advance()
        if self._door.closing:
            self.close_when_idle(SHUTTING_DOWN)

    async def _handshake(self) -> bool:
        """RFC 3207 §4.2. What came in clear behind STARTTLS was dropped by the machine: True if secure."""
        clear = self._transport
        assert clear is not None
        self._handshaking = True
        try:
            secure = await asyncio.get_running_loop().start_tls(
                clear, self, self._door.tls, server_side=True, ssl_handshake_timeout=HANDSHAKE
            )
        except (OSError, ssl.SSLError, TimeoutError, asyncio.CancelledError):
            self._handshaking = False
            clear.close()
            self._door.sessions.discard(self)
            return False
        self._handshaking = False
        if secure is None or self._gone:
            self._door.sessions.discard(self)
            return False
        self._transport = secure
        self._deaf = False
        self._machine.tls_established()
        for octets in self._held:
            self._machine.receive(octets)
        self._held.clear()
        if self._held_eof:
            self._machine.receive_eof()
        return True

    async def _authenticate(self, event: Authenticate) -> Reply:
        username, password = event.username, event.password
        try:
            self._submitter = await self._door.place.readers.read(lambda: authenticate(username, password))
        except Exception as cause:
            log(Broken("sign-in", cause))
            return Reply(454, "4.7.0", "Temporary authentication failure; try again later")  # RFC 4954 §6
        if self._submitter is None:
            log(SignInRefused(self._peer))
            return BAD_CREDENTIALS
        if self._submitter.is_to_be_noted:
            note = asyncio.create_task(self._note_use(self._submitter))
            self._door.notes.add(note)
            note.add_done_callback(self._door.notes.discard)
        return AUTHENTICATED

    async def _note_use(self, submitter: Submitter) -> None:
        """Nobody waits for it: on a full disk the message is refused, with 452, and not the sign-in (P4)."""
        try:
            await self._door.place.writer.write(lambda: note_use(submitter))
        except Exception as cause:
            log(Broken("last use of credentials", cause))

    async def _end_content(self) -> Reply:
        intake, self._intake, self._envelope = self._intake, None, None
        if intake is None:
            return LOCAL_PROBLEM
        reply = await intake.finish()
        if not reply.is_positive:
            log(SubmissionRefused(f"{reply.code} {reply.status}", self._peer))
        return reply

    def _drop_intake(self) -> None:
        if self._intake is not None:
            self._intake.abandon()
            self._intake = None

    def _tls(self) -> str:
        assert self._transport is not None
        found = self._transport.get_extra_info("ssl_object")
        return f"{found.version()} {found.cipher()[0]}" if found is not None else ""

    def _resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            with contextlib.suppress(RuntimeError):
                self._transport.resume_reading()

    def _flush(self) -> None:
        octets = self._machine.outgoing()
        if octets and self._transport is not None and not self._transport.is_closing():
            self._transport.write(octets)
