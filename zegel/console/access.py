"""Who may see these pages: administrators, of what belongs to their own organisation (P20)."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from zegel.accounts.models import Account, Organisation

P = ParamSpec("P")


def administrator_required(
    view: Callable[Concatenate[HttpRequest, Organisation, P], HttpResponse],
) -> Callable[..., HttpResponseBase]:
    """The view gets the administrator's organisation, and looks for nothing outside it."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        account = request.user
        if not isinstance(account, Account):
            return redirect_to_login(request.get_full_path())
        if not account.is_administrator or account.organisation is None:
            raise PermissionDenied
        return view(request, account.organisation, *args, **kwargs)

    return guarded
