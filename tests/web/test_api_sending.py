"""Sending by the API: the same refusals as at the door, the same promise, and each request once (P6). Unhappy paths
first."""

from __future__ import annotations

import base64
import email
import email.policy
import io
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

import pytest
from django.core.handlers.wsgi import LimitedStream, WSGIRequest
from django.db import connection
from django.test import RequestFactory
from structlog.testing import capture_logs

from tests.web.api_ground import KEY, Office, Program, is_told_well
from zegel.accounts import answered, tokens
from zegel.accounts.models import Account, ApiAnswer, Organisation, SendingDomain
from zegel.accounts.tokens import Scope
from zegel.api import sending, views
from zegel.api.operations import OPERATIONS
from zegel.journey.custody.models import Content, Conversation, Job, Message, Recipient, Submission

pytestmark = pytest.mark.django_db(transaction=True)
SENDER: Final = "balie@voorbeeld.test"
GUEST: Final = "ontvanger@example.org"
MARKER: Final = "Merkteken7f3a"
RAW: Final = f"From: Balie <{SENDER}>\r\nTo: {GUEST}\r\nSubject: {MARKER}\r\n\r\nInhoud {MARKER}\r\n".encode()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    yield office
    office.close()


@pytest.fixture
def organisation() -> Organisation:
    organisation = Organisation.objects.create(name="Voorbeeldziekenhuis")
    SendingDomain.objects.create(
        organisation=organisation,
        name="voorbeeld.test",
        ownership_token="t",
        dkim_key=b"",
        dkim_record="",
        in_place=True,
    )
    Account.objects.create_user(SENDER, organisation=organisation)
    return organisation


@pytest.fixture
def program(office: Office, organisation: Organisation) -> Program:
    return Program(office.token(organisation, Scope.MESSAGES_SEND))


def asked(**changed: Any) -> dict[str, Any]:
    return {"from": SENDER, "to": [GUEST], "subject": MARKER, "text": f"Inhoud {MARKER}\n", **changed}


def send(program: Program, body: Any = None, key: str = KEY, **headers: str) -> Any:
    return program.post("messages", asked() if body is None else body, idempotency_key=key, **headers)


def send_raw(program: Program, octets: bytes = RAW, key: str = KEY, **headers: str) -> Any:
    return program.ask("POST", "messages", octets, kind="message/rfc822", idempotency_key=key, **headers)


def stored(office: Office) -> list[EmailMessage]:
    """Every message, opened."""
    found = []
    for message in Message.objects.order_by("created_at", "id"):
        key = office.unsealer.message_key(message, office.unsealer.conversation_key(message.conversation))
        octets = b"".join(office.unsealer.octets(message.content, key, 0, message.content.size))
        found.append(email.message_from_bytes(octets, policy=email.policy.default))
    return found


def nothing_is_there(office: Office) -> bool:
    models = (Content, Conversation, Message, Recipient, Submission, Job, ApiAnswer)
    files = [path for path in office.blobs.folder.rglob("*") if path.is_file()] if office.blobs.folder.exists() else []
    return not any(model._default_manager.exists() for model in models) and not files


# --- what is not taken -------------------------------------------------------------------------------------------


def test_a_request_without_a_key_is_refused(program: Program, office: Office) -> None:
    response = program.post("messages", asked())
    assert response.status_code == 400
    assert is_told_well(response)[0]["field"] == "Idempotency-Key"
    assert nothing_is_there(office)


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "é"])
def test_what_is_no_key_is_refused(program: Program, key: str) -> None:
    assert send(program, key=key).status_code == 400


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (asked(to=[]), 422, "message"),
        (asked(to=["geen-adres"]), 422, "to.0"),
        (asked(bcc=["geen-adres"]), 422, "bcc.0"),
        ({**asked(), "from": "geen-adres"}, 422, "from"),
        ({**asked(), "from": "chef@voorbeeld.test"}, 422, "message"),
        ({**asked(), "from": "balie@elders.test"}, 422, "message"),
        (asked(subject="a\nBcc: x@example.org"), 400, "subject"),
        (asked(from_name="a\r\nBcc: x@example.org"), 400, "from_name"),
        (asked(access=[{"address": GUEST}]), 400, "access.0"),
        (asked(access=[{"address": GUEST, "phone": "12"}]), 400, "access.0.phone"),
        (asked(access=[{"address": GUEST, "phone": "+3120"}]), 422, "message"),
        (asked(access=[{"address": GUEST, "access_code": "abcd"}] * 2), 422, "message"),
        (asked(attachments=[{"name": "a", "content": "geen base64"}]), 400, "attachments.0.content"),
        (asked(attachments=[{"name": "a\r\nb", "content": ""}]), 400, "attachments.0.name"),
        (asked(direct={"tls": "tls1.1"}), 400, "direct.tls"),
        (asked(expires_after_days=0), 400, "expires_after_days"),
        (asked(to=[f"r{number}@example.org" for number in range(21)]), 422, "message"),
        (asked(colour="red"), 400, "colour"),
        (b"{", 400, ""),
    ],
)
def test_what_is_wrong_names_the_field_and_leaves_nothing(
    program: Program, office: Office, body: Any, status: int, field: str
) -> None:
    response = send(program, body)
    assert response.status_code == status, response.content
    assert is_told_well(response)[0]["field"] == field
    assert nothing_is_there(office)


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"", "5.6.0"),
        (b"\r\n\r\nx", "5.6.0"),
        (RAW.replace(b"From: Balie", b"From: a@voorbeeld.test, Balie"), "5.6.0"),
        (RAW + b"een\nregel\r\n", "5.6.0"),
        (RAW + b"een\rregel\r\n", "5.6.0"),
        (RAW + b"nul\0\r\n", "5.6.0"),
        (RAW + b"cr\r", "5.6.0"),
        (RAW.replace(b"\r\n", b"\n") + b"een\r\n", "5.6.0"),
        (RAW.replace(b"To:", b"Aan:"), "5.5.1"),
        (b"X: y\r\n" + RAW.replace(b"\r\n\r\n", b"\r\nzegel-nonsense: 1\r\n\r\n"), "5.6.0"),
        (b"X: %b\r\n" % (b"x" * 300_000) + RAW, "5.3.4"),
        (RAW + b"x" * 2_000_001, "5.3.4"),
        (RAW.replace(b"\r\n", b"\n") + b"\n" * 1_900_000, "5.3.4"),
    ],
)
def test_what_the_door_refuses_is_refused_with_its_reply(
    program: Program, office: Office, octets: bytes, status: str
) -> None:
    response = send_raw(program, octets)
    assert response.status_code in (413, 422), response.content
    is_told_well(response)
    assert response.json()["reply"]["status"] == status
    assert nothing_is_there(office)


def test_a_body_that_breaks_off_is_not_a_message(program: Program, office: Office) -> None:
    request = RequestFactory().post(
        "/api/v1/messages",
        RAW,
        content_type="message/rfc822",
        headers={"authorization": f"Bearer {program.made.secret.reveal()}", "idempotency-key": KEY},
        CONTENT_LENGTH=str(len(RAW) + 10),
    )
    request._stream = LimitedStream(io.BytesIO(RAW), len(RAW) + 10)  # type: ignore[assignment]  # it ends there
    row = next(one for one in OPERATIONS if one.name == "send-message")
    assert views.view_of([row])(request).status_code == 400
    assert nothing_is_there(office)


def test_another_kind_of_body_is_not_taken(program: Program) -> None:
    response = program.ask("POST", "messages", b"x", kind="text/plain", idempotency_key=KEY)
    assert response.status_code == 415


def test_without_room_nothing_is_taken_and_it_can_be_sent_later(program: Program, office: Office) -> None:
    office.has_room = False
    response = send(program)
    assert response.status_code == 507
    assert int(response.headers["Retry-After"]) > 0
    assert response.json()["reply"]["status"] == "4.3.1"
    office.has_room = True
    assert send(program).status_code == 202


def test_a_cap_says_when_to_come_again_and_keeps_no_answer(
    program: Program, office: Office, organisation: Organisation
) -> None:
    organisation.messages_per_hour = 0
    organisation.save()
    response = send(program)
    assert response.status_code == 429 and int(response.headers["Retry-After"]) > 0
    assert nothing_is_there(office)
    organisation.messages_per_hour = 1
    organisation.save()
    assert send(program).status_code == 202
    assert send(program).status_code == 202  # the same one
    assert send(program, asked(text="ander"), key="another").status_code == 429


def test_a_token_that_is_disabled_while_it_sends_is_refused(
    program: Program, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = sending._taken

    def disabled_first(*given: Any) -> Any:
        tokens.disable(program.made.token, now=office.clock())
        return taken(*given)

    monkeypatch.setattr(sending, "_taken", disabled_first)
    response = send(program)
    assert response.status_code == 422 and response.json()["reply"]["code"] == 535
    assert nothing_is_there(office)


def test_an_organisation_that_demands_spf_beside_credentials_takes_a_token_by_itself(
    program: Program, organisation: Organisation
) -> None:
    organisation.authentication = "both"
    organisation.save()
    assert send(program).status_code == 202


def test_nobody_sends_for_another_organisation(office: Office, organisation: Organisation) -> None:
    other = Organisation.objects.create(name="Ander ziekenhuis")
    assert send(Program(office.token(other))).json()["reply"]["status"] == "5.7.1"
    assert nothing_is_there(office)


def test_what_fails_here_is_our_fault_and_can_be_sent_again(
    program: Program, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(MARKER)

    with monkeypatch.context() as patched:
        patched.setattr(answered, "keep", broken)
        response = send(program)
    assert response.status_code == 503 and response.json()["reply"]["code"] == 451
    assert MARKER not in response.content.decode()
    assert nothing_is_there(office)
    assert send(program).status_code == 202


# --- each request once -------------------------------------------------------------------------------------------


def test_the_same_key_and_request_get_the_same_answer_and_one_conversation(program: Program, office: Office) -> None:
    first, *others = [send(program) for _ in range(3)]
    assert first.status_code == 202
    for other in others:
        assert (other.status_code, other.content, other.headers) == (202, first.content, first.headers)
    assert (Submission.objects.count(), Conversation.objects.count(), Recipient.objects.count()) == (1, 1, 1)
    assert Content.objects.count() == 1


@pytest.mark.parametrize("body", [asked(text="ander"), asked(to=["x@example.org"]), asked(subject="ander")])
def test_the_same_key_with_another_request_is_refused(program: Program, body: Any) -> None:
    assert send(program).status_code == 202
    response = send(program, body)
    assert response.status_code == 422
    assert is_told_well(response)[0]["field"] == "Idempotency-Key"
    assert send_raw(program).status_code == 422
    assert Submission.objects.count() == 1


def test_recipients_in_the_header_are_part_of_the_request(program: Program) -> None:
    assert send_raw(program).status_code == 202
    assert send_raw(program, zegel_recipients=GUEST).status_code == 422


def test_a_key_is_of_one_token(program: Program, office: Office, organisation: Organisation) -> None:
    first, second = send(program), send(Program(office.token(organisation)))
    assert second.status_code == 202 and second.json()["id"] != first.json()["id"]


def test_after_a_day_the_key_is_new(program: Program, office: Office) -> None:
    first = send(program).json()
    office.clock.forward(hours=23, minutes=59)
    assert send(program).json() == first
    office.clock.forward(minutes=2)
    assert answered.forget_old(office.clock()) == 1
    assert send(program).json()["id"] != first["id"]


def test_a_day_counts_before_the_row_is_swept(program: Program, office: Office) -> None:
    first = send(program).json()
    office.clock.forward(hours=24)
    assert send(program).json()["id"] != first["id"]
    assert ApiAnswer.objects.count() == 1


def test_many_at_once_are_one(program: Program) -> None:
    answers: list[Any] = []

    def work() -> None:
        answers.append(send(program))
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(one.status_code, one.content) for one in answers} == {(202, answers[0].content)}
    assert (Submission.objects.count(), Content.objects.count()) == (1, 1)


def test_the_stored_answer_is_sealed_and_names_neither_key_nor_request(program: Program) -> None:
    send(program)
    (row,) = ApiAnswer.objects.values()
    held = b"".join(bytes(row[name]) for name in ("key", "request", "sealed"))
    assert KEY.encode() not in held and GUEST.encode() not in held and MARKER.encode() not in held


def test_the_same_message_with_another_key_is_not_accepted_twice(program: Program) -> None:
    octets = RAW.replace(b"\r\n\r\n", b"\r\nMessage-ID: <1@voorbeeld.test>\r\nDate: x\r\n\r\n", 1)
    first, second = send_raw(program, octets), send_raw(program, octets, key="another")
    assert (first.status_code, second.status_code) == (202, 202)
    assert second.json() == first.json()  # D-4
    third = send_raw(program, octets, key="third", zegel_recipients=f"{GUEST}, stil@example.org")
    told = third.json()["recipients"]
    assert [one["address"] for one in told] == [GUEST, "stil@example.org"]
    assert told[0]["submission"] == first.json()["id"] != told[1]["submission"] == third.json()["id"]
    assert Conversation.objects.count() == 2  # the second one is blind


# --- what is taken -----------------------------------------------------------------------------------------------


def test_a_message_is_written_as_it_was_asked(program: Program, office: Office) -> None:
    body = asked(
        from_name="Balie “één”",
        cc=["tweede@example.org"],
        bcc=["stil@example.org"],
        subject="Uitslag ✓",
        html="<p>Één</p>",
        attachments=[
            {"name": "uitslag ✓.pdf", "type": "application/pdf", "content": base64.b64encode(b"%PDF-1.7\0").decode()},
            {"name": "leeg.bin", "content": ""},
        ],
        access=[
            {"address": GUEST, "phone": "+31612345678"},
            {"address": "stil@example.org", "access_code": "één  twee"},
        ],
        direct={"auth": "dane"},
        email_verification=False,
        expires_after_days=30,
    )
    response = send(program, body)
    assert response.status_code == 202, response.content
    told = response.json()
    assert {one["address"] for one in told["recipients"]} == {GUEST, "tweede@example.org", "stil@example.org"}
    assert {one["state"] for one in told["recipients"]} == {"accepted"}
    assert response.headers["Location"] == f"/api/v1/trace/{told['id']}"
    one, other = stored(office)
    assert one.as_bytes() == other.as_bytes()
    assert [(str(author.display_name), author.addr_spec) for author in one["From"].addresses] == [
        ("Balie “één”", SENDER)
    ]
    assert (one["Subject"], one["Bcc"], one["Message-ID"]) == ("Uitslag ✓", None, told["message_id"])
    assert not [name for name, _ in one.items() if name.lower().startswith("zegel-")]
    assert "from api ([127.0.0.1])" in str(one["Received"]) and "with HTTP id" in str(one["Received"])
    assert one.get_body(("plain",)).get_content().split() == ["Inhoud", MARKER]  # type: ignore[union-attr]
    assert one.get_body(("html",)).get_content().strip() == "<p>Één</p>"  # type: ignore[union-attr]
    files = [(part.get_filename(), part.get_content_type(), part.get_content()) for part in one.iter_attachments()]
    assert files == [
        ("uitslag ✓.pdf", "application/pdf", b"%PDF-1.7\0"),
        ("leeg.bin", "application/octet-stream", b""),
    ]
    (submission,) = Submission.objects.all()
    assert (submission.token, submission.credential, submission.reverse_path) == (program.made.token, None, SENDER)
    opened = office.unsealer.field(submission.directives, name="directives", owner=submission.id).reveal().decode()
    assert '["stil@example.org","access-code","één  twee",null]' in opened
    assert "+31612345678" in opened and '"email_policy":"never"' in opened and '"expires_after":2592000.0' in opened
    assert Conversation.objects.filter(is_blind=True).count() == 1


@pytest.mark.parametrize("name", ["text", "html"])
def test_a_message_can_have_one_text_or_none(program: Program, office: Office, name: str) -> None:
    body = {"from": SENDER, "to": [GUEST], name: "<b>x</b>"}
    assert send(program, body).status_code == 202
    assert send(program, {"from": SENDER, "bcc": [GUEST]}, key="another").status_code == 202
    first, second = stored(office)
    assert first.get_content_type() == ("text/plain" if name == "text" else "text/html")
    assert second.get_content().strip() == ""


@pytest.mark.parametrize("octets", [RAW, RAW.replace(b"\r\n", b"\n")])
def test_a_raw_message_stays_as_it_is(program: Program, office: Office, octets: bytes) -> None:
    with capture_logs() as logged:
        response = send_raw(program, octets)
    assert response.status_code == 202, response.content
    (message,) = Message.objects.all()
    key = office.unsealer.message_key(message, office.unsealer.conversation_key(message.conversation))
    found = b"".join(office.unsealer.octets(message.content, key, 0, message.content.size))
    assert found.endswith(b"\r\n\r\nInhoud " + MARKER.encode() + b"\r\n")
    assert b"\n" not in found.replace(b"\r\n", b"")
    assert [one["event"] for one in logged] == ["submission_accepted"]
    assert MARKER not in str(logged) and GUEST not in str(logged)
    assert office.rings


def test_a_raw_message_that_is_large_is_sealed_in_pieces(
    program: Program, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for: list[int] = []
    read = WSGIRequest.read

    def watched(self: WSGIRequest, *args: int) -> bytes:
        asked_for.extend(args or (-1,))
        return read(self, *args)

    monkeypatch.setattr(WSGIRequest, "read", watched)
    octets = RAW + (b"x" * 70 + b"\r\n") * 20_000
    assert send_raw(program, octets).status_code == 202
    assert len(asked_for) > 20 and min(asked_for) > 0 and max(asked_for) <= 65_536
    (content,) = Content.objects.all()
    assert content.sealed is None and content.size > len(octets)
    assert not any(MARKER.encode() in path.read_bytes() for path in office.blobs.folder.rglob("*") if path.is_file())


def test_recipients_of_a_raw_message_are_those_of_its_header_and_blind_ones_are_taken_out(
    program: Program, office: Office
) -> None:
    octets = RAW.replace(b"Subject:", b"Cc: tweede@example.org\r\nBcc: stil@example.org\r\nSubject:")
    told = send_raw(program, octets).json()
    assert {one["address"] for one in told["recipients"]} == {GUEST, "tweede@example.org", "stil@example.org"}
    assert all("stil@example.org" not in one.as_string() for one in stored(office))


def test_recipients_that_the_request_names_are_those_and_no_others(program: Program) -> None:
    told = send_raw(program, zegel_recipients="Stil@example.org, stil@EXAMPLE.org").json()
    assert [one["address"] for one in told["recipients"]] == ["Stil@example.org"]
    response = send_raw(program, zegel_recipients="geen-adres", key="another")
    assert is_told_well(response)[0]["field"] == "Zegel-Recipients.0"


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("To", b"To: %b, tweede@@example.org\r\n"),
        ("To", b"To: %b\r\nTo: tweede at example.org\r\n"),
        ("Cc", b"To: %b\r\nCc: Twee de <tweede@example.org\r\n"),
        ("Bcc", b"To: %b\r\nBcc: Stil: stil@example.org, <stil>;\r\n"),
    ],
)
def test_a_recipient_who_cannot_be_read_is_not_left_out(
    program: Program, office: Office, field: str, line: bytes
) -> None:
    octets = RAW.replace(b"To: %b\r\n" % GUEST.encode(), line % GUEST.encode())
    response = send_raw(program, octets)
    assert (response.status_code, is_told_well(response)[0]["field"]) == (422, field)
    assert response.json()["reply"]["code"] == 501 and nothing_is_there(office)


def test_a_group_without_anybody_and_a_comma_too_many_name_nobody(program: Program) -> None:
    line = b"To: undisclosed-recipients:;\r\nCc: , %b (balie),,\r\n" % GUEST.encode()
    told = send_raw(program, RAW.replace(b"To: %b\r\n" % GUEST.encode(), line)).json()
    assert [one["address"] for one in told["recipients"]] == [GUEST]
