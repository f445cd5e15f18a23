"""Which conversation a message by mail goes on with, and that nobody gets into one by writing References (D-5)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.core.mail.fields import HeaderSection, references
from zegel.core.policy.continuing import Earlier, continued

AT: Final = datetime(2026, 3, 12, 14, 2, tzinfo=UTC)
names = st.sampled_from("abcde")
earlier = st.builds(
    Earlier,
    id=st.integers(0, 5),
    members=st.frozensets(names),
    reference=st.integers(0, 3),
    is_shared=st.booleans(),
    began_at=st.integers(0, 100).map(lambda minutes: AT + timedelta(minutes=minutes)),
)


def one(id: str, members: str, reference: int = 0, minutes: int = 0, *, is_shared: bool = True) -> Earlier[str]:
    return Earlier(id, frozenset(members), reference, is_shared, AT + timedelta(minutes=minutes))


@given(st.lists(earlier), names, st.lists(names))
def test_author_and_a_recipient_were_both_in_it(found: list[Earlier[int]], author: str, recipients: list[str]) -> None:
    chosen = continued(found, author=author, recipients=recipients)
    fitting = [one for one in found if author in one.members and (set(recipients) - {author}) & one.members]
    assert (chosen is None) == (fitting == [])
    assert chosen is None or chosen in {one.id for one in fitting}


def test_who_writes_to_oneself_goes_on_with_nothing() -> None:
    assert continued([one("x", "ab")], author="a", recipients=["a"]) is None


def test_the_latest_reference_counts_then_most_members_then_the_shared_then_the_newest() -> None:
    found = [one("early", "abc", 0, 9), one("few", "ab", 1, 5), one("many", "abc", 1, 1), one("new", "abc", 1, 2)]
    assert continued(found, author="a", recipients=["b", "c"]) == "new"
    assert continued([*found, one("blind", "abc", 1, 3, is_shared=False)], author="a", recipients=["b", "c"]) == "new"
    assert continued(found[:3], author="a", recipients=["b", "c"]) == "many"
    assert continued(found[:2], author="a", recipients=["b", "c"]) == "few"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", ()),
        ("References: \r\n", ()),
        ("In-Reply-To: your mail of Monday\r\n", ()),
        ("In-Reply-To: <a@x>\r\n", ("<a@x>",)),
        ("In-Reply-To: <a@x> (Piet <p@y>)\r\nReferences: <b@x>\r\n <c@x>\r\n", ("<b@x>", "<c@x>", "<a@x>", "<p@y>")),
        ("References: <a@x> <b@x> <a@x>\r\n", ("<b@x>", "<a@x>")),
        ("References: <1@x><2@x>,<3@x> <4@x>\r\n", ("<2@x>", "<3@x>", "<4@x>")),
        (f"References: <{'a' * 2000}@x> <b@x>\r\n", ("<b@x>",)),
        ("References: <a @x> <@x> <a@> <a@b@c> <<b@x>>\r\n", ("<b@x>",)),
    ],
)
def test_references_are_read_as_far_as_they_are_some(header: str, expected: tuple[str, ...]) -> None:
    most = 3 if "<1@x>" in header else 10
    assert references(HeaderSection.parse(header.encode()), most=most) == expected


def test_hostile_references_are_read_to_their_end() -> None:
    for hostile in ("<" * 200_000, "<a" * 100_000, "<a@" * 70_000, "<a@b" * 60_000):
        octets = "References: " + "\r\n ".join(hostile[at : at + 900] for at in range(0, len(hostile), 900)) + "\r\n"
        assert references(HeaderSection.parse(octets.encode()), most=20) == ()
