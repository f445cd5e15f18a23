"""The administrator's page about what is known of one recipient: to give it away, or to erase it."""

from __future__ import annotations

import json
from http import HTTPStatus

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_http_methods, require_POST

from zegel.accounts.audit import note
from zegel.accounts.models import Organisation
from zegel.console.access import allows
from zegel.console.page import show
from zegel.core.mail.address import Mailbox, NotAMailbox
from zegel.core.policy.audit import Act
from zegel.core.policy.roles import Capability
from zegel.journey.custody.forgetting import forget_recipient
from zegel.journey.custody.retention import empty_log
from zegel.journey.known import is_nothing, known_of, overview_of


class AddressForm(forms.Form):
    """Whose. Sent in the body: an address has no place in a URL."""

    address = forms.CharField(
        label=gettext_lazy("E-mail address of the recipient"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )

    def clean_address(self) -> Mailbox:
        """Parsed."""
        try:
            return Mailbox.parse(self.cleaned_data["address"].strip())
        except NotAMailbox:
            raise forms.ValidationError(_("Write an e-mail address, such as ontvanger@example.org.")) from None


@require_http_methods(["GET", "HEAD", "POST"])
@allows(Capability.ACCOUNTS)
def privacy(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """How much is known of an address; a POST looks, and changes nothing."""
    form = AddressForm(request.POST if request.method == "POST" else None)
    if not form.is_bound or not form.is_valid():
        status = HTTPStatus.UNPROCESSABLE_ENTITY if form.is_bound else HTTPStatus.OK
        return show(request, "privacy", {"form": form}, status=status)
    known = overview_of(organisation, form.cleaned_data["address"])
    return show(request, "privacy", {"form": form, "known": known, "is_nothing": is_nothing(known)})


@require_POST
@allows(Capability.ACCOUNTS)
def export(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """All of it, as a file."""
    form = AddressForm(request.POST)
    if not form.is_valid():
        return show(request, "privacy", {"form": form}, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    mailbox = form.cleaned_data["address"]
    known = known_of(organisation, mailbox)
    note(Act.RECIPIENT_EXPORTED, organisation, str(mailbox), {"messages": len(known["messages"])})
    octets = json.dumps(known, ensure_ascii=False, indent=2).encode("utf-8", "replace")
    headers = {"Content-Disposition": 'attachment; filename="known.json"'}
    return HttpResponse(octets, content_type="application/json", headers=headers)


@require_POST
@allows(Capability.ACCOUNTS)
def erase(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Asks once, with what will be gone."""
    form = AddressForm(request.POST)
    if not form.is_valid():
        return show(request, "privacy", {"form": form}, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    mailbox = form.cleaned_data["address"]
    if "confirmed" not in request.POST:
        return show(request, "privacy_sure", _question(organisation, mailbox))
    with transaction.atomic():
        done = forget_recipient(organisation, mailbox, now=timezone.now())
        transaction.on_commit(empty_log)
    if done.is_nothing:
        messages.info(request, _("Nothing was known of this address."))
    else:
        erased = ngettext(
            "Erased, in one message. What was delivered readable stays in the recipient’s mailbox.",
            "Erased, in %(count)d messages. What was delivered readable stays in the recipient’s mailbox.",
            done.messages,
        )
        messages.success(request, erased % {"count": done.messages})
    return redirect("console:privacy")


def _question(organisation: Organisation, mailbox: Mailbox) -> dict[str, object]:
    known = overview_of(organisation, mailbox)
    return {
        "address": str(mailbox),
        "messages_count": known["messages"],
        "values_count": len(known["verification"]) + len(known["passed"]),
        "devices_count": len(known["devices"]),
        "back": reverse("console:privacy"),
    }
