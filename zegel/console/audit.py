"""The administrator's pages about the audit log: who did what, when; all of it to take along; how long it is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from http import HTTPStatus
from typing import Any, Final, assert_never

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST

from zegel.accounts import audit
from zegel.accounts.audit import Sought
from zegel.accounts.models import AuditEntry, Organisation
from zegel.console import audit_words
from zegel.console.access import allows
from zegel.console.audit_words import Detail
from zegel.console.page import show
from zegel.console.rules import version_of
from zegel.console.submission import Outcome
from zegel.console.words import Words
from zegel.core.clock import Instant
from zegel.core.policy.audit import LONGEST_TERM, SHORTEST_TERM, NotATerm, parse_term
from zegel.core.policy.roles import Capability

PAGE: Final = 50
_DAY: Final = timedelta(days=1)
_PLAIN: Final = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
_LONGEST_WORD: Final = 80  # of one that is shown again


@dataclass(frozen=True, slots=True)
class Line:
    """An entry, as it is shown."""

    row: AuditEntry
    act: Words
    by_kind: Words  # empty: a person
    by: str
    details: Sequence[Detail]

    @classmethod
    def of(cls, row: AuditEntry) -> Line:
        """In the visitor's language."""
        return cls(row, audit_words.act(row.act), audit_words.by(row.by_kind), row.by, audit_words.details(row.details))


def _day(label: Any) -> forms.DateField:
    return forms.DateField(
        label=label,
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        input_formats=["%Y-%m-%d", "%d-%m-%Y"],
        error_messages={"invalid": gettext_lazy("This is not a day. Write it like 31-12-2026.")},
    )


class SoughtForm(forms.Form):
    """Sent by POST: an address is personal, and a URL ends up in histories and logs."""

    act = forms.ChoiceField(label=gettext_lazy("What was done"), required=False, choices=audit_words.choices)
    by = forms.CharField(
        label=gettext_lazy("By whom"),
        help_text=gettext_lazy(
            "An address, the name of a program or of a user of the machine; a part of it is enough."
        ),
        required=False,
        max_length=254,
        widget=forms.TextInput(attrs=_PLAIN),
    )
    about = forms.CharField(
        label=gettext_lazy("To what"),
        help_text=gettext_lazy("An address, a domain, the name of a credential; a part of it is enough."),
        required=False,
        max_length=300,
        widget=forms.TextInput(attrs=_PLAIN),
    )
    since = _day(gettext_lazy("First day"))
    until = _day(gettext_lazy("Last day"))

    def clean(self) -> dict[str, Any]:
        """Raises a validation error for a period that ends before it begins."""
        cleaned: dict[str, Any] = super().clean() or {}
        since, until = cleaned.get("since"), cleaned.get("until")
        if since is not None and until is not None and until < since:
            self.add_error("until", _("The last day lies before the first one."))
        return cleaned

    @property
    def sought(self) -> Sought:
        """Of a valid form."""
        found = self.cleaned_data
        return Sought(
            act=found["act"],
            by=found["by"],
            about=found["about"],
            since=_midnight(found["since"]),
            until=_midnight(found["until"], after=_DAY),
        )


def _midnight(day: Any, *, after: timedelta = timedelta()) -> Instant | None:
    """Here; ``None`` where no day is named, or one so far away that it bounds nothing."""
    if day is None:
        return None
    try:
        return (timezone.make_aware(datetime.combine(day, time.min)) + after).astimezone(UTC)
    except (OverflowError, ValueError):
        return None


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.AUDIT)
def entries(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """The newest entries, a page at a time; with a POST those that are sought."""
    if request.method != "POST":
        return _entries(request, organisation, SoughtForm(), Sought(), before=_number(request.GET.get("before", "")))
    form = SoughtForm(request.POST)
    if not form.is_valid():
        return _entries(request, organisation, form, None, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    return _entries(request, organisation, form, form.sought, before=_number(request.POST.get("before", "")))


def _entries(
    request: HttpRequest,
    organisation: Organisation,
    form: SoughtForm,
    sought: Sought | None,
    *,
    before: int | None = None,
    status: HTTPStatus = HTTPStatus.OK,
) -> HttpResponse:
    found = [] if sought is None else audit.find(organisation, sought, before=before, most=PAGE + 1)
    context = {
        "form": form,
        "lines": [Line.of(row) for row in found[:PAGE]],
        "older": found[PAGE - 1].number if len(found) > PAGE else None,
        "is_first": before is None,
        "is_search": form.is_bound,
        "head": audit.head(organisation),
        "days": organisation.audit_days,
        "trace_days": organisation.trace_days,
    }
    return show(request, "audit", context, status=status)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


@require_POST
@allows(Capability.AUDIT)
def export(request: HttpRequest, organisation: Organisation) -> StreamingHttpResponse:
    """The whole log, as JSON lines. That it was exported stands in it."""

    def octets(lines: Iterator[str]) -> Iterator[bytes]:
        for line in lines:
            yield line.encode() + b"\n"

    answer = StreamingHttpResponse(octets(audit.export(organisation)), content_type="application/x-ndjson")
    answer["Content-Disposition"] = f'attachment; filename="audit-log-{timezone.localdate():%Y-%m-%d}.jsonl"'
    return answer


# --- how long ----------------------------------------------------------------------------------------------------


class TermField(forms.Field):
    """Days in digits; empty: always."""

    def to_python(self, value: Any) -> int | None:
        text = str(value or "").strip()
        try:
            return parse_term(text) if text else None
        except NotATerm:
            raise ValidationError(
                _(
                    "%(field)s: “%(given)s” can’t be that. Write a whole number of days from %(least)s to %(most)s, "
                    "such as 365, or leave it empty for always."
                )
                % {
                    "field": self.label,
                    "given": text[:_LONGEST_WORD],
                    "least": SHORTEST_TERM,
                    "most": LONGEST_TERM,
                }
            ) from None


class TermForm(forms.Form):
    """How long entries are kept."""

    days = TermField(
        label=gettext_lazy("Days that entries are kept"),
        help_text=gettext_lazy("At least 90, such as 365. Empty: always."),
        required=False,
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
    )


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.ORGANISATION)
def term(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """How long entries are kept. What would remove some is asked about once more, with their number."""
    if request.method != "POST":
        return _term(request, organisation, TermForm(initial={"days": organisation.audit_days}))
    form, version = TermForm(request.POST), request.POST.get("version", "")
    outcome = _keep(organisation, form, version, is_confirmed="confirmed" in request.POST)
    match outcome:
        case Outcome.STORED:
            messages.success(request, _("The changes are stored."))
            return redirect("console:audit")
        case Outcome.DOUBTFUL:
            days = form.cleaned_data["days"]
            count = audit.over(organisation, days, now=timezone.now())
            return show(request, "audit_term_confirm", {"form": form, "version": version, "days": days, "count": count})
        case Outcome.STALE | Outcome.INCOMPLETE:
            organisation.refresh_from_db()
            return _term(request, organisation, form, outcome)
        case unreachable:
            assert_never(unreachable)


def _keep(organisation: Organisation, form: TermForm, version: str, *, is_confirmed: bool) -> Outcome:
    is_valid = form.is_valid()
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=organisation.pk)
        if version != version_of(current.audit_days):
            return Outcome.STALE
        if not is_valid:
            return Outcome.INCOMPLETE
        days = form.cleaned_data["days"]
        is_other = days != current.audit_days
        if is_other and not is_confirmed and audit.over(current, days, now=timezone.now()):
            return Outcome.DOUBTFUL
        audit.keep(current, days)
    return Outcome.STORED


def _term(
    request: HttpRequest, organisation: Organisation, form: TermForm, outcome: Outcome | None = None
) -> HttpResponse:
    is_stale = outcome is Outcome.STALE
    context = {
        "form": form,
        "days": organisation.audit_days,
        "version": version_of(organisation.audit_days),
        "is_stale": is_stale,
    }
    status = {None: HTTPStatus.OK, Outcome.STALE: HTTPStatus.CONFLICT}
    return show(request, "audit_term", context, status=status.get(outcome, HTTPStatus.UNPROCESSABLE_ENTITY))
