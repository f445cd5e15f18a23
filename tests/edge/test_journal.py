"""The journal of erasures: nothing in it is lost, taken twice, or taken from another gateway."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from zegel.edge.journal import Erased, Journal, JournalTrouble, agree

AT: Final = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
OURS, THEIRS = b"ourskey1", b"theirkey"


def erased(number: int, *, seed: int = 0) -> Erased:
    return Erased(number, AT, "conversation", uuid.UUID(int=number + 1000 * seed))


def known(most: int) -> Callable[[int], Sequence[Erased]]:
    return lambda last: [erased(number) for number in range(last + 1, most + 1)]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "disk/erasures", OURS)


def test_another_gateways_journal_is_neither_read_nor_written(journal: Journal) -> None:
    journal.add(known(3))
    other = Journal(journal.path, THEIRS)
    before = journal.path.read_bytes()
    for ask in (other.read, other.last, lambda: other.add(known(9))):
        with pytest.raises(JournalTrouble, match="gateway with other keys"):
            ask()
    assert journal.path.read_bytes() == before


@pytest.mark.parametrize(
    "text",
    [
        "iets anders\n",
        "zegel erasures v2 6f7572736b657931\n",
        "zegel erasures v1 6f7572736b657931\nx\n",
        f"zegel erasures v1 6f7572736b657931\n1 2026-11-23T12:00:00 conversation {uuid.UUID(int=1).hex}\n",
        f"zegel erasures v1 6f7572736b657931\n1 2026-11-23T12:00:00+00:00 conversation {'g' * 32}\n",
    ],
)
def test_what_is_damaged_is_told_and_left_alone(journal: Journal, text: str) -> None:
    journal.path.parent.mkdir()
    journal.path.write_text(text)
    with pytest.raises(JournalTrouble, match=r"is not a journal of erasures, or is damaged\. Beside"):
        journal.read()
    with pytest.raises(JournalTrouble):
        journal.add(known(1))
    assert journal.path.read_text() == text


def test_lines_out_of_order_are_damage(journal: Journal) -> None:
    journal.add(known(2))
    with journal.path.open("a") as file:
        file.write(erased(2).line())
    with pytest.raises(JournalTrouble):
        journal.read()


def test_it_is_closed_to_other_users_and_says_what_was_added(journal: Journal) -> None:
    assert journal.add(known(0)) == 0
    assert (journal.read(), journal.last()) == ((), 0)
    assert journal.add(known(3)) == 3
    assert journal.add(known(5)) == 5
    assert journal.add(known(5)) == 5
    assert journal.read() == tuple(known(5)(0))
    assert journal.path.stat().st_mode & 0o777 == 0o600


def test_it_may_be_cut_off_anywhere(journal: Journal, tmp_path: Path) -> None:
    """A crash while it was written: whole lines count, and the next writer goes on behind the last of them."""
    journal.add(known(3))
    whole = journal.path.read_bytes()
    for length in range(len(whole)):
        journal.path.write_bytes(whole[:length])
        if lines := whole[:length].count(b"\n"):
            assert journal.read() == tuple(known(3)(0))[: lines - 1]
        else:
            with pytest.raises(JournalTrouble, match="is not a journal of erasures"):  # nothing says whose it is
                journal.read()
        assert journal.add(known(3)) == 3
        assert journal.path.read_bytes() == whole


def test_a_long_one_is_continued_from_its_end(journal: Journal) -> None:
    journal.add(known(2000))
    asked: list[int] = []

    def after(last: int) -> Sequence[Erased]:
        asked.append(last)
        return known(2001)(last)

    assert journal.add(after) == 2001
    assert asked == [2000]
    assert [one.number for one in journal.read()] == list(range(1, 2002))


def test_several_who_write_add_each_line_once(journal: Journal) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda most: journal.add(known(most)), [10 * one for one in range(1, 40)] * 3))
    assert journal.read() == tuple(known(390)(0))


def test_it_is_durable_before_anybody_relies_on_it(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def sync(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    monkeypatch.setattr(os, "fsync", sync)
    journal.add(known(1))
    assert synced == ["erasures", "disk"]


def test_two_that_went_apart_do_not_agree() -> None:
    one = [erased(number) for number in (1, 2, 3)]
    assert agree(one, [*one, erased(4)]) and agree([*one, erased(4)], one) and agree((), one)
    assert not agree(one, [erased(1), erased(2, seed=1)])
