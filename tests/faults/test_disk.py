"""P4: a disk that is full refuses mail with 452 and nothing else; with room again, all goes on without a restart.

State, log and temporary files of a running gateway lie on one small file system, which a file fills to its last octet.
One story in the order of its happening; each test is a chapter.
"""

from __future__ import annotations

import errno
import os
import re
import smtplib
import subprocess
from collections.abc import Iterator
from contextlib import closing as ending
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from pysqlite3 import dbapi2 as sqlite3

import zegel
from tests.faults.ground import (
    Prepared,
    Receiver,
    Visitor,
    accepted,
    begin,
    blobs,
    closing,
    hidden_in,
    line_of,
    link_in,
    message,
    readable_in,
    say,
    submit,
)
from tests.needs import needs
from tests.peers import free_port, until
from tests.peers.gateway import Gateway
from zegel.edge.sqlite import empty_log

SIZE: Final = 64 * 1024 * 1024
FULL: Final = (452, "4.3.1 Temporarily out of storage; try again later")
ACCESS_CODE: Final = "open-sesam-4711"
WITH_CODE: Final = f"zivver-access-right: balie@ontvanger.test access-code {ACCESS_CODE}"

# A web process that notes every use of a session, where the real one does so once a minute.
NOTES_EVERY_USE: Final = "import zegel.web.middleware; zegel.web.middleware._NOTED_EVERY = 0"


@dataclass(slots=True)
class Disk:
    """A small file system."""

    folder: Path

    def free(self) -> int:
        """Octets."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def fill(self) -> None:
        """Not an octet is left."""
        descriptor = os.open(self.folder / "filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for piece in (b"x" * 1_000_000, b"x" * 4096):
                _write_until_full(descriptor, piece)
        finally:
            os.close(descriptor)
        assert self.free() == 0

    def clear(self) -> None:
        """As before :meth:`fill`."""
        (self.folder / "filler").unlink()


def _write_until_full(descriptor: int, piece: bytes) -> None:
    try:
        while True:
            os.write(descriptor, piece)
    except OSError as cause:
        assert cause.errno == errno.ENOSPC


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """Mounted at ``folder``, in memory; nothing of it is left afterwards."""
    needs("mount")
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "zegel-test", folder], check=True)
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@dataclass(slots=True)
class Full:
    """What the chapters share."""

    disk: Disk
    gateway: Gateway
    receiver: Receiver
    processes: list[int]
    acknowledged: dict[str, int] = field(default_factory=dict)  # identity → size
    reader: Visitor | None = None
    read: str = ""

    def note(self, identity: str, reply: tuple[int, str], octets: int = 1_000) -> tuple[int, str]:
        """Remembers what got its 250."""
        if reply[0] == 250:
            self.acknowledged[identity] = octets
        return reply


@pytest.fixture(scope="module")
def running(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Full]:
    folder = tmp_path_factory.mktemp("full")
    (folder / "sitecustomize.py").write_text(NOTES_EVERY_USE)
    port = free_port()
    receiver = Receiver(port, lambda _: "250 2.0.0 ok")
    with small_disk(folder / "disk") as disk, receiver.listening():
        path = f"{folder}{os.pathsep}{Path(zegel.__file__).parents[1]}"
        gateway = prepared.gateway(disk.folder / "gateway", mx_port=port, PYTHONPATH=path)
        with gateway:
            yield Full(disk, gateway, receiver, sorted(gateway.processes()))


def test_before_the_disk_is_full_a_guest_opens_a_message(running: Full) -> None:
    assert running.note("te-lezen", submit(running.gateway, "te-lezen", WITH_CODE))[0] == 250
    until(lambda: len(running.receiver.copies) == 1, 30)
    visitor = running.reader = Visitor(running.gateway.portal_port)
    status, page = visitor.get(link_in(running.receiver.copies[0].octets))
    assert status == 200
    action = re.search(r'action="(/[^"]*verify[^"]*)"', page)
    assert action
    status, running.read = visitor.post(action[1], **hidden_in(page), code=ACCESS_CODE)
    assert status == 303
    _forget_last_use(running.gateway)


def test_a_full_disk_refuses_every_message_with_452(running: Full) -> None:
    """At its first moment a message may still pass, or be refused only at its end; it gets no other answer."""
    _fill_to_the_log(running)
    with closing(running.gateway.client()) as client:
        until(lambda: running.note("eerst", say(client, "eerst")) == FULL)
        for number in range(5):
            assert say(client, f"vol-{number}") == FULL
        assert client.docmd("NOOP")[0] == 250


def test_who_signs_in_is_told_that_the_disk_is_full_and_not_that_the_sign_in_failed(running: Full) -> None:
    """Its use, the first for a minute, could be noted neither here nor in the chapter before."""
    assert _last_use(running.gateway) is None
    with closing(running.gateway.client()) as client:
        assert say(client, "vol-nieuw") == FULL


def test_the_portal_answers_and_what_was_opened_is_read(running: Full) -> None:
    assert running.reader is not None
    assert Visitor(running.gateway.portal_port).get("/inbox/")[0] == 200
    for _ in range(2):
        status, page = running.reader.get(running.read)
        assert status == 200
        assert line_of("te-lezen") in page


def test_nothing_was_restarted_and_a_250_comes_once_there_is_room(running: Full) -> None:
    running.disk.clear()
    number = 0

    def passes() -> bool:
        nonlocal number
        number += 1
        identity = f"weer-{number}"
        return running.note(identity, submit(running.gateway, identity))[0] == 250

    until(passes, 60)
    assert sorted(running.gateway.processes()) == running.processes


def test_a_disk_that_fills_in_the_middle_of_a_large_message_refuses_that_message(running: Full) -> None:
    whole = message("halverwege", octets=3_000_000)
    with closing(running.gateway.client()) as client:
        assert begin(client) is None
        client.send(whole[:1_500_000])
        until(lambda: any(path.suffix == ".part" for path in blobs(running.gateway)))
        running.disk.fill()
        try:
            client.send(whole[1_500_000:] + b".\r\n")
            code, text = client.getreply()
            assert (code, text.decode()) == FULL
            assert blobs(running.gateway) == []
            assert client.docmd("NOOP")[0] == 250
        finally:
            running.disk.clear()


def test_a_disk_that_fills_before_the_rows_are_written_refuses_or_keeps_its_promise(running: Full) -> None:
    """Small and large by turns; how much the database has left of what it took from the disk earlier differs."""
    codes = set()
    with closing(running.gateway.client()) as client:
        for number in range(12):
            identity, octets = f"laatst-{number}", 100_000 if number % 2 else 1_000
            _until_there_is_room(client)
            assert begin(client) is None
            running.disk.fill()
            try:
                client.send(message(identity, octets=octets) + b".\r\n")
                code, text = client.getreply()
                codes.add(code)
                assert code == 250 or (code, text.decode()) == FULL
                running.note(identity, (code, text.decode()), octets)
            finally:
                running.disk.clear()
    assert 452 in codes


def test_a_large_message_passes_afterwards(running: Full) -> None:
    with closing(running.gateway.client()) as client:
        _until_there_is_room(client)
        assert running.note("groot", say(client, "groot", octets=3_000_000), 3_000_000)[0] == 250


def test_exactly_what_was_acknowledged_is_there_whole_and_gets_delivered(running: Full) -> None:
    def settled() -> bool:
        states = [one["state"] for found in running.gateway.evidence() for one in found["recipients"]]
        return len(states) == len(running.acknowledged) and set(states) <= {"notified", "opened"}

    until(settled, 90)
    assert sorted(accepted(running.gateway)) == sorted(running.acknowledged)
    assert {one["content"] for one in running.gateway.evidence()} == {"sealed"}
    large = [identity for identity, octets in running.acknowledged.items() if octets > 65_536]
    assert len(blobs(running.gateway)) == len(large)
    assert sorted(running.gateway.processes()) == running.processes


def test_the_first_reading_is_noted_once_that_can_be_written(running: Full) -> None:
    assert running.reader is not None
    assert running.reader.get(running.read)[0] == 200
    states = {one["message_id"]: one["recipients"][0]["state"] for one in running.gateway.evidence()}
    assert states["<te-lezen@voorbeeld.test>"] == "opened"


def test_nothing_readable_was_left_by_all_that_failed(running: Full) -> None:
    assert readable_in(running.disk.folder) == []


def _until_there_is_room(client: smtplib.SMTP) -> None:
    def has_room() -> bool:
        taken = client.docmd("MAIL FROM:<afzender@voorbeeld.test>")[0] == 250
        client.docmd("RSET")
        return taken

    until(has_room, 60)


def _fill_to_the_log(running: Full) -> None:
    """SQLite's log keeps the room that it once had, and begins anew in it: without any, no commit finds some."""
    log = running.gateway.state / "zegel.sqlite3-wal"

    def has_none_left() -> bool:
        with ending(sqlite3.connect(running.gateway.state / "zegel.sqlite3", timeout=30)) as database:
            empty_log(lambda pragma: database.execute(pragma).fetchone())
        running.disk.fill()
        if log.stat().st_size == 0:
            return True
        running.disk.clear()
        return False

    until(has_none_left, 60)


def _forget_last_use(gateway: Gateway) -> None:
    """As for credentials that were not used for a minute."""
    with sqlite3.connect(gateway.state / "zegel.sqlite3", timeout=30) as database:
        database.execute("UPDATE accounts_smtpcredential SET last_used_at = NULL")


def _last_use(gateway: Gateway) -> str | None:
    with sqlite3.connect(gateway.state / "zegel.sqlite3", timeout=30) as database:
        found: tuple[str | None] = database.execute("SELECT last_used_at FROM accounts_smtpcredential").fetchone()
    return found[0]
