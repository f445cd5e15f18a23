"""The pages of account holders in a real browser without JavaScript: they fit, and what they offer can be pressed
(P25)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from tests.journey.portal_ground import NOON, PASSWORD, TOTP, Ground, mail
from tests.needs import needs
from tests.peers.chromium import Chromium, browser, fits
from zegel.accounts import mailboxes
from zegel.accounts.models import Account
from zegel.accounts.sign_in import current_totp, enrol_totp
from zegel.journey.custody.models import Conversation, Recipient, Transmission

pytestmark = pytest.mark.django_db(transaction=True)

LONG: Final = "o.n.t.v.a.n.g.e.r@een.heel.lange.domeinnaam.van.een.praktijk.example.org"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    needs("chromium")
    with pytest.MonkeyPatch.context() as patch, browser() as running:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright keeps an event loop in this thread
        yield running


def is_orderly(page: Page) -> None:
    """One heading of the first level, a label for every field, a name for every link and button, and it all fits."""
    assert fits(page), page.url
    assert page.locator("h1").count() == 1, page.url
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('a, button, input:not([type=hidden]), select, textarea')].filter(one =>
            !one.hidden && !(one.labels && one.labels.length) && !one.innerText && !one.getAttribute('aria-label')
            && !one.textContent.trim()).map(one => one.outerHTML)"""
    )
    assert nameless == [], page.url
    twice = page.evaluate(
        """() => { const ids = [...document.querySelectorAll('[id]')].map(one => one.id);
            return ids.filter((one, at) => ids.indexOf(one) !== at) }"""
    )
    assert twice == [], page.url


def sign_in(page: Page, site: str, account: Account) -> None:
    enrol_totp(account, TOTP)
    page.goto(f"{site}/account/sign-in/")
    page.locator("input[name=login]").fill(account.email)
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("main form button.button").first.click()
    page.locator("input[name=code]").fill(current_totp(TOTP))
    page.locator("main form button.button").first.click()


@pytest.mark.parametrize(("language", "width"), [("nl", 320), ("en", 320), ("nl", 1280)])
def test_a_sender_does_what_can_be_done_after_sending(
    ground: Ground, live_server: LiveServer, chromium: Chromium, tmp_path: Path, language: str, width: int
) -> None:
    site = live_server.url.replace("127.0.0.1", "localhost")
    info = Account.objects.create_user("info@voorbeeld.test", organisation=ground.organisation)
    mailboxes.add_reader(info, ground.author)
    conversation = ground.conversation(mail())
    ground.recipient(conversation, LONG, state=Recipient.State.OPENED, opened_at=NOON, opened_with="sms")
    ground.recipient(conversation, "leesbaar@example.org", method="", state=Recipient.State.DELIVERED)
    home = f"{site}/inbox/{conversation.id}/"
    with chromium.visit(java_script_enabled=False, width=width, locale=f"{language}-NL") as visit:
        page = visit.page
        sign_in(page, site, ground.author)

        def look(name: str) -> None:
            is_orderly(page)
            page.screenshot(path=tmp_path / f"{name}-{language}-{width}.png", full_page=True)

        page.goto(f"{site}/inbox/")
        look("inbox")
        page.locator("details.finding summary").click()
        page.locator("input[name=text]").fill("uitslag")
        page.locator("details.finding button").click()
        expect(page.locator(".entry-subject")).to_have_count(1)
        look("found")
        page.goto(home)
        look("sent")
        page.locator("a[href*='/again/']").click()
        look("again")
        page.locator("main form button").click()
        expect(page).to_have_url(home)
        assert Transmission.objects.filter(kind="again").count() == 1
        page.locator("a[href*='/again/']").click()
        look("again-soon")
        page.goto(f"{home}expiry")
        page.locator("input[name=day]").fill("2020-01-01")
        page.locator("main form button").click()
        look("expiry-wrong")
        page.locator("input[name=day]").fill("2027-01-01")
        page.locator("main form button").click()
        expect(page).to_have_url(home)
        page.locator("a[href*='/revoke/']").click()
        look("revoke-one")
        page.goto(f"{home}revoke")
        look("revoke")
        page.locator("main form button").click()
        expect(page).to_have_url(home)
        look("revoked")
        for name in ("sessions", "settings"):
            page.goto(f"{site}/account/{name}/")
            look(name)
        assert all(request.startswith(site) for request in visit.requests)
    assert Conversation.objects.get().destroyed_at == NOON


@pytest.mark.parametrize(("language", "width"), [("nl", 320), ("en", 1280)])
def test_a_guest_asks_for_a_code(
    ground: Ground, live_server: LiveServer, chromium: Chromium, tmp_path: Path, language: str, width: int
) -> None:
    site = live_server.url.replace("127.0.0.1", "localhost")
    with chromium.visit(java_script_enabled=False, width=width, locale=f"{language}-NL") as visit:
        page = visit.page
        for way in ("join", "forgotten"):
            page.goto(f"{site}/{way}/")
            is_orderly(page)
            page.screenshot(path=tmp_path / f"{way}-{language}-{width}.png", full_page=True)
            page.locator("input[name=email]").fill("geen adres")
            page.locator("main form button").click()
            is_orderly(page)
            expect(page).to_have_title(re.compile("Error:|Fout:"))
            page.locator("input[name=email]").fill(LONG)
            page.locator("main form button").click()
            page.locator("input[name=code]").fill("ABCD-2345")
            page.locator("main form button").click()
            is_orderly(page)
            page.screenshot(path=tmp_path / f"{way}-code-{language}-{width}.png", full_page=True)
            expect(page).to_have_title(re.compile("Error:|Fout:"))
