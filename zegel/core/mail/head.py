"""What readers need to know of a message before its body: sealed beside the content, under the same key."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any, Final

from zegel.core.mail.fields import Author, HeaderSection, NotOneAuthor, addresses, author, decode_words, message_id
from zegel.core.mail.mime import MimeIndexer, Part


def describe(section: HeaderSection, by: Author | None = None) -> Head:
    """The head of a message with this header section, its parts not yet known. ``by``: its author, if that is known
    already. Never raises: where nobody is the author beyond doubt, the head names nobody."""

    def text(name: str) -> str:
        found = section.first(name)
        return decode_words(found.value) if found else ""

    def shown(name: str) -> tuple[tuple[str, str], ...]:
        return tuple((one.display, str(one.mailbox)) for line in section.all(name) for one in addresses(line.value))

    if by is None:
        try:
            by = author(section)
        except NotOneAuthor:
            by = None
    return Head(
        subject=text("subject"),
        author=by.display if by else "",
        author_address=str(by.mailbox) if by else "",
        to=shown("to"),
        cc=shown("cc"),
        date=text("date"),
        message_id=message_id(section) or "",
        parts=(),
    )


def head_of(header: bytes, body: bytes) -> Head:
    """The head of a whole message, its parts included; for small ones. ``header`` ends with the empty line."""
    indexer = MimeIndexer(header[:-2], len(header))
    indexer.feed(body)
    return describe(HeaderSection.parse(header[:-2])).with_parts(indexer.finish())


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
