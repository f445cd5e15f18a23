"""A client of clamd, the daemon of ClamAV: octets go in as they come, a verdict comes out (clamd(8), INSTREAM).

Blocks. Nothing is ever let through unexamined: whatever isn't a clear verdict is :class:`NotExamined`.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from zegel.settings import Listen

CONNECT: Final = 5.0  # seconds
PATIENCE: Final = 60.0  # seconds for each piece, and for the verdict
LONGEST_REPLY: Final = 4096  # octets
_PIECE: Final = 64 * 1024
_SIGNATURE: Final = re.compile(r"[^\w.:/-]")


class Why(Enum):
    """Why something was not examined."""

    AWAY = "away"  # nobody answers, or not in time
    TOO_LARGE = "too-large"  # clamd takes no more (StreamMaxLength)
    UNCLEAR = "unclear"  # an error of clamd, or no answer of clamd at all


class NotExamined(Exception):
    """Nothing is known of the octets."""

    def __init__(self, why: Why) -> None:
        super().__init__(why.value)
        self.why = why


@dataclass(frozen=True, slots=True)
class Clean:
    """Nothing that the scanner knows."""


@dataclass(frozen=True, slots=True)
class Infected:
    """The name that the scanner has for it."""

    signature: str


Verdict = Clean | Infected


@dataclass(frozen=True, slots=True)
class Clamd:
    """Where it listens: a socket in the file system, or an address and a port."""

    place: Path | Listen
    connect: float = CONNECT
    patience: float = PATIENCE

    def begin(self) -> Examination:
        """Of one file. Raises :class:`NotExamined`."""
        return Examination(self._connected())

    def examine(self, octets: bytes) -> Verdict:
        """What is in memory as a whole. Raises :class:`NotExamined`."""
        examination = self.begin()
        try:
            examination.feed(octets)
            return examination.verdict()
        finally:
            examination.abandon()

    def version(self) -> str:
        """What it says of itself and its signatures. Raises :class:`NotExamined`."""
        connection = self._connected()
        with connection, _explained():
            connection.sendall(b"zVERSION\0")
            said = _reply(connection)
        if not said.startswith("ClamAV "):
            raise NotExamined(Why.UNCLEAR)
        return "".join(char for char in said if char.isprintable())[:100]

    def _connected(self) -> socket.socket:
        with _explained():
            if isinstance(self.place, Path):
                connection = socket.socket(socket.AF_UNIX)
                try:
                    connection.settimeout(self.connect)
                    connection.connect(str(self.place))
                except BaseException:
                    connection.close()
                    raise
            else:
                connection = socket.create_connection((self.place.host, self.place.port), timeout=self.connect)
            connection.settimeout(self.patience)
            return connection


class Examination:
    """Of one stream of octets. One of :meth:`verdict` and :meth:`abandon` ends it; both may be called."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._has_begun = False

    def feed(self, octets: bytes) -> None:
        """In any cut. Raises :class:`NotExamined`."""
        for begin in range(0, len(octets), _PIECE):
            piece = octets[begin : begin + _PIECE]
            self._send(len(piece).to_bytes(4, "big") + piece)

    def verdict(self) -> Verdict:
        """On all that was fed. Raises :class:`NotExamined`."""
        self._send(bytes(4))
        with self._connection, _explained():
            return _understood(_reply(self._connection))

    def abandon(self) -> None:
        """Nobody wants to know any more."""
        self._connection.close()

    def _send(self, octets: bytes) -> None:
        command = b"" if self._has_begun else b"zINSTREAM\0"
        self._has_begun = True
        try:
            self._connection.sendall(command + octets)
        except OSError:
            # It hangs up on what is too large, and says so first.
            with self._connection, _explained():
                _understood(_reply(self._connection))
            raise NotExamined(Why.UNCLEAR) from None


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        raise NotExamined(Why.AWAY) from cause


def _reply(connection: socket.socket) -> str:
    """Within the patience of the connection, however slowly it comes; what was cut off is no verdict."""
    said, end = b"", time.monotonic() + (connection.gettimeout() or PATIENCE)
    while b"\0" not in said and len(said) < LONGEST_REPLY:
        connection.settimeout(max(0.001, end - time.monotonic()))
        octets = connection.recv(LONGEST_REPLY)
        if not octets:
            return said.decode("utf-8", "replace") + " (cut off)" if said else ""
        said += octets
    return said.partition(b"\0")[0].decode("utf-8", "replace")


def _understood(said: str) -> Verdict:
    """``stream: OK``, ``stream: NAME FOUND``, or an error."""
    if said == "stream: OK":
        return Clean()
    if said.startswith("stream: ") and said.endswith(" FOUND"):
        name = said.removeprefix("stream: ").removesuffix(" FOUND")
        return Infected(_SIGNATURE.sub("_", name)[:100])
    if "size limit exceeded" in said:
        raise NotExamined(Why.TOO_LARGE)
    raise NotExamined(Why.UNCLEAR if said else Why.AWAY)
