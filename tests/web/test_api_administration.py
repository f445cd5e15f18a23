"""What programs administer for people: invitations, alarms, caps, what is known of a recipient, files of verification
data. Unhappy paths first."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.web.api_ground import KEY, Office, Program, is_told_well
from zegel.accounts import people
from zegel.accounts.models import Account, AuditEntry, MailboxProof, Organisation, SendingDomain
from zegel.accounts.tokens import Scope
from zegel.core.policy.verification_import import MAX_OCTETS
from zegel.edge.chance import identifier
from zegel.edge.database import Readers, Writer
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import (
    Conversation,
    Recipient,
    StagedFile,
    Submission,
    VerificationData,
    VerificationImport,
)
from zegel.journey.importing import KEPT, Importing

pytestmark = pytest.mark.django_db(transaction=True)
PHONE: Final = "+31612345678"
GUEST: Final = "ontvanger@example.org"
IMPORTS: Final = "verification/imports"
FILE: Final = (
    "email_address,phone_number,access_code\r\n"
    f"goed@example.org,{PHONE},\r\n"
    "slecht@example.org,020 7654321,\r\n"
    "code@example.org,,winterkoning 2026\r\n"
).encode()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    yield office
    office.close()


def made(office: Office, name: str, domain: str) -> Program:
    organisation = Organisation.objects.create(name=name)
    SendingDomain.objects.create(
        organisation=organisation, name=domain, ownership_token="t", dkim_key=b"", dkim_record="", in_place=True
    )
    return Program(office.token(organisation))


@pytest.fixture
def program(office: Office) -> Program:
    return made(office, "Voorbeeldziekenhuis", "voorbeeld.test")


@pytest.fixture
def other(office: Office) -> Program:
    return made(office, "Ander ziekenhuis", "ander.test")


def organisation_of(program: Program) -> Organisation:
    assert program.made.token.organisation is not None
    return program.made.token.organisation


def acts() -> list[str]:
    return list(AuditEntry.objects.order_by("pk").values_list("act", flat=True))


# --- invitations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"address": "x@elders.test"}, 409, "address"),
        ({"address": "x@voorbeeld.test", "role": "owner"}, 409, "address"),
        ({"address": "geen-adres"}, 422, "address"),
        ({}, 400, "address"),
    ],
)
def test_who_may_not_be_invited_is_not(program: Program, body: Any, status: int, field: str) -> None:
    response = program.post("invitations", body)
    assert (response.status_code, is_told_well(response)[0]["field"]) == (status, field)
    assert not MailboxProof.objects.exists() and not Account.objects.exists()


def test_somebody_is_invited_once_again_and_the_invitation_withdrawn(
    office: Office, program: Program, other: Program
) -> None:
    body = {"address": "nieuw@voorbeeld.test", "role": "support"}
    first, second = (program.post("invitations", body, idempotency_key=KEY) for _ in range(2))
    assert (first.status_code, first.content) == (201, second.content)
    assert MailboxProof.objects.count() == 1 and office.rings
    path = f"accounts/{first.json()['id']}/invitation"
    told = program.get("invitations").json()["items"]
    assert [(one["account"], one["address"]) for one in told] == [(first.json()["id"], "nieuw@voorbeeld.test")]
    assert other.get("invitations").json()["items"] == []
    assert other.ask("DELETE", path).status_code == other.post(path).status_code == 404
    assert program.post(path).json()["address"] == "nieuw@voorbeeld.test"
    assert len(program.get("invitations").json()["items"]) == 1, "earlier ones ended"
    assert program.ask("DELETE", path).status_code == 204
    assert program.get("invitations").json()["items"] == []
    again = program.ask("DELETE", path)
    assert again.status_code == 409 and is_told_well(again)
    assert not MailboxProof.objects.filter(used_at=None).exists()
    assert acts()[-3:] == ["invited", "invited", "invitation-withdrawn"]


def test_an_invitation_that_lapsed_is_not_told_of(office: Office, program: Program) -> None:
    account = program.post("invitations", {"address": "nieuw@voorbeeld.test"}).json()["id"]
    office.clock.forward(days=8)
    assert program.get("invitations").json()["items"] == []
    assert program.ask("DELETE", f"accounts/{account}/invitation").status_code == 409


def test_a_program_withdraws_no_invitation_of_an_owner(office: Office, program: Program) -> None:
    organisation = organisation_of(program)
    owner = Account.objects.create_user("baas@voorbeeld.test", organisation=organisation, role="owner")
    response = program.ask("DELETE", f"accounts/{owner.pk}/invitation")
    assert response.status_code == 409 and "more rights" in is_told_well(response)[0]["reason"]
    assert not people.withdraw_invitation(owner, by=None, now=office.clock())


# --- alarms, caps ------------------------------------------------------------------------------------------------


def test_who_is_mailed_about_alarms_is_put_whole(program: Program, other: Program) -> None:
    held = program.get("alarms/addresses")
    assert held.json() == {"addresses": None}
    wrong = program.ask("PUT", "alarms/addresses", {"addresses": ["beheer@example.org", "x"]}, if_match="*")
    assert wrong.status_code == 400
    wrong = program.ask("PUT", "alarms/addresses", {"addresses": ["beheer@example.org", "geen-adres"]}, if_match="*")
    assert (wrong.status_code, is_told_well(wrong)[0]["field"]) == (422, "addresses.1")
    many = program.ask("PUT", "alarms/addresses", {"addresses": [f"a{n}@x.test" for n in range(11)]}, if_match="*")
    assert (many.status_code, is_told_well(many)[0]["field"]) == (400, "addresses")
    body = {"addresses": ["beheer@example.org"]}
    put = program.ask("PUT", "alarms/addresses", body, if_match=held.headers["ETag"])
    assert put.json() == body
    assert program.ask("PUT", "alarms/addresses", body, if_match=held.headers["ETag"]).status_code == 412
    assert other.get("alarms/addresses").json() == {"addresses": None}
    assert acts() == [*acts()[:-1], "alarms-changed"]


def test_alarms_that_stand_are_told(program: Program, other: Program, office: Office) -> None:
    assert program.get("alarms").json() == {"items": []}
    SendingDomain.objects.filter(name="voorbeeld.test").update(
        proved_at=office.clock(), checked_at=office.clock(), missing_since=office.clock()
    )
    (told,) = program.get("alarms").json()["items"]
    assert (told["about"], told["severity"] in ("critical", "warning")) == ("voorbeeld.test", True)
    assert told["says"] and told["remedy"]
    assert other.get("alarms").json() == {"items": []}


def test_caps_are_put_whole_and_told_with_what_was_used(program: Program) -> None:
    held = program.get("submission/caps")
    wrong = program.ask("PUT", "submission/caps", {"messages_per_day": -1}, if_match="*")
    assert (wrong.status_code, is_told_well(wrong)[0]["field"]) == (400, "messages_per_day")
    put = program.ask("PUT", "submission/caps", {"messages_per_day": 5}, if_match=held.headers["ETag"])
    assert put.json() == {
        **dict.fromkeys(("messages_per_hour", "recipients_per_hour", "recipients_per_day")), "messages_per_day": 5,
        "messages_used_this_hour": 0, "messages_used_today": 0,
        "recipients_used_this_hour": 0, "recipients_used_today": 0,
    }  # fmt: skip
    assert program.ask("PUT", "submission/caps", {}, if_match=held.headers["ETag"]).status_code == 412
    assert program.get("submission/caps").json() == put.json()


def test_what_texts_cost_and_may_is_put_whole(program: Program, other: Program) -> None:
    held = program.get("submission/text-money")
    for body, field in (
        ({"currency": "euro"}, "currency"),
        ({"price": -1}, "price"),
        ({"prices": {"31": 8}}, "prices.31.[key]"),
        ({"prices": {"+31": "x"}}, "prices.+31"),
    ):
        wrong = program.ask("PUT", "submission/text-money", body, if_match="*")
        assert (wrong.status_code, is_told_well(wrong)[0]["field"]) == (400, field)
    whole = {"currency": "EUR", "price": 8, "prices": {"+31": 7}, "most_per_month": 25_000}
    put = program.ask("PUT", "submission/text-money", whole, if_match=held.headers["ETag"])
    assert put.json() == {**whole, "spent_this_month": 0}
    assert program.ask("PUT", "submission/text-money", whole, if_match=held.headers["ETag"]).status_code == 412
    assert other.get("submission/text-money").json()["price"] == 0
    assert acts()[-1] == "caps-changed"


def test_a_credential_has_caps_on_text_messages(program: Program) -> None:
    made = program.post("credentials", {"description": "server"})
    path = f"credentials/{made.json()['id']}"
    assert made.json()["texts"] == {"texts_per_day": None, "texts_per_month": None}
    put = program.ask("PATCH", path, {"texts": {"texts_per_day": 5}}, if_match=made.headers["ETag"])
    assert put.json()["texts"] == {"texts_per_day": 5, "texts_per_month": None}
    assert (put.json()["texts_used_today"], put.headers["ETag"] != made.headers["ETag"]) == (0, True)


# --- traces ------------------------------------------------------------------------------------------------------


def test_a_trace_comes_in_parts_that_are_all_of_it(office: Office, program: Program, other: Program) -> None:
    organisation = organisation_of(program)
    author = Account.objects.create_user("balie@voorbeeld.test", organisation=organisation)
    now = office.clock()
    submission = Submission.objects.create(
        organisation=organisation, account=author, message_id="<a@voorbeeld.test>", identity=b"", directives=b"",
        source="192.0.2.1", tls="", accepted_at=now,
    )  # fmt: skip
    conversation = Conversation.objects.create(
        id=identifier(), organisation=organisation, author=author, submission=submission, created_at=now
    )
    for number in range(5):
        address = f"r{number}@example.org"
        Recipient.objects.create(
            id=identifier(), conversation=conversation, submission=submission, address=address, key=address
        )
    path = f"trace/{submission.id}"
    assert other.get(path).status_code == 404
    assert program.get(f"{path}?limit=201").status_code == 400
    assert program.get(f"{path}?after=AAAA").status_code == 422
    whole = program.get(path).json()
    assert (len(whole["recipients"]), whole["next"], whole["reports"]) == (5, None, [])
    found, after, parts = [], "", 0
    while after is not None:
        told = program.get(f"{path}?limit=2&after={after}").json()
        assert len(told["recipients"]) <= 2 and (told["reports"] is None) is bool(after)
        found += told["recipients"]
        after, parts = told["next"], parts + 1
    assert parts == 3 and sorted(one["id"] for one in found) == sorted(one["id"] for one in whole["recipients"])


# --- what is known of a recipient --------------------------------------------------------------------------------


def test_what_is_known_is_exported_without_numbers_and_noted(program: Program, other: Program) -> None:
    program.post("verification", {"address": GUEST, "phone": PHONE})
    assert program.post("recipients/export", {"address": "geen-adres"}).status_code == 422
    assert program.post("recipients/export", {"address": GUEST, "after": "AAAA"}).status_code == 422
    told = program.post("recipients/export", {"address": GUEST.upper()})
    assert told.status_code == 200, told.content
    assert (told.json()["form"], told.json()["messages"], told.json()["next"]) == ("zegel-known/1", [], None)
    assert [one["masked"] for one in told.json()["verification"]] == ["+31 6 ****5678"]
    assert PHONE not in told.content.decode()
    assert other.post("recipients/export", {"address": GUEST}).json()["verification"] == []
    assert acts().count("recipient-exported") == 2


def test_a_recipient_is_erased_in_two_steps(office: Office, program: Program, other: Program) -> None:
    for one in (program, other):
        assert one.post("verification", {"address": GUEST, "phone": PHONE}).status_code == 201
    asked = program.post("recipients/erasure", {"address": GUEST})
    assert asked.status_code == 200, asked.content
    confirmation = asked.json().pop("confirmation")
    assert {name: value for name, value in asked.json().items() if name != "confirmation"} == {
        "address": GUEST, "messages": 0, "messages_taken_back": 0, "messages_undelivered": 0,
        "numbers_and_codes": 1, "devices": 0,
    }  # fmt: skip
    theirs = other.post("recipients/erasure", {"address": GUEST}).json()["confirmation"]
    for body in (
        {"address": GUEST, "confirmation": "0" * 32},
        {"address": GUEST, "confirmation": theirs},
        {"address": "ander@example.org", "confirmation": confirmation},
    ):
        refused = program.post("recipients/erasure/confirm", body)
        assert (refused.status_code, is_told_well(refused)[0]["field"]) == (409, "confirmation")
    assert program.post("recipients/erasure/confirm", {"address": GUEST, "confirmation": "x"}).status_code == 400
    program.post("verification", {"address": GUEST, "access_code": "regenjas 42"})
    body = {"address": GUEST, "confirmation": confirmation}
    assert program.post("recipients/erasure/confirm", body).status_code == 409, "something came since"
    assert VerificationData.objects.count() == 3 and "recipient-erased" not in acts()

    body["confirmation"] = program.post("recipients/erasure", {"address": GUEST}).json()["confirmation"]
    first, second = (program.post("recipients/erasure/confirm", body, idempotency_key=KEY) for _ in range(2))
    assert (first.status_code, first.content) == (200, second.content)
    told = {"messages": 0, "numbers_and_codes": 2, "devices": 0}
    assert {name: first.json()[name] for name in told} == told
    assert [one.organisation for one in VerificationData.objects.all()] == [organisation_of(other)]
    assert acts().count("recipient-erased") == 1
    assert GUEST not in json.dumps(list(AuditEntry.objects.filter(act="recipient-erased").values("about", "details")))


def test_erasing_asks_a_scope_that_exporting_does_not_give(office: Office, program: Program) -> None:
    exporting = Program(office.token(organisation_of(program), Scope.PRIVACY_EXPORT))
    assert exporting.post("recipients/export", {"address": GUEST}).status_code == 200
    assert exporting.post("recipients/erasure", {"address": GUEST}).status_code == 403


# --- files of verification data ----------------------------------------------------------------------------------


def dispatch(office: Office) -> None:
    """What the process does that holds the opening key."""

    async def run() -> None:
        writer, readers = Writer(), Readers()
        doer = Importing(writer, readers, office.unsealer, office.blobs, sealing=office.keys.sealing, now=office.clock)
        try:
            for leased in await writer.write(lambda: jobs.lease((Kind.IMPORT,), most=9, now=office.clock())):
                await doer.work(leased)
        finally:
            writer.close()
            readers.close()

    asyncio.run(run())


def brought(program: Program, octets: bytes = FILE, **headers: str) -> Any:
    return program.ask("POST", IMPORTS, octets, kind="text/csv", **headers)


def blobs(office: Office) -> list[Path]:
    return [path for path in (office.folder / "blobs").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("octets", "kind", "status"),
    [
        (b"", "text/csv", 422),
        (b"name;colour\r\nx;y\r\n", "text/csv", 422),
        (b"\x00\x01", "text/csv", 422),
        (FILE, "application/json", 415),
    ],
)
def test_what_is_no_file_of_verification_data_is_refused(
    office: Office, program: Program, octets: bytes, kind: str, status: int
) -> None:
    response = program.ask("POST", IMPORTS, octets, kind=kind)
    assert response.status_code == status, response.content
    is_told_well(response)
    assert not VerificationImport.objects.exists() and not blobs(office)


def test_a_file_that_is_too_large_or_breaks_off_leaves_nothing(office: Office, program: Program) -> None:
    large = program.ask("POST", IMPORTS, b"email_address,phone_number\r\n" + b"x" * MAX_OCTETS, kind="text/csv")
    assert large.status_code == 413 and is_told_well(large)
    assert not VerificationImport.objects.exists() and not blobs(office)


def test_a_file_is_judged_and_then_imported(office: Office, program: Program, other: Program) -> None:
    first, second = (brought(program, idempotency_key=KEY) for _ in range(2))
    assert (first.status_code, first.content) == (202, second.content), first.content
    assert StagedFile.objects.count() == 1
    path = f"{IMPORTS}/{first.json()['id']}"
    assert first.headers["Location"] == f"/api/v1/{path}"
    busy = brought(program)
    assert busy.status_code == 409 and path in is_told_well(busy)[0]["example"]
    early = program.post(f"{path}/confirm", if_match=first.headers["ETag"])
    assert early.status_code == 409 and is_told_well(early)
    dispatch(office)

    judged = program.get(path)
    told = {name: judged.json()[name] for name in ("state", "rows", "bad", "to_add", "to_change", "same")}
    assert told == {"state": "ready", "rows": 3, "bad": 1, "to_add": 2, "to_change": 0, "same": 0}
    (bad,) = program.get(f"{path}/rows").json()["items"]
    assert (bad["line"], bad["column"], bad["address"]) == (3, "phone_number", "slecht@example.org")
    assert bad["reason"] and not VerificationData.objects.exists()
    for shown in (judged, program.get(f"{path}/rows"), program.get(IMPORTS)):
        assert not [secret for secret in (PHONE, "7654321", "winterkoning") if secret in shown.content.decode()]
    assert other.get(IMPORTS).json()["items"] == []
    assert other.post(f"{path}/confirm", if_match="*").status_code == 404

    assert program.post(f"{path}/confirm", if_match=first.headers["ETag"]).status_code == 412
    assert program.post(f"{path}/confirm", if_match=judged.headers["ETag"]).json()["state"] == "importing"
    dispatch(office)
    done = program.get(path).json()
    assert (done["state"], done["added"], done["changed"], done["left"]) == ("done", 2, 0, 0)
    assert set(VerificationData.objects.values_list("address", flat=True)) == {"goed@example.org", "code@example.org"}
    entry = AuditEntry.objects.get(act="verification-imported")
    assert (entry.by_kind, entry.by) == ("token", program.made.token.name)
    assert not StagedFile.objects.exists() and not blobs(office)


def test_a_file_is_cancelled_or_lapses(office: Office, program: Program) -> None:
    made = brought(program)
    path = f"{IMPORTS}/{made.json()['id']}"
    assert program.post(f"{path}/cancel", if_match=made.headers["ETag"]).json()["state"] == "cancelled"
    assert program.post(f"{path}/cancel", if_match="*").status_code == 409
    made = brought(program)
    dispatch(office)
    office.clock.forward(seconds=KEPT.total_seconds() + 1)
    path = f"{IMPORTS}/{made.json()['id']}"
    late = program.post(f"{path}/confirm", if_match=program.get(path).headers["ETag"])
    assert late.status_code == 409 and not VerificationData.objects.exists()


def test_where_there_is_no_room_nothing_is_taken(
    office: Office, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr("zegel.journey.importing.ContentSink.feed", full)
    response = brought(program)
    assert response.status_code == 507 and is_told_well(response)
    assert response.headers["Retry-After"]
    assert not VerificationImport.objects.exists()
