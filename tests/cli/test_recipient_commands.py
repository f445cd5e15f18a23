"""What an administrator decides about recipients on the command line, as the program itself does it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from django.db import connections

from tests.cli.test_submission_commands import ORGANISATION, Shell
from tests.journey.delivery_ground import Post, a_post
from tests.journey.portal_ground import Clock
from zegel.accounts.models import DomainMinimum
from zegel.compose.clock import now

ADDRESS: Final = "ontvanger@example.org"
NUMBER: Final = "+31612345678"
CODE: Final = "winterkoning 2026"
OURS: Final = ("--organisation", ORGANISATION)


class Typing(Shell):
    """A shell in which something comes in by standard input."""

    def typed(self, given: str, *arguments: str) -> tuple[int, str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ZEGEL_", "DJANGO_"))}
        done = subprocess.run(
            [sys.executable, "-m", "zegel", *arguments, "--config", str(self.config)],
            env=kept,
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Typing:
    shell = Typing(tmp_path_factory.mktemp("shell"))
    shell("organisation", "add", ORGANISATION)
    return shell


@pytest.fixture(scope="module")
def others(shell: Typing) -> str:
    """The id of what another organisation knows."""
    shell("organisation", "add", "Ander")
    code, out, err = shell.typed(NUMBER, "recipients", "add", ADDRESS, "--organisation", "Ander", "--method", "sms")
    assert code == 0, err
    return out.split()[0]


# --- policy ------------------------------------------------------------------------------------------------------


NOT_UNDERSTOOD: Final = [
    (["recipients", "--allow", "sms,fax"], "'fax' is not a method; write some of account,sms,access-code,email"),
    (["recipients", "--allow", ""], "At least one method must be allowed, such as sms."),
    (["recipients", "--expire-after", "P30D"], "'P30D' is not a number of days; write it like 30, or never."),
    (["recipients", "--expire-after", "٣"], "'٣' is not a number of days; write it like 30, or never."),
    (["recipients", "--expire-after", "0"], "Conversations expire after 1 to 36525 days, such as 30, or never."),
    (["recipients", "--expire-after", "99999"], "Conversations expire after 1 to 36525 days"),
    (["recipients", "--hold", "3", "--bounce"], "--hold and --bounce exclude each other: name one of them."),
    (["direct-delivery", "example"], "'example' is not a domain name"),
    (["direct-delivery", "example.org", "--level", "tls1.1"], "'tls1.1' is not a level; write one of tls1.2"),
    (["direct-delivery", "example.org", "--level", "tls1.2 tls1.3"], "such as 'tls1.3 dane'."),
    (["direct-delivery", "example.org", "--level", ""], "'' is not a level"),
    (["direct-delivery", "example.org", "--level", "dane", "--remove"], "exclude each other"),
    (["minimum", "*.example.org", "sms"], "Write it like voorbeeld.nl, or '*' for every other."),
]


def test_a_policy_that_can_not_be_understood_changes_nothing(shell: Typing) -> None:
    before = shell("policy", "show", *OURS)
    for given, said in NOT_UNDERSTOOD:
        assert said in shell.refusal("policy", *given, *OURS), given
    assert shell("policy", "show", *OURS) == before


@pytest.mark.parametrize("days", ["0", "61"])
def test_a_hold_outside_its_range_is_refused_by_name(shell: Typing, days: str) -> None:
    code, out, err = shell.run("policy", "recipients", "--hold", days, *OURS)
    assert (code, out) == (2, "")
    assert "'--hold'" in err


def test_an_organisation_that_there_is_not_is_told_with_those_that_there_are(shell: Typing) -> None:
    for command in (["policy", "show"], ["policy", "minimum", "example.org", "sms"], ["recipients", "list"]):
        assert f"known: {ORGANISATION}" in shell.refusal(*command, "--organisation", "Niemand")


def test_what_is_not_named_stays(shell: Typing) -> None:
    given = (
        "--allow",
        "sms, email",
        "--hold",
        "9",
        "--expire-after",
        "30",
        "--remind-after",
        "never",
        "--remember-devices",
        "14",
        "--answer-limit",
        "50",
    )
    shell("policy", "recipients", *given, *OURS)
    shell("policy", "recipients", "--no-direct-delivery", "--subject", "hidden", *OURS)
    assert shell("policy", "show", *OURS) == (
        "allowed: sms,email\n"
        "direct delivery that a message asks for: not allowed\n"
        "recipients who lack something: held for 9 days, then reported\n"
        "inbound direct delivery: off\n"
        "conversations expire: after 30 days\n"
        "recipients are reminded: never\n"
        "devices are remembered: for 14 days\n"
        "a file in an answer: at most 50 MB\n"
        "subject of notifications: hidden\n"
    )
    shell("policy", "recipients", "--allow", "account,sms,access-code,email", "--bounce", *OURS)
    shown = shell("policy", "recipients", "--direct-delivery", "--expire-after", "never", "--subject", "generic", *OURS)
    assert shown.startswith("allowed: account,sms,access-code,email\n")
    assert "reported at once" in shown and "conversations expire: never" in shown
    assert "held for 9 days" in shell("policy", "recipients", "--hold", "9", *OURS)
    assert "devices are remembered: never\n" in shell("policy", "recipients", "--remember-devices", "never", *OURS)
    for days in ("0", "91", "-1", "x"):
        assert "days" in shell.refusal("policy", "recipients", "--remember-devices", days, *OURS)


@pytest.mark.parametrize("megabytes", ["0", "2001", "-1", "1.5", "veel", "9" * 40])
def test_what_is_no_number_of_megabytes_is_refused(shell: Typing, megabytes: str) -> None:
    assert "megabytes" in shell.refusal("policy", "recipients", "--answer-limit", megabytes, *OURS)


def test_inbound_direct_delivery_is_switched_on_with_a_sentence_of_what_it_means(shell: Typing) -> None:
    for is_first in (True, False):
        code, out, err = shell.run("policy", "recipients", "--inbound-direct-delivery", *OURS)
        assert (code, "inbound direct delivery: on" in out) == (0, True)
        told = [line for line in err.splitlines() if not line.startswith("{")]  # without the log
        assert [line.partition(":")[0] for line in told] == ["Inbound direct delivery"] * is_first
    assert "inbound direct delivery: off" in shell("policy", "recipients", "--no-inbound-direct-delivery", *OURS)


def test_domains_keep_their_level_until_another_is_named(shell: Typing) -> None:
    put = ("policy", "direct-delivery", "Bücher.example", *OURS)
    assert shell(*put) == "xn--bcher-kva.example is on the list, over at least tls1.2 certificate-validation.\n"
    assert shell(*put, "--level", "TLS1.3 dane").endswith("over at least tls1.3 dane.\n")
    assert shell(*put).endswith("over at least tls1.3 dane.\n")
    assert shell(*put, "--level", "mta-sts").endswith("over at least tls1.2 mta-sts.\n")
    assert shell(*put, "--remove") == "xn--bcher-kva.example is off the list.\n"
    assert "bcher" not in shell("policy", "show", *OURS)


def test_minimums_are_set_shown_and_taken_away_and_what_is_odd_is_told(shell: Typing) -> None:
    assert shell("policy", "minimum", "*", "access-code", *OURS) == "*: at least access-code.\n"
    code, _, err = shell.run("policy", "direct-delivery", "example.org", *OURS)
    assert (code, "A minimum holds for every domain" in err) == (0, True)
    shell("policy", "recipients", "--allow", "access-code,email", *OURS)
    code, out, err = shell.run("policy", "minimum", "example.org", "sms", *OURS)
    assert (code, out) == (0, "example.org: at least sms.\n")
    assert "example.org: No allowed method meets the minimum." in err
    assert "minimum for *: access-code\nminimum for example.org: sms\n" in shell("policy", "show", *OURS)
    assert shell("policy", "minimum", "example.org", "none", *OURS) == (
        "example.org: no minimum of its own, so access-code, as every other.\n"
    )
    assert shell("policy", "minimum", "*", "none", *OURS) == "*: no minimum of its own.\n"
    code, _, err = shell.run("policy", "recipients", "--allow", "account", *OURS)
    assert (code, "Nothing but an account is allowed." in err) == (0, True)
    shell("policy", "recipients", "--allow", "account,sms,access-code,email", *OURS)
    shell("policy", "direct-delivery", "example.org", "--remove", *OURS)


# --- verification data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "typed", "said"),
    [
        ("sms", "020 123 4567", "This is not one mobile number"),  # a landline
        ("sms", "31612345678", "This is not one mobile number"),  # two readings
        ("sms", "", "This is not one mobile number"),
        ("sms", "0612345678 0687654321", "This is not one mobile number"),
        ("access-code", "abc", "4 to 100 characters, such as four words"),
        ("access-code", "win\u200bter 2026", "characters that nobody sees"),
    ],
)
def test_a_number_or_code_that_is_none_is_refused_with_an_example_and_not_repeated(
    shell: Typing, method: str, typed: str, said: str
) -> None:
    code, out, err = shell.typed(f"{typed}\n", "recipients", "add", ADDRESS, "--method", method, *OURS)
    assert (code, out) == (78, "")
    assert said in err
    assert method != "sms" or "Write it like +31 6 12345678." in err
    assert not typed or typed not in err
    assert shell("recipients", "list", *OURS) == ""


def test_a_hint_that_tells_the_code_is_refused(shell: Typing) -> None:
    add = ("recipients", "add", ADDRESS, "--method", "access-code", "--with-hint", *OURS)
    code, out, err = shell.typed(f"{CODE}\nhet is {CODE.upper()}\n", *add)
    assert (code, out) == (78, "")
    assert "stands in the hint" in err and "winterkoning" not in (out + err).lower()
    code, out, err = shell.typed(
        f"{NUMBER}\nx\n", "recipients", "add", ADDRESS, "--method", "sms", "--with-hint", *OURS
    )
    assert (code, out) == (78, "") and "has no hint" in err


def test_no_option_takes_a_number(shell: Typing) -> None:
    code, out, err = shell.run("recipients", "add", ADDRESS, f"--sms={NUMBER}", *OURS)
    assert (code, out) == (2, "")
    assert NUMBER not in err


@pytest.mark.parametrize("command", ["correct", "remove"])
def test_what_another_organisation_knows_looks_like_what_nobody_knows(shell: Typing, others: str, command: str) -> None:
    never = str(uuid.uuid4())
    refusals = [shell.refusal("recipients", command, one, *OURS).replace(one, "ID") for one in (others, never)]
    assert refusals[0] == refusals[1]
    assert others in shell("recipients", "list", "--organisation", "Ander")
    assert others not in shell("recipients", "list", *OURS)


def test_a_number_is_added_shown_masked_corrected_and_removed(shell: Typing) -> None:
    add = ("recipients", "add", ADDRESS, "--method", "sms", *OURS)
    code, out, err = shell.typed("06 1234 5678\n", *add)
    assert code == 0, err
    identity = out.split()[0]
    assert (
        out == f"{identity}  {ADDRESS}  sms +31 6 ****5678  from administrator  for everybody  opened with: not yet\n"
    )
    code, out, err = shell.typed("+31687654321\n", *add)
    assert (code, out) == (78, "")
    assert f"zegel recipients correct {identity}" in err and "87654321" not in err
    code, out, err = shell.typed("+31687654321\n", "recipients", "correct", identity, *OURS)
    assert (code, "sms +31 6 ****4321" in out) == (0, True), err
    assert shell("recipients", "list", "--address", "ONTVANGER@example.org", *OURS) == out
    assert shell("recipients", "list", "--address", "iemand@example.org", *OURS) == ""
    assert shell("recipients", "remove", identity, *OURS) == "Removed.\n"
    assert shell("recipients", "list", *OURS) == ""


def test_of_an_access_code_nothing_is_shown_or_stored_readable(shell: Typing) -> None:
    add = ("recipients", "add", ADDRESS, "--method", "access-code", "--with-hint", *OURS)
    code, out, err = shell.typed(f"{CODE}\nvogeltje\n", *add)
    assert code == 0, err
    assert f"{ADDRESS}  access-code  from" in out
    for file in shell.config.parent.rglob("*"):
        stored = file.read_bytes() if file.is_file() else b""
        assert CODE.encode() not in stored and b"vogeltje" not in stored, file
    shell("recipients", "remove", out.split()[0], *OURS)


# --- recipients who are held -------------------------------------------------------------------------------------


@pytest.fixture
def post(transactional_db: None, tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as post:
        yield post


@pytest.fixture
def clock() -> Clock:
    """What the program itself reads; it moves on between two of them."""
    return Clock(now())


@pytest.fixture
def beside(post: Post, tmp_path: Path) -> Typing:
    """A shell on the same machine: the same keys, the same database."""
    shell, folder = Typing(tmp_path), Path(os.environ["ZEGEL_FOLDER"])
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "keys").symlink_to(folder / "keys")
    (tmp_path / "state" / "zegel.sqlite3").symlink_to(connections["default"].settings_dict["NAME"])
    return shell


def held(post: Post) -> None:
    post.mx("example.org")
    DomainMinimum.objects.create(organisation=post.ground.organisation, domain="example.org", method="sms")
    post.submit(ADDRESS)
    post.settle()
    assert post.recipient(ADDRESS).state == "held"


def test_a_number_that_is_entered_lets_a_held_recipient_go(post: Post, beside: Typing) -> None:
    held(post)
    name = post.ground.organisation.name
    code, _, err = beside.typed(NUMBER, "recipients", "add", ADDRESS, "--method", "sms", "--organisation", name)
    assert code == 0, err
    post.clock.at = now()
    post.settle()
    found = post.recipient(ADDRESS)
    assert (found.state, found.method, found.masked) == ("notified", "sms", "+31 6 ****5678")


def test_a_laxer_policy_lets_a_held_recipient_go_and_a_stricter_one_does_not(post: Post, beside: Typing) -> None:
    held(post)
    ours = ("--organisation", post.ground.organisation.name)
    beside("policy", "minimum", "example.org", "account", *ours)
    post.clock.forward(seconds=1)
    post.settle()
    assert post.recipient(ADDRESS).state == "held"
    beside("policy", "minimum", "example.org", "none", *ours)
    post.clock.at = now()
    post.settle()
    assert (post.recipient(ADDRESS).state, post.recipient(ADDRESS).method) == ("notified", "email")
