"""Wires everything: the only module that knows all stops. Returns daemons; decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from zegel.core.clock import Instant
from zegel.core.policy.mta_sts import LARGEST_POLICY
from zegel.core.sms import PROVIDERS
from zegel.edge import keyring
from zegel.edge import metrics as meter
from zegel.edge.blobs import Blobs
from zegel.edge.certificates import (
    Files,
    LiveCertificate,
    Loaded,
    TroubleSeen,
    acme_files,
    acme_folder,
    self_signed,
)
from zegel.edge.clamd import Clamd
from zegel.edge.fetch import Fetcher
from zegel.edge.journal import Journal, JournalTrouble
from zegel.edge.log import (
    Broken,
    CertificateIssued,
    CertificateLoaded,
    CertificateNotIssued,
    CertificateTroubleSeen,
    Started,
    Stopped,
    configure,
    log,
)
from zegel.edge.sms import FolderSms, NoSms, ProviderSms, SmsDriver
from zegel.edge.sqlite import is_safe, shorten_log, use_current_sqlite
from zegel.edge.tls import opportunistic_context, server_context, verifying_context
from zegel.edge.wake import Bell, Crowd, Rope, ring
from zegel.settings import CONFIG_VARIABLE, Settings, load_from_environment

if TYPE_CHECKING:
    from zegel.accounts.models import Organisation
    from zegel.api.setup import Api
    from zegel.core.secret import Secret
    from zegel.edge.keyring import OpeningKeys
    from zegel.journey.arrival.listener import Desk
    from zegel.journey.custody.memory import OpensFields
    from zegel.journey.explain import Surroundings

Role = Literal["submission", "recorder", "inbound", "dispatch", "web", "certificates", "metrics"]
ROLE_VARIABLE: Final = "ZEGEL_ROLE"
MINIMUM_FREE: Final = 16 * 1024 * 1024  # octets; below, submissions get 452 while everything else goes on (P4)
GRACE: Final = 10.0  # seconds to finish what is under way
SWITCH: Final = 0.001  # seconds that the loop and the writer let each other wait for the interpreter, at most
GARBAGE: Final = 20_000  # objects made and not yet freed, before cycles are looked for
HATCH: Final = "recorder.hatch"  # where the submission processes hand over what is to be recorded
AFTER_TROUBLE: Final = 30.0  # seconds
SHORTEN: Final = 0.25  # seconds between two moves of what is in SQLite's log
WRITERS: Final = "writers.lock"  # on which the processes that write queue up
MIGRATIONS: Final = "django_migrations"  # the first table that is made
COUNTER: Final = "counting.lock"  # on which the process that counts days holds on
FILES: Final = 65_536  # open at once in one process
SQLITE_REMEDY: Final = "Is the disk full, or the file of another user? If it is damaged, put back your backup."
POSTGRESQL_REMEDY: Final = "Does its server run, and may this user come in? See database_url, and pg_hba.conf there."


class NotReady(Exception):
    """One sentence for the operator: what stands in the way of starting, and what to do."""


def now() -> Instant:
    """The wall clock."""
    return datetime.now(UTC)


def use(settings_file: Path | None, *, role: Role | None = None) -> None:
    """Makes this process (and those it starts) use a configuration file. Before :func:`start_django`."""
    if settings_file is not None:
        os.environ[CONFIG_VARIABLE] = str(settings_file.resolve())
    if role is not None:
        os.environ[ROLE_VARIABLE] = role
    os.environ["DJANGO_SETTINGS_MODULE"] = "zegel.web.settings"
    os.umask(0o077)  # what we write is nobody else's to read
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # memory with keys in it never becomes a file
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES:  # the usual 1024 is fewer than our connections
        most = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def start_django() -> None:
    """After this the models can be imported."""
    use_current_sqlite()
    import django

    django.setup()


def prepare(settings: Settings, *, restores: bool = False) -> bool:
    """Folders, keys, certificate and schema, as far as they are not there; ``True`` at the very first run.

    Raises :class:`NotReady` and :class:`zegel.edge.keyring.KeyTrouble`. Run by one process, before the others start.
    ``restores``: by the one that puts a backup back, which is not over yet.
    """
    if not restores:
        refuse_half_restored(settings)
    if settings.postgresql is None and not is_safe():
        raise NotReady(
            "The SQLite in use has a defect that can lose data (fixed in 3.51.3). Install the locked requirements, "
            "which bring a newer one."
        )
    try:
        for folder in (settings.folder, settings.blobs, settings.run):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as cause:
        raise NotReady(f"The folder {settings.folder} can't be made or written: {cause.strerror}.") from cause
    is_first = False
    if not keyring.is_there(settings.keys):
        if has_database(settings):
            where = settings.folder if settings.postgresql is None else settings.database_url
            raise NotReady(
                f"There is a database in {where} but no keys: what it holds could not be opened. "
                f"Put back your backup of {settings.keys}."
            )
        is_first = keyring.create(settings.keys)
    keyring.opening_keys(settings.keys)
    keyring.submission_keys(settings.keys)
    certificate_sources(settings)
    _migrate(settings)
    if not restores:
        _refuse_older_database(settings)
    return is_first


def refuse_half_restored(settings: Settings) -> None:
    """Raises :class:`NotReady` while a backup is being put back, or where that was interrupted."""
    if settings.restoring.exists():
        raise NotReady(
            f"A backup is being restored into {settings.folder}, or that was interrupted: what was destroyed since may "
            "be readable. Run `zegel restore` again, to its end."
        )


def erasure_journal(settings: Settings) -> Journal:
    """The journal of erasures of this gateway. Raises :class:`zegel.edge.keyring.KeyTrouble`."""
    return Journal(settings.erasure_journal, keyring.sealing_key(settings.keys).key_id)


def _refuse_older_database(settings: Settings) -> None:
    """A database that was put back by hand would bring back what was destroyed. Raises :class:`NotReady`."""
    from django.db import connection

    from zegel.journey.custody import erasures

    journal = erasure_journal(settings)
    try:
        if journal.path.exists():
            erasures.after(journal.last())
    except JournalTrouble as cause:
        raise NotReady(str(cause)) from cause
    finally:
        connection.close()


def release_leases() -> None:
    """Before the processes start, by the supervisor that holds the folder: nobody else can hold a lease."""
    from django.db import connection, transaction

    from zegel.journey.custody.jobs import release_everything

    with transaction.atomic():
        release_everything()
    connection.close()


def certificate_sources(settings: Settings) -> tuple[Files, ...]:
    """Where the submission server's certificate and key are looked for, the best first. Self-signed ones are made where
    the settings name none, and shown until an authority has given better ones."""
    section = settings.submission
    if section.certificate is not None and section.certificate_key is not None:
        return ((section.certificate, section.certificate_key),)
    own = self_signed(settings.hostname, settings.keys)
    if settings.acme.directory:
        return acme_files(acme_folder(settings.keys, settings.acme.directory)), own
    return (own,)


def turns(settings: Settings) -> Path | None:
    """On what the processes that write queue up; ``None``: PostgreSQL has a queue of its own."""
    return settings.run / WRITERS if settings.postgresql is None else None


def has_database(settings: Settings) -> bool:
    """It was made before; with PostgreSQL: it has our tables. Raises :class:`NotReady` where nobody can tell."""
    if settings.postgresql is None:
        return settings.database.exists()
    from django.db import DatabaseError, connection

    try:
        return MIGRATIONS in connection.introspection.table_names()
    except DatabaseError as cause:
        raise NotReady(unusable_database(cause)) from None
    finally:
        connection.close()


def unusable_database(cause: Exception) -> str:
    """What is said of it to the operator."""
    return f"The database can't be used: {words_of_database(cause)}. {database_remedy()}"


def words_of_database(cause: Exception) -> str:
    """Its own. PostgreSQL's hold no password, but may hold a row after the first line."""
    from django.db import connection

    if connection.vendor == "sqlite":
        return str(cause)
    said, _, more = str(cause).strip().partition("\n")
    told = more.strip().splitlines()[-1:] if said.endswith(":") else []  # several places were tried; the last one
    return " ".join([said, *told])


def database_remedy() -> str:
    """What to look at where it can't be used."""
    from django.db import connection

    return SQLITE_REMEDY if connection.vendor == "sqlite" else POSTGRESQL_REMEDY


def _require_server() -> None:
    """PostgreSQL can be relied on as it is set up. Raises :class:`NotReady`."""
    from zegel.edge import postgresql

    if faults := postgresql.faults(postgresql.ask):
        raise NotReady(f"The database can't be used: {faults[0].what}. {faults[0].remedy}")


def _migrate(settings: Settings) -> None:
    from django.core.management import call_command
    from django.db import DatabaseError, connection
    from django.db.migrations.executor import MigrationExecutor

    try:
        if settings.postgresql is not None:
            _require_server()
        loader = MigrationExecutor(connection).loader
        unknown = [key for key in loader.applied_migrations if key not in loader.disk_migrations]
        if unknown:
            raise NotReady(
                "The database was written by a newer version of Zegel. Start that version, or restore the backup from "
                "before the upgrade."
            )
        call_command("migrate", interactive=False, verbosity=0)
    except DatabaseError as cause:
        raise NotReady(unusable_database(cause)) from cause
    finally:
        connection.close()


# --- submission ---------------------------------------------------------------------------------------------------


async def submission(settings: Settings, ready: Callable[[], None]) -> None:
    """The door for mail servers, until SIGTERM. Holds the sealing key only."""
    from zegel.core.smtp.server import Profile
    from zegel.edge.database import Readers, Writer
    from zegel.edge.dns import DnsResolver
    from zegel.edge.hatch import Hatch
    from zegel.journey.arrival.apart import Recorder
    from zegel.journey.arrival.intake import Place
    from zegel.journey.arrival.listener import Desk
    from zegel.journey.custody.seal import Wrapper

    stop = _stop_event()
    own, readers = Writer(turns(settings), crowded=Crowd(settings.run).tell), Readers()
    section, keys = settings.submission, keyring.submission_keys(settings.keys)
    certificate = LiveCertificate(certificate_sources(settings), names=(settings.hostname,), now=now)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, certificate.look_now)
    writer = Recorder(Hatch(settings.run / HATCH), own) if section.has_recorder else own
    desk = Desk(
        Place(
            hostname=settings.hostname,
            keys=keys,
            wrapper=Wrapper(keys.sealing),
            blobs=Blobs(settings.blobs),
            writer=writer,
            readers=readers,
            dns=DnsResolver(settings.resolver(), trusted=is_trusted(settings)),
            now=now,
            ring=Rope(settings.run).pull,
        )
    )
    profile = Profile(
        hostname=settings.hostname,
        requires_auth=False,  # SPF may be the proof; the listener refuses who has neither
        offers_requiretls=True,
        max_size=section.max_size,
        max_recipients=section.max_recipients,
    )
    door = desk.door(profile, certificate.context)
    await door.open([(one.host, one.port) for one in section.listen])
    await door.open([(one.host, one.port) for one in section.listen_implicit_tls], implicit_tls=True)
    watches = [
        asyncio.create_task(_watch_space(settings, desk)),
        asyncio.create_task(certificate.watch(_tell_of_certificate)),
    ]
    log(Started("submission", " ".join(map(str, (*section.listen, *section.listen_implicit_tls)))))
    ready()
    await stop.wait()
    for watch in watches:
        watch.cancel()
    await door.close(grace=GRACE)
    writer.close()
    readers.close()
    log(Stopped("submission"))


def recorder(settings: Settings, ready: Callable[[], None]) -> None:
    """Commits what the submission processes took, until SIGTERM, and then until they have gone. Holds no key."""
    from zegel.edge.database import Scribe
    from zegel.edge.hatch import Serving
    from zegel.journey.arrival.apart import settle

    is_told, limit = threading.Event(), float("inf")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: is_told.set())
    scribe = Scribe(turns(settings), crowded=Crowd(settings.run).tell)
    serving = Serving(settings.run / HATCH)
    log(Started("recorder", ""))
    ready()
    while time.monotonic() < limit and (serving.is_asked or not is_told.is_set()):
        serving.round(lambda asked: settle(asked, scribe))
        if is_told.is_set() and limit == float("inf"):
            limit = time.monotonic() + GRACE + 2
    serving.close()
    log(Stopped("recorder"))


async def _watch_space(settings: Settings, desk: Desk) -> None:
    while True:
        with contextlib.suppress(OSError):
            desk.has_room = shutil.disk_usage(settings.folder).free > MINIMUM_FREE
        await asyncio.sleep(1.0)


def _tell_of_certificate(told: Loaded | TroubleSeen) -> None:
    match told:
        case Loaded(names, ends):
            log(CertificateLoaded(" ".join(names), ends.isoformat()))
        case TroubleSeen(what):
            log(CertificateTroubleSeen(what))


# --- inbound ------------------------------------------------------------------------------------------------------


async def inbound(settings: Settings, ready: Callable[[], None]) -> None:
    """The door for bounces of our own mail, until SIGTERM. Holds no key to mail."""
    from zegel.edge.database import Readers, Writer
    from zegel.journey.report.inbound import Homecoming

    stop = _stop_event()
    writer, readers = Writer(turns(settings)), Readers()
    certificate = LiveCertificate(certificate_sources(settings), names=(settings.hostname,), now=now)
    home = Homecoming(settings.hostname, writer, readers, now, Rope(settings.run).pull)
    door = home.door(certificate.context)
    await door.open([(one.host, one.port) for one in settings.inbound.listen])
    watch = asyncio.create_task(certificate.watch(_tell_of_certificate))
    log(Started("inbound", " ".join(map(str, settings.inbound.listen))))
    ready()
    await stop.wait()
    watch.cancel()
    await door.close(grace=GRACE)
    writer.close()
    readers.close()
    log(Stopped("inbound"))


# --- certificates -------------------------------------------------------------------------------------------------


async def certificates(settings: Settings, ready: Callable[[], None]) -> None:
    """Gets the submission server's certificate of an authority, until SIGTERM. Holds no key to mail."""
    from zegel.edge import acme

    def tell(told: acme.Told) -> None:
        match told:
            case acme.Issued(names, ends):
                log(CertificateIssued(" ".join(names), ends.isoformat()))
            case acme.NotIssued(what, again):
                log(CertificateNotIssued(what, again.isoformat()))

    def listening() -> None:
        log(Started("certificates", " ".join(map(str, section.listen))))
        ready()

    section, url = settings.acme, settings.portal.url
    await acme.keep(
        acme.Wanted(section.directory, settings.acme_names(), section.contact, section.extra_ca),
        acme_folder(settings.keys, section.directory),
        listen=[(one.host, one.port) for one in section.listen],
        now=now,
        stop=_stop_event(),
        tell=tell,
        elsewhere=url if url.startswith("https://") else None,
        ready=listening,
    )
    log(Stopped("certificates"))


# --- metrics ------------------------------------------------------------------------------------------------------


async def metrics(settings: Settings, ready: Callable[[], None]) -> None:
    """Shows what the other processes counted, and how things stand, until SIGTERM. Holds no key to mail."""
    from zegel.edge.dns import DnsResolver
    from zegel.edge.exposition import Door
    from zegel.edge.metrics import Taking, Totals
    from zegel.journey.watch import Watch

    stop, listen = _stop_event(), settings.metrics.listen
    assert listen is not None
    totals = Totals()
    trusted = is_trusted(settings)
    dns = DnsResolver(settings.resolver(), trusted=trusted)
    watch = Watch(settings, totals, dns, now, room=MINIMUM_FREE, trusted=trusted)
    taking = Taking(settings.run, totals)
    door = Door(listen.host, listen.port, totals, is_ready=watch.is_ready)
    looking = asyncio.create_task(watch.keep_looking())
    log(Started("metrics", str(listen)))
    ready()
    await stop.wait()
    looking.cancel()
    await asyncio.to_thread(door.close)
    await asyncio.to_thread(taking.close)
    log(Stopped("metrics"))


def count(settings: Settings, role: str) -> None:
    """This process counts what it logs, where the settings ask for metrics."""
    if settings.metrics.listen is not None:
        meter.start(settings.run, role)


# --- dispatch -----------------------------------------------------------------------------------------------------


async def dispatch(settings: Settings, ready: Callable[[], None]) -> None:
    """Decision, delivery and report, until SIGTERM. Holds the opening key."""
    from zegel.accounts import answered, audit, credentials, devices, lists, throttle
    from zegel.accounts.domain_watch import Watch
    from zegel.accounts.sessions import forget_ended as forget_ended_sessions
    from zegel.accounts.submitting import forget_usage
    from zegel.edge.database import Readers, Writer
    from zegel.edge.dns import DnsResolver
    from zegel.edge.nta import NtaLookup
    from zegel.journey import webhooks
    from zegel.journey.alarming import Alarming
    from zegel.journey.custody import outbox, traces
    from zegel.journey.custody.erasures import keep_journal
    from zegel.journey.custody.forgetting import forget_what_was_asked
    from zegel.journey.custody.jobs import Kind
    from zegel.journey.custody.numbers import Numbering
    from zegel.journey.custody.numbers import forget_old as forget_old_numbers
    from zegel.journey.custody.retention import Retention, empty_log, forget_drafts
    from zegel.journey.custody.unseal import Unsealer
    from zegel.journey.custody.worker import Worker
    from zegel.journey.decision.continuing import Continuing
    from zegel.journey.decision.decide import Decision
    from zegel.journey.delivery.answers import Answers
    from zegel.journey.delivery.connection import Contexts, Dialler
    from zegel.journey.delivery.deliver import Delivery
    from zegel.journey.delivery.places import Places
    from zegel.journey.delivery.sts import Policies, forget_ended
    from zegel.journey.delivery.texting import Texting
    from zegel.journey.delivery.tls_results import TlsResults
    from zegel.journey.delivery.tls_results import forget_old as forget_old_tls_results
    from zegel.journey.importing import Importing
    from zegel.journey.importing import forget_old as forget_old_imports
    from zegel.journey.report.domains import DomainMails
    from zegel.journey.report.mailbox import MailboxMails
    from zegel.journey.report.tell import Telling
    from zegel.web.sessions import forget_expired

    stop = _stop_event()
    crowd = Crowd(settings.run)
    # Two readers would mostly wait for each other's interpreter; what takes long is read aside.
    readers, aside = Readers(threads=1), Readers()
    writer, bell = Writer(turns(settings), is_crowded=crowd.is_there), Bell(settings.run)
    keys, blobs = keyring.opening_keys(settings.keys), Blobs(settings.blobs)
    unsealer = Unsealer(keys, blobs)
    dns = DnsResolver(settings.resolver(), trusted=is_trusted(settings))
    policies = Policies(dns, _policy_fetcher(settings), writer, readers, now)
    tls_results = TlsResults(writer, now, policies.missed)
    dialler = Dialler(
        helo=settings.hostname,
        port=settings.delivery.mx_port,
        contexts=Contexts(verifying_context(settings.delivery.extra_ca), opportunistic_context()),
        timeout=settings.delivery.timeout,
        now=now,
        tell=tls_results.ended,
    )
    nta, patience = NtaLookup(dns, settings.hostname, now), settings.delivery.patience()
    decision = Decision(writer, readers, open_field=unsealer.field, sealing=keys.sealing, nta=nta, now=now)
    delivery = Delivery(
        writer=writer,
        readers=readers,
        aside=aside,
        unsealer=unsealer,
        dns=dns,
        nta=nta,
        policies=policies,
        places=Places(max(1, settings.delivery.connections * 4 // 5), now),
        dialler=dialler,
        url=settings.portal.url,
        patience=patience,
        now=now,
        passed_over=tls_results.passed_over,
    )
    telling = Telling(
        writer,
        readers,
        unsealer,
        hostname=settings.hostname,
        url=settings.portal.url,
        now=now,
        give_up_after=patience.notification.give_up_after,
    )
    mailbox_mails = MailboxMails(writer, readers, unsealer, url=settings.portal.url, now=now)
    texting = Texting(writer, readers, unsealer, sms_driver(settings), now=now)
    retention = Retention(writer, blobs, now=now)
    answers = Answers(writer, readers, unsealer, url=settings.portal.url, now=now)
    continuing = Continuing(writer, readers, now=now)
    importing = Importing(
        writer,
        aside,
        unsealer,
        blobs,
        sealing=keys.sealing,
        now=now,
        is_over=stop.is_set,
        is_crowded=crowd.is_there,
    )
    worker = Worker(
        {
            Kind.DECIDE: decision.decide,
            Kind.RELEASE: decision.release,
            Kind.TRANSMIT: delivery.transmit,
            Kind.REPORT: telling.report,
            Kind.REMIND: delivery.remind,
            Kind.UNREAD: telling.unread,
            Kind.DELAYED: telling.delayed,
            Kind.RELAYED: telling.relayed,
            Kind.WARN: telling.warn,
            Kind.HELD: telling.held,
            Kind.WITHHELD: telling.code_withheld,
            Kind.SMS: texting.send,
            Kind.MAILBOX: mailbox_mails.tell,
            Kind.ANSWERED: answers.answered,
            Kind.CONTINUES: continuing.continues,
            Kind.EXPIRE: retention.expire,
            Kind.IMPORT: importing.work,
        },
        writer=writer,
        bell=bell,
        most=settings.delivery.connections,
        now=now,
        chores=dialler.tidy,
        is_crowded=crowd.is_there,
    )
    is_over = threading.Event()
    if settings.postgresql is None:
        threading.Thread(target=_keep_log_short, args=(settings, is_over), daemon=True).start()
    sweeping = asyncio.create_task(
        retention.keep_sweeping(
            lambda: forget_expired(now()),
            lambda: forget_drafts(now()),
            forget_what_was_asked,
            lambda: throttle.forget_old(now()),
            lambda: credentials.forget_failures(now()),
            lambda: answered.forget_old(now()),
            lambda: devices.forget_expired(now()),
            lambda: forget_ended_sessions(now()),
            lambda: forget_usage(now()),
            lambda: forget_ended(now()),
            lambda: forget_old_tls_results(now()),
            lambda: forget_old_imports(now()),
            lambda: audit.shorten(now()),
            lambda: traces.shorten(now, remove=blobs.remove, clear=empty_log),
            lambda: forget_old_numbers(now()),
            lambda: outbox.forget_old(now()),
        )
    )
    refreshing = lists.Refreshing(lists.fetcher(settings), now=now, gained=release_held(settings))
    refreshing.start()
    watch = Watch(
        writer,
        readers,
        dns,
        gateway=settings.hostname,
        sealing=keys.sealing,
        now=now,
        tell=DomainMails(writer, readers, unsealer, url=settings.portal.url, now=now).tell,
    )
    hooks = webhooks.Telling(writer, readers, open_field=unsealer.field, tells=webhooks.fetcher(settings), now=now)
    alarming = Alarming(writer, readers, settings, sealing=keys.sealing, now=now)
    numbering = Numbering(settings.run / COUNTER, now=now)
    numbering.start()
    log(Started("dispatch", ""))
    ready()
    watching = asyncio.create_task(watch.keep_looking())
    telling_programs = asyncio.create_task(hooks.keep_telling())
    telling_of_alarms = asyncio.create_task(alarming.keep_looking())
    counting = asyncio.create_task(tls_results.keep_writing())
    running = asyncio.create_task(worker.run())
    journalling = asyncio.create_task(keep_journal(erasure_journal(settings), readers))
    await stop.wait()
    worker.stop()
    await running
    refreshing.stop()
    is_over.set()
    numbering.stop()
    sweeping.cancel()
    watching.cancel()
    telling_programs.cancel()
    telling_of_alarms.cancel()
    journalling.cancel()
    await dialler.close()
    tls_results.stop()
    await counting
    bell.close()
    writer.close()
    readers.close()
    aside.close()
    log(Stopped("dispatch"))


def _keep_log_short(settings: Settings, is_over: threading.Event) -> None:
    """What is committed moves from SQLite's log into its file beside the commits. Else every few hundredth commit would
    do that first, and all who wait for it would wait for some twenty milliseconds more."""
    from django.db import connection

    wal, seen = settings.database.with_name(f"{settings.database.name}-wal"), 0
    while not is_over.wait(SHORTEN):
        try:
            written = wal.stat().st_mtime_ns
            if written != seen:
                with connection.cursor() as cursor:
                    shorten_log(lambda pragma: cursor.execute(pragma).fetchone())
                seen = written
        except FileNotFoundError:
            pass
        except Exception as cause:  # a full disk: commits do it themselves, as far as they can
            log(Broken("shortening the log", cause))
            connection.close()
            is_over.wait(AFTER_TROUBLE)
    connection.close()


def release_held(settings: Settings) -> Callable[[Organisation], None]:
    """Inside a transaction: an organisation delivers more readable than before; whoever is held is decided again."""
    from django.db import transaction

    from zegel.journey import milestones
    from zegel.journey.custody.held import held_of

    def release(organisation: Organisation) -> None:
        milestones.supplied(held_of(organisation), now=now())
        transaction.on_commit(lambda: ring(settings.run))

    return release


def _policy_fetcher(settings: Settings) -> Fetcher:
    """For MTA-STS: no redirect is followed, and it is text (RFC 8461 §3.3)."""
    return replace(Fetcher.of(settings, most=LARGEST_POLICY), within=60.0, redirects=0, kind="text/plain")


def sms_driver(settings: Settings) -> SmsDriver:
    """The driver that the settings name."""
    if settings.sms.driver == "folder" and settings.sms.folder is not None:
        return FolderSms(settings.sms.folder)
    return ProviderSms.of(settings) if settings.sms.driver in PROVIDERS else NoSms()


def is_trusted(settings: Settings) -> bool:
    """standards B: the AD bit counts from a validator on loopback, or from one that the settings name."""
    resolver = settings.resolver()
    return resolver is not None and (settings.delivery.resolver is not None or ip_address(resolver[0]).is_loopback)


# --- web ----------------------------------------------------------------------------------------------------------


def web_application() -> Any:
    """The WSGI application; called once in each worker process of the web role."""
    settings = load_from_environment()
    use(None, role="web")
    configure(settings.log_level)
    start_django()
    from zegel.api import setup as api
    from zegel.journey.custody.unseal import Unsealer
    from zegel.journey.portal import setup
    from zegel.web.application import application

    keys, blobs = keyring.opening_keys(settings.keys), Blobs(settings.blobs)
    unsealer = Unsealer(keys, blobs)
    count(settings, "web")
    api.configure(_api(settings, keys, unsealer.field))
    setup.configure(
        setup.Portal(
            unsealer=unsealer,
            blobs=blobs,
            keys=keys,
            url=settings.portal.url,
            ring=lambda: ring(settings.run),
            now=now,
            answer_limit=settings.portal.answer_limit,
            scanner=Clamd(settings.portal.clamd) if settings.portal.clamd is not None else None,
        )
    )
    _end_with_parent()
    made = application()
    collect_less()
    return made


def _api(settings: Settings, keys: OpeningKeys, open_field: OpensFields) -> Api:
    """What the API works with. A message that is sent through it takes the way of one that comes by SMTP."""
    from zegel.api.mailroom import Mailroom
    from zegel.api.setup import Api
    from zegel.core.seal.slot import derive
    from zegel.edge.database import Readers, Writer
    from zegel.edge.dns import DnsResolver
    from zegel.journey.arrival.intake import Place
    from zegel.journey.custody.seal import Wrapper

    def dns() -> DnsResolver:
        return DnsResolver(settings.resolver(), trusted=is_trusted(settings))

    def furnish() -> Place:
        return Place(
            hostname=settings.hostname,
            keys=keyring.submission_keys(settings.keys),
            wrapper=Wrapper(keys.sealing),
            blobs=Blobs(settings.blobs),
            writer=Writer(turns(settings), crowded=Crowd(settings.run).tell),
            readers=Readers(threads=1),
            dns=dns(),
            now=now,
            ring=lambda: ring(settings.run),
        )

    return Api(
        dry_run(settings, open_field, keys.marker),
        now,
        sealing=keys.sealing,
        answers_key=derive(keys.web, "api-answers"),
        mailroom=Mailroom(
            furnish,
            max_size=settings.submission.max_size,
            max_recipients=settings.submission.max_recipients,
            has_room=lambda: shutil.disk_usage(settings.folder).free > MINIMUM_FREE,
        ),
        blobs=Blobs(settings.blobs),
        dns=dns,
        hostname=settings.hostname,
        ring=lambda: ring(settings.run),
    )


def dry_run(settings: Settings, open_field: OpensFields, marker: Secret[bytes]) -> Surroundings:
    """What ``explain`` works with. Each run asks the DNS anew: resolvers belong to one event loop."""
    from zegel.edge.dns import DnsResolver
    from zegel.edge.nta import NtaLookup
    from zegel.journey.explain import Surroundings

    def nta() -> NtaLookup:
        return NtaLookup(DnsResolver(settings.resolver(), trusted=is_trusted(settings)), settings.hostname, now)

    return Surroundings(open_field, marker, nta, now)


def serve_web(settings: Settings) -> None:
    """Granian in this process until SIGTERM."""
    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    section = settings.portal
    if section.certificate is not None and section.certificate_key is not None:
        server_context(section.certificate, section.certificate_key)  # says in a sentence what Granian would not
    server = Granian(
        "zegel.compose:web_application",
        factory=True,
        interface=Interfaces.WSGI,
        address=section.listen.host,
        port=section.listen.port,
        workers=section.processes,
        blocking_threads=section.threads,
        respawn_failed_workers=True,
        log_access=False,
        log_level=LogLevels.warning,
        ssl_cert=section.certificate,
        ssl_key=section.certificate_key,
        workers_kill_timeout=5,
    )
    log(Started("web", str(section.listen)))
    server.serve()
    log(Stopped("web"))


# --- processes ----------------------------------------------------------------------------------------------------


def collect_less() -> None:
    """What was imported stays: looking through it again and again costs a tenth of all."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)


def run_role(settings: Settings, role: Role) -> None:
    """Runs one role in this process until SIGTERM, or until the process that started it is gone."""
    refuse_half_restored(settings)
    configure(settings.log_level, together=role in ("submission", "inbound", "dispatch"))
    if role != "certificates":
        start_django()
    if os.environ.get("ZEGEL_CHILD"):
        threading.Thread(target=end_with_stdin, daemon=True).start()
    if role == "web":
        serve_web(settings)
        return
    if role == "recorder":
        count(settings, role)
        collect_less()
        recorder(settings, _tell_ready)
        meter.stop()
        return
    import uvloop

    sys.setswitchinterval(SWITCH)
    collect_less()
    daemons = {
        "submission": submission,
        "inbound": inbound,
        "dispatch": dispatch,
        "certificates": certificates,
        "metrics": metrics,
    }
    count(settings, role)
    uvloop.run(daemons[role](settings, _tell_ready))
    meter.stop()


def _tell_ready() -> None:
    if os.environ.get("ZEGEL_CHILD"):
        sys.stdout.write("ready\n")
        sys.stdout.flush()


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def end_with_stdin() -> None:
    """The supervisor holds the other end of our standard input: its death, even by kill -9, ends us in good order."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _end_with_parent() -> None:
    """A worker whose server was killed must not keep the port."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            threading.Event().wait(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(5.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
