"""What is done to a database that was put back from a backup, before anything starts with it.

What was destroyed since is destroyed again. The work of that moment is put aside: most of it was done since, and nobody
knows which, so that a mail that was sent would be sent once more. Whoever was let in then is not let in now.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from django.contrib.sessions.models import Session
from django.db.models import Min, QuerySet

from zegel.accounts.audit import note
from zegel.accounts.models import AccountSession, RememberedDevice
from zegel.core.clock import Instant
from zegel.core.policy.audit import Act
from zegel.core.policy.ended import Ended
from zegel.core.policy.verification import Method
from zegel.core.policy.verification_import import FileFault
from zegel.core.policy.webhooks import Event
from zegel.edge.journal import Erased
from zegel.edge.rows import number_on
from zegel.journey.custody import erasures, forgetting, jobs, outbox, retention, revoking, traces
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import (
    OFFERED,
    Challenge,
    Content,
    Conversation,
    Erasure,
    Job,
    Link,
    MethodRequest,
    PassedMethod,
    Proof,
    PutAside,
    Recipient,
    SealedVerification,
    Sms,
    StagedFile,
    Submission,
    Transmission,
    VerificationData,
    VerificationImport,
)

State = Recipient.State
STATUS: Final = "4.3.0"  # RFC 3463 §3.4: other or undefined mail system status; ours
TO_SENDERS: Final = (Transmission.Kind.REPORT, Transmission.Kind.NOTICE)
WITH_A_WAY_IN: Final = (  # a link or a code
    Transmission.Kind.NOTIFICATION,
    Transmission.Kind.REMINDER,
    Transmission.Kind.AGAIN,
    Transmission.Kind.ANSWER,
    Transmission.Kind.CODE,
)
AT_ONCE: Final = 500  # identifiers in a statement


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done."""

    destroyed: int  # conversations that were destroyed since
    expired: int  # conversations that expired since
    revoked: int  # recipients from whom a message was taken since
    forgotten: int  # numbers and codes that were removed or replaced since
    shut: int  # recipients for whom another number, code or method was allowed since: their senders allow one again
    erased: int  # organisations that were erased since
    nameless: int  # recipients of messages whose address was erased since
    traceless: int  # messages whose traces were removed since, at the end of their term
    put_aside: int  # jobs


def make_good(lines: Sequence[Erased], *, now: Instant) -> Restored:
    """Inside a transaction: all of it. ``lines``: the whole journal; those that the database doesn't know came after
    it. The caller clears files and write-ahead log afterwards."""
    known = erasures.last()
    since = [one for one in lines if one.number > known]
    Erasure.objects.bulk_create(
        (Erasure(id=one.number, kind=one.kind, subject=one.subject, at=one.at) for one in since), batch_size=AT_ONCE
    )
    number_on(Erasure)
    destroyed = sum(_destroy(one, now) for one in _of(since, erasures.Kind.CONVERSATION))
    revoked = sum(_revoke(one, now) for one in _of(since, erasures.Kind.RECIPIENT))
    forgotten = sum(_forget(one) for one in _of(since, erasures.Kind.VERIFICATION))
    erased = sum(forgetting.erase_again(one.subject.int, now=now) for one in _of(since, erasures.Kind.ORGANISATION))
    nameless = forgetting.name_nobody_again([one.subject for one in _of(since, erasures.Kind.ADDRESS)], now=now)
    traceless = traces.remove_again([one.subject for one in _of(since, erasures.Kind.SUBMISSION)], now=now)
    expired = _expire(now)
    shut = sum(_shut(one, now) for one in {one.subject for one in _of(since, erasures.Kind.METHOD)})
    for model in (Challenge, Proof, RememberedDevice, AccountSession, Session):
        model.objects.all().delete()
    _end_imports(now)
    done = Restored(destroyed, expired, revoked, forgotten, shut, erased, nameless, traceless, _put_aside(now))
    note(Act.RESTORED, None, details=asdict(done), now=now)
    return done


def _of(lines: Sequence[Erased], kind: erasures.Kind) -> list[Erased]:
    return [one for one in lines if one.kind == kind.value]


def _destroy(line: Erased, now: Instant) -> bool:
    found = Conversation.objects.filter(id=line.subject, destroyed_at=None)
    if not found.update(destroyed_at=line.at):  # first: so it is not noted a second time
        return False
    retention.destroy(line.subject, now=now)
    return True


def _revoke(line: Erased, now: Instant) -> bool:
    recipient = Recipient.objects.filter(id=line.subject).first()
    return recipient is not None and revoking.revoke(recipient, now=now)


def _forget(line: Erased) -> int:
    rows = (VerificationData.objects.filter(id=line.subject), PassedMethod.objects.filter(id=line.subject))
    return sum(found.delete()[0] for found in rows)


def _shut(identity: uuid.UUID, now: Instant) -> bool:
    """What was allowed in the place of the method that is known here is lost. Nobody gets in with either: a number is
    asked for, and there is none, until the sender, who finds a request, allows a way again. Who was not notified yet
    was since; the sender hears that nobody knows (P7), as a decision would be made once more without that word."""
    found = Recipient.objects.filter(id=identity, revoked_at=None, conversation__destroyed_at=None)
    if not found.update(method=Method.SMS.value, masked="", code_needs_tls=0, code_needs_authentication=0):
        return False
    SealedVerification.objects.filter(recipient=identity).delete()
    Link.objects.filter(recipient=identity).delete()
    queued = Transmission.objects.filter(recipient=identity, state=Transmission.State.QUEUED, kind__in=WITH_A_WAY_IN)
    queued.update(state=Transmission.State.FAILED, sealed=None)
    Sms.objects.filter(recipient=identity, state="queued").update(sealed=None, state="failed")
    MethodRequest.objects.create(recipient_id=identity, method="", at=now)
    unserved = found.filter(state__in=(State.ACCEPTED, State.HELD, State.DECIDED))
    if unserved.update(state=State.UNDELIVERABLE, status=STATUS, reason=Ended.RESTORED.value):
        jobs.put(Kind.REPORT, [identity], due=now)
        outbox.reached(Event.UNDELIVERABLE, [identity], now=now)
    return True


def _expire(now: Instant) -> int:
    over = list(Conversation.objects.filter(expires_at__lte=now, destroyed_at=None).values_list("id", flat=True))
    for one in over:
        retention.destroy(one, now=now)
    return len(over)


def _end_imports(now: Instant) -> None:
    """Their files were destroyed since, or would have been."""
    Job.objects.filter(kind=Kind.IMPORT.value).delete()
    StagedFile.objects.all().delete()
    VerificationImport.objects.filter(ended_at=None).update(
        state=VerificationImport.State.REFUSED, fault=FileFault.LOST.value, ended_at=now, verdicts=None
    )


def missing(names: Iterable[uuid.UUID]) -> tuple[set[uuid.UUID], set[uuid.UUID]]:
    """Of the blobs that are there: those that nothing refers to; and those that are referred to, and not there."""
    wanted = set(Content.objects.filter(sealed=None).exclude(head=b"").values_list("id", flat=True))
    there = set(names)
    return there - wanted, wanted - there


# --- the work of that moment --------------------------------------------------------------------------------------


def _put_aside(now: Instant) -> int:
    """Every job but those that destroy: any other may end in a mail, a text message or a report."""
    found = Job.objects.exclude(kind=Kind.EXPIRE)
    rows = found.values_list("kind", "subject", "due_at")
    aside = PutAside.objects.bulk_create(
        (PutAside(kind=kind, subject=subject, due_at=due, put_aside_at=now) for kind, subject, due in rows),
        batch_size=AT_ONCE,
        ignore_conflicts=True,  # of a restore before this one
    )
    found.delete()
    Job.objects.update(lease=None, leased_until=None)
    return len(aside)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What was put aside, and since when."""

    counts: Counter[Kind]
    since: Instant


def waiting() -> Waiting | None:
    """``None``: nothing is."""
    since = PutAside.objects.aggregate(since=Min("put_aside_at"))["since"]
    if since is None:
        return None
    return Waiting(Counter(Kind(kind) for kind in PutAside.objects.values_list("kind", flat=True)), since)


def mails() -> list[Transmission]:
    """Those that were put aside, oldest first."""
    subjects = _subjects(Kind.TRANSMIT)
    return list(Transmission.objects.filter(id__in=subjects, state=Transmission.State.QUEUED).order_by("created_at"))


def release() -> int:
    """Inside a transaction: the work that was put aside goes on. What was done between backup and restore is done
    twice."""
    rows = list(PutAside.objects.order_by("due_at"))
    for row in rows:
        jobs.put(Kind(row.kind), [row.subject], due=row.due_at)
    PutAside.objects.all().delete()
    note(Act.QUEUE_RELEASED, None, details={"jobs": len(rows)})
    return len(rows)


def end(*, now: Instant) -> int:
    """Inside a transaction: the work that was put aside is not done, so that nobody gets twice what was sent already.
    Who had not been served at the moment of the backup is undeliverable, and the sender is told that nobody knows (P7).
    Reports and notices to senders go on: better twice than never. Returns how many recipients were given up."""
    submissions = Submission.objects.filter(id__in=_subjects(Kind.DECIDE))
    held = Submission.objects.filter(id__in=_subjects(Kind.HELD))
    queued = Transmission.objects.filter(id__in=_subjects(Kind.TRANSMIT), state=Transmission.State.QUEUED)
    unserved = (
        Recipient.objects.filter(submission__in=submissions, state=State.ACCEPTED)
        | Recipient.objects.filter(submission__in=held, state=State.HELD)
        | Recipient.objects.filter(id__in=_subjects(Kind.RELEASE), state=State.HELD)
        | Recipient.objects.filter(transmissions__in=queued, state=State.DECIDED)
    )
    lost = sorted(set(unserved.values_list("id", flat=True)))
    for start in range(0, len(lost), AT_ONCE):
        some = lost[start : start + AT_ONCE]
        Recipient.objects.filter(id__in=some).update(
            state=State.UNDELIVERABLE, status=STATUS, reason=Ended.RESTORED.value
        )
        jobs.put(Kind.REPORT, some, due=now)
        outbox.reached(Event.UNDELIVERABLE, some, now=now)
    told = list(queued.filter(kind__in=TO_SENDERS).values_list("id", flat=True))
    jobs.put(Kind.TRANSMIT, told, due=now)
    jobs.put(Kind.REPORT, list(_subjects(Kind.REPORT)), due=now)
    queued.exclude(kind__in=TO_SENDERS).update(state=Transmission.State.FAILED, sealed=None)
    Sms.objects.filter(id__in=_subjects(Kind.SMS), state__in=("queued", OFFERED)).update(sealed=None, state="failed")
    PutAside.objects.all().delete()
    note(Act.QUEUE_ENDED, None, details={"recipients": len(lost)}, now=now)
    return len(lost)


def _subjects(kind: Kind) -> QuerySet[PutAside, uuid.UUID]:
    """As a part of a statement: there may be more than a statement can name."""
    return PutAside.objects.filter(kind=kind.value).values_list("subject", flat=True)
