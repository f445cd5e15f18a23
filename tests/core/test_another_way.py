"""What a sender may allow in the place of a method: never less than policy and message demand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import combinations, product

import pytest

from zegel.core.policy.another_way import HINDRANCES, may_ask, other_ways
from zegel.core.policy.case import Asked, Case, Nta7516Facts, OrganisationPolicy, RecipientAccount, Remembered
from zegel.core.policy.precedence import Notify, plan
from zegel.core.policy.transport import PROVEN, Authentication, Tls, TransportSecurity
from zegel.core.policy.verification import AccessCode, Method, SmsCode, at_least
from zegel.core.secret import Secret

NUMBER, CODE = SmsCode(Secret("+31612345678")), AccessCode(Secret("vier gewone woorden"))
STRICT = TransportSecurity(Tls.TLS_1_3, Authentication.DANE)
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def subsets() -> Iterator[frozenset[Method]]:
    for size in range(len(Method) + 1):
        yield from (frozenset(one) for one in combinations(Method, size))


def every_case() -> Iterator[Case]:
    minimums = (frozenset(), *(at_least(method) for method in Method))
    for named, transport, lifted, never in product((None, NUMBER, CODE), (None, PROVEN, STRICT), (0, 1), (0, 1)):
        for allowed, required in product(subsets(), minimums):
            for listed, allows in product((None, PROVEN), (True, False)):
                yield Case(
                    asked=Asked(named, transport, bool(lifted), bool(never)),
                    policy=OrganisationPolicy(allowed, allows, listed, required),
                )


def test_nothing_is_offered_that_policy_or_message_keep_out() -> None:
    for case in every_case():
        asked, policy = case.asked, case.policy
        permitted = policy.allowed & policy.required if policy.required else policy.allowed
        wanted: list[Method] = [method for method in (Method.SMS, Method.ACCESS_CODE) if method in permitted]
        if Method.EMAIL in permitted and not asked.never_email and asked.verification is None:
            wanted.append(Method.EMAIL)
        assert [step.method for step in other_ways(case)] == wanted, case


def test_a_code_by_mail_travels_at_the_level_that_the_message_demands() -> None:
    for case in every_case():
        for step in other_ways(case):
            lifted = case.asked.email_after_transport_unconditionally
            wanted = case.asked.transport if step.method is Method.EMAIL and not lifted else None
            assert step.code_mail_needs == wanted, case


def test_what_the_table_itself_would_send_is_offered_at_the_same_level() -> None:
    """For every case in which the table ends with a code by mail, that is among what may be allowed, unchanged."""
    for case in every_case():
        end = plan(case).steps[-1]
        if isinstance(end, Notify) and end.method is Method.EMAIL:
            assert end in other_ways(case), case


@pytest.mark.parametrize("method", [Method.SMS, Method.EMAIL])
def test_what_is_known_of_the_recipient_changes_nothing(method: Method) -> None:
    case = Case(policy=OrganisationPolicy(allowed=frozenset({method, Method.ACCOUNT})))
    known = Case(
        policy=case.policy,
        account=RecipientAccount(has_second_factor=True, vouched_for=True),
        takes_inbound_direct_delivery=True,
        nta=Nta7516Facts(True, True),
        remembered=Remembered(sms=NUMBER, access_code=CODE),
    )
    assert other_ways(known) == other_ways(case)
    assert [step.method for step in other_ways(case)] == [method]


def test_no_step_has_a_number() -> None:
    assert not any(step.masked for case in (Case(), Case(asked=Asked(NUMBER))) for step in other_ways(case))


def test_every_method_has_reasons() -> None:
    assert set(HINDRANCES) == set(Method) and all(HINDRANCES.values())


def test_a_sender_is_told_once_a_day() -> None:
    assert may_ask(None, NOW)
    assert not may_ask(NOW, NOW + timedelta(hours=23, minutes=59))
    assert may_ask(NOW, NOW + timedelta(hours=24))
    assert not may_ask(NOW, NOW - timedelta(days=2))  # a clock that was set back
