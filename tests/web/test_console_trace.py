"""The facts behind a decision on the page of a message, and what the table says of them when asked again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.utils.html import escape

from tests.web.conftest import signed_in
from tests.web.test_console import submitted
from zegel.accounts.models import Account
from zegel.core.policy.case import Asked, Case, OrganisationPolicy, Remembered
from zegel.core.policy.explain import facts, said_in
from zegel.core.policy.precedence import plan, plan_to_json
from zegel.core.policy.transport import PROVEN
from zegel.core.policy.verification import AccessCode, Method, SmsCode
from zegel.core.secret import Secret

CODE = "winterkoning-2026"
CASE = Case(
    Asked(SmsCode(Secret("+31612345678")), PROVEN),
    OrganisationPolicy(required=frozenset({Method.ACCOUNT, Method.SMS})),
    remembered=Remembered(access_code=AccessCode(Secret(CODE))),
)


def stored(case: Case = CASE, /, **changed: Any) -> dict[str, Any]:
    """As it comes out of the database."""
    found: dict[str, Any] = json.loads(json.dumps({**plan_to_json(plan(case), case), **changed}))
    return found


def page(administrator: Account, plan: Any, language: str = "en") -> str:
    submission = submitted(administrator, "ontvanger@example.org", plan=plan, state="decided")
    answer = signed_in(administrator, language).get(f"/console/messages/{submission.id}/")
    assert answer.status_code == 200
    return str(answer.content.decode())


@pytest.mark.parametrize(
    "changed",
    [
        {"table": 99},
        {"case": {}},
        {"case": {**stored()["case"], "policy": {**stored()["case"]["policy"], "allowed": ["?"]}}},
    ],
)
def test_facts_of_another_version_are_left_out_and_break_no_page(
    administrator: Account, changed: dict[str, Any]
) -> None:
    shown = page(administrator, stored(**changed))
    assert "What was known" not in shown
    assert "Notification; opens with: SMS code +31 6 ****5678" in shown


def test_a_decision_from_before_facts_were_stored_shows_its_rows_alone(administrator: Account) -> None:
    old = stored()
    del old["case"]
    shown = page(administrator, old)
    assert "What was known" not in shown and "Replayed" not in shown
    assert "Why this plan" in shown


@pytest.mark.parametrize("language", ["en", "nl"])
def test_every_fact_is_shown_in_the_visitor_s_language(administrator: Account, language: str) -> None:
    shown = page(administrator, stored(), language)
    for fact in facts(CASE):
        assert escape(said_in(language, fact)) in shown
    assert ("Replayed: the table of that day" if language == "en" else "Herhaald: de tabel van die dag") in shown
    assert "notice-warning" not in shown
    assert "612345678" not in shown and CODE not in shown


def test_a_plan_that_the_table_does_not_give_stands_out(administrator: Account) -> None:
    shown = page(administrator, stored(steps=stored(Case())["steps"]))
    assert "gives ANOTHER plan" in shown
    assert '<p class="notice notice-warning">Replayed' in shown
