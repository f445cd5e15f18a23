"""Who looks after things is told of alarms: programs when one is raised and when it ended, people by mail then and
once a day while it stands.

What is found is compared with what was told, in the transaction that makes the mails and the requests: so each word is
told once, however many processes look.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

from zegel.accounts.addresses import language_of, own_address
from zegel.accounts.models import Account, Organisation
from zegel.core.clock import Instant
from zegel.core.mail.address import Domain, Mailbox, NotADomain, NotAMailbox
from zegel.core.mail.compose import compose
from zegel.core.mail.texts import AlarmLine, AlarmWord, Language, alarm_mail
from zegel.core.policy.alarms import CONDITIONS, TOLD_ELSEWHERE, Alarm, Severity, Told, Word, to_tell
from zegel.core.policy.roles import MAY, Capability
from zegel.core.policy.webhooks import Event
from zegel.core.seal.wrap import SealingKey
from zegel.core.secret import Secret
from zegel.edge import chance
from zegel.edge.database import Readers, Writer
from zegel.edge.log import AlarmEnded, AlarmRaised, Broken, log
from zegel.journey import milestones, watch
from zegel.journey.custody import outbox
from zegel.journey.custody.models import StandingAlarm, Transmission
from zegel.journey.custody.seal import wrap_field
from zegel.settings import Settings

LOOK: Final = 60.0  # seconds
ZONE: Final = ZoneInfo("Europe/Amsterdam")
ROLES: Final = [role.value for role, may in MAY.items() if Capability.ACCOUNTS in may]
LOCAL_PART: Final = "zegel"
_EVENTS: Final = {Word.RAISED: Event.ALARM_RAISED, Word.ENDED: Event.ALARM_ENDED}


@dataclass(frozen=True, slots=True)
class _ToTell:
    word: Word
    alarm: Alarm
    since: Instant


class Alarming:
    """One for each dispatch process; whichever looks first tells."""

    def __init__(
        self, writer: Writer, readers: Readers, settings: Settings, *, sealing: SealingKey, now: Callable[[], Instant]
    ) -> None:
        self._writer, self._readers = writer, readers
        self._settings, self._sealing, self._now = settings, sealing, now

    async def keep_looking(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self.look()
            except Exception as cause:  # the database is away or full: look again later (P22)
                log(Broken("alarms", cause))
            await asyncio.sleep(LOOK)

    async def look(self) -> None:
        """Once, at each organisation and at the gateway."""
        for number in await self._readers.read(_organisations):
            await self._one(number)
        await self._one(None)

    async def _one(self, number: int | None) -> None:
        found = await self._readers.read(partial(self._found, number))
        known = await self._readers.read(lambda: StandingAlarm.objects.filter(organisation=number).exists())
        if found or known:
            await self._writer.write(partial(self._tell, number, found))

    def _found(self, number: int | None) -> Sequence[Alarm]:
        if number is None:
            return watch.standing_of_gateway(self._settings, now=self._now())
        organisation = Organisation.objects.filter(pk=number).first()
        return watch.standing_of(organisation, now=self._now()) if organisation is not None else ()

    def _tell(self, number: int | None, found: Sequence[Alarm]) -> None:
        """Inside a transaction."""
        organisation = Organisation.objects.filter(pk=number).first() if number is not None else None
        if number is not None and organisation is None:  # erased a moment ago
            return
        told = list(self._compared(organisation, found))
        for one in told:
            event = _EVENTS.get(one.word)
            if event is not None and organisation is not None:
                outbox.alarmed(event, organisation, one.alarm, now=self._now())
        by_mail = [one for one in told if one.alarm.condition not in TOLD_ELSEWHERE]
        if by_mail:
            mails = self._of_organisation(organisation, by_mail) if organisation else self._of_gateway(by_mail)
            milestones.decided(list(mails), now=self._now())

    def _compared(self, organisation: Organisation | None, found: Sequence[Alarm]) -> Iterator[_ToTell]:
        now = self._now()
        stands = {alarm.key: alarm for alarm in found}
        known = {(row.condition, row.about): row for row in StandingAlarm.objects.filter(organisation=organisation)}
        for key in dict.fromkeys((*stands, *known)):
            row, alarm = known.get(key), stands.get(key)
            before = _before(row) if row is not None else None
            word = to_tell(before, alarm, now)
            since = row.since if row is not None else now
            last = alarm or (before.alarm if before is not None else None)
            self._keep(organisation, row, alarm, word, now)
            if word is not None and last is not None:
                yield _ToTell(word, last, since)

    @staticmethod
    def _keep(
        organisation: Organisation | None,
        row: StandingAlarm | None,
        alarm: Alarm | None,
        word: Word | None,
        now: Instant,
    ) -> None:
        number = organisation.pk if organisation is not None else 0
        if row is None and alarm is not None:
            condition, about = alarm.key
            StandingAlarm.objects.create(
                organisation=organisation,
                condition=condition,
                about=about,
                number=alarm.number,
                since=now,
                seen_at=now,
                told_at=now,
            )
            log(AlarmRaised(number, condition))
        elif row is not None and word is Word.ENDED:
            row.delete()
            log(AlarmEnded(number, row.condition))
        elif row is not None and alarm is not None:
            row.number, row.seen_at = alarm.number, now
            row.told_at = now if word is Word.STANDS else row.told_at
            row.save(update_fields=["number", "seen_at", "told_at"])
        elif row is not None and row.condition not in CONDITIONS:  # of another version
            row.delete()

    # --- mails ----------------------------------------------------------------------------------------------------

    def _of_organisation(self, organisation: Organisation, told: Sequence[_ToTell]) -> Iterator[uuid.UUID]:
        own = own_address(organisation)
        if own is None:  # there is nothing to write from; it is in the log, and on the page
            return
        link = Secret(f"{self._settings.portal.url}/console/overview/")
        for mailbox, language in _who(organisation):
            word = AlarmWord(organisation.name, _lines(told, language), link)
            yield self._put(organisation, (organisation.name, own), mailbox, word, language)

    def _of_gateway(self, told: Sequence[_ToTell]) -> Iterator[uuid.UUID]:
        """From the gateway's own name; the row stands under the oldest organisation, and without one there is no mail
        yet that anything could be wrong with."""
        organisation = Organisation.objects.order_by("pk").first()
        section = self._settings.alarms
        try:
            own = Mailbox(LOCAL_PART, Domain.parse(self._settings.hostname))
        except NotADomain:
            return
        if organisation is None or not section.mail:
            return
        word = AlarmWord("", _lines(told, section.language), None, self._settings.hostname)
        yield self._put(organisation, ("Zegel", own), Mailbox.parse(section.mail), word, section.language)

    def _put(
        self, organisation: Organisation, author: tuple[str, Mailbox], to: Mailbox, word: AlarmWord, language: Language
    ) -> uuid.UUID:
        identity, now = chance.identifier(), self._now()
        words = alarm_mail(word, language, zone=ZONE)
        message_id = f"<{identity.hex}@{author[1].domain}>"
        octets = compose(
            author=author,
            to=to,
            subject=words.subject,
            text=words.text,
            html=words.html,
            message_id=message_id,
            at=now,
            boundary=f"=_{secrets.token_hex(16)}",
        )
        Transmission.objects.create(
            id=identity,
            organisation=organisation,
            kind=Transmission.Kind.NOTICE,
            address=str(to),
            message_id=message_id,
            sealed=wrap_field(octets, name="transmission", owner=identity, to=self._sealing),
            created_at=now,
        )
        return identity


def _organisations() -> list[int]:
    return list(Organisation.objects.order_by("pk").values_list("pk", flat=True))


def _before(row: StandingAlarm) -> Told | None:
    if row.condition not in CONDITIONS:
        return None
    return Told(Alarm(CONDITIONS[row.condition], row.about, row.number), row.seen_at, row.told_at)


def _who(organisation: Organisation) -> Iterator[tuple[Mailbox, Language]]:
    accounts = organisation.accounts.filter(is_active=True).order_by("id")
    if organisation.alarm_addresses is None:
        for one in accounts.filter(role__in=ROLES):
            yield one.mailbox, language_of(one, organisation)
        return
    for written in organisation.alarm_addresses:
        try:
            mailbox = Mailbox.parse(written)
        except NotAMailbox:  # of another version
            continue
        holder = accounts.filter(key=mailbox.key).first() or Account(language=organisation.language)
        yield mailbox, language_of(holder, organisation)


def _lines(told: Sequence[_ToTell], language: Language) -> tuple[AlarmLine, ...]:
    lines = []
    for one in told:
        what, remedy = one.alarm.what, one.alarm.condition.remedy
        lines.append(
            AlarmLine(
                one.word.value,
                what.nl if language == "nl" else what.en,
                remedy.nl if language == "nl" else remedy.en,
                one.since,
                is_critical=one.alarm.condition.severity is Severity.CRITICAL,
            )
        )
    return tuple(lines)
