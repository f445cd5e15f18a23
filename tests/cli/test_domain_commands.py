"""Sending domains on the command line, as the program itself looks them up."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from tests.cli.test_submission_commands import ORGANISATION, Shell
from tests.peers.site import names

DOMAIN: Final = "voorbeeld.test"
OTHER: Final = "Ander"
Zone = dict[tuple[str, str], list[str]]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Two organisations, and a name server that is not there."""
    shell = Shell(tmp_path)
    with shell.config.open("a") as config:
        config.write('[delivery]\nresolver = "127.0.0.1:9"\n')
    shell("organisation", "add", ORGANISATION)
    shell("organisation", "add", OTHER)
    return shell


def add(shell: Shell, organisation: str = ORGANISATION) -> Zone:
    """The domain; gives what is to be published."""
    return records(shell("domain", "add", DOMAIN, "--organisation", organisation))


def records(printed: str) -> Zone:
    zone: Zone = {}
    for name, kind, value in re.findall(r'^(\S+)\. (TXT|CNAME) "?([^"\n]*?)[".]?$', printed, re.MULTILINE):
        zone.setdefault((name, kind), []).append(value)
    return zone


def ask(shell: Shell, zone: Zone, *arguments: str) -> tuple[int, str]:
    """The command, with a name server that serves this."""
    text = shell.config.read_text()
    with names(zone) as port:
        shell.config.write_text(re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", text))
        code, out, err = shell.run(*arguments)
    assert "Traceback" not in err, err
    return code, out


def change(shell: Shell, statement: str) -> None:
    with closing(sqlite3.connect(shell.config.parent / "state/zegel.sqlite3")) as database, database:
        database.execute(statement)


def test_what_can_not_be_is_refused_with_a_remedy(shell: Shell) -> None:
    assert "Write it like voorbeeld.nl" in shell.refusal("domain", "add", "geen domein", "--organisation", ORGANISATION)
    assert shell.refusal("domain", "check", DOMAIN) == (
        f"zegel: {DOMAIN} is not a sending domain. Add it with: zegel domain add {DOMAIN}"
    )
    add(shell)
    assert shell.refusal("domain", "add", DOMAIN, "--organisation", ORGANISATION) == (
        f"zegel: {DOMAIN} is a sending domain of {ORGANISATION} already."
    )
    assert "has no previous keys" in shell.refusal("domain", "end-previous-dkim", DOMAIN)
    add(shell, OTHER)
    assert shell.refusal("domain", "check", DOMAIN) == (
        f"zegel: {DOMAIN} is claimed by '{ORGANISATION}', '{OTHER}'. Say which with --organisation."
    )
    assert shell.run("domain", "remove", DOMAIN, "--organisation", OTHER)[0] == 1, "nobody said yes"
    shell("domain", "remove", DOMAIN, "--organisation", OTHER, "--yes")
    assert shell("domain", "list").count(DOMAIN) == 1


def test_a_name_server_that_is_away_says_nothing_about_the_domain(shell: Shell) -> None:
    add(shell)
    code, out, _ = shell.run("domain", "check", DOMAIN)
    assert (code, out.count("not to be known now")) == (1, 10)
    assert "not in place yet  checked never" in shell("domain", "list")


def test_from_claim_to_renewed_keys(shell: Shell) -> None:
    zone = add(shell)
    assert len(zone) == 4
    code, out = ask(shell, {("test", "A"): ["192.0.2.1"]}, "domain", "check", DOMAIN)
    assert code == 1 and "Not in place: mail is refused." in out
    assert f"TXT   _dmarc.{DOMAIN}: not found (advised)\n      for instance: v=DMARC1; p=quarantine" in out

    code, out = ask(shell, zone, "domain", "check", DOMAIN)
    assert code == 0 and "In place: mail is accepted." in out
    assert f"{DOMAIN}  in place  checked 20" in shell("domain", "list")

    assert "has no new keys that wait" in shell.refusal("domain", "withdraw-dkim", DOMAIN)
    shell("domain", "rotate-dkim", DOMAIN)
    assert re.search(r"Withdrawn. The records of zegel20\d{4} and zegel20", shell("domain", "withdraw-dkim", DOMAIN))

    made = shell("domain", "rotate-dkim", DOMAIN)
    following = records(made)
    assert len(following) == 2 and all(re.search(r"^zegel20\d{4}", name) for name, _ in following)
    assert "being renewed already" in shell.refusal("domain", "rotate-dkim", DOMAIN)
    assert "new DKIM keys wait for the record of zegel20" in shell("domain", "list")

    code, out = ask(shell, zone | following, "domain", "check", DOMAIN)
    assert code == 0
    assert "previous DKIM keys zegel: safe to end from 20" in shell("domain", "list")
    early = shell.refusal("domain", "end-previous-dkim", DOMAIN)
    assert "It is safe from 20" in early and "--early" in early
    assert "The records of zegel and zegel-ed25519 can be taken" in shell(
        "domain", "end-previous-dkim", DOMAIN, "--early"
    )
    assert "the only domain that the gateway can write from" in shell.refusal("domain", "remove", DOMAIN, "--yes")


def test_doctor_says_what_follows_and_what_waits(shell: Shell) -> None:
    zone = add(shell)
    ask(shell, zone, "domain", "check", DOMAIN)
    change(shell, "UPDATE accounts_sendingdomain SET missing_since = '2026-01-01 10:00:00', not_known = '[]'")
    shell("domain", "rotate-dkim", DOMAIN)
    change(shell, "UPDATE accounts_dkimpair SET at = '2026-01-01 10:00:00'")
    _, out = ask(shell, zone, "doctor")
    assert (
        f"BAD   domain {DOMAIN}: needed DNS records are missing, its mail is refused from 2026-01-04 10:00 UTC" in out
    )
    assert f"look  domain {DOMAIN}: new DKIM keys wait for their record since 2026-01-01" in out
    change(shell, "UPDATE accounts_dkimpair SET stage = 'previous'")
    change(shell, "UPDATE accounts_sendingdomain SET in_place = 0, missing_since = NULL")
    _, out = ask(shell, zone, "doctor")
    assert f"look  domain {DOMAIN}: previous DKIM keys zegel20" in out
    assert f"BAD   domain {DOMAIN}: another organisation has it, so its mail is refused here" in out
