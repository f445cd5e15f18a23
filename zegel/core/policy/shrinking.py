"""Delivery: which parts of a readable message become links because they are too large (product: D-7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from zegel.core.mail.mime import Part, select

LINK_FROM: Final = 10_000_000  # decoded octets: from here on an attachment is a link, whoever receives
USUAL_LIMIT: Final = 25_000_000  # octets of a message for a server that announces no SIZE (RFC 1870)
STAND_IN: Final = 4_096  # octets that stand in the place of a part, at most

_CLOSED: Final = frozenset(
    {
        "multipart/signed",  # RFC 1847 §2.1: any change breaks the signature
        "multipart/encrypted",
        "application/pkcs7-mime",  # RFC 8551 §3.2
        "application/x-pkcs7-mime",
        "application/pgp-encrypted",
    }
)


def may_be_taken_apart(parts: Sequence[Part]) -> bool:
    """S/MIME and PGP messages are delivered whole or not at all. So are those whose parts aren't known to the octet,
    and those that are one part: there is nothing beside it that could hold a link."""
    return (
        len(parts) > 1
        and all(part.begin >= 0 for part in parts)
        and not any(part.type in _CLOSED or part.protocol is not None for part in parts)
    )


def become_links(parts: Sequence[Part], *, size: int, limit: int) -> tuple[Part, ...] | None:
    """The attachments that are replaced, in the order of the message: those from :data:`LINK_FROM` on, and then the
    largest ones until ``size``, the octets of the whole message, is at most ``limit``. ``None``: that is not enough,
    or the message may not be taken apart and would have to be."""
    attachments = [part for part in select(parts).attachments if part.path] if may_be_taken_apart(parts) else []
    chosen = [part for part in attachments if part.decoded_size >= LINK_FROM]
    left = size - sum(map(_saved, chosen))
    for part in sorted((one for one in attachments if one not in chosen), key=_saved, reverse=True):
        if left <= limit or _saved(part) <= 0:
            break
        chosen.append(part)
        left -= _saved(part)
    if left > limit:
        return None
    return tuple(sorted(chosen, key=lambda part: part.offset))


def smallest(parts: Sequence[Part]) -> tuple[Part, ...] | None:
    """Every attachment that gains by it, for a server that doesn't say how much it takes. ``None``: there is none."""
    if not may_be_taken_apart(parts):
        return None
    chosen = [part for part in select(parts).attachments if part.path and _saved(part) > 0]
    return tuple(sorted(chosen, key=lambda part: part.offset)) or None


def _saved(part: Part) -> int:
    return part.offset + part.length - part.begin - STAND_IN
