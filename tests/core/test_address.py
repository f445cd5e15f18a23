"""Which spellings are one mailbox, and which are the mailboxes of two people."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from zegel.core.mail.address import Domain, Mailbox

KELVIN, ANGSTROM, OHM, THETA = "\u212a", "\u212b", "\u2126", "\u03f4"
DOMAIN = Domain("open.test")


def mailbox(local: str) -> Mailbox:
    return Mailbox.parse(f"{local}@open.test")


def test_no_letter_outside_ascii_is_one_inside() -> None:
    """Every character that a capital letter or another spelling stands for, alone and among others."""
    told_apart = set()
    for number in range(0x80, sys.maxunicode + 1):
        char = chr(number)
        if 0xD800 <= number <= 0xDFFF or unicodedata.normalize("NFC", char).lower() == char:
            continue
        told_apart.add(char)
        assert not mailbox(char).key.isascii(), ascii(char)
        for letter in map(chr, range(0x21, 0x7F)):
            assert Mailbox(f"x{char}", DOMAIN) != Mailbox(f"x{letter}", DOMAIN), ascii(char)
    assert {KELVIN, ANGSTROM, OHM, THETA} <= told_apart


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"{KELVIN}arl", "karl"),
        (f"{KELVIN}arl", "Karl"),
        (f"rené.{KELVIN}", "rené.k"),
        (f"{ANGSTROM}sa", "\u00e5sa"),
        (f"{ANGSTROM}sa", "a\u030asa"),
        (OHM, "\u03c9"),
        (THETA, "\u03b8"),
        ("\u1fefa", "`a"),
        ("\uf900", "\u8c48"),
        ("groß", "gross"),
    ],
)
def test_a_letter_that_unicode_has_twice_is_two(one: str, other: str) -> None:
    assert mailbox(one) != mailbox(other)
    assert mailbox(one).key != mailbox(other).key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Karl", "karl"),
        ("René", "rene\u0301"),
        ("RENÉ", "rené"),
        ("\u00c5sa", "a\u030asa"),
        (f"{KELVIN}RENÉ", f"{KELVIN}rene\u0301"),
        ("\u0398", "\u03b8"),
    ],
)
def test_composed_or_not_in_capitals_or_not_it_is_one(one: str, other: str) -> None:
    assert mailbox(one) == mailbox(other)
    assert hash(mailbox(one)) == hash(mailbox(other))
