"""What the pages work with. Compose sets it once, before a web process serves its first request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zegel.core.clock import Instant
from zegel.edge.blobs import Blobs
from zegel.edge.keyring import OpeningKeys
from zegel.journey.custody.unseal import Unsealer


@dataclass(frozen=True, slots=True)
class Portal:
    """The keys, the blobs, the clock, and the bell that wakes who delivers."""

    unsealer: Unsealer
    blobs: Blobs
    keys: OpeningKeys
    url: str  # as recipients know it, without a path
    ring: Callable[[], None]
    now: Callable[[], Instant]
    answer_limit: int = 100_000_000  # octets of all files of one answer, and of its text


class NotConfigured(RuntimeError):
    """A page was asked for before :func:`configure`."""


_configured: list[Portal] = []


def configure(portal: Portal) -> None:
    """Once per web process; a later call (tests) replaces the earlier one."""
    _configured[:] = [portal]


def portal() -> Portal:
    """Raises :class:`NotConfigured`."""
    if not _configured:
        raise NotConfigured
    return _configured[0]
