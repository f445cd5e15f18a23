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
from zegel.journey.custody.jobs import Leased, LeaseLost
from zegel.journey.custody.models import OFFERED, Sms
from zegel.journey.custody.unseal import Unsealer

USELESS_AFTER: Final = timedelta(minutes=10)  # the code in it is dead then
UNFINISHED: Final = ("queued", OFFERED)


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
        """Hands one message over, and destroys it here.

        It is marked first, durably, and its number and text are destroyed then: whoever finds the mark, after a process
        ended or the database did not take the result, knows that the provider may have it already, and does not ask
        again (P22).
        """
        sms = await self._readers.read(lambda: _unfinished(leased))
        if sms is None:
            await self._writer.write(lambda: jobs.finish(leased))
            return
        why = await self._offer(leased, sms)
        outcome = "failed" if why else "sent"

        def record() -> None:
            jobs.finish(leased)
            Sms.objects.filter(id=sms.id).update(state=outcome, sealed=None)

        await self._writer.write(record)
        log(SmsHandedOver(sms.id, outcome, why))

    async def _offer(self, leased: Leased, sms: Sms) -> str:
        """Why it was not sent; empty: it was."""
        if sms.state == OFFERED:
            return "not-known"
        now, ends = self._now(), sms.recipient.conversation.expires_at
        if sms.created_at + USELESS_AFTER < now or (ends is not None and ends <= now):
            return "too-late"
        opened = self._unsealer.field(sms.sealed, name="sms", owner=sms.id)
        if not await self._writer.write(lambda: _mark(leased, sms)):
            return "taken-back"
        values = json.loads(opened.reveal())
        to, text = Secret(str(values["to"])), Secret(str(values["text"]))
        try:
            await asyncio.to_thread(self._driver.send, to, text, key=sms.id.hex, at=self._now())
        except SmsFailed as cause:
            return str(cause) or "failed"
        return ""


def _unfinished(leased: Leased) -> Sms | None:
    found = Sms.objects.select_related("recipient__conversation")
    return found.filter(id=leased.subject, state__in=UNFINISHED).first()


def _mark(leased: Leased, sms: Sms) -> bool:
    """Inside a transaction: from now on the provider may have it. ``False``: it was taken back meanwhile. Raises
    :class:`LeaseLost`."""
    if not jobs.is_held(leased):
        raise LeaseLost
    return bool(Sms.objects.filter(id=sms.id, state="queued").update(state=OFFERED, sealed=None))
