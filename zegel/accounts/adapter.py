"""Where sign-in (django-allauth) differs here: throttling in the database, sealed secrets, no public sign-up."""

from __future__ import annotations

import base64
import hmac
import time
from typing import Any, ClassVar, Final

from allauth.account import app_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import clear_authentication_records, get_authentication_records
from allauth.account.internal.stagekit import clear_login
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.contrib import messages
from django.contrib.auth import authenticate
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from zegel.accounts import identity, providers, throttle
from zegel.accounts.audit import note_of_account
from zegel.accounts.backend import key_of
from zegel.accounts.models import Account
from zegel.accounts.sign_in import SECOND_FACTORS
from zegel.core.policy.audit import Act
from zegel.core.seal.slot import disclose, enclose
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.edge.log import SignInRefused, log
from zegel.web.keys import web_key

_BEGUN: Final = "sign-in-begun"  # in the session: which password the account had when its sign-in began
PASSWORD = "password"  # noqa: S105 a kind of secret, not one
_MFA_CONTEXT = "mfa"
_STEP: Final = "allauth.mfa.stages.AuthenticateStage"
_OWN_STEP: Final = "zegel.accounts.identity.SecondStep"


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Passwords."""

    error_messages: ClassVar = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": _("The e-mail address or the password is not right."),
        "incorrect_password": _("The password is not right."),
        "too_many_login_attempts": _("Too many tries. Wait a few minutes, then try again."),
        "enter_current_password": _("This is not your current password."),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Accounts are made by administrators, and by guests in the portal, who prove their mailbox first."""
        return False

    def authenticate(self, request: HttpRequest, **credentials: Any) -> Account | None:
        """The account, or ``None``; raises a validation error that is the same for every reason to wait."""
        one = self._begin(request, key_of(credentials.get("email", "")))
        account = authenticate(request, **credentials)
        if not isinstance(account, Account):
            log(SignInRefused(source=throttle.address_of(request), at="portal"))
            return None
        one.succeeded()
        return account

    def get_login_stages(self) -> list[str]:
        """With our own second step in the place of allauth's."""
        return [_OWN_STEP if one == _STEP else one for one in super().get_login_stages()]

    def pre_login(self, request: HttpRequest, user: Account, **how: Any) -> HttpResponse | None:
        """Where a sign-in begins, before its second step. It is kept with it what the account's sessions depend on.

        Whoever must sign in by their organisation's provider is sent there, once the password or the passkey is right.
        """
        if not identity.is_by_provider(how) and providers.required_for(user) is not None:
            clear_authentication_records(request)
            messages.info(request, gettext("Your organisation has its people sign in here."))
            return redirect("identity_start")
        if identity.showed_second_factor(how):
            identity.note_second_factor(request, user)
        request.session[_BEGUN] = user.get_session_auth_hash()
        refused: HttpResponse | None = super().pre_login(request, user, **how)
        return refused

    def login(self, request: HttpRequest, user: Account) -> None:
        """Where it ends. One that began before the password was changed ends like every session of then."""
        begun = str(request.session.pop(_BEGUN, ""))
        if not hmac.compare_digest(begun.encode(), user.get_session_auth_hash().encode()):
            clear_login(request)
            raise ImmediateHttpResponse(redirect("account_login"))
        super().login(request, user)

    def set_password(self, user: Account, password: str) -> None:
        """Another one, chosen by who is signed in."""
        with transaction.atomic():
            super().set_password(user, password)
            note_of_account(Act.PASSWORD_CHANGED, user)

    def reauthenticate(self, user: Account, password: str) -> bool:
        """The account's own password, counted like any other try."""
        one = self._begin(context.request, user.key)
        if not user.check_password(password):
            return False
        one.succeeded()
        return True

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """Who signed in a moment ago isn't asked again."""
        request = context.request
        records = get_authentication_records(request, request.user)
        return not records or time.time() - records[-1]["at"] >= app_settings.REAUTHENTICATION_TIMEOUT

    def get_reauthentication_methods(self, user: Account) -> list[dict[str, Any]]:
        """The ways to confirm that it is still you."""
        words = {
            "reauthenticate": _("With your password"),
            "mfa_reauthenticate": _("With a code"),
            "mfa_reauthenticate:webauthn": _("With your passkey"),
        }
        ways = super().get_reauthentication_methods(user)
        return [{**way, "description": str(words.get(way["id"], way["description"]))} for way in ways]

    def _begin(self, request: HttpRequest, key: str) -> throttle.Try:
        try:
            return throttle.begin(request, PASSWORD, key)
        except throttle.TooManyTries:
            raise self.validation_error("too_many_login_attempts") from None


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """TOTP, passkeys, recovery codes."""

    error_messages: ClassVar = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": _("This code is not right, or was used before."),
        "rate_limited": _("Too many tries. Wait a few minutes, then try again."),
        "cannot_delete_authenticator": _("This is your only second step."),
    }

    def encrypt(self, text: str) -> str:
        """For the database: a dump shows no secret."""
        sealed = enclose(Secret(text.encode()), web_key("mfa"), context=_MFA_CONTEXT, nonce=chance.octets(12))
        return base64.b64encode(sealed).decode()

    def decrypt(self, encrypted_text: str) -> str:
        """Raises ``CannotOpen`` for what was damaged."""
        return disclose(base64.b64decode(encrypted_text), web_key("mfa"), context=_MFA_CONTEXT).reveal().decode()

    def generate_authenticator_name(self, user: Account, type: Authenticator.Type) -> str:
        """A first proposal; people give better names."""
        number = Authenticator.objects.filter(user=user, type=type).count() + 1
        return gettext("Passkey %(number)s") % {"number": number}

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        """The last second factor can be replaced, not removed."""
        others = Authenticator.objects.filter(user=authenticator.user, type__in=SECOND_FACTORS)
        return bool(others.exclude(pk=authenticator.pk).exists())
