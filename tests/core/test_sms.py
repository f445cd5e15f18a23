"""What is asked of providers of text messages, and which of their answers mean that they took one."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qs

import pytest

from zegel.core.policy.phone import country_of
from zegel.core.secret import Secret
from zegel.core.sms import FORM, PROVIDERS, Asked, Contract, Text, is_account, is_header, is_sender

WORDS: Final = 'Uw code: 123456, "één keer" & niet vaker\n@post.voorbeeld.test #123456'
TEXT: Final = Text(Secret("+31612345678"), Secret(WORDS), "sleutel")
CONTRACT: Final = Contract("Zegel", Secret("geheim-token"), "AC123/kanaal")


def asked(name: str, contract: Contract = CONTRACT) -> Asked:
    return PROVIDERS[name].ask(contract, TEXT)


def body(one: Asked) -> Any:
    return json.loads(one.body.reveal())


@pytest.mark.parametrize("name", PROVIDERS)
def test_no_address_holds_a_number_a_text_or_a_secret(name: str) -> None:
    one = asked(name, replace(CONTRACT, url="https://sms.voorbeeld.test/send"))
    assert one.url.startswith("https://")
    for told in (one.url, repr(one)):
        assert "12345678" not in told and "123456" not in told
        assert "geheim-token" not in told


def test_cm() -> None:
    one = asked("cm")
    assert one.url == "https://gw.messaging.cm.com/v1.0/message"
    message = body(one)["messages"]
    assert message["authentication"] == {"productToken": "geheim-token"}
    [sent] = message["msg"]
    assert (sent["from"], sent["to"]) == ("Zegel", [{"number": "0031612345678"}])
    assert (sent["body"], sent["reference"]) == ({"type": "auto", "content": WORDS}, "sleutel")


@pytest.mark.parametrize(
    ("status", "told", "is_taken"),
    [
        (200, {"errorCode": 0, "messages": [{"status": "Accepted", "messageErrorCode": 0}]}, True),
        (200, {"errorCode": 0, "messages": [{"status": "Rejected", "messageErrorCode": 303}]}, False),
        (200, {"errorCode": 0, "messages": []}, False),
        (200, {"errorCode": 0, "messages": ["wat"]}, False),
        (200, {"errorCode": 0, "messages": 3}, False),
        (200, {"errorCode": 103, "messages": [{"messageErrorCode": 0}]}, False),
        (401, {"errorCode": 0, "messages": [{"messageErrorCode": 0}]}, False),
        (200, [], False),
        (200, None, False),
    ],
)
def test_cm_says_for_each_message_whether_it_took_it(status: int, told: object, is_taken: bool) -> None:
    assert PROVIDERS["cm"].is_taken(status, json.dumps(told).encode()) is is_taken
    assert not PROVIDERS["cm"].is_taken(status, b"<html>")


def test_bird() -> None:
    one = asked("bird")
    assert one.url == "https://api.bird.com/workspaces/AC123/channels/kanaal/messages"
    assert one.headers["Authorization"] == "AccessKey geheim-token"
    [contact] = body(one)["receiver"]["contacts"]
    assert contact["identifierValue"] == "+31612345678"
    assert body(one)["body"]["text"]["text"] == WORDS


def test_spryng() -> None:
    one = asked("spryng")
    assert one.url == "https://rest.spryngsms.com/v1/messages"
    assert one.headers["Authorization"] == "Bearer geheim-token"
    assert body(one)["recipients"] == ["31612345678"] and body(one)["body"] == WORDS


@pytest.mark.parametrize(("sender", "field"), [("Zegel", "From"), ("MG0123", "MessagingServiceSid")])
def test_twilio(sender: str, field: str) -> None:
    one = asked("twilio", replace(CONTRACT, account="AC123", sender=sender))
    assert one.url == "https://api.twilio.com/2010-04-01/Accounts/AC123/Messages.json"
    assert base64.b64decode(one.headers["Authorization"].removeprefix("Basic ")) == b"AC123:geheim-token"
    fields = parse_qs(one.body.reveal().decode(), strict_parsing=True)
    assert fields == {"To": ["+31612345678"], field: [sender], "Body": [WORDS]}


def test_an_account_can_not_lead_elsewhere() -> None:
    assert is_account("AC0123") and is_account("0f-12/ab-34")
    assert not any(map(is_account, ("", "..", "../x", "a/..", "a/b/c", "a?b", "a b", "a\n")))
    assert asked("twilio", replace(CONTRACT, account="a/b?c")).url.endswith("/Accounts/a%2Fb%3Fc/Messages.json")


def test_a_provider_of_ones_own() -> None:
    one = asked("http", replace(CONTRACT, url="https://sms.voorbeeld.test/send"))
    assert one.headers["Authorization"] == "Bearer geheim-token"
    assert body(one) == {"to": "+31612345678", "from": "Zegel", "text": WORDS, "reference": "sleutel"}
    form = replace(
        CONTRACT, kind=FORM, body="nummer={to}&tekst={text}&sleutel={secret}", headers=("X-Key: a {secret}",)
    )
    one = asked("http", form)
    assert one.headers["X-Key"] == "a geheim-token" and one.headers["Content-Type"] == FORM
    fields = parse_qs(one.body.reveal().decode(), strict_parsing=True)
    assert fields == {"nummer": ["+31612345678"], "tekst": [WORDS], "sleutel": ["geheim-token"]}


def test_what_is_filled_in_is_not_filled_in_again() -> None:
    text = replace(TEXT, text=Secret("{secret} {to}"))
    one = PROVIDERS["http"].ask(replace(CONTRACT, url="https://sms.voorbeeld.test/"), text)
    assert body(one)["text"] == "{secret} {to}"


@pytest.mark.parametrize("name", ["bird", "spryng", "twilio", "http"])
def test_others_say_it_by_the_status(name: str) -> None:
    taken = PROVIDERS[name].is_taken
    assert taken(200, b"") and taken(201, b"{}") and taken(202, b"")
    assert not any(taken(status, b"{}") for status in (199, 301, 400, 401, 402, 429, 500, 503))


def test_senders_headers_and_countries() -> None:
    assert all(map(is_sender, ("Zegel", "Zorg 112", "+31612345678", "3010")))
    assert not any(map(is_sender, ("", " Zegel", "Gemeente Voorbeeld", "a\nb", "é", "+")))
    assert is_header("X-Key: {secret}") and not any(map(is_header, ("X-Key", "X Key: a", "X: a\r\nY: b", ": a")))
    assert (country_of("+31612345678"), country_of("+32470123456"), country_of("+999123")) == ("NL", "BE", "")
