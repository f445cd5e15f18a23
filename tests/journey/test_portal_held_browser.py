"""Filling in what a held recipient lacks, and one's own verification data, in a real browser without JavaScript
(P25, P16)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from tests.journey.portal_ground import NOON, PASSWORD, TOTP, Ground, mail
from tests.journey.test_portal_held import held
from tests.needs import needs
from tests.peers.chromium import Chromium, browser, fits
from zegel.accounts.sign_in import current_totp, enrol_totp
from zegel.journey.custody.models import Job, Recipient, VerificationData

pytestmark = pytest.mark.django_db(transaction=True)

LONG: Final = "o.n.t.v.a.n.g.e.r@een.heel.lange.domeinnaam.van.een.praktijk.example.org"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    needs("chromium")
    with pytest.MonkeyPatch.context() as patch, browser() as running:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright keeps an event loop in this thread
        yield running


WORDS: Final = {
    "nl": {
        "wait": "Ontvangers die worden vastgehouden",
        "phone": "Mobiel nummer",
        "code": "Toegangscode",
        "hint": "Geheugensteun",
        "send": "Aanvullen en versturen",
        "sent": "Ingevuld voor 2 ontvangers",
        "wrong": "Schrijf het als +31 6 12345678",
        "known": "Verificatiegegevens",
        "add": "Ontvanger toevoegen",
        "address": "E-mailadres van de ontvanger",
        "store": "Opslaan",
        "correct": "Verbeteren",
        "remove": "Verwijderen",
        "stored": "Opgeslagen.",
        "removed": "Verwijderd.",
    },
    "en": {
        "wait": "Recipients who are held",
        "phone": "Mobile number",
        "code": "Access code",
        "hint": "Hint",
        "send": "Fill in and send",
        "sent": "Filled in for 2 recipients",
        "wrong": "Write it like +31 6 12345678",
        "known": "Verification data",
        "add": "Add a recipient",
        "address": "E-mail address of the recipient",
        "store": "Store",
        "correct": "Correct",
        "remove": "Remove",
        "stored": "Stored.",
        "removed": "Removed.",
    },
}


@pytest.mark.parametrize(("language", "width"), [("nl", 1280), ("nl", 320), ("en", 320)])
def test_an_author_comes_from_the_mail_and_fills_in_what_lacks(
    ground: Ground, live_server: LiveServer, chromium: Chromium, tmp_path: Path, language: str, width: int
) -> None:
    ground.configure(url=live_server.url)
    say, conversation = WORDS[language], ground.conversation(mail())
    one, two = held(ground, conversation, LONG), held(ground, conversation, "tweede@example.org", "sms", "account")
    held(ground, conversation, "zonder@example.org", "account")
    ended = held(ground, conversation, "eerder@example.org")
    Recipient.objects.filter(id=ended.id).update(state="notified", delivered_at=NOON)
    enrol_totp(ground.author, TOTP)
    locale = {"nl": "nl-NL", "en": "en-GB"}[language]
    with chromium.visit(java_script_enabled=False, width=width, locale=locale) as visit:
        page, shots = visit.page, iter(range(100))

        def look(name: str) -> None:
            page.screenshot(path=tmp_path / f"{next(shots)}-{name}-{language}-{width}.png", full_page=True)
            assert fits(page), name

        page.goto(f"{live_server.url}/held/{conversation.submission_id}/")
        page.locator("[name=login]").fill(ground.author.email)
        page.locator("[name=password]").fill(PASSWORD)
        page.locator("main form button").first.click()
        page.locator("[name=code]").fill(current_totp(TOTP))
        page.locator("main form button").first.click()
        expect(page).to_have_url(re.compile(f"/held/{conversation.submission_id}/$"))
        expect(page.get_by_role("heading", level=1)).to_have_text(say["wait"])
        look("held")
        first = page.get_by_role("region", name=LONG)
        first.get_by_label(say["phone"]).fill("020 5551234")
        page.get_by_role("button", name=say["send"]).click()
        expect(page.get_by_role("alert").get_by_text(say["wrong"])).to_be_visible()
        expect(first.get_by_label(say["phone"])).to_have_value("")
        look("wrong")
        page.get_by_role("alert").get_by_role("link").first.click()
        assert page.url.endswith(f"#id_{one.id.hex}-phone")
        first.get_by_label(say["code"]).fill("vier losse woorden hier")
        first.get_by_label(say["hint"]).fill("de bloem van gisteren")
        page.get_by_role("region", name="tweede@example.org").get_by_label(say["phone"]).fill("06 12345678")
        page.get_by_role("button", name=say["send"]).click()
        expect(page.get_by_text(say["sent"])).to_be_visible()
        look("filled-in")
        Job.objects.filter(kind="release").delete()
        Recipient.objects.filter(id__in=(one.id, two.id)).update(state="notified", delivered_at=NOON)
        Recipient.objects.filter(address="zonder@example.org").update(
            state="undeliverable", reason="lacks-what-policy-demands"
        )
        page.reload()
        look("nobody-held")
        assert {asked.split("/")[2] for asked in visit.requests} == {live_server.url.split("/")[2]}
        assert not [asked for asked in visit.requests if re.search("woorden|12345678|bloem", asked)]
    assert VerificationData.objects.count() == 2


@pytest.mark.parametrize(("language", "width"), [("nl", 1280), ("en", 320)])
def test_a_sender_adds_corrects_and_removes(
    ground: Ground, live_server: LiveServer, chromium: Chromium, tmp_path: Path, language: str, width: int
) -> None:
    ground.configure(url=live_server.url)
    say = WORDS[language]
    enrol_totp(ground.author, TOTP)
    locale = {"nl": "nl-NL", "en": "en-GB"}[language]
    with chromium.visit(java_script_enabled=False, width=width, locale=locale) as visit:
        page, shots = visit.page, iter(range(100))

        def look(name: str) -> None:
            page.screenshot(path=tmp_path / f"{next(shots)}-{name}-{language}-{width}.png", full_page=True)
            assert fits(page), name

        page.goto(f"{live_server.url}/inbox/")
        page.locator("[name=login]").fill(ground.author.email)
        page.locator("[name=password]").fill(PASSWORD)
        page.locator("main form button").first.click()
        page.locator("[name=code]").fill(current_totp(TOTP))
        page.locator("main form button").first.click()
        page.get_by_role("link", name=say["known"]).click()
        look("nothing")
        page.get_by_role("link", name=say["add"]).click()
        page.get_by_label(say["address"]).fill(LONG)
        page.get_by_role("button", name=say["store"]).click()
        look("wrong")
        page.get_by_label(say["phone"]).fill("06 12345678")
        page.get_by_role("button", name=say["store"]).click()
        expect(page.get_by_text(say["stored"])).to_be_visible()
        expect(page.get_by_text("+31 6 ****5678")).to_be_visible()
        page.get_by_role("link", name=say["add"]).click()
        page.get_by_label(say["address"]).fill(LONG)
        page.get_by_label(say["code"]).fill("vier losse woorden hier")
        page.get_by_role("button", name=say["store"]).click()
        look("list")
        page.get_by_role("link", name=say["correct"]).first.click()
        look("correct")
        page.get_by_label(say["phone"]).fill("06 87654321")
        page.get_by_role("button", name=say["store"]).click()
        expect(page.get_by_text("+31 6 ****4321")).to_be_visible()
        page.get_by_role("link", name=say["remove"]).first.click()
        look("remove")
        page.get_by_role("button", name=say["remove"]).click()
        expect(page.get_by_text(say["removed"])).to_be_visible()
        expect(page.get_by_text("+31 6 ****4321")).to_have_count(0)
    assert VerificationData.objects.get().method == "access-code"
