"""SMTP credentials: made by an administrator, shown once, disabled at once."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final

from django.utils import timezone

from zegel.accounts.models import Organisation, SmtpCredential
from zegel.core.secret import Secret

_NOBODY: Final = hashlib.sha256(b"no credential has this secret").digest()


@dataclass(frozen=True, slots=True)
class NewCredential:
    """The one moment at which the secret can be shown."""

    credential: SmtpCredential
    secret: Secret[str]


def issue(organisation: Organisation, description: str, *, secret: Secret[str] | None = None) -> NewCredential:
    """A new credential; the secret has 256 bits unless one is given (local mode keeps its own over restarts)."""
    secret = secret or Secret(secrets.token_urlsafe(32))
    credential = SmtpCredential.objects.create(
        organisation=organisation,
        description=description,
        username=f"smtp-{secrets.token_hex(6)}",
        secret_hash=_hash(secret),
    )
    return NewCredential(credential, secret)


def disable(credential: SmtpCredential) -> None:
    """From the next command on it is refused, also in open sessions (seed: Verwijder Encryption Gateway)."""
    credential.disabled_at = timezone.now()
    credential.save(update_fields=["disabled_at"])


def find(username: str, secret: Secret[str]) -> SmtpCredential | None:
    """The enabled credential that this name and secret belong to. A name that nobody has takes as long (P14)."""
    credential = SmtpCredential.objects.select_related("organisation").filter(username=username).first()
    known = bytes(credential.secret_hash) if credential else _NOBODY
    fits = hmac.compare_digest(_hash(secret), known)
    return credential if credential and fits and credential.disabled_at is None else None


def _hash(secret: Secret[str]) -> bytes:
    return hashlib.sha256(secret.reveal().encode()).digest()
