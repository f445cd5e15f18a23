"""``python -m tests.browser.screenshots FOLDER [SCENE…]``: every page in every state, in both languages, on a desk
and on a phone, in light and dark; with an index to look through. Scenes are named by how they begin.

It runs as a test, because that is what has a database and a server; it judges nothing.
"""

from __future__ import annotations

import html
import os
import sys
from pathlib import Path
from typing import Final

import pytest

FOLDER: Final = "ZEGEL_SCREENSHOTS"
WANTED: Final = "ZEGEL_SCENES"


def write_index(folder: Path) -> int:
    """One row for each state; gives the number of pictures."""
    rows: dict[str, list[str]] = {}
    for picture in sorted(folder.glob("*.*.*.*.*.png")):
        scene, state, *_ = picture.name.split(".")
        rows.setdefault(f"{scene}: {state}", []).append(picture.name)
    body = "".join(
        f"<h2>{html.escape(title)}</h2><p>"
        + "".join(
            f'<a href="{html.escape(one)}"><img loading="lazy" src="{html.escape(one)}" alt="{html.escape(one)}"></a>'
            for one in names
        )
        for title, names in rows.items()
    )
    style = "body{font:1rem system-ui;background:#888}p{display:flex;gap:1rem;align-items:start;overflow-x:auto}"
    style += "img{height:30rem;width:auto;border:1px solid #000}"
    (folder / "index.html").write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Screenshots</title><style>{style}</style>{body}"
    )
    return sum(map(len, rows.values()))


def main(arguments: list[str]) -> int:
    """Into the folder that the first argument names."""
    if not arguments:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    os.environ[FOLDER], os.environ[WANTED] = str(folder.resolve()), " ".join(arguments[1:])
    status = pytest.main([str(Path(__file__).with_name("pictures.py")), "-q", "--no-header"])
    sys.stdout.write(f"{write_index(folder)} pictures; see {folder / 'index.html'}\n")
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
