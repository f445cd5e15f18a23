"""NTA 7516 records: what is not valid and why, what is none, then what is (standards A)."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.mail.address import Domain
from zegel.core.policy.nta7516 import Fault, InvalidRecord, Month, NoRecord, Record, Standing, in_date, read

DATES: Final = "startdate=2025-01;enddate=2027-12"
PLAIN: Final = f"v=NTA7516-1;{DATES};provider=Voorbeeld"


def valid(*texts: str) -> Record:
    found = read(texts)
    assert isinstance(found, Record), found
    return found


def hosts(text: str) -> list[tuple[int, str]]:
    return [(priority, host.ascii) for priority, host in valid(text).hosts]


# --- not valid ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "v=NTA7516-1",
        "v=NTA7516-1;",
        "v=NTA7516-1;enddate=2027-12;provider=Voorbeeld",
        "v=NTA7516-1;startdate=2025-01;provider=Voorbeeld",
        f"v=NTA7516-1;{DATES}",
        f"v=NTA7516-1;{DATES};provider=",
        "v=NTA7516-1;startdate= ;enddate=2027-12;provider=Voorbeeld",
    ],
)
def test_a_record_without_a_date_or_a_provider_is_not_valid(text: str) -> None:
    assert read([text]) == InvalidRecord(Fault.MISSING)


@pytest.mark.parametrize(
    "month",
    [
        "2025-13",
        "2025-00",
        "2025-1",
        "25-01",
        "2025/01",
        "2025-01-01",
        "01-2025",
        "2025",
        "20250-1",
        "-2025-01",
        "²025-01",
        "2025 - 01",
        "now",
        "٢٠٢٥-٠١",
    ],
)
@pytest.mark.parametrize("tag", ["startdate", "enddate"])
def test_a_bad_month_makes_a_record_not_valid(tag: str, month: str) -> None:
    good = {"startdate": "2025-01", "enddate": "2027-12", tag: month}
    text = f"v=NTA7516-1;startdate={good['startdate']};enddate={good['enddate']};provider=Voorbeeld"
    assert read([text]) == InvalidRecord(Fault.MONTH)


def test_a_record_that_ends_before_it_starts_is_not_valid() -> None:
    assert read(["v=NTA7516-1;startdate=2026-02;enddate=2026-01;provider=Voorbeeld"]) == InvalidRecord(
        Fault.ENDS_BEFORE_START
    )


@pytest.mark.parametrize(
    "again", ["startdate=2025-01", "ENDDATE=2028-01", "provider=Ander", " provider = x", "v=NTA7516-1"]
)
def test_a_single_tag_that_stands_there_twice_makes_a_record_not_valid(again: str) -> None:
    assert read([f"{PLAIN};{again}"]) == InvalidRecord(Fault.TWICE)


def test_two_records_are_none_that_counts_even_where_they_are_equal() -> None:
    assert read([PLAIN, PLAIN]) == InvalidRecord(Fault.SEVERAL_RECORDS)
    assert read([PLAIN, "v=nta7516-1;"]) == InvalidRecord(Fault.SEVERAL_RECORDS)


@pytest.mark.parametrize(
    "host",
    [
        "10 192.0.2.1",
        "10 2001:db8::1",
        "10 [192.0.2.1]",
        "10",
        "mx.zorg.test",
        "10 ",
        " mx.zorg.test",
        "x mx.zorg.test",
        "-1 mx.zorg.test",
        "65536 mx.zorg.test",
        "10 mx",
        "10 mx..test",
        "10 mx.zorg.test 20 mx2.zorg.test",
        "10,mx.zorg.test",
        "1.5 mx.zorg.test",
        "10 mx_.zorg .test",
        "10 *.zorg.test",
        "",
        "10 a�b.test",
        "١٠ mx.zorg.test",
    ],
)
def test_a_mail_host_that_is_not_a_number_and_a_host_name_makes_a_record_not_valid(host: str) -> None:
    assert read([f"{PLAIN};ntamx=10 goed.zorg.test;ntamx={host}"]) == InvalidRecord(Fault.HOST)


@pytest.mark.parametrize("part", ["ntamx 10 mx.zorg.test", "ntamx:10 mx.zorg.test", "", " "])
def test_a_part_that_is_no_tag_is_not_overlooked(part: str) -> None:
    """Else a slip of the pen would turn named hosts into the ordinary MX."""
    assert read([f"{PLAIN};{part};ntamx=10 mx.zorg.test"]) == InvalidRecord(Fault.MALFORMED)


# --- none ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [""],
        [";"],
        ["v=spf1 -all"],
        ["v=NTA7516;version:1;startdate:2025-01;enddate:2027-12;provider:Voorbeeld"],
        [f"v=NTA7516;{DATES};provider=Voorbeeld"],
        [f"v=NTA7516-2;{DATES};provider=Voorbeeld"],
        [f"v=NTA7516-10;{DATES};provider=Voorbeeld"],
        [f"{DATES};provider=Voorbeeld;v=NTA7516-1"],
        ["NTA7516-1"],
    ],
)
def test_what_is_not_a_record_of_this_version_is_none(texts: list[str]) -> None:
    assert read(texts) == NoRecord()


@given(st.lists(st.text()))
def test_whatever_stands_there_is_read_without_an_error(texts: list[str]) -> None:
    read([*texts, *(f"{PLAIN};{one}" for one in texts)])


# --- valid --------------------------------------------------------------------------------------------------------


def test_a_record_without_hosts_names_the_ordinary_mx() -> None:
    assert valid(PLAIN) == Record(Month(2025, 1), Month(2027, 12), "Voorbeeld")


def test_hosts_come_lowest_number_first_whatever_their_order() -> None:
    text = f"v=NTA7516-1;ntamx=20 b.zorg.test;{DATES};ntamx=5 a.zorg.test;provider=X;ntamx=100 c.zorg.test"
    assert hosts(text) == [(5, "a.zorg.test"), (20, "b.zorg.test"), (100, "c.zorg.test")]


def test_a_semicolon_at_the_end_is_allowed() -> None:
    assert valid(PLAIN + ";") == valid(PLAIN + "; ") == valid(PLAIN)


def test_unknown_tags_are_ignored_also_when_they_come_twice() -> None:
    assert valid(f"{PLAIN};later=1;later=2;x-y=") == valid(PLAIN)


def test_case_and_white_space_don_t_matter_and_a_host_is_compared_in_lower_case() -> None:
    text = "V = nta7516-1 ; StartDate = 2025-01 ;ENDDATE=2027-12; Provider = Voorbeeld ; NTAMX = 10 \t MX.Zorg.Test. "
    assert valid(text) == valid(f"{PLAIN};ntamx=10 mx.zorg.test")


def test_an_internationalised_host_is_kept_as_a_labels() -> None:
    assert hosts(f"{PLAIN};ntamx=10 mx.bücher.test") == [(10, "mx.xn--bcher-kva.test")]


def test_a_provider_may_hold_anything_but_a_semicolon() -> None:
    assert valid(f"v=NTA7516-1;{DATES};provider=Zorg = mail, B.V.").provider == "Zorg = mail, B.V."


def test_other_texts_beside_the_record_are_not_its_business() -> None:
    assert valid("v=spf1 -all", PLAIN, "v=NTA7516;version:1") == valid(PLAIN)


def test_one_month_is_a_term() -> None:
    assert valid("v=NTA7516-1;startdate=2026-02;enddate=2026-02;provider=X").start == Month(2026, 2)


# --- in date ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "holds"),
    [
        (date(2024, 12, 31), False),
        (date(2025, 1, 1), True),
        (date(2026, 6, 15), True),
        (date(2027, 12, 31), True),
        (date(2028, 1, 1), False),
    ],
)
def test_a_record_holds_from_its_first_day_through_its_last(day: date, holds: bool) -> None:
    assert in_date(valid(PLAIN), day) is holds


def test_the_last_day_of_february_is_its_last_day_in_every_year() -> None:
    record = Record(Month(2028, 2), Month(2028, 2), "X", ((10, Domain.parse("mx.zorg.test")),))
    assert in_date(record, date(2028, 2, 29))
    assert not in_date(record, date(2028, 3, 1))


def test_a_year_far_away_is_a_year() -> None:
    assert in_date(valid("v=NTA7516-1;startdate=0000-01;enddate=9999-12;provider=X"), date(2026, 1, 1))


# --- words --------------------------------------------------------------------------------------------------------


def test_every_standing_and_fault_has_its_own_code_and_both_languages() -> None:
    words = [*Standing, *Fault]
    assert len({one.value for one in words}) == len(words) == 8 + 7
    assert all(one.en.endswith(".") and one.nl.endswith(".") and one.en != one.nl for one in words)


def test_the_page_for_administrators_explains_every_standing() -> None:
    page = (Path(__file__).parents[2] / "docs" / "nta7516.md").read_text()
    assert [one.value for one in Standing if f"| `{one.value}` | {one.en} |\n" not in page] == []
