"""TLS results (RFC 8460): sessions are counted in memory, by UTC day, and written together now and then.

Mail never waits for it. A process that is killed takes along what it counted since it wrote last.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from typing import Final

from zegel.core.clock import Duration, Instant
from zegel.core.mail.address import Domain
from zegel.core.policy.mta_sts import Mode, Policy
from zegel.core.smtp.tls_report import (
    HOST_NOT_NAMED,
    Applied,
    Failure,
    PolicyType,
    ResultType,
    Session,
    by_tlsa,
)
from zegel.edge import rows
from zegel.edge.database import Writer
from zegel.edge.log import Broken, log
from zegel.journey.custody.models import TlsResult
from zegel.journey.delivery.mx import NextHop, PassedOver

EVERY: Final = 60.0  # seconds between writings
MOST_HELD: Final = 20_000  # different results in memory, while the database can't be written; more are not counted
TOGETHER: Final = 100  # rows of one unit of the writer: mail that waits for it waits for no more than these
KEEP: Final[Duration] = timedelta(days=30)

Counted = tuple[date, Session]


@dataclass(slots=True)
class TlsResults:
    """Counts sessions. ``missed``: why a domain's MTA-STS policy could not be had, if so."""

    writer: Writer
    now: Callable[[], Instant]
    missed: Callable[[Domain], Failure | None]
    _counts: Counter[Counted] = field(default_factory=Counter)
    _ending: asyncio.Event = field(default_factory=asyncio.Event)

    def ended(self, hop: NextHop, failure: Failure | None, sent_from: str) -> None:
        """One session with a server, which failed or (``None``) went as it should. For :attr:`Dialler.tell`."""
        if hop.asked is None:
            return
        policy = applied(hop)
        domain = hop.asked.domain
        if failure is None and policy.kind is PolicyType.STS and not _names(hop.asked.policy, hop.host):
            failure = HOST_NOT_NAMED  # it is being tested: the mail went all the same (RFC 8461 §5)
        self._count(Session(domain.ascii, policy, failure, sent_from, hop.host, hop.address))
        if policy.kind is not PolicyType.TLSA and (missed := self.missed(domain)) is not None:
            announced = Applied(PolicyType.STS, domain.ascii)
            self._count(Session(domain.ascii, announced, missed, sent_from, hop.host, hop.address))

    def passed_over(self, one: PassedOver) -> None:
        """A host got no session for what is promised about it. For :func:`zegel.journey.delivery.mx.next_hops`."""
        domain = one.asked.domain.ascii
        if one.base:
            policy = Applied(PolicyType.TLSA, one.base)
        else:
            policy = _sts(domain, one.asked.policy) or Applied(PolicyType.NONE, domain)
        self._count(Session(domain, policy, one.failure, host=one.host))

    def _count(self, session: Session) -> None:
        key = self.now().date(), session
        if key in self._counts or len(self._counts) < MOST_HELD:
            self._counts[key] += 1

    async def keep_writing(self) -> None:
        """Until :meth:`stop`, and once more then."""
        while not self._ending.is_set():
            try:
                async with asyncio.timeout(EVERY):
                    await self._ending.wait()
            except TimeoutError:
                pass
            await self.write()

    def stop(self) -> None:
        """Nothing is counted any more: what was is written, and :meth:`keep_writing` returns."""
        self._ending.set()

    async def write(self) -> None:
        """What was counted so far is in the database. What can't be written is kept for the next time."""
        counts, self._counts = self._counts, Counter()
        waiting = list(counts.items())
        try:
            while waiting:
                await self.writer.write(partial(_add, waiting[:TOGETHER]))
                del waiting[:TOGETHER]
        except Exception as cause:
            log(Broken("tls results", cause))
            self._counts.update(dict(waiting))


def applied(hop: NextHop) -> Applied:
    """What a connection to ``hop`` goes by: TLSA records, where there are any (RFC 8461 §2)."""
    assert hop.asked is not None
    domain = hop.asked.domain.ascii
    if hop.dane is not None:
        return by_tlsa(hop.dane.base, hop.dane.records)
    return _sts(domain, hop.asked.policy) or Applied(PolicyType.NONE, domain)


def _sts(domain: str, policy: Policy | None) -> Applied | None:
    """A policy of mode ``none`` is none (RFC 8461 §5)."""
    if policy is None or policy.mode is Mode.NONE:
        return None
    return Applied(PolicyType.STS, domain, policy.lines, policy.mx)


def _names(policy: Policy | None, host: str) -> bool:
    return policy is not None and policy.names(host)


# --- in the database ----------------------------------------------------------------------------------------------


def _add(counted: Sequence[tuple[Counted, int]]) -> None:
    """Inside a transaction; other processes may count the same."""
    table = rows.table(TlsResult)
    found = [(_row(day, session), count) for (day, session), count in counted]
    rows.insert(TlsResult, _NAMES, [(*row, 0) for row, _ in found], unless_there=True)
    rows.execute_many(
        f'UPDATE {table} SET "sessions" = "sessions" + %s WHERE "key" = %s',  # noqa: S608
        [(count, row[0]) for row, count in found],
    )


_NAMES: Final = (
    "key",
    "day",
    "domain",
    "policy_type",
    "policy_domain",
    "policy_strings",
    "policy_hosts",
    "sent_from",
    "host",
    "address",
    "result",
    "reason",
    "sessions",
)


def _row(day: date, one: Session) -> tuple[object, ...]:
    policy, failure = one.policy, one.failure
    result = (failure.result.value, failure.reason) if failure is not None else ("", "")
    told = (one.domain, policy.kind.value, policy.domain, list(policy.strings), list(policy.hosts))
    where = (one.sent_from, one.host, one.address)
    key = hashlib.sha256(json.dumps([day.isoformat(), *told, *where, *result]).encode()).hexdigest()
    return key, day, *told, *where, *result


def counted_on(day: date, domain: Domain | None = None) -> dict[str, list[tuple[Session, int]]]:
    """What is in the database of ``day`` (UTC), by the recipients' domain."""
    found: dict[str, list[tuple[Session, int]]] = {}
    wanted = TlsResult.objects.filter(day=day)
    if domain is not None:
        wanted = wanted.filter(domain=domain.ascii)
    for row in wanted.order_by("domain", "key").iterator():
        found.setdefault(row.domain, []).append((_session(row), row.sessions))
    return found


def _session(row: TlsResult) -> Session:
    policy = Applied(PolicyType(row.policy_type), row.policy_domain, tuple(row.policy_strings), tuple(row.policy_hosts))
    failure = Failure(ResultType(row.result), row.reason) if row.result else None
    return Session(row.domain, policy, failure, row.sent_from, row.host, row.address)


def forget_old(now: Instant) -> int:
    """Deletes days that lie too far back to report on; returns how many rows."""
    return TlsResult.objects.filter(day__lt=(now - KEEP).date()).delete()[0]
