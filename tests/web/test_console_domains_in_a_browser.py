"""What is to be published is copied: with one press, or without JavaScript with one click."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from django.conf import settings
from playwright.sync_api import Page

from tests.needs import needs
from tests.peers.chromium import Chromium, browser
from tests.web.conftest import PASSWORD, SECRET
from zegel.accounts import domains
from zegel.accounts.models import Account, SendingDomain
from zegel.accounts.sign_in import current_totp
from zegel.core.mail.address import Domain
from zegel.edge.keyring import submission_keys

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    needs("chromium")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # Playwright runs a loop in this thread
    with browser() as running:
        yield running
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def domain(administrator: Account) -> SendingDomain:
    assert administrator.organisation is not None
    sealing = submission_keys(settings.ZEGEL.keys).sealing
    return domains.add(administrator.organisation, Domain("voorbeeld.test"), sealing=sealing)


def opened(page: Page, site: str, administrator: Account, domain: SendingDomain) -> None:
    page.goto(f"{site}/account/sign-in/")
    page.get_by_label("E-mailadres").fill(administrator.email)
    page.get_by_label("Wachtwoord").fill(PASSWORD)
    page.get_by_role("button", name="Verder", exact=True).click()
    page.get_by_label("Code").fill(current_totp(SECRET))
    page.get_by_role("button", name="Inloggen", exact=True).click()
    page.goto(f"{site}/console/domains/{domain.pk}/")


def test_a_button_copies_a_value_and_says_so(
    chromium: Chromium, live_server: object, administrator: Account, domain: SendingDomain
) -> None:
    site = str(live_server).replace("127.0.0.1", "localhost")
    with chromium.visit() as visit:
        page = visit.page
        page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site)
        opened(page, site, administrator, domain)
        for one in domains.records(domain, settings.ZEGEL.hostname):
            button = page.get_by_role("button", name=f"Kopiëren de waarde van {one.name}", exact=True)
            button.focus()
            page.keyboard.press("Enter")
            page.get_by_role("status").filter(has_text="Gekopieerd").first.wait_for(state="attached")
            assert page.evaluate("navigator.clipboard.readText()") == one.value


def test_without_javascript_a_click_selects_a_value(
    chromium: Chromium, live_server: object, administrator: Account, domain: SendingDomain
) -> None:
    site = str(live_server).replace("127.0.0.1", "localhost")
    with chromium.visit(java_script_enabled=False) as visit:
        page = visit.page
        opened(page, site, administrator, domain)
        assert page.get_by_role("button", name="Kopiëren").count() == 0
        for one in domains.records(domain, settings.ZEGEL.hostname):
            page.locator("code[id^=own-value]", has_text=one.value).click()
            assert page.evaluate("window.getSelection().toString()") == one.value
