"""Holding: a recipient lacks what the policy demands; the sender is told, told again, and then gets a report (D-6)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from zegel.core.clock import Duration, Instant

LONGEST_HOLD: Final = 60  # days
_DAY: Final = timedelta(days=1)
LOOK: Final = timedelta(hours=1)  # between two looks: what lacked may have become known, the term may have changed


@dataclass(frozen=True, slots=True)
class Tell:
    """The sender is to hear of it now."""

    is_first: bool
    again_at: Instant


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is due now."""

    again_at: Instant


@dataclass(frozen=True, slots=True)
class Over:
    """The term has passed: a last decision, and then the recipient is reported."""


def reminders(term: Duration) -> tuple[Duration, ...]:
    """When the sender is told, after the hold began: at once, after a day, and a day before the end."""
    return tuple(sorted({timedelta(0), *(after for after in (_DAY, term - _DAY) if timedelta(0) < after < term)}))


def ends_at(held_at: Instant, *, term: Duration, expires_at: Instant | None) -> Instant:
    """Until when a recipient held since ``held_at`` can be mended: the end of the term, or of the message."""
    return held_at + term if expires_at is None else min(held_at + term, expires_at)


def holding(held_at: Instant, told_at: Instant | None, *, term: Duration, now: Instant) -> Tell | Wait | Over:
    """What is due for a recipient held since ``held_at``, of whom the sender last heard at ``told_at``."""
    if now >= held_at + term:
        return Over()
    moments = [held_at + after for after in reminders(term)]
    again_at = min((moment for moment in (*moments, held_at + term) if moment > now), default=now + LOOK)
    again_at = min(again_at, now + LOOK)
    due = max((moment for moment in moments if moment <= now), default=held_at)
    if told_at is None or (due > held_at and told_at < due):  # who heard of it heard that it began, in any case
        return Tell(told_at is None, again_at)
    return Wait(again_at)
