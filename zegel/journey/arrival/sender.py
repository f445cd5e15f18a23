"""Who submits: the credential, and the author it may submit for (seed: Vereisten)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from django.utils import timezone

from zegel.accounts import credentials
from zegel.accounts.models import Account, SendingDomain, SmtpCredential
from zegel.core.clock import Duration
from zegel.core.mail.address import Mailbox
from zegel.core.mail.reply import Reply
from zegel.core.secret import Secret

AUTHENTICATED: Final = Reply(235, "2.7.0", "Authentication succeeded")
BAD_CREDENTIALS: Final = Reply(535, "5.7.8", "These credentials are not known or were disabled")
DISABLED: Final = Reply(535, "5.7.8", "These credentials were disabled; ask your administrator for new ones")
NO_ACCOUNT: Final = Reply(
    550, "5.7.1", "The From address has no active account here; ask your Zegel administrator to add one"
)
NO_DOMAIN: Final = Reply(
    550, "5.7.1", "The From domain is not a verified sending domain of your organisation; ask your Zegel administrator"
)
_LAST_USE: Final = timedelta(minutes=1)  # how precise "last used" is; saves a write for each message


@dataclass(frozen=True, slots=True)
class Submitter:
    """An authenticated client."""

    credential: int
    organisation: int
    region: str
    is_to_be_noted: bool = field(default=False, compare=False)  # :func:`note_use` is due


@dataclass(frozen=True, slots=True)
class Sender:
    """An author for whom the client may submit, by the ids of its rows."""

    account: int
    organisation: int
    lives: Duration | None  # how long conversations of the organisation live, if it says so


def authenticate(username: str, secret: Secret[str]) -> Submitter | None:
    """The client that these credentials belong to. Reads the database: who signs in waits for no lock and no disk."""
    credential = credentials.find(username, secret)
    if credential is None:
        return None
    is_to_be_noted = credential.last_used_at is None or credential.last_used_at < timezone.now() - _LAST_USE
    return Submitter(credential.id, credential.organisation_id, credential.organisation.region, is_to_be_noted)


def note_use(submitter: Submitter) -> None:
    """Inside a transaction: the credential was used now."""
    SmtpCredential.objects.filter(id=submitter.credential).update(last_used_at=timezone.now())


def authorise(wanted: Collection[tuple[Submitter, Mailbox]]) -> dict[tuple[Submitter, Mailbox], Sender | Reply]:
    """Reads the database: may these clients submit for these authors, now? A verdict for each pair.

    Credentials that were disabled meanwhile, an account that is not active, a domain that is not in place: refused.
    """
    enabled = dict(
        SmtpCredential.objects.filter(
            id__in={submitter.credential for submitter, _ in wanted}, disabled_at=None
        ).values_list("id", "organisation__expires_after_days")
    )
    domains = set(
        SendingDomain.objects.filter(name__in={author.domain.ascii for _, author in wanted}, in_place=True).values_list(
            "organisation", "name"
        )
    )
    accounts = {
        (organisation, key): account
        for account, organisation, key in Account.objects.filter(
            key__in={author.key for _, author in wanted}, is_active=True
        ).values_list("id", "organisation", "key")
    }

    def judge(submitter: Submitter, author: Mailbox) -> Sender | Reply:
        if submitter.credential not in enabled:
            return DISABLED
        if (submitter.organisation, author.domain.ascii) not in domains:
            return NO_DOMAIN
        account = accounts.get((submitter.organisation, author.key))
        if account is None:
            return NO_ACCOUNT
        days = enabled[submitter.credential]
        return Sender(account, submitter.organisation, timedelta(days=days) if days else None)

    return {(submitter, author): judge(submitter, author) for submitter, author in wanted}
