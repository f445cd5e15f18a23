"""An account holder's own verification data: seen masked, corrected, removed, added; nobody else's."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any, Final

import pytest
from django.db import transaction
from django.test import Client

from tests.journey.portal_ground import NOON, PASSWORD, Clock, Ground, dump, mail, signed_in, words
from zegel.accounts.models import Account, Organisation
from zegel.core.mail.address import Mailbox
from zegel.core.policy.verification import AccessCode, SmsCode
from zegel.core.secret import Secret
from zegel.journey.custody import memory
from zegel.journey.custody.models import Job, Recipient, VerificationData

pytestmark = pytest.mark.django_db

GUEST: Final = "ontvanger@example.org"
LIST: Final = "/inbox/recipients/"
PHONE: Final = "+31612345678"
CODE: Final = "Toegang-9f1c"
Origin = VerificationData.Origin


@pytest.fixture
def author(ground: Ground) -> Client:
    return signed_in(ground.author)


def entry(
    ground: Ground,
    verification: SmsCode | AccessCode | None = None,
    *,
    address: str = GUEST,
    account: Account | None = None,
    is_for_all: bool = False,
    organisation: Organisation | None = None,
) -> VerificationData:
    with transaction.atomic():
        return memory.supply(
            organisation or ground.organisation,
            Mailbox.parse(address),
            verification or SmsCode(Secret(PHONE)),
            account=None if is_for_all else account or ground.author,
            origin=Origin.SENDER,
            now=ground.clock(),
            sealing=ground.keys.sealing,
        )


def value_of(ground: Ground, row: VerificationData) -> str:
    row.refresh_from_db()
    found = memory.verification_of(ground.unsealer.field(row.sealed, name="verification-data", owner=row.id))
    return found.phone.reveal() if isinstance(found, SmsCode) else found.code.reveal()


def pages(row: VerificationData) -> tuple[str, str]:
    return f"{LIST}{row.id}/", f"{LIST}{row.id}/remove"


def without_tokens(response: Any) -> str:
    body = re.sub(r'name="csrfmiddlewaretoken" value="[^"]+"', "", response.content.decode())
    return re.sub(r"[0-9a-f-]{36}", "", body)


# Nobody else's


def test_who_is_not_signed_in_is_asked_to(ground: Ground) -> None:
    row = entry(ground)
    for address in (LIST, f"{LIST}add", *pages(row), *pages(VerificationData(id=uuid.uuid4()))):
        response = Client(HTTP_HOST="localhost").get(address)
        assert response.status_code == 302
        assert response["Location"].startswith("/account/sign-in/")


def test_what_is_not_ones_own_does_not_exist(ground: Ground, author: Client) -> None:
    """P20; also what holds for the whole organisation is no sender's to change."""
    elsewhere = Organisation.objects.create(name="Ander ziekenhuis")
    stranger = Account.objects.create_user("balie@ander.test", PASSWORD, organisation=elsewhere)
    rows = [
        entry(ground, account=ground.account("collega@voorbeeld.test"), address="van-collega@example.org"),
        entry(ground, is_for_all=True, address="van-iedereen@example.org"),
        entry(ground, account=stranger, organisation=elsewhere, address="van-elders@example.org"),
        entry(ground, account=ground.author, organisation=elsewhere, address="van-vroeger@example.org"),
    ]
    before = sorted(row for row in dump() if "verificationdata" in row)
    assert "van-" not in words(author.get(LIST))
    for row in rows:
        for address, unknown in zip(pages(row), pages(VerificationData(id=uuid.uuid4())), strict=True):
            foreign, nothing = author.get(address), author.get(unknown)
            assert foreign.status_code == nothing.status_code == 404
            assert without_tokens(foreign) == without_tokens(nothing)
            assert author.post(address, {"phone": "06 87654321"}).status_code == 404
    assert sorted(row for row in dump() if "verificationdata" in row) == before


def test_an_administrator_has_no_way_to_others_here(ground: Ground) -> None:
    row = entry(ground)
    client = signed_in(ground.account("beheer@voorbeeld.test", role="owner"))
    assert GUEST not in words(client.get(LIST))
    assert client.get(pages(row)[0]).status_code == 404


def test_an_account_of_no_organisation_has_no_such_pages(ground: Ground) -> None:
    client = signed_in(Account.objects.create_user("gast@example.org", PASSWORD))
    assert client.get(LIST).status_code == 404
    assert LIST not in client.get("/inbox/").content.decode()


# What is wrong


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "E-mail address of the recipient: fill it in, such as"),
        ({"address": GUEST}, "Fill in a mobile number or an access code"),
        ({"address": "geen adres", "phone": "06 12345678"}, "E-mail address of the recipient: this is not one"),
        ({"address": f"{GUEST}, b@example.org", "phone": "06 12345678"}, "this is not one e-mail address"),
        ({"address": GUEST, "phone": "020 5551234"}, "Mobile number: this is not"),
        ({"address": GUEST, "code": "zk7"}, "Access code: an access code has 4 to 100 characters"),
        ({"address": GUEST, "phone": "06 12345678", "code": "zk7-zk8"}, "Fill in one of the two"),
        ({"address": GUEST, "code": "zk7-zk8", "hint": "zk7-zk8"}, "Hint: the access code itself stands in it"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_secret_is_repeated(
    ground: Ground, author: Client, values: dict[str, str], said: str
) -> None:
    response = author.post(f"{LIST}add", values)
    assert response.status_code == 422
    assert said in words(response)
    for name in ("phone", "code", "hint"):
        assert name not in values or values[name] not in response.content.decode()
    assert not VerificationData.objects.exists()


@pytest.mark.parametrize("values", [{}, {"phone": ""}, {"phone": "020 5551234"}, {"code": CODE}])
def test_a_correction_that_is_none_changes_nothing(ground: Ground, author: Client, values: dict[str, str]) -> None:
    row = entry(ground)
    assert author.post(pages(row)[0], values).status_code == 422
    assert value_of(ground, row) == PHONE


def test_what_was_removed_meanwhile_is_not_corrected(ground: Ground, author: Client) -> None:
    row = entry(ground)
    VerificationData.objects.all().delete()
    assert author.post(pages(row)[0], {"phone": "06 87654321"}).status_code == 404
    assert not VerificationData.objects.exists()


def test_removing_asks_first(ground: Ground, author: Client) -> None:
    row = entry(ground)
    assert "can’t be undone" in words(author.get(pages(row)[1]))
    assert VerificationData.objects.exists()
    assert author.post(pages(row)[1]).status_code == 303
    assert not VerificationData.objects.exists()
    assert author.post(pages(row)[1]).status_code == 404


# What is right


def test_it_is_shown_masked_with_where_it_came_from_and_when_it_was_confirmed(
    ground: Ground, clock: Clock, author: Client
) -> None:
    row = entry(ground)
    entry(ground, AccessCode(Secret(CODE), Secret("het nummer op uw pas")), address="tweede@example.org")
    VerificationData.objects.filter(id=row.id).update(origin="message", confirmed_at=NOON + timedelta(days=2))
    response = author.get(LIST)
    shown = words(response)
    assert f"{GUEST} Text message +31 6 ****5678 Comes from a message that was opened" in shown
    assert "Last opened with 25 November 2026" in shown
    assert "tweede@example.org Access code not shown Comes from the sender" in shown
    assert "Last opened with not yet" in shown
    for secret in (PHONE, "612345678", CODE, "nummer op uw pas"):
        assert secret not in response.content.decode()


def test_the_inbox_leads_to_it(author: Client) -> None:
    assert f'href="{LIST}"' in author.get("/inbox/").content.decode()
    assert "Nothing is known yet" in words(author.get(LIST))


def test_what_is_added_is_ones_own_and_replaces_what_was(ground: Ground, author: Client) -> None:
    row = entry(ground)
    response = author.post(f"{LIST}add", {"address": GUEST.upper(), "phone": "06 87654321"}, follow=True)
    assert "It is used from the next message on" in words(response)
    assert VerificationData.objects.count() == 1
    assert value_of(ground, row) == "+31687654321"
    author.post(f"{LIST}add", {"address": GUEST, "code": CODE, "hint": "het nummer op uw pas"})
    assert VerificationData.objects.count() == 2
    assert {one.account for one in VerificationData.objects.all()} == {ground.author}


def test_a_correction_is_of_the_same_method_and_not_confirmed_yet(ground: Ground, clock: Clock, author: Client) -> None:
    row = entry(ground)
    VerificationData.objects.update(confirmed_at=NOON, origin="message")
    clock.forward(days=1)
    body = author.get(pages(row)[0]).content.decode()
    assert 'name="phone"' in body
    assert 'name="code"' not in body
    assert author.post(pages(row)[0], {"phone": "06 87654321"}).status_code == 303
    assert value_of(ground, row) == "+31687654321"
    assert (row.origin, row.confirmed_at, row.created_at) == ("sender", None, NOON + timedelta(days=1))


@pytest.mark.parametrize("way", ["add", "correct"])
def test_who_is_held_for_it_is_decided_about_again(ground: Ground, author: Client, way: str) -> None:
    row = entry(ground)
    steps = [{"kind": "hold", "required": ["sms"]}]
    waiting = ground.recipient(
        ground.conversation(mail()),
        method="",
        state=Recipient.State.HELD,
        plan={"form": 1, "steps": steps, "findings": []},
        decided_at=NOON,
    )
    if way == "add":
        response = author.post(f"{LIST}add", {"address": GUEST, "phone": "06 87654321"}, follow=True)
    else:
        response = author.post(pages(row)[0], {"phone": "06 87654321"}, follow=True)
    assert "that was held for lack of this goes out now" in words(response)
    assert [one.subject for one in Job.objects.filter(kind="release")] == [waiting.id]
    assert ground.rings == [NOON]


def test_many_are_shown_in_pages(ground: Ground, author: Client) -> None:
    for number in range(30):
        entry(ground, address=f"r{number:02}@example.org")
    first, second = words(author.get(LIST)), words(author.get(f"{LIST}?page=2"))
    assert "r24@example.org" in first
    assert "r25@example.org" not in first
    assert "r29@example.org" in second


def test_it_is_in_dutch_as_well(ground: Ground) -> None:
    entry(ground)
    client = signed_in(ground.author, "nl")
    shown = words(client.get(LIST))
    assert "Verificatiegegevens" in shown
    assert "Komt van de afzender" in shown
