"""Downloads that go on where they broke off."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.journey.portal_ground import Ground, Visitor, mail
from zegel.journey.custody.models import Recipient
from zegel.journey.portal.ranges import skipping, wanted

pytestmark = pytest.mark.django_db

FILE = hashlib.sha256(b"file").digest() * 8000  # 256 000 octets


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-", (0, 100)),
        ("bytes=0-0", (0, 1)),
        ("bytes=10-19", (10, 20)),
        ("bytes=90-500", (90, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-500", (0, 100)),
        (" bytes = 5 - 6 ", (5, 7)),
        ("bytes=-", None),
        ("bytes=6-5", None),
        ("bytes=1-2,4-5", None),
        ("octets=1-2", None),
        ("bytes=a-b", None),
        ("bytes=1--2", None),
        ("bytes=" + "9" * 400 + "-", None),
    ],
)
def test_what_is_asked_for(header: str, expected: tuple[int, int] | None) -> None:
    assert wanted(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=999999999999999-"])
def test_what_can_not_be_given(header: str) -> None:
    with pytest.raises(ValueError, match="nothing"):
        wanted(header, 100)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_skipping_gives_what_was_asked_for(size: int) -> None:
    octets = bytes(range(100))
    pieces = [octets[place : place + size] for place in range(0, 100, size)]
    for begin, end in ((0, 100), (0, 1), (99, 100), (13, 57), (50, 50 + size)):
        assert b"".join(skipping(iter(pieces), begin, min(end, 100))) == octets[begin : min(end, 100)]


@pytest.fixture
def reader(ground: Ground) -> tuple[Visitor, Recipient, str]:
    visitor = Visitor(ground)
    recipient = ground.recipient(ground.conversation(mail(files={"verslag.bin": ("application/x-thing", FILE)})))
    visitor.open(recipient, ground.link(recipient))
    page = visitor.read(recipient).content.decode()
    address = next(word.split('"')[1] for word in page.split() if word.startswith("href=") and "/part/" in word)
    return visitor, recipient, address


def got(response: Any) -> bytes:
    return b"".join(response.streaming_content)


def test_a_download_goes_on(reader: tuple[Visitor, Recipient, str]) -> None:
    visitor, _, address = reader
    whole = visitor.client.get(address)
    assert (whole.status_code, whole["Accept-Ranges"]) == (200, "bytes")
    assert got(whole) == FILE
    rest = visitor.client.get(address, HTTP_RANGE="bytes=200000-", HTTP_IF_RANGE=whole["ETag"])
    assert rest.status_code == 206
    assert rest["Content-Range"] == "bytes 200000-255999/256000"
    assert rest["Content-Length"] == "56000"
    assert got(rest) == FILE[200_000:]
    assert rest["Content-Disposition"] == whole["Content-Disposition"]
    assert "no-store" in rest["Cache-Control"]


def test_another_file_is_not_continued(reader: tuple[Visitor, Recipient, str]) -> None:
    visitor, _, address = reader
    found = visitor.client.get(address, HTTP_RANGE="bytes=200000-", HTTP_IF_RANGE='"another"')
    assert found.status_code == 200
    assert got(found) == FILE


def test_behind_the_end_there_is_nothing(reader: tuple[Visitor, Recipient, str]) -> None:
    visitor, _, address = reader
    found = visitor.client.get(address, HTTP_RANGE="bytes=256000-")
    assert (found.status_code, found["Content-Range"], got(found)) == (416, "bytes */256000", b"")


def test_head_says_how_much_it_is(reader: tuple[Visitor, Recipient, str]) -> None:
    visitor, _, address = reader
    found = visitor.client.head(address, HTTP_RANGE="bytes=5-6")
    assert (found.status_code, found["Content-Length"]) == (200, "256000")


def test_the_message_itself_goes_on_too(ground: Ground, reader: tuple[Visitor, Recipient, str]) -> None:
    visitor, recipient, _ = reader
    message = recipient.conversation.messages.get()
    address = visitor.page("guest-source", recipient, message=message.id)
    whole = ground.content_of(message)
    found = visitor.client.get(address, HTTP_RANGE="bytes=100000-100099")
    assert found.status_code == 206
    assert got(found) == whole[100_000:100_100]


def test_a_range_needs_the_proof_like_the_whole(ground: Ground, reader: tuple[Visitor, Recipient, str]) -> None:
    _, _, address = reader
    stranger = Visitor(ground)
    assert stranger.client.get(address, HTTP_RANGE="bytes=0-10").status_code == 404
