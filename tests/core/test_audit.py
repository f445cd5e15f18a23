"""The audit log as values: what a chain shows, and what it doesn't."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from zegel.core.policy.audit import (
    FIRST,
    LONGEST_TERM,
    SHORTEST_TERM,
    Act,
    Actor,
    ActorKind,
    Details,
    Entry,
    NotATerm,
    Sound,
    Unsound,
    changes,
    exported,
    hash_of,
    limit_of,
    parse_term,
    removable,
    understood,
    verify,
)

NOON: Final = datetime(2026, 7, 25, 12, 0, tzinfo=UTC)
BY: Final = Actor(ActorKind.ACCOUNT, "beheer@voorbeeld.test")


def entry(number: int, previous: str, act: Act = Act.POLICY_CHANGED, **details: Any) -> Entry:
    about: Details = details or {"hold_days": number}
    return Entry(7, number, NOON + timedelta(minutes=number), BY, act.value, "één@voorbeeld.test", about, previous)


def chain(length: int = 6) -> list[Entry]:
    made: list[Entry] = []
    for number in range(1, length + 1):
        made.append(entry(number, made[-1].hash if made else FIRST))
    return made


def lines(entries: list[Entry]) -> list[Any]:
    """As a file of an export has them."""
    return [understood(exported(one.written(), one.hash)) for one in entries]


def rechained(found: list[Any]) -> list[Any]:
    """As somebody makes them who can write the whole log anew."""
    previous = FIRST
    for line in found:
        line["previous"] = previous
        previous = line["hash"] = hash_of(line)
    return found


def test_what_was_written_is_sound() -> None:
    made = chain()
    assert verify(lines(made)) == Sound(6, 1, 6, made[-1].hash)
    assert verify([]) == Sound(0, 0, 0, "")


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("at", "2026-07-25T12:00:00.000000+00:00"),
        ("by", "ander@voorbeeld.test"),
        ("by_kind", "gateway"),
        ("act", "signed-in"),
        ("about", "ander@voorbeeld.test"),
        ("details", {"hold_days": 99}),
        ("details", {}),
        ("chain", 8),
        ("previous", "0" * 64),
        ("hash", "0" * 64),
    ],
)
def test_an_entry_that_was_changed_is_found(place: int, name: str, value: object) -> None:
    found = lines(chain())
    found[place][name] = value
    unsound = verify(found)
    assert isinstance(unsound, Unsound) and unsound.line in (place + 1, place + 2)


@pytest.mark.parametrize("place", range(6))
def test_an_entry_that_was_changed_with_its_own_hash_is_found_by_the_next_one(place: int) -> None:
    found = lines(chain())
    found[place]["by"] = "ander@voorbeeld.test"
    found[place]["hash"] = hash_of(found[place])
    outcome = verify(found)
    if place < 5:
        assert outcome == Unsound(place + 2, "the entry before it is another than it was")
    else:
        assert isinstance(outcome, Sound), "the last one shows it only to who has kept its hash"
        assert isinstance(verify(found, known=chain()[-1].hash), Unsound)


@pytest.mark.parametrize("place", range(5))
def test_an_entry_that_is_not_there_is_found(place: int) -> None:
    found = lines(chain())
    del found[place]
    assert isinstance(verify(found), Unsound)


def test_a_file_that_was_cut_off_does_not_end_as_an_export_does() -> None:
    made = chain()
    made.append(entry(7, made[-1].hash, act=Act.AUDIT_EXPORTED))
    assert verify(lines(made)) == Sound(7, 1, 7, made[-1].hash, is_whole=True)
    assert verify(lines(made)[:-1]) == Sound(6, 1, 6, made[5].hash, is_whole=False)


def test_an_end_that_is_not_there_is_found_by_who_kept_the_last_hash() -> None:
    made = chain()
    assert isinstance(verify(lines(made)[:4]), Sound)
    assert verify(lines(made)[:4], known=made[5].hash) == Unsound(
        4, f"the entry with the hash {made[5].hash} is not there"
    )
    assert isinstance(verify(lines(made), known=made[2].hash), Sound)


@pytest.mark.parametrize("place", range(5))
def test_two_entries_that_changed_places_are_found(place: int) -> None:
    found = lines(chain())
    found[place], found[place + 1] = found[place + 1], found[place]
    assert isinstance(verify(found), Unsound)


@pytest.mark.parametrize("place", range(7))
def test_an_entry_in_between_is_found(place: int) -> None:
    made = chain()
    extra = entry(place + 1, made[place - 1].hash if place else FIRST, act=Act.SIGNED_IN)
    found = lines(made)
    found[place:place] = lines([extra])
    outcome = verify(found)
    assert isinstance(outcome, Unsound if place < 6 else Sound), "one more at the end is what a log is for"


def test_a_whole_new_chain_is_found_by_who_kept_a_hash() -> None:
    made = chain()
    found = lines(made)
    found[2]["details"] = {"hold_days": 99}
    found = rechained(found)
    assert isinstance(verify(found), Sound), "who can write the database can do this"
    assert isinstance(verify(found, known=made[1].hash), Sound), "what comes before is as it was"
    for one in made[2:]:
        assert isinstance(verify(copy.deepcopy(found), known=one.hash), Unsound)


def test_entries_of_two_logs_are_no_chain() -> None:
    found = lines(chain())
    found[3]["chain"] = 8
    found[3]["hash"] = hash_of(found[3])
    assert verify(found) == Unsound(4, "the entry is of another organisation")


# Shortened


def shortened(removed: int = 3, **told: Any) -> list[Any]:
    """The rest of a chain, whose last entry tells of what is gone."""
    made = chain()
    gone = made[removed - 1]
    details = {"entries": removed, "last": gone.number, "hash": gone.hash, **told}
    made.append(entry(7, made[-1].hash, act=Act.AUDIT_SHORTENED, **details))
    return lines(made)[removed:]


@pytest.mark.parametrize("removed", range(1, 7))
def test_a_chain_that_lost_its_beginning_in_order_is_sound(removed: int) -> None:
    assert verify(shortened(removed)) == Sound(7 - removed, removed + 1, 7, shortened(removed)[-1]["hash"])


def test_a_beginning_that_was_taken_away_is_found() -> None:
    why = "the entries before number 4 are not there, and none tells that their term was over"
    assert verify(lines(chain())[3:]) == Unsound(1, why)
    assert verify(shortened()[:-1]) == Unsound(1, why)
    assert isinstance(verify(shortened(last=2)), Unsound)
    assert isinstance(verify(shortened(hash="0" * 64)), Unsound)
    assert isinstance(verify(shortened()[1:]), Unsound)


def test_a_first_entry_has_nothing_before_it_and_no_other_is_without() -> None:
    for number, previous in ((1, "0" * 64), (2, FIRST)):
        assert verify(lines([entry(number, previous)])) == Unsound(1, "an entry stands before the first one")


# What is no entry


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "null",
        "7",
        '"x"',
        "[]",
        "{}",
        "[" * 100_000,
        '{"chain": 7}',
        '{"chain": 7, "chain": 7}',
        "NaN",
        "x" * 10_000,
        "1" * 10_000,
    ],
)
def test_what_is_no_entry_is_called_so(text: str) -> None:
    assert verify([understood(text)]) == Unsound(1, "this is no entry of an audit log")


def test_an_entry_that_could_be_read_in_two_ways_is_none() -> None:
    one = chain(1)[0]
    good = exported(one.written(), one.hash)
    assert isinstance(verify([understood(good)]), Sound)
    for bad in (good[:-1] + ', "by": "ander@voorbeeld.test"}', good[:-1] + ', "note": "x"}', good[:-1]):
        assert isinstance(verify([understood(bad)]), Unsound)
    for number in (True, 1.0, "1", None, 0, -1, [1]):
        line = {**json.loads(good), "number": number}
        assert isinstance(verify([{**line, "hash": hash_of(line)}]), Unsound)


def test_a_line_is_one_line_of_ascii_and_says_all_of_it() -> None:
    odd = Entry(7, 1, NOON, BY, "signed-in", 'één\n"\u2028\x85\ud800@voorbeeld.test', {"a": ["é", "\r\n"]}, FIRST)
    line = exported(odd.written(), odd.hash)
    assert line.isascii() and line.isprintable() and len(line.splitlines()) == 1
    assert understood(line) == {**odd.written(), "hash": odd.hash}
    assert isinstance(verify([understood(line)]), Sound)


# Details


def test_a_change_tells_what_was_and_what_is_and_nothing_of_the_rest() -> None:
    old = {"days": None, "on": True, "networks": ["192.0.2.0/24"], "same": 1, "more": 7}
    new = {"days": 30, "on": False, "networks": (), "same": 1, "new": "x"}
    assert changes(old, new) == {
        "days": 30, "days.before": None, "on": False, "on.before": True, "networks": [],
        "networks.before": ["192.0.2.0/24"], "new": "x", "new.before": None,
    }  # fmt: skip
    assert changes(new, new) == {}


# How long


@pytest.mark.parametrize("text", ["90", " 365 ", "36500"])
def test_a_term_in_days(text: str) -> None:
    assert SHORTEST_TERM <= parse_term(text) <= LONGEST_TERM


@pytest.mark.parametrize("text", ["", "89", "0", "-90", "36501", "1e3", "90.0", "negentig", "９０", "9" * 5000])
def test_what_is_no_term(text: str) -> None:
    with pytest.raises(NotATerm, match="from 90 to 36500"):
        parse_term(text)


def test_a_day_ends_at_once() -> None:
    late = NOON.replace(hour=23, minute=59)
    assert limit_of(90, NOON) == limit_of(90, late) == datetime(2026, 4, 26, tzinfo=UTC)
    assert limit_of(90, late + timedelta(minutes=1)) == datetime(2026, 4, 27, tzinfo=UTC)


def test_what_may_go_is_the_old_beginning() -> None:
    def of(*ages: int, act: Act = Act.SIGNED_IN) -> list[tuple[datetime, str]]:
        return [(NOON - timedelta(days=age), act.value) for age in ages]

    assert removable([], NOON) == 0
    assert removable(of(3, 2, 1), NOON) == 3
    assert removable(of(3, 2, 0, -1), NOON) == 2, "what is as old as the limit stays"
    assert removable(of(0, 3, 2), NOON) == 0
    assert removable(of(3, -1, 2), NOON) == 1, "also where the clock was set back"
    told = of(3, 2, act=Act.AUDIT_SHORTENED)
    assert removable(told, NOON) == 0
    assert removable([*told, *of(1)], NOON) == 3
