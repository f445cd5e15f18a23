"""Numbers for the overview: counted by day, of one organisation alone, and as often as one likes."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from structlog.testing import capture_logs

from tests.needs import ONLY_SQLITE
from tests.peers import until
from zegel.accounts.models import Account, Organisation
from zegel.core.clock import Instant
from zegel.core.policy.case import Asked, Case, OrganisationPolicy
from zegel.core.policy.precedence import plan, plan_to_json
from zegel.core.policy.transport import PROVEN
from zegel.core.policy.verification import Method, SmsCode
from zegel.core.secret import Secret
from zegel.journey.custody import numbers
from zegel.journey.custody.models import (
    Attempt,
    Conversation,
    DayNumber,
    Recipient,
    SlowDestination,
    Submission,
    Transmission,
)
from zegel.journey.custody.numbers import Numbering

pytestmark = pytest.mark.django_db

NOON: Final = datetime(2026, 6, 10, 12, tzinfo=UTC)
TODAY: Final = date(2026, 6, 10)
State = Recipient.State


def people(name: str = "Voorbeeld", domain: str = "voorbeeld.test") -> Account:
    organisation = Organisation.objects.create(name=name)
    return Account.objects.create_user(f"balie@{domain}", organisation=organisation)


def sent(author: Account, address: str, *, at: Instant = NOON, case: Case | None = None, **fields: Any) -> Recipient:
    """One recipient of one message, as decision leaves it."""
    assert author.organisation is not None
    submission = Submission.objects.create(
        organisation=author.organisation,
        account=author,
        message_id="<x@voorbeeld.test>",
        identity=b"",
        directives=b"",
        source="192.0.2.9",
        tls="",
        accepted_at=at,
    )
    conversation = Conversation.objects.create(
        organisation=author.organisation, author=author, submission=submission, created_at=at
    )
    if case is not None:
        fields["plan"] = plan_to_json(plan(case), case)
    return Recipient.objects.create(
        conversation=conversation, submission=submission, address=address, key=address, **fields
    )


def tried(
    recipient: Recipient, *tries: tuple[float, str], kind: str = "notification", tls: int = 13, authentication: int = 1
) -> Transmission:
    """Tries so many seconds after its mail was made, and how they ended."""
    made = recipient.submission.accepted_at
    mail = Transmission.objects.create(
        organisation=recipient.submission.organisation,
        submission=recipient.submission,
        recipient=recipient,
        kind=kind,
        address=recipient.address,
        message_id="<x@voorbeeld.test>",
        created_at=made,
    )
    for seconds, outcome in tries:
        Attempt.objects.create(
            transmission=mail,
            at=made + timedelta(seconds=seconds),
            outcome=outcome.removesuffix(" probe"),
            reply="probe" if outcome.endswith(" probe") else "",
            tls=tls,
            authentication=authentication,
        )
    return mail


def counted(author: Account, day: date = TODAY) -> dict[str, int]:
    assert author.organisation is not None
    numbers.count_day(author.organisation, day)
    kept = DayNumber.objects.filter(organisation=author.organisation, day=day)
    return dict(kept.values_list("what", "number"))


def test_a_day_without_mail_leaves_nothing() -> None:
    assert counted(people()) == {}


def test_recipients_are_counted_as_they_stand() -> None:
    author = people()
    sent(author, "a@example.org")
    sent(author, "b@example.org", state=State.DELIVERED, case=Case(Asked(transport=PROVEN)))
    for method in ("sms", "sms", "email", "access-code", "account"):
        sent(author, "c@example.org", state=State.OPENED, method=method)
    sent(author, "d@example.org", state=State.HELD)
    sent(author, "e@example.org", state=State.UNDELIVERABLE)
    found = counted(author)
    assert {what: number for what, number in found.items() if not what.startswith("direct")} == {
        "waiting": 1, "readable": 1, "sms": 2, "email": 1, "access-code": 1, "account": 1, "held": 1,
        "undeliverable": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("case", "authentication", "expected"),
    [
        (Case(), 1, "direct-could"),
        (Case(), 0, "direct-could-not"),
        (Case(Asked(transport=PROVEN)), 1, "direct-too-weak"),
        (Case(Asked(SmsCode(Secret("+31612345678")))), 1, "direct-chosen"),
        (Case(policy=OrganisationPolicy(required=frozenset({Method.EMAIL}))), 1, "direct-chosen"),
        (None, 1, "direct-unknown"),
    ],
)
def test_what_could_go_direct_is_read_out_of_stored_plans(
    case: Case | None, authentication: int, expected: str
) -> None:
    author = people()
    recipient = sent(author, "a@example.org", state=State.NOTIFIED, method="email", case=case)
    tried(recipient, (5, "Accepted"), authentication=authentication)
    assert counted(author) == {"email": 1, expected: 1}


def test_a_refused_connection_with_a_good_certificate_proves_nothing() -> None:
    author = people()
    recipient = sent(author, "a@example.org", state=State.NOTIFIED, method="email", case=Case())
    tried(recipient, (5, "Refused"))
    tried(recipient, (9, "Accepted"), authentication=0)
    assert counted(author) == {"email": 1, "direct-could-not": 1}


def test_a_day_that_is_counted_again_is_not_counted_twice_and_follows_what_changed() -> None:
    author = people()
    recipient = sent(author, "a@example.org", state=State.DECIDED)
    assert counted(author) == counted(author) == {"waiting": 1}
    recipient.state, recipient.method = State.NOTIFIED, "sms"
    recipient.save()
    assert counted(author) == {"sms": 1, "direct-unknown": 1}


def test_nothing_of_another_organisation_is_counted() -> None:
    """P20"""
    author, other = people(), people("Ander", "ander.test")
    sent(other, "a@example.org", state=State.DELIVERED)
    assert counted(author) == {}
    assert counted(other) == {"readable": 1, "direct": 1}
    assert author.organisation is not None
    assert all(not one.numbers for one in numbers.days(author.organisation, today=TODAY, many=30))


@pytest.mark.parametrize(
    ("at", "day"),
    [
        ("2026-06-09T21:59:59+00:00", date(2026, 6, 9)),  # two hours before us, in summer
        ("2026-06-09T22:00:00+00:00", date(2026, 6, 10)),
        ("2026-10-24T22:00:00+00:00", date(2026, 10, 25)),  # the day of twenty-five hours
        ("2026-10-25T22:59:59+00:00", date(2026, 10, 25)),
        ("2026-10-25T23:00:00+00:00", date(2026, 10, 26)),
        ("2026-03-28T23:00:00+00:00", date(2026, 3, 29)),  # of twenty-three
        ("2026-03-29T21:59:59+00:00", date(2026, 3, 29)),
    ],
)
def test_days_begin_on_the_wall(at: str, day: date) -> None:
    author = people()
    sent(author, "a@example.org", at=datetime.fromisoformat(at))
    for back in (-1, 0, 1):
        assert counted(author, day + timedelta(days=back)) == ({} if back else {"waiting": 1})
    assert numbers.day_of(datetime.fromisoformat(at)) == day


def test_old_days_are_forgotten() -> None:
    author = people()
    sent(author, "a@example.org", at=NOON - timedelta(days=500))
    sent(author, "a@example.org")
    for back in (0, 500):
        counted(author, TODAY - timedelta(days=back))
    assert numbers.forget_old(NOON) == 1
    assert DayNumber.objects.get().day == TODAY


def test_the_slowest_destinations() -> None:
    author, other = people(), people("Ander", "ander.test")
    for wait in (1, 2, 3):
        tried(sent(author, f"{wait}@snel.test"), (wait, "Accepted"))
        tried(sent(other, f"{wait}@ander-traag.test"), (9999, "Accepted"))
    for wait in (900, 1800, 2700):
        tried(sent(author, f"{wait}@traag.test"), (1, "Deferred"), (wait, "Accepted"), kind="readable")
    for wait in (1, 2, 3):
        tried(sent(author, f"{wait}@dood.test"), (wait, "NetworkFailure"))
    tried(sent(author, "een@zelden.test"), (5, "Accepted"))
    for number in range(3):
        tried(sent(author, f"{number}@oud.test", at=NOON - timedelta(days=8)), (5000, "Accepted"))
        tried(sent(author, f"{number}@code.test"), (5000, "Accepted"), kind="code")
        tried(sent(author, f"{number}@gepolst.test"), (1, "Accepted probe"), (2, "Accepted"))
    tried(sent(author, "niet geprobeerd@traag.test"))
    assert author.organisation is not None
    numbers.look_at_destinations(author.organisation, now=NOON)
    numbers.look_at_destinations(author.organisation, now=NOON)
    kept = SlowDestination.objects.filter(organisation=author.organisation).order_by("place")
    assert list(kept.values_list("domain", "mails", "delayed", "seconds")) == [
        ("dood.test", 3, 3, None),
        ("traag.test", 3, 3, 1800.0),
        ("gepolst.test", 3, 0, 2.0),
        ("snel.test", 3, 0, 2.0),
    ]


def test_a_clock_that_went_back_makes_no_wait_shorter_than_none() -> None:
    author = people()
    for number in range(3):
        tried(sent(author, f"{number}@example.org"), (-50, "Accepted"))
    assert author.organisation is not None
    (one,) = numbers.look_at_destinations(author.organisation, now=NOON)
    assert one.seconds == 0.0


def test_counting_asks_as_much_for_many_recipients_as_for_one() -> None:
    def asked(author: Account) -> int:
        assert author.organisation is not None
        with CaptureQueriesContext(connection) as queries:
            numbers.count_day(author.organisation, TODAY)
            numbers.look_at_destinations(author.organisation, now=NOON)
        return len(queries)

    one, many = people(), people("Ander", "ander.test")
    for number in range(3):
        tried(sent(one, f"{number}@example.org"), (1, "Accepted"))
    for number in range(40):
        tried(sent(many, f"{number}@example.org"), (1, "Accepted"))
    assert asked(one) == asked(many)


@ONLY_SQLITE
def test_a_day_is_found_by_an_index() -> None:
    """However much mail there is of other days."""
    author = people()
    sent(author, "a@example.org")
    assert author.organisation is not None
    with CaptureQueriesContext(connection) as queries:
        numbers.count_day(author.organisation, TODAY)
        numbers.look_at_destinations(author.organisation, now=NOON)
    for query in queries:
        if query["sql"].startswith("SELECT"):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {query['sql'].replace('%', '%%')}")
                told = [str(row[3]) for row in cursor.fetchall()]
            assert not [line for line in told if line.startswith("SCAN") and "subquery" not in line], told


# --- again and again --------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_one_process_counts_and_another_takes_over_when_it_ends(tmp_path: Path) -> None:
    author = people()
    sent(author, "a@example.org")
    lock = tmp_path / "counting.lock"
    first = Numbering(lock, now=lambda: NOON, every=0.05)
    first.start()
    until(DayNumber.objects.exists)
    second_began = threading.Event()

    def now() -> Instant:
        second_began.set()
        return NOON

    second = Numbering(lock, now=now, every=0.05)
    second.start()
    assert not second_began.wait(0.5), "the first one does it"
    first.stop()
    until(second_began.is_set)
    second.stop()
    second._thread.join()


@pytest.mark.django_db(transaction=True)
def test_a_failure_is_told_and_the_next_round_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    author = people()
    sent(author, "a@example.org")
    times: list[Instant] = []

    def now() -> Instant:
        times.append(NOON)
        if len(times) == 1:
            raise OSError("the disk is full")
        return NOON

    counting = Numbering(tmp_path / "counting.lock", now=now, every=0.05)
    counting.start()
    until(DayNumber.objects.exists)
    counting.stop()
    counting._thread.join()


@pytest.mark.django_db(transaction=True)
def test_a_disk_without_room_for_the_lock_is_no_end(tmp_path: Path) -> None:
    author = people()
    sent(author, "a@example.org")
    (tmp_path / "run").write_text("in the way")  # opening fails, as it does on a full disk
    counting = Numbering(tmp_path / "run" / "counting.lock", now=lambda: NOON, every=0.05)
    with capture_logs() as logs:
        counting.start()
        until(lambda: bool(logs))
    (tmp_path / "run").unlink()
    (tmp_path / "run").mkdir()
    until(DayNumber.objects.exists)
    counting.stop()
    counting._thread.join()


def test_the_days_before_are_counted_while_they_may_still_change(tmp_path: Path) -> None:
    author = people()
    for back in (0, 1, 10, 11):
        sent(author, "a@example.org", at=NOON - timedelta(days=back))
    counting = Numbering(tmp_path / "counting.lock", now=lambda: NOON)
    counting.count(everything=False)
    assert set(DayNumber.objects.values_list("day", flat=True)) == {TODAY}
    counting.count(everything=True)
    days = set(DayNumber.objects.values_list("day", flat=True))
    assert days == {TODAY - timedelta(days=back) for back in (0, 1, 10)}
