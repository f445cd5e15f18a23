"""The administrator's pages about programs: tokens of the API, made, shown once, disabled."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from zegel.accounts import tokens
from zegel.accounts.models import Account, ApiToken, Organisation
from zegel.accounts.program_forms import SCOPES, ProgramForm
from zegel.accounts.tokens import NewToken
from zegel.console.access import allows
from zegel.console.page import show
from zegel.core.policy.roles import Capability


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.PROGRAMS)
def programs(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Tokens. The answer to a POST is the one page that ever shows a secret."""
    form = ProgramForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        made = tokens.issue(
            organisation,
            form.cleaned_data["description"],
            scopes=form.asked,
            life=form.life,
            now=timezone.now(),
            by=request.user if isinstance(request.user, Account) else None,
        )
        return _issued(request, made)
    now = timezone.now()
    found = [(one, _words(one), now >= one.expires_at) for one in _newest_first(organisation)]
    return show(request, "programs", {"form": form, "tokens": found})


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.PROGRAMS)
def disable(request: HttpRequest, organisation: Organisation, program: int) -> HttpResponse:
    """Asks once, then refuses the token from the next request on."""
    found = get_object_or_404(_of(organisation), pk=program, disabled_at=None)
    if request.method != "POST":
        return show(request, "program_disable", {"token": found, "words": _words(found)})
    tokens.disable(found, now=timezone.now())
    messages.success(request, _("The token is disabled."))
    return redirect("console:programs")


def _of(organisation: Organisation) -> QuerySet[ApiToken]:
    """Not those that its account holders made for themselves."""
    return organisation.api_tokens.filter(account=None).select_related("made_by")


def _newest_first(organisation: Organisation) -> QuerySet[ApiToken]:
    """Those that can be used before those that can't."""
    return _of(organisation).order_by(F("disabled_at").desc(nulls_first=True), "-created_at", "-pk")


def _words(token: ApiToken) -> list[str]:
    return [str(words) for scope, words in SCOPES.items() if scope.value in token.scopes]


def _issued(request: HttpRequest, made: NewToken) -> HttpResponse:
    context = {"token": made.token, "secret": made.secret.reveal(), "words": _words(made.token)}
    return show(request, "program_issued", context)
