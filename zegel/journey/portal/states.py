"""How far a sent message came with each recipient, in words that are true: for lists, and in full for its own page."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from django.db.models import Prefetch, QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from zegel.core.clock import Instant
from zegel.core.policy.ended import wording_of
from zegel.core.policy.transport import Authentication, Tls
from zegel.core.policy.verification import Method
from zegel.journey import steps
from zegel.journey.custody.models import (
    Attempt,
    Confirmation,
    Conversation,
    Link,
    MethodRequest,
    Recipient,
    Transmission,
)
from zegel.journey.portal.pages import language

State = Recipient.State
Kind = Transmission.Kind

_WORDS: Final[dict[str, tuple[Any, str]]] = {
    # Delivered, opened, and readable with opening unknown are different things.
    State.ACCEPTED: (gettext_lazy("Waiting"), ""),
    State.DECIDED: (gettext_lazy("Waiting"), ""),
    State.HELD: (gettext_lazy("Held: something is missing"), "badge-warn"),
    State.NOTIFIED: (gettext_lazy("Notified, not opened yet"), "badge-accent"),
    State.DELIVERED: (gettext_lazy("Delivered, readable: opening unknown"), "badge-good"),
    State.OPENED: (gettext_lazy("Opened"), "badge-good"),
    State.UNDELIVERABLE: (gettext_lazy("Bounced"), "badge-bad"),
}
_METHODS: Final[dict[str, Any]] = {
    Method.ACCOUNT.value: gettext_lazy("by signing in"),
    Method.SMS.value: gettext_lazy("with a code by text message"),
    Method.ACCESS_CODE.value: gettext_lazy("with an access code"),
    Method.EMAIL.value: gettext_lazy("with a code by e-mail"),
}
_TLS: Final[dict[int, Any]] = {
    Tls.NONE: gettext_lazy("without encryption"),
    Tls.ENCRYPTED: gettext_lazy("over TLS below 1.2"),
    Tls.TLS_1_2: gettext_lazy("over TLS 1.2"),
    Tls.TLS_1_3: gettext_lazy("over TLS 1.3"),
}
_AUTHENTICATION: Final[dict[int, Any]] = {
    Authentication.NONE: gettext_lazy("server not authenticated"),
    Authentication.CERTIFICATE: gettext_lazy("certificate checked"),
    Authentication.SIGNED_MX: gettext_lazy("certificate checked, server named by MTA-STS or signed DNS"),
    Authentication.DANE: gettext_lazy("server authenticated by DANE"),
}
_CONFIRMED: Final[dict[str, Any]] = {
    "delivered": gettext_lazy("The receiving server reported that it delivered it to the mailbox"),
    "relayed": gettext_lazy("The receiving server reported that it passed it on to a server that confirms nothing"),
    "expanded": gettext_lazy("The receiving server reported that it forwarded it to the addresses behind this one"),
}
_ARRIVED: Final = "Accepted"  # the outcome of an attempt that the receiving server ended with 250


@dataclass(frozen=True, slots=True)
class RecipientLine:
    """How far the message came with one recipient."""

    address: str
    words: str
    badge: str
    at: Instant | None
    reason: str
    held_at: str = ""  # the page where what lacks is filled in
    facts: tuple[tuple[str, Instant | None], ...] = ()  # sentences, with when; on the conversation's own page
    revoke_at: str = ""  # the page where it is taken back; empty: it can't be
    again_at: str = ""  # the page where the notification is sent again
    other_way_at: str = ""  # the page where another method is allowed: the recipient can't use this one


def recipient_lines(recipients: Iterable[Recipient]) -> list[RecipientLine]:
    """The sender's view of who got how far."""
    return [_line(one) for one in recipients]


def _line(one: Recipient) -> RecipientLine:
    words, badge = _WORDS[one.state]
    at = {State.OPENED: one.opened_at, State.UNDELIVERABLE: None}.get(State(one.state), one.delivered_at)
    if one.revoked_at is not None and one.state != State.DELIVERED:
        words, badge, at = _("Revoked"), "badge-warn", one.revoked_at
    held_at = reverse("portal:held", kwargs={"submission": one.submission_id}) if one.state == State.HELD else ""
    why = _sentence(one.reason) if one.state == State.UNDELIVERABLE else ""  # who opens it all the same has it
    return RecipientLine(one.address, str(words), badge, at, why, held_at)


def _sentence(code: str) -> str:
    """What a stored reason says; a code of another version is shown as it is."""
    wording = wording_of(code)
    if wording is None:
        return code
    return wording.nl if language() == "nl" else wording.en


# In full


def with_evidence(conversation: Conversation) -> QuerySet[Recipient]:
    """The recipients of a conversation, with what :func:`full_lines` reads of each."""
    arrived = Attempt.objects.filter(outcome=_ARRIVED).order_by("-id")
    mails = Transmission.objects.filter(kind__in=(Kind.READABLE, Kind.NOTIFICATION, Kind.REMINDER, Kind.AGAIN))
    return conversation.recipients.order_by("address").prefetch_related(
        Prefetch("transmissions", mails.order_by("created_at", "id")),
        Prefetch("transmissions__attempts", arrived),
        Prefetch("method_requests", MethodRequest.objects.order_by("at", "id")),
        Prefetch("links", Link.objects.only("recipient")),
    )


def full_lines(conversation: Conversation, now: Instant) -> list[RecipientLine]:
    """With the security that each mail travelled under, when and how it was opened, and what can still be done."""
    recipients = list(with_evidence(conversation))
    confirmed = _confirmed(recipients)
    return [_full(one, conversation, now, confirmed.get(one.id)) for one in recipients]


def _confirmed(recipients: Iterable[Recipient]) -> dict[uuid.UUID, tuple[str, Instant | None]]:
    """What was reported of each, where the sender had asked for it."""
    found = Confirmation.objects.filter(recipient__in=[one.id for one in recipients if one.notify])
    return {one.recipient_id: (str(_CONFIRMED[one.action]), one.at) for one in found if one.action in _CONFIRMED}


def _full(
    one: Recipient, conversation: Conversation, now: Instant, confirmed: tuple[str, Instant | None] | None
) -> RecipientLine:
    one.conversation = conversation
    line = _line(one)
    here = {"conversation": conversation.id, "recipient": one.id}
    is_open = conversation.destroyed_at is None and one.revoked_at is None
    asks = is_open and _asks_another_way(one)
    return replace(
        line,
        facts=tuple(_facts(one, confirmed)),
        revoke_at=reverse("portal:sent-revoke-one", kwargs=here) if is_open and can_be_revoked(one) else "",
        again_at=reverse("portal:sent-again", kwargs=here) if is_open and steps.can_be_notified_again(one, now) else "",
        other_way_at=reverse("portal:another-way", kwargs={"recipient": one.id}) if asks else "",
    )


def _facts(one: Recipient, confirmed: tuple[str, Instant | None] | None) -> list[tuple[str, Instant | None]]:
    facts: list[tuple[str, Instant | None]] = []
    for mail in one.transmissions.all():
        if mail.state == Transmission.State.SENT:
            facts += [_travelled(mail, attempt) for attempt in list(mail.attempts.all())[:1]]
        elif mail.kind == Kind.AGAIN:
            facts.append((_not_there_yet(mail), mail.created_at))
    if confirmed is not None:
        facts.append(confirmed)
    if one.opened_at is not None:
        how = _METHODS.get(one.opened_with, one.opened_with)
        facts.append((_("Opened %(how)s") % {"how": how}, one.opened_at))
    facts += [(shut_in_words(), asked.at) for asked in one.method_requests.all() if asked.is_of_restore]
    if one.state == State.DELIVERED:
        facts.append((_("This recipient has the message itself, readable. It can’t be revoked."), None))
        if one.revoked_at is not None:
            facts.append((_("Revoked: the link to its files leads nowhere any more"), one.revoked_at))
    elif one.revoked_at is not None:
        facts.append((_("Revoked: this recipient can’t open it any more"), one.revoked_at))
    return facts


def _travelled(mail: Transmission, attempt: Attempt) -> tuple[str, Instant | None]:
    what = {
        Kind.READABLE: _("Message delivered"),
        Kind.NOTIFICATION: _("Notification delivered"),
        Kind.REMINDER: _("Reminder delivered"),
        Kind.AGAIN: _("Notification delivered once more"),
    }[Kind(mail.kind)]
    return f"{what} {security_in_words(attempt.tls, attempt.authentication)}", attempt.at


def shut_in_words() -> str:
    """That a restore ended what a recipient verified with (:attr:`MethodRequest.is_of_restore`)."""
    return _(
        "The gateway was restored from a backup from before another way was chosen for this recipient, who can’t open "
        "the message until one is chosen again."
    )


def security_in_words(tls: int, authentication: int) -> str:
    """*over TLS 1.3, certificate checked*"""
    channel = str(_TLS.get(tls, tls))
    return f"{channel}, {_AUTHENTICATION.get(authentication, authentication)}" if tls else channel


def _not_there_yet(mail: Transmission) -> str:
    if mail.state == Transmission.State.FAILED:
        return _("The notification was sent once more, and could not be delivered")
    return _("The notification is being sent once more")


def _asks_another_way(one: Recipient) -> bool:
    """The recipient can't use the method, and the sender has not answered."""
    asked = list(one.method_requests.all())
    return bool(asked) and asked[-1].answered_at is None


def can_be_revoked(one: Recipient) -> bool:
    """There is something that this recipient could still open, or will get. An account needs no mail that arrived."""
    if one.state not in (State.DELIVERED, State.UNDELIVERABLE) or one.method == Method.ACCOUNT.value:
        return True
    return one.links.exists()
