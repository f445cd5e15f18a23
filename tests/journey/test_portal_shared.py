"""Functional mailboxes: who may read as one, who may not, and that who read what is known to all who read it."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.test import Client

from tests.journey.portal_ground import MARKER, NOON, Clock, Ground, mail, signed_in, words
from zegel.accounts import mailboxes
from zegel.accounts.models import Account, MailboxReader, Organisation
from zegel.accounts.sign_in import enrol_totp
from zegel.journey.custody.models import Conversation, Message, Recipient, SenderAct, SharedReading
from zegel.journey.tracing import trace_json

pytestmark = pytest.mark.django_db


@pytest.fixture
def info(ground: Ground) -> Account:
    """A functional mailbox; nobody signs in to it itself."""
    return Account.objects.create_user("info@voorbeeld.test", organisation=ground.organisation)


@pytest.fixture
def reader(ground: Ground, info: Account) -> Account:
    account = ground.account("lezer@voorbeeld.test", display_name="Lezer Een")
    mailboxes.add_reader(info, account)
    return account


@pytest.fixture
def received(ground: Ground, info: Account) -> Conversation:
    conversation = ground.conversation(mail())
    ground.recipient(conversation, info.email, method="account")
    return conversation


def plain(response: Any) -> str:
    body = re.sub(r'name="csrfmiddlewaretoken" value="[^"]+"', "", response.content.decode())
    return re.sub(r"[0-9a-f-]{36}|mailbox=\d+", "", body)


# Who may not


def test_a_colleague_who_is_no_reader_meets_nothing(ground: Ground, info: Account, received: Conversation) -> None:
    colleague = signed_in(ground.account("collega@voorbeeld.test", role="owner"))
    foreign, unknown = colleague.get(f"/inbox/{received.id}/"), colleague.get(f"/inbox/{uuid.uuid4()}/")
    assert foreign.status_code == unknown.status_code == 404 and plain(foreign) == plain(unknown)
    shut, none = colleague.get(f"/inbox/?mailbox={info.id}"), colleague.get("/inbox/?mailbox=999999")
    assert shut.status_code == none.status_code == 404 and plain(shut) == plain(none)
    assert colleague.post("/inbox/search", {"text": "x", "mailbox": str(info.id)}).status_code == 404
    assert not SharedReading.objects.exists()


@pytest.mark.parametrize("named", ["x", "-1", "1 OR 1=1", "٣", "9" * 400])
def test_what_is_no_mailbox_is_not_there(ground: Ground, reader: Account, named: str) -> None:
    assert signed_in(reader).get("/inbox/", {"mailbox": named}).status_code == 404


def test_nobody_of_another_organisation_becomes_a_reader(ground: Ground, info: Account) -> None:
    other = Account.objects.create_user("a@ander.test", organisation=Organisation.objects.create(name="Ander"))
    guest = Account.objects.create_user("gast@example.org")
    for mailbox, account in ((info, other), (info, guest), (guest, info), (info, info)):
        with pytest.raises(mailboxes.NotAReader):
            mailboxes.add_reader(mailbox, account)
    assert not MailboxReader.objects.exists()


def test_reading_is_not_handed_on(ground: Ground, info: Account, reader: Account) -> None:
    third = ground.account("derde@voorbeeld.test")
    for mailbox, account in ((reader, third), (third, info)):
        with pytest.raises(mailboxes.NotAReader):
            mailboxes.add_reader(mailbox, account)


@pytest.mark.parametrize("change", ["removed", "left", "suspended", "mailbox left"])
def test_who_may_no_longer_read_reads_nothing_from_the_next_click_on(
    ground: Ground, info: Account, reader: Account, received: Conversation, change: str
) -> None:
    client = signed_in(reader)
    assert MARKER in words(client.get(f"/inbox/{received.id}/"))
    elsewhere = Organisation.objects.create(name="Ander")
    match change:
        case "removed":
            assert mailboxes.remove_reader(info, reader)
        case "left":
            Account.objects.filter(pk=reader.pk).update(organisation=elsewhere)
        case "suspended":
            Account.objects.filter(pk=info.pk).update(is_active=False)
        case _:
            Account.objects.filter(pk=info.pk).update(organisation=elsewhere)
    assert client.get(f"/inbox/{received.id}/").status_code == 404
    assert client.get(f"/inbox/?mailbox={info.id}").status_code == 404
    assert MARKER not in words(client.get("/inbox/"))


# Who may


def test_a_reader_finds_reads_and_answers_as_the_mailbox(
    ground: Ground, clock: Clock, info: Account, reader: Account, received: Conversation
) -> None:
    client = signed_in(reader)
    own = client.get("/inbox/")
    assert MARKER not in words(own) and "info@voorbeeld.test" in words(own)
    assert MARKER in words(client.get(f"/inbox/?mailbox={info.id}"))
    assert MARKER in words(client.post("/inbox/search", {"text": MARKER, "mailbox": str(info.id)}))
    page = client.get(f"/inbox/{received.id}/")
    assert "You read this as info@voorbeeld.test" in words(page)
    row = Recipient.objects.get(conversation=received)
    assert (row.state, row.opened_with, row.opened_at) == ("opened", "account", NOON)
    nonce = re.findall(r'name="nonce" value="([^"]+)"', page.content.decode())[0]
    clock.forward(minutes=5)
    client.post(f"/inbox/{received.id}/answer", {"nonce": nonce, "text": "Namens info"})
    assert Message.objects.filter(answered_by=row).count() == 1
    reading = SharedReading.objects.get()
    assert (reading.account, reading.mailbox, reading.first_at) == (reader, info, NOON)
    assert reading.answered_at == clock()


def test_who_read_what_is_shown_to_all_who_read_it_and_in_the_trace(
    ground: Ground, clock: Clock, info: Account, reader: Account, received: Conversation
) -> None:
    second = ground.account("tweede@voorbeeld.test")
    mailboxes.add_reader(info, second)
    signed_in(reader).get(f"/inbox/{received.id}/")
    clock.forward(hours=1)
    page = words(signed_in(second).get(f"/inbox/{received.id}/"))
    assert "Lezer Een: read first on 23 November 2026 13:00" in page
    (found,) = trace_json(received.submission)["recipients"]
    said = [event["en"] for event in found["events"]]
    assert any("lezer@voorbeeld.test" in one for one in said)
    author = words(signed_in(ground.author).get(f"/inbox/{received.id}/"))
    assert "Lezer Een" not in author, "the other side sees that the mailbox opened it, not who sits behind it"


def test_a_file_that_is_fetched_without_the_page_is_a_reading_too(
    ground: Ground, info: Account, reader: Account, received: Conversation
) -> None:
    message = received.messages.get().id
    assert signed_in(reader).get(f"/inbox/{received.id}/message/{message}.eml").status_code == 200
    assert SharedReading.objects.get().account == reader


def test_looking_at_the_list_is_not_reading(ground: Ground, info: Account, reader: Account, received: Any) -> None:
    client = signed_in(reader)
    client.get(f"/inbox/?mailbox={info.id}")
    client.head(f"/inbox/{received.id}/")
    assert not SharedReading.objects.exists()


def test_reading_ones_own_messages_is_not_recorded(ground: Ground, reader: Account) -> None:
    conversation = ground.conversation(mail())
    ground.recipient(conversation, reader.email, method="account")
    assert MARKER in words(signed_in(reader).get(f"/inbox/{conversation.id}/"))
    assert not SharedReading.objects.exists()


def test_what_the_mailbox_sent_its_readers_see_and_can_revoke(ground: Ground, info: Account, reader: Account) -> None:
    conversation = ground.conversation(mail(), author=info)
    ground.recipient(conversation)
    client = signed_in(reader)
    assert "Revoke for everybody" in words(client.get(f"/inbox/{conversation.id}/"))
    assert client.post(f"/inbox/{conversation.id}/revoke").status_code == 303
    conversation.refresh_from_db()
    assert conversation.destroyed_at == NOON and SenderAct.objects.get().account == reader


# Row 1


def test_a_mailbox_counts_as_secured_by_the_second_factors_of_its_readers(ground: Ground, info: Account) -> None:
    assert mailboxes.secured({info.id}) == set()
    reader = ground.account("lezer@voorbeeld.test")
    mailboxes.add_reader(info, reader)
    assert mailboxes.secured({info.id}) == set()
    enrol_totp(reader)
    assert mailboxes.secured({info.id}) == {info.id}
    Account.objects.filter(pk=reader.pk).update(is_active=False)
    assert mailboxes.secured({info.id}) == set()


def test_who_is_not_signed_in_is_asked_to(info: Account, received: Conversation) -> None:
    client = Client(HTTP_HOST="localhost")
    for address in (f"/inbox/?mailbox={info.id}", f"/inbox/{received.id}/"):
        assert client.get(address)["Location"].startswith("/account/sign-in/")
