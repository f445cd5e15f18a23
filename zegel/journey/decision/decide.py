"""The plan of every recipient of a submission: gather, decide, record; for many submissions at once."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, cast

from zegel.accounts.models import Account, Organisation
from zegel.core.clock import Instant
from zegel.core.mail.address import Domain, Mailbox
from zegel.core.policy.case import Case
from zegel.core.policy.directives import Directives, from_json_bytes
from zegel.core.policy.holding import Over, holding
from zegel.core.policy.nta7516 import Standing
from zegel.core.policy.precedence import (
    DELIVERY_NOT_AUTHORISED,
    Hold,
    Plan,
    UnknownPlan,
    asked_more_than_allowed,
    plan,
    plan_to_json,
    replay,
)
from zegel.core.policy.reasons import Why
from zegel.core.policy.verification import AccessCode, SmsCode
from zegel.core.seal.wrap import SealingKey
from zegel.edge import rows
from zegel.edge.database import Readers, Writer
from zegel.edge.log import RecipientDecided, log
from zegel.edge.nta import NtaLookup
from zegel.journey import milestones, steps
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import Leased
from zegel.journey.custody.memory import OpensFields, verification_to_bytes
from zegel.journey.custody.models import Conversation, Recipient, SealedVerification, Submission
from zegel.journey.custody.seal import wrap_field
from zegel.journey.decision.facts import Question, gather
from zegel.journey.steps import UnderWay

_FIELDS: Final = """
r.id, r.address, r.state, CAST(r.plan AS text), r.decided_at, r.told_at,
s.id, s.organisation_id, s.message_id, s.directives, s.accepted_at, s.requires_tls, a.id, a.email"""
_ORGANISATION: Final = 7  # its place among them
NTA_PATIENCE: Final = timedelta(minutes=10)  # a decision waits so long for what the DNS says of NTA 7516
NTA_AGAIN: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A recipient that awaits its decision, with what its submission says."""

    recipient: UnderWay
    organisation: Organisation
    account: int  # of the author
    accepted_at: Instant
    told_at: Instant | None  # that it is held
    requires_tls: bool
    directives: Directives


@dataclass(frozen=True, slots=True)
class Gathered:
    """A recipient, and what is known about it."""

    waiting: Waiting
    case: Case

    @property
    def recipient(self) -> UnderWay:
        """On its way."""
        return self.waiting.recipient


@dataclass(frozen=True, slots=True)
class Decided:
    """A recipient and what was decided."""

    waiting: Waiting
    case: Case
    plan: Plan
    stored: dict[str, Any]  # plan and case, as they are kept
    is_against: bool  # the policy kept it from what it asked, and the author didn't hear so when it was held

    @property
    def recipient(self) -> UnderWay:
        """On its way."""
        return self.waiting.recipient


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What one job came to."""

    leased: Leased
    decided: Sequence[Decided]
    is_release: bool = False  # of recipients that were held


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
        nta: NtaLookup,
        now: Callable[[], Instant],
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._nta = nta
        self._open_field = open_field
        self._sealing = sealing
        self._now = now

    async def decide(self, leased: Leased) -> None:
        """Every recipient of the submission that awaits a decision gets one."""
        gathered = await self._readers.read_together(self._of_submissions, leased.subject)
        known = await self._with_nta(gathered)
        if known is None:
            await self._writer.write(lambda: jobs.postpone(leased, until=self._now() + NTA_AGAIN))
        else:
            await self._settle(Verdicts(leased, _decided(known)))

    async def release(self, leased: Leased) -> None:
        """A recipient that is held gets another decision. Where that is to hold, it stays where it is until the term is
        over; then that decision was the last, and the sender gets a report (D-6)."""
        gathered = await self._readers.read_together(self._held, leased.subject)
        # Where verification is demanded nothing is delivered readable: nobody waits for the DNS.
        known = await self._with_nta(gathered) or gathered
        await self._settle(Verdicts(leased, _decided(known), is_release=True))

    async def _settle(self, verdicts: Verdicts) -> None:
        await self._writer.write_together(self._record, verdicts)
        for one in verdicts.decided:
            kinds = " ".join(type(step).__name__ for step in one.plan.steps)
            log(RecipientDecided(one.recipient.id, getattr(one.plan.steps[0], "rank", 0), kinds))

    # --- gather ---------------------------------------------------------------------------------------------------

    async def _with_nta(self, gathered: Sequence[Gathered]) -> Sequence[Gathered] | None:
        """With what the DNS says of NTA 7516. ``None``: a recipient's domain can't be asked now, and the message is
        young enough to wait for it; a sender who doesn't comply waits for nobody."""
        pairs = [_domains(one.recipient) for one in gathered]
        found = await self._nta.facts(set(pairs))
        for one, pair in zip(gathered, pairs, strict=True):
            is_young = self._now() < one.waiting.accepted_at + NTA_PATIENCE
            if found[pair].recipient is Standing.NOT_KNOWN_NOW and is_young:
                return None
        return [
            replace(one, case=replace(one.case, nta=found[pair].as_facts()))
            for one, pair in zip(gathered, pairs, strict=True)
        ]

    def _of_submissions(self, ids: Sequence[uuid.UUID]) -> list[list[Gathered]]:
        found: dict[uuid.UUID, list[Gathered]] = {one: [] for one in ids}
        for one in self._gather("r.submission_id", ids, Recipient.State.ACCEPTED):
            found[one.recipient.submission].append(one)
        return [found[one] for one in ids]

    def _held(self, ids: Sequence[uuid.UUID]) -> list[list[Gathered]]:
        found = {one.recipient.id: [one] for one in self._gather("r.id", ids, Recipient.State.HELD)}
        return [found.get(one, []) for one in ids]

    def _gather(self, named_by: str, ids: Sequence[uuid.UUID], state: Recipient.State) -> list[Gathered]:
        waiting = self._waiting(named_by, ids, state)
        questions = [
            Question(
                Mailbox.parse(one.recipient.address),
                one.organisation,
                one.account,
                one.directives,
                requires_tls=one.requires_tls,
            )
            for one in waiting
        ]
        cases = gather(questions, open_field=self._open_field, now=self._now())
        return [Gathered(one, case) for one, case in zip(waiting, cases, strict=True)]

    def _waiting(self, named_by: str, ids: Sequence[uuid.UUID], state: Recipient.State) -> list[Waiting]:
        table = rows.table
        found = rows.select(
            f"""SELECT {_FIELDS} FROM {table(Recipient)} r
            JOIN {table(Submission)} s ON s.id = r.submission_id JOIN {table(Account)} a ON a.id = s.account_id
            JOIN {table(Conversation)} c ON c.id = r.conversation_id
            WHERE {named_by} IN ({rows.marks(len(ids))}) AND r.state = %s
            AND (c.destroyed_at IS NULL OR r.state = 'accepted')""",  # noqa: S608
            (*(rows.identifier(one) for one in ids), state.value),
        )
        organisations = Organisation.objects.in_bulk({row[_ORGANISATION] for row in found})
        directives: dict[uuid.UUID, Directives] = {}
        waiting = []
        for row in found:
            identity, address, status, plan, decided, told, *of_submission = row
            submission, organisation, message_id, wrapped, accepted, requires_tls, account, sender = of_submission
            its = rows.found(submission)
            if its not in directives:
                directives[its] = self._directives(its, wrapped)
            under_way = UnderWay(
                rows.found(identity),
                address,
                its,
                organisation,
                message_id,
                Mailbox.parse(sender).domain,
                status,
                None if plan is None else rows.loaded(plan),
                decided_at=rows.instant(decided),
            )
            waiting.append(
                Waiting(
                    under_way,
                    organisations[organisation],
                    account,
                    cast(Instant, rows.instant(accepted)),
                    rows.instant(told),
                    bool(requires_tls),
                    directives[its],
                )
            )
        return waiting

    def _directives(self, submission: uuid.UUID, wrapped: bytes | memoryview) -> Directives:
        if not wrapped:
            return Directives()
        return from_json_bytes(self._open_field(wrapped, name="directives", owner=submission).reveal())

    # --- record ---------------------------------------------------------------------------------------------------

    def _record(self, verdicts: Sequence[Verdicts]) -> list[None]:
        jobs.finish(*(one.leased for one in verdicts))
        now = self._now()
        decided = self._awaiting([verdict for verdict in verdicts if not verdict.is_release])
        decided += self._released([one for verdict in verdicts if verdict.is_release for one in verdict.decided], now)
        against = _against(decided)
        for one in decided:
            one.recipient.plan = one.stored
            one.recipient.decided_at = now
        steps.begin_all([steps.Begun(one.recipient, one.plan, 0) for one in decided], now=now)
        self._keep_verifications(decided)
        milestones.contradicted(against, now=now)
        return [None] * len(verdicts)

    @staticmethod
    def _awaiting(verdicts: Sequence[Verdicts]) -> list[Decided]:
        """Those that still await it: who destroyed a message meanwhile ended its recipients, and has them reported."""
        if not verdicts:
            return []
        ids = [rows.identifier(one.leased.subject) for one in verdicts]
        found = rows.select(
            f"""SELECT id FROM {rows.table(Recipient)}
            WHERE submission_id IN ({rows.marks(len(ids))}) AND state = %s""",  # noqa: S608
            (*ids, Recipient.State.ACCEPTED.value),
        )
        waiting = {rows.found(identity) for (identity,) in found}
        return [one for verdict in verdicts for one in verdict.decided if one.recipient.id in waiting]

    @staticmethod
    def _released(decided: Sequence[Decided], now: Instant) -> list[Decided]:
        """Those that leave the hold. Others may have ended it meanwhile: that stands."""
        if not decided:
            return []
        waiting = Recipient.objects.select_for_update().filter(state=Recipient.State.HELD)
        held = set(
            waiting.filter(id__in=[one.recipient.id for one in decided], conversation__destroyed_at=None).values_list(
                "id", flat=True
            )
        )
        released = []
        for one in decided:
            recipient = one.recipient
            if recipient.id not in held:
                continue
            if not isinstance(one.plan.steps[-1], Hold):
                released.append(one)
            elif _is_over(one.waiting, now):
                reason = Why.LACKS_WHAT_POLICY_DEMANDS.value
                steps.give_up(recipient, status=DELIVERY_NOT_AUTHORISED, reason=reason, now=now)
            else:  # what would do may be something else today
                waiting.filter(id=recipient.id).update(plan=one.stored)
        return released

    def _keep_verifications(self, decided: Sequence[Decided]) -> None:
        """What each will prove itself with; of who was held, in the place of an earlier one."""
        sealed = [
            (one.recipient.id, self._sealed(one.recipient.id, one.plan.verification))
            for one in decided
            if isinstance(one.plan.verification, SmsCode | AccessCode)
        ]
        if sealed:
            SealedVerification.objects.filter(recipient__in=[recipient for recipient, _ in sealed]).delete()
            rows.insert(SealedVerification, ("recipient_id", "sealed"), sealed)

    def _sealed(self, recipient: uuid.UUID, verification: SmsCode | AccessCode) -> bytes:
        return wrap_field(verification_to_bytes(verification), name="verification", owner=recipient, to=self._sealing)


def _domains(recipient: UnderWay) -> tuple[Domain, Domain]:
    """Of the author, and of the recipient."""
    return recipient.sender, Mailbox.parse(recipient.address).domain


def _is_over(waiting: Waiting, now: Instant) -> bool:
    term = timedelta(days=waiting.organisation.hold_days)
    return isinstance(holding(waiting.recipient.decided_at or now, waiting.told_at, term=term, now=now), Over)


def _against(decided: Sequence[Decided]) -> list[uuid.UUID]:
    """Submissions whose author is to hear that the policy kept them from what they asked, and did not hear it when the
    recipient was held."""
    return list(dict.fromkeys(one.recipient.submission for one in decided if one.is_against))


def _was_against(recipient: UnderWay) -> bool:
    if recipient.plan is None:
        return False
    try:
        earlier = replay(recipient.plan)
    except UnknownPlan:
        return False
    return asked_more_than_allowed(earlier.case, earlier.stored)


def _decided(gathered: Sequence[Gathered]) -> list[Decided]:
    return [_decision(one) for one in gathered]


def _decision(gathered: Gathered) -> Decided:
    decided = plan(gathered.case)
    is_against = asked_more_than_allowed(gathered.case, decided) and not _was_against(gathered.recipient)
    return Decided(gathered.waiting, gathered.case, decided, plan_to_json(decided, gathered.case), is_against)
