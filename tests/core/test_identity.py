"""Whose account somebody may use whom a provider vouches for: the whole small space."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from zegel.core.mail.address import Mailbox
from zegel.core.policy.identity import Assertion, Holder, Known, MakesAccount, Rules, SignsIn, TurnedAway, admit

OURS = Mailbox.parse("balie@voorbeeld.test")
SAID = Assertion("subject", OURS, True)
RULES = Rules(frozenset({"voorbeeld.test"}), makes_accounts=True, factor_contexts=frozenset({"mfa"}))


def test_an_account_is_opened_in_no_other_case() -> None:
    """Every combination: it is let in only where nothing speaks against it."""
    addresses = (None, OURS, Mailbox.parse("balie@ander.test"), Mailbox.parse("balie@sub.voorbeeld.test"))
    for address, verified, managed, makes, holder, active, before, another in product(
        addresses, (True, False, None), (True, False), (True, False), Holder, (True, False),
        (None, "subject", "another"), (True, False),
    ):  # fmt: skip
        said = Assertion("subject", address, verified, managed)
        known = Known(holder, active, before, another)
        found = admit(said, replace(RULES, makes_accounts=makes), known)
        is_theirs = address == OURS and verified is not False and managed and before != "another" and not another
        match found:
            case SignsIn():
                assert is_theirs and holder is Holder.THIS_ORGANISATION and active
                assert found.binds == (before is None)
            case MakesAccount():
                assert is_theirs and holder is Holder.NOBODY and makes
            case TurnedAway():
                fits = holder is Holder.THIS_ORGANISATION and active
                assert not is_theirs or not (fits or (holder is Holder.NOBODY and makes))


@pytest.mark.parametrize(
    ("contexts", "believed", "showed"),
    [
        (set(), set(), False),
        ({"mfa"}, set(), False),
        (set(), {"mfa"}, False),
        ({"pwd"}, {"mfa"}, False),
        ({"mfa", "pwd"}, {"mfa"}, True),
        ({"MFA"}, {"mfa"}, False),
    ],
)
def test_a_second_factor_counts_where_it_is_stated_and_believed(
    contexts: set[str], believed: set[str], showed: bool
) -> None:
    said, rules = replace(SAID, contexts=frozenset(contexts)), replace(RULES, factor_contexts=frozenset(believed))
    for holder in (Holder.THIS_ORGANISATION, Holder.NOBODY):
        found = admit(said, rules, Known(holder))
        assert isinstance(found, SignsIn | MakesAccount)
        assert found.showed_second_factor is showed


def test_nobody_signs_in_to_a_mailbox_that_people_read_together() -> None:
    known = Known(Holder.THIS_ORGANISATION, is_functional=True)
    assert admit(SAID, RULES, known) is TurnedAway.FUNCTIONAL
    assert admit(replace(SAID, contexts=frozenset({"mfa"})), RULES, known) is TurnedAway.FUNCTIONAL


def test_an_account_that_counts_for_the_providers_two_factors_is_not_opened_with_one() -> None:
    known = Known(Holder.THIS_ORGANISATION, subject_of_account="subject", relies_on_provider=True)
    assert admit(SAID, RULES, known) is TurnedAway.ONE_FACTOR
    assert admit(replace(SAID, contexts=frozenset({"mfa"})), RULES, known) == SignsIn(False, True)


def test_who_is_turned_away_reads_why_in_both_languages() -> None:
    assert all(one.en and one.nl and one.en != one.nl for one in TurnedAway)
