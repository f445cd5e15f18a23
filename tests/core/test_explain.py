"""An explanation in words: what it never says, and that every remedy it names does what it says."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache, reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.test_precedence import CODE, NTA, PROVED_BOTH, SMS, TWO_FACTORS, every_plan
from zegel.core.mail.address import Mailbox
from zegel.core.policy.case import Asked, Case, OrganisationPolicy, RecipientAccount, Remembered
from zegel.core.policy.explain import (
    LANGUAGES,
    Explanation,
    Note,
    Said,
    explain,
    explain_stored,
    facts,
    gives_the_same_today,
    said_in,
    step_in_words,
)
from zegel.core.policy.precedence import PRECEDENCE, Hold, Notify, Plan, Undeliverable, plan, plan_to_json, replay
from zegel.core.policy.reasons import Why
from zegel.core.policy.remedies import REMEDIES, Better, Remedy, better, follow
from zegel.core.policy.transport import PROVEN
from zegel.core.policy.verification import AccessCode, Method, SmsCode
from zegel.core.secret import Secret

GUEST = Mailbox.parse("ontvanger@example.org")
ALL = frozenset(Method)


@cache
def every_way() -> tuple[tuple[Case, Plan, tuple[Better, ...]], ...]:
    return tuple((case, found, better(case, found)) for case, found in every_plan())


def end(found: Plan) -> int:
    """The rank of what the plan ends with; behind the last row for who is held or reported."""
    last = found.steps[-1]
    return last.rank if isinstance(last, Notify) else len(PRECEDENCE) + 1


def followed(case: Case, one: Better) -> Case:
    return reduce(lambda so_far, remedy: follow(remedy, so_far, one.rank), one.remedies, case)


def ways(case: Case) -> dict[int, tuple[Remedy, ...]]:
    return {one.rank: one.remedies for one in better(case, plan(case))}


# --- remedies: the whole space -----------------------------------------------------------------------------------


def test_who_is_held_or_undeliverable_gets_at_least_one_remedy() -> None:
    for case, found, offered in every_way():
        if isinstance(found.steps[-1], Hold | Undeliverable):
            assert offered, case


def test_nothing_is_offered_for_what_can_not_be_better() -> None:
    for case, found, offered in every_way():
        if end(found) == 1:
            assert offered == (), case


def test_only_rows_above_the_end_are_offered_and_in_order() -> None:
    for case, found, offered in every_way():
        offered_ranks = [one.rank for one in offered]
        assert offered_ranks == sorted(set(offered_ranks)), case
        assert all(rank < end(found) for rank in offered_ranks), case
        for one in offered:
            finding = found.findings[one.rank - 1]
            assert not finding.hit or finding.why is Why.POLICY_CONTRADICTS_MESSAGE, case


def test_following_the_remedies_of_a_row_puts_it_in_a_plan_that_ends_no_worse() -> None:
    for case, found, offered in every_way():
        for one in offered:
            after = plan(followed(case, one))
            finding = after.findings[one.rank - 1]
            assert finding.hit and finding.why is not Why.POLICY_CONTRADICTS_MESSAGE, (case, one)
            assert end(after) <= end(found), (case, one)


def test_each_remedy_of_a_row_changes_something_and_the_last_one_is_needed() -> None:
    for case, _, offered in every_way():
        for one in offered:
            before = case
            for remedy in one.remedies:
                after = follow(remedy, before, one.rank)
                assert after != before, (case, one)
                before = after
            finding = plan(followed(case, replace(one, remedies=one.remedies[:-1]))).findings[one.rank - 1]
            assert not finding.hit or finding.why is Why.POLICY_CONTRADICTS_MESSAGE, (case, one)


def test_every_reason_to_miss_is_in_the_table_and_every_remedy_is_offered_to_somebody() -> None:
    missed = {
        finding.why
        for _, found in every_plan()
        for finding in found.findings
        if not finding.hit or finding.why is Why.POLICY_CONTRADICTS_MESSAGE
    }
    assert missed | {Why.RECIPIENT_DOES_NOT_COMPLY} == set(REMEDIES)  # the space has both sides comply, or neither
    assert {remedy for _, _, offered in every_way() for one in offered for remedy in one.remedies} == set(Remedy)


# --- remedies: examples ------------------------------------------------------------------------------------------


def test_a_guest_of_whom_nothing_is_known() -> None:
    assert ways(Case()) == {
        1: (Remedy.MAKE_ACCOUNT,),
        2: (Remedy.SENDER_COMPLIES, Remedy.RECIPIENT_COMPLIES),
        3: (Remedy.NAME_METHOD,),
        4: (Remedy.ASK_OR_LIST,),
        5: (Remedy.SUPPLY_NUMBER,),
        6: (Remedy.SUPPLY_CODE,),
    }


def test_an_account_of_which_nothing_was_proven_has_to_pass_the_named_method_once() -> None:
    assert ways(Case(Asked(SMS), account=TWO_FACTORS))[1] == (Remedy.PASS_METHOD,)
    assert ways(Case(account=RecipientAccount(has_second_factor=False)))[1] == (Remedy.SET_UP_SECOND_FACTOR,)


def test_a_method_that_the_policy_forbids_is_passed_by_nobody() -> None:
    case = Case(Asked(SMS), OrganisationPolicy(ALL - {Method.SMS}), account=TWO_FACTORS)
    assert ways(case)[1] == (Remedy.NAME_NO_METHOD,)
    assert ways(case)[3] == (Remedy.NAME_OTHER_METHOD,)


def test_who_is_held_for_a_number_is_helped_by_a_number() -> None:
    case = Case(policy=OrganisationPolicy(required=frozenset({Method.ACCOUNT, Method.SMS})))
    assert isinstance(plan(case).steps[-1], Hold)
    assert ways(case)[1] == (Remedy.MAKE_ACCOUNT,)
    assert ways(case)[3] == (Remedy.NAME_METHOD,)
    assert ways(case)[5] == (Remedy.SUPPLY_NUMBER,)
    assert ways(case)[7] == (Remedy.LOWER_MINIMUM,)


def test_where_the_message_excludes_email_it_can_admit_it() -> None:
    assert ways(Case(Asked(never_email=True)))[7] == (Remedy.ADMIT_EMAIL,)


def test_where_messages_may_not_ask_for_direct_delivery_only_the_list_is_named() -> None:
    assert ways(Case(policy=OrganisationPolicy(allows_transport=False)))[4] == (Remedy.LIST_DOMAIN,)


# --- what an explanation never says ------------------------------------------------------------------------------


@given(
    number=st.from_regex(r"\+316[1-5][0-9]{7}", fullmatch=True),
    code=st.from_regex(r"[A-Z]{3}-[0-9]{5}-[a-z]{4}", fullmatch=True),
    known=st.booleans(),
)
def test_no_number_and_no_code_is_in_it(number: str, code: str, known: bool) -> None:
    sms, access = SmsCode(Secret(number)), AccessCode(Secret(code), Secret(code[::-1]))
    for case in (
        Case(Asked(sms), remembered=Remembered(sms if known else None, access)),
        Case(Asked(access, PROVEN), remembered=Remembered(sms, access if known else None)),
        Case(remembered=Remembered(sms, access, ALL if known else frozenset())),
    ):
        found = explain(GUEST, case, is_blind=False)
        said = [*(found.as_text(language) for language in LANGUAGES), json.dumps(found.to_json()), repr(found)]
        assert found.plan.verification is None
        for text in said:
            digits = re.sub(r"\D+", "", text)
            assert number not in text and number[3:] not in text and number[4:] not in digits
            assert code not in text and code[::-1] not in text
        kept = found.case.asked.verification, found.case.remembered.sms, found.case.remembered.access_code
        for one in kept:
            revealed = one.phone.reveal() if isinstance(one, SmsCode) else one.code.reveal() if one else ""
            assert revealed not in (number, code)


def test_the_facts_name_everything_that_decided() -> None:
    """Two cases that differ in what was known don't read the same, numbers and codes apart."""
    said: dict[tuple[Said, ...], object] = {}
    for case, _ in every_plan():
        known = _distinct(case)
        assert said.setdefault(facts(case), known) == known, case


def _distinct(case: Case) -> object:
    """What is different for a reader: NTA of a recipient whose sender doesn't comply is not looked at."""
    required = case.policy.required
    return (
        case.asked,
        replace(case.policy, holds=case.policy.holds if required else True),
        case.account,
        case.takes_inbound_direct_delivery,
        case.nta if case.nta.sender_complies else None,
        case.remembered,
    )


# --- how it reads ------------------------------------------------------------------------------------------------


def test_every_sentence_is_there_in_both_languages() -> None:
    for case, found in every_plan()[::97]:
        for sentence in (*facts(case), *map(step_in_words, found.steps)):
            assert sentence.en and sentence.nl
            assert "{" not in sentence.en + sentence.nl
            assert sentence.en != sentence.nl


def test_the_text_names_the_recipient_every_row_the_plan_and_what_would_be_better() -> None:
    found = explain(GUEST, Case(Asked(SMS, PROVEN), nta=NTA), is_blind=True)
    for language, blind, row in (
        ("nl", "Bcc: een eigen conversatie", "Opgegeven methode"),
        ("en", "Bcc: a conversation of its own", "Specified by the sender"),
    ):
        text = found.as_text(language)
        lines = text.splitlines()
        assert lines[0] == f"ontvanger@example.org ({blind})"
        assert row in text and "+31 6 ****5678" in text
        assert all(len(line) <= 100 for line in lines)
        assert sum(bool(re.match(r"    [1-7]  \S", line)) for line in lines) >= len(PRECEDENCE)
        assert [line for line in lines if re.match(r"    [1-9]\. ", line)][-1].endswith("+31 6 ****5678")
        assert said_in(language, Remedy.MAKE_ACCOUNT) in re.sub(r"\s+", " ", text)
        assert text.endswith("\n") and not text.endswith("\n\n")


def test_what_the_policy_takes_from_the_message_is_noted() -> None:
    found = explain(GUEST, Case(Asked(transport=PROVEN), OrganisationPolicy(allows_transport=False)), is_blind=False)
    assert found.notes == (Note.ASKED_MORE_THAN_ALLOWED,)


@pytest.mark.parametrize(
    ("case", "served"),
    [
        (Case(), True),
        (Case(Asked(never_email=True)), False),
        (Case(Asked(transport=PROVEN, never_email=True)), True),
        (Case(policy=OrganisationPolicy(required=frozenset({Method.SMS}))), False),
        (Case(Asked(CODE), OrganisationPolicy(ALL - {Method.ACCESS_CODE})), False),
    ],
)
def test_served_is_who_has_a_step_to_take(case: Case, served: bool) -> None:
    assert explain(GUEST, case, is_blind=False).is_served is served


def test_the_json_holds_the_plan_as_it_would_be_stored() -> None:
    case = Case(Asked(SMS), account=PROVED_BOTH)
    found = explain(GUEST, case, is_blind=False).to_json()
    stored = plan_to_json(plan(case), case)
    assert found["case"] == stored["case"]
    assert [step["kind"] for step in found["plan"]] == [step["kind"] for step in stored["steps"]]
    assert [row["why"] for row in found["rows"]] == [finding["why"] for finding in stored["findings"]]
    assert json.loads(json.dumps(found)) == found


# --- stored decisions --------------------------------------------------------------------------------------------


def stored(case: Case) -> dict[str, object]:
    return json.loads(json.dumps(plan_to_json(plan(case), case)))  # type: ignore[no-any-return]


def test_a_stored_decision_is_told_with_its_facts_and_said_to_be_the_same_today() -> None:
    replayed = replay(stored(Case(Asked(SMS))))
    found = explain_stored(GUEST, replayed, is_blind=False)
    assert gives_the_same_today(replayed)
    assert found.better and found.better == explain(GUEST, Case(Asked(SMS)), is_blind=False).better
    text = re.sub(r"\s+", " ", found.as_text("en"))
    assert "The message names SMS to +31 6 ****5678." in text
    assert "the table of that day (version 1) gives this same plan" in text
    assert "That table is in force today." in text


def test_a_stored_plan_that_the_table_does_not_give_is_said_to_differ() -> None:
    """Somebody wrote in the database, or the table was changed without a new number."""
    changed = stored(Case(Asked(SMS)))
    changed["steps"] = stored(Case())["steps"]
    replayed = replay(changed)
    found: Explanation = explain_stored(GUEST, replayed, is_blind=False)
    assert not gives_the_same_today(replayed)
    assert found.better == ()
    assert "gives ANOTHER plan: 3." in re.sub(r"\s+", " ", found.as_text("en"))
