"""What webhooks are to hear: a row for each, in the transaction of what happened, so that none is lost and none is told
of what did not come to be. Where no webhook is, that costs one look into an empty table."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.db.models import Count

from zegel.accounts.models import Organisation, Webhook
from zegel.core.clock import Duration, Instant
from zegel.core.policy.alarms import Alarm
from zegel.core.policy.webhooks import KEPT, Event
from zegel.edge import rows
from zegel.edge.chance import identifier
from zegel.journey.custody.models import Recipient, Submission, WebhookRequest

_COLUMNS: Final = (
    "id",
    "webhook_id",
    "event",
    "at",
    "recipient_id",
    "alarm",
    "about",
    "number",
    "state",
    "due_at",
    "tries",
    "outcome",
)
_STATE: Final = WebhookRequest.State
_DAY: Final[Duration] = timedelta(hours=24)
LAST: Final = 20  # requests that are shown of one webhook
DISABLED: Final = "disabled"  # what became of it, where the webhook was disabled while it waited


@dataclass(frozen=True, slots=True)
class _Listener:
    webhook: uuid.UUID
    organisation: int


def reached(
    event: Event, recipients: Sequence[uuid.UUID], *, now: Instant, standing: Collection[str] | None = None
) -> None:
    """Inside a transaction: these recipients reached a milestone. ``standing``: it counts for those alone that stand
    there, as they do just before."""
    listeners = _listening(event) if recipients else []
    if not listeners:
        return
    found = [
        (listener, recipient)
        for recipient, organisation in _of_organisations(recipients, standing)
        for listener in listeners
        if listener.organisation == organisation
    ]
    rows.insert(WebhookRequest, _COLUMNS, [_row(one.webhook, event, now, recipient=who) for one, who in found])


def alarmed(event: Event, organisation: Organisation, alarm: Alarm, *, now: Instant) -> None:
    """Inside a transaction: an alarm of an organisation was raised, or ended."""
    mine = [one for one in _listening(event) if one.organisation == organisation.pk]
    rows.insert(WebhookRequest, _COLUMNS, [_row(one.webhook, event, now, alarm=alarm) for one in mine])


def try_out(webhook: Webhook, *, now: Instant) -> uuid.UUID:
    """A test is sent, also to a webhook that is disabled."""
    row = _row(webhook.pk, Event.TEST, now)
    rows.insert(WebhookRequest, _COLUMNS, [row])
    identity: uuid.UUID = row[0]
    return identity


def forget(recipients: Sequence[uuid.UUID]) -> None:
    """Inside a transaction: nobody hears of these recipients any more, nor that they were heard of."""
    WebhookRequest.objects.filter(recipient__in=recipients).delete()


def forget_old(now: Instant) -> None:
    """How requests ended, once it was shown for long enough."""
    WebhookRequest.objects.filter(due_at=None, at__lt=now - KEPT).delete()


def last_requests(webhook: Webhook) -> Sequence[WebhookRequest]:
    """The newest first: how each ended, or how far it is."""
    return list(WebhookRequest.objects.filter(webhook=webhook).order_by("-id")[:LAST])


def waiting(webhook: Webhook) -> int:
    """How many it is still to be told of."""
    return WebhookRequest.objects.filter(webhook=webhook, due_at__isnull=False).count()


def given_up(organisation: Organisation, *, now: Instant) -> Sequence[tuple[str, int]]:
    """The webhooks of an organisation that were not told of something in the last day, and of how much."""
    lost = WebhookRequest.objects.filter(webhook__organisation=organisation, state=_STATE.GIVEN_UP.value)
    lost = lost.filter(tried_at__gt=now - _DAY).exclude(outcome=DISABLED).order_by("webhook__description")
    return list(lost.values_list("webhook__description").annotate(number=Count("id")))


def _listening(event: Event) -> list[_Listener]:
    found = rows.select(f"SELECT id, organisation_id, events FROM {rows.table(Webhook)} WHERE disabled_at IS NULL", ())  # noqa: S608
    return [
        _Listener(rows.found(identity), organisation)
        for identity, organisation, events in found
        if event.value in rows.loaded(events)
    ]


def _of_organisations(
    recipients: Sequence[uuid.UUID], standing: Collection[str] | None
) -> Iterator[tuple[uuid.UUID, int]]:
    for start in range(0, len(recipients), _AT_ONCE):
        some = recipients[start : start + _AT_ONCE]
        where = "" if standing is None else f" AND r.state IN ({rows.marks(len(standing))})"
        found = rows.select(
            f"""SELECT r.id, s.organisation_id FROM {rows.table(Recipient)} r
            JOIN {rows.table(Submission)} s ON s.id = r.submission_id
            WHERE r.id IN ({rows.marks(len(some))}){where}""",  # noqa: S608
            (*(rows.identifier(one) for one in some), *(standing or ())),
        )
        yield from ((rows.found(identity), organisation) for identity, organisation in found)


_AT_ONCE: Final = 500  # of one statement


def _row(
    webhook: uuid.UUID, event: Event, now: Instant, *, recipient: uuid.UUID | None = None, alarm: Alarm | None = None
) -> tuple[Any, ...]:
    told = ("", "", 0) if alarm is None else (alarm.condition.value, alarm.about[:300], alarm.number)
    return (identifier(), webhook, event.value, now, recipient, *told, _STATE.WAITING.value, now, 0, "")
