"""The way in, in a real browser: how short it is, and that what follows links and presses buttons by itself opens and
locks nothing (scanners of links run browsers too)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Error, Page, expect
from pytest_django.live_server_helper import LiveServer

from tests.journey.portal_ground import MARKER, PASSWORD, TOTP, Clock, Ground, mail
from tests.needs import needs
from tests.peers.chromium import Chromium, Visit, browser, fits
from zegel.accounts import policy as policies
from zegel.accounts.models import RememberedDevice
from zegel.accounts.sign_in import current_totp, enrol_totp
from zegel.core.mail.mime import as_text
from zegel.core.policy.case import Case
from zegel.core.policy.challenge import CODES_PER_HOUR, FREE_ACCESS_CODE_TRIES
from zegel.core.policy.permitting import RecipientPolicy
from zegel.core.policy.precedence import plan, plan_to_json
from zegel.journey.custody.models import Challenge, MethodRequest, Proof, Recipient, Sms, Transmission, WrongTry

pytestmark = pytest.mark.django_db(transaction=True)

MOST_PAGES: Final = 40
FILL = """() => {
  for (const field of document.querySelectorAll("input, textarea")) {
    if (field.type === "radio" || field.type === "checkbox") field.checked = true;
    else if (field.type !== "hidden") field.value = "test";
  }
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    needs("chromium")
    with pytest.MonkeyPatch.context() as patch, browser() as running:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright keeps an event loop in this thread
        yield running


def message(ground: Ground, method: str) -> Recipient:
    case = Case()
    return ground.recipient(
        ground.conversation(mail()),
        method=method,
        access_code="tulp",
        hint="bloem",
        plan=plan_to_json(plan(case), case),
        decided_at=ground.clock(),
    )


def code_of(ground: Ground, recipient: Recipient) -> str:
    if recipient.method != "email":
        return "tulp" if recipient.method == "access-code" else ground.last_code()
    found = re.search(r"\b(\d{6})\b", as_text(ground.mails("code")[-1].partition(b"\r\n\r\n")[2], "utf-8"))
    assert found is not None
    return found[1]


# How short it is


@pytest.mark.parametrize(
    ("method", "most_pages", "most_clicks"), [("email", 3, 2), ("sms", 3, 2), ("access-code", 2, 1)]
)
def test_from_the_link_to_readable_text(
    ground: Ground, live_server: LiveServer, chromium: Chromium, method: str, most_pages: int, most_clicks: int
) -> None:
    """Without JavaScript."""
    ground.configure(url=live_server.url)
    recipient = message(ground, method)
    with chromium.visit(java_script_enabled=False) as visit:
        page, pages, clicks = visit.page, list[str](), 0
        page.on("load", lambda loaded: pages.append(loaded.url))
        page.goto(f"{live_server.url}/m/{ground.link(recipient)}")
        if method != "access-code":
            page.locator("main form button").first.click()
            clicks += 1
        page.locator("main [name=code]").fill(code_of(ground, recipient))
        page.locator("main form button").first.click()
        clicks += 1
        expect(page.get_by_text("De uitslag is goed.")).to_be_visible()
        expect(page).to_have_url(re.compile("/read$"))
        assert len(pages) <= most_pages and clicks <= most_clicks, pages
        print(f'{{"method": "{method}", "pages": {len(pages)}, "clicks": {clicks}}}')


@pytest.mark.parametrize("behind", ["", "/", "/devices"])
def test_who_followed_a_dead_link_reads_why_in_the_other_language(
    ground: Ground, live_server: LiveServer, chromium: Chromium, behind: str
) -> None:
    """And the link goes nowhere else, not even to our own style sheets and back."""
    ground.configure(url=live_server.url)
    token, told = "C" * 43, list[str]()
    with chromium.visit(java_script_enabled=False) as visit:
        visit.context.on("request", lambda request: told.append(str(request.all_headers()) + (request.post_data or "")))
        visit.page.goto(f"{live_server.url}/m/{token}{behind}")
        visit.page.get_by_role("button", name="English").click()
        expect(visit.page.get_by_role("button", name="English", pressed=True)).to_be_visible()
        assert visit.page.url == f"{live_server.url}/"
    assert len(told) > 3 and not [one for one in told if token in one]


def test_a_further_message_on_a_remembered_device_is_one_click(
    ground: Ground, live_server: LiveServer, chromium: Chromium, tmp_path: Path
) -> None:
    ground.configure(url=live_server.url)
    policies.permit(ground.organisation, RecipientPolicy(remembers_devices_days=30))
    first, second = message(ground, "sms"), message(ground, "sms")
    with chromium.visit(java_script_enabled=False, width=320) as visit:
        page = visit.page
        page.goto(f"{live_server.url}/m/{ground.link(first)}")
        page.locator("main form button").first.click()
        expect(page.get_by_label("Dit apparaat 30 dagen onthouden")).not_to_be_checked()
        page.screenshot(path=tmp_path / "verify.png", full_page=True)
        page.get_by_label("Dit apparaat 30 dagen onthouden").check()
        page.locator("main [name=code]").fill(ground.last_code())
        page.get_by_role("button", name="Bericht openen").click()
        expect(page).to_have_url(re.compile("/read$"))
        page.goto(f"{live_server.url}/m/{ground.link(second)}")
        page.screenshot(path=tmp_path / "remembered.png", full_page=True)
        page.get_by_role("button", name="Bericht openen").click()
        expect(page).to_have_url(re.compile("/read$"))
        page.goto(f"{live_server.url}/r/{second.id}/devices")
        page.screenshot(path=tmp_path / "devices.png", full_page=True)
        assert fits(page)
        page.get_by_role("button", name="Dit apparaat verwijderen").click()
        expect(page).to_have_url(re.compile(rf"/r/{second.id}/\?to=devices$"))  # it needs a code now
    assert Sms.objects.count() == 1 and not RememberedDevice.objects.exists()


def test_a_guest_who_cannot_use_the_number_tells_the_sender(
    ground: Ground, live_server: LiveServer, chromium: Chromium, tmp_path: Path
) -> None:
    ground.configure(url=live_server.url)
    recipient = message(ground, "sms")
    with chromium.visit(java_script_enabled=False, width=320) as visit:
        page = visit.page
        page.goto(f"{live_server.url}/m/{ground.link(recipient)}")
        page.get_by_role("link", name="Ik krijg de code niet").click()
        page.get_by_role("button", name="Afzender laten weten").click()
        expect(page.get_by_text("Kies wat er aan de hand is.").first).to_be_visible()
        page.screenshot(path=tmp_path / "another-way.png", full_page=True)
        page.get_by_label("Dat nummer is niet van mij, of niet meer").check()
        page.get_by_role("button", name="Afzender laten weten").click()
        expect(page.get_by_role("heading", name="De afzender weet ervan")).to_be_visible()
        page.screenshot(path=tmp_path / "asked.png", full_page=True)
        assert fits(page)
    assert MethodRequest.objects.get().why == "number-changed"


# What opens nothing


def press_everything(visit: Visit, start: str, root: str, *, fills: bool) -> list[str]:
    """Follows every link of every page and presses every button of it, as a scanner of links with a browser does; then
    sends every form past what the browser would check. All pages that were seen."""
    page, waiting, seen = visit.page, [start], list[str]()
    while waiting and len(seen) < MOST_PAGES:
        address = waiting.pop(0)
        if address in seen:
            continue
        seen.append(address)
        try:
            page.goto(address)
        except Error:  # where only a form may be sent to
            continue
        found = links_of(page, root)
        for button in range(page.locator("button").count()):
            page.goto(address)
            press(
                page,
                f"() => {{ const found = document.querySelectorAll('button')[{button}]; found && found.click() }}",
                fills,
            )
            found += [*links_of(page, root), page.url]
        for form in range(page.locator("form").count()):
            page.goto(address)
            press(page, f"() => {{ const found = document.forms[{form}]; found && found.submit() }}", fills)
            found += [*links_of(page, root), page.url]
        waiting += [one for one in found if one not in seen and "/r/" in one]
    return seen


def press(page: Page, what: str, fills: bool) -> None:
    if fills:
        page.evaluate(FILL)
    page.evaluate(what)
    page.wait_for_timeout(100)  # for the browser to leave the page, if it does
    page.wait_for_load_state("load")


def links_of(page: Page, root: str) -> list[str]:
    """Those of guests' pages; asked again where the browser was just leaving."""
    for _ in range(20):
        try:
            found: list[str] = page.evaluate("[...document.links].map(one => one.href.split('#')[0])")
            return [one for one in found if one == f"{root}/" or one.startswith((f"{root}/m/", f"{root}/r/"))]
        except Error:
            page.wait_for_timeout(100)
    raise AssertionError("a page that is always about to leave")


@pytest.mark.parametrize("fills", [False, True], ids=["empty", "filled"])
@pytest.mark.parametrize("method", ["sms", "email", "access-code", "account"])
def test_what_presses_every_button_without_a_code_opens_nothing_and_locks_nobody_out(
    ground: Ground, clock: Clock, live_server: LiveServer, chromium: Chromium, method: str, fills: bool
) -> None:
    ground.configure(url=live_server.url)
    policies.permit(ground.organisation, RecipientPolicy(remembers_devices_days=30))
    recipient = message(ground, method)
    token = ground.link(recipient)
    with chromium.visit() as visit:
        seen = press_everything(visit, f"{live_server.url}/m/{token}", live_server.url, fills=fills)
        assert MARKER not in visit.page.content()
    guests = {one.removeprefix(live_server.url).split("?")[0].rsplit("/", 1)[-1] for one in seen if "/r/" in one}
    assert "" in guests and "another-way" in guests
    recipient.refresh_from_db()
    assert recipient.state == Recipient.State.NOTIFIED and recipient.opened_at is None
    assert not Proof.objects.exists() and not RememberedDevice.objects.exists()
    assert Challenge.objects.count() <= 1 < CODES_PER_HOUR  # the clock stands still: one code, then the cool-down
    assert Transmission.objects.filter(kind="notice").count() == MethodRequest.objects.count() <= int(fills)
    tries = WrongTry.objects.count()
    # Words in the place of an access code are wrong tries, whoever writes them: then a minute has to be waited.
    assert tries == 0 if method != "access-code" or not fills else 0 < tries <= FREE_ACCESS_CODE_TRIES
    if method == "account":
        return
    clock.forward(minutes=1)
    with chromium.visit(java_script_enabled=False) as visit:
        page = visit.page
        page.goto(f"{live_server.url}/m/{token}")
        if method != "access-code":
            page.locator("main form button").first.click()
        page.locator("main [name=code]").fill(code_of(ground, recipient))
        page.locator("main form button").first.click()
        expect(page).to_have_url(re.compile("/read$"))
    recipient.refresh_from_db()
    assert str(recipient.state) == "opened"


@pytest.mark.parametrize("width", [1280, 320])
def test_a_sender_allows_another_way_with_one_click(
    ground: Ground, live_server: LiveServer, chromium: Chromium, tmp_path: Path, width: int
) -> None:
    ground.configure(url=live_server.url)
    recipient = message(ground, "sms")
    asked = MethodRequest.objects.create(recipient=recipient, method="sms", why="number-changed", at=ground.clock())
    enrol_totp(ground.author, TOTP)
    with chromium.visit(java_script_enabled=False, width=width) as visit:
        page = visit.page
        page.goto(f"{live_server.url}/another-way/{recipient.id}/")
        page.locator("[name=login]").fill(ground.author.email)
        page.locator("[name=password]").fill(PASSWORD)
        page.locator("main form button").first.click()
        page.locator("[name=code]").fill(current_totp(TOTP))
        page.locator("main form button").first.click()
        expect(page).to_have_url(re.compile(f"/another-way/{recipient.id}/$"))
        expect(page.get_by_text("Dat nummer is niet van mij, of niet meer")).to_be_visible()
        page.screenshot(path=tmp_path / f"allow-{width}.png", full_page=True)
        assert fits(page)
        page.get_by_label("Mobiel nummer").fill("geen nummer")
        page.get_by_role("button", name="Deze manier toestaan").first.click()
        expect(page.get_by_role("alert")).to_contain_text("Mobiel nummer")
        page.screenshot(path=tmp_path / f"wrong-{width}.png", full_page=True)
        page.get_by_role("button", name="Deze manier toestaan").last.click()
        expect(page.get_by_text("Toegestaan. De ontvanger krijgt een nieuwe notificatie")).to_be_visible()
        page.screenshot(path=tmp_path / f"allowed-{width}.png", full_page=True)
    recipient.refresh_from_db()
    asked.refresh_from_db()
    assert (recipient.method, asked.answer, asked.other) == ("email", "allowed", "email")
    assert Transmission.objects.filter(kind="again").count() == 1
