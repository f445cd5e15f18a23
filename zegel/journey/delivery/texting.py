"""Text messages with a code: handed to the provider at most once for each request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from zegel.core.clock import Instant
from zegel.core.secret import Secret
from zegel.edge.database import Readers, Writer
from zegel.edge.log import SmsHandedOver, log
from zegel.edge.sms import SmsDriver, SmsFailed
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import Leased
from zegel.journey.custody.models import Sms
from zegel.journey.custody.unseal import Unsealer

USELESS_AFTER: Final = timedelta(minutes=10)  # the code in it is dead then


class Texting:
    """Does the jobs that :func:`zegel.journey.milestones.sms_asked` makes."""

    def __init__(
        self, writer: Writer, readers: Readers, unsealer: Unsealer, driver: SmsDriver, *, now: Callable[[], Instant]
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._unsealer = unsealer
        self._driver = driver
        self._now = now

    async def send(self, leased: Leased) -> None:
        """Hands one message over, and destroys it here."""
        sms = await self._readers.read(lambda: _queued(leased))
        if sms is None:
            await self._writer.write(lambda: jobs.finish(leased))
            return
        why = await self._hand_over(sms)
        outcome = "failed" if why else "sent"

        def record() -> None:
            jobs.finish(leased)
            Sms.objects.filter(id=sms.id).update(state=outcome, sealed=None)

        await self._writer.write(record)
        log(SmsHandedOver(sms.id, outcome, why))

    async def _hand_over(self, sms: Sms) -> str:
        """Why it was not sent; empty: it was."""
        now, ends = self._now(), sms.recipient.conversation.expires_at
        if sms.created_at + USELESS_AFTER < now or (ends is not None and ends <= now):
            return "too-late"
        values = json.loads(self._unsealer.field(sms.sealed, name="sms", owner=sms.id).reveal())
        to, text = Secret(str(values["to"])), Secret(str(values["text"]))
        try:
            await asyncio.to_thread(self._driver.send, to, text, key=sms.id.hex, at=self._now())
        except SmsFailed as cause:
            return str(cause) or "failed"
        return ""


def _queued(leased: Leased) -> Sms | None:
    return Sms.objects.select_related("recipient__conversation").filter(id=leased.subject, state="queued").first()
