"""The mail of a transmission: composed, or made of the message itself, and signed. What carries a link is made durable
before it is tried, so that every try sends the same."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from zegel.core.clock import Instant
from zegel.core.mail.address import Domain, Mailbox, parse_reverse_path
from zegel.core.mail.dsn import wants
from zegel.core.mail.fields import HeaderSection, NotOneAuthor, author
from zegel.core.mail.mime import Part
from zegel.core.policy import precedence
from zegel.core.policy.shrinking import LINK_FROM, USUAL_LIMIT, become_links, smallest
from zegel.core.policy.verification import Method
from zegel.core.seal.wrap import CannotOpen
from zegel.core.secret import Secret
from zegel.core.smtp.dsn import Asked
from zegel.edge import rows
from zegel.edge.chance import identifier
from zegel.edge.database import Readers, Writer
from zegel.journey.custody.jobs import LeaseLost
from zegel.journey.custody.models import Conversation, Link, Recipient, Transmission
from zegel.journey.custody.unseal import NewLink, Unsealer
from zegel.journey.delivery import answers, direct, notify
from zegel.journey.delivery.connection import Mail
from zegel.journey.delivery.signing import SigningKeys
from zegel.journey.delivery.tasks import Addressee, Kind, Outgoing, Task, link_in

SIGNATURE_ROOM: Final = 3000  # octets of the DKIM signatures, at most
SMALLEST: Final = 0  # as a limit: nobody knows how small the message has to be
_LINK: Final = ("id", "recipient_id", "hash", "share", "slot", "created_at")


@dataclass(frozen=True, slots=True)
class Mails:
    """Makes them. Reading and opening happen in reader threads."""

    writer: Writer
    readers: Readers
    aside: Readers  # for what is large, and takes as long
    unsealer: Unsealer
    keys: SigningKeys
    url: str
    now: Callable[[], Instant]
    hears: bool = True  # what servers report later comes home: bounces are taken here

    async def of(self, task: Task, mailbox: Mailbox) -> Mail:
        """One that is there already, or is the message itself. Raises :class:`CannotOpen`, :class:`LeaseLost`."""
        if task.transmission.kind not in (Kind.READABLE, Kind.READABLE_ANSWER):
            return await self.readers.read(lambda: self._sealed_mail(task.transmission, mailbox))
        mail = await self._readable(task, mailbox, limit=None)
        assert mail is not None
        return mail

    async def compose(self, task: Task, mailbox: Mailbox) -> Mail:
        """Makes a notification, and makes it durable before it is tried: whatever happens, every try sends the same
        mail. Raises :class:`CannotOpen`, :class:`LeaseLost`."""
        transmission = task.transmission

        def write() -> tuple[notify.Prepared, Mail]:
            prepared = self._words(transmission)
            return prepared, self._own_mail(transmission, prepared.octets, mailbox)

        prepared, mail = await self.readers.read(write)
        await self._store(transmission, prepared.wrapped, prepared.link)
        return mail

    async def smaller(self, task: Task, mailbox: Mailbox, limit: int | None) -> Mail | None:
        """The readable message with so many links that it fits; as small as it can be where the server didn't say what
        it takes. ``None``: it can't be made smaller."""
        return await self._readable(task, mailbox, limit=SMALLEST if limit is None else limit)

    def _sealed_mail(self, transmission: Outgoing, mailbox: Mailbox) -> Mail:
        opened = self.unsealer.field(transmission.sealed, name="transmission", owner=transmission.id).reveal()
        return self._own_mail(transmission, opened, mailbox)

    def _own_mail(self, transmission: Outgoing, opened: bytes, mailbox: Mailbox) -> Mail:
        transmission.secret = link_in(opened)
        mail = direct.signed(opened, keys=self.keys.of(_author_domain(opened)), at=self.now())
        return Mail(parse_reverse_path(transmission.reverse_path), mailbox, len(mail), (mail,))

    async def _readable(self, task: Task, mailbox: Mailbox, *, limit: int | None) -> Mail | None:
        def begin() -> Mail | _Large | None:
            found, large = self._large_parts(task, limit)
            if large is None:
                return None
            return _Large(found, large) if large else self._composed(task, mailbox, found, ())

        recipient = _recipient(task.transmission)
        is_small = recipient.message is not None and recipient.message.content.sealed is not None
        begun = await (self.readers if is_small else self.aside).read(begin)
        if not isinstance(begun, _Large):
            return begun
        found, large = begun.found, begun.parts
        link = await self._link_to_files(task)

        def with_links() -> Mail:
            conversation = Conversation.objects.select_related("organisation").get(id=recipient.conversation.id)
            cuts = tuple(notify.cut(part, link, conversation) for part in large)
            return self._composed(task, mailbox, found, cuts)

        return await self.aside.read(with_links)

    def _composed(self, task: Task, mailbox: Mailbox, found: direct.Original, cuts: tuple[direct.Cut, ...]) -> Mail:
        recipient = _recipient(task.transmission)
        path, keys = parse_reverse_path(task.transmission.reverse_path), self.keys.of(recipient.sender)
        octets: Iterable[bytes]
        header = answers.header_for(found, task.readable_answer) if task.readable_answer is not None else None
        if found.is_small and not cuts and header is None:
            octets = (direct.small(found, keys=keys, at=self.now()),)
            size = len(octets[0])
        else:
            octets = direct.readable(found, cuts=cuts, header=header, keys=keys, at=self.now())
            size = octets.size
        usual = USUAL_LIMIT if size > USUAL_LIMIT and _may_hold_links(task) else None
        return Mail(
            path,
            mailbox,
            size,
            octets,
            is_eight_bit=True,
            usual_limit=usual,
            requires_tls=recipient.requires_tls,
            asked=self._asked(recipient) if task.transmission.kind == Kind.READABLE else None,
        )

    def _asked(self, recipient: Addressee) -> Asked:
        """What the sender asked. Where nobody would hear it, word of success or delay is not asked for."""
        wishes = frozenset(filter(None, recipient.notify.split(",")))
        return Asked(
            recipient.original,
            success=self.hears and wants(wishes, "delivered"),
            delay=self.hears and wants(wishes, "delayed"),
        )

    def _large_parts(self, task: Task, limit: int | None) -> tuple[direct.Original, tuple[Part, ...] | None]:
        """The message, and which of its parts become links; ``None``: it can't be made to fit ``limit``."""
        recipient = _recipient(task.transmission)
        if recipient.message is None:
            raise CannotOpen("there is no message")
        found = direct.original(recipient.message, recipient.conversation, unsealer=self.unsealer)
        size = found.content.size
        if limit is None and size < LINK_FROM:  # no part of it is that large
            return found, ()
        if not _may_hold_links(task):
            return found, () if limit is None else None
        parts, whole = found.parts(), size + SIGNATURE_ROOM
        if limit == SMALLEST:
            return found, smallest(parts)
        return found, become_links(parts, size=whole, limit=whole if limit is None else limit)

    async def _link_to_files(self, task: Task) -> Secret[str]:
        """The link under which a guest finds the files, after a code by e-mail; the same one at every try."""
        transmission, unsealer = task.transmission, self.unsealer
        recipient = _recipient(transmission)
        if transmission.sealed is not None:
            opened = unsealer.field(transmission.sealed, name="transmission", owner=transmission.id)
            transmission.secret = Secret(opened.reveal().decode("ascii"))
            return Secret(f"{self.url}/m/{transmission.secret.reveal()}")
        link, method = await self.readers.read(
            lambda: (
                unsealer.make_link(recipient, unsealer.conversation_key(recipient.conversation)),
                _method_of(recipient),
            )
        )
        token = link.token.reveal().encode("ascii")
        sealed = unsealer.wrap_field(token, name="transmission", owner=transmission.id)
        await self._store(transmission, sealed, link, method=method)
        transmission.secret = link.token
        return Secret(f"{self.url}/m/{link.token.reveal()}")

    def _words(self, transmission: Outgoing) -> notify.Prepared:
        unsealer, url, now = self.unsealer, self.url, self.now()
        if transmission.kind == Kind.ANSWER:
            return answers.prepare(transmission.id, unsealer=unsealer, url=url, at=now)
        return notify.prepare(transmission, _recipient(transmission), unsealer=unsealer, url=url, at=now)

    async def _store(self, transmission: Outgoing, sealed: bytes, link: NewLink, *, method: str = "") -> None:
        """The link of a mail that is about to leave, and by which ``method`` its recipient opens what is behind it, if
        that isn't known yet. Raises :class:`LeaseLost`."""
        entry = _Entry(transmission.id, _recipient(transmission).id, sealed, link, method)
        await self.writer.write_together(self._store_all, entry)
        transmission.sealed = sealed

    def _store_all(self, entries: Sequence[_Entry]) -> list[None]:
        values = [(one.sealed, one.transmission) for one in entries]
        stored = rows.update(Transmission, ("sealed",), values, where="state = 'queued' AND sealed IS NULL")
        if stored != len(entries):
            raise LeaseLost  # who took over made another link, and may have sent it: that one must stay good
        if self._are_taken_back([one.recipient for one in entries]):
            raise LeaseLost  # a moment ago; the next look at this mail ends it
        now = self.now()
        links = [(identifier(), one.recipient, one.link.hash, one.link.share, one.link.slot, now) for one in entries]
        rows.insert(Link, _LINK, links)
        rows.update(Recipient, ("method",), [(one.method, one.recipient) for one in entries if one.method])
        return [None] * len(entries)

    @staticmethod
    def _are_taken_back(recipients: Sequence[uuid.UUID]) -> bool:
        """One of them at least."""
        return bool(
            rows.select(
                f"""SELECT 1 FROM {rows.table(Recipient)} r
                JOIN {rows.table(Conversation)} c ON c.id = r.conversation_id
                WHERE r.id IN ({rows.marks(len(recipients))})
                AND (r.revoked_at IS NOT NULL OR c.destroyed_at IS NOT NULL) LIMIT 1""",  # noqa: S608
                [rows.identifier(one) for one in recipients],
            )
        )


@dataclass(frozen=True, slots=True)
class _Entry:
    """A mail with a link, to be stored."""

    transmission: uuid.UUID
    recipient: uuid.UUID
    sealed: bytes
    link: NewLink
    method: str


@dataclass(frozen=True, slots=True)
class _Large:
    """A message with parts that become links."""

    found: direct.Original
    parts: tuple[Part, ...]


def _recipient(transmission: Outgoing) -> Addressee:
    assert transmission.recipient is not None
    return transmission.recipient


def _method_of(recipient: Addressee) -> str:
    """By which files behind a link are opened: by e-mail, unless something else is asked of the recipient already."""
    known = Recipient.objects.filter(id=recipient.id).values_list("method", flat=True).first()
    return known or Method.EMAIL.value


def _may_hold_links(task: Task) -> bool:
    """Files behind a link are opened with a code by e-mail: not over NTA 7516, whose recipients never meet a code, not
    where message or policy exclude e-mail verification, and not where the message names a method: nothing slides from
    that to a code by e-mail."""
    recipient = task.transmission.recipient
    if recipient is None or not isinstance(task.carried, precedence.Readable) or task.carried.over_nta:
        return False
    try:
        case = precedence.replay(Recipient.objects.values_list("plan", flat=True).get(id=recipient.id) or {}).case
    except precedence.UnknownPlan:
        return False
    policy = case.policy
    is_allowed = Method.EMAIL in policy.allowed and (not policy.required or Method.EMAIL in policy.required)
    return is_allowed and not case.asked.never_email and case.asked.verification is None


def _author_domain(octets: bytes) -> Domain | None:
    header = octets.partition(b"\r\n\r\n")[0] + b"\r\n"
    try:
        return author(HeaderSection.parse(header)).mailbox.domain
    except NotOneAuthor:
        return None
