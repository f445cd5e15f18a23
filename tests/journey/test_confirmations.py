"""Reports of success and of delay that come home about a readable message: forged, repeated, about somebody else, in
Postfix's own words; what the sender hears of them, and that nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

import pytest

from tests.core.test_bounce import crlf
from tests.journey.delivery_ground import PROVEN_FIELD, SENTENCE, status_of, words
from tests.journey.delivery_peers import EXTENSIONS, ScriptedMx
from tests.journey.inbound_ground import GUEST, Home, a_home
from tests.journey.portal_ground import Clock
from zegel.core.mail.address import Mailbox
from zegel.journey.custody import forgetting
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import Attempt, Confirmation, Conversation, Recipient, Submission, Transmission
from zegel.journey.portal.states import full_lines
from zegel.journey.tracing import trace_json

pytestmark = pytest.mark.django_db(transaction=True)

READER: Final = "lezer@veilig.test"
DSN: Final = (*EXTENSIONS, "DSN")
RETURN_PATH: Final = "bounce+1@zegel-bounce.voorbeeld.test"


def by_postfix(
    *,
    action: str = "delivered",
    status: str = "2.0.0",
    final: str = READER,
    original: str = f"rfc822;{READER}",
    diagnostic: str = "X-Postfix; delivery via virtual: delivered to maildir",
    mta: str = "mx.veilig.test",
    groups: str = "",
    sender_field: str = "Mail Delivery System <MAILER-DAEMON@mx.veilig.test>",
) -> bytes:
    """As Postfix 3.7 (Debian 12) writes it, octet for octet but for names and times."""
    known_as = f"Original-Recipient: {original}\n" if original else ""
    return crlf(
        f"""Received: by {mta} (Postfix)
	id BD79C288187; Mon, 23 Nov 2026 12:00:01 +0000 (UTC)
Date: Mon, 23 Nov 2026 12:00:01 +0000 (UTC)
From: {sender_field}
Subject: Successful Mail Delivery Report
To: {RETURN_PATH}
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
	boundary="B3BC72881BD.1795742594/mx.veilig.test"
Content-Transfer-Encoding: 8bit
Message-Id: <20261123120001.BD79C288187@mx.veilig.test>

This is a MIME-encapsulated message.

--B3BC72881BD.1795742594/mx.veilig.test
Content-Description: Notification
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

This is the mail system at host mx.veilig.test.

Your message was successfully delivered to the destination(s)
listed below. If the message was delivered to mailbox you will
receive no further notifications. Otherwise you may still receive
notifications of mail delivery errors from other systems.

                   The mail system

<{final}>: delivery via virtual: delivered to maildir

--B3BC72881BD.1795742594/mx.veilig.test
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; {mta}
X-Postfix-Queue-ID: B3BC72881BD
X-Postfix-Sender: rfc822; {RETURN_PATH}
Arrival-Date: Mon, 23 Nov 2026 12:00:00 +0000 (UTC)

{groups}Final-Recipient: rfc822; {final}
{known_as}Action: {action}
Status: {status}
Diagnostic-Code: {diagnostic}

--B3BC72881BD.1795742594/mx.veilig.test
Content-Description: Message Headers
Content-Type: text/rfc822-headers
Content-Transfer-Encoding: 8bit

Return-Path: <{RETURN_PATH}>
Subject: Iets anders
Message-Id: <vals@mx.veilig.test>

--B3BC72881BD.1795742594/mx.veilig.test--
"""
    )


DELAYED: Final = {
    "action": "delayed",
    "status": "4.4.1",
    "diagnostic": "X-Postfix; connect to 192.0.2.1[192.0.2.1]:25: Connection\n    refused",
}


@pytest.fixture
def home(tmp_path: Path, clock: Clock) -> Iterator[Home]:
    with a_home(tmp_path, clock) as found:
        yield found


def taken(home: Home, notify: str = "SUCCESS", *, extensions: Any = DSN, **more: Any) -> Transmission:
    """A readable message that the receiving server took."""
    home.post.proven(extensions=extensions)
    home.post.submit(READER, fields=[PROVEN_FIELD], notify=notify, **more)
    home.post.settle()
    assert home.post.recipient(READER).state == "delivered"
    return Transmission.objects.get(address=READER, kind="readable")


def everything_known(home: Home) -> dict[str, Any]:
    return {**Recipient.objects.values().get(address=READER)}


def actions(home: Home) -> list[str]:
    lines = (line for one in home.post.reports() for line in status_of(one).splitlines())
    return [line.removeprefix("Action: ") for line in lines if line.startswith("Action: ")]


def events(home: Home) -> list[str]:
    recipient = home.post.recipient(READER)
    (told,) = trace_json(recipient.submission)["recipients"]
    return [one["event"] for one in told["events"]]


def brings_nothing(home: Home, row: Transmission, mail: bytes, *, sender: str = "") -> None:
    """A line in the trace at most; nobody is told."""
    before, told = everything_known(home), actions(home)
    home.bring(mail, row.reverse_path, sender=sender)
    home.post.until_nothing_waits()
    assert everything_known(home) == before
    assert actions(home) == told
    assert not Confirmation.objects.exclude(action="").exists()
    assert "confirmed" not in events(home)


# --- what confirms nothing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("notify", ["", "NEVER", "FAILURE", "DELAY"])
def test_who_did_not_ask_hears_of_no_success(home: Home, notify: str) -> None:
    row = taken(home, notify)
    brings_nothing(home, row, by_postfix())
    assert home.outcomes(row) == ["Accepted", "ArrivedElsewhere"]


def test_a_server_that_was_not_asked_confirms_nothing_and_it_was_relayed_before(home: Home) -> None:
    """Else a second report would follow the first, on the word of whoever knows the return path."""
    row = taken(home, extensions=EXTENSIONS)
    assert actions(home) == ["relayed"]
    brings_nothing(home, row, by_postfix())


def test_a_notification_is_confirmed_by_nobody(home: Home) -> None:
    home.post.mx("open.test", extensions=DSN)
    home.post.submit(GUEST, notify="SUCCESS")
    home.post.settle()
    row = Transmission.objects.get(kind="notification")
    home.bring(by_postfix(final=GUEST, original=""), row.reverse_path)
    home.post.until_nothing_waits()
    assert actions(home) == ["relayed"]
    assert home.post.recipient(GUEST).state == "notified"


@pytest.mark.parametrize(
    "names",
    [
        {"final": "iemand@elders.test", "original": "rfc822;iemand@elders.test"},
        {"final": "iemand@elders.test", "original": ""},
        {"final": "lezer@veilig.test.elders.test", "original": "rfc822;lezer"},
        {"final": "", "original": "rfc822;"},
    ],
)
def test_the_success_of_another_address_is_not_ours(home: Home, names: dict[str, str]) -> None:
    row = taken(home)
    brings_nothing(home, row, by_postfix(**names))
    assert home.outcomes(row) == ["Accepted", "ArrivedElsewhere"]


def test_the_return_path_of_another_mail_confirms_that_one_at_most(home: Home) -> None:
    """It names our recipient, and comes to the address of somebody else's mail."""
    row = taken(home)
    home.post.submit("ander@veilig.test", fields=[PROVEN_FIELD], notify="SUCCESS", message_id="<2@voorbeeld.test>")
    home.post.settle()
    other = Transmission.objects.get(address="ander@veilig.test", kind="readable")
    brings_nothing(home, other, by_postfix())
    assert home.outcomes(row) == ["Accepted"]


@pytest.mark.parametrize(
    "mail",
    [
        by_postfix(action="succeeded"),
        by_postfix(action="delivered?"),
        by_postfix().replace(b"multipart/report", b"multipart/mixed"),
        by_postfix().replace(b"message/delivery-status", b"text/plain"),
        by_postfix()[:900],
        crlf("From: lezer@veilig.test\nSubject: Read: Onderwerp\n\nAction: delivered\n"),
        crlf("Auto-Submitted: auto-replied\n\nAction: delivered\nFinal-Recipient: rfc822; lezer@veilig.test\n"),
    ],
)
@pytest.mark.parametrize("sender", ["", READER])
def test_what_is_no_report_confirms_nothing(home: Home, mail: bytes, sender: str) -> None:
    brings_nothing(home, taken(home), mail, sender=sender)


@pytest.mark.parametrize("worse", ["failed", "delayed"])
def test_a_report_that_also_tells_of_something_worse_confirms_nothing(home: Home, worse: str) -> None:
    row = taken(home)
    group = f"Final-Recipient: rfc822; x@elders.test\nAction: {worse}\nStatus: 4.4.1\n\n"
    home.bring(by_postfix(groups=group), row.reverse_path)
    home.post.settle()
    assert not Confirmation.objects.exclude(action="").exists()
    assert "delivered" not in actions(home)


def test_who_was_told_that_it_failed_is_not_told_that_it_arrived(home: Home) -> None:
    row = taken(home, "SUCCESS,FAILURE")
    home.bring(by_postfix(action="failed", status="5.1.1", diagnostic="smtp; 550 5.1.1 nobody"), row.reverse_path)
    home.post.settle()
    assert home.post.recipient(READER).state == "undeliverable"
    brings_nothing(home, row, by_postfix())
    assert actions(home) == ["failed"]


@pytest.mark.parametrize("action", ["delivered", "relayed", "expanded", "delayed"])
def test_what_was_read_stays_read_and_what_was_not_does_not_become_it(home: Home, action: str) -> None:
    row = taken(home, "SUCCESS,DELAY")
    Recipient.objects.filter(address=READER).update(state="opened", opened_at=home.post.clock.at)
    before = everything_known(home)
    home.bring(by_postfix(action=action, status="2.0.0" if action != "delayed" else "4.4.1"), row.reverse_path)
    home.post.until_nothing_waits()
    assert everything_known(home) == before
    assert actions(home) == ([action] if action != "delayed" else [])


# --- confirmed, once ----------------------------------------------------------------------------------------------

SAID: Final = {
    "delivered": ("in de mailbox", "delivered to the mailbox", "delivered it to the mailbox"),
    "relayed": ("doorgegeven", "passed on", "passed it on to one that confirms nothing"),
    "expanded": ("achter dit adres", "behind this one", "forwarded it to the address or addresses"),
}


@pytest.mark.parametrize("action", SAID)
def test_the_sender_gets_one_report_with_the_action_of_the_server(home: Home, action: str) -> None:
    original = "rfc822;Groep+Een@Veilig.Test"
    row = taken(home, "SUCCESS", original=original, envelope_id="stuk 7")
    assert home.post.reports() == []
    before = everything_known(home)
    home.bring(by_postfix(action=action, status="2.1.5", original=original), row.reverse_path)
    assert home.rings
    home.post.until_nothing_waits()
    assert everything_known(home) == before
    (told,) = home.post.reports()
    fields = status_of(told).replace("\r\n", "\n")
    assert "Original-Envelope-Id: stuk 7\n" in fields
    assert f"Original-Recipient: {original}\n" in fields
    assert f"Final-Recipient: rfc822; {READER}\n" in fields
    assert f"Action: {action}\nStatus: 2.1.5\nRemote-MTA: dns; mx.veilig.test\n" in fields
    assert "Diagnostic-Code" not in fields
    nl, en, _ = SAID[action]
    assert nl in words(told)
    assert en in words(told)
    assert "Whether it was read is not known" in words(told) or action == "expanded"
    assert [part.get_content_type() for part in told.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]
    for hidden in (SENTENCE, "Iets anders", "vals@", RETURN_PATH, "zegel-bounce", "maildir"):
        assert hidden not in told.as_string()


@pytest.mark.parametrize("action", SAID)
def test_it_stands_in_the_trace_as_what_it_is(home: Home, action: str) -> None:
    row = taken(home)
    (waiting,) = trace_json(row.submission)["recipients"]  # type: ignore[arg-type]
    assert waiting["confirmation"] == {"action": None, "status": None, "host": None, "at": None}
    assert "confirmed" not in events(home)
    home.post.clock.forward(seconds=60)
    home.bring(by_postfix(action=action), row.reverse_path)
    (told,) = trace_json(row.submission)["recipients"]  # type: ignore[arg-type]
    at = home.post.clock.at.isoformat(timespec="seconds")
    assert told["confirmation"] == {"action": action, "status": "2.0.0", "host": "mx.veilig.test", "at": at}
    (event,) = (one for one in told["events"] if one["event"] == "confirmed")
    assert (event["action"], event["at"], event["mark"]) == (action, at, "done")
    assert SAID[action][2] in event["en"]
    assert SAID[action][2] in told["summary"]["en"]
    assert told["state"] == "delivered"
    assert told["summary"]["en"].endswith("Whether it was read is not known.")
    attempt = told["mails"][0]["attempts"][-1]
    assert (attempt["outcome"], attempt["reply"], attempt["host"]) == (
        "ArrivedElsewhere",
        f"{action} 2.0.0",
        "mx.veilig.test",
    )


def test_its_author_sees_it_beside_how_the_message_travelled(home: Home) -> None:
    row = taken(home)
    conversation = Conversation.objects.get()
    (before,) = full_lines(conversation, home.post.clock.at)
    home.bring(by_postfix(), row.reverse_path)
    (after,) = full_lines(conversation, home.post.clock.at)
    assert (after.words, after.badge, after.at) == (before.words, before.badge, before.at)
    (added,) = set(after.facts) - set(before.facts)
    assert "mailbox" in added[0]


@pytest.mark.parametrize(
    ("final", "original"),
    [
        ("<Lezer@VEILIG.test>", ""),
        ("iemand@elders.test", "rfc822;LEZER@veilig.test"),
        ("iemand@elders.test", "Rfc822 ; <lezer@veilig.test>"),
    ],
)
def test_its_address_may_be_spelled_in_other_letters_or_be_the_original_one(
    home: Home, final: str, original: str
) -> None:
    row = taken(home)
    home.bring(by_postfix(final=final, original=original), row.reverse_path)
    home.post.settle()
    assert actions(home) == ["delivered"]


@pytest.mark.parametrize("said", ["rfc822;Groep+Een@Veilig.Test", "rfc822;groep+2Been@veilig.test"])
def test_what_the_sender_called_it_is_known_decoded_or_as_it_was_sent(home: Home, said: str) -> None:
    row = taken(home, original="rfc822;Groep+Een@Veilig.Test")
    home.bring(by_postfix(final="iemand@elders.test", original=said), row.reverse_path)
    home.post.settle()
    assert actions(home) == ["delivered"]


@pytest.mark.parametrize("said", ["utf-8;Jörg@veilig.test", r"utf-8;j\x{F6}rg@veilig.test"])
def test_an_international_recipient_is_known_in_both_forms(home: Home, said: str) -> None:
    server = home.post.proven(extensions=DSN)
    home.post.submit("jörg@veilig.test", fields=[PROVEN_FIELD], notify="SUCCESS")
    home.post.settle()
    assert r"ORCPT=utf-8;j\x{F6}rg@veilig.test" in server.taken[0].rcpt
    row = Transmission.objects.get(kind="readable")
    mail = by_postfix(final="iemand@elders.test", original=said)
    home.bring(mail.replace(b"message/delivery-status", b"message/global-delivery-status"), row.reverse_path)
    home.post.settle()
    assert [Confirmation.objects.get().action, len(home.post.reports())] == ["delivered", 1]


@pytest.mark.parametrize("again", ["delivered", "relayed", "expanded"])
def test_the_second_word_of_success_is_a_line_in_the_trace(home: Home, again: str) -> None:
    row = taken(home)
    home.bring(by_postfix(), row.reverse_path)
    home.post.settle()
    for _ in range(2):
        home.bring(by_postfix(action=again, status="2.9.9", mta="elders.test"), row.reverse_path)
        home.post.until_nothing_waits()
    assert actions(home) == ["delivered"]
    found = Confirmation.objects.get()
    assert (found.action, found.status, found.host) == ("delivered", "2.0.0", "mx.veilig.test")
    assert events(home).count("confirmed") == 1
    assert home.outcomes(row) == ["Accepted", *["ArrivedElsewhere"] * 3]


def test_two_that_come_before_anybody_was_told_are_one(home: Home) -> None:
    row = taken(home)
    home.bring(by_postfix(action="relayed"), row.reverse_path)
    home.bring(by_postfix(), row.reverse_path)
    home.post.settle()
    assert actions(home) == ["relayed"]


def test_a_failure_that_follows_is_told_as_well(home: Home) -> None:
    """Relayed is not delivered: whoever it was relayed to may still refuse it."""
    row = taken(home, "SUCCESS,FAILURE")
    home.bring(by_postfix(action="relayed"), row.reverse_path)
    home.post.settle()
    home.bring(by_postfix(action="failed", status="5.1.1", diagnostic="smtp; 550 5.1.1 nobody"), row.reverse_path)
    home.post.settle()
    assert actions(home) == ["relayed", "failed"]
    assert home.post.recipient(READER).state == "undeliverable"


def test_each_of_several_recipients_is_confirmed_by_its_own(home: Home) -> None:
    home.post.proven(extensions=DSN)
    wishes = {READER: "SUCCESS", "stil@veilig.test": "NEVER", "ook@veilig.test": "SUCCESS"}
    home.post.submit_each(wishes, fields=[PROVEN_FIELD])
    home.post.settle()
    for address in reversed(wishes):
        row = Transmission.objects.get(address=address, kind="readable")
        home.bring(by_postfix(final=address, original=f"rfc822;{address}"), row.reverse_path)
    home.post.settle()
    told = "".join(map(words, home.post.reports()))
    assert actions(home) == ["delivered", "delivered"]
    assert all(address in told for address in (READER, "ook@veilig.test"))
    assert "stil@veilig.test" not in told
    assert Confirmation.objects.count() == 2


def test_a_null_reverse_path_is_told_nothing_and_the_trace_has_it(home: Home) -> None:
    row = taken(home, reverse_path="")
    home.bring(by_postfix(), row.reverse_path)
    home.post.settle()
    assert home.post.heard() == []
    assert "confirmed" in events(home)


def test_a_confirmation_that_is_quicker_than_our_own_record_comes_again_and_is_not_lost(home: Home) -> None:
    post = home.post
    post.proven(extensions=DSN)
    post.submit(READER, fields=[PROVEN_FIELD], notify="SUCCESS")
    (leased,) = post.lease(Kind.DECIDE)
    post.run(post.decision.decide(leased))
    row = Transmission.objects.get(address=READER)
    assert home.bring_too_early(by_postfix(), row) == 451
    assert home.outcomes(row) == ["Accepted"]
    home.bring(by_postfix(), row.reverse_path)
    post.settle()
    assert actions(home) == ["delivered"]


def test_no_link_stands_in_what_is_kept_of_who_reports(home: Home) -> None:
    row = taken(home)
    token = "q" * 43
    home.bring(by_postfix(mta=f"localhost/m/{token}"), row.reverse_path)
    home.post.settle()
    assert token not in repr(list(Confirmation.objects.values())) + repr(list(Attempt.objects.values()))
    assert token not in home.post.reports()[0].as_string()


@pytest.mark.parametrize("mta", ["a\x1b[2J\x07b", "x" * 900, "dns; dns; é", "\u202e"])
def test_whoever_reports_names_itself_on_one_line(home: Home, mta: str) -> None:
    row = taken(home)
    home.bring(by_postfix(mta=mta), row.reverse_path)
    home.post.settle()
    assert len(home.post.reports()) == 1
    found = Confirmation.objects.get()
    assert (found.action, found.host.isprintable(), len(found.host) <= 255) == ("delivered", True, True)


def test_an_erased_recipient_is_not_confirmed_by_name(home: Home) -> None:
    row = taken(home)
    forgetting.forget_recipient(home.post.ground.organisation, Mailbox.parse(READER), now=home.post.clock.at)
    home.bring(by_postfix(), row.reverse_path)
    home.post.settle()
    assert home.post.reports() == []
    assert READER not in repr([list(one.objects.values()) for one in (Attempt, Confirmation)])


def test_with_a_message_goes_what_was_confirmed_of_it(home: Home) -> None:
    row = taken(home)
    home.bring(by_postfix(), row.reverse_path)
    forgetting.remove_submissions(list(Submission.objects.values_list("id", flat=True)), home.post.clock.at)
    assert not Confirmation.objects.exists()
    home.post.settle()
    assert home.post.reports() == []


# --- delayed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("notify", ["NEVER", "FAILURE", "SUCCESS", "SUCCESS,FAILURE"])
def test_who_did_not_ask_hears_of_no_delay_further_on(home: Home, notify: str) -> None:
    row = taken(home, notify)
    brings_nothing(home, row, by_postfix(**DELAYED))
    assert home.outcomes(row) == ["Accepted", "DelayedElsewhere"]


def test_a_notification_that_is_held_up_further_on_is_in_the_trace_alone(home: Home) -> None:
    row = home.notified()
    home.bring(by_postfix(**DELAYED), row.reverse_path)
    home.post.settle()
    assert home.outcomes(row) == ["Accepted", "DelayedElsewhere"]
    assert home.post.reports() == []


@pytest.mark.parametrize("notify", ["", "DELAY", "DELAY,SUCCESS"])
def test_the_sender_hears_once_that_it_takes_long_further_on(home: Home, notify: str) -> None:
    row = taken(home, notify, envelope_id="stuk-7")
    before = everything_known(home)
    for _ in range(3):
        home.bring(by_postfix(**DELAYED), row.reverse_path)
        home.post.until_nothing_waits()
    assert everything_known(home) == before
    (told,) = home.post.reports()
    fields = status_of(told)
    assert "Action: delayed" in fields
    assert "Status: 4.4.1" in fields
    assert "Connection refused" in " ".join(fields.split())
    assert "Original-Envelope-Id: stuk-7" in fields
    assert "Will-Retry-Until" not in fields  # which only the server further on knows
    assert "can’t deliver it any further yet" in words(told)
    assert SENTENCE not in told.as_string()


def test_a_delay_that_was_told_here_is_not_told_again_from_further_on(home: Home) -> None:
    server: ScriptedMx = home.post.proven(extensions=DSN, answers={"MAIL": b"451 4.3.2 come back later\r\n"})
    home.post.submit(READER, fields=[PROVEN_FIELD], notify="DELAY")
    home.post.settle()
    for _ in range(20):
        home.post.later(minutes=15)
    assert actions(home) == ["delayed"]
    server.answers.clear()
    for _ in range(16):
        home.post.later(minutes=15)
    row = Transmission.objects.get(address=READER, state="sent", kind="readable")
    home.bring(by_postfix(**DELAYED), row.reverse_path)
    home.post.settle()
    assert actions(home) == ["delayed"]


def test_a_delay_that_is_over_before_anybody_was_told_is_not_told(home: Home) -> None:
    row = taken(home, "DELAY,SUCCESS")
    home.bring(by_postfix(**DELAYED), row.reverse_path)
    home.bring(by_postfix(), row.reverse_path)
    home.post.settle()
    assert actions(home) == ["delivered"]


def test_a_delay_and_then_success_are_two_reports(home: Home) -> None:
    row = taken(home, "DELAY,SUCCESS")
    for mail in (by_postfix(**DELAYED), by_postfix()):
        home.bring(mail, row.reverse_path)
        home.post.settle()
    told: list[EmailMessage] = home.post.reports()
    assert actions(home) == ["delayed", "delivered"]
    assert all(SENTENCE not in one.as_string() for one in told)
