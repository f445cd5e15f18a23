"""Whoever asks learns nothing about who has an account (P14): status, headers, body, and what is stored.

How long it takes is measured by ``python -m tests.web.equal_times``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
from django.test import Client

from tests.journey.portal_ground import PASSWORD, Ground
from tests.web.equal_times import DOORS, Door, auc
from tests.web.whole_site import changed, rows, whole_ground
from zegel.accounts.models import Account
from zegel.accounts.sign_in import enrol_totp

pytestmark = pytest.mark.django_db

TELLS_NOTHING: Final = ("Content-Length", "Expires")  # the body is compared; the other is the moment
UNKNOWN: Final = "niemand@voorbeeld.test"
KNOWN: Final = ("organisation", "administrator", "guest", "guest without second step", "suspended", "without password")


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return whole_ground(tmp_path)


def account(ground: Ground, kind: str) -> Account:
    match kind:
        case "organisation":
            made = ground.account("bekende@voorbeeld.test")
        case "administrator":
            made = ground.account("bekende@voorbeeld.test", role="owner")
        case "suspended":
            made = ground.account("bekende@voorbeeld.test", is_active=False)
        case "without password":
            made = Account.objects.create_user("bekende@voorbeeld.test", organisation=ground.organisation)
        case _:
            made = Account.objects.create_user("bekende@voorbeeld.test", PASSWORD)
    if kind not in ("guest without second step", "without password"):
        enrol_totp(made)
    return made


def told(response: Any, address: str) -> tuple[object, ...]:
    """All that the visitor sees of it."""
    body = re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", response.content.decode()).replace(address, "THIS")
    headers = sorted((name, value) for name, value in response.headers.items() if name not in TELLS_NOTHING)
    cookies = sorted((name, str(one["max-age"]), len(one.value)) for name, one in response.cookies.items())
    return response.status_code, body, headers, cookies


@pytest.mark.parametrize("kind", KNOWN)
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_an_address_that_is_known_is_answered_like_one_that_is_not(ground: Ground, door: Door, kind: str) -> None:
    known = account(ground, kind).email
    answers, tables = [], []
    for number, address in enumerate((known, UNKNOWN)):
        before = rows()
        answers.append(told(door.ask(address, f"198.18.0.{number}"), address))
        tables.append(changed(before, rows()))
    assert answers[0] == answers[1]
    assert tables[0] == tables[1], "what is stored takes time, and shows in a dump"


@pytest.mark.parametrize("door", DOORS[1:], ids=lambda door: door.name)
def test_the_page_behind_the_address_tells_no_more(ground: Ground, door: Door) -> None:
    known = account(ground, "guest").email
    pages = []
    for number, address in enumerate((known, UNKNOWN)):
        client = Client(HTTP_HOST="localhost", HTTP_ACCEPT_LANGUAGE="en", REMOTE_ADDR=f"198.18.0.{number}")
        following = client.post(door.address, {door.named: address})["Location"]
        pages.append(told(client.get(following), address))
        pages.append(told(client.post(following, {"code": "ABCD-2345"}), address))
    assert pages[:2] == pages[2:]


def test_the_figure_tells_what_it_should() -> None:
    assert auc([2.0, 3.0], [0.0, 1.0]) == 1 and auc([0.0], [1.0]) == 0
    assert auc([1.0, 1.0], [1.0, 1.0]) == auc([0.0, 2.0], [1.0]) == 0.5
