"""Finding messages of an organisation: by an address or a whole domain, a Message-ID, an identifier, a time, a state.

Every way of looking is led by an index, and gives a page at a time, newest first. Where none leads to what is sought
(*delivered* alone, in a million recipients), it looks through so many messages at most, and says how far it came.
"""

from __future__ import annotations

import heapq
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, assert_never

from django.db.models import Exists, OuterRef, Q, QuerySet

from zegel.accounts.models import Account, Organisation
from zegel.core.clock import Instant
from zegel.core.mail.address import Domain, Mailbox, NotADomain, NotAMailbox
from zegel.journey.custody.jobs import Kind as JobKind
from zegel.journey.custody.models import Conversation, Job, PutAside, Recipient, Submission, Transmission

PAGE: Final = 25
LOOKED_THROUGH: Final = 20_000  # messages at most, where nothing leads to them
_STRIDE: Final = 500
_MOST_NAMED: Final = 1_000  # messages with one Message-ID
_State = Recipient.State


class Where(Enum):
    """How far it is with a recipient, as it can be sought."""

    WAITING = "waiting"
    HELD = "held"
    NOTIFIED = "notified"
    DELIVERED = "delivered"
    OPENED = "opened"
    UNDELIVERABLE = "undeliverable"

    @property
    def states(self) -> frozenset[str]:
        """As they are stored."""
        if self is Where.WAITING:
            return frozenset({_State.ACCEPTED.value, _State.DECIDED.value})
        return frozenset({self.value})


@dataclass(frozen=True, slots=True)
class Text:
    """What was written in the field, and all that it can mean: an address can also be a Message-ID."""

    message_ids: tuple[str, ...] = ()
    key: str = ""  # of a mailbox
    domain: str = ""
    identifier: uuid.UUID | None = None

    @classmethod
    def parse(cls, written: str) -> Text:
        """Never complains: what is nothing else is looked for as a Message-ID."""
        bare = written.strip()
        inner = bare[1:-1].strip() if bare.startswith("<") and bare.endswith(">") else bare
        ids = (f"<{inner}>", inner)
        if bare != inner:
            return cls(message_ids=ids)
        try:
            return cls(message_ids=ids, identifier=uuid.UUID(inner))
        except ValueError:
            pass
        try:
            return cls(message_ids=ids, key=Mailbox.parse(inner).key)
        except NotAMailbox:
            pass
        try:
            return cls(message_ids=ids, domain=Domain.parse(inner.removeprefix("@")).ascii)
        except NotADomain:
            return cls(message_ids=ids)


@dataclass(frozen=True, slots=True)
class Sought:
    """All of these together; what is ``None`` doesn't matter."""

    text: Text | None = None
    since: Instant | None = None
    until: Instant | None = None  # not this moment itself
    where: Where | None = None

    @property
    def is_nothing(self) -> bool:
        """Every message would do."""
        return self == Sought()


@dataclass(frozen=True, slots=True)
class Found:
    """A page, newest first."""

    submissions: tuple[Submission, ...]
    older: uuid.UUID | None  # go on below this one; ``None``: there are no more
    looked_until: Instant | None = None  # no more were found back to this moment; older ones were not looked at


def find(organisation: Organisation, sought: Sought, *, below: uuid.UUID | None = None) -> Found:
    """A page of the submissions of ``organisation`` with a recipient as it is sought."""
    if below is not None and not Submission.objects.filter(organisation=organisation, id=below).exists():
        return Found((), None)
    if sought.text is not None:
        return _page(_newest(_led(organisation, sought.text, sought, below)))
    match sought.where:
        case None:
            return _page([one.id for one in _by_time(organisation, sought, below)[: PAGE + 1]])
        case Where.WAITING | Where.HELD | Where.UNDELIVERABLE:
            found = _rare(sought.where)
            return _page(_newest(_of_recipients(one, organisation, sought, below) for one in found))
        case Where.NOTIFIED | Where.DELIVERED | Where.OPENED:
            return _looked_through(organisation, sought, sought.where, below)
        case unreachable:
            assert_never(unreachable)


def _page(found: Sequence[uuid.UUID], looked_until: Instant | None = None) -> Found:
    shown = found[:PAGE]
    by_id = Submission.objects.select_related("account").in_bulk(shown)
    older = shown[-1] if len(found) > PAGE else None
    return Found(tuple(by_id[one] for one in shown if one in by_id), older, looked_until)


# --- where an index leads ----------------------------------------------------------------------------------------
# The organisation is asked of the conversation, and not of the submission: there it has an index, and SQLite would take
# that one and look through all that the organisation ever sent.

_Way = QuerySet[Any, uuid.UUID]  # submissions


def _led(organisation: Organisation, text: Text, sought: Sought, below: uuid.UUID | None) -> Iterator[_Way]:
    """One query for each thing that the text can mean."""
    recipients = Recipient.objects.all()
    if ids := _named(organisation, text):
        yield _of_recipients(recipients.filter(submission__in=ids), organisation, sought, below)
    if text.key:
        yield _of_recipients(recipients.filter(key=text.key), organisation, sought, below)
    if text.domain:
        yield _of_recipients(recipients.filter(key__in=_keys(text.domain)), organisation, sought, below)
    authors = _authors(organisation, text)
    if authors and sought.where in _RARE:
        for found in _rare(sought.where):
            yield _of_recipients(found.filter(conversation__author__in=authors), organisation, sought, below)
    elif authors:
        yield _of_authors(authors, sought, below)


def _named(organisation: Organisation, text: Text) -> list[uuid.UUID]:
    """By a Message-ID, or by the identifier of a submission, a recipient or a mail."""
    found = Submission.objects.filter(message_id__in=text.message_ids).order_by("-id")
    ids = [one for one, of in found.values_list("id", "organisation_id")[:_MOST_NAMED] if of == organisation.pk]
    if text.identifier is None:
        return ids
    recipients = Recipient.objects.filter(id=text.identifier).values_list("submission", flat=True)
    mails = Transmission.objects.filter(id=text.identifier, submission__isnull=False)
    return [*ids, text.identifier, *recipients, *mails.values_list("submission", flat=True)]


def _keys(domain: str) -> QuerySet[Recipient, str]:
    """Addresses of that domain that anything was ever sent to: read from the index of addresses alone."""
    return Recipient.objects.filter(key__endswith=f"@{domain}").values_list("key", flat=True).distinct()


def _authors(organisation: Organisation, text: Text) -> list[int]:
    of = Account.objects.filter(organisation=organisation)
    if text.key:
        return list(of.filter(key=text.key).values_list("pk", flat=True))
    if text.domain:
        return list(of.filter(key__endswith=f"@{text.domain}").values_list("pk", flat=True))
    return []


def _of_recipients(
    found: QuerySet[Recipient], organisation: Organisation, sought: Sought, below: uuid.UUID | None
) -> _Way:
    found = found.filter(conversation__organisation=organisation)
    if sought.where is not None:
        found = found.filter(state__in=sought.where.states)
    return _in_time(found, sought, below)


def _of_authors(authors: Sequence[int], sought: Sought, below: uuid.UUID | None) -> _Way:
    found = Conversation.objects.filter(author__in=authors)
    if sought.where is not None:
        fitting = Recipient.objects.filter(conversation=OuterRef("pk"), state__in=sought.where.states)
        found = found.filter(Exists(fitting))
    return _in_time(found, sought, below)


def _in_time(found: QuerySet[Any], sought: Sought, below: uuid.UUID | None) -> _Way:
    if sought.since is not None:
        found = found.filter(submission__accepted_at__gte=sought.since)
    if sought.until is not None:
        found = found.filter(submission__accepted_at__lt=sought.until)
    if below is not None:
        found = found.filter(submission__lt=below)
    return found.order_by("-submission").values_list("submission", flat=True).distinct()


def _newest(ways: Iterable[_Way]) -> list[uuid.UUID]:
    """Identifiers are in the order of time (RFC 9562 §5.7)."""
    return heapq.nlargest(PAGE + 1, {one for way in ways for one in way[: PAGE + 1]})


_RARE: Final = (Where.WAITING, Where.HELD, Where.UNDELIVERABLE)


def _rare(where: Where | None) -> Iterator[QuerySet[Recipient]]:
    """There is work to be done about them, or an index of their own."""
    if where is Where.UNDELIVERABLE:
        yield Recipient.objects.filter(state=_State.UNDELIVERABLE)
        return
    works: tuple[QuerySet[Any], ...] = (Job.objects.all(), PutAside.objects.all())
    for work in works:
        subjects = work.filter(kind__in=(JobKind.DECIDE, JobKind.HELD)).values("subject")
        yield Recipient.objects.filter(submission__in=subjects)
        mails = Transmission.objects.filter(id__in=work.filter(kind=JobKind.TRANSMIT).values("subject"))
        yield Recipient.objects.filter(id__in=mails.values("recipient"))


# --- where none does ---------------------------------------------------------------------------------------------


def _by_time(organisation: Organisation, sought: Sought, below: uuid.UUID | None) -> QuerySet[Submission]:
    found = Submission.objects.filter(organisation=organisation)
    if sought.since is not None:
        found = found.filter(accepted_at__gte=sought.since)
    if sought.until is not None:
        found = found.filter(accepted_at__lt=sought.until)
    if below is not None:
        at = Submission.objects.values_list("accepted_at", flat=True).get(id=below)
        found = found.filter(Q(accepted_at__lt=at) | Q(accepted_at=at, id__lt=below), accepted_at__lte=at)
    return found.order_by("-accepted_at", "-id")


def _looked_through(organisation: Organisation, sought: Sought, where: Where, below: uuid.UUID | None) -> Found:
    found: list[uuid.UUID] = []
    for _ in range(LOOKED_THROUGH // _STRIDE):
        stride = list(_by_time(organisation, sought, below).values_list("id", "accepted_at")[:_STRIDE])
        fitting = set(
            Recipient.objects.filter(submission__in=[one for one, _ in stride], state__in=where.states).values_list(
                "submission", flat=True
            )
        )
        found += [one for one, _ in stride if one in fitting]
        if len(found) > PAGE or len(stride) < _STRIDE:
            return _page(found)
        below, looked_until = stride[-1]
    page = _page(found)
    return Found(page.submissions, below, looked_until)
