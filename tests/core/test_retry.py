"""When to try again (RFC 5321 §4.5.4.1)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.clock import Duration
from zegel.core.policy.retry import (
    CODE_RETRIES,
    NOTIFICATION_RETRIES,
    READABLE_RETRIES,
    Patience,
    RetryPolicy,
    is_warning_due,
    next_try,
)

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
POLICIES = [NOTIFICATION_RETRIES, READABLE_RETRIES, CODE_RETRIES]


def times_of_tries(policy: RetryPolicy, *, spread: float = 0.0) -> list[Duration]:
    """When a message whose every try fails at once is tried."""
    age, times = timedelta(), [timedelta()]
    while (wait := next_try(policy, len(times), age=age, spread=spread)) is not None:
        age += wait
        times.append(age)
        assert len(times) < 1000, "it never ends"
    return times


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("spread", [0.0, 0.5, 0.999])
def test_every_message_ends_in_time(policy: RetryPolicy, spread: float) -> None:
    times = times_of_tries(policy, spread=spread)
    assert policy.give_up_after - policy.first <= times[-1] <= policy.give_up_after


def test_an_old_message_is_given_up() -> None:
    assert next_try(NOTIFICATION_RETRIES, 3, age=5 * DAY, spread=0) is None
    assert next_try(NOTIFICATION_RETRIES, 3, age=30 * DAY, spread=0) is None


def test_a_clock_that_was_set_back_makes_no_burst_and_no_eternity() -> None:
    assert next_try(NOTIFICATION_RETRIES, 5, age=-DAY, spread=0) == next_try(
        NOTIFICATION_RETRIES, 5, age=timedelta(), spread=0
    )


@given(
    st.sampled_from(POLICIES),
    st.integers(min_value=0, max_value=10**9),
    st.integers(min_value=-(10**6), max_value=10**6),
    st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_no_wait_is_shorter_than_the_first_or_longer_than_the_longest(
    policy: RetryPolicy, tries: int, age: int, spread: float
) -> None:
    wait = next_try(policy, tries, age=timedelta(seconds=age), spread=spread)
    assert wait is None or policy.first <= wait <= policy.most * 1.25


def test_the_first_hour_sees_two_repetitions_and_later_ones_come_every_three_hours() -> None:
    times = times_of_tries(NOTIFICATION_RETRIES)
    assert times[:3] == [timedelta(), 15 * MINUTE, 45 * MINUTE]
    assert times[10] - times[9] == 3 * HOUR


def test_spread_only_lengthens() -> None:
    plain, spread = (next_try(NOTIFICATION_RETRIES, 2, age=timedelta(), spread=value) for value in (0.0, 0.8))
    assert plain == 30 * MINUTE
    assert spread == 36 * MINUTE


def test_a_readable_step_leaves_time_for_the_notification() -> None:
    assert times_of_tries(READABLE_RETRIES)[-1] <= NOTIFICATION_RETRIES.give_up_after / 2


def test_a_try_comes_when_the_sender_is_to_hear_of_the_delay() -> None:
    """Whether it is one depends on that try; the one after it may be three hours away."""
    assert 4 * HOUR in times_of_tries(NOTIFICATION_RETRIES)
    assert 4 * HOUR in times_of_tries(READABLE_RETRIES)
    wait = next_try(NOTIFICATION_RETRIES, 5, age=4 * HOUR - MINUTE, spread=0)
    assert wait == NOTIFICATION_RETRIES.first


def test_the_settings_are_kept_to_and_a_readable_step_has_its_share_of_them() -> None:
    found = Patience.of(first=5 * MINUTE, give_up_after=DAY, warn_after=HOUR)
    assert found.notification.give_up_after == DAY
    assert times_of_tries(found.readable)[-1] <= DAY * 2 / 5
    for policy in (found.readable, found.notification):
        assert (policy.first, policy.warn_after) == (5 * MINUTE, HOUR)
        assert HOUR in times_of_tries(policy)
    assert Patience.of(first=15 * MINUTE, give_up_after=5 * DAY, warn_after=4 * HOUR) == Patience()


@pytest.mark.parametrize(("first", "end"), [(30 * MINUTE, HOUR), (DAY, DAY), (3 * DAY, 5 * DAY)])
def test_a_first_wait_beyond_the_share_of_a_readable_step_is_refused(first: Duration, end: Duration) -> None:
    with pytest.raises(ValueError, match="retry policy"):
        Patience.of(first=first, give_up_after=end, warn_after=HOUR)


def test_a_mail_with_a_code_is_tried_again_soon_and_not_after_the_code_died() -> None:
    times = times_of_tries(CODE_RETRIES)
    assert times[1] <= MINUTE
    assert times[-1] <= 10 * MINUTE


@pytest.mark.parametrize(
    ("first", "factor", "most", "end"),
    [(0, 2, 1, 1), (2, 2, 1, 9), (1, 0.5, 2, 9), (1, 2, 9, 5), (1, float("nan"), 2, 9), (1, 1e300, 2, 9)],
)
def test_a_policy_that_does_not_back_off_or_end_is_refused(first: int, factor: float, most: int, end: int) -> None:
    with pytest.raises(ValueError, match="retry policy"):
        RetryPolicy(first * HOUR, factor, most * HOUR, end * HOUR)


def test_the_sender_is_warned_once_and_never_about_a_code() -> None:
    assert not is_warning_due(NOTIFICATION_RETRIES, age=3 * HOUR, warned=False)
    assert is_warning_due(NOTIFICATION_RETRIES, age=4 * HOUR, warned=False)
    assert not is_warning_due(NOTIFICATION_RETRIES, age=9 * HOUR, warned=True)
    assert not is_warning_due(CODE_RETRIES, age=9 * HOUR, warned=False)
