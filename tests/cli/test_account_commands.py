"""Accounts from the command line: also those that guests made before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_submission_commands import ORGANISATION, Shell

PASSWORD = "een paraplu op het dak"

MAKE = """
import os, sys
from zegel.compose import process
process.use(None)
process.start_django()
from zegel.accounts.models import *
from zegel.accounts.sign_in import enrol_totp
SendingDomain.objects.update(in_place=True)
for address in ("gast@eigen.test", "gast@ander.test", "gast@vrij.test"):
    enrol_totp(Account.objects.create_user(address, "een paraplu op het dak", display_name="Gast"))
Account.objects.create_user("begonnen@eigen.test", "een paraplu op het dak")
"""
SHOW = """
import sys
from zegel.compose import process
process.use(None)
process.start_django()
from zegel.accounts.models import *
from zegel.accounts.sign_in import has_second_factor
one = Account.objects.get(email=sys.argv[1])
print(one.organisation, one.display_name, one.role, one.check_password("een paraplu op het dak"),
      one.has_usable_password(), has_second_factor(one), sep="|")
"""


def program(shell: Shell, text: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", text, *arguments],
        env={"PATH": "/usr/bin:/bin", "ZEGEL_CONFIG": str(shell.config), "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Two organisations with a domain each, and guests who made an account."""
    shell = Shell(tmp_path_factory.mktemp("shell"))
    for name, domain in ((ORGANISATION, "eigen.test"), ("Ander", "ander.test")):
        shell("organisation", "add", name)
        shell("domain", "add", domain, "--organisation", name)
    program(shell, MAKE)
    return shell


def add(address: str, *more: str) -> tuple[str, ...]:
    return ("account", "add", address, "--organisation", ORGANISATION, *more)


@pytest.mark.parametrize("domain", ["vrij.test", "ander.test"])
def test_a_guest_from_elsewhere_keeps_a_free_account(shell: Shell, domain: str) -> None:
    guest = f"gast@{domain}"
    assert shell.refusal(*add(guest, "--password", "-")) == (
        f"zegel: {guest} has a free account, which its holder made as a guest. It can be taken in once {domain} is a "
        f"sending domain of {ORGANISATION} with its records in place. See: zegel domain add, zegel domain check"
    )
    assert program(shell, SHOW, guest) == "None|Gast|sender|True|True|True"


def test_an_account_of_an_organisation_is_refused(shell: Shell) -> None:
    shell(*add("balie@eigen.test", "--password", "-"))
    assert (
        shell.refusal(*add("balie@eigen.test", "--password", "-")) == "zegel: balie@eigen.test has an account already."
    )


def test_nobody_gives_a_guest_another_password_in_passing(shell: Shell) -> None:
    assert shell.refusal(*add("gast@eigen.test", "--password", "een heel andere zin dan eerst")) == (
        "zegel: gast@eigen.test has a free account with a password, which stays. Leave --password out."
    )
    assert program(shell, SHOW, "gast@eigen.test") == "None|Gast|sender|True|True|True"


def test_a_guest_of_the_own_domain_is_taken_in_with_the_second_step(shell: Shell) -> None:
    assert shell(*add("Gast@eigen.test", "--role", "administrator", "--name", "Balie")) == (
        "Took in the free account of gast@eigen.test: its password and second step stay. It is signed out everywhere.\n"
    )
    assert program(shell, SHOW, "gast@eigen.test") == f"{ORGANISATION}|Balie|administrator|True|True|True"
    assert shell.refusal(*add("gast@eigen.test")) == "zegel: gast@eigen.test has an account already."


def test_nothing_stays_of_an_account_that_was_not_finished(shell: Shell) -> None:
    assert shell.refusal(*add("begonnen@eigen.test", "--password", "kort")).startswith(
        "zegel: This password is not accepted"
    )
    assert program(shell, SHOW, "begonnen@eigen.test") == "None||sender|True|True|False"
    assert shell(*add("begonnen@eigen.test", "--password", "-")) == (
        "Took in the free account of begonnen@eigen.test: it was not finished, and nothing of it stays. "
        "It is signed out everywhere.\n"
    )
    assert program(shell, SHOW, "begonnen@eigen.test") == f"{ORGANISATION}||sender|False|False|False"
