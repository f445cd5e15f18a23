"""Where the parts of a message lie in its own octets, found while they stream by (RFC 2045, RFC 2046).

The octets themselves are never changed or built anew: a part is a range of them, read and decoded when somebody
opens it, while direct delivery sends them as they came. Memory is bounded by the constants below, not by the
message, and no content makes the work grow faster than its length.

Where broken mail can be read in two ways, it gets the structure that Python's ``email`` package gives it, save that
a line that could end two open multiparts belongs to the inner one, and that a part at the end of a message without
its last boundary keeps its final CRLF. Lines end with CRLF: the listener refuses others.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final, Protocol

from zegel.core.mail.fields import decode, decode_words

MAX_DEPTH: Final = 50  # multiparts inside each other; a deeper one is an opaque leaf
MAX_PARTS: Final = 2000  # the last of them is opaque and takes what is left of the message
MAX_PART_HEADER: Final = 65_536  # octets; a part with more is opaque from its first octet on
MAX_BOUNDARY: Final = 500  # octets; RFC 2046 §5.1.1 allows 70
MAX_DELIMITER_LINE: Final = 998  # octets, RFC 5322 §2.1.1; a longer line is content
MAX_NAME: Final = 200  # characters of a file name
MAX_PARAMETER: Final = 255  # characters of any other parameter that is kept; longer ones are dropped
MAX_PARAMETERS: Final = 200  # of one field, the pieces of continued ones (RFC 2231 §3) counted

OPAQUE: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Part:
    """One MIME part: what its fields say, and the range of the message that holds its content.

    ``offset`` counts from the first octet of the message's header section. The CRLF before a boundary line belongs
    to the boundary and isn't content (RFC 2046 §5.1.1). A part of type ``multipart/*`` is a container whose
    children follow it; everything else is a leaf, ``message/rfc822`` included. ``decoded_size`` is what
    :func:`decoder` will give, to the octet, for every encoding.
    """

    path: tuple[int, ...]  # () is the message itself, (0,) its first child
    type: str  # lower case
    charset: str | None
    name: str | None  # safe to show and to save under
    disposition: str | None  # "inline", "attachment" (also for unknown ones, RFC 2183 §2.8) or not given
    content_id: str | None  # without angle brackets
    encoding: str  # "7bit", "8bit", "binary", "base64", "quoted-printable" or "unknown"
    offset: int
    length: int
    decoded_size: int
    protocol: str | None = None  # of multipart/signed and multipart/encrypted, RFC 1847 §2
    smime_type: str | None = None  # of application/pkcs7-mime, RFC 8551 §3.2.2
    method: str | None = None  # of text/calendar, RFC 5546 §1.4
    start: str | None = None  # the root of multipart/related by its content id, RFC 2387 §3.2
    begin: int = -1  # offset of the part's own header, behind its boundary line; -1: not known

    @property
    def is_container(self) -> bool:
        """Its content is other parts."""
        return self.type.startswith("multipart/")


# Reading one part's header

_PLAIN_HEADER: Final = re.compile(
    rb"Content-Type: (text/(?:plain|html)); charset=\"?([A-Za-z0-9-]{1,20}+)\"?\r\n"
    rb"Content-Transfer-Encoding: (7bit|8bit|quoted-printable|base64)\r\n"
)


def _plain_values(kind: bytes, charset: bytes, encoding: bytes) -> tuple[str, str, str]:
    return kind.decode("ascii"), charset.decode("ascii").lower(), encoding.decode("ascii")


# A name ends before a line is too long for a delimiter, so that both can be told from the same octets.
_FIELD_BEGIN: Final = rb"(?!--)(?:[ \t]|[!-9;-~]{0,%d}+:)" % MAX_DELIMITER_LINE
_FIELD_START: Final = re.compile(_FIELD_BEGIN)
_FIELD_LINES: Final = re.compile(rb"(?:%b[^\r]*+(?:\r(?!\n)[^\r]*+)*\r\n)*" % _FIELD_BEGIN)
_MIME_FIELD: Final = re.compile(
    rb"\r\n(?i:content-(type|transfer-encoding|disposition|id)):([^\r]*+(?:\r\n[ \t][^\r]*+|\r(?!\n)[^\r]*+)*)"
)
_TYPE: Final = re.compile(  # tokens of RFC 2045 §5.1, lengths of RFC 6838 §4.2
    rb"[ \t]*([!#-'*+\-.0-9A-Z^-~]{1,127})[ \t]*/[ \t]*([!#-'*+\-.0-9A-Z^-~]{1,127})(?=[ \t;(]|\Z)"
)
_TOKEN: Final = re.compile(rb"[ \t]*([!#-'*+\-.0-9A-Z^-~]{1,127})")
_BETWEEN: Final = re.compile(rb"(?:[ \t\r\n;]|\([^()]*\))*")
_PARAMETER: Final = re.compile(
    rb'([!#-\'*+\-.0-9A-Z^-~]{1,127}+)[ \t\r\n]*+=[ \t\r\n]*+(?:"([^"\\]*+(?:\\.[^"\\]*+)*)"?+|([^;]*+))[^;]*+',
    re.DOTALL,
)
_ESCAPE: Final = re.compile(rb'\\(["\\])')  # others stay: Windows paths are written without escapes
_NO_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CHARSET: Final = re.compile(r"[ \t]*([!-~]{1,64}?)(?=[ \t;(]|\Z)")
_CONTENT_ID: Final = re.compile(r"[ \t]*<?([!-;=?-~]{1,255})>?[ \t]*")

_ENCODINGS: Final = {
    **{name: name for name in ("7bit", "8bit", "binary", "base64", "quoted-printable")},  # RFC 2045 §6.1
    "7-bit": "7bit",
    "8-bit": "8bit",
}
_IDENTITY: Final = frozenset({"7bit", "8bit", "binary"})


def _mime_fields(header: bytes) -> dict[bytes, bytes]:
    """The first field of each kind: a second one is an error, and the first is what others show."""
    found: dict[bytes, bytes] = {}
    for match in _MIME_FIELD.finditer(b"\r\n" + header):
        found.setdefault(match[1].lower(), match[2].replace(b"\r\n", b""))
    return found


def _parameters(value: bytes) -> dict[str, bytes]:
    """``name=value`` behind the first semicolon, names in lower case, values unquoted; the first of each name.
    A file name with spaces but without quotes goes on up to the next semicolon, as it is meant."""
    found: dict[str, bytes] = {}
    position = value.find(b";")
    for _ in range(MAX_PARAMETERS):
        if not 0 <= position < len(value):
            break
        between = _BETWEEN.match(value, position)
        position = between.end() if between else position
        match = _PARAMETER.match(value, position)
        if match is None:
            position = value.find(b";", position + 1)
            continue
        name, quoted, plain = match[1].decode("ascii").lower(), match[2], match[3]
        if quoted is not None:
            found.setdefault(name, _ESCAPE.sub(rb"\1", quoted))
        elif name in ("name", "filename"):
            found.setdefault(name, plain.strip())
        else:
            found.setdefault(name, plain.split(None, 1)[0] if plain.strip() else b"")  # a comment may follow
        position = match.end()
    return found


def _text(parameters: dict[str, bytes], name: str) -> str | None:
    """A parameter as text: extended and continued (RFC 2231 §3, §4) before plain, and in a plain one also the
    encoded words and raw UTF-8 that RFC 2047 §5 forbids there and the world writes."""
    if (extended := parameters.get(f"{name}*")) is not None:
        return _extended(extended)
    if f"{name}*0" in parameters or f"{name}*0*" in parameters:
        return _continued(parameters, name)
    plain = parameters.get(name)
    return None if plain is None else decode_words(plain)


def _extended(value: bytes) -> str:
    charset, language, octets = _with_charset(value)
    return decode(_unpercent(octets), charset) if language is not None else decode(_unpercent(value), None)


def _with_charset(value: bytes) -> tuple[str, bytes | None, bytes]:
    charset, first, rest = value.partition(b"'")
    language, second, octets = rest.partition(b"'")
    if not first or not second:
        return "", None, value
    return charset.decode("latin-1"), language, octets


def _continued(parameters: dict[str, bytes], name: str) -> str:
    charset, pieces = "", []
    for number in range(MAX_PARAMETERS):
        if (extended := parameters.get(f"{name}*{number}*")) is not None:
            if number == 0:
                charset, _, extended = _with_charset(extended)
            pieces.append(_unpercent(extended))
        elif (plain := parameters.get(f"{name}*{number}")) is not None:
            pieces.append(plain)
        else:
            break
    joined = b"".join(pieces)
    return decode(joined, charset) if charset else decode_words(joined)


def _unpercent(octets: bytes) -> bytes:
    """Percent encoding (RFC 2231 §4), undone in C by way of quoted-printable."""
    octets = _NO_PERCENT.sub(b"%25", octets).replace(b"=", b"%3D")
    return binascii.a2b_qp(octets.replace(b"%", b"="))


_IN_NAMES: Final = {
    # Separators of every system and the colon of drives and streams; control characters; marks that turn the
    # direction of text, so that "gpj.exe" can't be shown as "exe.jpg".
    **dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), 0x061C, 0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF]),
    **dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)]),
    **dict.fromkeys(map(ord, "/\\:"), "_"),
    0x09: " ",
}


def _file_name(text: str | None) -> str | None:
    """A name that stays in its folder, is what it looks like, and fits; ``None`` if nothing is left of it."""
    name = " ".join((text or "").translate(_IN_NAMES).split()).lstrip(". ").rstrip(". ")
    if len(name) > MAX_NAME:
        stem, dot, extension = name.rpartition(".")
        if dot and 0 < len(extension) <= 16:
            name = stem[: MAX_NAME - len(extension) - 1].rstrip(". ") + dot + extension
        else:
            name = name[:MAX_NAME].rstrip(". ")
    return name or None


def _short(text: str | None) -> str | None:
    return text if text and len(text) <= MAX_PARAMETER else None


@dataclass(slots=True)
class _Open:
    """A part whose end hasn't come yet, or has."""

    path: tuple[int, ...]
    offset: int
    default_type: str = "text/plain"
    type: str = ""
    charset: str | None = None
    name: str | None = None
    disposition: str | None = None
    content_id: str | None = None
    encoding: str = "7bit"
    protocol: str | None = None
    smime_type: str | None = None
    method: str | None = None
    start: str | None = None
    begin: int = -1
    boundary: bytes | None = None  # of a container
    children: int = 0
    delimited: bool = False  # a container that has seen its boundary
    end: int = -1
    counter: _Counter | None = None

    def read(self, header: bytes) -> None:
        """Takes the fields over. A multipart without a usable boundary is read as text (RFC 2045 §5.2)."""
        if (plain := _PLAIN_HEADER.fullmatch(header)) is not None:  # what most parts of most mails say
            self.type, self.charset, self.encoding = _plain_values(*plain.groups())
            self.counter = _COUNTERS[self.encoding]()
            return
        fields = _mime_fields(header)
        value = fields.get(b"type", b"")
        parameters = _parameters(value)
        found = _TYPE.match(value)
        self.type = b"/".join(found.groups()).decode("ascii").lower() if found else self.default_type
        self._read_disposition(fields.get(b"disposition"), parameters)
        self.charset = _charset(parameters)
        identity = _CONTENT_ID.fullmatch(fields.get(b"id", b"").decode("latin-1"))
        self.content_id = identity[1] if identity else None
        self.protocol, self.smime_type, self.method, self.start = (
            _short(_text(parameters, name)) for name in ("protocol", "smime-type", "method", "start")
        )
        if (token := _TOKEN.match(fields.get(b"transfer-encoding", b"7bit"))) is not None:
            self.encoding = _ENCODINGS.get(token[1].decode("ascii").lower(), "unknown")
        else:
            self.encoding = "unknown"
        if self.type.startswith("multipart/"):
            self.encoding = self.encoding if self.encoding in _IDENTITY else "binary"  # RFC 2045 §6.4
            self.boundary = _boundary(parameters)
            if self.boundary is None:
                self.type = "text/plain"
        self.counter = _COUNTERS[self.encoding]()

    def _read_disposition(self, value: bytes | None, of_type: dict[str, bytes]) -> None:
        parameters: dict[str, bytes] = {}
        if value is not None and (token := _TOKEN.match(value)) is not None:
            self.disposition = "inline" if token[1].lower() == b"inline" else "attachment"
            parameters = _parameters(value)
        self.name = _file_name(_text(parameters, "filename")) or _file_name(_text(of_type, "name"))

    def make_opaque(self) -> None:
        """Nothing is known of it but where it lies."""
        self.type, self.encoding, self.boundary = OPAQUE, "binary", None
        self.counter = _COUNTERS[self.encoding]()

    def close(self, end: int) -> None:
        """The first end counts. Whose content would begin behind it has none, and lies at that end: a part never
        reaches beyond the one that it is in."""
        if self.end < 0:
            self.end = end
            self.offset = min(self.offset, end)
            self.begin = min(self.begin, end)

    def part(self) -> Part:
        """A container whose boundary never came is text after all."""
        kind = "text/plain" if self.boundary is not None and not self.delimited else self.type
        length = self.end - self.offset
        decoded = self.counter.finish() if self.counter else None
        return Part(
            path=self.path,
            type=kind,
            charset=self.charset,
            name=self.name,
            disposition=self.disposition,
            content_id=self.content_id,
            encoding=self.encoding,
            offset=self.offset,
            length=length,
            decoded_size=length if decoded is None else decoded,
            protocol=self.protocol,
            smime_type=self.smime_type,
            method=self.method,
            start=self.start,
            begin=self.begin,
        )


def _charset(parameters: dict[str, bytes]) -> str | None:
    found = _CHARSET.match(_text(parameters, "charset") or "")
    return found[1].lower() if found else None


def _boundary(parameters: dict[str, bytes]) -> bytes | None:
    """As octets, for it is compared with octets. White space at its end is never part of it (RFC 2046 §5.1.1)."""
    value = parameters.get("boundary")
    if value is None:
        value = (_text(parameters, "boundary") or "").encode("utf-8")
    value = value.rstrip(b" \t")
    return value if 0 < len(value) <= MAX_BOUNDARY and not value.count(b"\r") + value.count(b"\n") else None


# The index


class MimeIndexer:
    """Reads a body once, in whatever pieces it comes, and tells where its parts lie.

    Never raises, whatever the octets: a part that can't be understood is an opaque leaf.
    """

    def __init__(self, header_octets: bytes, start: int) -> None:
        """``header_octets`` is the message's own header section; ``start`` the place of the first octet of the
        body, counted from the first octet of the header section."""
        root = _Open((), start, begin=0)
        root.read(header_octets)
        self._parts = [root]
        self._opened = 1  # counts also those that came to nothing
        self._containers: list[_Open] = []  # open ones, outermost first; also those in their epilogue
        self._levels: dict[bytes, list[int]] = {}  # boundary: places in _containers that wait for it
        self._needle = b""  # how each line begins that could be a delimiter; empty: none could
        self._leaf: _Open | None = None  # whose content is coming
        self._in_header = False
        self._seen = 0  # how much of that header is known to be fields
        self._at_line_start = False
        self._position = start  # of the first octet in _held
        self._held = b""  # what can't be judged yet; no longer than a part's header
        self._enter(root)

    def feed(self, octets: bytes) -> None:
        """The next octets of the body."""
        complete = not self._held or not self._in_header or b"\n" in octets
        self._held = self._held + octets if self._held else octets
        # Inside a header, only the end of a line can tell more, or too much of it.
        if complete or len(self._held) > MAX_PART_HEADER:
            self._read(last=False)

    def finish(self) -> tuple[Part, ...]:
        """All parts in document order, containers before their children. The body has ended."""
        self._read(last=True)
        end = self._position
        for part in self._parts:
            part.close(end)
        return tuple(part.part() for part in self._parts)

    def _read(self, *, last: bool) -> None:
        octets, at = self._held, 0
        while at < len(octets) or (last and self._in_header):
            reached = self._read_header(octets, at, last) if self._in_header else self._read_content(octets, at, last)
            if reached < 0:
                break
            at = reached
        self._held = octets[at:]
        self._position += at

    def _place(self, at: int) -> int:
        """Where ``_held[at]`` lies in the message."""
        return self._position + at

    # Both readers get the octets and the place to go on from; they answer how far they came, or -1 if more is needed.

    def _read_content(self, octets: bytes, at: int, last: bool) -> int:
        """Content of a leaf, a preamble or an epilogue, up to the next delimiter line."""
        if not self._needle:
            self._count(octets[at:] if at else octets)
            return len(octets)
        scan = at
        if self._at_line_start:
            if len(octets) - at < 2 and not last:
                return -1
            if octets.startswith(b"--", at):
                line = self._delimiter_line(octets, at, last)
                if line == _UNDECIDED:
                    return -1
                if line != _NONE and self._is_delimiter(octets[at:line]):
                    return self._take_delimiter(octets, at, line)
            self._at_line_start = False
        while (found := octets.find(self._needle, scan)) >= 0:
            begin = found + 2
            line = self._delimiter_line(octets, begin, last)
            if line == _UNDECIDED:
                return self._hold(octets, at, found)
            if line != _NONE and self._is_delimiter(octets[begin:line]):
                self._count(octets[at:found])
                return self._take_delimiter(octets, begin, line)
            scan = begin + 2 if line == _NONE else line
        if last:
            self._count(octets[at:])
            return len(octets)
        return self._hold(octets, at, max(at, len(octets) - len(self._needle) + 1))

    def _hold(self, octets: bytes, at: int, safe: int) -> int:
        """Counts what is certainly content; -1 if that is nothing."""
        if safe == at:
            return -1
        self._count(octets[at:safe])
        return safe

    def _delimiter_line(self, octets: bytes, begin: int, last: bool) -> int:
        """Where the line ends that begins there, without its CRLF."""
        end = octets.find(b"\r\n", begin, begin + MAX_DELIMITER_LINE + 2)
        if end >= 0:
            return end
        if len(octets) - begin >= MAX_DELIMITER_LINE + 2:
            return _NONE
        if not last:
            return _UNDECIDED
        return len(octets) if len(octets) - begin <= MAX_DELIMITER_LINE else _NONE

    def _is_delimiter(self, line: bytes) -> bool:
        return self._level_of(line)[0] >= 0

    def _level_of(self, line: bytes) -> tuple[int, bool]:
        """Which open container the delimiter belongs to, and whether it is its last; -1: to none.
        The whole line has to be the delimiter: one boundary may be the beginning of another."""
        text = line.rstrip(b" \t")[2:]
        opens = self._levels.get(text, _NO_LEVELS)[-1]
        closes = self._levels.get(text[:-2], _NO_LEVELS)[-1] if text.endswith(b"--") else -1
        return (closes, True) if closes > opens else (opens, False)

    def _take_delimiter(self, octets: bytes, begin: int, end: int) -> int:
        """Ends what the delimiter line between these places ends, begins what it begins; gives the place behind it."""
        level, closes = self._level_of(octets[begin:end])
        behind = min(end + 2, len(octets))
        place = self._place(begin) - 2  # the CRLF before it belongs to it
        if self._leaf is not None:
            self._leaf.close(place)
        for inner in self._containers[level + 1 :]:
            inner.close(place)
        self._forget(level + 1)
        container = self._containers[level]
        container.delimited = True
        self._leaf, self._in_header, self._at_line_start = None, False, True
        if closes:
            self._levels_of(container).pop()
            self._find_needle()
        else:
            self._open_child(container, self._place(behind))
        return behind

    def _open_child(self, container: _Open, place: int) -> None:
        default = "message/rfc822" if container.type == "multipart/digest" else "text/plain"  # RFC 2046 §5.1.5
        child = _Open((*container.path, container.children), place, default, begin=place)
        container.children += 1
        self._parts.append(child)
        self._opened += 1
        if self._opened >= MAX_PARTS:
            child.make_opaque()
            self._forget(0)
            self._leaf = child
        else:
            self._in_header, self._seen = True, 0

    def _drop_child(self) -> None:
        self._parts.pop()
        self._containers[-1].children -= 1

    def _enter(self, part: _Open) -> None:
        """Its header has been read; its content follows."""
        self._in_header, self._at_line_start = False, True
        if part.boundary is not None and len(part.path) >= MAX_DEPTH:
            part.make_opaque()
        if part.boundary is None:
            self._leaf = part
            return
        self._leaf = None
        self._levels.setdefault(part.boundary, []).append(len(self._containers))
        self._containers.append(part)
        self._find_needle()

    def _forget(self, level: int) -> None:
        """The containers from that level on get no more delimiters."""
        for place in range(len(self._containers) - 1, level - 1, -1):
            levels = self._levels_of(self._containers[place])
            if levels and levels[-1] == place:
                levels.pop()
        del self._containers[level:]
        self._find_needle()

    def _levels_of(self, container: _Open) -> list[int]:
        return self._levels.get(container.boundary or b"", [])

    def _find_needle(self) -> None:
        """What all boundaries that are waited for begin with, so that one search finds every candidate."""
        self._levels = {boundary: levels for boundary, levels in self._levels.items() if levels}
        if not self._levels:
            self._needle = b""
            return
        first, final = min(self._levels), max(self._levels)
        same = next((n for n, pair in enumerate(zip(first, final, strict=False)) if pair[0] != pair[1]), len(first))
        self._needle = b"\r\n--" + first[:same]

    def _count(self, octets: bytes) -> None:
        if self._leaf is not None and self._leaf.counter is not None and octets:
            self._leaf.counter.feed(octets)

    def _read_header(self, octets: bytes, at: int, last: bool) -> int:
        """The header of the part that was opened last. It ends with an empty line, or before the first line that
        is neither field nor continuation."""
        window = min(len(octets), at + MAX_PART_HEADER + MAX_DELIMITER_LINE + 4)
        fields = _FIELD_LINES.match(octets, at + self._seen, window)
        seen = fields.end() if fields else at + self._seen
        self._seen = seen - at
        part = self._parts[-1]
        if seen - at > MAX_PART_HEADER:
            return self._begin_opaque(part, at)
        if octets.startswith(b"\r\n", seen):
            return self._begin_content(part, octets[at:seen], seen + 2)
        line = self._delimiter_line(octets, seen, last)
        if line == _UNDECIDED:
            return -1
        if line != _NONE and octets.startswith(b"--", seen) and self._is_delimiter(octets[seen:line]):
            if seen == at and self._level_of(octets[seen:line]) == (len(self._containers) - 1, False):
                self._drop_child()  # the same delimiter twice
            else:
                part.read(octets[at:seen])
                part.offset = self._place(seen)
                part.close(part.offset - 2)  # the CRLF before the delimiter belongs to it
            return self._take_delimiter(octets, seen, line)
        if seen < len(octets) and not _FIELD_START.match(octets, seen):
            return self._begin_content(part, octets[at:seen], seen)
        if last:  # the message ends inside a field
            return self._begin_content(part, octets[at:] + b"\r\n", len(octets))
        return self._begin_opaque(part, at) if len(octets) - at > MAX_PART_HEADER else -1

    def _begin_content(self, part: _Open, header: bytes, at: int) -> int:
        part.read(header)
        part.offset = self._place(at)
        self._enter(part)
        return at

    def _begin_opaque(self, part: _Open, at: int) -> int:
        part.make_opaque()
        self._enter(part)
        return at


_NO_LEVELS: Final = (-1,)
_NONE: Final = -1  # the line is too long for a delimiter
_UNDECIDED: Final = -2  # its end hasn't come yet


# Decoding


class Decoder(Protocol):
    """Undoes a content transfer encoding while the octets stream by. Never raises; how they are cut makes no
    difference."""

    def feed(self, octets: bytes) -> bytes:
        """What can be decoded so far."""

    def finish(self) -> bytes:
        """The rest."""


_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64: Final = bytes(sorted({*range(256)} - {*_BASE64}))


class _Identity:
    def feed(self, octets: bytes) -> bytes:
        return octets

    def finish(self) -> bytes:
        return b""


class _FromBase64:
    """Foreign octets are skipped, and the first "=" is the end of it (RFC 2045 §6.8); padding may be missing."""

    def __init__(self) -> None:
        self._rest = b""
        self._ended = False

    def feed(self, octets: bytes) -> bytes:
        if self._ended:
            return b""
        pad = octets.find(b"=")
        if pad >= 0:
            self._ended = True
            octets = octets[:pad]
        digits = self._rest + octets.translate(None, _NOT_BASE64)
        whole = len(digits) - len(digits) % 4
        self._rest = digits[whole:]
        return binascii.a2b_base64(digits[:whole])

    def finish(self) -> bytes:
        rest, self._rest, self._ended = self._rest, b"", True
        return binascii.a2b_base64(rest + b"=" * (4 - len(rest))) if len(rest) > 1 else b""


_MAX_SOFT_PADDING: Final = 76  # blanks between "=" and the end of its line, RFC 2045 §6.7 (3)
_NOT_QUOTED: Final = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]{0,%d}\r\n)" % _MAX_SOFT_PADDING)
_SOFT_BREAK: Final = re.compile(rb"=[ \t]*\r\n")
_UNFINISHED: Final = re.compile(rb"=(?:[0-9A-Fa-f]?|[ \t]{0,%d}\r?)" % _MAX_SOFT_PADDING)
_SOFT_END: Final = re.compile(rb"=[ \t]*\r?")


class _FromQuotedPrintable:
    """An "=" that quotes nothing stands for itself. White space at the end of a line is kept: relays no longer add
    any (RFC 2045 §6.7 (3)), and what is left out would be content."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, octets: bytes) -> bytes:
        octets = self._rest + octets if self._rest else octets
        last = octets.rfind(b"=", max(0, len(octets) - _MAX_SOFT_PADDING - 3))
        if last >= 0 and _UNFINISHED.fullmatch(octets, last):
            octets, self._rest = octets[:last], octets[last:]
        else:
            self._rest = b""
        return _unquote(octets)

    def finish(self) -> bytes:
        rest, self._rest = self._rest, b""
        return b"" if _SOFT_END.fullmatch(rest) else rest


def _unquote(octets: bytes) -> bytes:
    if b"=" not in octets:
        return octets
    octets = _NOT_QUOTED.sub(b"=3D", octets)
    return binascii.a2b_qp(_SOFT_BREAK.sub(b"", octets))  # now each "=" begins a pair of digits


def decoder(encoding: str) -> Decoder:
    """For :attr:`Part.encoding`; an unknown encoding is left as it is (RFC 2045 §6.4)."""
    match encoding:
        case "base64":
            return _FromBase64()
        case "quoted-printable":
            return _FromQuotedPrintable()
        case _:
            return _Identity()


class _Counter(Protocol):
    """How many octets the decoder would give; ``None``: as many as go in."""

    def feed(self, octets: bytes) -> None: ...

    def finish(self) -> int | None: ...


class _CountIdentity:
    def feed(self, octets: bytes) -> None:
        pass

    def finish(self) -> int | None:
        return None


class _CountBase64:
    def __init__(self) -> None:
        self._digits = 0
        self._ended = False

    def feed(self, octets: bytes) -> None:
        if self._ended:
            return
        pad = octets.find(b"=")
        if pad >= 0:
            self._ended = True
            octets = octets[:pad]
        self._digits += len(octets) - len(octets.translate(None, _BASE64))

    def finish(self) -> int | None:
        return self._digits * 3 // 4


class _CountQuotedPrintable:
    def __init__(self) -> None:
        self._decoder = _FromQuotedPrintable()
        self._size = 0

    def feed(self, octets: bytes) -> None:
        self._size += len(self._decoder.feed(octets))

    def finish(self) -> int | None:
        return self._size + len(self._decoder.finish())


_COUNTERS: Final[dict[str, type[_CountIdentity] | type[_CountBase64] | type[_CountQuotedPrintable]]] = {
    **dict.fromkeys(("7bit", "8bit", "binary", "unknown"), _CountIdentity),
    "base64": _CountBase64,
    "quoted-printable": _CountQuotedPrintable,
}


def as_text(octets: bytes, charset: str | None) -> str:
    """The content of a text part as text; never raises. Without a byte order mark, and NUL shows as U+FFFD, since
    no text has it and not every reader survives it."""
    return decode(octets, charset).removeprefix("\ufeff").replace("\0", "\ufffd")


# What to show


_EXTENSIONS: Final = {
    "application/pdf": "pdf",
    "application/zip": "zip",
    "application/json": "json",
    "application/xml": "xml",
    "application/rtf": "rtf",
    "application/msword": "doc",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/pkcs7-mime": "p7m",
    "application/x-pkcs7-mime": "p7m",
    "application/pkcs7-signature": "p7s",
    "application/x-pkcs7-signature": "p7s",
    "application/pgp-signature": "asc",
    "application/pgp-encrypted": "asc",
    "application/pgp-keys": "asc",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "image/gif": "gif",
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/tiff": "tif",
    "image/webp": "webp",
    "message/delivery-status": "txt",
    "message/disposition-notification": "txt",
    "message/rfc822": "eml",
    "message/global": "eml",
    "text/calendar": "ics",
    "text/csv": "csv",
    "text/html": "html",
    "text/plain": "txt",
    "text/rfc822-headers": "txt",
    "text/vcard": "vcf",
    "text/xml": "xml",
    "video/mp4": "mp4",
}

_CRYPTOGRAPHIC: Final = frozenset(
    {
        "application/pkcs7-mime",  # RFC 8551 §3.2
        "application/x-pkcs7-mime",
        "application/pkcs7-signature",
        "application/x-pkcs7-signature",
        "application/pgp-encrypted",  # RFC 3156 §4
        "application/pgp-signature",
        "multipart/encrypted",  # RFC 1847 §2
        "multipart/signed",
    }
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What of a message is read, what is shown inside it, and what lies beside it.

    Every leaf is in one of these, except empty texts and those alternatives (RFC 2046 §5.1.4) that only say the same
    in another kind of text. Attachments all have a name. ``is_cryptographic``: the message is, or has inside, S/MIME or
    PGP/MIME, so that nothing may be taken out of its octets.
    """

    html: Part | None
    text: Part | None
    inline: tuple[Part, ...]  # by content id, for the page to refer to
    attachments: tuple[Part, ...]
    is_cryptographic: bool
    unnamed: str = "bijlage"

    def with_references(self, content_ids: Collection[str]) -> Reading:
        """Inline parts that the page doesn't refer to become attachments, lest nobody sees them."""
        kept = tuple(part for part in self.inline if part.content_id in content_ids)
        loose = tuple(part for part in self.inline if part.content_id not in content_ids)
        together = sorted((*self.attachments, *loose), key=lambda part: part.path)
        return replace(self, inline=kept, attachments=_named(together, self.unnamed))


@dataclass(slots=True)
class _Selection:
    html: Part | None = None
    text: Part | None = None
    inline: list[Part] = field(default_factory=list)
    attachments: list[Part] = field(default_factory=list)
    spare: list[Part] = field(default_factory=list)  # alternatives in kinds of text that we don't show


def select(parts: Sequence[Part], *, unnamed: str = "bijlage") -> Reading:
    """Which parts to read, following multipart/alternative, related and mixed; other containers are read as mixed
    (RFC 2046 §5.1.3). ``parts`` is what :meth:`MimeIndexer.finish` gave; ``unnamed`` begins the names of
    attachments that have none, like ``bijlage-1.pdf``."""
    children: dict[tuple[int, ...], list[Part]] = {}
    for part in parts:
        if part.path:
            children.setdefault(part.path[:-1], []).append(part)
    chosen = _Selection()
    for part in parts[:1]:
        _visit(part, children, chosen)
    if chosen.html is None:
        chosen.attachments += chosen.inline
        chosen.inline = []
    if chosen.html is None and chosen.text is None:
        chosen.attachments += chosen.spare
    return Reading(
        html=chosen.html,
        text=chosen.text,
        inline=tuple(chosen.inline),
        attachments=_named(sorted(chosen.attachments, key=lambda part: part.path), unnamed),
        is_cryptographic=any(part.type in _CRYPTOGRAPHIC for part in parts),
        unnamed=unnamed,
    )


def _visit(part: Part, children: dict[tuple[int, ...], list[Part]], chosen: _Selection) -> None:
    """No deeper than MAX_DEPTH."""
    inside = children.get(part.path, [])
    match part.type:
        case "multipart/alternative":
            _visit_alternatives(inside, children, chosen)
        case "multipart/related":
            _visit_related(part, inside, children, chosen)
        case _ if part.is_container:
            for child in inside:
                _visit(child, children, chosen)
        case _:
            _take(part, chosen, is_body=chosen.html is None and chosen.text is None)


def _visit_alternatives(inside: list[Part], children: dict[tuple[int, ...], list[Part]], chosen: _Selection) -> None:
    if chosen.html is not None or chosen.text is not None:  # a second body: kept, but beside the first
        for child in inside:
            _visit(child, children, chosen)
        return
    for child in inside:
        if child.is_container:
            _visit_alternative(child, children, chosen)
        elif child.type in ("text/plain", "text/html"):
            _take(child, chosen, is_body=True)
        elif child.type.startswith("text/") and child.type != "text/calendar" and child.disposition != "attachment":
            chosen.spare.append(child)
        else:
            _take(child, chosen, is_body=False)


def _visit_alternative(part: Part, children: dict[tuple[int, ...], list[Part]], chosen: _Selection) -> None:
    """One alternative that is a container: its body may be the other kind of text than the one we have."""
    own = _Selection()
    _visit(part, children, own)
    for body in (own.html, own.text):
        if body is not None:
            _take(body, chosen, is_body=True)
    chosen.inline += own.inline
    chosen.attachments += own.attachments
    chosen.spare += own.spare


def _visit_related(
    part: Part, inside: list[Part], children: dict[tuple[int, ...], list[Part]], chosen: _Selection
) -> None:
    """The root is the one that ``start`` names, else the first (RFC 2387 §3.2)."""
    start = (part.start or "").strip("<> ")
    root = next((child for child in inside if start and child.content_id == start), inside[0] if inside else None)
    for child in inside:
        if child is not root and not child.is_container and child.content_id is not None and child.type != "text/html":
            chosen.inline.append(child)
        else:
            _visit(child, children, chosen)


def _take(part: Part, chosen: _Selection, *, is_body: bool) -> None:
    """One leaf. A text with a file name is a file, unless it says ``inline``; an empty one is nothing."""
    if part.type.startswith("text/") and part.decoded_size == 0 and part.name is None:
        return
    readable = part.encoding != "unknown" and (
        part.disposition == "inline" or (part.disposition is None and part.name is None)
    )
    if is_body and readable and part.type == "text/html" and chosen.html is None:
        chosen.html = part
    elif is_body and readable and part.type == "text/plain" and chosen.text is None:
        chosen.text = part
    elif part.content_id is not None and part.disposition != "attachment" and part.type.startswith("image/"):
        chosen.inline.append(part)
    else:
        chosen.attachments.append(part)


def _named(parts: Sequence[Part], unnamed: str) -> tuple[Part, ...]:
    """A name for each part that has none: its number, or the next that gives a new name."""
    taken = {part.name for part in parts}
    onwards: dict[str, int] = {}  # extension: where the next search begins
    named = []
    for number, part in enumerate(parts, 1):
        if part.name is None:
            extension = _extension(part.type)
            begin = max(number, onwards.get(extension, 0))
            chosen = next(n for n in count(begin) if f"{unnamed}-{n}{extension}" not in taken)
            onwards[extension] = chosen + 1
            part = replace(part, name=f"{unnamed}-{chosen}{extension}")  # noqa: PLW2901
        named.append(part)
    return tuple(named)


def _extension(kind: str) -> str:
    extension = _EXTENSIONS.get(kind)
    return f".{extension}" if extension else ""
