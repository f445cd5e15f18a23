"""The page on which the author, or an administrator, fills in what held recipients lack (D-6)."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any, Final

import pytest
from django.db import transaction
from django.test import Client

from tests.journey.portal_ground import MARKER, NOON, PASSWORD, TOTP, Clock, Ground, dump, mail, signed_in, words
from zegel.accounts import mailboxes
from zegel.accounts.models import Account, Organisation
from zegel.accounts.sign_in import current_totp, enrol_totp
from zegel.core.policy.verification import AccessCode, SmsCode
from zegel.journey import milestones
from zegel.journey.custody import memory
from zegel.journey.custody.models import Conversation, Job, Recipient, VerificationData

pytestmark = pytest.mark.django_db

GUEST: Final = "ontvanger@example.org"
SECOND: Final = "tweede@example.org"
Post = dict[str, str]


@pytest.fixture
def conversation(ground: Ground) -> Conversation:
    return ground.conversation(mail())


@pytest.fixture
def author(ground: Ground) -> Client:
    return signed_in(ground.author)


def held(ground: Ground, conversation: Conversation, address: str = GUEST, *required: str, **fields: Any) -> Recipient:
    """As decision leaves it."""
    steps = [{"kind": "hold", "required": list(required or ("sms", "access-code", "account"))}]
    return ground.recipient(
        conversation,
        address,
        method="",
        state=Recipient.State.HELD,
        plan={"form": 1, "table": 1, "steps": steps, "findings": []},
        decided_at=ground.clock(),
        **{"told_at": ground.clock(), **fields},
    )


def page_of(conversation: Conversation) -> str:
    return f"/held/{conversation.submission_id}/"


def filled(recipient: Recipient, **values: str) -> Post:
    return {f"{recipient.id.hex}-{name}": value for name, value in values.items()}


def known(ground: Ground) -> dict[str, SmsCode | AccessCode]:
    """By address and whose it is."""
    return {
        f"{row.address} {row.account.email if row.account else '-'}": memory.verification_of(
            ground.unsealer.field(row.sealed, name="verification-data", owner=row.id)
        )
        for row in VerificationData.objects.select_related("account")
    }


def released() -> set[uuid.UUID]:
    return set(Job.objects.filter(kind="release").values_list("subject", flat=True))


# Who may


def test_who_is_not_signed_in_is_asked_to_and_comes_back(ground: Ground, conversation: Conversation) -> None:
    held(ground, conversation)
    for address in (page_of(conversation), f"/held/{uuid.uuid4()}/"):
        response = Client(HTTP_HOST="localhost").get(address)
        assert response.status_code == 302
        assert response["Location"] == f"/account/sign-in/?next={address}"


def test_a_password_alone_is_not_enough(ground: Ground, conversation: Conversation) -> None:
    held(ground, conversation)
    enrol_totp(ground.author, TOTP)
    client = Client(HTTP_HOST="localhost")
    client.post("/account/sign-in/", {"login": ground.author.email, "password": PASSWORD})
    assert client.get(page_of(conversation)).status_code == 302
    assert client.post("/account/security/authenticate/", {"code": current_totp(TOTP)}).status_code == 302
    assert client.get(page_of(conversation)).status_code == 200


def strangers(ground: Ground) -> list[Account]:
    elsewhere = Organisation.objects.create(name="Ander ziekenhuis")
    return [
        ground.account("collega@voorbeeld.test"),
        ground.account(GUEST),
        Account.objects.create_user("beheer@ander.test", PASSWORD, organisation=elsewhere, role="owner"),
        Account.objects.create_user("los@ander.test", PASSWORD, organisation=None, role="owner"),
    ]


def test_for_anybody_else_it_looks_like_what_does_not_exist(ground: Ground, conversation: Conversation) -> None:
    """P20."""
    one = held(ground, conversation)
    for account in strangers(ground):
        client = signed_in(account)
        foreign = client.get(page_of(conversation))
        unknown = client.get(f"/held/{uuid.uuid4()}/")
        assert foreign.status_code == unknown.status_code == 404
        assert without_tokens(foreign) == without_tokens(unknown)
        assert sorted(foreign.headers) == sorted(unknown.headers)
        assert client.post(page_of(conversation), filled(one, phone="06 12345678")).status_code == 404
    assert not VerificationData.objects.exists()
    assert not Job.objects.exists()


def without_tokens(response: Any) -> str:
    body = re.sub(r'name="csrfmiddlewaretoken" value="[^"]+"', "", response.content.decode())
    return re.sub(r"[0-9a-f-]{36}", "", body)


def test_an_author_who_left_the_organisation_fills_in_nothing_there(
    ground: Ground, conversation: Conversation, author: Client
) -> None:
    held(ground, conversation)
    Account.objects.filter(id=ground.author.id).update(organisation=Organisation.objects.create(name="Elders"))
    assert author.get(page_of(conversation)).status_code == 404


def test_who_reads_the_mailbox_that_sent_it_fills_in_as_its_sender(ground: Ground) -> None:
    info = Account.objects.create_user("info@voorbeeld.test", organisation=ground.organisation)
    conversation = ground.conversation(mail(), author=info)
    one = held(ground, conversation)
    reader = ground.account("lezer@voorbeeld.test")
    client = signed_in(reader)
    assert client.get(page_of(conversation)).status_code == 404
    mailboxes.add_reader(info, reader)
    assert page_of(conversation) in client.get(f"/inbox/{conversation.id}/").content.decode()
    assert client.post(page_of(conversation), filled(one, phone="06 12345678")).status_code == 303
    row = VerificationData.objects.get()
    assert (row.account, row.origin) == (info, "sender") and released() == {one.id}
    mailboxes.remove_reader(info, reader)
    assert client.get(page_of(conversation)).status_code == 404


def test_an_administrator_fills_in_for_the_author_and_reads_nothing(ground: Ground, conversation: Conversation) -> None:
    one = held(ground, conversation)
    client = signed_in(ground.account("beheer@voorbeeld.test", role="owner"))
    shown = words(client.get(page_of(conversation)))
    assert "balie@voorbeeld.test" in shown
    assert MARKER not in shown
    assert client.post(page_of(conversation), filled(one, phone="06 12345678")).status_code == 303
    row = VerificationData.objects.get()
    assert (row.account, row.origin) == (ground.author, "administrator")
    assert released() == {one.id}


# What is wrong


WRONG: Final = {
    "a landline": {"phone": "020 5551234"},
    "no number": {"phone": "bel-me-maar-7781"},
    "two readings": {"phone": "31612345678"},
    "a code too short": {"code": "zk7"},
    "a code too long": {"code": "zk7 " * 40},
    "a code with a tab": {"code": "zk7\tzk8"},
    "a code with what nobody sees": {"code": "zk7\u200bzk8"},
    "both": {"phone": "06 12345678", "code": "zk7-zk8-zk9"},
    "a hint alone": {"hint": "zk7 op uw pas"},
    "a hint that tells": {"code": "zk7zk8", "hint": "het is ZK7 ZK8"},
    "a long hint": {"code": "zk7zk8", "hint": "pas " * 60},
    "a hint with a number": {"phone": "06 12345678", "hint": "zk7 op uw pas"},
    "nothing but nul": {"code": "zk7\x00zk8"},
}


@pytest.mark.parametrize("values", WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_named_and_not_repeated_and_nothing_is_stored(
    ground: Ground, conversation: Conversation, author: Client, values: Post
) -> None:
    one = held(ground, conversation)
    response = author.post(page_of(conversation), filled(one, **values))
    assert response.status_code == 422
    shown = words(response)
    assert "There is a problem" in shown
    assert f"{GUEST}: " in shown
    body = response.content.decode()
    for value in values.values():
        for piece in (value, value.strip(), "zk7"):
            assert not piece.strip() or piece not in body
    assert not VerificationData.objects.exists()
    assert not Job.objects.exists()
    assert ground.rings == []
    (invalid,) = set(re.findall(r'href="#(id_[^"]+)"', body)) or {"both"}
    assert invalid == "both" or f'id="{invalid}"' in body


def test_an_error_names_the_field_and_how_it_is_written(
    ground: Ground, conversation: Conversation, author: Client
) -> None:
    one = held(ground, conversation)
    shown = words(author.post(page_of(conversation), filled(one, phone="020 5551234")))
    assert f"{GUEST}: Mobile number: this is not the number of one mobile telephone" in shown
    assert "+31 6 12345678" in shown


def test_what_is_right_beside_what_is_wrong_is_stored(
    ground: Ground, conversation: Conversation, author: Client
) -> None:
    right, wrong = held(ground, conversation), held(ground, conversation, SECOND)
    response = author.post(
        page_of(conversation), {**filled(right, phone="06 12345678"), **filled(wrong, phone="020 5551234")}
    )
    assert response.status_code == 422
    shown = words(response)
    assert "Filled in for one recipient" in shown
    assert f"{SECOND}: Mobile number" in shown
    assert f"{GUEST}: Mobile number" not in shown
    assert released() == {right.id}


def test_nothing_filled_in_is_no_error_and_no_change(
    ground: Ground, conversation: Conversation, author: Client
) -> None:
    one = held(ground, conversation)
    response = author.post(page_of(conversation), filled(one, phone="", code=" ", hint=""), follow=True)
    assert "Nothing was filled in" in words(response)
    assert not VerificationData.objects.exists()


@pytest.mark.parametrize(
    ("required", "values"),
    [
        (("sms", "account"), {"code": "zk7-zk8-zk9"}),
        (("access-code",), {"phone": "06 12345678"}),
        (("account",), {"phone": "06 12345678"}),
    ],
)
def test_what_would_not_do_can_not_be_filled_in(
    ground: Ground, conversation: Conversation, author: Client, required: tuple[str, ...], values: Post
) -> None:
    one = held(ground, conversation, GUEST, *required)
    body = author.get(page_of(conversation)).content.decode()
    for name in values:
        assert f"{one.id.hex}-{name}" not in body
    author.post(page_of(conversation), filled(one, **values))
    assert not VerificationData.objects.exists()
    assert released() == set()


def test_a_recipient_of_another_message_is_not_mended_here(
    ground: Ground, conversation: Conversation, author: Client
) -> None:
    held(ground, conversation)
    elsewhere = held(ground, ground.conversation(mail()), SECOND)
    author.post(page_of(conversation), filled(elsewhere, phone="06 12345678"))
    assert not VerificationData.objects.exists()
    assert released() == set()


# What is right


def test_it_says_who_waits_for_what_and_until_when(ground: Ground, conversation: Conversation, author: Client) -> None:
    held(ground, conversation)
    held(ground, conversation, SECOND, "account")
    ground.recipient(conversation, "gekregen@example.org")
    shown = words(author.get(page_of(conversation)))
    assert "a mobile number or an access code or an account here with a second factor" in shown
    assert "28 November 2026" in shown
    assert "As soon as this recipient has an account here" in shown
    assert "gekregen@example.org" not in shown


def test_who_can_not_be_helped_by_others_gets_no_field_and_no_button(
    ground: Ground, conversation: Conversation, author: Client
) -> None:
    held(ground, conversation, GUEST, "account")
    body = author.get(page_of(conversation)).content.decode()
    assert "Fill in and send" not in body
    assert 'type="tel"' not in body


def test_the_message_expires_before_the_term_is_over(ground: Ground, author: Client) -> None:
    conversation = ground.conversation(mail(), expires_at=NOON + timedelta(days=2))
    held(ground, conversation)
    assert "25 November 2026" in words(author.get(page_of(conversation)))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"phone": "06 12345678"}, "+31612345678"),
        ({"phone": "+32 470 12 34 56"}, "+32470123456"),
        ({"code": " 0042 17 ", "hint": "het nummer op uw pas"}, "0042 17"),
        ({"code": "vier losse woorden"}, "vier losse woorden"),
    ],
)
def test_what_is_filled_in_is_sealed_and_the_recipient_decided_about_again(
    ground: Ground, conversation: Conversation, author: Client, values: Post, expected: str
) -> None:
    one = held(ground, conversation)
    response = author.post(page_of(conversation), filled(one, **values))
    assert (response.status_code, response["Location"]) == (303, page_of(conversation))
    (found,) = known(ground).values()
    assert (found.phone if isinstance(found, SmsCode) else found.code).reveal() == expected
    if isinstance(found, AccessCode):
        assert (found.hint.reveal() if found.hint else "") == values.get("hint", "")
    row = VerificationData.objects.get()
    assert (row.account, row.origin, row.confirmed_at) == (ground.author, "sender", None)
    assert released() == {one.id}
    assert ground.rings == [NOON]
    assert not any(expected in row for row in dump())
    shown = words(author.get(page_of(conversation)))
    assert "Filled in for one recipient" in shown
    assert "is being looked at now" in shown
    assert expected not in shown


def test_other_messages_that_are_held_for_the_same_recipient_go_out_too(
    ground: Ground, conversation: Conversation, author: Client
) -> None:
    one, other = held(ground, conversation), held(ground, ground.conversation(mail()))
    author.post(page_of(conversation), filled(one, phone="06 12345678"))
    assert released() == {one.id, other.id}


def test_a_second_answer_before_the_release_replaces_the_first(
    ground: Ground, clock: Clock, conversation: Conversation, author: Client
) -> None:
    one = held(ground, conversation)
    for phone in ("06 12345678", "06 87654321"):
        author.post(page_of(conversation), filled(one, phone=phone))
        clock.forward(seconds=1)
    (found,) = known(ground).values()
    assert isinstance(found, SmsCode)
    assert found.phone.reveal() == "+31687654321"
    assert Job.objects.count() == 1


@pytest.mark.parametrize("state", ["notified", "undeliverable", "destroyed"])
def test_what_comes_too_late_is_not_stored_and_said_to_be_late(
    ground: Ground, conversation: Conversation, author: Client, state: str
) -> None:
    one = held(ground, conversation)
    if state == "destroyed":
        Conversation.objects.update(destroyed_at=NOON)
    else:
        Recipient.objects.update(state=state)
    response = author.post(page_of(conversation), filled(one, phone="06 12345678"), follow=True)
    shown = words(response)
    assert "For one recipient this was not possible any more" in shown
    assert "Nobody is held any more" in shown
    assert not VerificationData.objects.exists()
    assert released() == set()


def test_who_is_no_longer_held_is_shown_with_what_became_of_it(
    ground: Ground, conversation: Conversation, author: Client
) -> None:
    sent = held(ground, conversation)
    ended = held(ground, conversation, SECOND)
    Recipient.objects.filter(id=sent.id).update(state="notified", delivered_at=NOON)
    Recipient.objects.filter(id=ended.id).update(state="undeliverable", reason="lacks-what-policy-demands")
    shown = words(author.get(page_of(conversation)))
    assert "Nobody is held any more" in shown
    assert f"{GUEST} Notified, not opened yet" in shown
    assert f"{SECOND} Bounced" in shown
    assert "nothing is known about the recipient" in shown


def test_two_hundred_are_shown_in_pages_that_fit_into_one_form(
    ground: Ground, conversation: Conversation, author: Client
) -> None:
    with transaction.atomic():
        many = [held(ground, conversation, f"r{number:03}@example.org") for number in range(200)]
    first = author.get(page_of(conversation)).content.decode()
    assert len(re.findall(r"<input ", first)) < 100
    assert first.count("-phone") and "r019@example.org" in first and "r020@example.org" not in first
    last = author.get(page_of(conversation) + "?page=10").content.decode()
    assert "r199@example.org" in last
    assert f'action="{page_of(conversation)}?page=10"' in last
    values = {key: value for one in many[180:] for key, value in filled(one, phone="06 12345678").items()}
    response = author.post(page_of(conversation) + "?page=10", values)
    assert response["Location"] == page_of(conversation) + "?page=10"
    assert VerificationData.objects.count() == 20
    assert released() == {one.id for one in many[180:]}


def test_a_plan_of_an_unknown_version_offers_nothing_and_breaks_nothing(
    ground: Ground, conversation: Conversation, author: Client
) -> None:
    one = held(ground, conversation)
    for plan in (None, {}, {"form": 99}, {"form": 1, "steps": [], "findings": []}):
        Recipient.objects.filter(id=one.id).update(plan=plan)
        response = author.get(page_of(conversation))
        assert response.status_code == 200
        assert "ask your administrator" in words(response)


def test_the_inbox_leads_to_it(ground: Ground, conversation: Conversation, author: Client) -> None:
    held(ground, conversation)
    assert f'href="{page_of(conversation)}"' in author.get("/inbox/").content.decode()
    assert f'href="{page_of(conversation)}"' in author.get(f"/inbox/{conversation.id}/").content.decode()


def test_it_is_in_dutch_as_well(ground: Ground, conversation: Conversation) -> None:
    one = held(ground, conversation)
    client = signed_in(ground.author, "nl")
    assert "Ontvangers die worden vastgehouden" in words(client.get(page_of(conversation)))
    shown = words(client.post(page_of(conversation), filled(one, phone="020 5551234")))
    assert "Mobiel nummer: dit is niet het nummer van één mobiele telefoon" in shown


def test_what_is_being_decided_can_be_waited_for(ground: Ground, conversation: Conversation, author: Client) -> None:
    one = held(ground, conversation)
    with transaction.atomic():
        milestones.still_held([one.id], now=NOON)
    assert "is being looked at now" in words(author.get(page_of(conversation)))
