"""Every text in Dutch, every catalogue compiled, every colour readable (P25)."""

from __future__ import annotations

import gettext
import io
import itertools
import re
from pathlib import Path

import pytest

from zegel.web import translations

CSS = Path(translations.__file__).parent / "static" / "zegel.css"
SURFACES = ("page", "surface", "sunken")
READABLE = (
    *itertools.product(("text", "quiet", "accent", "accent-strong", "good", "warn", "bad"), SURFACES),
    ("on-accent", "accent"),
    ("on-accent", "accent-strong"),
    ("accent", "accent-soft"),
    ("accent-strong", "accent-soft"),
    *((one, f"{one}-soft") for one in ("good", "warn", "bad")),
    *itertools.product(("text", "quiet"), ("accent-soft", "good-soft", "warn-soft", "bad-soft")),
)
VISIBLE = tuple(itertools.product(("edge", "focus"), SURFACES))  # borders of inputs, focus: WCAG 2.2 §1.4.11


def test_every_text_has_a_dutch_translation() -> None:
    lacking = sorted({f"{path.relative_to(translations.PACKAGE)}: {text}" for path, text in translations.missing("nl")})
    assert not lacking, "\n".join(["", *lacking])


@pytest.mark.parametrize("po", translations.po_files(), ids=lambda po: str(po.relative_to(translations.PACKAGE)))
def test_every_compiled_catalogue_is_that_of_its_source(po: Path) -> None:
    assert po.with_suffix(".mo").read_bytes() == translations.compiled(translations.catalogue(po)), (
        "run: python -m zegel.web.translations"
    )


def test_a_compiled_catalogue_is_what_gettext_reads(tmp_path: Path) -> None:
    po = tmp_path / "django.po"
    po.write_text(
        'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n'
        '"Plural-Forms: nplurals=2; plural=(n != 1);\\n"\n\n'
        'msgid "a \\"quote\\""\nmsgstr "een “aanhaling”"\n\n'
        'msgid "one"\nmsgid_plural "many"\nmsgstr[0] "één"\nmsgstr[1] "veel"\n\n'
        'msgctxt "place"\nmsgid "here"\nmsgstr "hier"\n\n'
        '#, fuzzy\nmsgid "guess"\nmsgstr "gok"\n\n'
        'msgid "empty"\nmsgstr ""\n\n'
        'msgid ""\n"two "\n"lines"\nmsgstr ""\n"twee "\n"regels"\n',
        "utf-8",
    )
    read = gettext.GNUTranslations(io.BytesIO(translations.compiled(translations.catalogue(po))))
    assert read.gettext('a "quote"') == "een “aanhaling”"
    assert [read.ngettext("one", "many", count) for count in (1, 2)] == ["één", "veel"]
    assert read.pgettext("place", "here") == "hier"
    assert [read.gettext(text) for text in ("guess", "empty")] == ["guess", "empty"]
    assert read.gettext("two lines") == "twee regels"


def test_placeholders_survive_translation() -> None:
    for po in translations.po_files():
        for source, text in translations.catalogue(po).items():
            sources = source.split("\0")  # one, or one and many
            for number, form in enumerate(text.split("\0")):
                wanted = set(re.findall(r"%\(\w+\)s", sources[min(number, len(sources) - 1)]))
                assert set(re.findall(r"%\(\w+\)s", form)) == wanted, source


def tokens(scheme: str) -> dict[str, str]:
    css = CSS.read_text()
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", css.partition("@media (prefers-contrast")[0], re.DOTALL)
    )
    return light if scheme == "light" else {**light, **dark}


def luminance(colour: str) -> float:
    """WCAG 2.2, *relative luminance*."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_on_what_it_stands_on(scheme: str) -> None:
    colours = tokens(scheme)
    too_faint = {
        pair: ratio for pair in READABLE if (ratio := round(contrast(colours[pair[0]], colours[pair[1]]), 2)) < 4.5
    }
    assert not too_faint


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_edges_and_focus_can_be_seen(scheme: str) -> None:
    colours = tokens(scheme)
    too_faint = {
        pair: ratio for pair in VISIBLE if (ratio := round(contrast(colours[pair[0]], colours[pair[1]]), 2)) < 3
    }
    assert not too_faint


def test_the_stylesheet_fetches_nothing_and_stays_small() -> None:
    css = CSS.read_text()
    assert "url(" not in css
    assert "@import" not in css
    assert len(css) < 15_500
