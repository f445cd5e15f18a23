"""The administrator's pages about verification data. A number or code goes in and never comes out: what is shown is
masked, what was typed is in no address, no error and no form."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import cache
from http import HTTPStatus
from typing import Final

from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from zegel.accounts.models import Organisation
from zegel.console.access import allows
from zegel.console.forms import RecipientSearchForm
from zegel.console.page import show
from zegel.console.releasing import decide_again
from zegel.console.rules import Known, version_of
from zegel.console.submission import Outcome
from zegel.core.mail.address import Domain, Mailbox
from zegel.core.policy.roles import Capability
from zegel.core.policy.verification import Method, method_of
from zegel.core.seal.wrap import SealingKey
from zegel.edge.keyring import submission_keys
from zegel.journey.custody import memory
from zegel.journey.custody.models import VerificationData
from zegel.journey.portal.filling_in import CorrectionForm, NewEntryForm

PAGE: Final = 25


@require_safe
@allows(Capability.VERIFICATION)
def verification(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """What is known, the newest entries first, a page at a time."""
    before = _identifier(request.GET.get("before", ""))
    found = _of(organisation)
    if before is not None:
        found = found.filter(id__lt=before)
    page = list(found.order_by("-id")[: PAGE + 1])
    context = {
        "search": RecipientSearchForm(),
        "rows": _shown(page[:PAGE]),
        "older": page[PAGE - 1].id if len(page) > PAGE else None,
        "is_first": before is None,
    }
    return show(request, "verification", context)


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.VERIFICATION)
def search(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """What is known about recipients, by address, a page at a time. By POST: an address is personal, and a URL ends up
    in histories and logs."""
    if request.method != "POST":
        return redirect("console:verification")
    form = RecipientSearchForm(request.POST)
    if not form.is_valid():
        return show(request, "verification", {"search": form, "rows": ()})
    sought = _sought(_of(organisation), form.cleaned_data["address"])
    page = list(_behind(sought, request.POST.get("after", "")).order_by("key", "id")[: PAGE + 1])
    context = {
        "search": form,
        "rows": _shown(page[:PAGE]),
        "is_search": True,
        "more": page[PAGE - 1].id if len(page) > PAGE else None,
    }
    return show(request, "verification", context)


def _sought(found: QuerySet[VerificationData], address: Mailbox | Domain | str) -> QuerySet[VerificationData]:
    match address:
        case Mailbox(key=key):
            return found.filter(key=key)
        case Domain(ascii=domain):
            return found.filter(key__endswith=f"@{domain}")
        case beginning:  # by the index, which a pattern would not use
            return found.filter(key__gte=beginning, key__lt=f"{beginning}\U0010ffff")


def _behind(found: QuerySet[VerificationData], after: str) -> QuerySet[VerificationData]:
    """What follows a row, which a page names by its id; all of it where that isn't there any more."""
    identity = _identifier(after)
    last = found.filter(id=identity).first() if identity is not None else None
    if last is None:
        return found
    return found.filter(Q(key__gt=last.key) | Q(key=last.key, id__gt=last.id), key__gte=last.key)


@sensitive_post_parameters("phone", "code", "hint")
@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.VERIFICATION)
def add(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """A number or code for the whole organisation. It replaces none that is there."""
    form = NewEntryForm(request.POST if request.method == "POST" else None, region=organisation.region)
    if request.method == "POST" and form.is_valid():
        supplied = _supply(organisation, form)
        if supplied is not None:
            _tell_of_release(request, supplied)
            return redirect("console:verification")
    return show(request, "verification_add", {"form": form})


def _supply(organisation: Organisation, form: NewEntryForm) -> int | None:
    """How many are decided again; ``None`` where there is one already."""
    mailbox, verification = form.cleaned_data["address"], form.verification
    assert verification is not None
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=organisation.pk)
        method = method_of(verification).value
        if _of(current).filter(key=mailbox.key, method=method, account=None).exists():
            form.add_error(
                "address", _("There is one already, for the whole organisation. Search for it, and correct it.")
            )
            return None
        memory.supply(
            current,
            mailbox,
            verification,
            account=None,
            origin=VerificationData.Origin.ADMINISTRATOR,
            now=timezone.now(),
            sealing=_sealing_key(),
        )
        return decide_again(current, key=mailbox.key)


@sensitive_post_parameters("phone", "code", "hint")
@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.VERIFICATION)
def correct(request: HttpRequest, organisation: Organisation, row: uuid.UUID) -> HttpResponse:
    """Another number or code in the place of one, if nobody else changed it meanwhile."""
    found = _row(organisation, row)
    form = _correction(request, Method(found.method), organisation)
    outcome = None
    if request.method == "POST":
        outcome, released = _correct(organisation, row, form, request.POST.get("version", ""))
        if outcome is Outcome.STORED:
            _tell_of_release(request, released)
            return redirect("console:verification")
        found = _row(organisation, row)
    known = Known.of(found)
    context = {"form": form, "known": known, "version": version_of(known.value), "is_stale": outcome is Outcome.STALE}
    status = HTTPStatus.CONFLICT if outcome is Outcome.STALE else HTTPStatus.OK
    return show(request, "verification_correct", context, status=status)


def _correction(request: HttpRequest, method: Method, organisation: Organisation) -> CorrectionForm:
    data = request.POST if request.method == "POST" else None
    form = CorrectionForm(data, methods=(method,), region=organisation.region)
    asked = form.fields["phone" if method is Method.SMS else "code"]
    asked.required = True  # there is nothing else that could be filled in
    asked.error_messages["required"] = (
        _("Fill in a mobile number.") if method is Method.SMS else _("Fill in an access code.")
    )
    return form


def _correct(organisation: Organisation, row: uuid.UUID, form: CorrectionForm, version: str) -> tuple[Outcome, int]:
    is_valid = form.is_valid()
    with transaction.atomic():
        current = _row(organisation, row, for_update=True)
        if version != version_of(Known.of(current).value):
            return Outcome.STALE, 0
        if not is_valid:
            return Outcome.INCOMPLETE, 0
        assert form.verification is not None
        memory.correct(
            current,
            form.verification,
            origin=VerificationData.Origin.ADMINISTRATOR,
            now=timezone.now(),
            sealing=_sealing_key(),
        )
        return Outcome.STORED, decide_again(organisation, key=current.key)


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.VERIFICATION)
def remove(request: HttpRequest, organisation: Organisation, row: uuid.UUID) -> HttpResponse:
    """Asks once, then forgets it."""
    found = _row(organisation, row)
    if request.method != "POST":
        known = Known.of(found)
        return show(request, "verification_remove", {"known": known, "version": version_of(known.value)})
    with transaction.atomic():
        current = _row(organisation, row, for_update=True)
        is_meant = request.POST.get("version") == version_of(Known.of(current).value)
        if is_meant:
            memory.forget(current)
    if is_meant:
        messages.success(request, _("It is removed, and holds for no message that is decided from now on."))
    else:
        messages.error(
            request, _("This was changed meanwhile, by somebody else or in another window. Nothing was removed.")
        )
    return redirect("console:verification")


# --- shared ------------------------------------------------------------------------------------------------------


def _of(organisation: Organisation) -> QuerySet[VerificationData]:
    found = VerificationData.objects.filter(organisation=organisation)
    return found.select_related("account").defer("sealed")  # what is sealed is many times what is shown


def _row(organisation: Organisation, row: uuid.UUID, *, for_update: bool = False) -> VerificationData:
    """Raises ``Http404`` for one of another organisation."""
    found = _of(organisation)
    return get_object_or_404(found.select_for_update(of=("self",)) if for_update else found, id=row)


def _shown(rows: Sequence[VerificationData] | QuerySet[VerificationData]) -> tuple[Known, ...]:
    return tuple(Known.of(row) for row in rows)


def _tell_of_release(request: HttpRequest, released: int) -> None:
    messages.success(request, _("The data is stored, and holds from the next message on."))
    if released:
        messages.success(request, _("Recipients who were held for lack of it are looked at again now."))


@cache
def _sealing_key() -> SealingKey:
    return submission_keys(settings.ZEGEL.keys).sealing


def _identifier(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
