"""Second factors: who has one, making one, and codes that work once.

An authenticator's secret lies in the database under a key that is derived from the opening key.
"""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Collection
from typing import Final

from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from allauth.socialaccount.models import SocialAccount
from django.db import transaction

from zegel.accounts.models import Account, IdentityProvider
from zegel.core.policy.roles import Role
from zegel.core.secret import Secret
from zegel.edge import chance

PERIOD: Final = 30  # seconds, RFC 6238 §4.1
PROVIDER: Final = "provider"  # the kind of second factor that a provider showed, as a session has it
SHOWED: Final = "second_factor"  # what is kept of an account that a provider means: it showed one that was believed
TOLERANCE: Final = 1  # a telephone's clock may be one period off, RFC 6238 §5.2
SECOND_FACTORS: Final = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
_LAST: Final = "last"  # the period of the last code that was taken


def has_second_factor(account: Account) -> bool:
    """Signing in takes more than the password. Recovery codes alone don't count."""
    return account.id in with_second_factor({account.id})


def with_second_factor(accounts: Collection[int]) -> set[int]:
    """Those of ``accounts`` (ids) for whom :func:`has_second_factor` holds."""
    found = Authenticator.objects.filter(user__in=accounts, type__in=SECOND_FACTORS)
    return set(found.values_list("user", flat=True))


def secured(accounts: Collection[int]) -> set[int]:
    """Those of ``accounts`` (ids) that nobody uses without two factors: their own; or those of the provider that they
    must sign in by, where these are believed and were shown before: without them it lets nobody in any more. Owners are
    let in with a password too, and set up their own."""
    own = with_second_factor(accounts)
    bound = SocialAccount.objects.filter(user__in=set(accounts) - own, **{f"extra_data__{SHOWED}": True})
    bound = bound.exclude(user__role=Role.OWNER.value)
    found = list(bound.values_list("user", "user__key", "provider", "user__organisation"))
    if not found:
        return own
    believed = IdentityProvider.objects.filter(is_required=True).exclude(factor_contexts=[])
    trusted = {
        (str(number), whose, domain)
        for number, whose, domains in believed.values_list("pk", "organisation", "domains")
        for domain in domains
    }
    return own | {user for user, key, provider, whose in found if (provider, whose, key.rpartition("@")[2]) in trusted}


def enrol_totp(account: Account, secret: Secret[str] | None = None) -> Secret[str]:
    """Gives the account an active authenticator app, in the place of one it has; returns the secret in base32.

    Without ``secret`` a new one of 160 bits is made (RFC 4226 §4). Recovery codes are made when there are none.
    """
    secret = secret or Secret(base64.b32encode(chance.octets(20)).decode())
    with transaction.atomic():
        Authenticator.objects.filter(user=account, type=Authenticator.Type.TOTP).delete()
        Authenticator.objects.create(
            user=account,
            type=Authenticator.Type.TOTP,
            data={"secret": get_adapter().encrypt(secret.reveal())},
        )
        RecoveryCodes.activate(account)
    return secret


def current_totp(secret: Secret[str]) -> str:
    """The code that an authenticator app shows now (RFC 6238 §4)."""
    return _code(secret.reveal(), _period())


def period_of(secret: str, code: str) -> int | None:
    """The period in which this is the right code, if it lies near enough to now."""
    digits = "".join(code.split())
    fitting = None
    for period in range(_period() - TOLERANCE, _period() + TOLERANCE + 1):
        if hmac.compare_digest(_code(secret, period).encode(), digits.encode()):
            fitting = period
    return fitting


def take_totp(account: Account, code: str) -> Authenticator | None:
    """The authenticator, if the code is right and neither it nor a later one was taken before (RFC 6238 §5.2)."""
    with transaction.atomic():
        apps = Authenticator.objects.select_for_update().filter(user=account, type=Authenticator.Type.TOTP)
        app = apps.first()
        if app is None:
            return None
        period = period_of(get_adapter().decrypt(app.data["secret"]), code)
        if period is None or period <= app.data.get(_LAST, 0):
            return None
        note_taken(app, period)
        return app


def note_taken(app: Authenticator, period: int) -> None:
    """No code of this period or an earlier one is taken again."""
    app.data[_LAST] = period
    app.save(update_fields=["data"])


def take_recovery_code(account: Account, code: str) -> Authenticator | None:
    """The authenticator, if the code is one of the account's that was not used."""
    codes = Authenticator.objects.filter(user=account, type=Authenticator.Type.RECOVERY_CODES).first()
    return codes if codes is not None and RecoveryCodes(codes).validate_code(code) else None


def _period() -> int:
    return int(time.time()) // PERIOD


def _code(secret: str, period: int) -> str:
    return str(format_hotp_value(hotp_value(secret, period)))
