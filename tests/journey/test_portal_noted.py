"""Whatever shows a message is noted as a reading of it; what shows nothing is not (P7)."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, Final

import pytest
from django.db import transaction
from django.test import Client

from tests.journey.portal_ground import MARKER, NOON, Clock, Ground, Visitor, mail, signed_in, words
from zegel.accounts import mailboxes
from zegel.accounts.models import Account
from zegel.core.clock import Instant
from zegel.journey.custody import revoking
from zegel.journey.custody.models import Message, Recipient, SharedReading
from zegel.journey.portal import guest_pages, typesetting
from zegel.journey.portal.answering import Refusal
from zegel.journey.portal.proofs import note_reading

pytestmark = pytest.mark.django_db

Way = tuple[str, str, dict[str, str], dict[str, str], int]
Who = Callable[[Ground], tuple[Client, str, Recipient]]
SHOWN: Final[dict[str, Way]] = {
    "the page": ("GET", "read", {}, {}, 200),
    "an answer that was refused": ("POST", "answer", {"text": ""}, {}, 422),
    "an answer by a form that is too old": ("POST", "answer", {"text": "x", "nonce": "-"}, {}, 422),
    "its body with images": ("POST", "images/{message}", {}, {}, 200),
    "a part of a file": ("GET", "part/{message}/4", {}, {"Range": "bytes=0-1"}, 206),
    "a part of the message": ("GET", "message/{message}.eml", {}, {"Range": "bytes=5-"}, 206),
    "the name of a file that isn't shown": ("GET", "view/{message}/4", {}, {}, 415),
    "its words": ("GET", "words", {}, {}, 200),
}
NOT_SHOWN: Final[dict[str, Way]] = {
    "the head of the page": ("HEAD", "read", {}, {}, 200),
    "the head of a file": ("HEAD", "part/{message}/4", {}, {}, 200),
    "a file that isn't there": ("GET", "part/{message}/99", {}, {}, 404),
    "a message that isn't there": ("GET", "body/00000000-0000-0000-0000-000000000000", {}, {}, 404),
    "the page of an answer": ("GET", "answer", {}, {}, 405),
    "a draft": ("POST", "draft", {"text": "x"}, {"Accept": "application/json"}, 200),
    "a refusal for a program": ("POST", "answer", {"text": ""}, {"Accept": "application/json"}, 422),
}


def octets() -> bytes:
    return mail(
        markup="<p>De uitslag<img src='https://images.example.org/a.png'>",
        files={"uitslag.bin": ("application/zip", b"PK\3\4geheim"), "b.txt": ("text/plain", b"x")},
    )


def ask(ground: Ground, who: Who, way: Way) -> tuple[Any, Recipient]:
    """One request, by who had no page of the message before."""
    client, base, recipient = who(ground)
    verb, path, values, headers, status = way
    path = "" if path == "read" and who is not guest else path
    address = base + path.format(message=recipient.conversation.messages.get().id)
    options: dict[str, Any] = {"headers": headers}
    response = client.post(address, values, **options) if verb == "POST" else client.generic(verb, address, **options)
    assert response.status_code == status
    recipient.refresh_from_db()
    return response, recipient


def guest(ground: Ground) -> tuple[Client, str, Recipient]:
    visitor, recipient = Visitor(ground), ground.recipient(ground.conversation(octets()))
    visitor.open(recipient, ground.link(recipient))
    return visitor.client, f"/r/{recipient.id}/", recipient


def holder(ground: Ground) -> tuple[Client, str, Recipient]:
    account = ground.account("collega@voorbeeld.test")
    recipient = ground.recipient(ground.conversation(octets()), account.email, method="account")
    return signed_in(account), f"/inbox/{recipient.conversation_id}/", recipient


def reader(ground: Ground) -> tuple[Client, str, Recipient]:
    info = Account.objects.create_user("info@voorbeeld.test", organisation=ground.organisation)
    account = ground.account("lezer@voorbeeld.test")
    mailboxes.add_reader(info, account)
    recipient = ground.recipient(ground.conversation(octets()), info.email, method="account")
    return signed_in(account), f"/inbox/{recipient.conversation_id}/", recipient


WHO: Final = (guest, holder, reader)


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("name", NOT_SHOWN)
def test_what_shows_nothing_is_no_reading(ground: Ground, who: Who, name: str) -> None:
    response, recipient = ask(ground, who, NOT_SHOWN[name])
    assert MARKER.encode() not in response.getvalue()
    assert recipient.opened_at is None and not SharedReading.objects.exists()


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("name", SHOWN)
def test_whatever_shows_it_is_a_reading(ground: Ground, who: Who, name: str) -> None:
    _, recipient = ask(ground, who, SHOWN[name])
    assert (recipient.opened_at, str(recipient.state)) == (NOON, "opened")
    noted = [one.account.email for one in SharedReading.objects.all()]
    assert noted == (["lezer@voorbeeld.test"] if who is reader else [])


def test_a_refusal_that_is_our_fault_shows_the_message_as_well(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the scanner is away: the page comes with a 503, and everything is on it."""
    client, base, recipient = guest(ground)
    monkeypatch.setattr(guest_pages, "take_answer", lambda *_, page, **__: page(Refusal.NOT_EXAMINED, ""))
    refused = client.post(f"{base}answer", {"text": "x"})
    assert refused.status_code == 503 and MARKER in words(refused)
    recipient.refresh_from_db()
    assert recipient.opened_at == NOON


def test_a_form_without_its_token_shows_nothing(ground: Ground) -> None:
    client, base, recipient = guest(ground)
    client.handler.enforce_csrf_checks = True
    refused = client.post(f"{base}answer", {"text": "x"})
    assert refused.status_code == 403 and MARKER not in words(refused)
    recipient.refresh_from_db()
    assert recipient.opened_at is None


def test_a_pdf_that_was_not_made_shows_nothing(ground: Ground) -> None:
    client, base, recipient = guest(ground)
    with typesetting.PLACES, typesetting.PLACES:
        assert client.get(f"{base}pdf/{recipient.conversation.messages.get().id}.pdf").status_code == 503
    recipient.refresh_from_db()
    assert recipient.opened_at is None


def test_who_answers_as_a_mailbox_without_a_look_is_known(ground: Ground, clock: Clock) -> None:
    client, base, recipient = reader(ground)
    assert client.post(f"{base}answer", {"nonce": str(uuid.uuid4()), "text": "namens"}).status_code == 303
    assert Message.objects.filter(answered_by=recipient).count() == 1
    noted = SharedReading.objects.get()
    assert (noted.account.email, noted.mailbox.email) == ("lezer@voorbeeld.test", "info@voorbeeld.test")
    assert noted.answered_at == clock()


def test_who_answers_for_oneself_answers_as_no_mailbox(ground: Ground) -> None:
    client, base, _ = holder(ground)
    assert client.post(f"{base}answer", {"nonce": str(uuid.uuid4()), "text": "zelf"}).status_code == 303
    assert not SharedReading.objects.exists()


def test_a_page_that_was_under_way_makes_nothing_opened_that_was_revoked(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, base, recipient = guest(ground)

    def late(row: Recipient, method: Any, now: Instant, **more: Any) -> None:
        with transaction.atomic():
            revoking.revoke(row, now=now)
        note_reading(row, method, now, **more)

    monkeypatch.setattr(guest_pages, "note_reading", late)
    assert client.get(f"{base}read").status_code == 200
    recipient.refresh_from_db()
    assert (recipient.opened_at, str(recipient.state), recipient.revoked_at) == (None, "notified", NOON)
