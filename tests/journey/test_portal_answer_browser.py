"""The form for an answer in a real browser: with JavaScript it saves and shows how far it is, without it all works."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import FilePayload, Page, Route, expect
from pytest_django.live_server_helper import LiveServer

from tests.journey.portal_ground import Ground, mail
from tests.needs import needs
from tests.peers.chromium import Chromium, browser
from zegel.journey.custody.models import Draft, Message, Proof, Recipient

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    needs("chromium")
    with pytest.MonkeyPatch.context() as patch, browser() as running:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright keeps an event loop in this thread
        yield running


@pytest.fixture
def recipient(ground: Ground, live_server: LiveServer) -> Recipient:
    ground.configure(url=live_server.url, answer_limit=3_000_000)
    return ground.recipient(ground.conversation(mail()))


def opened(page: Page, ground: Ground, recipient: Recipient, live_server: LiveServer) -> None:
    page.goto(f"{live_server.url}/m/{ground.link(recipient)}")
    verified(page, ground)


def verified(page: Page, ground: Ground) -> None:
    page.get_by_role("button", name="+31 6 ****5678").click()
    page.get_by_label("Code van zes cijfers").fill(ground.last_code())
    page.get_by_role("button", name="Bericht openen").click()
    expect(page).to_have_url(re.compile("/read$"))


def file(name: str, size: int) -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": bytes(size)}


@pytest.mark.parametrize("scripts", [True, False])
def test_a_draft_survives_a_lost_session(
    ground: Ground, recipient: Recipient, live_server: LiveServer, chromium: Chromium, *, scripts: bool
) -> None:
    with chromium.visit(java_script_enabled=scripts, width=320) as visit:
        page = visit.page
        opened(page, ground, recipient, live_server)
        page.get_by_role("textbox", name="Uw antwoord").fill("Ik schrijf lang.")
        if scripts:
            expect(page.get_by_role("status").filter(has_text="Concept bewaard.")).to_be_visible()
        else:
            page.get_by_role("button", name="Concept bewaren").click()
            expect(page.get_by_text("Concept bewaard.")).to_be_visible()
        Proof.objects.all().delete()
        ground.clock.forward(minutes=5)
        page.reload()
        verified(page, ground)
        expect(page.get_by_role("textbox", name="Uw antwoord")).to_have_value("Ik schrijf lang.")
        expect(page.get_by_text("Dit is uw concept van")).to_be_visible()
        page.get_by_role("button", name="Antwoord versturen").click()
        expect(page.get_by_text("Uw antwoord is veilig verstuurd.")).to_be_visible()
        expect(page.get_by_role("textbox", name="Uw antwoord")).to_have_value("")
    assert Message.objects.filter(answered_by=recipient).count() == 1 and not Draft.objects.exists()


def test_what_was_written_before_the_script_came_is_kept_too(
    ground: Ground, recipient: Recipient, live_server: LiveServer, chromium: Chromium
) -> None:
    with chromium.visit() as visit:
        page = visit.page
        waiting: list[Route] = []

        def hold(way: Route) -> None:
            waiting.append(way)

        page.route("**/answer*.js", hold)
        page.goto(f"{live_server.url}/m/{ground.link(recipient)}")
        verified(page, ground)
        page.get_by_role("textbox", name="Uw antwoord").fill("Geschreven over een trage lijn.")
        (late,) = waiting
        late.continue_()
        expect(page.get_by_role("status").filter(has_text="Concept bewaard.")).to_be_visible()
    assert Draft.objects.count() == 1


def test_a_draft_that_could_not_be_kept_is_tried_again(
    ground: Ground, recipient: Recipient, live_server: LiveServer, chromium: Chromium
) -> None:
    with chromium.visit() as visit:
        page = visit.page
        tries = 0

        def fail_twice(way: Route) -> None:
            nonlocal tries
            tries += 1
            if tries == 1:
                way.abort()
            elif tries == 2:
                way.fulfill(status=503)
            else:
                way.continue_()

        page.route("**/draft", fail_twice)
        page.clock.install()
        opened(page, ground, recipient, live_server)
        page.get_by_role("textbox", name="Uw antwoord").fill("Geschreven in een tunnel.")
        for _ in range(600):
            if tries == 3:
                break
            page.clock.fast_forward(60_000)
            page.wait_for_timeout(50)
        expect(page.get_by_role("status").filter(has_text="Concept bewaard.")).to_be_visible()
        assert tries == 3
    assert Draft.objects.count() == 1


def test_files_show_how_far_they_are(
    ground: Ground, recipient: Recipient, live_server: LiveServer, chromium: Chromium
) -> None:
    with chromium.visit() as visit:
        page = visit.page
        opened(page, ground, recipient, live_server)
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        page.evaluate(
            "window.said = []; const shown = document.getElementById('answer-said');"
            "new MutationObserver(() => said.push(shown.textContent)).observe(shown, { childList: true })"
        )
        page.locator("#answer-files").set_input_files([file("een.bin", 2_500_000), file("twee.bin", 2_500_000)])
        page.evaluate("window.addEventListener('pagehide', () => sessionStorage.setItem('said', said.join('|')))")
        page.get_by_role("button", name="Antwoord versturen").click()
        expect(page.get_by_text("Uw antwoord is veilig verstuurd.")).to_be_visible()
        said = page.evaluate("sessionStorage.getItem('said')")
        assert "Bezig met versturen: 0 procent" in said and "Alles is hier" in said
        expect(page.get_by_role("link", name="twee.bin")).to_be_visible()
        assert wrong == []


def test_a_refusal_keeps_text_and_files(
    ground: Ground, recipient: Recipient, live_server: LiveServer, chromium: Chromium
) -> None:
    with chromium.visit() as visit:
        page = visit.page
        opened(page, ground, recipient, live_server)
        page.get_by_role("textbox", name="Uw antwoord").fill("Zie de bijlage.")
        page.locator("#answer-files").set_input_files([file("groot.bin", 3_000_001)])
        page.get_by_role("button", name="Antwoord versturen").click()
        expect(page.get_by_role("alert")).to_contain_text("Een bestand is te groot")
        page.locator("#answer-files").set_input_files([file("klein.bin", 100)])
        page.evaluate("document.querySelector('[name=nonce]').value = 'x'")
        page.get_by_role("button", name="Antwoord versturen").click()
        expect(page.get_by_role("alert")).to_contain_text("niet meer bruikbaar")
        expect(page.get_by_role("textbox", name="Uw antwoord")).to_have_value("Zie de bijlage.")
        assert page.evaluate("document.getElementById('answer-files').files.length") == 1
        expect(page.get_by_role("button", name="Antwoord versturen")).to_be_enabled()
    assert not Message.objects.filter(answered_by=recipient).exists()


def test_who_lost_the_session_meanwhile_is_led_to_the_code_and_finds_the_text(
    ground: Ground, recipient: Recipient, live_server: LiveServer, chromium: Chromium
) -> None:
    with chromium.visit() as visit:
        page = visit.page
        opened(page, ground, recipient, live_server)
        page.get_by_role("textbox", name="Uw antwoord").fill("Met bijlage.")
        expect(page.get_by_role("status").filter(has_text="Concept bewaard.")).to_be_visible()
        Proof.objects.all().delete()
        ground.clock.forward(minutes=5)
        page.locator("#answer-files").set_input_files([file("klein.bin", 100)])
        page.get_by_role("button", name="Antwoord versturen").click()
        expect(page).to_have_url(re.compile(r"/r/[0-9a-f-]+/$"))
        verified(page, ground)
        expect(page.get_by_role("textbox", name="Uw antwoord")).to_have_value("Met bijlage.")
    assert not Message.objects.filter(answered_by=recipient).exists()
