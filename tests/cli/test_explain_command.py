"""`zegel explain` and `zegel token` on a real data folder, as the program itself does it."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cli.test_submission_commands import ORGANISATION, Shell
from tests.local.running import Loop
from zegel.accounts.tokens import Scope
from zegel.cli.tokens import SCOPES
from zegel.core.mail.fields import ONE_FROM
from zegel.local.dns import serve

SENDER: Final = "balie@voorbeeld.test"
GUEST: Final = "ontvanger@example.org"
HIDDEN: Final = "stil@example.org"
PHONE: Final = "+31612345678"
CODE: Final = "winterkoning-2026"
HEADER: Final = f"From: Balie <{SENDER}>\nTo: {GUEST}\nSubject: Merkteken7f3a\n"
FROM_TO: Final = ("--from", SENDER, "--to", GUEST)


class Explaining(Shell):
    """A shell with standard input and a look at the database."""

    def given(self, octets: bytes, *arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "zegel", *arguments, "--config", str(self.config)],
            env=self.environment(),
            input=octets,
            capture_output=True,
            check=False,
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith(("ZEGEL_", "DJANGO_"))}

    def python(self, source: str) -> str:
        """What it prints, with Django on this data folder."""
        start = "import django; django.setup()\n"
        environment = self.environment() | {
            "ZEGEL_CONFIG": str(self.config),
            "DJANGO_SETTINGS_MODULE": "zegel.web.settings",
        }
        done = subprocess.run(
            [sys.executable, "-c", start + source], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def database(self) -> list[str]:
        """Every row of every table."""
        (path,) = (self.config.parent / "state").glob("*.sqlite3")
        connection = sqlite3.connect(path)
        try:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            return [f"{name} {row}" for (name,) in tables for row in connection.execute(f"SELECT * FROM {name}")]
        finally:
            connection.close()


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explaining]:
    """A sending domain that is in place, as its name server said."""
    loop = Loop()
    server = loop.run(serve({}, "127.0.0.1", 0))
    try:
        shell = Explaining(tmp_path_factory.mktemp("shell"))
        with shell.config.open("a") as file:
            file.write(f'[delivery]\nresolver = "127.0.0.1:{server.port}"\n')
        shell("organisation", "add", ORGANISATION)
        printed = shell("domain", "add", "voorbeeld.test", "--organisation", ORGANISATION)
        records = re.findall(r"^(\S+)\. (TXT|CNAME) (.+)$", printed, re.MULTILINE)
        zone = {(name, kind): [value.strip('"')] for name, kind, value in records}
        zone["zegel.test", "A"] = ["127.0.0.1"]
        loop.call(lambda: server.update(zone))
        shell("domain", "check", "voorbeeld.test")
        shell("account", "add", SENDER, "--organisation", ORGANISATION, "--password", "-")
        yield shell
    finally:
        loop.call(server.close)
        loop.stop()


@pytest.fixture
def message(tmp_path: Path) -> Path:
    path = tmp_path / "message.eml"
    path.write_text(HEADER + f"zivver-access-right: {GUEST} sms {PHONE}\n\nMerkteken-inhoud\n")
    return path


# --- not understood, refused -------------------------------------------------------------------------------------


def test_too_little_or_too_much_is_a_mistake(shell: Explaining, message: Path) -> None:
    some = str(uuid.uuid4())
    for arguments in (
        (),
        (str(message),),
        (str(message), "--from", SENDER),
        (str(message), "--to", GUEST),
        (str(message), *FROM_TO, "--recipient", some),
        ("--recipient", some, "--message", some),
        ("--recipient", "geen-uuid"),
        ("/nergens/message.eml", *FROM_TO),
    ):
        code, out, err = shell.run("explain", *arguments)
        assert (code, out) == (2, ""), arguments
        assert "Usage: " in err


def test_what_is_not_known_is_said(shell: Explaining, message: Path) -> None:
    assert shell.refusal("explain", "--recipient", str(uuid.uuid4())) == (
        "zegel: There is no such recipient. See: zegel evidence"
    )
    assert shell.refusal("explain", "--message", str(uuid.uuid4())).startswith("zegel: There is no such submission.")
    assert "is not an e-mail address" in shell.refusal("explain", str(message), "--from", "balie", "--to", GUEST)


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        (HEADER, ("--from", SENDER, "--to", "geen-adres"), "Refused (--to geen-adres): 501 5.1.3 "),
        ("To: x@example.org\n", FROM_TO, f"Refused (MESSAGE): 550 5.6.0 {ONE_FROM}"),
        (f"{HEADER}zegel-nonsense: 1\n", FROM_TO, "Refused (MESSAGE): 550 5.6.0 zegel-nonsense is not a field"),
        (f"{HEADER}X: {'x' * 600_000}\n", FROM_TO, "Refused (MESSAGE): 552 5.3.4 "),
        (
            HEADER.replace(SENDER, "chef@voorbeeld.test"),
            ("--from", "chef@voorbeeld.test", "--to", GUEST),
            "Refused (--from): 550 5.7.1 The From address has no active account",
        ),
        (
            HEADER.replace(SENDER, "x@nergens.test"),
            ("--from", "x@nergens.test", "--to", GUEST),
            "Refused (--from): 550 5.7.1 The From domain is not a verified sending domain",
        ),
    ],
)
def test_what_the_door_would_refuse_ends_with_its_reply(
    shell: Explaining, content: str, arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = shell.given(content.encode(), "explain", "-", *arguments)
    assert (code, err) == (2, "")
    assert out.startswith(said)
    code, out, _ = shell.given(content.encode(), "explain", "-", *arguments, "--json")
    assert code == 2
    assert str(json.loads(out)["reply"]["code"]) == said.partition("): ")[2][:3]


def test_another_author_is_said_to_be_one(shell: Explaining, message: Path) -> None:
    code, out, err = shell.run("explain", str(message), "--from", "chef@voorbeeld.test", "--to", GUEST)
    assert (code, out) == (2, "")
    assert "names another author" in err


# --- a dry run ---------------------------------------------------------------------------------------------------


def test_a_message_is_explained_for_each_recipient_and_nothing_changes(shell: Explaining, message: Path) -> None:
    before, files = shell.database(), sorted((shell.config.parent / "state").rglob("*"))
    code, out, err = shell.run("explain", str(message), *FROM_TO, "--to", HIDDEN)
    assert (code, err) == (0, "")
    assert out.startswith("A dry run: nothing was sent or kept.\n\nontvanger@example.org\n")
    assert "stil@example.org (Bcc: a conversation of its own)" in out
    assert "1. Notification; opens with: SMS code +31 6 ****5678" in out
    assert "1. Notification; opens with: e-mail verification" in out
    assert "The recipient gets an account here" in out
    assert "Merkteken" not in out and "612345678" not in out
    assert shell.database() == before
    assert sorted((shell.config.parent / "state").rglob("*")) == files


def test_it_speaks_dutch_and_json(shell: Explaining, message: Path) -> None:
    code, out, _ = shell.run("explain", str(message), *FROM_TO, "--language", "nl")
    assert code == 0
    assert "Notificatiebericht; te openen met: sms-code +31 6 ****5678" in out
    code, out, _ = shell.run("explain", str(message), *FROM_TO, "--json")
    (one,) = json.loads(out)["recipients"]
    assert code == 0
    assert (one["recipient"], one["served"], one["plan"][0]["method"]) == (GUEST, True, "sms")
    assert "612345678" not in out


def test_who_is_not_served_makes_the_exit_code(shell: Explaining, tmp_path: Path) -> None:
    content = f"{HEADER}zivver-minimum-recipient-verification:\n".encode()
    code, out, err = shell.given(content, "explain", "-", *FROM_TO, "--to", HIDDEN)
    assert (code, err) == (1, "")
    assert "Report to the sender (5.7.1)" in out


def test_what_the_sender_would_be_warned_about_stands_at_the_end(shell: Explaining) -> None:
    content = f"{HEADER}zivver-access-right: elders@example.org sms {PHONE}\n".encode()
    code, out, _ = shell.given(content, "explain", "-", *FROM_TO)
    assert code == 0
    assert out.endswith("elders@example.org, who is no recipient of this message.\n")


def test_a_large_message_is_not_read_to_its_end(shell: Explaining, tmp_path: Path) -> None:
    """The pipe takes 64 KiB, and whoever reads on finds no end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "zegel", "explain", "-", *FROM_TO, "--config", str(shell.config)],
        env=shell.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(HEADER.encode() + b"\n" + b"x" * 20_000)
    process.stdin.flush()
    out = process.stdout.read()
    assert process.wait() == 0
    process.stdin.close()
    process.stdout.close()
    assert GUEST.encode() in out


# --- stored decisions --------------------------------------------------------------------------------------------

STORE: Final = """
from django.utils import timezone
from zegel.accounts.models import Account
from zegel.core.policy.case import Asked, Case, Remembered
from zegel.core.policy.precedence import plan, plan_to_json
from zegel.core.policy.verification import AccessCode, SmsCode
from zegel.core.secret import Secret
from zegel.journey.custody.models import Conversation, Recipient, Submission
account = Account.objects.get()
now = timezone.now()
submission = Submission.objects.create(organisation=account.organisation, account=account, message_id="<een@x.test>",
    identity=b"", directives=b"", source="192.0.2.1", tls="", accepted_at=now)
conversation = Conversation.objects.create(organisation=account.organisation, author=account, submission=submission,
    created_at=now)
def store(address, case):
    stored = plan_to_json(plan(case), case) if case else None
    return Recipient.objects.create(conversation=conversation, submission=submission, address=address, key=address,
        plan=stored, decided_at=now)
sms = store("sms@example.org", Case(Asked(SmsCode(Secret("+31612345678")))))
code = store("code@example.org", Case(remembered=Remembered(access_code=AccessCode(Secret("winterkoning-2026")))))
"""


def test_a_stored_decision_is_replayed_with_its_facts(shell: Explaining) -> None:
    submission, recipient = shell.python(STORE + "print(submission.id, sms.id)").split()
    code, out, err = shell.run("explain", "--message", submission)
    assert (code, err) == (0, "")
    assert re.match(r"Decided at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00\n\S+@example.org\n", out)
    assert "The message names SMS to +31 6 ****5678." in out
    assert "opened an earlier message of the organisation with an access code." in out
    assert out.count("Replayed: the table of that day (version") == 2
    assert "612345678" not in out and CODE not in out
    code, out, _ = shell.run("explain", "--recipient", recipient, "--json")
    (one,) = json.loads(out)["recipients"]
    assert (code, one["recipient"], one["same"]) == (0, "sms@example.org", True)


def test_a_decision_that_the_table_would_not_take_is_told_to_be_another(shell: Explaining) -> None:
    changed = "sms.plan['steps'] = code.plan['steps']; sms.save(); print(sms.id)"
    code, out, _ = shell.run("explain", "--recipient", shell.python(STORE + changed), "--language", "nl")
    assert code == 1
    assert "geeft een ANDER plan" in out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("None", "Nothing has been decided yet for sms@example.org."),
        ("{'form': 1, 'steps': [], 'findings': []}", "was stored by a version that this one doesn't read"),
        ("{'form': 99}", "was stored by a version that this one doesn't read"),
        ("{**sms.plan, 'table': 99}", "was stored by a version that this one doesn't read"),
    ],
)
def test_what_can_not_be_replayed_is_said(shell: Explaining, change: str, said: str) -> None:
    recipient = shell.python(f"{STORE}sms.plan = {change}; sms.save(); print(sms.id)")
    assert said in shell.refusal("explain", "--recipient", recipient)


# --- tokens ------------------------------------------------------------------------------------------------------


def test_every_scope_can_be_given() -> None:
    assert set(SCOPES) == {scope.value for scope in Scope}


def test_a_token_without_scope_or_organisation_is_not_made(shell: Explaining) -> None:
    assert shell.run("token", "add", "x", "--organisation", ORGANISATION)[0] == 2
    assert shell.run("token", "add", "x", "--organisation", ORGANISATION, "--scope", "alles")[0] == 2
    assert shell.run("token", "add", "x", "--organisation", ORGANISATION, "--scope", "explain", "--days", "0")[0] == 2
    assert "There is no organisation 'Niemand'" in shell.refusal(
        "token", "add", "x", "--organisation", "Niemand", "--scope", "explain"
    )
    assert shell.refusal("token", "disable", "niemand") == "zegel: There is no token 'niemand'. See: zegel token list"
    assert "zegel_" not in shell("token", "list")


def test_a_token_is_shown_once_listed_without_its_secret_and_disabled(shell: Explaining) -> None:
    code, out, err = shell.run("token", "add", "een programma", "--organisation", ORGANISATION, "--scope", "explain")
    mark, name, secret = out.strip().split("_", 2)
    assert (code, mark) == (0, "zegel") and len(secret) >= 43
    assert f"zegel token disable {name}" in err
    listed = shell("token", "list")
    assert f"{name}  in force  explain  until " in listed and f"{ORGANISATION}: een programma" in listed
    assert secret not in listed
    assert not any(secret in line for line in shell.database())
    assert shell("token", "disable", name) == f"Disabled {name}.\n"
    assert f"{name}  disabled" in shell("token", "list")
