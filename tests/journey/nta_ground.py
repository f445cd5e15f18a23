"""Ground for NTA 7516: servers with TLSA records, and a recipient about whom that was decided."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.journey.delivery_ground import Post
from tests.journey.delivery_peers import Chain, ScriptedMx, server_tls
from zegel.core.policy.case import Case, Nta7516Facts
from zegel.core.policy.precedence import plan, plan_to_json
from zegel.edge.dns import Found
from zegel.journey import steps
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import Job, Recipient

CARE: Final = "zorg.test"
READER: Final = f"lezer@{CARE}"
TERM: Final = "v=NTA7516-1;startdate=2025-01;enddate=2027-12;provider=Voorbeeld"
BOTH: Final = Nta7516Facts(sender_complies=True, recipient_complies=True)
GATEWAY: Final = "zegel.test"


def record(*hosts: str) -> str:
    return ";".join([TERM, *(f"ntamx={host}" for host in hosts)])


def tlsa_of(chain: Path, usage: int = 3, selector: int = 1, matching: int = 1) -> str:
    """As it stands in a zone, for the first certificate of a PEM file."""
    certificate = x509.load_pem_x509_certificate(chain.read_bytes())
    octets = certificate.public_bytes(Encoding.DER)
    if selector == 1:
        octets = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = {0: octets, 1: hashlib.sha256(octets).digest(), 2: hashlib.sha512(octets).digest()}[matching]
    return f"{usage} {selector} {matching} {digest.hex()}"


def asking_names(chain: Chain, asked: list[str | None]) -> ssl.SSLContext:
    """A server's context that keeps which name each client asked for (SNI)."""
    context = server_tls(chain)

    def keep(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        asked.append(name)

    context.sni_callback = keep
    return context


def publish_sender(post: Post) -> None:
    """Everything that the sender's side needs."""
    post.zone.records |= {
        ("voorbeeld.test", "TXT"): Found((record(),)),
        ("_dmarc.voorbeeld.test", "TXT"): Found(("v=DMARC1; p=reject",)),
        ("zegel-bounce.voorbeeld.test", "TXT"): Found(("v=spf1 ip4:127.0.0.1 -all",)),
        (GATEWAY, "A"): Found(("127.0.0.1",)),
    }


def nta_host(
    post: Post, chain: Chain, *, host: str = f"nta.{CARE}", tlsa: Sequence[str] | None = None, ip: str = "127.0.0.20"
) -> ScriptedMx:
    """A server that nothing but an ntamx names, with secure records."""
    server = post.stack.enter_context(ScriptedMx(ip=ip, port=post.port, tls=server_tls(chain)))
    post.zone.records[host, "A"] = Found((ip,), secure=True)
    post.zone.records[f"_25._tcp.{host}", "TLSA"] = Found(tuple(tlsa or (tlsa_of(chain[0]),)), secure=True)
    return server


def decide_over_nta(post: Post, address: str = READER, case: Case | None = None) -> None:
    """What the decision leaves for a recipient with this case."""
    chosen_case = case or Case(nta=BOTH)
    chosen = plan(chosen_case)

    def decide() -> None:
        recipient = Recipient.objects.select_related("submission__account").get(address=address, state="accepted")
        recipient.plan, recipient.decided_at = plan_to_json(chosen, chosen_case), post.clock()
        steps.begin_all([steps.Begun(steps.UnderWay.of(recipient), chosen, 0)], now=post.clock())
        Job.objects.filter(kind=Kind.DECIDE.value).delete()

    post.run(post.writer.write(decide))
