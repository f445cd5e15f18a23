"""A request of the API with an Idempotency-Key is done once: asked fifty times at the same moment, and over kill -9 at
any moment, also behind the commit and before the answer (P6)."""

from __future__ import annotations

import http.client
import json
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.faults.ground import GUEST, MARKER, Prepared
from tests.peers import until
from tests.peers.gateway import ORGANISATION, SENDER, Gateway

AT_ONCE: Final = 50
ROUNDS: Final = 4
REQUESTS: Final = 6  # of each round
SENDING: Final = "messages"
BODY: Final[dict[str, Any]] = {"from": SENDER, "to": [GUEST], "subject": MARKER, "text": f"Inhoud {MARKER}"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


@dataclass
class Program:
    """A program with a token, on its own connections."""

    gateway: Gateway
    token: str = field(init=False)

    def __post_init__(self) -> None:
        scopes = ("--scope", "messages:send", "--scope", "credentials:write")
        printed = self.gateway.command("token", "add", "tests", "--organisation", ORGANISATION, *scopes)
        self.token = next(word for word in printed.split() if word.startswith("zegel_"))

    def post(self, path: str, body: dict[str, Any], key: str) -> Answer | None:
        """``None``: the connection broke, or nobody was there."""
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.portal_port, timeout=120)
        headers = {
            "Host": f"localhost:{self.gateway.portal_port}",
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        }
        try:
            connection.request("POST", f"/api/v1/{path}", json.dumps(body), headers)
            response = connection.getresponse()
            return Answer(response.status, response.read())
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def post_together(self, requests: list[tuple[str, dict[str, Any], str]]) -> Posting:
        """All at the same moment, each on a thread of its own."""
        return Posting(self, requests)

    def count(self, table: str) -> int:
        """Rows, as they were committed."""
        path = self.gateway.state / "zegel.sqlite3"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database:
            return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def has_more(self, table: str, than: int) -> bool:
        """Something was committed."""
        return self.count(table) > than


class Posting:
    """Requests under way."""

    def __init__(self, program: Program, requests: list[tuple[str, dict[str, Any], str]]) -> None:
        self.answers: list[Answer | None] = [None] * len(requests)
        barrier = threading.Barrier(len(requests))

        def work(number: int) -> None:
            barrier.wait()
            self.answers[number] = program.post(*requests[number])

        self._threads = [threading.Thread(target=work, args=(number,)) for number in range(len(requests))]
        for thread in self._threads:
            thread.start()

    def finish(self) -> list[Answer | None]:
        """What each was answered."""
        for thread in self._threads:
            thread.join()
        return self.answers


@pytest.fixture
def program(prepared: Prepared, tmp_path: Path) -> Iterator[Program]:
    gateway = prepared.gateway(tmp_path)
    program = Program(gateway)
    with gateway:
        yield program


def test_fifty_at_once_are_one_message_with_fifty_equal_answers(program: Program) -> None:
    key = str(uuid.uuid4())
    answers = program.post_together([(SENDING, BODY, key)] * AT_ONCE).finish()
    first = answers[0]
    assert first is not None and first.status == 202, first
    assert answers == [first] * AT_ONCE
    assert program.count("custody_submission") == 1
    assert program.count("custody_conversation") == 1
    assert program.count("custody_recipient") == 1
    assert program.count("custody_content") == 1
    other = program.post(SENDING, {**BODY, "text": "anders"}, key)
    assert other is not None and other.status == 422
    assert program.count("custody_submission") == 1


@pytest.mark.parametrize(
    ("path", "table", "status"), [(SENDING, "custody_submission", 202), ("credentials", "accounts_smtpcredential", 201)]
)
def test_a_crash_leaves_effect_and_answer_or_neither(program: Program, path: str, table: str, status: int) -> None:
    before = program.count(table)
    for number in range(ROUNDS):
        bodies = [
            {**BODY, "text": f"{number} {one}"} if path == SENDING else {"description": f"{number} {one}"}
            for one in range(REQUESTS)
        ]
        requests = [(path, body, str(uuid.uuid4())) for body in bodies]
        posting = program.post_together(requests)
        # Killed at the first commit that is seen: of some the answer is under way, of some nothing was written yet.
        until(partial(program.has_more, table, before + REQUESTS * number))
        program.gateway.kill_everything()
        answered = posting.finish()
        assert program.count(table) == before + program.count("accounts_apianswer")
        program.gateway.start()
        again = [program.post(*request) for request in requests]
        once_more = [program.post(*request) for request in requests]
        assert [one.status if one else None for one in again] == [status] * REQUESTS
        assert once_more == again  # and with it the secret of a credential
        assert all(first in (None, second) for first, second in zip(answered, again, strict=True))
        assert program.count(table) == before + REQUESTS * (number + 1)
