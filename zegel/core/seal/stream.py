"""Sealed content as a stream of segments that can be read from the middle.

STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015) over AES-256-GCM: every 64 KiB segment has the nonce
prefix (7) ‖ counter (4) ‖ last flag (1), so segments cannot be swapped, dropped or cut off unseen.
Layout: version (1), prefix (7), segments; each segment is its ciphertext and a 16-octet tag.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from zegel.core.seal.wrap import CannotOpen
from zegel.core.secret import Secret

VERSION: Final = 1
SEGMENT: Final = 64 * 1024
TAG: Final = 16
PREFIX_LENGTH: Final = 7
HEADER: Final = 1 + PREFIX_LENGTH
SEALED_SEGMENT: Final = SEGMENT + TAG


class Sealer:
    """Closes a stream. Feed octets in any cut; write what comes back, in order; :meth:`finish` exactly once."""

    __slots__ = ("_aad", "_aead", "_counter", "_pending", "_prefix", "_started", "size")

    def __init__(self, key: Secret[bytes], *, context: str, prefix: bytes) -> None:
        """``key`` is for this stream alone; ``prefix`` is 7 octets of chance."""
        if len(prefix) != PREFIX_LENGTH:
            raise ValueError("the nonce prefix has 7 octets")
        self._aead = AESGCM(key.reveal())
        self._aad = _aad(context)
        self._prefix = prefix
        self._pending = bytearray()
        self._counter = 0
        self._started = False
        self.size = 0  # octets of content so far

    def feed(self, octets: bytes) -> bytes:
        """Sealed octets that are ready to be written; may be empty."""
        self.size += len(octets)
        pending = self._pending
        pending += octets
        if len(pending) <= SEGMENT:  # the last segment is never empty unless the content is, so one is held back
            return b""
        out = [self._head()]
        position = 0
        view = memoryview(pending)
        while len(pending) - position > SEGMENT:
            out.append(self._seal(view[position : position + SEGMENT], last=False))
            position += SEGMENT
        view.release()
        del pending[:position]
        return b"".join(out)

    def finish(self) -> bytes:
        """The last sealed octets."""
        return self._head() + self._seal(self._pending, last=True)

    def _head(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        return bytes((VERSION,)) + self._prefix

    def _seal(self, octets: bytearray | memoryview, *, last: bool) -> bytes:
        sealed = self._aead.encrypt(_nonce(self._prefix, self._counter, last=last), octets, self._aad)
        self._counter += 1
        return sealed


def seal(octets: bytes, key: Secret[bytes], *, context: str, prefix: bytes) -> bytes:
    """A whole content at once; for small ones."""
    sealer = Sealer(key, context=context, prefix=prefix)
    return sealer.feed(octets) + sealer.finish()


def sealed_size(content_size: int) -> int:
    """How many octets the sealed form of ``content_size`` octets has."""
    return HEADER + content_size + TAG * _segments(content_size)


@dataclass(frozen=True, slots=True)
class Window:
    """Which sealed octets are needed to read a range of content."""

    start: int  # offset in the sealed form
    length: int
    first: int  # number of the first segment
    skip: int  # content octets to drop in front
    take: int  # content octets wanted


def window(content_size: int, offset: int, length: int) -> Window:
    """The window for ``content[offset:offset+length]``, clipped to the content."""
    offset = min(max(offset, 0), content_size)
    take = min(max(length, 0), content_size - offset)
    first = min(offset // SEGMENT, _segments(content_size) - 1)
    last = min(max(offset + take - 1, offset) // SEGMENT, _segments(content_size) - 1)
    start = HEADER + first * SEALED_SEGMENT
    end = min(HEADER + (last + 1) * SEALED_SEGMENT, sealed_size(content_size))
    return Window(start, end - start, first, offset - first * SEGMENT, take)


class Opener:
    """Opens segments of a stream; raises :class:`CannotOpen` before it gives a single octet of a damaged segment."""

    __slots__ = ("_aad", "_aead", "_prefix", "_total")

    def __init__(self, key: Secret[bytes], head: bytes, *, content_size: int, context: str) -> None:
        """``head`` is the first 8 octets of the sealed form."""
        if len(head) < HEADER or head[0] != VERSION:
            raise CannotOpen("not a sealed stream of a known version")
        self._aead = AESGCM(key.reveal())
        self._aad = _aad(context)
        self._prefix = head[1:HEADER]
        self._total = _segments(content_size)

    def segment(self, number: int, sealed: bytes | bytearray) -> bytes:
        """The content of one segment."""
        try:
            return self._aead.decrypt(
                _nonce(self._prefix, number, last=number == self._total - 1), bytes(sealed), self._aad
            )
        except InvalidTag as cause:
            raise CannotOpen("wrong key or damaged content") from cause


def read(opener: Opener, view: Window, sealed: Iterator[bytes]) -> Iterator[bytes]:
    """The content of a window whose sealed octets arrive in any cut."""
    pending = bytearray()
    number, skip, left = view.first, view.skip, view.take
    remaining = view.length
    is_proven = False  # an empty content is opened too: a size of zero is a claim like any other
    for chunk in sealed:
        pending += chunk
        remaining -= len(chunk)
        while (left or not is_proven) and (len(pending) >= SEALED_SEGMENT or (remaining <= 0 and pending)):
            content = opener.segment(number, pending[:SEALED_SEGMENT])
            is_proven = True
            del pending[:SEALED_SEGMENT]
            number += 1
            piece = content[skip : skip + left]
            skip = 0
            left -= len(piece)
            if piece:
                yield piece
    if left or not is_proven:
        raise CannotOpen("the sealed content ends too early")


def _segments(content_size: int) -> int:
    return max(1, -(-content_size // SEGMENT))


def _nonce(prefix: bytes, counter: int, *, last: bool) -> bytes:
    return prefix + counter.to_bytes(4, "big") + (b"\x01" if last else b"\x00")


def _aad(context: str) -> bytes:
    return b"zegel/stream/v1/" + context.encode()
