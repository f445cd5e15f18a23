"""Pages to look at what arrived: local mailboxes, text messages and the ways to sign in. Read-only, on loopback.

What a stranger wrote is escaped, or stands in a sandboxed frame that runs nothing and fetches nothing. A name server
that points somebody's web site at this machine (DNS rebinding) meets a refusal: only our own names are answered.
"""

from __future__ import annotations

import json
import re
import shutil
import socketserver
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final, assert_never
from urllib.parse import quote, unquote

from zegel.core.clock import Instant
from zegel.local.appearance import (
    CURRENT,
    FRAME,
    LINE,
    MAILBOX,
    MAILBOXES,
    MESSAGE,
    MESSAGES,
    NOTHING_YET,
    SIGN_IN,
    SIGN_INS,
    STYLE,
    Html,
    joined,
    markup,
)
from zegel.local.folders import NO_TLS, mailbox_folders, mailbox_of, messages
from zegel.local.loopback import loopback
from zegel.local.reading import Attachment, Reading, Unreadable, arrived, first, printable, read, summary

SignIn = tuple[str, str, str, str]
"""Label, address, password, and the TOTP code of this moment."""
Link = tuple[str, str]
"""Label and URL."""

_OWN_NAMES: Final = frozenset({"localhost", "127.0.0.1"})
_HOST: Final = re.compile(r"([A-Za-z0-9.-]+)(?::\d{1,5})?")
_URL: Final = re.compile(r"https?://[^\s<>\"']+[^\s<>\"'.,;:!?)\]}]")
_REFRESH: Final = 5  # seconds
_LONGEST_LIST: Final = 200
_LARGEST_SMS: Final = 64 * 1024  # octets
_FIELDS: Final = (
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "Return-Path",
    "Delivered-To",
)

# Inherited by the frame with a message's HTML, where it means: no scripts, no remote anything.
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SANDBOX: Final = "allow-popups allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation"
_HEADER_FIELDS: Final = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("X-DNS-Prefetch-Control", "off"),
    ("Cache-Control", "no-store"),
    ("Connection", "close"),
)


@dataclass(frozen=True, slots=True)
class Page:
    """A page in the common frame; a list looks again by itself."""

    title: str
    body: Html
    tab: str = "mail"
    refreshes: bool = False
    status: HTTPStatus = HTTPStatus.OK


@dataclass(frozen=True, slots=True)
class Download:
    """Octets that no browser interprets."""

    name: str
    octets: bytes


@dataclass(frozen=True, slots=True)
class Source:
    """A message as it stands in its file, shown as text."""

    path: Path


Answer = Page | Download | Source


@dataclass(frozen=True, slots=True)
class Sms:
    """A text message that would have been sent."""

    to: str
    text: str
    at: str


@dataclass(frozen=True, slots=True)
class _Site:
    """What there is to see. No path is ever made from a request: what is asked for is looked up in a listing."""

    mail: Path
    sms: Path
    sign_ins: Callable[[], Sequence[SignIn]]
    links: Sequence[Link]

    def answer(self, target: str) -> Answer:
        """The page for a request target (RFC 9112 §3.2.1)."""
        segments = [unquote(segment) for segment in target.partition("?")[0].split("/")[1:]]
        match segments:
            case [""]:
                return self._overview()
            case ["mail", mailbox]:
                return self._mailbox(mailbox)
            case ["mail", mailbox, message]:
                return self._message(mailbox, message)
            case ["mail", mailbox, message, "source"]:
                path = self._find(mailbox, message)
                return Source(path) if path else _not_found()
            case ["mail", mailbox, message, "part", number]:
                return self._part(mailbox, message, number)
            case ["sms"]:
                return self._text_messages()
            case ["codes"]:
                return self._codes()
            case _:
                return _not_found()

    def frame(self, page: Page) -> Html:
        """The whole document."""
        return markup(
            FRAME,
            markup('<meta http-equiv="refresh" content="{}">', _REFRESH) if page.refreshes else "",
            page.title,
            Html(STYLE),
            *(CURRENT if page.tab == tab else "" for tab in ("mail", "sms", "codes")),
            joined(markup('<a href="{}">{}</a>', url, label) for label, url in self.links),
            page.body,
        )

    def _overview(self) -> Page:
        rows = [_mailbox_row(folder) for folder in mailbox_folders(self.mail)]
        table = markup(MAILBOXES, joined(rows)) if rows else NOTHING_YET
        return Page("Mail", markup("<h1>Mail</h1>{}", table), refreshes=True)

    def _mailbox(self, mailbox: str) -> Page:
        folder = self._folder(mailbox)
        if folder is None:
            return _not_found()
        found = messages(folder)
        rows = [_message_row(folder, path) for path in found[:_LONGEST_LIST]]
        rest = len(found) - len(rows)
        body = markup(
            '<p class="crumb"><a href="/">Mail</a></p><h1>{}</h1>{}{}',
            mailbox,
            markup(MESSAGES, joined(rows)) if rows else NOTHING_YET,
            markup("<p>{} older messages are not shown.</p>", rest) if rest else "",
        )
        return Page(mailbox, body, refreshes=True)

    def _message(self, mailbox: str, message: str) -> Page:
        path = self._find(mailbox, message)
        if path is None:
            return _not_found()
        reading = read(path)
        here = _address("mail", mailbox, message)
        subject = first(reading.fields, "Subject") or "(no subject)"
        body = markup(
            MESSAGE,
            _address("mail", mailbox),
            mailbox,
            subject,
            _badge(reading.transport),
            _field_table([("Received", _moment(arrived(path))), *_interesting(reading.fields)]),
            _content(reading, here),
            _field_table(reading.fields),
            here + "/source",
        )
        return Page(subject, body)

    def _part(self, mailbox: str, message: str, number: str) -> Answer:
        path = self._find(mailbox, message)
        reading = read(path) if path else None
        if isinstance(reading, Reading):
            for attachment in reading.attachments:
                if str(attachment.number) == number:
                    return Download(attachment.name, attachment.octets)
        return _not_found()

    def _text_messages(self) -> Page:
        found, unreadable = _read_sms(self.sms)
        rows = joined(
            markup(
                '<article class="sms"><header><b>{}</b> {}</header>{}</article>',
                sms.to,
                _when(sms.at),
                _lines(sms.text),
            )
            for sms in found[:_LONGEST_LIST]
        )
        body = markup(
            "<h1>SMS</h1>{}{}",
            rows or markup('<p class="empty">No text message has been sent yet.</p>'),
            markup("<p>{} files in the outbox could not be read.</p>", unreadable) if unreadable else "",
        )
        return Page("SMS", body, "sms", refreshes=True)

    def _codes(self) -> Page:
        rows = joined(markup(SIGN_IN, *each) for each in self.sign_ins())
        table = markup(SIGN_INS, rows) if rows else markup('<p class="empty">There is nobody to sign in as.</p>')
        return Page("Sign-ins", markup("<h1>Sign-ins</h1>{}", table), "codes", refreshes=True)

    def _folder(self, mailbox: str) -> Path | None:
        return next((each for each in mailbox_folders(self.mail) if mailbox_of(each.name) == mailbox), None)

    def _find(self, mailbox: str, message: str) -> Path | None:
        folder = self._folder(mailbox)
        return next((each for each in messages(folder) if each.stem == message), None) if folder else None


def _not_found() -> Page:
    body = markup('<h1>Not here</h1><p>There is no such page. <a href="/">To the mail</a></p>')
    return Page("Not here", body, status=HTTPStatus.NOT_FOUND)


def _address(*segments: str) -> str:
    return "".join("/" + quote(segment, safe="@") for segment in segments)


def _mailbox_row(folder: Path) -> Html:
    found, mailbox = messages(folder), mailbox_of(folder.name)
    newest = summary(found[0]) if found else None
    return markup(
        MAILBOX,
        _address("mail", mailbox),
        mailbox,
        len(found),
        newest.subject if newest else "",
        _moment(newest.arrived) if newest else "",
    )


def _message_row(folder: Path, path: Path) -> Html:
    line = summary(path)
    return markup(
        LINE,
        _address("mail", mailbox_of(folder.name), path.stem),
        line.subject or "(no subject)",
        line.author,
        _short_badge(line.transport),
        _moment(line.arrived),
    )


def _badge(transport: str) -> Html:
    if transport == NO_TLS:
        return markup('<span class="badge open">not encrypted</span>')
    return markup('<span class="badge closed">{}</span>', transport.replace(" ", " · ", 1))


def _short_badge(transport: str) -> Html:
    """For a list: the protocol; the cipher stands on the message's own page."""
    return _badge(transport.partition(" ")[0])


def _interesting(fields: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The fields a reader wants, then those that the gateway added or should have taken away."""
    wanted = [(name, value) for wish in _FIELDS for name, value in fields if name.lower() == wish.lower()]
    marks = ("x-zegel-", "zegel-", "zivver-")
    return wanted + [(name, value) for name, value in fields if name.lower().startswith(marks)]


def _field_table(fields: Iterable[tuple[str, object]]) -> Html:
    rows = joined(markup("<tr><th>{}</th><td><bdi>{}</bdi></td></tr>", name, value) for name, value in fields)
    return markup('<div class="scroll"><table class="fields">{}</table></div>', rows)


def _content(reading: Reading | Unreadable, here: str) -> Html:
    if isinstance(reading, Unreadable):
        return markup("<p>This message cannot be taken apart; its source is below.</p>")
    return joined(
        (
            _framed(reading.html) if reading.html is not None else Html(),
            markup("<h2>Text</h2>{}", _lines(reading.text)) if reading.text is not None else Html(),
            _attachments(reading.attachments, here),
        )
    )


def _framed(html: str) -> Html:
    """The doctype keeps the frame out of quirks mode; a link opens in place of this page."""
    document = f'<!doctype html><base target="_top">{html}'
    return markup(
        '<h2>HTML</h2><iframe title="HTML part" sandbox="{}" srcdoc="{}"></iframe>'
        '<p class="note">Nothing in this part runs, and images from elsewhere are not fetched.</p>',
        _SANDBOX,
        document,
    )


def _lines(text: str) -> Html:
    """Text as it is, with its links to be clicked."""
    pieces, end = [], 0
    for found in _URL.finditer(text):
        pieces += [markup("{}", text[end : found.start()]), markup('<a href="{}">{}</a>', found[0], found[0])]
        end = found.end()
    return markup("<pre>{}{}</pre>", joined(pieces), text[end:])


def _attachments(attachments: Sequence[Attachment], here: str) -> Html:
    if not attachments:
        return Html()
    lines = joined(
        markup(
            '<li><a href="{}" download>{}</a> <small>{}, {}</small></li>',
            f"{here}/part/{each.number}",
            each.name,
            each.kind,
            _size(len(each.octets)),
        )
        for each in attachments
    )
    return markup("<h2>Attachments</h2><ul>{}</ul>", lines)


def _size(octets: int) -> str:
    if octets < 1000:
        return f"{octets} bytes"
    return f"{octets / 1000:.1f} kB" if octets < 1_000_000 else f"{octets / 1_000_000:.1f} MB"


def _moment(instant: Instant | None) -> Html:
    if instant is None:
        return Html()
    here = instant.astimezone()
    return markup('<time datetime="{}">{}</time>', here.isoformat(), here.strftime("%Y-%m-%d %H:%M:%S"))


def _when(text: str) -> Html:
    try:
        return _moment(datetime.fromisoformat(text))
    except (ValueError, OverflowError, OSError):
        return markup("{}", text)


def _read_sms(folder: Path) -> tuple[list[Sms], int]:
    """The readable messages, newest first, and how many files were not."""
    found, unreadable = [], 0
    if folder.is_dir():
        for path in folder.iterdir():
            if path.suffix in {".txt", ".json"} and path.is_file() and not path.is_symlink():
                sms = _sms(path)
                found += [sms] if sms else []
                unreadable += not sms
    return sorted(found, key=lambda sms: sms.at, reverse=True), unreadable


def _sms(path: Path) -> Sms | None:
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_LARGEST_SMS))
        return Sms(*(printable(str(content[key])) for key in ("to", "text", "at")))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "Zegel"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 10  # seconds that a client may keep us waiting

    def do_GET(self) -> None:
        """One answer, then the connection ends."""
        if not self._is_for_us():
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        match self._answer():
            case Page() as page:
                self._send(page.status, "text/html; charset=utf-8", self.server.site.frame(page))
            case Download(name, octets):
                self._begin(HTTPStatus.OK, "application/octet-stream", len(octets), _attachment(name))
                self._write(octets)
            case Source(path):
                self._send_file(path)
            case unreachable:
                assert_never(unreachable)

    do_HEAD = do_GET  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """A fixed sentence: nothing of the request comes back."""
        status = HTTPStatus(code)
        self._send(status, "text/plain; charset=utf-8", f"{status.value} {status.phrase}\n")

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: paths name people."""

    def _answer(self) -> Answer:
        try:
            return self.server.site.answer(self.path)
        except FileNotFoundError:  # removed between the listing and the reading
            return _not_found()
        except Exception as cause:
            name = type(cause).__name__  # the kind alone: its text may quote a message
            body = markup("<h1>This page broke</h1><p>{}</p>", name)
            return Page("Broken", body, status=HTTPStatus.INTERNAL_SERVER_ERROR)

    def _is_for_us(self) -> bool:
        hosts = self.headers.get_all("Host", [])
        found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        return found is not None and found[1].lower() in _OWN_NAMES

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        octets = text.encode("utf-8", "replace")
        self._begin(status, kind, len(octets))
        self._write(octets)

    def _send_file(self, path: Path) -> None:
        with path.open("rb") as file:
            self._begin(HTTPStatus.OK, "text/plain; charset=utf-8", path.stat().st_size)
            if self.command != "HEAD":
                shutil.copyfileobj(file, self.wfile)

    def _begin(self, status: HTTPStatus, kind: str, length: int, *more: tuple[str, str]) -> None:
        self.close_connection = True
        self.send_response(status)
        for name, value in (*_HEADER_FIELDS, ("Content-Type", kind), ("Content-Length", str(length)), *more):
            self.send_header(name, value)
        self.end_headers()

    def _write(self, octets: bytes) -> None:
        if self.command != "HEAD":
            self.wfile.write(octets)


def _attachment(name: str) -> tuple[str, str]:
    """RFC 6266 §4.1, RFC 8187: percent-encoded, so that no character of a stranger's ends the parameter."""
    return "Content-Disposition", f"attachment; filename*=UTF-8''{quote(name, safe='')}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, site: _Site) -> None:
        self.site = site
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # Not HTTPServer's: it asks the resolver for this machine's name.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away, or a page that broke: the connection ends, and nothing of it is printed."""


@dataclass(frozen=True, slots=True)
class PageServer:
    """Running pages; :func:`serve_pages` makes them."""

    port: int
    _server: _Server
    _thread: threading.Thread

    def close(self) -> None:
        """When this returns, the port is free."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def serve_pages(
    mail_folder: Path,
    sms_folder: Path,
    host: str,
    port: int,
    sign_ins: Callable[[], Sequence[SignIn]],
    links: Sequence[Link],
) -> PageServer:
    """Serves in a thread of its own until :meth:`PageServer.close`; ``sign_ins`` is called there, for every look.

    Both folders may appear later. Raises ``NotLoopback``, or ``OSError`` when the port is taken.
    """
    server = _Server(loopback(host), port, _Site(mail_folder, sms_folder, sign_ins, links))
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="zegel-local-pages", daemon=True)
    thread.start()
    return PageServer(server.server_port, server, thread)
