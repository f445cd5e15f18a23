"""Reading with an account holder's token (D-10): what the account may read in the portal, by the same check, and noted
as read in the same way. Nothing else has a scope for it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import wraps
from http import HTTPStatus
from typing import Annotated, Final, Self

from django.http import Http404, HttpResponseBase
from django.utils.html import escape
from pydantic import Field

from zegel.accounts import mailboxes
from zegel.accounts.models import Account
from zegel.accounts.tokens import Scope
from zegel.api.answers import Fault, Refused, refused
from zegel.api.operation import Call, Done, Link, Operation, Paged, Told
from zegel.api.paging import part
from zegel.core.mail.mime import Part
from zegel.journey.custody.models import Conversation, Message
from zegel.journey.portal import inbox, reading
from zegel.journey.portal.finding import head_of
from zegel.journey.portal.inert import Inert
from zegel.journey.portal.reader import OpenMessage, Reader
from zegel.journey.portal.setup import portal

MOST_MESSAGES: Final = 500  # of a conversation that are listed


class ConversationsAsked(Paged):
    """Of the list, which part, and whose."""

    limit: int = Field(default=25, ge=1, le=50, description="At most so many: each is opened for its subject.")
    mailbox: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = Field(
        default=None, description="The number of a functional mailbox that the account reads, instead of its own."
    )


class Person(Told):
    """As the message names somebody."""

    name: str
    address: str

    @classmethod
    def of(cls, one: tuple[str, str]) -> Self:
        """A name, which may be empty, and an address."""
        return cls(name=one[0], address=one[1])


class ConversationTold(Told):
    """One conversation."""

    id: uuid.UUID = Field(description="As notifications say it in X-Zegel-Conversation.")
    subject: str | None = Field(description="null: its keys were destroyed.")
    author: str
    is_sent: bool = Field(description="The account wrote it.")
    created_at: datetime
    expires_at: datetime | None


class ConversationList(Told):
    """The newest first."""

    items: list[ConversationTold]
    next: str | None


class MessageLine(Told):
    """A message, without anything that stands in it."""

    id: uuid.UUID
    author: str = Field(description="Whose address.")
    at: datetime


class ConversationWhole(ConversationTold):
    """One conversation with its messages, the first one first. Nothing of them is opened by this."""

    messages: list[MessageLine]


class FileTold(Told):
    """What lies beside a message, or belongs inside it."""

    number: int
    name: str
    type: str = Field(description="As the sender says it.")
    size: int = Field(description="Octets.")
    content_id: str | None = Field(description="Of an image inside the HTML: its address there is cid: and this.")
    is_inline: bool


class MessageTold(Told):
    """A message, opened."""

    id: uuid.UUID
    at: datetime
    author: Person
    to: list[Person]
    cc: list[Person]
    subject: str
    message_id: str
    date: str
    text: str = Field(description="Its text; of one that has HTML alone, the words of it.")
    is_cut: bool = Field(description="There is more text than is shown: see the source.")
    html: str | None = Field(
        description="Its HTML as the portal shows it: no scripts, no forms, nothing from elsewhere. Show it in a frame "
        "without an origin all the same."
    )
    withheld_images: int = Field(description="Images from elsewhere that were taken out.")
    is_encrypted: bool = Field(description="S/MIME or PGP: see the source.")
    attachments: list[FileTold]


# --- who may read ------------------------------------------------------------------------------------------------


def for_readers(answer: Callable[[Call, Reader], Done | HttpResponseBase]) -> Callable[[Call], Done | HttpResponseBase]:
    """As the portal does it: for who may not, it isn't there; what was shown was read, with the account."""

    @wraps(answer)
    def outer(call: Call) -> Done | HttpResponseBase:
        row = (
            Conversation.objects.select_related("author", "organisation").filter(id=call.place["conversation"]).first()
        )
        identity, reads_as = inbox.identity_in(call.account, row) if row is not None else (None, None)
        if row is None or identity is None:
            raise Http404
        if not row.is_open(call.now):
            raise _gone()
        try:
            reader = Reader(row, portal().unsealer.conversation_key(row), reads_as, "inbox", row.id)
            answered = answer(call, reader)
        except reading.UNREADABLE:
            raise _gone() from None
        if reader.shows and call.request.method != "HEAD":
            inbox.note(call.account, identity, row, reads_as, call.now)
        return answered

    return outer


def _gone() -> Refused:
    fault = Fault(field="", reason="Its keys were destroyed: nobody can read it any more.", example="Another one.")
    return refused(HTTPStatus.GONE, "It can't be read any more.", [fault])


# --- lists -------------------------------------------------------------------------------------------------------


def listed(call: Call) -> Done:
    """What the account wrote and what it received to be opened by signing in. Listing is no reading."""
    account = _mailbox(call)
    found = inbox.conversations_of(account)
    rows, following = part(found, "id", limit=call.query.limit, after=call.query.after, newest_first=True)
    return Done(ConversationList(items=[_conversation(row, account) for row in rows], next=following))


def _mailbox(call: Call) -> Account:
    """Raises ``Http404`` for one that the account doesn't read."""
    if call.query.mailbox is None:
        return call.account
    found = next((one for one in mailboxes.read_by(call.account) if one.pk == call.query.mailbox), None)
    if found is None:
        raise Http404
    return found


def _conversation(row: Conversation, account: Account) -> ConversationTold:
    head = head_of(row)
    return ConversationTold(
        id=row.id,
        subject=head.subject if head is not None else None,
        author=row.author.email,
        is_sent=row.author_id == account.pk,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )


@for_readers
def got(call: Call, reader: Reader) -> Done:
    """One conversation."""
    row = reader.conversation
    told = _conversation(row, row.author if reader.recipient is None else call.account)
    rows = Message.objects.filter(conversation=row).select_related("answered_by").order_by("created_at", "id")
    lines = [
        MessageLine(
            id=one.id, author=one.answered_by.address if one.answered_by else row.author.email, at=one.created_at
        )
        for one in rows[:MOST_MESSAGES]
    ]
    return Done(ConversationWhole(**told.model_dump(), messages=lines))


# --- a message ---------------------------------------------------------------------------------------------------


@for_readers
def message(call: Call, reader: Reader) -> Done:
    """One message, opened."""
    opened = reader.message(call.place["message"])
    if opened is None:
        raise Http404
    head, shown, words = opened.head, opened.reading(), opened.in_words()
    inert = opened.inert() if shown.html is not None else None
    files = [(one, False) for one in shown.attachments] + [(one, True) for one in shown.inline]
    return Done(
        MessageTold(
            id=opened.row.id,
            at=opened.row.created_at,
            author=Person(name=head.author, address=head.author_address),
            to=[Person.of(one) for one in head.to],
            cc=[Person.of(one) for one in head.cc],
            subject=head.subject,
            message_id=head.message_id,
            date=head.date,
            text=words.text,
            is_cut=words.is_cut,
            html="".join(_markup(inert)) if inert is not None else None,
            withheld_images=inert.withheld if inert is not None else 0,
            is_encrypted=shown.is_cryptographic,
            attachments=[_file(opened, one, is_inline=is_inline) for one, is_inline in files],
        )
    )


def _markup(inert: Inert) -> Iterator[str]:
    """With the images of the message by their content ids: they are files beside it."""
    for piece in inert.pieces:
        yield piece if isinstance(piece, str) else f'src="cid:{escape(piece.content_id)}"'


def _file(opened: OpenMessage, one: Part, *, is_inline: bool) -> FileTold:
    return FileTold(
        number=opened.number_of(one),
        name=one.name or "",
        type=one.type,
        size=one.decoded_size,
        content_id=one.content_id or None,
        is_inline=is_inline,
    )


@for_readers
def attachment(call: Call, reader: Reader) -> HttpResponseBase:
    """As the portal gives it: as it comes, in parts if asked, and never as something that runs."""
    return reading.part(call.request, reader, call.place["message"], call.place["number"])


@for_readers
def source(call: Call, reader: Reader) -> HttpResponseBase:
    """Likewise."""
    return reading.source(call.request, reader, call.place["message"])


# --- rows --------------------------------------------------------------------------------------------------------

_ONE: Final = "conversations/{conversation}"
_MESSAGE: Final = f"{_ONE}/messages/{{message}}"
_GONE: Final = {HTTPStatus.GONE: "Its keys were destroyed."}
_PARTS: Final = {**_GONE, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "The file has no such part."}

ROWS: Final = (
    Operation(
        "list-conversations",
        "GET",
        "conversations",
        Scope.MESSAGES_READ,
        "The account's conversations.",
        listed,
        ConversationList,
        query=ConversationsAsked,
        refusals={HTTPStatus.NOT_FOUND: "The account reads no such mailbox."},
        links=(Link("get-conversation", "conversation", "/items/0/id"),),
    ),
    Operation(
        "get-conversation",
        "GET",
        _ONE,
        Scope.MESSAGES_READ,
        "One conversation, and which messages it has.",
        got,
        ConversationWhole,
        refusals=_GONE,
    ),
    Operation(
        "read-message",
        "GET",
        _MESSAGE,
        Scope.MESSAGES_READ,
        "Read a message. Its sender is told that it was opened.",
        message,
        MessageTold,
        refusals=_GONE,
    ),
    Operation(
        "get-attachment",
        "GET",
        f"{_MESSAGE}/attachments/{{number}}",
        Scope.MESSAGES_READ,
        "Download an attachment; Range is understood.",
        attachment,
        None,
        also=(HTTPStatus.PARTIAL_CONTENT,),
        gives="*/*",
        refusals=_PARTS,
    ),
    Operation(
        "get-source",
        "GET",
        f"{_MESSAGE}/source",
        Scope.MESSAGES_READ,
        "Download a message as it was sent; Range is understood.",
        source,
        None,
        also=(HTTPStatus.PARTIAL_CONTENT,),
        gives="message/rfc822",
        refusals=_PARTS,
    ),
)
