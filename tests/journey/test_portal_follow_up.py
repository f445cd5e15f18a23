"""Who answers whom in the portal: the author too, and nobody ever meets a Bcc reader."""

from __future__ import annotations

import email
import re
from email.message import EmailMessage
from email.policy import default
from typing import Any

import pytest
from django.test import Client

from tests.journey.portal_ground import Ground, Visitor, dump, mail, signed_in, words
from zegel.journey.custody.models import Conversation, Job, Message, Recipient

pytestmark = pytest.mark.django_db

TO = '"Ontvanger, de" <ontvanger@example.org>, Tweede <tweede@example.org>'


@pytest.fixture
def author(ground: Ground) -> Client:
    return signed_in(ground.author)


def nonce_in(response: Any) -> str:
    found = re.search(r'name="nonce" value="([^"]+)"', response.content.decode())
    assert found is not None
    return found[1]


def write(author: Client, conversation: Conversation, text: str = "Nog iets", *, nonce: str = "") -> Any:
    place = f"/inbox/{conversation.id}/"
    return author.post(place + "answer", {"nonce": nonce or nonce_in(author.get(place)), "text": text})


def stored(ground: Ground, message: Message) -> EmailMessage:
    found = email.message_from_bytes(ground.content_of(message), policy=default)
    assert isinstance(found, EmailMessage)
    return found


def newest(conversation: Conversation) -> Message:
    return conversation.messages.order_by("-created_at", "-id")[0]


# What is not taken


def test_where_nobody_would_read_it_there_is_no_form(ground: Ground, author: Client) -> None:
    conversation = ground.conversation(mail())
    ground.recipient(conversation, state=Recipient.State.UNDELIVERABLE)
    assert b'name="nonce"' not in author.get(f"/inbox/{conversation.id}/").content
    assert write(author, conversation, nonce="0190f5a0-0000-7000-8000-000000000001").status_code == 404


def test_the_message_itself_is_no_earlier_answer_of_its_author(ground: Ground, author: Client) -> None:
    conversation = ground.conversation(mail())
    ground.recipient(conversation)
    original = conversation.messages.get()
    before = dump()
    assert write(author, conversation, nonce=str(original.id)).status_code == 422
    assert [one for one in dump() if "custody_message" in one] == [one for one in before if "custody_message" in one]


def test_an_answer_of_somebody_else_is_not_the_authors(ground: Ground, author: Client) -> None:
    conversation = ground.conversation(mail())
    recipient = ground.recipient(conversation)
    visitor = Visitor(ground)
    visitor.open(recipient, ground.link(recipient))
    visitor.answer(recipient, "Mijn antwoord")
    assert write(author, conversation, nonce=str(newest(conversation).id)).status_code == 422
    assert conversation.messages.count() == 2


# What is taken


def test_an_author_writes_on_and_everybody_reads_it(ground: Ground, author: Client) -> None:
    conversation = ground.conversation(mail(to=TO))
    first, second = ground.recipient(conversation), ground.recipient(conversation, "tweede@example.org")
    ground.recipient(conversation, "weg@example.org", state=Recipient.State.UNDELIVERABLE)
    page = author.get(f"/inbox/{conversation.id}/")
    assert "Read by all of these: Ontvanger, de, Tweede" in words(page)
    assert write(author, conversation, "Nog een vraag").status_code == 303
    message = newest(conversation)
    parsed = stored(ground, message)
    assert message.answered_by is None
    assert parsed["From"] == "Balie Poli 4 <balie@voorbeeld.test>"
    assert parsed["To"] == '"Ontvanger, de" <ontvanger@example.org>, Tweede <tweede@example.org>'
    assert parsed["Cc"] is None
    for one in (first, second):
        visitor = Visitor(ground)
        visitor.open(one, ground.link(one))
        assert "Nog een vraag" in words(visitor.read(one))
    shown = author.get(f"/inbox/{conversation.id}/").content.decode()
    assert shown.count("message-own") == 2
    assert list(Job.objects.filter(kind="answered").values_list("subject", flat=True)) == [message.id]


def test_what_began_the_conversation_stays_what_it_was(ground: Ground, author: Client) -> None:
    conversation = ground.conversation(mail())
    recipient = ground.recipient(conversation)
    original = conversation.messages.get()
    write(author, conversation, "Eerste vervolg")
    ground.clock.forward(minutes=1)
    write(author, conversation, "Tweede vervolg")
    parsed = stored(ground, newest(conversation))
    assert parsed["In-Reply-To"] == stored(ground, original)["Message-ID"]
    assert str(parsed["Subject"]).startswith("Re: Uitslag")
    visitor = Visitor(ground)
    visitor.open(recipient, ground.link(recipient))
    assert words(visitor.read(recipient)).index("De uitslag is goed") < words(visitor.read(recipient)).index("Eerste")


def test_an_answer_of_a_recipient_names_who_reads_it(ground: Ground) -> None:
    conversation = ground.conversation(mail(to=TO))
    first = ground.recipient(conversation)
    ground.recipient(conversation, "tweede@example.org")
    visitor = Visitor(ground)
    visitor.open(first, ground.link(first))
    assert "Read by all of these: Balie Poli 4, Tweede" in words(visitor.read(first))
    visitor.answer(first, "Mijn antwoord")
    parsed = stored(ground, newest(conversation))
    assert (parsed["To"], parsed["Cc"]) == ("Balie Poli 4 <balie@voorbeeld.test>", "Tweede <tweede@example.org>")


def test_many_readers_fit_in_its_header(ground: Ground, author: Client) -> None:
    conversation = ground.conversation(mail())
    addresses = [f"ontvanger.nummer.{number:04}@afdeling.voorbeeld.example.org" for number in range(300)]
    for one in addresses:
        ground.recipient(conversation, one)
    write(author, conversation)
    message = newest(conversation)
    assert max(map(len, ground.content_of(message).split(b"\r\n"))) <= 998
    assert [one.addr_spec for one in stored(ground, message)["To"].addresses] == addresses


def test_a_bcc_reader_is_met_by_nobody(ground: Ground, author: Client) -> None:
    shared, blind = ground.conversation(mail(to=TO)), ground.conversation(mail(to=TO), blind=True)
    first = ground.recipient(shared)
    hidden = ground.recipient(blind, "verborgen@example.org")
    spy = Visitor(ground)
    spy.open(hidden, ground.link(hidden))
    assert "Read by: Balie Poli 4 " in words(spy.read(hidden))
    spy.answer(hidden, "Van de verborgene")
    parsed = stored(ground, newest(blind))
    assert (parsed["To"], parsed["Cc"]) == ("Balie Poli 4 <balie@voorbeeld.test>", None)
    write(author, blind, "Alleen voor u")
    assert stored(ground, newest(blind))["To"] == "verborgen@example.org"
    write(author, shared, "Voor allen")
    visitor = Visitor(ground)
    visitor.open(first, ground.link(first))
    page = visitor.read(first).content.decode()
    assert "verborgen" not in page and "Alleen voor u" not in page
    for message in shared.messages.all():
        assert b"verborgen" not in ground.content_of(message)
    assert "Alleen voor u" in words(spy.read(hidden)) and "Voor allen" not in words(spy.read(hidden))
