"""Next hops: which hosts take mail for a domain (RFC 5321 §5.1, RFC 7505)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from zegel.core.mail.address import Domain, NotADomain
from zegel.edge.dns import Found, NotThere, Resolver, Trouble

MOST_HOSTS: Final = 10  # of one domain; RFC 5321 §5.1 asks for two at least, and a hostile zone may name thousands


@dataclass(frozen=True, slots=True)
class NextHop:
    """One host at one address. ``host`` is the MX host name: what its certificate must be for."""

    host: str
    address: str
    mx_is_secure: bool = False


@dataclass(frozen=True, slots=True)
class NoSuchDomain:
    """The DNS says that there is no such domain, or that it has neither MX nor address."""


@dataclass(frozen=True, slots=True)
class TakesNoMail:
    """A null MX (RFC 7505)."""


@dataclass(frozen=True, slots=True)
class NotKnownNow:
    """The DNS didn't answer conclusively, or names hosts that are nowhere; try again."""

    reason: str


NextHops = tuple[NextHop, ...] | NoSuchDomain | TakesNoMail | NotKnownNow


async def next_hops(domain: Domain, *, dns: Resolver) -> NextHops:
    """In the order of trying: lowest preference first, equals shuffled. Never empty."""
    answer = await dns.ask(domain.ascii, "MX")
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
    has_mx = isinstance(answer, Found)
    hops: list[NextHop] = []
    trouble = ""
    for host in hosts:
        found, reason = await _addresses(host, dns=dns)
        trouble = trouble or reason
        hops.extend(NextHop(host, address, secure) for address in found)
    if hops:
        return tuple(hops)
    if has_mx:  # the domain takes mail; that its hosts can't be found is a mistake that somebody will mend
        trouble = trouble or "no host of the MX has an address"
    return NotKnownNow(trouble) if trouble else NoSuchDomain()


def _ordered(records: tuple[str, ...]) -> list[str]:
    pairs = [
        (int(preference), host.rstrip(".").lower())
        for preference, _, host in (one.partition(" ") for one in records)
        if _is_host(host)
    ]
    random.shuffle(pairs)
    return [host for _, host in sorted(pairs, key=lambda pair: pair[0])][:MOST_HOSTS]


def _is_host(name: str) -> bool:
    """A certificate can be for it: no address, no octets beyond a host's (RFC 5321 §2.3.5)."""
    try:
        Domain.parse(name)
    except NotADomain:
        return False
    return True


async def _addresses(host: str, *, dns: Resolver) -> tuple[list[str], str]:
    found: list[str] = []
    trouble = ""
    for kind in ("AAAA", "A"):
        match await dns.ask(host, kind):
            case Found(records=records):
                found.extend(records)
            case Trouble(reason=reason):
                trouble = f"{kind} of {host}: {reason}"
            case NotThere():
                pass
    return found, trouble
