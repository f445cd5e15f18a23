"""What the DNS says, as closed outcomes: found, surely not there, or not to be known now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.rdatatype
import dns.resolver

LARGEST_KEPT: Final = 4096  # characters of an answer
LIFETIME: Final = 10.0  # seconds for one question with all its retries


@dataclass(frozen=True, slots=True)
class Found:
    """Records; for MX ``preference host``, for TXT the joined strings. ``secure``: a trusted validator set AD.
    ``by_alias``: they stand under another name, to which a CNAME led."""

    records: tuple[str, ...]
    secure: bool = False
    by_alias: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class NotThere:
    """The name has no such record; ``name_exists`` tells NODATA from NXDOMAIN."""

    name_exists: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """SERVFAIL, time-out, refused: says nothing about the name, so nothing may follow from it."""

    reason: str


Answer = Found | NotThere | Trouble


class Resolver(Protocol):
    """Asks; never raises for what a name server does."""

    async def ask(self, name: str, kind: str) -> Answer:
        """``kind``: A, AAAA, MX, TXT, CNAME, PTR, TLSA."""


class _Cache(dns.resolver.LRUCache):
    """Counts answers, so a large one is not kept: strangers choose which domains are asked for."""

    def put(self, key: dns.resolver.CacheKey, value: dns.resolver.Answer) -> None:
        if value.rrset is None or sum(map(len, map(str, value.rrset))) <= LARGEST_KEPT:
            super().put(key, value)


class DnsResolver:
    """The resolver of this machine, or one that the settings name."""

    def __init__(self, server: tuple[str, int] | None, *, trusted: bool = False, lifetime: float = LIFETIME) -> None:
        """``trusted``: its AD bit counts (standards: a validator on loopback, or named as trusted)."""
        if server is None:
            self._resolver = dns.asyncresolver.Resolver()
        else:
            self._resolver = dns.asyncresolver.Resolver(configure=False)
            self._resolver.nameservers = [server[0]]
            self._resolver.port = server[1]
        self._resolver.lifetime = lifetime
        self._resolver.cache = _Cache(10_000)
        self._resolver.use_edns(0, dns.flags.DO, 1232)
        self._trusted = trusted

    async def ask(self, name: str, kind: str) -> Answer:
        """Follows CNAMEs, as resolvers do, except where the CNAME itself is asked for."""
        try:
            answer = await self._resolver.resolve(name.rstrip(".") + ".", kind, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return NotThere(name_exists=False)
        except dns.exception.DNSException as cause:
            return Trouble(type(cause).__name__)
        except OSError as cause:
            return Trouble(f"the resolver can't be reached ({type(cause).__name__})")
        if answer.rrset is None:
            return NotThere(name_exists=True)
        secure = self._trusted and bool(answer.response.flags & dns.flags.AD)
        if kind == "TXT":
            return Found(tuple(b"".join(one.strings).decode("utf-8", "replace") for one in answer.rrset), secure)
        return Found(tuple(one.to_text() for one in answer.rrset), secure, answer.canonical_name != answer.qname)
