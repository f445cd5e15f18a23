"""Large sealed content as files: written, synced, renamed, and the folder synced, before anybody relies on them."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from zegel.edge.durable import sync_folder

_READ: Final = 256 * 1024


class BlobWriter:
    """One blob being written. :meth:`commit` makes it durable under its name; :meth:`abandon` leaves nothing."""

    __slots__ = ("_file", "_final", "_temporary", "folder")

    def __init__(self, folder: Path, name: uuid.UUID) -> None:
        self.folder = _shelf(folder, name)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._final = self.folder / name.hex
        if self._final.exists():
            raise FileExistsError(self._final)
        self._temporary = self.folder / f"{name.hex}.part"
        descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(descriptor, "wb", buffering=0)

    def write(self, sealed: bytes) -> None:
        """Sealed octets, in order. Raises ``OSError`` when the disk is full or broken."""
        view = memoryview(sealed)
        while view:
            view = view[self._file.write(view) :]

    def commit(self) -> None:
        """Durable when it returns: file, name and folders."""
        os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.rename(self._final)
        sync_folder(self.folder)
        sync_folder(self.folder.parent)

    def abandon(self) -> None:
        """Removes whatever was written, also after a commit."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)
        self._final.unlink(missing_ok=True)


class Blobs:
    """The blob folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, name: uuid.UUID) -> BlobWriter:
        """A new blob; raises ``FileExistsError`` for a name in use and ``OSError`` when the disk is full."""
        return BlobWriter(self.folder, name)

    def read(self, name: uuid.UUID, start: int, length: int) -> Iterator[bytes]:
        """The sealed octets of a range, in pieces. Raises ``FileNotFoundError``."""
        with (_shelf(self.folder, name) / name.hex).open("rb", buffering=0) as file:
            file.seek(start)
            while length > 0 and (piece := file.read(min(_READ, length))):
                length -= len(piece)
                yield piece

    def remove(self, name: uuid.UUID) -> None:
        """Removes the blob if it is there. What makes it unreadable is the destruction of its key, not this."""
        (_shelf(self.folder, name) / name.hex).unlink(missing_ok=True)

    def names_older_than(self, seconds: float) -> Iterator[tuple[uuid.UUID, Path]]:
        """For the sweep: blobs, finished or not, that a crash may have left behind before their commit."""
        limit = time.time() - seconds
        for path in self.folder.glob("??/*"):
            try:
                if path.stat().st_mtime < limit:
                    yield uuid.UUID(path.name.removesuffix(".part")), path
            except (FileNotFoundError, ValueError):
                continue


def _shelf(folder: Path, name: uuid.UUID) -> Path:
    return folder / name.hex[-2:]
