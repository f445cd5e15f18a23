"""The commands and files that docs/installing.md shows, in its order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

PAGE: Final = Path("docs/installing.md")


def shown_under(heading: str, page: Path = PAGE) -> list[str]:
    """The blocks below ``## heading``, without what is around them. ``LookupError`` if there are none."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^```\w*\n(.*?)^```$", found[1], re.MULTILINE | re.DOTALL) if found else []
    if not blocks:
        raise LookupError(f"{page} shows nothing under {heading!r}")
    return blocks


def packages_asked_for() -> list[str]:
    """What step 1 installs from Debian."""
    (line,) = (one for one in shown_under("1. Programs")[0].splitlines() if one.startswith("apt install "))
    return line.split()[2:]
