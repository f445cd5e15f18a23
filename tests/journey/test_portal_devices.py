"""Remembered devices: off unless the organisation allows it, for the same method, and never a proof of a number."""

from __future__ import annotations

import re
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest
from django.test import Client

from tests.journey.portal_ground import MARKER, Clock, Ground, Visitor, dump, mail, signed_in, words
from zegel.accounts import devices as forgetting
from zegel.accounts import policy as policies
from zegel.accounts.models import Account, Organisation, RememberedDevice, SendingDomain
from zegel.core.mail.mime import as_text
from zegel.core.policy.permitting import LONGEST_TRUST, NotAPolicy, RecipientPolicy
from zegel.journey.custody.models import Challenge, Proof, Recipient, Sms, Transmission, VerificationData
from zegel.journey.portal import devices, links

pytestmark = pytest.mark.django_db

FIREFOX: Final = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
SAFARI: Final = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 "
    "Mobile/15E148 Safari/604.1"
)
DAYS: Final = 30


@pytest.fixture(autouse=True)
def allowed(ground: Ground) -> None:
    remember_for(ground, DAYS)


def remember_for(ground: Ground, days: int | None) -> None:
    policy = replace(policies.policy_of(ground.organisation), remembers_devices_days=days)
    policies.permit(ground.organisation, policy)


def message(ground: Ground, **fields: Any) -> tuple[Recipient, str]:
    recipient = ground.recipient(ground.conversation(mail()), **fields)
    return recipient, ground.link(recipient)


def code_of(ground: Ground, recipient: Recipient) -> str:
    if recipient.method != "email":
        return "tulp" if recipient.method == "access-code" else ground.last_code()
    found = re.search(r"\b(\d{6})\b", as_text(ground.mails("code")[-1].partition(b"\r\n\r\n")[2], "utf-8"))
    assert found is not None
    return found[1]


def open_with_code(visitor: Visitor, recipient: Recipient, token: str, *, remember: bool = True, to: str = "") -> Any:
    visitor.follow(token)
    if recipient.method != "access-code":
        visitor.ask(recipient)
    values = {"code": code_of(visitor.ground, recipient), **({"remember": "on"} if remember else {})}
    return visitor.client.post(visitor.page("guest-verify", recipient) + to, values)


def offers_to_open(visitor: Visitor, recipient: Recipient, token: str) -> bool:
    """Without a code."""
    visitor.follow(token)
    return "you need no code" in words(visitor.get(visitor.page("guest", recipient)))


def open_here(visitor: Visitor, recipient: Recipient) -> Any:
    return visitor.client.post(visitor.page("guest-open", recipient))


def opens(visitor: Visitor, recipient: Recipient, token: str) -> bool:
    visitor.follow(token)
    open_here(visitor, recipient)
    return bool(visitor.read(recipient).status_code == 200)


# Whether it is offered


def test_it_is_off_unless_the_organisation_allows_it(ground: Ground, visitor: Visitor) -> None:
    assert RecipientPolicy().remembers_devices_days is None
    assert Organisation.objects.create(name="Andere").remembers_devices_days is None
    remember_for(ground, None)
    recipient, token = message(ground)
    assert open_with_code(visitor, recipient, token).status_code == 303
    assert devices.COOKIE not in visitor.client.cookies
    assert not RememberedDevice.objects.exists() and not ground.mails("notice")


@pytest.mark.parametrize("method", ["sms", "email", "access-code"])
def test_the_box_is_there_and_not_ticked(ground: Ground, visitor: Visitor, method: str) -> None:
    recipient, token = message(ground, method=method, access_code="tulp")
    visitor.follow(token)
    visitor.ask(recipient)
    page = visitor.client.get(visitor.page("guest-verify", recipient), follow=True).content.decode()
    assert "Remember this device for 30 days" in page and "checked" not in page
    assert page.index('name="code"') < page.index('name="remember"')
    remember_for(ground, None)
    page = visitor.client.get(visitor.page("guest-verify", recipient), follow=True).content.decode()
    assert 'name="remember"' not in page


def test_who_does_not_tick_it_is_not_remembered(ground: Ground, visitor: Visitor) -> None:
    recipient, token = message(ground)
    open_with_code(visitor, recipient, token, remember=False)
    assert not RememberedDevice.objects.exists() and devices.COOKIE not in visitor.client.cookies


def test_a_wrong_code_remembers_nothing(ground: Ground, visitor: Visitor) -> None:
    recipient, token = message(ground)
    visitor.follow(token)
    visitor.ask(recipient)
    wrong = f"{(int(ground.last_code()) + 1) % 1_000_000:06}"
    assert visitor.client.post(visitor.page("guest-verify", recipient), {"code": wrong, "remember": "on"}).status_code
    assert not RememberedDevice.objects.exists() and not ground.mails("notice")


@pytest.mark.parametrize("days", [0, -1, LONGEST_TRUST + 1])
def test_a_term_that_cannot_be_is_refused(ground: Ground, days: int) -> None:
    with pytest.raises(NotAPolicy):
        remember_for(ground, days)


# What it opens


@pytest.mark.parametrize("method", ["sms", "email", "access-code"])
def test_a_further_message_opens_without_a_code(ground: Ground, visitor: Visitor, method: str) -> None:
    fields = {"method": method, "access_code": "tulp"}
    first, token = message(ground, **fields)
    open_with_code(visitor, first, token)
    second, other = message(ground, **fields)
    sent = Challenge.objects.count(), Sms.objects.count()
    assert offers_to_open(visitor, second, other)
    assert open_here(visitor, second)["Location"] == visitor.page("guest-read", second)
    assert visitor.read(second).status_code == 200
    assert (Challenge.objects.count(), Sms.objects.count()) == sent
    assert not offers_to_open(Visitor(ground), second, other)


def test_the_link_alone_still_shows_nothing_and_a_get_opens_nothing(ground: Ground, visitor: Visitor) -> None:
    first, token = message(ground)
    open_with_code(visitor, first, token)
    second, other = message(ground)
    visitor.follow(other)
    before = dump()
    for verb in ("get", "head", "options"):
        for page in ("guest", "guest-open", "guest-read", "guest-devices"):
            getattr(visitor.client, verb)(visitor.page(page, second))
    assert dump() == before
    assert visitor.read(second)["Location"] == visitor.page("guest", second)


def test_without_the_link_a_remembered_device_opens_nothing(ground: Ground, visitor: Visitor) -> None:
    first, token = message(ground)
    open_with_code(visitor, first, token)
    second, _ = message(ground)
    assert open_here(visitor, second).status_code == visitor.read(second).status_code == 404


@pytest.mark.parametrize(
    ("known", "asked"),
    [
        ({"method": "sms"}, {"method": "sms", "phone": "+31687654321"}),
        ({"method": "sms"}, {"method": "email"}),
        ({"method": "email"}, {"method": "sms"}),
        ({"method": "email"}, {"method": "access-code", "access_code": "tulp"}),
        ({"method": "access-code", "access_code": "tulp"}, {"method": "sms"}),
        ({"method": "email"}, {"method": "email", "code_needs_tls": 12, "code_needs_authentication": 1}),
        ({"method": "email", "code_needs_tls": 12}, {"method": "email", "code_needs_tls": 12,
                                                    "code_needs_authentication": 1}),
        ({"method": "email"}, {"method": "email", "address": "ander@example.org"}),
        ({"method": "sms"}, {"method": "account"}),
    ],
)  # fmt: skip
def test_another_number_method_mailbox_or_a_higher_demand_asks_a_code(
    ground: Ground, visitor: Visitor, known: dict[str, Any], asked: dict[str, Any]
) -> None:
    first, token = message(ground, **known)
    open_with_code(visitor, first, token)
    assert RememberedDevice.objects.count() == 1
    second, other = message(ground, **asked)
    assert not offers_to_open(visitor, second, other)
    assert open_here(visitor, second)["Location"] == visitor.page("guest", second)
    assert not opens(visitor, second, other)


def test_a_level_that_is_met_opens(ground: Ground, visitor: Visitor) -> None:
    first, token = message(ground, method="email", code_needs_tls=13, code_needs_authentication=3)
    open_with_code(visitor, first, token)
    second, other = message(ground, method="email", code_needs_tls=12, code_needs_authentication=1)
    assert opens(visitor, second, other)


def test_another_organisation_asks_a_code(ground: Ground, visitor: Visitor) -> None:
    first, token = message(ground)
    open_with_code(visitor, first, token)
    second, other = message(ground)
    elsewhere = Organisation.objects.create(name="Andere", remembers_devices_days=DAYS)
    SendingDomain.objects.create(
        organisation=elsewhere, name="ander.test", ownership_token="t", dkim_key=b"", dkim_record="", in_place=True
    )
    second.conversation.organisation = elsewhere
    second.conversation.author = Account.objects.create_user("a@ander.test", "x", organisation=elsewhere)
    second.conversation.save()
    assert not opens(visitor, second, other)


# What it is no proof of


def test_it_counts_as_opened_and_never_confirms_a_number(ground: Ground, clock: Clock, visitor: Visitor) -> None:
    """Rows 5 and 6 are fed by a code that was given."""
    first, token = message(ground)
    open_with_code(visitor, first, token)
    assert not VerificationData.objects.exists()  # the message was not read yet
    clock.forward(minutes=5)
    second, other = message(ground)
    assert opens(visitor, second, other)
    second.refresh_from_db()
    assert (str(second.state), second.opened_at) == ("opened", clock())
    assert not VerificationData.objects.exists()
    visitor.follow(token)
    visitor.read(first)
    assert VerificationData.objects.get().confirmed_at is not None


# How it ends


def test_it_ends_after_its_term(ground: Ground, clock: Clock, visitor: Visitor) -> None:
    first, token = message(ground)
    open_with_code(visitor, first, token)
    clock.forward(days=DAYS, seconds=-1)
    second, other = message(ground)
    assert offers_to_open(visitor, second, other)
    assert opens(visitor, second, other)
    clock.forward(seconds=1)
    assert visitor.read(second).status_code == 303  # also what is open
    assert not opens(visitor, second, other)
    forgetting.forget_expired(clock())
    assert not RememberedDevice.objects.exists()


def test_a_clock_that_was_set_back_trusts_nobody_longer(ground: Ground, clock: Clock, visitor: Visitor) -> None:
    first, token = message(ground)
    open_with_code(visitor, first, token)
    clock.forward(days=-1)
    second, other = message(ground)
    assert not opens(visitor, second, other)


@pytest.mark.parametrize("days", [None, DAYS - 1])
def test_a_stricter_policy_ends_it_at_once_and_for_good(ground: Ground, visitor: Visitor, days: int | None) -> None:
    first, token = message(ground)
    open_with_code(visitor, first, token)
    second, other = message(ground)
    assert opens(visitor, second, other)
    remember_for(ground, days)
    assert visitor.read(second)["Location"] == visitor.page("guest", second)
    assert not opens(visitor, second, other)
    remember_for(ground, DAYS)
    assert not opens(visitor, second, other)


def test_a_longer_term_lengthens_no_trust_that_was_given(ground: Ground, clock: Clock, visitor: Visitor) -> None:
    first, token = message(ground)
    open_with_code(visitor, first, token)
    remember_for(ground, DAYS + 10)
    assert RememberedDevice.objects.exists()
    clock.forward(days=DAYS)
    second, other = message(ground)
    assert not opens(visitor, second, other)


@pytest.mark.parametrize("where", ["corrected", "added", "console"])
def test_an_access_code_that_somebody_enters_ends_it_on_whichever_page(
    ground: Ground, visitor: Visitor, where: str
) -> None:
    first, token = message(ground, method="access-code", access_code="tulp")
    other = Visitor(ground)
    number, number_token = message(ground, address=first.address)
    open_with_code(other, number, number_token)
    ground.clock.forward(minutes=1)
    open_with_code(visitor, first, token)
    assert visitor.read(first).status_code == 200 and RememberedDevice.objects.count() == 2
    opened, its_token = message(ground, method="access-code", access_code="tulp")
    assert opens(visitor, opened, its_token)
    if where == "corrected":
        row = VerificationData.objects.get()
        client, address = signed_in(ground.author), f"/inbox/recipients/{row.id}/"
        answer = client.post(address, {"code": "narcis-narcis"})
    elif where == "added":
        values = {"address": first.address, "code": "narcis-narcis"}
        answer = signed_in(ground.author).post("/inbox/recipients/add", values)
    else:
        client = signed_in(ground.account("beheer@voorbeeld.test", role="owner"))
        values = {"address": first.address, "code": "narcis-narcis"}
        answer = client.post("/console/verification/add/", values)
    assert answer.status_code in (302, 303)
    assert [one.method for one in RememberedDevice.objects.all()] == ["sms"]
    assert visitor.read(opened).status_code == 303  # also what is open
    second, its_token = message(ground, method="access-code", access_code="narcis-narcis")
    assert not opens(visitor, second, its_token)


def test_who_leaves_is_remembered_no_longer_on_that_device(ground: Ground, visitor: Visitor) -> None:
    phone = Visitor(ground)
    first, token = message(ground)
    open_with_code(visitor, first, token)
    ground.clock.forward(minutes=1)
    open_with_code(phone, first, token)
    visitor.client.post(visitor.page("guest-leave", first))
    second, other = message(ground)
    assert not visitor.client.cookies[devices.COOKIE].value
    assert not opens(visitor, second, other)
    assert opens(phone, second, other)


def test_who_leaves_one_mailbox_stays_remembered_for_another(ground: Ground, visitor: Visitor) -> None:
    first, token = message(ground)
    other, other_token = message(ground, address="ander@example.org")
    open_with_code(visitor, first, token)
    open_with_code(visitor, other, other_token)
    visitor.client.post(visitor.page("guest-leave", first))
    again, its_token = message(ground, address="ander@example.org")
    assert opens(visitor, again, its_token)


def test_a_cookie_that_was_changed_or_is_somebody_elses_opens_nothing(ground: Ground, visitor: Visitor) -> None:
    first, token = message(ground)
    open_with_code(visitor, first, token)
    second, other = message(ground)
    value = visitor.client.cookies[devices.COOKIE].value
    for spoilt in ("", "AAAA", value[:60] + ("A" if value[60] != "A" else "B") + value[61:], "é"):
        stranger = Visitor(ground)
        stranger.client.cookies[devices.COOKIE] = spoilt
        assert not opens(stranger, second, other)
    stranger = Visitor(ground)
    stranger.client.cookies[devices.COOKIE] = visitor.client.cookies[links.COOKIE].value  # of the same server
    assert not opens(stranger, second, other)


def test_a_mailbox_has_ten_devices_and_the_oldest_goes(ground: Ground, clock: Clock) -> None:
    found = []
    for _ in range(devices.MOST_OF_GUEST + 1):
        visitor = Visitor(ground)
        recipient, token = message(ground)
        open_with_code(visitor, recipient, token)
        clock.forward(minutes=1)
        found.append(visitor)
    assert RememberedDevice.objects.count() == devices.MOST_OF_GUEST
    last, token = message(ground)
    assert [opens(visitor, last, token) for visitor in found] == [False] + [True] * devices.MOST_OF_GUEST


# What is stored, and where


def test_the_cookie_is_of_this_host_alone_and_the_database_tells_neither_secret_nor_number(
    ground: Ground, visitor: Visitor
) -> None:
    recipient, token = message(ground)
    cookie = open_with_code(visitor, recipient, token).cookies[devices.COOKIE]
    assert cookie.key.startswith("__Host-")
    assert cookie["secure"] and cookie["httponly"] and cookie["samesite"] == "Lax" and cookie["path"] == "/"
    assert not cookie["domain"] and cookie["max-age"] == LONGEST_TRUST * 24 * 3600
    row = RememberedDevice.objects.get()
    assert len(bytes(row.secret_hash)) == 32 and bytes(row.secret_hash).hex() not in cookie.value
    assert "612345678" not in "\n".join(dump())
    assert row.id.hex not in cookie.value


def test_each_remembering_has_a_secret_of_its_own(ground: Ground, clock: Clock, visitor: Visitor) -> None:
    """Who had this browser before knows nothing that counts later."""
    recipient, token = message(ground)
    hashes = set()
    for _ in range(2):
        open_with_code(visitor, recipient, token)
        hashes.add(bytes(RememberedDevice.objects.get().secret_hash))
        clock.forward(minutes=1)
    assert len(hashes) == 2


# The mail, and the page that it leads to


def test_the_recipient_gets_a_mail_with_when_and_what_and_no_code(ground: Ground, visitor: Visitor) -> None:
    visitor.client.defaults["HTTP_USER_AGENT"] = FIREFOX
    recipient, token = message(ground)
    open_with_code(visitor, recipient, token)
    octets = ground.mails("notice")[0]
    assert b'From: "Voorbeeldziekenhuis" <zegel@voorbeeld.test>\r\n' in octets
    text = as_text(octets.partition(b"\r\n\r\n")[2], "utf-8")
    assert "Firefox, Windows" in text and "23 November 2026, 13:00" in text and "23 December 2026" in text
    assert f"http://localhost/m/{token}/devices" in text
    assert MARKER not in text and "5678" not in text and ground.last_code() not in text
    told = Transmission.objects.get(kind="notice")
    assert told.address == recipient.address
    assert RememberedDevice.objects.get().browser == "Firefox, Windows"


def test_a_browser_that_was_remembered_already_causes_no_new_mail(
    ground: Ground, clock: Clock, visitor: Visitor
) -> None:
    recipient, token = message(ground, method="access-code", access_code="tulp")
    for _ in range(20):
        open_with_code(visitor, recipient, token)
    assert len(ground.mails("notice")) == RememberedDevice.objects.count() == 1
    clock.forward(days=DAYS)
    open_with_code(visitor, recipient, token)
    assert len(ground.mails("notice")) == 2, "it was remembered no longer"


def test_a_mailbox_gets_only_so_many_mails_a_day_and_nothing_is_remembered_in_silence(
    ground: Ground, clock: Clock
) -> None:
    recipient, token = message(ground, method="access-code", access_code="tulp")
    for _ in range(devices.MOST_A_DAY + 3):
        clock.forward(minutes=1)
        last = Visitor(ground)
        open_with_code(last, recipient, token)
    assert len(ground.mails("notice")) == devices.MOST_A_DAY
    assert last.read(recipient).status_code == 200 and devices.COOKIE not in last.client.cookies
    other, other_token = message(ground, method="access-code", access_code="tulp", address="ander@example.org")
    open_with_code(Visitor(ground), other, other_token)
    assert len(ground.mails("notice")) == devices.MOST_A_DAY + 1
    clock.forward(days=1)
    open_with_code(last, recipient, token)
    assert devices.COOKIE in last.client.cookies


def test_the_page_of_a_message_leads_to_the_devices_where_they_are_remembered(ground: Ground, visitor: Visitor) -> None:
    recipient, token = message(ground)
    open_with_code(visitor, recipient, token, remember=False)
    address = visitor.page("guest-devices", recipient)
    assert f'href="{address}"' in visitor.read(recipient).content.decode()
    remember_for(ground, None)
    assert address not in visitor.read(recipient).content.decode()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (SAFARI, "Safari, iPhone"),
        ("", ""),
        ("curl/8", ""),
        ("<script>alert(1)</script>", ""),
        (FIREFOX.replace("Firefox", "Edg") + " Chrome/1 Safari/1", "Edge, Windows"),
        ("Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36", "Chrome, Android"),
    ],
)
def test_of_what_a_browser_says_only_our_own_words_are_kept(
    ground: Ground, visitor: Visitor, said: str, shown: str
) -> None:
    visitor.client.defaults["HTTP_USER_AGENT"] = said
    recipient, token = message(ground)
    open_with_code(visitor, recipient, token)
    assert RememberedDevice.objects.get().browser == shown


def test_without_an_address_to_tell_it_from_nothing_is_remembered(ground: Ground, visitor: Visitor) -> None:
    recipient, token = message(ground)
    visitor.follow(token)
    visitor.ask(recipient)
    SendingDomain.objects.all().delete()
    values = {"code": ground.last_code(), "remember": "on"}
    assert visitor.client.post(visitor.page("guest-verify", recipient), values).status_code == 303
    assert visitor.read(recipient).status_code == 200
    assert not RememberedDevice.objects.exists()


def test_the_link_in_the_mail_leads_behind_a_code_to_the_devices(
    ground: Ground, clock: Clock, visitor: Visitor
) -> None:
    recipient, token = message(ground)
    open_with_code(visitor, recipient, token)
    clock.forward(minutes=1)
    owner = Visitor(ground)
    arrived = owner.client.get(f"/m/{token}/devices")
    assert arrived["Location"] == f"/r/{recipient.id}/?to=devices" and token not in arrived["Location"]
    assert owner.get(owner.page("guest-devices", recipient))["Location"] == arrived["Location"]
    assert owner.client.post(owner.page("guest-device-remove", recipient, device=uuid.uuid4())).status_code == 303
    page = owner.get(arrived["Location"]).content.decode()
    assert f"/r/{recipient.id}/code?to=devices" in page
    verified = open_with_code(owner, recipient, token, remember=False, to="?to=devices")
    assert verified["Location"] == owner.page("guest-devices", recipient)
    shown = owner.get(verified["Location"])
    assert shown.status_code == 200 and "Remove this device" in shown.content.decode()
    recipient.refresh_from_db()
    assert recipient.opened_at is None  # who looks at devices reads no message


def test_its_owner_removes_a_device_and_what_is_open_there_closes(
    ground: Ground, clock: Clock, visitor: Visitor
) -> None:
    first, token = message(ground)
    open_with_code(visitor, first, token)
    second, other = message(ground)
    assert opens(visitor, second, other)
    clock.forward(minutes=1)
    owner = Visitor(ground)
    open_with_code(owner, first, token, remember=False)
    device = RememberedDevice.objects.get()
    removing = owner.page("guest-device-remove", first, device=device.id)
    assert owner.client.get(removing).status_code == 405
    assert "remembered no longer" in words(owner.client.post(removing, follow=True))
    assert not RememberedDevice.objects.exists()
    assert visitor.read(second)["Location"] == visitor.page("guest", second)
    assert not opens(visitor, second, other)
    assert not Proof.objects.filter(recipient=second).exists()


def test_nobody_removes_or_sees_a_device_of_another_mailbox(ground: Ground, visitor: Visitor) -> None:
    first, token = message(ground)
    open_with_code(visitor, first, token)
    device = RememberedDevice.objects.get()
    stranger = Visitor(ground)
    other, other_token = message(ground, address="ander@example.org")
    open_with_code(stranger, other, other_token, remember=False)
    assert "No device is remembered" in words(stranger.get(stranger.page("guest-devices", other)))
    stranger.client.post(stranger.page("guest-device-remove", other, device=device.id))
    assert RememberedDevice.objects.exists()


def test_a_form_without_its_token_is_refused(ground: Ground, visitor: Visitor) -> None:
    first, token = message(ground)
    open_with_code(visitor, first, token)
    second, other = message(ground)
    visitor.client.handler.enforce_csrf_checks = True
    visitor.follow(other)
    assert open_here(visitor, second).status_code == 403


def test_an_account_holder_with_the_same_mailbox_is_not_affected(ground: Ground) -> None:
    recipient, token = message(ground, method="account")
    client: Client = signed_in(ground.account("ontvanger@example.org"))
    visitor = Visitor(ground, client)
    visitor.follow(token)
    page = visitor.get(visitor.page("guest", recipient)).content.decode()
    assert "Remembered devices" not in page
    assert visitor.get(visitor.page("guest-devices", recipient)).status_code == 303


def test_the_term_of_the_policy_is_the_term_of_the_device(ground: Ground, clock: Clock, visitor: Visitor) -> None:
    recipient, token = message(ground)
    open_with_code(visitor, recipient, token)
    assert RememberedDevice.objects.get().expires_at == clock() + timedelta(days=DAYS)
