"""The log's vocabulary. No event has a place for content, field values, numbers, codes or links."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
import sys
import traceback
import uuid
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

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
class CapReached(Event):
    """An alarm: submissions are refused for now (451 4.7.1)."""

    cap: str
    organisation: int
    credential: int | None  # whose cap it is; None: the organisation's


@dataclass(frozen=True, slots=True)
class RecipientDecided(Event):
    recipient: uuid.UUID
    steps: str


@dataclass(frozen=True, slots=True)
class Attempted(Event):
    transmission: uuid.UUID
    kind: str
    outcome: str
    host: str
    reply: str
    security: str


@dataclass(frozen=True, slots=True)
class Opened(Event):
    recipient: uuid.UUID
    method: str


@dataclass(frozen=True, slots=True)
class SmsHandedOver(Event):
    sms: uuid.UUID
    outcome: str


@dataclass(frozen=True, slots=True)
class Broken(Event):
    """A defect or a lack of ours. The cause is its type and place; its message could hold somebody's mail."""

    where: str
    cause: BaseException


_LOGGER: Final = structlog.get_logger()
_LEVELS: Final[dict[type[Event], str]] = {Broken: "error", ProcessEnded: "warning", CapReached: "warning"}
_CAMEL: Final = re.compile(r"(?<!^)(?=[A-Z])")


def configure(level: str) -> None:
    """One JSON object a line on standard error. Libraries' own loggers keep quiet below warning."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def log(event: Event) -> None:
    """Writes one event. Never raises for a log that can't be written: mail goes on when its disk is full (P4)."""
    name, level, fields = _form(type(event))  # type: ignore[arg-type]  # mypy looks at the instances' __hash__
    values = {field: _plain(getattr(event, field)) for field in fields}
    with contextlib.suppress(OSError):
        getattr(_LOGGER, level)(name, **values)


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
