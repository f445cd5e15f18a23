"""Arrival: what the sender asks through header fields.

Nothing is guessed here. A field that can't be understood either stops the message with a sentence that says what to
write (``550 5.6.0``), or, where the seed says so, means its strict default and a warning to the author.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from types import MappingProxyType
from typing import Final

from zegel.core.clock import Duration, NotADuration, parse_duration
from zegel.core.mail.address import Mailbox, NotAMailbox
from zegel.core.mail.fields import decode_words
from zegel.core.mail.reply import Reply
from zegel.core.policy import access_code
from zegel.core.policy.access_code import Flaw, NotAnAccessCode, is_all_visible, parse_access_code
from zegel.core.policy.case import Asked
from zegel.core.policy.phone import NotAMobileNumber, parse_mobile
from zegel.core.policy.transport import PROVEN, Authentication, Tls, TransportSecurity
from zegel.core.policy.verification import AccessCode, Method, SmsCode
from zegel.core.policy.wording import Wording
from zegel.core.secret import Secret

CONTROL_PREFIXES: Final = ("zegel-", "zivver-")
_LONGEST_PREFIX: Final = max(map(len, CONTROL_PREFIXES))
SHORTEST_ACCESS_CODE: Final = access_code.SHORTEST
LONGEST_ACCESS_CODE: Final = access_code.LONGEST
LONGEST_EXPIRY: Final = timedelta(days=36_525)  # a century; further on the calendar itself ends

METHOD_WORDS: Final[Mapping[str, Method]] = {
    "sms": Method.SMS,
    "sharedAccessCode": Method.ACCESS_CODE,
    "access-code": Method.ACCESS_CODE,  # D-2
}
TLS_WORDS: Final[Mapping[str, Tls]] = {"tls1.2": Tls.TLS_1_2, "tls1.3": Tls.TLS_1_3}  # D-11
AUTHENTICATION_WORDS: Final[Mapping[str, Authentication]] = {
    "certificate-validation": Authentication.CERTIFICATE,
    "mta-sts": Authentication.SIGNED_MX,  # D-11
    "dane": Authentication.DANE,  # D-11
}


class ControlField(Enum):
    """The four fields, by their names without a prefix."""

    ACCESS_RIGHT = "access-right"
    DIRECT_DELIVERY = "direct-delivery"
    MINIMUM_RECIPIENT_VERIFICATION = "minimum-recipient-verification"
    MESSAGE_EXPIRATION = "message-expiration"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the specification: what may stand in a field, how often, and what becomes of anything else."""

    field: ControlField
    values: str
    often: str
    otherwise: str
    is_single: bool = True


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        ControlField.ACCESS_RIGHT,
        "`ADDRESS sms NUMBER` or `ADDRESS sharedAccessCode CODE`",
        "one for each recipient",
        "refused; the address of nobody who gets the message: ignored, and the author is warned",
        is_single=False,
    ),
    Rule(
        ControlField.DIRECT_DELIVERY,
        "`tls tls1.2 auth certificate-validation`, or higher words",
        "once",
        "read as `tls tls1.2 auth certificate-validation`, or as what it names above that; the author is warned",
    ),
    Rule(
        ControlField.MINIMUM_RECIPIENT_VERIFICATION,
        "`email-verification`",
        "once",
        "nobody can open this message with a code by e-mail; the author is warned, unless the field is empty",
    ),
    Rule(
        ControlField.MESSAGE_EXPIRATION,
        "`delete` and an ISO 8601 duration: `delete P30D`",
        "once",
        "refused",
    ),
)


class EmailPolicy(Enum):
    """What the message says about e-mail verification."""

    UNSAID = "unsaid"
    ALLOWED = "allowed"  # also where its code can't travel at the level that was asked
    NEVER = "never"  # D-3


class DirectiveWarning(Wording):
    """What the author is told (by one mail) about fields that were accepted but not as they were written."""

    TRANSPORT_DEFAULTED = (
        "transport-defaulted",
        "The direct-delivery field was not understood completely. What was missing or invalid was taken as: "
        "tls tls1.2 auth certificate-validation.",
        "Het veld direct-delivery is niet helemaal begrepen. Wat ontbrak of ongeldig was, is gelezen als: "
        "tls tls1.2 auth certificate-validation.",
    )
    EMAIL_EXCLUDED = (
        "email-excluded",
        "The value of the minimum-recipient-verification field is not known. Recipients can therefore not use e-mail "
        "verification for this message.",
        "De waarde van het veld minimum-recipient-verification is niet bekend. Ontvangers kunnen daarom voor dit "
        "bericht geen e-mailverificatie gebruiken.",
    )


class Refusal(Enum):
    """What stops a message: when, and the sentence of the reply. ``{field}`` is the name of the field."""

    UNKNOWN = (
        "a name with one of the prefixes that is none of the four",
        "{field} is not a field this gateway knows: correct or remove it",
    )
    BOTH_NAMES = (
        "one field under both of its names",
        "zegel-{field} and zivver-{field} are one field: use one of the two names",
    )
    TWICE = (
        "a second one of a field that may stand once",
        "{field} may stand in a message only once",
    )
    RECIPIENT_TWICE = (
        "two fields for one recipient, in whatever spelling, also when they say the same",
        "{field} names one recipient twice: one field for each recipient",
    )
    SEVERAL_RECIPIENTS = (
        "several recipients in one field",
        "{field} names several recipients: one field for each recipient",
    )
    NOT_TEXT = (
        "octets that are not UTF-8, encoded words that have more than one reading, control and invisible characters",
        "{field} must be plain text in ASCII or UTF-8, or whole encoded words, without invisible characters",
    )
    NO_RIGHT = (
        "nothing, or one word",
        "{field} must read: address sms number in international form, or: address sharedAccessCode code",
    )
    NO_ADDRESS = (
        "no address, or more than an address, before the method",
        "{field} must begin with the e-mail address of one recipient",
    )
    NO_METHOD = (
        "another word after the address",
        "{field} must say sms or sharedAccessCode after the address",
    )
    NO_MOBILE_NUMBER = (
        "a number that is no mobile number, that doesn't exist, or that can be read in two ways; text beside it",
        "{field} must end with one mobile number in international form, like +31 6 and eight digits",
    )
    CODE_LENGTH = (
        "an access code that is too short or too long",
        f"{{field}} must end with an access code of {SHORTEST_ACCESS_CODE} to {LONGEST_ACCESS_CODE} characters",
    )
    CODE_SPACES = (
        "a tab, or a space that doesn't break, inside an access code",
        "{field}: inside an access code only ordinary spaces are possible",
    )
    NO_EXPIRATION = (
        "an expiry that is none: no value, years or months, zero, more than a century",
        "{field} must read: delete and a duration of weeks, days or hours, like: delete P30D",
    )

    def __init__(self, when: str, sentence: str) -> None:
        self.when: Final = when
        self.sentence: Final = sentence


class MalformedField(Exception):
    """A control field that must not be guessed; ``reply`` names the field and what to write, never what stood in it."""

    def __init__(self, why: Refusal, field: str) -> None:
        sentence = why.sentence.format(field=field)
        super().__init__(sentence)
        self.reply: Final = Reply(550, "5.6.0", sentence)


@dataclass(frozen=True, slots=True)
class Directives:
    """All that one message asks through control fields. Holds secrets: it is stored only sealed."""

    access_rights: Mapping[Mailbox, SmsCode | AccessCode] = field(default_factory=lambda: MappingProxyType({}))
    transport: TransportSecurity | None = None
    email_policy: EmailPolicy = EmailPolicy.UNSAID
    expires_after: Duration | None = None
    warnings: tuple[DirectiveWarning, ...] = ()


def is_control_field(name: str) -> bool:
    """True for every name that starts with one of the prefixes, known or not: none of them may leave."""
    return name.lstrip()[:_LONGEST_PREFIX].lower().startswith(CONTROL_PREFIXES)


NOTHING_ASKED: Final = Directives()


def read_directives(fields: Sequence[tuple[str, bytes]], *, region: str = "NL") -> Directives:
    """Reads the control fields among ``fields`` (names in any case, values unfolded); others are passed over.

    ``region`` is the country whose national numbers are understood. Raises :class:`MalformedField` for a field that
    is unknown, repeated, spelled with both prefixes, or that names a recipient or an expiry in a way that allows
    doubt: a message that asked for protection never goes out with less.
    """
    written = _sort_out(fields)
    if not written:
        return NOTHING_ASKED
    transport, transport_warnings = _read_transport(written.get(ControlField.DIRECT_DELIVERY, ()))
    email_policy, email_warnings = _read_minimum(written.get(ControlField.MINIMUM_RECIPIENT_VERIFICATION, ()))
    return Directives(
        access_rights=_read_access_rights(written.get(ControlField.ACCESS_RIGHT, ()), region),
        transport=transport,
        email_policy=email_policy,
        expires_after=_read_expiration(written.get(ControlField.MESSAGE_EXPIRATION, ())),
        warnings=(*transport_warnings, *email_warnings),
    )


def for_recipient(directives: Directives, mailbox: Mailbox) -> Asked:
    """The part of the directives that concerns one recipient."""
    return Asked(
        verification=directives.access_rights.get(mailbox),
        transport=directives.transport,
        email_after_transport_unconditionally=directives.email_policy is EmailPolicy.ALLOWED,
        never_email=directives.email_policy is EmailPolicy.NEVER,
    )


def unmatched(directives: Directives, recipients: Iterable[Mailbox]) -> tuple[Mailbox, ...]:
    """Who is named in an access-right field without being a recipient; the author is warned about them (D-4: later)."""
    served = frozenset(recipients)
    return tuple(mailbox for mailbox in directives.access_rights if mailbox not in served)


# --- which fields ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Written:
    """One control field as it stood in the message."""

    name: str
    value: bytes


_KNOWN_FIELDS: Final = {prefix + kind.value: kind for prefix in CONTROL_PREFIXES for kind in ControlField}
_ONCE: Final = frozenset(rule.field for rule in RULES if rule.is_single)


def _sort_out(fields: Sequence[tuple[str, bytes]]) -> dict[ControlField, tuple[_Written, ...]]:
    found: dict[ControlField, list[_Written]] = {}
    for raw_name, value in fields:
        name = raw_name.strip().lower()
        if not is_control_field(name):
            continue
        if name not in _KNOWN_FIELDS:
            raise MalformedField(Refusal.UNKNOWN, re.sub(r"[^a-z-]", "?", name[:60]))  # a number may stand in it
        kind = _KNOWN_FIELDS[name]
        found.setdefault(kind, []).append(_Written(name, value))
    for kind, written in found.items():
        if len({one.name for one in written}) > 1:
            raise MalformedField(Refusal.BOTH_NAMES, kind.value)
        if kind in _ONCE and len(written) > 1:
            raise MalformedField(Refusal.TWICE, written[0].name)
    return {kind: tuple(written) for kind, written in found.items()}


# --- access-right ------------------------------------------------------------------------------------------------

_ACCESS_RIGHT: Final = re.compile(r'(?P<address><?"(?:[^"\\]|\\.)*"@\S+|\S+)\s+(?P<method>\S+)(?:\s+(?P<rest>.*))?')
_SECOND_RECIPIENT: Final = re.compile(
    rf"\S@\S+\s+(?:{'|'.join(METHOD_WORDS)})(?:\s|$)|[,;]\s*\S+@\S+\.\S", re.IGNORECASE
)
_METHODS: Final = {word.lower(): method for word, method in METHOD_WORDS.items()}


def _read_access_rights(written: tuple[_Written, ...], region: str) -> Mapping[Mailbox, SmsCode | AccessCode]:
    rights: dict[Mailbox, SmsCode | AccessCode] = {}
    for one in written:
        mailbox, verification = _read_access_right(one, region)
        if mailbox in rights:
            raise MalformedField(Refusal.RECIPIENT_TWICE, one.name)
        rights[mailbox] = verification
    return MappingProxyType(rights)


def _read_access_right(written: _Written, region: str) -> tuple[Mailbox, SmsCode | AccessCode]:
    found = _ACCESS_RIGHT.fullmatch(_text_or_refuse(written))
    if found is None:
        raise MalformedField(Refusal.NO_RIGHT, written.name)
    try:
        mailbox = Mailbox.parse(_without_brackets(found["address"]))
    except NotAMailbox:
        # "from None", here and below: what was written must not get into a traceback
        raise MalformedField(Refusal.NO_ADDRESS, written.name) from None
    rest = (found["rest"] or "").strip()
    if _SECOND_RECIPIENT.search(rest[:500]):
        raise MalformedField(Refusal.SEVERAL_RECIPIENTS, written.name)
    match _METHODS.get(found["method"].lower()):
        case Method.SMS:
            return mailbox, _read_sms(written, rest, region)
        case Method.ACCESS_CODE:
            return mailbox, _read_access_code(written, rest)
        case _:
            raise MalformedField(Refusal.NO_METHOD, written.name)


def _without_brackets(address: str) -> str:
    return address[1:-1] if address.startswith("<") and address.endswith(">") else address


def _read_sms(written: _Written, rest: str, region: str) -> SmsCode:
    try:
        return SmsCode(Secret(parse_mobile(rest, region=region)))
    except NotAMobileNumber:
        raise MalformedField(Refusal.NO_MOBILE_NUMBER, written.name) from None


def _read_access_code(written: _Written, rest: str) -> AccessCode:
    try:
        return AccessCode(Secret(parse_access_code(rest)))
    except NotAnAccessCode as cause:
        why = _CODE_REFUSALS[cause.flaw]
    raise MalformedField(why, written.name)


_CODE_REFUSALS: Final = {
    Flaw.LENGTH: Refusal.CODE_LENGTH,
    Flaw.SPACES: Refusal.CODE_SPACES,
    Flaw.INVISIBLE: Refusal.NOT_TEXT,
}


# --- direct-delivery ---------------------------------------------------------------------------------------------

_PAIRS: Final = re.compile(
    r"(?:tls\s+(?P<tls>\S+)\s+auth\s+(?P<auth>\S+))|(?:auth\s+(?P<auth_>\S+)\s+tls\s+(?P<tls_>\S+))"
)


def _read_transport(written: tuple[_Written, ...]) -> tuple[TransportSecurity | None, tuple[DirectiveWarning, ...]]:
    """Whatever is recognised raises the level, however oddly it is written; only what is exactly right goes
    without a warning. So a demand for more than the default never turns into the default (D-11)."""
    if not written:
        return None, ()
    seen = _bare(decode_words(written[0].value))
    tls = max((level for word, level in _TLS_MARKS if word in seen), default=PROVEN.tls)
    authentication = max(
        (level for word, level in _AUTHENTICATION_MARKS if word in seen), default=PROVEN.authentication
    )
    is_exact = _is_exact((_text(written[0].value) or "").lower())
    return TransportSecurity(tls, authentication), () if is_exact else (DirectiveWarning.TRANSPORT_DEFAULTED,)


def _bare(text: str) -> str:
    """Letters, digits and dots alone: ``"TLS 1.3"``, ``mta_sts``, full-width letters and zero-width ones are seen."""
    return re.sub(r"[^a-z0-9.]", "", unicodedata.normalize("NFKC", text).lower())


_TLS_MARKS: Final = tuple((word.removeprefix("tls"), level) for word, level in TLS_WORDS.items())
_AUTHENTICATION_MARKS: Final = tuple((_bare(word), level) for word, level in AUTHENTICATION_WORDS.items())


def _is_exact(text: str) -> bool:
    found = _PAIRS.fullmatch(text)
    return (
        found is not None
        and (found["tls"] or found["tls_"]) in TLS_WORDS
        and (found["auth"] or found["auth_"]) in AUTHENTICATION_WORDS
    )


# --- minimum-recipient-verification, message-expiration ----------------------------------------------------------


def _read_minimum(written: tuple[_Written, ...]) -> tuple[EmailPolicy, tuple[DirectiveWarning, ...]]:
    if not written:
        return EmailPolicy.UNSAID, ()
    text = _text(written[0].value)
    if text is not None and text.lower() == "email-verification":
        return EmailPolicy.ALLOWED, ()
    return EmailPolicy.NEVER, () if text == "" else (DirectiveWarning.EMAIL_EXCLUDED,)  # D-3


def _read_expiration(written: tuple[_Written, ...]) -> Duration | None:
    if not written:
        return None
    malformed = MalformedField(Refusal.NO_EXPIRATION, written[0].name)
    words = _text_or_refuse(written[0]).split()
    if len(words) != 2 or words[0].lower() != "delete" or not words[1].isascii():
        raise malformed
    try:
        length = parse_duration(words[1])
    except NotADuration:
        raise malformed from None
    if length > LONGEST_EXPIRY:
        raise malformed
    return length


# --- text of a field ---------------------------------------------------------------------------------------------

_ENCODED_WORD: Final = re.compile(  # RFC 2047 §2, with the language of RFC 2231 §5
    r"(?<!\S)=\?(?P<charset>[A-Za-z0-9_.:-]+)(?:\*[A-Za-z0-9-]+)?\?(?P<encoding>[BbQq])\?(?P<text>[!->@-~]*)\?=(?!\S)"
)
_CHARSETS: Final = frozenset({"utf-8", "us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252"})
_LEFT_OVER: Final = re.compile(r"=\?[^?\s]+\?[BbQq]\?")  # decoded by some readers, against RFC 2047 §5 and §2


def _text_or_refuse(written: _Written) -> str:
    text = _text(written.value)
    if text is None:
        raise MalformedField(Refusal.NOT_TEXT, written.name)
    return text


def _text(value: bytes) -> str | None:
    """The value as people see it, stripped; ``None`` where two people might see different things."""
    try:
        text = _decode_words(value.decode("utf-8")).strip()
    except (UnicodeDecodeError, binascii.Error, LookupError):
        return None
    return text if is_all_visible(text) else None


def _decode_words(text: str) -> str:
    """Encoded words decoded; white space between two of them vanishes (RFC 2047 §6.2). Words of one charset are
    joined before decoding, since some composers cut in the middle of a character."""
    out: list[str] = []
    pending, charset, end = b"", "", 0
    for word in _ENCODED_WORD.finditer(text):
        between = _plain(text[end : word.start()])
        joins = bool(charset) and not between.strip()
        if not joins or charset != word["charset"].lower():
            out.append(pending.decode(charset or "ascii"))
            pending = b""
        if not joins:
            out.append(between)
        charset, end = word["charset"].lower(), word.end()
        if charset not in _CHARSETS:
            raise LookupError("a charset that is not read here")
        pending += _word_octets(word["encoding"], word["text"])
    return "".join((*out, pending.decode(charset or "ascii"), _plain(text[end:])))


def _plain(text: str) -> str:
    """The text, which must hold no word that only some readers decode."""
    if _LEFT_OVER.search(text):
        raise LookupError("an encoded word in the middle of something")
    return text


def _word_octets(encoding: str, text: str) -> bytes:
    if encoding in "Bb":
        return base64.b64decode(text, validate=True)
    if re.search(r"=(?![0-9A-Fa-f]{2})", text):
        raise LookupError("not the Q encoding")
    octets = text.replace("_", " ").encode("ascii")
    return re.sub(rb"=([0-9A-Fa-f]{2})", lambda pair: bytes.fromhex(pair[1].decode("ascii")), octets)


# --- the sealed form ---------------------------------------------------------------------------------------------

_FORM: Final = 1


class UnknownForm(ValueError):
    """Sealed directives of a form that this version doesn't read."""


def to_json_bytes(directives: Directives) -> bytes:
    """For sealing only: the numbers and codes stand in it as they are."""
    transport = directives.transport
    form = {
        "form": _FORM,
        "access_rights": [[str(mailbox), *_reveal(right)] for mailbox, right in directives.access_rights.items()],
        "transport": [int(transport.tls), int(transport.authentication)] if transport else None,
        "email_policy": directives.email_policy.value,
        "expires_after": directives.expires_after.total_seconds() if directives.expires_after else None,
        "warnings": [warning.value for warning in directives.warnings],
    }
    return json.dumps(form, ensure_ascii=False, separators=(",", ":")).encode()


def _reveal(right: SmsCode | AccessCode) -> tuple[str, str, str | None]:
    match right:
        case SmsCode(phone):
            return "sms", phone.reveal(), None
        case AccessCode(code, hint):
            return "access-code", code.reveal(), hint.reveal() if hint else None


def from_json_bytes(octets: bytes) -> Directives:
    """What :func:`to_json_bytes` wrote. Raises :class:`UnknownForm`; anything else wrong here is a broken seal."""
    form = json.loads(octets)
    if form["form"] != _FORM:
        raise UnknownForm("sealed directives of an unknown form")
    rights = {Mailbox.parse(address): _conceal(*right) for address, *right in form["access_rights"]}
    level, seconds = form["transport"], form["expires_after"]
    return Directives(
        access_rights=MappingProxyType(rights),
        transport=TransportSecurity(Tls(level[0]), Authentication(level[1])) if level else None,
        email_policy=EmailPolicy(form["email_policy"]),
        expires_after=timedelta(seconds=seconds) if seconds is not None else None,
        warnings=tuple(_WARNINGS[code] for code in form["warnings"]),
    )


_WARNINGS: Final = {warning.value: warning for warning in DirectiveWarning}


def _conceal(kind: str, value: str, hint: str | None) -> SmsCode | AccessCode:
    if kind == "sms":
        return SmsCode(Secret(value))
    return AccessCode(Secret(value), Secret(hint) if hint else None)


# --- the page ----------------------------------------------------------------------------------------------------


def fields_as_markdown() -> str:
    """The fields, as ``docs/control-fields.md`` has them."""
    rows = (f"| `…{rule.field.value}` | {rule.values} | {rule.often} | {rule.otherwise} |" for rule in RULES)
    return "\n".join(("| field | value | how often | otherwise |", "|---|---|---|---|", *rows)) + "\n"


def words_as_markdown() -> str:
    """The words that are accepted in them, likewise."""
    rows = (f"| {place} | {', '.join(f'`{word}`' for word in words)} |" for place, words in _WORDS)
    return "\n".join(("| where | words |", "|---|---|", *rows)) + "\n"


_WORDS: Final[tuple[tuple[str, Iterable[str]], ...]] = (
    ("`…access-right`, after the address", METHOD_WORDS),
    ("`…direct-delivery`, after `tls`", TLS_WORDS),
    ("`…direct-delivery`, after `auth`", AUTHENTICATION_WORDS),
)


def refusals_as_markdown() -> str:
    """The refusals, likewise; the reply is printed for one of the names that it can have."""
    rows = (f"| {why.when} | `{MalformedField(why, _EXAMPLES.get(why, _RIGHT)).reply}` |" for why in Refusal)
    return "\n".join(("| what stands there | reply |", "|---|---|", *rows)) + "\n"


_RIGHT: Final = f"zivver-{ControlField.ACCESS_RIGHT.value}"
_EXAMPLES: Final = {
    Refusal.UNKNOWN: "zivver-acces-right",
    Refusal.BOTH_NAMES: ControlField.ACCESS_RIGHT.value,
    Refusal.TWICE: f"zivver-{ControlField.DIRECT_DELIVERY.value}",
    Refusal.NO_EXPIRATION: f"zivver-{ControlField.MESSAGE_EXPIRATION.value}",
}
