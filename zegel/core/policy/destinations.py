"""Delivery: how much is asked of one destination at a time, and how long one that is away is left alone.

A destination is a recipient domain, or one address of a host that takes mail for many of them. A server that is dead or
slow must not take the places of mail to others. What is put off here is no try; what is due by the times of
:mod:`zegel.core.policy.retry` is not put off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from typing import Final

from zegel.core.clock import Duration, Instant
from zegel.core.policy.carriage import Deferred, DnsTrouble, NetworkFailure, Outcome, Stage

FIRST_PAUSE: Final[Duration] = timedelta(seconds=30)
LONGEST_PAUSE: Final[Duration] = timedelta(minutes=10)
SLOW: Final[Duration] = timedelta(seconds=5)  # a transmission that takes longer holds up those that wait for its place
COME_BACK: Final[Duration] = timedelta(seconds=30)  # for who finds all places taken, and slowly given back
ADDRESS_PLACES: Final = 20  # connections to one address at a time, of one process


class Scope(Enum):
    """What a destination is."""

    DOMAIN = "recipient domain"
    ADDRESS = "address of a host"


# How an attempt ended that leaves the destination alone for a while. Any other end says that it is there. A host that
# puts off whoever connects (RFC 5321 §3.8: 421) speaks for itself, and not for the domain, which may have others.
_SILENT: Final = frozenset(
    (NetworkFailure, stage) for stage in (Stage.CONNECT, Stage.GREETING, Stage.EHLO, Stage.STARTTLS, Stage.MAIL)
)
AWAY: Final[Mapping[Scope, frozenset[tuple[type, Stage | None]]]] = {
    Scope.DOMAIN: _SILENT | {(DnsTrouble, None)},
    Scope.ADDRESS: _SILENT | {(Deferred, Stage.GREETING), (Deferred, Stage.EHLO)},
}


@dataclass(frozen=True, slots=True)
class Destination:
    """What is known of a destination: since when which mail is under way to it, and how often nobody answered in a
    row."""

    under_way: tuple[Instant, ...] = ()
    failures: int = 0
    rests_until: Instant | None = None


UNKNOWN: Final = Destination()


@dataclass(frozen=True, slots=True)
class Go:
    """There is a place."""


@dataclass(frozen=True, slots=True)
class WaitForPlace:
    """All places are taken, and given back quickly: it is worth waiting for one, :data:`SLOW` at most."""


@dataclass(frozen=True, slots=True)
class Later:
    """To be looked at again then."""

    at: Instant


def admit(known: Destination, *, places: int, is_pressing: bool, now: Instant) -> Go | WaitForPlace | Later:
    """May one more be under way? After a pause one goes ahead of the others, and tells whether somebody answers. A
    clock that was set back lengthens no pause.

    ``is_pressing``: a pause would keep somebody from what is due: from a code, or the sender from word of a delay or of
    the end. Such mail waits for a place, and for nothing else. Other mail has a quarter of the places, while one that
    is under way takes long.
    """
    rests = known.rests_until
    if rests is not None and rests - LONGEST_PAUSE <= now < rests and not is_pressing:
        return Later(rests)
    if known.failures and known.under_way and not is_pressing:
        return Later(now + COME_BACK)
    is_slow = bool(known.under_way) and now - min(known.under_way) >= SLOW
    if len(known.under_way) < (max(1, places // 4) if is_slow and not is_pressing else places):
        return Go()
    return Later(now + COME_BACK) if is_slow else WaitForPlace()


def begun(known: Destination, *, now: Instant) -> Destination:
    """One more is under way."""
    return replace(known, under_way=(*known.under_way, now))


def ended(
    known: Destination, since: Instant, outcome: Outcome | None, *, now: Instant, scope: Scope = Scope.DOMAIN
) -> Destination:
    """The one that began then is not under way any more, and this is how its last attempt ended (``None``: it came to
    none). Only what stands in :data:`AWAY` counts against a destination."""
    under_way = list(known.under_way)
    if since in under_way:
        under_way.remove(since)
    rest = replace(known, under_way=tuple(under_way))
    if outcome is None:
        return rest
    if (type(outcome), getattr(outcome, "stage", None)) not in AWAY[scope]:
        return replace(rest, failures=0, rests_until=None)
    pause = min(FIRST_PAUSE * 2 ** min(known.failures, 10), LONGEST_PAUSE)
    return replace(rest, failures=known.failures + 1, rests_until=now + pause)
