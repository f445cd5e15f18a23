"""Delivery: when to try again, and when to stop (RFC 5321 §4.5.4.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from zegel.core.clock import Duration

_SPREAD: Final = 0.25  # so that a thousand messages for one dead server don't come back in the same second


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Waits that grow from ``first`` by ``factor`` up to ``most``, until ``give_up_after`` since the first try."""

    first: Duration
    factor: float
    most: Duration
    give_up_after: Duration
    warn_after: Duration | None = None  # then the sender hears that the message is delayed

    def __post_init__(self) -> None:
        if not timedelta() < self.first <= self.most <= self.give_up_after or not 1 <= self.factor <= 10:
            raise ValueError("a retry policy waits longer and longer, and then ends")


def next_try(policy: RetryPolicy, tries: int, *, age: Duration, spread: float) -> Duration | None:
    """How long to wait after ``tries`` tries that failed; ``None``: give up.

    ``age`` counts from acceptance (or release from a hold). ``spread`` in [0, 1) lengthens the wait by up to a quarter.
    No wait is shorter than ``policy.first``, and the last try comes no later than ``give_up_after``. One comes when the
    sender is to hear of the delay: that depends on how it ends. A clock that ran backwards (a negative age) makes no
    wait longer or shorter.
    """
    grown = policy.first.total_seconds() * policy.factor ** min(max(tries, 1) - 1, 40)
    wait = timedelta(seconds=min(grown, policy.most.total_seconds()) * (1 + _SPREAD * spread))
    left = policy.give_up_after - age
    if left < policy.first:
        return None
    if policy.warn_after is not None and age < policy.warn_after < age + wait:
        wait = max(policy.warn_after - age, policy.first)
    return min(wait, left)


def is_warning_due(policy: RetryPolicy, *, age: Duration, warned: bool) -> bool:
    """True once, when the sender should hear of the delay (RFC 3464 §2.3.3: ``delayed``)."""
    return policy.warn_after is not None and age >= policy.warn_after and not warned


# RFC 5321 §4.5.4.1 advises two tries in the first hour, then one every two or three hours, and four to five days in
# all. A quarter of an hour lets greylisting pass at the first repetition.
NOTIFICATION_RETRIES: Final = RetryPolicy(
    first=timedelta(minutes=15),
    factor=2,
    most=timedelta(hours=3),
    give_up_after=timedelta(days=5),
    warn_after=timedelta(hours=4),
)

# Another row follows, and the five days are those of the recipient as a whole: a notification must have its share.
READABLE_RETRIES: Final = RetryPolicy(
    first=timedelta(minutes=15),
    factor=2,
    most=timedelta(hours=3),
    give_up_after=timedelta(days=2),
    warn_after=timedelta(hours=4),
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long mail is tried, by the settings."""

    readable: RetryPolicy = READABLE_RETRIES
    notification: RetryPolicy = NOTIFICATION_RETRIES  # and whatever else nobody waits for at a screen

    @classmethod
    def of(cls, *, first: Duration, give_up_after: Duration, warn_after: Duration) -> Patience:
        """``first``: until the second try; ``give_up_after``: of a recipient as a whole. Raises ``ValueError`` where
        the first wait is longer than a readable message is tried."""
        share = give_up_after * (READABLE_RETRIES.give_up_after / NOTIFICATION_RETRIES.give_up_after)

        def adapted(policy: RetryPolicy, end: Duration) -> RetryPolicy:
            most = min(max(policy.most, first), end)
            return replace(policy, first=first, most=most, give_up_after=end, warn_after=warn_after)

        return cls(adapted(READABLE_RETRIES, share), adapted(NOTIFICATION_RETRIES, give_up_after))


# Somebody sits before the screen, and the code dies after ten minutes.
CODE_RETRIES: Final = RetryPolicy(
    first=timedelta(seconds=15),
    factor=2,
    most=timedelta(minutes=2),
    give_up_after=timedelta(minutes=10),
)
