"""What readers need to know of a message before its body: sealed beside the content, under the same key."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

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
    body_hash: bytes  # SHA-256 of the body, relaxed (RFC 6376 §3.4.4): so that signing needs the header only
    parts: tuple[Part, ...]

    def to_bytes(self) -> bytes:
        """For sealing; :meth:`from_bytes` reads it back."""
        values = asdict(self)
        values["body_hash"] = self.body_hash.hex()
        return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")

    @classmethod
    def from_bytes(cls, octets: bytes) -> Head:
        """Reads :meth:`to_bytes`, also of earlier versions: fields that are new since then have defaults in Part."""
        values: dict[str, Any] = json.loads(octets)
        values["body_hash"] = bytes.fromhex(values["body_hash"])
        values["to"] = tuple((name, address) for name, address in values["to"])
        values["cc"] = tuple((name, address) for name, address in values["cc"])
        values["parts"] = tuple(_part(part) for part in values["parts"])
        return cls(**values)

    def with_parts(self, parts: tuple[Part, ...]) -> Head:
        """The same head over another index."""
        return replace(self, parts=parts)


def _part(values: dict[str, Any]) -> Part:
    values["path"] = tuple(values["path"])
    return Part(**values)
