"""Which browser it is: what a code is bound to, so that who reads the code over a shoulder can't use it elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
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


def described(request: HttpRequest) -> str:
    """Roughly which browser it says to be, for its owner to recognise: one of our own words for it and for its system,
    or nothing. It proves nothing."""
    said = request.headers.get("User-Agent", "")
    found = (_first(said, table) for table in (_BROWSERS, _SYSTEMS))
    return ", ".join(one for one in found if one)


def _first(said: str, table: Mapping[str, str]) -> str:
    return next((name for sign, name in table.items() if sign in said), "")


# By the first sign that is there: most browsers also claim to be others.
_BROWSERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Edg": "Edge",
        "OPR/": "Opera",
        "SamsungBrowser/": "Samsung Internet",
        "Firefox/": "Firefox",
        "FxiOS/": "Firefox",
        "CriOS/": "Chrome",
        "Chrome/": "Chrome",
        "Safari/": "Safari",
    }
)
_SYSTEMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Android": "Android",
        "iPhone": "iPhone",
        "iPad": "iPad",
        "Windows": "Windows",
        "CrOS": "ChromeOS",
        "Macintosh": "macOS",
        "Linux": "Linux",
    }
)
