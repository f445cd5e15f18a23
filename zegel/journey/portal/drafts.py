"""A text that was begun and not sent: sealed, and there again for the same reader, after a lost session too.

It opens with the conversation's key alone. It goes when the answer is sent, with the conversation, and after a week
(:func:`zegel.journey.custody.retention.forget_drafts`). Files are not kept.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from django.contrib import messages
from django.db import DatabaseError, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _

from zegel.core.clock import Instant
from zegel.core.seal.slot import disclose, enclose
from zegel.core.seal.wrap import CannotOpen
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.edge.log import Broken, log
from zegel.edge.prepared import Prepared
from zegel.journey.custody.models import Conversation, Draft, Message
from zegel.journey.custody.seal import field_context
from zegel.journey.portal.pages import see_other, wants_json
from zegel.journey.portal.reader import Reader
from zegel.journey.portal.setup import portal

LONGEST: Final = 200_000  # octets
_OF_AUTHOR: Final = Prepared(
    lambda conversation: Draft.objects.filter(conversation_id=conversation, recipient=None), conversation=uuid.UUID
)
_OF_RECIPIENT: Final = Prepared(
    lambda conversation, recipient: Draft.objects.filter(conversation_id=conversation, recipient_id=recipient),
    conversation=uuid.UUID,
    recipient=uuid.UUID,
)


@dataclass(frozen=True, slots=True)
class Begun:
    """What a reader had written."""

    text: str
    saved_at: Instant


def draft_of(reader: Reader) -> Begun | None:
    """The reader's own; ``None`` for none."""
    conversation = reader.conversation.id
    if reader.recipient is None:
        row = _OF_AUTHOR.first(conversation=conversation)
    else:
        row = _OF_RECIPIENT.first(conversation=conversation, recipient=reader.recipient.id)
    if row is None:
        return None
    try:
        opened = disclose(bytes(row.sealed), reader.key, context=field_context("draft", row.id))
    except CannotOpen:
        return None
    return Begun(opened.reveal().decode(), row.saved_at)


def save_draft(request: HttpRequest, reader: Reader) -> HttpResponse:
    """The text of the form, in the place of an earlier one; an empty one takes that away. Programs of the page get a
    word in JSON, browsers the conversation again."""
    text = request.POST.get("text", "").replace("\r\n", "\n")
    if len(text.encode()) > LONGEST:
        return _said(request, reader, _("This text is too long to be kept as a draft."), is_kept=False)
    try:
        is_kept = _keep(reader, text, _number(request.POST.get("nonce", "")))
    except DatabaseError as cause:  # a full disk: reading goes on (P4)
        log(Broken("keeping a draft", cause))
        return _said(request, reader, _("Your draft could not be saved at this moment."), is_kept=False)
    if not is_kept:
        said = _("This answer was sent already, so no draft of it was kept. Open the page anew to write another one.")
        return _said(request, reader, said, is_kept=False)
    return _said(request, reader, _("Draft saved. Files are not kept: choose them when you send."), is_kept=True)


def forget(reader: Reader) -> None:
    """Inside a transaction: the answer was sent."""
    _rows(reader.conversation, reader).delete()


def _keep(reader: Reader, text: str, form: uuid.UUID | None) -> bool:
    """``False``: it came behind the answer that it was a draft of."""
    now, number = portal().now(), chance.identifier()
    sealed = enclose(Secret(text.encode()), reader.key, context=field_context("draft", number), nonce=chance.nonce())
    with transaction.atomic():
        conversation = Conversation.objects.select_for_update().get(id=reader.conversation.id)
        if form is not None and Message.objects.filter(id=form).exists():
            return False
        _rows(conversation, reader).delete()
        if text.strip() and conversation.is_open(now):
            Draft.objects.create(
                id=number, conversation=conversation, recipient=reader.recipient, sealed=sealed, saved_at=now
            )
    return True


def _rows(conversation: Conversation, reader: Reader) -> QuerySet[Draft]:
    return Draft.objects.filter(conversation=conversation, recipient=reader.recipient)


def _number(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _said(request: HttpRequest, reader: Reader, sentence: str, *, is_kept: bool) -> HttpResponse:
    if wants_json(request):
        status = HTTPStatus.OK if is_kept else HTTPStatus.UNPROCESSABLE_ENTITY
        return JsonResponse({"said": sentence}, status=status)
    (messages.success if is_kept else messages.error)(request, sentence)
    return see_other(f"{reader.address('read')}#answer")
