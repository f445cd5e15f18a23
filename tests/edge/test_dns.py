"""What the DNS says, as values: found, surely not there, or not to be known now. Never an exception."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers import free_port
from zegel.edge.dns import Answer, DnsResolver, Found, NotThere, Trouble
from zegel.local.dns import serve

T = TypeVar("T")
ZONE = {
    ("voorbeeld.test", "MX"): ["10 mx.voorbeeld.test", "20 mx2.voorbeeld.test"],
    ("mx.voorbeeld.test", "A"): ["127.0.0.1", "127.0.0.2"],
    ("mx.voorbeeld.test", "AAAA"): ["::1"],
    ("_zegel.voorbeeld.test", "TXT"): ["zegel-domain=abc", "een ander"],
    ("lang.voorbeeld.test", "TXT"): ["x" * 3000],
    ("ë.voorbeeld.test".encode("idna").decode(), "A"): ["127.0.0.3"],
    ("zegel-bounce.voorbeeld.test", "CNAME"): ["mx.voorbeeld.test"],
    ("alias.voorbeeld.test", "CNAME"): ["nergens.voorbeeld.test"],
    ("_25._tcp.mx.voorbeeld.test", "TLSA"): ["3 1 1 " + "ab" * 32],
    ("null.test", "MX"): ["0 ."],
}


def asked(name: str, kind: str) -> Answer:
    async def story() -> Answer:
        server = await serve(ZONE, "127.0.0.1", 0)
        try:
            return await DnsResolver(("127.0.0.1", server.port)).ask(name, kind)
        finally:
            server.close()

    return asyncio.run(story())


Responder = Callable[[dns.message.Message], bytes | None]


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, responder: Responder) -> None:
        self.responder, self.questions = responder, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self.questions += 1
        reply = self.responder(dns.message.from_wire(data))
        if reply is not None:
            self._transport.sendto(reply, addr)


@asynccontextmanager
async def responding(responder: Responder) -> AsyncIterator[tuple[int, _Datagrams]]:
    """A name server that says what a test wants."""
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Datagrams(responder), local_addr=("127.0.0.1", 0)
    )
    try:
        yield transport.get_extra_info("sockname")[1], protocol
    finally:
        transport.close()


def answered_by(responder: Responder, *, trusted: bool = False, lifetime: float = 10) -> Answer:
    async def story() -> Answer:
        async with responding(responder) as (port, _):
            resolver = DnsResolver(("127.0.0.1", port), trusted=trusted, lifetime=lifetime)
            return await resolver.ask("voorbeeld.test", "A")

    return asyncio.run(story())


def with_rcode(rcode: dns.rcode.Rcode) -> Responder:
    def respond(query: dns.message.Message) -> bytes:
        response = dns.message.make_response(query)
        response.set_rcode(rcode)
        return response.to_wire()

    return respond


# Not to be known now


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NOTIMP, dns.rcode.FORMERR])
def test_a_server_that_fails_says_nothing_about_the_name(rcode: dns.rcode.Rcode) -> None:
    assert isinstance(answered_by(with_rcode(rcode)), Trouble)


def test_silence_says_nothing_about_the_name() -> None:
    assert answered_by(lambda _: None, lifetime=0.5) == Trouble("LifetimeTimeout")


def test_garbage_says_nothing_about_the_name() -> None:
    assert isinstance(
        answered_by(lambda query: query.id.to_bytes(2, "big") + b"\x81\x80garbage", lifetime=0.5), Trouble
    )


def test_an_answer_to_another_question_is_no_answer() -> None:
    def respond(query: dns.message.Message) -> bytes:
        response = dns.message.make_response(dns.message.make_query("elders.test", "A", id=query.id))
        response.answer.append(dns.rrset.from_text("elders.test.", 5, "IN", "A", "192.0.2.1"))
        return response.to_wire()

    assert isinstance(answered_by(respond, lifetime=0.5), Trouble)


def test_nobody_at_the_resolvers_address_says_nothing_about_the_name() -> None:
    async def story() -> Answer:
        return await DnsResolver(("127.0.0.1", free_port()), lifetime=1.0).ask("voorbeeld.test", "A")

    assert isinstance(asyncio.run(story()), Trouble)


def test_trouble_is_not_remembered() -> None:
    fails = True

    def respond(query: dns.message.Message) -> bytes:
        response = dns.message.make_response(query)
        if fails:
            response.set_rcode(dns.rcode.SERVFAIL)
        else:
            response.answer.append(dns.rrset.from_text("voorbeeld.test.", 5, "IN", "A", "127.0.0.1"))
        return response.to_wire()

    async def story() -> list[Answer]:
        nonlocal fails
        async with responding(respond) as (port, _):
            resolver = DnsResolver(("127.0.0.1", port))
            first = await resolver.ask("voorbeeld.test", "A")
            fails = False
            return [first, await resolver.ask("voorbeeld.test", "A")]

    first, second = asyncio.run(story())
    assert isinstance(first, Trouble)
    assert second == Found(("127.0.0.1",))


# Surely not there


def test_a_name_that_does_not_exist() -> None:
    assert asked("nergens.voorbeeld.test", "MX") == NotThere(name_exists=False)


def test_a_name_without_such_a_record() -> None:
    assert asked("mx.voorbeeld.test", "MX") == NotThere(name_exists=True)


def test_an_alias_to_nowhere() -> None:
    assert asked("alias.voorbeeld.test", "A") == NotThere(name_exists=False)


@pytest.mark.parametrize(
    "name", ["a..voorbeeld.test", ".voorbeeld.test", "x" * 64 + ".test", "a." * 127 + "test", "é\ud800.test"]
)
def test_what_can_not_be_a_name_is_an_answer_too(name: str) -> None:
    assert isinstance(asked(name, "A"), NotThere | Trouble)


# Found


@pytest.mark.parametrize(
    ("name", "kind", "records"),
    [
        ("voorbeeld.test", "MX", {"10 mx.voorbeeld.test.", "20 mx2.voorbeeld.test."}),
        ("MX.Voorbeeld.TEST.", "A", {"127.0.0.1", "127.0.0.2"}),
        ("null.test", "MX", {"0 ."}),
        ("mx.voorbeeld.test", "A", {"127.0.0.1", "127.0.0.2"}),
        ("mx.voorbeeld.test", "AAAA", {"::1"}),
        ("_zegel.voorbeeld.test", "TXT", {"zegel-domain=abc", "een ander"}),
        ("lang.voorbeeld.test", "TXT", {"x" * 3000}),
        ("zegel-bounce.voorbeeld.test", "CNAME", {"mx.voorbeeld.test."}),
        ("zegel-bounce.voorbeeld.test", "A", {"127.0.0.1", "127.0.0.2"}),
        ("_25._tcp.mx.voorbeeld.test", "TLSA", {"3 1 1 " + "ab" * 32}),
    ],
)
def test_records_come_as_they_are_published(name: str, kind: str, records: set[str]) -> None:
    answer = asked(name, kind)
    assert isinstance(answer, Found)
    assert set(answer.records) == records
    assert not answer.secure


def test_text_that_is_no_utf_8_is_text_all_the_same() -> None:
    def respond(query: dns.message.Message) -> bytes:
        response = dns.message.make_response(query)
        response.answer.append(dns.rrset.from_text(query.question[0].name, 5, "IN", "TXT", '"a\\255b" "c"'))
        return response.to_wire()

    async def story() -> Answer:
        async with responding(respond) as (port, _):
            return await DnsResolver(("127.0.0.1", port)).ask("voorbeeld.test", "TXT")

    assert asyncio.run(story()) == Found(("a\ufffdbc",))


def test_what_was_found_is_remembered_as_long_as_it_may_be() -> None:
    def respond(query: dns.message.Message) -> bytes:
        response = dns.message.make_response(query)
        response.answer.append(dns.rrset.from_text("voorbeeld.test.", 60, "IN", "A", "127.0.0.1"))
        return response.to_wire()

    async def story() -> int:
        async with responding(respond) as (port, server):
            resolver = DnsResolver(("127.0.0.1", port))
            for _ in range(3):
                assert await resolver.ask("voorbeeld.test", "A") == Found(("127.0.0.1",))
            return server.questions

    assert asyncio.run(story()) == 1


# Trust


def authenticated(query: dns.message.Message) -> bytes:
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AD
    response.answer.append(dns.rrset.from_text("voorbeeld.test.", 60, "IN", "A", "127.0.0.1"))
    return response.to_wire()


def test_who_is_not_trusted_can_not_say_that_an_answer_is_secure() -> None:
    assert answered_by(authenticated) == Found(("127.0.0.1",), secure=False)


def test_who_is_trusted_can() -> None:
    assert answered_by(authenticated, trusted=True) == Found(("127.0.0.1",), secure=True)


def test_a_trusted_resolver_that_does_not_say_so_found_nothing_secure() -> None:
    def respond(query: dns.message.Message) -> bytes:
        response = dns.message.from_wire(authenticated(query))
        response.flags &= ~dns.flags.AD
        return response.to_wire()

    assert answered_by(respond, trusted=True) == Found(("127.0.0.1",), secure=False)


def test_signatures_are_asked_for() -> None:
    """Without DO a validator need not say whether the answer is secure (RFC 4035 §3.2.1)."""
    seen: list[dns.message.Message] = []

    def respond(query: dns.message.Message) -> bytes:
        seen.append(query)
        return authenticated(query)

    answered_by(respond, trusted=True)
    assert seen[0].ednsflags & dns.flags.DO


# Anything


@settings(deadline=None, max_examples=60)
@given(name=st.text(max_size=80), kind=st.sampled_from(["A", "AAAA", "MX", "TXT", "CNAME", "TLSA"]))
def test_whatever_is_asked_there_is_an_answer(name: str, kind: str) -> None:
    """Nobody is at the resolver's address: only what can be said without asking is said."""

    async def story() -> Answer:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            resolver = DnsResolver(("127.0.0.1", silent.getsockname()[1]), lifetime=0.001)
            return await resolver.ask(name, kind)

    assert isinstance(asyncio.run(story()), Found | NotThere | Trouble)


def test_large_answers_are_given_and_not_kept() -> None:
    """Strangers choose the domains whose SPF is asked for: what they publish must not fill our memory."""
    zone = {**ZONE, ("groot.test", "TXT"): [f"{number:03}" + "x" * 240 for number in range(40)]}

    async def story() -> tuple[list[Answer], list[Answer]]:
        server = await serve(zone, "127.0.0.1", 0)
        resolver = DnsResolver(("127.0.0.1", server.port), lifetime=1.0)
        names = ("groot.test", "_zegel.voorbeeld.test")
        try:
            first = [await resolver.ask(name, "TXT") for name in names]
        finally:
            server.close()
        return first, [await resolver.ask(name, "TXT") for name in names]

    first, again = asyncio.run(story())
    assert all(isinstance(one, Found) for one in first)
    assert isinstance(again[0], Trouble)  # asked anew, and nobody is there any more
    assert again[1] == first[1]
