"""The gateway's own mails as people see them: in Chromium, by day and by night, on a telephone and on a screen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, Literal

import pytest

from tests.core.test_texts import Make, every_language, every_mail
from tests.needs import needs
from tests.peers.chromium import Chromium, browser, fits
from tests.web.test_look_and_language import contrast, luminance
from zegel.core.mail.texts import Language

Scheme = Literal["light", "dark"]

LONG_NAME: Final = "Polikliniek Cardiologie van het Voorbeeldziekenhuis Noord"
LONG_WORD: Final = "Donaudampfschifffahrtsgesellschaftskapitän" * 3
TELEPHONE: Final = 320
READABLE: Final = 4.5  # WCAG 2.2 §1.4.3
TOUCHABLE: Final = 44  # WCAG 2.2 §2.5.5

every_scheme = pytest.mark.parametrize("scheme", ["light", "dark"])
every_width = pytest.mark.parametrize("width", [TELEPHONE, 640])

# Of each piece of text: its words, its colour, and the first background below it that isn't transparent.
LOOK: Final = """() => {
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), parent = walker.currentNode.parentElement;
    if (!text) continue;
    let below = parent;
    const background = (one) => getComputedStyle(one).backgroundColor;
    while (below && background(below) === "rgba(0, 0, 0, 0)") below = below.parentElement;
    found.push([text, getComputedStyle(parent).color, below ? background(below) : "none"]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    needs("chromium")
    with browser() as running:
        yield running


def hexadecimal(colour: str) -> str:
    """``rgb(29, 33, 37)`` as ``#1d2125``; what is not opaque is no colour here."""
    found = re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", colour)
    assert found is not None, colour
    return "#" + "".join(f"{int(one):02x}" for one in found.groups())


@every_mail
@every_language
@every_scheme
@every_width
def test_it_can_be_read_and_touched_and_asks_nobody_for_anything(
    chromium: Chromium, make: Make, language: Language, scheme: Scheme, width: int
) -> None:
    mail = make(LONG_NAME, LONG_WORD, language)
    with chromium.visit(java_script_enabled=False, width=width, height=600) as visit:
        page = visit.page
        page.emulate_media(color_scheme=scheme)
        page.set_content(mail.html)
        pieces: list[tuple[str, str, str]] = page.evaluate(LOOK)
        ratios = {text: contrast(hexadecimal(colour), hexadecimal(below)) for text, colour, below in pieces}
        assert {text: round(ratio, 2) for text, ratio in ratios.items() if ratio < READABLE} == {}
        backgrounds = [luminance(hexadecimal(below)) for text, _, below in pieces if text == pieces[0][0]]
        assert all(one < 0.1 if scheme == "dark" else one > 0.9 for one in backgrounds)  # it is night
        assert fits(page)
        for link in page.locator("a").all():
            box: Any = link.bounding_box()
            assert box["height"] >= TOUCHABLE and box["width"] >= TOUCHABLE
        assert page.locator(f"html[lang={language}][dir=ltr]").count() == 1
        assert visit.requests == []


@every_mail
@every_language
def test_the_words_on_the_screen_are_those_of_the_text(chromium: Chromium, make: Make, language: Language) -> None:
    mail = make("Balie", "Uitslag", language)
    with chromium.visit(java_script_enabled=False) as visit:
        visit.page.set_content(mail.html)
        seen = visit.page.locator("body").inner_text()
        links = [str(one.get_attribute("href")) for one in visit.page.locator("a").all()]
    said = mail.text
    for link in links:  # a button there
        assert f"\n{link}\n" in said
        said = said.replace(f"\n{link}\n", "\n")
    assert words(seen) == words(said)


def words(text: str) -> list[str]:
    """All of them; a colon stands behind a label in the text alone."""
    return sorted(text.replace(":", " ").split())
