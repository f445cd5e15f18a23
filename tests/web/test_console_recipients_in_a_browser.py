"""The administrator's pages about recipients in a real browser: with the keyboard, without JavaScript, on a phone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Literal

import pytest
from playwright.sync_api import expect

from tests.needs import needs
from tests.peers.chromium import Chromium, browser, fits
from tests.web.conftest import PASSWORD, SECRET
from zegel.accounts import policy as policies
from zegel.accounts.models import Account
from zegel.accounts.sign_in import current_totp
from zegel.core.policy.verification import Method
from zegel.journey.custody.models import VerificationData

RECIPIENT = "ontvanger@example.org"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    needs("chromium")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # Playwright runs a loop in this thread
    with browser() as running:
        yield running
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("width", [320, 1280])
def test_it_all_works_without_javascript_on_a_small_phone_and_a_large_screen(
    chromium: Chromium, live_server: object, administrator: Account, width: int
) -> None:
    site = str(live_server).replace("127.0.0.1", "localhost")
    with chromium.visit(java_script_enabled=False, width=width) as visit:
        page = visit.page

        def press(name: str, role: Literal["button", "link"] = "button") -> None:
            """With the keyboard alone."""
            page.get_by_role(role, name=name, exact=True).focus()
            with page.expect_navigation():
                page.keyboard.press("Enter")
            assert fits(page), page.url

        page.goto(f"{site}/account/sign-in/")
        page.get_by_label("E-mailadres").fill(administrator.email)
        page.get_by_label("Wachtwoord").fill(PASSWORD)
        press("Verder")
        page.get_by_label("Code").fill(current_totp(SECRET))
        press("Inloggen")

        page.goto(f"{site}/console/")
        press("Ontvangers", "link")
        group = page.get_by_role("group", name="Toegestane methoden")
        group.get_by_label("e-mailverificatie").press("Space")
        page.get_by_label("Dagen dat ze worden vastgehouden").fill("honderd")
        press("Opslaan")
        page.get_by_role("alert").get_by_role("link").press("Enter")
        page.keyboard.type("7")
        assert page.get_by_label("Dagen dat ze worden vastgehouden").input_value() in ("7", "honderd7", "7honderd")
        page.get_by_label("Dagen dat ze worden vastgehouden").fill("7")
        page.get_by_label("Inkomende directe bezorging").press("Space")
        press("Opslaan")
        expect(page.get_by_role("heading", name="Inkomende directe bezorging")).to_be_visible()
        press("Berichten leesbaar laten aankomen")
        expect(page.get_by_text("De wijzigingen zijn opgeslagen.")).to_be_visible()
        assert not page.get_by_label("e-mailverificatie").is_checked()

        press("Domeinen voor directe bezorging", "link")
        page.get_by_label("Domein", exact=True).fill("example.org")
        page.get_by_label("DANE", exact=True).press("Space")
        press("Toevoegen")
        press("Wijzigen example.org", "link")
        expect(page.get_by_label("DANE", exact=True)).to_be_checked()

        press("Verificatiegegevens", "link")
        press("Nummer of code toevoegen", "link")
        page.get_by_label("E-mailadres van de ontvanger").fill(RECIPIENT)
        page.get_by_label("Mobiel nummer").fill("020 1234567")
        press("Opslaan")
        assert page.get_by_label("Mobiel nummer").input_value() == ""
        page.get_by_label("Mobiel nummer").fill("06 2030 4050")
        press("Opslaan")
        expect(page.get_by_text("+31 6 ****4050")).to_be_visible()
        page.get_by_label("Adres van een ontvanger").fill(RECIPIENT)
        press("Zoeken")
        press(f"Verwijderen {RECIPIENT}, sms-code", "link")
        press("Verwijderen")
        expect(page.get_by_text("Er is nog niets bekend.")).to_be_visible()
        assert not [one for one in visit.requests if "4050" in one or "1234567" in one or "%40" in one]
    organisation = administrator.organisation
    assert organisation is not None
    organisation.refresh_from_db()
    held = policies.policy_of(organisation)
    assert (held.hold_days, held.takes_inbound_direct_delivery, Method.EMAIL in held.allowed) == (7, True, False)
    assert not VerificationData.objects.exists()
