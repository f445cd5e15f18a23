"""The documented control fields are those in force."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zegel.core.policy.access_code import LONGEST, SHORTEST
from zegel.core.policy.directives import (
    LONGEST_EXPIRY,
    RULES,
    ControlField,
    Refusal,
    fields_as_markdown,
    refusals_as_markdown,
    words_as_markdown,
)

DOCUMENT = (Path(__file__).parents[2] / "docs" / "control-fields.md").read_text()


@pytest.mark.parametrize("table", [fields_as_markdown(), words_as_markdown(), refusals_as_markdown()])
def test_the_documented_tables_are_those_in_force(table: str) -> None:
    assert f"\n\n{table}\n" in DOCUMENT


def test_every_field_has_one_rule_and_a_chapter() -> None:
    assert [rule.field for rule in RULES] == list(ControlField)
    for kind in ControlField:
        assert f"\n## {kind.value}\n" in DOCUMENT


def test_the_documented_limits_are_those_in_force() -> None:
    assert f"{SHORTEST} to {LONGEST} characters" in DOCUMENT
    assert f"at most {LONGEST_EXPIRY.days} days" in DOCUMENT


@pytest.mark.parametrize("why", Refusal)
def test_each_refusal_is_one_sentence_that_has_a_place_for_the_field_alone(why: Refusal) -> None:
    assert set(re.findall(r"{(.*?)}", why.sentence)) == {"field"}
    assert len(f"550 5.6.0 {why.sentence.format(field='x' * 60)}") <= 510  # RFC 5321 §4.5.3.1.5
    assert why.sentence.isascii()
    assert "|" not in why.when + why.sentence
