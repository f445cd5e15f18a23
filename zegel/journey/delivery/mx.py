"""Next hops: which hosts take mail for a domain (RFC 5321 §5.1, RFC 7505)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import Final

from zegel.core.mail.address import Domain, NotADomain
from zegel.core.policy.mta_sts import Mode, Policy
from zegel.core.smtp import dane
from zegel.core.smtp.dane import Tlsa
from zegel.core.smtp.tls_report import HOST_NOT_NAMED, Failure, tlsa_not_known
from zegel.edge.dns import Found, NotThere, Resolver, Trouble

MOST_ALIASES: Final = 8  # CNAMEs from a host to where its addresses stand
MOST_HOSTS: Final = 10  # of one domain; RFC 5321 §5.1 asks for two at least, and a hostile zone may name thousands
MOST_ADDRESSES: Final = 8  # of one host; likewise


@dataclass(frozen=True, slots=True)
class Dane:
    """Secure TLSA records of a host, usable or not; there is at least one. Who connects goes by them and by nothing
    else (RFC 7672 §2.2)."""

    base: str  # the name they stand under: what the server is asked for (SNI)
    names: tuple[str, ...]  # what a certificate under an anchor may be for: the base, the domain, what that leads to
    records: tuple[Tlsa, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose next hop it is, and what that domain promises by MTA-STS: whom a TLS report is for, and about what."""

    domain: Domain
    policy: Policy | None = None


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A host that no connection was made to, because of what it promises about TLS, or may promise."""

    asked: Asked
    host: str
    failure: Failure
    base: str = ""  # where TLSA records would stand; empty: MTA-STS forbids it


Tell = Callable[[PassedOver], None]


def tell_nobody(_: PassedOver) -> None:
    """Where no TLS report is made."""


@dataclass(frozen=True, slots=True)
class NextHop:
    """One host at one address. ``host`` is the MX host name: what its certificate must be for, unless ``dane`` says
    otherwise."""

    host: str
    address: str
    mx_is_secure: bool = False
    dane: Dane | None = None
    by_policy: bool = False  # MTA-STS enforce names it: no mail goes there but over verified TLS (RFC 8461 §5)
    asked: Asked | None = field(default=None, compare=False)  # two domains with this host share its connections


@dataclass(frozen=True, slots=True)
class NoSuchDomain:
    """The DNS says that there is no such domain, or that it has neither MX nor address."""


@dataclass(frozen=True, slots=True)
class TakesNoMail:
    """A null MX (RFC 7505)."""


@dataclass(frozen=True, slots=True)
class NoneIsNamed:
    """The domain's MTA-STS policy names none of the hosts that the DNS names; one of both is not the domain's."""


@dataclass(frozen=True, slots=True)
class NotKnownNow:
    """The DNS didn't answer conclusively, or names hosts that are nowhere; try again."""

    reason: str
    tlsa_base: str = ""  # the name whose TLSA records are not to be known


NextHops = tuple[NextHop, ...] | NoSuchDomain | TakesNoMail | NoneIsNamed | NotKnownNow


async def next_hops(
    domain: Domain, *, dns: Resolver, policy: Policy | None = None, tell: Tell = tell_nobody
) -> NextHops:
    """In the order of trying: lowest preference first, equals shuffled; the addresses of a host stand together. Never
    empty. ``policy``: the domain's, by MTA-STS; one that is enforced leaves the hosts that it names. ``tell`` hears of
    hosts that are passed over for what they promise about TLS."""
    asked = Asked(domain, policy)
    answer = await dns.ask(domain.ascii, "MX")
    has_mx = isinstance(answer, Found)
    match answer:
        case Trouble(reason=reason):
            return NotKnownNow(f"MX: {reason}")
        case NotThere(name_exists=False):
            return NoSuchDomain()
        case NotThere():
            hosts, secure = [domain.ascii], False  # RFC 5321 §5.1: the implicit MX
        case Found(records=records, secure=secure):
            if all(record.partition(" ")[2] == "." for record in records):
                return TakesNoMail()
            hosts = _ordered(records)
    is_enforced = policy is not None and policy.mode is Mode.ENFORCE
    if policy is not None and is_enforced:
        unnamed, hosts = hosts, [host for host in hosts if policy.names(host)]
        if not hosts:
            for host in unnamed[:1]:
                tell(PassedOver(asked, host, HOST_NOT_NAMED))
            return NoneIsNamed()
    hops: list[NextHop] = []
    trouble = ""
    for host in hosts:
        found = await _hops(host, asked, dns=dns, is_secure=secure, has_mx=has_mx, by_policy=is_enforced)
        if isinstance(found, NotKnownNow):
            trouble = trouble or found.reason
            if found.tlsa_base:
                tell(PassedOver(asked, host, tlsa_not_known(found.reason), found.tlsa_base))
        else:
            hops.extend(found)
    if hops:
        return tuple(hops)
    if has_mx:  # the domain takes mail; that its hosts can't be found is a mistake that somebody will mend
        trouble = trouble or "no host of the MX has an address"
    return NotKnownNow(trouble) if trouble else NoSuchDomain()


async def _hops(
    host: str, asked: Asked, *, dns: Resolver, is_secure: bool, has_mx: bool, by_policy: bool
) -> tuple[NextHop, ...] | NotKnownNow:
    """TLSA records are looked for where the way to the host is protected by DNSSEC all along (RFC 7672 §2.2). No MX
    leads to a domain that is its own host: its address says enough (RFC 7672 §2.2.2)."""
    addresses, are_secure, by_alias, trouble = await _addresses(host, dns=dns)
    known: Dane | None = None
    if (is_secure or not has_mx) and (are_secure or by_alias):
        found = await dane_of(host, asked.domain, dns=dns, are_secure=are_secure)
        if isinstance(found, NotKnownNow):  # perhaps there are records: the host is as good as unreachable
            return found
        known = found
    if not addresses and trouble:
        return NotKnownNow(trouble)
    hops = (NextHop(host, address, is_secure, known, by_policy, asked) for address in alternating(addresses))
    return tuple(hops)


def _ordered(records: tuple[str, ...]) -> list[str]:
    pairs = [
        (int(preference), host.rstrip(".").lower())
        for preference, _, host in (one.partition(" ") for one in records)
        if name_of(host)
    ]
    random.shuffle(pairs)
    return [host for _, host in sorted(pairs, key=lambda pair: pair[0])][:MOST_HOSTS]


def of_first_host(hops: Sequence[NextHop]) -> tuple[NextHop, ...]:
    """The addresses of the host that comes first, in their order: they may be tried together (RFC 8305 §5)."""
    return tuple(hop for hop in hops if hop.host == hops[0].host)


def alternating(addresses: Sequence[str]) -> list[str]:
    """IPv6 first, then the two families in turn (RFC 8305 §4), each in the order of the DNS; no more than
    :data:`MOST_ADDRESSES`."""
    six = [one for one in addresses if ":" in one]
    four = [one for one in addresses if ":" not in one]
    return [one for one in chain.from_iterable(zip_longest(six, four)) if one is not None][:MOST_ADDRESSES]


async def _addresses(host: str, *, dns: Resolver) -> tuple[list[str], bool, bool, str]:
    """Addresses; whether all of them are secure; whether an alias led to one; and what is wrong, where something is."""
    found: list[str] = []
    secure, by_alias, trouble = True, False, ""
    for kind in ("AAAA", "A"):
        match await dns.ask(host, kind):
            case Found(records=records, secure=is_secure, by_alias=is_led):
                found.extend(records)
                secure, by_alias = secure and is_secure, by_alias or is_led
            case Trouble(reason=reason):
                trouble = f"{kind} of {host}: {reason}"
            case NotThere():
                pass
    return found, bool(found) and secure, by_alias, trouble


# --- DANE ---------------------------------------------------------------------------------------------------------


async def dane_of(
    host: str, next_hop_domain: Domain, *, dns: Resolver, are_secure: bool = True
) -> Dane | NotKnownNow | None:
    """The secure TLSA records of a host: under the name that its aliases lead to, if those are secure all the way, else
    under its own. ``are_secure``: its addresses. ``None``: it has none."""
    first = await (_expanded(host, dns) if are_secure else _lent(host, dns))
    if isinstance(first, NotKnownNow):
        return first
    for base in dict.fromkeys((first, host)) if first else ():
        match await dns.ask(f"_25._tcp.{base}", "TLSA"):
            case Trouble(reason=reason):
                return NotKnownNow(f"TLSA of {base}: {reason}", base)
            case Found(records=texts, secure=True):
                return await _dane(base, next_hop_domain, dane.records(texts), dns)
            case Found() | NotThere():
                pass
    return None


async def _dane(base: str, next_hop_domain: Domain, records: tuple[Tlsa, ...], dns: Resolver) -> Dane | NotKnownNow:
    """Whose certificate it may be is asked only where a name counts: under an anchor (RFC 7672 §3.2.2)."""
    names = [base, next_hop_domain.ascii]
    if any(one.is_usable and one.usage == dane.DANE_TA for one in records):
        expanded = await _expanded(next_hop_domain.ascii, dns)
        if isinstance(expanded, NotKnownNow):
            return expanded
        names.append(expanded)
    return Dane(base, tuple(dict.fromkeys(names)), records)


async def _lent(host: str, dns: Resolver) -> str | NotKnownNow:
    """Of a host whose addresses are not secure: its own name, if that is a secure alias of somebody else's machine
    (RFC 7672 §2.2.2); else empty."""
    match await dns.ask(host, "CNAME"):
        case Found(secure=True):
            return host
        case Trouble(reason=reason):
            return NotKnownNow(f"CNAME of {host}: {reason}")
        case Found() | NotThere():
            return ""


async def _expanded(host: str, dns: Resolver) -> str | NotKnownNow:
    """Where the aliases of ``host`` end; ``host`` itself where one of them is not secure (RFC 7672 §2.1.3)."""
    name = host
    for _ in range(MOST_ALIASES):
        match await dns.ask(name, "CNAME"):
            case NotThere():
                return name
            case Trouble(reason=reason):
                return NotKnownNow(f"CNAME of {name}: {reason}")
            case Found(secure=False):
                return host
            case Found(records=(target, *_)) if name_of(target):
                name = name_of(target)
            case Found():
                return host
    return host


def name_of(host: str) -> str:
    """A host's name as it is asked for; empty for what is none."""
    try:
        return Domain.parse(host).ascii
    except NotADomain:
        return ""
