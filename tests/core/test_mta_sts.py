"""MTA-STS: records and policies as RFC 8461 has them, and as strangers write them."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.policy.mta_sts import (
    LARGEST_POLICY,
    LONGEST_AGE,
    REFRESH,
    Fetch,
    Kept,
    Mode,
    NotAPolicy,
    Policy,
    Use,
    policy_of,
    record_id,
    which,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
WEEK = timedelta(days=7)
POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.org\r\nmx: *.example.net\r\nmax_age: 604800\r\n"


# --- the record ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["v=spf1 -all"],
        ["v=STSv1"],
        ["v=STSv1; "],
        ["v=STSv2; id=1;"],
        ["V=STSv1; id=1;"],
        [" v=STSv1; id=1;"],
        ["id=1; v=STSv1;"],
        ["v=STSv1; id=;"],
        ["v=STSv1; id=2026-11-23;"],
        ["v=STSv1; id=" + "1" * 33],
        ["v=STSv1; id=1; id=2"],
        ["v=STSv1; id=1; what is this"],
        ["v=STSv1; id=1;", "v=STSv1; id=1;"],
        ["v=STSv1; id=1;", "v=STSv1;"],
    ],
)
def test_what_is_no_single_record_is_none(texts: list[str]) -> None:
    assert record_id(texts) is None


@pytest.mark.parametrize(
    "text",
    ["v=STSv1; id=20261123T12;", "v=STSv1;id=20261123T12", "v=STSv1 ; id = 20261123T12 ; more=yes.it:is ;"],
)
def test_a_record_is_found_among_others(text: str) -> None:
    assert record_id(["other", text, "v=spf1 -all"]) == "20261123T12"


# --- the policy ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"<html>Not found</html>",
        POLICY.replace(b"STSv1", b"STSv2"),
        POLICY.replace(b"version: STSv1\r\n", b""),
        POLICY.replace(b"enforce", b"Enforce"),
        POLICY.replace(b"mode: enforce\r\n", b""),
        POLICY.replace(b"max_age: 604800\r\n", b""),
        POLICY.replace(b"604800", b"-1"),
        POLICY.replace(b"604800", b"a week"),
        POLICY.replace(b"604800", "٣".encode()),
        POLICY.replace(b"mx: mail.example.org\r\nmx: *.example.net\r\n", b""),
        POLICY.replace(b"mail.example.org", b"*"),
        POLICY.replace(b"mail.example.org", b"a.*.example.org"),
        POLICY.replace(b"mail.example.org", b"192.0.2.1"),
        POLICY.replace(b"mail.example.org", b""),
        POLICY + b"a line\r\n",
        POLICY + b"\xff: x\r\n",
        POLICY + b"mx: a.example.org\n" * 101,
        POLICY + b"x: " + b"x" * LARGEST_POLICY,
    ],
)
def test_what_is_no_policy_is_refused(octets: bytes) -> None:
    with pytest.raises(NotAPolicy):
        policy_of(octets)


@pytest.mark.parametrize(
    "octets", [POLICY, POLICY.replace(b"\r\n", b"\n"), POLICY.rstrip(), POLICY.replace(b": ", b":  "), b"\n" + POLICY]
)
def test_a_policy_is_read(octets: bytes) -> None:
    assert policy_of(octets) == Policy(Mode.ENFORCE, WEEK, ("mail.example.org", "*.example.net"))


def test_of_a_field_that_stands_twice_the_first_counts_and_unknown_ones_do_not() -> None:
    assert policy_of(POLICY + b"mode: none\r\nmax_age: 1\r\nlater: yes\r\n") == policy_of(POLICY)


def test_no_policy_lasts_longer_than_a_year() -> None:
    assert policy_of(POLICY.replace(b"604800", b"9999999999")).max_age == LONGEST_AGE


def test_a_policy_of_nothing_needs_no_hosts() -> None:
    assert policy_of(b"version: STSv1\nmode: none\nmax_age: 86400\n").mode is Mode.NONE


@given(st.binary(max_size=300))
def test_anything_is_a_policy_or_not_one(octets: bytes) -> None:
    for text in (octets, POLICY + octets):
        with suppress(NotAPolicy):
            policy_of(text)


@pytest.mark.parametrize(
    ("host", "is_named"),
    [
        ("mail.example.org", True),
        ("MAIL.Example.ORG.", True),
        ("mx1.example.net", True),
        ("example.net", False),
        ("a.b.example.net", False),
        ("example.org", False),
        ("mail.example.org.evil.test", False),
        ("xmail.example.org", False),
        ("", False),
    ],
)
def test_a_wildcard_stands_for_one_label(host: str, is_named: bool) -> None:
    assert policy_of(POLICY).names(host) is is_named


# --- which one holds ----------------------------------------------------------------------------------------------

MINE = Policy(Mode.ENFORCE, WEEK, ("mail.example.org",))


def kept(age: timedelta, identity: str = "1") -> Kept:
    return Kept(MINE, identity, NOON - age)


@pytest.mark.parametrize(
    ("known", "shown", "is_known", "expected"),
    [
        (None, None, True, Use(None)),
        (None, None, False, Use(None)),
        (None, "1", True, Fetch("1", None)),
        (kept(timedelta(days=8)), None, True, Use(None)),
        (kept(timedelta(days=8)), None, False, Use(None)),
        (kept(timedelta(days=8)), "1", True, Fetch("1", None)),
        (kept(timedelta(hours=1)), "1", True, Use(MINE)),
        (kept(timedelta(days=2)), "1", True, Fetch("1", MINE)),
        (kept(timedelta(hours=1)), "2", True, Fetch("2", MINE)),
        (kept(timedelta(days=6)), None, True, Use(MINE)),  # an attacker who takes the record away wins nothing
        (kept(timedelta(days=6)), None, False, Use(MINE)),
        (kept(REFRESH), "1", True, Fetch("1", MINE)),
        (kept(WEEK), None, True, Use(None)),
        (kept(-timedelta(days=3)), None, True, Use(MINE)),  # the clock was set back a little
        (kept(-timedelta(days=30)), None, True, Use(None)),
    ],
)
def test_the_table(known: Kept | None, shown: str | None, is_known: bool, expected: Use | Fetch) -> None:
    assert which(known, shown, is_known=is_known, now=NOON) == expected
