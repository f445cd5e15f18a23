"""How each reader of a conversation hears of an answer: every case there is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Final

import pytest

from zegel.core.clock import Instant
from zegel.core.policy.answering import Listener, Reached, Way, way
from zegel.core.policy.precedence import Hold, Notify, Readable, Step, Undeliverable
from zegel.core.policy.reasons import Why
from zegel.core.policy.transport import PROVEN
from zegel.core.policy.verification import Method

AT: Final = datetime(2026, 3, 12, 14, 2, tzinfo=UTC)
READABLE: Final = Readable(4, PROVEN)
STEPS: Final[tuple[Step | None, ...]] = (
    None,
    READABLE,
    Notify(5, Method.SMS),
    Hold(frozenset({Method.SMS})),
    Undeliverable("5.7.1", Why.NOTHING_SAFER),
)
MOMENTS: Final[tuple[Instant | None, ...]] = (None, AT - timedelta(hours=1), AT, AT + timedelta(seconds=1))
EVERY: Final = [
    Listener(reached, step, method, at)
    for reached, step, method, at in product(Reached, STEPS, (None, *Method), MOMENTS)
]


def ways(*reached: Reached) -> list[tuple[Listener, Way]]:
    return [(one, way(one, answered_at=AT)) for one in EVERY if one.reached in reached]


def test_nobody_who_is_lost_hears_anything() -> None:
    assert {found for _, found in ways(Reached.LOST)} == {Way.NOTHING}


def test_nobody_hears_before_it_is_known_how_the_message_arrives() -> None:
    assert {found for _, found in ways(Reached.WAITING)} == {Way.LATER}


def test_an_answer_is_readable_for_those_alone_who_got_the_message_readable() -> None:
    for one, found in ways(*Reached):
        assert (found is Way.READABLE) == (one.reached is Reached.ARRIVED and one.step == READABLE)


def test_a_link_is_always_behind_a_method_and_an_inbox_behind_an_account() -> None:
    for one, found in ways(*Reached):
        if found is Way.LINK:
            assert one.method not in (None, Method.ACCOUNT)
        if found is Way.INBOX:
            assert one.method is Method.ACCOUNT


def test_who_was_notified_after_the_answer_sees_both_at_once() -> None:
    for one, found in ways(Reached.ARRIVED):
        if one.step != READABLE and one.arrived_at is not None and one.arrived_at > AT:
            assert found is Way.NOTHING


@pytest.mark.parametrize(("method", "expected"), [(Method.SMS, Way.LINK), (Method.ACCOUNT, Way.INBOX)])
def test_who_was_notified_before_is_told(method: Method, expected: Way) -> None:
    assert way(Listener(Reached.ARRIVED, Notify(1, method), method, AT), answered_at=AT) is expected
