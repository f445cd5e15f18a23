"""P5, P12: what was taken back, or is somebody else's by now, does not leave, however slow the hosts were."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from django.db import connection, transaction

from tests.journey.delivery_ground import (
    PROVEN_FIELD,
    SENTENCE,
    Post,
    a_post,
    everything_in,
    holds_a_link,
    link_in,
    words,
)
from tests.journey.delivery_peers import Answer, ScriptedMx, Silence
from tests.journey.portal_ground import Clock, Visitor, dump
from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.journey.custody import forgetting, revoking
from zegel.journey.custody.jobs import Kind, Leased, LeaseLost
from zegel.journey.custody.models import Attempt, Conversation, Job, Recipient, Transmission
from zegel.journey.custody.retention import destroy
from zegel.journey.delivery import deliver, tasks

pytestmark = pytest.mark.django_db(transaction=True)

READER: Final = "lezer@veilig.test"
GUEST: Final = "gast@open.test"


@pytest.fixture
def post(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Post]:
    """Every host is slow enough to look again whether the mail may leave."""
    monkeypatch.setattr(deliver, "FRESH", 0.0)
    with a_post(tmp_path, clock) as found:
        yield found


def revoked(post: Post) -> None:
    revoking.revoke(Recipient.objects.get(address=READER), now=post.clock.at)


def revoked_for_all(post: Post) -> None:
    revoking.revoke_all(Recipient.objects.get(address=READER).conversation, now=post.clock.at)


def destroyed(post: Post) -> None:
    destroy(Recipient.objects.get(address=READER).conversation_id, now=post.clock.at)


def expired(post: Post) -> None:
    Conversation.objects.update(expires_at=post.clock.at)


def taken_over(_: Post) -> None:
    Job.objects.filter(kind=Kind.TRANSMIT).update(lease=uuid.uuid4())


def given_back(_: Post) -> None:
    Job.objects.filter(kind=Kind.TRANSMIT).update(lease=None, leased_until=None)


Event = Callable[[Post], None]
TAKEN_BACK: Final[list[Event]] = [revoked, revoked_for_all, destroyed, expired]
LOST: Final[list[Event]] = [taken_over, given_back]


def happens(event: Event, post: Post) -> None:
    """Committed, in another thread than the delivery's."""
    try:
        with transaction.atomic():
            event(post)
    finally:
        connection.close()


def meanwhile(server: ScriptedMx, verb: str, event: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Something happens before the server answers that."""
    answer = server.answer

    def first_that(asked: str, ordinary: Answer) -> Answer:
        if asked == verb:
            event()
        return answer(asked, ordinary)

    monkeypatch.setattr(server, "answer", first_that)


def decided(post: Post) -> Leased:
    for leased in post.lease(Kind.DECIDE):
        post.run(post.decision.decide(leased))
    (leased,) = post.lease(Kind.TRANSMIT)
    return leased


def readable(post: Post) -> ScriptedMx:
    server = post.proven()
    post.submit(READER, fields=[PROVEN_FIELD])
    return server


def transmit(post: Post, leased: Leased, event: Event) -> None:
    if event not in LOST:
        post.run(post.delivery.transmit(leased))
        return
    with pytest.raises(LeaseLost):
        post.run(post.delivery.transmit(leased))


@pytest.mark.parametrize("event", TAKEN_BACK + LOST)
def test_what_is_taken_back_while_the_host_is_slow_is_not_begun(
    post: Post, event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the very connection, whose level was judged already."""
    server = readable(post)
    leased = decided(post)
    meanwhile(server, "EHLO2", lambda: happens(event, post), monkeypatch)
    transmit(post, leased, event)
    post.run(post.dialler.close())
    (heard,) = server.heard
    assert heard.ended.wait(10)
    assert not server.mail_was_begun()
    assert heard.commands[-1] == "QUIT"
    assert server.messages() == []


@pytest.mark.parametrize("verb", ["RCPT", "END"])
def test_what_a_server_says_of_who_is_erased_meanwhile_does_not_keep_the_address(
    post: Post, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def erased(post: Post) -> None:
        forgetting.forget_recipient(post.ground.organisation, Mailbox.parse(READER), now=post.clock.at)

    server = readable(post)
    server.answers[verb] = f"550 5.1.1 <{READER}>: no such user\r\n".encode()
    leased = decided(post)
    meanwhile(server, verb, lambda: happens(erased, post), monkeypatch)
    post.run(post.delivery.transmit(leased))
    assert [one.reply for one in Attempt.objects.all()] == ["550 5.1.1"]
    assert not [row for row in dump() if READER in row]
    assert Recipient.objects.get().state == Recipient.State.UNDELIVERABLE


@pytest.mark.parametrize("event", TAKEN_BACK + LOST)
def test_what_is_taken_back_while_a_host_hangs_does_not_go_to_the_next(post: Post, event: Event) -> None:
    slow = post.mx("veilig.test", preference=5, host="mx1.veilig.test", greeting=Silence)
    server = readable(post)
    leased = decided(post)

    def take_back_and_hang_up() -> None:
        happens(event, post)
        slow.drop()

    async def both() -> None:
        sending = asyncio.create_task(post.delivery.transmit(leased))
        while not slow.heard:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(take_back_and_hang_up)
        await sending

    if event in LOST:
        with pytest.raises(LeaseLost):
            post.run(both())
    else:
        post.run(both())
    assert not server.mail_was_begun()


@pytest.mark.parametrize("event", TAKEN_BACK)
def test_what_is_taken_back_over_a_connection_that_was_kept_is_not_begun(
    post: Post, event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = post.proven()
    post.submit("ander@veilig.test", fields=[PROVEN_FIELD], message_id="<eerder@voorbeeld.test>")
    post.run(post.delivery.transmit(decided(post)))
    Transmission.objects.filter(address="ander@veilig.test").update(state="sent")
    post.submit(READER, fields=[PROVEN_FIELD])
    leased = decided(post)
    send_over = post.dialler._send_over

    async def later(*given: object) -> object:
        await asyncio.to_thread(happens, event, post)
        return await send_over(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(type(post.dialler), "_send_over", lambda _, *given: later(*given))
    post.run(post.delivery.transmit(leased))
    assert len(server.heard) == 1
    assert server.heard[0].commands.count("MAIL") == 1
    assert [one.rcpt for one in server.taken] == ["TO:<ander@veilig.test>"]


@pytest.mark.parametrize("event", TAKEN_BACK)
def test_what_was_taken_back_is_told_as_that_and_never_tried_again(
    post: Post, event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = readable(post)
    leased = decided(post)
    meanwhile(server, "EHLO2", lambda: happens(event, post), monkeypatch)
    post.run(post.delivery.transmit(leased))
    post.until_nothing_waits()
    assert server.messages() == []
    assert post.recipient(READER).state == "undeliverable"
    assert [one.state for one in post.transmissions("readable")] == ["failed"]
    assert post.transmissions("notification") == []
    assert SENTENCE not in "".join(words(one) for one in post.heard())


@pytest.mark.parametrize("event", LOST)
def test_who_lost_the_lease_on_the_way_records_nothing(
    post: Post, event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = readable(post)
    leased = decided(post)
    meanwhile(server, "EHLO2", lambda: happens(event, post), monkeypatch)
    transmit(post, leased, event)
    assert not Attempt.objects.exists()
    assert post.recipient(READER).state == "decided"
    assert [one.state for one in post.transmissions("readable")] == ["queued"]


def test_what_still_stands_leaves_after_another_look(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    server = readable(post)
    leased = decided(post)
    looked: list[tasks.Standing] = []

    def look_again(task: tasks.Task, *, now: Instant) -> tasks.Standing:
        looked.append(tasks.look_again(task, now=now))
        return looked[-1]

    monkeypatch.setattr(deliver, "look_again", look_again)
    post.run(post.delivery.transmit(leased))
    assert looked == [tasks.Standing.DUE]
    assert SENTENCE in words(server.messages()[0])
    assert post.recipient(READER).state == "delivered"


def test_a_code_that_is_over_before_its_server_answers_is_not_sent(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    server = post.mx("open.test")
    post.submit(GUEST)
    post.settle()
    visitor, recipient = Visitor(post.ground), post.recipient(GUEST)
    assert visitor.follow(link_in(server.messages()[0])).status_code == 303
    assert visitor.ask(recipient).status_code == 303
    meanwhile(server, "EHLO", lambda: post.clock.forward(hours=1), monkeypatch)
    post.settle()
    assert len(server.messages()) == 1
    (code,) = post.transmissions("code")
    assert (code.state, code.sealed) == ("failed", None)


def test_a_notification_of_what_is_revoked_on_the_way_is_not_sent(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    server = post.mx("veilig.test")
    post.submit(READER)
    leased = decided(post)
    meanwhile(server, "EHLO", lambda: happens(revoked, post), monkeypatch)
    post.run(post.delivery.transmit(leased))
    assert not server.mail_was_begun()
    (notification,) = post.transmissions("notification")
    assert (notification.state, notification.sealed) == ("failed", None)
    post.until_nothing_waits()
    assert not any(holds_a_link(everything_in(one)) for one in post.heard())
