"""`zegel audit …`: a log is taken along, and verified where there is nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cli.test_submission_commands import Shell

ORGANISATION: Final = "Gemeente “Voorbeeld”"
UNTOLD: Final = "and none tells that their term was over"
USER: Final = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    shell = Shell(tmp_path_factory.mktemp("shell"))
    shell("organisation", "add", ORGANISATION)
    shell("policy", "recipients", "--organisation", ORGANISATION, "--hold", "7")
    shell("account", "add", "balie@voorbeeld.test", "--organisation", ORGANISATION, "--password", "-")
    shell("domain", "add", "voorbeeld.test", "--organisation", ORGANISATION)
    made = shell("credentials", "add", "een server", "--organisation", ORGANISATION)
    username = made.split("username: ")[1].split()[0]
    for command in (
        ("rotate",),
        ("end-previous",),
        ("bind", "--from", "192.0.2.0/24"),
        ("cap", "--messages-per-day", "9"),
    ):
        shell("credentials", command[0], username, *command[1:])
    shell("credentials", "disable", username)
    return shell


@pytest.fixture
def log(shell: Shell) -> list[str]:
    return shell("audit", "export", "--organisation", ORGANISATION).splitlines()


def verify(folder: Path, text: str, *more: str) -> tuple[int, str, str]:
    """In a place with nothing but the file."""
    file = folder / "log.jsonl"
    file.write_text(text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ZEGEL_", "DJANGO_"))}
    path = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-m", "zegel", "audit", "verify", str(file), *more],
        env={**kept, "PYTHONPATH": path, "HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert sorted(one.name for one in folder.iterdir()) == ["log.jsonl"], "it leaves nothing behind"
    return done.returncode, done.stdout, done.stderr


def by_the_book(line: dict[str, Any]) -> str:
    """The hash as docs/audit.md says how it is made."""
    said = {name: value for name, value in line.items() if name != "hash"}
    assert len(said) == 9
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def test_all_that_was_done_on_the_command_line_stands_there_with_who_did_it(log: list[str]) -> None:
    found = [json.loads(line) for line in log]
    assert [one["act"] for one in found if one["act"] != "audit-exported"] == [
        "organisation-added", "policy-changed", "account-added", "domain-added", "credential-issued",
        "credential-rotated", "credential-previous-ended", "credential-bound", "caps-changed", "credential-disabled",
    ]  # fmt: skip
    assert {(one["by_kind"], one["by"]) for one in found} == {("command-line", USER)}
    assert found[-1]["act"] == "audit-exported"


def test_the_document_says_how_a_hash_is_made(log: list[str]) -> None:
    previous = ""
    for line in map(json.loads, log):
        assert line["previous"] == previous
        previous = line["hash"]
        assert by_the_book(line) == previous
    assert "“Voorbeeld”" in json.loads(log[0])["about"]


def test_a_log_is_sound_without_configuration_or_database(log: list[str], tmp_path: Path) -> None:
    head = json.loads(log[-1])["hash"]
    code, out, err = verify(tmp_path, "\n".join(log) + "\n")
    assert (code, err) == (0, "")
    assert out == (f"Sound: entries 1 to {len(log)}; keep this hash of the last one for the next time: {head}\n")
    for known in (head, head.upper(), json.loads(log[3])["hash"]):
        assert verify(tmp_path, "\n".join(log), "--known", known)[0] == 0


def changed(log: list[str], place: int, **more: object) -> list[str]:
    return [*log[:place], json.dumps({**json.loads(log[place]), **more}), *log[place + 1 :]]


def rewritten(log: list[str]) -> list[str]:
    """Changed, with every hash made anew."""
    found, previous = [], ""
    for line in map(json.loads, changed(log, 2, about="ander@voorbeeld.test")):
        line["previous"] = previous
        line["hash"] = previous = by_the_book(line)
        found.append(json.dumps(line))
    return found


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda log: changed(log, 2, by="ander"), "Line 3: the entry was changed: its hash is another."),
        (lambda log: log[:2] + log[3:], "Line 3: entry 3 is not there."),
        (lambda log: [log[0], log[2], log[1], *log[3:]], "Line 2: entry 2 is not there."),
        (lambda log: [*log[:2], log[1], *log[2:]], "Line 3: entry 3 is not there."),
        (
            lambda log: log[2:],
            "Line 1: the entries before number 3 are not there, and none tells that their term was over.",
        ),
        (lambda log: [*log[:4], "{}", *log[4:]], "Line 5: this is no entry of an audit log."),
        (lambda log: [*log, "nonsense"], "this is no entry of an audit log."),
        (lambda log: log[:1], "entry 1 is not the one that says that the log was exported."),
        (lambda log: log[:4], "entry 4 is not the one that says that the log was exported."),
        (lambda _: [], "There is no entry in this file."),
        (lambda _: ["\x00\xff"], "Line 1: this is no entry of an audit log."),
    ],
)
def test_a_log_that_is_not_what_was_written_is_told_in_one_sentence(
    log: list[str], tmp_path: Path, broken: Callable[[list[str]], list[str]], said: str
) -> None:
    code, out, err = verify(tmp_path, "\n".join(broken(log)))
    assert (code, out) == (1, "") and err.endswith(f"{said}\n") and err.count("\n") == 1


def test_a_log_that_was_written_anew_is_found_by_a_hash_that_was_kept(log: list[str], tmp_path: Path) -> None:
    forged = "\n".join(rewritten(log))
    assert verify(tmp_path, forged)[0] == 0, "the file alone can't tell"
    known = json.loads(log[-1])["hash"]
    code, out, err = verify(tmp_path, forged, "--known", known)
    assert (code, out) == (1, "") and f"the entry with the hash {known} is not there" in err
    assert verify(tmp_path, "\n".join(log[:-1]), "--known", known)[0] == 1, "nor may the newest be gone"


def test_an_earlier_export_is_the_beginning_of_a_later_one(shell: Shell, log: list[str], tmp_path: Path) -> None:
    later = shell("audit", "export", "--organisation", ORGANISATION)
    assert later.startswith("\n".join(log) + "\n")
    assert verify(tmp_path, later, "--known", json.loads(log[-1])["hash"])[0] == 0


def test_the_gateway_has_a_log_of_its_own(shell: Shell, tmp_path: Path) -> None:
    shell("backup", str(tmp_path / "backup"))
    found = [json.loads(line) for line in shell("audit", "export", "--gateway").splitlines()]
    assert [one["act"] for one in found][:1] == ["backed-up"]
    assert {one["chain"] for one in found} == {0}
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    assert verify(folder, "\n".join(map(json.dumps, found)))[0] == 0


def test_which_log_is_meant_has_to_be_said(shell: Shell) -> None:
    wanted = "zegel: Name a log: --organisation NAME, or --gateway for that of the gateway itself."
    assert shell.refusal("audit", "export") == wanted
    assert shell.refusal("audit", "export", "--gateway", "--organisation", ORGANISATION) == wanted
    assert "There is no organisation 'X'" in shell.refusal("audit", "export", "--organisation", "X")


def test_traces_have_a_term_of_their_own(shell: Shell) -> None:
    term = ("policy", "trace-term", "--organisation", ORGANISATION)
    assert shell(*term) == "kept: 400 days\n"
    assert "from 90 to 36500" in shell.refusal(*term, "--days", "12")
    assert shell(*term, "--days", "always") == "kept: always\n"
    assert shell(*term, "--days", "400") == "kept: 400 days\n"


def test_the_term(shell: Shell) -> None:
    term = ("audit", "term", "--organisation", ORGANISATION)
    assert shell(*term) == "kept: always\n"
    for wrong in ("89", "x", "0", "99999"):
        said = shell.refusal(*term, "--days", wrong)
        assert said == (
            f"zegel: --days: '{wrong}' can't be used: write a whole number of days from 90 to 36500, such as 365, "
            "or always."
        )
    assert shell(*term, "--days", "365") == shell(*term) == "kept: 365 days\n"
    assert shell(*term, "--days", "always") == "kept: always\n"
