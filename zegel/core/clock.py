"""Time as values. Nothing here knows what time it is."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

Instant = datetime
"""A point in time; always aware, always UTC."""

Duration = timedelta


class NotADuration(ValueError):
    """The text is not an ISO 8601 duration that a calendar-free clock can measure."""


_DURATION: Final = re.compile(r"P(?:(\d{1,6})W|(?:(\d{1,6})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,6})S)?)?)")


def parse_duration(text: str) -> Duration:
    """Weeks, days and times of ISO 8601 (``P30D``, ``P2W``, ``PT12H``).

    Years and months are refused: their length depends on a calendar, and an expiry that is guessed is an
    expiry that is wrong. Raises :class:`NotADuration`, also for a duration of zero.
    """
    found = _DURATION.fullmatch(text.strip().upper())
    if found is None:
        raise NotADuration("not an ISO 8601 duration in weeks, days or times")
    weeks, days, hours, minutes, seconds = (int(part) if part else 0 for part in found.groups())
    length = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    if not length:
        raise NotADuration("a duration of zero")
    return length


def from_timestamp(seconds: float) -> Instant:
    """The instant that lies ``seconds`` after 1970-01-01T00:00Z."""
    return datetime.fromtimestamp(seconds, UTC)
