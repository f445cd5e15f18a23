"""Who asks: a bearer token (RFC 6750), and nothing that a browser sends by itself."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from django.db import DatabaseError, transaction
from django.http import HttpRequest

from zegel.accounts import throttle, tokens
from zegel.accounts.models import ApiToken
from zegel.accounts.tokens import Scope
from zegel.api.answers import Fault, refused
from zegel.core.clock import Instant
from zegel.core.secret import Secret
from zegel.edge.log import Broken, SignInRefused, log

_LONGEST: Final = 200  # characters of a token
_WAIT: Final = 3600  # seconds that failures count
_UNKNOWN: Final = "The token is not known, or not in force."
_EXAMPLE: Final = Fault(
    field="Authorization",
    reason="Send a token that `zegel token add` made.",
    example="Authorization: Bearer zegel_…",
)


def token_of(request: HttpRequest, scope: Scope, *, now: Instant) -> ApiToken:
    """The token in force that the request shows, which may be used for that.

    Raises :class:`zegel.api.answers.Refused`: the same one whatever is wrong with a token, so that nobody learns which
    tokens there are or were.
    """
    found = tokens.find(_shown(request), now=now)
    if isinstance(found, str):
        _turn_away(request, found, now)
        raise refused(
            HTTPStatus.UNAUTHORIZED, _UNKNOWN, [_EXAMPLE], headers={"WWW-Authenticate": 'Bearer realm="zegel"'}
        )
    _note(found, now)
    if not tokens.may(found, scope):
        fault = Fault(
            field="Authorization",
            reason="The token was not made for this.",
            example=f"zegel token add DESCRIPTION --organisation NAME --scope {scope.value}",
        )
        challenge = f'Bearer realm="zegel", error="insufficient_scope", scope="{scope.value}"'  # RFC 6750 §3.1
        raise refused(
            HTTPStatus.FORBIDDEN,
            "The token may not be used for this.",
            [fault],
            headers={"WWW-Authenticate": challenge},
        )
    return found


def _note(found: ApiToken, now: Instant) -> None:
    """A full disk doesn't stand in the way of who only reads (P4)."""
    try:
        tokens.note_use(found, now=now)
    except DatabaseError as cause:
        log(Broken("noting that a token is used", cause))


def _shown(request: HttpRequest) -> Secret[str]:
    """Empty where none is shown: not the token of any row."""
    kind, _, shown = request.headers.get("Authorization", "").partition(" ")
    return Secret(shown.strip()[:_LONGEST] if kind.lower() == "bearer" else "")


def _turn_away(request: HttpRequest, why: str, now: Instant) -> None:
    log(SignInRefused(throttle.address_of(request), at="api", why=why))
    with transaction.atomic():
        is_guessing = tokens.counts_as_guessing(throttle.place_of(request), now=now)
    if is_guessing:
        fault = _EXAMPLE.model_copy(
            update={"reason": "Too many requests without a valid token; a valid one still works."}
        )
        raise refused(HTTPStatus.TOO_MANY_REQUESTS, _UNKNOWN, [fault], headers={"Retry-After": str(_WAIT)})
