"""The OpenAPI 3.1 document, made from the table of operations."""

from __future__ import annotations

import uuid
from functools import cache
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from zegel import VERSION
from zegel.api import once
from zegel.api.answers import Problem
from zegel.api.fields import ADDRESS
from zegel.api.importing import CSV
from zegel.api.operation import JSON, PARAMETERS, Keyed, Operation
from zegel.api.operations import OPERATIONS
from zegel.api.sending import RAW, RECIPIENTS

_REFUSALS: Final = {
    HTTPStatus.BAD_REQUEST: "The request is not understood.",
    HTTPStatus.UNAUTHORIZED: "No token in force was shown.",
    HTTPStatus.FORBIDDEN: "The token may not be used for this.",
    HTTPStatus.NOT_FOUND: "There is nothing here, or it is another organisation's.",
    HTTPStatus.CONFLICT: "What is there already stands in the way.",
    HTTPStatus.LENGTH_REQUIRED: "The request has no Content-Length. Answered as plain text.",
    HTTPStatus.PRECONDITION_FAILED: "Another version is in force: somebody changed it meanwhile.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is of another kind.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The form is right, and what stands in it can't be. Where a mail server would be "
    "refused, its reply is in the answer.",
    HTTPStatus.PRECONDITION_REQUIRED: "A change names the version that it is made of, in If-Match.",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many requests without a token in force.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Our fault; the cause is in the log.",
}
_REF: Final = "#/components/schemas/{model}"
_SCHEMAS: Final[dict[object, dict[str, Any]]] = {
    int: {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
    uuid.UUID: {"type": "string", "format": "uuid"},
    str: {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[^/\x00-\x20\x7F]+$"},
}
_ALWAYS: Final = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
)


@cache
def document() -> dict[str, Any]:
    """The same for everybody: it holds nothing of any organisation."""
    paths: dict[str, dict[str, Any]] = {}
    for one in OPERATIONS:
        paths.setdefault(f"/{one.path}", {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Zegel",
            "version": VERSION,
            "summary": "An open encryption gateway for e-mail",
            "description": "How it is used: docs/api.md. Within v1 fields are added, and nothing else is changed.",
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "responses": {str(int(status)): _refusal(status, why) for status, why in _REFUSALS.items()},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Made in the console or with: zegel token add",
                }
            },
        },
    }


def _schemas() -> dict[str, Any]:
    asked = [(one.asks, "validation") for one in OPERATIONS if one.asks is not None]
    told = [(one.answers, "serialization") for one in OPERATIONS if one.answers is not None]
    models = [*asked, *told, (Problem, "serialization")]
    _, schemas = models_json_schema(models, ref_template=_REF)  # type: ignore[arg-type]
    found: dict[str, Any] = schemas["$defs"]
    return found


def _operation(one: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.summary,
        "description": f"Needs a token with the scope `{one.scope.value}`.",
        "tags": [one.path.partition("/")[0]],
        "security": [{"token": [one.scope.value]}],
    }
    if parameters := _parameters(one):
        told["parameters"] = parameters
    if one.takes_body:
        content = _content(one.asks) if one.asks is not None else {}
        for kind in one.also_takes:
            content[kind] = {"schema": {"type": "string", "contentMediaType": kind}, "examples": _RAW_EXAMPLES[kind]}
        told["requestBody"] = {"required": True, "content": content}
    told["responses"] = _responses(one)
    return told


def _parameters(one: Operation) -> list[dict[str, Any]]:
    found = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": PARAMETERS[name].description,
            "schema": {**_SCHEMAS[PARAMETERS[name].kind], "examples": [PARAMETERS[name].example]},
        }
        for name in one.parameters
    ]
    if one.query is not None:
        found += [_of_query(name, schema) for name, schema in one.query.model_json_schema()["properties"].items()]
    if one.keyed is not Keyed.NOT:
        is_required = one.keyed is Keyed.REQUIRED
        found.append(_header(once.HEADER, once.PATTERN, _KEY_SAYS, once.EXAMPLE, is_required=is_required))
    if one.changes:
        makes = HTTPStatus.CREATED in one.also
        found.append(_header("If-Match", "", _MATCH_SAYS, f'"{"0" * 32}"', is_required=not makes))
    if RAW in one.also_takes:
        found.append(_header(RECIPIENTS, r"^[^\x00-\x1F\x7F]*$", _RECIPIENTS_SAYS, ADDRESS, is_required=False))
    return found


def _of_query(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in schema.items() if key not in ("title", "description")}
    return {"name": name, "in": "query", "description": schema.get("description", ""), "schema": kept}


def _header(name: str, pattern: str, says: str, example: str, *, is_required: bool) -> dict[str, Any]:
    schema = {"type": "string", "examples": [example], **({"pattern": pattern} if pattern else {})}
    return {"name": name, "in": "header", "required": is_required, "description": says, "schema": schema}


def _responses(one: Operation) -> dict[str, Any]:
    done: dict[str, Any] = {"description": "Done."}
    if one.answers is not None:
        done["content"] = _content(one.answers)
    elif one.gives != JSON:
        done["content"] = {one.gives: {"schema": {"type": "string", "contentMediaType": one.gives}}}
    if one.is_tagged:
        says = {"description": "Of this version, for If-Match.", "schema": {"type": "string"}}
        done["headers"] = {"ETag": says}
    if one.links:
        done["links"] = {
            to.name: {"operationId": to.name, "parameters": {to.parameter: f"$response.body#{to.pointer}"}}
            for to in one.links
        }
    found = {str(int(status)): done for status in (one.status, *one.also)}
    for status in _refusals_of(one):
        found[str(int(status))] = {"$ref": f"#/components/responses/{int(status)}"}
    for status, why in (one.refusals or {}).items():
        found[str(int(status))] = _refusal(status, why)
    return dict(sorted(found.items()))


def _refusals_of(one: Operation) -> set[HTTPStatus]:
    """What follows from the rest of the row."""
    found = {*_ALWAYS}
    if one.parameters:
        found.add(HTTPStatus.NOT_FOUND)
    if one.query is not None:
        found.add(HTTPStatus.UNPROCESSABLE_ENTITY)
    if one.takes_body or one.query is not None or one.keyed is not Keyed.NOT:
        found.add(HTTPStatus.BAD_REQUEST)
    if one.takes_body:
        found |= {
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
        }
    if one.method in ("POST", "PUT", "PATCH"):
        found.add(HTTPStatus.LENGTH_REQUIRED)
    if one.keyed is not Keyed.NOT:
        found.add(HTTPStatus.UNPROCESSABLE_ENTITY)
    if one.changes:
        found |= {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.PRECONDITION_REQUIRED}
    return found


def _refusal(status: HTTPStatus, why: str) -> dict[str, Any]:
    if status is HTTPStatus.LENGTH_REQUIRED:
        return {"description": why, "content": {"text/plain": {"schema": {"type": "string"}}}}
    if status is HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return {"description": why}
    return {"description": why, "content": _content(Problem)}


def _content(model: type[BaseModel]) -> dict[str, Any]:
    return {JSON: {"schema": {"$ref": _REF.format(model=model.__name__)}}}


_KEY_SAYS: Final = (
    "A name that the program chooses for this request, such as a UUID. Sent again with the same one within 24 hours, "
    "the request is not done again: it gets the same answer."
)
_MATCH_SAYS: Final = (
    "The ETag of the version that this change is made of. Needed where there is something to change already."
)
_RECIPIENTS_SAYS: Final = (
    "With message/rfc822 only: the recipients of the envelope, separated by commas, in UTF-8. Without it they are "
    "those of To, Cc and Bcc."
)
_RAW_EXAMPLES: Final = {
    RAW: {
        "message": {
            "value": "From: balie@example.org\r\nTo: ontvanger@example.net\r\nSubject: Uitslag\r\n\r\n"
            "Uw uitslag is er.\r\n"
        }
    },
    CSV: {"file": {"value": "email_address,phone_number\r\nontvanger@example.net,+31612345678\r\n"}},
}
