"""A web server on loopback that gives texts over HTTPS, well or badly, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from zegel.local.dns import serve

NAME: Final = "lijsten.voorbeeld.test"

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@dataclass
class Site:
    """Where it listens, what it answers to a path, and what it was asked."""

    port: int
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)  # of what was posted

    def url(self, path: str = "/lijst", host: str = NAME) -> str:
        return f"https://{host}:{self.port}{path}"


def gives(octets: bytes, *, status: int = 200, **headers: str) -> Answer:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(octets)))
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(octets)

    return answer


def refers(location: str) -> Answer:
    return gives(b"", status=302, Location=location)


@contextmanager
def site(
    chain: Path,
    key: Path,
    *,
    newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ip: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[Site]:
    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = 20

        def do_GET(self) -> None:
            found.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            answer = found.answers.get(self.path) or gives(b"", status=404)
            try:
                answer(self)
            except OSError:  # whoever asked went away
                self.close_connection = True

        def do_POST(self) -> None:
            found.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self) -> tuple[ssl.SSLSocket, object]:
            plain, address = self.socket.accept()
            plain.settimeout(20)
            return context.wrap_socket(plain, server_side=True), address

        def handle_error(self, request: object, client_address: object) -> None:
            """A handshake that fails is what some tests are about."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = min(newest, ssl.TLSVersion.TLSv1_2)
    context.maximum_version = newest
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(chain, key)
    server = Server((ip, port), Handler)
    found = Site(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def names(zone: dict[tuple[str, str], list[str]]) -> Iterator[int]:
    """The port of a name server that knows them."""
    loop, ready, port = asyncio.new_event_loop(), threading.Event(), []

    async def begin() -> None:
        server = await serve(zone, "127.0.0.1", 0)
        port.append(server.port)
        ready.set()

    loop.create_task(begin())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    assert ready.wait(20)
    yield port[0]
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)
    loop.close()
