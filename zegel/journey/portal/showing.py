"""A message as the page shows it: plain values for the template, decided here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from django.utils.formats import number_format
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from zegel.core.clock import Instant
from zegel.core.mail.mime import Part, Reading
from zegel.core.seal.wrap import CannotOpen
from zegel.journey.custody.models import Message
from zegel.journey.portal.reader import MAX_TEXT, OpenMessage, Reader

_ADDRESS: Final = re.compile(r"https?://[^\s<>\"'`]{1,2000}", re.IGNORECASE)
_NO_TEXT: Final = SafeString("")
_NOT_OF_AN_ADDRESS: Final = ".,;:!?)]}»”’"
_TALL: Final = ((5, "frame-xs"), (12, "frame-s"), (26, "frame-m"))  # lines, class of the frame


class Note(Enum):
    """A sentence beside a message that can't be shown in full."""

    EMPTY = _("This message has no text.")
    ONLY_ATTACHMENTS = _("This message has no text, only attachments.")
    ENCRYPTED = _(
        "The sender encrypted this message for your own mail program (S/MIME or PGP). Save the message as a file and "
        "open it there."
    )
    SIGNED = _(
        "The sender signed this message. To check the signature, save the message as a file and open it in your mail "
        "program."
    )
    TOO_LONG = _("This message is too long to show in full. Save the message as a file to read all of it.")
    CLOSED = _("This message can no longer be opened: its key was destroyed.")

    @property
    def text(self) -> str:
        """In the language of the page."""
        return str(self.value)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file beside a message."""

    name: str
    kind: str
    size: str
    address: str


@dataclass(frozen=True, slots=True)
class Shown:
    """One message of a conversation."""

    id: str
    author: str
    author_address: str
    at: Instant
    to: Sequence[tuple[str, str]] = ()
    cc: Sequence[tuple[str, str]] = ()
    subject: str = ""
    is_own: bool = False
    body: str = ""  # address of its HTML; empty: it has text
    frame: str = ""
    text: SafeString = _NO_TEXT
    withheld: str = ""
    notes: Sequence[str] = ()
    attachments: Sequence[Attachment] = ()
    source: str = ""  # address of the whole message


def shown_messages(reader: Reader) -> list[Shown]:
    """All messages of the conversation; one that can't be opened says so, and the others are there."""
    rows = Message.objects.filter(conversation=reader.conversation).select_related("content", "answered_by")
    return [_shown(reader, row) for row in rows.order_by("created_at", "id")]


def _shown(reader: Reader, row: Message) -> Shown:
    own = reader.recipient.id if reader.recipient is not None else None
    is_own = row.answered_by_id == own
    try:
        return _opened(reader, reader.open(row), is_own)
    except (CannotOpen, FileNotFoundError):
        who = row.answered_by.address if row.answered_by else reader.conversation.author.email
        return Shown(str(row.id), "", who, row.created_at, is_own=is_own, notes=(Note.CLOSED.text,))


def _opened(reader: Reader, opened: OpenMessage, is_own: bool) -> Shown:
    head, reading = opened.head, opened.reading()
    inert = opened.inert() if reading.html is not None else None
    text = "" if inert is not None else opened.text()
    message = opened.row.id
    return Shown(
        id=str(message),
        author=head.author,
        author_address=head.author_address,
        at=opened.row.created_at,
        to=head.to,
        cc=head.cc,
        subject=head.subject,
        is_own=is_own,
        body=reader.address("body", message=message) if inert is not None else "",
        frame=_frame(inert.lines) if inert is not None else "",
        text=with_links(text),
        withheld=_withheld(inert.withheld) if inert is not None else "",
        notes=tuple(note.text for note in _notes(reading, shows=inert is not None or bool(text.strip()))),
        attachments=tuple(_attachment(reader, opened, part) for part in reading.attachments),
        source=reader.address("source", message=message),
    )


def _notes(reading: Reading, *, shows: bool) -> list[Note]:
    notes = []
    too_long = (not shows and reading.html is not None and reading.html.decoded_size > 0) or (
        reading.html is None and reading.text is not None and reading.text.decoded_size > MAX_TEXT
    )
    if too_long:
        notes.append(Note.TOO_LONG)
    if reading.is_cryptographic:
        notes.append(Note.SIGNED if shows else Note.ENCRYPTED)
    elif not shows and not too_long:
        notes.append(Note.ONLY_ATTACHMENTS if reading.attachments else Note.EMPTY)
    return notes


def _attachment(reader: Reader, opened: OpenMessage, part: Part) -> Attachment:
    number = number_of(opened, part)
    address = reader.address("part", message=opened.row.id, number=number)
    return Attachment(part.name or "", part.type, size_in_words(part.decoded_size), address)


def size_in_words(octets: int) -> str:
    """Decimal units, as in D-7: 10 MB is 10 000 000 octets."""
    for unit, name in ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")):
        if octets >= unit:
            places = 1 if octets < 10 * unit and octets % unit else 0
            return f"{number_format(octets / unit, places)}\u00a0{name}"
    return ngettext("%(count)d byte", "%(count)d bytes", octets) % {"count": octets}


def number_of(opened: OpenMessage, part: Part) -> int:
    """What names a part in an address: its place among all parts."""
    return next(number for number, one in enumerate(opened.head.parts) if one.path == part.path)


def _frame(lines: int) -> str:
    """Without JavaScript a frame doesn't know how tall its page is; its lines tell roughly."""
    return next((name for most, name in _TALL if lines <= most), "frame-l")


def _withheld(count: int) -> str:
    if not count:
        return ""
    return ngettext(
        "One image was not loaded: it would tell its sender when and where you read this.",
        "%(count)d images were not loaded: they would tell their sender when and where you read this.",
        count,
    ) % {"count": count}


def with_links(text: str) -> SafeString:
    """Text as markup: escaped, with addresses of pages as links that open apart."""
    pieces, end = [], 0
    for found in _ADDRESS.finditer(text):
        address = found[0].rstrip(_NOT_OF_AN_ADDRESS)
        pieces.append(escape(text[end : found.start()]))
        pieces.append(
            format_html('<a href="{}" target="_blank" rel="noopener noreferrer nofollow">{}</a>', address, address)
        )
        end = found.start() + len(address)
    pieces.append(escape(text[end:]))
    return mark_safe("".join(pieces))  # noqa: S308 – every piece was escaped
