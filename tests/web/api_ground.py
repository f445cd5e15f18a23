"""Ground of the API's tests: configured as a web process is, with a table for a DNS and a clock that stands still."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from django.test import Client

from tests.journey.portal_ground import Clock
from tests.journey.zone import Zone
from zegel.accounts import tokens
from zegel.accounts.models import Organisation
from zegel.accounts.tokens import OF_ORGANISATIONS, NewToken, Scope
from zegel.api import setup
from zegel.api.mailroom import Mailroom
from zegel.core.seal.slot import derive
from zegel.edge.blobs import Blobs
from zegel.edge.database import Readers, Writer
from zegel.edge.keyring import opening_keys, submission_keys
from zegel.edge.nta import NtaLookup
from zegel.journey.arrival.intake import Place
from zegel.journey.custody.seal import Wrapper
from zegel.journey.custody.unseal import Unsealer
from zegel.journey.explain import Surroundings

KEY: Final = "8e03978e-40d5-43e8-bc93-6894a57f9324"


@dataclass
class Office:
    """One web process as far as the API goes."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    zone: Zone = field(default_factory=Zone)
    rings: list[int] = field(default_factory=list)
    has_room: bool = True
    max_size: int = 2_000_000
    max_recipients: int = 20

    def __post_init__(self) -> None:
        folder = Path(os.environ["ZEGEL_FOLDER"]) / "keys"
        self.keys, self.submission_keys = opening_keys(folder), submission_keys(folder)
        self.blobs = Blobs(self.folder / "blobs")
        self.unsealer = Unsealer(self.keys, self.blobs)
        self.mailroom = Mailroom(
            self._furnish,
            max_size=self.max_size,
            max_recipients=self.max_recipients,
            has_room=lambda: self.has_room,
        )
        dry_run = Surroundings(
            self.unsealer.field, self.keys.marker, lambda: NtaLookup(self.zone, "zegel.test", self.clock), self.clock
        )
        setup.configure(
            setup.Api(
                dry_run,
                self.clock,
                sealing=self.keys.sealing,
                answers_key=derive(self.keys.web, "api-answers"),
                mailroom=self.mailroom,
                blobs=self.blobs,
                dns=lambda: self.zone,
                hostname="zegel.test",
                ring=lambda: self.rings.append(1),
            )
        )

    def _furnish(self) -> Place:
        return Place(
            hostname="zegel.test",
            keys=self.submission_keys,
            wrapper=Wrapper(self.keys.sealing),
            blobs=self.blobs,
            writer=Writer(),
            readers=Readers(threads=1),
            dns=self.zone,
            now=self.clock,
            ring=lambda: self.rings.append(1),
        )

    def close(self) -> None:
        self.mailroom.close()

    def token(self, organisation: Organisation, *scopes: Scope) -> NewToken:
        """In force; with all that a program of an organisation can have, unless some are named."""
        return tokens.issue(
            organisation, "tests", scopes=scopes or OF_ORGANISATIONS, life=timedelta(days=30), now=self.clock()
        )


@dataclass
class Program:
    """Something that shows a token, and neither cookie nor referer."""

    made: NewToken
    address: str = "127.0.0.1"

    def ask(self, method: str, path: str, body: Any = None, *, kind: str = "application/json", **headers: str) -> Any:
        """``headers``: with ``_`` for ``-``."""
        octets = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        shown = {name.replace("_", "-"): value for name, value in headers.items()}
        client = Client(
            enforce_csrf_checks=True,
            headers={"authorization": f"Bearer {self.made.secret.reveal()}", **shown},
            REMOTE_ADDR=self.address,
        )
        return client.generic(method, f"/api/v1/{path}", octets, content_type=kind, CONTENT_TYPE=kind)

    def get(self, path: str, **headers: str) -> Any:
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.ask("POST", path, {} if body is None else body, **headers)


def is_told_well(response: Any) -> list[dict[str, str]]:
    """Every refusal is JSON, kept by nobody, and names the field, the reason and an example."""
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.cookies == {}
    told = response.json()
    assert told["title"]
    assert told["errors"]
    for fault in told["errors"]:
        assert set(fault) == {"field", "reason", "example"}
        assert fault["reason"] and fault["example"]
    faults: list[dict[str, str]] = told["errors"]
    return faults
