"""Messages unlike most messages: what becomes of each, up to what a recipient reads (docs/messages.md)."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from tests.journey.delivery_ground import (
    PHONE,
    PROVEN_FIELD,
    SENDER,
    Post,
    a_post,
    everything_in,
    link_in,
    parsed,
    status_of,
)
from tests.journey.delivery_ground import words as words_of
from tests.journey.delivery_peers import ScriptedMx
from tests.journey.portal_ground import NOON, Clock, Visitor, words
from zegel.core.mail.address import Mailbox, parse_reverse_path
from zegel.journey.arrival.intake import Envelope
from zegel.journey.arrival.record import AcceptedRecipient
from zegel.journey.custody.models import Content, Conversation, Job, Recipient

pytestmark = pytest.mark.django_db(transaction=True)

READER: Final = "lezer@veilig.test"
GUEST: Final = "gast@open.test"
OTHER: Final = "ander@open.test"
THIRD: Final = "derde@open.test"
TEXT: Final = (
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nDe uitslag is goed.\r\n"
)
PDF: Final = b"%PDF-1.7\n" + b"".join(hashlib.sha256(bytes([number])).digest() for number in range(200))


@pytest.fixture
def post(tmp_path: Path, clock: Clock) -> Iterator[Post]:
    with a_post(tmp_path, clock) as found:
        yield found


def letter(rest: bytes, *fields: str, to: str | None = GUEST) -> bytes:
    """A message as octets; ``rest`` are its MIME fields and body."""
    lines = [f"From: Balie Poli 4 <{SENDER}>", "Subject: Uitslag", "Date: Mon, 23 Nov 2026 12:00:00 +0000"]
    lines += ["Message-ID: <eerste@voorbeeld.test>", "MIME-Version: 1.0", *fields]
    lines += [f"To: {to}"] if to is not None else []
    return "".join(f"{line}\r\n" for line in lines).encode() + rest


def submit(post: Post, octets: bytes, *recipients: str) -> None:
    """One accepted transaction, and all that follows from it at once."""
    accepted = [AcceptedRecipient(Mailbox.parse(one), frozenset(), "") for one in recipients]
    post.submit_octets(octets, Envelope(parse_reverse_path(SENDER), recipients=accepted))
    post.settle()


def mails_to(server: ScriptedMx, address: str) -> list[bytes]:
    return [one.content for one in server.taken if one.rcpt.partition(">")[0] == f"TO:<{address}"]


def mail_to(server: ScriptedMx, address: str) -> bytes:
    """The first: the notification."""
    return mails_to(server, address)[0]


def opened(post: Post, server: ScriptedMx, address: str) -> tuple[Visitor, Recipient]:
    """The guest follows the link, has a code sent, and enters it."""
    visitor, recipient = Visitor(post.ground), post.recipient(address)
    assert visitor.follow(link_in(mail_to(server, address))).status_code == 303
    assert visitor.ask(recipient).status_code == 303
    post.settle()
    code = re.search(r"\b(\d{3}) ?(\d{3})\b", words_of(server.messages()[-1]))
    assert code is not None
    assert visitor.enter(recipient, code[1] + code[2]).status_code == 303
    return visitor, recipient


def downloads(visitor: Visitor, recipient: Recipient) -> list[bytes]:
    """What the links beside the message give, in their order."""
    page = visitor.read(recipient).content.decode()
    addresses = re.findall(r'<a href="(/r/[^"]+/part/[^"]+)"', page)
    return [streamed(visitor.get(one)) for one in addresses]


def source(visitor: Visitor, recipient: Recipient) -> bytes:
    message = recipient.conversation.messages.get().id
    return streamed(visitor.get(visitor.page("guest-source", recipient, message=message)))


def streamed(response: Any) -> bytes:
    assert response.status_code == 200
    return b"".join(response.streaming_content)


# --- to whom ------------------------------------------------------------------------------------------------------


def test_a_named_address_that_is_no_recipient_gets_nothing_and_the_author_hears_of_it(post: Post) -> None:
    server, elsewhere = post.mx("open.test"), post.mx("elders.test")
    submit(post, letter(TEXT, f"zivver-access-right: iemand@elders.test sms {PHONE}"), GUEST)
    assert post.recipient(GUEST).method == "email"
    assert elsewhere.heard == []
    post.later(minutes=11)
    (notice,) = post.notices()
    assert "iemand@elders.test" in words_of(notice)
    assert PHONE[3:] not in everything_in(notice)
    assert (len(server.taken), elsewhere.heard, Recipient.objects.count()) == (1, [], 1)


@pytest.mark.parametrize("to", [None, "undisclosed-recipients:;", "", "vaste relaties: ;"])
def test_with_everybody_in_bcc_each_recipient_is_alone(post: Post, to: str | None) -> None:
    server = post.mx("open.test")
    submit(post, letter(TEXT, f"Bcc: {GUEST}, {OTHER}", to=to), GUEST, OTHER)
    assert sorted(one.is_blind for one in Conversation.objects.all()) == [True, True]
    for own, hidden in ((GUEST, OTHER), (OTHER, GUEST)):
        visitor, recipient = opened(post, server, own)
        page = words(visitor.read(recipient))
        assert "De uitslag is goed." in page
        for shown in (page, source(visitor, recipient).decode(), *map(everything_in, mails_to(server, own))):
            assert hidden not in shown
        assert b"\nbcc:" not in source(visitor, recipient).lower()
    assert post.heard() == []


def test_with_everybody_in_bcc_the_readable_message_is_as_it_was_without_that_field(post: Post) -> None:
    server = post.proven()
    submit(
        post,
        letter(TEXT, ": ".join(PROVEN_FIELD), f"Bcc: {READER}, ook@veilig.test", to=None),
        READER,
        "ook@veilig.test",
    )
    assert len(server.messages()) == 2
    for content in server.messages():
        assert content.endswith(letter(TEXT, to=None))
        assert b"veilig.test" not in content.partition(b"\r\n\r\n")[0].replace(b"mx.veilig.test", b"")


def test_who_is_in_to_and_bcc_is_served_once_and_shown(post: Post) -> None:
    server = post.mx("open.test")
    submit(post, letter(TEXT, f"Bcc: {GUEST}, {OTHER}", to=f"{GUEST}, {THIRD}"), GUEST, OTHER, THIRD, GUEST)
    shared, blind = Conversation.objects.get(is_blind=False), Conversation.objects.get(is_blind=True)
    assert {one.address for one in shared.recipients.all()} == {GUEST, THIRD}
    assert {one.address for one in blind.recipients.all()} == {OTHER}
    assert sorted(one.rcpt for one in server.taken) == sorted(f"TO:<{one}>" for one in (GUEST, OTHER, THIRD))
    visitor, recipient = opened(post, server, THIRD)
    page = words(visitor.read(recipient))
    assert GUEST in page
    assert OTHER not in page


SPELLINGS: Final = {
    "case": ("Gast@open.test", "gast@OPEN.test", "GAST@Open.Test"),
    "quotes": ('"gast"@open.test', "gast@open.test", '"g\\ast"@open.test'),
    "the root's dot": ("gast@open.test", "gast@open.test.", "GAST@open.test"),
    "labels": ("gast@b\u00fccher.test", "gast@xn--bcher-kva.test", "gast@B\u00dcCHER.test"),
    "composition": ("g\u00e9rard@open.test", "ge\u0301rard@open.test", "G\u00c9RARD@open.test"),
}


@pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_one_mailbox_in_three_spellings_is_one_recipient(post: Post, spelled: tuple[str, str, str]) -> None:
    """In the envelope twice, in To once more, and named in a field: one notification, and the method that was asked."""
    server = post.mx("open.test")
    post.mx("xn--bcher-kva.test").answers["EHLO"] = b"421 4.3.2 not this one\r\n"
    post.zone.records["xn--bcher-kva.test", "MX"] = post.zone.records["open.test", "MX"]
    first, second, third = spelled
    submit(post, letter(TEXT, f"zivver-access-right: {third} sms {PHONE}", to=second), first, third, second)
    recipient = Recipient.objects.get()
    assert (recipient.state, recipient.method) == ("notified", "sms")
    assert not recipient.conversation.is_blind
    assert len(server.taken) == 1
    post.later(minutes=11)
    assert post.heard() == []


def test_a_named_method_is_not_weakened_by_the_field_that_allows_a_code_by_mail(post: Post) -> None:
    post.mx("open.test", answers={"RCPT": b"550 5.1.1 nobody\r\n"})
    post.mx("elders.test")
    email = "zegel-minimum-recipient-verification: email-verification"
    submit(post, letter(TEXT, email, f"zivver-access-right: {GUEST} sms {PHONE}"), GUEST, "gast@elders.test")
    post.until_nothing_waits()
    assert {one.address: one.method for one in Recipient.objects.all()} == {GUEST: "sms", "gast@elders.test": "email"}
    assert (post.recipient(GUEST).state, len(post.reports())) == ("undeliverable", 1)


def test_plus_addresses_are_mailboxes_of_their_own(post: Post) -> None:
    post.mx("open.test")
    submit(post, letter(TEXT, f"zivver-access-right: gast+werk@open.test sms {PHONE}"), GUEST, "gast+werk@open.test")
    methods = {one.address: one.method for one in Recipient.objects.all()}
    assert methods == {GUEST: "email", "gast+werk@open.test": "sms"}


def test_five_hundred_recipients_are_served_each_in_the_way_that_was_asked(post: Post) -> None:
    server = post.mx("open.test")
    many = [f"lezer{number}@open.test" for number in range(500)]
    shown = many[:300]
    fields = [f"zivver-access-right: {one} sms +316{12340000 + number}" for number, one in enumerate(many[100:])]
    submit(post, letter(TEXT, *fields, to=",\r\n ".join(shown)), *many)
    assert Conversation.objects.filter(is_blind=True).count() == 200
    assert Conversation.objects.get(is_blind=False).recipients.count() == 300
    assert set(Recipient.objects.values_list("state", flat=True)) == {"notified"}
    assert Recipient.objects.filter(method="sms").count() == 400
    assert sorted(one.rcpt for one in server.taken) == sorted(f"TO:<{one}>" for one in many)
    assert len({link_in(one) for one in server.messages()}) == 500
    assert Content.objects.count() == 1
    blind = set(many[300:])
    for taken in server.taken:
        named = set(re.findall(r"lezer\d+@open\.test", everything_in(taken.content)))
        assert named & blind <= {taken.rcpt[4:-1]}
    assert not Job.objects.filter(kind="warn").exists()


# --- with what in it ----------------------------------------------------------------------------------------------

NOTHING: Final = {
    "no body at all": b"",
    "an empty body": b"\r\n",
    "an empty text": b"Content-Type: text/plain\r\n\r\n",
    "blank lines": b"\r\n\r\n \r\n\r\n",
    "an empty multipart": b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n--x--\r\n",
}


@pytest.mark.parametrize("rest", NOTHING.values(), ids=NOTHING.keys())
def test_an_empty_body_is_a_message_that_says_so(post: Post, rest: bytes) -> None:
    server = post.mx("open.test")
    submit(post, letter(rest), GUEST)
    visitor, recipient = opened(post, server, GUEST)
    page = visitor.read(recipient)
    assert page.status_code == 200
    assert "This message has no text." in words(page)
    assert "Uitslag" in words(page)
    assert downloads(visitor, recipient) == []


@pytest.mark.parametrize("rest", NOTHING.values(), ids=NOTHING.keys())
def test_an_empty_body_is_delivered_readable_as_it_is(post: Post, rest: bytes) -> None:
    server = post.proven()
    submit(post, letter(rest, ": ".join(PROVEN_FIELD), to=READER), READER)
    whole = letter(rest, to=READER)
    assert server.messages()[0].endswith(whole if rest else whole + b"\r\n")
    assert post.recipient(READER).state == "delivered"


def attached(kind: str, octets: bytes, name: str) -> bytes:
    coded = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    return (
        f'Content-Type: {kind}\r\nContent-Disposition: attachment; filename="{name}"\r\n'
        "Content-Transfer-Encoding: base64\r\n\r\n"
    ).encode() + coded


ONLY_FILES: Final = {
    "the message is a file": (attached("application/pdf", PDF, "uitslag.pdf"), PDF),
    "a multipart with one file": (
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n"
        + attached("application/pdf", PDF, "uitslag.pdf")
        + b"--x--\r\n",
        PDF,
    ),
    "a text that is a file": (attached("text/plain; charset=utf-8", b"regel\r\n", "uitslag.txt"), b"regel\r\n"),
    "an image without a name": (
        b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(PDF[:48]).replace(b"\n", b"\r\n"),
        PDF[:48],
    ),
}


@pytest.mark.parametrize(("rest", "file"), ONLY_FILES.values(), ids=ONLY_FILES.keys())
def test_a_message_that_is_only_an_attachment_is_downloaded_octet_for_octet(
    post: Post, rest: bytes, file: bytes
) -> None:
    server = post.mx("open.test")
    submit(post, letter(rest), GUEST)
    assert "uitslag." not in everything_in(mail_to(server, GUEST))
    visitor, recipient = opened(post, server, GUEST)
    assert "This message has no text, only attachments." in words(visitor.read(recipient))
    assert downloads(visitor, recipient) == [file]


@pytest.mark.parametrize(("rest", "file"), ONLY_FILES.values(), ids=ONLY_FILES.keys())
def test_a_message_that_is_only_an_attachment_is_delivered_readable_as_it_is(
    post: Post, rest: bytes, file: bytes
) -> None:
    server = post.proven()
    submit(post, letter(rest, ": ".join(PROVEN_FIELD), to=READER), READER)
    content = server.messages()[0]
    assert content.endswith(letter(rest, to=READER))
    assert file in [part.get_payload(decode=True) for part in parsed(content).walk()]


# --- signed and encrypted -----------------------------------------------------------------------------------------

WHAT_IS_SIGNED: Final = (
    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    "Uitslag: één.  \r\n.\r\n..punten\r\n\tFrom hier\r\nFrom daar\r\n\r\n \r\n"
).encode()
ARMOUR: Final = base64.encodebytes(PDF[:600]).replace(b"\n", b"\r\n")
PGP: Final = b"-----BEGIN PGP MESSAGE-----\r\n\r\n" + ARMOUR + b"-----END PGP MESSAGE-----\r\n"
SIGNATURE: Final = b"-----BEGIN PGP SIGNATURE-----\r\n\r\n" + ARMOUR + b"-----END PGP SIGNATURE-----\r\n"


@cache
def _signer() -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "balie@voorbeeld.test")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOON).not_valid_after(NOON + timedelta(days=365))
    return builder.sign(key, hashes.SHA256()), key


@cache
def smime_signature() -> bytes:
    """Over :data:`WHAT_IS_SIGNED`, detached, in DER."""
    certificate, key = _signer()
    builder = pkcs7.PKCS7SignatureBuilder().set_data(WHAT_IS_SIGNED).add_signer(certificate, key, hashes.SHA256())
    return builder.sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary])


@cache
def smime_encrypted() -> bytes:
    certificate, _ = _signer()
    builder = pkcs7.PKCS7EnvelopeBuilder().set_data(WHAT_IS_SIGNED).add_recipient(certificate)
    return builder.encrypt(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary])


def signed(kind: str, signature: bytes) -> bytes:
    """RFC 1847 §2.1."""
    return (
        (
            f'Content-Type: multipart/signed; micalg="sha-256";\r\n\tprotocol="{kind}"; boundary="=_a b"\r\n\r\n'
            "This is a signed message.\r\n--=_a b\r\n"
        ).encode()
        + WHAT_IS_SIGNED
        + b"\r\n--=_a b\r\n"
        + signature
        + b"\r\n--=_a b--\r\n"
    )


def sealed_messages() -> dict[str, tuple[bytes, str, list[bytes]]]:
    """The octets behind the usual fields, what the portal says of them, and what can be downloaded."""
    der, envelope = smime_signature(), smime_encrypted()
    return {
        "S/MIME, signed": (
            signed("application/pkcs7-signature", attached("application/pkcs7-signature", der, "smime.p7s")),
            "The sender signed this message.",
            [der],
        ),
        "S/MIME, encrypted": (
            attached("application/pkcs7-mime; smime-type=enveloped-data", envelope, "smime.p7m"),
            "The sender encrypted this message for your own mail program",
            [envelope],
        ),
        "PGP, signed": (
            signed("application/pgp-signature", b"Content-Type: application/pgp-signature\r\n\r\n" + SIGNATURE),
            "The sender signed this message.",
            [SIGNATURE],
        ),
        "PGP, encrypted": (
            b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=x\r\n\r\n'
            b"--x\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n"
            b"--x\r\nContent-Type: application/octet-stream\r\n\r\n" + PGP + b"\r\n--x--\r\n",
            "The sender encrypted this message for your own mail program",
            [b"Version: 1\r\n", PGP],
        ),
        "PGP in the text": (b"Content-Type: text/plain\r\n\r\n" + PGP, "-----BEGIN PGP MESSAGE-----", []),
    }


KINDS: Final = ("S/MIME, signed", "S/MIME, encrypted", "PGP, signed", "PGP, encrypted", "PGP in the text")


@pytest.mark.parametrize("kind", KINDS)
def test_a_signed_or_encrypted_message_is_delivered_readable_octet_for_octet(post: Post, kind: str) -> None:
    server = post.proven()
    rest, _, _ = sealed_messages()[kind]
    submit(post, letter(rest, ": ".join(PROVEN_FIELD), "Bcc: x@veilig.test", to=READER), READER)
    assert server.messages()[0].endswith(letter(rest, to=READER))
    assert post.recipient(READER).state == "delivered"


@pytest.mark.parametrize("kind", KINDS)
def test_a_signed_or_encrypted_message_can_be_read_in_the_portal_as_what_it_is(post: Post, kind: str) -> None:
    server = post.mx("open.test")
    rest, said, files = sealed_messages()[kind]
    submit(post, letter(rest), GUEST)
    for piece in (b"PGP", b"smime", ARMOUR[:60], base64.b64encode(smime_encrypted()[:57])):
        assert piece not in mail_to(server, GUEST)
    visitor, recipient = opened(post, server, GUEST)
    page = words(visitor.read(recipient))
    assert said in page
    assert ("Uitslag: één." in page) == kind.endswith(", signed")
    assert downloads(visitor, recipient) == files
    assert source(visitor, recipient).endswith(letter(rest))


def test_a_signed_message_that_falls_back_to_a_notification_keeps_its_signature(post: Post) -> None:
    """The server does not meet the level: the next row, and the octets are still those that were signed."""
    server = post.mx("veilig.test")
    rest, _, files = sealed_messages()["S/MIME, signed"]
    email = "zivver-minimum-recipient-verification: email-verification"
    submit(post, letter(rest, ": ".join(PROVEN_FIELD), email, to=READER), READER)
    visitor, recipient = opened(post, server, READER)
    assert downloads(visitor, recipient) == files
    assert WHAT_IS_SIGNED in source(visitor, recipient)


def test_a_refused_signed_message_is_reported_by_its_header_alone(post: Post) -> None:
    post.mx("open.test")
    rest, _, _ = sealed_messages()["PGP in the text"]
    submit(post, letter(rest, ": ".join(PROVEN_FIELD)), GUEST)
    (report,) = post.reports()
    assert GUEST in status_of(report)
    assert "PGP" not in everything_in(report)
