"""An answer in a conversation: how each of its other readers hears of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from zegel.core.clock import Instant
from zegel.core.policy.precedence import Readable, Step
from zegel.core.policy.verification import Method


class Reached(Enum):
    """How far the message that began the conversation has come with a reader."""

    WAITING = "waiting"  # nobody knows yet how it will arrive
    ARRIVED = "arrived"  # by notification or readable; opened or not
    LOST = "lost"  # it could not be delivered, or was taken back


@dataclass(frozen=True, slots=True)
class Listener:
    """A recipient of the conversation who did not write the answer."""

    reached: Reached
    step: Step | None  # of the plan, by which the message arrived
    method: Method | None  # that opens it; None: nothing has to
    arrived_at: Instant | None


class Way(Enum):
    """What is done about one answer for one listener."""

    READABLE = "readable"  # the answer itself, by the same plan as the message
    INBOX = "inbox"  # word of it, that leads to the inbox of an account
    LINK = "link"  # word of it, with a new link of its own, behind the present method
    LATER = "later"  # look again, when it is known how the message arrived
    NOTHING = "nothing"


def way(listener: Listener, *, answered_at: Instant) -> Way:
    """Nobody gets an answer more openly than the message. Who opens the message after the answer came sees both at
    once, and isn't told apart; who gets the message readable never opens anything, and gets the answer behind it."""
    if listener.reached is Reached.LOST:
        return Way.NOTHING
    if listener.reached is Reached.WAITING:
        return Way.LATER
    if isinstance(listener.step, Readable):
        return Way.READABLE
    if listener.arrived_at is not None and listener.arrived_at > answered_at:
        return Way.NOTHING
    if listener.method is Method.ACCOUNT:
        return Way.INBOX
    return Way.LINK if listener.method is not None else Way.NOTHING
