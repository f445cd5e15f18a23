"""An answer: taken from who may read the conversation, sealed while it comes, told to its other readers."""

from __future__ import annotations

import errno
import hashlib
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Final

from django.contrib import messages
from django.core.exceptions import SuspiciousOperation
from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils.translation import gettext as say
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_protect

from zegel.accounts.policy import answer_limit_of
from zegel.core.mail.address import Mailbox, NotAMailbox
from zegel.core.mail.head import Head
from zegel.core.policy.webhooks import Event
from zegel.edge import chance
from zegel.edge.clamd import Infected, NotExamined
from zegel.edge.log import AnswerNotExamined, Broken, MalwareRefused, log
from zegel.edge.prepared import Prepared
from zegel.journey import milestones
from zegel.journey.custody import outbox
from zegel.journey.custody.models import Content, Conversation, Message, Recipient
from zegel.journey.custody.seal import enclose_message_key
from zegel.journey.portal import drafts
from zegel.journey.portal.composing import Addressed, AnswerMail, Composed, Objection, SealingUpload
from zegel.journey.portal.pages import see_other, wants_json
from zegel.journey.portal.reader import Reader
from zegel.journey.portal.setup import portal

NONCE: Final = "nonce"
TEXT: Final = "text"
FILES: Final = "files"
AGAIN: Final = 120  # seconds until a scanner that was away may be back
Page = Callable[["Refusal", str], HttpResponse]
"""The conversation again, with a refusal and the text that was written."""


class Refusal(Enum):
    """Why an answer was not taken: a sentence, and the status it goes with."""

    EMPTY = (HTTPStatus.UNPROCESSABLE_ENTITY, _("Write an answer or add a file."))
    TOO_LARGE = (
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        _(
            "Your answer was not sent: a file is too large, or the files are too large together. How large they may be "
            "is said below. Choose smaller files, or send them in several answers."
        ),
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
    ARRIVED = (
        HTTPStatus.CONFLICT,
        _(
            "An earlier version of this answer had arrived already. What is written here now was not sent: send it "
            "once more, as an answer of its own, if it is to be read too."
        ),
    )
    INFECTED = (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        _(
            "Your answer was not sent: malware was found in it, and nothing of it was kept. Have your device examined, "
            "and send the answer without the file that is infected."
        ),
    )
    NOT_EXAMINED = (
        HTTPStatus.SERVICE_UNAVAILABLE,
        _(
            "Your answer can't be examined for malware at this moment, so it was not sent. Nothing is wrong with it; "
            "please send it again in a few minutes."
        ),
    )
    NOT_EXAMINABLE = (
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        _("Your answer was not sent: a file is too large to be examined for malware. Choose a smaller file."),
    )

    @property
    def status(self) -> HTTPStatus:
        """For the reply."""
        return self.value[0]

    @property
    def text(self) -> str:
        """In the language of the page."""
        return str(self.value[1])


_OBJECTIONS: Final = {
    Objection.TOO_LARGE: Refusal.TOO_LARGE,
    Objection.INFECTED: Refusal.INFECTED,
    Objection.NOT_EXAMINED: Refusal.NOT_EXAMINED,
    Objection.NOT_EXAMINABLE: Refusal.NOT_EXAMINABLE,
}


def new_nonce() -> uuid.UUID:
    """For a new form. What is sent with it twice is one answer."""
    return chance.identifier()


def limit_for(conversation: Conversation) -> int:
    """Octets of one file of an answer."""
    return min(answer_limit_of(conversation.organisation) or portal().answer_limit, portal().answer_limit)


def take_answer(request: HttpRequest, reader: Reader, *, page: Page, is_examined: bool) -> HttpResponseBase:
    """Takes the answer of a reader who has proven to be one; call it before anything reads ``request.POST``, in a
    view that is ``csrf_exempt``: the token is checked here, once the files were sealed.

    ``is_examined``: the scanner looks at it, where there is one. Whatever goes wrong, nothing of it is left.
    """
    upload = SealingUpload(
        request,
        lambda: begin(reader),
        limit=limit_for(reader.conversation),
        scanner=portal().scanner if is_examined else None,
        tell=lambda found: _tell(reader, found),
    )
    request.upload_handlers = [upload]
    taking = _Taking(request, reader, upload, page)
    try:
        return taking.view(request)
    except (SuspiciousOperation, MultiPartParserError):  # more fields or files than a form has
        return taking.refuse(Refusal.TOO_LARGE, "")
    except UnreadablePostError:
        return taking.refuse(Refusal.INTERRUPTED, "")
    except (OSError, DatabaseError) as cause:
        if not _is_full(cause):
            raise
        log(Broken(where="portal: no space left", cause=cause))
        return taking.refuse(Refusal.FULL, "")
    finally:
        if not taking.is_kept:
            upload.abandon()


def _tell(reader: Reader, found: Infected | NotExamined) -> None:
    match found:
        case Infected(signature=signature):
            log(MalwareRefused(reader.conversation.id, signature))
        case NotExamined(why=why):
            log(AnswerNotExamined(reader.conversation.id, why.value))


@dataclass(slots=True)
class _Taking:
    """One request that answers."""

    request: HttpRequest
    reader: Reader
    upload: SealingUpload
    page: Page
    is_kept: bool = False

    def view(self, request: HttpRequest) -> HttpResponseBase:
        """With the token checked, which reads the whole request."""
        return csrf_protect(self._checked)(request)

    def refuse(self, why: Refusal, text: str) -> HttpResponse:
        """Says why, with what was written, to who may still read what stands around it."""
        if not may_still(self.reader):
            return self._lead_home()
        if wants_json(self.request):
            said = {"refusal": why.text} | ({"nonce": str(new_nonce())} if why is Refusal.ARRIVED else {})
            response: HttpResponse = JsonResponse(said, status=why.status)
        else:
            response = self.page(why, text)
        if why is Refusal.NOT_EXAMINED:
            response["Retry-After"] = str(AGAIN)  # RFC 9110 §10.2.3
        return response

    def _checked(self, request: HttpRequest) -> HttpResponse:
        text, upload = request.POST.get(TEXT, ""), self.upload
        try:
            nonce = uuid.UUID(request.POST.get(NONCE, ""))
        except ValueError:
            nonce = None
        upload.examine_text(text)
        if upload.objection is not None:
            return self.refuse(_OBJECTIONS[upload.objection], text)
        if not upload.is_complete:
            return self.refuse(Refusal.INTERRUPTED, text)
        if nonce is None:
            return self.refuse(Refusal.STALE, text)
        if not text.strip() and not upload.files:
            return self.refuse(Refusal.EMPTY, text)
        return self._record(nonce, text)

    def _record(self, nonce: uuid.UUID, text: str) -> HttpResponse:
        match record(self.reader, nonce, self.upload.mail.finish(text)):
            case Recorded.NOW:
                self.is_kept = True
                return self._done()
            case Recorded.BEFORE if self._is_same(nonce, text):
                return self._done()
            case Recorded.BEFORE:
                return self.refuse(Refusal.ARRIVED, text)
            case Recorded.NOT:
                return self.refuse(Refusal.STALE, text)
            case Recorded.SHUT:
                return self._lead_home()

    def _is_same(self, nonce: uuid.UUID, text: str) -> bool:
        """As what the form was sent with before: its reply was lost, and nobody changed anything since."""
        before = self.reader.message(nonce)
        if before is None:
            return False
        *files, written = (part for part in before.head.parts if not part.type.startswith("multipart/"))
        digests = []
        for part in files:
            digest = hashlib.sha256()
            for octets in before.octets(part):
                digest.update(octets)
            digests.append(digest.digest())
        stored = b"".join(before.octets(written)).decode("utf-8", "replace")
        return digests == self.upload.mail.digests and stored.split() == text.replace("\0", "\ufffd").split()

    def _done(self) -> HttpResponse:
        messages.success(self.request, say("Your answer was sent safely."))
        return self._lead_home()

    def _lead_home(self) -> HttpResponse:
        """To where it is asked anew who may read."""
        home = self.reader.address("read")
        return JsonResponse({"to": home}) if wants_json(self.request) else see_other(home)


def begin(reader: Reader) -> AnswerMail:
    """A message of this reader to the others, without anything in it yet."""
    original = reader.original()
    head = original.head if original else None
    to, cc = _listeners(reader, head)
    addressed = Addressed(
        answerer=_author(reader.conversation, head) if reader.recipient is None else _named(reader.recipient, head),
        to=to,
        cc=cc,
        subject=head.subject if head else "",
        in_reply_to=head.message_id if head else "",
        domain=reader.conversation.author.mailbox.domain.ascii,
        at=portal().now(),
    )
    return AnswerMail(addressed, portal().blobs)


_Mailboxes = tuple[tuple[str, Mailbox], ...]
_REACHED: Final = Prepared(
    lambda conversation: (
        Recipient.objects.filter(conversation_id=conversation, revoked_at=None)
        .exclude(state=Recipient.State.UNDELIVERABLE)
        .order_by("key")
    ),
    conversation=uuid.UUID,
)


def listeners(reader: Reader) -> list[str]:
    """Who will read an answer of this reader, by name or address; the author of the conversation first."""
    original = reader.original()
    to, cc = _listeners(reader, original.head if original else None)
    return [name or str(mailbox) for name, mailbox in (*to, *cc)]


def _listeners(reader: Reader, head: Head | None) -> tuple[_Mailboxes, _Mailboxes]:
    """In a conversation of one Bcc recipient there is nobody but these two."""
    conversation, own = reader.conversation, reader.recipient
    author, names = _author(conversation, head), _names(head)
    others = tuple(
        (names.get(one.key, ""), Mailbox.parse(one.address))
        for one in _REACHED(conversation=conversation.id)
        if one.key != author[1].key and (own is None or one.id != own.id)
    )
    return (others, ()) if own is None else ((author,), others)


def _author(conversation: Conversation, head: Head | None) -> tuple[str, Mailbox]:
    author = conversation.author
    return author.display_name or (head.author if head else ""), author.mailbox


def _named(recipient: Recipient, head: Head | None) -> tuple[str, Mailbox]:
    return answerer_name(recipient, head), Mailbox.parse(recipient.address)


def answerer_name(recipient: Recipient, head: Head | None) -> str:
    """The name that the author wrote beside the address; nothing that the answerer says about itself."""
    return _names(head).get(recipient.key, "")


def _names(head: Head | None) -> dict[str, str]:
    """By key of the mailbox, the first that stands there."""
    names: dict[str, str] = {}
    for name, address in (*head.to, *head.cc) if head else ():
        with suppress(NotAMailbox):
            names.setdefault(Mailbox.parse(address).key, name)
    return names


class Recorded(Enum):
    """What became of an answer."""

    NOW = "now"
    BEFORE = "before"  # the same form was sent before
    NOT = "not"  # the form is somebody else's
    SHUT = "shut"  # the conversation was closed meanwhile, to all or to this reader


def record(reader: Reader, nonce: uuid.UUID, composed: Composed) -> Recorded:
    """The answer, and the word that its readers are to hear of it, in one transaction."""
    sink, now = composed.sink, portal().now()
    own = reader.recipient.id if reader.recipient is not None else None
    with transaction.atomic():
        conversation = Conversation.objects.select_for_update().get(id=reader.conversation.id)
        before = Message.objects.filter(id=nonce).first()
        if before is not None:
            same = before.conversation_id == conversation.id and before.answered_by_id == own
            return Recorded.BEFORE if same and not _is_first(before) else Recorded.NOT
        if not may_still(reader):
            return Recorded.SHUT
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
            answered_by=reader.recipient,
            created_at=now,
        )
        drafts.forget(reader)
        milestones.answered(nonce, now=now)
        if reader.recipient is not None:
            outbox.reached(Event.ANSWERED, [reader.recipient.id], now=now)
        transaction.on_commit(portal().ring)
    return Recorded.NOW


def may_still(reader: Reader) -> bool:
    """What was proven when the request began counts still. Its files can take an hour, and meanwhile the sender may
    have taken the message back, or have allowed another number because that one is a stranger's."""
    conversation, own = Conversation.objects.filter(id=reader.conversation.id).first(), reader.recipient
    if conversation is None or not conversation.is_open(portal().now()):
        return False
    return own is None or Recipient.objects.filter(id=own.id, method=own.method, revoked_at=None).exists()


def _is_first(message: Message) -> bool:
    """It began the conversation, and was no answer."""
    rows = Message.objects.filter(conversation=message.conversation_id).order_by("created_at", "id")
    return rows.values_list("id", flat=True).first() == message.id


def _is_full(cause: Exception) -> bool:
    if isinstance(cause, OSError):
        return cause.errno in (errno.ENOSPC, errno.EDQUOT)
    return "full" in str(cause)
