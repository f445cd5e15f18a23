"""The listener on port 25: bounces of our own mail come home here, and nothing else is taken (ADR 31).

A recipient is a return path that we made for one mail; every other address is refused, so nothing can be relayed.
Who knows a return path got that mail. What is said there can change how that mail ended, or tell a sender who asked for
it that it was delivered or takes long, and nothing more.
"""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.mail.bounce import (
    LARGEST_READ,
    Arrived,
    AutoReply,
    Bounced,
    Delayed,
    Failed,
    Unclear,
    read_bounce,
    success_of,
    with_status,
)
from zegel.core.mail.dsn import wants
from zegel.core.mail.reply import Reply
from zegel.core.policy.ended import Ended
from zegel.core.smtp import dsn
from zegel.core.smtp.server import Mail, Profile
from zegel.core.smtp.server import Recipient as RcptTo
from zegel.edge import smtp_door
from zegel.edge.database import Readers, Writer
from zegel.edge.log import BounceHeard, Broken, log
from zegel.edge.smtp_door import Door, Verdict
from zegel.journey import milestones, steps
from zegel.journey.custody.forgetting import is_nobody
from zegel.journey.custody.models import Attempt, Confirmation, Recipient, Transmission

MOST_CONNECTIONS: Final = 200  # per process; all of them are strangers
LARGEST: Final = 20_000_000  # octets; some servers send the whole message back
REMEMBERED: Final = timedelta(days=30)  # how long after it was made a return path is taken
MOST_SAID: Final = 20  # of one mail; what comes then is taken and forgotten

SENDER_OK: Final = Reply(250, "2.1.0", "Sender accepted")
RECIPIENT_OK: Final = Reply(250, "2.1.5", "Recipient accepted")
GO_AHEAD: Final = Reply(354, None, "Send the message, end with a line that holds a dot only")
NOBODY: Final = Reply(550, "5.1.1", "This server takes bounces of its own mail only, and there is no such address")
TAKEN: Final = Reply(250, "2.6.0", "Thank you")
PROBLEM: Final = Reply(451, "4.3.0", "Local problem; try again later")
NOT_YET: Final = Reply(451, "4.3.0", "That mail is still on its way; try again later")


class StillOnItsWay(Exception):
    """What came back has not left yet, as far as is recorded: the server that took it was quicker than we."""


@dataclass(slots=True)
class Homecoming:
    """What all connections of a process share."""

    hostname: str
    writer: Writer
    readers: Readers
    now: Callable[[], Instant]
    ring: Callable[[], None]  # wakes who tells the sender

    def door(self, tls: ssl.SSLContext, **limits: Any) -> Door:
        """A door that leads here: STARTTLS is offered, and not demanded of strangers who have only bounces to bring."""
        profile = Profile(
            hostname=self.hostname,
            requires_tls=False,
            offers_auth=False,
            max_size=LARGEST,
            max_recipients=50,
            max_idle_commands=50,
        )
        limits.setdefault("most_connections", MOST_CONNECTIONS)
        return Door(profile, tls, lambda door, implicit_tls: Session(self, door, implicit_tls=implicit_tls), **limits)


class Session(smtp_door.Session):
    """One connection of a server that brings something back."""

    def __init__(self, home: Homecoming, door: Door, *, implicit_tls: bool) -> None:
        super().__init__(door, implicit_tls)
        self._home = home
        self._is_null = True
        self._about: list[uuid.UUID] = []
        self._octets = bytearray()

    def begin(self, event: Mail) -> Verdict:
        """Anybody may begin: a bounce has no sender, and out-of-office answers have one."""
        self.drop()
        self._is_null = not isinstance(event.reverse_path, Mailbox)
        return SENDER_OK

    def add(self, event: RcptTo) -> Verdict:
        """Our own return paths, while they are remembered."""
        transmission = steps.transmission_of(event.mailbox)
        return NOBODY if transmission is None else self._find(transmission, event.mailbox)

    async def _find(self, transmission: uuid.UUID, mailbox: Mailbox) -> Reply:
        home = self._home
        try:
            is_ours = await home.readers.read(lambda: _is_known(transmission, mailbox, home.now()))
        except Exception as cause:
            log(Broken("inbound", cause))
            return PROBLEM
        if not is_ours:
            return NOBODY
        self._about.append(transmission)
        return RECIPIENT_OK

    def begin_content(self) -> Reply:
        """Its beginning is kept in memory, and nothing on disk."""
        return GO_AHEAD

    def take(self, octets: bytes) -> None:
        """Up to what is read of it."""
        if len(self._octets) < LARGEST_READ:
            self._octets += octets[: LARGEST_READ - len(self._octets)]

    async def end_content(self) -> Reply:
        """250 once what follows from it is durable."""
        bounced = read_bounce(bytes(self._octets), is_null_reverse_path=self._is_null)
        about, home = list(dict.fromkeys(self._about)), self._home
        self.drop()
        try:
            await home.writer.write(lambda: _record(about, bounced, home.now()))
        except StillOnItsWay:
            return NOT_YET
        except Exception as cause:
            log(Broken("inbound", cause))
            return PROBLEM
        home.ring()
        for one in about:
            log(BounceHeard(one, type(bounced).__name__))
        return TAKEN

    def drop(self) -> None:
        """Nothing was kept outside memory."""
        self._is_null = True
        self._about.clear()
        self._octets.clear()


def _is_known(transmission: uuid.UUID, mailbox: Mailbox, now: Instant) -> bool:
    found = Transmission.objects.filter(id=transmission, created_at__gt=now - REMEMBERED).values_list("reverse_path")
    return any(path.lower() == str(mailbox).lower() for (path,) in found)


def _record(about: list[uuid.UUID], bounced: Bounced, now: Instant) -> None:
    for transmission in about:
        record(transmission, bounced, now=now)


def record(transmission: uuid.UUID, bounced: Bounced, *, now: Instant) -> None:
    """Inside a transaction: what came home stands in the trace; a failure ends a recipient who hasn't read yet, and
    the sender is told. So is a sender who asked to hear of delay or of success, and nothing else changes by that.
    Twice the same changes nothing more; nor does what is about a mail that another one replaced.

    Raises :class:`StillOnItsWay` for what would follow from a mail about which that can't be said yet.
    """
    row = Transmission.objects.select_related("recipient").filter(id=transmission).first()
    if row is None or row.attempts.filter(outcome__in=steps.CAME_HOME).count() >= MOST_SAID:
        return
    if row.state == Transmission.State.QUEUED and _is_awaited(row, bounced):
        raise StillOnItsWay
    status, diagnostic, host = _said(bounced)
    Attempt.objects.create(
        transmission=row,
        at=now,
        host=host,
        outcome=_NAMES[type(bounced)],
        reply=status if is_nobody(row.address) else (diagnostic or status)[:500],
    )
    is_of_the_message = row.answer_id is None  # an answer that came back says nothing of the message, which arrived
    recipient = row.recipient if row.state == Transmission.State.SENT and is_of_the_message else None
    if recipient is None:
        return
    match bounced:
        case Failed() if recipient.state in _UNREAD:
            steps.give_up(recipient, status=status, reason=Ended.CAME_BACK.value, now=now)
        case Delayed() if row.kind == Transmission.Kind.READABLE:
            _delay(row, recipient, now)
        case Arrived() if row.kind == Transmission.Kind.READABLE:
            _confirm(recipient, bounced, now)
        case _:
            pass


def _is_awaited(row: Transmission, bounced: Bounced) -> bool:
    """Something would be lost if it were taken now: the failure, or the success that the sender asked to hear of."""
    if isinstance(bounced, Arrived) and row.recipient is not None and row.kind == Transmission.Kind.READABLE:
        return wants(_notify(row.recipient), "delivered")
    return isinstance(bounced, Failed)


def _notify(recipient: Recipient) -> frozenset[str]:
    return frozenset(filter(None, recipient.notify.split(",")))


def _delay(row: Transmission, recipient: Recipient, now: Instant) -> None:
    """The sender hears once for each recipient that it takes long (RFC 3464 §2.3.3: ``delayed``), from whomever."""
    mails = Transmission.objects.filter(recipient=recipient)
    is_told = not wants(_notify(recipient), "delayed") or mails.filter(warned=True).exists()
    if recipient.state == Recipient.State.DELIVERED and not is_told:
        mails.filter(id=row.id).update(warned=True)
        milestones.delayed([recipient.id], now=now)


def _confirm(recipient: Recipient, arrived: Arrived, now: Instant) -> None:
    """Where the server was asked for it, and about our recipient: once. What is known of the recipient stays as it is:
    who got the message hasn't read it by that, and who never got it can't be made to have it by a word from outside."""
    said = success_of(arrived, _names(recipient))
    if said is None or recipient.state not in _SERVED:
        return
    waiting = Confirmation.objects.filter(recipient=recipient, action="")
    host = steps.without_links(arrived.reporting_mta)
    if waiting.update(action=said.action, status=said.status, host=host, at=now):
        milestones.confirmed([recipient.id], now=now)


def _names(recipient: Recipient) -> list[str]:
    """What a report may call it: its address, or what was said to be the original one, as it stands there or decoded
    (RFC 3461 §6.3)."""
    mailbox = Mailbox.parse(recipient.address)
    sent = dsn.original_recipient(dsn.Asked(recipient.original), mailbox) or ""
    found = (recipient.address, mailbox.key, sent.partition(";")[2], recipient.original.partition(";")[2])
    return [" ".join(one.split()) for one in found if one]


_UNREAD: Final = frozenset({Recipient.State.NOTIFIED, Recipient.State.DELIVERED})
_SERVED: Final = frozenset({Recipient.State.DELIVERED, Recipient.State.OPENED})
_NAMES: Final[dict[type[Bounced], str]] = {
    Failed: "Bounced",
    Delayed: "DelayedElsewhere",
    Arrived: "ArrivedElsewhere",
    AutoReply: "AutoReply",
    Unclear: "Unclear",
}


def _said(bounced: Bounced) -> tuple[str, str, str]:
    """Status, words and host. No link stands in what servers say of our mail: they may quote it."""
    match bounced:
        case Failed(status, diagnostic, host):
            return status, steps.without_links(diagnostic), steps.without_links(host)
        case Delayed(status, diagnostic, host):
            words = steps.without_links(diagnostic)
            return status, with_status(status, words), steps.without_links(host)
        case Arrived(said, reporting_mta):
            return " ".join((said[0].action, said[0].status) if said else ()), "", steps.without_links(reporting_mta)
        case AutoReply() | Unclear():
            return "", "", ""
