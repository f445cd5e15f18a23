"""One transmission: gather what is to be sent and where, try, ask the core what follows, record."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, assert_never

from zegel.accounts.models import Account
from zegel.core.clock import Instant
from zegel.core.mail.address import Domain, Mailbox
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
from zegel.core.policy.transport import NO_DEMAND
from zegel.core.seal.wrap import CannotOpen
from zegel.edge.chance import made_at
from zegel.edge.database import Readers, Writer
from zegel.edge.dns import Resolver
from zegel.edge.log import Attempted, Broken, log
from zegel.edge.nta import NtaLookup
from zegel.journey import milestones, steps
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import Leased, LeaseLost
from zegel.journey.custody.models import Recipient
from zegel.journey.delivery import mx, nta, recording
from zegel.journey.delivery.connection import Dialler, Evidence, Mail, Result
from zegel.journey.delivery.mails import Mails
from zegel.journey.delivery.places import Places
from zegel.journey.delivery.recording import Ending, Tried
from zegel.journey.delivery.sts import NotKnown, Policies
from zegel.journey.delivery.tasks import Kind, Outgoing, Standing, Task, gather, look_again

FRESH: Final = 2.0  # seconds; what was looked at longer ago is looked at again before the mail leaves
RECORD_AGAIN: Final = 0.5  # seconds, at first
RECORD_AGAIN_AT_MOST: Final = 10.0
PROBE: Final = "probe"  # what an attempt is called that carries no mail: whether a code may travel


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
    dns: Resolver
    nta: NtaLookup
    policies: Policies
    places: Places
    dialler: Dialler
    mails: Mails
    patience: Patience
    now: Callable[[], Instant]
    passed_over: mx.Tell = mx.tell_nobody

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
            return await self._try_hops(task, hops, await self.mails.of(task, mailbox), mailbox, tried)
        if isinstance(task.carried, Notify):
            stop = await self._before_notifying(task, task.carried, hops, tried)
            if stop is not None:
                return stop
        return await self._try_hops(task, hops, await self.mails.compose(task, mailbox), mailbox, tried)

    async def _over_nta(self, task: Task, mailbox: Mailbox, tried: list[Tried]) -> Next | Later:
        """Both sides and each host are examined anew. What doesn't comply now leads to the next step, never to ordinary
        mail (standards A)."""
        assert task.transmission.recipient is not None
        sender = task.transmission.recipient.sender
        if not await self.readers.read(lambda: self.mails.keys.of(sender)):
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
        return await self._try_hops(task, hops, await self.mails.of(task, mailbox), mailbox, tried)

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
                smaller = await self.mails.smaller(task, mailbox, result.limit)
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


class _TakenBack(Exception):
    """What was to be sent is not to be sent any more."""

    def __init__(self, follows: Bounce) -> None:
        super().__init__()
        self.follows = follows


_COMPOSED_WHEN_SENT: Final = (Kind.NOTIFICATION, Kind.REMINDER, Kind.AGAIN, Kind.ANSWER)


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
