"""The owner's pages about sign-in services: a real one, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from tests.peers.oidc import Oidc, oidc_provider
from tests.web.conftest import PASSWORD, SECRET, signed_in
from tests.web.organisation_ground import DOMAIN, begins, browser, domain_of, is_signed_in, returns, trusts
from zegel.accounts import providers
from zegel.accounts.models import Account, AuditEntry, IdentityProvider, Organisation
from zegel.accounts.sign_in import enrol_totp
from zegel.local.authority import LocalAuthority

pytestmark = pytest.mark.django_db
SUBJECT = "248289761001"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> LocalAuthority:
    return LocalAuthority.load_or_create(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def oidc(authority: LocalAuthority, tmp_path: Path, settings: Any) -> Iterator[Oidc]:
    trusts(settings, authority.certificate_path)
    with oidc_provider(*authority.issue(["127.0.0.1"], tmp_path), authority.certificate_path) as running:
        yield running


@pytest.fixture
def organisation(db: None) -> Organisation:
    made = Organisation.objects.create(name="Gemeente Voorbeeld")
    domain_of(made)
    return made


def person_of(organisation: Organisation, role: str) -> Account:
    made = Account.objects.create_user(f"{role}@{DOMAIN}", PASSWORD, organisation=organisation, role=role)
    enrol_totp(made, SECRET)
    return made


@pytest.fixture
def owner(organisation: Organisation) -> Client:
    return signed_in(person_of(organisation, "owner"), "en")


def filled(issuer: str, /, **fields: str) -> dict[str, str]:
    return {
        "kind": "oidc",
        "name": "Staff",
        "issuer": issuer,
        "client_id": "zegel",
        "secret": "a secret of the client",
        "domains": DOMAIN,
        **fields,
    }


def _add(client: Client, form: dict[str, str]) -> Any:
    return client.post(client.get("/console/sign-in/add/").headers["Location"], form)


@pytest.mark.parametrize("role", ["administrator", "policy", "support", "sender"])
def test_nobody_but_an_owner_comes_here(role: str, organisation: Organisation) -> None:
    client = signed_in(person_of(organisation, role))
    assert client.get("/console/sign-in/").status_code == 403
    assert client.get("/console/sign-in/add/").status_code == 403


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"name": ""}, "name", "give one, such as"),
        ({"issuer": ""}, "issuer", "such as https://login.example.org"),
        ({"issuer": "http://127.0.0.1/"}, "issuer", "is not an https:// address"),
        ({"issuer": "https://user:secret@127.0.0.1/"}, "issuer", "is not an https:// address"),
        ({"domains": ""}, "domains", "such as example.org"),
        ({"domains": "no domain"}, "domains", "write it like voorbeeld.nl"),
        ({"domains": "elders.test"}, "domains", "no sending domain of your organisation"),
        ({"client_id": ""}, "client_id", "such as zegel"),
        ({"kind": "ldap"}, "kind", "such as OpenID Connect"),
        ({"kind": "saml"}, "issuer", "not the description of a sign-in service"),
    ],
)
def test_what_is_not_right_is_told_at_its_field(
    fields: dict[str, str], field: str, words: str, owner: Client, oidc: Oidc
) -> None:
    answer = _add(owner, filled(oidc.issuer, **fields))
    assert answer.status_code == 422
    assert any(words in one for one in answer.context["form"].errors[field]), answer.context["form"].errors
    assert b"a secret of the client" not in answer.content
    assert not IdentityProvider.objects.exists()


def test_one_is_added_changed_tested_and_removed(owner: Client, oidc: Oidc, organisation: Organisation) -> None:
    address = owner.get("/console/sign-in/add/").headers["Location"]
    shown = owner.get(address).context["redirect_uri"]
    assert owner.post(address, filled(oidc.issuer)).status_code == 302
    row = IdentityProvider.objects.get()
    page = f"/console/sign-in/{row.pk}/"
    assert shown == f"http://localhost:8080/account/organisation/{row.pk}/"
    content = owner.get(page)
    assert b"a secret of the client" not in content.content
    version = content.context["version"]
    changed = filled(oidc.issuer, name="Everybody", secret="", factor_contexts="mfa\nurn:x:two", version=version)
    assert owner.post(page, {**changed, "version": "x"}).status_code == 409
    assert owner.post(page, changed).status_code == 302
    assert owner.post(page, changed).status_code == 409
    row.refresh_from_db()
    assert (row.name, row.factor_contexts) == ("Everybody", ["mfa", "urn:x:two"])
    assert providers.secret_of(row).reveal() == "a secret of the client"
    oidc.documents[providers.WELL_KNOWN] = b"{}"
    assert "calls itself something else" in owner.post(f"{page}test/", follow=True).content.decode()
    del oidc.documents[providers.WELL_KNOWN]
    assert "is who it was" in owner.post(f"{page}test/", follow=True).content.decode()
    assert owner.get(f"{page}remove/").status_code == 200
    assert IdentityProvider.objects.exists()
    assert owner.post(f"{page}remove/").status_code == 302
    assert not IdentityProvider.objects.exists()
    kinds = [one.details["what"] for one in AuditEntry.objects.filter(act="provider-changed").order_by("number")]
    assert kinds == ["added", "changed", "removed"]
    assert not any("secret of the client" in str(one.details) for one in AuditEntry.objects.all())


def test_with_another_issuer_whom_it_meant_is_learnt_anew(
    owner: Client, oidc: Oidc, organisation: Organisation, authority: LocalAuthority, tmp_path: Path
) -> None:
    balie = Account.objects.create_user(f"balie@{DOMAIN}", None, organisation=organisation)
    _add(owner, filled(oidc.issuer, factor_contexts="mfa"))
    row = IdentityProvider.objects.get()
    oidc.knows(SUBJECT, email=balie.email, email_verified=True, amr=["mfa"])
    client = browser()
    returns(client, oidc.consents(begins(client), SUBJECT))
    assert is_signed_in(client)
    (tmp_path / "other").mkdir()
    with oidc_provider(*authority.issue(["127.0.0.1"], tmp_path / "other"), authority.certificate_path) as other:
        page = f"/console/sign-in/{row.pk}/"
        version = owner.get(page).context["version"]
        assert owner.post(page, filled(other.issuer, version=version)).status_code == 302
        client.get("/account/security/")
        assert not is_signed_in(client)
        other.knows("elsewhere", email=balie.email, email_verified=True)
        client = browser()
        back = other.consents(begins(client), "elsewhere")
        assert returns(client, back).status_code == 302


def test_the_secret_of_one_address_is_never_shown_to_another(
    owner: Client, oidc: Oidc, authority: LocalAuthority, tmp_path: Path
) -> None:
    """Nobody reads it again here, so nobody may have it sent to themselves either."""
    _add(owner, filled(oidc.issuer))
    row = IdentityProvider.objects.get()
    (tmp_path / "other").mkdir()
    with oidc_provider(*authority.issue(["127.0.0.1"], tmp_path / "other"), authority.certificate_path) as other:
        page = f"/console/sign-in/{row.pk}/"
        version = owner.get(page).context["version"]
        answer = owner.post(page, filled(other.issuer, secret="", version=version))
        assert answer.status_code == 422
        assert "It was for another address" in str(answer.context["form"].errors["secret"])
        row.refresh_from_db()
        assert row.issuer == oidc.issuer
        assert owner.post(page, filled(other.issuer, secret="another one", version=version)).status_code == 302
    row.refresh_from_db()
    assert providers.secret_of(row).reveal() == "another one"


def test_another_organisations_service_is_not_there(owner: Client, oidc: Oidc) -> None:
    theirs = Organisation.objects.create(name="Ander ziekenhuis")
    domain_of(theirs, "ander.test")
    Account.objects.create_user("x@ander.test", PASSWORD, organisation=theirs, role="owner")
    enrol_totp(Account.objects.get(email="x@ander.test"), SECRET)
    other = signed_in(Account.objects.get(email="x@ander.test"), "en")
    assert _add(other, filled(oidc.issuer, domains="ander.test")).status_code == 302
    row = IdentityProvider.objects.get()
    for part in ("", "remove/", "forget/"):
        assert owner.get(f"/console/sign-in/{row.pk}/{part}").status_code == 404
        assert owner.post(f"/console/sign-in/{row.pk}/{part}").status_code == 404
    assert owner.post(f"/console/sign-in/{row.pk}/test/").status_code == 404
    taken = owner.post(f"/console/sign-in/add/{row.pk}/", filled(oidc.issuer))
    assert taken.status_code == 422
    row.refresh_from_db()
    assert row.organisation == theirs


def test_whom_the_service_meant_is_forgotten_for_an_account_of_ones_own(
    owner: Client, oidc: Oidc, organisation: Organisation
) -> None:
    balie = Account.objects.create_user(f"balie@{DOMAIN}", None, organisation=organisation)
    _add(owner, filled(oidc.issuer))
    row = IdentityProvider.objects.get()
    page = f"/console/sign-in/{row.pk}/forget/"
    for address in ("", "x", f"niemand@{DOMAIN}", "x@ander.test"):
        assert owner.post(page, {"email": address}).status_code == 422
    assert owner.post(page, {"email": balie.email}).status_code == 302
    details = AuditEntry.objects.filter(act="provider-changed").order_by("number").last()
    assert details is not None and details.details == {"what": "subject-forgotten", "of": balie.email}
