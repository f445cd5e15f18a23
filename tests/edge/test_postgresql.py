"""The backend on a real PostgreSQL: one writer at a time, a connection that is lost, and what SQLite stores."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from django.db import DatabaseError, OperationalError, connections, models, transaction
from django.test.utils import isolate_apps
from pytest_django import DjangoDbBlocker

from tests.needs import needs
from tests.peers import reachable_folder, until
from tests.peers.postgresql import PASSWORD, PostgreSql
from zegel.edge import postgresql
from zegel.edge.postgresql.base import WRITING, storable
from zegel.settings import BadSettings, Settings, database_place

ALIAS: Final = "postgresql-of-a-test"
BUNDLE: Final = "/etc/ssl/certs/ca-certificates.crt"


with isolate_apps("zegel.journey.custody"):  # no model of the program

    class Thing(models.Model):
        """Of every kind that is stored; its table is made here."""

        text = models.CharField(max_length=5)
        number = models.PositiveSmallIntegerField(default=0)
        held = models.JSONField(default=dict)

        class Meta:
            app_label = "custody"
            db_table = "thing"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSql]:
    needs("postgresql")
    with reachable_folder() as folder, PostgreSql(folder / "server", durable=False) as running:
        yield running


@pytest.fixture
def database(server: PostgreSql, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """The alias of a new one with that table."""
    settings = Settings(database_url=server.url(server.create()))
    assert settings.postgresql is not None
    default = connections.settings["default"]
    connections.settings[ALIAS] = {**default, "TEST": {}, **postgresql.database(settings, settings.postgresql)}
    with django_db_blocker.unblock():
        try:
            with connections[ALIAS].schema_editor() as editor:
                editor.create_model(Thing)
            yield ALIAS
        finally:
            connections[ALIAS].close()
            del connections[ALIAS]
            del connections.settings[ALIAS]


def things() -> Any:
    return Thing._default_manager.using(ALIAS)


def ask(statement: str) -> Any:
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(statement)
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


class Other(threading.Thread):
    """Somebody else, with a connection of their own."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.failed: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._work()
        except BaseException as cause:
            self.failed = cause
        finally:
            connections[ALIAS].close()


def waits() -> bool:
    found = ask(
        f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = {WRITING & 0xFFFFFFFF}"
    )
    return bool(found)


def count_in(work: Callable[[], object]) -> Other:
    def atomic() -> None:
        with transaction.atomic(using=ALIAS):
            work()

    return Other(atomic)


@pytest.mark.parametrize("alone", [True, False], ids=["a statement of its own", "a transaction"])
def test_who_writes_waits_for_who_writes(database: str, alone: bool) -> None:
    """And sees then what was committed: a number that was read and is written is never an old one."""
    row = things().create(text="a", number=1)

    def add() -> None:
        found = things().get(pk=row.pk)
        things().filter(pk=row.pk).update(number=found.number + 1)

    def write() -> None:
        things().create(text="b")

    with transaction.atomic(using=database):
        add()
        other = Other(write) if alone else count_in(add)
        until(waits)
        assert things().filter(text="b").count() == 0
        add()
    other.join(30)
    assert other.failed is None
    assert things().get(pk=row.pk).number == (3 if alone else 4)
    assert things().filter(text="b").count() == (1 if alone else 0)


def test_who_reads_waits_for_nobody(database: str) -> None:
    found: list[int] = []
    with transaction.atomic(using=database):
        things().create(text="a")
        other = Other(lambda: found.append(things().count()))
        other.join(30)
    assert found == [0]


def test_who_waits_too_long_is_told_and_can_go_on(database: str) -> None:
    ask("SET lock_timeout = '50ms'")
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        assert over.wait(30)

    other = count_in(hold)
    assert held.wait(30)
    for write in (lambda: things().create(text="a"), lambda: transaction.atomic(using=database).__enter__()):
        with pytest.raises(OperationalError, match="lock timeout"):
            write()
    assert connections[database].get_autocommit() and not connections[database].in_atomic_block
    over.set()
    other.join(30)
    with transaction.atomic(using=database):
        things().create(text="b")
    assert things().get().text == "b"


def test_a_connection_that_was_lost_meanwhile_is_replaced_before_anything_is_done(
    database: str, server: PostgreSql
) -> None:
    pid = ask("SELECT pg_backend_pid()")
    with server.administrator() as administrator:
        administrator.execute("SELECT pg_terminate_backend(%s)", [pid])
    until(lambda: not connections[database].is_usable())
    with transaction.atomic(using=database):
        things().create(text="a")
    assert things().count() == 1 and ask("SELECT pg_backend_pid()") != pid


def test_a_connection_that_is_lost_in_the_middle_undoes_the_transaction(database: str, server: PostgreSql) -> None:
    def broken() -> None:
        with transaction.atomic(using=database):
            things().create(text="a")
            pid = ask("SELECT pg_backend_pid()")
            with server.administrator() as administrator:
                administrator.execute("SELECT pg_terminate_backend(%s)", [pid])
            things().create(text="b")

    with pytest.raises(DatabaseError):
        broken()
    connections[database].close_if_unusable_or_obsolete()
    assert things().count() == 0


def test_what_sqlite_stores_is_stored(database: str) -> None:
    """Longer than the field says, larger than 32 bits, and what PostgreSQL has no place for."""
    made = things().create(text="a\0b" * 1000, number=1 << 40, held={"a\0": ["\0", {"b": "\ud83d"}], "c": 1, "d": None})
    found = things().get(pk=made.pk)
    assert found.text == "a\ufffdb" * 1000 and found.number == 1 << 40
    assert found.held == {"a\ufffd": ["\ufffd", {"b": "\ufffd\ufffd\ufffd"}], "c": 1, "d": None}
    assert things().filter(text="a\0b" * 1000).exists()
    assert [one.text for one in things().filter(text__contains="\0")] == [found.text]


def test_what_can_be_stored_stays_as_it_is() -> None:
    value = {"é": ["😀", 1, 1.5, True, None, "\\u0000"]}
    assert storable(value) == value


def test_texts_sort_by_their_octets(database: str) -> None:
    for text in ("b", "_", "é", "A", "a", "Z"):
        things().create(text=text)
    assert "".join(things().order_by("text").values_list("text", flat=True)) == "AZ_abé"


def test_what_was_destroyed_leaves_the_table_once_nobody_reads_it(database: str, server: PostgreSql) -> None:
    things().create(text="secret")
    name = connections[database].settings_dict["NAME"]
    with psycopg.connect(server.url(name), autocommit=True) as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        assert reader.execute("SELECT count(*) FROM thing").fetchone() == (1,)
        things().update(text="")
        assert not postgresql.vacuum(ask, ['"thing"'], sleep=lambda _: None)
        reader.execute("ROLLBACK")
        assert postgresql.vacuum(ask, ['"thing"'])
    with server.administrator(name) as administrator:
        administrator.execute("CREATE EXTENSION pageinspect")
        held = "FROM heap_page_items(get_raw_page('thing', 0)) WHERE t_data IS NOT NULL"
        assert administrator.execute(f"SELECT count(*) {held}").fetchone() == (1,)


# --- where it is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql:///zegel", ("zegel", "/run/postgresql", 5432, "")),
        ("postgres://een%40twee@localhost:5433/a%20b", ("a b", "localhost", 5433, "een@twee")),
        ("postgresql://zegel@:5433/zegel?host=/tmp/een", ("zegel", "/tmp/een", 5433, "zegel")),
        ("postgresql://zegel@[::1]/zegel", ("zegel", "::1", 5432, "zegel")),
        (
            f"postgresql://zegel@db.example.org/zegel?sslmode=verify-full&sslrootcert={BUNDLE}",
            ("zegel", "db.example.org", 5432, "zegel"),
        ),
    ],
)
def test_a_place_is_understood(url: str, expected: tuple[str, str, int, str]) -> None:
    place = database_place(url)
    assert (place.name, place.host, place.port, place.user) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("zegel", "write where the database is"),
        ("mysql://zegel@localhost/zegel", "write where the database is"),
        ("postgresql://zegel@localhost", "write where the database is"),
        ("postgresql://zegel@localhost:zegel/zegel", "write where the database is"),
        ("postgresql://zegel@a.test,b.test/zegel", "write where the database is"),
        ("postgresql:///zegel?host=/a&host=/b", "write where the database is"),
        ("postgresql://zegel:geheim@localhost/zegel", "no password may stand in it"),
        ("postgresql://zegel@localhost/zegel?password=geheim", "no password may stand in it"),
        ("postgresql://zegel@localhost/zegel?options=-cfsync", "'options' can't stand in it"),
        ("postgresql://zegel@localhost/zegel?sslrootcert=ca.pem", "write paths in it in full"),
        ("postgresql://zegel@db.example.org/zegel", "to another machine only with TLS"),
        ("postgresql://zegel@db.example.org/zegel?sslmode=require", "to another machine only with TLS"),
        ("postgresql://zegel@db.example.org/zegel?sslmode=verify-full", "to another machine only with TLS"),
        ("postgresql://zegel@192.0.2.1/zegel?sslmode=disable", "to another machine only with TLS"),
        ("postgresql:///zegel?host=db.example.org", "to another machine only with TLS"),
    ],
)
def test_another_place_is_refused_and_no_password_is_repeated(url: str, expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)) as refused:
        database_place(url)
    assert "geheim" not in str(refused.value)


def test_a_password_comes_from_its_file_and_is_no_argument_of_a_program(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    settings = Settings(database_url="postgresql://zegel@127.0.0.1/zegel", database_password=path)
    assert settings.postgresql is not None
    assert postgresql.database(settings, settings.postgresql)["PASSWORD"] == PASSWORD
    program = postgresql.program(settings, settings.postgresql)
    assert program.environment["PGPASSWORD"] == PASSWORD and not any(PASSWORD in one for one in program.arguments)
    path.unlink()
    with pytest.raises(BadSettings, match=r"database_password: .* can't be read"):
        postgresql.database(settings, settings.postgresql)
