"""The local authority: trusted for what is local, worthless for anything else."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from zegel.local.authority import LocalAuthority, NotALocalName, self_signed

NOW = datetime.now(UTC).replace(microsecond=0)


def shake_hands(chain: tuple[Path, Path], name: str, trusted: Path) -> None:
    """Raises what a careful TLS client raises (RFC 5280 checks as strict as OpenSSL has them)."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*chain)
    client = ssl.create_default_context(cafile=str(trusted))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    client.hostname_checks_common_name = False
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as wrapped:
                wrapped.recv(1)
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(ours, server_hostname=name):
            pass
    finally:
        ours.close()
        thread.join()


def forged(authority: LocalAuthority, folder: Path, *names: x509.GeneralName) -> tuple[Path, Path]:
    """What somebody who stole the authority's key would make."""
    stolen = serialization.load_pem_private_key((authority.certificate_path.parent / "ca.key").read_bytes(), None)
    assert isinstance(stolen, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(stolen.public_key()), critical=False)
        .sign(stolen, hashes.SHA256())
    )
    (folder / "forged.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "forged.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "forged.pem", folder / "forged.key"


@pytest.fixture
def authority(tmp_path: Path) -> LocalAuthority:
    return LocalAuthority.load_or_create(tmp_path / "authority", now=lambda: NOW)


@pytest.mark.parametrize(
    "name", ["www.example.org", "nottest", "test.example.org", "192.0.2.1", "128.0.0.1", "::1", "10.127.0.0"]
)
def test_a_stolen_key_impersonates_nobody_outside(authority: LocalAuthority, tmp_path: Path, name: str) -> None:
    try:
        subject: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        subject = x509.DNSName(name)
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        shake_hands(forged(authority, tmp_path, subject), name, authority.certificate_path)


def test_a_stolen_key_does_work_inside_so_the_test_above_can_fail(authority: LocalAuthority, tmp_path: Path) -> None:
    shake_hands(forged(authority, tmp_path, x509.DNSName("mx.test")), "mx.test", authority.certificate_path)


def test_the_constraints_are_critical_and_the_authority_is_for_tls_servers_alone(authority: LocalAuthority) -> None:
    extensions = authority.certificate.extensions
    constraints = extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert {str(name.value) for name in constraints.value.permitted_subtrees or ()} == {
        "test",
        "localhost",
        "localhost.localdomain",
        "127.0.0.0/8",
    }
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert basic.value.path_length == 0
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]


@pytest.mark.parametrize(
    "name", ["example.org", "nottest", "192.0.2.1", "::1", "../mx.test", "a b.test", "", "-a.test"]
)
def test_a_name_that_is_not_local_is_not_issued(authority: LocalAuthority, tmp_path: Path, name: str) -> None:
    with pytest.raises(NotALocalName):
        authority.issue(["mx.voorbeeld.test", name], tmp_path / "tls")
    assert not (tmp_path / "tls").exists()


def test_a_certificate_about_nothing_is_not_issued(authority: LocalAuthority, tmp_path: Path) -> None:
    with pytest.raises(NotALocalName):
        authority.issue([], tmp_path)


def test_a_client_with_another_authority_does_not_trust_it(authority: LocalAuthority, tmp_path: Path) -> None:
    other = LocalAuthority.load_or_create(tmp_path / "other")
    chain = authority.issue(["mx.voorbeeld.test"], tmp_path / "tls")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(chain, "mx.voorbeeld.test", other.certificate_path)


def test_a_self_signed_certificate_is_trusted_by_nobody(authority: LocalAuthority, tmp_path: Path) -> None:
    chain = self_signed(["mx.voorbeeld.test"], tmp_path / "tls")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(chain, "mx.voorbeeld.test", authority.certificate_path)
    assert self_signed(["mx.voorbeeld.test"], tmp_path / "tls") == chain


@pytest.mark.parametrize(
    "name", ["mx.voorbeeld.test", "sub.wild.test", "localhost", "127.0.0.3", "localhost.localdomain"]
)
def test_a_certificate_serves_each_of_its_names(authority: LocalAuthority, tmp_path: Path, name: str) -> None:
    names = ["MX.voorbeeld.test.", "*.wild.test", "localhost", "127.0.0.3", "localhost.localdomain"]
    shake_hands(authority.issue(names, tmp_path / "tls"), name, authority.certificate_path)


def test_names_stand_in_the_san_only(authority: LocalAuthority, tmp_path: Path) -> None:
    path, _ = authority.issue(["mx.voorbeeld.test"], tmp_path)
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    assert not list(certificate.subject)
    assert certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert certificate.not_valid_after_utc == NOW + timedelta(days=365)


def test_keys_are_for_their_owner_only(authority: LocalAuthority, tmp_path: Path) -> None:
    _, key = authority.issue(["mx.voorbeeld.test"], tmp_path / "tls")
    for path in (key, authority.certificate_path.parent / "ca.key"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert authority.certificate_path.stat().st_mode & 0o777 == 0o644
    assert not list(tmp_path.rglob(".new-*"))


def test_the_key_is_not_in_the_representation(authority: LocalAuthority) -> None:
    assert "PrivateKey" not in repr(authority)


def test_the_authority_stays_the_same_for_ten_years(authority: LocalAuthority, tmp_path: Path) -> None:
    later = LocalAuthority.load_or_create(tmp_path / "authority", now=lambda: NOW + timedelta(days=3651))
    assert later.certificate == authority.certificate
    after = LocalAuthority.load_or_create(tmp_path / "authority", now=lambda: NOW + timedelta(days=3653))
    assert after.certificate != authority.certificate


@pytest.mark.parametrize("missing", ["ca.pem", "ca.key"])
def test_half_an_authority_is_made_anew(authority: LocalAuthority, tmp_path: Path, missing: str) -> None:
    (tmp_path / "authority" / missing).unlink()
    again = LocalAuthority.load_or_create(tmp_path / "authority")
    assert again.certificate != authority.certificate
    shake_hands(again.issue(["mx.test"], tmp_path), "mx.test", again.certificate_path)


def test_a_file_that_is_something_else_is_not_overwritten(authority: LocalAuthority, tmp_path: Path) -> None:
    authority.certificate_path.write_text("my notes")
    with pytest.raises(ValueError, match="PEM"):
        LocalAuthority.load_or_create(tmp_path / "authority")
    assert authority.certificate_path.read_text() == "my notes"


@pytest.mark.parametrize(("days", "is_kept"), [(0, True), (334, True), (335, False), (400, False)])
def test_a_certificate_is_renewed_thirty_days_before_its_end(tmp_path: Path, days: int, is_kept: bool) -> None:
    clock = [NOW]
    authority = LocalAuthority.load_or_create(tmp_path / "authority", now=lambda: clock[0])
    before = authority.issue(["mx.test"], tmp_path)[0].read_bytes()
    clock[0] += timedelta(days=days)
    assert (authority.issue(["mx.test"], tmp_path)[0].read_bytes() == before) is is_kept


def test_other_names_make_another_certificate_and_another_order_does_not(
    authority: LocalAuthority, tmp_path: Path
) -> None:
    first = authority.issue(["mx.test", "a.test", "b.test"], tmp_path)[0].read_bytes()
    assert authority.issue(["mx.test", "b.test", "a.test"], tmp_path)[0].read_bytes() == first
    path, key = authority.issue(["mx.test", "c.test"], tmp_path)
    shake_hands((path, key), "c.test", authority.certificate_path)


def test_a_certificate_of_an_earlier_authority_is_replaced(authority: LocalAuthority, tmp_path: Path) -> None:
    authority.issue(["mx.test"], tmp_path)
    (tmp_path / "authority" / "ca.key").unlink()
    again = LocalAuthority.load_or_create(tmp_path / "authority")
    shake_hands(again.issue(["mx.test"], tmp_path), "mx.test", again.certificate_path)


def test_no_certificate_outlives_its_authority(tmp_path: Path) -> None:
    clock = [NOW]
    authority = LocalAuthority.load_or_create(tmp_path / "authority", now=lambda: clock[0])
    clock[0] += timedelta(days=3600)
    certificate = x509.load_pem_x509_certificate(authority.issue(["mx.test"], tmp_path)[0].read_bytes())
    assert certificate.not_valid_after_utc == authority.certificate.not_valid_after_utc
