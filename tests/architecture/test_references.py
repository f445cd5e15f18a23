"""What the code cites is registered, and what the register says is so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.architecture import references, source
from tests.architecture.references import Citation, Kind, NotARegister, Passage, Row, rows

LINES: Final = Path("zegel/core/smtp/lines.py")
SMTP: Final = Row("RFC 5321", "Simple Mail Transfer Protocol", "section", "implemented", "all of it")
NULL_MX: Final = Row("RFC 7505", "Null MX", "whole", "implemented", "all of it")
CITED: Final = Citation("RFC 5321", "§4.1.1", LINES, 7, Kind.PROSE)


def test_register_and_code_agree() -> None:
    assert references.faults() == []


def test_the_register_is_read_and_the_code_too() -> None:
    """Else the test above would be content with nothing."""
    assert len(rows((source.ROOT / references.REGISTER).read_text())) > 50
    assert len(references.cited()) > 200


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (replace(SMTP, title=""), "lacks its title"),
        (replace(SMTP, what=""), "lacks its title"),
        (replace(SMTP, named="often"), "is named by section or as a whole"),
        (replace(SMTP, status="mostly"), "has no status"),
        (replace(SMTP, status="partly: "), "has no status"),
        (replace(NULL_MX, status="implemented"), "is called implemented, but no code cites it"),
        (replace(NULL_MX, status="partly: most lacks"), "is called partly, but no code cites it"),
        (replace(NULL_MX, status="consulted"), "is called consulted, but nothing cites it"),
    ],
)
def test_a_row_that_is_not_so_would_be_found(row: Row, fault: str) -> None:
    found = list(references.faults_of_the_register([row], [CITED]))
    assert len(found) == 1
    assert fault in found[0]


def test_what_only_tests_cite_is_not_implemented() -> None:
    cited = replace(CITED, path=Path("tests/core/test_smtp_lines.py"))
    assert any("no code cites it" in fault for fault in references.faults_of_the_register([SMTP], [cited]))


def test_rows_stand_in_order_and_once() -> None:
    cited = [CITED, replace(CITED, standard="RFC 7505")]
    assert list(references.faults_of_the_register([SMTP, NULL_MX], cited)) == []
    assert "not in order" in next(references.faults_of_the_register([NULL_MX, SMTP], cited))
    assert "twice" in next(references.faults_of_the_register([SMTP, SMTP], cited))


def test_a_citation_that_is_not_registered_would_be_found() -> None:
    unknown = replace(CITED, standard="RFC 9999", section="")
    for kind in Kind:
        found = list(references.faults_of_citations([SMTP], [replace(unknown, kind=kind)]))
        assert found == ["zegel/core/smtp/lines.py:7 RFC 9999 is not in docs/standards.md"]


@pytest.mark.parametrize(
    ("citation", "is_exact"),
    [
        (CITED, True),
        (replace(CITED, section=""), False),
        (replace(CITED, section="", kind=Kind.MODULE), True),
        (replace(CITED, section="", kind=Kind.STRING), True),
        (replace(CITED, section="", standard="RFC 7505"), True),
        (replace(CITED, section="", path=Path("tests/core/test_dsn.py")), True),
    ],
)
def test_a_citation_without_its_section_would_be_found(citation: Citation, is_exact: bool) -> None:
    found = list(references.faults_of_citations([SMTP, NULL_MX], [citation]))
    assert found == ([] if is_exact else ["zegel/core/smtp/lines.py:7 RFC 5321 names no section"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no more than RFC 5321 §4.5.3.1.4 allows", ["RFC 5321 §4.5.3.1.4"]),
        ("(RFC 6376, RFC 8463)", ["RFC 6376", "RFC 8463"]),
        ("RFC 1034, 1035 and 2308, in 512 octets", ["RFC 1034", "RFC 1035", "RFC 2308"]),
        ("RFC 5321 §4.2, 1000 octets", ["RFC 5321 §4.2"]),
        ("as (RFC 2045\n    §6.8) has it", ["RFC 2045 §6.8"]),
        ("RFC 8463 appendix A", ["RFC 8463 appendix A"]),
        ("FIPS 203, table 3; NIST SP 800-63B §5.2.2", ["FIPS 203 table 3", "NIST SP 800-63B §5.2.2"]),
        ("NTA 7516, WCAG 2.2 §1.4.3 and E.164", ["NTA 7516", "WCAG 2.2 §1.4.3", "E.164"]),
        ("RFC8463_HEADER, message/rfc822, XRFC 12", []),
    ],
)
def test_how_a_citation_is_read(text: str, expected: list[str]) -> None:
    found = references.citations_in(Passage(Kind.PROSE, 1, text), LINES)
    assert [f"{one.standard} {one.section}".strip() for one in found] == expected


def test_where_a_citation_stands(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        '"""As RFC 1 has it."""\n'
        "# RFC 2\n"
        "# §7.1 goes on in the next line\n"
        "A = 1  # RFC 3 §2\n"
        "B = 2  # RFC 4\n"
        '"""The attribute\'s own: RFC 5."""\n'
        "C = 'RFC 6'\n"
        "def f() -> None:\n"
        '    """First line.\n'
        "\n"
        "    Then RFC 7\n"
        '    §3."""\n'
        'D = f"{A} RFC 8"\n'
    )
    found = [
        (one.standard, one.section, one.line, one.kind)
        for passage in references.passages(path)
        for one in references.citations_in(passage, path)
    ]
    assert sorted(found, key=lambda one: one[0]) == [
        ("RFC 1", "", 1, Kind.MODULE),
        ("RFC 2", "§7.1", 2, Kind.PROSE),
        ("RFC 3", "§2", 4, Kind.PROSE),
        ("RFC 4", "", 5, Kind.PROSE),
        ("RFC 5", "", 6, Kind.PROSE),
        ("RFC 6", "", 7, Kind.STRING),
        ("RFC 7", "§3", 11, Kind.PROSE),
        ("RFC 8", "", 13, Kind.STRING),
    ]


def test_a_decision_that_nobody_recorded_would_be_found() -> None:
    decisions = {"0001-order.md": "# Order\n\nD-1: transport first.", "0002-names.md": "D-2 and D-12"}
    citing = {"zegel/a.py": "# D-1\n# D-3, ADR-2\n", "zegel/b.py": "ADR-7; UUID-D-4x, ED-1"}
    assert list(references.faults_of_decisions(citing, decisions)) == [
        "zegel/a.py:2 D-3 is recorded nowhere in docs/adr",
        "zegel/b.py:1 ADR-7 is recorded nowhere in docs/adr",
    ]


def test_decisions_are_asked_for_once_there_are_any() -> None:
    assert list(references.faults_of_decisions({"zegel/a.py": "# D-1"}, {})) == []


def test_the_generated_columns_follow_the_citations() -> None:
    text = f"# Standards\n\n| standard | title |\n|---|---|\n{SMTP}\n{replace(NULL_MX, cited_in='`gone.py`')}\n"
    cited = [CITED, CITED, replace(CITED, path=Path("tests/core/test_smtp_lines.py")), replace(CITED, line=9)]
    assert rows(references.with_citing_files(text, cited)) == [
        replace(SMTP, cited_in="`core/smtp/lines.py`", tested_in="`core/test_smtp_lines.py`"),
        NULL_MX,
    ]


def test_a_row_with_a_bar_too_many_is_not_read() -> None:
    with pytest.raises(NotARegister):
        rows(str(replace(SMTP, what="either | or")))


def test_an_unknown_argument_is_not_obeyed() -> None:
    assert references.main(["--wirte"]) == 2
