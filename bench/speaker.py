"""What a submission server in Python costs that does nothing: it speaks, takes whatever comes, and forgets it; or puts
it into a table whose commit it waits for. ``python -m bench.speaker PORT CHAIN KEY PROCESSES [DATABASE]``.

It shows what of Zegel's time is Python's and TLS' anyway, and what is Zegel's own: rules, header, sealing, rows.
Nothing that a client does wrong is noticed here.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import ssl
import struct
import sys
from collections.abc import Sequence
from typing import Final, cast

import uvloop

from zegel.edge.sqlite import OPTIONS, use_current_sqlite

_HELLO: Final = b"250-speaker\r\n250-SIZE 150000000\r\n250-8BITMIME\r\n250-PIPELINING\r\n250 "
_END: Final = b"\r\n.\r\n"
_TAKEN: Final = b"250 2.0.0 Taken\r\n"
_FRAME: Final = struct.Struct("!II")  # number of the message, octets of it
_ROOM: Final = 1 << 20  # octets that may wait for the process that keeps


class Session(asyncio.Protocol):
    """One connection: what a client says right is answered right."""

    def __init__(self, tls: ssl.SSLContext, queue: Queue | None) -> None:
        self._tls, self._queue = tls, queue
        self._heard = b""
        self._is_secure = self._takes_content = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by their class
        if not self._is_secure:
            self._transport.write(b"220 speaker ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._heard += data
        said: list[bytes] = []
        while self._go_on(said):
            pass
        if said:
            self.write(b"".join(said))

    def write(self, octets: bytes) -> None:
        self._transport.write(octets)

    def _go_on(self, said: list[bytes]) -> bool:
        if self._takes_content:
            if not self._heard.endswith(_END):
                return False
            content, self._heard, self._takes_content = self._heard, b"", False
            if self._queue is not None:
                self._queue.put(self, content)
                return False
            said.append(_TAKEN)
            return True
        line, found, rest = self._heard.partition(b"\r\n")
        if not found:
            return False
        self._heard = rest
        match line[:4].upper():
            case b"EHLO":
                said.append(_HELLO + (b"AUTH PLAIN LOGIN\r\n" if self._is_secure else b"STARTTLS\r\n"))
            case b"STAR":
                self.write(b"220 2.0.0 Go\r\n")
                self._is_secure = True
                asyncio.get_running_loop().create_task(self._encrypt())
            case b"AUTH":
                said.append(b"235 2.7.0 Come in\r\n")
            case b"DATA":
                self._takes_content = True
                said.append(b"354 Go\r\n")
            case b"QUIT":
                self.write(b"221 2.0.0 Bye\r\n")
                self._transport.close()
            case _:
                said.append(b"250 2.0.0 Fine\r\n")
        return True

    async def _encrypt(self) -> None:
        secure = await asyncio.get_running_loop().start_tls(self._transport, self, self._tls, server_side=True)
        assert secure is not None
        self._transport = secure


class Queue:
    """Messages on their way to the process that keeps them; who sent one hears when it is kept."""

    def __init__(self, line: socket.socket) -> None:
        line.setblocking(False)
        self._line, self._loop = line, asyncio.get_running_loop()
        self._waiting: dict[int, Session] = {}
        self._number, self._answers = 0, b""
        self._loop.add_reader(line, self._hear)

    def put(self, session: Session, content: bytes) -> None:
        self._number += 1
        self._waiting[self._number] = session
        frame = _FRAME.pack(self._number, len(content)) + content
        sent = self._line.send(frame)
        assert sent == len(frame), "20 sessions of small messages never fill it"

    def _hear(self) -> None:
        self._answers += self._line.recv(65536)
        whole = len(self._answers) // 4
        for number in struct.unpack(f"!{whole}I", self._answers[: 4 * whole]):
            self._waiting.pop(number).write(_TAKEN)
        self._answers = self._answers[4 * whole :]


def keep(lines: Sequence[socket.socket], database: str) -> None:
    """Commits all that waits, at once, as Zegel's recorder does; the same settings, one table, no index."""
    use_current_sqlite()
    import sqlite3

    connection = sqlite3.connect(database, isolation_level=None)
    for pragma in OPTIONS["init_command"].split(";"):
        connection.execute(pragma)
    connection.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, content BLOB)")
    heard = dict.fromkeys(lines, b"")
    while True:
        units: list[tuple[socket.socket, int, bytes]] = []
        for line in select.select(lines, [], [])[0]:
            heard[line] += line.recv(_ROOM)
            while len(heard[line]) >= _FRAME.size:
                number, length = _FRAME.unpack_from(heard[line])
                end = _FRAME.size + length
                if len(heard[line]) < end:
                    break
                units.append((line, number, heard[line][_FRAME.size : end]))
                heard[line] = heard[line][end:]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO message (content) VALUES (?)", [(content,) for _, _, content in units])
        connection.execute("COMMIT")
        for line, number, _ in units:
            line.sendall(number.to_bytes(4, "big"))


async def speak(listener: socket.socket, tls: ssl.SSLContext, line: socket.socket | None) -> None:
    """Until it is stopped."""
    queue = Queue(line) if line is not None else None
    server = await asyncio.get_running_loop().create_server(lambda: Session(tls, queue), sock=listener)
    await server.serve_forever()


def main(port: str, chain: str, key: str, processes: str, database: str = "") -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain, key)
    tls.num_tickets = 0
    pairs = [socket.socketpair() for _ in range(int(processes))] if database else []
    for end in [end for pair in pairs for end in pair]:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
    children = []
    for number in range(int(processes)):
        listener = socket.create_server(("127.0.0.1", int(port)), reuse_port=True)
        if (child := os.fork()) == 0:
            uvloop.run(speak(listener, tls, pairs[number][0] if database else None))
        children.append(child)
        listener.close()
    if database:
        if (child := os.fork()) == 0:
            keep([pair[1] for pair in pairs], database)
        children.append(child)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    for child in children:
        os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(*sys.argv[1:])
