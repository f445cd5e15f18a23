"""The core takes values and returns values; and what is public says what may be relied on."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.architecture import source

# All that the core is made of, besides itself. What is added here must not touch the world either.
PURE: Final = frozenset(
    {
        "__future__",
        "base64",
        "binascii",
        "collections",
        "csv",
        "cryptography",
        "dataclasses",
        "datetime",
        "enum",
        "functools",
        "hashlib",
        "hmac",
        "html",
        "idna",
        "ipaddress",
        "itertools",
        "json",
        "operator",
        "phonenumbers",
        "re",
        "textwrap",
        "types",
        "typing",
        "unicodedata",
        "urllib.parse",
        "zegel.core",
        "zlib",
    }
)
# Who asks what time it is, rolls dice, reads a file or says something. ``datetime`` and the built-ins need no import.
IMPURE: Final = frozenset(
    {
        *("now", "utcnow", "today", "time", "monotonic", "perf_counter", "sleep", "localtime", "gmtime"),
        *("random", "randint", "choice", "shuffle", "urandom", "token_bytes", "token_hex", "uuid1", "uuid4"),
        *("open", "input", "print", "breakpoint", "exec", "eval", "__import__", "import_module"),
    }
)
PROMISING: Final = ("zegel/core", "zegel/edge", "zegel/journey/custody")


def impure_calls(path: Path) -> list[str]:
    return [f"{source.place(path, call)} {name}()" for call, name in source.called(path) if name in IMPURE]


def impure_imports(path: Path) -> list[str]:
    return [
        f"{source.place(path, node)} {name}"
        for node, name in source.imported(path)
        if not any(name == pure or name.startswith(f"{pure}.") for pure in PURE)
    ]


def silent(path: Path) -> list[str]:
    """What is public and promises nothing, not even by what it is made from."""
    return [f"{source.place(path, node)} {name}" for node, name in _public(source.tree(path).body, "") if _silent(node)]


def _public(body: list[ast.stmt], within: str) -> Iterator[tuple[ast.stmt, str]]:
    for node in body:
        if isinstance(node, ast.If | ast.Try):  # a definition may depend on the platform
            yield from _public(node.body + node.orelse, within)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if node.name == "Meta":  # Django's own place for a model's constraints
            continue
        yield node, within + node.name
        if isinstance(node, ast.ClassDef):
            yield from _public(node.body, f"{within}{node.name}.")


def _silent(node: ast.stmt) -> bool:
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    is_event = isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Event" for base in node.bases)
    return ast.get_docstring(node) is None and not is_event  # an event's name and fields are all there is to it


def test_the_core_asks_nobody_what_time_it_is_and_says_nothing() -> None:
    assert [call for path in source.modules("zegel/core") for call in impure_calls(path)] == []


def test_the_core_is_made_of_nothing_that_touches_the_world() -> None:
    assert [name for path in source.modules("zegel/core") for name in impure_imports(path)] == []


def test_every_module_says_where_it_stands() -> None:
    empty = [path for path in source.modules(*PROMISING) if not path.read_text().strip()]
    assert empty == []
    assert [str(path) for path in source.modules(*PROMISING) if not ast.get_docstring(source.tree(path))] == []


def test_everything_public_promises_something() -> None:
    assert [name for path in source.modules(*PROMISING) for name in silent(path)] == []


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of the core that breaks every rule there is."""
    monkeypatch.setattr(source, "ROOT", tmp_path)
    path = tmp_path / "broken.py"
    path.write_text(
        textwrap.dedent('''
            from datetime import UTC, datetime
            import os.path
            import urllib.request


            def late() -> bool:
                print("what time is it?")
                return datetime.now(UTC).hour > 22


            class Loud:
                """Says something."""

                async def said(self) -> None: ...

                def _unsaid(self) -> None: ...
        ''')
    )
    return path


def test_a_breach_would_be_found(module: Path) -> None:
    assert impure_calls(module) == ["broken.py:8 print()", "broken.py:9 now()"]
    assert impure_imports(module) == ["broken.py:3 os.path", "broken.py:4 urllib.request"]
    assert silent(module) == ["broken.py:7 late", "broken.py:15 Loud.said"]
