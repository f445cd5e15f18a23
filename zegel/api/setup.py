"""What the API works with. Compose sets it once, before a web process serves its first request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zegel.core.clock import Instant
from zegel.journey.explain import Surroundings


@dataclass(frozen=True, slots=True)
class Api:
    """What a dry run needs, and the clock."""

    dry_run: Surroundings
    now: Callable[[], Instant]


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
