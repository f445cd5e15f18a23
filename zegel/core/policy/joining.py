"""Proving a mailbox: what its holder is told who asked for an account, or for another password.

The page that was asked gives one answer, whatever this comes to (P14); only the mailbox hears the difference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from typing import Final

from zegel.core.clock import Duration

CODE_LIFETIME: Final[Duration] = timedelta(minutes=30)
PASSED_LIFETIME: Final[Duration] = timedelta(minutes=30)  # from the right code to the password
TRIES_PER_CODE: Final = 5
REQUESTS_PER_HOUR: Final = 20  # from one network
ALPHABET: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # 32, of which none is mistaken for another
CODE_LENGTH: Final = 8  # 40 bits; no series of tries comes near


@dataclass(frozen=True, slots=True)
class Mails:
    """How many went to one mailbox."""

    last_hour: int = 0
    last_day: int = 0

    def reach(self, most: Mails) -> bool:
        """There may be no more."""
        return self.last_hour >= most.last_hour or self.last_day >= most.last_day


MOST: Final = Mails(6, 20)  # whoever asks
MOST_FOR_PLACE: Final = Mails(3, 10)  # asked for from one network, or by one known browser
MOST_FOR_OFTEN: Final = Mails(3, 10)  # whoever asks, once a place asked often: the rest is for places that did not
OFTEN: Final = 2  # mails in a day
INVITATION_LIFETIME: Final[Duration] = timedelta(days=7)
MOST_INVITATIONS: Final = Mails(5, 10)  # administrators can be impatient


class Purpose(Enum):
    """What a mailbox is proven for, as stored."""

    REGISTER = "register"
    RESET = "reset"
    CHANGED = "changed"  # nothing is proven: the holder hears that the password is another one
    INVITED = "invited"  # an administrator asks; a link instead of a code


class Told(Enum):
    """The mail that goes out."""

    CODE = "code"
    HAS_ACCOUNT = "has-account"  # sign in, or ask for another password
    NO_ACCOUNT = "no-account"  # there is nothing to reset
    ADMINISTRATOR = "administrator"  # accounts for this address are the organisation's to make and mend
    CHANGED = "changed"
    INVITATION = "invitation"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about the mailbox."""

    has_account: bool = False
    is_active: bool = True
    of_organisation: bool = False  # an administrator made the account
    has_second_factor: bool = False
    domain_is_taken: bool = False  # its domain is proven to be that of an organisation here
    was_recipient: bool = False  # something was sent to it through this gateway
    by_known_browser: bool = False  # one in which both factors of the account were given before
    mails: Mails = Mails()
    mails_here: Mails = Mails()  # of these, asked for from the same place


def what_to_tell(purpose: Purpose, known: Known) -> Told | None:
    """Which mail goes to the mailbox; ``None``: none. Nobody who was never written to gets mail at a stranger's wish.

    A free account without a second factor was not finished, and nothing was ever readable with it: it may be made
    anew. One of an organisation without a second factor is the administrator's: the mailbox alone may not win it.
    """
    if purpose is Purpose.CHANGED:  # whatever was asked before: somebody changed it, and that can be undone early only
        return Told.CHANGED if known.has_account else None
    if purpose is Purpose.INVITED:  # nobody else can make this mail go out; how often is counted where it is asked for
        return Told.INVITATION if _can_be_invited(known) else None
    if _is_flooded(known):
        return None
    if known.has_account and known.of_organisation:
        return _of_organisation(purpose, known)
    if known.has_account and known.has_second_factor:
        if not known.is_active:
            return None
        return Told.HAS_ACCOUNT if purpose is Purpose.REGISTER else Told.CODE
    if known.has_account and not known.is_active:
        return None
    if not (known.has_account or known.was_recipient):
        return None
    if known.domain_is_taken:
        return Told.ADMINISTRATOR
    return Told.CODE if purpose is Purpose.REGISTER else Told.NO_ACCOUNT


def _can_be_invited(known: Known) -> bool:
    return known.has_account and known.of_organisation and known.is_active and not known.has_second_factor


def _is_flooded(known: Known) -> bool:
    """Of what a mailbox may get, a stranger takes a part: from another network its owner still gets a code, and from a
    known browser whatever happens."""
    if known.mails_here.reach(MOST_FOR_PLACE):
        return True
    if known.by_known_browser:
        return False
    return known.mails.reach(MOST_FOR_OFTEN if known.mails_here.last_day >= OFTEN else MOST)


def _of_organisation(purpose: Purpose, known: Known) -> Told | None:
    if not known.is_active:
        return None
    if purpose is Purpose.REGISTER:
        return Told.HAS_ACCOUNT
    return Told.CODE if known.has_second_factor else Told.ADMINISTRATOR


def may_prove(purpose: Purpose, known: Known) -> bool:
    """As of now, when the code was entered: the way that the code opens is still there."""
    return what_to_tell(purpose, replace(known, mails=Mails(), mails_here=Mails())) is Told.CODE
