"""`zegel doctor` says whether the malware scanner answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.needs import needs
from tests.peers import free_port
from tests.peers.clamd import ClamAv
from zegel.cli import prove
from zegel.cli.prove import Check
from zegel.settings import Listen, Portal, Settings


@pytest.fixture
def clamav(tmp_path: Path) -> Iterator[ClamAv]:
    needs("clamav-daemon")
    with ClamAv(tmp_path / "clamav") as peer:
        yield peer


def malware(place: Listen | Path | None) -> list[Check]:
    return list(prove.scanner(Settings(portal=Portal(clamd=place))))


def test_one_that_is_away_is_bad_and_what_follows_is_said(tmp_path: Path) -> None:
    for place in (Listen(host="127.0.0.1", port=free_port()), tmp_path / "socket"):
        (check,) = malware(place)
        assert check.verdict == "bad" and str(place) in check.what and "can't send answers" in check.remedy


def test_one_that_answers_is_good(clamav: ClamAv) -> None:
    for place in (Listen(host=clamav.ip, port=clamav.port), clamav.socket):
        (check,) = malware(place)
        assert check.verdict == "good" and "ClamAV 1." in check.what


def test_where_none_is_set_nothing_is_said() -> None:
    assert malware(None) == []
