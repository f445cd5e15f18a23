"""DSN parameters as they are sent: one line whatever a sender gave, and read back as what they stand for."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zegel.core.mail.address import Mailbox, NotAMailbox
from zegel.core.smtp import dsn
from zegel.core.smtp.dsn import Asked
from zegel.core.smtp.lines import (
    MAX_ENVELOPE_COMMAND,
    MAX_ORCPT,
    OriginalRecipient,
    RcptParameters,
    parse_mail_parameters,
    parse_rcpt_parameters,
    split_path,
)

READER: Final = Mailbox.parse("lezer@veilig.test")
INTERNATIONAL: Final = Mailbox.parse("jörg@veilig.test")


def read(asked: Asked, recipient: Mailbox = READER) -> RcptParameters:
    """As a server does that knows nothing of SMTPUTF8."""
    words = dsn.rcpt(asked, recipient)
    assert words.startswith(" ")
    assert words.isascii()
    assert words.isprintable()
    return parse_rcpt_parameters(words.strip(), smtputf8=False)


# --- what can't be passed on --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        "rfc822",
        "rfc822;",
        ";lezer@veilig.test",
        "rfc822 NOTIFY=NEVER;a",
        "rfc\r\nDATA\r\n;a",
        "utf-8\n;a",
        "a=b;c",
        "a+2B;c",
        "é;c",
        "rfc822;é@veilig.test",  # has no place in xtext, and is no UTF-8 address by its type
        "rfc822;a\r\nDATA\r\n",
        "rfc822;a\0b",
        "rfc822;a\x7fb",
        "utf-8;a\u2028b",
        "utf-8;a\u202eb",
        "utf-8;a\ud800b",
        f"rfc822;{'x' * (MAX_ORCPT - 6)}",
        f"rfc822;{'+' * (MAX_ORCPT // 3)}",
        f"utf-8;{'é' * (MAX_ORCPT // 6)}",
    ],
)
def test_an_original_recipient_that_could_not_be_read_as_what_it_is_stays_here(given: str) -> None:
    assert dsn.original_recipient(Asked(given), READER) is None
    assert read(Asked(given)) == RcptParameters(frozenset({"FAILURE"}), None)


# --- what is passed on --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("rfc822;Lezer+Info@Veilig.Test", "rfc822;Lezer+2BInfo@Veilig.Test"),
        ("Rfc822;a=b@veilig.test", "Rfc822;a+3Db@veilig.test"),
        ('rfc822;"een twee"@veilig.test', 'rfc822;"een+20twee"@veilig.test'),
        ("x400;/G=Jan/S=Post Kantoor;/", "x400;/G+3DJan/S+3DPost+20Kantoor;/"),
        ("utf-8;jörg@veilig.test", r"utf-8;j\x{F6}rg@veilig.test"),
        ("UTF-8;a+b=c\\d 😀", r"UTF-8;a\x{2B}b\x{3D}c\x{5C}d\x{20}\x{1F600}"),
        (f"rfc822;{'x' * (MAX_ORCPT - 7)}", f"rfc822;{'x' * (MAX_ORCPT - 7)}"),
    ],
)
def test_the_senders_original_recipient_goes_on_letter_for_letter(given: str, sent: str) -> None:
    assert dsn.original_recipient(Asked(given), READER) == sent
    kind, _, address = given.partition(";")
    assert read(Asked(given)).orcpt == OriginalRecipient(kind, address)


def test_without_one_it_is_the_address_as_it_was_submitted() -> None:
    assert dsn.rcpt(Asked(), READER) == " NOTIFY=FAILURE ORCPT=rfc822;lezer@veilig.test"
    assert dsn.rcpt(Asked(), INTERNATIONAL) == r" NOTIFY=FAILURE ORCPT=utf-8;j\x{F6}rg@veilig.test"
    quoted = Mailbox.parse('"een twee+drie"@veilig.test')
    assert read(Asked(), quoted).orcpt == OriginalRecipient("rfc822", '"een twee+drie"@veilig.test')


@pytest.mark.parametrize("success", [False, True])
@pytest.mark.parametrize("delay", [False, True])
def test_failure_is_always_asked_and_the_rest_where_it_is_wanted(*, success: bool, delay: bool) -> None:
    asked = Asked(success=success, delay=delay)
    wanted = {"FAILURE"} | ({"SUCCESS"} if success else set()) | ({"DELAY"} if delay else set())
    assert read(asked).notify == wanted
    assert len(dsn.rcpt(asked, READER).split()[0].removeprefix("NOTIFY=")) <= 28  # RFC 3461 §5.4 b


def test_of_the_message_its_header_section_alone_is_asked_for_and_it_has_no_name() -> None:
    found = parse_mail_parameters(dsn.MAIL.strip(), {"RET", "ENVID"})
    assert (found.ret, found.envid) == ("HDRS", None)


# --- whatever it is -----------------------------------------------------------------------------------------------

anything: Final = st.one_of(
    st.text(max_size=60),
    st.builds(
        "{};{}".format,
        st.sampled_from(["rfc822", "utf-8", "UTF-8", "x400"]),
        st.text(st.characters(max_codepoint=0x2FFF), max_size=90),
    ),
)
mailboxes: Final = st.one_of(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30),
    st.text(min_size=1, max_size=15),
)


@given(anything, mailboxes, st.booleans(), st.booleans())
@example("rfc822;a\r\nRCPT TO:<b@c.test>", "a", True, True)
@example("", 'a"b', True, False)
def test_what_is_sent_is_one_command_and_parses_back(given: str, local: str, success: bool, delay: bool) -> None:
    escaped = local.replace("\\", "\\\\").replace('"', '\\"')
    try:
        recipient = Mailbox.parse(split_path(f'TO:<"{escaped}"@veilig.test>', "TO:")[0])
    except NotAMailbox:  # nor would it be taken at submission
        recipient = READER
    asked = Asked(given, success=success, delay=delay)
    words = dsn.rcpt(asked, recipient)
    assert not set(words) & {"\r", "\n", "\0"}
    command = f"RCPT TO:<{recipient}>{words}\r\n"
    assert len(command.encode()) <= MAX_ENVELOPE_COMMAND
    path, text = split_path(command.removeprefix("RCPT ").removesuffix("\r\n"), "TO:")
    found = parse_rcpt_parameters(text, smtputf8=False)
    assert Mailbox.parse(path) == recipient
    assert ("SUCCESS" in found.notify, "DELAY" in found.notify) == (success, delay)
    original = given or f"{'utf-8' if recipient.needs_smtputf8 else 'rfc822'};{recipient}"
    assert found.orcpt is None or ";".join(found.orcpt) == original


printable: Final = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=150)


@given(st.sampled_from(["rfc822", "x400", "utf-8"]), printable)
def test_all_that_a_sender_may_give_is_passed_on(kind: str, address: str) -> None:
    assert read(Asked(f"{kind};{address}")).orcpt == OriginalRecipient(kind, address)
