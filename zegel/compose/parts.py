"""Parts that several roles, or commands as well, are made of."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING

from zegel.compose.clock import now
from zegel.core.sms import PROVIDERS
from zegel.edge.sms import FolderSms, NoSms, ProviderSms, SmsDriver
from zegel.edge.wake import ring
from zegel.settings import Settings

if TYPE_CHECKING:
    from zegel.accounts.models import Organisation
    from zegel.core.secret import Secret
    from zegel.edge.dns import DnsResolver
    from zegel.journey.custody.memory import OpensFields
    from zegel.journey.explain import Surroundings


def resolver(settings: Settings) -> DnsResolver:
    """Who is asked for names. It belongs to one event loop."""
    from zegel.edge.dns import DnsResolver

    return DnsResolver(settings.resolver(), trusted=is_trusted(settings))


def is_trusted(settings: Settings) -> bool:
    """standards B: the AD bit counts from a validator on loopback, or from one that the settings name."""
    server = settings.resolver()
    return server is not None and (settings.delivery.resolver is not None or ip_address(server[0]).is_loopback)


def sms_driver(settings: Settings) -> SmsDriver:
    """The driver that the settings name."""
    if settings.sms.driver == "folder" and settings.sms.folder is not None:
        return FolderSms(settings.sms.folder)
    return ProviderSms.of(settings) if settings.sms.driver in PROVIDERS else NoSms()


def release_held(settings: Settings) -> Callable[[Organisation], None]:
    """Inside a transaction: an organisation delivers more readable than before; whoever is held is decided again."""
    from django.db import transaction

    from zegel.journey import milestones
    from zegel.journey.custody.held import held_of

    def release(organisation: Organisation) -> None:
        milestones.supplied(held_of(organisation), now=now())
        transaction.on_commit(lambda: ring(settings.run))

    return release


def dry_run(settings: Settings, open_field: OpensFields, marker: Secret[bytes]) -> Surroundings:
    """What ``explain`` works with. Each run asks the DNS anew: resolvers belong to one event loop."""
    from zegel.edge.nta import NtaLookup
    from zegel.journey.explain import Surroundings

    def nta() -> NtaLookup:
        return NtaLookup(resolver(settings), settings.hostname, now)

    return Surroundings(open_field, marker, nta, now)
