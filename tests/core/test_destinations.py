"""One destination among many: how much it gets, and how it is left alone while it is away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

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
    MOST_AT_ONCE,
    UNKNOWN,
    Destination,
    begun,
    ended,
    later,
)
from zegel.core.policy.transport import NO_DEMAND

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SILENT = NetworkFailure(Stage.CONNECT)


def test_a_destination_gets_its_share_and_no_more() -> None:
    known = UNKNOWN
    for _ in range(MOST_AT_ONCE):
        assert later(known, is_pressing=False, now=NOON) is None
        known = begun(known)
    assert later(known, is_pressing=False, now=NOON) == NOON + COME_BACK
    assert later(ended(known, Accepted(), now=NOON), is_pressing=False, now=NOON) is None


def test_silence_is_answered_with_growing_pauses() -> None:
    known, pauses = UNKNOWN, []
    for _ in range(8):
        known = ended(begun(known), SILENT, now=NOON)
        assert known.rests_until is not None
        pauses.append(known.rests_until - NOON)
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE


def test_what_is_due_waits_for_no_pause_but_for_a_place() -> None:
    known = ended(begun(UNKNOWN), SILENT, now=NOON)
    assert later(known, is_pressing=True, now=NOON) is None
    for _ in range(MOST_AT_ONCE):
        known = begun(known)
    assert later(known, is_pressing=True, now=NOON) == NOON + COME_BACK


def test_after_a_pause_one_goes_ahead() -> None:
    known = ended(begun(UNKNOWN), SILENT, now=NOON)
    assert later(known, is_pressing=False, now=NOON) == NOON + FIRST_PAUSE
    awake = NOON + FIRST_PAUSE
    assert later(known, is_pressing=False, now=awake) is None
    assert later(begun(known), is_pressing=False, now=awake) == awake + COME_BACK
    back = ended(begun(known), Accepted(), now=awake)
    assert back == UNKNOWN
    assert later(begun(back), is_pressing=False, now=awake) is None


def test_whoever_answers_is_there() -> None:
    known = ended(begun(UNKNOWN), SILENT, now=NOON)
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
        assert ended(begun(known), outcome, now=NOON).rests_until is None


def test_what_came_to_no_attempt_says_nothing() -> None:
    known = ended(begun(UNKNOWN), SILENT, now=NOON)
    assert ended(begun(known), None, now=NOON) == known


def test_a_clock_that_was_set_back_holds_nobody_up_for_longer() -> None:
    known = ended(begun(UNKNOWN), SILENT, now=NOON)
    assert later(known, is_pressing=False, now=NOON - timedelta(days=1)) is None


@given(st.lists(st.sampled_from([SILENT, Accepted(), None]), max_size=60))
def test_nothing_is_lost_in_counting(outcomes: list[Outcome | None]) -> None:
    known: Destination = UNKNOWN
    for outcome in outcomes:
        known = ended(begun(known), outcome, now=NOON)
        assert known.under_way == 0
        when = later(known, is_pressing=False, now=NOON)
        assert when is None or NOON < when <= NOON + LONGEST_PAUSE
