"""What all tests share: one temporary folder with its own keys, named before Django reads its settings."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_FOLDER = Path(tempfile.mkdtemp(prefix="zegel-test-"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
os.environ["ZEGEL_FOLDER"] = str(_FOLDER)
os.environ["ZEGEL_TESTING"] = "true"
os.environ["DJANGO_SETTINGS_MODULE"] = "zegel.web.settings"

from tests.peers import postgresql  # noqa: E402
from zegel.edge import keyring  # noqa: E402

os.environ.update(postgresql.environment())

keyring.create(_FOLDER / "keys")

import django  # noqa: E402
import pytest  # noqa: E402

django.setup()  # before pytest-django looks whether there is a Django project

from django.db import connections  # noqa: E402

# A file: threads in memory would share one connection's locks, and processes side by side have one each.
if not postgresql.is_wanted():
    connections.settings["default"]["TEST"]["NAME"] = str(_FOLDER / "test.sqlite3")

from zegel.accounts.hashers import Argon2  # noqa: E402

# Thousands of passwords are made here, and each would take a fifth of a second; in processes of their own gateways take
# what test_hashers.py says.
Argon2.time_cost, Argon2.memory_cost = 1, 8 * Argon2.parallelism

from hypothesis import HealthCheck, settings  # noqa: E402

# A busy machine is no defect: no test asserts on time. With CI=true the same examples are tried in every run.
settings.register_profile("zegel", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("zegel"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "zegel")


def pytest_configure(config: pytest.Config) -> None:
    """Processes side by side each read the settings once they have a folder of their own, as this one did; one that is
    told their name before that reads them too early, with our folder and our keys."""
    if config.getoption("numprocesses", None):
        del os.environ["DJANGO_SETTINGS_MODULE"]


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """What Zegel sets for its process when a command is called in this one doesn't stay for the next test."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)
