"""Looking, keeping and printing in a real browser, without JavaScript, on a desk and on a phone (P25)."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from pypdf import PdfReader
from pytest_django.live_server_helper import LiveServer

from tests.journey.pdfs import pdf
from tests.journey.portal_ground import MARKER, PIXEL, Ground, mail
from tests.needs import needs
from tests.peers.chromium import Chromium, browser, fits
from zegel.journey.custody.models import Recipient

pytestmark = pytest.mark.django_db(transaction=True)

FILES = {
    "verslag.pdf": ("application/pdf", pdf()),
    "foto.png": ("image/png", PIXEL),
    "lijst met een lange naam zonder eind.csv": ("text/csv", ("waarde;" * 60 + "\n").encode() * 9),
}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    needs("chromium")
    with pytest.MonkeyPatch.context() as patch, browser() as running:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright keeps an event loop in this thread
        yield running


def conversation(ground: Ground) -> Recipient:
    octets = mail(
        text="De tekst zonder opmaak.",
        markup="<p>De tekst <b>met opmaak</b>.</p><img src='https://images.example.org/a.png' alt='Kaart'>",
        files=FILES,
    )
    recipient = ground.recipient(ground.conversation(octets))
    for number in range(7):
        ground.clock.forward(minutes=1)
        by = recipient if number % 2 else None
        ground.add(recipient.conversation, mail(text=f"Antwoord {number}."), answered_by=by)
    return recipient


def open_in(page: Page, ground: Ground, live_server: LiveServer, recipient: Recipient) -> None:
    page.goto(f"{live_server.url}/m/{ground.link(recipient)}")
    page.get_by_role("button", name="+31 6 ****5678").click()
    page.get_by_label("Code van zes cijfers").fill(ground.last_code())
    page.get_by_role("button", name="Bericht openen").click()
    expect(page).to_have_url(re.compile("/read$"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 320])
def test_a_reader_looks_at_and_keeps_everything_without_javascript(
    ground: Ground, live_server: LiveServer, chromium: Chromium, tmp_path: Path, width: int, scheme: str
) -> None:
    ground.configure(url=live_server.url)
    recipient = conversation(ground)
    with chromium.visit(java_script_enabled=False, width=width) as visit:
        page = visit.page
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        shots = iter(range(100))

        def look(name: str) -> None:
            page.screenshot(path=tmp_path / f"{next(shots)}-{name}-{width}-{scheme}.png", full_page=True)
            assert fits(page), name

        open_in(page, ground, live_server, recipient)
        first = page.locator("article").first
        expect(first.get_by_role("link", name="foto.png").first).not_to_be_visible()
        first.locator("summary").focus()
        page.keyboard.press("Enter")  # no mouse is needed to unfold
        expect(first.get_by_role("link", name="foto.png").first).to_be_visible()
        expect(page.frame_locator("iframe").get_by_text("met opmaak")).to_be_visible()
        look("read")
        for name, seen in (("foto.png", "img[alt='foto.png']"), ("lijst met een lange", "pre:has-text('waarde;')")):
            with visit.context.expect_page() as opening:
                first.get_by_role("link", name=f"Bekijken {name}").click()
            page, reading = opening.value, page
            expect(page.locator(seen)).to_be_visible()
            look("view")
            page.close()
            page = reading
        with page.expect_download() as download:
            first.get_by_role("link", name="Alle bijlagen (.zip)").click()
        with zipfile.ZipFile(download.value.path()) as found:
            assert {name: found.read(name) for name in found.namelist()} == {
                name: one for name, (_, one) in FILES.items()
            }
        with page.expect_download() as download:
            first.get_by_role("link", name="Opslaan als pdf").click()
        assert download.value.suggested_filename == f"Uitslag {MARKER}.pdf"
        kept = "".join(one.extract_text() for one in PdfReader(str(download.value.path())).pages)
        assert "De tekst zonder opmaak." in kept and "3 bijlagen" in kept
        first.get_by_role("link", name="Als tekst", exact=True).click()
        expect(page.get_by_text("De tekst zonder opmaak.")).to_be_visible()
        look("words")
        page.get_by_role("link", name="Terug naar de berichten").click()
        page.get_by_role("link", name="Nieuwste eerst").click()
        expect(page.locator("article").first).to_contain_text("Antwoord 6.")
        look("newest")


def test_what_is_printed_is_the_words_and_not_the_buttons(
    ground: Ground, live_server: LiveServer, chromium: Chromium
) -> None:
    ground.configure(url=live_server.url)
    recipient = conversation(ground)
    with chromium.visit(java_script_enabled=False) as visit:
        page = visit.page
        open_in(page, ground, live_server, recipient)
        printed = "".join(one.extract_text() for one in PdfReader(io.BytesIO(page.pdf())).pages)
        assert "worden vanaf deze pagina niet volledig afgedrukt" in " ".join(printed.split())
        page.get_by_role("link", name="Als tekst, om af te drukken").click()
        expect(page.get_by_text("De tekst zonder opmaak.")).to_be_visible()
        on_paper = " ".join("".join(one.extract_text() for one in PdfReader(io.BytesIO(page.pdf())).pages).split())
        for said in (MARKER, "De tekst zonder opmaak.", *(f"Antwoord {number}." for number in range(7)), "foto.png"):
            assert said in on_paper, said
        for said in ("Terug naar", "Opslaan", "Nederlands", "Antwoord versturen"):
            assert said not in on_paper and said not in printed, said
