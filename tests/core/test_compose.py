"""What goes into a mail comes out of it: read back with the stdlib's parser, which shares no code with ours."""

from __future__ import annotations

import email
import email.header
import email.policy
import email.utils
from datetime import UTC, datetime, timedelta, timezone
from email.message import EmailMessage
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zegel.core.mail.address import Domain, Mailbox
from zegel.core.mail.compose import NotWritable, compose, date_time, encoded, writable

AT: Final = datetime(2026, 3, 2, 4, 5, 6, tzinfo=UTC)
AUTHOR: Final = Mailbox.parse("balie@voorbeeld.test")
RECIPIENT: Final = Mailbox.parse("ontvanger@example.org")
patient: Final = settings(deadline=None)
BOUNDARY: Final = "=_zegel_0123456789abcdef"


def composed(display: str = "Balie", subject: str = "Beveiligd bericht", **others: Any) -> bytes:
    arguments: dict[str, Any] = {
        "author": (display, AUTHOR),
        "to": RECIPIENT,
        "subject": subject,
        "text": "tekst\r\n",
        "html": "<p>tekst</p>\r\n",
        "message_id": "<1@zegel.test>",
        "at": AT,
        "boundary": BOUNDARY,
    }
    return compose(**{**arguments, **others})


def legacy(octets: bytes, name: str) -> str:
    """One field's text through the stdlib's RFC 2047 decoder; folding undone as RFC 5322 §2.2.3 says."""
    value: str = email.message_from_bytes(octets)[name].replace("\r\n", "").replace("\n", "")
    return str(email.header.make_header(email.header.decode_header(value)))


def bodies(octets: bytes) -> tuple[str, str]:
    message = email.message_from_bytes(octets, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert not message.defects
    text, html = (part.get_payload(decode=True) for part in message.iter_parts())
    assert isinstance(text, bytes)
    assert isinstance(html, bytes)
    return text.decode(), html.decode()


ODD_NAMES: Final = [
    "",
    " ",
    "  a  b ",
    "Balie, Praktijk (spoed) <x@y.test>",
    'zeg "hallo" \\ tegen',
    "=?utf-8?q?nep?=",
    "a =?utf-8?b?bmVw?= b",
    "dokter Ångström–Łuczak",
    "👩‍⚕️ arts 🇳🇱",
    "مستشفى الأمل",
    "בית חולים",
    "日本語" * 40,
    "x" * 300,
    "een heel lange naam van een organisatie die ook nog eens over de regel heen loopt en verder",
    "tab\there",
    "\u2028\u2029\u0085\x0b\x0c\x1c\x7f",
    "a\u202eb",
]


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("octet", ["\r", "\n", "\0", "\r\n", "\r\nBcc: x@y.test"])
@pytest.mark.parametrize("where", ["display", "subject", "name", "value", "message_id", "boundary", "mailbox"])
def test_nothing_that_ends_a_field_gets_into_one(octet: str, where: str) -> None:
    hostile: dict[str, dict[str, Any]] = {
        "display": {"author": (f"a{octet}b", AUTHOR)},
        "subject": {"subject": f"a{octet}b"},
        "name": {"fields": ((f"X-A{octet}", "b"),)},
        "value": {"fields": (("X-A", f"a{octet}b"),)},
        "message_id": {"message_id": f"<1{octet}@zegel.test>"},
        "boundary": {"boundary": f"a{octet}b"},
        "mailbox": {"to": Mailbox(f"a{octet}b", Domain("example.org"))},
    }
    with pytest.raises(NotWritable) as refused:
        composed(**hostile[where])
    assert "Bcc" not in str(refused.value)


@pytest.mark.parametrize("name", ["Subject", "from", "TO", "Content-Type", "MIME-Version", "Auto-Submitted"])
def test_a_field_that_is_there_already_is_not_added(name: str) -> None:
    with pytest.raises(NotWritable):
        composed(fields=((name, "x"),))


@pytest.mark.parametrize("name", ["", "a b", "a:", "é"])
@pytest.mark.parametrize("value", ["x", "é"])
def test_what_is_no_field_name_is_refused(name: str, value: str) -> None:
    with pytest.raises(NotWritable):
        composed(fields=((name, value),))


@pytest.mark.parametrize("message_id", ["", "1@zegel.test", "<1>", "<1@zegel.test> <2@zegel.test>", "<é@zegel.test>"])
def test_what_is_no_message_id_is_refused(message_id: str) -> None:
    with pytest.raises(NotWritable):
        composed(message_id=message_id)


@pytest.mark.parametrize("boundary", ["", "a b", 'a"b', "é", "a" * 65])
def test_what_is_no_boundary_is_refused(boundary: str) -> None:
    with pytest.raises(NotWritable):
        composed(boundary=boundary)


def test_a_boundary_that_occurs_in_a_part_is_refused() -> None:
    with pytest.raises(NotWritable):
        composed(text="regel\r\n--grens\r\nregel\r\n", boundary="grens")


def test_a_word_that_no_line_can_hold_is_refused() -> None:
    with pytest.raises(NotWritable):
        composed(fields=(("References", "<" + "a" * 990 + "@x.test>"),))


@pytest.mark.parametrize("where", ["subject", "text", "html", "display"])
def test_half_a_character_is_refused_without_quoting_the_text(where: str) -> None:
    with pytest.raises(NotWritable) as refused:
        composed(**{where: "geheim \ud800"})
    assert "geheim" not in str(refused.value)
    assert refused.value.__suppress_context__


@patient
@given(st.text(max_size=60))
@example("a\r\nBcc: x@y.test\0\ud800\udc00\u2028\x85b")
def test_what_was_made_writable_is_never_refused(text: str) -> None:
    octets = composed(display=writable(text), subject=writable(text))
    assert b"\r\nBcc" not in octets
    assert legacy(octets, "Subject") == writable(text)
    assert len(writable(text).splitlines()) <= 1


def test_what_is_writable_already_stays_as_it_is() -> None:
    assert writable("dokter Ångström 👩‍⚕️ – בית") == "dokter Ångström 👩‍⚕️ – בית"


# --- what comes back ----------------------------------------------------------------------------------------------

any_character = st.characters(codec="utf-8")
lines_of_text = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=200)
names = st.one_of(st.sampled_from(ODD_NAMES), lines_of_text)


@patient
@given(names)
@example("é" + "x" * 46 + " " + "日" * 30)
def test_the_subject_reads_back_as_it_went_in(subject: str) -> None:
    assert legacy(composed(subject=subject), "Subject") == subject


@patient
@given(names)
def test_the_display_name_reads_back_as_it_went_in(display: str) -> None:
    value: str = email.message_from_bytes(composed(display=display))["From"].replace("\n", "").replace("\r", "")
    name, mailbox = email.utils.parseaddr(value)
    assert mailbox == str(AUTHOR)
    assert str(email.header.make_header(email.header.decode_header(name))) == display


# The modern parser itself makes one blank of two, and one of a control character.
ONE_LINERS: Final = [name for name in ODD_NAMES if name.isprintable() and len(name) < 40 and "  " not in name]


@pytest.mark.parametrize("name", ONE_LINERS)
def test_the_modern_parser_reads_the_same(name: str) -> None:
    message = email.message_from_bytes(composed(display=name, subject=name), policy=email.policy.default)
    (author,) = message["From"].addresses
    assert (author.display_name, author.addr_spec) == (name, str(AUTHOR))
    assert str(message["Subject"]) == name


texts = st.text(any_character, max_size=400)


@patient
@given(texts, texts)
@example("a" * 75 + " \r\n", "\t" * 80)
@example("a" * 74 + " \n", ".\n.")
@example("zonder regeleinde", "")
@example("שלום " * 60, "😀" * 90)
@example("x" * 3000, "<p>" + "é" * 3000)
def test_both_texts_read_back_with_crlf_as_line_end(text: str, html: str) -> None:
    def with_crlf(text: str) -> str:
        return text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")

    assert bodies(composed(text=text, html=html)) == (with_crlf(text), with_crlf(html))


@patient
@given(names, names, texts)
@example("", "", "a" * 74 + " \n" + "a" * 75 + "\t\r\n" + "a" * 75 + " ")
def test_the_octets_are_clean(display: str, subject: str, text: str) -> None:
    octets = composed(display=display, subject=subject, text=text, html=text, fields=(("X-Naam", f"é{display}"),))
    assert octets.isascii()
    assert b"\0" not in octets
    lines = octets.split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    assert max(map(len, lines)) <= 76
    header = octets[: octets.index(b"\r\n\r\n")].split(b"\r\n")
    assert all(line.strip() for line in header)


@patient
@given(names)
def test_an_encoded_word_is_whole_characters(subject: str) -> None:
    # RFC 2047 §5: each encoded-word decodes on its own.
    octets = composed(subject=subject)
    raw = octets[octets.index(b"Subject:") : octets.index(b"Message-ID:")]
    for word in raw.split():
        if word.startswith(b"=?utf-8?") and word.endswith(b"?=") and "=?" not in subject:
            assert len(word) <= 75
            assert all(part.decode("utf-8") for part, _ in email.header.decode_header(word.decode()))


def test_the_shorter_encoding_is_taken() -> None:
    assert encoded("Goedemiddag, één regel.\r\n")[0] == b"quoted-printable"
    assert encoded("مستشفى الأمل\r\n" * 10)[0] == b"base64"


def test_what_every_mail_of_ours_says() -> None:
    message = email.message_from_bytes(composed(fields=(("Reply-To", "<x@y.test>"), ("References", "<a@b> <c@d>"))))
    assert message.items() == [
        ("Date", "Mon, 02 Mar 2026 04:05:06 +0000"),
        ("From", '"Balie" <balie@voorbeeld.test>'),
        ("To", "<ontvanger@example.org>"),
        ("Subject", "Beveiligd bericht"),
        ("Message-ID", "<1@zegel.test>"),
        ("Auto-Submitted", "auto-generated"),
        ("Reply-To", "<x@y.test>"),
        ("References", "<a@b> <c@d>"),
        ("MIME-Version", "1.0"),
        ("Content-Type", f'multipart/alternative;\r\n boundary="{BOUNDARY}"'),
    ]


def test_an_address_that_needs_smtputf8_stands_there_in_utf8() -> None:
    octets = composed(to=Mailbox.parse("gebrüder@example.org"))
    assert "To: <gebrüder@example.org>\r\n".encode() in octets


def test_a_quoted_local_part_stays_quoted() -> None:
    octets = composed(to=Mailbox.parse('"met spatie"@example.org'))
    assert b'To: <"met spatie"@example.org>\r\n' in octets


@pytest.mark.parametrize(
    "at",
    [
        datetime(2026, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=1))),
        datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC),
        *(datetime(2026, month, 7 + month, 1, 2, 3, tzinfo=UTC) for month in range(1, 13)),
    ],
)
def test_the_date_is_what_the_stdlib_reads_as_that_instant(at: datetime) -> None:
    assert email.utils.parsedate_to_datetime(date_time(at)) == at
    assert date_time(at) == email.utils.format_datetime(at.astimezone(UTC))
