"""Regular expressions mean the same under every Python that may run them."""

from __future__ import annotations

import ast
import re
from typing import Final

import pytest

from tests.architecture import source

# Before 3.11.5, and Debian 12 has 3.11.2: a group that is repeated possessively, or is atomic, goes on behind what its
# last round took in vain (https://github.com/python/cpython/issues/106052). One class or character does what it should.
_MISREAD: Final = re.compile(r"\)(?:[*+?]|\{[0-9,]+\})\+|\(\?>")
_ESCAPED: Final = re.compile(r"\\.", re.DOTALL)
_CLASS: Final = re.compile(r"\[\^?\]?[^\]]*\]")


def misread(text: str | bytes) -> bool:
    """It holds what such a Python misreads."""
    text = text.decode("latin-1") if isinstance(text, bytes) else text
    return _MISREAD.search(_CLASS.sub("c", _ESCAPED.sub("c", text))) is not None


def test_no_group_is_repeated_possessively() -> None:
    found = [
        source.place(path, node)
        for path in source.modules("zegel")
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and misread(node.value)
    ]
    assert found == []


@pytest.mark.parametrize("text", ["(?:a|b)*+", b"(a)++", "(a)?+", "(?:ab){2,3}+", "(?>a)"])
def test_they_would_be_found(text: str | bytes) -> None:
    assert misread(text)


@pytest.mark.parametrize(
    "text", ["(?:a|b)*", "(a)+", "[ab]*+", b"a{1,3}+", r"(a[^b]++)", r"[()*+,]", r"(a)[bc]*+", r"\)*+"]
)
def test_nothing_else_is(text: str | bytes) -> None:
    assert not misread(text)
