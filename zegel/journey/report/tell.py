"""Reports (RFC 3464) to the reverse-path, and notices to the author. Never content, never a number or a code."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, cast
from zoneinfo import ZoneInfo

from django.db.models import F, Q

from zegel.accounts.addresses import own_mailbox
from zegel.accounts.models import Organisation
from zegel.core.clock import Duration, Instant
from zegel.core.mail.address import Domain, Mailbox, NotADomain, parse_reverse_path
from zegel.core.mail.bounce import status_within
from zegel.core.mail.compose import compose
from zegel.core.mail.dsn import Action, Report, ReportedRecipient, Sentences, compose_report, report_to, wants
from zegel.core.mail.texts import (
    AssumedTransport,
    CodeWithheld,
    Held,
    HeldRecipient,
    Language,
    Mail,
    NoFallBack,
    Oddity,
    Original,
    StrayAddress,
    TransportForbidden,
    Unread,
    Warned,
    code_withheld_mail,
    held_mail,
    unread_mail,
    warning_mail,
)
from zegel.core.mail.texts import Method as MethodWord
from zegel.core.policy.conversation import SAME_SUBMISSION_WINDOW
from zegel.core.policy.directives import ControlField, Directives, DirectiveWarning, from_json_bytes, unmatched
from zegel.core.policy.ended import Ended, wording_of
from zegel.core.policy.holding import Over, Tell, Wait, ends_at, holding
from zegel.core.policy.precedence import (
    Hold,
    UnknownPlan,
    asked_more_than_allowed,
    plan_from_json,
    replay,
)
from zegel.core.policy.retry import NOTIFICATION_RETRIES
from zegel.core.policy.verification import Method
from zegel.core.seal.wrap import CannotOpen
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.edge.database import Readers, Writer
from zegel.edge.log import RecipientUndeliverable, log
from zegel.journey import milestones, steps
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import Leased
from zegel.journey.custody.models import Attempt, Confirmation, Conversation, Recipient, Submission, Transmission
from zegel.journey.custody.unseal import Unsealer

ZONE: Final = ZoneInfo("Europe/Amsterdam")
AFTER_LAST: Final = timedelta(minutes=1)  # the last decision about who was held is made by then


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A mail that is to be told, before it becomes a transmission."""

    organisation: Organisation
    submission: Submission
    kind: Transmission.Kind
    to: Mailbox
    octets: bytes
    message_id: str


@dataclass(frozen=True, slots=True)
class _Look:
    """What is due for the held recipients of a submission."""

    outgoing: Outgoing | None
    told: Sequence[uuid.UUID]
    waiting: Sequence[uuid.UUID]  # for a decision that may be their last
    gone: Sequence[uuid.UUID]  # nothing of their message is left
    again_at: Instant | None  # None: nobody is held any more


class Telling:
    """Does the jobs after which a sender is to hear something."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        unsealer: Unsealer,
        *,
        hostname: str,
        url: str,
        now: Callable[[], Instant],
        give_up_after: Duration = NOTIFICATION_RETRIES.give_up_after,
    ) -> None:
        """``give_up_after``: how long mail is tried, as reports of a delay say."""
        self._writer = writer
        self._readers = readers
        self._unsealer = unsealer
        self._hostname = hostname
        self._url = url
        self._now = now
        self._give_up_after = give_up_after

    async def report(self, leased: Leased) -> None:
        """A recipient can't be served: the reverse-path gets a report, unless it is null or asked for none."""
        await self._tell(leased, await self._readers.read(lambda: self._report(leased)))
        log(RecipientUndeliverable(leased.subject))

    async def delayed(self, leased: Leased) -> None:
        """A recipient is still being tried after hours; the reverse-path hears of it, unless it asked not to."""
        await self._tell(leased, await self._readers.read(lambda: self._report(leased, "delayed")))

    async def relayed(self, leased: Leased) -> None:
        """The receiving server took the mail, and the reverse-path asked to hear of it (RFC 3461 §5.2.2)."""
        await self._tell(leased, await self._readers.read(lambda: self._report(leased, "relayed")))

    async def confirmed(self, leased: Leased) -> None:
        """The receiving server reported success, for which the reverse-path asked (RFC 3461 §4.1)."""
        await self._tell(leased, await self._readers.read(lambda: self._confirmed(leased)))

    async def unread(self, leased: Leased) -> None:
        """Recipients were reminded of a message that they did not open: its author hears of it once."""
        now = self._now()
        told, outgoing = await self._readers.read(lambda: self._unread(leased))

        def record() -> None:
            jobs.finish(leased)
            if outgoing is not None and Recipient.objects.filter(id__in=told, opened_at=None).update(told_at=now):
                self._send(outgoing)

        await self._writer.write(record)

    async def warn(self, leased: Leased) -> None:
        """What is odd about the control fields of a message, in one mail to its author (D-4); what the policy forbids
        of it, where that is decided later, in another."""
        outgoing, now = await self._readers.read(lambda: self._warning(leased)), self._now()

        def record() -> None:
            jobs.finish(leased)
            Submission.objects.filter(id=leased.subject, warned_at=None).update(warned_at=now)
            if outgoing is not None:
                self._send(outgoing)

        await self._writer.write(record)

    async def held(self, leased: Leased) -> None:
        """Recipients of a submission lack what policy demands: its author is told, told again, and then gets reports
        (D-6). At each look they are decided again, in case what they lack became known otherwise; the look after the
        term has it done for the last time."""
        now = self._now()
        look = await self._readers.read(lambda: self._look_at_held(leased, now))

        def record() -> None:
            if look.again_at is None:
                jobs.finish(leased)
            else:
                jobs.postpone(leased, until=look.again_at)
            _end_hold(look.gone, now)
            told = Recipient.objects.filter(id__in=look.told, state=Recipient.State.HELD).update(told_at=now)
            milestones.still_held(look.waiting, now=now)
            if look.outgoing is not None and told:
                self._send(look.outgoing)

        await self._writer.write(record)

    async def code_withheld(self, leased: Leased) -> None:
        """A recipient asked for a code whose mail could not travel as securely as demanded."""
        await self._tell(leased, await self._readers.read(lambda: self._withheld(leased)))

    async def _tell(self, leased: Leased, outgoing: Outgoing | None) -> None:
        def record() -> None:
            jobs.finish(leased)
            if outgoing is not None:
                self._send(outgoing)

        await self._writer.write(record)

    def _send(self, outgoing: Outgoing) -> None:
        identity, now = chance.identifier(), self._now()
        sealed = self._unsealer.wrap_field(outgoing.octets, name="transmission", owner=identity)
        Transmission.objects.create(
            id=identity,
            organisation=outgoing.organisation,
            submission=outgoing.submission,
            kind=outgoing.kind,
            address=str(outgoing.to),
            message_id=outgoing.message_id,
            sealed=sealed,
            created_at=now,
        )
        milestones.decided([identity], now=now)

    # --- reports --------------------------------------------------------------------------------------------------

    def _confirmed(self, leased: Leased) -> Outgoing | None:
        found = Confirmation.objects.filter(recipient=leased.subject).exclude(action="").first()
        return self._report(leased, cast(Action, found.action), found) if found is not None else None

    def _report(
        self, leased: Leased, action: Action = "failed", confirmation: Confirmation | None = None
    ) -> Outgoing | None:
        recipient = Recipient.objects.select_related(
            "submission__account", "submission__organisation", "conversation"
        ).get(id=leased.subject)
        submission = recipient.submission
        to = report_to(parse_reverse_path(submission.reverse_path))
        if to is None or not wants(frozenset(filter(None, recipient.notify.split(","))), action):
            return None
        last = _last_attempt(recipient)
        if action == "delayed" and not _is_delayed(recipient, last):  # it ended meanwhile
            return None
        _, author = own_mailbox(submission.organisation)
        message_id = _message_id(author)
        report = Report(
            to=to,
            about=(self._about(action, recipient, last, confirmation),),
            original_header=self._header(recipient.conversation),
            reporting_mta=_host(self._hostname, author),
            arrival=submission.accepted_at,
            original_envelope_id=submission.envelope_id or None,
        )
        octets = compose_report(report, author=author, boundary=_boundary(), message_id=message_id, at=self._now())
        return Outgoing(submission.organisation, submission, Transmission.Kind.REPORT, to, octets, message_id)

    def _about(
        self, action: Action, recipient: Recipient, last: Attempt | None, confirmation: Confirmation | None
    ) -> ReportedRecipient:
        if confirmation is not None:
            return _confirmed(recipient, action, confirmation)
        match action:
            case "failed":
                return _failed(recipient, last)
            case "delayed":
                return _delayed(recipient, last, self._give_up_after)
            case _:
                return _relayed(recipient, last)

    def _header(self, conversation: Conversation) -> bytes:
        """The header section as stored: control fields and Bcc were never in it."""
        try:
            message = conversation.messages.select_related("content").order_by("created_at", "id")[0]
            key = self._unsealer.message_key(message, self._unsealer.conversation_key(conversation))
            return b"".join(self._unsealer.octets(message.content, key, 0, message.content.header_size))
        except (CannotOpen, IndexError, FileNotFoundError):
            return b""  # expired meanwhile: the sender is told all the same

    # --- notices --------------------------------------------------------------------------------------------------

    def _warning(self, leased: Leased) -> Outgoing | None:
        submission = Submission.objects.select_related("account", "organisation").get(id=leased.subject)
        halves = tuple(self._halves(submission))
        oddities = self._oddities(submission, halves)
        earlier = (half for half in halves if (half.accepted_at, half.id) < (submission.accepted_at, submission.id))
        # Of another half that one's warning is the one.
        if submission.warned_at is not None or any(self._oddities(half, halves) for half in earlier):
            oddities = ()
        oddities = (*oddities, *_forbidden(submission))
        if not oddities:
            return None
        words = warning_mail(Warned(Original(submission.accepted_at), oddities), _language(submission), zone=ZONE)
        return self._notice(submission, words)

    @staticmethod
    def _halves(submission: Submission) -> Iterable[Submission]:
        """The transactions that brought the same message (D-4), this one included."""
        return Submission.objects.filter(
            organisation=submission.organisation,
            account=submission.account,
            identity=submission.identity,
            accepted_at__gt=submission.accepted_at - SAME_SUBMISSION_WINDOW,
            accepted_at__lt=submission.accepted_at + SAME_SUBMISSION_WINDOW,
        )

    def _oddities(self, submission: Submission, halves: Sequence[Submission]) -> tuple[Oddity, ...]:
        directives = self._directives(submission)
        addresses = Recipient.objects.filter(
            Q(submission__in=halves) | Q(conversation__submission__in=halves)
        ).values_list("address", flat=True)
        served = {Mailbox.parse(one) for one in addresses}
        strays = (StrayAddress(ControlField.ACCESS_RIGHT.value, one) for one in unmatched(directives, served))
        return (*(_oddity(one) for one in directives.warnings), *strays)

    # --- held recipients ------------------------------------------------------------------------------------------

    def _look_at_held(self, leased: Leased, now: Instant) -> _Look:
        recipients = list(
            Recipient.objects.select_related("conversation", "submission__account", "submission__organisation")
            .filter(submission=leased.subject, state=Recipient.State.HELD)
            .order_by("key")
        )
        gone = [one for one in recipients if not one.conversation.is_open(now)]
        waiting = [one for one in recipients if one not in gone]
        due = [(one, holding(one.decided_at or now, one.told_at, term=_term(one), now=now)) for one in waiting]
        told = [one for one, what in due if isinstance(what, Tell)]
        is_first = any(what.is_first for _, what in due if isinstance(what, Tell))
        still = [one for one, what in due if not isinstance(what, Over)]
        return _Look(
            outgoing=self._held_notice(still, is_first=is_first) if told else None,
            told=[one.id for one in told],
            waiting=[one.id for one in waiting],
            gone=[one.id for one in gone],
            again_at=min((_again_at(one, what, now) for one, what in due), default=None),
        )

    def _held_notice(self, recipients: Sequence[Recipient], *, is_first: bool) -> Outgoing:
        """About all who are held, also those of whom the author heard before: one page mends them all."""
        submission = recipients[0].submission
        told = Held(
            recipients=tuple(
                HeldRecipient(Mailbox.parse(one.address), tuple(_WORDS[method] for method in _lacking(one)))
                for one in recipients
            ),
            organisation=submission.organisation.name,
            original=Original(submission.accepted_at),
            until=min(_ends_at(one) for one in recipients),
            link=Secret(f"{self._url}/held/{submission.id}/"),
            is_reminder=not is_first,
        )
        return self._notice(submission, held_mail(told, _language(submission), zone=ZONE))

    # --- more notices ---------------------------------------------------------------------------------------------

    def _unread(self, leased: Leased) -> tuple[list[uuid.UUID], Outgoing | None]:
        """Whom the author hears about, each once; what was said before the notification was about something else."""
        reminded = Transmission.objects.filter(submission=leased.subject, kind=Transmission.Kind.REMINDER)
        waiting = list(
            Recipient.objects.select_related("submission__account", "submission__organisation")
            .filter(id__in=reminded.values("recipient"), state=Recipient.State.NOTIFIED, opened_at=None)
            .filter(Q(told_at=None) | Q(told_at__lt=F("delivered_at")))
            .order_by("key")
        )
        if not waiting:
            return [], None
        submission = waiting[0].submission
        told = Unread(
            recipients=tuple(Mailbox.parse(one.address) for one in waiting),
            organisation=submission.organisation.name,
            original=Original(submission.accepted_at),
        )
        words = unread_mail(told, _language(submission), zone=ZONE)
        return [one.id for one in waiting], self._notice(submission, words)

    def _withheld(self, leased: Leased) -> Outgoing | None:
        transmission = Transmission.objects.select_related(
            "recipient__submission__account", "recipient__submission__organisation"
        ).get(id=leased.subject)
        recipient = transmission.recipient
        assert recipient is not None
        submission = recipient.submission
        told = CodeWithheld(
            recipient=Mailbox.parse(recipient.address),
            organisation=submission.organisation.name,
            original=Original(submission.accepted_at),
            link=Secret(f"{self._url}/another-way/{recipient.id}/"),
        )
        return self._notice(submission, code_withheld_mail(told, _language(submission), zone=ZONE))

    def _notice(self, submission: Submission, words: Mail) -> Outgoing:
        author = own_mailbox(submission.organisation)
        to = submission.account.mailbox
        message_id = _message_id(author[1])
        octets = compose(
            author=author,
            to=to,
            subject=words.subject,
            text=words.text,
            html=words.html,
            message_id=message_id,
            at=self._now(),
            boundary=_boundary(),
        )
        return Outgoing(submission.organisation, submission, Transmission.Kind.NOTICE, to, octets, message_id)

    def _directives(self, submission: Submission) -> Directives:
        if not submission.directives:
            return Directives()
        opened = self._unsealer.field(submission.directives, name="directives", owner=submission.id)
        return from_json_bytes(opened.reveal())


# --- what reports say of a recipient ------------------------------------------------------------------------------


def _last_attempt(recipient: Recipient) -> Attempt | None:
    said = Attempt.objects.filter(transmission__recipient=recipient, transmission__answer=None)
    return said.exclude(outcome__in=("AutoReply", "Unclear")).order_by("-id").first()


def _is_delayed(recipient: Recipient, last: Attempt | None) -> bool:
    """Here, or further on."""
    return recipient.state == Recipient.State.DECIDED or _is_delayed_elsewhere(recipient, last)


def _is_delayed_elsewhere(recipient: Recipient, last: Attempt | None) -> bool:
    """At the server that took it, from which nothing was heard since."""
    return recipient.state == Recipient.State.DELIVERED and last is not None and last.outcome == _ELSEWHERE


def _failed(recipient: Recipient, last: Attempt | None) -> ReportedRecipient:
    wording = wording_of(recipient.reason)
    sentences = (wording.nl, wording.en) if wording else None
    remedy = ("", "") if sentences else ("Vraag uw beheerder om hulp.", "Ask your administrator for help.")
    status = recipient.status or "5.0.0"
    return _about(recipient, last, "failed", status, reason=sentences, remedy=remedy)  # a reason ends with the remedy


def _delayed(recipient: Recipient, last: Attempt | None, give_up_after: Duration) -> ReportedRecipient:
    if last is not None and _is_delayed_elsewhere(recipient, last):  # and how long it tries is its own affair
        return _about(recipient, last, "delayed", status_within(last.reply) or "4.0.0", reason=_HELD_UP)
    until = (recipient.decided_at or recipient.submission.accepted_at) + give_up_after
    status = _DELAYS.get(last.outcome if last is not None else "", "4.4.1")
    return _about(recipient, last, "delayed", status, until=until)


def _relayed(recipient: Recipient, last: Attempt | None) -> ReportedRecipient:
    """What the receiving server took: the message itself, or word that it waits here."""
    return _about(recipient, last, "relayed", "2.0.0", reason=_TAKEN.get(recipient.state, _TAKEN["notified"]))


def _confirmed(recipient: Recipient, action: Action, found: Confirmation) -> ReportedRecipient:
    """By the word of the server that took it: of what it did with the message, not of anybody who read it."""
    return ReportedRecipient(
        final=Mailbox.parse(recipient.address),
        original_orcpt=recipient.original or None,
        action=action,
        status=found.status or "2.0.0",
        diagnostic=None,
        remote_mta=found.host or None,
        last_attempt=recipient.delivered_at,
        will_retry_until=None,
        remedy=("", ""),
        reason=_CONFIRMED.get(action),
    )


def _about(
    recipient: Recipient,
    last: Attempt | None,
    action: Action,
    status: str,
    *,
    reason: Sentences | None = None,
    remedy: Sentences = ("", ""),
    until: Instant | None = None,
) -> ReportedRecipient:
    answers = ("Refused", "Deferred", "Bounced", *([_ELSEWHERE] if action == "delayed" else []))
    answered = last is not None and action != "relayed" and last.outcome in answers
    return ReportedRecipient(
        final=Mailbox.parse(recipient.address),
        original_orcpt=recipient.original or None,
        action=action,
        status=status,
        diagnostic=last.reply if last is not None and answered and last.reply else None,
        remote_mta=last.host if last is not None and last.host else None,
        last_attempt=last.at if last is not None else None,
        will_retry_until=until,
        remedy=remedy,
        reason=reason,
    )


_DELAYS: Final = {"DnsTrouble": "4.4.3", "Deferred": "4.3.0", "InsufficientSecurity": "4.7.5"}  # RFC 3463 §3
_ELSEWHERE: Final = "DelayedElsewhere"  # the outcome of what a server reported that took the message
_HELD_UP: Final[Sentences] = (
    "De ontvangende server nam het bericht aan, en kan het nog niet verder bezorgen.",
    "The receiving server took the message, and can’t deliver it any further yet.",
)
_CONFIRMED: Final[dict[str, Sentences]] = {
    "delivered": (
        "De ontvangende server meldt dat het bericht in de mailbox is bezorgd. Of het is gelezen, is niet bekend.",
        "The receiving server reports that the message was delivered to the mailbox. Whether it was read is not known.",
    ),
    "relayed": (
        "De ontvangende server meldt dat het bericht verder is doorgegeven. Of het is gelezen, is niet bekend.",
        "The receiving server reports that the message was passed on. Whether it was read is not known.",
    ),
    "expanded": (
        "De ontvangende server meldt dat. Een verdere bevestiging volgt niet.",
        "So the receiving server reports. No further confirmation follows.",
    ),
}
_TAKEN: Final[dict[str, Sentences]] = {
    "delivered": (
        "De ontvangende server heeft het leesbare bericht aangenomen. Of het is gelezen, is niet bekend.",
        "The receiving server took the readable message. Whether it was read is not known.",
    ),
    "notified": (
        "De ontvangende server heeft de notificatie aangenomen. Het bericht wacht in de portal.",
        "The receiving server took the notification. The message waits in the portal.",
    ),
}


def _forbidden(submission: Submission) -> tuple[Oddity, ...]:
    """Direct delivery that the message asked and the policy doesn't allow, for these recipients."""
    recipients = Recipient.objects.filter(submission=submission).order_by("key").values_list("address", "plan")
    against = []
    for address, stored in recipients:
        try:
            replayed = replay(stored or {})
        except UnknownPlan:
            continue
        if asked_more_than_allowed(replayed.case, replayed.stored):
            against.append(Mailbox.parse(address))
    return (TransportForbidden(ControlField.DIRECT_DELIVERY.value, tuple(against)),) if against else ()


def _again_at(recipient: Recipient, due: Tell | Wait | Over, now: Instant) -> Instant:
    """When to look again. Who is over is looked after until that last decision was made."""
    if isinstance(due, Over):
        return now + AFTER_LAST
    expires_at = recipient.conversation.expires_at
    return due.again_at if expires_at is None else min(due.again_at, expires_at)


def _term(recipient: Recipient) -> Duration:
    return timedelta(days=recipient.submission.organisation.hold_days)


def _ends_at(recipient: Recipient) -> Instant:
    held_at = recipient.decided_at or recipient.submission.accepted_at
    return ends_at(held_at, term=_term(recipient), expires_at=recipient.conversation.expires_at)


def _end_hold(recipients: Sequence[uuid.UUID], now: Instant) -> None:
    """Inside a transaction: the message of these is gone. Nothing for those that left the hold meanwhile."""
    for one in Recipient.objects.select_for_update().filter(id__in=recipients, state=Recipient.State.HELD):
        steps.give_up(one, status="5.7.0", reason=Ended.DESTROYED.value, now=now)


def _lacking(recipient: Recipient) -> tuple[Method, ...]:
    """What a held recipient could be verified with, the safest first."""
    try:
        last = plan_from_json(recipient.plan or {}).steps[-1]
    except (UnknownPlan, KeyError):
        return ()
    return tuple(method for method in Method if isinstance(last, Hold) and method in last.required)


_WORDS: Final[dict[Method, MethodWord]] = {
    Method.ACCOUNT: "account",
    Method.SMS: "sms",
    Method.ACCESS_CODE: "access_code",
    Method.EMAIL: "email",
}


def _oddity(warning: DirectiveWarning) -> Oddity:
    match warning:
        case DirectiveWarning.TRANSPORT_DEFAULTED:
            return AssumedTransport(ControlField.DIRECT_DELIVERY.value)
        case DirectiveWarning.EMAIL_EXCLUDED:
            return NoFallBack(ControlField.MINIMUM_RECIPIENT_VERIFICATION.value)


def _language(submission: Submission) -> Language:
    return "en" if submission.organisation.language == "en" else "nl"


def _message_id(author: Mailbox) -> str:
    return f"<{chance.identifier().hex}@{author.domain}>"


def _boundary() -> str:
    return f"zegel-{secrets.token_hex(12)}"


def _host(hostname: str, author: Mailbox) -> Domain:
    try:
        return Domain.parse(hostname)
    except NotADomain:
        return author.domain
