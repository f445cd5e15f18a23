"""Who was invited: a link in a mail, a password, a second factor. What a link never does, first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client

from tests.journey.delivery_ground import Post, a_post, parsed, words
from tests.journey.portal_ground import PASSWORD, TOTP, Clock, dump, signed_in
from tests.journey.portal_ground import words as page_words
from zegel.accounts import people
from zegel.accounts.models import Account, AuditEntry, IdentityProvider, MailboxProof
from zegel.accounts.people import Refused
from zegel.accounts.sign_in import current_totp, enrol_totp, has_second_factor
from zegel.core.mail.address import Mailbox
from zegel.core.policy.people import Objection
from zegel.core.policy.roles import Role
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.journey.custody.models import Transmission
from zegel.journey.portal import inviting

pytestmark = pytest.mark.django_db(transaction=True)

NEW: Final = "nieuw@voorbeeld.test"
CHOSEN: Final = "een heel andere zin dan eerst"


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    """An organisation whose own mail server takes mail."""
    with a_post(tmp_path, clock) as found:
        yield found


def invite(post: Post, address: str = NEW, **fields: Any) -> Account:
    wanted: dict[str, Any] = {"role": Role.SUPPORT, "display_name": "Nieuw", "language": "en", "by": None, **fields}
    account = inviting.invite(post.ground.organisation, Mailbox.parse(address), now=post.clock(), **wanted)
    post.settle()
    return account


def browser() -> Client:
    return Client(HTTP_HOST="localhost", HTTP_ACCEPT_LANGUAGE="en")


def mails(post: Post) -> list[EmailMessage]:
    return [parsed(one) for one in post.home.messages()]


def link_in(post: Post, which: int = -1) -> str:
    found = re.search(r"https?://[^/\s]+(/join/invited/[\w-]+)", words(mails(post)[which]))
    assert found is not None, words(mails(post)[which])
    return found[1]


def choose(client: Client, password: str = CHOSEN) -> Any:
    return client.post("/join/invited/", {"password1": password, "password2": password})


def is_over(response: Any) -> bool:
    return response.status_code == 404 and "This invitation can’t be used" in page_words(response)


# What a link never does


def test_an_invitation_is_no_way_round_the_organisations_own_sign_in(post: Post) -> None:
    account = invite(post)
    client = browser()
    client.get(link_in(post))
    IdentityProvider.objects.create(
        id=chance.identifier(), organisation=post.ground.organisation, kind="oidc", name="Staff", issuer="x",
        domains=["voorbeeld.test"], is_required=True, described_at=post.clock(), created_at=post.clock(),
    )  # fmt: skip
    for answer in (client.get("/join/invited/"), choose(client)):
        assert answer["Location"] == "/account/organisation/"
    account.refresh_from_db()
    assert not account.has_usable_password() and "_auth_user_id" not in client.session
    assert "has its people sign in here" in page_words(client.get("/account/organisation/"))
    Account.objects.filter(pk=account.pk).update(role="owner")  # as a way back
    assert choose(client)["Location"] == "/account/security/totp/activate/"


def test_following_the_link_changes_nothing_and_shows_its_secret_nowhere(post: Post) -> None:
    invite(post)
    link, client = link_in(post), browser()
    before = dump()
    for _ in range(2):
        arrived = client.get(link)
        assert arrived["Location"] == "/join/invited/" and arrived["Referrer-Policy"] == "no-referrer"
    dead = client.get(link[:-4] + "AAAA")
    assert dead.status_code == 404 and dead["Referrer-Policy"] == "strict-origin", "its page has a form"
    page = client.get("/join/invited/")
    assert "Voorbeeldziekenhuis made an account for nieuw@voorbeeld.test" in page_words(page)
    secret = link.rpartition("/")[2]
    assert secret not in page.content.decode() and secret[22:] not in str(client.cookies)
    assert dump() == before
    assert secret[22:] not in str(before), "only a MAC of it is kept"


def test_a_link_that_is_not_one_opens_nothing(post: Post) -> None:
    invite(post)
    link = link_in(post)
    other = link[:-1] + ("A" if link[-1] != "A" else "B")
    for wrong in (other, link[:-1], link + "x", "/join/invited/x", "/join/invited/" + "é" * 40):
        client = browser()
        if wrong != other:  # the last two bits of a character may not count
            assert is_over(client.get(wrong)), wrong
        assert is_over(client.get("/join/invited/"))
        assert is_over(choose(client))
    assert not Account.objects.get(email=NEW).has_usable_password()


def test_it_works_once(post: Post) -> None:
    invite(post)
    first, second = browser(), browser()
    for client in (first, second):
        client.get(link_in(post))
    assert choose(first)["Location"] == "/account/security/totp/activate/"
    assert is_over(choose(second, "nog een heel andere zin")) and is_over(browser().get(link_in(post)))
    assert Account.objects.get(email=NEW).check_password(CHOSEN)


def test_it_ends_after_seven_days_and_with_a_newer_one(post: Post, clock: Clock) -> None:
    account = invite(post)
    older, client = link_in(post), browser()
    client.get(older)
    clock.forward(days=3)
    inviting.invite_again(account, by=None, now=clock())
    assert is_over(choose(client)) and is_over(browser().get(older)), "also before the newer mail went out"
    post.settle()
    newer = link_in(post)
    clock.forward(days=6, hours=23)
    post.settle()
    assert browser().get(newer).status_code == 303
    clock.forward(hours=2)
    assert is_over(browser().get(newer))


@pytest.mark.parametrize("change", ["suspended", "left", "has a second factor", "functional"])
def test_it_ends_with_what_it_was_for(post: Post, change: str) -> None:
    account = invite(post)
    client = browser()
    client.get(link_in(post))
    rows = Account.objects.filter(pk=account.pk)
    match change:
        case "suspended":
            people.suspend(account, by=None, now=post.clock())
            people.resume(account, by=None)
        case "left":
            rows.update(organisation=None)
        case "functional":
            rows.update(is_functional=True)
        case _:
            enrol_totp(account, TOTP)
    assert is_over(choose(client)) and is_over(browser().get(link_in(post)))
    assert not Account.objects.get(pk=account.pk).has_usable_password()


def test_no_mail_goes_out_for_one_that_ended_before(post: Post) -> None:
    account = inviting.invite(
        post.ground.organisation, Mailbox.parse(NEW), role=Role.SENDER, display_name="", language="", by=None,
        now=post.clock(),
    )  # fmt: skip
    people.suspend(account, by=None, now=post.clock())
    post.settle()
    assert mails(post) == [] and not Transmission.objects.exists()


def test_a_mailbox_is_not_flooded_by_an_administrator(post: Post, clock: Clock) -> None:
    account = invite(post)
    for _ in range(4):
        inviting.invite_again(account, by=None, now=clock())
    with pytest.raises(Refused) as refused:
        inviting.invite_again(account, by=None, now=clock())
    assert refused.value.why is Objection.TOO_OFTEN
    clock.forward(hours=2)
    inviting.invite_again(account, by=None, now=clock())


def test_strangers_who_ask_for_codes_do_not_stand_in_the_way(post: Post) -> None:
    for number in range(8):
        Client(HTTP_HOST="localhost", REMOTE_ADDR=f"198.51.100.{number}").post("/forgotten/", {"email": NEW})
    post.settle()
    invite(post)
    assert link_in(post)


# What it is for


def test_the_invited_chooses_a_password_and_a_second_factor_and_is_in(post: Post) -> None:
    account = invite(post)
    (mail,) = mails(post)
    assert (mail["Subject"], mail["To"]) == ("Your account at Voorbeeldziekenhuis", NEW)
    client = browser()
    client.get(link_in(post))
    assert choose(client, "kort").status_code == 422
    assert choose(client)["Location"] == "/account/security/totp/activate/"
    assert client.get("/console/")["Location"] == "/account/security/totp/activate/", "nothing before the second factor"
    page = client.get("/account/security/totp/activate/")
    secret = re.search(r'id="authenticator_secret">(\w+)<', page.content.decode())
    assert secret is not None
    client.post("/account/security/totp/activate/", {"code": current_totp(Secret(secret[1]))})
    assert client.get("/console/").status_code == 200
    account.refresh_from_db()
    assert has_second_factor(account) and account.role == "support"
    acts = AuditEntry.objects.filter(about=NEW).order_by("number").values_list("act", flat=True)
    assert list(acts)[:3] == ["account-added", "invited", "password-changed"]


def test_who_lost_everything_gets_a_new_way_in_and_the_old_ones_are_shut(post: Post) -> None:
    account = post.ground.account("kwijt@voorbeeld.test")
    account.set_password(PASSWORD)
    account.save()
    lost = signed_in(account)
    assert lost.get("/inbox/").status_code == 200
    inviting.reset(account, by=None, now=post.clock())
    assert lost.get("/inbox/").status_code == 302, "it is signed out"
    account.refresh_from_db()
    assert not account.check_password(PASSWORD) and not Authenticator.objects.filter(user=account).exists()
    post.settle()
    client = browser()
    client.get(link_in(post))
    assert choose(client)["Location"] == "/account/security/totp/activate/"
    assert Account.objects.get(pk=account.pk).check_password(CHOSEN)


def test_what_can_not_be_used_any_more_is_forgotten_and_what_can_is_not(post: Post, clock: Clock) -> None:
    invite(post)
    browser().post("/join/", {"email": "gast@open.test"})
    clock.forward(days=6)
    invite(post, "ander@voorbeeld.test")
    assert set(MailboxProof.objects.values_list("purpose", flat=True)) == {"invited"}
    assert MailboxProof.objects.count() == 2
    clock.forward(days=3)
    invite(post, "derde@voorbeeld.test")
    assert set(MailboxProof.objects.values_list("key", flat=True)) == {"ander@voorbeeld.test", "derde@voorbeeld.test"}
