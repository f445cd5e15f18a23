"""The administrator's pages about messages and domains: where mail is and why; never a subject, never content."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_safe

from zegel.accounts.domains import records
from zegel.accounts.models import Organisation, SendingDomain
from zegel.console import trace, words
from zegel.console.access import administrator_required
from zegel.console.forms import SearchForm
from zegel.console.page import show
from zegel.console.words import Badge
from zegel.core.mail.address import Mailbox, NotAMailbox
from zegel.journey.custody.models import Recipient, Submission

PAGE: Final = 25
MOST_FOUND: Final = 100


@dataclass(frozen=True, slots=True)
class Line:
    """A submission in a list."""

    submission: Submission
    recipients: int
    states: tuple[tuple[Badge, int], ...]


@require_safe
@administrator_required
def overview(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """The newest submissions, a page at a time."""
    found = Submission.objects.filter(organisation=organisation)
    before = _identifier(request.GET.get("before", ""))
    if before is not None:
        found = found.filter(id__lt=before)
    page = list(found.select_related("account").order_by("-id")[: PAGE + 1])
    context = {
        "lines": _lines(page[:PAGE]),
        "older": page[PAGE - 1].id if len(page) > PAGE else None,
        "is_first": before is None,
        "form": SearchForm(),
        "domains_missing": organisation.sending_domains.filter(in_place=False).count(),
    }
    return show(request, "overview", context)


@require_http_methods(["GET", "HEAD", "POST"])
@administrator_required
def search(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Submissions from or to an address, or with a Message-ID."""
    if request.method != "POST":
        return redirect("console:overview")
    form = SearchForm(request.POST)
    lines: tuple[Line, ...] = ()
    if form.is_valid():
        found = _sought(organisation, form.cleaned_data["sought"])
        lines = _lines(list(found.select_related("account").order_by("-id")[:MOST_FOUND]))
    return show(request, "search", {"form": form, "lines": lines, "most": MOST_FOUND})


@require_safe
@administrator_required
def message(request: HttpRequest, organisation: Organisation, submission: uuid.UUID) -> HttpResponse:
    """The way of one submission to each of its recipients."""
    found = get_object_or_404(
        Submission.objects.select_related("account", "credential"), id=submission, organisation=organisation
    )
    context = {"submission": found, "traces": trace.of_submission(organisation, found)}
    return show(request, "message", context)


@require_safe
@administrator_required
def domains(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Sending domains, what to publish for each, and what was found."""
    found = [(domain, _published(domain)) for domain in organisation.sending_domains.order_by("name")]
    return show(request, "domains", {"domains": found})


@dataclass(frozen=True, slots=True)
class Published:
    """A record to publish, and what the last check found."""

    purpose: str
    name: str
    kind: str
    value: str
    found: tuple[str, ...] | None  # None: not checked yet
    is_right: bool
    is_needed: bool


def _published(domain: SendingDomain) -> tuple[Published, ...]:
    findings = {one["purpose"]: one for one in domain.findings}
    return tuple(
        Published(
            record.purpose,
            record.name,
            record.kind,
            record.value,
            tuple(findings[record.purpose]["found"]) if record.purpose in findings else None,
            bool(findings.get(record.purpose, {}).get("right")),
            record.is_needed,
        )
        for record in records(domain, settings.ZEGEL.hostname)
    )


def _sought(organisation: Organisation, text: str) -> QuerySet[Submission]:
    found = Submission.objects.filter(organisation=organisation)
    try:
        key = Mailbox.parse(text).key
    except NotAMailbox:
        return found.filter(message_id=text.strip())
    to = Recipient.objects.filter(key=key, submission__organisation=organisation).values("submission")
    return found.filter(Q(id__in=to) | Q(account__key=key) | Q(message_id=text.strip()))


def _lines(submissions: Sequence[Submission]) -> tuple[Line, ...]:
    counts: defaultdict[uuid.UUID, Counter[str]] = defaultdict(Counter)
    for submission, state in Recipient.objects.filter(submission__in=submissions).values_list("submission_id", "state"):
        counts[submission][state] += 1
    return tuple(_line(submission, counts[submission.id]) for submission in submissions)


def _line(submission: Submission, counts: Counter[str]) -> Line:
    states = tuple((words.state(state), counts[state]) for state in Recipient.State.values if state in counts)
    return Line(submission, counts.total(), states)


def _identifier(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
