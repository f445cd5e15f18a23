"""``POST /api/v1/explain``: a dry run of a message, which is neither kept nor logged."""

from __future__ import annotations

import base64
import binascii
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from zegel.accounts.tokens import Scope
from zegel.api.answers import Fault, Refused, refused
from zegel.api.fields import Address, either
from zegel.api.operation import Call, Done, Operation
from zegel.api.setup import api
from zegel.core.mail.fields import HeaderTooLong
from zegel.journey.arrival.intake import HEADER_TOO_LONG
from zegel.journey.explain import CHUNK, Asking, Foreseen, OtherAuthor, TurnedAway, foresee, header_of

_OCTET: Final = r"[A-Za-z0-9+/]\s*"  # a character of base64 that may stand at the end of a line
_BASE64: Final = rf"^\s*(?:(?:{_OCTET}){{4}})*(?:(?:{_OCTET}){{2}}=\s*=\s*|(?:{_OCTET}){{3}}=\s*)?$"


class ExplainRequest(BaseModel):
    """Who sends what to whom. Of the message only the header section counts."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=either("message", "message_base64"))

    from_: Address = Field(
        alias="from", description="The author, who also stands in the From field.", examples=["balie@example.org"]
    )
    to: list[Address] = Field(
        min_length=1,
        max_length=1000,
        description="The recipients of the envelope: those of To and Cc, and Bcc recipients.",
        examples=[["ontvanger@example.net"]],
    )
    message: str | None = Field(
        default=None,
        description="The message, or its header section alone.",
        examples=["From: balie@example.org\nTo: ontvanger@example.net\nSubject: Uitslag\n\n"],
    )
    message_base64: str | None = Field(
        default=None,
        pattern=_BASE64,
        description="Instead of `message`: its octets in base64.",
        examples=["RnJvbTogYmFsaWVAZXhhbXBsZS5vcmcNCg=="],
    )


class Sentence(BaseModel):
    """A sentence in both languages."""

    en: str
    nl: str


class Verdict(Sentence):
    """What one row of the table said."""

    rank: int
    name: str
    naam: str
    hit: bool
    why: str = Field(description="The code of the reason: docs/precedence.md", examples=["no-account"])


class PlannedStep(Sentence):
    """One step of the plan, best first."""

    model_config = ConfigDict(extra="allow")

    kind: str = Field(examples=["readable", "notify", "hold", "undeliverable"])


class RemedySentence(Sentence):
    """Something that somebody can do."""

    code: str = Field(examples=["make-account"])


class BetterRow(BaseModel):
    """A row above the end of the plan, and all that is needed for it, in this order."""

    rank: int
    name: str
    naam: str
    remedies: list[RemedySentence]


class RecipientExplanation(BaseModel):
    """One recipient, once."""

    recipient: str
    blind: bool = Field(description="Bcc: a conversation of its own.")
    served: bool = Field(description="Neither held nor undeliverable from the start.")
    table: int = Field(description="The version of the table that decided.")
    case: dict[str, Any] = Field(description="The facts as they are stored with a decision; numbers masked, no codes.")
    facts: list[Sentence]
    rows: list[Verdict]
    plan: list[PlannedStep]
    better: list[BetterRow]
    notes: list[Sentence]


class ExplainAnswer(BaseModel):
    """What would become of the message."""

    author: str
    all_served: bool
    warnings: list[Sentence]
    recipients: list[RecipientExplanation]


_MESSAGE: Final = "From: balie@example.org\nTo: ontvanger@example.net\n\n"
_EXAMPLES: Final = {"from": "balie@example.org", "to": "ontvanger@example.net", "message": _MESSAGE}


def explain(call: Call) -> Done:
    """Raises :class:`zegel.api.answers.Refused` for what the door would refuse."""
    asked: ExplainRequest = call.body
    asking = Asking(asked.from_, asked.to, _header(asked))
    found = foresee(asking, api().dry_run, organisation=call.organisation)
    match found:
        case Foreseen():
            return Done(found.to_json())
        case TurnedAway(reply, field, which):
            where = field if which is None else f"{field}.{which}"
            fault = Fault(field=where, reason=reply.text, example=_EXAMPLES[field])
            raise refused(
                HTTPStatus.UNPROCESSABLE_ENTITY, "A mail server would be refused with this.", [fault], reply=reply
            )
        case OtherAuthor():
            fault = Fault(
                field="from", reason="The From field of the message names another author.", example=_EXAMPLES["from"]
            )
            raise refused(HTTPStatus.UNPROCESSABLE_ENTITY, "The message is another author's.", [fault])


def _header(asked: ExplainRequest) -> bytes:
    octets = _octets(asked)
    try:
        return header_of(octets[begin : begin + CHUNK] for begin in range(0, len(octets), CHUNK))
    except HeaderTooLong:
        fault = Fault(field="message", reason=HEADER_TOO_LONG.text, example=_MESSAGE)
        title = "A mail server would be refused with this."
        raise refused(HTTPStatus.UNPROCESSABLE_ENTITY, title, [fault], reply=HEADER_TOO_LONG) from None


def _octets(asked: ExplainRequest) -> bytes:
    match asked.message, asked.message_base64:
        case (str() as text, None):
            return text.encode("utf-8")
        case (None, str() as encoded):
            try:
                return base64.b64decode("".join(encoded.split()), validate=True)
            except (binascii.Error, ValueError):
                raise _not_understood(
                    "message_base64", "This is not base64.", "RnJvbTogYmFsaWVAZXhhbXBsZS5vcmcNCg=="
                ) from None
        case _:
            reason = "Give either message or message_base64."
            raise _not_understood("message", reason, _MESSAGE)


def _not_understood(field: str, reason: str, example: str) -> Refused:
    fault = Fault(field=field, reason=reason, example=example)
    return refused(HTTPStatus.BAD_REQUEST, "The request is not understood.", [fault])


ROWS: Final = (
    Operation(
        "explain",
        "POST",
        "explain",
        Scope.EXPLAIN,
        "What would become of a message, for each recipient, and why. Nothing is sent or kept.",
        explain,
        ExplainAnswer,
        asks=ExplainRequest,
    ),
)
