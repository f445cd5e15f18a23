"""A certificate authority for local mode that can harm nobody.

Whoever trusts it trusts it for ``.test``, ``localhost`` and 127.0.0.0/8 alone: its name constraints
(RFC 5280 §4.2.1.10) are critical, and its extended key usage leaves it nothing but TLS servers.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from zegel.core.clock import Instant

AUTHORITY_CERTIFICATE: Final = "ca.pem"
AUTHORITY_KEY: Final = "ca.key"
AUTHORITY_LIFETIME: Final = timedelta(days=3652)
LIFETIME: Final = timedelta(days=365)
RENEW_BEFORE: Final = timedelta(days=30)
_BACKDATED: Final = timedelta(days=1)  # a clock that is a little slow shall not reject what was just issued

PERMITTED_DOMAINS: Final = ("test", "localhost", "localhost.localdomain")  # RFC 6761 §6.2, §6.3
PERMITTED_NETWORK: Final = ipaddress.IPv4Network("127.0.0.0/8")

_HOST: Final = re.compile(r"(?:\*\.)?(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*")


class NotALocalName(ValueError):
    """The name is not one that a local certificate may be about."""


def _wall_clock() -> Instant:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class LocalAuthority:
    """Issues certificates for the servers of local mode."""

    certificate: x509.Certificate
    certificate_path: Path
    """What a client that shall trust this authority reads; PEM."""
    _key: ec.EllipticCurvePrivateKey = field(repr=False)
    _now: Callable[[], Instant] = field(repr=False)

    @classmethod
    def load_or_create(cls, folder: Path, *, now: Callable[[], Instant] = _wall_clock) -> LocalAuthority:
        """The authority that lives in ``folder``, made there when it is missing, incomplete or expired.

        ``ca.pem`` is the certificate; ``ca.key`` is readable by its owner only from its first byte on.
        A file that is there but isn't what it should be raises ``ValueError``: it may be somebody's.
        """
        folder.mkdir(parents=True, exist_ok=True)
        certificate_path, key_path = folder / AUTHORITY_CERTIFICATE, folder / AUTHORITY_KEY
        if not _usable(certificate_path, key_path, until=now()):
            key = ec.generate_private_key(ec.SECP256R1())
            _write(key_path, _pem(key), mode=0o600)
            _write(certificate_path, _pem(_authority_certificate(key, now())), mode=0o644)
        return cls(_read_certificate(certificate_path), certificate_path, _read_key(key_path), now)

    def issue(self, names: Sequence[str], folder: Path) -> tuple[Path, Path]:
        """Paths of a certificate chain and its key (0600) for exactly ``names``, the first of which names the files.

        What is there is kept while it is valid for another 30 days, has the same names, and is ours; else it is
        replaced. Host names and addresses stand in the SAN only. Raises :class:`NotALocalName` for a name that
        this authority's own constraints exclude.
        """
        wanted = [_subject_alternative(name) for name in names]
        for name in wanted:
            _require_permitted(name)
        return _issued(wanted, folder, by=self._key, issuer=self.certificate, now=self._now())


def self_signed(names: Sequence[str], folder: Path, *, now: Callable[[], Instant] = _wall_clock) -> tuple[Path, Path]:
    """Like :meth:`LocalAuthority.issue`, but nobody vouches for it: what a badly kept mail server shows."""
    return _issued([_subject_alternative(name) for name in names], folder, by=None, issuer=None, now=now())


def _subject_alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    host = name.lower().rstrip(".")
    if not _HOST.fullmatch(host):
        raise NotALocalName(f"{name!r} is neither a host name nor an address")
    return x509.DNSName(host)


def _require_permitted(name: x509.GeneralName) -> None:
    if isinstance(name, x509.IPAddress):
        permitted = name.value in PERMITTED_NETWORK
    else:
        host = str(name.value).removeprefix("*.")
        permitted = any(host == domain or host.endswith("." + domain) for domain in PERMITTED_DOMAINS)
    if not permitted:
        raise NotALocalName(f"{name.value} lies outside what the local authority may vouch for")


def _issued(
    names: list[x509.GeneralName],
    folder: Path,
    *,
    by: ec.EllipticCurvePrivateKey | None,
    issuer: x509.Certificate | None,
    now: Instant,
) -> tuple[Path, Path]:
    if not names:
        raise NotALocalName("a certificate is about at least one name")
    folder.mkdir(parents=True, exist_ok=True)
    stem = str(names[0].value).replace("*", "_").replace(":", "_")
    certificate_path, key_path = folder / f"{stem}.pem", folder / f"{stem}.key"
    if _usable(certificate_path, key_path, until=now + RENEW_BEFORE):
        present = _read_certificate(certificate_path)
        if _names_of(present) == set(names) and _is_signed_by(present, issuer or present):
            return certificate_path, key_path
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _server_certificate(key, names, by=by or key, issuer=issuer, now=now)
    # The chain goes out complete: a DANE-TA verifier finds its anchor in what the server sends (RFC 7672 §3.1.2).
    chain = _pem(certificate) + (_pem(issuer) if issuer else b"")
    _write(key_path, _pem(key), mode=0o600)
    _write(certificate_path, chain, mode=0o644)
    return certificate_path, key_path


def _usable(certificate_path: Path, key_path: Path, *, until: Instant) -> bool:
    """Both files are there, belong together, and stay valid beyond ``until``."""
    if not (certificate_path.exists() and key_path.exists()):
        return False
    certificate, key = _read_certificate(certificate_path), _read_key(key_path)
    return certificate.public_key() == key.public_key() and certificate.not_valid_after_utc > until


def _names_of(certificate: x509.Certificate) -> set[x509.GeneralName]:
    return set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def _is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _builder(key: ec.EllipticCurvePrivateKey, now: Instant, until: Instant) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )


def _authority_certificate(key: ec.EllipticCurvePrivateKey, now: Instant) -> x509.Certificate:
    # A name of its own per authority: two that share a name and differ in key confuse whoever trusts both.
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Zegel local mode"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Zegel local authority {secrets.token_hex(4)}"),
        ]
    )
    permitted: list[x509.GeneralName] = [x509.DNSName(domain) for domain in PERMITTED_DOMAINS]
    permitted.append(x509.IPAddress(PERMITTED_NETWORK))
    return (
        _builder(key, now, now + AUTHORITY_LIFETIME)
        .subject_name(name)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None), critical=True)
        .sign(key, hashes.SHA256())
    )


def _server_certificate(
    key: ec.EllipticCurvePrivateKey,
    names: list[x509.GeneralName],
    *,
    by: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    now: Instant,
) -> x509.Certificate:
    until = min(now + LIFETIME, issuer.not_valid_after_utc) if issuer else now + LIFETIME
    nobody = x509.Name([])
    # An issuer name is never empty (RFC 5280 §4.1.2.4); a subject may be, and then the SAN is critical (§4.2.1.6).
    own = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Zegel local mode, self-signed")])
    return (
        _builder(key, now, until)
        .subject_name(nobody if issuer else own)
        .issuer_name(issuer.subject if issuer else own)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=issuer is not None)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()),
            critical=False,
        )
        .sign(by, hashes.SHA256())
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(what: x509.Certificate | ec.EllipticCurvePrivateKey) -> bytes:
    if isinstance(what, x509.Certificate):
        return what.public_bytes(serialization.Encoding.PEM)
    return what.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read_certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key that this authority made")
    return key


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Replaces ``path`` at once; the content never stands in a file with wider permissions than ``mode``."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # mkstemp gives 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
