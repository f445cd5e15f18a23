"""Files that are too large for mail become links (D-7): what the server gets, and what the recipient gets there."""

from __future__ import annotations

import email.policy
import hashlib
import re
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

import pytest

from tests.journey.delivery_ground import (
    PHONE,
    PROVEN_FIELD,
    SENDER,
    SENTENCE,
    Post,
    a_post,
    dkimpy,
    link_in,
    parsed,
    words,
)
from tests.journey.portal_ground import Clock, Visitor, dump
from zegel.core.mail.address import Mailbox, parse_reverse_path
from zegel.core.policy.shrinking import LINK_FROM, USUAL_LIMIT
from zegel.journey.arrival.intake import Envelope
from zegel.journey.arrival.record import AcceptedRecipient
from zegel.journey.custody.models import Transmission

pytestmark = pytest.mark.django_db(transaction=True)

READER: Final = "lezer@veilig.test"
BIG: Final = ("PIPELINING", "SIZE 60000000", "8BITMIME", "ENHANCEDSTATUSCODES")


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        yield found


def octets_of(size: int, seed: str = "") -> bytes:
    return (hashlib.sha256(seed.encode()).digest() * (size // 32 + 1))[:size]


def submit(post: Post, *sizes: int, fields: tuple[tuple[str, str], ...] = (PROVEN_FIELD,), kind: str = "") -> None:
    """One readable message with files of these sizes."""
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"], message["To"], message["Subject"] = SENDER, READER, "Groot"
    message["Message-ID"] = "<groot@voorbeeld.test>"
    for name, value in fields:
        message[name] = value
    message.set_content(SENTENCE + "\n")
    for number, size in enumerate(sizes):
        octets = octets_of(size, str(number))
        message.add_attachment(octets, "application", kind or "octet-stream", filename=f"scan{number}.bin")
    envelope = Envelope(parse_reverse_path(SENDER), recipients=[AcceptedRecipient(Mailbox.parse(READER))])
    post.submit_octets(message.as_bytes(), envelope)
    post.settle()


def files(message: EmailMessage) -> dict[str | None, bytes]:
    return {part.get_filename(): bytes(part.get_payload(decode=True) or b"") for part in message.iter_attachments()}


def opened(post: Post, server: Any, token: str) -> str:
    """The page behind a link, after the code that comes by mail."""
    visitor, recipient = Visitor(post.ground), post.recipient(READER)
    assert visitor.follow(token).status_code == 303
    assert visitor.ask(recipient).status_code == 303
    post.settle()
    code = re.search(r"\b\d{3} ?\d{3}\b", words(server.messages()[-1]))
    assert code
    assert visitor.enter(recipient, code[0].replace(" ", "")).status_code == 303
    return str(visitor.read(recipient).content.decode())


def only(server: Any) -> bytes:
    (octets,) = server.messages()
    return bytes(octets)


# --- what goes whole ----------------------------------------------------------------------------------------------


def test_just_below_ten_megabytes_stays_attached(post: Post) -> None:
    server = post.proven(extensions=BIG)
    submit(post, LINK_FROM - 1)
    found = parsed(only(server))
    assert files(found)["scan0.bin"] == octets_of(LINK_FROM - 1, "0")
    assert "http" not in words(found)
    assert not post.recipient(READER).links.exists()


@pytest.mark.parametrize(
    "fields",
    [
        (PROVEN_FIELD, ("zivver-minimum-recipient-verification", "")),
        (PROVEN_FIELD, ("zivver-minimum-recipient-verification", "none of these")),
    ],
)
def test_no_link_where_the_message_excludes_the_code_that_opens_it(
    post: Post, fields: tuple[tuple[str, str], ...]
) -> None:
    server = post.proven(extensions=BIG)
    submit(post, LINK_FROM, fields=fields)
    assert files(parsed(only(server)))["scan0.bin"] == octets_of(LINK_FROM, "0")
    assert not post.recipient(READER).links.exists()


def test_no_link_where_the_policy_excludes_the_code_that_opens_it(post: Post) -> None:
    post.ground.organisation.allowed_methods = ["sms", "account"]
    post.ground.organisation.save()
    server = post.proven(extensions=BIG)
    submit(post, LINK_FROM)
    assert len(files(parsed(only(server)))["scan0.bin"]) == LINK_FROM


@pytest.mark.parametrize("asked", [f"sms {PHONE}", "sharedAccessCode Geheim-woord-4"])
def test_no_link_behind_a_code_by_mail_where_the_message_names_another_method(post: Post, asked: str) -> None:
    server = post.proven(extensions=BIG)
    submit(post, LINK_FROM, fields=(PROVEN_FIELD, ("zivver-access-right", f"{READER} {asked}")))
    assert files(parsed(only(server)))["scan0.bin"] == octets_of(LINK_FROM, "0")
    row = post.recipient(READER)
    assert (row.state, row.method) == ("delivered", "")
    assert not row.links.exists()


def test_where_the_message_names_a_method_too_large_is_that_method(post: Post) -> None:
    server = post.proven(extensions=("PIPELINING", "SIZE 4000000", "8BITMIME"))
    submit(post, 5_000_000, fields=(PROVEN_FIELD, ("zivver-access-right", f"{READER} sms {PHONE}")))
    (mail,) = server.messages()
    assert SENTENCE not in words(mail) and link_in(mail)
    row = post.recipient(READER)
    assert (row.state, row.method) == ("notified", "sms")


def test_a_signed_message_is_not_taken_apart(post: Post) -> None:
    server = post.proven(extensions=("PIPELINING", "SIZE 9000000", "8BITMIME"))
    submit(post, LINK_FROM, kind="pkcs7-mime")
    (mail,) = server.messages()  # the notification of the next row
    assert SENTENCE not in words(mail)
    assert link_in(mail)
    assert post.recipient(READER).state == "notified"


# --- what becomes a link ------------------------------------------------------------------------------------------


def test_exactly_ten_megabytes_is_a_link_and_all_else_is_as_it_was(post: Post) -> None:
    server = post.proven(extensions=BIG)
    submit(post, 3000, LINK_FROM, 4000)
    octets = only(server)
    found = parsed(octets)
    assert len(octets) < 30_000
    assert SENTENCE in words(found)
    assert files(found)["scan0.bin"] == octets_of(3000, "0")
    assert files(found)["scan2.bin"] == octets_of(4000, "2")
    assert "scan1.bin" not in files(found)
    assert "scan1.bin (10,0 MB)" in words(found)
    assert link_in(octets)
    row = post.recipient(READER)
    assert (row.state, row.method, row.code_needs_tls) == ("delivered", "email", 0)
    assert Transmission.objects.get(address=READER).sealed is None  # with it the last copy of the link's secret
    record = {f"{post.domain.dkim_selector}._domainkey.{post.domain.name}": post.domain.dkim_record}
    assert dkimpy([octets], record) == [[True, "voorbeeld.test"]]


def test_the_link_gives_the_file_after_a_code_by_mail(post: Post) -> None:
    server = post.proven(extensions=BIG)
    submit(post, LINK_FROM)
    assert "scan0.bin" in opened(post, server, link_in(only(server)))
    found = post.recipient(READER)
    assert (found.state, found.opened_with) == ("opened", "email")


def test_as_many_files_as_the_server_demands_become_links(post: Post) -> None:
    server = post.proven(extensions=("PIPELINING", "SIZE 4000000", "8BITMIME"))
    submit(post, 1_000_000, 2_500_000, 1_200_000)
    octets = only(server)
    assert len(octets) < 4_000_000
    assert set(files(parsed(octets))) - {None} == {"scan0.bin", "scan2.bin"}
    assert "scan1.bin (2,5 MB)" in words(octets)


def test_twenty_five_megabytes_are_what_a_server_takes_that_says_nothing(post: Post) -> None:
    server = post.proven(extensions=("PIPELINING", "8BITMIME"))
    submit(post, 9_000_000, 9_500_000)
    octets = only(server)
    assert len(octets) <= USUAL_LIMIT
    assert set(files(parsed(octets))) - {None} == {"scan0.bin"}


def test_a_server_that_refuses_for_size_at_the_end_gets_it_small(post: Post) -> None:
    server = post.proven(extensions=BIG, answers={"END": [b"552 5.3.4 too big\r\n"]})
    submit(post, 2_000_000, 20_000)
    octets = server.messages()[-1]
    assert len(octets) < 20_000
    assert words(octets).count("/m/") == 2
    assert post.recipient(READER).state == "delivered"
    assert post.outcomes(READER) == ["Refused", "Accepted"]


def test_a_server_that_takes_nothing_of_any_size_leads_to_the_next_row(post: Post) -> None:
    server = post.proven(extensions=BIG, answers={"END": [b"552 5.3.4 too big\r\n", b"552 5.3.4 too big\r\n"]})
    submit(post, 2_000_000)
    assert post.recipient(READER).state == "notified"
    assert "scan0.bin" in opened(post, server, link_in(server.messages()[-1]))


def test_a_try_that_failed_sends_the_same_link_again(post: Post) -> None:
    server = post.proven(extensions=BIG, answers={"END": [b"451 4.3.0 later\r\n"]})
    submit(post, LINK_FROM)
    before = post.recipient(READER).links.get()
    post.later(minutes=20)
    assert post.recipient(READER).links.get() == before
    assert post.outcomes(READER) == ["Deferred", "Accepted"]
    assert "scan0.bin" in opened(post, server, link_in(only(server)))


def test_the_secret_of_the_link_is_nowhere_in_the_database(post: Post) -> None:
    server = post.proven(extensions=BIG)
    submit(post, LINK_FROM)
    token = link_in(only(server))
    assert not any(token in one for one in dump())
