"""Answers on their way: who hears of one and how; the words for it; the answer itself for who gets mail readable.

Mail about an answer comes from the organisation's own address with the answerer's name, and never from the answerer's
domain, which is not ours to sign for. An ordinary answer to it reaches the author of the conversation.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from zegel.accounts import addresses
from zegel.accounts.look import own_words, palette_of
from zegel.accounts.models import Organisation
from zegel.core.clock import Instant
from zegel.core.mail import compose
from zegel.core.mail.address import Mailbox
from zegel.core.mail.fields import HeaderSection, author
from zegel.core.mail.head import Head
from zegel.core.mail.texts import PLAIN, Answer, AnswerWaits, Mail, Original, answer_mail, answer_waits_mail
from zegel.core.policy.answering import Listener, Reached, Way, way
from zegel.core.policy.precedence import Notify, Plan, Readable, Step, UnknownPlan, plan_from_json
from zegel.core.policy.transport import NO_DEMAND
from zegel.core.policy.verification import Method
from zegel.core.seal.wrap import CannotOpen
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.edge.database import Readers, Writer
from zegel.journey import milestones, steps
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import Leased
from zegel.journey.custody.models import Conversation, Message, Recipient, Transmission
from zegel.journey.custody.unseal import NewLink, Unsealer
from zegel.journey.delivery.direct import Original as OriginalOctets
from zegel.journey.delivery.notify import ZONE, Prepared, language_of, method_word
from zegel.journey.delivery.tasks import ReadableAnswer

AGAIN: Final = timedelta(hours=1)  # until it is looked again how the message arrived with who still waits for it
Kind = Transmission.Kind
_REACHED: Final[dict[str, Reached]] = {
    Recipient.State.ACCEPTED: Reached.WAITING,
    Recipient.State.DECIDED: Reached.WAITING,
    Recipient.State.HELD: Reached.WAITING,
    Recipient.State.NOTIFIED: Reached.ARRIVED,
    Recipient.State.DELIVERED: Reached.ARRIVED,
    Recipient.State.OPENED: Reached.ARRIVED,
    Recipient.State.UNDELIVERABLE: Reached.LOST,
}


@dataclass(frozen=True, slots=True)
class Told:
    """A mail about an answer that is to be made; ``sealed`` where it is written already."""

    id: uuid.UUID
    recipient: Recipient | None  # None: the author
    kind: Transmission.Kind
    address: str
    message_id: str
    sealed: bytes | None = None
    step: Readable | None = None


@dataclass(slots=True)
class _Round:
    """What is to be done about one answer now."""

    told: list[Told] = field(default_factory=list)
    some_wait: bool = False


class Answers:
    """Does the jobs that :func:`zegel.journey.milestones.answered` makes."""

    def __init__(
        self, writer: Writer, readers: Readers, unsealer: Unsealer, *, url: str, now: Callable[[], Instant]
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._unsealer = unsealer
        self._url = url
        self._now = now

    async def answered(self, leased: Leased) -> None:
        """Everybody in the conversation but the answerer hears of the answer once; nobody of what is gone. Where it
        isn't known yet how the message arrives, it is looked again."""
        now = self._now()
        due = await self._readers.read(lambda: self._gather(leased.subject, now))

        def record() -> None:
            if due.some_wait:
                jobs.postpone(leased, until=now + AGAIN)
            else:
                jobs.finish(leased)
            self._make(leased.subject, due.told, now)

        await self._writer.write(record)

    # --- gather ---------------------------------------------------------------------------------------------------

    def _gather(self, answer: uuid.UUID, now: Instant) -> _Round:
        due = _Round()
        message = (
            Message.objects.select_related(
                "content",
                "answered_by",
                "conversation__organisation",
                "conversation__author",
                "conversation__submission",
            )
            .filter(id=answer)
            .first()
        )
        if message is None or not message.conversation.is_open(now):
            return due
        head = self._head(message)
        known = set(Transmission.objects.filter(answer=message).values_list("recipient", flat=True))
        if message.answered_by_id is not None and None not in known:
            due.told += self._for_author(message, head, now)
        if head is None:
            return due
        rows = message.conversation.recipients.filter(revoked_at=None).select_related("submission__account")
        for one in rows.order_by("key"):
            is_other = one.id != message.answered_by_id and one.key != message.conversation.author.key
            if is_other and one.id not in known:
                self._for_recipient(due, message, head, one, now)
        return due

    def _for_recipient(self, due: _Round, message: Message, head: Head, recipient: Recipient, now: Instant) -> None:
        plan = _plan_of(recipient)
        step = plan.steps[recipient.step] if plan is not None and recipient.step < len(plan.steps) else None
        match way(_listener(recipient, step), answered_at=message.created_at):
            case Way.LATER:
                due.some_wait = True
            case Way.READABLE:
                assert isinstance(step, Readable)
                due.told.append(_readable(recipient, head.message_id, step))
            case Way.LINK:
                due.told.append(_word(message, recipient))
            case Way.INBOX:
                told = _word(message, recipient)
                link = Secret(f"{self._url}/inbox/{message.conversation_id}/")
                octets = words_of(told.message_id, message, recipient, head, link=link, at=now)
                if octets is not None:
                    due.told.append(self._sealed(told, octets))
            case Way.NOTHING:
                pass

    def _for_author(self, message: Message, head: Head | None, now: Instant) -> list[Told]:
        """That an answer waits, not what it says; an answer to it by mail goes to the answerer, as a new message."""
        conversation = message.conversation
        assert message.answered_by is not None
        own = addresses.own_address(conversation.organisation)
        if own is None:
            return []
        organisation, number = conversation.organisation, chance.identifier()
        to = conversation.author
        answerer, name = Mailbox.parse(message.answered_by.address), compose.writable(head.author) if head else ""
        is_shown = organisation.subject == Organisation.Subject.SHOWN
        told = Answer(
            answerer_display=name,
            answerer_address=answerer,
            organisation=organisation.name,
            link=Secret(f"{self._url}/inbox/{conversation.id}/"),
            original=Original(conversation.created_at, Secret(head.subject) if head and is_shown else None),
        )
        message_id = f"<{number.hex}@{own.domain}>"
        octets = _written(
            answer_mail(told, addresses.language_of(to, organisation), zone=ZONE),
            message_id,
            conversation,
            author=(name or organisation.name, own),
            to=to.mailbox,
            answers_go_to=answerer,
            at=now,
            thread=conversation.submission.message_id,
        )
        return [self._sealed(Told(number, None, Kind.NOTICE, to.email, message_id), octets)]

    def _sealed(self, told: Told, octets: bytes) -> Told:
        sealed = self._unsealer.wrap_field(octets, name="transmission", owner=told.id)
        return replace(told, sealed=sealed)

    def _head(self, message: Message) -> Head | None:
        """``None``: the gateway has no way in any more. Then the author alone is told: no link can be made either."""
        try:
            return head_of(message, self._unsealer)
        except (CannotOpen, FileNotFoundError):
            return None

    # --- record ---------------------------------------------------------------------------------------------------

    @staticmethod
    def _make(answer: uuid.UUID, told: Sequence[Told], now: Instant) -> None:
        """Inside the writer's transaction."""
        message = Message.objects.select_related("conversation").filter(id=answer).first() if told else None
        if message is None or not message.conversation.is_open(now):
            return
        for one in told:
            transmission(message, one, now=now).save(force_insert=True)
        milestones.decided([one.id for one in told], now=now)


def transmission(message: Message, told: Told, *, now: Instant, number_of_step: int | None = None) -> Transmission:
    """To be saved inside a transaction."""
    conversation, recipient = message.conversation, told.recipient
    needs = told.step.needs if told.step is not None else NO_DEMAND
    begins_at = recipient.step if recipient is not None else 0
    return Transmission(
        id=told.id,
        organisation_id=conversation.organisation_id,
        submission_id=recipient.submission_id if recipient is not None else conversation.submission_id,
        recipient=recipient,
        answer=message,
        kind=told.kind,
        step=begins_at if number_of_step is None else number_of_step,
        reverse_path=steps.return_path(told.id, recipient.submission.account.mailbox.domain) if recipient else "",
        address=told.address,
        message_id=told.message_id,
        sealed=told.sealed,
        needs_tls=int(needs.tls),
        needs_authentication=int(needs.authentication),
        created_at=now,
    )


def fall_back(transmission_id: uuid.UUID, *, now: Instant) -> None:
    """Inside a transaction: an answer could not travel by its step; it goes by the next one of the recipient's plan, as
    the message would have. Nobody is told where there is none: who answered sees the answer in the conversation."""
    failed = Transmission.objects.select_related("answer__conversation__author", "recipient__submission__account").get(
        id=transmission_id
    )
    message, recipient = failed.answer, failed.recipient
    plan = _plan_of(recipient) if recipient is not None else None
    if message is None or recipient is None or plan is None or failed.step + 1 >= len(plan.steps):
        return
    number_of_step = failed.step + 1
    step = plan.steps[number_of_step]
    match step:
        case Readable():
            told = _readable(recipient, failed.message_id, step)
        case Notify():
            steps.await_verification(recipient, step)
            told = _word(message, recipient)
        case _:
            return
    transmission(message, told, now=now, number_of_step=number_of_step).save(force_insert=True)
    milestones.decided([told.id], now=now)


def _readable(recipient: Recipient, message_id: str, step: Readable) -> Told:
    """The answer itself; ``message_id``: its own."""
    return Told(chance.identifier(), recipient, Kind.READABLE_ANSWER, recipient.address, message_id, step=step)


def _word(message: Message, recipient: Recipient) -> Told:
    """Word that an answer waits."""
    number, domain = chance.identifier(), message.conversation.author.mailbox.domain.ascii
    return Told(number, recipient, Kind.ANSWER, recipient.address, f"<{number.hex}@{domain}>")


def head_of(message: Message, unsealer: Unsealer) -> Head:
    """Of an answer (with its conversation and content). Raises ``CannotOpen``."""
    key = unsealer.message_key(message, unsealer.conversation_key(message.conversation))
    return unsealer.head(message.content, key)


def _plan_of(recipient: Recipient) -> Plan | None:
    try:
        return plan_from_json(recipient.plan) if recipient.plan is not None else None
    except UnknownPlan:
        return None


def _listener(recipient: Recipient, step: Step | None) -> Listener:
    method = Method(recipient.method) if recipient.method in {one.value for one in Method} else None
    return Listener(_REACHED[recipient.state], step, method, recipient.delivered_at)


# --- the words ----------------------------------------------------------------------------------------------------


def prepare(transmission_id: uuid.UUID, *, unsealer: Unsealer, url: str, at: Instant) -> Prepared:
    """Composes the word of an answer, with a new link behind the recipient's present method. Raises ``CannotOpen`` for
    what was destroyed, or can't be told of."""
    transmission = Transmission.objects.select_related(
        "recipient", "answer__content", "answer__conversation__organisation", "answer__conversation__author"
    ).get(id=transmission_id)
    message, recipient = transmission.answer, transmission.recipient
    assert message is not None and recipient is not None
    head = head_of(message, unsealer)
    link: NewLink = unsealer.make_link(recipient, unsealer.conversation_key(message.conversation))
    shown = Secret(f"{url}/m/{link.token.reveal()}")
    octets = words_of(transmission.message_id, message, recipient, head, link=shown, at=at)
    if octets is None:
        raise CannotOpen("there is no address to tell of it from")
    wrapped = unsealer.wrap_field(octets, name="transmission", owner=transmission.id)
    return Prepared(octets, wrapped, link)


def words_of(
    message_id: str, message: Message, recipient: Recipient, head: Head, *, link: Secret[str], at: Instant
) -> bytes | None:
    """The mail for another recipient; ``None`` for an organisation that has no address to send it from."""
    conversation = message.conversation
    organisation, sender = conversation.organisation, conversation.author
    own = addresses.own_address(organisation)
    if own is None:
        return None
    told = AnswerWaits(
        answerer_display=compose.writable(head.author),
        answerer_address=Mailbox.parse(head.author_address),
        sender_display=sender.display_name,
        sender_address=sender.mailbox,
        organisation=organisation.name,
        link=link,
        expires=conversation.expires_at,
        subject=Secret(compose.writable(head.subject)) if organisation.subject == Organisation.Subject.SHOWN else None,
        method=method_word(Method(recipient.method)),
        masked=recipient.masked or None,
        is_anonymous=organisation.subject == Organisation.Subject.HIDDEN,
        palette=palette_of(organisation) or PLAIN,
        own=own_words(organisation, language_of(organisation)),
    )
    return _written(
        answer_waits_mail(told, language_of(organisation), zone=ZONE),
        message_id,
        conversation,
        author=(told.answerer_display or organisation.name, own),
        to=Mailbox.parse(recipient.address),
        answers_go_to=sender.mailbox,
        at=at,
    )


def _written(
    words: Mail,
    message_id: str,
    conversation: Conversation,
    *,
    author: tuple[str, Mailbox],
    to: Mailbox,
    answers_go_to: Mailbox,
    at: Instant,
    thread: str = "",
) -> bytes:
    """``thread``: Message-ID of what the reader has in the mailbox already."""
    fields = [("X-Zegel-Conversation", conversation.id.hex)]  # D-10
    if str(answers_go_to).isascii():
        fields.append(("Reply-To", f"<{answers_go_to}>"))
    if thread.isascii() and thread.isprintable() and 0 < len(thread) < _LONGEST_THREAD:
        fields += [("In-Reply-To", thread), ("References", thread)]
    return compose.compose(
        author=author,
        to=to,
        subject=words.subject,
        text=words.text,
        html=words.html,
        message_id=message_id,
        at=at,
        fields=tuple(fields),
        boundary=f"zegel-{chance.nonce().hex()}",
    )


_LONGEST_THREAD: Final = 900


# --- the answer itself --------------------------------------------------------------------------------------------


def header_for(found: OriginalOctets, leaves: ReadableAnswer) -> bytes:
    """The header section of an answer as it leaves: from the organisation's own address with the name of who answered,
    else that address as a name; everything else as it is sealed, Message-ID and References too."""
    header = b"".join(found.octets(0, found.content.header_size))
    section = HeaderSection.parse(header.removesuffix(b"\r\n"))
    answerer = author(section)
    name = compose.writable(answerer.display) or str(answerer.mailbox)
    fields = compose.address("From", name, leaves.own) + compose.address("Reply-To", "", leaves.answers_go_to)
    return fields + section.without({"from", "reply-to", "sender"}).encode() + b"\r\n"
