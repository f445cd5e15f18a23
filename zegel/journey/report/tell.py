"""Reports (RFC 3464) to the reverse-path, and notices to the author. Never content, never a number or a code."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from django.db.models import Q

from zegel.accounts.addresses import own_mailbox
from zegel.accounts.models import Organisation
from zegel.core.clock import Instant
from zegel.core.mail.address import Domain, Mailbox, NotADomain, parse_reverse_path
from zegel.core.mail.compose import compose
from zegel.core.mail.dsn import Report, ReportedRecipient, compose_report, report_to, wants
from zegel.core.mail.texts import (
    AssumedTransport,
    CodeWithheld,
    Language,
    Mail,
    NoFallBack,
    Oddity,
    Original,
    StrayAddress,
    Warned,
    code_withheld_mail,
    warning_mail,
)
from zegel.core.policy.conversation import SAME_SUBMISSION_WINDOW
from zegel.core.policy.directives import ControlField, Directives, DirectiveWarning, from_json_bytes, unmatched
from zegel.core.policy.ended import wording_of
from zegel.core.seal.wrap import CannotOpen
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.edge.database import Readers, Writer
from zegel.journey import milestones
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import Leased
from zegel.journey.custody.models import Attempt, Conversation, Recipient, Submission, Transmission
from zegel.journey.custody.seal import wrap_field
from zegel.journey.custody.unseal import Unsealer

ZONE: Final = ZoneInfo("Europe/Amsterdam")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A mail that is to be told, before it becomes a transmission."""

    organisation: Organisation
    submission: Submission
    kind: Transmission.Kind
    to: Mailbox
    octets: bytes
    message_id: str


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
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._unsealer = unsealer
        self._hostname = hostname
        self._url = url
        self._now = now

    async def report(self, leased: Leased) -> None:
        """A recipient can't be served: the reverse-path gets a report, unless it is null or asked for none."""
        await self._tell(leased, await self._readers.read(lambda: self._report(leased)))

    async def warn(self, leased: Leased) -> None:
        """What is odd about the control fields of a message, in one mail to its author (D-4)."""
        await self._tell(leased, await self._readers.read(lambda: self._warning(leased)))

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
        sealed = wrap_field(outgoing.octets, name="transmission", owner=identity, to=self._unsealer.keys.sealing)
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

    def _report(self, leased: Leased) -> Outgoing | None:
        recipient = Recipient.objects.select_related(
            "submission__account", "submission__organisation", "conversation"
        ).get(id=leased.subject)
        submission = recipient.submission
        to = report_to(parse_reverse_path(submission.reverse_path))
        if to is None or not wants(frozenset(filter(None, recipient.notify.split(","))), "failed"):
            return None
        _, author = own_mailbox(submission.organisation)
        message_id = _message_id(author)
        report = Report(
            to=to,
            about=(self._about(recipient),),
            original_header=self._header(recipient.conversation),
            reporting_mta=_host(self._hostname, author),
            arrival=submission.accepted_at,
            original_envelope_id=submission.envelope_id or None,
        )
        octets = compose_report(report, author=author, boundary=_boundary(), message_id=message_id, at=self._now())
        return Outgoing(submission.organisation, submission, Transmission.Kind.REPORT, to, octets, message_id)

    @staticmethod
    def _about(recipient: Recipient) -> ReportedRecipient:
        last = Attempt.objects.filter(transmission__recipient=recipient).order_by("-id").first()
        wording = wording_of(recipient.reason)
        sentences = (wording.nl, wording.en) if wording else None
        answered = last is not None and last.outcome in ("Refused", "Deferred")
        return ReportedRecipient(
            final=Mailbox.parse(recipient.address),
            original_orcpt=recipient.original or None,
            action="failed",
            status=recipient.status or "5.0.0",
            diagnostic=last.reply if last is not None and answered and last.reply else None,
            remote_mta=last.host if last is not None and last.host else None,
            last_attempt=last.at if last is not None else None,
            will_retry_until=None,
            remedy=("", "") if sentences else ("Vraag uw beheerder om hulp.", "Ask your administrator for help."),
            reason=sentences,  # each ends with the remedy
        )

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
        if not oddities or any(self._oddities(half, halves) for half in earlier):  # that one's warning is the one
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
            link=Secret(f"{self._url}/inbox/"),
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
