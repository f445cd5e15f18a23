"""What is noted when somebody signed in, and when a second factor was set up or taken away."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added, authenticator_removed, authenticator_reset
from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver
from django.http import HttpRequest

from zegel.accounts.audit import note_of_account
from zegel.accounts.middleware import ENROLLED
from zegel.accounts.models import Account
from zegel.accounts.sign_in import SECOND_FACTORS, note_taken
from zegel.core.policy.audit import Act


@receiver(authenticator_added, dispatch_uid="zegel.accounts")
def _second_factor_added(request: HttpRequest, authenticator: Authenticator, **_: Any) -> None:
    """Who has just shown the new factor need not show it again in this session; its first code is spent."""
    if authenticator.type in SECOND_FACTORS:
        request.session[ENROLLED] = True
    if authenticator.type == Authenticator.Type.TOTP:
        note_taken(authenticator, request.activated_with)  # type: ignore[attr-defined]


@receiver(user_logged_in, dispatch_uid="zegel.accounts.signed-in")
def _signed_in(user: Account, **_: Any) -> None:
    """Through all steps; where it can't be noted, nobody signs in."""
    note_of_account(Act.SIGNED_IN, user)


@receiver([authenticator_added, authenticator_reset], dispatch_uid="zegel.accounts.factor-added")
def _factor_added(user: Account, authenticator: Authenticator, **_: Any) -> None:
    note_of_account(Act.FACTOR_ADDED, user, {"kind": str(authenticator.type)})


@receiver(authenticator_removed, dispatch_uid="zegel.accounts.factor-removed")
def _factor_removed(user: Account, authenticator: Authenticator, **_: Any) -> None:
    note_of_account(Act.FACTOR_REMOVED, user, {"kind": str(authenticator.type)})
