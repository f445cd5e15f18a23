"""SPF: all of the openspf suite for RFC 7208, by way of our own resolver's port."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from tests.spec import openspf
from tests.spec.openspf import Case
from zegel.core.mail.address import Domain
from zegel.core.policy.submitting import Spf
from zegel.edge.spf import check_host

CASES: Final = list(openspf.cases(openspf.needs_archive()))

LEFT_OPEN: Final = {
    "multispf1": Spf.PERMERROR,
    "invalid-domain-empty-label": Spf.PERMERROR,
    "invalid-domain-long": Spf.PERMERROR,
    "invalid-domain-long-via-macro": Spf.FAIL,
    "p-macro-multiple": Spf.PASS,
    "ptr-limit": Spf.NEUTRAL,
}


def judged(case: Case) -> Spf:
    """As the listener calls it: without a reverse-path, the name of HELO and its postmaster (RFC 7208 §2.4)."""
    sender = case.mailfrom or f"postmaster@{case.helo}"
    domain = Domain(sender.rpartition("@")[2].lower())  # not parsed: that would refuse what some cases are about
    return asyncio.run(check_host(address=case.host, domain=domain, sender=sender, helo=case.helo, dns=case.zone))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_of_the_suite(case: Case) -> None:
    """The texts that the suite expects of ``exp=`` are not looked at: we fetch none."""
    assert judged(case) in case.results, f"RFC 7208 {case.spec}"


def test_the_suite_is_there_as_a_whole() -> None:
    assert len(CASES) == 203
    assert len({case.name for case in CASES}) == 203
    assert {result for case in CASES for result in case.results} == set(Spf)


def test_where_the_suite_allows_two_results_ours_is_known() -> None:
    """- ``multispf1``: two records that are equal; a resolver may make one of them. Ours is handed both.
    - ``invalid-domain-*``: a name that the grammar allows and the DNS can't hold. RFC 7208 §4.8 leaves open whether
      it is an error or matches nothing; it is an error where it can be seen in the record itself.
    - ``p-macro-multiple``: several names of the client's address are valid; one below the domain is to be preferred,
      and is.
    - ``ptr-limit``: which ten of eleven names are looked at depends on their order. Ours is that of the answer.
    """
    assert {case.name: judged(case) for case in CASES if len(case.results) > 1} == LEFT_OPEN
