"""The repository as text and as syntax, for the tests that read it."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


@cache
def tree(path: Path) -> ast.Module:
    """The module's syntax."""
    return ast.parse(path.read_text(), str(path))


def modules(*folders: str) -> Iterator[Path]:
    """Every Python module below these folders of the repository, except migrations."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path


def place(path: Path, node: ast.stmt | ast.expr | ast.alias | int) -> str:
    """``zegel/core/clock.py:12``, to be found."""
    line = node if isinstance(node, int) else node.lineno
    return f"{path.relative_to(ROOT)}:{line}"


def imported(path: Path) -> Iterator[tuple[ast.stmt, str]]:
    """Each module or name that is imported, dotted and in full, wherever in the module that happens."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            module = ".".join((*package, *([node.module] if node.module else [])))
            yield from ((node, f"{module}.{alias.name}") for alias in node.names)


def called(path: Path) -> Iterator[tuple[ast.Call, str]]:
    """Each call, by the last word of what is called."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node, node.func.id
            elif isinstance(node.func, ast.Attribute):
                yield node, node.func.attr


def of_the_repository() -> list[Path]:
    """The files that are, or are about to be, in the repository; never what ``.gitignore`` names."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    return sorted(path for name in listed.decode().split("\0") if name and (path := ROOT / name).is_file())
