"""The way in for a guest: the link, the page it leads to, the code, the proof."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, assert_never
from urllib.parse import urlsplit

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from zegel.core.clock import Instant
from zegel.core.policy.verification import Method
from zegel.core.secret import Secret
from zegel.journey.portal import codes, links
from zegel.journey.portal.browsers import browser_of, recognise
from zegel.journey.portal.codes import CannotSend, Expired, Locked, Passed, TooMany, TooSoon, Wrong
from zegel.journey.portal.guests import Guest, for_guests, is_open
from zegel.journey.portal.pages import language, no_way_in, private, see_other
from zegel.journey.portal.proofs import proof_of, withdraw
from zegel.journey.portal.setup import portal

_LONGEST_CODE: Final = 200


class SixDigits(forms.Form):
    """The code that was sent."""

    code = forms.CharField(
        label=gettext_lazy("Code of six digits"),
        max_length=_LONGEST_CODE,
        error_messages={"required": gettext_lazy("Enter the six digits.")},
        widget=forms.TextInput(
            attrs={
                "class": "code-input",
                "inputmode": "numeric",
                "autocomplete": "one-time-code",
                "autocapitalize": "none",
                "spellcheck": "false",
                "maxlength": None,
            }
        ),
    )


class AccessCode(forms.Form):
    """The code that sender and recipient share."""

    code = forms.CharField(
        label=gettext_lazy("Access code"),
        max_length=_LONGEST_CODE,
        error_messages={"required": gettext_lazy("Enter the access code.")},
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}),
    )


@require_safe
@private
def arrive(request: HttpRequest, token: str) -> HttpResponse:
    """The link in the mail. Puts it in a sealed cookie and leaves its address at once; nothing else changes."""
    secret = Secret(token)
    link = links.link_of(secret)
    if link is None or not is_open(link.recipient.conversation, portal().now()):
        response = no_way_in(request)
    else:
        response = see_other(reverse("portal:guest", kwargs={"recipient": link.recipient_id}))
        links.hold(request, response, link.recipient_id, secret)
    response["Referrer-Policy"] = "no-referrer"
    return response


@require_safe
@for_guests
def opening(request: HttpRequest, guest: Guest) -> HttpResponse:
    """Who sent it, until when, how to tell that it is real, and the one thing to do. Sends nothing by itself."""
    now = portal().now()
    if guest.method is Method.ACCOUNT:
        return _opening(request, guest)
    if proof_of(guest.recipient, browser_of(request), now) is not None:
        return see_other(guest.address("guest-read"))
    return _opening(request, guest, form=AccessCode() if guest.method is Method.ACCESS_CODE else None)


@require_POST
@for_guests
def send_code(request: HttpRequest, guest: Guest) -> HttpResponse:
    """The person asks: a code goes to the number or mailbox that was known before, for this browser."""
    if guest.method not in (Method.SMS, Method.EMAIL):
        return see_other(guest.address("guest"))
    try:
        refused = codes.send(guest.recipient, recognise(request), language())
    except CannotSend:
        return _opening(request, guest, problem=_no_code_now(), status=HTTPStatus.SERVICE_UNAVAILABLE)
    if refused is None:
        return see_other(guest.address("guest-verify"))
    response = _opening(request, guest, problem=_why_not(refused), status=HTTPStatus.TOO_MANY_REQUESTS)
    response["Retry-After"] = _seconds_until(refused.until)
    return response


@require_http_methods(["GET", "HEAD", "POST"])
@for_guests
def verify(request: HttpRequest, guest: Guest) -> HttpResponse:
    """The code is typed here."""
    if guest.method is Method.ACCOUNT:
        return see_other(guest.address("guest"))
    if request.method != "POST":
        is_asked = codes.asked(guest.recipient, browser_of(request), portal().now()) is not None
        if guest.method is Method.ACCESS_CODE or not is_asked:
            return see_other(guest.address("guest"))
        return _verifying(request, guest, SixDigits())
    form: forms.Form = AccessCode(request.POST) if guest.method is Method.ACCESS_CODE else SixDigits(request.POST)
    if not form.is_valid():
        return _again(request, guest, form, HTTPStatus.UNPROCESSABLE_ENTITY)
    return _try(request, guest, form, Secret(form.cleaned_data["code"]))


def _try(request: HttpRequest, guest: Guest, form: forms.Form, given: Secret[str]) -> HttpResponse:
    typed = given if guest.method is Method.ACCESS_CODE else codes.digits(given.reveal())
    if typed is None:
        form.add_error("code", _("The code has six digits."))
        return _again(request, guest, form, HTTPStatus.UNPROCESSABLE_ENTITY)
    match codes.judge(guest.recipient, recognise(request), typed):
        case Passed():
            request.session.cycle_key()  # ASVS 7.2.4: a session that was known before is not the one that may read
            return see_other(guest.address("guest-read"))
        case Wrong(left):
            form.add_error("code", _wrong(left))
            return _again(request, guest, form, HTTPStatus.UNPROCESSABLE_ENTITY)
        case Expired():
            problem = _("This code can’t be used any more. Ask for a new one.")
            return _opening(request, guest, problem=problem, status=HTTPStatus.UNPROCESSABLE_ENTITY)
        case Locked(until):
            response = _opening(request, guest, problem=_locked(until), status=HTTPStatus.TOO_MANY_REQUESTS)
            response["Retry-After"] = _seconds_until(until)
            return response
        case unreachable:
            assert_never(unreachable)


@require_POST
@for_guests
def leave(request: HttpRequest, guest: Guest) -> HttpResponse:
    """Somebody else sits down at this browser: it forgets the link and the proof."""
    withdraw(guest.recipient, browser_of(request))
    response = render(request, "portal/left.html", {"guest": guest})
    links.let_go(request, response, guest.recipient.id)
    return response


# Pages


def _opening(
    request: HttpRequest,
    guest: Guest,
    *,
    form: forms.Form | None = None,
    problem: str = "",
    status: HTTPStatus = HTTPStatus.OK,
) -> HttpResponse:
    recipient, now = guest.recipient, portal().now()
    if form is None and guest.method is Method.ACCESS_CODE and not problem:
        form = AccessCode()
    context: dict[str, Any] = {
        **_about(guest),
        "method": guest.method.value,
        "form": form,
        "problem": problem,
        "masked": masked(guest),
        "asked": codes.asked(recipient, browser_of(request), now) is not None,
        "hint": codes.hint(recipient) if guest.method is Method.ACCESS_CODE else "",
        "not_mailed": codes.could_not_be_mailed(recipient),
        "not_sent": codes.could_not_be_sent(recipient),
    }
    return render(request, "portal/opening.html", context, status=status)


def _verifying(
    request: HttpRequest, guest: Guest, form: forms.Form, status: HTTPStatus = HTTPStatus.OK
) -> HttpResponse:
    context = {
        **_about(guest),
        "method": guest.method.value,
        "form": form,
        "masked": masked(guest),
        "not_mailed": codes.could_not_be_mailed(guest.recipient),
        "not_sent": codes.could_not_be_sent(guest.recipient),
    }
    return render(request, "portal/verify.html", context, status=status)


def _again(request: HttpRequest, guest: Guest, form: forms.Form, status: HTTPStatus) -> HttpResponse:
    if guest.method is Method.ACCESS_CODE:
        return _opening(request, guest, form=form, status=status)
    return _verifying(request, guest, form, status)


def _about(guest: Guest) -> dict[str, Any]:
    conversation = guest.conversation
    parts = urlsplit(portal().url)
    return {
        "guest": guest,
        "brand": conversation.organisation.name,
        "sender": conversation.author.display_name,
        "sender_address": conversation.author.email,
        "organisation": conversation.organisation.name,
        "sent": conversation.created_at,
        "until": conversation.expires_at,
        "beginning": f"{parts.scheme}://{parts.netloc}/",
    }


def masked(guest: Guest) -> str:
    """Where a code goes, for who knows the number or mailbox already."""
    if guest.method is Method.SMS:
        return guest.recipient.masked
    local, _at, domain = guest.recipient.address.rpartition("@")
    return f"{local[:1]}****@{domain}"


# Sentences


def _why_not(refused: TooSoon | TooMany) -> str:
    match refused:
        case TooSoon():
            return _("A code was sent a moment ago. Wait half a minute before you ask for another one.")
        case TooMany(until):
            return _(
                "Too many codes were asked for, or too many were wrong. You can ask for a new one at %(time)s."
            ) % {"time": _clock(until)}
        case unreachable:
            assert_never(unreachable)


def _wrong(left: int) -> str:
    if left <= 0:
        return _("This code is wrong. Ask for a new one.")
    return ngettext(
        "This code is wrong. You can try once more.", "This code is wrong. You can try %(left)d more times.", left
    ) % {"left": left}


def _locked(until: Instant) -> str:
    return _("Too many wrong codes. For safety you can’t try again before %(time)s, not even with the right code.") % {
        "time": _clock(until)
    }


def _no_code_now() -> str:
    return _("No code can be sent for this message. Ask the sender to send it again.")


def _clock(at: Instant) -> str:
    """The time, with the day if that is another one."""
    there, here = timezone.localtime(at), timezone.localtime(portal().now())
    return date_format(there, "H:i" if there.date() == here.date() else "j F H:i")


def _seconds_until(at: Instant) -> str:
    return str(max(1, int((at - portal().now()).total_seconds())))
