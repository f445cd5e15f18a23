"""One transmission: gather what is to be sent and where, try, ask the core what follows, record."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, assert_never

from django.db.models import F

from zegel.accounts.domains import dkim_context
from zegel.accounts.models import SendingDomain
from zegel.core.clock import Duration, Instant
from zegel.core.mail.address import Domain, Mailbox, parse_reverse_path
from zegel.core.mail.dkim import SigningKey
from zegel.core.mail.dsn import wants
from zegel.core.mail.fields import HeaderSection, NotOneAuthor, author
from zegel.core.mail.mime import Part
from zegel.core.policy import precedence
from zegel.core.policy.carriage import (
    Accepted,
    Bounce,
    Carried,
    Cause,
    CodeMail,
    DnsTrouble,
    Done,
    InsufficientSecurity,
    LargePartsBecomeLinks,
    NetworkFailure,
    Next,
    NextHost,
    NextStep,
    NoSuchDomain,
    NullMx,
    Outcome,
    Probe,
    Progress,
    RetryAt,
    Stage,
    after,
    before_notifying,
    close,
)
from zegel.core.policy.destinations import Later
from zegel.core.policy.ended import Ended
from zegel.core.policy.precedence import Notify, Plan, Undeliverable, plan_from_json
from zegel.core.policy.retry import CODE_RETRIES, NOTIFICATION_RETRIES, READABLE_RETRIES, RetryPolicy, is_warning_due
from zegel.core.policy.shrinking import LINK_FROM, USUAL_LIMIT, become_links, smallest
from zegel.core.policy.transport import NO_DEMAND, Authentication, Tls, TransportSecurity
from zegel.core.policy.verification import Method
from zegel.core.seal.wrap import CannotOpen, unwrap
from zegel.core.secret import Secret
from zegel.edge import rows
from zegel.edge.chance import identifier
from zegel.edge.database import Readers, Writer
from zegel.edge.dns import Resolver
from zegel.edge.log import Attempted, log
from zegel.edge.nta import NtaLookup
from zegel.journey import milestones, steps
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import Leased, LeaseLost
from zegel.journey.custody.models import Attempt, Link, Message, Recipient, Transmission
from zegel.journey.custody.seal import wrap_field
from zegel.journey.custody.unseal import NewLink, Unsealer
from zegel.journey.delivery import direct, mx, notify, nta
from zegel.journey.delivery.connection import Dialler, Evidence, Mail
from zegel.journey.delivery.places import Places
from zegel.journey.delivery.sts import Policies

Kind = Transmission.Kind
SIGNING_KEYS: Final = 1000  # kept in memory
KEEP_KEY: Final = timedelta(seconds=10)  # until the database is asked again whether it is still the one
SIGNATURE_ROOM: Final = 2000  # octets of a DKIM signature, at most
SMALLEST: Final = 0  # as a limit: nobody knows how small the message has to be


@dataclass(slots=True)
class Task:
    """A transmission with what the core needs to judge it."""

    leased: Leased
    transmission: Transmission
    carried: Carried
    needs: TransportSecurity
    retries: RetryPolicy
    age: Duration
    plan: Plan | None = None
    reached: TransportSecurity | None = None  # by an earlier readable attempt at the recipient's ordinary MX
    message: Message | None = None  # that began the conversation; None for mail that is about none


_Road = tuple[Domain, bool]  # a domain; whether by the hosts of its NTA 7516 record


def _road(task: Task) -> _Road:
    over_nta = isinstance(task.carried, precedence.Readable) and task.carried.over_nta
    return Mailbox.parse(task.transmission.address).domain, over_nta


def _is_pressing(task: Task) -> bool:
    """Somebody waits for a code; or the sender is to hear of a delay, or of the end."""
    warning = task.plan is not None and is_warning_due(task.retries, age=task.age, warned=task.transmission.warned)
    return task.transmission.kind == Kind.CODE or warning or task.age >= task.retries.give_up_after


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt, to be recorded."""

    at: Instant
    outcome: Outcome
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Ending:
    """How making a transmission ended, for now."""

    task: Task
    tried: Sequence[Tried]
    follows: Next


@dataclass(slots=True)
class Delivery:
    """Does the jobs that make transmissions."""

    writer: Writer
    readers: Readers
    unsealer: Unsealer
    dns: Resolver
    nta: NtaLookup
    policies: Policies
    places: Places
    dialler: Dialler
    hostname: str
    url: str
    first_retry: Duration
    now: Callable[[], Instant]
    _keys: dict[Domain, tuple[Instant, SigningKey | None]] = field(default_factory=dict)

    async def transmit(self, leased: Leased) -> None:
        """Makes a transmission, as far as it can be made now."""
        task = await self.readers.read_together(self._gather, leased)
        if task is None:
            await self.writer.write(lambda: jobs.finish(leased))
            return
        where = _road(task)
        taken = await self.places.take(where, is_pressing=_is_pressing(task))
        if isinstance(taken, Later):
            await self.writer.write(lambda: jobs.postpone(leased, until=taken.at))
            return
        tried: list[Tried] = []
        try:
            follows = await self._carry_out(task, tried)
        except CannotOpen:
            follows = Bounce("5.7.0", Ended.DESTROYED)
        finally:
            self.places.give_back(where, taken, tried[-1].outcome if tried else None)
        await self.writer.write_together(self._record, Ending(task, tried, follows))
        for one in tried:
            log(_told(task.transmission, one))

    # --- gather ---------------------------------------------------------------------------------------------------

    def _gather(self, leased: Sequence[Leased]) -> list[Task | None]:
        found = (
            Transmission.objects.filter(state=Transmission.State.QUEUED)
            .select_related("recipient__conversation__organisation", "recipient__submission__account", "organisation")
            .in_bulk([one.subject for one in leased])
        )
        messages = _first_messages([one for one in found.values() if one.kind in _OF_A_MESSAGE])
        tasks = [self._task(one, found.get(one.subject)) for one in leased]
        for task in tasks:
            if task is not None and task.transmission.recipient is not None:
                task.message = messages.get(task.transmission.recipient.conversation_id)
        return tasks

    def _task(self, leased: Leased, transmission: Transmission | None) -> Task | None:
        if transmission is None:
            return None
        now = self.now()
        if transmission.kind in (Kind.READABLE, Kind.NOTIFICATION):
            return self._gather_step(leased, transmission, now)
        needs = _level(transmission.needs_tls, transmission.needs_authentication)
        if transmission.kind == Kind.REMINDER and not _is_unread(transmission.recipient):
            return None
        retries = CODE_RETRIES if transmission.kind == Kind.CODE else self._retries(NOTIFICATION_RETRIES)
        carried = CodeMail(needs if needs != NO_DEMAND else None)
        return Task(leased, transmission, carried, needs, retries, now - transmission.created_at)

    def _gather_step(self, leased: Leased, transmission: Transmission, now: Instant) -> Task | None:
        recipient = transmission.recipient
        assert recipient is not None
        if recipient.state != Recipient.State.DECIDED or recipient.step != transmission.step:
            return None
        plan = plan_from_json(recipient.plan or {})
        step = plan.steps[transmission.step]
        assert isinstance(step, precedence.Readable | Notify)
        is_readable = isinstance(step, precedence.Readable)
        return Task(
            leased,
            transmission,
            step,
            step.needs if isinstance(step, precedence.Readable) else NO_DEMAND,
            self._retries(READABLE_RETRIES if is_readable else NOTIFICATION_RETRIES),
            now - (recipient.decided_at or recipient.submission.accepted_at),  # not while it was held
            plan,
            _reached_before(recipient, plan) if transmission.step > 0 else None,  # none comes before the first step
        )

    def _retries(self, policy: RetryPolicy) -> RetryPolicy:
        return replace(policy, first=self.first_retry, most=max(policy.most, self.first_retry))

    # --- try ------------------------------------------------------------------------------------------------------

    async def _carry_out(self, task: Task, tried: list[Tried]) -> Next:
        expires_at = task.transmission.expires_at
        if expires_at is not None and expires_at <= self.now():
            return Bounce("5.4.7", Ended.TOO_LATE)
        if _has_expired(task.transmission.recipient, self.now()):
            return Bounce("5.7.0", Ended.DESTROYED)
        mailbox = Mailbox.parse(task.transmission.address)
        if isinstance(task.carried, precedence.Readable) and task.carried.over_nta:
            return await self._over_nta(task, mailbox, tried)
        policy = await self.policies.of(mailbox.domain)
        hops = await mx.next_hops(mailbox.domain, dns=self.dns, policy=policy)
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
        if isinstance(task.carried, Notify) and task.transmission.sealed is None:
            stop = await self._before_notifying(task, task.carried, hops, tried)
            if stop is not None:
                return stop
            await self._compose(task)
        if task.transmission.kind == Kind.REMINDER and task.transmission.sealed is None:
            await self._compose(task)
        return await self._try_hops(task, hops, mailbox, tried)

    async def _over_nta(self, task: Task, mailbox: Mailbox, tried: list[Tried]) -> Next:
        """Both sides and each host are examined anew. What doesn't comply now leads to the next step, never to ordinary
        mail (standards A)."""
        assert task.transmission.recipient is not None
        sender = task.transmission.recipient.submission.account.mailbox.domain
        if not await self.readers.read(lambda: self._signing_key(sender) is not None):
            reason = "NTA 7516, sender: no DKIM key"
            return self._without_hops(task, InsufficientSecurity(NO_DEMAND), reason, tried)
        hops = await nta.next_hops(sender, mailbox.domain, lookup=self.nta, dns=self.dns)
        match hops:
            case nta.NotAllowed(reason=reason):
                return self._without_hops(task, InsufficientSecurity(NO_DEMAND), reason, tried)
            case nta.NoHost(reason=reason):
                return self._without_hops(task, NetworkFailure(), reason, tried)
            case nta.NotKnownNow(reason=reason):
                return self._without_hops(task, DnsTrouble(), reason, tried)
            case mx.TakesNoMail():
                return self._without_hops(task, NullMx(), "the domain takes no mail", tried)
        return await self._try_hops(task, hops, mailbox, tried)

    async def _try_hops(self, task: Task, hops: tuple[mx.NextHop, ...], mailbox: Mailbox, tried: list[Tried]) -> Next:
        mail = await self._mail(task, mailbox)
        for position, hop in enumerate(hops):
            more_hosts = position + 1 < len(hops)
            follows, limit = await self._try(task, hop, mail, tried, more_hosts=more_hosts, can_shrink=True)
            if isinstance(follows, LargePartsBecomeLinks):
                smaller = await self._smaller(task, mailbox, limit)
                if smaller is None:
                    follows = self._after(task, tried[-1].outcome, more_hosts=more_hosts)
                else:
                    mail = smaller
                    follows, _ = await self._try(task, hop, mail, tried, more_hosts=more_hosts)
            if not isinstance(follows, NextHost):
                return follows
        raise AssertionError("the last host has no next")

    async def _try(
        self,
        task: Task,
        hop: mx.NextHop,
        mail: Mail,
        tried: list[Tried],
        *,
        more_hosts: bool,
        can_shrink: bool = False,
    ) -> tuple[Next, int | None]:
        """What follows from one attempt; and the octets that the server takes, where the mail was too large for it."""
        result = await self.dialler.send(hop, mail, needs=task.needs)
        tried.append(Tried(self.now(), result.outcome, result.evidence))
        return self._after(task, result.outcome, more_hosts=more_hosts, can_shrink=can_shrink), result.limit

    async def _before_notifying(
        self, task: Task, step: Notify, hops: tuple[mx.NextHop, ...], tried: list[Tried]
    ) -> Next | None:
        """E-mail verification after transport: may its code travel? ``None``: the notification may go."""
        verdict = before_notifying(step, reached=task.reached)
        if isinstance(verdict, Probe):
            assert step.code_mail_needs is not None
            for position, hop in enumerate(hops):
                result = await self.dialler.probe(hop, needs=step.code_mail_needs)
                tried.append(Tried(self.now(), result.outcome, replace(result.evidence, detail="probe")))
                match result.outcome:
                    case Accepted():
                        return None
                    case InsufficientSecurity(reached=reached):
                        verdict = before_notifying(step, reached=reached)
                        break
                    case _:
                        follows = self._after(task, result.outcome, more_hosts=position + 1 < len(hops))
                        if not isinstance(follows, NextHost):
                            return follows
        return verdict if isinstance(verdict, Bounce) else None

    def _without_hops(self, task: Task, outcome: Outcome, detail: str, tried: list[Tried]) -> Next:
        tried.append(Tried(self.now(), outcome, Evidence(detail=detail)))
        return self._after(task, outcome, more_hosts=False)

    def _after(self, task: Task, outcome: Outcome, *, more_hosts: bool, can_shrink: bool = False) -> Next:
        progress = Progress(task.transmission.tries + 1, task.age, more_hosts=more_hosts, can_shrink=can_shrink)
        spread = random.random()  # noqa: S311
        return after(task.carried, outcome, progress=progress, retry=task.retries, spread=spread)

    async def _compose(self, task: Task) -> None:
        """Makes the notification durable before it is tried: whatever happens, every try sends the same mail."""
        transmission = task.transmission
        prepared = await self.readers.read(
            lambda: notify.prepare(transmission, _message(task), unsealer=self.unsealer, url=self.url, at=self.now())
        )
        recipient = transmission.recipient
        assert recipient is not None

        await self._store(transmission, prepared.wrapped, prepared.link)

    async def _store(self, transmission: Transmission, sealed: bytes, link: NewLink, **more: str) -> None:
        """The link of a mail that is about to leave, and ``more`` of its recipient. Raises :class:`LeaseLost`."""
        link_id = identifier()

        def store() -> None:
            stored = rows.execute(
                f"""UPDATE {rows.table(Transmission)} SET sealed = %s
                WHERE id = %s AND state = %s AND sealed IS NULL""",  # noqa: S608
                (sealed, rows.identifier(transmission.id), Transmission.State.QUEUED.value),
            )
            if not stored:
                raise LeaseLost  # who took over made another link, and may have sent it: that one must stay good
            values = (link_id, transmission.recipient_id, link.hash, link.share, link.slot, self.now())
            rows.insert(Link, _LINK, [values])
            if more:
                rows.update(Recipient, tuple(more), [(*more.values(), transmission.recipient_id)])

        await self.writer.write(store)
        transmission.sealed = sealed

    # --- the mail -------------------------------------------------------------------------------------------------

    async def _mail(self, task: Task, mailbox: Mailbox) -> Mail:
        if task.transmission.kind != Kind.READABLE:
            return await self.readers.read(lambda: self._own_mail(task.transmission, mailbox))
        mail = await self._readable(task, mailbox, limit=None)
        assert mail is not None
        return mail

    def _own_mail(self, transmission: Transmission, mailbox: Mailbox) -> Mail:
        opened = self.unsealer.field(transmission.sealed, name="transmission", owner=transmission.id).reveal()
        mail = direct.signed(opened, key=self._signing_key(_author_domain(opened)), at=self.now())
        return Mail(parse_reverse_path(transmission.reverse_path), mailbox, len(mail), (mail,))

    async def _smaller(self, task: Task, mailbox: Mailbox, limit: int | None) -> Mail | None:
        """The readable message with so many links that it fits; as small as it can be where the server didn't say what
        it takes. ``None``: it can't be made smaller."""
        return await self._readable(task, mailbox, limit=SMALLEST if limit is None else limit)

    async def _readable(self, task: Task, mailbox: Mailbox, *, limit: int | None) -> Mail | None:
        recipient = task.transmission.recipient
        assert recipient is not None
        found, large = await self.readers.read(lambda: self._large_parts(task, limit))
        if large is None:
            return None
        link = await self._link_to_files(task) if large else None

        def compose() -> Mail:
            key = self._signing_key(recipient.submission.account.mailbox.domain)
            cuts = tuple(notify.cut(part, link, recipient.conversation) for part in large if link is not None)
            message = direct.readable(found, cuts=cuts, key=key, at=self.now())
            path = parse_reverse_path(task.transmission.reverse_path)
            usual = USUAL_LIMIT if message.size > USUAL_LIMIT and _may_hold_links(task) else None
            return Mail(
                path,
                mailbox,
                message.size,
                message,
                is_eight_bit=True,
                usual_limit=usual,
                requires_tls=recipient.submission.requires_tls,
            )

        return await self.readers.read(compose)

    def _large_parts(self, task: Task, limit: int | None) -> tuple[direct.Original, tuple[Part, ...] | None]:
        """The message, and which of its parts become links; ``None``: it can't be made to fit ``limit``."""
        recipient = task.transmission.recipient
        assert recipient is not None
        found = direct.original(_message(task), recipient.conversation, unsealer=self.unsealer)
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
        recipient = transmission.recipient
        assert recipient is not None
        if transmission.sealed is not None:
            opened = unsealer.field(transmission.sealed, name="transmission", owner=transmission.id)
            return Secret(f"{self.url}/m/{opened.reveal().decode('ascii')}")
        link = await self.readers.read(lambda: unsealer.make_link(recipient, recipient.conversation))
        token = link.token.reveal().encode("ascii")
        sealed = wrap_field(token, name="transmission", owner=transmission.id, to=unsealer.keys.sealing)
        await self._store(transmission, sealed, link, method=Method.EMAIL.value)
        return Secret(f"{self.url}/m/{link.token.reveal()}")

    def _signing_key(self, domain: Domain | None) -> SigningKey | None:
        """The DKIM key of a sending domain of ours; ``None`` for any other."""
        if domain is None:
            return None
        looked_at, key = self._keys.get(domain, (None, None))
        now = self.now()
        if looked_at is not None and looked_at <= now < looked_at + KEEP_KEY:
            return key
        found = rows.select(
            f"SELECT dkim_selector, dkim_key FROM {rows.table(SendingDomain)} WHERE name = %s",  # noqa: S608
            (domain.ascii,),
        )
        selector, wrapped = found[0] if found else ("", b"")
        if not found:
            key = None
        elif key is None or key.selector != selector:
            opening = self.unsealer.keys.opening
            pem: Secret[bytes] = unwrap(bytes(wrapped), with_key=opening, context=dkim_context(domain.ascii))
            key = SigningKey.from_pem(domain, selector, pem)
        if len(self._keys) >= SIGNING_KEYS:
            self._keys.clear()
        self._keys[domain] = now, key
        return key

    # --- record ---------------------------------------------------------------------------------------------------

    def _record(self, ended: Sequence[Ending]) -> list[None]:
        """Inside the writer's transaction."""
        now = self.now()
        done = [one for one in ended if not isinstance(one.follows, RetryAt)]
        jobs.finish(*(one.task.leased for one in done))
        rows.insert(Attempt, _ATTEMPT, [_attempt(one.task.transmission, tried) for one in ended for tried in one.tried])
        self._sent([one.task.transmission for one in done if isinstance(one.follows, Done)], now)
        for one in ended:
            match one.follows:
                case RetryAt(delay=delay):
                    jobs.postpone(one.task.leased, until=now + delay)
                    self._retried(one.task, now)
                case NextStep() | Bounce():
                    self._failed(one.task, one.follows, now)
                case Done():
                    pass
                case NextHost() | LargePartsBecomeLinks():
                    raise AssertionError("carried out, not recorded")
                case unreachable:
                    assert_never(unreachable)
        return [None] * len(ended)

    @staticmethod
    def _retried(task: Task, now: Instant) -> None:
        """The sender hears once for each recipient that it takes long (RFC 3464 §2.3.3: ``delayed``)."""
        transmission = task.transmission
        due = task.plan is not None and is_warning_due(task.retries, age=task.age, warned=transmission.warned)
        if due:
            told = Transmission.objects.filter(recipient=transmission.recipient_id, warned=True).exists()
            if transmission.recipient_id is not None and not told:
                milestones.delayed([transmission.recipient_id], now=now)
        found = Transmission.objects.filter(id=transmission.id)
        found.update(tries=F("tries") + 1, warned=transmission.warned or due)

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
            if recipient is not None and current and _is_unread(recipient) and not _is_gone(recipient, now):
                steps.remind(recipient, now=now)
                milestones.reminded([recipient.submission_id], now=now)

        now = self.now()
        await self.writer.write(record)

    @staticmethod
    def _sent(sent: Sequence[Transmission], now: Instant) -> None:
        """With the sealed mail goes the last copy of the link's secret that we had."""
        for one in sent:
            days = _days_until_reminder(one)
            if days is not None and one.recipient_id is not None:
                milestones.notified([one.recipient_id], remind=now + timedelta(days=days))
        asked = [one.recipient_id for one in sent if one.kind in _REACHED and _wants_success(one.recipient)]
        milestones.relayed([one for one in asked if one is not None], now=now)
        values = [(Transmission.State.SENT.value, one.tries + 1, None, one.id) for one in sent]
        rows.update(Transmission, ("state", "tries", "sealed"), values)
        rows.update(
            Recipient,
            ("state", "delivered_at"),
            [(_REACHED[one.kind], now, one.recipient_id) for one in sent if one.kind in _REACHED],
            where="state = 'decided'",
        )

    @staticmethod
    def _failed(task: Task, follows: NextStep | Bounce, now: Instant) -> None:
        transmission = task.transmission
        values = (Transmission.State.FAILED.value, transmission.tries + 1, None, transmission.id)
        rows.update(Transmission, ("state", "tries", "sealed"), [values])
        if task.plan is None or transmission.recipient is None:
            if transmission.kind == Kind.CODE and follows.why is Cause.LEVEL_NOT_REACHED:
                milestones.code_withheld(transmission.id, now=now)
            return
        recipient = Recipient.objects.select_related("submission__account").get(id=transmission.recipient.id)
        if recipient.state != Recipient.State.DECIDED:
            return
        bounce: Bounce | None = follows if isinstance(follows, Bounce) else None
        if isinstance(follows, NextStep):
            next_step = task.plan.steps[transmission.step + 1]
            if isinstance(next_step, Undeliverable):
                recipient.step = transmission.step + 1
                bounce = close(next_step, follows)
        if bounce is None:
            steps.begin_all([steps.Begun(recipient, task.plan, transmission.step + 1)], now=now)
        else:
            steps.give_up(recipient, status=bounce.status, reason=bounce.why.value, now=now)


_OF_A_MESSAGE: Final = frozenset({Kind.READABLE, Kind.NOTIFICATION, Kind.REMINDER})


def _first_messages(transmissions: Sequence[Transmission]) -> dict[uuid.UUID, Message]:
    """By conversation, the message that began it, with its content: one question for all that were leased together."""
    conversations = {one.recipient.conversation_id for one in transmissions if one.recipient is not None}
    found: dict[uuid.UUID, Message] = {}
    if conversations:
        for message in (
            Message.objects.filter(conversation__in=conversations, answered_by=None)
            .select_related("content")
            .order_by("created_at", "id")
        ):
            found.setdefault(message.conversation_id, message)
    return found


def _message(task: Task) -> Message:
    if task.message is None:
        raise CannotOpen("there is no message")
    return task.message


def _is_gone(recipient: Recipient, now: Instant) -> bool:
    return recipient.conversation.destroyed_at is not None or _has_expired(recipient, now)


def _is_unread(recipient: Recipient | None) -> bool:
    return recipient is not None and recipient.state == Recipient.State.NOTIFIED and recipient.opened_at is None


def _days_until_reminder(transmission: Transmission) -> int | None:
    """``None``: nobody is reminded of it."""
    if transmission.kind != Kind.NOTIFICATION or transmission.recipient is None:
        return None
    days: int | None = transmission.recipient.conversation.organisation.remind_after_days
    return days


def _wants_success(recipient: Recipient | None) -> bool:
    """RFC 3461 §4.1. Nothing is asked of the next server: its reports would go to our own return path."""
    return recipient is not None and bool(recipient.notify) and wants(frozenset(recipient.notify.split(",")), "relayed")


_REACHED: Final[dict[str, str]] = {
    Kind.READABLE.value: Recipient.State.DELIVERED.value,
    Kind.NOTIFICATION.value: Recipient.State.NOTIFIED.value,
}
_BEFORE_TLS: Final = frozenset(
    stage.name.lower() for stage in Stage if stage <= Stage.STARTTLS
)  # an attempt that ended there tells nothing of the level


def _has_expired(recipient: Recipient | None, now: Instant) -> bool:
    """Also while the destruction of its keys is still to come."""
    ends = recipient.conversation.expires_at if recipient is not None else None
    return ends is not None and ends <= now


def _reached_before(recipient: Recipient, plan: Plan) -> TransportSecurity | None:
    """The level that the last readable attempt found at the recipient's ordinary MX, if one came that far."""
    last = (
        Attempt.objects.filter(transmission__recipient=recipient, transmission__kind=Kind.READABLE)
        .exclude(outcome__in=steps.CAME_HOME)
        .select_related("transmission")
        .order_by("-id")
        .first()
    )
    if last is None or last.host == "" or last.stage in _BEFORE_TLS:
        return None
    step = plan.steps[last.transmission.step]
    if isinstance(step, precedence.Readable) and step.over_nta:  # other servers
        return None
    return _level(last.tls, last.authentication)


_LINK: Final = ("id", "recipient_id", "hash", "share", "slot", "created_at")
_ATTEMPT: Final = (
    "transmission_id",
    "at",
    "host",
    "address",
    "outcome",
    "stage",
    "reply",
    "tls",
    "authentication",
    "protocol",
    "cipher",
    "certificate",
)


def _attempt(transmission: Transmission, tried: Tried) -> tuple[Any, ...]:
    evidence = tried.evidence
    stage = getattr(tried.outcome, "stage", None)
    return (
        transmission.id,
        tried.at,
        evidence.host,
        evidence.address,
        type(tried.outcome).__name__,
        stage.name.lower() if stage else "",
        _kept(evidence.detail, transmission, tried.outcome),
        int(evidence.security.tls),
        int(evidence.security.authentication),
        evidence.protocol,
        evidence.cipher,
        evidence.certificate[:500],
    )


def _kept(detail: str, transmission: Transmission, outcome: Outcome) -> str:
    """What of a reply is stored, shown and reported. A server that refuses a mail may quote it: no link's secret and
    no code comes back that way."""
    reply = getattr(outcome, "reply", None)
    if transmission.kind == Kind.CODE and reply is not None:
        detail = f"{reply.code} {reply.status or ''}".strip()
    return steps.without_links(detail)[:500]


def _told(transmission: Transmission, tried: Tried) -> Attempted:
    """For the log: the code of the reply alone, since a server may quote an address or a subject in its text."""
    reply = getattr(tried.outcome, "reply", None)
    return Attempted(
        transmission.id,
        transmission.kind,
        type(tried.outcome).__name__,
        tried.evidence.host,
        f"{reply.code} {reply.status or ''}".strip() if reply else "",
        str(tried.evidence.security),
    )


def _level(tls: int, authentication: int) -> TransportSecurity:
    return TransportSecurity(Tls(tls), Authentication(authentication))


def _may_hold_links(task: Task) -> bool:
    """Files behind a link are opened with a code by e-mail: not over NTA 7516, whose recipients never meet a code, and
    not where message or policy exclude e-mail verification."""
    recipient = task.transmission.recipient
    if recipient is None or not isinstance(task.carried, precedence.Readable) or task.carried.over_nta:
        return False
    try:
        case = precedence.replay(recipient.plan or {}).case
    except precedence.UnknownPlan:
        return False
    policy = case.policy
    is_allowed = Method.EMAIL in policy.allowed and (not policy.required or Method.EMAIL in policy.required)
    return is_allowed and not case.asked.never_email


def _author_domain(octets: bytes) -> Domain | None:
    header = octets.partition(b"\r\n\r\n")[0] + b"\r\n"
    try:
        return author(HeaderSection.parse(header)).mailbox.domain
    except NotOneAuthor:
        return None
