"""Accounts from the command line: inviting, suspending, roles, a leaver's successor; as the program itself does it."""

from __future__ import annotations

import pytest

from tests.cli.test_account_commands import SHOW, program
from tests.cli.test_submission_commands import ORGANISATION, Shell

PASSWORD = "een paraplu op het dak"
MAKE = """
from zegel.compose import process
process.use(None)
process.start_django()
from zegel.accounts.models import *
from zegel.accounts.sign_in import enrol_totp
SendingDomain.objects.update(in_place=True)
for account in Account.objects.exclude(is_functional=True):
    enrol_totp(account)
"""
JOBS = """
from zegel.compose import process
process.use(None)
process.start_django()
from zegel.accounts.models import *
from zegel.journey.custody.models import Job
print(Job.objects.filter(kind="mailbox").count(), MailboxProof.objects.filter(used_at=None).count(),
      " ".join(AuditEntry.objects.filter(by_kind="command-line").order_by("id").values_list("act", flat=True)), sep="|")
"""
OWNER, COLLEAGUE, LEAVER, INFO = (f"{one}@eigen.test" for one in ("baas", "collega", "weg", "info"))


@pytest.fixture
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """An organisation with an owner, two people and a functional mailbox."""
    shell = Shell(tmp_path_factory.mktemp("shell"))
    shell("organisation", "add", ORGANISATION)
    shell("domain", "add", "eigen.test", "--organisation", ORGANISATION)
    for address, more in ((OWNER, ("--role", "owner")), (COLLEAGUE, ()), (LEAVER, ())):
        shell("account", "add", address, "--organisation", ORGANISATION, "--password", PASSWORD, *more)
    shell("account", "add", INFO, "--organisation", ORGANISATION, "--functional")
    program(shell, MAKE)
    return shell


def test_what_can_not_be_is_refused_with_the_reason(shell: Shell) -> None:
    last = f"zegel: {OWNER}: it is the last owner who can sign in; make somebody else an owner first."
    assert shell.refusal("account", "role", OWNER, "sender") == last
    assert shell.refusal("account", "suspend", OWNER) == last
    assert shell.refusal("account", "successor", OWNER, COLLEAGUE) == last
    for command in (("suspend",), ("resume",), ("second-factor-reset", "--yes")):
        assert shell.refusal("account", command[0], "niemand@eigen.test", *command[1:]) == (
            "zegel: niemand@eigen.test is no account of an organisation. See: zegel account list"
        )
    assert shell.refusal("account", "invite", "een@elders.test", "--organisation", ORGANISATION) == (
        "zegel: een@elders.test: its domain is not a sending domain of the organisation with its records in place."
    )
    assert shell.refusal("account", "invite", "een@eigen.test") == (
        "zegel: een@eigen.test has no account yet. Say of which organisation it is to be: --organisation NAME"
    )
    assert shell.refusal("account", "invite", COLLEAGUE).endswith("it is in use: its holder has a second factor.")
    assert shell.refusal("account", "role", INFO, "policy").endswith("has no role but that of a sender.")
    assert shell.refusal("account", "successor", LEAVER, INFO).endswith("name a person.")
    assert shell.refusal("account", "add", "x@eigen.test", "--organisation", "x", "--functional", "--role", "owner")


def test_nothing_is_passed_on_or_reset_before_somebody_says_so(shell: Shell) -> None:
    for command in (("successor", LEAVER, COLLEAGUE), ("second-factor-reset", LEAVER)):
        code, _, _ = shell.run("account", *command)
        assert code == 1
    assert program(shell, SHOW, LEAVER) == f"{ORGANISATION}||sender|True|True|True"
    assert f"{LEAVER}  sender  in use" in shell("account", "list")


def test_somebody_is_invited_and_again(shell: Shell) -> None:
    new = "nieuw@eigen.test"
    made = shell("account", "invite", new, "--organisation", ORGANISATION, "--role", "support", "--name", "Nieuw")
    assert made == f"Invited {new}. The link in the mail holds for seven days; earlier ones don't any more.\n"
    assert program(shell, SHOW, new) == f"{ORGANISATION}|Nieuw|support|False|False|False"
    shell("account", "invite", new)
    jobs, open_ones, acts = program(shell, JOBS).split("|")
    assert (jobs, open_ones) == ("2", "1") and acts.endswith("account-added invited invited")
    assert "Withdrawn." in shell("account", "withdraw-invitation", new)
    jobs, open_ones, acts = program(shell, JOBS).split("|")
    assert open_ones == "0" and acts.endswith("invited invited invitation-withdrawn")
    assert "is open" in shell.refusal("account", "withdraw-invitation", new)
    assert f"{new}  support  no second factor  signed in never  {ORGANISATION}" in shell("account", "list")


def test_a_role_is_given_and_an_account_suspended_and_resumed(shell: Shell) -> None:
    assert shell("account", "role", COLLEAGUE, "owner") == f"{COLLEAGUE} is owner from now on.\n"
    assert shell("account", "role", OWNER, "sender") == f"{OWNER} is sender from now on.\n"
    assert shell("account", "suspend", OWNER) == f"Suspended {OWNER}.\n"
    assert shell("account", "suspend", OWNER) == f"{OWNER} was suspended already.\n"
    assert f"{OWNER}  sender  suspended" in shell("account", "list", "--organisation", ORGANISATION, "--role", "sender")
    assert shell("account", "resume", OWNER) == f"Resumed {OWNER}.\n"


def test_a_leavers_mailbox_passes_on(shell: Shell) -> None:
    shell("account", "readers", "add", INFO, LEAVER)
    assert shell("account", "successor", LEAVER, COLLEAGUE, "--yes") == (
        f"Passed on: {COLLEAGUE} reads the mailbox of {LEAVER}, which is suspended.\n"
    )
    assert COLLEAGUE in shell("account", "readers", "list", LEAVER)
    assert shell("account", "readers", "list", INFO) == "Nobody but its own account.\n"


def test_who_lost_everything_is_reset(shell: Shell) -> None:
    assert "An invitation is on its way" in shell("account", "second-factor-reset", LEAVER, "--yes")
    assert program(shell, SHOW, LEAVER) == f"{ORGANISATION}||sender|False|False|False"
    assert "new password" in shell("account", "second-factor-reset", COLLEAGUE, "--password", PASSWORD, "--yes")
    assert program(shell, SHOW, COLLEAGUE) == f"{ORGANISATION}||sender|True|True|False"
    assert shell.refusal("account", "second-factor-reset", LEAVER, "--password", "kort", "--yes").startswith(
        "zegel: This password is not accepted"
    )
