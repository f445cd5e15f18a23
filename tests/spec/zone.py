"""A name space in memory: the twin of :class:`zegel.edge.dns.DnsResolver`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import dns.exception
import dns.name

from zegel.edge.dns import Answer, Found, NotThere, Trouble

MAX_ALIASES: Final = 8

Records = Mapping[tuple[str, str], Sequence[str]]
"""``(name, type)`` → records as a resolver gives them. A backslash in the *name* of the mapping is an octet like any
other; in what is asked for, and in records, it is that of RFC 1035 §5.1."""


class Zone:
    """Answers at once, and keeps what it was asked. ``silent``: names about which it says only what it has."""

    def __init__(self, records: Records, silent: Collection[str] = ()) -> None:
        self._nodes: dict[dns.name.Name, dict[str, tuple[str, ...]]] = {}
        for (name, kind), texts in records.items():
            self._nodes.setdefault(_absolute(name), {})[kind] = tuple(texts)
        self._silent = {_absolute(name) for name in silent}
        self.asked: list[tuple[str, str]] = []

    async def ask(self, name: str, kind: str) -> Answer:
        """Follows CNAMEs; never raises."""
        self.asked.append((name, kind))
        try:
            current = dns.name.from_text(name.rstrip(".") + ".")
        except (dns.exception.DNSException, UnicodeError) as cause:
            return Trouble(type(cause).__name__)
        for _ in range(MAX_ALIASES):
            node = self._nodes.get(current, {})
            if kind in node:
                return Found(node[kind])
            if current in self._silent:
                return Trouble("LifetimeTimeout")
            if "CNAME" not in node:
                return NotThere(name_exists=any(known.is_subdomain(current) for known in self._nodes))
            current = dns.name.from_text(node["CNAME"][0])
        return Trouble("ChainTooLong")


def _absolute(name: str) -> dns.name.Name:
    """Raises ``dns.exception.DNSException`` for what can't be a name."""
    return dns.name.Name([*(label.encode() for label in name.rstrip(".").split(".")), b""])
