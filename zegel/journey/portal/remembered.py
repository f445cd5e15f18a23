"""An account holder's own verification data: what recipients are verified with, always masked."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from typing import Any, Final, cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from zegel.accounts.models import Account, Organisation
from zegel.core.clock import Instant
from zegel.core.policy.verification import Method
from zegel.journey import milestones
from zegel.journey.custody import memory
from zegel.journey.custody.held import held_of
from zegel.journey.custody.models import Recipient, VerificationData
from zegel.journey.portal.filling_in import CorrectionForm, NewEntryForm
from zegel.journey.portal.pages import View, private, see_other
from zegel.journey.portal.setup import portal

ON_A_PAGE: Final = 25


@dataclass(frozen=True, slots=True)
class Entry:
    """One number or access code."""

    id: uuid.UUID
    address: str
    method: str
    masked: str
    origin: str
    since: Instant
    confirmed_at: Instant | None


def for_senders(view: Callable[..., HttpResponse]) -> View:
    """The page of an account that sends for an organisation; it gets that account, and looks at nobody else's."""

    @private
    @login_required
    @wraps(view)
    def outer(request: HttpRequest, /, **parts: Any) -> HttpResponseBase:
        account = cast("Account", request.user)
        if account.organisation is None:
            raise Http404
        return view(request, account, account.organisation, **parts)

    return outer


@require_safe
@for_senders
def recipients(request: HttpRequest, account: Account, organisation: Organisation) -> HttpResponse:
    """By address."""
    page = Paginator(_own(account, organisation).order_by("key", "-method", "id"), ON_A_PAGE).get_page(
        request.GET.get("page")
    )
    return _show(request, "verification_data", {"entries": [_entry(one) for one in page.object_list], "page": page})


@require_http_methods(["GET", "HEAD", "POST"])
@for_senders
def add(request: HttpRequest, account: Account, organisation: Organisation) -> HttpResponse:
    """A number or access code for a recipient; it replaces what this sender had for the same method."""
    form = NewEntryForm(request.POST if request.method == "POST" else None, region=organisation.region)
    if not form.is_bound or not form.is_valid():
        return _show(request, "verification_data_add", {"form": form}, status=_status(form))
    verification = form.verification
    assert verification is not None
    with transaction.atomic():
        row = memory.supply(
            organisation,
            form.cleaned_data["address"],
            verification,
            account=account,
            origin=VerificationData.Origin.SENDER,
            now=portal().now(),
            sealing=portal().keys.sealing,
        )
        is_waited_for = _decide_again(row)
    return _stored(request, is_waited_for=is_waited_for)


@require_http_methods(["GET", "HEAD", "POST"])
@for_senders
def correct(request: HttpRequest, account: Account, organisation: Organisation, entry: uuid.UUID) -> HttpResponse:
    """Another value of the same method, from the next decision on."""
    row = _one(account, organisation, entry)
    data = request.POST if request.method == "POST" else None
    form = CorrectionForm(data, region=organisation.region, methods=[Method(row.method)])
    if not form.is_bound or not form.is_valid():
        return _show(request, "verification_data_correct", {"form": form, "entry": _entry(row)}, status=_status(form))
    verification = form.verification
    assert verification is not None
    with transaction.atomic():
        row = _one(account, organisation, entry, for_update=True)
        memory.correct(
            row,
            verification,
            origin=VerificationData.Origin.SENDER,
            now=portal().now(),
            sealing=portal().keys.sealing,
        )
        is_waited_for = _decide_again(row)
    return _stored(request, is_waited_for=is_waited_for)


@require_http_methods(["GET", "HEAD", "POST"])
@for_senders
def remove(request: HttpRequest, account: Account, organisation: Organisation, entry: uuid.UUID) -> HttpResponse:
    """Asks once, then forgets. What was decided with it stays."""
    if request.method != "POST":
        return _show(request, "verification_data_remove", {"entry": _entry(_one(account, organisation, entry))})
    with transaction.atomic():
        memory.forget(_one(account, organisation, entry, for_update=True))
    messages.success(request, _("Removed. Messages that were sent before keep their verification."))
    return see_other(reverse("portal:recipients"))


def _own(account: Account, organisation: Organisation) -> QuerySet[VerificationData]:
    return VerificationData.objects.filter(account=account, organisation=organisation)


def _one(
    account: Account, organisation: Organisation, entry: uuid.UUID, *, for_update: bool = False
) -> VerificationData:
    """Of this account; anybody else's doesn't exist (P20)."""
    found = _own(account, organisation).select_related("organisation").filter(id=entry)
    row = (found.select_for_update(of=("self",)) if for_update else found).first()
    if row is None:
        raise Http404
    return row


def _decide_again(row: VerificationData) -> bool:
    """Whether a message of this sender was held for that recipient."""
    waiting = held_of(row.organisation, key=row.key)
    milestones.supplied(waiting, now=portal().now())
    return Recipient.objects.filter(id__in=waiting, submission__account=row.account_id).exists()


def _stored(request: HttpRequest, *, is_waited_for: bool) -> HttpResponse:
    portal().ring()
    if is_waited_for:
        messages.success(request, _("Stored. A message of yours that was held for lack of this goes out now."))
    else:
        messages.success(request, _("Stored. It is used from the next message on."))
    return see_other(reverse("portal:recipients"))


def _entry(row: VerificationData) -> Entry:
    words = {Method.SMS.value: _("Text message"), Method.ACCESS_CODE.value: _("Access code")}
    return Entry(
        row.id,
        row.address,
        words.get(row.method, row.method),
        row.masked,
        str(VerificationData.Origin(row.origin).label),
        row.created_at,
        row.confirmed_at,
    )


def _status(form: NewEntryForm | CorrectionForm) -> HTTPStatus:
    return HTTPStatus.UNPROCESSABLE_ENTITY if form.is_bound else HTTPStatus.OK


def _show(
    request: HttpRequest, page: str, context: dict[str, Any], *, status: HTTPStatus = HTTPStatus.OK
) -> HttpResponse:
    return render(request, f"portal/{page}.html", {"section": "inbox", "tab": "recipients", **context}, status=status)
