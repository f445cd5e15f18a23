"""A database from a backup: what was destroyed since is destroyed, and the work of that moment waits."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.sessions.models import Session
from django.db import transaction

from tests.journey.arrival_ground import Doorstep, mail
from tests.journey.portal_ground import Clock
from zegel.core.policy.ended import Ended
from zegel.edge.chance import identifier
from zegel.edge.journal import Erased, Journal, JournalTrouble
from zegel.journey.custody import erasures, jobs, restoring, retention, revoking
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import (
    Content,
    Conversation,
    Erasure,
    Job,
    Link,
    Proof,
    PutAside,
    Recipient,
    Transmission,
    VerificationData,
)
from zegel.journey.custody.restoring import Restored

pytestmark = pytest.mark.django_db(transaction=True)

TO, OTHER, BCC = "to@example.org", "andere@example.org", "bcc@example.org"


@pytest.fixture
def doorstep(tmp_path: Path, clock: Clock) -> Iterator[Doorstep]:
    with Doorstep(tmp_path, clock).open() as opened:
        yield opened


@pytest.fixture
def shared(doorstep: Doorstep) -> Conversation:
    """With two recipients; beside it there is the conversation of a Bcc recipient."""
    assert doorstep.submit(mail(to=f"{TO}, {OTHER}"), TO, OTHER, BCC).startswith("250 ")
    return Conversation.objects.get(is_blind=False)


def line(number: int, kind: erasures.Kind, subject: uuid.UUID, clock: Clock) -> Erased:
    return Erased(number, clock(), kind.value, subject)


def restored(*lines: Erased, clock: Clock) -> Restored:
    with transaction.atomic():
        return restoring.make_good(lines, now=clock())


# Destroyed again


def test_what_was_destroyed_after_the_backup_is_destroyed_again_at_its_own_time(
    shared: Conversation, clock: Clock
) -> None:
    then = line(1, erasures.Kind.CONVERSATION, shared.id, clock)
    clock.forward(days=3)
    done = restored(then, clock=clock)
    shared.refresh_from_db()
    assert (done.destroyed, shared.gateway_slot, shared.destroyed_at) == (1, None, then.at)
    assert Content.objects.exclude(head=b"").exists() or Content.objects.exclude(sealed=None).exists()  # for the Bcc
    assert [(one.id, one.subject) for one in Erasure.objects.all()] == [(1, shared.id)]
    assert restored(then, clock=clock).destroyed == 0


def test_who_lost_a_message_after_the_backup_loses_it_again(shared: Conversation, clock: Clock) -> None:
    one, other = shared.recipients.order_by("address")
    for recipient in (one, other):
        recipient.links.create(hash=recipient.id.bytes, share=b"s", slot=b"s", created_at=clock())
    assert restored(line(7, erasures.Kind.RECIPIENT, one.id, clock), clock=clock).revoked == 1
    assert [link.recipient_id for link in Link.objects.all()] == [other.id]
    one.refresh_from_db()
    assert one.revoked_at is not None


def test_a_number_that_was_removed_or_replaced_after_the_backup_is_removed(shared: Conversation, clock: Clock) -> None:
    row = VerificationData.objects.create(
        id=identifier(), organisation=shared.organisation, address=TO, key=TO, method="sms", sealed=b"x",
        origin="sender", created_at=clock(),
    )  # fmt: skip
    assert restored(line(1, erasures.Kind.VERIFICATION, row.id, clock), clock=clock).forgotten == 1
    assert not VerificationData.objects.exists()


def test_what_expired_meanwhile_is_destroyed_before_anything_starts(shared: Conversation, clock: Clock) -> None:
    blind = Conversation.objects.get(is_blind=True)
    Conversation.objects.filter(id=shared.id).update(expires_at=clock() + timedelta(days=1))
    Conversation.objects.filter(id=blind.id).update(expires_at=clock() + timedelta(days=9))
    clock.forward(days=2)
    assert restored(clock=clock).expired == 1
    shared.refresh_from_db()
    blind.refresh_from_db()
    assert shared.gateway_slot is None and blind.gateway_slot is not None
    assert [one.subject for one in erasures.after(0)] == [shared.id]  # noted, so that the journal gets it


def test_what_the_backup_knows_already_is_left_alone(shared: Conversation, clock: Clock) -> None:
    with transaction.atomic():
        retention.destroy(shared.id, now=clock())
    known = tuple(erasures.after(0))
    assert restored(*known, clock=clock).destroyed == 0
    assert tuple(erasures.after(0)) == known


def test_who_was_let_in_then_is_not_let_in_now(shared: Conversation, clock: Clock) -> None:
    later = clock() + timedelta(days=1)
    Session.objects.create(session_key="s", session_data="", expire_date=later)
    Proof.objects.create(
        recipient=shared.recipients.order_by("address")[0], method="email", browser=b"b", created_at=clock(),
        used_at=clock(), expires_at=later,
    )  # fmt: skip
    restored(clock=clock)
    assert not Session.objects.exists() and not Proof.objects.exists()


# Noted


def test_every_destruction_is_noted_once(shared: Conversation, clock: Clock) -> None:
    recipient = shared.recipients.order_by("address")[0]
    with transaction.atomic():
        for _ in range(2):
            revoking.revoke(recipient, now=clock())
            retention.destroy(shared.id, now=clock())
    assert [(one.kind, one.subject) for one in erasures.after(0)] == [
        ("recipient", recipient.id),
        ("conversation", shared.id),
    ]


def test_the_journal_gets_what_was_noted_and_refuses_an_older_database(
    shared: Conversation, clock: Clock, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "erasures", b"sleutel1")
    assert erasures.write_journal(journal) == 0
    with transaction.atomic():
        erasures.note(erasures.Kind.CONVERSATION, [identifier() for _ in range(3)], at=clock())
    assert erasures.write_journal(journal) == erasures.last()
    assert len(journal.read()) == 3 and journal.read() == tuple(erasures.after(0))
    known = erasures.last()
    Erasure.objects.filter(id=known).delete()
    with pytest.raises(JournalTrouble, match="knows of later ones than the database"):
        erasures.write_journal(journal)
    assert journal.last() == known


# Put aside


def queued(shared: Conversation, clock: Clock, kind: Transmission.Kind) -> Transmission:
    """A mail to the first recipient, which was decided."""
    recipient = shared.recipients.order_by("address")[0]
    Recipient.objects.filter(id=recipient.id).update(state=Recipient.State.DECIDED)
    made = Transmission.objects.create(
        organisation=shared.organisation, submission=shared.submission, recipient=recipient, kind=kind,
        address=recipient.address, message_id="<een@example.org>", sealed=b"x", created_at=clock(),
    )  # fmt: skip
    with transaction.atomic():
        jobs.put(Kind.TRANSMIT, [made.id], due=clock())
    return made


def test_nothing_but_expiry_is_done_until_somebody_says_so(shared: Conversation, clock: Clock) -> None:
    mailed = queued(shared, clock, Transmission.Kind.NOTIFICATION)
    with transaction.atomic():
        jobs.put(Kind.EXPIRE, [shared.id], due=clock())
    before = set(Job.objects.values_list("kind", "subject", "due_at"))
    done = restored(clock=clock)
    assert {(one.kind, one.subject) for one in Job.objects.all()} == {("expire", shared.id)}
    found = restoring.waiting()
    assert found is not None and found.counts.total() == done.put_aside == len(before) - 1
    assert [one.id for one in restoring.mails()] == [mailed.id]
    with transaction.atomic():
        assert restoring.release() == len(before) - 1
    assert set(Job.objects.values_list("kind", "subject", "due_at")) == before
    assert restoring.waiting() is None


def test_a_lease_from_before_holds_nobody_up(shared: Conversation, clock: Clock) -> None:
    with transaction.atomic():
        jobs.put(Kind.EXPIRE, [shared.id], due=clock())
        assert len(jobs.lease([Kind.EXPIRE, Kind.DECIDE], most=9, now=clock())) == 2
    restored(clock=clock)
    assert {one.lease for one in Job.objects.all()} == {None}


def test_work_that_came_since_is_not_put_aside_and_not_doubled(shared: Conversation, clock: Clock) -> None:
    restored(clock=clock)
    with transaction.atomic():
        jobs.put(Kind.DECIDE, [shared.submission_id], due=clock())
        restoring.release()
    assert Job.objects.filter(kind=Kind.DECIDE).count() == 1


def test_ended_work_leaves_nobody_between(shared: Conversation, clock: Clock) -> None:
    """P7: who was not served yet is undeliverable, and the sender is told; who was, stays so."""
    mailed = queued(shared, clock, Transmission.Kind.NOTIFICATION)
    served = shared.recipients.order_by("address")[1]
    Recipient.objects.filter(id=served.id).update(state=Recipient.State.NOTIFIED)
    restored(clock=clock)
    with transaction.atomic():
        assert restoring.end(now=clock()) == 2  # the first one, and the Bcc recipient who was not decided
    states = dict(Recipient.objects.values_list("address", "state"))
    assert states == {OTHER: "undeliverable", TO: "notified", BCC: "undeliverable"}
    lost = Recipient.objects.filter(state="undeliverable")
    assert {(one.status, one.reason) for one in lost} == {("4.3.0", Ended.RESTORED.value)}
    assert set(Job.objects.values_list("kind", "subject")) == {("report", one.id) for one in lost}
    mailed.refresh_from_db()
    assert (mailed.state, mailed.sealed) == ("failed", None)
    assert not PutAside.objects.exists()


def test_who_is_held_ends_too(shared: Conversation, clock: Clock) -> None:
    Recipient.objects.update(state=Recipient.State.HELD)
    with transaction.atomic():
        Job.objects.all().delete()
        jobs.put(Kind.HELD, [shared.submission_id], due=clock())
    restored(clock=clock)
    with transaction.atomic():
        assert restoring.end(now=clock()) == 3


def test_reports_to_senders_go_on(shared: Conversation, clock: Clock) -> None:
    report = queued(shared, clock, Transmission.Kind.REPORT)
    recipient = shared.recipients.order_by("address")[1]
    with transaction.atomic():
        jobs.put(Kind.REPORT, [recipient.id], due=clock())
    restored(clock=clock)
    with transaction.atomic():
        restoring.end(now=clock())
    assert {("transmit", report.id), ("report", recipient.id)} <= set(Job.objects.values_list("kind", "subject"))
    report.refresh_from_db()
    assert (report.state, report.sealed) == ("queued", b"x")
