"""Who does which kind of job in dispatch, and what they share. Imported when Django has been started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from zegel.compose.clock import now
from zegel.compose.database import turns
from zegel.compose.parts import resolver, sms_driver
from zegel.core.policy.mta_sts import LARGEST_POLICY
from zegel.edge import keyring
from zegel.edge.blobs import Blobs
from zegel.edge.database import Readers, Writer
from zegel.edge.dns import DnsResolver
from zegel.edge.fetch import Fetcher
from zegel.edge.keyring import OpeningKeys
from zegel.edge.nta import NtaLookup
from zegel.edge.tls import opportunistic_context, verifying_context
from zegel.edge.wake import Crowd
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.retention import Retention
from zegel.journey.custody.unseal import Unsealer
from zegel.journey.custody.worker import Doing
from zegel.journey.decision.continuing import Continuing
from zegel.journey.decision.decide import Decision
from zegel.journey.delivery.answers import Answers
from zegel.journey.delivery.connection import Contexts, Dialler
from zegel.journey.delivery.deliver import Delivery
from zegel.journey.delivery.mails import Mails
from zegel.journey.delivery.places import Places
from zegel.journey.delivery.signing import SigningKeys
from zegel.journey.delivery.sts import Policies
from zegel.journey.delivery.texting import Texting
from zegel.journey.delivery.tls_results import TlsResults
from zegel.journey.importing import Importing
from zegel.journey.report.mailbox import MailboxMails
from zegel.journey.report.tell import Telling
from zegel.settings import Settings


@dataclass(frozen=True, slots=True)
class Shared:
    """What the parts of dispatch have in common."""

    settings: Settings
    writer: Writer
    readers: Readers
    aside: Readers  # for what takes long
    crowd: Crowd
    keys: OpeningKeys
    blobs: Blobs
    unsealer: Unsealer
    dns: DnsResolver
    nta: NtaLookup

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """For one process, until :meth:`close`."""
        crowd, keys, blobs = Crowd(settings.run), keyring.opening_keys(settings.keys), Blobs(settings.blobs)
        dns = resolver(settings)
        return cls(
            settings,
            writer=Writer(turns(settings), is_crowded=crowd.is_there),
            readers=Readers(threads=1),  # two would mostly wait for each other's interpreter
            aside=Readers(),
            crowd=crowd,
            keys=keys,
            blobs=blobs,
            unsealer=Unsealer(keys, blobs),
            dns=dns,
            nta=NtaLookup(dns, settings.hostname, now),
        )

    def close(self) -> None:
        """When nobody uses it any more."""
        self.writer.close()
        self.readers.close()
        self.aside.close()


def delivering(shared: Shared) -> tuple[Delivery, TlsResults]:
    """Who hands mail to servers, and who counts how their TLS was."""
    settings, writer, readers = shared.settings, shared.writer, shared.readers
    policies = Policies(shared.dns, policy_fetcher(settings), writer, readers, now)
    tls_results = TlsResults(writer, now, policies.missed)
    dialler = Dialler(
        helo=settings.hostname,
        port=settings.delivery.mx_port,
        contexts=Contexts(verifying_context(settings.delivery.extra_ca), opportunistic_context()),
        timeout=settings.delivery.timeout,
        now=now,
        tell=tls_results.ended,
    )
    signing = SigningKeys(shared.keys.opening, now)
    hears = bool(settings.inbound.listen)
    mails = Mails(writer, readers, shared.aside, shared.unsealer, signing, settings.portal.url, now, hears)
    delivery = Delivery(
        writer=writer,
        readers=readers,
        dns=shared.dns,
        nta=shared.nta,
        policies=policies,
        places=Places(max(1, settings.delivery.connections * 4 // 5), now),
        dialler=dialler,
        mails=mails,
        patience=settings.delivery.patience(),
        now=now,
        passed_over=tls_results.passed_over,
    )
    return delivery, tls_results


def policy_fetcher(settings: Settings) -> Fetcher:
    """For MTA-STS: no redirect is followed, and it is text (RFC 8461 §3.3)."""
    return replace(Fetcher.of(settings, most=LARGEST_POLICY), within=60.0, redirects=0, kind="text/plain")


def doers(
    shared: Shared, delivery: Delivery, retention: Retention, *, is_over: Callable[[], bool]
) -> dict[Kind, Doing]:
    """Each kind of job with the one who does it. ``is_over``: this process is to end."""
    settings, writer, readers, unsealer = shared.settings, shared.writer, shared.readers, shared.unsealer
    sealing, url = shared.keys.sealing, settings.portal.url
    decision = Decision(writer, readers, open_field=unsealer.field, sealing=sealing, nta=shared.nta, now=now)
    telling = Telling(
        writer,
        readers,
        unsealer,
        hostname=settings.hostname,
        url=url,
        now=now,
        give_up_after=settings.delivery.patience().notification.give_up_after,
    )
    mailbox_mails = MailboxMails(writer, readers, unsealer, url=url, now=now)
    texting = Texting(writer, readers, unsealer, sms_driver(settings), now=now)
    answers = Answers(writer, readers, unsealer, url=url, now=now)
    continuing = Continuing(writer, readers, now=now)
    importing = Importing(
        writer,
        shared.aside,
        unsealer,
        shared.blobs,
        sealing=sealing,
        now=now,
        is_over=is_over,
        is_crowded=shared.crowd.is_there,
    )
    return {
        Kind.DECIDE: decision.decide,
        Kind.RELEASE: decision.release,
        Kind.TRANSMIT: delivery.transmit,
        Kind.REPORT: telling.report,
        Kind.REMIND: delivery.remind,
        Kind.UNREAD: telling.unread,
        Kind.DELAYED: telling.delayed,
        Kind.RELAYED: telling.relayed,
        Kind.CONFIRMED: telling.confirmed,
        Kind.WARN: telling.warn,
        Kind.HELD: telling.held,
        Kind.WITHHELD: telling.code_withheld,
        Kind.SMS: texting.send,
        Kind.MAILBOX: mailbox_mails.tell,
        Kind.ANSWERED: answers.answered,
        Kind.CONTINUES: continuing.continues,
        Kind.EXPIRE: retention.expire,
        Kind.IMPORT: importing.work,
    }
