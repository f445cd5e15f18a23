"""A recipient can't use the method: the sender hears of it, and allows another, or doesn't (product §6, D-9)."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable
from typing import Any, Final

import pytest
from django.db import connections, transaction
from django.test import Client

from tests.journey.portal_ground import MARKER, Clock, Ground, Visitor, dump, mail, signed_in, words
from zegel.accounts import mailboxes
from zegel.accounts import policy as policies
from zegel.accounts.models import Account, DomainMinimum, RememberedDevice
from zegel.core.mail.address import Mailbox
from zegel.core.mail.mime import as_text
from zegel.core.policy.case import Asked, Case, Remembered
from zegel.core.policy.permitting import RecipientPolicy
from zegel.core.policy.precedence import plan, plan_to_json
from zegel.core.policy.transport import PROVEN
from zegel.core.policy.verification import AccessCode, Method, SmsCode
from zegel.core.secret import Secret
from zegel.journey.custody import erasures, memory, restoring, retention, revoking
from zegel.journey.custody.memory import Asker
from zegel.journey.custody.models import (
    Challenge,
    Erasure,
    Job,
    MethodRequest,
    PassedMethod,
    Proof,
    PutAside,
    Recipient,
    SealedVerification,
    SenderAct,
    Sms,
    Transmission,
    VerificationData,
    WrongTry,
)
from zegel.journey.custody.restoring import Restored
from zegel.journey.portal import codes, devices, opening
from zegel.journey.tracing import trace_json

pytestmark = pytest.mark.django_db

OLD, NEW = "+31612345678", "+31687654321"
GUEST: Final = "ontvanger@example.org"


def recipient_of(ground: Ground, asked: Asked | None = None, **fields: Any) -> Recipient:
    """As decision leaves it, for a message that asked this; else for one that knew a number."""
    case = Case(asked=asked or Asked())
    decided = {"plan": plan_to_json(plan(case), case), "decided_at": ground.clock()}
    return ground.recipient(ground.conversation(mail()), **{**decided, "method": "sms", "phone": OLD, **fields})


@pytest.fixture
def recipient(ground: Ground) -> Recipient:
    return recipient_of(ground)


@pytest.fixture
def token(ground: Ground, recipient: Recipient) -> str:
    return ground.link(recipient)


@pytest.fixture
def sender(ground: Ground) -> Client:
    return signed_in(ground.author)


def without_csrf(response: Any) -> str:
    return re.sub(r'name="csrfmiddlewaretoken" value="[^"]+"', "", response.content.decode())


def ask(visitor: Visitor, recipient: Recipient, why: str | None = "number-changed") -> Any:
    return visitor.client.post(visitor.page("guest-another-way", recipient), {"why": why} if why else {})


def page(recipient: Recipient) -> str:
    return f"/another-way/{recipient.id}/"


def choose(client: Client, recipient: Recipient, way: str, **filled: str) -> Any:
    """As the page that is shown now has it, followed to the next page."""
    shown = client.get(page(recipient))
    found = re.search(r'name="version" value="([^"]+)"', shown.content.decode())
    values = {f"{way}-{name}": value for name, value in filled.items()}
    version = found[1] if found else ""
    return client.post(page(recipient), {"way": way, "version": version, **values}, follow=True)


def ways(client: Client, recipient: Recipient) -> list[str]:
    shown = client.get(page(recipient)).content.decode()
    return re.findall(r'name="way" value="([^"]+)"', shown)


def remembered(ground: Ground) -> Remembered:
    asker = Asker(ground.organisation.id, ground.author.id, Mailbox.parse(GUEST).key)
    return memory.known({asker}, open_field=ground.unsealer.field)[asker]


# The guest asks


def test_the_sender_gets_one_mail_with_a_link_to_the_page_and_nothing_of_the_message(
    ground: Ground, clock: Clock, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    visitor.follow(token)
    assert ask(visitor, recipient).status_code == 303
    said = words(visitor.get(visitor.page("guest-another-way", recipient)))
    assert "The sender was told" in said
    octets = ground.mails("notice")[0]
    assert b'From: "Voorbeeldziekenhuis" <zegel@voorbeeld.test>\r\n' in octets
    assert b"balie@voorbeeld.test" in octets
    told = Transmission.objects.get(kind="notice")
    assert told.address == ground.author.email and told.submission_id == recipient.submission_id
    assert Job.objects.get(kind="transmit").subject == told.id
    text = as_text(octets.partition(b"\r\n\r\n")[2], "utf-8")
    assert f"http://localhost/another-way/{recipient.id}/" in text and GUEST in text
    assert "Het mobiele nummer is veranderd." in text
    for secret in (MARKER, OLD[3:], token, "5678"):
        assert secret not in text
    asked = MethodRequest.objects.get()
    assert (asked.method, asked.why, asked.at, asked.answer) == ("sms", "number-changed", clock(), "")


def test_a_sender_is_told_once_a_day_however_often_it_is_asked(
    ground: Ground, clock: Clock, recipient: Recipient, token: str
) -> None:
    for why in ("number-changed", "nothing-comes", "no-text-messages"):
        visitor = Visitor(ground)
        visitor.follow(token)
        assert ask(visitor, recipient, why).status_code == 303
    said = words(visitor.get(visitor.page("guest-another-way", recipient)))
    assert "You can tell the sender again at 24 November 13:00" in said
    assert 'name="why"' not in visitor.get(visitor.page("guest-another-way", recipient)).content.decode()
    assert len(ground.mails("notice")) == MethodRequest.objects.count() == 1
    clock.forward(hours=24)
    ask(visitor, recipient)
    assert len(ground.mails("notice")) == 2


@pytest.mark.django_db(transaction=True)
def test_asking_at_twenty_places_at_once_tells_the_sender_once(ground: Ground) -> None:
    recipient = recipient_of(ground)
    token = ground.link(recipient)
    visitors = [Visitor(ground) for _ in range(20)]
    for visitor in visitors:
        visitor.follow(token)

    def attempt(visitor: Visitor) -> None:
        try:
            ask(visitor, recipient)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=attempt, args=(visitor,)) for visitor in visitors]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(ground.mails("notice")) == MethodRequest.objects.count() == 1


@pytest.mark.parametrize(
    ("method", "why"),
    [("sms", "code-not-known"), ("access-code", "number-changed"), ("email", "no-sign-in"), ("account", ""),
     ("sms", "Bel mij op 0900"), ("sms", None)],
)  # fmt: skip
def test_only_a_reason_of_that_method_is_taken_and_no_words_of_a_stranger(
    ground: Ground, visitor: Visitor, method: str, why: str | None
) -> None:
    recipient = recipient_of(ground, method=method, access_code="tulp")
    visitor.follow(ground.link(recipient))
    assert ask(visitor, recipient, why).status_code == 422
    assert not MethodRequest.objects.exists() and not ground.mails("notice")


def test_no_reason_is_chosen_beforehand(ground: Ground, recipient: Recipient, token: str, visitor: Visitor) -> None:
    visitor.follow(token)
    assert "checked" not in visitor.get(visitor.page("guest-another-way", recipient)).content.decode()


def test_without_the_link_or_the_form_of_this_browser_nothing_is_asked(
    ground: Ground, recipient: Recipient, token: str
) -> None:
    assert ask(Visitor(ground), recipient).status_code == 404
    visitor = Visitor(ground)
    visitor.client.handler.enforce_csrf_checks = True
    visitor.follow(token)
    assert ask(visitor, recipient).status_code == 403
    assert not MethodRequest.objects.exists()


def test_looking_at_the_pages_changes_nothing(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor, sender: Client
) -> None:
    visitor.follow(token)
    before = dump()
    for verb in ("get", "head"):
        getattr(visitor.client, verb)(visitor.page("guest-another-way", recipient))
        getattr(sender, verb)(page(recipient))
    assert dump() == before


def test_an_organisation_without_an_address_of_its_own_says_so(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor
) -> None:
    ground.organisation.sending_domains.all().delete()
    visitor.follow(token)
    response = ask(visitor, recipient)
    assert response.status_code == 503 and "Please call the sender" in words(response)
    assert not MethodRequest.objects.exists()


# Who may allow


def test_for_anybody_but_the_author_the_page_does_not_exist(ground: Ground, recipient: Recipient) -> None:
    """Not for an administrator either: no one but the sender has a say in who reads the message."""
    for fields in ({}, {"role": "owner"}):
        other = signed_in(ground.account(f"iemand{len(fields)}@voorbeeld.test", **fields))
        unknown_id = uuid.uuid4()
        known, unknown = other.get(page(recipient)), other.get(f"/another-way/{unknown_id}/")
        assert known.status_code == unknown.status_code == 404
        assert without_csrf(known) == without_csrf(unknown).replace(str(unknown_id), str(recipient.id))
        assert other.post(page(recipient), {"way": "email", "version": "-"}).status_code == 404
    assert Client(HTTP_HOST="localhost").get(page(recipient)).status_code == 302
    recipient.refresh_from_db()
    assert recipient.method == "sms" and not MethodRequest.objects.exists()


@pytest.mark.parametrize("state", ["accepted", "decided", "held"])
def test_who_was_not_notified_yet_is_decided_elsewhere(ground: Ground, sender: Client, state: str) -> None:
    assert sender.get(page(recipient_of(ground, state=state))).status_code == 404


def test_a_revoked_or_expired_message_offers_nothing(ground: Ground, recipient: Recipient, sender: Client) -> None:
    recipient.conversation.destroyed_at = ground.clock()
    recipient.conversation.save()
    assert ways(sender, recipient) == []
    choose(sender, recipient, "email")
    recipient.refresh_from_db()
    assert recipient.method == "sms" and not Transmission.objects.exists()


# What may be allowed


def test_what_is_offered_is_what_message_and_policy_permit(ground: Ground, sender: Client) -> None:
    number = SmsCode(Secret(OLD))
    offered = {
        "nothing": ways(sender, recipient_of(ground)),
        "named": ways(sender, recipient_of(ground, Asked(number))),
        "never e-mail": ways(sender, recipient_of(ground, Asked(never_email=True))),
        "by e-mail": ways(sender, recipient_of(ground, method="email")),
    }
    assert offered == {
        "nothing": ["sms", "access-code", "email"],
        "named": ["sms", "access-code"],  # nothing slides from SMS to a code by e-mail (seed)
        "never e-mail": ["sms", "access-code"],
        "by e-mail": ["sms", "access-code"],
    }


def test_the_policy_of_today_counts(ground: Ground, recipient: Recipient, sender: Client) -> None:
    policies.permit(ground.organisation, RecipientPolicy(allowed=(Method.ACCOUNT, Method.SMS, Method.EMAIL)))
    assert ways(sender, recipient) == ["sms", "email"]
    policies.demand_at_least(ground.organisation, "example.org", Method.SMS)
    assert ways(sender, recipient) == ["sms"]
    policies.demand_at_least(ground.organisation, DomainMinimum.EVERY_OTHER, Method.EMAIL)
    assert ways(sender, recipient) == ["sms"]
    for way in ("email", "access-code", "account", "known-sms", "", "no"):
        choose(sender, recipient, way, code="vier gewone woorden")
    recipient.refresh_from_db()
    assert recipient.method == "sms" and not MethodRequest.objects.exists()


def test_a_plan_that_cannot_be_read_any_more_offers_nothing(ground: Ground, sender: Client) -> None:
    assert ways(sender, recipient_of(ground, plan={"form": 99})) == []


def test_a_number_that_the_organisation_knows_is_one_click(
    ground: Ground, recipient: Recipient, sender: Client
) -> None:
    memory.supply(
        ground.organisation,
        Mailbox.parse(GUEST),
        SmsCode(Secret(NEW)),
        account=None,
        origin=VerificationData.Origin.ADMINISTRATOR,
        now=ground.clock(),
        sealing=ground.keys.sealing,
    )
    assert ways(sender, recipient)[0] == "known-sms"
    shown = sender.get(page(recipient)).content.decode()
    assert "****4321" in shown and NEW[3:] not in shown
    choose(sender, recipient, "known-sms")
    recipient.refresh_from_db()
    assert (recipient.method, recipient.masked) == ("sms", "+31 6 ****4321")


# What follows


def test_another_number_works_with_the_old_link_and_the_old_one_no_more(
    ground: Ground, clock: Clock, recipient: Recipient, token: str, visitor: Visitor, sender: Client
) -> None:
    visitor.follow(token)
    visitor.ask(recipient)
    old_code = ground.last_code()
    ask(visitor, recipient)
    clock.forward(minutes=1)
    said = words(choose(sender, recipient, "sms", phone="06-87654321"))
    assert "gets a new notification" in said
    assert visitor.enter(recipient, old_code).status_code == 422
    opening = words(visitor.get(visitor.page("guest", recipient)))
    assert "+31 6 ****4321" in opening and "5678" not in opening
    visitor.ask(recipient)
    assert ground.text_messages()[-1]["to"] == NEW
    visitor.enter(recipient, ground.last_code())
    assert visitor.read(recipient).status_code == 200
    again = Transmission.objects.get(kind="again")
    assert again.recipient_id == recipient.id and again.state == "queued"
    assert Job.objects.filter(kind="transmit", subject=again.id).exists()
    everything = "\n".join(dump())
    assert NEW[3:] not in everything and OLD[3:] not in everything


def test_who_reads_by_the_old_number_reads_no_further(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor, sender: Client
) -> None:
    visitor.open(recipient, token)
    assert visitor.read(recipient).status_code == 200
    choose(sender, recipient, "sms", phone=NEW)
    assert visitor.read(recipient)["Location"] == visitor.page("guest", recipient)
    assert not Proof.objects.exists() and not Challenge.objects.filter(used_at=None).exists()


def test_an_access_code_with_a_hint(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor, sender: Client
) -> None:
    choose(sender, recipient, "access-code", code="vier gewone woorden", hint="zoals afgesproken")
    visitor.follow(token)
    opening = visitor.get(visitor.page("guest", recipient)).content.decode()
    assert "zoals afgesproken" in opening and "vier gewone" not in opening
    assert visitor.enter(recipient, "vier gewone woorden").status_code == 303
    assert visitor.read(recipient).status_code == 200
    found = remembered(ground)
    assert found.access_code == AccessCode(Secret("vier gewone woorden"), Secret("zoals afgesproken"))


def test_a_code_by_mail_keeps_to_the_level_that_the_message_demands(
    ground: Ground, token: str, visitor: Visitor, sender: Client
) -> None:
    recipient = recipient_of(ground, Asked(transport=PROVEN))
    visitor.follow(ground.link(recipient))
    choose(sender, recipient, "email")
    recipient.refresh_from_db()
    assert (recipient.method, recipient.masked) == ("email", "")
    assert (recipient.code_needs_tls, recipient.code_needs_authentication) == (PROVEN.tls, PROVEN.authentication)
    assert not SealedVerification.objects.filter(recipient=recipient).exists()
    visitor.ask(recipient)
    sent = Transmission.objects.get(kind="code")
    assert (sent.needs_tls, sent.needs_authentication) == (PROVEN.tls, PROVEN.authentication)
    assert not Sms.objects.exists()


def test_what_was_filled_in_is_the_senders_for_later_messages_and_an_opening_confirms_it(
    ground: Ground, clock: Clock, recipient: Recipient, token: str, visitor: Visitor, sender: Client
) -> None:
    """Rows 5 and 6: as for recipients who are held."""
    choose(sender, recipient, "sms", phone=NEW)
    assert remembered(ground).sms == SmsCode(Secret(NEW)) and remembered(ground).supplied == {Method.SMS}
    clock.forward(minutes=1)
    visitor.open(recipient, token)
    visitor.read(recipient)
    assert remembered(ground).sms == SmsCode(Secret(NEW)) and remembered(ground).supplied == frozenset()
    assert VerificationData.objects.count() == 1


def test_a_code_by_mail_is_for_this_message_alone(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor, sender: Client
) -> None:
    visitor.open(recipient, token)
    visitor.read(recipient)
    choose(sender, recipient, "email")
    assert remembered(ground).sms == SmsCode(Secret(OLD))


def test_wrong_tries_are_not_forgotten(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor, sender: Client
) -> None:
    """P12: per recipient and conversation, whatever the method."""
    visitor.follow(token)
    WrongTry.objects.bulk_create(WrongTry(recipient=recipient, at=ground.clock()) for _ in range(10))
    choose(sender, recipient, "access-code", code="vier gewone woorden")
    assert visitor.enter(recipient, "vier gewone woorden").status_code == 429


def test_a_new_access_code_ends_the_trust_in_devices_that_had_the_old_one(
    ground: Ground, recipient: Recipient, sender: Client
) -> None:
    fields = {"organisation": ground.organisation, "key": recipient.key, "secret_hash": b"x", "browser": ""}
    times = {"created_at": ground.clock(), "used_at": ground.clock(), "expires_at": ground.clock()}
    for method in ("access-code", "email"):
        RememberedDevice.objects.create(id=uuid.uuid4(), method=method, **fields, **times)
    choose(sender, recipient, "access-code", code="vier gewone woorden")
    assert [one.method for one in RememberedDevice.objects.all()] == ["email"]


def test_no_is_recorded_shown_to_the_guest_and_mailed_to_nobody(
    ground: Ground, clock: Clock, recipient: Recipient, token: str, visitor: Visitor, sender: Client
) -> None:
    visitor.follow(token)
    ask(visitor, recipient)
    clock.forward(minutes=5)
    assert "Refused" in words(choose(sender, recipient, "no"))
    asked = MethodRequest.objects.get()
    assert (asked.answer, asked.answered_at, asked.other) == ("refused", clock(), "")
    assert "The sender wants no other way" in words(visitor.get(visitor.page("guest-another-way", recipient)))
    assert Transmission.objects.count() == 1
    recipient.refresh_from_db()
    assert recipient.method == "sms"


def test_a_form_that_is_sent_twice_does_nothing_twice(ground: Ground, recipient: Recipient, sender: Client) -> None:
    values = {"way": "email", "version": "-"}
    for _ in range(2):
        said = words(sender.post(page(recipient), values, follow=True))
    assert "this page was not up to date" in said
    assert Transmission.objects.filter(kind="again").count() == MethodRequest.objects.count() == 1


@pytest.mark.parametrize("typed", ["", "12", "+31101234567", "<b>06</b>"])
def test_what_is_no_mobile_number_is_refused_and_not_shown_again(
    ground: Ground, recipient: Recipient, sender: Client, typed: str
) -> None:
    response = choose(sender, recipient, "sms", phone=typed)
    assert response.status_code == 422
    assert not typed or f'value="{typed}"' not in response.content.decode()
    recipient.refresh_from_db()
    assert recipient.masked == "+31 6 ****5678" and not MethodRequest.objects.exists()


def test_what_was_asked_and_chosen_is_in_the_record(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor, sender: Client
) -> None:
    visitor.follow(token)
    ask(visitor, recipient, "nothing-comes")
    choose(sender, recipient, "sms", phone=NEW)
    asked = MethodRequest.objects.get()
    assert (asked.method, asked.why, asked.answer, asked.other, asked.masked) == (
        "sms", "nothing-comes", "allowed", "sms", "+31 6 ****4321",
    )  # fmt: skip
    administrator = signed_in(ground.account("beheer@voorbeeld.test", role="owner"))
    said = words(administrator.get(f"/console/messages/{recipient.submission_id}/"))
    assert "could not use" in said and "The sender allowed another method" in said and "+31 6 ****4321" in said


def test_who_opened_before_stays_opened(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor, sender: Client
) -> None:
    visitor.open(recipient, token)
    visitor.read(recipient)
    choose(sender, recipient, "sms", phone=NEW)
    recipient.refresh_from_db()
    assert str(recipient.state) == "opened" and recipient.opened_with == "sms"
    assert Transmission.objects.filter(kind="again").count() == 1


# At the same moment


@pytest.fixture
def overtaken(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the guest asks waits for the recipient, and the sender is first."""

    def before(module: Any, act: Any) -> None:
        real, acts = module.lock, [act]

        def lock(row: Recipient) -> Recipient:
            if acts:
                acts.pop()()
            return real(row)  # type: ignore[no-any-return]

        monkeypatch.setattr(module, "lock", lock)

    return before


def test_a_code_that_was_asked_for_meanwhile_goes_to_the_number_that_is_allowed(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor, sender: Client, overtaken: Any
) -> None:
    visitor.follow(token)
    overtaken(codes, lambda: choose(sender, recipient, "sms", phone=NEW))
    assert visitor.ask(recipient).status_code == 303
    assert [one["to"] for one in ground.text_messages()] == [NEW]


def test_no_code_is_sent_where_another_method_is_allowed_meanwhile(
    ground: Ground, recipient: Recipient, token: str, visitor: Visitor, sender: Client, overtaken: Any
) -> None:
    visitor.follow(token)
    overtaken(codes, lambda: choose(sender, recipient, "access-code", code="narcis-narcis"))
    assert visitor.ask(recipient)["Location"] == visitor.page("guest", recipient)
    assert not ground.text_messages() and not Challenge.objects.exists()
    assert "access code that you agreed on" in words(visitor.get(visitor.page("guest", recipient)))


@pytest.mark.parametrize("way", ["access-code", "sms"])
def test_an_access_code_that_was_replaced_meanwhile_opens_nothing(
    ground: Ground, visitor: Visitor, sender: Client, overtaken: Any, way: str
) -> None:
    recipient = recipient_of(ground, method="access-code", access_code="tulp")
    visitor.follow(ground.link(recipient))
    filled = {"code": "narcis-narcis"} if way == "access-code" else {"phone": NEW}
    overtaken(codes, lambda: choose(sender, recipient, way, **filled))
    assert visitor.enter(recipient, "tulp").status_code == (422 if way == "access-code" else 303)
    assert visitor.read(recipient).status_code == 303 and not Proof.objects.exists()
    assert WrongTry.objects.count() == (1 if way == "access-code" else 0)


def test_a_remembered_device_opens_nothing_that_is_asked_in_another_way_meanwhile(
    ground: Ground, visitor: Visitor, sender: Client, overtaken: Any
) -> None:
    policies.permit(ground.organisation, RecipientPolicy(remembers_devices_days=30))
    recipient = recipient_of(ground)
    visitor.follow(ground.link(recipient))
    visitor.ask(recipient)
    visitor.client.post(visitor.page("guest-verify", recipient), {"code": ground.last_code(), "remember": "on"})
    Proof.objects.all().delete()
    overtaken(opening, lambda: choose(sender, recipient, "sms", phone=NEW))
    visitor.client.post(visitor.page("guest-open", recipient))
    assert visitor.read(recipient).status_code == 303 and not Proof.objects.exists()


def test_no_device_is_remembered_for_a_number_that_was_not_proven_on_it(
    ground: Ground, visitor: Visitor, sender: Client, overtaken: Any
) -> None:
    """The code was right; before the device is remembered the sender allows another number."""
    policies.permit(ground.organisation, RecipientPolicy(remembers_devices_days=30))
    recipient = recipient_of(ground)
    visitor.follow(ground.link(recipient))
    visitor.ask(recipient)
    overtaken(devices, lambda: choose(sender, recipient, "sms", phone=NEW))
    visitor.client.post(visitor.page("guest-verify", recipient), {"code": ground.last_code(), "remember": "on"})
    assert not RememberedDevice.objects.exists() and not Proof.objects.exists()


# How often, and who


def test_allowing_notifies_no_more_often_than_asking_for_it(
    ground: Ground, clock: Clock, recipient: Recipient, sender: Client
) -> None:
    for number in range(30):
        said = words(choose(sender, recipient, "sms", phone=f"+3161234{1000 + number}"))
        assert ("gets a new notification" in said) == (number == 0)
    assert Transmission.objects.filter(kind="again").count() == SenderAct.objects.filter(kind="again").count() == 1
    assert sender.post(f"/inbox/{recipient.conversation_id}/again/{recipient.id}").status_code == 429
    for number in range(10):
        clock.forward(minutes=11)
        choose(sender, recipient, "sms", phone=f"+3161235{1000 + number}")
    assert Transmission.objects.filter(kind="again").count() == 5


def test_who_reads_the_mailbox_that_sent_it_allows_and_an_administrator_does_not(ground: Ground) -> None:
    info = Account.objects.create_user("info@voorbeeld.test", organisation=ground.organisation)
    reader = ground.account("lezer@voorbeeld.test")
    case = Case(asked=Asked())
    recipient = ground.recipient(
        ground.conversation(mail(), author=info),
        phone=OLD,
        plan=plan_to_json(plan(case), case),
        decided_at=ground.clock(),
    )
    MethodRequest.objects.create(recipient=recipient, method="sms", why="number-changed", at=ground.clock())
    client = signed_in(reader)
    administrator = signed_in(ground.account("beheer@voorbeeld.test", role="owner"))
    assert client.get(page(recipient)).status_code == administrator.get(page(recipient)).status_code == 404
    mailboxes.add_reader(info, reader)
    assert page(recipient) in client.get(f"/inbox/{recipient.conversation_id}/").content.decode()
    assert "gets a new notification" in words(choose(client, recipient, "sms", phone=NEW))
    recipient.refresh_from_db()
    assert recipient.masked == "+31 6 ****4321" and SenderAct.objects.get().account == reader
    mailboxes.remove_reader(info, reader)
    assert client.get(page(recipient)).status_code == 404


# A backup from before is restored


def restored_from_before(
    ground: Ground, recipient: Recipient, change: Callable[[], object], **then: object
) -> Restored:
    """What is known of the recipient, with its ways in, is what it was before ``change``, or ``then``, as in a backup;
    the journal goes on."""
    found = Recipient.objects.filter(id=recipient.id)
    proofs, passed = list(SealedVerification.objects.all()), list(PassedMethod.objects.all())
    before = found.values("method", "masked", "state", "code_needs_tls", "code_needs_authentication").get()
    change()
    journal = erasures.after(0)
    for model in (Erasure, MethodRequest, SenderAct, Transmission, Job, SealedVerification, PassedMethod):
        model.objects.all().delete()
    found.update(**{**before, **then})
    SealedVerification.objects.bulk_create(proofs)
    PassedMethod.objects.bulk_create(passed)
    with transaction.atomic():
        done = restoring.make_good(journal, now=ground.clock())
    recipient.refresh_from_db()
    return done


@pytest.mark.parametrize("before", ["sms", "access-code", "email", "account"])
def test_a_way_that_was_replaced_does_not_come_back_with_a_restore(ground: Ground, sender: Client, before: str) -> None:
    recipient = recipient_of(ground, method=before, access_code="vier gewone woorden")
    token = ground.link(recipient)
    done = restored_from_before(ground, recipient, lambda: choose(sender, recipient, "sms", phone=NEW))
    assert done.shut == 1
    assert memory.used_by(recipient, open_field=ground.unsealer.field) is None
    assert (recipient.method, recipient.masked, recipient.links.count()) == ("sms", "", 0)
    visitor = Visitor(ground)
    assert visitor.follow(token).status_code == 404
    # Also by a link that a later mail brings, about which nobody asked the sender.
    visitor.follow(ground.link(recipient))
    refused = visitor.ask(recipient)
    assert refused.status_code == 503 and "Ask the sender" in words(refused)
    assert not Sms.objects.exists() and not Challenge.objects.exists() and not Transmission.objects.exists()
    assert visitor.read(recipient).status_code != 200


@pytest.mark.parametrize("state", ["accepted", "held", "decided"])
def test_who_was_notified_since_the_backup_is_not_decided_once_more(ground: Ground, sender: Client, state: str) -> None:
    recipient = recipient_of(ground, method="email")
    restored_from_before(ground, recipient, lambda: choose(sender, recipient, "sms", phone=NEW), state=state)
    assert (recipient.state, recipient.status, recipient.reason) == ("undeliverable", "4.3.0", "restored")
    assert [(one.kind, one.subject) for one in PutAside.objects.all()] == [("report", recipient.id)]


def test_nothing_that_leads_in_by_the_way_of_before_goes_out_after_a_restore(ground: Ground, sender: Client) -> None:
    recipient = recipient_of(ground)
    visitor = Visitor(ground)
    visitor.follow(ground.link(recipient))
    visitor.ask(recipient)
    choose(sender, recipient, "email")
    journal = erasures.after(0)
    Erasure.objects.all().delete()
    with transaction.atomic():
        restoring.make_good(journal, now=ground.clock())
    assert [(one.state, one.sealed) for one in Transmission.objects.all()] == [("failed", None)]
    assert [(one.state, one.sealed) for one in Sms.objects.all()] == [("failed", None)]


def test_a_recipient_who_lost_the_message_is_not_asked_about(ground: Ground, sender: Client) -> None:
    recipient, destroyed = recipient_of(ground), recipient_of(ground)

    def change() -> None:
        choose(sender, recipient, "email")
        choose(sender, destroyed, "email")
        with transaction.atomic():
            revoking.revoke(recipient, now=ground.clock())
            retention.destroy(destroyed.conversation_id, now=ground.clock())
        Recipient.objects.filter(id=recipient.id).update(revoked_at=None)

    done = restored_from_before(ground, recipient, change)
    assert (done.revoked, done.shut) == (1, 0) and not MethodRequest.objects.exists()


def test_the_sender_sees_what_a_restore_ended_and_allows_a_way_again(ground: Ground, sender: Client) -> None:
    recipient = recipient_of(ground, method="email")
    conversation = f"/inbox/{recipient.conversation_id}/"
    restored_from_before(ground, recipient, lambda: choose(sender, recipient, "sms", phone=NEW))
    sender = signed_in(ground.author)  # anew, as everybody
    said = "The gateway was restored from a backup from before another way was chosen for this recipient"
    assert said in words(sender.get(conversation)) and said in words(sender.get(page(recipient)))
    assert page(recipient) in sender.get(conversation).content.decode()
    (trace,) = trace_json(recipient.submission)["recipients"]
    told = "Restored from before another method was allowed: nothing opens it until one is allowed again."
    assert told in [one["en"] for one in trace["events"]]
    # The code by e-mail can be allowed again, with a word; there is nobody to refuse.
    assert ways(sender, recipient) == ["known-sms", "sms", "access-code", "email"]
    choose(sender, recipient, "sms", phone=NEW)
    recipient.refresh_from_db()
    assert (recipient.method, recipient.masked) == ("sms", "+31 6 ****4321")
    assert Transmission.objects.get().kind == "again"
    assert said not in words(sender.get(conversation)) and said not in words(sender.get(page(recipient)))
    visitor = Visitor(ground)
    visitor.follow(ground.link(recipient))
    visitor.ask(recipient)
    assert ground.text_messages()[-1]["to"] == NEW


def test_what_an_account_passed_before_another_number_does_not_come_back(ground: Ground) -> None:
    holder = ground.account(GUEST)
    old, new = recipient_of(ground), recipient_of(ground, phone=NEW)

    def pass_of(recipient: Recipient) -> None:
        with transaction.atomic():
            memory.note_passed(
                holder, recipient, now=ground.clock(), open_field=ground.unsealer.field, sealing=ground.keys.sealing
            )

    pass_of(old)
    assert not Erasure.objects.exists()
    assert restored_from_before(ground, new, lambda: pass_of(new)).forgotten == 1
    assert not PassedMethod.objects.exists()
