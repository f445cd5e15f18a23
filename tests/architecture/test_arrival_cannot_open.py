"""The stop that talks to strangers can close what it takes in, and never open it again.

That it doesn't import ``unseal`` is a contract of ``.importlinter``; the keyring, which it needs, holds both halves.
"""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path
from typing import Final

import pytest

from tests.architecture import source

_OPENING: Final = re.compile(r"opening|unseal|unwrap|disclose", re.IGNORECASE)


def openings(path: Path) -> list[str]:
    """Where the module's code, not its prose, speaks of opening."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    return [
        f"{source.place(path, token.start[0])} {token.string}"
        for token in tokens
        if token.type == tokenize.NAME and _OPENING.search(token.string)
    ]


def whole_keyrings(path: Path) -> list[str]:
    """Where all of the keyring or of the wrapping is taken in, and could be used under any name."""
    return [
        f"{source.place(path, node)} {name}"
        for node, name in source.imported(path)
        if name.endswith((".*", "edge.keyring", "seal.wrap", "seal.slot", "seal.stream"))
    ]


def test_arrival_has_no_word_for_opening() -> None:
    paths = list(source.modules("zegel/journey/arrival"))
    assert len(paths) > 1
    assert [word for path in paths for word in openings(path)] == []
    assert [name for path in paths for name in whole_keyrings(path)] == []


def test_sealing_has_no_word_for_opening() -> None:
    assert openings(source.ROOT / "zegel/journey/custody/seal.py") == []


def test_a_breach_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "ROOT", tmp_path)
    path = tmp_path / "sly.py"
    path.write_text(
        '"""Never opening anything."""\n'
        "from zegel.edge import keyring\n"
        "from zegel.core.seal.wrap import OpeningKey as Key\n"
        "keys = keyring.opening_keys(folder)\n"
    )
    assert openings(path) == ["sly.py:3 OpeningKey", "sly.py:4 opening_keys"]
    assert whole_keyrings(path) == ["sly.py:2 zegel.edge.keyring"]
