"""The administrator's pages about recipients: what is allowed, direct-delivery domains, minimums."""

from __future__ import annotations

from http import HTTPStatus
from typing import assert_never

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from zegel.accounts import policy as policies
from zegel.accounts.models import DirectDeliveryDomain, DomainMinimum, Organisation
from zegel.console import words
from zegel.console.access import allows
from zegel.console.forms import DirectDomainForm, LevelForm, MinimumForm, MinimumMethodForm, RecipientPolicyForm
from zegel.console.page import show
from zegel.console.releasing import decide_again
from zegel.console.rules import DirectDomain, Minimum, doubts_of, version_of
from zegel.console.submission import Outcome
from zegel.core.mail.address import Domain
from zegel.core.policy.roles import Capability
from zegel.core.policy.verification import Method

# --- the policy --------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.POLICY)
def policy(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """What is allowed for recipients. Inbound direct delivery is asked about once more before it is switched on."""
    if request.method != "POST":
        return _policy(request, organisation, RecipientPolicyForm.of(organisation))
    form = RecipientPolicyForm(request.POST)
    version = request.POST.get("version", "")
    outcome = _permit(organisation, form, version, is_confirmed="confirmed" in request.POST)
    match outcome:
        case Outcome.STORED:
            messages.success(request, _("The changes are stored."))
            return redirect("console:recipients")
        case Outcome.DOUBTFUL:
            domains = organisation.sending_domains.filter(in_place=True).order_by("name")
            return show(request, "recipients_inbound", {"form": form, "version": version, "domains": domains})
        case Outcome.STALE | Outcome.INCOMPLETE:
            organisation.refresh_from_db()
            return _policy(request, organisation, form, outcome)
        case unreachable:
            assert_never(unreachable)


def _permit(organisation: Organisation, form: RecipientPolicyForm, version: str, *, is_confirmed: bool) -> Outcome:
    is_valid = form.is_valid()
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=organisation.pk)
        held = policies.policy_of(current)
        if version != version_of(held):
            return Outcome.STALE
        if not is_valid:
            return Outcome.INCOMPLETE
        wanted = form.policy
        if wanted.takes_inbound_direct_delivery > held.takes_inbound_direct_delivery and not is_confirmed:
            return Outcome.DOUBTFUL
        if policies.permit(current, wanted):
            decide_again(current)
    return Outcome.STORED


def _policy(
    request: HttpRequest, organisation: Organisation, form: RecipientPolicyForm, outcome: Outcome | None = None
) -> HttpResponse:
    held = policies.policy_of(organisation)
    context = {
        "form": form,
        "held": held,
        "held_methods": [words.method(method.value) for method in held.allowed],
        "held_subject": organisation.get_subject_display(),
        "version": version_of(held),
        "is_stale": outcome is Outcome.STALE,
        "doubts": doubts_of(organisation),
        "domains": organisation.direct_delivery_domains.filter(source=None).count(),
        "minimums": organisation.domain_minimums.count(),
    }
    return show(request, "recipients", context, status=_status(outcome))


# --- direct-delivery domains -------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.POLICY)
def domains(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """The domains that were entered here. A POST adds one, and changes none that is there."""
    form = DirectDomainForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid() and _add_domain(organisation, form):
        messages.success(request, _("The domain is on the list."))
        return redirect("console:direct_delivery")
    entries = organisation.direct_delivery_domains.filter(source=None).order_by("domain")
    return show(
        request,
        "recipients_domains",
        {"form": form, "entries": [DirectDomain.of(entry) for entry in entries], "doubts": doubts_of(organisation)},
    )


def _add_domain(organisation: Organisation, form: DirectDomainForm) -> bool:
    domain: Domain = form.cleaned_data["domain"]
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=organisation.pk)
        if policies.entered(current, domain) is not None:
            form.complain_of_second()
            return False
        policies.deliver_directly(current, domain, form.level)
        decide_again(current, domain=domain.ascii)
    return True


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.POLICY)
def domain(request: HttpRequest, organisation: Organisation, entry: int) -> HttpResponse:
    """The level of one domain."""
    found = _entry(organisation, entry)
    form = LevelForm(request.POST) if request.method == "POST" else LevelForm.of(policies.level_of(found))
    outcome = None
    if request.method == "POST":
        outcome = _change_level(organisation, entry, form, request.POST.get("version", ""))
        if outcome is Outcome.STORED:
            messages.success(request, _("The changes are stored."))
            return redirect("console:direct_delivery")
        found = _entry(organisation, entry)
    shown = DirectDomain.of(found)
    context = {
        "form": form,
        "entry": shown,
        "version": version_of(shown.level),
        "is_stale": outcome is Outcome.STALE,
    }
    return show(request, "recipients_domain", context, status=_status(outcome))


def _change_level(organisation: Organisation, entry: int, form: LevelForm, version: str) -> Outcome:
    is_valid = form.is_valid()
    with transaction.atomic():
        current = _entry(organisation, entry, for_update=True)
        if version != version_of(policies.level_of(current)):
            return Outcome.STALE
        if not is_valid:
            return Outcome.INCOMPLETE
        policies.deliver_directly(organisation, Domain(current.domain), form.level)
    return Outcome.STORED


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.POLICY)
def domain_remove(request: HttpRequest, organisation: Organisation, entry: int) -> HttpResponse:
    """Asks once, then takes the domain off the list."""
    found = _entry(organisation, entry)
    if request.method != "POST":
        shown = DirectDomain.of(found)
        return show(request, "recipients_domain_remove", {"entry": shown, "version": version_of(shown.level)})
    with transaction.atomic():
        current = _entry(organisation, entry, for_update=True)
        is_meant = request.POST.get("version") == version_of(policies.level_of(current))
        if is_meant:
            policies.deliver_directly_no_more(organisation, Domain(current.domain))
    _tell_of_removal(request, _("The domain is off the list."), is_meant=is_meant)
    return redirect("console:direct_delivery")


def _entry(organisation: Organisation, entry: int, *, for_update: bool = False) -> DirectDeliveryDomain:
    """Raises ``Http404`` for one of another organisation, and for what stands in an imported list."""
    found = organisation.direct_delivery_domains.filter(source=None)
    return get_object_or_404(found.select_for_update() if for_update else found, pk=entry)


# --- minimums ----------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.POLICY)
def minimums(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """What recipients must verify with at least, by domain. A POST adds one, and changes none that is there."""
    form = MinimumForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid() and _add_minimum(organisation, form):
        messages.success(request, _("The minimum is stored."))
        return redirect("console:minimums")
    found = organisation.domain_minimums.order_by("domain")
    return show(
        request,
        "recipients_minimums",
        {"form": form, "minimums": [Minimum.of(one) for one in found], "doubts": doubts_of(organisation)},
    )


def _add_minimum(organisation: Organisation, form: MinimumForm) -> bool:
    domain: str = form.cleaned_data["domain"]
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=organisation.pk)
        if current.domain_minimums.filter(domain=domain).exists():
            form.complain_of_second()
            return False
        _demand(current, domain, form.method)
    return True


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.POLICY)
def minimum(request: HttpRequest, organisation: Organisation, minimum: int) -> HttpResponse:
    """The minimum of one domain."""
    found = _minimum(organisation, minimum)
    form = MinimumMethodForm(request.POST) if request.method == "POST" else MinimumMethodForm.of(found)
    outcome = None
    if request.method == "POST":
        outcome = _change_minimum(organisation, minimum, form, request.POST.get("version", ""))
        if outcome is Outcome.STORED:
            messages.success(request, _("The changes are stored."))
            return redirect("console:minimums")
        found = _minimum(organisation, minimum)
    context = {
        "form": form,
        "minimum": Minimum.of(found),
        "version": version_of(found.method),
        "is_stale": outcome is Outcome.STALE,
    }
    return show(request, "recipients_minimum", context, status=_status(outcome))


def _change_minimum(organisation: Organisation, minimum: int, form: MinimumMethodForm, version: str) -> Outcome:
    is_valid = form.is_valid()
    with transaction.atomic():
        current = _minimum(organisation, minimum, for_update=True)
        if version != version_of(current.method):
            return Outcome.STALE
        if not is_valid:
            return Outcome.INCOMPLETE
        _demand(organisation, current.domain, form.method)
    return Outcome.STORED


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.POLICY)
def minimum_remove(request: HttpRequest, organisation: Organisation, minimum: int) -> HttpResponse:
    """Asks once, then takes the minimum away."""
    found = _minimum(organisation, minimum)
    if request.method != "POST":
        context = {"minimum": Minimum.of(found), "version": version_of(found.method)}
        return show(request, "recipients_minimum_remove", context)
    with transaction.atomic():
        current = _minimum(organisation, minimum, for_update=True)
        is_meant = request.POST.get("version") == version_of(current.method)
        if is_meant:
            _demand(organisation, current.domain, None)
    _tell_of_removal(request, _("The minimum is removed."), is_meant=is_meant)
    return redirect("console:minimums")


def _demand(organisation: Organisation, domain: str, minimum: Method | None) -> None:
    if policies.demand_at_least(organisation, domain, minimum):
        decide_again(organisation, domain=None if domain == DomainMinimum.EVERY_OTHER else domain)


def _minimum(organisation: Organisation, minimum: int, *, for_update: bool = False) -> DomainMinimum:
    """Raises ``Http404`` for one of another organisation."""
    found = organisation.domain_minimums.all()
    return get_object_or_404(found.select_for_update() if for_update else found, pk=minimum)


# --- shared ------------------------------------------------------------------------------------------------------


def _tell_of_removal(request: HttpRequest, done: str, *, is_meant: bool) -> None:
    if is_meant:
        messages.success(request, done)
    else:
        messages.error(
            request, _("This was changed meanwhile, by somebody else or in another window. Nothing was removed.")
        )


def _status(outcome: Outcome | None) -> HTTPStatus:
    return HTTPStatus.CONFLICT if outcome is Outcome.STALE else HTTPStatus.OK
