"""Changing an expiry: every way in which it can be too late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from zegel.core.clock import Instant
from zegel.core.policy.expiring import BeyondPolicy, Changed, Past, change, latest

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def days(number: int) -> Instant:
    return NOON + timedelta(days=number)


@pytest.mark.parametrize("wanted", [NOON, days(-1)])
@pytest.mark.parametrize("last", [None, days(5)])
def test_what_is_over_is_never_chosen(wanted: Instant, last: Instant | None) -> None:
    assert change(wanted, last=last, now=NOON) == Past()


@pytest.mark.parametrize("wanted", [days(6), None])
def test_nothing_goes_beyond_what_policy_gives(wanted: Instant | None) -> None:
    assert change(wanted, last=days(5), now=NOON) == BeyondPolicy(days(5))


@pytest.mark.parametrize(("wanted", "last"), [(days(5), days(5)), (days(1), days(5)), (days(9), None), (None, None)])
def test_up_to_it_everything_does(wanted: Instant | None, last: Instant | None) -> None:
    assert change(wanted, last=last, now=NOON) == Changed(wanted)


@pytest.mark.parametrize(
    ("until", "term", "last"),
    [
        (days(10), 30, days(30)),  # later, as far as the organisation's term
        (days(60), 30, days(60)),  # the message asked for more
        (days(10), None, None),  # no term: any
        (None, 30, None),  # it never expired, so any moment is earlier
        (None, None, None),
    ],
)
def test_the_last_moment_is_the_terms_or_the_messages_own(
    until: Instant | None, term: int | None, last: Instant | None
) -> None:
    assert latest(NOON, until, days=term) == last
