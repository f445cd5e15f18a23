"""What an administrator decides about recipients: methods, direct delivery, minimums. One place for console, command
line and API.

Each change holds from the next decision on. Where it may serve somebody who is held, the function says so; who changed
it tells the decision (:mod:`zegel.journey.custody.held`, :func:`zegel.journey.milestones.supplied`), in the same
transaction.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.db import transaction

from zegel.accounts import devices
from zegel.accounts.audit import note
from zegel.accounts.models import DirectDeliveryDomain, DomainMinimum, Organisation
from zegel.core.mail.address import Domain
from zegel.core.policy.audit import Act, changes
from zegel.core.policy.permitting import (
    Cautioned,
    RecipientPolicy,
    cautions,
    checked,
    is_laxer,
    is_lower,
    trusts_less,
    written_level,
)
from zegel.core.policy.transport import Authentication, Tls, TransportSecurity
from zegel.core.policy.verification import Method

INBOUND_WARNING = (
    "Inbound direct delivery: messages to your own domains, from every organisation that uses this gateway, arrive "
    "readable, over at least TLS 1.2 and a valid certificate, unless the message names a method or its organisation "
    "demands one. Who can read the mailbox can read them."
)


def policy_of(organisation: Organisation) -> RecipientPolicy:
    """The policy in force."""
    allowed = organisation.allowed_methods
    return RecipientPolicy(
        allowed=tuple(method for method in Method if allowed is None or method.value in allowed),
        allows_transport=organisation.allows_transport,
        holds=organisation.holds,
        hold_days=organisation.hold_days,
        takes_inbound_direct_delivery=organisation.takes_inbound_direct_delivery,
        expires_after_days=organisation.expires_after_days,
        remind_after_days=organisation.remind_after_days,
        answer_megabytes=organisation.answer_megabytes,
        remembers_devices_days=organisation.remembers_devices_days,
        subject=organisation.subject,
    )


def permit(organisation: Organisation, policy: RecipientPolicy) -> bool:
    """From now on; ``True`` where somebody who is held may be served now. Devices are forgotten at once where they
    would be remembered no longer, or not so long. Inside a transaction. Raises ``NotAPolicy``, and ``ValueError`` for a
    subject that is none."""
    new, old = checked(policy), policy_of(organisation)
    is_everything = set(new.allowed) == set(Method)
    organisation.allowed_methods = None if is_everything else [method.value for method in new.allowed]
    organisation.allows_transport = new.allows_transport
    organisation.holds, organisation.hold_days = new.holds, new.hold_days
    organisation.takes_inbound_direct_delivery = new.takes_inbound_direct_delivery
    organisation.expires_after_days = new.expires_after_days
    organisation.remind_after_days = new.remind_after_days
    organisation.answer_megabytes = new.answer_megabytes
    organisation.remembers_devices_days = new.remembers_devices_days
    organisation.subject = Organisation.Subject(new.subject)
    organisation.save(
        update_fields=[
            "allowed_methods",
            "allows_transport",
            "holds",
            "hold_days",
            "takes_inbound_direct_delivery",
            "expires_after_days",
            "remind_after_days",
            "answer_megabytes",
            "remembers_devices_days",
            "subject",
        ]
    )
    if trusts_less(new, old):
        devices.forget_all(organisation)
    if changed := changes(_noted(old), _noted(new)):
        note(Act.POLICY_CHANGED, organisation, details=changed)
    return is_laxer(new, old)


def _noted(policy: RecipientPolicy) -> dict[str, Any]:
    return {**asdict(policy), "allowed": [method.value for method in Method if method in policy.allowed]}


def answer_limit_of(organisation: Organisation) -> int | None:
    """Octets of a file in an answer; ``None``: as many as the gateway allows anybody."""
    megabytes: int | None = organisation.answer_megabytes
    return None if megabytes is None else megabytes * 1_000_000


# --- direct-delivery domains -------------------------------------------------------------------------------------


def level_of(entry: DirectDeliveryDomain) -> TransportSecurity:
    """The least that is demanded of the connection."""
    return TransportSecurity(Tls(entry.tls), Authentication(entry.authentication))


def entered(organisation: Organisation, domain: Domain) -> DirectDeliveryDomain | None:
    """What an administrator entered for the domain; imported lists are not asked."""
    return organisation.direct_delivery_domains.filter(source=None, domain=domain.ascii).first()


def deliver_directly(organisation: Organisation, domain: Domain, level: TransportSecurity) -> bool:
    """The domain gets readable messages over at least this level; ``True`` where it got none by entry before."""
    with transaction.atomic():
        known = entered(organisation, domain)
        _, is_new = DirectDeliveryDomain.objects.update_or_create(
            organisation=organisation,
            source=None,
            domain=domain.ascii,
            defaults={"tls": level.tls, "authentication": level.authentication},
        )
        old = {} if known is None else {"level": written_level(level_of(known))}
        if changed := changes(old, {"level": written_level(level)}):
            note(Act.DIRECT_DELIVERY_CHANGED, organisation, domain.ascii, changed)
    return is_new


def deliver_directly_no_more(organisation: Organisation, domain: Domain) -> bool:
    """Takes an entered domain off; ``False`` where it wasn't there. What a list says of it, if any, holds again."""
    found = organisation.direct_delivery_domains.filter(source=None, domain=domain.ascii)
    with transaction.atomic():
        was_there = bool(found.delete()[0])
        if was_there:
            note(Act.DIRECT_DELIVERY_REMOVED, organisation, domain.ascii)
    return was_there


# --- minimums ----------------------------------------------------------------------------------------------------


def minimum_for(organisation: Organisation, domain: str) -> Method | None:
    """What recipients of the domain must verify with at least, by its own line or that of every other."""
    found = dict(
        organisation.domain_minimums.filter(domain__in={domain, DomainMinimum.EVERY_OTHER}).values_list(
            "domain", "method"
        )
    )
    method = found.get(domain) or found.get(DomainMinimum.EVERY_OTHER)
    return Method(method) if method else None


def demand_at_least(organisation: Organisation, domain: str, minimum: Method | None) -> bool:
    """For a domain in A-labels or ``DomainMinimum.EVERY_OTHER``; ``None`` takes its line away. ``True`` where somebody
    who is held may be served now."""
    old = minimum_for(organisation, domain)
    with transaction.atomic():
        own = organisation.domain_minimums.filter(domain=domain).values("method").first() or {"method": None}
        if minimum is None:
            organisation.domain_minimums.filter(domain=domain).delete()
        else:
            DomainMinimum.objects.update_or_create(
                organisation=organisation, domain=domain, defaults={"method": minimum.value}
            )
        if changed := changes(own, {"method": minimum.value if minimum else None}):
            note(Act.MINIMUM_CHANGED if minimum else Act.MINIMUM_REMOVED, organisation, domain, changed)
    return is_lower(minimum_for(organisation, domain), old)


# --- what is odd -------------------------------------------------------------------------------------------------


def cautions_of(organisation: Organisation) -> tuple[Cautioned, ...]:
    """What the administrator may not have meant, of all that is in force."""
    minimums = {
        domain: Method(method)
        for domain, method in organisation.domain_minimums.order_by("domain").values_list("domain", "method")
    }
    listed = organisation.direct_delivery_domains.order_by("domain").values_list(
        "domain", flat=True
    )  # may be very many
    return cautions(
        policy_of(organisation),
        minimums=minimums,
        listed=[*listed[:1]]
        if DomainMinimum.EVERY_OTHER in minimums
        else [*listed.filter(domain__in=minimums).distinct()],
        every_other=DomainMinimum.EVERY_OTHER,
    )
