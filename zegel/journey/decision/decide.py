"""The plan of every recipient of a submission: gather, decide, record."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.policy.directives import from_json_bytes
from zegel.core.policy.precedence import Plan, plan, plan_to_json
from zegel.core.policy.verification import AccessCode, SmsCode, Verification
from zegel.core.seal.wrap import SealingKey
from zegel.core.secret import Secret
from zegel.edge.database import Readers, Writer
from zegel.edge.log import RecipientDecided, log
from zegel.journey import steps
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import Leased
from zegel.journey.custody.models import Recipient, Submission
from zegel.journey.custody.seal import wrap_field
from zegel.journey.decision.facts import gather


class OpensFields(Protocol):
    """Opens a wrapped field; :meth:`zegel.journey.custody.unseal.Unsealer.field`."""

    def __call__(self, wrapped: bytes | memoryview | None, *, name: str, owner: uuid.UUID | str) -> Secret[bytes]: ...


@dataclass(frozen=True, slots=True)
class Decided:
    """A recipient and what was decided."""

    recipient: Recipient
    plan: Plan


class Decision:
    """Does the jobs that :func:`zegel.journey.milestones.accepted` makes."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        *,
        open_field: OpensFields,
        sealing: SealingKey,
        now: Callable[[], Instant],
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._open_field = open_field
        self._sealing = sealing
        self._now = now

    async def decide(self, leased: Leased) -> None:
        """Every recipient of the submission that awaits a decision gets one."""
        decided = await self._readers.read(lambda: self._decide(leased.subject))
        await self._writer.write(lambda: self._record(leased, decided))
        for one in decided:
            log(RecipientDecided(one.recipient.id, " ".join(type(step).__name__ for step in one.plan.steps)))

    def _decide(self, submission_id: uuid.UUID) -> list[Decided]:
        submission = Submission.objects.select_related("organisation", "account").get(id=submission_id)
        opened = self._open_field(submission.directives, name="directives", owner=submission.id)
        directives = from_json_bytes(opened.reveal())
        waiting = submission.recipients.filter(state=Recipient.State.ACCEPTED)
        decided = []
        for recipient in waiting:
            recipient.submission = submission
            case = gather(Mailbox.parse(recipient.address), organisation=submission.organisation, directives=directives)
            decided.append(Decided(recipient, plan(case)))
        return decided

    def _record(self, leased: Leased, decided: list[Decided]) -> None:
        jobs.finish(leased)
        now = self._now()
        for one in decided:
            one.recipient.plan = plan_to_json(one.plan)
            one.recipient.decided_at = now
            one.recipient.verification = self._sealed(one.recipient.id, one.plan.verification)
            steps.begin(one.recipient, one.plan, 0, now=now)

    def _sealed(self, recipient: uuid.UUID, verification: Verification | None) -> bytes | None:
        match verification:
            case SmsCode(phone=phone):
                values: dict[str, str | None] = {"phone": phone.reveal()}
            case AccessCode(code=code, hint=hint):
                values = {"access_code": code.reveal(), "hint": hint.reveal() if hint else None}
            case _:
                return None
        return wrap_field(json.dumps(values).encode(), name="verification", owner=recipient, to=self._sealing)
