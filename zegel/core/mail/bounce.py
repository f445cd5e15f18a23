"""Bounces that come home: what a mail to one of our return paths says about the mail that we sent.

Anybody may write to such an address, and whoever got a mail knows its return path. So nothing here is believed
beyond the one mail that the address stands for, and what is not understood changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal, cast

from zegel.core.mail.fields import BrokenHeader, HeaderSection, decode_words
from zegel.core.mail.mime import MimeIndexer, Part, as_text, decoder

LARGEST_READ: Final = 262_144  # octets; reports come with at most the header of what they are about, or begin so
LONGEST_DIAGNOSTIC: Final = 400
MOST_GROUPS: Final = 100  # recipients in one report that are looked at
_UNKNOWN_FAILURE: Final = "5.0.0"
_UNKNOWN_DELAY: Final = "4.0.0"
_UNKNOWN_SUCCESS: Final = "2.0.0"


@dataclass(frozen=True, slots=True)
class Failed:
    """It will not arrive any more. ``diagnostic``: the words of the server that refused, on one line."""

    status: str  # RFC 3463 §2, of class 5 (or 4, for what expired)
    diagnostic: str
    remote_mta: str


@dataclass(frozen=True, slots=True)
class Delayed:
    """It did not arrive yet; whoever says so goes on trying."""

    status: str
    diagnostic: str
    remote_mta: str


@dataclass(frozen=True, slots=True)
class Success:
    """What a report says of one recipient that was served. ``about``: the addresses that it names, in small letters."""

    action: Literal["relayed", "delivered", "expanded"]  # RFC 3464 §2.3.3
    status: str  # RFC 3463 §2, of class 2
    about: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Arrived:
    """A report of success: it came further than the server that we gave it to. Whether anybody asked for it, and
    whether it is about our recipient, is for others to find out (:func:`success_of`)."""

    said: tuple[Success, ...] = ()
    reporting_mta: str = ""


@dataclass(frozen=True, slots=True)
class AutoReply:
    """Somebody is out of the office, or a machine says thank you: no bounce, and no answer of a person."""


@dataclass(frozen=True, slots=True)
class Unclear:
    """No report that is understood."""


Bounced = Failed | Delayed | Arrived | AutoReply | Unclear


def read_bounce(octets: bytes, *, is_null_reverse_path: bool) -> Bounced:
    """What the mail says. Of several recipients the worst counts: the address it came to stands for one mail to one.

    ``octets``: its beginning, of :data:`LARGEST_READ` at most, with CRLF. Never raises.
    """
    octets = octets[:LARGEST_READ]
    end = octets.find(b"\r\n\r\n")
    header = octets[: end + 2] if end >= 0 else octets
    try:
        section = HeaderSection.parse(header)
    except BrokenHeader:
        return Unclear()
    indexer = MimeIndexer(header, len(header) + 2)
    indexer.feed(octets[len(header) + 2 :])
    mail = _Mail(octets, section, indexer.finish())
    if _is_auto_reply(mail):
        return AutoReply()
    reporting_mta, groups = _groups(mail)
    if groups:
        return _worst(groups, reporting_mta)
    if not is_null_reverse_path:  # a person, or a machine that breaks RFC 3834 §3.3; either is no report
        return AutoReply() if _is_list_or_bulk(mail) else Unclear()
    if mail.has("X-Failed-Recipients"):  # Exim, where it writes no report of the standard form
        return Failed(_UNKNOWN_FAILURE, "", "")
    return _by_qmail(mail) or Unclear()


@dataclass(frozen=True, slots=True)
class _Mail:
    octets: bytes
    section: HeaderSection
    parts: tuple[Part, ...]

    @property
    def type(self) -> str:
        return self.parts[0].type

    def has(self, name: str) -> bool:
        return self.section.first(name) is not None

    def text_of(self, name: str) -> str:
        """The value of a field in lower case; empty without one."""
        found = self.section.first(name)
        return _one_line(decode_words(found.value)).lower() if found else ""

    def content(self, part: Part, most: int = LARGEST_READ) -> bytes:
        reader = decoder(part.encoding)
        return (reader.feed(self.octets[part.offset : part.offset + part.length]) + reader.finish())[:most]


# --- auto-replies -------------------------------------------------------------------------------------------------

_BULK: Final = frozenset({"bulk", "junk", "list", "auto_reply"})
_ANSWERING: Final = ("X-Autoreply", "X-Autorespond")


def _is_auto_reply(mail: _Mail) -> bool:
    """RFC 3834 §5, and what answering machines wrote before it. A report says ``auto-generated`` or ``auto-replied``
    too, so its type is looked at first."""
    if mail.type == _REPORT or mail.has("X-Failed-Recipients"):
        return False
    submitted = re.split(r"[\s;(]", mail.text_of("Auto-Submitted"), maxsplit=1)[0]
    return (
        submitted in ("auto-replied", "auto-notified")
        or any(mail.has(name) for name in _ANSWERING)
        or mail.text_of("Precedence") == "auto_reply"
    )


def _is_list_or_bulk(mail: _Mail) -> bool:
    return mail.has("List-Id") or mail.text_of("Precedence") in _BULK or mail.has("Auto-Submitted")


# --- reports ------------------------------------------------------------------------------------------------------

_REPORT: Final = "multipart/report"
_FOR_PROGRAMS: Final = frozenset({"message/delivery-status", "message/global-delivery-status"})
_STATUS: Final = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_ACTIONS: Final = ("failed", "delayed", "relayed", "delivered", "expanded")  # the worst first
_FIELD: Final = re.compile(rb"([!-9;-~]+)[ \t]*:[ \t]*(.*)")


def _groups(mail: _Mail) -> tuple[str, list[dict[str, str]]]:
    """Who reports, and the fields of each recipient in the part for programs. The report is the mail itself, never a
    part of a part: what somebody forwards is not said by who forwards it."""
    for part in mail.parts if mail.type == _REPORT else ():
        if len(part.path) == 1 and part.type in _FOR_PROGRAMS:
            blocks = re.split(rb"\r\n[ \t]*\r\n", mail.content(part).lstrip())[: MOST_GROUPS + 1]
            fields = [_fields(block) for block in blocks]
            groups = [one for one in fields if one.get("action", "").lower() in _ACTIONS]
            return _after_semicolon(fields[0].get("reporting-mta", ""))[:255], groups
    return "", []


def _fields(block: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in re.sub(rb"\r\n[ \t]+", b" ", block).splitlines():
        if (field := _FIELD.match(line)) is not None:
            found.setdefault(field[1].decode("ascii").lower(), _one_line(field[2].decode("utf-8", "replace")))
    return found


def _worst(groups: list[dict[str, str]], reporting_mta: str) -> Bounced:
    fields = min(groups, key=lambda one: _ACTIONS.index(one["action"].lower()))
    found = _STATUS.match(fields.get("status", ""))
    diagnostic = _after_semicolon(fields.get("diagnostic-code", ""))[:LONGEST_DIAGNOSTIC]
    remote = _after_semicolon(fields.get("remote-mta", ""))[:255]
    match fields["action"].lower():
        case "failed":
            status = found[0] if found and found[0][0] in "45" else _UNKNOWN_FAILURE
            return Failed(status, diagnostic, remote)
        case "delayed":
            return Delayed(found[0] if found and found[0][0] == "4" else _UNKNOWN_DELAY, diagnostic, remote)
        case _:  # the others are no worse
            return Arrived(tuple(map(_success, groups)), reporting_mta)


def _success(fields: dict[str, str]) -> Success:
    found = _STATUS.match(fields.get("status", ""))
    named = (_after_semicolon(fields.get(name, "")) for name in ("original-recipient", "final-recipient"))
    return Success(
        cast(Literal["relayed", "delivered", "expanded"], fields["action"].lower()),
        found[0] if found and found[0][0] == "2" else _UNKNOWN_SUCCESS,
        frozenset(one.strip("<> ").lower() for one in named if one),
    )


def success_of(arrived: Arrived, names: Collection[str]) -> Success | None:
    """What it says of our recipient, whom it may call by any of ``names``; the least of it where it says several
    things. ``None``: it is about somebody else."""
    ours = {one.lower() for one in names}
    about = [one for one in arrived.said if not ours.isdisjoint(one.about)]
    return min(about, key=lambda one: _ACTIONS.index(one.action), default=None)


def with_status(status: str, words: str) -> str:
    """What a server said, with the status of the report before it unless it is there already."""
    return words if status in words.split()[:2] else f"{status} {words}".rstrip()


def status_within(words: str) -> str | None:
    """The status of a delay, out of what :func:`with_status` made."""
    found = (_STATUS.fullmatch(word) for word in words.split()[:2])
    return next((one[0] for one in found if one and one[0][0] == "4"), None)


def _after_semicolon(text: str) -> str:
    """``smtp; 550 No such user`` and ``dns; mx.example.org``: what stands behind the type (RFC 3464 §2.1.2)."""
    kind, semicolon, rest = text.partition(";")
    return rest.strip() if semicolon and re.fullmatch(r"[\w.-]{1,30}", kind.strip()) else text.strip()


# --- qmail --------------------------------------------------------------------------------------------------------

_BEGINS: Final = "Hi. This is the "
_RECIPIENT: Final = re.compile(r"^<[^<>\s]{1,320}>:[ \t]*$", re.MULTILINE)
_CODE: Final = re.compile(r"#([45]\.[0-9]{1,3}\.[0-9]{1,3})")


def _by_qmail(mail: _Mail) -> Failed | None:
    """QSBMF, which qmail writes to this day: its first words and the line with the address are fixed."""
    part = mail.parts[0]
    if part.is_container:
        return None
    text = as_text(mail.content(part, 20_000), part.charset).replace("\r\n", "\n").lstrip()
    recipient = _RECIPIENT.search(text) if text.startswith(_BEGINS) else None
    if recipient is None:
        return None
    why = text[recipient.end() :].partition("--- Below")[0].partition("\n<")[0]
    code = _CODE.search(why)
    return Failed(code[1] if code else _UNKNOWN_FAILURE, _one_line(why)[:LONGEST_DIAGNOSTIC], "")


def _one_line(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
