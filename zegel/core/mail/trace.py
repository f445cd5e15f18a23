"""Trace fields: where a message came by, and the mark by which a gateway knows its own mail again."""

from __future__ import annotations

import hmac
import re
from datetime import UTC
from typing import Final

from zegel.core.clock import Instant
from zegel.core.mail.fields import HeaderSection
from zegel.core.secret import Secret

MAX_RECEIVED: Final = 100  # RFC 5321 §6.3: "at least 100"; a message with more of them goes round
MARKER: Final = "X-Zegel-Transport"

_MAX_SOURCE: Final = 600  # octets; a domain, an address literal and the text around them
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_UNPRINTABLE: Final = re.compile(r"[^ -~]")
_WORD: Final = re.compile(r"[A-Za-z0-9.:_-]{1,255}")
_GATEWAY_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BLANKS: Final = re.compile(rb"[ \t]+")


def date_time(at: Instant) -> str:
    """The instant in the form of RFC 5322 §3.3, in UTC, whatever the locale."""
    utc = at.astimezone(UTC)
    day, month = _DAYS[utc.weekday()], _MONTHS[utc.month - 1]
    return f"{day}, {utc.day:02} {month} {utc.year:04} {utc.hour:02}:{utc.minute:02}:{utc.second:02} +0000"


def date_field(at: Instant) -> bytes:
    """``Date``, for a message that came without one (RFC 6409 §8.2)."""
    return f"Date: {date_time(at)}\r\n".encode("ascii")


def received(*, by: str, source: str, protocol: str, id: str, tls: str | None, at: Instant) -> bytes:
    """A ``Received`` field (RFC 5321 §4.4), folded, to be put on top.

    ``source`` is what the client called itself and where it came from, ``tls`` the version and cipher. Both may
    hold anything a stranger wrote: they can't end the field or its date, and what isn't printable ASCII shows as
    "?". ``by``, ``protocol`` (RFC 3848) and ``id`` are ours; ``ValueError`` if they are not single words. There is
    no ``for`` clause, for it could name a Bcc recipient (RFC 5321 §7.6).
    """
    if not all(_WORD.fullmatch(word) for word in (by, protocol, id)):
        raise ValueError("by, protocol and id are single words")
    secured = f"\r\n\t({_plain(tls).translate(_NO_PARENTHESES)})" if tls else ""
    return (
        f"Received: from {_plain(source)}\r\n\tby {by} with {protocol} id {id}{secured};\r\n\t{date_time(at)}\r\n"
    ).encode("ascii")


_NO_PARENTHESES: Final = str.maketrans("()", "??")
_NO_SYNTAX: Final = str.maketrans(';"\\', "???")


def _plain(text: str) -> str:
    """Nothing in it opens what it doesn't close, and the only semicolon of the field stands before its date."""
    plain = _UNPRINTABLE.sub("?", text)[:_MAX_SOURCE].translate(_NO_SYNTAX).strip()
    depth = 0
    for char in plain:
        depth += (char == "(") - (char == ")")
        if depth < 0:
            break
    return (plain if depth == 0 else plain.translate(_NO_PARENTHESES)) or "unknown"


def received_count(section: HeaderSection) -> int:
    """How many hops say that they had the message; above :data:`MAX_RECEIVED` it is in a loop."""
    return section.count("Received")


def loop_marker(gateway_id: str, section: HeaderSection, key: Secret[bytes]) -> bytes:
    """The field that goes out with a message of ours: ``X-Zegel-Transport: v1 <gateway> <HMAC-SHA256>``.

    The code covers the gateway's id, Message-ID and Date, so that it can't be carried over to other mail; the
    section must already have these two as they will be sent. Raises ``ValueError`` for an id that isn't one word.
    """
    if not _GATEWAY_ID.fullmatch(gateway_id):
        raise ValueError("a gateway id is one word of at most 64 characters")
    return f"{MARKER}: v1 {gateway_id}\r\n\t{_code(gateway_id, _covered(section), key)}\r\n".encode("ascii")


def carries_own_marker(section: HeaderSection, key: Secret[bytes]) -> bool:
    """True if a gateway with this key has sent this very message: it has come back. Forged and foreign markers
    are no reason to refuse mail, so they don't count."""
    found = section.all(MARKER)[:MAX_RECEIVED]  # a gateway takes out those of others, so honest mail has one
    covered = _covered(section) if found else []
    for field in found:
        words = field.value.split()
        if len(words) != 3 or words[0] != b"v1" or not _GATEWAY_ID.fullmatch(words[1].decode("latin-1")):
            continue
        expected = _code(words[1].decode("ascii"), covered, key).encode("ascii")
        if hmac.compare_digest(words[2], expected):
            return True
    return False


def _single_blanks(value: bytes) -> bytes:
    return _BLANKS.sub(b" ", value) if b"  " in value or b"\t" in value else value


def _covered(section: HeaderSection) -> list[bytes]:
    """Message-ID and Date, as every code of this message covers them. Runs of blanks count as one: relays fold anew."""
    found = [section.first(name) for name in ("Message-ID", "Date")]
    return [_single_blanks(field.value) if field else b"" for field in found]


def _code(gateway_id: str, covered: list[bytes], key: Secret[bytes]) -> str:
    """Each value with its length before it, so that no two lists of values give the same octets."""
    values = [b"zegel/transport/v1", gateway_id.encode("ascii"), *covered]
    signed = b"".join(len(value).to_bytes(4, "big") + value for value in values)
    return hmac.digest(key.reveal(), signed, "sha256").hex()
