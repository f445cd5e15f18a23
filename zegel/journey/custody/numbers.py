"""Numbers for the overview, counted beside the mail: by day which way recipients went, and the slowest destinations.

A thread of dispatch counts today every ten minutes, and once an hour the days that may still change; a page reads a few
small rows, however much mail there is. What is counted again is written again, so that nothing is counted twice.
"""

from __future__ import annotations

import fcntl
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import IO, Any, Final, cast
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Exists, Min, OuterRef, Q
from django.db.models.fields.json import KeyTextTransform

from zegel.accounts.models import Organisation
from zegel.core.clock import Duration, Instant
from zegel.core.mail.address import Mailbox, NotAMailbox
from zegel.core.policy.numbers import Destination, Stands, counted, slowest
from zegel.core.policy.reasons import Why
from zegel.core.policy.transport import PROVEN
from zegel.edge.log import Broken, log
from zegel.journey.custody.models import Attempt, DayNumber, Recipient, SlowDestination, Transmission

EVERY: Final = 600.0  # seconds until today is counted again
SETTLES: Final[Duration] = timedelta(days=10)  # a hold of five days, and five of tries: then most days stay as they are
WEEK: Final[Duration] = timedelta(days=7)
KEEP: Final[Duration] = timedelta(days=400)
OFTEN: Final = 6  # times that today is counted until the other days are, too
_MESSAGES: Final = (Transmission.Kind.READABLE, Transmission.Kind.NOTIFICATION)


def zone() -> ZoneInfo:
    """In which days begin: that of the pages."""
    return ZoneInfo(settings.TIME_ZONE)


def day_of(moment: Instant) -> date:
    """On the wall."""
    return moment.astimezone(zone()).date()


def _span(day: date) -> tuple[Instant, Instant]:
    """A day with a change of the clock has 23 or 25 hours."""
    midnight = datetime.combine(day, time(), zone())
    return midnight, datetime.combine(day + timedelta(days=1), time(), zone())


# --- counting -------------------------------------------------------------------------------------------------------


def count_day(organisation: Organisation, day: date) -> dict[str, int]:
    """Counts a day and keeps the result in the place of an earlier one."""
    numbers = counted(_alike(organisation, day))
    with transaction.atomic():
        DayNumber.objects.filter(organisation=organisation, day=day).delete()
        DayNumber.objects.bulk_create(
            DayNumber(organisation=organisation, day=day, what=what, number=number) for what, number in numbers.items()
        )
    return numbers


def _alike(organisation: Organisation, day: date) -> list[tuple[Stands, int]]:
    """Recipients of that day's messages, those together that stand alike."""
    begins, ends = _span(day)
    proven = Attempt.objects.filter(
        transmission__recipient=OuterRef("pk"),
        transmission__kind=Transmission.Kind.NOTIFICATION,
        outcome="Accepted",
        tls__gte=int(PROVEN.tls),
        authentication__gte=int(PROVEN.authentication),
    )
    said = {
        "first": _in_plan("steps", "0", "kind"),
        "named": _in_plan("findings", "2", "why"),  # row 3
        "listed": _in_plan("findings", "3", "why"),  # row 4
        "demanded": _in_plan("case", "policy", "required", "0"),
    }
    found = (
        Recipient.objects.filter(
            submission__organisation=organisation, submission__accepted_at__gte=begins, submission__accepted_at__lt=ends
        )
        .annotate(**said, proven=Exists(proven))
        .values_list("state", "method", *said, "proven")
        .annotate(number=Count("id"))
        .order_by()
    )
    return [
        (
            Stands(
                state,
                method,
                first or "",
                listed or "",
                is_named=named == Why.MESSAGE_NAMES_METHOD.value,
                is_demanded=demanded is not None,
                is_proven=bool(is_proven),
            ),
            number,
        )
        for state, method, first, named, listed, demanded, is_proven, number in found
    ]


def _in_plan(*names: str) -> KeyTextTransform:
    """What stands at that place of a stored plan; null where there is nothing."""
    place: Any = "plan"
    for name in names:
        place = KeyTextTransform(name, place)
    return cast(KeyTextTransform, place)


def look_at_destinations(organisation: Organisation, *, now: Instant) -> tuple[Destination, ...]:
    """The slowest of the last seven days; kept in the place of those before."""
    waits: defaultdict[str, list[float | None]] = defaultdict(list)
    delayed: Counter[str] = Counter()
    for domain, wait, is_delayed in _waits(organisation, now):
        waits[domain].append(wait)
        delayed[domain] += is_delayed
    found = slowest(waits, delayed)
    with transaction.atomic():
        SlowDestination.objects.filter(organisation=organisation).delete()
        SlowDestination.objects.bulk_create(
            SlowDestination(
                organisation=organisation,
                place=place,
                domain=one.domain,
                mails=one.mails,
                delayed=one.delayed,
                seconds=one.seconds,
                looked_at=now,
            )
            for place, one in enumerate(found, 1)
        )
    return found


def _waits(organisation: Organisation, now: Instant) -> Iterator[tuple[str, float | None, bool]]:
    """Of each mail that was tried: its domain, how long until a server took it, and whether that was not at once."""
    found = (
        Transmission.objects.filter(
            recipient__submission__organisation=organisation,
            recipient__submission__accepted_at__gte=now - WEEK,
            kind__in=_MESSAGES,
        )
        .annotate(
            first=Min("attempts__at", filter=~Q(attempts__reply="probe")),
            taken=Min("attempts__at", filter=Q(attempts__outcome="Accepted") & ~Q(attempts__reply="probe")),
        )
        .exclude(first=None)
        .values_list("address", "created_at", "first", "taken")
        .order_by()
    )
    for address, created_at, first, taken in found.iterator(chunk_size=2000):
        with suppress(NotAMailbox):
            wait = None if taken is None else max(0.0, (taken - created_at).total_seconds())
            yield Mailbox.parse(address).domain.ascii, wait, taken != first


def forget_old(now: Instant) -> int:
    """Deletes days that nobody looks at any more; returns how many rows."""
    return DayNumber.objects.filter(day__lt=day_of(now - KEEP)).delete()[0]


# --- again and again ------------------------------------------------------------------------------------------------


class Numbering:
    """A thread that keeps the numbers fresh. One process of a folder does so; when it ends another one takes over."""

    def __init__(self, lock: Path, *, now: Callable[[], Instant], every: float = EVERY) -> None:
        self._lock, self._now, self._every = lock, now, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="numbers", daemon=True)

    def start(self) -> None:
        """Returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Nothing further is begun."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with self._lock.open("ab") as held:
                    self._keep_counting(held)
            except OSError as cause:  # the disk is full: no file can be made now
                log(Broken("numbers", cause))
                self._over.wait(self._every)

    def _keep_counting(self, held: IO[bytes]) -> None:
        rounds = 0
        while not self._over.is_set():
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.count(everything=rounds % OFTEN == 0)
                rounds += 1
            except BlockingIOError:
                pass  # another process does it
            except Exception as cause:
                log(Broken("numbers", cause))
            finally:
                connection.close()
            self._over.wait(self._every)

    def count(self, *, everything: bool) -> None:
        """Today; with ``everything`` also the days before that may still change, and the slowest destinations."""
        now = self._now()
        today = day_of(now)
        for organisation in Organisation.objects.order_by("id"):
            for back in range(SETTLES.days + 1 if everything else 1):
                if self._over.is_set():
                    return
                count_day(organisation, today - timedelta(days=back))
            if everything:
                look_at_destinations(organisation, now=now)


# --- for pages ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Day:
    """What was counted of a day, by the stored names."""

    day: date
    numbers: dict[str, int]


def days(organisation: Organisation, *, today: date, many: int) -> Sequence[Day]:
    """So many days that end with today, oldest first; a day without mail has no numbers."""
    first = today - timedelta(days=many - 1)
    found: defaultdict[date, dict[str, int]] = defaultdict(dict)
    kept = DayNumber.objects.filter(organisation=organisation, day__gte=first, day__lte=today)
    for day, what, number in kept.values_list("day", "what", "number"):
        found[day][what] = number
    return [Day(one, found[one]) for one in (first + timedelta(days=back) for back in range(many))]
