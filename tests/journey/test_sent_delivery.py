"""What a sender's act does to mail under way: a revoked message isn't sent, one more notification opens, and what was
put off isn't destroyed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from django.db import transaction

from tests.journey.delivery_ground import PHONE, Post, a_post, link_in, status_of, words
from tests.journey.portal_ground import Clock, Visitor
from zegel.edge.database import Writer
from zegel.journey import milestones, steps
from zegel.journey.custody import revoking
from zegel.journey.custody.jobs import Kind, LeaseLost
from zegel.journey.custody.models import Conversation, Job, Link, Recipient, Transmission
from zegel.journey.custody.retention import Retention

pytestmark = pytest.mark.django_db(transaction=True)

GUEST: Final = "gast@open.test"
OTHER: Final = "ander@dicht.test"
BY_SMS: Final = ("zivver-access-right", f"{GUEST} sms {PHONE}")


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        yield found


def revoke(post: Post, address: str) -> None:
    with transaction.atomic():
        assert revoking.revoke(post.recipient(address), now=post.clock())


def test_what_is_revoked_before_it_left_is_not_sent_and_the_sender_hears(post: Post) -> None:
    post.submit(GUEST, OTHER, fields=[BY_SMS])
    server, other = post.mx("open.test"), post.mx("dicht.test")
    post.run(post.decision.decide(post.lease(Kind.DECIDE)[0]))
    assert post.recipient(GUEST).state == "decided"
    revoke(post, GUEST)
    post.settle()
    assert server.messages() == [] and len(other.messages()) == 1
    found = post.recipient(GUEST)
    assert (found.state, found.status, found.reason) == ("undeliverable", "5.7.0", "revoked")
    (report,) = post.failures()
    assert "5.7.0" in status_of(report) and GUEST in status_of(report)
    assert not Link.objects.filter(recipient=found).exists()
    assert not Transmission.objects.filter(recipient=found).exclude(sealed=None).exists()


def test_who_is_revoked_while_held_or_undecided_is_reported_once(post: Post) -> None:
    post.submit(GUEST, OTHER)
    revoke(post, GUEST)
    post.mx("dicht.test")
    post.settle()
    assert post.recipient(GUEST).state == "undeliverable" and post.recipient(OTHER).state == "notified"
    assert len(post.failures()) == 1


def test_a_revoked_recipient_is_not_reminded(post: Post) -> None:
    post.ground.organisation.remind_after_days = 3
    post.ground.organisation.save()
    server = post.mx("open.test")
    post.submit(GUEST)
    post.settle()
    revoke(post, GUEST)
    post.later(days=4)
    assert len(server.messages()) == 1 and post.recipient(GUEST).state == "notified"


@pytest.mark.parametrize("is_opened", [False, True])
def test_one_more_notification_brings_a_link_that_opens(post: Post, is_opened: bool) -> None:
    server = post.mx("open.test")
    post.submit(GUEST, fields=[BY_SMS])
    post.settle()
    recipient, first = post.recipient(GUEST), link_in(server.messages()[0])
    if is_opened:
        visitor = Visitor(post.ground)
        visitor.open(recipient, first)
        assert visitor.read(recipient).status_code == 200
    recipient = Recipient.objects.select_related("conversation", "submission__account").get(id=recipient.id)
    with transaction.atomic():
        steps.notify_again(recipient, now=post.clock())
    post.settle()
    again = link_in(server.messages()[-1])
    assert len(server.messages()) == 2 and again != first
    assert "not been opened" not in words(server.messages()[-1]), "it doesn't say what isn't so"
    for token in (first, again):
        assert Visitor(post.ground).follow(token).status_code == 303
    assert Transmission.objects.get(kind="again").state == "sent"
    assert post.recipient(GUEST).state == ("opened" if is_opened else "notified")


@pytest.mark.parametrize("meanwhile", ["revoked", "destroyed", "expired"])
def test_one_more_notification_does_not_leave_when_there_is_nothing_to_open_any_more(
    post: Post, meanwhile: str
) -> None:
    server = post.mx("open.test")
    post.submit(GUEST)
    post.settle()
    recipient = Recipient.objects.select_related("conversation", "submission__account").get(address=GUEST)
    with transaction.atomic():
        steps.notify_again(recipient, now=post.clock())
        if meanwhile == "revoked":
            revoking.revoke(recipient, now=post.clock())
        elif meanwhile == "destroyed":
            revoking.revoke_all(recipient.conversation, now=post.clock())
        else:
            Conversation.objects.update(expires_at=post.clock())
    post.settle()
    assert len(server.messages()) == 1 and not Job.objects.filter(kind=Kind.TRANSMIT).exists()


def test_an_expiry_that_is_put_off_at_the_last_moment_destroys_nothing(post: Post) -> None:
    post.submit(GUEST, fields=[("zivver-message-expiration", "delete P1D")])
    post.clock.forward(days=1)
    (leased,) = post.lease(Kind.EXPIRE)
    conversation, later = Conversation.objects.get(), post.clock() + timedelta(days=5)
    with transaction.atomic():
        Conversation.objects.update(expires_at=later)
        milestones.expires_at_another_time(conversation.id, at=later)
    writer = Writer()
    try:
        with pytest.raises(LeaseLost):
            post.run(Retention(writer, post.ground.blobs, now=post.clock).expire(leased))
    finally:
        writer.close()
    conversation.refresh_from_db()
    assert conversation.destroyed_at is None and conversation.gateway_slot is not None
    assert Job.objects.get(kind=Kind.EXPIRE).due_at == later


def test_what_is_revoked_for_all_is_cleared_by_the_job_of_its_expiry(post: Post) -> None:
    post.submit(GUEST, fields=[("zivver-message-expiration", "delete P9D")])
    conversation = Conversation.objects.get()
    with transaction.atomic():
        revoking.revoke_all(conversation, now=post.clock())
        milestones.revoked(conversation.id, now=post.clock())
    job = Job.objects.get(kind=Kind.EXPIRE)
    assert job.due_at == post.clock()
    writer = Writer()
    retention = Retention(writer, post.ground.blobs, now=post.clock)
    try:
        for leased in post.lease(Kind.EXPIRE):
            post.run(retention.expire(leased))
    finally:
        writer.close()
    assert not Job.objects.filter(kind=Kind.EXPIRE, due_at__gt=post.clock() + timedelta(hours=1)).exists()
