"""What a reading page asks of the database, and how often it opens what it shows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.journey.portal_ground import Ground, Visitor, mail
from zegel.journey.custody.models import Recipient
from zegel.journey.custody.unseal import Unsealer

pytestmark = pytest.mark.django_db

MOST = 7  # session; link, with all that it leads to; proof; messages; those who would read an answer; draft; related


def conversation_of(ground: Ground, messages: int) -> tuple[Visitor, Recipient]:
    """One that was opened, and read once: what is noted at the first reading is noted."""
    conversation = ground.conversation(mail(markup="<p>Goed.</p>", files={"a.pdf": ("application/pdf", b"%PDF-1.7")}))
    recipient = ground.recipient(conversation)
    for number in range(1, messages):
        ground.clock.forward(seconds=1)
        ground.add(conversation, mail(text=f"Bericht {number}."), answered_by=recipient)
    visitor = Visitor(ground)
    visitor.open(recipient, ground.link(recipient))
    visitor.get(visitor.page("guest-read", recipient))
    return visitor, recipient


@pytest.mark.parametrize("messages", [1, 6, 20])
def test_a_page_of_many_messages_asks_no_more_than_a_page_of_one(ground: Ground, messages: int) -> None:
    visitor, recipient = conversation_of(ground, messages)
    with CaptureQueriesContext(connection) as asked:
        response = visitor.get(visitor.page("guest-read", recipient))
    assert response.status_code == 200
    assert response.content.decode().count("<article") == messages
    statements = [one["sql"] for one in asked.captured_queries]
    assert len(statements) <= MOST, statements
    assert all(one.startswith("SELECT") for one in statements)  # who only looks again changes nothing


def test_each_message_of_a_page_is_opened_once(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor, recipient = conversation_of(ground, 3)
    opened: Counter[Any] = Counter()
    message_key = Unsealer.message_key

    def counted(self: Unsealer, message: Any, key: Any) -> Any:
        opened[message.id] += 1
        return message_key(self, message, key)

    monkeypatch.setattr(Unsealer, "message_key", counted)
    visitor.get(visitor.page("guest-read", recipient))
    assert set(opened) == {one.id for one in recipient.conversation.messages.all()}
    assert set(opened.values()) == {1}
