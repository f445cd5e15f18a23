"""A text that was begun is there again, for the same reader alone, and for a while."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from tests.journey.portal_ground import Ground, Visitor, dump, mail, signed_in, words
from zegel.journey.custody.models import Conversation, Draft, Recipient
from zegel.journey.custody.retention import destroy, forget_drafts
from zegel.journey.portal.drafts import LONGEST

pytestmark = pytest.mark.django_db

TEXT = "Geachte balie,\n\nIk heb nog een vraag: 4711-KONIJN."


@pytest.fixture
def recipient(ground: Ground) -> Recipient:
    return ground.recipient(ground.conversation(mail()))


@pytest.fixture
def guest(ground: Ground, recipient: Recipient) -> Visitor:
    visitor = Visitor(ground)
    visitor.open(recipient, ground.link(recipient))
    visitor.read(recipient)
    return visitor


def save(guest: Visitor, recipient: Recipient, text: str = TEXT, *, nonce: str = "", **headers: str) -> Any:
    return guest.client.post(guest.page("guest-draft", recipient), {"text": text, "nonce": nonce}, headers=headers)


def written(response: Any) -> str:
    """What stands in the form."""
    found = re.search(r"<textarea[^>]*>([^<]*)</textarea>", response.content.decode())
    assert found is not None
    return found[1]


# What is not kept


def test_who_has_no_proof_saves_nothing(ground: Ground, recipient: Recipient, visitor: Visitor) -> None:
    visitor.follow(ground.link(recipient))
    before = dump()
    assert save(visitor, recipient).status_code == 303
    assert dump() == before


def test_a_form_from_another_site_saves_nothing(recipient: Recipient, guest: Visitor) -> None:
    guest.client.handler.enforce_csrf_checks = True
    assert save(guest, recipient).status_code == 403
    assert not Draft.objects.exists()


def test_nothing_is_saved_by_looking(recipient: Recipient, guest: Visitor) -> None:
    assert guest.client.get(guest.page("guest-draft", recipient)).status_code == 405


def test_a_text_without_end_is_refused_and_the_earlier_one_stays(recipient: Recipient, guest: Visitor) -> None:
    save(guest, recipient)
    save(guest, recipient, "é" * (LONGEST // 2 + 1))
    page = guest.read(recipient)
    assert "too long to be kept" in words(page)
    assert written(page) == TEXT


def test_files_are_not_taken_for_a_draft(recipient: Recipient, guest: Visitor) -> None:
    octets = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nx\r\n--x--\r\n'
    response = guest.client.post(
        guest.page("guest-draft", recipient), octets, content_type="multipart/form-data; boundary=x"
    )
    assert response.status_code in (400, 413)
    assert not Draft.objects.exists()


def test_a_conversation_that_ended_keeps_no_draft(ground: Ground, recipient: Recipient, guest: Visitor) -> None:
    Conversation.objects.update(expires_at=ground.clock())
    assert save(guest, recipient).status_code == 410
    assert not Draft.objects.exists()


def test_what_comes_behind_its_own_answer_is_not_kept(recipient: Recipient, guest: Visitor) -> None:
    nonce = "0190f5a0-0000-7000-8000-000000000001"
    assert guest.answer(recipient, TEXT, nonce=nonce).status_code == 303
    said = save(guest, recipient, nonce=nonce, Accept="application/json").json()["said"]
    assert not Draft.objects.exists()
    assert said.startswith("This answer was sent already")


# What is kept


def test_it_is_there_again_after_a_lost_session(ground: Ground, recipient: Recipient, guest: Visitor) -> None:
    response = save(guest, recipient)
    assert response.status_code == 303 and response["Location"].endswith("#answer")
    page = guest.read(recipient)
    assert "Draft saved. Files are not kept" in words(page)
    assert written(page) == TEXT
    ground.clock.forward(hours=1)
    assert guest.read(recipient).status_code == 303  # the proof is over
    another = Visitor(ground)
    another.open(recipient, ground.link(recipient))
    page = another.read(recipient)
    assert written(page) == TEXT
    assert "This is your draft of 23 November 2026 13:00. Files were not kept." in words(page)


def test_a_later_one_takes_its_place_and_an_empty_one_takes_it_away(recipient: Recipient, guest: Visitor) -> None:
    save(guest, recipient)
    save(guest, recipient, "Anders")
    assert Draft.objects.count() == 1 and written(guest.read(recipient)) == "Anders"
    save(guest, recipient, " \r\n")
    assert not Draft.objects.exists() and written(guest.read(recipient)) == ""


def test_it_goes_when_the_answer_is_sent(recipient: Recipient, guest: Visitor) -> None:
    save(guest, recipient)
    assert guest.answer(recipient, TEXT).status_code == 303
    assert not Draft.objects.exists() and written(guest.read(recipient)) == ""


def test_a_refused_answer_shows_its_own_text_and_leaves_the_draft(recipient: Recipient, guest: Visitor) -> None:
    save(guest, recipient)
    page = guest.answer(recipient, "Anders", nonce="x")
    assert page.status_code == 422 and written(page) == "Anders"
    assert written(guest.read(recipient)) == TEXT


def test_it_goes_with_the_conversation(ground: Ground, recipient: Recipient, guest: Visitor) -> None:
    save(guest, recipient)
    destroy(recipient.conversation.id, now=ground.clock())
    assert not Draft.objects.exists()


def test_it_goes_after_a_week_and_not_before(ground: Ground, recipient: Recipient, guest: Visitor) -> None:
    save(guest, recipient)
    forget_drafts(ground.clock() + timedelta(days=7))
    assert Draft.objects.exists()
    forget_drafts(ground.clock() + timedelta(days=7, seconds=1))
    assert not Draft.objects.exists()


def test_it_is_nobody_elses(ground: Ground, recipient: Recipient, guest: Visitor) -> None:
    second = ground.recipient(recipient.conversation, "tweede@example.org")
    other = Visitor(ground)
    other.open(second, ground.link(second))
    author = signed_in(ground.author)
    save(guest, recipient)
    place = f"/inbox/{recipient.conversation.id}/"
    assert written(other.read(second)) == "" and written(author.get(place)) == ""
    save(other, second, "Van de tweede")
    author.post(place + "draft", {"text": "Van de balie"})
    assert written(guest.read(recipient)) == TEXT
    assert written(other.read(second)) == "Van de tweede"
    assert written(author.get(place)) == "Van de balie"


def test_it_is_sealed(recipient: Recipient, guest: Visitor) -> None:
    save(guest, recipient)
    assert "4711-KONIJN" not in "\n".join(dump())
    first = bytes(Draft.objects.get().sealed)
    save(guest, recipient)
    assert bytes(Draft.objects.get().sealed)[13:] != first[13:]


def test_damaged_octets_are_no_draft(recipient: Recipient, guest: Visitor) -> None:
    save(guest, recipient)
    Draft.objects.update(sealed=b"\x01" + bytes(60))
    assert written(guest.read(recipient)) == ""


# Programs of the page


def test_the_page_itself_saves_without_another_page(recipient: Recipient, guest: Visitor) -> None:
    response = save(guest, recipient, accept="application/json")
    assert response.status_code == 200
    assert response.json() == {"said": "Draft saved. Files are not kept: choose them when you send."}
    assert "Draft saved" not in words(guest.read(recipient))


def test_the_page_itself_sends_and_is_told_where_to_go(recipient: Recipient, guest: Visitor) -> None:
    page = guest.page("guest-answer", recipient)
    as_json = {"accept": "application/json"}
    refused = guest.client.post(page, {"nonce": "x", "text": "x"}, headers=as_json)
    assert refused.status_code == 422 and refused.json()["refusal"].startswith("This form can't be used")
    nonce = "0190f5a0-0000-7000-8000-000000000001"
    sent = guest.client.post(page, {"nonce": nonce, "text": "x"}, headers=as_json)
    assert sent.json() == {"to": guest.page("guest-read", recipient)}
    assert "Your answer was sent safely." in words(guest.read(recipient))


def test_who_is_not_signed_in_saves_nothing(ground: Ground, recipient: Recipient) -> None:
    response = Client(HTTP_HOST="localhost").post(f"/inbox/{recipient.conversation.id}/draft", {"text": "x"})
    assert response.status_code == 302 and not Draft.objects.exists()
