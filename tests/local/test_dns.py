"""The local name space, seen through dnspython's own resolver and through raw packets."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zegel.local.dns import DnsServer, NotAZone, Zone, _Tree, serve
from zegel.local.loopback import NotLoopback

from .running import Loop

LONG = "v=DKIM1; k=rsa; p=" + "A" * 700
ZONE: Zone = {
    ("voorbeeld.test", "MX"): ["20 mx2.voorbeeld.test", "10 mx1.voorbeeld.test."],
    ("voorbeeld.test", "TXT"): ["v=spf1 ip4:127.0.0.1 -all", LONG],
    ("mx1.voorbeeld.test", "A"): ["127.0.0.1"],
    ("mx1.voorbeeld.test", "AAAA"): ["::1"],
    ("mx2.voorbeeld.test.", "a"): ["127.0.0.2"],
    ("www.voorbeeld.test", "CNAME"): ["web.voorbeeld.test"],
    ("web.voorbeeld.test", "CNAME"): ["mx1.voorbeeld.test"],
    ("elders.voorbeeld.test", "CNAME"): ["www.example.org"],
    ("kwijt.voorbeeld.test", "CNAME"): ["nergens.voorbeeld.test"],
    ("kring1.test", "CNAME"): ["kring2.test"],
    ("kring2.test", "CNAME"): ["kring1.test"],
    ("_25._tcp.mx1.voorbeeld.test", "TLSA"): ["3 1 1 " + "ab" * 32],
    ("groot.test", "TXT"): [f"{number:03} " + "x" * 200 for number in range(40)],
}


class Served:
    """A DNS server in a thread, so that blocking clients can ask it."""

    def __init__(self) -> None:
        self._loop = Loop()
        self.call = self._loop.call
        self.server: DnsServer = self._loop.run(serve(ZONE, "127.0.0.1", 0))

    def stop(self) -> None:
        self.call(self.server.close)
        self._loop.stop()
        assert not self._loop.complaints

    def ask(self, name: str, kind: str, *, tcp: bool = False, edns: int | None = 1232) -> dns.message.Message:
        query = dns.message.make_query(name, kind, use_edns=edns is not None and 0, payload=edns or 0)
        how = dns.query.tcp if tcp else dns.query.udp
        return how(query, "127.0.0.1", port=self.server.port, timeout=5)

    def resolver(self) -> dns.resolver.Resolver:
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port, resolver.lifetime = ["127.0.0.1"], self.server.port, 5
        return resolver


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.stop()


both = pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])


@both
def test_an_unknown_name_does_not_exist_and_an_soa_says_so(served: Served, tcp: bool) -> None:
    response = served.ask("nergens.voorbeeld.test", "A", tcp=tcp)
    assert response.rcode() == dns.rcode.NXDOMAIN
    assert [(set_.name.to_text(), set_.rdtype) for set_ in response.authority] == [("test.", dns.rdatatype.SOA)]
    assert not response.answer


def test_a_known_name_without_the_type_is_no_error_and_an_soa_says_so(served: Served) -> None:
    response = served.ask("mx2.voorbeeld.test", "AAAA")
    assert response.rcode() == dns.rcode.NOERROR
    assert not response.answer
    assert [set_.rdtype for set_ in response.authority] == [dns.rdatatype.SOA]


def test_a_name_that_only_has_names_below_it_exists(served: Served) -> None:
    assert served.ask("_tcp.mx1.voorbeeld.test", "A").rcode() == dns.rcode.NOERROR


@pytest.mark.parametrize("name", ["example.org", ".", "test.example.org", "nottest"])
def test_a_name_outside_the_zone_is_refused(served: Served, name: str) -> None:
    response = served.ask(name, "A")
    assert response.rcode() == dns.rcode.REFUSED
    assert not response.flags & dns.flags.AA
    assert not response.answer and not response.authority


@pytest.mark.parametrize("kind", ["AXFR", "ANY"])
def test_the_zone_is_not_handed_out_whole(served: Served, kind: str) -> None:
    query = dns.message.make_query("test", kind)
    assert dns.query.udp(query, "127.0.0.1", port=served.server.port, timeout=5).rcode() == dns.rcode.REFUSED


def test_another_class_is_refused(served: Served) -> None:
    query = dns.message.make_query("voorbeeld.test", "TXT", "CH")
    assert dns.query.udp(query, "127.0.0.1", port=served.server.port, timeout=5).rcode() == dns.rcode.REFUSED


def test_a_newer_edns_is_told_which_version_is_spoken(served: Served) -> None:
    query = dns.message.make_query("voorbeeld.test", "MX", use_edns=1)
    assert dns.query.udp(query, "127.0.0.1", port=served.server.port, timeout=5).rcode() == dns.rcode.BADVERS


def test_an_update_is_not_implemented(served: Served) -> None:
    update = dns.message.make_query("test", "SOA")
    update.flags |= 5 << 11
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(update.to_wire(), ("127.0.0.1", served.server.port))
        (flags,) = struct.unpack("!H", client.recv(4096)[2:4])
    assert flags & 0xF == dns.rcode.NOTIMP


def test_a_malformed_packet_gets_no_answer_and_the_next_query_does(served: Served) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", served.server.port))
        good = dns.message.make_query("mx1.voorbeeld.test", "A", id=4711)
        response_like = dns.message.make_query("mx1.voorbeeld.test", "A", id=4712)
        response_like.flags |= dns.flags.QR
        for packet in (b"", b"\0", b"\xff" * 700, good.to_wire()[:-3], response_like.to_wire(), good.to_wire()):
            client.send(packet)
        assert dns.message.from_wire(client.recv(4096)).id == 4711
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(4096)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.integers(0, 60))
def test_no_octets_raise(noise: bytes, at: int) -> None:
    server = DnsServer(0, "127.0.0.1", _Tree(ZONE, "127.0.0.1", 1))
    good = dns.message.make_query("voorbeeld.test", "MX", use_edns=0).to_wire()
    for packet in (noise, good[:at] + noise + good[at + len(noise) :]):
        server._reply_by_datagram(packet)
        server._reply_by_stream(packet)


def test_a_malformed_message_ends_a_tcp_connection(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=5) as client:
        client.sendall(b"\0\3abc")
        assert client.recv(100) == b""


@both
def test_the_resolver_finds_mail_hosts_and_addresses(served: Served, tcp: bool) -> None:
    resolver = served.resolver()
    hosts = sorted(rdata.to_text().lower() for rdata in resolver.resolve("VoorBeeld.TEST", "MX", tcp=tcp))
    assert hosts == ["10 mx1.voorbeeld.test.", "20 mx2.voorbeeld.test."]
    assert [r.to_text() for r in resolver.resolve("mx2.voorbeeld.test", "A", tcp=tcp)] == ["127.0.0.2"]
    assert [r.to_text() for r in resolver.resolve("mx1.voorbeeld.test", "AAAA", tcp=tcp)] == ["::1"]
    assert resolver.resolve("_25._tcp.mx1.voorbeeld.test", "TLSA", tcp=tcp)[0].to_text().startswith("3 1 1 ab")


def test_the_zone_has_an_authority_and_a_name_server(served: Served) -> None:
    resolver = served.resolver()
    assert resolver.resolve("test", "NS")[0].to_text() == "ns.test."
    assert resolver.resolve("ns.test", "A")[0].to_text() == "127.0.0.1"
    assert dns.resolver.zone_for_name("mx1.voorbeeld.test", resolver=resolver).to_text() == "test."


def test_aliases_are_followed_inside_the_zone(served: Served) -> None:
    answer = served.resolver().resolve("www.voorbeeld.test", "A")
    assert answer.canonical_name.to_text() == "mx1.voorbeeld.test."
    assert answer[0].to_text() == "127.0.0.1"
    assert len(answer.response.answer) == 3


def test_an_alias_can_be_asked_for_itself(served: Served) -> None:
    assert served.resolver().resolve("www.voorbeeld.test", "CNAME")[0].to_text() == "web.voorbeeld.test."


def test_an_alias_to_nowhere_is_a_name_that_does_not_exist(served: Served) -> None:
    response = served.ask("kwijt.voorbeeld.test", "A")
    assert response.rcode() == dns.rcode.NXDOMAIN
    assert [set_.rdtype for set_ in response.answer] == [dns.rdatatype.CNAME]
    assert [set_.rdtype for set_ in response.authority] == [dns.rdatatype.SOA]


def test_an_alias_that_leaves_the_zone_is_all_that_is_said(served: Served) -> None:
    response = served.ask("elders.voorbeeld.test", "A")
    assert response.rcode() == dns.rcode.NOERROR
    assert [set_.rdtype for set_ in response.answer] == [dns.rdatatype.CNAME]


def test_a_circle_of_aliases_ends(served: Served) -> None:
    response = served.ask("kring1.test", "A")
    assert [set_.name.to_text() for set_ in response.answer] == ["kring1.test.", "kring2.test."]


@both
def test_a_long_text_arrives_whole_in_strings_of_255(served: Served, tcp: bool) -> None:
    texts = [rdata.strings for rdata in served.resolver().resolve("voorbeeld.test", "TXT", tcp=tcp)]
    assert sorted(b"".join(strings).decode() for strings in texts) == sorted([LONG, "v=spf1 ip4:127.0.0.1 -all"])
    assert sorted(len(part) for strings in texts for part in strings) == [25, 208, 255, 255]


@pytest.mark.parametrize(("edns", "limit"), [(None, 512), (300, 512), (1232, 1232), (65000, 4096)])
def test_what_does_not_fit_in_a_datagram_is_marked_as_truncated(served: Served, edns: int | None, limit: int) -> None:
    response = served.ask("groot.test", "TXT", edns=edns)
    assert response.flags & dns.flags.TC
    assert len(response.to_wire()) <= limit


def test_what_fits_the_announced_size_is_not_truncated(served: Served) -> None:
    response = served.ask("voorbeeld.test", "TXT", edns=1232)
    assert not response.flags & dns.flags.TC
    assert len(response.to_wire()) > 512


def test_over_tcp_the_announced_datagram_size_does_not_matter(served: Served) -> None:
    response = served.ask("groot.test", "TXT", tcp=True, edns=512)
    assert not response.flags & dns.flags.TC
    assert len(response.answer[0]) == 40


def test_the_resolver_gets_the_large_answer_by_itself(served: Served) -> None:
    assert len(served.resolver().resolve("groot.test", "TXT")) == 40


@both
def test_nothing_is_ever_called_authentic(served: Served, tcp: bool) -> None:
    query = dns.message.make_query("voorbeeld.test", "MX", want_dnssec=True)
    query.flags |= dns.flags.AD
    how = dns.query.tcp if tcp else dns.query.udp
    response = how(query, "127.0.0.1", port=served.server.port, timeout=5)
    assert response.flags & dns.flags.AA
    assert not response.flags & (dns.flags.AD | dns.flags.RA)
    assert response.ednsflags & dns.flags.DO


def test_several_queries_share_a_connection(served: Served) -> None:
    query = dns.message.make_query("mx1.voorbeeld.test", "A").to_wire()
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=5) as client:
        client.sendall((struct.pack("!H", len(query)) + query) * 3)
        stream = client.makefile("rb")
        for _ in range(3):
            (length,) = struct.unpack("!H", stream.read(2))
            assert dns.message.from_wire(stream.read(length)).answer


def test_an_update_is_what_the_next_query_meets_and_a_bad_one_changes_nothing() -> None:
    served = Served()
    try:
        before = served.ask("test", "SOA").answer[0][0].serial
        with pytest.raises(NotAZone):
            served.call(lambda: served.server.update({("voorbeeld.test", "A"): ["not an address"]}))
        assert served.ask("voorbeeld.test", "MX").answer
        served.call(lambda: served.server.update({("nieuw.test", "A"): ["127.0.0.9"]}))
        assert served.ask("nieuw.test", "A").answer[0][0].to_text() == "127.0.0.9"
        assert served.ask("voorbeeld.test", "MX").rcode() == dns.rcode.NXDOMAIN
        assert served.ask("test", "SOA").answer[0][0].serial > before
    finally:
        served.stop()


@pytest.mark.parametrize(
    "zone",
    [
        {("example.org", "A"): ["127.0.0.1"]},
        {("voorbeeld.test", "A"): ["::1"]},
        {("voorbeeld.test", "NOSUCHTYPE"): ["1"]},
        {("a" * 64 + ".test", "A"): ["127.0.0.1"]},
        {("voorbeeld.test", "CNAME"): ["a.test"], ("voorbeeld.test", "TXT"): ["b"]},
    ],
)
def test_what_is_no_zone_is_not_served(zone: Zone) -> None:
    with pytest.raises(NotAZone):
        asyncio.run(serve(zone, "127.0.0.1", 0))


def test_an_address_that_others_can_reach_is_not_listened_on() -> None:
    for host in ("0.0.0.0", "192.0.2.1", "localhost", "::"):
        with pytest.raises(NotLoopback):
            asyncio.run(serve(ZONE, host, 0))
