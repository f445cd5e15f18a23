"""The way of one message, every part real: Postfix submits, DNS and TLS are looked at, Chromium opens.

One story in the order of its happening; each test is a chapter and builds on those before it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import quopri
import re
import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import FilePayload, Page, expect

from tests.interop.story import arrived, everything_in, link_in, parsed, sign_in, submit, words
from tests.needs import needs
from tests.peers import until
from tests.peers.chromium import Chromium, browser
from tests.peers.gateway import HOST, SENDER, SENDING_DOMAIN
from tests.peers.world import GUEST_DOMAIN, OPEN_DOMAIN, READABLE_DOMAIN, World, world

READER: Final = f"archief@{READABLE_DOMAIN}"
BY_SMS: Final = f"balie@{GUEST_DOMAIN}"
BLIND: Final = f"directie@{GUEST_DOMAIN}"
PHONE: Final = "+31612345678"
MARKER: Final = "Merkteken7f3a"  # in everything that must stay sealed
SUBJECT: Final = f"Uitslag {MARKER}onderwerp"
SENTENCE: Final = f"De uitslag is goed, {MARKER}tekst."
ANSWER: Final = f"Dank u wel, {MARKER}antwoord."
ACCESS_CODE: Final = f"{MARKER}toegang"
PDF: Final = b"%PDF-1.4\n" + MARKER.encode() + b"bestand\n%%EOF\n"
LARGE: Final = hashlib.sha256(b"large").digest() * 100_000  # 3.2 MB
PIXEL: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
ATTACHMENTS: Final = {f"{MARKER}rapport.pdf": PDF, "meting.bin": LARGE}


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    needs("chromium", "postfix")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with world() as found:
        yield found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    needs("chromium")
    with browser() as found:
        yield found


def first_message() -> EmailMessage:
    """Text and HTML, an inline image, a PDF and 3 MB."""
    message = EmailMessage()
    message["From"] = f"Afzender Voorbeeld <{SENDER}>"
    message["To"] = f"Archief <{READER}>"
    message["Cc"] = BY_SMS
    message["Bcc"] = BLIND
    message["Subject"] = SUBJECT
    message["Message-ID"] = f"<eerste@{SENDING_DOMAIN}>"
    message["zivver-access-right"] = f"{BY_SMS} sms {PHONE}"
    message.set_content(SENTENCE + "\n")
    message.add_alternative(f'<p>{SENTENCE}</p><img src="cid:pixel" alt="pixel">', subtype="html")
    html = message.get_payload(1)
    assert isinstance(html, EmailMessage)
    html.add_related(PIXEL, "image", "png", cid="<pixel>")
    for name, octets in ATTACHMENTS.items():
        message.add_attachment(octets, "application", name.rpartition(".")[2], filename=name)
    return message


def digest(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def downloaded(page: Page, name: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("link", name=name, exact=True).click()
    return digest(Path(download.value.path()).read_bytes())


# --- the first message --------------------------------------------------------------------------------------------


def test_a_listed_domain_gets_the_readable_message_over_verified_tls(running: World) -> None:
    submit(running, first_message(), [READER, BY_SMS, BLIND])
    (octets,) = arrived(running.secure, READER, f"<eerste@{SENDING_DOMAIN}>")
    message = parsed(octets)
    assert message["Subject"] == SUBJECT
    assert SENTENCE in words(octets)
    got = {part.get_filename(): part.get_payload(decode=True) for part in message.iter_attachments()}
    assert {name: digest(bytes(octets)) for name, octets in got.items() if name} == {
        name: digest(octets) for name, octets in ATTACHMENTS.items()
    }
    header = octets.partition(b"\n\n")[0].lower()
    assert b"zivver" not in header
    names = {line.partition(b":")[0] for line in header.split(b"\n")}
    assert not names & {b"bcc", b"resent-bcc"}  # as fields: three such letters stand in some identifiers by chance
    assert BLIND.encode() not in header
    assert b"using tlsv1.3" in header  # the receiving Postfix's own Received
    evidence = [one for one in running.gateway.evidence() if not one["blind"]]
    states = {one["address"]: one["state"] for one in evidence[0]["recipients"]}
    assert states[READER] == "delivered"


def test_its_dkim_signatures_are_valid_for_another_implementation(running: World) -> None:
    needs("python3-dkim")
    (octets,) = arrived(running.secure, READER, f"<eerste@{SENDING_DOMAIN}>")
    # what the receiving Postfix put before it is not part of it; line ends in a Maildir are LF
    wire = octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    records = {
        selector: next(text for text in _records(running) if f"k={kind};" in text).encode()
        for selector, kind in (("zegel", "rsa"), ("zegel-ed25519", "ed25519"))
    }
    script = (
        "import sys, dkim; found = dkim.DKIM(sys.stdin.buffer.read());"
        f"ask = lambda name, timeout=5: {records!r}[name.decode().partition('.')[0]];"
        "print(*(found.verify(idx=one, dnsfunc=ask) for one in range(2)))"
    )
    done = subprocess.run(["/usr/bin/python3", "-c", script], input=wire, capture_output=True, check=True)
    assert done.stdout.strip() == b"True True", done.stderr


def test_a_recipient_with_sms_opens_reads_downloads_and_answers(running: World, chromium: Chromium) -> None:
    (octets,) = arrived(running.secure, BY_SMS, "X-Zegel-Conversation")
    for hidden in (SENTENCE, MARKER, PHONE, "rapport.pdf"):
        assert hidden.encode() not in octets
        assert hidden not in words(octets)
    link = link_in(octets)
    with chromium.visit(java_script_enabled=False, locale="en-US") as visit:
        page = visit.page
        page.goto(link)
        assert "/m/" not in page.url
        expect(page.get_by_text(SENDER).first).to_be_visible()
        assert running.gateway.texts() == []  # nothing is sent before somebody asks
        page.get_by_role("button", name="Send me a code by text message").click()
        until(lambda: len(running.gateway.texts()) == 1)
        (text,) = running.gateway.texts()
        assert text["to"] == PHONE
        code = re.search(r"\b\d{6}\b", text["text"])
        assert code
        page.locator("input[autocomplete=one-time-code]").fill(code[0])
        page.get_by_role("button", name="Open the message").click()
        expect(page.get_by_role("heading", name=SUBJECT)).to_be_visible()
        expect(page.frame_locator("iframe").get_by_text(SENTENCE)).to_be_visible()
        image = page.frame_locator("iframe").get_by_alt_text("pixel")
        assert image.evaluate("image => image.naturalWidth") == 1
        for name, content in ATTACHMENTS.items():
            assert downloaded(page, name) == digest(content)
        page.get_by_role("textbox", name="Your answer").fill(ANSWER)
        page.get_by_label("Files").set_input_files(
            files=FilePayload(name=f"{MARKER}foto.jpg", mimeType="image/jpeg", buffer=LARGE[:1_000_000])
        )
        page.get_by_role("button", name="Send the answer").click()
        expect(page.get_by_text(ANSWER)).to_be_visible()
        assert all(url.startswith(running.gateway.url) for url in visit.requests)
    assert running.gateway.recipients()[BY_SMS]["state"] == "opened"
    assert running.gateway.recipients()[BY_SMS]["opened_with"] == "sms"


def test_the_sender_hears_of_the_answer_and_reads_it(running: World, chromium: Chromium) -> None:
    notices = arrived(running.sender, SENDER, f"zegel@{SENDING_DOMAIN}")
    notice = next(one for one in notices if BY_SMS in words(one))
    assert MARKER not in words(notice)
    with chromium.visit(java_script_enabled=False, locale="en-US") as visit:
        page = visit.page
        sign_in(page, running, SENDER)
        page.locator("li", has_text="Newest answer").get_by_role("link", name=SUBJECT).first.click()
        expect(page.get_by_text(ANSWER)).to_be_visible()
        assert downloaded(page, f"{MARKER}foto.jpg") == digest(LARGE[:1_000_000])


def test_the_blind_recipient_has_a_conversation_of_its_own_behind_an_email_code(
    running: World, chromium: Chromium
) -> None:
    (octets,) = arrived(running.secure, BLIND, "X-Zegel-Conversation")
    with chromium.visit(java_script_enabled=False, locale="en-US") as visit:
        page = visit.page
        page.goto(link_in(octets))
        page.get_by_role("button", name="Mail me a code").click()
        (mail,) = arrived(running.secure, BLIND, f"zegel@{SENDING_DOMAIN}")
        code = re.search(r"\b\d{3} ?\d{3}\b", words(mail))
        assert code
        page.locator("input[autocomplete=one-time-code]").fill(code[0].replace(" ", ""))
        page.get_by_role("button", name="Open the message").click()
        expect(page.get_by_role("heading", name=SUBJECT)).to_be_visible()
        assert ANSWER not in page.content()  # the answer belongs to the other conversation
        assert running.gateway.recipients()[BLIND]["opened_with"] == "email"
    conversations = [one for one in running.gateway.evidence() if one["message_id"] == f"<eerste@{SENDING_DOMAIN}>"]
    assert sorted((one["blind"], len(one["recipients"])) for one in conversations) == [(False, 2), (True, 1)]


def test_nothing_that_the_others_got_betrays_the_blind_recipient(running: World, chromium: Chromium) -> None:
    others = running.secure.mailbox(READER) + running.secure.mailbox(BY_SMS)
    assert len(others) >= 2
    for octets in others:
        assert b"directie" not in everything_in(octets).lower()
    with chromium.visit(java_script_enabled=False, locale="en-US") as visit:
        visit.page.goto(link_in(arrived(running.secure, BY_SMS, "X-Zegel-Conversation")[0]))
        assert "directie" not in visit.page.content().lower()


# --- the field, and the bounce ------------------------------------------------------------------------------------


def test_the_field_delivers_readable_where_the_level_is_met(running: World) -> None:
    message = EmailMessage()
    message["From"] = SENDER
    message["To"] = f"lezer@{GUEST_DOMAIN}"
    message["Message-ID"] = f"<tweede@{SENDING_DOMAIN}>"
    message["zivver-direct-delivery"] = "tls tls1.2 auth certificate-validation"
    message.set_content("Direct leesbaar.\n")
    submit(running, message, [f"lezer@{GUEST_DOMAIN}"])
    (octets,) = arrived(running.secure, f"lezer@{GUEST_DOMAIN}", f"<tweede@{SENDING_DOMAIN}>")
    assert "Direct leesbaar." in words(octets)


def test_a_server_without_tls_gets_nothing_and_the_sender_gets_a_report(running: World) -> None:
    recipient = f"iemand@{OPEN_DOMAIN}"
    message = EmailMessage()
    message["From"] = SENDER
    message["To"] = recipient
    message["Subject"] = "Derde bericht"
    message["Message-ID"] = f"<derde@{SENDING_DOMAIN}>"
    message["zivver-direct-delivery"] = "tls tls1.2 auth certificate-validation"
    message.set_content("Mag niet onbeveiligd.\n")
    submit(running, message, [recipient])
    (octets,) = arrived(running.sender, SENDER, "multipart/report")
    report = parsed(octets)
    assert report.get_content_type() == "multipart/report"
    assert recipient in words(octets)
    status = next(part for part in report.walk() if part.get_content_type() == "message/delivery-status")
    fields = status.as_string()
    assert "Action: failed" in fields
    assert re.search(r"Status: 5\.7\.[45]", fields)
    assert "Mag niet onbeveiligd" not in everything_in(octets).decode("utf-8", "replace")
    assert running.open.mailbox(recipient) == []
    assert running.gateway.recipients()[recipient]["state"] == "undeliverable"


# --- sealed -------------------------------------------------------------------------------------------------------


def test_an_access_code_message_passes_too(running: World) -> None:
    message = EmailMessage()
    message["From"] = SENDER
    message["To"] = f"code@{GUEST_DOMAIN}"
    message["Subject"] = f"{MARKER} vierde"
    message["zivver-access-right"] = f"code@{GUEST_DOMAIN} access-code {ACCESS_CODE}"
    message.set_content(SENTENCE)
    submit(running, message, [f"code@{GUEST_DOMAIN}"])
    arrived(running.secure, f"code@{GUEST_DOMAIN}", "X-Zegel-Conversation")


def test_no_marker_stands_anywhere_on_disk_in_any_encoding(running: World) -> None:
    """P17, after all of the above: database, WAL, blobs, keys, run, temporary folders and every log."""
    codes = [found[0] for text in running.gateway.texts() if (found := re.search(r"\b\d{6}\b", text["text"]))]
    assert codes
    forms = [form for secret in (MARKER, PHONE, PHONE[1:]) for form in encodings(secret)]
    looked_at = [path for path in running.gateway.folder.rglob("*") if path.is_file() and _is_ours(path, running)]
    names = {path.name for path in looked_at}
    assert "zegel.sqlite3" in names and "output" in names
    assert any(path.is_relative_to(running.gateway.state / "blobs") for path in looked_at)
    betrayed: list[str] = []
    for path in looked_at:
        octets = path.read_bytes()
        lower = octets.lower()
        betrayed += [f"{form!r} in {path}" for form in forms if form in octets or form.lower() in lower]
    assert betrayed == []


def encodings(secret: str) -> list[bytes]:
    """Raw, UTF-16, quoted-printable, hexadecimal, and base64 at each of its three alignments."""
    raw = secret.encode()
    forms = [raw, secret.encode("utf-16-le"), secret.encode("utf-16-be"), quopri.encodestring(raw), raw.hex().encode()]
    for lead in range(3):
        encoded = base64.b64encode(b"\0" * lead + raw)
        forms.append(encoded[4 if lead else 0 : len(raw) // 3 * 4])
    return forms


def test_the_search_for_markers_would_find_one(tmp_path: Path) -> None:
    for lead in range(3):
        text = base64.b64encode(b"x" * lead + MARKER.encode() + b"yyy")
        assert any(form in text for form in encodings(MARKER))


def _is_ours(path: Path, running: World) -> bool:
    """All but the stand-in for the telephone, which is outside."""
    return not path.is_relative_to(running.gateway.sms_folder)


def _records(running: World) -> list[str]:
    return [
        line.split(" ", 2)[2].strip('"')
        for line in (running.folder / "nsd" / "0.zone").read_text().replace('" "', "").splitlines()
        if " TXT " in line
    ] or [HOST]


def test_submission_starts_and_accepts_without_the_opening_key(running: World) -> None:
    """The process that talks to strangers can't read: it doesn't even look for the key."""
    key = running.gateway.state / "keys" / "opening.key"
    hidden = key.with_name("elsewhere")
    for pid in running.gateway.processes():
        maps = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"opening" not in maps
    key.rename(hidden)
    try:
        config = running.gateway.config.read_text().replace(f":{running.gateway.port}", ":0")
        port = _free()
        other = running.gateway.folder / "submission-only.toml"
        other.write_text(config.replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        process = subprocess.Popen(
            [running.gateway._command()[0], "-m", "zegel", "run", "--role", "submission", "--config", str(other)],
            env=running.gateway._environment(),
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: _accepts(port))
            assert running.gateway.credentials is not None
            with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
                client._host = "localhost"  # type: ignore[attr-defined]
                client.starttls(context=ssl.create_default_context(cafile=str(running.authority.certificate_path)))
                client.login(running.gateway.credentials.username, running.gateway.credentials.password)
                message = first_message()
                del message["Bcc"], message["zivver-access-right"], message["Message-ID"]
                client.send_message(message, SENDER, [f"later@{READABLE_DOMAIN}"])
        finally:
            process.terminate()
            process.wait(20)
    finally:
        hidden.rename(key)
    arrived(running.secure, f"later@{READABLE_DOMAIN}", SENDER)


def _free() -> int:
    from tests.peers import free_port

    return free_port()


def _accepts(port: int) -> bool:
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=1):
            return True
    except OSError:
        return False
