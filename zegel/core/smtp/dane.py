"""DANE for SMTP (RFC 7672): does a server's certificate match the TLSA records of its name?

Usages, selectors and matching types are those of RFC 6698 §2.1; how a trust anchor is used is RFC 7671 §5.2's. That
records are secure, and for which name they were asked, is the caller's to know.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from zegel.core.clock import Instant

DANE_TA: Final = 2  # the certificate of an authority that issued the server's
DANE_EE: Final = 3  # the server's own certificate
CERTIFICATE: Final = 0  # selectors
PUBLIC_KEY: Final = 1
EXACT: Final = 0  # matching types
SHA_256: Final = 1
SHA_512: Final = 2
MOST_CERTIFICATES: Final = 10  # of a server that are looked at
RSA_MINIMUM: Final = 2048

Kind = TypeVar("Kind", bound=x509.ExtensionType)
_OCTETS: Final = {SHA_256: 32, SHA_512: 64}
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_UNDERSTOOD: Final = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage, x509.SubjectAlternativeName)


# --- records ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tlsa:
    """One TLSA record."""

    usage: int
    selector: int
    matching: int
    octets: bytes

    @property
    def is_usable(self) -> bool:
        """RFC 7672 §3.1: usages 0 and 1 are not for SMTP; what is unknown, or can't match anything, is no use."""
        if self.usage not in {DANE_TA, DANE_EE} or self.selector not in {CERTIFICATE, PUBLIC_KEY}:
            return False
        if self.matching == EXACT:
            return bool(self.octets)
        return len(self.octets) == _OCTETS.get(self.matching)


_UNREADABLE: Final = Tlsa(255, 255, 255, b"")


def records(texts: Iterable[str]) -> tuple[Tlsa, ...]:
    """From their text, RFC 6698 §2.2: three numbers and hexadecimal digits. What can't be read is there, and unusable:
    that records exist means something by itself."""
    return tuple(_record(text) for text in texts)


def _record(text: str) -> Tlsa:
    usage, selector, matching, *digits = [*text.split(), "", "", ""]
    if not all(number.isascii() and number.isdigit() and len(number) <= 3 for number in (usage, selector, matching)):
        return _UNREADABLE
    try:
        return Tlsa(int(usage), int(selector), int(matching), bytes.fromhex("".join(digits)))
    except ValueError:
        return _UNREADABLE


# --- what comes out -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Matched:
    """The server is authenticated, by this record."""

    by: Tlsa


@dataclass(frozen=True, slots=True)
class NothingUsable:
    """There are records, and no usable one: TLS is required, and authenticates nobody (RFC 7672 §2.2)."""


class Mismatch(IntEnum):
    """Why no usable record matched; of several reasons the one that came nearest to a match."""

    NO_CERTIFICATE = 0
    NO_RECORD_MATCHES = 1
    PATH_BROKEN = 2  # an anchor matched, and no path of signatures leads to it
    NOT_AN_AUTHORITY = 3  # a certificate on the path may not issue others, or its signature is too weak
    NOT_VALID_NOW = 4
    NAME = 5  # the server's certificate is for another name, or not for a server

    def __str__(self) -> str:
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, slots=True)
class NoMatch:
    """This server must not be used."""

    why: Mismatch


Verdict = Matched | NothingUsable | NoMatch


def examine(chain: Sequence[bytes], *, tlsa: Sequence[Tlsa], names: Sequence[str], at: Instant) -> Verdict:
    """Whether one of ``tlsa`` matches what a server showed: ``chain`` in DER, its own certificate first.

    ``names`` (the TLSA base domain, the next-hop domain; RFC 7672 §3.2.2) and the time matter for usage 2 alone: a
    record of usage 3 is all that is known of a server, and all that needs to be (RFC 7672 §3.1.1). Never raises:
    whatever the library has against a certificate makes it one that doesn't count.

    A bare public key that isn't in the chain is no anchor (RFC 7671 §5.2 leaves that to us), and neither is a
    certificate with name constraints on the way to one.
    """
    usable = [one for one in tlsa if one.is_usable]
    if not usable:
        return NothingUsable()
    if not chain:
        return NoMatch(Mismatch.NO_CERTIFICATE)
    for record in usable:
        if record.usage == DANE_EE and _is_matched(chain[0], record):
            return Matched(record)
    anchors = [one for one in usable if one.usage == DANE_TA]
    return _by_anchor(chain[:MOST_CERTIFICATES], anchors, names, at) if anchors else NoMatch(Mismatch.NO_RECORD_MATCHES)


def _is_matched(certificate: bytes, record: Tlsa) -> bool:
    if record.selector == CERTIFICATE:
        selected = certificate
    else:
        loaded = _loaded(certificate)
        if loaded is None:
            return False
        try:
            selected = loaded.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except Exception:
            return False
    match record.matching:
        case 1:
            selected = hashlib.sha256(selected).digest()
        case 2:
            selected = hashlib.sha512(selected).digest()
    return selected == record.octets


def _loaded(certificate: bytes) -> x509.Certificate | None:
    try:
        return x509.load_der_x509_certificate(certificate)
    except Exception:
        return None


# --- by the anchor ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A certificate that may lie on the path, and the record that makes it an anchor."""

    certificate: x509.Certificate
    anchored_by: Tlsa | None


def _by_anchor(chain: Sequence[bytes], anchors: Sequence[Tlsa], names: Sequence[str], at: Instant) -> Verdict:
    leaf = _loaded(chain[0])
    candidates = _candidates(chain[1:], anchors)
    if leaf is None or not any(one.anchored_by for one in candidates):
        return NoMatch(Mismatch.NO_RECORD_MATCHES)
    try:
        if (wrong := _wrong_with_leaf(leaf, names, at)) is not None:
            return NoMatch(wrong)
    except Exception:
        return NoMatch(Mismatch.NAME)
    return _climb(leaf, candidates, at)


def _candidates(octets: Sequence[bytes], anchors: Sequence[Tlsa]) -> list[_Candidate]:
    """What the server sent, and what stands in full in a record of its own (RFC 7671 §5.2.2)."""
    whole = [one.octets for one in anchors if one.selector == CERTIFICATE and one.matching == EXACT]
    found: list[_Candidate] = []
    for one in (*octets, *(kept for kept in whole if kept not in octets)):
        certificate = _loaded(one)
        if certificate is not None:
            found.append(_Candidate(certificate, next((by for by in anchors if _is_matched(one, by)), None)))
    return found


def _climb(leaf: x509.Certificate, candidates: Sequence[_Candidate], at: Instant) -> Verdict:
    """From issuer to issuer, the nearest first, each certificate once: so it ends, whatever a server sends."""
    nearest = Mismatch.PATH_BROKEN
    waiting: deque[tuple[x509.Certificate, int]] = deque([(leaf, 0)])
    left = list(candidates)
    while waiting:
        issued, below = waiting.popleft()
        for candidate in [one for one in left if _has_issued(one.certificate, issued)]:
            wrong = _wrong_with_issuer(candidate.certificate, issued, below, at)
            if wrong is not None:
                nearest = max(nearest, wrong)
                continue
            if candidate.anchored_by is not None:
                return Matched(candidate.anchored_by)
            left.remove(candidate)
            waiting.append((candidate.certificate, below + 1))
    return NoMatch(nearest)


def _has_issued(issuer: x509.Certificate, issued: x509.Certificate) -> bool:
    try:
        issued.verify_directly_issued_by(issuer)
    except Exception:
        return False
    return True


def _wrong_with_issuer(issuer: x509.Certificate, issued: x509.Certificate, below: int, at: Instant) -> Mismatch | None:
    """RFC 5280 §6.1.4, for ``below`` further authorities between it and the server."""
    try:
        if not (_may_issue(issuer, below) and _is_strong(issuer, issued) and _is_understood(issuer)):
            return Mismatch.NOT_AN_AUTHORITY
    except Exception:
        return Mismatch.NOT_AN_AUTHORITY
    return None if _is_valid(issuer, at) else Mismatch.NOT_VALID_NOW


def _may_issue(issuer: x509.Certificate, below: int) -> bool:
    constraints = _extension(issuer, x509.BasicConstraints)
    usage = _extension(issuer, x509.KeyUsage)
    if constraints is None or not constraints.ca or (usage is not None and not usage.key_cert_sign):
        return False
    return constraints.path_length is None or below <= constraints.path_length


def _is_strong(issuer: x509.Certificate, issued: x509.Certificate) -> bool:
    """Of the signature that ``issuer`` made under ``issued``."""
    match issuer.public_key():
        case rsa.RSAPublicKey(key_size=size):
            return size >= RSA_MINIMUM and isinstance(issued.signature_hash_algorithm, _HASHES)
        case ec.EllipticCurvePublicKey():
            return isinstance(issued.signature_hash_algorithm, _HASHES)
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return True
        case _:
            return False


def _is_understood(certificate: x509.Certificate) -> bool:
    """RFC 5280 §4.2: an unknown critical extension makes a certificate unusable. Name constraints are not worked out
    here, so they do the same, critical or not."""
    return all(
        isinstance(one.value, _UNDERSTOOD) or not (one.critical or isinstance(one.value, x509.NameConstraints))
        for one in certificate.extensions
    )


def _wrong_with_leaf(leaf: x509.Certificate, names: Sequence[str], at: Instant) -> Mismatch | None:
    usage = _extension(leaf, x509.ExtendedKeyUsage)
    allowed = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if not _is_understood(leaf) or (usage is not None and not allowed & set(usage)):
        return Mismatch.NAME
    if not any(is_for(pattern, name) for pattern in host_names(leaf) for name in names):
        return Mismatch.NAME
    return None if _is_valid(leaf, at) else Mismatch.NOT_VALID_NOW


def host_names(leaf: x509.Certificate) -> list[str]:
    """Whom a certificate says it is for: the common name counts only where no host name stands in the subjectAltName
    (RFC 7672 §3.2.3). Raises ``ValueError`` for what can't be read."""
    alternative = _extension(leaf, x509.SubjectAlternativeName)
    found = alternative.get_values_for_type(x509.DNSName) if alternative is not None else []
    return found or [str(one.value) for one in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]


def is_for(pattern: str, name: str) -> bool:
    """Whether a name in a certificate is that of a host. A wildcard is the whole first label, and stands for exactly
    one (RFC 7672 §3.2.3)."""
    pattern, name = pattern.lower().rstrip("."), name.lower().rstrip(".")
    if pattern.startswith("*."):
        label, dot, rest = name.partition(".")
        return bool(label and dot and rest) and rest == pattern[2:]
    return bool(name) and pattern == name


def _is_valid(certificate: x509.Certificate, at: Instant) -> bool:
    return certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc


def _extension(certificate: x509.Certificate, kind: type[Kind]) -> Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
