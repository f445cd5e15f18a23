"""The readable message: the stored octets unchanged, but for parts that became links; DKIM signatures before them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from zegel.core.clock import Instant
from zegel.core.mail.compose import encoded
from zegel.core.mail.dkim import BodyHash, SigningKey, sign
from zegel.core.mail.mime import Part
from zegel.core.secret import Secret
from zegel.journey.custody.unseal import Unsealer
from zegel.journey.delivery.tasks import ClosedContent, ClosedConversation, ClosedMessage


@dataclass(frozen=True, slots=True)
class Original:
    """The message that began a conversation, and the key of its content."""

    content: ClosedContent
    message_key: Secret[bytes]
    unsealer: Unsealer

    @property
    def is_small(self) -> bool:
        """It lies in the database, and may be held."""
        return self.content.sealed is not None

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

    signatures: bytes
    original: Original
    cuts: tuple[Cut, ...] = ()
    header: bytes | None = None  # in the place of its own header section

    @property
    def size(self) -> int:
        """Octets, signatures included."""
        left_out = sum(cut.part.offset + cut.part.length - cut.part.begin - len(cut.stand_in) for cut in self.cuts)
        content = self.original.content
        header = content.header_size if self.header is None else len(self.header)
        return len(self.signatures) + header + content.size - content.header_size - left_out

    def __iter__(self) -> Iterator[bytes]:
        yield self.signatures
        if self.header is not None:
            yield self.header
        begin = 0 if self.header is None else self.original.content.header_size
        yield from _octets(self.original, self.cuts, offset=begin)


def original(message: ClosedMessage, conversation: ClosedConversation, *, unsealer: Unsealer) -> Original:
    """Of the message that began the conversation. Raises ``CannotOpen`` for one that was destroyed."""
    return Original(message.content, unsealer.message_key(message, unsealer.conversation_key(conversation)), unsealer)


def readable(
    found: Original,
    *,
    cuts: tuple[Cut, ...] = (),
    header: bytes | None = None,
    keys: Sequence[SigningKey],
    at: Instant,
) -> Readable:
    """The message as it was submitted, or with the ``cuts`` (in the order of the message) and another ``header``
    section, signed with each key, or not without any. Its body is read twice, once to be signed and once to be sent:
    arrival has no use for the hash, and most messages never leave readable."""
    signatures = b""
    if keys:
        header_size = found.content.header_size
        body_hash = BodyHash()
        for piece in _octets(found, cuts, offset=header_size):
            body_hash.feed(piece)
        signed_header = b"".join(found.octets(0, header_size)) if header is None else header
        signatures = sign(signed_header, body_hash.digest(), keys=keys, at=at)
    return Readable(signatures, found, cuts, header)


def small(found: Original, *, keys: Sequence[SigningKey], at: Instant) -> bytes:
    """As :func:`readable` without cuts, for content that lies in the database: opened once, and held."""
    octets = b"".join(found.octets(0, found.content.size))
    if not keys:
        return octets
    body_hash = BodyHash()
    body_hash.feed(octets[found.content.header_size :])
    return sign(octets[: found.content.header_size], body_hash.digest(), keys=keys, at=at) + octets


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


def signed(octets: bytes, *, keys: Sequence[SigningKey], at: Instant) -> bytes:
    """A small mail of the gateway's own, signed with each key, or not without any."""
    if not keys:
        return octets
    header, separator, body = octets.partition(b"\r\n\r\n")
    body_hash = BodyHash()
    body_hash.feed(body)
    return sign(header + b"\r\n" + separator[2:], body_hash.digest(), keys=keys, at=at) + octets
