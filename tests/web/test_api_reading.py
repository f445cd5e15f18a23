"""Reading with an account holder's token (D-10): nobody else's messages, nothing that was closed; noted as read as the
portal notes it. Unhappy paths first."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from allauth.mfa.models import Authenticator

from tests.journey.portal_ground import PIXEL, Ground
from tests.web.api_ground import Office, Program, is_told_well
from zegel.accounts import mailboxes, tokens
from zegel.accounts.models import Account, ApiToken
from zegel.accounts.sign_in import enrol_totp
from zegel.accounts.tokens import Scope
from zegel.api.operations import OPERATIONS
from zegel.journey.custody.models import Conversation, Message, Recipient, SharedReading

pytestmark = pytest.mark.django_db
READER: Final = "lezer@voorbeeld.test"
OCTETS: Final = (
    b"From: Balie <balie@voorbeeld.test>\r\nTo: Lezer <lezer@voorbeeld.test>\r\nSubject: Uitslag\r\n"
    b"Message-ID: <1@voorbeeld.test>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n"
    b"--a\r\nContent-Type: multipart/related; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    b'<p onclick="x()">Hallo <script>x()</script><img src="cid:i@x"><img src="https://elders.test/x.png"></p>\r\n'
    b"--b\r\nContent-Type: image/png\r\nContent-ID: <i@x>\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes(PIXEL).replace(b"\n", b"\r\n")
    + b"--b--\r\n"
    b"--a\r\nContent-Type: text/csv\r\nContent-Disposition: attachment; filename=a.csv\r\n\r\n0123456789\r\n--a--\r\n"
)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    office = Office(tmp_path)
    ground = Ground(tmp_path, office.keys, office.clock)
    ground.configure()
    yield ground
    office.close()


@pytest.fixture
def reader(ground: Ground) -> Account:
    account = ground.account(READER)
    enrol_totp(account)
    return account


@pytest.fixture
def received(ground: Ground, reader: Account) -> Recipient:
    return ground.recipient(ground.conversation(OCTETS), READER, method="account", decided_at=ground.clock())


def program_of(account: Account, clock: Any) -> Program:
    return Program(tokens.issue(account, "tests", scopes={Scope.MESSAGES_READ}, life=timedelta(days=9), now=clock()))


@pytest.fixture
def program(ground: Ground, reader: Account) -> Program:
    return program_of(reader, ground.clock)


def address_of(conversation: Conversation, *more: object) -> str:
    return "/".join(["conversations", str(conversation.id), *map(str, more)])


def first(conversation: Conversation) -> Message:
    return Message.objects.filter(conversation=conversation).earliest("created_at")


# --- who may not -------------------------------------------------------------------------------------------------


def test_no_token_of_an_organisation_reads_and_no_token_of_an_account_does_anything_else(
    ground: Ground, reader: Account
) -> None:
    for owner, scopes in ((ground.organisation, {Scope.MESSAGES_READ}), (reader, {Scope.EXPLAIN})):
        with pytest.raises(ValueError, match="no other token does"):
            tokens.issue(owner, "x", scopes=scopes, life=timedelta(days=1), now=ground.clock())


def test_every_row_asks_a_scope_that_its_owner_can_have(ground: Ground) -> None:
    for row in OPERATIONS:
        reads = row.path.startswith("conversations")
        assert (row.scope in tokens.OF_ACCOUNTS) == reads, row.name


@pytest.mark.parametrize("what", ["suspended", "without a second factor", "gone"])
def test_who_may_not_sign_in_reads_nothing(program: Program, reader: Account, what: str) -> None:
    assert program.get("conversations").status_code == 200
    match what:
        case "suspended":
            Account.objects.filter(pk=reader.pk).update(is_active=False)
        case "without a second factor":
            Authenticator.objects.filter(user=reader).delete()
        case _:
            ApiToken.objects.all().delete()
    assert program.get("conversations").status_code == 401


def test_what_somebody_else_received_is_not_there(ground: Ground, received: Recipient, reader: Account) -> None:
    other = ground.account("ander@voorbeeld.test")
    enrol_totp(other)
    program = program_of(other, ground.clock)
    conversation, message = received.conversation, first(received.conversation)
    assert program.get("conversations").json() == {"items": [], "next": None}
    for path in (
        address_of(conversation),
        address_of(conversation, "messages", message.id),
        address_of(conversation, "messages", message.id, "source"),
        address_of(conversation, "messages", message.id, "attachments", 5),
        f"conversations/{uuid.uuid4()}",
    ):
        response = program.get(path)
        assert response.status_code == 404
        is_told_well(response)
    assert program.get(f"conversations?mailbox={reader.pk}").status_code == 404
    received.refresh_from_db()
    assert received.opened_at is None


@pytest.mark.parametrize("method", ["sms", "email"])
def test_what_is_to_be_opened_with_a_code_is_not_opened_with_a_token(
    ground: Ground, program: Program, method: str
) -> None:
    recipient = ground.recipient(ground.conversation(OCTETS), READER, method=method)
    assert program.get(address_of(recipient.conversation)).status_code == 404


def test_a_message_of_another_conversation_is_not_there(ground: Ground, program: Program, received: Recipient) -> None:
    elsewhere = first(ground.conversation(OCTETS))
    assert program.get(address_of(received.conversation, "messages", elsewhere.id)).status_code == 404


def test_what_was_revoked_is_not_there_and_what_expired_is_gone(
    ground: Ground, program: Program, received: Recipient
) -> None:
    path = address_of(received.conversation, "messages", first(received.conversation).id)
    Conversation.objects.update(expires_at=ground.clock())
    response = program.get(path)
    assert response.status_code == 410
    is_told_well(response)
    assert program.get("conversations").json()["items"][0]["subject"] is None
    Conversation.objects.update(expires_at=None, gateway_slot=None)
    assert program.get(path).status_code == 410
    Recipient.objects.update(revoked_at=ground.clock())
    assert program.get(path).status_code == 404
    received.refresh_from_db()
    assert received.opened_at is None


def test_an_attachment_that_is_none_is_not_there(program: Program, received: Recipient) -> None:
    message = first(received.conversation)
    for number in (0, 99, -1, "x", 2**63, 2**70):
        path = address_of(received.conversation, "messages", message.id, "attachments", number)
        assert program.get(path).status_code == 404


# --- who may -----------------------------------------------------------------------------------------------------


def test_a_list_says_what_there_is_and_opens_nothing(ground: Ground, program: Program, received: Recipient) -> None:
    told = program.get("conversations").json()
    assert [(one["id"], one["subject"], one["is_sent"]) for one in told["items"]] == [
        (str(received.conversation_id), "Uitslag", False)
    ]
    whole = program.get(address_of(received.conversation)).json()
    assert [one["id"] for one in whole["messages"]] == [str(first(received.conversation).id)]
    received.refresh_from_db()
    assert (received.state, received.opened_at) == (Recipient.State.NOTIFIED, None)


def test_a_list_comes_in_parts(ground: Ground, program: Program) -> None:
    for _ in range(5):
        ground.recipient(ground.conversation(OCTETS), READER, method="account", decided_at=ground.clock())
    found, after = [], ""
    while after is not None:
        told = program.get(f"conversations?limit=2&after={after}").json()
        assert len(told["items"]) <= 2
        found += [one["id"] for one in told["items"]]
        after = told["next"]
    assert found == sorted((str(one) for one in Conversation.objects.values_list("id", flat=True)), reverse=True)


def test_a_message_is_read_inert_and_its_sender_is_told(ground: Ground, program: Program, received: Recipient) -> None:
    message = first(received.conversation)
    response = program.get(address_of(received.conversation, "messages", message.id))
    assert response.status_code == 200, response.content
    assert response.headers["Cache-Control"] == "no-store"
    told = response.json()
    assert (told["subject"], told["author"]["address"], told["to"][0]["name"]) == (
        "Uitslag",
        "balie@voorbeeld.test",
        "Lezer",
    )
    assert "Hallo" in told["text"] and "Hallo" in told["html"] and 'src="cid:i@x"' in told["html"]
    for hostile in ("script", "onclick", "elders.test"):
        assert hostile not in told["html"]
    assert told["withheld_images"] == 1
    assert [(one["name"], one["type"], one["is_inline"], one["content_id"]) for one in told["attachments"]] == [
        ("a.csv", "text/csv", False, None),
        ("", "image/png", True, "i@x"),
    ]
    received.refresh_from_db()
    assert (received.state, received.opened_with) == (Recipient.State.OPENED, "account")


def test_an_attachment_comes_whole_or_in_parts(program: Program, received: Recipient) -> None:
    message = first(received.conversation)
    path = address_of(received.conversation, "messages", message.id)
    (number, *_) = [one["number"] for one in program.get(path).json()["attachments"]]
    whole = program.get(f"{path}/attachments/{number}")
    assert b"".join(whole.streaming_content) == b"0123456789"
    assert whole.headers["Content-Type"] == "application/octet-stream"
    assert "attachment" in whole.headers["Content-Disposition"]
    piece = program.get(f"{path}/attachments/{number}", range="bytes=3-5")
    assert (piece.status_code, b"".join(piece.streaming_content)) == (206, b"345")
    assert program.get(f"{path}/attachments/{number}", range="bytes=50-").status_code == 416
    source = program.get(f"{path}/source")
    assert b"".join(source.streaming_content) == OCTETS


def test_what_the_account_wrote_is_read_without_being_opened(ground: Ground) -> None:
    enrol_totp(ground.author)
    conversation = ground.conversation(OCTETS)
    recipient = ground.recipient(conversation, READER, method="account", decided_at=ground.clock())
    program = program_of(ground.author, ground.clock)
    assert program.get("conversations").json()["items"][0]["is_sent"]
    assert program.get(address_of(conversation, "messages", first(conversation).id)).status_code == 200
    recipient.refresh_from_db()
    assert recipient.opened_at is None


def test_a_functional_mailbox_is_read_by_its_readers_and_says_by_whom(ground: Ground, reader: Account) -> None:
    info = ground.account("info@voorbeeld.test", is_functional=True)
    mailboxes.add_reader(info, reader)
    received = ground.recipient(
        ground.conversation(OCTETS), "info@voorbeeld.test", method="account", decided_at=ground.clock()
    )
    program = program_of(reader, ground.clock)
    assert program.get("conversations").json()["items"] == []
    assert len(program.get(f"conversations?mailbox={info.pk}").json()["items"]) == 1
    path = address_of(received.conversation, "messages", first(received.conversation).id)
    assert program.get(path).status_code == 200
    (row,) = SharedReading.objects.all()
    assert (row.mailbox, row.account) == (info, reader)
