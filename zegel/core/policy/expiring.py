"""Expiry: how far a sender may put it off, or bring it forward, after a message was sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from zegel.core.clock import Instant


@dataclass(frozen=True, slots=True)
class Changed:
    """The conversation expires then; ``None``: never."""

    until: Instant | None


@dataclass(frozen=True, slots=True)
class Past:
    """That moment is over. To end a conversation now is to revoke it."""


@dataclass(frozen=True, slots=True)
class BeyondPolicy:
    """The organisation keeps messages no longer than this."""

    latest: Instant


def latest(created: Instant, now_until: Instant | None, *, days: int | None) -> Instant | None:
    """The last moment that may be chosen: what the policy gives, or what the conversation has, if that is more.
    ``None``: any, and never."""
    if days is None or now_until is None:
        return None
    return max(now_until, created + timedelta(days=days))


def change(wanted: Instant | None, *, last: Instant | None, now: Instant) -> Changed | Past | BeyondPolicy:
    """What becomes of the wish to have it expire at ``wanted``. ``last`` is what :func:`latest` says."""
    if wanted is not None and wanted <= now:
        return Past()
    if last is not None and (wanted is None or wanted > last):
        return BeyondPolicy(last)
    return Changed(wanted)
