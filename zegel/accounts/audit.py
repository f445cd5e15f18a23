"""The audit log, kept: who did what to what, and when (:mod:`zegel.core.policy.audit`).

What changes something notes it in its own transaction: what was done is in the log, and what is in the log was done.
Who acts is said once, at the door: by the middleware for pages, by the API for its tokens, by the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.http import HttpRequest, HttpResponseBase

from zegel.accounts.models import Account, AuditEntry, Organisation
from zegel.core.clock import Duration, Instant
from zegel.core.policy.audit import (
    FIRST,
    LONGEST,
    Act,
    Actor,
    ActorKind,
    Details,
    Entry,
    changes,
    exported,
    limit_of,
    parse_term,
    removable,
)
from zegel.edge.log import Audited, log

AT_ONCE: Final = 500  # entries read, or removed, in one go
EXPORT: Final[Duration] = timedelta(hours=1)  # no export takes longer
GATEWAY: Final = Actor(ActorKind.GATEWAY)
_acting: ContextVar[Callable[[], Actor]] = ContextVar("acting", default=lambda: GATEWAY)


@contextmanager
def acting(by: Callable[[], Actor]) -> Iterator[None]:
    """All that is noted in the block was done by them; asked only once something is noted."""
    token = _acting.set(by)
    try:
        yield
    finally:
        _acting.reset(token)


def act_as(by: Actor) -> None:
    """All that this process notes from now on was done by them."""
    _acting.set(lambda: by)


class NotesWhoActs:
    """Says for every page who is signed in."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with acting(lambda: actor_of(request.user)):
            return self._get_response(request)


def acting_now() -> Actor:
    """Who acts here; for what is done, and noted, only later."""
    return _acting.get()()


def actor_of(user: object) -> Actor:
    """An account; the gateway, where nobody is signed in: a guest has no name here."""
    return Actor(ActorKind.ACCOUNT, user.email) if isinstance(user, Account) else GATEWAY


def note(
    act: Act,
    organisation: Organisation | None,
    about: str = "",
    details: Details | None = None,
    *,
    by: Actor | None = None,
    now: Instant | None = None,
) -> int:
    """One more entry, in the transaction of what was done. ``organisation``: whose log; ``None``: the gateway's own.
    Call it last: nobody else's act is noted in this log until the transaction ends. Returns its number.

    ``about`` and ``details`` hold no content, subject, number, code or secret; addresses of recipients and the names of
    settings with their values may stand there.
    """
    with transaction.atomic():
        chain = organisation.pk if organisation is not None else 0
        _wait_for_turn(organisation)
        last = AuditEntry.objects.filter(chain=chain).order_by("-number").first()
        entry = Entry(
            chain=chain,
            number=last.number + 1 if last else 1,
            at=now or datetime.now(UTC),
            by=by or acting_now(),
            act=act.value,
            about=about[:LONGEST],
            details=_short(details or {}),
            previous=last.hash if last else FIRST,
        )
        AuditEntry.objects.create(
            organisation=organisation,
            chain=chain,
            number=entry.number,
            at=entry.at,
            by_kind=entry.by.kind.value,
            by=entry.by.name,
            act=entry.act,
            about=entry.about,
            details=dict(entry.details),
            previous=entry.previous,
            hash=entry.hash,
        )
    transaction.on_commit(lambda: log(Audited(act.value, chain, entry.number, entry.hash)))
    return entry.number


def note_of_account(act: Act, account: Account, details: Details | None = None, *, now: Instant | None = None) -> None:
    """What somebody did to their own account, in the log of their organisation; a guest has none."""
    if account.organisation is not None:
        note(act, account.organisation, account.email, details, by=actor_of(account), now=now)


def _wait_for_turn(organisation: Organisation | None) -> None:
    """Inside a transaction: who comes at the same moment waits here. Rows that refer to an organisation can be added
    meanwhile. The gateway's own chain has no such row, but its first entry, which is never removed."""
    if organisation is not None:
        Organisation.objects.select_for_update(no_key=True).only("pk").get(pk=organisation.pk)
    else:
        AuditEntry.objects.select_for_update(no_key=True).filter(chain=0, number=1).first()


def _short(details: Details) -> Details:
    return {name: value[:LONGEST] if isinstance(value, str) else value for name, value in details.items()}


# --- reading -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sought:
    """Which entries somebody wants to see; empty: all of them."""

    act: str = ""
    by: str = ""  # a part of the name
    about: str = ""  # a part of it
    since: Instant | None = None
    until: Instant | None = None  # before it


def find(organisation: Organisation, sought: Sought, *, before: int | None = None, most: int) -> list[AuditEntry]:
    """Newest first; ``before``: the number of one that was seen already."""
    found = organisation.audit_entries.all()
    if sought.act:
        found = found.filter(act=sought.act)
    if sought.by:
        found = found.filter(by__icontains=sought.by)
    if sought.about:
        found = found.filter(about__icontains=sought.about)
    if sought.since is not None:
        found = found.filter(at__gte=sought.since)
    if sought.until is not None:
        found = found.filter(at__lt=sought.until)
    if before is not None:
        found = found.filter(number__lt=before)
    return list(found.order_by("-number")[:most])


def head(organisation: Organisation) -> AuditEntry | None:
    """The newest entry: who keeps its hash elsewhere can see later whether an entry before it is another one."""
    return organisation.audit_entries.order_by("-number").first()


def written(row: AuditEntry) -> dict[str, Any]:
    """As it is hashed, whatever became of it in the database since."""
    entry = Entry(
        chain=row.chain,
        number=row.number,
        at=row.at,
        by=Actor(ActorKind(row.by_kind), row.by),
        act=row.act,
        about=row.about,
        details=row.details,
        previous=row.previous,
    )
    return entry.written()


def export(organisation: Organisation | None) -> Iterator[str]:
    """Every line of a log, oldest first, up to that which says that it was exported. That one is written at once;
    lines are read a few at a time as they are asked for, and no transaction waits for who is slow."""
    last = note(Act.AUDIT_EXPORTED, organisation, details={"chain": "gateway"} if organisation is None else {})
    return _lines(organisation.pk if organisation is not None else 0, last)


def _lines(chain: int, last: int) -> Iterator[str]:
    found = AuditEntry.objects.filter(chain=chain, number__lte=last).order_by("number")
    seen = 0
    while rows := list(found.filter(number__gt=seen)[:AT_ONCE]):
        for row in rows:
            yield exported(written(row), row.hash)
        seen = rows[-1].number


# --- how long ----------------------------------------------------------------------------------------------------


def keep(organisation: Organisation, days: int | None) -> None:
    """How long entries are kept from now on; ``None``: always. Raises ``NotATerm``."""
    if days is not None:
        parse_term(str(days))
    with transaction.atomic():
        current = Organisation.objects.select_for_update(no_key=True).get(pk=organisation.pk)
        old, current.audit_days, organisation.audit_days = current.audit_days, days, days
        if changed := changes({"days": old}, {"days": days}):
            current.save(update_fields=["audit_days"])
            note(Act.AUDIT_TERM_CHANGED, current, details=changed)


def over(organisation: Organisation, days: int | None, *, now: Instant) -> int:
    """How many entries a term of so many days would end."""
    return 0 if days is None else organisation.audit_entries.filter(at__lt=limit_of(days, now)).count()


def shorten(now: Instant) -> int:
    """Removes what was kept long enough; returns how many entries. Each removal is noted in its own transaction."""
    removed = 0
    for organisation in Organisation.objects.exclude(audit_days=None).order_by("pk"):
        while count := _shorten(organisation, now):
            removed += count
            if count < AT_ONCE:
                break
    return removed


def _shorten(organisation: Organisation, now: Instant) -> int:
    with transaction.atomic():
        current = Organisation.objects.select_for_update(no_key=True).filter(pk=organisation.pk).first()
        if current is None or current.audit_days is None or _is_being_exported(current, now):
            return 0
        oldest = list(current.audit_entries.order_by("number")[:AT_ONCE])
        count = removable([(one.at, one.act) for one in oldest], limit_of(current.audit_days, now))
        if not count:
            return 0
        last = oldest[count - 1]
        details: Details = {"entries": count, "last": last.number, "hash": last.hash}
        note(Act.AUDIT_SHORTENED, current, details=details, by=GATEWAY, now=now)
        current.audit_entries.filter(number__lte=last.number).delete()
        return count


def _is_being_exported(organisation: Organisation, now: Instant) -> bool:
    """It began a while ago, and may go on: a chain that lost its beginning meanwhile could not be verified."""
    began = organisation.audit_entries.filter(act=Act.AUDIT_EXPORTED.value, at__gt=now - EXPORT)
    return began.exists()
