"""Alarms: what stands that somebody has to do something about.

``Condition`` is a table: what it says, what to do, and when it ends. The functions below say which of them stand, given
what was found. Who is told, and how, is decided elsewhere. ``docs/alarms.md`` is printed from the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Final

from zegel.core.clock import Duration, Instant
from zegel.core.policy.texts import TextLimit
from zegel.core.policy.wording import Wording

NEW_DOMAIN: Final[Duration] = timedelta(hours=72)  # whoever adds a domain has so long to publish its records
MAIL_WAITS: Final[Duration] = timedelta(hours=4)  # senders hear of a delay then as well
WORK_WAITS: Final[Duration] = timedelta(minutes=10)
CERTIFICATE_ENDS: Final[Duration] = timedelta(days=21)  # or the last quarter of a life that is shorter than that
LITTLE_SPACE: Final = 1_000_000_000  # octets
NO_SPACE: Final = 100_000_000
OLD_BACKUP: Final[Duration] = timedelta(days=3)
FAILED_TEXTS: Final = 3  # so many in an hour, and a fifth of all
FAILED_SHARE: Final = 5
REMIND: Final[Duration] = timedelta(hours=24)  # people are told again of what stands
OVER: Final[Duration] = timedelta(minutes=30)  # it was not seen for so long: it ended, and didn't only blink


class Severity(Wording):
    """How soon somebody should look."""

    CRITICAL = ("critical", "now", "nu")
    WARNING = ("warning", "soon", "binnenkort")


class Whose(Enum):
    """Who is told: the administrators of one organisation, or whoever looks after the gateway."""

    ORGANISATION = "organisation"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Sentence:
    """In both languages. ``{about}`` and ``{number}`` are of the alarm."""

    en: str
    nl: str

    def filled(self, about: str, number: int) -> Sentence:
        """With the values of an alarm."""
        return Sentence(self.en.format(about=about, number=number), self.nl.format(about=about, number=number))


class Condition(Enum):
    """A row of the table. ``value`` is its code: it is stored and shown to programs, and never changes."""

    _value_: str
    whose: Whose
    severity: Severity
    what: Sentence
    remedy: Sentence
    ends: Sentence

    def __new__(
        cls, code: str, whose: Whose, severity: Severity, what: Sentence, remedy: Sentence, ends: Sentence
    ) -> Condition:
        condition = object.__new__(cls)
        condition._value_ = code
        condition.whose, condition.severity = whose, severity
        condition.what, condition.remedy, condition.ends = what, remedy, ends
        return condition

    DOMAIN_REFUSED = (
        "domain-refused",
        Whose.ORGANISATION,
        Severity.CRITICAL,
        Sentence(
            "{about} may not send: its DNS records have not been there for {number} hours.",
            "{about} mag niet verzenden: de DNS-records ontbreken al {number} uur.",
        ),
        Sentence(
            "Publish the records that stand under Domains, or remove the domain.",
            "Publiceer de records die bij Domeinen staan, of verwijder het domein.",
        ),
        Sentence("a check finds all records", "een controle alle records vindt"),
    )
    DOMAIN_MISSING = (
        "domain-missing",
        Whose.ORGANISATION,
        Severity.WARNING,
        Sentence(
            "DNS records of {about} have not been there for {number} hours; after 72 it may not send any more.",
            "DNS-records van {about} ontbreken al {number} uur; na 72 uur mag het niet meer verzenden.",
        ),
        Sentence(
            "Publish the records that stand under Domains again.",
            "Publiceer de records die bij Domeinen staan opnieuw.",
        ),
        Sentence("a check finds all records", "een controle alle records vindt"),
    )
    LIST_LAPSED = (
        "list-lapsed",
        Whose.ORGANISATION,
        Severity.WARNING,
        Sentence(
            "The list of domains “{about}” has not been read for {number} days and counts no more.",
            "De domeinenlijst “{about}” is al {number} dagen niet gelezen en telt niet meer mee.",
        ),
        Sentence(
            "See under Recipients what went wrong, and ask whoever keeps the list.",
            "Kijk bij Ontvangers wat er misging, en vraag het wie de lijst bijhoudt.",
        ),
        Sentence("the list was read", "de lijst is gelezen"),
    )
    CAP_REACHED = (
        "cap-reached",
        Whose.ORGANISATION,
        Severity.CRITICAL,
        Sentence(
            "Mail is refused for now: the limit of {about} is reached.",
            "Er wordt nu mail geweigerd: de limiet van {about} is bereikt.",
        ),
        Sentence(
            "Look what sends so much. If it is meant, raise the limit under Submission.",
            "Kijk wat er zoveel verstuurt. Klopt het, verhoog dan de limiet bij Aanleveren.",
        ),
        Sentence("the hour or the day is over, or the limit is higher", "het uur of de dag om is, of de limiet hoger"),
    )
    TEXTS_CAPPED = (
        "texts-capped",
        Whose.ORGANISATION,
        Severity.CRITICAL,
        Sentence(
            "No codes are sent by text message now: the limit {about} is reached.",
            "Er worden nu geen codes per sms verstuurd: de limiet {about} is bereikt.",
        ),
        Sentence(
            "Recipients with an SMS code can’t read now. Look who asks for so many. If it is meant, raise the limit "
            "under Submission.",
            "Ontvangers met een sms-code kunnen nu niet lezen. Kijk wie er zoveel vraagt. Klopt het, verhoog dan de "
            "limiet bij Aanleveren.",
        ),
        Sentence("enough time is over, or the limit is higher", "er genoeg tijd voorbij is, of de limiet hoger"),
    )
    CREDENTIAL_TEXTS_CAPPED = (
        "credential-texts-capped",
        Whose.ORGANISATION,
        Severity.CRITICAL,
        Sentence(
            "No codes are sent by text message now for messages that came with {about}: its limit is reached.",
            "Er worden nu geen codes per sms verstuurd voor berichten die met {about} kwamen: de limiet ervan is "
            "bereikt.",
        ),
        Sentence(
            "Recipients of these messages with an SMS code can’t read now. Look what sends so many. If it is meant, "
            "raise the limit of that SMTP credential.",
            "Ontvangers van deze berichten met een sms-code kunnen nu niet lezen. Kijk wat er zoveel verstuurt. Klopt "
            "het, verhoog dan de limiet van die SMTP-inloggegevens.",
        ),
        Sentence("enough time is over, or the limit is higher", "er genoeg tijd voorbij is, of de limiet hoger"),
    )
    TEXTS_FAILED = (
        "texts-failed",
        Whose.ORGANISATION,
        Severity.CRITICAL,
        Sentence(
            "{number} text messages with a code were not sent in the last hour.",
            "In het afgelopen uur zijn {number} sms-berichten met een code niet verzonden.",
        ),
        Sentence(
            "Recipients with an SMS code can’t read now. Look at the SMS provider, and at the log of the gateway.",
            "Ontvangers met een sms-code kunnen nu niet lezen. Kijk bij de sms-aanbieder en in het log van de gateway.",
        ),
        Sentence("an hour goes by with fewer", "er een uur met minder voorbij is"),
    )
    CODES_GUESSED = (
        "codes-guessed",
        Whose.ORGANISATION,
        Severity.WARNING,
        Sentence(
            "Codes are being guessed: {number} recipients were closed out for a day.",
            "Er worden codes geraden: {number} ontvangers zijn voor een dag buitengesloten.",
        ),
        Sentence(
            "Ask the recipients. If it wasn’t them, let the sender revoke the message.",
            "Vraag het de ontvangers. Waren zij het niet, laat de afzender het bericht dan intrekken.",
        ),
        Sentence("a day goes by without", "er een dag zonder voorbij is"),
    )
    MAIL_WAITS = (
        "mail-waits",
        Whose.ORGANISATION,
        Severity.WARNING,
        Sentence(
            "A mail has been waiting for {number} hours to be accepted by the server of its recipient.",
            "Er wacht al {number} uur een mail tot de server van de ontvanger die aanneemt.",
        ),
        Sentence(
            "The overview names the slowest destinations. Its sender is told; after days the mail goes back.",
            "Het overzicht noemt de traagste bestemmingen. De afzender hoort het; na dagen komt de mail terug.",
        ),
        Sentence("it was accepted, or went back", "die is aangenomen of teruggekomen"),
    )
    WEBHOOK_FAILS = (
        "webhook-fails",
        Whose.ORGANISATION,
        Severity.WARNING,
        Sentence(
            "The webhook “{about}” was not told of {number} events in the last day: its server did not take them.",
            "De webhook “{about}” is in de afgelopen dag {number} keer niet bereikt: de server nam het niet aan.",
        ),
        Sentence(
            "See under Webhooks what its server answered. What was given up is not told again.",
            "Kijk bij Webhooks wat de server antwoordde. Wat is opgegeven, wordt niet opnieuw gemeld.",
        ),
        Sentence("a day goes by without", "er een dag zonder voorbij is"),
    )
    WORK_WAITS = (
        "work-waits",
        Whose.GATEWAY,
        Severity.CRITICAL,
        Sentence(
            "Work that was due has been waiting for {number} minutes: mail stands still.",
            "Werk dat aan de beurt was, wacht al {number} minuten: de mail staat stil.",
        ),
        Sentence(
            "Look whether dispatch runs, and what its log says; see zegel doctor.",
            "Kijk of dispatch draait en wat het log zegt; zie zegel doctor.",
        ),
        Sentence("the work was done", "het werk gedaan is"),
    )
    CERTIFICATE_BROKEN = (
        "certificate-broken",
        Whose.GATEWAY,
        Severity.CRITICAL,
        Sentence(
            "The certificate of {about} can’t be used: it is expired, unreadable or for another name.",
            "Het certificaat van {about} is onbruikbaar: verlopen, onleesbaar of voor een andere naam.",
        ),
        Sentence(
            "Put a good one in its place; see zegel doctor.", "Zet er een goed certificaat neer; zie zegel doctor."
        ),
        Sentence("a good one is there", "er een goed certificaat is"),
    )
    CERTIFICATE_ENDS = (
        "certificate-ends",
        Whose.GATEWAY,
        Severity.WARNING,
        Sentence(
            "The certificate of {about} ends in {number} days.",
            "Het certificaat van {about} verloopt over {number} dagen.",
        ),
        Sentence(
            "Renew it, or look why it was not renewed by itself: the log says certificate_not_issued.",
            "Vernieuw het, of kijk waarom dat niet vanzelf ging: het log zegt certificate_not_issued.",
        ),
        Sentence("a newer one is there", "er een nieuwer certificaat is"),
    )
    DISK_FULL = (
        "disk-full",
        Whose.GATEWAY,
        Severity.CRITICAL,
        Sentence(
            "The disk is full: {number} MB are left. Mail is refused, or will be.",
            "De schijf is vol: er is {number} MB over. Mail wordt geweigerd, of gaat dat worden.",
        ),
        Sentence("Free some space.", "Maak ruimte vrij."),
        Sentence("there is more room", "er meer ruimte is"),
    )
    DISK_FILLS = (
        "disk-fills",
        Whose.GATEWAY,
        Severity.WARNING,
        Sentence("The disk fills: {number} MB are left.", "De schijf raakt vol: er is {number} MB over."),
        Sentence("Free some space in time.", "Maak op tijd ruimte vrij."),
        Sentence("there is more room", "er meer ruimte is"),
    )
    PASSWORDS_GUESSED = (
        "passwords-guessed",
        Whose.GATEWAY,
        Severity.WARNING,
        Sentence(
            "Passwords, tokens or second steps are being guessed, in {number} places in the last hour.",
            "Er worden wachtwoorden, tokens of tweede stappen geraden, op {number} plaatsen in het afgelopen uur.",
        ),
        Sentence(
            "The log names the addresses that it comes from: sign_in_refused. Guessing is slowed down by itself.",
            "Het log noemt de adressen waar het vandaan komt: sign_in_refused. Raden wordt vanzelf vertraagd.",
        ),
        Sentence("an hour goes by without", "er een uur zonder voorbij is"),
    )
    BACKUP_OLD = (
        "backup-old",
        Whose.GATEWAY,
        Severity.WARNING,
        Sentence("The last backup is {number} days old.", "De laatste back-up is {number} dagen oud."),
        Sentence("Look at what makes backups, or run: zegel backup", "Kijk wat de back-ups maakt, of: zegel backup"),
        Sentence("a backup was made", "er een back-up gemaakt is"),
    )
    BACKUP_NEVER = (
        "backup-never",
        Whose.GATEWAY,
        Severity.WARNING,
        Sentence("No backup was ever made.", "Er is nooit een back-up gemaakt."),
        Sentence("Run zegel backup, every day.", "Voer zegel backup uit, elke dag."),
        Sentence("a backup was made", "er een back-up gemaakt is"),
    )
    KEYS_NOT_COPIED = (
        "keys-not-copied",
        Whose.GATEWAY,
        Severity.WARNING,
        Sentence(
            "There is no backup of the keys that are in use.", "Er is geen back-up van de sleutels die in gebruik zijn."
        ),
        Sentence(
            "Without the keys nobody reads the stored mail again. Run zegel keys backup, and keep it elsewhere.",
            "Zonder de sleutels leest niemand de bewaarde mail ooit nog. Voer zegel keys backup uit en bewaar die "
            "elders.",
        ),
        Sentence("a backup of them was made", "er een back-up van gemaakt is"),
    )


CONDITIONS: Final = {one.value: one for one in Condition}
TOLD_ELSEWHERE: Final = frozenset({Condition.DOMAIN_REFUSED, Condition.DOMAIN_MISSING})
"""Of these a mail goes out at the moment of the check, which names the records; no second one follows."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A condition that stands. ``about``: what it is about, such as a domain; never a recipient."""

    condition: Condition
    about: str = ""
    number: int = 0

    @property
    def what(self) -> Sentence:
        """What stands."""
        named = _NAMED.get((self.condition, self.about), Sentence(self.about, self.about))
        what = self.condition.what
        return Sentence(what.filled(named.en, self.number).en, what.filled(named.nl, self.number).nl)

    @property
    def key(self) -> tuple[str, str]:
        """Two alarms with the same key are the same alarm at two moments."""
        return self.condition.value, self.about


# --- what is found --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DomainFound:
    """A sending domain. ``missing_since``: a record was not there at the last check that was conclusive."""

    name: str
    may_send: bool
    missing_since: Instant | None


@dataclass(frozen=True, slots=True)
class OrganisationFound:
    """What was found of one organisation."""

    domains: Sequence[DomainFound] = ()
    lapsed: Sequence[tuple[str, Instant]] = ()  # lists of domains, and when each was last read
    capped: Sequence[str] = ()  # whose cap is reached
    texts_capped: Sequence[TextLimit] = ()  # caps on text messages that are reached
    credentials_texts_capped: Sequence[str] = ()  # descriptions of credentials
    texts_sent: int = 0  # in the last hour
    texts_failed: int = 0
    closed_out: int = 0  # recipients with all wrong codes of a day behind them
    oldest_mail: Instant | None = None  # that is not accepted yet
    given_up: Sequence[tuple[str, int]] = ()  # webhooks, and of how much each was not told in the last day


class Shown(Enum):
    """Who shows a certificate."""

    SUBMISSION = "submission"
    PORTAL = "portal"


@dataclass(frozen=True, slots=True)
class CertificateFound:
    """A certificate that the gateway shows; ``begins`` and ``ends`` are ``None`` where it can't be read. One that the
    gateway made for itself ends too, and nobody believes it anyhow."""

    shown: Shown
    begins: Instant | None
    ends: Instant | None
    is_wrong: bool = False  # not for the names that it is needed for, or not valid yet

    def left(self, now: Instant) -> Duration | None:
        """Until it ends; nothing where it can't be used now."""
        if self.is_wrong or self.ends is None or self.ends <= now:
            return None
        return self.ends - now

    def is_ending(self, now: Instant) -> bool:
        """Whoever renews it should have done so."""
        left = self.left(now)
        if left is None or self.begins is None or self.ends is None:
            return False
        return left < min(CERTIFICATE_ENDS, (self.ends - self.begins) / 4)


@dataclass(frozen=True, slots=True)
class GatewayFound:
    """What was found of the gateway as a whole."""

    certificates: Sequence[CertificateFound] = ()
    overdue_since: Instant | None = None  # the oldest work that was due and is not done
    free: int = LITTLE_SPACE  # octets, where the data is
    guessed: int = 0  # places with many wrong passwords, the last of them within the hour
    backup_at: Instant | None = None
    has_mail: bool = False  # else there is nothing to lose
    are_keys_copied: bool = True


_SHOWN: Final = {
    Shown.SUBMISSION: Sentence("the submission server", "de server voor het aanleveren"),
    Shown.PORTAL: Sentence("the portal", "het portaal"),
}
_LIMITS: Final = {
    TextLimit.HOUR: Sentence("per hour", "per uur"),
    TextLimit.DAY: Sentence("per 24 hours", "per 24 uur"),
    TextLimit.MONTH: Sentence("per 30 days", "per 30 dagen"),
    TextLimit.MONEY: Sentence("in money per 30 days", "in geld per 30 dagen"),
}
_NAMED: Final = {
    **{(Condition.TEXTS_CAPPED, limit.value): said for limit, said in _LIMITS.items()},
    **{
        (condition, shown.value): said
        for condition in (Condition.CERTIFICATE_BROKEN, Condition.CERTIFICATE_ENDS)
        for shown, said in _SHOWN.items()
    },
}


# --- which stand ----------------------------------------------------------------------------------------------------


def of_organisation(found: OrganisationFound, now: Instant) -> tuple[Alarm, ...]:
    """The alarms that stand for one organisation, in the order of the table."""
    return _in_order(_organisation(found, now))


def of_gateway(found: GatewayFound, now: Instant) -> tuple[Alarm, ...]:
    """The alarms that stand for the gateway, in the order of the table."""
    return _in_order(_gateway(found, now))


def _organisation(found: OrganisationFound, now: Instant) -> Iterator[Alarm]:
    for domain in found.domains:
        yield from _domain(domain, now)
    for name, read_at in found.lapsed:
        yield Alarm(Condition.LIST_LAPSED, name, _whole(now - read_at, timedelta(days=1)))
    for name in found.capped:
        yield Alarm(Condition.CAP_REACHED, name)
    for limit in found.texts_capped:
        yield Alarm(Condition.TEXTS_CAPPED, limit.value)
    for name in found.credentials_texts_capped:
        yield Alarm(Condition.CREDENTIAL_TEXTS_CAPPED, name)
    tried = found.texts_sent + found.texts_failed
    if found.texts_failed >= FAILED_TEXTS and found.texts_failed * FAILED_SHARE >= tried:
        yield Alarm(Condition.TEXTS_FAILED, number=found.texts_failed)
    if found.closed_out:
        yield Alarm(Condition.CODES_GUESSED, number=found.closed_out)
    if found.oldest_mail is not None and now - found.oldest_mail >= MAIL_WAITS:
        yield Alarm(Condition.MAIL_WAITS, number=_whole(now - found.oldest_mail, timedelta(hours=1)))
    for name, number in found.given_up:
        yield Alarm(Condition.WEBHOOK_FAILS, name, number)


def _domain(domain: DomainFound, now: Instant) -> Iterator[Alarm]:
    if domain.missing_since is None:
        return
    hours = _whole(now - domain.missing_since, timedelta(hours=1))
    if domain.may_send:
        yield Alarm(Condition.DOMAIN_MISSING, domain.name, hours)
    elif now - domain.missing_since >= NEW_DOMAIN:
        yield Alarm(Condition.DOMAIN_REFUSED, domain.name, hours)


def _gateway(found: GatewayFound, now: Instant) -> Iterator[Alarm]:
    if found.overdue_since is not None and now - found.overdue_since >= WORK_WAITS:
        yield Alarm(Condition.WORK_WAITS, number=_whole(now - found.overdue_since, timedelta(minutes=1)))
    for one in found.certificates:
        left = one.left(now)
        if left is None:
            yield Alarm(Condition.CERTIFICATE_BROKEN, one.shown.value)
        elif one.is_ending(now):
            yield Alarm(Condition.CERTIFICATE_ENDS, one.shown.value, _whole(left, timedelta(days=1)))
    if found.free < LITTLE_SPACE:
        condition = Condition.DISK_FULL if found.free < NO_SPACE else Condition.DISK_FILLS
        yield Alarm(condition, number=found.free // 1_000_000)
    if found.guessed:
        yield Alarm(Condition.PASSWORDS_GUESSED, number=found.guessed)
    if found.has_mail:
        yield from _backups(found, now)


def _backups(found: GatewayFound, now: Instant) -> Iterator[Alarm]:
    if found.backup_at is None:
        yield Alarm(Condition.BACKUP_NEVER)
    elif now - found.backup_at >= OLD_BACKUP:
        yield Alarm(Condition.BACKUP_OLD, number=_whole(now - found.backup_at, timedelta(days=1)))
    if not found.are_keys_copied:
        yield Alarm(Condition.KEYS_NOT_COPIED)


def _in_order(alarms: Iterator[Alarm]) -> tuple[Alarm, ...]:
    order = list(Condition)
    return tuple(sorted(alarms, key=lambda one: (order.index(one.condition), one.about)))


def _whole(duration: Duration, unit: Duration) -> int:
    return max(0, duration // unit)


# --- who is told of it, and when ----------------------------------------------------------------------------------


class Word(Enum):
    """What people and programs are told of an alarm."""

    RAISED = "raised"
    STANDS = "stands"  # to people, once a day
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Told:
    """An alarm that was told of, and did not end yet. ``told_at``: when people heard last that it stands."""

    alarm: Alarm
    seen_at: Instant
    told_at: Instant


def to_tell(told: Told | None, found: Alarm | None, now: Instant) -> Word | None:
    """What is to be told of one alarm, given what was told before and what is found now. An alarm that goes and comes
    back at once is one alarm."""
    if told is None:
        return Word.RAISED if found is not None else None
    if found is None:
        return Word.ENDED if now - told.seen_at >= OVER else None
    return Word.STANDS if now - told.told_at >= REMIND else None


# --- the page -------------------------------------------------------------------------------------------------------


def as_markdown() -> str:
    """``docs/alarms.md``, printed from the table."""
    return _PAGE.format(
        **{whose.value: "".join(_line(one) for one in Condition if one.whose is whose) for whose in Whose},
        mail=MAIL_WAITS // timedelta(hours=1),
        work=WORK_WAITS // timedelta(minutes=1),
        certificate=CERTIFICATE_ENDS.days,
        little=LITTLE_SPACE // 1_000_000,
        none=NO_SPACE // 1_000_000,
        backup=OLD_BACKUP.days,
        texts=FAILED_TEXTS,
        share=100 // FAILED_SHARE,
        over=OVER // timedelta(minutes=1),
    )


def _line(one: Condition) -> str:
    said = one.what.en.replace("{about}", "…").replace("{number}", "n")
    return f"| `{one.value}` | {one.severity.value} | {said} | {one.remedy.en} | {one.ends.en} |\n"


_PAGE: Final = """\
# Alarms

<!-- Printed by zegel.core.policy.alarms.as_markdown; a test compares. -->

What somebody has to do something about. They stand on the overview in the console, and `zegel alarms` lists them (exit
code 1 where there is one). `critical`: now. `warning`: soon. An alarm ends by itself when its cause does.

## Who is told

Every minute it is looked which alarms stand. People get a mail when one is raised, once a day while it stands, and
when it ended; programs hear of the beginning and the end ([webhooks.md](webhooks.md)). One that goes and comes back
within {over} minutes is one alarm. What is found at the same look stands in one mail.

- **Of an organisation**: its owners and administrators, each in the language of their account; or the addresses that
  were set in the console (Overview, *Who is told*) or with `zegel organisation alarms-to NAME ADDRESS…`. The mail comes
  from the sending domain of the organisation; where it has none, nobody is mailed, and the overview and webhooks tell.
- **Of the gateway**: the address in the configuration, in that language. It comes from the gateway's own name.

```toml
[alarms]
mail = "beheer@example.org"
language = "nl"
```

About `domain-refused` and `domain-missing` owners and administrators get a mail with the records as soon as a check
finds out ([domains.md](domains.md)); so these two come by webhook, and not by mail once more. No alarm names a
recipient. Alarm mails say `Auto-Submitted: auto-generated` and have an empty return path, so that no automatic reply
and no bounce answers them. Of what keeps all mail from going out no mail can tell: watch `zegel alarms` or the metrics
from outside.

## Of an organisation

| alarm | severity | says | what to do | ends when |
|---|---|---|---|---|
{organisation}
## Of the gateway

| alarm | severity | says | what to do | ends when |
|---|---|---|---|---|
{gateway}
## When they begin

- `domain-refused`: for a new domain 72 hours after the first check that found nothing.
- `mail-waits`: after {mail} hours; `work-waits`: after {work} minutes.
- `texts-failed`: at least {texts} in an hour, and {share} % of all.
- `codes-guessed`: ten wrong codes for one recipient within a day. `passwords-guessed`: twenty wrong ones in a row from
  one network or browser, or for one account, the last within the hour.
- `certificate-ends`: {certificate} days before, or in the last quarter of a shorter life.
- `webhook-fails`: an event was tried for 28 hours or waited for 36, or the server answered 410.
- `disk-fills`: below {little} MB; `disk-full`: below {none} MB.
- `backup-old`: after {backup} days. The three about backups begin once there is mail.
"""
