"""Who reads a conversation, with which key, under which address. Guests and account holders share all pages behind it.

Raises ``CannotOpen`` where keys were destroyed or octets damaged; nothing of a message is kept between two requests.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from zegel.core.mail.head import Head
from zegel.core.mail.mime import Part, Reading, as_text, select
from zegel.core.secret import Secret
from zegel.edge.prepared import Prepared
from zegel.journey.custody.models import Content, Conversation, Message, Recipient
from zegel.journey.portal.inert import MAX_HTML, Inert, Inline, make_inert
from zegel.journey.portal.plain import plain_text
from zegel.journey.portal.setup import portal
from zegel.web import addresses
from zegel.web.addresses import address

MAX_TEXT: Final = 400_000  # octets of a text that a page shows; the rest is in the file
MAX_PICTURES: Final = 30_000_000  # octets of images inside one message's page
PICTURES: Final = {
    "image/png": "image/png",
    "image/jpeg": "image/jpeg",
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/gif": "image/gif",
    "image/webp": "image/webp",
}
_ONE: Final = Prepared(
    lambda conversation, message: Message.objects.filter(conversation_id=conversation, id=message).select_related(
        "content", "answered_by"
    ),
    conversation=uuid.UUID,
    message=uuid.UUID,
)
_ORIGINAL: Final = Prepared(
    lambda conversation: (
        Message.objects.filter(conversation_id=conversation, answered_by=None)
        .select_related("content")
        .order_by("created_at", "id")[:1]
    ),
    conversation=uuid.UUID,
)


@dataclass(slots=True)
class _Original:
    """The message that began a conversation, which a page needs more than once; known for one request."""

    row: Message | None = None
    opened: OpenMessage | None = None


@dataclass(slots=True)
class _Outcome:
    """What one request came to."""

    shows: bool = False


@dataclass(frozen=True, slots=True)
class Reader:
    """The right to read one conversation, proven before it was made."""

    conversation: Conversation
    key: Secret[bytes]  # of the conversation
    recipient: Recipient | None  # None: the author
    pages: str  # "guest" or "inbox": whose addresses
    owner: uuid.UUID  # what these addresses are named after
    _original: _Original = field(default_factory=_Original, init=False, repr=False, compare=False)
    _outcome: _Outcome = field(default_factory=_Outcome, init=False, repr=False, compare=False)

    @property
    def shows(self) -> bool:
        """A message was opened for this request's answer, whatever its status and method: that is a reading. Nothing
        of a message gets into an answer on another way, so a page that is new is noted too."""
        return self._outcome.shows

    def shows_nothing(self) -> None:
        """What was opened isn't in the answer after all."""
        self._outcome.shows = False

    def address(self, page: str, **parts: addresses.Part) -> str:
        """The address of one of this reader's pages."""
        name = "recipient" if self.pages == "guest" else "conversation"
        return address(f"portal:{self.pages}-{page}", **{name: self.owner, **parts})

    def message(self, message: uuid.UUID) -> OpenMessage | None:
        """One message, if it belongs to this conversation."""
        row = _ONE.first(conversation=self.conversation.id, message=message)
        return None if row is None else self.open(row)

    def original(self) -> OpenMessage | None:
        """The message that began the conversation, for its subject and the names in it; that alone is no reading."""
        if self._original.row is None:
            self._original.row = _ORIGINAL.first(conversation=self.conversation.id)
        return None if self._original.row is None else self._opened(self._original.row)

    def note_original(self, row: Message) -> None:
        """The row of the message that began the conversation was read: :meth:`original` doesn't look for it."""
        self._original.row = row

    def open(self, row: Message) -> OpenMessage:
        """The keys of one message, to show it. Raises ``CannotOpen``."""
        opened = self._opened(row)
        self._outcome.shows = True
        return opened

    def _opened(self, row: Message) -> OpenMessage:
        known = self._original
        is_original = known.row is not None and known.row.id == row.id
        if is_original and known.opened is not None:
            return known.opened
        key = portal().unsealer.message_key(row, self.key)
        head = portal().unsealer.head(row.content, key)
        opened = OpenMessage(row, row.content, key, head)
        if is_original:
            known.opened = opened
        return opened


@dataclass(frozen=True, slots=True)
class Words:
    """A message as text and nothing else."""

    text: str
    of_html: bool  # the sender gave none: made of the HTML
    is_cut: bool  # there is more than is shown


@dataclass(slots=True)
class OpenMessage:
    """A message and the key that opens its content."""

    row: Message
    content: Content
    key: Secret[bytes]
    head: Head
    _reading: Reading | None = field(default=None, init=False)
    _inert: Inert | None = field(default=None, init=False)

    def reading(self) -> Reading:
        """What of it is read and what lies beside it. Inline images that the page doesn't show are attachments."""
        if self._reading is None:
            reading = select(self.head.parts)
            if reading.html is not None:
                reading = reading.with_references(self._shown_pictures(reading))
            self._reading = reading
        return self._reading

    def inert(self) -> Inert | None:
        """Its HTML, made harmless; ``None`` where it has none or too much."""
        if self._inert is None:
            self._inert = self._made_inert()
        return self._inert

    def _made_inert(self, *, remote_images: bool = False) -> Inert | None:
        html = select(self.head.parts).html
        if html is None or html.decoded_size > MAX_HTML:
            return None
        return make_inert(as_text(self.whole(html), html.charset), remote_images=remote_images)

    def text(self) -> str:
        """Its plain text, at most :data:`MAX_TEXT` octets of it."""
        part = self.reading().text
        return "" if part is None else as_text(self.whole(part, most=MAX_TEXT), part.charset)

    def in_words(self) -> Words:
        """What it says, without any look: its own text, else the words of its HTML."""
        reading = self.reading()
        if reading.text is not None:
            return Words(self.text(), of_html=False, is_cut=reading.text.decoded_size > MAX_TEXT)
        inert = self.inert()
        if inert is None:
            return Words("", of_html=False, is_cut=reading.html is not None)
        text = plain_text(inert)
        return Words(text[:MAX_TEXT], of_html=True, is_cut=len(text) > MAX_TEXT)

    def file(self, number: int) -> Part | None:
        """What lies beside it, or belongs inside it, under that number."""
        if number >= len(self.head.parts):
            return None
        reading, path = self.reading(), self.head.parts[number].path
        return next((one for one in (*reading.attachments, *reading.inline) if one.path == path), None)

    def number_of(self, part: Part) -> int:
        """What names a part in an address: its place among all parts."""
        return next(number for number, one in enumerate(self.head.parts) if one.path == part.path)

    def whole(self, part: Part, *, most: int = 2 * MAX_HTML) -> bytes:
        """A part's decoded octets, at most so many."""
        found = bytearray()
        for piece in self.octets(part):
            found += piece
            if len(found) >= most:
                break
        return bytes(found[:most])

    def octets(self, part: Part) -> Iterator[bytes]:
        """A part's decoded octets in pieces."""
        return portal().unsealer.part(self.content, self.key, part)

    def source(self, begin: int, end: int) -> Iterator[bytes]:
        """The message as it was sent, in pieces: from one octet up to another."""
        return portal().unsealer.octets(self.content, self.key, begin, end - begin)

    def markup(self, *, remote_images: bool = False) -> Iterator[str]:
        """Its harmless HTML with its images in it, as far as they fit; with the addresses of other images only where
        the reader asked for those.

        As ``data:`` and not by address: the frame has no origin, so a browser would ask for the images without the
        cookie that allows to see them.
        """
        inert = self._made_inert(remote_images=True) if remote_images else self.inert()
        left = MAX_PICTURES
        pictures = {part.content_id: part for part in select(self.head.parts).inline if part.type in PICTURES}
        for piece in inert.pieces if inert else ():
            if isinstance(piece, str):
                yield piece
            elif (part := pictures.get(piece.content_id)) is not None and part.decoded_size <= left:
                left -= part.decoded_size
                yield f'src="data:{PICTURES[part.type]};base64,'
                yield from _as_base64(self.octets(part))
                yield '"'

    def _shown_pictures(self, reading: Reading) -> frozenset[str]:
        inert = self.inert()
        if inert is None:
            return frozenset()
        drawable = {part.content_id for part in reading.inline if part.type in PICTURES and part.content_id}
        return frozenset(piece.content_id for piece in inert.pieces if isinstance(piece, Inline)) & drawable


def _as_base64(pieces: Iterator[bytes]) -> Iterator[str]:
    rest = b""
    for piece in pieces:
        octets = rest + piece
        cut = len(octets) - len(octets) % 3
        rest = octets[cut:]
        yield base64.b64encode(octets[:cut]).decode("ascii")
    yield base64.b64encode(rest).decode("ascii")
