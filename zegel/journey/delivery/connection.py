"""A connection to a receiving server that knows how secure it is, and sends nothing before it is secure enough.

The level is judged on the very connection that carries the content, before MAIL (P8). Connections are kept for
the next mail to the same host: a handshake costs more than everything else together.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final, assert_never, cast

from cryptography import x509

from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox, ReversePath
from zegel.core.mail.reply import Reply
from zegel.core.policy.carriage import Accepted, Deferred, InsufficientSecurity, NetworkFailure, Refused, Stage
from zegel.core.policy.destinations import ADDRESS_PLACES, Later, Scope
from zegel.core.policy.transport import NO_DEMAND, Authentication, Tls, TransportSecurity
from zegel.core.smtp import dane, dsn
from zegel.core.smtp.client import Extensions, NotSmtp, ReplyReader, Stuffer
from zegel.core.smtp.dane import Tlsa
from zegel.core.smtp.tls_report import (
    MISMATCHES,
    NO_STARTTLS,
    NO_TLSA,
    NO_USABLE_TLSA,
    Failure,
    of_certificate,
    of_handshake,
    refused_starttls,
)
from zegel.edge.tls import ClientTls, NotVerified, dane_context, shown_chain
from zegel.journey.delivery.mx import Dane, NextHop
from zegel.journey.delivery.places import Place, Places

CONNECT: Final = 30.0  # seconds
STAGGER: Final = 0.25  # seconds until the next address of a host is tried beside one that is slow (RFC 8305 §8)
KEEP: Final = 4.0  # seconds that an idle connection is kept
MOST_MAILS: Final = 100  # on one connection
SHUTTING_DOWN: Final = 421  # RFC 5321 §3.8
_WRITE: Final = 256 * 1024  # octets buffered before we wait for the peer
_TOGETHER: Final = 32 * 1024  # octets


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one attempt; kept with it, shown to sender and administrator."""

    host: str = ""
    address: str = ""
    security: TransportSecurity = NO_DEMAND
    protocol: str = ""
    cipher: str = ""
    key_exchange: str = ""  # the group that the keys were agreed in
    certificate: str = ""
    named_by: str = ""  # what proved that this host is one of the domain's: dnssec, mta-sts, or both
    detail: str = ""  # the remote reply, or a word of ours for what went wrong


SendOutcome = Accepted | InsufficientSecurity | NetworkFailure | Deferred | Refused


@dataclass(frozen=True, slots=True)
class Result:
    """How one attempt ended, and what is known of it. ``Later``: nothing was tried, since the addresses are left alone
    for now, or asked enough already."""

    outcome: SendOutcome | Later
    evidence: Evidence
    limit: int | None = None  # octets that the server takes at most, where it was refused for its size before it left
    tried: tuple[NextHop, ...] = ()  # the one that carried it, and those that failed before it
    refuses_dsn: bool = False  # the server announced DSN, and refused a command that used it


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail for one mailbox. ``octets`` can be iterated once more for each try."""

    reverse_path: ReversePath
    recipient: Mailbox
    size: int
    octets: Iterable[bytes]
    is_eight_bit: bool = False
    usual_limit: int | None = None  # octets; counts where the server announces no limit
    requires_tls: bool = False  # not for a server that doesn't promise REQUIRETLS (RFC 8689 §4.2.1)
    asked: dsn.Asked | None = None  # what a server that announces DSN is to report; None: nothing


@dataclass(frozen=True, slots=True)
class Contexts:
    """TLS contexts, made once."""

    verifying: ssl.SSLContext
    opportunistic: ssl.SSLContext
    dane: ssl.SSLContext = field(default_factory=dane_context)


class _Broken(Exception):
    """There will be no connection; this is why."""

    def __init__(self, outcome: SendOutcome, detail: str, evidence: Evidence | None = None) -> None:
        super().__init__()
        self.outcome = outcome
        self.detail = detail
        self.evidence = evidence


class _Weaker(Exception):
    """This way of securing failed, after ``reached``; a mail without a demand may try the next."""

    def __init__(
        self,
        reason: str,
        reached: TransportSecurity = NO_DEMAND,
        evidence: Evidence | None = None,
        *,
        failure: Failure,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.reached = reached
        self.evidence = evidence
        self.failure = failure
        self.sent_from = ""


class _Way(Enum):
    VERIFIED = 0
    OPPORTUNISTIC = 1
    CLEAR = 2
    DANE = 3


Tell = Callable[[NextHop, Failure | None, str], None]
"""Hears of each TLS session how it ended, as far as what the receiver promised goes (RFC 8460 §4.3), and from which
address of ours it was. A session is what was dialled, however many mails follow over it, and however many weaker
ways."""


def _tell_nobody(hop: NextHop, failure: Failure | None, sent_from: str) -> None:
    """Where no TLS report is made."""


async def _at_once() -> None:
    """Nothing is looked at before a mail is sent."""


def _wall_clock() -> Instant:
    return datetime.now(UTC)


class _Channel(asyncio.Protocol):
    """Octets of one connection, with time limits and back-pressure."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.reader = ReplyReader()
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._handshaking = False
        self.lost = False
        self.sent_from = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        name = transport.get_extra_info("sockname")
        self.sent_from = str(name[0]) if name else ""
        self.transport.set_write_buffer_limits(high=_WRITE)

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        self._news.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._news.set()
        self._writable.set()

    async def reply(self, limit: float) -> Reply:
        """Raises ``TimeoutError``, ``ConnectionError``, :class:`NotSmtp`."""
        async with asyncio.timeout(limit):
            while (reply := self.reader.next()) is None:
                if self.lost:
                    raise ConnectionResetError("closed by the other side")
                self._news.clear()
                await self._news.wait()
        return reply

    async def write(self, octets: bytes, limit: float) -> None:
        if self.lost or self.transport is None:
            raise ConnectionResetError("closed by the other side")
        self.transport.write(octets)
        if not self._writable.is_set():
            async with asyncio.timeout(limit):
                await self._writable.wait()

    async def secure(self, context: ssl.SSLContext, host: str, limit: float) -> None:
        if self.reader.has_leftover:  # NO STARTTLS: a reply that came in clear is not taken for a secure one
            raise NotSmtp("octets in clear behind STARTTLS")
        assert self.transport is not None
        secured = await asyncio.get_running_loop().start_tls(
            self.transport, self, context, server_hostname=host, ssl_handshake_timeout=limit
        )
        if secured is None:
            raise ConnectionResetError("closed during the handshake")
        self.transport = secured
        self.transport.set_write_buffer_limits(high=_WRITE)

    def close(self) -> None:
        self.lost = True
        if self.transport is not None:
            self.transport.abort()


@dataclass(slots=True)
class Connection:
    """An open connection after its last EHLO."""

    channel: _Channel
    extensions: Extensions
    evidence: Evidence
    timeout: float
    sent: int = 0
    idle_since: float = 0.0

    async def send(self, mail: Mail) -> Result:
        """One mail transaction. The connection stays usable unless it broke."""
        if (lacks := self._lacks(mail)) is not None:
            return lacks
        stage = Stage.MAIL
        refusal: Result | None = None
        asked = mail.asked if dsn.KEYWORD in self.extensions else None
        try:
            pipelines = "PIPELINING" in self.extensions
            commands = [
                f"MAIL FROM:<{mail.reverse_path}>{self._parameters(mail)}{dsn.MAIL if asked else ''}\r\n",
                f"RCPT TO:<{mail.recipient}>{dsn.rcpt(asked, mail.recipient) if asked else ''}\r\n",
                "DATA\r\n",
            ]
            if pipelines:
                await self.channel.write("".join(commands).encode(), self.timeout)
            for stage, command in zip((Stage.MAIL, Stage.RCPT, Stage.DATA), commands, strict=True):
                if not pipelines:
                    await self.channel.write(command.encode(), self.timeout)
                reply = await self.channel.reply(self.timeout)
                if stage is Stage.DATA and reply.code == 354:
                    break
                if (stage is Stage.DATA or not _is_success(reply)) and refusal is None:
                    refusal = self._refused(stage, reply)
                    if asked and stage is not Stage.DATA and reply.code in dsn.REFUSES_PARAMETERS:
                        self.extensions = self.extensions.without(dsn.KEYWORD)
                        refusal = replace(refusal, refuses_dsn=True)
                if refusal is not None and not pipelines:
                    break
            else:
                return await self._after_refusal(refusal)
            if refusal is not None:
                if pipelines:  # RFC 2920 §3.1: DATA was accepted all the same. A dot could send an empty message.
                    self.channel.close()
                    return refusal
                return await self._after_refusal(refusal)
            stage = Stage.END_OF_DATA
            for octets in _stuffed(mail.octets):
                await self.channel.write(octets, self.timeout)
            reply = await self.channel.reply(max(self.timeout, 600.0) if self.timeout >= 60 else self.timeout)
        except (OSError, TimeoutError, NotSmtp) as cause:
            self.channel.close()
            if refusal is not None:  # who refuses and hangs up has refused
                return refusal
            return Result(NetworkFailure(stage), replace(self.evidence, detail=_reason(cause)))
        except BaseException:
            self.channel.close()  # half a message must not wait for the end of another one
            raise
        self.sent += 1
        if reply.code == SHUTTING_DOWN:
            self.channel.close()
        if _is_success(reply):
            return Result(Accepted(confirms=bool(asked and asked.success)), replace(self.evidence, detail=str(reply)))
        return self._refused(Stage.END_OF_DATA, reply)

    def _refused(self, stage: Stage, reply: Reply) -> Result:
        return Result(refusal_of(stage, reply), replace(self.evidence, detail=str(reply)))

    async def _after_refusal(self, refusal: Result | None) -> Result:
        """Makes the connection ready for another mail, if it can be; what was said before counts in any case."""
        assert refusal is not None
        is_ready = False
        outcome = refusal.outcome
        with contextlib.suppress(OSError, TimeoutError, NotSmtp):
            if not (isinstance(outcome, Deferred) and outcome.reply.code == SHUTTING_DOWN):
                await self.channel.write(b"RSET\r\n", self.timeout)
                is_ready = _is_success(await self.channel.reply(self.timeout))
        if not is_ready:
            self.channel.close()
        return refusal

    def _parameters(self, mail: Mail) -> str:
        words = []
        if "SIZE" in self.extensions:
            words.append(f" SIZE={mail.size}")
        if mail.is_eight_bit and "8BITMIME" in self.extensions:
            words.append(" BODY=8BITMIME")
        if mail.recipient.needs_smtputf8:
            words.append(" SMTPUTF8")
        if mail.requires_tls:
            words.append(" REQUIRETLS")
        return "".join(words)

    def _lacks(self, mail: Mail) -> Result | None:
        """What is known to fail is not tried: RFC 6531 §3.2, RFC 1870 §6."""
        if mail.recipient.needs_smtputf8 and "SMTPUTF8" not in self.extensions:
            reply = Reply(550, "5.6.7", "The receiving server takes no internationalised addresses")
            return self._refused(Stage.RCPT, reply)
        if mail.requires_tls and "REQUIRETLS" not in self.extensions:
            evidence = replace(self.evidence, detail="the server doesn't promise REQUIRETLS")
            return Result(InsufficientSecurity(self.evidence.security), evidence)
        limit = mail.usual_limit if self.extensions.size is None else self.extensions.size
        if limit is not None and mail.size > limit:
            reply = Reply(552, "5.3.4", "The receiving server announced that it takes no message of this size")
            return replace(self._refused(Stage.MAIL, reply), limit=limit)
        return None

    async def quit(self) -> None:
        """Says goodbye, without waiting long."""
        with contextlib.suppress(OSError, TimeoutError, NotSmtp):
            await self.channel.write(b"QUIT\r\n", 1.0)
            await self.channel.reply(1.0)
        self.channel.close()

    @property
    def is_usable(self) -> bool:
        """Another mail may go over it. What nobody asked for is a farewell, or would be taken for a later reply."""
        return not self.channel.lost and not self.channel.reader.has_leftover and self.sent < MOST_MAILS


@dataclass(slots=True)
class Dialler:
    """Opens connections, and keeps them for the next mail."""

    helo: str
    port: int
    contexts: Contexts
    timeout: float
    now: Callable[[], Instant] = _wall_clock  # certificates are valid at this time
    tell: Tell = _tell_nobody
    addresses: Places = field(default_factory=lambda: Places(ADDRESS_PLACES, _wall_clock, Scope.ADDRESS))
    # By all of the hop: how its MX was found is part of the level that a connection to it reaches.
    _idle: dict[NextHop, list[Connection]] = field(default_factory=lambda: defaultdict(list))
    _parting: set[asyncio.Task[None]] = field(default_factory=set)

    async def send(
        self,
        hop: NextHop,
        mail: Mail,
        *,
        needs: TransportSecurity,
        beside: Sequence[NextHop] = (),
        is_pressing: bool = False,
        before: Callable[[], Awaitable[None]] = _at_once,
    ) -> Result:
        """One attempt at one host. Not an octet of ``mail`` leaves over a connection that doesn't meet ``needs``.

        ``beside``: the host's other addresses, for when this one is slow or away; the first that answers carries the
        mail. ``is_pressing``: as in :func:`zegel.core.policy.destinations.admit`. ``before`` is awaited when everything
        is ready for the mail; what it raises is raised here, and nothing was sent. A server that refuses the DSN
        parameters that it announced is asked once more, without them.
        """

        async def use(connection: Connection, at: NextHop) -> Result:
            return await self._send_over(connection, at, mail, needs, before)

        result = await self._attempt((hop, *beside), needs, use, is_pressing=is_pressing)
        if not result.refuses_dsn:
            return result
        mail = replace(mail, asked=None)  # which is what ``use`` sends from now on
        again = await self._attempt(result.tried[-1:], needs, use, is_pressing=is_pressing)
        return replace(again, tried=result.tried)

    async def probe(
        self, hop: NextHop, *, needs: TransportSecurity, beside: Sequence[NextHop] = (), is_pressing: bool = False
    ) -> Result:
        """As :meth:`send`, without a mail: EHLO, STARTTLS and authentication tell whether ``needs`` is met now."""

        async def use(connection: Connection, at: NextHop) -> Result:
            await connection.quit()
            if not connection.evidence.security.meets(needs):
                return self._too_weak(connection)
            return Result(Accepted(), connection.evidence)

        return await self._attempt((hop, *beside), needs, use, is_pressing=is_pressing)

    async def _attempt(
        self,
        hops: Sequence[NextHop],
        needs: TransportSecurity,
        use: Callable[[Connection, NextHop], Awaitable[Result]],
        *,
        is_pressing: bool,
    ) -> Result:
        """With a place at the address that it is at, which is given back with the outcome."""
        wanted = sorted(hops, key=lambda hop: not self._keeps(hop, needs))  # where a connection stands already
        place = await self.addresses.take_one_of([hop.address for hop in wanted], is_pressing=is_pressing)
        if isinstance(place, Later):
            return Result(place, Evidence(hops[0].host))
        hop = next(hop for hop in hops if hop.address == place.where)
        stand = _Stand(hop, place, [one for one in hops if one != hop], is_pressing)
        result: Result | None = None
        try:
            result = await self._use_or_dial(stand, needs, use)
        finally:
            if stand.place is not None:
                outcome = None if result is None or isinstance(result.outcome, Later) else result.outcome
                self.addresses.give_back(stand.place.where, stand.place.since, outcome)
        return replace(result, tried=tuple(dict.fromkeys((*stand.failed, stand.hop))))

    async def _use_or_dial(
        self, stand: _Stand, needs: TransportSecurity, use: Callable[[Connection, NextHop], Awaitable[Result]]
    ) -> Result:
        kept = self._kept(stand.hop, needs)
        if kept is not None:
            result = await use(kept, stand.hop)
            if not _had_ended(result.outcome):
                return result
        try:
            connection = await self._dial(stand, needs)
        except _Broken as broken:
            return _without_connection(stand.hop, broken)
        return await use(connection, stand.hop)

    async def _send_over(
        self,
        connection: Connection,
        hop: NextHop,
        mail: Mail,
        needs: TransportSecurity,
        before: Callable[[], Awaitable[None]],
    ) -> Result:
        if not connection.evidence.security.meets(needs):
            await connection.quit()
            return self._too_weak(connection)
        try:
            await before()
        except BaseException:
            self._part_from(connection)
            raise
        result = await connection.send(mail)
        if connection.is_usable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle[hop].append(connection)
        else:
            await connection.quit()
        return result

    @staticmethod
    def _too_weak(connection: Connection) -> Result:
        reached = connection.evidence.security
        return Result(InsufficientSecurity(reached), replace(connection.evidence, detail="transport security too weak"))

    async def tidy(self) -> None:
        """Ends connections that nobody used for a while; called every second or so."""
        limit = asyncio.get_running_loop().time() - KEEP
        for key, connections in tuple(self._idle.items()):
            late = [one for one in connections if one.idle_since < limit or one.channel.lost]
            kept = [one for one in connections if one not in late]
            if kept:
                self._idle[key] = kept
            else:
                del self._idle[key]
            for connection in late:
                self._part_from(connection)

    async def close(self) -> None:
        """Ends all idle connections."""
        for connections in self._idle.values():
            for connection in connections:
                self._part_from(connection)
        self._idle.clear()
        if self._parting:
            await asyncio.wait(self._parting)

    def _part_from(self, connection: Connection) -> None:
        """Nobody waits for the other side's goodbye."""
        parting = asyncio.create_task(connection.quit())
        self._parting.add(parting)
        parting.add_done_callback(self._parting.discard)

    def _keeps(self, hop: NextHop, needs: TransportSecurity) -> bool:
        return any(one.is_usable and one.evidence.security.meets(needs) for one in self._idle.get(hop, ()))

    def _kept(self, hop: NextHop, needs: TransportSecurity) -> Connection | None:
        idle = self._idle[hop]
        for position in range(len(idle) - 1, -1, -1):
            if idle[position].is_usable and idle[position].evidence.security.meets(needs):
                return idle.pop(position)
        return None

    async def _dial(self, stand: _Stand, needs: TransportSecurity) -> Connection:
        """The best way first; a weaker way only as far as nothing is demanded of it."""
        ways = _ways(stand.hop, needs)
        reached, reason, evidence = NO_DEMAND, "", None
        for way in ways:
            channel = await self._reach(stand)
            hop = stand.hop
            try:
                connection = await self._open(channel, hop, way, may_be_clear=_Way.CLEAR in ways)
            except _Weaker as weaker:
                reached, reason, evidence = weaker.reached, weaker.reason, weaker.evidence
                if way is ways[0]:
                    self.tell(hop, weaker.failure, weaker.sent_from)
            else:
                if way is ways[0]:
                    self.tell(hop, _fell_short(connection, hop, needs), connection.channel.sent_from)
                connection.evidence = _with_why(connection.evidence, evidence)
                return connection
        raise _Broken(InsufficientSecurity(reached), reason, evidence)

    async def _reach(self, stand: _Stand) -> _Channel:
        """A connection to the address where it stands, or to one beside it that answers first; from then on there and
        nowhere else."""
        beside, stand.beside = stand.beside, []
        try:
            return await (self._race(stand, beside) if beside else self._connect(stand.hop))
        except (OSError, TimeoutError) as cause:
            raise _Broken(NetworkFailure(Stage.CONNECT), _reason(cause)) from cause

    async def _race(self, stand: _Stand, beside: Sequence[NextHop]) -> _Channel:
        """Each address a little later than the one before, or at once where that one failed (RFC 8305 §5)."""
        waiting = deque([stand.hop, *beside])
        running: dict[asyncio.Task[_Channel], tuple[NextHop, Place]] = {}
        reasons: list[str] = []
        try:
            while waiting or running:
                if waiting:
                    hop = waiting.popleft()
                    place, stand.place = stand.place or self._place_beside(hop, stand), None
                    if place is None:
                        continue
                    running[asyncio.create_task(self._connect(hop))] = hop, place
                limit = STAGGER if waiting else None
                await asyncio.wait(running, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
                for task in [one for one in running if one.done()]:
                    hop, place = running.pop(task)
                    try:
                        channel = task.result()
                    except (OSError, TimeoutError) as cause:
                        self.addresses.give_back(place.where, place.since, NetworkFailure(Stage.CONNECT))
                        stand.failed.append(hop)
                        reasons.append(f"{hop.address}: {_reason(cause)}")
                    else:
                        stand.hop, stand.place = hop, place
                        return channel
        finally:
            await self._call_off(running)
        raise _Broken(NetworkFailure(Stage.CONNECT), "; ".join(reasons))

    def _place_beside(self, hop: NextHop, stand: _Stand) -> Place | None:
        return self.addresses.take_now(hop.address, is_pressing=stand.is_pressing)

    async def _call_off(self, running: dict[asyncio.Task[_Channel], tuple[NextHop, Place]]) -> None:
        """Of those that were slower nothing is known: they count neither as there nor as away."""
        for task, (_, place) in running.items():
            task.cancel()
            self.addresses.give_back(place.where, place.since, None)
        for ended in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(ended, _Channel):
                ended.close()

    async def _connect(self, hop: NextHop) -> _Channel:
        """Raises ``OSError``, ``TimeoutError``."""
        channel = _Channel()
        try:
            async with asyncio.timeout(CONNECT):
                await asyncio.get_running_loop().create_connection(lambda: channel, hop.address, self.port)
        except BaseException:
            channel.close()
            raise
        return channel

    async def _open(self, channel: _Channel, hop: NextHop, way: _Way, *, may_be_clear: bool) -> Connection:
        stage = Stage.GREETING
        try:
            _expect(await channel.reply(self.timeout), stage)
            stage = Stage.EHLO
            extensions = await self._ehlo(channel)
            evidence = Evidence(hop.host, hop.address)
            if way is _Way.CLEAR or (may_be_clear and "STARTTLS" not in extensions):
                return Connection(channel, extensions, evidence, self.timeout)
            if "STARTTLS" not in extensions:
                raise _Weaker("the server offers no STARTTLS", failure=NO_STARTTLS)
            stage = Stage.STARTTLS
            evidence = await self._secure(channel, hop, way)
            stage = Stage.EHLO
            extensions = await self._ehlo(channel)
        except _Broken:
            channel.close()
            raise
        except _Weaker as weaker:
            weaker.sent_from = channel.sent_from
            channel.close()
            raise
        except (OSError, TimeoutError, NotSmtp) as cause:
            channel.close()
            raise _Broken(NetworkFailure(stage), _reason(cause)) from cause
        return Connection(channel, extensions, evidence, self.timeout)

    async def _ehlo(self, channel: _Channel) -> Extensions:
        await channel.write(f"EHLO {self.helo}\r\n".encode(), self.timeout)
        reply = await channel.reply(self.timeout)
        if reply.is_permanent:
            await channel.write(f"HELO {self.helo}\r\n".encode(), self.timeout)
            _expect(await channel.reply(self.timeout), Stage.EHLO)
            return Extensions()
        _expect(reply, Stage.EHLO)
        return Extensions.of(reply)

    async def _secure(self, channel: _Channel, hop: NextHop, way: _Way) -> Evidence:
        await channel.write(b"STARTTLS\r\n", self.timeout)
        reply = await channel.reply(self.timeout)
        if reply.code != 220:
            raise _Weaker(f"STARTTLS: {reply.code}", failure=refused_starttls(reply.code))
        try:
            name = hop.dane.base if hop.dane is not None and way is _Way.DANE else hop.host
            await channel.secure(self._context(way), name, CONNECT)
        except ssl.SSLCertVerificationError as cause:
            raise _rejected(hop, cause) from cause
        except ssl.SSLError as cause:
            failure = of_handshake(cause.reason or "")
            raise _Weaker(f"TLS: {cause.reason or 'handshake failed'}", failure=failure) from cause
        except (ConnectionError, TimeoutError) as cause:
            raise _Weaker(f"TLS: {_reason(cause)}", failure=of_handshake(_reason(cause))) from cause
        if way is _Way.DANE:
            assert hop.dane is not None
            return self._authenticated_by_dane(channel, hop, hop.dane)
        return _evidence(channel, hop, is_verified=way is _Way.VERIFIED)

    def _context(self, way: _Way) -> ssl.SSLContext:
        match way:
            case _Way.VERIFIED:
                return self.contexts.verifying
            case _Way.DANE:
                return self.contexts.dane
            case _Way.OPPORTUNISTIC | _Way.CLEAR:
                return self.contexts.opportunistic
            case unreachable:
                assert_never(unreachable)

    def _authenticated_by_dane(self, channel: _Channel, hop: NextHop, known: Dane) -> Evidence:
        """On this very connection, with the handshake done and nothing said after it."""
        evidence, chain = _evidence(channel, hop, is_verified=False), shown_chain(_tls(channel))
        match dane.examine(chain, tlsa=known.records, names=known.names, at=self.now()):
            case dane.Matched(by=by):
                level = TransportSecurity(evidence.security.tls, Authentication.DANE)
                return replace(evidence, security=level, certificate=_summary_by_dane(chain[0], by))
            case dane.NoMatch(why=why):
                evidence = replace(evidence, certificate=f"not valid: {why}; {_said_by(chain[0])}" if chain else "")
                raise _Weaker(f"DANE: {why}", evidence.security, evidence, failure=MISMATCHES[why])
            case dane.NothingUsable():
                raise _Weaker("DANE: no usable record", evidence.security, evidence, failure=NO_USABLE_TLSA)
            case unreachable:
                assert_never(unreachable)


@dataclass(slots=True)
class _Stand:
    """Where an attempt stands: the address that it is at, with the place that it holds there."""

    hop: NextHop
    place: Place | None
    beside: list[NextHop]  # addresses that may answer instead
    is_pressing: bool
    failed: list[NextHop] = field(default_factory=list)  # addresses that didn't


def _stuffed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The content as it is sent, its end included. Short pieces go together: each write is a TLS record."""
    stuffer, waiting = Stuffer(), b""
    for piece in pieces:
        waiting += stuffer.feed(piece)
        if len(waiting) >= _TOGETHER:
            yield waiting
            waiting = b""
    yield waiting + stuffer.finish()


def _ways(hop: NextHop, needs: TransportSecurity) -> tuple[_Way, ...]:
    """The best first, and none that falls short of ``needs``, or of what TLSA records demand of every mail: with a
    usable one the server must match, with others there must be TLS (RFC 7672 §2.2)."""
    if hop.dane is not None and (
        needs.authentication is Authentication.DANE or any(one.is_usable for one in hop.dane.records)
    ):
        return (_Way.DANE,)
    if needs.authentication is not Authentication.NONE or hop.by_policy:
        return (_Way.VERIFIED,)
    if needs != NO_DEMAND or hop.dane is not None:
        return _Way.VERIFIED, _Way.OPPORTUNISTIC
    return _Way.VERIFIED, _Way.OPPORTUNISTIC, _Way.CLEAR


def _fell_short(connection: Connection, hop: NextHop, needs: TransportSecurity) -> Failure | None:
    """What a report says of an open connection; ``None``: nothing is wrong with it."""
    if not connection.evidence.protocol:
        return NO_STARTTLS
    if hop.dane is None:
        return NO_TLSA if needs.authentication is Authentication.DANE else None
    return None if connection.evidence.security.authentication is Authentication.DANE else NO_USABLE_TLSA


def _tls(channel: _Channel) -> ssl.SSLObject:
    assert channel.transport is not None
    return cast(ssl.SSLObject, channel.transport.get_extra_info("ssl_object"))


def _evidence(channel: _Channel, hop: NextHop, *, is_verified: bool) -> Evidence:
    tls = _tls(channel)
    version = tls.version() or ""
    level = {"TLSv1.3": Tls.TLS_1_3, "TLSv1.2": Tls.TLS_1_2}.get(version, Tls.ENCRYPTED)
    authentication = Authentication.NONE
    if is_verified:
        is_named = hop.mx_is_secure or hop.by_policy
        authentication = Authentication.SIGNED_MX if is_named else Authentication.CERTIFICATE
    cipher = tls.cipher()
    return replace(
        Evidence(hop.host, hop.address),
        security=TransportSecurity(level, authentication),
        protocol=version,
        cipher=cipher[0] if cipher else "",
        key_exchange=tls.key_exchange if isinstance(tls, ClientTls) else "",
        certificate=_summary(tls),
        named_by=_named_by(hop),
    )


def _named_by(hop: NextHop) -> str:
    return " ".join(way for way, did in (("dnssec", hop.mx_is_secure), ("mta-sts", hop.by_policy)) if did)


def _rejected(hop: NextHop, cause: ssl.SSLCertVerificationError) -> _Weaker:
    """With who the certificate is for that is not believed, by its own words. At least TLS 1.2 was spoken."""
    why = cause.verify_message or "not valid for this host"
    at_least = TransportSecurity(Tls.TLS_1_2, Authentication.NONE)
    evidence = Evidence(hop.host, hop.address, at_least, named_by=_named_by(hop))
    if isinstance(cause, NotVerified):
        evidence = replace(
            evidence,
            protocol=cause.protocol,
            cipher=cause.cipher,
            key_exchange=cause.key_exchange,
            certificate=f"not valid: {why[:80]}; {_said_by(cause.shown[0])}" if cause.shown else "",
        )
    return _Weaker(f"certificate: {why}", at_least, evidence, failure=of_certificate(cause.verify_code))


def _with_why(found: Evidence, rejected: Evidence | None) -> Evidence:
    """On a connection that proves nothing: why its certificate was not believed, if it is that one."""
    if rejected is None or not found.certificate or found.security.authentication is not Authentication.NONE:
        return found
    is_same = found.certificate.rpartition(" ")[2] == rejected.certificate.rpartition(" ")[2]
    return replace(found, certificate=rejected.certificate) if is_same else found


def _summary(tls: ssl.SSLObject) -> str:
    """Who the certificate is for, who issued it, until when, and its SHA-256: enough to recognise it later."""
    octets = tls.getpeercert(binary_form=True)
    if not octets:
        return ""
    fields = cast(dict[str, Any], tls.getpeercert() or {})
    if not fields:
        return f"not verified; {_said_by(octets)}"
    names = ",".join(name for kind, name in fields.get("subjectAltName", ()) if kind == "DNS")
    issuer = next((value for pairs in fields.get("issuer", ()) for key, value in pairs if key == "commonName"), "")
    fingerprint = hashlib.sha256(octets).hexdigest()
    return f"{names[:200]}; issued by {issuer[:80]}; until {fields.get('notAfter', '')}; sha256 {fingerprint}"


def _summary_by_dane(octets: bytes, by: Tlsa) -> str:
    """As :func:`_summary`. What a certificate says of itself is no more than that where the record is of usage 3."""
    return f"{_said_by(octets)}; tlsa {by.usage} {by.selector} {by.matching}"


def _said_by(octets: bytes) -> str:
    """What a certificate says of itself that nobody vouches for, with its SHA-256."""
    known = f"sha256 {hashlib.sha256(octets).hexdigest()}"
    try:
        certificate = x509.load_der_x509_certificate(octets)
        names = ",".join(dane.host_names(certificate))
        issuer = certificate.issuer.rfc4514_string()
        return f"{names[:160]}; issued by {issuer[:80]}; until {certificate.not_valid_after_utc:%Y-%m-%d}; {known}"
    except Exception:  # it need not be legible
        return known


def _without_connection(hop: NextHop, broken: _Broken) -> Result:
    if broken.evidence is not None:
        return Result(broken.outcome, replace(broken.evidence, detail=broken.detail))
    reached = broken.outcome.reached if isinstance(broken.outcome, InsufficientSecurity) else NO_DEMAND
    return Result(broken.outcome, Evidence(hop.host, hop.address, reached, detail=broken.detail))


def _had_ended(outcome: SendOutcome | Later) -> bool:
    """A kept connection was at its end before the mail began: another one may be tried at once."""
    match outcome:
        case NetworkFailure(stage=Stage.MAIL):
            return True
        case Deferred(reply=reply, stage=Stage.MAIL):
            return reply.code == SHUTTING_DOWN
        case _:
            return False


def refusal_of(stage: Stage, reply: Reply) -> Deferred | Refused:
    """What a reply that is not success means. A positive one that makes no sense where it stands is a 5yz."""
    return Deferred(reply, stage) if reply.is_transient else Refused(reply, stage)


def _is_success(reply: Reply) -> bool:
    """2yz. A 3yz asks for more, and never for more of a mail that is complete."""
    return 200 <= reply.code < 300


def _expect(reply: Reply, stage: Stage) -> None:
    if not _is_success(reply):
        raise _Broken(refusal_of(stage, reply), str(reply))


def _reason(cause: BaseException) -> str:
    """A word for the evidence; never the peer's text, which the reply would hold."""
    if isinstance(cause, TimeoutError):
        return "timed out"
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    if isinstance(cause, NotSmtp):
        return str(cause)
    return type(cause).__name__ if not isinstance(cause, OSError) else (cause.strerror or type(cause).__name__)
