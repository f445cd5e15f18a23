"""MTA-STS policies (RFC 8461): asked for, fetched, kept, and kept to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, assert_never

from zegel.core.clock import Duration, Instant
from zegel.core.mail.address import Domain
from zegel.core.policy.mta_sts import Fetch, Kept, Mode, NotAPolicy, Policy, Use, policy_of, record_id, which
from zegel.core.smtp.tls_report import Failure, sts_invalid, sts_not_fetched
from zegel.edge import fetch as web
from zegel.edge.database import Readers, Writer
from zegel.edge.dns import Found, Resolver, Trouble
from zegel.edge.log import Broken, log
from zegel.journey.custody.models import TransportPolicy

LOOK_AGAIN: Final[Duration] = timedelta(minutes=5)  # what was found, or not, is not asked for more often
MOST_REMEMBERED: Final = 10_000  # domains
MOST_FETCHES: Final = 10  # at the same time


class NotKnown(Exception):
    """Whether a policy holds can't be told now; a kept one may."""


@dataclass(slots=True)
class Policies:
    """The policy of any domain, as of now. Delivery asks it for every message, so it remembers for a while."""

    dns: Resolver
    fetch: Callable[[str], web.Fetch]  # of an address; waits, so it is called in a thread
    writer: Writer
    readers: Readers
    now: Callable[[], Instant]
    _known: dict[Domain, tuple[Instant, Policy | None]] = field(default_factory=dict)
    _missed: dict[Domain, Failure] = field(default_factory=dict)
    _asking: dict[Domain, asyncio.Task[Policy | None]] = field(default_factory=dict)
    _fetches: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_FETCHES))

    async def of(self, domain: Domain) -> Policy | None:
        """What holds; ``None``: the domain has none, or none that it keeps to could be had. Many who ask at the same
        moment ask once. Raises :class:`NotKnown`."""
        known = self._known.get(domain)
        if known is not None and known[0] <= self.now() < known[0] + LOOK_AGAIN:
            return known[1]
        if (asking := self._asking.get(domain)) is None:
            asking = self._asking[domain] = asyncio.create_task(self._ask(domain))
            asking.add_done_callback(lambda _: self._asking.pop(domain, None))
        return await asyncio.shield(asking)

    def missed(self, domain: Domain) -> Failure | None:
        """Why there is no policy, where the domain announces one and none could be had: as far as is remembered."""
        return self._missed.get(domain)

    async def _ask(self, domain: Domain) -> Policy | None:
        try:
            policy = await self._find(domain)
        except Exception as cause:  # the database is away: what holds isn't known, and asked again for the next message
            log(Broken("mta-sts", cause))
            raise NotKnown from None
        self._known.pop(domain, None)
        while len(self._known) >= MOST_REMEMBERED:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._missed.pop(oldest, None)
        self._known[domain] = self.now(), policy
        return policy

    async def _find(self, domain: Domain) -> Policy | None:
        answer = await self.dns.ask(f"_mta-sts.{domain.ascii}", "TXT")
        kept = await self.readers.read(lambda: _kept(domain))
        shown = record_id(answer.records) if isinstance(answer, Found) else None
        self._missed.pop(domain, None)
        match which(kept, shown, is_known=not isinstance(answer, Trouble), now=self.now()):
            case Use(policy):
                return policy
            case Fetch(identity, otherwise):
                fetched = await self._fetched(domain)
                if isinstance(fetched, Failure):
                    if otherwise is None:
                        self._missed[domain] = fetched
                    return otherwise
                try:
                    await self._keep(domain, Kept(fetched, identity, self.now()))
                except Exception as cause:  # it holds all the same
                    log(Broken("mta-sts, keeping a policy", cause))
                return fetched

    async def _fetched(self, domain: Domain) -> Policy | Failure:
        url = f"https://mta-sts.{domain.ascii}/.well-known/mta-sts.txt"
        async with self._fetches:
            found = await asyncio.to_thread(self.fetch, url)
        match found:
            case web.Fetched(octets=octets):
                try:
                    return policy_of(octets)
                except NotAPolicy as cause:
                    return sts_invalid(str(cause))
            case web.Failed(why=why):
                return sts_not_fetched(why.value, by_certificate=why is web.NotFetched.NO_CERTIFICATE)
            case web.NotModified():  # nobody asked whether it was
                return sts_not_fetched("not modified")
            case unreachable:
                assert_never(unreachable)

    async def _keep(self, domain: Domain, kept: Kept) -> None:
        policy = kept.policy

        def store() -> None:
            TransportPolicy.objects.update_or_create(
                domain=domain.ascii,
                defaults={
                    "identity": kept.id,
                    "mode": policy.mode.value,
                    "hosts": list(policy.mx),
                    "max_age": int(policy.max_age.total_seconds()),
                    "fetched_at": kept.fetched_at,
                },
            )

        await self.writer.write(store)


def _kept(domain: Domain) -> Kept | None:
    row = TransportPolicy.objects.filter(domain=domain.ascii).first()
    if row is None:
        return None
    policy = Policy(Mode(row.mode), timedelta(seconds=row.max_age), tuple(row.hosts))
    return Kept(policy, row.identity, row.fetched_at)


def forget_ended(now: Instant) -> int:
    """Deletes policies that hold no longer; returns how many."""
    ended = [
        row.domain
        for row in TransportPolicy.objects.all().iterator()
        if now >= row.fetched_at + timedelta(seconds=row.max_age)
    ]
    return TransportPolicy.objects.filter(domain__in=ended).delete()[0]
