"""One way for every operation: method, token, scope, key, size, form; then what was asked. Nothing of a request is
logged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from django.core.exceptions import TooManyFieldsSent
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from pydantic import BaseModel, ValidationError

from zegel.accounts import audit
from zegel.api import once
from zegel.api.access import token_of
from zegel.api.answers import Fault, Refused, answer, problem, refused
from zegel.api.bodies import CLOSE, expect_kind, expect_size, not_understood
from zegel.api.openapi import document
from zegel.api.operation import JSON, PARAMETERS, Call, Done, Operation
from zegel.api.setup import api
from zegel.core.policy.audit import Actor, ActorKind
from zegel.edge.log import Broken, log

_LARGEST: Final = 2**63 - 1  # of a number in the database
NOT_THERE: Final = "There is nothing here."


def view_of(operations: Sequence[Operation]) -> Callable[..., HttpResponseBase]:
    """The view that serves the rows of one address. A token is no cookie, so no form of another site can use it."""
    by_method = {one.method: one for one in operations}
    if "GET" in by_method:
        by_method["HEAD"] = by_method["GET"]  # type: ignore[index]
    allowed = ", ".join(sorted(by_method))

    @csrf_exempt
    def serve(request: HttpRequest, **place: str) -> HttpResponseBase:
        operation = by_method.get(request.method)  # type: ignore[call-overload]
        if operation is None:
            return problem(_method_not_allowed(allowed))
        return _told(request, lambda: _done(request, operation, place))

    return serve


@csrf_exempt
def openapi(request: HttpRequest) -> HttpResponseBase:
    """What there is, for programs. Tells nothing of anybody, so it asks no token."""
    return _told(request, lambda: _document(request))


@csrf_exempt
def nothing(request: HttpRequest) -> HttpResponseBase:
    """Any other address below ``/api/``."""
    return problem(_not_there())


def _told(request: HttpRequest, serve: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    try:
        return serve()
    except Refused as cause:
        return problem(cause)
    except Http404:
        return problem(_not_there())
    except Exception as cause:
        log(Broken("api", cause))
        return problem(refused(HTTPStatus.INTERNAL_SERVER_ERROR, "Something broke here. The cause is in the log."))


def _document(request: HttpRequest) -> HttpResponse:
    if request.method not in ("GET", "HEAD"):
        raise _method_not_allowed("GET, HEAD")
    return answer(document())


def _done(request: HttpRequest, operation: Operation, written: Mapping[str, str]) -> HttpResponseBase:
    now = api().now()
    token = token_of(request, operation.scope, now=now)
    place = {name: _parsed(name, text) for name, text in written.items()}
    name = once.named(request, operation)
    query = _read_query(request, operation.query) if operation.query is not None else None
    if operation.is_raw:
        key = once.key_of(token, name, b"") if name is not None else None
        return _run(operation, Call(request, token, now, place, query, None, key))
    body = _read(request, operation.asks, operation.most) if operation.asks is not None else None
    call = Call(request, token, now, place, query, body)
    if name is None:
        return _run(operation, call)
    digest = once.Digest(request)
    digest.feed(request.body if operation.asks is not None else b"")
    key = once.key_of(token, name, digest.finish())
    return _run(operation, call, lambda run: once.done_once(key, run, now=now))


def _run(
    operation: Operation, call: Call, within: Callable[[Callable[[], Any]], Any] = lambda run: run()
) -> HttpResponseBase:
    """Whoever the token says acts."""
    with audit.acting(lambda: Actor(ActorKind.TOKEN, call.token.name)):
        done = within(lambda: operation.run(call))
    return _answered(operation, done) if isinstance(done, Done) else done


def _answered(operation: Operation, done: Done) -> HttpResponse:
    headers = {}
    if done.tag:
        headers["ETag"] = done.tag
    if done.location:
        headers["Location"] = f"/api/v1/{done.location}"
    status = done.status or operation.status
    if done.body is None:
        return HttpResponse(status=status, headers=headers)
    return answer(once.shown(done.body), status, headers)


# --- what is asked -----------------------------------------------------------------------------------------------


def _parsed(name: str, text: str) -> Any:
    """What stands in a path. What can't be the name of anything names nothing."""
    kind = PARAMETERS[name].kind
    try:
        if kind is int:
            number = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1
            if not 0 <= number <= _LARGEST:
                raise ValueError("no number of ours")
            return number
        return kind(text)
    except ValueError:
        raise _not_there() from None


def _read_query(request: HttpRequest, model: type[BaseModel]) -> BaseModel:
    try:
        found = request.GET
    except TooManyFieldsSent:
        fault = Fault(field="", reason="So many questions are none of ours.", example="?limit=50")
        raise refused(HTTPStatus.BAD_REQUEST, "The request is not understood.", [fault]) from None
    asked = {name: values[0] if len(values) == 1 else values for name, values in found.lists()}
    return _understood(model, lambda: model.model_validate(asked))


def _read(request: HttpRequest, model: type[BaseModel], most: int) -> BaseModel:
    expect_size(request, most)
    expect_kind(request, (JSON,))
    return _understood(model, lambda: model.model_validate_json(request.body))


def _understood(model: type[BaseModel], read: Callable[[], BaseModel]) -> BaseModel:
    try:
        return read()
    except ValidationError as cause:
        raise not_understood(cause, model) from None  # what was sent must not get into a traceback


def _method_not_allowed(allowed: str) -> Refused:
    fault = Fault(field="", reason="This address is not used with that method.", example=allowed)
    headers = {"Allow": allowed, **CLOSE}
    return refused(HTTPStatus.METHOD_NOT_ALLOWED, "Not with this method.", [fault], headers=headers)


def _not_there() -> Refused:
    fault = Fault(field="", reason="There is nothing at this address.", example="/api/v1/openapi.json")
    return refused(HTTPStatus.NOT_FOUND, NOT_THERE, [fault], headers=CLOSE)
