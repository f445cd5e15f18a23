"""A receiving mail server for local mode: the mailbox at the other end, one file per message and recipient.

It takes what a sending MTA brings to its domains, over TLS where it has a certificate, and writes beside each message
how it came. Two or three of them, good and bad, show every fall-back there is.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import shutil
import ssl
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final, assert_never, cast

from zegel.core.clock import Instant
from zegel.core.mail.address import Domain, Mailbox, ReversePath
from zegel.core.mail.reply import Reply
from zegel.core.smtp.server import (
    Authenticate,
    ContentAborted,
    ContentBegins,
    ContentChunk,
    ContentEnds,
    Event,
    Mail,
    Pause,
    Profile,
    Quit,
    Recipient,
    Reset,
    Server,
    StartTls,
)
from zegel.local.folders import DELIVERED_TO, MESSAGE, NO_TLS, RETURN_PATH, TRANSPORT, NameTooLong, folder_name
from zegel.local.loopback import loopback

_PATIENCE: Final = 300.0  # seconds, RFC 5321 §4.5.3.2.7
_HANDSHAKE: Final = 30.0  # seconds
_BACKLOG: Final = 256 * 1024  # octets taken from the network and not yet read
# NCSC-NL, TLS guidelines 2025-05; TLS 1.3 has its own suites.
_CIPHERS: Final = (
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:"
    "ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
)

_SENDER_OK: Final = Reply(250, "2.1.0", "Sender taken")
_RECIPIENT_OK: Final = Reply(250, "2.1.5", "Recipient taken")
_GO_AHEAD: Final = Reply(354, None, "Send the message")
_STORED: Final = Reply(250, "2.0.0", "Stored")
_NO_RELAY: Final = Reply(550, "5.7.1", "Not a domain of this server")
_NO_SUCH_FOLDER: Final = Reply(550, "5.1.1", "This mailbox has a longer name than a folder can have")
_FULL: Final = Reply(452, "4.3.1", "The disk is full, try again later")
_TROUBLE: Final = Reply(451, "4.3.0", "Temporary local problem, try again later")
_NO_AUTH: Final = Reply(502, "5.5.1", "AUTH is not offered here")
_TOO_SLOW: Final = Reply(421, "4.4.2", "Nothing came for five minutes; closing the connection")
_BROKEN: Final = Reply(421, "4.3.0", "Temporary local problem; closing the connection")


def receiving_tls(chain: tuple[Path, Path]) -> ssl.SSLContext:
    """TLS 1.2 or better for a server with this certificate chain and key, in the suites of NCSC-NL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(_CIPHERS)
    context.load_cert_chain(*chain)
    return context


class ReceivingServer:
    """Takes mail for any mailbox in its domains, and offers STARTTLS when it has ``tls``.

    A message that got its 250 is durable: ``<folder>/<mailbox>/<time>-<random>.eml``, one per recipient, with three
    fields before what was sent: ``Return-Path``, ``Delivered-To`` and ``X-Local-Transport`` (protocol and cipher, or
    ``none``). A message that did not come to its end leaves nothing, however the connection ended.
    """

    def __init__(self, folder: Path, hostname: str, domains: Iterable[Domain], tls: ssl.SSLContext | None) -> None:
        if tls is not None and tls.minimum_version < ssl.TLSVersion.TLSv1_2:
            raise ValueError("a local server speaks TLS 1.2 or better")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.domains = frozenset(domains)
        self.tls = tls
        self.profile = Profile(
            hostname, offers_starttls=tls is not None, requires_tls=False, offers_auth=False, offers_dsn=False
        )
        self._listeners: list[asyncio.Server] = []
        self._connections: set[_Connection] = set()

    async def listen(self, host: str, port: int) -> int:
        """Listens there too, until :meth:`close`; the port is returned, for who asked for port 0."""
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(lambda: _Connection(self), loopback(host), port)
        self._listeners.append(listener)
        return int(listener.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Listens no more and breaks off what is under way; a message on its way in is not there."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for connection in list(self._connections):
            connection.abort()


@dataclass(slots=True)
class _Transaction:
    """One mail transaction; its content is in a file without a name, which no crash leaves behind."""

    reverse_path: ReversePath
    recipients: dict[Mailbox, None] = field(default_factory=dict)
    """In the order in which they came, each once."""
    content: IO[bytes] | None = None
    trouble: OSError | None = None
    """The content could not be kept: it is read to its end, then refused."""

    def begin(self, folder: Path) -> None:
        """Makes room for the content; raises ``OSError``."""
        self.content = cast("IO[bytes]", tempfile.TemporaryFile(dir=folder))  # noqa: SIM115 (closed by forget)

    def keep(self, octets: bytes) -> None:
        """Adds to the content; trouble is remembered until the end, when there is somebody to tell."""
        try:
            if self.content is not None and self.trouble is None:
                self.content.write(octets)
        except OSError as cause:
            self.trouble = cause

    def sound_content(self) -> IO[bytes]:
        """The whole content; raises the ``OSError`` that kept it from being whole."""
        assert self.content is not None
        if self.trouble is not None:
            raise self.trouble
        return self.content

    def forget(self) -> None:
        """The file without a name is gone."""
        if self.content is not None:
            with contextlib.suppress(OSError):  # closing writes what was buffered; it isn't wanted any more
                self.content.close()


class _Connection(asyncio.Protocol):
    """Drives one :class:`Server`; a task takes what arrives, so that every step may wait."""

    def __init__(self, server: ReceivingServer) -> None:
        self._server = server
        self._machine = Server(server.profile)
        self._arrived: list[bytes] = []
        self._news = asyncio.Event()  # something arrived, or nothing will any more
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = False
        self._is_paused = False
        self._is_starting_tls = False
        self._over = NO_TLS
        self._transaction: _Transaction | None = None

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server._connections.add(self)
        self._task = asyncio.get_running_loop().create_task(self._live())

    def data_received(self, data: bytes) -> None:
        self._arrived.append(data)
        self._news.set()
        # The end of a handshake can bring a client's first octets before start_tls has returned. They wait here,
        # and the transport that could be paused is not yet known.
        if not self._is_starting_tls and not self._is_paused and sum(map(len, self._arrived)) > _BACKLOG:
            self._is_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._ended = True
        self._news.set()
        # True keeps our half open: who stopped sending may still wait for the reply. TLS knows no half.
        return self._over == NO_TLS and not self._is_starting_tls

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._news.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # What the connection does

    def abort(self) -> None:
        """Nothing more is read or written."""
        self._task.cancel()
        self._transport.abort()

    async def _live(self) -> None:
        try:
            await self._converse()
        except OSError:  # a client that went away or was too slow, or a handshake that failed
            self._transport.abort()
        except Exception:
            self._machine.hang_up(_BROKEN)
            self._write()
            raise
        finally:
            self._forget()
            self._transport.close()
            self._server._connections.discard(self)

    async def _converse(self) -> None:
        self._machine.greet()
        while True:
            match self._machine.next_event():
                case Pause.CLOSED:
                    self._write()
                    return
                case Pause.NEED_INPUT | Pause.AWAITING_REPLY:  # every event is answered below, so: input
                    await self._drain()
                    await self._take_input()
                case StartTls():
                    await self._drain()
                    await self._start_tls()
                case ContentEnds():
                    self._machine.reply(await self._store())
                case event:
                    self._react(event)

    def _react(self, event: Event) -> None:
        match event:
            case Mail(reverse_path):
                self._transaction = _Transaction(reverse_path)
                self._machine.reply(_SENDER_OK)
            case Recipient(mailbox):
                self._machine.reply(self._take_recipient(mailbox))
            case ContentBegins():
                self._machine.reply(self._begin_content())
            case ContentChunk(octets):
                self._current.keep(octets)
            case ContentAborted() | Reset():
                self._forget()
            case Authenticate():
                self._machine.reply(_NO_AUTH)
            case StartTls() | ContentEnds() | Quit():
                pass
            case unreachable:
                assert_never(unreachable)

    @property
    def _current(self) -> _Transaction:
        assert self._transaction is not None
        return self._transaction

    def _forget(self) -> None:
        if self._transaction is not None:
            self._transaction.forget()
        self._transaction = None

    def _take_recipient(self, mailbox: Mailbox) -> Reply:
        if mailbox.domain not in self._server.domains:
            return _NO_RELAY
        try:
            folder_name(mailbox)
        except NameTooLong:
            return _NO_SUCH_FOLDER
        self._current.recipients[mailbox] = None
        return _RECIPIENT_OK

    def _begin_content(self) -> Reply:
        try:
            self._current.begin(self._server.folder)
        except OSError as cause:
            return _refusal(cause)
        return _GO_AHEAD

    async def _store(self) -> Reply:
        transaction, self._transaction = self._current, None
        try:
            # In a thread, because syncing a disk would keep every other connection waiting. The thread can't be
            # stopped, so from here on the transaction is its own.
            await asyncio.to_thread(_deliver, transaction, self._server.folder, self._over)
        except OSError as cause:
            return _refusal(cause)
        return _STORED

    async def _start_tls(self) -> None:
        assert self._server.tls is not None
        if self._transport.is_closing():
            raise ConnectionResetError
        self._transport.pause_reading()
        self._arrived.clear()  # came in clear behind STARTTLS: somebody's injection (RFC 3207 §4.2)
        self._is_starting_tls = True
        secure = await asyncio.get_running_loop().start_tls(
            self._transport, self, self._server.tls, server_side=True, ssl_handshake_timeout=_HANDSHAKE
        )
        if secure is None:
            raise ConnectionResetError
        self._transport, self._is_starting_tls, self._is_paused = secure, False, False
        self._over = _described(secure)
        self._machine.tls_established()

    async def _take_input(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                while not (self._arrived or self._ended):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            self._machine.hang_up(_TOO_SLOW)
            return
        if not self._arrived:
            self._machine.receive_eof()
            return
        octets = b"".join(self._arrived)
        self._arrived.clear()
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
        self._machine.receive(octets)

    def _write(self) -> None:
        octets = self._machine.outgoing()
        if octets and not self._transport.is_closing():
            self._transport.write(octets)

    async def _drain(self) -> None:
        """Writes, and waits while the client doesn't read."""
        self._write()
        async with asyncio.timeout(_PATIENCE):
            await self._writable.wait()


def _refusal(cause: OSError) -> Reply:
    return _FULL if cause.errno in (errno.ENOSPC, errno.EDQUOT) else _TROUBLE


def _described(transport: asyncio.Transport) -> str:
    tls = transport.get_extra_info("ssl_object")
    return f"{tls.version()} {tls.cipher()[0]}"


def _deliver(transaction: _Transaction, folder: Path, over: str) -> None:
    """A durable copy for each recipient, or none at all and ``OSError``."""
    name = _message_name(datetime.now(UTC))
    written: list[tuple[Path, Path]] = []
    try:
        content = transaction.sound_content()
        for mailbox in transaction.recipients:
            mailbox_folder = folder / folder_name(mailbox)
            mailbox_folder.mkdir(mode=0o700, exist_ok=True)
            unfinished, finished = mailbox_folder / f".{name}", mailbox_folder / name
            written.append((unfinished, finished))
            _write_copy(unfinished, _prepended(transaction.reverse_path, mailbox, over), content)
        for unfinished, finished in written:
            unfinished.rename(finished)
        for changed in {folder, *(finished.parent for _, finished in written)}:
            _sync_folder(changed)
    except BaseException:
        for paths in written:
            for path in paths:
                with contextlib.suppress(OSError):
                    path.unlink()
        raise
    finally:
        transaction.forget()


def _message_name(arrived: Instant) -> str:
    return f"{arrived:%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(8)}{MESSAGE}"


def _prepended(reverse_path: ReversePath, mailbox: Mailbox, over: str) -> bytes:
    """RFC 5321 §4.4 for the first field; the machine let nothing into these values that could end a line."""
    fields = ((RETURN_PATH, f"<{reverse_path}>"), (DELIVERED_TO, str(mailbox)), (TRANSPORT, over))
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode()


def _write_copy(path: Path, prepended: bytes, content: IO[bytes]) -> None:
    content.seek(0)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(prepended)
        shutil.copyfileobj(content, file)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
