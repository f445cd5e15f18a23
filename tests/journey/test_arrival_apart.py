"""Recorded by a process of its own: what goes through the hatch, and what becomes of a message when that breaks."""

from __future__ import annotations

import errno
import marshal
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import DatabaseError, OperationalError
from hypothesis import given
from hypothesis import strategies as st

from tests.journey.arrival_ground import Doorstep, RecorderKilled, mail, recording
from tests.journey.portal_ground import Clock
from zegel.core.mail.address import Domain, Mailbox
from zegel.core.mail.reply import Reply
from zegel.edge.database import Scribe
from zegel.journey.arrival import apart
from zegel.journey.arrival.apart import NotRecorded, Verdict
from zegel.journey.arrival.record import AcceptedRecipient, Capped, Prepared, Recorded
from zegel.journey.arrival.sender import Submitter
from zegel.journey.custody.models import Content, Message, Recipient, Submission
from zegel.journey.custody.seal import NewConversation

TO, CC = "to@example.org", "cc@example.org"
LARGE = b"0123456789abcdef\r\n" * 20_000  # lies in a file
LOCAL_PROBLEM = "451 4.3.0 "

mailboxes = st.builds(
    Mailbox,
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12),
    st.sampled_from([Domain("example.org"), Domain("xn--grn-goa.test")]),
)
numbers = st.none() | st.integers(1, 2**62)
identifiers = st.builds(lambda octets: uuid.UUID(bytes=octets), st.binary(min_size=16, max_size=16))
conversations = st.builds(NewConversation, identifiers, identifiers, st.binary(), st.binary())
moments = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
recipients = st.builds(
    AcceptedRecipient, mailboxes, st.frozensets(st.sampled_from(["never", "delay", "failure", "success"])), st.text()
)
messages = st.builds(
    Prepared,
    submission=identifiers,
    submitter=st.builds(
        Submitter,
        numbers,
        st.integers(1, 2**62),
        st.sampled_from(["NL", "BE"]),
        st.sampled_from(["", "192.0.2.1", "2001:db8::1"]),
        st.booleans(),
        st.none() | st.just(Domain("voorbeeld.test")),
        st.booleans(),
        numbers,
    ),
    author=mailboxes,
    content=identifiers,
    size=st.integers(0, 2**40),
    header_size=st.integers(0, 2**20),
    sealed=st.none() | st.binary(max_size=100),
    head=st.binary(max_size=50),
    reverse_path=st.text(),
    envelope_id=st.text(),
    requires_tls=st.booleans(),
    message_id=st.text(),
    identity=st.binary(min_size=32, max_size=32),
    directives=st.binary(),
    source=st.text(),
    tls=st.text(),
    at=moments,
    envelope=st.lists(recipients, max_size=4).map(lambda found: {one.mailbox: one for one in found}),
    shared=st.lists(mailboxes, max_size=3).map(tuple),
    shared_conversation=st.none() | conversations,
    blind=st.dictionaries(mailboxes, conversations, max_size=3),
    lives=st.none() | st.timedeltas(timedelta(0), timedelta(days=4000)),
    references=st.text(),
    texts_to=st.dictionaries(mailboxes, st.sampled_from(["NL", "BE"]), max_size=2),
    warn=st.booleans(),
)


def spelled(one: Prepared) -> list[str]:
    """Mailboxes are equal however they are spelled; here it must be the same spelling."""
    return [str(to) for to in (one.author, *one.shared, *one.blind, *one.envelope, *one.texts_to)]


@given(messages)
def test_a_message_comes_through_as_it_was(one: Prepared) -> None:
    came = apart._prepared(marshal.loads(marshal.dumps(apart._told(one))))
    assert came == one
    assert spelled(came) == spelled(one)


@pytest.mark.parametrize(
    "verdict",
    [
        Recorded(3, content_kept=True),
        Recorded(0, content_kept=False),
        Capped("messages an hour", 7, None),
        Capped("texts a day", 7, 12, Reply(451, "4.7.1", "Another sentence")),
        Reply(550, "5.7.1", "Not for you"),
        Reply(354, None, "Without a status"),
    ],
)
def test_a_verdict_comes_back_as_it_was(verdict: Verdict) -> None:
    assert apart._verdict(marshal.loads(marshal.dumps(apart._answer(verdict)))) == verdict


@pytest.mark.parametrize("cause", [OSError(errno.ENOSPC, "x"), OperationalError("database or disk is full")])
def test_a_full_disk_is_told_as_one(cause: Exception) -> None:
    with pytest.raises(OSError) as raised:
        apart._verdict(apart._answer(cause))
    assert raised.value.errno == errno.ENOSPC


def test_of_any_other_failure_nothing_is_told_but_that_it_failed() -> None:
    with pytest.raises(NotRecorded) as raised:
        apart._verdict(apart._answer(DatabaseError("GEHEIM-4711")))
    assert "GEHEIM" not in str(raised.value)


@pytest.mark.django_db(transaction=True)
def test_none_suffers_for_another() -> None:
    def only_even(numbers: Sequence[int]) -> list[int]:
        if any(number % 2 for number in numbers):
            raise ValueError
        return [number * 10 for number in numbers]

    found = Scribe().record(only_even, [2, 3, 4, 5])
    assert [found[0], found[2]] == [20, 40]
    assert [type(found[1]), type(found[3])] == [ValueError, ValueError]


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_understood_fails_by_itself(tmp_path: Path, clock: Clock) -> None:
    asked, hatch = list[bytes](), tmp_path / "hatch"

    def settle(questions: Sequence[bytes]) -> Sequence[bytes]:
        asked.extend(questions)
        answers = apart.settle([b"", *questions, marshal.dumps(("half",))], Scribe())
        assert [marshal.loads(answers[number])[0] for number in (0, -1)] == ["failed", "failed"]
        return answers[1:-1]

    with recording(hatch, settle), Doorstep(tmp_path, clock, hatch=hatch).open(may_break=True) as doorstep:
        assert doorstep.submit(mail(to=TO), TO).startswith("250 ")
    assert asked and Submission.objects.count() == 1
    assert apart.settle([b"", b""], Scribe()) == [marshal.dumps(("failed",))] * 2


# --- a whole door -------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_what_is_accepted_stands_in_the_database_and_can_be_opened(tmp_path: Path, clock: Clock) -> None:
    hatch = tmp_path / "hatch"
    with recording(hatch) as rounds, Doorstep(tmp_path, clock, hatch=hatch).open() as doorstep:
        assert doorstep.submit(mail(f"Cc: {CC}", to=TO, body=LARGE), TO, CC).startswith("250 ")
        assert sorted(Recipient.objects.values_list("address", flat=True)) == [CC, TO]
        opened = doorstep.opened()
        assert opened.octets.endswith(LARGE)
    assert sum(rounds) == 1


@pytest.mark.django_db(transaction=True)
def test_while_nobody_records_the_door_does_so_itself(tmp_path: Path, clock: Clock) -> None:
    hatch = tmp_path / "hatch"
    with Doorstep(tmp_path, clock, hatch=hatch).open() as doorstep:
        assert doorstep.submit(mail(to=TO), TO).startswith("250 ")
        with recording(hatch) as rounds:
            assert doorstep.submit(mail(to=TO, identity="twee"), TO).startswith("250 ")
    assert sum(rounds) == 1
    assert Submission.objects.count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_recorded", [True, False])
@pytest.mark.parametrize("body", [b"klein\r\n", LARGE], ids=["small", "large"])
def test_when_the_answer_is_lost_the_sender_tries_again_and_nothing_is(
    tmp_path: Path, clock: Clock, body: bytes, *, is_recorded: bool
) -> None:
    """It was committed and its 250 never came back, or it was not: the sender is told to try again, the content stays,
    and the second time is either a repetition (D-4) or the first that counts."""
    hatch, asked_before = tmp_path / "hatch", list[bytes]()

    def settle(asked: Sequence[bytes]) -> Sequence[bytes]:
        if asked_before:
            return apart.settle(asked, Scribe())
        asked_before.extend(asked)
        if is_recorded:
            apart.settle(asked, Scribe())
        raise RecorderKilled

    content = mail(to=TO, body=body)
    with recording(hatch, settle), Doorstep(tmp_path, clock, hatch=hatch).open(may_break=True) as doorstep:
        said = doorstep.submit(content, TO)
        assert said.startswith(LOCAL_PROBLEM), said
        assert Submission.objects.count() == (1 if is_recorded else 0)
        assert doorstep.submit(content, TO).startswith("250 ")
        assert Submission.objects.count() == Message.objects.count() == Content.objects.count() == 1
        assert doorstep.opened().octets.endswith(body)
