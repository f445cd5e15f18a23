"""What a reader sees of a conversation, and what a sender of tricks can't make of it. Promises P13, P16, P17."""

from __future__ import annotations

import email
import re
from typing import Any

import pytest

from tests.journey.portal_ground import MARKER, PIXEL, Ground, Visitor, mail, words
from zegel.journey.custody.models import Content, Conversation, Link, Message, Recipient

pytestmark = pytest.mark.django_db

PDF = b"%PDF-1.7\n" + bytes(range(256)) * 40
LARGE = bytes(range(256)) * 4096  # 1 MB, no multiple of a segment once it is encoded


def opened(ground: Ground, octets: bytes, **fields: Any) -> tuple[Visitor, Recipient]:
    """A visitor who passed the verification of a message."""
    visitor, recipient = Visitor(ground), ground.recipient(ground.conversation(octets), **fields)
    visitor.open(recipient, ground.link(recipient))
    return visitor, recipient


def body_of(visitor: Visitor, recipient: Recipient) -> Any:
    message = recipient.conversation.messages.get(answered_by=None).id
    return visitor.client.get(visitor.page("guest-body", recipient, message=message))


def attachments_of(visitor: Visitor, recipient: Recipient) -> list[str]:
    page = visitor.read(recipient).content.decode()
    return re.findall(r'<a href="(/r/[^"]+/part/[^"]+)"', page)


# What can't be read


def test_without_a_proof_nothing_of_a_message_is_given(ground: Ground, visitor: Visitor) -> None:
    recipient = ground.recipient(ground.conversation(mail(files={"a.pdf": ("application/pdf", PDF)})))
    visitor.follow(ground.link(recipient))
    message = recipient.conversation.messages.get().id
    for name, parts in (
        ("guest-read", {}),
        ("guest-body", {"message": message}),
        ("guest-part", {"message": message, "number": 2}),
        ("guest-source", {"message": message}),
    ):
        response = visitor.client.get(visitor.page(name, recipient, **parts))
        assert response.status_code == 303 and MARKER.encode() not in response.content


def test_a_message_of_another_conversation_is_not_there(ground: Ground) -> None:
    visitor, recipient = opened(ground, mail())
    strange = ground.conversation(mail(markup="<p>x")).messages.get().id
    for name, parts in (("guest-body", {}), ("guest-part", {"number": 0}), ("guest-source", {})):
        response = visitor.client.get(visitor.page(name, recipient, message=strange, **parts))
        assert response.status_code == 404


def test_destroyed_keys_are_said_and_not_shown_as_a_defect(ground: Ground) -> None:
    visitor, recipient = opened(ground, mail(markup="<p>x"))
    message = recipient.conversation.messages.get()
    Message.objects.update(key=None)
    page = visitor.read(recipient)
    assert page.status_code == 200 and "its key was destroyed" in words(page) and MARKER not in words(page)
    source = visitor.client.get(visitor.page("guest-source", recipient, message=message.id))
    assert source.status_code == 410
    Link.objects.update(slot=b"")
    assert visitor.read(recipient).status_code == 410


def test_one_flipped_bit_shows_no_octet_of_the_message(ground: Ground) -> None:
    visitor, recipient = opened(ground, mail())
    content = Content.objects.get()
    sealed = bytearray(content.sealed or b"")
    sealed[len(sealed) // 2] ^= 1
    Content.objects.update(sealed=bytes(sealed))
    message = recipient.conversation.messages.get().id
    assert visitor.get(visitor.page("guest-source", recipient, message=message)).status_code == 410
    assert "its key was destroyed" in words(visitor.read(recipient))


def test_a_blob_that_is_gone_is_said(ground: Ground) -> None:
    visitor, recipient = opened(ground, mail(files={"groot.bin": ("application/octet-stream", LARGE)}))
    ground.blobs.remove(Content.objects.get().id)
    assert visitor.read(recipient).status_code == 200
    assert visitor.client.get(f"/r/{recipient.id}/part/{recipient.conversation.messages.get().id}/2").status_code == 410


# What is read


def test_a_reader_sees_who_wrote_to_whom_and_what(ground: Ground) -> None:
    octets = mail(cc="Collega <collega@example.org>, huisarts@example.net")
    visitor, recipient = opened(ground, octets)
    said = words(visitor.read(recipient))
    for piece in ("Balie Poli 4", "Ontvanger, de", "Collega", "huisarts@example.net", MARKER, "De uitslag is goed."):
        assert piece in said


def test_text_is_escaped_and_its_addresses_are_links_that_open_apart(ground: Ground) -> None:
    visitor, recipient = opened(
        ground, mail(text="<b>x</b> zie https://example.org/a?b=1&c=2. <script>alert(1)</script>")
    )
    page = visitor.read(recipient).content.decode()
    assert "&lt;script&gt;" in page and "<script>" not in page
    link = '<a href="https://example.org/a?b=1&amp;c=2" dir="auto" target="_blank" rel="noopener noreferrer nofollow">'
    assert link in page


def test_html_stands_in_a_frame_without_scripts_forms_and_origin(ground: Ground) -> None:
    visitor, recipient = opened(ground, mail(markup="<p>Beste <b>ontvanger</b></p><script>alert(1)</script>"))
    page = visitor.read(recipient).content.decode()
    frame = re.search(r"<iframe[^>]*>", page)
    assert frame is not None
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in frame[0]
    body = body_of(visitor, recipient)
    markup = b"".join(body.streaming_content).decode()
    assert "<b>ontvanger</b>" in markup and "alert" not in markup
    policy = body["Content-Security-Policy"]
    for directive in ("default-src 'none'", "img-src data:", "frame-ancestors 'self'", "sandbox allow-popups "):
        assert directive in policy
    assert "script" not in policy and "allow-same-origin" not in policy
    assert body["X-Frame-Options"] == "SAMEORIGIN"
    assert body["Cache-Control"] == "no-store"
    assert body["Referrer-Policy"] == "no-referrer"


def test_images_of_the_message_are_shown_and_images_from_elsewhere_are_not(ground: Ground) -> None:
    markup = (
        '<img src="cid:logo@x" alt="Logo"><img src="https://volg.test/p.gif" width=1><img src="cid:weg@x" alt="weg">'
    )
    visitor, recipient = opened(ground, mail(markup=markup, pictures={"logo@x": PIXEL, "los@x": PIXEL}))
    body = b"".join(body_of(visitor, recipient).streaming_content).decode()
    assert body.count("data:image/png;base64,iVBOR") == 1
    assert "volg.test" not in body
    page = visitor.read(recipient)
    assert "One image was not loaded" in words(page)
    assert len(attachments_of(visitor, recipient)) == 1  # the one that the HTML doesn't show


def test_one_image_named_a_thousand_times_fills_no_memory(ground: Ground) -> None:
    markup = '<img src="cid:groot@x">' * 1000
    visitor, recipient = opened(ground, mail(markup=markup, pictures={"groot@x": PIXEL + LARGE}))
    size = sum(len(piece) for piece in body_of(visitor, recipient).streaming_content)
    assert 1_000_000 < size < 60_000_000


def test_an_attachment_comes_as_it_was_sent_and_is_saved_not_shown(ground: Ground) -> None:
    files = {
        "verslag.pdf": ("application/pdf", PDF),
        "pagina.html": ("text/html", b"<script>alert(1)</script>"),
        "tekening.svg": ("image/svg+xml", b"<svg onload='alert(1)'/>"),
        "groot.bin": ("application/octet-stream", LARGE),
    }
    visitor, recipient = opened(ground, mail(markup="<p>hoi", files=files))
    addresses = attachments_of(visitor, recipient)
    assert len(addresses) == 4
    for address, (name, (_, octets)) in zip(addresses, files.items(), strict=True):
        response = visitor.get(address)
        assert b"".join(response.streaming_content) == octets
        assert response["Content-Type"] == "application/octet-stream"
        assert response["Content-Disposition"] == f'attachment; filename="{name}"'
        assert response["Content-Length"] == str(len(octets))
        assert response["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in response["Content-Security-Policy"]
    said = words(visitor.read(recipient))
    assert "4 attachments" in said and "10 kB" in said and "1.0 MB" in said


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (
            "=?utf-8?q?verslag_=22co=C3=B6rdinatie=22.pdf?=",
            'attachment; filename="verslag _coordinatie_.pdf"; '
            "filename*=utf-8''verslag%20%22co%C3%B6rdinatie%22.pdf",
        ),
        ("../../etc/passwd", 'attachment; filename="_.._etc_passwd"'),
        ("a\\r\\nSet-Cookie: x=1.pdf", None),
        ("", 'attachment; filename="bijlage-1.pdf"'),
    ],
)  # fmt: skip
def test_a_name_is_a_name_and_nothing_else(ground: Ground, given: str, shown: str | None) -> None:
    visitor, recipient = opened(ground, mail(files={given: ("application/pdf", PDF)}))
    response = visitor.client.get(attachments_of(visitor, recipient)[0])
    assert "\n" not in response["Content-Disposition"] and "/" not in response["Content-Disposition"]
    assert "Set-Cookie" not in response.headers
    if shown is not None:
        assert response["Content-Disposition"] == shown


def test_the_whole_message_can_be_saved_octet_for_octet(ground: Ground) -> None:
    octets = mail(markup="<p>hoi", files={"groot.bin": ("application/octet-stream", LARGE)})
    visitor, recipient = opened(ground, octets)
    page = visitor.read(recipient).content.decode()
    address = re.search(r'href="(/r/[^"]+\.eml)"', page)
    assert address is not None
    response = visitor.get(address[1])
    assert b"".join(response.streaming_content) == octets
    assert response["Content-Length"] == str(len(octets))
    assert response["Content-Disposition"] == f'attachment; filename="Uitslag {MARKER}.eml"'


@pytest.mark.parametrize(
    ("octets", "sentence"),
    [
        (mail(text=None), "This message has no text."),
        (mail(text=" \r\n"), "This message has no text."),
        (mail(text=None, files={"a.pdf": ("application/pdf", PDF)}), "only attachments"),
    ],
)
def test_a_message_without_text_says_so(ground: Ground, octets: bytes, sentence: str) -> None:
    visitor, recipient = opened(ground, octets)
    assert sentence in words(visitor.read(recipient))


def test_an_encrypted_message_is_left_alone(ground: Ground) -> None:
    octets = mail(text=None).replace(
        b"\r\n\r\n",
        b'\r\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"\r\n\r\nMIAG',
    )
    visitor, recipient = opened(ground, octets)
    assert "encrypted this message for your own mail program" in words(visitor.read(recipient))
    assert len(attachments_of(visitor, recipient)) == 1


def test_a_signed_message_is_read_and_can_be_checked_elsewhere(ground: Ground) -> None:
    octets = mail(text=None).replace(
        b"\r\n\r\n",
        b'\r\nContent-Type: multipart/signed; protocol="application/pgp-signature"; boundary=x\r\n\r\n--x\r\n'
        b"Content-Type: text/plain\r\n\r\nDe tekst.\r\n"
        b"--x\r\nContent-Type: application/pgp-signature\r\n\r\nabc\r\n--x--\r\n",
    )
    visitor, recipient = opened(ground, octets)
    said = words(visitor.read(recipient))
    assert "De tekst." in said and "signed this message" in said


def test_text_that_is_too_long_is_cut_and_says_so(ground: Ground) -> None:
    visitor, recipient = opened(ground, mail(text="woord " * 200_000 + "EINDE"))
    page = visitor.read(recipient)
    assert "too long to show in full" in words(page) and "EINDE" not in words(page)
    assert len(page.content) < 1_000_000


def test_html_that_is_too_long_falls_back_to_the_text(ground: Ground) -> None:
    visitor, recipient = opened(ground, mail(text="De korte tekst.", markup="<p>" + "x" * 5_000_000))
    page = visitor.read(recipient)
    assert "De korte tekst." in words(page) and "<iframe" not in page.content.decode()
    assert body_of(visitor, recipient).status_code == 404


def test_a_to_reader_learns_nothing_of_a_bcc_reader(ground: Ground) -> None:
    octets = mail()
    shared, blind = ground.conversation(octets), ground.conversation(octets, blind=True)
    recipient, hidden = ground.recipient(shared), ground.recipient(blind, "geheim@example.net")
    visitor, other = Visitor(ground), Visitor(ground)
    visitor.open(recipient, ground.link(recipient))
    other.open(hidden, ground.link(hidden))
    other.answer(hidden, "Antwoord in het geheim")
    message = shared.messages.get().id
    source = visitor.get(visitor.page("guest-source", recipient, message=message))
    seen = visitor.read(recipient).content + b"".join(source.streaming_content)
    assert b"geheim" not in seen
    assert "Antwoord in het geheim" in words(other.read(hidden))
    assert "ontvanger@example.org" in words(other.read(hidden))  # who reads as Bcc sees To and Cc


def test_recipients_only_still_opens_with_the_link(ground: Ground) -> None:
    visitor, recipient = opened(ground, mail())
    Conversation.objects.update(gateway_slot=None)
    assert "De uitslag is goed." in words(visitor.read(recipient))
    assert visitor.answer(recipient, "Dank u").status_code == 303


def test_a_saved_message_is_one_that_mail_programs_read(ground: Ground) -> None:
    visitor, recipient = opened(ground, mail(files={"a.pdf": ("application/pdf", PDF)}))
    visitor.answer(recipient, "Goed nieuws é", ("foto é.png", PIXEL))
    message = recipient.conversation.messages.get(answered_by=recipient).id
    source = visitor.get(visitor.page("guest-source", recipient, message=message))
    parsed = email.message_from_bytes(b"".join(source.streaming_content))
    parts = [part for part in parsed.walk() if not part.is_multipart()]
    assert [part.get_filename() for part in parts] == ["foto é.png", None]
    assert parts[0].get_payload(decode=True) == PIXEL
    assert parts[1].get_payload(decode=True) == "Goed nieuws é".encode()
