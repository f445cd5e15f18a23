"""Kinds of values that several forms have. What a pattern says is also in the OpenAPI document."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from zegel.api.answers import Fault, Refused, refused
from zegel.core.mail.address import Domain, Mailbox, NotADomain, NotAMailbox

_NO_CONTROL: Final = r"^[^\x00-\x1F\x7F-\x9F]*$"
_BASE64: Final = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


def _whole(value: Any) -> Any:
    """1.0 is an integer too (JSON Schema 2020-12, RFC 8259 §6)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE: Final = BeforeValidator(_whole)  # behind the bounds, so that the document has those
Address = Annotated[str, Field(min_length=3, max_length=400)]
Line = Annotated[str, Field(pattern=_NO_CONTROL)]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=_NO_CONTROL)]
Phone = Annotated[str, Field(min_length=3, max_length=40, pattern=_NO_CONTROL)]
Base64 = Annotated[str, Field(pattern=_BASE64, json_schema_extra={"contentEncoding": "base64"})]
ADDRESS: Final = "ontvanger@example.org"


def either(one: str, other: str, *, beside_other: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a form says of two fields of which one is given, for the OpenAPI document."""
    there, not_there = {"not": {"type": "null"}}, {"type": "null"}
    return {
        "oneOf": [
            {"required": [one], "properties": {one: there, **dict.fromkeys((other, *beside_other), not_there)}},
            {"required": [other], "properties": {other: there, one: not_there}},
        ]
    }


def mailbox_of(text: str, field: str) -> Mailbox:
    """Raises :class:`zegel.api.answers.Refused`, without what was written."""
    try:
        return Mailbox.parse(text)
    except NotAMailbox:
        raise cant_be(field, "This is not an e-mail address.", ADDRESS) from None


def domain_of(text: str, field: str) -> Domain:
    """Likewise."""
    try:
        return Domain.parse(text)
    except NotADomain:
        raise cant_be(field, "This is not a domain.", "example.org") from None


def cant_be(field: str, reason: str, example: str) -> Refused:
    """To be raised: the form is right, and what stands in it can't be."""
    title = "What is asked can't be."
    return refused(HTTPStatus.UNPROCESSABLE_ENTITY, title, [Fault(field=field, reason=reason, example=example)])
