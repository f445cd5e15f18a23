"""An account holder's own programs, such as a mail client that shows messages (D-10): tokens that read, and end."""

from __future__ import annotations

from typing import cast

from allauth.account.decorators import reauthentication_required
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from zegel.accounts import tokens
from zegel.accounts.models import Account
from zegel.accounts.program_forms import TokenForm
from zegel.accounts.tokens import Scope
from zegel.journey.portal.pages import private, see_other
from zegel.journey.portal.setup import portal


@require_safe
@private
@login_required
def own(request: HttpRequest) -> HttpResponse:
    """Those that can read one's messages now, the newest first."""
    now = portal().now()
    found = cast("Account", request.user).api_tokens.filter(disabled_at=None, expires_at__gt=now)
    context = {"section": "settings", "programs": found.order_by("-created_at", "-pk")}
    return render(request, "portal/programs.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@private
@login_required
@reauthentication_required  # type: ignore[untyped-decorator]  # as for passwords and second factors
def add(request: HttpRequest) -> HttpResponse:
    """A new one, once it is sure who asks. The answer to a POST is the one page that ever shows it."""
    form = TokenForm(request.POST if request.method == "POST" else None)
    context = {"section": "settings", "form": form}
    if request.method == "POST" and form.is_valid():
        made = tokens.issue(
            cast("Account", request.user),
            form.cleaned_data["description"],
            scopes={Scope.MESSAGES_READ},
            life=form.life,
            now=portal().now(),
        )
        context |= {"token": made.token, "secret": made.secret.reveal()}
        return render(request, "portal/program_made.html", context)
    return render(request, "portal/program_add.html", context)


@require_POST
@private
@login_required
def end(request: HttpRequest) -> HttpResponse:
    """It reads nothing more. Nobody ends one of somebody else, and nothing tells whether there is one."""
    mine = cast("Account", request.user).api_tokens.filter(name=request.POST.get("program", "")[:32], disabled_at=None)
    if (found := mine.first()) is not None:
        tokens.disable(found, now=portal().now())
        messages.success(request, _("The program can read nothing more."))
    else:
        messages.info(request, _("There was nothing to end."))
    return see_other(reverse("portal:programs"))
