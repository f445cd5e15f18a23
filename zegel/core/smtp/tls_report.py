"""TLS reports (RFC 8460): what became of each TLS session with a receiving server, for the domain that it was for.

Reads what a domain asks for, names results, counts, and writes the report. Sends nothing.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from zegel.core.mail.address import Domain, Mailbox, NotADomain, NotAMailbox
from zegel.core.smtp.dane import Mismatch, Tlsa

MOST_DESTINATIONS: Final = 10  # of one domain
LONGEST_RECORD: Final = 4096  # characters
MOST_TOLD: Final = 8192  # characters of a policy: strangers write them, and they are kept for every session
LONGEST_REASON: Final = 100  # characters


class PolicyType(Enum):
    """What a session went by (RFC 8460 §4.4)."""

    TLSA = "tlsa"
    STS = "sts"
    NONE = "no-policy-found"


class ResultType(Enum):
    """RFC 8460 §4.3, all of them."""

    STARTTLS_NOT_SUPPORTED = "starttls-not-supported"
    CERTIFICATE_HOST_MISMATCH = "certificate-host-mismatch"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NOT_TRUSTED = "certificate-not-trusted"
    VALIDATION_FAILURE = "validation-failure"
    TLSA_INVALID = "tlsa-invalid"
    DNSSEC_INVALID = "dnssec-invalid"
    DANE_REQUIRED = "dane-required"
    STS_POLICY_FETCH_ERROR = "sts-policy-fetch-error"
    STS_POLICY_INVALID = "sts-policy-invalid"
    STS_WEBPKI_INVALID = "sts-webpki-invalid"


# --- what a session failed by -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a session failed. ``reason``: a word of ours or of the TLS library, never what a server said."""

    result: ResultType
    reason: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", self.reason[:LONGEST_REASON])


NO_STARTTLS: Final = Failure(ResultType.STARTTLS_NOT_SUPPORTED)
NO_USABLE_TLSA: Final = Failure(ResultType.TLSA_INVALID, "no usable record")
NO_TLSA: Final = Failure(ResultType.DANE_REQUIRED)
HOST_NOT_NAMED: Final = Failure(ResultType.VALIDATION_FAILURE, "the policy does not name the MX host")

_NOT_TRUSTED: Final = ResultType.CERTIFICATE_NOT_TRUSTED
# What OpenSSL has against a certificate. What is not here is certificate-not-trusted, under its number.
CERTIFICATES: Final[Mapping[int, Failure]] = MappingProxyType(
    {
        9: Failure(_NOT_TRUSTED, "X509_V_ERR_CERT_NOT_YET_VALID"),
        10: Failure(ResultType.CERTIFICATE_EXPIRED, "X509_V_ERR_CERT_HAS_EXPIRED"),
        18: Failure(_NOT_TRUSTED, "X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT"),
        19: Failure(_NOT_TRUSTED, "X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN"),
        20: Failure(_NOT_TRUSTED, "X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY"),
        21: Failure(_NOT_TRUSTED, "X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE"),
        62: Failure(ResultType.CERTIFICATE_HOST_MISMATCH, "X509_V_ERR_HOSTNAME_MISMATCH"),
        64: Failure(ResultType.CERTIFICATE_HOST_MISMATCH, "X509_V_ERR_IP_ADDRESS_MISMATCH"),
    }
)
# What our own matcher has against it where TLSA records say what it must be.
MISMATCHES: Final[Mapping[Mismatch, Failure]] = MappingProxyType(
    {
        one: Failure(result, f"DANE: {one}")
        for one, result in {
            Mismatch.NO_CERTIFICATE: ResultType.VALIDATION_FAILURE,
            Mismatch.NO_RECORD_MATCHES: ResultType.TLSA_INVALID,
            Mismatch.PATH_BROKEN: ResultType.CERTIFICATE_NOT_TRUSTED,
            Mismatch.NOT_AN_AUTHORITY: ResultType.CERTIFICATE_NOT_TRUSTED,
            Mismatch.NOT_VALID_NOW: ResultType.CERTIFICATE_EXPIRED,
            Mismatch.NAME: ResultType.CERTIFICATE_HOST_MISMATCH,
        }.items()
    }
)


def refused_starttls(code: int) -> Failure:
    """It was offered, and not given."""
    return Failure(ResultType.STARTTLS_NOT_SUPPORTED, f"STARTTLS was answered by {code}")


def of_certificate(number: int) -> Failure:
    """By the number of what OpenSSL found wrong."""
    return CERTIFICATES.get(number) or Failure(_NOT_TRUSTED, f"X509_V_ERR {number}")


def of_handshake(reason: str) -> Failure:
    """No TLS came about, for a reason that is not the certificate's (RFC 8460 §4.3.3)."""
    return Failure(ResultType.VALIDATION_FAILURE, reason or "handshake failed")


def tlsa_not_known(reason: str) -> Failure:
    """Records may exist, and no validated answer says which (RFC 7672 §2.1.2)."""
    return Failure(ResultType.DNSSEC_INVALID, reason)


def sts_not_fetched(reason: str, *, by_certificate: bool = False) -> Failure:
    """The web server gave no policy; ``by_certificate``: because nobody knows that it was the right one."""
    return Failure(ResultType.STS_WEBPKI_INVALID if by_certificate else ResultType.STS_POLICY_FETCH_ERROR, reason)


def sts_invalid(reason: str) -> Failure:
    """What it gave is no policy."""
    return Failure(ResultType.STS_POLICY_INVALID, reason)


# --- sessions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Applied:
    """The policy that a session went by. ``domain``: the one that it stands under, the TLSA base domain included
    (RFC 8460 §1.1). ``hosts``: patterns of an MTA-STS policy."""

    kind: PolicyType
    domain: str  # A-labels
    strings: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "strings", _within(self.strings))
        object.__setattr__(self, "hosts", _within(self.hosts))


def _within(texts: Iterable[str]) -> tuple[str, ...]:
    """Whole ones, from the beginning, as far as there is room."""
    kept: list[str] = []
    room = MOST_TOLD
    for text in texts:
        room -= len(text)
        if room < 0:
            break
        kept.append(text)
    return tuple(kept)


def by_tlsa(base: str, records: Iterable[Tlsa]) -> Applied:
    """TLSA records, in their text form (RFC 6698 §2.2)."""
    texts = (f"{one.usage} {one.selector} {one.matching} {one.octets.hex()}" for one in records)
    return Applied(PolicyType.TLSA, base, tuple(texts))


@dataclass(frozen=True, slots=True)
class Session:
    """What became of one TLS session. ``domain``: of the recipients, whom a report is for. ``failure``: ``None`` for
    one that went as its policy says. Where there was none to be had, ``sent_from`` and ``address`` are empty."""

    domain: str  # A-labels
    policy: Applied
    failure: Failure | None = None
    sent_from: str = ""  # an IP address of ours
    host: str = ""  # the MX host
    address: str = ""  # its IP address


# --- the report ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who reports."""

    organisation: str
    contact: str  # an address (RFC 5322 §3.4.1)
    host: str


def report(domain: str, day: date, counted: Iterable[tuple[Session, int]], *, by: Reporter) -> dict[str, Any]:
    """The report about ``day`` in UTC for ``domain``, as RFC 8460 §4.4 has it. The same sessions, in any order, are the
    same report; those of other domains are left out."""
    policies: dict[Applied, Counter[Session]] = {}
    for session, count in counted:
        if session.domain == domain and count > 0:
            policies.setdefault(session.policy, Counter())[session] += count
    return {
        "organization-name": by.organisation,
        "date-range": {"start-datetime": f"{day}T00:00:00Z", "end-datetime": f"{day}T23:59:59Z"},
        "contact-info": by.contact,
        "report-id": f"{day}_{domain}@{by.host}",
        "policies": [_policy(one, policies[one]) for one in sorted(policies, key=_order)],
    }


def as_json(told: Mapping[str, Any]) -> str:
    """One line, in ASCII: what stands in ``application/tlsrpt+json``."""
    return json.dumps(told, separators=(",", ":"))


def _order(policy: Applied) -> tuple[str, ...]:
    return policy.kind.value, policy.domain, "\n".join(policy.strings), "\n".join(policy.hosts)


def _policy(policy: Applied, counted: Counter[Session]) -> dict[str, Any]:
    failures: Counter[tuple[str, ...]] = Counter()
    for session, count in counted.items():
        if (failure := session.failure) is not None:
            failures[failure.result.value, session.sent_from, session.host, session.address, failure.reason] += count
    failed = failures.total()
    told: dict[str, Any] = {"policy-type": policy.kind.value}
    if policy.strings:
        told["policy-string"] = list(policy.strings)
    told["policy-domain"] = policy.domain
    if policy.hosts:
        told["mx-host"] = list(policy.hosts)
    found: dict[str, Any] = {
        "policy": told,
        "summary": {
            "total-successful-session-count": counted.total() - failed,
            "total-failure-session-count": failed,
        },
    }
    if failed:
        found["failure-details"] = [_failure(key, failures[key]) for key in sorted(failures)]
    return found


def _failure(key: tuple[str, ...], count: int) -> dict[str, Any]:
    """What is not known is left out."""
    names = ("result-type", "sending-mta-ip", "receiving-mx-hostname", "receiving-ip")
    *values, reason = key
    told: dict[str, Any] = {name: value for name, value in zip(names, values, strict=True) if value}
    told["failed-session-count"] = count
    if reason:
        told["failure-reason-code"] = reason
    return told


# --- who asks for one ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ToMailbox:
    """A report is wanted by mail."""

    mailbox: Mailbox


@dataclass(frozen=True, slots=True)
class ToUrl:
    """A report is wanted by HTTPS."""

    url: str


Destination = ToMailbox | ToUrl

_RECORD: Final = re.compile(r"v=TLSRPTv1[ \t]*;(?P<fields>.*)", re.DOTALL)
_URI: Final = r"[\"-+\--:<-~]+"  # "!", "," and ";" stand there encoded
_RUA: Final = re.compile(rf"rua=({_URI}(?:[ \t]*,[ \t]*{_URI})*)")
_EXTENSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}=[!-:<>-~]+")


def destinations(texts: Iterable[str]) -> tuple[Destination, ...]:
    """Where the one record at ``_smtp._tls.<domain>`` wants reports to go, in its order; none where there is no such
    record, more than one, or one that is no record (RFC 8460 §3). What is neither ``mailto:`` nor ``https:`` is passed
    over."""
    found = [record for text in texts if (record := _RECORD.fullmatch(text)) is not None]
    if len(found) != 1 or len(found[0][0]) > LONGEST_RECORD:
        return ()
    wanted: list[Destination] = []
    for part in found[0]["fields"].split(";"):
        field = part.strip(" \t")
        if field.startswith("rua="):
            listed = _RUA.fullmatch(field)
            if listed is None:
                return ()
            wanted.extend(one for uri in listed[1].split(",") if (one := _destination(uri.strip(" \t"))) is not None)
        elif field and not _EXTENSION.fullmatch(field):
            return ()
    return tuple(dict.fromkeys(wanted))[:MOST_DESTINATIONS]


def _destination(uri: str) -> Destination | None:
    scheme, _, rest = uri.partition(":")
    match scheme.lower():
        case "mailto":
            return _by_mail(rest)
        case "https":
            return _by_https(uri)
        case _:
            return None


def _by_mail(written: str) -> ToMailbox | None:
    """Header fields behind ``?`` are nobody's business here (RFC 6068 §4)."""
    try:
        return ToMailbox(Mailbox.parse(unquote(written.partition("?")[0], errors="strict")))
    except (NotAMailbox, UnicodeDecodeError):
        return None


def _by_https(uri: str) -> ToUrl | None:
    try:
        found = urlsplit(uri)
        is_port = found.port is None or found.port > 0
        is_host = bool(Domain.parse(found.hostname or "").ascii)
    except (ValueError, NotADomain):
        return None
    is_plain = "@" not in found.netloc and not found.fragment and "\\" not in uri
    return ToUrl(uri) if is_plain and is_port and is_host else None
