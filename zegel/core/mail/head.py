"""What readers need to know of a message before its body: sealed beside the content, under the same key."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any, Final

from zegel.core.mail.mime import Part


@dataclass(frozen=True, slots=True)
class Head:
    """Decoded header values for display, and where each part of the message lies."""

    subject: str
    author: str  # display name, may be empty
    author_address: str
    to: tuple[tuple[str, str], ...]  # display name and address, as shown in To
    cc: tuple[tuple[str, str], ...]
    date: str  # as in the Date field
    message_id: str
    parts: tuple[Part, ...]

    def to_bytes(self) -> bytes:
        """For sealing; :meth:`from_bytes` reads it back."""
        values = dict(zip(_NAMES, _VALUES(self), strict=True))
        values["parts"] = [dict(zip(_PART_NAMES, _PART_VALUES(part), strict=True)) for part in self.parts]
        return _ENCODE(values).encode("utf-8", "replace")

    @classmethod
    def from_bytes(cls, octets: bytes) -> Head:
        """Reads :meth:`to_bytes`, also of earlier versions: fields that are new since then have defaults in Part, and
        the hash of the body that 0.1.0 kept here is made where it is needed."""
        values: dict[str, Any] = json.loads(octets)
        values.pop("body_hash", None)
        values["to"] = tuple((name, address) for name, address in values["to"])
        values["cc"] = tuple((name, address) for name, address in values["cc"])
        values["parts"] = tuple(_part(part) for part in values["parts"])
        return cls(**values)

    def with_parts(self, parts: tuple[Part, ...]) -> Head:
        """The same head over another index."""
        return replace(self, parts=parts)


# dataclasses.asdict copies deeply, and costs more than all sealing.
_NAMES: Final = tuple(field.name for field in fields(Head))
_VALUES: Final = attrgetter(*_NAMES)
_PART_NAMES: Final = tuple(field.name for field in fields(Part))
_PART_VALUES: Final = attrgetter(*_PART_NAMES)
_ENCODE: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _part(values: dict[str, Any]) -> Part:
    values["path"] = tuple(values["path"])
    return Part(**values)
