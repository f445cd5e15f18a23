"""Is all well, and what became of the mail: doctor, evidence, keys."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import click

from zegel.cli.base import Trouble, config_option, ready, settings_of, tells_trouble
from zegel.cli.supervise import answers, is_running, trouble_binding
from zegel.compose import clock, process
from zegel.compose.database import SQLITE_REMEDY, database_remedy, has_database, words_of_database
from zegel.compose.parts import is_trusted
from zegel.compose.process import NotReady
from zegel.compose.state import MINIMUM_FREE, erasure_journal
from zegel.core.seal.wrap import CannotOpen
from zegel.edge import keyring, postgresql, sqlite
from zegel.edge.certificates import Fault, acme_files, acme_folder, self_signed_files
from zegel.edge.certificates import examine as examine_certificate
from zegel.edge.clamd import Clamd, NotExamined
from zegel.edge.journal import JournalTrouble
from zegel.edge.tls import CertificateTrouble, verifying_context

if TYPE_CHECKING:
    from zegel.accounts.models import SendingDomain
    from zegel.edge.dns import Answer, Resolver
    from zegel.journey.custody.models import Conversation, Recipient
    from zegel.settings import DatabasePlace, Settings, Sms

Verdict = Literal["good", "look", "test", "bad"]
BACKUP_MARK = keyring.COPIED
_SIGNS: dict[Verdict, tuple[str, str]] = {
    "good": ("ok  ", "green"),
    "look": ("look", "yellow"),
    "test": ("TEST", "red"),  # as red as it gets, and no fault where a gateway is being tested
    "bad": ("BAD ", "red"),
}
MOST_DOMAINS = 50  # whose records are looked up
LOW_SPACE = 1_000_000_000  # octets
_KEYS = (keyring.SEALING, keyring.SUBMISSION, keyring.OPENING)
_LARGEST_KEY = 100_000  # octets


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, what was found, and what to do."""

    verdict: Verdict
    what: str
    remedy: str = ""


@click.command()
@config_option
@tells_trouble
def doctor(config: Path | None) -> None:
    """Check configuration, keys, disk, database, resolver, clock, certificates, ports and domains; say what to do.

    Exit code 1 when something is bad.
    """
    settings = settings_of(config)
    process.start_django()
    worst = 0
    for check in examine(settings):
        sign, colour = _SIGNS[check.verdict]
        click.echo(f"{click.style(sign, fg=colour)}  {check.what}")
        if check.remedy:
            click.echo(f"      {check.remedy}")
        worst = max(worst, int(check.verdict == "bad"))
    raise click.exceptions.Exit(worst)


def examine(settings: Settings) -> Iterator[Check]:
    """All checks, one after the other; none of them changes anything."""
    yield Check("good", f"configuration: folder {settings.folder}, host name {settings.hostname}")
    if settings.testing:
        yield Check(
            "test", "testing = true: settings for tests are in force", "Remove it before real mail passes here."
        )
    if settings.hostname == "localhost" and not settings.testing:
        yield Check("bad", "hostname is localhost", "Set hostname to the name that mail servers know this machine by.")
    for examiner in (
        _keys,
        _backup,
        _folders,
        _disk,
        _database,
        _erasures,
        _restored,
        _certificate,
        _resolver,
        _clock,
        _listeners,
        _domains,
        _lists,
        _sms,
        scanner,
    ):
        try:
            yield from examiner(settings)
        except Exception as cause:  # a doctor that faints helps nobody
            name, why = examiner.__name__.strip("_"), getattr(cause, "strerror", None) or cause
            yield Check("bad", f"{name}: could not be checked ({type(cause).__name__})", f"It said: {why}")


def scanner(settings: Settings) -> Iterator[Check]:
    """Whether the malware scanner answers, where one is set."""
    place = settings.portal.clamd
    if place is None:
        return
    try:
        version = Clamd(place, patience=5.0).version()
    except NotExamined as cause:
        yield Check(
            "bad",
            f"malware: no answer of clamd at {place} ({cause.why.value})",
            "Guests can't send answers until it answers. Start it, or correct portal.clamd.",
        )
    else:
        yield Check("good", f"malware: {version} answers at {place}")


def _keys(settings: Settings) -> Iterator[Check]:
    if not keyring.is_there(settings.keys) and not _has_database(settings):
        yield Check("look", f"keys: none yet in {settings.keys}", "`zegel run` makes them at its first start.")
        return
    try:
        keyring.opening_keys(settings.keys)
        keyring.submission_keys(settings.keys)
    except keyring.KeyTrouble as cause:
        yield Check("bad", "keys", str(cause))
    else:
        yield Check("good", f"keys: complete, closed to other users ({settings.keys})")


def _backup(settings: Settings) -> Iterator[Check]:
    if not keyring.is_there(settings.keys):
        return
    remedy = "Without the keys nobody reads the stored mail again. Run: zegel keys backup FILE, and keep it elsewhere."
    try:
        made, _, of = (settings.keys / BACKUP_MARK).read_text("ascii").strip().partition(" ")
    except FileNotFoundError:
        yield Check("look", "keys: no backup was made", remedy)
        return
    if of != keyring.fingerprint(settings.keys):
        yield Check("look", f"keys: they are others than those of the backup of {made or 'an earlier version'}", remedy)
    else:
        yield Check("good", f"keys: backup made on {made}")


def _folders(settings: Settings) -> Iterator[Check]:
    """Whoever may write in a folder may put other keys, or another database, in the place of ours."""
    for folder in (settings.folder, settings.keys, settings.blobs):
        if folder.is_dir() and (mode := folder.stat().st_mode & 0o077):
            what = "written" if mode & 0o022 else "looked into"
            verdict: Verdict = "bad" if mode & 0o022 else "look"
            yield Check(verdict, f"folder {folder} can be {what} by other users", f"Run: chmod 700 {folder}")


def _disk(settings: Settings) -> Iterator[Check]:
    nearest = next(path for path in (settings.folder, *settings.folder.parents) if path.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        remedy = "Choose another in the setting folder, or give it to the user that Zegel runs as."
        yield Check("bad", f"disk: {nearest} can't be written", remedy)
        return
    if nearest != settings.folder:
        yield Check("look", f"disk: no folder {settings.folder} yet", "`zegel run` makes it at its first start.")
        return
    free = shutil.disk_usage(settings.folder).free
    text = f"disk: {free / 1e9:.1f} GB free at {settings.folder}"
    if free < MINIMUM_FREE:
        yield Check("bad", text, "Mail is refused with 452 until there is room. Free some space.")
    elif free < LOW_SPACE:
        yield Check("look", text, "Below 16 MB mail is refused with 452. Free some space in time.")
    else:
        yield Check("good", text)


def _has_database(settings: Settings) -> bool:
    """Also ``False`` where it can't be reached, which :func:`_database` tells."""
    try:
        return has_database(settings)
    except NotReady:
        return False


def _database(settings: Settings) -> Iterator[Check]:
    from django.db import DatabaseError, connection
    from django.db.migrations.executor import MigrationExecutor

    if settings.postgresql is not None:
        yield from _server(settings.postgresql)
    elif not sqlite.is_safe():
        yield Check("bad", "database: this SQLite can lose data", "Install the locked requirements.")
    try:
        if not has_database(settings):
            yield Check("look", "database: not made yet", "`zegel run` makes it at its first start.")
            return
    except NotReady:  # told above
        return
    if settings.postgresql is None and not os.access(settings.database, os.W_OK):
        yield Check("bad", f"database: {settings.database} can't be written", SQLITE_REMEDY)
        return
    try:
        executor = MigrationExecutor(connection)
    except DatabaseError as cause:
        yield Check("bad", f"database: can't be used ({words_of_database(cause)})", database_remedy())
        return
    known = executor.loader.disk_migrations or {}
    if any(key not in known for key in executor.loader.applied_migrations or {}):
        yield Check("bad", "database: written by a newer Zegel", "Start that version, or restore an older backup.")
    elif executor.migration_plan(executor.loader.graph.leaf_nodes()):
        yield Check("look", "database: of an older Zegel", "`zegel run` brings it up to date; make a backup first.")
    elif settings.postgresql is None:
        yield _durability()
    else:
        yield Check("good", "database: up to date")


def _server(place: DatabasePlace) -> Iterator[Check]:
    """Of PostgreSQL: whether it is there, can be used, and keeps what it says it keeps; who we are there."""
    from django.db import DatabaseError

    try:
        faults = [*postgresql.faults(postgresql.ask), *postgresql.undurable(postgresql.ask)]
        seen = postgresql.looked_at(postgresql.ask)
    except DatabaseError as cause:
        yield Check("bad", f"database: can't be used ({words_of_database(cause)})", database_remedy())
        return
    for fault in faults:
        yield Check("bad", f"database: {fault.what}", fault.remedy)
    way = seen.tls or ("over a socket" if place.host.startswith("/") else "in clear, on this machine")
    what = f"database: PostgreSQL {seen.version}, {seen.name} as {seen.user}, {way}"
    if seen.is_superuser:
        remedy = f"Nothing needs that. Run as an administrator there: ALTER ROLE {seen.user} NOSUPERUSER"
        yield Check("look", f"{what}, who may do anything there", remedy)
    elif not faults:
        yield Check("good", what)


def _durability() -> Check:
    """Of this connection, which is set as every other one is."""
    from django.db import connection

    version = ".".join(map(str, sqlite.version()))
    with connection.cursor() as cursor:
        journal, synchronous = (
            cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        )
    if (journal, synchronous) != ("wal", 2):
        remedy = "A power cut could lose accepted mail. Put folder on a disk of this machine, not on the network."
        return Check("bad", f"database: journal {journal}, synchronous {synchronous}, not WAL and FULL", remedy)
    return Check("good", f"database: up to date (SQLite {version}, WAL, synchronous FULL)")


def _erasures(settings: Settings) -> Iterator[Check]:
    """Whether a restored backup would learn what was destroyed since."""
    from django.db import DatabaseError

    from zegel.journey.custody import erasures

    if not _has_database(settings) or not keyring.is_there(settings.keys):
        return
    journal = erasure_journal(settings)
    try:
        missing = len(erasures.after(journal.last() if journal.path.exists() else 0))
    except DatabaseError:  # told above
        return
    except JournalTrouble as cause:
        yield Check("bad", "erasures", str(cause))
        return
    if missing and not is_running(settings):
        yield Check("look", f"erasures: {missing} are not in the journal", "`zegel run` writes them to it.")
    elif missing > 1:  # those of the last seconds
        yield Check("look", f"erasures: {missing} are not in the journal yet", "Look again; if they stay, see the log.")
    nearest = next(path for path in journal.path.parents if path.exists())  # its folder is made with the first of them
    if nearest.stat().st_dev == settings.folder.stat().st_dev:
        yield Check(
            "look",
            "erasures: their journal is on the disk of the data, and is lost with it",
            "A restored backup would bring back what was destroyed since. Set erasures to a folder on another disk.",
        )
    else:
        yield Check("good", f"erasures: their journal is on another disk ({journal.path})")


def _restored(settings: Settings) -> Iterator[Check]:
    """Whether a restore is unfinished, or mail is held since one."""
    from django.db import DatabaseError

    from zegel.journey.custody import restoring

    if settings.restoring.exists():
        yield Check("bad", "restore: not finished, nothing starts", "Run `zegel restore` again, to its end.")
    if not _has_database(settings):
        return
    try:
        held = restoring.waiting()
    except DatabaseError:  # told above
        return
    if held is not None:
        remedy = "See: zegel queue show; then zegel queue release, or zegel queue end."
        yield Check("look", f"restore: {held.counts.total()} jobs are held since {held.since:%F %T} UTC", remedy)


def _certificate(settings: Settings) -> Iterator[Check]:
    submission, portal, extra_ca = settings.submission, settings.portal, settings.delivery.extra_ca
    if submission.certificate is not None and submission.certificate_key is not None:
        yield _certificate_check(
            "certificate", submission.certificate, submission.certificate_key, wanted=(settings.hostname,)
        )
    elif settings.acme.directory:
        yield from _acme(settings)
    elif (made := self_signed_files(settings.keys)) is not None:
        yield _certificate_check("certificate", *made)
    else:
        yield Check("look", "certificate: none yet", "`zegel run` makes a self-signed one at its first start.")
    if portal.certificate is not None and portal.certificate_key is not None:
        yield _certificate_check("portal.certificate", portal.certificate, portal.certificate_key)
    if extra_ca is not None:
        try:
            verifying_context(extra_ca)
        except CertificateTrouble as cause:
            yield Check("bad", "delivery.extra_ca", str(cause))


def _acme(settings: Settings) -> Iterator[Check]:
    """What the authority gave, and what it last refused."""
    from zegel.edge.acme import last_try

    folder = acme_folder(settings.keys, settings.acme.directory)
    files = acme_files(folder)
    tried = last_try(folder)
    if files[0].exists():
        yield _certificate_check("certificate of the authority", *files, wanted=settings.acme_names())
    elif tried is None:
        yield Check("look", "certificate of the authority: none yet", "`zegel run` asks for one when it starts.")
    if tried is not None and tried.trouble is not None:
        verdict: Verdict = "look" if files[0].exists() else "bad"
        yield Check(verdict, f"authority: nothing given on {tried.at:%Y-%m-%d %H:%M} UTC", tried.trouble)


def _certificate_check(what: str, certificate: Path, key: Path, *, wanted: Sequence[str] = ()) -> Check:
    try:
        found = examine_certificate((certificate, key))
    except CertificateTrouble as cause:
        return Check("bad", what, str(cause))
    now = clock.now()
    for fault in found.faults(wanted, now):
        verdict: Verdict = "bad" if fault is Fault.EXPIRED else "look"
        return Check(verdict, f"{what}: {certificate} {found.say(fault, wanted)}", "Put a better one in its place.")
    names, days = ", ".join(found.names), (found.ends - now).days
    if found.is_self_signed:
        return Check(
            "look",
            f"{what}: self-signed, for {names}",
            "Mail servers that verify refuse it. Name one of a CA in submission.certificate and certificate_key, or "
            "let Zegel get one: [acme].",
        )
    if found.is_ending(now):
        return Check("look", f"{what}: for {names}, {days} days left", "Renew it.")
    return Check("good", f"{what}: for {names}, {days} days left")


def _resolver(settings: Settings) -> Iterator[Check]:
    from zegel.edge.dns import DnsResolver, Found
    from zegel.edge.dns import Trouble as DnsTrouble

    name = settings.delivery.resolver or "of this machine"
    trusted = is_trusted(settings)
    try:
        resolver = DnsResolver(settings.resolver(), trusted=trusted)
        started = time.monotonic()
        answer = asyncio.run(resolver.ask("test" if settings.testing else "nl", "SOA"))
    except Exception as cause:
        yield Check("bad", f"resolver {name}: {type(cause).__name__}", "Set delivery.resolver to a working resolver.")
        return
    if isinstance(answer, DnsTrouble):
        yield Check(
            "bad",
            f"resolver {name}: no answer ({answer.reason})",
            "Mail waits until it answers. Start it, or set delivery.resolver to another.",
        )
        return
    took = f"{(time.monotonic() - started) * 1000:.0f} ms"
    if isinstance(answer, Found) and answer.secure:
        yield Check("good", f"resolver {name}: validates, answered in {took}")
    elif trusted:
        remedy = "Without DNSSEC no DANE. Install unbound, or name a resolver that validates."
        yield Check("look", f"resolver {name}: answered in {took}, and does not validate", remedy)
    else:
        remedy = 'It is not trusted with DNSSEC: no DANE. Install unbound, and set delivery.resolver = "127.0.0.1".'
        yield Check("look", f"resolver {name}: answered in {took}", remedy)
    yield from asyncio.run(_names(settings, resolver))


async def _names(settings: Settings, resolver: Resolver) -> list[Check]:
    """What the DNS says of the gateway's own name, and whether the records of its domains are there now."""
    from zegel.edge.dns import Found

    checks = []
    host = settings.hostname
    if "." in host and not host.replace(".", "").isdigit():
        addresses = [one for kind in ("A", "AAAA") for one in _records_of(await resolver.ask(host, kind))]
        if not addresses:
            remedy = "Mail servers don't find this gateway. Publish an A or AAAA record for it, or correct hostname."
            checks.append(Check("bad", f"hostname {host}: has no address in the DNS", remedy))
        for address in addresses:
            checks.append(_named_back(host, address, await resolver.ask(reverse_name(address), "PTR")))
    portal = urlsplit(settings.portal.url).hostname or ""
    if "." in portal and portal != host and not portal.replace(".", "").isdigit():
        answers = [await resolver.ask(portal, kind) for kind in ("A", "AAAA")]
        if not any(isinstance(one, Found) for one in answers):
            remedy = "Recipients don't find the portal. Publish an A or AAAA record for it, or correct portal.url."
            checks.append(Check("bad", f"portal.url: {portal} has no address in the DNS", remedy))
    return checks


def _records_of(answer: Answer) -> tuple[str, ...]:
    from zegel.edge.dns import Found

    return answer.records if isinstance(answer, Found) else ()


def _named_back(host: str, address: str, answer: Answer) -> Check:
    names = [one.rstrip(".").lower() for one in _records_of(answer)]
    if host.lower() in names or ip_address(address).is_loopback:
        return Check("good", f"hostname {host}: {address}")
    remedy = f"Receiving servers distrust that. Have the owner of {address} publish a PTR record with {host}."
    return Check("look", f"hostname {host}: {address} does not name it back", remedy)


def reverse_name(address: str) -> str:
    """Where the PTR record of an address is (RFC 1035 §3.5)."""
    return ip_address(address).reverse_pointer


def _clock(settings: Settings) -> Iterator[Check]:
    year = clock.now().year
    newest = max((path.stat().st_mtime for path in settings.folder.glob("*")), default=0)
    if year < 2026 or newest > time.time() + 60:
        yield Check(
            "bad", "clock: runs behind what is stored here", "Set the time (NTP): codes and expiry depend on it."
        )
    else:
        yield Check("good", "clock: not behind what is stored")


def _listeners(settings: Settings) -> Iterator[Check]:
    runs = is_running(settings)
    for what, setting, listen in (
        *(("submission", "submission.listen", one) for one in settings.submission.listen),
        *(("submission", "submission.listen_implicit_tls", one) for one in settings.submission.listen_implicit_tls),
        *(("inbound", "inbound.listen", one) for one in settings.inbound.listen),
        ("portal", "portal.listen", settings.portal.listen),
    ):
        if answers(listen) and runs:
            yield Check("good", f"{what}: answers at {listen}")
        elif answers(listen):
            remedy = f"If that is not a role of Zegel started by itself, stop it, or change {setting}."
            yield Check("look", f"{what}: something answers at {listen}, but `zegel run` is not running", remedy)
        elif not runs and (trouble := trouble_binding(setting, listen)) is not None:
            yield Check("bad", f"{what}: nobody answers at {listen}, and Zegel could not", trouble)
        else:
            yield Check("look", f"{what}: nobody answers at {listen}", "Start it with: zegel run")
    if not settings.inbound.listen:
        yield Check(
            "look",
            "inbound: bounces don't come home, so senders don't hear of mail that is refused after it was taken",
            'Set inbound.listen = ["0.0.0.0:25"], and let port 25 through to this machine.',
        )
    if settings.portal.url.startswith("http://") and not settings.testing:
        host = settings.portal.url.removeprefix("http://").split("/")[0].split(":")[0]
        if host not in ("localhost", "127.0.0.1"):
            yield Check("bad", "portal.url is not https", "Put a TLS proxy before it, or name portal.certificate.")


def _domains(settings: Settings) -> Iterator[Check]:
    from django.db import DatabaseError

    from zegel.accounts.models import SendingDomain

    if not _has_database(settings):
        return
    try:
        found = list(SendingDomain.objects.prefetch_related("dkim_pairs").order_by("name", "pk"))
    except DatabaseError:  # told above
        return
    live = _missing_now(settings, found[:MOST_DOMAINS])
    for domain in found:
        for name, kind in live.get(domain.name, ()):
            remedy = f"See what is expected with: zegel domain check {domain.name}"
            yield Check("look", f"domain {domain.name}: {name} {kind} is not found, or different", remedy)
        yield from _of_checks(domain)
        if domain.in_place:
            yield Check("good", f"domain {domain.name}: DNS settings in place")
        elif domain.is_held_elsewhere:
            remedy = "Take the other organisation's ownership record out of the DNS, or remove the domain there."
            yield Check(
                "bad", f"domain {domain.name}: another organisation has it, so its mail is refused here", remedy
            )
        else:
            remedy = f"See what lacks with: zegel domain check {domain.name}"
            yield Check("bad", f"domain {domain.name}: DNS settings not in place, its mail is refused", remedy)


def _of_checks(domain: SendingDomain) -> Iterator[Check]:
    """What stored checks found, and what waits for somebody."""
    from zegel.core.policy.sending_domain import LONGEST, PATIENCE, safe_to_end

    what, now = f"domain {domain.name}", clock.now()
    if domain.in_place and domain.missing_since is not None:
        remedy = f"Put them back; see what is expected with: zegel domain check {domain.name}"
        until = f"{domain.missing_since + PATIENCE:%Y-%m-%d %H:%M} UTC"
        yield Check("bad", f"{what}: needed DNS records are missing, its mail is refused from {until}", remedy)
    if domain.in_place and domain.tried_at is not None and now - domain.tried_at > 2 * LONGEST:
        yield Check("look", f"{what}: not checked since {domain.tried_at:%Y-%m-%d}", "Is dispatch running?")
    elif domain.not_known:
        remedy = f"Does the resolver work? Try: zegel domain check {domain.name}"
        yield Check("look", f"{what}: the last check got no answer about some records", remedy)
    for pair in domain.dkim_pairs.all():
        if pair.stage == pair.Stage.PREVIOUS and safe_to_end(pair.at) <= now:
            remedy = f"End them: zegel domain end-previous-dkim {domain.name}"
            yield Check("look", f"{what}: previous DKIM keys {pair.selector} are of no use any more", remedy)
        if pair.stage == pair.Stage.NEXT and safe_to_end(pair.at) <= now:
            remedy = f"Publish it; see what is expected with: zegel domain check {domain.name}"
            yield Check("look", f"{what}: new DKIM keys wait for their record since {pair.at:%Y-%m-%d}", remedy)


def _missing_now(settings: Settings, found: Sequence[SendingDomain]) -> dict[str, list[tuple[str, str]]]:
    """By domain the needed records that the DNS surely doesn't have as they should be; nothing is recorded of it."""
    from zegel.accounts import domains
    from zegel.edge.dns import DnsResolver, Trouble

    wanted = [domains.records(one, settings.hostname) for one in found]

    async def look() -> dict[str, list[tuple[str, str]]]:
        resolver = DnsResolver(settings.resolver(), lifetime=3.0)
        if not found or isinstance(await resolver.ask(found[0].name, "SOA"), Trouble):
            return {}
        seen = await asyncio.gather(*(domains.look(one, dns=resolver) for one in wanted))
        return {
            domain.name: [
                (one.record.name, one.record.kind)
                for one in findings
                if one.record.is_needed and one.is_conclusive and not one.is_right
            ]
            for domain, findings in zip(found, seen, strict=True)
        }

    return asyncio.run(look())


def _lists(settings: Settings) -> Iterator[Check]:
    from django.db import DatabaseError

    from zegel.accounts.lists import EVERY, SPREAD, Problem
    from zegel.accounts.models import DirectDeliveryList
    from zegel.journey.decision.facts import LIST_LAPSES

    if not _has_database(settings):
        return
    try:
        found = list(DirectDeliveryList.objects.exclude(url="").select_related("organisation").order_by("pk"))
    except DatabaseError:  # told above
        return
    late = clock.now() - 2 * EVERY - timedelta(seconds=SPREAD)
    for one in found:
        what = f"list {one.name} of {one.organisation}"
        problem = Problem.of(one.problem)
        why = " ".join(problem.sentences()) if problem else "It was not tried lately: is dispatch running?"
        remedy = f"{why} Try it with: zegel lists refresh {one.name!r}"
        if one.read_at is None:
            yield Check("bad", f"{what}: never read, no domain of it counts", remedy)
        elif one.read_at <= clock.now() - LIST_LAPSES:
            days = LIST_LAPSES.days
            yield Check(
                "bad", f"{what}: lapsed, it could not be read for {days} days; its domains count no more", remedy
            )
        elif problem or one.tried_at is None or one.tried_at < late:
            yield Check("look", f"{what}: last read on {one.read_at:%Y-%m-%d %H:%M} UTC", remedy)
        else:
            yield Check("good", f"{what}: read on {one.read_at:%Y-%m-%d %H:%M} UTC")


def _sms_secret(sms: Sms) -> Check:
    known = f"sms: driver {sms.driver}"
    if sms.secret is None or (sms.secret.is_file() and sms.secret.read_text("utf-8").strip()):
        return Check("good", known)
    return Check("bad", f"{known}, without a secret", f"{sms.secret} is empty or not there: put the token in it.")


def _sms(settings: Settings) -> Iterator[Check]:
    if settings.sms.driver == "none":
        yield Check("look", "sms: no driver", "Codes by SMS can't be sent. Set sms.driver: docs/sms.md.")
    elif settings.sms.driver == "folder" and not settings.testing:
        yield Check("look", "sms: codes are written to a folder", "Nobody gets them. Choose a provider's driver.")
    else:
        yield _sms_secret(settings.sms)


@click.command()
@config_option
@tells_trouble
def alive(config: Path | None) -> None:
    """Whether every door of this gateway answers, for a program that watches it. Exit code 1 when one doesn't."""
    settings = settings_of(config)
    doors = (
        *settings.submission.listen,
        *settings.submission.listen_implicit_tls,
        *settings.inbound.listen,
        settings.portal.listen,
    )
    silent = [str(listen) for listen in doors if not answers(listen)]
    click.echo(f"Nobody answers at {', '.join(silent)}." if silent else "All doors answer.")
    raise click.exceptions.Exit(int(bool(silent)))


@click.command()
@click.option("--message-id", help="Only the message with this Message-ID.")
@config_option
@tells_trouble
def evidence(message_id: str | None, config: Path | None) -> None:
    """Print, one JSON object a line, what is held of every conversation and recipient.

    Message-ID, SHA-256 of the content as stored (control fields and Bcc removed, trace fields added) and of its body,
    state and times. Reads content to hash it: takes the opening key, and prints none of it.
    """
    settings = ready(config)
    from zegel.edge.blobs import Blobs
    from zegel.journey.custody.models import Conversation
    from zegel.journey.custody.unseal import Unsealer

    unsealer = Unsealer(keyring.opening_keys(settings.keys), Blobs(settings.blobs))
    found = Conversation.objects.select_related("submission", "author").order_by("created_at", "id")
    if message_id is not None:
        found = found.filter(submission__message_id=message_id)
    for conversation in found.iterator():
        click.echo(json.dumps(_evidence(conversation, unsealer), ensure_ascii=False, separators=(",", ":")))


def _evidence(conversation: Conversation, unsealer: Any) -> dict[str, Any]:
    message = conversation.messages.select_related("content").order_by("created_at", "id")[0]
    recipients = conversation.recipients.order_by("address")
    return {
        "conversation": conversation.id.hex,
        "submission": conversation.submission_id.hex,
        "message_id": conversation.submission.message_id,
        "author": conversation.author.email,
        "blind": conversation.is_blind,
        "accepted_at": conversation.created_at.isoformat(),
        "expires_at": conversation.expires_at.isoformat() if conversation.expires_at else None,
        **_hashes(conversation, message, unsealer),
        "recipients": [_recipient(one) for one in recipients],
    }


def _hashes(conversation: Conversation, message: Any, unsealer: Any) -> dict[str, Any]:
    import hashlib

    whole, body = hashlib.sha256(), hashlib.sha256()
    left = message.content.header_size
    try:
        key = unsealer.message_key(message, unsealer.conversation_key(conversation))
        for piece in unsealer.octets(message.content, key):
            whole.update(piece)
            body.update(piece[left:])
            left = max(0, left - len(piece))
    except (CannotOpen, FileNotFoundError) as cause:
        state = "destroyed" if conversation.destroyed_at else "damaged"
        return {"content": state, "cause": type(cause).__name__, "sha256": None, "body_sha256": None}
    return {"content": "sealed", "sha256": whole.hexdigest(), "body_sha256": body.hexdigest()}


def _recipient(recipient: Recipient) -> dict[str, Any]:
    def moment(value: Any) -> str | None:
        return value.isoformat() if value else None

    return {
        "recipient": recipient.id.hex,
        "address": recipient.address,
        "state": recipient.state,
        "method": recipient.method or None,
        "status": recipient.status or None,
        "decided_at": moment(recipient.decided_at),
        "delivered_at": moment(recipient.delivered_at),
        "opened_at": moment(recipient.opened_at),
        "opened_with": recipient.opened_with or None,
    }


@click.group()
def keys() -> None:
    """The keys that close and open the stored mail."""


@keys.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@config_option
@tells_trouble
def keys_backup(file: Path, config: Path | None) -> None:
    """Copy all keys into FILE (tar, 0600). With it and the data all mail can be read: keep it offline, apart."""
    settings = settings_of(config)
    keyring.opening_keys(settings.keys)
    if file.exists():
        raise Trouble(f"{file} exists. Choose another name; a backup is never overwritten.")
    try:
        file.touch(mode=0o600)
        with file.open("wb") as written:
            with tarfile.open(fileobj=written, mode="w") as archive:
                for name in _KEYS:
                    archive.add(settings.keys / name, arcname=name)
            written.flush()
            os.fsync(written.fileno())
    except OSError as cause:
        raise Trouble(f"{file} can't be written: {cause.strerror}.") from cause
    mark = settings.keys / BACKUP_MARK
    mark.touch(mode=0o600)
    mark.write_text(f"{clock.now():%F} {keyring.fingerprint(settings.keys)}\n", "ascii")
    click.echo(f"Wrote {file}. Keep it offline, apart from the backups of the data folder.")


@keys.command("restore")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@config_option
@tells_trouble
def keys_restore(file: Path, config: Path | None) -> None:
    """Put the keys in FILE, which `zegel keys backup` wrote, in their place. Keys that are there stay."""
    settings = settings_of(config)
    if keyring.is_there(settings.keys):
        raise Trouble(f"There are keys in {settings.keys}. Move them away first; keys are never overwritten.")
    try:
        with tarfile.open(file) as archive:
            octets = {name: _member(archive, name) for name in _KEYS}
    except (tarfile.TarError, KeyError, EOFError) as cause:
        raise Trouble(f"{file} is not a backup of keys, or is damaged. Use another copy.") from cause
    fresh = settings.keys.with_name(f"{settings.keys.name}.restored")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True, mode=0o700)
    for name, content in octets.items():
        (fresh / name).touch(mode=0o600)
        (fresh / name).write_bytes(content)
    try:
        keyring.opening_keys(fresh)
        keyring.submission_keys(fresh)
        settings.keys.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in _KEYS:
            (fresh / name).rename(settings.keys / name)
    finally:
        shutil.rmtree(fresh)
    click.echo(f"Put the keys back in {settings.keys}.")


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file.read(_LARGEST_KEY)


COMMANDS: Sequence[click.Command] = (doctor, alive, evidence, keys)
