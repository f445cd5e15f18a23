"""One's own sessions and settings: what is shown, what ends, and that nobody reaches anybody else's (P19, P20)."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from tests.web.conftest import SECRET, browser, give_code, give_password, signed_in
from zegel.accounts import sessions
from zegel.accounts.models import Account, AccountSession
from zegel.accounts.sign_in import enrol_totp
from zegel.web.middleware import ABSOLUTE, IDLE

PAGE = "/account/sessions/"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def words(response: Any) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", response.content.decode())).split())


def names(client: Client) -> list[str]:
    """Of the sessions that can be ended."""
    found = re.findall(r'name="session" value="(\w+)"', client.get(PAGE).content.decode())
    return [one for one in found if one != "others"]


def again(account: Account) -> Client:
    """The same person in another browser; each code works once."""
    client = signed_in_again(account)
    assert client.get(PAGE).status_code == 200
    return client


def signed_in_again(account: Account) -> Client:
    Authenticator.objects.filter(user=account, type="totp").delete()
    enrol_totp(account, SECRET)
    client = browser("en")
    give_password(client, account.email)
    give_code(client)
    return client


def test_who_is_not_signed_in_sees_and_ends_nothing(administrator: Account) -> None:
    signed_in(administrator)
    (row,) = AccountSession.objects.all()
    for done in (Client().get(PAGE), Client().post(f"{PAGE}end", {"session": row.session})):
        assert done.headers["Location"].startswith("/account/sign-in/")
    assert Session.objects.filter(session_key=row.session).exists()


def test_a_password_without_the_second_step_is_no_session_of_the_account(administrator: Account) -> None:
    give_password(Client(), administrator.email)
    assert not AccountSession.objects.exists()


def test_all_sessions_of_the_account_are_listed_and_no_other(
    administrator: Account, other_administrator: Account
) -> None:
    here, there = signed_in(administrator), again(administrator)
    there.get(PAGE, headers={"user-agent": FIREFOX})
    signed_in(other_administrator)
    page = words(there.get(PAGE))
    assert page.count("Since ") == 2 and page.count("End this session") == 1
    assert len(names(here)) == 1


def test_ending_one_signs_that_browser_out_on_the_server(administrator: Account) -> None:
    here, there = signed_in(administrator), again(administrator)
    (name,) = names(there)
    cookie = here.cookies["__Host-session"].value
    assert there.post(f"{PAGE}end", {"session": name}).status_code == 303
    assert here.get("/console/").headers["Location"].startswith("/account/sign-in/")
    thief = Client()
    thief.cookies["__Host-session"] = cookie
    assert thief.get("/console/").headers["Location"].startswith("/account/sign-in/")
    assert there.get("/console/").status_code == 200 and names(there) == []


def test_ending_all_others_leaves_this_one(administrator: Account) -> None:
    others = [signed_in(administrator), again(administrator)]
    here = again(administrator)
    here.post(f"{PAGE}end", {"session": "others"})
    assert here.get("/console/").status_code == 200
    for one in others:
        assert one.get("/console/").headers["Location"].startswith("/account/sign-in/")
    assert "You are signed in nowhere else." in words(here.get(PAGE))


def test_nobody_ends_the_session_of_somebody_else(administrator: Account, other_administrator: Account) -> None:
    victim, stranger = signed_in(administrator), signed_in(other_administrator)
    (row,) = AccountSession.objects.filter(account=administrator)
    foreign = stranger.post(f"{PAGE}end", {"session": row.session}, follow=True)
    unknown = stranger.post(f"{PAGE}end", {"session": "0" * 40}, follow=True)
    assert words(foreign) == words(unknown)
    assert victim.get("/console/").status_code == 200


def test_ending_takes_a_form_of_ours(administrator: Account) -> None:
    client = Client(enforce_csrf_checks=True)
    client.cookies = signed_in(administrator).cookies
    assert client.post(f"{PAGE}end", {"session": "others"}).status_code == 403
    assert client.get(f"{PAGE}end").status_code == 405


def test_signing_out_takes_it_off_the_list(administrator: Account) -> None:
    here, there = signed_in(administrator), again(administrator)
    here.post("/account/sign-out/")
    assert names(there) == []


@pytest.mark.parametrize(
    "aged", [{"seen_at": timedelta(seconds=IDLE + 400)}, {"started_at": timedelta(seconds=ABSOLUTE + 1)}]
)
def test_a_session_that_ended_by_itself_is_not_listed(administrator: Account, aged: dict[str, timedelta]) -> None:
    old = signed_in(administrator)
    (row,) = AccountSession.objects.all()
    here = again(administrator)
    AccountSession.objects.filter(pk=row.pk).update(**{key: timezone.now() - by for key, by in aged.items()})
    assert names(here) == [] and old is not here


def test_what_ended_is_forgotten(administrator: Account) -> None:
    signed_in(administrator)
    Session.objects.all().delete()
    sessions.forget_ended(timezone.now())
    assert AccountSession.objects.exists(), "it may be new: nobody looks before it was idle for long enough"
    sessions.forget_ended(timezone.now() + timedelta(seconds=IDLE + 1))
    assert not AccountSession.objects.exists()


def test_using_a_session_is_not_written_at_every_click(administrator: Account) -> None:
    client = signed_in(administrator)
    before = AccountSession.objects.values_list("seen_at", flat=True).get()
    for _ in range(3):
        client.get("/console/")
    assert AccountSession.objects.values_list("seen_at", flat=True).get() == before


# Settings


def test_the_language_of_the_account_is_spoken_in_every_browser(administrator: Account) -> None:
    client = signed_in(administrator)
    assert client.post("/account/settings/", {"language": "en"}).status_code == 303
    elsewhere = browser("nl")
    enrol_totp(administrator, SECRET)
    give_password(elsewhere, administrator.email)
    give_code(elsewhere)
    assert '<html lang="en"' in elsewhere.get(PAGE).content.decode()
    assert client.post("/account/settings/", {"language": "xx"}).status_code == 422


def test_reminders_are_wanted_until_one_says_otherwise(administrator: Account) -> None:
    client = signed_in(administrator)
    assert 'name="wants_reminders"' in (page := client.get("/account/settings/").content.decode())
    assert "checked" in page[page.index('name="wants_reminders"') :][:120]
    client.post("/account/settings/", {"language": "nl"})
    administrator.refresh_from_db()
    assert not administrator.wants_reminders
    client.post("/account/settings/", {"language": "nl", "wants_reminders": "on"})
    administrator.refresh_from_db()
    assert administrator.wants_reminders


def test_the_name_of_an_organisations_account_is_not_ones_own_to_change(administrator: Account) -> None:
    client = signed_in(administrator)
    client.post("/account/settings/", {"language": "nl", "display_name": "De directeur"})
    administrator.refresh_from_db()
    assert administrator.display_name == ""


@pytest.mark.parametrize("name", ["baas@voorbeeld.test", 'De "baas"', "De <baas>", "De\u202ebaas", "x" * 81])
def test_a_guests_name_is_no_address_and_no_trick(db: None, name: str) -> None:
    account = Account.objects.create_user("gast@example.org", "an umbrella on the roof")
    enrol_totp(account, SECRET)
    client = signed_in(account)
    assert client.post("/account/settings/", {"language": "nl", "display_name": name}).status_code == 422
    assert client.post("/account/settings/", {"language": "nl", "display_name": " Gast  Groen "}).status_code == 303
    account.refresh_from_db()
    assert account.display_name == "Gast Groen"
