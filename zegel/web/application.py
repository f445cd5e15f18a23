"""The WSGI application that compose serves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.utils.http import parse_header_parameters

from zegel.web.middleware import STRICT_TRANSPORT

_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_SENTENCE: Final = b"411: send the length of the body (Content-Length).\n"


def application() -> WSGIApplication:
    """Django behind checks that Django itself can't make. Sets Django up."""
    django: WSGIApplication = get_wsgi_application()

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if _has_body_of_unknown_length(environ):
            return _refuse(start_response)
        environ["CONTENT_TYPE"] = _understood(environ.get("CONTENT_TYPE", ""))
        return django(environ, start_response)

    return serve


def _understood(content_type: str) -> str:
    """Without another charset than UTF-8, which is that of every form and query here. Django looks a charset up among
    all codecs of Python, before anything of it can answer: some of them are none of text, and raise."""
    try:
        kind, parameters = parse_header_parameters(content_type)
    except (ValueError, LookupError):  # parameters in an encoding that is none
        return content_type.partition(";")[0].strip()
    if parameters.get("charset", "utf-8").lower() == "utf-8":
        return content_type
    boundary = parameters.get("boundary")
    return kind if boundary is None else f'{kind}; boundary="{boundary}"'


def _has_body_of_unknown_length(environ: WSGIEnvironment) -> bool:
    """A chunked body (RFC 9112 §7.1), or one of HTTP/2 without a length: Django would see an empty form."""
    if environ.get("HTTP_TRANSFER_ENCODING"):
        return True
    return environ.get("REQUEST_METHOD") in _WITH_BODY and not environ.get("CONTENT_LENGTH")


def _refuse(start_response: StartResponse) -> Iterable[bytes]:
    start_response(
        "411 Length Required",
        [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(_SENTENCE))),
            ("Cache-Control", "no-store"),
            (
                "Content-Security-Policy",
                "default-src 'none'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
            ),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            *(
                [("Strict-Transport-Security", STRICT_TRANSPORT)]
                if settings.ZEGEL.portal.url.startswith("https:")
                else []
            ),
            ("Connection", "close"),  # what follows in this connection is the body
        ],
    )
    return [_SENTENCE]
