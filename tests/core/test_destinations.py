"""One destination among many: how much it gets, and how it is left alone while it is away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.mail.reply import Reply
from zegel.core.policy.carriage import (
    Accepted,
    Deferred,
    DnsTrouble,
    InsufficientSecurity,
    NetworkFailure,
    Outcome,
    Refused,
    Stage,
)
from zegel.core.policy.destinations import (
    COME_BACK,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    SLOW,
    UNKNOWN,
    Destination,
    Go,
    Later,
    WaitForPlace,
    admit,
    begun,
    ended,
)
from zegel.core.policy.transport import NO_DEMAND

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SILENT = NetworkFailure(Stage.CONNECT)
PLACES = 3


def ask(known: Destination, *, is_pressing: bool = False, now: datetime = NOON) -> Go | WaitForPlace | Later:
    return admit(known, places=PLACES, is_pressing=is_pressing, now=now)


def full(since: datetime = NOON, known: Destination = UNKNOWN) -> Destination:
    for _ in range(PLACES):
        known = begun(known, now=since)
    return known


def silent(known: Destination = UNKNOWN) -> Destination:
    return ended(begun(known, now=NOON), NOON, SILENT, now=NOON)


def test_a_destination_gets_its_share_and_no_more() -> None:
    known = UNKNOWN
    for _ in range(PLACES):
        assert ask(known) == Go()
        known = begun(known, now=NOON)
    assert ask(known) == WaitForPlace()
    assert ask(ended(known, NOON, Accepted(), now=NOON)) == Go()


@pytest.mark.parametrize("is_pressing", [True, False])
def test_nobody_waits_where_places_are_given_back_slowly(is_pressing: bool) -> None:
    known = full(NOON - SLOW)
    assert ask(known, is_pressing=is_pressing) == Later(NOON + COME_BACK)


def test_silence_is_answered_with_growing_pauses() -> None:
    known, pauses = UNKNOWN, []
    for _ in range(8):
        known = silent(known)
        assert known.rests_until is not None
        pauses.append(known.rests_until - NOON)
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE


def test_what_is_due_waits_for_no_pause_but_for_a_place() -> None:
    assert ask(silent()) == Later(NOON + FIRST_PAUSE)
    assert ask(silent(), is_pressing=True) == Go()
    assert ask(full(known=silent()), is_pressing=True) == WaitForPlace()


def test_after_a_pause_one_goes_ahead() -> None:
    known, awake = silent(), NOON + FIRST_PAUSE
    assert ask(known, now=awake) == Go()
    assert ask(begun(known, now=awake), now=awake) == Later(awake + COME_BACK)
    back = ended(begun(known, now=awake), awake, Accepted(), now=awake)
    assert back == UNKNOWN
    assert ask(begun(back, now=awake), now=awake) == Go()


def test_whoever_answers_is_there() -> None:
    reply = Reply(450, None, "later")
    outcomes: tuple[Outcome, ...] = (
        Accepted(),
        Deferred(reply, Stage.GREETING),
        Refused(Reply(554, None, "no"), Stage.GREETING),
        InsufficientSecurity(NO_DEMAND),
        NetworkFailure(Stage.EHLO),
        NetworkFailure(Stage.END_OF_DATA),
        DnsTrouble(),
    )
    for outcome in outcomes:
        assert ended(begun(silent(), now=NOON), NOON, outcome, now=NOON).rests_until is None


def test_what_came_to_no_attempt_says_nothing() -> None:
    assert ended(begun(silent(), now=NOON), NOON, None, now=NOON) == silent()


def test_a_clock_that_was_set_back_holds_nobody_up_for_longer() -> None:
    assert ask(silent(), now=NOON - timedelta(days=1)) == Go()


@given(st.lists(st.sampled_from([SILENT, Accepted(), None]), max_size=60))
def test_nothing_is_lost_in_counting(outcomes: list[Outcome | None]) -> None:
    known = UNKNOWN
    for outcome in outcomes:
        known = ended(begun(known, now=NOON), NOON, outcome, now=NOON)
        assert known.under_way == ()
        found = ask(known)
        assert found == Go() or (isinstance(found, Later) and NOON < found.at <= NOON + LONGEST_PAUSE)
