"""Questions whose SQL is made once give what the ORM gives."""

from __future__ import annotations

import threading
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, models
from django.db.models import Count
from django.test.utils import CaptureQueriesContext

from tests.journey.portal_ground import Ground, mail
from zegel.edge.prepared import Prepared
from zegel.journey.custody.models import Conversation, Link, Message, Recipient

BEHIND = Prepared(
    lambda hashed: Link.objects.select_related(
        "recipient__conversation__organisation", "recipient__conversation__author"
    ).filter(hash=hashed),
    hashed=bytes,
)
MESSAGES = Prepared(
    lambda conversation: (
        Message.objects.filter(conversation_id=conversation)
        .select_related("content", "answered_by")
        .order_by("-created_at")[:2]
    ),
    conversation=uuid.UUID,
)
SINCE = Prepared(
    lambda organisation, state, since, until: Recipient.objects.filter(
        conversation__organisation=organisation,
        state=state,
        conversation__created_at__gt=since,
        conversation__created_at__lt=until,
    ).exclude(key="niemand@example.org"),
    organisation=int,
    state=str,
    since=datetime,
    until=datetime,
)


def told(row: models.Model | None) -> Any:
    """All that a row holds, and the rows that came with it."""
    if row is None:
        return None
    related = {
        field.name: told(getattr(row, field.name))
        for field in row._meta.concrete_fields
        if field.name in row._state.fields_cache
    }
    values = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
    return type(row), row._state.adding, row._state.db, values, related


@pytest.fixture
def link(db: None, ground: Ground) -> Link:
    ground.recipient(ground.conversation(mail()), "ander@example.org")
    made = ground.recipient(ground.conversation(mail()), "ontvanger@example.org")
    ground.link(made)
    return Link.objects.get(recipient=made)


def test_nothing_is_found_where_the_orm_finds_nothing(link: Link) -> None:
    assert BEHIND(hashed=b"no such hash") == []
    assert BEHIND.first(hashed=b"") is None
    assert MESSAGES.first(conversation=uuid.uuid4()) is None


@pytest.mark.parametrize(
    ("question", "kinds"),
    [
        (lambda: Recipient.objects.prefetch_related("transmissions"), {}),
        (lambda: Recipient.objects.values("id"), {}),
        (lambda: Recipient.objects.values_list("id"), {}),
        (lambda: Conversation.objects.annotate(several=Count("recipients")), {}),
        (lambda address: Recipient.objects.all(), {"address": str}),
        (lambda address: Recipient.objects.filter(address__contains=address), {"address": str}),
    ],
)
@pytest.mark.django_db
def test_what_it_would_answer_otherwise_than_the_orm_it_refuses(question: Any, kinds: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Prepared(question, **kinds)(**dict.fromkeys(kinds, "x"))


def test_rows_of_a_manager_are_refused(link: Link) -> None:
    """Django would add the row that was asked to each."""
    recipients = link.recipient.conversation.recipients
    with pytest.raises(TypeError):
        Prepared(recipients.all)()


def test_a_value_that_is_left_out_is_an_error(link: Link) -> None:
    with pytest.raises(KeyError):
        BEHIND()


def test_a_row_and_what_came_with_it_are_those_of_the_orm(link: Link) -> None:
    by_orm = Link.objects.select_related(
        "recipient__conversation__organisation", "recipient__conversation__author"
    ).get(pk=link.pk)
    found = BEHIND(hashed=bytes(link.hash))
    assert [told(one) for one in found] == [told(by_orm)]
    assert found[0].recipient.conversation.author.email == by_orm.recipient.conversation.author.email
    found[0].recipient.refresh_from_db()  # it is a row like any other
    found[0].recipient.save()


def test_a_relation_that_leads_nowhere_is_none(link: Link) -> None:
    conversation = link.recipient.conversation
    by_orm = Message.objects.filter(conversation=conversation).select_related("content", "answered_by")
    found = MESSAGES(conversation=conversation.id)
    assert [told(one) for one in found] == [told(one) for one in by_orm.order_by("-created_at")]
    assert found[0].answered_by is None


def test_values_of_every_kind_find_their_places(link: Link) -> None:
    conversation = link.recipient.conversation
    moment = timedelta(microseconds=1)

    def found(**other: Any) -> list[Recipient]:
        values: dict[str, Any] = {
            "until": conversation.created_at + moment,
            "since": conversation.created_at - moment,
            "state": link.recipient.state,
            "organisation": conversation.organisation_id,
        }
        return SINCE(**(values | other))

    assert link.recipient in found()
    assert link.recipient not in found(since=conversation.created_at)
    assert link.recipient not in found(until=conversation.created_at)
    assert found(state="opened") == found(organisation=1 << 40) == []


def test_once_made_it_is_only_asked(link: Link) -> None:
    BEHIND(hashed=b"")
    with CaptureQueriesContext(connection) as asked:
        one, other = BEHIND.first(hashed=bytes(link.hash)), BEHIND.first(hashed=b"another")
    assert one is not None and other is None
    assert len(asked) == 2


@pytest.mark.django_db(transaction=True)
def test_any_thread_may_ask(link: Link) -> None:
    """Each has a connection of its own."""
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(told(BEHIND.first(hashed=bytes(link.hash))))
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [told(BEHIND.first(hashed=bytes(link.hash)))] * 4
