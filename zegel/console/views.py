"""The administrator's first page: the newest messages; never a subject, never content."""

from __future__ import annotations

import uuid

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_safe

from zegel.accounts.models import Organisation
from zegel.console import messages
from zegel.console.access import allows_any
from zegel.console.forms import SearchForm
from zegel.console.page import show, tabs_of
from zegel.journey import seeking
from zegel.journey.seeking import Sought


@require_safe
@allows_any
def overview(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """The newest submissions, a page at a time. Who may not see them gets the first page that they may."""
    first = tabs_of(request.user)[0]
    if first.page != "overview":
        return redirect(f"console:{first.page}")
    before = _identifier(request.GET.get("before", ""))
    found = seeking.find(organisation, Sought(), below=before)
    context = {
        "lines": messages.lines(found.submissions),
        "older": found.older,
        "is_first": before is None,
        "form": SearchForm(),
        "domains_missing": organisation.sending_domains.filter(in_place=False).count(),
    }
    return show(request, "overview", context)


def _identifier(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
