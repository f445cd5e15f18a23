"""Ground for the portal's tests: an organisation, an author, sealed conversations, and a clock that stands still."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.db import connection
from django.test import Client
from django.urls import reverse

from zegel.accounts.models import Account, Organisation, SendingDomain
from zegel.accounts.sign_in import current_totp, enrol_totp
from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.mail.fields import HeaderSection, addresses, author, decode_words, message_id
from zegel.core.mail.head import Head
from zegel.core.mail.mime import MimeIndexer
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.edge.blobs import Blobs
from zegel.edge.clamd import Clamd
from zegel.edge.keyring import OpeningKeys
from zegel.journey.custody.models import (
    Content,
    Conversation,
    Message,
    Recipient,
    SealedVerification,
    Sms,
    Submission,
    Transmission,
)
from zegel.journey.custody.seal import ContentSink, Wrapper, enclose_message_key, new_conversation, wrap_field
from zegel.journey.custody.unseal import Unsealer
from zegel.journey.portal.setup import Portal, configure

PORTAL = "http://localhost"
TOTP = Secret("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")
PASSWORD = "correct horse battery staple"
MARKER = "GEHEIME-INHOUD-4711"
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@dataclass
class Clock:
    """Time that moves when it is told to."""

    at: Instant = NOON

    def __call__(self) -> Instant:
        return self.at

    def forward(self, **length: float) -> None:
        self.at += timedelta(**length)


@dataclass
class Ground:
    """What a portal stands on, and how tests put things into it."""

    folder: Path
    keys: OpeningKeys
    clock: Clock
    rings: list[Instant] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.blobs = Blobs(self.folder / "blobs")
        self.unsealer = Unsealer(self.keys, self.blobs)
        self.organisation = Organisation.objects.create(
            name="Voorbeeldziekenhuis", language="nl", remind_after_days=None
        )
        SendingDomain.objects.create(
            organisation=self.organisation,
            name="voorbeeld.test",
            ownership_token="t",
            dkim_key=b"",
            dkim_record="",
            in_place=True,
        )
        self.author = self.account("balie@voorbeeld.test", display_name="Balie Poli 4")

    def configure(self, *, url: str = PORTAL, answer_limit: int = 100_000_000, scanner: Clamd | None = None) -> None:
        configure(
            Portal(
                unsealer=self.unsealer,
                blobs=self.blobs,
                keys=self.keys,
                url=url,
                ring=lambda: self.rings.append(self.clock()),
                now=self.clock,
                answer_limit=answer_limit,
                scanner=scanner,
            )
        )

    def account(self, address: str, **fields: Any) -> Account:
        return Account.objects.create_user(address, PASSWORD, organisation=self.organisation, **fields)

    def conversation(
        self, octets: bytes, *, blind: bool = False, expires_at: Instant | None = None, author: Account | None = None
    ) -> Conversation:
        """As arrival leaves it."""
        sink, head, header_size = seal(octets, self.blobs)
        new = new_conversation(sink.message_key, to=Wrapper(self.keys.sealing))
        content = Content.objects.create(
            id=sink.id,
            size=len(octets),
            header_size=header_size,
            sealed=sink.finish(),
            head=sink.enclosed_head(head.to_bytes()),
            created_at=self.clock(),
        )
        writer = author or self.author
        submission = Submission.objects.create(
            organisation=self.organisation,
            account=writer,
            message_id=head.message_id,
            identity=b"",
            directives=b"",
            source="192.0.2.1",
            tls="TLSv1.3",
            accepted_at=self.clock(),
        )
        conversation = Conversation.objects.create(
            id=new.id,
            organisation=self.organisation,
            author=writer,
            submission=submission,
            is_blind=blind,
            gateway_slot=new.gateway_slot,
            created_at=self.clock(),
            expires_at=expires_at,
        )
        Message.objects.create(
            id=new.message,
            conversation=conversation,
            content=content,
            key=new.enclosed_message_key,
            created_at=self.clock(),
        )
        return conversation

    def add(self, conversation: Conversation, octets: bytes, *, answered_by: Recipient | None = None) -> Message:
        """One more message in it."""
        sink, head, header_size = seal(octets, self.blobs)
        message = chance.identifier()
        content = Content.objects.create(
            id=sink.id,
            size=len(octets),
            header_size=header_size,
            sealed=sink.finish(),
            head=sink.enclosed_head(head.to_bytes()),
            created_at=self.clock(),
        )
        key = self.unsealer.conversation_key(conversation)
        return Message.objects.create(
            id=message,
            conversation=conversation,
            content=content,
            key=enclose_message_key(sink.message_key, key, message),
            answered_by=answered_by,
            created_at=self.clock(),
        )

    def recipient(
        self,
        conversation: Conversation,
        address: str = "ontvanger@example.org",
        *,
        method: str = "sms",
        phone: str = "+31612345678",
        access_code: str = "",
        hint: str | None = None,
        state: str = Recipient.State.NOTIFIED,
        **fields: Any,
    ) -> Recipient:
        """As decision leaves it."""
        row = Recipient(
            conversation=conversation,
            submission=conversation.submission,
            address=address,
            key=Mailbox.parse(address).key,
            state=state,
            method=method,
            masked="+31 6 ****5678" if method == "sms" else "",
            delivered_at=self.clock(),
            **fields,
        )
        known = {"sms": {"phone": phone}, "access-code": {"access_code": access_code, "hint": hint}}.get(method)
        row.save(force_insert=True)
        if known is not None:
            sealed = wrap_field(json.dumps(known).encode(), name="verification", owner=row.id, to=self.keys.sealing)
            SealedVerification.objects.create(recipient=row, sealed=sealed)
        return row

    def link(self, recipient: Recipient) -> str:
        """As delivery makes it; gives the token that stands in the mail."""
        link = self.unsealer.make_link(recipient, self.unsealer.conversation_key(recipient.conversation))
        recipient.links.create(hash=link.hash, share=link.share, slot=link.slot, created_at=self.clock())
        return link.token.reveal()

    def text_messages(self) -> list[dict[str, str]]:
        """What was put on its way to telephones."""
        opened = [
            self.unsealer.field(row.sealed, name="sms", owner=row.id)
            for row in Sms.objects.order_by("created_at", "id")
        ]
        return [json.loads(one.reveal()) for one in opened]

    def mails(self, kind: str) -> list[bytes]:
        """What was put on its way by mail."""
        rows = Transmission.objects.filter(kind=kind).order_by("created_at", "id")
        return [self.unsealer.field(row.sealed, name="transmission", owner=row.id).reveal() for row in rows]

    def last_code(self) -> str:
        """From the last text message."""
        found = re.search(r"\b(\d{6})\b", self.text_messages()[-1]["text"])
        assert found is not None
        return found[1]

    def content_of(self, message: Message) -> bytes:
        """What is sealed, through the gateway's slot."""
        key = self.unsealer.message_key(message, self.unsealer.conversation_key(message.conversation))
        return b"".join(self.unsealer.octets(message.content, key))


def seal(octets: bytes, blobs: Blobs) -> tuple[ContentSink, Head, int]:
    """Content on its way into custody, as arrival does it."""
    header, _, body = octets.partition(b"\r\n\r\n")
    header += b"\r\n"
    section = HeaderSection.parse(header)
    sink, indexer = ContentSink(blobs), MimeIndexer(header, len(header) + 2)
    sink.feed(octets)
    indexer.feed(body)

    def shown(name: str) -> tuple[tuple[str, str], ...]:
        found = section.first(name)
        return tuple((one.display, str(one.mailbox)) for one in addresses(found.value)) if found else ()

    subject = section.first("Subject")
    head = Head(
        subject=decode_words(subject.value) if subject else "",
        author=author(section).display,
        author_address=str(author(section).mailbox),
        to=shown("To"),
        cc=shown("Cc"),
        date="",
        message_id=message_id(section) or "",
        parts=indexer.finish(),
    )
    return sink, head, len(header) + 2


def mail(
    *,
    text: str | None = "Beste ontvanger,\r\n\r\nDe uitslag is goed.\r\n",
    markup: str | None = None,
    pictures: dict[str, bytes] | None = None,
    files: dict[str, tuple[str, bytes]] | None = None,
    subject: str = f"Uitslag {MARKER}",
    to: str = '"Ontvanger, de" <ontvanger@example.org>',
    cc: str = "",
) -> bytes:
    """A message as a mail program writes it."""
    bodies = []
    if text is not None:
        bodies.append(_leaf("text/plain; charset=utf-8", text.encode()))
    if markup is not None:
        bodies.append(_leaf("text/html; charset=utf-8", markup.encode()))
    body = _multipart("alternative", bodies) if len(bodies) > 1 else b"".join(bodies)
    if pictures:
        inline = [_leaf("image/png", octets, f"Content-ID: <{cid}>\r\n") for cid, octets in pictures.items()]
        body = _multipart("related", [body, *inline])
    if files:
        beside = [
            _leaf(kind, octets, f'Content-Disposition: attachment; filename="{name}"\r\n')
            for name, (kind, octets) in files.items()
        ]
        body = _multipart("mixed", [*([body] if body else []), *beside])
    header = (
        f"From: Balie Poli 4 <balie@voorbeeld.test>\r\nTo: {to}\r\n{f'Cc: {cc}' + chr(13) + chr(10) if cc else ''}"
        f"Subject: {subject}\r\nMessage-ID: <{uuid.uuid4().hex}@voorbeeld.test>\r\n"
        "Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMIME-Version: 1.0\r\n"
    )
    return header.encode() + (body or b"\r\n")


def _leaf(kind: str, octets: bytes, more: str = "") -> bytes:
    coded = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n{more}\r\n".encode() + coded


def _multipart(kind: str, parts: list[bytes]) -> bytes:
    edge = f"=_{uuid.uuid4().hex}".encode()
    inner = b"".join(b"--" + edge + b"\r\n" + part + b"\r\n" for part in parts)
    return b'Content-Type: multipart/%b; boundary="%b"\r\n\r\n%b--%b--\r\n' % (kind.encode(), edge, inner, edge)


# Visits


def signed_in(account: Account, language: str = "en") -> Client:
    """A browser of this account, through both steps."""
    enrol_totp(account, TOTP)
    client = Client(HTTP_HOST="localhost", HTTP_ACCEPT_LANGUAGE=language)
    client.post("/account/sign-in/", {"login": account.email, "password": PASSWORD})
    assert client.post("/account/security/authenticate/", {"code": current_totp(TOTP)}).status_code == 302
    return client


@dataclass
class Visitor:
    """A browser without a screen. Every visitor is another one."""

    ground: Ground
    client: Client = field(default_factory=lambda: Client(HTTP_HOST="localhost", HTTP_ACCEPT_LANGUAGE="en"))

    def get(self, address: str) -> Any:
        return self.client.get(address)

    def follow(self, token: str) -> Any:
        return self.client.get(f"/m/{token}")

    def page(self, name: str, recipient: Recipient, **parts: object) -> str:
        return reverse(f"portal:{name}", kwargs={"recipient": recipient.id, **parts})

    def ask(self, recipient: Recipient) -> Any:
        return self.client.post(self.page("guest-code", recipient))

    def enter(self, recipient: Recipient, code: str) -> Any:
        return self.client.post(self.page("guest-verify", recipient), {"code": code})

    def read(self, recipient: Recipient) -> Any:
        return self.client.get(self.page("guest-read", recipient))

    def open(self, recipient: Recipient, token: str) -> None:
        """From the mail to the proof."""
        assert self.follow(token).status_code == 303
        assert self.ask(recipient).status_code == 303
        assert self.enter(recipient, self.ground.last_code()).status_code == 303

    def answer(self, recipient: Recipient, text: str = "", *files: tuple[str, bytes], nonce: str | None = None) -> Any:
        page = self.read(recipient)
        found = re.search(r'name="nonce" value="([^"]+)"', page.content.decode())
        assert found is not None
        uploads = []
        for name, octets in files:
            upload = io.BytesIO(octets)
            upload.name = name
            uploads.append(upload)
        values = {"nonce": nonce or found[1], "text": text, "files": uploads}
        return self.client.post(self.page("guest-answer", recipient), values)


def words(response: Any) -> str:
    """What a person reads on a page, roughly."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", response.content.decode())).split())


def dump() -> list[str]:
    """The whole database, to see what changed, and what is in it to be read."""
    with connection.cursor() as cursor:
        rows = []
        for table in sorted(connection.introspection.table_names()):
            cursor.execute(f'SELECT * FROM "{table}"')
            rows += sorted(f"{table} {row!r}" for row in cursor.fetchall())
    return rows
