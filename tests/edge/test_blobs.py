"""Blobs: durable under their name after the commit, gone without a trace before it."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

import pytest

from zegel.edge.blobs import Blobs
from zegel.edge.chance import identifier

OCTETS = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


def files(blobs: Blobs) -> list[str]:
    return sorted(path.name for path in blobs.folder.rglob("*") if path.is_file())


def committed(blobs: Blobs, octets: bytes = OCTETS) -> uuid.UUID:
    name = identifier()
    writer = blobs.create(name)
    writer.write(octets)
    writer.commit()
    return name


def read(blobs: Blobs, name: uuid.UUID, start: int = 0, length: int = len(OCTETS)) -> bytes:
    return b"".join(blobs.read(name, start, length))


def test_what_is_abandoned_leaves_nothing(blobs: Blobs) -> None:
    writer = blobs.create(identifier())
    writer.write(OCTETS)
    writer.abandon()
    assert files(blobs) == []


def test_what_is_abandoned_after_its_commit_leaves_nothing(blobs: Blobs) -> None:
    writer = blobs.create(identifier())
    writer.write(OCTETS)
    writer.commit()
    writer.abandon()
    writer.abandon()
    assert files(blobs) == []


def test_before_the_commit_nobody_can_read_it(blobs: Blobs) -> None:
    name = identifier()
    writer = blobs.create(name)
    writer.write(OCTETS)
    with pytest.raises(FileNotFoundError):
        read(blobs, name)
    writer.commit()
    assert read(blobs, name) == OCTETS


def test_a_name_that_is_being_written_can_not_be_taken(blobs: Blobs) -> None:
    name = identifier()
    writer = blobs.create(name)
    with pytest.raises(FileExistsError):
        blobs.create(name)
    writer.abandon()


def test_a_name_that_was_committed_can_not_be_taken(blobs: Blobs) -> None:
    name = committed(blobs)
    with pytest.raises(FileExistsError):
        blobs.create(name)
    assert read(blobs, name) == OCTETS
    assert files(blobs) == [name.hex]


def test_a_blob_that_is_not_there_can_not_be_read(blobs: Blobs) -> None:
    with pytest.raises(FileNotFoundError):
        read(blobs, identifier())


def test_removing_what_is_not_there_is_no_trouble(blobs: Blobs) -> None:
    blobs.remove(identifier())
    name = committed(blobs)
    blobs.remove(name)
    blobs.remove(name)
    assert files(blobs) == []


@pytest.mark.parametrize(
    ("start", "length"),
    [
        (0, 0),
        (0, 1),
        (1, 255),
        (0, len(OCTETS)),
        (300_000, 600_000),
        (len(OCTETS) - 1, 1),
        (len(OCTETS), 10),
        (5, 10**9),
    ],
)
def test_a_range_is_what_lies_there(blobs: Blobs, start: int, length: int) -> None:
    name = committed(blobs)
    assert read(blobs, name, start, length) == OCTETS[start : start + length]


def test_a_large_range_comes_in_pieces(blobs: Blobs) -> None:
    name = committed(blobs)
    assert max(len(piece) for piece in blobs.read(name, 0, len(OCTETS))) < len(OCTETS)


def test_pieces_may_be_written_in_any_cut(blobs: Blobs) -> None:
    name = identifier()
    writer = blobs.create(name)
    for piece in (b"", b"a", memoryview(b"bc").tobytes(), OCTETS, b"z"):
        writer.write(piece)
    writer.commit()
    assert read(blobs, name, 0, 10**9) == b"abc" + OCTETS + b"z"


def test_nobody_else_on_the_machine_may_look(blobs: Blobs) -> None:
    committed(blobs)
    for path in blobs.folder.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


def test_what_a_crash_left_is_found_by_name_and_what_is_young_is_not(blobs: Blobs) -> None:
    old, young = committed(blobs, b"old"), committed(blobs, b"young")
    half = identifier()
    blobs.create(half).write(b"half")
    an_hour_ago = time.time() - 3600
    for path in blobs.folder.rglob("*"):
        if path.is_file() and young.hex not in path.name:
            os.utime(path, (an_hour_ago, an_hour_ago))
    found = dict(blobs.names_older_than(1800))
    assert set(found) == {old, half}
    assert found[half].suffix == ".part"
    assert found[old].read_bytes() == b"old"


def test_the_search_passes_over_what_is_no_blob(blobs: Blobs) -> None:
    shelf = blobs.folder / "00"
    shelf.mkdir(parents=True)
    (shelf / "a note").write_text("x")
    (shelf / "dangling").symlink_to("nowhere")
    assert list(blobs.names_older_than(-10)) == []


def test_without_a_folder_there_are_no_blobs(tmp_path: Path) -> None:
    assert list(Blobs(tmp_path / "nothing").names_older_than(0)) == []
