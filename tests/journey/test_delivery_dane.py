"""P8 with TLSA records: what a server gets that matches them, and that one which doesn't gets nothing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.core.test_dane import NOW, Made, make, server
from tests.journey.delivery_ground import certificates
from tests.journey.delivery_peers import NAME, Chain, Hangup, ScriptedMx, server_tls
from tests.journey.nta_ground import asking_names, tlsa_of
from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.policy.carriage import Accepted, InsufficientSecurity, NetworkFailure
from zegel.core.policy.transport import NO_DEMAND, PROVEN, Authentication, Tls, TransportSecurity
from zegel.core.smtp.dane import records
from zegel.edge.tls import opportunistic_context, verifying_context
from zegel.journey.delivery.connection import Contexts, Dialler, Mail, Result
from zegel.journey.delivery.mx import Dane, NextHop

Run = Callable[[Coroutine[Any, Any, Any]], Any]

CONTENT: Final = b"Subject: geheim\r\n\r\nMerkteken7f3a\r\n"
NEEDS: Final = TransportSecurity(Tls.TLS_1_2, Authentication.DANE)
DEMANDS: Final = {"nothing": NO_DEMAND, "proven": PROVEN, "dane": NEEDS}
HARMLESS: Final = {"EHLO", "HELO", "STARTTLS", "QUIT"}
DOMAIN: Final = "veilig.test"
UNUSABLE: Final = "0 1 1 " + "ab" * 32


pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")  # that is the point of one


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        yield runner.run


@pytest.fixture
def mx() -> Iterator[ScriptedMx]:
    with ScriptedMx(tls=server_tls(certificates().self_signed)) as server:
        yield server


def a_mail() -> Mail:
    return Mail(
        Mailbox.parse("bounce+1@zegel-bounce.voorbeeld.test"),
        Mailbox.parse("lezer@veilig.test"),
        len(CONTENT),
        (CONTENT,),
    )


def a_dialler(server: ScriptedMx, **more: Any) -> Dialler:
    contexts = Contexts(verifying_context(certificates().authority.certificate_path), opportunistic_context())
    return Dialler("zegel.test", server.port, contexts, 10.0, **more)


def a_hop(server: ScriptedMx, *tlsa: str, base: str = NAME, names: Sequence[str] = (NAME, DOMAIN)) -> NextHop:
    return NextHop(NAME, server.ip, mx_is_secure=True, dane=Dane(base, tuple(names), records(tlsa)))


async def closing(dialler: Dialler, work: Coroutine[Any, Any, Result]) -> Result:
    try:
        return await work
    finally:
        await dialler.close()


def send(run: Run, server: ScriptedMx, hop: NextHop, needs: TransportSecurity = NEEDS, **more: Any) -> Result:
    dialler = a_dialler(server, **more)
    result: Result = run(closing(dialler, dialler.send(hop, a_mail(), needs=needs)))
    return result


def pem(folder: Path, *chain: Made) -> Chain:
    """Files for a server that shows these."""
    folder.mkdir(exist_ok=True)
    shown, key = folder / "chain.pem", folder / "key.pem"
    shown.write_bytes(b"".join(one.certificate.public_bytes(Encoding.PEM) for one in chain))
    key.write_bytes(chain[0].key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return shown, key


def at(moment: Instant) -> Callable[[], Instant]:
    return lambda: moment


# --- nothing goes to another server -------------------------------------------------------------------------------


@pytest.mark.parametrize("chain", ["good", "expired", "wrong_name", "unknown_authority"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_handshake_with_a_server_that_doesn_t_match_is_described_as_with_one_that_does(
    run: Run, mx: ScriptedMx, version: ssl.TLSVersion, chain: str
) -> None:
    files = getattr(certificates(), chain)
    mx.tls = server_tls(files, maximum=version)
    wrong, right = (send(run, mx, a_hop(mx, tlsa_of(one))) for one in (certificates().self_signed[0], files[0]))
    assert (type(wrong.outcome), right.outcome) == (InsufficientSecurity, Accepted())
    found = [(one.evidence.protocol, one.evidence.cipher, one.evidence.key_exchange) for one in (wrong, right)]
    assert found[0] == found[1]
    assert all(found[0])
    assert found[0][0] == mx.taken[0].over
    assert wrong.evidence.certificate.startswith("not valid: ")


@pytest.mark.parametrize("needs", DEMANDS.values(), ids=DEMANDS)
def test_a_server_that_doesn_t_match_gets_nothing_whatever_the_mail_demands(
    run: Run, mx: ScriptedMx, needs: TransportSecurity
) -> None:
    """Not even in another way: a mismatch is an attack or a mistake, never a server without DANE (RFC 7672 §2.2)."""
    mx.tls = server_tls(certificates().good)
    result = send(run, mx, a_hop(mx, tlsa_of(certificates().self_signed[0])), needs)
    assert result.outcome == InsufficientSecurity(TransportSecurity(Tls.TLS_1_3, Authentication.NONE))
    assert result.evidence.detail == "DANE: no record matches"
    assert result.evidence.certificate.startswith(f"not valid: no record matches; {NAME}; issued by ")
    assert result.evidence.key_exchange != ""
    assert (result.evidence.protocol, result.evidence.host) == ("TLSv1.3", NAME)
    assert len(mx.heard) == 1
    assert not mx.mail_was_begun()
    assert mx.only_heard() <= HARMLESS


@pytest.mark.parametrize("spoil", ["no TLS", "refused", "hangs up", "garbage"])
def test_a_server_without_tls_gets_nothing_where_there_is_a_usable_record(run: Run, mx: ScriptedMx, spoil: str) -> None:
    match spoil:
        case "no TLS":
            mx.tls = None
        case "refused":
            mx.starttls = b"454 4.7.0 not now\r\n"
        case "hangs up":
            mx.handshake = Hangup
        case "garbage":
            mx.handshake = b"250 2.0.0 no handshake\r\n" * 20
    for needs in DEMANDS.values():
        result = send(run, mx, a_hop(mx, tlsa_of(certificates().self_signed[0])), needs)
        assert result.outcome == InsufficientSecurity(NO_DEMAND)
    assert not mx.mail_was_begun()
    assert mx.only_heard() <= HARMLESS


@pytest.mark.parametrize(
    ("leaf", "reason"),
    [
        ({"sans": ["mx.ander.test"]}, "name"),
        ({"ends": -1}, "not valid now"),
        ({"ca": True}, None),
    ],
)
def test_an_authority_s_record_demands_a_name_and_a_term(
    run: Run, mx: ScriptedMx, tmp_path: Path, leaf: dict[str, Any], reason: str | None
) -> None:
    root = make("wortel")
    shown = make("server", root, **{"ca": False, "sans": [NAME], **leaf})
    mx.tls = server_tls(pem(tmp_path, shown, root))
    hop = a_hop(mx, tlsa_of(pem(tmp_path / "root", root)[0], usage=2, selector=0))
    result = send(run, mx, hop, now=at(NOW))
    if reason is None:
        assert result.outcome == Accepted()
    else:
        assert result.evidence.detail == f"DANE: {reason}"
        assert not mx.mail_was_begun()


def test_the_term_is_looked_at_for_every_connection(run: Run, mx: ScriptedMx, tmp_path: Path) -> None:
    root = make("wortel")
    mx.tls = server_tls(pem(tmp_path, server(root, sans=[NAME]), root))
    hop = a_hop(mx, tlsa_of(pem(tmp_path / "root", root)[0], usage=2))
    assert send(run, mx, hop, now=at(NOW)).outcome == Accepted()
    assert send(run, mx, hop, now=at(NOW + timedelta(days=11))).evidence.detail == "DANE: not valid now"
    assert len(mx.taken) == 1


def test_a_server_with_old_suites_alone_is_not_spoken_to(run: Run, mx: ScriptedMx) -> None:
    """Content goes over what NCSC-NL calls sufficient, whoever is at the other end."""
    mx.tls = server_tls(certificates().self_signed, maximum=ssl.TLSVersion.TLSv1_2)
    mx.tls.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    result = send(run, mx, a_hop(mx, tlsa_of(certificates().self_signed[0])))
    assert result.outcome == InsufficientSecurity(NO_DEMAND)
    assert not mx.mail_was_begun()


def test_an_authority_that_issued_another_server_s_certificate_is_none_of_this_one(
    run: Run, mx: ScriptedMx, tmp_path: Path
) -> None:
    root, stranger = make("wortel"), make("wortel")
    mx.tls = server_tls(pem(tmp_path, server(stranger, sans=[NAME]), root))  # shows the anchor, without its signature
    result = send(run, mx, a_hop(mx, tlsa_of(pem(tmp_path / "root", root)[0], usage=2)), now=at(NOW))
    assert isinstance(result.outcome, InsufficientSecurity)
    assert result.evidence.detail == "DANE: path broken"
    assert not mx.mail_was_begun()


def test_records_of_which_none_is_usable_don_t_meet_a_demand_for_dane(run: Run, mx: ScriptedMx) -> None:
    mx.tls = server_tls(certificates().good)
    result = send(run, mx, a_hop(mx, UNUSABLE, "nonsense"))
    assert result.outcome == InsufficientSecurity(TransportSecurity(Tls.TLS_1_3, Authentication.NONE))
    assert result.evidence.detail == "DANE: no usable record"
    assert not mx.mail_was_begun()


def test_with_unusable_records_no_mail_goes_in_clear(run: Run, mx: ScriptedMx) -> None:
    mx.tls = None
    assert isinstance(send(run, mx, a_hop(mx, UNUSABLE), NO_DEMAND).outcome, InsufficientSecurity)
    assert not mx.mail_was_begun()


def test_a_probe_looks_at_the_records_too(run: Run, mx: ScriptedMx) -> None:
    dialler = a_dialler(mx)
    wrong, right = tlsa_of(certificates().good[0]), tlsa_of(certificates().self_signed[0])
    found = run(closing(dialler, dialler.probe(a_hop(mx, wrong), needs=NEEDS)))
    assert isinstance(found.outcome, InsufficientSecurity)
    assert run(closing(dialler, dialler.probe(a_hop(mx, right), needs=NEEDS))).outcome == Accepted()
    assert not mx.mail_was_begun()


def test_a_server_that_is_not_there_is_a_failure_of_the_network(run: Run, mx: ScriptedMx) -> None:
    hop = replace(a_hop(mx, tlsa_of(certificates().self_signed[0])), address="127.0.0.99")
    assert send(run, mx, hop).outcome == NetworkFailure()


# --- what matches -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chain", ["self_signed", "expired", "wrong_name", "unknown_authority"])
def test_a_server_s_own_record_is_all_that_it_needs(run: Run, mx: ScriptedMx, chain: str) -> None:
    files = getattr(certificates(), chain)
    mx.tls = server_tls(files)
    result = send(run, mx, a_hop(mx, tlsa_of(files[0])))
    assert result.outcome == Accepted()
    assert result.evidence.security == TransportSecurity(Tls.TLS_1_3, Authentication.DANE)
    assert result.evidence.named_by == "dnssec"
    assert result.evidence.certificate.endswith("; tlsa 3 1 1")
    assert "sha256" in result.evidence.certificate
    assert "until" in result.evidence.certificate
    assert mx.messages() == [CONTENT]


@pytest.mark.parametrize("sent", [1, 2, 3], ids=["anchor not sent", "authority", "authority and anchor"])
def test_an_authority_s_record_leads_down_to_the_server(run: Run, mx: ScriptedMx, tmp_path: Path, sent: int) -> None:
    """The whole chain that the server showed is looked at, in the Python of today."""
    root = make("wortel")
    middle = make("midden", root)
    chain = (server(middle, sans=[DOMAIN]), middle, root)
    mx.tls = server_tls(pem(tmp_path, *chain[:sent]))
    hop = a_hop(mx, tlsa_of(pem(tmp_path / "middle", middle)[0], usage=2))
    result = send(run, mx, hop, now=at(NOW))
    assert (result.outcome == Accepted()) is (sent > 1)
    assert (mx.messages() == [CONTENT]) is (sent > 1)


def test_the_server_is_asked_for_by_the_name_that_its_records_stand_under(run: Run, mx: ScriptedMx) -> None:
    asked: list[str | None] = []
    mx.tls = asking_names(certificates().self_signed, asked)
    right = tlsa_of(certificates().self_signed[0])
    assert send(run, mx, a_hop(mx, right, base="echt.veilig.test")).outcome == Accepted()
    assert asked == ["echt.veilig.test"]


def test_tls_1_2_will_do_and_1_1_will_not(run: Run, mx: ScriptedMx) -> None:
    hop = a_hop(mx, tlsa_of(certificates().self_signed[0]))
    mx.tls = server_tls(certificates().self_signed, maximum=ssl.TLSVersion.TLSv1_2)
    assert send(run, mx, hop).evidence.security == NEEDS
    mx.tls = server_tls(certificates().self_signed, minimum=ssl.TLSVersion.TLSv1_1, maximum=ssl.TLSVersion.TLSv1_1)
    assert send(run, mx, hop).outcome == InsufficientSecurity(NO_DEMAND)
    assert len(mx.taken) == 1


def test_with_unusable_records_a_mail_without_a_demand_goes_over_tls(run: Run, mx: ScriptedMx) -> None:
    result = send(run, mx, a_hop(mx, UNUSABLE), NO_DEMAND)
    assert result.outcome == Accepted()
    assert result.evidence.security == TransportSecurity(Tls.TLS_1_3, Authentication.NONE)
    assert [one.over for one in mx.taken] == ["TLSv1.3"]


# --- kept connections ---------------------------------------------------------------------------------------------


def test_a_kept_connection_serves_only_a_hop_with_the_same_records(run: Run, mx: ScriptedMx) -> None:
    right, following = tlsa_of(certificates().self_signed[0]), tlsa_of(certificates().good[0])
    dialler = a_dialler(mx)
    hops = {
        "as before": a_hop(mx, right),
        "rolling over": a_hop(mx, right, following),
        "revoked": a_hop(mx, following),
        "none": NextHop(NAME, mx.ip, mx_is_secure=True),
    }

    async def story() -> list[bool]:
        try:
            outcomes = []
            for name in ("as before", "as before", "rolling over", "revoked", "none"):
                result = await dialler.send(hops[name], a_mail(), needs=NEEDS)
                outcomes.append(result.outcome == Accepted())
            return outcomes
        finally:
            await dialler.close()

    assert run(story()) == [True, True, True, False, False]
    assert len(mx.taken) == 3
    assert [heard.commands.count("MAIL") for heard in mx.heard] == [2, 1, 0, 0]
