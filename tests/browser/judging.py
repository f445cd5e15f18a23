"""What is demanded of every page in every state (WCAG 2.2 AA), as far as a browser can tell. Each judge gives the
sentences of what is wrong; none is what is wished for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.resources import files
from typing import Final, Literal

from playwright.sync_api import Page, Response

AXE: Final = (files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
TAGS: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
Language = Literal["nl", "en"]
Scheme = Literal["light", "dark"]
WIDTHS: Final = (1280, 320)
SCHEMES: Final[tuple[Scheme, ...]] = ("light", "dark")
ZOOMED: Final = 640  # CSS pixels of a window of 1280 at 200 %: WCAG 2.2 §1.4.4
LIGHT_ENOUGH: Final = 60_000  # octets of HTML, CSS and JavaScript of a page, without what people wrote


@dataclass(frozen=True, slots=True)
class View:
    """How a page is looked at, and whether by axe as well."""

    width: int
    scheme: Scheme
    by_axe: bool = True


PAIRWISE: Final[dict[Language, tuple[View, ...]]] = {
    "nl": (View(1280, "light"), View(320, "dark")),
    "en": (View(1280, "dark", by_axe=False), View(320, "light", by_axe=False)),
}
"""Each width with each scheme and each language once. What axe judges is the same markup and the same colours in both
languages; what differs, words and their length, others judge."""
EVERY: Final = tuple(View(width, scheme) for width in WIDTHS for scheme in SCHEMES)
IN_EVERY_VIEW: Final = "ZEGEL_IN_EVERY_VIEW"  # "true": all of it, in both languages


def views(language: Language) -> tuple[View, ...]:
    """In which a page is judged."""
    return EVERY if os.environ.get(IN_EVERY_VIEW) == "true" else PAIRWISE[language]


_RUN: Final = """async tags => {
  const found = await axe.run(document, {
    runOnly: {type: "tag", values: tags}, iframes: false, resultTypes: ["violations"],
    rules: {"page-has-heading-one": {enabled: !document.querySelector("body > main[dir=auto]")}}});
  return found.violations.map(one => [one.id, one.help,
    one.nodes.map(node => node.target.join(" ") + ": "
      + (node.any[0] || node.all[0] || node.none[0] || {message: ""}).message)]);
}"""
_WIDER: Final = """() => {
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (wide <= 0) return [];
  const over = [...document.querySelectorAll("body *")].filter(
    one => one.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5);
  return [wide + " px, by " + over.slice(-3).map(one => one.tagName + "." + one.className).join(", ")];
}"""
_UNTIED: Final = """() => [...document.querySelectorAll("main [aria-invalid=true]")].flatMap(one => {
  const group = one.closest("fieldset");
  const ids = [one.getAttribute("aria-describedby"), group && group.getAttribute("aria-describedby")]
    .filter(Boolean).join(" ").split(" ");
  const words = ids.filter(Boolean).map(id => document.getElementById(id)).filter(Boolean);
  const wrong = words.filter(word => word.matches(".error, .error-summary, [role=alert]") && word.textContent.trim());
  return wrong.length ? [] : [one.name + " is invalid, and nothing tied to it says why"];
})"""
_DRAWN: Final = "() => new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))"
"""A window that was made smaller a moment ago is drawn anew."""
_LANGUAGES: Final = """language => {
  const wrong = [], said = document.documentElement.lang;
  for (const one of document.querySelectorAll(".language button"))
    if (!one.lang) wrong.push("the button " + one.textContent + " is in a language that is not said");
  if (!said) wrong.push("the page says no language");
  const both = document.querySelector(`main [lang=${language}]`);  // where no language was chosen yet
  if (said && said !== language && !both) wrong.push("the page is in " + said + ", and should be in " + language);
  return wrong;
}"""
_OWN_WORDS: Final = """() => [...document.querySelectorAll(".message-text, pre.viewed, body > main[dir=auto]")].reduce(
  (sum, one) => sum + new Blob([one.innerHTML]).size, 0)"""


def axe(page: Page) -> Iterator[str]:
    """Every rule of axe-core for A and AA, and its good practices; a frame is a page of its own."""
    if not page.evaluate("typeof window.axe === 'object'"):
        page.evaluate(AXE)
    for rule, means, nodes in page.evaluate(_RUN, TAGS):
        yield f"{rule} ({means}): {'; '.join(nodes)}"


def fits(page: Page) -> Iterator[str]:
    """Nobody scrolls sideways (WCAG 2.2 §1.4.10)."""
    page.evaluate(_DRAWN)
    yield from (f"wider than the window: {one}" for one in page.evaluate(_WIDER))


def errors_are_tied(page: Page) -> Iterator[str]:
    """What is wrong with a field is said with the field (WCAG 2.2 §3.3.1, §1.3.1)."""
    yield from page.evaluate(_UNTIED)


def languages_are_said(page: Page, language: Language) -> Iterator[str]:
    """Of the page, which is that of its reader, and of what is in another one (WCAG 2.2 §3.1.1, §3.1.2)."""
    yield from page.evaluate(_LANGUAGES, language)


def titled(page: Page, site: str) -> Iterator[str]:
    """The title says which page it is, and whose (WCAG 2.2 §2.4.2)."""
    which, separator, whose = page.title().rpartition(" – ")
    if not (which.strip() and separator and whose == site):
        yield f"the title is {page.title()!r}, and should end in {site!r}"


def judged(page: Page, language: Language) -> Iterator[str]:
    """All of it, in every view of that language, and at 200 %."""
    yield from errors_are_tied(page)
    yield from languages_are_said(page, language)
    size = page.viewport_size
    for view in views(language):
        page.set_viewport_size({"width": view.width, "height": 800})
        page.emulate_media(color_scheme=view.scheme, reduced_motion="reduce")
        for one in (*fits(page), *(axe(page) if view.by_axe else ())):
            yield f"{view.width} px, {view.scheme}: {one}"
    page.set_viewport_size({"width": ZOOMED, "height": 400})
    yield from (f"at 200 %: {one}" for one in fits(page))
    page.emulate_media(color_scheme="light")
    if size is not None:
        page.set_viewport_size(size)


@dataclass
class Weight:
    """Sums what a browser loads for a page: HTML, style sheets and scripts, uncompressed."""

    page: Page
    _loaded: dict[str, Response] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.page.on("response", self._answered)

    def _answered(self, response: Response) -> None:
        request = response.request
        is_own = request.frame == self.page.main_frame and request.resource_type in ("document", "stylesheet", "script")
        if not is_own or response.status == HTTPStatus.NO_CONTENT or 300 <= response.status < 400:
            return  # the page stays, or another follows
        if request.is_navigation_request():
            self._loaded.clear()
        self._loaded[response.url] = response

    def octets(self) -> int:
        """Of the page as it is now, without what people wrote in it."""
        written: int = self.page.evaluate(_OWN_WORDS)
        return sum(len(one.body()) for one in self._loaded.values()) - written

    def judged(self) -> Iterator[str]:
        """Whether that is light enough."""
        if (octets := self.octets()) > LIGHT_ENOUGH:
            parts = ", ".join(f"{len(one.body())} {one.url.rsplit('/', 1)[-1][:40]}" for one in self._loaded.values())
            yield f"{octets} octets: {parts}"


Findings = dict[str, list[str]]
"""By state; a state with nothing wrong is not there."""


def as_text(findings: Findings) -> str:
    """For who has to mend it."""
    return "\n".join(["", *(f"{state}: {one}" for state, found in findings.items() for one in found)])
