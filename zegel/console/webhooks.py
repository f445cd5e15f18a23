"""The administrator's pages about webhooks, and about who is mailed when something is wrong."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
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
from django.views.decorators.http import require_http_methods, require_POST

from zegel.accounts import webhooks
from zegel.accounts.models import Organisation, Webhook
from zegel.accounts.webhooks import MOST_ADDRESSES, NewSecret, NotAWebhook, Wanted
from zegel.console.access import allows
from zegel.console.page import show
from zegel.console.rules import version_of
from zegel.core.mail.address import Mailbox, NotAMailbox
from zegel.core.policy.alarms import Sentence
from zegel.core.policy.roles import Capability
from zegel.core.policy.webhooks import CHOICE, EVENTS
from zegel.core.seal.wrap import SealingKey
from zegel.edge.fetch import NotFetched
from zegel.edge.keyring import submission_keys
from zegel.edge.wake import ring
from zegel.journey.custody import outbox
from zegel.journey.custody.models import WebhookRequest

_STATES: Final[Mapping[str, tuple[Any, str]]] = {
    "waiting": (gettext_lazy("is tried again"), "badge-warn"),
    "taken": (gettext_lazy("taken"), "badge-good"),
    "given-up": (gettext_lazy("given up"), "badge-bad"),
}
_FAILURES: Final = {one.value: one for one in NotFetched}
_OURS: Final[Mapping[str, Any]] = {
    outbox.DISABLED: gettext_lazy("the webhook was disabled"),
    NotFetched.NOT_PUBLIC.value: gettext_lazy(
        "The server has no address on the internet, and the configuration of the gateway names no network of it."
    ),
}


def _said(sentence: Sentence | NotFetched) -> str:
    return sentence.nl if get_language() == "nl" else sentence.en


def _choices() -> list[tuple[str, str]]:
    return [(event.value, f"{event.value}: {_said(event.what)}") for event in CHOICE]


class WebhookForm(forms.Form):
    """What is told where."""

    description = forms.CharField(
        label=gettext_lazy("Description"),
        help_text=gettext_lazy("Which program it is, such as “patient records, production”."),
        max_length=200,
    )
    url = forms.CharField(
        label=gettext_lazy("Address"),
        help_text=gettext_lazy("Such as https://programs.example.org/zegel; always https."),
        max_length=1000,
        widget=forms.TextInput(attrs={"inputmode": "url", "autocomplete": "off", "spellcheck": "false"}),
    )
    events = forms.MultipleChoiceField(
        label=gettext_lazy("What it hears of"),
        choices=_choices,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": gettext_lazy("Choose at least one event.")},
    )

    def clean(self) -> dict[str, Any]:
        """What the function says, at the field that it is about."""
        cleaned = super().clean() or {}
        if not self.errors:
            try:
                self.wanted.must_fit()
            except NotAWebhook as cause:
                language = get_language()
                self.add_error(cause.field or None, cause.why.nl if language == "nl" else cause.why.en)
        return cleaned

    @property
    def wanted(self) -> Wanted:
        """Of a valid form."""
        events = frozenset(EVENTS[value] for value in self.cleaned_data["events"])
        return Wanted(self.cleaned_data["description"], self.cleaned_data["url"], events)


class ChangeForm(WebhookForm):
    """Of one that is there."""

    is_enabled = forms.BooleanField(
        label=gettext_lazy("It is told of what happens"),
        help_text=gettext_lazy("What waits is given up while it is not."),
        required=False,
    )


class AddressesForm(forms.Form):
    """Who is mailed about alarms."""

    whom = forms.ChoiceField(
        label=gettext_lazy("Who gets a mail"),
        choices=(
            ("administrators", gettext_lazy("owners and administrators")),
            ("these", gettext_lazy("the addresses below, and nobody else")),
        ),
        widget=forms.RadioSelect,
    )
    addresses = forms.CharField(
        label=gettext_lazy("Addresses"),
        help_text=gettext_lazy("Such as office@example.org, each on a line of its own. Empty: nobody is mailed."),
        required=False,
        max_length=4000,
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
    )

    def clean_addresses(self) -> list[Mailbox]:
        """Says which one is none."""
        found: list[Mailbox] = []
        for line in str(self.cleaned_data["addresses"]).split():
            try:
                found.append(Mailbox.parse(line))
            except NotAMailbox:
                raise ValidationError(
                    _("“%(text)s” is not an e-mail address; write one like office@example.org.") % {"text": line[:80]}
                ) from None
        if len(found) > MOST_ADDRESSES:
            raise ValidationError(_("Ten addresses at most: let the rest read a shared mailbox."))
        return found

    @property
    def asked(self) -> list[Mailbox] | None:
        """Of a valid form; ``None``: administrators."""
        return self.cleaned_data["addresses"] if self.cleaned_data["whom"] == "these" else None


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it is shown; never its body."""

    row: WebhookRequest
    state: Any
    badge: str
    outcome: str

    @classmethod
    def of(cls, row: WebhookRequest) -> Request:
        """How it ended, or how far it is."""
        state, badge = _STATES[row.state]
        if row.state == WebhookRequest.State.WAITING and not row.tries:
            state, badge = _("is sent in a moment"), ""
        return cls(row, state, badge, _outcome(row.outcome))


def _outcome(code: str) -> str:
    if code.isdigit():
        return _("status %(status)s") % {"status": code}
    if code in _OURS:
        return str(_OURS[code])
    return _said(_FAILURES[code]) if code in _FAILURES else code


# --- all of them -------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.PROGRAMS)
def overview(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """All, and one more. The answer to a POST is, but for :func:`renew`, the one page that shows a secret."""
    form = WebhookForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            made = webhooks.add(organisation, form.wanted, sealing=_sealing(), now=timezone.now())
        except NotAWebhook as cause:
            form.add_error(cause.field or None, cause.why.nl if get_language() == "nl" else cause.why.en)
        else:
            return _issued(request, made)
    return show(request, "webhooks", {"form": form, "webhooks": organisation.webhooks.order_by("created_at", "id")})


# --- one of them -------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.PROGRAMS)
def webhook(request: HttpRequest, organisation: Organisation, webhook: uuid.UUID) -> HttpResponse:
    """What it hears of, and how its last requests ended. A POST changes it, if nobody else did meanwhile."""
    found = _found(organisation, webhook)
    if request.method != "POST":
        return _one(request, found, ChangeForm(initial=_initial(found)))
    form = ChangeForm(request.POST)
    is_valid = form.is_valid()
    with transaction.atomic():
        found = _found(organisation, webhook, for_update=True)
        is_stale = request.POST.get("version") != _version(found)
        if is_valid and not is_stale:
            is_enabled = form.cleaned_data["is_enabled"]
            webhooks.change(found, form.wanted, is_enabled=is_enabled, now=timezone.now())
    if is_valid and not is_stale:
        messages.success(request, _("The changes are stored."))
        return redirect("console:webhook", webhook)
    status = HTTPStatus.CONFLICT if is_stale else HTTPStatus.OK
    return _one(request, found, form, is_stale=is_stale, status=status)


def _one(
    request: HttpRequest,
    found: Webhook,
    form: ChangeForm,
    *,
    is_stale: bool = False,
    status: HTTPStatus = HTTPStatus.OK,
) -> HttpResponse:
    context = {
        "webhook": found,
        "form": form,
        "version": _version(found),
        "is_stale": is_stale,
        "is_renewing": found.previous_secret is not None,
        "waiting": outbox.waiting(found),
        "requests": [Request.of(row) for row in outbox.last_requests(found)],
    }
    return show(request, "webhook", context, status=status)


@require_POST
@allows(Capability.PROGRAMS)
def test(request: HttpRequest, organisation: Organisation, webhook: uuid.UUID) -> HttpResponse:
    """A request that says that it is a test, in a moment."""
    with transaction.atomic():
        outbox.try_out(_found(organisation, webhook), now=timezone.now())
        transaction.on_commit(lambda: ring(settings.ZEGEL.run))
    messages.success(request, _("A test is sent in a moment. Look at this page again to see how it ended."))
    return redirect("console:webhook", webhook)


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.PROGRAMS)
def renew(request: HttpRequest, organisation: Organisation, webhook: uuid.UUID) -> HttpResponse:
    """Asks once, then makes a second secret and shows it once. The one in use stays valid."""
    found = _found(organisation, webhook)
    if found.previous_secret is None:
        if request.method != "POST":
            return show(request, "webhook_renew", {"webhook": found})
        try:
            made = webhooks.renew(found, sealing=_sealing(), now=timezone.now())
            return _issued(request, made, is_second=True)
        except webhooks.StillRenewing:
            pass  # by somebody else, a moment ago
    messages.error(request, _("Two secrets are valid already. End the previous one before you make another."))
    return redirect("console:webhook", webhook)


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.PROGRAMS)
def end_previous(request: HttpRequest, organisation: Organisation, webhook: uuid.UUID) -> HttpResponse:
    """Asks once, then ends the previous secret, and no other."""
    found = _found(organisation, webhook)
    if request.method != "POST":
        if found.previous_secret is None:
            return redirect("console:webhook", webhook)
        return show(request, "webhook_end_previous", {"webhook": found, "version": version_of(found.renewed_at)})
    with transaction.atomic():
        found = _found(organisation, webhook, for_update=True)
        is_meant = found.previous_secret is not None and request.POST.get("version") == version_of(found.renewed_at)
        if is_meant:
            webhooks.end_previous(found, now=timezone.now())
    if is_meant:
        messages.success(request, _("The previous secret is ended."))
    else:
        messages.error(
            request, _("This was changed meanwhile, by somebody else or in another window. Nothing was ended.")
        )
    return redirect("console:webhook", webhook)


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.PROGRAMS)
def remove(request: HttpRequest, organisation: Organisation, webhook: uuid.UUID) -> HttpResponse:
    """Asks once; what waits is not sent."""
    found = _found(organisation, webhook)
    if request.method != "POST":
        return show(request, "webhook_remove", {"webhook": found, "waiting": outbox.waiting(found)})
    webhooks.remove(found, now=timezone.now())
    messages.success(request, _("The webhook is removed."))
    return redirect("console:webhooks")


def _found(organisation: Organisation, webhook: uuid.UUID, *, for_update: bool = False) -> Webhook:
    """Raises ``Http404`` for one of another organisation."""
    found = organisation.webhooks.all()
    return get_object_or_404(found.select_for_update() if for_update else found, pk=webhook)


def _initial(found: Webhook) -> dict[str, Any]:
    return {
        "description": found.description,
        "url": found.url,
        "events": found.events,
        "is_enabled": found.disabled_at is None,
    }


def _version(found: Webhook) -> str:
    return version_of((found.description, found.url, found.events, found.disabled_at))


def _issued(request: HttpRequest, made: NewSecret, *, is_second: bool = False) -> HttpResponse:
    context = {"webhook": made.webhook, "secret": made.secret.reveal(), "is_second": is_second}
    return show(request, "webhook_issued", context)


def _sealing() -> SealingKey:
    return submission_keys(settings.ZEGEL.keys).sealing


# --- alarms ------------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.ACCOUNTS)
def told(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Who is mailed about alarms. A POST changes it, if nobody else did meanwhile."""
    if request.method != "POST":
        return _told(request, organisation, AddressesForm(initial=_whom(organisation)))
    form = AddressesForm(request.POST)
    is_valid = form.is_valid()
    with transaction.atomic():
        current = Organisation.objects.select_for_update().get(pk=organisation.pk)
        is_stale = request.POST.get("version") != version_of(current.alarm_addresses)
        if is_valid and not is_stale:
            webhooks.set_alarm_addresses(current, form.asked, now=timezone.now())
    if is_valid and not is_stale:
        messages.success(request, _("The changes are stored."))
        return redirect("console:alarms")
    status = HTTPStatus.CONFLICT if is_stale else HTTPStatus.OK
    return _told(request, current, form, is_stale=is_stale, status=status)


def _told(
    request: HttpRequest,
    organisation: Organisation,
    form: AddressesForm,
    *,
    is_stale: bool = False,
    status: HTTPStatus = HTTPStatus.OK,
) -> HttpResponse:
    version = version_of(organisation.alarm_addresses)
    return show(request, "numbers_told", {"form": form, "version": version, "is_stale": is_stale}, status=status)


def _whom(organisation: Organisation) -> dict[str, str]:
    set_ = organisation.alarm_addresses
    return {"whom": "administrators" if set_ is None else "these", "addresses": "\n".join(set_ or ())}
