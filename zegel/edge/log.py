"""The log's vocabulary. No event has a place for content, field values, numbers, codes or links."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import logging
import os
import re
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TextIO, cast

import structlog


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for the operator."""


@dataclass(frozen=True, slots=True)
class Started(Event):
    role: str
    listening: str


@dataclass(frozen=True, slots=True)
class Stopped(Event):
    role: str


@dataclass(frozen=True, slots=True)
class ProcessEnded(Event):
    role: str
    exit_status: int


@dataclass(frozen=True, slots=True)
class SubmissionAccepted(Event):
    submission: uuid.UUID
    recipients: int
    octets: int


@dataclass(frozen=True, slots=True)
class SubmissionRepeated(Event):
    """The same message was accepted before (D-4)."""


@dataclass(frozen=True, slots=True)
class SubmissionRefused(Event):
    reply: str
    source: str


@dataclass(frozen=True, slots=True)
class SignInRefused(Event):
    source: str
    at: str = "submission"
    why: str = ""  # unknown, secret, disabled, network, or what SPF said; never what was tried


@dataclass(frozen=True, slots=True)
class AccountMade(Event):
    """By a guest, who proved the mailbox; a second factor follows."""

    account: int


@dataclass(frozen=True, slots=True)
class InvitationTaken(Event):
    """By who followed its link and chose a password; a second factor follows."""

    account: int


@dataclass(frozen=True, slots=True)
class SessionsEnded(Event):
    """By their owner."""

    account: int
    sessions: int


@dataclass(frozen=True, slots=True)
class PasswordReset(Event):
    """With proof of the mailbox and the second factor."""

    account: int


@dataclass(frozen=True, slots=True)
class Audited(Event):
    """One more entry in an audit log; who keeps logs elsewhere can hold the chain against it."""

    act: str
    chain: int
    entry: int  # its place in the chain
    hash: str


@dataclass(frozen=True, slots=True)
class CapReached(Event):
    """An alarm: submissions, or codes by text message, are refused for now (451 4.7.1)."""

    cap: str
    organisation: int
    credential: int  # whose cap it is; 0: the organisation's


@dataclass(frozen=True, slots=True)
class RecipientDecided(Event):
    recipient: uuid.UUID
    row: int  # of the table, which its first step comes from; 0: it is held, or can't be served
    steps: str


@dataclass(frozen=True, slots=True)
class Attempted(Event):
    transmission: uuid.UUID
    kind: str
    outcome: str
    host: str
    reply: str
    security: str
    since: float  # seconds from acceptance of the message, or from when this mail was made


@dataclass(frozen=True, slots=True)
class RecipientUndeliverable(Event):
    """The sender is told, unless it asked not to be."""

    recipient: uuid.UUID


@dataclass(frozen=True, slots=True)
class Opened(Event):
    recipient: uuid.UUID
    method: str


@dataclass(frozen=True, slots=True)
class Revoked(Event):
    """By its sender: these recipients can't open the conversation any more."""

    conversation: uuid.UUID
    recipients: int


@dataclass(frozen=True, slots=True)
class ExpiryChanged(Event):
    """By its sender."""

    conversation: uuid.UUID
    until: str  # empty: never


@dataclass(frozen=True, slots=True)
class NotifiedAgain(Event):
    """The sender asked for it."""

    recipient: uuid.UUID


@dataclass(frozen=True, slots=True)
class MethodAsked(Event):
    """A recipient can't use this method; the sender was told."""

    recipient: uuid.UUID
    method: str


@dataclass(frozen=True, slots=True)
class MethodAllowed(Event):
    """The sender lets the recipient use this method in the place of the one that was decided."""

    recipient: uuid.UUID
    method: str


@dataclass(frozen=True, slots=True)
class MethodKept(Event):
    """The sender wants the recipient to use this method and no other."""

    recipient: uuid.UUID
    method: str


@dataclass(frozen=True, slots=True)
class DeviceRemembered(Event):
    """A guest needs no code on it from now on."""

    recipient: uuid.UUID
    device: uuid.UUID


@dataclass(frozen=True, slots=True)
class DeviceForgotten(Event):
    """Its owner wanted it."""

    device: uuid.UUID


@dataclass(frozen=True, slots=True)
class MalwareRefused(Event):
    """A guest's answer was refused for what the scanner found in it; nothing of it was kept."""

    conversation: uuid.UUID
    signature: str


@dataclass(frozen=True, slots=True)
class AnswerNotExamined(Event):
    """A guest's answer was refused for now, because the scanner gave no verdict."""

    conversation: uuid.UUID
    why: str


@dataclass(frozen=True, slots=True)
class BounceHeard(Event):
    transmission: uuid.UUID
    outcome: str


@dataclass(frozen=True, slots=True)
class SmsHandedOver(Event):
    sms: uuid.UUID
    outcome: str
    why: str = ""  # it failed: what the provider said, or that it was not reached


@dataclass(frozen=True, slots=True)
class CertificateLoaded(Event):
    """New connections see it from now on."""

    hosts: str
    until: str


@dataclass(frozen=True, slots=True)
class CertificateTroubleSeen(Event):
    """Nothing changed, and something should."""

    what: str


@dataclass(frozen=True, slots=True)
class CertificateIssued(Event):
    """By an authority."""

    hosts: str
    until: str


@dataclass(frozen=True, slots=True)
class CertificateNotIssued(Event):
    """What is there stays."""

    what: str
    again: str


@dataclass(frozen=True, slots=True)
class ListRead(Event):
    """A list of domains for direct delivery says something else than before, or the same once more."""

    organisation: int
    listed: int  # which list
    domains: int


@dataclass(frozen=True, slots=True)
class ListNotRead(Event):
    """What was read before stays, for a while (journey.decision.facts)."""

    organisation: int
    listed: int
    host: str
    what: str


@dataclass(frozen=True, slots=True)
class WebhookTold(Event):
    """Or not: ``outcome`` is "taken", "again" (it is tried later) or "given up"."""

    webhook: uuid.UUID
    request: uuid.UUID
    outcome: str
    why: str = ""  # the status that its server gave, or a word of ours
    host: str = ""


@dataclass(frozen=True, slots=True)
class AlarmRaised(Event):
    organisation: int  # 0: the gateway
    alarm: str


@dataclass(frozen=True, slots=True)
class AlarmEnded(Event):
    organisation: int
    alarm: str


@dataclass(frozen=True, slots=True)
class NotReadyNow(Event):
    """/readyz says no from now on, or for another reason than before."""

    why: str


@dataclass(frozen=True, slots=True)
class ReadyAgain(Event):
    """/readyz says yes from now on."""


@dataclass(frozen=True, slots=True)
class DomainInPlace(Event):
    """A sending domain may send: its records were found. Not logged again while that is so."""

    organisation: int
    domain: int


@dataclass(frozen=True, slots=True)
class DomainMissing(Event):
    """A record of a sending domain that is needed was not found, or something else in its place."""

    organisation: int
    domain: int
    standing: str


@dataclass(frozen=True, slots=True)
class DkimRenewed(Event):
    """Mail of a sending domain is signed with its new keys from now on."""

    organisation: int
    domain: int
    selector: str


@dataclass(frozen=True, slots=True)
class Broken(Event):
    """A defect or a lack of ours. The cause is its type and place; its message could hold somebody's mail."""

    where: str
    cause: BaseException


HELD: Final = 0.1  # seconds
MOST_HELD: Final = 200  # lines
_LOGGER: Final = structlog.get_logger()
_LEVELS: Final[dict[type[Event], str]] = {
    Broken: "error",
    ProcessEnded: "warning",
    CapReached: "warning",
    CertificateTroubleSeen: "warning",
    CertificateNotIssued: "warning",
    ListNotRead: "warning",
    DomainMissing: "warning",
    MalwareRefused: "warning",
    AnswerNotExamined: "warning",
    NotReadyNow: "warning",
}
_CAMEL: Final = re.compile(r"(?<!^)(?=[A-Z])")


class _Together:
    """A file for structlog that writes many lines at once: each write makes a busy process change threads, which costs
    more than all else about a line. What is held is written within :data:`HELD`, and at once behind a warning."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: list[str] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> None:
        self._lines.append(line)
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_writing, name="log", daemon=True)
            self._thread.start()
        if len(self._lines) >= MOST_HELD:
            self.drain()

    def flush(self) -> None:
        """Asked for after each line; there is a time for it."""

    def drain(self) -> None:
        """Writes what is held. What can't be written is lost."""
        with self._lock, contextlib.suppress(OSError):
            lines, self._lines = self._lines, []
            octets = memoryview("".join(lines).encode("utf-8", "replace"))
            while octets:
                octets = octets[os.write(self._descriptor, octets) :]

    def _keep_writing(self) -> None:
        while True:
            time.sleep(HELD)
            if self._lines:
                self.drain()


_held: _Together | None = None
_counts: Callable[[Event], None] | None = None


def count_with(counts: Callable[[Event], None] | None) -> None:
    """From now on it hears of every event of this process, also of those that the level leaves out. It never raises."""
    global _counts  # noqa: PLW0603
    _counts = counts


def name_of(kind: type[Event]) -> str:
    """As it stands in the log."""
    return _form(kind)[0]  # type: ignore[arg-type]  # as in log()


def configure(level: str, *, together: bool = False) -> None:
    """One JSON object a line on standard error. Libraries' own loggers keep quiet below warning. ``together``: lines
    may be written up to :data:`HELD` later, many at once; a process that is killed takes that long of its log along.
    What a library says where nobody reads any more is lost without a word: it would be another line that isn't JSON."""
    global _held  # noqa: PLW0603
    logging.raiseExceptions = False
    if together and _held is None:
        _held = _Together(sys.stderr.fileno())
        atexit.register(_held.drain)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _held or sys.stderr)),
        cache_logger_on_first_use=True,
    )


def log(event: Event) -> None:
    """Writes one event. Never raises for a log that can't be written: mail goes on when its disk is full (P4)."""
    if _counts is not None:
        _counts(event)
    name, level, fields = _form(type(event))  # type: ignore[arg-type]  # mypy looks at the instances' __hash__
    values = {field: _plain(getattr(event, field)) for field in fields}
    with contextlib.suppress(OSError):
        getattr(_LOGGER, level)(name, **values)
        if _held is not None and level != "info":
            _held.drain()


@cache  # a class is hashable, whatever its instances are
def _form(kind: type[Event]) -> tuple[str, str, tuple[str, ...]]:
    """Name, level and fields of a kind of event."""
    fields = tuple(field.name for field in dataclasses.fields(kind))
    return _CAMEL.sub("_", kind.__name__).lower(), _LEVELS.get(kind, "info"), fields


def _plain(value: Any) -> Any:
    if isinstance(value, BaseException):
        frames = traceback.extract_tb(value.__traceback__)
        places = [f"{frame.filename.rpartition('/zegel/')[2]}:{frame.lineno} {frame.name}" for frame in frames[-6:]]
        return {"type": type(value).__qualname__, "errno": _number(value), "at": places}
    return value if isinstance(value, int | float | str | None) else str(value)


def _number(cause: BaseException) -> int | None:
    """The operating system's number; an ``errno`` of another kind could hold text."""
    number = getattr(cause, "errno", None)
    return number if isinstance(number, int) else None
