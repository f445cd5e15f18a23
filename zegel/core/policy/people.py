"""Who may change which account of an organisation, and what nobody may.

What is decided on is read inside the transaction of the change, so that two who act at once don't leave an organisation
without an owner.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from zegel.core.policy.roles import Capability, Role, may, may_make


class Objection(Enum):
    """Why an account stays as it is: half a sentence in English, for the command line. Pages have their own words."""

    NOT_ALLOWED = "this account may not manage accounts"
    MORE_THAN_OWN = "nobody gives, takes away or manages more rights than they have"
    OWN = "nobody changes their own role, or suspends or resets themselves; somebody else has to"
    LAST_OWNER = "it is the last owner who can sign in; make somebody else an owner first"
    SUSPENDED = "it is suspended; resume it first"
    FUNCTIONAL = "it is a functional mailbox, to which nobody signs in"
    PERSONAL = "it is one person's own mailbox; others read it only once it is passed on"
    IN_USE = "it is in use: its holder has a second factor"
    TOO_OFTEN = "too many invitations went to it; try again tomorrow"
    SUCCESSOR_SUSPENDED = "the successor is suspended"
    SUCCESSOR_FUNCTIONAL = "the successor is a functional mailbox; name a person"
    SUCCESSOR_IS_READ = "others read the successor's own mailbox, and reading is not handed on"
    SUCCESSOR_SAME = "the successor is the account itself"
    SUCCESSOR_ELSEWHERE = "the successor is not of the same organisation"
    NOT_THEIR_DOMAIN = "its domain is not a sending domain of the organisation with its records in place"
    HAS_ACCOUNT = "there is an account for it already"
    FREE_ACCOUNT = "a guest made a free account for it, which can be taken in"
    TAKEN = "there is an account for it outside of the organisation"
    NOT_A_PERSON = "a functional mailbox has no role but that of a sender"


@dataclass(frozen=True, slots=True)
class Subject:
    """The account that is to be changed."""

    role: Role
    is_active: bool = True
    is_functional: bool = False
    is_own: bool = False  # of who wants the change
    is_last_owner: bool = False  # without it nobody could sign in as owner


@dataclass(frozen=True, slots=True)
class Successor:
    """Who is to read a leaver's mailbox."""

    is_same: bool = False
    is_ours: bool = True
    is_active: bool = True
    is_functional: bool = False
    is_read_by_others: bool = False


def to_managing(by: Role | None, role: Role) -> Objection | None:
    """To any change by ``by`` of an account with that role, or to making one. ``None`` as ``by``: the user of the
    machine, who may do all."""
    if by is None or may_make(by, role):
        return None
    return Objection.MORE_THAN_OWN if may(by, Capability.ACCOUNTS) else Objection.NOT_ALLOWED


def to_role(by: Role | None, about: Subject, role: Role) -> Objection | None:
    """To giving it that role."""
    if about.is_functional and role is not Role.SENDER:
        return Objection.NOT_A_PERSON
    return _to_ending(by, about, keeps_owner=role is Role.OWNER) or to_managing(by, role)


def to_suspending(by: Role | None, about: Subject) -> Objection | None:
    """To ending its use, for now."""
    return _to_ending(by, about, keeps_owner=False)


def to_inviting(by: Role | None, about: Subject, *, has_second_factor: bool) -> Objection | None:
    """To a mail that lets its holder choose a password and a second factor."""
    if found := to_managing(by, about.role) or _to_signing_in(about):
        return found
    return Objection.IN_USE if has_second_factor else None


def to_resetting(by: Role | None, about: Subject) -> Objection | None:
    """To taking its password and second factor away, for who lost them. The last owner too may lose a telephone."""
    return to_managing(by, about.role) or (Objection.OWN if about.is_own else _to_signing_in(about))


def to_passing_on(by: Role | None, about: Subject, to: Successor) -> Objection | None:
    """To a successor who reads its mailbox from then on; it is suspended, if it was not."""
    if about.is_functional:
        return Objection.FUNCTIONAL
    return to_suspending(by, about) or _to_successor(to)


def _to_ending(by: Role | None, about: Subject, *, keeps_owner: bool) -> Objection | None:
    if about.is_own:
        return Objection.OWN
    if found := to_managing(by, about.role):
        return found
    return Objection.LAST_OWNER if about.is_last_owner and not keeps_owner else None


def _to_signing_in(about: Subject) -> Objection | None:
    if about.is_functional:
        return Objection.FUNCTIONAL
    return None if about.is_active else Objection.SUSPENDED


def _to_successor(to: Successor) -> Objection | None:
    if to.is_same:
        return Objection.SUCCESSOR_SAME
    if not to.is_ours:
        return Objection.SUCCESSOR_ELSEWHERE
    if not to.is_active:
        return Objection.SUCCESSOR_SUSPENDED
    if to.is_functional:
        return Objection.SUCCESSOR_FUNCTIONAL
    return Objection.SUCCESSOR_IS_READ if to.is_read_by_others else None


def asks_twice(old: Role, new: Role) -> bool:
    """A change that gives or takes all rights is asked about once more."""
    return old is not new and Role.OWNER in (old, new)
