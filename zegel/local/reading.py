"""A received message, taken apart for a person to look at. Hostile mail makes an ugly page, never an exception."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import Final

from zegel.core.clock import Instant
from zegel.local.folders import NO_TLS, TRANSPORT

Fields = tuple[tuple[str, str], ...]

_LARGEST_HEADER: Final = 64 * 1024  # of a header section that a list looks at
_LONGEST_SHOWN: Final = 1024 * 1024  # characters of a text on a page; the rest is in the source
_LARGEST_INLINE: Final = 4 * 1024 * 1024  # octets of images that are put into the HTML
_IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_EMBEDDED: Final = re.compile(r"cid:([^\"'\s<>)]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Summary:
    """A line in the list of a mailbox."""

    arrived: Instant | None
    author: str
    subject: str
    transport: str
    """Protocol and cipher, or ``none``."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part that is not shown as text; ``number`` finds it again in the same message."""

    number: int
    name: str
    kind: str
    octets: bytes


@dataclass(frozen=True, slots=True)
class Reading:
    """What a mail program would show, and the evidence that it wouldn't."""

    fields: Fields
    transport: str
    text: str | None
    html: str | None
    attachments: tuple[Attachment, ...]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The parser gave up. The header fields and the source are all there is."""

    fields: Fields
    transport: str


def summary(path: Path) -> Summary:
    """From the file's name and its header section alone, however large the message is."""
    fields = _header_section(path)
    return Summary(arrived(path), first(fields, "From"), first(fields, "Subject"), transport_of(fields))


def read(path: Path) -> Reading | Unreadable:
    """Takes the whole message apart; what the standard library's parser cannot is :class:`Unreadable`."""
    try:
        with path.open("rb") as file:
            message = BytesParser().parse(file)
        leaves = list(_leaves(message))
        fields = tuple((name, decoded(str(value))) for name, value in message.raw_items())
        return _reading(fields, leaves)
    except (MessageError, RecursionError, ValueError, LookupError, TypeError, AttributeError, AssertionError):
        fields = _header_section(path)
        return Unreadable(fields, transport_of(fields))


def arrived(path: Path) -> Instant | None:
    """When the message was received, as its file's name says."""
    try:
        return datetime.strptime(path.name.partition("-")[0], "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def first(fields: Fields, name: str) -> str:
    """The value of the first field of that name, or nothing."""
    return next((value for key, value in fields if key.lower() == name.lower()), "")


def transport_of(fields: Fields) -> str:
    """What our own server wrote: it stands before everything that the message brought itself."""
    return first(fields, TRANSPORT) or NO_TLS


def decoded(value: str) -> str:
    """A header value for people: encoded-words (RFC 2047) and raw UTF-8 (RFC 6532) read, folding undone."""
    text = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    text = re.sub(r"\r?\n(?=[ \t])", "", text)
    with contextlib.suppress(MessageError, LookupError, ValueError, AssertionError):  # then shown as it stands
        text = str(make_header(decode_header(text)))
    return printable(text.replace("\r", " ").replace("\n", " "))


def printable(text: str) -> str:
    """Control characters and lone surrogates show as U+FFFD."""
    return _CONTROLS.sub("\ufffd", text.replace("\r\n", "\n").encode("utf-8", "replace").decode())


def _header_section(path: Path) -> Fields:
    with path.open("rb") as file:
        start = file.read(_LARGEST_HEADER)
    section, _, _ = start.replace(b"\r\n", b"\n").partition(b"\n\n")
    unfolded = re.sub(rb"\n(?=[ \t])", b"", section)
    lines = (line.partition(b":") for line in unfolded.split(b"\n"))
    return tuple(
        (name.decode("ascii", "replace").strip(), decoded(value.strip().decode("utf-8", "surrogateescape")))
        for name, colon, value in lines
        if colon
    )


def _leaves(message: Message) -> Iterator[Message]:
    """The parts in their order, without recursion; a message in a message is one part."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        inner = part.get_payload()
        if part.get_content_maintype() == "multipart" and isinstance(inner, list):
            waiting.extend(each for each in reversed(inner) if isinstance(each, Message))
        else:
            yield part


def _reading(fields: Fields, leaves: list[Message]) -> Reading:
    shown: dict[str, str] = {}
    attachments = []
    for number, part in enumerate(leaves):
        kind = part.get_content_type()
        octets = _octets(part)
        is_body = kind in {"text/plain", "text/html"} and kind not in shown and not _is_attached(part)
        if is_body:
            shown[kind] = _text(part, octets)
        else:
            attachments.append(Attachment(number, _file_name(part, number), printable(kind), octets))
    html = shown.get("text/html")
    return Reading(
        fields=fields,
        transport=transport_of(fields),
        text=shown.get("text/plain"),
        html=None if html is None else _with_images(html, leaves),
        attachments=tuple(attachments),
    )


def _is_attached(part: Message) -> bool:
    return part.get_content_disposition() == "attachment" or part.get_filename() is not None


def _octets(part: Message) -> bytes:
    inner = part.get_payload()
    if isinstance(inner, list):
        return b"\n".join(each.as_bytes() for each in inner if isinstance(each, Message))
    octets = part.get_payload(decode=True)
    return octets if isinstance(octets, bytes) else b""


def _text(part: Message, octets: bytes) -> str:
    charset = part.get_content_charset() or "utf-8"
    try:
        text = octets.decode(charset, "replace")
    except (LookupError, ValueError):  # a charset that doesn't exist, or isn't one
        text = octets.decode("utf-8", "replace")
    if len(text) > _LONGEST_SHOWN:
        text = text[:_LONGEST_SHOWN] + "\n… (the rest is in the source)"
    return printable(text)


def _file_name(part: Message, number: int) -> str:
    name = decoded(part.get_filename() or "").replace("/", "_").replace("\\", "_").strip(" .")
    return name[:150] or f"part-{number}"


def _with_images(html: str, leaves: list[Message]) -> str:
    """Images that the message itself carries (RFC 2392), put into the HTML; others stay where they are."""
    images: dict[str, str] = {}
    room = _LARGEST_INLINE
    for part in leaves:
        identity = str(part.get("Content-ID", "")).strip().strip("<>")
        octets = _octets(part) if identity and part.get_content_type() in _IMAGES else b""
        if octets and len(octets) <= room:
            room -= len(octets)
            images[identity] = f"data:{part.get_content_type()};base64,{base64.b64encode(octets).decode()}"
    return _EMBEDDED.sub(lambda found: images.get(found[1], found[0]), html)
