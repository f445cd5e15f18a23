"""SCIM 2.0: what an existing client and an existing validator make of it; and what Entra ID and Okta send."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from django.test import Client
from django.test.client import ClientHandler
from django.utils import timezone
from pydantic import Field
from scim2_client.engines.wsgi import WSGISCIMClient
from scim2_models import (
    Mutability,
    PatchOp,
    Required,
    Resource,
    SCIMException,
    ScimProvider,
    Uniqueness,
)
from scim2_models.urn import URN
from scim2_tester import Status, check_server

from tests.web.conftest import PASSWORD, SECRET, signed_in
from tests.web.organisation_ground import DOMAIN, domain_of, person
from zegel.accounts import tokens
from zegel.accounts.models import Account, AuditEntry, MailboxReader, Organisation
from zegel.accounts.sign_in import enrol_totp, has_second_factor
from zegel.accounts.tokens import Scope
from zegel.api import scim
from zegel.api.scim import MAILBOX, Email, GivenRole, Language, Name, ScimUser, UserType

BASE = "http://localhost:8080/scim/v2"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scim, "api", lambda: SimpleNamespace(now=timezone.now))


@pytest.fixture
def organisation(db: None) -> Organisation:
    made = Organisation.objects.create(name="Gemeente Voorbeeld")
    domain_of(made)
    return made


def token_for(organisation: Organisation, scope: Scope = Scope.SCIM) -> str:
    made = tokens.issue(organisation, "Directory", scopes={scope}, life=timedelta(days=1), now=timezone.now())
    return made.secret.reveal()


class Directory:
    """A program that keeps accounts, with what it has to show."""

    def __init__(self, token: str) -> None:
        self._client = Client(headers={"authorization": f"Bearer {token}"})

    def ask(self, method: str, path: str, body: Any = None, kind: str = "application/scim+json") -> Any:
        text = body if isinstance(body, str) else json.dumps(body)
        given: dict[str, Any] = {} if body is None else {"data": text, "content_type": kind}
        return self._client.generic(method, f"/scim/v2/{path}", **given)

    def make(self, local: str = "balie", **fields: Any) -> Any:
        answer = self.ask("POST", "Users", {"schemas": [CORE], "userName": f"{local}@{DOMAIN}", **fields})
        assert answer.status_code == 201, answer.content
        return answer.json()

    def patch(self, number: str, *operations: dict[str, Any]) -> Any:
        return self.ask("PATCH", f"Users/{number}", {"schemas": [PATCH], "Operations": list(operations)})


@pytest.fixture
def directory(organisation: Organisation) -> Directory:
    return Directory(token_for(organisation))


def _wsgi(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    response: Any = ClientHandler(enforce_csrf_checks=True)(environ)
    start(f"{response.status_code} {response.reason_phrase}", list(response.items()))
    return [response.content]


# --- by others' software -----------------------------------------------------------------------------------------


class User(Resource[Any]):
    """The schema that the server publishes, with names that it may take: the validator would make up others, that are
    no addresses in the organisation's domain."""

    __schema__ = URN(CORE)

    user_name: Annotated[str | None, Uniqueness.server, Required.true, Mutability.immutable] = Field(
        None, examples=[f"persoon{number}@{DOMAIN}" for number in range(5000)]
    )
    name: Name | None = None
    display_name: str | None = None
    user_type: Annotated[UserType | None, Mutability.immutable] = Field(None, examples=["person"])
    preferred_language: Language | None = None
    active: Annotated[bool | None, Required.true] = None
    emails: Annotated[list[Email] | None, Mutability.read_only] = None
    roles: list[GivenRole] | None = None


def _validated(organisation: Organisation, provider: ScimProvider | None) -> list[Any]:
    headers = {"HTTP_AUTHORIZATION": f"Bearer {token_for(organisation)}"}
    client = WSGISCIMClient(_wsgi, base_url=BASE, environ=headers, provider=provider)
    return check_server(client)


def test_an_existing_validator_finds_nothing_wrong(organisation: Organisation) -> None:
    results = _validated(organisation, ScimProvider([User]))
    wrong = [(one.title, one.status, one.reason) for one in results if one.status in _BAD]
    assert not wrong, wrong
    done = {one.title for one in results if one.status not in (Status.SKIPPED,)}
    assert {"object_creation", "object_query", "object_replacement", "object_deletion"} <= done
    assert {"check_add_attribute", "check_replace_attribute", "check_remove_attribute"} <= done


_BAD = {one for one in Status if one.name in ("ERROR", "CRITICAL", "DEVIATION")}


def test_an_existing_client_discovers_what_there_is_and_uses_it(organisation: Organisation) -> None:
    headers = {"HTTP_AUTHORIZATION": f"Bearer {token_for(organisation)}"}
    client: Any = WSGISCIMClient(_wsgi, base_url=BASE, environ=headers)
    client.discover()
    found: Any = client.get_resource_model("User")
    assert found is not None
    made = client.create(found(user_name=f"balie@{DOMAIN}", display_name="Balie"))
    patch: Any = PatchOp.__class_getitem__(found)
    assert client.query(found, made.id).display_name == "Balie"
    client.modify(found, made.id, patch(operations=[{"op": "replace", "path": "active", "value": False}]))
    assert not Account.objects.get().is_active
    client.delete(found, made.id)
    with pytest.raises(SCIMException):
        client.query(found, made.id)
    assert client.query(found).total_results == 0


# --- who may not -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["Users", "Users/1", "ServiceProviderConfig", "ResourceTypes", "Schemas"])
def test_nothing_is_said_without_a_token_made_for_it(path: str, organisation: Organisation) -> None:
    for shown, status in (("", 401), ("Bearer x", 401), (f"Bearer {token_for(organisation, Scope.EXPLAIN)}", 403)):
        answer = Client(headers={"authorization": shown}).get(f"/scim/v2/{path}")
        assert (answer.status_code, answer.json()["status"]) == (status, str(status))
        assert answer.headers["Content-Type"] == "application/scim+json"
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_session_is_no_token(organisation: Organisation) -> None:
    owner = Account.objects.create_user(f"eigenaar@{DOMAIN}", PASSWORD, organisation=organisation, role="owner")
    enrol_totp(owner, SECRET)
    client = signed_in(owner)
    assert client.get("/account/security/").status_code == 200
    assert client.get("/scim/v2/Users").status_code == 401


def test_another_organisations_accounts_are_not_there(directory: Directory) -> None:
    theirs = person(Organisation.objects.create(name="Ander"), "balie@ander.test")
    guest = person(None, "gast@gast.test")
    assert directory.ask("GET", "Users").json()["totalResults"] == 0
    for account in (theirs, guest):
        for method, body in (("GET", None), ("PUT", {}), ("PATCH", {}), ("DELETE", None)):
            assert directory.ask(method, f"Users/{account.pk}", body).status_code == 404
        for what in ("userName", "emails.value"):
            assert directory.ask("GET", f'Users?filter={what} eq "{account.email}"').json()["totalResults"] == 0


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("x", 400, "invalidValue"),
        ("balie@ander.test", 400, "invalidValue"),
        (f"balie@sub.{DOMAIN}", 400, "invalidValue"),
        (f"gast@{DOMAIN}", 409, "uniqueness"),
        (f"elders@{DOMAIN}", 409, "uniqueness"),
        (f"BALIE@{DOMAIN.upper()}", 409, "uniqueness"),
    ],
)
def test_accounts_are_made_in_the_organisations_own_domains_alone(
    name: str, status: int, kind: str, directory: Directory
) -> None:
    directory.make()
    person(None, f"gast@{DOMAIN}")
    person(Organisation.objects.create(name="Ander"), f"elders@{DOMAIN}")
    answer = directory.ask("POST", "Users", {"schemas": [CORE], "userName": name})
    assert (answer.status_code, answer.json().get("scimType")) == (status, kind)
    assert answer.json()["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]


def test_a_directory_makes_no_owner_and_touches_none(directory: Directory, organisation: Organisation) -> None:
    owner = person(organisation, f"eigenaar@{DOMAIN}", role="owner")
    number = directory.make()["id"]
    role = {"op": "replace", "path": "roles", "value": [{"value": "owner"}]}
    assert directory.patch(number, role).status_code == 400
    assert directory.ask("POST", "Users", {"userName": f"x@{DOMAIN}", "roles": [{"value": "owner"}]}).status_code == 400
    for operation in (
        {"op": "replace", "path": "active", "value": False},
        {"op": "replace", "path": "displayName", "value": "Iemand"},
        {"op": "replace", "path": "roles", "value": [{"value": "sender"}]},
    ):
        assert directory.patch(str(owner.pk), operation).status_code == 403
    assert directory.ask("DELETE", f"Users/{owner.pk}").status_code == 403
    owner.refresh_from_db()
    assert (owner.is_active, owner.role) == (True, "owner")
    assert directory.ask("GET", f"Users/{owner.pk}").json()["roles"] == [{"value": "owner"}]


@pytest.mark.parametrize(
    "body",
    ["{", "[]", "7", '"x"', "[" * 100_000, '{"userName": 7}', '{"userName": {"a": 1}}', '{"userName": null}', "{}"],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "Users"), ("PUT", "Users/{}"), ("PATCH", "Users/{}")])
def test_nonsense_is_refused_and_changes_nothing(method: str, path: str, body: str, directory: Directory) -> None:
    number = directory.make(displayName="Balie")["id"]
    answer = directory.ask(method, path.format(number), body)
    assert answer.status_code == 400, answer.content
    assert answer.json()["status"] == "400"
    assert Account.objects.get().display_name == "Balie"


@pytest.mark.parametrize(
    "operation",
    [
        {},
        {"op": "destroy", "path": "active"},
        {"op": "remove"},
        {"op": "replace", "path": "userName", "value": f"directie@{DOMAIN}"},
        {"op": "remove", "path": "userName"},
        {"op": "replace", "path": "userType", "value": "mailbox"},
        {"op": "replace", "path": "roles", "value": [{"value": "administrator"}, {"value": "sender"}]},
        {"op": "replace", "path": "roles", "value": [{"value": "root"}]},
        {"op": "replace", "path": "active", "value": "perhaps"},
        {"op": "replace", "path": "active", "value": {"x": 1}},
        {"op": "replace", "path": "a[b eq", "value": 1},
        {"op": "replace", "path": "displayName", "value": "x" * 201},
        {"op": "replace", "path": 7, "value": 1},
    ],
)
def test_a_change_that_can_not_be_is_refused_whole(operation: dict[str, Any], directory: Directory) -> None:
    made = directory.make(displayName="Balie")
    first = {"op": "replace", "path": "displayName", "value": "Iemand"}
    answer = directory.patch(made["id"], first, operation)
    assert answer.status_code == 400, answer.content
    account = Account.objects.get()
    assert (account.display_name, account.is_active, account.role) == ("Balie", True, "sender")


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "x",
        'userName co "a"',
        'userName eq "a" or id eq "1"',
        "userName eq a",
        'password eq "x"',
        "(" * 2000,
        "a.b eq 1",
        'externalId eq "\\ud800"',
    ],
)
def test_other_filters_are_refused(wanted: str, directory: Directory) -> None:
    answer = directory.ask("GET", f"Users?filter={wanted}")
    assert answer.status_code == (400 if wanted else 200)
    if wanted:
        assert answer.json()["scimType"] == "invalidFilter"


@pytest.mark.parametrize(
    "fields", [{"externalId": "\ud800"}, {"displayName": "\ud800"}, {"name": {"givenName": "a\udfff"}}, {"\ud800": 1}]
)
def test_half_a_character_is_refused_and_never_breaks_anything(fields: dict[str, Any], directory: Directory) -> None:
    whole = {"schemas": [CORE], "userName": f"balie@{DOMAIN}", **fields}
    answers = [directory.ask("POST", "Users", whole), directory.ask("POST", "Users/.search", {"filter": str(fields)})]
    number = directory.make()["id"]
    answers.append(directory.ask("PUT", f"Users/{number}", whole))
    answers.append(directory.patch(number, {"op": "replace", "value": fields}))
    answers.append(directory.ask("POST", "Users/.search", {"filter": 'externalId eq "\\ud800"'}))
    assert [one.status_code for one in answers] == [400] * 5
    assert all(one.json()["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"] for one in answers)


def test_what_is_not_there_is_said_in_the_form_of_scim(directory: Directory) -> None:
    for path in ("Users/0", "Users/x", "Users/99999999999999999999", "Groups", "", "Bulk", "Schemas/x"):
        answer = directory.ask("GET", path)
        assert (answer.status_code, answer.json()["status"]) == (404, "404"), path
    answer = directory.ask("DELETE", "Users")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, POST")
    assert directory.ask("POST", "Users", {}, kind="text/plain").status_code == 415


# --- what directories do -----------------------------------------------------------------------------------------


def test_an_account_is_made_found_suspended_and_resumed(directory: Directory) -> None:
    made = directory.make(
        externalId="0f9c", displayName="Balie", preferredLanguage="nl-NL", name={"givenName": "B", "familyName": "Alie"}
    )
    account = Account.objects.get()
    assert (account.email, account.display_name, account.role, account.language) == (
        f"balie@{DOMAIN}",
        "Balie",
        "sender",
        "nl",
    )
    assert not account.has_usable_password()
    assert made["meta"]["location"] == f"{BASE}/Users/{made['id']}"
    assert made["emails"] == [{"value": f"balie@{DOMAIN}", "type": "work", "primary": True}]
    for wanted in (
        f'userName eq "BALIE@{DOMAIN}"',
        f'userName Eq "balie@{DOMAIN}"',
        'externalId eq "0f9c"',
        f'emails.value eq "balie@{DOMAIN}"',
        f'{CORE}:userName eq "balie@{DOMAIN}"',
        f'id eq "{made["id"]}"',
    ):
        assert [one["id"] for one in directory.ask("GET", f"Users?filter={wanted}").json()["Resources"]] == [made["id"]]
    assert directory.ask("GET", 'Users?filter=externalId eq ""').json()["totalResults"] == 0
    assert directory.patch(made["id"], {"op": "replace", "value": {"active": False}}).json()["active"] is False
    account.refresh_from_db()
    assert not account.is_active
    directory.patch(made["id"], {"op": "replace", "path": "active", "value": True})
    account.refresh_from_db()
    assert account.is_active
    acts = list(AuditEntry.objects.order_by("number").values_list("act", "by_kind"))
    assert [one for one in acts if one[0].startswith("account-")] == [
        ("account-added", "token"),
        ("account-suspended", "token"),
        ("account-resumed", "token"),
    ]


def test_what_entra_sends_is_understood(directory: Directory) -> None:
    made = directory.ask(
        "POST",
        "Users",
        {
            "schemas": [CORE, "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
            "externalId": "0a21f0f2",
            "userName": f"balie@{DOMAIN}",
            "active": "True",
            "emails": [{"primary": True, "type": "work", "value": "iets@anders.test"}],
            "meta": {"resourceType": "User"},
            "name": {"formatted": "B Alie", "familyName": "Alie", "givenName": "B"},
            "title": "Medewerker",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "Balie"},
        },
    )
    assert made.status_code == 201, made.content
    number = made.json()["id"]
    for operations, is_active in (
        ([{"op": "Replace", "path": "active", "value": "False"}], False),
        ([{"op": "Add", "path": "active", "value": "True"}], True),
        ([{"op": "replace", "value": {"active": "False", "displayName": "Iemand"}}], False),
        ([{"op": "Replace", "path": 'emails[type eq "work"].value', "value": "x@anders.test"}], False),
        (
            [{"op": "Add", "path": "title", "value": "Hoofd"}, {"op": "Replace", "path": "active", "value": "True"}],
            True,
        ),
        ([{"op": "Add", "path": 'addresses[type eq "work"].country', "value": "NL"}], True),
        ([{"op": "Replace", "path": "name.familyName", "value": "Anders"}], True),
    ):
        answer = directory.patch(number, *operations)
        assert answer.status_code == 200, (operations, answer.content)
        assert Account.objects.get().is_active is is_active
    assert answer.json()["name"] == {"givenName": "B", "familyName": "Anders"}
    assert answer.json()["emails"][0]["value"] == f"balie@{DOMAIN}"
    assert directory.patch(number, {"op": "Add", "path": "roles", "value": [{"value": "support"}]}).status_code == 200
    assert Account.objects.get().role == "support"


def test_what_okta_sends_is_understood(directory: Directory) -> None:
    whole = {
        "schemas": [CORE],
        "userName": f"balie@{DOMAIN}",
        "name": {"givenName": "B", "familyName": "Alie"},
        "emails": [{"primary": True, "value": f"balie@{DOMAIN}", "type": "work"}],
        "displayName": "B Alie",
        "locale": "en-US",
        "externalId": "00ujl29u0le5T6Aj10h7",
        "groups": [],
        "password": "a password that is not kept",
        "active": True,
    }
    made = directory.ask("POST", "Users", whole)
    assert made.status_code == 201, made.content
    assert not Account.objects.get().has_usable_password()
    assert b"password" not in made.content
    answer = directory.ask("PUT", f"Users/{made.json()['id']}", {**whole, "id": made.json()["id"], "active": False})
    assert answer.status_code == 200, answer.content
    assert not Account.objects.get().is_active
    assert directory.ask("GET", "Users?startIndex=1&count=100").json()["totalResults"] == 1


def test_putting_back_what_was_got_changes_nothing(directory: Directory) -> None:
    made = directory.make(displayName="Balie", roles=[{"value": "policy"}], externalId="7")
    before = AuditEntry.objects.count()
    again = directory.ask("PUT", f"Users/{made['id']}", directory.ask("GET", f"Users/{made['id']}").json())
    assert again.status_code == 200, again.content
    assert {**again.json(), "meta": 0} == {**made, "meta": 0}
    assert AuditEntry.objects.count() == before


def test_deleting_suspends_and_hides_and_making_it_again_brings_it_back(directory: Directory) -> None:
    number = directory.make(roles=[{"value": "support"}])["id"]
    assert directory.ask("DELETE", f"Users/{number}").status_code == 204
    account = Account.objects.get()
    assert not account.is_active
    assert directory.ask("GET", f"Users/{number}").status_code == 404
    assert directory.ask("DELETE", f"Users/{number}").status_code == 404
    assert directory.ask("GET", "Users").json()["totalResults"] == 0
    again = directory.make(displayName="Opnieuw")
    assert again["id"] == number
    account.refresh_from_db()
    assert (account.is_active, account.role, account.display_name) == (True, "sender", "Opnieuw")


@pytest.mark.parametrize(
    ("before", "after", "is_same"),
    [("p-1", "p-1", True), ("p-1", "p-2", False), ("p-1", None, False), (None, None, False)],
)
def test_who_had_an_address_before_does_not_sign_in_for_who_has_it_next(
    before: str | None, after: str | None, is_same: bool, directory: Directory
) -> None:
    number = directory.make(externalId=before)["id"]
    account = Account.objects.get()
    account.set_password(PASSWORD)
    account.save()
    enrol_totp(account, SECRET)
    now = timezone.now()
    own = tokens.issue(account, "Mail", scopes={Scope.MESSAGES_READ}, life=timedelta(days=1), now=now).secret
    assert directory.ask("DELETE", f"Users/{number}").status_code == 204
    assert directory.make(externalId=after, active=False)["id"] == number
    assert directory.patch(number, {"op": "replace", "path": "active", "value": True}).status_code == 200
    account.refresh_from_db()
    assert account.is_active
    assert account.check_password(PASSWORD) is is_same
    assert has_second_factor(account) is is_same
    assert isinstance(tokens.find(own, now=now), str) is not is_same


def test_what_is_left_out_lets_nobody_in_and_shuts_nobody_out(directory: Directory) -> None:
    made = directory.make(roles=[{"value": "policy"}])
    directory.patch(made["id"], {"op": "replace", "path": "active", "value": False})
    whole = {"schemas": [CORE], "userName": f"balie@{DOMAIN}"}
    answer = directory.ask("PUT", f"Users/{made['id']}", whole)
    assert (answer.status_code, answer.json()["active"], "roles" in answer.json()) == (200, False, False)
    assert Account.objects.get().role == "sender"  # it has the roles that are sent: none
    assert directory.patch(made["id"], {"op": "remove", "path": "active"}).status_code == 400


def test_looking_for_somebody_in_a_body_shows_them_in_no_address(directory: Directory) -> None:
    number = directory.make()["id"]
    directory.make("ander")
    for path in ("Users/.search", ".search"):
        asked = {"filter": f'userName eq "balie@{DOMAIN}"', "startIndex": 1, "count": 5, "attributes": ["userName"]}
        answer = directory.ask("POST", path, asked)
        assert answer.status_code == 200, answer.content
        assert [one["id"] for one in answer.json()["Resources"]] == [number]
    for wrong in ({"filter": 7}, {"filter": ["x"]}, {"count": "x"}, {"count": [1]}):
        assert directory.ask("POST", "Users/.search", wrong).status_code == 400


def test_pages_are_bounded_and_in_order(directory: Directory) -> None:
    numbers = [directory.make(f"persoon{number}")["id"] for number in range(5)]
    page = directory.ask("GET", "Users?startIndex=2&count=2").json()
    assert (page["totalResults"], page["startIndex"], page["itemsPerPage"]) == (5, 2, 2)
    assert [one["id"] for one in page["Resources"]] == numbers[1:3]
    assert directory.ask("GET", "Users?count=0").json()["totalResults"] == 5
    assert directory.ask("GET", "Users?startIndex=-5&count=1").json()["Resources"][0]["id"] == numbers[0]
    assert directory.ask("GET", "Users?count=x").status_code == 400
    assert set(directory.ask("GET", "Users?attributes=userName").json()["Resources"][0]) == {
        "schemas",
        "id",
        "userName",
    }
    assert "name" not in directory.ask("GET", f"Users/{numbers[0]}?excludedAttributes=name").json()


def test_a_functional_mailbox_has_readers_of_its_own_organisation(
    directory: Directory, organisation: Organisation
) -> None:
    one, other = directory.make("persoon1")["id"], directory.make("persoon2")["id"]
    made = directory.make("info", userType="mailbox", **{MAILBOX: {"readers": [{"value": one}]}})
    mailbox = Account.objects.get(pk=made["id"])
    assert mailbox.is_functional
    assert made[MAILBOX]["readers"] == [{"value": one, "display": f"persoon1@{DOMAIN}"}]
    assert _readers(mailbox) == [int(one)]
    added = directory.patch(made["id"], {"op": "add", "path": f"{MAILBOX}:readers", "value": [{"value": other}]})
    assert added.status_code == 200, added.content
    assert _readers(mailbox) == [int(one), int(other)]
    gone = directory.patch(made["id"], {"op": "remove", "path": f'{MAILBOX}:readers[value eq "{one}"]'})
    assert gone.status_code == 200, gone.content
    assert _readers(mailbox) == [int(other)]
    stranger = person(Organisation.objects.create(name="Ander"), "x@ander.test")
    for wrong in (str(stranger.pk), "x", "0", made["id"]):
        value = [{"value": wrong}]
        answer = directory.patch(made["id"], {"op": "replace", "path": f"{MAILBOX}:readers", "value": value})
        assert answer.status_code == 400, answer.content
    assert _readers(mailbox) == [int(other)]
    alone = directory.patch(one, {"op": "add", "path": f"{MAILBOX}:readers", "value": [{"value": other}]})
    assert alone.status_code == 400
    role = directory.patch(made["id"], {"op": "replace", "path": "roles", "value": [{"value": "administrator"}]})
    assert role.status_code == 400


def _readers(mailbox: Account) -> list[int]:
    return list(MailboxReader.objects.filter(mailbox=mailbox).order_by("reader").values_list("reader", flat=True))


def test_what_is_published_is_what_is_taken() -> None:
    assert set(ScimUser.get_extension_models()) == {MAILBOX}
