"""The TLS report of a day (RFC 8460), from the whole gateway: Postfix submits, Postfix receives, NSD has the DNS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any, Final

import pytest

from tests.interop.story import arrived, submit
from tests.peers.gateway import HOST, SENDER, SENDING_DOMAIN
from tests.peers.world import OPEN_DOMAIN, READABLE_DOMAIN, World, world

READER: Final = f"archief@{READABLE_DOMAIN}"
IN_CLEAR: Final = f"balie@{OPEN_DOMAIN}"


@pytest.fixture
def running() -> Iterator[World]:
    with world() as found:
        yield found


def send(running: World, number: int) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = SENDER, f"{READER}, {IN_CLEAR}", f"Uitslag {number}"
    message["Message-ID"] = f"<{number}@{SENDING_DOMAIN}>"
    message.set_content(f"De uitslag is goed, {number}.\n")
    submit(running, message, [READER, IN_CLEAR])
    arrived(running.secure, READER, f"<{number}@{SENDING_DOMAIN}>")
    arrived(running.open, IN_CLEAR, "Subject: ")


def reports(running: World, *more: str) -> dict[str, dict[str, Any]]:
    """Of today, by policy domain."""
    day = datetime.now(UTC).date().isoformat()
    lines = running.gateway.command("tls-report", "--day", day, *more).splitlines()
    made = [json.loads(line) for line in lines if line.startswith("{")]
    assert [line for line in lines if not line.startswith("{")] == [
        "zegel: This day is not over: what is printed is not the whole of it."
    ]
    return {one["policies"][0]["policy"]["policy-domain"]: one for one in made}


def test_what_the_gateway_counted_outlives_it_and_is_printed_to_be_sent(running: World) -> None:
    send(running, 1)
    running.gateway.stop()
    first = reports(running)
    assert {READABLE_DOMAIN, OPEN_DOMAIN} <= set(first)
    summary = first[READABLE_DOMAIN]["policies"][0]["summary"]
    assert summary["total-failure-session-count"] == 0
    assert summary["total-successful-session-count"] >= 1
    (failure,) = first[OPEN_DOMAIN]["policies"][0]["failure-details"]
    assert (failure["result-type"], failure["receiving-mx-hostname"]) == (
        "starttls-not-supported",
        "mx.zonder-tls.test",
    )
    assert first[READABLE_DOMAIN]["contact-info"] == f"postmaster@{HOST}"

    running.gateway.start()
    send(running, 2)
    running.gateway.stop()
    second = reports(running, "--domain", READABLE_DOMAIN, "--organisation-name", "Voorbeeld", "--contact", SENDER)
    assert set(second) == {READABLE_DOMAIN}
    report = second[READABLE_DOMAIN]
    assert (report["organization-name"], report["contact-info"]) == ("Voorbeeld", SENDER)
    before = summary["total-successful-session-count"]
    assert report["policies"][0]["summary"]["total-successful-session-count"] > before
    assert report["report-id"] == first[READABLE_DOMAIN]["report-id"]
