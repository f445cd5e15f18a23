"""What is noted when a second factor was set up."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added
from django.dispatch import receiver
from django.http import HttpRequest

from zegel.accounts.middleware import ENROLLED
from zegel.accounts.sign_in import SECOND_FACTORS, note_taken


@receiver(authenticator_added, dispatch_uid="zegel.accounts")
def _second_factor_added(request: HttpRequest, authenticator: Authenticator, **_: Any) -> None:
    """Who has just shown the new factor need not show it again in this session; its first code is spent."""
    if authenticator.type in SECOND_FACTORS:
        request.session[ENROLLED] = True
    if authenticator.type == Authenticator.Type.TOTP:
        note_taken(authenticator, request.activated_with)  # type: ignore[attr-defined]
