"""Who submits: the credential, and the author it may submit for (seed: Vereisten)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.utils import timezone

from zegel.accounts import credentials
from zegel.accounts.models import Account, Organisation, SendingDomain, SmtpCredential
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


@dataclass(frozen=True, slots=True)
class Sender:
    """An author for whom the client may submit."""

    account: Account
    organisation: Organisation
    credential: SmtpCredential


def authenticate(username: str, secret: Secret[str]) -> Submitter | None:
    """Reads the database; the client that these credentials belong to."""
    credential = credentials.find(username, secret)
    if credential is None:
        return None
    if credential.last_used_at is None or credential.last_used_at < timezone.now() - _LAST_USE:
        SmtpCredential.objects.filter(id=credential.id).update(last_used_at=timezone.now())
    return Submitter(credential.id, credential.organisation_id, credential.organisation.region)


def authorise(submitter: Submitter, author: Mailbox) -> Sender | Reply:
    """Reads the database: may this client submit for this author, now? A credential disabled meanwhile may not."""
    credential = SmtpCredential.objects.select_related("organisation").filter(id=submitter.credential).first()
    if credential is None or credential.disabled_at is not None:
        return DISABLED
    domain = SendingDomain.objects.filter(name=author.domain.ascii, organisation_id=submitter.organisation).first()
    if domain is None or not domain.in_place:
        return NO_DOMAIN
    account = Account.objects.filter(key=author.key, organisation_id=submitter.organisation, is_active=True).first()
    if account is None:
        return NO_ACCOUNT
    return Sender(account, credential.organisation, credential)
