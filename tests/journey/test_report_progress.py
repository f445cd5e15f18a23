"""Reports that are not about failure: of a message that takes long, and of one that arrived."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.journey.delivery_ground import PROVEN_FIELD, SENTENCE, SUBJECT, Post, a_post, status_of, words
from tests.journey.portal_ground import Clock
from zegel.edge.dns import Trouble
from zegel.settings import Delivery

pytestmark = pytest.mark.django_db(transaction=True)

GUEST: Final = "gast@open.test"
READER: Final = "lezer@veilig.test"
LATER: Final = b"451 4.3.2 come back later\r\n"


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        yield found


def hours(post: Post, number: int) -> None:
    for _ in range(4 * number):
        post.later(minutes=15)


# --- delayed ------------------------------------------------------------------------------------------------------


def test_after_four_hours_the_sender_hears_once_that_it_takes_long(post: Post) -> None:
    server = post.mx("open.test", answers={"MAIL": LATER})
    post.submit(GUEST, original="rfc822;gast@open.test", envelope_id="stuk-7")
    post.settle()
    hours(post, 3)
    assert post.reports() == []
    hours(post, 1)
    post.later(minutes=15)  # a try may have been due a moment before
    (told,) = post.reports()
    fields = status_of(told)
    assert "Action: delayed" in fields
    assert "Status: 4.3.0" in fields
    assert "come back later" in fields
    assert "Will-Retry-Until: Sat, 28 Nov 2026" in fields
    assert "Original-Envelope-Id: stuk-7" in fields
    assert GUEST in words(told)
    assert SENTENCE not in told.as_string()
    hours(post, 20)
    assert len(post.reports()) == 1
    server.answers.clear()
    hours(post, 4)
    assert post.recipient(GUEST).state == "notified"
    assert len(post.reports()) == 1


def test_how_long_is_tried_and_when_the_sender_hears_of_it_are_settings(tmp_path: Path, clock: Clock) -> None:
    with a_post(tmp_path, clock) as post:
        settings = Delivery(give_up_after=86_400, warn_after=3_600)
        post.patience = settings.patience()
        post.start()
        post.mx("open.test", answers={"MAIL": LATER})
        post.submit(GUEST)
        post.settle()
        hours(post, 1)
        post.later(minutes=15)
        (told,) = post.reports()
        assert "Action: delayed" in status_of(told)
        assert "Will-Retry-Until: Tue, 24 Nov 2026" in status_of(told)
        hours(post, 25)
        (_, failed) = post.reports()
        assert "Action: failed" in status_of(failed)
        assert "Status: 5.4.7" in status_of(failed)


def test_the_next_row_begins_no_second_delay(post: Post) -> None:
    post.proven(answers={"MAIL": LATER})
    post.submit(READER, fields=[PROVEN_FIELD])
    post.until_nothing_waits()
    actions = [line for one in post.reports() for line in status_of(one).splitlines() if line.startswith("Action")]
    assert actions == ["Action: delayed", "Action: failed"]


@pytest.mark.parametrize("notify", ["NEVER", "FAILURE", "SUCCESS", "SUCCESS,FAILURE"])
def test_who_did_not_ask_hears_of_no_delay(post: Post, notify: str) -> None:
    post.mx("open.test", answers={"MAIL": LATER})
    post.submit(GUEST, notify=notify)
    post.settle()
    hours(post, 8)
    assert post.reports() == []


def test_a_null_reverse_path_hears_of_no_delay(post: Post) -> None:
    post.mx("open.test", answers={"MAIL": LATER})
    post.submit(GUEST, reverse_path="")
    post.settle()
    hours(post, 8)
    assert post.heard() == []


def test_dns_that_gives_no_answer_is_a_delay_too(post: Post) -> None:
    post.zone.records["open.test", "MX"] = Trouble("SERVFAIL")
    post.submit(GUEST)
    post.settle()
    hours(post, 8)
    assert "Status: 4.4.3" in status_of(post.reports()[0])


# --- relayed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("notify", ["", "FAILURE", "DELAY", "NEVER"])
def test_nobody_hears_of_success_who_did_not_ask(post: Post, notify: str) -> None:
    post.mx("open.test")
    post.submit(GUEST, notify=notify)
    post.until_nothing_waits()
    assert post.reports() == []


def test_a_notification_that_was_taken_is_told_as_what_it_is(post: Post) -> None:
    post.mx("open.test")
    post.submit(GUEST, notify="SUCCESS,FAILURE")
    post.until_nothing_waits()
    (told,) = post.reports()
    fields = status_of(told)
    assert "Action: relayed" in fields
    assert "Status: 2.0.0" in fields
    assert "mx.open.test" in fields
    assert "notificatie" in words(told)
    assert "notification" in words(told)
    assert SENTENCE not in told.as_string()
    assert f"Subject: {SUBJECT}" in told.as_string()  # the header section of the message itself


def test_a_readable_message_that_was_taken_is_told_as_what_it_is(post: Post) -> None:
    post.proven()
    post.submit(READER, fields=[PROVEN_FIELD], notify="SUCCESS")
    post.until_nothing_waits()
    (told,) = post.reports()
    assert "Action: relayed" in status_of(told)
    assert "readable" in words(told)


def test_success_is_told_for_each_recipient_who_got_it_and_failure_for_the_other(post: Post) -> None:
    post.mx("open.test")
    post.submit(GUEST, "niemand@nergens.test", notify="SUCCESS,FAILURE")
    post.until_nothing_waits()
    actions = sorted(
        line for one in post.reports() for line in status_of(one).splitlines() if line.startswith("Action")
    )
    assert actions == ["Action: failed", "Action: relayed"]


def test_the_server_that_takes_a_notification_is_asked_for_no_reports(post: Post) -> None:
    """It is no message of the sender's; that it was taken is all that is to be said of it."""
    server = post.mx("open.test", extensions=("PIPELINING", "DSN"))
    post.submit(GUEST, notify="SUCCESS")
    post.settle()
    assert "NOTIFY" not in server.taken[0].rcpt
    assert len(post.reports()) == 1
