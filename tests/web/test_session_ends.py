"""When a session is over, it is over on the server (P19): by time, by signing out, by another password, by theft."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.sessions.models import Session
from django.test import Client

from tests.journey.portal_ground import Ground, Visitor, mail
from tests.web.conftest import PASSWORD, SECRET, browser, give_code, give_password, signed_in
from tests.web.whole_site import whole_ground
from zegel.accounts.models import Account, AccountSession
from zegel.accounts.sign_in import current_totp, enrol_totp
from zegel.journey.custody.models import Proof
from zegel.web import middleware
from zegel.web.middleware import ABSOLUTE, IDLE

COOKIE: Final = "__Host-session"
NEW: Final = "seven green bicycles"


@dataclass
class Moved:
    """The clock of the sessions: the machine's, and as much further as it was moved."""

    by: float = 0.0
    start: float = field(default_factory=time.time)

    def time(self) -> float:
        return self.start + self.by


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Moved]:
    moved = Moved()
    monkeypatch.setattr(middleware, "time", moved)
    yield moved


@pytest.fixture
def ground(tmp_path: Path, db: None) -> Ground:
    return whole_ground(tmp_path)


def is_in(client: Client) -> bool:
    """Sees what only who signed in sees."""
    answer = client.get("/console/")
    assert answer.status_code == 200 or answer.headers["Location"].startswith("/account/sign-in/")
    return bool(answer.status_code == 200)


def with_cookie(value: str) -> Client:
    """Another browser, to which the cookie was brought."""
    thief = browser()
    thief.cookies[COOKIE] = value
    return thief


def cookie_of(client: Client) -> str:
    return str(client.cookies[COOKIE].value)


# Time


def test_after_half_an_hour_without_a_click_the_session_is_gone(administrator: Account, clock: Moved) -> None:
    client = signed_in(administrator)
    cookie = cookie_of(client)
    clock.by = IDLE - 60
    assert is_in(client)
    clock.by += IDLE + 60
    assert not is_in(client) and not is_in(with_cookie(cookie))
    assert not Session.objects.exists(), "it ended on the server"
    clock.by = 0
    assert not is_in(with_cookie(cookie)), "a clock that is set back revives nothing (P23)"


def test_whoever_goes_on_clicking_signs_in_again_after_twelve_hours(administrator: Account, clock: Moved) -> None:
    client, hours = signed_in(administrator), 0
    while clock.by + IDLE - 120 <= ABSOLUTE:
        clock.by += IDLE - 120
        assert is_in(client), clock.by
        hours += 1
    assert hours > 20
    clock.by = ABSOLUTE + 1
    assert not is_in(client) and not Session.objects.exists()


def test_whoever_goes_on_reading_proves_again_after_twelve_hours(ground: Ground) -> None:
    visitor = Visitor(ground)
    recipient = ground.recipient(ground.conversation(mail()))
    visitor.open(recipient, ground.link(recipient))
    for _ in range(28):
        ground.clock.forward(minutes=25)
        assert visitor.read(recipient).status_code == 200
    ground.clock.forward(minutes=25)
    assert visitor.read(recipient).status_code == 303, "25 minutes ago it was read, 12 hours ago it was proven"


def test_the_session_itself_is_bounded_for_guests_too(ground: Ground, clock: Moved) -> None:
    visitor = Visitor(ground)
    recipient = ground.recipient(ground.conversation(mail()))
    visitor.open(recipient, ground.link(recipient))
    clock.by = IDLE + 60
    assert visitor.read(recipient).status_code == 303


# Signing out


def test_who_signs_out_takes_the_session_along_wherever_its_cookie_is(administrator: Account) -> None:
    client = signed_in(administrator)
    cookie = cookie_of(client)
    assert is_in(with_cookie(cookie)), "or this shows nothing"
    client.post("/account/sign-out/")
    assert not is_in(client) and not is_in(with_cookie(cookie))
    ended = Session.objects.values("session_key")
    assert not AccountSession.objects.filter(session__in=ended).exists()


def test_a_page_of_the_session_is_not_kept_by_the_browser(administrator: Account) -> None:
    for address in ("/console/", "/account/security/", "/inbox/", "/account/settings/"):
        assert "no-store" in signed_in_again(administrator).get(address).headers["Cache-Control"]


def test_leaving_ends_a_guests_proof_for_a_copy_of_the_cookies_too(ground: Ground) -> None:
    visitor, copy = Visitor(ground), Visitor(ground)
    recipient = ground.recipient(ground.conversation(mail()))
    visitor.open(recipient, ground.link(recipient))
    for name, one in visitor.client.cookies.items():
        copy.client.cookies[name] = one.value
    assert copy.read(recipient).status_code == 200, "or this shows nothing"
    visitor.client.post(visitor.page("guest-leave", recipient))
    assert copy.read(recipient).status_code == 303 and not Proof.objects.exists()


# A session that somebody else knows


@pytest.mark.parametrize("planted", ["A" * 32, "0123456789abcdefghijklmnopqrstuv", "x", ""])
def test_a_session_key_that_somebody_made_up_is_never_taken_over(administrator: Account, planted: str) -> None:
    victim = with_cookie(planted)
    give_password(victim, administrator.email)
    assert cookie_of(victim) != planted
    give_code(victim)
    assert is_in(victim) and not is_in(with_cookie(planted))


def test_a_session_that_was_begun_by_somebody_else_signs_nobody_else_in(administrator: Account) -> None:
    attacker = browser()
    attacker.get("/account/security/webauthn/login/", headers={"accept": "application/json"})
    planted = cookie_of(attacker)
    assert Session.objects.exists(), "or this shows nothing"
    victim = with_cookie(planted)
    give_password(victim, administrator.email)
    between = cookie_of(victim)
    give_code(victim)
    assert is_in(victim)
    assert len({planted, between, cookie_of(victim)}) >= 2 and cookie_of(victim) not in (planted, between)
    assert not is_in(with_cookie(planted)) and not is_in(with_cookie(between))


def test_a_session_that_was_begun_by_somebody_else_opens_no_message_to_him(ground: Ground) -> None:
    attacker, victim = Visitor(ground), Visitor(ground)
    recipient = ground.recipient(ground.conversation(mail()))
    token = ground.link(recipient)
    attacker.follow(token)
    attacker.ask(recipient)
    for name, one in attacker.client.cookies.items():
        victim.client.cookies[name] = one.value
    assert victim.enter(recipient, ground.last_code()).status_code == 303
    assert victim.read(recipient).status_code == 200
    assert attacker.read(recipient).status_code == 303, "who began the session stays outside"


# Another password, another factor


def signed_in_again(account: Account) -> Client:
    """In another browser; each code works once."""
    Authenticator.objects.filter(user=account, type="totp").delete()
    enrol_totp(account, SECRET)
    return signed_in(account)


def test_after_another_password_no_older_cookie_is_good_not_even_ones_own(administrator: Account) -> None:
    elsewhere, here = signed_in(administrator), signed_in_again(administrator)
    older = cookie_of(here)
    answer = here.post("/account/password/", {"oldpassword": PASSWORD, "password1": NEW, "password2": NEW})
    assert answer.status_code == 302
    assert is_in(here), "who changed it goes on"
    assert cookie_of(here) != older and not is_in(with_cookie(older))
    assert not is_in(elsewhere) and not is_in(with_cookie(cookie_of(elsewhere)))


def test_a_code_that_was_used_signs_in_nobody_after_the_session_either(administrator: Account) -> None:
    client, code = browser(), current_totp(SECRET)
    give_password(client, administrator.email)
    assert give_code(client, code).status_code == 302
    client.post("/account/sign-out/")
    again = browser()
    give_password(again, administrator.email)
    assert give_code(again, code).status_code == 200 and not is_in(again)


def test_a_form_of_signing_in_that_is_sent_again_signs_nobody_in(ground: Ground) -> None:
    """The same octets, in the same session: the code was used, and so was the session."""
    visitor = Visitor(ground)
    recipient = ground.recipient(ground.conversation(mail()))
    visitor.follow(ground.link(recipient))
    visitor.ask(recipient)
    code = ground.last_code()
    before = {name: one.value for name, one in visitor.client.cookies.items()}
    assert visitor.enter(recipient, code).status_code == 303
    replayed = Visitor(ground)
    for name, value in before.items():
        replayed.client.cookies[name] = value
    assert replayed.enter(recipient, code).status_code == 422
    assert replayed.read(recipient).status_code == 303
    assert Proof.objects.count() == 1


@pytest.mark.parametrize("page", ["totp/deactivate/", "webauthn/add/", "recovery-codes/generate/"])
def test_another_factor_takes_proof_again_a_while_after_signing_in(administrator: Account, page: str) -> None:
    client, address = signed_in(administrator), f"/account/security/{page}"
    assert client.get(address).status_code == 200, "a moment ago it was proven"
    session = client.session
    for record in session["account_authentication_methods"]:
        record["at"] -= 360
    session.save()
    for answer in (client.get(address), client.post(address, {})):
        assert answer.status_code == 302
        assert answer.headers["Location"].split("?")[0] in ("/account/confirm/", "/account/security/reauthenticate/")


def test_a_suspended_account_is_out_at_the_next_click(administrator: Account) -> None:
    client = signed_in(administrator)
    Account.objects.filter(pk=administrator.pk).update(is_active=False)
    assert not is_in(client)
    Account.objects.filter(pk=administrator.pk).update(is_active=True)
    assert not is_in(client), "it ended, and is not merely asleep"
