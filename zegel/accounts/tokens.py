"""Tokens of the API: made by an administrator, or by an account holder to read their own messages; shown once, valid
for what and until when they say, disabled at once."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Final

from django.db import transaction
from django.db.models import QuerySet

from zegel.accounts import credentials
from zegel.accounts.audit import note
from zegel.accounts.models import Account, ApiToken, Organisation
from zegel.accounts.sign_in import with_second_factor
from zegel.core.clock import Duration, Instant
from zegel.core.policy.audit import Act, Details
from zegel.core.policy.submitting import is_guessing
from zegel.core.secret import Secret

LONGEST_LIFE: Final[Duration] = timedelta(days=366)
_MARK: Final = "zegel"  # by which people and programs that look for leaked secrets know one
_SECRET_OCTETS: Final = 32  # 256 bits
_NOBODY: Final = hashlib.sha256(b"no token has this secret").digest()
_LAST_USE: Final = timedelta(minutes=1)  # how precise "last used" is; saves a write for each request


class Scope(Enum):
    """What a token may be used for, as stored."""

    CREDENTIALS_READ = "credentials:read"
    CREDENTIALS_WRITE = "credentials:write"
    DOMAINS_READ = "domains:read"
    DOMAINS_WRITE = "domains:write"
    ACCOUNTS_READ = "accounts:read"
    ACCOUNTS_WRITE = "accounts:write"
    POLICIES_READ = "policies:read"
    POLICIES_WRITE = "policies:write"
    VERIFICATION_READ = "verification:read"
    VERIFICATION_WRITE = "verification:write"
    TRACE_READ = "trace:read"
    EXPLAIN = "explain"
    MESSAGES_SEND = "messages:send"
    MESSAGES_READ = "messages:read"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    ALARMS_READ = "alarms:read"
    ALARMS_WRITE = "alarms:write"
    PRIVACY_EXPORT = "privacy:export"
    PRIVACY_ERASE = "privacy:erase"
    SCIM = "scim"


OF_ACCOUNTS: Final = frozenset({Scope.MESSAGES_READ})  # nobody but an account holder reads content
OF_ORGANISATIONS: Final = frozenset(Scope) - OF_ACCOUNTS


@dataclass(frozen=True, slots=True)
class NewToken:
    """The one moment at which the whole token can be shown."""

    token: ApiToken
    secret: Secret[str]


def issue(
    owner: Organisation | Account,
    description: str,
    *,
    scopes: Collection[Scope],
    life: Duration,
    now: Instant,
    by: Account | None = None,
) -> NewToken:
    """A new token with 256 bits of chance. ``by``: who makes it for the organisation; it goes on when they leave, so
    their page tells of it (:func:`made_by`). Raises ``ValueError`` for no scope, one that its owner can't give away, no
    life or too long a one."""
    account = owner if isinstance(owner, Account) else None
    if not scopes or not timedelta(0) < life <= LONGEST_LIFE:
        raise ValueError("a token has a scope, and lives no longer than a year")
    if not set(scopes) <= (OF_ORGANISATIONS if account is None else OF_ACCOUNTS):
        raise ValueError("an account's token reads its messages, and no other token does")
    name, secret = secrets.token_hex(6), secrets.token_urlsafe(_SECRET_OCTETS)
    with transaction.atomic():
        token = ApiToken.objects.create(
            organisation=owner.organisation if isinstance(owner, Account) else owner,
            account=account,
            made_by=by,
            description=description,
            name=name,
            secret_hash=_hash(secret),
            scopes=sorted(scope.value for scope in scopes),
            created_at=now,
            expires_at=now + life,
        )
        until = token.expires_at.isoformat(timespec="minutes")
        _note(Act.TOKEN_ISSUED, token, {"description": description, "scopes": token.scopes, "until": until})
    return NewToken(token, Secret(f"{_MARK}_{name}_{secret}"))


def find(shown: Secret[str], *, now: Instant) -> ApiToken | str:
    """The token that was shown, if it is in force.

    Otherwise a word for the log, never for the client: ``unknown``, ``secret``, ``disabled``, ``expired`` or
    ``account``: its account may not sign in. A name that no token has takes as long as one that some has (P14): one
    look-up, one comparison.
    """
    mark, name, secret, *_ = *shown.reveal().split("_", 2), "", ""
    sought = name[:64] if mark == _MARK and name.isalnum() else ""
    found = ApiToken.objects.select_related("organisation", "account").filter(name=sought).first()
    fits = hmac.compare_digest(_hash(secret), bytes(found.secret_hash) if found else _NOBODY)
    if found is None:
        return "unknown"
    if not fits:
        return "secret"
    if found.disabled_at is not None:
        return "disabled"
    if found.account is not None and not _may_sign_in(found.account):
        return "account"
    return found if found.created_at <= now < found.expires_at else "expired"


def _may_sign_in(account: Account) -> bool:
    """As the portal asks it: active, with a second factor (D-9). One that was reset, or suspended, reads nothing."""
    return account.is_active and account.pk in with_second_factor({account.pk})


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
        with transaction.atomic():
            token.disabled_at = now
            token.save(update_fields=["disabled_at"])
            _note(Act.TOKEN_DISABLED, token, {})


def made_by(account: Account, *, now: Instant) -> QuerySet[ApiToken]:
    """Tokens of its organisation that somebody made with this account and that are in force, the newest first."""
    mine = ApiToken.objects.filter(made_by=account, organisation=account.organisation_id, account=None)
    return mine.filter(disabled_at=None, expires_at__gt=now).order_by("-created_at", "-pk")


def end_made_by(account: Account, *, now: Instant) -> int:
    """All of :func:`made_by` are refused from the next request on. Returns how many there were."""
    with transaction.atomic():
        found = list(made_by(account, now=now).select_for_update(of=("self",)))
        for one in found:
            disable(one, now=now)
    return len(found)


def end_all(account: Account, *, now: Instant) -> int:
    """Inside a transaction: those that somebody made to read this account's messages are refused from now on. Returns
    how many there were."""
    found = list(ApiToken.objects.filter(account=account, disabled_at=None))
    for one in found:
        disable(one, now=now)
    return len(found)


def _note(act: Act, token: ApiToken, details: Details) -> None:
    """In the log of its organisation; a guest's token is in none."""
    if token.organisation is not None:
        whose: Details = {} if token.account is None else {"account": token.account.email}
        note(act, token.organisation, token.name, {**details, **whose})


def counts_as_guessing(network: bytes, *, now: Instant) -> bool:
    """Inside a transaction: one more token that is none, from a network (a keyed hash of it). ``True`` after five
    within an hour (P15); a token in force is never refused for others' failures, since it can't be guessed."""
    return is_guessing(credentials.count_failure(network, now=now, whose=credentials.API))


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
