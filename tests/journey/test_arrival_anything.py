"""Whatever is sent, the answer is right: a refusal, or an acceptance after which the content is there unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.journey.arrival_ground import GUEST, SENDER, Doorstep, HungUp, Wire, mail
from tests.journey.portal_ground import Clock
from zegel.core.mail.fields import HeaderSection
from zegel.journey.custody.models import Message, Submission

pytestmark = pytest.mark.django_db(transaction=True)

MANY = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
GONE = re.compile(rb"(?i)bcc|resent-bcc|return-path|x-zegel-transport|message-id|date|(zegel|zivver)-.*")


@pytest.fixture
def doorstep(tmp_path: Path, clock: Clock) -> Iterator[Doorstep]:
    with Doorstep(tmp_path, clock).open() as opened:
        yield opened


@pytest.fixture
def wire(doorstep: Doorstep) -> Wire:
    return doorstep.signed_in()


LINE_OCTETS = bytes(sorted({*range(1, 256)} - {10, 13}))
names = st.sampled_from(
    [
        "To",
        "Cc",
        "Bcc",
        "Subject",
        "Message-ID",
        "Date",
        "Content-Type",
        "Content-Transfer-Encoding",
        "Content-Disposition",
        "MIME-Version",
        "Received",
        "Reply-To",
        "zivver-access-right",
        "zivver-direct-delivery",
        "zegel-message-expiration",
        "zivver-minimum-recipient-verification",
        "X-Zegel-Transport",
        "Return-Path",
    ]
)
words = st.sampled_from(
    [
        b"=?utf-8?Q?=E2=82?=",
        b"=?utf-8?B?4oKs",
        b"=?x?y?z?=",
        b'"',
        b"(",
        b")",
        b"<",
        b">",
        b"<>",
        b"@",
        b",",
        b";",
        b":",
        b"\\",
        b'"\xe3\x80\x80"@example.org',
        b'"\xc2\x85a"@example.org',
        b"ontvanger@example.org",
        b"a@b",
        b"a@xn--.test",
        b"multipart/mixed; boundary=x",
        b'multipart/mixed; boundary="',
        b"message/rfc822",
        b"text/plain; charset=utf-7",
        b"base64",
        b"name*0*=utf-8''%e2%82; name*1*=%ac",
        b"filename*=utf-9'nl'%zz",
        b"sms +31612345678",
        b"sharedAccessCode geheim",
        b"delete P99999999D",
        b"\r\n ",
        b"\r\n\t",
        b"\xff\xfe",
        b"\xf0\x9f\x98\x80",
        b"\xed\xa0\x80",
    ]
)
values = st.lists(words | st.binary(max_size=12).map(lambda some: bytes(one for one in some if one in LINE_OCTETS)))
fields = st.lists(st.tuples(names, values.map(b" ".join)), max_size=6).map(
    lambda found: b"".join(name.encode() + b": " + value + b"\r\n" for name, value in found)
)
lines = st.lists(
    st.sampled_from([b"--x", b"--x--", b".", b"..", b"", b"Content-Type: text/html", b"=C3=", b"aGFsbG8="])
    | st.binary(max_size=200).map(lambda some: bytes(one for one in some if one in LINE_OCTETS)),
    max_size=20,
)
bodies = lines.map(lambda found: b"".join(line + b"\r\n" for line in found))


@MANY
@given(more=fields, body=bodies)
@example(more=b'To: "\xe3\x80\x80"@example.org\r\n', body=b"")
@example(more=b'To: "\xc2\x85a"@example.org\r\n', body=b"")
@example(more=b"Content-Type: multipart/mixed; boundary=x\r\n", body=b"--x\r\n" * 3 + b"--x--\r\n")
def test_a_header_section_of_any_kind_is_refused_or_stored(
    doorstep: Doorstep, wire: Wire, more: bytes, body: bytes
) -> None:
    content = f"From: <{SENDER}>\r\n".encode() + more + b"\r\n" + body
    known = set(Message.objects.values_list("id", flat=True))
    wire.begin([GUEST])
    wire.send(b"BDAT %d LAST\r\n" % len(content) + content)
    reply = wire.reply()
    if not reply.startswith("250 "):
        assert reply.startswith("550 5.6.0 "), reply
        assert set(Message.objects.values_list("id", flat=True)) == known
        return
    new = Message.objects.exclude(id__in=known)
    if not new:  # the same as one before, for D-4
        return
    opened = doorstep.opened(new.get())
    assert opened.octets[opened.header_size :] == body
    came = HeaderSection.parse(content[: len(content) - len(body) - 2])
    stored = HeaderSection.parse(opened.octets[: opened.header_size - 2])
    assert [one.raw for one in stored if not GONE.fullmatch(one.name.encode())][1:] == [
        one.raw for one in came if not GONE.fullmatch(one.name.encode())
    ]
    assert not any(re.fullmatch(r"(?i)bcc|resent-bcc|return-path|(zegel|zivver)-.*", one.name) for one in stored)
    assert stored.count("Message-ID") == 1
    assert stored.count("Date") >= 1
    assert opened.head.author_address == SENDER
    for part in opened.head.parts:
        assert 0 <= part.offset <= part.offset + part.length <= len(opened.octets)


@MANY
@given(octets=st.binary(max_size=600))
@example(octets=b"\0")
@example(octets=b"\r")
@example(octets=b"\n\n\n")
def test_octets_of_any_kind_are_refused_and_leave_nothing(doorstep: Doorstep, wire: Wire, octets: bytes) -> None:
    """Nothing of it names an author with an account here."""
    wire.begin([GUEST])
    wire.send(b"BDAT %d LAST\r\n" % len(octets) + octets)
    assert re.match("550 5\\.(6\\.0|7\\.1) ", wire.reply())
    assert doorstep.custody() == []


@MANY
@given(data=st.data())
def test_commands_of_any_kind_never_end_in_a_defect(doorstep: Doorstep, data: st.DataObject) -> None:
    """Each gets its reply, in order; what follows the first part of a line is anything."""
    verbs = [b"EHLO", b"HELO", b"MAIL FROM:", b"RCPT TO:", b"NOOP", b"VRFY", b"RSET", b"AUTH PLAIN", b"AUTH LOGIN"]
    verbs += [b"MAIL FROM:<balie@voorbeeld.test>", b"RCPT TO:<a@example.org>", b"BDAT 0", b"XYZ", b"STARTTLS"]
    line = st.tuples(
        st.sampled_from(verbs),
        st.binary(max_size=60).map(lambda some: bytes(one for one in some if one not in (10, 13))),
    ).map(b" ".join)
    wire = doorstep.signed_in()
    try:
        for one in data.draw(st.lists(line, max_size=12)):
            reply = wire.say(one)
            assert re.match(r"[2-5]\d\d ", reply)
            assert not reply.startswith(("451", "454")), reply
            if reply.startswith("334"):
                assert wire.say("*").startswith("501 ")
            if reply.startswith("421"):
                break
    except HungUp:
        assert wire.is_closed()
    finally:
        wire.close()
    assert Submission.objects.count() == 0


def test_five_hundred_levels_of_mime_are_no_trouble(doorstep: Doorstep, wire: Wire) -> None:
    opening = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level) for level in range(500)
    )
    content = mail().partition(b"\r\n\r\n")[0] + b"\r\n" + opening + b"\r\ninhoud\r\n"
    assert wire.submit(content).startswith("250 ")
    assert doorstep.opened().rest == content


def test_a_hundred_thousand_parts_are_no_trouble(doorstep: Doorstep, wire: Wire) -> None:
    content = mail("Content-Type: multipart/mixed; boundary=x", body=b"--x\r\n\r\n\r\n" * 100_000)
    assert wire.submit(content).startswith("250 ")
    assert doorstep.opened().rest == content
