"""The way in for a guest: the link, the page it leads to, the code, the proof."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, assert_never
from urllib.parse import urlsplit

from django import forms
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from zegel.accounts.models import Account
from zegel.core.clock import Instant
from zegel.core.policy.texts import TextLimit
from zegel.core.policy.verification import Method
from zegel.core.secret import Secret
from zegel.journey.portal import codes, devices, links
from zegel.journey.portal.browsers import browser_of, recognise
from zegel.journey.portal.codes import CannotSend, Expired, Locked, NoTexts, Passed, TooMany, TooSoon, Wrong
from zegel.journey.portal.guests import Guest, for_guests, guest_of, lock
from zegel.journey.portal.pages import language, no_way_in, private, see_other
from zegel.journey.portal.proofs import proof_of, prove, withdraw
from zegel.journey.portal.setup import portal
from zegel.web.views import REFERRER_OF_A_LINK

_LONGEST_CODE: Final = 200
_PAGES: Final = {"devices": "guest-devices"}  # that a link in mail leads to, besides the message


class CodeForm(forms.Form):
    """A code, and whether it is to be asked again on this device."""

    field_order = ("code", "remember")
    remember = forms.BooleanField(required=False)

    def __init__(self, *args: Any, guest: Guest, **options: Any) -> None:
        super().__init__(*args, **options)
        days = devices.days_of(guest.recipient)
        if days is None:
            del self.fields["remember"]
            return
        self.fields["remember"].label = ngettext(
            "Remember this device for one day", "Remember this device for %(days)d days", days
        ) % {"days": days}
        self.fields["remember"].help_text = _(
            "Only on a device that is yours alone. Further messages from %(organisation)s then open here without a "
            "code."
        ) % {"organisation": guest.conversation.organisation.name}


class SixDigits(CodeForm):
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
            }
        ),
    )


class AccessCode(CodeForm):
    """The code that sender and recipient share."""

    code = forms.CharField(
        label=gettext_lazy("Access code"),
        max_length=_LONGEST_CODE,
        error_messages={"required": gettext_lazy("Enter the access code.")},
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}),
    )


@require_safe
@private
def arrive(request: HttpRequest, token: str, to: str = "") -> HttpResponse:
    """The link in the mail. Puts it in a sealed cookie and leaves its address at once; nothing else changes. ``to``:
    which page the guest wants after the verification."""
    secret = Secret(token)
    link = links.link_of(secret)
    if link is None or not link.recipient.conversation.is_open(portal().now()):
        response = no_way_in(request)
        response["Referrer-Policy"] = REFERRER_OF_A_LINK  # of a page with a form, and of this address
        return response
    response = see_other(reverse("portal:guest", kwargs={"recipient": link.recipient_id}) + _query(to))
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
        return see_other(_behind(request, guest))
    return _opening(request, guest)


@require_POST
@for_guests
def open_here(request: HttpRequest, guest: Guest) -> HttpResponse:
    """On a remembered device: the message opens without a code."""
    now = portal().now()
    if devices.trusted(request, guest.recipient, now) is None:
        return see_other(guest.address("guest") + _onward(request))
    browser = recognise(request)
    with transaction.atomic():
        recipient = lock(guest.recipient)  # asked again: its sender may have allowed another number or code since
        device = devices.trusted(request, recipient, now) if recipient.revoked_at is None else None
        if device is None:
            return see_other(guest.address("guest") + _onward(request))
        devices.note_use(device, now)
        prove(recipient, browser, now, device)
    request.session.cycle_key()  # as after a code
    return see_other(_behind(request, guest))


@require_http_methods(["GET", "HEAD", "POST"])
@for_guests
def send_code(request: HttpRequest, guest: Guest) -> HttpResponse:
    """The person asks: a code goes to the number or mailbox that was known before, for this browser. Who loads the page
    that a refusal left there is led back, and asks nothing."""
    if request.method != "POST" or guest.method not in (Method.SMS, Method.EMAIL):
        return see_other(guest.address("guest") + _onward(request))
    try:
        refused = codes.send(guest.recipient, recognise(request), language())
    except CannotSend:
        return _opening(request, guest, problem=_no_code_now(), status=HTTPStatus.SERVICE_UNAVAILABLE)
    if refused is None:
        return see_other(guest.address("guest-verify") + _onward(request))
    if isinstance(refused, Expired):
        return see_other(guest.address("guest") + _onward(request))  # which says what is asked for now
    if isinstance(refused, NoTexts):
        return _opening(request, guest, problem=_no_texts(refused.limit), status=HTTPStatus.SERVICE_UNAVAILABLE)
    response = _opening(request, guest, problem=_why_not(refused), status=HTTPStatus.TOO_MANY_REQUESTS)
    response["Retry-After"] = _seconds_until(refused.until)
    return response


@require_http_methods(["GET", "HEAD", "POST"])
@for_guests
def verify(request: HttpRequest, guest: Guest) -> HttpResponse:
    """The code is typed here."""
    if guest.method is Method.ACCOUNT:
        return see_other(guest.address("guest") + _onward(request))
    if request.method != "POST":
        is_asked = codes.asked(guest.recipient, browser_of(request), portal().now()) is not None
        if guest.method is Method.ACCESS_CODE or not is_asked:
            return see_other(guest.address("guest") + _onward(request))
        return _verifying(request, guest, SixDigits(guest=guest))
    kind = AccessCode if guest.method is Method.ACCESS_CODE else SixDigits
    form = kind(request.POST, guest=guest)
    if not form.is_valid():
        return _again(request, guest, form, HTTPStatus.UNPROCESSABLE_ENTITY)
    return _try(request, guest, form, Secret(form.cleaned_data["code"]))


def _try(request: HttpRequest, guest: Guest, form: CodeForm, given: Secret[str]) -> HttpResponse:
    typed = given if guest.method is Method.ACCESS_CODE else codes.digits(given.reveal())
    if typed is None:
        form.add_error("code", _("The code has six digits."))
        return _again(request, guest, form, HTTPStatus.UNPROCESSABLE_ENTITY)
    match codes.judge(guest.recipient, recognise(request), typed):
        case Passed():
            request.session.cycle_key()  # ASVS 7.2.4: a session that was known before is not the one that may read
            response = see_other(_behind(request, guest))
            if form.cleaned_data.get("remember"):
                devices.remember(request, response, guest, language())
            return response
        case Wrong(left):
            form.add_error("code", _wrong(left))
            return _again(request, guest, form, HTTPStatus.UNPROCESSABLE_ENTITY)
        case Expired() if proof_of(guest.recipient, browser_of(request), portal().now()) is not None:
            return see_other(_behind(request, guest))  # another tab of this browser was first
        case Expired() if (now := guest_of(request, guest.recipient.id)) is None or now.method is not guest.method:
            return see_other(guest.address("guest") + _onward(request))  # which says what is asked for now
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
    """Somebody else sits down at this browser: it forgets the link, the proof, and that it was remembered."""
    withdraw(guest.recipient, browser_of(request))
    response = render(request, "portal/left.html", {"guest": guest})
    devices.forget_here(request, response, guest.recipient)
    links.let_go(request, response, guest.recipient.id)
    return response


# Where to


def _query(to: str) -> str:
    """Which page is wanted is no secret: it may stand in an address."""
    return f"?to={to}" if to in _PAGES else ""


def _onward(request: HttpRequest) -> str:
    """The same, for the next page on the way."""
    return _query(request.GET.get("to", ""))


def _behind(request: HttpRequest, guest: Guest) -> str:
    """The page that the verification leads to."""
    return guest.address(_PAGES.get(request.GET.get("to", ""), "guest-read"))


# Pages


def _opening(
    request: HttpRequest,
    guest: Guest,
    *,
    form: CodeForm | None = None,
    problem: str = "",
    status: HTTPStatus = HTTPStatus.OK,
) -> HttpResponse:
    recipient, now = guest.recipient, portal().now()
    if form is None and guest.method is Method.ACCESS_CODE and not problem:
        form = AccessCode(guest=guest)
    context: dict[str, Any] = {
        **about(guest),
        "onward": _onward(request),
        "device": devices.trusted(request, recipient, now) if not problem else None,
        "remembers": devices.days_of(recipient) is not None,
        "mailbox": masked_mailbox(guest),
        "other_account": _other_account(request, guest),
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


def _verifying(request: HttpRequest, guest: Guest, form: CodeForm, status: HTTPStatus = HTTPStatus.OK) -> HttpResponse:
    context = {
        **about(guest),
        "onward": _onward(request),
        "method": guest.method.value,
        "form": form,
        "masked": masked(guest),
        "not_mailed": codes.could_not_be_mailed(guest.recipient),
        "not_sent": codes.could_not_be_sent(guest.recipient),
    }
    return render(request, "portal/verify.html", context, status=status)


def _again(request: HttpRequest, guest: Guest, form: CodeForm, status: HTTPStatus) -> HttpResponse:
    if guest.method is Method.ACCESS_CODE:
        return _opening(request, guest, form=form, status=status)
    return _verifying(request, guest, form, status)


def about(guest: Guest) -> dict[str, Any]:
    """Who sent it, until when, and how its address begins: what all of a guest's pages may tell."""
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
    return guest.recipient.masked if guest.method is Method.SMS else masked_mailbox(guest)


def masked_mailbox(guest: Guest) -> str:
    """Whose message it is, for who got a link that was meant for somebody else."""
    local, _at, domain = guest.recipient.address.rpartition("@")
    return f"{local[:1]}****@{domain}"


def _other_account(request: HttpRequest, guest: Guest) -> str:
    """Who is signed in here, where that isn't whose message it is."""
    account = request.user
    return account.email if isinstance(account, Account) and account.key != guest.recipient.key else ""


# Sentences


def _why_not(refused: TooSoon | TooMany) -> str:
    match refused:
        case TooSoon():
            return _("A code was sent a moment ago. Wait half a minute before you ask for another one.")
        case TooMany(until):
            return _(
                "Too many codes were asked for, or too many were wrong. You can ask for a new one at %(time)s."
            ) % {"time": clock(until)}
        case unreachable:
            assert_never(unreachable)


def _no_texts(limit: TextLimit) -> str:
    if limit is TextLimit.COUNTRIES:
        return _(
            "The organisation that sent this message sends no text messages to the country of your number. Choose “I "
            "can’t get the code” below: the sender can then allow another way."
        )
    return _(
        "The organisation that sent this message can’t send any more text messages for now, so no code was sent. Try "
        "again in an hour. If it can’t wait, choose “I can’t get the code” below: the sender can then allow another "
        "way."
    )


def _wrong(left: int) -> str:
    if left <= 0:
        return _("This code is wrong. Ask for a new one.")
    return ngettext(
        "This code is wrong. You can try once more.", "This code is wrong. You can try %(left)d more times.", left
    ) % {"left": left}


def _locked(until: Instant) -> str:
    return _("Too many wrong codes. For safety you can’t try again before %(time)s, not even with the right code.") % {
        "time": clock(until)
    }


def _no_code_now() -> str:
    return _("No code can be sent for this message. Ask the sender to send it again.")


def clock(at: Instant) -> str:
    """The time, with the day if that is another one."""
    there, here = timezone.localtime(at), timezone.localtime(portal().now())
    return date_format(there, "H:i" if there.date() == here.date() else "j F H:i")


def _seconds_until(at: Instant) -> str:
    return str(max(1, int((at - portal().now()).total_seconds())))
