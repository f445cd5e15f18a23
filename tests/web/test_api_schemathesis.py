"""The OpenAPI document against a gateway that runs: schemathesis asks all that the document allows, and much that it
doesn't, and judges every answer. The same questions in every run."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.faults import ground
from tests.needs import ONLY_SQLITE
from tests.peers.gateway import ORGANISATION, Gateway
from zegel.accounts.tokens import OF_ORGANISATIONS
from zegel.api.operations import OPERATIONS

EXAMPLES: Final = 10  # of each operation and phase
pytestmark = ONLY_SQLITE
# The throttle (P15) would answer most requests without a token with 429, and hide what is judged here: the first
# refusal. It is tested in test_api.py.
FORGETS: Final = """CREATE TRIGGER forgets AFTER INSERT ON accounts_signinfailure
BEGIN DELETE FROM accounts_signinfailure; END"""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with ground.prepared(tmp_path) as prepared, prepared.gateway(tmp_path / "running") as running:
        with sqlite3.connect(running.state / "zegel.sqlite3") as connection:
            connection.execute(FORGETS)
        connection.close()
        yield running


def token(gateway: Gateway) -> str:
    scopes = [word for scope in OF_ORGANISATIONS for word in ("--scope", scope.value)]
    printed = gateway.command("token", "add", "tests", "--organisation", ORGANISATION, *scopes)
    return next(word for word in printed.split() if word.startswith("zegel_"))


def test_every_answer_is_as_the_document_says(gateway: Gateway) -> None:
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file"),
            str(Path(__file__).with_name("schemathesis.toml")),
            *("run", f"{gateway.url}/api/v1/openapi.json", "-H", f"Authorization: Bearer {token(gateway)}"),
            *("--generation-deterministic", "--max-examples", str(EXAMPLES), "--continue-on-failure"),
            *("--request-timeout", "60", "--no-color"),
        ],
        cwd=gateway.folder,
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), "SCHEMATHESIS_HOOKS": "tests.web.schemathesis_hooks"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert f"Tested: {len(OPERATIONS)}" in done.stdout, done.stdout[-3_000:]
    assert " broken " not in gateway.log()
