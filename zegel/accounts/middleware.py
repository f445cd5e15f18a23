"""Nobody goes on without a second factor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from allauth.account.internal.flows.login import get_authentication_records
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import resolve

from zegel.accounts import throttle
from zegel.accounts.models import Account
from zegel.accounts.sign_in import PROVIDER, has_second_factor

ENROLLED: Final = "enrolled"
_OPEN: Final = frozenset(
    {
        "account_logout",
        "account_reauthenticate",
        "look_logo",
        "look_sheet",
        "mfa_activate_totp",
        "mfa_add_webauthn",
        "mfa_reauthenticate",
        "mfa_reauthenticate_webauthn",
        "set_language",
    }
)


class SecondFactorRequired:
    """An account without a second factor sets one up before anything else; a session that skipped it ends."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if isinstance(request.user, Account) and (elsewhere := _where_to(request, request.user)):
            return redirect(elsewhere)
        response = self._get_response(request)
        if isinstance(request.user, Account) and _passed(request, request.user):
            throttle.remember_browser(request, response, request.user.key)
        return response


def _where_to(request: HttpRequest, account: Account) -> str | None:
    """Another page than the one that was asked for, if this account or session isn't ready for any other."""
    if not has_second_factor(account) and not _is_by_provider(request, account):
        request.must_enrol = True  # type: ignore[attr-defined]  # the pages show no way that is closed
        return None if resolve(request.path_info).url_name in _OPEN else "mfa_activate_totp"
    if not _passed(request, account):
        # The password was given before the second factor was set up elsewhere: that isn't enough any more.
        logout(request)
        return "account_login"
    return None


def _is_by_provider(request: HttpRequest, account: Account) -> bool:
    """Their organisation's provider showed both factors, and is believed."""
    return any(record.get("type") == PROVIDER for record in get_authentication_records(request, account))


def _passed(request: HttpRequest, account: Account) -> bool:
    records = get_authentication_records(request, account)
    return ENROLLED in request.session or any(record.get("method") == "mfa" for record in records)
