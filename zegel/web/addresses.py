"""Addresses of pages. Django looks through all of them for each one that a page names; here once for each page."""

from __future__ import annotations

import re
import uuid
from functools import lru_cache
from typing import Final

from django.urls import reverse

Part = uuid.UUID | int
_UUIDS: Final = 0x5A656765_6C00_4000_8000_000000000000  # of examples; no page has such a name
_NUMBERS: Final = 1_516_171_800


def address(name: str, **parts: Part) -> str:
    """As Django's ``reverse``, for parts that are UUIDs or numbers from 0 up."""
    pieces = _pieces(name, tuple((part, isinstance(value, uuid.UUID)) for part, value in parts.items()))
    return "".join([str(parts[piece]) if number % 2 else piece for number, piece in enumerate(pieces)])


@lru_cache(256)
def _pieces(name: str, kinds: tuple[tuple[str, bool], ...]) -> list[str]:
    """Text, the name of a part, text, and so on."""
    examples: dict[str, Part] = {
        part: uuid.UUID(int=_UUIDS + number) if is_uuid else _NUMBERS + number
        for number, (part, is_uuid) in enumerate(kinds)
    }
    found, parts = reverse(name, kwargs=examples), {str(example): part for part, example in examples.items()}
    if not parts:
        return [found]
    pieces = re.split(f"({'|'.join(parts)})", found)
    return [parts[piece] if number % 2 else piece for number, piece in enumerate(pieces)]
