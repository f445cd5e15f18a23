"""The ground of these tests: a gateway that is set up once and copied, a receiving server that can misbehave, messages.

DNS and receiving server are small ones here, because a test has to stop them, or to make them stall, at a moment.
"""

from __future__ import annotations

import base64
import email
import email.policy
import http.client
import re
import shutil
import smtplib
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

from tests.local.running import Loop
from tests.peers import free_port, until
from tests.peers.gateway import HOST, SENDER, SENDING_DOMAIN, Credentials, Gateway
from zegel.local import dns
from zegel.local.authority import LocalAuthority

GUEST_DOMAIN: Final = "ontvanger.test"
GUEST: Final = f"balie@{GUEST_DOMAIN}"
MX: Final = "mx.ontvanger.test"
MARKER: Final = "Merkteken9c2e"  # in every subject and every line of a body; it must stay sealed (P17)


class _Altered(Gateway):
    """With more in its environment."""

    environment: dict[str, str]

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), **self.environment}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A gateway's state after its set-up, to be copied; it never ran. Name server and authority go on."""

    state: Path
    credentials: Credentials
    authority: LocalAuthority
    resolver: tuple[str, int]
    records: tuple[str, ...]

    def gateway(
        self,
        folder: Path,
        *,
        mx_port: int = 2525,
        resolver: tuple[str, int] | None = None,
        processes: int = 1,
        **environment: str,
    ) -> Gateway:
        """A gateway of its own below ``folder``, with the organisation, domain, sender and credentials in place."""
        made = _Altered(
            folder,
            authority=self.authority,
            resolver=resolver or self.resolver,
            mx_port=mx_port,
            processes=processes,
        )
        made.environment = environment
        shutil.copytree(self.state, made.state)
        made.credentials = self.credentials
        return made


@contextmanager
def prepared(folder: Path) -> Iterator[Prepared]:
    """Sets a gateway up through its own command line, with a name server that holds its records."""
    loop = Loop()
    server = loop.run(dns.serve({}, "127.0.0.1", 0))
    try:
        authority = LocalAuthority.load_or_create(folder / "ca")
        resolver = ("127.0.0.1", server.port)
        made = Gateway(folder / "gateway", authority=authority, resolver=resolver, mx_port=2525)
        records = made.set_up()
        loop.call(lambda: server.update(zone(records)))
        made.check_domain()
        assert made.credentials is not None
        yield Prepared(made.state, made.credentials, authority, resolver, tuple(records))
    finally:
        loop.call(server.close)
        loop.stop()


def zone(records: Sequence[str]) -> dict[tuple[str, str], list[str]]:
    """The sending domain's records, and the receiving domain."""
    found: dict[tuple[str, str], list[str]] = {
        (HOST, "A"): ["127.0.0.1"],
        (GUEST_DOMAIN, "MX"): [f"10 {MX}"],
        (MX, "A"): ["127.0.0.1"],
    }
    for record in records:
        name, kind, value = record.split(" ", 2)
        found.setdefault((name, kind), []).append(value.strip('"'))
    return found


def message(identity: str, *fields: str, to: str = GUEST, octets: int = 1_000) -> bytes:
    """A message of about that size, with more header fields if asked; its body tells which one it is in every line."""
    head = [
        f"From: Afzender <{SENDER}>",
        f"To: {to}",
        f"Subject: {MARKER} over {identity}",
        f"Message-ID: <{identity}@{SENDING_DOMAIN}>",
        "Date: Mon, 23 Nov 2026 12:00:00 +0000",
        *fields,
    ]
    line = line_of(identity) + "\r\n"
    return ("\r\n".join(head) + "\r\n\r\n" + line * (octets // len(line))).encode()


def line_of(identity: str) -> str:
    """Each line of that message's body."""
    return f"{identity} {MARKER} ".ljust(70, "x")


def readable_in(folder: Path) -> list[str]:
    """The files below ``folder`` in which the marker stands, raw, in UTF-16, hexadecimal or base64."""
    raw = MARKER.encode()
    forms = [raw, MARKER.encode("utf-16-le"), raw.hex().encode()]
    forms += [base64.b64encode(b"\0" * lead + raw)[4 if lead else 0 : len(raw) // 3 * 4] for lead in range(3)]
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if any(form in path.read_bytes() for form in forms)]


def submit(gateway: Gateway, identity: str, *fields: str, octets: int = 1_000) -> tuple[int, str]:
    """One submission on a connection of its own: the last reply that it got, from MAIL to the final dot."""
    with closing(gateway.client()) as client:
        return say(client, identity, *fields, octets=octets)


def say(client: smtplib.SMTP, identity: str, *fields: str, octets: int = 1_000) -> tuple[int, str]:
    """One submission on an open connection."""
    refusal = begin(client)
    if refusal is not None:
        return refusal
    client.send(message(identity, *fields, octets=octets) + b".\r\n")
    code, text = client.getreply()
    return code, text.decode()


def begin(client: smtplib.SMTP) -> tuple[int, str] | None:
    """MAIL, RCPT and DATA; ``None`` when the content may come, else the reply that refused."""
    for command in (f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{GUEST}>", "DATA"):
        code, text = client.docmd(command)
        if code not in (250, 354):
            client.docmd("RSET")
            return code, text.decode()
    return None


@contextmanager
def closing(client: smtplib.SMTP) -> Iterator[smtplib.SMTP]:
    """Hangs up afterwards, however the conversation went."""
    try:
        yield client
    finally:
        with suppress(OSError, smtplib.SMTPException):
            client.quit()
        client.close()


def accepted(gateway: Gateway) -> list[str]:
    """The Message-ID of every conversation, without its frame."""
    return [str(one["message_id"]).removeprefix("<").partition("@")[0] for one in gateway.evidence()]


def blobs(gateway: Gateway) -> list[Path]:
    """Every file of the blob folder, finished or not."""
    return sorted(path for path in (gateway.state / "blobs").rglob("*") if path.is_file())


# --- a receiving server -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Copy:
    """A message whose final dot came; whether the client heard of it is another matter."""

    message_id: str
    recipient: str
    octets: bytes = field(repr=False)


@dataclass(slots=True)
class Receiver:
    """A receiving mail server without TLS; ``verdict`` is asked at each final dot, and its reply is sent.

    ``None`` hangs up without a reply. It may take its time: each connection has its own thread.
    """

    port: int
    verdict: Callable[[Copy], str | None]
    copies: list[Copy] = field(default_factory=list)
    hung_up: threading.Event = field(default_factory=threading.Event)
    ip: str = "127.0.0.1"

    @contextmanager
    def listening(self) -> Iterator[Receiver]:
        """Until the block ends."""
        receiver = self

        class Connection(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):
                    receiver._converse(self)

        socketserver.ThreadingTCPServer.allow_reuse_address = True
        with socketserver.ThreadingTCPServer((self.ip, self.port), Connection) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()

    def _converse(self, at: socketserver.StreamRequestHandler) -> None:
        def tell(line: str) -> None:
            at.wfile.write(f"{line}\r\n".encode())

        recipient = ""
        tell("220 mx.ontvanger.test")
        while line := at.rfile.readline().decode("latin-1").strip():
            match line.split(":")[0].split()[0].upper():
                case "RCPT":
                    recipient = line.partition("<")[2].partition(">")[0]
                    tell("250 2.1.5 ok")
                case "DATA":
                    tell("354 go on")
                    copy = _copy(at, recipient)
                    self.copies.append(copy)
                    reply = self.verdict(copy)
                    if reply is None:
                        self.hung_up.set()
                        return
                    tell(reply)
                case "QUIT":
                    tell("221 2.0.0 bye")
                    return
                case _:
                    tell("250 2.0.0 ok")


def _copy(at: socketserver.StreamRequestHandler, recipient: str) -> Copy:
    lines = []
    while (line := at.rfile.readline()) != b".\r\n":
        if not line:
            raise ConnectionResetError
        lines.append(line.removeprefix(b"."))
    octets = b"".join(lines)
    return Copy(str(parsed(octets)["Message-ID"]), recipient, octets)


def parsed(octets: bytes) -> EmailMessage:
    """A mail that arrived."""
    return email.message_from_bytes(octets, policy=email.policy.default)


def link_in(octets: bytes) -> str:
    """The path of the link in a notification."""
    body = parsed(octets).get_body(("plain",))
    assert body is not None
    found = re.search(r"http://localhost:\d+(/m/[A-Za-z0-9_-]{43})", str(body.get_content()))
    assert found
    return found[1]


# --- somebody with a browser --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Visitor:
    """Keeps cookies and follows redirects, without JavaScript."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of the page where it ends."""
        return self._ask("GET", path, {}, follows=True)

    def post(self, path: str, **fields: str) -> tuple[int, str]:
        """Sends a form. Does not go on to where the answer leads, which is given instead of its text."""
        return self._ask("POST", path, fields, follows=False)

    def _ask(self, method: str, path: str, fields: dict[str, str], *, follows: bool) -> tuple[int, str]:
        for _ in range(10):
            connection = http.client.HTTPConnection("localhost", self.port, timeout=40)
            try:
                headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
                if method == "POST":
                    headers["Content-Type"] = "application/x-www-form-urlencoded"
                connection.request(method, path, urlencode(fields) if method == "POST" else None, headers)
                answer = connection.getresponse()
                text = answer.read().decode()
                for given in answer.headers.get_all("Set-Cookie", []):
                    name, _, value = given.partition(";")[0].partition("=")
                    self.cookies[name] = value
            finally:
                connection.close()
            if answer.status not in (301, 302, 303):
                return answer.status, text
            path = urlsplit(answer.headers["Location"]).path
            if not follows:
                return answer.status, path
        raise AssertionError("redirected in a circle")


def hidden_in(page: str) -> dict[str, str]:
    """The hidden fields of a page's forms."""
    return dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page))


# --- processes ----------------------------------------------------------------------------------------------------


def role_of(pid: int) -> str:
    """``submission``, ``dispatch`` or ``web`` for a process of that role, else an empty word."""
    with suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"--role" in command:
            return command[command.index(b"--role") + 1].decode()
    return ""


def processes_of(gateway: Gateway) -> list[int]:
    """Every living process that works for this gateway, whoever its parent is."""
    config, found = str(gateway.config).encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if config in told.split(b"\0") or b"ZEGEL_CONFIG=" + config in told.split(b"\0"):
                found.append(int(process.name))
    return [pid for pid in found if is_alive(pid)]


def is_alive(pid: int) -> bool:
    """It exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@contextmanager
def submission_alone(
    gateway: Gateway, *before: str, program: Sequence[str] = ("-m", "zegel")
) -> Iterator[subprocess.Popen[bytes]]:
    """The submission role as a process of its own.

    ``before`` is a command that runs it and becomes it (as ``strace -D`` does), ``program`` what Python runs.
    """
    arguments = ("run", "--role", "submission", "--config", str(gateway.config))
    with (gateway.folder / "submission-output").open("ab") as output:
        process = subprocess.Popen(
            [*before, sys.executable, *program, *arguments],
            env=gateway._environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        until(lambda: process.poll() is not None or _greets(gateway.port), 30)
        assert process.poll() is None, (gateway.folder / "submission-output").read_text()
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _greets(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            return connection.recv(4).startswith(b"220")
    except OSError:
        return False


def trusting(authority: LocalAuthority) -> ssl.SSLContext:
    """Verifies the gateway's certificate."""
    return ssl.create_default_context(cafile=str(authority.certificate_path))


def other_port() -> int:
    """A free port."""
    return free_port()
