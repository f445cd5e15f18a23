"""Shows metrics, and whether the gateway lives and is ready, to programs that watch it: one small HTTP server.

Strangers learn nothing from it but numbers, and nothing makes it work harder than reading what is there already.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from zegel.edge import metrics
from zegel.edge.log import Broken, log
from zegel.edge.metrics import Histogram, Kind, Totals

PATIENCE: Final = 10.0  # seconds for a request
MOST_AT_ONCE: Final = 16  # connections

IsReady = Callable[[], bool]


class Shown(Collector):
    """Totals, as the library wants them."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals

    def collect(self) -> Iterator[Metric]:
        """Each metric once."""
        for name, values in self._totals.shown().items():
            yield _family(metrics.METRICS[name], values)


def _family(metric: metrics.Metric, values: Mapping[tuple[str, ...], float | Histogram]) -> Metric:
    match metric.kind:
        case Kind.COUNTER:
            family: Any = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
        case Kind.GAUGE:
            family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
        case Kind.HISTOGRAM:
            family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        if isinstance(value, Histogram):
            bounds = [*(f"{float(bound)}" for bound in metric.bounds), "+Inf"]
            buckets = list(zip(bounds, value.cumulative, strict=True))
            family.add_metric(labels, buckets, sum_value=value.total)
        else:
            family.add_metric(labels, value)
    return family  # type: ignore[no-any-return]


def page(totals: Totals, accept: str) -> tuple[bytes, str]:
    """The text that Prometheus asks for, and its media type."""
    encode, kind = choose_encoder(accept)
    return encode(Shown(totals)), kind


class Door:
    """Serves ``/metrics``, ``/healthz`` and ``/readyz``, and nothing else."""

    def __init__(self, host: str, port: int, totals: Totals, *, is_ready: IsReady) -> None:
        """Raises ``OSError`` where the address can't be had."""
        self._server = _Server(host, port, totals, is_ready)
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics door", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """As bound."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Nobody is answered any more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, totals: Totals, is_ready: IsReady) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.totals, self.is_ready = totals, is_ready
        self._room = threading.BoundedSemaphore(MOST_AT_ONCE)
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Without a look at the DNS for our own name."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Whoever comes when the house is full is sent away."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Ends in time: who sends an octet now and then would keep a place for hours."""
        ends = threading.Timer(PATIENCE, _hang_up, (request,))
        ends.daemon = True
        ends.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            ends.cancel()
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A stranger who goes away in the middle is nobody's business; a defect of ours is."""
        cause = sys.exception()
        if isinstance(cause, Exception) and not isinstance(cause, OSError):
            log(Broken("metrics", cause))


def _hang_up(request: socket.socket) -> None:
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = PATIENCE
    server_version = "zegel"
    sys_version = ""

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/metrics":
                text, kind = page(self.server.totals, self.headers.get("Accept", ""))
                self._answer(HTTPStatus.OK, text, kind)
            case "/healthz":
                self._answer(HTTPStatus.OK, b"ok\n")
            case "/readyz" if self.server.is_ready():
                self._answer(HTTPStatus.OK, b"ready\n")
            case "/readyz":
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, b"not ready\n")
            case _:
                self._answer(HTTPStatus.NOT_FOUND, b"not found\n")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, status: HTTPStatus, octets: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(octets)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(octets)

    def log_message(self, format: str, *args: Any) -> None:
        """There is no access log."""
