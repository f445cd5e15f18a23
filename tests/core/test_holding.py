"""When the sender hears of a recipient who is held, and when the hold ends (D-6)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zegel.core.clock import Instant
from zegel.core.policy.holding import LONGEST_HOLD, LOOK, Over, Tell, Wait, holding, reminders

BEGUN: Final = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DAY: Final = timedelta(days=1)
SECOND: Final = timedelta(seconds=1)

terms = st.integers(0, LONGEST_HOLD).map(lambda days: timedelta(days=days))
steps = st.lists(st.integers(-200_000, 400_000).map(lambda seconds: timedelta(seconds=seconds)), max_size=60)


@pytest.mark.parametrize(
    ("days", "told"),
    [(0, [0.0]), (1, [0.0]), (2, [0.0, 1.0]), (3, [0.0, 1.0, 2.0]), (5, [0.0, 1.0, 4.0]), (60, [0.0, 1.0, 59.0])],
)
def test_the_sender_hears_at_once_after_a_day_and_a_day_before_the_end(days: int, told: list[float]) -> None:
    assert [after / DAY for after in reminders(days * DAY)] == told


def followed(term: timedelta, at: Instant, leaps: list[timedelta]) -> tuple[list[Instant], Instant]:
    """Looks when asked to, with a clock that leaps between looks; when the sender was told, and when it was over."""
    told_at: Instant | None = None
    told: list[Instant] = []
    waiting = iter(leaps)
    for _ in range(40 * LONGEST_HOLD):
        match holding(BEGUN, told_at, term=term, now=at):
            case Over():
                return told, at
            case Tell(is_first=is_first, again_at=again_at):
                assert is_first == (not told)
                told_at = at
                told.append(at)
            case Wait(again_at=again_at):
                assert told
        assert at < again_at <= at + LOOK
        assert not at < BEGUN + term < again_at, "nobody is held longer than the term"
        at = again_at + next(waiting, timedelta(0))
    raise AssertionError("held for ever")


@given(terms, steps)
@example(DAY, [])
@example(2 * DAY, [timedelta(seconds=-200_000)] * 3)
def test_whatever_the_clock_does_the_sender_hears_at_most_so_often_and_it_ends(
    term: timedelta, leaps: list[timedelta]
) -> None:
    told, over_at = followed(term, BEGUN, leaps)
    assert len(told) <= len(reminders(term))
    assert over_at >= BEGUN + term
    assert all(one < BEGUN + term for one in told)


@given(terms, st.timedeltas(min_value=timedelta(days=-30), max_value=timedelta(0)))
def test_a_clock_that_was_before_the_hold_tells_once_more_than_nothing(term: timedelta, before: timedelta) -> None:
    """The hold was decided on a clock that ran ahead (P23)."""
    told, over_at = followed(term, BEGUN + before, [])
    assert len(told) <= len(reminders(term))
    assert over_at >= BEGUN + term


@given(terms.filter(bool))
def test_with_a_clock_that_goes_right_every_reminder_is_told_at_its_moment(term: timedelta) -> None:
    told, over_at = followed(term, BEGUN, [])
    assert told == [BEGUN + after for after in reminders(term)]
    assert over_at == BEGUN + term


@given(terms, st.timedeltas(min_value=timedelta(days=-100), max_value=timedelta(days=100)))
def test_it_is_over_at_the_end_of_the_term_and_not_a_moment_earlier(term: timedelta, age: timedelta) -> None:
    for told_at in (None, BEGUN, BEGUN + age):
        over = isinstance(holding(BEGUN, told_at, term=term, now=BEGUN + age), Over)
        assert over == (age >= term)


def test_a_look_that_came_late_tells_what_was_missed_once() -> None:
    late = BEGUN + 4 * DAY + SECOND
    assert holding(BEGUN, BEGUN, term=5 * DAY, now=late) == Tell(False, late + LOOK)
    assert holding(BEGUN, late, term=5 * DAY, now=late) == Wait(late + LOOK)
