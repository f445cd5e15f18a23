"""Text messages leave here: to a provider (:mod:`zegel.core.sms`), or to a folder, for tests and the local mode."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from zegel.core.clock import Instant
from zegel.core.policy.phone import country_of
from zegel.core.secret import Secret
from zegel.core.sms import PROVIDERS, Contract, Provider, Text
from zegel.edge.fetch import Exchanged, Failed, Fetcher
from zegel.settings import Settings

WITHIN: Final = 20.0  # seconds for one message: somebody waits for it
MOST: Final = 100_000  # octets of an answer


class SmsFailed(Exception):
    """The provider didn't take it, or it isn't known whether it did. Says nothing of number or text."""


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
class ProviderSms:
    """Hands each message over once. An answer that doesn't come is no reason to ask again: it may have been taken."""

    provider: Provider
    contract: Contract
    countries: frozenset[str]  # such as "NL"; empty: all
    fetcher: Fetcher

    @classmethod
    def of(cls, settings: Settings) -> ProviderSms:
        """As the settings say. Raises ``OSError`` where the file with the secret can't be read."""
        sms = settings.sms
        secret = sms.secret.read_text("utf-8").strip() if sms.secret is not None else ""
        contract = Contract(sms.sender, Secret(secret), sms.account, sms.url, sms.body, sms.kind, sms.headers)
        is_own = sms.driver == "http"  # may stand in the own network: an administrator of the machine named it
        fetcher = Fetcher.of(settings, most=MOST, within=WITHIN, reaches_private=is_own or None)
        return cls(PROVIDERS[sms.driver], contract, frozenset(sms.countries), fetcher)

    def send(self, to: Secret[str], text: Secret[str], *, key: str, at: Instant) -> None:
        """Raises :class:`SmsFailed`, with the reason in few words."""
        if self.countries and country_of(to.reveal()) not in self.countries:
            raise SmsFailed("country")
        asked = self.provider.ask(self.contract, Text(to, text, key))
        found = self.fetcher.exchange("POST", asked.url, headers=asked.headers, body=asked.body.reveal())
        match found:
            case Failed(why=why):
                raise SmsFailed(why.value)
            case Exchanged(status=status, octets=octets):
                if not self.provider.is_taken(status, octets):
                    raise SmsFailed(f"status {status}")


@dataclass(frozen=True, slots=True)
class NoSms:
    """No provider is configured."""

    def send(self, to: Secret[str], text: Secret[str], *, key: str, at: Instant) -> None:
        """Always raises :class:`SmsFailed`."""
        raise SmsFailed("no SMS provider is configured")
