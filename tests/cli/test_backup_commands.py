"""`zegel backup` and `zegel restore`: what lies in a backup, or is named beside it, is not taken at its word."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from zegel.cli.backup import copy
from zegel.edge import keyring
from zegel.edge.journal import Erased, Journal

AT: Final = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ERASE: Final = """
from zegel.compose import clock, process
process.start_django()
import uuid
from django.db import transaction
from zegel.journey.custody import erasures
with transaction.atomic():
    erasures.note(erasures.Kind.CONVERSATION, [uuid.uuid4() for _ in range(2)], at=clock.now())
"""


class Place:
    """A gateway, its journal beside the data folder, and a backup; the data is lost but for keys and journal."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.backup = folder, folder / "backup"
        self.in_place = folder / "journal/erasures"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ZEGEL_", "DJANGO_"))}
        config = {"ZEGEL_CONFIG": str(folder / "zegel.toml"), "DJANGO_SETTINGS_MODULE": "zegel.web.settings"}
        self._environment = {**kept, **config}

    def python(self, *arguments: str, timeout: float = 60) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        return done.returncode, done.stdout

    def make(self) -> None:
        flags = {
            "--hostname": "zegel.voorbeeld.test",
            "--organisation": "Gemeente Voorbeeld",
            "--domain": "voorbeeld.test",
            "--administrator": "beheer@voorbeeld.test",
            "--password": "een-lange-zin-om-mee-te-beginnen",
            "--folder": str(self.folder / "data"),
            "--erasures": str(self.in_place.parent),
        }
        for command in (
            ("-m", "zegel", "init", *(part for pair in flags.items() for part in pair)),
            ("-c", ERASE),
            ("-m", "zegel", "backup", str(self.backup)),
        ):
            code, said = self.python(*command)
            assert code == 0, said
        for path in (self.folder / "data").glob("zegel.sqlite3*"):
            path.unlink()
        self.in_place.unlink()

    def restore(self, *arguments: str) -> str:
        code, said = self.python("-m", "zegel", "restore", str(self.backup), *arguments)
        assert code == 0, said
        return said

    def refused(self, *arguments: str) -> str:
        code, said = self.python("-m", "zegel", "restore", str(self.backup), *arguments)
        assert code != 0 and said.startswith("zegel: ") and "Traceback" not in said, said
        return said

    def newer(self, path: Path) -> Path:
        """The backup's journal, and one line more."""
        path.parent.mkdir(exist_ok=True)
        shutil.copy(self.backup / "erasures", path)
        journal = Journal(path, keyring.sealing_key(self.folder / "data/keys").key_id)
        journal.add(lambda last: [Erased(last + 1, AT, "conversation", uuid.UUID(int=9))])
        return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """For those that leave it as it is."""
    place = Place(tmp_path_factory.mktemp("place"))
    place.make()
    return place


@pytest.fixture
def place(made: Place) -> Place:
    """With another backup in each test; nothing is in place."""
    kept = made.folder / "kept"
    if not kept.exists():
        shutil.copytree(made.backup, kept)
    shutil.rmtree(made.backup)
    shutil.copytree(kept, made.backup)
    made.in_place.unlink(missing_ok=True)
    return made


# The journal


@pytest.mark.parametrize("octets", [b"", b"zegel erasures v1"])
def test_a_journal_in_the_backup_that_was_cut_off_is_damage(place: Place, tmp_path: Path, octets: bytes) -> None:
    """An older journal would pass for a newer one."""
    newer = place.newer(tmp_path / "erasures")
    (place.backup / "erasures").write_bytes(octets)
    assert f"{place.backup}/erasures is damaged: it is not what was copied" in place.refused("--erasures", str(newer))


def test_a_journal_in_the_backup_that_was_changed_or_is_gone_is_told(place: Place, tmp_path: Path) -> None:
    newer = place.newer(tmp_path / "erasures")
    path = place.backup / "erasures"
    octets = path.read_bytes()
    path.write_bytes(octets.replace(b"conversation", b"conversatiom"))
    assert "is damaged: it is not what was copied" in place.refused("--erasures", str(newer))
    path.write_bytes(octets[: octets.rstrip().rfind(b"\n") + 1])  # a line less
    assert "is damaged: it is not what was copied" in place.refused("--erasures", str(newer))
    path.unlink()
    assert "erasures is missing. Use another backup" in place.refused("--erasures", str(newer))


def test_the_backups_own_journal_is_not_a_newer_one(place: Place, tmp_path: Path) -> None:
    own = place.backup / "erasures"
    octets = own.read_bytes()
    for name, text in {"copy": octets, "torn": octets + b"99 2026"}.items():
        (tmp_path / name).write_bytes(text)
        assert "says no more than the journal in this backup" in place.refused("--erasures", str(tmp_path / name))
    (tmp_path / "link").symlink_to(own)
    for path in (own, tmp_path / "link"):
        assert "says no more than the journal in this backup" in place.refused("--erasures", str(path))


def test_a_file_without_a_first_line_is_no_journal(place: Place, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    assert f"{empty} is not a journal of erasures" in place.refused("--erasures", str(empty))
    place.in_place.parent.mkdir(exist_ok=True)
    place.in_place.touch()
    assert f"{place.in_place} is not a journal of erasures" in place.refused()
    assert f"{place.in_place} is not a journal of erasures" in place.refused("--without-erasures")


# Files that are not what they were


def link(path: Path) -> None:
    other = path.with_name("other")
    path.rename(other)
    path.symlink_to(other)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def longer(path: Path) -> None:
    os.truncate(path, 1 << 40)  # a hole: who reads it before looking at its size reads for hours


@pytest.mark.parametrize("change", [link, pipe, device, directory, longer])
@pytest.mark.parametrize("name", ["zegel.sqlite3", "erasures"])
def test_only_a_file_of_the_size_that_was_copied_is_read(
    place: Place, tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    newer = place.newer(tmp_path / "erasures")
    change(place.backup / name)
    assert f"{name} is damaged: it is not what was copied" in place.refused("--erasures", str(newer))


@pytest.mark.parametrize("change", [link, pipe, device, directory])
def test_a_manifest_is_a_file(place: Place, tmp_path: Path, change: Callable[[Path], None]) -> None:
    newer = place.newer(tmp_path / "erasures")
    change(place.backup / "manifest.json")
    said = place.refused("--erasures", str(newer))
    assert "is damaged" in said or "There is no" in said


# What goes well


@pytest.mark.parametrize("given", [(), ("--erasures",)])
def test_the_journal_in_place_may_be_as_long_as_the_backups(tmp_path: Path, given: tuple[str, ...]) -> None:
    """Nothing was destroyed since; it is the one that goes on by itself, also where it is named."""
    place = Place(tmp_path)
    place.make()
    shutil.copy(place.backup / "erasures", place.in_place)
    before = place.in_place.read_bytes()
    assert "Restored what was there" in place.restore(*(part for one in given for part in (one, str(place.in_place))))
    assert place.in_place.read_bytes() == before


# What survives a power cut


def synced_in(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    found: list[Path] = []
    fsync = os.fsync

    def sync(descriptor: int) -> None:
        fsync(descriptor)
        found.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fsync", sync)
    return found


def test_a_copy_is_durable_with_the_folders_that_were_made_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, backup = tmp_path / "source", tmp_path / "backup"
    source.write_bytes(b"x")
    backup.mkdir()
    synced = synced_in(monkeypatch)
    copy(source, backup / "blobs/ab/one")
    assert synced == [backup, backup / "blobs", backup / "blobs/ab/one", backup / "blobs/ab"]
    synced.clear()
    copy(source, backup / "blobs/ab/two")
    assert synced == [backup / "blobs/ab/two", backup / "blobs/ab"]
