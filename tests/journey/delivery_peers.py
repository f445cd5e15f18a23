"""Receiving servers that keep to a script, however bad it is, and remember every octet that they were sent."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from zegel.local.authority import AUTHORITY_KEY, LocalAuthority, self_signed

PATIENCE: Final = 20.0  # seconds that a script waits for its client; nothing is measured with it
NAME: Final = "mx.veilig.test"
EXTENSIONS: Final = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 10000000")

Chain = tuple[Path, Path]


class Hangup(Exception):
    """An answer of a script: close the connection instead."""


class Silence(Exception):
    """An answer of a script: say nothing more, and hold the connection."""


Answer = bytes | type[Hangup] | type[Silence]


@dataclass
class Taken:
    """A message that a server got, with its envelope and whether it came over TLS."""

    mail: str
    rcpt: str
    content: bytes
    over: str


@dataclass
class Heard:
    """All that one connection brought. ``raw`` is what came where the script expected a handshake."""

    clear: bytearray = field(default_factory=bytearray)
    secure: bytearray = field(default_factory=bytearray)
    raw: bytearray = field(default_factory=bytearray)
    protocol: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def commands(self) -> list[str]:
        """The first word of each line; of content as well."""
        return [line.split(b" ")[0].decode("latin-1").upper() for line in bytes(self.clear + self.secure).splitlines()]


@dataclass
class ScriptedMx:
    """A server on loopback. Every field may be changed while it runs; it holds from the next connection or command on.

    ``answers`` go by verb (``END`` is the final dot, ``EHLO2`` the EHLO after the handshake): one for always, or a
    list that is used up, after which the ordinary answer is given.
    """

    ip: str = "127.0.0.1"
    port: int = 0
    greeting: Answer = b"220 mx.veilig.test ESMTP\r\n"
    extensions: Sequence[str] = EXTENSIONS
    tls: ssl.SSLContext | None = None
    starttls: Answer = b"220 2.0.0 go ahead\r\n"
    handshake: Answer | None = None  # instead of one
    answers: dict[str, Answer | list[Answer]] = field(default_factory=dict)
    judge: Callable[[str, str], Answer | None] | None = None  # of MAIL and RCPT, with what follows; None: as ever
    drips: bool = False
    at_end: Callable[[Taken], None] | None = None  # between the final dot and the answer to it
    heard: list[Heard] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    _open: set[socket.socket] = field(default_factory=set)

    def __enter__(self) -> Self:
        family = socket.AF_INET6 if ":" in self.ip else socket.AF_INET
        self._listener = socket.create_server((self.ip, self.port), family=family, backlog=50)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, cause: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        self.drop()

    def drop(self) -> None:
        """Ends every connection, without a word."""
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for heard in self.heard:
            heard.ended.wait(PATIENCE)

    def messages(self) -> list[bytes]:
        return [one.content for one in self.taken]

    def mail_was_begun(self) -> bool:
        """Whether anything of a mail transaction came over any connection, in whatever form."""
        return any(
            {"MAIL", "RCPT", "DATA"} & set(heard.commands) or b"MAIL FROM" in heard.raw.upper() for heard in self.heard
        )

    def only_heard(self) -> set[str]:
        """The first words of every line of every connection."""
        return {command for heard in self.heard for command in heard.commands}

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(PATIENCE)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            heard = Heard()
            self.heard.append(heard)
            self._open.add(connection)
            threading.Thread(target=self._converse, args=(connection, heard), daemon=True).start()

    def _converse(self, connection: socket.socket, heard: Heard) -> None:
        dialogue = _Dialogue(self, connection, heard)
        try:
            dialogue.run()
        except Silence:
            with suppress(OSError):
                while octets := connection.recv(4096):
                    heard.raw += octets
        except (OSError, Hangup):
            pass
        finally:
            self._open.discard(connection)
            with suppress(OSError):
                dialogue.socket.close()
            with suppress(OSError):
                connection.close()
            heard.ended.set()

    def answer(self, verb: str, ordinary: Answer) -> Answer:
        chosen = self.answers.get(verb, ordinary)
        if isinstance(chosen, list):
            return chosen.pop(0) if chosen else ordinary
        return chosen


class _Dialogue:
    """One connection."""

    def __init__(self, server: ScriptedMx, connection: socket.socket, heard: Heard) -> None:
        self.server, self.socket, self.heard = server, connection, heard
        self._buffer = bytearray()
        self._mail, self._rcpt = "", ""

    def run(self) -> None:
        self._say(self.server.greeting)
        while (line := self._line()) is not None:
            verb, _, argument = line.rstrip(b"\r\n").decode("utf-8", "replace").partition(" ")
            if not self._do(verb.upper(), argument):
                return

    def _do(self, verb: str, argument: str) -> bool:
        ok = b"250 2.0.0 ok\r\n"
        match verb:
            case "EHLO":
                self._say(self.server.answer("EHLO2" if self.heard.protocol else "EHLO", self._offers()))
            case "STARTTLS":
                self._say(self.server.starttls)
                self._secure()
            case "MAIL":
                if self._say(self._judged(verb, argument) or self.server.answer(verb, ok)):
                    self._mail, self._rcpt = argument, ""
            case "RCPT":
                ordinary = ok if self._mail else b"503 5.5.1 MAIL first\r\n"
                if self._say(self._judged(verb, argument) or self.server.answer(verb, ordinary)):
                    self._rcpt = argument
            case "DATA":
                ordinary = b"354 go ahead\r\n" if self._rcpt else b"503 5.5.1 RCPT first\r\n"
                if self._say(self.server.answer(verb, ordinary), success=b"354"):
                    self._take()
            case "QUIT":
                self._say(self.server.answer(verb, b"221 2.0.0 bye\r\n"))
                return False
            case "RSET":
                self._mail, self._rcpt = "", ""
                self._say(self.server.answer(verb, ok))
            case _:
                self._say(self.server.answer(verb, ok))
        return True

    def _judged(self, verb: str, argument: str) -> Answer | None:
        judge = self.server.judge
        return judge(verb, argument) if judge is not None and (verb == "MAIL" or self._mail) else None

    def _take(self) -> None:
        content = bytearray()
        while (line := self._line()) is not None:
            if line == b".\r\n":
                break
            content += line[1:] if line.startswith(b".") else line
        else:
            raise Hangup
        taken = Taken(self._mail, self._rcpt, bytes(content), self.heard.protocol)
        self._mail, self._rcpt = "", ""
        if self.server.at_end is not None:
            self.server.at_end(taken)
        answer = self.server.answer("END", b"250 2.0.0 taken\r\n")
        if isinstance(answer, bytes) and answer.startswith(b"2"):
            self.server.taken.append(taken)
        self._say(answer)

    def _offers(self) -> bytes:
        words = [NAME, *self.server.extensions]
        if self.server.tls is not None and not self.heard.protocol:
            words.append("STARTTLS")
        return b"".join(f"250-{word}\r\n".encode() for word in words[:-1]) + f"250 {words[-1]}\r\n".encode()

    def _secure(self) -> None:
        if not (isinstance(self.server.starttls, bytes) and self.server.starttls.startswith(b"220")):
            return
        if self.server.handshake is not None:
            self.heard.raw += self.socket.recv(4096)
            self._say(self.server.handshake)
            while octets := self.socket.recv(4096):
                self.heard.raw += octets
            raise Hangup
        assert self.server.tls is not None
        try:
            secure = self.server.tls.wrap_socket(self.socket, server_side=True)
        except (ssl.SSLError, OSError) as cause:
            raise Hangup from cause
        self.server._open.add(secure)
        self.socket = secure
        self.heard.protocol = secure.version() or ""

    def _say(self, answer: Answer, success: bytes = b"2") -> bool:
        if not isinstance(answer, bytes):
            raise answer
        if self.server.drips:
            for octet in answer:
                self.socket.sendall(bytes([octet]))
        else:
            self.socket.sendall(answer)
        return answer.startswith(success)

    def _line(self) -> bytes | None:
        """With its end; ``None`` at the end of the connection."""
        heard = self.heard.secure if self.heard.protocol else self.heard.clear
        while (end := self._buffer.find(b"\n")) < 0:
            octets = self.socket.recv(65536)
            if not octets:
                return None
            heard += octets
            self._buffer += octets
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return line


@contextmanager
def black_hole(address: str, port: int) -> Iterator[None]:
    """Nobody there answers, nor refuses: a listener that doesn't accept, whose queue is full."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket(family))
            waiting.setblocking(False)
            waiting.connect_ex((address, port))
        yield


# --- certificates -------------------------------------------------------------------------------------------------


def server_tls(
    chain: Chain,
    *,
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> ssl.SSLContext:
    """Old versions are spoken too, where this OpenSSL can."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if minimum < ssl.TLSVersion.TLSv1_2:
        context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = minimum, maximum
    context.load_cert_chain(*chain)
    return context


@dataclass(frozen=True, slots=True)
class Certificates:
    """One trusted authority, and certificates of every kind for :data:`NAME`."""

    authority: LocalAuthority
    good: Chain
    wildcard: Chain
    wrong_name: Chain
    wildcard_of_another: Chain
    common_name_only: Chain
    expired: Chain
    not_yet_valid: Chain
    unknown_authority: Chain
    self_signed: Chain

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        home = folder / "ca"
        authority = LocalAuthority.load_or_create(home)
        stranger = LocalAuthority.load_or_create(folder / "stranger")
        return cls(
            authority=authority,
            good=authority.issue([NAME], folder / "good"),
            wildcard=authority.issue(["*.veilig.test"], folder / "wildcard"),
            wrong_name=authority.issue(["mx.ander.test"], folder / "wrong"),
            wildcard_of_another=authority.issue(["*.mx.veilig.test"], folder / "wildcard-wrong"),
            common_name_only=_issued(home, folder / "cn", common_name=NAME),
            expired=_issued(home, folder / "expired", names=[NAME], begins=-400, ends=-1),
            not_yet_valid=_issued(home, folder / "early", names=[NAME], begins=2, ends=100),
            unknown_authority=stranger.issue([NAME], folder / "unknown"),
            self_signed=self_signed([NAME], folder / "self"),
        )


def _issued(
    home: Path, folder: Path, *, common_name: str = "", names: Sequence[str] = (), begins: int = -1, ends: int = 100
) -> Chain:
    """By the authority that lives in ``home``, valid between two days counted from now."""
    authority = LocalAuthority.load_or_create(home).certificate
    signer = serialization.load_pem_private_key((home / AUTHORITY_KEY).read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begins))
        .not_valid_after(now + timedelta(days=ends))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), True)
    certificate = builder.sign(signer, hashes.SHA256())
    folder.mkdir()
    chain, private = folder / "chain.pem", folder / "key.pem"
    pem = serialization.Encoding.PEM
    chain.write_bytes(certificate.public_bytes(pem) + authority.public_bytes(pem))
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return chain, private
