"""Who may see the console: people whose role allows it, what their organisation owns, and nothing else (P20)."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase

from zegel.accounts.models import Account, Organisation
from zegel.core.policy.roles import Capability

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, Organisation, P], HttpResponseBase]


def allows(capability: Capability) -> Callable[[View[P]], Callable[..., HttpResponseBase]]:
    """The view gets the organisation of somebody who may do that, and looks for nothing outside it."""

    def decorated(view: View[P]) -> Callable[..., HttpResponseBase]:
        return _guarded(view, lambda account: account.may(capability))

    return decorated


def allows_any(view: View[P]) -> Callable[..., HttpResponseBase]:
    """As :func:`allows`, for whoever may do anything here at all."""
    return _guarded(view, lambda account: bool(account.administers))


def _guarded(view: View[P], is_allowed: Callable[[Account], bool]) -> Callable[..., HttpResponseBase]:
    @wraps(view)
    def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        account = request.user
        if not isinstance(account, Account):
            return redirect_to_login(request.get_full_path())
        if account.organisation is None or not is_allowed(account):
            raise PermissionDenied
        return view(request, account.organisation, *args, **kwargs)

    return guarded
