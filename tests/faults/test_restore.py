"""P26: backup while mail comes in, destroy, restore: all that was accepted before is readable in full, nothing that was
destroyed since is, no mail goes out a second time by itself, and without the keys nothing is readable."""

from __future__ import annotations

import hashlib
import shutil
import smtplib
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from tests.faults.ground import Copy, Prepared, Receiver, message, parsed, readable_in, say, submit
from tests.peers import free_port, until
from tests.peers.gateway import Gateway
from zegel.edge import keyring
from zegel.edge.journal import Erased, Journal

SIZES: Final = (1_000, 5_000, 150_000)  # octets; the last ones are files
BEFORE: Final = 12
REVOKE: Final = """
import sys
from zegel.compose import clock, process
process.start_django()
from django.db import transaction
from zegel.journey import milestones
from zegel.journey.custody import revoking
from zegel.journey.custody.models import Conversation, Recipient
now = clock.now()
with transaction.atomic():
    found = Conversation.objects.get(submission__message_id=sys.argv[2])
    if sys.argv[1] == "all":
        revoking.revoke_all(found, now=now)
        milestones.revoked(found.id, now=now)
    else:
        assert revoking.revoke(found.recipients.get(), now=now)
"""


class Mailbox:
    """A receiving server that takes everything but what is to wait."""

    def __init__(self) -> None:
        self.everything_waits = False
        self.waits: set[str] = set()  # conversations

    def verdict(self, copy: Copy) -> str:
        waits = self.everything_waits or conversation_of(copy) in self.waits
        return "451 4.2.0 later" if waits else "250 2.0.0 taken"


def conversation_of(copy: Copy) -> str:
    return str(parsed(copy.octets)["X-Zegel-Conversation"])


class Load(threading.Thread):
    """One client that sends until it is told to stop."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(daemon=True)
        self._gateway = gateway
        self._is_over = threading.Event()
        self.accepted: list[str] = []

    def run(self) -> None:
        with suppress(smtplib.SMTPException, OSError):
            client = self._gateway.client()
            while not self._is_over.is_set():
                identity = f"last-{len(self.accepted)}"
                code, text = say(client, identity, octets=SIZES[len(self.accepted) % 3])
                assert code == 250, text
                self.accepted.append(identity)

    def end(self) -> None:
        self._is_over.set()
        self.join(60)
        assert not self.is_alive()


@pytest.fixture
def gateway(prepared: Prepared, tmp_path: Path) -> Iterator[Gateway]:
    """With its journal of erasures beside the data folder, which will be lost."""
    made = prepared.gateway(tmp_path / "gateway", mx_port=free_port())
    text = made.config.read_text()
    made.config.write_text(text.replace('folder = "state"\n', 'folder = "state"\nerasures = "journal"\n'))
    yield made
    made.stop()


@pytest.fixture
def receiver(gateway: Gateway) -> Iterator[tuple[Receiver, Mailbox]]:
    mailbox = Mailbox()
    port = int(gateway.config.read_text().split("mx_port = ")[1].split("\n")[0])
    with Receiver(port, mailbox.verdict).listening() as listening:
        yield listening, mailbox


def body_of(identity: str, octets: int) -> str:
    return hashlib.sha256(message(identity, octets=octets).partition(b"\r\n\r\n")[2]).hexdigest()


def by_identity(gateway: Gateway) -> dict[str, dict[str, Any]]:
    return {str(one["message_id"]).strip("<>").partition("@")[0]: one for one in gateway.evidence()}


def state_of(gateway: Gateway, identity: str) -> object:
    return by_identity(gateway)[identity]["recipients"][0]["state"]


def script(gateway: Gateway, text: str, *arguments: str) -> None:
    environment = {**gateway._environment(), "ZEGEL_CONFIG": str(gateway.config)}
    environment["DJANGO_SETTINGS_MODULE"] = "zegel.web.settings"
    subprocess.run([sys.executable, "-c", text, *arguments], env=environment, check=True)


def journal_of(gateway: Gateway) -> Journal:
    key = keyring.sealing_key(gateway.state / "keys").key_id
    return Journal(gateway.folder / "journal/erasures", key)


def in_journal(gateway: Gateway, identifier: str) -> bool:
    journal = journal_of(gateway)
    return journal.path.exists() and any(one.subject.hex == identifier for one in journal.read())


def lose_everything_but_the_journal(gateway: Gateway) -> None:
    gateway.kill_everything()
    shutil.rmtree(gateway.state)


def put_back(gateway: Gateway, folder: Path, keys: Path) -> str:
    gateway.command("keys", "restore", str(keys))
    return gateway.command("restore", str(folder))


def test_what_was_accepted_before_the_backup_is_there_again_and_what_was_destroyed_since_is_not(
    gateway: Gateway, receiver: tuple[Receiver, Mailbox], tmp_path: Path
) -> None:
    listening, mailbox = receiver
    folder, keys = tmp_path / "backup", tmp_path / "keys.tar"
    mailbox.everything_waits = True
    gateway.start()
    gateway.command("keys", "backup", str(keys))
    sizes = {"waits-0": 1_000, "waits-1": 1_000}
    for identity in sizes:
        assert submit(gateway, identity)[0] == 250
    until(lambda: len({conversation_of(copy) for copy in listening.copies}) == 2, 60)
    mailbox.waits = {conversation_of(copy) for copy in listening.copies}
    mailbox.everything_waits = False
    for number in range(BEFORE):
        identity, octets = f"first-{number}", SIZES[number % 3]
        assert submit(gateway, identity, octets=octets)[0] == 250
        sizes[identity] = octets
    load = Load(gateway)
    load.start()
    until(lambda: len(load.accepted) > 5, 60)
    started = len(load.accepted)  # these have their 250, so they are in the backup
    gateway.command("backup", str(folder))
    ended = len(load.accepted)
    load.end()
    assert readable_in(folder) == []

    # After the backup: what waited is delivered, one message is revoked, another from its recipient.
    waited, mailbox.waits = mailbox.waits, set()
    before = by_identity(gateway)
    script(gateway, REVOKE, "all", before["first-2"]["message_id"])
    script(gateway, REVOKE, "one", before["first-1"]["message_id"])
    taken = before["first-1"]["recipients"][0]["recipient"]
    until(lambda: in_journal(gateway, before["first-2"]["conversation"]) and in_journal(gateway, taken), 60)
    until(lambda: {state_of(gateway, f"waits-{one}") for one in (0, 1)} == {"notified"}, 180)
    lose_everything_but_the_journal(gateway)
    told = put_back(gateway, folder, keys)
    assert "Destroyed again: 1 conversations" in told and "Taken back again: 2 recipients" in told

    found = by_identity(gateway)
    assert found["first-2"]["content"] == "destroyed"
    for identity, octets in sizes.items():
        if identity != "first-2":
            assert found[identity]["body_sha256"] == body_of(identity, octets), identity
    for number, identity in enumerate(load.accepted[:started]):
        assert found[identity]["body_sha256"] == body_of(identity, SIZES[number % 3]), identity
    inside = [identity for identity in load.accepted if identity in found]
    assert inside == load.accepted[: len(inside)]  # one moment
    assert started <= len(inside) <= ended + 1
    assert not any(one["content"] == "damaged" for one in found.values())

    # It runs on; what was sent after the backup is not sent once more by itself.
    copies = len(listening.copies)
    gateway.start()
    assert submit(gateway, "fresh-0")[0] == 250
    until(lambda: state_of(gateway, "fresh-0") == "notified", 60)
    fresh = by_identity(gateway)["fresh-0"]["conversation"]
    assert {conversation_of(copy) for copy in listening.copies[copies:]} == {fresh}
    shown = gateway.command("queue", "show")
    assert shown.count("notification to balie@ontvanger.test") >= 2
    assert "jobs are held since" in gateway.command("doctor", succeeds=False)
    gateway.command("queue", "release")
    until(lambda: waited <= {conversation_of(copy) for copy in listening.copies[copies:]}, 60)
    assert gateway.command("queue", "show") == "Nothing is held.\n"
    gateway.stop()


@pytest.fixture
def backed_up(gateway: Gateway, tmp_path: Path) -> tuple[Gateway, Path, Path]:
    """A gateway that holds three messages, its backup, and the backup of its keys; the data folder is gone."""
    folder, keys = tmp_path / "backup", tmp_path / "keys.tar"
    gateway.start()
    for number, octets in enumerate(SIZES):
        assert submit(gateway, f"held-{number}", octets=octets)[0] == 250
    gateway.command("keys", "backup", str(keys))
    gateway.command("backup", str(folder))
    until((gateway.folder / "journal/erasures").exists, 30)
    lose_everything_but_the_journal(gateway)
    return gateway, folder, keys


def refused(gateway: Gateway, *arguments: str) -> str:
    said = gateway.command(*arguments, succeeds=False)
    assert said.startswith("zegel: ") and "Traceback" not in said, said
    return said


def test_without_the_keys_nothing_is_readable(backed_up: tuple[Gateway, Path, Path], tmp_path: Path) -> None:
    gateway, folder, _ = backed_up
    assert "zegel keys restore FILE" in refused(gateway, "restore", str(folder))
    keyring.create(gateway.state / "keys")
    assert "don't open this backup" in refused(gateway, "restore", str(folder))
    assert not (gateway.state / "zegel.sqlite3").exists()
    # Somebody who forces it reads nothing either.
    shutil.copy(folder / "zegel.sqlite3", gateway.state)
    shutil.copytree(folder / "blobs", gateway.state / "blobs")
    (gateway.folder / "journal/erasures").unlink()
    found = gateway.evidence()
    assert len(found) == 3 and {one["content"] for one in found} == {"damaged"}
    assert readable_in(folder) == []


def test_a_restore_fails_closed(backed_up: tuple[Gateway, Path, Path], tmp_path: Path) -> None:
    gateway, folder, keys = backed_up
    gateway.command("keys", "restore", str(keys))
    assert "keys are never overwritten" in refused(gateway, "keys", "restore", str(keys))
    journal, away = gateway.folder / "journal/erasures", tmp_path / "journal"
    journal.rename(away)
    assert "--without-erasures" in refused(gateway, "restore", str(folder))
    assert "says no more than the journal in this backup" in refused(
        gateway, "restore", str(folder), "--erasures", str(away)
    )
    fresh = Erased(1, datetime.now(UTC), "conversation", uuid.uuid4())  # what was destroyed since
    assert Journal(away, journal_of(gateway).gateway).add(lambda last: [replace(fresh, number=last + 1)]) == 1
    # Damage is found before anything can start with it, and what was begun can be done again.
    blob = next(path for path in (folder / "blobs").rglob("*") if path.is_file())
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    restore = ("restore", str(folder), "--erasures", str(away))
    assert "is damaged: it is not what was copied" in refused(gateway, *restore)
    for command in (("run",), ("run", "--role", "submission"), ("evidence",), ("backup", str(tmp_path / "no"))):
        assert "that was interrupted" in refused(gateway, *command)
    assert "restore: not finished" in gateway.command("doctor", succeeds=False)
    blob.unlink()
    assert "is missing. Use another backup" in refused(gateway, *restore)
    blob.write_bytes(whole)
    assert "Restored what was there" in gateway.command(*restore)
    assert {one["content"] for one in gateway.evidence()} == {"sealed"}
    # Never over what is there.
    assert "would be overwritten. Move zegel.sqlite3*" in refused(gateway, *restore)
    # Where there is no journal anywhere, somebody has to say so.
    for path in (gateway.state / "zegel.sqlite3", gateway.state / "blobs"):
        path.rename(tmp_path / path.name)
    for path in (journal, *gateway.state.glob("zegel.sqlite3-*")):
        path.unlink()
    assert "would be readable again" in refused(gateway, "restore", str(folder))
    assert "Restored what was there" in gateway.command("restore", str(folder), "--without-erasures")
    assert journal.exists()
    (folder / "manifest.json").unlink()
    assert "one that was interrupted" in refused(gateway, *restore)


def test_an_older_database_that_was_put_back_by_hand_does_not_start(
    backed_up: tuple[Gateway, Path, Path], tmp_path: Path
) -> None:
    gateway, folder, keys = backed_up
    put_back(gateway, folder, keys)
    older = (gateway.state / "zegel.sqlite3").read_bytes()
    script(gateway, REVOKE, "all", gateway.evidence()[0]["message_id"])
    gateway.command("backup", str(tmp_path / "later"))  # writes the journal
    for end in ("-wal", "-shm"):
        (gateway.state / f"zegel.sqlite3{end}").unlink(missing_ok=True)
    (gateway.state / "zegel.sqlite3").write_bytes(older)
    for command in ("run", "evidence"):
        assert "knows of later ones than the database" in refused(gateway, command)
    assert "use: zegel restore" in gateway.command("doctor", succeeds=False)


def test_ended_work_is_told_to_the_sender_and_sent_to_nobody(
    gateway: Gateway, receiver: tuple[Receiver, Mailbox], tmp_path: Path
) -> None:
    listening, mailbox = receiver
    mailbox.everything_waits = True
    folder, keys = tmp_path / "backup", tmp_path / "keys.tar"
    gateway.start()
    gateway.command("keys", "backup", str(keys))
    assert submit(gateway, "waits-0")[0] == 250
    until(lambda: len(listening.copies) > 0, 60)
    gateway.command("backup", str(folder))
    lose_everything_but_the_journal(gateway)
    put_back(gateway, folder, keys)
    assert "1 recipients" in gateway.command("queue", "end")
    (recipient,) = gateway.evidence()[0]["recipients"]
    assert (recipient["state"], recipient["status"]) == ("undeliverable", "4.3.0")
    mailbox.everything_waits = False
    copies = len(listening.copies)
    gateway.start()
    assert submit(gateway, "fresh-0")[0] == 250
    until(lambda: len(listening.copies) > copies, 60)
    until(lambda: state_of(gateway, "fresh-0") == "notified", 60)
    assert len(listening.copies) == copies + 1
    gateway.stop()


def test_a_backup_goes_nowhere_else_and_overwrites_nothing(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    assert "is not empty" in refused(gateway, "backup", str(tmp_path / "full"))
    gateway.command("backup", str(tmp_path / "made"))
    modes = {path.stat().st_mode & 0o077 for path in (tmp_path / "made").rglob("*")}
    assert modes == {0}
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["erasures", "manifest.json", "zegel.sqlite3"]
    shutil.rmtree(gateway.state)
    assert "There is no" in refused(gateway, "backup", str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
