"""What a receiving server's scanner says of our mail: Debian's rspamd, which asks real name servers for SPF, DKIM and
DMARC, and judges with Debian's rules and scores."""

from __future__ import annotations

import asyncio
import email.policy
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Final

import pytest

import tests.journey.conftest  # its database is a file
from tests.journey import delivery_ground
from tests.journey.delivery_ground import PHONE, SENDER, Post, a_post, everything_in, parsed
from tests.journey.delivery_peers import Taken
from tests.journey.portal_ground import Clock
from tests.needs import needs
from tests.peers.dns import Nsd, Unbound
from tests.peers.rspamd import Rspamd, Verdict
from tests.peers.world import in_strings
from zegel.accounts import domains
from zegel.accounts.models import Organisation
from zegel.core.mail.address import Mailbox, parse_reverse_path
from zegel.edge.dns import DnsResolver
from zegel.journey.arrival.intake import Envelope
from zegel.journey.arrival.record import AcceptedRecipient
from zegel.journey.custody.models import Recipient
from zegel.journey.portal import codes

assert tests.journey.conftest

pytestmark = pytest.mark.django_db(transaction=True)

IP: Final = "192.0.2.10"  # from where the gateway sends
ELSEWHERE: Final = "198.51.100.7"
GATEWAY: Final = "zegel.test"
PORTAL: Final = "https://berichten.zegel.test"
READER: Final = "lezer@veilig.test"
GUEST: Final = "gast@open.test"
BY_SMS: Final = "ander@open.test"
NOBODY: Final = "iemand@bestaat-niet.test"
every_language = pytest.mark.parametrize("language", ["nl", "en"])

# That reverse-path and author differ: bounces come home to an address that says whom they are about (VERP), and says it
# to us alone. Only a reverse-path that spells the recipient's address out would be spared.
FROM_ANOTHER_ADDRESS: Final = "FORGED_SENDER"
PROVEN: Final = {"R_DKIM_ALLOW", "R_SPF_ALLOW", "DMARC_POLICY_ALLOW"}
GTUBE: Final = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

ZONE: Final = f"""$TTL 5
@ IN SOA ns.test. host.test. 1 3600 600 86400 5
@ IN NS ns.test.
ns.test. IN A 127.0.0.1
{GATEWAY}. IN A {IP}
{GATEWAY}. IN TXT "v=spf1 a -all"
berichten.{GATEWAY}. IN A {IP}
voorbeeld.test. IN MX 10 mail.voorbeeld.test.
mail.voorbeeld.test. IN A 192.0.2.20
_dmarc.voorbeeld.test. IN TXT "v=DMARC1; p=reject"
"""
REVERSE: Final = f"""$TTL 5
@ IN SOA ns.test. host.test. 1 3600 600 86400 5
@ IN NS ns.test.
10 IN PTR {GATEWAY}.
"""


@dataclass
class Inspection:
    """A gateway whose records are published, and a scanner that looks at what it sends."""

    post: Post
    scanner: Rspamd

    def submit(self, *recipients: str, text: str = "De uitslag is goed.") -> None:
        """A message of this very moment: scanners look at the date."""
        message = EmailMessage(policy=email.policy.SMTP)
        message["From"] = f"Balie Poli 4 <{SENDER}>"
        message["To"] = ", ".join(recipients)
        message["Subject"] = "Uitslag van uw onderzoek"
        message["Date"] = format_datetime(self.post.clock())
        message["Message-ID"] = f"<{self.post.clock().timestamp()}@voorbeeld.test>"
        message["zivver-access-right"] = f"{BY_SMS} sms {PHONE}"
        message.set_content(text + "\n")
        accepted = [AcceptedRecipient(Mailbox.parse(one), frozenset(), "") for one in recipients]
        envelope = Envelope(parse_reverse_path(SENDER), "", False, accepted)
        self.post.submit_octets(message.as_bytes(), envelope)
        self.post.settle()

    def of(self, taken: Taken, *, ip: str = IP) -> Verdict:
        """What the scanner says of a mail that a server took from the gateway."""
        mail_from, recipient = (line[line.index("<") : line.index(">") + 1] for line in (taken.mail, taken.rcpt))
        return self.scanner.judge(taken.content, ip=ip, helo=GATEWAY, reverse_path=mail_from, recipient=recipient)

    def must_be_clean(self, taken: Taken) -> None:
        """Nothing speaks against it; and what speaks for it shows that the records were asked for."""
        verdict = self.of(taken)
        allowed = {FROM_ANOTHER_ADDRESS} if "<>" not in taken.mail else set()
        assert verdict.action == "no action", f"{parsed(taken.content)['Subject']}\n{verdict}"
        assert verdict.against().keys() <= allowed, f"{parsed(taken.content)['Subject']}\n{verdict}"
        assert verdict.symbols.keys() >= PROVEN, str(verdict)
        signed = {seen.rpartition("s=")[2] for seen in verdict.symbols["R_DKIM_ALLOW"][1]}
        assert signed == {"zegel", "zegel-ed25519"}, str(verdict)


@pytest.fixture
def inspection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inspection]:
    needs("rspamd", "nsd", "unbound")
    monkeypatch.setattr(delivery_ground, "PORTAL", PORTAL)
    with a_post(tmp_path / "post", Clock(datetime.now(UTC))) as post, ExitStack() as stack:
        wanted = domains.records(post.domain, GATEWAY)
        published = [
            f"{one.name}. IN CNAME {one.value}."
            if one.kind == "CNAME"
            else in_strings(f'{one.name}. {one.kind} "{one.value}"')
            for one in wanted
        ]
        zones = {"test": ZONE + "\n".join(published), "2.0.192.in-addr.arpa": REVERSE}
        nsd = stack.enter_context(Nsd(zones, tmp_path / "nsd"))
        unbound = stack.enter_context(Unbound(tmp_path / "unbound", stubs={f"{zone}.": nsd for zone in zones}))
        found = asyncio.run(domains.look(wanted, dns=DnsResolver((unbound.ip, unbound.port))))
        domains.conclude(post.domain, found, now=post.clock())
        assert post.domain.ed25519_published
        post.start()  # it remembers keys for a while
        scanner = stack.enter_context(Rspamd(tmp_path / "rspamd", resolver=(unbound.ip, unbound.port)))
        yield Inspection(post, scanner)


@every_language
@pytest.mark.parametrize("subject", Organisation.Subject.values)
def test_a_notification_is_clean(inspection: Inspection, language: str, subject: str) -> None:
    Organisation.objects.update(language=language, subject=subject)
    server = inspection.post.mx("open.test")
    inspection.submit(GUEST, BY_SMS)
    assert len(server.taken) == 2
    for taken in server.taken:
        assert f"{PORTAL}/m/" in everything_in(taken.content)
        inspection.must_be_clean(taken)


@every_language
def test_a_reminder_is_clean(inspection: Inspection, language: str) -> None:
    Organisation.objects.update(language=language, remind_after_days=3)
    post = inspection.post
    server, post.clock.at = post.mx("open.test"), post.clock() - timedelta(days=3)
    inspection.submit(GUEST)
    post.later(days=3)
    first, second = server.taken
    assert parsed(first.content)["Subject"] != parsed(second.content)["Subject"]
    inspection.must_be_clean(second)


@every_language
def test_a_mail_with_a_code_is_clean(inspection: Inspection, language: str) -> None:
    server = inspection.post.mx("open.test")
    inspection.submit(GUEST)
    row = Recipient.objects.select_related("conversation__organisation", "conversation__author").get(address=GUEST)
    assert codes.send(row, b"b" * 32, "en" if language == "en" else "nl") is None
    inspection.post.settle()
    assert "<>" in server.taken[1].mail
    inspection.must_be_clean(server.taken[1])


def test_reports_and_notices_are_clean(inspection: Inspection) -> None:
    post = inspection.post
    inspection.submit(NOBODY)  # and an access right for somebody who is no recipient
    post.later(minutes=30)
    assert {parsed(one.content).get_content_type() for one in post.home.taken} == {
        "multipart/report",
        "multipart/alternative",
    }
    for taken in post.home.taken:
        inspection.must_be_clean(taken)


def test_a_readable_message_is_clean(inspection: Inspection) -> None:
    inspection.post.list_domain("veilig.test")
    server = inspection.post.proven()
    inspection.submit(READER)
    (taken,) = server.taken
    assert b"De uitslag is goed." in taken.content
    inspection.must_be_clean(taken)


# --- the scanner judges ---------------------------------------------------------------------------------------------


def test_what_is_changed_on_the_way_or_comes_from_elsewhere_is_seen(inspection: Inspection) -> None:
    inspection.post.list_domain("veilig.test")
    server = inspection.post.proven()
    inspection.submit(READER)
    (taken,) = server.taken
    changed = replace(taken, content=taken.content.replace(b"is goed", b"is slecht"))
    assert inspection.of(changed).symbols.keys() >= {"R_DKIM_REJECT", "R_SPF_ALLOW", "DMARC_POLICY_ALLOW"}
    assert inspection.of(taken, ip=ELSEWHERE).symbols.keys() >= {"R_DKIM_ALLOW", "R_SPF_FAIL", "DMARC_POLICY_ALLOW"}
    both = inspection.of(changed, ip=ELSEWHERE)
    assert both.symbols.keys() >= {"R_DKIM_REJECT", "R_SPF_FAIL", "DMARC_POLICY_REJECT"}
    assert both.action != "no action", str(both)


def test_what_every_scanner_knows_as_junk_is_refused(inspection: Inspection) -> None:
    inspection.post.list_domain("veilig.test")
    server = inspection.post.proven()
    inspection.submit(READER, text=GTUBE)
    assert inspection.of(server.taken[0]).action == "reject"
