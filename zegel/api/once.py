"""``Idempotency-Key``: the same request has one effect and one answer, also over a crash (P6, ADR 39)."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from django.db import transaction
from django.http import HttpRequest

from zegel.accounts import answered
from zegel.accounts.answered import Key, OtherRequest
from zegel.accounts.models import ApiAnswer, ApiToken
from zegel.api.answers import Fault, Refused, refused
from zegel.api.operation import Done, Keyed, Operation
from zegel.api.setup import api
from zegel.core.clock import Instant
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.journey.custody.seal import wrap_field

HEADER: Final = "Idempotency-Key"
PATTERN: Final = r'^"?[!#-~]{1,255}"?$'
EXAMPLE: Final = "8e03978e-40d5-43e8-bc93-6894a57f9324"
_FIELD: Final = "api-answer"


class Digest:
    """Of a request as it is read: what makes it the same one."""

    def __init__(self, request: HttpRequest) -> None:
        self._code = hmac.new(api().answers_key.reveal(), digestmod=hashlib.sha256)
        for part in (request.method or "", request.path, request.headers.get("Content-Type", "")):
            self.feed(part.encode("utf-8", "surrogatepass") + b"\0")

    def feed(self, octets: bytes) -> None:
        """The next octets."""
        self._code.update(octets)

    def finish(self) -> bytes:
        """The keyed hash: from what was a short body nobody can guess it."""
        return self._code.digest()


def named(request: HttpRequest, operation: Operation) -> str | None:
    """What the program calls its request. Raises :class:`zegel.api.answers.Refused` where it has to and doesn't."""
    name = request.headers.get(HEADER)
    if operation.keyed is Keyed.NOT or (name is None and operation.keyed is Keyed.OPTIONAL):
        return None
    if name is None:
        raise _not_understood("Choose a key for the request: sent again with the same one, it is done once.")
    if not re.fullmatch(PATTERN, name):
        raise _not_understood("A key has 1 to 255 visible ASCII characters.")
    return name.strip('"')  # as a structured field writes it, or bare


def key_of(token: ApiToken, name: str, request: bytes) -> Key:
    """The row of the table that is meant."""
    hidden = hmac.new(api().answers_key.reveal(), name.encode(), hashlib.sha256).digest()
    return Key(token.pk, hidden, request)


def done_once(key: Key, run: Callable[[], Done], *, now: Instant) -> Done:
    """What ``run`` does and its answer, in one transaction; or the answer that the same request got before. Whoever
    comes at the same moment waits. A refusal has no effect, and is not kept."""
    with transaction.atomic():
        before = earlier(key, now=now)
        if before is not None:
            return before
        done = run()
        keep(key, done, now=now)
        return done


def earlier(key: Key, *, now: Instant) -> Done | None:
    """Inside a transaction: the answer that was given. Raises :class:`zegel.api.answers.Refused` where the key was
    another request's."""
    try:
        found = answered.earlier(key, now=now)
    except OtherRequest:
        raise other_request() from None
    return None if found is None else _opened(found)


def keep(key: Key, done: Done, *, now: Instant) -> None:
    """Inside the transaction of what was done. Sealed, since a secret may stand in the answer."""
    told = {"body": shown(done.body), "tag": done.tag, "location": done.location, "status": done.status}
    id = chance.identifier()
    octets = json.dumps(told, ensure_ascii=False).encode("utf-8", "surrogatepass")
    answered.keep(key, wrap_field(octets, name=_FIELD, owner=id, to=api().sealing), id=id, now=now)


def other_request() -> Refused:
    """To be raised."""
    fault = Fault(
        field=HEADER, reason="The key was used for another request within a day.", example="A key that is new"
    )
    return refused(HTTPStatus.UNPROCESSABLE_ENTITY, "The key belongs to another request.", [fault])


def shown(body: Any) -> Any:
    """An answer as it is written."""
    return body if body is None or isinstance(body, dict) else body.model_dump(mode="json", by_alias=True)


def _opened(found: ApiAnswer) -> Done:
    opened: Secret[bytes] = api().dry_run.open_field(found.sealed, name=_FIELD, owner=found.id)
    told = json.loads(opened.reveal())
    status = HTTPStatus(told["status"]) if told["status"] is not None else None
    return Done(told["body"], told["tag"], told["location"], status)


def _not_understood(reason: str) -> Refused:
    fault = Fault(field=HEADER, reason=reason, example=f"{HEADER}: {EXAMPLE}")
    return refused(HTTPStatus.BAD_REQUEST, "The request is not understood.", [fault])
