"""Next hops for NTA 7516: both sides are examined anew, and a host is taken only with all that DANE needs."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zegel.core.mail.address import Domain
from zegel.core.policy.carriage import NTA_RECIPIENT, NTA_SENDER, Cause
from zegel.core.policy.nta7516 import Record, Standing
from zegel.edge.dns import Answer, Found, NotThere, Resolver, Trouble
from zegel.edge.nta import NtaLookup
from zegel.journey.delivery import mx
from zegel.journey.delivery.mx import MOST_HOSTS, NextHop, TakesNoMail


@dataclass(frozen=True, slots=True)
class NotAllowed:
    """Nothing may be sent over NTA 7516, and waiting would not help; ``reason`` is for the evidence, ``why`` for
    people."""

    reason: str
    why: Cause = Cause.NTA_NO_PROVEN_HOST


@dataclass(frozen=True, slots=True)
class NoHost:
    """No host has an address; a mistake that somebody will mend."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotKnownNow:
    """The DNS didn't answer conclusively, or answered what is bogus (RFC 7672 §2.1.2); try again."""

    reason: str


NextHops = tuple[NextHop, ...] | NotAllowed | NoHost | TakesNoMail | NotKnownNow


async def next_hops(sender: Domain, recipient: Domain, *, lookup: NtaLookup, dns: Resolver) -> NextHops:
    """In the order of trying, each with TLSA records; never empty, and never the ordinary MX where the record names
    hosts (standards A)."""
    standing = await lookup.sender_now(sender)
    if standing is not Standing.COMPLIES:
        return _not_complying("sender", standing, NTA_SENDER)
    record = await lookup.recipient_now(recipient)
    if not isinstance(record, Record):
        return _not_complying("recipient", record, NTA_RECIPIENT)
    hosts = _named(record) if record.hosts else await _ordinary(recipient, dns)
    if not isinstance(hosts, list):
        return hosts
    found = [await _examine(host, recipient, dns) for host in hosts[:MOST_HOSTS]]
    hops = tuple(hop for one in found if isinstance(one, tuple) for hop in one)
    return hops or _why_none([one for one in found if not isinstance(one, tuple)])


def _not_complying(side: str, standing: Standing, causes: Mapping[Standing, Cause]) -> NotAllowed | NotKnownNow:
    """``standing.value`` alone: the sentence is for pages."""
    reason = f"NTA 7516, {side}: {standing.value}"
    return NotKnownNow(reason) if standing is Standing.NOT_KNOWN_NOW else NotAllowed(reason, causes[standing])


def _why_none(found: Sequence[NotAllowed | NoHost | NotKnownNow]) -> NotAllowed | NoHost | NotKnownNow:
    """What may be otherwise later goes before what surely is insecure."""
    for kind in (NotKnownNow, NoHost, NotAllowed):
        for one in found:
            if isinstance(one, kind):
                return one
    return NotAllowed("NTA 7516: no host is named")


# --- hosts --------------------------------------------------------------------------------------------------------


def _named(record: Record) -> list[str]:
    return _by_preference([(priority, host.ascii) for priority, host in record.hosts])


async def _ordinary(domain: Domain, dns: Resolver) -> list[str] | NotAllowed | TakesNoMail | NotKnownNow:
    """The hosts of an MX that nobody can have forged. Without one the domain itself is the host (RFC 5321 §5.1)."""
    match await dns.ask(domain.ascii, "MX"):
        case Trouble(reason=reason):
            return NotKnownNow(f"MX: {reason}")
        case NotThere():
            return [domain.ascii]
        case Found(secure=False):
            return NotAllowed("NTA 7516: the MX is not protected by DNSSEC")
        case Found(records=records):
            if all(record.partition(" ")[2] == "." for record in records):
                return TakesNoMail()
            pairs = [record.partition(" ") for record in records]
            return _by_preference([(int(number), name) for number, _, host in pairs if (name := mx.name_of(host))])


def _by_preference(hosts: list[tuple[int, str]]) -> list[str]:
    """Lowest number first, equals shuffled; a host that is named twice counts where it comes first."""
    random.shuffle(hosts)
    return list(dict.fromkeys(host for _, host in sorted(hosts, key=lambda pair: pair[0])))


# --- one host -----------------------------------------------------------------------------------------------------


async def _examine(
    host: str, next_hop_domain: Domain, dns: Resolver
) -> tuple[NextHop, ...] | NotAllowed | NoHost | NotKnownNow:
    """Addresses before TLSA, and both secure; else the host is not used (RFC 7672 §2.2.2)."""
    addresses = await _addresses(host, dns)
    if not isinstance(addresses, list):
        return addresses
    records = await mx.dane_of(host, next_hop_domain, dns=dns)
    if records is None:
        return NotAllowed(f"NTA 7516: {host} has no TLSA records that are protected by DNSSEC")
    if isinstance(records, mx.NotKnownNow):
        return NotKnownNow(records.reason)
    asked = mx.Asked(next_hop_domain)
    hops = (NextHop(host, one, mx_is_secure=True, dane=records, asked=asked) for one in mx.alternating(addresses))
    return tuple(hops)


async def _addresses(host: str, dns: Resolver) -> list[str] | NotAllowed | NoHost | NotKnownNow:
    answers: list[Answer] = [await dns.ask(host, kind) for kind in ("AAAA", "A")]
    secure = [record for one in answers if isinstance(one, Found) and one.secure for record in one.records]
    if secure:
        return secure
    for one in answers:
        if isinstance(one, Trouble):
            return NotKnownNow(f"address of {host}: {one.reason}")
    if any(isinstance(one, Found) for one in answers):
        return NotAllowed(f"NTA 7516: the address of {host} is not protected by DNSSEC")
    return NoHost(f"{host} has no address")
