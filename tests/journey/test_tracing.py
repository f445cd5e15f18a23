"""A trace as a value: complete, the same for the same facts, and whole for whatever was stored."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.journey.portal_ground import NOON, Ground, mail
from tests.journey.tracing_ground import REPLY, SHA256, rich, sent, tried
from zegel.accounts.models import ApiToken, RememberedDevice, SmtpCredential
from zegel.core.policy.tracing import EventKind
from zegel.edge.chance import identifier
from zegel.journey.custody import revoking
from zegel.journey.custody.models import (
    Job,
    MethodRequest,
    Proof,
    PutAside,
    Recipient,
    SenderAct,
    SharedReading,
    Sms,
    Submission,
    Transmission,
)
from zegel.journey.tracing import FORM, canonical, sum_of, trace_json

pytestmark = pytest.mark.django_db
State = Recipient.State
Kind = Transmission.Kind


def trace(recipient: Recipient) -> dict[str, Any]:
    """Of the recipient's message, the part about it."""
    told = trace_json(Submission.objects.get(id=recipient.submission_id))
    return next(one for one in told["recipients"] if one["id"] == str(recipient.id))


def kinds(recipient: Recipient) -> list[str]:
    return [event["event"] for event in trace(recipient)["events"]]


def event(recipient: Recipient, kind: EventKind) -> dict[str, Any]:
    return next(one for one in trace(recipient)["events"] if one["event"] == kind.value)


def test_it_is_json_and_the_same_for_the_same_facts(ground: Ground) -> None:
    one = rich(ground)
    first, second = (trace_json(one.submission) for _ in range(2))
    assert first["form"] == FORM and json.loads(canonical(first)) == first
    assert sum_of(first) == sum_of(second) == sum_of(json.loads(canonical(first)))
    Recipient.objects.filter(id=one.guest.id).update(revoked_at=NOON)
    assert sum_of(trace_json(one.submission)) != sum_of(first)


def test_every_sentence_is_in_both_languages(ground: Ground) -> None:
    def look(value: Any) -> None:
        if isinstance(value, dict):
            assert ("en" in value) == ("nl" in value)
            assert all(value.get(language, "x") for language in ("en", "nl"))
            for one in value.values():
                look(one)
        elif isinstance(value, list):
            for one in value:
                look(one)

    look(trace_json(rich(ground).submission))


def test_events_stand_in_the_order_of_time_and_what_comes_next_is_last(ground: Ground) -> None:
    recipient = ground.recipient(ground.conversation(mail()), decided_at=NOON + timedelta(minutes=1))
    later = sent(recipient, Kind.REMINDER)
    tried(later)
    later.attempts.update(at=NOON + timedelta(days=3))
    tried(sent(recipient, Kind.NOTIFICATION))
    times = [one["at"] for one in trace(recipient)["events"]]
    assert times[:-1] == sorted(times[:-1]) and times[-1] is None
    assert kinds(recipient)[-1] == "waits"


def test_who_handed_it_over_is_named(ground: Ground) -> None:
    submission = ground.conversation(mail()).submission
    assert trace_json(submission)["submission"]["credential"] is None
    submission.credential = SmtpCredential.objects.create(
        organisation=ground.organisation, username="u1", description="mailserver", secret_hash=b"", created_at=NOON
    )
    assert trace_json(submission)["submission"]["credential"] == {"username": "u1", "description": "mailserver"}
    submission.token = ApiToken.objects.create(
        organisation=ground.organisation, name="t1", secret_hash=b"", created_at=NOON, expires_at=NOON
    )
    assert trace_json(submission)["submission"]["token"] == "t1"


def test_one_recipient_alone_has_no_reports_of_others(ground: Ground) -> None:
    one = rich(ground)
    Transmission.objects.create(
        organisation=ground.organisation, submission=one.submission, kind=Kind.REPORT, address="balie@voorbeeld.test",
        message_id="<r@voorbeeld.test>", created_at=NOON,
    )  # fmt: skip
    assert [mail["kind"] for mail in trace_json(one.submission)["reports"]] == ["report"]
    alone = trace_json(one.submission, only=one.readable.id)
    assert alone["reports"] is None and [found["address"] for found in alone["recipients"]] == ["leest@example.org"]
    assert trace_json(one.submission, only=identifier())["recipients"] == []


def test_all_evidence_of_an_attempt_is_there(ground: Ground) -> None:
    (_, attempt) = trace(rich(ground).readable)["mails"][0]["attempts"]
    assert attempt["certificate"] == {
        "names": ["mx.example.net", "mail.example.net"],
        "issuer": "CN=Voorbeeld CA",
        "until": "2027-01-01",
        "sha256": SHA256,
        "tlsa": "3 1 1",
        "trouble": None,
        "kept": attempt["certificate"]["kept"],
    }
    assert (attempt["host"], attempt["address"], attempt["reply"]) == ("mx.example.net", "192.0.2.25", REPLY)
    assert (attempt["tls"], attempt["authentication"], attempt["host_named_by"]) == ("TLS_1_3", "DANE", ["dnssec"])
    assert (attempt["protocol"], attempt["key_exchange"]) == ("TLSv1.3", "X25519MLKEM768")


@pytest.mark.parametrize("stored", [None, {}, {"form": 99}, {"form": 1}, {"form": 1, "steps": [], "findings": []}])
def test_a_plan_of_another_version_is_left_out_and_the_rest_is_told(ground: Ground, stored: Any) -> None:
    recipient = ground.recipient(ground.conversation(mail()), plan=stored)
    found = trace(recipient)
    assert not (found["decision"] or {}).get("case") and found["summary"]["en"]


def test_values_of_another_version_are_shown_as_they_are(ground: Ground) -> None:
    recipient = ground.recipient(
        ground.conversation(mail()), method="telepathy", opened_at=NOON, opened_with="telepathy"
    )
    tried(sent(recipient, "new-kind"), "NewOutcome", tls=77, authentication=66, certificate="?")
    (told,) = trace(recipient)["mails"]
    assert told["attempts"][0]["tls"] == "77" and "NewOutcome" in told["attempts"][0]["en"]
    assert "telepathy" in event(recipient, EventKind.OPENED)["nl"]


# --- what happens, and is told ------------------------------------------------------------------------------------


def test_a_delivery_without_an_attempt_is_told_once(ground: Ground) -> None:
    recipient = ground.recipient(ground.conversation(mail()), state=State.DELIVERED)
    assert kinds(recipient).count("delivered") == 1
    tried(sent(recipient))
    assert "delivered" not in kinds(recipient) and kinds(recipient).count("attempt") == 1


@pytest.mark.parametrize("state", ["queued", "sent", "failed"])
def test_a_code_by_sms_is_told_and_its_number_and_text_are_not(ground: Ground, state: str) -> None:
    recipient = ground.recipient(ground.conversation(mail()))
    Sms.objects.create(recipient=recipient, sealed=b"x", created_at=NOON, state=state)
    assert event(recipient, EventKind.CODE_ASKED)["sms"] == state
    assert set(event(recipient, EventKind.CODE_ASKED)) == {"at", "event", "mark", "en", "nl", "method", "sms"}


def test_a_code_by_mail_is_told_with_its_way(ground: Ground) -> None:
    recipient = ground.recipient(ground.conversation(mail()), method="email")
    tried(sent(recipient, Kind.CODE))
    assert kinds(recipient).index("code-asked") < kinds(recipient).index("attempt")


def test_a_remembered_device_is_no_code(ground: Ground) -> None:
    recipient = ground.recipient(ground.conversation(mail()))
    device = RememberedDevice(pk=identifier())
    fields = {field.name for field in RememberedDevice._meta.concrete_fields}
    values: dict[str, Any] = {
        "organisation": ground.organisation, "key": recipient.key, "address": recipient.address, "method": "sms",
        "hash": b"x", "created_at": NOON, "used_at": NOON, "expires_at": NOON + timedelta(days=1),
    }  # fmt: skip
    for name, value in values.items():
        if name in fields:
            setattr(device, name, value)
    device.save(force_insert=True)
    Proof.objects.create(
        recipient=recipient, method="sms", browser=b"x", device=device, created_at=NOON, used_at=NOON, expires_at=NOON
    )
    assert event(recipient, EventKind.VERIFIED)["en"] == "A remembered device stood in the place of: SMS code."


def test_answers_are_of_who_wrote_them(ground: Ground) -> None:
    conversation = ground.conversation(mail())
    one, other = (ground.recipient(conversation, f"{name}@example.org") for name in ("een", "ander"))
    ground.add(conversation, mail(), answered_by=one)
    ground.add(conversation, mail())
    assert kinds(one).count("answered") == 1 and kinds(other).count("answered") == 0
    assert kinds(one).count("sender-answered") == kinds(other).count("sender-answered") == 1


def test_who_read_for_a_functional_mailbox_is_named(ground: Ground) -> None:
    conversation = ground.conversation(mail())
    mailbox, reader = ground.account("team@voorbeeld.test"), ground.account("lezer@voorbeeld.test")
    recipient, other = (ground.recipient(conversation, name, method="account") for name in (mailbox.email, "x@y.test"))
    SharedReading.objects.create(
        conversation=conversation, mailbox=mailbox, account=reader, first_at=NOON, last_at=NOON
    )
    assert event(recipient, EventKind.READ_FOR_MAILBOX)["account"] == reader.email
    assert "read-for-mailbox" not in kinds(other)


def test_acts_of_the_sender_are_told_to_whom_they_concern(ground: Ground) -> None:
    conversation = ground.conversation(mail())
    one, other = (ground.recipient(conversation, f"{name}@example.org") for name in ("een", "ander"))
    for kind, recipient in ((SenderAct.Kind.AGAIN, one), (SenderAct.Kind.REVOKED, None)):
        SenderAct.objects.create(conversation=conversation, recipient=recipient, account=None, kind=kind, at=NOON)
    assert {"notify-again", "revoked"} <= set(kinds(one))
    assert "notify-again" not in kinds(other) and "revoked" in kinds(other)
    assert "an account that is gone" in event(other, EventKind.REVOKED)["en"]


def test_what_was_revoked_for_all_can_not_be_opened_and_is_not_waited_for(ground: Ground) -> None:
    conversation = ground.conversation(mail())
    recipient = ground.recipient(conversation)
    revoking.revoke_all(conversation, now=NOON)
    found = trace(recipient)
    assert found["revoked_at"] and found["destroyed_at"] and "destroyed" in kinds(recipient)
    assert "waits" not in kinds(recipient) and "can’t be opened any more" in found["summary"]["en"]


@pytest.mark.parametrize(
    ("answer", "kind"), [("allowed", EventKind.METHOD_ALLOWED), ("refused", EventKind.METHOD_REFUSED)]
)
def test_another_method_is_told_with_its_masked_number(ground: Ground, answer: str, kind: EventKind) -> None:
    recipient = ground.recipient(ground.conversation(mail()))
    MethodRequest.objects.create(
        recipient=recipient, method="account", why="no-account", at=NOON, answer=answer, answered_at=NOON, other="sms",
        masked="+31 6 ****5678",
    )  # fmt: skip
    assert "method-unusable" in kinds(recipient)
    assert ("+31 6 ****5678" in event(recipient, kind)["en"]) == (answer == "allowed")


def test_a_restore_that_lost_a_method_is_told(ground: Ground) -> None:
    recipient = ground.recipient(ground.conversation(mail()))
    MethodRequest.objects.create(recipient=recipient, method="", at=NOON)
    assert "method-lost" in kinds(recipient)


@pytest.mark.parametrize("is_of_mail", [True, False])
def test_what_was_put_aside_is_told(ground: Ground, is_of_mail: bool) -> None:
    recipient = ground.recipient(ground.conversation(mail()), state=State.DECIDED)
    subject = sent(recipient, state="queued").id if is_of_mail else recipient.submission_id
    PutAside.objects.create(kind="transmit", subject=subject, due_at=NOON, put_aside_at=NOON)
    assert "put-aside" in kinds(recipient)


@pytest.mark.parametrize(("state", "told"), [(State.HELD, "is held"), (State.NOTIFIED, "not opened after a reminder")])
def test_what_the_sender_heard_is_told(ground: Ground, state: str, told: str) -> None:
    recipient = ground.recipient(ground.conversation(mail()), state=state, told_at=NOON)
    assert told in event(recipient, EventKind.TOLD)["en"]


@pytest.mark.parametrize("state", [State.NOTIFIED, State.OPENED])
def test_of_who_was_held_first_the_sender_did_not_hear_that_it_was_not_opened(ground: Ground, state: str) -> None:
    recipient = ground.recipient(ground.conversation(mail()), state=state, told_at=NOON)
    Recipient.objects.filter(id=recipient.id).update(delivered_at=NOON + timedelta(hours=1))
    assert "is held" in event(recipient, EventKind.TOLD)["en"]


@pytest.mark.parametrize(
    ("reverse_path", "notify", "hears"),
    [
        ("balie@voorbeeld.test", "", "report"),
        ("balie@voorbeeld.test", "FAILURE,DELAY", "report"),
        ("balie@voorbeeld.test", "never", "not-asked"),
        ("balie@voorbeeld.test", "SUCCESS", "not-asked"),
        ("", "FAILURE", "no-address"),
    ],
)
def test_nobody_is_said_to_hear_of_a_failure_who_does_not(
    ground: Ground, reverse_path: str, notify: str, hears: str
) -> None:
    recipient = ground.recipient(ground.conversation(mail()), state=State.UNDELIVERABLE, notify=notify)
    Submission.objects.filter(id=recipient.submission_id).update(reverse_path=reverse_path)
    assert trace(recipient)["sender_hears"] == hears


def test_the_next_try_is_that_of_the_queue(ground: Ground) -> None:
    recipient = ground.recipient(ground.conversation(mail()), state=State.DECIDED)
    one = sent(recipient, state="queued")
    Job.objects.create(kind="transmit", subject=one.id, due_at=NOON + timedelta(hours=2))
    Job.objects.create(kind="remind", subject=one.id, due_at=NOON)
    found = trace(recipient)
    assert found["mails"][0]["next_try_at"] == "2026-11-23T14:00:00+00:00" and not found["is_final"]


def test_a_trace_takes_as_many_questions_for_many_recipients_as_for_one(
    ground: Ground, django_assert_max_num_queries: Any
) -> None:
    conversation = ground.conversation(mail())
    for number in range(20):
        tried(sent(ground.recipient(conversation, f"gast{number}@example.org")))
    with django_assert_max_num_queries(20):
        assert len(trace_json(Submission.objects.get())["recipients"]) == 20
