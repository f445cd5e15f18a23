"""The other sides that the tests talk to are real, do what is asked of them, and leave nothing running."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import os
import signal
import smtplib
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dns.flags
import dns.message
import dns.query
import dns.rcode
import playwright.sync_api
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.needs import needs
from tests.peers import Peer, PeerDidNotStart, debian, free_port, reachable_folder, until
from tests.peers.chromium import Chromium, browser
from tests.peers.dns import Nsd, Unbound, signed
from tests.peers.postfix import Postfix

MAIL = b"From: afzender@example.org\r\nTo: balie@voorbeeld.test\r\nSubject: proef\r\n\r\nEen regel.\r\n"

ZONE = """
$TTL 60
@      SOA ns.voorbeeld.test. beheer.voorbeeld.test. 1 3600 600 86400 60
@      NS  ns
@      MX  10 mx
@      TXT "v=spf1 -all"
ns     A   127.0.0.1
mx     A   127.0.0.1
"""


# What the machine has, and what is said when it has not


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZEGEL_TEST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_is_missing_skips_a_test_with_the_reason(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"postfix: not unpacked in {empty_cache}"):
        needs("postfix")


def test_what_is_missing_fails_a_test_where_nobody_reads_what_was_skipped(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=f"postfix: not unpacked in {empty_cache}"):
        needs("postfix")


def test_a_package_that_nobody_provides_is_a_mistake_of_the_test() -> None:
    with pytest.raises(KeyError):
        needs("sendmail")


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("false", 0)])
def test_what_cannot_be_had_is_named_and_stops_only_ci(empty_cache: Path, ci: str, status: int) -> None:
    without_apt = {**os.environ, "PATH": "/nonexistent", "CI": ci, "ZEGEL_TEST_CACHE": str(empty_cache)}
    command = [sys.executable, "-m", "tests.peers.debian"]
    done = subprocess.run(command, env=without_apt, check=False, capture_output=True, text=True)
    [named] = [line for line in done.stderr.splitlines() if line.startswith("NOT AVAILABLE for the tests: postfix: ")]
    assert named.endswith(" can't be run: No such file or directory")
    assert done.returncode == status


@pytest.mark.parametrize("before", [None, "#!/bin/sh\nexit 0\n", "#!/bin/sh\n# ours\nexit 101\n"])
def test_no_service_starts_during_an_installation_and_the_policy_is_as_before(
    tmp_path: Path, before: str | None
) -> None:
    policy = tmp_path / "policy-rc.d"
    if before is not None:
        policy.write_text(before)
        policy.chmod(0o750)
    with debian.nothing_starts(policy):
        assert subprocess.run([policy, "unbound", "start"], check=False).returncode == 101
    assert (policy.read_text() if policy.exists() else None) == before
    assert before is None or policy.stat().st_mode & 0o777 == 0o750


# Postfix


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate that signs itself, for one name and the loopback address."""

    chain: Path
    key: Path


def identity(name: str, folder: Path) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    own = Identity(folder / f"{name}.pem", folder / f"{name}.key")
    own.chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    own.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return own


@dataclass
class Gateway:
    """Takes mail only over TLS and only from one login; keeps who signed in and what came."""

    identity: Identity
    login: tuple[str, str]
    port: int = field(default_factory=free_port)
    signed_in: list[str] = field(default_factory=list)
    received: list[Envelope] = field(default_factory=list)
    over_tls: list[bool] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.over_tls.append(session.ssl is not None)
        self.received.append(envelope)
        return "250 2.0.0 Ok"

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, shown: LoginPassword
    ) -> AuthResult:
        user, password = shown.login.decode(), shown.password.decode()
        self.signed_in.append(user)
        return AuthResult(success=(user, password) == self.login, handled=False)

    @contextmanager
    def listening(self) -> Iterator[Gateway]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.identity.chain, self.identity.key)
        controller = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            tls_context=context,
            require_starttls=True,
            auth_required=True,
            auth_require_tls=True,
            authenticator=self._authenticate,
        )
        controller.start()
        try:
            yield self
        finally:
            controller.stop()


@pytest.fixture
def folder() -> Iterator[Path]:
    needs("postfix")
    with reachable_folder() as made:
        yield made


LOGIN = ("organisatie", "een lang: wachtwoord $met %tekens")


@pytest.fixture
def gateway(folder: Path) -> Iterator[Gateway]:
    with Gateway(identity("localhost", folder), LOGIN).listening() as listening:
        yield listening


def hand_over(to: Postfix, recipient: str, sender: str = "afzender@example.org", content: bytes = MAIL) -> None:
    with smtplib.SMTP(to.ip, to.port, timeout=10) as client:
        client.sendmail(sender, [recipient], content)


def test_postfix_asks_for_a_folder_that_its_accounts_can_reach(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ValueError, match=f"{closed} is closed to other accounts"):
        Postfix(closed / "postfix")


def test_postfix_says_which_of_its_settings_is_wrong(folder: Path) -> None:
    with pytest.raises(PeerDidNotStart, match=r"no local interface found for 127\.0\.0\.9"):
        Postfix(folder / "a", settings={"inet_interfaces": "127.0.0.9"}).start()


def test_a_port_in_use_is_not_taken_for_an_answer(folder: Path) -> None:
    with Postfix(folder / "a") as first:
        second = Postfix(folder / "b", port=first.port)
        with pytest.raises(PeerDidNotStart, match=f"something else listens on 127.0.0.1:{first.port}"):
            second.start()
        assert second.pid is None


def test_postfix_refuses_mail_for_others_when_it_has_no_relay(folder: Path) -> None:
    with (
        Postfix(folder / "a", accepts=["voorbeeld.test"]) as postfix,
        pytest.raises(smtplib.SMTPRecipientsRefused, match="there is no relay"),
    ):
        hand_over(postfix, "ontvanger@elders.test")


def test_postfix_shows_neither_mail_nor_login_to_a_relay_with_another_name(folder: Path, gateway: Gateway) -> None:
    with Postfix(
        folder / "a",
        relay=("127.0.0.1", gateway.port),
        relay_name="gateway.voorbeeld.test",
        credentials=LOGIN,
        tls_ca=gateway.identity.chain,
    ) as postfix:
        hand_over(postfix, "ontvanger@elders.test")
        until(lambda: "Server certificate not verified" in postfix.log())
        assert not postfix.queue_empty()
    assert gateway.signed_in == []
    assert gateway.received == []


def test_postfix_shows_neither_mail_nor_login_to_a_relay_of_an_unknown_authority(
    folder: Path, gateway: Gateway
) -> None:
    with Postfix(
        folder / "a",
        relay=("127.0.0.1", gateway.port),
        credentials=LOGIN,
        tls_ca=identity("elders.test", folder).chain,
    ) as postfix:
        hand_over(postfix, "ontvanger@elders.test")
        until(lambda: "Server certificate not verified" in postfix.log())
        assert not postfix.queue_empty()
    assert gateway.signed_in == []
    assert gateway.received == []


def test_a_relay_that_refuses_the_login_gets_no_mail(folder: Path, gateway: Gateway) -> None:
    with Postfix(
        folder / "a",
        relay=("127.0.0.1", gateway.port),
        credentials=("organisatie", "een ander wachtwoord"),
        tls_ca=gateway.identity.chain,
    ) as postfix:
        hand_over(postfix, "ontvanger@elders.test")
        until(lambda: "SASL authentication failed" in postfix.log())
        assert not postfix.queue_empty()
    assert "organisatie" in gateway.signed_in
    assert gateway.received == []


def test_postfix_relays_with_its_login_over_verified_tls(folder: Path, gateway: Gateway) -> None:
    with Postfix(
        folder / "a", relay=("127.0.0.1", gateway.port), credentials=LOGIN, tls_ca=gateway.identity.chain
    ) as postfix:
        hand_over(postfix, "ontvanger@elders.test")
        until(lambda: bool(gateway.received) and postfix.queue_empty())
        assert "Verified TLS connection established" in postfix.log()
    [envelope] = gateway.received
    assert envelope.mail_from == "afzender@example.org"
    assert envelope.rcpt_tos == ["ontvanger@elders.test"]
    assert envelope.original_content is not None
    assert envelope.original_content.endswith(b"\r\n\r\nEen regel.\r\n")
    assert gateway.signed_in == ["organisatie"]
    assert gateway.over_tls == [True]


def test_postfix_keeps_mail_for_its_own_domains_in_maildirs(folder: Path) -> None:
    with Postfix(folder / "a", accepts=["voorbeeld.test", "zorg.test"], inet="127.0.0.2") as postfix:
        hand_over(postfix, "balie@voorbeeld.test")
        hand_over(postfix, "Arts@zorg.test", content=MAIL + b"Nog een regel.\r\n")
        delivered = postfix.wait_for_message("balie@voorbeeld.test")
        other = postfix.wait_for_message("arts@zorg.test", lambda content: b"Nog een regel." in content)
        until(postfix.queue_empty)
        assert postfix.mailbox("BALIE@voorbeeld.test") == [delivered]
        assert postfix.mailbox("niemand@voorbeeld.test") == []
    assert delivered.startswith(b"Return-Path: <afzender@example.org>\n")
    assert delivered.endswith(b"\n\nEen regel.\n")
    assert other != delivered


def test_a_message_that_does_not_come_is_a_timeout_with_the_log(folder: Path) -> None:
    with (
        Postfix(folder / "a", accepts=["voorbeeld.test"]) as postfix,
        pytest.raises(TimeoutError, match="daemon started"),
    ):
        postfix.wait_for_message("balie@voorbeeld.test", timeout=0.1)


def test_a_receiving_postfix_offers_tls_with_its_certificate(folder: Path) -> None:
    own = identity("mx.voorbeeld.test", folder)
    with Postfix(folder / "a", accepts=["voorbeeld.test"], certificate=(own.chain, own.key)) as postfix:
        trusting = ssl.create_default_context(cafile=str(own.chain))
        with smtplib.SMTP("127.0.0.1", postfix.port, timeout=10) as client:
            client.starttls(context=trusting)
            client.sendmail("afzender@example.org", ["balie@voorbeeld.test"], MAIL)
        assert b"using TLSv1.3" in postfix.wait_for_message("balie@voorbeeld.test")


def test_two_postfixes_live_side_by_side_and_mail_waits_for_the_one_that_is_down(folder: Path) -> None:
    there = Postfix(folder / "there", name="mx.voorbeeld.test", inet="127.0.0.3", accepts=["voorbeeld.test"])
    with Postfix(folder / "here", inet="127.0.0.2", relay=(there.ip, there.port)) as here:
        hand_over(here, "balie@voorbeeld.test")
        until(lambda: "status=deferred" in here.log())
        assert not here.queue_empty()
        with there:
            there.wait_for_message("balie@voorbeeld.test")
            until(here.queue_empty)


def alive_in_group(pid: int) -> list[str]:
    listing = subprocess.run(["ps", "-eo", "pgid=,stat=,comm="], capture_output=True, text=True, check=True).stdout
    processes = [line.split(None, 2) for line in listing.splitlines()]
    return [name for group, state, name in processes if int(group) == pid and not state.startswith("Z")]


def test_a_stopped_postfix_is_gone_with_all_its_children(folder: Path) -> None:
    postfix = Postfix(folder / "a", accepts=["voorbeeld.test"]).start()
    pid = postfix.pid
    assert pid is not None
    hand_over(postfix, "balie@voorbeeld.test")
    postfix.wait_for_message("balie@voorbeeld.test")
    assert {"master", "qmgr", "smtpd"} <= set(alive_in_group(pid))
    postfix.stop()
    assert alive_in_group(pid) == []
    with pytest.raises(ConnectionRefusedError):
        hand_over(postfix, "balie@voorbeeld.test")


def test_nothing_survives_a_postfix_that_was_killed(folder: Path) -> None:
    postfix = Postfix(folder / "a", accepts=["voorbeeld.test"]).start()
    pid = postfix.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    postfix.stop()
    assert alive_in_group(pid) == []
    with postfix:
        hand_over(postfix, "balie@voorbeeld.test")
        postfix.wait_for_message("balie@voorbeeld.test")


# DNS


def ask(server: Peer, name: str, kind: str, *, dnssec: bool = False) -> dns.message.Message:
    question = dns.message.make_query(name, kind, want_dnssec=dnssec)
    return dns.query.udp(question, server.ip, port=server.port, timeout=5)


def answers(reply: dns.message.Message) -> list[str]:
    return [record.to_text() for found in reply.answer for record in found if found.rdtype != dns.rdatatype.RRSIG]


def test_a_zone_that_cannot_be_read_does_not_start(tmp_path: Path) -> None:
    needs("nsd")
    with pytest.raises(PeerDidNotStart, match="unrecognized RR type"):
        Nsd({"voorbeeld.test": ZONE + "@ MXX 10 mx"}, tmp_path).start()


def test_nsd_answers_for_its_zones_and_for_nothing_else(tmp_path: Path) -> None:
    needs("nsd")
    with Nsd({"voorbeeld.test": ZONE, "zorg.test": ZONE}, tmp_path, ip="127.0.0.4") as nsd:
        assert answers(ask(nsd, "zorg.test", "MX")) == ["10 mx.zorg.test."]
        assert ask(nsd, "niets.voorbeeld.test", "A").rcode() == dns.rcode.NXDOMAIN
        assert ask(nsd, "elders.test", "A").rcode() == dns.rcode.REFUSED


def test_unbound_asks_nothing_outside_its_stubs(tmp_path: Path) -> None:
    needs("nsd", "unbound")
    with Nsd({"test": ZONE}, tmp_path / "nsd") as nsd, Unbound(tmp_path / "unbound", stubs={"test.": nsd}) as unbound:
        assert ask(unbound, "example.org", "MX").rcode() == dns.rcode.REFUSED
        assert ask(unbound, "org", "NS").rcode() == dns.rcode.REFUSED


def test_unbound_finds_mx_and_txt_of_a_zone_that_nsd_serves(tmp_path: Path) -> None:
    needs("nsd", "unbound")
    zones = {"voorbeeld.test": ZONE}
    with Nsd(zones, tmp_path / "nsd") as nsd, Unbound(tmp_path / "unbound", stubs={"test.": nsd}) as unbound:
        assert answers(ask(unbound, "voorbeeld.test", "MX")) == ["10 mx.voorbeeld.test."]
        spf = ask(unbound, "voorbeeld.test", "TXT", dnssec=True)
    assert answers(spf) == ['"v=spf1 -all"']
    assert not spf.flags & dns.flags.AD


def test_unbound_refuses_an_answer_that_another_key_signed(tmp_path: Path) -> None:
    needs("nsd", "unbound")
    served, other = signed("voorbeeld.test", ZONE), signed("voorbeeld.test", ZONE)
    with (
        Nsd({"voorbeeld.test": served.text}, tmp_path / "nsd") as nsd,
        Unbound(tmp_path / "unbound", stubs={"test.": nsd}, trust_anchor=other.trust_anchor) as unbound,
    ):
        assert ask(unbound, "voorbeeld.test", "MX").rcode() == dns.rcode.SERVFAIL
        assert "validation failure" in unbound.log()


def test_unbound_says_that_a_signed_answer_is_authentic(tmp_path: Path) -> None:
    needs("nsd", "unbound")
    zone = signed("voorbeeld.test", ZONE)
    with (
        Nsd({"voorbeeld.test": zone.text, "zorg.test": ZONE}, tmp_path / "nsd") as nsd,
        Unbound(tmp_path / "unbound", stubs={"test.": nsd}, trust_anchor=zone.trust_anchor) as unbound,
    ):
        secure = ask(unbound, "voorbeeld.test", "MX", dnssec=True)
        missing = ask(unbound, "niets.voorbeeld.test", "MX", dnssec=True)
        insecure = ask(unbound, "zorg.test", "MX", dnssec=True)
    assert answers(secure) == ["10 mx.voorbeeld.test."]
    assert secure.flags & dns.flags.AD
    assert missing.rcode() == dns.rcode.NXDOMAIN
    assert missing.flags & dns.flags.AD
    assert answers(insecure) == ["10 mx.zorg.test."]
    assert not insecure.flags & dns.flags.AD


def test_a_changed_zone_is_served_after_the_next_start(tmp_path: Path) -> None:
    needs("nsd")
    nsd = Nsd({"voorbeeld.test": ZONE}, tmp_path)
    with nsd:
        assert answers(ask(nsd, "voorbeeld.test", "TXT")) == ['"v=spf1 -all"']
    nsd.zones["voorbeeld.test"] = ZONE.replace("-all", "mx -all")
    with nsd:
        assert answers(ask(nsd, "voorbeeld.test", "TXT")) == ['"v=spf1 mx -all"']


# The browser


PAGE = b"""<!doctype html><html lang="nl"><title>Proef</title><h1>Een pagina</h1>
<img src="https://elders.test/pixel.png" alt=""><a href="/bestand" download="bijlage.txt">bijlage</a>
<script>
  document.querySelector("h1").textContent = "Een levende pagina"
  new WebSocket("ws://elders.test/luister")
</script>"""


class Website(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if self.path == "/" else "application/octet-stream")
        self.end_headers()
        self.wfile.write(PAGE if self.path == "/" else b"inhoud")

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture(scope="module")
def website() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Website)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://portaal.voorbeeld.test:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    needs("chromium")
    with browser(hosts={"portaal.voorbeeld.test": "127.0.0.1"}) as running:
        yield running


def test_chromium_records_what_a_page_asks_outside_and_does_not_go_there(chromium: Chromium, website: str) -> None:
    with chromium.visit() as visit:
        failures: list[str | None] = []
        visit.page.on("requestfailed", lambda request: failures.append(request.failure))
        visit.page.goto(website)
        assert sorted(visit.requests) == [website, "https://elders.test/pixel.png", "ws://elders.test/luister"]
        assert failures == ["net::ERR_NAME_NOT_RESOLVED"]


def test_chromium_reaches_no_address_outside_either(chromium: Chromium) -> None:
    with chromium.visit() as visit, pytest.raises(playwright.sync_api.Error, match="ERR_NAME_NOT_RESOLVED"):
        visit.page.goto("http://198.51.100.9/")


def test_chromium_records_what_an_opened_page_asks_for(chromium: Chromium) -> None:
    with chromium.visit() as visit:
        with visit.context.expect_event("request"):
            visit.page.evaluate("() => { window.open('http://elders.test/nieuw') }")
        assert visit.requests == ["http://elders.test/nieuw"]


def test_chromium_without_javascript_runs_none(chromium: Chromium, website: str) -> None:
    with chromium.visit(java_script_enabled=False) as visit:
        visit.page.goto(website)
        assert visit.page.inner_text("h1") == "Een pagina"


def test_chromium_loads_a_page_over_http_and_keeps_its_download(chromium: Chromium, website: str) -> None:
    with chromium.visit() as visit:
        visit.page.goto(website)
        assert visit.page.inner_text("h1") == "Een levende pagina"
        with visit.page.expect_download() as downloading:
            visit.page.click("a")
        assert Path(downloading.value.path()).read_bytes() == b"inhoud"
        assert downloading.value.suggested_filename == "bijlage.txt"


def test_chromium_shows_a_page_and_takes_its_picture(chromium: Chromium) -> None:
    with chromium.visit(width=320, height=640) as visit:
        visit.page.goto("data:text/html,<h1>Proef</h1>")
        picture = visit.page.screenshot()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(picture[16:20], "big") == 320  # the width in the IHDR chunk


def test_every_visit_is_of_a_visitor_nobody_knows(chromium: Chromium, website: str) -> None:
    with chromium.visit() as visit:
        visit.page.goto(website)
        visit.page.evaluate("document.cookie = 'bekend=1'")
        assert visit.page.evaluate("document.cookie") == "bekend=1"
    with chromium.visit() as visit:
        visit.page.goto(website)
        assert visit.page.evaluate("document.cookie") == ""
