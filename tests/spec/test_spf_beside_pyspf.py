"""SPF: generated records, judged by pyspf as well. Both must come to the same verdict.

pyspf reads RFC 7208 a little differently in places. Generated is what both read alike:

- it resolves every name of the client, we only those that could match: here they all have addresses;
- it allows no modifier twice, RFC 7208 §6 only ``redirect=`` and ``exp=``: here none comes twice;
- it counts ``redirect=`` before it is followed: here a zone that has one asks little beside it;
- it has an error for what includes itself, before anything is evaluated: here includes lead downwards.

In one thing it is changed (:class:`Query`): a question to which there is nothing counts once.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.spec import openspf
from tests.spec.zone import Records, Zone
from zegel.core.mail.address import Domain
from zegel.core.policy.submitting import Spf
from zegel.edge.spf import check_host

PYSPF: Final = openspf.pyspf(openspf.needs_archive())

CLIENTS: Final = ["192.0.2.10", "192.0.2.200", "2001:db8::10", "2001:db8:1::200"]
HOSTS: Final = {
    "een.test": ("192.0.2.10", "2001:db8::10"),
    "twee.test": ("192.0.2.11", "2001:db8:1::200"),
    "drie.voorbeeld.test": ("198.51.100.7", "2001:db8:2::7"),
    "voorbeeld.test": ("192.0.2.193", "2001:db8::ff"),
    "1.voorbeeld.test": ("192.0.2.10", "2001:db8:3::1"),
    "2.elders.test": ("192.0.2.200", "2001:db8:1::1"),
    "jan.twee.test": ("127.0.0.2", "2001:db8::1"),
    "mx.elders.test": ("192.0.2.200", "2001:db8::2"),
    "192.0.2.10.in-addr.test": ("127.0.0.2", "2001:db8::3"),
}
POLICIES: Final = ["voorbeeld.test", "1.voorbeeld.test", "2.elders.test"]  # each may lead to those behind it
MX: Final = {
    "een.test": ["een.test"],
    "twee.test": ["drie.voorbeeld.test", "twee.test"],
    "elf.test": [f"{number}.elf.test" for number in range(11)],
    **{name: ["voorbeeld.test", "een.test"] for name in POLICIES},
}
PTR: Final = {
    "192.0.2.10": ["een.test", "1.voorbeeld.test"],
    "192.0.2.200": ["mx.elders.test"],
    "2001:db8::10": ["een.test", "twee.test"],
    "2001:db8:1::200": ["twee.test", "drie.voorbeeld.test"],
}
EMPTY: Final = [f"{number}.leeg.test" for number in range(5)]

host = st.sampled_from([*HOSTS, *EMPTY[:2]])
names = st.one_of(
    host,
    st.sampled_from(
        ["%{d}", "%{o}", "%{l}.twee.test", "%{h}", "%{i}.%{v}.test", "%{p}", "mx.%{h2}", "%{d1r}.elders.test"]
    ),
)
network = st.one_of(
    st.sampled_from(["ip4:192.0.2.10", "ip4:192.0.2.11", "ip6:2001:db8::10", "ip6:2001:DB8:1:0::200"]),
    st.builds("ip4:192.0.2.0/{}".format, st.integers(0, 32)),
    st.builds("ip6:2001:db8::/{}".format, st.integers(0, 128)),
)
length = st.sampled_from(["", "", "", "/24", "//64", "/32//128", "/0", "//0"])
WRONG: Final = (
    "ip4 ip4: ip4:192.0.2 ip4:192.0.2.256 ip4:192.0.2.010 ip4:192.0.2.10/ ip4:192.0.2.10/33 ip4:192.0.2.10//32 "
    "ip6 ip6:2001:db8 ip6:2001:db8::10:: ip6:192.0.2.10 ip6:2001:db8::10/129 all:een.test all/24 a: a:test mx: ptr: "
    "exists exists: include include: moo + - *all a;mx a:een.test; =x a/33 a//129 mx/ a/024 a// a/24/64 a/-1 "
    "mx:een.test//64/24 exists:%{x}.test exists:%(d).test exists:%.test redirect= exp= 1=x exists:een.test/24 ptr/24 "
    "include:een.test/24 ipv4:192.0.2.10 a:een..test.é"
)
wrong = st.sampled_from(WRONG.split())
harmless = st.sampled_from([[], [], ["exp=een.test"], ["x=y", "moo.1-2_3=%%:/%{d}", ""]])

_ASKING: Final = re.compile(r"(?<= )[+?~-]?(?:a|mx|ptr|exists|include)\b(?!=)\S*", re.IGNORECASE)


def term(number: int) -> st.SearchStrategy[str]:
    """One of a record of the policy of that number."""
    deeper = POLICIES[number + 1 :]
    mechanism = st.one_of(
        network,
        st.builds("{}{}".format, st.sampled_from(["a", "mx", "A", "Mx"]), length),
        st.builds("a:{}{}".format, names, length),
        st.builds("mx:{}{}".format, st.sampled_from([*MX, EMPTY[2]]), length),
        st.builds("exists:{}".format, names),
        st.sampled_from(["ptr", "ptr:een.test", "ptr:test.", "ptr:oorbeeld.test", "all"]),
        *([st.builds("include:{}".format, st.sampled_from([*deeper, *deeper, EMPTY[3]]))] if deeper else []),
    )
    return st.builds("{}{}".format, st.sampled_from(["", "", "+", "-", "~", "?"]), mechanism)


TERMS: Final = [term(number) for number in range(len(POLICIES))]


@st.composite
def zones(draw: st.DrawFn) -> Records:
    """Policies that include each other, in a world that is always the same."""
    records = dict(_world())
    policies = []
    for number, any_term in enumerate(TERMS):
        terms = draw(st.permutations([*draw(st.lists(any_term, max_size=6)), *draw(harmless)]))
        if draw(st.integers(0, 7)) == 0:
            terms.insert(draw(st.integers(0, len(terms))), draw(wrong))
        if POLICIES[number + 1 :] and draw(st.integers(0, 3)) == 0:
            terms.append(f"redirect={draw(st.sampled_from([*POLICIES[number + 1 :], EMPTY[4]]))}")
        policies.append(" ".join(["v=spf1", *terms]))
    if any("redirect=" in policy for policy in policies):
        budget = iter(range(3))
        policies = [
            _ASKING.sub(lambda found: found[0] if next(budget, None) is not None else "", one) for one in policies
        ]
    for name, policy in zip(POLICIES, policies, strict=True):
        records[name, "TXT"] = ["iets anders", policy]
    return records


def _world() -> Iterator[tuple[tuple[str, str], list[str]]]:
    for name, (ip4, ip6) in HOSTS.items():
        yield (name, "A"), [ip4, "198.51.100.99"]
        yield (name, "AAAA"), [ip6]
    for name, exchanges in MX.items():
        yield (name, "MX"), [f"{10 * number} {exchange}." for number, exchange in enumerate(exchanges)]
    for address, pointers in PTR.items():
        yield (ipaddress.ip_address(address).reverse_pointer, "PTR"), [f"{name}." for name in pointers]


class Query(PYSPF.query):  # type: ignore[name-defined,misc]
    """pyspf, which counts no question twice."""

    def dns(self, name: str, qtype: str, cnames: Any = None, ignore_void: bool = False) -> Any:
        empty = self.__dict__.setdefault("empty", set())
        found = super().dns(name, qtype, cnames, ignore_void or (name.lower(), qtype) in empty)
        if not found and not ignore_void:
            empty.add((name.lower(), qtype))
        return found


def by_pyspf(records: Records, address: str, local: str) -> Spf:
    def look_up(name: str, kind: str, *_: object) -> list[tuple[tuple[str, str], Any]]:
        return [((name, kind), _as_pyspf_has_it(record, kind)) for record in records.get((name.lower(), kind), [])]

    PYSPF.DNSLookup = look_up
    verdict, _, _ = Query(address, f"{local}@voorbeeld.test", "mx.elders.test").check()
    return Spf(verdict)


def _as_pyspf_has_it(record: str, kind: str) -> Any:
    match kind:
        case "TXT":
            return (record.encode(),)
        case "MX":
            preference, _, exchange = record.partition(" ")
            return int(preference), exchange.rstrip(".")
        case "PTR":
            return record.rstrip(".")
        case "AAAA":
            return ipaddress.ip_address(record).packed
        case _:
            return record


def by_us(records: Records, address: str, local: str) -> Spf:
    return asyncio.run(
        check_host(
            address=address,
            domain=Domain("voorbeeld.test"),
            sender=f"{local}@voorbeeld.test",
            helo="mx.elders.test",
            dns=Zone(records),
        )
    )


@settings(max_examples=300)
@given(zones(), st.sampled_from(CLIENTS), st.sampled_from(["jan", "jan.de-boer"]))
def test_pyspf_comes_to_the_same_verdict(records: Records, address: str, local: str) -> None:
    assert by_us(records, address, local) is by_pyspf(records, address, local)


@pytest.mark.parametrize("term", WRONG.split())
def test_what_pyspf_refuses_to_read_we_refuse(term: str) -> None:
    records = {("voorbeeld.test", "TXT"): [f"v=spf1 ip4:192.0.2.10 {term} -all"]}
    assert by_us(records, "192.0.2.10", "jan") is Spf.PERMERROR
    assert by_pyspf(records, "192.0.2.10", "jan") is Spf.PERMERROR
