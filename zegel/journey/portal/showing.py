"""A message as the page shows it: plain values for the template, decided here."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from django.db.models import QuerySet
from django.utils.formats import number_format
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from zegel.core.clock import Instant
from zegel.core.mail.mime import Part, Reading
from zegel.core.seal.wrap import CannotOpen
from zegel.edge.prepared import Prepared
from zegel.journey.custody.models import Message
from zegel.journey.portal.inert import Inert
from zegel.journey.portal.reader import MAX_TEXT, OpenMessage, Reader
from zegel.journey.portal.setup import portal
from zegel.journey.portal.viewing import is_offered
from zegel.web import addresses

# It ends before what turns text around, and stands apart from what did: read backwards it would be another.
_ADDRESS: Final = re.compile(r"https?://[^\s<>\"'`\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]{1,2000}", re.IGNORECASE)
_NO_TEXT: Final = SafeString("")
_NOT_OF_AN_ADDRESS: Final = ".,;:!?)]}»”’"
MAX_WORDS: Final = 2_000_000  # characters of all messages that are shown as text at once
ON_A_PAGE: Final = 20
_OPEN: Final = 5  # messages that are shown at once; older ones on the same page are folded
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
    view: str = ""  # where it can be looked at, unless it turns out to be something else


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
    images: str = ""  # where its images from elsewhere are asked for
    notes: Sequence[str] = ()
    attachments: Sequence[Attachment] = ()
    archive: str = ""  # address of all attachments as one; empty: there are not several
    words: str = ""  # address of its text, where it is shown with its look
    pdf: str = ""
    source: str = ""  # address of the whole message
    is_folded: bool = False


@dataclass(frozen=True, slots=True)
class ShownPage:
    """A part of a conversation, in the order that the reader chose."""

    messages: Sequence[Shown]
    subject: str
    newest_first: bool
    other_order: str  # what follows "?" for the other order; empty: there is nothing to order
    older: str = ""  # what follows "?" for the messages before these; empty: there are none
    newer: str = ""


@dataclass(frozen=True, slots=True)
class Worded:
    """A message as text, to read and to print."""

    author: str
    author_address: str
    at: Instant
    to: Sequence[tuple[str, str]] = ()
    cc: Sequence[tuple[str, str]] = ()
    subject: str = ""
    text: SafeString = _NO_TEXT
    of_html: bool = False
    notes: Sequence[str] = ()
    attachments: Sequence[Attachment] = ()


def shown_page(reader: Reader, asked: Mapping[str, str]) -> ShownPage:
    """The newest messages of a conversation, or those of the page that is asked for; only these are opened. One that
    can't be opened says so, and the others are there."""
    newest_first, page = asked.get("order") == "newest", max(_number(asked.get("page")), 1)
    found = _found(reader, page)
    if not found and page > 1:
        page = max(1, -(-_rows(reader).count() // ON_A_PAGE))
        found = _found(reader, page)
    found, has_older = found[:ON_A_PAGE], len(found) > ON_A_PAGE
    if found and not has_older:
        reader.note_original(found[-1])
    messages = [_shown(reader, row, is_folded=place >= _OPEN) for place, row in enumerate(found)]
    order = "order=newest" if newest_first else ""
    return ShownPage(
        messages=messages if newest_first else messages[::-1],
        subject=_subject(reader),
        newest_first=newest_first,
        other_order=("order=oldest" if newest_first else "order=newest") if page > 1 or len(found) > 1 else "",
        older=_query(f"page={page + 1}", order) if has_older else "",
        newer=_query(f"page={page - 1}", order) if page > 1 else "",
    )


def worded_messages(reader: Reader, message: uuid.UUID | None) -> list[Worded]:
    """One message, or all from the first to the last, as text; where all would be more than a page can hold, the last
    of them without."""
    rows, left, shown = _rows(reader).order_by("created_at", "id"), MAX_WORDS, []
    for row in rows if message is None else rows.filter(id=message):
        shown.append(_worded(reader, row, most=left))
        left -= len(shown[-1].text)
    return shown


def _rows(reader: Reader) -> QuerySet[Message]:
    return _rows_of(reader.conversation.id)


def _rows_of(conversation: uuid.UUID) -> QuerySet[Message]:
    return Message.objects.filter(conversation_id=conversation).select_related("content", "answered_by")


def _newest(conversation: uuid.UUID, page: int = 1) -> QuerySet[Message]:
    """One more than are shown."""
    rows = _rows_of(conversation).order_by("-created_at", "-id")
    return rows[(page - 1) * ON_A_PAGE : page * ON_A_PAGE + 1]


_FIRST_PAGE: Final = Prepared(_newest, conversation=uuid.UUID)


def _found(reader: Reader, page: int) -> list[Message]:
    conversation = reader.conversation.id
    return _FIRST_PAGE(conversation=conversation) if page == 1 else list(_newest(conversation, page))


def _number(text: str | None) -> int:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,6}", text) else 1


def _query(*parts: str) -> str:
    return "&".join(part for part in parts if part)


def _subject(reader: Reader) -> str:
    """Of the message that began it, which may stand on another page."""
    try:
        original = reader.original()
    except (CannotOpen, FileNotFoundError):
        return ""
    return original.head.subject if original else ""


def _writer(reader: Reader, row: Message) -> str:
    return row.answered_by.address if row.answered_by else reader.conversation.author.email


def _shown(reader: Reader, row: Message, *, is_folded: bool) -> Shown:
    own = reader.recipient.id if reader.recipient is not None else None
    is_own = row.answered_by_id == own
    try:
        return replace(_opened(reader, reader.open(row), is_own), is_folded=is_folded)
    except (CannotOpen, FileNotFoundError):
        who = _writer(reader, row)
        return Shown(str(row.id), "", who, row.created_at, is_own=is_own, notes=(Note.CLOSED.text,))


def _worded(reader: Reader, row: Message, *, most: int) -> Worded:
    try:
        opened = reader.open(row)
        words, reading, head = opened.in_words(), opened.reading(), opened.head
    except (CannotOpen, FileNotFoundError):
        return Worded("", _writer(reader, row), row.created_at, notes=(Note.CLOSED.text,))
    fits = len(words.text) <= most
    cut = words.is_cut or not fits
    notes = [Note.TOO_LONG] if cut else _notes(reading, shows=bool(words.text.strip()))
    return Worded(
        author=head.author,
        author_address=head.author_address,
        at=row.created_at,
        to=head.to,
        cc=head.cc,
        subject=head.subject,
        text=with_links(words.text) if fits else _NO_TEXT,
        of_html=words.of_html,
        notes=tuple(note.text for note in notes),
        attachments=tuple(_attachment(reader, opened, part) for part in reading.attachments),
    )


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
        images=_images(reader, opened, inert) if inert is not None else "",
        notes=tuple(note.text for note in _notes(reading, shows=inert is not None or bool(text.strip()))),
        attachments=tuple(_attachment(reader, opened, part) for part in reading.attachments),
        archive=reader.address("archive", message=message) if len(reading.attachments) > 1 else "",
        words=reader.address("words", message=message) if inert is not None else "",
        pdf=reader.address("pdf", message=message),
        source=reader.address("source", message=message),
    )


def _images(reader: Reader, opened: OpenMessage, inert: Inert) -> str:
    if not (inert.loadable and portal().remote_images):
        return ""
    return reader.address("images", message=opened.row.id)


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
    place: dict[str, addresses.Part] = {"message": opened.row.id, "number": opened.number_of(part)}
    view = reader.address("view", **place) if is_offered(part) else ""
    return Attachment(
        part.name or "", part.type, size_in_words(part.decoded_size), reader.address("part", **place), view
    )


def size_in_words(octets: int) -> str:
    """Decimal units, as in D-7: 10 MB is 10 000 000 octets."""
    for unit, name in ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")):
        if octets >= unit:
            places = 1 if octets < 10 * unit and octets % unit else 0
            return f"{number_format(octets / unit, places)}\u00a0{name}"
    return ngettext("%(count)d byte", "%(count)d bytes", octets) % {"count": octets}


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
            format_html(
                '<a href="{}" dir="auto" target="_blank" rel="noopener noreferrer nofollow">{}</a>', address, address
            )
        )
        end = found.start() + len(address)
    pieces.append(escape(text[end:]))
    return mark_safe("".join(pieces))  # noqa: S308 – every piece was escaped
