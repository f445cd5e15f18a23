"""Webhooks: what programs are told of, how it is signed, and when it is tried again.

``Event`` is a table; ``docs/webhooks.md`` is printed from it. Requests are signed as the Standard Webhooks specification
says (version 1.0.0), so that whoever has a library for that needs nothing of ours.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, Final
from urllib.parse import urlsplit

from zegel.core.clock import Duration, Instant
from zegel.core.policy.alarms import Alarm, Sentence
from zegel.core.secret import Secret

SECRET_OCTETS: Final = 32  # the specification asks for 24 to 64
_MARK: Final = "whsec_"
LOWEST_PORT: Final = 1024  # below it nothing but HTTPS' own port is knocked at
MOST_AGE: Final[Duration] = timedelta(hours=36)  # whatever waited for its turn so long is given up
PAUSES: Final[Sequence[Duration]] = (  # after each try that failed; then it is given up, after 28 hours
    timedelta(seconds=10),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=1),
    timedelta(hours=2),
    timedelta(hours=4),
    timedelta(hours=8),
    timedelta(hours=12),
)
KEPT: Final[Duration] = timedelta(days=7)  # how each request ended is shown so long


class Event(Enum):
    """A row of the table. ``value`` is its type: it is stored and sent, and never gets another meaning."""

    _value_: str
    what: Sentence

    def __new__(cls, code: str, en: str, nl: str) -> Event:
        event = object.__new__(cls)
        event._value_, event.what = code, Sentence(en, nl)
        return event

    HELD = (
        "recipient.held",
        "Held: something that policy demands is not known. The sender is told.",
        "Vastgehouden: iets dat het beleid eist, is niet bekend. De afzender krijgt bericht.",
    )
    NOTIFIED = (
        "recipient.notified",
        "Notified: the receiving server took the notification.",
        "Gemeld: de ontvangende server nam het notificatiebericht aan.",
    )
    DELIVERED = (
        "recipient.delivered",
        "Delivered: the receiving server took the readable message. Whether it was read is not known.",
        "Bezorgd: de ontvangende server nam het leesbare bericht aan. Of het gelezen is, is niet bekend.",
    )
    OPENED = (
        "recipient.opened",
        "Opened on the portal after verification, for the first time.",
        "Voor het eerst geopend op het portaal, na verificatie.",
    )
    ANSWERED = (
        "recipient.answered",
        "The recipient answered in the portal.",
        "De ontvanger antwoordde in het portaal.",
    )
    UNDELIVERABLE = (
        "recipient.undeliverable",
        "Undeliverable: it was refused or came back, or nothing was left to try.",
        "Onbestelbaar: het is geweigerd of teruggekomen, of er was niets meer te proberen.",
    )
    REVOKED = (
        "recipient.revoked",
        "Revoked: the recipient can’t open the message any more.",
        "Ingetrokken: de ontvanger kan het bericht niet meer openen.",
    )
    EXPIRED = (
        "recipient.expired",
        "Expired: the keys of the message were destroyed, and nobody can open it any more.",
        "Verlopen: de sleutels van het bericht zijn vernietigd; niemand kan het meer openen.",
    )
    ALARM_RAISED = (
        "alarm.raised",
        "An alarm of the organisation was raised.",
        "Er is een alarm van de organisatie.",
    )
    ALARM_ENDED = (
        "alarm.ended",
        "An alarm of the organisation ended.",
        "Een alarm van de organisatie is voorbij.",
    )
    TEST = (
        "webhook.test",
        "Somebody asked for a test. It is sent whatever was chosen.",
        "Iemand vroeg om een proef. Die wordt verstuurd, wat er ook gekozen is.",
    )


EVENTS: Final = {event.value: event for event in Event}
CHOICE: Final = tuple(event for event in Event if event is not Event.TEST)
OF_RECIPIENTS: Final = frozenset(event for event in CHOICE if event.value.startswith("recipient."))


def knocks_elsewhere(url: str) -> bool:
    """The port is one where other services listen than web servers. For an address that could be fetched."""
    port = urlsplit(url).port
    return port is not None and port != 443 and port < LOWEST_PORT


# --- trying again -------------------------------------------------------------------------------------------------


def next_try(tries: int, made_at: Instant, now: Instant) -> Instant | None:
    """When it is tried again after so many tries that failed; ``None``: it is given up."""
    if tries > len(PAUSES) or now - made_at >= MOST_AGE:
        return None
    return now + PAUSES[tries - 1]


def is_taken(status: int) -> bool:
    """The server says that it has it."""
    return 200 <= status <= 299


def is_gone(status: int) -> bool:
    """The server wants nothing of the kind any more (RFC 9110 §15.5.11)."""
    return status == 410


# --- signing ------------------------------------------------------------------------------------------------------


def written(secret: Secret[bytes]) -> Secret[str]:
    """As it is shown, and as libraries take it."""
    return Secret(_MARK + base64.b64encode(secret.reveal()).decode())


def secret_of(text: str) -> Secret[bytes]:
    """The octets of one that is written so. Raises ``ValueError``, without what was written."""
    try:
        if text.startswith(_MARK):
            return Secret(base64.b64decode(text.removeprefix(_MARK), validate=True))
    except binascii.Error:
        pass
    raise ValueError("not a secret of a webhook") from None


def headers(identity: str, body: bytes, secrets: Sequence[Secret[bytes]], *, now: Instant) -> Mapping[str, str]:
    """Of one request: a signature for each secret that is valid. ``identity`` has no full stop in it."""
    stamp = str(int(now.timestamp()))
    signed = b".".join((identity.encode(), stamp.encode(), body))
    return {
        "Content-Type": "application/json",
        "webhook-id": identity,
        "webhook-timestamp": stamp,
        "webhook-signature": " ".join(_signature(secret, signed) for secret in secrets),
    }


def _signature(secret: Secret[bytes], signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(secret.reveal(), signed, hashlib.sha256)).decode()


# --- what is said -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Milestone:
    """What a program hears of a recipient: never subject, content, numbers, codes or links."""

    message: str  # our reference: of the submission, as in the 250
    message_id: str
    recipient: str
    address: str
    says: Sequence[Sentence]
    more: Mapping[str, str | None]  # evidence, by the names that docs/trace.md has for it


def body(event: Event, at: Instant, organisation: str, about: Milestone | Alarm | None) -> bytes:
    """The same facts give the same octets, at every try."""
    return json.dumps(
        {
            "type": event.value,
            "timestamp": at.isoformat(timespec="seconds"),
            "data": {"organisation": organisation, **_data(event, about)},
        },
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode("utf-8", "replace")


def _data(event: Event, about: Milestone | Alarm | None) -> dict[str, Any]:
    match about:
        case Milestone():
            return {
                "message": about.message,
                "message_id": about.message_id,
                "recipient": about.recipient,
                "address": about.address,
                "says": _joined((event.what, *about.says)),
                "evidence": dict(about.more),
            }
        case Alarm(condition=condition):
            return {
                "alarm": condition.value,
                "severity": condition.severity.value,
                "about": about.about,
                "number": about.number,
                "says": _joined([about.what]),
                "remedy": _joined([condition.remedy]),
            }
        case None:
            return {"says": _joined([event.what])}


def _joined(sentences: Sequence[Sentence]) -> dict[str, str]:
    return {"en": " ".join(one.en for one in sentences), "nl": " ".join(one.nl for one in sentences)}
