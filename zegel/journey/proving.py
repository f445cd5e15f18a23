"""What can be handed to somebody: a trace as a file, and a proof of delivery as a PDF. Both are noted in the audit log.

The PDF is made of the same value that the file holds, and names the file's sum: so both can be held side by side.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Final

from django.conf import settings
from django.utils.timezone import get_default_timezone

from zegel.accounts import audit
from zegel.core.clock import Instant
from zegel.core.policy.audit import Act
from zegel.core.policy.explain import Bilingual, Said, said_in
from zegel.core.policy.tracing import method_in_words
from zegel.core.policy.wording import Wording
from zegel.journey.custody import traces
from zegel.journey.custody.models import Recipient, Submission
from zegel.journey.portal.typesetting import Made, NotMade, typeset, words
from zegel.journey.tracing import canonical, sum_of, trace_json

MOST_RECIPIENTS: Final = 100  # in one PDF; each has its own as well
AGAIN: Final = 15  # seconds until a place may be free

Told = Mapping[str, Any]
Block = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Proof:
    """A file, and the sum of the trace that it holds or was made of."""

    octets: bytes
    sha256: str


def trace_file(submission: Submission, *, only: uuid.UUID | None = None) -> Proof:
    """The trace as JSON; that it was exported is in the audit log."""
    trace = trace_json(submission, only=only)
    found = Proof(canonical(trace), sum_of(trace))
    _note(submission, only, "json", found.sha256)
    return found


def proof_of_delivery(
    submission: Submission, *, language: str, now: Instant, only: uuid.UUID | None = None
) -> Proof | NotMade:
    """The PDF, in Dutch for ``nl`` and else in English. What wasn't made isn't noted."""
    if only is None and Recipient.objects.filter(submission=submission).count() > MOST_RECIPIENTS:
        return NotMade.TOO_LONG
    trace = trace_json(submission, only=only)
    sha256 = sum_of(trace)
    zone = get_default_timezone()
    kept = kept_until(submission, zone)
    match typeset(_Document(trace, sha256, "nl" if language == "nl" else "en", now, zone, kept).given()):
        case Made(octets):
            _note(submission, only, "pdf", sha256)
            return Proof(octets, sha256)
        case NotMade() as why:
            return why


def kept_until(submission: Submission, zone: tzinfo) -> Said:
    """How long the records that a proof is made of are there to compare it with, in words."""
    days = submission.organisation.trace_days
    if days is None:
        return Said("without a term", "zonder termijn")
    until = traces.until(submission, days)
    if until is None:
        return Said(
            f"{days} days after the message can’t be read any more",
            f"{days} dagen nadat het bericht niet meer te lezen is",
        )
    day = f"{until.astimezone(zone):%Y-%m-%d}"
    return Said(f"{day}, as the term is now", f"{day}, zoals de termijn nu is")


def _note(submission: Submission, only: uuid.UUID | None, form: str, sha256: str) -> None:
    recipient = Recipient.objects.filter(id=only).values_list("address", flat=True).first() if only else None
    details = {"submission": str(submission.id), "form": form, "recipient": recipient, "sha256": sha256}
    audit.note(Act.PROOF_EXPORTED, submission.organisation, submission.message_id, details)


# --- the document ------------------------------------------------------------------------------------------------


class _Says(Wording):
    """What a proof of delivery does and doesn't prove."""

    RECORDED = (
        "recorded",
        "It says what the gateway recorded while it handled the message, as it stood when this document was made.",
        "Het zegt wat de gateway heeft vastgelegd bij het behandelen van het bericht, zoals dat was toen dit document "
        "werd gemaakt.",
    )
    TAKEN = (
        "taken",
        "“Accepted by the receiving server” means that this server answered that it takes over the care for the mail. "
        "It doesn't prove that the mail reached the mailbox, nor that anybody read it.",
        "“Aangenomen door de ontvangende server” betekent dat die server antwoordde de zorg voor de mail over te "
        "nemen. Het bewijst niet dat de mail in de mailbox is gekomen, en ook niet dat iemand die las.",
    )
    OPENED = (
        "opened",
        "“Opened on the portal” means that somebody who passed the verification that is named opened the message. It "
        "doesn't prove who that was. Of a message that was delivered readable it is never known.",
        "“Geopend op het portaal” betekent dat iemand die de genoemde verificatie doorliep het bericht opende. Het "
        "bewijst niet wie dat was. Van een bericht dat leesbaar is bezorgd, is het nooit bekend.",
    )
    CONFIRMED = (
        "confirmed",
        "“Confirmed by a report” means that a report came to the return path of this mail, which those have who got "
        "the mail. It is their word, and doesn't prove that anybody read it.",
        "“Bevestigd met een melding” betekent dat er een melding kwam op het retouradres van deze mail, dat degenen "
        "hebben die de mail kregen. Het is hun woord, en bewijst niet dat iemand die las.",
    )
    CONNECTION = (
        "connection",
        "The TLS version, the certificate and the answers are those of the connection itself, as the gateway saw them.",
        "De TLS-versie, het certificaat en de antwoorden zijn die van de verbinding zelf, zoals de gateway ze zag.",
    )
    NO_CONTENT = (
        "no-content",
        "Content and subject are not in it. Which message it was is told by the Message-ID, which the sender's mail "
        "program or server chose.",
        "Inhoud en onderwerp staan er niet in. Welk bericht het was, blijkt uit de Message-ID, die het mailprogramma "
        "of de server van de afzender heeft gekozen.",
    )
    NOT_SIGNED = (
        "not-signed",
        "It is not signed. Its worth is that of the records of the organisation that keeps the gateway; in its audit "
        "log stands that this proof was exported, with the sum below.",
        "Het is niet ondertekend. Het is zoveel waard als de administratie van de organisatie die de gateway beheert; "
        "in het auditlogboek daarvan staat dat dit bewijs is geëxporteerd, met de som hieronder.",
    )


_TITLE: Final = Said("Proof of delivery", "Bewijs van bezorging")
_MESSAGE: Final = Said("The message", "Het bericht")
_HAPPENED: Final = Said("What happened", "Wat er gebeurde")
_WHEN: Final = Said("Time", "Tijd")
_WHAT: Final = Said("Event", "Gebeurtenis")
_EVIDENCE: Final = Said("Evidence of each attempt", "Bewijs van elke poging")
_TABLE: Final = Said("The decision table of that moment", "De beslistabel van dat moment")
_RANK: Final = Said("Rank", "Rang")
_METHOD: Final = Said("Method", "Methode")
_APPLIES: Final = Said("Applies", "Van toepassing")
_BECAUSE: Final = Said("Because", "Omdat")
_PLAN: Final = Said("The plan", "Het plan")
_YES: Final = Said("yes", "ja")
_NO: Final = Said("no", "nee")
_PROVES: Final = Said("What this proves, and what it doesn't", "Wat dit bewijst, en wat niet")
_COMPARE: Final = Said("To compare", "Om te vergelijken")
_REPORTS: Final = Said("Mails to the sender about this message", "Mails aan de afzender over dit bericht")
_NOTHING: Final = Said("–", "–")


@dataclass(frozen=True, slots=True)
class _Document:
    """A proof, as values for the typesetter."""

    trace: Told
    sha256: str
    language: str
    now: Instant
    zone: tzinfo
    kept: Bilingual

    def given(self) -> dict[str, Any]:
        """As :mod:`zegel.journey.portal.typeset` takes it."""
        lacking = Said(
            "Some characters can’t be shown here. The trace as JSON has them.",
            "Sommige tekens zijn hier niet te tonen. De export als JSON heeft ze.",
        )
        return {
            "as": "proof",
            "title": f"{self._word(_TITLE)} {self.trace['submission']['message_id']}"[:200],
            "language": self.language,
            "blocks": list(self._blocks()),
            "notes": [],
            "if_glyphs_lack": [self._word(lacking)],
        }

    def _word(self, one: Bilingual) -> str:
        return said_in(self.language, one)

    def _in(self, told: Told) -> str:
        """The sentence of a part of the trace."""
        return str(told[self.language])

    def _blocks(self) -> Iterator[Block]:
        yield _heading(1, self._word(_TITLE))
        at = self._when(self.now.isoformat())
        made = Said(
            f"Made on {at} by the gateway {settings.ZEGEL.hostname}, from its own records.",
            f"Gemaakt op {at} door de gateway {settings.ZEGEL.hostname}, uit de eigen administratie.",
        )
        yield _text(self._word(made))
        yield _heading(2, self._word(_MESSAGE))
        yield self._facts(self._of_message())
        for one in self.trace["recipients"]:
            yield from self._of_recipient(one)
        yield from self._of_reports()
        yield _heading(2, self._word(_PROVES))
        yield {"kind": "list", "items": [words(self._word(one)) for one in _Says]}
        yield _heading(2, self._word(_COMPARE))
        compare = Said(
            "SHA-256 of this trace, exported as JSON at the same moment:",
            "SHA-256 van deze gegevens, op hetzelfde moment geëxporteerd als JSON:",
        )
        yield _text(self._word(compare))
        yield _text(self.sha256)

    def _of_message(self) -> list[tuple[Bilingual, str]]:
        sent = self.trace["submission"]
        by = sent["credential"]["username"] if sent["credential"] else sent["token"]
        spf = Said("nobody: known by its address (SPF)", "niemand: bekend door het adres (SPF)")
        return [
            (Said("Sender", "Afzender"), sent["sender"]),
            (Said("Organisation", "Organisatie"), sent["organisation"]),
            (Said("Message-ID", "Message-ID"), sent["message_id"]),
            (Said("Accepted", "Aangenomen"), self._when(sent["accepted_at"])),
            (Said("Handed over by", "Aangeboden door"), sent["client"]),
            (Said("Signed in as", "Ingelogd als"), by or self._word(spf)),
            (Said("Connection", "Verbinding"), sent["tls"]),
            (Said("Number here", "Nummer hier"), sent["id"]),
            (Said("Kept here until", "Hier bewaard tot"), self._word(self.kept)),
        ]

    def _of_recipient(self, one: Told) -> Iterator[Block]:
        yield _heading(2, one["address"])
        yield {"kind": "lead", "text": words(self._in(one["summary"]))}
        if one["method"]:
            shown = f"{self._word(method_in_words(one['method']))} {one['masked'] or ''}".strip()
            yield self._facts([(Said("Opens with", "Te openen met"), shown)])
        yield _heading(3, self._word(_HAPPENED))
        yield _table(
            (self._word(_WHEN), self._word(_WHAT)),
            [(self._when(event["at"]), self._in(event)) for event in one["events"]],
            widths=(0, 1),
        )
        if any(mail["attempts"] for mail in one["mails"]):
            yield _heading(3, self._word(_EVIDENCE))
            yield from self._of_mails(one["mails"])
        if one["decision"]:
            yield from self._of_decision(one["decision"])

    def _of_mails(self, mails: Sequence[Told]) -> Iterator[Block]:
        for mail in mails:
            for attempt in mail["attempts"]:
                yield _text(f"{self._when(attempt['at'])} – {self._in(attempt)}")
                yield self._facts(self._of_attempt(attempt, mail))

    def _of_attempt(self, attempt: Told, mail: Told) -> list[tuple[Bilingual, str]]:
        shown = attempt["certificate"] or {}
        host = f"{attempt['host']} [{attempt['address']}]" if attempt["address"] else attempt["host"]
        lines = [
            (Said("To", "Aan"), mail["to"]),
            (Said("Server", "Server"), host),
            (Said("Encryption", "Versleuteling"), _joined(attempt["protocol"], attempt["cipher"])),
            (Said("Key exchange", "Sleuteluitwisseling"), attempt["key_exchange"]),
            (Said("Authenticity", "Echtheid"), self._in(attempt["authenticity"]) if attempt["host"] else None),
            (Said("Certificate for", "Certificaat voor"), ", ".join(shown.get("names", ()))),
            (Said("Issued by", "Uitgegeven door"), shown.get("issuer")),
            (Said("Valid until", "Geldig tot"), shown.get("until")),
            (Said("SHA-256 of it", "SHA-256 ervan"), shown.get("sha256")),
            (Said("TLSA record that it matched", "TLSA-record waaraan het voldeed"), shown.get("tlsa")),
            (Said("Why it was not believed", "Waarom het niet is vertrouwd"), shown.get("trouble")),
            (Said("Stage", "Fase"), attempt["stage"]),
            (Said("Answer", "Antwoord"), attempt["reply"]),
            (_BECAUSE, self._in(attempt["because"]) if attempt["because"] else None),
        ]
        return [(name, value) for name, value in lines if value]

    def _of_decision(self, decision: Told) -> Iterator[Block]:
        yield _heading(3, self._word(_TABLE))
        if decision["facts"]:
            yield {"kind": "list", "items": [words(self._in(fact)) for fact in decision["facts"]]}
        name = "naam" if self.language == "nl" else "name"
        yield _table(
            tuple(map(self._word, (_RANK, _METHOD, _APPLIES, _BECAUSE))),
            [
                (str(row["rank"]), row[name], self._word(_YES if row["applies"] else _NO), self._in(row))
                for row in decision["rows"]
            ],
            widths=(0, 2, 0, 5),
        )
        yield _heading(3, self._word(_PLAN))
        steps = [f"{number}. {self._in(step)}" for number, step in enumerate(decision["plan"], 1)]
        yield from map(_text, steps)

    def _of_reports(self) -> Iterator[Block]:
        reports = [mail for mail in self.trace["reports"] or () if mail["attempts"]]
        if reports:
            yield _heading(2, self._word(_REPORTS))
            yield from self._of_mails(reports)

    def _facts(self, rows: Sequence[tuple[Bilingual, str]]) -> Block:
        return {"kind": "facts", "rows": [[words(self._word(name)), words(value)] for name, value in rows]}

    def _when(self, at: str | None) -> str:
        if at is None:
            return self._word(_NOTHING)
        return f"{datetime.fromisoformat(at).astimezone(self.zone):%Y-%m-%d %H:%M:%S %z}"


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


def _heading(level: int, text: str) -> Block:
    return {"kind": "heading", "level": level, "text": words(text)}


def _text(text: str) -> Block:
    return {"kind": "text", "text": words(text)}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, widths: Sequence[int]) -> Block:
    cells = [[words(cell) for cell in row] for row in rows]
    return {"kind": "table", "head": [words(name) for name in head], "rows": cells, "widths": list(widths)}
