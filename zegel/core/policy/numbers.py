"""What is counted of recipients, by day: which way they went, and what stood between them and direct delivery.

The unit is a recipient, on the day that its message was accepted. ``docs/monitoring.md`` says what each number means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from zegel.core.policy.reasons import Why
from zegel.core.policy.verification import Method


class Way(Enum):
    """How a recipient got the message, as far as it is known now; as stored."""

    READABLE = "readable"  # the receiving server took the message itself
    ACCOUNT = "account"  # notified; verifies like this, or did
    SMS = "sms"
    ACCESS_CODE = "access-code"
    EMAIL = "email"
    HELD = "held"
    WAITING = "waiting"  # not decided yet, or its mail is not accepted yet
    UNDELIVERABLE = "undeliverable"


class Direct(Enum):
    """Of a recipient that was served: whether it went direct, and else what stood in between; as stored."""

    WENT = "direct"
    TOO_WEAK = "direct-too-weak"  # it was tried, and its server was not secure enough or took it not
    CHOSEN = "direct-chosen"  # the message names a method, or the policy demands one
    COULD = "direct-could"  # nobody asked for it; the server that took the notification would have been secure enough
    COULD_NOT = "direct-could-not"  # nobody asked for it; and it would not have been
    UNKNOWN = "direct-unknown"


_BY_METHOD: Final = {
    Method.ACCOUNT.value: Way.ACCOUNT,
    Method.SMS.value: Way.SMS,
    Method.ACCESS_CODE.value: Way.ACCESS_CODE,
    Method.EMAIL.value: Way.EMAIL,
}
_BY_STATE: Final = {"delivered": Way.READABLE, "held": Way.HELD, "undeliverable": Way.UNDELIVERABLE}
_CHOSEN: Final = frozenset(
    {
        Why.METHOD_GOES_BEFORE_LIST.value,
        Why.POLICY_DEMANDS_VERIFICATION.value,
        Why.POLICY_FORBIDS_TRANSPORT.value,
    }
)


@dataclass(frozen=True, slots=True)
class Stands:
    """How recipients stand that are alike."""

    state: str  # of the recipient, as stored
    method: str  # that it verifies with; empty: none
    first: str = ""  # kind of the first step of its plan, as stored
    listed: str = ""  # what row 4 said of direct delivery: a reason, as stored
    is_named: bool = False  # the message names a method for it (row 3)
    is_demanded: bool = False  # the policy demands certain methods for it
    is_proven: bool = False  # its notification went over TLS 1.2 or better, to a server with a valid certificate


def way(stands: Stands) -> Way:
    """The one that counts."""
    if stands.state in ("notified", "opened"):
        return _BY_METHOD.get(stands.method, Way.WAITING)
    return _BY_STATE.get(stands.state, Way.WAITING)


def direct(stands: Stands) -> Direct | None:
    """``None`` for who was not served (yet)."""
    if stands.state == "delivered":
        return Direct.WENT
    if stands.state not in ("notified", "opened"):
        return None
    if stands.first == "readable":
        return Direct.TOO_WEAK
    if stands.listed in _CHOSEN or stands.is_named or stands.is_demanded:
        return Direct.CHOSEN
    if stands.listed == Why.NOT_ASKED_NOT_LISTED.value:
        return Direct.COULD if stands.is_proven else Direct.COULD_NOT
    return Direct.UNKNOWN


def counted(alike: Sequence[tuple[Stands, int]]) -> dict[str, int]:
    """How many of each, by the stored names of both tables."""
    found: dict[str, int] = {}
    for stands, number in alike:
        for one in (way(stands), direct(stands)):
            if one is not None:
                found[one.value] = found.get(one.value, 0) + number
    return found


# --- the slowest destinations ---------------------------------------------------------------------------------------

FEWEST: Final = 3  # mails to a domain, below which it is not compared
MOST_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Destination:
    """Mails to one domain within a week. ``seconds``: within which half of those that were accepted were; ``None``:
    none of them was."""

    domain: str
    mails: int
    delayed: int  # that were not accepted at the first try
    seconds: float | None


def slowest(waits: Mapping[str, Sequence[float | None]], delayed: Mapping[str, int]) -> tuple[Destination, ...]:
    """By domain how long each mail waited (``None``: it still does, or was given up), and how many were delayed."""
    found = []
    for domain, waited in waits.items():
        accepted = [one for one in waited if one is not None]
        if len(waited) >= FEWEST:
            half = _median(accepted) if accepted else None
            found.append(Destination(domain, len(waited), delayed.get(domain, 0), half))
    found.sort(key=lambda one: (one.seconds is not None, -(one.seconds or 0), -one.delayed, one.domain))
    return tuple(found[:MOST_SHOWN])


def _median(values: Sequence[float]) -> float:
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
