"""Arrival: who shares a conversation, and what makes two submissions the same one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Final

from zegel.core.clock import Duration
from zegel.core.mail.address import Mailbox
from zegel.core.policy.directives import is_control_field

SAME_SUBMISSION_WINDOW: Final[Duration] = timedelta(hours=24)  # D-4


@dataclass(frozen=True, slots=True)
class Split:
    """The recipients of a message, each once, in the order of the envelope."""

    shared: tuple[Mailbox, ...]  # To and Cc: one conversation together
    blind: tuple[Mailbox, ...]  # Bcc: a conversation for each


def split(recipients: Iterable[Mailbox], shown: Set[Mailbox]) -> Split:
    """Only envelope recipients are served; ``shown`` (To and Cc) decides who of them shares a conversation.

    A recipient in To or Cc and also in Bcc counts as shown: everybody sees that address already. Two spellings of
    one mailbox are one recipient. A shown mailbox that is not in the envelope gets nothing.
    """
    once = tuple(dict.fromkeys(recipients))
    return Split(
        shared=tuple(mailbox for mailbox in once if mailbox in shown),
        blind=tuple(mailbox for mailbox in once if mailbox not in shown),
    )


def is_removed_field(name: str) -> bool:
    """True for what never leaves and is never stored readable: control fields and everything that names a Bcc."""
    return is_control_field(name) or name.strip().lower() in _BLIND_FIELDS


_BLIND_FIELDS: Final = frozenset({"bcc", "resent-bcc"})

_TRACE_FIELDS: Final = frozenset(
    {
        "received",
        "return-path",  # RFC 5321 §4.4
        "received-spf",  # RFC 7208 §9.1
        "authentication-results",  # RFC 8601
        "dkim-signature",  # RFC 6376 §3.5: a second signature of the same content has another time
        "domainkey-signature",
        "delivered-to",
        "x-original-to",
        "x-envelope-from",
        "x-envelope-to",
        "x-received",
        "x-originating-ip",
        "x-originatororg",
        "x-eopattributedmessage",
        "x-eoptenantattributedmessage",
        "x-ld-processed",
    }
)
_TRACE_PREFIXES: Final = (
    "arc-",  # RFC 8617
    "x-ms-",  # Exchange writes its routing, timing and filtering here, and writes it anew for each half of a split
    "x-microsoft-antispam",
    "x-forefront-",
    "x-exchange-",
    "x-google-",
    "x-gm-",
    "x-spam-",
    "x-virus-",
    "x-mimecast-",
    "x-proofpoint-",
    "x-barracuda-",
    "x-ironport-",
    "x-sophos-",
)


def is_trace_field(name: str) -> bool:
    """True for what transport adds on the way: it differs between two copies of one message."""
    lower = name.strip().lower()
    return lower in _TRACE_FIELDS or lower.startswith(_TRACE_PREFIXES)


def fields_for_identity(fields: Sequence[tuple[str, bytes]]) -> bytes:
    """The octets of the header section that make a message this message (D-4).

    Equal for the halves of a split and for a retry; different when any other field differs. The caller computes a
    keyed MAC over them and the body, before anything is added to the message (a Message-ID made here would be
    another one at the retry). Order, folding, white space and the case of names don't count: transport may change
    all four.
    """
    lines = [
        b"%b:%b\r\n" % (key, _collapse(value)) for name, value in fields if (key := _identifying(name)) is not None
    ]
    lines.sort()
    return b"".join(lines)


def _identifying(name: str) -> bytes | None:
    """The name as it counts; ``None`` for a field that doesn't."""
    return _known_name(name) if len(name) <= _USUAL_NAME else _counting(name)


@lru_cache(4096)
def _known_name(name: str) -> bytes | None:
    return _counting(name)


def _counting(name: str) -> bytes | None:
    return None if is_removed_field(name) or is_trace_field(name) else name.strip().lower().encode("utf-8")


_USUAL_NAME: Final = 100  # characters; strangers' inventions are not remembered at any length
_BLANKS: Final = re.compile(rb"[ \t\r\n]+")


def _collapse(value: bytes) -> bytes:
    if b"  " in value or b"\t" in value or b"\r" in value or b"\n" in value:
        value = _BLANKS.sub(b" ", value)
    return value.strip(b" ")
