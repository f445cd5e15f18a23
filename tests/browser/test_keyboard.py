"""With the keyboard alone, and for who set the browser or the system otherwise (WCAG 2.2 §2.1, §2.4, §1.4)."""

from __future__ import annotations

from typing import Any, Final

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from tests.browser.judging import Weight
from tests.browser.scenes_guest import invited
from tests.browser.stage import SCENES, Scene, Stage
from tests.browser.walking import walk
from tests.journey.portal_ground import Ground
from tests.peers.chromium import Chromium

pytestmark = pytest.mark.django_db(transaction=True)
WALKED: Final = [
    SCENES[name]
    for name in ("guest-by-text-message", "guest-by-access-code", "guest-reads-and-answers", "messages", "follow-up")
]
MOST: Final = 150  # tabs on one page

_ORDER: Final = """() => [...document.querySelectorAll(
  "a[href], button, input:not([type=hidden]), select, textarea, summary, iframe, [tabindex='0']")]
  .filter(one => !one.disabled && one.checkVisibility({visibilityProperty: true}))
  .filter(one => one.type !== "radio" || one.checked
    || (!document.querySelector(`[name="${one.name}"]:checked`)
      && one === document.querySelector(`[name="${one.name}"]`)))
  .map((one, n) => {
    one.dataset.n = n;
    return one.tagName + " " + (one.innerText || one.name || one.title || "").slice(0, 30);
  })"""
_FOCUSED: Final = """() => {
  const one = document.activeElement;
  if (!one || one === document.body || one.dataset.n === undefined) return null;
  const style = getComputedStyle(one), box = one.getBoundingClientRect();
  return {n: Number(one.dataset.n), name: one.tagName + " " + (one.innerText || one.name || "").slice(0, 30),
    ringed: one.tagName === "IFRAME" || (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2),
    seen: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth};
}"""


def tab_through(page: Page) -> list[str]:
    """What is wrong with going through a page with the Tab key."""
    page.emulate_media(reduced_motion="reduce")  # what slides in is there at once
    for frame in page.locator("iframe").all():
        if frame.is_visible():
            frame.scroll_into_view_if_needed()  # it is loaded when it is near
            frame.content_frame.locator("body").wait_for()
    wanted: list[str] = page.evaluate(_ORDER)
    page.evaluate("document.querySelector('[data-n=\"0\"]').focus()")  # not where a fragment of the address begins
    reached = [0]
    wrong: list[str] = []
    for _ in range(MOST):
        page.keyboard.press("Tab")
        found: dict[str, Any] | None = page.evaluate(_FOCUSED)
        if found is None:  # into a frame, or past the end
            if len(reached) >= len(wanted):
                break
            continue
        if found["n"] in reached[:-1] or (reached and found["n"] == reached[0] and len(reached) > 1):
            break
        if reached and found["n"] == reached[-1]:
            continue  # a frame has stops of its own
        reached.append(found["n"])
        if not found["ringed"]:
            wrong.append(f"no ring shows that {found['name']} has the focus")
        if not found["seen"]:
            wrong.append(f"{found['name']} has the focus, out of sight")
    if reached != sorted(reached):
        wrong.append(f"not in the order in which it is read: {[wanted[n] for n in reached]}")
    missed = [one for n, one in enumerate(wanted) if n not in reached]
    if missed:
        wrong.append(f"never reached: {missed}")
    return wrong


@pytest.mark.parametrize("one", WALKED, ids=lambda one: one.name)
def test_everything_is_reached_in_the_order_in_which_it_is_read(
    one: Scene, ground: Ground, live_server: LiveServer, chromium: Chromium
) -> None:
    wrong: list[str] = []

    def look(stage: Stage, state: str) -> None:
        if "body alone" not in state:
            wrong.extend(f"{state}: {found}" for found in tab_through(stage.page))

    walk(one, "nl", look, ground=ground, url=live_server.url, chromium=chromium)
    assert not wrong, "\n".join(["", *wrong])


def test_a_trap_a_hidden_ring_and_what_is_passed_by_are_seen(chromium: Chromium) -> None:
    with chromium.visit() as visit:
        visit.page.set_content(
            "<style>input{outline:none!important}</style><a href=#a>een</a><button tabindex=1>twee</button>"
            "<input name=drie onkeydown='event.preventDefault()'><button>vier</button>"
        )
        found = " ".join(tab_through(visit.page))
    assert "no ring" in found and "never reached: ['BUTTON twee', 'BUTTON vier']" in found


def test_the_first_stop_leads_past_the_header(live_server: LiveServer, ground: Ground, chromium: Chromium) -> None:
    with chromium.visit(java_script_enabled=True) as visit:
        page = visit.page
        page.emulate_media(reduced_motion="reduce")  # what slides in is there at once
        page.goto(f"{live_server.url}/account/sign-in/")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("Tab")
        skip = page.locator(":focus")
        assert skip.get_attribute("href") == "#main"
        box = skip.bounding_box()
        assert box is not None and box["y"] >= 0
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.keyboard.press("Tab")
        assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


def test_a_guest_comes_from_the_link_to_the_answer_with_the_keyboard_alone(
    ground: Ground, live_server: LiveServer, chromium: Chromium
) -> None:
    ground.configure(url=live_server.url)
    with chromium.visit(java_script_enabled=False) as visit:
        page = visit.page
        stage = Stage(ground, page, live_server.url, "nl", Weight(page))
        invited(stage)

        def tab_to(name: str, role: Any = "button") -> None:
            wanted = page.get_by_role(role, name=name).first
            for _ in range(60):
                page.keyboard.press("Tab")
                if wanted.evaluate("one => one === document.activeElement"):
                    return
            raise AssertionError(f"{name} is not reached")

        tab_to("+31 6 ****5678")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        tab_to("Code van zes cijfers", "textbox")
        page.keyboard.type(ground.last_code())
        with page.expect_navigation():
            page.keyboard.press("Enter")
        tab_to("Uw antwoord", "textbox")
        page.keyboard.type("Dank u wel.")
        tab_to("Antwoord versturen")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        expect(page.get_by_text("Uw antwoord is veilig verstuurd.")).to_be_visible()


def test_nothing_moves_for_who_wants_no_motion(live_server: LiveServer, ground: Ground, chromium: Chromium) -> None:
    with chromium.visit() as visit:
        page = visit.page
        page.goto(f"{live_server.url}/account/sign-in/")
        moving = "getComputedStyle(document.querySelector('main .button')).transitionDuration"
        assert page.evaluate(moving) != "0s"
        page.emulate_media(reduced_motion="reduce")
        assert page.evaluate(moving) == "0s"


def test_colours_of_the_system_and_more_contrast_are_followed(
    live_server: LiveServer, ground: Ground, chromium: Chromium
) -> None:
    with chromium.visit() as visit:
        page = visit.page
        page.goto(f"{live_server.url}/account/sign-in/")
        edge = "getComputedStyle(document.querySelector('main .card')).borderTopColor"
        quiet = "getComputedStyle(document.querySelector('.site-footer')).color"
        usual = page.evaluate(edge), page.evaluate(quiet)
        page.emulate_media(contrast="more")
        more = page.evaluate(edge), page.evaluate(quiet)
        assert usual[0] != more[0] and usual[1] != more[1]
        page.emulate_media(contrast=None, forced_colors="active")
        border = "getComputedStyle(document.querySelector('main .button')).borderTopStyle"
        assert page.evaluate(border) == "solid"
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
