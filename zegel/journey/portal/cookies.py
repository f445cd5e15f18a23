"""Cookies that only this server reads: their values are closed under a key of it."""

from __future__ import annotations

import base64
import json
from typing import Any

from django.http import HttpRequest

from zegel.core.seal.slot import disclose, enclose
from zegel.core.seal.wrap import CannotOpen
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.journey.portal.setup import portal


def opened(request: HttpRequest, name: str, *, context: str) -> Any:
    """What :func:`closed` made of it; ``None`` where the cookie is missing or not ours."""
    text = request.COOKIES.get(name, "")
    try:
        sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return json.loads(disclose(sealed, portal().keys.cookies, context=context).reveal())
    except (CannotOpen, ValueError):
        return None


def closed(value: object, *, context: str) -> str:
    """For a cookie."""
    plain = json.dumps(value, separators=(",", ":")).encode()
    sealed = enclose(Secret(plain), portal().keys.cookies, context=context, nonce=chance.octets(12))
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()
