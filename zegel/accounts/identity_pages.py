"""The pages between this gateway and an organisation's identity provider."""

from __future__ import annotations

import base64
import json
import uuid
from typing import TYPE_CHECKING, Final

from allauth.account.adapter import get_adapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.helpers import complete_social_login
from allauth.socialaccount.internal import statekit
from django import forms
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from zegel.accounts import identity, oidc, providers, throttle
from zegel.accounts.models import IdentityProvider
from zegel.core.mail.address import Mailbox, NotAMailbox
from zegel.core.policy.identity import Assertion, Kind
from zegel.core.seal.slot import disclose, enclose
from zegel.core.seal.wrap import CannotOpen
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.edge.log import SignInRefused, log
from zegel.web.keys import web_key

if TYPE_CHECKING:
    from zegel.accounts.saml import Answered

TRY: Final = "provider"
_COOKIE: Final = "__Secure-saml-answer"
_CONTEXT: Final = "saml-answer"
_AGE: Final = 120  # seconds between two requests of one browser


class AddressForm(forms.Form):
    """Whose organisation is looked for."""

    email = forms.CharField(
        label=_("E-mail address"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True}),
    )

    def clean_email(self) -> Mailbox:
        """Raises a validation error for what is no address."""
        try:
            return Mailbox.parse(self.cleaned_data["email"].strip())
        except NotAMailbox:
            raise forms.ValidationError(
                _("E-mail address: this is not an e-mail address. Write it like naam@voorbeeld.nl.")
            ) from None


@require_http_methods(["GET", "HEAD", "POST"])
def start(request: HttpRequest) -> HttpResponse:
    """Asks for an address, and goes by its domain alone: whether somebody has an account shows nowhere (P14).

    It doesn't redirect: a form may lead nowhere but to ourselves (Content Security Policy, form-action), so the page
    that answers it says where it goes, and goes there.
    """
    next_url = _next(request)
    form = AddressForm(request.POST if request.method == "POST" else None)
    context = {"form": form, "next": next_url or ""}
    if request.method != "POST" or not form.is_valid():
        return render(request, "account/organisation.html", context)
    row = providers.of_domain(form.cleaned_data["email"].domain)
    if row is None:
        return render(request, "account/organisation.html", {**context, "has_none": True})
    url = identity.provider_of(request, row).begin(request, next_url)
    return render(
        request, "account/organisation_going.html", {"url": url, "host": oidc.host_of(url), "provider": row.name}
    )


@require_safe
def answer(request: HttpRequest, provider: uuid.UUID) -> HttpResponse:
    """OpenID Connect: the browser comes back with a code."""
    row = _row(provider, Kind.OIDC)
    is_asked = request.GET.get("state", "") in statekit.get_states(request)
    counted = _counted(request, row) if row is not None and is_asked else None
    if row is None or counted is None:
        return identity.turned_away(request, None)
    try:
        response = oidc.answer(request, row)
    except oidc.NotGood as cause:
        log(SignInRefused(throttle.address_of(request), at="provider", why=str(cause)))
        return identity.turned_away(request, None)
    if getattr(request, "was_vouched_for", False):
        counted.succeeded()
    return response


@csrf_exempt  # it is posted by the provider's page; the signature shows whose it is, the next page whom it is for
@require_POST
def saml(request: HttpRequest, provider: uuid.UUID) -> HttpResponse:
    """SAML: the browser brings the answer from another site, and so without its session. What was said goes with it to
    a page of our own, signed."""
    from zegel.accounts import saml as of_saml

    row = _row(provider, Kind.SAML)
    counted = None if row is None else _counted(request, row)
    if row is None or counted is None:
        return identity.turned_away(request, None)
    try:
        answered = of_saml.examined(row, request.POST)
    except of_saml.NotAnswered as cause:
        log(SignInRefused(throttle.address_of(request), at="provider", why=str(cause)))
        return identity.turned_away(request, None)
    counted.succeeded()
    response = redirect("identity_saml_finish", provider=row.pk)
    kept = _sealed(row, answered)
    response.set_cookie(_COOKIE, kept, max_age=_AGE, path=response.url, secure=True, httponly=True, samesite="Lax")
    return response


@require_safe
def saml_finish(request: HttpRequest, provider: uuid.UUID) -> HttpResponse:
    """In the session of the browser: the request that is answered must be one of its own, and not answered before."""
    row = _row(provider, Kind.SAML)
    found = None if row is None else _unsealed(row, request.COOKIES.get(_COOKIE, ""))
    if row is None or found is None:
        return identity.turned_away(request, None)
    to, said = found
    one = identity.provider_of(request, row)
    try:
        login = one.sociallogin_from_response(request, said)
        login.state = one.unstash_redirect_state(request, to)
        response: HttpResponse = complete_social_login(request, login)
    except PermissionDenied:
        log(SignInRefused(throttle.address_of(request), at="provider", why="unasked"))
        response = identity.turned_away(request, None)
    except ImmediateHttpResponse as cause:
        response = cause.response
    response.delete_cookie(_COOKIE, path=request.path)
    return response


@require_safe
def saml_metadata(request: HttpRequest, provider: uuid.UUID) -> HttpResponse:
    """What the provider has to know of this gateway. It is no secret."""
    from zegel.accounts import saml as of_saml

    row = _row(provider, Kind.SAML)
    if row is None:
        raise Http404
    return HttpResponse(of_saml.metadata(row), content_type="application/samlmetadata+xml")


def _row(number: uuid.UUID, kind: Kind) -> IdentityProvider | None:
    return IdentityProvider.objects.select_related("organisation").filter(pk=number, kind=kind.value).first()


def _counted(request: HttpRequest, row: IdentityProvider) -> throttle.Try | None:
    """``None``: one network brings too much that is nothing. Others aren't kept out for it."""
    try:
        return throttle.begin(request, TRY, f"{row.pk}/{throttle.place_of(request).hex()}")
    except throttle.TooManyTries:
        return None


def _next(request: HttpRequest) -> str | None:
    """A page of ours to go on to, if one was named."""
    named = request.POST.get("next") or request.GET.get("next") or ""
    return named if named and get_adapter().is_safe_url(named) else None


def _sealed(row: IdentityProvider, answered: Answered) -> str:
    """For this browser to carry to the next page, which alone can read it."""
    said = answered.said
    plain = {
        "to": answered.to,
        "at": timezone.now().timestamp(),
        "subject": providers.subject_key(row, said.subject),
        "address": str(said.address) if said.address else "",
        "name": said.name,
        "contexts": sorted(said.contexts)[: providers.LONGEST_CONTEXTS],
    }
    octets = Secret(json.dumps(plain).encode())
    closed = enclose(octets, web_key(_CONTEXT), context=f"{_CONTEXT}/{row.pk}", nonce=chance.octets(12))
    return base64.urlsafe_b64encode(closed).decode()


def _unsealed(row: IdentityProvider, kept: str) -> tuple[str, Assertion] | None:
    """``None`` for what is not ours, or too old."""
    try:
        closed = base64.urlsafe_b64decode(kept)
        found = json.loads(disclose(closed, web_key(_CONTEXT), context=f"{_CONTEXT}/{row.pk}").reveal())
    except (CannotOpen, ValueError):
        return None
    if not 0 <= timezone.now().timestamp() - found["at"] <= _AGE:
        return None
    address = oidc.mailbox_of(found["address"])
    return found["to"], Assertion(found["subject"], address, name=found["name"], contexts=frozenset(found["contexts"]))
