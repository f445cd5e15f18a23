"""What a sender hears: reports to the reverse-path, notices to the author, and nothing that belongs to others."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

import pytest
from django.db import connection

from tests.journey.delivery_ground import (
    PHONE,
    PROVEN_FIELD,
    SENDER,
    SENTENCE,
    SUBJECT,
    Post,
    a_post,
    dkimpy,
    everything_in,
    holds_a_link,
    link_in,
    parsed,
    status_of,
    words,
)
from tests.journey.delivery_peers import Taken
from tests.journey.portal_ground import Clock
from tests.needs import needs
from zegel.core.mail.address import Domain
from zegel.journey.custody.models import Job, Recipient, Transmission
from zegel.journey.portal import codes

pytestmark = pytest.mark.django_db(transaction=True)

READER: Final = "lezer@veilig.test"
GUEST: Final = "gast@open.test"
BLIND: Final = "directie@open.test"
NOBODY: Final = "iemand@bestaat-niet.test"
CODE: Final = "Toegang-9f1c"


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        yield found


# --- reports: to whom ---------------------------------------------------------------------------------------------


def test_a_null_reverse_path_gets_no_report(post: Post) -> None:
    post.submit(NOBODY, reverse_path="")
    post.until_nothing_waits()
    assert post.recipient(NOBODY).state == "undeliverable"
    assert post.home.heard == []
    assert Transmission.objects.filter(kind="report").count() == 0


@pytest.mark.parametrize("notify", ["NEVER", "SUCCESS", "DELAY", "SUCCESS,DELAY"])
def test_who_did_not_ask_for_failures_hears_of_none(post: Post, notify: str) -> None:
    post.submit(NOBODY, notify=notify)
    post.until_nothing_waits()
    assert post.recipient(NOBODY).state == "undeliverable"
    assert post.home.heard == []


@pytest.mark.parametrize("notify", ["", "FAILURE", "SUCCESS,FAILURE"])
def test_who_asked_for_failures_or_for_nothing_hears_of_them(post: Post, notify: str) -> None:
    post.submit(NOBODY, notify=notify)
    post.until_nothing_waits()
    assert len(post.reports()) == 1


def test_a_report_goes_to_the_reverse_path_and_not_to_the_author(post: Post) -> None:
    elsewhere = post.mx("terug.test")
    post.submit(NOBODY, reverse_path="bounces+17@terug.test")
    post.until_nothing_waits()
    assert post.home.taken == []
    (taken,) = elsewhere.taken
    assert taken.rcpt == "TO:<bounces+17@terug.test>"
    assert taken.mail.startswith("FROM:<>")


def test_a_report_that_cannot_be_delivered_is_not_reported(post: Post) -> None:
    post.home.answers["RCPT"] = b"550 5.1.1 nobody\r\n"
    post.submit(NOBODY)
    post.until_nothing_waits()
    (report,) = post.transmissions("report")
    assert report.state == "failed"
    assert report.sealed is None
    assert not Job.objects.exists()


def test_each_failed_recipient_is_reported_once(post: Post) -> None:
    post.mx("open.test", answers={"RCPT": b"550 5.1.1 nobody\r\n"})
    post.submit(GUEST, "ander@open.test", NOBODY)
    post.until_nothing_waits()
    named = sorted(
        address for one in post.reports() for address in (GUEST, "ander@open.test", NOBODY) if address in status_of(one)
    )
    assert named == sorted([GUEST, "ander@open.test", NOBODY])


# --- reports: of what ---------------------------------------------------------------------------------------------


def part_of(report: EmailMessage, kind: str) -> str:
    (part,) = (one for one in report.walk() if one.get_content_type() == kind)
    return everything_in(part)


def a_report(post: Post, **more: Any) -> EmailMessage:
    """About a message with everything in it that must not come back."""
    post.mx("open.test", answers={"RCPT": b"550 5.1.1 no such mailbox here\r\n"})
    post.proven()
    fields = [
        ("zivver-access-right", f"{GUEST} sms {PHONE}"),
        ("Zivver-Access-Right", f"{READER} sharedAccessCode {CODE}"),
        ("ZIVVER-MESSAGE-EXPIRATION", "delete P30D"),
        ("Bcc", BLIND),
        ("Resent-Bcc", BLIND),
        ("Reply-To", "post@voorbeeld.test"),
    ]
    post.submit(GUEST, READER, BLIND, to=[GUEST, READER], fields=fields, **more)
    post.until_nothing_waits()
    return next(one for one in post.reports() if GUEST in status_of(one))


def test_a_report_holds_header_fields_only_and_none_that_were_removed(post: Post) -> None:
    report = a_report(post)
    shown = everything_in(report)
    for hidden in (SENTENCE, PHONE, PHONE[1:], "5678", CODE, BLIND, "directie", "zivver", "zegel-direct", "P30D"):
        assert hidden.lower() not in shown.lower(), hidden
    header = part_of(report, "text/rfc822-headers")
    assert SUBJECT in header  # the sender's own, to know which message it was
    assert "Message-ID: <eerste@voorbeeld.test>" in header
    assert "Reply-To: post@voorbeeld.test" in header
    assert SUBJECT not in str(report["Subject"])
    assert SUBJECT not in words(report)


def test_a_report_about_a_blind_recipient_names_nobody_else_who_is_hidden(post: Post) -> None:
    a_report(post)
    about = next(one for one in post.reports() if BLIND in status_of(one))
    assert GUEST not in status_of(about)
    assert PHONE not in everything_in(about)


def test_a_report_says_what_programs_need(post: Post) -> None:
    report = a_report(post, envelope_id="QQ314159", original="rfc822;Gast+20open@open.test")
    fields = status_of(report)
    assert "Original-Envelope-Id: QQ314159" in fields
    assert "Reporting-MTA: dns; zegel.test" in fields
    assert "Arrival-Date: Mon, 23 Nov 2026 12:00:00 +0000" in fields
    assert f"Final-Recipient: rfc822; {GUEST}" in fields
    assert "Action: failed" in fields
    assert "Status: 5.1.1" in fields
    assert "Remote-MTA: dns; mx.open.test" in fields
    assert "Diagnostic-Code: smtp; 550 5.1.1 no such mailbox here" in fields
    assert "Last-Attempt-Date: " in fields
    assert "Will-Retry-Until" not in fields
    assert report["Auto-Submitted"] == "auto-replied"
    assert report["From"] == "Zegel <zegel@voorbeeld.test>"
    assert str(report["Message-ID"]).endswith("@voorbeeld.test>")


def test_a_report_says_what_people_need_in_both_languages(post: Post) -> None:
    text = words(a_report(post))
    assert GUEST in text
    assert "Controleer het adres" in text
    assert "Check the address" in text


def test_a_report_about_a_decision_has_no_server_and_no_attempt(post: Post) -> None:
    post.ground.organisation.allowed_methods = ["account", "sms"]
    post.ground.organisation.holds = False
    post.ground.organisation.save()
    server = post.mx("open.test")
    post.submit(GUEST)
    post.until_nothing_waits()
    fields = status_of(post.reports()[0])
    assert "Status: 5.7.1" in fields
    assert "Remote-MTA" not in fields
    assert "Diagnostic-Code" not in fields
    assert "Last-Attempt-Date" not in fields
    assert server.heard == []


def test_no_report_and_no_notice_holds_a_link_that_opens_a_message(post: Post) -> None:
    tokens: list[str] = []

    def refuse(taken: Taken) -> None:
        tokens.append(link_in(taken.content))

    post.mx("open.test", at_end=refuse, answers={"END": b"554 5.7.1 no\r\n"})
    post.submit(GUEST, fields=[("zivver-access-right", f"{NOBODY} sms {PHONE}")])
    post.until_nothing_waits()
    post.later(minutes=11)
    assert (len(post.reports()), len(post.notices())) == (1, 1)
    for mail in post.heard():
        assert not holds_a_link(everything_in(mail)) and "/m/" not in words(mail)
        assert tokens[0] not in everything_in(mail)


# --- notices ------------------------------------------------------------------------------------------------------


def test_a_named_address_that_is_no_recipient_is_told_to_the_author_once_and_not_at_once(post: Post) -> None:
    post.mx("open.test")
    post.submit(GUEST, fields=[("zivver-access-right", f"ander@open.test sms {PHONE}")])
    post.later(minutes=9)
    assert post.notices() == []
    post.later(minutes=2)
    (notice,) = post.notices()
    assert "ander@open.test" in words(notice)
    assert notice["To"] == SENDER
    assert notice["Auto-Submitted"] == "auto-generated"
    shown = everything_in(notice)
    for hidden in (PHONE, PHONE[1:], SUBJECT, SENTENCE):
        assert hidden not in shown
    (taken,) = post.home.taken
    assert taken.mail.startswith("FROM:<>")
    post.later(days=2)
    assert len(post.notices()) == 1


def test_the_author_is_told_and_not_the_reverse_path(post: Post) -> None:
    elsewhere = post.mx("terug.test")
    post.mx("open.test")
    post.submit(GUEST, fields=[("zivver-direct-delivery", "?")], reverse_path="bounces@terug.test")
    post.later(minutes=11)
    assert len(post.notices()) == 1
    assert all(parsed(one).get_content_type() == "multipart/report" for one in elsewhere.messages())


def test_a_message_in_two_transactions_is_warned_about_once(post: Post) -> None:
    """Each half brings the same fields; *warned* always means one mail to the author."""
    post.mx("open.test")
    fields = [("zivver-access-right", f"{NOBODY} sms {PHONE}"), ("zivver-minimum-recipient-verification", "x")]
    to = [GUEST, "ander@open.test"]
    post.submit(GUEST, to=to, fields=fields)
    post.clock.forward(minutes=3)
    post.submit("ander@open.test", to=to, fields=fields)
    post.until_nothing_waits()
    (notice,) = post.notices()
    assert NOBODY in words(notice)
    assert "minimum-recipient-verification" in words(notice)


def test_a_split_that_names_recipients_of_its_other_half_is_warned_about_never(post: Post) -> None:
    post.mx("open.test")
    to = [GUEST, "ander@open.test"]
    fields = [("zivver-access-right", f"{one} sms {PHONE}") for one in to]
    post.submit(GUEST, to=to, fields=fields)
    post.clock.forward(minutes=3)
    post.submit("ander@open.test", to=to, fields=fields)
    post.until_nothing_waits()
    assert post.notices() == []
    assert {one.method for one in Recipient.objects.all()} == {"sms"}


def test_two_messages_are_warned_about_twice(post: Post) -> None:
    post.mx("open.test")
    for number in range(2):
        post.submit(GUEST, fields=[("zivver-direct-delivery", "?")], message_id=f"<{number}@voorbeeld.test>")
    post.until_nothing_waits()
    assert len(post.notices()) == 2


def test_a_message_without_oddities_is_not_warned_about(post: Post) -> None:
    post.mx("open.test")
    post.submit(GUEST, fields=[("zivver-access-right", f"{GUEST} sms {PHONE}"), PROVEN_FIELD])
    post.until_nothing_waits()
    assert post.heard() == []


# --- genuine ------------------------------------------------------------------------------------------------------


def test_every_kind_of_mail_is_signed_for_the_domain_that_it_is_from(post: Post) -> None:
    """P24, by another implementation, with the record that the domain's owner was told to publish."""
    needs("python3-dkim")
    post.list_domain("veilig.test")
    reader, guest = post.proven(), post.mx("open.test")
    post.submit(
        READER,
        GUEST,
        NOBODY,
        fields=[("zivver-access-right", f"ander@open.test sms {PHONE}")],
        text=". één\n\n.\n..x  y ",
    )
    post.until_nothing_waits()
    row = Recipient.objects.select_related("conversation__organisation", "conversation__author").get(address=GUEST)
    assert codes.send(row, b"b" * 32, "nl") is None
    post.settle()
    mails = {
        "readable": reader.messages()[0],
        "notification": guest.messages()[0],
        "code": guest.messages()[1],
        "report": next(one for one in post.home.messages() if b"multipart/report" in one),
        "notice": next(one for one in post.home.messages() if b"multipart/report" not in one),
    }
    records = {f"{post.domain.dkim_selector}._domainkey.{post.domain.name}": post.domain.dkim_record}
    assert dkimpy(list(mails.values()), records) == [[True, "voorbeeld.test"]] * len(mails)
    for kind, octets in mails.items():
        message = parsed(octets)
        domain = str(message["From"]).rpartition("@")[2].rstrip(">")
        assert Domain.parse(domain) == Domain(post.domain.name), kind
        signature = "".join(str(message["DKIM-Signature"]).split())
        assert signature.lower().count("from:") == 2, kind  # oversigned: none can be added
        assert "l=" not in signature.split("b=")[0].replace("bh=", "")
    added = [one.replace(b"\r\nSubject:", b"\r\nFrom: x@voorbeeld.test\r\nSubject:", 1) for one in mails.values()]
    assert [valid for valid, _ in dkimpy(added, records)] == [False] * len(mails)


def test_the_readable_message_is_what_was_submitted_below_the_trace(post: Post) -> None:
    post.list_domain("veilig.test")
    server = post.proven()
    text = "Regel\n.punt\n\n  spaties  \n" + "x" * 60
    post.submit(READER, fields=[("zivver-message-expiration", "delete P30D")], text=text)
    post.settle()
    content = server.messages()[0]
    message = parsed(content)
    assert message.get_content().replace("\r\n", "\n").startswith(text)
    names = [name.lower() for name in message]
    assert names[0] == "dkim-signature"
    assert not any(name.startswith(("zivver", "zegel-", "bcc")) for name in names)
    assert str(message["Subject"]) == SUBJECT
    assert server.taken[0].mail.startswith("FROM:<bounce+")
    assert "@zegel-bounce.voorbeeld.test>" in server.taken[0].mail


def test_a_domain_that_is_not_ours_is_never_signed_for(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_sendingdomain SET name = 'ander.test'")
    post.settle()
    assert b"DKIM-Signature" not in server.messages()[0]
