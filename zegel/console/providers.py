"""The owner's pages about where people sign in: identity providers of the organisation. Thin over
:mod:`zegel.accounts.providers`."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from zegel.accounts import providers
from zegel.accounts.models import IdentityProvider, Organisation
from zegel.accounts.providers import Wanted
from zegel.console.access import allows
from zegel.console.page import show
from zegel.console.rules import version_of
from zegel.console.words import said
from zegel.core.mail.address import Domain, Mailbox, NotADomain, NotAMailbox
from zegel.core.policy.identity import Kind, NotAProvider, Unfit
from zegel.core.policy.roles import Capability
from zegel.core.secret import Secret
from zegel.edge import chance

_FORMS: Final = ["GET", "HEAD", "POST"]
_PLAIN: Final = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
_KINDS: Final = ((Kind.OIDC.value, "OpenID Connect"), (Kind.SAML.value, "SAML 2.0"))


class ProviderForm(forms.Form):
    """Of a new one, and of one that is there."""

    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=100,
        help_text=gettext_lazy("As people see it when they are taken there, such as “Staff accounts”."),
        error_messages={"required": gettext_lazy("Name: give one, such as “Staff accounts”.")},
    )
    kind = forms.ChoiceField(
        label=gettext_lazy("Kind"),
        choices=_KINDS,
        error_messages={
            "required": gettext_lazy("Kind: choose one, such as OpenID Connect."),
            "invalid_choice": gettext_lazy("Kind: choose one, such as OpenID Connect."),
        },
    )
    issuer = forms.CharField(
        label=gettext_lazy("Address"),
        max_length=200_000,
        help_text=gettext_lazy(
            "OpenID Connect: the issuer, such as https://login.example.org. SAML: the address of the metadata, or the "
            "metadata itself."
        ),
        widget=forms.Textarea(attrs={**_PLAIN, "rows": 3}),
        error_messages={"required": gettext_lazy("Address: fill in one, such as https://login.example.org.")},
    )
    client_id = forms.CharField(
        label=gettext_lazy("Client ID"),
        max_length=255,
        required=False,
        help_text=gettext_lazy("OpenID Connect alone, as the sign-in service gave it."),
        widget=forms.TextInput(attrs=_PLAIN),
    )
    secret = forms.CharField(
        label=gettext_lazy("Client secret"),
        max_length=1000,
        required=False,
        help_text=gettext_lazy("OpenID Connect alone. Empty: as it is now."),
        widget=forms.PasswordInput(attrs={**_PLAIN, "autocomplete": "new-password"}),
    )
    domains = forms.CharField(
        label=gettext_lazy("Domains"),
        max_length=5000,
        help_text=gettext_lazy("Whose addresses it answers for: your sending domains that are in place, one a line."),
        widget=forms.Textarea(attrs={**_PLAIN, "rows": 2}),
        error_messages={"required": gettext_lazy("Domains: name at least one, such as example.org.")},
    )
    is_required = forms.BooleanField(
        label=gettext_lazy("Everybody with such an address must sign in there"),
        required=False,
        help_text=gettext_lazy("Passwords and passkeys no longer do. Owners keep theirs, as a way back."),
    )
    makes_accounts = forms.BooleanField(
        label=gettext_lazy("Who signs in there gets an account here"),
        required=False,
        help_text=gettext_lazy("With the role of a sender."),
    )
    factor_contexts = forms.CharField(
        label=gettext_lazy("Words for two factors"),
        max_length=5000,
        required=False,
        help_text=gettext_lazy(
            "Values of amr, acr or AuthnContextClassRef by which the service says that a second factor was used, one a "
            "line, such as mfa. Empty: everybody gives the second step of this gateway besides."
        ),
        widget=forms.Textarea(attrs={**_PLAIN, "rows": 2}),
    )

    def clean_domains(self) -> tuple[Domain, ...]:
        """Raises a validation error for what is no domain name."""
        found = []
        for text in self.cleaned_data["domains"].replace(",", " ").split():
            try:
                found.append(Domain.parse(text))
            except NotADomain:
                raise forms.ValidationError(f"{_('Domains')}: {said(Unfit.NOT_A_DOMAIN)}: {text[:100]}") from None
        return tuple(found)

    def wanted(self) -> Wanted:
        """Of a valid form."""
        given = self.cleaned_data
        secret = given["secret"]
        return Wanted(
            kind=Kind(given["kind"]),
            name=given["name"].strip(),
            issuer=given["issuer"].strip(),
            domains=given["domains"],
            client_id=given["client_id"].strip(),
            secret=Secret(secret) if secret else None,
            is_required=given["is_required"],
            makes_accounts=given["makes_accounts"],
            factor_contexts=tuple(one[:255] for one in given["factor_contexts"].split()),
        )

    def objects(self, cause: NotAProvider) -> None:
        """What the provider, or the database, has against it."""
        about = f": {cause.about}" if cause.about else ""
        self.add_error(cause.field, f"{self.fields[cause.field].label}: {said(cause.why)}{about}")


class AddressForm(forms.Form):
    """Whose subject is forgotten."""

    email = forms.CharField(
        label=gettext_lazy("E-mail address"),
        max_length=320,
        widget=forms.TextInput(attrs=_PLAIN),
        error_messages={"required": gettext_lazy("E-mail address: fill in one, such as name@example.org.")},
    )


@require_safe
@allows(Capability.ORGANISATION)
def overview(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Which there are."""
    return show(request, "sign_in", {"providers": organisation.identity_providers.order_by("created_at")})


@require_safe
@allows(Capability.ORGANISATION)
def begin(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """A new one gets its number first: it stands in the addresses that the service asks for."""
    return redirect("console:sign_in_add", chance.identifier())


@require_http_methods(_FORMS)
@allows(Capability.ORGANISATION)
def add(request: HttpRequest, organisation: Organisation, number: uuid.UUID) -> HttpResponse:
    """Says what to register there, and asks what came of it."""
    if request.method != "POST":
        return _adding(request, number, ProviderForm(initial={"kind": Kind.OIDC.value}))
    form = ProviderForm(request.POST)
    if form.is_valid():
        try:
            made = providers.add(organisation, form.wanted(), now=timezone.now(), number=number)
        except NotAProvider as cause:
            form.objects(cause)
        else:
            messages.success(request, _("The sign-in service is added. Try it before you require it."))
            return redirect("console:sign_in_provider", made.pk)
    return _adding(request, number, form, status=HTTPStatus.UNPROCESSABLE_ENTITY)


@require_http_methods(_FORMS)
@allows(Capability.ORGANISATION)
def provider(request: HttpRequest, organisation: Organisation, provider: uuid.UUID) -> HttpResponse:
    """One, as it is; and a change of it."""
    row = _of(organisation, provider)
    if request.method != "POST":
        return _shown(request, row, ProviderForm(initial=_initial(row)))
    form = ProviderForm(request.POST)
    if request.POST.get("version") != _version(row):
        form.is_valid()
        return _shown(request, row, form, is_stale=True, status=HTTPStatus.CONFLICT)
    if form.is_valid():
        try:
            providers.change(row, form.wanted(), now=timezone.now())
        except NotAProvider as cause:
            form.objects(cause)
            row.refresh_from_db()
        else:
            messages.success(request, _("The changes are stored."))
            return redirect("console:sign_in_provider", row.pk)
    return _shown(request, row, form, status=HTTPStatus.UNPROCESSABLE_ENTITY)


@require_POST
@allows(Capability.ORGANISATION)
def test(request: HttpRequest, organisation: Organisation, provider: uuid.UUID) -> HttpResponse:
    """Asks the service what it is, as when it was added."""
    row = _of(organisation, provider)
    try:
        providers.refresh(row, now=timezone.now())
    except NotAProvider as cause:
        about = f": {cause.about}" if cause.about else ""
        messages.error(request, f"{said(cause.why)}{about}")
    else:
        messages.success(request, _("The sign-in service answers, and is who it was. Sign in by it to see the rest."))
    return redirect("console:sign_in_provider", row.pk)


@require_http_methods(_FORMS)
@allows(Capability.ORGANISATION)
def remove(request: HttpRequest, organisation: Organisation, provider: uuid.UUID) -> HttpResponse:
    """Asks once, and says what becomes of those who sign in by it."""
    row = _of(organisation, provider)
    if request.method != "POST":
        return show(request, "sign_in_remove", {"provider": row})
    providers.remove(row)
    messages.success(request, _("The sign-in service is removed."))
    return redirect("console:sign_in")


@require_http_methods(_FORMS)
@allows(Capability.ORGANISATION)
def forget(request: HttpRequest, organisation: Organisation, provider: uuid.UUID) -> HttpResponse:
    """The address is another person's now, or the service names its people anew: whom it means is learnt again."""
    row = _of(organisation, provider)
    form = AddressForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        account = organisation.accounts.filter(key=_key(form.cleaned_data["email"])).first()
        if account is not None:
            providers.forget_subject(row, account)
            messages.success(request, _("Whoever signs in next with this address is taken to be its holder."))
            return redirect("console:sign_in_provider", row.pk)
        form.add_error("email", _("E-mail address: there is no such account in your organisation."))
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form.is_bound else HTTPStatus.OK
    return show(request, "sign_in_forget", {"provider": row, "form": form}, status=status)


def _of(organisation: Organisation, number: uuid.UUID) -> IdentityProvider:
    """Raises ``Http404`` for any other."""
    return get_object_or_404(organisation.identity_providers, pk=number)


def _key(address: str) -> str:
    try:
        return Mailbox.parse(address.strip()).key
    except NotAMailbox:
        return ""


def _initial(row: IdentityProvider) -> dict[str, Any]:
    return {
        "name": row.name,
        "kind": row.kind,
        "issuer": row.description.get("source", row.issuer),
        "client_id": row.client_id,
        "domains": "\n".join(row.domains),
        "is_required": row.is_required,
        "makes_accounts": row.makes_accounts,
        "factor_contexts": "\n".join(row.factor_contexts),
    }


def _version(row: IdentityProvider) -> str:
    return version_of((_initial(row), row.secret))


def addresses(number: uuid.UUID) -> dict[str, str]:
    """What a sign-in service asks for, whatever its kind."""
    base, part = str(settings.ZEGEL.portal.url), {"provider": number}
    return {
        "redirect_uri": base + reverse("identity_answer", kwargs=part),
        "entity_id": base + reverse("identity_saml_metadata", kwargs=part),
        "answer_url": base + reverse("identity_saml", kwargs=part),
    }


def _adding(
    request: HttpRequest, number: uuid.UUID, form: ProviderForm, *, status: HTTPStatus = HTTPStatus.OK
) -> HttpResponse:
    return show(request, "sign_in_add", {"form": form, "number": number, **addresses(number)}, status=status)


def _shown(
    request: HttpRequest,
    row: IdentityProvider,
    form: ProviderForm,
    *,
    is_stale: bool = False,
    status: HTTPStatus = HTTPStatus.OK,
) -> HttpResponse:
    counting = providers.rules_of(row).domains
    context = {
        "provider": row,
        "is_oidc": row.kind == Kind.OIDC.value,
        "not_in_place": [one for one in row.domains if one not in counting],
        "form": form,
        "version": _version(row),
        "is_stale": is_stale,
        **addresses(row.pk),
    }
    return show(request, "sign_in_provider", context, status=status)
