"""An SMTP server's door: drives the sans-I/O machine of :mod:`zegel.core.smtp.server` over asyncio.

Nothing here decides what is legal; the machine does. Here are sockets, handshakes and time limits; the verdicts are
those of whoever derives from :class:`Session`. One connection does one thing at a time: while a verdict is awaited,
reading is paused, so a client can't fill memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, cast

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
from zegel.edge.log import Broken, log

IDLE: Final = 300.0  # seconds for each command, and for each PROGRESS octets of content; RFC 5321 §4.5.3.2.7
PROGRESS: Final = 65_536  # octets; a client that brings less in that time is too slow to be served
HANDSHAKE: Final = 30.0  # seconds
LINGER: Final = 5.0  # seconds for a client to take our last words
MOST_CONNECTIONS: Final = 2000  # per process
BACKLOG: Final = 512  # connections that the system holds for us
ACCEPT_AGAIN: Final = 1.0  # seconds
SWEEP: Final = 5.0  # seconds between two looks at who is idle
TIMED_OUT: Final = Reply(421, "4.4.2", "Nothing heard for five minutes; closing")
SHUTTING_DOWN: Final = Reply(421, "4.3.2", "This server is being restarted; try again")
TOO_MANY: Final = Reply(421, "4.7.0", "Too many connections; try again later")
MADE_ROOM: Final = Reply(421, "4.7.0", "Too many connections, and this one is not signed in; try again later")
NO_AUTHENTICATION: Final = Reply(502, "5.5.1", "There is nothing to sign in to here")

Verdict = Reply | Coroutine[Any, Any, Reply]
"""A reply that is known now, or one that takes a while."""


@dataclass(slots=True)
class Door:
    """What all connections of a process share."""

    profile: Profile
    tls: ssl.SSLContext
    session: Callable[[Door, bool], Session]  # a new connection; True: TLS comes first (RFC 8314)
    idle: float = IDLE
    sweep: float = SWEEP
    linger: float = LINGER
    most_connections: int = MOST_CONNECTIONS
    chores: Callable[[], None] = lambda: None  # at every sweep
    closing: bool = False
    sessions: set[Session] = field(default_factory=set)
    servers: list[asyncio.Server | _TlsFirst] = field(default_factory=list)
    handshakes: dict[asyncio.Task[None], None] = field(default_factory=dict)  # of who is no session yet, oldest first
    _sweeper: asyncio.Task[None] | None = None

    async def open(self, addresses: Sequence[tuple[str, int]], *, implicit_tls: bool = False) -> None:
        """Listens; raises ``OSError`` when an address can't be had. Several processes may share a port."""
        loop = asyncio.get_running_loop()
        for host, port in addresses:
            self.servers.append(
                await _TlsFirst.at(self, host, port)
                if implicit_tls
                else await loop.create_server(
                    lambda: self.session(self, False), host, port, backlog=BACKLOG, reuse_port=True
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
        for handshake in tuple(self.handshakes):
            handshake.cancel()
        for session in tuple(self.sessions):
            session.close_when_idle(SHUTTING_DOWN)
        limit = asyncio.get_running_loop().time() + grace
        while self.sessions and asyncio.get_running_loop().time() < limit:
            await asyncio.sleep(0.05)
        for session in tuple(self.sessions):
            session.end()

    def make_room(self) -> bool:
        """Where all places are taken, whoever has been silent longest without having signed in loses theirs: strangers
        can't keep mail servers out (P21). False: everybody has signed in."""
        if len(self.sessions) < self.most_connections:
            return True
        strangers = [one for one in self.sessions if not one.is_signed_in and (not one.is_busy or one.is_proving)]
        if not strangers:
            return False
        silent = min(strangers, key=lambda one: one.heard_at)
        if silent.is_busy:
            silent.end()  # in the middle of a handshake there is nothing to say
        else:
            silent.close_when_idle(MADE_ROOM)
        return True

    async def _sweep(self) -> None:
        """One timer for all connections: a hundred idle ones cost next to nothing."""
        while True:
            await asyncio.sleep(self.sweep)
            self.chores()
            late = asyncio.get_running_loop().time() - self.idle
            for session in tuple(self.sessions):
                if session.heard_at < late and not session.is_busy:
                    session.close_when_idle(TIMED_OUT)


class _TlsFirst:
    """Listens where TLS comes first (RFC 8314). asyncio would do the handshake before anybody hears of the connection,
    so that strangers who don't finish theirs would be without number: here the oldest of them makes room."""

    def __init__(self, door: Door, sockets: Sequence[socket.socket]) -> None:
        self.sockets = sockets
        self._door = door
        self._accepting = [asyncio.create_task(self._accept(one)) for one in sockets]

    @classmethod
    async def at(cls, door: Door, host: str, port: int) -> _TlsFirst:
        """Raises ``OSError`` when the address can't be had."""
        flags = socket.AI_PASSIVE
        found = await asyncio.get_running_loop().getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=flags)
        with contextlib.ExitStack() as undo:
            sockets = []
            for family, _, _, _, address in dict.fromkeys(found):
                listening = undo.enter_context(
                    socket.create_server(address, family=family, backlog=BACKLOG, reuse_port=True)
                )
                listening.setblocking(False)
                sockets.append(listening)
            undo.pop_all()
        return cls(door, sockets)

    def close(self) -> None:
        """Takes no new connection."""
        for task in self._accepting:
            task.cancel()
        for one in self.sockets:
            one.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop, waiting = asyncio.get_running_loop(), self._door.handshakes
        while True:
            try:
                accepted, _ = await loop.sock_accept(listening)
            except ConnectionError:  # it went before it was let in
                continue
            except OSError as cause:  # no more files: those that are open go on
                log(Broken("listener", cause))
                await asyncio.sleep(ACCEPT_AGAIN)
                continue
            if len(waiting) >= self._door.most_connections:
                oldest = next(iter(waiting))
                del waiting[oldest]
                oldest.cancel()
            task = asyncio.create_task(self._shake_hands(accepted))
            waiting[task] = None
            task.add_done_callback(partial(self._end, accepted))

    async def _shake_hands(self, accepted: socket.socket) -> None:
        door = self._door
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: door.session(door, True), accepted, ssl=door.tls, ssl_handshake_timeout=HANDSHAKE
        )

    def _end(self, accepted: socket.socket, task: asyncio.Task[None]) -> None:
        self._door.handshakes.pop(task, None)
        if task.cancelled():
            accepted.close()
        elif (cause := task.exception()) is not None:
            accepted.close()
            if not isinstance(cause, OSError):  # what TLS complains of is one
                log(Broken("listener", cause))


class Session(asyncio.Protocol, ABC):
    """One connection. Who derives from it gives the verdicts: :meth:`begin` to :meth:`drop`."""

    def __init__(self, door: Door, implicit_tls: bool) -> None:
        self.door = door
        self.machine = Server(door.profile, tls=implicit_tls)
        self.peer = ""
        self.tls = ""  # version and cipher, once there are any
        self._transport: asyncio.Transport | None = None
        self._verdict: asyncio.Task[None] | None = None
        self._handshaking = False
        self._held: list[bytes] = []
        self._held_eof = False
        self._deaf = False  # the client takes no replies, so we take no commands
        self._gone = False
        self._progress = 0  # octets of content since heard_at
        self._loop = asyncio.get_running_loop()
        self.heard_at = self._loop.time()  # the last command, or PROGRESS octets of content

    # --- the verdicts ---------------------------------------------------------------------------------------------

    @abstractmethod
    def begin(self, event: Mail) -> Verdict:
        """A mail transaction begins: may it?"""

    @abstractmethod
    def add(self, event: Recipient) -> Verdict:
        """One more recipient: is it taken?"""

    @abstractmethod
    def begin_content(self) -> Reply:
        """The content is announced: 354, or a refusal."""

    @abstractmethod
    def take(self, octets: bytes) -> None:
        """A piece of the content."""

    @abstractmethod
    async def end_content(self) -> Reply:
        """The content is complete: what becomes of it?"""

    async def authenticate(self, event: Authenticate) -> Reply:
        """A name and a secret. Nobody is let in, unless who derives from this says whom; without AUTH in the profile
        the machine refuses before it asks."""
        return NO_AUTHENTICATION

    @abstractmethod
    def drop(self) -> None:
        """The transaction is over without a verdict: whatever was kept of it goes. May be called more than once."""

    @property
    def is_signed_in(self) -> bool:
        """The client has authenticated: it is not the first to make room."""
        return False

    @property
    def is_proving(self) -> bool:
        """The verdict under way is a handshake, or another proof of a client that is still a stranger."""
        return self._handshaking

    # --- the connection -------------------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """A verdict is under way: the client waits for us, not we for it."""
        return self._verdict is not None and not self._verdict.done()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: it is there, or has become encrypted."""
        self._transport = cast(asyncio.Transport, transport)
        if self._handshaking:  # start_tls hands over the encrypted transport; the conversation goes on
            return
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""
        refusal = None
        if self.door.closing:
            refusal = SHUTTING_DOWN
        elif not self.door.make_room():
            refusal = TOO_MANY
        if self.machine.tls:
            self._note_tls()
        self.door.sessions.add(self)
        if refusal is None:
            self.machine.greet()
        else:
            self.machine.greet(refusal=refusal)
        self._advance()

    def data_received(self, data: bytes) -> None:
        """asyncio: the client said something."""
        if self._gone:
            return
        if self._handshaking:
            # start_tls may deliver the first decrypted octets before it returns; answering them now would be in clear.
            self._held.append(data)
            return
        if self.machine.is_taking_content:  # refused content is on its way too
            self._progress += len(data)
            if self._progress >= PROGRESS:
                self._make_progress()
        self.machine.receive(data)
        self._advance()

    def eof_received(self) -> bool:
        """asyncio: the client says no more."""
        if self._handshaking:  # it left with its last flight; the machine is told once it knows of TLS
            self._held_eof = True
            return False
        self.machine.receive_eof()
        self._advance()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: it is gone."""
        self._gone = True
        self.drop()
        self.door.sessions.discard(self)

    def pause_writing(self) -> None:
        """Replies pile up unread: then no more commands are read (P21)."""
        self._deaf = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
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
            self._loop.call_later(self.door.linger, self._transport.abort)
        self.drop()
        self.door.sessions.discard(self)

    def _advance(self) -> None:
        """Works through what the machine has understood, until it needs octets or a verdict."""
        machine = self.machine
        while True:
            event = machine.next_event()
            if isinstance(event, Pause):
                break
            if not self._settle_at_once(event):
                break
        self._flush()
        if not machine.buffered and not machine.is_taking_content:  # no unfinished command is being trickled
            self._make_progress()
        if event is Pause.CLOSED and self._transport is not None:
            self._transport.close()

    def _settle_at_once(self, event: Event) -> bool:
        """True when the event was dealt with here; False when its verdict takes a while."""
        match event:
            case ContentChunk(octets=octets):
                self.take(octets)
            case Mail():
                return self._say(self.begin(event))
            case Recipient():
                return self._say(self.add(event))
            case ContentBegins():
                self.machine.reply(self.begin_content())
            case ContentAborted() | Reset():
                self.drop()
            case Quit():
                pass
            case ContentEnds():
                self._flush()
                return self._say(self.end_content())
            case Authenticate():
                self._flush()
                return self._say(self.authenticate(event))
            case StartTls():
                self._flush()
                self._await(self._handshake())
                return False
        return True

    def _say(self, verdict: Verdict) -> bool:
        if isinstance(verdict, Reply):
            self.machine.reply(verdict)
            return True
        self._await(self._reply(verdict))
        return False

    async def _reply(self, verdict: Coroutine[Any, Any, Reply]) -> bool:
        self.machine.reply(await verdict)
        return True

    def _make_progress(self) -> None:
        self._progress, self.heard_at = 0, self._loop.time()

    def _await(self, work: Coroutine[Any, Any, bool]) -> None:
        if self._transport is not None:
            self._transport.pause_reading()
        self._verdict = self._loop.create_task(self._settle(work))

    async def _settle(self, work: Coroutine[Any, Any, bool]) -> None:
        """``work`` ends with False where the connection is over."""
        try:
            if not await work:
                return
        except Exception as cause:
            log(Broken("listener", cause))
            self.end()
            return
        self._verdict = None
        if self._gone:  # what it had pipelined has nobody to hear of it
            return
        self._make_progress()
        if not self._deaf:
            self._resume_reading()
        self._advance()
        if self.door.closing:
            self.close_when_idle(SHUTTING_DOWN)

    async def _handshake(self) -> bool:
        """RFC 3207 §4.2. What came in clear behind STARTTLS was dropped by the machine: True if secure."""
        clear = self._transport
        assert clear is not None
        self._handshaking = True
        try:
            secure = await self._loop.start_tls(
                clear, self, self.door.tls, server_side=True, ssl_handshake_timeout=HANDSHAKE
            )
        except (OSError, ssl.SSLError, TimeoutError, asyncio.CancelledError):
            self._handshaking = False
            clear.close()
            self.door.sessions.discard(self)
            return False
        self._handshaking = False
        if secure is None or self._gone:
            self.door.sessions.discard(self)
            return False
        self._transport = secure
        self._deaf = False
        self._note_tls()
        self.machine.tls_established()
        for octets in self._held:
            self.machine.receive(octets)
        self._held.clear()
        if self._held_eof:
            self.machine.receive_eof()
        return True

    def _note_tls(self) -> None:
        assert self._transport is not None
        found = self._transport.get_extra_info("ssl_object")
        self.tls = f"{found.version()} {found.cipher()[0]}" if found is not None else ""

    def _resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            with contextlib.suppress(RuntimeError):
                self._transport.resume_reading()

    def _flush(self) -> None:
        octets = self.machine.outgoing()
        if octets and self._transport is not None and not self._transport.is_closing():
            self._transport.write(octets)
