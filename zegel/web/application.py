"""The WSGI application that compose serves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from django.core.wsgi import get_wsgi_application

_SENTENCE: Final = b"411: send the length of the body (Content-Length).\n"


def application() -> WSGIApplication:
    """Django behind a check that Django itself can't make. Sets Django up."""
    django: WSGIApplication = get_wsgi_application()

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return _refuse(start_response) if _has_body_of_unknown_length(environ) else django(environ, start_response)

    return serve


def _has_body_of_unknown_length(environ: WSGIEnvironment) -> bool:
    """RFC 9112 §6.1: a chunked body. WSGI has no word for it, so Django would see an empty form."""
    return bool(environ.get("HTTP_TRANSFER_ENCODING"))


def _refuse(start_response: StartResponse) -> Iterable[bytes]:
    start_response(
        "411 Length Required",
        [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(_SENTENCE))),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Connection", "close"),  # what follows in this connection is the body
        ],
    )
    return [_SENTENCE]
