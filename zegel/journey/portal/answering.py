"""An answer: taken from who passed the verification, sealed while it comes, told to the author."""

from __future__ import annotations

import errno
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Final

from django.core.exceptions import SuspiciousOperation
from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_protect

from zegel.accounts.addresses import own_mailbox
from zegel.accounts.models import Account, Organisation, SendingDomain
from zegel.core.mail.address import Mailbox, NotAMailbox
from zegel.core.mail.compose import compose
from zegel.core.mail.head import Head
from zegel.core.mail.texts import Answer, Language, Original, answer_mail
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.edge.log import Broken, log
from zegel.journey import milestones
from zegel.journey.custody.models import Content, Conversation, Message, Recipient, Transmission
from zegel.journey.custody.seal import enclose_message_key, wrap_field
from zegel.journey.portal.composing import Addressed, AnswerMail, Composed, SealingUpload
from zegel.journey.portal.guests import is_open
from zegel.journey.portal.reader import Reader
from zegel.journey.portal.setup import portal

NONCE: Final = "nonce"
TEXT: Final = "text"
FILES: Final = "files"
Refuse = Callable[["Refusal", str], HttpResponse]


class Refusal(Enum):
    """Why an answer was not taken: a sentence, and the status it goes with."""

    EMPTY = (HTTPStatus.UNPROCESSABLE_ENTITY, _("Write an answer or add a file."))
    TOO_LARGE = (
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        _("Your answer is too large and was not sent. Send fewer or smaller files at a time."),
    )
    INTERRUPTED = (
        HTTPStatus.BAD_REQUEST,
        _("The connection broke before all of your answer was here. Nothing was sent; please try again."),
    )
    FULL = (
        HTTPStatus.INSUFFICIENT_STORAGE,
        _("There is no room for your answer at this moment. Nothing was sent; please try again later."),
    )
    STALE = (HTTPStatus.UNPROCESSABLE_ENTITY, _("This form can't be used any more. Please send your answer again."))

    @property
    def status(self) -> HTTPStatus:
        """For the reply."""
        return self.value[0]

    @property
    def text(self) -> str:
        """In the language of the page."""
        return str(self.value[1])


def new_nonce() -> uuid.UUID:
    """For a new form. What is sent with it twice is one answer."""
    return chance.identifier()


def take_answer(
    request: HttpRequest, reader: Reader, *, done: Callable[[], HttpResponse], refuse: Refuse
) -> HttpResponseBase:
    """Takes the answer of a reader who has proven to be one; call it before anything reads ``request.POST``, in a
    view that is ``csrf_exempt``: the token is checked here, once the files were sealed.

    Whatever goes wrong, nothing of it is left.
    """
    recipient = reader.recipient
    assert recipient is not None
    upload = SealingUpload(request, lambda: _begin(reader, recipient), limit=portal().answer_limit)
    request.upload_handlers = [upload]
    taking = _Taking(reader, recipient, upload, done, refuse)
    try:
        return taking.view(request)
    except (SuspiciousOperation, MultiPartParserError):  # more fields or files than a form has
        return refuse(Refusal.TOO_LARGE, "")
    except UnreadablePostError:
        return refuse(Refusal.INTERRUPTED, "")
    except (OSError, DatabaseError) as cause:
        if not _is_full(cause):
            raise
        log(Broken(where="portal: no space left", cause=cause))
        return refuse(Refusal.FULL, "")
    finally:
        if not taking.is_kept:
            upload.abandon()


@dataclass(slots=True)
class _Taking:
    """One request that answers."""

    reader: Reader
    recipient: Recipient
    upload: SealingUpload
    done: Callable[[], HttpResponse]
    refuse: Refuse
    is_kept: bool = False

    def view(self, request: HttpRequest) -> HttpResponseBase:
        """With the token checked, which reads the whole request."""
        return csrf_protect(self._checked)(request)

    def _checked(self, request: HttpRequest) -> HttpResponse:
        text, upload = request.POST.get(TEXT, ""), self.upload
        try:
            nonce = uuid.UUID(request.POST.get(NONCE, ""))
        except ValueError:
            nonce = None
        if upload.is_too_large:
            return self.refuse(Refusal.TOO_LARGE, text)
        if not upload.is_complete:
            return self.refuse(Refusal.INTERRUPTED, text)
        if nonce is None:
            return self.refuse(Refusal.STALE, text)
        if not text.strip() and not upload.files:
            return self.refuse(Refusal.EMPTY, text)
        return self._record(nonce, text)

    def _record(self, nonce: uuid.UUID, text: str) -> HttpResponse:
        composed = self.upload.mail.finish(text)
        original = self.reader.original()
        match record(self.reader, self.recipient, nonce, composed, original.head if original else None):
            case Recorded.NOW:
                self.is_kept = True
                return self.done()
            case Recorded.BEFORE:
                return self.done()
            case Recorded.NOT:
                return self.refuse(Refusal.STALE, text)


def _begin(reader: Reader, recipient: Recipient) -> AnswerMail:
    conversation, original = reader.conversation, reader.original()
    author = conversation.author
    addressed = Addressed(
        answerer=(answerer_name(recipient, original.head if original else None), Mailbox.parse(recipient.address)),
        author=(author.display_name or (original.head.author if original else ""), author.mailbox),
        subject=original.head.subject if original else "",
        in_reply_to=original.head.message_id if original else "",
        domain=author.mailbox.domain.ascii,
        at=portal().now(),
    )
    return AnswerMail(addressed, portal().blobs)


def answerer_name(recipient: Recipient, head: Head | None) -> str:
    """The name that the author wrote beside the address; nothing that the answerer says about itself."""
    shown = (*head.to, *head.cc) if head else ()
    return next((name for name, address in shown if _is_of(address, recipient)), "")


def _is_of(address: str, recipient: Recipient) -> bool:
    try:
        return Mailbox.parse(address).key == recipient.key
    except NotAMailbox:
        return False


class Recorded(Enum):
    """What became of an answer."""

    NOW = "now"
    BEFORE = "before"  # the same form was sent before
    NOT = "not"  # the form is somebody else's, or the conversation was closed meanwhile


def record(reader: Reader, recipient: Recipient, nonce: uuid.UUID, composed: Composed, head: Head | None) -> Recorded:
    """The answer, and the mail that tells the author, in one transaction."""
    sink, now = composed.sink, portal().now()
    notice = _notice(reader, recipient, head)
    with transaction.atomic():
        conversation = Conversation.objects.select_for_update().get(id=reader.conversation.id)
        before = Message.objects.filter(id=nonce).first()
        if before is not None:
            same = before.conversation_id == conversation.id and before.answered_by_id == recipient.id
            return Recorded.BEFORE if same else Recorded.NOT
        if not is_open(conversation, now):
            return Recorded.NOT
        content = Content.objects.create(
            id=sink.id,
            size=sink.size,
            header_size=composed.header_size,
            sealed=composed.sealed,
            head=composed.head,
            created_at=now,
        )
        Message.objects.create(
            id=nonce,
            conversation=conversation,
            content=content,
            key=enclose_message_key(sink.message_key, reader.key, nonce),
            answered_by=recipient,
            created_at=now,
        )
        if notice is not None:
            notice.save(force_insert=True)
            milestones.answered([notice.id], now=now)
            transaction.on_commit(portal().ring)
    return Recorded.NOW


def _notice(reader: Reader, recipient: Recipient, head: Head | None) -> Transmission | None:
    """The mail to the author: that an answer waits, not what it says. From the organisation's own address, with the
    answerer's name. ``None`` for an organisation without an address: the answer is in the inbox all the same."""
    conversation, now = reader.conversation, portal().now()
    organisation, author = conversation.organisation, conversation.author
    try:
        _name, own = own_mailbox(organisation)
    except SendingDomain.DoesNotExist:
        return None
    name = answerer_name(recipient, head)
    shows_subject = organisation.subject == Organisation.Subject.SHOWN and head is not None
    told = Answer(
        answerer_display=name,
        answerer_address=Mailbox.parse(recipient.address),
        organisation=organisation.name,
        link=Secret(f"{portal().url.rstrip('/')}/inbox/{conversation.id}/"),
        original=Original(conversation.created_at, Secret(head.subject) if shows_subject and head else None),
    )
    words = answer_mail(told, _language_of(author, organisation), zone=timezone.get_default_timezone())
    transmission = chance.identifier()
    message_id = f"<{transmission.hex}@{own.domain}>"
    mail = compose(
        author=(name or organisation.name, own),
        to=author.mailbox,
        subject=words.subject,
        text=words.text,
        html=words.html,
        message_id=message_id,
        at=now,
        fields=(("X-Zegel-Conversation", conversation.id.hex),),
        boundary=f"=_{secrets.token_hex(16)}",
    )
    return Transmission(
        id=transmission,
        organisation=organisation,
        kind=Transmission.Kind.NOTICE,
        reverse_path="",
        address=author.email,
        message_id=message_id,
        sealed=wrap_field(mail, name="transmission", owner=transmission, to=portal().keys.sealing),
        created_at=now,
    )


def _language_of(author: Account, organisation: Organisation) -> Language:
    return "nl" if (author.language or organisation.language).startswith("nl") else "en"


def _is_full(cause: Exception) -> bool:
    if isinstance(cause, OSError):
        return cause.errno in (errno.ENOSPC, errno.EDQUOT)
    return "full" in str(cause)
