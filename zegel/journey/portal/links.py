"""The link in the mail, exchanged for a sealed cookie at once (P13).

The token travels in one request's path and nowhere else: not in another address, a page, a log or a Referer. The
cookie is closed under a key of the server, so a stolen database opens no cookie and a stolen cookie no database.
"""

from __future__ import annotations

import base64
import json
import uuid
from typing import Final

from django.http import HttpRequest, HttpResponseBase

from zegel.core.seal.slot import disclose, enclose, link_hash, same_link
from zegel.core.seal.wrap import CannotOpen
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.journey.custody.models import Link, Recipient
from zegel.journey.custody.unseal import link_secret
from zegel.journey.portal.setup import portal

COOKIE: Final = "__Host-zegel-links"
MOST: Final = 8  # links that one browser holds; the oldest go first
_CONTEXT: Final = "cookie/links"


def link_of(token: Secret[str]) -> Link | None:
    """The link with this token; ``None`` for what never was one, or no longer is."""
    try:
        hashed = link_hash(link_secret(token))
    except CannotOpen:
        return None
    return Link.objects.select_related("recipient__conversation").filter(hash=hashed).first()


def held(request: HttpRequest) -> dict[uuid.UUID, Secret[str]]:
    """The links that this browser holds, oldest first; none where the cookie is missing or not ours."""
    text = request.COOKIES.get(COOKIE, "")
    try:
        sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        opened = json.loads(disclose(sealed, portal().keys.cookies, context=_CONTEXT).reveal())
        return {uuid.UUID(recipient): Secret(token) for recipient, token in opened}
    except (CannotOpen, ValueError):
        return {}


def hold(request: HttpRequest, response: HttpResponseBase, recipient: uuid.UUID, token: Secret[str]) -> None:
    """Adds a link to those that the browser holds."""
    links = held(request)
    links.pop(recipient, None)
    links[recipient] = token
    _give(response, dict(list(links.items())[-MOST:]))


def let_go(request: HttpRequest, response: HttpResponseBase, recipient: uuid.UUID) -> None:
    """Takes a link from the browser."""
    links = held(request)
    links.pop(recipient, None)
    if links:
        _give(response, links)
    else:
        response.delete_cookie(COOKIE, samesite="Lax")


def fitting(recipient: Recipient, token: Secret[str]) -> Link | None:
    """The link of this recipient that has the token, as of now; compared in constant time."""
    link = link_of(token)
    if link is None or link.recipient_id != recipient.id or not same_link(link_secret(token), bytes(link.hash)):
        return None
    return link


def _give(response: HttpResponseBase, links: dict[uuid.UUID, Secret[str]]) -> None:
    plain = json.dumps([(recipient.hex, token.reveal()) for recipient, token in links.items()], separators=(",", ":"))
    sealed = enclose(Secret(plain.encode()), portal().keys.cookies, context=_CONTEXT, nonce=chance.octets(12))
    text = base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()
    response.set_cookie(COOKIE, text, path="/", secure=True, httponly=True, samesite="Lax")
