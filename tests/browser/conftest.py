"""One browser for the walks of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.journey.conftest import clock, ground
from tests.needs import needs
from tests.peers.chromium import Chromium, browser

__all__ = ["clock", "ground"]


@pytest.fixture(scope="module")  # no longer: an event loop runs as long as it does
def chromium() -> Iterator[Chromium]:
    needs("chromium")
    with pytest.MonkeyPatch.context() as patch, browser() as running:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright keeps an event loop in this thread
        yield running
