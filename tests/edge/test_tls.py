"""TLS contexts: what they speak, whom they believe, what they say of files that are wrong (P18, NCSC-NL 2025-05)."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from zegel.edge.certificates import self_signed
from zegel.edge.tls import (
    CertificateTrouble,
    ClientTls,
    NotVerified,
    opportunistic_context,
    server_context,
    shown_by,
    verifying_context,
)

NAME = "mx.voorbeeld.test"
GOOD = {
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
}
DAY = timedelta(days=1)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def certificate(
    folder: Path,
    *,
    common_name: str = "x",
    names: Sequence[str] = (NAME,),
    key: Key | None = None,
    begins: timedelta = -DAY,
    ends: timedelta = DAY,
    encryption: KeySerializationEncryption | None = None,
    signer: Key | None = None,
) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key; whoever trusts it trusts nothing else.

    With a ``signer`` the chain has an authority too, whose key that is.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    base = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )
    builder = base.public_key(key.public_key())
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(x509.DNSName, names))), critical=False)
    folder.mkdir(parents=True, exist_ok=True)
    chain, private = folder / "chain.pem", folder / "key.pem"
    octets = _signed(builder, signer or key).public_bytes(Encoding.PEM)
    if signer is not None:
        above = base.public_key(signer.public_key()).add_extension(x509.BasicConstraints(True, None), critical=True)
        octets += _signed(above, signer).public_bytes(Encoding.PEM)
    chain.write_bytes(octets)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))
    return chain, private


def _signed(builder: x509.CertificateBuilder, key: Key) -> x509.Certificate:
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256())


def meet(server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = NAME) -> ssl.SSLObject:
    """A handshake without a network; the client's half. Raises what the client, or else the server, says of it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    done = set[ssl.SSLObject]()
    for _ in range(20):
        for half in (ours, theirs):
            try:
                half.do_handshake()
                done.add(half)
            except ssl.SSLWantReadError:
                continue
        if len(done) == 2:
            return ours
    raise AssertionError("the handshake has no end")


@pytest.fixture
def server(tmp_path: Path) -> ssl.SSLContext:
    return server_context(*certificate(tmp_path))


def trusting(tmp_path: Path) -> ssl.SSLContext:
    return verifying_context(tmp_path / "chain.pem")


def old(context: ssl.SSLContext, *versions: ssl.TLSVersion) -> ssl.SSLContext:
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version, context.maximum_version = min(versions), max(versions)
    return context


# What is spoken


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_an_old_client_is_refused(server: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    client = opportunistic_context()
    with pytest.raises(ssl.SSLError):
        meet(server, old(client, version))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.parametrize("kind", ["verifying", "opportunistic"])
def test_an_old_server_is_refused(tmp_path: Path, kind: str, version: ssl.TLSVersion) -> None:
    chain, key = certificate(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, key)
    client = trusting(tmp_path) if kind == "verifying" else opportunistic_context()
    with pytest.raises(ssl.SSLError):
        meet(old(server, version), client)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_current_versions_are_spoken(tmp_path: Path, server: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    client = trusting(tmp_path)
    client.minimum_version = client.maximum_version = version
    assert meet(server, client).version() == version.name.replace("_", ".")


@pytest.mark.parametrize("kind", ["server", "verifying"])
def test_the_suites_are_those_of_the_guideline(tmp_path: Path, server: ssl.SSLContext, kind: str) -> None:
    context = server if kind == "server" else trusting(tmp_path)
    offered = {one["name"] for one in context.get_ciphers() if one["protocol"] != "TLSv1.3"}
    assert offered == GOOD


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
@pytest.mark.parametrize(
    "suite",
    [
        "AES128-SHA",
        "AES256-GCM-SHA384",
        "DHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES128-SHA256",
        "ECDHE-ECDSA-AES128-SHA",
    ],
)
def test_other_suites_meet_a_refusal(tmp_path: Path, kind: str, suite: str) -> None:
    key = rsa.generate_private_key(65537, 3072) if kind == "rsa" else None
    server = server_context(*certificate(tmp_path, key=key))
    client = opportunistic_context()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(f"{suite}:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        meet(server, client)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_ticket_is_given_out(server: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    """Its key would stay in memory as long as the process, and open every session that it was used in."""
    client = opportunistic_context()
    client.minimum_version = client.maximum_version = version
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for half in (ours, theirs, ours, theirs, ours, theirs):
        with suppress(ssl.SSLWantReadError):
            half.do_handshake()
    theirs.write(b"250 ok")
    assert ours.read(10) == b"250 ok"  # a ticket would have come before it
    assert ours.session is not None
    assert not ours.session.has_ticket


@pytest.mark.parametrize(("above", "level"), [(2048, 2), (3072, 3)])
def test_128_bits_are_asked_everywhere_unless_the_authority_itself_has_fewer(
    tmp_path: Path, above: int, level: int
) -> None:
    """Level 3 excludes SHA-1, SHA-224 and ffdhe2048, and chains with RSA keys below 3072 bits, which are common."""
    server = server_context(*certificate(tmp_path, signer=rsa.generate_private_key(65537, above)))
    assert server.security_level == level
    assert meet(server, opportunistic_context())


def test_nothing_is_compressed(tmp_path: Path, server: ssl.SSLContext) -> None:
    assert meet(server, trusting(tmp_path)).compression() is None


# Whom we believe


def test_a_certificate_of_a_trusted_authority_with_the_right_name_is_believed(
    tmp_path: Path, server: ssl.SSLContext
) -> None:
    assert meet(server, trusting(tmp_path)).version() == "TLSv1.3"


@pytest.mark.parametrize(
    ("wrong", "made"),
    [
        ("the name stands in the CN only", {"common_name": NAME, "names": ()}),
        ("the CN is right and the SAN is not", {"common_name": NAME, "names": ("elders.test",)}),
        ("another name", {"names": ("elders.test",)}),
        ("the domain above it", {"names": ("voorbeeld.test",)}),
        ("a wildcard that would have to cover two labels", {"names": ("*.test",)}),
        ("a wildcard for part of a label", {"names": ("m*.voorbeeld.test",)}),
        ("expired", {"begins": -2 * DAY, "ends": -DAY}),
        ("not yet valid", {"begins": DAY, "ends": 2 * DAY}),
    ],
)
def test_a_certificate_with_something_wrong_is_not_believed(
    tmp_path: Path, wrong: str, made: dict[str, object]
) -> None:
    server = server_context(*certificate(tmp_path, **made))  # type: ignore[arg-type]
    with pytest.raises(ssl.SSLCertVerificationError):
        meet(server, trusting(tmp_path))


def test_a_stranger_is_not_believed(server: ssl.SSLContext) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        meet(server, verifying_context(None))


@pytest.mark.parametrize("suite", ["TLS 1.3", *sorted(GOOD)])
def test_a_stranger_s_handshake_is_described_as_one_that_is_believed(tmp_path: Path, suite: str) -> None:
    """OpenSSL itself names version and suite after the one, and (with TLS 1.2) neither after the other."""
    key = rsa.generate_private_key(65537, 3072) if "RSA" in suite.split("-") else None
    server = server_context(*certificate(tmp_path, key=key))
    if suite != "TLS 1.3":
        server.maximum_version = ssl.TLSVersion.TLSv1_2
        server.set_ciphers(suite)
    with pytest.raises(NotVerified) as caught:
        meet(server, verifying_context(None))
    believed = meet(server, trusting(tmp_path))
    assert isinstance(believed, ClientTls)
    said, cipher = caught.value, believed.cipher()
    assert cipher is not None
    assert (said.protocol, said.cipher) == (believed.version(), cipher[0]) == believed.chosen
    assert said.protocol == ("TLSv1.3" if suite == "TLS 1.3" else "TLSv1.2")
    assert said.key_exchange == believed.key_exchange != ""
    assert len(said.shown) == 1


def test_a_wildcard_covers_one_label(tmp_path: Path) -> None:
    server = server_context(*certificate(tmp_path, names=("*.voorbeeld.test",)))
    assert meet(server, trusting(tmp_path))


def test_an_extra_authority_stands_beside_the_systems_own(tmp_path: Path, server: ssl.SSLContext) -> None:
    alone, beside = verifying_context(None), trusting(tmp_path)
    assert len(beside.get_ca_certs()) >= len(alone.get_ca_certs())
    assert alone.verify_mode == beside.verify_mode == ssl.CERT_REQUIRED


def test_an_opportunistic_client_encrypts_and_believes_anybody(server: ssl.SSLContext) -> None:
    assert meet(server, opportunistic_context(), name=None).version() == "TLSv1.3"


# Files that are wrong


def trouble(chain: Path, key: Path) -> str:
    with pytest.raises(CertificateTrouble) as caught:
        server_context(chain, key)
    return str(caught.value)


@pytest.mark.parametrize("missing", ["chain.pem", "key.pem"])
def test_a_file_that_is_not_there_is_said_so(tmp_path: Path, missing: str) -> None:
    chain, key = certificate(tmp_path)
    (tmp_path / missing).unlink()
    assert trouble(chain, key) == f"There is no {chain} or no {key}: name a PEM chain and its key."


@pytest.mark.parametrize("damaged", ["chain.pem", "key.pem"])
@pytest.mark.parametrize("octets", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_file_that_is_none_is_said_so(tmp_path: Path, damaged: str, octets: bytes) -> None:
    chain, key = certificate(tmp_path)
    (tmp_path / damaged).write_bytes(octets)
    assert trouble(chain, key) == f"{chain} and {key} are not a readable PEM chain and its own key."


def test_the_key_of_another_certificate_is_said_so(tmp_path: Path) -> None:
    chain, _ = certificate(tmp_path / "one")
    _, key = certificate(tmp_path / "other")
    assert trouble(chain, key) == f"{chain} and {key} are not a readable PEM chain and its own key."


@pytest.mark.parametrize(
    "weak",
    [
        lambda: rsa.generate_private_key(65537, 1024),
        lambda: rsa.generate_private_key(65537, 2048),
        lambda: ec.generate_private_key(ec.SECP224R1()),
        lambda: ec.generate_private_key(ec.SECP256K1()),
    ],
    ids=["RSA-1024", "RSA-2048", "P-224", "secp256k1"],
)
def test_a_weak_key_is_said_so(tmp_path: Path, weak: Callable[[], Key]) -> None:
    chain, key = certificate(tmp_path, key=weak())
    assert trouble(chain, key) == (
        f"The key of {chain} is too weak, or of a kind that mail servers don't know: ask for a certificate with an "
        "ECDSA key (P-256), or RSA of at least 3072 bits."
    )


@pytest.mark.parametrize(
    "strong",
    [
        lambda: rsa.generate_private_key(65537, 3072),
        lambda: ec.generate_private_key(ec.SECP256R1()),
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate,
    ],
    ids=["RSA-3072", "P-256", "P-384", "P-521", "Ed25519"],
)
def test_a_strong_key_is_shown(tmp_path: Path, strong: Callable[[], Key]) -> None:
    chain, key = certificate(tmp_path, key=strong())
    assert shown_by(server_context(chain, key)) == x509.load_pem_x509_certificate(chain.read_bytes())


def test_one_file_may_hold_both(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + chain.read_bytes())
    assert meet(server_context(both, both), trusting(tmp_path)).version() == "TLSv1.3"


def test_a_key_with_a_passphrase_is_said_so_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    """A service has nobody to ask; OpenSSL would wait at the terminal for ever."""
    certificate(tmp_path, encryption=BestAvailableEncryption(b"geheim"))
    script = (
        "import os, pty, sys\n"
        "from pathlib import Path\n"
        "from zegel.edge.tls import CertificateTrouble, server_context\n"
        "folder = Path(sys.argv[1])\n"
        "pid, terminal = pty.fork()\n"
        "if pid == 0:\n"
        "    try:\n"
        "        server_context(folder / 'chain.pem', folder / 'key.pem')\n"
        "    except CertificateTrouble as cause:\n"
        "        print(cause)\n"
        "    os._exit(0)\n"
        "said = b''\n"
        "try:\n"
        "    while octets := os.read(terminal, 1000):\n"
        "        said += octets\n"
        "        if b'pass phrase' in said:\n"
        "            os.kill(pid, 9)\n"
        "except OSError:\n"
        "    pass\n"
        "os.waitpid(pid, 0)\n"
        "sys.stdout.write(said.decode())\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert "pass phrase" not in said
    assert "are not a readable PEM chain and its own key" in said


@pytest.mark.parametrize("octets", [b"", b"garbage"])
def test_an_authority_that_is_none_is_said_so(tmp_path: Path, octets: bytes) -> None:
    (tmp_path / "ca.pem").write_bytes(octets)
    for path in (tmp_path / "ca.pem", tmp_path / "nothing.pem", tmp_path):
        with pytest.raises(CertificateTrouble) as caught:
            verifying_context(path)
        assert str(caught.value) == f"delivery.extra_ca: {path} is not a readable PEM bundle."


def test_the_setting_that_names_an_authority_is_said(tmp_path: Path) -> None:
    with pytest.raises(CertificateTrouble, match=r"^acme\.extra_ca: .* is not a readable PEM bundle\.$"):
        verifying_context(tmp_path / "nothing.pem", named="acme.extra_ca")


# The first run's own


@pytest.mark.parametrize("host", ["zegel.test", "127.0.0.1", "localhost"])
def test_the_first_certificate_is_for_the_host_and_strong(tmp_path: Path, host: str) -> None:
    chain, key = self_signed(host, tmp_path)
    made = x509.load_pem_x509_certificate(chain.read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    expected: x509.GeneralName = x509.DNSName(host)
    if host[0].isdigit():
        expected = x509.IPAddress(ip_address(host))
    assert list(names) == [expected]
    public = made.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert isinstance(public.curve, ec.SECP256R1)
    assert key.stat().st_mode & 0o077 == 0
    client = verifying_context(chain)
    assert meet(server_context(chain, key), client, name=host)


def test_it_is_made_once(tmp_path: Path) -> None:
    chain, key = self_signed("zegel.test", tmp_path)
    before = chain.read_bytes(), key.read_bytes()
    assert self_signed("zegel.test", tmp_path) == (chain, key)
    assert (chain.read_bytes(), key.read_bytes()) == before


@pytest.mark.parametrize("lost", ["self-signed.pem", "self-signed.key"])
def test_half_of_it_is_replaced_by_a_whole(tmp_path: Path, lost: str) -> None:
    chain, key = self_signed("zegel.test", tmp_path)
    (tmp_path / lost).unlink()
    self_signed("zegel.test", tmp_path)
    assert server_context(chain, key)
