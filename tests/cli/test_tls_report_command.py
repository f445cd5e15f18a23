"""`zegel tls-report`: what it refuses, and that nothing is made up where nothing was counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.test_submission_commands import Shell


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("shell"))


def test_what_can_not_be_reported_on_is_refused(shell: Shell) -> None:
    later = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()
    assert shell.refusal("tls-report", "--day", later) == "zegel: That day is still to come. Days are in UTC."
    day = ("--day", "2026-11-25")
    assert shell.refusal("tls-report", *day, "--domain", "geen domein") == "zegel: --domain is not a domain."
    assert shell.refusal("tls-report", *day, "--contact", "balie") == "zegel: --contact is not an e-mail address."
    for wrong in (("--day", "gisteren"), ("--day", "2026-13-01"), ()):
        assert shell.run("tls-report", *wrong)[0] == 2


def test_a_day_without_sessions_has_no_report(shell: Shell) -> None:
    assert shell.run("tls-report", "--day", "2020-01-01") == (0, "", "")
