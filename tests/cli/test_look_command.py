"""The look of an organisation, from the command line."""

from __future__ import annotations

from pathlib import Path

from tests.cli.test_submission_commands import ORGANISATION, Shell
from tests.core.test_look import png


def test_colour_and_logo_are_checked_set_and_taken_away(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell("organisation", "add", ORGANISATION)
    look = ("policy", "look", "--organisation", ORGANISATION)
    logo = tmp_path / "logo.png"
    assert "a darker shade such as #" in shell.refusal(*look, "--colour", "#ffcc00")
    assert "such as #0f5666" in shell.refusal(*look, "--colour", "rood")
    assert "can't be read" in shell.refusal(*look, "--logo", str(logo))
    logo.write_bytes(b"GIF89a")
    assert "is not a PNG" in shell.refusal(*look, "--colour", "#8a1f5c", "--logo", str(logo))
    assert shell(*look) == "colour: default\nlogo: none\n"
    logo.write_bytes(png())
    assert shell(*look, "--colour", "8A1F5C", "--logo", str(logo)) == "colour: #8a1f5c\nlogo: shown\n"
    assert shell(*look, "--logo", "none") == "colour: #8a1f5c\nlogo: none\n"
    assert shell(*look, "--colour", "default") == "colour: default\nlogo: none\n"
