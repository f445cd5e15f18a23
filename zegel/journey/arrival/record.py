"""Recording accepted messages: many in one transaction, with one statement for each table.

Who may submit is decided here, at the moment of the commit and not before: credentials that were disabled while a
message was on its way in are refused.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from zegel.core.clock import Duration, Instant
from zegel.core.mail.address import Mailbox
from zegel.core.mail.reply import Reply
from zegel.edge import rows
from zegel.edge.chance import identifier
from zegel.journey import milestones
from zegel.journey.arrival.sender import Sender, Submitter, authorise
from zegel.journey.custody.models import Content, Conversation, Message, Recipient, Submission
from zegel.journey.custody.seal import NewConversation

REPEAT_WINDOW: Final = timedelta(hours=24)  # D-4


@dataclass(frozen=True, slots=True)
class AcceptedRecipient:
    """A recipient as the envelope named it."""

    mailbox: Mailbox
    notify: frozenset[str] = frozenset()
    original: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A message that is sealed, and durable except for its rows."""

    submission: uuid.UUID
    submitter: Submitter
    author: Mailbox
    content: uuid.UUID
    size: int
    header_size: int
    sealed: bytes | None
    head: bytes
    reverse_path: str
    envelope_id: str
    message_id: str
    identity: bytes
    directives: bytes
    source: str
    tls: str
    at: Instant
    envelope: dict[Mailbox, AcceptedRecipient]
    shared: tuple[Mailbox, ...]
    shared_conversation: NewConversation | None
    blind: dict[Mailbox, NewConversation]
    lives: Duration | None  # as the message asks; else as the organisation's policy says
    warn: bool


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a prepared message."""

    recipients: int  # new ones; none: all of it was accepted before
    content_kept: bool


def record(batch: Sequence[Prepared]) -> list[Recorded | Reply]:
    """Inside the writer's transaction; a verdict for each, in order. What was accepted within 24 h is not accepted
    again (D-4): a recipient who is new joins the conversation, one who is in it gets nothing more."""
    senders = authorise({(one.submitter, one.author) for one in batch})
    known = _Known.of(batch, senders)
    pending = _Pending()
    verdicts: list[Recorded | Reply] = []
    for one in batch:
        sender = senders[one.submitter, one.author]
        verdicts.append(sender if isinstance(sender, Reply) else pending.take(one, sender, known))
    pending.write()
    return verdicts


@dataclass(slots=True)
class _Earlier:
    """What the same message became before."""

    shared: uuid.UUID | None = None
    served: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Known:
    """Earlier transactions of the same messages, this batch's own included as it is worked through."""

    by_identity: dict[tuple[int, int, bytes], _Earlier]  # of an organisation and an account

    @classmethod
    def of(cls, batch: Sequence[Prepared], senders: dict[tuple[Submitter, Mailbox], Sender | Reply]) -> _Known:
        accounts = {sender.account for sender in senders.values() if isinstance(sender, Sender)}
        oldest = min(one.at for one in batch) - REPEAT_WINDOW
        found = (
            Recipient.objects.filter(
                conversation__submission__identity__in={one.identity for one in batch},
                conversation__submission__account__in=accounts,
                conversation__submission__accepted_at__gt=oldest,
                conversation__gateway_slot__isnull=False,
            )
            .values_list(
                "conversation__organisation",
                "conversation__submission__account",
                "conversation__submission__identity",
                "conversation",
                "conversation__is_blind",
                "key",
            )
            .order_by("conversation__created_at")
        )
        known = cls(defaultdict(_Earlier))
        for organisation, account, identity, conversation, is_blind, key in found:
            earlier = known.by_identity[organisation, account, bytes(identity)]
            earlier.served.add(key)
            if not is_blind:
                earlier.shared = earlier.shared or conversation
        return known


@dataclass(slots=True)
class _Pending:
    """Rows that will be written together."""

    submissions: list[tuple[object, ...]] = field(default_factory=list)
    contents: list[tuple[object, ...]] = field(default_factory=list)
    conversations: list[tuple[object, ...]] = field(default_factory=list)
    messages: list[tuple[object, ...]] = field(default_factory=list)
    recipients: list[tuple[object, ...]] = field(default_factory=list)
    decide: list[uuid.UUID] = field(default_factory=list)
    warn: list[uuid.UUID] = field(default_factory=list)
    expire: list[tuple[uuid.UUID, Instant]] = field(default_factory=list)
    at: Instant | None = None

    def take(self, one: Prepared, sender: Sender, known: _Known) -> Recorded:
        earlier = known.by_identity[sender.organisation, sender.account, one.identity]
        shared = [mailbox for mailbox in one.shared if mailbox.key not in earlier.served]
        blind = {mailbox: keys for mailbox, keys in one.blind.items() if mailbox.key not in earlier.served}
        if not shared and not blind:
            return Recorded(0, content_kept=False)
        new = [(keys, True) for keys in blind.values()]
        if shared and earlier.shared is None:
            assert one.shared_conversation is not None
            earlier.shared = one.shared_conversation.id
            new.append((one.shared_conversation, False))
        self._submission(one, sender)
        if new:
            self.contents.append((one.content, one.size, one.header_size, one.sealed, one.head, one.at))
        for keys, is_blind in new:
            self._conversation(keys, one, sender, is_blind=is_blind)
        for mailbox, keys in blind.items():
            self._recipient(mailbox, keys.id, one)
        for mailbox in shared:
            self._recipient(mailbox, earlier.shared, one)
        earlier.served.update(mailbox.key for mailbox in (*shared, *blind))
        return Recorded(len(shared) + len(blind), content_kept=bool(new))

    def write(self) -> None:
        """One statement for each table that gets something."""
        rows.insert(Submission, _SUBMISSION, self.submissions)
        rows.insert(Content, _CONTENT, self.contents)
        rows.insert(Conversation, _CONVERSATION, self.conversations)
        rows.insert(Message, _MESSAGE, self.messages)
        rows.insert(Recipient, _RECIPIENT, self.recipients)
        if self.at is not None:
            milestones.accepted(self.decide, warn=self.warn, now=self.at)
        for conversation, at in self.expire:
            milestones.expires([conversation], at=at)

    def _submission(self, one: Prepared, sender: Sender) -> None:
        self.submissions.append(
            (
                one.submission,
                sender.organisation,
                sender.account,
                one.submitter.credential,
                one.reverse_path,
                one.envelope_id,
                one.message_id,
                one.identity,
                one.directives,
                one.source,
                one.tls,
                one.at,
            )
        )
        self.decide.append(one.submission)
        if one.warn:
            self.warn.append(one.submission)
        self.at = one.at if self.at is None else max(self.at, one.at)

    def _conversation(self, keys: NewConversation, one: Prepared, sender: Sender, *, is_blind: bool) -> None:
        lives = one.lives or sender.lives
        expires_at = one.at + lives if lives else None
        self.conversations.append(
            (
                keys.id,
                sender.organisation,
                sender.account,
                one.submission,
                is_blind,
                keys.gateway_slot,
                one.at,
                expires_at,
            )
        )
        self.messages.append((keys.message, keys.id, one.content, keys.enclosed_message_key, one.at))
        if expires_at is not None:
            self.expire.append((keys.id, expires_at))

    def _recipient(self, mailbox: Mailbox, conversation: uuid.UUID | None, one: Prepared) -> None:
        given = one.envelope[mailbox]
        notify = ",".join(sorted(given.notify))
        self.recipients.append(
            (identifier(), conversation, one.submission, str(mailbox), mailbox.key, notify, given.original, *_FRESH)
        )


_SUBMISSION: Final = (
    "id",
    "organisation_id",
    "account_id",
    "credential_id",
    "reverse_path",
    "envelope_id",
    "message_id",
    "identity",
    "directives",
    "source",
    "tls",
    "accepted_at",
)
_CONTENT: Final = ("id", "size", "header_size", "sealed", "head", "created_at")
_CONVERSATION: Final = (
    "id",
    "organisation_id",
    "author_id",
    "submission_id",
    "is_blind",
    "gateway_slot",
    "created_at",
    "expires_at",
)
_MESSAGE: Final = ("id", "conversation_id", "content_id", "key", "created_at")
_BEGIN: Final = {  # of every recipient
    "state": Recipient.State.ACCEPTED.value,
    "step": 0,
    "method": "",
    "masked": "",
    "code_needs_tls": 0,
    "code_needs_authentication": 0,
    "status": "",
    "reason": "",
    "opened_with": "",
}
_FRESH: Final = tuple(_BEGIN.values())
_RECIPIENT: Final = ("id", "conversation_id", "submission_id", "address", "key", "notify", "original", *_BEGIN)
