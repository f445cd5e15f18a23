"""Fixtures of the stops."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journey.portal_ground import Clock, Ground, Visitor
from zegel.edge.keyring import opening_keys


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ground(tmp_path: Path, clock: Clock) -> Iterator[Ground]:
    """For tests that are marked with ``django_db``."""
    ground = Ground(tmp_path, opening_keys(Path(os.environ["ZEGEL_FOLDER"]) / "keys"), clock)
    ground.configure()
    yield ground


@pytest.fixture
def visitor(ground: Ground) -> Visitor:
    return Visitor(ground)
