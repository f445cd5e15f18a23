"""The server's half of SMTP as a machine without I/O: what arrival, and every other listener, drives.

Octets go in with :meth:`Server.receive`; :meth:`Server.next_event` tells what they mean; an event that awaits a
verdict gets it with :meth:`Server.reply`; :meth:`Server.outgoing` is what must be written. The machine promises:

- how the network cuts the octets makes no difference to events and replies;
- what is not in :data:`LEGAL` never becomes an event, and :data:`GATES` stand before it;
- nothing that arrived in clear behind STARTTLS is ever read (CVE-2011-0411, NO STARTTLS);
- content with a bare CR, a bare LF or a NUL is never completed, and nothing inside it is taken for a command;
- after ``Pause.NEED_INPUT`` it holds at most one unfinished command line;
- no reply repeats a word that the client sent.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, assert_never

from zegel.core.mail.address import Mailbox, NotAMailbox, ReversePath, parse_reverse_path
from zegel.core.mail.reply import Reply
from zegel.core.secret import Secret
from zegel.core.smtp import sasl
from zegel.core.smtp.lines import (
    CRLF,
    MAX_AUTH,
    MAX_COMMAND,
    BadParameter,
    DotStuffed,
    LineEndings,
    MailParameters,
    NotOffered,
    RcptParameters,
    WrongForm,
    limit_of,
    parse_chunk,
    parse_mail_parameters,
    parse_rcpt_parameters,
    split_path,
)


class Misuse(RuntimeError):
    """The driver did what its side of the agreement excludes, such as a reply to nothing."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What this server offers and demands."""

    hostname: str
    offers_starttls: bool = True
    requires_tls: bool = True
    """Before TLS only EHLO, HELO, STARTTLS, NOOP and QUIT are obeyed (RFC 3207 §4)."""
    offers_auth: bool = True
    """PLAIN and LOGIN, after TLS only."""
    requires_auth: bool = False
    """MAIL needs AUTH first; False where the driver may find another proof, such as SPF."""
    offers_requiretls: bool = False
    """RFC 8689, after TLS only."""
    offers_dsn: bool = True
    """RFC 3461 §5: who announces it reports what is asked of it, or passes that on."""
    max_size: int = 150_000_000
    max_recipients: int = 1000
    max_errors: int = 10
    """So many permanent refusals, with no recipient, message or sign-in accepted between them, end the connection."""
    max_auth_failures: int = 5
    max_idle_commands: int = 200
    """So many NOOP, RSET, EHLO, MAIL and the like, with no message accepted between them, end the connection."""
    smtputf8: bool = True


class _Key(Enum):
    """Members are looked up in tables for every command; Enum's own hash is computed in Python from the name."""

    __hash__ = object.__hash__  # members are one of a kind


class State(_Key):
    """Where a connection stands. Names of states are those of ``docs/smtp.md``."""

    CONNECTED = auto()
    """Greeted by us, not yet by the client; again after a TLS handshake (RFC 3207 §4.2)."""
    REFUSED = auto()
    """The banner was a refusal; RFC 5321 §3.1 lets the client say QUIT and nothing else."""
    GREETED = auto()
    AUTHENTICATING = auto()
    """Every line is an answer to a challenge."""
    MAIL_GIVEN = auto()
    RECIPIENTS_GIVEN = auto()
    CONTENT = auto()
    """Behind DATA: everything up to the end-of-data is content."""
    CHUNKS = auto()
    """Behind the first BDAT, until LAST."""
    STARTING_TLS = auto()
    """Everything that arrives is dropped until the handshake is done."""
    CLOSED = auto()


class Command(_Key):
    """The commands that are understood; all others are answered in the same way in every state."""

    EHLO = auto()
    HELO = auto()
    STARTTLS = auto()
    AUTH = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    BDAT = auto()
    RSET = auto()
    NOOP = auto()
    VRFY = auto()
    HELP = auto()
    QUIT = auto()


_S, _C = State, Command

LEGAL: Final[Mapping[State, Mapping[Command, State]]] = {
    # state: {command: the state that its success leads to}
    _S.CONNECTED: {
        _C.EHLO: _S.GREETED,
        _C.HELO: _S.GREETED,
        _C.RSET: _S.CONNECTED,  # RFC 5321 §4.1.4: these need no session
        _C.NOOP: _S.CONNECTED,
        _C.VRFY: _S.CONNECTED,
        _C.HELP: _S.CONNECTED,
        _C.QUIT: _S.CLOSED,
    },
    _S.REFUSED: {
        _C.QUIT: _S.CLOSED,
    },
    _S.GREETED: {
        _C.EHLO: _S.GREETED,
        _C.HELO: _S.GREETED,
        _C.STARTTLS: _S.STARTING_TLS,
        _C.AUTH: _S.AUTHENTICATING,
        _C.MAIL: _S.MAIL_GIVEN,
        _C.RSET: _S.GREETED,
        _C.NOOP: _S.GREETED,
        _C.VRFY: _S.GREETED,
        _C.HELP: _S.GREETED,
        _C.QUIT: _S.CLOSED,
    },
    _S.AUTHENTICATING: {},
    _S.MAIL_GIVEN: {
        _C.EHLO: _S.GREETED,
        _C.HELO: _S.GREETED,
        _C.RCPT: _S.RECIPIENTS_GIVEN,
        _C.RSET: _S.GREETED,
        _C.NOOP: _S.MAIL_GIVEN,
        _C.VRFY: _S.MAIL_GIVEN,
        _C.HELP: _S.MAIL_GIVEN,
        _C.QUIT: _S.CLOSED,
    },
    _S.RECIPIENTS_GIVEN: {
        _C.EHLO: _S.GREETED,
        _C.HELO: _S.GREETED,
        _C.RCPT: _S.RECIPIENTS_GIVEN,
        _C.DATA: _S.CONTENT,
        _C.BDAT: _S.CHUNKS,
        _C.RSET: _S.GREETED,
        _C.NOOP: _S.RECIPIENTS_GIVEN,
        _C.VRFY: _S.RECIPIENTS_GIVEN,
        _C.HELP: _S.RECIPIENTS_GIVEN,
        _C.QUIT: _S.CLOSED,
    },
    _S.CONTENT: {},
    _S.CHUNKS: {
        _C.EHLO: _S.GREETED,
        _C.HELO: _S.GREETED,
        _C.BDAT: _S.CHUNKS,
        _C.RSET: _S.GREETED,
        _C.NOOP: _S.CHUNKS,
        _C.VRFY: _S.CHUNKS,
        _C.HELP: _S.CHUNKS,
        _C.QUIT: _S.CLOSED,
    },
    _S.STARTING_TLS: {},
    _S.CLOSED: {},
}
"""Which command is legal in which state, and where it leads. What is not here is refused with 503 5.5.1."""


@dataclass(frozen=True, slots=True)
class Passage:
    """What leads out of a state without a command."""

    when: str
    then: State


AFTERWARDS: Final[Mapping[State, Passage]] = {
    _S.AUTHENTICATING: Passage("exchange ended", _S.GREETED),
    _S.CONTENT: Passage("end-of-data answered", _S.GREETED),
    _S.CHUNKS: Passage("BDAT LAST answered", _S.GREETED),
    _S.STARTING_TLS: Passage("TLS established", _S.CONNECTED),
}


def what_first(state: State, command: Command) -> str:
    """One sentence for who sends a command where it is not legal: what must come first."""
    match state:
        case State.CONNECTED:
            return "Send EHLO first"
        case State.GREETED:
            return "Send MAIL FROM first"
        case State.MAIL_GIVEN if command in (Command.DATA, Command.BDAT):
            return "Send RCPT TO first; a recipient must have been accepted"
        case State.CHUNKS:
            return "Finish this message with BDAT LAST, or send RSET first"
        case State.REFUSED:
            return "No mail is taken on this connection, send QUIT"
        case _:
            return "Finish this mail transaction, or send RSET first"


# What the machine says by itself. Fixed sentences: nothing of the client's own text returns to it.
READY_FOR_TLS: Final = Reply(220, "2.0.0", "Ready to start TLS")
CLOSING: Final = Reply(221, "2.0.0", "Closing the connection")
OK: Final = Reply(250, "2.0.0", "OK")
CANNOT_VERIFY: Final = Reply(252, "2.1.5", "Addresses are not verified here; send the message and it will be tried")
HELP: Final = Reply(214, "2.0.0", "This is SMTP as RFC 5321 describes it; EHLO lists what is offered")
GO_AHEAD: Final = Reply(354, None, "Send the message, and end it with a line that holds a single dot")

UNKNOWN: Final = Reply(500, "5.5.2", "Command not recognised")
STRAY: Final = Reply(500, "5.5.2", "A command line ends with CR LF and has no other CR, LF or NUL in it")
NOT_UTF8: Final = Reply(500, "5.5.2", "A command line is ASCII, or UTF-8 with SMTPUTF8")
TOO_LONG: Final = Reply(500, "5.5.2", "Command line too long")
AUTH_TOO_LONG: Final = Reply(500, "5.5.6", "Authentication exchange line is too long")
NOT_IMPLEMENTED: Final = Reply(502, "5.5.1", "Command not implemented")
NO_HTTP: Final = Reply(421, "4.7.0", "This is a mail server, not a web server; closing the connection")
TOO_MANY_ERRORS: Final = Reply(421, "4.7.0", "Too many errors on this connection; closing it")
TOO_MANY_SIGN_INS: Final = Reply(421, "4.7.0", "Too many failed sign-ins; closing the connection")

TOO_MANY_IDLE: Final = Reply(421, "4.7.0", "Too many commands without a message; closing the connection")
NEEDS_NAME: Final = Reply(501, "5.5.4", "EHLO and HELO take the host name of the client")
NO_ARGUMENT: Final = Reply(501, "5.5.4", "This command takes no argument")
NO_STARTTLS: Final = Reply(502, "5.5.1", "STARTTLS is not offered here")
TLS_IS_ACTIVE: Final = Reply(503, "5.5.1", "TLS is already active")
TLS_FIRST: Final = Reply(530, "5.7.0", "Must issue a STARTTLS command first")

NO_AUTH: Final = Reply(502, "5.5.1", "AUTH is not offered here")
AUTHENTICATED_ALREADY: Final = Reply(503, "5.5.1", "This connection is already authenticated")
EHLO_FIRST: Final = Reply(503, "5.5.1", "Send EHLO first")
AUTH_FIRST: Final = Reply(530, "5.7.0", "Authentication required")
NEEDS_MECHANISM: Final = Reply(501, "5.5.4", "AUTH takes the name of a mechanism: PLAIN or LOGIN")
OTHER_MECHANISM: Final = Reply(504, "5.5.4", "The mechanisms offered are PLAIN and LOGIN")
AUTH_CANCELLED: Final = Reply(501, "5.7.0", "Authentication cancelled")
AUTH_MALFORMED: Final = Reply(501, "5.5.2", "The response is not base64, or not what the mechanism asks for")
OTHER_IDENTITY: Final = Reply(535, "5.7.8", "A name can only be used for itself; leave the other identity empty")

NEEDS_FROM: Final = Reply(501, "5.5.4", "The form is MAIL FROM:<address>")
NEEDS_TO: Final = Reply(501, "5.5.4", "The form is RCPT TO:<address>")
BAD_SENDER: Final = Reply(
    501, "5.1.7", "The sender's address is not a valid address with a full domain name, between angle brackets"
)
BAD_RECIPIENT: Final = Reply(
    501, "5.1.3", "The recipient's address is not a valid address with a full domain name, between angle brackets"
)
NO_POSTMASTER: Final = Reply(550, "5.1.3", "There are no mailboxes on this server; write postmaster with a domain")
BAD_PARAMETER: Final = Reply(501, "5.5.4", "A parameter of this command has no valid value, or stands twice")
UNKNOWN_PARAMETER: Final = Reply(555, "5.5.4", "A parameter of this command is not offered here")
NEEDS_SMTPUTF8: Final = Reply(553, "5.6.7", "An address with non-ASCII characters needs SMTPUTF8 on MAIL FROM")
TOO_MANY_RECIPIENTS: Final = Reply(452, "4.5.3", "Too many recipients; send the message again for the others")

TOO_LARGE: Final = Reply(552, "5.3.4", "The message is larger than this server accepts; EHLO tells the limit")
BAD_CONTENT: Final = Reply(
    550, "5.6.0", "The message has a CR or LF that is not part of a CR LF pair, or a NUL; end every line with CR LF"
)
BAD_CHUNK: Final = Reply(501, "5.5.4", "The form is BDAT size, or BDAT size LAST")
CHUNK_LOST: Final = Reply(501, "5.5.4", "The form is BDAT size; what follows cannot be told from commands, closing")
CHUNK_FAILED: Final = Reply(503, "5.5.1", "An earlier chunk of this message was refused; send RSET first")


COMPLAINTS: Final[tuple[tuple[str, Reply], ...]] = (
    ("a command that is none", UNKNOWN),
    ("a bare CR, a bare LF or a NUL in a command", STRAY),
    ("a command that is not UTF-8", NOT_UTF8),
    ("a command line of more than 512 octets, 2048 of `MAIL` and `RCPT`", TOO_LONG),
    ("more than 12 288 octets of `AUTH`, or of an answer to a challenge", AUTH_TOO_LONG),
    ("`ETRN`, `ATRN`, `EXPN`, `TURN`, `SEND`, `SOML`, `SAML`, `BURL`", NOT_IMPLEMENTED),
    ("a request of a web browser", NO_HTTP),
    ("`EHLO` or `HELO` without a name, or with one that is no host name or address literal", NEEDS_NAME),
    ("an argument where there is none", NO_ARGUMENT),
    ("`AUTH` without a mechanism", NEEDS_MECHANISM),
    ("`AUTH` with another one than `PLAIN` and `LOGIN`", OTHER_MECHANISM),
    ("`*` as an answer to a challenge", AUTH_CANCELLED),
    ("an answer that is not base64, or not in the form of the mechanism", AUTH_MALFORMED),
    ("`AUTH PLAIN` on behalf of another name; counts as a failed sign-in", OTHER_IDENTITY),
    ("`MAIL` without `FROM:`", NEEDS_FROM),
    ("`RCPT` without `TO:`", NEEDS_TO),
    ("`MAIL` with something that is no address, with an address literal, or without a domain with a dot", BAD_SENDER),
    ("`RCPT` with such a thing", BAD_RECIPIENT),
    ("`RCPT TO:<postmaster>`", NO_POSTMASTER),
    ("a parameter with a wrong value, or twice", BAD_PARAMETER),
    ("a parameter that `EHLO` does not offer, or of another command", UNKNOWN_PARAMETER),
    ("an address with other letters than those of ASCII, without `SMTPUTF8`", NEEDS_SMTPUTF8),
    ("`BDAT` with a size and something else than `LAST`", BAD_CHUNK),
    ("`BDAT` with a size that can't be read; closes the connection", CHUNK_LOST),
    ("`BDAT` behind one of the same message that was refused", CHUNK_FAILED),
)
"""What is said of commands that are wrong in themselves. What becomes of a message, and what ends the connection, is
documented with the rest of submission: :mod:`zegel.journey.arrival.refusals`."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Refuses commands for what the connection is, before :data:`LEGAL` looks at where it stands."""

    commands: frozenset[Command]
    when: str
    is_shut: Callable[[Server], bool]
    reply: Reply


_BEFORE_TLS: Final = frozenset({_C.EHLO, _C.HELO, _C.STARTTLS, _C.NOOP, _C.QUIT})  # RFC 3207 §4

GATES: Final[tuple[Gate, ...]] = (
    Gate(
        frozenset({_C.STARTTLS}),
        "TLS is active",
        lambda server: server.tls,
        TLS_IS_ACTIVE,
    ),
    Gate(
        frozenset({_C.STARTTLS}),
        "STARTTLS is not offered",
        lambda server: not server.profile.offers_starttls,
        NO_STARTTLS,
    ),
    Gate(
        frozenset({_C.AUTH}),
        "AUTH is not offered",
        lambda server: not server.profile.offers_auth,
        NO_AUTH,
    ),
    Gate(
        frozenset(Command) - _BEFORE_TLS,
        "TLS is required and not active",
        lambda server: server.profile.requires_tls and not server.tls,
        TLS_FIRST,
    ),
    Gate(
        frozenset({_C.AUTH}),
        "TLS is not active",
        lambda server: not server.tls,
        TLS_FIRST,
    ),
    Gate(
        frozenset({_C.AUTH}),
        "the client said HELO, not EHLO",
        lambda server: server.state is State.GREETED and not server.extended,
        EHLO_FIRST,
    ),
    Gate(
        frozenset({_C.AUTH}),
        "the client is authenticated (RFC 4954 §4)",
        lambda server: server.authenticated,
        AUTHENTICATED_ALREADY,
    ),
    Gate(
        frozenset({_C.MAIL}),
        "authentication is required and has not happened",
        lambda server: server.state is State.GREETED and server.profile.requires_auth and not server.authenticated,
        AUTH_FIRST,
    ),
)
_GATES_OF: Final = {command: tuple(gate for gate in GATES if command in gate.commands) for command in Command}
_OUT_OF_SEQUENCE: Final = {
    (state, command): Reply(503, "5.5.1", what_first(state, command))
    for state, legal in LEGAL.items()
    for command in Command
    if command not in legal
}


@dataclass(frozen=True, slots=True)
class StartTls:
    """Write what is outgoing, do the handshake, then call ``tls_established``."""


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Awaits a reply; 2yz makes the connection authenticated, 5yz counts as a failed sign-in."""

    mechanism: str
    username: str
    password: Secret[str]


@dataclass(frozen=True, slots=True)
class Mail:
    """Awaits a reply; 2yz opens a transaction."""

    reverse_path: ReversePath
    parameters: MailParameters


@dataclass(frozen=True, slots=True)
class Recipient:
    """Awaits a reply."""

    mailbox: Mailbox
    parameters: RcptParameters


@dataclass(frozen=True, slots=True)
class ContentBegins:
    """Awaits a reply: 2yz or 3yz lets the content come (behind DATA as a 354), anything else refuses it.

    Refused at DATA, the transaction stays open; refused at BDAT, it is over, and a ``Reset`` follows.
    """


@dataclass(frozen=True, slots=True)
class ContentChunk:
    """A piece of the content as it was meant: without stuffed dots, every line ended by CRLF.

    Only BDAT may end content without a CRLF; a piece may end anywhere.
    """

    octets: bytes


@dataclass(frozen=True, slots=True)
class ContentEnds:
    """Awaits a reply: the whole content was given and is sound. 2yz takes responsibility for the message.
    Whatever the reply, the transaction is over."""


@dataclass(frozen=True, slots=True)
class ContentAborted:
    """The content that began will not be completed; it and its transaction are over. Nothing to reply."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The transaction, of which no content had been let in, is over. Nothing to reply."""


@dataclass(frozen=True, slots=True)
class Quit:
    """The client said QUIT and was answered. Nothing to reply."""


Event = (
    StartTls
    | Authenticate
    | Mail
    | Recipient
    | ContentBegins
    | ContentChunk
    | ContentEnds
    | ContentAborted
    | Reset
    | Quit
)
_Awaiting = Authenticate | Mail | Recipient | ContentBegins | ContentEnds


class Pause(Enum):
    """Why there is no event now."""

    NEED_INPUT = auto()
    AWAITING_REPLY = auto()
    """Nothing more is read until ``reply``: stop reading from the network, what arrives is kept."""
    CLOSED = auto()
    """Write what is outgoing, then close. Comes once every event was given; a transaction still open is over."""


@dataclass(slots=True)
class _Chunk:
    """A BDAT chunk on its way in; ``refusal`` when its octets are only to be swallowed (RFC 3030 §2)."""

    size: int
    last: bool
    refusal: Reply | None
    left: int = 0

    def __post_init__(self) -> None:
        self.left = self.size


@dataclass(slots=True)
class _Transaction:
    """What is true of one mail transaction, and of the wait for the next one."""

    open: bool = False
    """The driver said yes to MAIL and was not told of an end."""
    content_open: bool = False
    """The driver said yes to content and was not told of an end."""
    refused: bool = False
    """A step was refused, so that what was pipelined behind it comes out of sequence."""
    consequences: int = 0
    """How much of what came out of sequence was not held against the client."""
    smtputf8: bool = False
    recipients: int = 0
    size: int = 0
    content: DotStuffed | None = None
    endings: LineEndings = field(default_factory=LineEndings)
    chunk: _Chunk | None = None
    chunk_failed: bool = False


_COMMANDS: Final = {command.name.encode(): command for command in Command}
_IDLE: Final = frozenset({_C.MAIL, _C.EHLO, _C.HELO, _C.RSET, _C.NOOP, _C.VRFY, _C.HELP})
_NOT_IMPLEMENTED: Final = frozenset(b"ETRN ATRN EXPN TURN SEND SOML SAML BURL".split())
_HTTP: Final = frozenset(b"GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH PRI".split())
_CLIENT_NAME: Final = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")


def _refusal_of_line(line: bytes, refusal: Reply) -> Reply:
    """A BDAT that can't be read leaves a chunk of unknown length behind it; its refusal is always the last."""
    return CHUNK_LOST if line[:5].upper() == b"BDAT " else refusal


class Server:
    """One connection. ``state``, ``tls``, ``authenticated``, ``helo`` and ``extended`` are for reading only.

    ``helo`` has the characters of a host name or address literal and no others; ``extended`` says that it came
    with EHLO.
    """

    __slots__ = (
        "_at",
        "_auth_failures",
        "_awaited",
        "_eof",
        "_errors",
        "_events",
        "_greeted",
        "_idle",
        "_input",
        "_mechanism",
        "_output",
        "_overlong",
        "_stage",
        "_transaction",
        "authenticated",
        "extended",
        "helo",
        "profile",
        "state",
        "tls",
    )

    profile: Profile
    state: State
    tls: bool
    authenticated: bool
    helo: str | None
    extended: bool

    def __init__(self, profile: Profile, *, tls: bool = False) -> None:
        """``tls`` is implicit TLS: the handshake was done before the first octet (RFC 8314)."""
        self.profile = profile
        self.state = State.CONNECTED
        self.tls = tls
        self.authenticated = False
        self.helo = None
        self.extended = False

        self._greeted = False
        self._eof = False
        self._input = b""
        self._at = 0  # what lies before it in the input has been read
        self._overlong: Reply | None = None  # the line being swallowed, and what will be said of it
        self._output: list[bytes] = []
        self._events: deque[Event] = deque()
        self._awaited: _Awaiting | None = None
        self._errors = 0
        self._idle = 0
        self._auth_failures = 0
        self._mechanism = ""
        self._stage: sasl.Stage | None = None
        self._transaction = _Transaction()

    # What the driver calls

    def greet(self, refusal: Reply | None = None) -> None:
        """Queues the banner; until then nothing is read. A refusal of 421 closes, any other waits for QUIT."""
        if self._greeted:
            raise Misuse("a connection is greeted once")
        self._greeted = True
        if refusal is not None:
            self.state = State.REFUSED
        self._say(refusal or Reply(220, None, f"{self.profile.hostname} ESMTP"))

    def receive(self, octets: bytes) -> None:
        """Takes what the network brought, of any length. Behind STARTTLS and after the end it is dropped."""
        if self._eof or self.state is State.CLOSED or self.state is State.STARTING_TLS:
            return
        # The usual case is that everything before was read: then nothing is copied.
        self._input = bytes(octets) if self._at >= len(self._input) else self._input[self._at :] + octets
        self._at = 0

    def receive_eof(self) -> None:
        """The client will send nothing more; what it sent before is still read."""
        self._eof = True

    def next_event(self) -> Event | Pause:
        """The next thing that happened, or why there is none."""
        while True:
            if self._events:
                return self._events.popleft()
            if self._awaited is not None:
                return Pause.AWAITING_REPLY
            if self.state is State.CLOSED:
                return Pause.CLOSED
            if self._greeted and self._advance():
                continue
            if not self._eof:
                return Pause.NEED_INPUT
            self._close()

    def reply(self, reply: Reply) -> None:
        """The verdict on the event that awaits one. A 421 also closes the connection (RFC 5321 §3.8)."""
        if self._awaited is None or self._events:
            raise Misuse("no event awaits a reply")
        awaited, self._awaited = self._awaited, None
        match awaited:
            case Recipient():
                self._conclude_recipient(reply)
            case Mail(parameters=parameters):
                self._conclude_mail(parameters, reply)
            case ContentBegins():
                self._conclude_beginning(reply)
            case ContentEnds():
                self._conclude_content(reply)
            case Authenticate():
                self._conclude_authentication(reply)
            case _ as never:
                assert_never(never)

    def outgoing(self) -> bytes:
        """What is to be written now; the next call gives only what came since."""
        octets = b"".join(self._output)
        self._output.clear()
        return octets

    def tls_established(self) -> None:
        """The handshake is done: the client starts anew, and nothing it said before counts (RFC 3207 §4.2)."""
        if self.state is not State.STARTING_TLS:
            raise Misuse("no STARTTLS was agreed on")
        self.state = AFTERWARDS[self.state].then
        self.tls = True
        self.authenticated = False
        self.helo = None
        self.extended = False

    def hang_up(self, reply: Reply) -> None:
        """Says a last word that nobody asked for, such as 421 on a timeout or at shutdown, and closes."""
        if self.state is not State.CLOSED:
            self._awaited = None
            self._say(reply)
            self._close()

    @property
    def buffered(self) -> int:
        """Octets received and not yet read."""
        return len(self._input) - self._at

    @property
    def is_taking_content(self) -> bool:
        """What comes now is content, not commands."""
        return self._transaction.content is not None or self._transaction.chunk is not None

    # Speaking

    def _say(self, reply: Reply) -> None:
        """Queues a reply. A 421 is by definition the last one (RFC 5321 §3.8)."""
        self._output.append(reply.encode())
        if reply.code == 421:
            self._close()

    def _refuse(self, reply: Reply) -> None:
        """A reply to what the client did wrong. Our own trouble (4yz) is not held against it."""
        self._say(reply)
        if not reply.is_permanent:
            return
        self._errors += 1
        if self._errors >= self.profile.max_errors:
            self._say(TOO_MANY_ERRORS)

    def _await(self, event: _Awaiting) -> None:
        self._events.append(event)
        self._awaited = event

    def _move(self, command: Command) -> None:
        self.state = LEGAL[self.state][command]

    def _close(self) -> None:
        if self._transaction.content_open:
            self._events.append(ContentAborted())
        self._transaction = _Transaction()
        self.state = State.CLOSED
        self._stage = None
        self._input, self._at = b"", 0

    def _discard(self) -> None:
        """Tells the driver, once, that its transaction is over."""
        if self._transaction.content_open:
            self._events.append(ContentAborted())
        elif self._transaction.open:
            self._events.append(Reset())
        self._transaction.open = self._transaction.content_open = False

    # Reading

    def _advance(self) -> bool:
        """Reads one thing; False when there is not enough input for it."""
        if self._transaction.chunk is not None:
            return self._read_chunk(self._transaction.chunk)
        if self._at >= len(self._input):
            self._input, self._at = b"", 0  # may have been a password
            return False
        if self._transaction.content is not None:
            return self._read_content(self._transaction.content)
        return self._read_line()

    def _read_line(self) -> bool:
        end = self._input.find(CRLF, self._at)
        if end < 0:
            self._bound_input()
            return False
        line, self._at = self._input[self._at : end], end + len(CRLF)
        overlong, self._overlong = self._overlong, None
        if overlong is None and len(line) + len(CRLF) > MAX_COMMAND:
            overlong = self._refusal_of_length(len(line) + len(CRLF), line)
        if self.state is State.AUTHENTICATING:
            self._answer(line, overlong)
        elif overlong is not None:
            self._refuse_line(overlong)
        else:
            self._obey(line)
        return True

    def _bound_input(self) -> None:
        """Keeps an unfinished line while it may still become a legal one; of a longer one only how it goes on."""
        length = len(self._input) - self._at
        if self._overlong is None and length >= MAX_COMMAND:
            start = self._input[self._at : self._at + 5]
            self._overlong = self._refusal_of_length(length + 1, start)
        if self._overlong is not None:
            self._input, self._at = self._input[-1:] if self._input.endswith(b"\r") else b"", 0

    def _refusal_of_length(self, length: int, start: bytes) -> Reply | None:
        if self.state is State.AUTHENTICATING:
            return AUTH_TOO_LONG if length > MAX_AUTH else None
        limit = limit_of(start)
        if length <= limit:
            return None
        return _refusal_of_line(start, AUTH_TOO_LONG if limit == MAX_AUTH else TOO_LONG)

    def _refuse_line(self, refusal: Reply) -> None:
        self._refuse(refusal)
        if refusal is CHUNK_LOST:
            self._close()

    def _obey(self, line: bytes) -> None:
        if b"\r" in line or b"\n" in line or b"\0" in line:
            self._refuse_line(_refusal_of_line(line, STRAY))
            return
        verb, _, rest = line.partition(b" ")
        command = _COMMANDS.get(verb.upper())
        if command is None:
            self._refuse_verb(verb.upper())
            return
        try:
            argument = rest.decode().strip(" ")  # RFC 5321 §4.1.1: trailing space is tolerated
        except UnicodeDecodeError:
            self._refuse_line(_refusal_of_line(line, NOT_UTF8))
            return
        if command is Command.BDAT:
            self._begin_chunk(argument)  # refused or not, its octets must be read
        elif (objection := self._objection(command)) is not None:
            self._object(command, objection)
        else:
            self._carry_out(command, argument)

    def _refuse_verb(self, verb: bytes) -> None:
        if verb in _HTTP:
            # A browser made to post at this port: what follows is text of a stranger's choice, not commands.
            self._say(NO_HTTP)
        else:
            self._refuse(NOT_IMPLEMENTED if verb in _NOT_IMPLEMENTED else UNKNOWN)

    def _objection(self, command: Command) -> Reply | None:
        if self.state is not State.REFUSED:
            for gate in _GATES_OF[command]:
                if gate.is_shut(self):
                    return gate.reply
        return None if command in LEGAL[self.state] else _OUT_OF_SEQUENCE[self.state, command]

    def _object(self, command: Command, objection: Reply) -> None:
        """Refuses. What was pipelined behind a refused step is a consequence, not another error (RFC 2920): as much as
        one group may hold. Without an end to it, who can't sign in could go on for ever."""
        transaction = self._transaction
        if command is Command.MAIL:
            transaction.refused, transaction.consequences = True, 0
        if (
            transaction.refused
            and transaction.consequences <= self.profile.max_recipients  # all of them, and DATA
            and objection.code == 503
            and command in (Command.RCPT, Command.DATA, Command.BDAT)
        ):
            transaction.consequences += 1
            self._say(objection)
        else:
            self._refuse(objection)

    def _carry_out(self, command: Command, argument: str) -> None:
        if command in _IDLE:
            self._idle += 1
            if self._idle > self.profile.max_idle_commands:
                self._say(TOO_MANY_IDLE)
                return
        match command:
            case Command.RCPT:
                self._recipient(argument)
            case Command.MAIL:
                self._mail(argument)
            case Command.EHLO | Command.HELO:
                self._hello(command, argument)
            case Command.AUTH:
                self._begin_authentication(argument)
            case Command.NOOP:
                self._say(OK)
            case Command.VRFY:
                self._say(CANNOT_VERIFY)
            case Command.HELP:
                self._say(HELP)
            case _ if argument:
                self._refuse(NO_ARGUMENT)
            case Command.DATA:
                self._await(ContentBegins())
            case Command.RSET:
                self._end_transaction(command)
                self._say(OK)
            case Command.STARTTLS:
                self._say(READY_FOR_TLS)
                self._move(command)
                self._input, self._at = b"", 0  # STARTTLS injection
                self._events.append(StartTls())
            case Command.QUIT:
                self._say(CLOSING)
                self._close()
                self._events.append(Quit())
            case _:
                raise AssertionError(command)  # BDAT has its own way in

    def _end_transaction(self, command: Command) -> None:
        self._discard()
        self._transaction = _Transaction()
        self._move(command)

    # Greeting and authentication

    def _hello(self, command: Command, argument: str) -> None:
        if not _CLIENT_NAME.fullmatch(argument):
            self._refuse(NEEDS_NAME)
            return
        self._end_transaction(command)
        self.helo = argument
        self.extended = command is Command.EHLO
        self._say(Reply(250, None, self.profile.hostname, self._keywords() if self.extended else ()))

    def _keywords(self) -> tuple[str, ...]:
        """What EHLO offers, at this moment (RFC 5321 §4.1.1.1)."""
        profile = self.profile
        offers = {
            "PIPELINING": True,
            f"SIZE {profile.max_size}": True,
            "8BITMIME": True,
            "SMTPUTF8": profile.smtputf8,
            "ENHANCEDSTATUSCODES": True,
            "DSN": profile.offers_dsn,
            "CHUNKING": True,
            f"LIMITS RCPTMAX={profile.max_recipients}": True,  # RFC 9422
            "STARTTLS": profile.offers_starttls and not self.tls,
            "AUTH PLAIN LOGIN": self._offers_auth and not self.authenticated,
            "REQUIRETLS": self._offers_requiretls,
        }
        return tuple(keyword for keyword, offered in offers.items() if offered)

    @property
    def _offers_auth(self) -> bool:
        return self.profile.offers_auth and self.tls

    @property
    def _offers_requiretls(self) -> bool:
        return self.profile.offers_requiretls and self.tls

    def _begin_authentication(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        stage = sasl.MECHANISMS.get(mechanism.upper())
        if stage is None:
            self._refuse(OTHER_MECHANISM if mechanism else NEEDS_MECHANISM)
            return
        self._move(Command.AUTH)
        self._mechanism, self._stage = mechanism.upper(), stage
        if initial:
            self._answer(b"" if initial == "=" else initial.encode(), None)
        else:
            self._say(Reply(334, None, stage.challenge))

    def _answer(self, line: bytes, overlong: Reply | None) -> None:
        """A line of the exchange. Nothing is kept of it but the stage."""
        stage, self._stage = self._stage, None
        if stage is None:
            raise AssertionError("an exchange has a stage")
        step = AUTH_TOO_LONG if overlong is not None else sasl.answer(stage, line)
        match step:
            case sasl.Credentials(username, password):
                self._await(Authenticate(self._mechanism, username, password))
            case sasl.Plain() | sasl.LoginName() | sasl.LoginPassword():
                self._stage = step
                self._say(Reply(334, None, step.challenge))
            case _:
                self.state = AFTERWARDS[self.state].then
                self._refuse_exchange(step)

    def _refuse_exchange(self, why: sasl.Failure | Reply) -> None:
        match why:
            case sasl.Failure.CANCELLED:
                self._refuse(AUTH_CANCELLED)
            case sasl.Failure.MALFORMED:
                self._refuse(AUTH_MALFORMED)
            case sasl.Failure.OTHER_IDENTITY:
                self._refuse_sign_in(OTHER_IDENTITY)
            case Reply():
                self._refuse(why)
            case _ as never:
                assert_never(never)

    def _conclude_authentication(self, reply: Reply) -> None:
        self.state = AFTERWARDS[self.state].then
        if reply.is_positive:
            self.authenticated = True
            self._errors = 0
            self._say(reply)
        else:
            self._refuse_sign_in(reply)

    def _refuse_sign_in(self, reply: Reply) -> None:
        self._say(reply)
        if not reply.is_permanent:
            return
        self._auth_failures += 1
        if self._auth_failures >= self.profile.max_auth_failures:
            self._say(TOO_MANY_SIGN_INS)

    # The envelope

    def _mail(self, argument: str) -> None:
        self._transaction.refused, self._transaction.consequences = False, 0
        event = self._parse_mail(argument)
        if isinstance(event, Reply):
            self._transaction.refused = True
            self._refuse(event)
        else:
            self._await(event)

    def _parse_mail(self, argument: str) -> Mail | Reply:
        try:
            path, text = split_path(argument, "FROM:")
            parameters = parse_mail_parameters(text, self._mail_keywords())
            if (parameters.size or 0) > self.profile.max_size:
                return TOO_LARGE
            if not (path.isascii() or parameters.smtputf8):
                return NEEDS_SMTPUTF8
            return Mail(parse_reverse_path(path), parameters)
        except WrongForm:
            return NEEDS_FROM
        except NotAMailbox:
            return BAD_SENDER
        except NotOffered:
            return UNKNOWN_PARAMETER
        except BadParameter:
            return BAD_PARAMETER

    def _mail_keywords(self) -> set[str]:
        offered = {"SIZE", "BODY"}
        if self.profile.offers_dsn:
            offered |= {"RET", "ENVID"}
        if self.profile.smtputf8:
            offered.add("SMTPUTF8")
        if self._offers_auth:
            offered.add("AUTH")
        if self._offers_requiretls:
            offered.add("REQUIRETLS")
        return offered

    def _conclude_mail(self, parameters: MailParameters, reply: Reply) -> None:
        if not reply.is_positive:
            self._transaction.refused = True
            self._refuse(reply)
            return
        self._transaction.open = True
        self._transaction.smtputf8 = parameters.smtputf8
        self._move(Command.MAIL)
        self._say(reply)

    def _recipient(self, argument: str) -> None:
        event = self._parse_recipient(argument)
        if isinstance(event, Reply):
            self._transaction.refused = True
            self._refuse(event)
        elif self._transaction.recipients >= self.profile.max_recipients:
            self._say(TOO_MANY_RECIPIENTS)  # RFC 5321 §4.5.3.1.10: the client sends the others another time
        else:
            self._await(event)

    def _parse_recipient(self, argument: str) -> Recipient | Reply:
        try:
            path, text = split_path(argument, "TO:")
            smtputf8, offers_dsn = self._transaction.smtputf8, self.profile.offers_dsn
            parameters = parse_rcpt_parameters(text, smtputf8=smtputf8, dsn=offers_dsn)
            if not (path.isascii() or self._transaction.smtputf8):
                return NEEDS_SMTPUTF8
            if path.lower() == "postmaster":
                return NO_POSTMASTER  # RFC 5321 §4.5.1 asks it of servers that deliver
            return Recipient(Mailbox.parse(path), parameters)
        except WrongForm:
            return NEEDS_TO
        except NotAMailbox:
            return BAD_RECIPIENT
        except NotOffered:
            return UNKNOWN_PARAMETER
        except BadParameter:
            return BAD_PARAMETER

    def _conclude_recipient(self, reply: Reply) -> None:
        if not reply.is_positive:
            self._transaction.refused = True
            self._refuse(reply)
            return
        self._transaction.recipients += 1
        self._errors = 0
        self._move(Command.RCPT)
        self._say(reply)

    # The content

    def _conclude_beginning(self, reply: Reply) -> None:
        chunk = self._transaction.chunk
        if reply.is_positive:
            self._transaction.content_open = True
            if chunk is None:
                self._move(Command.DATA)
                self._transaction.content = DotStuffed()
                self._say(reply if reply.code == 354 else GO_AHEAD)
        elif chunk is None:
            self._transaction.refused = True
            self._refuse(reply)
        else:
            chunk.refusal = reply
            self._discard()

    def _read_content(self, content: DotStuffed) -> bool:
        octets, rest = content.feed(self._input[self._at :])
        self._input, self._at = rest or b"", 0
        self._transaction.size += len(octets)
        if self._transaction.content_open:
            if content.malformed or self._transaction.size > self.profile.max_size:
                self._discard()
            elif octets:
                self._events.append(ContentChunk(octets))
        if rest is not None:
            self._end_of_data(content)
        return True

    def _end_of_data(self, content: DotStuffed) -> None:
        self._transaction.content = None
        if self._transaction.content_open:
            self._transaction.content_open = False
            self._await(ContentEnds())
            return
        # Both may be true, and which was seen first depends on how the network cut the octets.
        self._conclude_content(BAD_CONTENT if content.malformed else TOO_LARGE)

    def _conclude_content(self, reply: Reply) -> None:
        self.state = AFTERWARDS[self.state].then
        self._transaction = _Transaction()
        if reply.is_positive:
            self._errors = self._idle = 0
            self._say(reply)
        else:
            self._refuse(reply)

    def _begin_chunk(self, argument: str) -> None:
        header = parse_chunk(argument)
        if header is None:
            self._refuse_line(CHUNK_LOST)
            return
        refusal = self._objection(Command.BDAT)
        if refusal is None:
            self._move(Command.BDAT)
            if self._transaction.chunk_failed:
                refusal = CHUNK_FAILED
            elif not header.well_formed:
                refusal = BAD_CHUNK
            elif self._transaction.size + header.size > self.profile.max_size:
                refusal = TOO_LARGE
            else:
                self._transaction.size += header.size
        self._transaction.chunk = _Chunk(header.size, header.last, refusal)
        if self.state is not State.CHUNKS:
            return
        if refusal is not None:
            self._discard()
        elif not self._transaction.content_open:
            self._await(ContentBegins())

    def _read_chunk(self, chunk: _Chunk) -> bool:
        octets = self._input[self._at : self._at + chunk.left]
        if chunk.left and not octets:
            return False
        self._at += len(octets)
        chunk.left -= len(octets)
        if chunk.refusal is None and octets:
            if self._transaction.endings.are_broken_by(octets):
                self._break_off(chunk)
            else:
                self._events.append(ContentChunk(octets))
        if not chunk.left:
            self._end_chunk(chunk)
        return True

    def _break_off(self, chunk: _Chunk) -> None:
        chunk.refusal = BAD_CONTENT
        self._discard()

    def _end_chunk(self, chunk: _Chunk) -> None:
        self._transaction.chunk = None
        if chunk.refusal is None and chunk.last and self._transaction.endings.are_unfinished:
            self._break_off(chunk)
        if chunk.refusal is not None:
            self._refuse_chunk(chunk.last, chunk.refusal)
        elif chunk.last:
            self._transaction.content_open = False
            self._await(ContentEnds())
        else:
            self._say(Reply(250, "2.0.0", f"{chunk.size} octets received"))

    def _refuse_chunk(self, last: bool, refusal: Reply) -> None:
        is_consequence = refusal is CHUNK_FAILED
        if self.state is State.CHUNKS:
            self._transaction.chunk_failed = True
            if last:
                self.state = AFTERWARDS[self.state].then
                self._transaction = _Transaction()
        if is_consequence:
            self._say(refusal)
        else:
            self._object(Command.BDAT, refusal)


def legal_as_markdown() -> str:
    """``docs/smtp.md``: :data:`LEGAL`, :data:`GATES`, :data:`COMPLAINTS` as tables, :data:`AFTERWARDS` in a diagram."""
    return "\n".join([*_introduction(), *_legal_table(), *_sentences(), *_gates_table(), *_complaints(), *_diagram()])


def _introduction() -> list[str]:
    return [
        "# SMTP: what may be said when",
        "",
        "Printed by `zegel.core.smtp.server.legal_as_markdown` from the tables that the server obeys; a test compares.",
        "",
    ]


def _legal_table() -> list[str]:
    listening = [state for state, legal in LEGAL.items() if legal]
    lines = [
        "## Legal commands",
        "",
        "A cell names the state that success leads to; `503` is a refusal that says what must come first.",
        "",
        "| command | " + " | ".join(state.name for state in listening) + " |",
        "|---" * (len(listening) + 1) + "|",
    ]
    for command in Command:
        cells = (LEGAL[state].get(command) for state in listening)
        lines.append(f"| {command.name} | " + " | ".join(cell.name if cell else "`503`" for cell in cells) + " |")
    return [
        *lines,
        "",
        "No command is read in AUTHENTICATING (every line is an answer to a challenge), CONTENT (everything up to",
        "CR LF . CR LF is content), STARTING_TLS (everything is dropped) and CLOSED. The octets of a BDAT that is",
        "refused are read and dropped; a BDAT of which the size can't be read closes the connection.",
        "",
    ]


def _sentences() -> list[str]:
    said: dict[tuple[State, str], list[str]] = {}
    for (state, command), reply in _OUT_OF_SEQUENCE.items():
        if LEGAL[state]:
            said.setdefault((state, reply.text), []).append(command.name)
    return [
        "## What `503 5.5.1` says",
        "",
        "| state | command | sentence |",
        "|---|---|---|",
        *(f"| {state.name} | {', '.join(commands)} | {text} |" for (state, text), commands in said.items()),
        "",
    ]


def _gates_table() -> list[str]:
    lines = [
        "## Gates",
        "",
        "Looked at from the top, before the table above; in REFUSED there are none.",
        "",
        "| commands | when | reply |",
        "|---|---|---|",
    ]
    for gate in GATES:
        names = ", ".join(command.name for command in Command if command in gate.commands)
        lines.append(f"| {names} | {gate.when} | `{gate.reply}` |")
    return [*lines, ""]


def _complaints() -> list[str]:
    return [
        "## What is wrong with a command",
        "",
        "| what stands there | reply |",
        "|---|---|",
        *(f"| {what} | `{reply}` |" for what, reply in COMPLAINTS),
        "",
    ]


def _diagram() -> list[str]:
    moves: dict[tuple[State, State], list[str]] = {}
    for state, legal in LEGAL.items():
        for command, then in legal.items():
            if then is not state:
                moves.setdefault((state, then), []).append(command.name)
    for state, passage in AFTERWARDS.items():
        moves.setdefault((state, passage.then), []).append(passage.when)
    return [
        "## The way through",
        "",
        "Commands that stay where they are, and a 421 from anywhere to CLOSED, are left out.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        f"    [*] --> {State.CONNECTED.name}: 220",
        f"    [*] --> {State.REFUSED.name}: 554",
        *(f"    {state.name} --> {then.name}: {', '.join(why)}" for (state, then), why in moves.items()),
        f"    {State.CLOSED.name} --> [*]",
        "```",
        "",
    ]
