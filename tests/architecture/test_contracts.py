"""Each contract of ``.importlinter`` is broken here on purpose, in a copy, to see that breaking it is noticed."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
CONFIGURATION: Final = ROOT / ".importlinter"
LINT: Final = Path(sys.executable).with_name("lint-imports")
PREFIX: Final = "importlinter:contract:"

# The contract, the module that breaks it, and the line that it gets.
BREACHES: Final = [
    ("layers", "core/clock.py", "import zegel.settings"),
    ("layers", "settings.py", "from zegel.edge import log"),
    ("layers", "edge/tls.py", "from zegel.web import keys"),
    ("layers", "web/views.py", "from zegel.accounts.models import Account"),
    ("layers", "accounts/models.py", "from zegel.journey.custody import models"),
    ("layers", "journey/custody/jobs.py", "from zegel.console import words"),
    ("layers", "console/views.py", "from zegel import compose"),
    ("layers", "console/views.py", "from zegel.api import views"),
    ("layers", "api/views.py", "from zegel.console import words"),
    ("layers", "compose/running.py", "from zegel.cli import main"),
    ("layers", "compose/parts.py", "from zegel.local import mx"),
    ("layers", "cli/main.py", "import zegel.__main__"),
    ("layers", "local/mx.py", "from zegel import compose"),
    ("local", "local/mx.py", "from zegel.edge import tls"),
    ("local", "local/pages.py", "import django.http"),
    ("stops", "journey/arrival/listener.py", "from zegel.journey.decision import decide"),
    ("stops", "journey/decision/decide.py", "from zegel.journey.delivery import mx"),
    ("stops", "journey/delivery/deliver.py", "from zegel.journey.report import tell"),
    ("stops", "journey/portal/pages.py", "from zegel.journey.delivery import connection"),
    ("stops", "journey/report/tell.py", "from zegel.journey.portal import links"),
    ("stops", "journey/milestones.py", "from zegel.journey.arrival import intake"),
    ("stops", "journey/custody/jobs.py", "from zegel.journey.delivery import mx"),
    ("stops", "journey/decision/facts.py", "from zegel.journey import explain"),
    ("dry-run", "journey/explain.py", "from zegel.journey import milestones"),
    ("milestones", "journey/milestones.py", "from zegel.journey.custody import seal"),
    ("core-layers", "core/policy/retry.py", "from zegel.core.smtp import lines"),
    ("core-layers", "core/smtp/sasl.py", "from zegel.core.seal import wrap"),
    ("core-layers", "core/seal/stream.py", "from zegel.core.policy import transport"),
    ("core-layers", "core/mail/reply.py", "from zegel.core.policy import retry"),
    ("core-layers", "core/secret.py", "from zegel.core.mail import address"),
    ("core-layers", "core/clock.py", "from zegel.core import secret"),
    ("core-pure", "core/mail/dsn.py", "import asyncio"),
    ("core-pure", "core/smtp/server.py", "from socket import socket"),
    ("core-pure", "core/mail/dkim.py", "import ssl"),
    ("core-pure", "core/mail/mime.py", "from logging import getLogger"),
    ("core-pure", "core/mail/head.py", "import os"),
    ("core-pure", "core/clock.py", "import time"),
    ("core-pure", "core/policy/retry.py", "import random"),
    ("core-pure", "core/seal/slot.py", "from secrets import token_bytes"),
    ("core-pure", "core/mail/texts.py", "from django.utils.translation import gettext"),
    ("core-pure", "core/policy/transport.py", "import dns.resolver"),
    ("core-pure", "core/policy/phone.py", "def looked_up() -> None:\n    import httpx2"),
    ("unseal", "journey/arrival/intake.py", "from zegel.journey.custody.unseal import Unsealer"),
    ("unseal", "journey/decision/decide.py", "from zegel.journey.custody import unseal"),
    ("unseal", "journey/custody/jobs.py", "from zegel.journey.custody.unseal import Unsealer"),
    ("unseal", "compose/submission.py", "from zegel.journey.custody.unseal import Unsealer"),
    ("unseal", "console/views.py", "from zegel.journey.custody import unseal"),
    ("unseal-indirectly", "journey/custody/models.py", "from zegel.journey.custody import unseal"),
    ("unseal-indirectly", "console/trace.py", "from zegel.journey.portal import reader"),
    ("unseal-indirectly", "journey/explain.py", "from zegel.journey.custody import unseal"),
    ("unseal-indirectly", "api/tracing.py", "from zegel.journey.portal import setup"),
    ("unseal-indirectly", "accounts/models.py", "from zegel.journey.report import tell"),
    ("unseal-indirectly", "web/views.py", "from zegel.journey.custody.unseal import Unsealer"),
    ("cycles", "core/mail/address.py", "from zegel.core.mail import dsn"),
    ("cycles", "compose/process.py", "from zegel.compose import state"),
    ("cycles", "journey/custody/models.py", "from zegel.journey.custody import jobs"),
]


def contracts() -> dict[str, str]:
    """The name of each contract by its identifier."""
    parser = configparser.ConfigParser()
    parser.read(CONFIGURATION)
    return {
        section.removeprefix(PREFIX): parser[section]["name"]
        for section in parser.sections()
        if section.startswith(PREFIX)
    }


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's modules and the contracts, in a folder of their own."""
    folder = tmp_path_factory.mktemp("contracts")
    for module in (ROOT / "zegel").rglob("*.py"):
        copy = folder / module.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(module, copy)
    shutil.copyfile(CONFIGURATION, folder / CONFIGURATION.name)
    return folder


def lint(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What import-linter says of the package in ``folder``."""
    return subprocess.run(
        [LINT, "--no-cache", "--no-logo", *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "300", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_contract_is_broken_here_at_least_once() -> None:
    assert {identifier for identifier, _, _ in BREACHES} == set(contracts())


@pytest.mark.parametrize(("contract", "module", "line"), BREACHES)
def test_a_breach_is_noticed(copied: Path, contract: str, module: str, line: str) -> None:
    breaking = copied / "zegel" / module
    honest = breaking.read_text()
    breaking.write_text(f"{honest}\n{line}\n")
    try:
        said = lint(copied, "--contract", contract)
    finally:
        breaking.write_text(honest)
    assert said.returncode == 1
    assert f"{contracts()[contract]} BROKEN" in said.stdout


def test_a_new_module_must_be_given_its_place(copied: Path) -> None:
    stray = copied / "zegel" / "utils.py"
    stray.write_text("")
    try:
        said = lint(copied, "--contract", "layers")
    finally:
        stray.unlink()
    assert said.returncode == 1
    assert "utils" in said.stdout


def test_the_package_keeps_every_contract(copied: Path) -> None:
    said = lint(copied)
    assert said.returncode == 0, said.stdout
    assert f"Contracts: {len(contracts())} kept, 0 broken." in said.stdout
