"""Answers of the API: JSON, kept by no cache. Every refusal names the field, the reason and an example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from django.http import JsonResponse
from pydantic import BaseModel, Field

from zegel.core.mail.reply import Reply


class Fault(BaseModel):
    """One thing that has to be different."""

    field: str = Field(description="Where it stands; empty: the request as a whole.", examples=["to.0"])
    reason: str = Field(examples=["This is not an e-mail address."])
    example: str = Field(description="What would do.", examples=["ontvanger@example.org"])


class SmtpReply(BaseModel):
    """What a mail server would have been answered."""

    code: int = Field(examples=[550])
    status: str = Field(description="RFC 3463", examples=["5.7.1"])
    text: str

    @classmethod
    def of(cls, reply: Reply) -> SmtpReply:
        return cls(code=reply.code, status=reply.status or "", text=reply.text)


class Problem(BaseModel):
    """Why nothing was done."""

    title: str = Field(examples=["The request is not understood."])
    errors: list[Fault] = Field(default_factory=list)
    reply: SmtpReply | None = Field(default=None, description="Where a mail server would have been refused.")


class Refused(Exception):
    """Ends a request with this problem."""

    def __init__(self, status: HTTPStatus, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem.title)
        self.status = status
        self.problem = problem
        self.headers = dict(headers or {})


def refused(
    status: HTTPStatus,
    title: str,
    errors: Sequence[Fault] = (),
    *,
    reply: Reply | None = None,
    headers: Mapping[str, str] | None = None,
) -> Refused:
    """To be raised."""
    told = SmtpReply.of(reply) if reply is not None else None
    return Refused(status, Problem(title=title, errors=list(errors), reply=told), headers)


def answer(body: Any, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> JsonResponse:
    """JSON with every character as it is."""
    return JsonResponse(
        body, status=status, headers=dict(headers or {}), json_dumps_params={"ensure_ascii": False}, safe=False
    )


def problem(cause: Refused) -> JsonResponse:
    """The answer that says why nothing was done."""
    return answer(cause.problem.model_dump(exclude_none=True), cause.status, cause.headers)
