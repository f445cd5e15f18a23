"""The gateway's own small mails as octets: a prepared template that is filled in.

The stdlib's ``EmailMessage`` would take a millisecond for each; this takes a tenth. What a stranger wrote (a
display name, a subject) passes through here, so nothing that goes into a field can end it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from datetime import UTC
from typing import Final

from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox

WIDTH: Final = 76  # RFC 2045 §6.7 (5), RFC 2047 §2
MAX_LINE: Final = 998  # RFC 5322 §2.1.1

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_CONTROL_OR_HALF: Final = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff\\u2028\\u2029]")
_NAME: Final = re.compile(r"[!-9;-~]+")  # RFC 5322 §3.6.8
_MESSAGE_ID: Final = re.compile(r"<[!-;=?-~]+@[!-;=?-~]+>")  # RFC 5322 §3.6.4, ASCII
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=?-]{1,64}")  # RFC 2046 §5.1.1; 64 so that its line fits the width
_BLANK_BEYOND_WIDTH: Final = re.compile(rb"^(.{74,75})(=(?:20|09))$", re.MULTILINE)
_PRINTABLE: Final = re.compile(r"(?:[!-~]+(?: [!-~]+)*)?")
_OWN_FIELDS: Final = frozenset(
    {"date", "from", "to", "subject", "message-id", "auto-submitted", "mime-version", "content-type"}
    | {"content-transfer-encoding"}
)
_UNENCODED: Final = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!*+-/")  # RFC 2047 §5 (3)
_ONE_COLUMN: Final = _UNENCODED | {ord(" ")}  # a space is written as "_"
_TEMPLATE: Final = (
    b"%b"
    b"MIME-Version: 1.0\r\n"
    b'Content-Type: multipart/alternative;\r\n boundary="%b"\r\n'
    b"\r\n"
    b"--%b\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: %b\r\n"
    b"\r\n"
    b"%b\r\n"
    b"--%b\r\n"
    b"Content-Type: text/html; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: %b\r\n"
    b"\r\n"
    b"%b\r\n"
    b"--%b--\r\n"
)


class NotWritable(ValueError):
    """A value that must not go into a message: it would end its field, or it is not Unicode text."""


def compose(
    *,
    author: tuple[str, Mailbox],
    to: Mailbox,
    subject: str,
    text: str,
    html: str,
    message_id: str,
    at: Instant,
    boundary: str,
    fields: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """A multipart/alternative message that says ``Auto-Submitted: auto-generated`` (RFC 3834 §5).

    Every reader gets back exactly the display name, subject and texts that went in, with CRLF as line end. The
    result is 7-bit with lines of at most 76 octets; longer only where one address or one word of ``fields`` is, and
    UTF-8 only in an address that needs SMTPUTF8 (RFC 6531). Raises :class:`NotWritable` for CR, LF or NUL in any
    value of the header section, for a malformed ``message_id`` or ``boundary``, and for a field that is ours.
    """
    for name, _ in fields:
        if name.lower() in _OWN_FIELDS:
            raise NotWritable("a field that the message has already")
    header = (
        raw("Date", date_time(at)),
        address("From", *author),
        address("To", "", to),
        unstructured("Subject", subject),
        message_id_field(message_id),
        raw("Auto-Submitted", "auto-generated"),
        *(_extra(name, value) for name, value in fields),
    )
    edge = checked_boundary(boundary)
    parts = (encoded(text), encoded(html))
    refuse_boundary_within(edge, (octets for _, octets in parts))
    (text_encoding, text_octets), (html_encoding, html_octets) = parts
    return _TEMPLATE % (
        b"".join(header),
        edge,
        edge, text_encoding, text_octets,
        edge, html_encoding, html_octets,
        edge,
    )  # fmt: skip


def writable(text: str) -> str:
    """A stranger's text as a field can take it: never refused by :func:`compose`.

    An encoded-word of an incoming message may decode to CR, LF or NUL, so decoded names and subjects pass through
    here first: control and half characters become blanks, runs of blanks become one.
    """
    return " ".join(_CONTROL_OR_HALF.sub(" ", text).split())


def _extra(name: str, value: str) -> bytes:
    # Printable ASCII may have a syntax of its own (Reply-To, References): it is not touched.
    return raw(name, value) if value.isascii() and value.isprintable() else unstructured(name, value)


def date_time(at: Instant) -> str:
    """The instant as RFC 5322 §3.3 writes it, in UTC and, unlike ``strftime``, in English everywhere."""
    utc = at.astimezone(UTC)
    return (
        f"{_DAYS[utc.weekday()]}, {utc.day:02} {_MONTHS[utc.month - 1]} {utc.year:04} "
        f"{utc.hour:02}:{utc.minute:02}:{utc.second:02} +0000"
    )


def raw(name: str, value: str) -> bytes:
    """A field whose value is written as it is, folded at single spaces. Raises :class:`NotWritable` for a name that
    is none, for CR, LF or NUL, and for a word that no line can hold."""
    if not _NAME.fullmatch(name):
        raise NotWritable("not a field name")
    _refuse_control(value)
    lines = [f"{name}:"]
    for word in value.split(" "):
        # A fold is only made before a word: a line of white space alone would be obsolete syntax (RFC 5322 §4.2).
        if word and len(lines[-1]) + 1 + len(word) > WIDTH and lines[-1].strip() not in ("", f"{name}:"):
            lines.append("")
        lines[-1] += f" {word}"
    field = "\r\n".join(lines)
    octets = _utf8(field) + b"\r\n"
    if max(map(len, octets.split(b"\r\n"))) > MAX_LINE:
        raise NotWritable("longer than a line can be")
    return octets


def unstructured(name: str, value: str) -> bytes:
    """A field of text for people, like ``Subject``: as it is where ASCII can carry it, else encoded-words (RFC 2047).

    A value that looks like an encoded-word, or whose white space folding would spoil, is encoded too.
    """
    _refuse_control(value)
    if "=?" not in value and _PRINTABLE.fullmatch(value) and all(len(word) < WIDTH for word in value.split(" ")):
        return raw(name, value)
    if not _NAME.fullmatch(name):
        raise NotWritable("not a field name")
    words = _encoded_words(value, first=WIDTH - len(name) - 2)
    return _utf8(f"{name}: ") + b"\r\n ".join(words) + b"\r\n"


def address(name: str, display: str, mailbox: Mailbox) -> bytes:
    """A field with one mailbox (RFC 5322 §3.4), the display name in quotes or in encoded-words, or none when empty."""
    _refuse_control(display)
    angle = f"<{mailbox}>"
    _refuse_control(angle)
    if not display:
        return raw(name, angle)
    quoted = '"' + display.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if "=?" not in display and _PRINTABLE.fullmatch(display) and len(name) + 2 + len(quoted) <= WIDTH:
        return raw(name, f"{quoted} {angle}")
    words = _encoded_words(display, first=WIDTH - len(name) - 2)
    apart = b"\r\n " if len(words[-1]) + len(angle) + len(name) + 3 > WIDTH else b" "
    return _utf8(f"{name}: ") + b"\r\n ".join(words) + apart + _utf8(angle) + b"\r\n"


def message_id_field(message_id: str) -> bytes:
    """``Message-ID`` (RFC 5322 §3.6.4); raises :class:`NotWritable` for anything but ``<left@right>`` in ASCII."""
    if not _MESSAGE_ID.fullmatch(message_id):
        raise NotWritable("not a Message-ID")
    return raw("Message-ID", message_id)


def checked_boundary(boundary: str) -> bytes:
    """The boundary as octets; raises :class:`NotWritable` for what RFC 2046 §5.1.1 doesn't allow or over 64 of it."""
    if not _BOUNDARY.fullmatch(boundary):
        raise NotWritable("not a boundary")
    return boundary.encode("ascii")


def refuse_boundary_within(edge: bytes, parts: Iterable[bytes]) -> None:
    """Raises :class:`NotWritable` where a part holds the boundary: it would end there (RFC 2046 §5.1.1)."""
    if any(b"--" + edge in octets for octets in parts):
        raise NotWritable("the boundary occurs in a part")


def encoded(text: str) -> tuple[bytes, bytes]:
    """The content-transfer-encoding and the octets of a text: quoted-printable, or base64 where that is shorter.

    Line ends become CRLF (RFC 2046 §4.1.1); a text that ends without one stays so. 7-bit, lines of at most 76.
    """
    return encoded_octets(_utf8(text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")))


def encoded_octets(octets: bytes) -> tuple[bytes, bytes]:
    """Like :func:`encoded`, for octets in any charset whose line ends are CRLF."""
    # The stdlib counts a last blank, which it writes as =20, as one column: such a line may be two too long.
    lines = binascii.b2a_qp(octets.replace(b"\r\n", b"\n"))
    printable = _BLANK_BEYOND_WIDTH.sub(rb"\1=\n\2", lines).replace(b"\n", b"\r\n")
    in_base64 = 4 * -(-len(octets) // 3)
    if in_base64 + 2 * (in_base64 // WIDTH) >= len(printable):
        return b"quoted-printable", printable
    return b"base64", base64.encodebytes(octets).replace(b"\n", b"\r\n")


def _encoded_words(text: str, *, first: int) -> list[bytes]:
    """Encoded-words of at most 75 octets (RFC 2047 §2), the first of at most ``first``; no character is cut (§5).

    Q while most is ASCII letters, else B.
    """
    octets = _utf8(text)
    as_q = sum(1 if octet in _ONE_COLUMN else 3 for octet in octets) <= len(octets) * 4 // 3
    words: list[bytes] = []
    held, used, room = "", 0, _room(first, as_q)
    for char in text:
        size = len(char.encode())
        cost = 3 * size if as_q and ord(char) not in _ONE_COLUMN else size
        if held and used + cost > room:
            words.append(_encoded_word(held, as_q))
            held, used, room = "", 0, _room(WIDTH - 1, as_q)
        held += char
        used += cost
    return [*words, _encoded_word(held, as_q)]


def _room(columns: int, as_q: bool) -> int:
    """What an encoded-word of so many columns holds: columns of Q, or octets of B in whole groups of three."""
    inner = columns - len("=?utf-8?b??=")
    return inner if as_q else inner // 4 * 3


def _encoded_word(text: str, as_q: bool) -> bytes:
    octets = text.encode()
    if as_q:
        inner = b"".join(b"%c" % octet if octet in _UNENCODED else b"=%02X" % octet for octet in octets)
        return b"=?utf-8?q?" + inner.replace(b"=20", b"_") + b"?="
    return b"=?utf-8?b?" + binascii.b2a_base64(octets, newline=False) + b"?="


def _refuse_control(value: str) -> None:
    if "\r" in value or "\n" in value or "\0" in value:
        raise NotWritable("CR, LF or NUL in a field")


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        # The cause would quote the text.
        raise NotWritable("not Unicode text") from None
