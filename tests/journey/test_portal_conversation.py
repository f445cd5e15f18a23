"""A conversation of many messages: what is open, what is folded, in which order, and how much of it is opened."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.journey.portal_ground import MARKER, Ground, Visitor, mail, words
from zegel.journey.custody.models import Message, Recipient
from zegel.journey.custody.unseal import Unsealer
from zegel.journey.portal.setup import Portal, configure

pytestmark = pytest.mark.django_db


def many(ground: Ground, count: int) -> tuple[Visitor, Recipient]:
    """A message and so many answers; every second one by the author."""
    conversation = ground.conversation(mail(text="Bericht 0."))
    recipient = ground.recipient(conversation)
    for number in range(1, count + 1):
        ground.clock.forward(minutes=1)
        by = recipient if number % 2 else None
        ground.add(conversation, mail(text=f"Bericht {number}.", subject=f"Re: {number}"), answered_by=by)
    visitor = Visitor(ground)
    visitor.open(recipient, ground.link(recipient))
    return visitor, recipient


def shown(response: Any) -> list[int]:
    return [int(number) for number in re.findall(r"Bericht (\d+)\.", response.content.decode())]


def page(visitor: Visitor, recipient: Recipient, query: str = "") -> Any:
    return visitor.get(f"{visitor.page('guest-read', recipient)}?{query}")


def test_a_short_conversation_is_all_open_from_old_to_new(ground: Ground) -> None:
    visitor, recipient = many(ground, 4)
    response = page(visitor, recipient)
    assert shown(response) == [0, 1, 2, 3, 4]
    assert '<details><summary class="folded">' not in response.content.decode()
    assert f'<h1 class="subject">Uitslag {MARKER}</h1>' in response.content.decode()


def test_older_messages_are_folded_with_who_wrote_them_and_when(ground: Ground) -> None:
    visitor, recipient = many(ground, 9)
    markup = page(visitor, recipient).content.decode()
    folded = re.findall(r'<details><summary class="folded">(.*?)</summary>(.*?)</details>', markup, re.DOTALL)
    assert [re.findall(r"Bericht (\d+)\.", inside) for _, inside in folded] == [["0"], ["1"], ["2"], ["3"], ["4"]]
    for summary, _ in folded:
        assert "Balie Poli 4" in summary and "<time" in summary and "ontvanger@example.org" in summary


def test_the_newest_can_come_first(ground: Ground) -> None:
    visitor, recipient = many(ground, 3)
    assert ">Newest first<" in page(visitor, recipient).content.decode()
    response = page(visitor, recipient, "order=newest")
    assert shown(response) == [3, 2, 1, 0] and ">Oldest first<" in response.content.decode()


def test_ones_own_messages_are_marked_in_words(ground: Ground) -> None:
    visitor, recipient = many(ground, 2)
    markup = page(visitor, recipient).content.decode()
    assert markup.count("message-own") == 1 and markup.count(">You</span>") == 1


@pytest.mark.parametrize(
    ("query", "first", "last", "older", "newer"),
    [
        ("", 81, 100, True, False),
        ("page=2", 61, 80, True, True),
        ("page=6", 0, 0, False, True),
        ("page=99999", 0, 0, False, True),
        ("page=0", 81, 100, True, False),
        ("page=-1", 81, 100, True, False),
        ("page=x", 81, 100, True, False),
        ("page=9999999999999999999999", 81, 100, True, False),
        ("page=%00", 81, 100, True, False),
    ],
)
def test_a_long_conversation_comes_in_pages_of_which_the_newest_is_first(
    ground: Ground, query: str, first: int, last: int, older: bool, newer: bool
) -> None:
    visitor, recipient = many(ground, 100)
    response = page(visitor, recipient, query)
    assert shown(response) == list(range(first, last + 1))
    assert (">Older messages<" in response.content.decode()) is older
    assert (">Newer messages<" in response.content.decode()) is newer
    assert MARKER in words(response)  # the subject is that of the first message, on every page


@pytest.mark.parametrize("order", ["", "&order=newest"])
def test_every_message_stands_on_one_page(ground: Ground, order: str) -> None:
    visitor, recipient = many(ground, 45)
    found = [shown(page(visitor, recipient, f"page={number}{order}")) for number in (1, 2, 3)]
    if not order:
        found = found[::-1]
    assert [number for one in found for number in one] == (list(range(46)) if not order else list(range(46))[::-1])


def test_only_what_is_shown_is_opened(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor, recipient = many(ground, 100)
    opened: set[Message] = set()
    real = Unsealer.message_key

    def counted(self: Unsealer, message: Message, *arguments: Any) -> Any:
        opened.add(message)
        return real(self, message, *arguments)

    monkeypatch.setattr(Unsealer, "message_key", counted)
    assert page(visitor, recipient).status_code == 200
    assert len(opened) == 21  # a page, and the first message for its subject


def test_one_message_that_can_not_be_opened_leaves_the_others(ground: Ground) -> None:
    visitor, recipient = many(ground, 3)
    Message.objects.filter(answered_by=recipient).update(key=None)
    response = page(visitor, recipient)
    assert shown(response) == [0, 2] and words(response).count("its key was destroyed") == 2
    words_of_all = visitor.get(visitor.page("guest-all-words", recipient))
    assert shown(words_of_all) == [0, 2] and words(words_of_all).count("its key was destroyed") == 2


# Images from elsewhere


def images(visitor: Visitor, recipient: Recipient, method: str = "post") -> Any:
    message = recipient.conversation.messages.get().id
    return getattr(visitor.client, method)(visitor.page("guest-images", recipient, message=message))


def with_image(ground: Ground, source: str = "https://images.example.org/a.png") -> tuple[Visitor, Recipient]:
    visitor = Visitor(ground)
    recipient = ground.recipient(ground.conversation(mail(markup=f'<p>x<img src="{source}" alt="Kaart">')))
    visitor.open(recipient, ground.link(recipient))
    return visitor, recipient


def test_images_from_elsewhere_come_by_a_button_alone(ground: Ground) -> None:
    visitor, recipient = with_image(ground)
    markup = visitor.read(recipient).content.decode()
    form = re.search(r'<form class="images" method="post" action="([^"]+)" target="(frame-[^"]+)">', markup)
    assert form is not None and f'<iframe name="{form[2]}"' in markup and "images.example.org" not in markup
    for method in ("get", "head"):
        assert images(visitor, recipient, method).status_code == 405
    body = images(visitor, recipient)
    assert 'src="https://images.example.org/a.png"' in b"".join(body.streaming_content).decode()
    policy = body["Content-Security-Policy"]
    assert "img-src https: data:" in policy and "default-src 'none'" in policy and "sandbox allow-popups " in policy
    assert "script" not in policy and "font" not in policy and "media" not in policy
    assert body["Referrer-Policy"] == "no-referrer" and body["Cache-Control"] == "no-store"
    assert body["X-Frame-Options"] == "SAMEORIGIN"
    plain: Any = visitor.client.get(
        visitor.page("guest-body", recipient, message=recipient.conversation.messages.get().id)
    )
    assert b"images.example.org" not in b"".join(plain.streaming_content)


def test_another_site_can_not_press_the_button(ground: Ground) -> None:
    from django.test import Client

    visitor, recipient = with_image(ground)
    strict = Client(enforce_csrf_checks=True, HTTP_HOST="localhost")
    strict.cookies = visitor.client.cookies
    message = recipient.conversation.messages.get().id
    response = strict.post(visitor.page("guest-images", recipient, message=message))
    assert response.status_code == 403 and b"images.example.org" not in response.content


@pytest.mark.parametrize("source", ["http://images.example.org/a", "cid:x", "data:image/png;base64,AAAA"])
def test_where_nothing_can_be_loaded_there_is_no_button(ground: Ground, source: str) -> None:
    visitor, recipient = with_image(ground, source)
    assert 'class="images"' not in visitor.read(recipient).content.decode()
    assert b"http://images" not in b"".join(images(visitor, recipient).streaming_content)


def test_images_from_elsewhere_can_be_turned_off(ground: Ground) -> None:
    visitor, recipient = with_image(ground)
    configure(
        Portal(
            unsealer=ground.unsealer, blobs=ground.blobs, keys=ground.keys, url="http://localhost",
            ring=lambda: None, now=ground.clock, remote_images=False,
        )
    )  # fmt: skip
    assert 'class="images"' not in visitor.read(recipient).content.decode()
    assert images(visitor, recipient).status_code == 404
