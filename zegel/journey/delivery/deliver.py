"""One transmission: gather what is to be sent and where, try, ask the core what follows, record."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final, assert_never

from zegel.accounts.domains import dkim_context, ed25519_context
from zegel.accounts.models import Account, SendingDomain
from zegel.core.clock import Instant
from zegel.core.mail.address import Domain, Mailbox, parse_reverse_path
from zegel.core.mail.dkim import SigningKey
from zegel.core.mail.fields import HeaderSection, NotOneAuthor, author
from zegel.core.mail.mime import Part
from zegel.core.policy import precedence
from zegel.core.policy.carriage import (
    Accepted,
    Bounce,
    Cause,
    DnsTrouble,
    InsufficientSecurity,
    LargePartsBecomeLinks,
    NetworkFailure,
    Next,
    NextHost,
    NoSuchDomain,
    NullMx,
    Outcome,
    Probe,
    Progress,
    RetryAt,
    after,
    before_notifying,
)
from zegel.core.policy.destinations import Later
from zegel.core.policy.ended import Ended
from zegel.core.policy.precedence import Notify
from zegel.core.policy.retry import Patience
from zegel.core.policy.shrinking import LINK_FROM, USUAL_LIMIT, become_links, smallest
from zegel.core.policy.transport import NO_DEMAND
from zegel.core.policy.verification import Method
from zegel.core.seal.wrap import CannotOpen, unwrap
from zegel.core.secret import Secret
from zegel.edge import rows
from zegel.edge.chance import identifier, made_at
from zegel.edge.database import Readers, Writer
from zegel.edge.dns import Resolver
from zegel.edge.log import Attempted, Broken, log
from zegel.edge.nta import NtaLookup
from zegel.journey import milestones, steps
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import Leased, LeaseLost
from zegel.journey.custody.models import Conversation, Link, Recipient, Transmission
from zegel.journey.custody.unseal import NewLink, Unsealer
from zegel.journey.delivery import answers, direct, mx, notify, nta, recording
from zegel.journey.delivery.connection import Dialler, Evidence, Mail, Result
from zegel.journey.delivery.places import Places
from zegel.journey.delivery.recording import Ending, Tried
from zegel.journey.delivery.sts import NotKnown, Policies
from zegel.journey.delivery.tasks import Addressee, Kind, Outgoing, Standing, Task, gather, link_in, look_again

SIGNING_KEYS: Final = 1000  # kept in memory
KEEP_KEY: Final = timedelta(seconds=10)  # until the database is asked again whether it is still the one
SIGNATURE_ROOM: Final = 3000  # octets of the DKIM signatures, at most
FRESH: Final = 2.0  # seconds; what was looked at longer ago is looked at again before the mail leaves
RECORD_AGAIN: Final = 0.5  # seconds, at first
RECORD_AGAIN_AT_MOST: Final = 10.0
PROBE: Final = "probe"  # what an attempt is called that carries no mail: whether a code may travel
SMALLEST: Final = 0  # as a limit: nobody knows how small the message has to be


_Road = tuple[Domain, bool]  # a domain; whether by the hosts of its NTA 7516 record


def _road(task: Task) -> _Road:
    over_nta = isinstance(task.carried, precedence.Readable) and task.carried.over_nta
    return Mailbox.parse(task.transmission.address).domain, over_nta


@dataclass(slots=True)
class _Walk:
    """Over the hosts of a domain, in their order; the addresses of one host are tried together."""

    left: list[mx.NextHop]
    put_off: list[Later] = field(default_factory=list)  # by hosts at which nothing could be tried now
    has_tried_none: bool = True

    def has_tried(self, result: Result) -> bool:
        """False: the first host is put off, with all its addresses that are left."""
        if isinstance(result.outcome, Later):
            self.put_off.append(result.outcome)
            away = mx.of_first_host(self.left)
            self.left = [one for one in self.left if one not in away]
            return False
        self.left = [one for one in self.left if one not in result.tried]
        self.has_tried_none = False
        return True

    @property
    def has_more(self) -> bool:
        """There are addresses that were not tried in this round."""
        return bool(self.left or self.put_off)


@dataclass(slots=True)
class Delivery:
    """Does the jobs that make transmissions."""

    writer: Writer
    readers: Readers
    aside: Readers  # for what is large, and takes as long
    unsealer: Unsealer
    dns: Resolver
    nta: NtaLookup
    policies: Policies
    places: Places
    dialler: Dialler
    url: str
    patience: Patience
    now: Callable[[], Instant]
    passed_over: mx.Tell = mx.tell_nobody
    _keys: dict[Domain, tuple[Instant, tuple[tuple[str, bytes], ...], tuple[SigningKey, ...]]] = field(
        default_factory=dict
    )  # when they were looked up, as selector and wrapped key, and opened

    async def transmit(self, leased: Leased) -> None:
        """Makes a transmission, as far as it can be made now."""
        task = await self.readers.read_together(self._gather, leased)
        if task is None:
            await self.writer.write(lambda: recording.drop(leased))
            return
        where = _road(task)
        taken = await self.places.take(where, is_pressing=task.is_pressing)
        if isinstance(taken, Later):
            await self._settle(Ending(task, (), self._unless_over(task, taken)))
            return
        tried: list[Tried] = []
        follows: Next | Later
        try:
            follows = await self._carry_out(task, tried)
        except CannotOpen:
            follows = Bounce("5.7.0", Ended.DESTROYED)
        except _TakenBack as taken_back:
            follows = taken_back.follows
        finally:
            self.places.give_back(where, taken, tried[-1].outcome if tried else None)
        await self._settle(Ending(task, tried, follows))
        for one in tried:
            log(_told(task.transmission, one))

    async def _settle(self, ending: Ending) -> None:
        """Records it. What a server took is not sent again because the database was away: then it is recorded as soon
        as it can be, for as long as the lease is ours."""
        pause = RECORD_AGAIN
        while True:
            try:
                await self.writer.write_together(self._record, ending)
                return
            except LeaseLost:
                raise
            except Exception as cause:
                if not any(isinstance(one.outcome, Accepted) for one in ending.tried):
                    raise
                log(Broken("recording what a server took", cause))
            await asyncio.sleep(pause)
            pause = min(2 * pause, RECORD_AGAIN_AT_MOST)

    def _unless_over(self, task: Task, later: Later) -> Next | Later:
        """Who found no place for days has come to the end as well."""
        if task.age < task.retries.give_up_after:
            return later
        return self._after(task, NetworkFailure(), more_hosts=False)

    # --- gather ---------------------------------------------------------------------------------------------------

    def _gather(self, leased: Sequence[Leased]) -> list[Task | None]:
        return gather(leased, patience=self.patience, now=self.now())

    # --- try ------------------------------------------------------------------------------------------------------

    async def _carry_out(self, task: Task, tried: list[Tried]) -> Next | Later:
        expires_at = task.transmission.expires_at
        if expires_at is not None and expires_at <= self.now():
            return Bounce("5.4.7", Ended.TOO_LATE)
        recipient = task.transmission.recipient
        if recipient is not None and recipient.has_expired(self.now()):
            return Bounce("5.7.0", Ended.DESTROYED)
        if recipient is not None and recipient.is_revoked:
            return Bounce("5.7.0", Ended.REVOKED)
        mailbox = Mailbox.parse(task.transmission.address)
        task.looked_at = asyncio.get_running_loop().time()
        if isinstance(task.carried, precedence.Readable) and task.carried.over_nta:
            return await self._over_nta(task, mailbox, tried)
        try:
            policy = await self.policies.of(mailbox.domain)
        except NotKnown:  # what forbids a host must not be passed over
            return self._without_hops(task, DnsTrouble(), "MTA-STS: what holds can't be read now", tried)
        hops = await mx.next_hops(mailbox.domain, dns=self.dns, policy=policy, tell=self.passed_over)
        match hops:
            case mx.NoneIsNamed():
                reason = "MTA-STS: the policy names none of the MX hosts"
                return self._without_hops(task, InsufficientSecurity(NO_DEMAND), reason, tried)
            case mx.NoSuchDomain():
                return self._without_hops(task, NoSuchDomain(), "the domain does not exist", tried)
            case mx.TakesNoMail():
                return self._without_hops(task, NullMx(), "the domain takes no mail", tried)
            case mx.NotKnownNow(reason=reason):
                return self._without_hops(task, DnsTrouble(), reason, tried)
        if task.transmission.sealed is not None or task.transmission.kind not in _COMPOSED_WHEN_SENT:
            return await self._try_hops(task, hops, await self._mail(task, mailbox), mailbox, tried)
        if isinstance(task.carried, Notify):
            stop = await self._before_notifying(task, task.carried, hops, tried)
            if stop is not None:
                return stop
        return await self._try_hops(task, hops, await self._compose(task, mailbox), mailbox, tried)

    async def _over_nta(self, task: Task, mailbox: Mailbox, tried: list[Tried]) -> Next | Later:
        """Both sides and each host are examined anew. What doesn't comply now leads to the next step, never to ordinary
        mail (standards A)."""
        assert task.transmission.recipient is not None
        sender = task.transmission.recipient.sender
        if not await self.readers.read(lambda: self._signing_keys(sender)):
            reason = "NTA 7516, sender: no DKIM key"
            return self._without_hops(task, InsufficientSecurity(NO_DEMAND, Cause.NTA_SENDER_DKIM), reason, tried)
        hops = await nta.next_hops(sender, mailbox.domain, lookup=self.nta, dns=self.dns)
        match hops:
            case nta.NotAllowed(reason=reason, why=why):
                return self._without_hops(task, InsufficientSecurity(NO_DEMAND, why), reason, tried)
            case nta.NoHost(reason=reason):
                return self._without_hops(task, NetworkFailure(), reason, tried)
            case nta.NotKnownNow(reason=reason):
                return self._without_hops(task, DnsTrouble(), reason, tried)
            case mx.TakesNoMail():
                return self._without_hops(task, NullMx(), "the domain takes no mail", tried)
        return await self._try_hops(task, hops, await self._mail(task, mailbox), mailbox, tried)

    async def _try_hops(
        self, task: Task, hops: tuple[mx.NextHop, ...], mail: Mail, mailbox: Mailbox, tried: list[Tried]
    ) -> Next | Later:
        walk = _Walk(list(hops))
        while walk.left:
            hop, *beside = mx.of_first_host(walk.left)
            result = await self._send(task, hop, mail, tried, beside)
            if not walk.has_tried(result):
                continue
            follows = self._after(task, tried[-1].outcome, more_hosts=walk.has_more, can_shrink=True)
            if isinstance(follows, LargePartsBecomeLinks):
                smaller = await self._smaller(task, mailbox, result.limit)
                if smaller is not None:
                    mail = smaller
                    result = await self._send(task, result.tried[-1], mail, tried)
                    if isinstance(result.outcome, Later):
                        return result.outcome
                follows = self._after(task, tried[-1].outcome, more_hosts=walk.has_more)
            if not isinstance(follows, NextHost):
                return follows
        return self._at_the_end(task, walk, tried)

    async def _send(
        self, task: Task, hop: mx.NextHop, mail: Mail, tried: list[Tried], beside: Sequence[mx.NextHop] = ()
    ) -> Result:
        """One attempt, noted if it was one."""

        async def before() -> None:
            await self._require_still_due(task)

        result = await self.dialler.send(
            hop, mail, needs=task.needs, beside=beside, is_pressing=task.is_pressing, before=before
        )
        if not isinstance(result.outcome, Later):
            tried.append(Tried(self.now(), result.outcome, result.evidence))
        return result

    async def _require_still_due(self, task: Task) -> None:
        """Slow hosts take minutes, and a message may be taken back meanwhile. Raises :class:`_TakenBack`,
        :class:`LeaseLost`."""
        now = asyncio.get_running_loop().time()
        if now - task.looked_at < FRESH:
            return
        match await self.readers.read(lambda: look_again(task, now=self.now())):
            case Standing.OTHERS:
                raise LeaseLost
            case Standing.REVOKED:
                raise _TakenBack(Bounce("5.7.0", Ended.REVOKED))
            case Standing.GONE:
                raise _TakenBack(Bounce("5.7.0", Ended.DESTROYED))
            case Standing.TOO_LATE:
                raise _TakenBack(Bounce("5.4.7", Ended.TOO_LATE))
            case Standing.DUE:
                task.looked_at = now
            case unreachable:
                assert_never(unreachable)

    def _at_the_end(self, task: Task, walk: _Walk, tried: list[Tried]) -> Next | Later:
        """No host is left; some may have been put off. Nothing is concluded without them while there is time."""
        later = min(walk.put_off, key=lambda one: one.at, default=None)
        if later is not None and walk.has_tried_none:
            return self._unless_over(task, later)
        follows = self._after(task, tried[-1].outcome, more_hosts=False)
        if later is None or isinstance(follows, RetryAt) or task.age >= task.retries.give_up_after:
            return follows
        # Those that were asked are not asked again each time that a place elsewhere could come free: this was a try.
        return self._after(task, NetworkFailure(), more_hosts=False)

    async def _before_notifying(
        self, task: Task, step: Notify, hops: tuple[mx.NextHop, ...], tried: list[Tried]
    ) -> Next | Later | None:
        """E-mail verification after transport: may its code travel? ``None``: the notification may go."""
        verdict = before_notifying(step, reached=task.reached)
        if not isinstance(verdict, Probe):
            return verdict if isinstance(verdict, Bounce) else None
        assert step.code_mail_needs is not None
        walk = _Walk(list(hops))
        while walk.left:
            hop, *beside = mx.of_first_host(walk.left)
            result = await self.dialler.probe(
                hop, needs=step.code_mail_needs, beside=beside, is_pressing=task.is_pressing
            )
            if not walk.has_tried(result):
                continue
            assert not isinstance(result.outcome, Later)
            tried.append(Tried(self.now(), result.outcome, replace(result.evidence, detail=PROBE)))
            match result.outcome:
                case Accepted():
                    return None
                case InsufficientSecurity(reached=reached):
                    verdict = before_notifying(step, reached=reached)
                    return verdict if isinstance(verdict, Bounce) else None
                case _:
                    follows = self._after(task, result.outcome, more_hosts=walk.has_more)
                    if not isinstance(follows, NextHost):
                        return follows
        return self._at_the_end(task, walk, tried)

    def _without_hops(self, task: Task, outcome: Outcome, detail: str, tried: list[Tried]) -> Next:
        tried.append(Tried(self.now(), outcome, Evidence(detail=detail)))
        return self._after(task, outcome, more_hosts=False)

    def _after(self, task: Task, outcome: Outcome, *, more_hosts: bool, can_shrink: bool = False) -> Next:
        progress = Progress(task.transmission.tries + 1, task.age, more_hosts=more_hosts, can_shrink=can_shrink)
        spread = random.random()  # noqa: S311
        return after(task.carried, outcome, progress=progress, retry=task.retries, spread=spread)

    async def _compose(self, task: Task, mailbox: Mailbox) -> Mail:
        """Makes the notification durable before it is tried: whatever happens, every try sends the same mail."""
        transmission = task.transmission

        def write() -> tuple[notify.Prepared, Mail]:
            prepared = self._words(transmission)
            return prepared, self._own_mail(transmission, prepared.octets, mailbox)

        prepared, mail = await self.readers.read(write)
        await self._store(transmission, prepared.wrapped, prepared.link)
        return mail

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

    # --- the mail -------------------------------------------------------------------------------------------------

    async def _mail(self, task: Task, mailbox: Mailbox) -> Mail:
        if task.transmission.kind not in (Kind.READABLE, Kind.READABLE_ANSWER):
            return await self.readers.read(lambda: self._sealed_mail(task.transmission, mailbox))
        mail = await self._readable(task, mailbox, limit=None)
        assert mail is not None
        return mail

    def _sealed_mail(self, transmission: Outgoing, mailbox: Mailbox) -> Mail:
        opened = self.unsealer.field(transmission.sealed, name="transmission", owner=transmission.id).reveal()
        return self._own_mail(transmission, opened, mailbox)

    def _own_mail(self, transmission: Outgoing, opened: bytes, mailbox: Mailbox) -> Mail:
        transmission.secret = link_in(opened)
        mail = direct.signed(opened, keys=self._signing_keys(_author_domain(opened)), at=self.now())
        return Mail(parse_reverse_path(transmission.reverse_path), mailbox, len(mail), (mail,))

    async def _smaller(self, task: Task, mailbox: Mailbox, limit: int | None) -> Mail | None:
        """The readable message with so many links that it fits; as small as it can be where the server didn't say what
        it takes. ``None``: it can't be made smaller."""
        return await self._readable(task, mailbox, limit=SMALLEST if limit is None else limit)

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
        path, keys = parse_reverse_path(task.transmission.reverse_path), self._signing_keys(recipient.sender)
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

    def _signing_keys(self, domain: Domain | None) -> tuple[SigningKey, ...]:
        """The DKIM keys of a sending domain of ours, in the order of their signatures; none for any other.

        RSA comes on top: no meaning is in the order (RFC 6376 §6.1), but who looks at one signature only, or gives up
        at one that it doesn't know, finds one that it knows.
        """
        if domain is None:
            return ()
        looked_at, known, keys = self._keys.get(domain, (None, (), ()))
        now = self.now()
        if looked_at is not None and looked_at <= now < looked_at + KEEP_KEY:
            return keys
        found = rows.select(
            f"""SELECT dkim_selector, dkim_key, ed25519_published, ed25519_selector, ed25519_key
            FROM {rows.table(SendingDomain)} WHERE name = %s AND (in_place OR proved_at IS NOT NULL)
            ORDER BY in_place DESC, proved_at IS NULL, proved_at DESC LIMIT 1""",  # noqa: S608  # who has it, or had
            (domain.ascii,),
        )
        wanted: list[tuple[str, bytes, str]] = []
        for selector, wrapped, is_published, other_selector, other_wrapped in found:
            wanted.append((selector, wrapped, dkim_context(domain.ascii)))
            if is_published:
                wanted.append((other_selector, other_wrapped, ed25519_context(domain.ascii)))
        held = dict(zip(known, keys, strict=True))  # by the key itself: a domain that moves may keep its selector
        told = tuple([(selector, bytes(wrapped)) for selector, wrapped, _ in wanted])
        keys = tuple([held.get(one) or self._opened(domain, *all_of) for one, all_of in zip(told, wanted, strict=True)])
        if len(self._keys) >= SIGNING_KEYS:
            self._keys.clear()
        self._keys[domain] = now, told, keys
        return keys

    def _opened(self, domain: Domain, selector: str, wrapped: bytes, context: str) -> SigningKey:
        pem: Secret[bytes] = unwrap(bytes(wrapped), with_key=self.unsealer.keys.opening, context=context)
        return SigningKey.from_pem(domain, selector, pem)

    # --- record ---------------------------------------------------------------------------------------------------

    def _record(self, ended: Sequence[Ending]) -> list[None]:
        recording.record(ended, now=self.now())
        return [None] * len(ended)

    async def remind(self, leased: Leased) -> None:
        """Who has not opened gets one more mail with a link of its own; the first one's stays good."""
        recipient = await self.readers.read(
            lambda: (
                Recipient.objects.select_related("submission__account", "conversation")
                .filter(id=leased.subject)
                .first()
            )
        )

        def record() -> None:
            jobs.finish(leased)
            current = Recipient.objects.filter(id=leased.subject, state=Recipient.State.NOTIFIED).exists()
            is_unread = recipient is not None and recipient.opened_at is None and recipient.revoked_at is None
            if recipient is None or not (current and is_unread and recipient.conversation.is_open(now)):
                return
            if not _declines_reminders(recipient):
                steps.remind(recipient, now=now)
                milestones.reminded([recipient.submission_id], now=now)

        now = self.now()
        await self.writer.write(record)


def _declines_reminders(recipient: Recipient) -> bool:
    """By the settings of an account that can be signed in to; nobody else can say so."""
    return Account.objects.filter(key=recipient.key, is_active=True, wants_reminders=False).exists()


@dataclass(frozen=True, slots=True)
class _Entry:
    """A mail with a link, to be stored."""

    transmission: uuid.UUID
    recipient: uuid.UUID
    sealed: bytes
    link: NewLink
    method: str


class _TakenBack(Exception):
    """What was to be sent is not to be sent any more."""

    def __init__(self, follows: Bounce) -> None:
        super().__init__()
        self.follows = follows


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


_COMPOSED_WHEN_SENT: Final = (Kind.NOTIFICATION, Kind.REMINDER, Kind.AGAIN, Kind.ANSWER)
_LINK: Final = ("id", "recipient_id", "hash", "share", "slot", "created_at")


def _told(transmission: Outgoing, tried: Tried) -> Attempted:
    """For the log: the code of the reply alone, since a server may quote an address or a subject in its text."""
    reply = getattr(tried.outcome, "reply", None)
    return Attempted(
        transmission.id,
        PROBE if tried.evidence.detail == PROBE else transmission.kind,
        type(tried.outcome).__name__,
        tried.evidence.host,
        f"{reply.code} {reply.status or ''}".strip() if reply else "",
        str(tried.evidence.security),
        _since(transmission, tried.at),
    )


def _since(transmission: Outgoing, at: Instant) -> float:
    """Seconds since the message was accepted, which the recipient's identifier says; for other mails, since they were
    made."""
    recipient = transmission.recipient
    is_message = recipient is not None and transmission.kind in (Kind.READABLE, Kind.NOTIFICATION)
    began = made_at(recipient.id) if is_message and recipient is not None else transmission.created_at.timestamp()
    return max(0.0, round(at.timestamp() - began, 1))


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
