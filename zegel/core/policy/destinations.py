"""Delivery: how much is asked of one destination at a time, and how long one that is away is left alone.

A server that is dead or slow must not take the places of mail to others. What is put off here is no try; what is due
by the times of :mod:`zegel.core.policy.retry` is not put off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from zegel.core.clock import Duration, Instant
from zegel.core.policy.carriage import NetworkFailure, Outcome, Stage

MOST_AT_ONCE: Final = 20  # transmissions to one domain, in one process
FIRST_PAUSE: Final[Duration] = timedelta(seconds=30)
LONGEST_PAUSE: Final[Duration] = timedelta(minutes=10)
COME_BACK: Final[Duration] = timedelta(seconds=2)  # for who finds all places taken


@dataclass(frozen=True, slots=True)
class Destination:
    """What is known of a domain: mail that is under way to it, and how often nobody answered in a row."""

    under_way: int = 0
    failures: int = 0
    rests_until: Instant | None = None


UNKNOWN: Final = Destination()


def later(known: Destination, *, is_pressing: bool, now: Instant) -> Instant | None:
    """When mail for it is to be looked at again; ``None``: it may go now. After a pause one goes ahead of the others,
    and tells whether somebody answers. A clock that was set back lengthens no pause.

    ``is_pressing``: a pause would keep somebody from what is due: from a code, or the sender from word of a delay or of
    the end. Such mail waits for a place, and for nothing else.
    """
    rests = known.rests_until is not None and known.rests_until - LONGEST_PAUSE <= now < known.rests_until
    if rests and not is_pressing:
        return known.rests_until
    most = 1 if known.failures and not is_pressing else MOST_AT_ONCE
    return now + COME_BACK if known.under_way >= most else None


def begun(known: Destination) -> Destination:
    """One more is under way."""
    return replace(known, under_way=known.under_way + 1)


def ended(known: Destination, outcome: Outcome | None, *, now: Instant) -> Destination:
    """One less is, and this is how its last attempt ended (``None``: it came to none). Only silence counts against a
    destination; whoever answers, be it with a refusal, is there."""
    rest = replace(known, under_way=max(0, known.under_way - 1))
    if outcome is None:
        return rest
    if not (isinstance(outcome, NetworkFailure) and outcome.stage <= Stage.GREETING):
        return replace(rest, failures=0, rests_until=None)
    pause = min(FIRST_PAUSE * 2 ** min(known.failures, 10), LONGEST_PAUSE)
    return replace(rest, failures=known.failures + 1, rests_until=now + pause)
