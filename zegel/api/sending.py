"""``POST /api/v1/messages``: a message is taken as the submission server takes one, by the same functions.

The promise is the same too: what was answered 202 is durable and sealed, and never lost.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Final, Literal, Self

from django.http import HttpRequest
from pydantic import ConfigDict, Field, ValidationError, model_validator

from zegel.accounts import throttle
from zegel.accounts.answered import Key
from zegel.accounts.tokens import Scope
from zegel.api import once
from zegel.api.answers import Fault, Refused, refused
from zegel.api.bodies import expect_kind, expect_size, not_understood, pieces_of
from zegel.api.fields import ADDRESS, WHOLE, Address, Base64, Line, Name, Phone, cant_be, either, mailbox_of
from zegel.api.operation import JSON, Call, Done, Form, Keyed, Link, Operation, Told
from zegel.api.setup import api
from zegel.core.clock import Instant
from zegel.core.mail import compose
from zegel.core.mail.address import NULL_PATH, Mailbox, NotAMailbox
from zegel.core.mail.compose import NotWritable
from zegel.core.mail.fields import (
    BrokenAddress,
    BrokenHeader,
    HeaderSection,
    HeaderTooLong,
    NotOneAuthor,
    all_addresses,
    author,
)
from zegel.core.mail.reply import Reply
from zegel.core.policy.directives import LONGEST_EXPIRY
from zegel.core.policy.submitting import CAP_REACHED
from zegel.core.policy.texts import TEXTS_CAPPED
from zegel.core.smtp.lines import LineEndings
from zegel.core.smtp.server import BAD_CONTENT, BAD_RECIPIENT, TOO_LARGE, TOO_MANY_RECIPIENTS
from zegel.edge import chance
from zegel.edge.log import SubmissionRefused, log
from zegel.journey.arrival.intake import DISK_FULL, Client, Envelope, Intake
from zegel.journey.arrival.record import REPEAT_WINDOW, AcceptedRecipient, Capped, Prepared, Recorded, record
from zegel.journey.arrival.sender import Submitter
from zegel.journey.custody.models import Recipient, Submission
from zegel.journey.explain import ENOUGH, header_of
from zegel.journey.portal.composing import file_header

JSON_MOST: Final = 10_000_000  # octets; what is larger comes as message/rfc822, which is never in memory as a whole
RAW: Final = "message/rfc822"
RECIPIENTS: Final = "Zegel-Recipients"
_MOST_FILES: Final = 100
_LATER: Final = 60  # seconds
_NEXT_HOUR: Final = 3600
_OTHER: Final = Reply(550, "5.5.1", "The Idempotency-Key was used for another request within a day")
_HEADER_ENDS: Final = re.compile(rb"\n\r?\n")


# --- what is asked -----------------------------------------------------------------------------------------------


class Attachment(Form):
    """A file beside the message."""

    name: Name = Field(examples=["uitslag.pdf"])
    type: Line = Field(default="application/octet-stream", max_length=127, examples=["application/pdf"])
    content: Base64 = Field(description="Its octets in base64.", examples=["JVBERi0xLjcK"])


class Access(Form):
    """How a recipient verifies: with one of the two."""

    model_config = ConfigDict(json_schema_extra=either("phone", "access_code"))
    address: Address = Field(examples=["ontvanger@example.net"])
    phone: Phone | None = Field(
        default=None, description="A mobile number: a code is sent there.", examples=["+31612345678"]
    )
    access_code: Line | None = Field(
        default=None, min_length=4, max_length=100, description="A code that both know.", examples=["regenjas 42"]
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.phone is None) == (self.access_code is None):
            raise ValueError("Give either phone or access_code")
        return self


class DirectDelivery(Form):
    """The least that is demanded of a receiving server for the message itself, instead of a notification."""

    tls: Literal["tls1.2", "tls1.3"] = "tls1.2"
    auth: Literal["certificate-validation", "mta-sts", "dane"] = "certificate-validation"


class SendRequest(Form):
    """A message. Whoever stands in `bcc` gets a conversation of their own, of which the others don't know."""

    from_: Address = Field(alias="from", description="An active account.", examples=["balie@example.org"])
    from_name: Line = Field(default="", max_length=200, examples=["Balie"])
    to: list[Address] = Field(default_factory=list, max_length=1000, examples=[["ontvanger@example.net"]])
    cc: list[Address] = Field(default_factory=list, max_length=1000, examples=[[]])
    bcc: list[Address] = Field(default_factory=list, max_length=1000, examples=[[]])
    subject: Line = Field(default="", max_length=900, examples=["Uitslag"])
    text: str | None = Field(default=None, examples=["Uw uitslag is er.\n"])
    html: str | None = Field(default=None, examples=["<p>Uw uitslag is er.</p>"])
    attachments: list[Attachment] = Field(default_factory=list, max_length=_MOST_FILES, examples=[[]])
    access: list[Access] = Field(
        default_factory=list,
        max_length=1000,
        description="As the control field zegel-access-right.",
        examples=[[{"address": "ontvanger@example.net", "phone": "+31612345678"}]],
    )
    direct: DirectDelivery | None = Field(default=None, description="As the control field zegel-direct-delivery.")
    email_verification: bool | None = Field(
        default=None,
        description="As zegel-minimum-recipient-verification: true allows a code by e-mail, false never does.",
    )
    expires_after_days: Annotated[int, Field(ge=1, le=LONGEST_EXPIRY.days), WHOLE] | None = Field(
        default=None, description="As zegel-message-expiration.", examples=[30]
    )


class SentRecipient(Told):
    """One recipient."""

    id: str
    address: str
    conversation: str
    submission: str = Field(description="Another one where the same message was accepted before.")
    state: str = Field(examples=["accepted"])


class Sent(Told):
    """Accepted: durable and sealed."""

    id: str = Field(description="Of the submission; see /trace/{submission}.")
    message_id: str
    recipients: list[SentRecipient]


# --- taking it ---------------------------------------------------------------------------------------------------


def send(call: Call) -> Done:
    """Raises :class:`zegel.api.answers.Refused` with the reply that a mail server would get."""
    kind = expect_kind(call.request, (JSON, RAW))
    if not api().mailroom.has_room():
        raise _turned_away(DISK_FULL)
    digest = once.Digest(call.request)
    digest.feed(call.request.headers.get(RECIPIENTS, "").encode("utf-8", "surrogatepass") + b"\0")
    outgoing = _composed(call.request, digest) if kind == JSON else _Raw(call.request, digest)
    assert call.key is not None
    recording = _Recording(call.key, digest, call.token.pk, call.now)
    reply = _taken(call, outgoing, recording)
    if recording.is_other:
        raise once.other_request()
    if not reply.is_positive:
        raise _turned_away(reply)
    assert recording.done is not None
    return recording.done


@dataclass(slots=True)
class _Written:
    """A message that was composed here."""

    envelope: Envelope
    content: Sequence[bytes]

    def pieces(self) -> Iterator[bytes]:
        """The message."""
        return iter(self.content)


class _Raw:
    """A message that comes as it is. Raises :class:`zegel.api.answers.Refused` on the way."""

    def __init__(self, request: HttpRequest, digest: once.Digest) -> None:
        room = api().mailroom
        try:
            expect_size(request, room.max_size)
        except Refused:
            raise _turned_away(TOO_LARGE) from None
        self._lines = _Lines(pieces_of(request, digest.feed), most=room.max_size)
        self._first = self._head()
        self.envelope = _envelope(request, header_of(self._first))

    def pieces(self) -> Iterator[bytes]:
        """The message, every line ended by CRLF."""
        yield from self._first
        yield from self._lines

    def _head(self) -> list[bytes]:
        """As much as holds the header section; of one that is too long, enough to be refused."""
        first, size = [], 0
        for piece in self._lines:
            first.append(piece)
            size += len(piece)
            if size > ENOUGH or _HEADER_ENDS.search(b"".join(first)):
                break
        return first


_Outgoing = _Written | _Raw


def _taken(call: Call, outgoing: _Outgoing, recording: _Recording) -> Reply:
    room, organisation = api().mailroom, call.organisation
    if len(outgoing.envelope.recipients) > room.max_recipients:
        raise _turned_away(TOO_MANY_RECIPIENTS)
    address = throttle.address_of(call.request)
    submitter = Submitter(None, organisation.pk, organisation.region, address=address, token=call.token.pk)
    client = Client(address, "api", "", over="HTTPS" if call.request.is_secure() else "HTTP")
    intake = Intake(room.place(), submitter, client, outgoing.envelope, together=recording)
    try:
        for piece in outgoing.pieces():
            intake.feed(piece)
    except BaseException:
        intake.abandon()
        raise
    reply = room.finish(intake)
    if not reply.is_positive and not recording.is_other:
        log(SubmissionRefused(f"{reply.code} {reply.status}", address))
    return reply


@dataclass(eq=False, slots=True)
class _Recording:
    """Records a message and what its request is answered in one transaction: once, whoever comes with the same key.

    It may run twice, and the last time counts."""

    key: Key
    digest: once.Digest
    token: int
    now: Instant
    done: Done | None = None
    is_other: bool = False

    def __call__(self, batch: Sequence[Prepared]) -> list[Recorded | Capped | Reply]:
        return [self._record(one) for one in batch]

    def _record(self, one: Prepared) -> Recorded | Capped | Reply:
        self.done, self.is_other = None, False
        key = Key(self.key.token, self.key.key, self.digest.finish())
        try:
            self.done = once.earlier(key, now=self.now)
        except Refused:
            self.is_other = True
            return _OTHER
        if self.done is not None:
            return Recorded(0, content_kept=False)
        (outcome,) = record([one])
        if isinstance(outcome, Recorded):
            Submission.objects.filter(id=one.submission).update(token=self.token)
            self.done = _told(one)
            once.keep(key, self.done, now=self.now)
        return outcome


def _told(one: Prepared) -> Done:
    """Who gets it; whoever had it already has it in an earlier submission (D-4)."""
    found = Recipient.objects.filter(
        submission__identity=one.identity,
        submission__organisation=one.submitter.organisation,
        submission__account__key=one.author.key,
        submission__accepted_at__gt=one.at - REPEAT_WINDOW,
        key__in=[mailbox.key for mailbox in one.envelope],
    )
    newest = {row.key: row for row in found.order_by("id")}
    rows = sorted(newest.values(), key=lambda row: row.id)
    submission = max((row.submission_id for row in rows), default=one.submission)
    told = [
        SentRecipient(
            id=str(row.id),
            address=row.address,
            conversation=str(row.conversation_id),
            submission=str(row.submission_id),
            state=row.state,
        )
        for row in rows
    ]
    message_id = Submission.objects.filter(id=submission).values_list("message_id", flat=True).first() or ""
    return Done(Sent(id=str(submission), message_id=message_id, recipients=told), location=f"trace/{submission}")


def _turned_away(reply: Reply) -> Refused:
    """As explain does; what may work later says when."""
    fault = Fault(field="message", reason=reply.text, example="See /api/v1/explain: what would become of it, and why.")
    title, headers = "A mail server would be refused with this.", {"Connection": "close"}
    if reply.code == 552:
        return refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, title, [fault], reply=reply, headers=headers)
    if reply in (CAP_REACHED, TEXTS_CAPPED):
        later = {"Retry-After": str(_NEXT_HOUR), **headers}
        return refused(HTTPStatus.TOO_MANY_REQUESTS, title, [fault], reply=reply, headers=later)
    if reply.is_transient and reply != TOO_MANY_RECIPIENTS:
        status = HTTPStatus.INSUFFICIENT_STORAGE if reply == DISK_FULL else HTTPStatus.SERVICE_UNAVAILABLE
        return refused(status, title, [fault], reply=reply, headers={"Retry-After": str(_LATER), **headers})
    return refused(HTTPStatus.UNPROCESSABLE_ENTITY, title, [fault], reply=reply, headers=headers)


# --- a message as it comes ---------------------------------------------------------------------------------------


class _Lines:
    """Content with every line ended by CRLF. The first line tells how lines end: with LF alone, as files have them, or
    with CRLF; what does it otherwise is refused, and so is NUL (SMTP smuggling)."""

    def __init__(self, pieces: Iterator[bytes], *, most: int) -> None:
        self._pieces = pieces
        self._most = most
        self._size = 0
        self._endings: LineEndings | None = None  # of content with CRLF
        self._is_decided = False
        self._last = b""

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            octets = self._checked(piece)
            self._size += len(octets)
            if self._size > self._most:
                raise _turned_away(TOO_LARGE)
            yield octets
        if self._endings is not None and self._endings.are_unfinished:
            raise _turned_away(BAD_CONTENT)

    def _checked(self, piece: bytes) -> bytes:
        if not self._is_decided and (end := piece.find(b"\n")) >= 0:
            self._is_decided = True
            before = piece[end - 1 : end] if end else self._last
            self._endings = LineEndings() if before == b"\r" else None
        self._last = piece[-1:]
        if self._is_decided and self._endings is None:
            if b"\r" in piece or b"\0" in piece:
                raise _turned_away(BAD_CONTENT)
            return piece.replace(b"\n", b"\r\n")
        if self._endings is not None and self._endings.are_broken_by(piece):
            raise _turned_away(BAD_CONTENT)
        return piece


def _envelope(request: HttpRequest, header: bytes) -> Envelope:
    """The reverse-path is the author. Recipients are those that the request names in a field of its own, else those of
    To, Cc and Bcc. What is wrong with the header section is arrival's to say."""
    try:
        section = HeaderSection.parse(header)
        envelope = Envelope(author(section).mailbox)
    except (BrokenHeader, HeaderTooLong, NotOneAuthor):
        return Envelope(NULL_PATH)
    written = request.headers.get(RECIPIENTS)
    if written is None:
        envelope.recipients = _once([one for name in ("To", "Cc", "Bcc") for one in _named_in(section, name)])
        return envelope
    # WSGI gives the octets of a header field as if they were Latin-1
    words = written.encode("latin-1", "replace").decode("utf-8", "replace").split(",")
    envelope.recipients = _recipients((RECIPIENTS, number, word.strip()) for number, word in enumerate(words))
    return envelope


def _named_in(section: HeaderSection, name: str) -> Iterator[Mailbox]:
    """Raises :class:`zegel.api.answers.Refused` where somebody is named whose address can't be read: 202 says that the
    message goes to everybody."""
    for line in section.all(name):
        try:
            yield from (one.mailbox for one in all_addresses(line.value))
        except BrokenAddress:
            raise _no_mailbox(name) from None


def _recipients(written: Iterable[tuple[str, int, str]]) -> list[AcceptedRecipient]:
    """Raises :class:`zegel.api.answers.Refused`, with the place of the one that is none."""
    found = []
    for field, number, text in written:
        try:
            found.append(Mailbox.parse(text))
        except NotAMailbox:
            raise _no_mailbox(f"{field}.{number}") from None
    return _once(found)


def _no_mailbox(field: str) -> Refused:
    fault = Fault(field=field, reason=BAD_RECIPIENT.text, example=ADDRESS)
    title = "A mail server would be refused with this."
    return refused(HTTPStatus.UNPROCESSABLE_ENTITY, title, [fault], reply=BAD_RECIPIENT)


def _once(mailboxes: Iterable[Mailbox]) -> list[AcceptedRecipient]:
    return [AcceptedRecipient(one) for one in dict.fromkeys(mailboxes)]


# --- a message that is composed here -----------------------------------------------------------------------------


def _composed(request: HttpRequest, digest: once.Digest) -> _Written:
    expect_size(request, JSON_MOST)
    octets = b"".join(pieces_of(request, digest.feed))
    try:
        asked = SendRequest.model_validate_json(octets)
    except ValidationError as cause:
        raise not_understood(cause, SendRequest) from None
    sender = mailbox_of(asked.from_, "from")
    named = [
        (field, number, text) for field in ("to", "cc", "bcc") for number, text in enumerate(getattr(asked, field))
    ]
    envelope = Envelope(sender, recipients=_recipients(named))
    try:
        header = b"".join(_fields(asked, sender))
    except NotWritable:
        raise cant_be("", "A value can't stand in a header field.", "A shorter one, in one line") from None
    return _Written(envelope, [header, *_body(asked)])


def _fields(asked: SendRequest, sender: Mailbox) -> Iterator[bytes]:
    yield compose.raw("Date", compose.date_time(api().now()))
    yield compose.address("From", asked.from_name, sender)
    for name, those in (("To", asked.to), ("Cc", asked.cc)):
        if those:
            yield compose.raw(name, ", ".join(str(mailbox_of(one, name.lower())) for one in those))
    yield compose.unstructured("Subject", asked.subject)
    yield compose.message_id_field(f"<{chance.identifier().hex}@{sender.domain.ascii}>")
    for number, right in enumerate(asked.access):
        address = mailbox_of(right.address, f"access.{number}.address")
        how = f"sms {right.phone}" if right.phone is not None else f"access-code {right.access_code}"
        yield compose.unstructured("Zegel-Access-Right", f"{address} {how}")
    if asked.direct is not None:
        yield compose.raw("Zegel-Direct-Delivery", f"tls {asked.direct.tls} auth {asked.direct.auth}")
    if asked.email_verification is not None:
        yield b"Zegel-Minimum-Recipient-Verification: %b\r\n" % (
            b"email-verification" if asked.email_verification else b""
        )
    if asked.expires_after_days is not None:
        yield compose.raw("Zegel-Message-Expiration", f"delete P{asked.expires_after_days}D")
    yield b"MIME-Version: 1.0\r\n"


def _body(asked: SendRequest) -> Iterator[bytes]:
    """The rest of the header section, and all that follows (RFC 2046 §5.1)."""
    texts = [(kind, text) for kind, text in (("plain", asked.text), ("html", asked.html)) if text is not None]
    parts = [_text(kind, text) for kind, text in texts or [("plain", "")]]
    whole = _multipart("alternative", parts) if len(parts) > 1 else parts[0]
    files = [_file(one) for one in asked.attachments]
    yield from _multipart("mixed", [whole, *files]) if files else whole


def _multipart(kind: str, parts: Sequence[Sequence[bytes]]) -> list[bytes]:
    edge = f"=_{secrets.token_hex(16)}".encode()  # "=_" occurs in no base64 and no quoted-printable
    begin = b'Content-Type: multipart/%b;\r\n boundary="%b"\r\n\r\n' % (kind.encode(), edge)
    inner = [octets for part in parts for octets in (b"--%b\r\n" % edge, *part, b"\r\n")]
    return [begin, *inner, b"--%b--\r\n" % edge]


def _text(kind: str, text: str) -> list[bytes]:
    encoding, octets = compose.encoded(text.replace("\0", "\ufffd"))
    header = b"Content-Type: text/%b; charset=utf-8\r\nContent-Transfer-Encoding: %b\r\n\r\n"
    return [header % (kind.encode(), encoding), octets]


def _file(one: Attachment) -> list[bytes]:
    octets = base64.b64decode(one.content)
    return [file_header(one.name, one.type) + b"\r\n", base64.encodebytes(octets).replace(b"\n", b"\r\n")]


ROWS: Final = (
    Operation(
        "send-message",
        "POST",
        "messages",
        Scope.MESSAGES_SEND,
        "Send a message. What was answered 202 is durable and sealed, as a 250 of the submission server says.",
        send,
        Sent,
        asks=SendRequest,
        status=HTTPStatus.ACCEPTED,
        links=(Link("get-trace", "submission", "/id"),),
        keyed=Keyed.REQUIRED,
        is_raw=True,
        also_takes=(RAW,),
        most=JSON_MOST,
        refusals={
            HTTPStatus.TOO_MANY_REQUESTS: "A cap was reached, or too many requests came without a token in force.",
            HTTPStatus.SERVICE_UNAVAILABLE: "Not now: our fault. Send it again, with the same key.",
            HTTPStatus.INSUFFICIENT_STORAGE: "Not now: there is no room. Send it again, with the same key.",
        },
    ),
)
