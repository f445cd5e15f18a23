"""What ends: keys at expiry, with everything that only they opened; and what a crash left behind."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from tests.journey.arrival_ground import Doorstep, mail
from tests.journey.portal_ground import Clock
from zegel.core.seal.wrap import CannotOpen
from zegel.edge.chance import identifier
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import (
    Content,
    Conversation,
    Job,
    Message,
    Sms,
    Submission,
    Transmission,
)
from zegel.journey.custody.retention import ORPHAN, Retention, destroy

pytestmark = pytest.mark.django_db(transaction=True)

TO, BCC = "to@example.org", "bcc@example.org"
LARGE = b"0123456789abcdef\r\n" * 20_000
CODE = "zivver-access-right: to@example.org sharedAccessCode geheime-code"


@pytest.fixture
def doorstep(tmp_path: Path, clock: Clock) -> Iterator[Doorstep]:
    with Doorstep(tmp_path, clock).open() as opened:
        yield opened


@pytest.fixture(params=["small", "large"])
def conversations(request: pytest.FixtureRequest, doorstep: Doorstep) -> tuple[Conversation, Conversation]:
    """A shared one and a blind one, of one message."""
    body = LARGE if request.param == "large" else b"klein\r\n"
    assert doorstep.submit(mail(CODE, to=TO, body=body), TO, BCC).startswith("250 ")
    return Conversation.objects.get(is_blind=False), Conversation.objects.get(is_blind=True)


def opens(doorstep: Doorstep, conversation: Conversation) -> bool:
    message = Message.objects.select_related("content", "conversation").get(conversation_id=conversation.id)
    try:
        return b"Uitslag" in doorstep.opened(message).octets
    except CannotOpen:
        return False


def destroyed(conversation: Conversation, clock: Clock) -> list[Any]:
    with transaction.atomic():
        return destroy(conversation.id, now=clock())


# Keys


def test_a_destroyed_conversation_can_not_be_opened(
    doorstep: Doorstep, clock: Clock, conversations: tuple[Conversation, Conversation]
) -> None:
    shared, _ = conversations
    destroyed(shared, clock)
    assert not opens(doorstep, shared)
    shared.refresh_from_db()
    assert (shared.gateway_slot, shared.destroyed_at) == (None, clock())
    assert Message.objects.get(conversation=shared).key is None


def test_content_lives_as_long_as_one_conversation_that_opens_it(
    doorstep: Doorstep, clock: Clock, conversations: tuple[Conversation, Conversation]
) -> None:
    shared, blind = conversations
    assert destroyed(shared, clock) == []
    assert opens(doorstep, blind)
    content = Content.objects.get()
    assert destroyed(blind, clock) == [content.id]
    content.refresh_from_db()
    assert (content.sealed, bytes(content.head)) == (None, b"")


def test_the_recipients_links_and_codes_go_too(
    doorstep: Doorstep, clock: Clock, conversations: tuple[Conversation, Conversation]
) -> None:
    shared, blind = conversations
    for conversation in conversations:
        recipient = conversation.recipients.get()
        link = doorstep.unsealer.make_link(recipient, conversation)
        recipient.link_hash, recipient.link_share, recipient.link_slot = link.hash, link.share, link.slot
        recipient.verification = b"wrapped"
        recipient.save()
    destroyed(shared, clock)
    gone, kept = shared.recipients.get(), blind.recipients.get()
    assert {gone.link_hash, gone.link_share, gone.link_slot, gone.verification} == {None}
    assert None not in {kept.link_hash, kept.link_share, kept.link_slot, kept.verification}


def test_mails_and_text_messages_that_wait_go_too(
    doorstep: Doorstep, clock: Clock, conversations: tuple[Conversation, Conversation]
) -> None:
    shared, blind = conversations
    for conversation in conversations:
        recipient = conversation.recipients.get()
        Transmission.objects.create(
            organisation=conversation.organisation,
            recipient=recipient,
            kind="notification",
            address=recipient.address,
            message_id="<a@b.test>",
            sealed=b"wrapped",
            created_at=clock(),
        )
        Sms.objects.create(recipient=recipient, sealed=b"wrapped", created_at=clock())
    destroyed(shared, clock)
    gone, kept = shared.recipients.get(), blind.recipients.get()
    assert gone.transmissions.get().sealed is None
    assert (gone.sms_set.get().sealed, gone.sms_set.get().state) == (None, "failed")
    assert kept.transmissions.get().sealed is not None
    assert (kept.sms_set.get().sealed is None, kept.sms_set.get().state) == (False, "queued")


def directives_of(doorstep: Doorstep) -> list[bool]:
    """Of each submission, whether what it asked can still be read."""
    found = []
    for one in Submission.objects.order_by("id"):
        try:
            doorstep.unsealer.field(one.directives, name="directives", owner=one.id)
            found.append(True)
        except CannotOpen:
            found.append(False)
    return found


def test_what_was_asked_goes_with_the_last_conversation(
    doorstep: Doorstep, clock: Clock, conversations: tuple[Conversation, Conversation]
) -> None:
    """Numbers and codes stand in it."""
    shared, blind = conversations
    destroyed(shared, clock)
    assert directives_of(doorstep) == [True]
    destroyed(blind, clock)
    assert directives_of(doorstep) == [False]


def test_what_the_other_half_of_a_split_asked_goes_too(doorstep: Doorstep, clock: Clock) -> None:
    both = f"{TO}, cc@example.org"
    assert doorstep.submit(mail(CODE, to=both), TO).startswith("250 ")
    assert doorstep.submit(mail(CODE, to=both), "cc@example.org").startswith("250 ")
    assert directives_of(doorstep) == [True, True]
    destroyed(Conversation.objects.get(), clock)
    assert directives_of(doorstep) == [False, False]


def test_other_messages_are_not_touched(
    doorstep: Doorstep, clock: Clock, conversations: tuple[Conversation, Conversation]
) -> None:
    assert doorstep.submit(mail(CODE, to=TO, identity="ander"), TO).startswith("250 ")
    other = Conversation.objects.latest("id")
    for one in conversations:
        destroyed(one, clock)
    assert opens(doorstep, other)
    assert directives_of(doorstep) == [False, True]


def test_destroying_twice_leaves_what_it_left_once(
    doorstep: Doorstep, clock: Clock, conversations: tuple[Conversation, Conversation]
) -> None:
    for one in conversations:
        destroyed(one, clock)
    before = doorstep.custody()
    content = Content.objects.get().id
    assert destroyed(conversations[1], clock) == [content]
    assert doorstep.custody() == before


def test_a_destruction_that_is_undone_destroyed_nothing(
    doorstep: Doorstep, clock: Clock, conversations: tuple[Conversation, Conversation]
) -> None:
    before = doorstep.custody()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        destroy(conversations[0].id, now=clock())
        raise ZeroDivisionError
    assert doorstep.custody() == before


# The job


def expire(doorstep: Doorstep) -> int:
    """Does the expiry jobs that are due; how many they were."""
    with transaction.atomic():
        leased = jobs.lease((Kind.EXPIRE,), most=10, now=doorstep.clock())

    async def story() -> None:
        retention = Retention(doorstep.place.writer, doorstep.blobs, now=doorstep.clock)
        for one in leased:
            await retention.expire(one)

    doorstep.loop.run(story())
    return len(leased)


def test_a_conversation_ends_at_its_time_and_not_before(doorstep: Doorstep, clock: Clock) -> None:
    assert doorstep.submit(mail("zivver-message-expiration: delete P30D", to=TO, body=LARGE), TO).startswith("250 ")
    conversation = Conversation.objects.get()
    clock.forward(days=30, seconds=-1)
    assert expire(doorstep) == 0
    assert opens(doorstep, conversation)
    clock.forward(seconds=1)
    assert expire(doorstep) == 1
    assert not opens(doorstep, conversation)
    assert doorstep.files() == []
    assert not Job.objects.filter(kind=Kind.EXPIRE).exists()


def test_a_shared_file_goes_with_the_last_conversation(doorstep: Doorstep, clock: Clock) -> None:
    content = mail("zivver-message-expiration: delete P30D", to=TO, body=LARGE)
    assert doorstep.submit(content, TO, BCC).startswith("250 ")
    Job.objects.filter(subject=Conversation.objects.get(is_blind=True).id).update(due_at=clock() + timedelta(days=40))
    clock.forward(days=30)
    assert expire(doorstep) == 1
    assert len(doorstep.files()) == 1
    clock.forward(days=10)
    assert expire(doorstep) == 1
    assert doorstep.files() == []


def database_files() -> list[Path]:
    name = Path(str(connection.settings_dict["NAME"]))
    return [path for path in name.parent.glob(f"{name.name}*") if path.is_file()]


def found_in_files(secret: bytes) -> bool:
    return any(secret in path.read_bytes() for path in database_files())


def test_no_key_is_left_in_the_files_of_the_database(doorstep: Doorstep, clock: Clock) -> None:
    """Who takes the disk, and the gateway's key as well, finds nothing that opens: neither in the database nor in its
    write-ahead log."""
    wire = doorstep.signed_in()
    for number in range(12):
        lives = ["zivver-message-expiration: delete P1D"] if number % 3 == 1 else []
        assert wire.submit(mail(*lives, CODE, to=TO, identity=str(number)), TO).startswith("250 ")
    secrets = []
    for message in Message.objects.exclude(conversation__expires_at=None).select_related("content", "conversation"):
        conversation = message.conversation
        found = (conversation.gateway_slot, message.key, message.content.sealed, conversation.submission.directives)
        secrets += [bytes(one or b"") for one in found]
    assert len(secrets) == 16
    assert all(found_in_files(one[-40:]) for one in secrets)
    connection.close()  # a reader that is in the way would keep the old pages
    clock.forward(days=1)
    assert expire(doorstep) == 4
    assert [found_in_files(one[-40:]) for one in secrets] == [False] * 16


# What a crash left


def sweep(doorstep: Doorstep) -> None:
    Retention(doorstep.place.writer, doorstep.blobs, now=doorstep.clock)._sweep(())


def age(doorstep: Doorstep) -> None:
    """Every file is from before yesterday."""
    then = time.time() - ORPHAN.total_seconds() - 60
    for path in doorstep.blobs.folder.rglob("*"):
        os.utime(path, (then, then))


def test_old_files_without_a_message_are_removed_and_the_others_stay(doorstep: Doorstep) -> None:
    assert doorstep.submit(mail(to=TO, body=LARGE), TO).startswith("250 ")
    kept = doorstep.files()
    for finished in (True, False):
        writer = doorstep.blobs.create(identifier())
        writer.write(b"orphan")
        if finished:
            writer.commit()
    sweep(doorstep)
    assert len(doorstep.files()) == 3, "they are young: their message may be on its way"
    age(doorstep)
    sweep(doorstep)
    assert doorstep.files() == kept
    assert doorstep.opened().rest == mail(to=TO, body=LARGE)


def test_a_file_that_outlived_its_keys_is_removed(doorstep: Doorstep, clock: Clock) -> None:
    """The process was killed between the commit of the destruction and the removal."""
    assert doorstep.submit(mail(to=TO, body=LARGE), TO).startswith("250 ")
    destroyed(Conversation.objects.get(), clock)
    assert len(doorstep.files()) == 1
    age(doorstep)
    sweep(doorstep)
    assert doorstep.files() == []


def test_sweeping_an_empty_folder_is_no_trouble(doorstep: Doorstep) -> None:
    sweep(doorstep)
