"""From *I can't use this method* to a message that is read, over real servers: the mails, the links, what is kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from django.test import Client

from tests.journey.delivery_ground import PHONE, SENTENCE, Post, a_post, everything_in, link_in, words
from tests.journey.portal_ground import PASSWORD, Clock, Visitor, signed_in
from zegel.accounts import policy as policies
from zegel.accounts.models import RememberedDevice
from zegel.core.mail.address import Mailbox
from zegel.core.policy.permitting import RecipientPolicy
from zegel.core.policy.verification import SmsCode
from zegel.core.secret import Secret
from zegel.journey.custody import memory
from zegel.journey.custody.memory import Asker

pytestmark = pytest.mark.django_db(transaction=True)

GUEST: Final = "gast@open.test"
NEW: Final = "+31687654321"
NAMED: Final = ("zivver-access-right", f"{GUEST} sms {PHONE}")


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        yield found


@pytest.fixture
def sender(post: Post) -> Client:
    post.ground.author.set_password(PASSWORD)
    post.ground.author.save()
    return signed_in(post.ground.author)


def allow(sender: Client, page: str, **values: str) -> Any:
    found = re.search(r'name="version" value="([^"]+)"', sender.get(page).content.decode())
    assert found is not None
    return sender.post(page, {"version": found[1], **values})


def test_another_number_from_the_question_to_the_next_message(post: Post, clock: Clock, sender: Client) -> None:
    server = post.mx("open.test")
    post.submit(GUEST, fields=[NAMED])
    post.settle()
    (first,) = server.messages()
    recipient, guest = post.recipient(GUEST), Visitor(post.ground)
    guest.follow(link_in(first))
    guest.client.post(guest.page("guest-another-way", recipient), {"why": "number-changed"})
    post.settle()
    (told,) = [words(one) for one in post.notices()]
    address = re.search(r"http://localhost(/another-way/[0-9a-f-]+/)", told)
    assert address is not None and GUEST in told and SENTENCE not in told and "5678" not in told
    assert allow(sender, address[1], **{"way": "sms", "sms-phone": NEW}).status_code == 303
    clock.forward(minutes=1)
    post.settle()
    _, second = server.messages()
    assert "4321" in everything_in(second) and "5678" not in everything_in(second)
    assert SENTENCE not in everything_in(second) and link_in(second) != link_in(first)
    for token in (link_in(first), link_in(second)):
        clock.forward(minutes=1)
        visitor = Visitor(post.ground)
        visitor.open(recipient, token)
        assert post.ground.text_messages()[-1]["to"] == NEW
        assert SENTENCE in words_of(visitor.read(recipient))
    assert str(post.recipient(GUEST).state) == "opened"
    asker = Asker(post.ground.organisation.id, post.ground.author.id, Mailbox.parse(GUEST).key)
    known = memory.known({asker}, open_field=post.ground.unsealer.field)[asker]
    assert known.sms == SmsCode(Secret(NEW)) and not known.supplied  # row 5, for the next message
    assert NEW[3:] not in str(post.logged) and PHONE[3:] not in str(post.logged)


def test_the_mail_about_a_new_device_arrives_and_its_link_leads_to_it(post: Post, clock: Clock) -> None:
    policies.permit(post.ground.organisation, RecipientPolicy(remembers_devices_days=30, remind_after_days=None))
    server = post.mx("open.test")
    post.submit(GUEST, fields=[NAMED])
    post.settle()
    recipient, guest = post.recipient(GUEST), Visitor(post.ground)
    token = link_in(server.messages()[0])
    guest.follow(token)
    guest.ask(recipient)
    values = {"code": post.ground.last_code(), "remember": "on"}
    guest.client.post(guest.page("guest-verify", recipient), values)
    post.settle()
    _, told = server.messages()
    assert f"http://localhost/m/{token}/devices" in everything_in(told) and SENTENCE not in everything_in(told)
    assert guest.client.get(f"/m/{token}/devices", follow=True).redirect_chain[-1][0].endswith("/devices")
    assert RememberedDevice.objects.count() == 1
    assert token not in str(post.logged)


def words_of(response: Any) -> str:
    return str(response.content.decode())
