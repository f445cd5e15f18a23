"""What an administrator decides about submission on the command line, as the program itself does it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.peers import postgresql

ORGANISATION: Final = "Voorbeeld"


class Shell:
    """`zegel …` with one configuration."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "zegel.toml"
        self.config.write_text(f'testing = true\nhostname = "zegel.test"\nfolder = "state"\n{postgresql.setting()}')

    def run(self, *arguments: str) -> tuple[int, str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ZEGEL_", "DJANGO_"))}
        done = subprocess.run(
            [sys.executable, "-m", "zegel", *arguments, "--config", str(self.config)],
            env=kept,
            capture_output=True,
            text=True,
            check=False,
        )
        said = [line for line in done.stderr.splitlines(keepends=True) if not line.startswith('{"')]  # without the log
        return done.returncode, done.stdout, "".join(said)

    def __call__(self, *arguments: str) -> str:
        code, out, err = self.run(*arguments)
        assert code == 0, err
        return out

    def refusal(self, *arguments: str) -> str:
        code, out, err = self.run(*arguments)
        assert (code, out) == (78, ""), (code, out, err)
        return err.strip()


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    shell = Shell(tmp_path_factory.mktemp("shell"))
    shell("organisation", "add", ORGANISATION)
    return shell


@pytest.fixture
def username(shell: Shell) -> str:
    made = shell("credentials", "add", "een server", "--organisation", ORGANISATION)
    return made.split("username: ")[1].split()[0]


def test_what_can_not_be_understood_is_refused_with_an_example(shell: Shell, username: str) -> None:
    assert shell.refusal("credentials", "bind", username, "--from", "192.0.2.1/24") == (
        "zegel: '192.0.2.1/24' is not an address or network; write it like 192.0.2.10 or 192.0.2.0/24."
    )
    assert shell.refusal("credentials", "bind", username, "--for", "iedereen") == (
        "zegel: 'iedereen' is not an address or domain; write it like naam@voorbeeld.nl or voorbeeld.nl."
    )
    assert shell.refusal("credentials", "rotate", "smtp-nobody") == (
        "zegel: There are no credentials 'smtp-nobody'. See: zegel credentials list"
    )
    assert shell.refusal("credentials", "end-previous", username) == (
        f"zegel: {username} has one password only. Make a second one first: zegel credentials rotate {username}"
    )
    assert shell.run("credentials", "cap", username, "--messages-per-hour", "-1")[0] == 2


def test_bindings_and_caps_are_set_shown_and_taken_away(shell: Shell, username: str) -> None:
    bound = shell("credentials", "bind", username, "--from", "192.0.2.10", "--for", "office@example.org example.net")
    assert bound == "from: 192.0.2.10\nfor: office@example.org example.net\n"
    assert (
        shell("credentials", "bind", username, "--from", "") == "from: anywhere\nfor: office@example.org example.net\n"
    )
    assert "messages: 0 of 5 this hour" in shell("credentials", "cap", username, "--messages-per-hour", "5")
    listed = shell("credentials", "list").partition(username)[2]
    assert "for: office@example.org example.net" in listed and "0 of 5 this hour" in listed
    assert shell("credentials", "cap", username, "--messages-per-hour", "0") == ""


def test_a_rotation_shows_a_second_password_once(shell: Shell, username: str) -> None:
    first = shell("credentials", "rotate", username)
    assert first.startswith(f"username: {username}\npassword: ")
    assert shell.refusal("credentials", "rotate", username) == (
        f"zegel: {username} has two valid passwords already. End the older one first: "
        f"zegel credentials end-previous {username}"
    )
    assert "rotating" in shell("credentials", "list")
    assert shell("credentials", "end-previous", username) == "Ended. It was last used never.\n"
    assert first.split("password: ")[1].strip() not in shell("credentials", "list")


def test_spf_for_everybody_is_switched_on_with_a_warning_and_bound_without(shell: Shell) -> None:
    policy = ("policy", "submission", "--organisation", ORGANISATION)
    code, out, err = shell.run(*policy, "--proof", "either")
    assert (code, out) == (0, "proof: either\nSPF counts from: anywhere, without DKIM\n")
    assert err.startswith("SPF proves an address, not a customer")
    code, out, err = shell.run(*policy, "--spf-from", "192.0.2.0/24", "--spf-with-dkim", "--recipients-per-day", "10")
    assert (code, err) == (0, "")
    assert out == (
        "proof: either\nSPF counts from: 192.0.2.0/24, with a valid DKIM signature of the From domain\n"
        "    recipients: 0 of any number this hour, 0 of 10 a day\n"
    )
    assert shell(*policy, "--proof", "credentials", "--recipients-per-day", "0") == "proof: credentials\n"


def test_text_messages_are_capped_shown_and_let_go(shell: Shell) -> None:
    policy = ("policy", "submission", "--organisation", ORGANISATION)
    assert shell.run(*policy, "--texts-per-hour", "-1")[0] == 2
    assert "like NL or BE" in shell.refusal(*policy, "--text-countries", "NL Nederland")
    said = shell(*policy, "--texts-per-hour", "5", "--texts-per-month", "100", "--text-countries", "nl be")
    for shown in ("text messages: 0 of 5 this hour", "0 of 100 in 30 days", "text messages go to: NL BE"):
        assert shown in said
    assert "text messages: 0 of 5" in shell(*policy), "what isn't named stays"
    said = shell(*policy, "--texts-per-hour", "0", "--texts-per-month", "0", "--text-countries", "")
    assert "text messages" not in said
