"""Hostile HTML made inert (P16): nothing runs, nothing is fetched, nothing hides, nothing navigates by itself.

Two passes. The first rewrites the markup: known tags only, balanced, not deep, links that say where they lead, images
of the message itself or none, unless the reader asks for those from elsewhere. So the second, nh3, never meets the
inputs on which an HTML parser takes minutes (misnested formatting that it must repeat for each paragraph, thousands of
levels). nh3 has the last word on what remains; behind both stand the frame without scripts and its own
Content-Security-Policy.
"""

from __future__ import annotations

import html
import re
import secrets
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

import nh3

MAX_HTML: Final = 4_000_000  # characters; what is longer is offered as a file
MAX_DEPTH: Final = 100
MAX_ATTRIBUTES: Final = 30
_RUN: Final = 4_000  # characters; nh3 needs quadratic time for a text with many "&", and a comment ends a text


def words(text: str) -> frozenset[str]:
    """The names in a text."""
    return frozenset(text.split())


# What may remain

_SIZES: Final = frozenset({"align", "valign", "width", "height", "bgcolor"})
_CELL: Final = _SIZES | {"colspan", "rowspan", "nowrap"}
_ALIGNED: Final = frozenset({"align"})
_TAGS: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(
        words(
            "abbr acronym address article aside b bdi bdo big blockquote cite code dd del dfn dl dt em figcaption "
            "figure footer header i ins kbd main mark nav pre q s samp section small span strike strong sub sup tt u "
            "var"
        ),
        frozenset[str](),
    ),
    **dict.fromkeys(words("caption center div h1 h2 h3 h4 h5 h6 p"), _ALIGNED),
    **dict.fromkeys(words("tbody tfoot thead tr"), _SIZES),
    "a": frozenset({"href"}),
    "br": frozenset({"clear"}),
    "col": frozenset({"span", "width"}),
    "colgroup": frozenset({"span", "width"}),
    "font": frozenset({"color", "face", "size"}),
    "hr": frozenset({"width", "size", "color", "align", "noshade"}),
    "img": frozenset({"src", "alt", "width", "height", "align", "border"}),
    "li": frozenset({"value", "type"}),
    "ol": frozenset({"start", "type", "reversed"}),
    "table": _SIZES | {"border", "cellpadding", "cellspacing"},
    "td": _CELL,
    "th": _CELL | {"scope"},
    "time": frozenset({"datetime"}),
    "ul": frozenset({"type"}),
    "wbr": frozenset(),
}
_EVERYWHERE: Final = frozenset({"dir", "lang", "style", "title"})
_VOID: Final = frozenset({"br", "col", "hr", "img", "wbr"})
_GONE_WITH_CONTENT: Final = words(
    "applet audio canvas datalist embed iframe math noembed noframes object script select style svg template title "
    "video xmp"
)
_TEXT_TO_THE_END: Final = words("iframe noembed noframes script style title xmp")  # HTML §13.2.6.4.7

# How elements close each other (HTML §13.2.6.4), so that what is passed on is balanced without a parser's repairs

_CLOSES_P: Final = words(
    "address article aside blockquote center dd div dl dt figcaption figure footer h1 h2 h3 h4 h5 h6 header hr li main "
    "nav ol p pre section table ul"
)
_CLOSES: Final[Mapping[str, tuple[str, ...]]] = {"li": ("li",), "dd": ("dd", "dt"), "dt": ("dd", "dt"), "a": ("a",)}
_ROWS: Final = frozenset({"thead", "tbody", "tfoot"})
_CELLS: Final = frozenset({"td", "th", "caption"})
_BETWEEN_CELLS: Final = _ROWS | {"table", "tr", "colgroup"}
_INSIDE: Final[Mapping[str, frozenset[str]]] = {  # of what a part of a table must be a child
    **dict.fromkeys(("caption", "colgroup", "thead", "tbody", "tfoot"), frozenset({"table"})),
    "col": frozenset({"table", "colgroup"}),
    "tr": _ROWS,
    "td": frozenset({"tr"}),
    "th": frozenset({"tr"}),
}
_IMPLIED: Final[Mapping[str, tuple[str, ...]]] = {"tr": ("tbody",), "td": ("tbody", "tr"), "th": ("tbody", "tr")}
_LEAVES_OPEN: Final = frozenset({"table", *_CELLS})  # what a new block, item or link doesn't reach through

# How things are written

_TAG: Final = re.compile(r"""<(/?)([A-Za-z][^\s/>]*+)((?:[^>"']++|"[^"]*+"|'[^']*+'){0,2000})>""")
_TAG_BEGINS: Final = re.compile("</?[A-Za-z]")
_TAG_WITH_OPEN_QUOTE: Final = re.compile(r"<(/?)([A-Za-z][^\s/>]*+)([^>]*+)>")
_ATTRIBUTE: Final = re.compile(
    r"""([^\s"'<>/=]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'<>`]++)))?""",
)
_COLOUR: Final = r"(?:rgb|rgba|hsl|hsla)\([0-9.,%/ ]{1,60}+\)"
_LOOK: Final = re.compile(
    # No backslash, no url(), no negative length, and none that pushes the rest of the message out of sight.
    rf"(?:{_COLOUR}|(?<![\d.])\d{{1,3}}+(?:\.\d{{1,8}}+)?(?!\d)|(?<!\d)\.\d{{1,8}}+(?!\d)|[A-Za-z]++(?:-[A-Za-z]++)*"
    r"|#[0-9A-Fa-f]{3,8}+|[ ,%'\"!/]++)+"
)
_EDGES: Final = ("", "-top", "-right", "-bottom", "-left")
_PROPERTIES: Final = frozenset(
    # Nothing that moves, covers, hides, counts, animates or loads.
    {
        "color", "background-color", "font", "font-family", "font-size", "font-style", "font-weight", "text-align",
        "text-decoration", "vertical-align", "white-space", "width", "max-width", "border-collapse",
        "border-spacing", "list-style-type", "direction",
    }
    | {f"{what}{edge}" for what in ("padding", "margin", "border") for edge in _EDGES}
    | {f"border{edge}-{what}" for edge in _EDGES for what in ("color", "style", "width")}
)  # fmt: skip
_FONT_SIZE: Final = re.compile(r"(?i)(\d*\.?\d+) *(px|pt|em|rem|%|ex|ch|mm|cm|in|pc|q|vw|vh|vmin|vmax)?")
_PIXELS: Final = {
    "px": 1.0, "pt": 1.33, "em": 16.0, "rem": 16.0, "%": 0.16, "ex": 8.0, "ch": 8.0, "mm": 3.8, "cm": 38.0,
    "in": 96.0, "pc": 16.0, "q": 0.9,
}  # fmt: skip
_SMALLEST_FONT: Final = 6.0  # pixels
_MEASURE: Final = re.compile(r"[+-]?\d{1,4}(?:\.\d{1,4})?(?:%|px|pt)?")
_MEASURED: Final = words("width height border cellpadding cellspacing size colspan rowspan span")
_LINK: Final = re.compile(r"(?i)(?:https?:|mailto:|tel:)")
_WEB: Final = re.compile(r"(?i)(https?):[/\\]*+")
_NOT_IN_A_LINK: Final = re.compile("[\t\n\r]")
_AROUND_A_LINK: Final = "".join(map(chr, range(0x21)))
_LONGEST_PLACE: Final = 100
_CID: Final = re.compile(r"(?i)cid:(.{1,500})", re.DOTALL)
_REMOTE: Final = re.compile(  # a name that others know; no number, no port of a machine nearby, nothing before an "@"
    r"(?ai)https://(?:[a-z0-9-]{1,63}\.){1,20}([a-z][a-z0-9-]{0,62})(?:[/?][!#$%&()*+,\-./0-9:;=?@A-Z\[\]_a-z~]{0,3000}+)?"
)
_SPECIAL: Final = frozenset(  # of the registry of special-use domain names, and of machines nearby by custom
    words("alt arpa corp example home internal intranet invalid lan local localdomain localhost onion private test")
)
_PICTURE: Final = re.compile(r"(?i)data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]++")
_PLACE: Final = re.compile(r'src="cid:([0-9a-f]{16})-(\d+)"')
_CLEANER: Final = nh3.Cleaner(
    tags=set(_TAGS),
    clean_content_tags=set(_GONE_WITH_CONTENT),
    attributes={"*": set(_EVERYWHERE), **{tag: set(names) for tag, names in _TAGS.items() if names}},
    allowed_classes={"span": {"leads-to", "withheld"}},
    strip_comments=True,
    link_rel="noopener noreferrer",
    set_tag_attribute_values={"a": {"target": "_blank"}},
    url_schemes={"http", "https", "mailto", "tel", "cid", "data"},
    filter_style_properties=set(_PROPERTIES),
)


@dataclass(frozen=True, slots=True)
class Inline:
    """The place of an image that travels with the message, by its content id."""

    content_id: str


@dataclass(frozen=True, slots=True)
class Inert:
    """Markup that may be shown, with gaps where images of the message belong."""

    pieces: tuple[str | Inline, ...]
    withheld: int  # images that would have been fetched from elsewhere
    loadable: int  # so many of them can be, if the reader asks for it
    lines: int  # how tall it is, roughly

    @property
    def content_ids(self) -> frozenset[str]:
        """The images that it shows."""
        return frozenset(piece.content_id for piece in self.pieces if isinstance(piece, Inline))


def make_inert(markup: str, *, remote_images: bool = False) -> Inert:
    """Whatever the markup, only the tags, attributes and properties named above remain, in linear time.

    ``remote_images``: images keep the addresses of public hosts that they have with ``https:``, and only images do.
    """
    first = _Rewriting(markup[:MAX_HTML], remote_images=remote_images)
    first.run()
    clean = _CLEANER.clean("".join(first.written))
    return Inert(tuple(first.divide(clean)), first.withheld, first.loadable, first.lines)


class _Rewriting:
    """The first pass. Reads each character once; its stack is never deeper than MAX_DEPTH."""

    def __init__(self, markup: str, *, remote_images: bool) -> None:
        self._markup = markup
        self._remote_images = remote_images
        self._tag = _TAG
        self._last_end = markup.rfind(">")  # behind it is text only, and no tag is looked for
        self._never_closed: set[str] = set()
        self._stack: list[str] = []
        self._link = ""  # where the open link leads
        self._link_text: list[str] | None = None  # None: more than text is in it
        self._marker = secrets.token_hex(8)  # so that text can't look like the place of an image
        self._content_ids: list[str] = []
        self._column = 0
        self._run = 0
        self.written: list[str] = []
        self.withheld = 0
        self.loadable = 0
        self.lines = 0

    def run(self) -> None:
        markup, position = self._markup, 0
        while position < len(markup):
            begin = markup.find("<", position)
            if begin < 0:
                begin = len(markup)
            if begin > position:
                self._text(markup[position:begin])
            position = self._angle(begin) if begin < len(markup) else begin
        self._pop_to(0)

    def divide(self, clean: str) -> list[str | Inline]:
        pieces: list[str | Inline] = []
        end = 0
        for place in _PLACE.finditer(clean):
            if place[1] == self._marker:
                pieces += (clean[end : place.start()], Inline(self._content_ids[int(place[2])]))
                end = place.end()
        return [*pieces, clean[end:]]

    def _angle(self, begin: int) -> int:
        """What begins at this ``<``; gives the place behind it."""
        markup = self._markup
        if markup.startswith("<!--", begin):
            end = markup.find("-->", begin + 2)
            return len(markup) if end < 0 else end + 3
        if begin > self._last_end:
            self._text(markup[begin:])
            return len(markup)
        found = self._tag.match(markup, begin)
        if found is None and self._tag is _TAG and _TAG_BEGINS.match(markup, begin):
            self._tag = _TAG_WITH_OPEN_QUOTE  # from here on, lest each tag is searched to the end for its quote
            found = self._tag.match(markup, begin)
        if found is not None:
            return self._read(found)
        if markup.startswith(("<!", "<?", "</"), begin):
            end = markup.find(">", begin)
            return len(markup) if end < 0 else end + 1
        self._text("<")
        return begin + 1

    def _read(self, found: re.Match[str]) -> int:
        name = found[2].lower()
        if found[1]:
            self._end(name)
        elif name in _GONE_WITH_CONTENT:
            return self._skip(name, found.end())
        elif name == "image":
            self._start("img", found[3])
        elif name in _TAGS:
            self._start(name, found[3])
        return found.end()

    def _skip(self, name: str, position: int) -> int:
        if name in self._never_closed:
            return position
        closing = re.compile(rf"(?i)</{name}[\s/>]").search(self._markup, position)
        if closing is not None:
            end = self._markup.find(">", closing.start())
            return len(self._markup) if end < 0 else end + 1
        self._never_closed.add(name)
        return len(self._markup) if name in _TEXT_TO_THE_END else position

    # The stack

    def _start(self, name: str, rest: str) -> None:
        if name in _INSIDE:
            if not self._enter_table(name):
                return
        elif self._stack and self._stack[-1] in _BETWEEN_CELLS:
            return
        if name in _CLOSES_P:
            self._close("p")
        for same in _CLOSES.get(name, ()):
            self._close(same, through=("ul", "ol", "dl") if name != "a" else ())
        attributes = _attributes(name, rest)
        if name == "img":
            self._image(attributes)
        elif name in _VOID:
            self._write(name, attributes)
        elif len(self._stack) < MAX_DEPTH:
            if name == "a":
                self._link, self._link_text = place_of(attributes.get("href", "")), []
                if self._link:  # apart: what turns text around before it doesn't turn the name in it
                    attributes.setdefault("dir", "auto")
            elif self._link_text is not None and "a" in self._stack:
                self._link_text = None
            self._stack.append(name)
            self._write(name, attributes)
        if name in _CLOSES_P or name in ("br", "tr"):
            self._new_line()

    def _enter_table(self, name: str) -> bool:
        """Parts of a table stand in a table, in their order; elsewhere their tags mean nothing."""
        try:
            table = len(self._stack) - 1 - self._stack[::-1].index("table")
        except ValueError:
            return False
        inside = self._stack[table:]
        known = [depth for depth, one in enumerate(inside) if one in _INSIDE[name]]
        if known:
            self._pop_to(table + known[-1] + 1)
            return True
        self._pop_to(table + 1)
        for implied in _IMPLIED.get(name, ()):
            if len(self._stack) >= MAX_DEPTH:
                return False
            if not (implied == "tbody" and self._stack[-1] in _ROWS):
                self._stack.append(implied)
                self._write(implied, {})
        return True

    def _close(self, name: str, *, through: tuple[str, ...] = ()) -> None:
        for depth in range(len(self._stack) - 1, -1, -1):
            if self._stack[depth] == name:
                self._pop_to(depth)
                return
            if self._stack[depth] in _LEAVES_OPEN or self._stack[depth] in through:
                return

    def _end(self, name: str) -> None:
        if name in _VOID or name not in self._stack:
            return
        stop = _LEAVES_OPEN if name not in _BETWEEN_CELLS and name not in _CELLS else frozenset({"table"})
        for depth in range(len(self._stack) - 1, -1, -1):
            if self._stack[depth] == name:
                self._pop_to(depth)
                return
            if self._stack[depth] in stop:
                return

    def _pop_to(self, depth: int) -> None:
        while len(self._stack) > depth:
            name = self._stack.pop()
            if name == "a":
                self._say_where_it_leads()
            self.written.append(f"</{name}>")

    # What is written

    def _write(self, name: str, attributes: Mapping[str, str]) -> None:
        given = "".join(f' {key}="{html.escape(value)}"' for key, value in attributes.items())
        self.written.append(f"<{name}{given}>")

    def _text(self, text: str) -> None:
        text = html.unescape(text)
        if self._link_text is not None:
            self._link_text.append(text)
        self._column += len(text)
        for begin in range(0, len(text), _RUN):
            piece = text[begin : begin + _RUN]
            self._run += len(piece)
            self.written.append(html.escape(piece, quote=False))
            if self._run >= _RUN:
                self.written.append("<!---->")
                self._run = 0

    def _new_line(self) -> None:
        self.lines += 1 + self._column // 90
        self._column = 0

    def _say_where_it_leads(self) -> None:
        text, self._link_text = self._link_text, None
        if self._link and not (text is not None and _says("".join(text), self._link)):
            # Of a long name the end tells whose it is.
            shown = self._link if len(self._link) <= _LONGEST_PLACE else f"…{self._link[-_LONGEST_PLACE:]}"
            self.written.append(f'<span class="leads-to" dir="ltr">[{html.escape(shown)}]</span>')
        self._link = ""

    def _image(self, attributes: dict[str, str]) -> None:
        source = attributes.pop("src", "")
        alternative = " ".join(attributes.get("alt", "").split())
        rest = {"alt": alternative, **{key: value for key, value in attributes.items() if key != "alt"}}
        if (found := _CID.fullmatch(source)) is not None:
            self._write("img", {"src": f"cid:{self._marker}-{len(self._content_ids)}", **rest})
            self._content_ids.append(unquote(found[1].strip()).strip("<>"))
        elif _PICTURE.fullmatch(source) or (self._remote_images and _is_public(source)):
            self._write("img", {"src": source, **rest})
        else:
            self.withheld += bool(source)
            self.loadable += _is_public(source)
            if alternative:
                self.written.append(f'<span class="withheld">[{html.escape(alternative)}]</span>')
            return
        self.lines += _lines_of(rest.get("height", ""))


def _is_public(source: str) -> bool:
    """By its name; where that leads, only the reader's own resolver knows."""
    found = _REMOTE.fullmatch(source)
    return found is not None and found[1].lower() not in _SPECIAL


def _lines_of(height: str) -> int:
    """Of text, beside an image whose height is given, or not."""
    return int(float(height.removesuffix("px"))) // 24 if re.fullmatch(r"\d+(?:px)?", height) else 8


def _attributes(tag: str, rest: str) -> dict[str, str]:
    """The first of each name, unescaped and judged."""
    found: dict[str, str] = {}
    known = _TAGS[tag]
    for number, match in enumerate(_ATTRIBUTE.finditer(rest)):
        name = match[1].lower()
        if number >= MAX_ATTRIBUTES:
            break
        if (name not in known and name not in _EVERYWHERE) or name in found:
            continue
        value = _judged(name, html.unescape(match[2] or match[3] or match[4] or ""))
        if value is not None:
            found[name] = value
    return found


def _judged(name: str, value: str) -> str | None:
    match name:
        case "style":
            return style(value) or None
        case "href":
            return _link(value)
        case "src":
            return value.strip()
        case _ if name in _MEASURED:
            return value.strip() if _MEASURE.fullmatch(value.strip()) else None
        case _:
            return value[:1000]


def style(value: str) -> str:
    """The declarations that only change how visible text looks; the others are left out."""
    kept = []
    for declaration in value[:20_000].split(";"):
        name, colon, given = declaration.partition(":")
        name, given = name.strip().lower(), given.strip()
        if colon and name in _PROPERTIES and _LOOK.fullmatch(given) and not _hides(name, given):
            kept.append(f"{name}:{given}")
    return ";".join(kept)


def _hides(name: str, value: str) -> bool:
    """Too small to read, or see-through. Other colours are left: white on white is seen when it is selected."""
    if name == "font":
        return any(_too_small(size) for size in _FONT_SIZE.finditer(value))
    if name == "font-size":
        found = _FONT_SIZE.match(value)
        return found is not None and _too_small(found)
    return name == "color" and ("transparent" in value.lower() or "a(" in value.lower() or "/" in value)


def _too_small(size: re.Match[str]) -> bool:
    number, unit = float(size[1]), size[2]
    if unit is None:  # a line height or a weight, but for zero
        return number == 0
    return number * _PIXELS.get(unit.lower(), 0.0) < _SMALLEST_FONT


def _link(value: str) -> str | None:
    """As every browser reads it (WHATWG URL §4.4): tabs and line ends don't count, nor how many slashes of which kind
    begin it; without them all, ``http:evil.test`` is a page of evil.test too."""
    link = _NOT_IN_A_LINK.sub("", value).strip(_AROUND_A_LINK)
    if not _LINK.match(link):
        return None
    found = _WEB.match(link)
    return link if found is None else f"{found[1].lower()}://{link[found.end() :]}"


def _says(text: str, place: str) -> bool:
    """A link's text that is the place itself, or an address that leads there and shows nothing else. Letters that look
    like others, and what can't be seen, are outside ASCII."""
    text = text.strip()
    if text == place:
        return True
    if not text.isascii() or place == "?":
        return False
    text, place = text.lower(), place.lower()
    return text == place or (re.fullmatch(r"https?://[^\s@]+", text) is not None and place_of(text) == place)


def place_of(link: str) -> str:
    """Who is behind a link: the host, or the address or number. Never what stands before an ``@``. ``?``: who knows."""
    if not link:
        return ""
    scheme, _, rest = link.partition(":")
    if scheme.lower() in ("mailto", "tel"):
        return _seen(unquote(rest.partition("?")[0])) or "?"
    try:
        host = unquote(urlsplit("".join((_link(link) or "").split()).replace("\\", "/")).hostname or "")
        return _seen(host if host.isascii() else host.encode("idna").decode("ascii")) or "?"
    except (ValueError, UnicodeError):
        return "?"


def _seen(place: str) -> str:
    """Without what turns text around or can't be seen."""
    return "".join(char for char in place if unicodedata.category(char) not in ("Cc", "Cf", "Cs"))
