"""What is stored of an accepted message: everything that came, octet for octet, less what may not stay."""

from __future__ import annotations

import email
import email.policy
import hashlib
import re
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.journey.arrival_ground import GUEST, SENDER, Doorstep, Wire, mail
from tests.journey.portal_ground import Clock
from zegel.core.mail.fields import HeaderSection
from zegel.core.mail.trace import carries_own_marker
from zegel.core.policy.directives import from_json_bytes
from zegel.journey.custody.models import Content, Message, Recipient, Submission

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def doorstep(tmp_path: Path, clock: Clock) -> Iterator[Doorstep]:
    with Doorstep(tmp_path, clock).open() as opened:
        yield opened


@pytest.fixture
def wire(doorstep: Doorstep) -> Wire:
    return doorstep.signed_in()


USUAL = mail().partition(b"\r\n\r\n")[0] + b"\r\n"


# What goes


@pytest.mark.parametrize(
    "removed",
    [
        b"Bcc: geheim@example.org\r\n",
        b"bCC: geheim@example.org\r\n",
        b"BCC:\r\n\tgeheim@example.org,\r\n nog@example.org\r\n",
        b"Resent-Bcc: geheim@example.org\r\n",
        b"Return-Path: <geheim@example.org>\r\n",
        b"zivver-access-right: ontvanger@example.org sms +31612345678\r\n",
        b"ZIVVER-ACCESS-RIGHT: ontvanger@example.org\r\n\tsharedAccessCode\r\n geheim\r\n",
        b"Zegel-Access-Right: ontvanger@example.org access-code geheim\r\n",
        b"zivver-direct-delivery: tls tls1.2 auth certificate-validation\r\n",
        b"zegel-direct-delivery:\r\n",
        b"zivver-minimum-recipient-verification: email-verification\r\n",
        b"zegel-message-expiration: delete P30D\r\n",
        b"X-Zegel-Transport: v1 elders 00\r\n",
    ],
)
@pytest.mark.parametrize("place", ["top", "middle", "end"])
def test_control_fields_and_blind_recipients_are_not_in_what_is_stored(
    doorstep: Doorstep, wire: Wire, removed: bytes, place: str
) -> None:
    subject = USUAL.index(b"Subject:")
    header = {
        "top": removed + USUAL,
        "middle": USUAL[:subject] + removed + USUAL[subject:],
        "end": USUAL + removed,
    }[place]
    assert wire.submit(header + b"\r\nInhoud.\r\n").startswith("250 ")
    assert doorstep.opened().rest == USUAL + b"\r\nInhoud.\r\n"


def test_what_looks_like_a_control_field_in_the_body_stays(doorstep: Doorstep, wire: Wire) -> None:
    content = mail(body=b"Bcc: geen veld\r\nzivver-access-right: ook niet\r\n")
    assert wire.submit(content).startswith("250 ")
    assert doorstep.opened().rest == content


def test_fields_that_only_resemble_the_removed_ones_stay(doorstep: Doorstep, wire: Wire) -> None:
    content = mail("X-Bcc: a@example.org", "X-Zivver-Access-Right: x", "Zegelring: 1", "Zivver: 2")
    assert wire.submit(content).startswith("250 ")
    assert doorstep.opened().rest == content


def test_what_was_asked_is_kept_sealed(doorstep: Doorstep, wire: Wire) -> None:
    assert wire.submit(mail("zivver-access-right: ontvanger@example.org sms 06-12345678")).startswith("250 ")
    submission = Submission.objects.get()
    assert b"12345678" not in bytes(submission.directives)
    opened = doorstep.unsealer.field(submission.directives, name="directives", owner=submission.id)
    (right,) = from_json_bytes(opened.reveal()).access_rights.values()
    assert right.phone.reveal() == "+31612345678"  # type: ignore[union-attr]


def test_nothing_that_was_sent_can_be_read_in_the_database_or_on_the_disk(doorstep: Doorstep, wire: Wire) -> None:
    marker = "GEHEIM-4711"
    content = mail(
        f"zivver-access-right: {GUEST} sharedAccessCode {marker}",
        "MIME-Version: 1.0",
        f'Content-Type: application/pdf; name="{marker}.pdf"',
        subject=marker,
        body=f"{marker}\r\n".encode() * 30_000,
    )
    assert wire.submit(content).startswith("250 ")
    assert doorstep.files() != []
    for file in [*doorstep.folder.rglob("*"), *Path(doorstep_database()).parent.glob("test.sqlite3*")]:
        if file.is_file():
            assert marker.encode() not in file.read_bytes(), file.name


def doorstep_database() -> str:
    from django.db import connection

    return str(connection.settings_dict["NAME"])


# What stays


BODIES = {
    "empty": b"",
    "one empty line": b"\r\n",
    "dots": b".\r\n..\r\n...\r\n.x\r\n",
    "all octets but CR, LF and NUL": bytes({*range(1, 256)} - {10, 13}) + b"\r\n",
    "one very long line": b"x" * 500_000 + b"\r\n",
    "white space": b" \t \r\n\r\n\t\r\n   \r\n",
    "UTF-8": "π — ë — 中文 — 😀\r\n".encode(),
    "Latin-1": "ë".encode("latin-1") + b"\r\n",
    "empty lines at the end": b"--x\r\n\r\n--x--\r\n\r\n\r\n\r\n",
    "as large as stays in the database": b"0123456789abcde\n".replace(b"\n", b"\r\n") * 3_500,
    "just too large for the database": b"0123456789abcde\n".replace(b"\n", b"\r\n") * 4_000,
    "many segments": b"0123456789abcde\n".replace(b"\n", b"\r\n") * 60_000,
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("way", ["DATA", "BDAT"])
def test_a_body_is_stored_as_it_came(doorstep: Doorstep, wire: Wire, name: str, way: str) -> None:
    content = USUAL + b"\r\n" + BODIES[name]
    if way == "DATA":
        assert wire.submit(content).startswith("250 ")
    else:
        wire.begin([GUEST], parameters=" BODY=8BITMIME")
        wire.send(b"BDAT %d LAST\r\n" % len(content) + content)
        assert wire.reply().startswith("250 ")
    opened = doorstep.opened()
    assert opened.rest == content
    assert opened.octets[opened.header_size :] == BODIES[name]
    assert Content.objects.get().size == len(opened.octets)
    assert opened.is_blob is (len(content) > 64_000)
    assert doorstep.files() == ([Content.objects.get().id.hex] if opened.is_blob else [])


@pytest.mark.parametrize("end", [b"", b"x", b".", b"\r\n.", b"\r\n\r\n"])
def test_what_comes_in_chunks_need_not_end_a_line(doorstep: Doorstep, wire: Wire, end: bytes) -> None:
    content = mail(body=b"regel" + end)
    wire.begin([GUEST])
    wire.send(b"BDAT %d LAST\r\n" % len(content) + content)
    assert wire.reply().startswith("250 ")
    assert doorstep.opened().rest == content


@pytest.mark.parametrize("sizes", [(1, 1, 1), (0, 30, 0), (7, 64, 100), (300,)])
def test_chunks_of_any_size_make_the_same_content(doorstep: Doorstep, wire: Wire, sizes: tuple[int, ...]) -> None:
    content = mail(body=b"regel\r\n" * 10)
    wire.begin([GUEST])
    rest = content
    for size in sizes:
        chunk, rest = rest[:size], rest[size:]
        wire.send(b"BDAT %d\r\n" % len(chunk) + chunk)
        assert wire.reply().startswith("250 ")
    wire.send(b"BDAT %d\r\n" % len(rest) + rest + b"BDAT 0 LAST\r\n")
    assert [one[:4] for one in wire.replies(2)] == ["250 ", "250 "]
    assert doorstep.opened().rest == content


def test_a_message_without_an_empty_line_is_a_message_without_a_body(doorstep: Doorstep, wire: Wire) -> None:
    assert wire.submit(USUAL).startswith("250 ")
    opened = doorstep.opened()
    assert opened.rest == USUAL + b"\r\n"
    assert opened.header_size == len(opened.octets)


def test_odd_but_legal_fields_stay_to_the_octet(doorstep: Doorstep, wire: Wire) -> None:
    odd = (
        b"received: from a.test by b.test; Mon, 23 Nov 2026 12:00:00 +0000\r\n"
        b"X-Folded: a\r\n \r\n\tb \t\r\n"
        b"X-Empty:\r\n"
        b"x-TWICE:1\r\nX-Twice: 2\r\n"
        b"X-Eight-Bit: \xe9\xff\r\n"
        b"DKIM-Signature: v=1; a=rsa-sha256; b=abc\r\n"
        b"Subject:  =?utf-8?Q?Uitslag_=E2=82=AC?=\r\n"
    )
    content = odd + b"From: balie@voorbeeld.test\r\nMessage-ID: <een@voorbeeld.test>\r\nDate: gisteren\r\n\r\nx\r\n"
    assert wire.submit(content).startswith("250 ")
    assert doorstep.opened().rest == content


# What is added


def test_a_message_without_date_and_message_id_gets_them_and_nothing_else(doorstep: Doorstep, wire: Wire) -> None:
    content = b"From: balie@voorbeeld.test\r\nTo: ontvanger@example.org\r\n\r\nInhoud\r\n"
    reply = wire.submit(content)
    submission = Submission.objects.get()
    assert reply == f"250 2.0.0 Accepted as {submission.id.hex}"
    assert doorstep.opened().rest == (
        b"From: balie@voorbeeld.test\r\nTo: ontvanger@example.org\r\n"
        b"Message-ID: <%b@zegel.test>\r\n"
        b"Date: Mon, 23 Nov 2026 12:00:00 +0000\r\n"
        b"\r\nInhoud\r\n" % submission.id.hex.encode()
    )
    assert submission.message_id == f"<{submission.id.hex}@zegel.test>"


@pytest.mark.parametrize(
    "wrong", [b"Message-ID: geen\r\n", b"Message-ID:\r\n", b"Message-ID: <a@b.test>\r\nMessage-ID: <c@d.test>\r\n"]
)
def test_a_message_id_that_is_none_is_replaced(doorstep: Doorstep, wire: Wire, wrong: bytes) -> None:
    """RFC 6409 §8.3."""
    assert wire.submit(wrong + mail(identity=None)).startswith("250 ")
    section = HeaderSection.parse(doorstep.opened().octets.partition(b"\r\n\r\n")[0] + b"\r\n")
    (only,) = section.all("Message-ID")
    assert only.value == f"<{Submission.objects.get().id.hex}@zegel.test>".encode()


def test_the_trace_says_how_it_came_and_names_no_recipient(doorstep: Doorstep, wire: Wire) -> None:
    assert wire.submit(mail(), GUEST, "geheim@example.org").startswith("250 ")
    submission = Submission.objects.get()
    for message in Message.objects.all():
        opened = doorstep.opened(message)
        received, marker = HeaderSection.parse(opened.trace)
        words = b" ".join(received.value.split()).decode()
        assert words == (
            f"from client.test ([127.0.0.1]) by zegel.test with ESMTPSA id {submission.id.hex} "
            f"({submission.tls}); Mon, 23 Nov 2026 12:00:00 +0000"
        )
        assert marker.name == "X-Zegel-Transport"
        assert b"geheim" not in opened.octets
        section = HeaderSection.parse(opened.octets.partition(b"\r\n\r\n")[0] + b"\r\n")
        assert carries_own_marker(section, doorstep.keys.marker)
    assert re.fullmatch(r"TLSv1\.3 TLS_[A-Z0-9_]+", submission.tls)


def test_the_trace_of_an_ipv6_client_is_an_address_literal(doorstep: Doorstep) -> None:
    """RFC 5321 §4.1.3."""
    doorstep.loop.run(doorstep.door.open([("::1", 0)]))
    doorstep.port, doorstep.address = doorstep.door.servers[-1].sockets[0].getsockname()[1], "::1"
    assert doorstep.submit(mail()).startswith("250 ")
    assert b"from client.test ([IPv6:::1])\r\n" in doorstep.opened().trace
    assert Submission.objects.get().source == "::1"


def test_the_trace_of_an_internationalised_submission_says_so(doorstep: Doorstep, wire: Wire) -> None:
    """RFC 6531 §4.3."""
    content = mail(to="jürgen@example.org")
    assert wire.submit(content, "jürgen@example.org", parameters=" SMTPUTF8").startswith("250 ")
    assert b"with UTF8SMTPSA id" in doorstep.opened().trace
    assert Recipient.objects.get().address == "jürgen@example.org"


# What is known of it


def test_the_envelope_is_kept(doorstep: Doorstep, wire: Wire) -> None:
    assert wire.say("MAIL FROM:<retour@voorbeeld.test> ENVID=een RET=HDRS").startswith("250 ")
    assert wire.say("RCPT TO:<a@example.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;eerst@example.org").startswith("250 ")
    assert wire.say("RCPT TO:<b@example.org> NOTIFY=NEVER").startswith("250 ")
    assert wire.say("DATA").startswith("354 ")
    wire.send(mail(to="a@example.org, b@example.org") + b".\r\n")
    assert wire.reply().startswith("250 ")
    submission = Submission.objects.get()
    assert (submission.reverse_path, submission.envelope_id) == ("retour@voorbeeld.test", "een")
    assert (submission.source, submission.accepted_at) == ("127.0.0.1", doorstep.clock())
    assert submission.credential == doorstep.credential.credential
    assert submission.account == doorstep.account
    found = {one.address: (one.notify, one.original) for one in Recipient.objects.all()}
    assert found == {
        "a@example.org": ("FAILURE,SUCCESS", "rfc822;eerst@example.org"),
        "b@example.org": ("NEVER", ""),
    }


def test_the_null_reverse_path_is_kept_as_null(doorstep: Doorstep, wire: Wire) -> None:
    assert wire.submit(mail(), sender="").startswith("250 ")
    assert Submission.objects.get().reverse_path == ""


def test_the_head_is_what_people_see(doorstep: Doorstep, wire: Wire) -> None:
    content = mail(
        "Cc: =?utf-8?Q?Zo=C3=AB?= <zoe@example.org>, groep: a@example.org, b@example.org;",
        subject="=?utf-8?B?VWl0c2xhZyDigqw=?=",
        to='"Ontvanger, de" <ontvanger@example.org>',
    )
    assert wire.submit(content).startswith("250 ")
    head = doorstep.opened().head
    assert head.subject == "Uitslag €"
    assert (head.author, head.author_address) == ("Balie", SENDER)
    assert head.to == (("Ontvanger, de", "ontvanger@example.org"),)
    assert head.cc == (("Zoë", "zoe@example.org"), ("", "a@example.org"), ("", "b@example.org"))
    assert head.date == "Mon, 23 Nov 2026 12:00:00 +0000"
    assert head.message_id == "<een@voorbeeld.test>"


def attachments() -> tuple[bytes, dict[str, bytes]]:
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"], message["To"], message["Subject"] = SENDER, GUEST, "Bijlagen"
    message.set_content("Zie bijlagen, ë.", cte="quoted-printable")
    message.add_alternative("<p>Zie bijlagen.</p>", subtype="html")
    files = {f"{number}.bin": hashlib.sha256(bytes([number])).digest() * (100 * number) for number in (1, 20, 60)}
    for name, octets in files.items():
        message.add_attachment(octets, "application", "octet-stream", filename=name)
    return message.as_bytes(), files


def test_every_part_is_found_where_the_index_says(doorstep: Doorstep, wire: Wire) -> None:
    content, files = attachments()
    assert wire.submit(content).startswith("250 ")
    message = Message.objects.get()
    opened = doorstep.opened()
    key = doorstep.unsealer.message_key(message, doorstep.unsealer.conversation_key(message.conversation))
    found = {
        part.name: b"".join(doorstep.unsealer.part(message.content, key, part))
        for part in opened.head.parts
        if part.name
    }
    assert found == files
    kinds = [part.type for part in opened.head.parts]
    assert kinds == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        *["application/octet-stream"] * 3,
    ]
    for part in opened.head.parts:
        if part.type == "text/plain":
            octets = opened.octets[part.offset : part.offset + part.length]
            assert "Zie bijlagen, =C3=AB." in octets.decode()
