"""The webhooks of an organisation: added, changed, given another secret, removed. What they are told is found and sent
elsewhere (:mod:`zegel.journey.webhooks`)."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from django.db import transaction

from zegel.accounts.audit import note
from zegel.accounts.models import Organisation, Webhook
from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.policy.audit import Act, Details
from zegel.core.policy.webhooks import CHOICE, SECRET_OCTETS, Event, knocks_elsewhere, written
from zegel.core.policy.wording import Wording
from zegel.core.seal.wrap import SealingKey, wrap
from zegel.core.secret import Secret
from zegel.edge import chance, fetch

MOST: Final = 10  # of an organisation
MOST_ADDRESSES: Final = 10  # that hear of alarms
EXAMPLE: Final = "https://programs.example.org/zegel"


class Unfit(Wording):
    """Why a webhook is not as it should be."""

    URL = (
        "url",
        "This is not an https:// address of a web server, without user name, password and #.",
        "Dit is geen https://-adres van een webserver, zonder gebruikersnaam, wachtwoord en #.",
    )
    PORT = (
        "port",
        "The port is to be 443, or 1024 or higher.",
        "De poort moet 443 zijn, of 1024 of hoger.",
    )
    NO_EVENT = (
        "no-event",
        "Choose at least one event.",
        "Kies ten minste één gebeurtenis.",
    )
    TOO_MANY = (
        "too-many",
        "The organisation has ten webhooks already. Remove one first.",
        "De organisatie heeft al tien webhooks. Verwijder er eerst een.",
    )


class NotAWebhook(ValueError):
    """What was filled in, and why it can't be; ``field`` is empty where it is about all of it."""

    def __init__(self, field: str, why: Unfit) -> None:
        super().__init__(why.en)
        self.field, self.why = field, why


class StillRenewing(Exception):
    """Two secrets are valid already; the previous one has to be ended first."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an administrator fills in."""

    description: str
    url: str
    events: frozenset[Event]

    def must_fit(self) -> None:
        """Raises :class:`NotAWebhook`."""
        if fetch.refusal(self.url) is not None:
            raise NotAWebhook("url", Unfit.URL)
        if knocks_elsewhere(self.url):
            raise NotAWebhook("url", Unfit.PORT)
        if not self.events & set(CHOICE):
            raise NotAWebhook("events", Unfit.NO_EVENT)


@dataclass(frozen=True, slots=True)
class NewSecret:
    """The one moment at which the secret can be shown."""

    webhook: Webhook
    secret: Secret[str]


def context_of(identity: uuid.UUID) -> str:
    """What a wrapped secret is bound to, as :func:`zegel.journey.custody.seal.field_context` has it."""
    return f"webhook/{identity.hex}"


def add(organisation: Organisation, wanted: Wanted, *, sealing: SealingKey, now: Instant) -> NewSecret:
    """A new one, with a secret of 256 bits. Raises :class:`NotAWebhook`."""
    wanted.must_fit()
    identity = chance.identifier()
    secret, sealed = _secret(identity, sealing)
    with transaction.atomic():
        Organisation.objects.select_for_update().get(pk=organisation.pk)
        if organisation.webhooks.count() >= MOST:
            raise NotAWebhook("", Unfit.TOO_MANY)
        one = Webhook(id=identity, organisation=organisation, secret=sealed, created_at=now)
        _fill(one, wanted)
        one.save(force_insert=True)
        note(Act.WEBHOOK_ADDED, organisation, one.description, _details(one), now=now)
    return NewSecret(one, secret)


def change(one: Webhook, wanted: Wanted, *, is_enabled: bool, now: Instant) -> None:
    """Inside a transaction. What waits goes to the address that is in force then. Raises :class:`NotAWebhook`."""
    wanted.must_fit()
    before = _details(one)
    _fill(one, wanted)
    if is_enabled:
        one.disabled_at, one.is_gone = None, False
    elif one.disabled_at is None:
        one.disabled_at = now
    one.save(update_fields=["description", "url", "events", "disabled_at", "is_gone"])
    if before != _details(one):
        note(Act.WEBHOOK_CHANGED, one.organisation, one.description, _details(one), now=now)


def renew(one: Webhook, *, sealing: SealingKey, now: Instant) -> NewSecret:
    """A second secret beside the one in use: requests are signed with both until :func:`end_previous`. Raises
    :class:`StillRenewing`."""
    secret, sealed = _secret(one.pk, sealing)
    with transaction.atomic():
        held = Webhook.objects.select_for_update().get(pk=one.pk)
        if held.previous_secret is not None:
            raise StillRenewing
        held.previous_secret, held.secret, held.renewed_at = held.secret, sealed, now
        held.save(update_fields=["previous_secret", "secret", "renewed_at"])
        note(Act.WEBHOOK_CHANGED, held.organisation, held.description, {"what": "secret-renewed"}, now=now)
    return NewSecret(held, secret)


def end_previous(one: Webhook, *, now: Instant) -> None:
    """Inside a transaction: requests are signed with the current secret alone."""
    if one.previous_secret is None:
        return
    one.previous_secret = None
    one.save(update_fields=["previous_secret"])
    note(Act.WEBHOOK_CHANGED, one.organisation, one.description, {"what": "previous-secret-ended"}, now=now)


def end_gone(one: Webhook, *, now: Instant) -> None:
    """Inside a transaction: its server wants nothing any more, so it is told nothing any more."""
    one.disabled_at, one.is_gone = now, True
    one.save(update_fields=["disabled_at", "is_gone"])
    note(Act.WEBHOOK_CHANGED, one.organisation, one.description, {"what": "gone"}, now=now)


def remove(one: Webhook, *, now: Instant) -> None:
    """It is told nothing any more, nor of what waited."""
    with transaction.atomic():
        note(Act.WEBHOOK_REMOVED, one.organisation, one.description, {"url": one.url}, now=now)
        one.delete()


def set_alarm_addresses(organisation: Organisation, addresses: Collection[Mailbox] | None, *, now: Instant) -> None:
    """Inside a transaction: who is mailed about alarms; ``None``: its administrators."""
    before = organisation.alarm_addresses
    organisation.alarm_addresses = None if addresses is None else list(dict.fromkeys(str(one) for one in addresses))
    organisation.save(update_fields=["alarm_addresses"])
    if organisation.alarm_addresses != before:
        told: Details = {"addresses": organisation.alarm_addresses, "addresses.before": before}
        note(Act.ALARMS_CHANGED, organisation, details=told, now=now)


def _secret(identity: uuid.UUID, sealing: SealingKey) -> tuple[Secret[str], bytes]:
    octets = Secret(secrets.token_bytes(SECRET_OCTETS))
    return written(octets), wrap(octets, to=sealing, context=context_of(identity))


def _fill(one: Webhook, wanted: Wanted) -> None:
    one.description, one.url = wanted.description[:200], wanted.url
    one.events = [event.value for event in CHOICE if event in wanted.events]


def _details(one: Webhook) -> Details:
    return {
        "description": one.description,
        "url": one.url,
        "events": list(one.events),
        "is_enabled": one.disabled_at is None,
    }
