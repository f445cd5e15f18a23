"""What ends: keys at expiry, with everything that only they opened; and what a crash left behind."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from django.db import OperationalError, connection, transaction

from tests.journey.arrival_ground import Doorstep, mail
from tests.journey.portal_ground import Clock
from tests.needs import ONLY_SQLITE
from zegel.core.policy.ended import Ended
from zegel.core.seal.wrap import CannotOpen
from zegel.edge import sqlite
from zegel.edge.chance import identifier
from zegel.edge.database import Writer
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import Kind, LeaseLost
from zegel.journey.custody.models import (
    Content,
    Conversation,
    Job,
    Message,
    Recipient,
    SealedVerification,
    Sms,
    Submission,
    Transmission,
)
from zegel.journey.custody.retention import AGAIN, ORPHAN, Retention, destroy
from zegel.journey.custody.unseal import NewLink

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


def keep(recipient: Recipient, link: NewLink, clock: Clock) -> None:
    recipient.links.create(hash=link.hash, share=link.share, slot=link.slot, created_at=clock())
    SealedVerification.objects.create(recipient=recipient, sealed=b"wrapped")


def test_the_recipients_links_and_codes_go_too(
    doorstep: Doorstep, clock: Clock, conversations: tuple[Conversation, Conversation]
) -> None:
    shared, blind = conversations
    for conversation in conversations:
        recipient = conversation.recipients.get()
        link = doorstep.unsealer.make_link(recipient, doorstep.unsealer.conversation_key(conversation))
        keep(recipient, link, clock)
    destroyed(shared, clock)
    gone, kept = shared.recipients.get(), blind.recipients.get()
    assert (gone.links.count(), gone.verification) == (0, None)
    assert (kept.links.count(), kept.verification) == (1, b"wrapped")


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
        retention = Retention(cast(Writer, doorstep.place.writer), doorstep.blobs, now=doorstep.clock)
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
    assert second_look(doorstep) == 1
    assert not Job.objects.filter(kind=Kind.EXPIRE).exists()
    conversation.refresh_from_db()
    assert conversation.destroyed_at == clock() - AGAIN, "when it was, and not when it was looked at again"


def test_a_shared_file_goes_with_the_last_conversation(doorstep: Doorstep, clock: Clock) -> None:
    content = mail("zivver-message-expiration: delete P30D", to=TO, body=LARGE)
    assert doorstep.submit(content, TO, BCC).startswith("250 ")
    Job.objects.filter(subject=Conversation.objects.get(is_blind=True).id).update(due_at=clock() + timedelta(days=40))
    clock.forward(days=30)
    assert expire(doorstep) == 1
    assert len(doorstep.files()) == 1
    assert second_look(doorstep) == 1
    clock.forward(days=10)
    assert expire(doorstep) == 1
    assert doorstep.files() == []


# What stands in the way


def broken(doorstep: Doorstep) -> set[str]:
    """Where the log says that something was amiss; taken from it, since it was meant to."""
    found = {str(one["where"]) for one in doorstep.logged if one["event"] == "broken"}
    doorstep.logged[:] = [one for one in doorstep.logged if one["event"] != "broken"]
    return found


def second_look(doorstep: Doorstep) -> int:
    doorstep.clock.forward(seconds=AGAIN.total_seconds())
    return expire(doorstep)


@pytest.fixture
def expired(doorstep: Doorstep, clock: Clock) -> Conversation:
    """It lived for a day, which is over; nothing was done about it yet."""
    content = mail("zivver-message-expiration: delete P1D", CODE, to=TO, body=LARGE)
    assert doorstep.submit(content, TO).startswith("250 ")
    clock.forward(days=1)
    return Conversation.objects.get()


def test_a_file_that_can_not_be_removed_keeps_no_key_and_is_tried_again(
    doorstep: Doorstep, clock: Clock, expired: Conversation
) -> None:
    (blob,) = (path for path in doorstep.blobs.folder.rglob("*") if path.is_file())
    aside = blob.rename(blob.with_name("elders"))
    blob.mkdir()  # what unlink doesn't remove, whoever asks
    assert expire(doorstep) == 1
    assert not opens(doorstep, expired)
    assert second_look(doorstep) == 1
    assert Job.objects.filter(kind=Kind.EXPIRE, subject=expired.id).exists()
    assert broken(doorstep) == {"removing what expired"}
    blob.rmdir()
    aside.rename(blob)
    assert second_look(doorstep) == 1
    assert doorstep.files() == []
    assert not Job.objects.filter(kind=Kind.EXPIRE).exists()


@ONLY_SQLITE
def test_a_reader_of_old_pages_puts_the_end_off_and_not_the_destruction(
    doorstep: Doorstep, clock: Clock, expired: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "PAUSES", (0.0,))
    slot = bytes(expired.gateway_slot or b"")[-40:]
    connection.close()
    with closing(connection.get_new_connection(connection.get_connection_params())) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM custody_conversation").fetchall()
        assert expire(doorstep) == 1
        assert not opens(doorstep, expired)
        connection.close()
        assert found_in_files(slot), "the reader may still need it"
        assert second_look(doorstep) == 1
        assert Job.objects.filter(kind=Kind.EXPIRE).exists()
        connection.close()
        assert broken(doorstep) == {"emptying the write-ahead log"}
        reader.execute("ROLLBACK")
    assert second_look(doorstep) == 1
    assert not Job.objects.filter(kind=Kind.EXPIRE).exists()
    connection.close()
    assert not found_in_files(slot)


def test_a_crash_between_the_keys_and_the_file_is_made_good(
    doorstep: Doorstep, clock: Clock, expired: Conversation
) -> None:
    with transaction.atomic():
        jobs.lease((Kind.EXPIRE,), most=10, now=clock())
    destroyed(expired, clock)
    assert expire(doorstep) == 0
    clock.forward(seconds=jobs.LEASE.total_seconds() + 1)
    assert expire(doorstep) == 1
    assert doorstep.files() == []
    assert not Job.objects.filter(kind=Kind.EXPIRE).exists()


def test_a_destruction_that_fails_comes_again(
    doorstep: Doorstep, clock: Clock, expired: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, a database that is away: the job stays as it was."""
    with monkeypatch.context() as broken, pytest.raises(OperationalError):
        broken.setattr(Conversation.objects, "filter", _no_room)
        expire(doorstep)
    assert opens(doorstep, expired)
    clock.forward(seconds=jobs.LEASE.total_seconds() + 1)
    assert expire(doorstep) == 1
    assert not opens(doorstep, expired)


def _no_room(**_: Any) -> Any:
    raise OperationalError("database or disk is full")


def test_what_somebody_wrote_at_the_last_moment_goes_with_the_second_look(
    doorstep: Doorstep, clock: Clock, expired: Conversation
) -> None:
    """Another process had read the conversation before it was destroyed, and stored what it made of it afterwards."""
    recipient = expired.recipients.get()
    link = doorstep.unsealer.make_link(recipient, doorstep.unsealer.conversation_key(expired))
    assert expire(doorstep) == 1
    keep(recipient, link, clock)
    assert second_look(doorstep) == 1
    assert (recipient.links.count(), recipient.verification) == (0, None)


@ONLY_SQLITE
def test_many_that_end_at_once_are_all_cleared(doorstep: Doorstep, clock: Clock) -> None:
    wire = doorstep.signed_in()
    for number in range(20):
        content = mail("zivver-message-expiration: delete P1D", to=TO, body=LARGE, identity=str(number))
        assert wire.submit(content, TO).startswith("250 ")
    slots = [bytes(one or b"")[-40:] for one in Conversation.objects.values_list("gateway_slot", flat=True)]
    assert all(found_in_files(one) for one in slots)
    clock.forward(days=1)
    with transaction.atomic():
        leased = jobs.lease((Kind.EXPIRE,), most=100, now=clock())
    connection.close()

    async def story() -> None:
        retention = Retention(cast(Writer, doorstep.place.writer), doorstep.blobs, now=clock)
        await asyncio.gather(*map(retention.expire, leased))

    doorstep.loop.run(story())
    assert len(leased) == len(slots) == 20
    assert doorstep.files() == []
    assert not Content.objects.exclude(sealed=None, head=b"").exists()
    connection.close()
    assert not any(found_in_files(one) for one in slots)


def test_a_clock_that_is_set_back_brings_nothing_back(doorstep: Doorstep, clock: Clock, expired: Conversation) -> None:
    assert expire(doorstep) == 1
    clock.forward(days=-1)
    assert expire(doorstep) == 0
    assert not opens(doorstep, expired)
    clock.forward(days=1)
    assert second_look(doorstep) == 1
    assert not Job.objects.filter(kind=Kind.EXPIRE).exists()


# Who was still to get it


def test_who_was_not_decided_yet_is_undeliverable_and_the_sender_is_told(
    doorstep: Doorstep, clock: Clock, expired: Conversation
) -> None:
    assert expire(doorstep) == 1
    recipient = expired.recipients.get()
    assert (recipient.state, recipient.status, recipient.reason) == ("undeliverable", "5.7.0", Ended.DESTROYED.value)
    assert set(Job.objects.values_list("kind", "subject")) == {
        (Kind.REPORT.value, recipient.id),
        (Kind.EXPIRE.value, expired.id),
    }, "and no decision or warning, which would need what was asked"


def test_a_decision_that_was_being_made_is_not_recorded(
    doorstep: Doorstep, clock: Clock, expired: Conversation
) -> None:
    """It would store the number or code of the recipient anew."""
    with transaction.atomic():
        (deciding,) = jobs.lease((Kind.DECIDE,), most=10, now=clock())
    assert expire(doorstep) == 1
    with pytest.raises(LeaseLost), transaction.atomic():
        jobs.finish(deciding)


def test_mail_in_the_queue_is_looked_at_at_once(doorstep: Doorstep, clock: Clock, expired: Conversation) -> None:
    recipient = expired.recipients.get()
    recipient.state = "decided"
    recipient.save()
    queued = Transmission.objects.create(
        organisation=expired.organisation,
        recipient=recipient,
        kind="notification",
        address=recipient.address,
        message_id="<a@b.test>",
        sealed=b"wrapped",
        created_at=clock(),
    )
    jobs.put(Kind.TRANSMIT, [queued.id], due=clock() + timedelta(hours=4))
    assert expire(doorstep) == 1
    assert Job.objects.get(kind=Kind.TRANSMIT).due_at == clock()
    recipient.refresh_from_db()
    assert recipient.state == "decided", "delivery ends it, which may be at it at this moment"


# How every process opens the database


@ONLY_SQLITE
def test_every_connection_overwrites_what_it_deletes_and_uses_no_temporary_files(db: None) -> None:
    connection.close()
    with connection.cursor() as cursor:
        found = [cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("secure_delete", "temp_store")]
    assert found == [1, 2]


def database_files() -> list[Path]:
    name = Path(str(connection.settings_dict["NAME"]))
    return [path for path in name.parent.glob(f"{name.name}*") if path.is_file()]


def found_in_files(secret: bytes) -> bool:
    return any(secret in path.read_bytes() for path in database_files())


@ONLY_SQLITE
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
    Retention(cast(Writer, doorstep.place.writer), doorstep.blobs, now=doorstep.clock)._sweep(())


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
