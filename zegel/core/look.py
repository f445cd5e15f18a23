"""How an organisation's pages and mails look: one colour and a logo, checked so that everybody can read what they stand
in.

An organisation names one colour. What else is needed of it (for who points at a button, for a soft background, for the
dark) follows from it, so that text keeps 4.5 : 1 and what can be operated 3 : 1 (WCAG 2.2 §1.4.3, §1.4.11) wherever the
style sheet puts it. A colour with which that is impossible is refused.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

READABLE: Final = 4.5  # WCAG 2.2 §1.4.3
LARGEST_LOGO: Final = 100_000  # octets
WIDEST_LOGO: Final = 1200  # pixels
HIGHEST_LOGO: Final = 400

# What stands in zegel.css, where the colours that are derived here come to lie; a test compares.
LIGHT_SURFACES: Final = ("#f5f7f8", "#ffffff", "#eef2f3")
DARK_SURFACES: Final = ("#10181b", "#182327", "#1f2c31")
LIGHT_TEXTS: Final = ("#17262b", "#4c5d63")
DARK_TEXTS: Final = ("#e6eef0", "#a9bbc1")
_WHITE: Final = "#ffffff"
_BLACK: Final = "#000000"
_HEX: Final = re.compile(r"#?([0-9A-Fa-f]{6}|[0-9A-Fa-f]{3})")


class NotALook(ValueError):
    """A colour or logo that can't be used; the text says why, and gives an example that can."""


class NotAColour(NotALook):
    """Not a colour in hexadecimal digits."""


class TooLight(NotALook):
    """A colour that can't be read on white."""

    def __init__(self, colour: str, ratio: float, darker: str) -> None:
        super().__init__(
            f"{colour} can't be read on a light page: its contrast is {ratio:.1f} to 1, and 4.5 to 1 is needed; "
            f"a darker shade such as {darker} can"
        )
        self.colour, self.ratio, self.darker = colour, ratio, darker


class NotALogo(NotALook):
    """Not a PNG image of the size that is taken."""


@dataclass(frozen=True, slots=True)
class Shades:
    """The colours that take the place of the style sheet's own, on light or on dark."""

    accent: str  # links, buttons, what is current
    strong: str  # of what is pointed at
    soft: str  # a background, for text and for the accent itself
    on_accent: str  # text on accent and strong


@dataclass(frozen=True, slots=True)
class Palette:
    """All that follows from one colour."""

    light: Shades
    dark: Shades


def parse_colour(text: str) -> str:
    """A colour as six small hexadecimal digits behind ``#``. Raises :class:`NotAColour`."""
    found = _HEX.fullmatch(text.strip())
    if found is None:
        raise NotAColour(f"{text[:20]!r} is not a colour; write six hexadecimal digits, such as #0f5666")
    digits = found[1].lower()
    return f"#{digits if len(digits) == 6 else ''.join(2 * one for one in digits)}"


def palette(accent: str) -> Palette:
    """What follows from a colour as :func:`parse_colour` gives it. Raises :class:`TooLight`."""
    needed = (*LIGHT_SURFACES, _soft_on_light(accent))
    worst = min(contrast(accent, one) for one in needed)
    if worst < READABLE:
        raise TooLight(accent, worst, _darker(accent))
    return Palette(_on_light(accent), _on_dark(accent))


def _on_light(accent: str) -> Shades:
    return Shades(accent, mix(accent, _BLACK, 0.28), _soft_on_light(accent), _WHITE)


def _soft_on_light(accent: str) -> str:
    return mix(_WHITE, accent, 0.09)


def _on_dark(accent: str) -> Shades:
    """As much of the colour as can be read there; the darkest text that there is stands on it."""
    soft = mix(DARK_SURFACES[1], accent, 0.16)
    light = _towards(accent, _WHITE, (*DARK_SURFACES, soft), 6.0)
    return Shades(light, mix(light, _WHITE, 0.35), soft, mix(_BLACK, accent, 0.12))


def _darker(accent: str) -> str:
    """The lightest shade of a colour that :func:`palette` takes."""
    for hundredths in range(101):
        shade = mix(accent, _BLACK, hundredths / 100)
        if min(contrast(shade, one) for one in (*LIGHT_SURFACES, _soft_on_light(shade))) >= READABLE:
            return shade
    return _BLACK


def _towards(colour: str, end: str, surfaces: tuple[str, ...], ratio: float) -> str:
    for hundredths in range(101):
        shade = mix(colour, end, hundredths / 100)
        if min(contrast(shade, one) for one in surfaces) >= ratio:
            return shade
    return end


def mix(one: str, other: str, share: float) -> str:
    """So much of the other colour, the rest of the one."""
    channels = (round(a + (b - a) * share) for a, b in zip(_channels(one), _channels(other), strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in channels)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, *contrast ratio*: from 1 to 21."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    """WCAG 2.2, *relative luminance*."""
    linear = [
        one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4
        for one in (channel / 255 for channel in _channels(colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


# --- the style sheet ---------------------------------------------------------------------------------------------


def style_sheet(accent: str) -> str:
    """The custom properties of zegel.css, as this colour sets them. Raises :class:`TooLight`."""
    shades = palette(accent)
    return (
        f":root {{{_properties(shades.light)}}}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{{_properties(shades.dark)}}} }}\n"
        "@media print { :root { --accent: #000; } }\n"
    )


def _properties(shades: Shades) -> str:
    return (
        f" --accent: {shades.accent}; --accent-strong: {shades.strong}; --accent-soft: {shades.soft};"
        f" --on-accent: {shades.on_accent}; "
    )


def sheet_name(accent: str) -> str:
    """What the sheet is called in an address: the colour, and a hash of what the sheet says, so that it may be kept
    for ever."""
    return f"{accent[1:]}-{hashlib.sha256(style_sheet(accent).encode()).hexdigest()[:16]}"


def sheet_of(name: str) -> str | None:
    """The sheet of that name; ``None`` for a name that this version gives to none."""
    try:
        accent = parse_colour(name[:6])
        return style_sheet(accent) if sheet_name(accent) == name else None
    except NotALook:
        return None


# --- the logo ----------------------------------------------------------------------------------------------------

_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
_PALETTE: Final = 3
_DEPTHS: Final = {  # bits of a sample that each colour type may have (PNG §11.2.2)
    0: (1, 2, 4, 8, 16),
    2: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    4: (8, 16),
    6: (8, 16),
}
_SAMPLES: Final = {0: 1, 2: 3, _PALETTE: 1, 4: 2, 6: 4}  # of a pixel
_ADAM7: Final = (  # first column and row, steps between them
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_KEPT: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB"})
_EXAMPLE: Final = f"take a PNG of at most {LARGEST_LOGO // 1000} kB, such as one of 400 by 100 pixels"


@dataclass(frozen=True, slots=True)
class Logo:
    """An image that every browser draws, and nothing else: what else a PNG may carry was left out."""

    octets: bytes
    width: int
    height: int

    @property
    def name(self) -> str:
        """What it is called in an address."""
        return hashlib.sha256(self.octets).hexdigest()


def parse_logo(octets: bytes) -> Logo:
    """A PNG (its specification, §5), read to its end. Raises :class:`NotALogo`."""
    if len(octets) > LARGEST_LOGO:
        raise NotALogo(f"the logo has {len(octets)} octets; {_EXAMPLE}")
    if not octets.startswith(_MAGIC):
        raise NotALogo(f"the logo is not a PNG image; {_EXAMPLE}")
    chunks = _chunks(octets)
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13 or chunks[-1] != (b"IEND", b""):
        raise NotALogo(f"the logo is damaged; {_EXAMPLE}")
    width, height = int.from_bytes(chunks[0][1][:4], "big"), int.from_bytes(chunks[0][1][4:8], "big")
    if not (0 < width <= WIDEST_LOGO and 0 < height <= HIGHEST_LOGO):
        raise NotALogo(
            f"the logo is {width} by {height} pixels, and may be {WIDEST_LOGO} by {HIGHEST_LOGO}; {_EXAMPLE}"
        )
    depth, colour, interlaced = _form(chunks)
    unpacked = _unpacked_size(width, height, depth * _SAMPLES[colour], interlaced=interlaced)
    _require_inflated(b"".join(held for kind, held in chunks if kind == b"IDAT"), size=unpacked)
    kept = b"".join(_chunk(kind, held) for kind, held in chunks if kind in _KEPT)
    return Logo(_MAGIC + kept, width, height)


def _chunks(octets: bytes) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    at = len(_MAGIC)
    while at < len(octets) and (not found or found[-1][0] != b"IEND"):
        length = int.from_bytes(octets[at : at + 4], "big")
        kind, held, sum_ = octets[at + 4 : at + 8], octets[at + 8 : at + 8 + length], octets[at + 8 + length :][:4]
        if len(sum_) != 4 or int.from_bytes(sum_, "big") != zlib.crc32(kind + held):
            raise NotALogo(f"the logo is damaged; {_EXAMPLE}")
        found.append((kind, held))
        at += 12 + length
    return found


def _chunk(kind: bytes, held: bytes) -> bytes:
    return len(held).to_bytes(4, "big") + kind + held + zlib.crc32(kind + held).to_bytes(4, "big")


def _form(chunks: Sequence[tuple[bytes, bytes]]) -> tuple[int, int, bool]:
    """Bit depth, colour type and whether it is interlaced (PNG §11.2.2), where they are ones that there are."""
    depth, colour, compression, filtering, interlaced = chunks[0][1][8:]
    kinds = [kind for kind, _ in chunks]
    if (
        kinds.count(b"IHDR") != 1
        or depth not in _DEPTHS.get(colour, ())
        or (compression, filtering) != (0, 0)
        or interlaced not in (0, 1)
        or (colour == _PALETTE and b"PLTE" not in kinds)
    ):
        raise NotALogo(f"the logo is damaged; {_EXAMPLE}")
    return depth, colour, interlaced == 1


def _unpacked_size(width: int, height: int, bits: int, *, interlaced: bool) -> int:
    """Octets of all scan lines, each with the one that names its filter (PNG §7.2, §8)."""
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    size = 0
    for x, y, step_x, step_y in passes:
        across, down = -((x - width) // step_x), -((y - height) // step_y)
        size += down * (1 + (across * bits + 7) // 8) if across > 0 and down > 0 else 0
    return size


def _require_inflated(packed: bytes, *, size: int) -> None:
    """There is an image, whole and no larger than it says."""
    unpacking = zlib.decompressobj()
    try:
        unpacked = unpacking.decompress(packed, size + 1)
    except zlib.error:
        raise NotALogo(f"the logo is damaged; {_EXAMPLE}") from None
    if len(unpacked) != size:
        raise NotALogo(f"the logo is damaged; {_EXAMPLE}")
