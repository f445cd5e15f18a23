"""The documented refusals are those in force."""

from __future__ import annotations

from pathlib import Path

from zegel.core.mail import fields
from zegel.core.mail.reply import Reply
from zegel.core.smtp import server
from zegel.core.smtp.server import COMPLAINTS, GATES
from zegel.journey.arrival.refusals import REFUSALS, as_markdown

DOCUMENT = Path(__file__).parents[2] / "docs" / "submission.md"


def test_the_documented_refusals_are_those_in_force() -> None:
    assert as_markdown() in DOCUMENT.read_text()


def test_every_refusal_of_the_machine_is_documented() -> None:
    known = {one for one in vars(server).values() if isinstance(one, Reply) and not one.is_positive}
    documented = {reply for _, reply in (*REFUSALS, *COMPLAINTS)} | {gate.reply for gate in GATES}
    assert known - documented == set()


def test_every_refusal_of_a_header_section_is_documented() -> None:
    known = {text for name, text in vars(fields).items() if name.isupper() and isinstance(text, str)}
    of_programs = {fields.HAS_NUL, fields.BARE_LINE_END, fields.NO_LINE_END}  # over SMTP the machine saw to that
    assert known - of_programs - {reply.text for _, reply in REFUSALS} == set()


def test_theirs_is_5yz_and_ours_is_4yz() -> None:
    for when, reply in REFUSALS:
        assert reply.code // 100 in (4, 5)
        assert reply.status is not None and reply.status[0] == str(reply.code)[0], when


def test_each_is_one_sentence_that_quotes_nothing() -> None:
    for _, reply in REFUSALS:
        assert reply.text and "%" not in reply.text and "{" not in reply.text
        assert len(str(reply)) <= 510
