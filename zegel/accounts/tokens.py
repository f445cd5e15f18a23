"""Tokens of the API: made by an administrator, shown once, valid for what and until when they say, disabled at once."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Final

from zegel.accounts import credentials
from zegel.accounts.models import ApiToken, Organisation
from zegel.core.clock import Duration, Instant
from zegel.core.policy.submitting import is_guessing
from zegel.core.secret import Secret

LONGEST_LIFE: Final[Duration] = timedelta(days=366)
_MARK: Final = "zegel"  # by which people and programs that look for leaked secrets know one
_SECRET_OCTETS: Final = 32  # 256 bits
_NOBODY: Final = hashlib.sha256(b"no token has this secret").digest()
_LAST_USE: Final = timedelta(minutes=1)  # how precise "last used" is; saves a write for each request


class Scope(Enum):
    """What a token may be used for, as stored."""

    EXPLAIN = "explain"


@dataclass(frozen=True, slots=True)
class NewToken:
    """The one moment at which the whole token can be shown."""

    token: ApiToken
    secret: Secret[str]


def issue(
    organisation: Organisation, description: str, *, scopes: Collection[Scope], life: Duration, now: Instant
) -> NewToken:
    """A new token with 256 bits of chance. Raises ``ValueError`` for no scope, no life or too long a one."""
    if not scopes or not timedelta(0) < life <= LONGEST_LIFE:
        raise ValueError("a token has a scope, and lives no longer than a year")
    name, secret = secrets.token_hex(6), secrets.token_urlsafe(_SECRET_OCTETS)
    token = ApiToken.objects.create(
        organisation=organisation,
        description=description,
        name=name,
        secret_hash=_hash(secret),
        scopes=sorted(scope.value for scope in scopes),
        created_at=now,
        expires_at=now + life,
    )
    return NewToken(token, Secret(f"{_MARK}_{name}_{secret}"))


def find(shown: Secret[str], *, now: Instant) -> ApiToken | str:
    """The token that was shown, if it is in force.

    Otherwise a word for the log, never for the client: ``unknown``, ``secret``, ``disabled`` or ``expired``. A name
    that no token has takes as long as one that some has (P14): one look-up, one comparison.
    """
    mark, name, secret, *_ = *shown.reveal().split("_", 2), "", ""
    sought = name[:64] if mark == _MARK and name.isalnum() else ""
    found = ApiToken.objects.select_related("organisation").filter(name=sought).first()
    fits = hmac.compare_digest(_hash(secret), bytes(found.secret_hash) if found else _NOBODY)
    if found is None:
        return "unknown"
    if not fits:
        return "secret"
    if found.disabled_at is not None:
        return "disabled"
    return found if found.created_at <= now < found.expires_at else "expired"


def note_use(token: ApiToken, *, now: Instant) -> None:
    """It was used now, to the minute."""
    if token.last_used_at is None or token.last_used_at < now - _LAST_USE:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)


def may(token: ApiToken, scope: Scope) -> bool:
    """It may be used for that."""
    return scope.value in token.scopes


def disable(token: ApiToken, *, now: Instant) -> None:
    """From the next request on it is refused. One that was disabled stays so since then."""
    if token.disabled_at is None:
        token.disabled_at = now
        token.save(update_fields=["disabled_at"])


def counts_as_guessing(network: bytes, *, now: Instant) -> bool:
    """Inside a transaction: one more token that is none, from a network (a keyed hash of it). ``True`` after five
    within an hour (P15); a token in force is never refused for others' failures, since it can't be guessed."""
    return is_guessing(credentials.count_failure(network, now=now, whose=credentials.API))


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
