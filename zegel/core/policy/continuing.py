"""A message that answers an earlier one by mail: whose conversation it continues (D-5).

Anybody can write any ``References`` field. So an earlier conversation counts only where the author and a recipient of
the new message were in it, and what follows from it is a place on pages, never a right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from zegel.core.clock import Instant

Id = TypeVar("Id")
MOST_REFERENCES: Final = 20  # the newest; a thread has no end


@dataclass(frozen=True, slots=True)
class Earlier(Generic[Id]):
    """A conversation that one of the references belongs to."""

    id: Id
    members: frozenset[str]  # keys of mailboxes: its author and its recipients
    reference: int  # place of the reference; later ones are closer to the message
    is_shared: bool  # and not that of one Bcc recipient
    began_at: Instant


def continued(found: Iterable[Earlier[Id]], *, author: str, recipients: Sequence[str]) -> Id | None:
    """The conversation that a new one of ``author`` with ``recipients`` goes on: the one that the latest reference
    names, then with most of them, then one that is shared, then the newest. ``None``: it begins by itself."""
    whom = set(recipients)
    fitting = [one for one in found if author in one.members and not one.members.isdisjoint(whom - {author})]
    if not fitting:
        return None
    return max(fitting, key=lambda one: (one.reference, len(one.members & whom), one.is_shared, one.began_at)).id
