"""What a sender can still do about a sent message, what it does, and who can't do it (P7, P14, P20)."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from tests.journey.portal_ground import MARKER, NOON, Clock, Ground, Visitor, mail, signed_in, words
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import (
    Attempt,
    Content,
    Conversation,
    Job,
    Link,
    Message,
    Proof,
    Recipient,
    SealedVerification,
    SenderAct,
    Transmission,
)
from zegel.journey.portal import sent

pytestmark = pytest.mark.django_db
State = Recipient.State


@pytest.fixture
def author(ground: Ground) -> Client:
    return signed_in(ground.author)


def addresses(conversation: Conversation, recipient: Recipient) -> list[str]:
    base = f"/inbox/{conversation.id}"
    return [f"{base}/revoke", f"{base}/revoke/{recipient.id}", f"{base}/expiry", f"{base}/again/{recipient.id}"]


def state(conversation: Conversation) -> list[Any]:
    conversation.refresh_from_db()
    return [
        conversation.destroyed_at,
        conversation.expires_at,
        list(conversation.recipients.order_by("key").values_list("state", "revoked_at")),
        SenderAct.objects.count(),
        Transmission.objects.count(),
        Link.objects.count(),
    ]


# Nobody else


def test_for_anybody_but_the_author_these_pages_do_not_exist(ground: Ground) -> None:
    conversation = ground.conversation(mail())
    recipient = ground.recipient(conversation, "ander@voorbeeld.test", method="account")
    before = state(conversation)
    strangers = [
        signed_in(ground.account("ander@voorbeeld.test")),
        signed_in(ground.account("beheer@voorbeeld.test", role="owner")),
    ]
    for stranger in strangers:
        for address in addresses(conversation, recipient):
            unknown = address.replace(str(conversation.id), str(uuid.uuid4()))
            for act in (stranger.get, stranger.post):
                foreign, none = act(address), act(unknown)
                assert foreign.status_code == none.status_code == 404
                assert _plain(foreign) == _plain(none)
    assert state(conversation) == before


def _plain(response: Any) -> str:
    body = re.sub(r'name="csrfmiddlewaretoken" value="[^"]+"', "", response.content.decode())
    return re.sub(r"[0-9a-f-]{36}", "", body)


def test_a_recipient_of_another_conversation_is_not_there(ground: Ground, author: Client) -> None:
    one, two = ground.conversation(mail()), ground.conversation(mail())
    other = ground.recipient(two)
    for page in ("revoke", "again"):
        assert author.get(f"/inbox/{one.id}/{page}/{other.id}").status_code == 404
        assert author.post(f"/inbox/{one.id}/{page}/{other.id}").status_code == 404
    assert not SenderAct.objects.exists()


def test_looking_changes_nothing(ground: Ground, author: Client) -> None:
    conversation = ground.conversation(mail())
    recipient = ground.recipient(conversation)
    ground.link(recipient)
    before = state(conversation)
    for address in addresses(conversation, recipient):
        assert author.get(address).status_code == 200
        assert author.head(address).status_code == 200
    assert state(conversation) == before


def test_an_act_needs_a_form_of_ours(ground: Ground) -> None:
    conversation = ground.conversation(mail())
    recipient = ground.recipient(conversation)
    author = Client(enforce_csrf_checks=True)
    author.cookies = signed_in(ground.author).cookies
    for address in addresses(conversation, recipient):
        assert author.post(address, HTTP_HOST="localhost").status_code == 403
    assert not SenderAct.objects.exists()


# Revoking for everybody


def test_what_was_revoked_for_everybody_nobody_opens(ground: Ground, author: Client, visitor: Visitor) -> None:
    conversation = ground.conversation(mail())
    recipient = ground.recipient(conversation)
    holder = ground.recipient(conversation, "houder@voorbeeld.test", method="account")
    token = ground.link(recipient)
    visitor.open(recipient, token)
    assert MARKER in words(visitor.read(recipient))
    reader = signed_in(ground.account("houder@voorbeeld.test"))
    assert MARKER in words(reader.get(f"/inbox/{conversation.id}/"))

    asked = words(author.get(f"/inbox/{conversation.id}/revoke"))
    assert "nobody can open it any more" in asked and "can’t be undone" in asked
    assert author.post(f"/inbox/{conversation.id}/revoke").status_code == 303

    assert visitor.read(recipient).status_code in (404, 410)
    assert Visitor(ground).follow(token).status_code == 404
    assert reader.get(f"/inbox/{conversation.id}/").status_code == 404
    mine = words(author.get(f"/inbox/{conversation.id}/"))
    assert MARKER not in mine and "Revoked" in mine and "Revoked for everybody" in mine
    assert MARKER not in words(author.get("/inbox/"))
    conversation.refresh_from_db()
    assert conversation.gateway_slot is None and conversation.destroyed_at is not None
    assert not Link.objects.exists() and not Proof.objects.exists() and not SealedVerification.objects.exists()
    assert set(Message.objects.values_list("key", flat=True)) == {None}
    assert set(Content.objects.values_list("sealed", flat=True)) == {None}
    holder.refresh_from_db()
    assert holder.state == State.OPENED, "what happened stays true"
    assert Job.objects.filter(kind=Kind.EXPIRE, subject=conversation.id, due_at=ground.clock()).count() == 1
    assert ground.rings


def test_who_got_it_readable_keeps_it_and_the_page_says_so(ground: Ground, author: Client) -> None:
    conversation = ground.conversation(mail())
    ground.recipient(conversation)
    readable = ground.recipient(conversation, "leesbaar@example.org", method="", state=State.DELIVERED)
    asked = words(author.get(f"/inbox/{conversation.id}/revoke"))
    assert "It can’t be revoked there: leesbaar@example.org" in asked
    author.post(f"/inbox/{conversation.id}/revoke")
    readable.refresh_from_db()
    assert readable.revoked_at is None and readable.state == State.DELIVERED
    page = words(author.get(f"/inbox/{conversation.id}/"))
    assert "leesbaar@example.org Delivered, readable" in page and "ontvanger@example.org Revoked" in page


@pytest.mark.parametrize("waiting", [State.ACCEPTED, State.HELD])
def test_who_had_not_got_it_yet_gets_nothing_and_the_sender_a_report(
    ground: Ground, author: Client, waiting: str
) -> None:
    for page in ("revoke", "revoke/{}"):
        conversation = ground.conversation(mail())
        recipient = ground.recipient(conversation, state=waiting, method="")
        author.post(f"/inbox/{conversation.id}/{page.format(recipient.id)}")
        recipient.refresh_from_db()
        assert (recipient.state, recipient.status, recipient.reason) == (State.UNDELIVERABLE, "5.7.0", "revoked")
        assert Job.objects.filter(kind=Kind.REPORT, subject=recipient.id).exists()
        assert "ontvanger@example.org Revoked" in words(author.get(f"/inbox/{conversation.id}/"))


def test_revoking_twice_is_revoking_once(ground: Ground, clock: Clock, author: Client) -> None:
    conversation = ground.conversation(mail())
    ground.recipient(conversation)
    for _ in range(2):
        assert author.post(f"/inbox/{conversation.id}/revoke").status_code == 303
        clock.forward(hours=1)
    conversation.refresh_from_db()
    assert conversation.destroyed_at == NOON and SenderAct.objects.count() == 1


def test_a_bcc_of_the_same_message_is_revoked_on_its_own(ground: Ground, author: Client) -> None:
    octets = mail()
    shared, blind = ground.conversation(octets), ground.conversation(octets, blind=True)
    ground.recipient(shared)
    ground.recipient(blind, "geheim@example.net")
    author.post(f"/inbox/{shared.id}/revoke")
    assert MARKER in words(author.get(f"/inbox/{blind.id}/"))


# Revoking for one


def test_revoking_for_one_leaves_the_others_what_they_have(ground: Ground, author: Client) -> None:
    conversation = ground.conversation(mail())
    gone, stays = ground.recipient(conversation), ground.recipient(conversation, "blijft@example.org")
    tokens = {one.id: ground.link(one) for one in (gone, stays)}
    left, right = Visitor(ground), Visitor(ground)
    left.open(gone, tokens[gone.id])
    right.open(stays, tokens[stays.id])
    assert author.post(f"/inbox/{conversation.id}/revoke/{gone.id}").status_code == 303
    assert left.read(gone).status_code == 404 and Visitor(ground).follow(tokens[gone.id]).status_code == 404
    assert MARKER in words(right.read(stays))
    assert not SealedVerification.objects.filter(recipient=gone).exists()
    page = words(author.get(f"/inbox/{conversation.id}/"))
    assert MARKER in page and "ontvanger@example.org Revoked" in page


def test_a_revoked_account_holder_reads_nothing(ground: Ground, author: Client) -> None:
    conversation = ground.conversation(mail())
    holder = ground.recipient(conversation, "houder@voorbeeld.test", method="account")
    reader = signed_in(ground.account("houder@voorbeeld.test"))
    assert reader.get(f"/inbox/{conversation.id}/").status_code == 200
    author.post(f"/inbox/{conversation.id}/revoke/{holder.id}")
    assert reader.get(f"/inbox/{conversation.id}/").status_code == 404
    assert reader.post(f"/inbox/{conversation.id}/answer", {"text": "x"}).status_code == 404
    assert MARKER not in words(reader.get("/inbox/"))


def test_an_account_that_no_notification_reached_reads_and_can_be_stopped(ground: Ground, author: Client) -> None:
    conversation = ground.conversation(mail())
    bounced = ground.recipient(
        conversation, "houder@voorbeeld.test", method="account", state=State.UNDELIVERABLE, status="5.1.1"
    )
    reader = signed_in(ground.account("houder@voorbeeld.test"))
    address = f"/inbox/{conversation.id}/revoke/{bounced.id}"
    assert address in author.get(f"/inbox/{conversation.id}/").content.decode()
    assert author.post(address).status_code == 303
    assert reader.get(f"/inbox/{conversation.id}/").status_code == 404


def test_a_readable_delivery_offers_no_revoking(ground: Ground, author: Client) -> None:
    conversation = ground.conversation(mail())
    readable = ground.recipient(conversation, method="", state=State.DELIVERED)
    page = author.get(f"/inbox/{conversation.id}/")
    assert "It can’t be revoked." in words(page) and f"/revoke/{readable.id}" not in page.content.decode()
    assert author.post(f"/inbox/{conversation.id}/revoke/{readable.id}").status_code == 303
    readable.refresh_from_db()
    assert readable.revoked_at is None


def test_the_link_to_files_of_a_readable_delivery_can_be_revoked(ground: Ground, author: Client) -> None:
    conversation = ground.conversation(mail())
    readable = ground.recipient(conversation, method="email", state=State.DELIVERED)
    token = ground.link(readable)
    assert "Only the link to the files" in words(author.get(f"/inbox/{conversation.id}/revoke/{readable.id}"))
    author.post(f"/inbox/{conversation.id}/revoke/{readable.id}")
    assert Visitor(ground).follow(token).status_code == 404
    page = words(author.get(f"/inbox/{conversation.id}/"))
    assert "Delivered, readable" in page and "the link to its files leads nowhere" in page


def test_a_mail_under_way_is_looked_at_at_once(ground: Ground, clock: Clock, author: Client) -> None:
    conversation = ground.conversation(mail())
    recipient = ground.recipient(conversation, state=State.DECIDED)
    row = Transmission.objects.create(
        organisation=ground.organisation,
        recipient=recipient,
        kind="notification",
        address=recipient.address,
        message_id="<x@voorbeeld.test>",
        sealed=b"x",
        created_at=clock(),
    )
    Job.objects.create(kind=Kind.TRANSMIT, subject=row.id, due_at=NOON + timedelta(hours=3))
    author.post(f"/inbox/{conversation.id}/revoke/{recipient.id}")
    row.refresh_from_db()
    assert row.sealed is None and Job.objects.get(subject=row.id).due_at == NOON


# Expiry


def test_expiry_is_brought_forward_and_put_off(ground: Ground, author: Client) -> None:
    conversation = ground.conversation(mail(), expires_at=NOON + timedelta(days=10))
    ground.recipient(conversation)
    for day, until in (("2026-11-25", "2026-11-25T23:00:00+00:00"), ("2027-06-30", "2027-06-30T22:00:00+00:00")):
        assert author.post(f"/inbox/{conversation.id}/expiry", {"day": day}).status_code == 303
        conversation.refresh_from_db()
        assert conversation.expires_at is not None and conversation.expires_at.isoformat() == until
        job = Job.objects.get(kind=Kind.EXPIRE, subject=conversation.id)
        assert job.due_at == conversation.expires_at and job.lease is None
    assert author.post(f"/inbox/{conversation.id}/expiry", {"day": "2027-07-31", "never": "on"}).status_code == 422
    author.post(f"/inbox/{conversation.id}/expiry", {"day": "2027-06-30", "never": "on"})
    conversation.refresh_from_db()
    assert conversation.expires_at is None and not Job.objects.filter(kind=Kind.EXPIRE).exists()
    page = words(author.get(f"/inbox/{conversation.id}/"))
    assert "Changed: it expires on 26 November 2026 00:00" in page and "Changed: it does not expire" in page


def test_no_later_than_the_organisation_keeps_it(ground: Ground, author: Client) -> None:
    ground.organisation.expires_after_days = 30
    ground.organisation.save()
    conversation = ground.conversation(mail(), expires_at=NOON + timedelta(days=10))
    address = f"/inbox/{conversation.id}/expiry"
    assert "until 23 December 2026 13:00 at most" in words(author.get(address))
    for values in ({"day": "2026-12-24"}, {"never": "on"}, {"day": ""}):
        assert author.post(address, values).status_code == 422
    assert not SenderAct.objects.exists()
    assert author.post(address, {"day": "2026-12-23"}).status_code == 303
    conversation.refresh_from_db()
    assert conversation.expires_at == NOON + timedelta(days=30), "the last day ends where the policy does"


def test_it_is_judged_by_what_another_browser_changed_meanwhile(
    ground: Ground, author: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes beyond the policy since the message asked for it can't be had back once it was given up."""
    ground.organisation.expires_after_days = 30
    ground.organisation.save()
    conversation = ground.conversation(mail(), expires_at=NOON + timedelta(days=365))
    locked = sent._locked

    def late(row: Conversation) -> Conversation:
        Conversation.objects.filter(id=row.id).update(expires_at=NOON + timedelta(days=2))
        return locked(row)

    monkeypatch.setattr(sent, "_locked", late)
    assert author.post(f"/inbox/{conversation.id}/expiry", {"day": "2027-09-01"}).status_code == 422
    conversation.refresh_from_db()
    assert conversation.expires_at == NOON + timedelta(days=2) and not SenderAct.objects.exists()


@pytest.mark.parametrize("day", ["2026-11-22", "", "gisteren", "9999-12-31", "0001-01-01"])
def test_what_is_no_day_to_come_is_refused(ground: Ground, author: Client, day: str) -> None:
    conversation = ground.conversation(mail(), expires_at=NOON + timedelta(days=10))
    assert author.post(f"/inbox/{conversation.id}/expiry", {"day": day}).status_code == 422
    conversation.refresh_from_db()
    assert conversation.expires_at == NOON + timedelta(days=10)


def test_what_expired_is_not_brought_back(ground: Ground, clock: Clock, author: Client) -> None:
    conversation = ground.conversation(mail(), expires_at=NOON + timedelta(days=1))
    clock.forward(days=2)
    for values in ({"day": "2027-01-01"}, {"never": "on"}):
        assert author.post(f"/inbox/{conversation.id}/expiry", values).status_code == 303
    conversation.refresh_from_db()
    assert conversation.expires_at == NOON + timedelta(days=1) and not SenderAct.objects.exists()


# Once more


def test_a_notification_goes_out_once_more_with_a_link_of_its_own(ground: Ground, author: Client) -> None:
    conversation = ground.conversation(mail())
    recipient = ground.recipient(conversation, state=State.OPENED, opened_at=NOON, opened_with="sms")
    token = ground.link(recipient)
    assert author.post(f"/inbox/{conversation.id}/again/{recipient.id}").status_code == 303
    row = Transmission.objects.get(kind="again")
    assert (row.address, row.recipient_id, row.sealed) == (recipient.address, recipient.id, None)
    assert Job.objects.filter(kind=Kind.TRANSMIT, subject=row.id).exists() and ground.rings
    assert Visitor(ground).follow(token).status_code == 303, "the first link stays good"
    assert "is being sent once more" in words(author.get(f"/inbox/{conversation.id}/"))


def test_not_again_and_again(ground: Ground, clock: Clock, author: Client) -> None:
    conversation = ground.conversation(mail())
    one, other = ground.recipient(conversation), ground.recipient(conversation, "ander@example.org")
    address = f"/inbox/{conversation.id}/again/{one.id}"
    assert author.post(address).status_code == 303
    refused = author.post(address)
    assert refused.status_code == 429 and refused["Retry-After"] == "600"
    assert author.post(f"/inbox/{conversation.id}/again/{other.id}").status_code == 303
    for _ in range(4):
        clock.forward(minutes=10)
        assert author.post(address).status_code == 303
    clock.forward(hours=2)
    assert author.post(address).status_code == 429, "five a day"
    assert "You can do so once more on" in words(author.get(address))
    assert Transmission.objects.filter(recipient=one).count() == 5


@pytest.mark.parametrize("not_notified", [State.ACCEPTED, State.DECIDED, State.HELD, State.DELIVERED, "undeliverable"])
def test_who_was_not_notified_is_not_notified_again(ground: Ground, author: Client, not_notified: str) -> None:
    conversation = ground.conversation(mail())
    recipient = ground.recipient(conversation, state=not_notified)
    assert f"/again/{recipient.id}" not in author.get(f"/inbox/{conversation.id}/").content.decode()
    assert author.post(f"/inbox/{conversation.id}/again/{recipient.id}").status_code == 303
    assert not Transmission.objects.exists()


def test_where_only_recipients_can_open_it_nobody_is_notified_again(ground: Ground, author: Client) -> None:
    conversation = ground.conversation(mail())
    recipient = ground.recipient(conversation)
    Conversation.objects.update(gateway_slot=None)
    author.post(f"/inbox/{conversation.id}/again/{recipient.id}")
    assert not Transmission.objects.exists()
    page = words(author.get(f"/inbox/{conversation.id}/"))
    assert "can’t be shown or sent again here" in page and "Revoke for everybody" in page


# True states


def test_the_page_says_how_safely_each_mail_travelled(ground: Ground, clock: Clock, author: Client) -> None:
    conversation = ground.conversation(mail())
    told = ground.recipient(conversation, opened_at=NOON, opened_with="access-code", state=State.OPENED)
    readable = ground.recipient(conversation, "leesbaar@example.org", method="", state=State.DELIVERED)
    for recipient, kind, tls, authentication in ((told, "notification", 13, 1), (readable, "readable", 12, 3)):
        row = Transmission.objects.create(
            organisation=ground.organisation,
            recipient=recipient,
            kind=kind,
            address=recipient.address,
            message_id="<x@voorbeeld.test>",
            state="sent",
            created_at=clock(),
        )
        Attempt.objects.create(transmission=row, at=NOON, outcome="NetworkFailure", tls=0, authentication=0)
        Attempt.objects.create(transmission=row, at=NOON, outcome="Accepted", tls=tls, authentication=authentication)
        Attempt.objects.create(transmission=row, at=NOON, outcome="AutoReply", tls=0, authentication=0)
    page = words(author.get(f"/inbox/{conversation.id}/"))
    assert "Notification delivered over TLS 1.3, certificate checked 23 November 2026 13:00" in page
    assert "Message delivered over TLS 1.2, server authenticated by DANE" in page
    assert "Opened with an access code" in page
    reader = signed_in(ground.account("ander@voorbeeld.test"))
    ground.recipient(conversation, "ander@voorbeeld.test", method="account")
    assert "TLS" not in words(reader.get(f"/inbox/{conversation.id}/"))
