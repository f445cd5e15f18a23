"""The table: its whole input space, then the sentences of the seed as examples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import chain, combinations, product
from pathlib import Path

import pytest

from zegel.core.policy.case import (
    Asked,
    Case,
    Nta7516Facts,
    OrganisationPolicy,
    RecipientAccount,
    Remembered,
    case_to_json,
)
from zegel.core.policy.precedence import (
    NTA_7516_LEVEL,
    PRECEDENCE,
    TABLE_VERSION,
    Hold,
    Notify,
    Plan,
    Readable,
    Undeliverable,
    UnknownPlan,
    as_markdown,
    plan,
    plan_from_json,
    plan_to_json,
    replay,
    without_secrets,
)
from zegel.core.policy.reasons import Why
from zegel.core.policy.transport import PROVEN, Authentication, Tls, TransportSecurity
from zegel.core.policy.verification import AccessCode, AccountSignIn, EmailCode, Method, SmsCode
from zegel.core.secret import Secret

DOCS = Path(__file__).parents[2] / "docs"

ALL = frozenset(Method)
SMS = SmsCode(Secret("+31612345678"))
CODE = AccessCode(Secret("135789"))
OTHER_SMS = SmsCode(Secret("+31687654321"))
OTHER_CODE = AccessCode(Secret("246789"))
BEST = TransportSecurity(Tls.TLS_1_3, Authentication.DANE)
WEAK = TransportSecurity(Tls.ENCRYPTED, Authentication.NONE)
NTA = Nta7516Facts(sender_complies=True, recipient_complies=True)
TWO_FACTORS = RecipientAccount(has_second_factor=True)
PROVED_BOTH = RecipientAccount(True, frozenset({Method.SMS, Method.ACCESS_CODE}))

POLICIES = (
    (ALL, frozenset[Method](), True),
    (ALL - {Method.EMAIL}, frozenset[Method](), True),
    (ALL - {Method.EMAIL}, frozenset[Method](), False),
    (ALL - {Method.SMS, Method.ACCOUNT}, frozenset[Method](), True),
    (ALL, frozenset({Method.SMS}), True),
    (ALL, frozenset({Method.SMS}), False),
    (ALL, frozenset({Method.ACCESS_CODE, Method.EMAIL}), True),
    (frozenset({Method.ACCESS_CODE}), frozenset({Method.SMS}), True),
)


def every_case() -> Iterator[Case]:
    """All that the decision may meet: each enumeration and each boolean, combined completely."""
    asked = [
        Asked(verification, transport, anyway, never)
        for verification, transport, (anyway, never) in product(
            (None, SMS, CODE), (None, PROVEN, BEST), ((False, False), (True, False), (False, True))
        )
    ]
    policies = [
        OrganisationPolicy(allowed, transport, listed, required, holds)
        for (allowed, required, holds), transport, listed in product(POLICIES, (True, False), (None, BEST))
    ]
    remembered = [Remembered(sms, code) for sms, code in product((None, OTHER_SMS), (None, OTHER_CODE))]
    remembered.append(Remembered(OTHER_SMS, OTHER_CODE, frozenset({Method.SMS, Method.ACCESS_CODE})))
    accounts = (None, RecipientAccount(False), TWO_FACTORS, PROVED_BOTH)
    for parts in product(asked, policies, accounts, (False, True), (Nta7516Facts(), NTA), remembered):
        yield Case(*parts)


@cache
def every_plan() -> tuple[tuple[Case, Plan], ...]:
    return tuple((case, plan(case)) for case in every_case())


def ranks(found: Plan) -> tuple[int, ...]:
    return tuple(step.rank for step in found.steps if isinstance(step, Readable | Notify))


def permitted(case: Case, method: Method) -> bool:
    demanded = case.policy.required or ALL
    return method in case.policy.allowed and method in demanded


# --- the whole space ---------------------------------------------------------------------------------------------


def test_the_space_is_large_and_reaches_every_kind_of_end() -> None:
    ends = {type(found.steps[-1]) for _, found in every_plan()}
    assert len(every_plan()) > 50_000
    assert ends == {Notify, Hold, Undeliverable}
    assert {rank for _, found in every_plan() for rank in ranks(found)} == {1, 2, 3, 4, 5, 6, 7}


def test_only_readable_steps_are_followed_by_another() -> None:
    for case, found in every_plan():
        assert found.steps, case
        assert all(isinstance(step, Readable) for step in found.steps[:-1]), case
        assert not isinstance(found.steps[-1], Readable), case


def test_no_readable_step_is_below_what_was_asked_or_below_the_default() -> None:
    for case, found in every_plan():
        for step in found.steps:
            if isinstance(step, Readable):
                assert step.needs.meets(case.asked.transport or PROVEN), case
                assert step.needs.meets(PROVEN), case


def test_after_a_specified_method_nothing_follows_and_nothing_else_notifies_but_an_account() -> None:
    for case, found in every_plan():
        if case.asked.verification is not None:
            assert not {5, 6, 7} & set(ranks(found)), case
            assert not isinstance(found.steps[-1], Hold), case
            if isinstance(found.steps[-1], Notify) and found.steps[-1].rank == 3:
                assert found.verification is case.asked.verification, case


def test_no_account_replaces_a_method_that_was_never_passed() -> None:
    for case, found in every_plan():
        if isinstance(found.steps[-1], Notify) and found.steps[-1].method is Method.ACCOUNT:
            assert case.account is not None, case
            assert case.account.has_second_factor, case
            known = case.asked.verification or case.remembered.sms or case.remembered.access_code
            usable = case.asked.verification is not None or any(
                permitted(case, method)
                for method, value in (
                    (Method.SMS, case.remembered.sms),
                    (Method.ACCESS_CODE, case.remembered.access_code),
                )
                if value
            )
            assert not (known and usable) or case.account is PROVED_BOTH, case


def test_email_excluded_by_the_message_is_excluded() -> None:
    for case, found in every_plan():
        if case.asked.never_email:
            assert 7 not in ranks(found), case


def test_no_notification_uses_a_method_that_the_policy_excludes() -> None:
    for case, found in every_plan():
        last = found.steps[-1]
        if isinstance(last, Notify):
            assert permitted(case, last.method), case


def test_a_demanded_method_leaves_nothing_readable() -> None:
    for case, found in every_plan():
        if case.policy.required:
            assert not any(isinstance(step, Readable) for step in found.steps), case


def test_the_code_of_row_7_travels_at_the_level_the_message_asked() -> None:
    for case, found in every_plan():
        last = found.steps[-1]
        if isinstance(last, Notify) and last.code_mail_needs is not None:
            assert last.rank == 7, case
        if isinstance(last, Notify) and last.rank == 7:
            bound = case.asked.transport is not None and not case.asked.email_after_transport_unconditionally
            assert last.code_mail_needs == (case.asked.transport if bound else None), case


def test_row_7_is_taken_only_where_nothing_safer_was_known() -> None:
    for case, found in every_plan():
        if isinstance(found.steps[-1], Notify) and found.steps[-1].rank == 7:
            assert not (case.remembered.sms and permitted(case, Method.SMS)), case
            assert not (case.remembered.access_code and permitted(case, Method.ACCESS_CODE)), case
            assert case.asked.verification is None, case


def test_transport_and_inbound_direct_delivery_wait_for_a_reason() -> None:
    for case, found in every_plan():
        named = case.asked.verification is not None
        for step in found.steps:
            if isinstance(step, Readable) and step.rank == 1:
                assert case.takes_inbound_direct_delivery, case
                assert not named, case
            if isinstance(step, Readable) and step.rank == 4:
                asked = case.asked.transport is not None
                assert case.policy.allows_transport if asked else case.policy.lists_domain is not None, case
                assert asked or not named, case
            if isinstance(step, Readable):
                assert step.over_nta is (step.rank == 2), case


def test_held_is_only_who_lacks_what_the_policy_demands() -> None:
    for case, found in every_plan():
        last = found.steps[-1]
        if isinstance(last, Hold):
            assert case.policy.holds, case
            assert len(found.steps) == 1, case
            assert last.required == {method for method in Method if permitted(case, method)}, case
            assert last.required, case
            assert Method.EMAIL not in last.required, case


def test_a_plan_ends_undeliverable_only_for_a_reason_that_holds() -> None:
    for case, found in every_plan():
        last = found.steps[-1]
        if not isinstance(last, Undeliverable):
            continue
        match last.why:
            case Why.POLICY_CONTRADICTS_MESSAGE:
                assert case.asked.verification is not None
                assert not permitted(case, Method.SMS if case.asked.verification is SMS else Method.ACCESS_CODE)
            case Why.MESSAGE_EXCLUDES_EMAIL:
                assert case.asked.never_email
                assert permitted(case, Method.EMAIL)
            case Why.LACKS_WHAT_POLICY_DEMANDS:
                assert not permitted(case, Method.EMAIL)
                assert len(found.steps) > 1 or not case.policy.holds
            case Why.NO_METHOD_ALLOWED:
                assert not any(permitted(case, method) for method in Method)
            case other:
                pytest.fail(f"an end for {other}: {case}")


def test_the_order_is_that_of_the_table_but_for_both_fields_together() -> None:
    for case, found in every_plan():
        both = case.asked.verification is not None and case.asked.transport is not None
        order = (1, 2, 4, 3) if both else (1, 2, 3, 4, 5, 6, 7)
        places = [order.index(rank) for rank in ranks(found)]
        assert places == sorted(places), case


def test_every_row_says_something_about_every_case() -> None:
    for case, found in every_plan():
        assert [finding.rank for finding in found.findings] == [1, 2, 3, 4, 5, 6, 7], case
        hits = {finding.rank for finding in found.findings if finding.hit}
        contradicted = isinstance(found.steps[-1], Undeliverable) and (
            found.steps[-1].why is Why.POLICY_CONTRADICTS_MESSAGE
        )
        assert hits == set(ranks(found)) | ({3} if contradicted else set()), case


def test_the_verification_belongs_to_the_notification() -> None:
    kinds = {
        Method.ACCOUNT: AccountSignIn,
        Method.SMS: SmsCode,
        Method.ACCESS_CODE: AccessCode,
        Method.EMAIL: EmailCode,
    }
    for case, found in every_plan():
        last = found.steps[-1]
        if isinstance(last, Notify):
            assert isinstance(found.verification, kinds[last.method]), case
            assert (last.masked is not None) is (last.method is Method.SMS), case
        else:
            assert found.verification is None, case


def test_every_combination_of_allowed_and_demanded_methods_ends_well() -> None:
    subsets = [frozenset(chosen) for chosen in chain.from_iterable(combinations(Method, size) for size in range(5))]
    for allowed, required, holds, asked in product(
        subsets, subsets, (True, False), (Asked(), Asked(SMS), Asked(transport=PROVEN), Asked(never_email=True))
    ):
        case = Case(asked, OrganisationPolicy(allowed, required=required, holds=holds))
        last = plan(case).steps[-1]
        if isinstance(last, Notify):
            assert permitted(case, last.method), case
        if isinstance(last, Hold):
            assert last.required <= allowed, case


# --- sentences of the specification ------------------------------------------------------------------------------


def test_nothing_known_means_email_verification() -> None:
    assert plan(Case()).steps == (Notify(7, Method.EMAIL),)


def test_an_account_goes_before_everything() -> None:
    case = Case(Asked(transport=BEST), account=TWO_FACTORS, nta=NTA)
    assert plan(case).steps == (Notify(1, Method.ACCOUNT),)


def test_an_account_without_second_factor_does_not_count() -> None:
    found = plan(Case(account=RecipientAccount(has_second_factor=False)))
    assert found.steps == (Notify(7, Method.EMAIL),)
    assert found.findings[0].why is Why.NO_SECOND_FACTOR


@pytest.mark.parametrize(
    ("account", "rank"),
    [
        (TWO_FACTORS, 3),
        (RecipientAccount(True, frozenset({Method.ACCESS_CODE})), 3),
        (RecipientAccount(True, frozenset({Method.SMS})), 1),
        (RecipientAccount(True, vouched_for=True), 1),
    ],
)
def test_an_account_replaces_a_specified_method_once_that_was_passed(account: RecipientAccount, rank: int) -> None:
    assert ranks(plan(Case(Asked(SMS), account=account))) == (rank,)


def test_an_account_replaces_a_remembered_method_once_that_was_passed() -> None:
    for remembered, method in ((Remembered(SMS), Method.SMS), (Remembered(access_code=CODE), Method.ACCESS_CODE)):
        fresh = plan(Case(account=TWO_FACTORS, remembered=remembered))
        proved = plan(Case(account=RecipientAccount(True, frozenset({method})), remembered=remembered))
        assert fresh.findings[0].why is Why.METHOD_NOT_PASSED_YET
        assert ranks(fresh) == ((5,) if method is Method.SMS else (6,))
        assert ranks(proved) == (1,)


def test_an_account_is_measured_by_the_method_that_would_be_used_without_it() -> None:
    proved_code = RecipientAccount(True, frozenset({Method.ACCESS_CODE}))
    both = Remembered(OTHER_SMS, OTHER_CODE)
    without_sms = OrganisationPolicy(allowed=ALL - {Method.SMS})
    assert ranks(plan(Case(account=proved_code, remembered=both))) == (5,)
    assert ranks(plan(Case(policy=without_sms, account=proved_code, remembered=both))) == (1,)


def test_inbound_direct_delivery_needs_no_account_and_falls_back_to_a_notification() -> None:
    assert plan(Case(takes_inbound_direct_delivery=True)).steps == (Readable(1, PROVEN), Notify(7, Method.EMAIL))
    with_account = Case(takes_inbound_direct_delivery=True, account=TWO_FACTORS)
    assert plan(with_account).steps == (Readable(1, PROVEN), Notify(1, Method.ACCOUNT))


def test_inbound_direct_delivery_is_strengthened_by_what_the_message_asks() -> None:
    found = plan(Case(Asked(transport=BEST), takes_inbound_direct_delivery=True))
    assert found.steps == (Readable(1, BEST), Notify(7, Method.EMAIL, code_mail_needs=BEST))
    assert found.findings[3].why is Why.SAME_ROAD_TRIED_BEFORE


def test_a_named_method_goes_before_inbound_direct_delivery() -> None:
    found = plan(Case(Asked(SMS), takes_inbound_direct_delivery=True))
    assert ranks(found) == (3,)
    assert found.findings[0].why is Why.METHOD_GOES_BEFORE_INBOUND


def test_nta_7516_goes_before_the_transport_field_and_falls_back_to_it() -> None:
    found = plan(Case(Asked(transport=PROVEN), nta=NTA))
    assert found.steps == (
        Readable(2, NTA_7516_LEVEL, over_nta=True),
        Readable(4, PROVEN),
        Notify(7, Method.EMAIL, code_mail_needs=PROVEN),
    )


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (Nta7516Facts(sender_complies=True), Why.RECIPIENT_DOES_NOT_COMPLY),
        (Nta7516Facts(recipient_complies=True), Why.SENDER_DOES_NOT_COMPLY),
        (Nta7516Facts(), Why.SENDER_DOES_NOT_COMPLY),
    ],
)
def test_nta_7516_needs_both_sides(facts: Nta7516Facts, why: Why) -> None:
    found = plan(Case(nta=facts))
    assert ranks(found) == (7,)
    assert found.findings[1].why is why


def test_nta_7516_never_falls_short_of_the_message() -> None:
    assert plan(Case(Asked(transport=BEST), nta=NTA)).steps[0] == Readable(2, BEST, over_nta=True)


def test_with_both_fields_transport_goes_first_and_the_named_method_follows() -> None:
    found = plan(Case(Asked(SMS, PROVEN)))
    assert found.steps == (Readable(4, PROVEN), Notify(3, Method.SMS, "+31 6 ****5678"))
    assert found.verification is SMS


def test_with_a_named_method_alone_the_list_never_applies() -> None:
    found = plan(Case(Asked(CODE), OrganisationPolicy(lists_domain=PROVEN)))
    assert found.steps == (Notify(3, Method.ACCESS_CODE),)
    assert found.findings[3].why is Why.METHOD_GOES_BEFORE_LIST


def test_the_list_applies_where_the_message_names_nothing() -> None:
    found = plan(Case(policy=OrganisationPolicy(lists_domain=BEST)))
    assert found.steps == (Readable(4, BEST), Notify(7, Method.EMAIL))


def test_the_level_of_the_message_goes_before_that_of_the_list() -> None:
    found = plan(Case(Asked(transport=PROVEN), OrganisationPolicy(lists_domain=BEST)))
    assert found.steps[0] == Readable(4, PROVEN)


def test_a_list_entry_below_the_default_is_raised_to_it() -> None:
    assert plan(Case(policy=OrganisationPolicy(lists_domain=WEAK))).steps[0] == Readable(4, PROVEN)


def test_where_policy_forbids_transport_its_demand_on_the_code_stays() -> None:
    found = plan(Case(Asked(transport=PROVEN), OrganisationPolicy(allows_transport=False, lists_domain=PROVEN)))
    assert found.steps == (Notify(7, Method.EMAIL, code_mail_needs=PROVEN),)


def test_transport_falls_back_to_what_is_remembered() -> None:
    remembered = Remembered(OTHER_SMS, OTHER_CODE)
    found = plan(Case(Asked(transport=PROVEN), remembered=remembered))
    assert found.steps == (Readable(4, PROVEN), Notify(5, Method.SMS, "+31 6 ****4321"))
    assert found.verification is OTHER_SMS


def test_a_remembered_access_code_comes_after_sms_and_before_email() -> None:
    case = Case(remembered=Remembered(access_code=OTHER_CODE))
    assert plan(case).steps == (Notify(6, Method.ACCESS_CODE),)


def test_the_message_may_lift_the_check_on_the_code() -> None:
    asked = Asked(transport=BEST, email_after_transport_unconditionally=True)
    assert plan(Case(asked)).steps == (Readable(4, BEST), Notify(7, Method.EMAIL))


def test_the_message_may_exclude_email_with_and_without_transport() -> None:
    end = Undeliverable("5.7.1", Why.MESSAGE_EXCLUDES_EMAIL)
    assert plan(Case(Asked(never_email=True))).steps == (end,)
    assert plan(Case(Asked(transport=PROVEN, never_email=True))).steps == (Readable(4, PROVEN), end)


def test_a_method_that_policy_contradicts_is_neither_weakened_nor_replaced() -> None:
    policy = OrganisationPolicy(allowed=ALL - {Method.SMS})
    end = Undeliverable("5.7.1", Why.POLICY_CONTRADICTS_MESSAGE)
    assert plan(Case(Asked(SMS), policy, remembered=Remembered(access_code=CODE))).steps == (end,)
    assert plan(Case(Asked(SMS, PROVEN), policy)).steps == (Readable(4, PROVEN), end)
    assert plan(Case(Asked(CODE), OrganisationPolicy(required=frozenset({Method.SMS})))).steps == (end,)


def test_who_lacks_a_demanded_number_is_held() -> None:
    policy = OrganisationPolicy(required=frozenset({Method.SMS}))
    assert plan(Case(policy=policy)).steps == (Hold(frozenset({Method.SMS})),)
    assert plan(Case(Asked(SMS), policy)).steps == (Notify(3, Method.SMS, "+31 6 ****5678"),)
    assert ranks(plan(Case(policy=policy, remembered=Remembered(SMS)))) == (5,)


def test_who_lacks_a_demanded_number_is_bounced_where_nothing_is_held() -> None:
    policy = OrganisationPolicy(required=frozenset({Method.SMS}), holds=False)
    assert plan(Case(policy=policy)).steps == (Undeliverable("5.7.1", Why.LACKS_WHAT_POLICY_DEMANDS),)


def test_a_policy_without_email_is_a_demand_for_something_else() -> None:
    policy = OrganisationPolicy(allowed=ALL - {Method.EMAIL})
    assert plan(Case(policy=policy)).steps == (Hold(ALL - {Method.EMAIL}),)


def test_a_plan_exhausted_by_transport_bounces_instead_of_waiting() -> None:
    policy = OrganisationPolicy(allowed=ALL - {Method.EMAIL})
    end = Undeliverable("5.7.1", Why.LACKS_WHAT_POLICY_DEMANDS)
    assert plan(Case(Asked(transport=PROVEN), policy)).steps == (Readable(4, PROVEN), end)


def test_a_policy_that_contradicts_itself_holds_nobody() -> None:
    policy = OrganisationPolicy(allowed=frozenset({Method.EMAIL}), required=frozenset({Method.SMS}))
    assert plan(Case(policy=policy)).steps == (Undeliverable("5.7.1", Why.NO_METHOD_ALLOWED),)


def test_a_row_that_would_apply_says_that_it_was_not_reached() -> None:
    found = plan(Case(account=TWO_FACTORS))
    assert (found.findings[6].hit, found.findings[6].why) == (False, Why.NOT_REACHED)


# --- the stored form ---------------------------------------------------------------------------------------------


def test_every_stored_plan_comes_back_equal_but_for_its_secrets() -> None:
    for case, found in every_plan():
        assert plan_from_json(json.loads(json.dumps(plan_to_json(found, case)))) == without_secrets(found), case


def test_every_stored_decision_can_be_made_again_from_what_was_stored() -> None:
    for case, found in every_plan():
        replayed = replay(json.loads(json.dumps(plan_to_json(found, case))))
        assert replayed.is_same, case
        assert replayed.stored == without_secrets(found)
        assert case_to_json(replayed.case) == case_to_json(case)


def test_the_table_decides_every_case_as_on_the_day_when_it_got_its_number() -> None:
    """Whoever changes what follows from a case gives the table a new number, and keeps the old one for replays."""
    digest = hashlib.sha256()
    for _, found in every_plan():
        stored = plan_to_json(found, Case())
        digest.update(json.dumps([stored["steps"], stored["findings"]], sort_keys=True).encode())
    assert (TABLE_VERSION, digest.hexdigest()[:16]) == (1, "aa7eb71ef0423ec2")


def test_a_replay_tells_where_the_table_says_something_else_than_was_stored() -> None:
    case = Case()
    stored = plan_to_json(replace(plan(case), steps=(Notify(1, Method.ACCOUNT),)), case)
    assert not replay(stored).is_same


@pytest.mark.parametrize("change", [{"table": 0}, {"table": 99}, {"table": "1"}, {"form": 2}])
def test_a_decision_of_an_unknown_table_is_not_made_again(change: dict[str, object]) -> None:
    with pytest.raises(UnknownPlan):
        replay({**plan_to_json(plan(Case()), Case()), **change})


def test_a_decision_without_its_facts_is_not_made_again() -> None:
    stored = plan_to_json(plan(Case()), Case())
    del stored["case"]
    with pytest.raises(UnknownPlan):
        replay(stored)


def test_no_stored_plan_holds_a_number_or_a_code() -> None:
    shown = False
    for case, found in every_plan():
        stored = json.dumps(plan_to_json(found, case))
        for secret in (SMS.phone, OTHER_SMS.phone, CODE.code, OTHER_CODE.code):
            assert secret.reveal() not in stored
            assert secret.reveal()[3:] not in stored
        shown = shown or "+31 6 ****5678" in stored
    assert shown


def test_a_stored_plan_names_the_table_it_came_from() -> None:
    assert plan_to_json(plan(Case()), Case())["table"] == TABLE_VERSION


def test_a_stored_plan_of_another_form_is_not_read() -> None:
    stored = plan_to_json(plan(Case()), Case())
    with pytest.raises(UnknownPlan):
        plan_from_json({**stored, "form": 2})
    with pytest.raises(UnknownPlan):
        plan_from_json({**stored, "steps": [{"kind": "wish"}]})


# --- the page ----------------------------------------------------------------------------------------------------


def test_the_documented_table_is_the_table_in_force() -> None:
    assert (DOCS / "precedence.md").read_text(encoding="utf-8") == as_markdown(PRECEDENCE)


def test_the_table_has_the_seven_ranks_in_order() -> None:
    assert [row.rank for row in PRECEDENCE] == [1, 2, 3, 4, 5, 6, 7]


def test_every_reason_is_used_and_told_in_two_languages() -> None:
    used = {finding.why for _, found in every_plan() for finding in found.findings}
    used |= {step.why for _, found in every_plan() for step in found.steps if isinstance(step, Undeliverable)}
    used |= {finding.why for finding in plan(Case(nta=Nta7516Facts(sender_complies=True))).findings}
    assert used == set(Why)
    assert all(why.en != why.nl for why in Why)
