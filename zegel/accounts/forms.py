"""The forms of sign-in, where every try is counted and every code works once."""

from __future__ import annotations

import struct
from typing import Any

from allauth.account.adapter import get_adapter as get_account_adapter
from allauth.account.forms import ChangePasswordForm as AllauthChangePasswordForm
from allauth.account.forms import LoginForm as AllauthLoginForm
from allauth.account.forms import ReauthenticateForm as AllauthPasswordForm
from allauth.core import context
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base.forms import AuthenticateForm as AllauthCodeForm
from allauth.mfa.base.forms import ReauthenticateForm as AllauthCodeAgainForm
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.forms import ActivateTOTPForm as AllauthActivateForm
from allauth.mfa.webauthn.forms import AddWebAuthnForm as AllauthAddPasskeyForm
from allauth.mfa.webauthn.forms import AuthenticateWebAuthnForm as AllauthPasskeyForm
from allauth.mfa.webauthn.forms import EditWebAuthnForm as AllauthRenamePasskeyForm
from allauth.mfa.webauthn.forms import LoginWebAuthnForm as AllauthPasskeySignInForm
from allauth.mfa.webauthn.forms import ReauthenticateWebAuthnForm as AllauthPasskeyAgainForm
from allauth.mfa.webauthn.internal.auth import parse_authentication_response
from cryptography.exceptions import InvalidSignature
from django import forms
from django.utils.translation import gettext_lazy as _

from zegel.accounts import throttle
from zegel.accounts.models import Account
from zegel.accounts.sign_in import period_of, take_recovery_code, take_totp

CODE = "code"
_CODE_INPUT = {"autocomplete": "one-time-code", "class": "code-input", "autocapitalize": "off", "spellcheck": "false"}


class LoginForm(AllauthLoginForm):  # type: ignore[misc]
    """Address and password."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].label = _("E-mail address")
        _plain(self)


class PasswordForm(AllauthPasswordForm):  # type: ignore[misc]
    """The password once more."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _plain(self)


class ChangePasswordForm(AllauthChangePasswordForm):  # type: ignore[misc]
    """The old password is guarded like at the door: a session left open must not be a place to guess."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["oldpassword"].label = _("Current password")
        self.fields["password1"].label = _("New password")
        self.fields["password2"].label = _("New password, once more")
        _plain(self)
        self.fields["password1"].help_text = _("At least 12 characters.")

    def clean_oldpassword(self) -> str:
        """Raises a validation error for a wrong password and for a try too many."""
        password: str = self.cleaned_data["oldpassword"]
        adapter = get_account_adapter()
        if not adapter.reauthenticate(self.user, password):
            raise adapter.validation_error("enter_current_password")
        return password


class _Code(forms.Form):
    """A code of the app, or a recovery code."""

    user: Account
    authenticator: Authenticator
    code = forms.CharField(
        label=_("Code"),
        help_text=_("The six digits that your authenticator app shows now, or one of your recovery codes."),
        max_length=64,
        widget=forms.TextInput(attrs={**_CODE_INPUT, "autofocus": True}),
    )

    def clean_code(self) -> str:
        """Counts first, looks second."""
        code: str = self.cleaned_data["code"]
        try:
            one = throttle.begin(context.request, CODE, self.user.key)
        except throttle.TooManyTries:
            raise get_adapter().validation_error("rate_limited") from None
        authenticator = take_totp(self.user, code) or take_recovery_code(self.user, code)
        if authenticator is None:
            raise get_adapter().validation_error("incorrect_code")
        one.succeeded()
        authenticator.user = self.user
        self.authenticator = authenticator
        return code


class CodeForm(_Code, AllauthCodeForm):  # type: ignore[misc]
    """The second step of signing in."""


class CodeAgainForm(_Code, AllauthCodeAgainForm):  # type: ignore[misc]
    """Confirming that it is still you."""


class ActivateForm(AllauthActivateForm):  # type: ignore[misc]
    """The first code of a new app. It is taken like any other: not again at the next sign-in."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["code"].label = _("Code")
        self.fields["code"].widget = forms.TextInput(attrs={**_CODE_INPUT, "inputmode": "numeric"})

    def clean_code(self) -> str:
        """Raises a validation error for a wrong code."""
        code: str = self.cleaned_data["code"]
        period = period_of(self.secret, code)
        if period is None:
            raise get_adapter().validation_error("incorrect_code")
        context.request.activated_with = period
        return code


# What the WebAuthn library raises for octets that no browser sends; it says so by accident, one layer down.
_MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, InvalidSignature, struct.error)


class CredentialField(forms.JSONField):
    """An object of WebAuthn, in JSON of a length that a browser may send."""

    widget = forms.HiddenInput

    def to_python(self, value: Any) -> Any:
        """Raises a validation error for everything else, also for what the parser of JSON chokes on."""
        try:
            found = super().to_python(value) if len(str(value)) <= 65536 else None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise get_adapter().validation_error("incorrect_code")
        return found


class _Passkey(forms.Form):
    """What a browser says of a passkey, from whoever says it."""

    credential = CredentialField()

    def clean_credential(self) -> Authenticator:
        """Raises a validation error for everything that isn't a good answer to our question."""
        try:
            return super().clean_credential()  # type: ignore[misc]
        except _MALFORMED:
            raise get_adapter().validation_error("incorrect_code") from None


class PasskeySignInForm(_Passkey, AllauthPasskeySignInForm):  # type: ignore[misc]
    """In the place of address and password."""

    def clean_credential(self) -> Authenticator:
        """Raises a validation error for a key that did not see its owner's finger, face or PIN too. That was asked,
        but the question that is answered can be another one of this session: the second step's, to which a touch of
        the key is enough, and which anybody can have asked who has an account here."""
        answer = self.cleaned_data["credential"]
        found = super().clean_credential()
        if not parse_authentication_response(answer).response.authenticator_data.is_user_verified():
            raise get_adapter().validation_error("incorrect_code")
        return found


class PasskeyForm(_Passkey, AllauthPasskeyForm):  # type: ignore[misc]
    """As the second step."""


class PasskeyAgainForm(_Passkey, AllauthPasskeyAgainForm):  # type: ignore[misc]
    """Confirming that it is still you."""


class AddPasskeyForm(AllauthAddPasskeyForm):  # type: ignore[misc]
    """A new passkey."""

    credential = CredentialField()
    field_order = ("name", "passwordless", "credential")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].label = _("Name")
        self.fields["name"].help_text = _("So that you recognise it later, such as “work laptop”.")
        self.fields["name"].max_length = 100
        self.fields["passwordless"].label = _("Sign in without a password")
        self.fields["passwordless"].help_text = _("The key then always asks for your fingerprint, face or PIN.")

    def clean(self) -> dict[str, Any]:
        """Raises a validation error for everything that isn't a new passkey for this page."""
        try:
            cleaned: dict[str, Any] = super().clean()
        except _MALFORMED:
            raise get_adapter().validation_error("incorrect_code") from None
        return cleaned


class RenamePasskeyForm(AllauthRenamePasskeyForm):  # type: ignore[misc]
    """Another name for a passkey."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].label = _("Name")


def _plain(form: forms.Form) -> None:
    """No placeholders, which vanish when one types, and no links inside fields."""
    for field in form.fields.values():
        field.widget.attrs.pop("placeholder", None)
        field.help_text = ""
