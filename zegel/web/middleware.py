"""What holds for every answer: how a browser may use it, who may keep it, and how long a session lasts."""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.db import OperationalError
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed

from zegel.edge.log import Broken, log
from zegel.web.views import not_found

Page = Callable[[HttpRequest], HttpResponseBase]

IDLE: Final = 30 * 60  # seconds, P19
ABSOLUTE: Final = 12 * 3600
_NOTED_EVERY: Final = 60  # a session isn't written for every click
_STARTED, _SEEN = "started", "seen"
_PERMISSIONS: Final = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer",
        "autoplay",
        "browsing-topics",
        "camera",
        "display-capture",
        "encrypted-media",
        "fullscreen",
        "geolocation",
        "gyroscope",
        "magnetometer",
        "microphone",
        "midi",
        "payment",
        "usb",
        "xr-spatial-tracking",
    )
)


_METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST")
STRICT_TRANSPORT: Final = "max-age=31536000; includeSubDomains"  # RFC 6797 §6.1, OWASP ASVS §3.4.1


class EveryAnswer:
    """Headers of whatever is answered, static files and refusals too."""

    def __init__(self, get_response: Page) -> None:
        self._get_response = get_response
        # Said here and not by SecurityMiddleware: behind a TLS proxy this process sees http.
        self._is_https = settings.ZEGEL.portal.url.startswith("https:")

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        response.headers.setdefault("Permissions-Policy", _PERMISSIONS)
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        if self._is_https:
            response["Strict-Transport-Security"] = STRICT_TRANSPORT
        return response


class PrivatePages:
    """No cache keeps what isn't a static file, and nothing is asked with a method that no form has."""

    def __init__(self, get_response: Page) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        kept = response.get("Cache-Control", "")
        if "no-store" not in kept and "immutable" not in kept:  # immutable: says nothing of anybody
            response["Cache-Control"] = "no-store"
        return response

    def process_view(self, request: HttpRequest, view: Any, *_: Any) -> HttpResponseBase | None:
        """Our own views say what they take. Django's classes take PUT for POST, or redirect whatever comes."""
        if hasattr(view, "view_class") and request.method not in _METHODS:
            return HttpResponseNotAllowed(_METHODS)
        return None


class NothingToSee:
    """Who loads an address that takes forms alone (a page that answered one, once more or in another language) reads
    that nothing is there, and where to go; Django answers with nothing at all. Stands behind all others."""

    def __init__(self, get_response: Page) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        if not isinstance(response, HttpResponseNotAllowed) or request.method != "GET" or response.content:
            return response
        page = not_found(request, status=HTTPStatus.METHOD_NOT_ALLOWED)
        page["Allow"] = response["Allow"]
        return page


class SessionLimits:
    """Ends a session on the server 30 minutes after it was last used, 12 hours after it began, and once its account may
    not be used (P19)."""

    def __init__(self, get_response: Page) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        session = request.session
        if session.session_key is not None and not _within_limits(session, time.time()):
            session.flush()
        response = self._get_response(request)
        session = request.session  # a view may have taken another in its place
        if SESSION_KEY in session and not request.user.is_authenticated:
            session.flush()  # or it would go on where its account is allowed again (OWASP ASVS §7.4.2)
        if not session.is_empty():
            holds_more = session.modified
            _note(session, time.time())
            if session.modified and not holds_more:
                _keep(session)
        return response


def _within_limits(session: SessionBase, now: float) -> bool:
    """A clock that jumped back doesn't lengthen a session (P23)."""
    started: float = session.get(_STARTED, now)
    seen: float = session.get(_SEEN, now)
    return -_NOTED_EVERY <= now - started <= ABSOLUTE and -_NOTED_EVERY <= now - seen <= IDLE


def _keep(session: SessionBase) -> None:
    """Stores a note that is all there is to store: a full disk must not stand in the way of who only reads (P4)."""
    try:
        session.save()
    except UpdateError as cause:
        if not isinstance(cause.__context__, OperationalError):
            return  # it was ended meanwhile, by another request: Django's own middleware will say so
        log(Broken("noting that a session is used", cause))
    session.modified = False


def _note(session: SessionBase, now: float) -> None:
    if _STARTED not in session:
        session[_STARTED] = now
    if now - session.get(_SEEN, 0) > _NOTED_EVERY:
        session[_SEEN] = now
