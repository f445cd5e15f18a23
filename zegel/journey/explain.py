"""A dry run: what would become of a message, and why. Nothing is accepted, written or sent.

It stands above the stops: what arrival would refuse is refused here in the same words, and what decision would gather
is gathered by the same questions. Of other servers only the DNS is asked, as decision does.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from zegel.accounts.models import Account, Organisation, SendingDomain
from zegel.core.clock import Instant
from zegel.core.mail.address import Domain, Mailbox, NotAMailbox
from zegel.core.mail.fields import (
    MAX_HEADER_SECTION,
    BrokenHeader,
    HeaderReader,
    HeaderSection,
    HeaderTooLong,
    NotOneAuthor,
    author,
)
from zegel.core.mail.reply import Reply
from zegel.core.policy.case import Case
from zegel.core.policy.conversation import split
from zegel.core.policy.directives import Directives, DirectiveWarning, MalformedField, unmatched
from zegel.core.policy.explain import Bilingual, Explanation, Said, explain
from zegel.core.policy.nta7516 import Standing
from zegel.core.secret import Secret
from zegel.core.smtp.server import BAD_RECIPIENT
from zegel.edge.nta import NtaFound
from zegel.journey.arrival.intake import LOOP, NO_RECIPIENT, asked_by, goes_round, refusal_of, shown
from zegel.journey.arrival.sender import NO_ACCOUNT, NO_DOMAIN
from zegel.journey.custody.memory import OpensFields
from zegel.journey.decision.facts import Question, gather

CHUNK: Final = 16_384  # octets that are read at a time, and no more than are needed
ENOUGH: Final = 2 * MAX_HEADER_SECTION  # octets; behind them no header section ends that arrival would take
PATIENCE: Final = 20.0  # seconds for all questions to the DNS together
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")


class KnowsNta(Protocol):
    """:class:`zegel.edge.nta.NtaLookup`."""

    def facts(self, pairs: Collection[tuple[Domain, Domain]]) -> Awaitable[dict[tuple[Domain, Domain], NtaFound]]: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a dry run needs of the process: to open what is remembered, to know its own marker, and to ask the DNS."""

    open_field: OpensFields
    marker: Secret[bytes]
    nta: Callable[[], KnowsNta]  # a new one for each run: its resolver belongs to one event loop
    now: Callable[[], Instant]


@dataclass(frozen=True, slots=True)
class Asking:
    """The message whose fate is asked about, as far as that depends on it."""

    author: str
    recipients: Sequence[str]
    header: bytes  # as :func:`header_of` gives it


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """The door would refuse it: with this reply, because of the part of :class:`Asking` that ``field`` names."""

    reply: Reply
    field: str  # from, to, message
    which: int | None = None  # of the recipients


@dataclass(frozen=True, slots=True)
class OtherAuthor:
    """The message is another author's than the one that was asked about."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What would become of it, for each recipient once, and what the author would be warned about."""

    author: Mailbox
    recipients: tuple[Explanation, ...]
    warnings: tuple[Bilingual, ...]

    @property
    def all_served(self) -> bool:
        """Nobody is held or can't be served at all."""
        return all(one.is_served for one in self.recipients)

    def to_json(self) -> dict[str, Any]:
        """For programs; every sentence in both languages."""
        return {
            "author": str(self.author),
            "all_served": self.all_served,
            "warnings": [{"en": one.en, "nl": one.nl} for one in self.warnings],
            "recipients": [one.to_json() for one in self.recipients],
        }


def header_of(pieces: Iterable[bytes]) -> bytes:
    """The header section of a message that comes in pieces, of which no more are asked for than are needed.

    Lines may end with LF alone, as files have them: a mail program writes them with CRLF when it submits. Where any
    ends with CRLF they are left as they are. Raises :class:`HeaderTooLong`.
    """
    found = bytearray()
    for piece in pieces:
        found += piece
        if (end := re.search(rb"\n\r?\n", found)) is not None:
            del found[end.start() + 1 :]
            break
        if len(found) > ENOUGH:
            raise HeaderTooLong("the header section is too long")
    octets = bytes(found)
    if octets.startswith((b"\r\n", b"\n")):
        return b""
    if b"\r\n" not in octets:
        octets = _BARE_LF.sub(b"\r\n", octets)
    return octets if octets.endswith(b"\r\n") or not octets else octets + b"\r\n"


def foresee(
    asking: Asking, surroundings: Surroundings, *, organisation: Organisation | None = None
) -> Foreseen | TurnedAway | OtherAuthor:
    """The dry run. Without an ``organisation`` it is the one that the author's domain is of, as credentials would tell.

    Reads the database and asks the DNS; writes nothing.
    """
    recipients: list[Mailbox] = []
    for number, address in enumerate(asking.recipients):
        try:
            recipients.append(Mailbox.parse(address))
        except NotAMailbox:
            return TurnedAway(BAD_RECIPIENT, "to", number)
    if not recipients:
        return TurnedAway(NO_RECIPIENT, "to")
    try:
        section = _section(asking.header)
        if goes_round(section, surroundings.marker):
            return TurnedAway(LOOP, "message")
        found = author(section).mailbox
    except (BrokenHeader, HeaderTooLong, NotOneAuthor) as cause:
        return TurnedAway(_reply(cause), "message")
    if not _is_author(asking.author, found):
        return OtherAuthor()
    of = organisation or _organisation_of(found.domain)
    if of is None:
        return TurnedAway(NO_DOMAIN, "from")
    try:
        directives = asked_by(section, region=of.region)
    except MalformedField as cause:
        return TurnedAway(cause.reply, "message")
    sender = _sender(of, found)
    if isinstance(sender, Reply):
        return TurnedAway(sender, "from")
    return _decided(_Message(found, of, sender, section, directives, tuple(recipients)), surroundings)


@dataclass(frozen=True, slots=True)
class _Message:
    """One that the door would take."""

    author: Mailbox
    organisation: Organisation
    account: int
    section: HeaderSection
    directives: Directives
    recipients: tuple[Mailbox, ...]


def _decided(message: _Message, surroundings: Surroundings) -> Foreseen:
    parts = split(message.recipients, shown(message.section))
    recipients = (*parts.shared, *parts.blind)
    cases = _cases(message, recipients, surroundings)
    blind = frozenset(parts.blind)
    return Foreseen(
        message.author,
        tuple(
            explain(recipient, case, is_blind=recipient in blind, notes=standings)
            for recipient, (case, standings) in zip(recipients, cases, strict=True)
        ),
        tuple(_warnings(message.directives, recipients)),
    )


def _cases(
    message: _Message, recipients: Sequence[Mailbox], surroundings: Surroundings
) -> list[tuple[Case, tuple[Said, ...]]]:
    pairs = {one: (message.author.domain, one.domain) for one in recipients}
    found = asyncio.run(_ask(surroundings.nta(), set(pairs.values())))
    gathered = gather(
        [Question(one, message.organisation, message.account, message.directives) for one in recipients],
        open_field=surroundings.open_field,
        now=surroundings.now(),
    )
    return [
        (replace(case, nta=found[pairs[one]].as_facts()), tuple(_standings(pairs[one], found[pairs[one]])))
        for one, case in zip(recipients, gathered, strict=True)
    ]


async def _ask(nta: KnowsNta, pairs: Collection[tuple[Domain, Domain]]) -> dict[tuple[Domain, Domain], NtaFound]:
    """What doesn't come in time isn't known now."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await nta.facts(pairs)
    except TimeoutError:
        return dict.fromkeys(pairs, NtaFound(Standing.NOT_KNOWN_NOW))


def _standings(pair: tuple[Domain, Domain], found: NtaFound) -> Iterator[Said]:
    """Why a domain that says something of NTA 7516 doesn't comply."""
    for domain, standing in zip(pair, (found.sender, found.recipient), strict=True):
        if standing not in (None, Standing.COMPLIES, Standing.NO_RECORD):
            yield Said(f"{domain}: {standing.en}", f"{domain}: {standing.nl}")


def _warnings(directives: Directives, recipients: Sequence[Mailbox]) -> Iterable[DirectiveWarning | Said]:
    yield from directives.warnings
    for mailbox in unmatched(directives, recipients):
        yield Said(
            f"The access-right field names {mailbox}, who is no recipient of this message.",
            f"Het veld access-right noemt {mailbox}, en die is geen ontvanger van dit bericht.",
        )


# --- as the door does it -----------------------------------------------------------------------------------------


def _section(header: bytes) -> HeaderSection:
    reader = HeaderReader()
    found = reader.feed(header + b"\r\n")
    return HeaderSection.parse(found[0] if found is not None else reader.finish())


def _reply(cause: Exception) -> Reply:
    reply = refusal_of(cause)
    assert reply is not None
    return reply


def _is_author(address: str, found: Mailbox) -> bool:
    try:
        return Mailbox.parse(address) == found
    except NotAMailbox:
        return False


def _organisation_of(domain: Domain) -> Organisation | None:
    domains = SendingDomain.objects.filter(name=domain.ascii).select_related("organisation")
    found = domains.order_by("-in_place", "id").first()
    return found.organisation if found else None


def _sender(organisation: Organisation, found: Mailbox) -> int | Reply:
    """What arrival asks of whoever signed in for this organisation (:mod:`zegel.journey.arrival.sender`)."""
    if not SendingDomain.objects.filter(name=found.domain.ascii, organisation=organisation, in_place=True).exists():
        return NO_DOMAIN
    account = Account.objects.filter(key=found.key, organisation=organisation, is_active=True)
    return account.values_list("id", flat=True).first() or NO_ACCOUNT
