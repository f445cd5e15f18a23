"""Delivery reports (RFC 3464 in RFC 6522, asked for by RFC 3461, with UTF-8 by RFC 6533): values in, octets out.

A report tells the sender who did not get the message, why, and what mends it. It carries header fields only, never
a body, and nothing that was removed from the message itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from zegel.core.clock import Instant
from zegel.core.mail import compose
from zegel.core.mail.address import Domain, Mailbox, NullPath, ReversePath
from zegel.core.mail.texts import Language

Action = Literal["failed", "delayed", "relayed", "delivered", "expanded"]  # RFC 3464 §2.3.3
Sentences = tuple[str, str]
"""The same in Dutch and in English."""

LONGEST_DIAGNOSTIC: Final = 1000
LONGEST_WORD: Final = 900  # with its field name still below RFC 5322 §2.1.1

_STATUS: Final = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")  # RFC 3463 §2
_SUCCESSES: Final = ("relayed", "delivered", "expanded")


class NotAReport(ValueError):
    """A report that would contradict itself: no recipients, or a status that isn't one or doesn't fit the action."""


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """What became of the message for one recipient.

    ``original_orcpt`` is the ``ORCPT`` parameter, its xtext decoded (``rfc822;ontvanger@example.org``).
    ``diagnostic`` is the last reply of ``remote_mta`` in that server's own words. ``remedy`` says what the author
    can do; ``reason`` replaces the sentence that goes with ``status``.
    """

    final: Mailbox
    original_orcpt: str | None
    action: Action
    status: str
    diagnostic: str | None
    remote_mta: str | None
    last_attempt: Instant | None
    will_retry_until: Instant | None
    remedy: Sentences
    reason: Sentences | None = None

    def __post_init__(self) -> None:
        if not _STATUS.fullmatch(self.status):
            raise NotAReport("not an enhanced status code")
        # An expired retry keeps its 4.4.7 in a failed report (RFC 3463 §3.5); success is never reported as 4 or 5.
        if (self.status[0] == "2") != (self.action in _SUCCESSES):
            raise NotAReport("status and action contradict each other")


@dataclass(frozen=True, slots=True)
class Report:
    """A report to one reverse-path about some recipients of one message.

    ``original_header`` is the header section as it was submitted; what may not be shown is left out here.
    ``original_envelope_id`` is the ``ENVID`` parameter, its xtext decoded.
    """

    to: Mailbox
    about: tuple[ReportedRecipient, ...]
    original_header: bytes
    reporting_mta: Domain
    arrival: Instant
    original_envelope_id: str | None

    def __post_init__(self) -> None:
        if not self.about:
            raise NotAReport("a report is about somebody")


def report_to(reverse_path: ReversePath) -> Mailbox | None:
    """Who is told: the reverse-path, and nobody where it is null (RFC 3464 §2, RFC 5321 §6.1)."""
    return None if isinstance(reverse_path, NullPath) else reverse_path


def wants(notify: frozenset[str], action: Action) -> bool:
    """Whether ``NOTIFY`` asks for this report (RFC 3461 §4.1); ``notify`` is empty where the parameter was not given.

    Without it failures and delays are reported, successes are not. ``NEVER`` silences everything.
    """
    asked = {word.upper() for word in notify} or {"FAILURE", "DELAY"}
    if "NEVER" in asked:
        return False
    return ("SUCCESS" if action in _SUCCESSES else {"failed": "FAILURE", "delayed": "DELAY"}[action]) in asked


def compose_report(
    report: Report,
    *,
    author: Mailbox,
    boundary: str,
    message_id: str,
    at: Instant,
    language: Language | None = None,
) -> bytes:
    """The report as a message from ``author`` (``MAILER-DAEMON@…``), to be sent from the null reverse-path.

    The text is in ``language``, or in Dutch and then English. 7-bit with lines of at most 998 octets, except for the
    ``To`` field when the reverse-path itself needs SMTPUTF8. Raises :class:`~zegel.core.mail.compose.NotWritable`
    for a malformed ``message_id`` or ``boundary``.
    """
    edge = compose.checked_boundary(boundary)
    parts = (_text_part(report, language), _status_part(report), _header_part(report.original_header))
    compose.refuse_boundary_within(edge, parts)
    header = (
        compose.raw("Date", compose.date_time(at)),
        compose.address("From", "Zegel", author),
        compose.address("To", "", report.to),
        compose.unstructured("Subject", _in(language, _subject(report), between=" / ")),
        compose.message_id_field(message_id),
        compose.raw("Auto-Submitted", "auto-replied"),  # RFC 3834 §5
        b"MIME-Version: 1.0\r\n",
        b'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="%b"\r\n' % edge,
    )
    return b"".join(header) + b"".join(b"\r\n--%b\r\n%b" % (edge, part) for part in parts) + b"\r\n--%b--\r\n" % edge


# --- the text for people ------------------------------------------------------------------------------------------

_SUBJECTS: Final[dict[Action, Sentences]] = {
    "failed": ("Uw bericht is niet afgeleverd", "Your message was not delivered"),
    "delayed": ("Uw bericht is nog niet afgeleverd", "Your message has not been delivered yet"),
    "relayed": ("Uw bericht is doorgegeven", "Your message was relayed"),
    "delivered": ("Uw bericht is afgeleverd", "Your message was delivered"),
    "expanded": ("Uw bericht is doorgestuurd", "Your message was forwarded"),
}
_WORST_FIRST: Final[tuple[Action, ...]] = ("failed", "delayed", "relayed", "delivered", "expanded")

_OUTCOMES: Final[dict[Action, Sentences]] = {
    "failed": (
        "Het bericht is niet afgeleverd en er wordt niet meer geprobeerd.",
        "The message was not delivered and no further attempt is made.",
    ),
    "delayed": (
        "Het bericht is nog niet afgeleverd. Er wordt verder geprobeerd; u hoeft het niet opnieuw te sturen.",
        "The message has not been delivered yet. Attempts go on; you need not send it again.",
    ),
    "relayed": (
        "Het bericht is doorgegeven aan een server die geen bevestiging van aflevering stuurt.",
        "The message was relayed to a server that sends no confirmation of delivery.",
    ),
    "delivered": ("Het bericht is afgeleverd.", "The message was delivered."),
    "expanded": (
        "Het bericht is aangekomen, en doorgestuurd naar het adres of de adressen achter dit adres.",
        "The message arrived, and was forwarded to the address or addresses behind this one.",
    ),
}

REASONS: Final[dict[str, Sentences]] = {
    # subject and detail of RFC 3463 §3 and the registry of RFC 5248, whatever the class
    "1.1": ("Dit adres bestaat niet bij de ontvangende server.", "The receiving server has no such address."),
    "1.2": ("Het domein van dit adres bestaat niet.", "The domain of this address does not exist."),
    "1.3": ("Dit adres is niet goed geschreven.", "This address is not well-formed."),
    "1.6": ("De ontvanger is verhuisd naar een ander adres.", "The recipient has moved to another address."),
    "1.10": ("Dit domein ontvangt geen e-mail.", "This domain accepts no mail."),
    "2.1": ("De mailbox van de ontvanger is uitgeschakeld.", "The recipient’s mailbox is disabled."),
    "2.2": ("De mailbox van de ontvanger is vol.", "The recipient’s mailbox is full."),
    "2.3": ("Het bericht is te groot voor deze ontvanger.", "The message is too large for this recipient."),
    "3.4": (
        "Het bericht is te groot voor de ontvangende server.",
        "The message is too large for the receiving server.",
    ),
    "4.1": ("De ontvangende server antwoordt niet.", "The receiving server does not answer."),
    "4.2": ("De verbinding met de ontvangende server viel weg.", "The connection to the receiving server was lost."),
    "4.3": (
        "Het adres van de ontvangende server was niet op te zoeken.",
        "The receiving server could not be looked up.",
    ),
    "4.4": ("Voor dit domein is geen mailserver te vinden.", "No mail server can be found for this domain."),
    "4.6": ("Het bericht loopt in een kring tussen mailservers.", "The message goes round between mail servers."),
    "4.7": (
        "Afleveren lukte niet binnen de tijd die ervoor staat.",
        "Delivery did not succeed within the time set for it.",
    ),
    "6.7": (
        "De ontvangende server kan niet omgaan met dit internationale adres.",
        "The receiving server cannot deal with this international address.",
    ),
    "7.1": ("De ontvangende server weigert het bericht.", "The receiving server refuses the message."),
    "7.10": (
        "De ontvangende server biedt niet de versleuteling die voor dit bericht nodig is.",
        "The receiving server does not offer the encryption that this message needs.",
    ),
    "7.30": (
        "De ontvangende server waarborgt niet de versleuteling die de afzender eist (REQUIRETLS).",
        "The receiving server does not guarantee the encryption that the sender demands (REQUIRETLS).",
    ),
}
"""Why, by status; what has no line here is told by the outcome and the server's own words."""


def _subject(report: Report) -> Sentences:
    actions = {recipient.action for recipient in report.about}
    return next(_SUBJECTS[action] for action in _WORST_FIRST if action in actions)


def _in(language: Language | None, sentences: Sentences, *, between: str) -> str:
    nl, en = sentences
    match language:
        case "nl":
            return nl
        case "en":
            return en
        case None:
            return f"{nl}{between}{en}"


def _text_part(report: Report, language: Language | None) -> bytes:
    opening = (
        f"Dit is een automatisch bericht van {report.reporting_mta} over een bericht dat u hebt verstuurd.",
        f"This is an automatic message from {report.reporting_mta} about a message that you sent.",
    )
    told = tuple(
        "\r\n\r\n".join((opening[which], *(_told(recipient, which) for recipient in report.about))) + "\r\n"
        for which in (0, 1)
    )
    encoding, octets = compose.encoded(_in(language, (told[0], told[1]), between=f"\r\n{'-' * 40}\r\n\r\n"))
    return _part(b"text/plain; charset=utf-8", encoding, octets)


def _told(recipient: ReportedRecipient, which: int) -> str:
    """The recipient, the reason and the remedy; ``which`` is the place of the language in :data:`Sentences`."""
    success = recipient.status[0] == "2"
    reason = recipient.reason or (None if success else REASONS.get(recipient.status[2:]))
    lines = [f"<{recipient.final}>", _OUTCOMES[recipient.action][which]]
    if reason:
        lines.append(reason[which])
    if diagnostic := _one_line(recipient.diagnostic):
        lines.append(("De ontvangende server zei:", "The receiving server said:")[which] + f" {diagnostic}")
    if recipient.remedy[which]:
        lines.append(recipient.remedy[which])
    lines.append(f"Status: {recipient.status}")
    return "\r\n".join(lines)


# --- the status for programs --------------------------------------------------------------------------------------


def _status_part(report: Report) -> bytes:
    """``message/delivery-status``, or its UTF-8 form where ASCII can't say it (RFC 6533 §4)."""
    groups = [_message_fields(report), *(_recipient_fields(recipient) for recipient in report.about)]
    section = "\r\n".join("".join(_folded(name, value) for name, value in group) for group in groups)
    if section.isascii():
        return _part(b"message/delivery-status", b"7bit", section.encode("ascii"))
    encoding, octets = compose.encoded(section)
    return _part(b"message/global-delivery-status", encoding, octets)


def _message_fields(report: Report) -> Iterator[tuple[str, str]]:
    """RFC 3464 §2.2."""
    if envelope_id := _one_line(report.original_envelope_id):
        yield "Original-Envelope-Id", envelope_id
    yield "Reporting-MTA", f"dns; {report.reporting_mta}"
    yield "Arrival-Date", compose.date_time(report.arrival)


def _recipient_fields(recipient: ReportedRecipient) -> Iterator[tuple[str, str]]:
    """RFC 3464 §2.3, in its order."""
    if original := _one_line(recipient.original_orcpt):
        yield "Original-Recipient", original if ";" in original else f"rfc822;{original}"
    kind = "utf-8" if recipient.final.needs_smtputf8 else "rfc822"  # RFC 6533 §3
    yield "Final-Recipient", f"{kind}; {recipient.final}"
    yield "Action", recipient.action
    yield "Status", recipient.status
    if remote_mta := _one_line(recipient.remote_mta):
        yield "Remote-MTA", f"dns; {remote_mta}"
    if diagnostic := _one_line(recipient.diagnostic):
        yield "Diagnostic-Code", f"smtp; {diagnostic}"
    if recipient.last_attempt:
        yield "Last-Attempt-Date", compose.date_time(recipient.last_attempt)
    if recipient.will_retry_until and recipient.action == "delayed":  # RFC 3464 §2.3.9: for delayed only
        yield "Will-Retry-Until", compose.date_time(recipient.will_retry_until)


def _folded(name: str, value: str) -> str:
    lines, line = [], f"{name}:"
    for word in value.split(" "):
        if len(line) + 1 + len(word) > compose.WIDTH and line.strip():
            lines.append(line)
            line = ""
        line += f" {word}"
    return "\r\n".join([*lines, line]) + "\r\n"


def _one_line(text: str | None) -> str:
    """What a stranger wrote, as one line of words that each fit on a line. Control characters are gone."""
    words = "".join(char if char.isprintable() else " " for char in (text or "")[: 2 * LONGEST_DIAGNOSTIC]).split()
    line = " ".join(word[at : at + LONGEST_WORD] for word in words for at in range(0, len(word), LONGEST_WORD))
    return line if len(line) <= LONGEST_DIAGNOSTIC else f"{line[:LONGEST_DIAGNOSTIC]} ..."


# --- the original's header ----------------------------------------------------------------------------------------

_NEVER_SHOWN: Final = frozenset({b"bcc", b"resent-bcc"})
_CONTROL_PREFIXES: Final = (b"zivver-", b"zegel-")
_LINE_ENDS: Final = re.compile(rb"\r\n|\r|\n")
_FIELD_START: Final = re.compile(rb"([!-9;-~]+)[ \t]*:")


def shown_header(header: bytes) -> bytes:
    """The header section without ``Bcc``, ``Resent-Bcc`` and control fields, each line ended by CRLF.

    Works on anything: a bare CR or LF ends a line, so no field hides behind one, and lines that are no field go.
    """
    kept: list[bytes] = []
    keeping = False
    for line in _LINE_ENDS.split(header):
        if not line:
            break
        if line[:1] not in (b" ", b"\t"):
            start = _FIELD_START.match(line)
            keeping = start is not None and _may_be_shown(start[1].lower())
        if keeping:
            kept.append(line.replace(b"\0", b"") + b"\r\n")
    return b"".join(kept)


def _may_be_shown(name: bytes) -> bool:
    return name not in _NEVER_SHOWN and not name.startswith(_CONTROL_PREFIXES)


def _header_part(header: bytes) -> bytes:
    """``text/rfc822-headers``, encoded where it is 8-bit or a line is too long (RFC 6522 §4); UTF-8 fields as
    ``message/global-headers`` (RFC 6533 §4)."""
    shown = shown_header(header)
    longest = max(map(len, shown.split(b"\r\n")))
    if shown.isascii() and longest <= compose.MAX_LINE:
        return _part(b"text/rfc822-headers", b"7bit", shown)
    encoding, octets = compose.encoded_octets(shown)
    kind = b"message/global-headers" if not shown.isascii() and _is_utf8(shown) else b"text/rfc822-headers"
    return _part(kind, encoding, octets)


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _part(kind: bytes, encoding: bytes, octets: bytes) -> bytes:
    return b"Content-Type: %b\r\nContent-Transfer-Encoding: %b\r\n\r\n%b" % (kind, encoding, octets)
