"""Whose conversation a message continues that answers an earlier one by mail (D-5): found beside its plan."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from zegel.core.clock import Instant
from zegel.core.policy.continuing import Earlier, continued
from zegel.edge.database import Readers, Writer
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import Leased
from zegel.journey.custody.models import Content, Conversation, Recipient, Submission, Transmission

_OURS: Final = re.compile(r"<([0-9a-f]{32})@[^>]+>")  # the shape of Message-IDs that we make
_Places = dict[uuid.UUID, int]  # conversations, and the place of the reference that names them


class Continuing:
    """Does the jobs that :func:`zegel.journey.milestones.refers` makes."""

    def __init__(self, writer: Writer, readers: Readers, *, now: Callable[[], Instant]) -> None:
        self._writer = writer
        self._readers = readers
        self._now = now

    async def continues(self, leased: Leased) -> None:
        """The conversations of a submission get the earlier ones that they go on, if there are any."""
        found = await self._readers.read(lambda: _found(leased.subject))

        def record() -> None:
            jobs.finish(leased)
            for conversation, earlier in found.items():
                Conversation.objects.filter(id=conversation, continues=None).update(continues=earlier)

        await self._writer.write(record)


def _found(number: uuid.UUID) -> dict[uuid.UUID, uuid.UUID]:
    submission = Submission.objects.select_related("account").filter(id=number).first()
    named = submission.references.split() if submission is not None else []
    if submission is None or not named:
        return {}
    new = list(Conversation.objects.filter(submission=submission, continues=None).prefetch_related("recipients"))
    places = _places(submission, named)
    chosen: dict[uuid.UUID, uuid.UUID] = {}
    for one in new:
        author, recipients = submission.account.key, [recipient.key for recipient in one.recipients.all()]
        candidates = _earlier(one, places, {author, *recipients})
        if (earlier := continued(candidates, author=author, recipients=recipients)) is not None:
            chosen[one.id] = earlier
    return chosen


def _places(submission: Submission, named: Sequence[str]) -> _Places:
    """Conversations of the same organisation that the references belong to: by the message that began one, by an
    answer, or by a mail that told of either."""
    places: _Places = {}
    place_of = {reference: place for place, reference in enumerate(named)}
    _add(places, place_of, _begun(submission, named))
    ours = {uuid.UUID(hex=found[1]): one for one in named if (found := _OURS.fullmatch(one))}
    if ours:
        _add(places, place_of, _mailed(submission, ours))
        _add(places, place_of, _answered(submission, ours))
    return places


def _begun(submission: Submission, named: Sequence[str]) -> list[tuple[str, uuid.UUID]]:
    same = Submission.objects.filter(organisation=submission.organisation_id, message_id__in=named)
    return list(same.exclude(id=submission.id).values_list("message_id", "conversations"))


def _mailed(submission: Submission, ours: Mapping[uuid.UUID, str]) -> list[tuple[str, uuid.UUID]]:
    mails = Transmission.objects.filter(id__in=ours, organisation=submission.organisation_id)
    found = mails.values_list("id", "message_id", "answer__conversation", "recipient__conversation")
    return [(ours[one], answer or told) for one, message_id, answer, told in found if message_id == ours[one]]


def _answered(submission: Submission, ours: Mapping[uuid.UUID, str]) -> list[tuple[str, uuid.UUID]]:
    found = Content.objects.filter(
        id__in=ours, message__conversation__organisation=submission.organisation_id
    ).values_list("id", "message__conversation")
    return [(ours[one], conversation) for one, conversation in found]


def _add(places: _Places, place_of: Mapping[str, int], found: Sequence[tuple[str, uuid.UUID | None]]) -> None:
    for reference, conversation in found:
        if conversation is not None:
            places[conversation] = max(places.get(conversation, 0), place_of[reference])


def _earlier(new: Conversation, places: _Places, keys: set[str]) -> list[Earlier[uuid.UUID]]:
    """Those that began before, with as much of their members as matters here."""
    rows = Conversation.objects.select_related("author").filter(id__in=places, created_at__lt=new.created_at)
    members: dict[uuid.UUID, set[str]] = {row.id: {row.author.key} for row in rows}
    for conversation, key in Recipient.objects.filter(conversation__in=members, key__in=keys).values_list(
        "conversation", "key"
    ):
        members[conversation].add(key)
    return [
        Earlier(row.id, frozenset(members[row.id]), places[row.id], not row.is_blind, row.created_at) for row in rows
    ]
