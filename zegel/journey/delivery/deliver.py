"""One transmission: gather what is to be sent and where, try, ask the core what follows, record."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, assert_never

from django.db.models import F

from zegel.accounts.domains import dkim_context
from zegel.accounts.models import SendingDomain
from zegel.core.clock import Duration, Instant
from zegel.core.mail.address import Domain, Mailbox, parse_reverse_path
from zegel.core.mail.dkim import SigningKey
from zegel.core.mail.fields import HeaderSection, NotOneAuthor, author
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
from zegel.core.policy.ended import Ended
from zegel.core.policy.precedence import Notify, Plan, Undeliverable, plan_from_json
from zegel.core.policy.retry import CODE_RETRIES, NOTIFICATION_RETRIES, READABLE_RETRIES, RetryPolicy
from zegel.core.policy.transport import NO_DEMAND, Authentication, Tls, TransportSecurity
from zegel.core.seal.wrap import CannotOpen, unwrap
from zegel.core.secret import Secret
from zegel.edge import rows
from zegel.edge.database import Readers, Writer
from zegel.edge.dns import Resolver
from zegel.edge.log import Attempted, log
from zegel.journey import milestones, steps
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import Leased, LeaseLost
from zegel.journey.custody.models import Attempt, Recipient, Transmission
from zegel.journey.custody.unseal import Unsealer
from zegel.journey.delivery import direct, mx, notify
from zegel.journey.delivery.connection import Dialler, Evidence, Mail

Kind = Transmission.Kind
SIGNING_KEYS: Final = 1000  # kept in memory
_LINK: Final = re.compile(r"/m/[\w=-]+|(?<![\w-])[\w-]{43}(?![\w-])")  # its token stands behind /m/, or by itself


@dataclass(frozen=True, slots=True)
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
    dialler: Dialler
    hostname: str
    url: str
    first_retry: Duration
    now: Callable[[], Instant]
    _keys: dict[int, SigningKey] = field(default_factory=dict)

    async def transmit(self, leased: Leased) -> None:
        """Makes a transmission, as far as it can be made now."""
        task = await self.readers.read_together(self._gather, leased)
        if task is None:
            await self.writer.write(lambda: jobs.finish(leased))
            return
        tried: list[Tried] = []
        try:
            follows = await self._carry_out(task, tried)
        except CannotOpen:
            follows = Bounce("5.7.0", Ended.DESTROYED)
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
        return [self._task(one, found.get(one.subject)) for one in leased]

    def _task(self, leased: Leased, transmission: Transmission | None) -> Task | None:
        if transmission is None:
            return None
        now = self.now()
        if transmission.kind in (Kind.READABLE, Kind.NOTIFICATION):
            return self._gather_step(leased, transmission, now)
        needs = _level(transmission.needs_tls, transmission.needs_authentication)
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
            _reached_before(recipient) if transmission.step > 0 else None,  # no attempt comes before the first step
        )

    def _retries(self, policy: RetryPolicy) -> RetryPolicy:
        return replace(policy, first=self.first_retry, most=max(policy.most, self.first_retry))

    # --- try ------------------------------------------------------------------------------------------------------

    async def _carry_out(self, task: Task, tried: list[Tried]) -> Next:
        expires_at = task.transmission.expires_at
        if expires_at is not None and expires_at <= self.now():
            return Bounce("5.4.7", Ended.TOO_LATE)
        mailbox = Mailbox.parse(task.transmission.address)
        hops = await mx.next_hops(mailbox.domain, dns=self.dns)
        match hops:
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
        mail = await self.readers.read(lambda: self._mail(task, mailbox))
        return await self._try_hops(task, hops, mail, tried)

    async def _try_hops(self, task: Task, hops: tuple[mx.NextHop, ...], mail: Mail, tried: list[Tried]) -> Next:
        for position, hop in enumerate(hops):
            result = await self.dialler.send(hop, mail, needs=task.needs)
            tried.append(Tried(self.now(), result.outcome, result.evidence))
            follows = self._after(task, result.outcome, more_hosts=position + 1 < len(hops))
            if not isinstance(follows, NextHost):
                return follows
        raise AssertionError("the last host has no next")

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

    def _after(self, task: Task, outcome: Outcome, *, more_hosts: bool) -> Next:
        progress = Progress(task.transmission.tries + 1, task.age, more_hosts=more_hosts)
        spread = random.random()  # noqa: S311
        return after(task.carried, outcome, progress=progress, retry=task.retries, spread=spread)

    async def _compose(self, task: Task) -> None:
        """Makes the notification durable before it is tried: whatever happens, every try sends the same mail."""
        transmission = task.transmission
        prepared = await self.readers.read(
            lambda: notify.prepare(transmission, unsealer=self.unsealer, url=self.url, at=self.now())
        )
        recipient = transmission.recipient
        assert recipient is not None

        def store() -> None:
            stored = rows.execute(
                f"""UPDATE {rows.table(Transmission)} SET sealed = %s
                WHERE id = %s AND state = %s AND sealed IS NULL""",  # noqa: S608
                (prepared.wrapped, rows.identifier(transmission.id), Transmission.State.QUEUED.value),
            )
            if not stored:
                raise LeaseLost  # who took over made another link, and may have sent it: that one must stay good
            link = prepared.link
            rows.update(Recipient, _HALVES, [(link.hash, link.share, link.slot, recipient.id)])

        await self.writer.write(store)
        transmission.sealed = prepared.wrapped

    def _mail(self, task: Task, mailbox: Mailbox) -> Mail:
        transmission = task.transmission
        octets: Iterable[bytes]
        if transmission.kind == Kind.READABLE:
            assert transmission.recipient is not None
            conversation = transmission.recipient.conversation
            key = self._signing_key(transmission.recipient.submission.account.mailbox.domain)
            message = direct.readable(conversation, unsealer=self.unsealer, key=key, at=self.now())
            octets, size = message, message.size
        else:
            opened = self.unsealer.field(transmission.sealed, name="transmission", owner=transmission.id).reveal()
            mail = direct.signed(opened, key=self._signing_key(_author_domain(opened)), at=self.now())
            octets, size = (mail,), len(mail)
        return Mail(
            parse_reverse_path(transmission.reverse_path),
            mailbox,
            size,
            octets,
            is_eight_bit=transmission.kind == Kind.READABLE,
        )

    def _signing_key(self, domain: Domain | None) -> SigningKey | None:
        """The DKIM key of a sending domain of ours; ``None`` for any other."""
        if domain is None:
            return None
        found = rows.select(
            f"SELECT id, dkim_selector, dkim_key FROM {rows.table(SendingDomain)} WHERE name = %s",  # noqa: S608
            (domain.ascii,),
        )
        if not found:
            return None
        number, selector, wrapped = found[0]
        key = self._keys.get(number)
        if key is None or key.selector != selector:
            opening = self.unsealer.keys.opening
            pem: Secret[bytes] = unwrap(bytes(wrapped), with_key=opening, context=dkim_context(domain.ascii))
            key = SigningKey.from_pem(domain, selector, pem)
            if len(self._keys) >= SIGNING_KEYS:
                self._keys.clear()
            self._keys[number] = key
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
                    Transmission.objects.filter(id=one.task.transmission.id).update(tries=F("tries") + 1)
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
    def _sent(sent: Sequence[Transmission], now: Instant) -> None:
        """With the sealed mail goes the last copy of the link's secret that we had."""
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


_REACHED: Final[dict[str, str]] = {
    Kind.READABLE.value: Recipient.State.DELIVERED.value,
    Kind.NOTIFICATION.value: Recipient.State.NOTIFIED.value,
}
_BEFORE_TLS: Final = frozenset(
    stage.name.lower() for stage in Stage if stage <= Stage.STARTTLS
)  # an attempt that ended there tells nothing of the level


def _reached_before(recipient: Recipient) -> TransportSecurity | None:
    """The level that the last readable attempt found at the recipient's ordinary MX, if one came that far."""
    last = (
        Attempt.objects.filter(transmission__recipient=recipient, transmission__kind=Kind.READABLE)
        .order_by("-id")
        .first()
    )
    if last is None or last.host == "" or last.stage in _BEFORE_TLS:
        return None
    return _level(last.tls, last.authentication)


_HALVES: Final = ("link_hash", "link_share", "link_slot")
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
    line = "".join(char if char.isprintable() else " " for char in detail)
    return _LINK.sub("…", line)[:500]


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


def _author_domain(octets: bytes) -> Domain | None:
    header = octets.partition(b"\r\n\r\n")[0] + b"\r\n"
    try:
        return author(HeaderSection.parse(header)).mailbox.domain
    except NotOneAuthor:
        return None
