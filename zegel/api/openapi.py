"""The OpenAPI 3.1 document, made from the table of operations."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from zegel import VERSION
from zegel.api.answers import Problem
from zegel.api.operations import OPERATIONS, Operation

_REFUSALS: Final = {
    "400": "The request is not understood.",
    "401": "No token in force was shown.",
    "403": "The token may not be used for this.",
    "411": "The request has no Content-Length. Answered as plain text.",
    "413": "The body is larger than 1 MB.",
    "415": "The body is not JSON.",
    "422": "A mail server would be refused; its reply is in the answer.",
    "429": "Too many requests without a token in force.",
    "500": "Our fault; the cause is in the log.",
}
_REF: Final = "#/components/schemas/{model}"


@cache
def document() -> dict[str, Any]:
    """The same for everybody: it holds nothing of any organisation."""
    models = [
        *((one.asks, "validation") for one in OPERATIONS),
        *((one.answers, "serialization") for one in OPERATIONS),
    ]
    _, schemas = models_json_schema([*models, (Problem, "serialization")], ref_template=_REF)  # type: ignore[list-item]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Zegel", "version": VERSION, "summary": "An open encryption gateway for e-mail"},
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}],
        "paths": {f"/{one.path}": {"post": _operation(one)} for one in OPERATIONS},
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Made with: zegel token add"}
            },
        },
    }


def _operation(one: Operation) -> dict[str, Any]:
    refusals = {
        status: {"description": why, "content": _content(Problem.__name__)} for status, why in _REFUSALS.items()
    }
    refusals["411"].pop("content")
    return {
        "operationId": one.name,
        "summary": one.summary,
        "description": f"Needs a token with the scope `{one.scope.value}`.",
        "requestBody": {"required": True, "content": _content(one.asks.__name__)},
        "responses": {"200": {"description": "Done.", "content": _content(one.answers.__name__)}, **refusals},
    }


def _content(model: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(model=model)}}}
