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
from zegel.core.mail.reply import Reply
from zegel.core.policy.case import Asked
from zegel.core.policy.phone import NotAMobileNumber, parse_mobile
from zegel.core.policy.transport import PROVEN, Authentication, Tls, TransportSecurity
from zegel.core.policy.verification import AccessCode, SmsCode
from zegel.core.policy.wording import Wording
from zegel.core.secret import Secret

CONTROL_PREFIXES: Final = ("zegel-", "zivver-")
_LONGEST_PREFIX: Final = max(map(len, CONTROL_PREFIXES))
SHORTEST_ACCESS_CODE: Final = 4  # characters: ten wrong tries a day find four digits in a year and a half, on average
LONGEST_ACCESS_CODE: Final = 100
LONGEST_EXPIRY: Final = timedelta(days=36_525)  # a century; further on the calendar itself ends

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


class MalformedField(Exception):
    """A control field that must not be guessed; ``reply`` names the field and what to write, never what stood in it."""

    def __init__(self, sentence: str) -> None:
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
_ONCE: Final = frozenset(ControlField) - {ControlField.ACCESS_RIGHT}


def _sort_out(fields: Sequence[tuple[str, bytes]]) -> dict[ControlField, tuple[_Written, ...]]:
    found: dict[ControlField, list[_Written]] = {}
    for raw_name, value in fields:
        name = raw_name.strip().lower()
        if not is_control_field(name):
            continue
        if name not in _KNOWN_FIELDS:
            shown = re.sub(r"[^a-z0-9_-]", "?", name[:60])
            raise MalformedField(f"{shown} is not a field this gateway knows: correct or remove it")
        kind = _KNOWN_FIELDS[name]
        found.setdefault(kind, []).append(_Written(name, value))
    for kind, written in found.items():
        if len({one.name for one in written}) > 1:
            raise MalformedField(f"zegel-{kind.value} and zivver-{kind.value} are one field: use one of the two names")
        if kind in _ONCE and len(written) > 1:
            raise MalformedField(f"{written[0].name} may stand in a message only once")
    return {kind: tuple(written) for kind, written in found.items()}


# --- access-right ------------------------------------------------------------------------------------------------

_ACCESS_RIGHT: Final = re.compile(r'(?P<address>"(?:[^"\\]|\\.)*"@\S+|\S+)\s+(?P<method>\S+)(?:\s+(?P<rest>.*))?')
_SECOND_RECIPIENT: Final = re.compile(r"\S@\S+\s+(?:sms|sharedaccesscode|access-code)(?:\s|$)", re.IGNORECASE)
_SHARED_CODE_WORDS: Final = frozenset({"sharedaccesscode", "access-code"})  # D-2


def _read_access_rights(written: tuple[_Written, ...], region: str) -> Mapping[Mailbox, SmsCode | AccessCode]:
    rights: dict[Mailbox, SmsCode | AccessCode] = {}
    for one in written:
        mailbox, verification = _read_access_right(one, region)
        if mailbox in rights:
            raise MalformedField(f"{one.name} names one recipient twice: one field for each recipient")
        rights[mailbox] = verification
    return MappingProxyType(rights)


def _read_access_right(written: _Written, region: str) -> tuple[Mailbox, SmsCode | AccessCode]:
    found = _ACCESS_RIGHT.fullmatch(_text_or_refuse(written))
    if found is None:
        raise MalformedField(
            f"{written.name} must read: address sms number in international form, or: address sharedAccessCode code"
        )
    try:
        mailbox = Mailbox.parse(_without_brackets(found["address"]))
    except NotAMailbox:
        # "from None", here and below: what was written must not get into a traceback
        raise MalformedField(f"{written.name} must begin with the e-mail address of one recipient") from None
    rest = (found["rest"] or "").strip()
    if _SECOND_RECIPIENT.search(rest[:500]):
        raise MalformedField(f"{written.name} names several recipients: one field for each recipient")
    method = found["method"].lower()
    if method == "sms":
        return mailbox, _read_sms(written, rest, region)
    if method in _SHARED_CODE_WORDS:
        return mailbox, _read_access_code(written, rest)
    raise MalformedField(f"{written.name} must say sms or sharedAccessCode after the address")


def _without_brackets(address: str) -> str:
    return address[1:-1] if address.startswith("<") and address.endswith(">") else address


def _read_sms(written: _Written, rest: str, region: str) -> SmsCode:
    try:
        return SmsCode(Secret(parse_mobile(rest, region=region)))
    except NotAMobileNumber:
        raise MalformedField(
            f"{written.name} must end with one mobile number in international form, like +31 6 and eight digits"
        ) from None


def _read_access_code(written: _Written, rest: str) -> AccessCode:
    if not SHORTEST_ACCESS_CODE <= len(rest) <= LONGEST_ACCESS_CODE:
        raise MalformedField(
            f"{written.name} must end with an access code of {SHORTEST_ACCESS_CODE} to {LONGEST_ACCESS_CODE} characters"
        )
    if any(char.isspace() and char != " " for char in rest):
        raise MalformedField(f"{written.name}: inside an access code only ordinary spaces are possible")
    return AccessCode(Secret(rest))


# --- direct-delivery ---------------------------------------------------------------------------------------------

_PAIRS: Final = re.compile(
    r"(?:tls\s+(?P<tls>\S+)\s+auth\s+(?P<auth>\S+))|(?:auth\s+(?P<auth_>\S+)\s+tls\s+(?P<tls_>\S+))"
)


def _read_transport(written: tuple[_Written, ...]) -> tuple[TransportSecurity | None, tuple[DirectiveWarning, ...]]:
    """Whatever is recognised raises the level, however oddly it is written; only what is exactly right goes
    without a warning. So a demand for more than the default never turns into the default (D-11)."""
    if not written:
        return None, ()
    text = (_text(written[0].value) or "").lower()
    words = re.split(r"[\s=:;,]+", text)
    tls = max((TLS_WORDS[word] for word in words if word in TLS_WORDS), default=PROVEN.tls)
    authentication = max(
        (AUTHENTICATION_WORDS[word] for word in words if word in AUTHENTICATION_WORDS), default=PROVEN.authentication
    )
    warnings = () if _is_exact(text) else (DirectiveWarning.TRANSPORT_DEFAULTED,)
    return TransportSecurity(tls, authentication), warnings


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
    malformed = MalformedField(
        f"{written[0].name} must read: delete and a duration of weeks, days or hours, like: delete P30D"
    )
    words = _text_or_refuse(written[0]).split()
    if len(words) != 2 or words[0].lower() != "delete" or not words[1].isascii():
        raise malformed
    try:
        length = parse_duration(words[1])
    except NotADuration as cause:
        raise malformed from cause
    if length > LONGEST_EXPIRY:
        raise malformed
    return length


# --- text of a field ---------------------------------------------------------------------------------------------

_ENCODED_WORD: Final = re.compile(  # RFC 2047 §2, with the language of RFC 2231 §5
    r"(?<!\S)=\?(?P<charset>[A-Za-z0-9_.:-]+)(?:\*[A-Za-z0-9-]+)?\?(?P<encoding>[BbQq])\?(?P<text>[!->@-~]*)\?=(?!\S)"
)
_CHARSETS: Final = frozenset({"utf-8", "us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252"})
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})


def _text_or_refuse(written: _Written) -> str:
    text = _text(written.value)
    if text is None:
        raise MalformedField(f"{written.name} must be plain text in ASCII or UTF-8, without invisible characters")
    return text


def _text(value: bytes) -> str | None:
    """The value as people see it, stripped; ``None`` where two people might see different things."""
    try:
        text = _decode_words(value.decode("utf-8")).strip()
    except (UnicodeDecodeError, binascii.Error, LookupError):
        return None
    if any(unicodedata.category(char) in _INVISIBLE and char != "\t" for char in text):
        return None
    return text


def _decode_words(text: str) -> str:
    """Encoded words decoded; white space between two of them vanishes (RFC 2047 §6.2). Words of one charset are
    joined before decoding, since some composers cut in the middle of a character."""
    out: list[str] = []
    pending, charset, end = b"", "", 0
    for word in _ENCODED_WORD.finditer(text):
        between = text[end : word.start()]
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
    return "".join((*out, pending.decode(charset or "ascii"), text[end:]))


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
