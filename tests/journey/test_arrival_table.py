"""The documented refusals are those in force."""

from __future__ import annotations

from pathlib import Path

from zegel.journey.arrival.refusals import REFUSALS, as_markdown

DOCUMENT = Path(__file__).parents[2] / "docs" / "submission.md"


def test_the_documented_refusals_are_those_in_force() -> None:
    assert as_markdown() in DOCUMENT.read_text()


def test_theirs_is_5yz_and_ours_is_4yz() -> None:
    for when, reply in REFUSALS:
        assert reply.code // 100 in (4, 5)
        assert reply.status is not None and reply.status[0] == str(reply.code)[0], when


def test_each_is_one_sentence_that_quotes_nothing() -> None:
    for _, reply in REFUSALS:
        assert reply.text and "%" not in reply.text and "{" not in reply.text
        assert len(str(reply)) <= 510
