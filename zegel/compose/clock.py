"""The wall clock. Everywhere else time is an argument; this is where it comes from."""

from __future__ import annotations

from datetime import UTC, datetime

from zegel.core.clock import Instant


def now() -> Instant:
    """The wall clock."""
    return datetime.now(UTC)
