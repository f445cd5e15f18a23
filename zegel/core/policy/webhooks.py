"""Webhooks: what programs are told of, how it is signed, and when it is tried again.

``Event`` is a table, from which ``docs/webhooks.md`` is printed. Requests are signed as the Standard Webhooks
specification says (version 1.0.0), so that whoever has a library for that needs nothing of ours.
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


# --- the page -----------------------------------------------------------------------------------------------------


def as_markdown() -> str:
    """``docs/webhooks.md``, printed from the tables."""
    return _PAGE.format(
        events="".join(f"| `{one.value}` | {one.what.en} |\n" for one in Event),
        pauses=", ".join(_length(one) for one in PAUSES),
        age=MOST_AGE // timedelta(hours=1),
        kept=KEPT.days,
        port=LOWEST_PORT,
    )


def _length(pause: Duration) -> str:
    for size, unit in ((3600, "hour"), (60, "minute")):
        if pause.seconds >= size:
            return f"{pause.seconds // size} {unit}{'' if pause.seconds == size else 's'}"
    return f"{pause.seconds} seconds"


_PAGE: Final = """\
# Webhooks

<!-- Printed by zegel.core.policy.webhooks.as_markdown; a test compares. -->

A webhook is a web address of a program of yours. The gateway posts to it what became of a message, or what is wrong, as
soon as it happens. An owner or administrator adds it in the console (*Webhooks*), a program with the API (scopes
`webhooks:read`, `webhooks:write`), the user of the machine with `zegel webhooks add URL --organisation NAME
--description TEXT`. An organisation has ten at most, each with its own choice of events. Adding, changing, renewing and
removing stand in the audit log.

## Events

| type | means |
|---|---|
{events}
Alarms are those of the organisation ([alarms.md](alarms.md)). What each state means, and what it doesn't, is said in
[trace.md](trace.md).

## A request

```json
{{
  "type": "recipient.delivered",
  "timestamp": "2026-11-26T13:03:21+00:00",
  "data": {{
    "organisation": "Voorbeeldziekenhuis",
    "message": "01a216c9-0faf-7ea5-a549-c80da98ff05f",
    "message_id": "<1234@example.org>",
    "recipient": "01a216c9-0fb0-7c11-8c5d-2b8d5b0b9f21",
    "address": "recipient@example.org",
    "says": {{"en": "Delivered: …", "nl": "Bezorgd: …"}},
    "evidence": {{"host": "mx.example.org", "protocol": "TLSv1.3"}}
  }}
}}
```

`message` is our reference, which the sending server got with the reply; the trace of the API and `zegel trace` take it.
`evidence` differs by event: `host` and `protocol` of the server that took it, `method` that it was opened with,
`status` and `reason` of what can't be served. An alarm has `alarm`, `severity`, `about`, `number`, `says` and `remedy`
in place of what is about a recipient. Fields may be added; none gets another meaning. There is never a subject,
content, a number, a code or a link in it.

| field | holds |
|---|---|
| `webhook-id` | the request; the same at every try: whoever saw it before need do nothing |
| `webhook-timestamp` | when it was sent, in seconds since 1970 |
| `webhook-signature` | `v1,` and a signature; two with a space between, while the secret is renewed |

## Answering

Any status from 200 to 299 says that you have it; answer at once, and work afterwards. What follows the status is not
read. A redirect is not followed. 410 disables the webhook. Everything else, and no answer within 15 seconds, is tried
again after {pauses}.
Then it is given up, as is what waited for {age} hours, and the alarm `webhook-fails` says so. What was given up is not
told again: ask for the trace.

Each event comes at least once: twice, where an answer got lost or the gateway was killed at that moment. They usually
come in the order in which they happened, and need not: go by `timestamp`. One webhook is sent one request at a time, so
a slow server delays nothing but its own. How each request ended is shown for {kept} days.

## Where it may be

The address is `https`, with port 443 or one from {port} on, and a certificate that is valid for its name. The name is
looked up at every try and has to be on the internet: an address of this machine or of a network beside it is refused,
whatever the name, and the address that was looked at is the one that is connected to. Networks of your own that are to
be reached stand in the configuration of the gateway, and hold for all of its organisations:

```toml
[webhooks]
networks = ["10.20.0.0/16"]
```

## That it comes from the gateway

The secret is shown once. Requests are signed as [Standard Webhooks](https://www.standardwebhooks.com/) says (version
1.0.0), for which there are libraries in many languages. In Python without one:

```python
import base64
import hashlib
import hmac
import time


def is_genuine(headers, body, secret):
    # headers: by their names in lower case; body: the octets as they came; secret: with the whsec_ before it
    identity, stamp = headers["webhook-id"], headers["webhook-timestamp"]
    if abs(time.time() - int(stamp)) > 300:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{{identity}}.{{stamp}}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = (one.partition(",") for one in headers["webhook-signature"].split())
    return any(kind == "v1" and hmac.compare_digest(expected, one) for kind, _, one in given)
```

To renew a secret without missing anything: make a second one (*Renew the secret*), give it to the program, and end the
previous one. Until then every request has a signature of both.

## What is kept

A waiting request names its event and the recipient's row, and no address: what it says is read at the moment of
sending. Who is erased is not told of any more; with an organisation all of it goes ([erasure.md](erasure.md)).
"""
