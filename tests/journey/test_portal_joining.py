"""A guest makes an account, somebody forgot a password: what nobody learns, and what proof of a mailbox never does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from django.contrib.sessions.models import Session
from django.test import Client

from tests.journey.delivery_ground import PHONE, Post, a_post, link_in, parsed, words
from tests.journey.portal_ground import PASSWORD, TOTP, Clock, Visitor, dump, signed_in
from tests.journey.portal_ground import words as page_words
from zegel.accounts.models import Account, MailboxProof, Organisation, SendingDomain
from zegel.accounts.sign_in import current_totp, enrol_totp, has_second_factor
from zegel.core.secret import Secret
from zegel.journey.custody.models import PassedMethod, Recipient, Transmission

pytestmark = pytest.mark.django_db(transaction=True)

GUEST: Final = "gast@open.test"
STRANGER: Final = "niemand@elders.test"
NEW: Final = "een heel andere zin dan eerst"
BY_SMS: Final = ("zivver-access-right", f"{GUEST} sms {PHONE}")


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    """A guest who was sent something, and a server that takes the guest's mail."""
    with a_post(tmp_path, clock) as found:
        found.guest_mx = found.proven("open.test")  # type: ignore[attr-defined]
        found.submit(GUEST)
        found.settle()
        yield found


def browser() -> Client:
    return Client(HTTP_HOST="localhost", HTTP_ACCEPT_LANGUAGE="en")


def mails(post: Post) -> list[EmailMessage]:
    """To the guest, without notifications."""
    found = [parsed(one) for one in post.guest_mx.messages()]  # type: ignore[attr-defined]
    return [one for one in found if "X-Zegel-Conversation" not in one]


def code_in(post: Post) -> str:
    found = re.search(r"\b[A-Z0-9]{4}-[A-Z0-9]{4}\b", words(mails(post)[-1]))
    assert found is not None
    return found[0]


def prove(post: Post, client: Client, where: str, address: str = GUEST) -> Any:
    """From the address to the right code."""
    assert client.post(f"/{where}/", {"email": address}).status_code == 303
    post.settle()
    return client.post(f"/{where}/code", {"code": code_in(post)})


def finish(client: Client, password: str = NEW) -> None:
    """Password and second factor; the shown recovery codes come with it."""
    done = client.post("/join/password", {"password1": password, "password2": password})
    assert done["Location"] == "/account/security/totp/activate/", done
    page = client.get("/account/security/totp/activate/")
    secret = re.search(r'id="authenticator_secret">(\w+)<', page.content.decode())
    assert secret is not None
    done = client.post("/account/security/totp/activate/", {"code": current_totp(Secret(secret[1]))})
    assert done["Location"] == "/account/security/recovery-codes/"
    assert len(re.findall(r"<li>\w+</li>", client.get(done["Location"]).content.decode())) == 10


def join(post: Post) -> Client:
    client = browser()
    assert prove(post, client, "join")["Location"] == "/join/password"
    finish(client)
    return client


def plain(response: Any) -> str:
    body = re.sub(r'name="csrfmiddlewaretoken" value="[^"]+"', "", response.content.decode())
    return re.sub(r"[\w.]+@[\w.]+", "ADDRESS", body)


# Nobody learns who is known


@pytest.mark.parametrize("where", ["join", "forgotten"])
def test_every_address_gets_the_same_answers(post: Post, where: str) -> None:
    enrol_totp(Account.objects.create_user("houder@open.test", PASSWORD), TOTP)
    Account.objects.create_user("geschorst@open.test", PASSWORD, is_active=False)
    Account.objects.create_user("nieuw@voorbeeld.test", PASSWORD, organisation=post.ground.organisation)
    addresses = [GUEST, STRANGER, "houder@open.test", "geschorst@open.test", "nieuw@voorbeeld.test"]
    seen = set()
    for address in addresses:
        client = browser()
        asked = client.post(f"/{where}/", {"email": address})
        page = client.get(asked["Location"])
        wrong = client.post(asked["Location"], {"code": "ABCD-2345"})
        seen.add(
            (
                asked.status_code,
                asked["Location"],
                tuple(sorted(asked.headers)),
                page.status_code,
                plain(page),
                wrong.status_code,
                plain(wrong),
            )
        )
    assert len(seen) == 1
    assert len({tuple(row) for row in MailboxProof.objects.values_list("purpose", "language", "code", "told")}) == 1
    assert not Transmission.objects.exclude(kind="notification").exists(), "nothing is looked up while somebody waits"


def test_nobody_makes_the_gateway_write_to_strangers(post: Post) -> None:
    for where in ("join", "forgotten"):
        browser().post(f"/{where}/", {"email": STRANGER})
    post.settle()
    assert not Transmission.objects.filter(address=STRANGER).exists()


@pytest.mark.parametrize(
    ("where", "address", "told"),
    [
        ("join", "houder@open.test", "You have an account already"),
        ("join", "begonnen@open.test", "Your code to make an account"),
        ("forgotten", "begonnen@open.test", "There is no account for this address"),
        ("forgotten", GUEST, "There is no account for this address"),
        ("forgotten", "houder@open.test", "Your code for a new password"),
    ],
)
def test_the_mailbox_hears_what_the_page_may_not_say(post: Post, where: str, address: str, told: str) -> None:
    for one in ("houder@open.test", "begonnen@open.test"):
        post.submit(one)
    post.settle()
    enrol_totp(Account.objects.create_user("houder@open.test", PASSWORD), TOTP)
    Account.objects.create_user("begonnen@open.test", PASSWORD)
    browser().post(f"/{where}/", {"email": address})
    post.settle()
    (mail,) = mails(post)
    assert mail["Subject"] == told and mail["To"] == address and mail["From"].addresses[0].addr_spec
    assert ("Your code" in words(mail)) == ("Your code" in told)


def test_the_administrator_makes_and_mends_accounts_of_an_organisation(post: Post) -> None:
    SendingDomain.objects.create(
        organisation=Organisation.objects.create(name="Ander ziekenhuis"),
        name="open.test",
        ownership_token="t",
        dkim_key=b"",
        dkim_record="",
        in_place=True,
    )
    browser().post("/join/", {"email": GUEST})
    post.settle()
    assert mails(post)[-1]["Subject"] == "Your administrator looks after this account"
    assert not Account.objects.filter(email=GUEST).exists()


def test_a_mailbox_is_not_flooded_and_a_network_asks_no_more_than_twenty_times(post: Post, clock: Clock) -> None:
    answers = [browser().post("/join/", {"email": GUEST}).status_code for _ in range(22)]
    assert answers == [303] * 20 + [429] * 2
    post.settle()
    assert len(mails(post)) == 3
    clock.forward(hours=2)
    assert browser().post("/join/", {"email": STRANGER}).status_code == 303


@pytest.mark.parametrize("written", ["", "geen adres", "x" * 300, "a@b@c", "<script>@example.org"])
def test_what_is_no_address_is_told_so(post: Post, written: str) -> None:
    assert browser().post("/join/", {"email": written}).status_code == 422
    assert not MailboxProof.objects.exists()


def test_looking_changes_nothing(post: Post) -> None:
    before = dump()
    for path in ("/join/", "/join/code", "/join/password", "/forgotten/", "/forgotten/code", "/forgotten/second"):
        assert browser().get(path).status_code in (200, 303)
    assert browser().get("/account/password/forgotten/")["Location"] == "/forgotten/"
    assert dump() == before


def test_a_stranger_does_not_keep_the_owner_of_a_mailbox_from_a_code(post: Post, clock: Clock) -> None:
    join(post)
    stranger, owner = Client(HTTP_HOST="localhost", REMOTE_ADDR="198.51.100.66"), Client(HTTP_HOST="localhost")
    for _ in range(80):  # more than a day
        stranger.post("/forgotten/", {"email": GUEST})
        clock.forward(minutes=20)
        post.settle()
    before = len(mails(post))
    for number in (1, 2):
        owner.post("/forgotten/", {"email": GUEST})
        post.settle()
        assert len(mails(post)) == before + number


def test_behind_a_proxy_one_visitor_does_not_use_up_what_others_may_ask(post: Post) -> None:
    def answer(visitor: str) -> int:
        client = Client(HTTP_HOST="localhost", REMOTE_ADDR="127.0.0.1", HTTP_X_FORWARDED_FOR=visitor)
        return client.post("/join/", {"email": STRANGER}).status_code

    assert [answer("203.0.113.9") for _ in range(21)] == [303] * 20 + [429]
    assert answer("198.51.100.1, 203.0.113.9") == 429
    assert answer("203.0.113.9, 198.51.100.7") == 303


def test_a_browser_that_signed_in_gets_a_code_however_many_networks_ask(post: Post, clock: Clock) -> None:
    owner = join(post)
    owner.get("/inbox/")
    owner.post("/account/sign-out/")
    clock.forward(hours=25)
    for number in range(40):
        Client(HTTP_HOST="localhost", REMOTE_ADDR=f"198.51.100.{number}").post("/forgotten/", {"email": GUEST})
        clock.forward(minutes=10)
        post.settle()
    before = len(mails(post))
    stranger = Client(HTTP_HOST="localhost", REMOTE_ADDR="198.51.100.99")
    stranger.post("/forgotten/", {"email": GUEST})
    post.settle()
    assert len(mails(post)) == before, "a mailbox is not flooded"
    owner.post("/forgotten/", {"email": GUEST})
    post.settle()
    assert len(mails(post)) == before + 1


# The spelling of an address


@pytest.mark.parametrize("typed", ["\u212aarl@open.test", "\u212aARL@OPEN.test"])
@pytest.mark.parametrize("where", ["join", "forgotten"])
def test_another_mailbox_that_looks_the_same_gets_no_mail(post: Post, where: str, typed: str) -> None:
    post.submit("karl@open.test")
    post.settle()
    if where == "forgotten":
        enrol_totp(Account.objects.create_user("karl@open.test", PASSWORD), TOTP)
    browser().post(f"/{where}/", {"email": typed})
    post.settle()
    assert not Transmission.objects.filter(kind__in=("code", "notice")).exists()


@pytest.mark.parametrize(
    ("where", "on_record", "typed"),
    [
        ("join", "rene\u0301e@open.test", "RENÉE@open.test"),
        ("join", "Gast.Twee@open.test", "gast.twee@OPEN.test"),
        ("forgotten", "Houder@open.test", "hOUDER@open.test"),
    ],
)
def test_only_what_is_on_record_is_mailed_and_the_page_shows_what_was_typed(
    post: Post, where: str, on_record: str, typed: str
) -> None:
    if where == "forgotten":
        enrol_totp(Account.objects.create_user(on_record, PASSWORD), TOTP)
    post.submit(on_record)
    post.settle()
    client = browser()
    client.post(f"/{where}/", {"email": typed})
    before = client.get(f"/{where}/code").content
    post.settle()
    (sent,) = Transmission.objects.filter(kind="code")
    assert sent.address == on_record
    assert MailboxProof.objects.get().mailed_to == on_record
    after = client.get(f"/{where}/code").content
    assert typed.rpartition("@")[0] in before.decode()
    assert plain_octets(before) == plain_octets(after), "whether there was a mail can't be seen"


def plain_octets(body: bytes) -> bytes:
    return re.sub(rb'name="csrfmiddlewaretoken" value="[^"]+"', b"", body)


def test_an_account_is_made_with_the_address_that_was_proven(post: Post) -> None:
    client = browser()
    assert prove(post, client, "join", GUEST.upper())["Location"] == "/join/password"
    finish(client)
    assert [one.email for one in Account.objects.filter(organisation=None)] == [GUEST]


def test_the_newest_spelling_that_was_written_to_is_the_one(post: Post, clock: Clock) -> None:
    clock.forward(minutes=5)
    post.submit("Gast@open.test", message_id="<tweede@voorbeeld.test>")
    post.settle()
    browser().post("/join/", {"email": GUEST})
    post.settle()
    assert Transmission.objects.get(kind="code").address == "Gast@open.test"


# The code


def test_the_code_is_good_in_the_session_that_asked_and_nowhere_else(post: Post) -> None:
    mine, other = browser(), browser()
    mine.post("/join/", {"email": GUEST})
    post.settle()
    code = code_in(post)
    assert other.post("/join/code", {"code": code})["Location"] == "/join/"
    other.post("/join/", {"email": GUEST})
    assert other.post("/join/code", {"code": code}).status_code == 422
    assert other.get("/join/password")["Location"] == "/join/"
    assert mine.post("/join/code", {"code": code.lower().replace("-", " ")})["Location"] == "/join/password"


def test_a_code_for_one_purpose_serves_no_other(post: Post) -> None:
    client = browser()
    client.post("/join/", {"email": GUEST})
    post.settle()
    assert client.post("/forgotten/code", {"code": code_in(post)})["Location"] == "/forgotten/"
    assert prove(post, client, "join")["Location"] == "/join/password"
    for page in ("/forgotten/second", "/forgotten/password"):
        assert client.get(page)["Location"] == "/forgotten/"


def test_after_five_wrong_tries_the_right_code_is_refused(post: Post) -> None:
    client = browser()
    client.post("/join/", {"email": GUEST})
    post.settle()
    code = code_in(post)
    for _ in range(5):
        assert client.post("/join/code", {"code": "ABCD-2345"}).status_code == 422
    assert client.post("/join/code", {"code": code}).status_code == 422
    assert client.get("/join/password")["Location"] == "/join/"


@pytest.mark.parametrize("after", [timedelta(minutes=30), -timedelta(hours=1)])
def test_a_code_does_not_last_and_a_clock_set_back_does_not_revive_it(
    post: Post, clock: Clock, after: timedelta
) -> None:
    client = browser()
    client.post("/join/", {"email": GUEST})
    post.settle()
    clock.at += after
    assert client.post("/join/code", {"code": code_in(post)}).status_code == 422


def test_what_was_proven_is_used_once_and_soon(post: Post, clock: Clock) -> None:
    client = browser()
    prove(post, client, "join")
    clock.forward(minutes=31)
    assert client.get("/join/password")["Location"] == "/join/"
    client = join(post)
    client.post("/account/sign-out/")
    assert client.get("/join/password")["Location"] == "/join/"


def test_neither_code_nor_address_stands_where_it_should_not(post: Post) -> None:
    client = browser()
    client.post("/join/", {"email": GUEST})
    post.settle()
    code = code_in(post)
    assert not any(code in row for row in dump())
    assert not any(code in str(event) or GUEST in str(event) for event in post.logged)


# A new account


@pytest.mark.parametrize(
    "given", [("kort", "kort"), ("telechargement", "telechargement"), (NEW, f"{NEW}!"), (GUEST, GUEST), ("", "")]
)
def test_a_weak_password_makes_no_account(post: Post, given: tuple[str, str]) -> None:
    client = browser()
    prove(post, client, "join")
    answer = client.post("/join/password", {"password1": given[0], "password2": given[1]})
    assert answer.status_code == 422 and not Account.objects.filter(email=GUEST).exists()


def test_an_account_reads_nothing_before_it_has_a_second_factor(post: Post) -> None:
    client = browser()
    prove(post, client, "join")
    client.post("/join/password", {"password1": NEW, "password2": NEW})
    account = Account.objects.get(email=GUEST)
    assert account.organisation is None and not has_second_factor(account) and account.role == "sender"
    for path in ("/inbox/", "/", "/account/security/", "/account/password/"):
        assert client.get(path)["Location"] == "/account/security/totp/activate/"
    post.submit(GUEST, message_id="<tweede@voorbeeld.test>")
    post.settle()
    assert Recipient.objects.order_by("-id").first().method == "email"  # type: ignore[union-attr]


def test_a_finished_account_is_told_to_sign_in_and_reads_what_comes(post: Post) -> None:
    client = join(post)
    post.submit(GUEST, message_id="<tweede@voorbeeld.test>")
    post.settle()
    newest = Recipient.objects.order_by("-id").first()
    assert newest is not None and newest.method == "account"
    assert "Merkteken7f3a" in page_words(client.get(f"/inbox/{newest.conversation_id}/"))
    assert client.get("/console/").status_code in (403, 404)
    assert client.get("/inbox/recipients/").status_code == 404


def test_who_begins_again_takes_nothing_of_an_unfinished_account_along(post: Post) -> None:
    first = browser()
    prove(post, first, "join")
    first.post("/join/password", {"password1": PASSWORD, "password2": PASSWORD})
    second = browser()
    assert prove(post, second, "join")["Location"] == "/join/password"
    finish(second)
    assert Account.objects.filter(email=GUEST).count() == 1
    assert first.get("/account/security/totp/activate/")["Location"].startswith("/account/sign-in/")
    assert not Account.objects.get(email=GUEST).check_password(PASSWORD)


def test_a_second_registration_does_not_replace_a_finished_account(post: Post) -> None:
    late = browser()
    prove(post, late, "join")
    join(post)
    assert late.post("/join/password", {"password1": PASSWORD, "password2": PASSWORD})["Location"] == "/join/"
    assert Account.objects.get(email=GUEST).check_password(NEW)
    assert Authenticator.objects.filter(user__email=GUEST, type="totp").count() == 1


# D-9


def test_it_opens_nothing_from_before_without_the_method_of_then(post: Post) -> None:
    post.submit(GUEST, fields=[BY_SMS], message_id="<sms@voorbeeld.test>")
    post.settle()
    client = join(post)
    listed = page_words(client.get("/inbox/"))
    assert "Merkteken7f3a" not in listed
    for recipient in Recipient.objects.all():
        assert client.get(f"/inbox/{recipient.conversation_id}/").status_code == 404


def test_an_account_made_anew_opens_nothing_of_the_one_before(post: Post, clock: Clock) -> None:
    join(post)
    post.submit(GUEST, message_id="<tweede@voorbeeld.test>")
    post.settle()
    old = Recipient.objects.get(method="account")
    Account.objects.filter(email=GUEST).delete()
    clock.forward(hours=2)
    client = join(post)
    assert client.get(f"/inbox/{old.conversation_id}/").status_code == 404
    assert "Merkteken7f3a" not in page_words(client.get("/inbox/"))


def test_it_replaces_a_specified_method_once_that_was_passed_and_for_that_number_alone(post: Post) -> None:
    client = join(post)

    def sent(number: str, identity: str) -> Recipient:
        post.submit(GUEST, fields=[("zivver-access-right", f"{GUEST} sms {number}")], message_id=identity)
        post.settle()
        found = Recipient.objects.order_by("-id").first()
        assert found is not None
        return found

    first = sent(PHONE, "<a@voorbeeld.test>")
    assert first.method == "sms"
    visitor = Visitor(post.ground, client)
    visitor.open(first, link_in(post.guest_mx.messages()[-1]))  # type: ignore[attr-defined]
    assert visitor.read(first).status_code == 200
    assert PassedMethod.objects.get().organisation == post.ground.organisation
    assert not any(PHONE in row for row in dump())
    assert sent(PHONE, "<b@voorbeeld.test>").method == "account"
    assert sent("+31687654321", "<c@voorbeeld.test>").method == "sms"


def test_who_passes_it_without_being_signed_in_proves_nothing_for_the_account(post: Post) -> None:
    join(post)
    post.submit(GUEST, fields=[BY_SMS], message_id="<a@voorbeeld.test>")
    post.settle()
    first = Recipient.objects.get(method="sms")
    visitor = Visitor(post.ground, browser())
    visitor.open(first, link_in(post.guest_mx.messages()[-1]))  # type: ignore[attr-defined]
    assert visitor.read(first).status_code == 200
    assert not PassedMethod.objects.exists()
    post.submit(GUEST, message_id="<b@voorbeeld.test>")
    post.settle()
    assert Recipient.objects.order_by("-id").first().method == "sms"  # type: ignore[union-attr]


def test_another_account_in_the_same_browser_proves_nothing(post: Post) -> None:
    client = signed_in(Account.objects.create_user("ander@open.test", PASSWORD))
    post.submit(GUEST, fields=[BY_SMS], message_id="<a@voorbeeld.test>")
    post.settle()
    recipient = Recipient.objects.get(method="sms")
    visitor = Visitor(post.ground, client)
    visitor.open(recipient, link_in(post.guest_mx.messages()[-1]))  # type: ignore[attr-defined]
    assert visitor.read(recipient).status_code == 200
    assert not PassedMethod.objects.exists()


# A forgotten password


@pytest.fixture
def holder(post: Post) -> Account:
    account = Account.objects.create_user(GUEST, PASSWORD)
    enrol_totp(account, TOTP)
    return account


def test_the_mailbox_alone_never_gets_another_password(post: Post, holder: Account) -> None:
    client = browser()
    assert prove(post, client, "forgotten")["Location"] == "/forgotten/second"
    assert client.post("/forgotten/password", {"password1": NEW, "password2": NEW})["Location"] == "/forgotten/second"
    wrong = f"{(int(current_totp(TOTP)) + 1) % 1_000_000:06}"
    assert client.post("/forgotten/second", {"code": wrong}).status_code == 422
    assert client.get("/forgotten/password")["Location"] == "/forgotten/second"
    holder.refresh_from_db()
    assert holder.check_password(PASSWORD) and has_second_factor(holder)


def test_tries_for_the_second_factor_are_counted_like_at_the_door(post: Post, holder: Account) -> None:
    client = browser()
    prove(post, client, "forgotten")
    answers = [client.post("/forgotten/second", {"code": "000000"}).status_code for _ in range(7)]
    assert answers[:5] == [422] * 5 and set(answers[5:]) == {429}
    assert client.post("/forgotten/second", {"code": current_totp(TOTP)}).status_code == 429


def test_with_mailbox_and_second_factor_the_password_is_changed_and_all_sessions_end(
    post: Post, holder: Account
) -> None:
    elsewhere = signed_in(holder)
    codes = RecoveryCodes(Authenticator.objects.get(user=holder, type="recovery_codes")).get_unused_codes()
    client = browser()
    prove(post, client, "forgotten")
    assert client.post("/forgotten/second", {"code": codes[0]})["Location"] == "/forgotten/password"
    done = client.post("/forgotten/password", {"password1": NEW, "password2": NEW})
    assert done["Location"] == "/account/sign-in/"
    assert "Your password was changed" in page_words(client.get(done["Location"]))
    assert elsewhere.get("/inbox/")["Location"].startswith("/account/sign-in/")
    holder.refresh_from_db()
    assert holder.check_password(NEW) and has_second_factor(holder)
    post.settle()
    assert mails(post)[-1]["Subject"] == "Your password was changed"
    fresh = browser()
    fresh.post("/account/sign-in/", {"login": GUEST, "password": NEW})
    assert fresh.get("/inbox/")["Location"].startswith("/account/sign-in/"), "the second step is still asked"
    assert client.post("/forgotten/password", {"password1": PASSWORD, "password2": PASSWORD}).status_code == 303
    holder.refresh_from_db()
    assert holder.check_password(NEW), "a proof is used once"


def test_that_the_password_was_changed_is_told_however_many_mails_went_before(
    post: Post, clock: Clock, holder: Account
) -> None:
    client = browser()
    for _ in range(2):
        client.post("/forgotten/", {"email": GUEST})
        post.settle()
    assert prove(post, client, "forgotten")["Location"] == "/forgotten/second"
    client.post("/forgotten/second", {"code": current_totp(TOTP)})
    assert client.post("/forgotten/password", {"password1": NEW, "password2": NEW}).status_code == 303
    post.settle()
    assert [one["Subject"] for one in mails(post)] == ["Your code for a new password"] * 3 + [
        "Your password was changed"
    ]


def test_who_began_to_sign_in_with_the_old_password_is_not_let_in_after_a_new_one(post: Post, holder: Account) -> None:
    thief = browser()
    begun = thief.post("/account/sign-in/", {"login": GUEST, "password": PASSWORD})
    assert begun["Location"] == "/account/security/authenticate/"
    codes = RecoveryCodes(Authenticator.objects.get(user=holder, type="recovery_codes")).get_unused_codes()
    client = browser()
    prove(post, client, "forgotten")
    client.post("/forgotten/second", {"code": codes[0]})
    assert client.post("/forgotten/password", {"password1": NEW, "password2": NEW}).status_code == 303
    ended = thief.post("/account/security/authenticate/", {"code": current_totp(TOTP)})
    assert ended["Location"] == "/account/sign-in/"
    assert thief.get("/inbox/")["Location"].startswith("/account/sign-in/")
    again = thief.post("/account/security/authenticate/", {"code": codes[1]})
    assert again["Location"].startswith("/account/sign-in/"), "nothing of it is left"


def test_a_password_of_the_administrators_without_a_second_factor_is_not_won_with_the_mailbox(post: Post) -> None:
    account = Account.objects.create_user(GUEST, PASSWORD, organisation=post.ground.organisation)
    client = browser()
    client.post("/forgotten/", {"email": GUEST})
    post.settle()
    assert mails(post)[-1]["Subject"] == "Your administrator looks after this account"
    assert client.get("/forgotten/second")["Location"] == "/forgotten/"
    account.refresh_from_db()
    assert account.check_password(PASSWORD)


def test_sessions_in_the_database_show_no_address(post: Post) -> None:
    client = browser()
    client.post("/join/", {"email": GUEST})
    assert not any(GUEST in row.session_data for row in Session.objects.all())
