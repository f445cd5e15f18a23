"""Webhooks: the signature by itself, the document, when it is tried again, and what is said."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from zegel.core.policy import webhooks
from zegel.core.policy.alarms import Alarm, Condition
from zegel.core.policy.webhooks import EVENTS, MOST_AGE, PAUSES, Event, Milestone, headers, knocks_elsewhere, next_try
from zegel.core.secret import Secret

PAGE: Final = Path("docs/webhooks.md")
AT: Final = datetime(2026, 11, 26, 13, 3, 21, tzinfo=UTC)
KEY: Final = Secret(b"0123456789abcdef0123456789abcdef")


def test_the_document_is_what_the_tables_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == webhooks.as_markdown()


@pytest.fixture
def is_genuine() -> Any:
    """The function of the document, and nothing of ours."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    found: dict[str, Any] = {}
    exec(code, found)
    return found["is_genuine"]


def test_what_the_document_says_in_python_takes_a_request_and_no_forged_one(is_genuine: Any) -> None:
    body, now = b'{"type":"webhook.test"}', datetime.now(UTC)
    secret = webhooks.written(KEY).reveal()
    signed = dict(headers("0197f3f4", body, [KEY], now=now))
    assert is_genuine(signed, body, secret)
    assert not is_genuine(signed, body + b" ", secret)
    assert not is_genuine({**signed, "webhook-id": "0197f3f5"}, body, secret)
    assert not is_genuine({**signed, "webhook-timestamp": str(int(time.time()) + 1)}, body, secret)
    assert not is_genuine(signed, body, webhooks.written(Secret(b"x" * 32)).reveal())
    assert not is_genuine({**signed, "webhook-signature": "v2," + signed["webhook-signature"][3:]}, body, secret)
    old = dict(headers("0197f3f4", body, [KEY], now=now - timedelta(minutes=10)))
    assert not is_genuine(old, body, secret)


def test_two_secrets_sign_both(is_genuine: Any) -> None:
    other = Secret(b"y" * 32)
    signed = dict(headers("0197f3f4", b"x", [KEY, other], now=datetime.now(UTC)))
    assert len(signed["webhook-signature"].split(" ")) == 2
    assert is_genuine(signed, b"x", webhooks.written(KEY).reveal())
    assert is_genuine(signed, b"x", webhooks.written(other).reveal())


def test_the_signature_of_a_known_request_does_not_change() -> None:
    """Worked out by openssl:

    printf 'id.1764162201.{}' | openssl dgst -sha256 -mac HMAC -macopt key:… -binary | base64"""
    signed = headers("id", b"{}", [KEY], now=datetime.fromtimestamp(1764162201, UTC))
    assert signed["webhook-signature"] == "v1,sd6FL9qk2O78T7MgeOr73NUwy6I/wszY49Al3ujC3mI="


def test_a_secret_is_written_and_read_as_libraries_do() -> None:
    text = webhooks.written(KEY).reveal()
    assert text.startswith("whsec_") and webhooks.secret_of(text) == KEY
    for odd in ("", "whsec_*", KEY.reveal().decode()):
        with pytest.raises(ValueError, match="not a secret of a webhook"):
            webhooks.secret_of(odd)


def test_pauses_grow_and_end_after_a_day_or_so() -> None:
    assert list(PAUSES) == sorted(PAUSES)
    assert timedelta(hours=24) <= sum(PAUSES, timedelta()) <= timedelta(hours=30) < MOST_AGE
    for number, pause in enumerate(PAUSES, start=1):
        assert next_try(number, AT, AT) == AT + pause
    assert next_try(len(PAUSES) + 1, AT, AT) is None
    assert next_try(1, AT, AT + MOST_AGE) is None
    assert next_try(1, AT, AT - timedelta(hours=1)) == AT - timedelta(hours=1) + PAUSES[0], "the clock was set back"


@pytest.mark.parametrize(("port", "elsewhere"), [("", False), (":443", False), (":25", True), (":1023", True)])
def test_ports_of_other_services_are_not_knocked_at(port: str, elsewhere: bool) -> None:
    assert knocks_elsewhere(f"https://example.org{port}/") is elsewhere


def test_types_are_written_as_the_specification_recommends() -> None:
    assert all(re.fullmatch(r"[a-z]+\.[a-z]+", one) for one in EVENTS)
    assert max(map(len, EVENTS)) <= 24, "the column"


def test_the_body_has_what_the_document_shows_and_nothing_else() -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    evidence = {"host": "mx.example.org", "protocol": "TLSv1.3"}
    about = Milestone("m", "<1234@example.org>", "r", "recipient@example.org", [], evidence)
    said = json.loads(webhooks.body(Event.DELIVERED, AT, "Voorbeeldziekenhuis", about))
    like = json.loads(shown)
    assert (said.keys(), said["data"].keys()) == (like.keys(), like["data"].keys())
    assert (said["type"], said["timestamp"]) == (like["type"], like["timestamp"])
    alarm = json.loads(webhooks.body(Event.ALARM_RAISED, AT, "x", Alarm(Condition.LIST_LAPSED, "koepel", 9)))
    assert alarm["data"]["says"]["en"].startswith("The list of domains “koepel”")


def test_half_a_character_does_not_keep_the_rest_from_being_told() -> None:
    assert b"?" in webhooks.body(Event.TEST, AT, "Organisatie \ud800", None)
