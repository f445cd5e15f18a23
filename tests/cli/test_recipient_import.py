"""A file of numbers and codes on the command line, as the program itself does it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.cli.test_submission_commands import ORGANISATION, Shell

OURS: Final = ("--organisation", ORGANISATION)
HEADER: Final = "email_address;full_name;phone_number;access_code\r\n"
GOOD: Final = "goed@example.org;Naam;06-20304050;winterkoning 2026\r\n"
BAD: Final = "slecht@example.org;Naam;620304050;roodborst\u200b\r\n"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    shell("organisation", "add", ORGANISATION)
    return shell


def run(shell: Shell, tmp_path: Path, content: str | bytes, *options: str) -> tuple[int, str, str]:
    file = tmp_path / "clienten.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return shell.run("recipients", "import", str(file), *OURS, *options)


def listed(shell: Shell) -> list[str]:
    return shell("recipients", "list", *OURS).splitlines()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "There are no rows in the file."),
        (HEADER.encode(), "There are no rows in the file."),
        (b"PK\x03\x04", "This is a workbook or an archive, not CSV."),
        (b"full_name,phone_number\n", "The column email_address is missing"),
        (b"email_address,phone_number,PHONE_NUMBER\n", "names a column twice: phone_number."),
    ],
)
def test_a_file_that_can_not_be_judged_is_told_in_one_sentence(
    shell: Shell, tmp_path: Path, content: bytes, said: str
) -> None:
    code, out, err = run(shell, tmp_path, content)
    assert (code, out) == (78, "") and said in err and "Traceback" not in err
    assert listed(shell) == []


def test_a_file_that_is_not_there_is_told(shell: Shell, tmp_path: Path) -> None:
    code, _, err = shell.run("recipients", "import", str(tmp_path / "niets.csv"), *OURS)
    assert code == 2 and "does not exist" in err


def test_where_rows_are_bad_nothing_is_imported_unless_the_good_ones_are_asked_for(
    shell: Shell, tmp_path: Path
) -> None:
    code, out, err = run(shell, tmp_path, HEADER + GOOD + BAD)
    assert code == 1 and "Nothing is imported." in err and listed(shell) == []
    assert "line 3: phone_number: This is not the number of one mobile telephone" in out
    assert "line 3: access_code: In this access code are characters that nobody sees" in out
    assert "2 rows: 1 to add, 0 to change, 0 known, 1 bad." in out
    code, out, err = run(shell, tmp_path, HEADER + GOOD + BAD, "--good-rows")
    assert code == 0 and "Imported: 1 added, 0 changed" in out and "imported: 2" in err
    assert [line.split("  ")[1:4] for line in listed(shell)] == [
        ["goed@example.org", "access-code", "from import"],
        ["goed@example.org", "sms +31 6 ****4050", "from import"],
    ]
    for told in (out, err):
        assert "winterkoning" not in told and "20304050" not in told and "roodborst" not in told


def test_a_dry_run_changes_nothing(shell: Shell, tmp_path: Path) -> None:
    code, out, _ = run(shell, tmp_path, HEADER + GOOD, "--dry-run")
    assert code == 0 and "1 rows: 1 to add" in out and listed(shell) == []
    code, out, _ = run(shell, tmp_path, HEADER + GOOD + BAD, "--dry-run")
    assert code == 1 and "1 bad." in out and listed(shell) == []


def test_another_time_only_what_differs_is_changed(shell: Shell, tmp_path: Path) -> None:
    assert run(shell, tmp_path, HEADER + GOOD)[0] == 0
    before = listed(shell)
    code, out, _ = run(shell, tmp_path, HEADER + GOOD)
    assert code == 0 and "1 rows: 0 to add, 0 to change, 1 known, 0 bad." in out
    code, out, _ = run(shell, tmp_path, HEADER + GOOD.replace("4050", "4051"))
    assert "0 to add, 1 to change" in out and "Imported: 0 added, 1 changed" in out
    after = listed(shell)
    assert before[0] == after[0] and "****4051" in after[1] and before[1].split()[0] == after[1].split()[0]


def test_a_file_in_an_old_encoding_is_said_to_be_one(shell: Shell, tmp_path: Path) -> None:
    code, _, err = run(shell, tmp_path, (HEADER + "goed@example.org;Zoë;;één twee drie\r\n").encode("cp1252"))
    assert code == 0 and "it was read as Windows-1252" in err


def test_an_import_that_is_killed_is_not_over_until_dispatch_says_so(shell: Shell, tmp_path: Path) -> None:
    """What was imported is counted with it, so that it can be noted."""
    file = tmp_path / "clienten.csv"
    file.write_text(HEADER + "".join(f"a{n}@example.org;;0620{n:06};\n" for n in range(6000)))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ZEGEL_", "DJANGO_"))}
    arguments = [sys.executable, "-m", "zegel", "recipients", "import", str(file), *OURS, "--config", str(shell.config)]
    with subprocess.Popen(arguments, env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
        (database,) = shell.config.parent.rglob("zegel.sqlite3")
        passed = 0
        while not passed and running.poll() is None:
            with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as asked:
                (passed,) = asked.execute("SELECT coalesce(max(passed), 0) FROM custody_verificationimport").fetchone()
        running.send_signal(signal.SIGKILL)
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as asked:
        state, added, passed = asked.execute("SELECT state, added, passed FROM custody_verificationimport").fetchone()
        (known,) = asked.execute("SELECT count(*) FROM custody_verificationdata").fetchone()
        assert asked.execute("SELECT count(*) FROM custody_job WHERE kind = 'import'").fetchone() == (1,)
    assert state == "importing" and 0 < known == added == passed < 6000
    code, _, err = run(shell, tmp_path, HEADER + GOOD)
    assert code == 78 and "An import of this organisation is not over." in err
