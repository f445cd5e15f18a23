"""Who may submit: by SPF, by credentials that are bound, rotated or capped, and who guesses (D-8)."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import transaction

from tests.journey.arrival_ground import GUEST, SENDER, Doorstep, HungUp, Wire, mail
from tests.journey.portal_ground import Clock
from tests.peers import until
from zegel.accounts import credentials, submitting
from zegel.accounts.credentials import StillRotating
from zegel.accounts.models import Organisation, SignInFailure, SmtpCredential, Usage
from zegel.core.mail.address import Domain
from zegel.core.mail.dkim import Algorithm, BodyHash, SigningKey, sign
from zegel.core.policy.submitting import Caps
from zegel.core.policy.texts import TextCaps, TextMoney
from zegel.core.secret import Secret
from zegel.edge.dns import Found, Trouble
from zegel.journey import watch
from zegel.journey.custody.models import Submission

pytestmark = pytest.mark.django_db(transaction=True)

REQUIRED = "530 5.7.0 Authentication required"
NO_PASS = (
    "550 5.7.23 SPF gives no pass for your address and the MAIL FROM domain; sign in with AUTH, or correct that "
    "domain's SPF"
)
PERMERROR = "550 5.7.24 The SPF record of the MAIL FROM domain has an error; correct it, or sign in with AUTH"
TEMPERROR = "451 4.4.3 The SPF record of the MAIL FROM domain can't be looked up now; try again later"
NO_DOMAIN = (
    "550 5.7.1 The From domain is not a verified sending domain of your organisation; ask your Zegel administrator"
)
OTHER_DOMAIN = "550 5.7.1 SPF passed for another domain than that of the From address; use the same domain in MAIL FROM"
NOT_BOUND = "550 5.7.1 These credentials may not be used for this From address; ask your Zegel administrator"
NO_SIGNATURE = (
    "550 5.7.22 Beside SPF a valid DKIM signature of the From domain is needed; sign the mail, or sign in with AUTH"
)
CAPPED = (
    "451 4.7.1 More was submitted than your organisation allows for now; try again later, or ask your administrator"
)
BAD_CREDENTIALS = "535 5.7.8 These credentials are not known or were disabled"
GUESSING = "421 4.7.0 Too many failed sign-ins; closing the connection"


@pytest.fixture
def doorstep(tmp_path: Path, clock: Clock) -> Iterator[Doorstep]:
    with Doorstep(tmp_path, clock).open() as opened:
        yield opened


@pytest.fixture
def wire(doorstep: Doorstep) -> Wire:
    return doorstep.secure()


def demand(doorstep: Doorstep, proof: str, *, networks: tuple[str, ...] = (), needs_dkim: bool = False) -> None:
    submitting.demand(
        doorstep.organisation, Organisation.Authentication(proof), networks=networks, needs_dkim=needs_dkim
    )


def publish(doorstep: Doorstep, domain: str = "voorbeeld.test", record: str = "v=spf1 ip4:127.0.0.0/8 -all") -> None:
    doorstep.zone.records[domain, "TXT"] = Found((record,))


def from_(address: str) -> str:
    return f"MAIL FROM:<{address}>"


# --- SPF as the proof -----------------------------------------------------------------------------------------------


def test_spf_proves_nothing_where_no_organisation_asked_for_it(doorstep: Doorstep, wire: Wire) -> None:
    publish(doorstep)
    assert wire.say(from_(SENDER)) == REQUIRED


@pytest.mark.parametrize(
    ("record", "reply"),
    [
        ("v=spf1 -all", NO_PASS),
        ("v=spf1 ~all", NO_PASS),
        ("v=spf1 ?all", NO_PASS),
        ("something else", NO_PASS),
        ("v=spf1 include:", PERMERROR),
    ],
)
def test_what_is_not_a_pass_is_refused_and_says_why(doorstep: Doorstep, wire: Wire, record: str, reply: str) -> None:
    demand(doorstep, "either")
    publish(doorstep, record=record)
    assert wire.say(from_(SENDER)) == reply


def test_a_domain_without_a_record_is_no_pass(doorstep: Doorstep, wire: Wire) -> None:
    demand(doorstep, "either")
    assert wire.say(from_(SENDER)) == NO_PASS


def test_dns_trouble_is_a_refusal_for_now(doorstep: Doorstep, wire: Wire) -> None:
    demand(doorstep, "either")
    doorstep.zone.records["voorbeeld.test", "TXT"] = Trouble("SERVFAIL")
    assert wire.say(from_(SENDER)) == TEMPERROR


def test_a_null_reverse_path_proves_nothing(doorstep: Doorstep, wire: Wire) -> None:
    demand(doorstep, "either")
    publish(doorstep, "client.test")
    publish(doorstep)
    assert wire.say("MAIL FROM:<>") == REQUIRED


def test_a_pass_for_the_from_domain_submits(doorstep: Doorstep, wire: Wire) -> None:
    demand(doorstep, "either")
    publish(doorstep)
    assert wire.submit(mail()).startswith("250 ")
    submission = Submission.objects.get()
    assert submission.credential is None
    assert submission.organisation == doorstep.organisation
    assert b"with ESMTPS id" in doorstep.opened().trace  # RFC 3848: nobody signed in


def test_a_pass_holds_for_one_message_alone(doorstep: Doorstep, wire: Wire) -> None:
    demand(doorstep, "either")
    publish(doorstep)
    assert wire.submit(mail()).startswith("250 ")
    assert wire.say("MAIL FROM:<>") == REQUIRED
    publish(doorstep, record="v=spf1 -all")
    assert wire.say(from_(SENDER)) == NO_PASS


def test_the_attack_a_pass_for_the_attackers_domain_is_no_proof_for_another(doorstep: Doorstep, wire: Wire) -> None:
    demand(doorstep, "either")
    publish(doorstep, "aanvaller.test")
    assert wire.say(from_("x@aanvaller.test")) == REQUIRED


def test_the_attack_from_within_one_customer_can_not_write_for_another(doorstep: Doorstep, wire: Wire) -> None:
    other = Organisation.objects.create(name="Ander", authentication="either")
    doorstep.domain("ander.test", organisation=other)
    doorstep.account_of("iemand@ander.test", organisation=other)
    publish(doorstep, "ander.test")
    assert wire.submit(mail(), sender="iemand@ander.test") == NO_DOMAIN
    assert doorstep.custody() == []


def test_another_domain_of_the_same_organisation_is_no_proof_either(doorstep: Doorstep, wire: Wire) -> None:
    demand(doorstep, "either")
    doorstep.domain("tweede.test")
    publish(doorstep, "tweede.test")
    assert wire.submit(mail(), sender="x@tweede.test") == OTHER_DOMAIN
    assert doorstep.custody() == []


def test_a_subdomain_that_the_organisation_verified_is_a_proof(doorstep: Doorstep, wire: Wire) -> None:
    demand(doorstep, "either")
    doorstep.domain("nieuws.voorbeeld.test")
    publish(doorstep, "nieuws.voorbeeld.test")
    assert wire.submit(mail(), sender="x@nieuws.voorbeeld.test").startswith("250 ")


@pytest.mark.parametrize("in_place", [False, None])
def test_a_subdomain_that_is_not_in_place_is_no_proof(doorstep: Doorstep, wire: Wire, in_place: bool | None) -> None:
    demand(doorstep, "either")
    if in_place is not None:
        doorstep.domain("nieuws.voorbeeld.test", in_place=in_place)
    publish(doorstep, "nieuws.voorbeeld.test")
    assert wire.say(from_("x@nieuws.voorbeeld.test")) == REQUIRED


def test_the_parent_of_the_from_domain_is_no_proof(doorstep: Doorstep, wire: Wire) -> None:
    demand(doorstep, "either")
    doorstep.domain("onder.voorbeeld.test")
    doorstep.account_of("x@onder.voorbeeld.test")
    publish(doorstep)
    assert wire.submit(mail(sender="x@onder.voorbeeld.test")) == OTHER_DOMAIN
    assert doorstep.custody() == []


def test_spf_that_is_bound_to_networks_counts_from_there_alone(doorstep: Doorstep, wire: Wire) -> None:
    publish(doorstep)
    demand(doorstep, "either", networks=("192.0.2.0/24",))
    assert wire.say(from_(SENDER)) == REQUIRED
    demand(doorstep, "either", networks=("192.0.2.0/24", "127.0.0.1"))
    assert wire.submit(mail()).startswith("250 ")


def test_a_permission_that_was_withdrawn_meanwhile_holds_no_longer(doorstep: Doorstep, wire: Wire) -> None:
    demand(doorstep, "either")
    publish(doorstep)
    wire.begin([GUEST])
    demand(doorstep, "credentials")
    assert wire.say("DATA").startswith("354 ")
    wire.send(mail() + b".\r\n")
    assert wire.reply() == OTHER_DOMAIN
    assert doorstep.custody() == []


def test_credentials_are_enough_where_either_is(doorstep: Doorstep) -> None:
    demand(doorstep, "either")
    assert doorstep.signed_in().submit(mail()).startswith("250 ")


# --- both ------------------------------------------------------------------------------------------------------------


def test_where_both_are_demanded_neither_is_enough(doorstep: Doorstep, wire: Wire) -> None:
    demand(doorstep, "both")
    publish(doorstep)
    assert wire.say(from_(SENDER)) == REQUIRED
    publish(doorstep, record="v=spf1 -all")
    signed_in = doorstep.signed_in()
    assert signed_in.say(from_(SENDER)) == NO_PASS
    assert signed_in.say("MAIL FROM:<>") == NO_PASS


def test_where_both_are_demanded_both_together_submit(doorstep: Doorstep) -> None:
    demand(doorstep, "both")
    publish(doorstep)
    assert doorstep.signed_in().submit(mail()).startswith("250 ")
    assert Submission.objects.get().credential == doorstep.credential.credential


def test_spf_of_another_organisation_does_not_help_its_neighbour(doorstep: Doorstep) -> None:
    demand(doorstep, "both")
    other = Organisation.objects.create(name="Ander", authentication="either")
    doorstep.domain("ander.test", organisation=other)
    publish(doorstep, "ander.test")
    assert doorstep.signed_in().say(from_("x@ander.test")) == OTHER_DOMAIN


# --- with a signature ------------------------------------------------------------------------------------------------


def signed(doorstep: Doorstep, content: bytes, *, domain: str = "voorbeeld.test") -> bytes:
    key = SigningKey.generate(Domain.parse(domain), "s1", Algorithm.ED25519_SHA256)
    doorstep.zone.records[f"s1._domainkey.{domain}", "TXT"] = Found((key.dns_record(),))
    header, _, body = content.partition(b"\r\n\r\n")
    body_hash = BodyHash()
    body_hash.feed(body)
    return sign(header + b"\r\n", body_hash.digest(), keys=[key], at=doorstep.clock()) + content


@pytest.fixture
def with_dkim(doorstep: Doorstep) -> Doorstep:
    demand(doorstep, "either", needs_dkim=True)
    publish(doorstep)
    return doorstep


def test_without_a_signature_spf_is_not_enough(with_dkim: Doorstep, wire: Wire) -> None:
    assert wire.submit(mail()) == NO_SIGNATURE
    assert with_dkim.custody() == []


def test_a_signature_of_somebody_else_is_not_enough(with_dkim: Doorstep, wire: Wire) -> None:
    assert wire.submit(signed(with_dkim, mail(), domain="aanvaller.test")) == NO_SIGNATURE
    assert wire.submit(signed(with_dkim, mail(), domain="test.voorbeeld.test")) == NO_SIGNATURE
    assert with_dkim.custody() == []


def test_a_signature_of_another_body_is_not_enough(with_dkim: Doorstep, wire: Wire) -> None:
    assert wire.submit(signed(with_dkim, mail()) + b"PS: betaal op deze rekening.\r\n") == NO_SIGNATURE
    assert with_dkim.custody() == []


def test_a_key_that_can_not_be_looked_up_is_a_refusal_for_now(with_dkim: Doorstep, wire: Wire) -> None:
    content = signed(with_dkim, mail())
    with_dkim.zone.records["s1._domainkey.voorbeeld.test", "TXT"] = Trouble("time-out")
    assert wire.submit(content) == "451 4.4.3 The key of a DKIM signature can't be looked up now; try again later"
    assert with_dkim.custody() == []


def test_a_valid_signature_of_the_from_domain_beside_spf_submits(with_dkim: Doorstep, wire: Wire) -> None:
    assert wire.submit(signed(with_dkim, mail())).startswith("250 ")


# --- credentials that are bound ---------------------------------------------------------------------------------------


def test_credentials_that_are_bound_to_other_networks_are_unknown_here(doorstep: Doorstep, wire: Wire) -> None:
    submitting.bind(doorstep.credential.credential, networks=("192.0.2.0/24",), authors=())
    assert wire.sign_in(doorstep.credential) == BAD_CREDENTIALS
    assert [one["why"] for one in doorstep.logged if one["event"] == "sign_in_refused"] == ["network"]
    submitting.bind(doorstep.credential.credential, networks=("127.0.0.0/8",), authors=())
    assert wire.sign_in(doorstep.credential).startswith("235 ")


def test_credentials_that_are_bound_to_an_address_write_as_nobody_else(doorstep: Doorstep) -> None:
    doorstep.account_of("ander@voorbeeld.test")
    submitting.bind(doorstep.credential.credential, networks=(), authors=(SENDER,))
    wire = doorstep.signed_in()
    assert wire.submit(mail(sender="ander@voorbeeld.test")) == NOT_BOUND
    assert doorstep.custody() == []
    assert wire.submit(mail()).startswith("250 ")


def test_a_binding_is_in_force_in_open_sessions_too(doorstep: Doorstep) -> None:
    wire = doorstep.signed_in()
    submitting.bind(doorstep.credential.credential, networks=(), authors=("tweede.test",))
    assert wire.submit(mail()) == NOT_BOUND


def test_a_binding_to_networks_is_in_force_in_open_sessions_too(doorstep: Doorstep) -> None:
    wire = doorstep.signed_in()
    submitting.bind(doorstep.credential.credential, networks=("192.0.2.0/24",), authors=())
    assert wire.submit(mail()).startswith("535 5.7.8 These credentials were disabled or may not be used from here")
    assert doorstep.custody() == []


def test_a_demand_for_both_is_in_force_in_open_sessions_too(doorstep: Doorstep) -> None:
    wire = doorstep.signed_in()
    demand(doorstep, "both")
    assert wire.submit(mail()).startswith("451 4.7.0 Your organisation now asks for SPF beside the credentials")
    assert doorstep.custody() == []


def test_a_demand_that_was_dropped_is_dropped_in_open_sessions_too(doorstep: Doorstep) -> None:
    demand(doorstep, "both")
    publish(doorstep, record="v=spf1 -all")
    wire = doorstep.signed_in()
    assert wire.say(from_(SENDER)) == NO_PASS
    demand(doorstep, "either")
    assert wire.submit(mail()).startswith("250 ")


def test_a_stranger_with_a_broken_domain_is_not_served_for_ever(doorstep: Doorstep, wire: Wire) -> None:
    demand(doorstep, "either")
    doorstep.zone.records["kapot.test", "TXT"] = Trouble("SERVFAIL")
    wire.send(b"MAIL FROM:<x@kapot.test>\r\n" * 300)
    replies = []
    with suppress(HungUp):
        while True:
            replies.append(wire.reply())
    assert replies[0] == TEMPERROR
    assert replies[-1] == "421 4.7.0 Too many commands without a message; closing the connection"
    assert len(replies) <= 202


def test_ending_a_secret_never_ends_another_one(doorstep: Doorstep, wire: Wire) -> None:
    first = SmtpCredential.objects.get()
    credentials.rotate(first)
    seen = SmtpCredential.objects.get()  # by an administrator who then waits
    credentials.end_previous(SmtpCredential.objects.get())
    third = credentials.rotate(SmtpCredential.objects.get())
    credentials.end_previous(seen)
    assert SmtpCredential.objects.get().previous_hash is not None
    assert wire.sign_in(third).startswith("235 ")


# --- rotation ---------------------------------------------------------------------------------------------------------


def test_while_it_is_rotated_both_secrets_are_valid_and_their_use_is_told_apart(doorstep: Doorstep) -> None:
    old = doorstep.credential
    new = credentials.rotate(old.credential)
    assert doorstep.signed_in(old).submit(mail(identity="oud")).startswith("250 ")
    used = SmtpCredential.objects.filter(previous_used_at__isnull=False, last_used_at=None)
    until(used.exists)
    assert doorstep.signed_in(new).submit(mail(identity="nieuw")).startswith("250 ")
    until(SmtpCredential.objects.filter(last_used_at__isnull=False).exists)


def test_an_ended_secret_is_refused_and_the_new_one_is_not(doorstep: Doorstep, wire: Wire) -> None:
    new = credentials.rotate(doorstep.credential.credential)
    credentials.end_previous(new.credential)
    assert wire.sign_in(doorstep.credential) == BAD_CREDENTIALS
    assert wire.sign_in(new).startswith("235 ")


def test_a_third_secret_is_never_made(doorstep: Doorstep, wire: Wire) -> None:
    new = credentials.rotate(doorstep.credential.credential)
    with pytest.raises(StillRotating):
        credentials.rotate(new.credential)
    assert wire.sign_in(doorstep.credential).startswith("235 ")


def test_disabling_disables_both(doorstep: Doorstep, wire: Wire) -> None:
    new = credentials.rotate(doorstep.credential.credential)
    credentials.disable(new.credential)
    assert [wire.sign_in(one) for one in (doorstep.credential, new)] == [BAD_CREDENTIALS] * 2


# --- caps -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whose", ["credential", "organisation"])
def test_a_cap_stops_the_message_that_would_break_it_and_rings_the_alarm(doorstep: Doorstep, whose: str) -> None:
    capped = doorstep.organisation if whose == "organisation" else doorstep.credential.credential
    submitting.cap(capped, Caps(messages_per_hour=2))
    wire = doorstep.signed_in()
    assert [wire.submit(mail(identity=str(one)))[:3] for one in range(2)] == ["250", "250"]
    before = doorstep.custody()
    assert wire.submit(mail(identity="te veel")) == CAPPED
    assert doorstep.custody() == before
    (alarm,) = [one for one in doorstep.logged if one["event"] == "cap_reached"]
    assert alarm["cap"] == "messages per hour" and alarm["log_level"] == "warning"
    assert alarm["credential"] == (0 if whose == "organisation" else capped.pk)


def test_recipients_count_each_once_and_repeats_not_at_all(doorstep: Doorstep) -> None:
    submitting.cap(doorstep.credential.credential, Caps(recipients_per_day=5))
    wire = doorstep.signed_in()
    three = [f"r{number}@example.org" for number in range(3)]
    for _ in range(3):  # a retry after a lost 250
        assert wire.submit(mail(identity="een"), *three).startswith("250 ")
    assert wire.submit(mail(identity="twee"), *three) == CAPPED
    assert wire.submit(mail(identity="drie"), *three[:2]).startswith("250 ")
    assert Usage.objects.get(whose=Usage.Whose.CREDENTIAL).recipients == 5


@pytest.mark.parametrize("whose", ["organisation", "credential"])
def test_a_message_too_large_for_what_is_left_raises_the_alarm_until_the_hour_or_the_cap_is_another(
    doorstep: Doorstep, whose: str
) -> None:
    capped = doorstep.organisation if whose == "organisation" else doorstep.credential.credential
    submitting.cap(capped, Caps(recipients_per_day=2))
    wire = doorstep.signed_in()
    three = [f"r{number}@example.org" for number in range(3)]

    def stands() -> list[str]:
        return list(watch.found_of(doorstep.organisation, now=doorstep.clock()).capped)

    assert stands() == []
    assert wire.submit(mail(identity="een"), *three) == CAPPED
    assert len(stands()) == 1, "nothing was accepted, and yet mail is refused"
    doorstep.clock.forward(hours=1)
    assert stands() == []
    assert wire.submit(mail(identity="twee"), *three) == CAPPED
    assert len(stands()) == 1
    submitting.cap(capped, Caps(recipients_per_day=5))
    assert stands() == []
    assert wire.submit(mail(identity="drie"), *three).startswith("250 ")


NUMBERED = f"zivver-access-right: {GUEST} sms +31612345678"


@pytest.mark.parametrize("caps", [TextCaps(texts_per_hour=1), TextCaps(text_countries=("BE",))])
def test_a_message_that_names_a_number_waits_where_no_text_could_be_sent(doorstep: Doorstep, caps: TextCaps) -> None:
    with transaction.atomic():
        submitting.count_text(doorstep.organisation.pk, Secret("+32470123456"), "BE", now=doorstep.clock())
    submitting.cap_texts(doorstep.organisation, caps)
    wire = doorstep.signed_in()
    before = doorstep.custody()
    assert wire.submit(mail(NUMBERED)).startswith("451 4.7.1 A limit on text messages of your organisation")
    assert doorstep.custody() == before
    (alarm,) = [one for one in doorstep.logged if one["event"] == "cap_reached"]
    assert alarm["cap"] in ("texts per hour", "text countries") and "612345678" not in str(doorstep.logged)
    assert wire.submit(mail(identity="twee")).startswith("250 "), "it names no number"
    submitting.cap_texts(doorstep.organisation, TextCaps())
    assert wire.submit(mail(NUMBERED)).startswith("250 ")
    submitting.cap_texts(doorstep.organisation, caps)
    assert wire.submit(mail(NUMBERED)).startswith("250 "), "it was accepted before"


def test_a_message_that_names_a_number_waits_where_its_credential_or_the_money_is_spent(doorstep: Doorstep) -> None:
    credential = doorstep.credential.credential
    submitting.cap_texts(credential, TextCaps(None, 0, None))
    wire = doorstep.signed_in()
    refused = "451 4.7.1 A limit on text messages"
    assert wire.submit(mail(NUMBERED)).startswith(refused)
    submitting.cap_texts(credential, TextCaps())
    submitting.price_texts(doorstep.organisation, TextMoney("EUR", 8, (("+31", 200),), 100))
    assert wire.submit(mail(NUMBERED)).startswith(refused)
    told = [(one["cap"], one["credential"]) for one in doorstep.logged if one["event"] == "cap_reached"]
    assert told == [("texts per day", credential.pk), ("text money", 0)]
    submitting.price_texts(doorstep.organisation, TextMoney("EUR", 8, (), 100))
    assert wire.submit(mail(NUMBERED)).startswith("250 ")


def test_after_the_hour_there_is_room_again_and_after_the_day_for_the_day(doorstep: Doorstep) -> None:
    submitting.cap(doorstep.organisation, Caps(messages_per_hour=1, messages_per_day=2))
    wire = doorstep.signed_in()
    replies = []
    for hours in (0, 0, 1, 2, 25):
        doorstep.clock.at += timedelta(hours=hours)
        replies.append(wire.submit(mail(identity=uuid.uuid4().hex))[:3])
    assert replies == ["250", "451", "250", "451", "250"]


def test_another_credential_has_its_own_count(doorstep: Doorstep) -> None:
    submitting.cap(doorstep.credential.credential, Caps(messages_per_hour=1))
    assert doorstep.signed_in().submit(mail(identity="een")).startswith("250 ")
    other = credentials.issue(doorstep.organisation, "ander")
    assert doorstep.signed_in(other).submit(mail(identity="twee")).startswith("250 ")
    assert doorstep.signed_in().submit(mail(identity="drie")) == CAPPED


def test_spf_submission_counts_for_the_organisation(doorstep: Doorstep, wire: Wire) -> None:
    demand(doorstep, "either")
    publish(doorstep)
    submitting.cap(doorstep.organisation, Caps(messages_per_hour=1))
    assert wire.submit(mail(identity="een")).startswith("250 ")
    assert wire.submit(mail(identity="twee")) == CAPPED


def test_messages_that_are_committed_together_can_not_slip_past_a_cap(doorstep: Doorstep) -> None:
    submitting.cap(doorstep.organisation, Caps(messages_per_hour=3))
    wires = [doorstep.signed_in() for _ in range(8)]
    with doorstep.held():
        for number, wire in enumerate(wires):
            wire.begin([GUEST])
            assert wire.say("DATA").startswith("354 ")
            wire.send(mail(identity=str(number)) + b".\r\n")
    assert sorted(wire.reply()[:3] for wire in wires) == ["250"] * 3 + ["451"] * 5


# --- guessing ---------------------------------------------------------------------------------------------------------


def guess(doorstep: Doorstep, name: str) -> str:
    wire = doorstep.secure()
    return wire.say(b"AUTH PLAIN " + base64.b64encode(f"\0{name}\0wrong".encode()))


@pytest.mark.parametrize("known", [True, False])
def test_after_five_failures_a_network_is_sent_away_at_its_first_wrong_guess(doorstep: Doorstep, known: bool) -> None:
    name = doorstep.credential.credential.username if known else "smtp-nobody"
    assert [guess(doorstep, name) for _ in range(5)] == [BAD_CREDENTIALS] * 5
    assert [guess(doorstep, name) for _ in range(2)] == [GUESSING] * 2


def test_failures_count_across_names_and_processes(doorstep: Doorstep) -> None:
    for number in range(5):
        guess(doorstep, f"smtp-{number}")
    with doorstep.another().open() as another:
        assert guess(another, "smtp-6") == GUESSING
    row = SignInFailure.objects.get()
    assert row.failures == 6
    assert b"127.0.0.1" not in bytes(row.place)


def test_whoever_has_the_secret_is_never_kept_out_by_those_who_guess(doorstep: Doorstep) -> None:
    for _ in range(8):
        guess(doorstep, doorstep.credential.credential.username)
    assert doorstep.signed_in().submit(mail()).startswith("250 ")


def test_an_hour_later_the_count_begins_anew(doorstep: Doorstep) -> None:
    for _ in range(6):
        guess(doorstep, "smtp-nobody")
    doorstep.clock.at += timedelta(hours=1, seconds=1)
    assert guess(doorstep, "smtp-nobody") == BAD_CREDENTIALS
    credentials.forget_failures(doorstep.clock.at + timedelta(hours=2))
    assert not SignInFailure.objects.exists()


def test_what_was_tried_stands_in_no_log(doorstep: Doorstep) -> None:
    guess(doorstep, "smtp-typed-by-mistake")
    told = str(doorstep.logged)
    assert "sign_in_refused" in told and "typed-by-mistake" not in told and "wrong" not in told


def test_usage_and_credentials_of_other_organisations_stay_apart(doorstep: Doorstep) -> None:
    other = Organisation.objects.create(name="Ander")
    doorstep.domain("ander.test", organisation=other)
    doorstep.account_of("iemand@ander.test", organisation=other)
    theirs = credentials.issue(other, "theirs")
    submitting.cap(other, Caps(messages_per_hour=1))
    assert doorstep.signed_in(theirs).submit(mail(sender="iemand@ander.test")).startswith("250 ")
    assert doorstep.signed_in().submit(mail()).startswith("250 ")
    assert submitting.used_by(doorstep.organisation, now=doorstep.clock()).messages_today == 1
    assert SmtpCredential.objects.count() == 2
