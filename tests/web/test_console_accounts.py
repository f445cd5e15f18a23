"""The administrator's pages about accounts: what can't be done to whom, what another organisation never shows, and what
becomes of an account."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from allauth.mfa.models import Authenticator
from django.db import close_old_connections, connection
from django.test import Client
from django.utils import timezone

from tests.journey.delivery_ground import Post, a_post
from tests.journey.portal_ground import MARKER, Clock, Ground, mail
from tests.journey.portal_ground import signed_in as portal_visitor
from tests.web.conftest import PASSWORD, SECRET, browser, give_password, signed_in
from tests.web.test_console_submission import strip, text
from zegel.accounts import mailboxes, people, tokens
from zegel.accounts.models import (
    Account,
    ApiToken,
    AuditEntry,
    MailboxProof,
    MailboxReader,
    Organisation,
    SendingDomain,
)
from zegel.accounts.people import Refused
from zegel.accounts.sign_in import enrol_totp
from zegel.accounts.tokens import Scope
from zegel.console import people as pages
from zegel.core.mail.address import Mailbox
from zegel.core.policy.people import Objection
from zegel.core.policy.roles import Role
from zegel.core.secret import Secret
from zegel.edge.keyring import opening_keys
from zegel.journey.arrival import sender
from zegel.journey.arrival.sender import NO_ACCOUNT, Sender, Submitter
from zegel.journey.custody.models import Job
from zegel.journey.portal import inviting
from zegel.web.settings import ZEGEL

LIST: Final = "/console/accounts/"
SEARCH: Final = "/console/accounts/search/"
INVITE: Final = "/console/accounts/invite/"
MAILBOX: Final = "/console/accounts/mailbox/"
DOMAIN: Final = "voorbeeld.test"
COLLEAGUE: Final = f"collega@{DOMAIN}"


@pytest.fixture
def organisation(organisation: Organisation) -> Organisation:
    """With a domain in place, and one that isn't."""
    for name, in_place in ((DOMAIN, True), ("later.test", False)):
        SendingDomain.objects.create(
            organisation=organisation, name=name, ownership_token="t", dkim_key=b"", dkim_record="", in_place=in_place
        )
    return organisation


@pytest.fixture
def client(administrator: Account) -> Client:
    """An owner's browser."""
    return signed_in(administrator, "en")


@pytest.fixture
def colleague(organisation: Organisation) -> Account:
    account = Account.objects.create_user(COLLEAGUE, PASSWORD, organisation=organisation, display_name="Collega")
    enrol_totp(account, SECRET)
    return account


def person(organisation: Organisation, address: str, role: str = "sender", **fields: Any) -> Account:
    account = Account.objects.create_user(address, PASSWORD, organisation=organisation, role=role, **fields)
    enrol_totp(account, SECRET)
    return account


def page_of(account: Account, action: str = "") -> str:
    return f"{LIST}{account.pk}/{action}"


def hidden(client: Client, address: str) -> dict[str, str]:
    """What the form on the page that asks carries along."""
    body = client.get(address).content.decode()
    return dict(re.findall(r'<input type="hidden" name="(version|confirmed|address|role)" value="([^"]*)"', body))


def do(client: Client, account: Account, action: str, **given: str) -> Any:
    """Through the page that asks, and on."""
    address = page_of(account, action)
    return client.post(address, {**hidden(client, address), **given}, follow=True)


def stored() -> list[dict[str, object]]:
    return [dict(row) for row in Account.objects.order_by("pk").exclude(role="owner").values()]


def acts(about: str) -> list[str]:
    return list(AuditEntry.objects.filter(about=about).order_by("number").values_list("act", flat=True))


# --- whose it is -------------------------------------------------------------------------------------------------

ACTIONS: Final = ("", "role/", "invite/", "withdraw/", "suspend/", "resume/", "reset/", "successor/", "readers/")


def test_another_organisations_account_looks_like_one_that_never_was(
    client: Client, other_administrator: Account
) -> None:
    assert other_administrator.organisation is not None
    theirs = person(other_administrator.organisation, "info@ander.test", is_functional=True)
    reader = person(other_administrator.organisation, "lezer@ander.test")
    mailboxes.add_reader(theirs, reader)
    before = stored()
    for action in (*ACTIONS, f"readers/{reader.pk}/remove/"):
        for method in (client.get, client.post):
            found = method(page_of(theirs, action), {"role": "sender", "confirmed": "yes", "address": COLLEAGUE})
            absent = method(f"{LIST}{10**6}/{action}", {"role": "sender", "confirmed": "yes", "address": COLLEAGUE})
            assert found.status_code == absent.status_code, action
            assert found.status_code in (404, 405), action
            assert strip(found.content) == strip(absent.content)
    assert "ander.test" not in text(client.get(LIST)) + text(client.post(SEARCH, {"sought": "ander"})).replace(
        'value="ander"', ""
    )
    assert client.get(LIST, {"after": theirs.pk}).content.count(b"<tr>") == client.get(LIST).content.count(b"<tr>")
    assert stored() == before and MailboxReader.objects.count() == 1


def test_a_colleague_elsewhere_is_as_unknown_as_nobody(
    client: Client, colleague: Account, other_administrator: Account
) -> None:
    answers = [
        strip(client.post(page_of(colleague, "successor/"), {"address": one}).content).replace(one, "ADDRESS")
        for one in (other_administrator.email, "niemand@ander.test")
    ]
    assert answers[0] == answers[1] and "No account of your organisation has this address" in answers[0]


def test_of_addresses_outside_its_own_domains_an_organisation_learns_nothing(
    client: Client, other_administrator: Account
) -> None:
    Account.objects.create_user("gast@vrij.test", PASSWORD)
    given = {"role": "sender", "display_name": "", "language": ""}
    answers = [
        strip(client.post(INVITE, {**given, "address": one}).content).replace(one, "ADDRESS")
        for one in ("gast@vrij.test", "niemand@vrij.test", "niemand@later.test")
    ]
    assert len(set(answers)) == 1
    assert "Write it like name@voorbeeld.test." in answers[0]


@pytest.mark.parametrize("role", ["policy", "support", "sender"])
def test_other_roles_have_no_accounts_page(organisation: Organisation, colleague: Account, role: str) -> None:
    visitor = signed_in(person(organisation, f"een@{DOMAIN}", role), "en")
    for page in (LIST, SEARCH, INVITE, MAILBOX, *(page_of(colleague, action) for action in ACTIONS)):
        assert visitor.post(page).status_code in (403, 405)
        assert visitor.get(page).status_code in (403, 405)


# --- what can't be done ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["role/", "suspend/", "reset/", "invite/", "successor/"])
def test_an_administrator_touches_no_owner(
    organisation: Organisation, administrator: Account, colleague: Account, action: str
) -> None:
    visitor = signed_in(person(organisation, f"tweede@{DOMAIN}", "administrator"), "en")
    version = pages._version(administrator)
    given = {"version": version, "role": "sender", "confirmed": "yes", "address": colleague.email}
    answer = visitor.post(page_of(administrator, action), given, follow=True)
    assert "Nobody gives, takes away or manages more rights than they have" in text(answer)
    administrator.refresh_from_db()
    assert administrator.role == "owner" and administrator.is_active and administrator.check_password(PASSWORD)
    assert not MailboxReader.objects.exists() and not MailboxProof.objects.exists()


def test_an_administrator_makes_no_owner(organisation: Organisation, colleague: Account) -> None:
    visitor = signed_in(person(organisation, f"tweede@{DOMAIN}", "administrator"), "en")
    assert 'value="owner"' not in text(visitor.get(INVITE)).partition("main")[2]
    answer = visitor.post(page_of(colleague, "role/"), {"role": "owner", "confirmed": "yes", "version": "x"})
    assert "choose one that you may give" in text(answer)
    answer = visitor.post(INVITE, {"address": f"een@{DOMAIN}", "role": "owner", "display_name": "", "language": ""})
    assert "choose one that you may give" in text(answer)
    assert not Account.objects.filter(email=f"een@{DOMAIN}").exists()


@pytest.mark.parametrize("action", ["role/", "suspend/", "reset/", "successor/"])
def test_nobody_does_it_to_themselves(
    client: Client, administrator: Account, colleague: Account, organisation: Organisation, action: str
) -> None:
    person(organisation, f"tweede@{DOMAIN}", "owner")
    given = {"version": pages._version(administrator), "role": "sender", "confirmed": "yes", "address": colleague.email}
    answer = client.post(page_of(administrator, action), given, follow=True)
    assert "Nobody changes their own role, or suspends or resets themselves" in text(answer)
    administrator.refresh_from_db()
    assert (administrator.role, administrator.is_active) == ("owner", True)
    assert Authenticator.objects.filter(user=administrator).exists()


def test_the_last_owner_who_can_sign_in_stays(organisation: Organisation, administrator: Account) -> None:
    """The user of the machine is not asked for rights, and kept from this too."""
    Account.objects.create_user(f"nieuw@{DOMAIN}", organisation=organisation, role="owner")  # never signed in
    suspended = person(organisation, f"weg@{DOMAIN}", "owner", is_active=False)
    for act in (
        lambda: people.change_role(administrator, Role.ADMINISTRATOR, by=None),
        lambda: people.suspend(administrator, by=None, now=timezone.now()),
        lambda: people.pass_on(administrator, person(organisation, f"erf@{DOMAIN}"), by=None, now=timezone.now()),
    ):
        with pytest.raises(Refused) as refused:
            act()
        assert refused.value.why is Objection.LAST_OWNER
    people.resume(suspended, by=None)
    assert people.change_role(administrator, Role.ADMINISTRATOR, by=None)


@pytest.mark.parametrize("lost", [{"role": "sender"}, {"is_active": False}])
def test_rights_that_were_taken_away_a_moment_ago_count_for_nothing(
    lost: dict[str, Any], organisation: Organisation, administrator: Account, colleague: Account
) -> None:
    """Somebody's page was asked for while they were an owner; before it is served they are none any more."""
    by = person(organisation, f"was@{DOMAIN}", "owner")
    Account.objects.filter(pk=by.pk).update(**lost)
    now, new = timezone.now(), Mailbox.parse(f"nieuw@{DOMAIN}")
    asked = {"display_name": "", "language": ""}
    for act in (
        lambda: people.change_role(administrator, Role.SENDER, by=by),
        lambda: people.suspend(colleague, by=by, now=now),
        lambda: people.resume(colleague, by=by),
        lambda: people.describe(colleague, **asked, by=by),
        lambda: people.take_factors_away(colleague, by=by, now=now),
        lambda: people.pass_on(colleague, administrator, by=by, now=now),
        lambda: people.make(organisation, new, role=Role.OWNER, by=by),
        lambda: inviting.invite(organisation, new, role=Role.OWNER, **asked, by=by, now=now),
        lambda: inviting.invite_again(colleague, by=by, now=now),
    ):
        with pytest.raises(Refused) as refused:
            act()
        assert refused.value.why is Objection.NOT_ALLOWED


@pytest.mark.django_db(transaction=True)
def test_two_owners_who_take_each_others_rights_at_once_leave_one(organisation: Organisation) -> None:
    for turn in range(5):
        first, second = (person(organisation, f"{turn}{one}@{DOMAIN}", "owner") for one in "ab")
        Account.objects.filter(organisation=organisation).exclude(pk__in=[first.pk, second.pk]).update(role="sender")

        def take(pair: tuple[Account, Account]) -> bool:
            by, about = pair
            try:
                return people.change_role(about, Role.SENDER, by=by)
            except Refused as cause:
                assert cause.why in (Objection.LAST_OWNER, Objection.MORE_THAN_OWN, Objection.NOT_ALLOWED)
                return False
            finally:
                connection.close()

        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(take, [(first, second), (second, first)]))
        close_old_connections()
        assert sum(done) == 1
        assert Account.objects.filter(organisation=organisation, role="owner").count() == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"address": ""}, "fill in an e-mail address, such as name@example.org."),
        ({"address": "geen adres"}, "Write it like name@example.org."),
        ({"address": "a@b@c"}, "Write it like name@example.org."),
        ({"address": "een@elders.test"}, "Write it like name@voorbeeld.test."),
        ({"address": "een@later.test"}, "Write it like name@voorbeeld.test."),
        ({"address": COLLEAGUE.upper()}, "There is an account for this address already. Search for it."),
        ({"role": ""}, "Role: choose one, such as sender."),
        ({"role": "koning"}, "Role: choose one that you may give, such as sender."),
        ({"language": "fr"}, "Language: choose one from the list, such as Nederlands."),
    ],
)
def test_an_invitation_that_can_not_be_is_refused_with_reason_and_example(
    client: Client, colleague: Account, given: dict[str, str], told: str
) -> None:
    before = stored()
    wanted = {"address": f"nieuw@{DOMAIN}", "role": "sender", "display_name": "", "language": "", **given}
    answer = client.post(INVITE, wanted)
    assert answer.status_code == 200 and told in text(answer), text(answer)
    assert stored() == before and not Job.objects.exists()


def test_without_a_domain_in_place_it_is_said_where_to_look(client: Client) -> None:
    SendingDomain.objects.update(in_place=False)
    answer = client.post(INVITE, {"address": f"een@{DOMAIN}", "role": "sender", "display_name": "", "language": ""})
    assert "None of your domains is in place yet" in text(answer)


def test_what_changed_meanwhile_is_not_overwritten(client: Client, colleague: Account) -> None:
    shown = hidden(client, page_of(colleague))
    people.describe(colleague, display_name="Ander", language="en", by=None)
    answer = client.post(page_of(colleague), {**shown, "display_name": "Mijn", "language": ""})
    assert answer.status_code == 409 and "Somebody else changed this meanwhile" in text(answer)
    heir = {"address": "beheer@voorbeeld.test", "confirmed": "yes"}
    for action, given in (("suspend/", {}), ("role/", {"role": "support"}), ("successor/", heir)):
        shown = hidden(client, page_of(colleague, action))
        people.change_role(colleague, Role.POLICY, by=None)
        answer = client.post(page_of(colleague, action), {**shown, **given}, follow=True)
        assert "Nothing was done." in text(answer), action
        people.change_role(colleague, Role.SENDER, by=None)
    colleague.refresh_from_db()
    assert (colleague.display_name, colleague.role, colleague.is_active) == ("Ander", "sender", True)


def test_looking_and_asking_change_nothing(client: Client, colleague: Account) -> None:
    client.get(LIST)
    before, log = stored(), AuditEntry.objects.count()
    for page in (LIST, SEARCH, INVITE, MAILBOX, *(page_of(colleague, action) for action in ACTIONS)):
        assert client.get(page).status_code in (200, 302, 405)
    assert client.post(page_of(colleague, "role/"), {"role": "owner", "version": "x"}).status_code == 200
    assert client.post(page_of(colleague, "successor/"), {"address": "beheer@voorbeeld.test"}).status_code == 200
    assert stored() == before and AuditEntry.objects.count() == log


def test_no_reader_comes_to_somebodys_own_mailbox(client: Client, administrator: Account, colleague: Account) -> None:
    answer = client.post(page_of(colleague, "readers/"), {"address": administrator.email}, follow=True)
    assert "This is one person’s own mailbox" in text(answer)
    assert not MailboxReader.objects.exists()


# --- what becomes of an account ----------------------------------------------------------------------------------


def test_somebody_is_invited(client: Client, organisation: Organisation) -> None:
    wanted = {"address": f"Nieuw@{DOMAIN}", "role": "policy", "display_name": "Nieuw", "language": "en"}
    answer = client.post(INVITE, wanted, follow=True)
    assert "an invitation is on its way" in text(answer) and "invited until" in text(answer)
    made = Account.objects.get(key=f"nieuw@{DOMAIN}")
    assert (made.role, made.display_name, made.language, made.organisation) == ("policy", "Nieuw", "en", organisation)
    assert not made.has_usable_password()
    assert Job.objects.get().kind == "mailbox" and MailboxProof.objects.get().language == "en"
    assert acts(made.email) == ["account-added", "invited"]
    by = AuditEntry.objects.filter(act="invited").values_list("by_kind", "by")
    assert list(by) == [("account", "beheer@voorbeeld.test")]
    again = client.post(page_of(made, "invite/"), follow=True)
    assert "earlier ones don’t any more" in text(again)
    assert MailboxProof.objects.filter(used_at=None).count() == 1


@pytest.mark.parametrize("is_finished", [True, False])
def test_a_guests_account_for_an_own_domain_is_taken_in_once_that_is_confirmed(
    client: Client, organisation: Organisation, is_finished: bool
) -> None:
    guest = Account.objects.create_user(f"gast@{DOMAIN}", PASSWORD)
    if is_finished:
        enrol_totp(guest, SECRET)
    wanted = {"address": guest.email, "role": "support", "display_name": "Gast", "language": ""}
    asked = client.post(INVITE, wanted)
    assert "A guest made a free account" in text(asked)
    guest.refresh_from_db()
    assert guest.organisation is None
    answer = client.post(INVITE, {**wanted, "confirmed": "yes"}, follow=True)
    assert "one of your organisation now" in text(answer)
    taken = Account.objects.get(pk=guest.pk)
    assert (taken.organisation, taken.role, taken.check_password(PASSWORD)) == (organisation, "support", is_finished)
    assert MailboxProof.objects.exists() is not is_finished
    assert "account-taken-in" in acts(guest.email)


def test_a_suspended_account_is_out_at_once_and_nothing_is_accepted_for_it(
    client: Client, organisation: Organisation, colleague: Account
) -> None:
    theirs = signed_in(colleague, "en")
    assert theirs.get("/account/security/").status_code == 200
    submitter = Submitter(None, organisation.pk, "NL", proven=colleague.mailbox.domain)
    Organisation.objects.filter(pk=organisation.pk).update(authentication="either")
    pair = (submitter, colleague.mailbox)
    assert isinstance(sender.authorise([pair])[pair], Sender)
    assert "The account is suspended." in text(do(client, colleague, "suspend/"))
    assert theirs.get("/account/security/").status_code == 302
    assert "The e-mail address or the password is not right" in text(give_password(browser("en"), COLLEAGUE))
    assert sender.authorise([pair])[pair] is NO_ACCOUNT
    assert "The account can be used again." in text(do(client, colleague, "resume/"))
    assert isinstance(sender.authorise([pair])[pair], Sender)
    assert theirs.get("/account/security/").status_code == 302, "the old session stays ended"
    assert give_password(browser("en"), COLLEAGUE).status_code == 302
    assert [one for one in acts(COLLEAGUE) if one.startswith("account")] == ["account-suspended", "account-resumed"]


@pytest.mark.django_db(transaction=True)
def test_what_was_accepted_before_is_delivered_after(tmp_path: Path) -> None:
    with a_post(tmp_path, Clock()) as post:
        guest_mx = post.proven("open.test")
        post.submit("gast@open.test")
        people.suspend(post.ground.author, by=None, now=post.clock())
        _settled(post)
        assert len(guest_mx.messages()) == 1


def _settled(post: Post) -> None:
    post.settle()


def test_tokens_that_a_leaver_made_are_told_of_and_ended(
    client: Client, colleague: Account, other_administrator: Account
) -> None:
    organisation = colleague.organisation
    assert organisation is not None and other_administrator.organisation is not None
    people.change_role(colleague, Role.ADMINISTRATOR, by=None)
    theirs = signed_in(Account.objects.get(pk=colleague.pk), "en")
    asked = {"description": "Dossiers", "days": "30", "scopes": ["explain"]}
    assert theirs.post("/console/programs/", asked).status_code == 200
    now = timezone.now()
    make: dict[str, Any] = {"scopes": {Scope.EXPLAIN}, "life": timedelta(days=9), "now": now}
    kept = tokens.issue(organisation, "Van de machine", **make).token
    elsewhere = tokens.issue(
        other_administrator.organisation,
        "Elders",
        **make,
        by=colleague,
    ).token
    assert COLLEAGUE in text(client.get("/console/programs/"))
    assert "go on when this account is suspended" in text(client.get(page_of(colleague)))
    do(client, colleague, "suspend/")
    shown = text(client.get(page_of(colleague)))
    assert "programs go on with these tokens" in shown and "Dossiers" in shown and "Elders" not in shown
    assert "suspended" in text(client.get("/console/programs/"))
    assert "Dossiers" in text(client.get(page_of(colleague, "end-tokens/")))
    assert client.post(page_of(colleague, "end-tokens/"), {"version": "x"}).status_code in (302, 409)
    made = ApiToken.objects.get(description="Dossiers")
    assert made.made_by == colleague and made.disabled_at is None
    assert "The tokens are ended." in text(do(client, colleague, "end-tokens/"))
    made.refresh_from_db()
    kept.refresh_from_db()
    elsewhere.refresh_from_db()
    assert made.disabled_at is not None and kept.disabled_at is None and elsewhere.disabled_at is None
    assert "Tokens of the API" not in text(client.get(page_of(colleague)))


def test_somebody_is_invited_as_an_owner_after_being_asked_once(client: Client) -> None:
    new = f"baas@{DOMAIN}"
    wanted = {"address": new, "role": "owner", "display_name": "Baas", "language": ""}
    asked = text(client.post(INVITE, wanted))
    assert f"{new} may then do everything, and take your own rights away." in asked
    assert "Only an owner can undo this." in asked
    assert not Account.objects.filter(email=new).exists() and not Job.objects.exists()
    assert client.post(INVITE, {**wanted, "confirmed": "yes"}).status_code == 302
    made = Account.objects.get(email=new)
    assert (made.role, made.display_name) == ("owner", "Baas")
    other = {**wanted, "address": f"ander@{DOMAIN}", "role": "sender"}
    assert client.post(INVITE, other).status_code == 302, "nothing is asked of anybody else"


def test_a_role_is_changed_and_holds_from_the_next_click_on(client: Client, colleague: Account) -> None:
    theirs = signed_in(colleague, "en")
    assert theirs.get("/console/").status_code == 403
    assert "The role is changed" in text(do(client, colleague, "role/", role="support"))
    assert theirs.get("/console/").status_code == 200 and theirs.get(LIST).status_code == 403
    version = hidden(client, page_of(colleague, "role/"))
    asked = client.post(page_of(colleague, "role/"), {**version, "role": "owner"})
    assert "may then do everything" in text(asked)
    colleague.refresh_from_db()
    assert colleague.role == "support"
    client.post(page_of(colleague, "role/"), {**version, "role": "owner", "confirmed": "yes"})
    colleague.refresh_from_db()
    assert colleague.role == "owner"
    details = AuditEntry.objects.filter(act="role-changed").order_by("number").values_list("details", flat=True)
    assert list(details) == [{"from": "sender", "to": "support"}, {"from": "support", "to": "owner"}]


def test_a_functional_mailbox_is_made_and_gets_readers(client: Client, colleague: Account) -> None:
    answer = client.post(MAILBOX, {"address": f"info@{DOMAIN}", "display_name": "Info"}, follow=True)
    made = Account.objects.get(email=f"info@{DOMAIN}")
    assert made.is_functional and not made.has_usable_password() and "Nobody reads it yet." in text(answer)
    assert "No account of your organisation" in text(client.post(page_of(made, "readers/"), {"address": "x@y.test"}))
    assert "can’t read it" in text(client.post(page_of(made, "readers/"), {"address": made.email}))
    assert COLLEAGUE in text(client.post(page_of(made, "readers/"), {"address": COLLEAGUE}, follow=True))
    assert mailboxes.readers_of(made) == [colleague]
    assert "functional mailbox, to which nobody signs in" in text(do(client, made, "invite/"))
    answer = do(client, made, f"readers/{colleague.pk}/remove/")
    assert "read by one less" in text(answer) and mailboxes.readers_of(made) == []
    assert acts(made.email) == ["account-added", "reader-added", "reader-removed"]


def test_who_lost_the_second_step_is_reset(client: Client, colleague: Account) -> None:
    theirs = signed_in(colleague)
    assert "an invitation is on its way" in text(do(client, colleague, "reset/"))
    colleague.refresh_from_db()
    assert not colleague.has_usable_password() and not Authenticator.objects.filter(user=colleague).exists()
    assert theirs.get("/account/security/").status_code == 302
    assert acts(COLLEAGUE)[-2:] == ["factor-removed", "invited"]


def token_of(account: Account) -> Secret[str]:
    """As its holder makes one, to read with."""
    now = timezone.now()
    return tokens.issue(account, "Mail", scopes={Scope.MESSAGES_READ}, life=timedelta(days=9), now=now).secret


def test_a_token_of_who_had_the_account_before_reads_nothing_for_who_has_it_next(
    client: Client, colleague: Account, organisation: Organisation
) -> None:
    """After a reset, and once a guest's account is the organisation's: not even when there is a second factor anew."""
    guest = Account.objects.create_user(f"gast@{DOMAIN}", PASSWORD)
    enrol_totp(guest, SECRET)
    shown = [token_of(colleague), token_of(guest)]
    assert not any(isinstance(tokens.find(one, now=timezone.now()), str) for one in shown)
    do(client, colleague, "reset/")
    taken = {"address": guest.email, "role": "sender", "display_name": "", "language": "", "confirmed": "yes"}
    assert "one of your organisation now" in text(client.post(INVITE, taken, follow=True))
    for one in (colleague, guest):
        enrol_totp(one, SECRET)
    assert [tokens.find(one, now=timezone.now()) for one in shown] == ["disabled", "disabled"]
    assert AuditEntry.objects.filter(act="token-disabled", organisation=organisation).count() == 1


# --- a leaver ----------------------------------------------------------------------------------------------------


@pytest.fixture
def ground(tmp_path: Path, db: None) -> Ground:
    ground = Ground(tmp_path, opening_keys(ZEGEL.keys), Clock())
    ground.configure()
    return ground


def test_a_leavers_mailbox_passes_to_the_successor_and_to_nobody_else(ground: Ground) -> None:
    owner = portal_visitor(ground.account(f"baas@{DOMAIN}", role="owner"))
    leaver, heir = ground.account(f"weg@{DOMAIN}"), ground.account(f"erf@{DOMAIN}")
    info = ground.account(f"info@{DOMAIN}", is_functional=True)
    mailboxes.add_reader(info, leaver)
    conversation = ground.conversation(mail(), author=leaver)
    ground.recipient(conversation, "ontvanger@example.org")
    gone, successor = portal_visitor(leaver), portal_visitor(heir)
    assert successor.get(f"/inbox/{conversation.id}/").status_code == 404
    address = page_of(leaver, "successor/")
    asked = owner.post(address, {**hidden(owner, address), "address": heir.email})
    assert f"{heir.email} can from then on read all that {leaver.email} sent and received" in text(asked)
    assert f"These functional mailboxes lose {leaver.email} as a reader, and don’t go along: {info.email}" in text(
        asked
    )
    given = dict(re.findall(r'<input type="hidden" name="(version|confirmed|address)" value="([^"]*)"', text(asked)))
    owner.post(address, given)
    leaver.refresh_from_db()
    assert not leaver.is_active and gone.get("/inbox/").status_code == 302
    assert MARKER in text(successor.get(f"/inbox/{conversation.id}/"))
    assert successor.get(f"/inbox/?mailbox={leaver.pk}").status_code == 200
    assert owner.get(f"/inbox/{conversation.id}/").status_code == 404
    assert mailboxes.readers_of(info) == []
    entry = AuditEntry.objects.get(act="mailbox-passed-on")
    assert (entry.about, entry.details, entry.by) == (leaver.email, {"to": heir.email}, f"baas@{DOMAIN}")
    assert {"account-suspended", "mailbox-passed-on"} <= set(acts(leaver.email))


def test_what_was_passed_on_goes_along_when_the_successor_leaves(ground: Ground) -> None:
    first, second, third = (ground.account(f"{one}@{DOMAIN}") for one in ("een", "twee", "drie"))
    now = timezone.now()
    people.pass_on(first, second, by=None, now=now)
    people.pass_on(second, third, by=None, now=now)
    assert mailboxes.read_by(third) == [first, second] and mailboxes.read_by(second) == []
    assert set(MailboxReader.objects.values_list("reader", flat=True)) == {third.pk}


def test_a_functional_mailbox_that_is_suspended_is_read_by_nobody(ground: Ground) -> None:
    info, reader = ground.account(f"info@{DOMAIN}", is_functional=True), ground.account(f"lezer@{DOMAIN}")
    mailboxes.add_reader(info, reader)
    people.suspend(info, by=None, now=timezone.now())
    assert mailboxes.read_by(reader) == []


# --- many --------------------------------------------------------------------------------------------------------


def test_ten_thousand_accounts_are_paged_and_found(
    client: Client, organisation: Organisation, django_assert_max_num_queries: Any
) -> None:
    Account.objects.bulk_create(
        [
            Account(organisation=organisation, email=f"p{one:05}@{DOMAIN}", key=f"p{one:05}@{DOMAIN}", password="!")
            for one in range(10_000)
        ],
        batch_size=1000,
    )
    client.get(LIST)
    with django_assert_max_num_queries(20):
        first = client.get(LIST)
    after = re.search(r'href="\?after=(\d+)"', text(first))
    assert after is not None and "10001 accounts" in text(first)
    second = text(client.get(LIST, {"after": after[1]}))
    shown = [re.findall(r">(p\d{5}@voorbeeld\.test)<", page) for page in (text(first), second)]
    assert shown[0][-1] < shown[1][0] and len(shown[1]) == pages.PAGE
    found = client.post(SEARCH, {"sought": "p09998", "role": ""})
    assert re.findall(r">(p\d{5}@voorbeeld\.test)<", text(found)) == [f"p09998@{DOMAIN}"]
    many = text(client.post(SEARCH, {"sought": "P0", "role": "sender"}))
    assert len(re.findall(r">(p\d{5}@voorbeeld\.test)<", many)) == pages.MOST_FOUND
    assert f"The first {pages.MOST_FOUND} that fit are shown" in many
    for odd in ("x", "-1", "9" * 400, "٣"):
        assert client.get(LIST, {"after": odd}).status_code == 200


def test_an_account_is_made_in_a_domain_in_place_alone(organisation: Organisation) -> None:
    with pytest.raises(Refused) as refused:
        people.make(organisation, Mailbox.parse("een@later.test"), by=None)
    assert refused.value.why is Objection.NOT_THEIR_DOMAIN
