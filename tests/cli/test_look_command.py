"""The look of an organisation, from the command line."""

from __future__ import annotations

from pathlib import Path

from tests.cli.test_submission_commands import ORGANISATION, Shell
from tests.core.test_look import png

NO_TEXTS = "introduction nl: none\nintroduction en: none\nhelp nl: none\nhelp en: none\n"


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
    assert shell(*look) == "colour: default\nlogo: none\n" + NO_TEXTS
    logo.write_bytes(png())
    assert shell(*look, "--colour", "8A1F5C", "--logo", str(logo)) == "colour: #8a1f5c\nlogo: shown\n" + NO_TEXTS
    assert shell(*look, "--logo", "none") == "colour: #8a1f5c\nlogo: none\n" + NO_TEXTS
    assert shell(*look, "--colour", "default") == "colour: default\nlogo: none\n" + NO_TEXTS


def test_own_words_are_checked_kept_beside_each_other_and_taken_away(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell("organisation", "add", ORGANISATION)
    look = ("policy", "look", "--organisation", ORGANISATION)
    refusal = shell.refusal(*look, "--colour", "#8a1f5c", "--text", "help", "nl", "Zie www.voorbeeld.test")
    assert "'www.voorbeeld.test' would become a link" in refusal
    assert "colour: default" in shell(*look)
    shell(*look, "--text", "help", "nl", "Bel 030 123 4567.", "--text", "help", "en", "Call 030 123 4567.")
    told = shell(*look, "--text", "introduction", "nl", "Wij mailen veilig.")
    assert "introduction nl: Wij mailen veilig.\nintroduction en: none\nhelp nl: Bel 030 123 4567.\n" in told
    assert "help nl: none\nhelp en: Call 030 123 4567.\n" in shell(*look, "--text", "help", "nl", "")


def test_an_organisation_is_called_otherwise_and_writes_otherwise(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell("organisation", "add", ORGANISATION)
    shell("organisation", "add", "Andere")
    change = ("organisation", "set", "--organisation", ORGANISATION)
    assert "There is an organisation 'Andere' already." in shell.refusal(*change, "--name", " Andere ")
    assert "An organisation has a name." in shell.refusal(*change, "--name", " ")
    assert "'XX' is not a country" in shell.refusal(*change, "--country", "xx")
    assert shell(*change, "--country", "be") == f"name: {ORGANISATION}\nlanguage: nl\ncountry: BE\n"
    assert shell(*change, "--name", "Nieuw", "--language", "en") == "name: Nieuw\nlanguage: en\ncountry: BE\n"
    assert shell.refusal(*change)
    assert shell("organisation", "set", "--organisation", "Nieuw").startswith("name: Nieuw")
