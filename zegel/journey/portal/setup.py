"""What the pages work with. Compose sets it once, before a web process serves its first request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zegel.core.clock import Instant
from zegel.edge.blobs import Blobs
from zegel.edge.clamd import Clamd
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
    answer_limit: int = 100_000_000  # octets of one file of an answer; an organisation may set less
    scanner: Clamd | None = None  # of what guests send
    remote_images: bool = True  # whether a reader may load images that tell their sender so


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
