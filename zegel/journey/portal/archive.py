"""All files of a message as one, while they are opened: no file in clear on a disk, no message in memory (ADR-34)."""

from __future__ import annotations

import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import IO, Final, cast

_LONGEST: Final = 150  # octets of a name in UTF-8; file systems take 255, and numbers are added
_FORBIDDEN: Final = frozenset('/\\:*?"<>|')
_RESERVED: Final = frozenset(  # names of devices on Windows, with any extension; digits also as superscripts
    {
        *("con", "prn", "aux", "nul", "conin$", "conout$"),
        *(f"{device}{number}" for device in ("com", "lpt") for number in range(10)),
    }
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file on its way into an archive."""

    name: str
    size: int
    octets: Callable[[], Iterator[bytes]]


class _Pending:
    """Octets that the archive wrote and nobody took yet. Has no place to go back to, so that nothing is kept."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, octets: bytes) -> int:
        self._pieces.append(bytes(octets))
        return len(octets)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def zipped(entries: Sequence[Entry], at: datetime) -> Iterator[bytes]:
    """A ZIP archive (APPNOTE 6.3.10) in pieces: stored and not compressed, sizes behind the octets, ZIP64 where it is
    needed. ``at`` is what each file is dated."""
    pending = _Pending()
    names = safe_names([entry.name for entry in entries])
    date = (min(max(at.year, 1980), 2107), at.month, at.day, at.hour, at.minute, at.second)
    with zipfile.ZipFile(cast("IO[bytes]", pending), "w", zipfile.ZIP_STORED) as archive:
        for entry, name in zip(entries, names, strict=True):
            info = zipfile.ZipInfo(name, date)
            info.file_size = entry.size  # tells whether ZIP64 is needed
            info.external_attr = 0o644 << 16
            with archive.open(info, "w") as file:
                for piece in entry.octets():
                    file.write(piece)
                    yield pending.take()
            yield pending.take()
    yield pending.take()


def safe_names(names: Sequence[str]) -> list[str]:
    """Names that are files in the folder where they are unpacked, on every system, and no two the same for one that
    takes capitals for small letters or composes characters. In linear time, also where all are the same."""
    taken: set[str] = set()
    last: dict[str, int] = {}  # number that was given to names like this one
    chosen = []
    for name in names:
        plain = PurePosixPath(_safe(name))
        like = _compared(str(plain))
        unique, number = str(plain), last.get(like, 1)
        while _compared(unique) in taken:
            number += 1
            unique = f"{plain.stem} ({number}){plain.suffix}"
        taken.add(_compared(unique))
        last[like] = number
        chosen.append(unique)
    return chosen


def _safe(name: str) -> str:
    name = unicodedata.normalize("NFC", name)
    kept = "".join(
        "_" if char in _FORBIDDEN else char for char in name if unicodedata.category(char) not in ("Cc", "Cf", "Cs")
    )
    kept = kept.strip().strip(".").strip() or "file"
    path = PurePosixPath(kept)
    if _compared(path.stem.split(".")[0]).strip() in _RESERVED:
        path = PurePosixPath(f"_{path}")
    suffix = path.suffix if len(path.suffix.encode()) <= 20 else ""
    stem = str(path)[: len(str(path)) - len(suffix)] if suffix else str(path)
    return stem.encode()[: _LONGEST - len(suffix.encode())].decode("utf-8", "ignore").rstrip(" .") + suffix


def _compared(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()
