"""Delivery: what a domain promises of its mail servers by MTA-STS (RFC 8461). Reads and judges; fetches nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Final

from zegel.core.clock import Duration, Instant
from zegel.core.mail.address import Domain, NotADomain

LARGEST_POLICY: Final = 65_536  # octets (RFC 8461 §3.3 suggests 64 kilobytes)
LONGEST_AGE: Final = timedelta(seconds=31_557_600)  # RFC 8461 §3.2: a year
REFRESH: Final = timedelta(days=1)  # RFC 8461 §3.3: looked at anew long before it ends, whether or not its id changed
MOST_PATTERNS: Final = 100


class Mode(Enum):
    """What a sender is asked to do where a host doesn't fit (RFC 8461 §5)."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy of a domain."""

    mode: Mode
    max_age: Duration
    mx: tuple[str, ...]  # lower case, A-labels; "*.example.org" stands for one more label

    def names(self, host: str) -> bool:
        """``host`` is one of those that the policy promises (RFC 8461 §4.1)."""
        name = host.rstrip(".").lower()
        parent = name.partition(".")[2]
        return any(name == pattern or (pattern.startswith("*.") and parent == pattern[2:]) for pattern in self.mx)

    @property
    def lines(self) -> tuple[str, ...]:
        """As a web server would give it (RFC 8461 §3.2), without what we don't know."""
        hosts = (f"mx: {pattern}" for pattern in self.mx)
        age = int(self.max_age.total_seconds())
        return "version: STSv1", f"mode: {self.mode.value}", *hosts, f"max_age: {age}"


class NotAPolicy(ValueError):
    """What the web server gave is no policy; the domain is treated as if it had given nothing."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A policy as it was fetched, and the ``id`` that the DNS showed then."""

    policy: Policy
    id: str
    fetched_at: Instant

    def is_valid(self, now: Instant) -> bool:
        """Until it ends it holds, whatever the DNS and the web server say meanwhile (RFC 8461 §3.3). A clock that was
        set back doesn't make it hold longer than it may."""
        return self.fetched_at - self.policy.max_age <= now < self.fetched_at + self.policy.max_age


@dataclass(frozen=True, slots=True)
class Use:
    """This policy holds now; ``None``: the domain has none."""

    policy: Policy | None


@dataclass(frozen=True, slots=True)
class Fetch:
    """The web server is to be asked first; if it gives no policy, ``otherwise`` holds."""

    id: str
    otherwise: Policy | None


# --- the record ---------------------------------------------------------------------------------------------------

_RECORD: Final = re.compile(r"v=STSv1[ \t]*;(?P<fields>.*)", re.DOTALL)
_FIELD: Final = re.compile(r"[ \t]*([A-Za-z0-9][A-Za-z0-9_.-]{0,31})[ \t]*=[ \t]*([!-:<>-~]+)[ \t]*")
_ID: Final = re.compile(r"[A-Za-z0-9]{1,32}")


def record_id(texts: Iterable[str]) -> str | None:
    """The ``id`` of the one record at ``_mta-sts.<domain>``; ``None`` where there is no such record, or more than one,
    or one that is no record (RFC 8461 §3.1)."""
    found = [record for text in texts if (record := _RECORD.fullmatch(text)) is not None]
    if len(found) != 1:
        return None
    identity = None
    for part in found[0]["fields"].split(";"):
        if not part.strip(" \t"):
            continue
        field = _FIELD.fullmatch(part)
        if field is None:
            return None
        if field[1] == "id":
            if identity is not None or not _ID.fullmatch(field[2]):
                return None
            identity = field[2]
    return identity


# --- the policy ---------------------------------------------------------------------------------------------------


def policy_of(octets: bytes) -> Policy:
    """Reads what the web server gave (RFC 8461 §3.2). Of a field that may stand once the first counts; unknown fields
    are passed over. Raises :class:`NotAPolicy`."""
    if len(octets) > LARGEST_POLICY:
        raise NotAPolicy("too large")
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise NotAPolicy("not UTF-8") from None
    fields: dict[str, str] = {}
    patterns: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if not line.strip(" \t"):
            continue
        key, colon, value = line.partition(":")
        key, value = key.strip(" \t"), value.strip(" \t")
        if not colon or not key:
            raise NotAPolicy("a line that is no field")
        if key == "mx":
            patterns.append(_pattern(value))
        else:
            fields.setdefault(key, value)
    if len(patterns) > MOST_PATTERNS:
        raise NotAPolicy("too many hosts")
    if fields.get("version") != "STSv1":
        raise NotAPolicy("of another version")
    try:
        mode = Mode(fields.get("mode", ""))
    except ValueError:
        raise NotAPolicy("no mode, or an unknown one") from None
    if mode is not Mode.NONE and not patterns:
        raise NotAPolicy("no host")
    return Policy(mode, _age(fields.get("max_age", "")), tuple(dict.fromkeys(patterns)))


def _pattern(text: str) -> str:
    host = text[2:] if text.startswith("*.") else text
    try:
        domain = Domain.parse(host)
    except NotADomain:
        raise NotAPolicy("a host that is none") from None
    return f"*.{domain.ascii}" if text.startswith("*.") else domain.ascii


def _age(text: str) -> Duration:
    if not re.fullmatch(r"[0-9]{1,10}", text):
        raise NotAPolicy("no age, or none that is a number of seconds")
    return min(timedelta(seconds=int(text)), LONGEST_AGE)


# --- which one holds ----------------------------------------------------------------------------------------------


def which(kept: Kept | None, shown: str | None, *, is_known: bool, now: Instant) -> Use | Fetch:
    """What to go by for a domain whose record shows ``shown`` (``None``: no record; ``is_known`` is false where the DNS
    gave no usable answer, which says nothing).

    ========================  =====================================  ================================
    kept                      the record                             then
    ========================  =====================================  ================================
    none, or ended            shows an id                            fetch; else no policy
    none, or ended            is missing, or not to be known         no policy
    holds, of today           shows the same id                      it holds
    holds, older              shows the same id                      fetch; else it holds
    holds                     shows another id                       fetch; else it holds
    holds                     is missing, or not to be known         it holds
    ========================  =====================================  ================================
    """
    holds = kept is not None and kept.is_valid(now)
    policy = kept.policy if kept is not None and holds else None
    if not is_known or shown is None:
        return Use(policy)
    if kept is not None and holds and kept.id == shown and now - kept.fetched_at < REFRESH:
        return Use(policy)
    return Fetch(shown, policy)
