"""SPF (RFC 7208) as authentication: may a client at this address send for this domain? Only ``pass`` is a yes.

The evaluation is spftrace's (ADR-26). What it sees of the DNS goes through :class:`_Questions`: our resolver asks, and
names and records that spftrace would read otherwise than RFC 7208 does are made into what it can't misread.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from spftrace import BaseResolver, DnsError, Evaluator, Limits, SpfError

from zegel.core.mail.address import Domain
from zegel.core.policy.submitting import Spf
from zegel.edge.dns import Found, NotThere, Resolver, Trouble
from zegel.edge.log import Broken, log

__all__ = ["Spf", "check_host"]

TIME_LIMIT: Final = 20.0  # seconds for the whole evaluation, RFC 7208 §4.6.4
MAX_TERMS: Final = 10  # that ask the DNS, RFC 7208 §4.6.4; spftrace has its ten MX hosts and ten PTR names in itself
MAX_VOID: Final = 2  # questions to which there is no record, RFC 7208 §4.6.4
MAX_QUESTIONS: Final = 1 + MAX_TERMS * (1 + 10)  # what the other limits come to; here it bounds ``%{p}`` as well
MAX_RECORD: Final = 4096  # octets, eight times what RFC 7208 §3.4 advises; reading one takes milliseconds

_ILLEGIBLE: Final = "\ufffd"
_NOT_PRINTED: Final = re.compile(r"[^ -~]")
_TO_BE_ESCAPED: Final = re.compile(r"[^A-Za-z0-9._-]")


async def check_host(*, address: str, domain: Domain, sender: str, helo: str, dns: Resolver) -> Spf:
    """What ``domain`` says of a client at ``address`` that submits for ``sender`` (RFC 7208 §4.1).

    ``address`` may be an IPv4-mapped one. ``domain`` is that of ``sender``, or the one of HELO where there is no sender
    and ``sender`` is its postmaster (RFC 7208 §2.4). Never raises for what a name server or a record does, ends within
    :data:`TIME_LIMIT` and :data:`MAX_QUESTIONS`, and remembers nothing: what was asked is remembered by ``dns``, as
    long as it may be.
    """
    local, _, of = sender.rpartition("@")
    limits = Limits(max_terms=MAX_TERMS, max_void=MAX_VOID, time_limit=TIME_LIMIT, max_queries=MAX_QUESTIONS)
    try:
        # Not Evaluator.evaluate: that would, after a fail, fetch an explanation that nobody reads.
        verdict, _, _ = await Evaluator(_Questions(dns), limits).check_host(
            _client(address), domain.ascii, f"{local or 'postmaster'}@{of or domain.ascii}", helo
        )
    except SpfError as ended:
        return Spf(ended.result)
    except Exception as cause:
        log(Broken(where="spf", cause=cause))
        return Spf.TEMPERROR
    return Spf(verdict)


def _client(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Without a zone; a mapped address is the IPv4 address (RFC 7208 §5)."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


class _Questions(BaseResolver):
    """spftrace's questions, put to our resolver."""

    def __init__(self, dns: Resolver) -> None:
        self._dns = dns

    async def _lookup(self, name: str, rtype: str) -> tuple[str, list[str]]:
        if not name or not name.isascii():
            # The host of a null MX; a local-part that is in no name of the DNS, so its term doesn't match: RFC 8616 §4.
            return "NXDOMAIN", []
        match await self._dns.ask(_as_asked(name), rtype):
            case Found(records):
                return "NOERROR", [_as_read(record, rtype) for record in records]
            case NotThere():
                return "NXDOMAIN", []
            case Trouble(reason):
                raise DnsError(reason)


def _as_asked(name: str) -> str:
    """The name as RFC 1035 §5.1 writes it. Macros bring any character into a name: its labels end at dots, as
    spftrace sees them, and never elsewhere because of a backslash."""
    return _TO_BE_ESCAPED.sub(lambda found: f"\\{ord(found[0]):03}", name)


def _as_read(record: str, rtype: str) -> str:
    """A text without control characters, or the address or name of another record.

    At the end of a text spftrace would overlook a line feed; reading a very long one would hold up everybody. What
    such a text gets makes it an error (RFC 7208 §4.6) if it is an SPF record, and means nothing in another one.
    """
    if rtype == "TXT":
        return _NOT_PRINTED.sub(_ILLEGIBLE, record) + (_ILLEGIBLE if len(record) > MAX_RECORD else "")
    return record.rpartition(" ")[2].rstrip(".")
