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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from zegel import compose
from zegel.cli.base import Trouble, config_option, ready, settings_of, tells_trouble
from zegel.cli.supervise import answers, is_running, trouble_binding
from zegel.core.seal.wrap import CannotOpen
from zegel.edge import keyring, sqlite
from zegel.edge.certificates import Fault, acme_files, acme_folder, self_signed_files
from zegel.edge.certificates import examine as examine_certificate
from zegel.edge.tls import CertificateTrouble, verifying_context

if TYPE_CHECKING:
    from zegel.journey.custody.models import Conversation, Recipient
    from zegel.settings import Settings

Verdict = Literal["good", "look", "bad"]
BACKUP_MARK = "backup-made"
_SIGNS: dict[Verdict, tuple[str, str]] = {"good": ("ok  ", "green"), "look": ("look", "yellow"), "bad": ("BAD ", "red")}
LOW_SPACE = 1_000_000_000  # octets


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
    """Check configuration, keys, disk, database, resolver, clock, certificates and domains; say what to do.

    Exit code 1 when something is bad.
    """
    settings = settings_of(config)
    compose.start_django()
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
            "look", "testing = true: settings for tests are in force", "Remove it before real mail passes here."
        )
    if settings.hostname == "localhost" and not settings.testing:
        yield Check("bad", "hostname is localhost", "Set hostname to the name that mail servers know this machine by.")
    for examiner in (
        _keys,
        _backup,
        _disk,
        _database,
        _certificate,
        _resolver,
        _clock,
        _listeners,
        _domains,
        _lists,
        _sms,
    ):
        try:
            yield from examiner(settings)
        except Exception as cause:  # a doctor that faints helps nobody
            name, why = examiner.__name__.strip("_"), getattr(cause, "strerror", None) or cause
            yield Check("bad", f"{name}: could not be checked ({type(cause).__name__})", f"It said: {why}")


def _keys(settings: Settings) -> Iterator[Check]:
    if not keyring.is_there(settings.keys) and not settings.database.exists():
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
    if keyring.is_there(settings.keys) and not (settings.keys / BACKUP_MARK).exists():
        yield Check(
            "look",
            "keys: no backup was made",
            "Without the keys nobody reads the stored mail again. Run: zegel keys backup FILE, and keep it elsewhere.",
        )


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
    if free < compose.MINIMUM_FREE:
        yield Check("bad", text, "Mail is refused with 452 until there is room. Free some space.")
    elif free < LOW_SPACE:
        yield Check("look", text, "Below 16 MB mail is refused with 452. Free some space in time.")
    else:
        yield Check("good", text)


def _database(settings: Settings) -> Iterator[Check]:
    from django.db import DatabaseError, connection
    from django.db.migrations.executor import MigrationExecutor

    if not sqlite.is_safe():
        yield Check("bad", "database: this SQLite can lose data", "Install the locked requirements.")
    if not settings.database.exists():
        yield Check("look", "database: not made yet", "`zegel run` makes it at its first start.")
        return
    if not os.access(settings.database, os.W_OK):
        yield Check("bad", f"database: {settings.database} can't be written", compose.DATABASE_REMEDY)
        return
    try:
        executor = MigrationExecutor(connection)
    except DatabaseError as cause:
        yield Check("bad", f"database: can't be used ({cause})", compose.DATABASE_REMEDY)
        return
    known = executor.loader.disk_migrations or {}
    if any(key not in known for key in executor.loader.applied_migrations or {}):
        yield Check("bad", "database: written by a newer Zegel", "Start that version, or restore an older backup.")
    elif executor.migration_plan(executor.loader.graph.leaf_nodes()):
        yield Check("look", "database: of an older Zegel", "`zegel run` brings it up to date; make a backup first.")
    else:
        version = ".".join(map(str, sqlite.version()))
        yield Check("good", f"database: up to date (SQLite {version}, WAL, synchronous FULL)")


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
    now = compose.now()
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
    from zegel.edge.dns import DnsResolver
    from zegel.edge.dns import Trouble as DnsTrouble

    name = settings.delivery.resolver or "of this machine"
    try:
        resolver = DnsResolver(settings.resolver())
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
    else:
        yield Check("good", f"resolver {name}: answered in {(time.monotonic() - started) * 1000:.0f} ms")


def _clock(settings: Settings) -> Iterator[Check]:
    year = compose.now().year
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

    if not settings.database.exists():
        return
    try:
        found = list(SendingDomain.objects.order_by("name"))
    except DatabaseError:  # told above
        return
    for domain in found:
        if domain.in_place:
            yield Check("good", f"domain {domain.name}: DNS settings in place")
        else:
            remedy = f"See what lacks with: zegel domain check {domain.name}"
            yield Check("bad", f"domain {domain.name}: DNS settings not in place, its mail is refused", remedy)


def _lists(settings: Settings) -> Iterator[Check]:
    from django.db import DatabaseError

    from zegel.accounts.lists import EVERY, SPREAD, Problem
    from zegel.accounts.models import DirectDeliveryList
    from zegel.journey.decision.facts import LIST_LAPSES

    if not settings.database.exists():
        return
    try:
        found = list(DirectDeliveryList.objects.exclude(url="").select_related("organisation").order_by("pk"))
    except DatabaseError:  # told above
        return
    late = compose.now() - 2 * EVERY - timedelta(seconds=SPREAD)
    for one in found:
        what = f"list {one.name} of {one.organisation}"
        problem = Problem.of(one.problem)
        why = " ".join(problem.sentences()) if problem else "It was not tried lately: is dispatch running?"
        remedy = f"{why} Try it with: zegel lists refresh {one.name!r}"
        if one.read_at is None:
            yield Check("bad", f"{what}: never read, no domain of it counts", remedy)
        elif one.read_at <= compose.now() - LIST_LAPSES:
            days = LIST_LAPSES.days
            yield Check(
                "bad", f"{what}: lapsed, it could not be read for {days} days; its domains count no more", remedy
            )
        elif problem or one.tried_at is None or one.tried_at < late:
            yield Check("look", f"{what}: last read on {one.read_at:%Y-%m-%d %H:%M} UTC", remedy)
        else:
            yield Check("good", f"{what}: read on {one.read_at:%Y-%m-%d %H:%M} UTC")


def _sms(settings: Settings) -> Iterator[Check]:
    if settings.sms.driver == "none":
        yield Check("look", "sms: no driver", "Codes by SMS can't be sent. Set sms.driver.")
    elif settings.sms.driver == "folder" and not settings.testing:
        yield Check("look", "sms: codes are written to a folder", "Nobody gets them. Choose a provider's driver.")
    else:
        yield Check("good", f"sms: driver {settings.sms.driver}")


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
        with tarfile.open(file, "w") as archive:
            for name in (keyring.SEALING, keyring.SUBMISSION, keyring.OPENING):
                archive.add(settings.keys / name, arcname=name)
    except OSError as cause:
        raise Trouble(f"{file} can't be written: {cause.strerror}.") from cause
    (settings.keys / BACKUP_MARK).touch(mode=0o600)
    click.echo(f"Wrote {file}. Keep it offline, apart from the backups of the data folder.")


COMMANDS: Sequence[click.Command] = (doctor, evidence, keys)
