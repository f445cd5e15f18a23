"""Numbers: every recipient counts once, as it stands."""

from __future__ import annotations

from itertools import product

import pytest

from zegel.core.policy.case import Asked, Case, OrganisationPolicy
from zegel.core.policy.numbers import FEWEST, MOST_SHOWN, Direct, Stands, Way, counted, direct, slowest, way
from zegel.core.policy.precedence import plan, plan_to_json
from zegel.core.policy.reasons import Why
from zegel.core.policy.transport import PROVEN
from zegel.core.policy.verification import Method, SmsCode
from zegel.core.secret import Secret

STATES = ("accepted", "decided", "held", "notified", "delivered", "opened", "undeliverable")
METHODS = ("", *(one.value for one in Method))


@pytest.mark.parametrize(
    ("stands", "expected"),
    [
        (Stands("accepted", ""), Way.WAITING),
        (Stands("decided", "sms"), Way.WAITING),
        (Stands("held", ""), Way.HELD),
        (Stands("delivered", ""), Way.READABLE),
        (Stands("notified", "email"), Way.EMAIL),
        (Stands("opened", "access-code"), Way.ACCESS_CODE),
        (Stands("opened", "account"), Way.ACCOUNT),
        (Stands("undeliverable", "sms"), Way.UNDELIVERABLE),
    ],
)
def test_the_way(stands: Stands, expected: Way) -> None:
    assert way(stands) is expected


@pytest.mark.parametrize(
    ("stands", "expected"),
    [
        (Stands("delivered", "", "readable"), Direct.WENT),
        (Stands("notified", "email", "readable", Why.MESSAGE_ASKS_TRANSPORT.value), Direct.TOO_WEAK),
        (Stands("notified", "sms", "notify", Why.POLICY_DEMANDS_VERIFICATION.value), Direct.CHOSEN),
        (Stands("opened", "sms", "notify", Why.METHOD_GOES_BEFORE_LIST.value), Direct.CHOSEN),
        (Stands("opened", "email", "notify", Why.NOT_ASKED_NOT_LISTED.value, is_proven=True), Direct.COULD),
        (Stands("opened", "email", "notify", Why.NOT_ASKED_NOT_LISTED.value), Direct.COULD_NOT),
        (Stands("opened", "email"), Direct.UNKNOWN),  # a plan of a version that said nothing
        (Stands("held", ""), None),
        (Stands("undeliverable", ""), None),
        (Stands("decided", "", "readable"), None),
    ],
)
def test_what_stood_between_a_recipient_and_direct_delivery(stands: Stands, expected: Direct | None) -> None:
    assert direct(stands) is expected


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (Case(), Direct.COULD),
        (Case(Asked(transport=PROVEN)), Direct.TOO_WEAK),
        (Case(Asked(transport=PROVEN), OrganisationPolicy(allows_transport=False)), Direct.CHOSEN),
        (Case(policy=OrganisationPolicy(lists_domain=PROVEN)), Direct.TOO_WEAK),
        (Case(policy=OrganisationPolicy(required=frozenset({Method.EMAIL}))), Direct.CHOSEN),
        (Case(Asked(SmsCode(Secret("+31612345678")))), Direct.CHOSEN),
        (
            Case(Asked(SmsCode(Secret("+31612345678"))), OrganisationPolicy(lists_domain=PROVEN)),
            Direct.CHOSEN,
        ),
    ],
)
def test_the_reasons_are_those_that_real_plans_have(case: Case, expected: Direct) -> None:
    """As the job reads them out of what is stored: the first step, and the fourth finding."""
    stored = plan_to_json(plan(case), case)
    assert stored["findings"][3]["rank"] == 4
    stands = Stands(
        "notified",
        "email",
        stored["steps"][0]["kind"],
        stored["findings"][3]["why"],
        is_named=stored["findings"][2]["why"] == Why.MESSAGE_NAMES_METHOD.value,
        is_demanded=bool(stored["case"]["policy"]["required"]),
        is_proven=True,
    )
    assert direct(stands) is expected


def test_every_recipient_counts_in_one_way_and_in_at_most_one_answer() -> None:
    for state, method, first, why, proven in product(
        STATES, METHODS, ("", "readable", "notify", "hold"), ("", *(one.value for one in Why)), (False, True)
    ):
        numbers = counted([(Stands(state, method, first, why, is_proven=proven), 7)])
        assert sum(numbers.get(one.value, 0) for one in Way) == 7
        served = state in ("delivered", "notified", "opened")
        assert sum(numbers.get(one.value, 0) for one in Direct) == (7 if served else 0)


def test_names_of_both_tables_don_t_meet() -> None:
    assert not {one.value for one in Way} & {one.value for one in Direct}


def test_the_slowest_come_first_and_those_that_took_nothing_before_them() -> None:
    found = slowest(
        {"snel.test": [1.0, 2.0, 3.0], "traag.test": [10.0, None, 900.0, 30.0], "dood.test": [None, None, None]},
        {"traag.test": 2, "dood.test": 3},
    )
    assert [(one.domain, one.seconds, one.delayed, one.mails) for one in found] == [
        ("dood.test", None, 3, 3),
        ("traag.test", 30.0, 2, 4),
        ("snel.test", 2.0, 0, 3),
    ]


def test_few_mails_say_nothing_and_few_domains_are_shown() -> None:
    assert slowest({"een.test": [5.0] * (FEWEST - 1)}, {}) == ()
    assert len(slowest({f"d{number}.test": [5.0] * FEWEST for number in range(50)}, {})) == MOST_SHOWN
