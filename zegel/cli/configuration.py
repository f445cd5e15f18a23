"""The configuration file as `zegel init` writes it: every setting, its default and its meaning, out of the settings
themselves."""

from __future__ import annotations

import inspect
import io
import json
import re
import tokenize
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from zegel.settings import Listen, Settings

Values = Mapping[str, Mapping[str, Any]]
"""What is not the default, by section and name; the section of what stands before all sections is ``""``."""

UNSET: Final = '"…"'
_NOT_FOR_PEOPLE: Final = re.compile(r"\s*#?\s*noqa.*")
_HEAD: Final = """\
# The configuration of Zegel. What stands behind a single # is the default: take the # away to change it.
# Paths are relative to this file. After a change: systemctl restart zegel
"""


def written(values: Values) -> str:
    """A TOML file that sets these values, and names all others with their defaults."""
    parts = [_HEAD, *_settings(Settings, values.get("", {}))]
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if is_section(field):
            assert inspect.isclass(section) and issubclass(section, BaseModel)
            parts.append(f"\n[{name}]\n## {_first_line(section)}\n")
            parts.extend(_settings(section, values.get(name, {})))
    return "".join(parts)


def is_section(field: FieldInfo) -> bool:
    """It stands under a heading of its own."""
    return inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel) and field.annotation != Listen


def _first_line(model: type) -> str:
    return inspect.cleandoc(model.__doc__ or "").splitlines()[0]


def _settings(model: type[BaseModel], values: Mapping[str, Any]) -> Iterator[str]:
    said = meanings(model)
    for name, field in model.model_fields.items():
        if is_section(field):
            continue
        yield f"\n## {said[name]}\n"
        if name in values:
            yield f"{name} = {as_toml(values[name])}\n"
        else:
            default = field.get_default(call_default_factory=True)
            yield f"# {name} = {UNSET if default is None else as_toml(default)}\n"


@cache
def meanings(model: type[BaseModel]) -> Mapping[str, str]:
    """What stands behind each setting in its class."""
    found: dict[str, str] = {}
    name = ""
    source = inspect.cleandoc(inspect.getsource(model))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        first, colon, _ = token.line.strip().partition(":")
        if colon and first in model.model_fields:
            name = first
        if token.type == tokenize.COMMENT and name:
            said = _NOT_FOR_PEOPLE.sub("", token.string.removeprefix("#")).strip()
            found[name] = " ".join(filter(None, (found.get(name), said)))
        if token.type == tokenize.NEWLINE:
            name = ""
    return found


def as_toml(value: Any) -> str:
    """A value as TOML has it."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case tuple() | list():
            return f"[{', '.join(map(as_toml, value))}]"
        case str() | Path() | Listen():
            return json.dumps(str(value), ensure_ascii=False)
        case _:
            raise TypeError(type(value).__name__)
