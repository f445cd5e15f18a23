"""Lists of domains for direct delivery that somebody else keeps: added, read, refreshed, removed (row 4).

What a list said stays in force until it is read anew; a list of a URL lapses when that fails for too long
(``journey.decision.facts``). Nothing is taken of a list that isn't understood to its last line.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, assert_never

from django.db import connection, transaction
from django.db.models import F

from zegel.accounts.audit import note
from zegel.accounts.models import DirectDeliveryDomain, DirectDeliveryList, Organisation
from zegel.core.clock import Duration, Instant
from zegel.core.mail.address import Domain
from zegel.core.policy.audit import Act, Details
from zegel.core.policy.domain_list import (
    MAX_OCTETS,
    BadLine,
    DomainList,
    LineFault,
    ListFault,
    NotUnderstood,
    read_list,
)
from zegel.core.policy.permitting import written_level
from zegel.core.policy.transport import PROVEN, Authentication, Tls, TransportSecurity
from zegel.core.policy.wording import Wording
from zegel.edge import fetch as web
from zegel.edge import rows
from zegel.edge.fetch import Failed, Fetch, Fetched, NotFetched, NotModified
from zegel.edge.log import Broken, ListNotRead, ListRead, log
from zegel.settings import Settings

EVERY: Final[Duration] = timedelta(hours=1)  # between two tries of one list, whatever became of the first
SPREAD: Final = 600  # seconds; lists of one server are not all asked for at the same moment
LOOK: Final = 60.0  # seconds until it is looked again which lists are due
MOST_LISTS: Final = 20  # of one organisation
LONGEST_NAME: Final = 200

Fetching = Callable[[str, str], Fetch]
"""Address and validator to what became of it; takes bounded time."""
Gained = Callable[[Organisation], object]
"""Told, inside the transaction, that a list has new domains: somebody who is held may be served now."""


def _nobody_is_held(organisation: Organisation) -> None:
    """For organisations without mail."""


class NameTaken(Exception):
    """The organisation has a list of this name."""


class TooManyLists(Exception):
    """The organisation has :data:`MOST_LISTS`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a list was not read: a sentence, lines by number, a server's status. ``stored`` and :meth:`of` are each
    other's inverse."""

    fault: ListFault | NotFetched
    lines: tuple[BadLine, ...] = ()
    bad: int = 0
    status: int | None = None

    @classmethod
    def of(cls, stored: str) -> Problem | None:
        """``None`` for nothing, and for what another version stored."""
        try:
            code, *details = stored.split()
            fault = _FAULTS[code]
            lines = tuple(_bad_line(one) for one in details if ":" in one)
            numbers = dict(one.split("=") for one in details if "=" in one)
            status = int(numbers["status"]) if "status" in numbers else None
            return cls(fault, lines, int(numbers.get("bad", 0)), status)
        except (ValueError, KeyError):
            return None

    @property
    def stored(self) -> str:
        """Codes and numbers: nothing of the list itself, and no language."""
        details = [f"{one.number}:{one.fault.value}" for one in self.lines]
        details += [f"bad={self.bad}"] if self.bad else []
        details += [f"status={self.status}"] if self.status is not None else []
        return " ".join([str(self.fault.value), *details])

    def sentences(self, language: str = "en") -> tuple[str, ...]:
        """The sentence, and one for each line that is named."""

        def said(wording: Wording) -> str:
            return wording.nl if language == "nl" else wording.en

        status = f" (HTTP {self.status})" if self.status is not None else ""
        line, more = ("Regel", "en nog {}") if language == "nl" else ("Line", "and {} more")
        told = [said(self.fault) + status, *(f"{line} {one.number}: {said(one.fault)}." for one in self.lines)]
        if self.bad > len(self.lines):
            told.append(f"{more.format(self.bad - len(self.lines))}.")
        return tuple(told)


_FAULTS: Final[Mapping[str, ListFault | NotFetched]] = {
    one.value: one for kind in (ListFault, NotFetched) for one in kind
}
_LINE_FAULTS: Final = {one.value: one for one in LineFault}


def _bad_line(written: str) -> BadLine:
    number, _, code = written.partition(":")
    return BadLine(int(number), _LINE_FAULTS[code])


class NotTaken(Exception):
    """The list was not added: nothing of it can be taken."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.fault.en)
        self.problem: Final = problem


@dataclass(frozen=True, slots=True)
class Read:
    """The list says this now."""

    domains: int


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The server says that it is what it was; that counts as read."""


@dataclass(frozen=True, slots=True)
class NotRead:
    """What was read before stays."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Superseded:
    """Removed, or tried by somebody else, in the meantime; nothing was changed."""


Outcome = Read | Unchanged | NotRead | Superseded


def level_of(one: DirectDeliveryList) -> TransportSecurity:
    """Of lines that name none."""
    return TransportSecurity(Tls(one.tls), Authentication(one.authentication))


def fetcher(settings: Settings) -> web.Fetcher:
    """What lists are fetched with."""
    return web.Fetcher.of(settings, most=MAX_OCTETS)


# --- adding, removing --------------------------------------------------------------------------------------------


def add_url(
    organisation: Organisation, name: str, url: str, *, level: TransportSecurity = PROVEN
) -> DirectDeliveryList:
    """A list that is due at once; :func:`refresh` reads it. Raises :class:`NotTaken`, :class:`NameTaken`,
    :class:`TooManyLists`."""
    why = web.refusal(url)
    if why is not None:
        raise NotTaken(Problem(why))
    with transaction.atomic():
        added = _added(organisation, name, level, url=url)
        note(Act.LIST_ADDED, organisation, name, {"host": web.host_of(url), "level": written_level(level)})
        return added


def add_file(
    organisation: Organisation,
    name: str,
    octets: bytes,
    *,
    now: Instant,
    level: TransportSecurity = PROVEN,
    gained: Gained = _nobody_is_held,
) -> DirectDeliveryList:
    """A list with what stands in a file now. Raises :class:`NotTaken`, :class:`NameTaken`, :class:`TooManyLists`."""
    understood = read_list(octets, otherwise=level)
    if isinstance(understood, NotUnderstood):
        raise NotTaken(_problem(understood))
    with transaction.atomic():
        added = _added(organisation, name, level, tried_at=now, read_at=now)
        told = _replace(added, understood.levels, gained)
        note(Act.LIST_ADDED, organisation, name, {"level": written_level(level), **told})
    log(ListRead(organisation.pk, added.pk, len(understood.levels)))
    return added


def _added(
    organisation: Organisation, name: str, level: TransportSecurity, **more: Instant | str
) -> DirectDeliveryList:
    """Inside a transaction."""
    names = set(organisation.direct_delivery_lists.values_list("name", flat=True))
    if name in names:
        raise NameTaken(name)
    if len(names) >= MOST_LISTS:
        raise TooManyLists
    return DirectDeliveryList.objects.create(
        organisation=organisation, name=name, tls=level.tls, authentication=level.authentication, **more
    )


def remove(one: DirectDeliveryList) -> None:
    """With all its domains: from the next decision on they count no more."""
    with transaction.atomic():
        DirectDeliveryDomain.objects.filter(source=one).delete()
        if DirectDeliveryList.objects.filter(pk=one.pk).delete()[0]:
            note(Act.LIST_REMOVED, one.organisation, one.name)


# --- reading -----------------------------------------------------------------------------------------------------


def read_file(
    one: DirectDeliveryList,
    octets: bytes,
    *,
    now: Instant,
    may_be_empty: bool = False,
    gained: Gained = _nobody_is_held,
) -> Read | NotRead | Superseded:
    """Puts what stands in a file in the place of what stood there; all of it or nothing. A list that came from a file
    has no problem of its own: whoever reads one is told at once."""
    understood = read_list(octets, otherwise=level_of(one))
    if isinstance(understood, NotUnderstood):
        return NotRead(_problem(understood))
    with transaction.atomic():
        held = DirectDeliveryList.objects.select_for_update().filter(pk=one.pk, url="").first()
        if held is None:
            return Superseded()
        if not may_be_empty and _is_emptied(held, understood):
            return NotRead(Problem(ListFault.EMPTY))
        _note_change(held, _replace(held, understood.levels, gained))
        DirectDeliveryList.objects.filter(pk=one.pk).update(tried_at=now, read_at=now, problem="")
    log(ListRead(held.organisation_id, held.pk, len(understood.levels)))
    return Read(len(understood.levels))


def refresh(
    one: DirectDeliveryList,
    fetch: Fetching,
    *,
    now: Callable[[], Instant],
    may_be_empty: bool = False,
    gained: Gained = _nobody_is_held,
) -> Outcome:
    """Fetches a list of a URL and takes what it says, now. Waits for the server; call it outside a transaction."""
    began = now()
    if not DirectDeliveryList.objects.filter(pk=one.pk).exclude(url="").update(tried_at=began):
        return Superseded()
    return _refresh(one, fetch, began, now, may_be_empty=may_be_empty, gained=gained)


def refresh_due(
    fetch: Fetching,
    *,
    now: Callable[[], Instant],
    is_over: Callable[[], bool] = lambda: False,
    gained: Gained = _nobody_is_held,
) -> tuple[Outcome, ...]:
    """Refreshes the lists that are due, those that waited longest first; each by one process, however many look."""
    outcomes: list[Outcome] = []
    lists = DirectDeliveryList.objects.exclude(url="").order_by(F("tried_at").asc(nulls_first=True), "pk")
    for one in [one for one in lists if is_due(one, now())]:
        if is_over():
            break
        began = now()
        same = DirectDeliveryList.objects.filter(pk=one.pk, tried_at=one.tried_at)
        if same.update(tried_at=began):  # else another process has it
            outcomes.append(_refresh(one, fetch, began, now, may_be_empty=False, gained=gained))
    return tuple(outcomes)


def is_due(one: DirectDeliveryList, now: Instant) -> bool:
    """Also when the clock was set back since."""
    if one.tried_at is None or one.tried_at > now:
        return True
    return now - one.tried_at >= EVERY + timedelta(seconds=one.pk * 97 % SPREAD)


def _refresh(
    one: DirectDeliveryList,
    fetch: Fetching,
    began: Instant,
    now: Callable[[], Instant],
    *,
    may_be_empty: bool,
    gained: Gained,
) -> Outcome:
    # Where an empty list is to be taken it must be seen: it was refused, so what the validator is of is older.
    fetched = fetch(one.url, "" if may_be_empty else one.validator)
    understood: DomainList | NotUnderstood | None
    match fetched:
        case Fetched(octets=octets):
            understood = read_list(octets, otherwise=level_of(one))
        case Failed() | NotModified():
            understood = None
        case unreachable:
            assert_never(unreachable)
    with transaction.atomic():
        # Whoever began later knows better, also when it ended sooner.
        held = DirectDeliveryList.objects.select_for_update().filter(pk=one.pk, tried_at=began).first()
        if held is None:
            return Superseded()
        outcome = _concluded(held, fetched, understood, gained, may_be_empty=may_be_empty)
        _record(held, outcome, fetched, now())
    _tell(held, outcome)
    return outcome


def _concluded(
    held: DirectDeliveryList,
    fetched: Fetch,
    understood: DomainList | NotUnderstood | None,
    gained: Gained,
    *,
    may_be_empty: bool,
) -> Outcome:
    match understood, fetched:
        case _, Failed(why=why, status=status):
            return NotRead(Problem(why, status=status))
        case NotUnderstood(), _:
            return NotRead(_problem(understood))
        case DomainList(levels=levels), _:
            if not may_be_empty and _is_emptied(held, understood):
                return NotRead(Problem(ListFault.EMPTY))
            _note_change(held, _replace(held, levels, gained))
            return Read(len(levels))
        case _:
            return Unchanged()


def _record(held: DirectDeliveryList, outcome: Outcome, fetched: Fetch, now: Instant) -> None:
    """Inside the transaction. The validator is that of what was taken, not of what was refused."""
    if isinstance(outcome, NotRead):
        held.problem = outcome.problem.stored
    else:
        held.problem, held.read_at = "", now
    if isinstance(outcome, Read) and isinstance(fetched, Fetched):
        held.validator = fetched.validator
    held.save(update_fields=["problem", "read_at", "validator"])


def _tell(held: DirectDeliveryList, outcome: Outcome) -> None:
    match outcome:
        case Read(domains=domains):
            log(ListRead(held.organisation_id, held.pk, domains))
        case NotRead(problem=problem):
            what = " ".join(problem.sentences())
            log(ListNotRead(held.organisation_id, held.pk, web.host_of(held.url), what))
        case Unchanged() | Superseded():
            pass
        case unreachable:
            assert_never(unreachable)


def _problem(found: NotUnderstood) -> Problem:
    return Problem(found.fault, found.lines, found.bad)


def _is_emptied(held: DirectDeliveryList, understood: DomainList) -> bool:
    """An export that broke says nothing; so may one that is meant: only an administrator knows."""
    return not understood.levels and held.domains.exists()


def _note_change(held: DirectDeliveryList, told: Details) -> None:
    """Also where nobody asked: another list lets others be delivered to readable."""
    if any(told.values()):
        note(Act.LIST_CHANGED, held.organisation, held.name, told)


def _replace(held: DirectDeliveryList, levels: Mapping[Domain, TransportSecurity], gained: Gained) -> Details:
    """Inside a transaction: only what differs is written, many rows at once. Returns how many of each kind."""
    known = {
        domain: (pk, tls, authentication)
        for pk, domain, tls, authentication in DirectDeliveryDomain.objects.filter(source=held).values_list(
            "pk", "domain", "tls", "authentication"
        )
    }
    wanted = {domain.ascii: (int(level.tls), int(level.authentication)) for domain, level in levels.items()}
    table = rows.table(DirectDeliveryDomain)
    gone = [(known[domain][0],) for domain in known.keys() - wanted.keys()]
    rows.execute_many(f"DELETE FROM {table} WHERE id = %s", gone)  # noqa: S608
    changed = [
        (*wanted[domain], known[domain][0])
        for domain in known.keys() & wanted.keys()
        if known[domain][1:] != wanted[domain]
    ]
    rows.update(DirectDeliveryDomain, ("tls", "authentication"), changed)
    new = [(held.organisation_id, held.pk, domain, *level) for domain, level in wanted.items() if domain not in known]
    rows.insert(DirectDeliveryDomain, ("organisation_id", "source_id", "domain", "tls", "authentication"), new)
    if new:
        gained(held.organisation)
    return {"domains_added": len(new), "domains_removed": len(gone), "domains_changed": len(changed)}


# --- again and again ---------------------------------------------------------------------------------------------


class Refreshing:
    """A thread that keeps lists fresh. It is nobody's to wait for: a server that is slow holds up neither mail nor an
    end, and what is under way at the end is undone by the database."""

    def __init__(
        self, fetch: Fetching, *, now: Callable[[], Instant], gained: Gained = _nobody_is_held, look: float = LOOK
    ) -> None:
        self._fetch, self._now, self._gained, self._look = fetch, now, gained, look
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lists", daemon=True)

    def start(self) -> None:
        """Returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """No further list is begun."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                refresh_due(self._fetch, now=self._now, is_over=self._over.is_set, gained=self._gained)
            except Exception as cause:
                log(Broken("lists", cause))
            finally:
                connection.close()
            self._over.wait(self._look)
