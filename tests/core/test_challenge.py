"""Codes can't be guessed: the state space, visited; then the promises one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.clock import Instant
from zegel.core.policy.challenge import (
    Allowed,
    Challenge,
    Expired,
    Issued,
    Judged,
    Ledger,
    Locked,
    Passed,
    TooMany,
    TooSoon,
    Verdict,
    Wrong,
    ask_for_access_code,
    issue,
    judge,
    may_issue,
)
from zegel.core.policy.verification import Method

START = datetime(2024, 1, 1, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=seconds) for seconds in (1, 60, 3600, 86400))


def issued(ledger: Ledger, now: Instant, method: Method = Method.SMS) -> tuple[Challenge, Ledger]:
    found = issue(ledger, method, now)
    assert isinstance(found, Issued)
    return found.challenge, found.ledger


def tries(
    challenge: Challenge, ledger: Ledger, answers: Iterable[bool], now: Instant
) -> tuple[list[Verdict], Challenge, Ledger]:
    verdicts = []
    for matches in answers:
        judged = judge(challenge, ledger, matches, now)
        challenge, ledger = judged.challenge, judged.ledger
        verdicts.append(judged.verdict)
    return verdicts, challenge, ledger


def wrong_so_often(times: int, now: Instant = START) -> Ledger:
    return Ledger(wrong=(now,) * times)


# --- the state space ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Siege:
    """A state an attacker can be in, with what it took to come there, counted independently of the ledger."""

    sessions: tuple[Challenge, ...]  # two browsers, each with the code it asked for last
    ledger: Ledger
    now: Instant
    guesses: tuple[Instant, ...]  # tries at which the right code would have passed
    codes: tuple[Instant, ...]


WAITS = (timedelta(), 31 * SECOND, 11 * MINUTE, 61 * MINUTE, DAY + SECOND)


def moves(siege: Siege, method: Method, wait: timedelta, place: int) -> Iterator[Siege]:
    waited = replace(siege, now=siege.now + wait)
    yield from guess(waited, place, siege.sessions[place])
    if method is not Method.ACCESS_CODE:
        yield from ask(waited, place, method)


def guess(siege: Siege, place: int, challenge: Challenge) -> Iterator[Siege]:
    wrong = judge(challenge, siege.ledger, False, siege.now)
    if not isinstance(judge(challenge, siege.ledger, True, siege.now).verdict, Passed):
        assert isinstance(wrong.verdict, Locked | Expired)
        assert wrong.ledger == siege.ledger, "a try that was not compared is not counted"
        return
    sessions = (*siege.sessions[:place], wrong.challenge, *siege.sessions[place + 1 :])
    yield replace(siege, sessions=sessions, ledger=wrong.ledger, guesses=(*siege.guesses, siege.now))


def ask(siege: Siege, place: int, method: Method) -> Iterator[Siege]:
    fresh = issue(siege.ledger, method, siege.now)
    if isinstance(fresh, Issued):
        assert fresh.ledger.wrong == siege.ledger.wrong, "a new code resets nothing"
        sessions = (*siege.sessions[:place], fresh.challenge, *siege.sessions[place + 1 :])
        yield replace(siege, sessions=sessions, ledger=fresh.ledger, codes=(*siege.codes, siege.now))


def within(times: tuple[Instant, ...], now: Instant, window: timedelta) -> int:
    return sum(time > now - window for time in times)


def begin(method: Method, wrong_before: int, wrong_on_this: int = 0) -> Siege:
    challenge, ledger = ask_for_access_code(START), Ledger()
    if method is not Method.ACCESS_CODE:
        challenge, ledger = issued(ledger, START, method)
    ledger = replace(ledger, wrong=(START,) * wrong_before)
    return Siege((replace(challenge, wrong=wrong_on_this), challenge), ledger, START, ledger.wrong, ledger.issued)


def assert_within_the_caps(siege: Siege) -> None:
    assert within(siege.guesses, siege.now, DAY) <= 10, "an eleventh guess within a day"
    assert within(siege.codes, siege.now, HOUR) <= 5, "a sixth code within an hour"
    assert all(challenge.wrong <= 5 or challenge.expires is None for challenge in siege.sessions)


METHODS = [Method.SMS, Method.EMAIL, Method.ACCESS_CODE]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("wrong_before", "wrong_on_this"), [(0, 0), (4, 4), (8, 0), (9, 4), (10, 0)])
def test_no_four_moves_from_any_corner_beat_the_caps(method: Method, wrong_before: int, wrong_on_this: int) -> None:
    border = {begin(method, wrong_before, wrong_on_this)}
    for _ in range(4):
        border = {
            reached
            for siege, wait, place in product(border, WAITS, (0, 1))
            for reached in moves(siege, method, wait, place)
        }
        for siege in border:
            assert_within_the_caps(siege)


@given(
    st.sampled_from(METHODS),
    st.lists(st.tuples(st.sampled_from([*WAITS, SECOND, 5 * HOUR]), st.integers(0, 1), st.booleans()), min_size=30),
)
def test_no_long_siege_beats_the_caps(method: Method, plan_of_attack: list[tuple[timedelta, int, bool]]) -> None:
    siege = begin(method, 0)
    for wait, place, prefers_new_code in plan_of_attack:
        possible = list(moves(siege, method, wait, place))
        if possible:
            siege = possible[-1] if prefers_new_code else possible[0]
        else:
            siege = replace(siege, now=siege.now + wait)
        assert_within_the_caps(siege)


def test_the_siege_reaches_the_caps_it_is_measured_by() -> None:
    siege = begin(Method.SMS, 0)
    while possible := list(moves(siege, Method.SMS, 31 * SECOND, 0)):
        siege = possible[0]
    assert len(siege.guesses) == 10
    siege = begin(Method.SMS, 0)
    for _ in range(20):
        siege = next(ask(replace(siege, now=siege.now + 31 * SECOND), 0, Method.SMS), siege)
    assert len(siege.codes) == 5


# --- codes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [Method.SMS, Method.EMAIL])
def test_a_code_dies_after_five_wrong_tries(method: Method) -> None:
    challenge, ledger = issued(Ledger(), START, method)
    verdicts, *_ = tries(challenge, ledger, [False] * 5 + [True], START + MINUTE)
    assert verdicts == [Wrong(4), Wrong(3), Wrong(2), Wrong(1), Wrong(0), Expired()]


def test_fifty_tries_at_once_count_as_fifty() -> None:
    challenge, ledger = issued(Ledger(), START)
    verdicts, *_ = tries(challenge, ledger, [False] * 49 + [True], START + MINUTE)
    assert sum(isinstance(verdict, Wrong) for verdict in verdicts) == 5
    assert not any(isinstance(verdict, Passed) for verdict in verdicts)


def test_the_right_code_is_refused_after_the_lock() -> None:
    challenge, ledger = issued(wrong_so_often(10), START + DAY + SECOND)
    assert isinstance(judge(challenge, wrong_so_often(10), True, START + DAY - SECOND).verdict, Locked)
    assert isinstance(judge(challenge, ledger, True, START + DAY + 2 * SECOND).verdict, Passed)


def test_a_new_code_does_not_reset_the_count() -> None:
    first, ledger = issued(Ledger(), START)
    _, _, ledger = tries(first, ledger, [False] * 5, START + SECOND)
    second, ledger = issued(ledger, START + MINUTE)
    verdicts, second, ledger = tries(second, ledger, [False] * 5, START + MINUTE)
    assert verdicts == [Wrong(4), Wrong(3), Wrong(2), Wrong(1), Locked(START + SECOND + DAY)]
    assert issue(ledger, Method.SMS, START + 2 * MINUTE) == TooMany(START + SECOND + DAY)
    assert judge(second, ledger, True, START + 2 * MINUTE).verdict == Locked(START + SECOND + DAY)


def test_the_count_is_shared_by_all_sessions_and_methods() -> None:
    challenge, ledger = issued(wrong_so_often(9), START + MINUTE, Method.EMAIL)
    assert judge(challenge, ledger, False, START + MINUTE).verdict == Locked(START + DAY)


def test_what_is_left_counts_the_day_too() -> None:
    challenge, ledger = issued(wrong_so_often(7), START + MINUTE)
    assert judge(challenge, ledger, False, START + MINUTE).verdict == Wrong(2)


def test_passing_does_not_reset_the_count() -> None:
    challenge, ledger = issued(wrong_so_often(6), START + MINUTE)
    assert judge(challenge, ledger, True, START + MINUTE).ledger.wrong == wrong_so_often(6).wrong


def test_the_day_is_a_sliding_one() -> None:
    ledger = Ledger(wrong=tuple(START + HOUR * number for number in range(10)))
    assert may_issue(ledger, START + DAY - SECOND) == TooMany(START + DAY)
    assert may_issue(ledger, START + DAY) == Allowed()
    challenge, ledger = issued(ledger, START + DAY)
    assert judge(challenge, ledger, False, START + DAY).verdict == Locked(START + HOUR + DAY)


def test_a_code_works_once() -> None:
    challenge, ledger = issued(Ledger(), START)
    verdicts, *_ = tries(challenge, ledger, [True, True], START + MINUTE)
    assert verdicts == [Passed(), Expired()]


@pytest.mark.parametrize(("age", "verdict"), [(10 * MINUTE - SECOND, Passed()), (10 * MINUTE, Expired())])
def test_a_code_lives_ten_minutes(age: timedelta, verdict: Verdict) -> None:
    challenge, ledger = issued(Ledger(), START)
    assert judge(challenge, ledger, True, START + age).verdict == verdict


def test_a_try_at_an_expired_code_costs_nothing() -> None:
    challenge, ledger = issued(Ledger(), START)
    assert judge(challenge, ledger, False, START + HOUR) == Judged(Expired(), replace(challenge, is_used=True), ledger)


def test_a_clock_that_is_set_back_revives_no_code() -> None:
    challenge, ledger = issued(Ledger(), START)
    judged = judge(challenge, ledger, True, START - DAY)
    assert judged.verdict == Expired()
    assert judge(judged.challenge, ledger, True, START + MINUTE).verdict == Expired()


def test_an_expired_code_stays_dead_when_the_clock_returns_to_its_ten_minutes() -> None:
    challenge, ledger = issued(Ledger(), START)
    judged = judge(challenge, ledger, True, START + HOUR)
    assert judge(judged.challenge, ledger, True, START + MINUTE).verdict == Expired()


def test_two_machines_need_not_agree_to_the_second() -> None:
    challenge, ledger = issued(Ledger(), START)
    assert judge(challenge, ledger, True, START - 5 * SECOND).verdict == Passed()


def test_a_clock_that_is_set_back_opens_no_lock() -> None:
    assert isinstance(may_issue(wrong_so_often(10), START - DAY), TooMany)


# --- asking ------------------------------------------------------------------------------------------------------


def test_between_two_codes_lie_thirty_seconds() -> None:
    _, ledger = issued(Ledger(), START)
    assert issue(ledger, Method.SMS, START + 29 * SECOND) == TooSoon(START + 30 * SECOND)
    assert isinstance(issue(ledger, Method.SMS, START + 30 * SECOND), Issued)


def test_within_an_hour_there_are_five_codes() -> None:
    ledger = Ledger()
    for number in range(5):
        _, ledger = issued(ledger, START + MINUTE * number)
    assert issue(ledger, Method.EMAIL, START + 59 * MINUTE) == TooMany(START + HOUR)
    assert isinstance(issue(ledger, Method.EMAIL, START + HOUR), Issued)


def test_asking_whether_a_code_may_go_changes_nothing() -> None:
    ledger = Ledger()
    assert may_issue(ledger, START) == Allowed()
    assert ledger == Ledger()


# --- access codes ------------------------------------------------------------------------------------------------


def test_after_five_wrong_access_codes_every_further_try_waits_twice_as_long() -> None:
    challenge, ledger, now = ask_for_access_code(START), Ledger(), START
    verdicts, challenge, ledger = tries(challenge, ledger, [False] * 5, now)
    assert verdicts == [Wrong(4), Wrong(3), Wrong(2), Wrong(1), Locked(START + MINUTE)]
    for minutes in (2, 4, 8, 16):
        assert isinstance(verdicts[-1], Locked)
        now = verdicts[-1].until
        assert isinstance(judge(challenge, ledger, True, now - SECOND).verdict, Locked)
        verdicts, challenge, ledger = tries(challenge, ledger, [False], now)
        assert verdicts == [Locked(now + minutes * MINUTE)]
    last = now + 16 * MINUTE
    verdicts, _, ledger = tries(challenge, ledger, [False], last)
    assert verdicts == [Locked(START + DAY)]


def test_after_the_wait_the_right_access_code_is_accepted() -> None:
    challenge = ask_for_access_code(START)
    assert judge(challenge, wrong_so_often(5), True, START + MINUTE).verdict == Passed()


def test_a_new_session_does_not_escape_the_wait() -> None:
    fresh = ask_for_access_code(START + SECOND)
    assert judge(fresh, wrong_so_often(5), True, START + SECOND).verdict == Locked(START + MINUTE)


def test_the_wait_after_access_codes_does_not_hold_up_a_code_by_sms() -> None:
    challenge, ledger = issued(wrong_so_often(5), START + SECOND)
    assert judge(challenge, ledger, True, START + 2 * SECOND).verdict == Passed()


def test_an_access_code_does_not_expire_and_proves_one_session_once() -> None:
    verdicts, *_ = tries(ask_for_access_code(START), Ledger(), [True, True], START + 7 * DAY)
    assert verdicts == [Passed(), Expired()]


def test_the_ledger_does_not_grow() -> None:
    ledger = Ledger(wrong=tuple(START + MINUTE * number for number in range(9)))
    judged = judge(ask_for_access_code(START + 2 * DAY), ledger, False, START + 2 * DAY)
    assert judged.ledger.wrong == (START + 2 * DAY,)
