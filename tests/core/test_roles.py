"""Roles: what each may do, and that nobody gives what they have not."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from zegel.core.policy.roles import MAY, Capability, Role, as_markdown, may, may_make

DOCS = Path(__file__).parents[2] / "docs"


def test_the_documented_table_is_the_table_in_force() -> None:
    assert (DOCS / "roles.md").read_text(encoding="utf-8") == as_markdown()


def test_every_role_has_a_line_and_nobody_more_than_the_owner() -> None:
    assert set(MAY) == set(Role) and MAY[Role.OWNER] == set(Capability)
    assert MAY[Role.SENDER] == frozenset()


def test_support_sees_the_way_of_messages_and_changes_nothing() -> None:
    assert {one for one in Capability if may(Role.SUPPORT, one)} == {Capability.TRACE, Capability.NUMBERS}


@pytest.mark.parametrize(("by", "role"), list(itertools.product(Role, Role)))
def test_nobody_gives_a_right_that_they_do_not_have(by: Role, role: Role) -> None:
    if may_make(by, role):
        assert may(by, Capability.ACCOUNTS) and MAY[role] <= MAY[by]
    assert may_make(Role.OWNER, role)
