"""The link in the mail, exchanged for a sealed cookie at once (P13).

The token travels in one request's path and nowhere else: not in another address, a page, a log or a Referer. The
cookie is closed under a key of the server, so a stolen database opens no cookie and a stolen cookie no database.
"""

from __future__ import annotations

import uuid
from typing import Final

from django.http import HttpRequest, HttpResponseBase

from zegel.core.seal.slot import link_hash, same_link
from zegel.core.seal.wrap import CannotOpen
from zegel.core.secret import Secret
from zegel.edge.prepared import Prepared
from zegel.journey.custody.models import Link, Recipient
from zegel.journey.custody.unseal import link_secret
from zegel.journey.portal import cookies

COOKIE: Final = "__Host-zegel-links"
MOST: Final = 8  # links that one browser holds; the oldest go first
_CONTEXT: Final = "cookie/links"
_BARE: Final = Prepared(lambda hashed: Link.objects.filter(hash=hashed), hashed=bytes)
_BEFORE: Final = Prepared(
    lambda hashed: Link.objects.select_related("recipient__conversation").filter(hash=hashed), hashed=bytes
)
_BEHIND: Final = Prepared(
    lambda hashed: Link.objects.select_related(
        "recipient__conversation__organisation", "recipient__conversation__author"
    ).filter(hash=hashed),
    hashed=bytes,
)


def link_of(token: Secret[str]) -> Link | None:
    """The link with this token; ``None`` for what never was one, or no longer is."""
    return _with(token, _BEFORE)


def held(request: HttpRequest) -> dict[uuid.UUID, Secret[str]]:
    """The links that this browser holds, oldest first; none where the cookie is missing or not ours."""
    try:
        found = cookies.opened(request, COOKIE, context=_CONTEXT) or ()
        return {uuid.UUID(recipient): Secret(token) for recipient, token in found}
    except ValueError:
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
    return _of(recipient.id, token, _BARE)


def leading_to(recipient: uuid.UUID, token: Secret[str]) -> Link | None:
    """The same, with what every page behind it tells: the recipient, its conversation, and who sent it."""
    return _of(recipient, token, _BEHIND)


def _of(recipient: uuid.UUID, token: Secret[str], among: Prepared[Link]) -> Link | None:
    link = _with(token, among)
    if link is None or link.recipient_id != recipient or not same_link(link_secret(token), bytes(link.hash)):
        return None
    return link


def _with(token: Secret[str], among: Prepared[Link]) -> Link | None:
    try:
        hashed = link_hash(link_secret(token))
    except CannotOpen:
        return None
    return among.first(hashed=hashed)


def _give(response: HttpResponseBase, links: dict[uuid.UUID, Secret[str]]) -> None:
    held = [(recipient.hex, token.reveal()) for recipient, token in links.items()]
    text = cookies.closed(held, context=_CONTEXT)
    response.set_cookie(COOKIE, text, path="/", secure=True, httponly=True, samesite="Lax")
