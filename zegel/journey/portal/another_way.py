"""A guest can't use the method that a message demands: says why, and the sender hears of it (once a day)."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast

from django import forms
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from zegel.accounts.addresses import language_of
from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.mail.texts import MethodAsked as Asked
from zegel.core.mail.texts import Original, method_asked_mail
from zegel.core.policy.another_way import ASK_AGAIN_AFTER, HINDRANCES, Hindrance, may_ask
from zegel.core.policy.verification import Method
from zegel.core.secret import Secret
from zegel.edge.log import MethodAsked, log
from zegel.journey import milestones
from zegel.journey.custody.models import MethodRequest, Recipient, Transmission
from zegel.journey.portal.guests import Guest, for_guests, lock
from zegel.journey.portal.mails import NoOwnAddress, OwnMail, put
from zegel.journey.portal.opening import about, clock, masked
from zegel.journey.portal.pages import see_other
from zegel.journey.portal.setup import portal

WORDS: Final[dict[Hindrance, str | Promise]] = {
    Hindrance.NUMBER_CHANGED: gettext_lazy("That number is not mine, or not any more"),
    Hindrance.NOTHING_COMES: gettext_lazy("I asked for a code, and it doesn’t come"),
    Hindrance.NO_TEXT_MESSAGES: gettext_lazy("I can’t get text messages"),
    Hindrance.CODE_NOT_KNOWN: gettext_lazy("I don’t know the access code"),
    Hindrance.CODE_REFUSED: gettext_lazy("The access code that I have is refused"),
    Hindrance.NO_SIGN_IN: gettext_lazy("I can’t sign in"),
}


class _Choices(forms.RadioSelect):
    template_name = "portal/choices.html"


class HindranceForm(forms.Form):
    """One of a few reasons. None is chosen beforehand: what presses every button says nothing."""

    why = forms.ChoiceField(
        label=gettext_lazy("What is wrong?"),
        widget=_Choices,
        error_messages={"required": gettext_lazy("Choose what is wrong.")},
    )

    def __init__(self, *args: Any, method: Method, **options: Any) -> None:
        super().__init__(*args, **options)
        why = cast("forms.ChoiceField", self.fields["why"])
        why.choices = [(one.value, WORDS[one]) for one in HINDRANCES[method]]


@dataclass(frozen=True, slots=True)
class LastRequest:
    """What became of the last time that the sender was asked, as far as it is about this method."""

    at: Instant
    is_refused: bool
    may_ask_again: bool
    again_at: Instant


@require_http_methods(["GET", "HEAD", "POST"])
@for_guests
def another_way(request: HttpRequest, guest: Guest) -> HttpResponse:
    """Sends nothing by itself; a POST with a reason tells the sender."""
    if request.method != "POST":
        return _page(request, guest, HindranceForm(method=guest.method))
    form = HindranceForm(request.POST, method=guest.method)
    if not form.is_valid():
        return _page(request, guest, form, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    try:
        is_told = _ask(guest.recipient, Hindrance(form.cleaned_data["why"]))
    except NoOwnAddress:
        problem = _("The sender can’t be told from here. Please call the sender.")
        return _page(request, guest, form, problem=problem, status=HTTPStatus.SERVICE_UNAVAILABLE)
    if is_told:
        log(MethodAsked(recipient=guest.recipient.id, method=guest.method.value))
    return see_other(guest.address("guest-another-way"))


def _ask(recipient: Recipient, why: Hindrance) -> bool:
    """``False``: the sender was told less than a day ago."""
    now = portal().now()
    with transaction.atomic():
        lock(recipient)
        last = recipient.method_requests.exclude(why="").order_by("-at", "-id").first()
        if not may_ask(last.at if last is not None else None, now):
            return False
        MethodRequest.objects.create(recipient=recipient, method=recipient.method, why=why.value, at=now)
        milestones.method_asked(_put_mail(recipient, why, now).id, now=now)
        transaction.on_commit(portal().ring)
    return True


def _put_mail(recipient: Recipient, why: Hindrance, now: Instant) -> Transmission:
    conversation = recipient.conversation
    organisation, author = conversation.organisation, conversation.author
    told = Asked(
        recipient=Mailbox.parse(recipient.address),
        why=why.value,
        organisation=organisation.name,
        original=Original(conversation.created_at),
        link=Secret(f"{portal().url}/another-way/{recipient.id}/"),
    )
    words = method_asked_mail(told, language_of(author, organisation), zone=timezone.get_default_timezone())
    mail = OwnMail(organisation, author.mailbox, words, Transmission.Kind.NOTICE, submission=conversation.submission)
    return put(mail, now=now)


def _last(recipient: Recipient, now: Instant) -> LastRequest | None:
    last = recipient.method_requests.exclude(why="").order_by("-at", "-id").first()
    if last is None:
        return None
    is_about_this = last.method == recipient.method and last.answer != MethodRequest.Answer.ALLOWED
    may = may_ask(last.at, now)
    if may and not is_about_this:
        return None
    is_refused = last.answer == MethodRequest.Answer.REFUSED
    return LastRequest(last.at, is_refused, may, last.at + ASK_AGAIN_AFTER)


def _page(
    request: HttpRequest, guest: Guest, form: HindranceForm, *, problem: str = "", status: HTTPStatus = HTTPStatus.OK
) -> HttpResponse:
    last = _last(guest.recipient, portal().now())
    context = {
        **about(guest),
        "method": guest.method.value,
        "masked": masked(guest),
        "form": form if last is None or last.may_ask_again else None,
        "last": last,
        "again_at": clock(last.again_at) if last is not None else "",
        "problem": problem,
    }
    return render(request, "portal/another_way.html", context, status=status)
