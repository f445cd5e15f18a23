"""Delivery reports, read back with the stdlib's parser: what they say, to whom, and what they never show."""

from __future__ import annotations

import email
import itertools
from datetime import UTC, datetime, timedelta
from email.message import Message
from typing import Any, Final, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zegel.core.mail.address import NULL_PATH, Domain, Mailbox
from zegel.core.mail.compose import NotWritable
from zegel.core.mail.dsn import (
    REASONS,
    Action,
    NotAReport,
    Report,
    ReportedRecipient,
    compose_report,
    report_to,
    shown_header,
    wants,
)

AT: Final = datetime(2026, 3, 12, 14, 2, 0, tzinfo=UTC)
AUTHOR: Final = Mailbox.parse("afzender@voorbeeld.test")
RECIPIENT: Final = Mailbox.parse("ontvanger@example.org")
DAEMON: Final = Mailbox.parse("MAILER-DAEMON@zegel.test")
REMEDY: Final = ("Geef een mobiel nummer op.", "Give a mobile number.")
HEADER: Final = (
    b"From: afzender@voorbeeld.test\r\n"
    b"To: ontvanger@example.org\r\n"
    b"Subject: Afspraak op\r\n donderdag\r\n"
    b"Message-ID: <1@voorbeeld.test>\r\n"
)
patient: Final = settings(deadline=None)


def reported(**others: Any) -> ReportedRecipient:
    arguments: dict[str, Any] = {
        "final": RECIPIENT,
        "original_orcpt": "rfc822;ontvanger@example.org",
        "action": "failed",
        "status": "5.7.10",
        "diagnostic": "454 4.7.0 TLS not available",
        "remote_mta": "mx.example.org",
        "last_attempt": AT + timedelta(minutes=5),
        "will_retry_until": None,
        "remedy": REMEDY,
    }
    return ReportedRecipient(**{**arguments, **others})


def report(*about: ReportedRecipient, **others: Any) -> Report:
    arguments: dict[str, Any] = {
        "to": AUTHOR,
        "about": about or (reported(),),
        "original_header": HEADER,
        "reporting_mta": Domain("mx.zegel.test"),
        "arrival": AT,
        "original_envelope_id": "ABC=1",
    }
    return Report(**{**arguments, **others})


def composed(told: Report, **others: Any) -> bytes:
    arguments: dict[str, Any] = {"author": DAEMON, "boundary": "=_zegel_1", "message_id": "<2@zegel.test>", "at": AT}
    return compose_report(told, **{**arguments, **others})


def parts(octets: bytes) -> tuple[Message, list[Message]]:
    message = email.message_from_bytes(octets)
    assert message.is_multipart()
    assert not message.defects
    return message, cast("list[Message]", message.get_payload())


def text_of(octets: bytes) -> str:
    payload = parts(octets)[1][0].get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


def groups(octets: bytes) -> list[list[tuple[str, str]]]:
    """The field groups of message/delivery-status, which the stdlib parses as messages, unfolded."""
    status = parts(octets)[1][1]
    assert status.get_content_type() == "message/delivery-status"
    found = cast("list[Message]", status.get_payload())
    return [[(name, value.replace("\r\n", "")) for name, value in group.items()] for group in found]


def raw_part(octets: bytes, kind: bytes) -> bytes:
    """One part's decoded octets, cut out by hand: the stdlib doesn't decode parts of type message/*."""
    for part in octets.split(b"\r\n--=_zegel_1")[1:-1]:
        header, _, body = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        type_line, _, encoding_line = header.partition(b"\r\n")
        if type_line == b"Content-Type: " + kind:
            leaf = email.message_from_bytes(encoding_line + b"\r\n\r\n" + body)
            payload = leaf.get_payload(decode=True)
            assert isinstance(payload, bytes)
            return payload
    raise AssertionError(f"no part of type {kind!r}")


# --- who is told --------------------------------------------------------------------------------------------------


def test_the_null_reverse_path_is_never_told() -> None:
    assert report_to(NULL_PATH) is None
    assert report_to(AUTHOR) == AUTHOR


ALL_NOTIFY: Final = [
    frozenset(chosen) for size in range(4) for chosen in itertools.combinations(("SUCCESS", "FAILURE", "DELAY"), size)
]


@pytest.mark.parametrize("action", ["failed", "delayed", "relayed", "delivered", "expanded"])
def test_never_silences_everything(action: Action) -> None:
    assert not wants(frozenset({"NEVER"}), action)
    assert not wants(frozenset({"never"}), action)
    assert not wants(frozenset({"NEVER", "FAILURE", "DELAY", "SUCCESS"}), action)


@pytest.mark.parametrize("notify", ALL_NOTIFY, ids=lambda notify: "+".join(sorted(notify)) or "none")
def test_notify_decides_over_every_action(notify: frozenset[str]) -> None:
    # RFC 3461 §4.1; nothing given is the same as FAILURE and DELAY.
    asked = notify or {"FAILURE", "DELAY"}
    expected = {
        "failed": "FAILURE" in asked,
        "delayed": "DELAY" in asked,
        "relayed": "SUCCESS" in asked,
        "delivered": "SUCCESS" in asked,
        "expanded": "SUCCESS" in asked,
    }
    actions: tuple[Action, ...] = ("failed", "delayed", "relayed", "delivered", "expanded")
    assert {action: wants(notify, action) for action in actions} == expected
    assert {action: wants(frozenset(map(str.lower, notify)), action) for action in actions} == expected


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["", "5", "5.7", "3.1.1", "5.1.1\r\nX: y", "5.1.1000", "5.7.10 text"])
def test_what_is_no_enhanced_status_is_refused(status: str) -> None:
    with pytest.raises(NotAReport):
        reported(status=status)


@pytest.mark.parametrize(
    ("action", "status"),
    [
        ("failed", "2.0.0"),
        ("delayed", "2.1.5"),
        ("delivered", "5.1.1"),
        ("relayed", "4.4.7"),
        ("expanded", "5.0.0"),
    ],
)
def test_a_status_that_contradicts_the_action_is_refused(action: Action, status: str) -> None:
    with pytest.raises(NotAReport):
        reported(action=action, status=status)


def test_a_report_about_nobody_is_refused() -> None:
    with pytest.raises(NotAReport):
        Report(AUTHOR, (), HEADER, Domain("mx.zegel.test"), AT, None)


@pytest.mark.parametrize("others", [{"boundary": 'a"b'}, {"message_id": "<1>\r\nBcc: x"}, {"boundary": "ontvanger"}])
def test_what_would_break_the_message_is_refused(others: dict[str, str]) -> None:
    told = report(original_header=b"From: a@b.test\r\n --ontvanger\r\n")
    with pytest.raises(NotWritable):
        composed(told, **others)


# --- what is never shown ------------------------------------------------------------------------------------------

HIDDEN: Final = [
    b"Bcc: geheim@example.org\r\n",
    b"BCC : geheim@example.org\r\n",
    b"bcc:\r\n geheim@example.org,\r\n\tgeheim2@example.org\r\n",
    b"Resent-Bcc: geheim@example.org\r\n",
    b"zivver-access-right: ontvanger@example.org sms +31612geheim\r\n",
    b"Zivver-Access-Right:\r\n ontvanger@example.org\r\n sharedAccessCode geheim\r\n",
    b"ZEGEL-ACCESS-RIGHT: ontvanger@example.org sms geheim\r\n",
    b"zegel-whatever-comes: geheim\r\n",
    b"zivver-access-right\t: geheim\r\n",
    b"geheim without a colon\r\n",
    b" geheim continuation of nothing\r\n",
]


HIDDEN_AFTER: Final = [
    (hidden, before)
    for hidden in HIDDEN
    for before in (b"", HEADER, b"Subject: x\n", b"Subject: x\r", b"X:\r\n")
    if not (hidden.startswith(b" ") and before)  # there it continues a field that is shown
]


@pytest.mark.parametrize(("hidden", "before"), HIDDEN_AFTER)
def test_what_was_removed_is_not_shown_in_a_report(hidden: bytes, before: bytes) -> None:
    octets = composed(report(original_header=before + hidden + HEADER))
    assert b"geheim" not in octets.lower()
    assert b"Subject: Afspraak op\r\n donderdag\r\n" in octets


lines_of_header = st.lists(
    st.sampled_from(
        [*HIDDEN[:-2], b"Subject: a\r\n", b"X-A: b", b"\n", b"\r", b" c\r\n", b"Bcc", b": ", b"X:", b"\r\n"]
    )
)


@patient
@given(lines_of_header)
def test_no_arrangement_of_lines_shows_a_hidden_field(lines: list[bytes]) -> None:
    shown = shown_header(b"".join(lines))
    unfolded = shown.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")
    for line in unfolded.split(b"\r\n")[:-1]:
        name = line.partition(b":")[0].strip().lower()
        assert name not in (b"bcc", b"resent-bcc")
        assert not name.startswith((b"zivver-", b"zegel-"))
    assert b"\r" not in shown.replace(b"\r\n", b"")
    assert b"\n" not in shown.replace(b"\r\n", b"")


def test_a_blank_before_the_colon_hides_no_other_field() -> None:
    assert shown_header(b"Subject : a\r\nBcc : geheim\r\n") == b"Subject : a\r\n"


def test_nothing_behind_the_header_section_is_shown() -> None:
    assert shown_header(b"Subject: a\r\n\r\nSubject: geheim\r\n") == b"Subject: a\r\n"
    assert shown_header(b"Subject: a\n\nSubject: geheim\n") == b"Subject: a\r\n"


# --- what is said -------------------------------------------------------------------------------------------------


def test_the_report_is_a_multipart_report_from_nobody_who_reads() -> None:
    message, found = parts(composed(report()))
    assert message["From"] == '"Zegel" <MAILER-DAEMON@zegel.test>'
    assert message["To"] == "<afzender@voorbeeld.test>"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["Message-ID"] == "<2@zegel.test>"
    assert message["Date"] == "Thu, 12 Mar 2026 14:02:00 +0000"
    assert message["MIME-Version"] == "1.0"
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert [part.get_content_type() for part in found] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]


def test_the_status_part_says_it_to_programs() -> None:
    delayed = reported(
        action="delayed",
        status="4.4.1",
        original_orcpt=None,
        diagnostic=None,
        remote_mta=None,
        will_retry_until=AT + timedelta(days=5),
        final=Mailbox.parse("balie@example.org"),
    )
    assert groups(composed(report(reported(), delayed))) == [
        [
            ("Original-Envelope-Id", "ABC=1"),
            ("Reporting-MTA", "dns; mx.zegel.test"),
            ("Arrival-Date", "Thu, 12 Mar 2026 14:02:00 +0000"),
        ],
        [
            ("Original-Recipient", "rfc822;ontvanger@example.org"),
            ("Final-Recipient", "rfc822; ontvanger@example.org"),
            ("Action", "failed"),
            ("Status", "5.7.10"),
            ("Remote-MTA", "dns; mx.example.org"),
            ("Diagnostic-Code", "smtp; 454 4.7.0 TLS not available"),
            ("Last-Attempt-Date", "Thu, 12 Mar 2026 14:07:00 +0000"),
        ],
        [
            ("Final-Recipient", "rfc822; balie@example.org"),
            ("Action", "delayed"),
            ("Status", "4.4.1"),
            ("Last-Attempt-Date", "Thu, 12 Mar 2026 14:07:00 +0000"),
            ("Will-Retry-Until", "Tue, 17 Mar 2026 14:02:00 +0000"),
        ],
    ]


def test_will_retry_until_stands_with_delays_only() -> None:
    octets = composed(report(reported(will_retry_until=AT), original_envelope_id=None))
    assert b"Will-Retry-Until" not in octets
    assert b"Original-Envelope-Id" not in octets


def test_the_text_names_recipient_reason_and_remedy_in_dutch_and_then_in_english() -> None:
    text = text_of(composed(report()))
    dutch, english = text.split("-" * 40)
    for told, which in ((dutch, 0), (english, 1)):
        assert "<ontvanger@example.org>" in told
        assert REASONS["7.10"][which] in told
        assert REMEDY[which] in told
        assert "454 4.7.0 TLS not available" in told
        assert "mx.zegel.test" in told
    assert REMEDY[1] not in dutch
    assert REMEDY[0] not in english


def test_the_text_is_in_one_language_when_asked() -> None:
    dutch = composed(report(), language="nl")
    english = composed(report(), language="en")
    assert REMEDY[0] in text_of(dutch)
    assert REMEDY[1] not in text_of(dutch)
    assert REMEDY[1] in text_of(english)
    assert REMEDY[0] not in text_of(english)
    assert parts(dutch)[0]["Subject"] == "Uw bericht is niet afgeleverd"
    assert parts(english)[0]["Subject"] == "Your message was not delivered"


def test_a_reason_of_its_own_replaces_the_one_of_the_status() -> None:
    text = text_of(composed(report(reported(reason=("Het certificaat is verlopen.", "The certificate has expired.")))))
    assert "Het certificaat is verlopen." in text
    assert "The certificate has expired." in text
    assert REASONS["7.10"][0] not in text


def test_a_success_gives_no_reason_for_a_failure() -> None:
    octets = composed(report(reported(action="delivered", status="2.1.1", diagnostic=None)), language="en")
    assert REASONS["1.1"][1] not in text_of(octets)
    assert "The message was delivered." in text_of(octets)


@pytest.mark.parametrize(
    ("actions", "subject"),
    [
        (("delivered", "failed", "delayed"), "Your message was not delivered"),
        (("delivered", "delayed"), "Your message has not been delivered yet"),
        (("delivered", "relayed"), "Your message was relayed"),
        (("delivered",), "Your message was delivered"),
    ],
)
def test_the_subject_tells_the_worst(actions: tuple[Action, ...], subject: str) -> None:
    statuses = {"failed": "5.1.1", "delayed": "4.4.1", "relayed": "2.1.9", "delivered": "2.1.5"}
    about = (reported(action=action, status=statuses[action]) for action in actions)
    assert parts(composed(report(*about), language="en"))[0]["Subject"] == subject


# --- what strangers wrote -----------------------------------------------------------------------------------------

strangers = st.text(st.characters(codec="utf-8"), max_size=300)


@patient
@given(strangers, strangers, strangers, strangers)
def test_what_strangers_wrote_adds_no_field_and_no_part(diagnostic: str, orcpt: str, envid: str, mta: str) -> None:
    hostile = reported(diagnostic=diagnostic, original_orcpt=orcpt, remote_mta=mta)
    octets = composed(report(hostile, original_envelope_id=envid))
    assert octets.isascii()
    lines = octets.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert not any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines)
    assert len(parts(octets)[1]) == 3
    kind = b"message/delivery-status" if b"message/delivery-status" in octets else b"message/global-delivery-status"
    status = raw_part(octets, kind).decode()
    names = [line.partition(":")[0] for line in status.split("\r\n") if line and not line.startswith(" ")]
    assert set(names) <= {
        "Original-Envelope-Id", "Reporting-MTA", "Arrival-Date", "Original-Recipient", "Final-Recipient", "Action",
        "Status", "Remote-MTA", "Diagnostic-Code", "Last-Attempt-Date",
    }  # fmt: skip
    assert len(names) == len(set(names))
    assert status.count("\r\n\r\n") == 1


@pytest.mark.parametrize(
    "attack",
    ["550 no\r\nStatus: 2.0.0", "550 no\r\n\r\nFinal-Recipient: rfc822; x@y.test", "550\0no", "550 no\n--=_zegel_1--"],
)
def test_a_reply_of_several_lines_stays_one_field(attack: str) -> None:
    octets = composed(report(reported(diagnostic=attack)), boundary="=_andere")
    found = groups(octets)
    assert len(found) == 2
    assert dict(found[1])["Status"] == "5.7.10"
    assert [name for name, _ in found[1]].count("Status") == 1
    assert not set(octets) & (set(range(32)) - set(b"\r\n"))


@pytest.mark.parametrize("reply", ["550 " + "a" * 5000, "a" * 5000, "550 no " * 900])
def test_a_very_long_reply_is_cut_and_folded(reply: str) -> None:
    octets = composed(report(reported(diagnostic=reply)))
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    assert len(dict(groups(octets)[1])["Diagnostic-Code"]) < 1100


# --- 8-bit and UTF-8 ----------------------------------------------------------------------------------------------


def test_an_internationalised_recipient_takes_the_utf8_form_of_the_status() -> None:
    octets = composed(report(reported(final=Mailbox.parse("gebrüder@example.org"), original_orcpt=None)))
    assert octets.isascii()
    assert b"message/delivery-status" not in octets
    status = raw_part(octets, b"message/global-delivery-status").decode()
    assert "Final-Recipient: utf-8; gebrüder@example.org\r\n" in status


def test_an_internationalised_author_is_named_in_utf8() -> None:
    octets = composed(report(to=Mailbox.parse("gebrüder@voorbeeld.test")))
    header, _, rest = octets.partition(b"\r\n\r\n")
    assert "To: <gebrüder@voorbeeld.test>".encode() in header
    assert rest.isascii()


def test_a_utf8_header_is_shown_as_global_headers() -> None:
    header = HEADER + "X-Naam: Brüder\r\n".encode()
    octets = composed(report(original_header=header))
    assert octets.isascii()
    assert raw_part(octets, b"message/global-headers") == header


@pytest.mark.parametrize("line", [b"X-Naam: Br\xfcder\r\n", b"X-Lang: " + b"a" * 2000 + b"\r\n"])
def test_a_header_in_an_unknown_charset_or_with_endless_lines_is_encoded(line: bytes) -> None:
    octets = composed(report(original_header=HEADER + line))
    assert octets.isascii()
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    assert raw_part(octets, b"text/rfc822-headers") == HEADER + line


def test_a_report_without_any_original_header_is_still_a_report() -> None:
    _, found = parts(composed(report(original_header=b"")))
    assert [part.get_content_type() for part in found][2] == "text/rfc822-headers"
