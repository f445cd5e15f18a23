"""Signing in: what is refused, equally for everyone, and what lasts."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from tests.web.conftest import PASSWORD, SECRET, browser, give_code, give_password, signed_in
from zegel.accounts.models import Account, SignInFailure
from zegel.accounts.sign_in import current_totp, enrol_totp, has_second_factor
from zegel.core.secret import Secret
from zegel.web.middleware import ABSOLUTE, IDLE

NOT_RIGHT = "The e-mail address or the password is not right."


def without_tokens(body: bytes) -> str:
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"|value="[^"]+@[^"]+"', "", body.decode())


def test_a_wrong_password_is_answered_like_an_unknown_address(administrator: Account) -> None:
    known = give_password(browser("en"), administrator.email, "something else entirely")
    unknown = give_password(browser("en"), "niemand@voorbeeld.test", "something else entirely")
    assert known.status_code == unknown.status_code == 200
    assert NOT_RIGHT in known.content.decode()
    assert without_tokens(known.content) == without_tokens(unknown.content)
    assert {name for name, _ in known.items()} == {name for name, _ in unknown.items()}


def test_an_account_that_may_not_be_used_is_answered_like_an_unknown_address(administrator: Account) -> None:
    unknown = give_password(browser("en"), "niemand@voorbeeld.test")
    administrator.is_active = False
    administrator.save()
    suspended = give_password(browser("en"), administrator.email)
    assert without_tokens(suspended.content) == without_tokens(unknown.content)


def test_suspending_an_account_ends_its_session(administrator: Account) -> None:
    client = signed_in(administrator)
    Account.objects.filter(pk=administrator.pk).update(is_active=False)
    assert client.get("/console/").headers["Location"].startswith("/account/sign-in/")


def test_the_spelling_of_the_address_makes_no_difference(administrator: Account) -> None:
    assert give_password(Client(), "Beheer@VOORBEELD.test").headers["Location"] == "/account/security/authenticate/"


def test_the_password_alone_opens_nothing(administrator: Account) -> None:
    client = Client()
    give_password(client, administrator.email)
    assert client.get("/console/").headers["Location"].startswith("/account/sign-in/")
    assert client.get("/account/security/").headers["Location"].startswith("/account/sign-in/")


@pytest.mark.django_db(transaction=True)
def test_who_has_no_second_factor_sets_one_up_before_anything_else(newcomer: Account) -> None:
    client = Client()
    give_password(client, newcomer.email)
    for path in ("/", "/console/", "/inbox/", "/account/security/", "/account/password/"):
        assert client.get(path).headers["Location"] == "/account/security/totp/activate/", path
    page = client.get("/account/security/totp/activate/")
    secret = re.search(r'id="authenticator_secret">(\w+)<', page.content.decode())
    assert secret is not None
    code = current_totp(Secret(secret[1]))
    client.post("/account/security/totp/activate/", {"code": code})
    assert has_second_factor(newcomer)
    assert client.get("/account/security/").status_code == 200

    again = Client()
    give_password(again, newcomer.email)
    assert give_code(again, code).status_code == 200, "the code of the set-up was taken a second time"


def test_a_session_from_before_the_second_factor_ends_when_one_is_set_up_elsewhere(newcomer: Account) -> None:
    stranger = Client()
    give_password(stranger, newcomer.email)
    enrol_totp(newcomer)
    assert stranger.get("/account/security/").headers["Location"] == "/account/sign-in/"
    assert not stranger.get("/").context["user"].is_authenticated


def test_a_code_is_taken_once(administrator: Account) -> None:
    code = current_totp(SECRET)
    first, second = Client(), browser("en")
    give_password(first, administrator.email)
    give_password(second, administrator.email)
    assert give_code(first, code).status_code == 302
    refused = give_code(second, code)
    assert refused.status_code == 200
    assert "used before" in refused.content.decode()


def test_a_wrong_code_is_refused(administrator: Account) -> None:
    client = Client()
    give_password(client, administrator.email)
    wrong = f"{(int(current_totp(SECRET)) + 1) % 1_000_000:06}"
    assert give_code(client, wrong).status_code == 200


def test_a_recovery_code_is_taken_once(administrator: Account) -> None:
    stored = Authenticator.objects.get(user=administrator, type=Authenticator.Type.RECOVERY_CODES)
    code = RecoveryCodes(stored).get_unused_codes()[0]
    first, second = Client(), Client()
    give_password(first, administrator.email)
    give_password(second, administrator.email)
    assert give_code(first, code).status_code == 302
    assert give_code(second, code).status_code == 200


def test_signing_out_ends_the_session_on_the_server(administrator: Account) -> None:
    client = signed_in(administrator)
    cookie = client.cookies["__Host-session"].value
    client.post("/account/sign-out/")
    thief = Client()
    thief.cookies["__Host-session"] = cookie
    assert thief.get("/console/").headers["Location"].startswith("/account/sign-in/")


def test_signing_out_takes_a_form(administrator: Account) -> None:
    client = signed_in(administrator)
    client.get("/account/sign-out/")
    assert client.get("/console/").status_code == 200


def test_a_new_session_key_is_given_at_sign_in(administrator: Account) -> None:
    client = Client()
    give_password(client, administrator.email)
    before = client.cookies["__Host-session"].value
    give_code(client)
    assert client.cookies["__Host-session"].value != before


@pytest.mark.parametrize(("key", "seconds"), [("seen", IDLE + 1), ("started", ABSOLUTE + 1), ("started", -3600)])
def test_a_session_ends_when_idle_when_old_and_when_the_clock_went_back(
    administrator: Account, key: str, seconds: int
) -> None:
    client = signed_in(administrator)
    client.get("/console/")
    session = client.session
    session[key] -= seconds
    session.save()
    assert client.get("/console/").headers["Location"].startswith("/account/sign-in/")
    assert not Session.objects.exists()


def test_the_database_shows_neither_session_keys_nor_what_a_session_holds(newcomer: Account) -> None:
    client = Client()
    give_password(client, newcomer.email)
    page = client.get("/account/security/totp/activate/").content.decode()
    secret = re.search(r'id="authenticator_secret">(\w+)<', page)
    assert secret is not None
    row = Session.objects.get()
    assert row.session_key != client.cookies["__Host-session"].value
    assert secret[1] not in row.session_data
    thief = Client()
    thief.cookies["__Host-session"] = row.session_key
    assert not thief.get("/").context["user"].is_authenticated


def test_a_session_row_that_was_tampered_with_is_nobodys(administrator: Account) -> None:
    client = signed_in(administrator)
    row = Session.objects.get()
    row.session_data = row.session_data[:-8] + "AAAAAAA="
    row.save()
    assert client.get("/console/").headers["Location"].startswith("/account/sign-in/")


def test_the_database_shows_no_second_factor_secret(administrator: Account) -> None:
    for stored in Authenticator.objects.all():
        assert SECRET.reveal() not in str(stored.data)
        codes = stored.wrap().get_unused_codes() if stored.type == "recovery_codes" else []
        assert not any(code in str(stored.data) for code in codes)


def test_the_last_second_factor_cannot_be_switched_off(administrator: Account) -> None:
    client = signed_in(administrator)
    client.post("/account/security/totp/deactivate/")
    assert has_second_factor(administrator)


def test_there_is_no_sign_up_and_no_reset_beside_the_portals_own(db: None) -> None:
    for unknown in ("/account/signup/", "/account/password/reset/", "/account/password/reset/key/1-x/"):
        assert Client().get(unknown).status_code == 404
    assert Client().get("/account/password/forgotten/").headers["Location"] == "/forgotten/"


def test_changing_the_password_ends_the_other_sessions(administrator: Account) -> None:
    here, elsewhere = signed_in(administrator), None
    Authenticator.objects.filter(type="totp").delete()
    enrol_totp(administrator, SECRET)
    elsewhere = signed_in(administrator)
    new = "seven green bicycles"
    here.post("/account/password/", {"oldpassword": PASSWORD, "password1": new, "password2": new})
    assert here.get("/console/").status_code == 200
    assert elsewhere.get("/console/").status_code == 302


@pytest.mark.parametrize("password", ["elevenchars", "password1234"])
def test_a_short_or_common_password_is_refused(administrator: Account, password: str) -> None:
    client = signed_in(administrator)
    client.post("/account/password/", {"oldpassword": PASSWORD, "password1": password, "password2": password})
    administrator.refresh_from_db()
    assert administrator.check_password(PASSWORD)


NO_PASSKEYS = ("", "x", "[]", "{}", '{"response": 1}', '{"id": "a", "response": {}}', "null", "1" * 5000, "[" * 60000)


@pytest.mark.parametrize("credential", NO_PASSKEYS, ids=range(len(NO_PASSKEYS)))
def test_what_is_no_passkey_signs_nobody_in(db: None, credential: str) -> None:
    client = Client()
    client.get("/account/security/webauthn/login/", headers={"accept": "application/json"})
    answer = client.post("/account/security/webauthn/login/", {"credential": credential})
    assert answer.headers["Location"] == "/account/sign-in/"
    assert not client.get("/").context["user"].is_authenticated


def test_a_failure_is_counted_without_the_address_that_was_typed(administrator: Account) -> None:
    give_password(Client(), administrator.email, "something else entirely")
    rows = SignInFailure.objects.all()
    assert rows
    assert all(b"voorbeeld" not in bytes(row.whose) + bytes(row.place) for row in rows)
    assert all(row.last_at <= timezone.now() + timedelta(seconds=1) for row in rows)
