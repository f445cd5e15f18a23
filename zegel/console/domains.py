"""The administrator's pages about sending domains: what to publish, what was found, what follows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from zegel.accounts import domains
from zegel.accounts.models import DkimPair, Organisation, SendingDomain
from zegel.console.access import allows
from zegel.console.page import show
from zegel.console.rules import version_of
from zegel.console.words import Badge, Words
from zegel.core.clock import Instant
from zegel.core.mail.address import Domain, NotADomain
from zegel.core.policy.roles import Capability
from zegel.core.policy.sending_domain import PATIENCE, REASONS, Record, State, Weight, safe_to_end
from zegel.core.policy.wording import Wording
from zegel.core.seal.wrap import SealingKey
from zegel.edge.dns import DnsResolver
from zegel.edge.keyring import submission_keys

WITHIN: Final = 8.0  # seconds that a visitor waits for name servers
QUESTION: Final = 3.0  # seconds for one question
_LONGEST_WORD: Final = 80
_STATES: Final[Mapping[tuple[State, Weight], Badge]] = {
    **{(State.RIGHT, weight): Badge(gettext_lazy("right"), "good") for weight in Weight},
    **{(State.UNKNOWN, weight): Badge(gettext_lazy("not known now"), "") for weight in Weight},
    (State.DIFFERENT, Weight.NEEDED): Badge(gettext_lazy("different"), "bad"),
    (State.DIFFERENT, Weight.OPTIONAL): Badge(gettext_lazy("different"), "warn"),
    (State.DIFFERENT, Weight.ADVISED): Badge(gettext_lazy("could be better"), "warn"),
    (State.ABSENT, Weight.NEEDED): Badge(gettext_lazy("missing"), "bad"),
    (State.ABSENT, Weight.OPTIONAL): Badge(gettext_lazy("not published"), ""),
    (State.ABSENT, Weight.ADVISED): Badge(gettext_lazy("not published"), ""),
}
_WEIGHTS: Final[Mapping[Weight, Words]] = {
    Weight.NEEDED: gettext_lazy("needed"),
    Weight.OPTIONAL: gettext_lazy("optional"),
    Weight.ADVISED: gettext_lazy("advice"),
}


# --- what is shown -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Published:
    """A record to publish, and what the last check found."""

    record: Record
    what: str
    weight: Words
    badge: Badge | None  # None: not checked yet
    found: Sequence[str]
    reason: str

    @property
    def shows_found(self) -> bool:
        """What stands there isn't what should."""
        return self.badge is not None and self.badge.kind != "good"


@dataclass(frozen=True, slots=True)
class Shown:
    """A domain as it is now, and the version that forms about it carry along."""

    domain: SendingDomain
    name: str
    badge: Badge
    refused_from: Instant | None  # something is missing, and then mail is refused
    is_refused: bool  # it could send before
    next_pair: DkimPair | None
    previous_pair: DkimPair | None
    safe_at: Instant | None  # to end the previous pair
    is_safe: bool
    version: str

    @classmethod
    def of(cls, domain: SendingDomain) -> Shown:
        """As it is stored."""
        pairs = {one.stage: one for one in domain.dkim_pairs.all()}
        previous = pairs.get(DkimPair.Stage.PREVIOUS)
        safe_at = safe_to_end(previous.at) if previous is not None else None
        since = domain.missing_since
        return cls(
            domain=domain,
            name=_shown(domain.name),
            badge=_badge(domain),
            refused_from=since + PATIENCE if domain.in_place and since is not None else None,
            is_refused=not domain.in_place and domain.proved_at is not None,
            next_pair=pairs.get(DkimPair.Stage.NEXT),
            previous_pair=previous,
            safe_at=safe_at,
            is_safe=safe_at is not None and safe_at <= timezone.now(),
            version=_version(domain),
        )


def _badge(domain: SendingDomain) -> Badge:
    if domain.in_place and domain.missing_since is not None:
        return Badge(gettext_lazy("may send, for now"), "warn")
    if domain.in_place:
        return Badge(gettext_lazy("may send"), "good")
    if domain.proved_at is not None:
        return Badge(gettext_lazy("may not send any more"), "bad")
    return Badge(gettext_lazy("may not send yet"), "warn")


def _version(domain: SendingDomain) -> str:
    """Of its keys: who renews or ends some saw which there were."""
    pairs = sorted((one.stage, one.selector) for one in domain.dkim_pairs.all())
    return version_of((domain.name, domain.dkim_selector, pairs))


def _published(domain: SendingDomain, wanted: Sequence[Record]) -> tuple[Published, ...]:
    findings = {one["purpose"]: one for one in domain.findings}
    return tuple(
        Published(
            record,
            _said(record.what),
            _WEIGHTS[record.weight],
            _found_badge(record, findings.get(record.purpose), domain),
            _found(findings.get(record.purpose)),
            _reason(findings.get(record.purpose)),
        )
        for record in wanted
    )


Found = Mapping[str, Any] | None


def _found_badge(record: Record, finding: Found, domain: SendingDomain) -> Badge | None:
    if record.purpose in domain.not_known:
        return _STATES[State.UNKNOWN, record.weight]
    if finding is None:
        return None
    if finding["right"]:
        return _STATES[State.RIGHT, record.weight]
    return _STATES[State.DIFFERENT if finding["found"] else State.ABSENT, record.weight]


def _found(finding: Found) -> Sequence[str]:
    return finding["found"] if finding is not None else ()


def _reason(finding: Found) -> str:
    reason = REASONS.get(finding.get("reason", "")) if finding is not None else None
    return _said(reason) if reason is not None else ""


def _said(wording: Wording) -> str:
    return wording.nl if get_language() == "nl" else wording.en


def _shown(domain: str) -> str:
    """U-labels for people, with the A-labels beside them: some letters look like others."""
    unicode = Domain(domain).unicode
    return domain if unicode == domain else f"{unicode} ({domain})"


# --- forms -------------------------------------------------------------------------------------------------------


class DomainForm(forms.Form):
    """A domain to send for."""

    domain = forms.CharField(
        label=gettext_lazy("Domain"),
        help_text=gettext_lazy("What stands behind the @ in the addresses of your senders, such as example.org."),
        max_length=255,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}),
        error_messages={
            "required": gettext_lazy("Domain: fill in the domain that you send for, such as example.org."),
            "max_length": gettext_lazy("Domain: that is too long to be a domain. Write it like example.org."),
        },
    )

    def clean_domain(self) -> Domain:
        """Raises a validation error for what is no domain."""
        given = str(self.cleaned_data["domain"])
        try:
            return Domain.parse(given)
        except NotADomain:
            said = _("Domain: “%(given)s” is not a domain name. Write it like example.org.")
            raise ValidationError(said % {"given": given[:_LONGEST_WORD]}) from None

    def complain(self, cause: domains.NotAdded) -> None:
        """In words, at the field that it is about."""
        match cause:
            case domains.AlreadyThere():
                self.add_error("domain", _("Domain: it is one of your sending domains already."))
            case domains.TooLong():
                self.add_error(
                    "domain",
                    _("Domain: it is too long to put records before it. Choose a shorter one, like example.org."),
                )
            case domains.TooManyClaims():
                said = _("There are %(most)s domains already whose records are not in place. Remove one first.")
                self.add_error(None, said % {"most": domains.MOST_CLAIMS})
            case _:
                raise cause


# --- all of them -------------------------------------------------------------------------------------------------


@require_safe
@allows(Capability.DOMAINS)
def overview(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """All sending domains with their state."""
    found = organisation.sending_domains.prefetch_related("dkim_pairs").order_by("name")
    return show(request, "domains", {"domains": [Shown.of(one) for one in found]})


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.DOMAINS)
def add(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """A new one, and then what to publish. Whether somebody else has it makes no difference (P14)."""
    form = DomainForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            added = domains.add(organisation, form.cleaned_data["domain"], sealing=_sealing(), now=timezone.now())
        except domains.NotAdded as cause:
            form.complain(cause)
        else:
            messages.success(request, _("The domain is added. Publish its records; the gateway looks for them itself."))
            return redirect("console:domain", added.pk)
    return show(request, "domain_add", {"form": form})


# --- one of them -------------------------------------------------------------------------------------------------


@require_safe
@allows(Capability.DOMAINS)
def domain(request: HttpRequest, organisation: Organisation, domain: int) -> HttpResponse:
    """What to publish, what was found, what follows, and what can be done."""
    found = _of(organisation, domain)
    wanted = domains.all_records(found, settings.ZEGEL.hostname, now=timezone.now())
    rows = _published(found, wanted)
    context = {
        "shown": Shown.of(found),
        "own": [one for one in rows if one.record.weight is not Weight.ADVISED],
        "advice": [one for one in rows if one.record.weight is Weight.ADVISED],
        "patience": int(PATIENCE.total_seconds()) // 3600,
        "may_be_removed": domains.may_be_removed(found),
    }
    return show(request, "domain", context)


@require_POST
@allows(Capability.DOMAINS)
def check(request: HttpRequest, organisation: Organisation, domain: int) -> HttpResponse:
    """Asks the DNS now, and takes what it says."""
    found = _of(organisation, domain)
    domains.complete(found, sealing=_sealing())
    began = timezone.now()
    wanted = domains.all_records(found, settings.ZEGEL.hostname, now=began)

    async def look() -> tuple[domains.Finding, ...]:
        return await domains.look(wanted, dns=DnsResolver(settings.ZEGEL.resolver(), lifetime=QUESTION), within=WITHIN)

    findings = asyncio.run(look())
    domains.conclude(found, findings, now=timezone.now(), looked_at=began)
    if not organisation.sending_domains.filter(pk=domain).exists():  # removed by somebody else meanwhile
        return redirect("console:domains")
    _tell(request, found, findings)
    return redirect("console:domain", domain)


def _tell(request: HttpRequest, found: SendingDomain, findings: Sequence[domains.Finding]) -> None:
    needed = [one for one in findings if one.record.is_needed]
    if not all(one.is_conclusive for one in needed):
        messages.error(request, _("The name servers gave no usable answer, so nothing was changed. Try again later."))
    elif found.in_place and found.missing_since is None:
        messages.success(request, _("All that is needed was found: mail of this domain is accepted."))
    elif found.is_held_elsewhere:
        messages.error(request, _("All was found, but another organisation on this gateway has this domain."))
    else:
        messages.error(request, _("Not all that is needed was found. See below what was expected."))


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.DOMAINS)
def rotate(request: HttpRequest, organisation: Organisation, domain: int) -> HttpResponse:
    """Asks once, then makes new DKIM keys. Those in use stay so until the record of the new ones is seen."""
    found = _of(organisation, domain)
    if request.method != "POST":
        return show(request, "domain_rotate", {"shown": Shown.of(found)})
    if request.POST.get("version") == _version(found):
        try:
            domains.rotate_dkim(found, sealing=_sealing(), now=timezone.now())
        except domains.StillRotating:
            pass
        else:
            messages.success(request, _("New keys are made. Publish their records; they are used once those are seen."))
            return redirect("console:domain", domain)
    messages.error(request, _("Keys of this domain are being renewed already. Nothing was changed."))
    return redirect("console:domain", domain)


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.DOMAINS)
def withdraw(request: HttpRequest, organisation: Organisation, domain: int) -> HttpResponse:
    """Asks once, then destroys the keys that wait for their records. Mail is signed as before."""
    found = _of(organisation, domain)
    shown = Shown.of(found)
    if request.method != "POST":
        if shown.next_pair is None:
            return redirect("console:domain", domain)
        return show(request, "domain_withdraw", {"shown": shown})
    if request.POST.get("version") == shown.version:
        try:
            selector = domains.withdraw_next_dkim(found)
        except domains.NothingToWithdraw:
            pass
        else:
            said = _(
                "The new keys are withdrawn. Take the records of “%(selector)s” out of the DNS, if they are there."
            )
            messages.success(request, said % {"selector": selector})
            return redirect("console:domain", domain)
    messages.error(
        request, _("This was changed meanwhile, by somebody else or in another window. Nothing was withdrawn.")
    )
    return redirect("console:domain", domain)


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.DOMAINS)
def end_previous(request: HttpRequest, organisation: Organisation, domain: int) -> HttpResponse:
    """Asks once, and says from when it is safe; then destroys the previous keys, and no others."""
    found = _of(organisation, domain)
    shown = Shown.of(found)
    if request.method != "POST":
        if shown.previous_pair is None:
            return redirect("console:domain", domain)
        return show(request, "domain_end_previous", {"shown": shown})
    if request.POST.get("version") == shown.version and shown.previous_pair is not None:
        try:
            is_meant = "early" in request.POST
            selector = domains.end_previous_dkim(found, now=timezone.now(), may_be_early=is_meant)
        except domains.NothingToEnd:
            pass
        except domains.TooEarly:
            context = {"shown": shown, "is_early": True}
            return show(request, "domain_end_previous", context, status=HTTPStatus.CONFLICT)
        else:
            said = _("The previous keys are destroyed. You can take the records of “%(selector)s” out of the DNS.")
            messages.success(request, said % {"selector": selector})
            return redirect("console:domain", domain)
    messages.error(request, _("This was changed meanwhile, by somebody else or in another window. Nothing was ended."))
    return redirect("console:domain", domain)


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.DOMAINS)
def remove(request: HttpRequest, organisation: Organisation, domain: int) -> HttpResponse:
    """Asks once, says what follows, then removes the domain and its keys."""
    found = _of(organisation, domain)
    if request.method != "POST":
        accounts = organisation.accounts.filter(key__endswith=f"@{found.name}").count()
        context = {"shown": Shown.of(found), "accounts": accounts, "may_be_removed": domains.may_be_removed(found)}
        return show(request, "domain_remove", context)
    try:
        with transaction.atomic():
            current = get_object_or_404(organisation.sending_domains.select_for_update(), pk=domain)
            is_meant = request.POST.get("version") == _version(current)
            if is_meant:
                domains.remove(current)
    except domains.LastOne:
        messages.error(request, _("This is the only domain that the gateway can write from for you. It stays."))
        return redirect("console:domain", domain)
    if not is_meant:
        messages.error(
            request, _("This was changed meanwhile, by somebody else or in another window. Nothing was removed.")
        )
        return redirect("console:domain", domain)
    messages.success(request, _("The domain is removed. Its records can be taken out of the DNS."))
    return redirect("console:domains")


def _of(organisation: Organisation, domain: int) -> SendingDomain:
    """Raises ``Http404`` for any other."""
    return get_object_or_404(organisation.sending_domains.prefetch_related("dkim_pairs"), pk=domain)


def _sealing() -> SealingKey:
    return submission_keys(settings.ZEGEL.keys).sealing
