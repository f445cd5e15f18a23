"""One message on its way in: its header section edited as octets, its content sealed while it streams, then recorded.

The order is the promise: sealed, durable, committed, and only then the 250.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from zegel.core.clock import Instant
from zegel.core.mail.address import Domain, Mailbox, ReversePath
from zegel.core.mail.dkim_verify import BodyHashes, Signature, Verdict, signatures, verify
from zegel.core.mail.fields import (
    Author,
    BrokenHeader,
    HeaderReader,
    HeaderSection,
    HeaderTooLong,
    NotOneAuthor,
    addresses,
    author,
    message_id,
    references,
)
from zegel.core.mail.head import describe
from zegel.core.mail.mime import MimeIndexer
from zegel.core.mail.reply import Reply
from zegel.core.mail.trace import MAX_RECEIVED, carries_own_marker, date_field, loop_marker, received, received_count
from zegel.core.policy.continuing import MOST_REFERENCES
from zegel.core.policy.conversation import fields_for_identity, split
from zegel.core.policy.directives import (
    NOTHING_ASKED,
    Directives,
    MalformedField,
    is_control_field,
    read_directives,
    to_json_bytes,
    unmatched,
)
from zegel.core.policy.phone import country_of
from zegel.core.policy.submitting import DKIM_MISSING, DKIM_UNKNOWN
from zegel.core.policy.verification import SmsCode
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.edge.blobs import Blobs
from zegel.edge.database import Readers, is_full
from zegel.edge.dns import Found, NotThere, Resolver, Trouble
from zegel.edge.hatch import AnswerLost
from zegel.edge.keyring import SubmissionKeys
from zegel.edge.log import Broken, CapReached, SubmissionAccepted, SubmissionRepeated, log
from zegel.journey.arrival.record import AcceptedRecipient, Capped, Prepared, Recorded, record
from zegel.journey.arrival.sender import Submitter
from zegel.journey.custody.seal import IN_DATABASE, ContentSink, Wrapper, new_conversation, wrap_field

LOOP: Final = Reply(
    554, "5.4.6", "This message went around in a loop; see where your mail server sends what it receives"
)
HEADER_TOO_LONG: Final = Reply(552, "5.3.4", "The header section is larger than 256 KiB")
NO_RECIPIENT: Final = Reply(554, "5.5.1", "No recipient was accepted")
DISK_FULL: Final = Reply(452, "4.3.1", "Temporarily out of storage; try again later")
LOCAL_PROBLEM: Final = Reply(451, "4.3.0", "Temporary local problem; try again later")
MOST_KEYS: Final = 3  # records at one selector that are tried; there should be one (RFC 6376 §3.6.2.2)
MUCH: Final = 32 * 1024  # octets of header section; reading the addresses of a larger one would hold others up
NOT_INDEXED: Final = 32 * 1024  # octets, header and body; whoever opens so little looks through it in milliseconds
assert NOT_INDEXED < IN_DATABASE, "only content in the database may do without a stored head"
_REMOVED: Final = frozenset({"bcc", "resent-bcc", "return-path", "x-zegel-transport"})


@dataclass(slots=True)
class Envelope:
    """The envelope of one transaction, as far as it has come."""

    reverse_path: ReversePath
    envelope_id: str = ""
    requires_tls: bool = False  # REQUIRETLS (RFC 8689 §2)
    recipients: list[AcceptedRecipient] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Client:
    """Who is at the other end of the connection, for the trace field."""

    address: str
    helo: str
    tls: str  # "TLSv1.3 TLS_AES_256_GCM_SHA384"
    signed_in: bool = True  # with AUTH; False: by SPF alone
    smtputf8: bool = False
    over: str = ""  # another protocol than SMTP

    @property
    def literal(self) -> str:
        """The address as RFC 5321 §4.1.3 writes it between brackets."""
        return f"IPv6:{self.address}" if ":" in self.address else self.address

    @property
    def protocol(self) -> str:
        """As RFC 3848 and RFC 6531 §4.3 name it in trace fields."""
        if self.over:
            return self.over
        return ("UTF8SMTPS" if self.smtputf8 else "ESMTPS") + ("A" if self.signed_in else "")


Item = TypeVar("Item")
T = TypeVar("T")


class Writes(Protocol):
    """What arrival writes through: :class:`zegel.edge.database.Writer`, or
    :class:`zegel.journey.arrival.apart.Recorder`."""

    async def write(self, work: Callable[[], T]) -> T:
        """Runs ``work`` in a transaction."""

    async def write_together(self, together: Callable[[Sequence[Item]], Sequence[T]], item: Item) -> T:
        """Runs ``together`` in a transaction, for this and other items."""

    def close(self) -> None:
        """Finishes what was begun; nothing is written any more."""


Together = Callable[[Sequence[Prepared]], Sequence[Recorded | Capped | Reply]]


@dataclass(frozen=True, slots=True)
class Place:
    """What intake needs of its surroundings."""

    hostname: str
    keys: SubmissionKeys
    wrapper: Wrapper
    blobs: Blobs
    writer: Writes
    readers: Readers
    dns: Resolver
    now: Callable[[], Instant]
    ring: Callable[[], None]


def shown(section: HeaderSection) -> set[Mailbox]:
    """Whom everybody sees: the mailboxes of To and Cc."""
    return {one.mailbox for line in (*section.all("to"), *section.all("cc")) for one in addresses(line.value)}


def goes_round(section: HeaderSection, marker: Secret[bytes]) -> bool:
    """The message was here before, or came by more servers than any message does."""
    return received_count(section) > MAX_RECEIVED or carries_own_marker(section, marker)


def asked_by(section: HeaderSection, *, region: str) -> Directives:
    """What its control fields ask. Raises :class:`MalformedField`."""
    return read_directives([(one.key, one.value) for one in section.fields], region=region)


def refusal_of(cause: Exception) -> Reply | None:
    """The reply to a header section that is not to be taken; ``None``: the sender isn't to blame."""
    match cause:
        case MalformedField(reply=reply):
            return reply
        case NotOneAuthor() | BrokenHeader():
            return Reply(550, "5.6.0", f"{cause}")
        case HeaderTooLong():
            return HEADER_TOO_LONG
        case _:
            return None


@dataclass(slots=True)
class _Signed:
    """A message that needs a DKIM signature of its From domain beside SPF (D-8), as its body comes by."""

    section: HeaderSection  # as it was submitted
    signatures: tuple[Signature, ...]
    hashes: BodyHashes

    @classmethod
    def of(cls, section: HeaderSection, domain: Domain, at: Instant) -> _Signed:
        found = tuple(one for one in signatures(section, now=at) if one.domain == domain)
        return cls(section, found, BodyHashes([one.body for one in found]))

    def feed(self, octets: bytes) -> None:
        """The next octets of the body."""
        self.hashes.feed(octets)

    async def objection(self, dns: Resolver) -> Reply | None:
        """``None`` once one signature is valid. Keys that can't be looked up now: not now."""
        unknown = False
        for one in self.signatures:
            match await dns.ask(one.key_name, "TXT"):
                case Found(records=records):
                    digest = self.hashes.digest(one.body)
                    if any(
                        verify(one, self.section, digest, record) is Verdict.VALID for record in records[:MOST_KEYS]
                    ):
                        return None
                case Trouble():
                    unknown = True
                case NotThere():
                    pass
        return DKIM_UNKNOWN if unknown else DKIM_MISSING


class Intake:
    """Takes one message. ``feed`` any cut of its content, then ``finish``; or ``abandon`` at any time.

    A refusal that is known early is kept until the end: the protocol has no place for it before.
    """

    def __init__(
        self, place: Place, submitter: Submitter, client: Client, envelope: Envelope, *, together: Together = record
    ) -> None:
        """``together`` records it, in the writer's transaction; what stands beside :func:`record` there is committed
        with it."""
        self._place = place
        self._together = together
        self._submitter = submitter
        self._client = client
        self._envelope = envelope
        self._reader = HeaderReader()
        self._sink: ContentSink | None = None
        self._indexer: MimeIndexer | None = None  # of a message that is too large to be looked through later
        self._pieces: list[bytes] = []  # of the body, while it is small
        self._small = 0  # octets in them, and before them
        self._identity = hmac.new(place.keys.identity.reveal(), digestmod=hashlib.sha256)
        self._header_size = 0
        self._submission = chance.identifier()
        self._at = place.now()
        self._author: Author | None = None
        self._section: HeaderSection | None = None  # as it will be kept
        self._directives: Directives | None = None
        self._signed: _Signed | None = None
        self._refusal: Reply | None = None

    def feed(self, octets: bytes) -> None:
        """Never raises: what goes wrong becomes the reply of :meth:`finish`."""
        if self._refusal is not None:
            return
        try:
            if self._sink is None:
                self._read_header(octets)
            else:
                self._take_body(octets)
        except Exception as cause:  # hostile input or our disk: never a lost connection, never a 250
            self._refuse(self._reply_to(cause))

    async def finish(self) -> Reply:
        """The verdict on the message; 250 only after it is durable and sealed (P2)."""
        try:
            if self._refusal is None and self._sink is None:
                self._begin_content(self._reader.finish(), b"")
            if self._refusal is not None:
                return self._refusal
            return await self._accept()
        except AnswerLost as cause:  # it may stand in the database: then its content must be there
            self._sink = None
            return self._reply_to(cause)
        except Exception as cause:
            self.abandon()
            return self._reply_to(cause)

    def abandon(self) -> None:
        """Leaves nothing behind."""
        if self._sink is not None:
            self._sink.abandon()

    def _read_header(self, octets: bytes) -> None:
        if (found := self._reader.feed(octets)) is not None:
            self._begin_content(*found)

    def _begin_content(self, section_octets: bytes, rest: bytes) -> None:
        section = HeaderSection.parse(section_octets)
        if goes_round(section, self._place.keys.marker):
            self._refuse(LOOP)
            return
        self._author = author(section)
        if self._submitter.needs_dkim:
            self._signed = _Signed.of(section, self._author.mailbox.domain, self._at)
        self._directives = asked_by(section, region=self._submitter.region)
        fields = [(one.key, one.value) for one in section.fields]
        self._identity.update(fields_for_identity(fields) + b"\r\n\r\n")
        self._section = kept = self._edit(section)
        header = self._trace(kept) + kept.encode() + b"\r\n"
        self._header_size = len(header)
        self._sink = ContentSink(self._place.blobs)
        self._sink.feed(header)
        self._pieces.append(header)
        self._small = len(header)
        self._take_body(rest)

    def _take_body(self, octets: bytes) -> None:
        assert self._sink is not None
        self._sink.feed(octets)
        self._identity.update(octets)
        if self._signed is not None:
            self._signed.feed(octets)
        if self._indexer is not None:
            self._indexer.feed(octets)
            return
        self._pieces.append(octets)
        self._small += len(octets)
        if self._small > NOT_INDEXED:
            header, *body = self._pieces
            self._indexer = MimeIndexer(header[:-2], self._header_size)
            self._indexer.feed(b"".join(body))
            self._pieces.clear()

    def _edit(self, section: HeaderSection) -> HeaderSection:
        """Control fields and Bcc go, what RFC 6409 §8 asks is added; everything else stays octet for octet."""
        kept = HeaderSection(
            tuple([one for one in section.fields if one.key not in _REMOVED and not is_control_field(one.key)])
        )
        if message_id(kept) is None:
            kept = kept.without({"message-id"}).append(
                f"Message-ID: <{self._submission.hex}@{self._place.hostname}>\r\n".encode()
            )
        if kept.first("date") is None:
            kept = kept.append(date_field(self._at))
        return kept

    def _trace(self, kept: HeaderSection) -> bytes:
        """The fields that go on top: where it came from, and the mark by which we know it again."""
        return received(
            by=self._place.hostname,
            source=f"{self._client.helo} ([{self._client.literal}])",
            protocol=self._client.protocol,
            id=self._submission.hex,
            tls=self._client.tls,
            at=self._at,
        ) + loop_marker(self._place.hostname, kept, self._place.keys.marker)

    async def _accept(self) -> Reply:
        assert self._sink is not None and self._author is not None
        if not self._envelope.recipients:
            self.abandon()
            return NO_RECIPIENT
        if self._signed is not None and (objection := await self._signed.objection(self._place.dns)) is not None:
            self.abandon()
            return objection
        prepared = await self._prepare(self._author.mailbox)
        outcome = await self._place.writer.write_together(self._together, prepared)
        if isinstance(outcome, Capped):
            log(CapReached(outcome.cap, outcome.organisation, outcome.credential or 0))
            outcome = outcome.reply
        if isinstance(outcome, Reply):
            self.abandon()
            return outcome
        if not outcome.content_kept:
            self.abandon()
        size, self._sink = self._sink.size, None  # committed: whatever goes wrong from here on, the content stays
        if outcome.recipients:
            self._place.ring()
            log(SubmissionAccepted(self._submission, outcome.recipients, size))
        else:
            log(SubmissionRepeated())
        return Reply(250, "2.0.0", f"Accepted as {self._submission.hex}")

    async def _prepare(self, author: Mailbox) -> Prepared:
        """Everything that costs time happens before the transaction: sealing, wrapping, syncing."""
        assert self._sink is not None and self._section is not None and self._directives is not None
        sink, directives, section = self._sink, self._directives, self._section
        recipients = [one.mailbox for one in self._envelope.recipients]
        if self._header_size <= MUCH:
            seen, head = shown(section), self._enclosed_head()
        else:
            seen, head = await asyncio.to_thread(lambda: (shown(section), self._enclosed_head()))
        parts = split(recipients, seen)
        sealed = await asyncio.to_thread(sink.finish) if sink.is_large else sink.finish()
        wrapper = self._place.wrapper
        return Prepared(
            submission=self._submission,
            submitter=self._submitter,
            author=author,
            content=sink.id,
            size=sink.size,
            header_size=self._header_size,
            sealed=sealed,
            head=head,
            reverse_path=str(self._envelope.reverse_path),
            envelope_id=self._envelope.envelope_id,
            requires_tls=self._envelope.requires_tls,
            message_id=_bounded(message_id(section) or ""),
            identity=self._identity.digest(),
            directives=self._wrapped(directives),
            source=self._client.address,
            tls=self._client.tls,
            at=self._at,
            envelope={one.mailbox: one for one in reversed(self._envelope.recipients)},
            shared=tuple(parts.shared),
            shared_conversation=new_conversation(sink.message_key, to=wrapper) if parts.shared else None,
            blind={one: new_conversation(sink.message_key, to=wrapper) for one in parts.blind},
            lives=directives.expires_after,
            references=" ".join(references(section, most=MOST_REFERENCES)),
            texts_to={
                mailbox: country_of(right.phone.reveal())
                for mailbox, right in directives.access_rights.items()
                if isinstance(right, SmsCode)
            },
            warn=bool(directives.warnings) or bool(unmatched(directives, recipients)),
        )

    def _enclosed_head(self) -> bytes:
        """What readers need before the content, of a large message; nothing of a small one."""
        assert self._sink is not None and self._section is not None
        if self._indexer is None:
            return b""
        head = describe(self._section, self._author).with_parts(self._indexer.finish())
        return self._sink.enclosed_head(head.to_bytes())

    def _wrapped(self, directives: Directives) -> bytes:
        """Nothing asked, nothing to hide: wrapping costs more than all else about a small message."""
        if directives is NOTHING_ASKED:
            return b""
        octets = to_json_bytes(directives)
        return wrap_field(octets, name="directives", owner=self._submission, to=self._place.keys.sealing)

    def _refuse(self, reply: Reply) -> None:
        self._refusal = reply
        self.abandon()

    @staticmethod
    def _reply_to(cause: Exception) -> Reply:
        """Theirs is 5yz, ours is 4yz; the stranger gets a fixed sentence, the log the cause."""
        if (refusal := refusal_of(cause)) is not None:
            return refusal
        if is_full(cause):
            log(Broken("intake: no space left", cause))
            return DISK_FULL
        log(Broken("intake", cause))
        return LOCAL_PROBLEM


def _bounded(identity: str) -> str:
    """At most 998 octets: PostgreSQL has no index for what is much longer."""
    return identity if len(identity) < 250 else identity.encode()[:998].decode("utf-8", "ignore")
