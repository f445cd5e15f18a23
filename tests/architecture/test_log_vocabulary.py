"""Nothing that is anybody's mail, number, code or key reaches a log.

The log's events have no place for it, a defect is told without what it was about, and a secret doesn't print.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import inspect
import json
import pickle
import pprint
import re
import traceback
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, get_type_hints

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tests.architecture import source
from zegel.core.secret import Secret
from zegel.edge import log as vocabulary
from zegel.edge.log import Broken, Event, SubmissionRefused, log

MARKER: Final = "zeer-geheim-0612345678"

# A word has no shape that a test could know, so each field that holds words is named here, with whose words they are.
WORDS: Final = {
    "role": "ours: which process",
    "listening": "the operator's: an address and a port",
    "reply": "code and status of an SMTP reply, without its text",
    "source": "an IP address",
    "at": "ours: which door",
    "steps": "ours: kinds of steps",
    "kind": "ours: kind of a transmission",
    "outcome": "ours: how an attempt ended",
    "alarm": "ours: a condition",
    "host": "name of an MX host, or of the web server that a list of domains comes from",
    "security": "ours: a level",
    "method": "ours: a verification method",
    "where": "ours: a place in the program",
    "cap": "ours: which limit",
    "act": "ours: core.policy.audit.Act",
    "standing": "ours: missing or refused, of a sending domain",
    "selector": "ours: of DKIM keys, and public in the DNS",
    "hash": "SHA-256 of an entry in an audit log",
    "why": "ours: unknown, secret, disabled, network, or a result of SPF; why nothing was examined; or what lacks",
    "signature": "the malware scanner's own name for what it knows",
    "hosts": "ours: names that the gateway's certificate is for",
    "until": "a moment",
    "again": "a moment",
    "what": "ours: a sentence about a certificate, with its file and the gateway's names; or why a list "
    "of domains was not read; never an authority's or a server's words",
}
FORBIDDEN: Final = re.compile(
    r"subject|body|content|phone|number|code|password|token|link|secret|address|mailbox|recipients?_?name|author|"
    r"sender|message|text|field|header|key|name|url|query|cookie|value|diagnostic|detail|extra"
)
ALLOWED: Final = frozenset({uuid.UUID, int, float, bool, str})


def events() -> list[type[Event]]:
    found = [one for _, one in inspect.getmembers(vocabulary, inspect.isclass) if issubclass(one, Event)]
    assert len(found) > 5
    return found


def faults(event: type[Event]) -> list[str]:
    """What in this event could hold what may not be logged."""
    types = get_type_hints(event)
    said = []
    for field in dataclasses.fields(event):
        kind, where = types[field.name], f"{event.__name__}.{field.name}"
        if FORBIDDEN.search(field.name):
            said.append(f"{where}: a place for what is not logged")
        elif kind is BaseException and event is Broken:
            continue
        elif kind not in ALLOWED:
            said.append(f"{where}: {kind} can hold anything")
        elif kind is str and field.name not in WORDS:
            said.append(f"{where}: whose words are these?")
    return said


@pytest.mark.parametrize("event", events())
def test_no_event_has_a_place_for_mail_numbers_codes_or_keys(event: type[Event]) -> None:
    assert faults(event) == []


def test_a_place_for_them_would_be_found() -> None:
    @dataclass(frozen=True, slots=True)
    class Sly(Event):
        recipient: uuid.UUID
        recipient_address: str
        remark: str
        anything: dict[str, str]
        cause: BaseException

    assert [fault.partition(":")[0] for fault in faults(Sly)] == [
        "Sly.recipient_address",
        "Sly.remark",
        "Sly.anything",
        "Sly.cause",
    ]


def test_an_event_is_a_value_that_takes_no_other_fields() -> None:
    for event in events():
        assert dataclasses.is_dataclass(event)
        assert not hasattr(event(*[0] * len(dataclasses.fields(event))), "__dict__"), event


def test_only_the_vocabulary_writes_a_log() -> None:
    loggers = {"logging", "structlog", "warnings", "syslog"}
    others = [
        f"{source.place(path, node)} {name}"
        for path in source.modules("zegel")
        if path != source.ROOT / "zegel/edge/log.py"
        for node, name in source.imported(path)
        if name.partition(".")[0] in loggers
    ]
    assert others == []


def test_what_is_logged_is_made_on_the_spot() -> None:
    """``log(Event(…))``: at each call one sees what is said; an f-string could say anything."""
    names = {event.__name__ for event in events()}
    for path in source.modules("zegel"):
        functions = {
            node.name: ast.unparse(node.returns)
            for node in ast.walk(source.tree(path))
            if isinstance(node, ast.FunctionDef) and node.returns
        }
        for call, name in source.called(path):
            if name != "log" or path == source.ROOT / "zegel/edge/log.py":
                continue
            made = call.args[0]
            assert isinstance(made, ast.Call), source.place(path, call)
            maker = ast.unparse(made.func)
            assert functions.get(maker, maker) in names, source.place(path, call)


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Event], str]]:
    """What a process, configured as they are, writes for an event."""
    before = structlog.get_config()
    monkeypatch.setattr(vocabulary, "_LOGGER", structlog.get_logger())

    def written(event: Event) -> str:
        vocabulary.configure("info")  # here, not before: pytest gives the test itself a standard error of its own
        log(event)
        told = capsys.readouterr()
        assert told.out == ""
        return told.err

    yield written
    structlog.configure(**before)


# --- a cause tells where and what, not what it was about --------------------------------------------------------------


def failed(cause: BaseException) -> BaseException:
    """The exception as it is after it went through code whose variables hold the marker too."""
    held = Secret(MARKER), MARKER
    assert held
    try:
        raise cause
    except BaseException as raised:
        return raised


class Telling(Exception):
    """One that keeps what it was about."""

    def __init__(self, about: str) -> None:
        super().__init__(about)
        self.errno = about
        self.add_note(about)
        self.__cause__ = ValueError(about)
        self.__context__ = KeyError(about)

    def __str__(self) -> str:
        return f"about {self.errno}"

    __repr__ = __str__


CAUSES: Final[list[BaseException]] = [
    ValueError(MARKER),
    KeyError(MARKER),
    OSError(28, MARKER, f"/{MARKER}"),
    OSError(MARKER, "its first argument is called errno, whatever it is"),
    UnicodeDecodeError("utf-8", MARKER.encode(), 0, 1, MARKER),
    ExceptionGroup(MARKER, [ValueError(MARKER)]),
    Telling(MARKER),
    KeyboardInterrupt(MARKER),
]


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: type(cause).__name__)
def test_a_defect_is_logged_without_what_it_was_about(cause: BaseException, logged: Callable[[Event], str]) -> None:
    said = logged(Broken("a test", failed(cause)))
    assert json.loads(said)["cause"]["type"] == type(cause).__name__
    assert re.search(r":\d+ failed", said), "the place is told"
    assert MARKER not in said


@pytest.mark.parametrize("hostile", ["\n", "\r\n", "\x1b[2J", "\x00", '"', "\u2028"])
def test_an_event_is_one_line_of_json_whatever_a_stranger_says(hostile: str, logged: Callable[[Event], str]) -> None:
    said = logged(SubmissionRefused(reply=f"550{hostile}{{}}", source="192.0.2.1"))
    assert json.loads(said)["reply"] == f"550{hostile}{{}}"
    assert not re.search(r"[\x00-\x1f]", said.removesuffix("\n"))


# --- a secret never prints --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Holding:
    """A value with a secret in it, as the core has them."""

    secret: Secret[str]


def _traceback(secret: Secret[str]) -> str:
    def lost(held: Secret[str]) -> None:
        raise RuntimeError(f"with {held} in hand", held)

    try:
        lost(secret)
    except RuntimeError as cause:
        whole = traceback.TracebackException.from_exception(cause, capture_locals=True)
        return "".join(whole.format()) + repr(cause) + str(cause.args)
    return ""


def _refused(act: Callable[[Any], object]) -> Callable[[Any], str]:
    """For what must raise; what it says counts as printed."""

    def said(value: Any) -> str:
        with pytest.raises(TypeError) as refusal:
            act(value)
        return str(refusal.value)

    return said


def _perhaps(act: Callable[[Any], object], value: Any) -> str:
    """For what may raise or print, as long as either says nothing."""
    try:
        return str(act(value))
    except TypeError as refusal:
        return str(refusal)


PRINTS: Final[dict[str, Callable[[Secret[str]], str]]] = {
    "repr": repr,
    "str": str,
    "format": lambda secret: format(secret, ">40"),
    "f-string": lambda secret: f"{secret} {secret!r} {secret!s} {secret:s}",
    "percent": lambda secret: "%s %r" % (secret, secret),  # noqa: UP031
    "in a collection": lambda secret: f"{[secret]} { {secret: (secret,)} }",
    "pprint": lambda secret: pprint.pformat({"held": [secret, Holding(secret)]}),
    "dataclass": lambda secret: repr(Holding(secret)),
    "asdict": lambda secret: _perhaps(dataclasses.asdict, Holding(secret)),
    "astuple": lambda secret: _perhaps(dataclasses.astuple, Holding(secret)),
    "copy": lambda secret: _perhaps(copy.copy, secret),
    "traceback": _traceback,
    "json by default": lambda secret: json.dumps({"held": secret}, default=str),
    "json": _refused(json.dumps),
    "pickle": _refused(pickle.dumps),
    "pickle of what holds it": lambda secret: _refused(pickle.dumps)(Holding(secret)),
    "deepcopy": _refused(copy.deepcopy),
    "bytes": _refused(bytes),
    "iteration": _refused(list),
    "vars": _refused(vars),
}


@pytest.mark.parametrize("printed", PRINTS.values(), ids=PRINTS.keys())
@given(value=st.text(alphabet="ABCDEFGHJKLMNPQRSTUVWXYZ23456789", min_size=12, max_size=40))
def test_a_secret_never_prints(printed: Callable[[Secret[str]], str], value: str) -> None:
    said = printed(Secret(value))
    assert value not in said
    assert value.lower() not in said.lower()


@given(value=st.binary(min_size=8, max_size=64))
def test_a_secret_gives_itself_to_who_asks(value: bytes) -> None:
    assert Secret(value).reveal() == value
