"""A dry run says what the door and the decision would say, and leaves nothing."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from django.apps import apps
from django.db import connection

from tests.journey.arrival_ground import Doorstep, mail
from tests.journey.delivery_ground import PHONE, PROVEN_FIELD, Post, a_post
from tests.journey.nta_ground import CARE, publish_sender, record
from tests.journey.portal_ground import Clock
from zegel.accounts.models import DomainMinimum, Organisation, SendingDomain
from zegel.core.mail.address import Domain, Mailbox
from zegel.core.mail.fields import BARE_LINE_END, HeaderSection, HeaderTooLong
from zegel.core.mail.trace import loop_marker
from zegel.core.policy.precedence import Hold, Readable, plan_from_json, replay
from zegel.core.policy.remedies import Remedy
from zegel.core.policy.verification import Method, SmsCode
from zegel.core.secret import Secret
from zegel.edge.dns import Found, Resolver, Trouble
from zegel.edge.keyring import opening_keys
from zegel.edge.nta import NtaFound, NtaLookup
from zegel.journey import explain
from zegel.journey.custody import memory
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import Recipient, VerificationData
from zegel.journey.custody.seal import wrap_field
from zegel.journey.custody.unseal import Unsealer
from zegel.journey.explain import Asking, Foreseen, OtherAuthor, Surroundings, TurnedAway, foresee, header_of

pytestmark = pytest.mark.django_db(transaction=True)

SENDER: Final = "balie@voorbeeld.test"
GUEST: Final = "gast@open.test"
HIDDEN: Final = "stil@verborgen.test"
HOP: Final = "Received: from a.test by b.test; Mon, 23 Nov 2026 12:00:00 +0000"


def marker() -> Secret[bytes]:
    return opening_keys(Path(os.environ["ZEGEL_FOLDER"]) / "keys").marker


def around(unsealer: Unsealer, zone: Resolver, clock: Callable[[], Any]) -> Surroundings:
    return Surroundings(unsealer.field, marker(), lambda: NtaLookup(zone, "zegel.test", clock), clock)


@contextmanager
def reading_only() -> Iterator[None]:
    """Every table holds afterwards what it held before, and nothing else than questions is asked meanwhile."""

    def only_questions(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        assert sql.lstrip().upper().startswith("SELECT"), sql
        return execute(sql, params, many, context)

    before = every_row()
    with connection.execute_wrapper(only_questions):
        yield
    assert every_row() == before


def every_row() -> dict[str, list[str]]:
    return {
        model._meta.label: sorted(str(row) for row in model._default_manager.values()) for model in apps.get_models()
    }


# --- what the door would refuse ----------------------------------------------------------------------------------


@pytest.fixture
def doorstep(tmp_path: Path, clock: Clock) -> Iterator[Doorstep]:
    with Doorstep(tmp_path, clock).open() as opened:
        yield opened


def looping() -> bytes:
    content = mail()
    section = HeaderSection.parse(content.partition(b"\r\n\r\n")[0] + b"\r\n")
    return loop_marker("zegel.test", section, marker()) + content


REFUSED: Final[dict[str, Callable[[], bytes]]] = {
    "no author": lambda: b"To: a@example.org\r\n\r\nx\r\n",
    "two author fields": lambda: b"From: balie@voorbeeld.test\r\n" + mail(),
    "two authors": lambda: b"From: balie@voorbeeld.test, chef@voorbeeld.test\r\n\r\nx\r\n",
    "an author with two readings": lambda: b"From: balie@voorbeeld.test <chef@voorbeeld.test>\r\n\r\nx\r\n",
    "no field": lambda: b"From: balie@voorbeeld.test\r\nthis is no field\r\n\r\nx\r\n",
    "an mbox": lambda: b"From balie Mon Nov 23\r\nFrom: balie@voorbeeld.test\r\n\r\nx\r\n",
    "nothing": lambda: b"\r\nx\r\n",
    "too many hops": lambda: mail(*[HOP] * 101),
    "its own mail": looping,
    "a landline": lambda: mail("zivver-access-right: ontvanger@example.org sms 020-1234567"),
    "an unknown field": lambda: mail("Zegel-Nonsense: 1"),
    "a field twice": lambda: mail("zivver-message-expiration: delete P1D", "zivver-message-expiration: delete P2D"),
    "no account": lambda: mail(sender="chef@voorbeeld.test"),
    "a suspended account": lambda: mail(sender="weg@voorbeeld.test"),
    "an account elsewhere": lambda: mail(sender="buur@ander.test"),
    "an account of another organisation": lambda: mail(sender="vreemd@voorbeeld.test"),
    "another's domain": lambda: mail(sender="balie@ander.test"),
    "a domain that isn't in place": lambda: mail(sender="balie@later.test"),
    "an unknown domain": lambda: mail(sender="balie@nergens.test"),
    "a domain below one of ours": lambda: mail(sender="balie@poli.voorbeeld.test"),
    "both a bad field and no account": lambda: mail("Zegel-Nonsense: 1", sender="chef@voorbeeld.test"),
    "a loop without an author": lambda: "".join([f"{HOP}\r\n"] * 101).encode() + b"\r\nx\r\n",
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_door_refuses_is_foreseen_with_the_same_reply(doorstep: Doorstep, case: str) -> None:
    other = Organisation.objects.create(name="Ander")
    doorstep.domain("ander.test", organisation=other)
    doorstep.domain("later.test", in_place=False)
    doorstep.account_of("balie@later.test")
    doorstep.account_of("balie@nergens.test")
    doorstep.account_of("balie@poli.voorbeeld.test")
    doorstep.account_of("weg@voorbeeld.test", is_active=False)
    doorstep.account_of("buur@ander.test", organisation=other)
    doorstep.account_of("vreemd@voorbeeld.test", organisation=other)
    content = REFUSED[case]()
    named = re.match(rb"From: Balie <(.+?)>", content)
    author = named[1].decode() if named else SENDER
    asking = Asking(author, ["ontvanger@example.org"], header_of([content]))
    with reading_only():
        found = foresee(
            asking, around(doorstep.unsealer, doorstep.zone, doorstep.clock), organisation=doorstep.organisation
        )
    assert isinstance(found, TurnedAway), found
    assert str(found.reply) == doorstep.submit(content)


def test_a_header_section_without_an_end_is_not_read_to_the_end() -> None:
    taken = []

    def endless() -> Iterator[bytes]:
        while True:
            taken.append(1)
            yield b"X-Long: " + b"x" * explain.CHUNK + b"\r\n"

    with pytest.raises(HeaderTooLong):
        header_of(endless())
    assert len(taken) * explain.CHUNK <= explain.ENOUGH + explain.CHUNK


def test_a_header_section_that_is_too_large_is_refused_as_at_the_door(doorstep: Doorstep) -> None:
    content = mail(f"X-Long: {'x' * 300_000}")
    found = foresee(
        Asking(SENDER, ["a@example.org"], header_of([content])),
        around(doorstep.unsealer, doorstep.zone, doorstep.clock),
    )
    assert isinstance(found, TurnedAway)
    assert str(found.reply) == doorstep.submit(content)


@pytest.mark.parametrize("recipient", ["", "ontvanger", "ontvanger@", "ontvanger@example", "a b@example.org"])
def test_what_is_no_recipient_is_named_by_its_place(doorstep: Doorstep, recipient: str) -> None:
    asking = Asking(SENDER, ["ontvanger@example.org", recipient], header_of([mail()]))
    found = foresee(asking, around(doorstep.unsealer, doorstep.zone, doorstep.clock))
    assert isinstance(found, TurnedAway)
    assert (found.field, found.which) == ("to", 1)
    assert str(found.reply) == doorstep.signed_in().say(f"RCPT TO:<{recipient}>") or found.reply.code == 501


@pytest.mark.parametrize("author", ["chef@voorbeeld.test", "balie", ""])
def test_a_message_of_another_author_is_not_explained(doorstep: Doorstep, author: str) -> None:
    asking = Asking(author, ["ontvanger@example.org"], header_of([mail()]))
    assert foresee(asking, around(doorstep.unsealer, doorstep.zone, doorstep.clock)) == OtherAuthor()


# --- what the decision would say ---------------------------------------------------------------------------------


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        yield found


def message(*fields: tuple[str, str], to: str = GUEST) -> bytes:
    lines = [f"From: Balie Poli 4 <{SENDER}>", f"To: {to}", "Subject: Uitslag Merkteken7f3a"]
    return "".join(f"{line}\r\n" for line in (*lines, *(": ".join(field) for field in fields))).encode()


def foreseen(post: Post, *recipients: str, fields: Collection[tuple[str, str]] = (), to: str = GUEST) -> Foreseen:
    asking = Asking(SENDER, recipients or (GUEST,), header_of([message(*fields, to=to)]))
    with reading_only():
        found = foresee(asking, around(post.ground.unsealer, post.zone, post.clock))
    assert isinstance(found, Foreseen), found
    return found


def remembered(post: Post, address: str) -> None:
    row = VerificationData(
        organisation=post.ground.organisation,
        account=None,
        address=address,
        key=Mailbox.parse(address).key,
        method=Method.SMS.value,
        origin=VerificationData.Origin.ADMINISTRATOR,
        created_at=post.clock(),
    )
    octets = memory.verification_to_bytes(SmsCode(Secret(PHONE)))
    row.sealed = wrap_field(octets, name="verification-data", owner=row.id, to=post.ground.keys.sealing)
    row.save()


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [PROVEN_FIELD],
        [("zivver-access-right", f"{GUEST} sms 06 12345678")],
        [("zivver-access-right", f"{HIDDEN} access-code Toegang-9f1c"), PROVEN_FIELD],
        [("zivver-minimum-recipient-verification", "")],
    ],
    ids=["nothing", "transport", "sms", "access code and transport", "never e-mail"],
)
def test_it_is_what_the_decision_stores_for_each_recipient(post: Post, fields: list[tuple[str, str]]) -> None:
    organisation = post.ground.organisation
    recipients = [GUEST, HIDDEN, "lezer@lijst.test", "bekend@open.test", "streng@streng.test", f"lezer@{CARE}"]
    publish_sender(post)
    post.zone.records[CARE, "TXT"] = Found((record(),), secure=True)
    post.list_domain("lijst.test")
    post.ground.account("ander@open.test")
    DomainMinimum.objects.create(organisation=organisation, domain="streng.test", method=Method.SMS.value)
    remembered(post, "bekend@open.test")
    found = foreseen(post, *recipients, fields=fields, to=", ".join(recipients[:1] + recipients[2:]))
    post.submit(*recipients, fields=fields, to=recipients[:1] + recipients[2:])
    for leased in post.lease(Kind.DECIDE):
        post.run(post.decision.decide(leased))
    stored = {one.address: one for one in Recipient.objects.select_related("conversation")}
    assert sorted(stored) == sorted(str(one.recipient) for one in found.recipients)
    for one in found.recipients:
        decided = stored[str(one.recipient)]
        assert decided.plan is not None
        assert one.plan == plan_from_json(decided.plan)
        assert one.case == replay(decided.plan).case
        assert one.is_blind == decided.conversation.is_blind
    assert found.all_served is all(one.state == Recipient.State.DECIDED for one in stored.values())


def test_nobody_is_connected_to_and_nothing_is_kept(post: Post, tmp_path: Path) -> None:
    server = post.mx("open.test")
    files = sorted(tmp_path.rglob("*"))
    found = foreseen(post, GUEST, fields=[PROVEN_FIELD])
    assert isinstance(found.recipients[0].plan.steps[0], Readable)
    assert server.heard == []
    assert sorted(tmp_path.rglob("*")) == files
    assert post.lease() == []


def test_one_recipient_in_two_spellings_is_explained_once(post: Post) -> None:
    found = foreseen(post, GUEST, "GAST@Open.test")
    assert [str(one.recipient) for one in found.recipients] == [GUEST]


def test_who_is_held_is_told_what_lacks(post: Post) -> None:
    DomainMinimum.objects.create(
        organisation=post.ground.organisation, domain=DomainMinimum.EVERY_OTHER, method=Method.SMS.value
    )
    found = foreseen(post)
    (one,) = found.recipients
    assert isinstance(one.plan.steps[0], Hold)
    assert not found.all_served
    assert {way.rank: way.remedies for way in one.better}[5] == (Remedy.SUPPLY_NUMBER,)


def test_what_the_author_would_be_warned_about_is_said(post: Post) -> None:
    fields = [("zivver-direct-delivery", "tls"), ("zivver-access-right", f"elders@open.test sms {PHONE}")]
    found = foreseen(post, fields=fields)
    assert [one.en.split(".")[0] for one in found.warnings] == [
        "The direct-delivery field was not understood completely",
        "The access-right field names elders@open",
    ]
    assert PHONE[3:] not in str(found.to_json())


def test_the_region_of_the_organisation_reads_national_numbers(post: Post) -> None:
    Organisation.objects.update(region="BE")
    asking = Asking(SENDER, [GUEST], message(("zivver-access-right", f"{GUEST} sms 06 12345678")))
    found = foresee(asking, around(post.ground.unsealer, post.zone, post.clock))
    assert isinstance(found, TurnedAway)
    assert found.reply.status == "5.6.0"


def test_an_organisation_that_was_named_is_not_exchanged_for_the_domain_s(post: Post) -> None:
    other = Organisation.objects.create(name="Ander")
    found = foresee(
        Asking(SENDER, [GUEST], message()), around(post.ground.unsealer, post.zone, post.clock), organisation=other
    )
    assert isinstance(found, TurnedAway)
    assert found.field == "from"


# --- NTA 7516 ----------------------------------------------------------------------------------------------------


def test_the_records_of_both_sides_are_asked_for(post: Post) -> None:
    publish_sender(post)
    post.zone.records[CARE, "TXT"] = Found((record(),), secure=True)
    found = foreseen(post, f"lezer@{CARE}", GUEST)
    care, guest = sorted(found.recipients, key=lambda one: one.recipient.domain.ascii, reverse=True)
    assert care.plan.steps[0] == Readable(2, care.plan.steps[0].needs, over_nta=True)  # type: ignore[union-attr]
    assert guest.plan.findings[1].why.value == "recipient-does-not-comply"


def test_why_a_record_does_not_count_is_noted(post: Post) -> None:
    publish_sender(post)
    post.zone.records[CARE, "TXT"] = Found((record(),), secure=False)
    (one,) = foreseen(post, f"lezer@{CARE}").recipients
    assert any(note.en.startswith(f"{CARE}: ") and "DNSSEC" in note.en for note in one.notes)


def test_a_dns_that_says_nothing_is_noted_and_promises_nothing(post: Post) -> None:
    post.zone.records["voorbeeld.test", "TXT"] = Trouble("SERVFAIL")
    (one,) = foreseen(post).recipients
    assert not one.case.nta.sender_complies
    assert any("no conclusive answer" in note.en for note in one.notes)


def test_a_dns_that_never_answers_holds_nobody_up_for_ever(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        async def facts(self, pairs: Collection[tuple[Domain, Domain]]) -> dict[tuple[Domain, Domain], NtaFound]:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr(explain, "PATIENCE", 0.01)
    surroundings = Surroundings(post.ground.unsealer.field, marker(), Silent, post.clock)
    found = foresee(Asking(SENDER, [GUEST], message()), surroundings)
    assert isinstance(found, Foreseen)
    assert any("no conclusive answer" in note.en for note in found.recipients[0].notes)


# --- the header section of a file --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("body", [b"", b"\r\nbody\r\n", b"\r\n\r\n\r\n", b"\r\n\r\nX: y\r\n"])
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_how_a_file_is_cut_makes_no_difference(size: int, body: bytes, end: bytes) -> None:
    octets = message(PROVEN_FIELD).replace(b"\r\n", end) + body.replace(b"\r\n", end)
    pieces = [octets[begin : begin + size] for begin in range(0, len(octets), size)]
    assert header_of(pieces) == message(PROVEN_FIELD)


def test_of_a_file_no_more_is_read_than_its_header_section_needs() -> None:
    def pieces() -> Iterator[bytes]:
        yield message() + b"\r\nbody"
        raise AssertionError("read on")

    assert header_of(pieces()) == message()


def test_mixed_line_ends_are_left_for_the_door_to_refuse(post: Post) -> None:
    octets = message().replace(b"\r\n", b"\n", 1)
    found = foresee(Asking(SENDER, [GUEST], header_of([octets])), around(post.ground.unsealer, post.zone, post.clock))
    assert isinstance(found, TurnedAway)
    assert found.reply.text == BARE_LINE_END


def test_without_an_organisation_it_is_the_domain_s(post: Post) -> None:
    SendingDomain.objects.update(in_place=False)
    found = foresee(Asking(SENDER, [GUEST], message()), around(post.ground.unsealer, post.zone, post.clock))
    assert isinstance(found, TurnedAway)
    assert found.reply.status == "5.7.1"
