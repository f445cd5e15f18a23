"""Which parts become links: to the octet at the limit, and never of what is signed or encrypted."""

from __future__ import annotations

import base64
from email.message import EmailMessage
from email.policy import SMTP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.mail.mime import MimeIndexer, Part
from zegel.core.policy.shrinking import LINK_FROM, STAND_IN, USUAL_LIMIT, become_links, may_be_taken_apart


def indexed(octets: bytes) -> tuple[Part, ...]:
    header, _, body = octets.partition(b"\r\n\r\n")
    indexer = MimeIndexer(header + b"\r\n", len(header) + 4)
    indexer.feed(body)
    return indexer.finish()


def message(*sizes: int, kind: str = "application/octet-stream") -> bytes:
    found = EmailMessage(policy=SMTP)
    found["Subject"] = "Groot"
    found.set_content("Zie de bijlagen.\n")
    main, _, sub = kind.partition("/")
    for number, size in enumerate(sizes):
        found.add_attachment(b"x" * size, main, sub, filename=f"bestand{number}.bin")
    return found.as_bytes()


def names(chosen: tuple[Part, ...] | None) -> list[str] | None:
    return None if chosen is None else [part.name or "" for part in chosen]


def links(octets: bytes, limit: int) -> list[str] | None:
    return names(become_links(indexed(octets), size=len(octets), limit=limit))


def test_the_place_of_a_part_is_known_with_its_header() -> None:
    octets = message(100, 200)
    for part in indexed(octets)[1:]:
        assert octets[: part.begin].endswith(b"\r\n")
        assert octets[part.begin :].lower().startswith(b"content-type:")
        assert octets[part.offset - 4 : part.offset] == b"\r\n\r\n"


@pytest.mark.parametrize(("size", "expected"), [(LINK_FROM - 1, []), (LINK_FROM, ["bestand0.bin"])])
def test_exactly_ten_megabytes_is_a_link(size: int, expected: list[str]) -> None:
    assert links(message(size), 10**9) == expected


def test_as_much_as_is_needed_becomes_links_and_the_largest_first() -> None:
    octets = message(1_000_000, 3_000_000, 2_000_000)
    assert links(octets, len(octets)) == []
    assert links(octets, len(octets) - 1) == ["bestand1.bin"]
    assert links(octets, 2_000_000) == ["bestand1.bin", "bestand2.bin"]
    assert links(octets, 200_000) == ["bestand0.bin", "bestand1.bin", "bestand2.bin"]
    assert links(octets, 100) is None


def test_nothing_is_gained_by_a_link_that_is_longer_than_the_file() -> None:
    octets = message(10, 10)
    assert links(octets, len(octets) - 1) is None


@pytest.mark.parametrize(
    "octets",
    [
        b"Content-Type: application/pdf\r\nContent-Disposition: attachment\r\n\r\n" + b"x" * 20_000,
        b"Content-Type: multipart/signed; protocol=x; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\n"
        b"Content-Type: application/pgp-signature\r\n\r\n" + b"x" * 20_000 + b"\r\n--b--\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/pkcs7-mime\r\n\r\nx\r\n"
        b"--b\r\nContent-Disposition: attachment; filename=a\r\n\r\n" + b"x" * 20_000 + b"\r\n--b--\r\n",
        b"Content-Type: multipart/encrypted; protocol=p; boundary=b\r\n\r\n--b\r\n"
        b"Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--b\r\n"
        b"Content-Type: application/octet-stream; name=a\r\n\r\n" + b"x" * 20_000 + b"\r\n--b--\r\n",
    ],
    ids=["one part", "signed", "pkcs7", "encrypted"],
)
def test_what_may_not_be_taken_apart_is_sent_whole_or_not(octets: bytes) -> None:
    assert not may_be_taken_apart(indexed(octets))
    assert links(octets, len(octets)) == []
    assert links(octets, len(octets) - 1) is None


def test_a_message_that_was_indexed_without_places_is_sent_whole() -> None:
    from dataclasses import replace

    octets = message(LINK_FROM)
    old = tuple(replace(part, begin=-1) for part in indexed(octets))
    assert become_links(old, size=len(octets), limit=10**9) == ()


def test_an_inline_picture_stays_where_the_text_shows_it() -> None:
    found = EmailMessage(policy=SMTP)
    found.set_content("Zie de foto.\n")
    found.add_alternative('<img src="cid:foto">', subtype="html")
    html = found.get_payload(1)
    assert isinstance(html, EmailMessage)
    html.add_related(b"x" * 50_000, "image", "png", cid="<foto>")
    found.add_attachment(b"y" * 40_000, "application", "pdf", filename="verslag.pdf")
    octets = found.as_bytes()
    assert links(octets, len(octets) - 10_000) == ["verslag.pdf"]


@given(st.lists(st.integers(1, 300_000), max_size=6), st.integers(1, 1_500_000))
def test_what_is_left_fits_and_nothing_is_replaced_in_vain(sizes: list[int], limit: int) -> None:
    octets = message(*sizes)
    chosen = become_links(indexed(octets), size=len(octets), limit=limit)
    if chosen is None:
        return
    left = len(octets)
    for part in chosen:
        assert base64.b64decode(octets[part.offset : part.offset + part.length])
        left -= part.offset + part.length - part.begin - STAND_IN
    assert left <= limit
    smallest = min((part.offset + part.length - part.begin - STAND_IN for part in chosen), default=0)
    assert not chosen or left + smallest > limit
    assert USUAL_LIMIT > LINK_FROM
