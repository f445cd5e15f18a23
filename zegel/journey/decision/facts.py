"""Gathers what may be known about recipients, a few questions for many of them. Reads only; decides nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import reduce
from typing import Final

from zegel.accounts import mailboxes
from zegel.accounts.models import (
    Account,
    DirectDeliveryDomain,
    DirectDeliveryList,
    DomainMinimum,
    Organisation,
    SendingDomain,
)
from zegel.core.clock import Duration, Instant
from zegel.core.mail.address import Mailbox
from zegel.core.policy.case import Asked, Case, OrganisationPolicy, RecipientAccount, Remembered
from zegel.core.policy.directives import Directives, for_recipient
from zegel.core.policy.transport import Authentication, Tls, TransportSecurity
from zegel.core.policy.verification import AccessCode, Method, SmsCode, at_least
from zegel.edge import rows
from zegel.journey.custody import memory
from zegel.journey.custody.memory import Asker, OpensFields

LIST_LAPSES: Final[Duration] = timedelta(days=7)  # a list that couldn't be read that long says nothing any more


@dataclass(frozen=True, slots=True)
class Question:
    """One recipient of one message."""

    mailbox: Mailbox
    organisation: Organisation
    account: int  # of the author
    directives: Directives
    requires_tls: bool = False


def gather(questions: Sequence[Question], *, open_field: OpensFields, now: Instant) -> list[Case]:
    """The case of each, in order; without what only the DNS tells."""
    if not questions:
        return []
    organisations = {one.organisation.id for one in questions}
    domains = {one.mailbox.domain.ascii for one in questions}
    accounts = _accounts({one.mailbox.key for one in questions})
    listed, least = _listed(organisations, domains, now), _least(organisations, domains)
    inbound = _inbound(domains)
    askers = [Asker(one.organisation.id, one.account, one.mailbox.key) for one in questions]
    remembered = memory.known(set(askers), open_field=open_field)
    passed = memory.passed({one.id for one in accounts.values()}, organisations, open_field=open_field)

    def case(one: Question, known: Remembered) -> Case:
        asked = replace(for_recipient(one.directives, one.mailbox), requires_tls=one.requires_tls)
        holder = accounts.get(one.mailbox.key)
        proven = _proven(passed.get((holder.id, one.organisation.id), {}), asked, known) if holder else frozenset()
        return Case(
            asked=asked,
            policy=_policy(one, listed, least),
            account=holder.as_seen_by(one.organisation.id, proven) if holder else None,
            takes_inbound_direct_delivery=one.mailbox.domain.ascii in inbound,
            remembered=known,
        )

    return [case(one, remembered[asker]) for one, asker in zip(questions, askers, strict=True)]


def _proven(passed: Mapping[Method, SmsCode | AccessCode], asked: Asked, remembered: Remembered) -> frozenset[Method]:
    """D-9: methods that the account's holder passed with the very number or code that would be asked for now."""
    wanted = [asked.verification] if asked.verification is not None else [remembered.sms, remembered.access_code]
    return frozenset(method for method, value in passed.items() if any(memory.is_same(value, one) for one in wanted))


_OfDomain = tuple[int, str]  # an organisation and a domain


def _policy(
    one: Question, listed: dict[_OfDomain, TransportSecurity], least: dict[_OfDomain, Method]
) -> OrganisationPolicy:
    organisation, domain = one.organisation, one.mailbox.domain.ascii
    allowed = organisation.allowed_methods
    minimum = least.get((organisation.id, domain)) or least.get((organisation.id, DomainMinimum.EVERY_OTHER))
    return OrganisationPolicy(
        allowed=frozenset(Method(name) for name in allowed) if allowed is not None else frozenset(Method),
        allows_transport=organisation.allows_transport,
        lists_domain=listed.get((organisation.id, domain)),
        required=at_least(minimum) if minimum else frozenset(),
        holds=organisation.holds,
    )


def _listed(organisations: set[int], domains: set[str], now: Instant) -> dict[_OfDomain, TransportSecurity]:
    """What an administrator entered goes before lists; of several lists the strictest level counts."""
    found: dict[_OfDomain, dict[bool, list[TransportSecurity]]] = defaultdict(lambda: defaultdict(list))
    for organisation, domain, source, tls, authentication in rows.select(
        f"""SELECT d.organisation_id, d.domain, d.source_id, d.tls, d.authentication
        FROM {rows.table(DirectDeliveryDomain)} d LEFT JOIN {rows.table(DirectDeliveryList)} l ON l.id = d.source_id
        WHERE d.organisation_id IN ({rows.marks(len(organisations))}) AND d.domain IN ({rows.marks(len(domains))})
        AND (d.source_id IS NULL OR l.url = '' OR l.read_at > %s)""",  # noqa: S608
        (*organisations, *domains, rows.moment(now - LIST_LAPSES)),
    ):
        level = TransportSecurity(Tls(tls), Authentication(authentication))
        found[organisation, domain][source is None].append(level)
    return {one: reduce(TransportSecurity.at_least, levels.get(True) or levels[False]) for one, levels in found.items()}


def _least(organisations: set[int], domains: set[str]) -> dict[_OfDomain, Method]:
    found = rows.select(
        f"""SELECT organisation_id, domain, method FROM {rows.table(DomainMinimum)}
        WHERE organisation_id IN ({rows.marks(len(organisations))})
        AND domain IN ({rows.marks(len(domains) + 1)})""",  # noqa: S608
        (*organisations, *domains, DomainMinimum.EVERY_OTHER),
    )
    return {(organisation, domain): Method(method) for organisation, domain, method in found}


def _inbound(domains: set[str]) -> set[str]:
    """Those of organisations here that take readable messages, as long as the domain is proven to be theirs."""
    found = rows.select(
        f"""SELECT d.name FROM {rows.table(SendingDomain)} d
        JOIN {rows.table(Organisation)} o ON o.id = d.organisation_id
        WHERE d.name IN ({rows.marks(len(domains))}) AND d.in_place AND o.takes_inbound_direct_delivery""",  # noqa: S608
        tuple(domains),
    )
    return {name for (name,) in found}


@dataclass(frozen=True, slots=True)
class _Holder:
    """Who has an account here, and whose administrator made it."""

    id: int
    has_second_factor: bool
    organisation: int | None  # None: a guest made it, with nothing but proof of the mailbox
    owns_domain: bool  # that organisation does: the recipient's domain is proven to be its own

    def as_seen_by(self, organisation: int, proven: frozenset[Method]) -> RecipientAccount:
        """D-9: an administrator vouches for people of the own domains, and towards the own organisation for anybody.
        What another organisation says of a mailbox that isn't its own proves no more than the mailbox does."""
        is_own = self.organisation is not None and self.organisation == organisation
        return RecipientAccount(self.has_second_factor, proven, vouched_for=is_own or self.owns_domain)


def _accounts(keys: set[str]) -> dict[str, _Holder]:
    found = list(Account.objects.filter(key__in=keys, is_active=True).values_list("id", "key", "organisation"))
    if not found:
        return {}
    secured = mailboxes.secured({account for account, _, _ in found})
    domains = {key.rpartition("@")[2] for _, key, _ in found}
    owned = set(SendingDomain.objects.filter(name__in=domains, in_place=True).values_list("name", "organisation"))
    return {
        key: _Holder(account, account in secured, organisation, (key.rpartition("@")[2], organisation) in owned)
        for account, key, organisation in found
    }
