"""What a scanner of TLS (testssl.sh) finds at the door, and what OpenSSL's own client can't talk it into."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.edge.test_tls import DAY, certificate
from tests.journey.arrival_ground import Doorstep
from tests.journey.portal_ground import Clock
from tests.local.running import Loop
from tests.needs import needs

pytestmark = pytest.mark.django_db(transaction=True)

BASICS: Final = ("-p", "-s", "-f", "-P", "-S")  # versions, suites, forward secrecy, order, certificate
WEAKNESSES: Final = "-U"  # all that it knows
ROBOT: Final = "-BB"  # the one that only an RSA key can have
CLEAN: Final = {"OK", "INFO"}
ABOUT_THE_SCANNER: Final = {"DEBUG", "WARN"}  # what it could not do; it says nothing of the server
EXCEPTIONS: Final = {
    "cert_revocation": "the authority of the test revokes nothing, so its certificates name no list of that",
}
LONGEST: Final = 300  # seconds after which a scan is given up; it takes half a minute


@dataclass(frozen=True)
class Finding:
    """One thing that the scanner looked at."""

    id: str
    severity: str
    finding: str


def scan(port: int, folder: Path, *chosen: str, trust: Path | None = None) -> dict[str, Finding]:
    """Everything it looked at, by its name for it."""
    output = folder / "findings.json"
    output.unlink(missing_ok=True)
    trusted = ["--add-ca", str(trust)] if trust is not None else []
    command = ["testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", "127.0.0.1"]
    said = subprocess.run(
        [*command, *trusted, "--jsonfile", str(output), *chosen, f"localhost:{port}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        cwd=folder,
    )
    found = [Finding(one["id"], one["severity"], one["finding"]) for one in json.loads(output.read_text())]
    assert found[-1].id == "scanTime", said.stdout[-2000:] + said.stderr[-2000:]
    return {one.id: one for one in found}


@pytest.fixture(params=["STARTTLS", "implicit TLS"])
def scanned(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Finding]]:
    """An ECDSA certificate behind STARTTLS, and an RSA one behind implicit TLS: between them all suites are seen."""
    needs("testssl.sh")
    doorstep = Doorstep(tmp_path, Clock())
    if request.param == "STARTTLS":
        with doorstep.open():
            yield scan(
                doorstep.port, tmp_path, "-t", "smtp", *BASICS, WEAKNESSES, trust=doorstep.authority.certificate_path
            )
    else:
        names = ("localhost", "zegel.test")
        doorstep.certificate = certificate(tmp_path, names=names, ends=200 * DAY, key=_rsa())
        with doorstep.open():
            yield scan(doorstep.tls_port, tmp_path, *BASICS, ROBOT, trust=doorstep.certificate[0])


def _rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 3072)


def test_a_scan_of_the_door_is_clean(scanned: dict[str, Finding]) -> None:
    found = [
        one for one in scanned.values() if one.severity not in CLEAN | ABOUT_THE_SCANNER and one.id not in EXCEPTIONS
    ]
    assert found == []
    # It has looked:
    assert scanned["TLS1_2"].finding.startswith("offered")
    assert scanned["TLS1_3"].finding.startswith("offered")
    assert {scanned[name].finding for name in ("SSLv2", "SSLv3", "TLS1", "TLS1_1")} == {"not offered"}
    assert scanned["cipher_order"].finding == "server"
    assert scanned["cert_chain_of_trust"].finding == "passed."
    assert scanned["ROBOT"].severity == "OK"
    assert "no" in scanned["TLS_session_ticket"].finding
    assert "ffdhe2048" not in scanned["DH_groups"].finding


def test_the_documented_exceptions_are_those_of_the_test() -> None:
    text = Path("docs/certificates.md").read_text()
    table = text.partition("## What scanners say")[2]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(EXCEPTIONS)


def test_the_scanner_sees_what_is_wrong(tmp_path: Path) -> None:
    """A server as it should not be, to know that silence means something."""
    needs("testssl.sh")
    weak = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    weak.load_cert_chain(*certificate(tmp_path))
    weak.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        weak.minimum_version = ssl.TLSVersion.TLSv1
    loop = Loop()
    server = loop.run(_serve(weak))
    try:
        found = scan(server.sockets[0].getsockname()[1], tmp_path, "-p")
    finally:
        loop.call(server.close)
        loop.stop()
    assert {found["TLS1"].severity, found["TLS1_1"].severity} == {"LOW"}


async def _serve(tls: ssl.SSLContext) -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=tls)


# What a client may ask for, and doesn't get


@pytest.fixture
def doorstep(tmp_path: Path) -> Iterator[Doorstep]:
    """With an RSA certificate: in TLS 1.2 an ECDSA one binds the group of the key exchange to its own."""
    needs("testssl.sh")  # which brings the command openssl
    doorstep = Doorstep(tmp_path, Clock())
    doorstep.certificate = certificate(tmp_path, key=_rsa())
    with doorstep.open() as opened:
        yield opened


def connects(port: int, *chosen: str, starttls: bool = True) -> bool:
    """Whether ``openssl s_client`` gets a connection with what it is told to insist on."""
    how = ["-starttls", "smtp"] if starttls else []
    said = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *how, *chosen],
        check=False,
        input=b"QUIT\r\n",
        capture_output=True,
        timeout=30,
    )
    assert b"CONNECTED" in said.stdout, said.stderr
    return b"Cipher is (NONE)" not in said.stdout


@pytest.mark.parametrize(("version", "kind"), [("-tls1_2", "RSA+SHA256"), ("-tls1_3", "RSA-PSS+SHA256")])
def test_a_signature_with_a_good_hash_is_made(doorstep: Doorstep, version: str, kind: str) -> None:
    assert connects(doorstep.port, version, "-sigalgs", kind)


@pytest.mark.parametrize("kind", ["RSA+SHA1", "RSA+SHA224"])
def test_a_signature_with_a_weak_hash_is_not_made(doorstep: Doorstep, kind: str) -> None:
    assert not connects(doorstep.port, "-tls1_2", "-cipher", "ALL:@SECLEVEL=0", "-sigalgs", kind)


@pytest.mark.parametrize("group", ["X25519", "P-256", "P-384", "P-521", "X448"])
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_good_group_is_agreed_on(doorstep: Doorstep, version: str, group: str) -> None:
    assert connects(doorstep.port, version, "-groups", group)


@pytest.mark.parametrize(
    ("version", "group"), [("-tls1_2", "P-224"), ("-tls1_2", "secp256k1"), ("-tls1_3", "ffdhe2048")]
)
def test_a_weak_group_is_not_agreed_on(doorstep: Doorstep, version: str, group: str) -> None:
    assert not connects(doorstep.port, version, "-cipher", "ALL:@SECLEVEL=0", "-groups", group)


SERVING = """
import asyncio, sys
from pathlib import Path
from zegel.edge.tls import server_context

async def serve():
    tls = server_context(Path(sys.argv[1]), Path(sys.argv[2]))
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(serve())
"""


@pytest.mark.parametrize("narrowed", [True, False])
def test_the_documented_configuration_of_openssl_leaves_no_finite_field_groups(tmp_path: Path, narrowed: bool) -> None:
    """NCSC-NL 2025-05 wants them phased out. Python can't switch them off; OpenSSL's own configuration can."""
    needs("testssl.sh")
    snippet = Path("docs/certificates.md").read_text().partition("```ini\n")[2].partition("```")[0]
    (tmp_path / "openssl.cnf").write_text(snippet)
    environment = {"PATH": "/usr/bin", "PYTHONPATH": str(Path.cwd())}
    if narrowed:
        environment["OPENSSL_CONF"] = str(tmp_path / "openssl.cnf")
    arguments = [sys.executable, "-c", SERVING, *map(str, certificate(tmp_path))]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as serving:
        assert serving.stdout is not None
        port = int(serving.stdout.readline())
        try:
            assert connects(port, "-tls1_3", "-groups", "X25519", starttls=False)
            assert connects(port, "-tls1_3", "-groups", "P-256", starttls=False)
            assert connects(port, "-tls1_3", "-groups", "ffdhe8192", starttls=False) is not narrowed
            assert connects(port, "-tls1_3", "-groups", "ffdhe3072", starttls=False) is not narrowed
        finally:
            serving.terminate()
