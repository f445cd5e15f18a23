"""The administrator's pages about messages: found, followed, and handed out. Never a subject, never content."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Min
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from zegel.accounts.models import Organisation
from zegel.console import trace, words
from zegel.console.access import allows
from zegel.console.forms import SearchForm
from zegel.console.page import show
from zegel.console.words import Badge
from zegel.core.policy.roles import Capability
from zegel.journey import proving, seeking
from zegel.journey.custody.models import Recipient, Submission
from zegel.journey.portal.typesetting import NotMade
from zegel.journey.proving import Proof

IN_FULL: Final = 3  # recipients on the page of a message; of more of them each has a page of its own
LINES: Final = 50  # recipients in a list
_VERSION: Final = "X-Trace-Version"  # what a page that keeps itself up to date has


@dataclass(frozen=True, slots=True)
class Line:
    """A submission in a list."""

    submission: Submission
    to: str  # the first of its recipients, in the order of the alphabet
    recipients: int
    states: tuple[tuple[Badge, int], ...]

    @property
    def others(self) -> int:
        """Recipients that aren't named."""
        return self.recipients - 1


def lines(submissions: Sequence[Submission]) -> tuple[Line, ...]:
    """With how far each is with its recipients."""
    counts: defaultdict[uuid.UUID, dict[str, int]] = defaultdict(dict)
    first: dict[uuid.UUID, str] = {}
    grouped = Recipient.objects.filter(submission__in=submissions).values_list("submission", "state")
    for submission, state, count, address in grouped.annotate(Count("id"), Min("address")):
        counts[submission][state] = count
        first[submission] = min(address, first.get(submission, address))
    return tuple(_line(one, first.get(one.id, ""), counts[one.id]) for one in submissions)


def _line(submission: Submission, to: str, counts: dict[str, int]) -> Line:
    states = tuple((words.state(state), counts[state]) for state in Recipient.State.values if state in counts)
    return Line(submission, to, sum(counts.values()), states)


# --- found -------------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.TRACE)
def search(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """What was sought, a page at a time. By POST: an address is personal, and a URL ends up in histories and logs."""
    if request.method != "POST":
        return redirect("console:overview")
    form = SearchForm(request.POST)
    if not form.is_valid():
        return show(request, "search", {"form": form})
    below = _identifier(request.POST.get("below", ""))
    found = seeking.find(organisation, form.sought_for, below=below)
    context = {
        "form": form,
        "is_search": True,
        "lines": lines(found.submissions),
        "older": found.older,
        "looked_until": found.looked_until,
        "is_first": below is None,
    }
    return show(request, "search", context)


def _identifier(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


# --- followed ----------------------------------------------------------------------------------------------------


@require_safe
@allows(Capability.TRACE)
def message(request: HttpRequest, organisation: Organisation, submission: uuid.UUID) -> HttpResponse:
    """The way of one submission: to each of a few recipients in full, of many in a list."""
    found = _submission(organisation, submission)
    recipients = Recipient.objects.filter(submission=found, conversation__organisation=organisation)
    if recipients.count() <= IN_FULL:
        return _followed(request, found, None)
    page = Paginator(recipients.select_related("conversation").order_by("key", "id"), LINES)
    one = page.get_page(request.GET.get("page"))
    listed = [(recipient, words.state(recipient.state)) for recipient in one]
    return show(request, "message_many", {"submission": found, "page": one, "recipients": listed})


@require_safe
@allows(Capability.TRACE)
def recipient(
    request: HttpRequest, organisation: Organisation, submission: uuid.UUID, recipient: uuid.UUID
) -> HttpResponse:
    """The way to one recipient."""
    found = _submission(organisation, submission)
    return _followed(request, found, _recipient(organisation, found, recipient))


def _followed(request: HttpRequest, submission: Submission, only: Recipient | None) -> HttpResponse:
    """A page asks for what is new by saying what it has: nothing, where that is all."""
    told = trace.of_submission(submission, only=only.id if only else None)
    context: dict[str, Any] = {"submission": submission, "trace": told, "recipient": only}
    known = request.headers.get(_VERSION)
    if known is None:
        return show(request, "message", context)
    if known == told["version"]:
        return HttpResponse(status=HTTPStatus.NO_CONTENT)
    return render(request, "console/message_way.html", context)


def _submission(organisation: Organisation, submission: uuid.UUID) -> Submission:
    with_whom = Submission.objects.select_related("account", "credential", "token", "organisation")
    return get_object_or_404(with_whom, id=submission, organisation=organisation)


def _recipient(organisation: Organisation, submission: Submission, recipient: uuid.UUID) -> Recipient:
    found = Recipient.objects.filter(id=recipient, submission=submission, conversation__organisation=organisation)
    one = found.first()
    if one is None:
        raise Http404
    return one


# --- handed out --------------------------------------------------------------------------------------------------


@require_POST
@allows(Capability.TRACE)
def message_export(request: HttpRequest, organisation: Organisation, submission: uuid.UUID) -> HttpResponse:
    """A file about all recipients. By POST: that somebody took it is noted."""
    return _exported(request, _submission(organisation, submission), None)


@require_POST
@allows(Capability.TRACE)
def recipient_export(
    request: HttpRequest, organisation: Organisation, submission: uuid.UUID, recipient: uuid.UUID
) -> HttpResponse:
    """A file about one recipient, which says nothing of the others."""
    found = _submission(organisation, submission)
    return _exported(request, found, _recipient(organisation, found, recipient))


def _exported(request: HttpRequest, submission: Submission, only: Recipient | None) -> HttpResponse:
    one = only.id if only else None
    if request.POST.get("as") == "json":
        return _file(proving.trace_file(submission, only=one), submission, "json")
    made = proving.proof_of_delivery(submission, language=get_language() or "nl", now=timezone.now(), only=one)
    match made:
        case Proof():
            return _file(made, submission, "pdf")
        case NotMade.TOO_LONG:
            why = _("There are too many recipients for one PDF. Make it for one recipient, or export JSON.")
        case NotMade.BUSY | NotMade.BROKEN:
            why = _("The PDF could not be made now. Try again in a moment, or export JSON.")
    messages.warning(request, why)
    if only is not None:
        return redirect("console:recipient", submission=submission.id, recipient=only.id)
    return redirect("console:message", submission=submission.id)


_TYPES: Final = {"json": "application/json", "pdf": "application/pdf"}


def _file(proof: Proof, submission: Submission, form: str) -> HttpResponse:
    response = HttpResponse(proof.octets, content_type=_TYPES[form])
    response["Content-Disposition"] = f'attachment; filename="zegel-{submission.id}.{form}"'
    response["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'; sandbox"
    return response
