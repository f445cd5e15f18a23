"""What we write in mail for recipients: the notification with its link, and the words for a file that is too large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from zegel.accounts.look import own_words, palette_of
from zegel.accounts.models import Organisation
from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.mail.compose import compose, writable
from zegel.core.mail.mime import Part
from zegel.core.mail.texts import PLAIN, Language, LargeFile, Notification, large_file_text, notification_mail
from zegel.core.mail.texts import Method as MethodWord
from zegel.core.policy.verification import Method
from zegel.core.seal.wrap import CannotOpen
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.journey.custody.models import Conversation, Transmission
from zegel.journey.custody.unseal import NewLink, Unsealer
from zegel.journey.delivery.direct import Cut, stand_in
from zegel.journey.delivery.tasks import Addressee, Outgoing

ZONE: Final = ZoneInfo("Europe/Amsterdam")
_WORDS: Final[dict[Method, MethodWord]] = {
    Method.ACCOUNT: "account",
    Method.SMS: "sms",
    Method.ACCESS_CODE: "access_code",
    Method.EMAIL: "email",
}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A notification that waits to be stored: the mail, the same wrapped, and the recipient's half of the link in it
    alone."""

    octets: bytes
    wrapped: bytes
    link: NewLink


def prepare(transmission: Outgoing, recipient: Addressee, *, unsealer: Unsealer, url: str, at: Instant) -> Prepared:
    """Composes the notification of its recipient, about the message that began the conversation, and makes its link.
    Asks the database nothing. Raises ``CannotOpen`` for a destroyed message."""
    conversation, message = recipient.conversation, recipient.message
    if message is None:
        raise CannotOpen("there is no message")
    key = unsealer.conversation_key(conversation)
    head = unsealer.head(message.content, unsealer.message_key(message, key))
    link = unsealer.make_link(recipient, key)
    organisation = conversation.organisation
    language = language_of(organisation)
    author, display = Mailbox.parse(head.author_address), writable(head.author)
    told = Notification(
        sender_display=display,
        sender_address=author,
        organisation=organisation.name,
        link=Secret(f"{url}/m/{link.token.reveal()}"),
        expires=conversation.expires_at,
        subject=Secret(writable(head.subject)) if organisation.subject == Organisation.Subject.SHOWN else None,
        method=_WORDS[Method(recipient.method)],
        masked=recipient.masked or None,
        is_anonymous=organisation.subject == Organisation.Subject.HIDDEN,
        is_reminder=transmission.kind == Transmission.Kind.REMINDER,
        palette=palette_of(organisation) or PLAIN,
        own=own_words(organisation, language),
    )
    words = notification_mail(told, language, zone=ZONE)
    octets = compose(
        author=(display, author),
        to=Mailbox.parse(transmission.address),
        subject=words.subject,
        text=words.text,
        html=words.html,
        message_id=transmission.message_id,
        at=at,
        boundary=f"zegel-{chance.nonce().hex()}",
        fields=(("X-Zegel-Conversation", conversation.id.hex),),  # D-10
    )
    wrapped = unsealer.wrap_field(octets, name="transmission", owner=transmission.id)
    return Prepared(octets, wrapped, link)


def method_word(method: Method) -> MethodWord:
    """As the texts name it."""
    return _WORDS[method]


class _Speaking(Protocol):
    """An organisation, or what was read of it."""

    @property
    def language(self) -> str: ...


def language_of(organisation: _Speaking) -> Language:
    """The organisation's language, as far as there are texts in it."""
    return "en" if organisation.language == "en" else "nl"


def cut(part: Part, link: Secret[str], conversation: Conversation) -> Cut:
    """A part that became a link, with the words that stand in its place."""
    told = LargeFile(part.name or "", part.decoded_size, link, conversation.expires_at)
    return Cut(part, stand_in(large_file_text(told, language_of(conversation.organisation), zone=ZONE)))
