"""What a request with an Idempotency-Key was answered: taken down in the transaction of its effect, so that a crash
leaves both or neither, and kept for a day (ADR 39)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from zegel.accounts.models import ApiAnswer
from zegel.core.clock import Duration, Instant

KEPT: Final[Duration] = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Key:
    """What a program called its request, and what it asked; keyed hashes, so that the table tells neither."""

    token: int
    key: bytes
    request: bytes


class OtherRequest(Exception):
    """The key was used before, with another request."""


def earlier(key: Key, *, now: Instant) -> ApiAnswer | None:
    """Inside a transaction: what the same request was answered within a day. Raises :class:`OtherRequest`."""
    found = ApiAnswer.objects.filter(token=key.token, key=key.key, created_at__gt=now - KEPT).first()
    if found is not None and bytes(found.request) != key.request:
        raise OtherRequest
    return found


def keep(key: Key, sealed: bytes, *, id: uuid.UUID, now: Instant) -> None:
    """Inside a transaction, after :func:`earlier` found none: the answer, sealed under ``id``."""
    ApiAnswer.objects.filter(token=key.token, key=key.key).delete()  # of more than a day ago
    ApiAnswer.objects.create(id=id, token_id=key.token, key=key.key, request=key.request, sealed=sealed, created_at=now)


def forget_old(now: Instant) -> int:
    """Deletes what is asked for no more; returns how many."""
    return ApiAnswer.objects.filter(created_at__lte=now - KEPT).delete()[0]
