"""What a gateway keeps, prepared before its roles start: folders, keys, certificate and schema."""

from __future__ import annotations

from typing import Final

from zegel.compose.certificates import certificate_sources
from zegel.compose.database import has_database, migrate
from zegel.compose.process import NotReady
from zegel.edge import keyring
from zegel.edge.journal import Journal, JournalTrouble
from zegel.edge.sqlite import is_safe
from zegel.settings import Settings

MINIMUM_FREE: Final = 16 * 1024 * 1024  # octets; below, submissions get 452 while everything else goes on (P4)


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
    migrate(settings)
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
