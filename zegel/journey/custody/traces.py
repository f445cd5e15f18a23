"""Traces end: so many days after a message can't be read any more, as its organisation says, what is known of its way
goes: addresses, decisions, attempts with their evidence, answers' rows, events (ADR 46).

Never while anything of it can still be read, is on its way, or is to be told. The journal of erasures learns of each
submission, so that a restored backup forgets it again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import F, Q

from zegel.accounts import audit
from zegel.accounts.models import Organisation
from zegel.core.clock import Instant
from zegel.core.policy.audit import Act, Actor, ActorKind, limit_of
from zegel.journey.custody import erasures
from zegel.journey.custody.forgetting import remove_submissions
from zegel.journey.custody.models import (
    OFFERED,
    Conversation,
    Job,
    Message,
    PutAside,
    Recipient,
    Sms,
    Submission,
    Transmission,
    WebhookRequest,
)

AT_ONCE: Final = 20  # conversations in a transaction: others write in between
_GATEWAY: Final = Actor(ActorKind.GATEWAY)
_UNSERVED: Final = (Recipient.State.ACCEPTED, Recipient.State.DECIDED, Recipient.State.HELD)


@dataclass(frozen=True, slots=True)
class _Together:
    """Submissions that share conversations, in whole: who joined one is of another submission (D-4)."""

    submissions: frozenset[uuid.UUID]
    conversations: frozenset[uuid.UUID]


def over(organisation: Organisation, days: int | None, *, now: Instant) -> int:
    """How many messages a term of so many days would forget, at most: what still waits is left out later."""
    if days is None:
        return 0
    ended = Conversation.objects.filter(organisation=organisation, destroyed_at__lt=limit_of(days, now))
    return ended.values("submission").distinct().count()


def until(submission: Submission, days: int | None) -> Instant | None:
    """From when the trace of a submission may go; ``None``: never, or nobody knows when, since some of it can be read
    without a term."""
    ends = [
        destroyed or expires
        for destroyed, expires in Conversation.objects.filter(
            Q(submission=submission) | Q(recipients__submission=submission)
        ).values_list("destroyed_at", "expires_at")
    ]
    known = [one for one in ends if one is not None]
    if days is None or not known or len(known) < len(ends):
        return None
    return max(known) + timedelta(days=days)


def shorten(now: Callable[[], Instant], *, remove: Callable[[uuid.UUID], object], clear: Callable[[], object]) -> int:
    """Forgets what was kept long enough; returns how many messages. ``remove`` removes a blob; ``clear`` empties the
    write-ahead log, so that addresses leave that too.

    The audit log of each organisation says once how many; what a run that broke off had removed is told by the next.
    """
    done = 0
    for organisation in Organisation.objects.order_by("pk"):
        done += _of(organisation, now, remove)
    if done:
        clear()
    return done


def _of(organisation: Organisation, now: Callable[[], Instant], remove: Callable[[uuid.UUID], object]) -> int:
    done, last = 0, None
    while organisation.trace_days is not None and (some := _some(organisation, now(), last)):
        last = some[-1]
        with transaction.atomic():
            removed, contents = _shorten(organisation.pk, [identity for _, identity in some], now())
        for one in contents:
            remove(one)
        done += removed
    with transaction.atomic():
        _tell(organisation.pk, now())
    return done


def _some(
    organisation: Organisation, now: Instant, last: tuple[Instant, uuid.UUID] | None
) -> list[tuple[Instant, uuid.UUID]]:
    """The next conversations that ended long ago, behind ``last``: what has to stay is not looked at twice in a run."""
    assert organisation.trace_days is not None
    limit = limit_of(organisation.trace_days, now)
    found = Conversation.objects.filter(organisation=organisation, destroyed_at__isnull=False, destroyed_at__lt=limit)
    if last is not None:
        found = found.filter(Q(destroyed_at__gt=last[0]) | Q(destroyed_at=last[0], id__gt=last[1]))
    some = found.order_by("destroyed_at", "id").values_list("destroyed_at", "id")[:AT_ONCE]
    return [(at, identity) for at, identity in some if at is not None]


def _shorten(organisation: int, conversations: Sequence[uuid.UUID], now: Instant) -> tuple[int, list[uuid.UUID]]:
    """Inside a transaction. The term is read once more: somebody may have made it longer."""
    current = Organisation.objects.select_for_update(no_key=True).filter(pk=organisation).first()
    if current is None or current.trace_days is None:
        return 0, []
    limit = limit_of(current.trace_days, now)
    seen: set[uuid.UUID] = set()
    going: set[uuid.UUID] = set()
    for one in conversations:
        if one in seen:
            continue
        together = _together(one)
        seen |= together.conversations
        if together.submissions and not _stays(together, limit):
            going |= together.submissions
    if not going:
        return 0, []
    found = sorted(going)
    erasures.note(erasures.Kind.SUBMISSION, found, at=now)
    _, contents = remove_submissions(found, now)
    Organisation.objects.filter(pk=organisation).update(traces_untold=F("traces_untold") + len(found))
    return len(found), contents


def _together(conversation: uuid.UUID) -> _Together:
    """All that goes with one conversation."""
    submissions: set[uuid.UUID] = set()
    conversations = {conversation}
    while True:
        of = Conversation.objects.filter(id__in=conversations).values_list("submission_id", flat=True)
        joined = Recipient.objects.filter(conversation__in=conversations).values_list("submission_id", flat=True)
        submissions |= {*of, *joined}
        shared = Conversation.objects.filter(Q(submission__in=submissions) | Q(recipients__submission__in=submissions))
        found = {conversation, *shared.values_list("id", flat=True)}
        if found == conversations:
            return _Together(frozenset(submissions), frozenset(conversations))
        conversations = found


def _stays(together: _Together, limit: Instant) -> bool:
    """Something of it can be read, ended a short while ago, is on its way, or is still to be told."""
    ended = Q(destroyed_at__isnull=False, destroyed_at__lt=limit)
    if Conversation.objects.filter(id__in=together.conversations).exclude(ended).exists():
        return True
    recipients = Recipient.objects.filter(conversation__in=together.conversations)
    mails = Transmission.objects.filter(Q(submission__in=together.submissions) | Q(recipient__in=recipients))
    messages = Message.objects.filter(conversation__in=together.conversations)
    subjects = [*together.submissions, *together.conversations]
    for rows in (recipients, mails, messages):
        subjects += rows.values_list("id", flat=True)
    return (
        recipients.filter(state__in=_UNSERVED).exists()
        or mails.filter(state=Transmission.State.QUEUED).exists()
        or Sms.objects.filter(recipient__in=recipients, state__in=("queued", OFFERED)).exists()
        or WebhookRequest.objects.filter(recipient__in=recipients, due_at__isnull=False).exists()
        or any(_is_work(subjects[start : start + _STRIDE]) for start in range(0, len(subjects), _STRIDE))
    )


_STRIDE: Final = 500  # identifiers in a statement


def _is_work(subjects: Sequence[uuid.UUID]) -> bool:
    return Job.objects.filter(subject__in=subjects).exists() or PutAside.objects.filter(subject__in=subjects).exists()


def _tell(organisation: int, now: Instant) -> None:
    """Inside a transaction: one line for all that was removed and not told."""
    current = Organisation.objects.select_for_update(no_key=True).filter(pk=organisation).first()
    if current is None or not current.traces_untold:
        return
    audit.note(Act.TRACES_REMOVED, current, details={"messages": current.traces_untold}, by=_GATEWAY, now=now)
    Organisation.objects.filter(pk=organisation).update(traces_untold=0)


def remove_again(submissions: Sequence[uuid.UUID], *, now: Instant) -> int:
    """Inside a transaction, after a restore: as :func:`shorten` did. Blobs are left to the sweep. Returns how many."""
    done = 0
    for start in range(0, len(submissions), _STRIDE):
        some = submissions[start : start + _STRIDE]
        there = list(Submission.objects.filter(id__in=some).values_list("id", flat=True))
        if there:
            remove_submissions(there, now)
        done += len(there)
    return done
