"""Attachments in the browser: what we show is decided by the octets, and shown so that it can do nothing. P16."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.journey.pdfs import pdf
from tests.journey.portal_ground import MARKER, PIXEL, Ground, Visitor, mail, words
from zegel.core.mail.mime import Part
from zegel.journey.custody.models import Content, Recipient
from zegel.journey.portal import reading
from zegel.journey.portal.viewing import Other, Picture, is_offered, kind_of

pytestmark = pytest.mark.django_db

JPEG, GIF, WEBP = b"\xff\xd8\xff\xe0 rest", b"GIF89a rest", b"RIFF\x10\0\0\0WEBPVP8 rest"
SCRIPT = b"<script>fetch('http://evil.test/')</script>"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"


def opened(ground: Ground, name: str, kind: str, octets: bytes, **fields: Any) -> tuple[Visitor, Recipient]:
    visitor = Visitor(ground)
    recipient = ground.recipient(ground.conversation(mail(files={name: (kind, octets)}, **fields)))
    visitor.open(recipient, ground.link(recipient))
    return visitor, recipient


def address(visitor: Visitor, recipient: Recipient, page: str = "guest-view", number: int = 2) -> str:
    message = recipient.conversation.messages.get(answered_by=None).id
    return visitor.page(page, recipient, message=message, number=number)


def part(kind: str, name: str | None = "x", charset: str | None = None, size: int = 9) -> Part:
    return Part((0,), kind, charset, name, "attachment", None, "base64", 0, size, size)


# What isn't shown


@pytest.mark.parametrize(
    ("name", "kind", "octets"),
    [
        ("a.svg", "image/svg+xml", SVG),
        ("a.html", "text/html", SCRIPT),
        ("a.png", "image/png", SCRIPT),
        ("a.png", "image/png", SVG),
        ("a.pdf", "application/pdf", SCRIPT),
        ("a.pdf", "application/pdf", b"\n" + pdf()),
        ("a.xml", "text/xml", b"<?xml version='1.0'?><x xmlns='http://www.w3.org/1999/xhtml'/>"),
        ("a.bmp", "image/bmp", b"BM      "),
        ("a.zip", "application/zip", b"PK\x03\x04"),
        ("a.js", "text/javascript", b"alert(1)"),
        ("a.css", "text/css", b"@import 'x'"),
        ("a.txt", "text/plain", b"\0\1\2\3"),
        ("a.png", "image/png", b""),
    ],
)
def test_what_we_do_not_know_is_saved_and_never_shown(ground: Ground, name: str, kind: str, octets: bytes) -> None:
    visitor, recipient = opened(ground, name, kind, octets)
    response = visitor.get(address(visitor, recipient))
    assert response.status_code in (404, 415)
    assert response["Content-Type"] == "text/html; charset=utf-8"
    assert octets not in response.content or not octets
    assert "script-src 'self'" in response["Content-Security-Policy"]  # the portal's own, as it is
    assert "unsafe" not in response["Content-Security-Policy"]
    assert visitor.get(address(visitor, recipient, "guest-picture")).status_code == 404


@pytest.mark.parametrize("page", ["guest-view", "guest-picture"])
def test_nothing_is_shown_without_a_proof_or_under_a_number_that_is_no_file(ground: Ground, page: str) -> None:
    visitor, recipient = opened(ground, "a.png", "image/png", PIXEL)
    for number in (0, 1, 3, 999_999_999_999):  # the container, the text, nothing
        assert visitor.get(address(visitor, recipient, page, number)).status_code == 404
    assert Visitor(ground).get(address(visitor, recipient, page)).status_code in (303, 404)
    strange = ground.recipient(ground.conversation(mail(files={"a.png": ("image/png", PIXEL)})))
    message = strange.conversation.messages.get().id
    assert visitor.get(visitor.page(page, recipient, message=message, number=2)).status_code == 404


def test_damaged_octets_are_said(ground: Ground) -> None:
    visitor, recipient = opened(ground, "a.png", "image/png", PIXEL + bytes(200_000))
    ground.blobs.remove(Content.objects.get().id)
    for page in ("guest-view", "guest-picture"):
        assert visitor.get(address(visitor, recipient, page)).status_code == 410


# What is shown


@pytest.mark.parametrize(
    ("octets", "kind"),
    [(PIXEL, "image/png"), (JPEG, "image/jpeg"), (GIF, "image/gif"), (WEBP, "image/webp")],
)
@pytest.mark.parametrize("called", ["image/png", "text/html", "application/octet-stream", "image/svg+xml"])
def test_an_image_is_shown_under_the_type_that_it_has(ground: Ground, octets: bytes, kind: str, called: str) -> None:
    visitor, recipient = opened(ground, "foto", called, octets)
    page = visitor.get(address(visitor, recipient))
    shown = re.search(r'<img src="(/r/[^"]+/picture/[^"]+)" alt="foto">', page.content.decode())
    assert page.status_code == 200 and shown is not None
    response = visitor.get(shown[1])
    assert b"".join(response.streaming_content) == octets
    assert response["Content-Type"] == kind
    assert response["Content-Disposition"] == 'inline; filename="foto"'
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
    assert response["Cache-Control"] == "no-store"


def test_an_image_that_is_a_script_too_is_an_image(ground: Ground) -> None:
    octets = GIF + b"/*" + bytes(20) + b"*/=1;alert(1)//" + SCRIPT
    visitor, recipient = opened(ground, "a.js", "text/javascript", octets)
    response = visitor.get(address(visitor, recipient, "guest-picture"))
    assert response["Content-Type"] == "image/gif" and response["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("kind", "octets", "text"),
    [
        ("text/plain; charset=utf-8", "Geëerde ontvanger".encode(), "Geëerde ontvanger"),
        ("text/plain", "Geëerde".encode("cp1252"), "Geëerde"),
        ("text/plain; charset=utf-16le", "Geëerde".encode("utf-16le"), "Geëerde"),
        ("text/csv", "naam;waarde\r\né;4,2\r\n".encode(), "é;4,2"),
        ("application/octet-stream", b"regel", "regel"),
        ("text/plain", b"", ""),
    ],
)
def test_text_is_shown_as_text(ground: Ground, kind: str, octets: bytes, text: str) -> None:
    visitor, recipient = opened(ground, "a.txt", kind, octets)
    response = visitor.get(address(visitor, recipient))
    if octets:
        assert response.status_code == 200 and text in words(response)
    else:
        assert response.status_code in (200, 404)


def test_text_that_is_markup_is_shown_letter_for_letter(ground: Ground) -> None:
    visitor, recipient = opened(ground, "a.txt", "text/plain", SCRIPT + b"</pre><b>x</b>")
    page = visitor.get(address(visitor, recipient)).content.decode()
    assert "&lt;script&gt;" in page and "<script" not in page and "&lt;/pre&gt;" in page


def test_text_that_is_too_long_is_cut_and_says_so(ground: Ground) -> None:
    visitor, recipient = opened(ground, "a.txt", "text/plain", b"woord " * 200_000 + b"EINDE")
    page = visitor.get(address(visitor, recipient))
    assert "too long to show in full" in words(page) and "EINDE" not in words(page)


def test_a_pdf_goes_to_the_viewer_of_the_browser_and_nowhere_else(ground: Ground) -> None:
    octets = pdf()
    visitor, recipient = opened(ground, "a.pdf", "text/html", octets)
    response = visitor.get(address(visitor, recipient))
    assert b"".join(response.streaming_content) == octets
    assert response["Content-Type"] == "application/pdf"
    assert response["Content-Disposition"] == 'inline; filename="a.pdf"'
    assert response["X-Content-Type-Options"] == "nosniff" and response["X-Frame-Options"] == "DENY"
    assert response["Content-Security-Policy"] == reading.PDF_POLICY
    for directive in ("default-src 'none'", "frame-ancestors 'none'", "form-action 'none'"):
        assert directive in reading.PDF_POLICY
    assert "script" not in reading.PDF_POLICY
    part: Any = visitor.client.get(address(visitor, recipient), headers={"Range": "bytes=5-9"})
    assert part.status_code == 206 and b"".join(part.streaming_content) == octets[5:10]


def test_only_what_could_be_shown_is_offered(ground: Ground) -> None:
    files = {
        "a.png": ("image/png", PIXEL), "b.pdf": ("application/octet-stream", pdf()), "c.txt": ("text/plain", b"x"),
        "d.svg": ("image/svg+xml", SVG), "e.html": ("text/html", SCRIPT), "f.zip": ("application/zip", b"PK"),
    }  # fmt: skip
    visitor = Visitor(ground)
    recipient = ground.recipient(ground.conversation(mail(files=files)))
    visitor.open(recipient, ground.link(recipient))
    page = visitor.read(recipient).content.decode()
    offered = re.findall(r'class="view" href="[^"]+/(\d+)" target="_blank" rel="noopener"', page)
    assert offered == ["2", "3", "4"]


def test_looking_at_a_file_is_reading_and_head_is_not(ground: Ground) -> None:
    visitor, recipient = opened(ground, "a.png", "image/png", PIXEL)
    for page in ("guest-view", "guest-picture"):
        assert visitor.client.head(address(visitor, recipient, page)).status_code == 200
    recipient.refresh_from_db()
    assert recipient.state == Recipient.State.NOTIFIED
    visitor.get(address(visitor, recipient))
    recipient.refresh_from_db()
    assert recipient.state == Recipient.State.OPENED


def test_an_author_sees_the_same(ground: Ground) -> None:
    from tests.journey.portal_ground import signed_in

    conversation = ground.conversation(mail(files={"a.png": ("image/png", PIXEL)}))
    client, message = signed_in(ground.author), conversation.messages.get().id
    assert client.get(f"/inbox/{conversation.id}/view/{message}/2").status_code == 200
    assert client.get(f"/inbox/{conversation.id}/picture/{message}/2")["Content-Type"] == "image/png"
    other = signed_in(ground.account("ander@voorbeeld.test"))
    for page in (f"view/{message}/2", f"picture/{message}/2", f"pdf/{message}.pdf", f"words/{message}", "words"):
        assert other.get(f"/inbox/{conversation.id}/{page}").status_code == 404
    assert MARKER not in words(other.get(f"/inbox/{conversation.id}/words"))


# The decision


@pytest.mark.parametrize("length", range(20))
@pytest.mark.parametrize("octets", [PIXEL, JPEG, GIF, WEBP, b"%PDF-1.7\n"])
def test_a_beginning_that_is_cut_off_is_known_or_unknown(octets: bytes, length: int) -> None:
    assert kind_of(part("image/png"), octets[:length]) in (kind_of(part("image/png"), octets), Other.UNKNOWN)


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", "message/rfc822"])
@pytest.mark.parametrize("name", [None, "x.txt", "x.pdf", "x.png"])
def test_no_name_makes_markup_into_something_that_is_shown(kind: str, name: str | None) -> None:
    assert kind_of(part(kind, name), SCRIPT) is Other.UNKNOWN
    assert not is_offered(part(kind, name))


def test_a_type_with_scripts_is_never_an_image() -> None:
    kinds = [kind_of(part("x/y"), octets) for octets in (PIXEL, JPEG, GIF, WEBP)]
    assert {one.type for one in kinds if isinstance(one, Picture)} == {
        "image/png", "image/jpeg", "image/gif", "image/webp"
    }  # fmt: skip
