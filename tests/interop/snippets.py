"""Examples in a page of documentation, so that a test runs what the reader copies.

An example that is tested stands below ``<!-- tested: its-name -->``; one that can't be run here below
``<!-- not run -->``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_BLOCK: Final = re.compile(r"^```[^\n`]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_TESTED: Final = re.compile(r"<!-- tested: (?P<name>[a-z0-9-]+) -->\n\Z")
_NOT_RUN: Final = "<!-- not run -->\n"


class NotMarked(ValueError):
    """An example says neither that it is tested nor that it isn't; or two have one name."""


def snippets(page: Path) -> dict[str, str]:
    """The tested examples of the page, by name. Raises :class:`NotMarked`."""
    text = page.read_text()
    found: dict[str, str] = {}
    for block in _BLOCK.finditer(text):
        before = text[: block.start()]
        if before.endswith(_NOT_RUN):
            continue
        marked = _TESTED.search(before)
        if marked is None or marked["name"] in found:
            raise NotMarked(f"{page.name}:{before.count(chr(10)) + 1}")
        found[marked["name"]] = block["text"]
    return found


def filled(snippet: str, values: Mapping[str, str]) -> str:
    """The example with the reader's own values. A placeholder is a whole word; longer ones come first, so that
    ``example.org`` leaves ``zegel.example.org`` alone. What was filled in is not looked at again."""
    placeholders = sorted(values, key=len, reverse=True)
    whole_words = "|".join(rf"(?<![\w-]){re.escape(word)}(?![\w-])" for word in placeholders)
    return re.sub(whole_words, lambda found: values[found[0]], snippet)
