"""A sender who asks for word of success hears it from the server that took the message: Debian's Postfix announces DSN,
is asked, delivers, and sends its own report to the gateway, which tells the sender. All of it real."""

from __future__ import annotations

import email.policy
import json
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any, Final

import pytest

from tests.interop.story import parsed, words
from tests.needs import needs
from tests.peers import free_port, until
from tests.peers.gateway import SENDER, SENDING_DOMAIN
from tests.peers.world import GUEST_DOMAIN, READABLE_DOMAIN, World, world

READER: Final = f"lezer@{READABLE_DOMAIN}"
QUIET: Final = f"stil@{READABLE_DOMAIN}"
ALIAS: Final = f"post@{READABLE_DOMAIN}"  # of the reader
GONE: Final = f"weg@{READABLE_DOMAIN}"  # an alias of nobody: taken, and refused later
GUEST: Final = f"gast@{GUEST_DOMAIN}"  # gets a notification
SENTENCE: Final = "De uitslag is goed, Merkteken7f3a."
RETURN_PATHS: Final = f"zegel-bounce.{SENDING_DOMAIN}"


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    """Mail to the gateway's return paths goes from the receiving server to the gateway's own port for bounces."""
    needs("postfix")
    port = free_port()
    home = {
        "transport_maps": f"inline:{{{RETURN_PATHS}=smtp:[127.0.0.1]:{port}}}",
        "virtual_alias_maps": f"inline:{{{ALIAS}={READER}, {GONE}=niemand@nergens.test}}",
    }
    with world(settings=f'[inbound]\nlisten = ["127.0.0.1:{port}"]\n', secure_settings=home) as found:
        yield found


def send(running: World, wishes: dict[str, str], *, envid: str, original: str = "") -> str:
    """One message; each recipient with its NOTIFY. Returns its Message-ID."""
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"], message["To"], message["Subject"] = SENDER, ", ".join(wishes), "Onderwerp"
    message["Message-ID"] = f"<{envid}@{SENDING_DOMAIN}>"
    message.set_content(SENTENCE + "\n")
    with running.gateway.client() as client:
        assert client.mail(SENDER, ["RET=FULL", f"ENVID={envid}"])[0] == 250
        for recipient, notify in wishes.items():
            known_as = (original or recipient).replace("+", "+2B")
            assert client.rcpt(recipient, [f"NOTIFY={notify}", f"ORCPT=rfc822;{known_as}"])[0] == 250
        assert client.data(message.as_bytes())[0] == 250
    return str(message["Message-ID"])


def told(running: World, envid: str, *, reports: int) -> list[EmailMessage]:
    """The reports that the sender got about a message, once there are so many."""

    def found() -> list[EmailMessage]:
        mails = [parsed(one) for one in running.sender.mailbox(SENDER)]
        return [one for one in mails if f"Original-Envelope-Id: {envid}\n" in one.as_string()]

    until(lambda: len(found()) >= reports, 60)
    return found()


def fields(report: EmailMessage) -> str:
    (part,) = (one for one in report.walk() if one.get_content_type() == "message/delivery-status")
    return part.as_string()


def trace(running: World, message_id: str) -> dict[str, dict[str, Any]]:
    printed = running.gateway.command("trace", message_id, "--json")
    shown, _ = json.JSONDecoder().raw_decode(printed)  # behind it stands that the export was noted
    return {one["address"]: one for one in shown["recipients"]}


def test_the_word_of_the_receiving_server_reaches_the_sender(running: World) -> None:
    wishes = {READER: "SUCCESS,FAILURE", QUIET: "NEVER"}
    message = send(running, wishes, envid="stuk-1", original=f"Groep+Een@{READABLE_DOMAIN}")
    (report,) = told(running, "stuk-1", reports=1)
    assert SENTENCE.encode() in running.secure.wait_for_message(READER)
    running.secure.wait_for_message(QUIET)
    said = fields(report)
    assert f"Original-Recipient: rfc822;Groep+Een@{READABLE_DOMAIN}\n" in said
    assert f"Final-Recipient: rfc822; {READER}\nAction: delivered\nStatus: 2.0.0\n" in said
    assert "Remote-MTA: dns; mx.veilig.test\n" in said
    assert SENTENCE not in report.as_string()
    assert "Subject: Onderwerp" in report.as_string()
    shown = trace(running, message)
    assert shown[READER]["confirmation"]["action"] == "delivered"
    assert shown[READER]["state"] == "delivered"
    assert [one["outcome"] for one in shown[READER]["mails"][0]["attempts"]] == ["Accepted", "ArrivedElsewhere"]
    assert [one["event"] for one in shown[READER]["events"]][-1] == "confirmed"
    assert shown[QUIET]["confirmation"] is None
    assert [one["outcome"] for one in shown[QUIET]["mails"][0]["attempts"]] == ["Accepted"]


def test_an_alias_is_told_as_what_it_is(running: World) -> None:
    message = send(running, {ALIAS: "SUCCESS"}, envid="stuk-2")
    (report,) = told(running, "stuk-2", reports=1)
    assert f"Final-Recipient: rfc822; {ALIAS}\nAction: expanded\n" in fields(report)
    assert READER not in report.as_string()
    assert trace(running, message)[ALIAS]["confirmation"]["action"] == "expanded"


def test_what_the_receiving_server_took_and_could_not_deliver_brings_no_content_back(running: World) -> None:
    """RET=FULL was asked of the gateway, and RET=HDRS of the server; the failure is known, and told where it may be."""
    message = send(running, {GONE: "NEVER"}, envid="stuk-3")
    until(lambda: trace(running, message)[GONE]["state"] == "undeliverable", 60)
    message = send(running, {GONE: "FAILURE"}, envid="stuk-4")
    (report,) = told(running, "stuk-4", reports=1)
    assert "Action: failed\n" in fields(report)
    assert SENTENCE not in report.as_string()
    with pytest.raises(TimeoutError):
        running.sender.wait_for_message(SENDER, lambda mail: b"stuk-3" in mail, timeout=1)


def test_a_notification_is_relayed_and_its_server_is_asked_for_nothing(running: World) -> None:
    message = send(running, {GUEST: "SUCCESS"}, envid="stuk-5")
    (report,) = told(running, "stuk-5", reports=1)
    assert "Action: relayed\n" in fields(report)
    assert "notification" in words(report.as_bytes())
    running.secure.wait_for_message(GUEST)
    shown = trace(running, message)[GUEST]
    assert shown["confirmation"] is None
    assert [one["outcome"] for one in shown["mails"][0]["attempts"]] == ["Accepted"]


def test_nobody_was_told_twice(running: World) -> None:
    until(running.secure.queue_empty, 60)
    for envid in ("stuk-1", "stuk-2", "stuk-4", "stuk-5"):
        assert len(told(running, envid, reports=1)) == 1
