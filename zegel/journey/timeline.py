"""What happened to a message on its way to one recipient, point by point, each with a sentence in both languages."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.utils.timezone import get_default_timezone

from zegel.core.clock import Instant
from zegel.core.mail.dsn import wants
from zegel.core.policy.explain import Bilingual, Said
from zegel.core.policy.tracing import (
    Attempted,
    Carries,
    Confirmed,
    EventKind,
    SenderHears,
    Stands,
    joined,
    method_in_words,
    moment,
    over,
)
from zegel.journey.custody.jobs import Kind as JobKind
from zegel.journey.custody.models import (
    Attempt,
    Confirmation,
    Job,
    MethodRequest,
    Proof,
    PutAside,
    Recipient,
    SenderAct,
    Sms,
    Submission,
    Transmission,
)

ARRIVED: Final = "Accepted"  # the outcome of an attempt that the receiving server ended with 250
_KIND = Transmission.Kind


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands in other tables, for all recipients of a message at once."""

    due: dict[uuid.UUID, Instant]  # when a mail is tried next
    put_aside: dict[uuid.UUID, Instant]  # a mail, or the submission
    texts: dict[uuid.UUID, list[Sms]]  # by recipient
    confirmations: dict[uuid.UUID, Confirmation]  # by recipient; of whom one was asked for

    @classmethod
    def of(cls, recipients: Sequence[Recipient]) -> Beside:
        """With their transmissions loaded."""
        mails = [
            mail.id for one in recipients for mail in one.transmissions.all() if mail.state == Transmission.State.QUEUED
        ]
        texts: defaultdict[uuid.UUID, list[Sms]] = defaultdict(list)
        for text in Sms.objects.filter(recipient__in=recipients).defer("sealed").order_by("created_at", "id"):
            texts[text.recipient_id].append(text)
        asked = [one.id for one in recipients if one.notify]
        aside = [*mails, *{one.submission_id for one in recipients}]
        return cls(
            dict(Job.objects.filter(kind=JobKind.TRANSMIT, subject__in=mails).values_list("subject", "due_at")),
            dict(PutAside.objects.filter(subject__in=aside).values_list("subject", "put_aside_at")),
            texts,
            {found.recipient_id: found for found in Confirmation.objects.filter(recipient__in=asked)},
        )


@dataclass(frozen=True, slots=True)
class Event:
    """A point on the way; ``mark`` is how a list shows it: done, current, failed."""

    at: Instant | None
    kind: EventKind
    said: Bilingual
    mark: str = "done"
    order: int = 0  # among those of the same moment
    more: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """With its time and both sentences."""
        return {
            "at": written(self.at),
            "event": self.kind.value,
            "mark": self.mark,
            **both(self.said),
            **(self.more or {}),
        }


def events(one: Recipient, submission: Submission, beside: Beside) -> list[Event]:
    """In the order of time; last, without one, what comes next."""
    found = _events(one, submission, beside)
    return sorted(found, key=lambda event: (event.at is None, event.at, event.order))


def _events(one: Recipient, submission: Submission, beside: Beside) -> Iterator[Event]:
    yield _accepted(submission)
    if one.decided_at is not None:
        what = Said("Decided: the plan below.", "Besloten: het plan hieronder.")
        yield Event(one.decided_at, EventKind.DECIDED, what, order=1)
    yield from _told(one)
    yield from _attempts(one, submission)
    yield from _reached(one)
    yield from _confirmed(one, beside)
    yield from _codes(one, beside)
    yield from _opened(one)
    yield from _answers(one)
    yield from _other_methods(one)
    yield from _acts(one)
    yield from _ends(one)
    yield from _waits(one, submission, beside)


def _accepted(submission: Submission) -> Event:
    what = Said(
        "Accepted from the sending server: durable and sealed.",
        "Aangenomen van de verzendende server: duurzaam opgeslagen en verzegeld.",
    )
    return Event(submission.accepted_at, EventKind.ACCEPTED, what)


def _told(one: Recipient) -> Iterator[Event]:
    """What was said before the notification was about something else: that the recipient was held."""
    if one.told_at is None:
        return
    is_notified = one.state in (Recipient.State.NOTIFIED, Recipient.State.OPENED)
    if is_notified and (one.delivered_at is None or one.told_at >= one.delivered_at):
        what = Said(
            "The sender was told that it was not opened after a reminder.",
            "De afzender kreeg bericht dat het na een herinnering niet was geopend.",
        )
    else:
        what = Said(
            "The sender was told that the recipient is held.",
            "De afzender kreeg bericht dat de ontvanger is vastgehouden.",
        )
    yield Event(one.told_at, EventKind.TOLD, what, order=3)


def _attempts(one: Recipient, submission: Submission) -> Iterator[Event]:
    for mail in one.transmissions.all():
        if mail.kind == _KIND.CODE:
            asked = Said("A code by e-mail was asked.", "Er is een code per e-mail gevraagd.")
            yield Event(mail.created_at, EventKind.CODE_ASKED, asked, order=4, more={"method": "email"})
        for number, attempt in enumerate(mail.attempts.all()):
            yield Event(
                attempt.at,
                EventKind.ATTEMPT,
                attempt_in_words(attempt, mail),
                "failed" if attempt.outcome in _FAILED else "done",
                order=5,
                more={"mail": str(mail.id), "attempt": number},
            )


_FAILED: Final = frozenset(one.value for one in Attempted) - {"Accepted", "ArrivedElsewhere", "AutoReply", "Unclear"}


def _reached(one: Recipient) -> Iterator[Event]:
    """Where no attempt says so: what was restored, or stored by another version."""
    mails = (mail for mail in one.transmissions.all() if mail.kind in (_KIND.READABLE, _KIND.NOTIFICATION))
    if one.delivered_at is None or any(attempt.outcome == ARRIVED for mail in mails for attempt in mail.attempts.all()):
        return
    kind, said = _REACHED.get(one.state, (EventKind.TAKEN, _TAKEN))
    yield Event(one.delivered_at, kind, said, order=6)


_TAKEN: Final = Said("A receiving server took the mail.", "Een ontvangende server nam de mail aan.")
_NOTIFIED: Final = Said(
    "Notified: the receiving server took the notification.",
    "Gemeld: de ontvangende server nam het notificatiebericht aan.",
)
_DELIVERED: Final = Said(
    "Delivered: the receiving server took the readable message.",
    "Bezorgd: de ontvangende server nam het leesbare bericht aan.",
)
_REACHED: Final[dict[str, tuple[EventKind, Said]]] = {
    Recipient.State.DELIVERED: (EventKind.DELIVERED, _DELIVERED),
    Recipient.State.NOTIFIED: (EventKind.NOTIFIED, _NOTIFIED),
    Recipient.State.OPENED: (EventKind.NOTIFIED, _NOTIFIED),
}


def _confirmed(one: Recipient, beside: Beside) -> Iterator[Event]:
    found = beside.confirmations.get(one.id)
    said = confirmed_in_words(found)
    if found is not None and said is not None:
        yield Event(found.at, EventKind.CONFIRMED, said, order=6, more={"action": found.action})


def _codes(one: Recipient, beside: Beside) -> Iterator[Event]:
    for text in beside.texts.get(one.id, ()):
        said, mark = _TEXTS.get(text.state, _TEXTS["queued"])
        yield Event(text.created_at, EventKind.CODE_ASKED, said, mark, 4, {"method": "sms", "sms": text.state})
    for wrong in one.wrong_tries.all():
        what = Said("A wrong code was entered.", "Er is een verkeerde code ingevoerd.")
        yield Event(wrong.at, EventKind.WRONG_CODE, what, "failed", 7)
    for proof in one.proofs.all():
        yield Event(proof.created_at, EventKind.VERIFIED, _proven(proof), order=8, more={"method": proof.method})


def _proven(proof: Proof) -> Said:
    method = method_in_words(proof.method)
    if proof.device_id is not None:
        return Said(
            f"A remembered device stood in the place of: {method.en}.",
            f"Een onthouden apparaat kwam in de plaats van: {method.nl}.",
        )
    return Said(f"Verified on the portal: {method.en}.", f"Geverifieerd op het portaal: {method.nl}.")


_TEXTS: Final = {
    "queued": (Said("A code by SMS was asked.", "Er is een code per sms gevraagd."), "current"),
    "sent": (
        Said(
            "A code by SMS was asked, and the SMS provider took it.",
            "Er is een code per sms gevraagd, en de sms-dienst nam die aan.",
        ),
        "done",
    ),
    "failed": (
        Said(
            "A code by SMS was asked, and could not be handed to the SMS provider.",
            "Er is een code per sms gevraagd, en die kon niet aan de sms-dienst worden overgedragen.",
        ),
        "failed",
    ),
}


def _opened(one: Recipient) -> Iterator[Event]:
    if one.opened_at is not None:
        how = method_in_words(one.opened_with)
        what = Said(
            f"Opened on the portal after verification: {how.en}.",
            f"Geopend op het portaal na verificatie: {how.nl}.",
        )
        yield Event(one.opened_at, EventKind.OPENED, what, order=9, more={"method": one.opened_with or None})
    for reading in one.conversation.shared_readings.all():
        if reading.mailbox.key == one.key:
            who = reading.account.email
            what = Said(f"Read by {who}, for this mailbox.", f"Gelezen door {who}, voor deze mailbox.")
            yield Event(reading.first_at, EventKind.READ_FOR_MAILBOX, what, order=10, more={"account": who})


def _answers(one: Recipient) -> Iterator[Event]:
    later = list(one.conversation.messages.all())[1:]
    for message in later:
        if message.answered_by_id == one.id:
            what = Said("The recipient answered in the portal.", "De ontvanger antwoordde in het portaal.")
            yield Event(message.created_at, EventKind.ANSWERED, what, order=11)
        elif message.answered_by_id is None:
            what = Said("The sender wrote on in the conversation.", "De afzender schreef verder in de conversatie.")
            yield Event(message.created_at, EventKind.SENDER_ANSWERED, what, order=11)


def _other_methods(one: Recipient) -> Iterator[Event]:
    """What the recipient could not use, and what the sender made of it."""
    for asked in one.method_requests.all():
        if asked.why:
            method = method_in_words(asked.method)
            what = Said(
                f"The recipient could not use this method, and the sender was told: {method.en}.",
                f"De ontvanger kon deze methode niet gebruiken, en de afzender kreeg daar bericht van: {method.nl}.",
            )
            yield Event(asked.at, EventKind.METHOD_UNUSABLE, what, order=12, more={"method": asked.method})
        elif not asked.method:
            what = Said(
                "Restored from before another method was allowed: nothing opens it until one is allowed again.",
                "Teruggezet naar voordat een andere methode was toegestaan: niets opent het tot er weer een is "
                "toegestaan.",
            )
            yield Event(asked.at, EventKind.METHOD_LOST, what, order=12)
        if asked.answer == MethodRequest.Answer.ALLOWED:
            method, masked = method_in_words(asked.other), f" {asked.masked}" if asked.masked else ""
            what = Said(
                f"The sender allowed another method: {method.en}{masked}.",
                f"De afzender stond een andere methode toe: {method.nl}{masked}.",
            )
            yield Event(asked.answered_at, EventKind.METHOD_ALLOWED, what, order=13, more={"method": asked.other})
        elif asked.answer == MethodRequest.Answer.REFUSED:
            what = Said("The sender allowed no other method.", "De afzender stond geen andere methode toe.")
            yield Event(asked.answered_at, EventKind.METHOD_REFUSED, what, order=13)


def _acts(one: Recipient) -> Iterator[Event]:
    """What the sender did about it: for this recipient, or for the whole conversation."""
    for act in (*one.acts.all(), *one.conversation.acts.all()):
        who = act.account.email if act.account else None
        kind, said = _act(act, who)
        yield Event(act.at, kind, said, order=14, more={"account": who})


def _act(act: SenderAct, who: str | None) -> tuple[EventKind, Said]:
    en, nl = (who, who) if who else ("an account that is gone", "een account dat er niet meer is")
    match SenderAct.Kind(act.kind):
        case SenderAct.Kind.REVOKED:
            return EventKind.REVOKED, Said(f"Revoked by {en}.", f"Ingetrokken door {nl}.")
        case SenderAct.Kind.EXPIRY if act.until is None:
            return EventKind.EXPIRY_CHANGED, Said(
                f"Changed by {en}: it does not expire.", f"Gewijzigd door {nl}: het verloopt niet."
            )
        case SenderAct.Kind.EXPIRY:
            assert act.until is not None
            until = moment(act.until, get_default_timezone())
            return EventKind.EXPIRY_CHANGED, Said(
                f"Changed by {en}: it expires on {until.en}.", f"Gewijzigd door {nl}: het verloopt op {until.nl}."
            )
        case SenderAct.Kind.AGAIN:
            return EventKind.NOTIFY_AGAIN, Said(
                f"{en} asked to send the notification once more.",
                f"{nl} vroeg om het notificatiebericht nog eens te sturen.",
            )


def _ends(one: Recipient) -> Iterator[Event]:
    destroyed = one.conversation.destroyed_at
    if destroyed is not None:
        what = Said(
            "It expired or was revoked for all: its keys were destroyed.",
            "Het is verlopen of voor iedereen ingetrokken: de sleutels zijn vernietigd.",
        )
        yield Event(destroyed, EventKind.DESTROYED, what, order=15)


def _waits(one: Recipient, submission: Submission, beside: Beside) -> Iterator[Event]:
    """What comes next; a report about the end has no time of its own."""
    mails = [mail.id for mail in one.transmissions.all()]
    for held in (*mails, submission.id):
        if held in beside.put_aside:
            what = Said(
                "Put aside since a restore, until an administrator decides.",
                "Opzijgezet sinds een back-up is teruggezet, tot een beheerder beslist.",
            )
            yield Event(beside.put_aside[held], EventKind.PUT_ASIDE, what, "current", 16)
    match Stands(one.state):
        case Stands.ACCEPTED:
            yield _waiting("Awaits the decision.", "Wacht op de beslissing.")
        case Stands.DECIDED:
            yield _waiting("On its way to the receiving server.", "Onderweg naar de ontvangende server.")
        case Stands.HELD:
            yield _waiting(
                "Held: something that policy demands is not known.",
                "Vastgehouden: iets dat het beleid eist, is niet bekend.",
            )
        case Stands.NOTIFIED if one.revoked_at is None and one.conversation.destroyed_at is None:
            yield _waiting("Not opened yet.", "Nog niet geopend.")
        case Stands.UNDELIVERABLE:
            said = joined(Said("Undeliverable.", "Onbestelbaar."), hears(one, submission))
            yield Event(None, EventKind.UNDELIVERABLE, said, "failed", 17)
        case Stands.NOTIFIED | Stands.DELIVERED | Stands.OPENED:
            pass


def _waiting(en: str, nl: str) -> Event:
    return Event(None, EventKind.WAITS, Said(en, nl), "current", 17)


# --- words ---------------------------------------------------------------------------------------------------------


def hears(one: Recipient, submission: Submission) -> SenderHears:
    """RFC 3461 §4.1; RFC 5321 §4.5.5: nothing goes to the null reverse-path."""
    if not submission.reverse_path:
        return SenderHears.NO_ADDRESS
    asked = frozenset(word for word in one.notify.split(",") if word)
    return SenderHears.REPORT if wants(asked, "failed") else SenderHears.NOT_ASKED


def carried(kind: str) -> Bilingual:
    """What a transmission of that kind carries; a kind of another version is shown as it is."""
    return _CARRIES.get(kind, Said(kind, kind))


def confirmed_in_words(found: Confirmation | None) -> Bilingual | None:
    """What was reported; ``None``: nothing yet."""
    return _CONFIRMED.get(found.action) if found is not None else None


def outcome_in_words(outcome: str) -> Bilingual:
    """Of an attempt, as it is stored."""
    return _OUTCOMES.get(outcome, Said(outcome, outcome))


_CARRIES: Final[dict[str, Bilingual]] = {one.value: one for one in Carries}
_OUTCOMES: Final[dict[str, Bilingual]] = {one.value: one for one in Attempted}
_CONFIRMED: Final[dict[str, Bilingual]] = {one.value: one for one in Confirmed}


def attempt_in_words(attempt: Attempt, mail: Transmission) -> Said:
    """What it carried, how it ended, at which host; where that took it, over what."""
    what, how = carried(mail.kind), outcome_in_words(attempt.outcome)
    en, nl = f"{what.en[:1].upper()}{what.en[1:]}: {how.en}", f"{what.nl[:1].upper()}{what.nl[1:]}: {how.nl}"
    if attempt.host:
        en, nl = f"{en} ({attempt.host})", f"{nl} ({attempt.host})"
    if attempt.outcome == ARRIVED:
        level = over(attempt.tls, attempt.authentication)
        en, nl = f"{en} {level.en}", f"{nl} {level.nl}"
    return Said(f"{en}.", f"{nl}.")


def written(value: Instant | None) -> str | None:
    """ISO 8601, to the second."""
    return value.isoformat(timespec="seconds") if value is not None else None


def both(one: Bilingual) -> dict[str, str]:
    """A sentence as exports have it."""
    return {"en": one.en, "nl": one.nl}
