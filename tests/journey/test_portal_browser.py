"""The whole way of a guest in a real browser, without JavaScript, on a desk and on a phone (P25, P16)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from tests.journey.hostile import HOSTILE
from tests.journey.portal_ground import PASSWORD, PIXEL, TOTP, Ground, mail
from tests.needs import needs
from tests.peers.chromium import Chromium, browser, fits
from zegel.accounts.sign_in import current_totp, enrol_totp
from zegel.journey.custody.models import Message, Recipient

pytestmark = pytest.mark.django_db(transaction=True)

MARKUP = (
    "<p>Beste ontvanger,</p>"
    "<p>De uitslag is <b>goed</b>. Zie <a href='https://www.example.org/uitleg'>de uitleg</a>.</p>"
    "<p><img src='cid:logo@x' alt='Ons logo' width=60 height=60><img src='http://evil.test/pixel.gif'></p>"
    "<table border=1><tr><th>Waarde<th>Norm<tr><td>4,2<td>3–5</table>"
)
FILES = {"verslag.pdf": ("application/pdf", b"%PDF-1.7 inhoud"), "groot.bin": ("application/zip", bytes(1_000_000))}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    needs("chromium")
    with pytest.MonkeyPatch.context() as patch, browser() as running:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright keeps an event loop in this thread
        yield running


@pytest.mark.parametrize("width", [1280, 320])
def test_a_guest_opens_reads_saves_and_answers_without_javascript(
    ground: Ground, live_server: LiveServer, chromium: Chromium, tmp_path: Path, width: int
) -> None:
    ground.configure(url=live_server.url)
    octets = mail(
        markup=MARKUP,
        pictures={"logo@x": PIXEL},
        files=FILES,
        cc="collega.met.een.lang.adres@huisartsenpraktijk.example.org",
    )
    recipient = ground.recipient(ground.conversation(octets))
    token = ground.link(recipient)
    with chromium.visit(java_script_enabled=False, width=width) as visit:
        page = visit.page
        shots = iter(range(100))

        def look(name: str) -> None:
            page.screenshot(path=tmp_path / f"{next(shots)}-{name}-{width}.png", full_page=True)
            assert fits(page), name
            assert token not in page.url + page.content()

        page.goto(f"{live_server.url}/m/{'A' * 43}")
        look("no-way-in")
        page.goto(f"{live_server.url}/m/{token}")
        expect(page.get_by_role("heading", level=1)).to_have_text("Er is een verzegeld bericht voor u")
        look("opening")
        page.get_by_role("button", name="+31 6 ****5678").click()
        look("verify")
        page.get_by_label("Code van zes cijfers").fill("000000" if ground.last_code() != "000000" else "111111")
        page.get_by_role("button", name="Bericht openen").click()
        expect(page.get_by_text("nog 4 keer").first).to_be_visible()
        look("wrong")
        page.get_by_label("Code van zes cijfers").fill(ground.last_code())
        page.get_by_role("button", name="Bericht openen").click()
        expect(page).to_have_url(re.compile("/read$"))
        frame = page.frame_locator("iframe")
        expect(frame.get_by_text("De uitslag is")).to_be_visible()
        expect(frame.get_by_alt_text("Ons logo")).to_have_js_property("naturalWidth", 1)
        expect(frame.get_by_text("[www.example.org]")).to_be_visible()
        look("read")
        with page.expect_download() as download:
            page.get_by_role("link", name="groot.bin").click()
        assert Path(download.value.path()).read_bytes() == bytes(1_000_000)
        with page.expect_download() as download:
            page.get_by_role("link", name="Opslaan als bestand").click()
        assert Path(download.value.path()).read_bytes() == octets
        page.get_by_role("button", name="Antwoord versturen").click()
        expect(page.get_by_text("Schrijf een antwoord of voeg een bestand toe.")).to_be_visible()
        look("refused")
        page.get_by_role("textbox", name="Uw antwoord").fill("Hartelijk dank.\nTot morgen.")
        page.get_by_label("Bestanden").set_input_files({"name": "foto.png", "mimeType": "image/png", "buffer": PIXEL})
        page.get_by_role("button", name="Antwoord versturen").click()
        expect(page.get_by_text("Uw antwoord is veilig verstuurd.")).to_be_visible()
        expect(page.get_by_text("Tot morgen.")).to_be_visible()
        look("answered")
        page.get_by_role("button", name="Bericht sluiten").click()
        look("closed")
        assert {asked.split("/")[2] for asked in visit.requests if not asked.startswith("data:")} == {
            live_server.url.split("/")[2]
        }
    assert Message.objects.filter(answered_by=recipient).count() == 1
    recipient.refresh_from_db()
    assert recipient.state == Recipient.State.OPENED


def test_a_hostile_message_does_nothing_in_the_page_that_shows_it(
    ground: Ground, live_server: LiveServer, chromium: Chromium
) -> None:
    """With JavaScript on: what the browser could run, it doesn't."""
    ground.configure(url=live_server.url)
    markup = "".join(f"<div>{source}</div>" for source in HOSTILE.values() if "plaintext" not in source)
    recipient = ground.recipient(ground.conversation(mail(markup=markup)))
    with chromium.visit() as visit:
        page = visit.page
        page.goto(f"{live_server.url}/m/{ground.link(recipient)}")
        page.get_by_role("button", name="+31 6 ****5678").click()
        page.get_by_label("Code van zes cijfers").fill(ground.last_code())
        page.get_by_role("button", name="Bericht openen").click()
        page.wait_for_load_state("load")
        page.wait_for_timeout(500)
        assert page.url.endswith("/read") and len(visit.context.pages) == 1
        page.goto(f"{live_server.url}/r/{recipient.id}/body/{recipient.conversation.messages.get().id}")
        page.wait_for_timeout(500)
        assert not [asked for asked in visit.requests if not asked.startswith((live_server.url, "data:"))]
        own = [asked for asked in visit.requests if asked.startswith(live_server.url)]
        assert not [asked for asked in own if not re.search(r"/m/|/r/|/static/|favicon", asked)]


@pytest.mark.parametrize("width", [1280, 320])
def test_an_author_follows_a_message_without_javascript(
    ground: Ground, live_server: LiveServer, chromium: Chromium, tmp_path: Path, width: int
) -> None:
    ground.configure(url=live_server.url)
    conversation = ground.conversation(mail(markup=MARKUP, pictures={"logo@x": PIXEL}, files=FILES))
    ground.recipient(conversation, "ontvanger.met.een.lang.adres@huisartsenpraktijk.example.org", state="opened")
    ground.recipient(conversation, "tweede@example.org", state="undeliverable", reason="too-late")
    ground.recipient(ground.conversation(mail(subject="x" * 200), blind=True), "derde@example.org", state="delivered")
    enrol_totp(ground.author, TOTP)
    with chromium.visit(java_script_enabled=False, width=width) as visit:
        page = visit.page
        page.goto(f"{live_server.url}/inbox/")
        page.locator("[name=login]").fill(ground.author.email)
        page.locator("[name=password]").fill(PASSWORD)
        page.locator("main form button").first.click()
        page.locator("[name=code]").fill(current_totp(TOTP))
        page.locator("main form button").first.click()
        expect(page).to_have_url(re.compile("/inbox/$"))
        page.screenshot(path=tmp_path / f"inbox-{width}.png", full_page=True)
        assert fits(page)
        page.get_by_role("link", name="Uitslag").click()
        expect(page.get_by_text("Leesbaar afgeleverd")).to_have_count(0)
        expect(page.get_by_text("Geopend")).to_be_visible()
        page.screenshot(path=tmp_path / f"conversation-{width}.png", full_page=True)
        assert fits(page)


@pytest.mark.parametrize("width", [1280, 320])
@pytest.mark.parametrize("method", ["email", "access-code", "account"])
def test_each_way_in_fits_the_window(
    ground: Ground, live_server: LiveServer, chromium: Chromium, tmp_path: Path, method: str, width: int
) -> None:
    ground.configure(url=live_server.url)
    recipient = ground.recipient(
        ground.conversation(mail()), "o.n.t.v.a.n.g.e.r@een.heel.lange.domeinnaam.van.een.praktijk.example.org",
        method=method, access_code="tulp", hint="De naam van de bloem waar we het gisteren aan de telefoon over hadden",
    )  # fmt: skip
    with chromium.visit(java_script_enabled=False, width=width) as visit:
        page = visit.page
        page.goto(f"{live_server.url}/m/{ground.link(recipient)}")
        for more in page.locator("summary").all():
            more.click()
        page.screenshot(path=tmp_path / f"{method}-{width}.png", full_page=True)
        assert fits(page)
        if method == "access-code":
            for _ in range(5):
                page.get_by_label("Toegangscode").fill("fout")
                page.get_by_role("button", name="Bericht openen").click()
            expect(page.get_by_text("Te veel onjuiste codes")).to_be_visible()
            page.screenshot(path=tmp_path / f"{method}-locked-{width}.png", full_page=True)
