"""Next hops, as a real resolver finds them in real zones: plain, signed, and broken in each way."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.journey.delivery_peers import ScriptedMx
from tests.journey.zone import Zone
from tests.needs import needs, not_here
from tests.peers import free_port
from tests.peers.dns import Nsd, Unbound, signed
from zegel.core.mail.address import Domain, Mailbox
from zegel.core.policy.carriage import Accepted
from zegel.core.policy.transport import NO_DEMAND
from zegel.core.smtp.dane import records
from zegel.edge.dns import DnsResolver, Found, NotThere, Trouble
from zegel.edge.tls import opportunistic_context, verifying_context
from zegel.journey.delivery.connection import Contexts, Dialler, Mail
from zegel.journey.delivery.mx import (
    MOST_HOSTS,
    Dane,
    NextHop,
    NextHops,
    NoSuchDomain,
    NotKnownNow,
    TakesNoMail,
    next_hops,
)

SOA: Final = "@ IN SOA ns.test. host.test. 1 3600 600 86400 5\n@ IN NS ns.test.\n"
PLAIN: Final = (
    "$TTL 5\n"
    + SOA
    + """ns.test. IN A 127.0.0.1
order.test. IN MX 30 c.order.test.
order.test. IN MX 10 A.Order.test.
order.test. IN MX 20 b.order.test.
a.order.test. IN A 127.0.0.21
b.order.test. IN A 127.0.0.22
c.order.test. IN A 127.0.0.23
equal.test. IN MX 10 a.order.test.
equal.test. IN MX 10 b.order.test.
equal.test. IN MX 10 c.order.test.
equal.test. IN MX 5 first.test.
first.test. IN A 127.0.0.20
null.test. IN MX 0 .
both.test. IN MX 0 .
both.test. IN MX 10 a.order.test.
bare.test. IN A 127.0.0.30
text.test. IN TXT "nothing but words"
homeless.test. IN MX 10 nowhere.test.
half.test. IN MX 10 nowhere.test.
half.test. IN MX 20 b.order.test.
shaky.test. IN MX 10 mx.bogus.test.
shaky2.test. IN MX 10 mx.bogus.test.
shaky2.test. IN MX 20 b.order.test.
alias.test. IN MX 10 www.test.
www.test. IN CNAME b.order.test.
moved.test. IN CNAME order.test.
six.test. IN MX 10 mx.six.test.
mx.six.test. IN AAAA ::1
dual.test. IN MX 10 mx.dual.test.
mx.dual.test. IN A 127.0.0.40
mx.dual.test. IN AAAA ::1
literal.test. IN MX 10 127.0.0.1.
xn--bcher-kva.test. IN MX 10 mx.xn--bcher-kva.test.
mx.xn--bcher-kva.test. IN A 127.0.0.50
crowd.test. IN MX 5 first.test.
odd.test. IN MX 10 a\\000b.odd.test.
odd.test. IN MX 20 first.test.
a\\000b.odd.test. IN A 127.0.0.70
"""
    + "".join(
        f"crowd.test. IN MX 10 m{number}.crowd.test.\nm{number}.crowd.test. IN A 127.0.1.{number}\n"
        for number in range(40)
    )
)
SIGNED: Final = (
    "$TTL 5\n"
    + SOA
    + '@ IN MX 10 mx\n@ IN TXT "words"\nmx IN A 127.0.0.60\nbare IN A 127.0.0.61\nout IN MX 10 first.test.\n'
    + f"""own IN A 127.0.0.62
_25._tcp.own IN TLSA 3 1 1 {"ab" * 32}
lent IN MX 10 mx.lent
mx.lent IN CNAME b.order.test.
_25._tcp.mx.lent IN TLSA 3 1 1 {"ab" * 32}
_25._tcp.out IN TLSA 3 1 1 {"ab" * 32}
whole IN MX 10 ta
named IN CNAME whole
ta IN A 127.0.0.63
_25._tcp.ta IN TLSA 2 1 1 {"cd" * 32}
"""
)


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unbound]:
    needs("nsd", "unbound")
    folder = tmp_path_factory.mktemp("dns")
    good, bogus = signed("signed.test", SIGNED), signed("bogus.test", SIGNED)
    anchors = f"{good.trust_anchor}\n{signed('bogus.test', SIGNED).trust_anchor}"  # another key than the zone's
    zones = {"test": PLAIN, "signed.test": good.text, "bogus.test": bogus.text}
    with (
        Nsd(zones, folder / "nsd") as nsd,
        Unbound(folder / "unbound", stubs={f"{zone}.": nsd for zone in zones}, trust_anchor=anchors) as unbound,
    ):
        yield unbound


def ask(resolver: Unbound, domain: str, *, trusted: bool = True) -> NextHops:
    dns = DnsResolver((resolver.ip, resolver.port), trusted=trusted)
    return asyncio.run(next_hops(Domain.parse(domain), dns=dns))


def hosts(hops: NextHops) -> list[str]:
    assert isinstance(hops, tuple), hops
    return [hop.host for hop in hops]


# --- no way there -------------------------------------------------------------------------------------------------


def test_a_domain_that_does_not_exist_is_known_not_to(resolver: Unbound) -> None:
    assert ask(resolver, "nobody.test") == NoSuchDomain()


def test_a_domain_with_neither_mx_nor_address_takes_no_mail_either(resolver: Unbound) -> None:
    assert ask(resolver, "text.test") == NoSuchDomain()


def test_a_null_mx_is_final(resolver: Unbound) -> None:
    assert ask(resolver, "null.test") == TakesNoMail()


def test_a_null_mx_beside_a_real_one_is_a_mistake_that_costs_no_mail(resolver: Unbound) -> None:
    """RFC 7505 §3: it stands alone, or it isn't one."""
    assert hosts(ask(resolver, "both.test")) == ["a.order.test"]


@pytest.mark.parametrize("domain", ["bogus.test", "out.bogus.test"])
def test_a_bogus_answer_says_nothing(resolver: Unbound, domain: str) -> None:
    assert isinstance(ask(resolver, domain), NotKnownNow)


def test_a_name_that_nobody_answers_for_says_nothing(resolver: Unbound) -> None:
    assert isinstance(ask(resolver, "voorbeeld.example"), NotKnownNow)


def test_an_mx_whose_only_host_cannot_be_looked_up_waits(resolver: Unbound) -> None:
    assert isinstance(ask(resolver, "shaky.test"), NotKnownNow)


@pytest.mark.parametrize("domain", ["homeless.test", "literal.test"])
def test_an_mx_without_an_address_is_no_domain_that_does_not_exist(resolver: Unbound, domain: str) -> None:
    """The sender's address is right; what is wrong will be mended over there."""
    assert ask(resolver, domain) == NotKnownNow("no host of the MX has an address")


def test_a_resolver_that_is_away_says_nothing() -> None:
    dns = DnsResolver(("127.0.0.1", free_port()))
    dns._resolver.lifetime = 0.5
    assert isinstance(asyncio.run(next_hops(Domain.parse("order.test"), dns=dns)), NotKnownNow)


def test_a_resolver_that_is_silent_says_nothing() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        dns = DnsResolver(silent.getsockname())
        dns._resolver.lifetime = 0.5
        assert isinstance(asyncio.run(next_hops(Domain.parse("order.test"), dns=dns)), NotKnownNow)


# --- the way there ------------------------------------------------------------------------------------------------


def test_the_lowest_preference_comes_first(resolver: Unbound) -> None:
    assert ask(resolver, "order.test") == (
        NextHop("a.order.test", "127.0.0.21"),
        NextHop("b.order.test", "127.0.0.22"),
        NextHop("c.order.test", "127.0.0.23"),
    )


def test_equal_preferences_are_shuffled_and_only_they(resolver: Unbound) -> None:
    seen = {tuple(hosts(ask(resolver, "equal.test"))) for _ in range(60)}
    assert {order[0] for order in seen} == {"first.test"}
    assert {frozenset(order[1:]) for order in seen} == {frozenset({"a.order.test", "b.order.test", "c.order.test"})}
    assert {order[1] for order in seen} == {"a.order.test", "b.order.test", "c.order.test"}  # (2/3)^60 to miss one


def test_a_host_that_is_nowhere_is_passed_over(resolver: Unbound) -> None:
    assert hosts(ask(resolver, "half.test")) == ["b.order.test"]
    assert hosts(ask(resolver, "shaky2.test")) == ["b.order.test"]


def test_a_host_name_with_odd_octets_is_passed_over(resolver: Unbound) -> None:
    """No certificate can be for it; and a name that TLS can't take would break off every try."""
    assert hosts(ask(resolver, "odd.test")) == ["first.test"]


def test_without_an_mx_the_domain_is_its_own_host(resolver: Unbound) -> None:
    assert ask(resolver, "bare.test") == (NextHop("bare.test", "127.0.0.30"),)


def test_an_mx_that_is_an_alias_keeps_its_name(resolver: Unbound) -> None:
    """The certificate is for what the MX says."""
    assert ask(resolver, "alias.test") == (NextHop("www.test", "127.0.0.22"),)


def test_a_domain_that_is_an_alias_has_the_mx_of_its_target(resolver: Unbound) -> None:
    assert hosts(ask(resolver, "moved.test")) == ["a.order.test", "b.order.test", "c.order.test"]


def test_both_kinds_of_address_are_found(resolver: Unbound) -> None:
    assert ask(resolver, "six.test") == (NextHop("mx.six.test", "::1"),)
    assert ask(resolver, "dual.test") == (NextHop("mx.dual.test", "::1"), NextHop("mx.dual.test", "127.0.0.40"))


def test_an_internationalised_domain_is_asked_for_as_dns_knows_it(resolver: Unbound) -> None:
    assert ask(resolver, "bücher.test") == (NextHop("mx.xn--bcher-kva.test", "127.0.0.50"),)


def test_a_crowd_of_hosts_is_not_tried_to_the_end(resolver: Unbound) -> None:
    found = hosts(ask(resolver, "crowd.test"))
    assert len(found) == MOST_HOSTS
    assert found[0] == "first.test"


# --- whether the DNS was signed -----------------------------------------------------------------------------------


def test_an_mx_is_secure_only_where_dns_was_signed_and_the_resolver_is_trusted(resolver: Unbound) -> None:
    assert ask(resolver, "signed.test") == (NextHop("mx.signed.test", "127.0.0.60", mx_is_secure=True),)
    assert ask(resolver, "signed.test", trusted=False) == (NextHop("mx.signed.test", "127.0.0.60"),)
    assert ask(resolver, "order.test")[0] == NextHop("a.order.test", "127.0.0.21")  # type: ignore[index]


def test_an_mx_in_signed_dns_is_secure_wherever_its_host_lives(resolver: Unbound) -> None:
    assert ask(resolver, "out.signed.test") == (NextHop("first.test", "127.0.0.20", mx_is_secure=True),)


def test_a_domain_without_an_mx_is_never_led_to_by_one(resolver: Unbound) -> None:
    assert ask(resolver, "bare.signed.test") == (NextHop("bare.signed.test", "127.0.0.61"),)


# --- TLSA records -------------------------------------------------------------------------------------------------


def test_a_domain_that_is_its_own_host_may_have_them_too(resolver: Unbound) -> None:
    """RFC 7672 §2.2.2: nothing but the address leads there, and that is signed."""
    known = Dane("own.signed.test", ("own.signed.test",), records([f"3 1 1 {'ab' * 32}"]))
    assert ask(resolver, "own.signed.test") == (NextHop("own.signed.test", "127.0.0.62", dane=known),)
    assert ask(resolver, "own.signed.test", trusted=False) == (NextHop("own.signed.test", "127.0.0.62"),)


def test_a_host_that_is_a_signed_alias_of_an_unsigned_one_may_have_them_under_its_own_name(resolver: Unbound) -> None:
    """RFC 7672 §2.2.2: who lends the machine has no signed zone, who named it has."""
    known = Dane("mx.lent.signed.test", ("mx.lent.signed.test", "lent.signed.test"), records([f"3 1 1 {'ab' * 32}"]))
    assert ask(resolver, "lent.signed.test") == (
        NextHop("mx.lent.signed.test", "127.0.0.22", mx_is_secure=True, dane=known),
    )


def test_where_it_can_t_be_known_whether_an_alias_is_signed_its_host_is_out_of_reach() -> None:
    """Else who keeps that answer away keeps the records away, and with them what they demand (RFC 7672 §2.1.2)."""
    zone = Zone(
        {
            ("veilig.test", "MX"): Found(("10 mx.veilig.test.",), secure=True),
            ("mx.veilig.test", "A"): Found(("127.0.0.64",), by_alias=True),
            ("mx.veilig.test", "CNAME"): Trouble("SERVFAIL"),
        }
    )
    found = asyncio.run(next_hops(Domain.parse("veilig.test"), dns=zone))
    assert found == NotKnownNow("CNAME of mx.veilig.test: SERVFAIL")


def test_an_anchor_s_server_may_be_named_for_what_the_domain_is_an_alias_of(resolver: Unbound) -> None:
    """RFC 7672 §3.2.2: the host, the domain, and where its aliases lead."""
    (hop,) = ask(resolver, "named.signed.test")  # type: ignore[misc]
    assert hop.dane is not None
    assert hop.dane.names == ("ta.signed.test", "named.signed.test", "whole.signed.test")
    (plain,) = ask(resolver, "whole.signed.test")  # type: ignore[misc]
    assert plain.dane is not None
    assert plain.dane.names == ("ta.signed.test", "whole.signed.test")


def test_text_and_its_absence_are_told_apart(resolver: Unbound) -> None:
    dns = DnsResolver((resolver.ip, resolver.port), trusted=True)

    async def story() -> None:
        assert await dns.ask("signed.test", "TXT") == Found(("words",), secure=True)
        assert await dns.ask("signed.test.", "CNAME") == NotThere(name_exists=True)
        assert await dns.ask("no.signed.test", "TXT") == NotThere(name_exists=False)
        assert isinstance(await dns.ask("bogus.test", "TXT"), Trouble)
        assert isinstance(await dns.ask("a." * 200 + "test", "TXT"), Trouble)

    asyncio.run(story())


# --- and over it --------------------------------------------------------------------------------------------------


def test_mail_goes_over_ipv6_where_there_is_nothing_else(resolver: Unbound, tmp_path: Path) -> None:
    if not has_ipv6():
        not_here("no IPv6 on loopback")
    with ScriptedMx(ip="::1") as server:
        (hop,) = ask(resolver, "six.test")  # type: ignore[misc]
        dialler = Dialler("zegel.test", server.port, Contexts(verifying_context(None), opportunistic_context()), 5.0)
        mailbox = Mailbox.parse("lezer@six.test")

        async def story() -> None:
            result = await dialler.send(hop, Mail(mailbox, mailbox, 4, (b"a\r\n",)), needs=NO_DEMAND)
            assert result.outcome == Accepted()
            await dialler.close()

        asyncio.run(story())
        assert server.messages() == [b"a\r\n"]


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True
