"""The readable message: the stored octets unchanged, with a DKIM signature before them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from zegel.core.clock import Instant
from zegel.core.mail.dkim import BodyHash, SigningKey, sign
from zegel.core.secret import Secret
from zegel.journey.custody.models import Content, Conversation
from zegel.journey.custody.unseal import Unsealer


@dataclass(frozen=True, slots=True)
class Readable:
    """The octets of a readable message; every iteration reads, opens and gives them anew."""

    signature: bytes
    content: Content
    message_key: Secret[bytes]
    unsealer: Unsealer

    @property
    def size(self) -> int:
        """Octets, signature included."""
        return len(self.signature) + self.content.size

    def __iter__(self) -> Iterator[bytes]:
        yield self.signature
        yield from self.unsealer.octets(self.content, self.message_key)


def readable(conversation: Conversation, *, unsealer: Unsealer, key: SigningKey | None, at: Instant) -> Readable:
    """The first message of a conversation. Its body is read twice, once to be signed and once to be sent: arrival
    has no use for the hash, and most messages never leave readable."""
    message = conversation.messages.select_related("content").order_by("created_at", "id").first()
    assert message is not None
    content = message.content
    message_key = unsealer.message_key(message, unsealer.conversation_key(conversation))
    signature = b""
    if key is not None:
        header = b"".join(unsealer.octets(content, message_key, 0, content.header_size))
        body_hash = BodyHash()
        for piece in unsealer.octets(content, message_key, content.header_size):
            body_hash.feed(piece)
        signature = sign(header, body_hash.digest(), key=key, at=at)
    return Readable(signature, content, message_key, unsealer)


def signed(octets: bytes, *, key: SigningKey | None, at: Instant) -> bytes:
    """A small mail of the gateway's own, signed."""
    if key is None:
        return octets
    header, separator, body = octets.partition(b"\r\n\r\n")
    body_hash = BodyHash()
    body_hash.feed(body)
    return sign(header + b"\r\n" + separator[2:], body_hash.digest(), key=key, at=at) + octets
