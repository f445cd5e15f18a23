"""Portal: codes that can't be guessed.

Pure state: chance makes the code elsewhere, a keyed MAC of it is compared elsewhere, and the result comes in as
``matches``. The caller reads, judges and stores in one transaction under a lock on the ledger: fifty tries at the same
moment are fifty tries.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from zegel.core.clock import Duration, Instant
from zegel.core.policy.verification import Method

CODE_LIFETIME: Final[Duration] = timedelta(minutes=10)
TRIES_PER_CODE: Final = 5
WRONG_PER_DAY: Final = 10  # per recipient and conversation, whatever the method
CODES_PER_HOUR: Final = 5
COOL_DOWN: Final[Duration] = timedelta(seconds=30)
FREE_ACCESS_CODE_TRIES: Final = 5
FIRST_BACK_OFF: Final[Duration] = timedelta(minutes=1)  # doubles with every further wrong access code
CLOCK_TOLERANCE: Final[Duration] = timedelta(minutes=2)  # between the machines that issue and judge

_DAY: Final = timedelta(hours=24)
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One verification in progress, bound by the caller to one browser session."""

    method: Method
    created: Instant
    expires: Instant | None  # None: an access code, which nobody sends
    wrong: int = 0
    is_used: bool = False


@dataclass(frozen=True, slots=True)
class Ledger:
    """What happened for one recipient in one conversation, over all codes, sessions and methods: when a try was wrong
    (24 hours) and when a code was issued (one hour). Oldest first."""

    wrong: tuple[Instant, ...] = ()
    issued: tuple[Instant, ...] = ()


# --- asking for a code -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Allowed:
    """A code may be issued."""


@dataclass(frozen=True, slots=True)
class TooSoon:
    """The last code may still be on its way."""

    until: Instant


@dataclass(frozen=True, slots=True)
class TooMany:
    """Too many codes within the hour, or too many wrong tries within the day."""

    until: Instant


@dataclass(frozen=True, slots=True)
class Issued:
    """Make a code for this challenge, and store both."""

    challenge: Challenge
    ledger: Ledger


def may_issue(ledger: Ledger, now: Instant) -> Allowed | TooSoon | TooMany:
    """Whether a code by SMS or e-mail may go out now. A lock after wrong tries forbids it too: a new code would be
    refused anyway, and a new code never resets a count."""
    locked = _locked_until(ledger, now)
    if locked is not None:
        return TooMany(locked)
    issued = _within(ledger.issued, now, _HOUR)
    if len(issued) >= CODES_PER_HOUR:
        return TooMany(issued[-CODES_PER_HOUR] + _HOUR)
    if issued and now < issued[-1] + COOL_DOWN:
        return TooSoon(issued[-1] + COOL_DOWN)
    return Allowed()


def issue(ledger: Ledger, method: Method, now: Instant) -> Issued | TooSoon | TooMany:
    """A new challenge by SMS or e-mail, counted; or why not."""
    refused = may_issue(ledger, now)
    if not isinstance(refused, Allowed):
        return refused
    challenge = Challenge(method, created=now, expires=now + CODE_LIFETIME)
    issued = (*_within(ledger.issued, now, _HOUR), now)
    return Issued(challenge, replace(ledger, issued=tuple(sorted(issued))))


def ask_for_access_code(now: Instant) -> Challenge:
    """A challenge for a code that both sides know already: nothing is sent, so nothing is counted."""
    return Challenge(Method.ACCESS_CODE, created=now, expires=None)


# --- answering ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Passed:
    """The right code, in time, for the first time."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """Not the code; so many tries are left before this code dies, a wait begins or the lock falls."""

    left: int


@dataclass(frozen=True, slots=True)
class Expired:
    """This challenge is over: too old, used, or tried too often. Ask for a new code."""


@dataclass(frozen=True, slots=True)
class Locked:
    """No try counts until then, not even the right one."""

    until: Instant


Verdict = Passed | Wrong | Expired | Locked


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict, and the state that must be stored with it before it is told."""

    verdict: Verdict
    challenge: Challenge
    ledger: Ledger


def judge(challenge: Challenge, ledger: Ledger, matches: bool, now: Instant) -> Judged:
    """Judges one try. While a lock stands, or after the challenge ended, ``matches`` makes no difference at all."""
    locked = _waits_until(challenge.method, ledger, now)
    if locked is not None:
        return Judged(Locked(locked), challenge, ledger)
    if _is_over(challenge, now):
        return Judged(Expired(), replace(challenge, is_used=True), ledger)
    if matches:
        return Judged(Passed(), replace(challenge, is_used=True), ledger)
    return _count_wrong(challenge, ledger, now)


def _is_over(challenge: Challenge, now: Instant) -> bool:
    """Used, exhausted or out of its ten minutes; a clock that was set back revives nothing (and ends it for good)."""
    if challenge.is_used:
        return True
    if challenge.expires is None:
        return False
    too_old = now >= challenge.expires
    before_it_was_made = now < challenge.created - CLOCK_TOLERANCE
    return challenge.wrong >= TRIES_PER_CODE or too_old or before_it_was_made


def _count_wrong(challenge: Challenge, ledger: Ledger, now: Instant) -> Judged:
    challenge = replace(challenge, wrong=challenge.wrong + 1)
    wrong = (*_within(ledger.wrong, now, _DAY), now)
    ledger = replace(ledger, wrong=tuple(sorted(wrong)))
    locked = _waits_until(challenge.method, ledger, now)
    if locked is not None:
        return Judged(Locked(locked), challenge, ledger)
    return Judged(Wrong(_left(challenge, ledger)), challenge, ledger)


def _left(challenge: Challenge, ledger: Ledger) -> int:
    left_today = WRONG_PER_DAY - len(ledger.wrong)
    if challenge.method is not Method.ACCESS_CODE:
        return min(TRIES_PER_CODE - challenge.wrong, left_today)
    return min(max(FREE_ACCESS_CODE_TRIES - len(ledger.wrong), 1), left_today)


def _waits_until(method: Method, ledger: Ledger, now: Instant) -> Instant | None:
    locked = _locked_until(ledger, now)
    if locked is not None or method is not Method.ACCESS_CODE:
        return locked
    wrong = _within(ledger.wrong, now, _DAY)
    beyond = len(wrong) - FREE_ACCESS_CODE_TRIES
    if beyond < 0:
        return None
    until = wrong[-1] + FIRST_BACK_OFF * 2**beyond
    return until if now < until else None


def _locked_until(ledger: Ledger, now: Instant) -> Instant | None:
    wrong = _within(ledger.wrong, now, _DAY)
    return wrong[-WRONG_PER_DAY] + _DAY if len(wrong) >= WRONG_PER_DAY else None


def _within(times: tuple[Instant, ...], now: Instant, window: Duration) -> tuple[Instant, ...]:
    """What lies within the window that ends now, and what a clock that was set back left in the future."""
    return tuple(time for time in times if time > now - window)
