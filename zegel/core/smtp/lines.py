"""How octets become lines, arguments and content: CRLF, dot-stuffing, limits, and the grammar of an argument.

Nothing here repairs what arrives. A line ends at CRLF and content at CRLF.CRLF, because two programs that
disagree about either let a message carry a second message inside it (SMTP smuggling).
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeVar

from zegel.core.mail.address import NULL_PATH, Mailbox, NotAMailbox, ReversePath

CRLF: Final = b"\r\n"
END_OF_DATA: Final = b"\r\n.\r\n"  # RFC 5321 §4.1.1.4

MAX_COMMAND: Final = 512  # octets with the CRLF, RFC 5321 §4.5.3.1.4
MAX_ENVELOPE_COMMAND: Final = 2048
"""MAIL and RCPT: 512 and what the extensions add: SIZE 26 (RFC 1870 §3), BODY 17 (RFC 6152 §2), SMTPUTF8 10
(RFC 6531 §3.1), AUTH 500 (RFC 4954 §3), ENVID 100 and ORCPT 500 (RFC 3461 §4.4, §4.2), rounded up."""
MAX_AUTH: Final = 12288  # RFC 4954 §4; its AUTH command gets the same room, clients don't count before they send

MAX_ENVID: Final = 100  # RFC 3461 §4.4
MAX_ORCPT: Final = 500  # RFC 3461 §4.2


class WrongForm(ValueError):
    """The argument is not ``FROM:<path>`` or ``TO:<path>``."""


class BadParameter(ValueError):
    """A parameter does not have the form that its RFC gives it, or stands twice."""


class NotOffered(ValueError):
    """A parameter belongs to no extension that is offered now."""


def limit_of(start: bytes) -> int:
    """How many octets, CRLF included, a command line may have that starts with these five."""
    match start[:5].upper():
        case b"MAIL " | b"RCPT ":
            return MAX_ENVELOPE_COMMAND
        case b"AUTH ":
            return MAX_AUTH
        case _:
            return MAX_COMMAND


def is_stray(octets: bytes) -> bool:
    """True when there is a CR without its LF, an LF without its CR, or a NUL.

    For octets that neither start nor end in the middle of a CRLF. Three counts cost less than one regular
    expression, and nothing per line.
    """
    if b"\0" in octets:
        return True
    newlines = octets.count(b"\n")
    return newlines != octets.count(b"\r") or newlines != octets.count(CRLF)


class DotStuffed:
    """The content behind DATA: its dots removed, its end found, in whatever pieces it arrives.

    ``malformed`` is true from the moment that a bare CR, a bare LF or a NUL was seen. Even then the end is
    CRLF.CRLF and nothing else, so what an attacker wrote behind a false end is still content.
    """

    __slots__ = ("_held", "_skip", "malformed")

    def __init__(self) -> None:
        self.malformed = False
        # The first line of the content is a line too: it follows the CRLF of the DATA command, which is not
        # content and therefore skipped.
        self._held = CRLF
        self._skip = len(CRLF)

    def feed(self, octets: bytes) -> tuple[bytes, bytes | None]:
        """The content that these octets complete, and what follows the end-of-data (``None`` before it)."""
        octets = self._held + octets
        # Base64 has no dots, so most of a large message is never searched.
        dot = octets.find(b"\r\n.") if b"." in octets else -1
        end = octets.find(END_OF_DATA, dot) if dot >= 0 else -1
        if end >= 0:
            body, rest = octets[: end + len(CRLF)], octets[end + len(END_OF_DATA) :]
        else:
            held = _unfinished(octets)
            body, rest = octets[: len(octets) - held], None
            self._held = octets[len(octets) - held :]
        if body and not self.malformed:
            self.malformed = is_stray(body)
        if dot >= 0:
            body = body.replace(b"\r\n.", CRLF)  # RFC 5321 §4.5.2
        if self._skip and body:
            body, self._skip = body[self._skip :], 0
        return body, rest


def _unfinished(octets: bytes) -> int:
    """How many of the last octets may belong to an end-of-data of which the rest has yet to come."""
    for length in (4, 3, 2, 1):
        if octets.endswith(END_OF_DATA[:length]):
            return length
    return 0


class LineEndings:
    """Watches the line endings of content that arrives in counted pieces (BDAT, RFC 3030)."""

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = False

    def are_broken_by(self, octets: bytes) -> bool:
        """True when these octets, behind the earlier ones, hold a bare CR, a bare LF or a NUL."""
        if self._half:
            octets = b"\r" + octets
        self._half = octets.endswith(b"\r")
        return is_stray(octets[:-1] if self._half else octets)

    @property
    def are_unfinished(self) -> bool:
        """The last octet was a CR: its LF may be the first octet of the next chunk."""
        return self._half


_ROUTE: Final = re.compile(r'<@[^\s:<>"]*:')
_QUOTED: Final = re.compile(r'<"(?:[^"\\]|\\.)*"')


@lru_cache(2048)  # senders come again with every message
def split_path(argument: str, keyword: str) -> tuple[str, str]:
    """The path of ``FROM:<path> parameters`` without its brackets, and the parameters.

    A source route is cut off, as RFC 5321 §4.1.1.3 and appendix C ask. Space before the bracket is forgiven,
    missing brackets are not. Raises :class:`WrongForm` without the keyword, ``NotAMailbox`` without a path.
    """
    if argument[: len(keyword)].upper() != keyword:
        raise WrongForm(f"the argument starts with {keyword}")
    text = argument[len(keyword) :].lstrip(" ")
    if text.startswith("<@"):
        text = _ROUTE.sub("<", text, count=1)
    quoted = _QUOTED.match(text) if text.startswith('<"') else None
    end = text.find(">", quoted.end() if quoted else 0)
    if end < 0 or not text.startswith("<"):
        raise NotAMailbox("an address stands between angle brackets")
    path, rest = text[1:end], text[end + 1 :]
    if path[:1].isspace() or any(map(str.isspace, path.rpartition("@")[2])) or not path.isprintable():
        raise NotAMailbox("there is space in the address, or something that cannot be seen")
    if rest and not rest.startswith(" "):
        raise NotAMailbox("something follows the closing bracket")
    return path, rest.strip(" ")


_KEYWORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_VALUE: Final = re.compile(r"[!-<>-~\u0080-\U0010ffff]+")


def parse_parameters(text: str) -> Mapping[str, str | None]:
    """Keyword (upper case) to value of RFC 5321 §4.1.2 ``esmtp-param``; ``None`` where there is no ``=``.

    Raises :class:`BadParameter`, also for a keyword that stands twice (RFC 3461 §4.5 asks it for its own, and a
    second value of any other would be a second meaning).
    """
    parameters: dict[str, str | None] = {}
    for word in text.split(" "):
        if not word:
            continue
        keyword, equals, value = word.partition("=")
        if not _KEYWORD.fullmatch(keyword) or (equals and not _VALUE.fullmatch(value)):
            raise BadParameter("a parameter is KEYWORD or KEYWORD=value")
        if keyword.upper() in parameters:
            raise BadParameter("a parameter stands twice")
        parameters[keyword.upper()] = value if equals else None
    return parameters


_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")


def decode_xtext(text: str) -> str:
    """What RFC 3461 §4 ``xtext`` stands for. Raises :class:`BadParameter`, also when that is not printable ASCII:
    it is going to stand in a field of a report, and a line break in it would be a field of its own."""
    if not _XTEXT.fullmatch(text):
        raise BadParameter("not xtext")
    decoded = re.sub(r"\+(..)", lambda code: chr(int(code[1], 16)), text)
    if not decoded.isascii() or not decoded.isprintable():
        raise BadParameter("xtext of something that is not printable")
    return decoded


_UNITEXT: Final = re.compile(r"(?:[!-*,-<>-\[\]-~\u0080-\U0010ffff]|\\x\{[0-9A-F]{2,6}\})+")


def decode_unitext(text: str) -> str:
    r"""What RFC 6533 §3 ``utf-8-addr-xtext`` and ``utf-8-addr-unitext`` stand for: ``\x{E9}`` is ``é``.

    Raises :class:`BadParameter`, also when that is not printable.
    """
    if not _UNITEXT.fullmatch(text):
        raise BadParameter("not an encoded UTF-8 address")
    try:
        decoded = re.sub(r"\\x\{(.+?)\}", lambda code: chr(int(code[1], 16)), text)
    except (ValueError, OverflowError) as cause:
        raise BadParameter("no such code point") from cause
    if not decoded.isprintable():  # neither are surrogates
        raise BadParameter("an encoded address that is not printable")
    return decoded


class OriginalRecipient(NamedTuple):
    """ORCPT, decoded: the address as the sender knew it (RFC 3461 §4.2); its letters keep their case."""

    type: str
    address: str


_ATOM: Final = re.compile(r"[A-Za-z0-9!#$%&'*/?^_`{|}~-]+")


def parse_original_recipient(value: str, *, unicode: bool) -> OriginalRecipient:
    """``rfc822;xtext`` or ``utf-8;unitext``, raw UTF-8 only with ``unicode``. Raises :class:`BadParameter`."""
    address_type, semicolon, address = value.partition(";")
    if len(value) > MAX_ORCPT or not semicolon or not _ATOM.fullmatch(address_type):
        raise BadParameter("ORCPT is type;address")
    if not unicode and not value.isascii():
        raise BadParameter("ORCPT has raw UTF-8 without SMTPUTF8")
    decode = decode_unitext if address_type.lower() == "utf-8" else decode_xtext
    return OriginalRecipient(address_type, decode(address))


@dataclass(frozen=True, slots=True)
class MailParameters:
    """What MAIL asked for, validated and decoded."""

    size: int | None = None
    """SIZE: the client's estimate (RFC 1870)."""
    body: Literal["7BIT", "8BITMIME"] | None = None
    smtputf8: bool = False
    ret: Literal["FULL", "HDRS"] | None = None
    envid: str | None = None
    """ENVID: printable ASCII (RFC 3461 §4.4)."""
    requiretls: bool = False
    auth: ReversePath | None = None
    """AUTH: whom the client says the message comes from; a claim, not a proof (RFC 4954 §5)."""


@dataclass(frozen=True, slots=True)
class RcptParameters:
    """What RCPT asked for, validated and decoded."""

    notify: frozenset[str] = frozenset()
    """NOTIFY: ``NEVER`` alone, or any of ``SUCCESS``, ``FAILURE``, ``DELAY``; empty when not given."""
    orcpt: OriginalRecipient | None = None


_NO_MAIL_PARAMETERS: Final = MailParameters()
_NO_RCPT_PARAMETERS: Final = RcptParameters()
_NOTIFY: Final = frozenset({"SUCCESS", "FAILURE", "DELAY"})
_NEVER: Final = frozenset({"NEVER"})


def parse_mail_parameters(text: str, offered: Container[str]) -> MailParameters:
    """The parameters of MAIL. Raises :class:`BadParameter`, and :class:`NotOffered` for what is not in ``offered``."""
    if not text:
        return _NO_MAIL_PARAMETERS
    given = parse_parameters(text)
    # BINARYMIME is an extension of its own (RFC 3030 §3); content with any octet in it can't be line-checked.
    if not all(keyword in offered for keyword in given) or (given.get("BODY") or "").upper() == "BINARYMIME":
        raise NotOffered("a parameter of MAIL is not offered")
    return MailParameters(
        size=_size(given),
        body=_choice(given, "BODY", _BODIES),
        smtputf8=_flag(given, "SMTPUTF8"),
        ret=_choice(given, "RET", _RETURNS),
        envid=_envid(given),
        requiretls=_flag(given, "REQUIRETLS"),
        auth=_claimed_sender(given),
    )


def parse_rcpt_parameters(text: str, *, smtputf8: bool, dsn: bool = True) -> RcptParameters:
    """The parameters of RCPT, all of which belong to ``dsn``. Raises :class:`BadParameter` and :class:`NotOffered`."""
    if not text:
        return _NO_RCPT_PARAMETERS
    given = parse_parameters(text)
    if not dsn or not given.keys() <= {"NOTIFY", "ORCPT"}:
        raise NotOffered("a parameter of RCPT is not offered")
    return RcptParameters(
        notify=_notify(given),
        orcpt=parse_original_recipient(_value(given, "ORCPT"), unicode=smtputf8) if "ORCPT" in given else None,
    )


_T = TypeVar("_T", bound=str)
_BODIES: Final[Mapping[str, Literal["7BIT", "8BITMIME"]]] = {"7BIT": "7BIT", "8BITMIME": "8BITMIME"}
_RETURNS: Final[Mapping[str, Literal["FULL", "HDRS"]]] = {"FULL": "FULL", "HDRS": "HDRS"}


def _value(given: Mapping[str, str | None], keyword: str) -> str:
    value = given[keyword]
    if value is None:
        raise BadParameter(f"{keyword} needs a value")
    return value


def _flag(given: Mapping[str, str | None], keyword: str) -> bool:
    if given.get(keyword) is not None:
        raise BadParameter(f"{keyword} takes no value")
    return keyword in given


def _choice(given: Mapping[str, str | None], keyword: str, choices: Mapping[str, _T]) -> _T | None:
    if keyword not in given:
        return None
    choice = choices.get(_value(given, keyword).upper())
    if choice is None:
        raise BadParameter(f"{keyword} has another value")
    return choice


def _size(given: Mapping[str, str | None]) -> int | None:
    if "SIZE" not in given:
        return None
    value = _value(given, "SIZE")
    if not (value.isascii() and value.isdigit()) or len(value) > 20:  # RFC 1870 §5: 1*20DIGIT
        raise BadParameter("SIZE is a number")
    return int(value)


def _envid(given: Mapping[str, str | None]) -> str | None:
    if "ENVID" not in given:
        return None
    value = _value(given, "ENVID")
    if len(value) > MAX_ENVID:
        raise BadParameter("ENVID is longer than 100 characters")
    return decode_xtext(value)


def _claimed_sender(given: Mapping[str, str | None]) -> ReversePath | None:
    if "AUTH" not in given:
        return None
    sender = decode_xtext(_value(given, "AUTH"))
    try:
        return NULL_PATH if sender == "<>" else Mailbox.parse(sender)
    except NotAMailbox as cause:
        raise BadParameter("AUTH is a mailbox or <>") from cause


def _notify(given: Mapping[str, str | None]) -> frozenset[str]:
    if "NOTIFY" not in given:
        return frozenset()
    wishes = frozenset(_value(given, "NOTIFY").upper().split(","))
    if wishes != _NEVER and not wishes <= _NOTIFY:
        raise BadParameter("NOTIFY is NEVER, or some of SUCCESS, FAILURE and DELAY")
    return wishes


class ChunkHeader(NamedTuple):
    """The argument of BDAT: how many octets follow, and whether they are the last."""

    size: int
    last: bool
    well_formed: bool


def parse_chunk(argument: str) -> ChunkHeader | None:
    """``size [LAST]`` of RFC 3030 §2; ``None`` when not even the size can be read.

    A readable size with something wrong behind it still says how many octets to discard.
    """
    size, *marker = argument.upper().split() or [""]
    if not (size.isascii() and size.isdigit()) or len(size) > 20:
        return None
    return ChunkHeader(int(size), last="LAST" in marker, well_formed=marker in ([], ["LAST"]))
