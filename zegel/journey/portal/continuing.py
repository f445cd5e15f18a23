"""Conversations that one continues, or that continue it (D-5), as far as the same reader was in them.

A name on a page, and no right: each is opened by its own way in.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from django.db.models import Q, QuerySet, prefetch_related_objects
from django.http import HttpRequest
from django.urls import reverse

from zegel.core.clock import Instant
from zegel.core.policy.verification import Method
from zegel.edge.prepared import Prepared
from zegel.journey.custody.models import Conversation, Recipient
from zegel.journey.portal import links
from zegel.journey.portal.reader import Reader
from zegel.journey.portal.setup import portal

MOST: Final = 20  # on one page


def _in_order(around: Q) -> QuerySet[Conversation]:
    return Conversation.objects.filter(around).select_related("author").order_by("created_at", "id")[:MOST]


_LATER: Final = Prepared(lambda conversation: _in_order(Q(continues_id=conversation)), conversation=uuid.UUID)
_AROUND: Final = Prepared(
    lambda conversation, earlier: _in_order(Q(continues_id=conversation) | Q(id=earlier)),
    conversation=uuid.UUID,
    earlier=uuid.UUID,
)


@dataclass(frozen=True, slots=True)
class Related:
    """Another conversation of this reader."""

    at: Instant
    is_earlier: bool
    address: str  # empty: the link in the mail of that moment leads there


def related(request: HttpRequest, reader: Reader) -> list[Related]:
    """The earlier one first, then those that came of this one."""
    conversation = reader.conversation
    if conversation.continues_id is None:
        rows = _LATER(conversation=conversation.id)
    else:
        rows = _AROUND(conversation=conversation.id, earlier=conversation.continues_id)
    prefetch_related_objects(rows, "recipients")
    return list(_of_reader(request, reader, rows))


def _of_reader(request: HttpRequest, reader: Reader, rows: Iterable[Conversation]) -> Iterable[Related]:
    author, now = reader.conversation.author, portal().now()
    key = reader.recipient.key if reader.recipient is not None else author.key
    for row in rows:
        place = next((one for one in row.recipients.all() if one.key == key and one.revoked_at is None), None)
        is_author = row.author.key == key
        if row.is_open(now) and (is_author or place is not None):
            is_earlier = row.id == reader.conversation.continues_id
            yield Related(row.created_at, is_earlier, _address(request, row, None if is_author else place))


def _address(request: HttpRequest, row: Conversation, place: Recipient | None) -> str:
    """Of a page that lets this reader in, perhaps after signing in or verification; ``place``: as whom, ``None``: as
    its author. Where a link is needed that this browser doesn't hold, none."""
    if place is None or place.method == Method.ACCOUNT.value:
        return reverse("portal:inbox-read", kwargs={"conversation": row.id})
    if place.id not in links.held(request):
        return ""
    return reverse("portal:guest", kwargs={"recipient": place.id})
