"""Ground for what happens behind the 250: arrival, decision, delivery and report, and a clock that is told the time.

The servers at the other end are scripted ones on loopback; the DNS is a table.
"""

from __future__ import annotations

import asyncio
import atexit
import email
import email.policy
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email.message import EmailMessage
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from structlog.testing import capture_logs

from tests.journey.delivery_peers import Certificates, ScriptedMx, server_tls
from tests.journey.portal_ground import Clock, Ground
from tests.journey.zone import Zone
from tests.peers import free_port
from zegel.accounts import credentials, domains
from zegel.accounts.models import Account, DirectDeliveryDomain, SendingDomain
from zegel.core.mail.address import Domain, Mailbox, parse_reverse_path
from zegel.core.mail.reply import Reply
from zegel.core.policy.destinations import Scope
from zegel.core.policy.retry import Patience
from zegel.edge.database import Readers, Writer
from zegel.edge.dns import Found
from zegel.edge.fetch import Failed, Fetch, NotFetched
from zegel.edge.keyring import opening_keys, submission_keys
from zegel.edge.nta import NtaLookup
from zegel.edge.tls import opportunistic_context, verifying_context
from zegel.journey.arrival.intake import Client, Envelope, Intake, Place
from zegel.journey.arrival.record import AcceptedRecipient
from zegel.journey.arrival.sender import Submitter
from zegel.journey.custody import jobs
from zegel.journey.custody.jobs import Kind, Leased
from zegel.journey.custody.models import Attempt, Job, Recipient, Transmission
from zegel.journey.custody.seal import Wrapper
from zegel.journey.decision.continuing import Continuing
from zegel.journey.decision.decide import Decision
from zegel.journey.delivery.answers import Answers
from zegel.journey.delivery.connection import Contexts, Dialler
from zegel.journey.delivery.deliver import Delivery
from zegel.journey.delivery.mails import Mails
from zegel.journey.delivery.places import Places
from zegel.journey.delivery.signing import SigningKeys
from zegel.journey.delivery.sts import Policies
from zegel.journey.report.mailbox import MailboxMails
from zegel.journey.report.tell import Telling

T = TypeVar("T")

SENDING_DOMAIN: Final = "voorbeeld.test"
SENDER: Final = "balie@voorbeeld.test"
PORTAL: Final = "http://localhost"
PLACES: Final = 20  # transmissions to one destination at the same time
PHONE: Final = "+31612345678"
SUBJECT: Final = "Uitslag Merkteken7f3a"
SENTENCE: Final = "De uitslag is goed, Merkteken7f3a."
PROVEN_FIELD: Final = ("zivver-direct-delivery", "tls tls1.2 auth certificate-validation")

_MADE: Final[dict[str, Any]] = {}


@cache
def certificates() -> Certificates:
    """Made once for all tests."""
    folder = Path(tempfile.mkdtemp(prefix="zegel-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Certificates.make(folder)


class Backstage(Ground):
    """A portal's ground whose accounts have no password, which would take most of the time."""

    def account(self, address: str, **fields: Any) -> Account:
        return Account.objects.create_user(address, organisation=self.organisation, **fields)


@dataclass
class Post:
    """The gateway without its listeners, an Internet around it, and the sender's own mailbox."""

    ground: Ground
    stack: ExitStack
    zone: Zone = field(default_factory=Zone)
    web: dict[str, Fetch] = field(default_factory=dict)  # by address
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        self.clock: Clock = self.ground.clock
        self.runner = self.stack.enter_context(asyncio.Runner())
        self.writer, self.readers = Writer(), Readers()
        self.stack.callback(self.writer.close)
        self.stack.callback(self.readers.close)
        self._addresses = iter(range(31, 250))
        self.port = free_port("127.0.0.30")
        self.domain = self._sending_domain()
        self.credential = credentials.issue(self.ground.organisation, "tests").credential
        self.home = self.mx(SENDING_DOMAIN)
        self.logged: list[Any] = self.stack.enter_context(capture_logs())
        self.start()

    def _sending_domain(self) -> SendingDomain:
        """With a key that can sign; making one takes longer than most tests."""
        SendingDomain.objects.all().delete()
        organisation, sealing = self.ground.organisation, self.ground.keys.sealing
        if not _MADE:
            added = domains.add(organisation, Domain.parse(SENDING_DOMAIN), sealing=sealing)
            _MADE.update({one.attname: getattr(added, one.attname) for one in SendingDomain._meta.concrete_fields})
            added.delete()
        own = {"id": None, "organisation_id": organisation.pk, "in_place": True}
        return SendingDomain.objects.create(**{**_MADE, **own})

    def start(self, *, hears: bool = True) -> None:
        """As a process does, with connections of its own; a second call is a second process. ``hears``: bounces come
        home."""
        contexts = Contexts(verifying_context(certificates().authority.certificate_path), opportunistic_context())
        self.dialler = Dialler(
            "zegel.test", self.port, contexts, 5.0, addresses=Places(PLACES, self.clock, Scope.ADDRESS)
        )
        unsealer = self.ground.unsealer
        now = self.clock
        nta = NtaLookup(self.zone, "zegel.test", now)
        self.decision = Decision(
            self.writer, self.readers, open_field=unsealer.field, sealing=unsealer.keys.sealing, nta=nta, now=now
        )
        signing = SigningKeys(unsealer.keys.opening, now)
        self.delivery = Delivery(
            writer=self.writer,
            readers=self.readers,
            dns=self.zone,
            nta=nta,
            policies=Policies(self.zone, self.fetch, self.writer, self.readers, now),
            places=Places(PLACES, now),
            dialler=self.dialler,
            mails=Mails(self.writer, self.readers, self.readers, unsealer, signing, PORTAL, now, hears),
            patience=self.patience,
            now=now,
        )
        self.answers = Answers(self.writer, self.readers, unsealer, url=PORTAL, now=now)
        self.continuing = Continuing(self.writer, self.readers, now=now)
        self.telling = Telling(
            self.writer,
            self.readers,
            unsealer,
            hostname="zegel.test",
            url=PORTAL,
            now=now,
            give_up_after=self.patience.notification.give_up_after,
        )
        self.doers = {
            Kind.DECIDE: self.decision.decide,
            Kind.RELEASE: self.decision.release,
            Kind.TRANSMIT: self.delivery.transmit,
            Kind.REPORT: self.telling.report,
            Kind.REMIND: self.delivery.remind,
            Kind.UNREAD: self.telling.unread,
            Kind.DELAYED: self.telling.delayed,
            Kind.RELAYED: self.telling.relayed,
            Kind.CONFIRMED: self.telling.confirmed,
            Kind.WARN: self.telling.warn,
            Kind.HELD: self.telling.held,
            Kind.WITHHELD: self.telling.code_withheld,
            Kind.ANSWERED: self.answers.answered,
            Kind.CONTINUES: self.continuing.continues,
            Kind.MAILBOX: MailboxMails(self.writer, self.readers, unsealer, url=PORTAL, now=now).tell,
        }

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    # the Internet

    def fetch(self, url: str) -> Fetch:
        return self.web.get(url, Failed(NotFetched.NO_ADDRESS))

    def mx(self, domain: str, *, preference: int = 10, host: str = "", **behaviour: Any) -> ScriptedMx:
        """A server for a domain, beside those that it has; ``mx.<domain>`` unless it is named."""
        host = host or f"mx.{domain}"
        server = self.stack.enter_context(
            ScriptedMx(ip=f"127.0.0.{next(self._addresses)}", port=self.port, **behaviour)
        )
        known = self.zone.records.get((domain, "MX"))
        others = known.records if isinstance(known, Found) else ()
        self.zone.records[domain, "MX"] = Found((*others, f"{preference} {host}."))
        self.zone.records[host, "A"] = Found((server.ip,))
        return server

    def proven(self, domain: str = "veilig.test", **behaviour: Any) -> ScriptedMx:
        """One that meets what is demanded by default."""
        return self.mx(domain, host="mx.veilig.test", tls=server_tls(certificates().good), **behaviour)

    def list_domain(self, domain: str) -> None:
        DirectDeliveryDomain.objects.create(organisation=self.ground.organisation, domain=domain)

    # the sender

    def submit_each(self, wishes: Mapping[str, str], **more: Any) -> Reply:
        """As :meth:`submit`, each recipient with a NOTIFY of its own."""
        return self.submit(*wishes, notifies=wishes, **more)

    def submit(
        self,
        *recipients: str,
        notifies: Mapping[str, str] | None = None,
        fields: Sequence[tuple[str, str]] = (),
        reverse_path: str = SENDER,
        to: Sequence[str] | None = None,
        notify: str = "",
        original: str = "",
        envelope_id: str = "",
        requires_tls: bool = False,
        message_id: str = "<eerste@voorbeeld.test>",
        text: str = SENTENCE,
    ) -> Reply:
        """One accepted message; ``to`` is whom its To field shows, all of them when left out."""
        message = EmailMessage(policy=email.policy.SMTP)
        message["From"] = f"Balie Poli 4 <{SENDER}>"
        message["To"] = ", ".join(recipients if to is None else to)
        message["Subject"] = SUBJECT
        message["Message-ID"] = message_id
        message["Date"] = "Mon, 23 Nov 2026 12:00:00 +0000"
        for name, value in fields:
            message[name] = value
        message.set_content(text + "\n")
        envelope = Envelope(
            parse_reverse_path(reverse_path),
            envelope_id,
            requires_tls,
            [
                AcceptedRecipient(
                    Mailbox.parse(one), frozenset(filter(None, (notifies or {}).get(one, notify).split(","))), original
                )
                for one in recipients
            ],
        )
        return self.submit_octets(message.as_bytes(), envelope)

    def submit_octets(self, octets: bytes, envelope: Envelope) -> Reply:
        keys = submission_keys(Path(os.environ["ZEGEL_FOLDER"]) / "keys")
        place = Place(
            hostname="zegel.test",
            keys=keys,
            wrapper=Wrapper(keys.sealing),
            blobs=self.ground.blobs,
            writer=self.writer,
            readers=self.readers,
            dns=self.zone,
            now=self.clock,
            ring=lambda: None,
        )
        submitter = Submitter(self.credential.id, self.ground.organisation.id, "NL")
        intake = Intake(place, submitter, Client("192.0.2.1", "client.test", "TLSv1.3 x"), envelope)
        intake.feed(octets)
        reply = self.run(intake.finish())
        assert reply.code == 250, reply
        return reply

    def heard(self) -> list[EmailMessage]:
        """What arrived in the sender's mailbox."""
        return [parsed(one) for one in self.home.messages()]

    def reports(self) -> list[EmailMessage]:
        return [one for one in self.heard() if one.get_content_type() == "multipart/report"]

    def failures(self) -> list[EmailMessage]:
        """Reports that it failed, without those that it takes long."""
        return [one for one in self.reports() if "Action: failed" in status_of(one)]

    def notices(self) -> list[EmailMessage]:
        return [one for one in self.heard() if one.get_content_type() != "multipart/report"]

    # time

    def lease(self, *kinds: Kind) -> list[Leased]:
        return self.run(self.writer.write(lambda: jobs.lease(kinds or tuple(self.doers), most=100, now=self.clock())))

    def settle(self) -> None:
        """Does everything that is due by now, and what follows from it at once."""

        async def work() -> None:
            kinds = tuple(self.doers)
            while leased := await self.writer.write(lambda: jobs.lease(kinds, most=100, now=self.clock())):
                await asyncio.gather(*(self.doers[one.kind](one) for one in leased))
            await self.dialler.close()

        self.run(work())

    def later(self, **length: float) -> None:
        """Time passes, and what is due is done."""
        self.clock.forward(**length)
        self.settle()

    def until_nothing_waits(self) -> None:
        """From job to job, however far apart they are."""
        self.settle()
        ours = Job.objects.filter(kind__in=[kind.value for kind in self.doers]).order_by("due_at")
        while (due := ours.values_list("due_at", flat=True).first()) is not None:
            assert due < self.clock.at + timedelta(days=10), "a job that never ends"
            self.clock.at = max(due, self.clock.at)
            self.settle()

    # what was recorded

    def recipient(self, address: str) -> Recipient:
        return Recipient.objects.get(address=address)

    def attempts(self, address: str) -> list[Attempt]:
        return list(Attempt.objects.filter(transmission__address=address).order_by("id"))

    def outcomes(self, address: str) -> list[str]:
        return [one.outcome for one in self.attempts(address)]

    def transmissions(self, kind: str) -> list[Transmission]:
        return list(Transmission.objects.filter(kind=kind).order_by("created_at", "id"))


@contextmanager
def a_post(folder: Path, clock: Clock) -> Iterator[Post]:
    """Nothing may have broken meanwhile. For tests that are marked with ``django_db``."""
    with ExitStack() as stack:
        ground = Backstage(folder, opening_keys(Path(os.environ["ZEGEL_FOLDER"]) / "keys"), clock)
        ground.configure()
        post = Post(ground, stack)
        yield post
        post.run(post.dialler.close())
        assert [one for one in post.logged if one["event"] == "broken"] == []


# --- mails --------------------------------------------------------------------------------------------------------


def parsed(octets: bytes) -> EmailMessage:
    return email.message_from_bytes(octets, policy=email.policy.default)


def words(message: EmailMessage | bytes) -> str:
    """The text for people, decoded."""
    message = parsed(message) if isinstance(message, bytes) else message
    return "\n".join(str(part.get_content()) for part in message.walk() if part.get_content_type() == "text/plain")


def everything_in(message: EmailMessage | bytes) -> str:
    """Every part, decoded, beside the octets as they are."""
    message = parsed(message) if isinstance(message, bytes) else message
    decoded = [bytes(part.get_payload(decode=True) or b"") for part in message.walk()]
    return (message.as_bytes() + b"\n".join(decoded)).decode("utf-8", "replace")


def status_of(report: EmailMessage) -> str:
    """The part for programs."""
    (part,) = (one for one in report.walk() if one.get_content_type() == "message/delivery-status")
    return part.as_string()


def holds_a_link(text: str) -> bool:
    """To any message. A signature in base64 can hold ``/m/`` by chance, and no host before it."""
    return re.search(r"localhost(?::\d+)?/m/", text) is not None


def link_in(octets: bytes) -> str:
    """The token of the link in a notification."""
    found = re.search(r"http://localhost(?::\d+)?/m/([A-Za-z0-9_-]{43})(?![\w-])", words(octets))
    assert found is not None, words(octets)
    return found[1]


DKIMPY: Final = """
import json, sys, dkim
for mail in json.load(sys.stdin)["mails"]:
    octets = bytes.fromhex(mail["octets"])
    verifier = dkim.DKIM(octets)
    try:
        ok = verifier.verify(dnsfunc=lambda name, timeout=5: (mail["records"][name.decode().rstrip(".")]).encode())
    except dkim.DKIMException:
        ok = False
    print(json.dumps([ok, verifier.domain.decode() if verifier.domain else ""]))
"""


def dkimpy(mails: Sequence[bytes], records: Mapping[str, str]) -> list[list[Any]]:
    """What another implementation says of each mail: whether its signature is valid, and of which domain it is."""
    asked = json.dumps({"mails": [{"octets": one.hex(), "records": records} for one in mails]})
    done = subprocess.run(["/usr/bin/python3", "-c", DKIMPY], input=asked, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
