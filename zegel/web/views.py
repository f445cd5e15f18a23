"""The front door, and what a visitor sees when something isn't as it should be."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.views.decorators.http import require_safe

# P13. Of a page whose own address can be a link from a mail, or one that was copied badly: what it asks for names the
# host and no more, to ourselves and the log of a proxy too. Not "no-referrer": see SECURE_REFERRER_POLICY.
REFERRER_OF_A_LINK: Final = "strict-origin"


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """An account holder goes to the messages; anybody else reads where to go."""
    if not request.user.is_authenticated:
        return render(request, "zegel/home.html")
    try:
        return redirect(reverse("portal:inbox"))
    except NoReverseMatch:
        return redirect("mfa_index")


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """A request that can't be read: from a program, seldom from a person."""
    return _plain("400.html", HTTPStatus.BAD_REQUEST)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Not for this visitor."""
    return render(request, "403.html", status=HTTPStatus.FORBIDDEN)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form that was open too long, or one from another site."""
    return _at_any_address(request, "403_csrf.html", HTTPStatus.FORBIDDEN)


def not_found(
    request: HttpRequest, exception: Exception | None = None, *, status: HTTPStatus = HTTPStatus.NOT_FOUND
) -> HttpResponse:
    """The same page for what isn't there and for what belongs to another organisation (P20)."""
    return _at_any_address(request, "404.html", status)


def broken(request: HttpRequest) -> HttpResponse:
    """Our fault; what it was is in the log. Needs no database, no session and no language."""
    return _plain("500.html", HTTPStatus.INTERNAL_SERVER_ERROR)


def _at_any_address(request: HttpRequest, template: str, status: HTTPStatus) -> HttpResponse:
    """Who changes the language is led elsewhere: the address of this page may not stand in it."""
    response = render(request, template, {"language_next": "/"}, status=status)
    response["Referrer-Policy"] = REFERRER_OF_A_LINK
    return response


def _plain(template: str, status: HTTPStatus) -> HttpResponse:
    return HttpResponse(render_to_string(template), status=status)
