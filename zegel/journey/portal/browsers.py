"""Which browser it is: what a code is bound to, so that who reads the code over a shoulder can't use it elsewhere."""

from __future__ import annotations

import hashlib
from typing import Final

from django.http import HttpRequest

from zegel.edge import chance

_KEY: Final = "zegel-browser"


def browser_of(request: HttpRequest) -> bytes | None:
    """The browser that :func:`recognise` met before; asks the session, changes nothing."""
    value = request.session.get(_KEY)
    return hashlib.sha256(bytes.fromhex(value)).digest() if isinstance(value, str) else None


def recognise(request: HttpRequest) -> bytes:
    """The same, for requests that may leave something behind: a new browser is known from now on."""
    if _KEY not in request.session:
        request.session[_KEY] = chance.octets(32).hex()
    browser = browser_of(request)
    assert browser is not None
    return browser
