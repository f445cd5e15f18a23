"""Slows down who guesses, and not who belongs (P15).

After five failures from one place the next try has to wait, twice as long each time. What comes from places that
never signed in to an account is bounded over all of them together, so that a thousand machines guess no more than
one. A browser that signed in before has a count of its own: however often strangers fail, its owner isn't kept out.
Counts live in the database, for all processes together, and an address that nobody has is counted like any other (P14).
"""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.core import signing
from django.db import transaction
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from zegel.accounts.models import SignInFailure
from zegel.core.clock import Duration, Instant
from zegel.edge import chance
from zegel.web.keys import web_key

FREE: Final = 5
FIRST_WAIT: Final = timedelta(seconds=30)
LONGEST_WAIT: Final = timedelta(hours=1)
MOST_BY_STRANGERS: Final = 80  # NIST SP 800-63B §5.2.2 bounds both together at 100
MOST_BY_KNOWN: Final = 20
KNOWN_COOKIE: Final = "__Host-known"
_KNOWN_AGE: Final = 365 * 24 * 3600
_KNOWN_SALT: Final = "zegel.known-browser"
_STRANGERS: Final = b"strangers"
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TooManyTries(Exception):
    """Not now. Says nothing about whether the account exists or the secret was right."""


def wait_after(failures: int) -> Duration:
    """How long the next try has to wait since the last failure."""
    if failures < FREE:
        return timedelta(0)
    return min(FIRST_WAIT * (1 << min(failures - FREE, 20)), LONGEST_WAIT)


@dataclass(frozen=True, slots=True)
class Try:
    """A try that was counted as a failure before its secret was looked at: fifty at once count as fifty."""

    whose: bytes
    place: bytes

    def succeeded(self) -> None:
        """Forgets the failures from this place, and those of all strangers."""
        SignInFailure.objects.filter(whose=self.whose, place__in=[self.place, _STRANGERS]).update(failures=0)


def begin(request: HttpRequest, kind: str, key: str) -> Try:
    """Counts a try for the secret ``kind`` of the account or address ``key``; raises :class:`TooManyTries`."""
    place = place_for(request, key)
    known, one = place.is_known_browser, Try(_mac(f"{kind}/{key}"), place.name)
    now = timezone.now()
    with transaction.atomic():
        strangers = None if known else _locked(one.whose, _STRANGERS, now)
        here = _locked(one.whose, one.place, now)
        if strangers is not None and strangers.failures >= MOST_BY_STRANGERS:
            allowed = False
        else:
            allowed = _may_try(here, now, most=MOST_BY_KNOWN if known else MOST_BY_STRANGERS)
        for row in (here, strangers):
            if row is not None:
                row.failures += allowed
                row.last_at = now if allowed else row.last_at
                row.save()
    if not allowed:
        raise TooManyTries
    return one


def forget(kind: str, key: str) -> None:
    """An administrator knows the owner and opens the way again."""
    SignInFailure.objects.filter(whose=_mac(f"{kind}/{key}")).delete()


def forget_old(now: Instant) -> int:
    """Deletes what was no more than a few typing errors, a month ago; returns how many rows there were."""
    return SignInFailure.objects.filter(failures__lt=FREE, last_at__lt=now - timedelta(days=30)).delete()[0]


def remember_browser(request: HttpRequest, response: HttpResponseBase, key: str) -> None:
    """This browser signed in to the account ``key`` with both factors; strangers' failures don't count for it."""
    if _known_browser(request, key) is None:
        value = signing.dumps({"browser": chance.octets(16).hex(), "account": _mac(key).hex()}, salt=_KNOWN_SALT)
        response.set_cookie(KNOWN_COOKIE, value, max_age=_KNOWN_AGE, secure=True, httponly=True, samesite="Lax")


def _known_browser(request: HttpRequest, key: str) -> str | None:
    """The name of this browser, if it signed in to this account before."""
    try:
        value = signing.loads(request.COOKIES.get(KNOWN_COOKIE, ""), salt=_KNOWN_SALT, max_age=_KNOWN_AGE)
    except signing.BadSignature:
        return None
    return str(value["browser"]) if hmac.compare_digest(value["account"], _mac(key).hex()) else None


def _locked(whose: bytes, place: bytes, now: Instant) -> SignInFailure:
    rows = SignInFailure.objects.select_for_update()
    return rows.get_or_create(whose=whose, place=place, defaults={"last_at": now})[0]


def _may_try(row: SignInFailure, now: Instant, *, most: int) -> bool:
    row.last_at = min(row.last_at, now)  # the clock went back: the wait begins anew, and is no longer than it was (P23)
    return row.failures < most and now - row.last_at >= wait_after(row.failures)


@dataclass(frozen=True, slots=True)
class Place:
    """Where requests count together."""

    name: bytes  # a keyed hash
    is_known_browser: bool  # of the account that it is about; else a network


def place_for(request: HttpRequest, key: str) -> Place:
    """Whose tries for the account or address ``key`` count together."""
    known = _known_browser(request, key)
    return Place(_mac(f"browser/{known}"), True) if known else Place(place_of(request), False)


def place_of(request: HttpRequest) -> bytes:
    """Whose tries count together: a keyed hash of the network that a request comes from."""
    return _mac(f"network/{_network(request)}")


def address_of(request: HttpRequest) -> str:
    """The IP address of the visitor, as far as whom we trust says; empty where it isn't known at all.

    ``X-Forwarded-For`` is read from its end, where each proxy writes whom it heard from: the first who is no trusted
    proxy is the visitor. What stands before that, or comes from anybody else, is the visitor's own to invent.
    """
    nearest = _parsed(str(request.META.get("REMOTE_ADDR", "")))
    told = str(request.META.get("HTTP_X_FORWARDED_FOR", "")).split(",")
    while nearest is not None and told and _is_trusted_proxy(nearest):
        before = _parsed(told.pop())
        if before is None:  # nobody can say who that was: all who come this way count together
            break
        nearest = before
    return "" if nearest is None else str(nearest)


def _is_trusted_proxy(address: _Address) -> bool:
    return any(address in network for network in settings.ZEGEL.trusted_proxies())


def _parsed(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return address
    # A socket for both families shows IPv4 so (RFC 4291 §2.5.5.2). A zone, which can be any text, is left out.
    return address.ipv4_mapped or ipaddress.IPv6Address(int(address))


def _network(request: HttpRequest) -> str:
    """An IPv4 address; of IPv6 the network that one subscriber has (RFC 6177)."""
    address = _parsed(address_of(request))
    if address is None:
        return "unknown"
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((int(address), 64), strict=False))


def _mac(text: str) -> bytes:
    return hmac.digest(web_key("throttle").reveal(), text.encode(), "sha256")
