"""SMTP credentials: made by an administrator, shown once, rotated without a gap, disabled at once."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import connection, transaction
from django.utils import timezone

from zegel.accounts.audit import note
from zegel.accounts.models import Organisation, SignInFailure, SmtpCredential
from zegel.core.clock import Instant
from zegel.core.policy.audit import Act
from zegel.core.policy.submitting import is_from
from zegel.core.secret import Secret
from zegel.edge import rows

_NOBODY: Final = hashlib.sha256(b"no credential has this secret").digest()
_SECRET_OCTETS: Final = 32  # 256 bits
_SMTP: Final = hashlib.sha256(b"zegel/smtp-sign-in").digest()  # whose failures: all of the submission server's
API: Final = hashlib.sha256(b"zegel/api-token").digest()  # and all of the API's
_FAILURE_WINDOW: Final = timedelta(hours=1)
_LAST_USE: Final = timedelta(minutes=1)  # how precise "last used" is; saves a write for each message


@dataclass(frozen=True, slots=True)
class NewCredential:
    """The one moment at which the secret can be shown."""

    credential: SmtpCredential
    secret: Secret[str]


def issue(organisation: Organisation, description: str, *, secret: Secret[str] | None = None) -> NewCredential:
    """A new credential; the secret has 256 bits unless one is given (local mode keeps its own over restarts)."""
    secret = secret or Secret(secrets.token_urlsafe(_SECRET_OCTETS))
    with transaction.atomic():
        credential = SmtpCredential.objects.create(
            organisation=organisation,
            description=description,
            username=f"smtp-{secrets.token_hex(6)}",
            secret_hash=_hash(secret),
        )
        note(Act.CREDENTIAL_ISSUED, organisation, credential.username, {"description": description})
    return NewCredential(credential, secret)


class StillRotating(Exception):
    """Two secrets are valid already; the previous one has to be ended first."""


def rotate(credential: SmtpCredential) -> NewCredential:
    """A second secret beside the one in use: both are valid until :func:`end_previous`. Raises
    :class:`StillRotating` rather than end a secret that may be in use somewhere."""
    secret = Secret(secrets.token_urlsafe(_SECRET_OCTETS))
    with transaction.atomic():
        current = SmtpCredential.objects.select_for_update().get(pk=credential.pk)
        if current.previous_hash is not None:
            raise StillRotating
        current.previous_hash, current.secret_hash = current.secret_hash, _hash(secret)
        current.previous_used_at, current.rotated_at = current.last_used_at, timezone.now()
        current.last_used_at = None
        current.save(update_fields=["previous_hash", "secret_hash", "previous_used_at", "rotated_at", "last_used_at"])
        note(Act.CREDENTIAL_ROTATED, current.organisation, current.username)
    return NewCredential(current, secret)


def end_previous(credential: SmtpCredential) -> None:
    """From the next sign-in on only the current secret is valid. Ends the secret that ``credential`` was read with:
    one that was rotated meanwhile has another, and keeps it."""
    same = SmtpCredential.objects.filter(pk=credential.pk, previous_hash=credential.previous_hash)
    with transaction.atomic():
        if same.exclude(previous_hash=None).update(previous_hash=None, previous_used_at=None):
            note(Act.CREDENTIAL_PREVIOUS_ENDED, credential.organisation, credential.username)
    credential.previous_hash, credential.previous_used_at = None, None


def disable(credential: SmtpCredential) -> None:
    """From the next message on it is refused, also in open sessions (seed: Verwijder Encryption Gateway)."""
    with transaction.atomic():
        credential.disabled_at = timezone.now()
        credential.save(update_fields=["disabled_at"])
        note(Act.CREDENTIAL_DISABLED, credential.organisation, credential.username)


@dataclass(frozen=True, slots=True)
class Known:
    """The credential that a name and a secret belong to, by the ids of its rows."""

    credential: int
    organisation: int
    region: str
    authentication: str  # Organisation.Authentication
    with_previous: bool  # the secret is the one that is being rotated out
    is_to_be_noted: bool  # :func:`note_use` is due


def find(username: str, secret: Secret[str], *, address: str = "") -> Known | str:
    """The enabled credential that this name and secret belong to, if it may be used from ``address``.

    Otherwise a word for the log, never for the client: ``unknown``, ``secret``, ``disabled`` or ``network``. A name
    that nobody has takes as long as one that somebody has (P14): one look-up, two comparisons.
    """
    found = _row(username)
    current, previous = (found.secret_hash, found.previous_hash) if found else (_NOBODY, None)
    given = _hash(secret)
    fits_current = hmac.compare_digest(given, current)
    fits_previous = hmac.compare_digest(given, previous or _NOBODY) and previous is not None
    if found is None:
        return "unknown"
    if not (fits_current or fits_previous):
        return "secret"
    if found.disabled:
        return "disabled"
    if not is_from(address, found.networks):
        return "network"
    used_at = found.last_used_at if fits_current else found.previous_used_at
    is_to_be_noted = used_at is None or used_at < timezone.now() - _LAST_USE
    return Known(found.id, found.organisation, found.region, found.authentication, not fits_current, is_to_be_noted)


def note_use(credential: int, *, with_previous: bool) -> None:
    """Inside a transaction: the credential was used now, with that secret."""
    used = "previous_used_at" if with_previous else "last_used_at"
    SmtpCredential.objects.filter(id=credential).update(**{used: timezone.now()})


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    organisation: int
    region: str
    authentication: str
    secret_hash: bytes
    previous_hash: bytes | None
    disabled: bool
    networks: Sequence[str]
    last_used_at: datetime | None
    previous_used_at: datetime | None


def _row(username: str) -> _Row | None:
    """Every sign-in asks this, so it is asked without the ORM."""
    found = rows.select(
        f"""SELECT c.id, c.organisation_id, o.region, o.authentication, c.secret_hash, c.previous_hash, c.disabled_at,
        c.networks, c.last_used_at, c.previous_used_at
        FROM {rows.table(SmtpCredential)} c JOIN {rows.table(Organisation)} o ON o.id = c.organisation_id
        WHERE c.username = %s""",  # noqa: S608
        (username,),
    )
    if not found:
        return None
    number, organisation, region, authentication, current, previous, disabled_at, networks, *used = found[0]
    return _Row(
        number,
        organisation,
        region,
        authentication,
        secret_hash=bytes(current),
        previous_hash=None if previous is None else bytes(previous),
        disabled=disabled_at is not None,
        networks=rows.loaded(networks),
        last_used_at=rows.instant(used[0]),
        previous_used_at=rows.instant(used[1]),
    )


def count_failure(network: bytes, *, now: Instant, whose: bytes = _SMTP) -> int:
    """Inside a transaction: one more failed sign-in from a network (a keyed hash of it, so that the table tells nobody
    who tried). Returns how many there were before it, the last of them within the hour (P15)."""
    failures = rows.table(SignInFailure)
    values = (whose, network, 1, rows.moment(now), rows.moment(now - _FAILURE_WINDOW))
    with connection.cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO {failures} (whose, place, failures, last_at) VALUES (%s, %s, %s, %s)
            ON CONFLICT (whose, place) DO UPDATE SET last_at = excluded.last_at,
            failures = CASE WHEN {failures}.last_at < %s THEN 1 ELSE {failures}.failures + 1 END
            RETURNING failures""",  # noqa: S608
            values,
        )
        return int(cursor.fetchone()[0]) - 1


def forget_failures(now: Instant) -> int:
    """Deletes counts that no longer count; returns how many."""
    return SignInFailure.objects.filter(whose__in=(_SMTP, API), last_at__lt=now - _FAILURE_WINDOW).delete()[0]


def _hash(secret: Secret[str]) -> bytes:
    return hashlib.sha256(secret.reveal().encode("utf-8", "surrogatepass")).digest()
