"""NTA 7516 with a real validating resolver, signed zones and a real mail server: what is sent, and what follows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from tests.journey.delivery_ground import SENTENCE, Post, a_post, certificates, everything_in
from tests.journey.delivery_peers import ScriptedMx, server_tls
from tests.journey.nta_ground import TERM, decide_over_nta, record, tlsa_of
from tests.journey.portal_ground import Clock
from tests.needs import needs
from tests.peers import reachable_folder
from tests.peers.dns import Nsd, Unbound, signed
from tests.peers.postfix import Postfix
from zegel.core.mail.address import Domain
from zegel.core.policy.nta7516 import Standing
from zegel.core.policy.transport import Authentication, Tls
from zegel.edge.dns import DnsResolver
from zegel.edge.nta import NtaFound, NtaLookup
from zegel.journey.custody.models import Attempt

pytestmark = pytest.mark.django_db(transaction=True)

SENDER: Final = Domain("voorbeeld.test")
SAFE, TRAP, ORDINARY = "127.0.0.40", "127.0.0.41", "127.0.0.42"
HARMLESS: Final = {"EHLO", "HELO", "STARTTLS", "QUIT"}
BOTH_COMPLY: Final = NtaFound(Standing.COMPLIES, Standing.COMPLIES)
SOA: Final = "$TTL 5\n@ IN SOA ns.test. host.test. 1 3600 600 86400 5\n@ IN NS ns.test.\n"
PLAIN: Final = (
    SOA
    + f"""ns.test. IN A 127.0.0.1
zegel.test. IN A 127.0.0.1
zegel.test. IN TXT "v=spf1 a -all"
voorbeeld.test. IN TXT "v=spf1 -all"
voorbeeld.test. IN TXT "{record()}"
_dmarc.voorbeeld.test. IN TXT "v=DMARC1; p=quarantine; rua=mailto:dmarc@voorbeeld.test"
zegel-bounce.voorbeeld.test. IN CNAME zegel.test.
zwak.test. IN TXT "{record()}"
_dmarc.zwak.test. IN TXT "v=DMARC1; p=reject; t=y; sp=none"
_dmarc.sub.zwak.test. IN TXT "v=spf1 -all"
sub.zwak.test. IN TXT "{record()}"
zegel-bounce.zwak.test. IN TXT "v=spf1 a:zegel.test ip4:127.0.0.2 -all"
nta.open.test. IN A {TRAP}
"""
)


def care() -> str:
    """The zone in which recipients of every kind live; each name is a mail domain."""
    right, other = tlsa_of(certificates().self_signed[0]), tlsa_of(certificates().good[0])
    domains = {
        "geldig": record("10 nta.zorg.test"),
        "lang": f'{TERM};" "ntamx=10 nta.zorg.test;',
        "verlopen": TERM.replace("2027-12", "2026-10") + ";ntamx=10 trap.zorg.test",
        "aflopend": TERM.replace("2027-12", "2026-11") + ";ntamx=10 trap.zorg.test",
        "gewoon": record(),
        "zonder-tlsa": record("10 kaal.zorg.test"),
        "ander": record("10 trap.zorg.test"),
        "wissel": record("10 rolt.zorg.test"),
        "alias": record("10 bijnaam.zorg.test"),
        "elders": record("10 nta.open.test"),
        "eerst-fout": record("20 nta.zorg.test", "10 trap.zorg.test"),
    }
    lines = [f'{name} IN TXT "{text}"\n{name} IN MX 10 {_mx(name)}\n' for name, text in domains.items()]
    hosts = [
        f"nta IN A {SAFE}\n_25._tcp.nta IN TLSA {right}\n",
        f"trap IN A {TRAP}\n_25._tcp.trap IN TLSA {other}\n",
        f"rolt IN A {SAFE}\n_25._tcp.rolt IN TLSA {other}\n_25._tcp.rolt IN TLSA {right}\n",
        f"kaal IN A {TRAP}\n",
        f"mx IN A {ORDINARY}\n",
        "bijnaam IN CNAME nta\n",
    ]
    return SOA + "".join(lines + hosts)


def _mx(name: str) -> str:
    return "nta" if name == "gewoon" else "mx"


BOGUS: Final = SOA + f'@ IN TXT "{record("10 nta")}"\n@ IN MX 10 mx\nnta IN A {TRAP}\nmx IN A {ORDINARY}\n'


@dataclass(frozen=True, slots=True)
class World:
    """Name servers and resolvers, the same for all tests."""

    validating: tuple[str, int]
    plain: tuple[str, int]  # asks the same servers and validates nothing


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    needs("nsd", "unbound", "postfix")
    with reachable_folder() as folder:
        zorg, bogus = signed("zorg.test", care()), signed("bogus.test", BOGUS)
        anchors = f"{zorg.trust_anchor}\n{signed('bogus.test', BOGUS).trust_anchor}"  # of another key than the zone's
        zones = {"test": PLAIN, "zorg.test": zorg.text, "bogus.test": bogus.text}
        with Nsd(zones, folder / "nsd") as nsd:
            stubs = {f"{zone}.": nsd for zone in zones}
            with (
                Unbound(folder / "validating", stubs=stubs, trust_anchor=anchors) as validating,
                Unbound(folder / "plain", stubs=stubs) as plain,
            ):
                yield World((validating.ip, validating.port), (plain.ip, plain.port))


@dataclass
class Scene:
    """The gateway in the middle; ``trap`` and ``ordinary`` remember every octet."""

    post: Post
    safe: Postfix
    trap: ScriptedMx
    ordinary: ScriptedMx

    def resolve_by(self, server: tuple[str, int], *, trusted: bool = True) -> None:
        dns = DnsResolver(server, trusted=trusted)
        self.post.delivery.dns = dns
        self.post.delivery.nta = NtaLookup(dns, "zegel.test", self.post.clock)

    def found(self, recipient: str, sender: Domain = SENDER) -> NtaFound:
        pair = sender, Domain(recipient)
        return self.post.run(self.post.delivery.nta.facts([pair]))[pair]

    def submitted(self, domain: str) -> str:
        """To a reader there, decided for NTA 7516."""
        address = f"lezer@{domain}"
        self.post.submit(address)
        decide_over_nta(self.post, address)
        return address

    def sent(self, domain: str) -> list[Attempt]:
        address = self.submitted(domain)
        self.post.settle()
        return self.post.attempts(address)

    def went_to_the_next_step(self, domain: str) -> bool:
        """A notification by ordinary mail, and no octet of the message anywhere."""
        recipient = self.post.recipient(f"lezer@{domain}")
        return (
            (recipient.state, recipient.step) == ("notified", 1)
            and not self.trap.mail_was_begun()
            and self.trap.only_heard() <= HARMLESS
            and len(self.ordinary.taken) == 1
            and SENTENCE not in everything_in(self.ordinary.taken[0].content)
            and self.safe.mailbox(f"lezer@{domain}") == []
        )

    def arrived(self, domain: str) -> str:
        """What the real server got, once it has it; nobody else got anything."""
        assert self.trap.heard == []
        assert self.ordinary.heard == []
        return self.safe.wait_for_message(f"lezer@{domain}").decode()


@pytest.fixture
def scene(world: World, tmp_path: Path, clock: Clock) -> Iterator[Scene]:
    with a_post(tmp_path, clock) as post:
        folder = post.stack.enter_context(reachable_folder())
        accepts = [f"{name}.zorg.test" for name in ("geldig", "lang", "gewoon", "wissel", "alias", "eerst-fout")]
        safe = Postfix(
            folder,
            name="nta.zorg.test",
            inet=SAFE,
            port=post.port,
            accepts=accepts,
            certificate=certificates().self_signed,
            settings={"smtpd_tls_security_level": "encrypt"},
        )
        tls = server_tls(certificates().self_signed)
        made = Scene(
            post,
            post.stack.enter_context(safe),
            post.stack.enter_context(ScriptedMx(ip=TRAP, port=post.port, tls=tls)),
            post.stack.enter_context(ScriptedMx(ip=ORDINARY, port=post.port)),
        )
        made.resolve_by(world.validating)
        yield made


# --- not that way -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "reason"),
    [
        ("verlopen.zorg.test", "NTA 7516, recipient: nta-out-of-date"),
        ("zonder-tlsa.zorg.test", "NTA 7516: kaal.zorg.test has no TLSA records that are protected by DNSSEC"),
        ("elders.zorg.test", "NTA 7516: the address of nta.open.test is not protected by DNSSEC"),
        ("ander.zorg.test", "DANE: no record matches"),
    ],
)
def test_a_recipient_that_can_t_be_reached_safely_gets_a_notification(scene: Scene, domain: str, reason: str) -> None:
    first, second = scene.sent(domain)
    assert (first.outcome, first.reply) == ("InsufficientSecurity", reason)
    assert (second.outcome, second.transmission.kind) == ("Accepted", "notification")
    assert scene.went_to_the_next_step(domain)


def test_an_expired_record_is_known_at_the_decision(scene: Scene) -> None:
    assert scene.found("verlopen.zorg.test") == NtaFound(Standing.COMPLIES, Standing.OUT_OF_DATE)


def test_a_record_that_ends_between_decision_and_delivery_is_noticed(scene: Scene) -> None:
    assert scene.found("aflopend.zorg.test") == BOTH_COMPLY
    address = scene.submitted("aflopend.zorg.test")
    scene.post.clock.at = datetime(2026, 11, 30, 23, 0, tzinfo=UTC)  # midnight in Amsterdam
    scene.post.settle()
    assert scene.post.attempts(address)[0].reply == "NTA 7516, recipient: nta-out-of-date"
    assert scene.trap.heard == []
    assert scene.went_to_the_next_step("aflopend.zorg.test")


def test_a_bogus_signature_is_waited_for_and_nothing_goes_meanwhile(scene: Scene) -> None:
    assert scene.found("bogus.test") == NtaFound(Standing.COMPLIES, Standing.NOT_KNOWN_NOW)
    (attempt,) = scene.sent("bogus.test")
    assert (attempt.outcome, attempt.reply) == ("DnsTrouble", "NTA 7516, recipient: nta-not-known-now")
    assert scene.trap.heard == []
    assert scene.ordinary.heard == []
    assert scene.post.recipient("lezer@bogus.test").state == "decided"


@pytest.mark.parametrize("by", ["a resolver that isn't trusted", "a resolver that doesn't validate"])
def test_without_validation_nobody_complies(scene: Scene, world: World, by: str) -> None:
    """Though the records are right and the server would match."""
    if by == "a resolver that isn't trusted":
        scene.resolve_by(world.validating, trusted=False)
    else:
        scene.resolve_by(world.plain)
    assert scene.found("geldig.zorg.test") == NtaFound(Standing.COMPLIES, Standing.NOT_SIGNED)
    first, _ = scene.sent("geldig.zorg.test")
    assert (first.outcome, first.reply) == ("InsufficientSecurity", "NTA 7516, recipient: nta-not-signed")
    assert scene.went_to_the_next_step("geldig.zorg.test")


def test_senders_whose_policy_is_weak_or_whose_spf_leaves_us_out_don_t_comply(scene: Scene) -> None:
    assert scene.found("geldig.zorg.test", Domain("sub.zwak.test")).sender is Standing.DMARC_TOO_WEAK
    assert scene.found("geldig.zorg.test", Domain("zorg.test")).sender is Standing.NO_RECORD
    assert scene.found("geldig.zorg.test", Domain("zwak.test")) == BOTH_COMPLY, "reject in test mode is quarantine"


# --- that way -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", ["geldig", "lang", "gewoon", "wissel", "alias"])
def test_the_message_reaches_a_real_server_that_matches_its_record(scene: Scene, domain: str) -> None:
    """Named by ntamx, in a record of two strings, as the ordinary MX, while rolling over, and through an alias."""
    assert scene.found(f"{domain}.zorg.test") == BOTH_COMPLY
    (attempt,) = scene.sent(f"{domain}.zorg.test")
    assert (attempt.outcome, attempt.authentication) == ("Accepted", Authentication.DANE), attempt.reply
    assert (attempt.tls, attempt.protocol) == (Tls.TLS_1_3, "TLSv1.3")
    arrived = scene.arrived(f"{domain}.zorg.test")
    assert SENTENCE in arrived
    assert "DKIM-Signature:" in arrived
    assert "using TLSv1.3" in arrived
    assert scene.post.recipient(f"lezer@{domain}.zorg.test").state == "delivered"
    assert json.dumps(scene.post.logged, default=str).count("Merkteken7f3a") == 0


def test_behind_a_host_that_doesn_t_match_comes_the_next_one(scene: Scene) -> None:
    first, second = scene.sent("eerst-fout.zorg.test")
    assert (first.host, first.outcome) == ("trap.zorg.test", "InsufficientSecurity")
    assert (second.host, second.outcome) == ("nta.zorg.test", "Accepted")
    assert not scene.trap.mail_was_begun()
    assert scene.trap.only_heard() <= HARMLESS
    assert scene.ordinary.heard == []
    assert SENTENCE in scene.safe.wait_for_message("lezer@eerst-fout.zorg.test").decode()
