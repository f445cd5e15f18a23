"""The administrator's pages about submission: SMTP credentials, what proves a client, and how much is accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import assert_never

from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from zegel.accounts import credentials as smtp_credentials
from zegel.accounts import submitting
from zegel.accounts.models import Organisation, SmtpCredential
from zegel.console.access import allows
from zegel.console.forms import BindingForm, CredentialForm, OrganisationCapsForm, ProofForm
from zegel.console.page import show
from zegel.console.rules import Binding, Proof, texts_of, use_of, version_of
from zegel.core.policy.roles import Capability
from zegel.core.policy.submitting import written_author


class Outcome(Enum):
    """What became of a form."""

    STORED = auto()
    INCOMPLETE = auto()  # something in it is not understood
    STALE = auto()  # what it was made of changed meanwhile; nothing was stored
    DOUBTFUL = auto()  # it weakens something, and is asked about once more


@dataclass(frozen=True, slots=True)
class BoundAuthor:
    """A From address or domain that a credential is bound to."""

    written: str
    is_ours: bool  # its domain is a sending domain of the organisation; else it binds to nothing


# --- credentials -------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.SUBMISSION)
def credentials(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """SMTP credentials. The answer to a POST is, but for :func:`rotate`, the one page that ever shows a secret."""
    form = CredentialForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        return _issued(request, smtp_credentials.issue(organisation, form.cleaned_data["description"]))
    return show(request, "credentials", {"form": form, "credentials": _newest_first(organisation)})


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.SUBMISSION)
def credential(request: HttpRequest, organisation: Organisation, credential: int) -> HttpResponse:
    """One credential: what is known of it, and what it is bound to. A POST binds it, if nobody else did meanwhile."""
    found = get_object_or_404(organisation.smtp_credentials, pk=credential)
    if request.method != "POST":
        return _credential(request, found, BindingForm.of_credential(found))
    form = BindingForm(request.POST)
    outcome = _bind(found, form, request.POST.get("version", ""))
    if outcome is Outcome.STORED:
        messages.success(request, _("The changes are stored."))
        return redirect("console:credential", credential)
    found.refresh_from_db()
    return _credential(request, found, form, outcome)


def _bind(credential: SmtpCredential, form: BindingForm, version: str) -> Outcome:
    is_valid = form.is_valid()
    with transaction.atomic():
        current = SmtpCredential.objects.select_for_update().get(pk=credential.pk)
        if current.disabled_at is not None or version != version_of(Binding.of(current)):
            return Outcome.STALE
        if not is_valid:
            return Outcome.INCOMPLETE
        binding = form.binding
        submitting.bind(current, networks=binding.networks, authors=binding.authors)
        submitting.cap(current, binding.caps)
        submitting.cap_texts(current, binding.text_caps)
    return Outcome.STORED


def _credential(
    request: HttpRequest, credential: SmtpCredential, form: BindingForm, outcome: Outcome | None = None
) -> HttpResponse:
    context = {
        "credential": credential,
        "is_rotating": credential.previous_hash is not None,
        "authors": _bound_authors(credential),
        "uses": use_of(credential),
        "texts": texts_of(credential),
        "form": form,
        "version": version_of(Binding.of(credential)),
        "is_stale": outcome is Outcome.STALE,
    }
    return show(request, "credential", context, status=_status(outcome))


def _bound_authors(credential: SmtpCredential) -> tuple[BoundAuthor, ...]:
    ours = set(credential.organisation.sending_domains.values_list("name", flat=True))
    return tuple(
        BoundAuthor(written_author(author), author.rpartition("@")[2] in ours) for author in credential.authors
    )


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.SUBMISSION)
def rotate(request: HttpRequest, organisation: Organisation, credential: int) -> HttpResponse:
    """Asks once, then makes a second secret and shows it once. The one in use stays valid."""
    found = _enabled(organisation, credential)
    if found.previous_hash is None:
        if request.method != "POST":
            return show(request, "credential_rotate", {"credential": found})
        try:
            return _issued(request, smtp_credentials.rotate(found), is_second=True)
        except smtp_credentials.StillRotating:
            pass  # by somebody else, a moment ago
    messages.error(request, _("Two secrets are valid already. End the previous one before you make another."))
    return redirect("console:credential", credential)


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.SUBMISSION)
def end_previous(request: HttpRequest, organisation: Organisation, credential: int) -> HttpResponse:
    """Asks once, and says when the previous secret was last used; then ends that secret, and no other."""
    found = _enabled(organisation, credential)
    if request.method != "POST":
        if found.previous_hash is None:
            return redirect("console:credential", credential)
        return show(request, "credential_end_previous", {"credential": found, "version": _rotation(found)})
    with transaction.atomic():
        found = _enabled(organisation, credential, for_update=True)
        is_meant = found.previous_hash is not None and request.POST.get("version") == _rotation(found)
        if is_meant:
            smtp_credentials.end_previous(found)
    if is_meant:
        messages.success(request, _("The previous secret is ended."))
    else:
        messages.error(
            request, _("This was changed meanwhile, by somebody else or in another window. Nothing was ended.")
        )
    return redirect("console:credential", credential)


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.SUBMISSION)
def disable(request: HttpRequest, organisation: Organisation, credential: int) -> HttpResponse:
    """Asks once, then refuses the credential from the next command on."""
    found = _enabled(organisation, credential)
    if request.method != "POST":
        return show(request, "credential_disable", {"credential": found})
    smtp_credentials.disable(found)
    messages.success(request, _("The credential is disabled."))
    return redirect("console:credentials")


def _enabled(organisation: Organisation, credential: int, *, for_update: bool = False) -> SmtpCredential:
    """Raises ``Http404`` for any other."""
    found = organisation.smtp_credentials.all()
    return get_object_or_404(found.select_for_update() if for_update else found, pk=credential, disabled_at=None)


def _rotation(credential: SmtpCredential) -> str:
    return version_of(credential.rotated_at)


def _newest_first(organisation: Organisation) -> QuerySet[SmtpCredential]:
    """Those that can be used before those that can't."""
    return organisation.smtp_credentials.order_by(F("disabled_at").desc(nulls_first=True), "-created_at", "-pk")


def _issued(request: HttpRequest, issued: smtp_credentials.NewCredential, *, is_second: bool = False) -> HttpResponse:
    context = {
        "credential": issued.credential,
        "secret": issued.secret.reveal(),
        "is_second": is_second,
        **_connection(),
    }
    return show(request, "credential_issued", context)


# --- of the organisation -----------------------------------------------------------------------------------------


@require_safe
@allows(Capability.SUBMISSION)
def submission(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """How to connect, what proves a client, and how much is accepted."""
    return _submission(request, organisation)


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.SUBMISSION)
def prove(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """What proves a client. SPF that tells nobody apart is asked about once more."""
    if request.method != "POST":
        return redirect("console:submission")
    form = ProofForm(request.POST)
    outcome = _demand(organisation, form, request.POST.get("version", ""), is_confirmed="confirmed" in request.POST)
    match outcome:
        case Outcome.STORED:
            messages.success(request, _("The changes are stored."))
            return redirect("console:submission")
        case Outcome.DOUBTFUL:
            context = {"form": form, "proof": form.proof, "version": request.POST["version"]}
            return show(request, "submission_confirm", context)
        case Outcome.STALE | Outcome.INCOMPLETE:
            organisation.refresh_from_db()
            return _submission(request, organisation, proof=form, outcome=outcome)
        case unreachable:
            assert_never(unreachable)


def _demand(organisation: Organisation, form: ProofForm, version: str, *, is_confirmed: bool) -> Outcome:
    is_valid = form.is_valid()
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=organisation.pk)
        held = Proof.of(current)
        if version != version_of(held):
            return Outcome.STALE
        if not is_valid:
            return Outcome.INCOMPLETE
        wanted = form.proof
        if wanted.is_loose and wanted != held and not is_confirmed:
            return Outcome.DOUBTFUL
        submitting.demand(
            current,
            Organisation.Authentication(wanted.authentication),
            networks=wanted.networks,
            needs_dkim=wanted.needs_dkim,
        )
    return Outcome.STORED


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.SUBMISSION)
def limit(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """How much is accepted of the organisation."""
    if request.method != "POST":
        return redirect("console:submission")
    form = OrganisationCapsForm(request.POST)
    outcome = _cap(organisation, form, request.POST.get("version", ""))
    if outcome is Outcome.STORED:
        messages.success(request, _("The changes are stored."))
        return redirect("console:submission")
    organisation.refresh_from_db()
    return _submission(request, organisation, caps=form, outcome=outcome)


def _cap(organisation: Organisation, form: OrganisationCapsForm, version: str) -> Outcome:
    is_valid = form.is_valid()
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=organisation.pk)
        if version != _caps_version(current):
            return Outcome.STALE
        if not is_valid:
            return Outcome.INCOMPLETE
        submitting.cap(current, form.caps)
        submitting.cap_texts(current, form.text_caps)
        submitting.price_texts(current, form.text_money)
    return Outcome.STORED


def _caps_version(organisation: Organisation) -> str:
    of = (submitting.caps_of, submitting.text_caps_of, submitting.text_money_of)
    return version_of(tuple(read(organisation) for read in of))


def _submission(
    request: HttpRequest,
    organisation: Organisation,
    *,
    proof: ProofForm | None = None,
    caps: OrganisationCapsForm | None = None,
    outcome: Outcome | None = None,
) -> HttpResponse:
    held = Proof.of(organisation)
    domains = list(organisation.sending_domains.order_by("name"))
    context = {
        **_connection(),
        "held": held,
        "held_words": organisation.get_authentication_display(),
        "proof": proof or ProofForm.of(organisation),
        "proof_version": version_of(held),
        "proof_is_stale": proof is not None and outcome is Outcome.STALE,
        "caps": caps or OrganisationCapsForm.of(organisation),
        "caps_version": _caps_version(organisation),
        "caps_are_stale": caps is not None and outcome is Outcome.STALE,
        "uses": use_of(organisation),
        "texts": texts_of(organisation),
        "gateway_countries": settings.ZEGEL.sms.countries,
        "in_place": [domain for domain in domains if domain.in_place],
        "not_in_place": [domain for domain in domains if not domain.in_place],
    }
    return show(request, "submission", context, status=_status(outcome))


def _connection() -> Mapping[str, object]:
    section = settings.ZEGEL.submission
    return {
        "server": settings.ZEGEL.hostname,
        "ports": sorted({one.port for one in section.listen}),
        "implicit_tls_ports": sorted({one.port for one in section.listen_implicit_tls}),
    }


def _status(outcome: Outcome | None) -> HTTPStatus:
    return HTTPStatus.CONFLICT if outcome is Outcome.STALE else HTTPStatus.OK
