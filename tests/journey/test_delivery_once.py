"""P5, P8, P13: what is done twice leaves what it left once; what is recorded is evidence and no secret."""

from __future__ import annotations

import email.policy
import json
import re
import ssl
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.db import OperationalError, connection

from tests.journey.delivery_ground import (
    PHONE,
    PROVEN_FIELD,
    SENDER,
    SENTENCE,
    SUBJECT,
    Post,
    a_post,
    certificates,
    everything_in,
    link_in,
    parsed,
    status_of,
)
from tests.journey.delivery_peers import Taken, server_tls
from tests.journey.portal_ground import Clock
from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox, parse_reverse_path
from zegel.core.policy.shrinking import LINK_FROM
from zegel.core.policy.transport import Authentication, Tls
from zegel.core.seal.wrap import CannotOpen
from zegel.core.secret import Secret
from zegel.journey.arrival.intake import Envelope
from zegel.journey.arrival.record import AcceptedRecipient
from zegel.journey.custody.jobs import LEASE, Kind, Leased, LeaseLost
from zegel.journey.custody.models import Attempt, Job, Recipient, Transmission
from zegel.journey.delivery import deliver, recording
from zegel.journey.delivery.recording import Ending
from zegel.journey.portal import codes
from zegel.journey.tracing import trace_json

pytestmark = pytest.mark.django_db(transaction=True)

READER: Final = "lezer@veilig.test"
GUEST: Final = "gast@open.test"


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        yield found


def decided(post: Post) -> Leased:
    """The right to make the one transmission there is."""
    for leased in post.lease(Kind.DECIDE):
        post.run(post.decision.decide(leased))
    (leased,) = post.lease(Kind.TRANSMIT)
    return leased


def taken_over(_: Taken) -> None:
    """Between the final dot and its answer another process takes the job; as if this one had died there."""
    try:
        Job.objects.filter(kind=Kind.TRANSMIT).update(lease=uuid.uuid4())
    finally:
        connection.close()


def message_ids(mails: list[bytes]) -> set[str]:
    return {str(parsed(one)["Message-ID"]) for one in mails}


# --- once ---------------------------------------------------------------------------------------------------------


def test_who_lost_the_lease_records_nothing(post: Post) -> None:
    server = post.mx("open.test", at_end=taken_over)
    post.submit(GUEST)
    leased = decided(post)
    with pytest.raises(LeaseLost):
        post.run(post.delivery.transmit(leased))
    assert len(server.taken) == 1
    assert not Attempt.objects.exists()
    assert post.recipient(GUEST).state == "decided"
    assert post.transmissions("notification")[0].state == "queued"


@pytest.mark.parametrize("is_readable", [True, False], ids=["readable", "notification"])
def test_a_crash_between_sending_and_recording_costs_one_copy_of_the_same_mail(post: Post, is_readable: bool) -> None:
    server = post.proven(at_end=taken_over)
    if is_readable:
        post.list_domain("veilig.test")
    post.submit(READER)
    with pytest.raises(LeaseLost):
        post.run(post.delivery.transmit(decided(post)))
    server.at_end = None
    post.start()  # another process: nothing is remembered but what is stored
    Job.objects.update(lease=None, leased_until=None)
    post.until_nothing_waits()
    first, second = server.messages()
    assert len(message_ids([first, second])) == 1
    assert without_signature(first) == without_signature(second)
    assert len(post.attempts(READER)) == 1
    assert Transmission.objects.count() == 1
    assert post.recipient(READER).state == ("delivered" if is_readable else "notified")


def without_signature(octets: bytes) -> bytes:
    return re.sub(rb"DKIM-Signature:.*?\r\n(?![ \t])", b"", octets, count=1, flags=re.DOTALL)


def test_a_notification_tried_again_carries_the_link_that_was_stored_before_the_first_try(post: Post) -> None:
    server = post.mx("open.test", at_end=taken_over)
    post.submit(GUEST)
    with pytest.raises(LeaseLost):
        post.run(post.delivery.transmit(decided(post)))
    stored = bytes(post.recipient(GUEST).links.get().hash)
    server.at_end = None
    server.answers["END"] = [b"451 4.3.0 later\r\n"]
    post.start()
    Job.objects.update(lease=None, leased_until=None)
    post.settle()
    post.later(hours=1)
    first, second = server.messages()
    assert link_in(first) == link_in(second)
    assert bytes(post.recipient(GUEST).links.get().hash) == stored


def test_who_comes_late_makes_no_second_link(post: Post) -> None:
    """A process that slept through its lease must not make the link useless that was sent meanwhile, nor store a
    sealed copy again after the last one was destroyed."""
    server = post.mx("open.test")
    post.submit(GUEST)
    leased = decided(post)
    late = post.delivery._gather([leased])[0]
    assert late is not None
    post.clock.forward(seconds=LEASE.total_seconds() + 1)
    post.settle()
    sent = link_in(server.messages()[0])
    with pytest.raises(LeaseLost):
        post.run(post.delivery.mails.compose(late, Mailbox.parse(GUEST)))
    transmission = post.transmissions("notification")[0]
    assert transmission.state == "sent"
    assert transmission.sealed is None
    post.ground.unsealer.conversation_key_by_link(post.recipient(GUEST).links.get(), Secret(sent))


def test_a_job_done_twice_in_a_row_sends_once(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST)
    leased = decided(post)
    post.run(post.delivery.transmit(leased))
    with pytest.raises(LeaseLost):
        post.run(post.delivery.transmit(leased))
    assert len(server.taken) == 1
    assert len(post.attempts(GUEST)) == 1


def test_a_decision_made_twice_counts_once(post: Post) -> None:
    post.mx("open.test")
    post.submit(GUEST)
    (leased,) = post.lease(Kind.DECIDE)
    post.run(post.decision.decide(leased))
    with pytest.raises(LeaseLost):
        post.run(post.decision.decide(leased))
    assert Transmission.objects.count() == 1
    assert Job.objects.filter(kind=Kind.TRANSMIT).count() == 1


def test_a_report_made_twice_is_told_once(post: Post) -> None:
    post.submit("iemand@bestaat-niet.test")
    post.run(post.delivery.transmit(decided(post)))
    (leased,) = post.lease(Kind.REPORT)
    post.run(post.telling.report(leased))
    with pytest.raises(LeaseLost):
        post.run(post.telling.report(leased))
    post.settle()
    assert len(post.home.taken) == 1


def test_two_processes_at_once_send_once(post: Post) -> None:
    server = post.mx("open.test")
    for number in range(10):
        post.submit(f"gast{number}@open.test", message_id=f"<{number}@voorbeeld.test>")
    for leased in post.lease(Kind.DECIDE):
        post.run(post.decision.decide(leased))
    here, there = post.lease(Kind.TRANSMIT), post.lease(Kind.TRANSMIT)
    assert (len(here), len(there)) == (10, 0)
    post.clock.forward(seconds=1)
    for leased in here:
        post.run(post.delivery.transmit(leased))
    assert len(server.taken) == 10
    assert not Job.objects.exists()


# --- what a server took -------------------------------------------------------------------------------------------


def broken(post: Post) -> list[str]:
    """Where something broke; these are ours."""
    found = [one["where"] for one in post.logged if one["event"] == "broken"]
    post.logged[:] = [one for one in post.logged if one["event"] != "broken"]
    return found


def fails(monkeypatch: pytest.MonkeyPatch, *causes: Exception) -> list[Exception]:
    """What is raised where an ending is recorded, each once."""
    record, left = recording.record, list(causes)

    def failing(ended: Sequence[Ending], *, now: Instant) -> None:
        if left:
            raise left.pop(0)
        record(ended, now=now)

    monkeypatch.setattr(recording, "record", failing)
    monkeypatch.setattr(deliver, "RECORD_AGAIN", 0.01)
    return left


def test_what_a_server_took_is_recorded_as_soon_as_it_can_be_and_not_sent_again(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = post.mx("open.test")
    post.submit(GUEST)
    leased = decided(post)
    left = fails(monkeypatch, *(OperationalError("disk I/O error") for _ in range(4)))
    post.run(post.delivery.transmit(leased))
    assert broken(post) == ["recording what a server took"] * 4
    post.until_nothing_waits()
    assert left == [] and len(server.taken) == 1
    assert post.outcomes(GUEST) == ["Accepted"]
    assert post.recipient(GUEST).state == "notified"
    (notification,) = post.transmissions("notification")
    assert (notification.state, notification.tries, notification.sealed) == ("sent", 1, None)


def test_who_loses_the_lease_meanwhile_stops_recording(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    server = post.mx("open.test")
    post.submit(GUEST)
    leased = decided(post)
    left = fails(monkeypatch, OperationalError("disk I/O error"), LeaseLost(), OperationalError("never asked"))
    with pytest.raises(LeaseLost):
        post.run(post.delivery.transmit(leased))
    assert len(left) == len(server.taken) == 1
    assert broken(post) == ["recording what a server took"]


def test_what_no_server_took_is_tried_again_instead(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    post.mx("open.test", answers={"END": [b"451 4.3.0 later\r\n"]})
    post.submit(GUEST)
    leased = decided(post)
    fails(monkeypatch, OperationalError("disk I/O error"))
    with pytest.raises(OperationalError):
        post.run(post.delivery.transmit(leased))
    assert not Attempt.objects.exists() and broken(post) == []


# --- what nobody needs any more -----------------------------------------------------------------------------------


def test_a_reminder_of_what_was_opened_meanwhile_ends_without_its_link(post: Post) -> None:
    server = post.mx("open.test")
    post.ground.organisation.remind_after_days = 3
    post.ground.organisation.save()
    post.submit(GUEST)
    post.settle()
    server.answers["RCPT"] = [b"451 4.7.1 later\r\n"]
    post.later(days=3, hours=1)
    (reminder,) = post.transmissions("reminder")
    assert (reminder.state, reminder.tries, reminder.sealed is None) == ("queued", 1, False)
    Recipient.objects.filter(address=GUEST).update(state="opened", opened_at=post.clock.at)
    post.later(hours=1)
    reminder.refresh_from_db()
    assert (reminder.state, reminder.sealed) == ("failed", None)
    assert not Job.objects.filter(kind=Kind.TRANSMIT).exists()
    assert len(server.taken) == 1


def test_a_notification_of_who_waits_for_nothing_any_more_ends_without_its_link(post: Post) -> None:
    server = post.mx("open.test", answers={"RCPT": [b"451 4.7.1 later\r\n"]})
    post.submit(GUEST)
    post.settle()
    (notification,) = post.transmissions("notification")
    assert (notification.state, notification.sealed is None) == ("queued", False)
    Recipient.objects.filter(address=GUEST).update(state="undeliverable")
    post.later(hours=1)
    notification.refresh_from_db()
    assert (notification.state, notification.sealed) == ("failed", None)
    assert server.taken == []


def test_each_try_is_counted_once_and_waits_longer(post: Post) -> None:
    post.mx("open.test", answers={"RCPT": b"451 4.7.1 later\r\n"})
    post.submit(GUEST)
    post.settle()
    transmission = post.transmissions("notification")[0]
    assert transmission.tries == 1
    waits = []
    for _ in range(3):
        due = Job.objects.get().due_at
        waits.append(due - post.clock.at)
        post.clock.at = due
        post.settle()
    transmission.refresh_from_db()
    assert transmission.tries == 4
    assert waits[0] >= timedelta(minutes=15)
    assert waits == sorted(waits)


# --- evidence -----------------------------------------------------------------------------------------------------


def test_an_attempt_that_succeeds_leaves_protocol_cipher_certificate_and_reply(post: Post) -> None:
    post.list_domain("veilig.test")
    server = post.proven(answers={"END": b"250 2.0.0 queued as 4F2A\r\n"})
    post.submit(READER)
    post.settle()
    (attempt,) = post.attempts(READER)
    assert (attempt.host, attempt.address) == ("mx.veilig.test", server.ip)
    assert (attempt.outcome, attempt.stage, attempt.reply) == ("Accepted", "", "250 2.0.0 queued as 4F2A")
    assert (attempt.tls, attempt.authentication) == (Tls.TLS_1_3, Authentication.CERTIFICATE)
    assert (attempt.protocol, attempt.cipher[:4]) == ("TLSv1.3", "TLS_")
    assert re.fullmatch(
        r"mx\.veilig\.test; issued by Zegel local authority .*; sha256 [0-9a-f]{64}", attempt.certificate
    )
    assert attempt.at == post.clock.at


def test_what_a_certificate_says_of_itself_is_stored_as_one_line_that_any_database_takes(
    post: Post, tmp_path: Path
) -> None:
    names = ["mx\0.open.test", "mx\x1b[31m.open.test", "mx.open.test\r\nX-Field: 1"]
    post.mx("open.test", tls=server_tls(saying(tmp_path, names, "Wij\0\x1b[2J\u202e\u200b\nzelf")))
    post.submit(GUEST)
    post.settle()
    (attempt,) = post.attempts(GUEST)
    assert attempt.outcome == "Accepted"
    assert attempt.certificate.isprintable()
    assert "mx .open.test" in attempt.certificate and "[31m.open.test" in attempt.certificate
    assert re.search(r"sha256 [0-9a-f]{64}$", attempt.certificate)


def saying(folder: Path, names: list[str], issuer: str) -> tuple[Path, Path]:
    """A certificate that nobody vouches for, of what names soever."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, private, pem = folder / "chain.pem", folder / "key.pem", serialization.Encoding.PEM
    chain.write_bytes(certificate.public_bytes(pem))
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return chain, private


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("chain", "why"),
    [
        ("self_signed", "self-signed certificate"),
        ("expired", "certificate has expired"),
        ("wrong_name", "Hostname mismatch"),
        ("unknown_authority", "self-signed certificate in certificate chain"),
    ],
)
def test_an_attempt_that_ends_with_a_certificate_that_is_not_valid_leaves_what_was_chosen_before(
    post: Post, chain: str, why: str, version: ssl.TLSVersion
) -> None:
    """As another mail has it that demands nothing, and so goes over the same TLS."""
    server = post.mx("veilig.test", tls=server_tls(getattr(certificates(), chain), maximum=version))
    post.submit(READER, fields=[PROVEN_FIELD])
    post.settle()
    post.submit("ander@veilig.test", message_id="<tweede@voorbeeld.test>")
    post.settle()
    (refused,), (taken,) = post.attempts(READER), post.attempts("ander@veilig.test")
    assert (refused.outcome, taken.outcome) == ("InsufficientSecurity", "Accepted")
    assert (refused.tls, refused.authentication) == (Tls.TLS_1_2, Authentication.NONE)  # at least
    assert refused.protocol == server.taken[0].over
    kept = (refused.protocol, refused.cipher, refused.key_exchange, refused.certificate)
    assert kept == (taken.protocol, taken.cipher, taken.key_exchange, taken.certificate)
    assert all(kept)
    (recipient,) = trace_json(post.recipient(READER).submission)["recipients"]
    (told,) = (one for mail in recipient["mails"] for one in mail["attempts"])
    assert (told["protocol"], told["cipher"], told["key_exchange"]) == kept[:3]
    assert told["tls"] == "TLS_1_2"
    assert told["certificate"]["trouble"].startswith(f"not valid: {why}")


def test_an_attempt_that_fails_leaves_its_reason(post: Post) -> None:
    post.mx("open.test")
    post.submit(GUEST, fields=[PROVEN_FIELD])
    post.settle()
    (attempt,) = post.attempts(GUEST)
    assert (attempt.outcome, attempt.reply) == ("InsufficientSecurity", "the server offers no STARTTLS")
    assert (attempt.protocol, attempt.cipher, attempt.certificate) == ("", "", "")


QUOTING: Final = f"550-5.7.1 <{GUEST}> from <{SENDER}>:\r\n550 5.7.1 '{SUBJECT}' for {PHONE} was not liked\r\n".encode()


def test_the_log_names_no_address_subject_or_number_and_nothing_that_a_server_said(post: Post) -> None:
    post.list_domain("veilig.test")
    post.proven(answers={"RCPT": QUOTING})
    post.mx("open.test", answers={"RCPT": [QUOTING.replace(b"550", b"450"), QUOTING]})
    post.submit(READER, GUEST, "iemand@bestaat-niet.test", fields=[("zivver-access-right", f"{GUEST} sms {PHONE}")])
    post.until_nothing_waits()
    assert len(post.reports()) == 3
    told = [one for one in post.logged if one["event"] == "attempted"]
    assert len(told) >= 6
    assert {"550 5.7.1", "450 5.7.1"} <= {one["reply"] for one in told}
    lines = json.dumps(post.logged, default=str)
    for hidden in (GUEST, READER, SENDER, "gast", "lezer", SUBJECT, "Merkteken", PHONE, PHONE[1:], "liked", SENTENCE):
        assert hidden not in lines


# --- secrets ------------------------------------------------------------------------------------------------------


def test_after_the_notification_was_taken_only_the_hash_of_its_link_is_left(post: Post) -> None:
    server = post.mx("open.test", answers={"RCPT": [b"451 4.7.1 later\r\n"]})
    post.submit(GUEST)
    post.settle()
    transmission = post.transmissions("notification")[0]
    assert transmission.sealed is not None  # waiting, so that every try sends the same
    post.later(hours=1)
    transmission.refresh_from_db()
    assert transmission.state == "sent"
    assert transmission.sealed is None
    recipient = post.recipient(GUEST)
    link = recipient.links.get()
    token = link_in(server.messages()[0])
    assert token.encode() not in database()
    unsealer = post.ground.unsealer
    by_link = unsealer.conversation_key_by_link(link, Secret(token))
    assert by_link.reveal() == unsealer.conversation_key(recipient.conversation).reveal()


def test_a_link_with_one_other_character_opens_nothing(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST)
    post.settle()
    token, link = link_in(server.messages()[0]), post.recipient(GUEST).links.get()
    for place in range(0, 43, 6):
        other = "A" if token[place] != "A" else "B"
        with pytest.raises(CannotOpen):
            post.ground.unsealer.conversation_key_by_link(link, Secret(token[:place] + other + token[place + 1 :]))


def test_the_link_of_one_recipient_opens_nothing_as_another(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST, "ander@open.test")
    post.settle()
    tokens = {taken.rcpt: link_in(taken.content) for taken in server.taken}
    assert len(set(tokens.values())) == 2
    with pytest.raises(CannotOpen):
        link = post.recipient(GUEST).links.get()
        post.ground.unsealer.conversation_key_by_link(link, Secret(tokens["TO:<ander@open.test>"]))


def test_a_server_that_quotes_the_link_when_it_refuses_gives_it_to_nobody(post: Post) -> None:
    """Filters for bad links do this. What came back must not stand in the trace or in the report to the sender."""

    def quote(taken: Taken) -> None:
        token = link_in(taken.content)
        said.append(token)
        server.answers["END"] = f"550 5.7.1 blocked: http://localhost/m/{token}, and {token}: see help\r\n".encode()

    said: list[str] = []
    server = post.mx("open.test", at_end=quote)
    post.submit(GUEST)
    post.settle()
    (report,) = post.reports()
    (token,) = said
    assert token not in everything_in(report)
    assert token.encode() not in database()
    assert "blocked" not in everything_in(report)
    assert post.attempts(GUEST)[0].reply == "550 5.7.1"
    assert post.recipient(GUEST).links.count() == 1


def folded(said: str, every: int) -> bytes:
    """A refusal on as many lines as it takes."""
    pieces = [said[start : start + every] for start in range(0, len(said), every)]
    lines = [f"554-5.7.1 {piece}\r\n" for piece in pieces[:-1]] + [f"554 5.7.1 {pieces[-1]}\r\n"]
    return "".join(lines).encode()


def encoded(token: str, letters: str = "") -> str:
    return "".join(f"%{ord(one):02X}" if not one.isalnum() or one in letters else one for one in token)


QUOTED: Final[dict[str, Callable[[str], bytes]]] = {
    "on two lines": lambda token: folded(f"blocked URL http://localhost/m/{token} is listed", 40),
    "on lines of six": lambda token: folded(token, 6),
    "the end of it": lambda token: folded(f"see {token[35:]}", 100),
    "the begin of it": lambda token: folded(f"see {token[:8]}", 100),
    "from within": lambda token: folded(f"hit: x{token[17:25]}y", 100),
    "with spaces": lambda token: folded(" ".join(token), 100),
    "percent-encoded": lambda token: folded(f"http%3A%2F%2Flocalhost%2Fm%2F{encoded(token)} is listed", 200),
    "all of it percent-encoded": lambda token: folded(encoded(token, token), 200),
    "percent-encoded and folded": lambda token: folded(encoded(token, token), 50),
    "in capitals": lambda token: folded(f"HTTP://LOCALHOST/M/{token.upper()}", 200),
}


@pytest.mark.parametrize("code", ["554", "451"])
@pytest.mark.parametrize("how", QUOTED)
def test_of_a_reply_that_quotes_a_piece_of_the_link_its_code_is_kept(post: Post, how: str, code: str) -> None:
    """No piece of eight characters of it stands in the trace, or in any report."""

    def quote(taken: Taken) -> None:
        tokens.append(link_in(taken.content))
        server.answers["END"] = QUOTED[how](tokens[-1]).replace(b"554", code.encode()).replace(b"5.7.1", status)

    tokens: list[str] = []
    status = b"5.7.1" if code == "554" else b"4.7.1"
    server = post.mx("open.test", at_end=quote)
    post.submit(GUEST)
    post.settle()
    post.later(hours=5)  # where it was put off, the word of the delay
    (report,) = post.reports()
    kept = f"{code} {status.decode()}"
    assert {one.reply for one in post.attempts(GUEST)} == {kept}
    assert kept in status_of(report)
    (token,) = set(tokens)
    said = "".join(everything_in(one) for one in post.heard()).lower()
    assert not any(token[start : start + 8].lower() in said for start in range(len(token) - 7))


def test_a_reply_that_quotes_nothing_is_kept_as_it_is(post: Post) -> None:
    post.mx(
        "open.test", answers={"END": b"554-5.7.1 Message refused, see\r\n554 5.7.1 https://hulp.test/spam?id=7\r\n"}
    )
    post.submit(GUEST)
    post.settle()
    assert [one.reply for one in post.attempts(GUEST)] == ["554 5.7.1 Message refused, see https://hulp.test/spam?id=7"]
    assert "Message refused" in everything_in(post.reports()[0])


def test_a_server_that_quotes_the_link_to_files_gives_it_to_nobody(post: Post) -> None:
    """In a readable message the link is beside the text."""

    def quote(taken: Taken) -> None:
        tokens.append(link_in(taken.content))
        server.answers["END"] = folded(f"blocked {encoded(tokens[-1])}", 20)

    tokens: list[str] = []
    server = post.proven(extensions=("SIZE 60000000", "8BITMIME"), at_end=quote)
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"], message["To"], message["Message-ID"] = SENDER, READER, "<groot@voorbeeld.test>"
    message[PROVEN_FIELD[0]] = PROVEN_FIELD[1]
    message.set_content(SENTENCE + "\n")
    message.add_attachment(bytes(LINK_FROM), "application", "octet-stream", filename="groot.bin")
    envelope = Envelope(parse_reverse_path(SENDER), recipients=[AcceptedRecipient(Mailbox.parse(READER))])
    post.submit_octets(message.as_bytes(), envelope)
    post.settle()
    (token,) = set(tokens)
    assert [one.reply for one in post.attempts(READER)] == ["554 5.7.1"]
    assert token[20:30] not in everything_in(post.reports()[0])


def test_a_server_that_quotes_the_code_gives_it_to_nobody(post: Post) -> None:
    server = post.mx("open.test")
    post.submit(GUEST)
    post.settle()
    server.answers["END"] = b"550 5.7.1 your code 123 456 looks like phishing\r\n"
    recipient = Recipient.objects.select_related("conversation__organisation", "conversation__author").get()
    assert codes.send(recipient, b"b" * 32, "nl") is None
    post.settle()
    last = post.attempts(GUEST)[-1]
    assert (last.transmission.kind, last.outcome, last.reply) == ("code", "Refused", "550 5.7.1")


def test_what_a_server_says_is_stored_as_one_line_that_any_database_takes(post: Post) -> None:
    post.mx("open.test", answers={"RCPT": b"550 5.7.1 a\0b\x1b[31mc\xff" + b"d" * 2000 + b"\r\n"})
    post.submit(GUEST)
    post.settle()
    (attempt,) = post.attempts(GUEST)
    assert attempt.reply.startswith("550 5.7.1 a b [31mc")
    assert attempt.reply.isprintable()
    assert len(attempt.reply) == 500
    assert len(post.reports()) == 1


def test_every_copy_of_its_own_mails_is_destroyed_when_they_are_gone(post: Post) -> None:
    post.mx("open.test", answers={"RCPT": [b"550 5.1.1 nobody\r\n"]})
    post.submit(GUEST, "ander@open.test", fields=[("zivver-direct-delivery", "")])
    post.until_nothing_waits()
    assert {one.kind for one in Transmission.objects.all()} >= {"readable", "notification", "report", "notice"}
    assert not Transmission.objects.exclude(sealed=None).exists()


def database() -> bytes:
    """Every value of every row, as it is."""
    with connection.cursor() as cursor:
        found = b""
        for table in connection.introspection.table_names():
            cursor.execute(f'SELECT * FROM "{table}"')
            for row in cursor.fetchall():
                found += b"\n".join(one if isinstance(one, bytes) else str(one).encode() for one in row) + b"\n"
    return found
