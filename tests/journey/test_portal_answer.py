"""Answers: sealed while they come, one for each form, told to the author. Promises P2, P5, P17."""

from __future__ import annotations

import base64
import contextlib
import email
import errno
import io
import os
import re
import stat
import tempfile
import threading
import uuid
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from tests.journey.portal_ground import MARKER, NOON, Ground, Visitor, dump, mail, words
from zegel.core.mail.head import Head
from zegel.core.mail.mime import MimeIndexer
from zegel.edge.blobs import BlobWriter
from zegel.journey.custody.models import Content, Conversation, Job, Message, Recipient
from zegel.journey.portal.answering import answerer_name

pytestmark = pytest.mark.django_db

LARGE = os.urandom(1_000_003)


@pytest.fixture
def recipient(ground: Ground) -> Recipient:
    return ground.recipient(ground.conversation(mail()))


@pytest.fixture
def guest(ground: Ground, recipient: Recipient) -> Visitor:
    visitor = Visitor(ground)
    visitor.open(recipient, ground.link(recipient))
    visitor.read(recipient)
    return visitor


def blobs(ground: Ground) -> list[Path]:
    return [path for path in (ground.folder / "blobs").rglob("*") if path.is_file()]


def form(*fields: tuple[str, str] | tuple[str, str, bytes], edge: str = "x" * 30) -> bytes:
    """A form as a browser sends it."""
    out = b""
    for name, value, *octets in fields:
        file = f'; filename="{value}"\r\nContent-Type: application/pdf' if octets else ""
        out += f'--{edge}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
        out += (octets[0] if octets else value.encode()) + b"\r\n"
    return out + f"--{edge}--\r\n".encode()


def send(visitor: Visitor, recipient: Recipient, body: _Body, *, length: int) -> Any:
    """A form whose octets are read from ``body``."""
    more: dict[str, Any] = {"wsgi.input": body, "CONTENT_LENGTH": str(length), "CONTENT_TYPE": TYPE}
    return visitor.client.generic("POST", visitor.page("guest-answer", recipient), **more)


TYPE = "multipart/form-data; boundary=" + "x" * 30


# What is not taken


def test_who_has_no_proof_uploads_nothing(ground: Ground, recipient: Recipient, visitor: Visitor) -> None:
    visitor.follow(ground.link(recipient))
    read = _Body(form(("text", "x"), ("files", "a.pdf", LARGE)))
    before = dump()
    response = send(visitor, recipient, read, length=len(read.octets))
    assert response.status_code == 303
    assert read.given == 0  # not an octet of it was read
    assert dump() == before and blobs(ground) == []


def test_a_form_from_another_site_leaves_nothing(ground: Ground, recipient: Recipient, guest: Visitor) -> None:
    guest.client.handler.enforce_csrf_checks = True
    before = dump()
    response = guest.answer(recipient, "x", ("a.pdf", LARGE))
    assert response.status_code == 403
    assert dump() == before and blobs(ground) == []


@pytest.mark.parametrize("text", ["", "  \r\n "])
def test_an_empty_answer_is_refused_with_a_sentence(
    ground: Ground, recipient: Recipient, guest: Visitor, text: str
) -> None:
    response = guest.answer(recipient, text)
    assert response.status_code == 422 and "Write an answer or add a file." in words(response)
    assert Message.objects.count() == 1


@pytest.mark.parametrize("sizes", [[1_000_001], [10, 1_000_001], [1_000_000] * 5 + [1]])
def test_too_much_is_refused_kindly_and_leaves_nothing(
    ground: Ground, recipient: Recipient, guest: Visitor, sizes: list[int]
) -> None:
    """A file above the limit, and files that are too large together."""
    ground.configure(answer_limit=1_000_000)
    response = guest.answer(recipient, "Mijn tekst", *(("a.bin", LARGE[:size]) for size in sizes))
    assert response.status_code == 413
    assert "too large" in words(response) and "Mijn tekst" in words(response)
    assert "Each at most 1 MB, together at most 5 MB." in words(response).replace("\u00a0", " ")
    assert Message.objects.count() == 1 and blobs(ground) == []
    assert guest.answer(recipient, "", *[("a.bin", LARGE[:1_000_000])] * 5).status_code == 303


def test_an_organisation_sets_a_lower_limit_and_never_a_higher_one(
    ground: Ground, recipient: Recipient, guest: Visitor
) -> None:
    ground.configure(answer_limit=1_000_000)
    ground.organisation.answer_megabytes = 2
    ground.organisation.save()
    assert guest.answer(recipient, "x", ("a.bin", LARGE[:1_000_001])).status_code == 413
    ground.configure(answer_limit=3_000_000)
    assert guest.answer(recipient, "x", ("a.bin", LARGE * 2)).status_code == 413
    assert guest.answer(recipient, "x", ("a.bin", LARGE)).status_code == 303


def test_too_much_is_read_to_its_end_so_that_the_browser_shows_our_answer(
    ground: Ground, recipient: Recipient, guest: Visitor
) -> None:
    ground.configure(answer_limit=300_000)
    read = _Body(form(("nonce", "x"), ("text", "x"), ("files", "a.bin", LARGE), ("files", "b.bin", b"x")))
    assert send(guest, recipient, read, length=len(read.octets)).status_code == 413
    assert read.given == len(read.octets) and blobs(ground) == []


def test_far_too_much_is_not_read_at_all(ground: Ground, recipient: Recipient, guest: Visitor) -> None:
    ground.configure(answer_limit=100_000)
    read = _Body(form(("nonce", "x"), ("text", "x"), ("files", "a.bin", LARGE)))
    assert send(guest, recipient, read, length=len(read.octets)).status_code == 413
    assert read.given < 200_000 and blobs(ground) == []


def test_text_without_end_is_refused_kindly(ground: Ground, recipient: Recipient, guest: Visitor) -> None:
    response = guest.answer(recipient, "x" * 6_000_000)
    assert response.status_code == 413 and "too large" in words(response)


def test_more_files_than_a_form_has_are_refused_kindly(ground: Ground, recipient: Recipient, guest: Visitor) -> None:
    response = guest.answer(recipient, "x", *((f"{number}.txt", b"x") for number in range(101)))
    assert response.status_code == 413 and Message.objects.count() == 1 and blobs(ground) == []


@pytest.mark.parametrize("lost", [1, 5, 40, 200, 500_000])
def test_a_connection_that_breaks_sends_nothing(
    ground: Ground, recipient: Recipient, guest: Visitor, lost: int
) -> None:
    octets = form(("nonce", str(uuid.uuid4())), ("text", "x" * 100), ("files", "a.pdf", LARGE))
    read = _Body(octets[:-lost])
    response = send(guest, recipient, read, length=len(octets))
    assert response.status_code == 400 and "connection broke" in words(response)
    assert Message.objects.count() == 1 and blobs(ground) == []


def test_a_connection_that_breaks_within_the_text_sends_nothing(
    ground: Ground, recipient: Recipient, guest: Visitor
) -> None:
    octets = form(("nonce", str(uuid.uuid4())), ("text", "Ik ga akkoord, maar niet met punt 4."))
    response = send(guest, recipient, _Body(octets[:-60]), length=len(octets))
    assert response.status_code == 400 and Message.objects.count() == 1


def test_a_form_whose_last_file_has_no_end_sends_nothing(ground: Ground, recipient: Recipient, guest: Visitor) -> None:
    octets = form(("nonce", str(uuid.uuid4())), ("text", "x"), ("files", "a.pdf", LARGE))[:-40]
    response = send(guest, recipient, _Body(octets), length=len(octets))
    assert response.status_code == 400 and Message.objects.count() == 1 and blobs(ground) == []


def test_a_full_disk_is_said_and_leaves_nothing(
    ground: Ground, recipient: Recipient, guest: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: BlobWriter, sealed: bytes) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(BlobWriter, "write", full)
    response = guest.answer(recipient, "x", ("a.bin", LARGE))
    assert response.status_code == 507 and "no room" in words(response)
    assert Message.objects.count() == 1 and blobs(ground) == []


@pytest.mark.parametrize("nonce", ["", "x", "0"])
def test_a_form_that_is_not_ours_is_refused(ground: Ground, recipient: Recipient, guest: Visitor, nonce: str) -> None:
    octets = form(("nonce", nonce), ("text", "x"))
    response = guest.client.post(guest.page("guest-answer", recipient), octets, content_type=TYPE)
    assert response.status_code == 422 and Message.objects.count() == 1


def test_the_name_of_another_message_is_no_way_to_replace_it(
    ground: Ground, recipient: Recipient, guest: Visitor
) -> None:
    original = Message.objects.get()
    before = ground.content_of(original)
    assert guest.answer(recipient, "vals", nonce=str(original.id)).status_code == 422
    assert ground.content_of(Message.objects.get()) == before


def test_a_conversation_that_ends_meanwhile_takes_no_answer(
    ground: Ground, recipient: Recipient, guest: Visitor
) -> None:
    page = guest.read(recipient).content.decode()
    nonce = re.findall(r'name="nonce" value="([^"]+)"', page)[0]
    recipient.conversation.destroyed_at = ground.clock()
    recipient.conversation.save()
    octets = form(("nonce", nonce), ("text", "x"))
    response = guest.client.post(guest.page("guest-answer", recipient), octets, content_type=TYPE)
    assert response.status_code == 410 and Message.objects.count() == 1


@pytest.mark.parametrize("sends", ["an answer", "nothing", "no form"])
@pytest.mark.parametrize("change", [{"revoked_at": NOON}, {"method": "access-code"}, {"conversation": NOON}])
def test_a_message_that_is_taken_back_while_an_answer_comes_takes_none_and_is_not_shown(
    ground: Ground, recipient: Recipient, guest: Visitor, change: dict[str, Any], sends: str
) -> None:
    """An upload can be made to last as long as one likes: what it began with proves nothing at its end."""

    def takes_back() -> None:
        if "conversation" in change:
            Conversation.objects.filter(id=recipient.conversation_id).update(expires_at=change["conversation"])
        else:
            Recipient.objects.filter(id=recipient.id).update(**change)

    nonce = re.findall(r'name="nonce" value="([^"]+)"', guest.read(recipient).content.decode())[0]
    fields = [("nonce", nonce if sends == "an answer" else "x"), ("text", "" if sends == "nothing" else "vals")]
    body = _Body(form(*fields, ("files", "a.pdf", LARGE)), at_each=takes_back, every=3)
    response = send(guest, recipient, body, length=len(body.octets) + (sends == "no form"))
    assert response.status_code == 303 and response["Location"] == guest.page("guest-read", recipient)
    assert Message.objects.count() == 1 and not blobs(ground)[1:]
    assert not Job.objects.filter(kind="answered").exists()
    assert guest.read(recipient).status_code in (303, 404, 410)


# What is taken


def test_an_answer_is_one_sealed_message_that_reads_back_octet_for_octet(
    ground: Ground, recipient: Recipient, guest: Visitor
) -> None:
    text = "Geachte afzender,\r\n\r\nAkkoord. €\r\n.\r\nFrom hier\r\n"
    response = guest.answer(recipient, text, ("één – twee.pdf", LARGE), ("leeg.txt", b""))
    assert response.status_code == 303
    assert "Your answer was sent safely." in words(guest.read(recipient))
    message = Message.objects.get(answered_by=recipient)
    octets = ground.content_of(message)
    parsed = email.message_from_bytes(octets, policy=default)
    assert parsed["From"] == '"Ontvanger, de" <ontvanger@example.org>'
    assert parsed["To"] == "Balie Poli 4 <balie@voorbeeld.test>"
    assert parsed["Subject"] == f"Re: Uitslag {MARKER}"
    assert parsed["In-Reply-To"] == parsed["References"] and "@voorbeeld.test>" in parsed["In-Reply-To"]
    parts = [part for part in parsed.walk() if not part.is_multipart()]
    assert [part.get_filename() for part in parts] == ["één – twee.pdf", "leeg.txt", None]
    assert parts[0].get_payload(decode=True) == LARGE
    assert parts[1].get_payload(decode=True) == b""
    assert parts[2].get_payload(decode=True) == text.encode()
    assert max(map(len, octets.split(b"\r\n"))) <= 998 and b"\n" not in octets.replace(b"\r\n", b"")


def test_its_index_is_that_of_its_octets(ground: Ground, recipient: Recipient, guest: Visitor) -> None:
    guest.answer(recipient, "tekst", ("a.bin", LARGE), ("b.bin", b"x" * 57))
    message = Message.objects.get(answered_by=recipient)
    octets = ground.content_of(message)
    key = ground.unsealer.message_key(message, ground.unsealer.conversation_key(message.conversation))
    head = ground.unsealer.head(message.content, key)
    header, body = octets[: message.content.header_size], octets[message.content.header_size :]
    assert header.endswith(b"\r\n\r\n") and header.count(b"\r\n\r\n") == 1
    indexer = MimeIndexer(header[:-2], len(header))
    indexer.feed(body)
    assert head.parts == indexer.finish()


def test_a_double_click_is_one_answer_and_one_mail(ground: Ground, recipient: Recipient, guest: Visitor) -> None:
    nonce = str(uuid.uuid4())
    for _ in range(3):
        assert guest.answer(recipient, "x", ("a.bin", LARGE), nonce=nonce).status_code == 303
    assert Message.objects.filter(answered_by=recipient).count() == 1
    assert Job.objects.filter(kind="answered").count() == 1
    assert len(blobs(ground)) == 1


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("met correctie", [("a.bin", LARGE)]),
        ("x", [("a.bin", LARGE[:-1] + b"!")]),
        ("x", [("a.bin", LARGE), ("b.bin", b"b")]),
        ("x", []),
    ],
)
def test_what_was_changed_after_it_arrived_is_not_said_to_be_sent(
    ground: Ground, recipient: Recipient, guest: Visitor, text: str, files: list[tuple[str, bytes]]
) -> None:
    """The reply to the first was lost on the way: the form is the same, and what is in it isn't."""
    nonce = str(uuid.uuid4())
    assert guest.answer(recipient, "x", ("a.bin", LARGE), nonce=nonce).status_code == 303
    guest.read(recipient)
    refused = guest.answer(recipient, text, *files, nonce=nonce)
    assert refused.status_code == 409
    assert "was not sent: send it once more" in words(refused) and "sent safely" not in words(refused)
    page = refused.content.decode()
    assert text in page
    (anew,) = set(re.findall(r'name="nonce" value="([^"]+)"', page))
    assert anew != nonce and len(blobs(ground)) == 1
    assert guest.answer(recipient, text, *files, nonce=anew).status_code == 303
    assert Message.objects.filter(answered_by=recipient).count() == 2


@pytest.mark.django_db(transaction=True)
def test_two_clicks_at_the_same_moment_are_one_answer(ground: Ground) -> None:
    recipient = ground.recipient(ground.conversation(mail()))
    visitor = Visitor(ground)
    visitor.open(recipient, ground.link(recipient))
    cookies, nonce, found = visitor.client.cookies, str(uuid.uuid4()), []

    def click() -> None:
        again = Visitor(ground)
        again.client.cookies = cookies
        try:
            octets = form(("nonce", nonce), ("text", "x"), ("files", "a.bin", LARGE))
            page = again.page("guest-answer", recipient)
            found.append(again.client.post(page, octets, content_type=TYPE).status_code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=click) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == [303] * 4
    assert Message.objects.filter(answered_by=recipient).count() == 1
    assert Content.objects.count() == 2 and len(blobs(ground)) == 1
    assert len(ground.rings) == 2  # for the code and for the answer


def test_nobody_answers_under_the_name_of_who_is_written_almost_alike(ground: Ground) -> None:
    names = (("Weg ermee", "geen adres"), ("Een", "gross@example.org"), ("Ander", "GRO\u1e9e@example.org"))
    head = Head("", "", "", names, (), "", "", ())
    recipient = ground.recipient(ground.conversation(mail()), "groß@example.org")
    assert answerer_name(recipient, head) == "Ander"


def test_others_in_the_conversation_read_the_answer(ground: Ground, recipient: Recipient, guest: Visitor) -> None:
    second = ground.recipient(recipient.conversation, "tweede@example.org")
    other = Visitor(ground)
    other.open(second, ground.link(second))
    guest.answer(recipient, "Voor allen")
    page = other.read(second)
    assert "Voor allen" in words(page) and "message-own" not in page.content.decode()
    assert "message-own" in guest.read(recipient).content.decode()


@pytest.mark.parametrize("kind", ["message/rfc822", "multipart/mixed", "x\r\nX: y", "", "TEXT/HTML"])
def test_a_file_can_name_no_type_that_opens_the_message(
    ground: Ground, recipient: Recipient, guest: Visitor, kind: str
) -> None:
    upload = io.BytesIO(b"From: x@y.test\r\n\r\n--\r\n")
    upload.name, upload.content_type = "a.eml", kind  # type: ignore[attr-defined]
    values = {"nonce": str(uuid.uuid4()), "text": "x", "files": upload}
    guest.client.post(guest.page("guest-answer", recipient), values)
    found = Message.objects.filter(answered_by=recipient)
    for message in found:
        key = ground.unsealer.message_key(message, ground.unsealer.conversation_key(message.conversation))
        head = ground.unsealer.head(message.content, key)
        assert [part.path for part in head.parts] == [(), (0,), (1,)]
        assert head.parts[1].type in ("application/octet-stream", "text/html")


# Nothing in clear on a disk (P17)


def test_no_octet_of_an_upload_is_on_a_disk_in_clear(
    ground: Ground, recipient: Recipient, guest: Visitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked for while it comes, in the temporary folder, in the data folder, and behind every open file."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    marker = b"MARKER-" + os.urandom(8).hex().encode()
    content = (marker * 40_000)[:1_200_000]
    found: list[str] = []

    def look() -> None:
        needles = [marker, *(base64.b64encode(b"x" * n + marker * 2)[8:20] for n in range(3))]
        for folder in (temporary, ground.folder):
            for path in folder.rglob("*"):
                if path.is_file() and any(needle in path.read_bytes() for needle in needles):
                    found.append(str(path))
        for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
            with contextlib.suppress(OSError):  # the one with which the list was made
                if stat.S_ISREG(os.fstat(descriptor).st_mode) and os.fstat(descriptor).st_nlink == 0:
                    found.extend(["unlinked"] if marker in os.pread(descriptor, 10_000_000, 0) else [])

    octets = form(("nonce", str(uuid.uuid4())), ("text", marker.decode()), ("files", "a.txt", content))
    read = _Body(octets, at_each=look, every=10)
    response = send(guest, recipient, read, length=len(octets))
    assert response.status_code == 303 and read.looked > 3
    look()
    assert found == [] and list(temporary.iterdir()) == []
    assert len(blobs(ground)) == 1
    assert marker.decode() not in "\n".join(dump())
    message = Message.objects.get(answered_by=recipient)
    file = ground.content_of(message).split(b"\r\n\r\n")[2].partition(b"\r\n--")[0]
    assert base64.b64decode(file) == content


def test_equal_answers_have_different_octets_at_rest(ground: Ground, recipient: Recipient, guest: Visitor) -> None:
    for _ in range(2):
        guest.answer(recipient, "Hetzelfde")
    first, second = Content.objects.filter(message__answered_by=recipient)
    assert bytes(first.sealed or b"")[8:] != bytes(second.sealed or b"")[8:]


class _Body(io.RawIOBase):
    """A request body that tells what was read of it."""

    def __init__(self, octets: bytes, at_each: Any = None, every: int = 1) -> None:
        self.octets, self.given, self._reads, self.looked = octets, 0, 0, 0
        self._at_each, self._every = at_each, every

    def read(self, size: int = -1) -> bytes:
        size = len(self.octets) if size is None or size < 0 else min(size, 16_384)
        piece = self.octets[self.given : self.given + size]
        self.given += len(piece)
        self._reads += 1
        if self._at_each and self._reads % self._every == 0:
            self.looked += 1
            self._at_each()
        return piece
