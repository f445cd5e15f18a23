"""Traces of ended messages go at the end of their term, and never while anything of them lives. Unhappy paths first."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import transaction

from tests.journey.portal_ground import Ground, mail
from tests.journey.tracing_ground import rich, sent, tried
from zegel.accounts import traces as terms
from zegel.accounts.models import AuditEntry, Organisation, Webhook
from zegel.core.policy.audit import NotATerm
from zegel.edge.journal import Erased
from zegel.journey.custody import erasures, jobs, restoring, retention, traces
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import (
    Attempt,
    Content,
    Conversation,
    Erasure,
    Job,
    PutAside,
    Recipient,
    Sms,
    Submission,
    Transmission,
    WebhookRequest,
)
from zegel.journey.proving import kept_until

pytestmark = pytest.mark.django_db


def shorten(ground: Ground) -> int:
    cleared: list[int] = []
    done = traces.shorten(ground.clock, remove=ground.blobs.remove, clear=lambda: cleared.append(1))
    assert len(cleared) == (1 if done else 0)
    return done


def ended(ground: Ground, address: str = "lezer@example.org") -> Recipient:
    """Of a message whose keys were destroyed 402 days ago, with an attempt."""
    conversation = ground.conversation(mail())
    recipient = ground.recipient(conversation, address, state=Recipient.State.OPENED)
    tried(sent(recipient))
    retention.destroy(conversation.id, now=ground.clock())
    ground.clock.forward(days=402)
    recipient.refresh_from_db()
    return recipient


def told(ground: Ground) -> list[dict[str, object]]:
    found = AuditEntry.objects.filter(organisation=ground.organisation, act="traces-removed").order_by("pk")
    return [one.details for one in found]


# --- what has to stay --------------------------------------------------------------------------------------------


def test_a_message_that_can_be_read_keeps_its_trace_however_old(ground: Ground) -> None:
    ground.recipient(ground.conversation(mail()))
    ground.clock.forward(days=9000)
    assert shorten(ground) == 0 and Submission.objects.count() == 1 and told(ground) == []


def test_the_day_before_nothing_goes(ground: Ground) -> None:
    ended(ground)
    ground.clock.forward(days=-2)
    assert shorten(ground) == 0
    ground.clock.forward(days=2)
    assert shorten(ground) == 1


def _job(one: Recipient, ground: Ground) -> None:
    jobs.put(Kind.REPORT, [one.id], due=ground.clock())


def _job_of_conversation(one: Recipient, ground: Ground) -> None:
    jobs.put(Kind.EXPIRE, [one.conversation_id], due=ground.clock())


def _put_aside(one: Recipient, ground: Ground) -> None:
    PutAside.objects.create(
        id=uuid.uuid4(), kind="decide", subject=one.submission_id, due_at=ground.clock(), put_aside_at=ground.clock()
    )


def _mail(one: Recipient, ground: Ground) -> None:
    sent(one, Transmission.Kind.REPORT, state=Transmission.State.QUEUED)


def _text(one: Recipient, ground: Ground) -> None:
    Sms.objects.create(id=uuid.uuid4(), recipient=one, created_at=ground.clock(), state="offered")


def _unserved(one: Recipient, ground: Ground) -> None:
    Recipient.objects.filter(id=one.id).update(state=Recipient.State.HELD)


def _webhook(one: Recipient, ground: Ground) -> None:
    hook = Webhook.objects.create(
        id=uuid.uuid4(), organisation=ground.organisation, description="x", url="https://x.test/", events=[],
        secret=b"", created_at=ground.clock(),
    )  # fmt: skip
    WebhookRequest.objects.create(
        id=uuid.uuid4(), webhook=hook, event="recipient.expired", at=ground.clock(), recipient=one,
        due_at=ground.clock(),
    )  # fmt: skip


def _blind_alive(one: Recipient, ground: Ground) -> None:
    other = ground.conversation(mail(), blind=True)
    Conversation.objects.filter(id=other.id).update(submission=one.submission_id)


def _joined_alive(one: Recipient, ground: Ground) -> None:
    """Somebody of a later submission joined the conversation, and that one has a reader of its own."""
    later = ground.conversation(mail())
    ground.recipient(later, "ander@example.org")
    joined = ground.recipient(one.conversation, "erbij@example.org", state=Recipient.State.OPENED)
    Recipient.objects.filter(id=joined.id).update(submission=later.submission_id)


@pytest.mark.parametrize(
    "left",
    [
        _job, _job_of_conversation, _put_aside, _mail, _text, _unserved, _webhook, _blind_alive, _joined_alive,
    ],
)  # fmt: skip
def test_while_anything_waits_or_lives_all_of_it_stays(
    ground: Ground, left: Callable[[Recipient, Ground], None]
) -> None:
    one = ended(ground)
    left(one, ground)
    before = Recipient.objects.count(), Attempt.objects.count(), Submission.objects.count()
    assert shorten(ground) == 0
    assert (Recipient.objects.count(), Attempt.objects.count(), Submission.objects.count()) == before
    assert told(ground) == [] and not Erasure.objects.filter(kind="submission").exists()


def test_who_wants_no_term_keeps_everything_and_other_organisations_have_their_own(ground: Ground) -> None:
    ended(ground)
    other = Organisation.objects.create(name="Ander")
    terms.keep(ground.organisation, None)
    assert shorten(ground) == 0
    terms.keep(other, 90)
    assert shorten(ground) == 0
    terms.keep(ground.organisation, 500)
    assert shorten(ground) == 0
    terms.keep(ground.organisation, 90)
    assert shorten(ground) == 1
    assert not AuditEntry.objects.filter(organisation=other, act="traces-removed").exists()


@pytest.mark.parametrize("days", [0, -1, 89, 36_501])
def test_what_is_no_term_is_refused(ground: Ground, days: int) -> None:
    with pytest.raises(NotATerm):
        terms.keep(ground.organisation, days)
    ground.organisation.refresh_from_db()
    assert ground.organisation.trace_days == 400


# --- what goes ---------------------------------------------------------------------------------------------------


def test_all_that_is_known_of_its_way_goes_and_is_told_once(ground: Ground) -> None:
    found = rich(ground)
    alive = ground.recipient(ground.conversation(mail()), "leeft@example.org")
    conversations = list(Conversation.objects.filter(submission=found.submission).values_list("id", flat=True))
    for one in conversations:
        retention.destroy(one, now=ground.clock())
    Job.objects.all().delete()
    Transmission.objects.filter(state=Transmission.State.QUEUED).update(state=Transmission.State.SENT)
    Sms.objects.update(state="sent")
    Recipient.objects.filter(submission=found.submission, state=Recipient.State.HELD).update(state="undeliverable")
    submission = found.submission.id
    ground.clock.forward(days=402)
    assert shorten(ground) == 1
    assert [one.id for one in Recipient.objects.all()] == [alive.id]
    assert not Attempt.objects.exists() and not Transmission.objects.exists()
    assert not Conversation.objects.filter(id__in=conversations).exists()
    assert Content.objects.count() == 1, "of the one that lives"
    assert told(ground) == [{"messages": 1}]
    assert [one.subject for one in Erasure.objects.filter(kind="submission")] == [submission]
    entry = AuditEntry.objects.get(act="traces-removed")
    assert entry.by_kind == "gateway" and "example.org" not in json.dumps([entry.about, entry.details])
    assert shorten(ground) == 0 and len(told(ground)) == 1


def test_many_go_in_small_batches_and_one_line_tells(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "AT_ONCE", 2)
    for number in range(5):
        ended(ground, f"lezer{number}@example.org")
        ground.clock.forward(days=-402)
    stays = ended(ground, "wacht@example.org")
    _mail(stays, ground)
    assert shorten(ground) == 5
    assert told(ground) == [{"messages": 5}]
    assert [one.id for one in Submission.objects.all()] == [stays.submission_id]


def test_what_a_run_that_broke_off_removed_is_told_by_the_next(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "AT_ONCE", 1)
    for number in range(2):
        ended(ground, f"lezer{number}@example.org")
        ground.clock.forward(days=-402)
    ground.clock.forward(days=402)

    def breaks(_: uuid.UUID) -> None:
        raise OSError("the disk is away")

    with pytest.raises(OSError, match="away"):
        traces.shorten(ground.clock, remove=breaks, clear=lambda: None)
    assert Submission.objects.count() == 1 and told(ground) == []
    assert shorten(ground) == 1
    assert told(ground) == [{"messages": 2}]


def test_who_joined_a_conversation_goes_with_it(ground: Ground) -> None:
    one = ended(ground)
    later = ended(ground, "later@example.org")
    joined = ground.recipient(one.conversation, "erbij@example.org", state=Recipient.State.OPENED)
    Recipient.objects.filter(id=joined.id).update(submission=later.submission_id)
    assert shorten(ground) == 2
    assert not Recipient.objects.exists() and not Submission.objects.exists()


# --- after a restore, and on the proof ---------------------------------------------------------------------------


def test_a_backup_from_before_forgets_again(ground: Ground) -> None:
    one = ground.recipient(ground.conversation(mail()))
    lines = [
        Erased(7, ground.clock(), erasures.Kind.CONVERSATION.value, one.conversation_id),
        Erased(8, ground.clock(), erasures.Kind.SUBMISSION.value, one.submission_id),
        Erased(9, ground.clock(), erasures.Kind.SUBMISSION.value, uuid.uuid4()),
    ]
    with transaction.atomic():
        done = restoring.make_good(lines, now=ground.clock())
    assert (done.destroyed, done.traceless) == (1, 1)
    assert not Submission.objects.exists() and not Recipient.objects.exists()


def test_a_proof_says_until_when_its_records_are_kept(ground: Ground) -> None:
    zone = ZoneInfo("Europe/Amsterdam")
    conversation = ground.conversation(mail())
    submission = conversation.submission
    assert kept_until(submission, zone).en == "400 days after the message can’t be read any more"
    ends = ground.clock() + timedelta(days=30)
    Conversation.objects.filter(id=conversation.id).update(expires_at=ends)
    day = f"{(ends + timedelta(days=400)).astimezone(zone):%Y-%m-%d}"
    assert kept_until(submission, zone).en == f"{day}, as the term is now"
    submission.organisation.trace_days = None
    assert kept_until(submission, zone).nl == "zonder termijn"
