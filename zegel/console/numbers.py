"""The overview: how much goes by which way, what goes direct and what could, what is slow, and what is wrong.

Numbers are of the own organisation alone (P20). How the gateway stands is told in words, to whoever administers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from zegel.accounts.models import Organisation
from zegel.console.access import allows
from zegel.console.page import show
from zegel.core.clock import Instant
from zegel.core.policy.alarms import Alarm, Severity
from zegel.core.policy.numbers import Direct, Way
from zegel.core.policy.roles import Capability
from zegel.journey import watch
from zegel.journey.custody import numbers
from zegel.journey.custody.numbers import Day

DAYS: Final = 30
_WIDE: Final = 20  # of a day in the picture, with the space beside it
_BAR: Final = 16
HIGH: Final = 200

WAYS: Final[Mapping[Way, Any]] = {
    Way.READABLE: _("direct: the message itself"),
    Way.ACCOUNT: _("account"),
    Way.SMS: _("SMS code"),
    Way.ACCESS_CODE: _("access code"),
    Way.EMAIL: _("e-mail verification"),
    Way.HELD: _("held"),
    Way.WAITING: _("on its way"),
    Way.UNDELIVERABLE: _("undeliverable"),
}
DIRECT: Final[Mapping[Direct, Any]] = {
    Direct.WENT: _("went direct"),
    Direct.TOO_WEAK: _("was tried direct; the receiving server was not secure enough, or did not take it"),
    Direct.CHOSEN: _("was not to go direct: the message names a method, or your policy demands one"),
    Direct.COULD: _(
        "could have gone direct: nobody asked for it, and the receiving server showed TLS 1.2 or better and a valid "
        "certificate"
    ),
    Direct.COULD_NOT: _(
        "could not have gone direct: nobody asked for it, and the receiving server did not show TLS 1.2 and a valid "
        "certificate"
    ),
    Direct.UNKNOWN: _("is not known"),
}


@dataclass(frozen=True, slots=True)
class Share:
    """One answer to why recipients went direct or did not."""

    words: Any
    number: int
    percent: int


@dataclass(frozen=True, slots=True)
class Told:
    """An alarm in the visitor's language."""

    what: str
    remedy: str
    ends: str
    is_critical: bool


@require_safe
@allows(Capability.NUMBERS)
def overview(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """All of it on one page; a few small rows, however much mail there is."""
    now = timezone.now()
    days = numbers.days(organisation, today=numbers.day_of(now), many=DAYS)
    administers = Capability.ACCOUNTS.value in request.user.administers  # type: ignore[union-attr]
    of_gateway = watch.standing_of_gateway(settings.ZEGEL, now=now) if administers else ()
    context = {
        "alarms": [_told(one) for one in (*watch.standing_of(organisation, now=now), *of_gateway)],
        "waiting": watch.waiting_mails(organisation),
        "held": watch.held_recipients(organisation),
        "oldest": watch.oldest_mail(organisation),
        "chart": _chart(days),
        "ways": [(way.value, words) for way, words in WAYS.items()],
        "days": [_line(day) for day in reversed(days) if _total(day)],
        "highest": max((_total(day) for day in days), default=0),
        "first": days[0].day,
        "last": days[-1].day,
        "width": DAYS * _WIDE,
        "high": HIGH,
        "shares": _shares(days),
        "destinations": [(one, _lasts(one.seconds)) for one in organisation.slow_destinations.order_by("place")],
        "domains": organisation.sending_domains.exclude(in_place=True, missing_since=None).order_by("name"),
        "certificates": _certificates(now) if administers else None,
    }
    return show(request, "numbers", context)


def _certificates(now: Instant) -> list[tuple[str, Instant | None]]:
    """Who shows each, and until when it is good; ``None``: it can't be used."""
    return [
        (one.shown.value, one.ends if one.left(now) is not None else None)
        for one in watch.certificates(settings.ZEGEL, now=now)
    ]


def _told(alarm: Alarm) -> Told:
    said: Callable[[Any], str] = lambda sentence: sentence.nl if get_language() == "nl" else sentence.en  # noqa: E731
    condition = alarm.condition
    is_critical = condition.severity is Severity.CRITICAL
    return Told(said(alarm.what), said(condition.remedy), said(condition.ends), is_critical)


def _total(day: Day) -> int:
    return sum(day.numbers.get(way.value, 0) for way in Way)


def _line(day: Day) -> tuple[date, Sequence[int], int]:
    """A row of the table: as many numbers as there are ways, and their sum."""
    return day.day, [day.numbers.get(way.value, 0) for way in WAYS], _total(day)


def _chart(days: Sequence[Day]) -> list[tuple[str, str]]:
    """For each way its pieces of all bars, as one path of SVG; the highest bar is as high as the picture."""
    highest = max((_total(day) for day in days), default=0) or 1
    paths = dict.fromkeys(WAYS, "")
    for place, day in enumerate(days):
        x, top = place * _WIDE + (_WIDE - _BAR) // 2, float(HIGH)
        for way in WAYS:
            height = day.numbers.get(way.value, 0) * HIGH / highest
            if height:
                paths[way] += f"M{x} {top:.1f}h{_BAR}v{-height:.1f}h{-_BAR}z"
                top -= height
    return [(way.value, path) for way, path in paths.items() if path]


def _shares(days: Sequence[Day]) -> list[Share]:
    """Of all recipients that were served; nothing where there are none."""
    sums = {one: sum(day.numbers.get(one.value, 0) for day in days) for one in DIRECT}
    served = sum(sums.values())
    if not served:
        return []
    return [Share(DIRECT[one], number, round(100 * number / served)) for one, number in sums.items() if number]


def _lasts(seconds: float | None) -> Any:
    """In the largest unit that says enough."""
    if seconds is None:
        return _("none accepted")
    for size, words in ((3600, _("%(number)s hours")), (60, _("%(number)s minutes"))):
        if seconds >= 1.5 * size:
            return words % {"number": round(seconds / size)}
    return _("%(number)s seconds") % {"number": max(1, round(seconds))}
