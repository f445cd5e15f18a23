"""Messages that nobody opens: one reminder to the recipient, one word to the sender."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from tests.journey.delivery_ground import PROVEN_FIELD, SENTENCE, SUBJECT, Post, a_post, everything_in, link_in, words
from tests.journey.portal_ground import Clock, Visitor
from zegel.accounts.models import Account
from zegel.core.secret import Secret
from zegel.journey.custody.jobs import Kind, LeaseLost
from zegel.journey.custody.models import Conversation, Recipient, Transmission
from zegel.journey.custody.retention import destroy
from zegel.journey.portal.links import link_of

pytestmark = pytest.mark.django_db(transaction=True)

GUEST: Final = "gast@open.test"
OTHER: Final = "ander@open.test"


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        found.ground.organisation.remind_after_days = 3
        found.ground.organisation.save()
        yield found


def reminders(post: Post) -> list[Transmission]:
    return post.transmissions("reminder")


def notices(post: Post) -> list[str]:
    return [words(one) for one in post.notices() if "geopend" in str(one["Subject"])]


def test_who_has_not_opened_after_three_days_is_reminded_once(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST)
    post.settle()
    post.later(days=2, hours=23)
    assert len(server.messages()) == 1
    post.later(hours=1)
    first, second = server.messages()
    assert b"Subject: Herinnering" in second
    assert SENTENCE not in everything_in(second)
    assert SUBJECT not in everything_in(second)
    post.until_nothing_waits()
    post.later(days=30)
    assert len(server.messages()) == 2
    assert link_in(first) != link_in(second)
    assert post.recipient(GUEST).state == "notified"


def test_an_account_holder_may_want_no_reminders(post: Post) -> None:
    """The sender was not promised one, and is not told that there was."""
    server = post.mx("open.test")
    Account.objects.create_user(GUEST, wants_reminders=False)
    Account.objects.create_user(OTHER, wants_reminders=False, is_active=False)
    post.submit(GUEST, OTHER)
    post.settle()
    post.later(days=3)
    assert [one.address for one in reminders(post)] == [OTHER]
    post.later(hours=1)
    (told,) = notices(post)
    assert OTHER in told and GUEST not in told
    assert len(server.messages()) == 3


def test_both_links_are_good(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST)
    post.settle()
    post.later(days=3)
    tokens = [link_in(one) for one in server.messages()]
    assert len(tokens) == 2
    for token in tokens:
        assert Visitor(post.ground).follow(token).status_code == 303
    unsealer, recipient = post.ground.unsealer, post.recipient(GUEST)
    assert recipient.links.count() == 2
    key = unsealer.conversation_key(recipient.conversation).reveal()
    for secret in map(Secret, tokens):
        link = link_of(secret)
        assert link is not None
        assert unsealer.conversation_key_by_link(link, secret).reveal() == key


def test_the_sender_hears_once_of_all_who_were_reminded(post: Post) -> None:
    post.mx("open.test")
    post.submit(GUEST, OTHER)
    post.settle()
    post.later(days=3)
    assert notices(post) == []
    post.later(hours=1)
    (told,) = notices(post)
    assert GUEST in told and OTHER in told
    assert SENTENCE not in told
    post.until_nothing_waits()
    post.later(days=30)
    assert len(notices(post)) == 1


def test_who_opens_is_not_reminded(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST, OTHER)
    post.settle()
    Recipient.objects.filter(address=GUEST).update(state="opened", opened_at=post.clock.at)
    post.later(days=3)
    assert [one.address for one in reminders(post)] == [OTHER]
    assert len(server.messages()) == 3
    Recipient.objects.filter(address=OTHER).update(state="opened", opened_at=post.clock.at)
    post.later(hours=2)
    assert notices(post) == []


def test_who_opens_while_the_reminder_waits_does_not_get_it(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST)
    post.settle()
    server.answers["MAIL"] = b"451 4.3.2 later\r\n"
    post.later(days=3)
    assert [one.state for one in reminders(post)] == ["queued"]
    Recipient.objects.filter(address=GUEST).update(state="opened", opened_at=post.clock.at)
    server.answers.clear()
    post.until_nothing_waits()
    assert len(server.messages()) == 1


def test_nobody_is_reminded_of_a_readable_message_or_of_one_that_came_back(post: Post) -> None:
    post.proven()
    post.mx("open.test")
    post.submit("lezer@veilig.test", fields=[PROVEN_FIELD])
    post.submit(GUEST, message_id="<b@voorbeeld.test>", text="Ander.")
    post.settle()
    Recipient.objects.filter(address=GUEST).update(state="undeliverable")
    post.later(days=4)
    assert reminders(post) == []


@pytest.mark.parametrize("how", ["expired", "destroyed"])
def test_nobody_is_reminded_of_what_is_gone(post: Post, how: str) -> None:
    server = post.mx("open.test")
    post.submit(GUEST)
    post.settle()
    conversation = Conversation.objects.get()
    if how == "expired":
        Conversation.objects.update(expires_at=post.clock.at + timedelta(days=2))
    else:
        destroy(conversation.id, now=post.clock.at)
    post.later(days=3)
    assert len(server.messages()) == 1
    assert reminders(post) == []


def test_the_policy_says_when_and_whether(post: Post) -> None:
    server = post.mx("open.test")
    post.ground.organisation.remind_after_days = 7
    post.ground.organisation.save()
    post.submit(GUEST)
    post.settle()
    post.ground.organisation.remind_after_days = None
    post.ground.organisation.save()
    post.submit(OTHER, message_id="<b@voorbeeld.test>", text="Ander.")
    post.settle()
    post.later(days=6)
    assert len(server.messages()) == 2
    post.later(days=2)
    assert [one.address for one in reminders(post)] == [GUEST]


def test_a_job_that_is_done_twice_reminds_once(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST)
    post.settle()
    post.clock.forward(days=3)
    (leased,) = post.lease(Kind.REMIND)
    post.run(post.delivery.remind(leased))
    with pytest.raises(LeaseLost):
        post.run(post.delivery.remind(leased))
    post.settle()
    assert len(reminders(post)) == 1
    assert len(server.messages()) == 2


def test_a_reminder_that_can_not_be_delivered_changes_nothing(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST)
    post.settle()
    server.answers["RCPT"] = b"550 5.1.1 gone\r\n"
    post.later(days=3)
    assert [one.state for one in reminders(post)] == ["failed"]
    assert post.recipient(GUEST).state == "notified"
    assert post.reports() == []
