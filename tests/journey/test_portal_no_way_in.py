"""Links that open nothing lead to pages that help, and tell nothing: octet by octet the same (P14)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import pytest
from django.test import Client

from tests.journey.portal_ground import NOON, Clock, Ground, Visitor, dump, mail, signed_in, words
from zegel.journey.custody import retention
from zegel.journey.custody.models import Recipient
from zegel.journey.portal import links

pytestmark = pytest.mark.django_db

NEVER: Final = "B" * 43
PAGES: Final = (
    ("guest", "get"),
    ("guest", "head"),
    ("guest-read", "get"),
    ("guest-verify", "get"),
    ("guest-verify", "post"),
    ("guest-code", "post"),
    ("guest-open", "post"),
    ("guest-answer", "post"),
    ("guest-leave", "post"),
    ("guest-another-way", "get"),
    ("guest-another-way", "post"),
    ("guest-devices", "get"),
)


def told(response: Any) -> tuple[int, str, dict[str, str], list[str]]:
    """All that a stranger sees, but for what is new in every answer: tokens of forms and of cookies."""
    body = re.sub(r'(name="csrfmiddlewaretoken" value=)"[^"]{64}"', r"\1", response.content.decode())
    return response.status_code, body, dict(response.headers), sorted(response.cookies)


def recipient_of(ground: Ground, **fields: Any) -> tuple[Recipient, str]:
    recipient = ground.recipient(ground.conversation(mail(), **fields))
    return recipient, ground.link(recipient)


def expired(ground: Ground) -> str:
    _, token = recipient_of(ground, expires_at=NOON + timedelta(days=1))
    ground.clock.forward(days=1)
    return token


def destroyed(ground: Ground) -> str:
    recipient, token = recipient_of(ground)
    retention.destroy(recipient.conversation_id, now=ground.clock())
    return token


def replaced(ground: Ground) -> str:
    """A link that was taken away, while the message has another."""
    recipient, token = recipient_of(ground)
    recipient.links.all().delete()
    ground.link(recipient)
    return token


def cut_off(ground: Ground) -> str:
    return recipient_of(ground)[1][:-1]


GONE: Final[tuple[Callable[[Ground], str], ...]] = (expired, destroyed, replaced, cut_off)


@pytest.mark.parametrize("behind", ["", "/devices"])
@pytest.mark.parametrize("language", ["nl", "en"])
@pytest.mark.parametrize("gone", GONE, ids=lambda one: one.__name__)
def test_a_link_that_opens_nothing_is_answered_like_one_that_never_was(
    ground: Ground, gone: Callable[[Ground], str], language: str, behind: str
) -> None:
    token = gone(ground)
    clients = [Client(HTTP_HOST="localhost", HTTP_ACCEPT_LANGUAGE=language) for _ in range(2)]
    known, unknown = (client.get(f"/m/{one}{behind}") for client, one in zip(clients, (token, NEVER), strict=True))
    assert told(known) == told(unknown)
    assert known.status_code == 404 and links.COOKIE not in known.cookies
    assert known["Referrer-Policy"] == "strict-origin" and known["Cache-Control"] == "no-store"


@pytest.mark.parametrize(("name", "verb"), PAGES)
def test_a_page_of_somebody_else_is_answered_like_one_that_never_was(ground: Ground, name: str, verb: str) -> None:
    """For who has no link, and for who has that of another message: notified, destroyed, expired or not there."""
    mine, token = recipient_of(ground)
    theirs, _ = recipient_of(ground)
    lost, _ = recipient_of(ground)
    retention.destroy(lost.conversation_id, now=ground.clock())
    over, _ = recipient_of(ground, expires_at=NOON)
    for holds_a_link in (False, True):
        answers = []
        for one in (theirs.id, lost.id, over.id, uuid.uuid4()):
            visitor = Visitor(ground)
            if holds_a_link:
                visitor.follow(token)
            address = visitor.page(name, mine).replace(str(mine.id), str(one))
            answers.append(told(getattr(visitor.client, verb)(address)))
        assert answers[0][0] == 404
        assert all(one == answers[0] for one in answers)


def test_a_browser_that_has_the_link_hears_when_the_message_expired_and_nothing_of_it(
    ground: Ground, clock: Clock, visitor: Visitor
) -> None:
    recipient, token = recipient_of(ground, expires_at=NOON + timedelta(hours=6))
    visitor.follow(token)
    clock.forward(hours=6)
    answer = visitor.get(visitor.page("guest", recipient))
    said = words(answer)
    assert answer.status_code == 410
    assert "It could be read until 23 November 2026 19:00" in said and "balie@voorbeeld.test" in said
    assert "GEHEIM" not in said


def test_after_its_keys_are_destroyed_the_browser_that_had_the_link_is_a_stranger(
    ground: Ground, visitor: Visitor
) -> None:
    recipient, token = recipient_of(ground)
    visitor.open(recipient, token)
    retention.destroy(recipient.conversation_id, now=ground.clock())
    stranger = Visitor(ground)
    known, unknown = visitor.get(visitor.page("guest-read", recipient)), stranger.get(f"/r/{uuid.uuid4()}/read")
    assert told(known)[:3] == told(unknown)[:3]


@pytest.mark.parametrize(
    ("language", "helps"), [("nl", "mailbox van iemand anders"), ("en", "somebody else’s mailbox")]
)
def test_the_page_helps(ground: Ground, language: str, helps: str) -> None:
    answer = Client(HTTP_HOST="localhost", HTTP_ACCEPT_LANGUAGE=language).get(f"/m/{NEVER}")
    assert helps in words(answer)
    assert "<form" in answer.content.decode() and NEVER not in answer.content.decode()  # the choice of language


def test_who_got_a_forwarded_link_hears_whose_message_it_is_and_can_ask_no_code_for_oneself(
    ground: Ground, visitor: Visitor
) -> None:
    recipient, token = recipient_of(ground)
    visitor.follow(token)
    said = words(visitor.get(visitor.page("guest", recipient)))
    assert "It was sent to o****@example.org" in said and "ontvanger@" not in said


def test_who_is_signed_in_as_somebody_else_hears_so(ground: Ground) -> None:
    recipient = ground.recipient(ground.conversation(mail()), method="account")
    token = ground.link(recipient)
    other = Visitor(ground, signed_in(ground.account("collega@voorbeeld.test")))
    other.follow(token)
    said = words(other.get(other.page("guest", recipient)))
    assert "You are signed in here as collega@voorbeeld.test. This message is for o****@example.org" in said
    assert other.get(f"/inbox/{recipient.conversation_id}/").status_code == 404
    own = Visitor(ground, signed_in(ground.account("ontvanger@example.org")))
    own.follow(token)
    assert "You are signed in here as" not in words(own.get(own.page("guest", recipient)))
    assert own.get(f"/inbox/{recipient.conversation_id}/").status_code == 200


def test_somebody_elses_conversation_is_answered_like_one_that_never_was(ground: Ground) -> None:
    recipient = ground.recipient(ground.conversation(mail()), method="account")
    other = signed_in(ground.account("collega@voorbeeld.test"))
    never = uuid.uuid4()
    known, unknown = (other.get(f"/inbox/{one}/") for one in (recipient.conversation_id, never))
    status, body, headers, cookies = told(unknown)
    body = body.replace(str(never), str(recipient.conversation_id))
    assert told(known) == (status, body, headers, cookies)


def test_following_what_opens_nothing_leaves_nothing_behind(ground: Ground) -> None:
    tokens = [gone(ground) for gone in GONE]
    before = dump()
    for token in tokens:
        Visitor(ground).follow(token)
    assert dump() == before
