"""One destination among many: how much it gets, and how it is left alone while it is away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, get_args

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
    NoSuchDomain,
    NullMx,
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
    Scope,
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


MANY: Final = 20
QUARTER: Final = 5


def under_way(count: int, since: datetime) -> Destination:
    return Destination(under_way=(since,) * count)


@pytest.mark.parametrize(("places", "share"), [(MANY, QUARTER), (8, 2), (7, 1), (4, 1), (3, 1), (1, 1)])
def test_while_one_takes_long_others_get_a_quarter_of_the_places(places: int, share: int) -> None:
    for count in range(places + 1):
        found = admit(under_way(count, NOON - SLOW), places=places, is_pressing=False, now=NOON)
        assert found == (Go() if count < share else Later(NOON + COME_BACK))


def test_what_is_due_has_every_place_however_long_others_take() -> None:
    for count in range(MANY):
        assert admit(under_way(count, NOON - SLOW), places=MANY, is_pressing=True, now=NOON) == Go()
    assert admit(under_way(MANY, NOON - SLOW), places=MANY, is_pressing=True, now=NOON) == Later(NOON + COME_BACK)


def test_the_slowest_one_counts_and_what_is_quick_has_every_place() -> None:
    almost = NOON - SLOW + timedelta(milliseconds=1)
    assert admit(under_way(MANY - 1, almost), places=MANY, is_pressing=False, now=NOON) == Go()
    mixed = Destination(under_way=(*(NOON,) * QUARTER, NOON - SLOW))
    assert admit(mixed, places=MANY, is_pressing=False, now=NOON) == Later(NOON + COME_BACK)
    given_back = ended(mixed, NOON - SLOW, Accepted(), now=NOON)
    assert admit(given_back, places=MANY, is_pressing=False, now=NOON) == Go()


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


BUSY: Final = Reply(421, "4.3.2", "not now")
NO: Final = Reply(554, None, "no")
REPLIED: Final = [stage for stage in Stage if stage > Stage.CONNECT]
OUTCOMES: Final[tuple[Outcome, ...]] = (
    *(NetworkFailure(stage) for stage in Stage),
    *(Deferred(BUSY, stage) for stage in REPLIED),
    *(Refused(NO, stage) for stage in REPLIED),
    Accepted(),
    InsufficientSecurity(NO_DEMAND),
    NoSuchDomain(),
    NullMx(),
    DnsTrouble(),
)
SILENCE: Final[set[Outcome]] = {
    NetworkFailure(stage) for stage in Stage if stage <= Stage.MAIL
}  # the mail itself had not begun
LEFT_ALONE: Final[dict[Scope, set[Outcome]]] = {
    Scope.DOMAIN: SILENCE | {DnsTrouble()},
    Scope.ADDRESS: SILENCE | {Deferred(BUSY, Stage.GREETING), Deferred(BUSY, Stage.EHLO)},
}


def after(outcome: Outcome, scope: Scope, known: Destination = UNKNOWN) -> Destination:
    return ended(begun(known, now=NOON), NOON, outcome, now=NOON, scope=scope)


def test_the_table_names_every_end() -> None:
    assert {type(one) for one in OUTCOMES} == set(get_args(Outcome))


@pytest.mark.parametrize("outcome", OUTCOMES, ids=str)
@pytest.mark.parametrize("scope", Scope)
def test_who_says_nothing_is_left_alone_and_who_answers_is_there(scope: Scope, outcome: Outcome) -> None:
    if outcome in LEFT_ALONE[scope]:
        assert after(outcome, scope) == Destination(failures=1, rests_until=NOON + FIRST_PAUSE)
        assert after(outcome, scope, silent()).rests_until == NOON + 2 * FIRST_PAUSE
    else:
        assert after(outcome, scope) == UNKNOWN
        assert after(outcome, scope, silent()) == UNKNOWN


def test_a_domain_has_other_hosts_than_the_one_that_puts_it_off() -> None:
    outcome = Deferred(BUSY, Stage.GREETING)
    assert ended(begun(UNKNOWN, now=NOON), NOON, outcome, now=NOON) == UNKNOWN


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
