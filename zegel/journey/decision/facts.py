"""Gathers all that may be known about a recipient. Reads only; decides nothing."""

from __future__ import annotations

from zegel.accounts.models import Account, DirectDeliveryDomain, Organisation
from zegel.accounts.sign_in import has_second_factor
from zegel.core.mail.address import Mailbox
from zegel.core.policy.case import Case, OrganisationPolicy, RecipientAccount
from zegel.core.policy.directives import Directives, for_recipient
from zegel.core.policy.transport import Authentication, Tls, TransportSecurity
from zegel.core.policy.verification import Method


def gather(mailbox: Mailbox, *, organisation: Organisation, directives: Directives) -> Case:
    """The case of one recipient of a message of ``organisation``."""
    return Case(
        asked=for_recipient(directives, mailbox),
        policy=_policy(organisation, mailbox),
        account=_account(mailbox),
    )


def _policy(organisation: Organisation, mailbox: Mailbox) -> OrganisationPolicy:
    listed = DirectDeliveryDomain.objects.filter(organisation=organisation, domain=mailbox.domain.ascii).first()
    allowed = organisation.allowed_methods
    return OrganisationPolicy(
        allowed=frozenset(Method(name) for name in allowed) if allowed is not None else frozenset(Method),
        allows_transport=organisation.allows_transport,
        lists_domain=TransportSecurity(Tls(listed.tls), Authentication(listed.authentication)) if listed else None,
        holds=organisation.holds,
    )


def _account(mailbox: Mailbox) -> RecipientAccount | None:
    account = Account.objects.filter(key=mailbox.key, is_active=True).first()
    if account is None:
        return None
    # D-9 is about accounts that nobody vouches for; an organisation's were made by its administrator.
    return RecipientAccount(has_second_factor(account), vouched_for=account.organisation_id is not None)
