"""The log: an operator's comfort, on which nothing depends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from zegel.edge.log import Broken, SignInRefused, configure, log
configure("info")
for _ in range(2000):
    log(SignInRefused("192.0.2.1"))
    log(Broken("test", ValueError("words of somebody's mail")))
print("went on", flush=True)
"""


def run(stderr: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=60, check=False
    )
    return done.stdout


def test_a_full_disk_under_the_log_stops_nobody() -> None:
    with Path("/dev/full").open("w") as full:
        assert run(full.fileno()) == "went on\n"


def test_a_reader_who_went_away_stops_nobody() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert run(writing) == "went on\n"
    finally:
        os.close(writing)


def test_each_line_is_one_event_and_an_exceptions_words_are_not_in_it(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        assert run(file.fileno()) == "went on\n"
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 4000
    assert json.loads(lines[0])["source"] == "192.0.2.1"
    broken = json.loads(lines[1])
    assert (broken["event"], broken["cause"]["type"]) == ("broken", "ValueError")
    assert "mail" not in lines[1]
