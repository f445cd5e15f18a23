"""An account holder's messages: what was sent, how far it came, what was answered, and what was received."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from typing import Any, Final, cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db import DatabaseError
from django.db.models import Prefetch, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from zegel.accounts.models import Account
from zegel.core.clock import Instant
from zegel.core.policy.ended import wording_of
from zegel.core.policy.verification import Method
from zegel.core.seal.wrap import CannotOpen
from zegel.core.secret import Secret
from zegel.edge.log import Broken, log
from zegel.journey.custody.models import Conversation, Message, Recipient
from zegel.journey.portal import links, reading
from zegel.journey.portal.answering import Refusal, take_answer
from zegel.journey.portal.guest_pages import conversation_page
from zegel.journey.portal.guests import is_open
from zegel.journey.portal.pages import View, language, private, see_other
from zegel.journey.portal.proofs import note_reading
from zegel.journey.portal.reader import Reader
from zegel.journey.portal.setup import portal

ON_A_PAGE: Final = 25
State = Recipient.State

_WORDS: Final[dict[str, tuple[Any, str]]] = {
    # Delivered, opened, and readable with opening unknown are different things.
    State.ACCEPTED: (gettext_lazy("Waiting"), ""),
    State.DECIDED: (gettext_lazy("Waiting"), ""),
    State.HELD: (gettext_lazy("Held: something is missing"), "badge-warn"),
    State.NOTIFIED: (gettext_lazy("Notified, not opened yet"), "badge-accent"),
    State.DELIVERED: (gettext_lazy("Delivered, readable: opening unknown"), "badge-good"),
    State.OPENED: (gettext_lazy("Opened"), "badge-good"),
    State.UNDELIVERABLE: (gettext_lazy("Bounced"), "badge-bad"),
}


@dataclass(frozen=True, slots=True)
class RecipientLine:
    """How far the message came with one recipient."""

    address: str
    words: str
    badge: str
    at: Instant | None
    reason: str
    held_at: str = ""  # the page where what lacks is filled in


@dataclass(frozen=True, slots=True)
class Entry:
    """One conversation in the list."""

    address: str
    subject: str
    is_closed: bool  # its keys were destroyed: states without content
    is_blind: bool
    is_sent: bool
    author: str
    recipients: Sequence[RecipientLine]  # of what was sent; a reader isn't told how far others are
    at: Instant
    answered_at: Instant | None
    answered_by: str


# The list


@require_safe
@private
@login_required
def inbox(request: HttpRequest) -> HttpResponse:
    """Newest first."""
    account = cast("Account", request.user)
    page = Paginator(_conversations_of(account), ON_A_PAGE).get_page(request.GET.get("page"))
    entries = [_entry(one, account) for one in page.object_list]
    return render(request, "portal/inbox.html", {"section": "inbox", "entries": entries, "page": page})


def _conversations_of(account: Account) -> QuerySet[Conversation]:
    """What the account wrote, and what it received to be opened by signing in (D-9: nothing else)."""
    received = Recipient.objects.filter(key=account.key, method=Method.ACCOUNT.value).values("conversation")
    answers = Message.objects.filter(answered_by__isnull=False).order_by("-created_at").select_related("answered_by")
    return (
        Conversation.objects.filter(Q(author=account) | Q(id__in=received))
        .select_related("author", "organisation")
        .prefetch_related(
            Prefetch("recipients", Recipient.objects.order_by("address")),
            Prefetch("messages", answers, "found_answers"),
        )
        .order_by("-created_at", "-id")
    )


def _entry(conversation: Conversation, account: Account) -> Entry:
    is_sent = conversation.author_id == account.id
    subject = _subject(conversation)
    answers: list[Message] = conversation.found_answers  # type: ignore[attr-defined]
    newest = answers[0] if answers else None
    return Entry(
        address=reverse("portal:inbox-read", kwargs={"conversation": conversation.id}),
        subject=subject or "",
        is_closed=subject is None,
        is_blind=conversation.is_blind and is_sent,
        is_sent=is_sent,
        author=conversation.author.display_name or conversation.author.email,
        recipients=recipient_lines(conversation.recipients.all()) if is_sent else (),
        at=conversation.created_at,
        answered_at=newest.created_at if newest else None,
        answered_by=newest.answered_by.address if newest and newest.answered_by else "",
    )


def recipient_lines(recipients: Iterable[Recipient]) -> list[RecipientLine]:
    """The sender's view of who got how far."""
    lines = []
    for one in recipients:
        words, badge = _WORDS[one.state]
        at = {State.OPENED: one.opened_at, State.UNDELIVERABLE: None}.get(State(one.state), one.delivered_at)
        held_at = reverse("portal:held", kwargs={"submission": one.submission_id}) if one.state == State.HELD else ""
        why = _sentence(one.reason) if one.state == State.UNDELIVERABLE else ""  # who opens it all the same has it
        lines.append(RecipientLine(one.address, str(words), badge, at, why, held_at))
    return lines


def _sentence(code: str) -> str:
    """What a stored reason says; a code of another version is shown as it is."""
    wording = wording_of(code)
    if wording is None:
        return code
    return wording.nl if language() == "nl" else wording.en


def _subject(conversation: Conversation) -> str | None:
    """Through the gateway's slot; ``None`` when that was destroyed, or is to be."""
    if not is_open(conversation, portal().now()):
        return None
    try:
        key = portal().unsealer.conversation_key(conversation)
        original = Reader(conversation, key, None, "inbox", conversation.id).original()
    except reading.UNREADABLE:
        return None
    return original.head.subject if original else ""


# One conversation


def for_readers(view: Callable[..., HttpResponseBase]) -> View:
    """The page of an account that may read the conversation; for any other it doesn't exist (P14, P20)."""

    @private
    @login_required
    @wraps(view)
    def outer(request: HttpRequest, /, conversation: uuid.UUID, **kwargs: Any) -> HttpResponseBase:
        account = cast("Account", request.user)
        rows = Conversation.objects.select_related("author", "organisation").filter(id=conversation)
        row = rows.first()
        recipient = Recipient.objects.filter(
            conversation=conversation, key=account.key, method=Method.ACCOUNT.value
        ).first()
        if row is None or (row.author_id != account.id and recipient is None):
            raise Http404
        reads_as = None if row.author_id == account.id else recipient
        now = portal().now()
        try:
            if not is_open(row, now):
                raise CannotOpen("expired")
            reader = Reader(row, _key(request, row, reads_as), reads_as, "inbox", row.id)
            response = view(request, reader, **kwargs)
        except reading.UNREADABLE:
            return _closed(request, row, reads_as)
        if reads_as is not None and request.method == "GET" and response.status_code == HTTPStatus.OK:
            try:
                note_reading(reads_as, Method.ACCOUNT, now)
            except DatabaseError as cause:  # as in guest_pages
                log(Broken("noting that an account holder read", cause))
        return response

    return outer


def _key(request: HttpRequest, conversation: Conversation, recipient: Recipient | None) -> Secret[bytes]:
    """The gateway's slot; where that was destroyed (recipients only), a recipient's own link still opens."""
    unsealer = portal().unsealer
    if conversation.gateway_slot is None and recipient is not None:
        token = links.held(request).get(recipient.id)
        link = links.fitting(recipient, token) if token is not None else None
        if token is not None and link is not None:
            return unsealer.conversation_key_by_link(link, token)
    return unsealer.conversation_key(conversation)


def _closed(request: HttpRequest, conversation: Conversation, recipient: Recipient | None) -> HttpResponse:
    """States without content, with the reason."""
    expired = not is_open(conversation, portal().now())
    recipients = recipient_lines(conversation.recipients.order_by("address")) if recipient is None else []
    context = {"section": "inbox", "conversation": conversation, "expired": expired, "recipients": recipients}
    return render(request, "portal/inbox_closed.html", context)


@require_safe
@for_readers
def read(request: HttpRequest, reader: Reader) -> HttpResponse:
    """The conversation; for its author also how far it came."""
    return _conversation(request, reader)


@require_safe
@for_readers
def body(request: HttpRequest, reader: Reader, message: uuid.UUID) -> HttpResponseBase:
    """See :func:`reading.body`."""
    return reading.body(request, reader, message)


@require_safe
@for_readers
def part(request: HttpRequest, reader: Reader, message: uuid.UUID, number: int) -> HttpResponseBase:
    """See :func:`reading.part`."""
    return reading.part(request, reader, message, number)


@require_safe
@for_readers
def source(request: HttpRequest, reader: Reader, message: uuid.UUID) -> HttpResponseBase:
    """See :func:`reading.source`."""
    return reading.source(request, reader, message)


@csrf_exempt  # checked by take_answer, after the sign-in and before the answer is recorded
@require_POST
@for_readers
def answer(request: HttpRequest, reader: Reader) -> HttpResponseBase:
    """An answer to the author, by a recipient who reads with an account."""
    if reader.recipient is None:
        raise Http404

    def done() -> HttpResponse:
        messages.success(request, _("Your answer was sent safely."))
        return see_other(reader.address("read"))

    def refuse(why: Refusal, text: str) -> HttpResponse:
        return _conversation(request, reader, refusal=why, text=text)

    return take_answer(request, reader, done=done, refuse=refuse)


def _conversation(
    request: HttpRequest, reader: Reader, *, refusal: Refusal | None = None, text: str = ""
) -> HttpResponse:
    is_author = reader.recipient is None
    recipients = recipient_lines(reader.conversation.recipients.order_by("address")) if is_author else []
    return conversation_page(
        request,
        reader,
        template="portal/inbox_read.html",
        refusal=refusal,
        text=text,
        section="inbox",
        recipients=recipients,
        is_author=is_author,
    )
