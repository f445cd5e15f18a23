"""Webhooks: added, changed, tried, given another secret, removed. A secret is in the one answer that makes it."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any, Final, Self

from django.db import transaction
from django.shortcuts import get_object_or_404
from pydantic import Field

from zegel.accounts import webhooks
from zegel.accounts.models import Organisation, Webhook
from zegel.accounts.tokens import Scope
from zegel.accounts.webhooks import NewSecret, NotAWebhook, Wanted
from zegel.api.answers import Fault, Refused, refused
from zegel.api.fields import Line, Name, cant_be
from zegel.api.operation import Call, Done, Form, Keyed, Link, Operation, Paged, Told
from zegel.api.paging import part
from zegel.api.setup import api
from zegel.api.versions import must_match, tag_of
from zegel.core.policy.webhooks import CHOICE, EVENTS
from zegel.journey.custody import outbox
from zegel.journey.custody.models import WebhookRequest

Chosen = StrEnum("Chosen", {event.name: event.value for event in CHOICE})  # type: ignore[misc]
Url = Annotated[Line, Field(max_length=1000, examples=[webhooks.EXAMPLE])]


class WebhookForm(Form):
    """A new webhook."""

    description: Name = Field(examples=["Patient records"])
    url: Url = Field(description="https, port 443 or 1024 and higher.")
    events: list[Chosen] = Field(min_length=1, max_length=20, examples=[["recipient.opened", "alarm.raised"]])


class WebhookChange(Form):
    """What is left out stays."""

    description: Name | None = None
    url: Url | None = None
    events: list[Chosen] | None = Field(default=None, min_length=1, max_length=20)
    enabled: bool | None = None


class WebhookTold(Told):
    """What is known of it."""

    id: uuid.UUID
    description: str
    url: str
    events: list[str]
    enabled: bool
    gone: bool = Field(description="Its server answered 410, which disabled it.")
    has_previous_secret: bool = Field(description="Requests are signed with two secrets: it is being renewed.")
    created_at: datetime
    renewed_at: datetime | None
    disabled_at: datetime | None
    waiting: int = Field(description="Of how much it is still to be told.")

    @classmethod
    def of(cls, row: Webhook, **more: Any) -> Self:
        """Without its secret."""
        return cls(
            id=row.pk,
            description=row.description,
            url=row.url,
            events=row.events,
            enabled=row.disabled_at is None,
            gone=row.is_gone,
            has_previous_secret=row.previous_secret is not None,
            created_at=row.created_at,
            renewed_at=row.renewed_at,
            disabled_at=row.disabled_at,
            waiting=outbox.waiting(row),
            **more,
        )


class IssuedWebhook(WebhookTold):
    """The one answer that shows the secret."""

    secret: str = Field(description="Shown once, now.")


class WebhookList(Told):
    """In the order in which they were added."""

    items: list[WebhookTold]
    next: str | None


class RequestTold(Told):
    """One request: how it ended, or how far it is. Never its body."""

    id: uuid.UUID = Field(description="The webhook-id of the request.")
    event: str
    at: datetime = Field(description="When it happened.")
    state: str = Field(examples=["waiting", "taken", "given-up"])
    tries: int
    outcome: str = Field(description="Of the last try: the status that came back, or a word of ours.")
    tried_at: datetime | None
    due_at: datetime | None = Field(description="Of the next try.")

    @classmethod
    def of(cls, row: WebhookRequest) -> Self:
        """As it stands."""
        return cls(
            id=row.id,
            event=row.event,
            at=row.at,
            state=row.state,
            tries=row.tries,
            outcome=row.outcome,
            tried_at=row.tried_at,
            due_at=row.due_at,
        )


class RequestList(Told):
    """The last ones, the newest first."""

    items: list[RequestTold]


def listed(call: Call) -> Done:
    """All, also those that are disabled."""
    rows, following = part(call.organisation.webhooks.all(), "id", limit=call.query.limit, after=call.query.after)
    return Done(WebhookList(items=[WebhookTold.of(row) for row in rows], next=following))


def got(call: Call) -> Done:
    """One."""
    return _told(_row(call.organisation, call.place["webhook"]))


def added(call: Call) -> Done:
    """A new one."""
    asked: WebhookForm = call.body
    wanted = Wanted(asked.description, asked.url, frozenset(EVENTS[one] for one in asked.events))
    try:
        made = webhooks.add(call.organisation, wanted, sealing=api().sealing, now=call.now)
    except NotAWebhook as cause:
        raise _unfit(cause) from None
    return _issued(made, location=f"webhooks/{made.webhook.pk}")


def changed(call: Call) -> Done:
    """What waits goes to the address that is in force then."""
    asked: WebhookChange = call.body
    with transaction.atomic():
        row = _meant(call)
        events = row.events if asked.events is None else asked.events
        wanted = Wanted(
            row.description if asked.description is None else asked.description,
            row.url if asked.url is None else asked.url,
            frozenset(EVENTS[one] for one in events if one in EVENTS),
        )
        is_enabled = row.disabled_at is None if asked.enabled is None else asked.enabled
        try:
            webhooks.change(row, wanted, is_enabled=is_enabled, now=call.now)
        except NotAWebhook as cause:
            raise _unfit(cause) from None
    return _told(row)


def renewed(call: Call) -> Done:
    """A second secret beside the one in use."""
    try:
        made = webhooks.renew(_row(call.organisation, call.place["webhook"]), sealing=api().sealing, now=call.now)
    except webhooks.StillRenewing:
        raise _conflict("Two secrets are valid already.", "End the previous one first.") from None
    return _issued(made)


def previous_ended(call: Call) -> Done:
    """Only the current secret is valid."""
    with transaction.atomic():
        row = _meant(call)
        if row.previous_secret is None:
            raise _conflict("There is no previous secret.", "Nothing is to be ended.")
        webhooks.end_previous(row, now=call.now)
    return _told(row)


def tried(call: Call) -> Done:
    """A test is sent in a moment; the list of requests says how it ended."""
    row = _row(call.organisation, call.place["webhook"])
    identity = outbox.try_out(row, now=call.now)
    return Done(RequestTold.of(WebhookRequest.objects.get(id=identity)))


def requests(call: Call) -> Done:
    """The last ones."""
    row = _row(call.organisation, call.place["webhook"])
    return Done(RequestList(items=[RequestTold.of(one) for one in outbox.last_requests(row)]))


def removed(call: Call) -> Done:
    """It is told nothing any more, nor of what waited."""
    with transaction.atomic():
        webhooks.remove(_meant(call), now=call.now)
    return Done(None)


def _told(row: Webhook) -> Done:
    return Done(WebhookTold.of(row), tag=_tag(row))


def _issued(made: NewSecret, *, location: str = "") -> Done:
    shown = IssuedWebhook.of(made.webhook, secret=made.secret.reveal())
    return Done(shown, tag=_tag(made.webhook), location=location)


def _tag(row: Webhook) -> str:
    """Of what is decided about it; being told changes nothing."""
    is_whole = row.previous_secret is None
    return tag_of(row.pk, row.description, row.url, row.events, row.renewed_at, is_whole, row.disabled_at)


def _row(organisation: Organisation, webhook: uuid.UUID, *, for_update: bool = False) -> Webhook:
    """Raises ``Http404`` for one of another organisation."""
    found = organisation.webhooks.all()
    return get_object_or_404(found.select_for_update() if for_update else found, pk=webhook)


def _meant(call: Call) -> Webhook:
    """Inside a transaction: as it is, if that is what the change was made of."""
    row = _row(call.organisation, call.place["webhook"], for_update=True)
    must_match(call.request, _tag(row))
    return row


def _unfit(cause: NotAWebhook) -> Exception:
    if cause.field:
        return cant_be(cause.field, str(cause), webhooks.EXAMPLE if cause.field == "url" else CHOICE[0].value)
    return _conflict("The webhook was not added.", str(cause))


def _conflict(title: str, reason: str) -> Refused:
    return refused(HTTPStatus.CONFLICT, title, [Fault(field="", reason=reason, example="GET /api/v1/webhooks")])


_READ, _WRITE = Scope.WEBHOOKS_READ, Scope.WEBHOOKS_WRITE
_ONE: Final = "webhooks/{webhook}"
_IN_THE_WAY: Final = {HTTPStatus.CONFLICT: "It is being renewed, or is not."}

ROWS: Final = (
    Operation("list-webhooks", "GET", "webhooks", _READ, "Webhooks.", listed, WebhookList, query=Paged),
    Operation(
        "add-webhook",
        "POST",
        "webhooks",
        _WRITE,
        "Add a webhook. The answer alone shows its secret.",
        added,
        IssuedWebhook,
        asks=WebhookForm,
        status=HTTPStatus.CREATED,
        links=tuple(
            Link(name, "webhook", "/id")
            for name in (
                "get-webhook",
                "change-webhook",
                "renew-webhook-secret",
                "end-previous-webhook-secret",
                "test-webhook",
                "list-webhook-requests",
                "remove-webhook",
            )
        ),
        keyed=Keyed.OPTIONAL,
        is_tagged=True,
        refusals={HTTPStatus.CONFLICT: "The organisation has ten already."},
    ),
    Operation("get-webhook", "GET", _ONE, _READ, "One webhook.", got, WebhookTold, is_tagged=True),
    Operation(
        "change-webhook",
        "PATCH",
        _ONE,
        _WRITE,
        "Change a webhook, disable it or enable it again.",
        changed,
        WebhookTold,
        asks=WebhookChange,
        is_tagged=True,
        changes=True,
    ),
    Operation(
        "remove-webhook",
        "DELETE",
        _ONE,
        _WRITE,
        "Remove a webhook: it is told nothing any more, nor of what waited.",
        removed,
        None,
        status=HTTPStatus.NO_CONTENT,
        changes=True,
    ),
    Operation(
        "renew-webhook-secret",
        "POST",
        f"{_ONE}/renew",
        _WRITE,
        "Make a second secret; requests are signed with both until the previous one ends. The answer alone shows it.",
        renewed,
        IssuedWebhook,
        keyed=Keyed.OPTIONAL,
        is_tagged=True,
        refusals=_IN_THE_WAY,
    ),
    Operation(
        "end-previous-webhook-secret",
        "POST",
        f"{_ONE}/end-previous",
        _WRITE,
        "End the previous secret of a webhook.",
        previous_ended,
        WebhookTold,
        is_tagged=True,
        changes=True,
        refusals=_IN_THE_WAY,
    ),
    Operation(
        "test-webhook",
        "POST",
        f"{_ONE}/test",
        _WRITE,
        "Send a test, in a moment.",
        tried,
        RequestTold,
        status=HTTPStatus.ACCEPTED,
    ),
    Operation(
        "list-webhook-requests",
        "GET",
        f"{_ONE}/requests",
        _READ,
        "The last requests of a webhook, and how they ended.",
        requests,
        RequestList,
    ),
)
