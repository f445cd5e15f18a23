"""What account holders see: their own conversations, how far each came, and nothing of anybody else's (P14, P20)."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from tests.journey.portal_ground import MARKER, NOON, PASSWORD, PIXEL, TOTP, Clock, Ground, Visitor, dump, mail, words
from zegel.accounts.models import Account
from zegel.accounts.sign_in import current_totp, enrol_totp
from zegel.journey.custody.models import Conversation, Job, Message, Recipient

pytestmark = pytest.mark.django_db


def signed_in(account: Account) -> Client:
    """A browser of this account, through both steps."""
    enrol_totp(account, TOTP)
    client = Client(HTTP_HOST="localhost", HTTP_ACCEPT_LANGUAGE="en")
    client.post("/account/sign-in/", {"login": account.email, "password": PASSWORD})
    assert client.post("/account/security/authenticate/", {"code": current_totp(TOTP)}).status_code == 302
    return client


@pytest.fixture
def author(ground: Ground) -> Client:
    return signed_in(ground.author)


@pytest.fixture
def reader(ground: Ground) -> Client:
    """An account that receives."""
    return signed_in(ground.account("ontvanger@example.org"))


def pages(conversation: Conversation) -> list[str]:
    message = conversation.messages.get(answered_by=None).id
    base = f"/inbox/{conversation.id}/"
    return [base, f"{base}body/{message}", f"{base}part/{message}/1", f"{base}message/{message}.eml"]


def without_csrf(response: Any) -> str:
    body = re.sub(r'name="csrfmiddlewaretoken" value="[^"]+"', "", response.content.decode())
    return re.sub(r"[0-9a-f-]{36}", "", body)


# Nobody else


def test_who_is_not_signed_in_is_asked_to(ground: Ground) -> None:
    conversation = ground.conversation(mail(markup="<p>x"))
    for address in ("/inbox/", *pages(conversation), f"/inbox/{uuid.uuid4()}/"):
        response = Client(HTTP_HOST="localhost").get(address)
        assert response.status_code == 302 and response["Location"].startswith("/account/sign-in/")


def test_what_is_somebody_elses_looks_like_what_does_not_exist(ground: Ground, reader: Client) -> None:
    conversation = ground.conversation(mail(markup="<p>x", files={"a.pdf": ("application/pdf", b"x")}))
    ground.recipient(conversation, "ander@example.org", method="account")
    ground.recipient(conversation, "ontvanger@example.org", method="sms")  # D-9: an account doesn't replace a method
    for address in pages(conversation):
        foreign = reader.get(address)
        unknown = reader.get(address.replace(str(conversation.id), str(uuid.uuid4())))
        assert foreign.status_code == unknown.status_code == 404
        assert without_csrf(foreign) == without_csrf(unknown)
        assert sorted(foreign.headers) == sorted(unknown.headers)
    assert reader.post(f"/inbox/{conversation.id}/answer", {"text": "x"}).status_code == 404
    assert MARKER not in words(reader.get("/inbox/"))


def test_a_colleague_and_an_administrator_read_nothing(ground: Ground) -> None:
    conversation = ground.conversation(mail())
    colleague = signed_in(ground.account("beheer@voorbeeld.test", role="owner"))
    assert colleague.get(f"/inbox/{conversation.id}/").status_code == 404
    assert MARKER not in words(colleague.get("/inbox/"))


def test_a_message_of_another_conversation_is_not_there(ground: Ground, author: Client) -> None:
    one, two = ground.conversation(mail()), ground.conversation(mail(markup="<p>x"))
    message = two.messages.get().id
    for page in (f"body/{message}", f"part/{message}/0", f"message/{message}.eml"):
        assert author.get(f"/inbox/{one.id}/{page}").status_code == 404


def test_an_author_writes_to_nobody_where_nobody_would_read_it(ground: Ground, author: Client) -> None:
    conversation = ground.conversation(mail())
    assert author.post(f"/inbox/{conversation.id}/answer", {"text": "x"}).status_code == 404
    assert Message.objects.count() == 1


# How far it came


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (Recipient.State.ACCEPTED, "Waiting"),
        (Recipient.State.DECIDED, "Waiting"),
        (Recipient.State.HELD, "Held"),
        (Recipient.State.NOTIFIED, "Notified, not opened yet"),
        (Recipient.State.DELIVERED, "Delivered, readable: opening unknown"),
        (Recipient.State.OPENED, "Opened"),
        (Recipient.State.UNDELIVERABLE, "Bounced"),
    ],
)
def test_delivered_opened_and_unknown_are_different_words(
    ground: Ground, author: Client, state: str, said: str
) -> None:
    conversation = ground.conversation(mail())
    ground.recipient(conversation, state=state, opened_at=NOON if state == "opened" else None)
    for address in ("/inbox/", f"/inbox/{conversation.id}/"):
        page = words(author.get(address))
        assert f"ontvanger@example.org {said}" in page
        others = {"Delivered, readable: opening unknown", "Notified, not opened yet", "Bounced"} - {said}
        assert not any(other in page for other in others)


def test_a_bounce_says_why(ground: Ground, author: Client) -> None:
    ground.recipient(ground.conversation(mail()), state=Recipient.State.UNDELIVERABLE, reason="too-late")
    assert "could not be delivered in time" in words(author.get("/inbox/"))


def test_who_opened_what_was_reported_as_bounced_has_opened_it(ground: Ground, author: Client) -> None:
    conversation = ground.conversation(mail())
    ground.recipient(conversation, state=Recipient.State.OPENED, opened_at=NOON, reason="came-back", status="5.1.1")
    for address in ("/inbox/", f"/inbox/{conversation.id}/"):
        page = words(author.get(address))
        assert "ontvanger@example.org Opened" in page
        assert "delivered" not in page


def test_a_bcc_is_a_conversation_of_its_own(ground: Ground, author: Client) -> None:
    octets = mail()
    shared, blind = ground.conversation(octets), ground.conversation(octets, blind=True)
    ground.recipient(shared)
    ground.recipient(blind, "geheim@example.net")
    listed = words(author.get("/inbox/"))
    assert "Sent as Bcc to geheim@example.net" in listed and "Sent to ontvanger@example.org" in listed
    assert "geheim" not in words(author.get(f"/inbox/{shared.id}/"))
    assert "as Bcc" in words(author.get(f"/inbox/{blind.id}/"))


def test_the_list_is_newest_first_in_pages_and_names_the_newest_answer(
    ground: Ground, clock: Clock, author: Client
) -> None:
    for number in range(30):
        ground.recipient(ground.conversation(mail(subject=f"Bericht {number:02}")), f"r{number}@example.org")
        clock.forward(minutes=1)
    recipient = Recipient.objects.get(key="r29@example.org")
    visitor = Visitor(ground)
    visitor.open(recipient, ground.link(recipient))
    visitor.answer(recipient, "Dank")
    first, second = author.get("/inbox/"), author.get("/inbox/?page=2")
    assert re.findall(r"Bericht \d\d", words(first)) == [f"Bericht {number:02}" for number in range(29, 4, -1)]
    assert re.findall(r"Bericht \d\d", words(second)) == [f"Bericht {number:02}" for number in range(4, -1, -1)]
    assert "Newest answer: r29@example.org, 23 November 2026 13:30" in words(first)


def test_a_list_of_nothing_says_so(author: Client) -> None:
    assert "There is nothing here yet" in words(author.get("/inbox/"))


# Reading


def test_an_author_reads_message_and_answers(ground: Ground, author: Client) -> None:
    files = {"a.pdf": ("application/pdf", b"%PDF")}
    conversation = ground.conversation(mail(markup="<p>Hoi <img src='cid:x'>", pictures={"x": PIXEL}, files=files))
    recipient = ground.recipient(conversation)
    visitor = Visitor(ground)
    visitor.open(recipient, ground.link(recipient))
    visitor.answer(recipient, "Mijn antwoord", ("b.txt", b"inhoud"))
    page = author.get(f"/inbox/{conversation.id}/")
    assert MARKER in words(page) and "Mijn antwoord" in words(page)
    addresses = re.findall(r'(?:href|src)="(/inbox/[^"]+/(?:part|body|message)/[^"]+)"', page.content.decode())
    assert len(addresses) == 6  # frame, in full, two files, two messages
    answers: list[Any] = [author.get(address) for address in addresses]
    got = [b"".join(one.streaming_content) for one in answers]
    assert b"%PDF" in got and b"inhoud" in got and any(b"data:image/png" in one for one in got)
    assert 'name="nonce"' in page.content.decode()


def test_reading_by_the_author_is_not_opening(ground: Ground, author: Client) -> None:
    conversation = ground.conversation(mail())
    recipient = ground.recipient(conversation)
    before = [row for row in dump() if not row.startswith("django_session")]
    for address in ("/inbox/", *pages(conversation)[:1]):
        author.get(address)
    assert [row for row in dump() if not row.startswith("django_session")] == before
    recipient.refresh_from_db()
    assert recipient.state == Recipient.State.NOTIFIED


def test_a_recipient_with_an_account_reads_opens_and_answers(ground: Ground, clock: Clock, reader: Client) -> None:
    conversation = ground.conversation(mail())
    recipient = ground.recipient(conversation, method="account")
    other = ground.recipient(conversation, "ander@example.org", state=Recipient.State.UNDELIVERABLE)
    listed = words(reader.get("/inbox/"))
    assert "Received from Balie Poli 4" in listed and other.address not in listed and "Bounced" not in listed
    page = reader.get(f"/inbox/{conversation.id}/")
    assert "De uitslag is goed." in words(page) and "Bounced" not in words(page)
    recipient.refresh_from_db()
    assert (recipient.state, recipient.opened_with, recipient.opened_at) == ("opened", "account", clock())
    nonce = re.findall(r'name="nonce" value="([^"]+)"', page.content.decode())[0]
    response = reader.post(f"/inbox/{conversation.id}/answer", {"nonce": nonce, "text": "Dank u wel"})
    assert response.status_code == 303 and response["Location"] == f"/inbox/{conversation.id}/"
    answer = Message.objects.get(answered_by=recipient)
    assert Job.objects.get(kind="answered").subject == answer.id
    assert "Dank u wel" in words(reader.get(f"/inbox/{conversation.id}/"))


def test_a_second_spelling_of_the_address_is_the_same_reader(ground: Ground) -> None:
    conversation = ground.conversation(mail())
    ground.recipient(conversation, "Ontvanger@EXAMPLE.org", method="account")
    assert signed_in(ground.account("ontvanger@example.org")).get(f"/inbox/{conversation.id}/").status_code == 200


# Without keys


def test_recipients_only_shows_states_without_content_and_says_why(ground: Ground, author: Client) -> None:
    conversation = ground.conversation(mail())
    ground.recipient(conversation)
    Conversation.objects.update(gateway_slot=None)
    listed, page = author.get("/inbox/"), author.get(f"/inbox/{conversation.id}/")
    assert "(content destroyed)" in words(listed) and MARKER not in words(listed)
    assert "Only the recipients can read this message" in words(page)
    assert "ontvanger@example.org Notified" in words(page) and MARKER not in words(page)
    for address in pages(conversation)[1:]:
        assert MARKER not in words(author.get(address))


def test_an_expired_conversation_shows_states_without_content(ground: Ground, clock: Clock, author: Client) -> None:
    conversation = ground.conversation(mail(), expires_at=NOON + timedelta(days=1))
    ground.recipient(conversation)
    assert MARKER in words(author.get(f"/inbox/{conversation.id}/"))
    clock.forward(days=1)
    page = words(author.get(f"/inbox/{conversation.id}/"))
    assert "expired" in page and MARKER not in page
    assert MARKER not in words(author.get("/inbox/"))


def test_a_recipients_own_link_still_opens_what_the_gateway_no_longer_can(ground: Ground, reader: Client) -> None:
    conversation = ground.conversation(mail())
    recipient = ground.recipient(conversation, method="account")
    token = ground.link(recipient)
    Conversation.objects.update(gateway_slot=None)
    assert MARKER not in words(reader.get(f"/inbox/{conversation.id}/"))
    reader.get(f"/m/{token}")
    assert MARKER in words(reader.get(f"/inbox/{conversation.id}/"))
