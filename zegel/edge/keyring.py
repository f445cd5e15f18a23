"""The keys on this machine: three files, each as open as its role needs.

``sealing.key``     the public half: every role
``submission.key``  secrets that recognise a message again (identity MAC, loop marker): submission and dispatch
``opening.key``     the private half, from which the web's own secrets derive too: dispatch and web, never submission
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zegel.core.seal.slot import derive
from zegel.core.seal.wrap import OpeningKey, SealingKey
from zegel.core.secret import Secret
from zegel.edge.durable import sync_folder

SEALING: Final = "sealing.key"
SUBMISSION: Final = "submission.key"
OPENING: Final = "opening.key"
COPIED: Final = "backup-made"  # beside the keys: when they were copied, and which ones
_SUBMISSION_LENGTH: Final = 32  # octets


class KeyTrouble(Exception):
    """One sentence for the operator: which key file, what is wrong, what to do."""


@dataclass(frozen=True, slots=True)
class SubmissionKeys:
    """What the process that talks to strangers holds: it can close and recognise, not open."""

    sealing: SealingKey
    identity: Secret[bytes]  # D-4: MAC over what makes two transactions the same message
    marker: Secret[bytes]  # of the loop marker
    failures: Secret[bytes]  # MAC over networks from which sign-ins failed


@dataclass(frozen=True, slots=True)
class OpeningKeys:
    """What dispatch and web hold."""

    opening: OpeningKey
    sealing: SealingKey
    codes: Secret[bytes]  # MAC key of challenge codes
    cookies: Secret[bytes]  # encloses link secrets in the browser
    web: Secret[bytes]  # Django's own signing
    marker: Secret[bytes]


def is_there(folder: Path) -> bool:
    """At least one of the three files; then none of them is ever made."""
    return any((folder / name).exists() for name in (SEALING, SUBMISSION, OPENING))


def create(folder: Path) -> bool:
    """Makes the three files, or does nothing and returns ``False`` when the keyring is there.

    An incomplete keyring is never completed: a new key beside old mail would look like health and be loss. So all
    three appear together, under the name by which they are looked for. Raises ``OSError``.
    """
    if is_there(folder):
        return False
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    exists = folder.exists()  # made by somebody who keeps keys on another disk
    fresh = folder / ".new" if exists else folder.with_name(f"{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)  # of a start that was killed: nothing was ever sealed with them
    fresh.mkdir(mode=0o700)
    opening = OpeningKey.generate()
    _write(fresh / OPENING, "zegel opening key v1", opening.to_bytes().reveal(), mode=0o600)
    _write(fresh / SUBMISSION, "zegel submission key v1", os.urandom(_SUBMISSION_LENGTH), mode=0o600)
    _write(fresh / SEALING, "zegel sealing key v1", opening.sealing_bytes(), mode=0o644)
    sync_folder(fresh)
    if exists:
        for name in (OPENING, SUBMISSION, SEALING):
            (fresh / name).rename(folder / name)
        fresh.rmdir()
        sync_folder(folder)
    else:
        fresh.rename(folder)
        sync_folder(folder.parent)
    return True


def submission_keys(folder: Path) -> SubmissionKeys:
    """For the submission role. Raises :class:`KeyTrouble`."""
    root = _submission(folder)
    return SubmissionKeys(_sealing(folder), derive(root, "identity"), derive(root, "marker"), derive(root, "failures"))


def fingerprint(folder: Path) -> str:
    """Of the three files, for whoever asks whether they are still those that were copied. Raises ``OSError``."""
    octets = hashlib.sha256()
    for name in (SEALING, SUBMISSION, OPENING):
        octets.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return octets.hexdigest()[:32]


def is_copied(folder: Path) -> bool:
    """There is a backup of the keys that are in use."""
    try:
        of = (folder / COPIED).read_text("ascii").strip().partition(" ")[2]
        return of == fingerprint(folder)
    except (OSError, ValueError):
        return False


def sealing_key(folder: Path) -> SealingKey:
    """The public half alone; its ``key_id`` tells one gateway's keys from another's. Raises :class:`KeyTrouble`."""
    return _sealing(folder)


def opening_keys(folder: Path) -> OpeningKeys:
    """For dispatch and web. Raises :class:`KeyTrouble`."""
    try:
        opening = OpeningKey.from_bytes(Secret(_read(folder / OPENING, "zegel opening key v1", private=True)))
    except ValueError as cause:
        raise KeyTrouble(f"{folder / OPENING} is damaged. Put back your backup of it.") from cause
    sealing = _sealing(folder)
    if sealing.key_id != opening.key_id:
        raise KeyTrouble(
            f"{folder / SEALING} and {folder / OPENING} don't belong together: what is sealed now could not be opened. "
            "Put back the pair from your backup."
        )
    root = opening.to_bytes()
    marker = derive(_submission(folder), "marker")
    return OpeningKeys(opening, sealing, derive(root, "codes"), derive(root, "cookies"), derive(root, "web"), marker)


def _submission(folder: Path) -> Secret[bytes]:
    octets = _read(folder / SUBMISSION, "zegel submission key v1", private=True)
    if len(octets) != _SUBMISSION_LENGTH:
        raise KeyTrouble(f"{folder / SUBMISSION} is damaged. Put back your backup of it.")
    return Secret(octets)


def _sealing(folder: Path) -> SealingKey:
    try:
        return SealingKey.from_bytes(_read(folder / SEALING, "zegel sealing key v1", private=False))
    except ValueError as cause:
        raise KeyTrouble(f"{folder / SEALING} is damaged. Put back your backup of it.") from cause


def _read(path: Path, label: str, *, private: bool) -> bytes:
    try:
        mode = path.stat().st_mode
        text = path.read_text("ascii")
    except FileNotFoundError as cause:
        raise KeyTrouble(
            f"There is no {path}. Put back your backup of it; `zegel run` makes keys only at first run."
        ) from cause
    except PermissionError as cause:
        raise KeyTrouble(f"{path} can't be read by this user. Give it to the user that Zegel runs as.") from cause
    except (OSError, UnicodeError) as cause:
        raise KeyTrouble(f"{path} can't be read. Put back your backup of it.") from cause
    if private and mode & 0o077:
        raise KeyTrouble(f"{path} can be read by other users. Run: chmod 600 {path}")
    first, _, rest = text.partition("\n")
    try:
        if first != label:
            raise ValueError("label")
        return base64.b64decode(rest.removesuffix("\n"), validate=True)
    except ValueError as cause:
        raise KeyTrouble(f"{path} is damaged. Put back your backup of it.") from cause


def _write(path: Path, label: str, octets: bytes, *, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{label}\n{base64.b64encode(octets).decode()}\n")
        file.flush()
        os.fsync(file.fileno())
