"""Opening: what was sealed for one place opens nowhere else, and nothing damaged is ever given."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db.models import F
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.journey.portal_ground import Ground, mail
from zegel.core.seal.stream import SEGMENT
from zegel.core.seal.wrap import CannotOpen
from zegel.core.secret import Secret
from zegel.edge import keyring
from zegel.edge.keyring import opening_keys
from zegel.journey.custody.models import Content, Conversation, Message, Recipient
from zegel.journey.custody.seal import wrap_field
from zegel.journey.custody.unseal import Unsealer, link_secret

pytestmark = pytest.mark.django_db

LARGE = mail(files={"groot.bin": ("application/octet-stream", os.urandom(200_000))})
FEW = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


def two(ground: Ground, octets: bytes = mail()) -> tuple[Conversation, Conversation]:
    return ground.conversation(octets), ground.conversation(octets)


def read(ground: Ground, conversation: Conversation) -> bytes:
    message = Message.objects.select_related("content", "conversation").get(conversation_id=conversation.id)
    key = ground.unsealer.message_key(message, ground.unsealer.conversation_key(message.conversation))
    ground.unsealer.head(message.content, key)
    return b"".join(ground.unsealer.octets(message.content, key))


# Moved to another row


def test_a_slot_of_another_conversation_opens_nothing(ground: Ground) -> None:
    one, other = two(ground)
    other.gateway_slot = one.gateway_slot
    other.save()
    with pytest.raises(CannotOpen):
        ground.unsealer.conversation_key(other)


def test_a_key_of_another_message_opens_nothing(ground: Ground) -> None:
    """Even in the same conversation."""
    one, other = two(ground)
    moved, target = one.messages.get(), other.messages.get()
    key = ground.unsealer.conversation_key(one)
    assert ground.unsealer.message_key(moved, key)
    target.key = moved.key
    with pytest.raises(CannotOpen):
        ground.unsealer.message_key(target, key)


@pytest.mark.parametrize("field", ["sealed", "head"])
def test_content_of_another_row_is_not_given(ground: Ground, field: str) -> None:
    one, other = two(ground)
    moved, target = one.messages.get().content, other.messages.get().content
    setattr(target, field, getattr(moved, field))
    target.save()
    assert read(ground, one)
    with pytest.raises(CannotOpen):
        read(ground, other)


def test_a_blob_of_another_row_is_not_given(ground: Ground) -> None:
    one, other = two(ground, LARGE)
    names = {path.name: path for path in ground.blobs.folder.rglob("*") if path.is_file()}
    source, target = (names[each.messages.get().content_id.hex] for each in (one, other))
    target.write_bytes(source.read_bytes())
    with pytest.raises(CannotOpen):
        read(ground, other)


def test_a_message_that_is_shown_beside_another_conversation_is_not_opened(ground: Ground) -> None:
    one, other = two(ground)
    Message.objects.filter(conversation=one).update(conversation=other)
    with pytest.raises(CannotOpen):
        ground.unsealer.message_key(
            Message.objects.filter(conversation=other).earliest("id"), ground.unsealer.conversation_key(other)
        )


@pytest.mark.parametrize("field", ["share", "slot"])
def test_half_of_another_recipients_link_opens_nothing(ground: Ground, field: str) -> None:
    conversation = ground.conversation(mail())
    one, other = (ground.recipient(conversation, f"{name}@example.org") for name in ("een", "ander"))
    token, others = Secret(ground.link(one)), Secret(ground.link(other))
    link = one.links.get()
    assert ground.unsealer.conversation_key_by_link(link, token)
    with pytest.raises(CannotOpen):
        ground.unsealer.conversation_key_by_link(link, others)
    setattr(link, field, getattr(other.links.get(), field))
    for each in (token, others):
        with pytest.raises(CannotOpen):
            ground.unsealer.conversation_key_by_link(link, each)


def test_a_link_opens_its_own_conversation_only(ground: Ground) -> None:
    one, other = two(ground)
    recipient, stranger = ground.recipient(one), ground.recipient(other)
    token = Secret(ground.link(recipient))
    link = recipient.links.get()
    key = ground.unsealer.conversation_key_by_link(link, token)
    assert key.reveal() == ground.unsealer.conversation_key(one).reveal()
    link.recipient = stranger
    with pytest.raises(CannotOpen):
        ground.unsealer.conversation_key_by_link(link, token)


@pytest.mark.parametrize(("name", "owner"), [("verification", "other"), ("sms", "own")])
def test_a_field_of_another_row_or_name_is_not_opened(ground: Ground, name: str, owner: str) -> None:
    conversation = ground.conversation(mail())
    one, other = (ground.recipient(conversation, f"{each}@example.org") for each in ("een", "ander"))
    opened = ground.unsealer.field(one.verification, name="verification", owner=one.id)
    assert json.loads(opened.reveal()) == {"phone": "+31612345678"}
    with pytest.raises(CannotOpen):
        ground.unsealer.field(one.verification, name=name, owner=one.id if owner == "own" else other.id)


def test_another_gateways_key_opens_nothing(ground: Ground, tmp_path: Path) -> None:
    keyring.create(tmp_path / "other")
    stranger = Unsealer(opening_keys(tmp_path / "other"), ground.blobs)
    with pytest.raises(CannotOpen):
        stranger.conversation_key(ground.conversation(mail()))


# Destroyed


def test_what_was_destroyed_can_not_be_opened(ground: Ground) -> None:
    conversation = ground.conversation(mail())
    recipient = ground.recipient(conversation)
    token = Secret(ground.link(recipient))
    key = ground.unsealer.conversation_key(conversation)
    message = conversation.messages.get()
    link = recipient.links.get()
    conversation.gateway_slot = message.key = None
    link.slot = b""
    ways: tuple[Callable[[], object], ...] = (
        lambda: ground.unsealer.conversation_key(conversation),
        lambda: ground.unsealer.message_key(message, key),
        lambda: ground.unsealer.conversation_key_by_link(link, token),
        lambda: ground.unsealer.field(None, name="verification", owner=recipient.id),
        lambda: ground.unsealer.field(b"", name="verification", owner=recipient.id),
    )
    for way in ways:
        with pytest.raises(CannotOpen):
            way()


def test_a_link_without_the_servers_share_opens_nothing(ground: Ground) -> None:
    recipient = ground.recipient(ground.conversation(mail()))
    token = Secret(ground.link(recipient))
    link = recipient.links.get()
    link.share = b""
    with pytest.raises(CannotOpen):
        ground.unsealer.conversation_key_by_link(link, token)


# Damaged


def flipped(octets: bytes, bit: int) -> bytes:
    changed = bytearray(octets)
    changed[bit // 8 % len(changed)] ^= 1 << bit % 8
    return bytes(changed)


@FEW
@given(bit=st.integers(min_value=0, max_value=10**7), what=st.sampled_from(["slot", "key", "head", "sealed"]))
def test_one_changed_bit_is_an_error(ground: Ground, bit: int, what: str) -> None:
    conversation = ground.conversation(mail())
    message = conversation.messages.get()
    match what:
        case "slot":
            conversation.gateway_slot = flipped(bytes(conversation.gateway_slot or b""), bit)
            conversation.save()
        case "key":
            Message.objects.filter(id=message.id).update(key=flipped(bytes(message.key or b""), bit))
        case _:
            octets = flipped(bytes(getattr(message.content, what)), bit)
            Content.objects.filter(id=message.content_id).update(**{what: octets})
    with pytest.raises(CannotOpen):
        read(ground, conversation)


def blob(ground: Ground) -> Path:
    return next(path for path in ground.blobs.folder.rglob("*") if path.is_file())


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda octets: octets[:-1],
    "cut off between segments": lambda octets: octets[: 8 + SEGMENT + 16],
    "empty": lambda octets: b"",
    "segments swapped": lambda octets: (
        octets[:8]
        + octets[8 + SEGMENT + 16 : 8 + 2 * (SEGMENT + 16)]
        + octets[8 : 8 + SEGMENT + 16]
        + octets[8 + 2 * (SEGMENT + 16) :]
    ),
    "another version": lambda octets: b"\xff" + octets[1:],
    "one bit": lambda octets: flipped(octets, 8 * 100_000),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_blob_is_an_error(ground: Ground, how: str) -> None:
    conversation = ground.conversation(LARGE)
    path = blob(ground)
    path.write_bytes(DAMAGES[how](path.read_bytes()))
    with pytest.raises(CannotOpen):
        read(ground, conversation)


def test_a_blob_that_is_gone_is_an_error(ground: Ground) -> None:
    conversation = ground.conversation(LARGE)
    blob(ground).unlink()
    with pytest.raises(CannotOpen):
        read(ground, conversation)


def test_a_size_that_is_not_true_is_an_error(ground: Ground) -> None:
    for octets in (mail(), LARGE):
        conversation = ground.conversation(octets)
        for change in (-1, 1, SEGMENT, 10 * SEGMENT):
            Content.objects.filter(message__conversation=conversation).update(size=F("size") + change)
            with pytest.raises(CannotOpen):
                read(ground, conversation)
            Content.objects.filter(message__conversation=conversation).update(size=F("size") - change)


# Ranges and tokens


@pytest.mark.parametrize("octets", [mail(), LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    ("offset", "length"), [(0, 1), (1, 100), (0, None), (50, None), (SEGMENT - 1, 2), (SEGMENT, SEGMENT), (10**9, 5)]
)
def test_a_range_is_what_lies_there(ground: Ground, octets: bytes, offset: int, length: int | None) -> None:
    conversation = ground.conversation(octets)
    message = conversation.messages.get()
    key = ground.unsealer.message_key(message, ground.unsealer.conversation_key(conversation))
    found = b"".join(ground.unsealer.octets(message.content, key, offset, length))
    assert found == octets[offset:][: len(octets) if length is None else length]


@FEW
@given(token=st.text(max_size=60) | st.binary(max_size=40).map(lambda some: base64.urlsafe_b64encode(some).decode()))
@example(token="")
@example(token="é" * 43)
@example(token="A" * 44)
@example(token="A" * 42)
@example(token="A" * 43 + "=")
@example(token="\0" * 43)
def test_what_is_no_token_is_refused_as_one(token: str) -> None:
    try:
        assert len(link_secret(Secret(token)).reveal()) == 32
    except CannotOpen as cause:
        assert str(cause) == "not a link"  # a fixed sentence: nothing of the token stands in it


def test_a_token_that_was_made_is_read(ground: Ground) -> None:
    recipient = ground.recipient(ground.conversation(mail()))
    link = ground.unsealer.make_link(recipient, ground.unsealer.conversation_key(recipient.conversation))
    assert base64.urlsafe_b64encode(link_secret(link.token).reveal()).decode().rstrip("=") == link.token.reveal()
    assert link.token.reveal() not in repr(link)


def test_every_link_is_another_one(ground: Ground) -> None:
    recipient = ground.recipient(ground.conversation(mail()))
    key = ground.unsealer.conversation_key(recipient.conversation)
    made = [ground.unsealer.make_link(recipient, key) for _ in range(5)]
    assert len({one.token.reveal() for one in made}) == len({one.hash for one in made}) == 5


def test_equal_fields_have_different_wraps(ground: Ground) -> None:
    sealed = {wrap_field(b"gelijk", name="n", owner="o", to=ground.keys.sealing) for _ in range(3)}
    assert len(sealed) == 3
    assert Recipient.objects.count() == 0
