"""A file of verification data: what it may look like, and what is said of each row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.mail.address import Mailbox
from zegel.core.policy.verification import AccessCode, SmsCode
from zegel.core.policy.verification_import import (
    MAX_LINES,
    MAX_RECORD,
    Column,
    Complaint,
    Effect,
    Effects,
    Encoding,
    FileFault,
    Layout,
    Place,
    Reading,
    Refused,
    Row,
    RowFault,
    Together,
    Wanted,
    judge,
    read_layout,
    records,
)
from zegel.core.secret import Secret

HEADER = b"email_address,full_name,phone_number,access_code,access_code_hint\n"
ADDRESS = "ontvanger@example.org"
NUMBER = SmsCode(Secret("+31620304050"))
OTHER = SmsCode(Secret("+31687654321"))
CODE = AccessCode(Secret("winterkoning 2026"), Secret("het vogeltje"))


def layout_of(octets: bytes) -> Layout:
    layout = read_layout(octets, is_utf8=is_utf8(octets))
    assert isinstance(layout, Layout), layout
    return layout


def is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def refusal(octets: bytes) -> Refused:
    refused = read_layout(octets, is_utf8=is_utf8(octets))
    assert isinstance(refused, Refused)
    return refused


def rows(octets: bytes, *, region: str = "NL", pieces: int = 0) -> list[Row]:
    layout = layout_of(octets)
    rest = octets[layout.first.octet :]
    cut = [rest[at : at + pieces] for at in range(0, len(rest), pieces)] if pieces else [rest]
    return [judge(one, region=region) for one in records(cut, layout, at=layout.first)]


def faults(octets: bytes) -> list[tuple[int, list[RowFault]]]:
    return [(row.line, [one.fault for one in row.complaints]) for row in rows(octets)]


def together(octets: bytes) -> list[Together]:
    layout, reading = layout_of(octets), Reading(region="NL")
    return [reading.read(one) for one in records([octets[layout.first.octet :]], layout, at=layout.first)]


def row(cells: str, header: bytes = HEADER) -> Row:
    (found,) = rows(header + cells.encode() + b"\n")
    return found


# --- files of which nothing is judged ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "fault"),
    [
        (b"", FileFault.EMPTY),
        (b"\xef\xbb\xbf", FileFault.EMPTY),
        (b"\n\n ,,;\n", FileFault.EMPTY),
        (b"PK\x03\x04\x14\x00", FileFault.WORKBOOK),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", FileFault.WORKBOOK),
        (HEADER.decode().encode("utf-16"), FileFault.UTF_16),
        (HEADER.decode().encode("utf-16-le"), FileFault.UTF_16),
        (b"ontvanger@example.org,Naam,+31620304050,,\n", FileFault.NO_HEADER),
        (b"email_address\tphone_number\nx@example.org\t+31620304050\n", FileFault.NO_HEADER),
        (b'"email_address,phone_number\n', FileFault.NO_HEADER),
        (b"," * 1_000_000 + b"\n", FileFault.NO_HEADER),
        (b"x" * (MAX_RECORD + 2), FileFault.NO_HEADER),
        (b"phone_number,access_code\n", FileFault.NO_ADDRESS),
        (b"email_address,full_name\n", FileFault.NO_VALUE),
        (b"email_address,phone_number,access_code_hint\n", FileFault.HINT_ALONE),
        (b"email_address;Phone_Number;phone_number\n", FileFault.TWICE),
    ],
)
def test_a_file_that_can_not_be_judged_is_refused_with_the_reason(octets: bytes, fault: FileFault) -> None:
    assert refusal(octets).fault is fault


def test_a_first_line_that_is_a_row_is_not_repeated() -> None:
    said = refusal(b"ontvanger@example.org,Naam,+31620304050,winterkoning,\n")
    assert "+31620304050" not in said.said("en") + said.said("nl")


def test_the_column_that_stands_there_twice_is_named() -> None:
    assert refusal(b"email_address,phone_number,PHONE_NUMBER\n").said("en").endswith("twice: phone_number.")


# --- files that can be -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_spreadsheets_write_it_in_any_of_these_ways(mark: bytes, end: str, separator: str) -> None:
    lines = ["Access_Code;EMAIL_ADDRESS ;full_name", "vier woorden é;ontvanger@example.org;x", ""]
    octets = mark + end.join(lines).replace(";", separator).encode()
    (found,) = rows(octets)
    assert found == Row(2, ADDRESS, Wanted(Mailbox.parse(ADDRESS), (AccessCode(Secret("vier woorden é")),)), ())


def test_the_line_in_which_excel_names_the_separator_is_no_header() -> None:
    octets = b"sep=;\r\nemail_address;access_code\r\nontvanger@example.org;a,b,c,d\r\n"
    assert layout_of(octets).first == Place(octets.index(b"ontvanger"), 3)
    assert rows(octets)[0].wanted == Wanted(Mailbox.parse(ADDRESS), (AccessCode(Secret("a,b,c,d")),))


def test_a_file_that_is_not_utf8_is_read_as_windows_1252() -> None:
    octets = HEADER + "ontvanger@example.org,Zoë,,één € twee,\n".encode("cp1252")
    assert layout_of(octets).encoding is Encoding.WINDOWS_1252
    assert rows(octets)[0].wanted == Wanted(Mailbox.parse(ADDRESS), (AccessCode(Secret("één € twee")),))


def test_other_columns_are_named_and_what_may_be_a_cell_is_not() -> None:
    layout = layout_of("email_address,Geboorte datum,access_code,06-20304050,zóó,,\n".encode())
    assert layout.unknown == ("geboorte datum", "#4", "zóó")
    assert layout.missing == (Column.NAME, Column.PHONE, Column.HINT)
    assert Layout.of_json(layout.to_json()) == layout


# --- rows that are bad -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "column", "fault"),
    [
        (",,+31620304050,,", Column.ADDRESS, RowFault.NO_ADDRESS),
        ("ontvanger,,+31620304050,,", Column.ADDRESS, RowFault.ADDRESS),
        ("a@example.org b@example.org,,+31620304050,,", Column.ADDRESS, RowFault.ADDRESS),
        ("ontvanger@example.org,Naam,,,", None, RowFault.NOTHING),
        ("ontvanger@example.org", None, RowFault.NOTHING),
        ("ontvanger@example.org,,0201234567,,", Column.PHONE, RowFault.PHONE),
        ("ontvanger@example.org,,620304050,,", Column.PHONE, RowFault.PHONE),
        ("ontvanger@example.org,,31620304050,,", Column.PHONE, RowFault.PHONE),
        ('ontvanger@example.org,,"=""0620304050""",,', Column.PHONE, RowFault.PHONE),
        ("ontvanger@example.org,,=1+1,,", Column.PHONE, RowFault.PHONE),
        ('ontvanger@example.org,,"3,162E+10",,', Column.PHONE, RowFault.ROUNDED),
        ("ontvanger@example.org,,3.162E+10,,", Column.PHONE, RowFault.ROUNDED),
        ("ontvanger@example.org,,,abc,", Column.CODE, RowFault.CODE_LENGTH),
        (f"ontvanger@example.org,,,{'a' * 101},", Column.CODE, RowFault.CODE_LENGTH),
        ("ontvanger@example.org,,,vier\u00a0woorden,", Column.CODE, RowFault.CODE_SPACES),
        ("ontvanger@example.org,,,vier\u200bwoorden,", Column.CODE, RowFault.CODE_INVISIBLE),
        ('ontvanger@example.org,,,"vier\nwoorden",', Column.CODE, RowFault.CODE_INVISIBLE),
        (f"ontvanger@example.org,,,vierwoorden,{'h' * 201}", Column.HINT, RowFault.HINT),
        ("ontvanger@example.org,,,vier woorden,het is VIERWOORDEN", Column.HINT, RowFault.HINT_TELLS),
        ("ontvanger@example.org,,+31620304050,,het vogeltje", Column.HINT, RowFault.HINT_ALONE),
        ("ontvanger@example.org,,+31620304050,,,meer", None, RowFault.COLUMNS),
        ("ontvanger@example.org,\0,+31620304050,,", None, RowFault.CONTROL),
        ("ontvanger@example.org,\x07,+31620304050,,", None, RowFault.CONTROL),
        ("ontvanger@example.org,a\rb,+31620304050,,", None, RowFault.CONTROL),
        ('ontvanger@example.org,"a\rb",+31620304050,,', None, RowFault.CONTROL),
        ('ontvanger@example.org,"a"b,+31620304050,,', None, RowFault.QUOTES),
        ('ontvanger@example.org,"a,+31620304050,,', None, RowFault.QUOTES),
        (f"ontvanger@example.org,{'n' * MAX_RECORD},+31620304050,,", None, RowFault.LONG),
        ("," * 1_000_000, None, RowFault.LONG),
    ],
)
def test_a_bad_row_is_told_by_line_column_and_reason(cells: str, column: Column | None, fault: RowFault) -> None:
    found = row(cells)
    assert (found.line, found.wanted) == (2, None)
    assert found.complaints == (Complaint(fault, column),)
    for language in ("en", "nl"):
        said = fault.said(language, region="NL")
        assert "{" not in said and "20304050" not in said and "winterkoning" not in said


def test_all_that_is_wrong_with_a_row_is_told_at_once() -> None:
    found = row("ontvanger,,12,x,y")
    assert [one.fault for one in found.complaints] == [RowFault.ADDRESS, RowFault.PHONE, RowFault.CODE_LENGTH]


def test_a_quotation_mark_that_never_closes_costs_its_own_row_alone() -> None:
    good = b"goed@example.org,,,vier woorden,\n"
    octets = HEADER + good + b'x@example.org,"Naam,+31620304050,,\n' + good * (2 * MAX_LINES)
    assert faults(octets) == [(2, []), (3, [RowFault.QUOTES]), *((4 + n, []) for n in range(2 * MAX_LINES))]


def test_lines_that_all_begin_a_quotation_are_each_told() -> None:
    octets = HEADER + b'"x@example.org,,,vier woorden\n' * 50
    assert faults(octets) == [(n + 2, [RowFault.QUOTES]) for n in range(50)]


def test_a_cell_may_have_lines_and_the_next_row_is_counted_from_them() -> None:
    octets = HEADER + b'a@example.org,"Naam\r\nvan twee ""regels""",,vier woorden,\r\nb@example.org,,,abc,\r\n'
    assert faults(octets) == [(2, []), (4, [RowFault.CODE_LENGTH])]


def test_in_a_file_of_mixed_encodings_no_code_becomes_another_one() -> None:
    """Read as Windows-1252 a code that is UTF-8 would look right to nobody but a program."""
    octets = (
        HEADER
        + "a@example.org,,,één twee,\n".encode()
        + "b@example.org,,,één twee,\n".encode("cp1252")
        + b"c@example.org,,,vier \x81woorden,\n"
        + b"d@example.org,,,vier woorden,\n"
    )
    assert faults(octets) == [(2, [RowFault.ENCODING]), (3, []), (4, [RowFault.ENCODING]), (5, [])]


# --- rows that are good ------------------------------------------------------------------------------------------


def test_a_row_has_a_number_or_a_code_or_both() -> None:
    mailbox = Mailbox.parse(ADDRESS)
    assert row(f"{ADDRESS},,06 2030 4050,,").wanted == Wanted(mailbox, (NUMBER,))
    assert row(f"{ADDRESS},,,winterkoning 2026,het vogeltje").wanted == Wanted(mailbox, (CODE,))
    assert row(f"{ADDRESS},,+31620304050, winterkoning 2026 ,het vogeltje").wanted == Wanted(mailbox, (NUMBER, CODE))


def test_a_national_number_is_one_of_the_organisations_country() -> None:
    octets = HEADER + f"{ADDRESS},,0470123456,,\n".encode()
    assert rows(octets, region="BE")[0].wanted == Wanted(Mailbox.parse(ADDRESS), (SmsCode(Secret("+32470123456")),))
    assert rows(octets)[0].wanted is None


@pytest.mark.parametrize("code", ["=SUM(A1:A9)", "+1234", "-4321", "@code", "'abcd", "=HYPERLINK(x)"])
def test_what_looks_like_a_formula_is_text(code: str) -> None:
    assert row(f"{ADDRESS},,,{code},").wanted == Wanted(Mailbox.parse(ADDRESS), (AccessCode(Secret(code)),))


def test_empty_rows_are_none() -> None:
    octets = HEADER + b"\r\n,,,,\r\n  \r\n" + b"a@example.org,,,vier woorden,\r\n;;;;\r\n"
    assert [line for line, _ in faults(octets)] == [5, 6]


# --- together ----------------------------------------------------------------------------------------------------


def test_of_two_rows_that_contradict_each_other_neither_is_taken() -> None:
    octets = HEADER + (
        b"Ontvanger@example.org,,+31620304050,,\nx@example.org,,,vier woorden,\n"
        b"ontvanger@EXAMPLE.org,,+31687654321,,\nontvanger@example.org,,+31620304050,,\n"
    )
    first, other, second, third = together(octets)
    assert not first.is_bad and other.wanted is not None
    assert (second.row.complaints, second.spoiled) == ((Complaint(RowFault.CONFLICT, None, 2),), ((0, 2),))
    assert (third.row.complaints, third.spoiled) == ((Complaint(RowFault.CONFLICT, None, 2),), ())


def test_a_row_that_contradicts_one_about_the_number_and_one_about_the_code_ends_both() -> None:
    octets = HEADER + b"a@example.org,,+31620304050,,\na@example.org,,,vier woorden,\n"
    *_, third = together(octets + b"a@example.org,,+31687654321,vijf woorden,\n")
    assert third.spoiled == ((0, 2), (1, 3))
    assert third.row.complaints == tuple(Complaint(RowFault.CONFLICT, None, line) for line in (2, 3))


def test_another_hint_contradicts_too() -> None:
    octets = HEADER + b"a@example.org,,,vier woorden,een\na@example.org,,,vier woorden,twee\n"
    assert [one.is_bad for one in together(octets)] == [False, True]


def test_what_stands_there_twice_is_done_once() -> None:
    octets = HEADER + b"a@example.org,,+31620304050,,\n" + b"a@example.org,,0620304050,vier woorden,\n" * 2
    first, second, third = together(octets)
    assert first.wanted is not None and first.wanted.values == (NUMBER,)
    assert second.wanted is not None and second.wanted.values == (AccessCode(Secret("vier woorden")),)
    assert third.wanted is not None and third.wanted.values == ()
    assert not any(one.is_bad for one in (first, second, third))


def test_a_bad_row_contradicts_nobody() -> None:
    octets = HEADER + b"a@example.org,,+31620304050,x,\na@example.org,,+31687654321,,\n"
    bad, good = together(octets)
    assert bad.is_bad and good.wanted is not None and good.wanted.values == (OTHER,)


def test_effects_fit_in_an_octet_that_no_bad_row_has() -> None:
    every = [Effects(number, code) for number in Effect for code in Effect]
    assert len({one.octet for one in every}) == len(every) and max(one.octet for one in every) < 0xFF
    assert [Effects.of_octet(one.octet) for one in every] == every
    assert Effects(Effect.ADD, Effect.CHANGE).together is Effect.CHANGE
    assert Effects(Effect.ADD, Effect.SAME).together is Effect.ADD
    assert Effects().together is Effect.SAME


# --- anything at all ---------------------------------------------------------------------------------------------

PARTS = st.sampled_from(
    [
        b"a@example.org",
        b"+31620304050",
        b"vier woorden",
        b'"',
        b",",
        b";",
        b"\n",
        b"\r\n",
        b"\r",
        b"\0",
        b"\xff",
        b"\xc3",
    ]
)
ANYTHING = st.lists(PARTS | st.binary(max_size=4), max_size=60).map(b"".join)


@given(ANYTHING, st.integers(1, 9))
def test_any_octets_are_rows_in_the_order_of_their_lines_however_they_are_cut(octets: bytes, size: int) -> None:
    octets = HEADER + octets
    found = rows(octets)
    assert found == rows(octets, pieces=size)
    lines = [one.line for one in found]
    assert lines == sorted(set(lines)) and all(1 < line <= octets.count(b"\n") + 1 for line in lines)
    for one in found:
        assert (one.wanted is None) == bool(one.complaints)


@given(ANYTHING)
def test_reading_goes_on_from_behind_any_row(octets: bytes) -> None:
    octets = HEADER + octets
    layout = layout_of(octets)
    all_of_them = list(records([octets[layout.first.octet :]], layout, at=layout.first))
    for number, one in enumerate(all_of_them):
        rest = list(records([octets[one.after.octet :]], layout, at=one.after))
        assert [record.line for record in rest] == [record.line for record in all_of_them[number + 1 :]]
