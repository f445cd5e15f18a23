"""Signing in, in a real browser: cookies, the check of a form's origin, passkeys, and no word of complaint from it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.needs import needs
from tests.peers.chromium import Chromium, browser, fits
from tests.web.conftest import PASSWORD, SECRET
from zegel.accounts.models import Account, Organisation
from zegel.accounts.sign_in import current_totp, enrol_totp

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    needs("chromium")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # Playwright runs a loop in this thread
    with browser() as running:
        yield running
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def account() -> Account:
    organisation = Organisation.objects.create(name="Gemeente Voorbeeld")
    account = Account.objects.create_user("beheer@voorbeeld.test", PASSWORD, organisation=organisation, role="owner")
    enrol_totp(account, SECRET)
    return account


@pytest.fixture
def site(live_server: object) -> str:
    return str(live_server).replace("127.0.0.1", "localhost")


def give_password(page: Page, site: str, address: str) -> None:
    page.goto(f"{site}/account/sign-in/")
    page.get_by_label("E-mailadres").fill(address)
    page.get_by_label("Wachtwoord").fill(PASSWORD)
    page.get_by_role("button", name="Verder").click()


def listen(page: Page) -> list[str]:
    """What the browser complains about: blocked by policy, not found, broken."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    return said


def test_signing_in_works_without_javascript(chromium: Chromium, account: Account, site: str) -> None:
    with chromium.visit(java_script_enabled=False, width=320) as visit:
        give_password(visit.page, site, account.email)
        visit.page.get_by_label("Code").fill(current_totp(SECRET))
        visit.page.get_by_role("button", name="Inloggen", exact=True).click()
        visit.page.goto(f"{site}/console/")
        expect(visit.page.get_by_role("heading", name="Berichten")).to_be_visible()
        cookies = visit.context.cookies()
        assert {cookie["name"] for cookie in cookies} == {"__Host-csrf", "__Host-session", "__Host-known"}
        assert all(cookie["secure"] and cookie["httpOnly"] for cookie in cookies)
        assert all(request.startswith(site) for request in visit.requests)
        visit.page.get_by_role("button", name="Uitloggen").click()
        visit.page.goto(f"{site}/console/")
        assert "/account/sign-in/" in visit.page.url


def test_a_newcomer_is_led_through_the_set_up(chromium: Chromium, account: Account, site: str) -> None:
    newcomer = Account.objects.create_user("balie@voorbeeld.test", PASSWORD, organisation=account.organisation)
    with chromium.visit() as visit:
        complaints = listen(visit.page)
        give_password(visit.page, site, newcomer.email)
        visit.page.get_by_text("Kunt u de code niet scannen?").click()
        secret = visit.page.locator("#authenticator_secret").inner_text()
        visit.page.get_by_label("Code", exact=True).fill(current_totp(type(SECRET)(secret)))
        visit.page.get_by_role("button", name="Aanzetten").click()
        expect(visit.page.get_by_role("heading", name="Herstelcodes")).to_be_visible()
        assert visit.page.locator(".codes li").count() == 10
        assert not complaints


def test_a_passkey_signs_in_without_a_password(chromium: Chromium, account: Account, site: str) -> None:
    with chromium.visit() as visit:
        complaints = listen(visit.page)
        devtools = visit.context.new_cdp_session(visit.page)
        devtools.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
        }
        devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        give_password(visit.page, site, account.email)
        visit.page.get_by_label("Code").fill(current_totp(SECRET))
        visit.page.get_by_role("button", name="Inloggen", exact=True).click()
        visit.page.goto(f"{site}/account/security/webauthn/add/")
        visit.page.get_by_label("Naam").fill("laptop")
        visit.page.get_by_label("Inloggen zonder wachtwoord").check()
        visit.page.get_by_role("button", name="Toevoegen").click()
        visit.page.wait_for_url(f"{site}/account/security/")
        expect(visit.page.get_by_text("U hebt 1 passkey.")).to_be_visible()
        visit.page.get_by_role("button", name="Uitloggen").click()

        visit.page.goto(f"{site}/account/sign-in/")
        visit.page.get_by_role("button", name="Inloggen met een passkey").click()
        visit.page.wait_for_url(lambda url: "sign-in" not in url)
        visit.page.goto(f"{site}/console/")
        expect(visit.page.get_by_role("heading", name="Berichten")).to_be_visible()
        visit.page.get_by_role("button", name="Uitloggen").click()

        give_password(visit.page, site, account.email)
        visit.page.get_by_role("button", name="Passkey gebruiken").click()
        visit.page.wait_for_url(lambda url: "authenticate" not in url)
        visit.page.goto(f"{site}/console/")
        expect(visit.page.get_by_role("heading", name="Berichten")).to_be_visible()
        assert not complaints


def test_no_page_scrolls_sideways_on_a_small_phone(chromium: Chromium, account: Account, site: str) -> None:
    pages = ("/", "/account/sign-in/", "/account/password/forgotten/", "/nowhere")
    with chromium.visit(width=320, height=640) as visit:
        for address in pages:
            visit.page.goto(site + address)
            assert fits(visit.page), address
