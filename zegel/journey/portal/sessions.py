"""An account holder's own sessions: where one is signed in, and how to end that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from zegel.accounts import sessions
from zegel.accounts.models import Account
from zegel.edge.log import Broken, SessionsEnded, log
from zegel.journey.portal.browsers import described
from zegel.journey.portal.pages import private, see_other, speak_to

OTHERS: Final = "others"


class NotesSessions:
    """Speaks the account's language, and notes where it is used. Stands behind what demands the second factor: nobody
    else comes this far."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if isinstance(request.user, Account):
            speak_to(request.user, request)
        response = self._get_response(request)
        # Not when it was asked for: signing in gives the session another name.
        if isinstance(request.user, Account) and not request.session.is_empty():
            try:
                sessions.note(request.session, request.user, described(request), now=timezone.now())
            except DatabaseError as cause:  # on a full disk mail can still be read (P4)
                log(Broken("noting where an account is used", cause))
        return response


@require_safe
@private
@login_required
def own(request: HttpRequest) -> HttpResponse:
    """Browser, since when, last used; this one first."""
    found = sessions.of_account(cast("Account", request.user), request.session, now=timezone.now())
    context = {"section": "settings", "sessions": found, "others": [one for one in found if not one.is_this_one]}
    return render(request, "portal/sessions.html", context)


@require_POST
@private
@login_required
def end(request: HttpRequest) -> HttpResponse:
    """One of them, or all others. Nobody ends a session of somebody else, and nothing tells whether there is one."""
    account, which = cast("Account", request.user), request.POST.get("session", "")
    with transaction.atomic():
        if which == OTHERS:
            ended = sessions.end_all(account, but=request.session)
        else:
            ended = sessions.end(account, [which[:40]])
    log(SessionsEnded(account.id, ended))
    if ended:
        messages.success(
            request,
            ngettext("One session was ended.", "%(count)d sessions were ended.", ended) % {"count": ended},
        )
    else:
        messages.info(request, _("There was nothing to end."))
    return see_other(reverse("portal:sessions"))
