"""Gathers what may be known about recipients, a few questions for many of them. Reads only; decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zegel.accounts.models import Account, DirectDeliveryDomain, Organisation
from zegel.accounts.sign_in import with_second_factor
from zegel.core.mail.address import Mailbox
from zegel.core.policy.case import Case, OrganisationPolicy, RecipientAccount
from zegel.core.policy.directives import Directives, for_recipient
from zegel.core.policy.transport import Authentication, Tls, TransportSecurity
from zegel.core.policy.verification import Method


@dataclass(frozen=True, slots=True)
class Question:
    """One recipient of one message."""

    mailbox: Mailbox
    organisation: Organisation
    directives: Directives


def gather(questions: Sequence[Question]) -> list[Case]:
    """The case of each, in order."""
    accounts = _accounts({one.mailbox.key for one in questions})
    listed = _listed({one.organisation.id for one in questions}, {one.mailbox.domain.ascii for one in questions})
    return [
        Case(
            asked=for_recipient(one.directives, one.mailbox),
            policy=_policy(one.organisation, listed.get((one.organisation.id, one.mailbox.domain.ascii))),
            account=accounts.get(one.mailbox.key),
        )
        for one in questions
    ]


def _policy(organisation: Organisation, listed: TransportSecurity | None) -> OrganisationPolicy:
    allowed = organisation.allowed_methods
    return OrganisationPolicy(
        allowed=frozenset(Method(name) for name in allowed) if allowed is not None else frozenset(Method),
        allows_transport=organisation.allows_transport,
        lists_domain=listed,
        holds=organisation.holds,
    )


def _listed(organisations: set[int], domains: set[str]) -> dict[tuple[int, str], TransportSecurity]:
    found = DirectDeliveryDomain.objects.filter(organisation__in=organisations, domain__in=domains)
    return {
        (organisation, domain): TransportSecurity(Tls(tls), Authentication(authentication))
        for organisation, domain, tls, authentication in found.values_list(
            "organisation", "domain", "tls", "authentication"
        )
    }


def _accounts(keys: set[str]) -> dict[str, RecipientAccount]:
    found = list(Account.objects.filter(key__in=keys, is_active=True).values_list("id", "key", "organisation"))
    secured = with_second_factor({account for account, _, _ in found}) if found else set()
    # D-9 is about accounts that nobody vouches for; an organisation's were made by its administrator.
    return {
        key: RecipientAccount(account in secured, vouched_for=organisation is not None)
        for account, key, organisation in found
    }
