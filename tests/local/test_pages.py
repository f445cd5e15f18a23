"""The local pages, met by a browser that somebody else may have sent."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zegel.local.loopback import NotLoopback
from zegel.local.pages import PageServer, serve_pages
from zegel.local.reading import Reading, read, summary

MAILBOX = "ontvanger@voorbeeld.test"
NAME = "20260203T040506.000007Z-0123456789abcdef"
HOSTILE = "</title><script>alert('x')</script><img src=x onerror=alert(1)>\"'&"
SIGN_INS = [("balie <b>", "balie@voorbeeld.test", "pass&word", "123456")]
LINKS = [("Portal", "http://localhost:8000/?a=1&b=2")]


@dataclass
class Browser:
    server: PageServer
    mail: Path
    sms: Path

    def get(self, path: str, **fields: str) -> tuple[int, str]:
        request = Request(f"http://127.0.0.1:{self.server.port}{path}", headers=fields)
        try:
            with urlopen(request, timeout=5) as response:
                return response.status, response.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()

    def raw(self, octets: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=5) as client:
            client.sendall(octets)
            return b"".join(iter(lambda: client.recv(65536), b""))

    def receive(self, content: str | bytes, mailbox: str = MAILBOX, name: str = NAME, transport: str = "none") -> str:
        folder = self.mail / quote(mailbox, safe="@+=")
        folder.mkdir(parents=True, exist_ok=True)
        head = f"Return-Path: <afzender@example.org>\r\nDelivered-To: {mailbox}\r\nX-Local-Transport: {transport}\r\n"
        body = content if isinstance(content, bytes) else content.replace("\n", "\r\n").encode()
        (folder / f"{name}.eml").write_bytes(head.encode() + body)
        return f"/mail/{quote(mailbox, safe='@')}/{name}"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    mail, sms = tmp_path / "mail", tmp_path / "sms"
    server = serve_pages(mail, sms, "127.0.0.1", 0, lambda: SIGN_INS, LINKS)
    yield Browser(server, mail, sms)
    server.close()


class Tags(HTMLParser):
    """What a browser would see as elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def has_nothing_of_a_stranger(page: str) -> bool:
    tags = Tags(page)
    return (
        not tags.of("script")
        and not tags.of("img")
        and not any(key.startswith("on") for _, attributes in tags.found for key in attributes)
    )


# Who may ask, and for what


@pytest.mark.parametrize(
    "host", ["rebound.example.org", "127.0.0.1.example.org", "localhost@example.org", "[::1]", "", "localhost:x"]
)
def test_a_name_that_is_not_ours_is_not_answered(browser: Browser, host: str) -> None:
    browser.receive("Subject: geheim\n\n")
    status, body = browser.get("/", Host=host)
    assert status == 421
    assert MAILBOX not in body


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: example.org\r\n\r\n",
        b"GET http://localhost/ HTTP/1.1\r\nHost: example.org\r\n\r\n",
    ],
)
def test_a_request_without_one_host_is_not_answered(browser: Browser, request_head: bytes) -> None:
    assert b" 421 " in browser.raw(request_head).split(b"\r\n")[0]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:65535"])
def test_our_own_names_are_answered(browser: Browser, host: str) -> None:
    assert browser.get("/", Host=host)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "<script>"])
def test_nothing_can_be_changed(browser: Browser, method: str) -> None:
    answer = browser.raw(f"{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 501 ")
    assert b"script" not in answer


def test_garbage_is_refused_without_an_echo(browser: Browser) -> None:
    answer = browser.raw(b"<script>alert(1)</script>\r\n\r\n")
    assert b"script" not in answer


@pytest.mark.parametrize(
    "path",
    [
        "/mail/..",
        "/mail/../..",
        "/mail/%2e%2e",
        "/mail/%2e%2e%2f%2e%2e%2fetc",
        "/mail/..%2fsecret@voorbeeld.test",
        f"/mail/{MAILBOX}/..",
        f"/mail/{MAILBOX}/%2e%2e%2foutside",
        f"/mail/{MAILBOX}/..%2F..%2Foutside/source",
        f"/mail/{MAILBOX}/.%00/source",
        f"/mail/{MAILBOX}/linked/source",
        f"/mail/{MAILBOX}/.hidden/source",
        f"/mail/{MAILBOX}/{NAME}/part/../source",
        f"/mail/{MAILBOX}/{NAME}/part/-1",
        f"/mail/{MAILBOX}/{NAME}/part/99",
        f"/mail/{MAILBOX}/{NAME}.eml/source",
        "/mail/linked@voorbeeld.test",
        "/mail/niemand@voorbeeld.test",
        "/sms/..%2foutside",
        "/%00",
        "//mail",
        "/favicon.ico",
    ],
)
def test_a_path_leads_nowhere_but_to_what_is_listed(browser: Browser, path: str) -> None:
    browser.receive("Subject: a\n\nb")
    outside = browser.mail.parent / "outside.eml"
    outside.write_text("secret of the operator")
    (browser.mail / MAILBOX / "linked.eml").symlink_to(outside)
    (browser.mail / MAILBOX / ".hidden.eml").write_text("secret of the operator")
    (browser.mail / "linked@voorbeeld.test").symlink_to(browser.mail.parent)
    (browser.mail.parent / "secret@voorbeeld.test").mkdir()
    status, body = browser.get(path)
    assert status == 404
    assert "secret of the operator" not in body


def test_a_file_name_from_elsewhere_does_not_break_the_list(browser: Browser) -> None:
    browser.receive("Subject: a\n\nb")
    for name in (b"\xff@voorbeeld.test", f"{MAILBOX}/\N{EURO SIGN}".encode()):
        (browser.mail / os.fsdecode(name)).mkdir()
    (browser.mail / MAILBOX / os.fsdecode(b"\xff.eml")).write_bytes(b"")
    assert browser.get("/")[0] == 200
    assert browser.get(f"/mail/{MAILBOX}")[0] == 200


def test_every_answer_carries_the_policy(browser: Browser) -> None:
    place = browser.receive("Subject: a\n\nb")
    for path in ("/", "/sms", "/codes", place, place + "/source", "/nowhere"):
        connection = http.client.HTTPConnection("127.0.0.1", browser.server.port, timeout=5)
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert "script-src" not in response.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        connection.close()


def test_a_head_request_gets_no_body(browser: Browser) -> None:
    for path in ("/", browser.receive("Subject: a\n\nb") + "/source"):
        answer = browser.raw(f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n\r\n")


def test_pages_stand_on_loopback_only(tmp_path: Path) -> None:
    with pytest.raises(NotLoopback):
        serve_pages(tmp_path, tmp_path, "0.0.0.0", 0, list, [])


# What strangers write


def test_hostile_text_is_only_text_everywhere(browser: Browser) -> None:
    mailbox = '<i>"a&b"@voorbeeld.test'
    place = browser.receive(
        f"From: {HOSTILE}\nTo: {HOSTILE}\nSubject: {HOSTILE}\nX-Zegel-{HOSTILE.replace(' ', '')}: a\n\n{HOSTILE}",
        mailbox=mailbox,
        transport=HOSTILE,
    )
    browser.sms.mkdir()
    (browser.sms / "1.json").write_text(json.dumps({"to": HOSTILE, "text": HOSTILE, "at": HOSTILE}))
    for path in ("/", f"/mail/{quote(mailbox, safe='@')}", place, "/sms", "/codes"):
        status, page = browser.get(path)
        assert status == 200
        assert has_nothing_of_a_stranger(page)
    assert "balie &lt;b&gt;" in page


def test_an_encoded_subject_is_decoded_first_and_escaped_then(browser: Browser) -> None:
    place = browser.receive("Subject: =?utf-8?q?=3Cscript=3Ealert=281=29=3C=2Fscript=3E_=E2=82=AC?=\n\n")
    _, page = browser.get(place)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; €" in page
    assert has_nothing_of_a_stranger(page)


def test_html_stands_in_a_frame_that_runs_nothing(browser: Browser) -> None:
    html = f"<p>Dag</p>{HOSTILE}</iframe><a href='http://localhost:8000/x'>Open</a>"
    _, page = browser.get(browser.receive(f"Subject: a\nContent-Type: text/html; charset=utf-8\n\n{html}"))
    assert has_nothing_of_a_stranger(page)
    (frame,) = Tags(page).of("iframe")
    assert frame["sandbox"] == ("allow-popups allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation")
    inside = frame["srcdoc"] or ""
    assert inside.startswith('<!doctype html><base target="_top">')
    assert inside.endswith(html)


def test_a_message_cannot_claim_a_transport(browser: Browser) -> None:
    place = browser.receive("X-Local-Transport: TLSv1.3 TLS_AES_256_GCM_SHA384\nSubject: a\n\n")
    for path in (place, place.rpartition("/")[0]):
        _, page = browser.get(path)
        assert "not encrypted" in page
        assert '<span class="badge closed">' not in page


def test_only_links_to_the_web_become_links(browser: Browser) -> None:
    text = "javascript:alert(1) data:text/html,x http://localhost:8000/m/a?b=1&c=2. <https://example.org/(x)>"
    _, page = browser.get(browser.receive(f"Subject: a\n\n{text}"))
    targets = [link["href"] for link in Tags(page.partition("<pre>")[2].partition("</pre>")[0]).of("a")]
    assert targets == ["http://localhost:8000/m/a?b=1&c=2", "https://example.org/(x"]


def test_an_attachment_is_handed_out_as_octets_under_a_harmless_name(browser: Browser) -> None:
    place = browser.receive(
        "Subject: a\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b\n"
        "Content-Type: text/html\n"
        "Content-Disposition: attachment; filename*=utf-8''..%2F..%2Fa%22%0D%0AX-Evil%3A%201%E2%82%AC.html\n"
        "Content-Transfer-Encoding: base64\n\nPHNjcmlwdD4=\n--b--\n"
    )
    _, page = browser.get(place)
    assert has_nothing_of_a_stranger(page)
    target = next(link["href"] for link in Tags(page).of("a") if "/part/" in (link["href"] or ""))
    with urlopen(f"http://127.0.0.1:{browser.server.port}{target}", timeout=5) as response:
        assert response.read() == b"<script>"
        assert response.headers["Content-Type"] == "application/octet-stream"
        assert "X-Evil" not in response.headers
        disposition = response.headers["Content-Disposition"]
    assert re.fullmatch(r"attachment; filename\*=UTF-8''[A-Za-z0-9._%-]+", disposition)
    assert "/" not in disposition and "%2F" not in disposition


def test_an_image_of_the_message_itself_is_shown_and_one_from_elsewhere_is_left_alone(browser: Browser) -> None:
    place = browser.receive(
        "Subject: a\nContent-Type: multipart/related; boundary=b\n\n--b\nContent-Type: text/html\n\n"
        "<img src='cid:logo@voorbeeld.test'><img src='https://example.org/pixel'><img src=cid:unknown>\n--b\n"
        "Content-Type: image/png\nContent-ID: <logo@voorbeeld.test>\n"
        "Content-Transfer-Encoding: base64\n\niVBORw0K\n--b--\n"
    )
    inside = Tags(browser.get(place)[1]).of("iframe")[0]["srcdoc"] or ""
    assert [image["src"] for image in Tags(inside).of("img")] == [
        "data:image/png;base64,iVBORw0K",
        "https://example.org/pixel",
        "cid:unknown",
    ]


def nested(levels: int) -> bytes:
    start = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(levels))
    return b"Subject: diep\r\n" + start + b"\r\nbodem\r\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n",
        b"no header at all",
        b"Subject: \xff\xfe\x00\x1b[31m\r\n\r\n\xff",
        b"Subject: =?nonsense?q?abc?= =?utf-8?b?!!!?= =?utf-8?q?=ZZ?=\r\n\r\n",
        b"Subject: a\r\nContent-Type: text/html; charset=nonsense\r\n\r\n<p>",
        b'Subject: a\r\nContent-Type: text/plain; charset="\0"\r\n\r\nx',
        b"Subject: a\r\nContent-Type: text/plain; charset=punycode\r\n\r\n\xff\xff",
        b"Subject: a\r\nContent-Type: multipart/mixed\r\n\r\nno boundary",
        b"Subject: a\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n",
        b"Subject: a\r\nContent-Transfer-Encoding: base64\r\n\r\n%%%=",
        b"Subject: a\r\nContent-Type: message/rfc822\r\n\r\nSubject: b\r\n\r\nc",
        b"Subject: a\r\nContent-Type: message/delivery-status\r\n\r\nA: b\r\n\r\nC: d\r\n",
        b"Subject: a\r\nContent-Disposition: attachment; filename*0*=x''%ff; filename*1=\"\"\r\n\r\nx",
        b"X" * 300_000 + b"\r\n\r\n",
        nested(100),
        nested(3000),
    ],
    ids=range(17),
)
def test_odd_mail_makes_a_page_and_a_line_in_the_list(browser: Browser, content: bytes) -> None:
    place = browser.receive(content)
    for path in (place, place.rpartition("/")[0], "/"):
        assert browser.get(path)[0] == 200
    with urlopen(f"http://127.0.0.1:{browser.server.port}{place}/source", timeout=5) as response:
        assert response.read().endswith(content)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"]))
def test_no_octets_make_the_reader_raise(tmp_path_factory: pytest.TempPathFactory, noise: bytes, start: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.eml"
    path.write_bytes(start + noise)
    read(path)
    summary(path)


# What a person sees


def test_an_empty_world_says_so(browser: Browser) -> None:
    for path, words in (("/", "Nothing has arrived yet"), ("/sms", "No text message has been sent yet")):
        status, page = browser.get(path)
        assert status == 200
        assert words in page


def test_mailboxes_and_messages_are_listed_newest_first(browser: Browser) -> None:
    browser.receive("Subject: oudste\nFrom: afzender@example.org\n\n", name="20260101T000000.000000Z-ff")
    place = browser.receive(
        "Subject: nieuwste\n\n", name="20260102T000000.000000Z-00", transport="TLSv1.3 TLS_AES_256_GCM_SHA384"
    )
    _, overview = browser.get("/")
    assert MAILBOX in overview and "nieuwste" in overview and "oudste" not in overview
    _, mailbox = browser.get(f"/mail/{MAILBOX}")
    assert mailbox.index("nieuwste") < mailbox.index("oudste")
    assert "TLSv1.3" in mailbox and "not encrypted" in mailbox
    assert "TLSv1.3 · TLS_AES_256_GCM_SHA384" in browser.get(place)[1]
    assert "afzender@example.org" in mailbox
    assert place in [link["href"] for link in Tags(mailbox).of("a")]


def test_a_message_that_is_still_being_written_is_not_listed(browser: Browser) -> None:
    browser.receive("Subject: half\n\n", name=".incoming-1")
    assert "half" not in browser.get(f"/mail/{MAILBOX}")[1]


def test_a_message_shows_its_fields_and_both_texts(browser: Browser) -> None:
    place = browser.receive(
        "From: Balie <balie@voorbeeld.test>\nSubject: =?utf-8?b?w6l0w6k=?=\nX-Zegel-Conversation: 7\n"
        "Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/plain; charset=iso-8859-1\n"
        "Content-Transfer-Encoding: quoted-printable\n\ncaf=E9\n--b\nContent-Type: text/html\n\n<p>koffie</p>\n--b--\n",
    )
    _, page = browser.get(place)
    for words in (
        "Balie &lt;balie@voorbeeld.test&gt;",
        "<h1><bdi>été</bdi></h1>",
        "X-Zegel-Conversation",
        "café",
        "koffie",
    ):
        assert words in page
    assert "&lt;afzender@example.org&gt;" in page


def test_a_mailbox_with_a_slash_has_its_own_page(browser: Browser) -> None:
    place = browser.receive("Subject: a\n\ninhoud", mailbox="a/../b@voorbeeld.test")
    assert "inhoud" in browser.get(place)[1]
    assert place in browser.get(place.rpartition("/")[0])[1]


def test_text_messages_are_shown_newest_first_and_broken_files_are_counted(browser: Browser) -> None:
    browser.sms.mkdir()
    for name, at in (("b.json", "2026-01-01T10:00:00+00:00"), ("a.txt", "2026-01-02T10:00:00+00:00")):
        (browser.sms / name).write_text(json.dumps({"to": "+31612345678", "text": f"Code uit {name}", "at": at}))
    for name, content in (("c.json", "{"), ("d.json", "[]"), ("e.json", '{"to": 1}'), ("f.json", "[" * 60_000)):
        (browser.sms / name).write_text(content)
    (browser.sms / "g.bin").write_text("not a text message")
    _, page = browser.get("/sms")
    assert page.index("Code uit a.txt") < page.index("Code uit b.json")
    assert "4 files in the outbox could not be read" in page


def test_sign_ins_and_links_are_what_the_caller_says(browser: Browser) -> None:
    _, page = browser.get("/codes")
    for words in ("balie@voorbeeld.test", "pass&amp;word", "123456", 'href="http://localhost:8000/?a=1&amp;b=2"'):
        assert words in page


def test_a_broken_sign_in_list_breaks_that_page_alone(tmp_path: Path) -> None:
    def broken() -> list[tuple[str, str, str, str]]:
        raise LookupError("secret")

    server = serve_pages(tmp_path, tmp_path, "127.0.0.1", 0, broken, [])
    try:
        browser = Browser(server, tmp_path, tmp_path)
        status, page = browser.get("/codes")
        assert status == 500
        assert "secret" not in page
        assert browser.get("/")[0] == 200
    finally:
        server.close()


def test_lists_look_again_by_themselves_and_a_message_does_not(browser: Browser) -> None:
    place = browser.receive("Subject: a\n\n")
    for path in ("/", "/sms", "/codes", f"/mail/{MAILBOX}"):
        assert {"http-equiv": "refresh", "content": "5"} in Tags(browser.get(path)[1]).of("meta")
    assert "http-equiv" not in browser.get(place)[1]


def test_a_text_message_field_of_another_type_is_shown_as_text(browser: Browser) -> None:
    browser.sms.mkdir()
    (browser.sms / "a.json").write_text('{"to": 31612345678, "text": ["x"], "at": null}')
    assert "31612345678" in browser.get("/sms")[1]


def test_after_closing_the_port_is_free(tmp_path: Path) -> None:
    server = serve_pages(tmp_path, tmp_path, "127.0.0.1", 0, list, [])
    server.close()
    serve_pages(tmp_path, tmp_path, "127.0.0.1", server.port, list, []).close()


def test_a_reading_keeps_every_part(browser: Browser) -> None:
    browser.receive(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n\neerste\n--b\n\ntweede\n--b\n"
        "Content-Type: message/rfc822\n\nSubject: binnen\n\nin\n--b--\n"
    )
    reading = read(browser.mail / MAILBOX / f"{NAME}.eml")
    assert isinstance(reading, Reading)
    assert reading.text == "eerste"
    assert [each.kind for each in reading.attachments] == ["text/plain", "message/rfc822"]
    assert b"Subject: binnen" in reading.attachments[1].octets
