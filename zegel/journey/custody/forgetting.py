"""What is known of one recipient is erased, or all of an organisation. Importable without the power to open.

Keys go first: what they opened can't be read any more, by nobody and from no copy. The journal of erasures learns of
each step, so that a restored backup forgets again (:mod:`zegel.journey.custody.restoring`).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from django.db import transaction
from django.db.models import QuerySet

from zegel.accounts import audit
from zegel.accounts.models import (
    Account,
    AccountSession,
    ApiToken,
    MailboxProof,
    Organisation,
    RememberedDevice,
    SmtpCredential,
)
from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.policy.audit import Act
from zegel.journey.custody import erasures, jobs, outbox, retention, revoking
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import (
    Attempt,
    Challenge,
    Content,
    Conversation,
    Draft,
    ImportComplaint,
    Job,
    Link,
    Message,
    MethodRequest,
    PassedMethod,
    Proof,
    PutAside,
    Recipient,
    SealedVerification,
    StagedFile,
    Submission,
    Transmission,
    VerificationData,
    WrongTry,
)

AT_ONCE: Final = 50  # submissions in a transaction
_NOBODY: Final = "@erased.invalid"  # no such domain can be
_STRIDE: Final = 500  # identifiers in a statement
_UNKNOWN: Final = "****"  # as a number that can't be shown is masked
_OF_SUBMISSION: Final = (Kind.DECIDE, Kind.UNREAD, Kind.WARN, Kind.HELD, Kind.CONTINUES)
_OF_RECIPIENT: Final = (Kind.REPORT, Kind.REMIND, Kind.DELAYED, Kind.RELAYED, Kind.CONFIRMED, Kind.RELEASE)
_REPLY: Final = re.compile(r"[2-5][0-9]{2}(?:[ -][245]\.[0-9]{1,3}\.[0-9]{1,3})?")  # RFC 5321 §4.2, RFC 3463 §2


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How much of one recipient."""

    messages: int  # that were opened by it, or could be
    numbers_and_codes: int
    devices: int

    @property
    def is_nothing(self) -> bool:
        """Nothing was known."""
        return not any(asdict(self).values())


def forget_recipient(organisation: Organisation, mailbox: Mailbox, *, now: Instant) -> Forgotten:
    """Inside a transaction: the organisation forgets a recipient. Messages are taken back from it, and in their traces
    a name that leads to nobody stands in the place of its address; numbers, codes and devices are destroyed.

    What stays: the sealed messages themselves, which are their senders', with their header sections; what servers
    answered, without its text; what a message asked, until nobody else waits for it (:func:`forget_what_was_asked`);
    the audit log, until its term. An account is not touched. The caller empties the write-ahead log.
    """
    mine = Recipient.objects.filter(key=mailbox.key, conversation__organisation=organisation)
    recipients = list(mine.select_related("conversation__organisation"))
    for one in recipients:
        if one.state != Recipient.State.DELIVERED:  # who got it readable keeps it
            revoking.take_back(one, now=now)
    _name_nobody([one.id for one in recipients], now)
    known = VerificationData.objects.filter(organisation=organisation, key=mailbox.key)
    passed = PassedMethod.objects.filter(organisation=organisation, account__key=mailbox.key)
    values = [*known.values_list("id", flat=True), *passed.values_list("id", flat=True)]
    erasures.note(erasures.Kind.VERIFICATION, values, at=now)
    known.delete()
    passed.delete()
    _forget_complaints(organisation, mailbox)
    devices, _ = RememberedDevice.objects.filter(organisation=organisation, key=mailbox.key).delete()
    done = Forgotten(len(recipients), len(values), devices)
    # Without the address: the log can't be changed later, and would be the one that remembers.
    audit.note(Act.RECIPIENT_ERASED, organisation, details=asdict(done), now=now)
    return done


def _forget_complaints(organisation: Organisation, mailbox: Mailbox) -> None:
    """However the address was spelled: a database compares no more than ASCII without regard to case."""
    of = ImportComplaint.objects.filter(of__organisation=organisation, address__iendswith=f"@{mailbox.domain.ascii}")
    same = [number for number, address in of.values_list("pk", "address") if Mailbox.parse(address) == mailbox]
    for start in range(0, len(same), _STRIDE):
        ImportComplaint.objects.filter(pk__in=same[start : start + _STRIDE]).delete()


def name_nobody_again(recipients: Sequence[uuid.UUID], *, now: Instant) -> int:
    """Inside a transaction, after a restore: as :func:`forget_recipient` did. Returns for how many."""
    known = list(Recipient.objects.filter(id__in=recipients).values_list("id", flat=True))
    _name_nobody(known, now, is_noted=False)
    return len(known)


def _name_nobody(recipients: Sequence[uuid.UUID], now: Instant, *, is_noted: bool = True) -> None:
    if is_noted:
        erasures.note(erasures.Kind.ADDRESS, recipients, at=now)
    whose = set(Recipient.objects.filter(id__in=recipients).values_list("conversation__organisation", "key"))
    for one in recipients:
        _name_nobody_for(one)
    for organisation, key in whose:
        if not is_nobody(key):
            _forget_mails_about_an_account(organisation, key)
    for model in (Challenge, WrongTry, Proof, Draft, Link, SealedVerification):
        model._default_manager.filter(recipient__in=recipients).delete()
    MethodRequest.objects.filter(recipient__in=recipients).update(masked="")
    outbox.forget(recipients)
    submissions = Recipient.objects.filter(id__in=recipients).values_list("submission_id", flat=True)
    _forget_what_was_asked(list(submissions))


def _name_nobody_for(one: uuid.UUID) -> None:
    nobody = f"erased-{one.hex[-12:]}{_NOBODY}"
    mine = Recipient.objects.filter(id=one)
    mine.update(address=nobody, key=Mailbox.parse(nobody).key, original="", masked="")
    mine.exclude(plan=None).update(plan=without_numbers(mine.values_list("plan", flat=True).get()))
    mails = Transmission.objects.filter(recipient=one)
    if mine.filter(state=Recipient.State.DELIVERED).exists():  # of others the queue ends them, and tells the sender
        mails.filter(state=Transmission.State.QUEUED).update(state=Transmission.State.FAILED)
    mails.update(address=nobody, sealed=None)
    for attempt in Attempt.objects.filter(transmission__in=mails).exclude(reply=""):
        Attempt.objects.filter(pk=attempt.pk).update(reply=code_alone(attempt.reply))


def _forget_mails_about_an_account(organisation: int, key: str) -> None:
    """Codes and words about an account that it has elsewhere, or wanted: of no message, and so of no trace."""
    if Account.objects.filter(organisation=organisation, key=key).exists():
        return
    domain = key.rpartition("@")[2]
    found = retention.of_no_message().filter(organisation=organisation, address__iendswith=f"@{domain}")
    mine = [one for one, address in found.values_list("id", "address") if Mailbox.parse(address).key == key]
    jobs.forget(Kind.TRANSMIT, mine)
    PutAside.objects.filter(kind=Kind.TRANSMIT.value, subject__in=mine).delete()
    Transmission.objects.filter(id__in=mine).delete()


def is_nobody(address: str) -> bool:
    """It stands in the place of an address that was erased."""
    return address.endswith(_NOBODY)


def nameless(mails: Sequence[uuid.UUID]) -> frozenset[uuid.UUID]:
    """Those that went to somebody who was erased meanwhile."""
    found = Transmission.objects.filter(id__in=mails, address__endswith=_NOBODY)
    return frozenset(found.values_list("id", flat=True))


def code_alone(reply: str) -> str:
    """Of what a server answered: without its text, in which the address may stand."""
    found = _REPLY.match(reply)
    return found[0] if found else ""


def without_numbers(plan: Any) -> Any:
    """A stored plan without what it shows of telephone numbers; it says the same of everything else."""
    if not isinstance(plan, dict):
        return plan
    shown = {**plan, "steps": [_without_number(step) for step in plan.get("steps", ())]}
    if "case" in plan:
        asked, remembered = plan["case"]["asked"], plan["case"]["remembered"]
        shown["case"] = {
            **plan["case"],
            "asked": {**asked, "verification": _unmasked(asked["verification"])},
            "remembered": {**remembered, "sms": _unmasked(remembered["sms"])},
        }
    return shown


def _without_number(step: dict[str, Any]) -> dict[str, Any]:
    return {**step, "masked": _UNKNOWN} if step.get("masked") else step


def _unmasked(verification: str | None) -> str | None:
    method, space, _ = (verification or "").partition(" ")
    return f"{method} {_UNKNOWN}" if space else verification


def forget_what_was_asked() -> int:
    """Now and then: what messages asked for somebody who was erased, as soon as nobody else waits for it. Returns of
    how many."""
    of_nobody = Recipient.objects.filter(key__endswith=_NOBODY).values("submission")
    kept = Submission.objects.filter(id__in=of_nobody).exclude(directives__in=(b"", retention.DESTROYED))
    return _forget_what_was_asked(list(kept.values_list("id", flat=True)))


def _forget_what_was_asked(submissions: Sequence[uuid.UUID]) -> int:
    """Numbers and codes of all recipients stand in it together, sealed, and nothing here can open it: so it goes as a
    whole, once all are decided about and the author was warned."""
    undecided = (Recipient.State.ACCEPTED, Recipient.State.HELD)
    waiting = Recipient.objects.filter(submission__in=submissions, state__in=undecided)
    work = {"kind__in": [one.value for one in (Kind.DECIDE, Kind.HELD, Kind.WARN)], "subject__in": submissions}
    over = (
        Submission.objects.filter(id__in=submissions)
        .exclude(directives=b"")
        .exclude(id__in=waiting.values("submission"))
        .exclude(id__in=Job.objects.filter(**work).values("subject"))
        .exclude(id__in=PutAside.objects.filter(**work).values("subject"))
    )
    return over.update(directives=retention.DESTROYED)


# A whole organisation


@dataclass(frozen=True, slots=True)
class Erased:
    """How much there was."""

    messages: int = 0
    recipients: int = 0
    numbers_and_codes: int = 0
    accounts: int = 0
    domains: int = 0
    audit_entries: int = 0
    audit_head: str = ""  # hash of the last entry of its audit log, which whoever exported it can compare

    def __add__(self, other: Erased) -> Erased:
        return Erased(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


def close(organisation: Organisation, *, now: Instant) -> None:
    """Inside a transaction: nothing is accepted any more, nobody signs in, no program is let in. What was accepted is
    still delivered, until :func:`erase` comes to it."""
    SmtpCredential.objects.filter(organisation=organisation, disabled_at=None).update(disabled_at=now)
    ApiToken.objects.filter(organisation=organisation, disabled_at=None).update(disabled_at=now)
    ApiToken.objects.filter(account__organisation=organisation, disabled_at=None).update(disabled_at=now)
    Account.objects.filter(organisation=organisation).update(is_active=False)
    AccountSession.objects.filter(account__organisation=organisation).delete()
    RememberedDevice.objects.filter(organisation=organisation).delete()


def erase(
    organisation: Organisation,
    *,
    now: Callable[[], Instant],
    remove: Callable[[uuid.UUID], object],
    tell: Callable[[Erased], object] = lambda _: None,
) -> Erased:
    """All of it, in many transactions; what was interrupted goes on when it is called again. ``remove`` removes a blob;
    ``tell`` hears now and then how far it is.

    Its last act is in the gateway's own audit log, with how much there was. The caller empties the write-ahead log.
    """
    with transaction.atomic():
        close(organisation, now=now())
        erasures.note(erasures.Kind.ORGANISATION, [uuid.UUID(int=organisation.pk)], at=now())
    done = Erased()
    while found := _some(organisation):
        with transaction.atomic():
            more, contents = remove_submissions(found, now())
        for one in contents:
            remove(one)
        done += more
        tell(done)
    for staged in StagedFile.objects.filter(of__organisation=organisation).values_list("content", flat=True):
        remove(staged)
    with transaction.atomic():
        done += _remove_the_rest(organisation, now())
        audit.note(Act.ORGANISATION_ERASED, None, str(organisation.pk), asdict(done), now=now())
    return done


def erase_again(number: int, *, now: Instant) -> bool:
    """Inside a transaction, after a restore: as :func:`erase` did. ``False``: there is no such organisation. Blobs are
    left to the sweep."""
    organisation = Organisation.objects.filter(pk=number).first()
    if organisation is None:
        return False
    close(organisation, now=now)
    while found := _some(organisation):
        remove_submissions(found, now)
    _remove_the_rest(organisation, now)
    return True


def _some(organisation: Organisation) -> list[uuid.UUID]:
    found = Submission.objects.filter(organisation=organisation).order_by("id")
    return list(found.values_list("id", flat=True)[:AT_ONCE])


def remove_submissions(found: Sequence[uuid.UUID], now: Instant) -> tuple[Erased, list[uuid.UUID]]:
    """Inside a transaction: their keys first, then their rows. Returns the contents whose blobs are nobody's now."""
    conversations = list(Conversation.objects.filter(submission__in=found).values_list("id", flat=True))
    alive = Conversation.objects.filter(id__in=conversations, destroyed_at=None).values_list("id", flat=True)
    for one in list(alive):
        retention.destroy(one, now=now)
    messages = Message.objects.filter(conversation__in=conversations)
    contents = list(messages.values_list("content_id", flat=True).distinct())
    recipients = list(Recipient.objects.filter(submission__in=found).values_list("id", flat=True))
    mails = _mails_of(found, recipients)
    for kinds, subjects in (
        (_OF_SUBMISSION, found),
        (_OF_RECIPIENT, recipients),
        ((Kind.TRANSMIT, Kind.WITHHELD), list(mails.values_list("id", flat=True))),
        ((Kind.EXPIRE,), conversations),
        ((Kind.ANSWERED,), list(messages.values_list("id", flat=True))),
    ):
        for kind in kinds:
            jobs.forget(kind, list(subjects))
            PutAside.objects.filter(kind=kind.value, subject__in=subjects).delete()
    mails.delete()
    Submission.objects.filter(id__in=found).delete()
    gone = list(
        Content.objects.filter(id__in=contents)
        .exclude(id__in=Message.objects.filter(content__in=contents).values("content"))
        .values_list("id", flat=True)
    )
    Content.objects.filter(id__in=gone).delete()
    return Erased(messages=len(found), recipients=len(recipients)), gone


def _mails_of(submissions: Sequence[uuid.UUID], recipients: Sequence[uuid.UUID]) -> QuerySet[Transmission]:
    of_both = (
        Transmission.objects.filter(submission__in=submissions)
        .values("id")
        .union(Transmission.objects.filter(recipient__in=recipients).values("id"))
    )
    return Transmission.objects.filter(id__in=list(of_both.values_list("id", flat=True)))


def _remove_the_rest(organisation: Organisation, now: Instant) -> Erased:
    values = [
        *VerificationData.objects.filter(organisation=organisation).values_list("id", flat=True),
        *PassedMethod.objects.filter(organisation=organisation).values_list("id", flat=True),
    ]
    erasures.note(erasures.Kind.VERIFICATION, values, at=now)
    entries = organisation.audit_entries.order_by("-number")
    last = entries.first()
    found = Erased(
        numbers_and_codes=len(values),
        accounts=organisation.accounts.count(),
        domains=organisation.sending_domains.count(),
        audit_entries=entries.count(),
        audit_head=last.hash if last is not None else "",
    )
    Job.objects.filter(kind=Kind.IMPORT.value, subject__in=_imports(organisation)).delete()
    MailboxProof.objects.filter(key__in=organisation.accounts.values("key")).delete()
    organisation.delete()
    return found


def _imports(organisation: Organisation) -> Any:
    return StagedFile.objects.filter(of__organisation=organisation).values("of")
