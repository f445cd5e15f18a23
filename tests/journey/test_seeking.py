"""Messages are found by what is known of them, a page at a time, by an index, and never those of others."""

from __future__ import annotations

import itertools
import uuid
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
from django.db import connection

from tests.journey.portal_ground import NOON
from tests.needs import ONLY_SQLITE
from zegel.accounts.models import Account, Organisation
from zegel.edge.chance import identifier
from zegel.journey import seeking
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import Conversation, PutAside, Recipient, Submission, Transmission
from zegel.journey.seeking import PAGE, Sought, Text, Where, find

pytestmark = pytest.mark.django_db
State = Recipient.State
DAY: Final = timedelta(days=1)


class House:
    """An organisation that sends."""

    def __init__(self, name: str) -> None:
        self.organisation = Organisation.objects.create(name=name)
        self.accounts = [
            Account.objects.create_user(f"{who}@{name}.test", "x" * 20, organisation=self.organisation)
            for who in ("balie", "post")
        ]

    def submit(self, *to: str, state: str = State.DELIVERED, at: datetime = NOON, who: int = 0) -> Submission:
        account = self.accounts[who]
        submission = Submission.objects.create(
            organisation=self.organisation, account=account, message_id=f"<{identifier()}@{self.organisation}.test>",
            identity=b"", directives=b"", source="192.0.2.1", tls="", accepted_at=at,
        )  # fmt: skip
        conversation = Conversation.objects.create(
            organisation=self.organisation, author=account, submission=submission, created_at=at
        )
        for address in to:
            Recipient.objects.create(
                conversation=conversation, submission=submission, address=address, key=address, state=state
            )
        return submission

    def found(self, text: str = "", where: Where | None = None, **fields: Any) -> list[uuid.UUID]:
        """All pages."""
        sought, below, ids = Sought(Text.parse(text) if text else None, where=where, **fields), None, list[uuid.UUID]()
        for _ in range(100):
            page = find(self.organisation, sought, below=below)
            ids += [one.id for one in page.submissions]
            if page.older is None:
                return ids
            below = page.older
        raise AssertionError("pages without end")


@pytest.fixture
def house() -> House:
    return House("een")


# --- what is meant ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "key", "domain", "ids"),
    [
        (" Iemand@Example.ORG ", "iemand@example.org", "", ("<Iemand@Example.ORG>", "Iemand@Example.ORG")),
        ("<a@b.test>", "", "", ("<a@b.test>", "a@b.test")),
        ("@example.org", "", "example.org", ("<@example.org>", "@example.org")),
        ("Voorbeeld.test", "", "voorbeeld.test", ("<Voorbeeld.test>", "Voorbeeld.test")),
        ("geen adres", "", "", ("<geen adres>", "geen adres")),
        ("%", "", "", ("<%>", "%")),
        ("münchen.test", "", "xn--mnchen-3ya.test", ("<münchen.test>", "münchen.test")),
    ],
)
def test_what_is_written_can_mean_several_things(written: str, key: str, domain: str, ids: tuple[str, ...]) -> None:
    assert Text.parse(written) == Text(ids, key, domain)


def test_an_identifier_is_known_with_and_without_dashes() -> None:
    one = identifier()
    assert Text.parse(str(one)).identifier == Text.parse(one.hex).identifier == one


# --- found --------------------------------------------------------------------------------------------------------


def test_an_address_is_that_of_a_recipient_or_of_the_sender(house: House) -> None:
    to, by, neither = house.submit("balie@een.test", who=1), house.submit("gast@example.org"), house.submit(who=1)
    assert set(house.found("balie@een.test")) == {by.id, to.id}
    assert neither.id not in house.found("balie@een.test")


def test_a_domain_is_that_domain_and_none_below_or_beside_it(house: House) -> None:
    one = house.submit("gast@example.org")
    for other in ("gast@sub.example.org", "gast@anderexample.org", "gast@example.org.test"):
        house.submit(other)
    assert house.found("example.org") == house.found("@EXAMPLE.org") == [one.id]
    assert len(house.found("een.test")) == 4


@pytest.mark.parametrize("text", ["%", "_", "%@example.org", "@%", "' OR 1=1 --", "example.org%", "\x00", "a" * 998])
def test_signs_of_a_pattern_are_no_pattern(house: House, text: str) -> None:
    house.submit("gast@example.org")
    assert house.found(text) == []


def test_a_message_id_is_found_with_and_without_its_brackets(house: House) -> None:
    one = house.submit("gast@example.org")
    house.submit("gast@example.org")
    for written in (one.message_id, one.message_id.strip("<>"), f"  {one.message_id} "):
        assert house.found(written) == [one.id]
    assert house.found(one.message_id.upper()) == []  # RFC 5322 §3.6.4: as it was written


def test_an_identifier_of_a_submission_a_recipient_or_a_mail_leads_to_the_message(house: House) -> None:
    one = house.submit("gast@example.org")
    recipient = one.recipients.get()
    mail = Transmission.objects.create(
        organisation=house.organisation, submission=one, recipient=recipient, kind="readable", address="x",
        message_id="<x>", created_at=NOON,
    )  # fmt: skip
    for written in (str(one.id), recipient.id.hex, str(mail.id)):
        assert house.found(written) == [one.id]
    assert house.found(str(identifier())) == []


def test_nothing_of_another_organisation_is_found_by_anything(house: House) -> None:
    other = House("ander")
    theirs = other.submit("gast@example.org", state=State.HELD)
    recipient = theirs.recipients.get()
    jobs.put(Kind.HELD, [theirs.id], due=NOON)
    for text in ("gast@example.org", "example.org", "balie@ander.test", "ander.test", theirs.message_id,
                 str(theirs.id), str(recipient.id)):  # fmt: skip
        assert house.found(text) == [] and other.found(text) == [theirs.id]
    assert all(house.found(where=where) == [] for where in Where)
    assert find(house.organisation, Sought(), below=theirs.id).submissions == ()


def test_a_period_begins_with_its_first_moment_and_ends_before_its_last(house: House) -> None:
    times = [NOON - DAY, NOON, NOON + DAY]
    early, middle, late = (house.submit("gast@example.org", at=at) for at in times)
    for text in ("", "gast@example.org"):
        assert set(house.found(text, since=NOON)) == {late.id, middle.id}
        assert house.found(text, until=NOON) == [early.id]
        assert house.found(text, since=NOON, until=NOON + DAY) == [middle.id]


@pytest.mark.parametrize("where", Where)
def test_a_state_is_found_alone_and_together_with_all_else(house: House, where: Where) -> None:
    expected: set[uuid.UUID] = set()
    for state in State.values:
        one = house.submit("gast@example.org", "tweede@example.org", state=state)
        if state == State.HELD:
            jobs.put(Kind.HELD, [one.id], due=NOON)
        elif state == State.ACCEPTED:
            jobs.put(Kind.DECIDE, [one.id], due=NOON)
        elif state == State.DECIDED:
            mail = Transmission.objects.create(
                organisation=house.organisation, submission=one, recipient=one.recipients.all()[0], kind="readable",
                address="x", message_id="<x>", created_at=NOON,
            )  # fmt: skip
            jobs.put(Kind.TRANSMIT, [mail.id], due=NOON)
        if state in where.states:
            expected.add(one.id)
    assert expected
    for text in ("", "gast@example.org", "balie@een.test", "example.org", "een.test"):
        assert set(house.found(text, where)) == expected
    assert house.found("post@een.test", where) == house.found("iemand@example.org", where) == []


def test_the_state_is_that_of_the_recipient_that_was_sought(house: House) -> None:
    one = house.submit("gast@example.org")
    Recipient.objects.create(
        conversation=one.conversations.get(), submission=one, address="b@x.test", key="b@x.test", state=State.OPENED
    )
    assert house.found("gast@example.org", Where.OPENED) == []
    assert house.found("b@x.test", Where.OPENED) == [one.id]


def test_what_was_put_aside_since_a_restore_still_waits(house: House) -> None:
    one = house.submit("gast@example.org", state=State.ACCEPTED)
    PutAside.objects.create(kind="decide", subject=one.id, due_at=NOON, put_aside_at=NOON)
    assert house.found(where=Where.WAITING) == [one.id]


# --- pages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "where"),
    list(itertools.product(("", "gast@example.org", "balie@een.test", "example.org"), (None, Where.DELIVERED))),
)
@pytest.mark.parametrize("is_at_once", [True, False])
def test_pages_follow_each_other_without_loss_or_repetition(
    house: House, text: str, where: Where | None, is_at_once: bool
) -> None:
    """Also where all were accepted in the same moment."""
    made = [
        house.submit("gast@example.org", at=NOON + (timedelta() if is_at_once else timedelta(seconds=number))).id
        for number in range(2 * PAGE + 1)
    ]
    found = house.found(text, where)
    assert found == (made[::-1] if not text and not is_at_once else sorted(made, reverse=True))


def test_what_no_index_leads_to_is_looked_for_so_far_and_no_further(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeking, "LOOKED_THROUGH", 20)
    monkeypatch.setattr(seeking, "_STRIDE", 10)
    old = house.submit("gast@example.org", state=State.OPENED, at=NOON - DAY)
    for number in range(30):
        house.submit("gast@example.org", at=NOON + timedelta(seconds=number))
    sought = Sought(where=Where.OPENED)
    first = find(house.organisation, sought)
    assert first.submissions == () and first.looked_until == NOON + timedelta(seconds=10)
    second = find(house.organisation, sought, below=first.older)
    assert [one.id for one in second.submissions] == [old.id] and second.older is None and second.looked_until is None


# --- by an index --------------------------------------------------------------------------------------------------


@ONLY_SQLITE
@pytest.mark.parametrize(
    ("sought", "index"),
    [
        (Sought(), "submission_by_time (organisation_id=?"),
        (
            Sought(since=NOON, until=NOON + DAY),
            "submission_by_time (organisation_id=? AND accepted_at>? AND accepted_at<?)",
        ),
        (Sought(Text.parse("gast@example.org")), "recipient_by_key (key=?"),
        (Sought(Text.parse("balie@een.test")), "COVERING INDEX conversation_by_author (author_id=?"),
        (Sought(Text.parse("<a@b.test>")), "(message_id=?)"),
        (Sought(where=Where.UNDELIVERABLE), "recipient_undeliverable"),
        (Sought(where=Where.HELD), "(kind=?"),
    ],
)
def test_what_is_sought_is_found_by_its_index(house: House, sought: Sought, index: str) -> None:
    """In a million recipients nothing else is fast enough."""
    house.submit("gast@example.org")
    asked: list[tuple[str, Any]] = []

    def note(execute: Any, statement: str, values: Any, many: bool, context: Any) -> Any:
        asked.append((statement, values))
        return execute(statement, values, many, context)

    with connection.execute_wrapper(note):
        find(house.organisation, sought)
    plans = []
    with connection.cursor() as cursor:
        for statement, values in asked:
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", values)
            plans.append(" | ".join(str(row[-1]) for row in cursor.fetchall()))
    assert any(index in plan for plan in plans), plans
    large = ("custody_submission", "custody_recipient", "custody_conversation", "custody_transmission")
    scans = [plan for plan in plans if any(plan.startswith(f"SCAN {table}") for table in large)]
    assert all("USING INDEX recipient_undeliverable" in plan for plan in scans)
