"""From the 250 to a final state: fall-back, retry and report, with every stop but the listener and a real wire."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from tests.journey.delivery_ground import (
    PHONE,
    PROVEN_FIELD,
    SENDER,
    SENTENCE,
    SUBJECT,
    Post,
    a_post,
    certificates,
    everything_in,
    status_of,
    words,
)
from tests.journey.delivery_peers import Answer, Hangup, server_tls
from tests.journey.portal_ground import Clock
from zegel.accounts import look as looks
from zegel.core.own_texts import OwnTexts
from zegel.core.policy.retry import Patience
from zegel.core.policy.transport import NO_DEMAND, PROVEN, Authentication, Tls
from zegel.edge.dns import Found, Trouble
from zegel.journey.custody.models import Attempt, Job, Recipient, Transmission
from zegel.journey.portal import codes

pytestmark = pytest.mark.django_db(transaction=True)

READER: Final = "lezer@veilig.test"
GUEST: Final = "gast@open.test"
BROWSER: Final = b"b" * 32
TO_EMAIL: Final = ("zivver-minimum-recipient-verification", "email-verification")
HARMLESS: Final = {"EHLO", "HELO", "STARTTLS", "QUIT"}


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        yield found


def ask_for_a_code(post: Post, address: str) -> Transmission:
    """As the portal does for a guest who presses the button."""
    recipient = Recipient.objects.select_related("conversation__organisation", "conversation__author").get(
        address=address
    )
    assert codes.send(recipient, BROWSER, "nl") is None
    post.settle()
    return post.transmissions("code")[-1]


# --- readable, or the next row ------------------------------------------------------------------------------------


def test_a_listed_domain_gets_the_readable_message(post: Post) -> None:
    post.list_domain("veilig.test")
    server = post.proven()
    post.submit(READER)
    post.settle()
    (taken,) = server.taken
    assert taken.over == "TLSv1.3"
    assert SENTENCE.encode() in taken.content
    assert post.recipient(READER).state == "delivered"
    assert post.heard() == []
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("chain", "level"), [("", Tls.NONE), ("self_signed", Tls.TLS_1_2), ("expired", Tls.TLS_1_2)], ids=str
)
def test_a_listed_domain_whose_server_is_not_safe_now_gets_a_notification(post: Post, chain: str, level: Tls) -> None:
    """The message asked for nothing, so the code may go by any mail."""
    post.list_domain("veilig.test")
    server = post.proven()
    server.tls = server_tls(getattr(certificates(), chain)) if chain else None
    post.submit(READER)
    post.settle()
    (taken,) = server.taken
    assert SENTENCE not in everything_in(taken.content)
    recipient = post.recipient(READER)
    assert (recipient.state, recipient.method, recipient.step) == ("notified", "email", 1)
    assert (recipient.code_needs_tls, recipient.code_needs_authentication) == (0, 0)
    first, second = post.attempts(READER)
    assert (first.outcome, first.tls, first.authentication) == ("InsufficientSecurity", level, Authentication.NONE)
    assert (second.outcome, second.transmission.kind) == ("Accepted", "notification")
    assert post.heard() == []
    ask_for_a_code(post, READER)
    assert len(server.taken) == 2


def test_own_words_of_an_organisation_stand_in_what_the_gateway_writes_and_in_no_message(post: Post) -> None:
    """Nothing is ever added to a readable message."""
    begins, ends = "Het Voorbeeldziekenhuis mailt veilig – ook u.", "Bel 030 123 4567."
    looks.say(post.ground.organisation, OwnTexts(introduction_nl=begins, help_nl=ends, help_en="Call us."))
    post.list_domain("veilig.test")
    server = post.proven()
    post.submit(READER)
    post.settle()
    server.tls = None
    post.submit(other := "tweede@veilig.test")
    post.settle()
    ask_for_a_code(post, other)
    readable, notification, code = (everything_in(one) for one in server.messages())
    assert SENTENCE in readable and begins not in readable and ends not in readable
    assert begins in notification and ends in notification and "Call us." not in notification
    assert ends in code and begins not in code


def test_tls_that_comes_back_is_used_again(post: Post) -> None:
    post.list_domain("veilig.test")
    server = post.proven(starttls=b"454 4.7.0 not now\r\n")
    post.submit(READER)
    post.settle()
    server.starttls = b"220 2.0.0 go\r\n"
    post.submit(READER, message_id="<tweede@voorbeeld.test>")
    post.settle()
    assert [SENTENCE in everything_in(one) for one in server.messages()] == [False, True]


@pytest.mark.parametrize(("chain", "status"), [("", "5.7.4"), ("self_signed", "5.7.5"), ("wrong_name", "5.7.5")])
def test_a_message_that_asks_for_transport_gets_a_report_where_it_is_not_met(
    post: Post, chain: str, status: str
) -> None:
    server = post.mx(
        "open.test", host="mx.veilig.test", tls=server_tls(getattr(certificates(), chain)) if chain else None
    )
    post.submit(GUEST, fields=[PROVEN_FIELD])
    post.settle()
    (report,) = post.failures()
    fields = status_of(report)
    assert f"Final-Recipient: rfc822; {GUEST}" in fields
    assert "Action: failed" in fields
    assert f"Status: {status}" in fields
    assert "Remote-MTA: dns; mx.veilig.test" in fields
    assert not server.mail_was_begun()
    assert server.only_heard() <= HARMLESS
    assert post.recipient(GUEST).state == "undeliverable"
    assert not Job.objects.exists()


def test_the_field_lifts_the_demand_from_the_code(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST, fields=[PROVEN_FIELD, TO_EMAIL])
    post.settle()
    assert post.recipient(GUEST).state == "notified"
    assert ask_for_a_code(post, GUEST).state == "sent"
    assert [SENTENCE in everything_in(one) for one in server.messages()] == [False, False]
    assert re.search(r"\d{3} ?\d{3}", words(server.messages()[1]))
    assert post.heard() == []


@pytest.mark.parametrize("value", ["", "whatever"])
def test_a_minimum_that_is_none_excludes_the_code(post: Post, value: str) -> None:
    server = post.mx("open.test")
    post.submit(GUEST, fields=[PROVEN_FIELD, ("zivver-minimum-recipient-verification", value)])
    post.settle()
    assert len(post.failures()) == 1
    assert not server.mail_was_begun()
    post.later(minutes=11)
    assert len(post.notices()) == (1 if value else 0)  # an empty value is one that the seed knows


def test_both_fields_fall_back_to_the_method_that_the_message_names(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST, fields=[PROVEN_FIELD, ("zivver-access-right", f"{GUEST} sms {PHONE}")])
    post.settle()
    recipient = post.recipient(GUEST)
    assert (recipient.state, recipient.method) == ("notified", "sms")
    assert post.outcomes(GUEST) == ["InsufficientSecurity", "Accepted"]
    assert SENTENCE not in everything_in(server.messages()[0])
    assert PHONE not in everything_in(server.messages()[0])
    assert post.heard() == []


def test_a_named_method_never_slides_to_a_code_by_mail(post: Post) -> None:
    post.mx("open.test", answers={"RCPT": b"550 5.1.1 nobody\r\n"})
    post.submit(GUEST, fields=[("zivver-access-right", f"{GUEST} sms {PHONE}")])
    post.until_nothing_waits()
    assert post.recipient(GUEST).method == "sms"
    assert post.recipient(GUEST).state == "undeliverable"
    assert len(post.transmissions("notification")) == 1


def test_policy_that_forbids_transport_leaves_the_demand_on_the_code(post: Post) -> None:
    post.ground.organisation.allows_transport = False
    post.ground.organisation.save()
    server = post.proven()
    post.submit(READER, fields=[PROVEN_FIELD])
    post.settle()
    recipient = post.recipient(READER)
    assert (recipient.state, recipient.method) == ("notified", "email")
    assert post.outcomes(READER) == ["Accepted", "Accepted"]
    assert [one.reply for one in post.attempts(READER)] == ["probe", "250 2.0.0 taken"]
    assert ask_for_a_code(post, READER).state == "sent"
    assert all(SENTENCE not in everything_in(one) for one in server.messages())


def test_policy_that_forbids_transport_and_a_server_without_it_is_a_report(post: Post) -> None:
    post.ground.organisation.allows_transport = False
    post.ground.organisation.save()
    server = post.mx("open.test")
    post.submit(GUEST, fields=[PROVEN_FIELD])
    post.settle()
    assert "Status: 5.7.4" in status_of(post.failures()[0])
    assert not server.mail_was_begun()


def test_a_probe_that_meets_trouble_is_made_again(post: Post) -> None:
    post.ground.organisation.allows_transport = False
    post.ground.organisation.save()
    server = post.proven(greeting=b"421 4.3.2 too busy\r\n")
    post.submit(READER, fields=[PROVEN_FIELD])
    post.settle()
    assert post.recipient(READER).state == "decided"
    assert not server.mail_was_begun()
    server.greeting = b"220 mx.veilig.test\r\n"
    post.later(hours=1)
    assert post.recipient(READER).state == "notified"


def test_a_field_with_no_valid_value_demands_the_default_and_is_warned_about(post: Post) -> None:
    good, bad = post.proven(), post.mx("open.test")
    post.submit(READER, GUEST, fields=[("zivver-direct-delivery", "yes please")])
    post.settle()
    assert SENTENCE in everything_in(good.messages()[0])
    assert not bad.mail_was_begun()
    assert len(post.failures()) == 1
    assert post.notices() == []
    post.later(minutes=11)
    (notice,) = post.notices()
    assert "direct-delivery" in words(notice)
    assert notice["To"] == SENDER
    post.later(days=1)
    assert len(post.notices()) == 1


# --- hosts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble", [b"554 5.7.1 go away\r\n", b"421 4.3.2 too busy\r\n", Hangup], ids=["554", "421", "gone"]
)
def test_the_next_host_takes_what_the_first_does_not(post: Post, trouble: Answer) -> None:
    post.list_domain("veilig.test")
    first = post.mx("veilig.test", host="mx1.veilig.test", preference=5, greeting=trouble)
    second = post.proven()
    post.submit(READER)
    post.settle()
    assert post.recipient(READER).state == "delivered"
    assert [one.host for one in post.attempts(READER)] == ["mx1.veilig.test", "mx.veilig.test"]
    assert (len(first.heard), len(second.taken)) == (1, 1)


def test_a_safe_host_behind_an_unsafe_one_is_not_searched_for(post: Post) -> None:
    """What does not meet the level at that moment is followed by the next row, at once."""
    post.list_domain("veilig.test")
    first = post.mx("veilig.test", host="mx1.veilig.test", preference=5)
    second = post.proven()
    post.submit(READER)
    post.settle()
    assert post.recipient(READER).state == "notified"
    assert SENTENCE not in everything_in(first.messages()[0])
    assert second.taken == []


def test_no_other_host_is_tried_once_content_has_left(post: Post) -> None:
    """It may have been taken after all; another host would make a second copy."""
    post.list_domain("veilig.test")
    first = post.proven(answers={"END": Hangup})
    second = post.mx("veilig.test", host="mx2.veilig.test", preference=20)
    post.submit(READER)
    post.settle()
    assert len(first.heard) == 1
    assert second.heard == []
    assert post.recipient(READER).state == "decided"


# --- later, or never ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "END"])
def test_greylisting_delays_and_doubles_nothing(post: Post, verb: str) -> None:
    post.list_domain("veilig.test")
    server = post.proven(answers={verb: [b"451 4.7.1 greylisted, try again in a minute\r\n"]})
    post.submit(READER)
    post.settle()
    assert server.taken == []
    assert post.recipient(READER).state == "decided"
    post.later(minutes=14)
    assert len(server.heard) == 1
    post.later(minutes=10)
    assert len(server.taken) == 1
    assert post.recipient(READER).state == "delivered"
    assert post.outcomes(READER) == ["Deferred", "Accepted"]
    post.until_nothing_waits()
    assert len(server.taken) == 1
    assert post.heard() == []


def test_a_server_that_defers_a_readable_message_for_days_gets_a_notification(post: Post) -> None:
    post.list_domain("veilig.test")
    server = post.proven(answers={"MAIL": b"451 4.7.1 later\r\n"})
    post.submit(READER)
    accepted = post.clock.at
    post.settle()
    while post.recipient(READER).step == 0:
        post.later(hours=3, minutes=50)
    assert timedelta(days=2) <= post.clock.at - accepted <= timedelta(days=2, hours=4)
    server.answers.clear()
    post.later(hours=4)
    assert post.recipient(READER).state == "notified"


def test_what_is_deferred_to_the_end_is_reported_after_five_days(post: Post) -> None:
    post.mx("open.test", answers={"RCPT": b"451 4.7.1 later\r\n"})
    post.submit(GUEST)
    accepted = post.clock.at
    post.until_nothing_waits()
    assert timedelta(days=4, hours=23) <= post.clock.at - accepted <= timedelta(days=5, minutes=1)
    (report,) = post.failures()
    assert "Status: 5.4.7" in status_of(report)
    assert "Diagnostic-Code: smtp; 451 4.7.1 later" in status_of(report)
    assert 30 < len(post.attempts(GUEST)) < 60  # every three hours, more often at first


def test_a_dead_server_is_tried_for_five_days_too(post: Post) -> None:
    server = post.mx("open.test", greeting=Hangup)
    post.submit(GUEST)
    post.until_nothing_waits()
    assert "Status: 5.4.7" in status_of(post.failures()[0])
    assert "Diagnostic-Code" not in status_of(post.failures()[0])
    assert set(post.outcomes(GUEST)) == {"NetworkFailure"}
    assert len(server.heard) == len(post.attempts(GUEST))


def test_a_domain_that_does_not_exist_is_reported_at_once(post: Post) -> None:
    post.submit("iemand@bestaat-niet.test")
    post.settle()
    (report,) = post.failures()
    assert "Status: 5.1.2" in status_of(report)
    assert "bestaat niet" in words(report)


def test_a_null_mx_is_reported_at_once(post: Post) -> None:
    post.zone.records["niets.test", "MX"] = Found(("0 .",))
    post.submit("iemand@niets.test", fields=[PROVEN_FIELD])
    post.settle()
    assert "Status: 5.1.10" in status_of(post.failures()[0])


def test_a_name_server_that_fails_delays_and_doubles_nothing(post: Post) -> None:
    server = post.mx("open.test")
    good = post.zone.records["open.test", "MX"]
    post.zone.records["open.test", "MX"] = Trouble("SERVFAIL")
    post.submit(GUEST)
    post.later(hours=1)
    assert set(post.outcomes(GUEST)) == {"DnsTrouble"}
    assert server.heard == []
    post.zone.records["open.test", "MX"] = good
    post.later(hours=3)
    assert post.recipient(GUEST).state == "notified"
    assert len(server.taken) == 1
    assert post.heard() == []


def test_a_name_server_that_fails_to_the_end_is_reported(post: Post) -> None:
    post.zone.records["open.test", "MX"] = Trouble("SERVFAIL")
    post.submit(GUEST)
    post.until_nothing_waits()
    assert "Status: 5.4.7" in status_of(post.failures()[0])


@pytest.mark.parametrize("verb", ["RCPT", "DATA", "END"])
def test_a_refusal_is_reported_with_the_words_of_the_server(post: Post, verb: str) -> None:
    post.list_domain("veilig.test")
    server = post.proven(answers={verb: b"550-5.1.1 unknown\r\n550 5.1.1 mailbox\r\n"})
    post.submit(READER)
    post.settle()
    assert server.taken == []
    (report,) = post.failures()
    fields = status_of(report)
    assert f"Final-Recipient: rfc822; {READER}" in fields
    assert "Status: 5.1.1" in fields
    assert "Diagnostic-Code: smtp; 550 5.1.1 unknown mailbox" in fields
    assert "550 5.1.1 unknown mailbox" in words(report)
    assert post.outcomes(READER) == ["Refused"]
    assert post.recipient(READER).state == "undeliverable"


@pytest.mark.parametrize("greeting", [b"554 5.7.1 no\r\n", b"521 5.3.2 no mail here\r\n"])
def test_a_server_that_refuses_before_the_recipient_leads_to_the_next_row(post: Post, greeting: bytes) -> None:
    post.list_domain("veilig.test")
    server = post.proven(greeting=greeting)
    post.submit(READER)
    post.settle()
    assert post.recipient(READER).step == 1
    assert "Status: " + greeting[4:9].decode() in status_of(post.failures()[0])  # the notification is refused as well
    assert server.taken == []


def test_a_message_that_is_too_large_over_there_becomes_a_notification(post: Post) -> None:
    post.list_domain("veilig.test")
    server = post.proven(extensions=("PIPELINING", "SIZE 9000"))
    post.submit(READER, text="lang " * 4000)
    post.settle()
    assert post.outcomes(READER) == ["Refused", "Accepted"]
    assert post.recipient(READER).state == "notified"
    assert len(server.taken) == 1


def test_recipients_do_not_wait_for_each_other(post: Post) -> None:
    """One is served, one waits, one is reported: each ends in one state of its own (P7)."""
    post.list_domain("veilig.test")
    post.proven()
    slow = post.mx("open.test", answers={"RCPT": [b"451 4.7.1 later\r\n"]})
    post.submit(READER, GUEST, "iemand@bestaat-niet.test")
    post.settle()
    states = dict(Recipient.objects.values_list("address", "state"))
    assert states == {READER: "delivered", GUEST: "decided", "iemand@bestaat-niet.test": "undeliverable"}
    post.until_nothing_waits()
    assert post.recipient(GUEST).state == "notified"
    assert len(slow.taken) == 1
    assert len(post.failures()) == 1


def test_an_international_recipient_is_reported_where_nobody_takes_the_address(post: Post) -> None:
    post.mx("open.test", extensions=("PIPELINING",))
    post.submit("jürgen@open.test", to=[SENDER])
    post.settle()
    assert post.recipient("jürgen@open.test").status == "5.6.7"
    assert len(post.home.taken) == 1


# --- mails with codes ---------------------------------------------------------------------------------------------


def test_a_code_is_not_sent_below_the_level_even_if_it_was_met_an_hour_ago(post: Post) -> None:
    server = post.proven(answers={"MAIL": [b"554 5.7.1 not this way\r\n"]})  # the readable message was not wanted
    post.submit(READER, fields=[PROVEN_FIELD])
    post.settle()
    recipient = post.recipient(READER)
    assert (recipient.state, recipient.method) == ("notified", "email")
    assert (recipient.code_needs_tls, recipient.code_needs_authentication) == (PROVEN.tls, PROVEN.authentication)
    post.clock.forward(hours=1)
    server.tls = None
    before = len(server.taken)
    server.heard.clear()
    transmission = ask_for_a_code(post, READER)
    assert transmission.state == "failed"
    assert transmission.sealed is None
    assert not server.mail_was_begun()
    assert len(server.taken) == before
    assert codes.could_not_be_mailed(post.recipient(READER))
    (notice,) = post.notices()
    assert notice["To"] == SENDER
    assert READER in words(notice)
    assert post.failures() == []
    assert post.recipient(READER).state == "notified"  # it is there, and can be opened another way
    post.until_nothing_waits()
    assert len(post.notices()) == 1


def test_a_code_that_comes_too_late_is_dropped_and_nobody_is_told_that_security_lacked(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST)
    post.settle()
    server.answers["RCPT"] = b"451 4.7.1 later\r\n"
    transmission = ask_for_a_code(post, GUEST)
    assert transmission.state == "queued"
    post.until_nothing_waits()
    transmission.refresh_from_db()
    assert (transmission.state, transmission.sealed) == ("failed", None)
    assert post.heard() == []
    assert 3 < Attempt.objects.filter(transmission=transmission).count() < 12


def test_a_code_that_is_refused_is_dropped_and_nobody_is_told_that_security_lacked(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST)
    post.settle()
    server.answers["RCPT"] = b"550 5.7.1 spam\r\n"
    assert ask_for_a_code(post, GUEST).state == "failed"
    assert post.heard() == []


def test_a_code_without_a_demand_goes_by_any_way(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST)
    post.settle()
    assert ask_for_a_code(post, GUEST).state == "sent"
    assert server.taken[1].over == ""
    assert post.attempts(GUEST)[-1].tls == NO_DEMAND.tls


# --- who ends where -----------------------------------------------------------------------------------------------


def test_a_message_that_expires_before_it_could_be_delivered_is_reported(post: Post) -> None:
    from zegel.journey.custody.retention import destroy

    server = post.mx("open.test", answers={"RCPT": b"451 4.7.1 later\r\n"})
    post.submit(GUEST)
    post.settle()
    destroy(post.recipient(GUEST).conversation_id, now=post.clock.at)
    server.answers.clear()
    post.later(hours=4)
    assert server.taken == []
    assert post.recipient(GUEST).state == "undeliverable"
    (report,) = post.failures()
    assert "verlopen" in words(report)
    assert SUBJECT not in everything_in(report)


BAD_ANSWERS: Final[dict[str, Answer]] = {
    "4yz": b"451 4.0.0 x\r\n",
    "5yz": b"554 5.0.0 x\r\n",
    "odd": b"354 x\r\n",
    "noise": b"x\r\n",
    "gone": Hangup,
}
BAD_DAYS: Final[list[tuple[str, str]]] = [
    (verb, name) for verb in ("EHLO", "MAIL", "RCPT", "DATA", "END") for name in BAD_ANSWERS
]
BAD_DAYS.remove(("DATA", "odd"))  # that is how it should be


@pytest.mark.parametrize(("verb", "bad"), BAD_DAYS)
@pytest.mark.parametrize("fields", [(), (PROVEN_FIELD,)], ids=["nothing asked", "transport asked"])
def test_every_recipient_of_a_bad_server_ends_in_one_final_state(
    post: Post, verb: str, bad: str, fields: tuple[tuple[str, str], ...]
) -> None:
    """P7: after five days nothing waits, and the sender has heard of whatever was not taken."""
    post.delivery.patience = Patience.of(  # the same end after fewer tries
        first=timedelta(hours=12), give_up_after=timedelta(days=5), warn_after=timedelta(hours=4)
    )
    server = post.proven(answers={verb: BAD_ANSWERS[bad]})
    post.submit(READER, fields=fields)
    accepted = post.clock.at
    post.until_nothing_waits()
    assert post.clock.at - accepted <= timedelta(days=5, minutes=1)
    state = post.recipient(READER).state
    assert state == ("notified" if server.taken else "undeliverable")
    assert len(post.failures()) == (state == "undeliverable")
    assert [SENTENCE in everything_in(one) for one in server.messages()] == [False] * len(server.taken)
    assert not Transmission.objects.filter(state="queued").exists()
    assert not Transmission.objects.exclude(sealed=None).exists()
