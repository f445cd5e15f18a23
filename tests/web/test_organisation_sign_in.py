"""Signing in by an organisation's OpenID provider: a real one, well behaved, and with one thing wrong at a time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from cryptography.hazmat.primitives.asymmetric import rsa
from django.test import Client

from tests.peers.oidc import Oidc, oidc_provider, query_of
from tests.web.conftest import PASSWORD, SECRET, give_code, give_password
from tests.web.organisation_ground import (
    DOMAIN,
    begins,
    browser,
    domain_of,
    is_signed_in,
    person,
    returns,
    trusts,
    wanted,
)
from zegel.accounts import providers
from zegel.accounts.models import Account, AuditEntry, IdentityProvider, Organisation
from zegel.accounts.sign_in import enrol_totp, secured
from zegel.core.mail.address import Domain
from zegel.core.policy.identity import NotAProvider
from zegel.edge.asking import session
from zegel.local.authority import LocalAuthority

ADDRESS = f"balie@{DOMAIN}"
SUBJECT = "248289761001"
pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> LocalAuthority:
    return LocalAuthority.load_or_create(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def oidc(authority: LocalAuthority, tmp_path: Path, settings: Any) -> Iterator[Oidc]:
    trusts(settings, authority.certificate_path)
    chain, key = authority.issue(["127.0.0.1"], tmp_path)
    with oidc_provider(chain, key, authority.certificate_path) as running:
        running.knows(SUBJECT, email=ADDRESS, email_verified=True, name="Balie")
        yield running


@pytest.fixture
def organisation(db: None) -> Organisation:
    made = Organisation.objects.create(name="Gemeente Voorbeeld")
    domain_of(made)
    return made


@pytest.fixture
def provider(oidc: Oidc, organisation: Organisation) -> IdentityProvider:
    return providers.add(organisation, wanted(oidc.issuer), now=_now())


@pytest.fixture
def balie(organisation: Organisation) -> Account:
    account = person(organisation)
    enrol_totp(account, SECRET)
    return account


def _now() -> Any:
    from django.utils import timezone

    return timezone.now()


def _through(oidc: Oidc, client: Client, subject: str = SUBJECT, address: str = ADDRESS) -> Any:
    return returns(client, oidc.consents(begins(client, address), subject))


# --- who doesn't come in -----------------------------------------------------------------------------------------


def _other_key(_: Oidc) -> Callable[[str], str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return lambda token: jwt.encode(_read(token), key, "RS256", headers=jwt.get_unverified_header(token))


def _read(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


def _with_public_key(oidc: Oidc) -> Callable[[str], str]:
    """The public key, which everybody has, as the secret of an HMAC."""
    public = json.dumps(oidc.key.as_dict()).encode()
    return lambda token: jwt.encode(_read(token), public, "HS256", headers={"kid": oidc.key.as_dict()["kid"]})


def _unsigned(token: str, **header: str) -> str:
    nothing: Any = None
    return jwt.encode(_read(token), nothing, "none", headers=header)


def _with_client_secret(oidc: Oidc) -> Callable[[str], str]:
    return lambda token: jwt.encode(
        _read(token), "a secret of the client, made longer", "HS256", headers={"kid": oidc.key.as_dict()["kid"]}
    )


TOKENS: dict[str, Callable[[Oidc], Callable[[str], str]]] = {
    "signed by another key": _other_key,
    "an HMAC under the public key": _with_public_key,
    "an HMAC under the client's secret": _with_client_secret,
    "no signature": lambda _: _unsigned,
    "no signature, with the key's name": lambda oidc: lambda token: _unsigned(token, kid=oidc.key.as_dict()["kid"]),
    "its signature cut off": lambda _: lambda token: token.rpartition(".")[0] + ".",
    "its claims changed afterwards": lambda _: (
        lambda token: ".".join(
            (token.split(".")[0], jwt.encode({"sub": "x"}, "x" * 32, "HS256").split(".")[1], token.split(".")[2])
        )
    ),
    "a key of another name": lambda oidc: lambda token: oidc.signed(_read(token), kid="another"),
    "nothing": lambda _: lambda token: "",
    "no text": lambda _: lambda token: 7,  # type: ignore[dict-item,return-value]
}


@pytest.mark.parametrize("wrong", TOKENS)
def test_an_id_token_that_the_provider_did_not_sign_signs_nobody_in(
    wrong: str, oidc: Oidc, provider: IdentityProvider, balie: Account
) -> None:
    oidc.token = TOKENS[wrong](oidc)
    client = browser()
    assert _through(oidc, client).status_code == 403
    assert not is_signed_in(client)
    assert not SocialAccount.objects.exists()
    oidc.token = None
    assert _through(oidc, client).status_code == 302  # it was that, and nothing else


CLAIMS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "another issuer": lambda claims: {**claims, "iss": "https://ander.test"},
    "the issuer with a slash": lambda claims: {**claims, "iss": claims["iss"] + "/"},
    "no issuer": lambda claims: _without(claims, "iss"),
    "another audience": lambda claims: {**claims, "aud": "another-client"},
    "no audience": lambda claims: _without(claims, "aud"),
    "several audiences and no party": lambda claims: {**claims, "aud": ["zegel", "another-client"]},
    "another party": lambda claims: {**claims, "aud": ["zegel", "another-client"], "azp": "another-client"},
    "expired": lambda claims: {**claims, "exp": int(time.time()) - 600, "iat": int(time.time()) - 1200},
    "never expiring": lambda claims: _without(claims, "exp"),
    "made tomorrow": lambda claims: {**claims, "iat": int(time.time()) + 86400},
    "not valid yet": lambda claims: {**claims, "nbf": int(time.time()) + 600},
    "no time": lambda claims: _without(claims, "iat"),
    "another nonce": lambda claims: {**claims, "nonce": "0" * 32},
    "no nonce": lambda claims: _without(claims, "nonce"),
    "no subject": lambda claims: _without(claims, "sub"),
    "a subject that is no text": lambda claims: {**claims, "sub": 7},
    "an address that is not verified": lambda claims: {**claims, "email_verified": False},
    "an address that is said not to be verified, in words": lambda claims: {**claims, "email_verified": "false"},
    "an address that is verified in some other way": lambda claims: {**claims, "email_verified": {"x": 1}},
    "an address of another domain": lambda claims: {**claims, "email": "balie@ander.test"},
    "an address that is none": lambda claims: {**claims, "email": "balie"},
    "two addresses": lambda claims: {**claims, "email": [ADDRESS, "x@ander.test"]},
    "an address below the domain": lambda claims: {**claims, "email": f"balie@sub.{DOMAIN}"},
}


def _without(claims: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in claims.items() if key != name}


@pytest.mark.parametrize("wrong", CLAIMS)
def test_an_id_token_with_something_wrong_signs_nobody_in(
    wrong: str, oidc: Oidc, provider: IdentityProvider, balie: Account
) -> None:
    oidc.claims = CLAIMS[wrong]
    client = browser()
    page = _through(oidc, client)
    assert page.status_code == 403
    assert not is_signed_in(client)
    assert not SocialAccount.objects.exists()
    assert "ander.test" not in page.content.decode()  # nothing of what was sent is shown
    oidc.claims = None
    assert _through(oidc, client).status_code == 302  # it was that, and nothing else


def test_an_answer_counts_once_and_in_the_browser_that_asked(
    oidc: Oidc, provider: IdentityProvider, balie: Account
) -> None:
    client, thief = browser(), browser()
    back = oidc.consents(begins(client), SUBJECT)
    page = returns(thief, back)
    assert page.status_code == 403  # nothing was asked in that browser
    assert "state=" in back and "state=" not in page.content.decode(), "the answer isn't in the page about it"
    assert page.headers["Referrer-Policy"] == "strict-origin"
    assert returns(client, back).status_code == 302
    again = browser()
    begins(again)
    assert returns(again, back).status_code == 403
    assert returns(client, back).status_code == 403
    assert oidc.reached.count("/oauth2/token") == 1


def test_an_answer_of_another_provider_is_refused_before_its_code_is_shown_to_anybody(
    oidc: Oidc, provider: IdentityProvider, balie: Account
) -> None:
    client = browser()
    back = oidc.consents(begins(client), SUBJECT)
    assert returns(client, f"{back}&iss=https%3A%2F%2Fander.test").status_code == 403
    assert "/oauth2/token" not in oidc.reached
    assert not is_signed_in(client)


def test_a_provider_that_always_names_itself_must_do_so(oidc: Oidc, provider: IdentityProvider, balie: Account) -> None:
    provider.description["authorization_response_iss_parameter_supported"] = True
    provider.save()
    assert _through(oidc, browser()).status_code == 403
    client = browser()
    back = oidc.consents(begins(client), SUBJECT)
    assert returns(client, f"{back}&iss={oidc.issuer}").status_code == 302


def test_an_answer_is_taken_by_the_provider_that_was_asked_alone(
    oidc: Oidc, provider: IdentityProvider, organisation: Organisation, balie: Account
) -> None:
    domain_of(organisation, "tweede.test")
    second = providers.add(
        organisation, wanted(oidc.issuer, name="Tweede", domains=(Domain.parse("tweede.test"),)), now=_now()
    )
    client = browser()
    back = oidc.consents(begins(client), SUBJECT)
    assert returns(client, back.replace(str(provider.pk), str(second.pk))).status_code == 403
    assert "/oauth2/token" not in oidc.reached


def test_another_organisations_provider_says_nothing_of_our_people(oidc: Oidc, balie: Account) -> None:
    theirs = Organisation.objects.create(name="Ander ziekenhuis")
    domain_of(theirs, "ander.test")
    providers.add(theirs, wanted(oidc.issuer, domains=(Domain.parse("ander.test"),), makes_accounts=True), now=_now())
    client = browser()
    assert _through(oidc, client, address="x@ander.test").status_code == 403
    assert not is_signed_in(client)


def test_a_domain_that_went_away_takes_its_people_with_it(
    oidc: Oidc, provider: IdentityProvider, organisation: Organisation, balie: Account
) -> None:
    client = browser()
    url = begins(client)
    organisation.sending_domains.update(in_place=False)
    assert returns(client, oidc.consents(url, SUBJECT)).status_code == 403
    assert browser().post("/account/organisation/", {"email": ADDRESS}).context["has_none"] is True


@pytest.mark.parametrize("makes_accounts", [False, True])
def test_a_guests_account_and_another_organisations_are_never_opened(
    makes_accounts: bool, oidc: Oidc, organisation: Organisation
) -> None:
    providers.add(organisation, wanted(oidc.issuer, makes_accounts=makes_accounts), now=_now())
    other = Organisation.objects.create(name="Ander ziekenhuis")
    for subject, whose in (("1", None), ("2", other)):
        theirs = person(whose, f"persoon{subject}@{DOMAIN}")
        oidc.knows(subject, email=theirs.email, email_verified=True)
        client = browser()
        assert _through(oidc, client, subject).status_code == 403
        assert not is_signed_in(client)
        theirs.refresh_from_db()
        assert theirs.organisation == whose


def test_without_an_account_there_is_none_unless_the_provider_makes_them(
    oidc: Oidc, provider: IdentityProvider
) -> None:
    assert _through(oidc, browser()).status_code == 403
    assert not Account.objects.exists()


def test_a_suspended_account_stays_so(oidc: Oidc, provider: IdentityProvider, balie: Account) -> None:
    Account.objects.filter(pk=balie.pk).update(is_active=False)
    client = browser()
    assert _through(oidc, client).status_code == 403
    assert not is_signed_in(client)


def test_another_person_with_the_same_address_is_refused_and_the_administrator_is_told(
    oidc: Oidc, provider: IdentityProvider, balie: Account
) -> None:
    assert _through(oidc, browser()).status_code == 302
    oidc.knows("another-person", email=ADDRESS, email_verified=True)
    client = browser()
    assert _through(oidc, client, "another-person").status_code == 403
    entry = AuditEntry.objects.order_by("number").last()
    assert entry is not None
    assert (entry.act, entry.details) == ("provider-changed", {"what": "other-subject", "of": ADDRESS})
    providers.forget_subject(provider, balie)
    assert _through(oidc, browser(), "another-person").status_code == 302


def test_a_person_whose_address_changed_at_the_provider_doesnt_come_into_another_account(
    oidc: Oidc, provider: IdentityProvider, organisation: Organisation, balie: Account
) -> None:
    assert _through(oidc, browser()).status_code == 302
    person(organisation, f"directie@{DOMAIN}", role="owner")
    oidc.knows(SUBJECT, email=f"directie@{DOMAIN}", email_verified=True)
    client = browser()
    assert _through(oidc, client).status_code == 403
    assert not is_signed_in(client)


def test_userinfo_about_somebody_else_is_not_taken(oidc: Oidc, provider: IdentityProvider, balie: Account) -> None:
    oidc.claims = lambda claims: _without(_without(claims, "email"), "email_verified")
    oidc.documents["/userinfo"] = json.dumps({"sub": "x", "email": ADDRESS, "email_verified": True}).encode()
    client = browser()
    assert _through(oidc, client).status_code == 403
    del oidc.documents["/userinfo"]
    assert _through(oidc, client).status_code == 302  # the provider's own is about the same person


def test_who_thinks_better_of_it_is_told_that_nothing_happened(oidc: Oidc, provider: IdentityProvider) -> None:
    client = browser("en")
    page = returns(client, oidc.denies(begins(client)))
    assert page.status_code == 403
    assert "You are not signed in" in page.content.decode()


@pytest.mark.parametrize("path", ["/jwks", "/oauth2/token"])
@pytest.mark.parametrize("octets", [b"", b"{", b"[]", b"{}", b'{"keys": 7}', b"x" * 1_100_000, b"[" * 100_000])
def test_a_provider_that_gives_nonsense_signs_nobody_in(
    path: str, octets: bytes, oidc: Oidc, provider: IdentityProvider, balie: Account
) -> None:
    oidc.documents[path] = octets
    client = browser()
    assert _through(oidc, client).status_code == 403
    assert not is_signed_in(client)


def test_guessing_is_slowed_down_for_one_network_alone(oidc: Oidc, provider: IdentityProvider, balie: Account) -> None:
    for _ in range(8):
        guessing = browser()
        state = query_of(begins(guessing))["state"]
        assert guessing.get(f"/account/organisation/{provider.pk}/?code=x&state={state}").status_code == 403
    client = browser()
    url = oidc.consents(begins(client), SUBJECT)
    assert returns(client, url).status_code == 403
    assert oidc.reached.count("/oauth2/token") == 5
    elsewhere = Client(REMOTE_ADDR="198.51.100.7")
    assert returns(elsewhere, oidc.consents(begins(elsewhere), SUBJECT)).status_code == 302


def test_colleagues_without_an_account_keep_nobody_out(oidc: Oidc, provider: IdentityProvider, balie: Account) -> None:
    """A whole hospital comes from one address: who is vouched for and has no account yet guesses nothing."""
    for number in range(8):
        oidc.knows(f"new-{number}", email=f"nieuw{number}@{DOMAIN}", email_verified=True)
        page = _through(oidc, browser("en"), f"new-{number}")
        assert page.status_code == 403 and "There is no account here for you yet." in page.content.decode()
    assert _through(oidc, browser()).status_code == 302


def test_nobody_signs_in_to_a_functional_mailbox_whatever_the_provider_says(
    oidc: Oidc, organisation: Organisation
) -> None:
    person(organisation, f"info@{DOMAIN}", is_functional=True)
    providers.add(organisation, wanted(oidc.issuer, factor_contexts=("mfa",)), now=_now())
    oidc.knows("shared", email=f"info@{DOMAIN}", email_verified=True)
    oidc.claims = lambda claims: {**claims, "amr": ["mfa"]}
    client = browser("en")
    page = _through(oidc, client, "shared")
    assert page.status_code == 403 and "a mailbox that several people read" in page.content.decode()
    assert not is_signed_in(client)
    assert not SocialAccount.objects.exists()


def test_whether_an_address_was_verified_is_said_where_the_address_is(
    oidc: Oidc, provider: IdentityProvider, balie: Account
) -> None:
    oidc.claims = lambda claims: {**_without(claims, "email"), "email_verified": True}
    oidc.documents["/userinfo"] = json.dumps({"sub": SUBJECT, "email": ADDRESS, "email_verified": False}).encode()
    assert _through(oidc, browser()).status_code == 403
    oidc.documents["/userinfo"] = json.dumps({"sub": SUBJECT, "email": ADDRESS, "email_verified": True}).encode()
    assert _through(oidc, browser()).status_code == 302


# --- who does ----------------------------------------------------------------------------------------------------


def test_our_second_factor_is_demanded_on_top(oidc: Oidc, provider: IdentityProvider, balie: Account) -> None:
    client = browser()
    response = _through(oidc, client)
    assert response.headers["Location"] == "/account/security/authenticate/"
    assert not is_signed_in(client)
    assert give_code(client).status_code == 302
    assert is_signed_in(client)
    assert client.get("/account/security/").status_code == 200


def test_who_has_no_second_factor_yet_sets_one_up_first(
    oidc: Oidc, provider: IdentityProvider, organisation: Organisation
) -> None:
    person(organisation)
    client = browser()
    _through(oidc, client)
    assert client.get("/account/password/").headers["Location"] == "/account/security/totp/activate/"


@pytest.mark.parametrize(
    ("said", "is_enough"),
    [
        ({"amr": ["pwd", "mfa"]}, True),
        ({"amr": ["pwd"]}, False),
        ({"amr": "mfa"}, False),
        ({"acr": "urn:voorbeeld:two"}, True),
        ({"acr": ["urn:voorbeeld:two"]}, False),
        ({"acr": "urn:voorbeeld:one"}, False),
        ({}, False),
    ],
)
def test_the_providers_second_factor_counts_where_it_is_believed_and_shown(
    said: dict[str, Any], is_enough: bool, oidc: Oidc, organisation: Organisation, balie: Account
) -> None:
    providers.add(organisation, wanted(oidc.issuer, factor_contexts=("mfa", "urn:voorbeeld:two")), now=_now())
    oidc.claims = lambda claims: {**claims, **said}
    client = browser()
    _through(oidc, client)
    assert is_signed_in(client) is is_enough


def test_what_nobody_believes_counts_for_nothing(oidc: Oidc, provider: IdentityProvider, balie: Account) -> None:
    oidc.claims = lambda claims: {**claims, "amr": ["mfa"], "acr": "urn:voorbeeld:two"}
    client = browser()
    _through(oidc, client)
    assert not is_signed_in(client)


def test_with_a_believed_second_factor_no_other_is_needed(oidc: Oidc, organisation: Organisation) -> None:
    account = person(organisation)
    providers.add(organisation, wanted(oidc.issuer, factor_contexts=("mfa",), is_required=True), now=_now())
    oidc.claims = lambda claims: {**claims, "amr": ["mfa"]}
    client = browser()
    assert _through(oidc, client).status_code == 302
    assert client.get("/account/security/").status_code == 200
    assert client.get("/account/password/").headers["Location"] == "/account/password/none/"
    assert secured({account.pk}) == {account.pk}
    IdentityProvider.objects.update(is_required=False)  # a password alone would let somebody set up a factor
    assert secured({account.pk}) == set()


def test_an_account_counts_with_the_providers_two_factors_once_it_showed_them_and_opens_with_no_less(
    oidc: Oidc, organisation: Organisation
) -> None:
    account = person(organisation)
    row = providers.add(organisation, wanted(oidc.issuer, factor_contexts=("mfa",), is_required=True), now=_now())
    client = browser()
    assert _through(oidc, client).status_code == 302  # and sets up a factor of its own, as long as it has shown none
    assert client.get("/account/password/").headers["Location"] == "/account/security/totp/activate/"
    assert secured({account.pk}) == set()
    oidc.claims = lambda claims: {**claims, "amr": ["mfa"]}
    for _ in range(2):
        assert _through(oidc, browser()).status_code == 302
        assert secured({account.pk}) == {account.pk}
    oidc.claims = None
    thief = browser(
        "en"
    )  # who knows the password there would set up a second step here, and read as if both were shown
    page = _through(oidc, thief)
    assert page.status_code == 403 and "did not ask you for a second step" in page.content.decode()
    assert not is_signed_in(thief)
    assert secured({account.pk}) == {account.pk}
    enrol_totp(account, SECRET)
    assert _through(oidc, browser()).headers["Location"] == "/account/security/authenticate/"
    Authenticator.objects.all().delete()
    domain_of(organisation, "tweede.test")
    providers.change(
        row,
        wanted(oidc.issuer, factor_contexts=("mfa",), is_required=True, domains=(Domain.parse("tweede.test"),)),
        now=_now(),
    )
    assert secured({account.pk}) == set()  # that provider doesn't answer for the address any more


@pytest.mark.parametrize("change", [{"factor_contexts": ("other",)}, {"domains": (Domain.parse("tweede.test"),)}])
def test_who_came_in_by_what_counts_no_more_is_signed_out(
    change: dict[str, Any], oidc: Oidc, organisation: Organisation
) -> None:
    person(organisation)
    domain_of(organisation, "tweede.test")
    row = providers.add(organisation, wanted(oidc.issuer, factor_contexts=("mfa",)), now=_now())
    oidc.claims = lambda claims: {**claims, "amr": ["mfa"]}
    client = browser()
    _through(oidc, client)
    assert client.get("/account/security/").status_code == 200
    providers.change(row, wanted(oidc.issuer, factor_contexts=("mfa", "more")), now=_now())
    assert client.get("/account/security/").status_code == 200  # nothing of that was taken away
    providers.change(row, wanted(oidc.issuer, **{"factor_contexts": ("mfa",), **change}), now=_now())
    client.get("/account/security/")
    assert not is_signed_in(client)


def test_an_account_is_made_where_the_provider_may_as_a_sender_alone(oidc: Oidc, organisation: Organisation) -> None:
    providers.add(organisation, wanted(oidc.issuer, makes_accounts=True, factor_contexts=("mfa",)), now=_now())
    oidc.claims = lambda claims: {**claims, "amr": ["mfa"], "role": "owner", "roles": ["owner"]}
    client = browser()
    assert _through(oidc, client).status_code == 302
    made = Account.objects.get()
    assert (made.email, made.role, made.organisation, made.display_name) == (ADDRESS, "sender", organisation, "Balie")
    assert not made.has_usable_password()
    assert AuditEntry.objects.filter(act="account-added", about=ADDRESS).exists()


def test_pkce_state_and_nonce_are_used_and_nothing_of_the_provider_is_kept(
    oidc: Oidc, provider: IdentityProvider, balie: Account
) -> None:
    client = browser()
    url = begins(client)
    asked = query_of(url)
    assert (asked["code_challenge_method"], asked["response_type"], asked["client_id"]) == ("S256", "code", "zegel")
    assert len(asked["state"]) >= 16
    assert len(asked["nonce"]) == 32
    assert asked["redirect_uri"] == f"http://localhost:8080/account/organisation/{provider.pk}/"
    returns(client, oidc.consents(url, SUBJECT))
    assert oidc.asked[0]["code_verifier"]
    assert oidc.asked[0]["authorization"].startswith("Basic ")
    bound = SocialAccount.objects.get()
    assert (bound.user, bound.extra_data) == (balie, {})
    assert SUBJECT not in bound.uid
    assert not SocialToken.objects.exists()
    assert not SocialApp.objects.exists()


def test_the_visitor_goes_on_to_the_page_that_was_asked_for_and_to_no_other_site(
    oidc: Oidc, organisation: Organisation, balie: Account
) -> None:
    providers.add(organisation, wanted(oidc.issuer, factor_contexts=("mfa",)), now=_now())
    oidc.claims = lambda claims: {**claims, "amr": ["mfa"]}
    client = browser()
    back = oidc.consents(begins(client, next="/account/password/"), SUBJECT)
    assert returns(client, back).headers["Location"] == "/account/password/"
    client = browser()
    back = oidc.consents(begins(client, next="https://ander.test/"), SUBJECT)
    assert returns(client, back).headers["Location"] == "/"


def test_a_signed_in_visitor_is_not_connected_to_anything(
    oidc: Oidc, provider: IdentityProvider, balie: Account, organisation: Organisation
) -> None:
    other = Account.objects.create_user(f"ander@{DOMAIN}", PASSWORD, organisation=organisation)
    enrol_totp(other, SECRET)
    client = browser()
    give_password(client, other.email)
    give_code(client)
    page = client.post("/account/organisation/?process=connect&next=/", {"email": ADDRESS, "process": "connect"})
    returns(client, oidc.consents(page.context["url"], SUBJECT))
    assert SocialAccount.objects.get().user == balie


# --- a provider that is required ---------------------------------------------------------------------------------


def test_passwords_of_a_domain_with_a_required_provider_end_and_owners_keep_theirs(
    oidc: Oidc, organisation: Organisation
) -> None:
    people = {}
    for name, role in (("balie", "sender"), ("beheer", "administrator"), ("eigenaar", "owner")):
        people[role] = Account.objects.create_user(f"{name}@{DOMAIN}", PASSWORD, organisation=organisation, role=role)
        enrol_totp(people[role], SECRET)
    before = browser()
    give_password(before, people["sender"].email)
    give_code(before)
    assert is_signed_in(before)
    providers.add(organisation, wanted(oidc.issuer, is_required=True), now=_now())
    before.get("/account/password/")
    assert not is_signed_in(before)
    for role, may in (("sender", False), ("administrator", False), ("owner", True)):
        client = browser()
        response = give_password(client, people[role].email)
        assert response.headers["Location"] == ("/account/security/authenticate/" if may else "/account/organisation/")
        give_code(client)
        assert is_signed_in(client) is may
        wrong = browser()
        assert give_password(wrong, people[role].email, "not the password").status_code == 200  # says nothing


def test_who_is_known_to_the_provider_and_came_with_a_password_is_out_too(
    oidc: Oidc, organisation: Organisation, balie: Account
) -> None:
    balie.set_password(PASSWORD)
    balie.save(update_fields=["password"])
    free = wanted(oidc.issuer, factor_contexts=("mfa",))
    provider = providers.add(organisation, free, now=_now())
    oidc.claims = lambda claims: {**claims, "amr": ["mfa"]}
    _through(oidc, browser())
    assert SocialAccount.objects.filter(user=balie).exists()
    before = browser()
    give_password(before, balie.email)
    give_code(before)
    before.get("/account/password/")
    assert is_signed_in(before)
    demanded = wanted(oidc.issuer, factor_contexts=("mfa",), is_required=True)
    providers.change(provider, demanded, now=_now())
    before.get("/account/password/")
    assert not is_signed_in(before)
    told = [one.details for one in AuditEntry.objects.order_by("number") if one.details.get("what") == "signed-out"]
    assert len(told) == 1 and told[0]["accounts"] == 1 and told[0]["sessions"] >= 1
    again = browser()
    _through(oidc, again)
    again.get("/account/security/")
    assert is_signed_in(again)
    providers.change(provider, demanded, now=_now())
    again.get("/account/security/")
    assert is_signed_in(again), "nothing else is demanded of it than before"


def test_a_domain_that_is_not_in_place_any_more_brings_no_password_back(oidc: Oidc, organisation: Organisation) -> None:
    account = Account.objects.create_user(ADDRESS, PASSWORD, organisation=organisation)
    enrol_totp(account, SECRET)
    providers.add(organisation, wanted(oidc.issuer, is_required=True), now=_now())
    organisation.sending_domains.update(in_place=False)
    assert give_password(browser(), ADDRESS).headers["Location"] == "/account/organisation/"


def test_what_a_provider_says_of_itself_anew_is_noted(
    oidc: Oidc, provider: IdentityProvider, organisation: Organisation
) -> None:
    providers.refresh(provider, now=_now())
    own = json.loads(_get(oidc.issuer + providers.WELL_KNOWN))
    moved = {**own, "jwks_uri": f"{oidc.issuer}/other-keys"}
    oidc.documents[providers.WELL_KNOWN] = json.dumps(moved).encode()
    providers.refresh(provider, now=_now())
    kinds = [one.details["what"] for one in AuditEntry.objects.order_by("number")]
    assert kinds == ["added", "described-anew"]


def test_a_provider_that_is_removed_signs_its_people_out(
    oidc: Oidc, organisation: Organisation, balie: Account
) -> None:
    provider = providers.add(organisation, wanted(oidc.issuer, factor_contexts=("mfa",)), now=_now())
    oidc.claims = lambda claims: {**claims, "amr": ["mfa"]}
    client = browser()
    _through(oidc, client)
    client.get("/account/security/")
    assert is_signed_in(client)
    assert providers.remove(provider) == 1
    client.get("/account/security/")
    assert not is_signed_in(client)


# --- naming a provider -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "issuer"),
        ({"issuer": "https://ander.test"}, "issuer"),
        ({"token_endpoint": "http://127.0.0.1/"}, "issuer"),
        ({"jwks_uri": "file:///etc/passwd"}, "issuer"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "issuer"),
        ({"userinfo_endpoint": 7}, "issuer"),
    ],
)
def test_a_provider_that_describes_itself_wrongly_is_not_taken(
    document: dict[str, Any], field: str, oidc: Oidc, organisation: Organisation
) -> None:
    own = json.loads(_get(oidc.issuer + providers.WELL_KNOWN))
    oidc.documents[providers.WELL_KNOWN] = json.dumps({**own, **document} if document else {}).encode()
    with pytest.raises(NotAProvider) as caught:
        providers.add(organisation, wanted(oidc.issuer), now=_now())
    assert caught.value.field == field
    assert not IdentityProvider.objects.exists()


def _get(url: str) -> bytes:
    from django.conf import settings

    with session(settings.ZEGEL) as one:
        return bytes(one.get(url).content)


def test_only_sending_domains_in_place_are_answered_for(oidc: Oidc, organisation: Organisation) -> None:
    domain_of(organisation, "wacht.test", in_place=False)
    domain_of(Organisation.objects.create(name="Ander"), "ander.test")
    for name in ("wacht.test", "ander.test", "vreemd.test"):
        with pytest.raises(NotAProvider) as caught:
            providers.add(organisation, wanted(oidc.issuer, domains=(Domain.parse(name),)), now=_now())
        assert caught.value.field == "domains"


def test_a_server_inside_the_network_is_asked_only_where_the_operator_allows_it(
    oidc: Oidc, organisation: Organisation, settings: Any
) -> None:
    settings.ZEGEL = settings.ZEGEL.model_copy(update={"testing": False})
    with pytest.raises(NotAProvider) as caught:
        providers.add(organisation, wanted(oidc.issuer), now=_now())
    assert "no address on the internet" in str(caught.value)
    assert providers.WELL_KNOWN not in oidc.reached


def test_the_clients_secret_is_closed_and_bound_to_its_provider(
    provider: IdentityProvider, oidc: Oidc, organisation: Organisation
) -> None:
    from zegel.core.seal.wrap import CannotOpen

    assert b"secret of the client" not in bytes(provider.secret or b"")
    assert providers.secret_of(provider).reveal() == "a secret of the client"
    domain_of(organisation, "tweede.test")
    second = providers.add(
        organisation, wanted(oidc.issuer, name="Tweede", domains=(Domain.parse("tweede.test"),)), now=_now()
    )
    second.secret = provider.secret
    with pytest.raises(CannotOpen):
        providers.secret_of(second)


def test_the_page_answers_by_the_domain_alone(oidc: Oidc, provider: IdentityProvider, balie: Account) -> None:
    client = browser("en")
    there = client.post("/account/organisation/", {"email": ADDRESS})
    not_there = client.post("/account/organisation/", {"email": f"niemand@{DOMAIN}"})
    assert there.status_code == not_there.status_code == 200
    assert there.context["host"] == not_there.context["host"] == "127.0.0.1"
    assert "has_none" in client.post("/account/organisation/", {"email": "x@ander.test"}).context
    assert client.post("/account/organisation/", {"email": "x"}).context["form"].errors
