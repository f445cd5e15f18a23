"""How mail domains stand as to NTA 7516, as the DNS tells: asked at the decision, and again at delivery."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, assert_never
from zoneinfo import ZoneInfo

from zegel.core.clock import Instant
from zegel.core.mail.address import Domain
from zegel.core.policy import dmarc, nta7516
from zegel.core.policy.case import Nta7516Facts
from zegel.core.policy.nta7516 import InvalidRecord, NoRecord, Record, Standing
from zegel.edge.dns import Found, NotThere, Resolver, Trouble
from zegel.edge.spf import Spf, check_host

ZONE: Final = ZoneInfo("Europe/Amsterdam")  # whose days a record speaks of
KEEP: Final = timedelta(minutes=5)
MOST_KEPT: Final = 1000  # sending domains
AT_ONCE: Final = 20  # domains that one message has asked about
RETURN_PATH_LABEL: Final = "zegel-bounce"  # below the sender's domain; every mail of ours has its reverse-path there


@dataclass(frozen=True, slots=True)
class NtaFound:
    """What was found of both sides. Who receives is asked about only where the sender complies."""

    sender: Standing
    recipient: Standing | None = None

    def as_facts(self) -> Nta7516Facts:
        """For the decision."""
        return Nta7516Facts(self.sender is Standing.COMPLIES, self.recipient is Standing.COMPLIES)


@dataclass(slots=True)
class NtaLookup:
    """Asks, and remembers for a while how senders stand: an organisation without NTA 7516 costs no question for each
    message. What is not known now is not remembered."""

    dns: Resolver
    hostname: str  # the gateway's own; its addresses are those that mail leaves from
    now: Callable[[], Instant]
    _senders: dict[Domain, tuple[Instant, Standing]] = field(default_factory=dict)

    async def facts(self, pairs: Collection[tuple[Domain, Domain]]) -> dict[tuple[Domain, Domain], NtaFound]:
        """For pairs of the sender's and the recipient's domain. Never raises for what the DNS does."""
        senders = await _each({sender for sender, _ in pairs}, self.standing_of_sender)
        complying = {recipient for sender, recipient in pairs if senders[sender] is Standing.COMPLIES}
        recipients = await _each(complying, self.standing_of_recipient)
        return {
            (sender, recipient): NtaFound(
                senders[sender],
                recipients[recipient] if senders[sender] is Standing.COMPLIES else None,
            )
            for sender, recipient in pairs
        }

    async def standing_of_sender(self, domain: Domain) -> Standing:
        """Its own record valid and in date, DMARC with quarantine or reject, SPF with a pass for the gateway. May be
        as old as :data:`KEEP`."""
        known = self._senders.get(domain)
        if known is not None and known[0] <= self.now() < known[0] + KEEP:
            return known[1]
        return await self.sender_now(domain)

    async def sender_now(self, domain: Domain) -> Standing:
        """As :meth:`standing_of_sender`, asked anew."""
        standing = await self._examine_sender(domain)
        self._senders.pop(domain, None)
        if standing is not Standing.NOT_KNOWN_NOW:
            while len(self._senders) >= MOST_KEPT:
                del self._senders[next(iter(self._senders))]
            self._senders[domain] = self.now(), standing
        return standing

    async def standing_of_recipient(self, domain: Domain) -> Standing:
        """Its record DNSSEC-secure, valid and in date."""
        found = await self.recipient_now(domain)
        return Standing.COMPLIES if isinstance(found, Record) else found

    async def recipient_now(self, domain: Domain) -> Record | Standing:
        """The record of a recipient's domain that complies; or how it stands otherwise, never ``COMPLIES``."""
        return await self._record(domain, must_be_secure=True)

    async def _examine_sender(self, domain: Domain) -> Standing:
        record = await self._record(domain, must_be_secure=False)
        if not isinstance(record, Record):
            return record
        standing = await self._dmarc(domain)
        return standing if standing is not Standing.COMPLIES else await self._spf(domain)

    async def _record(self, domain: Domain, *, must_be_secure: bool) -> Record | Standing:
        match await self.dns.ask(domain.ascii, "TXT"):
            case Trouble():
                return Standing.NOT_KNOWN_NOW
            case NotThere():
                return Standing.NO_RECORD
            case Found(records=texts, secure=secure):
                read = nta7516.read(texts)
        match read:
            case NoRecord():
                return Standing.NO_RECORD
            case InvalidRecord():
                return Standing.INVALID_RECORD
            case Record():
                if must_be_secure and not secure:
                    return Standing.NOT_SIGNED
                today = self.now().astimezone(ZONE).date()
                return read if nta7516.in_date(read, today) else Standing.OUT_OF_DATE
            case unreachable:
                assert_never(unreachable)

    async def _dmarc(self, domain: Domain) -> Standing:
        answered: list[dmarc.Answered] = []
        for name in dmarc.walk(domain):
            match await self.dns.ask(f"_dmarc.{name}", "TXT"):
                case Trouble():
                    return Standing.NOT_KNOWN_NOW
                case NotThere():
                    answered.append(dmarc.Answered(name, ()))
                case Found(records=texts):
                    answered.append(dmarc.Answered(name, texts))
            if dmarc.is_answered(answered):
                break
        is_strict = dmarc.policy_of(answered) >= dmarc.Policy.QUARANTINE
        return Standing.COMPLIES if is_strict else Standing.DMARC_TOO_WEAK

    async def _spf(self, domain: Domain) -> Standing:
        """Every address that mail may leave from must pass."""
        addresses = await self._own_addresses()
        if not addresses:
            return Standing.NOT_KNOWN_NOW
        path = Domain(f"{RETURN_PATH_LABEL}.{domain.ascii}")
        for address in addresses:
            verdict = await check_host(
                address=address, domain=path, sender=f"bounce@{path.ascii}", helo=self.hostname, dns=self.dns
            )
            if verdict is Spf.TEMPERROR:
                return Standing.NOT_KNOWN_NOW
            if verdict is not Spf.PASS:
                return Standing.SPF_DOES_NOT_PASS
        return Standing.COMPLIES

    async def _own_addresses(self) -> list[str]:
        """None at all where it is not known whether these are all."""
        found: list[str] = []
        for kind in ("A", "AAAA"):
            match await self.dns.ask(self.hostname, kind):
                case Trouble():
                    return []
                case Found(records=records):
                    found.extend(records)
                case NotThere():
                    pass
        return found


async def _each(domains: set[Domain], ask: Callable[[Domain], Awaitable[Standing]]) -> dict[Domain, Standing]:
    ordered, turns = sorted(domains), asyncio.Semaphore(AT_ONCE)

    async def asked(domain: Domain) -> Standing:
        async with turns:
            return await ask(domain)

    return dict(zip(ordered, await asyncio.gather(*(asked(one) for one in ordered)), strict=True))
