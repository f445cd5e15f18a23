"""Bounces that come home: reports of several makers, machines that answer, and what strangers make up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.mail.bounce import (
    LONGEST_DIAGNOSTIC,
    Arrived,
    AutoReply,
    Bounced,
    Delayed,
    Failed,
    Success,
    Unclear,
    read_bounce,
    status_within,
    success_of,
    with_status,
)


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


def report(*groups: str, kind: str = "message/delivery-status", header: str = "", encoding: str = "7bit") -> bytes:
    """As RFC 3464 has it: words for people, fields for programs, the header of what it is about."""
    fields = "\n".join(f"{group.strip()}\n" for group in ("Reporting-MTA: dns; mx.example.org", *groups))
    return crlf(
        f"""From: MAILER-DAEMON@mx.example.org
To: bounce+1@zegel-bounce.voorbeeld.test
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
{header}MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="edge"

--edge
Content-Type: text/plain

I'm sorry.

--edge
Content-Type: {kind}
Content-Transfer-Encoding: {encoding}

{fields}
--edge
Content-Type: message/rfc822-headers

Subject: secret

--edge--
"""
    )


FAILED = """Final-Recipient: rfc822; lezer@example.org
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.example.org
Diagnostic-Code: smtp; 550 5.1.1 <lezer@example.org>: no such
 user here"""
DELAYED = "Final-Recipient: rfc822; lezer@example.org\nAction: delayed\nStatus: 4.4.1\nWill-Retry-Until: tomorrow"
RELAYED = "Final-Recipient: rfc822; lezer@example.org\nAction: relayed\nStatus: 2.1.9"
ALIASED = """Original-Recipient: rfc822;Lezer+Info@Example.ORG
Final-Recipient: rfc822; <ander@elders.test>
Action: delivered
Status: 2.0.0"""
READER = frozenset({"lezer@example.org"})
OTHERS = frozenset({"lezer+info@example.org", "ander@elders.test"})
NO_SUCH_USER = Failed("5.1.1", "550 5.1.1 <lezer@example.org>: no such user here", "mx.example.org")


def arrived(*said: Success) -> Arrived:
    return Arrived(said, "mx.example.org")


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([FAILED], NO_SUCH_USER),
        ([FAILED.replace("failed", "FAILED").replace("Action", "ACTION")], NO_SUCH_USER),
        ([RELAYED, DELAYED, FAILED], NO_SUCH_USER),
        ([DELAYED, RELAYED], Delayed("4.4.1", "", "")),
        ([RELAYED], arrived(Success("relayed", "2.1.9", READER))),
        (["Action: expanded\nStatus: 2.0.0"], arrived(Success("expanded", "2.0.0"))),
        (["Action: Delivered\nStatus: 5.1.1"], arrived(Success("delivered", "2.0.0"))),
        (["Action: delivered\nStatus: 2.1.5 (fine)"], arrived(Success("delivered", "2.1.5"))),
        ([ALIASED, RELAYED], arrived(Success("delivered", "2.0.0", OTHERS), Success("relayed", "2.1.9", READER))),
        (["Action: failed"], Failed("5.0.0", "", "")),
        (["Action: failed\nStatus: 2.0.0"], Failed("5.0.0", "", "")),
        (["Action: failed\nStatus: 4.4.7 (expired)"], Failed("4.4.7", "", "")),
        (["Action: failed\nStatus: <script>"], Failed("5.0.0", "", "")),
        (["Action: delayed\nStatus: 5.0.0"], Delayed("4.0.0", "", "")),
        (["Action: failed\nDiagnostic-Code: no type before it"], Failed("5.0.0", "no type before it", "")),
        (["Action: failed\nDiagnostic-Code: smtp;\t550 a\x1b[2Jb"], Failed("5.0.0", "550 a [2Jb", "")),
    ],
)
@pytest.mark.parametrize("is_null", [True, False])
def test_a_report_is_read(groups: list[str], expected: Bounced, is_null: bool) -> None:
    assert read_bounce(report(*groups), is_null_reverse_path=is_null) == expected
    assert read_bounce(report(*groups, kind="message/global-delivery-status"), is_null_reverse_path=is_null) == expected


@pytest.mark.parametrize(
    "names",
    [[], ["wie@example.org"], ["lezer"], ["example.org"], ["lezer@example.orgx"], ["rfc822; lezer@example.org"]],
)
def test_the_success_of_somebody_else_is_nobodys(names: list[str]) -> None:
    assert success_of(arrived(Success("delivered", "2.0.0", READER), Success("relayed", "2.0.0")), names) is None
    assert success_of(Arrived(), names) is None


def test_of_several_successes_of_one_recipient_the_least_counts() -> None:
    relayed, delivered = Success("relayed", "2.1.9", READER), Success("delivered", "2.0.0", OTHERS)
    expanded = Success("expanded", "2.0.0", READER)
    found = arrived(expanded, delivered, relayed)
    assert success_of(found, ["LEZER@example.org", "lezer+info@example.org"]) == relayed
    assert success_of(found, ["lezer+info@Example.org"]) == delivered
    assert success_of(arrived(expanded), READER) == expanded


def test_a_report_that_begins_with_an_empty_line_says_who_reports() -> None:
    octets = report(RELAYED).replace(b"Reporting-MTA", b"\r\nReporting-MTA")
    assert read_bounce(octets, is_null_reverse_path=True) == arrived(Success("relayed", "2.1.9", READER))


@pytest.mark.parametrize(
    ("status", "words", "kept"),
    [
        ("4.3.2", "451 4.3.2 come back later", "451 4.3.2 come back later"),
        ("4.4.1", "connect to mx[192.0.2.1]: timed out", "4.4.1 connect to mx[192.0.2.1]: timed out"),
        ("4.4.1", "", "4.4.1"),
        ("4.4.1", "451 4.3.2 no", "4.4.1 451 4.3.2 no"),
    ],
)
def test_the_status_of_a_delay_is_kept_with_its_words(status: str, words: str, kept: str) -> None:
    assert with_status(status, words) == kept
    assert status_within(kept) == status


@pytest.mark.parametrize("words", ["", "451 greylisted", "550 5.1.1 no", "connect to 4.3.2.1 4.4.1", "4.4.1: slow"])
def test_words_without_the_status_of_a_delay_have_none(words: str) -> None:
    assert status_within(words) is None


def test_no_diagnostic_is_longer_than_a_line() -> None:
    found = read_bounce(report(f"Action: failed\nDiagnostic-Code: smtp; {'x' * 5000}"), is_null_reverse_path=True)
    assert isinstance(found, Failed)
    assert len(found.diagnostic) == LONGEST_DIAGNOSTIC


@pytest.mark.parametrize("action", ["", "failed?", "broken", "nothing"])
def test_an_action_that_is_none_says_nothing(action: str) -> None:
    assert read_bounce(report(f"Action: {action}\nStatus: 5.1.1"), is_null_reverse_path=True) == Unclear()


def test_a_report_that_somebody_forwards_is_not_theirs() -> None:
    inner = report(FAILED).decode()
    wrapped = crlf("From: a@example.org\nContent-Type: multipart/mixed; boundary=outer\n\n--outer\n").decode()
    wrapped += f"Content-Type: message/rfc822\r\n\r\n{inner}\r\n--outer--\r\n"
    assert read_bounce(wrapped.encode(), is_null_reverse_path=True) == Unclear()
    nested = report(FAILED).replace(b'boundary="edge"', b'boundary="outer"')
    nested = nested.replace(
        b"\r\n\r\n--edge", b"\r\n\r\n--outer\r\nContent-Type: multipart/report; boundary=edge\r\n\r\n--edge", 1
    )
    assert read_bounce(nested, is_null_reverse_path=True) == Unclear()


@pytest.mark.parametrize(
    "header",
    [
        "Auto-Submitted: auto-replied",
        "Auto-Submitted: auto-replied (vacation); owner-email=a@example.org",
        "X-Autoreply: yes",
        "Precedence: auto_reply",
        "auto-submitted:\n AUTO-REPLIED",
    ],
)
@pytest.mark.parametrize("is_null", [True, False])
def test_out_of_the_office_is_no_bounce(header: str, is_null: bool) -> None:
    mail = crlf(f"From: lezer@example.org\nSubject: Failure notice: afwezig\n{header}\n\nDelivery failed, 5.1.1\n")
    assert read_bounce(mail, is_null_reverse_path=is_null) == AutoReply()


@pytest.mark.parametrize("header", ["Subject: Re: hallo", "X-Failed-Recipients: lezer@example.org"])
def test_a_person_who_writes_there_bounces_nothing(header: str) -> None:
    mail = crlf(f"From: lezer@example.org\n{header}\n\nHi. This is the qmail-send program\n\n<a@b>:\n#5.1.1\n")
    assert read_bounce(mail, is_null_reverse_path=False) == Unclear()


def test_exim_without_a_report() -> None:
    mail = crlf(
        "From: Mailer-Daemon@example.org\nX-Failed-Recipients: lezer@example.org\nAuto-Submitted: auto-replied\n"
        "\nA message\n"
    )
    assert read_bounce(mail, is_null_reverse_path=True) == Failed("5.0.0", "", "")


def test_qmail() -> None:
    mail = crlf(
        "From: MAILER-DAEMON@example.org\n\n"
        "Hi. This is the qmail-send program at example.org.\nI'm afraid I wasn't able to deliver your message.\n\n"
        "<lezer@example.org>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n"
        "--- Below this line is a copy of the message.\n\nReceived: secret\n"
    )
    assert read_bounce(mail, is_null_reverse_path=True) == Failed(
        "5.1.1", "Sorry, no mailbox here by that name. (#5.1.1)", ""
    )


@pytest.mark.parametrize(
    "octets", [b"", b"\r\n", b"\r\n\r\n", b"no field", b"A: b", b"\0", b"A: b\nC: d\n\n", b"\xff" * 9]
)
def test_what_is_no_mail_is_unclear(octets: bytes) -> None:
    assert read_bounce(octets, is_null_reverse_path=True) == Unclear()


@given(st.binary(max_size=400), st.integers(0, 900), st.booleans())
def test_nothing_raises(octets: bytes, at: int, is_null: bool) -> None:
    for mail in (octets, report(FAILED)[:at] + octets + report(FAILED)[at:], report(FAILED)[:at]):
        read_bounce(mail, is_null_reverse_path=is_null)
