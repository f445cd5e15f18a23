"""What every page of the portal does: headers, language, and the one page for all that can't be opened."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, Final, ParamSpec, TypeVar

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.utils import translation
from django.utils.translation.trans_real import parse_accept_lang_header

from zegel.accounts.models import Account, Organisation
from zegel.core.mail.texts import Language

View = Callable[..., HttpResponseBase]
Given = ParamSpec("Given")
Made = TypeVar("Made")
_TURNS: Final = threading.Semaphore(2)  # one computes while the other waits for the disk


def in_turn(make: Callable[Given, Made]) -> Callable[Given, Made]:
    """For what only computes and reads: two at a time in a process. Eight pages that are begun at once would make each
    other wait for the interpreter, so that all of them are as late as the last. What waits for a client, a server or
    another program takes no turn: the other threads are there for that."""

    @wraps(make)
    def outer(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        with _TURNS:
            return make(*args, **kwargs)

    return outer


def private(view: View) -> View:
    """No cache keeps it, no other site learns of it. ``same-origin`` and not ``no-referrer``: browsers send
    ``Origin: null`` with a form under the latter, and no address of these pages holds a secret."""

    @wraps(view)
    def outer(request: HttpRequest, /, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        response["Cache-Control"] = "no-store"
        response.headers.setdefault("Referrer-Policy", "same-origin")
        return response

    return outer


def see_other(address: str) -> HttpResponse:
    """RFC 9110 §15.4.4: the answer to a form is another page, fetched with GET."""
    response = HttpResponseRedirect(address)
    response.status_code = HTTPStatus.SEE_OTHER
    return response


def speak_for(organisation: Organisation, request: HttpRequest) -> None:
    """The organisation's language, unless the browser chose one; and its look."""
    look_like(organisation, request)
    if not _chose_language(request):
        translation.activate(organisation.language)
        request.LANGUAGE_CODE = translation.get_language()


def look_like(organisation: Organisation, request: HttpRequest) -> None:
    """Name, logo and colours of the page are this organisation's (:mod:`zegel.web.context`)."""
    request.organisation = organisation  # type: ignore[attr-defined]


def speak_to(account: Account, request: HttpRequest) -> None:
    """The language that the account chose, unless this browser chose one at the foot of a page."""
    if account.language and not request.COOKIES.get(settings.LANGUAGE_COOKIE_NAME):
        translation.activate(account.language)
        request.LANGUAGE_CODE = translation.get_language()


def language() -> Language:
    """The language of this page, for mail and text messages that it causes."""
    return "nl" if (translation.get_language() or "nl").startswith("nl") else "en"


def wants_json(request: HttpRequest) -> bool:
    """A program of one of our pages asks, and not a person: it gets values, and shows them itself."""
    return request.headers.get("Accept") == "application/json"


def no_way_in(request: HttpRequest) -> HttpResponse:
    """One page, equal for links and addresses that never were, are no longer, or belong to another browser (P14)."""
    # Who changes the language is led back to the page, whose address may be a link: it may not stand in a page.
    context = {"language_next": "/"}
    return render(request, "portal/no_way_in.html", context, status=HTTPStatus.NOT_FOUND)


def _chose_language(request: HttpRequest) -> bool:
    if request.COOKIES.get(settings.LANGUAGE_COOKIE_NAME):
        return True
    for tag, _ in parse_accept_lang_header(request.META.get("HTTP_ACCEPT_LANGUAGE", "").lower()):
        try:
            return bool(translation.get_supported_language_variant(tag))
        except LookupError:
            continue
    return False
