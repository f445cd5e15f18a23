"""Lists of domains that others keep: all of one is understood, or none of it is taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.mail.address import Domain
from zegel.core.policy.domain_list import (
    MAX_LINE,
    MAX_LINES,
    MAX_OCTETS,
    MOST_TOLD,
    BadLine,
    DomainList,
    LineFault,
    ListFault,
    NotALevel,
    NotUnderstood,
    parse_level,
    read_list,
)
from zegel.core.policy.transport import PROVEN, Authentication, Tls, TransportSecurity

STRICT: Final = TransportSecurity(Tls.TLS_1_3, Authentication.DANE)


def read(text: str | bytes, otherwise: TransportSecurity = PROVEN) -> dict[str, str]:
    """The levels in words, by domain."""
    found = read_list(text.encode() if isinstance(text, str) else text, otherwise=otherwise)
    assert isinstance(found, DomainList), found
    return {domain.ascii: str(level) for domain, level in found.levels.items()}


def fault(text: str | bytes) -> ListFault:
    found = read_list(text.encode() if isinstance(text, str) else text, otherwise=PROVEN)
    assert isinstance(found, NotUnderstood), found
    return found.fault


def bad_lines(text: str) -> tuple[tuple[int, LineFault], ...]:
    found = read_list(text.encode(), otherwise=PROVEN)
    assert isinstance(found, NotUnderstood), found
    assert found.fault is ListFault.LINES
    assert found.bad >= len(found.lines) > 0
    return tuple((line.number, line.fault) for line in found.lines)


# --- what is not taken -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("balie@example.org", LineFault.ADDRESS),
        ("@example.org", LineFault.ADDRESS),
        ("*.example.org", LineFault.WILDCARD),
        ("*", LineFault.WILDCARD),
        (".example.org", LineFault.WILDCARD),
        ("https://example.org/", LineFault.URL),
        ("example.org/lijst", LineFault.URL),
        ("192.0.2.1", LineFault.IP),
        ("2001:db8::1", LineFault.IP),
        ("[2001:db8::1]", LineFault.IP),
        ("nl", LineFault.ONE_LABEL),
        ("localhost", LineFault.ONE_LABEL),
        ("nl.", LineFault.ONE_LABEL),
        ("example..org", LineFault.NO_DOMAIN),
        ("-example.org", LineFault.NO_DOMAIN),
        ("example.org:25", LineFault.NO_DOMAIN),
        ("example.org,", LineFault.NO_DOMAIN),
        ("example.org;tls1.3", LineFault.NO_DOMAIN),
        ("example.org#geen", LineFault.NO_DOMAIN),
        ("<html>", LineFault.ONE_LABEL),
        ('"example.org"', LineFault.NO_DOMAIN),
        ("\0example.org", LineFault.NO_DOMAIN),
        ("a" * 64 + ".org", LineFault.NO_DOMAIN),
        ("example.org tls1.1", LineFault.NO_LEVEL),
        ("example.org tls1.3 tls1.3", LineFault.NO_LEVEL),
        ("example.org dane mta-sts", LineFault.NO_LEVEL),
        ("example.org tls", LineFault.NO_LEVEL),
        ("example.org tls dane", LineFault.NO_LEVEL),
        ("example.org auth tls1.3", LineFault.NO_LEVEL),
        ("example.org tls tls tls1.3", LineFault.NO_LEVEL),
        ("example.org tls1.3 dane verplicht", LineFault.NO_LEVEL),
        ("example.org example.net", LineFault.NO_LEVEL),
        ("example.org " + "x" * MAX_LINE, LineFault.TOO_LONG),
    ],
)
def test_one_line_that_is_not_understood_takes_the_whole_list_along(line: str, why: LineFault) -> None:
    assert bad_lines(f"example.net\n# een\n\n{line}\nexample.com\n") == ((4, why),)


def test_lines_are_told_by_number_as_an_editor_shows_them_and_a_few_of_them() -> None:
    text = "\r\n".join(["goed.test", *(f"fout{number}" for number in range(30))])
    found = read_list(text.encode(), otherwise=PROVEN)
    assert found == NotUnderstood(
        ListFault.LINES, tuple(BadLine(2 + n, LineFault.ONE_LABEL) for n in range(MOST_TOLD)), 30
    )
    assert bad_lines("goed.test\x0b\rfout\u2028fout\n") == ((2, LineFault.ONE_LABEL),)


def test_what_is_no_text_is_not_taken() -> None:
    assert fault(b"example.org\n\xff\xfe") is ListFault.NOT_TEXT
    assert fault("example.org\n".encode("utf-16")) is ListFault.NOT_TEXT
    assert fault("b\u00e9b\u00e9.test\n".encode("latin-1")) is ListFault.NOT_TEXT


def test_a_page_that_asks_to_sign_in_is_no_list() -> None:
    assert bad_lines("<!doctype html>\n<title>Inloggen</title>\n")[0][0] == 1


def test_size_and_number_of_lines_are_bounded() -> None:
    assert fault(b"#" * (MAX_OCTETS + 1)) is ListFault.TOO_LARGE
    assert fault("a.nl\n" * (MAX_LINES + 1)) is ListFault.TOO_MANY
    assert read("a.nl\n" * MAX_LINES) == {"a.nl": "tls1.2 certificate"}


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (["example.org;;dane"], LineFault.COLUMNS),
        (['"example.org'], LineFault.COLUMNS),
        (['"example.org" x;dane'], LineFault.COLUMNS),
        (["example.org,dane"], LineFault.NO_DOMAIN),
        (["example.org;veilig"], LineFault.NO_LEVEL),
        (["example.org;1.3"], LineFault.NO_LEVEL),
        ([";dane"], LineFault.ONE_LABEL),
        (["balie@example.org;dane"], LineFault.ADDRESS),
    ],
)
def test_a_row_of_csv_that_is_not_understood_takes_the_list_along(rows: Sequence[str], why: LineFault) -> None:
    assert bad_lines("\n".join(["Domein;Niveau", "goed.test;dane", *rows])) == ((3, why),)


def test_a_quotation_mark_that_does_not_close_swallows_no_other_row() -> None:
    text = 'domain,level\n"a.test,dane\nb.test,tls1.3\n"c.test,dane\n'
    assert bad_lines(text) == ((2, LineFault.COLUMNS), (4, LineFault.COLUMNS))


def test_a_level_under_another_title_is_not_passed_over() -> None:
    """Else the domain would be served with less than its keeper meant."""
    assert bad_lines("domain,beveiliging\na.test,tls1.3 DANE\n") == ((2, LineFault.HIDDEN_LEVEL),)


def test_csv_without_a_title_is_not_guessed_at() -> None:
    assert bad_lines("example.org,Gemeente Voorbeeld\n") == ((1, LineFault.NO_DOMAIN),)
    assert bad_lines("organisatie;domein\nVoorbeeld;example.org\n")[0] == (1, LineFault.ONE_LABEL)


# --- what is taken -----------------------------------------------------------------------------------------------


def test_an_empty_list_is_understood() -> None:
    assert read("") == read("\ufeff") == read("\r\n# niets\n") == read("domain;level\r\n") == {}


def test_a_domain_stands_on_each_line_with_a_level_perhaps() -> None:
    text = (
        "\ufeff# onderhouden door de koepel\r\n"
        "Example.ORG\r\n"
        "\r\n"
        "  example.net   tls1.3 dane # streng\r\n"
        "example.com. tls tls1.2 auth mta-sts\r\n"
        "een.test AUTH dane TLS TLS1.3\r"
        "twee.test mta-sts\n"
        "drie.test\ttls1.3"
    )
    assert read(text) == {
        "example.org": "tls1.2 certificate",
        "example.net": "tls1.3 dane",
        "example.com": "tls1.2 signed-mx",
        "een.test": "tls1.3 dane",
        "twee.test": "tls1.2 signed-mx",
        "drie.test": "tls1.3 certificate",
    }


def test_the_level_of_the_list_fills_in_what_a_line_leaves_out() -> None:
    assert read("a.test\nb.test tls1.2\nc.test mta-sts\nd.test tls1.2 certificate-validation\n", STRICT) == {
        "a.test": "tls1.3 dane",
        "b.test": "tls1.2 dane",
        "c.test": "tls1.3 signed-mx",
        "d.test": "tls1.2 certificate",
    }


def test_a_domain_that_stands_there_twice_gets_the_stricter_of_both() -> None:
    assert read("a.test tls1.3\nA.test. dane\n") == {"a.test": "tls1.3 dane"}


def test_internationalised_domains_are_the_same_in_both_spellings() -> None:
    assert read("bücher.test\nXN--BCHER-KVA.test tls1.3\n") == {"xn--bcher-kva.test": "tls1.3 certificate"}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_is_read_by_its_titles(separator: str) -> None:
    table = [
        ["Domein", "Naam", "TLS", "Auth"],
        ["a.test", '"Gemeente, Voorbeeld; afdeling"', "tls1.3", "dane"],
        ["# b.test", "uit", "", ""],
        ['"c.test"', "", "", "mta-sts"],
        ["d.test"],
    ]
    assert read("\r\n".join(map(separator.join, table))) == {
        "a.test": "tls1.3 dane",
        "c.test": "tls1.2 signed-mx",
        "d.test": "tls1.2 certificate",
    }


def test_csv_of_one_column_is_read() -> None:
    assert read("domain\na.test\nb.test\n") == {"a.test": "tls1.2 certificate", "b.test": "tls1.2 certificate"}


# --- in general --------------------------------------------------------------------------------------------------

WORDS: Final = ["tls", "auth", "tls1.2", "tls1.3", "dane", "mta-sts", "certificate-validation", "x"]


@given(st.lists(st.sampled_from(WORDS), max_size=6), st.sampled_from([PROVEN, STRICT]))
def test_a_level_is_never_below_the_floor_of_the_field(words: list[str], otherwise: TransportSecurity) -> None:
    try:
        level = parse_level(words, otherwise=otherwise)
    except NotALevel:
        return
    assert level.meets(PROVEN)
    assert words or level == otherwise


@given(st.binary(max_size=400))
def test_whatever_comes_is_answered(octets: bytes) -> None:
    found = read_list(octets, otherwise=PROVEN)
    if isinstance(found, DomainList):
        assert all(Domain.parse(domain.ascii) == domain for domain in found.levels)


LINES: Final = st.sampled_from(
    ["a.test", "b.test tls1.3", "# c.test", "", "domain;level", "d.test;dane", "x", "e@f.test"]
)


@given(st.lists(LINES, max_size=8), st.sampled_from(["\n", "\r\n", "\r"]))
def test_every_line_is_taken_or_told_or_says_nothing(lines: list[str], end: str) -> None:
    found = read_list(end.join(lines).encode(), otherwise=PROVEN)
    saying = [line for line in lines if line and not line.startswith("#")]
    if isinstance(found, NotUnderstood):
        assert 0 < found.bad <= len(saying)
        return
    spoken = {line.split(";")[0].split()[0] for line in saying} - {"domain"}
    assert {domain.ascii for domain in found.levels} == spoken
