"""The API: who gets in, what is refused and how, and what a dry run answers. Unhappy paths first."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from django.apps import apps
from django.test import Client
from structlog.testing import capture_logs

from tests.journey.portal_ground import Clock
from tests.web.api_ground import Office, is_told_well
from tests.web.conftest import signed_in
from zegel.accounts import tokens
from zegel.accounts.models import Account, ApiToken, Organisation, SendingDomain, SignInFailure
from zegel.accounts.tokens import NewToken, Scope
from zegel.api.explaining import ExplainAnswer
from zegel.api.operation import MOST
from zegel.api.operations import OPERATIONS
from zegel.core.policy.precedence import plan_from_json

ADDRESS: Final = "/api/v1/explain"
SENDER: Final = "balie@voorbeeld.test"
GUEST: Final = "ontvanger@example.org"
PHONE: Final = "+31612345678"
MESSAGE: Final = (
    f"From: Balie <{SENDER}>\nTo: {GUEST}\nSubject: Merkteken7f3a\nzivver-access-right: {GUEST} sms {PHONE}\n"
)


@pytest.fixture
def clock(tmp_path: Path, db: None) -> Clock:
    """Configured as a web process is; the DNS is a table."""
    return Office(tmp_path).clock


@pytest.fixture
def sender(organisation: Organisation) -> Account:
    SendingDomain.objects.create(
        organisation=organisation,
        name="voorbeeld.test",
        ownership_token="t",
        dkim_key=b"",
        dkim_record="",
        in_place=True,
    )
    return Account.objects.create_user(SENDER, organisation=organisation)


@pytest.fixture
def made(clock: Clock, organisation: Organisation, sender: Account) -> NewToken:
    return tokens.issue(organisation, "tests", scopes={Scope.EXPLAIN}, life=timedelta(days=30), now=clock())


def asked(**changed: Any) -> dict[str, Any]:
    return {"from": SENDER, "to": [GUEST], "message": MESSAGE, **changed}


def post(made: NewToken | str | None, body: Any = None, address: str = ADDRESS, **more: Any) -> Any:
    """As a program does: no cookie, no referer."""
    octets = body if isinstance(body, bytes) else json.dumps(asked() if body is None else body).encode()
    shown = made.secret.reveal() if isinstance(made, NewToken) else made
    headers = {} if shown is None else {"authorization": f"Bearer {shown}"}
    client = Client(enforce_csrf_checks=True, headers=headers)
    return client.post(address, octets, content_type=more.pop("content_type", "application/json"), **more)


# --- who gets in -------------------------------------------------------------------------------------------------


def refusals(made: NewToken, clock: Clock) -> Iterator[str | None]:
    """Every way in which a token is none; the row is put back each time."""
    whole = made.secret.reveal()
    mark, name, secret = whole.split("_", 2)
    yield None
    yield ""
    yield "zegel"
    yield whole[:-1]
    yield whole + "x"
    yield f"{mark}_{name}_{'A' * len(secret)}"
    yield f"{mark}_{'0' * 12}_{secret}"
    yield f"anders_{name}_{secret}"
    yield f"{mark}__{secret}"
    yield secret
    yield made.token.secret_hash.hex()
    tokens.disable(made.token, now=clock())
    yield whole
    ApiToken.objects.update(disabled_at=None, expires_at=clock())
    yield whole
    ApiToken.objects.update(expires_at=clock() + timedelta(days=1), created_at=clock() + timedelta(seconds=1))
    yield whole
    ApiToken.objects.all().delete()
    yield whole


def test_whatever_is_wrong_with_a_token_the_answer_is_the_same(made: NewToken, clock: Clock) -> None:
    said = set()
    for shown in refusals(made, clock):
        SignInFailure.objects.all().delete()
        response = post(shown)
        assert response.status_code == 401, shown
        is_told_well(response)
        said.add((response.content, response.headers["WWW-Authenticate"]))
    assert len(said) == 1


def test_a_token_in_another_place_is_none(made: NewToken) -> None:
    whole = made.secret.reveal()
    for headers in ({"authorization": whole}, {"authorization": f"Basic {whole}"}, {"x-token": whole}):
        response = Client(headers=headers).post(ADDRESS, json.dumps(asked()), content_type="application/json")
        assert response.status_code == 401
    response = Client().post(f"{ADDRESS}?access_token={whole}", json.dumps(asked()), content_type="application/json")
    assert response.status_code == 401


def test_a_browser_that_is_signed_in_is_nobody_here(made: NewToken, administrator: Account) -> None:
    response = signed_in(administrator).post(ADDRESS, json.dumps(asked()), content_type="application/json")
    assert response.status_code == 401


def test_a_token_for_something_else_may_not(made: NewToken) -> None:
    ApiToken.objects.update(scopes=["trace"])
    response = post(made)
    assert response.status_code == 403
    assert 'error="insufficient_scope"' in response.headers["WWW-Authenticate"]
    assert is_told_well(response)[0]["field"] == "Authorization"


def test_who_guesses_is_told_to_wait_and_who_has_a_token_is_not(made: NewToken, clock: Clock) -> None:
    codes = [post("zegel_000000000000_x").status_code for _ in range(7)]
    assert codes == [401] * 5 + [429] * 2
    last = post("zegel_000000000000_x")
    assert int(last.headers["Retry-After"]) > 0
    is_told_well(last)
    assert post(made).status_code == 200
    clock.forward(hours=2)
    assert post("zegel_000000000000_x").status_code == 401


def test_failures_elsewhere_are_nobody_elses(made: NewToken) -> None:
    for _ in range(6):
        post("zegel_000000000000_x", REMOTE_ADDR="192.0.2.1")
    assert post("zegel_000000000000_x", REMOTE_ADDR="192.0.2.2").status_code == 401


def test_neither_token_nor_message_reaches_a_log(made: NewToken) -> None:
    with capture_logs() as logged:
        post(made)
        post(made.secret.reveal() + "x")
        post(made, b'{"from": "Merkteken7f3a')
        post(made, asked(to=["Merkteken7f3a"]))
    assert [one["event"] for one in logged] == ["sign_in_refused"]
    assert "Merkteken" not in str(logged) and made.token.name not in str(logged)


def test_a_token_says_when_it_was_last_used_to_the_minute(made: NewToken, clock: Clock) -> None:
    post(made)
    assert ApiToken.objects.get().last_used_at == clock()
    first = clock()
    clock.forward(seconds=30)
    post(made)
    assert ApiToken.objects.get().last_used_at == first
    clock.forward(seconds=40)
    post(made)
    assert ApiToken.objects.get().last_used_at == clock()


def test_the_secret_is_nowhere_stored(made: NewToken) -> None:
    secret = made.secret.reveal().split("_", 2)[2]
    assert secret not in str(ApiToken.objects.values()) and len(secret) >= 43


@pytest.mark.parametrize(("scopes", "days"), [(set(), 1), ({Scope.EXPLAIN}, 0), ({Scope.EXPLAIN}, 367)])
def test_no_token_is_made_for_nothing_or_for_ever(
    organisation: Organisation, clock: Clock, scopes: set[Scope], days: int
) -> None:
    with pytest.raises(ValueError, match="a token has a scope"):
        tokens.issue(organisation, "x", scopes=scopes, life=timedelta(days=days), now=clock())


# --- what is not understood --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["get", "put", "delete", "patch", "head", "options"])
def test_another_method_is_not_allowed(made: NewToken, method: str) -> None:
    response = getattr(Client(), method)(ADDRESS)
    assert response.status_code == 405
    assert response.headers["Allow"] == "POST"


@pytest.mark.parametrize("address", ["/api/", "/api/v1/", "/api/v1/explain/", "/api/v2/explain", "/api/v1/nothing"])
def test_an_unknown_address_says_so_in_json(db: None, address: str) -> None:
    response = Client().post(address, b"{}", content_type="application/json")
    assert response.status_code == 404
    is_told_well(response)


def test_a_body_that_is_too_large_is_not_read(made: NewToken, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.core.handlers.wsgi import WSGIRequest

    def read(self: WSGIRequest) -> bytes:
        raise AssertionError("read")

    monkeypatch.setattr(WSGIRequest, "body", property(read))
    response = post(made, b"x" * (MOST + 1))
    assert response.status_code == 413
    assert response.headers["Connection"] == "close"
    is_told_well(response)


def test_who_shows_no_token_does_not_even_have_the_size_looked_at(made: NewToken) -> None:
    assert post(None, b"x" * (MOST + 1)).status_code == 401


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_what_is_not_said_to_be_json_is_not_taken(made: NewToken, kind: str) -> None:
    response = post(made, content_type=kind)
    assert response.status_code == 415
    is_told_well(response)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b" ", ""),
        (b"\xff", ""),
        (b"[]", ""),
        (b'{"from": "a"', ""),
        ({}, "from"),
        (asked(to=[]), "to"),
        (asked(to="ontvanger@example.org"), "to"),
        (asked(to=[1]), "to.0"),
        (asked(to=[GUEST] * 1001), "to"),
        (asked(to=[GUEST, "x" * 401]), "to.1"),
        (asked(message=None), "message"),
        (asked(message=5), "message"),
        (asked(message_base64="RnJvbTo="), "message"),
        ({**asked(message=None), "message_base64": "geen base64!"}, "message_base64"),
        (asked(subject="x"), "subject"),
        ({**asked(), "from": None}, "from"),
    ],
)
def test_what_is_not_understood_names_the_field(made: NewToken, body: Any, field: str) -> None:
    response = post(made, body)
    assert response.status_code == 400, response.content
    faults = is_told_well(response)
    assert faults[0]["field"] == field
    assert "geen base64" not in response.content.decode()


@pytest.mark.parametrize("text", ['"\\ud800"', '"a\\u0000b"'])
def test_odd_characters_in_a_message_are_no_defect_of_ours(made: NewToken, text: str) -> None:
    body = json.dumps(asked()).replace(json.dumps(MESSAGE), text).encode()
    with capture_logs() as logged:
        assert post(made, body).status_code in (400, 422)
    assert logged == []


def test_what_breaks_here_is_our_fault_and_says_nothing(made: NewToken, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("Merkteken7f3a")

    monkeypatch.setattr("zegel.api.explaining.foresee", broken)
    with capture_logs() as logged:
        response = post(made)
    assert response.status_code == 500
    assert "Merkteken" not in response.content.decode()
    assert [one["event"] for one in logged] == ["broken"]


# --- what the door would refuse ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "field", "status"),
    [
        (asked(to=[GUEST, "geen-adres"]), "to.1", "5.1.3"),
        (asked(message="Subject: x\n"), "message", "5.6.0"),
        (asked(message=MESSAGE + "zegel-nonsense: 1\n"), "message", "5.6.0"),
        (asked(message=MESSAGE + f"X: {'x' * 300_000}\n"), "message", "5.3.4"),
        ({**asked(message="From: chef@voorbeeld.test\n"), "from": "chef@voorbeeld.test"}, "from", "5.7.1"),
        ({**asked(message="From: beheer@ander.test\n"), "from": "beheer@ander.test"}, "from", "5.7.1"),
    ],
)
def test_what_the_door_would_refuse_comes_with_its_reply(
    made: NewToken, other_administrator: Account, body: Any, field: str, status: str
) -> None:
    assert other_administrator.organisation is not None
    SendingDomain.objects.create(
        organisation=other_administrator.organisation,
        name="ander.test",
        ownership_token="t",
        dkim_key=b"",
        dkim_record="",
        in_place=True,
    )
    response = post(made, body)
    assert response.status_code == 422, response.content
    assert is_told_well(response)[0]["field"] == field
    reply = response.json()["reply"]
    assert reply["status"] == status and reply["code"] >= 500 and reply["text"]


def test_a_message_of_another_author_is_refused_without_a_reply(made: NewToken) -> None:
    response = post(made, {**asked(), "from": "chef@voorbeeld.test"})
    assert response.status_code == 422
    assert is_told_well(response)[0]["field"] == "from"
    assert "reply" not in response.json()


# --- what is answered --------------------------------------------------------------------------------------------


def test_every_recipient_is_explained_and_nothing_is_kept(made: NewToken) -> None:
    post(made)  # notes the use
    before = {model: list(model._default_manager.values()) for model in apps.get_models()}
    response = post(made, asked(to=[GUEST, "stil@verborgen.test"]))
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert response.cookies == {}
    ExplainAnswer.model_validate(response.json(), strict=True)
    told = response.json()
    assert (told["author"], told["all_served"], told["warnings"]) == (SENDER, True, [])
    assert [(one["recipient"], one["blind"]) for one in told["recipients"]] == [
        (GUEST, False),
        ("stil@verborgen.test", True),
    ]
    first, second = told["recipients"]
    assert [row["why"] for row in first["rows"]][2] == "message-names-method"
    assert (first["plan"][0]["method"], first["plan"][0]["masked"]) == ("sms", "+31 6 ****5678")
    assert second["plan"][0]["method"] == "email"
    assert {one["rank"] for one in second["better"]} == {1, 2, 3, 4, 5, 6}
    for secret in ("Merkteken7f3a", "612345678"):
        assert secret not in response.content.decode()
    assert {model: list(model._default_manager.values()) for model in apps.get_models()} == before


def test_octets_and_text_are_the_same_message(made: NewToken) -> None:
    octets = MESSAGE.replace("\n", "\r\n").encode() + b"\r\nbody \xff\r\n"
    body = {"from": SENDER, "to": [GUEST], "message_base64": base64.encodebytes(octets).decode()}
    assert post(made, body).json() == post(made).json()


def test_an_answer_can_be_read_as_a_stored_plan_is(made: NewToken) -> None:
    (one,) = post(made).json()["recipients"]
    stored = {"form": 1, "steps": one["plan"], "findings": one["rows"]}
    assert [step.rank for step in plan_from_json(stored).steps if hasattr(step, "rank")] == [3]


# --- the document ------------------------------------------------------------------------------------------------


def test_the_document_is_there_for_everybody_and_names_every_operation(db: None) -> None:
    response = Client().get("/api/v1/openapi.json")
    assert response.status_code == 200
    document = json.loads(response.content)
    assert document["openapi"].startswith("3.1.")
    assert set(document["paths"]) == {f"/{one.path}" for one in OPERATIONS}
    assert document["security"] == [{"token": []}]
    for operation in OPERATIONS:
        told = document["paths"][f"/{operation.path}"][operation.method.lower()]
        assert {str(int(operation.status)), "401", "403", "429", "500"} <= set(told["responses"])
        if operation.asks is not None:
            assert {"400", "413", "415", "422"} <= set(told["responses"])
        assert told["security"] == [{"token": [operation.scope.value]}]


def test_every_reference_of_the_document_leads_somewhere(db: None) -> None:
    text = Client().get("/api/v1/openapi.json").content.decode()
    components = json.loads(text)["components"]
    found = set(re.findall(r'"\$ref": ?"#/components/([^"]+)"', text))
    assert found
    assert len(found) == len(set(re.findall(r'"\$ref": ?"([^"]+)"', text)))
    assert found <= {f"{kind}/{name}" for kind in ("schemas", "responses") for name in components[kind]}


def test_the_document_is_only_read(db: None) -> None:
    response = Client().post("/api/v1/openapi.json", b"{}", content_type="application/json")
    assert response.status_code == 405
    is_told_well(response)
