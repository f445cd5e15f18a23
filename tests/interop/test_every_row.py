"""Every row of the precedence table, every part real: its last step is a recipient who reads, or a sender who hears.

Row 2 has one of its own, with signed zones (journey/test_delivery_nta_world.py). One story, in its order.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any, Final

import pytest
from playwright.sync_api import Page, expect

from tests.interop.story import (
    arrived,
    everything_in,
    link_in,
    open_by_access_code,
    open_by_email,
    open_by_sms,
    parsed,
    sign_in,
    submit,
    words,
)
from tests.needs import needs
from tests.peers import until
from tests.peers.chromium import Chromium, browser
from tests.peers.gateway import ORGANISATION, PASSWORD, SENDER, SENDING_DOMAIN
from tests.peers.world import GUEST_DOMAIN, OPEN_DOMAIN, World, world

COLLEAGUE: Final = f"collega@{SENDING_DOMAIN}"
HOLDER: Final = f"arts@{GUEST_DOMAIN}"  # has an account
MOBILE: Final = f"patient@{GUEST_DOMAIN}"
FAMILY: Final = f"familie@{GUEST_DOMAIN}"
GUEST: Final = f"gast@{GUEST_DOMAIN}"
HELD: Final = f"wacht@{GUEST_DOMAIN}"
INBOUND: Final = "zorg.test"  # of another organisation here, with inbound direct delivery
PHONE: Final = "+31612345678"
OTHER_PHONE: Final = "+31687654321"
CODE: Final = "geheim 0042"
PROVEN: Final = "tls tls1.2 auth certificate-validation"


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    needs("chromium", "postfix")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with world(inbound=INBOUND) as found:
        for address in (COLLEAGUE, HOLDER):
            found.gateway.command("account", "add", address, "--organisation", ORGANISATION, "--password", PASSWORD)
        yield found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    needs("chromium")
    with browser() as found:
        yield found


@pytest.fixture
def page(chromium: Chromium) -> Iterator[Page]:
    with chromium.visit(java_script_enabled=False, locale="en-US") as visit:
        yield visit.page


_numbers: Final = itertools.count(1)


def send(running: World, to: str, sentence: str, *fields: tuple[str, str], author: str = SENDER) -> str:
    """One message for one recipient; returns its Message-ID."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = author, to, "Onderwerp"
    message["Message-ID"] = f"<rij-{next(_numbers)}@{SENDING_DOMAIN}>"
    for name, value in fields:
        message[name] = value
    message.set_content(sentence + "\n")
    submit(running, message, [to], reverse_path=author)
    return str(message["Message-ID"])


def notified(running: World, to: str, before: int) -> bytes:
    """The notification that comes after so many."""
    wanted = "X-Zegel-Conversation"
    until(lambda: len(arrived(running.secure, to, wanted)) > before)
    return arrived(running.secure, to, wanted)[-1]


def reads(page: Page, sentence: str) -> None:
    expect(page.get_by_text(sentence)).to_be_visible()


def state(running: World, message_id: str) -> dict[str, Any]:
    """What is known of the only recipient of a message."""
    (found,) = [one for one in running.gateway.evidence() if one["message_id"] == message_id]
    (recipient,) = found["recipients"]
    return dict(recipient)


def report(running: World, about: str) -> tuple[EmailMessage, bytes]:
    """The DSN that names this recipient."""

    def found() -> list[bytes]:
        mails = running.sender.mailbox(SENDER)
        return [one for one in mails if b"multipart/report" in one and about.encode() in one]

    until(lambda: bool(found()), 60)
    return parsed(found()[-1]), found()[-1]


# --- row 1 --------------------------------------------------------------------------------------------------------


def test_row_1_an_account_holder_signs_in_and_reads(running: World, page: Page) -> None:
    sign_in(page, running, HOLDER)
    message = send(running, HOLDER, "Voor wie een account heeft.")
    mail = notified(running, HOLDER, 0)
    assert b"Voor wie een account heeft" not in everything_in(mail)
    page.goto(link_in(mail))
    page.goto(f"{running.gateway.url}/inbox/")
    page.get_by_role("link", name="Onderwerp").first.click()
    reads(page, "Voor wie een account heeft.")
    assert (state(running, message)["state"], state(running, message)["opened_with"]) == ("opened", "account")


def test_row_1_inbound_direct_delivery_is_readable_also_without_an_account(running: World) -> None:
    to = f"iemand@{INBOUND}"
    message = send(running, to, "Leesbaar voor de organisatie.")
    (octets,) = arrived(running.secure, to, message)
    assert "Leesbaar voor de organisatie." in words(octets)
    assert state(running, message)["state"] == "delivered"


def test_row_1_a_named_method_goes_before_inbound_direct_delivery(running: World, page: Page) -> None:
    to = f"genoemd@{INBOUND}"
    send(running, to, "Achter een sms.", ("zegel-access-right", f"{to} sms {PHONE}"))
    assert open_by_sms(page, running, link_in(notified(running, to, 0))) == PHONE
    reads(page, "Achter een sms.")


# --- rows 3, 5 and 6 ----------------------------------------------------------------------------------------------


def test_row_3_a_named_number_opens_by_sms(running: World, page: Page) -> None:
    message = send(running, MOBILE, "Eerste, met nummer.", ("zivver-access-right", f"{MOBILE} sms 06-12345678"))
    assert open_by_sms(page, running, link_in(notified(running, MOBILE, 0))) == PHONE
    reads(page, "Eerste, met nummer.")
    assert state(running, message)["opened_with"] == "sms"


def test_row_5_the_number_is_remembered_once_a_message_was_opened_with_it(running: World, page: Page) -> None:
    message = send(running, MOBILE, "Tweede, zonder nummer.")
    mail = notified(running, MOBILE, 1)
    assert "+31\u00a06\u00a0****5678" in words(mail)
    assert open_by_sms(page, running, link_in(mail)) == PHONE
    reads(page, "Tweede, zonder nummer.")
    assert state(running, message)["opened_with"] == "sms"


def test_row_5_another_number_replaces_nothing_until_it_opened_a_message(running: World, page: Page) -> None:
    send(running, MOBILE, "Derde, nieuw nummer.", ("zivver-access-right", f"{MOBILE} sms {OTHER_PHONE}"))
    renamed = notified(running, MOBILE, 2)
    send(running, MOBILE, "Vierde, nog het oude.")
    assert open_by_sms(page, running, link_in(notified(running, MOBILE, 3))) == PHONE
    assert open_by_sms(page, running, link_in(renamed)) == OTHER_PHONE
    reads(page, "Derde, nieuw nummer.")
    send(running, MOBILE, "Vijfde, het nieuwe.")
    assert open_by_sms(page, running, link_in(notified(running, MOBILE, 4))) == OTHER_PHONE


def test_row_5_a_colleague_uses_what_anyone_in_the_organisation_used(running: World, page: Page) -> None:
    message = send(running, MOBILE, "Van een collega.", author=COLLEAGUE)
    assert open_by_sms(page, running, link_in(notified(running, MOBILE, 5))) == OTHER_PHONE
    reads(page, "Van een collega.")
    assert state(running, message)["opened_with"] == "sms"


def test_row_6_an_access_code_is_remembered_once_a_message_was_opened_with_it(running: World, page: Page) -> None:
    send(running, FAMILY, "Met code.", ("zivver-access-right", f"{FAMILY} sharedAccessCode {CODE}"))
    first = notified(running, FAMILY, 0)
    never_opened = send(running, FAMILY, "Nog niet onthouden.")
    notified(running, FAMILY, 1)
    assert state(running, never_opened)["method"] == "email"
    open_by_access_code(page, link_in(first), CODE)
    reads(page, "Met code.")
    message = send(running, FAMILY, "Met dezelfde code.")
    open_by_access_code(page, link_in(notified(running, FAMILY, 2)), CODE)
    reads(page, "Met dezelfde code.")
    assert state(running, message)["opened_with"] == "access-code"


# --- row 4 --------------------------------------------------------------------------------------------------------


def test_row_4_a_message_that_asks_for_transport_is_readable(running: World) -> None:
    to = f"direct@{GUEST_DOMAIN}"
    message = send(running, to, "Direct leesbaar.", ("zivver-direct-delivery", PROVEN))
    (octets,) = arrived(running.secure, to, message)
    assert "Direct leesbaar." in words(octets)
    assert state(running, message)["state"] == "delivered"


# --- row 7 and the bounce -----------------------------------------------------------------------------------------


def test_row_7_who_has_nothing_safer_opens_by_a_code_in_the_mailbox(running: World, page: Page) -> None:
    message = send(running, GUEST, "Met een code per mail.")
    open_by_email(page, running, link_in(notified(running, GUEST, 0)), GUEST, running.secure)
    reads(page, "Met een code per mail.")
    assert state(running, message)["opened_with"] == "email"


def test_row_7_a_code_that_can_t_travel_at_the_level_is_a_bounce(running: World) -> None:
    to = f"dicht@{OPEN_DOMAIN}"
    message = send(running, to, "Gaat nergens heen.", ("zivver-direct-delivery", PROVEN))
    found, octets = report(running, to)
    assert found.get_content_type() == "multipart/report"
    assert b"Gaat nergens heen" not in everything_in(octets)
    assert running.open.mailbox(to) == []
    assert state(running, message)["state"] == "undeliverable"


def test_the_bounce_where_the_message_leaves_no_method(running: World) -> None:
    to = f"nooit@{GUEST_DOMAIN}"
    message = send(running, to, "Niet per mail.", ("zivver-minimum-recipient-verification", ""))
    found, octets = report(running, to)
    status = next(part for part in found.walk() if part.get_content_type() == "message/delivery-status").as_string()
    assert "Status: 5.7.1" in status
    assert b"Niet per mail" not in everything_in(octets)
    assert running.secure.mailbox(to) == []
    assert state(running, message)["state"] == "undeliverable"


# --- held ---------------------------------------------------------------------------------------------------------


def test_a_held_recipient_reads_after_the_sender_filled_in_a_number(running: World, page: Page) -> None:
    running.gateway.command("policy", "minimum", GUEST_DOMAIN, "sms", "--organisation", ORGANISATION)
    try:
        message = send(running, HELD, "Wacht op een nummer.")
        wanted = f"zegel@{SENDING_DOMAIN}"
        until(lambda: any("/held/" in words(one) for one in arrived(running.sender, SENDER, wanted)))
        (mail,) = [one for one in arrived(running.sender, SENDER, wanted) if "/held/" in words(one)]
        assert HELD in words(mail)
        assert b"Wacht op een nummer" not in everything_in(mail)
        assert running.secure.mailbox(HELD) == []
        address = next(word for word in words(mail).split() if "/held/" in word)
        sign_in(page, running, SENDER)
        page.goto(address)
        page.get_by_label("Mobile number").fill("06 12345678")
        page.get_by_role("button", name="Send").click()
        assert open_by_sms(page, running, link_in(notified(running, HELD, 0))) == PHONE
        reads(page, "Wacht op een nummer.")
        assert state(running, message)["opened_with"] == "sms"
    finally:
        running.gateway.command("policy", "minimum", GUEST_DOMAIN, "none", "--organisation", ORGANISATION)
