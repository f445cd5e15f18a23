"""Webhooks are told what the outbox holds, at least once.

Each webhook has a lane of its own, in which one request follows the other: a server that is slow holds up nobody else.
A request is taken for a while, sent outside of every transaction, and recorded; whoever is killed in between leaves it
to be sent once more, under the same id.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final, Protocol

from zegel.accounts.webhooks import end_gone
from zegel.core.clock import Duration, Instant
from zegel.core.policy.alarms import CONDITIONS, Alarm, Sentence
from zegel.core.policy.ended import wording_of
from zegel.core.policy.webhooks import EVENTS, Event, Milestone, body, headers, is_gone, is_taken, next_try
from zegel.core.secret import Secret
from zegel.edge.database import Readers, Writer
from zegel.edge.fetch import Failed, Fetcher, host_of
from zegel.edge.log import Broken, WebhookTold, log
from zegel.journey.custody.memory import OpensFields
from zegel.journey.custody.models import Attempt, Recipient, Transmission, WebhookRequest
from zegel.journey.custody.outbox import DISABLED
from zegel.journey.timeline import ARRIVED, attempt_in_words
from zegel.settings import Settings

LOOK: Final = 1.0  # seconds between looks for what is due
WITHIN: Final = 15.0  # seconds for one request, all of it
LEASE: Final[Duration] = timedelta(seconds=90)  # until another process takes what this one took
REST: Final = 5.0  # seconds in which a webhook whose server failed is asked nothing
LANES: Final = 32  # webhooks at the same time
_STATE: Final = WebhookRequest.State


class Tells(Protocol):
    """What of :class:`zegel.edge.fetch.Fetcher` is used."""

    def tell(self, url: str, *, headers: Mapping[str, str], body: bytes) -> int | Failed:
        """Waits; never raises."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One request, ready to be signed and sent."""

    request: uuid.UUID
    webhook: uuid.UUID
    url: str
    secrets: Sequence[Secret[bytes]]
    body: bytes


def fetcher(settings: Settings) -> Fetcher:
    """For webhooks: to servers on the internet, and those in networks that the settings name."""
    found = Fetcher.of(settings, most=0, within=WITHIN, reaches_private=False)
    return Fetcher(
        found.trust, found.resolve, found.most, networks=settings.webhooks.networks, redirects=0, within=WITHIN
    )


class Telling:
    """One for each dispatch process; a request is sent by one of them."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        *,
        open_field: OpensFields,
        tells: Tells,
        now: Callable[[], Instant],
        rest: float = REST,
    ) -> None:
        self._writer, self._readers = writer, readers
        self._open_field, self._tells, self._now = open_field, tells, now
        self._rest = rest
        self._threads = ThreadPoolExecutor(LANES, "webhooks")
        self._lanes: dict[uuid.UUID, asyncio.Task[None]] = {}

    async def keep_telling(self) -> None:
        """Until it is cancelled; what is under way then is sent once more, by whoever comes next."""
        try:
            while True:
                try:
                    await self.look()
                except Exception as cause:  # the database is away or full: look again (P22)
                    log(Broken("webhooks", cause))
                await asyncio.sleep(LOOK)
        finally:
            for lane in self._lanes.values():
                lane.cancel()
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def look(self) -> None:
        """Begins a lane for each webhook that has something due and none yet."""
        for webhook in await self._readers.read(lambda: _due(self._now())):
            if webhook not in self._lanes and len(self._lanes) < LANES:
                self._lanes[webhook] = lane = asyncio.create_task(self._lane(webhook))
                lane.add_done_callback(partial(self._over, webhook))

    async def settle(self) -> None:
        """Until no lane is under way."""
        while self._lanes:
            await asyncio.wait(list(self._lanes.values()))

    def _over(self, webhook: uuid.UUID, lane: asyncio.Task[None]) -> None:
        self._lanes.pop(webhook, None)
        if not lane.cancelled() and (cause := lane.exception()) is not None:
            log(Broken("a webhook", cause))

    async def _lane(self, webhook: uuid.UUID) -> None:
        while (taken := await self._writer.write(partial(self._take, webhook))) is not None:
            letter = await self._readers.read(partial(self._letter, taken))
            outcome = await self._send(letter) if letter is not None else None
            if letter is None or outcome is None:
                continue
            if not await self._writer.write(partial(self._record, letter, outcome)):
                await asyncio.sleep(self._rest)
                return

    def _take(self, webhook: uuid.UUID) -> uuid.UUID | None:
        """Inside a transaction: the oldest that is due, for this process, for a while."""
        now = self._now()
        while True:
            mine = WebhookRequest.objects.filter(webhook=webhook, due_at__lte=now).select_related("webhook")
            one = mine.order_by("due_at", "id").first()
            if one is None:
                return None
            this = WebhookRequest.objects.filter(id=one.id, due_at=one.due_at)
            if one.webhook.disabled_at is not None and one.event != Event.TEST.value:
                this.update(state=_STATE.GIVEN_UP, due_at=None, outcome=DISABLED, tried_at=now)
            elif this.update(due_at=now + LEASE):
                return one.id

    def _letter(self, request: uuid.UUID) -> Letter | None:
        one = WebhookRequest.objects.select_related("webhook__organisation").filter(id=request).first()
        if one is None:  # forgotten a moment ago
            return None
        webhook = one.webhook
        sealed = [each for each in (webhook.secret, webhook.previous_secret) if each is not None]
        secrets = [self._open_field(each, name="webhook", owner=webhook.pk) for each in sealed]
        said = body(EVENTS[one.event], one.at, webhook.organisation.name, _about(one))
        return Letter(one.id, webhook.pk, webhook.url, secrets, said)

    async def _send(self, letter: Letter) -> int | Failed:
        signed = headers(str(letter.request), letter.body, letter.secrets, now=self._now())
        loop = asyncio.get_running_loop()
        tell = partial(self._tells.tell, letter.url, headers=signed, body=letter.body)
        return await loop.run_in_executor(self._threads, tell)

    def _record(self, letter: Letter, outcome: int | Failed) -> bool:
        """Inside a transaction. ``True``: the server takes what it is told."""
        now = self._now()
        one = WebhookRequest.objects.select_related("webhook__organisation").filter(id=letter.request).first()
        if one is None or one.due_at is None:
            return True
        one.tries, one.tried_at, one.outcome = one.tries + 1, now, _written(outcome)
        taken = isinstance(outcome, int) and is_taken(outcome)
        gone = isinstance(outcome, int) and is_gone(outcome)
        one.due_at = None if taken or gone else next_try(one.tries, one.at, now)
        if one.due_at is None:
            one.state = _STATE.TAKEN if taken else _STATE.GIVEN_UP
        one.save(update_fields=["tries", "tried_at", "outcome", "due_at", "state"])
        if gone and one.webhook.disabled_at is None:
            end_gone(one.webhook, now=now)
        said = "taken" if taken else "again" if one.due_at is not None else "given up"
        log(WebhookTold(letter.webhook, letter.request, said, one.outcome, host_of(letter.url)))
        return taken


def _due(now: Instant) -> list[uuid.UUID]:
    found = WebhookRequest.objects.filter(due_at__lte=now).order_by().values_list("webhook", flat=True)
    return list(found.distinct())


def _written(outcome: int | Failed) -> str:
    return outcome.why.value if isinstance(outcome, Failed) else str(outcome)


# --- what is said -------------------------------------------------------------------------------------------------


def _about(one: WebhookRequest) -> Milestone | Alarm | None:
    if one.alarm:
        return Alarm(CONDITIONS[one.alarm], one.about, one.number)
    if one.recipient_id is None:
        return None
    recipient = Recipient.objects.select_related("submission").get(id=one.recipient_id)
    says, more = _evidence(EVENTS[one.event], recipient, one.at)
    return Milestone(
        str(recipient.submission_id),
        recipient.submission.message_id,
        str(recipient.id),
        recipient.address,
        says,
        more,
    )


def _evidence(event: Event, recipient: Recipient, at: Instant) -> tuple[Sequence[Sentence], Mapping[str, str | None]]:
    """What is known of the milestone, in words and as the trace names it."""
    match event:
        case Event.DELIVERED | Event.NOTIFIED:
            return _accepted(event, recipient, at)
        case Event.UNDELIVERABLE:
            wording = wording_of(recipient.reason)
            says = [Sentence(wording.en, wording.nl)] if wording is not None else []
            return says, {"status": recipient.status or None, "reason": recipient.reason or None}
        case Event.OPENED:
            return [], {"method": recipient.opened_with or None}
        case _:
            return [], {}


def _accepted(event: Event, recipient: Recipient, at: Instant) -> tuple[Sequence[Sentence], Mapping[str, str | None]]:
    kind = Transmission.Kind.READABLE if event is Event.DELIVERED else Transmission.Kind.NOTIFICATION
    tried = Attempt.objects.filter(transmission__recipient=recipient, transmission__kind=kind, outcome=ARRIVED)
    last = tried.filter(at__lte=at).select_related("transmission").defer("transmission__sealed").order_by("-id").first()
    if last is None:
        return [], {}
    said = attempt_in_words(last, last.transmission)
    return [Sentence(said.en, said.nl)], {"host": last.host, "protocol": last.protocol or None}
