"""Who reads a functional mailbox, from the command line, as the program itself does it."""

from __future__ import annotations

import pytest

from tests.cli.test_submission_commands import ORGANISATION, Shell

MAILBOX, READER, OUTSIDER = "info@voorbeeld.test", "lezer@voorbeeld.test", "buiten@ander.test"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    shell = Shell(tmp_path_factory.mktemp("shell"))
    for name in (ORGANISATION, "Ander"):
        shell("organisation", "add", name)
    for address, name in ((MAILBOX, ORGANISATION), (READER, ORGANISATION), (OUTSIDER, "Ander")):
        shell("account", "add", address, "--organisation", name, "--password", "-")
    return shell


def test_what_can_not_be_is_refused_with_the_reason(shell: Shell) -> None:
    assert shell.refusal("account", "readers", "add", MAILBOX, "niemand@voorbeeld.test") == (
        "zegel: niemand@voorbeeld.test has no account. "
        "Add it with: zegel account add niemand@voorbeeld.test --organisation NAME"
    )
    assert shell.refusal("account", "readers", "add", MAILBOX, OUTSIDER) == (
        f"zegel: {MAILBOX} and {OUTSIDER} are not of the same organisation."
    )
    assert shell.refusal("account", "readers", "remove", MAILBOX, READER) == (
        f"zegel: {READER} does not read {MAILBOX}. See: zegel account readers list {MAILBOX}"
    )


def test_a_reader_is_added_listed_and_removed(shell: Shell) -> None:
    assert shell("account", "readers", "list", MAILBOX) == "Nobody but its own account.\n"
    assert shell("account", "readers", "add", MAILBOX, READER) == f"{READER} reads {MAILBOX} from now on.\n"
    assert shell("account", "readers", "list", MAILBOX) == f"{READER}  (no second factor yet)\n"
    assert shell("account", "readers", "remove", MAILBOX, READER) == f"{READER} no longer reads {MAILBOX}.\n"
    assert shell("account", "readers", "list", MAILBOX) == "Nobody but its own account.\n"
