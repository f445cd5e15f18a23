"""Every route of the console, whatever the role: allowed as the table of roles says, and nothing of others (P20)."""

from __future__ import annotations

import itertools
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import pytest
from django.test import Client

from tests.journey.portal_ground import Clock, Ground, signed_in
from tests.web.test_safe_by_default import told
from tests.web.whole_site import House, Route, Takes, house, nothing, routes, rows, settled
from zegel.console.page import TABS
from zegel.core.policy.roles import Capability, Role, may
from zegel.edge.keyring import opening_keys
from zegel.web.settings import ZEGEL

pytestmark = pytest.mark.django_db

_TABLE: Final[dict[Capability, str]] = {
    Capability.TRACE: "search message message_export recipient recipient_export",
    Capability.NUMBERS: "numbers",
    Capability.POLICY: """
        recipients direct_delivery direct_delivery_domain direct_delivery_remove minimums minimum minimum_remove
        lists list list_add_url list_add_file list_refresh list_read list_remove look
    """,
    Capability.VERIFICATION: """
        verification verification_search verification_add verification_correct verification_remove verification_import
        verification_imported verification_import_confirm verification_import_cancel verification_import_rows
    """,
    Capability.SUBMISSION: """
        credentials credential credential_rotate credential_end_previous disable_credential submission submission_proof
        submission_limits
    """,
    Capability.DOMAINS: """
        domains domain domain_add domain_check domain_rotate domain_withdraw domain_end_previous domain_remove
    """,
    Capability.PROGRAMS: "",
    Capability.ACCOUNTS: """
        accounts accounts_search account_invite account_mailbox account account_role account_invite_again
        account_invitation_withdraw
        account_suspend account_resume account_reset account_successor account_readers account_reader_remove
        privacy privacy_export privacy_erase alarms
    """,
    Capability.PROGRAMS: """
        account_tokens_end programs program_disable webhooks webhook webhook_test webhook_renew webhook_end_previous
        webhook_remove
    """,
    Capability.AUDIT: "audit audit_export",
    Capability.ORGANISATION: """
        audit_term trace_term sign_in sign_in_begin sign_in_add sign_in_provider sign_in_test sign_in_forget
        sign_in_remove
    """,
}
FOR_ANY: Final = {"console:overview"}  # leads to the first page that one may see
PARTS: Final = sorted({part for one in routes() if one.name.startswith("console:") for part in one.parts})
NEEDS: Final = {f"console:{name}": one for one, names in _TABLE.items() for name in names.split()}


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    ground = Ground(tmp_path, opening_keys(ZEGEL.keys), Clock())
    ground.configure()
    return ground


@pytest.fixture
def here(ground: Ground) -> House:
    return house(ground, "Gemeente Voorbeeld", "gemeente.test")


def console() -> list[Route]:
    """Those of the table."""
    return [one for one in routes() if one.name in NEEDS.keys() | FOR_ANY]


def visitor(ground: Ground, here: House, role: Role) -> Client:
    """Somebody of the organisation with that role."""
    ground.organisation = here.organisation
    return settled(signed_in(ground.account(f"{role.value}@gemeente.test", role=role.value)))


def is_allowed(role: Role, route: Route) -> bool:
    if route.name in FOR_ANY:
        return any(may(role, one) for one in Capability)
    return may(role, NEEDS[route.name])


def ask(client: Client, method: str, address: str) -> Any:
    return client.generic(method, address, b"", "application/x-www-form-urlencoded")


def test_every_route_says_what_it_needs() -> None:
    assert {one.name for one in routes() if one.name.startswith("console:")} == NEEDS.keys() | FOR_ANY


def test_a_tab_needs_what_its_page_needs() -> None:
    for tab in TABS:
        if tab.address not in FOR_ANY:
            assert NEEDS[tab.address] is tab.needs, tab.page


@pytest.mark.parametrize("role", Role)
def test_what_a_role_has_not_is_refused_whatever_is_asked(ground: Ground, here: House, role: Role) -> None:
    client = visitor(ground, here, role)
    before = rows()
    for route in console():
        for method in ("GET", "POST"):
            if method in route.takes.value and not is_allowed(role, route):
                assert ask(client, method, here.address(route)).status_code == HTTPStatus.FORBIDDEN, (
                    route.name,
                    method,
                )
    assert rows() == before


@pytest.mark.parametrize("role", Role)
def test_what_a_role_has_is_shown(ground: Ground, here: House, role: Role) -> None:
    client = visitor(ground, here, role)
    for route in console():
        if route.takes is not Takes.ACTS and is_allowed(role, route):
            status = ask(client, "GET", here.address(route)).status_code
            assert status in (HTTPStatus.OK, HTTPStatus.FOUND, HTTPStatus.SEE_OTHER), (route.name, status)
    shown = client.get("/console/", follow=True)
    if any(may(role, one) for one in Capability):
        assert [tab.page for tab in shown.context["tabs"]] == [tab.page for tab in TABS if may(role, tab.needs)]
    else:
        assert shown.status_code == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("role", [Role.ADMINISTRATOR, Role.POLICY, Role.SUPPORT])
def test_others_things_are_as_if_they_were_not_there(ground: Ground, here: House, role: Role) -> None:
    there = house(ground, "Ander ziekenhuis", "ander.test")
    client = visitor(ground, here, role)
    unknown, before = nothing(here), rows()
    for route, part, method in itertools.product(console(), ("", *PARTS), ("GET", "POST")):
        chosen = [one for one in route.parts if part in ("", one)]
        if not chosen or method not in route.takes.value or not is_allowed(role, route):
            continue
        others = {one: there.thing(route, one) for one in chosen}
        none = {one: unknown.thing(route, one) for one in chosen}
        found = told(client, method, here.address(route, **others), others)
        absent = told(client, method, here.address(route, **none), none)
        assert found == absent, (route.name, method)
        assert found[0] == HTTPStatus.NOT_FOUND, (route.name, method)
    assert rows() == before
