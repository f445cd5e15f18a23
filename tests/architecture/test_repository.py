"""What the repository holds is finished, and belongs to no machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.architecture import source

# Written so that this file doesn't hold what it looks for.
_MACHINE: Final = re.compile(r"(?<![\w.~-])/(?:work|root|(?:home|Users)/[\w.-]+)/|[A-Z]:\\Users\\|\.pye[n]v/")
_UNFINISHED: Final = re.compile(r"\b(?:TO[D]O|FIXM[E]|XX[X]|HAC[K])\b")
_DOCUMENT: Final = re.compile(r"\b([\w-]+(?:/[\w-]+)*\.md)\b")


def texts() -> dict[Path, str]:
    """Each file of the repository that is text."""
    found: dict[Path, str] = {}
    for path in source.of_the_repository():
        octets = path.read_bytes()
        if b"\0" not in octets:
            found[path] = octets.decode("utf-8", "replace")
    assert len(found) > 100
    return found


def hits(pattern: re.Pattern[str], text: str) -> list[tuple[int, str]]:
    """Line and words of everything that is found."""
    return [(number, found[0]) for number, line in enumerate(text.splitlines(), 1) for found in pattern.finditer(line)]


def test_no_file_holds_the_path_of_somebodys_machine() -> None:
    found = [
        f"{source.place(path, line)} {what}" for path, text in texts().items() for line, what in hits(_MACHINE, text)
    ]
    assert found == []


def test_nothing_is_left_to_be_done_later() -> None:
    found = [
        f"{source.place(path, line)} {what}"
        for path, text in texts().items()
        if path.suffix != ".lock"
        for line, what in hits(_UNFINISHED, text)
    ]
    assert found == []


def test_documents_that_code_names_are_there() -> None:
    """A source that the reader doesn't have is no source."""
    there = {path.name for path in texts() if path.suffix == ".md"}
    found = [
        f"{source.place(path, line)} {what}"
        for path in source.modules("zegel", "tests")
        for line, what in hits(_DOCUMENT, path.read_text())
        if what.rpartition("/")[2] not in there and "tests/architecture" not in str(path)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (_MACHINE, 'PATH = "' + "/".join(["", "root", "zegel", "state"]) + '"'),
        (_MACHINE, "\\".join(["C:", "Users", "beheer"])),
        (_MACHINE, "see " + "/".join(["", "home", "beheer", "zegel"])),
        (_UNFINISHED, "# " + "TO" + "DO: later"),
        (_UNFINISHED, "# " + "FIX" + "ME"),
        (_DOCUMENT, "as docs/" + "plan.md says"),
    ],
)
def test_a_breach_would_be_found(pattern: re.Pattern[str], line: str) -> None:
    assert hits(pattern, line)


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (_MACHINE, "https://example.org/work/"),
        (_MACHINE, '<a href="/home/">'),
        (_MACHINE, "/".join(["~", "work", "zegel"])),
        (_UNFINISHED, "XXXL, hackathon"),
    ],
)
def test_what_only_looks_like_one_is_none(pattern: re.Pattern[str], line: str) -> None:
    assert not hits(pattern, line)


def test_migrations_are_complete(tmp_path: Path) -> None:
    """The models say nothing that the migrations don't."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ZEGEL_")},
        "DJANGO_SETTINGS_MODULE": "zegel.web.settings",
        "ZEGEL_FOLDER": str(tmp_path),
    }
    said = subprocess.run(
        [sys.executable, "-m", "django", "makemigrations", "--check", "--dry-run"],
        cwd=source.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert "No changes detected" in said.stdout
