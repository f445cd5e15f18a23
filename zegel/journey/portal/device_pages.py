"""A guest sees the devices that are remembered, and removes them. A code is asked first."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from zegel.core.policy.verification import Method
from zegel.journey.portal import devices as remembered
from zegel.journey.portal.browsers import browser_of
from zegel.journey.portal.guests import Guest, for_guests
from zegel.journey.portal.pages import see_other
from zegel.journey.portal.proofs import proof_of
from zegel.journey.portal.setup import portal


@require_safe
@for_guests
def devices(request: HttpRequest, guest: Guest) -> HttpResponse:
    """Those of this mailbox, for this organisation. Reads nothing of the message."""
    now = portal().now()
    if not _is_proven(request, guest):
        return see_other(f"{guest.address('guest')}?to=devices")
    here = remembered.trusted(request, guest.recipient, now)
    words = {
        Method.SMS.value: _("code by text message"),
        Method.ACCESS_CODE.value: _("access code"),
        Method.EMAIL.value: _("code by e-mail"),
    }
    context = {
        "guest": guest,
        "brand": guest.conversation.organisation.name,
        "organisation": guest.conversation.organisation.name,
        "devices": [(one, words.get(one.method, "")) for one in remembered.of_guest(guest.recipient, now)],
        "here": here.id if here is not None else None,
    }
    return render(request, "portal/devices.html", context)


@require_POST
@for_guests
def remove(request: HttpRequest, guest: Guest, device: uuid.UUID) -> HttpResponse:
    """At once, also for what is open there now."""
    if not _is_proven(request, guest):
        return see_other(f"{guest.address('guest')}?to=devices")
    with transaction.atomic():
        is_done = remembered.forget(guest.recipient, device, portal().now())
    if is_done:
        messages.success(request, _("The device is remembered no longer."))
    return see_other(guest.address("guest-devices"))


def _is_proven(request: HttpRequest, guest: Guest) -> bool:
    if guest.method is Method.ACCOUNT:
        return False
    return proof_of(guest.recipient, browser_of(request), portal().now()) is not None
