"""An answer by ordinary mail begins a new conversation; its readers find it beside the earlier one (D-5)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from django.test import Client

from tests.journey.delivery_ground import PHONE, SENDER, Post, a_post
from tests.journey.portal_ground import PASSWORD, Clock, Visitor, signed_in, words
from tests.journey.test_answers import answers, told
from zegel.accounts.models import Organisation
from zegel.journey.custody.models import Conversation, Job, Recipient, Submission
from zegel.journey.custody.retention import destroy

pytestmark = pytest.mark.django_db(transaction=True)

GUEST: Final = "gast@open.test"
OTHER: Final = "ander@open.test"
FIRST: Final = "<eerste@voorbeeld.test>"
SECOND: Final = "<tweede@voorbeeld.test>"


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        found.mx("open.test")
        yield found


def sms(*addresses: str) -> list[tuple[str, str]]:
    return [("zivver-access-right", f"{one} sms {PHONE}") for one in addresses]


def begin(post: Post, *recipients: str, to: list[str] | None = None) -> None:
    post.submit(*recipients, to=to, fields=sms(*recipients))
    post.settle()


def go_on(
    post: Post, *recipients: str, reference: str = FIRST, field: str = "In-Reply-To", to: list[str] | None = None
) -> Conversation:
    """A minute later, by mail."""
    post.clock.forward(minutes=1)
    fields = [*sms(*recipients), (field, reference)]
    post.submit(*recipients, to=to, fields=fields, message_id=SECOND, text="Nog iets.")
    post.settle()
    return Conversation.objects.order_by("-created_at")[0]


def earlier() -> Conversation:
    return Conversation.objects.order_by("created_at")[0]


def opened(post: Post, conversation: Conversation, address: str = GUEST, visitor: Visitor | None = None) -> Any:
    """The page, for who went all the way to it."""
    recipient = conversation.recipients.get(address=address)
    visitor = visitor or Visitor(post.ground)
    visitor.open(recipient, post.ground.link(recipient))
    return visitor.read(recipient)


# What goes on with nothing


def test_a_message_that_names_nothing_makes_no_work(post: Post) -> None:
    begin(post, GUEST)
    assert Submission.objects.get().references == "" and not Job.objects.filter(kind="continues").exists()


@pytest.mark.parametrize("reference", ["<onbekend@voorbeeld.test>", f"<{'0' * 32}@voorbeeld.test>", "geen", SECOND])
def test_what_nobody_knows_is_nothing(post: Post, reference: str) -> None:
    begin(post, GUEST)
    assert go_on(post, GUEST, reference=reference).continues is None


def test_who_was_not_in_it_does_not_get_into_it(post: Post) -> None:
    begin(post, GUEST)
    new = go_on(post, OTHER)
    assert new.continues is None
    assert "More of this" not in words(opened(post, new, OTHER))


def test_another_author_of_the_organisation_does_not_either(post: Post) -> None:
    begin(post, GUEST)
    colleague = post.ground.account("collega@voorbeeld.test")
    Submission.objects.update(account=colleague)
    Conversation.objects.update(author=colleague)
    assert go_on(post, GUEST).continues is None


def test_messages_of_another_organisation_are_not_looked_at(post: Post) -> None:
    begin(post, GUEST)
    elsewhere = Organisation.objects.create(name="Elders", language="nl")
    Submission.objects.update(organisation=elsewhere)
    assert go_on(post, GUEST).continues is None


def test_one_that_came_later_is_not_gone_on_with(post: Post) -> None:
    begin(post, GUEST)
    Conversation.objects.update(created_at=post.clock.at.replace(year=2030))
    post.submit(GUEST, fields=[("In-Reply-To", FIRST)], message_id=SECOND, text="Nog iets.")
    post.settle()
    assert not Conversation.objects.exclude(continues=None).exists()


# What goes on


@pytest.mark.parametrize("field", ["In-Reply-To", "References"])
def test_it_is_shown_both_ways_to_its_readers(post: Post, field: str) -> None:
    begin(post, GUEST)
    new = go_on(post, GUEST, field=field)
    assert new.continues == earlier()
    visitor = Visitor(post.ground)
    first = opened(post, earlier(), visitor=visitor)
    assert "Later: Message of 23 November 2026 13:01" in words(first) and "Open it with the link" in words(first)
    second = opened(post, new, visitor=visitor)
    place = f'href="/r/{earlier().recipients.get().id}/"'
    assert "Earlier: Message of 23 November 2026 13:00" in words(second) and place in second.content.decode()
    assert f'href="/r/{new.recipients.get().id}/"' in visitor.read(earlier().recipients.get()).content.decode()


def test_the_author_finds_each_in_the_other(post: Post) -> None:
    begin(post, GUEST)
    new = go_on(post, GUEST)
    author = author_of(post)
    assert f'href="/inbox/{earlier().id}/"' in author.get(f"/inbox/{new.id}/").content.decode()
    assert f'href="/inbox/{new.id}/"' in author.get(f"/inbox/{earlier().id}/").content.decode()


def author_of(post: Post) -> Client:
    account = post.ground.author
    account.set_password(PASSWORD)
    account.save()
    return signed_in(account)


def test_each_asks_for_its_own_way_in(post: Post) -> None:
    begin(post, GUEST)
    new = go_on(post, GUEST)
    visitor = Visitor(post.ground)
    page = opened(post, new, visitor=visitor)
    assert f"/r/{earlier().recipients.get().id}" not in page.content.decode()
    assert visitor.read(earlier().recipients.get()).status_code == 404


def test_an_answer_to_the_notice_goes_on_with_the_conversation_that_it_is_about(post: Post) -> None:
    begin(post, GUEST, OTHER, to=[GUEST])
    blind = Conversation.objects.get(is_blind=True)
    answers(post, OTHER)
    post.settle()
    (notice,) = told(post)
    new = go_on(post, OTHER, reference=f"{notice['References']} {notice['Message-ID']}", field="References")
    assert new.continues == blind


def test_an_answer_to_an_answer_that_came_readable_is_found_by_its_own_name(post: Post) -> None:
    begin(post, GUEST)
    message = answers(post, GUEST)
    reference = f"<{message.content_id.hex}@voorbeeld.test>"
    assert go_on(post, GUEST, reference=reference).continues == earlier()


def test_a_bcc_reader_of_either_is_met_by_nobody(post: Post) -> None:
    begin(post, GUEST, OTHER, to=[GUEST])
    go_on(post, GUEST, OTHER, to=[GUEST, OTHER])
    shared, blind = Conversation.objects.get(is_blind=False, continues=None), Conversation.objects.get(is_blind=True)
    new = Conversation.objects.order_by("-created_at")[0]
    assert new.continues == shared
    page = opened(post, new, OTHER).content.decode()
    assert "More of this" not in page and str(blind.id) not in page
    page = opened(post, blind, OTHER).content.decode()
    assert "More of this" not in page
    assert OTHER not in opened(post, shared).content.decode()


def test_what_is_gone_is_not_shown(post: Post) -> None:
    begin(post, GUEST)
    new = go_on(post, GUEST)
    destroy(earlier().id, now=post.clock.at)
    assert "More of this" not in words(opened(post, new))


def test_who_was_revoked_is_shown_nothing_of_it(post: Post) -> None:
    begin(post, GUEST)
    new = go_on(post, GUEST)
    Recipient.objects.filter(conversation=earlier()).update(revoked_at=post.clock.at)
    assert "More of this" not in words(opened(post, new))


def test_a_thread_is_followed_step_by_step(post: Post) -> None:
    begin(post, GUEST)
    second = go_on(post, GUEST)
    post.clock.forward(minutes=1)
    post.submit(GUEST, fields=[("References", f"{FIRST} {SECOND}")], message_id="<derde@voorbeeld.test>", text="Weer.")
    post.settle()
    third = Conversation.objects.order_by("-created_at")[0]
    assert (third.continues, second.continues) == (second, earlier())
    assert re.fullmatch(r"<\S+> <\S+>", third.submission.references)
    assert third.author.email == SENDER
