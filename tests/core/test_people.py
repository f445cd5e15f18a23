"""Who may change which account: every case there is."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from zegel.core.policy.people import (
    Objection,
    Subject,
    Successor,
    asks_twice,
    to_inviting,
    to_managing,
    to_passing_on,
    to_resetting,
    to_role,
    to_suspending,
)
from zegel.core.policy.roles import MAY, Capability, Role, may

BY: tuple[Role | None, ...] = (None, *Role)
FLAGS = (False, True)
SUBJECTS = [
    Subject(role, is_active=active, is_functional=functional, is_own=own, is_last_owner=last and role is Role.OWNER)
    for role, active, functional, own, last in itertools.product(Role, FLAGS, FLAGS, FLAGS, FLAGS)
]
ENDING: dict[str, Callable[[Role | None, Subject], Objection | None]] = {
    "suspend": to_suspending,
    "pass on": lambda by, about: to_passing_on(by, about, Successor()),
    "make sender": lambda by, about: to_role(by, about, Role.SENDER),
}
OTHER: dict[str, Callable[[Role | None, Subject], Objection | None]] = {
    "invite": lambda by, about: to_inviting(by, about, has_second_factor=False),
    "reset": to_resetting,
}


@pytest.mark.parametrize("act", [*ENDING, *OTHER])
def test_who_may_not_manage_accounts_does_nothing_to_any(act: str) -> None:
    for by, about in itertools.product(Role, SUBJECTS):
        if not may(by, Capability.ACCOUNTS):
            assert {**ENDING, **OTHER}[act](by, about) is not None


@pytest.mark.parametrize("act", [*ENDING, *OTHER])
def test_nobody_touches_an_account_that_may_do_more(act: str) -> None:
    for by, about in itertools.product(Role, SUBJECTS):
        if not MAY[about.role] <= MAY[by]:
            assert {**ENDING, **OTHER}[act](by, about) is not None


@pytest.mark.parametrize("act", [*ENDING, "reset"])
def test_nobody_does_it_to_themselves(act: str) -> None:
    for by, about in itertools.product(BY, SUBJECTS):
        if about.is_own:
            assert {**ENDING, **OTHER}[act](by, about) is not None


@pytest.mark.parametrize("act", ENDING)
def test_the_last_owner_stays_whoever_wants_otherwise(act: str) -> None:
    for by, about in itertools.product(BY, SUBJECTS):
        if about.is_last_owner:
            assert ENDING[act](by, about) is not None


def test_an_owner_who_lost_a_telephone_is_helped_even_as_the_last_one() -> None:
    assert to_resetting(None, Subject(Role.OWNER, is_last_owner=True)) is None


def test_a_functional_mailbox_is_no_person() -> None:
    about = Subject(Role.SENDER, is_functional=True)
    for role in Role:
        assert (to_role(None, about, role) is Objection.NOT_A_PERSON) == (role is not Role.SENDER)
    assert to_inviting(None, about, has_second_factor=False) is Objection.FUNCTIONAL
    assert to_resetting(None, about) is Objection.FUNCTIONAL
    assert to_passing_on(None, about, Successor()) is Objection.FUNCTIONAL
    assert to_suspending(None, about) is None


def test_no_invitation_goes_to_who_has_a_second_factor_or_is_suspended() -> None:
    assert to_inviting(None, Subject(Role.SENDER), has_second_factor=True) is Objection.IN_USE
    assert to_inviting(None, Subject(Role.SENDER, is_active=False), has_second_factor=False) is Objection.SUSPENDED


@pytest.mark.parametrize(
    ("to", "why"),
    [
        (Successor(is_same=True), Objection.SUCCESSOR_SAME),
        (Successor(is_ours=False), Objection.SUCCESSOR_ELSEWHERE),
        (Successor(is_active=False), Objection.SUCCESSOR_SUSPENDED),
        (Successor(is_functional=True), Objection.SUCCESSOR_FUNCTIONAL),
        (Successor(is_read_by_others=True), Objection.SUCCESSOR_IS_READ),
        (Successor(), None),
    ],
)
def test_who_can_succeed(to: Successor, why: Objection | None) -> None:
    assert to_passing_on(Role.ADMINISTRATOR, Subject(Role.SENDER), to) is why
    assert to_passing_on(Role.ADMINISTRATOR, Subject(Role.SENDER, is_active=False), to) is why, "also once suspended"


def test_an_owner_may_do_all_that_is_left() -> None:
    for about in SUBJECTS:
        if not (about.is_own or about.is_last_owner or about.is_functional) and about.is_active:
            assert {act: to(Role.OWNER, about) for act, to in {**ENDING, **OTHER}.items()} == dict.fromkeys(
                [*ENDING, *OTHER]
            )
            assert all(to_role(Role.OWNER, about, role) is None for role in Role)
    assert all(to_managing(None, role) is None for role in Role)


def test_what_gives_or_takes_all_rights_is_asked_about_once_more() -> None:
    asked = {(old, new) for old, new in itertools.product(Role, Role) if asks_twice(old, new)}
    assert asked == {
        (old, new) for old, new in itertools.product(Role, Role) if (old is Role.OWNER) != (new is Role.OWNER)
    }
