"""What is counted, for Prometheus: a table; counting in a process; and adding up what the processes counted.

Counting is an addition in memory. Every second a thread hands over what was added to the process that shows the
metrics, as datagrams: no file, no lock between processes, and nothing for mail to wait for (ADR 40). What nobody takes
is kept for the next second, so nothing is lost while that process is away; a process that is killed takes its last
second along. ``docs/metrics.md`` is printed from the table.
"""

from __future__ import annotations

import json
import math
import os
import re
import socket
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from zegel.edge import log
from zegel.edge.log import (
    Attempted,
    BounceHeard,
    Broken,
    CapReached,
    Event,
    Opened,
    ProcessEnded,
    RecipientDecided,
    RecipientUndeliverable,
    SignInRefused,
    SmsHandedOver,
    SubmissionAccepted,
    SubmissionRefused,
    WebhookTold,
)
from zegel.edge.wake import within_reach

EVERY: Final = 1.0  # seconds between two times that counts are handed over
SILENT: Final = 15.0  # seconds after which a process that says nothing is not counted as running
MOST_KINDS: Final = 200  # of labels of one metric; more of them are counted together
OTHER: Final = "other"
SOCKET: Final = "metrics.sock"
_TOGETHER: Final = 200  # counts in one datagram
_LARGEST: Final = 65_536  # octets of one
_REPLY: Final = re.compile(r"[245]\d\d [245]\.\d{1,3}\.\d{1,3}")


# --- the table ------------------------------------------------------------------------------------------------------


class Kind(Enum):
    """As Prometheus calls it."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Metric:
    """Something that is counted or measured. No label holds an address, a domain, or anything that a stranger chooses
    freely."""

    name: str  # as it is shown
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()  # upper ones, of a histogram
    first: tuple[tuple[str, ...], ...] = ()  # values of the labels that are there, at 0, from the start


def _by(*values: str) -> tuple[tuple[str, ...], ...]:
    return tuple((value,) for value in values)


def _counter(name: str, told: str, labels: tuple[str, ...] = (), first: tuple[tuple[str, ...], ...] = ()) -> Metric:
    return Metric(name, Kind.COUNTER, told, labels, (), first or (() if labels else ((),)))


def _gauge(name: str, told: str, labels: tuple[str, ...] = ()) -> Metric:
    return Metric(name, Kind.GAUGE, told, labels)


_MAILS: Final = ("readable", "notification")
EVENTS: Final = _counter("zegel_events_total", "Events of the log, by their name there.", ("event",))
ACCEPTED: Final = _counter("zegel_submissions_accepted_total", "Messages that were accepted for the first time.")
RECIPIENTS: Final = _counter("zegel_recipients_accepted_total", "Recipients of those messages.")
OCTETS: Final = _counter("zegel_submitted_bytes_total", "Octets of those messages.")
REFUSED: Final = _counter(
    "zegel_submissions_refused_total", "Messages that were refused after their content.", ("reply",)
)
SIGN_INS: Final = _counter(
    "zegel_sign_ins_refused_total",
    "Wrong credentials, passwords and tokens, by the door.",
    ("at",),
    _by("submission", "portal", "api"),
)
CAPS: Final = _counter(
    "zegel_caps_reached_total",
    "Messages, and codes by text message, that were refused because of a cap.",
    ("cap",),
)
DECIDED: Final = _counter(
    "zegel_recipients_decided_total",
    "Recipients that got a plan, by the row of its first step (docs/precedence.md); 0: held, or can't be served.",
    ("row",),
    _by(*map(str, range(8))),
)
ATTEMPTS: Final = _counter(
    "zegel_attempts_total", "Tries at one host, by what was to be delivered and how it ended.", ("kind", "outcome")
)
DELIVERED: Final = _counter(
    "zegel_delivered_total",
    "Mails that the receiving server took, by the level of the connection (TLS, and how the server was known).",
    ("kind", "level"),
)
DEFERRED: Final = _counter(
    "zegel_deferred_total",
    "Tries that ended without an answer for good: the receiving server asks to come back, or could not be reached.",
    ("kind",),
    _by(*_MAILS, "code"),
)
UNDELIVERABLE: Final = _counter(
    "zegel_recipients_undeliverable_total", "Recipients for whom nothing is left; the sender is told."
)
BOUNCES: Final = _counter(
    "zegel_bounces_heard_total", "What came home about mails that a server had taken.", ("outcome",)
)
CODES: Final = _counter("zegel_codes_sent_total", "Codes that were handed over.", ("by",), _by("sms", "email"))
CODES_FAILED: Final = _counter(
    "zegel_codes_failed_total", "Codes that were refused where they were handed over.", ("by",), _by("sms", "email")
)
TOLD: Final = _counter(
    "zegel_webhook_requests_total",
    "Requests to webhooks, by how they ended: taken, again (tried later), given up.",
    ("outcome",),
    _by("taken", "again", "given up"),
)
NOT_TOLD: Final = _counter(
    "zegel_webhook_failures_total",
    "Requests to webhooks that were not taken, by the status that came back or by what went wrong.",
    ("why",),
)
OPENED: Final = _counter(
    "zegel_opened_total",
    "Recipients who read for the first time.",
    ("method",),
    _by("account", "sms", "access-code", "email"),
)
ENDED: Final = _counter(
    "zegel_processes_ended_total",
    "Processes that ended by themselves and were started again.",
    ("role",),
    _by("submission", "dispatch", "web"),
)
BROKEN: Final = _counter("zegel_broken_total", "Defects and lacks of ours; the log says where.")
TAKEN: Final = Metric(
    "zegel_delivery_seconds",
    Kind.HISTOGRAM,
    "From the acceptance of a message to the acceptance by the receiving server, of readable mails and notifications; "
    "the time that a recipient was held is in it.",
    ("kind",),
    (0.5, 1, 2, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600),
    _by(*_MAILS),
)
COMMIT: Final = Metric(
    "zegel_commit_units",
    Kind.HISTOGRAM,
    "Units of work that one commit made durable.",
    (),
    (1, 2, 4, 8, 16, 32, 64, 128, 256),
    ((),),
)

PROCESSES: Final = _gauge("zegel_processes", "Processes that were heard of in the last 15 seconds.", ("role",))
WAITING: Final = _gauge("zegel_jobs_waiting", "Work that is to be done, now or at its time.", ("kind",))
QUEUE_AGE: Final = _gauge(
    "zegel_queue_age_seconds", "Age of the oldest mail that no server took yet; 0: there is none."
)
OVERDUE: Final = _gauge("zegel_overdue_seconds", "How long the oldest work that was due has been waiting.")
HELD: Final = _gauge("zegel_recipients_held", "Recipients that lack what policy demands.")
DOMAINS: Final = _gauge("zegel_sending_domains", "Sending domains, by whether they may send.", ("state",))
CERTIFICATE: Final = _gauge(
    "zegel_certificate_remaining_seconds",
    "Until the certificate that is shown ends; 0: it can't be used.",
    ("certificate",),
)
FREE: Final = _gauge("zegel_disk_free_bytes", "Octets that are free where the data is.")
BACKUP_AGE: Final = _gauge("zegel_backup_age_seconds", "Age of the last backup; not there: none was ever made.")
ALARMS: Final = _gauge("zegel_alarms", "Alarms that stand (docs/alarms.md).", ("alarm", "severity"))
READY: Final = _gauge("zegel_ready", "Whether /readyz says yes.")
LOOKED: Final = _gauge("zegel_looked_timestamp_seconds", "When the gauges were last taken, in seconds since 1970.")
VERSION_INFO: Final = _gauge("zegel_build_info", "Always 1; the version of Zegel.", ("version",))

Pick = Callable[[Any], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Row:
    """What an event of the log does to a metric."""

    event: type[Event]
    metric: Metric
    labels: Pick | None = None  # None: it has none
    amount: Callable[[Any], float] | None = None  # None: one more
    when: Callable[[Any], bool] | None = None  # None: always
    says: str = ""  # ``when`` or ``amount``, in words


def _is_taken(event: Attempted) -> bool:
    """A probe carries no mail."""
    return event.outcome == "Accepted" and event.kind != "probe"


_LATER: Final = ("Deferred", "NetworkFailure", "DnsTrouble")
_NEVER: Final = ("Refused", "NoSuchDomain", "NullMx", "InsufficientSecurity")

ROWS: Final = (
    Row(SubmissionAccepted, ACCEPTED),
    Row(SubmissionAccepted, RECIPIENTS, amount=lambda event: event.recipients, says="adds the recipients"),
    Row(SubmissionAccepted, OCTETS, amount=lambda event: event.octets, says="adds the octets"),
    Row(SubmissionRefused, REFUSED, lambda event: (event.reply if _REPLY.fullmatch(event.reply) else OTHER,)),
    Row(SignInRefused, SIGN_INS, lambda event: (event.at,)),
    Row(CapReached, CAPS, lambda event: (event.cap,)),
    Row(RecipientDecided, DECIDED, lambda event: (str(event.row),)),
    Row(Attempted, ATTEMPTS, lambda event: (event.kind, event.outcome)),
    Row(Attempted, DELIVERED, lambda event: (event.kind, event.security), when=_is_taken, says="taken"),
    Row(
        Attempted,
        TAKEN,
        lambda event: (event.kind,),
        amount=lambda event: event.since,
        when=lambda event: _is_taken(event) and event.kind in _MAILS,
        says="taken, of a message",
    ),
    Row(
        Attempted,
        DEFERRED,
        lambda event: (event.kind,),
        when=lambda event: event.outcome in _LATER,
        says=", ".join(_LATER),
    ),
    Row(
        Attempted,
        CODES,
        lambda event: ("email",),
        when=lambda event: event.kind == "code" and _is_taken(event),
        says="taken, of a code",
    ),
    Row(
        Attempted,
        CODES_FAILED,
        lambda event: ("email",),
        when=lambda event: event.kind == "code" and event.outcome in _NEVER,
        says=f"of a code: {', '.join(_NEVER)}",
    ),
    Row(SmsHandedOver, CODES, lambda event: ("sms",), when=lambda event: event.outcome == "sent", says="sent"),
    Row(SmsHandedOver, CODES_FAILED, lambda event: ("sms",), when=lambda event: event.outcome != "sent", says="failed"),
    Row(RecipientUndeliverable, UNDELIVERABLE),
    Row(BounceHeard, BOUNCES, lambda event: (event.outcome,)),
    Row(Opened, OPENED, lambda event: (event.method,)),
    Row(WebhookTold, TOLD, lambda event: (event.outcome,)),
    Row(
        WebhookTold, NOT_TOLD, lambda event: (event.why,), when=lambda event: event.outcome != "taken", says="not taken"
    ),
    Row(ProcessEnded, ENDED, lambda event: (event.role,)),
    Row(Broken, BROKEN),
)
COUNTED: Final[tuple[Metric, ...]] = (EVENTS, *dict.fromkeys(row.metric for row in ROWS), COMMIT)
GAUGES: Final = (
    PROCESSES,
    WAITING,
    QUEUE_AGE,
    OVERDUE,
    HELD,
    DOMAINS,
    CERTIFICATE,
    FREE,
    BACKUP_AGE,
    ALARMS,
    READY,
    LOOKED,
    VERSION_INFO,
)
METRICS: Final[Mapping[str, Metric]] = {metric.name: metric for metric in (*COUNTED, *GAUGES)}

_BY_EVENT: Final[Mapping[type[Event], tuple[Row, ...]]] = {
    event: tuple(row for row in ROWS if row.event is event) for event in dict.fromkeys(row.event for row in ROWS)
}

Key = tuple[str, tuple[str, ...], int]
"""A metric, its labels, and of a histogram the bucket; :data:`_SUM` is its sum."""

_COUNT: Final = -1
_SUM: Final = -2


# --- counting, in every process -------------------------------------------------------------------------------------


class Counts:
    """What a process counted and did not hand over yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[Key, float] = {}
        self._kinds: dict[str, set[tuple[str, ...]]] = {}

    def event(self, event: Event) -> None:
        """Counts an event of the log. Never raises."""
        kind = type(event)
        with self._lock:
            key = (EVENTS.name, (log.name_of(kind),), _COUNT)  # as many as there are kinds of events
            self._counts[key] = self._counts.get(key, 0) + 1
            for row in _BY_EVENT.get(kind, ()):
                if row.when is None or row.when(event):
                    amount = 1 if row.amount is None else row.amount(event)
                    self._add(row.metric, () if row.labels is None else row.labels(event), amount)

    def add(self, metric: Metric, labels: tuple[str, ...] = (), amount: float = 1) -> None:
        """One more, or of a histogram: this much was seen."""
        with self._lock:
            self._add(metric, labels, amount)

    def _add(self, metric: Metric, labels: tuple[str, ...], amount: float) -> None:
        name, counts = metric.name, self._counts
        if labels:
            labels = self._bounded(name, labels)
        if metric.bounds:
            bucket = (name, labels, bisect_left(metric.bounds, amount))
            counts[bucket] = counts.get(bucket, 0) + 1
            key = (name, labels, _SUM)
        else:
            key = (name, labels, _COUNT)
        counts[key] = counts.get(key, 0) + amount

    def _bounded(self, name: str, labels: tuple[str, ...]) -> tuple[str, ...]:
        known = self._kinds.setdefault(name, set())
        if labels in known:
            return labels
        if len(known) >= MOST_KINDS:
            return (OTHER,) * len(labels)
        known.add(labels)
        return labels

    def take(self) -> dict[Key, float]:
        """All of it; nothing is left."""
        with self._lock:
            taken, self._counts = self._counts, {}
        return taken

    def put_back(self, counts: Mapping[Key, float]) -> None:
        """Nobody took it."""
        with self._lock:
            for key, amount in counts.items():
                self._counts[key] = self._counts.get(key, 0) + amount


class Counting:
    """Counts the events of this process, and hands over what it counted."""

    def __init__(self, folder: Path, role: str, *, every: float = EVERY) -> None:
        """``folder``: of the gateway's sockets."""
        self.counts = Counts()
        self._folder, self._role, self._every = folder, role, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """What is left is handed over, if somebody takes it."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self.hand_over()
        self.hand_over()

    def hand_over(self) -> None:
        """What nobody takes is kept. Never blocks and never raises."""
        counts = list(self.counts.take().items())
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as door:
            with within_reach(self._folder) as near:
                door.connect(str(near / SOCKET))
            for octets, length in _datagrams(self._role, counts):
                door.send(octets)
                del counts[:length]
        if counts:
            self.counts.put_back(dict(counts))


def _datagrams(role: str, counts: Sequence[tuple[Key, float]]) -> Iterator[tuple[bytes, int]]:
    """At least one, which says that the process is there; with how many counts are in each."""
    all_of_them = list(counts)
    while True:
        now, all_of_them = all_of_them[:_TOGETHER], all_of_them[_TOGETHER:]
        told = {"role": role, "pid": os.getpid(), "counts": [[*key, amount] for key, amount in now]}
        yield json.dumps(told).encode(), len(now)
        if not all_of_them:
            return


_counting: Counting | None = None


def start(folder: Path, role: str) -> Counting:
    """From now on this process counts, and hands over to whoever shows the metrics."""
    global _counting  # noqa: PLW0603
    _counting = Counting(folder, role)
    log.count_with(_counting.counts.event)
    return _counting


def stop() -> None:
    """No more; what was counted is handed over."""
    global _counting
    counting, _counting = _counting, None
    log.count_with(None)
    if counting is not None:
        counting.stop()


def commit_made(units: int) -> None:
    """One commit made so many units of work durable. Does nothing where nobody counts."""
    if _counting is not None:
        _counting.counts.add(COMMIT, (), units)


# --- adding up, in the process that shows them ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many values were at most each bound, all of them last; and their sum."""

    cumulative: tuple[float, ...]
    total: float


class Totals:
    """What all processes counted since this one started, and the gauges that were taken last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[Key, float] = {}
        self._heard: dict[tuple[str, int], float] = {}
        self._gauges: dict[tuple[str, tuple[str, ...]], float] = {}

    def take(self, octets: bytes, *, at: float) -> None:
        """What a process handed over, at that moment of the monotonic clock. What is not of the table is left out."""
        try:
            told = json.loads(octets)
            role, pid, counts = str(told["role"]), int(told["pid"]), list(told["counts"])
        except (ValueError, KeyError, TypeError):
            return
        with self._lock:
            self._heard[role, pid] = at
            for one in counts:
                key = _key(one)
                if key is not None:
                    self._counts[key] = self._counts.get(key, 0) + one[3]

    def running(self, at: float) -> dict[str, int]:
        """Processes of each role that were heard of lately."""
        with self._lock:
            self._heard = {who: when for who, when in self._heard.items() if at - when < SILENT}
            roles = [role for role, _ in self._heard]
        return {role: roles.count(role) for role in sorted(set(roles))}

    def set_gauges(self, values: Mapping[tuple[str, tuple[str, ...]], float]) -> None:
        """In the place of those before."""
        with self._lock:
            self._gauges = dict(values)

    def shown(self) -> dict[str, dict[tuple[str, ...], float | Histogram]]:
        """Every metric with its values, by its labels; also those that are 0 from the start."""
        with self._lock:
            counts, gauges = dict(self._counts), dict(self._gauges)
        found: dict[str, dict[tuple[str, ...], float | Histogram]] = {}
        for metric in METRICS.values():
            labels = dict.fromkeys((*metric.first, *(key[1] for key in counts if key[0] == metric.name)))
            found[metric.name] = {one: _value(metric, one, counts) for one in labels}
        for (name, labels_of), value in gauges.items():
            found[name][labels_of] = value
        return found


def _key(told: Any) -> Key | None:
    """``None`` for what the table doesn't have."""
    try:
        name, labels, number, amount = told
        metric = METRICS.get(name)
        is_right = (
            metric is not None
            and metric.kind is not Kind.GAUGE
            and len(labels) == len(metric.labels)
            and all(isinstance(one, str) and len(one) < 100 for one in labels)
            and isinstance(number, int)
            and (0 <= number <= len(metric.bounds) or number == _SUM if metric.bounds else number == _COUNT)
            and isinstance(amount, int | float)
            and math.isfinite(amount)
            and amount >= 0
        )
    except (TypeError, ValueError):
        return None
    return (name, tuple(labels), number) if is_right else None


def _value(metric: Metric, labels: tuple[str, ...], counts: Mapping[Key, float]) -> float | Histogram:
    name = metric.name
    if not metric.bounds:
        return counts.get((name, labels, _COUNT), 0)
    below, cumulative = 0.0, []
    for bucket in range(len(metric.bounds) + 1):
        below += counts.get((name, labels, bucket), 0)
        cumulative.append(below)
    return Histogram(tuple(cumulative), counts.get((name, labels, _SUM), 0))


class Taking:
    """Takes what processes hand over, in a thread of its own."""

    def __init__(self, folder: Path, totals: Totals) -> None:
        """Raises ``OSError``. One at a time for each folder: a socket that is there is of one that ended."""
        self._totals = totals
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._path = folder / SOCKET
        self._path.unlink(missing_ok=True)
        with within_reach(folder) as near:
            self._door.bind(str(near / SOCKET))
        self._thread = threading.Thread(target=self._run, name="counts", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while octets := self._door.recv(_LARGEST):
            self._totals.take(octets, at=time.monotonic())

    def close(self) -> None:
        """Nothing is taken any more."""
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            with within_reach(self._path.parent) as near:
                last.connect(str(near / SOCKET))
            last.send(b"")
        self._thread.join()
        self._path.unlink(missing_ok=True)
        self._door.close()


# --- the page -------------------------------------------------------------------------------------------------------


def as_markdown() -> str:
    """``docs/metrics.md``, printed from the table."""
    return _PAGE.format(
        counted="".join(map(_line, COUNTED)),
        gauges="".join(map(_line, GAUGES)),
        rows="".join(
            f"| `{log.name_of(row.event)}` | {row.says or 'always'} | `{row.metric.name}` |\n" for row in ROWS
        ),
        kinds=MOST_KINDS,
    )


def _line(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
    bounds = f" Bounds: {', '.join(f'{bound:g}' for bound in metric.bounds)}." if metric.bounds else ""
    return f"| `{metric.name}` | {metric.kind.value} | {labels} | {metric.help}{bounds} |\n"


_PAGE: Final = """\
# Metrics

<!-- Printed by zegel.edge.metrics.as_markdown; a test compares. -->

What `/metrics` shows, for all processes of the gateway together. How to scrape it: [monitoring.md](monitoring.md).

## Counted

From 0 at the start of the process that shows them.

| metric | type | labels | what |
|---|---|---|---|
{counted}
Which event of the [log](operating.md#log) counts where (every one counts in `zegel_events_total`):

| event | when | metric |
|---|---|---|
{rows}
## Measured

Taken every fifteen seconds, beside the mail.

| metric | type | labels | what |
|---|---|---|---|
{gauges}
No label holds an address, a domain, an organisation, or anything that a stranger chooses freely. A metric has at most
{kinds} different labels from each process; what is beyond them is counted as `other`.
"""
