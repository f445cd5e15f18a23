"""Metrics of a whole gateway: all its processes on one page, which goes on when one of them is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import smtplib
import socket
import sqlite3
import ssl
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from prometheus_client import parser

from tests.peers import free_port, until
from tests.peers.gateway import Gateway
from tests.peers.site import names
from zegel.local.authority import LocalAuthority

NOBODY: Final = "niemand"
PATIENCE: Final = 90.0


class Watched(Gateway):
    """With its page of metrics."""

    metrics_port: int

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()
        except OSError:
            return 0, ""

    def scrape(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in parser.text_string_to_metric_families(self.get("/metrics")[1])
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self.scrape().get((name, tuple(sorted(labels.items()))))

    def process(self, role: str) -> int:
        """Of our own supervisor."""
        assert self._process is not None
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                parent = int(re.search(r"^PPid:\s*(\d+)", (path.parent / "status").read_text(), re.M)[1])  # type: ignore[index]
                if parent == self._process.pid and f"--role\0{role}\0".encode() in path.read_bytes():
                    return int(path.parent.name)
        raise AssertionError(role)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    authority = LocalAuthority.load_or_create(folder / "authority")
    port = free_port()
    with names({("test", "SOA"): ["ns.test. admin.test. 1 3600 600 86400 60"]}) as resolver:
        made = Watched(
            folder,
            authority=authority,
            resolver=("127.0.0.1", resolver),
            mx_port=free_port(),
            processes=1,
            settings=f'[metrics]\nlisten = "127.0.0.1:{port}"\n',
        )
        made.metrics_port = port
        made.command("migrate")
        made.start()
        try:
            yield made
        finally:
            made.stop()


def guess(gateway: Watched) -> None:
    """One wrong password."""
    context = ssl.create_default_context(cafile=str(gateway.authority.certificate_path))
    with closing(smtplib.SMTP("localhost", gateway.port, timeout=20)) as client:
        client.starttls(context=context)
        client.ehlo()
        code, _ = client.docmd("AUTH", f"PLAIN {b64encode(f'{chr(0)}{NOBODY}{chr(0)}onzin'.encode()).decode()}")
        assert code in (535, 421)  # wrong, or wrong too often


def guesses(gateway: Watched) -> float:
    return gateway.value("zegel_sign_ins_refused_total", at="submission") or 0


def test_every_process_is_on_one_page(gateway: Watched) -> None:
    until(lambda: gateway.value("zegel_processes", role="submission") == 1, PATIENCE)
    until(lambda: gateway.value("zegel_processes", role="dispatch") == 1, PATIENCE)
    until(lambda: gateway.value("zegel_processes", role="web") == 1, PATIENCE)
    assert gateway.value("zegel_processes", role="metrics") == 1
    assert gateway.value("zegel_processes", role="supervisor") == 1


def test_what_a_door_counts_is_shown_and_who_knocked_is_not(gateway: Watched) -> None:
    before = guesses(gateway)
    for _ in range(3):
        guess(gateway)
    until(lambda: guesses(gateway) == before + 3, PATIENCE)
    assert (gateway.value("zegel_commit_units_count") or 0) > 0
    assert NOBODY not in gateway.get("/metrics")[1]


def test_a_killed_process_takes_nothing_along_that_was_handed_over(gateway: Watched) -> None:
    counted = guesses(gateway)
    guess(gateway)
    until(lambda: guesses(gateway) == counted + 1, PATIENCE)
    before, ended = guesses(gateway), gateway.value("zegel_processes_ended_total", role="submission") or 0
    os.kill(gateway.process("submission"), signal.SIGKILL)
    until(lambda: gateway.value("zegel_processes_ended_total", role="submission") == ended + 1, PATIENCE)
    assert guesses(gateway) == before
    until(gateway._answers, PATIENCE)


def test_who_shows_them_begins_anew_and_mail_does_not_notice(gateway: Watched) -> None:
    before = guesses(gateway)
    guess(gateway)
    until(lambda: guesses(gateway) == before + 1, PATIENCE)
    os.kill(gateway.process("metrics"), signal.SIGKILL)
    guess(gateway)
    until(lambda: gateway.get("/healthz")[0] == 200, PATIENCE)
    until(lambda: guesses(gateway) == 1, PATIENCE)
    until(lambda: gateway.value("zegel_processes_ended_total", role="metrics") == 1, PATIENCE)


def test_it_lives_and_is_ready_until_something_lacks(gateway: Watched) -> None:
    until(lambda: gateway.get("/readyz")[0] == 200, PATIENCE)
    assert gateway.get("/healthz") == (200, "ok\n")
    opening = gateway.state / "keys" / "opening.key"
    away = opening.with_name("away")
    opening.rename(away)
    try:
        until(lambda: gateway.get("/readyz")[0] == 503, PATIENCE)
        assert gateway.get("/readyz")[1] == "not ready\n", "strangers hear no reason"
        assert gateway.get("/healthz")[0] == 200
        assert re.search(r'"why": "keys".*not_ready_now|not_ready_now.*"why": "keys"|"why":"keys"', gateway.log())
    finally:
        away.rename(opening)
    until(lambda: gateway.get("/readyz")[0] == 200, PATIENCE)


def test_the_portal_shows_none_of_it(gateway: Watched) -> None:
    for path in ("metrics", "healthz", "readyz"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{gateway.url}/{path}", timeout=20)
        assert refused.value.code == 404


def test_alarms_are_listed(gateway: Watched) -> None:
    assert "No alarm stands." in gateway.command("alarms")
    with closing(sqlite3.connect(gateway.state / "zegel.sqlite3", timeout=20)) as database, database:
        lately = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        database.execute(
            "INSERT INTO accounts_signinfailure (whose, place, failures, last_at) VALUES (x'00', x'01', 50, ?)",
            (lately,),
        )
    done = gateway.command("alarms", "--json", succeeds=False)
    assert [json.loads(line)["alarm"] for line in done.splitlines()] == ["passwords-guessed"]
    assert "warning   Passwords, tokens or second steps are being guessed" in gateway.command("alarms", succeeds=False)
    with pytest.raises(AssertionError, match="zegel alarms: 1"):
        gateway.command("alarms")
    until(lambda: gateway.value("zegel_alarms", alarm="passwords-guessed", severity="warning") == 1, PATIENCE)


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    authority = LocalAuthority.load_or_create(tmp_path / "authority")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        made = Gateway(
            tmp_path,
            authority=authority,
            resolver=("127.0.0.1", free_port()),
            mx_port=free_port(),
            settings=f'[metrics]\nlisten = "127.0.0.1:{port}"\n',
        )
        said = made.command("run", succeeds=False)
    assert f"metrics.listen: 127.0.0.1:{port} can't be had" in said
    assert "Traceback" not in said
