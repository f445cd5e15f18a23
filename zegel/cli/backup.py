"""Backup and restore: of everything but the keys, consistent while the gateway runs (ADR 37)."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from zegel import VERSION
from zegel.cli.base import Trouble, act_as_user, config_option, ready, settings_of, tells_trouble
from zegel.cli.supervise import Supervisor
from zegel.compose import clock, process, state
from zegel.compose.database import has_database
from zegel.compose.state import erasure_journal, refuse_half_restored
from zegel.core.clock import Instant
from zegel.edge import keyring, postgresql
from zegel.edge.journal import Erased, Journal, agree

if TYPE_CHECKING:
    from zegel.journey.custody.restoring import Restored
    from zegel.settings import DatabasePlace, Settings

FORMAT: Final = 1
DATABASE: Final = "zegel.sqlite3"
DUMP: Final = "zegel.dump"  # the database of PostgreSQL, as pg_dump writes it
JOURNAL: Final = "erasures"
MANIFEST: Final = "manifest.json"
_PIECE: Final = 1024 * 1024
_NAME: Final = re.compile(r"zegel\.sqlite3|zegel\.dump|erasures|blobs/[0-9a-f]{2}/[0-9a-f]{32}")
_AROUND: Final = ("", "-wal", "-shm", "-journal")  # the database's own files


@dataclass(frozen=True, slots=True)
class Copied:
    """A file of the backup."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup consists of; written last, so that there is none in one that was interrupted."""

    made_at: Instant
    version: str
    key: str  # identifier of the keys that open it
    files: dict[str, Copied]  # by name below the folder

    def text(self) -> str:
        """As it is stored."""
        files = {name: {"size": one.size, "sha256": one.sha256} for name, one in sorted(self.files.items())}
        told = {"format": FORMAT, "zegel": self.version, "made_at": self.made_at.isoformat(), "key": self.key}
        return json.dumps({**told, "files": files}, indent=1) + "\n"

    @classmethod
    def of(cls, folder: Path) -> Manifest:
        """Raises :class:`Trouble`."""
        path = folder / MANIFEST
        if not path.is_file():
            raise Trouble(
                f"There is no {path}: this is no backup, or one that was interrupted. Name a folder that "
                "`zegel backup` wrote to its end."
            )
        try:
            with _opened(path) as file:
                told: dict[str, Any] = json.loads(file.read().decode("utf-8"))
            if told["format"] != FORMAT:
                raise Trouble(f"{path} is of another version of Zegel ({told['zegel']}). Restore it with that version.")
            files = {str(name): Copied(int(one["size"]), str(one["sha256"])) for name, one in told["files"].items()}
            is_whole = JOURNAL in files and len({DATABASE, DUMP} & files.keys()) == 1
            if not is_whole or not all(_NAME.fullmatch(name) for name in files):
                raise ValueError("files")
            return cls(datetime.fromisoformat(told["made_at"]), str(told["zegel"]), str(told["key"]), files)
        except (ValueError, KeyError, TypeError, AttributeError) as cause:
            raise Trouble(f"{path} is damaged. Use another backup.") from cause


# --- making one ---------------------------------------------------------------------------------------------------


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@config_option
@tells_trouble
def backup(folder: Path, config: Path | None) -> None:
    """Copy everything but the keys into FOLDER, which must not be there yet. The gateway may go on running.

    The keys have a backup of their own (`zegel keys backup`); keep the two apart. Restore with `zegel restore`.
    """
    settings = settings_of(config)
    process.start_django()
    _require_gateway(settings)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Trouble(f"{folder} is not empty. Name a new folder, like {folder}/$(date +%F); nothing is overwritten.")
    is_new = not folder.exists()
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        if is_new:
            _sync(folder.parent)
        manifest, damaged = make(settings, folder)
    except BaseException:
        _remove_what_was_made(folder, itself=is_new)
        raise
    what = f"{len(manifest.files)} files, {sum(one.size for one in manifest.files.values()) / 1e6:.1f} MB"
    click.echo(f"Wrote {folder}: {what}, as of {manifest.made_at:%F %T} UTC.")
    _note(manifest, settings)
    if damaged:
        raise Trouble(
            f"{len(damaged)} stored messages have lost their file, the first {damaged[0].hex}: the disk, or somebody, "
            "removed it. All else is in the backup. Keep your earlier backups."
        )


def _note(made: Manifest, settings: Settings) -> None:
    """In the audit log of the gateway, if the database has one: before an upgrade it may be older than this program."""
    from django.db import connection

    from zegel.accounts.audit import note
    from zegel.accounts.models import AuditEntry
    from zegel.core.policy.audit import Act

    if AuditEntry._meta.db_table in connection.introspection.table_names():
        act_as_user(settings.log_level)
        size = sum(one.size for one in made.files.values())
        note(Act.BACKED_UP, None, details={"files": len(made.files), "octets": size}, now=made.made_at)


def make(settings: Settings, folder: Path) -> tuple[Manifest, list[uuid.UUID]]:
    """Into an empty folder. Returns also the content whose file is gone though its keys are not.

    The database first: a blob is durable before the commit that refers to it, and never changes, so each one that the
    copied database refers to is there afterwards, unless it was destroyed meanwhile. The journal last: it says so.
    """
    from zegel.journey.custody import erasures

    journal = erasure_journal(settings)
    erasures.write_journal(journal)
    made_at = clock.now()
    files: dict[str, Copied] = {}
    if settings.postgresql is None:
        name, names = DATABASE, _copy_database(folder / DATABASE)
    else:
        name, names = DUMP, _dump_database(settings, settings.postgresql, folder / DUMP)
    files[name] = _hashed(folder / name)
    damaged = []
    for blob in names:
        place = f"blobs/{blob.hex[-2:]}/{blob.hex}"
        try:
            files[place] = copy(settings.folder / place, folder / place)
        except FileNotFoundError:
            if _is_alive(blob):
                damaged.append(blob)
    erasures.write_journal(journal)
    files[JOURNAL] = copy(journal.path, folder / JOURNAL)
    manifest = Manifest(made_at, VERSION, keyring.sealing_key(settings.keys).key_id.hex(), files)
    _write(folder / MANIFEST, manifest.text())
    return manifest, damaged


def _require_gateway(settings: Settings) -> None:
    refuse_half_restored(settings)
    keyring.opening_keys(settings.keys)
    if not has_database(settings):
        where = settings.folder if settings.postgresql is None else settings.database_url
        raise Trouble(f"There is no database in {where}: nothing to copy. Name the configuration in use.")


def _copy_database(to: Path) -> list[uuid.UUID]:
    """One moment of it, without what was deleted, whatever is being written; and the blobs that it refers to."""
    from django.db import connection

    from zegel.edge import rows
    from zegel.journey.custody.models import Content

    with connection.cursor() as cursor:
        cursor.execute("VACUUM INTO %s", [str(to)])
        cursor.execute("ATTACH DATABASE %s AS backup", [str(to)])
        try:
            said = cursor.execute("PRAGMA backup.quick_check(1)").fetchone()[0]
            if said != "ok":
                raise Trouble(
                    f"The database is damaged ({said}). Keep your earlier backups, and restore the last good one."
                )
            table = rows.table(Content)
            blobs = f"SELECT id FROM backup.{table} WHERE sealed IS NULL AND head != x''"  # noqa: S608
            names = [rows.found(one) for (one,) in cursor.execute(blobs).fetchall()]
        finally:
            cursor.execute("DETACH DATABASE backup")
    _sync(to)
    _sync(to.parent)
    return names


def _dump_database(settings: Settings, place: DatabasePlace, to: Path) -> list[uuid.UUID]:
    """One moment of it, whatever is being written; and the blobs that it refers to. Nobody who writes waits for it."""
    from django.db import connection

    from zegel.edge import rows
    from zegel.journey.custody.models import Content

    _require_program("pg_dump", postgresql.major(postgresql.ask))
    with connection.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")  # as long as it takes
            snapshot = postgresql.ask("SELECT pg_export_snapshot()")
            table = rows.table(Content)
            cursor.execute(f"SELECT id FROM {table} WHERE sealed IS NULL AND head != ''::bytea")  # noqa: S608
            names = [rows.found(one) for (one,) in cursor.fetchall()]
            what = (f"--snapshot={snapshot}", "--format=custom", "--no-owner", "--no-privileges", f"--file={to}")
            _run_program(settings, place, "pg_dump", *what)
        finally:
            cursor.execute("ROLLBACK")
    _sync(to)
    _sync(to.parent)
    return names


def _require_program(name: str, server: int) -> None:
    """A program of PostgreSQL is on this machine, and not older than the server. Raises :class:`Trouble`."""
    remedy = f"Install the client of PostgreSQL {server} or newer; on Debian: apt install postgresql-client"
    if (found := shutil.which(name)) is None:
        raise Trouble(f"There is no {name} on this machine, which copies the database. {remedy}")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    version = re.search(r"(\d+)", said)
    if version is None or int(version[1]) < server:
        raise Trouble(f"{found} is older than the server ({said.strip()}; the server is {server}). {remedy}")


def _run_program(settings: Settings, place: DatabasePlace, name: str, *arguments: str) -> None:
    """Raises :class:`Trouble` with its first line, which has no password; later ones may hold rows."""
    way = postgresql.program(settings, place)
    done = subprocess.run(  # noqa: S603
        [shutil.which(name) or name, *way.arguments, *arguments],
        env=os.environ | way.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[0]
        raise Trouble(f"The database could not be copied: {said.removeprefix(f'{name}: ')}.")


def _is_alive(name: uuid.UUID) -> bool:
    """Its keys are there, as far as the database in use knows."""
    from zegel.journey.custody.models import Content

    return Content.objects.filter(id=name).exclude(head=b"").exists()


def copy(source: Path, to: Path, *, expected: Copied | None = None) -> Copied:
    """Durable when it returns. Raises ``OSError``, and :class:`Trouble` where it is not what was ``expected``."""
    octets, size = hashlib.sha256(), 0
    with source.open("rb") if expected is None else _opened(source, expected) as file:
        _make_folder(to.parent)
        with os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copied:
            while piece := file.read(_PIECE):
                copied.write(piece)
                octets.update(piece)
                size += len(piece)
            copied.flush()
            os.fsync(copied.fileno())
    found = Copied(size, octets.hexdigest())
    if expected is not None and found != expected:
        raise _damaged(source)
    _sync(to.parent)
    return found


def _opened(path: Path, expected: Copied | None = None) -> BufferedReader:
    """A file of a backup, which others may have put there: no link, pipe or device, and of the ``expected`` size.
    Raises ``FileNotFoundError`` and :class:`Trouble`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as cause:
        if cause.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket
            raise _damaged(path) from cause
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or (expected is not None and found.st_size != expected.size):
        os.close(descriptor)
        raise _damaged(path)
    return os.fdopen(descriptor, "rb")


def _damaged(path: Path) -> Trouble:
    return Trouble(f"{path} is damaged: it is not what was copied. Use another backup.")


def _missing(path: Path) -> Trouble:
    return Trouble(f"{path} is missing. Use another backup.")


def _hashed(path: Path, expected: Copied | None = None) -> Copied:
    with _opened(path, expected) as file:
        digest = hashlib.file_digest(file, "sha256")
    return Copied(path.stat().st_size, digest.hexdigest())


def _make_folder(folder: Path) -> None:
    """With those around it; their names are durable."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync(folder.parent)


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, "utf-8")
    _sync(part)
    part.rename(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_what_was_made(folder: Path, *, itself: bool) -> None:
    """The folder was empty or not there before."""
    shutil.rmtree(folder / "blobs", ignore_errors=True)
    for path in list(folder.iterdir()):
        path.unlink(missing_ok=True)
    if itself:
        folder.rmdir()


# --- putting it back ----------------------------------------------------------------------------------------------


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--erasures",
    "other",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A copy of the journal of erasures, newer than the backup: of the lost data folder, or of a later backup.",
)
@click.option(
    "--without-erasures",
    is_flag=True,
    help="There is no newer journal: what was revoked or removed since the backup can be used again.",
)
@config_option
@tells_trouble
def restore(folder: Path, other: Path | None, config: Path | None, *, without_erasures: bool) -> None:
    """Put the backup in FOLDER back, into an empty data folder with the keys in place (`zegel keys restore`).

    Every file is compared with its hash. What was destroyed or has expired since is destroyed again. Mail that waited
    at the moment of the backup is held: see `zegel queue show`.
    """
    settings = settings_of(config)
    manifest = Manifest.of(folder)
    _require_kind(settings, manifest)
    held = Supervisor(settings, config)
    held.take_folder()  # until this ends
    process.start_django()
    _require_room(settings)
    _require_keys(settings, manifest)
    lines = _known_erasures(settings, folder, manifest, other, without=without_erasures)
    settings.restoring.touch(mode=0o600)
    _sync(settings.folder)
    _put_back(settings, folder, manifest)
    state.prepare(settings, restores=True)
    act_as_user(settings.log_level)
    done = _make_good(settings, lines)
    settings.restoring.unlink()
    _sync(settings.folder)
    _tell(manifest, done)
    held.stop()


def _require_kind(settings: Settings, manifest: Manifest) -> None:
    """The configuration names the kind of database that was copied."""
    if DUMP in manifest.files and settings.postgresql is None:
        raise Trouble("This is a backup of PostgreSQL. Name an empty database of it in the setting database_url.")
    if DATABASE in manifest.files and settings.postgresql is not None:
        raise Trouble("This is a backup of SQLite. Take the setting database_url out of the configuration.")


def _require_room(settings: Settings) -> None:
    """Nothing is there that could be overwritten; what an interrupted restore left is removed."""
    if settings.restoring.exists():
        shutil.rmtree(settings.blobs, ignore_errors=True)
        for path in _database_files(settings):
            path.unlink(missing_ok=True)
        if settings.postgresql is not None:
            _drop_tables()
    if settings.postgresql is not None and has_database(settings):
        raise Trouble(
            f"There is a gateway in {settings.database_url}, which would be overwritten. Name an empty database in the "
            "setting database_url."
        )
    blobs = settings.blobs.glob("*/*") if settings.blobs.is_dir() else ()
    for path in (*(one for one in _database_files(settings) if one.exists()), *blobs):
        raise Trouble(
            f"There is a gateway in {settings.folder}: {path} would be overwritten. Move {settings.database.name}* and "
            "blobs away, or name another folder in the setting folder. Keys and the journal of erasures may stay."
        )


def _drop_tables() -> None:
    from django.db import connection

    if names := connection.introspection.table_names():
        tables = ", ".join(connection.ops.quote_name(name) for name in names)
        postgresql.ask(f"DROP TABLE {tables} CASCADE")


def _database_files(settings: Settings) -> list[Path]:
    return [settings.database.with_name(settings.database.name + end) for end in _AROUND]


def _require_keys(settings: Settings, manifest: Manifest) -> None:
    if not keyring.is_there(settings.keys):
        raise Trouble(
            f"There are no keys in {settings.keys}, and without them nothing can be read. Put them back first: "
            "zegel keys restore FILE"
        )
    keyring.submission_keys(settings.keys)
    if keyring.opening_keys(settings.keys).sealing.key_id.hex() != manifest.key:
        raise Trouble(
            f"The keys in {settings.keys} don't open this backup. Put back those that were in use when it was made: "
            "zegel keys restore FILE"
        )


def _known_erasures(
    settings: Settings, folder: Path, manifest: Manifest, other: Path | None, *, without: bool
) -> Sequence[Erased]:
    """The longest journal that is known. Fails closed where none goes on after the backup's."""
    gateway = keyring.sealing_key(settings.keys).key_id
    _require_whole(folder / JOURNAL, manifest.files[JOURNAL])
    found = backed_up = Journal(folder / JOURNAL, gateway).read()
    newer = [path for path in (settings.erasure_journal, other) if path is not None and path.exists()]
    if not newer and not without:
        raise Trouble(
            "What was destroyed after the backup was made would be readable again: there is no journal of erasures at "
            f"{settings.erasure_journal}. Name a copy with --erasures FILE; a later backup has one, too. If there is "
            "none: --without-erasures"
        )
    for path, lines in sorted(((path, Journal(path, gateway).read()) for path in newer), key=lambda one: len(one[1])):
        if len(lines) < len(found):
            raise Trouble(f"{path} ends before this backup was made. Name a newer one with --erasures.")
        if not agree(found, lines):
            raise Trouble(f"{path} is not the journal that went on after this backup. Name another with --erasures.")
        if len(lines) == len(backed_up) and not _is_in_place(path, settings):
            raise Trouble(
                f"{path} says no more than the journal in this backup: what was destroyed since would be readable "
                f"again. Name a newer one with --erasures, or put the one that went on at {settings.erasure_journal}. "
                "If there is none: --without-erasures"
            )
        found = lines
    return found


def _require_whole(path: Path, expected: Copied) -> None:
    try:
        if _hashed(path, expected) != expected:
            raise _damaged(path)
    except FileNotFoundError as cause:
        raise _missing(path) from cause


def _is_in_place(path: Path, settings: Settings) -> bool:
    """It is the gateway's own, which goes on by itself: as long as the backup's where nothing was destroyed since."""
    return settings.erasure_journal.exists() and path.samefile(settings.erasure_journal)


def _put_back(settings: Settings, folder: Path, manifest: Manifest) -> None:
    for name, expected in sorted(manifest.files.items()):
        if name == JOURNAL:
            continue
        to = settings.database if name == DATABASE else settings.folder / name
        if name == DUMP:  # what an interrupted restore left
            to.unlink(missing_ok=True)
        try:
            copy(folder / name, to, expected=expected)
        except FileNotFoundError as cause:
            raise _missing(folder / name) from cause
        if name == DUMP and settings.postgresql is not None:  # out of our own copy: its hash was compared
            _fill_database(settings, settings.postgresql, to)


def _fill_database(settings: Settings, place: DatabasePlace, dump: Path) -> None:
    """All of it or nothing. The dump is removed."""
    try:
        _require_program("pg_restore", postgresql.major(postgresql.ask))
        whole = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges")
        _run_program(settings, place, "pg_restore", *whole, str(dump))
    finally:
        dump.unlink()


def _make_good(settings: Settings, lines: Sequence[Erased]) -> Restored:
    """Before anything starts: as :mod:`zegel.journey.custody.restoring` says, and no trace is left in files."""
    from django.db import connection, transaction

    from zegel.journey.custody import erasures, restoring, retention

    with transaction.atomic():
        done = restoring.make_good(lines, now=clock.now())
    waste, lost = restoring.missing(uuid.UUID(hex=path.name) for path in settings.blobs.glob("??/*"))
    for name in waste:
        (settings.blobs / name.hex[-2:] / name.hex).unlink()
    retention.empty_log()
    journal = erasure_journal(settings)
    _replace_older(journal, lines)
    erasures.write_journal(journal)
    connection.close()
    if lost:
        click.echo(f"{len(lost)} messages had lost their file before: `zegel evidence` calls them damaged.", err=True)
    return done


def _replace_older(journal: Journal, lines: Sequence[Erased]) -> None:
    """The journal in use may be shorter than the one that was named."""
    if journal.path.exists():
        known = journal.last()
        journal.add(lambda last: [one for one in lines if one.number > max(last, known)])


def _tell(manifest: Manifest, done: Restored) -> None:
    click.echo(f"Restored what was there on {manifest.made_at:%F %T} UTC (Zegel {manifest.version}).")
    click.echo(f"Destroyed again: {done.destroyed} conversations; expired since: {done.expired}.")
    click.echo(f"Taken back again: {done.revoked} recipients; numbers and codes forgotten again: {done.forgotten}.")
    if done.erased or done.nameless:
        click.echo(f"Erased again: {done.erased} organisations, {done.nameless} recipients of messages.")
    if done.traceless:
        click.echo(f"Traces removed again, as their term was over: of {done.traceless} messages.")
    if done.shut:
        click.echo(
            f"Shut, as another way was allowed since, until their senders allow one again: {done.shut} recipients."
        )
    click.echo("Everybody signs in anew; devices that needed no code need one.")
    for line in _next_steps(done.put_aside):
        click.echo(line)


def _next_steps(put_aside: int) -> Iterator[str]:
    yield "Not known is what was changed since by people: credentials, accounts and tokens that were disabled then are"
    yield "enabled again, earlier expiry is not known. Look at them: zegel credentials list"
    if put_aside:
        yield f"Held: {put_aside} jobs of that moment (mail that may have been sent since). See: zegel queue show"
    yield "Then: zegel doctor, zegel run"


# --- what was put aside -------------------------------------------------------------------------------------------


@click.group()
def queue() -> None:
    """Mail that waited when a backup was made, after it was restored: it may have been sent since."""


@queue.command("show")
@config_option
@tells_trouble
def queue_show(config: Path | None) -> None:
    """Show what is held since the restore."""
    ready(config)
    from zegel.journey.custody import restoring

    found = restoring.waiting()
    if found is None:
        click.echo("Nothing is held.")
        return
    click.echo(f"Held since the restore of {found.since:%F %T} UTC:")
    for kind, count in sorted(found.counts.items()):
        click.echo(f"  {kind.value}: {count}")
    for mail in restoring.mails():
        click.echo(f"  {mail.created_at:%F %T} {mail.kind} to {mail.address}, tried {mail.tries} times")
    click.echo(
        "zegel queue release: all goes on; what was sent since is sent once more.\n"
        "zegel queue end: none of it is sent; senders hear that it is not known whether it arrived."
    )


@queue.command("release")
@config_option
@tells_trouble
def queue_release(config: Path | None) -> None:
    """Let all that is held go on. What was sent between backup and loss is sent once more."""
    settings = ready(config)
    from django.db import transaction

    from zegel.edge.wake import ring
    from zegel.journey.custody import restoring

    with transaction.atomic():
        count = restoring.release()
    ring(settings.run)
    click.echo(f"Released: {count} jobs.")


@queue.command("end")
@config_option
@tells_trouble
def queue_end(config: Path | None) -> None:
    """Send nothing of what is held. Senders hear for which recipients it is not known whether it arrived."""
    settings = ready(config)
    from django.db import transaction

    from zegel.edge.wake import ring
    from zegel.journey.custody import restoring

    with transaction.atomic():
        count = restoring.end(now=clock.now())
    ring(settings.run)
    click.echo(f"Ended. Undeliverable, and their senders are told: {count} recipients.")


COMMANDS: Sequence[click.Command] = (backup, restore, queue)
