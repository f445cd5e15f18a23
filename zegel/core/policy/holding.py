"""Holding: a recipient lacks what the policy demands; the sender is told, told again, and then gets a report (D-6)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from zegel.core.clock import Duration, Instant

LONGEST_HOLD: Final = 60  # days
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Tell:
    """The sender is to hear of it now."""

    is_first: bool
    again_at: Instant  # when to look again


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is due before then."""

    until: Instant


@dataclass(frozen=True, slots=True)
class Over:
    """The term has passed: the recipient is reported."""


def reminders(term: Duration) -> tuple[Duration, ...]:
    """When the sender is told, after the hold began: at once, after a day, and a day before the end."""
    return tuple(sorted({timedelta(0), *(after for after in (_DAY, term - _DAY) if timedelta(0) < after < term)}))


def holding(held_at: Instant, told_at: Instant | None, *, term: Duration, now: Instant) -> Tell | Wait | Over:
    """What is due for a recipient held since ``held_at``, of whom the sender last heard at ``told_at``."""
    if now >= held_at + term:
        return Over()
    moments = [held_at + after for after in reminders(term)]
    following = min((moment for moment in moments if moment > now), default=held_at + term)
    due = max((moment for moment in moments if moment <= now), default=held_at)  # a clock that was set back: at once
    if told_at is None or told_at < due:
        return Tell(told_at is None, following)
    return Wait(following)
