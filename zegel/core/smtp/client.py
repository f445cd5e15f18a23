"""The client's half of SMTP without I/O: replies are read, content is prepared for the wire."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from zegel.core.mail.reply import Reply

MAX_REPLY: Final = 64 * 1024  # octets of one reply; RFC 5321 §4.5.3.1.5 asks for 512 a line and says nothing of lines
MAX_WAITING: Final = 4 * MAX_REPLY  # octets that nobody asked for yet: no pipelined dialogue has more replies under way
_LINE: Final = re.compile(rb"([2-5][0-9]{2})(?:([- ])(.*))?")
_SIZE: Final = re.compile(r"[0-9]{1,20}")  # RFC 1870 §3
_STATUS: Final = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:\s+|$)")


class NotSmtp(Exception):
    """What the server sent is not an SMTP reply, or is one that never ends."""


class ReplyReader:
    """Octets in, replies out, however the network cuts them. Raises :class:`NotSmtp`.

    What it keeps is bounded, also while nobody takes replies out.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lines: list[str] = []
        self._code = b""
        self._size = 0
        self._is_flooded = False

    @property
    def has_leftover(self) -> bool:
        """Octets wait that no reply was made of. Behind STARTTLS that is an injection."""
        return bool(self._buffer or self._lines)

    def feed(self, octets: bytes) -> None:
        """Octets as they arrive; beyond :data:`MAX_WAITING` they are dropped, and no reply comes any more."""
        if len(self._buffer) + len(octets) > MAX_WAITING:
            self._is_flooded = True
        if not self._is_flooded:
            self._buffer += octets

    def next(self) -> Reply | None:
        """The next complete reply, or ``None``: more octets are needed."""
        if self._is_flooded:
            raise NotSmtp("more octets than replies can have")
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end]).rstrip(b"\r")
            del self._buffer[: end + 1]
            self._size += end + 1
            found = _LINE.fullmatch(line)
            if found is None or self._size > MAX_REPLY:
                raise NotSmtp("not an SMTP reply")
            if self._lines and found[1] != self._code:  # RFC 5321 §4.2.1: each line has the same; which one counts?
                raise NotSmtp("a reply with two codes")
            self._code = found[1]
            self._lines.append((found[3] or b"").decode("utf-8", "replace"))
            if found[2] != b"-":
                return self._complete(int(found[1]))
        if len(self._buffer) > MAX_REPLY:
            raise NotSmtp("a reply line without an end")
        return None

    def _complete(self, code: int) -> Reply:
        lines, self._lines, self._size = self._lines, [], 0
        status = _STATUS.match(lines[0])
        if status is None:
            return Reply(code, None, lines[0], tuple(lines[1:]))
        texts = [_STATUS.sub("", line, count=1) for line in lines]
        return Reply(code, status[1], texts[0], tuple(texts[1:]))


@dataclass(frozen=True, slots=True)
class Extensions:
    """What the server's reply to EHLO offers (RFC 5321 §4.1.1.1)."""

    keywords: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, reply: Reply) -> Extensions:
        """Reads the lines after the first."""
        words: dict[str, str] = {}
        for line in reply.lines:
            keyword, _, parameters = line.strip().partition(" ")
            words[keyword.upper()] = parameters.strip()
        return cls(words)

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.keywords

    def without(self, keyword: str) -> Extensions:
        """The others: this one is announced, and refused when it is used."""
        return Extensions({word: value for word, value in self.keywords.items() if word != keyword})

    @property
    def size(self) -> int | None:
        """The largest message the server takes (RFC 1870); ``None``: it doesn't say, or says that there is no limit."""
        text = self.keywords.get("SIZE", "")
        return int(text) or None if _SIZE.fullmatch(text) else None


class Stuffer:
    """Dot-stuffing (RFC 5321 §4.5.2) of content that arrives in any cut."""

    def __init__(self) -> None:
        self._at_line_start = True

    def feed(self, octets: bytes) -> bytes:
        """The octets for the wire. Content has CRLF line ends only: intake and composer saw to that (P9)."""
        if not octets:
            return b""
        stuffed = octets.replace(b"\n.", b"\n..") if b"\n." in octets else octets
        if self._at_line_start and octets[:1] == b".":
            stuffed = b"." + stuffed
        self._at_line_start = octets[-1:] == b"\n"
        return stuffed

    def finish(self) -> bytes:
        """The end of data."""
        return b".\r\n" if self._at_line_start else b"\r\n.\r\n"
