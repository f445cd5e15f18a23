"""Webhooks, and who is mailed about alarms, from the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.test_submission_commands import ORGANISATION, Shell

URL = "https://dossier.voorbeeld.test/zegel"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    made = Shell(tmp_path)
    made("organisation", "add", ORGANISATION)
    return made


def test_one_is_added_tried_renewed_and_removed(shell: Shell) -> None:
    whose = ("--organisation", ORGANISATION, "--description", "dossier")
    first = shell("webhooks", "add", URL, *whose, "--event", "recipient.opened")
    assert re.search(r"^whsec_[A-Za-z0-9+/]{43}=$", first, re.MULTILINE)
    listed = shell("webhooks", "list")
    identity = listed.split()[0]
    assert URL in listed and "recipient.opened" in listed and "whsec_" not in listed
    shell("webhooks", "test", identity)
    assert re.search(r"webhook\.test  waiting  tries 0", shell("webhooks", "requests", identity))
    assert "waiting 1" in shell("webhooks", "list")
    second = shell("webhooks", "renew", identity)
    assert "whsec_" in second and second.split()[0] != first.split()[0]
    assert "end-previous" in shell.refusal("webhooks", "renew", identity)
    shell("webhooks", "end-previous", identity)
    assert "no previous secret" in shell.refusal("webhooks", "end-previous", identity)
    shell("webhooks", "remove", identity)
    assert shell("webhooks", "list") == ""
    assert "There is no webhook" in shell.refusal("webhooks", "test", identity)


@pytest.mark.parametrize(
    ("url", "why"), [("http://dossier.test/", "https://"), ("https://dossier.voorbeeld.test:22/", "port")]
)
def test_what_is_none_is_refused_in_one_sentence(shell: Shell, url: str, why: str) -> None:
    told = shell.refusal("webhooks", "add", url, "--organisation", ORGANISATION, "--description", "x")
    assert why in told and "https://programs.example.org/zegel" in told
    assert shell("webhooks", "list") == ""


def test_who_is_mailed_about_alarms(shell: Shell) -> None:
    assert "Stored" in shell("organisation", "alarms-to", ORGANISATION, "dienst@voorbeeld.test")
    assert "Stored" in shell("organisation", "alarms-to", ORGANISATION, "--nobody")
    assert "Stored" in shell("organisation", "alarms-to", ORGANISATION, "--administrators")
    assert "is not an e-mail address" in shell.refusal("organisation", "alarms-to", ORGANISATION, "x")
    assert "Name addresses" in shell.refusal("organisation", "alarms-to", ORGANISATION)
    assert "Name addresses" in shell.refusal("organisation", "alarms-to", ORGANISATION, "a@b.test", "--nobody")
