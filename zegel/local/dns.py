"""An authoritative DNS server for ``.test`` (RFC 1034, 1035, 2308, 6891), so that local mode has a name space.

It knows one zone and nothing else: no recursion, no cache, no signatures, hence never an AD bit (RFC 4035 §3.1.6).
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.TXT
import dns.rrset

from zegel.local.loopback import loopback

Zone = Mapping[tuple[str, str], Sequence[str]]
"""``(name, type)`` → the rdata of each record in presentation format, names in it absolute with or without the
final dot. One exception: a ``TXT`` is its content as it is, unquoted and of any length."""

TOP: Final = dns.name.from_text("test.")
TTL: Final = 5  # seconds: who changes the zone wants to see it now
_CLASSIC_UDP: Final = 512  # RFC 1035 §4.2.1
_LARGEST_UDP: Final = 4096  # RFC 6891 §6.2.5
_LARGEST: Final = 65535  # said aloud: dnspython would apply the client's UDP size to a stream as well
_IDLE: Final = 10.0  # seconds, RFC 7766 §6.2.3
_CONNECTIONS: Final = 64
_LONGEST_STRING: Final = 255  # RFC 1035 §3.3

_Node = dict[dns.rdatatype.RdataType, dns.rdataset.Rdataset]


class NotAZone(ValueError):
    """The mapping has a name outside ``.test``, rdata that isn't of its type, or a CNAME with company."""


@dataclass(frozen=True, slots=True)
class _Lookup:
    """What the zone says: the answer's records, and whether the last name in the chain exists."""

    answer: list[dns.rrset.RRset]
    last: dns.name.Name
    exists: bool
    """False is NXDOMAIN, also when aliases led there (RFC 6604 §3)."""
    is_complete: bool
    """False: the type that was asked for is not in the answer, so an SOA explains that."""


class _Tree:
    """The zone, ready to be asked. Names compare without case; inner names without records exist (RFC 8020 §2)."""

    def __init__(self, zone: Zone, host: str, serial: int) -> None:
        self._nodes: dict[dns.name.Name, _Node] = {}
        for (name, kind), texts in zone.items():
            self._add(name, kind, texts)
        self._add_own_records(host, serial)
        for owner, node in self._nodes.items():
            if dns.rdatatype.CNAME in node and len(node) > 1:
                raise NotAZone(f"{owner} has a CNAME and other records")
        for owner in list(self._nodes):
            for ancestor in _ancestors(owner):
                self._nodes.setdefault(ancestor, {})

    def _add(self, name: str, kind: str, texts: Iterable[str]) -> None:
        try:
            owner, rdtype = dns.name.from_text(name), dns.rdatatype.from_text(kind)
            rdatas = [_rdata(rdtype, text) for text in texts]
        except (dns.exception.DNSException, ValueError) as cause:
            raise NotAZone(f"{name} {kind}: {cause}") from cause
        if not owner.is_subdomain(TOP):
            raise NotAZone(f"{name} is not within .test")
        node = self._nodes.setdefault(owner, {})
        if rdatas:
            node[rdtype] = dns.rdataset.from_rdata_list(TTL, rdatas)

    def _add_own_records(self, host: str, serial: int) -> None:
        top = self._nodes.setdefault(TOP, {})
        if dns.rdatatype.NS not in top:
            self._add("test.", "NS", ["ns.test."])
            if dns.name.from_text("ns.test.") not in self._nodes:
                self._add("ns.test.", "AAAA" if ":" in host else "A", [host])
        if dns.rdatatype.SOA not in top:
            self._add("test.", "SOA", [f"ns.test. hostmaster.test. {serial} 60 60 3600 {TTL}"])

    def look_up(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> _Lookup:
        """Follows aliases as far as they stay within ``.test``; a circle of aliases ends where it closes."""
        answer: list[dns.rrset.RRset] = []
        seen: set[dns.name.Name] = set()
        while True:
            seen.add(name)
            node = self._nodes.get(name)
            if node is None:
                return _Lookup(answer, name, exists=False, is_complete=False)
            if rdtype in node:
                answer.append(_named(name, node[rdtype]))
                return _Lookup(answer, name, exists=True, is_complete=True)
            alias = node.get(dns.rdatatype.CNAME)
            if alias is None:
                return _Lookup(answer, name, exists=True, is_complete=False)
            answer.append(_named(name, alias))
            name = _target(alias)
            if name in seen or not name.is_subdomain(TOP):
                return _Lookup(answer, name, exists=True, is_complete=True)

    def authority_over(self, name: dns.name.Name) -> dns.rrset.RRset:
        """The SOA of the closest enclosing zone (RFC 2308 §3)."""
        apex = next(each for each in (name, *_ancestors(name)) if dns.rdatatype.SOA in self._nodes.get(each, {}))
        return _named(apex, self._nodes[apex][dns.rdatatype.SOA])


def _ancestors(name: dns.name.Name) -> Iterator[dns.name.Name]:
    """The names above ``name``, up to and including ``test.``."""
    while name != TOP:
        name = name.parent()
        yield name


def _rdata(rdtype: dns.rdatatype.RdataType, text: str) -> dns.rdata.Rdata:
    if rdtype == dns.rdatatype.TXT:
        return dns.rdtypes.ANY.TXT.TXT(dns.rdataclass.IN, rdtype, list(_strings(text.encode())))
    return dns.rdata.from_text(dns.rdataclass.IN, rdtype, text, origin=dns.name.root, relativize=False)


def _strings(content: bytes) -> Iterator[bytes]:
    """At least one character-string, each of 255 octets at most; a reader joins them without a space."""
    for start in range(0, max(len(content), 1), _LONGEST_STRING):
        yield content[start : start + _LONGEST_STRING]


def _named(name: dns.name.Name, rdataset: dns.rdataset.Rdataset) -> dns.rrset.RRset:
    return dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset))


def _target(alias: dns.rdataset.Rdataset) -> dns.name.Name:
    cname = alias[0]
    assert isinstance(cname, dns.rdtypes.ANY.CNAME.CNAME)
    return cname.target


def _answer(query: dns.message.Message, tree: _Tree) -> dns.message.Message:
    """The reply to a well-formed query; what this server doesn't do has its own code."""
    response = dns.message.make_response(query, our_payload=_LARGEST_UDP)
    if query.ednsflags & dns.flags.DO:
        response.want_dnssec(True)  # RFC 3225 §3: DO is copied; there is nothing signed to add
    if query.edns > 0:
        response.use_edns(0, payload=_LARGEST_UDP)
        response.set_rcode(dns.rcode.BADVERS)  # RFC 6891 §6.1.3
        return response
    if query.opcode() != dns.opcode.QUERY:
        response.set_rcode(dns.rcode.NOTIMP)
        return response
    if len(query.question) != 1:
        response.set_rcode(dns.rcode.FORMERR)  # RFC 9619 §4
        return response
    question = query.question[0]
    if (
        not question.name.is_subdomain(TOP)
        or question.rdclass != dns.rdataclass.IN
        or dns.rdatatype.is_metatype(question.rdtype)  # transfers and ANY
    ):
        response.set_rcode(dns.rcode.REFUSED)
        return response
    _fill(response, tree.look_up(question.name, question.rdtype), tree)
    return response


def _fill(response: dns.message.Message, found: _Lookup, tree: _Tree) -> None:
    response.flags |= dns.flags.AA
    response.answer.extend(found.answer)
    if not found.exists:
        response.set_rcode(dns.rcode.NXDOMAIN)
    if not found.is_complete:
        response.authority.append(tree.authority_over(found.last))


def _query(octets: bytes) -> dns.message.Message | None:
    """``None`` for what is no query: answering it could start a conversation between two servers."""
    try:
        message = dns.message.from_wire(octets)
    except (dns.exception.DNSException, ValueError):
        return None
    return None if message.flags & dns.flags.QR else message


@dataclass(slots=True)
class DnsServer:
    """A running server; :func:`serve` makes it."""

    port: int
    """The same for UDP and TCP."""
    _host: str
    _tree: _Tree
    _serial: int = 1
    _datagrams: asyncio.DatagramTransport | None = None
    _listener: asyncio.Server | None = None
    _connections: set[asyncio.StreamWriter] = field(default_factory=set)

    def update(self, zone: Zone) -> None:
        """The next query meets the new zone; raises :class:`NotAZone` and keeps the old one."""
        self._tree = _Tree(zone, self._host, self._serial + 1)
        self._serial += 1

    def close(self) -> None:
        """Answers nothing more; both ports are free when the loop has turned once."""
        if self._datagrams is not None:
            self._datagrams.close()
        if self._listener is not None:
            self._listener.close()
        for connection in self._connections:
            connection.transport.abort()

    def _reply_by_datagram(self, octets: bytes) -> bytes | None:
        query = _query(octets)
        if query is None:
            return None
        size = _CLASSIC_UDP if query.edns < 0 else min(max(query.payload, _CLASSIC_UDP), _LARGEST_UDP)
        return _answer(query, self._tree).to_wire(max_size=size, prefer_truncation=True)

    def _reply_by_stream(self, octets: bytes) -> bytes | None:
        query = _query(octets)
        return None if query is None else _answer(query, self._tree).to_wire(max_size=_LARGEST)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Queries on one connection, each behind its length (RFC 1035 §4.2.2), until one is malformed or none comes."""
        if len(self._connections) >= _CONNECTIONS:
            writer.transport.abort()
            return
        self._connections.add(writer)
        try:
            while True:
                async with asyncio.timeout(_IDLE):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    reply = self._reply_by_stream(await reader.readexactly(length))
                    if reply is None:
                        return
                    writer.write(struct.pack("!H", len(reply)) + reply)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            return
        finally:
            self._connections.discard(writer)
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # In 3.11 the transport has the methods of a DatagramTransport, but not the class.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self._server._reply_by_datagram(data)
        if reply is not None:
            self._transport.sendto(reply, addr)


async def serve(zone: Zone, host: str, port: int) -> DnsServer:
    """A server that answers for ``zone`` on UDP and TCP; port 0 takes one that is free for both.

    Without an ``SOA`` or ``NS`` for ``test`` the zone gets a plain one. Raises :class:`NotAZone`, ``NotLoopback``,
    or ``OSError`` when the port is taken.
    """
    loopback(host)
    tree = _Tree(zone, host, serial=1)
    for last_try in (False,) * (0 if port else 7) + (True,):
        server = DnsServer(port, host, tree)
        listener = await asyncio.start_server(server._converse, host, port)
        server._listener, server.port = listener, listener.sockets[0].getsockname()[1]
        try:
            server._datagrams, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda server=server: _Datagrams(server),  # type: ignore[misc]
                local_addr=(host, server.port),
            )
        except OSError:  # free for TCP, taken for UDP: with port 0 another one may do
            server.close()
            if last_try:
                raise
            continue
        return server
    raise AssertionError("the last try returns or raises")
