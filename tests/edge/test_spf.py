"""SPF where something is wrong: with the DNS, with a record, with a client, with us. Only ``pass`` lets anybody in.

What RFC 7208 says of ordinary records is tested by the official suite, in ``tests/spec``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, cast

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.edge.test_dns import responding
from tests.spec.zone import Records, Zone
from zegel.core.mail.address import Domain
from zegel.edge import spf
from zegel.edge.dns import Answer, DnsResolver, Found, Resolver, Trouble
from zegel.edge.spf import MAX_QUESTIONS, MAX_RECORD, Spf, check_host
from zegel.local.dns import serve

CLIENT: Final = "192.0.2.10"
CLIENT_6: Final = "2001:db8::10"
DOMAIN: Final = Domain("voorbeeld.test")
SENDER: Final = "afzender@voorbeeld.test"


async def check(
    dns: Resolver, *, address: str = CLIENT, domain: Domain = DOMAIN, sender: str = SENDER, helo: str = "mx.elders.test"
) -> Spf:
    return await check_host(address=address, domain=domain, sender=sender, helo=helo, dns=dns)


def judged(dns: Resolver, **differently: str) -> Spf:
    """The verdict, where nothing goes wrong that is ours."""
    with capture_logs() as logged:
        verdict = asyncio.run(check(dns, **differently))  # type: ignore[arg-type]
    assert logged == []
    return verdict


def publishing(policy: str, others: Mapping[tuple[str, str], Sequence[str]] | None = None, *silent: str) -> Zone:
    return Zone({("voorbeeld.test", "TXT"): [policy], **(others or {})}, silent)


class Answering:
    """A resolver that has one answer, or one exception, for everything."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    async def ask(self, name: str, kind: str) -> Answer:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return cast(Answer, self.answer)


class Slow:
    """A resolver that takes its time for each question; ``done`` are those that it lived to answer."""

    def __init__(self, dns: Resolver, seconds: float) -> None:
        self.dns, self.seconds = dns, seconds
        self.begun = self.done = 0

    async def ask(self, name: str, kind: str) -> Answer:
        self.begun += 1
        await asyncio.sleep(self.seconds)
        self.done += 1
        return await self.dns.ask(name, kind)


# --- the DNS can't say ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["NoNameservers", "LifetimeTimeout", "the resolver can't be reached (OSError)"])
def test_a_record_that_can_not_be_looked_up_now_is_no_verdict(reason: str) -> None:
    assert judged(Answering(Trouble(reason))) is Spf.TEMPERROR


@pytest.mark.parametrize(
    "term", ["a:stil.test", "mx:stil.test", "mx:half.test", "exists:stil.test", "include:stil.test"]
)
def test_a_term_that_can_not_be_looked_up_now_is_no_verdict(term: str) -> None:
    zone = publishing(f"v=spf1 {term} +all", {("half.test", "MX"): ["10 stil.test."]}, "stil.test")
    assert judged(zone) is Spf.TEMPERROR


def test_neither_is_a_redirection_to_one() -> None:
    assert judged(publishing("v=spf1 redirect=stil.test", {}, "stil.test")) is Spf.TEMPERROR


def test_a_name_of_the_client_that_can_not_be_looked_up_now_is_none_that_matches() -> None:
    """RFC 7208 §5.5: a DNS error there is no match, and no error."""
    assert judged(publishing("v=spf1 ptr -all", {}, "10.2.0.192.in-addr.arpa")) is Spf.FAIL


def test_what_comes_behind_a_match_is_not_asked_for() -> None:
    zone = publishing(f"v=spf1 ip4:{CLIENT} a:stil.test -all", {}, "stil.test")
    assert judged(zone) is Spf.PASS
    assert zone.asked == [("voorbeeld.test", "TXT")]


# --- there is no record, or more than one -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "records",
    [
        {},
        {("voorbeeld.test", "MX"): ["10 mx.voorbeeld.test."]},
        {("voorbeeld.test", "TXT"): ["zegel-domain=abc", "v=spf2.0/pra +all", "v=spf1+all", " v=spf1 +all", ""]},
        {("_spf.voorbeeld.test", "TXT"): ["v=spf1 +all"], ("test", "TXT"): ["v=spf1 +all"]},
    ],
    ids=["no such name", "no such record", "other texts", "records above and below"],
)
def test_who_publishes_nothing_lets_nobody_send(records: Records) -> None:
    assert judged(Zone(records)) is Spf.NONE


@pytest.mark.parametrize("second", ["v=spf1 +all", "V=SPF1 -all", "v=spf1"])
def test_of_two_records_neither_counts(second: str) -> None:
    assert judged(Zone({("voorbeeld.test", "TXT"): ["v=spf1 +all", second]})) is Spf.PERMERROR


@pytest.mark.parametrize("term", ["include:leeg.test", "redirect=leeg.test", "include:nergens.test"])
def test_a_record_that_leans_on_none_is_an_error(term: str) -> None:
    assert judged(publishing(f"v=spf1 {term}", {("leeg.test", "TXT"): ["niets"]})) is Spf.PERMERROR


# --- the record is wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "policy",
    [
        f"v=spf1 ip4:{CLIENT} exp=é.voorbeeld.test",
        f"v=spf1 ip4:{CLIENT}\ufffd",
        f"v=spf1 ip4:{CLIENT}\n",
        f"v=spf1 ip4:{CLIENT}/24\n",
        f"v=spf1 ip4:{CLIENT}\t-all",
        f"v=spf1 ip4:{CLIENT}\0",
        f"v=spf1 ip4:{CLIENT}\u00a0-all",
        f"v=spf1 ip4:{CLIENT} a:voorbeeld.test\n",
        "v=spf1 ip4:١٩٢.0.2.10",
        f"v=spf1 ip4:{CLIENT}/٢٤",
    ],
)
def test_what_is_not_printable_ascii_is_in_no_record(policy: str) -> None:
    zone = publishing(policy, {("voorbeeld.test", "A"): [CLIENT]})
    assert judged(zone) is Spf.PERMERROR


@pytest.mark.parametrize("policy", ["v=ſpf1 +all", "v=spf1\u00a0+all", "v=spf1\n+all", "\ufeffv=spf1 +all"])
def test_what_only_looks_like_a_record_is_none(policy: str) -> None:
    assert judged(publishing(policy)) is Spf.NONE


@pytest.mark.parametrize(
    "policy",
    [
        f"v=spf1 ip4:{CLIENT} " + "x=y " * MAX_RECORD,
        f"v=spf1 ip4:{CLIENT}" + " " * MAX_RECORD,
        f"v=spf1 ip4:{CLIENT} exists:%{{d{'9' * 5000}}}.voorbeeld.test",
        f"v=spf1 ip4:{CLIENT} x=" + "%{d1r}" * 10_000,
    ],
    ids=["terms", "spaces", "digits", "macros"],
)
def test_a_giant_record_is_not_read(policy: str) -> None:
    assert judged(publishing(policy)) is Spf.PERMERROR


def test_the_longest_record_is_read() -> None:
    policy = f"v=spf1 ip4:{CLIENT} -all"
    assert judged(publishing(policy + " " * (MAX_RECORD - len(policy)))) is Spf.PASS
    assert judged(publishing(policy + " " * (MAX_RECORD - len(policy) + 1))) is Spf.PERMERROR


def test_other_texts_beside_a_record_are_none_of_its_business() -> None:
    texts = ["x" * 60_000, "ë\0\n", f"v=spf1 ip4:{CLIENT} -all", "v=spf10 +all"]
    assert judged(Zone({("voorbeeld.test", "TXT"): texts})) is Spf.PASS


@pytest.mark.parametrize(
    "macro",
    ["%", "%(d)", "%{", "%{}", "%{d", "%{x}", "%{d0}", "%{dr2}", "%{d1rr}", "%{d-;}", "%{c}", "%{r}", "%{t}", "%%%"],
)
def test_a_macro_that_is_none_makes_the_record_an_error(macro: str) -> None:
    """Also where it stands behind what would match (RFC 7208 §4.6)."""
    assert judged(publishing(f"v=spf1 ip4:{CLIENT} exists:{macro}.voorbeeld.test -all")) is Spf.PERMERROR


# --- records without end ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("term", ["include:{}", "redirect={}"])
@pytest.mark.parametrize("length", [1, 2, 7, 30])
def test_a_circle_ends_in_an_error(term: str, length: int) -> None:
    names = ["voorbeeld.test", *(f"{number}.voorbeeld.test" for number in range(1, length))]
    around = zip(names, [*names[1:], names[0]], strict=True)
    zone = Zone({(name, "TXT"): [f"v=spf1 {term.format(following)}"] for name, following in around})
    assert judged(zone) is Spf.PERMERROR
    assert len(zone.asked) <= 11


def test_what_branches_ends_in_an_error_too() -> None:
    """Each record includes all ten: without a limit there would be no end."""
    names = [f"{number}.voorbeeld.test" for number in range(10)]
    policy = "v=spf1 " + " ".join(f"include:{name}" for name in names)
    zone = publishing(policy, {(name, "TXT"): [policy] for name in names})
    assert judged(zone) is Spf.PERMERROR
    assert len(zone.asked) <= 11


@pytest.mark.parametrize("kind", ["a", "mx", "ptr", "include"])
def test_ten_terms_may_ask_the_dns_and_not_eleven(kind: str) -> None:
    others: dict[tuple[str, str], list[str]] = {("10.2.0.192.in-addr.arpa", "PTR"): ["elders.test."]}
    for number in range(11):
        others[f"{number}.test", "A"] = ["192.0.2.99"]
        others[f"{number}.test", "MX"] = ["10 1.test."]
        others[f"{number}.test", "TXT"] = ["v=spf1 -all"]
    terms = [f"{kind}:{number}.test" for number in range(11)]
    assert judged(publishing(f"v=spf1 {' '.join(terms[:10])} +all", others)) is Spf.PASS
    assert judged(publishing(f"v=spf1 {' '.join(terms)} +all", others)) is Spf.PERMERROR


def test_eleven_terms_exceed_the_limit_wherever_they_stand() -> None:
    others = {("deel.test", "TXT"): ["v=spf1 " + "a:elders.test " * 9 + "-all"], ("elders.test", "A"): ["192.0.2.99"]}
    assert judged(publishing("v=spf1 include:deel.test +all", others)) is Spf.PASS
    assert judged(publishing("v=spf1 include:deel.test a:elders.test +all", others)) is Spf.PERMERROR


@pytest.mark.parametrize(
    "terms",
    ["a:1.test exists:2.test mx:3.test", "include:deel.test exists:3.test", "mx:dood.test"],
    ids=["terms", "in an include", "hosts of one mx"],
)
def test_the_third_question_to_which_there_is_nothing_is_an_error(terms: str) -> None:
    others = {
        ("deel.test", "TXT"): ["v=spf1 exists:1.test exists:2.test"],
        ("dood.test", "MX"): ["10 1.test.", "20 2.test.", "30 3.test."],
    }
    zone = publishing(f"v=spf1 {terms} +all", others)
    assert judged(zone) is Spf.PERMERROR
    assert [name for name, _ in zone.asked if name[0].isdigit()] == ["1.test", "2.test", "3.test"]


def test_two_are_none() -> None:
    assert judged(publishing(f"v=spf1 a:1.test exists:2.test ip4:{CLIENT} -all")) is Spf.PASS


def test_of_more_than_ten_mx_hosts_none_is_asked_for() -> None:
    def zone(hosts: int) -> Zone:
        others = {(f"{number}.test", "A"): ["192.0.2.99"] for number in range(10)} | {("10.test", "A"): [CLIENT]}
        mx = [f"{number} {number}.test." for number in range(hosts)]
        return publishing("v=spf1 mx +all", {("voorbeeld.test", "MX"): mx, **others})

    assert judged(zone(10)) is Spf.PASS
    too_many = zone(11)
    assert judged(too_many) is Spf.PERMERROR
    assert too_many.asked == [("voorbeeld.test", "TXT"), ("voorbeeld.test", "MX")]


def test_of_more_than_ten_names_of_a_client_ten_are_asked_for() -> None:
    names = [f"{number}.voorbeeld.test" for number in range(300)]
    others = {("10.2.0.192.in-addr.arpa", "PTR"): [f"{name}." for name in names]}
    others |= {(name, "A"): ["192.0.2.99"] for name in names} | {(names[10], "A"): [CLIENT]}
    for policy in ("v=spf1 ptr -all", "v=spf1 exists:%{p}.stil.test -all"):
        zone = publishing(policy, others)
        assert judged(zone) is Spf.FAIL
        assert len([kind for _, kind in zone.asked if kind == "A"]) <= 11


def test_the_most_expensive_record_costs_no_more_than_its_limit() -> None:
    """Ten times mx with ten hosts, and a client with names."""
    others: dict[tuple[str, str], list[str]] = {
        ("10.2.0.192.in-addr.arpa", "PTR"): [f"{number}.elders.test." for number in range(50)]
    }
    for term in range(10):
        others[f"{term}.test", "MX"] = [f"10 {term}-{host}.test." for host in range(10)]
        others |= {(f"{term}-{host}.test", "A"): ["192.0.2.99"] for host in range(10)}
    others |= {(f"{number}.elders.test", "A"): ["192.0.2.99"] for number in range(50)}
    terms = " ".join(f"mx:{term}.test" for term in range(10))
    dearest = publishing(f"v=spf1 {terms} +all", others)
    assert judged(dearest) is Spf.PASS
    assert len(dearest.asked) == MAX_QUESTIONS
    others["unknown.test", "MX"] = others["9.test", "MX"]
    dearer = publishing(f"v=spf1 {terms.replace('mx:9', 'mx:%{p}')} +all", others)
    assert judged(dearer) is Spf.PERMERROR
    assert len(dearer.asked) == MAX_QUESTIONS


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("macro", "asked"),
    [
        ("%{s}", "jan\\.de\\.boer\\@voorbeeld.test"),
        ("%{l}", "jan.de.boer"),
        ("%{l-}", "jan.de.boer"),
        ("%{lr}", "boer.de.jan"),
        ("%{l1r}", "jan"),
        ("%{l2}", "de.boer"),
        ("%{l99}", "jan.de.boer"),
        ("%{o}", "voorbeeld.test"),
        ("%{d2r}", "test.voorbeeld"),
        ("%{h}", "mx-1.elders.test"),
        ("%{hr-}", "1.elders.test.mx"),
        ("%{h1+-,/_=}", "1.elders.test"),
        ("%{i}.%{v}", "192.0.2.10.in-addr"),
        ("%{ir}.%{v}", "10.2.0.192.in-addr"),
        ("%{p}", "unknown"),
        ("%%-%_-%-", "%- -%20"),
        ("%{S}", "jan.de.boer%40voorbeeld.test"),
        ("!#$&'()*+,-./:;<=>?@[]^_`{|}~", "!#$&'()*+,-./:;<=>?@[]^_`{|}~"),
    ],
)
def test_macros_become_names(macro: str, asked: str) -> None:
    """Asked for is the very name: what is special to whoever reads names is written as a number."""
    zone = publishing(f"v=spf1 exists:{macro}.x.test -all")
    sender = "jan.de.boer@voorbeeld.test"
    assert judged(zone, sender=sender, helo="mx-1.elders.test") is Spf.FAIL
    wanted = [label.encode() for label in f"{asked.replace(chr(92), '')}.x.test".split(".")]
    assert dns.name.from_text(zone.asked[-1][0]) == dns.name.Name([*wanted, b""])


def test_an_ipv6_address_becomes_its_nibbles() -> None:
    zone = publishing("v=spf1 exists:%{ir}.%{v}.x.test -all")
    assert judged(zone, address=CLIENT_6) is Spf.FAIL
    assert zone.asked[-1][0].lower() == "0.1." + "0." * 22 + "8.b.d.0.1.0.0.2.ip6.x.test"


@pytest.mark.parametrize("local", ["a\\.b", "a\\", "\\", 'a"b', "a b", "a;b", "(a", "@a", "a\\046b", "*", "$a", "a@b"])
def test_a_local_part_brings_no_label_of_its_own_making(local: str) -> None:
    """``x\\.y`` is two labels to spftrace, and one to whoever reads a name as RFC 1035 §5.1 writes it: the parts would
    disagree on whose name it is."""
    zone = publishing(f"v=spf1 exists:%{{l}}.x.test -all", {(f"{local}.x.test", "A"): ["127.0.0.2"]})  # noqa: F541
    assert judged(zone, sender=f"{local}@voorbeeld.test") is Spf.PASS
    asked = dns.name.from_text(zone.asked[-1][0])
    assert asked.labels == (*(label.encode() for label in local.split(".")), b"x", b"test", b"")


def test_a_name_of_the_client_is_not_read_as_another_one() -> None:
    """Whoever has the address chooses what its PTR says. The name is one label below ``test``; that it ends like the
    domain, as a text, proves nothing."""
    others = {("10.2.0.192.in-addr.arpa", "PTR"): ["x\\.voorbeeld.test."]}
    zone = publishing("v=spf1 ptr -all", others)
    assert judged(zone) is Spf.FAIL
    assert dns.name.from_text("x\\.voorbeeld.test.") not in [dns.name.from_text(name) for name, _ in zone.asked]


@pytest.mark.parametrize("macro", ["%{l}", "%{s}", "%{l1r-}"])
def test_a_local_part_that_is_not_ascii_matches_no_term(macro: str) -> None:
    """RFC 8616 §4. And what is no name is not asked for: IDNA would make another name of it."""
    zone = publishing(
        f"v=spf1 exists:{macro}.x.test ?ip4:{CLIENT}",
        {("xn--jos-dma.x.test", "A"): ["127.0.0.2"], ("jos\\195\\169.x.test", "A"): ["127.0.0.2"]},
    )
    assert judged(zone, sender="josé@voorbeeld.test") is Spf.NEUTRAL
    assert zone.asked == [("voorbeeld.test", "TXT")]


def test_a_domain_without_mail_servers_has_none_that_could_match() -> None:
    zone = publishing("v=spf1 mx -all", {("voorbeeld.test", "MX"): ["0 ."]})
    assert judged(zone) is Spf.FAIL
    assert zone.asked == [("voorbeeld.test", "TXT"), ("voorbeeld.test", "MX")]


@pytest.mark.parametrize(
    "name", ["[192.0.2.10]", "[ipv6:2001:db8::10]", "localhost", "", ".", "voorbeeld..test", f"{'x' * 64}.test"]
)
def test_what_is_no_domain_publishes_nothing(name: str) -> None:
    """:class:`Domain` refuses most of these; a name of HELO could be any of them (RFC 7208 §4.3)."""
    assert judged(Zone({}), domain=Domain(name), sender=f"postmaster@{name}", helo=name) is Spf.NONE  # type: ignore[arg-type]


@pytest.mark.parametrize("sender", ["@voorbeeld.test", "voorbeeld.test", ""])
def test_a_sender_without_local_part_is_the_postmaster(sender: str) -> None:
    """RFC 7208 §4.3."""
    zone = publishing("v=spf1 exists:%{l}.%{o}.x.test exists:%{s}.x.test -all")
    assert judged(zone, sender=sender) is Spf.FAIL
    assert [name for name, _ in zone.asked[1:]] == [
        "postmaster.voorbeeld.test.x.test",
        "postmaster\\064voorbeeld.test.x.test",
    ]


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "policy", "verdict"),
    [
        ("192.0.2.10", "ip4:192.0.2.10", Spf.PASS),
        ("192.0.2.10", "ip4:192.0.2.0/28", Spf.PASS),
        ("192.0.2.16", "ip4:192.0.2.0/28", Spf.FAIL),
        ("192.0.2.10", "ip6:::ffff:192.0.2.10", Spf.FAIL),
        ("192.0.2.10", "ip6:::/0", Spf.FAIL),
        ("::ffff:192.0.2.10", "ip4:192.0.2.10", Spf.PASS),
        ("::ffff:c000:20a", "ip4:192.0.2.0/28", Spf.PASS),
        ("::ffff:192.0.2.10", "ip6:::ffff:0:0/96", Spf.FAIL),
        ("::ffff:192.0.2.10", "ip6:::/0", Spf.FAIL),
        ("::192.0.2.10", "ip4:192.0.2.10", Spf.FAIL),
        ("2001:db8::10", "ip6:2001:DB8::10", Spf.PASS),
        ("2001:0db8:0:0:0:0:0:0010", "ip6:2001:db8::/32", Spf.PASS),
        ("2001:db9::10", "ip6:2001:db8::/32", Spf.FAIL),
        ("2001:db8::10", "ip4:0.0.0.0/0", Spf.FAIL),
        ("fe80::1%eth0", "ip6:fe80::1", Spf.PASS),
        ("2001:db8::10", "a", Spf.PASS),
        ("2001:db8::11", "a", Spf.FAIL),
        ("2001:db8::11", "a/0", Spf.FAIL),
        ("2001:db8::11", "a//124", Spf.PASS),
        ("192.0.2.11", "a//0", Spf.FAIL),
        ("192.0.2.11", "a/28//0", Spf.PASS),
        ("::ffff:192.0.2.10", "a", Spf.PASS),
        ("2001:db8::10", "mx", Spf.PASS),
        ("192.0.2.10", "ptr", Spf.PASS),
        ("::ffff:192.0.2.10", "ptr", Spf.PASS),
        ("2001:db8::10", "ptr", Spf.PASS),
        ("2001:db8::11", "ptr", Spf.FAIL),
        ("fe80::1%eth0", "ptr:elders.test", Spf.PASS),
    ],
)
def test_a_client_is_who_its_address_says(address: str, policy: str, verdict: Spf) -> None:
    others: dict[tuple[str, str], list[str]] = {
        ("voorbeeld.test", "A"): ["192.0.2.10"],
        ("voorbeeld.test", "AAAA"): ["2001:db8::10"],
        ("voorbeeld.test", "MX"): ["10 voorbeeld.test."],
        ("10.2.0.192.in-addr.arpa", "PTR"): ["elders.test.", "Voorbeeld.TEST."],
        ("0.1." + "0." * 22 + "8.b.d.0.1.0.0.2.ip6.arpa", "PTR"): ["voorbeeld.test."],
        ("1.1." + "0." * 22 + "8.b.d.0.1.0.0.2.ip6.arpa", "PTR"): ["voorbeeld.test."],
        ("1." + "0." * 27 + "0.8.e.f.ip6.arpa", "PTR"): ["elders.test."],
        ("elders.test", "AAAA"): ["fe80::1"],
    }
    assert judged(publishing(f"v=spf1 {policy} -all", others), address=address) is verdict


# --- ours -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dns",
    [
        Answering(RuntimeError("v=spf1 words of somebody")),
        Answering(ValueError("v=spf1 words of somebody")),
        Answering(RecursionError("v=spf1 words of somebody")),
        Answering(None),
        Answering(Found((None,))),  # type: ignore[arg-type]
    ],
)
def test_a_defect_of_ours_lets_nobody_in_and_is_told_to_the_operator(dns: Resolver) -> None:
    with capture_logs() as logged:
        assert asyncio.run(check(dns)) is Spf.TEMPERROR
    (event,) = logged
    assert (event["event"], event["where"], event["log_level"]) == ("broken", "spf", "error")
    assert "somebody" not in str(event)


@pytest.mark.parametrize("address", ["", "localhost", "192.0.2.256", "192.0.2.10:25", "[192.0.2.10]"])
def test_so_does_an_address_that_is_none(address: str) -> None:
    with capture_logs() as logged:
        assert asyncio.run(check(publishing("v=spf1 +all"), address=address)) is Spf.TEMPERROR
    assert [event["event"] for event in logged] == ["broken"]


def test_a_resolver_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spf, "TIME_LIMIT", 0.05)
    dns = Slow(publishing("v=spf1 +all"), 3600)
    assert judged(dns) is Spf.TEMPERROR
    assert (dns.begun, dns.done) == (1, 0)


def test_neither_is_one_that_answers_each_question_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spf, "TIME_LIMIT", 0.2)
    others = {("voorbeeld.test", "MX"): [f"10 {n}.test." for n in range(10)]}
    others |= {(f"{n}.test", "A"): ["192.0.2.99"] for n in range(10)}
    dns = Slow(publishing("v=spf1 mx +all", others), 0.1)
    assert judged(dns) is Spf.TEMPERROR
    assert dns.begun < 5


def test_who_hangs_up_is_not_judged() -> None:
    """The listener cancels what it waits for when the client is gone; that is no verdict."""

    async def story() -> None:
        judging = asyncio.create_task(check(Slow(publishing("v=spf1 +all"), 3600)))
        await asyncio.sleep(0)
        judging.cancel()
        await judging

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(story())


def test_no_verdict_is_remembered() -> None:
    class Changing:
        policy = f"v=spf1 ip4:{CLIENT} -all"

        async def ask(self, name: str, kind: str) -> Answer:
            return Found((self.policy,))

    dns = Changing()
    assert judged(dns) is Spf.PASS
    dns.policy = "v=spf1 -all"
    assert judged(dns) is Spf.FAIL


def test_one_evaluation_knows_nothing_of_another() -> None:
    """Counted is for each: ten clients at once spend no limit together."""

    async def story() -> list[Spf]:
        others = {("deel.test", "TXT"): ["v=spf1 exists:leeg.test exists:niets.test -all"]}
        zone = publishing(f"v=spf1 include:deel.test ip4:{CLIENT} -all", others)
        return await asyncio.gather(*(check(zone, address=f"192.0.2.{number}") for number in range(6, 16)))

    verdicts = asyncio.run(story())
    assert verdicts == [Spf.PASS if number == 10 else Spf.FAIL for number in range(6, 16)]


def test_no_explanation_of_a_fail_is_fetched() -> None:
    zone = publishing("v=spf1 -all exp=%{p}.waarom.test", {("waarom.test", "TXT"): ["daarom"]})
    assert judged(zone) is Spf.FAIL
    assert zone.asked == [("voorbeeld.test", "TXT")]


# --- anything ---------------------------------------------------------------------------------------------------------

PIECES: Final = [
    *(
        "v=spf1",
        " ",
        " ",
        "+",
        "-",
        "~",
        "?",
        "all",
        "a",
        "mx",
        "ptr",
        "exists",
        "include",
        "ip4",
        "ip6",
        ":",
        "/",
        "//",
    ),
    *(
        "redirect=",
        "exp=",
        "x=",
        "%{",
        "}",
        "%",
        "%%",
        "%_",
        "%-",
        "l",
        "s",
        "d",
        "i",
        "p",
        "v",
        "h",
        "r",
        ".",
        "\\",
        "\n",
    ),
    *(
        "voorbeeld.test",
        "x.test",
        "192.0.2.10",
        "2001:db8::10",
        "::",
        "fe80::1%eth0",
        "0",
        "24",
        "129",
        "9" * 30,
        "é",
        "\0",
    ),
]
policies = st.lists(st.sampled_from(PIECES), max_size=40).map("".join).map(lambda rest: f"v=spf1 {rest}") | st.text()


@settings(max_examples=400)
@given(
    policies,
    policies,
    st.sampled_from([CLIENT, CLIENT_6, "::ffff:192.0.2.10"]),
    st.text(max_size=70) | st.just("jan"),
    st.text(max_size=300) | st.just("mx.elders.test"),
)
def test_whatever_is_published_and_sent_there_is_a_verdict(
    policy: str, other: str, address: str, local: str, helo: str
) -> None:
    """``judged`` sees that nothing of it is taken for a defect of ours."""
    zone = publishing(
        policy,
        {
            ("x.test", "TXT"): [other, "iets"],
            ("x.test", "A"): [CLIENT],
            ("x.test", "MX"): ["10 x.test.", "0 ."],
            ("10.2.0.192.in-addr.arpa", "PTR"): ["\\000\\.x.test.", "x.test.", "."],
        },
        "voorbeeld.test",
    )
    assert judged(zone, address=address, sender=f"{local}@voorbeeld.test", helo=helo) in set(Spf)
    assert len(zone.asked) <= MAX_QUESTIONS


# --- over the wire ----------------------------------------------------------------------------------------------------

WORLD: Final = {
    ("voorbeeld.test", "TXT"): [f"v=spf1 a:a.test mx:mx.test exists:%{{l}}.wie.test include:deel.test -all{' ' * 300}"],
    ("a.test", "A"): ["192.0.2.20"],
    ("mx.test", "MX"): ["10 a.test.", "20 b.test."],
    ("b.test", "CNAME"): ["c.test."],
    ("c.test", "A"): ["192.0.2.30"],
    ("c.test", "AAAA"): ["2001:db8::30"],
    ("jan\\092kees.wie.test", "A"): ["127.0.0.2"],
    ("deel.test", "TXT"): ["iets", "v=spf1 ip4:192.0.2.40 ?all"],
}


@pytest.mark.parametrize(
    ("address", "local", "verdict"),
    [
        ("192.0.2.20", "jan", Spf.PASS),
        ("192.0.2.30", "jan", Spf.PASS),
        ("2001:db8::30", "jan", Spf.PASS),
        ("192.0.2.99", "jan\\kees", Spf.PASS),
        ("192.0.2.40", "jan", Spf.PASS),
        ("192.0.2.99", "jan", Spf.FAIL),
    ],
)
def test_the_resolver_that_is_used_and_its_twin_give_the_same_verdict(address: str, local: str, verdict: Spf) -> None:
    async def story() -> Spf:
        server = await serve(WORLD, "127.0.0.1", 0)
        try:
            return await check(
                DnsResolver(("127.0.0.1", server.port)), address=address, sender=f"{local}@voorbeeld.test"
            )
        finally:
            server.close()

    twin = Zone({(name.replace("\\092", "\\"), kind): texts for (name, kind), texts in WORLD.items()})
    assert judged(twin, address=address, sender=f"{local}@voorbeeld.test") is verdict
    assert asyncio.run(story()) is verdict


def test_the_names_of_a_client_are_asked_of_the_resolver() -> None:
    records = {
        ("voorbeeld.test.", "TXT"): '"v=spf1 ptr" " -all"',
        ("10.2.0.192.in-addr.arpa.", "PTR"): "mx.voorbeeld.test.",
        ("mx.voorbeeld.test.", "A"): CLIENT,
    }

    def respond(query: dns.message.Message) -> bytes:
        response, question = dns.message.make_response(query), query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        if (text := records.get((question.name.to_text(), kind))) is not None:
            response.answer.append(dns.rrset.from_text(question.name, 5, "IN", kind, text))
        else:
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()

    async def story() -> list[Spf]:
        async with responding(respond) as (port, _):
            resolver = DnsResolver(("127.0.0.1", port))
            return [await check(resolver), await check(resolver, address="192.0.2.11")]

    assert asyncio.run(story()) == [Spf.PASS, Spf.FAIL]
