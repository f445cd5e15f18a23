"""Opening, with the private key. Importable by delivery, portal, report and those who wire them (import-linter)."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from zegel.core.mail.head import Head, head_of
from zegel.core.mail.mime import Part, decoder
from zegel.core.seal.slot import LINK_SECRET_LENGTH, disclose, link_hash, link_slot, open_link_slot
from zegel.core.seal.stream import HEADER, Opener, Window, read, window
from zegel.core.seal.wrap import CannotOpen, unwrap
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.edge.blobs import Blobs
from zegel.edge.keyring import OpeningKeys
from zegel.journey.custody.models import Link
from zegel.journey.custody.seal import (
    Wrapper,
    content_context,
    conversation_context,
    field_context,
    head_context,
    head_key,
    message_context,
    stream_key,
)

_Octets = bytes | memoryview


class _ClosedConversation(Protocol):
    """A conversation, as far as it is opened: the model, or what was read of it."""

    @property
    def id(self) -> uuid.UUID: ...
    @property
    def gateway_slot(self) -> _Octets | None: ...


class _ClosedContent(Protocol):
    """The sealed octets of a message, likewise."""

    @property
    def id(self) -> uuid.UUID: ...
    @property
    def size(self) -> int: ...
    @property
    def header_size(self) -> int: ...
    @property
    def sealed(self) -> _Octets | None: ...
    @property
    def head(self) -> _Octets: ...


class _ClosedMessage(Protocol):
    """A message, likewise."""

    @property
    def id(self) -> uuid.UUID: ...
    @property
    def key(self) -> _Octets | None: ...


class _Addressee(Protocol):
    """A recipient, likewise."""

    @property
    def id(self) -> uuid.UUID: ...


@dataclass(frozen=True, slots=True)
class NewLink:
    """A new way in for one recipient. ``token`` goes into the mail and nowhere else."""

    token: Secret[str]
    hash: bytes
    share: bytes
    slot: bytes


class Unsealer:
    """Opens what custody holds. Every method raises :class:`CannotOpen` for destroyed keys and damaged octets."""

    def __init__(self, keys: OpeningKeys, blobs: Blobs) -> None:
        self.keys = keys
        self._blobs = blobs
        self._wrapper = Wrapper(keys.sealing)

    def field(self, wrapped: bytes | memoryview | None, *, name: str, owner: uuid.UUID | str) -> Secret[bytes]:
        """What :func:`seal.wrap_field` closed under the same name and owner."""
        if wrapped is None:
            raise CannotOpen("destroyed")
        return unwrap(bytes(wrapped), with_key=self.keys.opening, context=field_context(name, owner))

    def wrap_field(self, octets: bytes, *, name: str, owner: uuid.UUID | str) -> bytes:
        """As :func:`seal.wrap_field`, many at the price of one: a group key adds nothing to what a process that has
        the opening key can open (ADR-28)."""
        return self._wrapper.wrap(Secret(octets), context=field_context(name, owner))

    def conversation_key(self, conversation: _ClosedConversation) -> Secret[bytes]:
        """Through the gateway's own slot."""
        if conversation.gateway_slot is None:
            raise CannotOpen("destroyed")
        context = conversation_context(conversation.id)
        return unwrap(bytes(conversation.gateway_slot), with_key=self.keys.opening, context=context)

    def conversation_key_by_link(self, link: Link, token: Secret[str]) -> Secret[bytes]:
        """Through a recipient's link: needs the secret in the mail and the server's share."""
        share = self.field(link.share, name="link-share", owner=link.recipient_id)
        context = field_context("link", link.recipient_id)
        return open_link_slot(bytes(link.slot), secret=link_secret(token), share=share, context=context)

    def make_link(self, recipient: _Addressee, conversation_key: Secret[bytes]) -> NewLink:
        """A new link to a conversation; the caller stores everything but the token."""
        secret, share = Secret(chance.octets(LINK_SECRET_LENGTH)), chance.key()
        return NewLink(
            Secret(_token(secret.reveal())),
            link_hash(secret),
            self.wrap_field(share.reveal(), name="link-share", owner=recipient.id),
            link_slot(conversation_key, secret=secret, share=share, context=field_context("link", recipient.id)),
        )

    def message_key(self, message: _ClosedMessage, conversation_key: Secret[bytes]) -> Secret[bytes]:
        """The key of a message's content."""
        if message.key is None:
            raise CannotOpen("destroyed")
        return disclose(bytes(message.key), conversation_key, context=message_context(message.id))

    def head(self, content: _ClosedContent, message_key: Secret[bytes]) -> Head:
        """Subject, names, and the index of parts. Small content that came over SMTP has none stored: arrival had no use
        for it, and it is made here."""
        if not content.head:
            octets = b"".join(self.octets(content, message_key))
            return head_of(octets[: content.header_size], octets[content.header_size :])
        context = head_context(content.id)
        return Head.from_bytes(disclose(bytes(content.head), head_key(message_key), context=context).reveal())

    def octets(
        self, content: _ClosedContent, message_key: Secret[bytes], offset: int = 0, length: int | None = None
    ) -> Iterator[bytes]:
        """Content in pieces of at most 64 KiB, from ``offset``; each piece was authenticated before it is given."""
        wanted = window(content.size, offset, content.size if length is None else length)
        head = b"".join(self._sealed(content, Window(0, HEADER, 0, 0, 0)))
        opener = Opener(stream_key(message_key), head, content_size=content.size, context=content_context(content.id))
        return read(opener, wanted, self._sealed(content, wanted))

    def part(self, content: _ClosedContent, message_key: Secret[bytes], part: Part) -> Iterator[bytes]:
        """A part's content, decoded from its transfer encoding, in pieces."""
        decode = decoder(part.encoding)
        for piece in self.octets(content, message_key, part.offset, part.length):
            if decoded := decode.feed(piece):
                yield decoded
        if rest := decode.finish():
            yield rest

    def _sealed(self, content: _ClosedContent, wanted: Window) -> Iterator[bytes]:
        if content.sealed is not None:
            return iter((bytes(content.sealed[wanted.start : wanted.start + wanted.length]),))
        return self._blob(content, wanted)

    def _blob(self, content: _ClosedContent, wanted: Window) -> Iterator[bytes]:
        try:
            yield from self._blobs.read(content.id, wanted.start, wanted.length)
        except FileNotFoundError as cause:
            raise CannotOpen("its blob is not there") from cause


def link_secret(token: Secret[str]) -> Secret[bytes]:
    """The octets of a link's token; raises :class:`CannotOpen` for what can't be one."""
    text = token.reveal()
    try:
        octets = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as cause:
        raise CannotOpen("not a link") from cause
    if len(octets) != LINK_SECRET_LENGTH or _token(octets) != text:  # the last character has bits that say nothing
        raise CannotOpen("not a link")
    return Secret(octets)


def _token(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
