"""Closing, with the public key only. What is written here, this process can no longer read once it forgot the keys."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from zegel.core.seal.slot import derive, enclose
from zegel.core.seal.stream import Sealer
from zegel.core.seal.wrap import Group, SealingKey, wrap
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.edge.blobs import Blobs, BlobWriter

IN_DATABASE: Final = 64 * 1024  # sealed octets; above, content goes to a file


def content_context(content: uuid.UUID) -> str:
    """What the stream of a content is bound to."""
    return f"content/{content.hex}"


def head_context(content: uuid.UUID) -> str:
    """What the head of a content is bound to."""
    return f"head/{content.hex}"


def message_context(message: uuid.UUID) -> str:
    """What the enclosed key of a message is bound to."""
    return f"message/{message.hex}"


def conversation_context(conversation: uuid.UUID) -> str:
    """What the gateway's slot of a conversation is bound to."""
    return f"conversation/{conversation.hex}"


def field_context(name: str, owner: uuid.UUID | str) -> str:
    """What a wrapped field is bound to: its name and its row."""
    return f"{name}/{owner.hex if isinstance(owner, uuid.UUID) else owner}"


def stream_key(message_key: Secret[bytes]) -> Secret[bytes]:
    """The key of the content's stream."""
    return derive(message_key, "content")


def head_key(message_key: Secret[bytes]) -> Secret[bytes]:
    """The key of the content's head."""
    return derive(message_key, "head")


class ContentSink:
    """Takes content in any cut, seals it on the way, keeps small content in memory and large content in a blob.

    Nothing unsealed outlives :meth:`feed`. One of :meth:`finish` and :meth:`abandon` ends it; ``abandon``
    may be called after ``finish`` and leaves nothing behind.
    """

    def __init__(self, blobs: Blobs) -> None:
        self.id = chance.identifier()
        self.message_key = chance.key()
        self._sealer = Sealer(stream_key(self.message_key), context=content_context(self.id), prefix=chance.nonce(7))
        self._blobs = blobs
        self._small: list[bytes] = []
        self._small_size = 0
        self._blob: BlobWriter | None = None

    @property
    def size(self) -> int:
        """Octets of content so far."""
        return self._sealer.size

    @property
    def is_large(self) -> bool:
        """It is a blob, and finishing it waits for the disk."""
        return self._blob is not None

    def feed(self, octets: bytes) -> None:
        """Raises ``OSError`` when the disk is full or broken."""
        self._store(self._sealer.feed(octets))

    def finish(self) -> bytes | None:
        """The sealed octets for the database, or ``None``: they are a durable blob named after :attr:`id`. Blocks."""
        self._store(self._sealer.finish())
        if self._blob is None:
            return b"".join(self._small)
        self._blob.commit()
        return None

    def abandon(self) -> None:
        """Leaves nothing behind."""
        self._small.clear()
        if self._blob is not None:
            self._blob.abandon()

    def enclosed_head(self, head: bytes) -> bytes:
        """The head under the message key."""
        context = head_context(self.id)
        return enclose(Secret(head), head_key(self.message_key), context=context, nonce=chance.nonce())

    def _store(self, sealed: bytes) -> None:
        if not sealed:
            return
        if self._blob is None and self._small_size + len(sealed) > IN_DATABASE:
            self._blob = self._blobs.create(self.id)
            for piece in self._small:
                self._blob.write(piece)
            self._small.clear()
        if self._blob is not None:
            self._blob.write(sealed)
        else:
            self._small.append(sealed)
            self._small_size += len(sealed)


@dataclass(frozen=True, slots=True)
class NewConversation:
    """Identity and key of a conversation that may come to be."""

    id: uuid.UUID
    message: uuid.UUID
    gateway_slot: bytes
    enclosed_message_key: bytes


GROUP_LIVES: Final = 5.0  # seconds


class Wrapper:
    """Wraps to the gateway, values that come within a few seconds with one :class:`Group`.

    The price is said in docs/sealed-mail.md: who takes this process over can open what it wrapped in the last
    :data:`GROUP_LIVES` seconds before, if they have the database too. Threads may share one; those that come at the
    same moment may make a group each.
    """

    def __init__(self, to: SealingKey, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._to = to
        self._clock = clock
        self._group: Group | None = None
        self._until = 0.0

    def wrap(self, octets: Secret[bytes], *, context: str) -> bytes:
        """As :func:`zegel.core.seal.wrap.wrap`."""
        now, group = self._clock(), self._group
        if group is None or now >= self._until:
            group = Group(chance.key(), to=self._to)
            self._group, self._until = group, now + GROUP_LIVES
        return group.wrap(octets, context=context, nonce=chance.nonce())

    def forget_if_old(self) -> None:
        """Now and then, so that a group does not outlive its time because nothing comes."""
        if self._clock() >= self._until:
            self._group = None


def new_conversation(message_key: Secret[bytes], *, to: Wrapper) -> NewConversation:
    """A conversation around one message; its key is forgotten here and now, and opened with the gateway's key alone."""
    conversation, message, key = chance.identifier(), chance.identifier(), chance.key()
    return NewConversation(
        conversation,
        message,
        to.wrap(key, context=conversation_context(conversation)),
        enclose_message_key(message_key, key, message),
    )


def enclose_message_key(message_key: Secret[bytes], conversation_key: Secret[bytes], message: uuid.UUID) -> bytes:
    """A message key under a conversation key."""
    return enclose(message_key, conversation_key, context=message_context(message), nonce=chance.nonce())


def wrap_field(octets: bytes, *, name: str, owner: uuid.UUID | str, to: SealingKey) -> bytes:
    """A field that only the gateway reads: a number, a code, a mail that waits."""
    return wrap(Secret(octets), to=to, context=field_context(name, owner))
