"""What the stories of messages have in common: submitting, waiting for mail, reading it, signing in, opening."""

from __future__ import annotations

import email
import email.policy
import re
import smtplib
from email.message import EmailMessage

from playwright.sync_api import Page, expect

from tests.peers import until
from tests.peers.gateway import PASSWORD, SENDER, SENDING_DOMAIN
from tests.peers.postfix import Postfix
from tests.peers.world import World
from zegel.accounts.sign_in import current_totp
from zegel.core.secret import Secret


def submit(running: World, message: EmailMessage, recipients: list[str], *, reverse_path: str = SENDER) -> None:
    """To the sender's own Postfix, which relays to the gateway over SASL and verified STARTTLS."""
    with smtplib.SMTP(running.sender.ip, running.sender.port, timeout=30) as client:
        client.send_message(message, reverse_path, recipients)


def arrived(peer: Postfix, address: str, wanted: str, patience: float = 60) -> list[bytes]:
    """The mails at ``address`` that hold ``wanted`` in their header section."""

    def found() -> list[bytes]:
        return [one for one in peer.mailbox(address) if wanted.encode() in one.partition(b"\n\n")[0]]

    until(lambda: bool(found()), patience)
    return found()


def parsed(octets: bytes) -> EmailMessage:
    return email.message_from_bytes(octets, policy=email.policy.default)


def words(octets: bytes) -> str:
    """The text part, decoded."""
    body = parsed(octets).get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def everything_in(octets: bytes) -> bytes:
    """A mail with every part decoded beside it."""
    parts = [bytes(part.get_payload(decode=True) or b"") for part in parsed(octets).walk()]
    return octets + b"".join(parts)


def link_in(octets: bytes) -> str:
    found = re.search(r"http://localhost:\d+/m/[A-Za-z0-9_-]{43}", words(octets))
    assert found, words(octets)
    return found[0]


def sign_in(page: Page, running: World, address: str) -> None:
    """Password, then the second factor, which is set up: once for each account of a story."""
    page.goto(f"{running.gateway.url}/inbox/")
    page.locator("input[name=login]").fill(address)
    page.locator("input[name=password]").fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()
    secret = (page.locator("#authenticator_secret").text_content() or "").replace(" ", "")
    page.get_by_label("Code").fill(current_totp(Secret(secret)))
    page.get_by_role("button", name="Switch on").click()
    page.goto(f"{running.gateway.url}/inbox/")
    expect(page.get_by_role("heading", name="Messages")).to_be_visible()


def open_by_sms(page: Page, running: World, link: str) -> str:
    """Follows a link, asks for a text message, and enters its code; returns the number that it went to."""
    before = len(running.gateway.texts())
    page.goto(link)
    page.get_by_role("button", name="Send me a code by text message").click()
    until(lambda: len(running.gateway.texts()) > before)
    text = running.gateway.texts()[-1]
    _enter(page, text["text"])
    return text["to"]


def open_by_email(page: Page, running: World, link: str, address: str, peer: Postfix) -> None:
    """Follows a link, asks for a mail with a code, and enters it."""
    wanted = f"zegel@{SENDING_DOMAIN}"
    before = len([one for one in peer.mailbox(address) if wanted.encode() in one.partition(b"\n\n")[0]])
    page.goto(link)
    page.get_by_role("button", name="Mail me a code").click()
    until(lambda: len(arrived(peer, address, wanted)) > before)
    _enter(page, words(arrived(peer, address, wanted)[-1]))


def open_by_access_code(page: Page, link: str, code: str) -> None:
    """Follows a link, and enters what sender and recipient share."""
    page.goto(link)
    page.get_by_label("Access code").fill(code)
    page.get_by_role("button", name="Open the message").click()


def _enter(page: Page, text: str) -> None:
    code = re.search(r"\b\d{3} ?\d{3}\b", text)
    assert code
    page.locator("input[autocomplete=one-time-code]").fill(code[0].replace(" ", ""))
    page.get_by_role("button", name="Open the message").click()
