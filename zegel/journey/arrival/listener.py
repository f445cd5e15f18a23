"""The door on port 587: drives the sans-I/O machine of :mod:`zegel.core.smtp.server` over asyncio.

Nothing here decides what is legal; the machine does. Here are sockets, handshakes, time limits and the verdicts
of sender and intake. One connection does one thing at a time: while a verdict is awaited, reading is paused,
so a client can't fill memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import ssl
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, cast

from zegel.accounts.credentials import count_failure
from zegel.core.mail.address import Mailbox
from zegel.core.mail.reply import Reply
from zegel.core.policy.submitting import AUTHENTICATION_REQUIRED, SPF_REPLIES, Spf, is_guessing, network_of
from zegel.core.smtp.server import (
    TOO_MANY_SIGN_INS,
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
from zegel.edge.spf import check_host
from zegel.journey.arrival.intake import (
    DISK_FULL,
    LOCAL_PROBLEM,
    Client,
    Envelope,
    Intake,
    Place,
)
from zegel.journey.arrival.record import AcceptedRecipient
from zegel.journey.arrival.sender import (
    AUTHENTICATED,
    BAD_CREDENTIALS,
    OTHER_DOMAIN,
    Submitter,
    authenticate,
    by_spf,
    demands_both,
    note_use,
    spf_is_in_use,
)

IDLE: Final = 300.0  # seconds for each command, and for each PROGRESS octets of content; RFC 5321 §4.5.3.2.7
PROGRESS: Final = 65_536  # octets; a client that brings less in that time is too slow to be served
HANDSHAKE: Final = 30.0  # seconds
LINGER: Final = 5.0  # seconds for a client to take our last words
MOST_CONNECTIONS: Final = 2000  # per process
MOST_SPF_CHECKS: Final = 50  # at the same time, per process, of strangers and of who has signed in: each
MOST_SPF_CHECKS_OF_A_NETWORK: Final = 10  # of strangers
SPF_PATIENCE: Final = 30.0  # seconds for an evaluation and the wait before it
SWEEP: Final = 5.0  # seconds between two looks at who is idle
TIMED_OUT: Final = Reply(421, "4.4.2", "Nothing heard for five minutes; closing")
SHUTTING_DOWN: Final = Reply(421, "4.3.2", "This server is being restarted; try again")
TOO_MANY: Final = Reply(421, "4.7.0", "Too many connections; try again later")
SENDER_OK: Final = Reply(250, "2.1.0", "Sender accepted")
RECIPIENT_OK: Final = Reply(250, "2.1.5", "Recipient accepted")
GO_AHEAD: Final = Reply(354, None, "Send the message, end with a line that holds a dot only")
MADE_ROOM: Final = Reply(421, "4.7.0", "Too many connections, and this one is not signed in; try again later")


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
    spf_checks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_SPF_CHECKS))
    spf_checks_of_clients: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_SPF_CHECKS))
    spf_networks: Counter[str] = field(default_factory=Counter)  # evaluations under way
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
            self.place.wrapper.forget_if_old()
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
        self._submitter: Submitter | None = None  # of the connection
        self._by_spf: Submitter | None = None  # of one transaction, in place of it
        self._envelope: Envelope | None = None
        self._intake: Intake | None = None
        self._asks_spf = False
        self._tls = ""
        self._smtputf8 = False
        self._progress = 0  # octets of content since heard_at
        self._loop = asyncio.get_running_loop()
        self.heard_at = self._loop.time()  # the last command, or PROGRESS octets of content

    @property
    def is_signed_in(self) -> bool:
        """The client has authenticated, in one way or the other."""
        return self._submitter is not None or self._by_spf is not None

    @property
    def is_busy(self) -> bool:
        """A verdict is under way: the client waits for us, not we for it."""
        return self._verdict is not None and not self._verdict.done()

    @property
    def is_proving(self) -> bool:
        """The verdict under way is a handshake or SPF: the client is still a stranger."""
        return self._handshaking or self._asks_spf

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._handshaking:  # start_tls hands over the encrypted transport; the conversation goes on
            return
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        refusal = None
        if self._door.closing:
            refusal = SHUTTING_DOWN
        elif not self._door.make_room():
            refusal = TOO_MANY
        if self._machine.tls:
            self._note_tls()
        self._door.sessions.add(self)
        if refusal is None:
            self._machine.greet()
        else:
            self._machine.greet(refusal=refusal)
        self._advance()

    def data_received(self, data: bytes) -> None:
        if self._gone:
            return
        if self._handshaking:
            # start_tls may deliver the first decrypted octets before it returns; answering them now would be in clear.
            self._held.append(data)
            return
        if self._machine.is_taking_content:  # refused content is on its way too
            self._progress += len(data)
            if self._progress >= PROGRESS:
                self._make_progress()
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
            self._loop.call_later(self._door.linger, self._transport.abort)
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
        if not machine.buffered and not machine.is_taking_content:  # no unfinished command is being trickled
            self._make_progress()
        if event is Pause.CLOSED and self._transport is not None:
            self._transport.close()

    def _settle_at_once(self, event: Event) -> bool:
        """True when the event was dealt with here; False when its verdict takes a while."""
        match event:
            case ContentChunk(octets=octets):
                if self._intake is not None:
                    self._intake.feed(octets)
            case Mail():
                self._by_spf = None
                if self._submitter is None or self._submitter.needs_spf:
                    self._await(event)
                    return False
                self._machine.reply(self._begin(event))
            case Recipient():
                self._machine.reply(self._add(event))
            case ContentBegins():
                self._machine.reply(self._begin_content())
            case ContentAborted() | Reset():
                self._drop_intake()
                self._envelope = self._by_spf = None
            case Quit():
                pass
            case Authenticate() | ContentEnds() | StartTls():
                self._flush()
                self._await(event)
                return False
        return True

    def _make_progress(self) -> None:
        self._progress, self.heard_at = 0, self._loop.time()

    def _begin(self, event: Mail) -> Reply:
        if not self._door.has_room:
            return DISK_FULL
        self._smtputf8 = event.parameters.smtputf8
        self._envelope = Envelope(event.reverse_path, event.parameters.envid or "")
        return SENDER_OK

    async def _begin_by_spf(self, event: Mail) -> Reply:
        """Without credentials, or beside them, the address of the client and the reverse-path have to prove the
        sender (D-8). A null reverse-path proves nothing. Which organisations and domains are here is not revealed:
        what SPF says is said of any domain, and ``pass`` for one that nobody here has is the usual refusal."""
        place, signed_in, path = self._door.place, self._submitter, event.reverse_path
        try:
            if signed_in is not None and not await place.readers.read(lambda: demands_both(signed_in.organisation)):
                self._submitter = replace(signed_in, needs_spf=False)  # no longer
                return self._begin(event)
            if not isinstance(path, Mailbox):
                return AUTHENTICATION_REQUIRED if signed_in is None else SPF_REPLIES[Spf.NONE]
            if signed_in is None and not await place.readers.read(spf_is_in_use):
                return AUTHENTICATION_REQUIRED
            result = await self._ask_spf(path)
            if result is not Spf.PASS:
                log(SignInRefused(self._peer, why=f"spf {result.value}"))
                return SPF_REPLIES[result]
            found = await place.readers.read(lambda: by_spf(path.domain, self._peer, signed_in))
        except Exception as cause:
            log(Broken("spf", cause))
            return LOCAL_PROBLEM
        if found is None:
            log(SignInRefused(self._peer, why="spf pass, but not for a domain and network that were allowed"))
            return AUTHENTICATION_REQUIRED if signed_in is None else OTHER_DOMAIN
        self._by_spf = found
        return self._begin(event)

    async def _ask_spf(self, path: Mailbox) -> Spf:
        """Who has signed in waits for no stranger, and no network of strangers for another: each evaluation may take
        its time. Who finds no place is told to come again."""
        checks = self._door.spf_checks if self._submitter is None else self._door.spf_checks_of_clients
        network = network_of(self._peer)
        waiting = self._door.spf_networks
        if self._submitter is None and waiting[network] >= MOST_SPF_CHECKS_OF_A_NETWORK:
            return Spf.TEMPERROR
        waiting[network] += 1
        try:
            async with asyncio.timeout(SPF_PATIENCE), checks:
                return await check_host(
                    address=self._peer,
                    domain=path.domain,
                    sender=str(path),
                    helo=self._machine.helo or "",
                    dns=self._door.place.dns,
                )
        except TimeoutError:
            return Spf.TEMPERROR
        finally:
            waiting[network] -= 1
            if not waiting[network]:
                del waiting[network]

    def _add(self, event: Recipient) -> Reply:
        assert self._envelope is not None
        given = event.parameters
        original = f"{given.orcpt[0]};{given.orcpt[1]}" if given.orcpt else ""
        self._envelope.recipients.append(AcceptedRecipient(event.mailbox, given.notify, original[:500]))
        return RECIPIENT_OK

    def _begin_content(self) -> Reply:
        submitter = self._by_spf or self._submitter
        assert self._envelope is not None and submitter is not None
        client = Client(
            self._peer,
            self._machine.helo or "unknown",
            self._tls,
            signed_in=self._submitter is not None,
            smtputf8=self._smtputf8,
        )
        self._intake = Intake(self._door.place, submitter, client, self._envelope)
        return GO_AHEAD

    def _await(self, event: Authenticate | Mail | ContentEnds | StartTls) -> None:
        if self._transport is not None:
            self._transport.pause_reading()
        self._verdict = self._loop.create_task(self._settle(event))

    async def _settle(self, event: Authenticate | Mail | ContentEnds | StartTls) -> None:
        try:
            match event:
                case StartTls():
                    if not await self._handshake():
                        return
                case Mail():
                    self._asks_spf = True
                    reply = await self._begin_by_spf(event)
                    self._asks_spf = False
                    self._machine.reply(reply)
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
        self._make_progress()
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
            secure = await self._loop.start_tls(
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
        self._note_tls()
        self._machine.tls_established()
        for octets in self._held:
            self._machine.receive(octets)
        self._held.clear()
        if self._held_eof:
            self._machine.receive_eof()
        return True

    async def _authenticate(self, event: Authenticate) -> Reply:
        username, password, place = event.username, event.password, self._door.place
        try:
            found = await place.readers.read(lambda: authenticate(username, password, self._peer))
        except Exception as cause:
            log(Broken("sign-in", cause))
            return Reply(454, "4.7.0", "Temporary authentication failure; try again later")  # RFC 4954 §6
        if isinstance(found, str):
            return await self._refuse_sign_in(found)
        self._submitter = found
        if found.is_to_be_noted:
            note = asyncio.create_task(self._note_use(found))
            self._door.notes.add(note)
            note.add_done_callback(self._door.notes.discard)
        return AUTHENTICATED

    async def _refuse_sign_in(self, why: str) -> Reply:
        """Failures of one network count together, in the database, for all processes. A right secret is never refused
        for somebody else's failures: it can't be guessed, so slowing down is for our sake and not for the secret's."""
        log(SignInRefused(self._peer, why=why))
        key, network = self._door.place.keys.failures, network_of(self._peer)
        whose = hmac.new(key.reveal(), network.encode(), hashlib.sha256).digest()
        now = self._door.place.now()
        try:
            failures = await self._door.place.writer.write(lambda: count_failure(whose, now=now))
        except Exception as cause:  # nothing can be written: no reason to be less polite
            log(Broken("count of failed sign-ins", cause))
            return BAD_CREDENTIALS
        return TOO_MANY_SIGN_INS if is_guessing(failures) else BAD_CREDENTIALS

    async def _note_use(self, submitter: Submitter) -> None:
        """Nobody waits for it: on a full disk the message is refused, with 452, and not the sign-in (P4)."""
        try:
            await self._door.place.writer.write(lambda: note_use(submitter))
        except Exception as cause:
            log(Broken("last use of credentials", cause))

    async def _end_content(self) -> Reply:
        intake, self._intake, self._envelope, self._by_spf = self._intake, None, None, None
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

    def _note_tls(self) -> None:
        assert self._transport is not None
        found = self._transport.get_extra_info("ssl_object")
        self._tls = f"{found.version()} {found.cipher()[0]}" if found is not None else ""

    def _resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            with contextlib.suppress(RuntimeError):
                self._transport.resume_reading()

    def _flush(self) -> None:
        octets = self._machine.outgoing()
        if octets and self._transport is not None and not self._transport.is_closing():
            self._transport.write(octets)
