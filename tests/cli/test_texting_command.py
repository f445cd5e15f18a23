"""`zegel sms-test`, against a provider that stands in for one."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.edge.test_sms import Provider, provider
from zegel.cli.main import main

__all__ = ["provider"]

NUMBER = "06 12345678"


def test_nobody_is_asked_without_a_provider(tmp_path: Path) -> None:
    config = tmp_path / "zegel.toml"
    config.write_text("")
    done = CliRunner().invoke(main, ["sms-test", NUMBER, "--config", str(config)])
    assert done.exit_code == 78 and "No provider is set" in done.output


@pytest.mark.parametrize("number", ["12", "020 1234567", "niets"])
def test_only_a_mobile_telephone_is_tried(provider: Provider, tmp_path: Path, number: str) -> None:
    provider.settings(tmp_path)
    done = CliRunner().invoke(main, ["sms-test", number, "--config", str(tmp_path / "zegel.toml")])
    assert done.exit_code == 78 and "Write it like +31612345678" in done.output and provider.asked == []


def test_what_the_provider_said_is_told_in_a_word(provider: Provider, tmp_path: Path) -> None:
    provider.settings(tmp_path)
    provider.answer = 401, b"who are you"
    done = CliRunner().invoke(main, ["sms-test", NUMBER, "--config", str(tmp_path / "zegel.toml")])
    assert done.exit_code == 78 and "It was not sent: status 401. See docs/sms.md." in done.output
    provider.answer = 200, b""
    done = CliRunner().invoke(main, ["sms-test", NUMBER, "--config", str(tmp_path / "zegel.toml")])
    assert (done.exit_code, done.output) == (0, "http took a text message for +31 6 ****5678.\n")
