"""An answer becomes a message while it arrives: built, indexed and sealed chunk by chunk, never in clear on a disk."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, assert_never
from urllib.parse import quote

from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.http import HttpRequest

from zegel.core.clock import Instant
from zegel.core.mail import compose
from zegel.core.mail.address import Mailbox
from zegel.core.mail.compose import NotWritable
from zegel.core.mail.head import Head
from zegel.core.mail.mime import MimeIndexer
from zegel.edge.blobs import Blobs
from zegel.edge.clamd import Clamd, Clean, Examination, Infected, NotExamined, Verdict, Why
from zegel.journey.custody.seal import ContentSink

_LINE: Final = 57  # octets of a base64 line, RFC 2045 §6.8
_CHUNK: Final = _LINE * 1150
TOGETHER: Final = 5  # times the limit of one file: the most of all files of one answer
_PATIENCE: Final = 2  # times that; a larger answer is cut off without reading it
_MOST_NAME: Final = 200
_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")


@dataclass(frozen=True, slots=True)
class Addressed:
    """Who answers whom about what."""

    answerer: tuple[str, Mailbox]
    to: tuple[tuple[str, Mailbox], ...]
    cc: tuple[tuple[str, Mailbox], ...]
    subject: str  # of the message that is answered
    in_reply_to: str  # its Message-ID, or empty
    domain: str  # for the answer's own Message-ID
    at: Instant


@dataclass(frozen=True, slots=True)
class Composed:
    """A durable, sealed message, of which the database doesn't know yet."""

    sink: ContentSink
    header_size: int
    sealed: bytes | None  # None: a blob
    head: bytes  # enclosed


class AnswerMail:
    """Writes one message (RFC 5322 §2) into custody: files as they come, the text last. Ends with :meth:`finish`."""

    def __init__(self, addressed: Addressed, blobs: Blobs) -> None:
        self._sink = ContentSink(blobs)
        self._boundary = f"=_{secrets.token_hex(16)}".encode()  # "=_" occurs in no base64 and no quoted-printable
        self._rest = b""
        header, self._head = self._begin(addressed)
        self._header_size = len(header) + 2
        self._indexer = MimeIndexer(header, self._header_size)
        self._sink.feed(header + b"\r\n")
        self.size = 0  # octets of files
        self.digests: list[bytes] = []  # SHA-256 of each file

    def begin_file(self, name: str, kind: str) -> None:
        """The next octets are a file's."""
        self._digest = hashlib.sha256()
        self._write(b"--" + self._boundary + b"\r\n" + file_header(name, kind) + b"\r\n")

    def feed(self, octets: bytes) -> None:
        """A piece of the file, in any cut. Raises ``OSError`` when the disk is full."""
        self.size += len(octets)
        self._digest.update(octets)
        octets = self._rest + octets
        cut = len(octets) - len(octets) % _LINE
        self._rest = octets[cut:]
        self._write(_base64(octets[:cut]))

    def end_file(self) -> None:
        """The file is complete."""
        self.digests.append(self._digest.digest())
        self._write(_base64(self._rest))
        self._rest = b""

    def finish(self, text: str) -> Composed:
        """Durable when it returns, as far as it isn't the database's to keep. Blocks."""
        encoding, octets = compose.encoded(text.replace("\0", "\ufffd"))
        edge = b"--" + self._boundary
        self._write(
            b"%b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: %b\r\n\r\n%b\r\n%b--\r\n"
            % (edge, encoding, octets, edge)
        )
        head = self._head.with_parts(self._indexer.finish())
        return Composed(self._sink, self._header_size, self._sink.finish(), self._sink.enclosed_head(head.to_bytes()))

    def abandon(self) -> None:
        """Leaves nothing behind."""
        self._sink.abandon()

    def _write(self, octets: bytes) -> None:
        self._sink.feed(octets)
        self._indexer.feed(octets)

    def _begin(self, addressed: Addressed) -> tuple[bytes, Head]:
        display, answerer = addressed.answerer
        subject = (
            addressed.subject if re.match(r"(?i)(?:re|antw) *:", addressed.subject) else f"Re: {addressed.subject}"
        )
        message_id = f"<{self._sink.id.hex}@{addressed.domain}>"
        fields = [
            compose.raw("Date", compose.date_time(addressed.at)),
            compose.address("From", display, answerer),
            _addresses("To", addressed.to),
            _addresses("Cc", addressed.cc),
            compose.unstructured("Subject", subject.strip()),
            compose.message_id_field(message_id),
            _in_reply_to(addressed.in_reply_to),
            b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary="%b"\r\n' % self._boundary,
        ]
        head = Head(
            subject=subject.strip(),
            author=display,
            author_address=str(answerer),
            to=tuple((name, str(mailbox)) for name, mailbox in addressed.to),
            cc=tuple((name, str(mailbox)) for name, mailbox in addressed.cc),
            date=compose.date_time(addressed.at),
            message_id=message_id,
            parts=(),
        )
        return b"".join(fields), head


def _addresses(name: str, mailboxes: tuple[tuple[str, Mailbox], ...]) -> bytes:
    """Each on lines of its own (RFC 5322 §3.6.3); nothing for none."""
    fields = [compose.address(name, *one).removesuffix(b"\r\n") for one in mailboxes]
    behind = [field.removeprefix(f"{name}:".encode()).removeprefix(b"\r\n") for field in fields[1:]]
    return b",\r\n".join([*fields[:1], *behind]) + b"\r\n" if fields else b""


def _in_reply_to(message_id: str) -> bytes:
    if not message_id:
        return b""
    try:
        return compose.raw("In-Reply-To", message_id) + compose.raw("References", message_id)
    except NotWritable:
        return b""  # longer than a line can be


def file_header(name: str, kind: str) -> bytes:
    """RFC 2183, with the name as RFC 2231 §4 writes it. Types that hold other parts may not be in base64 (RFC 2045
    §6.4), and what they hold is nobody's to look into."""
    kind = kind.lower()
    if not _TYPE.fullmatch(kind) or kind.startswith(("multipart/", "message/")):
        kind = "application/octet-stream"
    name = "".join(char for char in name if unicodedata.category(char) not in ("Cc", "Cs"))[-_MOST_NAME:] or "file"
    lines = [f"Content-Type: {kind}", "Content-Transfer-Encoding: base64", "Content-Disposition: attachment"]
    quoted = quote(name.encode("utf-8"), safe="!#$&+-.^_`{}~")
    # A percent sign and its two digits stay together (RFC 2231 §4.1).
    pieces = re.findall(r"(?:%[0-9A-F]{2}|[^%]){1,20}", quoted)
    for number, piece in enumerate(pieces):
        lines[-1] += ";"
        charset = "" if number else "utf-8''"
        lines.append(f" filename*{number}*={charset}{piece}")
    return "\r\n".join(lines).encode("ascii") + b"\r\n"


def _base64(octets: bytes) -> bytes:
    return base64.encodebytes(octets).replace(b"\n", b"\r\n")


class Objection(Enum):
    """Why files are not taken."""

    TOO_LARGE = "too large"
    INFECTED = "infected"
    NOT_EXAMINED = "not examined"  # for now
    NOT_EXAMINABLE = "not examinable"  # larger than the scanner takes


class SealingUpload(FileUploadHandler):
    """Takes files straight into an :class:`AnswerMail`, and shows them to the scanner on the way, where there is one.
    ``request.FILES`` stays empty."""

    chunk_size = _CHUNK

    def __init__(
        self,
        request: HttpRequest,
        begin: Callable[[], AnswerMail],
        *,
        limit: int,
        scanner: Clamd | None = None,
        tell: Callable[[Infected | NotExamined], None] = lambda found: None,
    ) -> None:
        """``limit``: octets of one file; of all of them :data:`TOGETHER` times that. ``tell`` hears of what the scanner
        finds, or why it finds nothing."""
        super().__init__(request)
        self._scanner = scanner
        self._tell = tell
        self._examination: Examination | None = None
        self._file_size = 0
        self._announced = request.META.get("CONTENT_LENGTH") or "0"
        self._begin = begin
        self._limit = limit
        self._mail: AnswerMail | None = None
        self._seen = 0
        self._read = request.read
        self._is_open = False
        self.files = 0
        self.objection: Objection | None = None
        request.read = self._count  # type: ignore[method-assign, assignment]

    @property
    def mail(self) -> AnswerMail:
        """The answer, begun when its first file comes, or when its text is to be written."""
        if self._mail is None:
            self._mail = self._begin()
        return self._mail

    @property
    def is_complete(self) -> bool:
        """As much came as was announced. A connection that breaks ends the body early, and looks like its end."""
        return not self._is_open and self._announced.isdecimal() and self._seen == int(self._announced)

    def new_file(self, *args: object, **kwargs: object) -> None:
        """A file begins."""
        super().new_file(*args, **kwargs)  # type: ignore[arg-type]
        if self._is_far_too_large():
            self._object(Objection.TOO_LARGE)
            raise StopUpload(connection_reset=True)
        if self.objection is None:
            self.mail.begin_file(self.file_name or "", self.content_type or "")
            self._examine(self._begin_examination)
        self._file_size = 0
        self.files += 1
        self._is_open = True

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        """Sealed when it returns. What is not taken is read to its end and thrown away: a browser that may not send all
        of it shows an error of its own instead of our answer."""
        if self.objection is not None:
            return None
        self._file_size += len(raw_data)
        if self._file_size > self._limit or self.mail.size + len(raw_data) > TOGETHER * self._limit:
            self._object(Objection.TOO_LARGE)
            return None
        self.mail.feed(raw_data)
        self._examine(lambda: self._feed_examination(raw_data))
        return None

    def file_complete(self, file_size: int) -> UploadedFile[bytes] | None:
        """Nothing is handed on: it is in the message already."""
        if self.objection is None:
            self.mail.end_file()
            self._examine(self._end_examination)
        self._is_open = False
        return None

    def examine_text(self, text: str) -> None:
        """Shows the scanner what stands beside the files."""
        scanner = self._scanner
        if scanner is not None and text and self.objection is None:
            self._examine(lambda: self._heed(scanner.examine(text.encode())))

    def abandon(self) -> None:
        """Leaves nothing behind."""
        if self._examination is not None:
            self._examination.abandon()
            self._examination = None
        if self._mail is not None:
            self._mail.abandon()

    def _examine(self, step: Callable[[], object]) -> None:
        try:
            step()
        except NotExamined as cause:
            self._tell(cause)
            is_for_ever = cause.why is Why.TOO_LARGE
            self._object(Objection.NOT_EXAMINABLE if is_for_ever else Objection.NOT_EXAMINED)

    def _begin_examination(self) -> None:
        self._examination = self._scanner.begin() if self._scanner is not None else None

    def _feed_examination(self, octets: bytes) -> None:
        if self._examination is not None:
            self._examination.feed(octets)

    def _end_examination(self) -> None:
        examination, self._examination = self._examination, None
        if examination is not None:
            try:
                self._heed(examination.verdict())
            finally:
                examination.abandon()

    def _heed(self, verdict: Verdict) -> None:
        match verdict:
            case Infected():
                self._tell(verdict)
                self._object(Objection.INFECTED)
            case Clean():
                pass
            case unreachable:
                assert_never(unreachable)

    def _object(self, why: Objection) -> None:
        self.objection = why
        self.abandon()

    def _is_far_too_large(self) -> bool:
        return self._announced.isdecimal() and int(self._announced) > _PATIENCE * TOGETHER * self._limit

    def _count(self, *args: int) -> bytes:
        octets = self._read(*args)
        self._seen += len(octets)
        return octets
