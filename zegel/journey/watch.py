"""How things stand: alarms of an organisation and of the gateway, gauges, and whether the gateway is ready.

It stands above the stops and reads what they leave behind; it changes nothing. :func:`standing_of` and
:func:`standing_of_gateway` are for whoever shows alarms or tells somebody of them.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from django.db import connection
from django.db.models import Count, Q

from zegel import VERSION
from zegel.accounts.models import (
    AuditEntry,
    Organisation,
    SendingDomain,
    SignInFailure,
    SmtpCredential,
)
from zegel.accounts.submitting import caps_of, refused_of, text_caps_of, text_money_of, texts_used_by, used_by
from zegel.core.clock import Duration, Instant
from zegel.core.policy import alarms, texts
from zegel.core.policy.alarms import (
    MAIL_WAITS,
    Alarm,
    CertificateFound,
    DomainFound,
    GatewayFound,
    OrganisationFound,
    Shown,
)
from zegel.core.policy.audit import Act
from zegel.core.policy.challenge import WRONG_PER_DAY
from zegel.core.policy.submitting import Caps, Used
from zegel.edge import chance, keyring, metrics
from zegel.edge.certificates import Files, acme_files, acme_folder, self_signed_files
from zegel.edge.certificates import examine as examine_certificate
from zegel.edge.dns import Found, Resolver
from zegel.edge.log import Broken, NotReadyNow, ReadyAgain, log
from zegel.edge.tls import CertificateTrouble
from zegel.journey.custody import outbox
from zegel.journey.custody.jobs import Kind
from zegel.journey.custody.models import Job, Recipient, Sms, Submission, Transmission, WrongTry
from zegel.journey.decision.facts import LIST_LAPSES

if TYPE_CHECKING:
    from zegel.settings import Settings

T = TypeVar("T")
EVERY: Final = 15.0  # seconds between two looks
FRESH: Final = 60.0  # seconds; what was seen longer ago says nothing of now
PATIENCE: Final = 5.0  # seconds for the resolver
GUESSED: Final = 20  # wrong tries in a row, from one place or for one account
_HOUR: Final[Duration] = timedelta(hours=1)
_DAY: Final[Duration] = timedelta(hours=24)
_AT_ITS_TIME: Final = (Kind.EXPIRE, Kind.REMIND, Kind.UNREAD, Kind.RELEASE)  # may wait for years: no queue


# --- alarms ---------------------------------------------------------------------------------------------------------


def standing_of(organisation: Organisation, *, now: Instant) -> tuple[Alarm, ...]:
    """The alarms that stand for an organisation."""
    return alarms.of_organisation(found_of(organisation, now=now), now)


def standing_of_gateway(settings: Settings, *, now: Instant) -> tuple[Alarm, ...]:
    """The alarms that stand for the gateway as a whole."""
    return alarms.of_gateway(found_of_gateway(settings, now=now), now)


def found_of(organisation: Organisation, *, now: Instant) -> OrganisationFound:
    """What alarms of an organisation are judged by."""
    sent = _texts(organisation, now)
    return OrganisationFound(
        domains=[
            DomainFound(one.name, one.in_place, one.missing_since)
            for one in organisation.sending_domains.only("name", "in_place", "missing_since").order_by("name")
        ],
        lapsed=[
            (one.name, one.read_at)
            for one in organisation.direct_delivery_lists.exclude(url="").filter(read_at__lte=now - LIST_LAPSES)
            if one.read_at is not None
        ],
        capped=list(_capped(organisation, now)),
        texts_capped=_texts_capped(organisation, now),
        credentials_texts_capped=list(_credentials_texts_capped(organisation, now)),
        texts_sent=sent["sent"],
        texts_failed=sent["failed"],
        closed_out=_closed_out(organisation, now),
        oldest_mail=oldest_mail(organisation, made_before=now - MAIL_WAITS),
        given_up=outbox.given_up(organisation, now=now),
    )


def _texts_capped(organisation: Organisation, now: Instant) -> tuple[texts.TextLimit, ...]:
    used = texts_used_by(organisation, now=now)
    is_spent = texts.is_spent(text_money_of(organisation), used)
    found = texts.reached(text_caps_of(organisation), used)
    return (*found, texts.TextLimit.MONEY) if is_spent else found


def _credentials_texts_capped(organisation: Organisation, now: Instant) -> Iterator[str]:
    for one in organisation.smtp_credentials.filter(disabled_at=None).order_by("id"):
        caps = text_caps_of(one)
        if caps != texts.TextCaps() and texts.reached(caps, texts_used_by(one, now=now)):
            yield one.description


def _texts(organisation: Organisation, now: Instant) -> Counter[str]:
    """Text messages of the last hour, by how they ended."""
    lately = Sms.objects.filter(
        id__gte=chance.first_of(now - _HOUR), recipient__submission__organisation=organisation
    ).order_by()
    return Counter(dict(lately.values_list("state").annotate(number=Count("id"))))


def _capped(organisation: Organisation, now: Instant) -> Iterator[str]:
    credentials = organisation.smtp_credentials.filter(disabled_at=None).order_by("id")
    both: Sequence[Organisation | SmtpCredential] = (organisation, *credentials)
    for whose in both:
        caps = caps_of(whose)
        if caps != Caps() and (_is_reached(caps, used_by(whose, now=now)) or refused_of(whose, now=now)):
            yield whose.description if isinstance(whose, SmtpCredential) else whose.name


def _is_reached(caps: Caps, used: Used) -> bool:
    most = asdict(caps)
    so_far = {
        "messages_per_hour": used.messages_this_hour,
        "messages_per_day": used.messages_today,
        "recipients_per_hour": used.recipients_this_hour,
        "recipients_per_day": used.recipients_today,
    }
    return any(most[name] is not None and so_far[name] >= most[name] for name in so_far)


def _closed_out(organisation: Organisation, now: Instant) -> int:
    """Recipients for whom nobody may try another code today."""
    wrong = WrongTry.objects.filter(at__gt=now - _DAY, recipient__submission__organisation=organisation).order_by()
    tried = wrong.values("recipient").annotate(tries=Count("id")).filter(tries__gte=WRONG_PER_DAY)
    return tried.count()


def oldest_mail(organisation: Organisation, *, made_before: Instant | None = None) -> Instant | None:
    """When the oldest mail was made that no server took yet; messages and notifications, not reports and codes. With
    ``made_before`` only what waits for longer is gone through, and not a queue of this hour."""
    queued = Job.objects.filter(kind=Kind.TRANSMIT.value).values("subject")
    if made_before is not None:
        queued = queued.filter(subject__lt=chance.first_of(made_before))
    waiting = Transmission.objects.filter(
        id__in=queued,
        organisation=organisation,
        kind__in=(Transmission.Kind.READABLE, Transmission.Kind.NOTIFICATION),
    )
    return waiting.order_by("created_at").values_list("created_at", flat=True).first()


def waiting_mails(organisation: Organisation) -> int:
    """Mails of an organisation that no server took yet, of every kind."""
    queued = Job.objects.filter(kind=Kind.TRANSMIT.value).values("subject")
    return Transmission.objects.filter(id__in=queued, organisation=organisation).count()


def held_recipients(organisation: Organisation | None) -> int:
    """Recipients that lack what policy demands; ``None``: of all organisations."""
    held = Recipient.objects.filter(
        state=Recipient.State.HELD, submission__in=Job.objects.filter(kind=Kind.HELD.value).values("subject")
    )
    return (held if organisation is None else held.filter(submission__organisation=organisation)).count()


def found_of_gateway(settings: Settings, *, now: Instant) -> GatewayFound:
    """What alarms of the gateway are judged by."""
    due = Job.objects.filter(Q(leased_until=None) | Q(leased_until__lt=now), due_at__lte=now).order_by("due_at")
    guessed = SignInFailure.objects.filter(last_at__gt=now - _HOUR, failures__gte=GUESSED)
    backups = AuditEntry.objects.filter(chain=0, act=Act.BACKED_UP.value)
    return GatewayFound(
        certificates=certificates(settings, now=now),
        overdue_since=due.values_list("due_at", flat=True).first(),
        free=shutil.disk_usage(settings.folder).free,
        guessed=guessed.count(),
        backup_at=backups.order_by("-number").values_list("at", flat=True).first(),
        has_mail=Submission.objects.exists(),
        are_keys_copied=keyring.is_copied(settings.keys),
    )


def certificates(settings: Settings, *, now: Instant) -> tuple[CertificateFound, ...]:
    """Those that the gateway shows, as far as they are its own. A certificate that it made for itself is not among
    them: nobody goes by its end."""
    found = []
    submission = _submission_files(settings)
    if submission is not None:
        names = settings.acme_names() if settings.acme.directory else (settings.hostname,)
        found.append(_certificate(Shown.SUBMISSION, submission, names, now))
    portal = settings.portal
    if portal.certificate is not None and portal.certificate_key is not None:
        found.append(_certificate(Shown.PORTAL, (portal.certificate, portal.certificate_key), (), now))
    return tuple(found)


def _submission_files(settings: Settings) -> Files | None:
    section = settings.submission
    if section.certificate is not None and section.certificate_key is not None:
        return section.certificate, section.certificate_key
    if settings.acme.directory:
        given = acme_files(acme_folder(settings.keys, settings.acme.directory))
        return given if given[0].exists() or self_signed_files(settings.keys) is None else None
    return None


def _certificate(shown: Shown, files: Files, names: Sequence[str], now: Instant) -> CertificateFound:
    try:
        found = examine_certificate(files)
    except (CertificateTrouble, OSError):
        return CertificateFound(shown, None, None)
    return CertificateFound(shown, found.begins, found.ends, is_wrong=bool(found.faults(names, now)))


# --- gauges ---------------------------------------------------------------------------------------------------------

Gauges = dict[tuple[str, tuple[str, ...]], float]


def gauges(settings: Settings, *, now: Instant) -> Gauges:
    """All but those about the processes themselves."""
    gateway = found_of_gateway(settings, now=now)
    standing = list(alarms.of_gateway(gateway, now))
    for organisation in Organisation.objects.order_by("id"):
        standing += standing_of(organisation, now=now)
    overdue = (now - gateway.overdue_since).total_seconds() if gateway.overdue_since else 0.0
    values: Gauges = {
        (metrics.QUEUE_AGE.name, ()): _queue_age(now),
        (metrics.OVERDUE.name, ()): max(0.0, overdue),
        (metrics.HELD.name, ()): held_recipients(None),
        (metrics.FREE.name, ()): gateway.free,
        **_waiting(),
        **_domains(),
    }
    if gateway.backup_at is not None:
        values[metrics.BACKUP_AGE.name, ()] = (now - gateway.backup_at).total_seconds()
    for one in gateway.certificates:
        left = one.left(now)
        values[metrics.CERTIFICATE.name, (one.shown.value,)] = left.total_seconds() if left is not None else 0.0
    counts = Counter(one.condition for one in standing)
    for condition in alarms.Condition:
        values[metrics.ALARMS.name, (condition.value, condition.severity.value)] = counts[condition]
    return values


def _queue_age(now: Instant) -> float:
    """A job's subject says when its mail was made, and the index has the oldest first."""
    mails = Job.objects.filter(kind=Kind.TRANSMIT.value).order_by("subject")
    oldest = mails.values_list("subject", flat=True).first()
    return max(0.0, now.timestamp() - chance.made_at(oldest)) if oldest is not None else 0.0


def _waiting() -> Gauges:
    """Each kind by itself: what has its hour in years is not gone through."""
    kinds = [kind for kind in Kind if kind not in _AT_ITS_TIME]
    return {(metrics.WAITING.name, (kind.value,)): Job.objects.filter(kind=kind.value).count() for kind in kinds}


def _domains() -> Gauges:
    found = SendingDomain.objects.aggregate(
        may=Count("id", filter=Q(in_place=True, missing_since=None)),
        missing=Count("id", filter=Q(in_place=True, missing_since__isnull=False)),
        refused=Count("id", filter=Q(in_place=False)),
    )
    names = {"may": "may-send", "missing": "missing", "refused": "may-not-send"}
    return {(metrics.DOMAINS.name, (names[state],)): number for state, number in found.items()}


# --- ready ----------------------------------------------------------------------------------------------------------


def hindrances(settings: Settings, *, room: int) -> list[str]:
    """What of this machine keeps mail from being accepted: words of ours. ``room``: octets that must be free."""
    found = []
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        SendingDomain.objects.exists()
    except Exception:
        found.append("database")
    try:
        if not (settings.keys / keyring.SEALING).is_file() or not (settings.keys / keyring.OPENING).is_file():
            found.append("keys")
        if shutil.disk_usage(settings.folder).free < room:
            found.append("disk")
    except OSError:
        found.append("disk")
    return found


async def resolver_hindrance(settings: Settings, dns: Resolver, *, trusted: bool) -> list[str]:
    """The resolver answers; and validates, where it is believed about that."""
    try:
        answer = await asyncio.wait_for(dns.ask("test" if settings.testing else "nl", "SOA"), PATIENCE)
    except TimeoutError:
        return ["resolver"]
    if not isinstance(answer, Found):
        return ["resolver"]
    return [] if answer.secure or not trusted or settings.testing else ["resolver does not validate"]


@dataclass(slots=True)
class _Seen:
    at: float  # of the monotonic clock
    why: tuple[str, ...]


class Watch:
    """Looks every :data:`EVERY` seconds, and remembers what it saw: whoever asks makes no work."""

    def __init__(
        self,
        settings: Settings,
        totals: metrics.Totals,
        dns: Resolver,
        now: Callable[[], Instant],
        *,
        room: int,
        trusted: bool,
    ) -> None:
        """``room``: octets that must be free. ``trusted``: the resolver is believed about DNSSEC."""
        self._settings, self._totals, self._dns, self._now = settings, totals, dns, now
        self._room, self._trusted = room, trusted
        self._seen: _Seen | None = None

    def is_ready(self) -> bool:
        """As of the last look, if that was lately."""
        seen = self._seen
        return seen is not None and not seen.why and time.monotonic() - seen.at < FRESH

    async def keep_looking(self, *, every: float = EVERY) -> None:
        """Until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(every)

    async def look(self) -> None:
        """Once; never raises."""
        found = await asyncio.to_thread(_closing, lambda: hindrances(self._settings, room=self._room))
        why = ["not known"] if found is None else found  # the look itself failed: nobody knows that it is ready
        why += await resolver_hindrance(self._settings, self._dns, trusted=self._trusted)
        self._tell(tuple(why))
        taken: Gauges | None = None
        if found is not None and "database" not in found:
            taken = await asyncio.to_thread(_closing, lambda: gauges(self._settings, now=self._now()))
        self._show(taken or {})

    def _tell(self, why: tuple[str, ...]) -> None:
        before = self._seen.why if self._seen is not None else ()
        if why and why != before:
            log(NotReadyNow(", ".join(why)))
        if before and not why:
            log(ReadyAgain())
        self._seen = _Seen(time.monotonic(), why)

    def _show(self, taken: Gauges) -> None:
        values = dict(taken)
        values[metrics.READY.name, ()] = float(self.is_ready())
        values[metrics.VERSION_INFO.name, (VERSION,)] = 1.0
        if taken:
            values[metrics.LOOKED.name, ()] = self._now().timestamp()
        for role, number in self._totals.running(time.monotonic()).items():
            values[metrics.PROCESSES.name, (role,)] = number
        self._totals.set_gauges(values)


def _closing(work: Callable[[], T]) -> T | None:
    """In a thread, with a connection of its own; ``None`` where it failed."""
    try:
        return work()
    except Exception as cause:
        log(Broken("watch", cause))
        return None
    finally:
        connection.close()
