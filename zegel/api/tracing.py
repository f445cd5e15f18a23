"""Where a message is, and why: all that is known of its way. Never its content."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any, Final, Literal

from django.shortcuts import get_object_or_404
from pydantic import AwareDatetime, Field

from zegel.accounts.tokens import Scope
from zegel.api.fields import cant_be
from zegel.api.operation import Call, Done, Form, Operation, Paged, Told
from zegel.api.paging import part
from zegel.journey import seeking
from zegel.journey.custody.models import Recipient, Submission
from zegel.journey.seeking import Sought, Text, Where
from zegel.journey.tracing import trace_json


class Trace(Told):
    """docs/trace.md says what stands in it."""

    form: str = Field(examples=["zegel-trace/1"])
    submission: dict[str, Any]
    is_final: bool = Field(description="Nothing more happens by itself, for any of the recipients in this part.")
    recipients: list[dict[str, Any]] = Field(description="A part of them.")
    reports: list[dict[str, Any]] | None = Field(description="In the first part alone.")
    next: str | None = Field(description="There are more recipients: ask again with `after`.")


class TracePart(Paged):
    """Of the recipients, which part."""

    limit: int = Field(default=200, ge=1, le=200, description="At most so many recipients.")


class TraceSearch(Form):
    """All of these together; what is left out doesn't matter."""

    text: str | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="An address, a domain, a Message-ID or an identifier.",
        examples=["ontvanger@example.net"],
    )
    since: AwareDatetime | None = None
    until: AwareDatetime | None = Field(default=None, description="Not this moment itself.")
    state: Literal["waiting", "held", "notified", "delivered", "opened", "undeliverable"] | None = None
    after: str | None = Field(default=None, max_length=36, pattern="^[0-9a-f-]{36}$", description="The `next` before.")


class FoundMessage(Told):
    """One submission."""

    id: uuid.UUID
    message_id: str
    sender: str
    accepted_at: datetime


class FoundMessages(Told):
    """The newest first."""

    items: list[FoundMessage]
    next: str | None
    looked_until: datetime | None = Field(description="Older messages were not looked at; go on with `next`.")


def got(call: Call) -> Done:
    """One submission, with a part of its recipients."""
    rows = Submission.objects.select_related("organisation", "account", "credential")
    row = get_object_or_404(rows, id=call.place["submission"], organisation=call.organisation)
    mine = Recipient.objects.filter(submission=row, conversation__organisation=call.organisation)
    some, following = part(mine, "id", limit=call.query.limit, after=call.query.after)
    trace = trace_json(row, some=[one.id for one in some])
    if call.query.after:
        trace["reports"] = None
    return Done({**trace, "next": following})


def searched(call: Call) -> Done:
    """A page of submissions."""
    asked: TraceSearch = call.body
    sought = Sought(
        Text.parse(asked.text) if asked.text is not None else None,
        _moment(asked.since),
        _moment(asked.until),
        Where(asked.state) if asked.state is not None else None,
    )
    found = seeking.find(call.organisation, sought, below=_below(asked.after))
    items = [
        FoundMessage(id=one.id, message_id=one.message_id, sender=one.account.email, accepted_at=one.accepted_at)
        for one in found.submissions
    ]
    return Done(
        FoundMessages(
            items=items, next=str(found.older) if found.older is not None else None, looked_until=found.looked_until
        )
    )


def _below(cursor: str | None) -> uuid.UUID | None:
    try:
        return uuid.UUID(cursor) if cursor is not None else None
    except ValueError:
        raise cant_be("after", "This is no cursor of ours.", "The `next` of the answer before.") from None


def _moment(at: datetime | None) -> datetime | None:
    """In UTC; at the ends of the calendar as near as it gets."""
    if at is None:
        return None
    try:
        return at.astimezone(UTC)
    except OverflowError:
        return at.replace(tzinfo=UTC)


ROWS: Final = (
    Operation(
        "get-trace",
        "GET",
        "trace/{submission}",
        Scope.TRACE_READ,
        "The way of a message, for each recipient, with its evidence.",
        got,
        Trace,
        query=TracePart,
    ),
    Operation(
        "search-trace",
        "POST",
        "trace/search",
        Scope.TRACE_READ,
        "Find messages by address, domain, Message-ID, time or state.",
        searched,
        FoundMessages,
        asks=TraceSearch,
    ),
)
