"""A scanner opens everything that a stranger can reach, presses every button and sends every form, in a real browser.

Mail servers and "safe link" services do so before anybody reads. What it may leave behind stands in :data:`MAY_CHANGE`.
The guest's own pages have a scanner of their own; here are the others: front door, signing in, accounts, console.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Error, Page

from tests.needs import needs
from tests.peers.chromium import Chromium, browser
from tests.web.whole_site import House, changed, house, routes, rows, whole_ground
from zegel.accounts.models import Account
from zegel.journey.custody.models import Job, Sms, Transmission

pytestmark = pytest.mark.django_db(transaction=True)

MAY_CHANGE: Final = {
    "django_session": "the challenge for a passkey, which the page asks for when its button is pressed",
    "accounts_signinfailure": "a wrong address and password, counted",
    "accounts_mailboxproof": "an address that was typed into the form that asks for one; nobody is looked up yet",
    "custody_job": "the same: who answers the mailbox is woken",
}
TYPED: Final = {"email": "niemand@elders.test", "password": "not the password", "text": "x", "tel": "0612345678"}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    needs("chromium")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # Playwright runs a loop in this thread
    with browser() as running:
        yield running
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def here(tmp_path: Path) -> House:
    return house(whole_ground(tmp_path), "Gemeente Voorbeeld", "gemeente.test")


def starts(site: str, here: House, *, typed: bool) -> list[str]:
    """Every address that can be opened, whatever it leads a stranger to. Who fills in a password behind an invitation
    uses it, be it a reader or a scanner; so that is only looked at, and sent as it is."""
    found = [one for one in routes() if "GET" in one.takes.value and "no form" not in one.takes.value]
    left_alone = ("portal:link", "portal:invited-link") if typed else ("portal:link",)
    return [site + here.address(one) for one in found if not one.name.startswith(left_alone)]


def scan(page: Page, site: str, begin: list[str], *, typed: bool) -> set[str]:
    """Opens all, follows all that leads on, sends every form there is; gives the addresses that it saw."""
    seen: set[str] = set()
    pressed: set[str] = set()  # pages, whatever their query: most addresses lead a stranger to the same door
    ahead = list(dict.fromkeys(begin))
    tried: set[tuple[str, str]] = set()
    while ahead:
        address = ahead.pop()
        if address in seen:
            continue
        seen.add(address)
        go(page, address)
        seen.add(page.url)
        place = page.url.partition("?")[0]
        if place in pressed:
            continue
        pressed.add(place)
        links = page.eval_on_selector_all("a[href]", "all => all.map(one => one.href)")
        ahead += [one.partition("#")[0] for one in links if one.startswith(site)]
        here = page.url
        for number in range(page.locator("form, button").count()):
            go(page, here)
            one = page.locator("form, button").nth(number)
            # What stands on every page is pressed once.
            what = str(one.evaluate('one => one.outerHTML.replace(/value="[^"]*"/g, \'\')'))
            if ("" if "language" in what else here, what) in tried:
                continue
            tried.add(("" if "language" in what else here, what))
            press(page, number, typed=typed)
            ahead.append(page.url)
    return seen


def go(page: Page, address: str) -> None:
    """What a button began may still be on its way."""
    for _ in range(5):
        try:
            page.goto(address)
        except Error as cause:
            if "Download is starting" in str(cause):
                return  # a file, and no page
            if "interrupted by another navigation" not in str(cause):
                raise
            page.wait_for_timeout(200)
        else:
            return
    page.goto(address)


def press(page: Page, number: int, *, typed: bool) -> None:
    """A form is sent as it is, whatever the page would say about its fields; a button is pressed."""
    one = page.locator("form, button").nth(number)
    if typed:
        for kind, value in TYPED.items():
            for field in page.locator(f"form input[type={kind}]").all():
                field.evaluate("(one, value) => { one.value = value }", value)
    is_form = one.evaluate("one => one.tagName") == "FORM"
    try:
        one.evaluate("(one, isForm) => isForm ? HTMLFormElement.prototype.submit.call(one) : one.click()", is_form)
        page.wait_for_load_state("load")
        page.wait_for_timeout(50)
        page.wait_for_load_state("load")
    except Error as cause:
        if "navigation" not in str(cause) and "destroyed" not in str(cause):
            raise


@pytest.mark.parametrize("typed", [False, True], ids=["as the forms are", "filled in"])
def test_a_scanner_signs_nobody_in_makes_nothing_and_sends_nothing(
    chromium: Chromium, here: House, live_server: object, typed: bool
) -> None:
    site = str(live_server).replace("127.0.0.1", "localhost")
    before, accounts, jobs = rows(), Account.objects.count(), Job.objects.count()
    with chromium.visit(locale="en-GB") as visit:
        seen = scan(visit.page, site, starts(site, here, typed=typed), typed=typed)
        assert all(one.startswith((site, "data:")) for one in visit.requests), "something was asked elsewhere"
    assert {"/", "/account/sign-in/", "/join/", "/forgotten/"} <= {
        one.removeprefix(site).partition("?")[0] for one in seen
    }
    found = changed(before, rows())
    assert found <= set(MAY_CHANGE) if typed else found <= {"django_session", "accounts_signinfailure"}
    assert Account.objects.count() == accounts
    assert not Sms.objects.exists() and not Transmission.objects.exists()
    assert typed or Job.objects.count() == jobs
