"""Decision: what was decided for one recipient, and why, in words that anybody can read.

An explanation is made of what may be stored and shown: numbers are masked, codes are not in it, and there is no place
for anything of the message's content.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, assert_never

from zegel.core.mail.address import Mailbox
from zegel.core.policy.case import Asked, Case, OrganisationPolicy, RecipientAccount, case_from_json, case_to_json
from zegel.core.policy.phone import mask_phone
from zegel.core.policy.precedence import (
    PRECEDENCE,
    TABLE_VERSION,
    Hold,
    Notify,
    Plan,
    Readable,
    Replayed,
    Row,
    Step,
    Undeliverable,
    asked_more_than_allowed,
    plan,
    plan_to_json,
    without_secrets,
)
from zegel.core.policy.remedies import Better, better
from zegel.core.policy.transport import Authentication, Tls, TransportSecurity
from zegel.core.policy.verification import AccessCode, Method, SmsCode
from zegel.core.policy.wording import Wording

LANGUAGES: Final = ("nl", "en")
_WIDTH: Final = 100  # columns of the text


class Bilingual(Protocol):
    """A sentence in both languages."""

    @property
    def en(self) -> str:
        """In English."""

    @property
    def nl(self) -> str:
        """In Dutch."""


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence with something of this recipient in it."""

    en: str
    nl: str


def said_in(language: str, one: Bilingual) -> str:
    """Dutch for ``nl``, English for all else."""
    return one.nl if language == "nl" else one.en


class Note(Wording):
    """What the author should know beside the plan."""

    ASKED_MORE_THAN_ALLOWED = (
        "asked-more-than-allowed",
        "The message asks for direct delivery and the organisation's policy doesn't permit that. The sender is told.",
        "Het bericht vraagt om directe bezorging en het beleid van de organisatie staat dat niet toe. De afzender "
        "krijgt daar bericht van.",
    )
    LEVEL_IS_SEEN_AT_DELIVERY = (
        "level-is-seen-at-delivery",
        "Whether the receiving server meets the level is seen at delivery, before the message is sent; if it doesn't, "
        "the next step is taken.",
        "Of de ontvangende server aan het niveau voldoet, blijkt bij de bezorging, voordat het bericht wordt "
        "verstuurd; zo niet, dan volgt de volgende stap.",
    )


@dataclass(frozen=True, slots=True)
class Explanation:
    """One recipient: what is known, what each row said, the plan, and what would be needed for something better."""

    recipient: Mailbox
    is_blind: bool
    case: Case  # its numbers are masked, its codes empty
    plan: Plan
    better: tuple[Better, ...]
    notes: tuple[Bilingual, ...]
    table: int = TABLE_VERSION

    @property
    def is_served(self) -> bool:
        """There is a step to take: neither held nor undeliverable from the start."""
        return isinstance(self.plan.steps[0], Readable | Notify)

    def as_text(self, language: str) -> str:
        """For a terminal; ends with a line feed."""
        return "\n".join(_lines(self, language)) + "\n"

    def to_json(self) -> dict[str, Any]:
        """For programs; every sentence in both languages."""
        stored = plan_to_json(self.plan, self.case)
        return {
            "recipient": str(self.recipient),
            "blind": self.is_blind,
            "served": self.is_served,
            "table": self.table,
            "case": stored["case"],
            "facts": [_both(fact) for fact in facts(self.case)],
            "rows": [
                {**finding, "naam": _row(finding["rank"]).naam, **_both(found.why)}
                for finding, found in zip(stored["findings"], self.plan.findings, strict=True)
            ],
            "plan": [
                {**step, **_both(step_in_words(found))}
                for step, found in zip(stored["steps"], self.plan.steps, strict=True)
            ],
            "better": [
                {
                    "rank": one.rank,
                    "name": _row(one.rank).name,
                    "naam": _row(one.rank).naam,
                    "remedies": [{"code": remedy.value, **_both(remedy)} for remedy in one.remedies],
                }
                for one in self.better
            ],
            "notes": [_both(note) for note in self.notes],
        }


def explain(recipient: Mailbox, case: Case, *, is_blind: bool, notes: Sequence[Bilingual] = ()) -> Explanation:
    """What the table in force says of the case. Keeps neither a number nor a code of it."""
    masked = case_from_json(case_to_json(case))
    found = without_secrets(plan(masked))
    return Explanation(recipient, is_blind, masked, found, better(masked, found), (*_notes(masked, found), *notes))


def explain_stored(recipient: Mailbox, replayed: Replayed, *, is_blind: bool) -> Explanation:
    """What a stored decision said, with what the tables say of the same facts now."""
    case, stored = replayed.case, replayed.stored
    return Explanation(
        recipient,
        is_blind,
        case,
        stored,
        better(case, stored) if stored == without_secrets(plan(case)) else (),
        (*_notes(case, stored), *compared(replayed)),
        replayed.table,
    )


def gives_the_same_today(replayed: Replayed) -> bool:
    """The table of that day and the one in force both say what was stored."""
    return replayed.is_same and replayed.stored == without_secrets(plan(replayed.case))


def compared(replayed: Replayed) -> Iterator[Said]:
    """What the table of that day says of the same facts, and what the one in force says."""
    day = replayed.table
    if replayed.is_same:
        yield Said(
            f"Replayed: the table of that day (version {day}) gives this same plan.",
            f"Herhaald: de tabel van die dag (versie {day}) geeft hetzelfde plan.",
        )
    else:
        yield Said(
            f"Replayed: the table of that day (version {day}) gives ANOTHER plan: {_ranks(replayed.again)}.",
            f"Herhaald: de tabel van die dag (versie {day}) geeft een ANDER plan: {_ranks(replayed.again)}.",
        )
    today = without_secrets(plan(replayed.case))
    if day == TABLE_VERSION:
        yield Said("That table is in force today.", "Die tabel geldt vandaag nog.")
    elif today == replayed.stored:
        yield Said(
            f"The table in force today (version {TABLE_VERSION}) gives it as well.",
            f"De tabel van vandaag (versie {TABLE_VERSION}) geeft dat ook.",
        )
    else:
        yield Said(
            f"The table in force today (version {TABLE_VERSION}) would give another plan: {_ranks(today)}.",
            f"De tabel van vandaag (versie {TABLE_VERSION}) zou een ander plan geven: {_ranks(today)}.",
        )


def _ranks(found: Plan) -> str:
    return " > ".join(str(step.rank) if isinstance(step, Readable | Notify) else "–" for step in found.steps)


def _notes(case: Case, found: Plan) -> Iterator[Note]:
    if asked_more_than_allowed(case, found):
        yield Note.ASKED_MORE_THAN_ALLOWED
    if isinstance(found.steps[0], Readable):
        yield Note.LEVEL_IS_SEEN_AT_DELIVERY


def _row(rank: int) -> Row:
    return PRECEDENCE[rank - 1]


def _both(one: Bilingual) -> dict[str, str]:
    return {"en": one.en, "nl": one.nl}


# --- facts in words ----------------------------------------------------------------------------------------------

_METHODS: Final = {
    Method.ACCOUNT: Said("account", "account"),
    Method.SMS: Said("SMS code", "sms-code"),
    Method.ACCESS_CODE: Said("access code", "toegangscode"),
    Method.EMAIL: Said("e-mail verification", "e-mailverificatie"),
}
_TLS: Final = {
    Tls.NONE: Said("no TLS", "geen TLS"),
    Tls.ENCRYPTED: Said("TLS below 1.2", "TLS lager dan 1.2"),
    Tls.TLS_1_2: Said("TLS 1.2", "TLS 1.2"),
    Tls.TLS_1_3: Said("TLS 1.3", "TLS 1.3"),
}
_AUTHENTICATION: Final = {
    Authentication.NONE: Said("server not authenticated", "server niet geverifieerd"),
    Authentication.CERTIFICATE: Said("valid certificate", "geldig certificaat"),
    Authentication.SIGNED_MX: Said(
        "valid certificate, host named by MTA-STS or signed DNS",
        "geldig certificaat, server genoemd door MTA-STS of ondertekende DNS",
    ),
    Authentication.DANE: Said("DANE", "DANE"),
}


def facts(case: Case) -> tuple[Said, ...]:
    """What was known when it was decided: the message, the policy, the recipient. No number as it is, and no code."""
    return (*_asked(case.asked), *_policy(case.policy), *_recipient(case))


def _asked(asked: Asked) -> Iterator[Said]:
    match asked.verification:
        case SmsCode(phone=phone):
            number = mask_phone(phone.reveal())
            yield Said(f"The message names SMS to {number}.", f"Het bericht noemt sms naar {number}.")
        case AccessCode():
            yield Said("The message names an access code.", "Het bericht noemt een toegangscode.")
        case None:
            pass
        case unreachable:
            assert_never(unreachable)
    if asked.transport is not None:
        yield _with(
            asked.transport,
            "The message asks for direct delivery, over at least: {}.",
            "Het bericht vraagt om directe bezorging, over minstens: {}.",
        )
    if asked.never_email:
        yield Said("The message excludes e-mail verification.", "Het bericht sluit e-mailverificatie uit.")
    if asked.email_after_transport_unconditionally:
        yield Said(
            "The message allows e-mail verification whatever level its code travels at.",
            "Het bericht staat e-mailverificatie toe, op welk niveau de code ook reist.",
        )
    if asked == Asked():
        yield Said("The message asks nothing for this recipient.", "Het bericht vraagt niets voor deze ontvanger.")


def _policy(policy: OrganisationPolicy) -> Iterator[Said]:
    if policy.allowed != frozenset(Method):
        yield _methods(policy.allowed, "The organisation allows: {}.", "De organisatie staat toe: {}.")
    if policy.required:
        yield _methods(
            policy.required,
            "For the recipient's domain the organisation demands one of: {}.",
            "Voor het domein van de ontvanger eist de organisatie een van: {}.",
        )
        yield (
            Said("Who lacks what is demanded is held.", "Wie het vereiste mist, wordt vastgehouden.")
            if policy.holds
            else Said(
                "Who lacks what is demanded is reported to the sender.",
                "Wie het vereiste mist, wordt aan de afzender gemeld.",
            )
        )
    if not policy.allows_transport:
        yield Said(
            "The organisation doesn't let messages ask for direct delivery.",
            "De organisatie laat berichten niet om directe bezorging vragen.",
        )
    if policy.lists_domain is not None:
        yield _with(
            policy.lists_domain,
            "The recipient's domain is on the direct-delivery list, over at least: {}.",
            "Het domein van de ontvanger staat op de lijst voor directe bezorging, over minstens: {}.",
        )


def _recipient(case: Case) -> Iterator[Said]:
    yield _account(case.account)
    if case.takes_inbound_direct_delivery:
        yield Said(
            "The recipient's organisation has inbound direct delivery on.",
            "De organisatie van de ontvanger heeft inkomende directe bezorging aan.",
        )
    yield _complies(case.nta.sender_complies, "sender", "verzender")
    if case.nta.sender_complies:  # else nobody asked about the recipient's
        yield _complies(case.nta.recipient_complies, "recipient", "ontvanger")
    remembered = case.remembered
    if remembered.sms is not None:
        number = mask_phone(remembered.sms.phone.reveal())
        yield _known(f"SMS to {number}", f"sms naar {number}", supplied=Method.SMS in remembered.supplied)
    if remembered.access_code is not None:
        yield _known("an access code", "een toegangscode", supplied=Method.ACCESS_CODE in remembered.supplied)
    if remembered.sms is None and remembered.access_code is None:
        yield Said("No number or code of the recipient is known.", "Van de ontvanger is geen nummer of code bekend.")


def _account(account: RecipientAccount | None) -> Said:
    if account is None:
        return Said("The recipient has no active account here.", "De ontvanger heeft hier geen actief account.")
    if not account.has_second_factor:
        return Said(
            "The recipient has an account here without a second factor.",
            "De ontvanger heeft hier een account zonder tweede factor.",
        )
    if account.vouched_for:
        return Said(
            "The recipient has an account here with a second factor, made by an administrator.",
            "De ontvanger heeft hier een account met een tweede factor, door een beheerder gemaakt.",
        )
    if account.proven_methods:
        return _methods(
            account.proven_methods,
            "The recipient has an account here with a second factor, and passed once: {}.",
            "De ontvanger heeft hier een account met een tweede factor, en doorliep eerder: {}.",
        )
    return Said(
        "The recipient has an account here with a second factor, made with proof of the mailbox alone.",
        "De ontvanger heeft hier een account met een tweede factor, gemaakt met alleen bewijs van de mailbox.",
    )


def _complies(complies: bool, side: str, kant: str) -> Said:
    if complies:
        return Said(f"The {side}'s domain complies with NTA 7516.", f"Het domein van de {kant} voldoet aan NTA 7516.")
    return Said(
        f"The {side}'s domain doesn't comply with NTA 7516.", f"Het domein van de {kant} voldoet niet aan NTA 7516."
    )


def _known(en: str, nl: str, *, supplied: bool) -> Said:
    if supplied:
        return Said(
            f"Somebody of the organisation entered {en} for the recipient.",
            f"Iemand van de organisatie vulde {nl} in voor de ontvanger.",
        )
    return Said(
        f"The recipient opened an earlier message of the organisation with {en}.",
        f"De ontvanger opende een eerder bericht van de organisatie met {nl}.",
    )


def _with(level: TransportSecurity, en: str, nl: str) -> Said:
    tls, authentication = _TLS[level.tls], _AUTHENTICATION[level.authentication]
    return Said(en.format(f"{tls.en}, {authentication.en}"), nl.format(f"{tls.nl}, {authentication.nl}"))


def _methods(methods: Iterable[Method], en: str, nl: str) -> Said:
    chosen = frozenset(methods)
    ordered = [_METHODS[method] for method in Method if method in chosen]
    nothing = Said("nothing", "niets")
    return Said(
        en.format(", ".join(one.en for one in ordered) or nothing.en),
        nl.format(", ".join(one.nl for one in ordered) or nothing.nl),
    )


def step_in_words(step: Step) -> Said:
    """What is done, and over what at least."""
    match step:
        case Readable(needs=needs, over_nta=True):
            return _with(
                needs,
                "Readable message to the NTA 7516 servers, over at least: {}",
                "Leesbaar bericht naar de NTA 7516-servers, over minstens: {}",
            )
        case Readable(needs=needs):
            return _with(needs, "Readable message, over at least: {}", "Leesbaar bericht, over minstens: {}")
        case Notify():
            return _notification(step)
        case Hold(required=required):
            return _methods(
                required, "Held until one of these is known: {}", "Vastgehouden tot een hiervan bekend is: {}"
            )
        case Undeliverable(status=status, why=why):
            return Said(f"Report to the sender ({status}): {why.en}", f"Melding aan de afzender ({status}): {why.nl}")
        case unreachable:
            assert_never(unreachable)


def _notification(step: Notify) -> Said:
    method = _METHODS[step.method]
    masked = f" {step.masked}" if step.masked else ""
    opens = Said(
        f"Notification; opens with: {method.en}{masked}", f"Notificatiebericht; te openen met: {method.nl}{masked}"
    )
    if step.code_mail_needs is None:
        return opens
    return _with(
        step.code_mail_needs,
        f"{opens.en}, whose code travels over at least: {{}}",
        f"{opens.nl}, met een code die reist over minstens: {{}}",
    )


# --- as text -----------------------------------------------------------------------------------------------------

_BLIND: Final = Said("Bcc: a conversation of its own", "Bcc: een eigen conversatie")
_KNOWN: Final = Said("What is known", "Wat bekend is")
_ROWS: Final = Said("What each row of the table says", "Wat elke regel van de tabel zegt")
_PLAN: Final = Said("The plan", "Het plan")
_BETTER: Final = Said("For something better", "Voor iets beters")
_NOTES: Final = Said("Note", "Let op")
_YES: Final = Said("yes", "ja")
_NO: Final = Said("no", "nee")
_AND: Final = Said("And: ", "En: ")


def _lines(one: Explanation, language: str) -> Iterator[str]:
    def word(sentence: Bilingual) -> str:
        return said_in(language, sentence)

    names = {row.rank: row.naam if language == "nl" else row.name for row in PRECEDENCE}
    widest = max(map(len, names.values()))
    yield f"{one.recipient} ({word(_BLIND)})" if one.is_blind else str(one.recipient)
    yield f"  {word(_KNOWN)}"
    for fact in facts(one.case):
        yield from _wrapped("    - ", word(fact))
    yield f"  {word(_ROWS)}"
    for found in one.plan.findings:
        verdict = word(_YES if found.hit else _NO)
        yield from _wrapped(f"    {found.rank}  {names[found.rank]:{widest}}  {verdict:3}  ", word(found.why))
    yield f"  {word(_PLAN)}"
    for number, step in enumerate(one.plan.steps, 1):
        yield from _wrapped(f"    {number}. ", word(step_in_words(step)))
    if one.better:
        yield f"  {word(_BETTER)}"
    for way in one.better:
        sentences = [word(remedy) for remedy in way.remedies]
        joined = f" {word(_AND)}".join(sentences)
        yield from _wrapped(f"    {way.rank}  {names[way.rank]:{widest}}  ", joined)
    if one.notes:
        yield f"  {word(_NOTES)}"
    for note in one.notes:
        yield from _wrapped("    - ", word(note))


def _wrapped(start: str, text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False)
