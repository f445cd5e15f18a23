"""The listeners on ports 587 and 465: who submits, by what proof, and what becomes of the message."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Final

from zegel.accounts.credentials import count_failure
from zegel.core.mail.address import Mailbox
from zegel.core.mail.reply import Reply
from zegel.core.policy.submitting import AUTHENTICATION_REQUIRED, SPF_REPLIES, Spf, is_guessing, network_of
from zegel.core.smtp.server import TOO_MANY_SIGN_INS, Authenticate, Mail, Profile, Recipient
from zegel.edge import smtp_door
from zegel.edge.log import Broken, SignInRefused, SubmissionRefused, log
from zegel.edge.smtp_door import Door, Verdict
from zegel.edge.spf import check_host
from zegel.journey.arrival.intake import (
    DISK_FULL,
    LOCAL_PROBLEM,
    Client,
    Envelope,
    Intake,
    Place,
)
from zegel.journey.arrival.record import AcceptedRecipient
from zegel.journey.arrival.sender import (
    AUTHENTICATED,
    BAD_CREDENTIALS,
    NOT_KNOWN_NOW,
    OTHER_DOMAIN,
    Submitter,
    authenticate,
    by_spf,
    demands_both,
    note_use,
    spf_is_in_use,
)

MOST_SPF_CHECKS: Final = 50  # at the same time, per process, of strangers and of who has signed in: each
MOST_SPF_CHECKS_OF_A_NETWORK: Final = 10  # of strangers
SPF_PATIENCE: Final = 30.0  # seconds for an evaluation and the wait before it
SENDER_OK: Final = Reply(250, "2.1.0", "Sender accepted")
RECIPIENT_OK: Final = Reply(250, "2.1.5", "Recipient accepted")
GO_AHEAD: Final = Reply(354, None, "Send the message, end with a line that holds a dot only")


@dataclass(slots=True)
class Desk:
    """What all submissions of a process share."""

    place: Place
    has_room: bool = True  # kept by the space watch: below the minimum every submission gets 452 (P4)
    notes: set[asyncio.Task[None]] = field(default_factory=set)
    spf_checks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_SPF_CHECKS))
    spf_checks_of_clients: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_SPF_CHECKS))
    spf_networks: Counter[str] = field(default_factory=Counter)  # evaluations under way

    def door(self, profile: Profile, tls: ssl.SSLContext, **limits: Any) -> Door:
        """A door that leads here; ``limits`` are those of :class:`~zegel.edge.smtp_door.Door`."""
        return Door(
            profile,
            tls,
            lambda door, implicit_tls: Session(self, door, implicit_tls=implicit_tls),
            chores=self.place.wrapper.forget_if_old,
            **limits,
        )


class Session(smtp_door.Session):
    """One connection of a client that submits."""

    def __init__(self, desk: Desk, door: Door, *, implicit_tls: bool) -> None:
        super().__init__(door, implicit_tls)
        self._desk = desk
        self._submitter: Submitter | None = None  # of the connection
        self._by_spf: Submitter | None = None  # of one transaction, in place of it
        self._envelope: Envelope | None = None
        self._intake: Intake | None = None
        self._asks_spf = False
        self._smtputf8 = False

    @property
    def is_signed_in(self) -> bool:
        """The client has authenticated, in one way or the other."""
        return self._submitter is not None or self._by_spf is not None

    @property
    def is_proving(self) -> bool:
        """The verdict under way is a handshake or SPF: the client is still a stranger."""
        return super().is_proving or self._asks_spf

    # --- the envelope ---------------------------------------------------------------------------------------------

    def begin(self, event: Mail) -> Verdict:
        """For who has signed in at once; else SPF is asked."""
        self._by_spf = None
        if self._submitter is None or self._submitter.needs_spf:
            return self._begin_by_spf(event)
        return self._begin(event)

    def _begin(self, event: Mail) -> Reply:
        if not self._desk.has_room:
            return DISK_FULL
        self._smtputf8 = event.parameters.smtputf8
        self._envelope = Envelope(
            event.reverse_path, event.parameters.envid or "", requires_tls=event.parameters.requiretls
        )
        return SENDER_OK

    async def _begin_by_spf(self, event: Mail) -> Reply:
        self._asks_spf = True
        try:
            return await self._judge_by_spf(event)
        finally:
            self._asks_spf = False

    async def _judge_by_spf(self, event: Mail) -> Reply:
        """Without credentials, or beside them, the address of the client and the reverse-path have to prove the
        sender (D-8). A null reverse-path proves nothing. Which organisations and domains are here is not revealed:
        what SPF says is said of any domain, and ``pass`` for one that nobody here has is the usual refusal."""
        place, signed_in, path = self._desk.place, self._submitter, event.reverse_path
        try:
            if signed_in is not None and not await place.readers.read(lambda: demands_both(signed_in.organisation)):
                self._submitter = replace(signed_in, needs_spf=False)  # no longer
                return self._begin(event)
            if not isinstance(path, Mailbox):
                return AUTHENTICATION_REQUIRED if signed_in is None else SPF_REPLIES[Spf.NONE]
            if signed_in is None and not await place.readers.read(spf_is_in_use):
                return AUTHENTICATION_REQUIRED
            result = await self._ask_spf(path)
            if result is not Spf.PASS:
                log(SignInRefused(self.peer, why=f"spf {result.value}"))
                return SPF_REPLIES[result]
            found = await place.readers.read(lambda: by_spf(path.domain, self.peer, signed_in))
        except Exception as cause:
            log(Broken("spf", cause))
            return LOCAL_PROBLEM
        if found is None:
            log(SignInRefused(self.peer, why="spf pass, but not for a domain and network that were allowed"))
            return AUTHENTICATION_REQUIRED if signed_in is None else OTHER_DOMAIN
        self._by_spf = found
        return self._begin(event)

    async def _ask_spf(self, path: Mailbox) -> Spf:
        """Who has signed in waits for no stranger, and no network of strangers for another: each evaluation may take
        its time. Who finds no place is told to come again."""
        checks = self._desk.spf_checks if self._submitter is None else self._desk.spf_checks_of_clients
        network = network_of(self.peer)
        waiting = self._desk.spf_networks
        if self._submitter is None and waiting[network] >= MOST_SPF_CHECKS_OF_A_NETWORK:
            return Spf.TEMPERROR
        waiting[network] += 1
        try:
            async with asyncio.timeout(SPF_PATIENCE), checks:
                return await check_host(
                    address=self.peer,
                    domain=path.domain,
                    sender=str(path),
                    helo=self.machine.helo or "",
                    dns=self._desk.place.dns,
                )
        except TimeoutError:
            return Spf.TEMPERROR
        finally:
            waiting[network] -= 1
            if not waiting[network]:
                del waiting[network]

    def add(self, event: Recipient) -> Verdict:
        """Whoever may submit may write to anybody."""
        assert self._envelope is not None
        given = event.parameters
        original = f"{given.orcpt[0]};{given.orcpt[1]}" if given.orcpt else ""
        self._envelope.recipients.append(AcceptedRecipient(event.mailbox, given.notify, original[:500]))
        return RECIPIENT_OK

    # --- the content ----------------------------------------------------------------------------------------------

    def begin_content(self) -> Reply:
        """From here on the intake has it."""
        submitter = self._by_spf or self._submitter
        assert self._envelope is not None and submitter is not None
        client = Client(
            self.peer,
            self.machine.helo or "unknown",
            self.tls,
            signed_in=self._submitter is not None,
            smtputf8=self._smtputf8,
        )
        self._intake = Intake(self._desk.place, submitter, client, self._envelope)
        return GO_AHEAD

    def take(self, octets: bytes) -> None:
        """Also of content that was refused, which nobody takes."""
        if self._intake is not None:
            self._intake.feed(octets)

    async def end_content(self) -> Reply:
        """The verdict of the intake: 250 once it is durable and sealed (P2)."""
        intake, self._intake, self._envelope, self._by_spf = self._intake, None, None, None
        if intake is None:
            return LOCAL_PROBLEM
        reply = await intake.finish()
        if not reply.is_positive:
            log(SubmissionRefused(f"{reply.code} {reply.status}", self.peer))
        return reply

    def drop(self) -> None:
        """Leaves nothing behind."""
        if self._intake is not None:
            self._intake.abandon()
        self._intake = self._envelope = self._by_spf = None

    # --- signing in -----------------------------------------------------------------------------------------------

    async def authenticate(self, event: Authenticate) -> Reply:
        """SMTP credentials (RFC 4954 §4)."""
        username, password, place = event.username, event.password, self._desk.place
        try:
            found = await place.readers.read(lambda: authenticate(username, password, self.peer))
        except Exception as cause:
            log(Broken("sign-in", cause))
            return NOT_KNOWN_NOW
        if isinstance(found, str):
            return await self._refuse_sign_in(found)
        self._submitter = found
        if found.is_to_be_noted:
            note = asyncio.create_task(self._note_use(found))
            self._desk.notes.add(note)
            note.add_done_callback(self._desk.notes.discard)
        return AUTHENTICATED

    async def _refuse_sign_in(self, why: str) -> Reply:
        """Failures of one network count together, in the database, for all processes. A right secret is never refused
        for somebody else's failures: it can't be guessed, so slowing down is for our sake and not for the secret's."""
        log(SignInRefused(self.peer, why=why))
        key, network = self._desk.place.keys.failures, network_of(self.peer)
        whose = hmac.new(key.reveal(), network.encode(), hashlib.sha256).digest()
        now = self._desk.place.now()
        try:
            failures = await self._desk.place.writer.write(lambda: count_failure(whose, now=now))
        except Exception as cause:  # nothing can be written: no reason to be less polite
            log(Broken("count of failed sign-ins", cause))
            return BAD_CREDENTIALS
        return TOO_MANY_SIGN_INS if is_guessing(failures) else BAD_CREDENTIALS

    async def _note_use(self, submitter: Submitter) -> None:
        """Nobody waits for it: on a full disk the message is refused, with 452, and not the sign-in (P4)."""
        try:
            await self._desk.place.writer.write(lambda: note_use(submitter))
        except Exception as cause:
            log(Broken("last use of credentials", cause))
