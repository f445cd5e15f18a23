"""Where chance comes from."""

from __future__ import annotations

import os
import threading
import time
import uuid
from typing import Final

from zegel.core.clock import Instant
from zegel.core.secret import Secret

_POOL: Final = 4096  # octets asked of the system at once, for what is no secret


class _Pool(threading.local):
    """Chance for identifiers and nonces, of one thread. Each call to the system lets another thread go first, which a
    busy loop pays for ten times a message; keys are fetched one by one all the same."""

    octets = b""
    at = 0
    process = 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.octets) or self.process != os.getpid():  # a forked copy must not repeat us
            self.octets, self.at, self.process = os.urandom(max(_POOL, count)), 0, os.getpid()
        self.at += count
        return self.octets[self.at - count : self.at]


_POOLS: Final = _Pool()


def identifier() -> uuid.UUID:
    """A UUIDv7 (RFC 9562 §5.7): unique without asking anybody, and in the order of time, which indexes like."""
    stamp = time.time_ns() // 1_000_000
    octets = bytearray(stamp.to_bytes(6, "big") + _POOLS.take(10))
    octets[6] = 0x70 | (octets[6] & 0x0F)
    octets[8] = 0x80 | (octets[8] & 0x3F)
    return uuid.UUID(bytes=bytes(octets))


def made_at(made: uuid.UUID) -> float:
    """When :func:`identifier` made it: seconds since 1970, to the millisecond."""
    return int.from_bytes(made.bytes[:6], "big") / 1000


def first_of(moment: Instant) -> uuid.UUID:
    """No identifier that was made at that moment, or later, comes before it."""
    stamp = max(0, int(moment.timestamp() * 1000))
    return uuid.UUID(bytes=stamp.to_bytes(6, "big") + b"\x70\0\x80\0\0\0\0\0\0\0")


def key() -> Secret[bytes]:
    """256 bits."""
    return Secret(os.urandom(32))


def octets(count: int) -> bytes:
    """Straight from the system."""
    return os.urandom(count)


def nonce(count: int = 12) -> bytes:
    """For nonces and prefixes, which must not repeat and are no secret."""
    return _POOLS.take(count)
