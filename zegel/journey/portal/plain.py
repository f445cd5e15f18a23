"""What a message in HTML says, as text: for who reads, prints or keeps the words without the look."""

from __future__ import annotations

import html
import re
from typing import Final

from zegel.journey.portal.inert import Inert, words

_TOKEN: Final = re.compile(r"""<(/?)([a-z][a-z0-9]*)((?:[^>"]++|"[^"]*+")*)>|<!--.*?-->""", re.DOTALL)
_ALTERNATIVE: Final = re.compile(r'\salt="([^"]*)"')
_APART: Final = words("p h1 h2 h3 h4 h5 h6 ul ol dl table blockquote pre figure hr")
_BLOCK: Final = _APART | words(
    "address article aside caption center dd div dt figcaption footer header li main nav section tr"
)
_CELL: Final = frozenset({"td", "th"})


def plain_text(inert: Inert) -> str:
    """The words of harmless HTML in their order: paragraphs apart, items and quotations marked, images by their
    description. In linear time, and no longer than the markup by more than its quotations' marks."""
    lines = _Lines()
    end = 0
    markup = "".join(piece if isinstance(piece, str) else "" for piece in inert.pieces)
    for found in _TOKEN.finditer(markup):
        lines.say(html.unescape(markup[end : found.start()]))
        end = found.end()
        if found[2] is not None:
            lines.tag(found[2], found[3], closes=bool(found[1]))
    lines.say(html.unescape(markup[end:]))
    return lines.finish()


class _Lines:
    """Text as it grows; one line is open."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._line: list[str] = []
        self._quoted = 0
        self._kept = 0  # inside so many <pre>

    def say(self, text: str) -> None:
        if not self._kept:
            self._line.append(text)
            return
        first, *others = text.split("\n")
        self._line.append(first)
        for one in others:
            self._end_line()
            self._line.append(one)

    def tag(self, name: str, attributes: str, *, closes: bool) -> None:
        if name == "br":
            self._end_line(keep_empty=True)
        elif name == "img":
            found = _ALTERNATIVE.search(attributes)
            if found is not None and found[1].strip():
                self._line.append(f"[{html.unescape(found[1])}]")
        elif name in _CELL:
            if not closes and any(one.strip() for one in self._line):
                self._line.append(" | ")
        elif name in _BLOCK:
            self._block(name, closes=closes)

    def _block(self, name: str, *, closes: bool) -> None:
        self._end_line()
        if name in _APART and self._done and self._done[-1]:
            self._done.append("")
        step = -1 if closes else 1
        if name == "blockquote":
            self._quoted = max(0, self._quoted + step)
        elif name == "pre":
            self._kept = max(0, self._kept + step)
        elif name == "li" and not closes:
            self._line.append("• ")

    def _end_line(self, *, keep_empty: bool = False) -> None:
        line = "".join(self._line)
        line = line.rstrip() if self._kept else " ".join(line.split())
        self._line.clear()
        if line:
            self._done.append("> " * min(self._quoted, 10) + line)
        elif keep_empty and self._done and self._done[-1]:
            self._done.append("")

    def finish(self) -> str:
        self._end_line()
        return "\n".join(self._done).strip("\n")
