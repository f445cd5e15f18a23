"""The readable message: the stored octets unchanged, but for parts that became links; a DKIM signature before them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from zegel.core.clock import Instant
from zegel.core.mail.compose import encoded
from zegel.core.mail.dkim import BodyHash, SigningKey, sign
from zegel.core.mail.mime import Part
from zegel.core.secret import Secret
from zegel.journey.custody.models import Content, Conversation, Message
from zegel.journey.custody.unseal import Unsealer


@dataclass(frozen=True, slots=True)
class Original:
    """The message that began a conversation, and the key of its content."""

    content: Content
    message_key: Secret[bytes]
    unsealer: Unsealer

    def parts(self) -> tuple[Part, ...]:
        """Where its parts lie."""
        return self.unsealer.head(self.content, self.message_key).parts

    def octets(self, offset: int, end: int) -> Iterator[bytes]:
        """From ``offset`` up to ``end``."""
        if offset < end:
            yield from self.unsealer.octets(self.content, self.message_key, offset, end - offset)


@dataclass(frozen=True, slots=True)
class Cut:
    """A part that is left out, its header with it, and what stands in its place (D-7)."""

    part: Part
    stand_in: bytes


@dataclass(frozen=True, slots=True)
class Readable:
    """The octets of a readable message; every iteration reads, opens and gives them anew."""

    signature: bytes
    original: Original
    cuts: tuple[Cut, ...] = ()

    @property
    def size(self) -> int:
        """Octets, signature included."""
        left_out = sum(cut.part.offset + cut.part.length - cut.part.begin - len(cut.stand_in) for cut in self.cuts)
        return len(self.signature) + self.original.content.size - left_out

    def __iter__(self) -> Iterator[bytes]:
        yield self.signature
        yield from _octets(self.original, self.cuts, offset=0)


def original(message: Message, conversation: Conversation, *, unsealer: Unsealer) -> Original:
    """Of the message that began the conversation. Raises ``CannotOpen`` for one that was destroyed."""
    return Original(message.content, unsealer.message_key(message, unsealer.conversation_key(conversation)), unsealer)


def readable(found: Original, *, cuts: tuple[Cut, ...] = (), key: SigningKey | None, at: Instant) -> Readable:
    """The message as it was submitted, or with the ``cuts`` (in the order of the message). Its body is read twice, once
    to be signed and once to be sent: arrival has no use for the hash, and most messages never leave readable."""
    signature = b""
    if key is not None:
        header_size = found.content.header_size
        body_hash = BodyHash()
        for piece in _octets(found, cuts, offset=header_size):
            body_hash.feed(piece)
        signature = sign(b"".join(found.octets(0, header_size)), body_hash.digest(), key=key, at=at)
    return Readable(signature, found, cuts)


def _octets(found: Original, cuts: tuple[Cut, ...], *, offset: int) -> Iterator[bytes]:
    for cut in cuts:
        yield from found.octets(offset, cut.part.begin)
        yield cut.stand_in
        offset = cut.part.offset + cut.part.length
    yield from found.octets(offset, found.content.size)


def stand_in(text: str) -> bytes:
    """A part of its own with this text, in the place of one that is too large; the boundary behind it stays."""
    encoding, octets = encoded(text)
    return (
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: inline\r\n"
        b"Content-Transfer-Encoding: %b\r\n\r\n%b" % (encoding, octets.rstrip(b"\r\n"))
    )


def signed(octets: bytes, *, key: SigningKey | None, at: Instant) -> bytes:
    """A small mail of the gateway's own, signed."""
    if key is None:
        return octets
    header, separator, body = octets.partition(b"\r\n\r\n")
    body_hash = BodyHash()
    body_hash.feed(body)
    return sign(header + b"\r\n" + separator[2:], body_hash.digest(), key=key, at=at) + octets
