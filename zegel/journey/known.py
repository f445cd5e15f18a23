"""All that is known of one recipient, for who asks for it (GDPR art. 15). No content; no number and no code whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.db.models import QuerySet

from zegel.accounts.models import Account, Organisation, RememberedDevice
from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.journey.custody.models import PassedMethod, Recipient, VerificationData
from zegel.journey.tracing import trace_json

FORM: Final = "zegel-known/1"


def known_of(organisation: Organisation, mailbox: Mailbox) -> dict[str, Any]:
    """As the organisation has it. The form is documented in ``docs/erasure.md``; equal facts give equal values."""
    return known_with(organisation, mailbox, received(organisation, mailbox))


def known_with(organisation: Organisation, mailbox: Mailbox, some: Iterable[Recipient]) -> dict[str, Any]:
    """As :func:`known_of`, with ``some`` of what it :func:`received`."""
    messages = [trace_json(one.submission, only=one.id) for one in some]
    return {"form": FORM, **_but_messages(organisation, mailbox), "messages": messages}


def overview_of(organisation: Organisation, mailbox: Mailbox) -> dict[str, Any]:
    """As :func:`known_of`, with the number of messages in the place of them: a mailbox may have thousands, and a page
    says no more."""
    return {**_but_messages(organisation, mailbox), "messages": received(organisation, mailbox).count()}


def _but_messages(organisation: Organisation, mailbox: Mailbox) -> dict[str, Any]:
    account = Account.objects.filter(key=mailbox.key, organisation=organisation).first()
    return {
        "address": str(mailbox),
        "organisation": organisation.name,
        "account": _account(account) if account is not None else None,
        "verification": [_verification(one) for one in _values(organisation, mailbox)],
        "passed": [
            {"method": one.method, "at": _moment(one.at)}
            for one in PassedMethod.objects.filter(organisation=organisation, account__key=mailbox.key).order_by("id")
        ],
        "devices": [
            {"browser": one.browser, "since": _moment(one.created_at), "used": _moment(one.used_at)}
            for one in RememberedDevice.objects.filter(organisation=organisation, key=mailbox.key).order_by("id")
        ],
    }


def is_nothing(known: dict[str, Any]) -> bool:
    """Of what :func:`known_of` or :func:`overview_of` gave."""
    return not any(known[name] for name in ("account", "verification", "passed", "devices", "messages"))


def received(organisation: Organisation, mailbox: Mailbox) -> QuerySet[Recipient]:
    """As whom the mailbox got, or is to get, messages of the organisation; in their order."""
    mine = Recipient.objects.filter(key=mailbox.key, conversation__organisation=organisation)
    return mine.select_related("submission__account", "submission__credential", "submission__token").order_by("id")


def _values(organisation: Organisation, mailbox: Mailbox) -> QuerySet[VerificationData]:
    found = VerificationData.objects.filter(organisation=organisation, key=mailbox.key)
    return found.select_related("account").order_by("id")


def _verification(one: VerificationData) -> dict[str, Any]:
    return {
        "method": one.method,
        "masked": one.masked,
        "known_to": str(one.account) if one.account is not None else None,  # None: to the whole organisation
        "from": one.origin,
        "since": _moment(one.created_at),
        "confirmed": _moment(one.confirmed_at),
    }


def _account(one: Account) -> dict[str, Any]:
    return {
        "name": one.display_name,
        "language": one.language,
        "role": one.role,
        "active": one.is_active,
        "since": _moment(one.created_at),
        "signed_in": _moment(one.last_login),
    }


def _moment(at: Instant | None) -> str | None:
    return at.isoformat(timespec="seconds") if at is not None else None
