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


TOGETHER = """
import json, sys, time
from pathlib import Path
from zegel.edge.log import Broken, SignInRefused, configure, log
configure("info", together=True)
told = Path(sys.argv[1])
log(SignInRefused("192.0.2.1"))
early = told.read_text()
end = time.monotonic() + 20
while not told.read_text() and time.monotonic() < end:
    time.sleep(0.01)
later = told.read_text()
log(SignInRefused("192.0.2.2"))
log(Broken("test", ValueError()))
at_once = told.read_text()
for _ in range(1000):
    log(SignInRefused("192.0.2.3"))
print(json.dumps([early.count("\\n"), later.count("\\n"), at_once.count("\\n")]))
"""


def test_lines_that_are_held_come_soon_behind_a_warning_at_once_and_at_the_end_all(tmp_path: Path) -> None:
    told = tmp_path / "log"
    with told.open("w") as file:
        done = subprocess.run(
            [sys.executable, "-c", TOGETHER, str(told)], stdout=subprocess.PIPE, stderr=file, text=True, check=True
        )
    assert json.loads(done.stdout) == [0, 1, 3]
    lines = [json.loads(line) for line in told.read_text().splitlines()]
    assert len(lines) == 1003
    assert [line["event"] for line in lines[:3]] == ["sign_in_refused", "sign_in_refused", "broken"]
