"""How text messages are handed to providers over HTTPS: what each wants to be asked, and which answer means *taken*.

Facts are of the providers' public documentation (November 2026); no provider was asked.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

from zegel.core.secret import Secret

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
OWN_BODY: Final = '{"to": {to}, "from": {from}, "text": {text}, "reference": {reference}}'
OWN_HEADERS: Final = ("Authorization: Bearer {secret}",)
_PLACE: Final = re.compile(r"\{(to|from|text|reference|secret)\}")
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9_-]{1,100}(?:/[A-Za-z0-9_-]{1,100})?")
_HEADER: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,60}:[ -~]{1,500}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ]{0,10}|\+?[0-9]{3,15}")  # 3GPP TS 23.040 §9.1.2.5


@dataclass(frozen=True, slots=True)
class Contract:
    """With a provider: who sends, and by what the provider knows us."""

    sender: str  # a name of at most eleven letters and digits, or a number
    secret: Secret[str]
    account: str = ""  # Twilio: the account's SID; Bird: "workspace/channel"
    url: str = ""  # of a provider that is none of these
    body: str = OWN_BODY
    kind: str = JSON
    headers: tuple[str, ...] = OWN_HEADERS


@dataclass(frozen=True, slots=True)
class Text:
    """One message."""

    to: Secret[str]  # E.164, "+31612345678"
    text: Secret[str]
    reference: str  # the same again: the same message


@dataclass(frozen=True, slots=True)
class Asked:
    """A POST."""

    url: str
    headers: Mapping[str, str] = field(repr=False)  # the secret may be in one
    body: Secret[bytes]


@dataclass(frozen=True, slots=True)
class Provider:
    """One row of :data:`PROVIDERS`."""

    name: str
    needs_account: bool
    ask: Callable[[Contract, Text], Asked]
    is_taken: Callable[[int, bytes], bool]  # by status and content of the answer


def is_sender(text: str) -> bool:
    """A telephone can show it."""
    return _NAME.fullmatch(text) is not None


def is_account(text: str) -> bool:
    """A provider can know us by it; nothing in it leads to another address."""
    return _ACCOUNT.fullmatch(text) is not None


def is_header(text: str) -> bool:
    """It can be a header of a request: ``Name: value``."""
    return _HEADER.fullmatch(text) is not None


# What each wants


def _cm(contract: Contract, text: Text) -> Asked:
    to = f"00{text.to.reveal().lstrip('+')}"
    message = {
        "from": contract.sender,
        "to": [{"number": to}],
        "body": {"type": "auto", "content": text.text.reveal()},
        "reference": text.reference,
        "minimumNumberOfMessageParts": 1,
        "maximumNumberOfMessageParts": 8,
    }
    body = {"messages": {"authentication": {"productToken": contract.secret.reveal()}, "msg": [message]}}
    return _json("https://gw.messaging.cm.com/v1.0/message", {}, body)


def _cm_took(status: int, octets: bytes) -> bool:
    told = _told(octets)
    messages = told.get("messages")
    each = messages if isinstance(messages, list) else []
    return (
        status == 200
        and told.get("errorCode") == 0
        and bool(each)
        and all(isinstance(one, dict) and one.get("messageErrorCode") == 0 for one in each)
    )


def _bird(contract: Contract, text: Text) -> Asked:
    workspace, _, channel = contract.account.partition("/")
    body = {
        "receiver": {"contacts": [{"identifierKey": "phonenumber", "identifierValue": text.to.reveal()}]},
        "body": {"type": "text", "text": {"text": text.text.reveal()}},
        "reference": text.reference,
    }
    place = f"workspaces/{quote(workspace, safe='')}/channels/{quote(channel, safe='')}/messages"
    return _json(f"https://api.bird.com/{place}", {"Authorization": f"AccessKey {contract.secret.reveal()}"}, body)


def _spryng(contract: Contract, text: Text) -> Asked:
    body = {
        "body": text.text.reveal(),
        "encoding": "auto",
        "originator": contract.sender,
        "recipients": [text.to.reveal().lstrip("+")],
        "route": "business",
        "reference": text.reference,
    }
    known = {"Authorization": f"Bearer {contract.secret.reveal()}"}
    return _json("https://rest.spryngsms.com/v1/messages", known, body)


def _twilio(contract: Contract, text: Text) -> Asked:
    sender = {"MessagingServiceSid" if contract.sender.startswith("MG") else "From": contract.sender}
    body = urlencode({"To": text.to.reveal(), **sender, "Body": text.text.reveal()}).encode()
    known = base64.b64encode(f"{contract.account}:{contract.secret.reveal()}".encode()).decode()
    url = f"https://api.twilio.com/2010-04-01/Accounts/{quote(contract.account, safe='')}/Messages.json"
    return Asked(url, {"Authorization": f"Basic {known}", "Content-Type": FORM, "Accept": JSON}, Secret(body))


def _own(contract: Contract, text: Text) -> Asked:
    """As the administrator wrote it; what is filled in is written as the body's kind demands."""
    written: Callable[[str], str] = json.dumps if contract.kind == JSON else lambda value: quote(value, safe="")
    values = {
        "to": text.to.reveal(),
        "from": contract.sender,
        "text": text.text.reveal(),
        "reference": text.reference,
        "secret": contract.secret.reveal(),
    }
    body = _PLACE.sub(lambda place: written(values[place[1]]), contract.body).encode()
    headers = {}
    for line in contract.headers:
        name, _, value = line.partition(":")
        headers[name.strip()] = value.strip().replace("{secret}", contract.secret.reveal())
    return Asked(contract.url, {"Content-Type": contract.kind, "Accept": "*/*", **headers}, Secret(body))


def _json(url: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> Asked:
    octets = json.dumps(body, ensure_ascii=False).encode()
    return Asked(url, {"Content-Type": JSON, "Accept": JSON, **headers}, Secret(octets))


def _told(octets: bytes) -> dict[str, Any]:
    try:
        told = json.loads(octets)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _in_the_200s(status: int, octets: bytes) -> bool:
    return 200 <= status < 300


PROVIDERS: Final[Mapping[str, Provider]] = {
    one.name: one
    for one in (
        Provider("cm", needs_account=False, ask=_cm, is_taken=_cm_took),
        Provider("bird", needs_account=True, ask=_bird, is_taken=_in_the_200s),
        Provider("spryng", needs_account=False, ask=_spryng, is_taken=_in_the_200s),
        Provider("twilio", needs_account=True, ask=_twilio, is_taken=_in_the_200s),
        Provider("http", needs_account=False, ask=_own, is_taken=_in_the_200s),
    )
}
