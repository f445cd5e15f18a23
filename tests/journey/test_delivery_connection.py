"""P8: what a receiving server gets and what it doesn't, whatever it does; on the loop of production and asyncio's."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
import uvloop

from tests.journey.delivery_ground import certificates
from tests.journey.delivery_peers import (
    EXTENSIONS,
    NAME,
    Answer,
    Certificates,
    Chain,
    Hangup,
    ScriptedMx,
    Silence,
    Taken,
    server_tls,
)
from tests.needs import needs
from tests.peers import debian
from tests.peers.postfix import MAILBOX_OWNER, OWNER, SUBMISSION_GROUP
from zegel.core.mail.address import NULL_PATH, Domain, Mailbox
from zegel.core.policy.carriage import (
    Accepted,
    Deferred,
    InsufficientSecurity,
    NetworkFailure,
    Refused,
    Stage,
)
from zegel.core.policy.transport import NO_DEMAND, PROVEN, Authentication, Tls, TransportSecurity
from zegel.edge.tls import opportunistic_context, verifying_context
from zegel.journey.delivery.connection import MOST_MAILS, Connection, Contexts, Dialler, Mail, Result
from zegel.journey.delivery.mx import NextHop
from zegel.local.mx import ReceivingServer, receiving_tls

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]

READER: Final = Mailbox.parse("lezer@veilig.test")
INTERNATIONAL: Final = Mailbox.parse("jürgen@veilig.test")
CONTENT: Final = b"Subject: geheim\r\n\r\n.met een punt\r\nen een einde\r\n"
STRICT: Final = TransportSecurity(Tls.TLS_1_3, Authentication.CERTIFICATE)
SIGNED: Final = TransportSecurity(Tls.TLS_1_2, Authentication.SIGNED_MX)
DANE: Final = TransportSecurity(Tls.TLS_1_2, Authentication.DANE)
NEEDS: Final = {"no-demand": NO_DEMAND, "proven": PROVEN, "tls1.3": STRICT, "signed-mx": SIGNED, "dane": DANE}
DEMANDS: Final = {name: level for name, level in NEEDS.items() if level != NO_DEMAND}
HARMLESS: Final = {"EHLO", "HELO", "STARTTLS", "QUIT"}
SHORT: Final = 0.3  # seconds that we wait for a server that will never answer

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")  # that is the point of some


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Iterator[Run[Any]]:
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        yield runner.run


@pytest.fixture(scope="module", name="certificates")
def certificates_() -> Certificates:
    return certificates()


@pytest.fixture(scope="module")
def contexts(certificates: Certificates) -> Contexts:
    return Contexts(verifying_context(certificates.authority.certificate_path), opportunistic_context())


@dataclass(frozen=True, slots=True)
class Sender:
    """A dialler that knows one hop."""

    dialler: Dialler
    hop: NextHop

    async def send(self, needs: TransportSecurity = NO_DEMAND, mail: Mail | None = None) -> Result:
        return await self.dialler.send(self.hop, mail or a_mail(), needs=needs)


Sending = Callable[..., Sender]


@pytest.fixture
def sender(contexts: Contexts) -> Sending:
    def make(server: ScriptedMx, *, timeout: float = 10.0, mx_is_secure: bool = False) -> Sender:
        return Sender(Dialler("zegel.test", server.port, contexts, timeout), NextHop(NAME, server.ip, mx_is_secure))

    return make


def a_mail(content: bytes = CONTENT, recipient: Mailbox = READER, **more: Any) -> Mail:
    reverse_path = Mailbox.parse("bounce+1@zegel-bounce.voorbeeld.test")
    return Mail(
        **{"reverse_path": reverse_path, "recipient": recipient, "size": len(content), "octets": (content,), **more}
    )


async def closing(sender: Sender, work: Awaitable[T]) -> T:
    try:
        return await work
    finally:
        await sender.dialler.close()


def once(run: Run[Any], sender: Sender, needs: TransportSecurity = NO_DEMAND, mail: Mail | None = None) -> Result:
    result: Result = run(closing(sender, sender.send(needs, mail)))
    return result


# --- every bad server times every demand --------------------------------------------------------------------------

Setup = Callable[[ScriptedMx, Certificates], None]


def with_tls(chain: str, **versions: ssl.TLSVersion) -> Setup:
    def set_up(server: ScriptedMx, certificates: Certificates) -> None:
        server.tls = server_tls(getattr(certificates, chain), **versions)

    return set_up


def with_starttls(answer: Answer) -> Setup:
    def set_up(server: ScriptedMx, certificates: Certificates) -> None:
        server.tls = server_tls(certificates.good)
        server.starttls = answer

    return set_up


def with_handshake(answer: Answer) -> Setup:
    def set_up(server: ScriptedMx, certificates: Certificates) -> None:
        server.tls = server_tls(certificates.good)
        server.handshake = answer

    return set_up


def stripped(server: ScriptedMx, certificates: Certificates) -> None:
    """As a machine in between does it that overwrites the word in the reply."""
    server.extensions = (*EXTENSIONS, "XXXXXXXA")


V12: Final = ssl.TLSVersion.TLSv1_2
OLD: Final = {"minimum": ssl.TLSVersion.TLSv1, "maximum": ssl.TLSVersion.TLSv1_1}
NO_TLS: Final[dict[str, Setup]] = {
    "no STARTTLS": lambda server, certificates: None,
    "STARTTLS stripped": stripped,
    "STARTTLS answered 454": with_starttls(b"454 4.7.0 TLS not available\r\n"),
    "STARTTLS answered 500": with_starttls(b"500 5.5.1 what?\r\n"),
    "STARTTLS answered 250": with_starttls(b"250 2.0.0 fine\r\n"),
    "garbage for a handshake": with_handshake(b"250 2.0.0 no handshake\r\n" * 20),
    "hangs up in the handshake": with_handshake(Hangup),
    "TLS 1.1 at most": with_tls("good", **OLD),
}
UNPROVEN: Final[dict[str, Setup]] = {
    "self-signed": with_tls("self_signed"),
    "unknown authority": with_tls("unknown_authority"),
    "expired": with_tls("expired"),
    "not yet valid": with_tls("not_yet_valid"),
    "wrong name": with_tls("wrong_name"),
    "wildcard of another": with_tls("wildcard_of_another"),
    "common name only": with_tls("common_name_only"),
    "self-signed over 1.2": with_tls("self_signed", maximum=V12),
}
PROVES_1_2: Final[dict[str, Setup]] = {"good 1.2": with_tls("good", maximum=V12)}
PROVES_1_3: Final[dict[str, Setup]] = {"good 1.3": with_tls("good"), "wildcard": with_tls("wildcard")}
INJECTED: Final[dict[str, Setup]] = {
    "a reply behind STARTTLS": with_starttls(b"220 2.0.0 go ahead\r\n250 2.0.0 injected\r\n"),
    "half a reply behind STARTTLS": with_starttls(b"220 2.0.0 go ahead\r\n2"),
}


UNBELIEVED: Final = (
    r"not valid: (?P<why>[A-Za-z][^;]+); (mx|\*)\.[a-z.]+\.test; "
    r"issued by [^;]*; until \d{4}-\d\d-\d\d; sha256 [0-9a-f]{64}"
)


def parameters(servers: dict[str, Setup], needs: dict[str, TransportSecurity]) -> pytest.MarkDecorator:
    combinations = [
        pytest.param(setup, level, id=f"{server}-{name}")
        for server, setup in servers.items()
        for name, level in needs.items()
    ]
    return pytest.mark.parametrize(("setup", "needs"), combinations)


def test_the_old_server_does_speak_what_is_too_old(certificates: Certificates) -> None:
    """Else TLS 1.1 would be refused above for another reason: that this OpenSSL can't speak it."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.set_ciphers("ALL:@SECLEVEL=0")
    client.minimum_version = ssl.TLSVersion.TLSv1
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(theirs, ours)
    there = server_tls(certificates.good, **OLD).wrap_bio(ours, theirs, server_side=True)
    for side in (here, there) * 3:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert here.version() == "TLSv1.1"


@parameters(NO_TLS | UNPROVEN | INJECTED, DEMANDS)
def test_who_does_not_meet_the_demand_gets_nothing_at_all(
    run: Run[Any], sender: Sending, certificates: Certificates, setup: Setup, needs: TransportSecurity
) -> None:
    with ScriptedMx() as server:
        setup(server, certificates)
        result = once(run, sender(server), needs)
        server.drop()
        assert not isinstance(result.outcome, Accepted)
        assert not server.mail_was_begun()
        assert server.only_heard() <= HARMLESS
        assert server.taken == []


@parameters(NO_TLS | UNPROVEN, DEMANDS)
def test_the_outcome_is_that_the_level_was_not_reached(
    run: Run[Any], sender: Sending, certificates: Certificates, setup: Setup, needs: TransportSecurity
) -> None:
    with ScriptedMx() as server:
        setup(server, certificates)
        result = once(run, sender(server), needs)
    reached = TransportSecurity(Tls.TLS_1_2, Authentication.NONE) if setup in UNPROVEN.values() else NO_DEMAND
    assert result.outcome == InsufficientSecurity(reached)
    assert result.evidence.security == reached
    assert (result.evidence.host, result.evidence.address) == (NAME, "127.0.0.1")
    assert re.match(r"(the server offers no STARTTLS|STARTTLS: \d{3}|TLS: |certificate: )", result.evidence.detail)


@parameters(PROVES_1_2, {"tls1.3": STRICT, "signed-mx": SIGNED, "dane": DANE})
def test_a_good_server_that_demands_go_beyond_gets_nothing_either(
    run: Run[Any], sender: Sending, certificates: Certificates, setup: Setup, needs: TransportSecurity
) -> None:
    with ScriptedMx() as server:
        setup(server, certificates)
        result = once(run, sender(server), needs)
        server.drop()
        assert result.outcome == InsufficientSecurity(PROVEN)
        assert result.evidence.security == PROVEN
        assert server.only_heard() <= HARMLESS


@parameters(PROVES_1_3, {"signed-mx": SIGNED, "dane": DANE})
def test_tls_1_3_with_a_certificate_is_no_dane(
    run: Run[Any], sender: Sending, certificates: Certificates, setup: Setup, needs: TransportSecurity
) -> None:
    with ScriptedMx() as server:
        setup(server, certificates)
        result = once(run, sender(server), needs)
        server.drop()
        assert result.outcome == InsufficientSecurity(STRICT)
        assert server.only_heard() <= HARMLESS


@parameters(INJECTED, NEEDS)
def test_octets_in_clear_behind_starttls_end_the_attempt_whatever_is_demanded(
    run: Run[Any], sender: Sending, certificates: Certificates, setup: Setup, needs: TransportSecurity
) -> None:
    """NO STARTTLS: somebody is at work there. Not even a notification goes on, encrypted or not."""
    with ScriptedMx() as server:
        setup(server, certificates)
        result = once(run, sender(server), needs)
        server.drop()
        assert result.outcome == NetworkFailure(Stage.STARTTLS)
        assert result.evidence.detail == "octets in clear behind STARTTLS"
        assert server.only_heard() <= HARMLESS


@parameters(PROVES_1_2 | PROVES_1_3, {"no-demand": NO_DEMAND, "proven": PROVEN})
def test_who_meets_the_demand_gets_the_mail_and_leaves_evidence(
    run: Run[Any], sender: Sending, certificates: Certificates, setup: Setup, needs: TransportSecurity
) -> None:
    with ScriptedMx() as server:
        setup(server, certificates)
        result = once(run, sender(server), needs)
        assert result.outcome == Accepted()
        assert server.messages() == [CONTENT]
    evidence = result.evidence
    version = "TLSv1.2" if setup in PROVES_1_2.values() else "TLSv1.3"
    assert evidence.security == (PROVEN if version == "TLSv1.2" else STRICT)
    assert (evidence.protocol, server.taken[0].over) == (version, version)
    assert evidence.cipher.startswith("ECDHE-ECDSA" if version == "TLSv1.2" else "TLS_")
    assert evidence.key_exchange in ("x25519", "secp256r1", "X25519MLKEM768")  # what a later OpenSSL prefers
    assert re.fullmatch(
        r"(mx|\*)\.veilig\.test; issued by Zegel local authority \w+; until .*GMT; sha256 [0-9a-f]{64}",
        evidence.certificate,
    )
    assert evidence.detail == "250 2.0.0 taken"


GROUPS: Final = {"X25519": "x25519", "prime256v1": "secp256r1", "secp384r1": "secp384r1", "secp521r1": "secp521r1"}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("curve", GROUPS)
def test_the_group_of_the_key_exchange_is_in_the_evidence(
    run: Run[Any], sender: Sending, certificates: Certificates, curve: str, version: ssl.TLSVersion
) -> None:
    """Where it isn't the first that we offer TLS 1.3 takes a HelloRetryRequest."""
    tls = server_tls(certificates.good, maximum=version)
    try:
        tls.set_ecdh_curve(curve)
    except ssl.SSLError:  # Debian 12's can't name this one; without a name it comes first
        assert curve == "X25519"
    with ScriptedMx(tls=tls) as server:
        for needs in (PROVEN, NO_DEMAND):
            result = once(run, sender(server), needs)
            assert (result.outcome, result.evidence.key_exchange) == (Accepted(), GROUPS[curve])
        tls.load_cert_chain(*certificates.unknown_authority)
        unbelieved = once(run, sender(server), PROVEN)
        assert isinstance(unbelieved.outcome, InsufficientSecurity)
        assert described(unbelieved) == described(result)


@parameters(PROVES_1_3, {"tls1.3": STRICT})
def test_tls_1_3_is_given_where_it_is_demanded(
    run: Run[Any], sender: Sending, certificates: Certificates, setup: Setup, needs: TransportSecurity
) -> None:
    with ScriptedMx() as server:
        setup(server, certificates)
        assert once(run, sender(server), needs).outcome == Accepted()
        assert server.taken[0].over == "TLSv1.3"


def test_an_mx_from_signed_dns_counts_for_more(run: Run[Any], sender: Sending, certificates: Certificates) -> None:
    with ScriptedMx(tls=server_tls(certificates.good)) as server:
        result = once(run, sender(server, mx_is_secure=True), SIGNED)
        assert result.outcome == Accepted()
        assert result.evidence.security == TransportSecurity(Tls.TLS_1_3, Authentication.SIGNED_MX)


@parameters(NO_TLS, {"no-demand": NO_DEMAND})
def test_mail_without_a_demand_goes_in_clear_where_there_is_no_other_way(
    run: Run[Any], sender: Sending, certificates: Certificates, setup: Setup, needs: TransportSecurity
) -> None:
    with ScriptedMx() as server:
        setup(server, certificates)
        result = once(run, sender(server), needs)
        assert result.outcome == Accepted()
        assert result.evidence.security == NO_DEMAND
        evidence = result.evidence
        assert (evidence.protocol, evidence.cipher, evidence.key_exchange, evidence.certificate) == ("", "", "", "")
        assert server.messages() == [CONTENT]


@parameters(UNPROVEN, {"no-demand": NO_DEMAND})
def test_mail_without_a_demand_is_encrypted_even_to_a_server_that_proves_nothing(
    run: Run[Any], sender: Sending, certificates: Certificates, setup: Setup, needs: TransportSecurity
) -> None:
    with ScriptedMx() as server:
        setup(server, certificates)
        result = once(run, sender(server), needs)
        assert result.outcome == Accepted()
        assert server.taken[0].over in ("TLSv1.2", "TLSv1.3")
        assert result.evidence.security.authentication is Authentication.NONE
        assert re.fullmatch(UNBELIEVED, result.evidence.certificate)


def described(result: Result) -> tuple[str, str, str]:
    evidence = result.evidence
    return evidence.protocol, evidence.cipher, evidence.key_exchange


@parameters(UNPROVEN, {"proven": PROVEN})
def test_a_certificate_that_is_not_believed_is_in_the_evidence(
    run: Run[Any], sender: Sending, certificates: Certificates, setup: Setup, needs: TransportSecurity
) -> None:
    """With version, suite and group, as they would be there had it been believed."""
    with ScriptedMx() as server:
        setup(server, certificates)
        result = once(run, sender(server), needs)
        assert len(server.heard) == 1
        assert server.tls is not None
        server.tls.load_cert_chain(*certificates.good)
        believed = once(run, sender(server), needs)
    assert (type(result.outcome), believed.outcome) == (InsufficientSecurity, Accepted())
    found = re.fullmatch(UNBELIEVED, result.evidence.certificate)
    assert found is not None
    assert result.evidence.detail == f"certificate: {found['why']}"
    assert described(result) == described(believed)
    assert all(described(result))
    assert result.evidence.protocol == server.taken[0].over


class AfterAWarning(ssl.SSLContext):
    """Says first that it doesn't know the name, as some servers do, and that this ends nothing (RFC 5246 §7.2)."""

    def wrap_socket(self, sock: socket.socket, *rest: Any, **named: Any) -> ssl.SSLSocket:
        sock.recv(1, socket.MSG_PEEK)  # not behind the reply to STARTTLS, where nothing may stand
        sock.sendall(bytes.fromhex("15030300020170"))
        return super().wrap_socket(sock, *rest, **named)


class InPieces(ssl.SSLContext):
    """Of its first flight it sends what ``pieces`` says, one after the other, and waits for an answer to each."""

    pieces: Callable[[list[bytes]], list[bytes]]

    def wrap_socket(self, sock: socket.socket, *rest: Any, **named: Any) -> ssl.SSLSocket:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        incoming.write(sock.recv(65536))
        with contextlib.suppress(ssl.SSLWantReadError):
            self.wrap_bio(incoming, outgoing, server_side=True).do_handshake()
        flight, records = outgoing.read(), list[bytes]()
        while flight:
            end = 5 + int.from_bytes(flight[3:5])
            records.append(flight[:end])
            flight = flight[end:]
        for piece in self.pieces(records):
            sock.sendall(piece)
            if not sock.recv(65536):
                break
        raise Hangup


def of_kind(kind: type[ssl.SSLContext], chain: Chain, version: ssl.TLSVersion) -> Any:
    context = kind(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    context.load_cert_chain(*chain)
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_warning_before_the_hello_hides_nothing_of_it(
    run: Run[Any], sender: Sending, certificates: Certificates, version: ssl.TLSVersion
) -> None:
    found = []
    for chain in (certificates.self_signed, certificates.good):
        with ScriptedMx(tls=of_kind(AfterAWarning, chain, version)) as server:
            result = once(run, sender(server), PROVEN)
            found.append((type(result.outcome), *described(result)))
    (bad, *chosen), (good, *also) = found
    assert (bad, good, chosen) == (InsufficientSecurity, Accepted, also)
    assert all(chosen)


def test_a_group_that_comes_after_the_certificate_is_not_waited_for(
    run: Run[Any], sender: Sending, certificates: Certificates
) -> None:
    """With TLS 1.2 the handshake may be over before the server has named it."""
    tls = of_kind(InPieces, certificates.self_signed, ssl.TLSVersion.TLSv1_2)
    tls.pieces = lambda records: [b"".join(records[:2]), b"".join(records[2:])]
    with ScriptedMx(tls=tls) as server:
        result = once(run, sender(server), PROVEN)
    assert result.outcome == InsufficientSecurity(TransportSecurity(Tls.TLS_1_2, Authentication.NONE))
    assert re.fullmatch(UNBELIEVED, result.evidence.certificate)
    protocol, cipher, group = described(result)
    assert (protocol, cipher[:11], group) == ("TLSv1.2", "ECDHE-ECDSA", "")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("chain", ["good", "self_signed"])
def test_a_hello_that_was_changed_on_its_way_proves_nothing(
    run: Run[Any], sender: Sending, certificates: Certificates, chain: str, version: ssl.TLSVersion
) -> None:
    """At random, and always the same: whatever comes, no mail follows, and the evidence is of what came."""
    chance = random.Random(f"{chain} {version}")
    for _ in range(40):
        tls = of_kind(InPieces, getattr(certificates, chain), version)
        place, octet = chance.randrange(9, 90), chance.randrange(256)

        def changed(records: list[bytes], place: int = place, octet: int = octet) -> list[bytes]:
            first = records[0][:place] + bytes([octet]) + records[0][place + 1 :]
            return [first + b"".join(records[1:])]

        tls.pieces = changed
        with ScriptedMx(tls=tls) as server:
            result = once(run, sender(server, timeout=SHORT), PROVEN)
            server.drop()
            assert not isinstance(result.outcome, Accepted)
            assert not server.mail_was_begun()
        assert result.evidence.protocol in ("", "TLSv1.2", "TLSv1.3")
        assert bool(result.evidence.protocol) is bool(result.evidence.cipher)
        assert not result.evidence.protocol or result.evidence.certificate.startswith("not valid: ")


def test_a_server_without_starttls_is_asked_once_for_mail_without_a_demand(run: Run[Any], sender: Sending) -> None:
    with ScriptedMx() as server:
        assert once(run, sender(server)).outcome == Accepted()
        assert len(server.heard) == 1


def test_the_mail_server_of_local_mode_takes_it_over_tls(
    run: Run[Any], contexts: Contexts, certificates: Certificates, tmp_path: Path
) -> None:
    async def story() -> Result:
        server = ReceivingServer(tmp_path, NAME, [Domain.parse("veilig.test")], receiving_tls(certificates.good))
        port = await server.listen("127.0.0.1", 0)
        dialler = Dialler("zegel.test", port, contexts, 10.0)
        try:
            return await dialler.send(NextHop(NAME, "127.0.0.1"), a_mail(is_eight_bit=True), needs=STRICT)
        finally:
            await dialler.close()
            server.close()

    assert run(story()).outcome == Accepted()
    (stored,) = tmp_path.glob("*/*.eml")
    assert stored.read_bytes().endswith(CONTENT)
    assert b"TLSv1.3" in stored.read_bytes()


@pytest.fixture(scope="module")
def finger(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Callable[[ScriptedMx], bool]:
    """Postfix's own judgement of a server, by the name of the MX host and our authority (posttls-finger(1))."""
    needs("postfix")
    root = debian.unpacked("postfix")
    assert root is not None
    folder = tmp_path_factory.mktemp("finger")
    (folder / "main.cf").write_text(
        f"compatibility_level = 3.6\nmail_owner = {OWNER}\nsetgid_group = {SUBMISSION_GROUP}\n"
        f"default_privs = {MAILBOX_OWNER}\nmyhostname = client.test\ninet_protocols = ipv4\n"
        "inet_interfaces = 127.0.0.1\ndisable_dns_lookups = yes\n"
    )
    environment = {"PATH": "/usr/bin", "LD_LIBRARY_PATH": debian.library_path(root), "MAIL_CONFIG": str(folder)}
    options = ["-t", "5", "-l", "secure", "-p", ">=TLSv1.2", "-L", "summary"]

    def verifies(server: ScriptedMx) -> bool:
        command = [str(root / "usr/sbin/posttls-finger"), *options, "-F", str(certificates.authority.certificate_path)]
        said = subprocess.run(
            [*command, f"[127.0.0.1]:{server.port}", NAME], env=environment, capture_output=True, text=True, check=False
        )
        assert "posttls-finger: " in said.stdout + said.stderr
        return "Verified TLS connection established" in said.stdout + said.stderr

    return verifies


@parameters(NO_TLS | UNPROVEN | PROVES_1_2 | PROVES_1_3, {"proven": PROVEN})
def test_postfix_judges_the_servers_as_we_do(
    finger: Callable[[ScriptedMx], bool],
    sender: Sending,
    certificates: Certificates,
    setup: Setup,
    needs: TransportSecurity,
) -> None:
    """P8. In one thing we are stricter: a name in the subject of a certificate counts for nothing (P18)."""
    with ScriptedMx() as server:
        setup(server, certificates)
        one = sender(server)
        result = asyncio.run(one.dialler.probe(one.hop, needs=needs))
        ours = result.outcome == Accepted()
        theirs = finger(server)
    assert theirs == (setup is UNPROVEN["common name only"] or ours)


# --- a probe is as strict, and says nothing -----------------------------------------------------------------------


@parameters(NO_TLS | UNPROVEN, {"proven": PROVEN})
def test_a_probe_finds_the_same_and_begins_no_mail(
    run: Run[Any], sender: Sending, certificates: Certificates, setup: Setup, needs: TransportSecurity
) -> None:
    with ScriptedMx() as server:
        setup(server, certificates)
        one = sender(server)
        result = run(one.dialler.probe(one.hop, needs=needs))
        assert isinstance(result.outcome, InsufficientSecurity)
        assert server.only_heard() <= HARMLESS


def test_a_probe_of_a_good_server_is_accepted_and_begins_no_mail(
    run: Run[Any], sender: Sending, certificates: Certificates
) -> None:
    with ScriptedMx(tls=server_tls(certificates.good)) as server:
        one = sender(server)
        assert run(one.dialler.probe(one.hop, needs=PROVEN)).outcome == Accepted()
        server.drop()
        assert server.only_heard() <= HARMLESS


# --- what a server answers ----------------------------------------------------------------------------------------

STAGES: Final = {"MAIL": Stage.MAIL, "RCPT": Stage.RCPT, "DATA": Stage.DATA, "END": Stage.END_OF_DATA}
PIPELINES: Final = {"pipelined": EXTENSIONS, "one by one": EXTENSIONS[1:]}
each_command = pytest.mark.parametrize("verb", STAGES)
each_way = pytest.mark.parametrize("extensions", PIPELINES.values(), ids=PIPELINES)


@each_way
@each_command
def test_5yz_is_a_refusal_at_its_place_and_the_connection_lives_on(
    run: Run[Any], sender: Sending, verb: str, extensions: Sequence[str]
) -> None:
    with ScriptedMx(
        extensions=extensions, answers={verb: [b"550-5.7.1 not here\r\n550 5.7.1 nor there\r\n"]}
    ) as server:
        one = sender(server)

        async def story() -> tuple[Result, Result]:
            return await one.send(), await one.send()

        first, second = run(closing(one, story()))
        assert isinstance(first.outcome, Refused)
        assert first.outcome.stage is STAGES[verb]
        assert (first.outcome.reply.code, first.outcome.reply.status) == (550, "5.7.1")
        assert first.evidence.detail == "550 5.7.1 not here nor there"
        assert second.outcome == Accepted()
        assert server.messages() == [CONTENT]
        assert len(server.heard) == 1


@each_way
@each_command
def test_4yz_is_a_deferral_at_its_place(run: Run[Any], sender: Sending, verb: str, extensions: Sequence[str]) -> None:
    with ScriptedMx(extensions=extensions, answers={verb: b"451 4.7.1 later\r\n"}) as server:
        result = once(run, sender(server))
        assert isinstance(result.outcome, Deferred)
        assert result.outcome.stage is STAGES[verb]
        assert server.taken == []


@each_way
@each_command
@pytest.mark.parametrize("line", [b"550 5.1.1 no such mailbox\r\n", b"451 4.7.1 later\r\n"], ids=["5yz", "4yz"])
def test_who_answers_and_hangs_up_has_answered(
    run: Run[Any], sender: Sending, verb: str, extensions: Sequence[str], line: bytes
) -> None:
    """Else a mailbox that doesn't exist would be tried for days at every server that is short of words."""
    hangs_up: dict[str, Answer | list[Answer]] = {"RSET": Hangup, "QUIT": Hangup}
    follow = list(STAGES)[list(STAGES).index(verb) + 1 :]
    with ScriptedMx(extensions=extensions, answers={verb: line, **hangs_up, **dict.fromkeys(follow, Hangup)}) as server:
        result = once(run, sender(server))
        assert isinstance(result.outcome, Refused if line.startswith(b"5") else Deferred)
        assert result.outcome.stage is STAGES[verb]


@each_way
@each_command
def test_a_hangup_is_a_network_failure_at_its_place(
    run: Run[Any], sender: Sending, verb: str, extensions: Sequence[str]
) -> None:
    with ScriptedMx(extensions=extensions, answers={verb: Hangup}) as server:
        result = once(run, sender(server))
        assert result.outcome == NetworkFailure(STAGES[verb])
        assert result.evidence.detail


@each_way
@each_command
def test_silence_is_a_network_failure_at_its_place(
    run: Run[Any], sender: Sending, verb: str, extensions: Sequence[str]
) -> None:
    with ScriptedMx(extensions=extensions, answers={verb: Silence}) as server:
        result = once(run, sender(server, timeout=SHORT))
        assert result.outcome == NetworkFailure(STAGES[verb])
        assert result.evidence.detail == "timed out"


@each_way
@each_command
@pytest.mark.parametrize(
    "answer", [b"what?\r\n", b"250-yes\r\n550 no\r\n", b"x" * 100_000], ids=["noise", "two codes", "long"]
)
def test_what_is_no_reply_is_a_network_failure_at_its_place(
    run: Run[Any], sender: Sending, verb: str, extensions: Sequence[str], answer: bytes
) -> None:
    with ScriptedMx(extensions=extensions, answers={verb: answer}) as server:
        assert once(run, sender(server)).outcome == NetworkFailure(STAGES[verb])


@pytest.mark.parametrize("code", [b"250", b"354", b"221"])
def test_only_354_begins_the_content(run: Run[Any], sender: Sending, code: bytes) -> None:
    with ScriptedMx(answers={"DATA": code + b" odd\r\n"}) as server:
        outcome = once(run, sender(server)).outcome
    if code == b"354":
        assert outcome == Accepted()
    else:
        assert isinstance(outcome, Refused)
        assert outcome.stage is Stage.DATA


@each_way
@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "END"])
def test_354_in_any_other_place_is_no_success(
    run: Run[Any], sender: Sending, verb: str, extensions: Sequence[str]
) -> None:
    """At the end of data it would else count as taken, and the mail would be forgotten here and unknown there."""
    with ScriptedMx(extensions=extensions, answers={verb: b"354 go ahead\r\n"}) as server:
        outcome = once(run, sender(server)).outcome
        assert isinstance(outcome, Refused)
        assert outcome.stage is STAGES[verb]
        assert server.taken == []


def test_354_after_a_refused_recipient_gets_no_content(run: Run[Any], sender: Sending) -> None:
    """RFC 2920 §3.1: the pipelined DATA may be accepted all the same. Not even an empty message is sent."""
    answers: dict[str, Answer | list[Answer]] = {"RCPT": b"550 5.1.1 nobody\r\n", "DATA": b"354 go ahead\r\n"}
    with ScriptedMx(answers=answers) as server:
        outcome = once(run, sender(server)).outcome
        server.drop()
        assert isinstance(outcome, Refused)
        assert outcome.stage is Stage.RCPT
        assert server.taken == []
        assert b"geheim" not in server.heard[0].clear


@each_way
def test_data_refused_after_a_recipient_was_accepted_sends_nothing(
    run: Run[Any], sender: Sending, extensions: Sequence[str]
) -> None:
    with ScriptedMx(extensions=extensions, answers={"DATA": b"554 5.7.1 no\r\n"}) as server:
        outcome = once(run, sender(server)).outcome
        assert isinstance(outcome, Refused)
        assert outcome.stage is Stage.DATA
        assert b"geheim" not in server.heard[0].clear


# --- before the mail ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("greeting", "outcome"),
    [
        (b"421 4.3.2 too busy\r\n", Deferred),
        (b"451 4.3.2 later\r\n", Deferred),
        (b"554 5.7.1 no mail from you\r\n", Refused),
        (b"354 what?\r\n", Refused),
    ],
)
@pytest.mark.parametrize("needs", [NO_DEMAND, PROVEN], ids=str)
def test_a_greeting_that_is_none_ends_it(
    run: Run[Any], sender: Sending, greeting: bytes, outcome: type[Deferred | Refused], needs: TransportSecurity
) -> None:
    with ScriptedMx(greeting=greeting) as server:
        found = once(run, sender(server), needs).outcome
        assert isinstance(found, outcome)
        assert found.stage is Stage.GREETING
        assert server.only_heard() <= {"QUIT"}


@pytest.mark.parametrize("greeting", [Hangup, Silence, b"SSH-2.0-OpenSSH_9.2\r\n", b"220-begun\r\n"])
def test_no_greeting_is_a_network_failure(run: Run[Any], sender: Sending, greeting: Answer) -> None:
    with ScriptedMx(greeting=greeting) as server:
        assert once(run, sender(server, timeout=SHORT)).outcome == NetworkFailure(Stage.GREETING)
        assert not server.mail_was_begun()


def test_nobody_there_is_a_network_failure(run: Run[Any], sender: Sending) -> None:
    with ScriptedMx() as server:
        pass
    result = once(run, sender(server))
    assert result.outcome == NetworkFailure(Stage.CONNECT)
    assert result.evidence.detail == "connection refused"


@pytest.mark.parametrize("answer", [Hangup, Silence, b"noise\r\n"])
@pytest.mark.parametrize("place", ["EHLO", "EHLO2"])
def test_ehlo_without_an_answer_is_a_network_failure(
    run: Run[Any], sender: Sending, certificates: Certificates, answer: Answer, place: str
) -> None:
    with ScriptedMx(tls=server_tls(certificates.good), answers={place: answer}) as server:
        assert once(run, sender(server, timeout=SHORT), PROVEN).outcome == NetworkFailure(Stage.EHLO)
        assert not server.mail_was_begun()


def test_ehlo_answered_4yz_is_a_deferral(run: Run[Any], sender: Sending) -> None:
    with ScriptedMx(answers={"EHLO": b"421 4.3.2 going down\r\n"}) as server:
        outcome = once(run, sender(server)).outcome
        assert isinstance(outcome, Deferred)
        assert outcome.stage is Stage.EHLO


def test_a_server_that_knows_no_ehlo_is_greeted_with_helo_and_offers_nothing(run: Run[Any], sender: Sending) -> None:
    with ScriptedMx(answers={"EHLO": b"500 5.5.1 what?\r\n"}) as server:
        assert once(run, sender(server)).outcome == Accepted()
        assert server.heard[0].commands[:2] == ["EHLO", "HELO"]
        assert server.taken[0].mail == "FROM:<bounce+1@zegel-bounce.voorbeeld.test>"
        assert once(run, sender(server), PROVEN).outcome == InsufficientSecurity(NO_DEMAND)


def test_silence_behind_starttls_ends_it(run: Run[Any], sender: Sending, certificates: Certificates) -> None:
    with ScriptedMx(tls=server_tls(certificates.good), starttls=Silence) as server:
        outcome = once(run, sender(server, timeout=SHORT), PROVEN).outcome
        assert outcome == NetworkFailure(Stage.STARTTLS)
        assert server.only_heard() <= HARMLESS


def test_what_was_offered_in_clear_counts_no_more_after_the_handshake(
    run: Run[Any], sender: Sending, certificates: Certificates
) -> None:
    """RFC 3207 §4.2: an attacker may have written it."""
    with ScriptedMx(tls=server_tls(certificates.good), answers={"EHLO2": b"250 mx.veilig.test\r\n"}) as server:
        assert once(run, sender(server), PROVEN, a_mail(is_eight_bit=True)).outcome == Accepted()
        assert server.taken[0].mail == "FROM:<bounce+1@zegel-bounce.voorbeeld.test>"
        once_more = once(run, sender(server), PROVEN, a_mail(recipient=INTERNATIONAL))
        assert isinstance(once_more.outcome, Refused)


# --- on the wire --------------------------------------------------------------------------------------------------


@each_way
def test_the_dialogue_is_the_same_in_single_octets(
    run: Run[Any], sender: Sending, certificates: Certificates, extensions: Sequence[str]
) -> None:
    with ScriptedMx(tls=server_tls(certificates.good), extensions=extensions, drips=True) as server:
        assert once(run, sender(server), PROVEN).outcome == Accepted()
        assert server.messages() == [CONTENT]


def test_commands_wait_for_replies_where_pipelining_is_not_offered(run: Run[Any], sender: Sending) -> None:
    with ScriptedMx(extensions=("SIZE 1000",), answers={"MAIL": b"550 5.7.1 no\r\n"}) as server:
        once(run, sender(server))
        server.drop()
        assert "RCPT" not in server.only_heard()
    with ScriptedMx(answers={"MAIL": b"550 5.7.1 no\r\n"}) as server:
        once(run, sender(server))
        server.drop()
        assert "RCPT" in server.only_heard()


def test_content_arrives_octet_for_octet_however_it_is_cut(run: Run[Any], sender: Sending) -> None:
    chance = random.Random(7)
    lines = [chance.choice([b".", b"..", b"", b"x" * 900, b".x"]) for _ in range(4000)]
    content = b"Subject: groot\r\n\r\n" + b"\r\n".join(lines) + b"\r\n"
    pieces = []
    left = content
    while left:
        size = chance.randrange(1, 70_000)
        pieces.append(left[:size])
        left = left[size:]
    with ScriptedMx() as server:
        assert once(run, sender(server), mail=a_mail(content, octets=tuple(pieces))).outcome == Accepted()
        assert server.messages() == [content]


def test_the_null_reverse_path_is_empty_brackets(run: Run[Any], sender: Sending) -> None:
    with ScriptedMx() as server:
        once(run, sender(server), mail=a_mail(reverse_path=NULL_PATH))
        assert server.taken[0].mail.startswith("FROM:<> ")


def test_size_and_8bitmime_are_said_where_they_are_offered(run: Run[Any], sender: Sending) -> None:
    with ScriptedMx() as server:
        once(run, sender(server), mail=a_mail(is_eight_bit=True))
        assert server.taken[0].mail.endswith(f"> SIZE={len(CONTENT)} BODY=8BITMIME")
        assert "SMTPUTF8" not in server.taken[0].mail


@pytest.mark.parametrize("offer", ["SIZE 20", f"SIZE {len(CONTENT) - 1}"])
def test_what_is_larger_than_announced_is_not_even_begun(run: Run[Any], sender: Sending, offer: str) -> None:
    with ScriptedMx(extensions=(offer,)) as server:
        outcome = once(run, sender(server)).outcome
        server.drop()
        assert isinstance(outcome, Refused)
        assert (outcome.reply.code, outcome.reply.status) == (552, "5.3.4")
        assert not server.mail_was_begun()


@pytest.mark.parametrize("offer", ["SIZE", "SIZE 0", f"SIZE {len(CONTENT)}", "SIZE ²", "SIZE " + "9" * 5000])
def test_a_size_that_is_none_or_large_enough_stops_nothing(run: Run[Any], sender: Sending, offer: str) -> None:
    with ScriptedMx(extensions=(offer,)) as server:
        assert once(run, sender(server)).outcome == Accepted()


def test_an_international_address_is_not_brought_where_nobody_can_take_it(run: Run[Any], sender: Sending) -> None:
    with ScriptedMx(extensions=("PIPELINING",)) as server:
        outcome = once(run, sender(server), mail=a_mail(recipient=INTERNATIONAL)).outcome
        server.drop()
        assert isinstance(outcome, Refused)
        assert (outcome.reply.status, outcome.stage) == ("5.6.7", Stage.RCPT)
        assert not server.mail_was_begun()


def test_an_international_address_is_brought_where_it_is_taken(run: Run[Any], sender: Sending) -> None:
    with ScriptedMx() as server:
        assert once(run, sender(server), mail=a_mail(recipient=INTERNATIONAL)).outcome == Accepted()
        assert server.taken[0].mail.endswith(" SMTPUTF8")
        assert server.taken[0].rcpt == "TO:<jürgen@veilig.test>"


def test_a_server_that_talks_without_end_while_it_is_sent_to_does_not_fill_our_memory(
    run: Run[Any], sender: Sending
) -> None:
    with ScriptedMx(answers={"DATA": b"354 go ahead\r\n" + b"250 ok\r\n" * 500_000}) as server:
        outcome = once(run, sender(server)).outcome
        assert outcome in (Accepted(), NetworkFailure(Stage.END_OF_DATA))


# --- one connection for many mails --------------------------------------------------------------------------------


def test_the_next_mail_takes_the_same_connection(run: Run[Any], sender: Sending, certificates: Certificates) -> None:
    with ScriptedMx(tls=server_tls(certificates.good)) as server:
        one = sender(server)

        async def story() -> list[Result]:
            return [await one.send(PROVEN) for _ in range(3)]

        results = run(closing(one, story()))
        assert [result.outcome for result in results] == [Accepted()] * 3
        assert len({result.evidence for result in results}) == 1
        assert len(server.heard) == 1
        assert server.messages() == [CONTENT] * 3


@pytest.mark.parametrize(
    ("kept", "setup"),
    [(NO_DEMAND, NO_TLS["no STARTTLS"]), (NO_DEMAND, UNPROVEN["self-signed"]), (PROVEN, PROVES_1_2["good 1.2"])],
    ids=["clear", "unproven", "1.2"],
)
def test_a_connection_that_was_kept_is_not_taken_for_a_stricter_demand(
    run: Run[Any], sender: Sending, certificates: Certificates, kept: TransportSecurity, setup: Setup
) -> None:
    with ScriptedMx() as server:
        setup(server, certificates)
        one = sender(server)

        async def story() -> tuple[Result, Result]:
            return await one.send(kept), await one.send(STRICT)

        first, second = run(closing(one, story()))
        assert first.outcome == Accepted()
        assert isinstance(second.outcome, InsufficientSecurity)
        assert len(server.taken) == 1
        assert len(server.heard) > 1


def test_a_connection_found_through_signed_dns_is_not_taken_for_a_domain_of_unsigned_dns(
    run: Run[Any], sender: Sending, certificates: Certificates
) -> None:
    """The same host serves both domains; who was led there by unsigned DNS may have been led astray."""
    with ScriptedMx(tls=server_tls(certificates.good)) as server:
        one = sender(server, mx_is_secure=True)
        other = replace(one, hop=replace(one.hop, mx_is_secure=False))

        async def story() -> tuple[Result, Result]:
            return await one.send(SIGNED), await other.send(SIGNED)

        first, second = run(closing(one, story()))
        assert first.outcome == Accepted()
        assert second.outcome == InsufficientSecurity(STRICT)
        assert len(server.taken) == 1


def test_a_stricter_connection_may_serve_a_lesser_demand(
    run: Run[Any], sender: Sending, certificates: Certificates
) -> None:
    with ScriptedMx(tls=server_tls(certificates.good)) as server:
        one = sender(server)

        async def story() -> tuple[Result, Result]:
            return await one.send(STRICT), await one.send(NO_DEMAND)

        run(closing(one, story()))
        assert len(server.heard) == 1
        assert [taken.over for taken in server.taken] == ["TLSv1.3"] * 2


def test_a_server_that_closed_the_idle_connection_gets_the_next_mail_on_a_new_one(
    run: Run[Any], sender: Sending, certificates: Certificates
) -> None:
    with ScriptedMx(tls=server_tls(certificates.good)) as server:
        one = sender(server)

        async def story() -> list[Result]:
            first = await one.send(PROVEN)
            server.drop()  # blocks the loop: that the connection ended is not noticed before the next mail
            return [first, await one.send(PROVEN)]

        assert [result.outcome for result in run(closing(one, story()))] == [Accepted()] * 2
        assert len(server.heard) == 2


@pytest.mark.parametrize("answer", [b"421 4.4.2 idle too long\r\n", Hangup], ids=["421", "hangup"])
def test_a_kept_connection_at_its_end_costs_no_delay(run: Run[Any], sender: Sending, answer: Answer) -> None:
    with ScriptedMx() as server:
        one = sender(server)

        async def story() -> list[Result]:
            first = await one.send()
            server.answers["MAIL"] = [answer]
            return [first, await one.send()]

        assert [result.outcome for result in run(closing(one, story()))] == [Accepted()] * 2
        assert len(server.heard) == 2


def test_a_farewell_nobody_asked_for_is_not_taken_for_the_next_reply(run: Run[Any], sender: Sending) -> None:
    """Else every later reply on the connection would answer the command before: a refusal would count as taken."""
    with ScriptedMx(answers={"END": [b"250 2.0.0 taken\r\n250 2.0.0 taken once more\r\n"]}) as server:
        one = sender(server)

        async def story() -> list[Result]:
            first = await one.send()
            server.answers["END"] = [b"554 5.7.1 not this one\r\n"]
            return [first, await one.send()]

        first, second = run(closing(one, story()))
        assert first.outcome == Accepted()
        assert isinstance(second.outcome, Refused)
        assert len(server.heard) == 2


def test_a_connection_carries_a_hundred_mails_and_is_then_closed(run: Run[Any], sender: Sending) -> None:
    with ScriptedMx() as server:
        one = sender(server)

        async def story() -> None:
            for _ in range(MOST_MAILS + 1):
                assert (await one.send()).outcome == Accepted()
            await asyncio.sleep(0)
            assert len(server.heard) == 2
            assert await asyncio.to_thread(server.heard[0].ended.wait, 10)
            assert not server.heard[1].ended.is_set()

        run(closing(one, story()))
        assert server.heard[0].commands.count("MAIL") == MOST_MAILS
        assert "QUIT" in server.heard[0].commands


def test_a_connection_that_nobody_needs_is_ended_politely(run: Run[Any], sender: Sending) -> None:
    with ScriptedMx() as server:
        one = sender(server)

        async def story() -> None:
            await one.send()
            await one.dialler.tidy()
            assert not server.heard[0].ended.is_set()
            for connections in one.dialler._idle.values():
                for connection in connections:
                    connection.idle_since -= 60
            await one.dialler.tidy()
            assert await asyncio.to_thread(server.heard[0].ended.wait, 10)

        run(story())
        assert server.heard[0].commands[-1] == "QUIT"


FAREWELLS: Final = 5


async def idle(server: ScriptedMx, one: Sender) -> list[Connection]:
    """So many connections that nobody used for long."""
    await asyncio.gather(*(one.send() for _ in range(FAREWELLS)))
    found = [connection for kept in one.dialler._idle.values() for connection in kept]
    assert len(found) == len(server.heard) == FAREWELLS
    for connection in found:
        connection.idle_since -= 60
    return found


@pytest.fixture
def several() -> Iterator[ScriptedMx]:
    """It takes so many mails at the same moment, each over a connection of its own."""
    together = threading.Barrier(FAREWELLS)

    def wait_for_the_others(_: Taken) -> None:
        together.wait(10)

    with ScriptedMx(at_end=wait_for_the_others) as server:
        yield server


def test_who_tidies_up_waits_for_no_goodbye(run: Run[Any], sender: Sending, several: ScriptedMx) -> None:
    """It is done in the round of the worker, who has jobs to lease."""
    several.answers["QUIT"] = Silence
    one = sender(several)

    async def story() -> None:
        connections = await idle(several, one)
        await one.dialler.tidy()
        assert not one.dialler._idle
        assert [connection.channel.lost for connection in connections] == [False] * FAREWELLS
        await one.dialler.close()
        assert [connection.channel.lost for connection in connections] == [True] * FAREWELLS

    run(story())
    assert all(heard.ended.wait(10) for heard in several.heard)
    assert [heard.commands[-1] for heard in several.heard] == ["QUIT"] * FAREWELLS


@pytest.mark.parametrize("is_tidied", [True, False], ids=["tidied", "closed"])
def test_all_say_goodbye_at_the_same_time(
    run: Run[Any], sender: Sending, several: ScriptedMx, monkeypatch: pytest.MonkeyPatch, is_tidied: bool
) -> None:
    one, said = sender(several), Connection.quit

    async def story() -> None:
        await idle(several, one)
        together = asyncio.Barrier(FAREWELLS)

        async def wait_for_the_others(connection: Connection) -> None:
            await together.wait()
            await said(connection)

        monkeypatch.setattr(Connection, "quit", wait_for_the_others)
        async with asyncio.timeout(10):
            if is_tidied:
                await one.dialler.tidy()
            await one.dialler.close()

    run(story())
    assert all(heard.ended.wait(10) for heard in several.heard)
    assert [heard.commands[-1] for heard in several.heard] == ["QUIT"] * FAREWELLS


@pytest.mark.parametrize("is_kept", [False, True], ids=["new connection", "kept connection"])
def test_what_may_not_leave_after_all_is_not_begun(run: Run[Any], sender: Sending, is_kept: bool) -> None:
    with ScriptedMx() as server:
        one = sender(server)

        async def stop() -> None:
            raise KeyError

        async def story() -> None:
            if is_kept:
                await one.send()
            with pytest.raises(KeyError):
                await one.dialler.send(one.hop, a_mail(), needs=NO_DEMAND, before=stop)
            assert not one.dialler._idle.get(one.hop)

        run(closing(one, story()))
        (heard,) = server.heard
        assert heard.ended.wait(10)
        assert heard.commands.count("MAIL") == is_kept
        assert heard.commands[-1] == "QUIT"
        assert one.dialler.addresses.known == {}


@pytest.mark.parametrize("cause", [KeyError, asyncio.CancelledError])
def test_content_that_breaks_off_on_our_side_is_never_completed(
    run: Run[Any], sender: Sending, cause: type[BaseException]
) -> None:
    def breaking() -> Iterator[bytes]:
        yield b"Subject: half\r\n\r\n"
        raise cause

    with ScriptedMx() as server:
        one = sender(server)

        async def story() -> None:
            with pytest.raises(cause):
                await one.send(mail=a_mail(octets=breaking()))
            assert (await one.send()).outcome == Accepted()

        run(closing(one, story()))
        assert server.messages() == [CONTENT]
        assert server.heard[0].ended.wait(10)
