"""Bodies of requests: bounded before they are read, read in pieces where they may be large, and never repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import Any, Final, get_args

from django.http import HttpRequest, UnreadablePostError
from pydantic import BaseModel, ValidationError

from zegel.api.answers import Fault, Refused, refused

CHUNK: Final = 65_536  # octets that are read at a time
CLOSE: Final = {"Connection": "close"}  # what follows in the connection is a body that nobody reads


def expect_size(request: HttpRequest, most: int) -> None:
    """Raises :class:`zegel.api.answers.Refused` for a body that is larger, without reading it."""
    if _length(request, most) > most:
        size = f"{most // 1_000_000} MB"
        fault = Fault(field="", reason=f"The body is larger than {size}.", example=f"At most {size}.")
        raise refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request is too large.", [fault], headers=CLOSE)


def expect_kind(request: HttpRequest, kinds: Sequence[str]) -> str:
    """The kind of the body. Raises :class:`zegel.api.answers.Refused` for another."""
    if request.content_type not in kinds:
        fault = Fault(
            field="Content-Type",
            reason=f"The body is not said to be {' or '.join(kinds)}.",
            example=f"Content-Type: {kinds[0]}",
        )
        title = "The body must be JSON." if len(kinds) == 1 else "The body is of another kind."
        raise refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, title, [fault], headers=CLOSE)
    return str(request.content_type)


def not_understood(cause: ValidationError, model: type[BaseModel]) -> Refused:
    """To be raised: what is wrong, without what was sent."""
    found = cause.errors(include_url=False, include_context=False, include_input=False)
    faults = [_fault(one, model) for one in found]
    return refused(HTTPStatus.BAD_REQUEST, "The request is not understood.", faults[:100])


def _length(request: HttpRequest, most: int) -> int:
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return most + 1


def _fault(error: Any, model: type[BaseModel]) -> Fault:
    where = [str(part) for part in error["loc"]]
    return Fault(field=".".join(where)[:100], reason=f"{error['msg']}.", example=_example(where, model))


def _example(where: Sequence[str], model: type[BaseModel]) -> str:
    """What would do in that place, as the form says."""
    for name, field in model.model_fields.items():
        if not where or where[0] not in (name, field.alias):
            continue
        inner = [part for part in where[1:] if not part.isdecimal()]
        if inner and (form := _form_in(field.annotation)) is not None:
            return _example(inner, form)
        example = (field.examples or [None])[0]
        found = example[0] if isinstance(example, list) and example and len(where) > 1 else example
        if found not in (None, [], ""):
            return str(found)
    return "See /api/v1/openapi.json"


def _form_in(kind: Any) -> type[BaseModel] | None:
    """The form that a list, or something that may be left out, is made of."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next((found for one in get_args(kind) if (found := _form_in(one)) is not None), None)


def pieces_of(request: HttpRequest, seen: Callable[[bytes], None]) -> Iterator[bytes]:
    """The body as it comes; ``seen`` gets each piece too. Raises :class:`zegel.api.answers.Refused` where less comes
    than was announced: a connection that breaks looks like the end."""
    left = _length(request, 0)
    try:
        while left > 0 and (octets := request.read(min(CHUNK, left))):
            left -= len(octets)
            seen(octets)
            yield octets
    except (UnreadablePostError, OSError):
        raise _interrupted() from None
    if left > 0:
        raise _interrupted()


def _interrupted() -> Refused:
    fault = Fault(field="", reason="Less came than was announced.", example="Send the whole of it again.")
    return refused(HTTPStatus.BAD_REQUEST, "The connection broke. Nothing was done.", [fault], headers=CLOSE)
