"""The look of an organisation: a colour that everybody can read, and a logo that is an image and nothing else."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import zegel
from zegel.core.look import (
    DARK_SURFACES,
    DARK_TEXTS,
    LARGEST_LOGO,
    LIGHT_SURFACES,
    LIGHT_TEXTS,
    READABLE,
    NotAColour,
    NotALogo,
    NotALook,
    TooLight,
    contrast,
    palette,
    parse_colour,
    parse_logo,
    sheet_name,
    sheet_of,
    style_sheet,
)
from zegel.core.mail.address import Mailbox
from zegel.core.mail.texts import PLAIN, Notification, notification_mail
from zegel.core.secret import Secret

CSS = Path(zegel.__file__).parent / "web" / "static" / "zegel.css"
colours = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}")


@pytest.mark.parametrize("text", ["", "rood", "#12345", "#1234567", "0f56 66", "#0f5666;}", "url(x)", "#0f566g", "٠٠٠"])
def test_what_is_no_colour_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(NotAColour, match="such as #0f5666"):
        parse_colour(text)


def test_a_colour_is_written_in_one_way() -> None:
    assert parse_colour(" #0F5666 ") == parse_colour("0f5666") == "#0f5666"
    assert parse_colour("#abc") == "#aabbcc"


@given(colours)
def test_a_colour_can_be_read_everywhere_or_is_refused_with_one_that_can(accent: str) -> None:
    try:
        found = palette(accent)
    except TooLight as refused:
        assert refused.darker in str(refused)
        found = palette(refused.darker)
    for shades, surfaces, texts in (
        (found.light, LIGHT_SURFACES, LIGHT_TEXTS),
        (found.dark, DARK_SURFACES, DARK_TEXTS),
    ):
        for surface in (*surfaces, shades.soft):
            assert contrast(shades.accent, surface) >= READABLE
            assert contrast(shades.strong, surface) >= READABLE
        for text in texts:
            assert contrast(text, shades.soft) >= READABLE, (text, shades)
        assert contrast(shades.on_accent, shades.accent) >= READABLE
        assert contrast(shades.on_accent, shades.strong) >= READABLE


@pytest.mark.parametrize("accent", ["#ffcc00", "#ffffff", "#7fcddd", "#9aa5ab"])
def test_what_is_too_light_is_refused(accent: str) -> None:
    with pytest.raises(TooLight):
        palette(accent)


def test_the_surfaces_are_those_of_the_style_sheet() -> None:
    blocks = re.findall(r":root \{(.*?)\}", CSS.read_text().partition("@media print")[0], re.DOTALL)
    light, dark = (dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block)) for block in blocks[:2])
    for held, surfaces, texts in ((light, LIGHT_SURFACES, LIGHT_TEXTS), (dark, DARK_SURFACES, DARK_TEXTS)):
        assert tuple(held[name] for name in ("page", "surface", "sunken")) == surfaces
        assert tuple(held[name] for name in ("text", "quiet")) == texts


@given(colours)
def test_a_sheet_sets_colours_and_does_nothing_else(accent: str) -> None:
    try:
        sheet = style_sheet(accent)
    except TooLight:
        assert sheet_of(f"{accent[1:]}-0123456789abcdef") is None
        return
    assert not re.sub(
        r"--[a-z-]+: #[0-9a-f]{3,6};|:root|[{} \n]|@media|\(prefers-color-scheme: dark\)|print", "", sheet
    )
    assert sheet_of(sheet_name(accent)) == sheet


@pytest.mark.parametrize("name", ["", "0f5666", "0f5666-", "0f5666-0000000000000000", "../zegel", "0F5666-x" * 90])
def test_a_name_that_no_sheet_has_gives_none(name: str) -> None:
    assert sheet_of(name) is None


# The logo


def chunk(kind: bytes, held: bytes) -> bytes:
    return len(held).to_bytes(4, "big") + kind + held + zlib.crc32(kind + held).to_bytes(4, "big")


def png(
    width: int = 40,
    height: int = 10,
    *,
    more: bytes = b"",
    rows: bytes | None = None,
    end: bytes = b"",
    form: bytes = b"\x08\x02\0\0\0",  # eight bits of red, green and blue
) -> bytes:
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big") + form
    drawn = (b"\0" + b"\x8a\x1f\x5c" * width) * height if rows is None else rows
    image = chunk(b"IDAT", zlib.compress(drawn))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + more + image + chunk(b"IEND", b"") + end


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"GIF89a",
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"\xff\xd8\xff\xe0",
        png()[:-12],
        png()[:40],
        png()[:-1],
        png().replace(b"IHDR", b"IHDr"),
        png()[:60] + b"\0" + png()[61:],
        png(1201, 10, rows=b"\0"),
        png(10, 401, rows=b"\0"),
        png(0, 10),
        png(2**31, 2**31, rows=b"\0"),
        png(rows=b""),
        png(rows=bytes(5_000_000)),
        png(rows=bytes(10 * 121 - 1)),
        png(rows=bytes(10 * 121 + 1)),
        png(more=png()[8:33]),  # a second IHDR
        png(form=b"\x03\x02\0\0\0"),  # no such depth
        png(form=b"\x08\x05\0\0\0"),  # no such colour type
        png(form=b"\x08\x02\1\0\0"),
        png(form=b"\x08\x02\0\1\0"),
        png(form=b"\x08\x02\0\0\2"),
        png(form=b"\x08\x03\0\0\0", rows=bytes(10 * 41)),  # no palette
        png(more=chunk(b"tEXt", bytes(LARGEST_LOGO))),
    ],
)
def test_what_is_not_a_small_sound_png_is_refused_with_an_example(octets: bytes) -> None:
    with pytest.raises(NotALogo, match="such as one of 400 by 100 pixels"):
        parse_logo(octets)


@pytest.mark.parametrize(
    ("width", "height", "form", "octets"),
    [
        (40, 10, b"\x08\x06\0\0\0", 10 * 161),
        (40, 10, b"\x10\x00\0\0\0", 10 * 81),
        (9, 3, b"\x01\x00\0\0\0", 3 * 3),
        (1, 1, b"\x08\x00\0\0\1", 2),
        (8, 8, b"\x08\x00\0\0\1", 64 + 15),  # each pixel, and the filter of 1, 1, 1, 2, 2, 4 and 4 lines
        (5, 1, b"\x08\x02\0\0\1", 15 + 4),  # one line in the first, second, fourth and sixth pass
    ],
)
def test_a_logo_of_any_kind_there_is(width: int, height: int, form: bytes, octets: int) -> None:
    assert parse_logo(png(width, height, form=form, rows=bytes(octets))).width == width
    for wrong in (octets - 1, octets + 1):
        with pytest.raises(NotALogo):
            parse_logo(png(width, height, form=form, rows=bytes(wrong)))


def test_of_a_logo_the_image_alone_is_kept() -> None:
    told = chunk(b"tEXt", b"Author\0afzender") + chunk(b"eXIf", b"52.1 N") + chunk(b"acTL", bytes(8))
    found = parse_logo(png(more=told, end=b"<script>alert(1)</script>"))
    assert found == parse_logo(png())
    assert found.octets == png()
    assert (found.width, found.height) == (40, 10) and len(found.name) == 64


@given(st.binary(max_size=200), st.integers(0, 80))
def test_nothing_but_a_refusal_comes_of_damage(damage: bytes, at: int) -> None:
    whole = png()
    try:
        parse_logo(whole[:at] + damage + whole[at + len(damage) :])
    except NotALook:
        return


# In mail


def test_the_button_of_a_notification_has_the_colours_and_nothing_else_changes() -> None:
    told = Notification(
        sender_display="Balie",
        sender_address=Mailbox.parse("balie@voorbeeld.test"),
        organisation="Voorbeeldziekenhuis",
        link=Secret("https://portaal.voorbeeld.test/m/abc"),
        expires=None,
        subject=None,
        method="email",
        masked=None,
    )
    plain, painted = notification_mail(told, "nl"), notification_mail(replace(told, palette=palette("#8a1f5c")), "nl")
    assert plain[:2] == painted[:2]
    assert "#8a1f5c" in painted.html and palette("#8a1f5c").dark.accent in painted.html
    for ours, theirs in zip(
        (PLAIN.light.accent, PLAIN.dark.accent, PLAIN.dark.on_accent),
        ((made := palette("#8a1f5c")).light.accent, made.dark.accent, made.dark.on_accent),
        strict=True,
    ):
        assert ours in plain.html and ours not in painted.html
        painted = painted._replace(html=painted.html.replace(theirs, ours))
    assert plain.html == painted.html


def test_the_gateway_s_own_colours_of_mail_can_be_read() -> None:
    for shades in (PLAIN.light, PLAIN.dark):
        assert contrast(shades.on_accent, shades.accent) >= READABLE
