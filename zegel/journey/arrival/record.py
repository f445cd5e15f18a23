"""Recording accepted messages: many in one transaction, with one statement for each table.

Who may submit is decided here, at the moment of the commit and not before: credentials that were disabled while a
message was on its way in are refused.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from zegel.accounts import submitting
from zegel.accounts.models import Usage
from zegel.core.clock import Duration, Instant
from zegel.core.mail.address import Mailbox
from zegel.core.mail.reply import Reply
from zegel.core.policy.submitting import CAP_REACHED, HOURS_A_DAY, Caps, Used, reached
from zegel.core.policy.texts import TEXTS_CAPPED
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
    requires_tls: bool
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
    references: str  # Message-IDs of what it answers (D-5)
    texts_to: Mapping[Mailbox, str]  # whom the message names a number of, and of which country that is
    warn: bool


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a prepared message."""

    recipients: int  # new ones; none: all of it was accepted before
    content_kept: bool


@dataclass(frozen=True, slots=True)
class Capped:
    """Refused for now: one more message would break a cap of the organisation or the credential."""

    cap: str
    organisation: int
    credential: int | None  # whose cap it is; None: the organisation's
    reply: Reply = CAP_REACHED


def record(batch: Sequence[Prepared]) -> list[Recorded | Capped | Reply]:
    """Inside the writer's transaction; a verdict for each, in order. What was accepted within 24 h is not accepted
    again (D-4): a recipient who is new joins the conversation, one who is in it gets nothing more."""
    senders = authorise({(one.submitter, one.author) for one in batch})
    known = _earlier(batch)
    pending = _Pending(_Ledger.of(batch, senders))
    verdicts: list[Recorded | Capped | Reply] = []
    for one in batch:
        sender = senders[one.submitter, one.author]
        verdicts.append(sender if isinstance(sender, Reply) else pending.take(one, sender, known))
    pending.write()
    return verdicts


@dataclass(slots=True)
class _Earlier:
    """What the same message became before."""

    shared: dict[Duration | None, uuid.UUID] = field(default_factory=dict)  # conversations, by how long they live
    served: set[str] = field(default_factory=set)


_Known = dict[tuple[int, int, bytes], _Earlier]  # of an organisation, an account and an identity


def _earlier(batch: Sequence[Prepared]) -> _Known:
    """Earlier transactions of the same messages; this batch's own are added as it is worked through."""
    known: _Known = defaultdict(_Earlier)
    identities = list({one.identity for one in batch})
    oldest = min(one.at for one in batch) - REPEAT_WINDOW
    found = rows.select(
        f"""SELECT s.organisation_id, s.account_id, s.identity, c.id, c.is_blind, c.created_at, c.expires_at, r.key
        FROM {rows.table(Submission)} s
        JOIN {rows.table(Recipient)} r ON r.submission_id = s.id
        JOIN {rows.table(Conversation)} c ON c.id = r.conversation_id
        WHERE s.identity IN ({rows.marks(len(identities))}) AND s.accepted_at > %s
        AND c.gateway_slot IS NOT NULL
        ORDER BY c.created_at""",  # noqa: S608
        (*identities, rows.moment(oldest)),
    )
    for organisation, account, identity, conversation, is_blind, created_at, expires_at, key in found:
        earlier = known[organisation, account, bytes(identity)]
        earlier.served.add(key)
        if not is_blind:
            earlier.shared.setdefault(_lives(created_at, expires_at), uuid.UUID(str(conversation)))
    return known


def _lives(created_at: Any, expires_at: Any) -> Duration | None:
    """How long, of a conversation as the database has it; ``None``: without end."""
    begins, ends = rows.instant(created_at), rows.instant(expires_at)
    return ends - begins if begins is not None and ends is not None else None


@dataclass(slots=True)
class _Ledger:
    """How much each organisation and credential of a batch submitted, and submits in it."""

    hour: int
    used: dict[tuple[int, int], Used]  # as far as somebody has a cap
    added: dict[tuple[int, int], list[int]] = field(default_factory=dict)  # messages, recipients, refused: this batch

    @classmethod
    def of(cls, batch: Sequence[Prepared], senders: dict[tuple[Submitter, Mailbox], Sender | Reply]) -> _Ledger:
        hour = int(max(one.at for one in batch).timestamp() // 3600)
        capped = {
            whose
            for (submitter, _), sender in senders.items()
            if isinstance(sender, Sender)
            for whose, caps in _capped(submitter, sender)
            if caps
        }
        return cls(hour, {whose: _used(whose, hour) for whose in capped})

    def objection(self, one: Prepared, sender: Sender, recipients: int) -> Capped | None:
        """The first cap that this message would break."""
        for whose, caps in _capped(one.submitter, sender):
            if caps and (cap := reached(caps, self.used[whose], recipients)) is not None:
                self.added.setdefault(whose, [0, 0, 0])[2] += (
                    1  # the alarm stands, whether or not there is room for less
                )
                is_credential = whose[0] == Usage.Whose.CREDENTIAL
                return Capped(cap, sender.organisation, whose[1] if is_credential else None)
        return None

    def add(self, one: Prepared, sender: Sender, recipients: int) -> None:
        """The message is taken."""
        for whose, _ in _capped(one.submitter, sender):
            if whose in self.used:
                self.used[whose].add(recipients)
            counts = self.added.setdefault(whose, [0, 0, 0])
            counts[0] += 1
            counts[1] += recipients

    def write(self) -> None:
        """Adds what this batch brought."""
        usage = rows.table(Usage)
        rows.execute_many(
            f"""INSERT INTO {usage} (whose, number, hour, messages, recipients, refused)
            VALUES (%s, %s, %s, %s, %s, %s)
            ON CONFLICT (whose, number, hour) DO UPDATE SET
            messages = {usage}.messages + excluded.messages,
            recipients = {usage}.recipients + excluded.recipients,
            refused = {usage}.refused + excluded.refused""",  # noqa: S608
            [(*whose, self.hour, *counts) for whose, counts in self.added.items()],
        )


def _capped(submitter: Submitter, sender: Sender) -> tuple[tuple[tuple[int, int], Caps], ...]:
    """Whose counts a message adds to, with their caps."""
    organisation = ((Usage.Whose.ORGANISATION.value, sender.organisation), sender.organisation_caps)
    if submitter.credential is None:
        return (organisation,)
    return (organisation, ((Usage.Whose.CREDENTIAL.value, submitter.credential), sender.credential_caps))


def _used(whose: tuple[int, int], hour: int) -> Used:
    found = rows.select(
        f"""SELECT hour, messages, recipients FROM {rows.table(Usage)}
        WHERE whose = %s AND number = %s AND hour > %s AND hour <= %s""",  # noqa: S608
        (*whose, hour - HOURS_A_DAY, hour),
    )
    now = [one for one in found if one[0] == hour]
    return Used(
        messages_this_hour=sum(one[1] for one in now),
        messages_today=sum(one[1] for one in found),
        recipients_this_hour=sum(one[2] for one in now),
        recipients_today=sum(one[2] for one in found),
    )


@dataclass(slots=True)
class _Pending:
    """Rows that will be written together."""

    ledger: _Ledger
    submissions: list[tuple[object, ...]] = field(default_factory=list)
    contents: list[tuple[object, ...]] = field(default_factory=list)
    conversations: list[tuple[object, ...]] = field(default_factory=list)
    messages: list[tuple[object, ...]] = field(default_factory=list)
    recipients: list[tuple[object, ...]] = field(default_factory=list)
    decide: list[uuid.UUID] = field(default_factory=list)
    warn: list[uuid.UUID] = field(default_factory=list)
    refers: list[tuple[str, uuid.UUID]] = field(default_factory=list)
    expire: list[tuple[uuid.UUID, Instant]] = field(default_factory=list)
    at: Instant | None = None

    def take(self, one: Prepared, sender: Sender, known: _Known) -> Recorded | Capped:
        earlier = known[sender.organisation, sender.account, one.identity]
        shared = [mailbox for mailbox in one.shared if mailbox.key not in earlier.served]
        blind = {mailbox: keys for mailbox, keys in one.blind.items() if mailbox.key not in earlier.served}
        if not shared and not blind:
            return Recorded(0, content_kept=False)
        recipients = len(shared) + len(blind)
        if (capped := self.ledger.objection(one, sender, recipients)) is not None:
            return capped
        named = {country for mailbox, country in one.texts_to.items() if mailbox in {*shared, *blind}}
        if named:  # nobody whom it names a number of could get a code
            credential = one.submitter.credential
            exceeded = submitting.texts_objection(sender.organisation, credential, named, now=one.at)
            if exceeded is not None:
                return Capped(exceeded.limit.value, sender.organisation, exceeded.credential, TEXTS_CAPPED)
        self.ledger.add(one, sender, recipients)
        new = [(keys, True) for keys in blind.values()]
        lives = one.lives or sender.lives  # a half that asks for another term ends at another time: it joins nobody
        if shared and lives not in earlier.shared:
            assert one.shared_conversation is not None
            earlier.shared[lives] = one.shared_conversation.id
            new.append((one.shared_conversation, False))
        self._submission(one, sender)
        if new:
            self.contents.append((one.content, one.size, one.header_size, one.sealed, one.head, one.at))
        for keys, is_blind in new:
            self._conversation(keys, one, sender, is_blind=is_blind)
        for mailbox, keys in blind.items():
            self._recipient(mailbox, keys.id, one)
        for mailbox in shared:
            self._recipient(mailbox, earlier.shared[lives], one)
        earlier.served.update(mailbox.key for mailbox in (*shared, *blind))
        return Recorded(recipients, content_kept=bool(new))

    def write(self) -> None:
        """One statement for each table that gets something."""
        self.ledger.write()
        rows.insert(Submission, _SUBMISSION, self.submissions)
        rows.insert(Content, _CONTENT, self.contents)
        rows.insert(Conversation, _CONVERSATION, self.conversations)
        rows.insert(Message, _MESSAGE, self.messages)
        rows.insert(Recipient, _RECIPIENT, self.recipients)
        if self.at is not None:
            milestones.accepted(self.decide, warn=self.warn, now=self.at)
            if self.refers:  # few messages do; their rows are written twice, and the others stay as small as they are
                rows.update(Submission, ("references",), self.refers)
                milestones.refers([one for _, one in self.refers], now=self.at)
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
                one.requires_tls,
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
        if one.references:
            self.refers.append((one.references, one.submission))
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

    def _recipient(self, mailbox: Mailbox, conversation: uuid.UUID, one: Prepared) -> None:
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
    "requires_tls",
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
