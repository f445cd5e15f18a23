"""Who was invited: the link in the mail, a password, and on to the second factor.

The link's secret travels in one request's path and then in a sealed cookie (P13). Following it changes nothing; the
password that is chosen uses it up.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from allauth.account.internal.flows.login import record_authentication
from allauth.mfa.models import Authenticator
from django.contrib import messages
from django.contrib.auth import login
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from zegel.accounts import audit, providers, proving, sessions
from zegel.accounts.models import Account, MailboxProof
from zegel.accounts.sign_in import has_second_factor
from zegel.core.policy.audit import Act, Actor, ActorKind
from zegel.core.policy.joining import Known, Purpose, Told, what_to_tell
from zegel.core.secret import Secret
from zegel.edge.log import InvitationTaken, log
from zegel.journey.portal import cookies
from zegel.journey.portal.joining import BACKEND, NewPasswordForm
from zegel.journey.portal.pages import private, see_other, speak_for
from zegel.journey.portal.setup import portal
from zegel.web.views import REFERRER_OF_A_LINK

COOKIE: Final = "__Host-zegel-invitation"
_CONTEXT: Final = "cookie/invitation"
_LONGEST: Final = 100


@require_safe
@private
def arrive(request: HttpRequest, token: str) -> HttpResponse:
    """The link in the mail. Puts it in a sealed cookie and leaves its address at once; nothing else changes."""
    secret = Secret(token[:_LONGEST])
    if _account_of(_invitation(secret)) is None:
        response = _over(request)
        response["Referrer-Policy"] = REFERRER_OF_A_LINK
        return response
    response = see_other(reverse("portal:invited"))
    text = cookies.closed(secret.reveal(), context=_CONTEXT)
    response.set_cookie(COOKIE, text, path="/", secure=True, httponly=True, samesite="Lax")
    response["Referrer-Policy"] = "no-referrer"
    return response


@require_http_methods(["GET", "HEAD", "POST"])
@private
@sensitive_post_parameters()
def invited(request: HttpRequest) -> HttpResponse:
    """The password; then the account asks for its second factor before anything else. Who must sign in by their
    organisation's provider is sent there: the mailbox is no way round it."""
    proof = _invitation(Secret(str(cookies.opened(request, COOKIE, context=_CONTEXT) or "")))
    account = _account_of(proof)
    if proof is None or account is None or account.organisation is None:
        return _over(request)
    if providers.required_for(account) is not None:
        messages.info(request, _("Your organisation has its people sign in here."))
        return see_other(reverse("identity_start"))
    speak_for(account.organisation, request)
    form = NewPasswordForm(request.POST if request.method == "POST" else None, account.email)
    if not form.is_bound or not form.is_valid():
        status = HTTPStatus.UNPROCESSABLE_ENTITY if form.is_bound else HTTPStatus.OK
        context = {"form": form, "account": account, "organisation": account.organisation}
        return render(request, "portal/invited.html", context, status=status)
    return _settle(request, proof, form.cleaned_data["password1"])


def _settle(request: HttpRequest, proof: MailboxProof, password: str) -> HttpResponse:
    with transaction.atomic():
        account = _account_of(proof, for_update=True)
        if account is None or not proving.use(proof, now=portal().now()):
            return _over(request)
        Authenticator.objects.filter(user=account).delete()  # recovery codes of what was there before
        account.set_password(password)
        account.save(update_fields=["password"])
        sessions.end_all(account)
        by = Actor(ActorKind.ACCOUNT, account.email)
        audit.note(Act.PASSWORD_CHANGED, account.organisation, account.email, {"how": "invitation"}, by=by)
    login(request, account, backend=BACKEND)
    record_authentication(request, account, method="password", email=account.email)
    log(InvitationTaken(account.id))
    response = see_other(reverse("mfa_activate_totp"))
    response.delete_cookie(COOKIE, samesite="Lax")
    return response


def _invitation(token: Secret[str]) -> MailboxProof | None:
    return proving.invitation(token, key=portal().keys.codes, now=portal().now())


def _account_of(proof: MailboxProof | None, *, for_update: bool = False) -> Account | None:
    """Whose it is, while an invitation is what it needs."""
    if proof is None:
        return None
    rows = Account.objects.select_for_update() if for_update else Account.objects.select_related("organisation")
    account = rows.filter(key=proof.key).first()
    if account is None:
        return None
    known = Known(
        has_account=True,
        is_active=account.is_active,
        of_organisation=account.organisation_id is not None,
        has_second_factor=has_second_factor(account),
    )
    may_be_used = what_to_tell(Purpose.INVITED, known) is Told.INVITATION and not account.is_functional
    return account if may_be_used else None


def _over(request: HttpRequest) -> HttpResponse:
    """One page, equal for links that never were, were used, or are too old (P14)."""
    return render(request, "portal/invited_over.html", {"language_next": "/"}, status=HTTPStatus.NOT_FOUND)
