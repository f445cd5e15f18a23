"""The page about how long the traces of ended messages are kept."""

from __future__ import annotations

from http import HTTPStatus
from typing import assert_never

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from zegel.accounts import traces as terms
from zegel.accounts.models import Organisation
from zegel.console.access import allows
from zegel.console.audit import TermField
from zegel.console.page import show
from zegel.console.rules import version_of
from zegel.console.submission import Outcome
from zegel.core.policy.roles import Capability
from zegel.journey.custody import traces


class TraceTermForm(forms.Form):
    """How long traces are kept."""

    days = TermField(
        label=gettext_lazy("Days that traces are kept after the end of a message"),
        help_text=gettext_lazy("At least 90, such as 400. Empty: always."),
        required=False,
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
    )


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.ORGANISATION)
def term(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """What would remove traces is asked about once more, with their number."""
    if request.method != "POST":
        return _term(request, organisation, TraceTermForm(initial={"days": organisation.trace_days}))
    form, version = TraceTermForm(request.POST), request.POST.get("version", "")
    outcome = _keep(organisation, form, version, is_confirmed="confirmed" in request.POST)
    match outcome:
        case Outcome.STORED:
            messages.success(request, _("The changes are stored."))
            return redirect("console:audit")
        case Outcome.DOUBTFUL:
            days = form.cleaned_data["days"]
            count = traces.over(organisation, days, now=timezone.now())
            return show(request, "trace_term_confirm", {"form": form, "version": version, "days": days, "count": count})
        case Outcome.STALE | Outcome.INCOMPLETE:
            organisation.refresh_from_db()
            return _term(request, organisation, form, outcome)
        case unreachable:
            assert_never(unreachable)


def _keep(organisation: Organisation, form: TraceTermForm, version: str, *, is_confirmed: bool) -> Outcome:
    is_valid = form.is_valid()
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=organisation.pk)
        if version != version_of(current.trace_days):
            return Outcome.STALE
        if not is_valid:
            return Outcome.INCOMPLETE
        days = form.cleaned_data["days"]
        is_other = days != current.trace_days
        if is_other and not is_confirmed and traces.over(current, days, now=timezone.now()):
            return Outcome.DOUBTFUL
        terms.keep(current, days)
    return Outcome.STORED


def _term(
    request: HttpRequest, organisation: Organisation, form: TraceTermForm, outcome: Outcome | None = None
) -> HttpResponse:
    context = {
        "form": form,
        "days": organisation.trace_days,
        "version": version_of(organisation.trace_days),
        "is_stale": outcome is Outcome.STALE,
    }
    status = {None: HTTPStatus.OK, Outcome.STALE: HTTPStatus.CONFLICT}
    return show(request, "trace_term", context, status=status.get(outcome, HTTPStatus.UNPROCESSABLE_ENTITY))
