"""What programs administer: other organisations' things are not there, nothing is overwritten unseen, secrets are shown
once, and what is done twice with a key is done once. Unhappy paths first."""

from __future__ import annotations

import json
import uuid
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.core.test_look import png
from tests.web.api_ground import KEY, Office, Program, is_told_well
from zegel.accounts import credentials as smtp_credentials
from zegel.accounts.models import (
    Account,
    ApiAnswer,
    AuditEntry,
    DkimPair,
    Organisation,
    SendingDomain,
    SmtpCredential,
)
from zegel.accounts.tokens import OF_ORGANISATIONS, Scope
from zegel.api.operation import Operation
from zegel.api.operations import OPERATIONS
from zegel.core.secret import Secret
from zegel.edge.dns import Found
from zegel.journey.custody.models import VerificationData, VerificationImport

pytestmark = pytest.mark.django_db
PHONE: Final = "+31612345678"
GUEST: Final = "ontvanger@example.org"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    yield office
    office.close()


def furnished(office: Office, name: str, domain: str) -> Program:
    """The program of an organisation that has one of everything."""
    organisation = Organisation.objects.create(name=name)
    SendingDomain.objects.create(
        organisation=organisation, name=domain, ownership_token="t", dkim_key=b"", dkim_record="", in_place=True
    )
    Account.objects.create_user(f"balie@{domain}", organisation=organisation)
    program = Program(office.token(organisation))
    assert program.post("credentials", {"description": "server"}).status_code == 201
    assert program.post("webhooks", WEBHOOK).status_code == 201
    assert program.post("verification", {"address": GUEST, "phone": PHONE}).status_code == 201
    file = f"email_address,phone_number\r\nbestand@example.org,{PHONE}\r\n".encode()
    assert program.ask("POST", "verification/imports", file, kind="text/csv").status_code == 202
    for path in ("policies/direct-delivery/rechtstreeks.test", "policies/minimums/minstens.test"):
        body = {"method": "sms"} if "minimums" in path else {}
        assert program.ask("PUT", path, body).status_code == 201
    return program


@pytest.fixture
def program(office: Office) -> Program:
    return furnished(office, "Voorbeeldziekenhuis", "voorbeeld.test")


@pytest.fixture
def other(office: Office) -> Program:
    return furnished(office, "Ander ziekenhuis", "ander.test")


def organisation_of(program: Program) -> Organisation:
    assert program.made.token.organisation is not None
    return program.made.token.organisation


def names_of(program: Program) -> dict[str, object]:
    """What stands in the paths of this organisation."""
    organisation = organisation_of(program)
    return {
        "credential": organisation.smtp_credentials.get().pk,
        "domain": organisation.sending_domains.get().name,
        "row": VerificationData.objects.get(organisation=organisation).id,
        "account": organisation.accounts.get().pk,
        "submission": uuid.uuid4(),
        "webhook": organisation.webhooks.get().pk,
        "import": VerificationImport.objects.get(organisation=organisation).id,
    }


WEBHOOK: Final = {
    "description": "dossier",
    "url": "https://dossier.voorbeeld.test/zegel",
    "events": ["recipient.opened"],
}
BODIES: Final[dict[str, Any]] = {
    "change-credential": {"networks": []},
    "change-account": {"display_name": "x"},
    "put-policy": {},
    "put-look": {},
    "put-organisation": {"language": "nl", "country": "NL"},
    "put-text-caps": {},
    "put-direct-delivery": {},
    "put-minimum": {"method": "sms"},
    "put-verification": {"phone": PHONE},
    "change-webhook": {"description": "x"},
    "end-previous-dkim": {},
    "put-caps": {},
    "put-text-money": {},
    "put-alarm-addresses": {"addresses": []},
}
NAMED: Final = [row for row in OPERATIONS if row.parameters and row.scope in OF_ORGANISATIONS]
CHANGING: Final = [row for row in OPERATIONS if row.changes]


def address(row: Operation, names: dict[str, object]) -> str:
    if row.path.startswith("policies/direct"):
        names = {**names, "domain": "rechtstreeks.test"}
    if row.path.startswith("policies/minimums"):
        names = {**names, "domain": "minstens.test"}
    return row.path.format(**names)


def whole(model: Any) -> list[Any]:
    return list(model._default_manager.order_by("pk").values())


# --- who may not -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: row.name)
def test_a_token_without_the_scope_may_not(office: Office, program: Program, row: Operation) -> None:
    scopes = OF_ORGANISATIONS - {row.scope}
    lacking = Program(office.token(organisation_of(program), *scopes))
    path = row.path.format(**{**names_of(program), "conversation": uuid.uuid4(), "message": uuid.uuid4(), "number": 1})
    response = lacking.ask(row.method, path, BODIES.get(row.name, {}))
    assert response.status_code == 403
    assert f'scope="{row.scope.value}"' in response.headers["WWW-Authenticate"]


@pytest.mark.parametrize("row", NAMED, ids=lambda row: row.name)
def test_what_another_organisation_has_is_not_there(program: Program, other: Program, row: Operation) -> None:
    """Equal to what nobody has (P20)."""
    theirs, unknown = names_of(other), {"credential": 10**6, "domain": "nergens.test", "row": uuid.uuid4()}
    unknown |= {"account": 10**6, "submission": uuid.uuid4(), "webhook": uuid.uuid4(), "import": uuid.uuid4()}
    if row.path.startswith("policies"):
        return  # named by a domain, of which each organisation has its own
    before = [whole(model) for model in (SmtpCredential, SendingDomain, VerificationData, Account)]
    answers = [
        program.ask(row.method, row.path.format(**names), BODIES.get(row.name, {}), if_match="*")
        for names in (theirs, unknown)
    ]
    assert [one.status_code for one in answers] == [404, 404]
    assert answers[0].content == answers[1].content
    assert [whole(model) for model in (SmtpCredential, SendingDomain, VerificationData, Account)] == before


@pytest.mark.parametrize("name", ["x", "-1", "1.0", str(2**63), "9" * 400, "٣", " "])
def test_what_is_no_name_names_nothing(program: Program, name: str) -> None:
    assert program.get(f"credentials/{name}").status_code == 404
    assert program.get(f"verification/{name}").status_code == 404


# --- nothing is overwritten unseen -------------------------------------------------------------------------------


@pytest.mark.parametrize("row", CHANGING, ids=lambda row: row.name)
def test_a_change_names_the_version_that_it_is_made_of(program: Program, row: Operation) -> None:
    path = address(row, names_of(program))
    body = BODIES.get(row.name, {})
    before = AuditEntry.objects.count()
    none = program.ask(row.method, path, body)
    assert (none.status_code, is_told_well(none)[0]["field"]) == (428, "If-Match")
    for tag in ('"x"', 'W/"x"', "x", ""):
        stale = program.ask(row.method, path, body, if_match=tag)
        assert (stale.status_code, is_told_well(stale)[0]["field"]) == (412, "If-Match")
    assert AuditEntry.objects.count() == before


def test_of_two_who_change_the_same_the_second_is_told(program: Program) -> None:
    path = f"credentials/{names_of(program)['credential']}"
    tag = program.get(path).headers["ETag"]
    first = program.ask("PATCH", path, {"networks": ["192.0.2.0/24"]}, if_match=tag)
    second = program.ask("PATCH", path, {"networks": ["198.51.100.0/24"]}, if_match=tag)
    assert (first.status_code, second.status_code) == (200, 412)
    weak = program.ask("PATCH", path, {"networks": []}, if_match=f"W/{first.headers['ETag']}")
    assert weak.status_code == 412
    assert program.get(path).json()["networks"] == ["192.0.2.0/24"]
    third = program.ask("PATCH", path, {"authors": ["voorbeeld.test"]}, if_match=f'"a", {first.headers["ETag"]}')
    assert third.json()["networks"] == ["192.0.2.0/24"] and third.json()["authors"] == ["voorbeeld.test"]


# --- credentials -------------------------------------------------------------------------------------------------


def test_a_secret_is_shown_once_also_where_its_answer_was_lost(program: Program) -> None:
    first, second = (program.post("credentials", {"description": "x"}, idempotency_key=KEY) for _ in range(2))
    assert (first.status_code, first.content, first.headers) == (201, second.content, second.headers)
    made = first.json()
    assert smtp_credentials.find(made["username"], Secret(made["secret"])) is not None
    assert not isinstance(smtp_credentials.find(made["username"], Secret(made["secret"])), str)
    assert "secret" not in program.get(f"credentials/{made['id']}").json()
    assert made["secret"].encode() not in bytes(ApiAnswer.objects.get().sealed)
    assert organisation_of(program).smtp_credentials.count() == 2
    other = program.post("credentials", {"description": "y"}, idempotency_key=KEY)
    assert other.status_code == 422


def test_what_was_refused_may_succeed_with_the_same_key(program: Program) -> None:
    path = f"credentials/{names_of(program)['credential']}/rotate"
    assert program.post(path, idempotency_key="first").status_code == 200
    assert program.post(path, idempotency_key=KEY).status_code == 409
    tag = program.get(path.removesuffix("/rotate")).headers["ETag"]
    assert program.post(path.replace("rotate", "end-previous"), if_match=tag).status_code == 200
    made = program.post(path, idempotency_key=KEY)
    assert made.status_code == 200 and made.json()["has_previous_secret"]
    assert program.post(path, idempotency_key=KEY).json() == made.json()


def test_a_credential_that_is_disabled_stays_so(program: Program) -> None:
    path = f"credentials/{names_of(program)['credential']}"
    first, second = program.post(f"{path}/disable").json(), program.post(f"{path}/disable").json()
    assert first["disabled_at"] == second["disabled_at"] is not None
    assert AuditEntry.objects.filter(act="credential-disabled").count() == 1
    assert program.post(f"{path}/rotate").status_code == 409
    response = program.ask("PATCH", path, {}, if_match=program.get(path).headers["ETag"])
    assert response.status_code == 409


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"networks": ["192.0.2.1/24"]}, 422, "networks.0"),
        ({"authors": ["x@y@z"]}, 422, "authors.0"),
        ({"caps": {"messages_per_hour": -1}}, 400, "caps.messages_per_hour"),
        ({"caps": {"messages_per_hour": 1.5}}, 400, "caps.messages_per_hour"),
        ({"networks": "192.0.2.1"}, 400, "networks"),
    ],
)
def test_a_binding_that_is_none_changes_nothing(program: Program, body: Any, status: int, field: str) -> None:
    path = f"credentials/{names_of(program)['credential']}"
    before = whole(SmtpCredential)
    response = program.ask("PATCH", path, body, if_match="*")
    assert (response.status_code, is_told_well(response)[0]["field"]) == (status, field)
    assert whole(SmtpCredential) == before


def test_whoever_acts_by_a_token_is_in_the_audit_log(program: Program) -> None:
    entry = AuditEntry.objects.filter(act="credential-issued").get()
    assert (entry.by_kind, entry.by) == ("token", program.made.token.name)


def test_caps_on_text_messages_are_put_whole_and_told_with_what_was_used(program: Program) -> None:
    held = program.get("submission/texts")
    body = {"texts_per_hour": 2, "text_countries": ["nl", "BE"]}
    assert program.ask("PUT", "submission/texts", body).status_code == 428
    put = program.ask("PUT", "submission/texts", body, if_match=held.headers["ETag"])
    assert put.status_code == 200, put.content
    assert put.json() == {
        "texts_per_hour": 2, "texts_per_day": None, "texts_per_month": None, "text_countries": ["NL", "BE"],
        "used_this_hour": 0, "used_today": 0, "used_this_month": 0,
    }  # fmt: skip
    assert program.ask("PUT", "submission/texts", {}, if_match=held.headers["ETag"]).status_code == 412
    assert program.get("submission/texts").json() == put.json()


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"texts_per_hour": -1}, 400, "texts_per_hour"),
        ({"text_countries": ["NL", "Nederland"]}, 422, "text_countries.1"),
    ],
)
def test_caps_on_text_messages_that_are_none_change_nothing(
    program: Program, body: Any, status: int, field: str
) -> None:
    before = program.get("submission/texts").json()
    response = program.ask("PUT", "submission/texts", body, if_match="*")
    assert (response.status_code, is_told_well(response)[0]["field"]) == (status, field)
    assert program.get("submission/texts").json() == before


# --- domains, accounts -------------------------------------------------------------------------------------------


def test_a_domain_is_claimed_and_looked_up(office: Office, program: Program) -> None:
    made = program.post("domains", {"name": "Nieuw.test"}, idempotency_key=KEY)
    assert made.status_code == 201 and made.headers["Location"] == "/api/v1/domains/nieuw.test"
    assert program.post("domains", {"name": "nieuw.test"}).status_code == 409
    needed = [one for one in made.json()["records"] if one["needed"]]
    for one in needed:
        office.zone.records[one["name"], one["type"]] = Found((one["value"],))
    told = program.post("domains/nieuw.test/check").json()
    assert told["in_place"] and told["checked_at"]
    assert {one["purpose"] for one in told["findings"] if one["right"]} >= {one["purpose"] for one in needed}


def test_keys_are_renewed_withdrawn_and_ended(office: Office, program: Program) -> None:
    program.post("domains", {"name": "nieuw.test"})
    path = "domains/nieuw.test"
    before = program.get(path)
    assert program.post(f"{path}/withdraw-dkim", if_match=before.headers["ETag"]).status_code == 409
    made = program.post(f"{path}/renew-dkim", idempotency_key=KEY)
    assert made.status_code == 200, made.content
    selector = made.json()["dkim"]["next_selector"]
    assert any(selector in one["name"] for one in made.json()["records"])
    assert program.post(f"{path}/renew-dkim", idempotency_key=KEY).json() == made.json()
    again = program.post(f"{path}/renew-dkim")
    assert (again.status_code, is_told_well(again)[0]["reason"]) == (
        409, "Withdraw the new ones, or end the previous ones."
    )  # fmt: skip
    assert program.post(f"{path}/withdraw-dkim", if_match=before.headers["ETag"]).status_code == 412
    gone = program.post(f"{path}/withdraw-dkim", if_match=made.headers["ETag"])
    assert gone.json()["dkim"] == before.json()["dkim"] and gone.headers["ETag"] == before.headers["ETag"]
    DkimPair.objects.create(
        domain=SendingDomain.objects.get(name="nieuw.test"),
        stage="previous",
        selector="oud",
        key=b"",
        at=office.clock(),
    )
    held = program.get(path)
    early = program.post(f"{path}/end-previous-dkim", if_match=held.headers["ETag"])
    assert (early.status_code, is_told_well(early)[0]["field"]) == (409, "early")
    ended = program.post(f"{path}/end-previous-dkim", {"early": True}, if_match=held.headers["ETag"])
    assert ended.json()["dkim"] == before.json()["dkim"]
    acts = list(AuditEntry.objects.filter(act__startswith="dkim").order_by("pk").values_list("act", "by_kind"))
    assert acts == [("dkim-rotated", "token"), ("dkim-withdrawn", "token"), ("dkim-previous-ended", "token")]


def test_a_domain_is_removed_unless_it_is_the_last_one(program: Program, other: Program) -> None:
    program.post("domains", {"name": "nieuw.test"})
    SendingDomain.objects.filter(name="nieuw.test").update(in_place=True)
    told = program.get("domains/voorbeeld.test")
    assert told.json()["removal"] == {"possible": True, "accounts": 1}
    assert program.ask("DELETE", "domains/ander.test", if_match="*").status_code == 404
    assert program.ask("DELETE", "domains/voorbeeld.test", if_match=told.headers["ETag"]).status_code == 204
    last = program.get("domains/nieuw.test")
    assert last.json()["removal"] == {"possible": False, "accounts": 0}
    stays = program.ask("DELETE", "domains/nieuw.test", if_match=last.headers["ETag"])
    assert stays.status_code == 409 and "Put another domain in place first" in is_told_well(stays)[0]["reason"]
    assert [one.name for one in organisation_of(program).sending_domains.all()] == ["nieuw.test"]
    assert AuditEntry.objects.filter(act="domain-removed", about="voorbeeld.test", by_kind="token").count() == 1


@pytest.mark.parametrize("name", ["geen domein", "x" * 200, "-a.test"])
def test_what_is_no_domain_is_not_added(program: Program, name: str) -> None:
    response = program.post("domains", {"name": name})
    assert (response.status_code, is_told_well(response)[0]["field"]) == (422, "name")


def test_an_account_is_made_changed_suspended_and_found(program: Program) -> None:
    made = program.post("accounts", {"address": "nieuw@voorbeeld.test", "display_name": "Nieuw"})
    assert made.status_code == 201, made.content
    path = f"accounts/{made.json()['id']}"
    changed = program.ask("PATCH", path, {"role": "support"}, if_match=made.headers["ETag"])
    assert (changed.json()["role"], changed.json()["display_name"]) == ("support", "Nieuw")
    assert not program.post(f"{path}/suspend").json()["is_active"]
    assert program.post(f"{path}/resume").json()["is_active"]
    found = program.post("accounts/search", {"address": "NIEUW@voorbeeld.test"}).json()["items"]
    assert [one["id"] for one in found] == [made.json()["id"]]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"address": "balie@voorbeeld.test"}, 409),
        ({"address": "x@elders.test"}, 409),
        ({"address": "x@voorbeeld.test", "role": "owner"}, 409),
        ({"address": "x@voorbeeld.test", "role": "king"}, 400),
        ({"address": "geen-adres"}, 422),
    ],
)
def test_an_account_that_may_not_be_made_is_not(program: Program, body: Any, status: int) -> None:
    before = Account.objects.count()
    response = program.post("accounts", body)
    assert response.status_code == status, response.content
    is_told_well(response)
    assert Account.objects.count() == before


def test_a_change_of_an_account_is_whole_or_not_at_all(program: Program) -> None:
    path = f"accounts/{names_of(program)['account']}"
    response = program.ask("PATCH", path, {"display_name": "Anders", "role": "owner"}, if_match="*")
    assert response.status_code == 409
    assert program.get(path).json()["display_name"] == ""


# --- policies ----------------------------------------------------------------------------------------------------


def test_a_policy_is_put_in_the_place_of_another(program: Program) -> None:
    held = program.get("policies/recipients")
    body = {name: value for name, value in held.json().items() if name != "cautions"}
    body |= {"allowed_methods": ["sms", "account"], "hold_days": 7.0}
    put = program.ask("PUT", "policies/recipients", body, if_match=held.headers["ETag"])
    assert put.status_code == 200, put.content
    assert put.json()["allowed_methods"] == ["account", "sms"] and put.json()["hold_days"] == 7
    assert program.get("policies/recipients").json() == put.json()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"colour": "#ffcc00"}, "colour"),
        ({"logo": "R0lGODlh"}, "logo"),
        ({"logo": "geen base64"}, "logo"),
        ({"texts": {"help_nl": "Zie www.voorbeeld.test"}}, "texts.help_nl"),
        ({"texts": {"introduction_en": "a" * 401}}, "texts.introduction_en"),
    ],
)
def test_a_look_that_can_not_be_is_refused_as_a_whole(program: Program, body: Any, field: str) -> None:
    held = program.get("policies/look")
    refused = program.ask("PUT", "policies/look", {"colour": "#8a1f5c"} | body, if_match=held.headers["ETag"])
    assert refused.status_code == 422
    assert [one["field"] for one in refused.json()["errors"]] == [field]
    assert program.get("policies/look").json() == held.json()


def test_language_and_country_are_changed_and_the_name_is_not(program: Program) -> None:
    path, held = "policies/organisation", program.get("policies/organisation")
    assert held.json() == {"name": "Voorbeeldziekenhuis", "language": "nl", "country": "NL"}
    refused = program.ask("PUT", path, {"language": "nl", "country": "XX"}, if_match=held.headers["ETag"])
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "country")
    for body in ({"language": "fr", "country": "NL"}, {"language": "nl"}, {**held.json(), "name": "Belastingdienst"}):
        assert program.ask("PUT", path, body, if_match=held.headers["ETag"]).status_code in (400, 422)
    put = program.ask("PUT", path, {"language": "en", "country": "be"}, if_match=held.headers["ETag"])
    assert put.json() == {"name": "Voorbeeldziekenhuis", "language": "en", "country": "BE"}
    assert (
        program.ask("PUT", path, {"language": "nl", "country": "NL"}, if_match=held.headers["ETag"]).status_code == 412
    )
    read = program.post("verification", {"address": "belg@example.org", "phone": "0470 12 34 56"})
    assert read.status_code == 201, read.content


def test_a_look_is_put_in_the_place_of_another(program: Program) -> None:
    held = program.get("policies/look")
    assert held.json()["colour"] is None and held.json()["logo"] is None and not any(held.json()["texts"].values())
    logo = b64encode(png()).decode()
    body = {"colour": "8A1F5C", "logo": logo, "texts": {"help_nl": "Bel  030 123 4567."}}
    put = program.ask("PUT", "policies/look", body, if_match=held.headers["ETag"])
    assert put.status_code == 200, put.content
    assert (put.json()["colour"], put.json()["logo"]) == ("#8a1f5c", logo)
    assert put.json()["texts"]["help_nl"] == "Bel 030 123 4567."
    assert program.get("policies/look").json() == put.json()
    assert program.ask("PUT", "policies/look", {}, if_match=held.headers["ETag"]).status_code == 412
    assert program.ask("PUT", "policies/look", {}, if_match=put.headers["ETag"]).json() == held.json()


@pytest.mark.parametrize("path", ["policies/direct-delivery", "policies/minimums"])
def test_a_line_is_made_changed_and_taken_away(program: Program, path: str) -> None:
    bodies = [{"method": "sms"}, {"method": "account"}] if "minimums" in path else [{}, {"auth": "dane"}]
    one = f"{path}/Nieuw.TEST"
    made = program.ask("PUT", one, bodies[0])
    assert (made.status_code, made.json()["domain"]) == (201, "nieuw.test")
    changed = program.ask("PUT", one, bodies[1], if_match=made.headers["ETag"])
    assert changed.status_code == 200 and changed.headers["ETag"] != made.headers["ETag"]
    assert program.ask("DELETE", one, if_match=made.headers["ETag"]).status_code == 412
    gone = program.ask("DELETE", one, if_match=changed.headers["ETag"])
    assert (gone.status_code, gone.content) == (204, b"")
    assert program.get(one).status_code == 404
    assert program.ask("PUT", one, bodies[0], if_match="*").status_code == 412
    assert program.ask("PUT", f"{path}/geen domein", bodies[0]).status_code == 422


def test_every_other_domain_has_a_minimum_of_its_own(program: Program) -> None:
    assert program.ask("PUT", "policies/minimums/*", {"method": "sms"}).json()["domain"] == "*"
    assert [one["domain"] for one in program.get("policies/minimums").json()["items"]] == ["*", "minstens.test"]


# --- verification data -------------------------------------------------------------------------------------------


def test_numbers_and_codes_go_in_and_never_come_out(program: Program) -> None:
    made = program.post("verification", {"address": GUEST, "access_code": "regenjas 42", "hint": "het weer"})
    path = f"verification/{made.json()['id']}"
    put = program.ask("PUT", path, {"access_code": "paraplu 43"}, if_match=made.headers["ETag"])
    answers = [
        made,
        put,
        program.get(path),
        program.get("verification"),
        program.post("verification/search", {"address": GUEST.upper()}),
    ]
    assert [one.status_code for one in answers] == [201, 200, 200, 200, 200]
    assert len(answers[-1].json()["items"]) == 2
    text = "".join(one.content.decode() for one in answers)
    for secret in (PHONE, PHONE[3:], "regenjas", "paraplu", "het weer"):
        assert secret not in text
        assert secret not in json.dumps(list(AuditEntry.objects.values("about", "details")))
    assert "+31 6 ****5678" in text


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"address": GUEST, "phone": PHONE}, 409, "address"),
        ({"address": GUEST, "phone": "0201234567"}, 422, "phone"),
        ({"address": GUEST, "access_code": "abcd", "hint": "abcd"}, 422, "hint"),
        ({"address": GUEST, "access_code": "ab c\u200b"}, 422, "access_code"),
        ({"address": GUEST}, 400, ""),
        ({"address": GUEST, "phone": PHONE, "access_code": "abcd"}, 400, ""),
        ({"address": "geen-adres", "phone": PHONE}, 422, "address"),
    ],
)
def test_what_cannot_verify_anybody_is_not_kept(program: Program, body: Any, status: int, field: str) -> None:
    before = whole(VerificationData)
    response = program.post("verification", body)
    assert (response.status_code, is_told_well(response)[0]["field"]) == (status, field)
    assert "0201234567" not in response.content.decode()
    assert whole(VerificationData) == before


# --- lists -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["credentials", "policies/minimums", "verification", "domains", "accounts"])
def test_a_list_comes_in_parts_that_are_all_of_it(program: Program, other: Program, path: str) -> None:
    for number in range(4):
        domain = f"d{number}.test"
        program.post("credentials", {"description": domain})
        program.ask("PUT", f"policies/minimums/{domain}", {"method": "sms"})
        program.post("verification", {"address": f"r@{domain}", "phone": PHONE})
        program.post("domains", {"name": domain})
        program.post("accounts", {"address": f"a{number}@voorbeeld.test"})
    all_at_once = program.get(path).json()
    assert len(all_at_once["items"]) == 5 and all_at_once["next"] is None
    found, after = [], ""
    while after is not None:
        told = program.get(f"{path}?limit=2&after={after}").json()
        assert 0 < len(told["items"]) <= 2
        found += told["items"]
        after = told["next"]
    assert found == all_at_once["items"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=0", 400),
        ("limit=201", 400),
        ("limit=x", 400),
        ("limit=1&limit=2", 400),
        ("after=*", 400),
        ("colour=red", 400),
        ("after=AAAA", 422),
        ("after=LTE", 422),
        ("after=OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk", 422),
        ("&".join(f"a{number}" for number in range(1001)), 400),
        ("after=%FF%00", 400),
    ],
)
def test_an_odd_question_is_refused(program: Program, query: str, status: int) -> None:
    response = program.get(f"credentials?{query}")
    assert response.status_code == status
    is_told_well(response)


# --- trace -------------------------------------------------------------------------------------------------------


def test_a_trace_that_is_not_there_and_a_search_that_finds_nothing(program: Program) -> None:
    assert program.get(f"trace/{uuid.uuid4()}").status_code == 404
    asked = {"text": GUEST, "since": "0001-01-01T00:00:00+14:00", "until": "9999-12-31T23:59:59-12:00", "state": "held"}
    found = program.post("trace/search", asked)
    assert (found.status_code, found.json()["items"]) == (200, [])
    assert program.post("trace/search", {"after": "-" * 36}).status_code == 422
    assert program.post("trace/search", {"since": "gisteren"}).status_code == 400


def test_searches_by_address_have_no_address_in_their_path(office: Office) -> None:
    assert not [row.name for row in OPERATIONS for name in row.parameters if name in ("address", "recipient", "email")]
    for row in OPERATIONS:
        assert row.query is None or not {"address", "recipient", "email"} & set(row.query.model_fields)


def test_a_scope_is_asked_by_some_row(office: Office) -> None:
    assert {row.scope for row in OPERATIONS} == set(Scope) - {Scope.SCIM}  # which has addresses of its own
