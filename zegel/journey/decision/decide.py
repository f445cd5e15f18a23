"""The plan of every recipient of a submission: gather, decide, record; for many submissions at once."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.policy.directives import Directives, from_json_bytes
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
from zegel.journey.decision.facts import Question, gather


class OpensFields(Protocol):
    """Opens a wrapped field; :meth:`zegel.journey.custody.unseal.Unsealer.field`."""

    def __call__(self, wrapped: bytes | memoryview | None, *, name: str, owner: uuid.UUID | str) -> Secret[bytes]: ...


@dataclass(frozen=True, slots=True)
class Decided:
    """A recipient and what was decided."""

    recipient: Recipient
    plan: Plan


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What one job came to."""

    leased: Leased
    decided: Sequence[Decided]


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
        decided = await self._readers.read_together(self._decide, leased.subject)
        await self._writer.write_together(self._record, Verdicts(leased, decided))
        for one in decided:
            log(RecipientDecided(one.recipient.id, " ".join(type(step).__name__ for step in one.plan.steps)))

    def _decide(self, ids: Sequence[uuid.UUID]) -> list[list[Decided]]:
        submissions = Submission.objects.select_related("organisation", "account").in_bulk(ids)
        directives = {one.id: self._directives(one) for one in submissions.values()}
        waiting = list(Recipient.objects.filter(submission__in=ids, state=Recipient.State.ACCEPTED))
        for recipient in waiting:
            recipient.submission = submissions[recipient.submission_id]
        cases = gather(
            [
                Question(Mailbox.parse(one.address), one.submission.organisation, directives[one.submission_id])
                for one in waiting
            ]
        )
        decided: dict[uuid.UUID, list[Decided]] = {one: [] for one in ids}
        for recipient, case in zip(waiting, cases, strict=True):
            decided[recipient.submission_id].append(Decided(recipient, plan(case)))
        return [decided[one] for one in ids]

    def _directives(self, submission: Submission) -> Directives:
        if not submission.directives:
            return Directives()
        opened = self._open_field(submission.directives, name="directives", owner=submission.id)
        return from_json_bytes(opened.reveal())

    def _record(self, verdicts: Sequence[Verdicts]) -> list[None]:
        jobs.finish(*(one.leased for one in verdicts))
        now = self._now()
        decided = [one for verdict in verdicts for one in verdict.decided]
        for one in decided:
            one.recipient.plan = plan_to_json(one.plan)
            one.recipient.decided_at = now
            one.recipient.verification = self._sealed(one.recipient.id, one.plan.verification)
        steps.begin_all([steps.Begun(one.recipient, one.plan, 0) for one in decided], now=now)
        return [None] * len(verdicts)

    def _sealed(self, recipient: uuid.UUID, verification: Verification | None) -> bytes | None:
        match verification:
            case SmsCode(phone=phone):
                values: dict[str, str | None] = {"phone": phone.reveal()}
            case AccessCode(code=code, hint=hint):
                values = {"access_code": code.reveal(), "hint": hint.reveal() if hint else None}
            case _:
                return None
        return wrap_field(json.dumps(values).encode(), name="verification", owner=recipient, to=self._sealing)
