"""The plan of every recipient of a submission: gather, decide, record; for many submissions at once."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.policy.case import Case
from zegel.core.policy.directives import Directives, from_json_bytes
from zegel.core.policy.precedence import Hold, Plan, asked_more_than_allowed, plan, plan_to_json
from zegel.core.policy.verification import AccessCode, SmsCode, Verification
from zegel.core.seal.wrap import SealingKey
from zegel.edge.database import Readers, Writer
from zegel.edge.log import RecipientDecided, log
from zegel.journey import milestones, steps
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import Leased
from zegel.journey.custody.memory import OpensFields, verification_to_bytes
from zegel.journey.custody.models import Recipient, Submission
from zegel.journey.custody.seal import wrap_field
from zegel.journey.decision.facts import Question, gather


@dataclass(frozen=True, slots=True)
class Gathered:
    """A recipient (with its submission and that one's account and organisation), and what is known about it."""

    recipient: Recipient
    case: Case


@dataclass(frozen=True, slots=True)
class Decided:
    """A recipient and what was decided."""

    recipient: Recipient
    case: Case
    plan: Plan


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What one job came to."""

    leased: Leased
    decided: Sequence[Decided]


class Decision:
    """Does the jobs that :func:`zegel.journey.milestones.accepted` and :func:`zegel.journey.milestones.supplied`
    make."""

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
        await self._settle(leased, _decided(await self._readers.read_together(self._of_submissions, leased.subject)))

    async def release(self, leased: Leased) -> None:
        """A recipient that is held gets another decision; where that is to hold, nothing changes."""
        decided = _decided(await self._readers.read_together(self._held, leased.subject))
        await self._settle(leased, [one for one in decided if not isinstance(one.plan.steps[-1], Hold)])

    async def _settle(self, leased: Leased, decided: Sequence[Decided]) -> None:
        await self._writer.write_together(self._record, Verdicts(leased, decided))
        for one in decided:
            log(RecipientDecided(one.recipient.id, " ".join(type(step).__name__ for step in one.plan.steps)))

    # --- gather ---------------------------------------------------------------------------------------------------

    def _of_submissions(self, ids: Sequence[uuid.UUID]) -> list[list[Gathered]]:
        waiting = list(Recipient.objects.filter(submission__in=ids, state=Recipient.State.ACCEPTED))
        found: dict[uuid.UUID, list[Gathered]] = {one: [] for one in ids}
        for one in self._gather(waiting):
            found[one.recipient.submission_id].append(one)
        return [found[one] for one in ids]

    def _held(self, ids: Sequence[uuid.UUID]) -> list[list[Gathered]]:
        held = Recipient.objects.filter(id__in=ids, state=Recipient.State.HELD, conversation__destroyed_at=None)
        found = {one.recipient.id: [one] for one in self._gather(list(held))}
        return [found.get(one, []) for one in ids]

    def _gather(self, recipients: Sequence[Recipient]) -> list[Gathered]:
        submissions = Submission.objects.select_related("organisation", "account").in_bulk(
            {one.submission_id for one in recipients}
        )
        directives = {one.id: self._directives(one) for one in submissions.values()}
        for recipient in recipients:
            recipient.submission = submissions[recipient.submission_id]
        cases = gather(
            [
                Question(
                    Mailbox.parse(one.address),
                    one.submission.organisation,
                    one.submission.account_id,
                    directives[one.submission_id],
                )
                for one in recipients
            ],
            open_field=self._open_field,
            now=self._now(),
        )
        return [Gathered(recipient, case) for recipient, case in zip(recipients, cases, strict=True)]

    def _directives(self, submission: Submission) -> Directives:
        if not submission.directives:
            return Directives()
        opened = self._open_field(submission.directives, name="directives", owner=submission.id)
        return from_json_bytes(opened.reveal())

    # --- record ---------------------------------------------------------------------------------------------------

    def _record(self, verdicts: Sequence[Verdicts]) -> list[None]:
        jobs.finish(*(one.leased for one in verdicts))
        now = self._now()
        decided = [one for verdict in verdicts for one in verdict.decided]
        for one in decided:
            one.recipient.plan = plan_to_json(one.plan, one.case)
            one.recipient.decided_at = now
            one.recipient.verification = self._sealed(one.recipient.id, one.plan.verification)
        steps.begin_all([steps.Begun(one.recipient, one.plan, 0) for one in decided], now=now)
        against = dict.fromkeys(
            one.recipient.submission_id for one in decided if asked_more_than_allowed(one.case, one.plan)
        )
        milestones.contradicted(list(against), now=now)
        return [None] * len(verdicts)

    def _sealed(self, recipient: uuid.UUID, verification: Verification | None) -> bytes | None:
        if not isinstance(verification, SmsCode | AccessCode):
            return None
        return wrap_field(verification_to_bytes(verification), name="verification", owner=recipient, to=self._sealing)


def _decided(gathered: Sequence[Gathered]) -> list[Decided]:
    return [Decided(one.recipient, one.case, plan(one.case)) for one in gathered]
