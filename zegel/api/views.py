"""One way for every operation: token, scope, size, form; then what was asked. Nothing of a request is logged."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from pydantic import BaseModel, ValidationError

from zegel.api.access import token_of
from zegel.api.answers import Fault, Refused, answer, problem, refused
from zegel.api.openapi import document
from zegel.api.operations import MOST, Operation
from zegel.api.setup import api
from zegel.edge.log import Broken, log

_CLOSE: Final = {"Connection": "close"}  # what follows in the connection is a body that nobody reads
_JSON: Final = "application/json"


def view_of(operation: Operation) -> Callable[[HttpRequest], HttpResponse]:
    """The view that serves one row of the table. A token is no cookie, so no form of another site can use it."""

    @csrf_exempt
    def serve(request: HttpRequest) -> HttpResponse:
        return _told(request, lambda: _done(request, operation))

    return serve


@csrf_exempt
def openapi(request: HttpRequest) -> HttpResponse:
    """What there is, for programs. Tells nothing of anybody, so it asks no token."""
    return _told(request, lambda: _document(request))


@csrf_exempt
def nothing(request: HttpRequest) -> HttpResponse:
    """Any other address below ``/api/``."""
    fault = Fault(field="", reason="There is nothing at this address.", example="/api/v1/openapi.json")
    return problem(refused(HTTPStatus.NOT_FOUND, "There is nothing here.", [fault], headers=_CLOSE))


def _told(request: HttpRequest, serve: Callable[[], HttpResponse]) -> HttpResponse:
    try:
        return serve()
    except Refused as cause:
        return problem(cause)
    except Exception as cause:
        log(Broken("api", cause))
        return problem(refused(HTTPStatus.INTERNAL_SERVER_ERROR, "Something broke here. The cause is in the log."))


def _document(request: HttpRequest) -> HttpResponse:
    if request.method not in ("GET", "HEAD"):
        raise _method_not_allowed("GET, HEAD")
    return answer(document())


def _done(request: HttpRequest, operation: Operation) -> HttpResponse:
    if request.method != "POST":
        raise _method_not_allowed("POST")
    token = token_of(request, operation.scope, now=api().now())
    asked = _read(request, operation.asks)
    return answer(operation.run(token, asked))


def _read(request: HttpRequest, model: type[BaseModel]) -> BaseModel:
    if _length(request) > MOST:
        fault = Fault(field="", reason="The body is larger than 1 MB.", example="Send the header section alone.")
        raise refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request is too large.", [fault], headers=_CLOSE)
    if request.content_type != _JSON:
        fault = Fault(field="Content-Type", reason="The body is not said to be JSON.", example=f"Content-Type: {_JSON}")
        raise refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body must be JSON.", [fault], headers=_CLOSE)
    try:
        return model.model_validate_json(request.body)
    except ValidationError as cause:
        faults = [
            _fault(one, model) for one in cause.errors(include_url=False, include_context=False, include_input=False)
        ]
        # "from None": what was sent must not get into a traceback
        raise refused(HTTPStatus.BAD_REQUEST, "The request is not understood.", faults[:100]) from None


def _length(request: HttpRequest) -> int:
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return MOST + 1


def _fault(error: Any, model: type[BaseModel]) -> Fault:
    where = [str(part) for part in error["loc"]]
    return Fault(field=".".join(where)[:100], reason=f"{error['msg']}.", example=_example(where, model))


def _example(where: list[str], model: type[BaseModel]) -> str:
    for name, field in model.model_fields.items():
        if where and where[0] in (name, field.alias) and field.examples:
            example = field.examples[0]
            return str(example[0] if len(where) > 1 and isinstance(example, list) else example)
    return "See /api/v1/openapi.json"


def _method_not_allowed(allowed: str) -> Refused:
    fault = Fault(field="", reason="This address is not used with that method.", example=allowed)
    headers = {"Allow": allowed, **_CLOSE}
    return refused(HTTPStatus.METHOD_NOT_ALLOWED, "Not with this method.", [fault], headers=headers)
