"""One gateway is set up for all tests of this folder; each copies it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import ground
from tests.faults.ground import Prepared


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    folder: Path = tmp_path_factory.mktemp("prepared")
    with ground.prepared(folder) as found:
        yield found
