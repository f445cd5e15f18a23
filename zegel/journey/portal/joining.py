"""A guest makes a free account; who forgot the password makes another one. Both begin with proof of the mailbox.

Whatever address is entered, the pages answer alike (P14): what is true of it goes to the mailbox, by mail. The mailbox
alone never opens anything: an account needs a second factor before it reads, and another password needs the second
factor that the account has.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from typing import Any, Final

from allauth.account.internal.flows.login import record_authentication
from allauth.mfa.models import Authenticator
from django import forms
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from zegel.accounts import audit, proving, sessions, throttle
from zegel.accounts.adapter import PASSWORD
from zegel.accounts.forms import CODE
from zegel.accounts.models import Account, MailboxProof
from zegel.accounts.sign_in import has_second_factor, take_recovery_code, take_totp
from zegel.core.mail.address import Mailbox, NotAMailbox
from zegel.core.policy.audit import Act
from zegel.core.policy.joining import Purpose, may_prove
from zegel.edge.log import AccountMade, PasswordReset, log
from zegel.journey import milestones
from zegel.journey.custody.models import Recipient
from zegel.journey.portal.pages import View, language, private, see_other
from zegel.journey.portal.setup import portal

_SESSION: Final = "mailbox"
_SECOND: Final = "mailbox-second"
_METHODS: Final = ["GET", "HEAD", "POST"]
BACKEND: Final = "zegel.accounts.backend.MailboxBackend"


@dataclass(frozen=True, slots=True)
class Way:
    """One of the two ways through these pages."""

    purpose: Purpose
    start: str
    code: str
    password: str
    second: str = ""  # the page between code and password


JOIN: Final = Way(Purpose.REGISTER, "portal:join", "portal:join-code", "portal:join-password")
FORGOTTEN: Final = Way(
    Purpose.RESET, "portal:forgotten", "portal:forgotten-code", "portal:forgotten-password", "portal:forgotten-second"
)


class AddressForm(forms.Form):
    """The mailbox."""

    email = forms.CharField(
        label=gettext_lazy("E-mail address"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "email", "autocapitalize": "none", "spellcheck": "false"}),
        error_messages={"required": gettext_lazy("Enter your e-mail address.")},
    )

    def clean_email(self) -> Mailbox:
        """Raises a validation error for what is no address, whoever's it would be."""
        try:
            return Mailbox.parse(self.cleaned_data["email"])
        except NotAMailbox:
            raise ValidationError(_("This is not an e-mail address. Write it like name@example.org.")) from None


class CodeForm(forms.Form):
    """What stands in the mail."""

    code = forms.CharField(
        label=gettext_lazy("Code from the e-mail"),
        help_text=gettext_lazy("Eight letters and digits, such as ABCD-2345."),
        max_length=64,
        error_messages={"required": gettext_lazy("Enter the code.")},
        widget=forms.TextInput(
            attrs={
                "autocomplete": "one-time-code",
                "autocapitalize": "characters",
                "spellcheck": "false",
            }
        ),
    )


class SecondForm(forms.Form):
    """The second factor that the account has."""

    code = forms.CharField(
        label=gettext_lazy("Code"),
        help_text=gettext_lazy("The six digits that your authenticator app shows now, or one of your recovery codes."),
        max_length=64,
        error_messages={"required": gettext_lazy("Enter the code.")},
        widget=forms.TextInput(
            attrs={
                "class": "code-input",
                "autocomplete": "one-time-code",
                "autocapitalize": "off",
                "spellcheck": "false",
            }
        ),
    )


class NewPasswordForm(forms.Form):
    """A password that is long and not a common one; nothing else is demanded of it (ASVS 6.2)."""

    password1 = forms.CharField(
        label=gettext_lazy("New password"),
        help_text=gettext_lazy("At least 12 characters."),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        error_messages={"required": gettext_lazy("Choose a password.")},
    )
    password2 = forms.CharField(
        label=gettext_lazy("New password, once more"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        error_messages={"required": gettext_lazy("Enter the password once more.")},
    )

    def __init__(self, data: Any, address: str) -> None:
        super().__init__(data)
        self._address = address

    def clean_password1(self) -> str:
        """Raises a validation error for one that is too short or too common, or that is the address."""
        password: str = self.cleaned_data["password1"]
        if len(password) > 1000:
            raise ValidationError(_("This password is too long."))
        validate_password(password)
        if password.strip().casefold() == self._address.casefold():
            raise ValidationError(_("Your address is no good password."))
        return password

    def clean(self) -> dict[str, Any]:
        """Both the same."""
        cleaned: dict[str, Any] = super().clean() or {}
        if "password1" in cleaned and "password2" in cleaned and cleaned["password1"] != cleaned["password2"]:
            self.add_error("password2", _("This is not the same password."))
        return cleaned


# The address


def _start(way: Way) -> View:
    @require_http_methods(_METHODS)
    @private
    def view(request: HttpRequest) -> HttpResponse:
        if request.user.is_authenticated and way is JOIN:
            return see_other(reverse("portal:inbox"))
        form = AddressForm(request.POST if request.method == "POST" else None)
        if not form.is_bound or not form.is_valid():
            return _show(request, way, "joining_address", form)
        now = portal().now()
        with transaction.atomic():
            proof = proving.ask(
                form.cleaned_data["email"],
                way.purpose,
                language=language(),
                place=throttle.place_for(request, form.cleaned_data["email"].key),
                now=now,
            )
            if proof is not None:
                milestones.mailbox_asked(proof.id, now=now)
        if proof is None:
            form.add_error(None, _("Too many requests came from your network. Try again in an hour."))
            return _show(request, way, "joining_address", form, status=HTTPStatus.TOO_MANY_REQUESTS)
        portal().ring()
        request.session[_SESSION] = str(proof.id)
        request.session.pop(_SECOND, None)
        return see_other(reverse(way.code))

    return view


# The code


def _code(way: Way) -> View:
    @require_http_methods(_METHODS)
    @private
    def view(request: HttpRequest) -> HttpResponse:
        proof = _asked(request, way)
        if proof is None:
            return see_other(reverse(way.start))
        form = CodeForm(request.POST if request.method == "POST" else None)
        if not form.is_bound or not form.is_valid():
            return _show(request, way, "joining_code", form, address=proof.address)
        if not proving.enter(proof.id, form.cleaned_data["code"], key=portal().keys.codes, now=portal().now()):
            form.add_error("code", _("This code is not right, or can’t be used any more. You can ask for a new one."))
            return _show(request, way, "joining_code", form, address=proof.address)
        request.session.cycle_key()  # ASVS 7.2.4
        return see_other(reverse(way.second or way.password))

    return view


def _asked(request: HttpRequest, way: Way) -> MailboxProof | None:
    """What was asked in this session, for this purpose; reads only."""
    try:
        identity = uuid.UUID(str(request.session.get(_SESSION, "")))
    except ValueError:
        return None
    return MailboxProof.objects.filter(id=identity, purpose=way.purpose.value).first()


def for_proven(way: Way) -> Callable[[Callable[..., HttpResponse]], View]:
    """The page of who entered the right code a short while ago; anybody else begins anew."""

    def decorate(view: Callable[..., HttpResponse]) -> View:
        @require_http_methods(_METHODS)
        @private
        @sensitive_post_parameters()
        @wraps(view)
        def outer(request: HttpRequest) -> HttpResponseBase:
            asked = _asked(request, way)
            proof = proving.passed(asked.id, way.purpose, now=portal().now()) if asked is not None else None
            if proof is None:
                return see_other(reverse(way.start))
            account = Account.objects.filter(key=proof.key).first()
            was_recipient = Recipient.objects.filter(key=proof.key).exists()
            known = proving.known(proof, account, was_recipient=was_recipient, now=portal().now())
            if not may_prove(way.purpose, known):  # things changed since the mail went out
                return see_other(reverse(way.start))
            return view(request, proof, account)

        return outer

    return decorate


# A new account


@for_proven(JOIN)
def join_password(request: HttpRequest, proof: MailboxProof, account: Account | None) -> HttpResponse:
    """The password; then the account is there, and asks for its second factor before anything else."""
    form = NewPasswordForm(request.POST if request.method == "POST" else None, proof.address)
    if not form.is_bound or not form.is_valid():
        return _show(request, JOIN, "joining_password", form, address=proof.address)
    now = portal().now()
    with transaction.atomic():
        account = Account.objects.select_for_update().filter(key=proof.key).first()
        is_finished = account is not None and (account.organisation_id is not None or has_second_factor(account))
        if is_finished or not proving.use(proof, now=now):
            return see_other(reverse(JOIN.start))
        if account is None:
            account = Account.objects.create_user(proof.mailed_to, language=proof.language)
        # One that was not finished belonged to who had the mailbox then: nothing of it stays (its sessions end too).
        Authenticator.objects.filter(user=account).delete()
        account.set_password(form.cleaned_data["password1"])
        account.save()
        Account.objects.filter(id=account.id).update(created_at=now)
    request.session.pop(_SESSION, None)
    login(request, account, backend=BACKEND)
    record_authentication(request, account, method="password", email=account.email)
    log(AccountMade(account.id))
    return see_other(reverse("mfa_activate_totp"))


# Another password


@for_proven(FORGOTTEN)
def forgotten_second(request: HttpRequest, proof: MailboxProof, account: Account | None) -> HttpResponse:
    """The second factor, counted like at the door. Resetting a password never replaces it."""
    assert account is not None
    form = SecondForm(request.POST if request.method == "POST" else None)
    if not form.is_bound or not form.is_valid():
        return _show(request, FORGOTTEN, "joining_second", form)
    try:
        one = throttle.begin(request, CODE, account.key)
    except throttle.TooManyTries:
        form.add_error("code", _("Too many tries. Wait a few minutes, then try again."))
        return _show(request, FORGOTTEN, "joining_second", form, status=HTTPStatus.TOO_MANY_REQUESTS)
    typed: str = form.cleaned_data["code"]
    if take_totp(account, typed) is None and take_recovery_code(account, typed) is None:
        form.add_error("code", _("This code is not right, or was used before."))
        return _show(request, FORGOTTEN, "joining_second", form)
    one.succeeded()
    request.session[_SECOND] = str(proof.id)
    return see_other(reverse(FORGOTTEN.password))


@for_proven(FORGOTTEN)
def forgotten_password(request: HttpRequest, proof: MailboxProof, account: Account | None) -> HttpResponse:
    """The new password. Every session of the account ends; signing in takes both factors, as ever."""
    assert account is not None
    if request.session.get(_SECOND) != str(proof.id):
        return see_other(reverse(FORGOTTEN.second))
    form = NewPasswordForm(request.POST if request.method == "POST" else None, proof.address)
    if not form.is_bound or not form.is_valid():
        return _show(request, FORGOTTEN, "joining_password", form, address=proof.address)
    now = portal().now()
    with transaction.atomic():
        if not proving.use(proof, now=now):
            return see_other(reverse(FORGOTTEN.start))
        account.set_password(form.cleaned_data["password1"])
        account.save()
        sessions.end_all(account)
        throttle.forget(PASSWORD, account.key)
        told = proving.ask(
            account.mailbox,
            Purpose.CHANGED,
            language=language(),
            place=throttle.place_for(request, account.key),
            now=now,
        )
        if told is not None:
            milestones.mailbox_asked(told.id, now=now)
        audit.note_of_account(Act.PASSWORD_CHANGED, account, {"how": "forgotten"}, now=now)
    portal().ring()
    log(PasswordReset(account.id))
    request.session.flush()
    messages.success(request, _("Your password was changed. Sign in with it, and with your second step."))
    return see_other(reverse("account_login"))


def _show(
    request: HttpRequest,
    way: Way,
    page: str,
    form: forms.Form,
    *,
    status: HTTPStatus | None = None,
    **more: Any,
) -> HttpResponse:
    context = {"form": form, "is_reset": way is FORGOTTEN, "start": reverse(way.start), **more}
    usual = HTTPStatus.UNPROCESSABLE_ENTITY if form.is_bound and form.errors else HTTPStatus.OK
    return render(request, f"portal/{page}.html", context, status=status or usual)


join = _start(JOIN)
join_code = _code(JOIN)
forgotten = _start(FORGOTTEN)
forgotten_code = _code(FORGOTTEN)
