"""Arrival: who may submit, from where, for which author, and how much.

Decisions over values; what is known of credentials, organisations and the client is gathered by
:mod:`zegel.journey.arrival.sender`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from zegel.core.mail.address import Domain, Mailbox, NotADomain, NotAMailbox
from zegel.core.mail.reply import Reply

AUTHENTICATION_REQUIRED: Final = Reply(530, "5.7.0", "Authentication required")
"""The one refusal before authentication: existence of organisations, domains and rules is not revealed."""


class NotARule(ValueError):
    """A binding that can't be understood; the text says how it is written."""


# --- bindings ----------------------------------------------------------------------------------------------------


def parse_networks(text: str) -> tuple[str, ...]:
    """IP addresses and networks (CIDR), separated by white space or commas, in their canonical form.

    Raises :class:`NotARule`. Host bits behind the prefix are refused: ``192.0.2.1/24`` could mean two things.
    """
    found = []
    for word in text.replace(",", " ").split():
        try:
            network = ipaddress.ip_network(word)
        except ValueError as cause:
            raise NotARule(
                f"{word[:50]!r} is not an address or network; write it like 192.0.2.10 or 192.0.2.0/24"
            ) from cause
        if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
            raise NotARule(f"{word[:50]!r} is an IPv4 address in IPv6; write it as IPv4, like 192.0.2.0/24")
        found.append(str(network if network.num_addresses > 1 else network.network_address))
    return tuple(dict.fromkeys(found))


_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")  # RFC 4291 §2.5.5.2; clients there are looked at as IPv4


def is_bound(networks: Sequence[str]) -> bool:
    """They name less than all of the internet."""
    return bool(networks) and all(ipaddress.ip_network(one).prefixlen > 0 for one in networks)


def parse_authors(text: str) -> tuple[str, ...]:
    """Addresses and domains that may stand in ``From``, separated by white space or commas, canonical.

    A domain stands for its addresses, and not for the domains below it. Raises :class:`NotARule`.
    """
    found = []
    for word in text.replace(",", " ").split():
        try:
            found.append(Mailbox.parse(word).key if "@" in word.lstrip("@") else Domain.parse(word.lstrip("@")).ascii)
        except (NotAMailbox, NotADomain) as cause:
            raise NotARule(
                f"{word[:80]!r} is not an address or domain; write it like naam@voorbeeld.nl or voorbeeld.nl"
            ) from cause
    return tuple(dict.fromkeys(found))


def is_from(address: str, networks: Sequence[str]) -> bool:
    """The client's address lies in one of the networks. An IPv4 address may come mapped into IPv6 (RFC 4291 §2.5.5.2).
    No network at all binds nothing: true."""
    if not networks:
        return True
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    found = mapped if mapped is not None else found
    return any(found in ipaddress.ip_network(network) for network in networks)


def written_author(author: str) -> str:
    """One of :func:`parse_authors`, so that it can be read back: a local-part in quotes where it needs them."""
    local, at, domain = author.rpartition("@")
    return str(Mailbox(local, Domain(domain))) if at else domain


def may_write_as(author: Mailbox, authors: Sequence[str]) -> bool:
    """The author is one of those that the credentials are bound to. None at all binds nothing: true."""
    return not authors or author.key in authors or author.domain.ascii in authors


# --- SPF ---------------------------------------------------------------------------------------------------------


class Spf(Enum):
    """What RFC 7208 §2.6 says of a client and a domain."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


_NO_PASS: Final = Reply(
    550,
    "5.7.23",  # RFC 7372 §3.2
    "SPF gives no pass for your address and the MAIL FROM domain; sign in with AUTH, or correct that domain's SPF",
)
SPF_REPLIES: Final = {
    Spf.FAIL: _NO_PASS,
    Spf.SOFTFAIL: _NO_PASS,
    Spf.NEUTRAL: _NO_PASS,
    Spf.NONE: _NO_PASS,
    Spf.PERMERROR: Reply(
        550, "5.7.24", "The SPF record of the MAIL FROM domain has an error; correct it, or sign in with AUTH"
    ),
    Spf.TEMPERROR: Reply(
        451, "4.4.3", "The SPF record of the MAIL FROM domain can't be looked up now; try again later"
    ),
}
"""What each result but ``pass`` is answered with; only ``pass`` authenticates."""

DKIM_MISSING: Final = Reply(
    550,
    "5.7.22",  # RFC 7372 §3.1
    "Beside SPF a valid DKIM signature of the From domain is needed; sign the mail, or sign in with AUTH",
)
DKIM_UNKNOWN: Final = Reply(451, "4.4.3", "The key of a DKIM signature can't be looked up now; try again later")


def is_aligned(proven: Domain, author: Domain) -> bool:
    """SPF or DKIM proved ``proven``: identical to the From domain, or a name below it. That a name below it is a
    domain that the organisation itself verified is looked up beside (D-8). A parent proves nothing of its children."""
    return proven.is_within(author)


# --- caps --------------------------------------------------------------------------------------------------------

HOURS_A_DAY: Final = 24


@dataclass(frozen=True, slots=True)
class Caps:
    """The most that may be submitted; ``None`` is no limit. An hour is one of the clock; a day is that hour and the
    23 before it."""

    messages_per_hour: int | None = None
    messages_per_day: int | None = None
    recipients_per_hour: int | None = None
    recipients_per_day: int | None = None

    def __bool__(self) -> bool:
        return self != _NO_CAPS


_NO_CAPS: Final = Caps()


@dataclass(slots=True)
class Used:
    """What was accepted: in this hour of the clock, and in the 24 that end with it."""

    messages_this_hour: int = 0
    messages_today: int = 0
    recipients_this_hour: int = 0
    recipients_today: int = 0

    def add(self, recipients: int) -> None:
        """One more message."""
        self.messages_this_hour += 1
        self.messages_today += 1
        self.recipients_this_hour += recipients
        self.recipients_today += recipients


def reached(caps: Caps, used: Used, recipients: int) -> str | None:
    """The cap that one more message with so many recipients would break, or ``None``.

    A message is taken whole or not at all: a single one with more recipients than a cap allows never goes.
    """
    for name, most, then in (
        ("messages per hour", caps.messages_per_hour, used.messages_this_hour + 1),
        ("messages per day", caps.messages_per_day, used.messages_today + 1),
        ("recipients per hour", caps.recipients_per_hour, used.recipients_this_hour + recipients),
        ("recipients per day", caps.recipients_per_day, used.recipients_today + recipients),
    ):
        if most is not None and then > most:
            return name
    return None


CAP_REACHED: Final = Reply(
    451, "4.7.1", "More was submitted than your organisation allows for now; try again later, or ask your administrator"
)


# --- guessing ----------------------------------------------------------------------------------------------------

FREE_FAILURES: Final = 5
"""Failed sign-ins from one network within an hour that are answered as if they were the first (P15)."""


def is_guessing(failures: int) -> bool:
    """After that many failures a further one is answered with 421 and the end of the connection."""
    return failures >= FREE_FAILURES


def network_of(address: str) -> str:
    """Whose failures count together: an IPv4 address; of IPv6 the network that one subscriber has (RFC 6177)."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    mapped = getattr(found, "ipv4_mapped", None)
    found = mapped if mapped is not None else found
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(ipaddress.ip_network((found, 64), strict=False))
