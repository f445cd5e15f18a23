"""The database: whether it is there, its schema, its queue, and what the operator is told where it can't be used."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from zegel.compose.process import NotReady
from zegel.settings import Settings

WRITERS: Final = "writers.lock"  # on which the processes that write queue up
MIGRATIONS: Final = "django_migrations"  # the first table that is made
SQLITE_REMEDY: Final = "Is the disk full, or the file of another user? If it is damaged, put back your backup."
POSTGRESQL_REMEDY: Final = "Does its server run, and may this user come in? See database_url, and pg_hba.conf there."


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


def migrate(settings: Settings) -> None:
    """Brings the schema up to date. Raises :class:`NotReady`."""
    from django.core.management import call_command
    from django.db import DatabaseError, connection
    from django.db.migrations.executor import MigrationExecutor

    try:
        if settings.postgresql is not None:
            _require_server()
        executor = MigrationExecutor(connection)
        loader = executor.loader
        unknown = [key for key in loader.applied_migrations if key not in loader.disk_migrations]
        if unknown:
            raise NotReady(
                "The database was written by a newer version of Zegel. Start that version, or restore the backup from "
                "before the upgrade."
            )
        if executor.migration_plan(loader.graph.leaf_nodes()):  # else nothing is to be done, which takes a while too
            call_command("migrate", interactive=False, verbosity=0)
    except DatabaseError as cause:
        raise NotReady(unusable_database(cause)) from cause
    finally:
        connection.close()


def _require_server() -> None:
    """PostgreSQL can be relied on as it is set up. Raises :class:`NotReady`."""
    from zegel.edge import postgresql

    if faults := postgresql.faults(postgresql.ask):
        raise NotReady(f"The database can't be used: {faults[0].what}. {faults[0].remedy}")
