"""Where chance comes from."""

from __future__ import annotations

import os
import time
import uuid

from zegel.core.secret import Secret


def identifier() -> uuid.UUID:
    """A UUIDv7 (RFC 9562 §5.7): unique without asking anybody, and in the order of time, which indexes like."""
    stamp = time.time_ns() // 1_000_000
    octets = bytearray(stamp.to_bytes(6, "big") + os.urandom(10))
    octets[6] = 0x70 | (octets[6] & 0x0F)
    octets[8] = 0x80 | (octets[8] & 0x3F)
    return uuid.UUID(bytes=bytes(octets))


def key() -> Secret[bytes]:
    """256 bits."""
    return Secret(os.urandom(32))


def octets(count: int) -> bytes:
    """For nonces and prefixes, which are not secret."""
    return os.urandom(count)
