"""Bounces that come home: a real socket, the addresses that are taken and all that are not, and what follows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.core.test_bounce import DELAYED, FAILED, RELAYED, crlf, report
from tests.journey.delivery_ground import PROVEN_FIELD, SENDER, SENTENCE, SUBJECT, status_of, words
from tests.journey.inbound_ground import GUEST, Home, a_home
from tests.journey.portal_ground import Clock
from zegel.core.mail.bounce import LARGEST_READ
from zegel.core.policy.ended import Ended
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import Attempt, Recipient, Transmission
from zegel.journey.report.inbound import LARGEST, MOST_SAID, REMEMBERED

pytestmark = pytest.mark.django_db(transaction=True)

READER: Final = "lezer@veilig.test"
AWAY: Final = crlf("From: gast@open.test\nSubject: Afwezig\nAuto-Submitted: auto-replied\n\nIk ben er niet.\n")


@pytest.fixture
def home(tmp_path: Path, clock: Clock) -> Iterator[Home]:
    with a_home(tmp_path, clock) as found:
        yield found


NOT_OURS = "5f" * 16  # the form of an id

# --- who is let in ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        SENDER,
        GUEST,
        "postmaster@zegel.test",
        "bounce+0@zegel-bounce.voorbeeld.test",
        f"bounce+{NOT_OURS}@zegel-bounce.voorbeeld.test",
        f"bounce-{NOT_OURS}@zegel-bounce.voorbeeld.test",
        f"{NOT_OURS}@zegel-bounce.voorbeeld.test",
        "gast%open.test@zegel-bounce.voorbeeld.test",
        "@zegel.test:gast@open.test",
    ],
)
def test_no_address_but_our_return_paths_is_taken(home: Home, address: str) -> None:
    home.notified()
    with home.client() as client:
        client.ehlo()
        client.docmd("MAIL FROM:<>")
        code, text = client.docmd(f"RCPT TO:<{address}>")
        assert code in (550, 501, 553)
        assert b"open.test" not in text
        assert client.docmd("DATA")[0] in (503, 554)
    assert home.post.recipient(GUEST).state == "notified"


def test_a_return_path_of_another_domain_or_of_long_ago_is_none(home: Home) -> None:
    row = home.notified()
    with home.client() as client:
        client.ehlo()
        client.docmd("MAIL FROM:<>")
        assert client.docmd(f"RCPT TO:<{row.reverse_path.replace('voorbeeld', 'ander')}>")[0] == 550
        assert client.docmd(f"RCPT TO:<{row.reverse_path.upper()}>")[0] == 250
        home.post.clock.forward(seconds=REMEMBERED.total_seconds() + 1)
        assert client.docmd(f"RCPT TO:<{row.reverse_path}>")[0] == 550


def test_nobody_can_sign_in_and_tls_is_offered(home: Home) -> None:
    with home.client() as client:
        client.ehlo()
        assert "auth" not in client.esmtp_features
        client._host = "localhost"  # type: ignore[attr-defined]
        client.starttls(context=home.trust)
        client.ehlo()
        assert "auth" not in client.esmtp_features
        assert client.docmd("AUTH PLAIN AGEAYg==")[0] in (502, 503)


def test_a_database_that_is_away_is_a_temporary_refusal(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    row = home.notified()
    table = Transmission._meta.db_table
    monkeypatch.setattr(Transmission._meta, "db_table", "gone")
    with home.client() as client:
        client.ehlo()
        client.docmd("MAIL FROM:<>")
        assert client.docmd(f"RCPT TO:<{row.reverse_path}>")[0] == 451
    monkeypatch.setattr(Transmission._meta, "db_table", table)
    home.post.logged.clear()


# --- what follows -------------------------------------------------------------------------------------------------


def test_a_bounce_ends_the_recipient_and_the_sender_gets_a_report(home: Home) -> None:
    row = home.notified()
    home.bring(report(FAILED), row.reverse_path)
    assert home.rings
    recipient = home.post.recipient(GUEST)
    assert (recipient.state, recipient.status, recipient.reason) == (
        "undeliverable",
        "5.1.1",
        Ended.CAME_BACK.value,
    )
    home.post.settle()
    (told,) = home.post.reports()
    assert GUEST in words(told)
    assert "Status: 5.1.1" in status_of(told)
    assert "no such user here" in status_of(told)
    assert "mx.example.org" in status_of(told)
    for hidden in (SENTENCE, "Subject: secret"):
        assert hidden not in told.as_string()


def test_the_same_bounce_twice_is_one_report(home: Home) -> None:
    row = home.notified()
    for _ in range(2):
        home.bring(report(FAILED), row.reverse_path)
        home.post.settle()
    home.post.until_nothing_waits()
    assert len(home.post.reports()) == 1
    assert home.outcomes(row)[-2:] == ["Bounced", "Bounced"]


def test_a_readable_message_can_come_back_too(home: Home) -> None:
    home.post.proven()
    home.post.submit(READER, fields=[PROVEN_FIELD])
    home.post.settle()
    row = Transmission.objects.get(address=READER, kind="readable")
    assert home.post.recipient(READER).state == "delivered"
    home.bring(report(FAILED), row.reverse_path)
    home.post.settle()
    assert home.post.recipient(READER).state == "undeliverable"
    assert len(home.post.reports()) == 1


def test_a_bounce_that_is_quicker_than_our_own_record_comes_again_and_is_not_lost(home: Home) -> None:
    post = home.post
    post.mx("open.test")
    post.submit(GUEST)
    (leased,) = post.lease(Kind.DECIDE)
    post.run(post.decision.decide(leased))
    row = Transmission.objects.get(address=GUEST)
    assert home.bring_too_early(report(FAILED), row) == 451
    assert home.outcomes(row) == ["Accepted"]
    home.bring(report(FAILED), row.reverse_path)
    post.settle()
    assert post.recipient(GUEST).state == "undeliverable"
    assert len(post.reports()) == 1


def test_the_failure_of_a_mail_that_another_one_replaced_ends_nobody(home: Home) -> None:
    """A server that took the readable message and never said so can report about it when the notification is there."""
    home.post.mx("open.test")
    home.post.submit(GUEST, fields=[PROVEN_FIELD, ("zivver-minimum-recipient-verification", "email-verification")])
    home.post.settle()
    row = Transmission.objects.get(address=GUEST, kind="readable")
    assert (row.state, home.post.recipient(GUEST).state) == ("failed", "notified")
    home.bring(report(FAILED), row.reverse_path)
    home.post.settle()
    assert home.outcomes(row)[-1] == "Bounced"
    assert home.post.recipient(GUEST).state == "notified"
    assert home.post.reports() == []


def test_who_has_read_the_message_has_read_it(home: Home) -> None:
    row = home.notified()
    Recipient.objects.filter(address=GUEST).update(state="opened", opened_at=home.post.clock.at)
    home.bring(report(FAILED), row.reverse_path)
    home.post.settle()
    assert home.post.recipient(GUEST).state == "opened"
    assert home.post.reports() == []
    assert home.outcomes(row)[-1] == "Bounced"


@pytest.mark.parametrize(
    ("mail", "sender", "outcome"),
    [
        (report(DELAYED), "", "DelayedElsewhere"),
        (report(RELAYED), "", "ArrivedElsewhere"),
        (AWAY, "", "AutoReply"),
        (AWAY, GUEST, "AutoReply"),
        (crlf("From: gast@open.test\nSubject: Re\n\nDank u wel!\n"), GUEST, "Unclear"),
        (crlf("Subject: what\n\nis this\n"), "", "Unclear"),
    ],
)
def test_what_is_no_failure_stands_in_the_trace_and_changes_nothing(
    home: Home, mail: bytes, sender: str, outcome: str
) -> None:
    row = home.notified()
    home.bring(mail, row.reverse_path, sender=sender)
    home.post.settle()
    assert home.outcomes(row) == ["Accepted", outcome]
    assert home.post.recipient(GUEST).state == "notified"
    assert home.post.reports() == []
    assert "Dank u wel" not in repr(list(Attempt.objects.values()))


def test_a_null_reverse_path_of_the_author_is_told_nothing(home: Home) -> None:
    home.post.mx("open.test")
    home.post.submit(GUEST, reverse_path="")
    home.post.settle()
    home.bring(report(FAILED), Transmission.objects.get(kind="notification").reverse_path)
    home.post.settle()
    assert home.post.recipient(GUEST).state == "undeliverable"
    assert home.post.reports() == []


def test_no_link_that_a_server_quotes_is_kept(home: Home) -> None:
    row = home.notified()
    token = "q" * 43
    quoted = (
        f"Action: failed\nStatus: 5.7.1\nRemote-MTA: dns; localhost/m/{token}\n"
        f"Diagnostic-Code: smtp; 554 spam http://localhost/m/{token} {token}"
    )
    home.bring(report(quoted), row.reverse_path)
    home.post.settle()
    assert token not in repr(list(Attempt.objects.values()))
    assert token not in home.post.reports()[0].as_string()


def test_a_flood_about_one_mail_is_forgotten(home: Home) -> None:
    row = home.notified()
    with home.client() as client:
        for _ in range(MOST_SAID + 5):
            client.sendmail("", [row.reverse_path], AWAY)
    assert home.outcomes(row).count("AutoReply") == MOST_SAID


def test_a_large_bounce_is_read_from_its_beginning_and_kept_nowhere(home: Home, tmp_path: Path) -> None:
    row = home.notified()
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    home.bring(report(FAILED) + b"x" * 76 * 20_000 + b"\r\n", row.reverse_path)
    assert home.post.recipient(GUEST).state == "undeliverable"
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before


def test_a_bounce_beyond_the_limit_is_refused(home: Home) -> None:
    row = home.notified()
    with home.client() as client:
        client.ehlo()
        assert client.docmd(f"MAIL FROM:<> SIZE={LARGEST + 1}")[0] == 552
    assert LARGEST > LARGEST_READ
    assert home.post.recipient(GUEST).state == "notified"
    assert row.attempts.count() == 1


def test_nothing_of_what_came_is_logged(home: Home) -> None:
    row = home.notified()
    home.bring(report(FAILED), row.reverse_path)
    logged: Any = repr(home.post.logged)
    assert "BounceHeard" in logged or "bounce_heard" in logged
    for hidden in ("no such user", GUEST, SUBJECT, row.reverse_path):
        assert hidden not in logged
