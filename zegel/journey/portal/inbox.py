"""An account holder's messages: what was sent, how far it came, what was answered, and what was received."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from typing import Any, Final, cast

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db import DatabaseError
from django.db.models import Prefetch, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from zegel.accounts import mailboxes
from zegel.accounts.models import Account
from zegel.core.clock import Instant
from zegel.core.policy.verification import Method
from zegel.core.seal.wrap import CannotOpen
from zegel.core.secret import Secret
from zegel.edge.log import Broken, log
from zegel.journey.custody.models import Conversation, Message, Recipient
from zegel.journey.portal import finding, links, reading, sent, shared
from zegel.journey.portal.answering import Refusal, listeners, take_answer
from zegel.journey.portal.drafts import save_draft
from zegel.journey.portal.guest_pages import conversation_page
from zegel.journey.portal.pages import View, look_like, private
from zegel.journey.portal.proofs import note_reading
from zegel.journey.portal.reader import Reader
from zegel.journey.portal.setup import portal
from zegel.journey.portal.states import RecipientLine, full_lines, recipient_lines

ON_A_PAGE: Final = 25


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
    """Newest first; with ``show`` those of one kind."""
    account = _mailbox(request, request.GET.get("mailbox", ""))
    which = request.GET.get("show", "")
    page = Paginator(_shown(account, which), ON_A_PAGE).get_page(request.GET.get("page"))
    return _list(request, account, page.object_list, which=which, page=page, form=finding.SearchForm())


@require_POST
@private
@login_required
def search(request: HttpRequest) -> HttpResponse:
    """Of one's own conversations, those that fit; see :func:`finding.search`. Changes nothing."""
    account = _mailbox(request, request.POST.get("mailbox", ""))
    form, which = finding.SearchForm(request.POST), request.POST.get("show", "")
    if not form.is_valid():
        return _list(request, account, [], which=which, form=form, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    found = finding.search(_shown(account, which), **form.cleaned_data)
    return _list(request, account, found.conversations, which=which, form=form, found=found)


def _mailbox(request: HttpRequest, named: str) -> Account:
    """Whose messages are asked for: one's own, or those of a functional mailbox that one reads. Raises ``Http404``."""
    account = cast("Account", request.user)
    if not named:
        return account
    found = next((one for one in mailboxes.read_by(account) if str(one.id) == named), None)
    if found is None:
        raise Http404
    return found


def _shown(account: Account, which: str) -> QuerySet[Conversation]:
    return finding.shown(conversations_of(account), account, received_by(account), which)


def _list(
    request: HttpRequest,
    account: Account,
    conversations: Iterable[Conversation],
    *,
    which: str,
    status: HTTPStatus = HTTPStatus.OK,
    **more: Any,
) -> HttpResponse:
    context = {
        "section": "inbox",
        "entries": [_entry(one, account) for one in conversations],
        "kinds": [(name, words, name == which) for name, words in finding.SHOWN.items()],
        "which": which if which in finding.SHOWN else "",
        "mailboxes": mailboxes.read_by(cast("Account", request.user)),
        "mailbox": account if account != request.user else None,
        **more,
    }
    return render(request, "portal/inbox.html", context, status=status)


def conversations_of(account: Account) -> QuerySet[Conversation]:
    """What the account wrote, and what it received to be opened by signing in (D-9: nothing else)."""
    received = received_by(account).values("conversation")
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


def received_by(account: Account) -> QuerySet[Recipient]:
    """Where the account is the way in. An account that a guest made opens nothing that was decided before it was there:
    that was for an earlier one, and proof of the mailbox doesn't hand it on (D-9)."""
    found = Recipient.objects.filter(key=account.key, method=Method.ACCOUNT.value, revoked_at=None)
    return found.filter(decided_at__gte=account.created_at) if account.organisation_id is None else found


def _entry(conversation: Conversation, account: Account) -> Entry:
    is_sent = conversation.author_id == account.id
    head = finding.head_of(conversation)
    answers: list[Message] = conversation.found_answers  # type: ignore[attr-defined]
    newest = answers[0] if answers else None
    return Entry(
        address=reverse("portal:inbox-read", kwargs={"conversation": conversation.id}),
        subject=head.subject if head is not None else "",
        is_closed=head is None,
        is_blind=conversation.is_blind and is_sent,
        is_sent=is_sent,
        author=conversation.author.display_name or conversation.author.email,
        recipients=recipient_lines(conversation.recipients.all()) if is_sent else (),
        at=conversation.created_at,
        answered_at=newest.created_at if newest else None,
        answered_by=newest.answered_by.address if newest and newest.answered_by else "",
    )


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
        identity, reads_as = identity_in(account, row) if row is not None else (None, None)
        if row is None or identity is None:
            raise Http404
        now = portal().now()
        look_like(row.organisation, request)
        try:
            if not row.is_open(now):
                raise CannotOpen("expired")
            reader = Reader(row, _key(request, row, reads_as), reads_as, "inbox", row.id)
            response = view(request, reader, **kwargs)
        except reading.UNREADABLE:
            return _closed(request, row, reads_as)
        if reader.shows and request.method != "HEAD":
            note(account, identity, row, reads_as, now)
        return response

    return outer


def note(
    account: Account, identity: Account, conversation: Conversation, reads_as: Recipient | None, now: Instant
) -> None:
    """That it was read, and who of those that read a functional mailbox did."""
    try:
        if reads_as is not None:
            note_reading(reads_as, Method.ACCOUNT, now)
        if identity != account:
            shared.note_reading(conversation, identity, account, now)
    except DatabaseError as cause:  # as in guest_pages
        log(Broken("noting that an account holder read", cause))


def identity_in(account: Account, conversation: Conversation) -> tuple[Account | None, Recipient | None]:
    """As whom the account may read: itself before a functional mailbox, and an author before a recipient. The
    recipient is ``None`` for the author; both are for who may not."""
    for one in (account, *mailboxes.read_by(account)):
        if conversation.author_id == one.id:
            return one, None
        recipient = received_by(one).filter(conversation=conversation).first()
        if recipient is not None:
            return one, recipient
    return None, None


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
    expired = not conversation.is_open(portal().now())
    context = {"section": "inbox", "conversation": conversation, "expired": expired, **_states(conversation, recipient)}
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


# The other ways to look at a message and to keep it: see the functions of the same name.
view = require_safe(for_readers(reading.view))
picture = require_safe(for_readers(reading.picture))
archive = require_safe(for_readers(reading.archive))
pdf = require_safe(for_readers(reading.pdf))
in_words = require_safe(for_readers(reading.in_words))
body_with_images = require_POST(for_readers(reading.body_with_images))


@csrf_exempt  # checked by take_answer, after the sign-in and before the answer is recorded
@require_POST
@for_readers
def answer(request: HttpRequest, reader: Reader) -> HttpResponseBase:
    """An answer to the other readers, by a recipient with an account or by the author. Who has an account of the
    organisation itself is no guest: the scanner is for what comes from outside."""
    if not listeners(reader):
        raise Http404
    account = cast("Account", request.user)
    response = take_answer(
        request,
        reader,
        page=lambda why, text: _conversation(request, reader, refusal=why, text=text),
        is_examined=account.organisation_id != reader.conversation.organisation_id,
    )
    if response.status_code < HTTPStatus.BAD_REQUEST:
        _note_answer(account, reader.conversation)
    return response


def _note_answer(account: Account, conversation: Conversation) -> None:
    """Who of those that read a functional mailbox answered as it."""
    try:
        identity, _ = identity_in(account, conversation)
        if identity is not None and identity != account:
            shared.note_answer(conversation, identity, account, portal().now())
    except DatabaseError as cause:  # as in guest_pages: the answer was sent
        log(Broken("noting who answered as a functional mailbox", cause))


@require_POST
@for_readers
def draft(request: HttpRequest, reader: Reader) -> HttpResponse:
    """See :func:`zegel.journey.portal.drafts.save_draft`."""
    return save_draft(request, reader)


def _conversation(
    request: HttpRequest, reader: Reader, *, refusal: Refusal | None = None, text: str = ""
) -> HttpResponse:
    return conversation_page(
        request,
        reader,
        template="portal/inbox_read.html",
        refusal=refusal,
        text=text,
        section="inbox",
        is_author=reader.recipient is None,
        **_states(reader.conversation, reader.recipient),
        **_shared(request, reader),
    )


def _shared(request: HttpRequest, reader: Reader) -> dict[str, Any]:
    """Where it is read as a functional mailbox: as which, and who did."""
    identity, _ = identity_in(cast("Account", request.user), reader.conversation)
    if identity is None or identity == request.user:
        return {}
    return {"mailbox": identity, "read_by": shared.read_by(reader.conversation, identity)}


def _states(conversation: Conversation, recipient: Recipient | None) -> dict[str, Any]:
    """How far it came and what can be done about it, for its author; a reader isn't told how far others are."""
    if recipient is not None:
        return {"recipients": ()}
    now = portal().now()
    return {
        "recipients": full_lines(conversation, now),
        "history": sent.history(conversation),
        "offers": sent.offers(conversation, now),
    }
