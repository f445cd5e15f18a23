"""A whole gateway on a real PostgreSQL: it starts, serves, outlives its server, is copied and put back."""

from __future__ import annotations

import os
import random
import re
import shutil
import smtplib
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.faults.ground import Receiver, Visitor, hidden_in, link_in, message, submit, zone
from tests.faults.test_restore import REVOKE, script
from tests.local.running import Loop
from tests.needs import needs
from tests.peers import free_port, reachable_folder, until
from tests.peers.gateway import SENDER, Gateway
from tests.peers.postgresql import PASSWORD, USER, PostgreSql
from zegel.core.policy.challenge import FREE_ACCESS_CODE_TRIES
from zegel.edge import keyring
from zegel.edge.journal import Journal
from zegel.local import dns
from zegel.local.authority import LocalAuthority

ACCESS_CODE: Final = "winterkoning-2026"
GUEST: Final = "balie@ontvanger.test"
WITH_CODE: Final = f"zivver-access-right: {GUEST} access-code {ACCESS_CODE}"
GUESSES: Final = 24


@dataclass
class Running:
    """What the chapters share."""

    server: PostgreSql
    gateway: Gateway
    receiver: Receiver
    folder: Path
    waits: bool = False  # the receiving server puts everything off

    def verdict(self, _: object) -> str:
        return "451 4.2.0 later" if self.waits else "250 2.0.0 ok"

    def read(self, octets: bytes, code: str = ACCESS_CODE) -> str:
        """The text of the message behind the link in a notification."""
        visitor = Visitor(self.gateway.portal_port)
        path = enter(visitor, link_in(octets), code)
        return visitor.get(path)[1]


def enter(visitor: Visitor, link: str, code: str) -> str:
    """Where the guest is sent who gives that code."""
    status, page = visitor.get(link)
    assert status == 200, page
    action = re.search(r'action="(/[^"]*verify[^"]*)"', page)
    assert action, page
    _, where = visitor.post(action[1], **hidden_in(page), code=code)
    return where


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSql]:
    needs("postgresql")
    with reachable_folder() as folder, PostgreSql(folder / "server") as running:
        yield running


@pytest.fixture(scope="module")
def running(server: PostgreSql, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """By loopback and with a password: a gateway with two processes of each kind."""
    folder = tmp_path_factory.mktemp("gateway")
    secret = folder / "password"
    secret.write_text(f"{PASSWORD}\n")
    loop = Loop()
    names = loop.run(dns.serve({}, "127.0.0.1", 0))
    port = free_port()
    gateway = Gateway(
        folder / "gateway",
        authority=LocalAuthority.load_or_create(folder / "ca"),
        resolver=("127.0.0.1", names.port),
        mx_port=port,
        processes=2,
        database=f'database_url = "{server.url_by_loopback(server.create())}"\ndatabase_password = "{secret}"',
    )
    receiver = Receiver(port, lambda copy: found.verdict(copy))  # noqa: PLW0108 – it comes later
    found = Running(server, gateway, receiver, folder)
    try:
        records = gateway.set_up()
        loop.call(lambda: names.update(zone(records)))
        gateway.check_domain()
        with receiver.listening(), gateway:
            yield found
    finally:
        loop.call(names.close)
        loop.stop()


def first_line(identity: str) -> str:
    return message(identity).partition(b"\r\n\r\n")[2].decode().split("\r\n")[0]


def database_of(gateway: Gateway) -> str:
    return str(tomllib.loads(gateway.config.read_text())["database_url"]).rpartition("/")[2]


def test_a_message_is_accepted_notified_and_read(running: Running) -> None:
    assert submit(running.gateway, "eerste", WITH_CODE)[0] == 250
    until(lambda: len(running.receiver.copies) == 1)
    assert first_line("eerste") in running.read(running.receiver.copies[0].octets)
    assert not (running.gateway.state / "zegel.sqlite3").exists()


def test_many_guesses_at_the_same_moment_are_no_more_tries(running: Running) -> None:
    """Two web processes judge them, each with its own connections."""
    assert submit(running.gateway, "geraden", WITH_CODE)[0] == 250
    until(lambda: len(running.receiver.copies) == 2)
    link = link_in(running.receiver.copies[1].octets)
    start = threading.Barrier(GUESSES)

    def guess(number: int) -> None:
        visitor = Visitor(running.gateway.portal_port)
        _, page = visitor.get(link)
        action = re.search(r'action="(/[^"]*verify[^"]*)"', page)
        assert action
        start.wait()
        visitor.post(action[1], **hidden_in(page), code=f"mis-{number}")

    with ThreadPoolExecutor(GUESSES) as threads:
        list(threads.map(guess, range(GUESSES)))
    with running.server.administrator(database_of(running.gateway)) as connection:
        found = connection.execute("SELECT count(*) FROM custody_wrongtry").fetchone()
    assert found == (FREE_ACCESS_CODE_TRIES,)


def test_what_no_index_takes_is_accepted_all_the_same(running: Running) -> None:
    """A Message-ID without end, which can't be pressed together either."""
    chance = random.Random(7)
    identity = "".join(chr(chance.randrange(0x4E00, 0x9FFF)) for _ in range(3000))
    octets = message("lang").replace(b"<lang@", f"<{identity}@".encode())
    with running.gateway.client() as client:
        assert client.docmd(f"MAIL FROM:<{SENDER}> SMTPUTF8 BODY=8BITMIME")[0] == 250
        assert client.docmd(f"RCPT TO:<{GUEST}>")[0] == 250 and client.docmd("DATA")[0] == 354
        client.send(octets + b".\r\n")
        assert client.getreply()[0] == 250
    until(lambda: len(running.receiver.copies) == 3)


def test_a_server_that_is_killed_costs_no_message_and_no_restart(running: Running) -> None:
    """What was accepted is delivered once it is back; meanwhile everything is refused for now, and nothing is lost."""
    running.waits = True
    before = len(running.receiver.copies)
    processes = set(running.gateway.processes())
    assert submit(running.gateway, "onderweg", WITH_CODE)[0] == 250
    until(lambda: len(running.receiver.copies) > before)
    running.server.kill()
    with pytest.raises(smtplib.SMTPException) as refused:
        submit(running.gateway, "te-vroeg", WITH_CODE)
    assert isinstance(refused.value, smtplib.SMTPResponseException) and 400 <= refused.value.smtp_code < 500
    assert Visitor(running.gateway.portal_port).get(link_in(running.receiver.copies[0].octets))[0] >= 500
    running.waits = False
    running.server.start()
    tried = len(running.receiver.copies)
    until(lambda: _submitted(running.gateway, "daarna"))
    until(lambda: len(running.receiver.copies) >= tried + 2)
    known = {one["message_id"].partition("@")[0].removeprefix("<") for one in running.gateway.evidence()}
    assert {"eerste", "geraden", "onderweg", "daarna"} < known and len(known) == 5
    until(lambda: {one["recipients"][0]["state"] for one in running.gateway.evidence()} <= {"notified", "opened"})
    assert first_line("eerste") in running.read(running.receiver.copies[0].octets)
    assert set(running.gateway.processes()) == processes


def _submitted(gateway: Gateway, identity: str) -> bool:
    with suppress(smtplib.SMTPException):
        return submit(gateway, identity, WITH_CODE)[0] == 250
    return False


def test_the_doctor_knows_the_server(running: Running) -> None:
    said = running.gateway.command("doctor", succeeds=False)
    assert re.search(rf"ok +database: PostgreSQL \d+\.\d+, {database_of(running.gateway)} as {USER}, ", said), said
    assert "database: up to date" in said and PASSWORD not in said
    with running.server.administrator() as connection:
        connection.execute("ALTER SYSTEM SET full_page_writes = off")
        connection.execute("SELECT pg_reload_conf()")
        try:
            until(lambda: connection.execute("SHOW full_page_writes").fetchone() == ("off",))
            assert "database: full_page_writes is off" in running.gateway.command("doctor", succeeds=False)
        finally:
            connection.execute("ALTER SYSTEM RESET full_page_writes")
            connection.execute("SELECT pg_reload_conf()")


def test_a_backup_is_put_back_into_another_database(running: Running) -> None:
    """What was read before can be read again; what was taken back since can't."""
    gateway, folder = running.gateway, running.folder
    gateway.command("keys", "backup", str(folder / "keys.tar"))
    gateway.command("backup", str(folder / "backup"))
    assert {"zegel.dump", "erasures", "manifest.json"} <= {one.name for one in (folder / "backup").iterdir()}
    script(gateway, REVOKE, "all", "<geraden@voorbeeld.test>")
    journal = Journal(gateway.state / "erasures", keyring.sealing_key(gateway.state / "keys").key_id)
    lost = next(one for one in gateway.evidence() if "geraden" in one["message_id"])["conversation"]
    until(lambda: journal.path.exists() and any(one.subject.hex == lost for one in journal.read()))
    gateway.stop()
    shutil.move(gateway.state, folder / "lost")
    gateway.command("keys", "restore", str(folder / "keys.tar"))
    restore = ("restore", str(folder / "backup"), "--erasures", str(folder / "lost/erasures"))
    assert "would be overwritten" in gateway.command(*restore, succeeds=False)
    text = gateway.config.read_text()
    gateway.config.write_text(text.replace(database_of(gateway), running.server.create()))
    assert "Destroyed again: 1 conversations" in gateway.command(*restore)
    assert not list(gateway.state.glob("*.dump"))
    found = {one["message_id"].strip("<>").partition("@")[0]: one["content"] for one in gateway.evidence()}
    assert {one: found[one] for one in ("eerste", "geraden", "onderweg", "daarna")} == {
        "eerste": "sealed",
        "geraden": "destroyed",
        "onderweg": "sealed",
        "daarna": "sealed",
    }
    gateway.start()
    assert first_line("eerste") in running.read(running.receiver.copies[0].octets)


def test_another_database_than_is_needed_is_refused_in_a_sentence(running: Running) -> None:
    server = running.server
    with server.administrator() as connection:
        connection.execute(f"CREATE DATABASE octets OWNER {USER} TEMPLATE template0 ENCODING SQL_ASCII LOCALE 'C'")
        connection.execute(
            f"CREATE DATABASE dutch OWNER {USER} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE nl LOCALE 'C.UTF-8'"
        )
    remedy = "createdb --owner=zegel --template=template0 --encoding=UTF8 --locale=C.UTF-8 zegel"
    for url, expected in (
        (server.url("octets"), f"its encoding is SQL_ASCII. Make another: {remedy}"),
        (server.url("dutch"), f"it doesn't sort texts by their octets. Make another: {remedy}"),
        (server.url("nowhere"), 'database "nowhere" does not exist. Does its server run'),
        (server.url_by_loopback("octets"), "no password supplied. Does its server run"),
    ):
        code, said = zegel(running.folder / "other.toml", url, "migrate")
        assert code == 78 and said.startswith("zegel: The database can't be used: ") and expected in said, said


def zegel(config: Path, url: str, *arguments: str) -> tuple[int, str]:
    config.write_text(f'testing = true\nfolder = "other"\ndatabase_url = "{url}"\n')
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ZEGEL_", "DJANGO_"))}
    done = subprocess.run(
        [sys.executable, "-m", "zegel", *arguments, "--config", str(config)],
        env=kept,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_init_makes_a_gateway_in_a_new_database_and_in_no_other(server: PostgreSql, tmp_path: Path) -> None:
    def init(config: Path) -> tuple[int, str]:
        flags = {
            "--config": str(config),
            "--hostname": "zegel.voorbeeld.test",
            "--folder": str(config.parent / "data"),
            "--organisation": "Gemeente Voorbeeld",
            "--domain": "voorbeeld.test",
            "--administrator": "beheer@voorbeeld.test",
            "--password": "een-lange-zin-om-mee-te-beginnen",
            "--database-url": url,
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ZEGEL_", "DJANGO_"))}
        command = [sys.executable, "-m", "zegel", "init", *(part for pair in flags.items() for part in pair)]
        done = subprocess.run(command, env=kept, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    url = server.url(server.create())
    code, said = init(tmp_path / "one/zegel.toml")
    assert code == 0, said
    assert f"Made the tables in {url}, and keys in {tmp_path}/one/data." in said
    assert tomllib.loads((tmp_path / "one/zegel.toml").read_text())["database_url"] == url
    code, said = init(tmp_path / "two/zegel.toml")
    assert code == 78 and f"There is a gateway in {url} already." in said
    assert not (tmp_path / "two/zegel.toml").exists() and not (tmp_path / "two/data").exists()
