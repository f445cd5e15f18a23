"""The benchmark of delivery runs, and says what it promises: each message arrives as it was sent, signed and once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.needs import needs
from tests.peers import debian

ROOT = Path(__file__).parents[2]
PROGRAMS = ("bench/build/smtpload", "bench/build/smtpsink")


@pytest.fixture
def programs() -> None:
    needs("postfix", "nsd", "unbound", "strace", "opendkim")
    made = subprocess.run(["make", "--silent", *PROGRAMS], cwd=ROOT, check=False, capture_output=True, text=True)
    if made.returncode != 0:
        said = f"NOT TESTED HERE: {made.stderr}"
        if debian.in_ci():
            pytest.fail(said, pytrace=False)
        pytest.skip(said)


@pytest.mark.usefixtures("programs")
def test_a_smoke_run_beside_postfix_ends_with_one_json_object() -> None:
    few = ["--smoke", "--only", "deliver_100", "--messages-100", "20"]
    done = subprocess.run(
        [sys.executable, "-m", "bench.delivery", *few], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert list(figures) == ["deliver_100", "deliver_1", "backlog_200k", "dead_destination"]
    assert figures.pop("deliver_100") > 0
    assert set(figures.values()) == {None}
