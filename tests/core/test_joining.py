"""Proving a mailbox: who is told what. Every case there is."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from zegel.core.policy.joining import (
    MOST,
    MOST_FOR_OFTEN,
    MOST_FOR_PLACE,
    OFTEN,
    Known,
    Mails,
    Purpose,
    Told,
    may_prove,
    what_to_tell,
)

_FLAGS = ("has_account", "is_active", "of_organisation", "has_second_factor", "domain_is_taken", "was_recipient")
_EVERY: list[dict[str, Any]] = [
    dict(zip(_FLAGS, flags, strict=True)) for flags in itertools.product((False, True), repeat=len(_FLAGS))
]
EVERY = [Known(**flags) for flags in _EVERY]


@pytest.mark.parametrize("purpose", [Purpose.REGISTER, Purpose.RESET])
def test_who_was_never_written_to_and_has_no_account_gets_no_mail(purpose: Purpose) -> None:
    for known in EVERY:
        if not known.has_account and not known.was_recipient:
            assert what_to_tell(purpose, known) is None


def test_no_code_resets_an_account_without_a_second_factor() -> None:
    for known in EVERY:
        if what_to_tell(Purpose.RESET, known) is Told.CODE:
            assert known.has_account and known.has_second_factor and known.is_active


def test_no_code_makes_an_account_where_one_is_finished_or_an_organisation_makes_them() -> None:
    for known in EVERY:
        if what_to_tell(Purpose.REGISTER, known) is Told.CODE:
            assert not (known.has_account and (known.of_organisation or known.has_second_factor))
            assert not known.domain_is_taken
            assert known.is_active or not known.has_account


def test_an_account_that_may_not_be_used_is_told_nothing() -> None:
    for known, purpose in itertools.product(EVERY, (Purpose.REGISTER, Purpose.RESET)):
        if known.has_account and not known.is_active:
            assert what_to_tell(purpose, known) is None


HOLDER = Known(has_account=True, has_second_factor=True)
ASKED = (Purpose.REGISTER, Purpose.RESET)


@pytest.mark.parametrize("mails", [Mails(last_hour=MOST.last_hour), Mails(last_day=MOST.last_day)])
def test_a_mailbox_is_not_flooded_however_many_networks_ask(mails: Mails) -> None:
    for known, purpose in itertools.product(EVERY, ASKED):
        assert what_to_tell(purpose, replace(known, mails=mails)) is None


@pytest.mark.parametrize("by_known_browser", [False, True])
@pytest.mark.parametrize("here", [Mails(last_hour=MOST_FOR_PLACE.last_hour), Mails(last_day=MOST_FOR_PLACE.last_day)])
def test_nor_by_one_network_or_browser(here: Mails, by_known_browser: bool) -> None:
    for known, purpose in itertools.product(EVERY, ASKED):
        counted = replace(known, mails=here, mails_here=here, by_known_browser=by_known_browser)
        assert what_to_tell(purpose, counted) is None


@pytest.mark.parametrize("mails", [Mails(last_hour=MOST_FOR_OFTEN.last_hour), Mails(last_day=MOST_FOR_OFTEN.last_day)])
def test_what_is_kept_for_places_that_did_not_ask_is_for_no_others(mails: Mails) -> None:
    seldom, often = Mails(last_day=OFTEN - 1), Mails(last_day=OFTEN)
    assert what_to_tell(Purpose.RESET, replace(HOLDER, mails=mails, mails_here=often)) is None
    assert what_to_tell(Purpose.RESET, replace(HOLDER, mails=mails, mails_here=seldom)) is Told.CODE


def test_no_single_network_uses_up_what_is_there_for_others() -> None:
    """Whatever one network asks for, in whatever order and time: another one gets a code, and one more."""
    assert not MOST_FOR_PLACE.reach(MOST) and not MOST_FOR_OFTEN.reach(MOST)
    assert MOST.last_hour - MOST_FOR_PLACE.last_hour >= OFTEN and MOST.last_day - MOST_FOR_PLACE.last_day >= OFTEN


def test_a_known_browser_gets_a_code_whatever_strangers_ask() -> None:
    flooded = replace(HOLDER, mails=Mails(10**6, 10**6), by_known_browser=True)
    assert what_to_tell(Purpose.RESET, flooded) is Told.CODE


def test_no_number_of_mails_hides_that_the_password_was_changed() -> None:
    most = Mails(10**6, 10**6)
    for known in EVERY:
        flooded = replace(known, mails=most, mails_here=most)
        assert what_to_tell(Purpose.CHANGED, flooded) is (Told.CHANGED if known.has_account else None)


def test_the_last_mail_that_may_go_out_can_still_be_answered() -> None:
    assert may_prove(Purpose.REGISTER, Known(was_recipient=True, mails=MOST, mails_here=MOST_FOR_PLACE))


@pytest.mark.parametrize(
    ("purpose", "known", "told"),
    [
        (Purpose.REGISTER, Known(was_recipient=True), Told.CODE),
        (Purpose.REGISTER, Known(was_recipient=True, domain_is_taken=True), Told.ADMINISTRATOR),
        (Purpose.REGISTER, Known(has_account=True, has_second_factor=True), Told.HAS_ACCOUNT),
        (Purpose.REGISTER, Known(has_account=True, of_organisation=True), Told.HAS_ACCOUNT),
        (Purpose.REGISTER, Known(has_account=True), Told.CODE),  # it was not finished
        (Purpose.RESET, Known(has_account=True, has_second_factor=True), Told.CODE),
        (Purpose.RESET, Known(has_account=True, has_second_factor=True, of_organisation=True), Told.CODE),
        (Purpose.RESET, Known(has_account=True, of_organisation=True), Told.ADMINISTRATOR),
        (Purpose.RESET, Known(has_account=True), Told.NO_ACCOUNT),
        (Purpose.RESET, Known(was_recipient=True), Told.NO_ACCOUNT),
        (Purpose.CHANGED, Known(has_account=True), Told.CHANGED),
    ],
)
def test_what_the_mailbox_hears(purpose: Purpose, known: Known, told: Told) -> None:
    assert what_to_tell(purpose, known) is told
