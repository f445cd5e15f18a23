"""What the API works with. Compose sets it once, before a web process serves its first request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zegel.api.mailroom import Mailroom
from zegel.core.clock import Instant
from zegel.core.seal.wrap import SealingKey
from zegel.core.secret import Secret
from zegel.edge.blobs import Blobs
from zegel.edge.dns import Resolver
from zegel.journey.explain import Surroundings


@dataclass(frozen=True, slots=True)
class Api:
    """What a dry run needs; what messages are handed to; the clock, the keys, the bell."""

    dry_run: Surroundings
    now: Callable[[], Instant]
    sealing: SealingKey
    answers_key: Secret[bytes]  # of the hashes by which a request is known again
    mailroom: Mailroom
    blobs: Blobs
    dns: Callable[[], Resolver]  # a new one for each look: a resolver belongs to one event loop
    hostname: str
    ring: Callable[[], None]


class NotConfigured(RuntimeError):
    """Something was asked for before :func:`configure`."""


_configured: list[Api] = []


def configure(api: Api) -> None:
    """Once per web process; a later call (tests) replaces the earlier one."""
    _configured[:] = [api]


def api() -> Api:
    """Raises :class:`NotConfigured`."""
    if not _configured:
        raise NotConfigured
    return _configured[0]
