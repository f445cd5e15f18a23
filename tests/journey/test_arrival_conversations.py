"""From message to conversations, and the same message twice (D-4)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from tests.journey.arrival_ground import SENDER, Doorstep, Wire, mail, recording
from tests.journey.portal_ground import Clock
from zegel.accounts import credentials
from zegel.accounts.models import Organisation
from zegel.core.mail.address import Mailbox
from zegel.core.policy.directives import from_json_bytes
from zegel.journey.custody.models import Content, Conversation, Job, Message, Recipient, Submission
from zegel.journey.custody.retention import destroy

pytestmark = pytest.mark.django_db(transaction=True)

TO, CC, BCC, OTHER = "to@example.org", "cc@example.org", "bcc@example.org", "ander@example.org"
LARGE = b"0123456789abcdef\r\n" * 20_000


@pytest.fixture(params=["written here", "recorded apart"])
def doorstep(tmp_path: Path, clock: Clock, request: pytest.FixtureRequest) -> Iterator[Doorstep]:
    if request.param == "written here":
        with Doorstep(tmp_path, clock).open() as opened:
            yield opened
    else:
        with (
            recording(tmp_path / "hatch") as rounds,
            Doorstep(tmp_path, clock, hatch=tmp_path / "hatch").open() as opened,
        ):
            yield opened
        assert rounds or not Submission.objects.exists()


@pytest.fixture
def wire(doorstep: Doorstep) -> Wire:
    return doorstep.signed_in()


@dataclass(frozen=True)
class Found:
    """Who is in which conversation."""

    shared: frozenset[frozenset[str]]
    blind: frozenset[frozenset[str]]


def conversations() -> Found:
    def of(*, blind: bool) -> frozenset[frozenset[str]]:
        return frozenset(
            frozenset(one.recipients.values_list("address", flat=True))
            for one in Conversation.objects.filter(is_blind=blind)
        )

    assert Conversation.objects.count() == len(of(blind=True)) + len(of(blind=False))
    return Found(of(blind=False), of(blind=True))


def found(*shared: set[str], blind: tuple[str, ...] = ()) -> Found:
    return Found(frozenset(map(frozenset, shared)), frozenset(frozenset({one}) for one in blind))


def accept(wire: Wire, content: bytes, *recipients: str) -> None:
    assert wire.submit(content, *recipients).startswith("250 2.0.0 ")


# Who shares a conversation


def test_to_and_cc_share_one_conversation(wire: Wire) -> None:
    accept(wire, mail(f"Cc: {CC}", to=TO), TO, CC)
    assert conversations() == found({TO, CC})


def test_each_blind_recipient_has_a_conversation_alone(wire: Wire) -> None:
    accept(wire, mail(f"Bcc: {BCC}, {OTHER}", to=TO), TO, BCC, OTHER)
    assert conversations() == found({TO}, blind=(BCC, OTHER))


def test_the_content_is_stored_once_for_all_of_them(doorstep: Doorstep, wire: Wire) -> None:
    accept(wire, mail(to=TO, body=LARGE), TO, BCC, OTHER)
    assert Content.objects.count() == 1
    assert len(doorstep.files()) == 1
    opened = {doorstep.opened(message).rest for message in Message.objects.all()}
    assert opened == {mail(to=TO, body=LARGE)}
    assert Message.objects.count() == 3
    assert len({bytes(one.key or b"") for one in Message.objects.all()}) == 3


def test_who_is_shown_and_also_blind_counts_as_shown(wire: Wire) -> None:
    accept(wire, mail(f"Bcc: {TO}", to=TO), TO)
    assert conversations() == found({TO})


def test_two_spellings_are_one_recipient(wire: Wire) -> None:
    accept(wire, mail(to="To@Example.ORG"), TO, "TO@example.org", BCC, "Bcc@EXAMPLE.org")
    assert conversations() == found({TO}, blind=(BCC,))


def test_a_message_without_any_shown_recipient_is_blind_for_everybody(wire: Wire) -> None:
    accept(wire, mail(to="undisclosed-recipients:;"), BCC, OTHER)
    assert conversations() == found(blind=(BCC, OTHER))


def test_who_is_shown_but_not_in_the_envelope_gets_nothing(wire: Wire) -> None:
    accept(wire, mail(f"Cc: {CC}", to=TO), TO)
    assert conversations() == found({TO})


def test_a_to_field_that_nobody_can_read_shows_nobody(wire: Wire) -> None:
    accept(wire, mail(to="<<>>, @@, \x22"), TO)
    assert conversations() == found(blind=(TO,))


def test_a_quoted_local_part_is_recognised(wire: Wire) -> None:
    accept(wire, mail(to='"een naam"@example.org'), '"een naam"@example.org')
    assert conversations() == found({'"een naam"@example.org'})


def test_as_many_recipients_as_are_allowed_are_served(wire: Wire) -> None:
    many = [f"lezer{number}@example.org" for number in range(1000)]
    shown, blind = many[:500], many[500:]
    assert wire.say(f"MAIL FROM:<{SENDER}>").startswith("250 ")
    wire.send("".join(f"RCPT TO:<{one}>\r\n" for one in [*many, "te-veel@example.org"]).encode())
    replies = wire.replies(1001)
    assert {one[:3] for one in replies[:-1]} == {"250"}
    assert replies[-1].startswith("452 4.5.3 ")
    assert wire.say("DATA").startswith("354 ")
    wire.send(mail(to=",\r\n ".join(shown)) + b".\r\n")
    assert wire.reply().startswith("250 ")
    assert conversations() == found(set(shown), blind=tuple(blind))
    accept(wire, mail(to=",\r\n ".join(shown)), many[0], many[-1])
    assert Submission.objects.count() == 1


def test_one_job_decides_and_others_are_woken(doorstep: Doorstep, wire: Wire) -> None:
    accept(wire, mail(to=TO), TO, BCC)
    assert [(one.kind, one.subject) for one in Job.objects.all()] == [("decide", Submission.objects.get().id)]
    assert doorstep.rings == [1]


# Expiry and warnings


def test_an_expiry_that_was_asked_is_kept_and_becomes_a_job(doorstep: Doorstep, wire: Wire) -> None:
    accept(wire, mail("zivver-message-expiration: delete P30D", to=TO), TO, BCC)
    at = doorstep.clock() + timedelta(days=30)
    assert {one.expires_at for one in Conversation.objects.all()} == {at}
    jobs = Job.objects.filter(kind="expire")
    assert {one.subject for one in jobs} == {one.id for one in Conversation.objects.all()}
    assert {one.due_at for one in jobs} == {at}


def test_an_organisations_expiry_applies_where_nothing_was_asked(doorstep: Doorstep, wire: Wire) -> None:
    Organisation.objects.update(expires_after_days=7)
    accept(wire, mail(to=TO), TO)
    accept(wire, mail("zivver-message-expiration: delete P1D", to=TO, identity="twee"), TO)
    lives = [one.expires_at - doorstep.clock() for one in Conversation.objects.order_by("expires_at") if one.expires_at]
    assert lives == [timedelta(days=1), timedelta(days=7)]


@pytest.mark.parametrize(
    "field", ["zivver-direct-delivery: veilig", "zivver-access-right: iemand@elders.test sms +31612345678"]
)
def test_something_odd_that_was_accepted_is_told_after_ten_minutes(doorstep: Doorstep, wire: Wire, field: str) -> None:
    accept(wire, mail(field, to=TO), TO)
    job = Job.objects.get(kind="warn")
    assert (job.subject, job.due_at) == (Submission.objects.get().id, doorstep.clock() + timedelta(minutes=10))


# The same message again


def test_the_same_transaction_again_changes_nothing(doorstep: Doorstep, wire: Wire) -> None:
    accept(wire, mail(to=TO), TO, BCC)
    before = doorstep.custody()
    accept(wire, mail(to=TO), TO, BCC)
    accept(doorstep.signed_in(), mail(to=TO), TO, BCC)
    assert doorstep.custody() == before
    assert doorstep.rings == [1]


def test_a_repeated_large_message_leaves_no_second_file(doorstep: Doorstep, wire: Wire) -> None:
    accept(wire, mail(to=TO, body=LARGE), TO)
    before = doorstep.custody()
    accept(wire, mail(to=TO, body=LARGE), TO)
    assert doorstep.custody() == before
    assert doorstep.opened().rest == mail(to=TO, body=LARGE)


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(b"Received: from a.test by b.test; Mon, 23 Nov 2026 12:00:01 +0000\r\n" + mail(to=TO), id="trace"),
        pytest.param(b"DKIM-Signature: v=1; t=2; b=x\r\n" + mail(to=TO), id="signed anew"),
        pytest.param(b"Bcc: bcc@example.org\r\n" + mail(to=TO), id="Bcc"),
        pytest.param(b"zivver-message-expiration: delete P1D\r\n" + mail(to=TO), id="control field"),
        pytest.param(mail(to=TO).replace(b"Subject: Uitslag", b"subject:\r\n\tUitslag"), id="folded anew"),
    ],
)
def test_what_changes_on_the_way_makes_no_other_message(doorstep: Doorstep, wire: Wire, again: bytes) -> None:
    accept(wire, mail(to=TO), TO)
    before = doorstep.custody()
    accept(wire, again, TO)
    assert doorstep.custody() == before


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(mail(to=TO, body=b"Anders\r\n"), id="body"),
        pytest.param(mail(to=TO, subject="Anders"), id="subject"),
        pytest.param(mail(to=TO, identity="anders"), id="Message-ID"),
        pytest.param(mail(f"Cc: {CC}", to=TO), id="Cc"),
    ],
)
def test_another_message_is_never_taken_for_a_repetition(wire: Wire, other: bytes) -> None:
    """Never by its Message-ID alone."""
    accept(wire, mail(to=TO), TO)
    accept(wire, other, TO)
    assert Conversation.objects.count() == 2
    assert Content.objects.count() == 2


def test_the_same_octets_of_another_author_are_another_message(doorstep: Doorstep, wire: Wire) -> None:
    doorstep.account_of("chef@voorbeeld.test")
    accept(wire, mail(to=TO), TO)
    accept(wire, mail(to=TO, sender="chef@voorbeeld.test"), TO)
    assert {one.author.email for one in Conversation.objects.all()} == {SENDER, "chef@voorbeeld.test"}


def test_a_message_without_a_message_id_is_recognised_too(doorstep: Doorstep, wire: Wire) -> None:
    accept(wire, mail(to=TO, identity=None), TO)
    before = doorstep.custody()
    accept(wire, mail(to=TO, identity=None), TO)
    assert doorstep.custody() == before


def test_after_a_day_it_is_a_new_message(doorstep: Doorstep, wire: Wire) -> None:
    accept(wire, mail(to=TO), TO)
    doorstep.clock.forward(hours=23, minutes=59)
    accept(wire, mail(to=TO), TO)
    assert Conversation.objects.count() == 1
    doorstep.clock.forward(minutes=1)
    accept(wire, mail(to=TO), TO)
    assert Conversation.objects.count() == 2


def test_a_clock_that_went_back_does_not_make_a_repetition_new(doorstep: Doorstep, wire: Wire) -> None:
    accept(wire, mail(to=TO), TO)
    doorstep.clock.forward(hours=-26)
    accept(wire, mail(to=TO), TO)
    assert Conversation.objects.count() == 1


def test_a_conversation_whose_keys_are_gone_is_not_joined(doorstep: Doorstep, wire: Wire) -> None:
    accept(wire, mail(to=TO), TO)
    destroy(Conversation.objects.get().id, now=doorstep.clock())
    accept(wire, mail(to=TO), TO)
    alive = Conversation.objects.get(destroyed_at=None)
    assert doorstep.opened(alive.messages.get()).rest == mail(to=TO)


# A message in two halves


def test_the_halves_of_a_split_share_one_conversation(doorstep: Doorstep, wire: Wire) -> None:
    content = mail(f"Cc: {CC}", to=TO, body=LARGE)
    accept(wire, content, TO)
    files = doorstep.files()
    accept(wire, content, CC)
    assert conversations() == found({TO, CC})
    assert doorstep.files() == files
    assert Content.objects.count() == Message.objects.count() == 1
    first, second = Submission.objects.order_by("id")
    assert {one.address: one.submission_id for one in Recipient.objects.all()} == {TO: first.id, CC: second.id}
    assert {one.subject for one in Job.objects.filter(kind="decide")} == {first.id, second.id}
    assert doorstep.rings == [1, 1]


def test_each_half_brings_what_it_asks_for_its_own_recipients(doorstep: Doorstep, wire: Wire) -> None:
    first = mail(f"zivver-access-right: {TO} sms +31612345678", f"Cc: {CC}", to=TO)
    second = mail(f"zivver-access-right: {CC} sharedAccessCode geheim", f"Cc: {CC}", to=TO)
    accept(wire, first, TO)
    accept(wire, second, CC)
    rights: dict[Mailbox, object] = {}
    for one in Submission.objects.all():
        opened = doorstep.unsealer.field(one.directives, name="directives", owner=one.id)
        rights.update(from_json_bytes(opened.reveal()).access_rights)
    assert set(rights) == {Mailbox.parse(TO), Mailbox.parse(CC)}
    assert conversations() == found({TO, CC})


def test_a_blind_recipient_in_the_second_half_gets_a_conversation_alone(doorstep: Doorstep, wire: Wire) -> None:
    accept(wire, mail(to=TO, body=LARGE), TO)
    accept(wire, mail(to=TO, body=LARGE), BCC)
    assert conversations() == found({TO}, blind=(BCC,))
    for message in Message.objects.all():
        assert doorstep.opened(message).rest == mail(to=TO, body=LARGE)
    before = doorstep.custody()
    accept(wire, mail(to=TO, body=LARGE), TO, BCC)
    assert doorstep.custody() == before


def test_the_shown_recipients_may_come_after_the_blind_ones(wire: Wire) -> None:
    accept(wire, mail(f"Cc: {CC}", to=TO), BCC)
    accept(wire, mail(f"Cc: {CC}", to=TO), TO)
    accept(wire, mail(f"Cc: {CC}", to=TO), CC)
    assert conversations() == found({TO, CC}, blind=(BCC,))


def test_halves_that_overlap_add_only_who_is_new(wire: Wire) -> None:
    content = mail(f"Cc: {CC}", to=TO)
    accept(wire, content, TO, BCC)
    accept(wire, content, BCC, CC, TO, OTHER)
    assert conversations() == found({TO, CC}, blind=(BCC, OTHER))


def test_who_joins_shares_the_expiry(doorstep: Doorstep, wire: Wire) -> None:
    content = mail("zivver-message-expiration: delete P30D", f"Cc: {CC}", to=TO)
    accept(wire, content, TO)
    doorstep.clock.forward(minutes=5)
    accept(wire, content, CC)
    assert Job.objects.filter(kind="expire").count() == 1


def test_a_half_that_asks_for_another_expiry_has_it(doorstep: Doorstep, wire: Wire) -> None:
    """What is to end tomorrow doesn't live on because the other half asked for nothing."""
    accept(wire, mail(f"Cc: {CC}", to=TO), TO)
    accept(wire, mail("zivver-message-expiration: delete P1D", f"Cc: {CC}", to=TO), CC, TO)
    accept(wire, mail("zivver-message-expiration: delete P1D", f"Cc: {CC}", to=TO), CC, TO)
    ends = {one.address: one.conversation.expires_at for one in Recipient.objects.select_related("conversation")}
    assert ends == {TO: None, CC: doorstep.clock.at + timedelta(days=1)}
    assert Conversation.objects.count() == 2
    for message in Message.objects.all():
        assert doorstep.opened(message).rest == mail(f"Cc: {CC}", to=TO)


# At the same moment


def at_once(*what: tuple[Wire, bytes, tuple[str, ...]]) -> list[str]:
    """All contents are there but for their end, which they get together."""
    for wire, content, recipients in what:
        wire.begin(recipients)
        assert wire.say("DATA").startswith("354 ")
        wire.send(content)
    barrier, replies = threading.Barrier(len(what)), []

    def end(wire: Wire) -> None:
        barrier.wait()
        wire.send(b".\r\n")
        replies.append(wire.reply())

    threads = [threading.Thread(target=end, args=(wire,)) for wire, _, _ in what]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return replies


@pytest.mark.parametrize("body", [b"klein\r\n", LARGE], ids=["small", "large"])
def test_the_same_message_at_the_same_moment_is_accepted_once(doorstep: Doorstep, body: bytes) -> None:
    """On two doors with a writer each, as two processes have them."""
    with doorstep.another().open() as other:
        wires = [step.signed_in() for _ in range(4) for step in (doorstep, other)]
        replies = at_once(*[(wire, mail(to=TO, body=body), (TO, BCC)) for wire in wires])
    assert {one[:9] for one in replies} == {"250 2.0.0"}
    assert conversations() == found({TO}, blind=(BCC,))
    assert Submission.objects.count() == Content.objects.count() == Job.objects.count() == 1
    assert len(doorstep.files()) == (1 if body is LARGE else 0)


def test_the_halves_of_a_split_at_the_same_moment_share_one_conversation(doorstep: Doorstep) -> None:
    readers = [f"lezer{number}@example.org" for number in range(8)]
    content = mail(to=", ".join(readers), body=LARGE)
    with doorstep.another().open() as other:
        wires = [step.signed_in() for _ in range(4) for step in (doorstep, other)]
        replies = at_once(*[(wire, content, (one,)) for wire, one in zip(wires, readers, strict=True)])
    assert {one[:9] for one in replies} == {"250 2.0.0"}
    assert conversations() == found(set(readers))
    assert Submission.objects.count() == 8
    assert len(doorstep.files()) == 1


# Apart


def test_organisations_do_not_meet_in_a_conversation(doorstep: Doorstep, wire: Wire) -> None:
    """An account can't be in two, but a domain and its account may move to another one within a day."""
    accept(wire, mail(to=TO), TO)
    other = Organisation.objects.create(name="Andere")
    doorstep.organisation.sending_domains.update(organisation=other)
    doorstep.account.organisation = other
    doorstep.account.save()
    accept(doorstep.signed_in(credentials.issue(other, "tests")), mail(to=TO), TO)
    assert {one.organisation_id for one in Conversation.objects.all()} == {doorstep.organisation.id, other.id}
