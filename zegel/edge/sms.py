"""Text messages leave here. One driver so far: a folder, for tests and the local mode."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from zegel.core.clock import Instant
from zegel.core.secret import Secret


class SmsFailed(Exception):
    """The provider didn't take it. Says nothing of number or text."""


class SmsDriver(Protocol):
    """Hands one message to a provider, at most once for each ``key``."""

    def send(self, to: Secret[str], text: Secret[str], *, key: str, at: Instant) -> None:
        """Raises :class:`SmsFailed`."""


@dataclass(frozen=True, slots=True)
class FolderSms:
    """Writes each message to ``<folder>/<key>.json``: a telephone for tests."""

    folder: Path

    def send(self, to: Secret[str], text: Secret[str], *, key: str, at: Instant) -> None:
        """Writing the same key again replaces the same file."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = self.folder / f".{key}.part"
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"to": to.reveal(), "text": text.reveal(), "at": at.isoformat()}, file, ensure_ascii=False)
            temporary.rename(self.folder / f"{key}.json")
        except OSError as cause:
            raise SmsFailed("the folder can't be written") from cause


@dataclass(frozen=True, slots=True)
class NoSms:
    """No provider is configured."""

    def send(self, to: Secret[str], text: Secret[str], *, key: str, at: Instant) -> None:
        """Always raises :class:`SmsFailed`."""
        raise SmsFailed("no SMS provider is configured")
