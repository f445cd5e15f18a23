"""DMARC's policy discovery: what asks for nothing, then what is asked and where it is found (RFC 9989)."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.mail.address import Domain
from zegel.core.policy.dmarc import MOST_QUESTIONS, Answered, Policy, is_answered, policy_of, walk

NONE, QUARANTINE, REJECT = Policy.NONE, Policy.QUARANTINE, Policy.REJECT
DEEP: Final = "a.b.c.d.e.f.g.h.mail.voorbeeld.test"


def asked(domain: str, records: dict[str, list[str]]) -> tuple[Policy, list[str]]:
    """What is asked, and where the questions went."""
    answered: list[Answered] = []
    for name in walk(Domain.parse(domain)):
        answered.append(Answered(name, tuple(records.get(name, ()))))
        if is_answered(answered):
            break
    return policy_of(answered), [one.name for one in answered]


def own(*texts: str) -> Policy:
    return asked("voorbeeld.test", {"voorbeeld.test": list(texts)})[0]


# --- nothing is asked ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "v=DMARC1",
        "v=DMARC1;",
        "v=DMARC1; rua=mailto:x@voorbeeld.test",
        "v=DMARC1; p=none",
        "v=DMARC1; p=",
        "v=DMARC1; p=rejected",
        "v=DMARC1; sp=reject",
        "v=DMARC1; p=quarantine; t=y",
        "v=DMARC1; p=quarantine; t=Y",
        "v=DMARC1; p=quarantine; t=maybe",
        "v=DMARC1; p=reject; p=reject",
        "v=DMARC1; P=reject",
        "v=dmarc1; p=reject",
        "v=DMARC2; p=reject",
        "p=reject; v=DMARC1",
        "v=DMARC1 p=reject",
        "",
        "p=reject",
    ],
)
def test_a_record_that_asks_for_nothing_or_is_none_is_too_weak(text: str) -> None:
    assert own(text) is NONE


def test_without_a_record_nothing_is_asked() -> None:
    assert asked("voorbeeld.test", {})[0] is NONE


def test_several_records_ask_for_nothing_and_no_other_name_is_asked() -> None:
    records = {"sub.voorbeeld.test": ["v=DMARC1; p=reject"] * 2, "voorbeeld.test": ["v=DMARC1; p=reject"]}
    assert asked("sub.voorbeeld.test", records) == (NONE, ["sub.voorbeeld.test"])
    records = {"voorbeeld.test": ["v=DMARC1; p=reject", "v=DMARC1; p=none"], "test": ["v=DMARC1; p=reject"]}
    assert asked("sub.voorbeeld.test", records) == (NONE, ["sub.voorbeeld.test", "voorbeeld.test"])


# --- at the domain itself -----------------------------------------------------------------------------------------


def test_p_speaks_for_the_domain_itself_and_no_other_name_is_asked() -> None:
    assert own("v=DMARC1; p=reject; sp=none") is REJECT
    assert own("v=DMARC1;p=QUARANTINE;") is QUARANTINE
    assert own("v = DMARC1 ; p = quarantine ; t = n") is QUARANTINE
    assert asked("voorbeeld.test", {"voorbeeld.test": ["v=DMARC1; p=none"], "test": ["v=DMARC1; p=reject"]}) == (
        NONE,
        ["voorbeeld.test"],
    )


def test_testing_takes_back_one_step() -> None:
    assert own("v=DMARC1; p=reject; t=y") is QUARANTINE


def test_other_texts_at_the_name_don_t_count() -> None:
    assert own("v=spf1 -all", "v=DMARC1; p=reject", "v=DMARC2; p=none") is REJECT


# --- above it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "policy"),
    [
        ("v=DMARC1; p=reject", REJECT),
        ("v=DMARC1; p=reject; sp=none", NONE),
        ("v=DMARC1; p=none; sp=quarantine", QUARANTINE),
        ("v=DMARC1; sp=reject; t=y", QUARANTINE),
        ("v=DMARC1; p=reject; sp=", NONE),
        ("v=DMARC1; p=reject; sp=nonsense", NONE),
        ("v=DMARC1; p=none; np=reject", NONE),
    ],
)
def test_for_a_subdomain_sp_goes_before_p(record: str, policy: Policy) -> None:
    assert asked("sub.voorbeeld.test", {"voorbeeld.test": [record]})[0] is policy


def test_the_record_with_the_fewest_labels_is_the_organisation_s() -> None:
    records = {"b.voorbeeld.test": ["v=DMARC1; p=none"], "voorbeeld.test": ["v=DMARC1; p=reject"]}
    assert asked("a.b.voorbeeld.test", records)[0] is REJECT


def test_psd_n_ends_the_walk_at_the_organisation() -> None:
    records = {"b.voorbeeld.test": ["v=DMARC1; p=reject; psd=n"], "voorbeeld.test": ["v=DMARC1; p=none"]}
    assert asked("a.b.voorbeeld.test", records) == (REJECT, ["a.b.voorbeeld.test", "b.voorbeeld.test"])


def test_psd_y_makes_the_domain_below_it_the_organisation_s() -> None:
    above = {"test": ["v=DMARC1; p=reject; psd=y"], "b.voorbeeld.test": ["v=DMARC1; p=reject"]}
    assert asked("a.b.voorbeeld.test", {**above, "voorbeeld.test": ["v=DMARC1; p=none"]})[0] is NONE
    assert asked("a.b.voorbeeld.test", {**above, "test": ["v=DMARC1; sp=quarantine; psd=y"]})[0] is QUARANTINE


# --- how many questions -------------------------------------------------------------------------------------------


def test_a_domain_of_many_labels_costs_eight_questions() -> None:
    assert walk(Domain.parse(DEEP)) == (
        DEEP,
        "e.f.g.h.mail.voorbeeld.test",
        "f.g.h.mail.voorbeeld.test",
        "g.h.mail.voorbeeld.test",
        "h.mail.voorbeeld.test",
        "mail.voorbeeld.test",
        "voorbeeld.test",
        "test",
    )


@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=60))
def test_never_more_than_eight_questions_each_for_another_name(labels: list[str]) -> None:
    names = walk(Domain.parse(".".join(labels)))
    assert len(names) == min(len(labels), MOST_QUESTIONS) == len(set(names))


@given(st.lists(st.lists(st.text(), max_size=3), min_size=2, max_size=2))
def test_whatever_stands_there_is_read_without_an_error(texts: list[list[str]]) -> None:
    asked("voorbeeld.test", dict(zip(["voorbeeld.test", "test"], texts, strict=True)))
