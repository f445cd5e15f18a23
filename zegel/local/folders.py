"""Where the local world keeps what arrived: one folder per mailbox, one file per message.

The receiving server writes this layout and the pages read it; neither composes a path from what a stranger said.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from zegel.core.mail.address import Mailbox

MESSAGE: Final = ".eml"
RETURN_PATH: Final = "Return-Path"
DELIVERED_TO: Final = "Delivered-To"
TRANSPORT: Final = "X-Local-Transport"
NO_TLS: Final = "none"
_LONGEST_NAME: Final = 255  # octets, what common file systems allow


class NameTooLong(ValueError):
    """The mailbox cannot be the name of a folder."""


def folder_name(mailbox: Mailbox) -> str:
    """One path component, different for every mailbox; the domain in it keeps it from ever being ``..``.

    Raises :class:`NameTooLong` where a file system would.
    """
    name = quote(mailbox.key, safe="@+=")
    if len(name) > _LONGEST_NAME:
        raise NameTooLong("longer than a file name may be")
    return name


def mailbox_of(name: str) -> str:
    """The mailbox that a folder is for, to show to people."""
    return unquote(name)


def mailbox_folders(root: Path) -> list[Path]:
    """The folders of all mailboxes, by name; a link is not a folder."""
    names = (entry for entry in _entries(root) if "@" in entry.name and entry.name.isascii())
    return sorted(Path(entry) for entry in names if entry.is_dir(follow_symlinks=False))


def messages(folder: Path) -> list[Path]:
    """The messages in a mailbox, newest first; one that is still being written is not among them."""
    names = (entry for entry in _entries(folder) if entry.name.endswith(MESSAGE) and entry.name.isascii())
    files = (entry for entry in names if entry.is_file(follow_symlinks=False) and not entry.name.startswith("."))
    return sorted((Path(entry) for entry in files), reverse=True)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
