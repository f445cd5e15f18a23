"""Where an account is signed in: shown to its owner, ended on the server (P19)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.contrib.sessions.backends.base import SessionBase

from zegel.accounts.models import Account, AccountSession
from zegel.core.clock import Duration, Instant
from zegel.web import sessions
from zegel.web.middleware import ABSOLUTE, IDLE

NOTED_EVERY: Final[Duration] = timedelta(minutes=5)  # not every click is written


@dataclass(frozen=True, slots=True)
class SignedIn:
    """One browser in which the account is signed in."""

    name: str
    browser: str
    started_at: Instant
    seen_at: Instant
    is_this_one: bool


def note(session: SessionBase, account: Account, browser: str, *, now: Instant) -> None:
    """The account is used in this session, now. Writes once per session, and then every few minutes."""
    name = sessions.name_of(session)
    if not name:
        return
    row = AccountSession.objects.filter(session=name).first()
    if row is None or row.account_id != account.id:
        AccountSession.objects.update_or_create(
            session=name, defaults={"account": account, "browser": browser, "started_at": now, "seen_at": now}
        )
    elif abs(now - row.seen_at) >= NOTED_EVERY:
        AccountSession.objects.filter(session=name).update(seen_at=now, browser=browser)


def of_account(account: Account, here: SessionBase, *, now: Instant) -> list[SignedIn]:
    """Those that are in force, this one first, then the one that was used last."""
    rows = _alive(AccountSession.objects.filter(account=account), now)
    mine = sessions.name_of(here)
    found = [SignedIn(one.session, one.browser, one.started_at, one.seen_at, one.session == mine) for one in rows]
    return sorted(found, key=lambda one: (not one.is_this_one, -one.seen_at.timestamp()))


def number_of(account: Account, *, now: Instant) -> int:
    """How many are in force."""
    return len(_alive(AccountSession.objects.filter(account=account), now))


def end(account: Account, names: Sequence[str]) -> int:
    """Inside a transaction: these sessions of the account are over, on the server. Others' stay; returns how many."""
    own = list(AccountSession.objects.filter(account=account, session__in=names).values_list("session", flat=True))
    sessions.end(own)
    AccountSession.objects.filter(session__in=own).delete()
    return len(own)


def end_all(account: Account, *, but: SessionBase | None = None) -> int:
    """Inside a transaction: the account is signed out everywhere, ``but`` here."""
    here = sessions.name_of(but) if but is not None else ""
    names = AccountSession.objects.filter(account=account).exclude(session=here).values_list("session", flat=True)
    return end(account, list(names))


def forget_ended(now: Instant) -> None:
    """Clears up after sessions that ended."""
    old = AccountSession.objects.filter(seen_at__lt=now - timedelta(seconds=IDLE))
    names = list(old.values_list("session", flat=True)[:1000])
    gone = set(names) - sessions.those_of(names, now)
    AccountSession.objects.filter(session__in=gone).delete()
    AccountSession.objects.filter(started_at__lt=now - timedelta(seconds=2 * ABSOLUTE)).delete()


def _alive(rows: Iterable[AccountSession], now: Instant) -> list[AccountSession]:
    """With a session behind them that was neither away for too long nor began too long ago."""
    found = [
        one
        for one in rows
        if now - one.seen_at <= timedelta(seconds=IDLE) + NOTED_EVERY
        and now - one.started_at <= timedelta(seconds=ABSOLUTE)
    ]
    there = sessions.those_of([one.session for one in found], now)
    return [one for one in found if one.session in there]
