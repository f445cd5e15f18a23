"""Delivery: what follows from how an attempt ended.

An attempt is made for one step of a plan at one host. Its outcome goes in here; what comes out says whether to go on
at another host, later, with the next step, or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, assert_never

from zegel.core.clock import Duration
from zegel.core.mail.reply import Reply
from zegel.core.policy.nta7516 import Standing
from zegel.core.policy.precedence import Notify, Readable, Undeliverable
from zegel.core.policy.retry import RetryPolicy, next_try
from zegel.core.policy.transport import TransportSecurity
from zegel.core.policy.wording import Wording


class Stage(IntEnum):
    """How far the dialogue had come: the command that was answered, or was never answered."""

    CONNECT = 1
    GREETING = 2
    EHLO = 3
    STARTTLS = 4
    MAIL = 5
    RCPT = 6
    DATA = 7
    END_OF_DATA = 8  # the final dot (or the last BDAT chunk)


# --- outcomes ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Accepted:
    """2yz after the final dot. ``confirms``: the server was asked to report success, as it announced that it does."""

    confirms: bool = False


@dataclass(frozen=True, slots=True)
class InsufficientSecurity:
    """This connection fell short of what the step needs, or of what DANE demands of every mail; nothing was sent.
    ``why``: where it was never made, since something else forbids it."""

    reached: TransportSecurity
    why: Wording | None = None


@dataclass(frozen=True, slots=True)
class NetworkFailure:
    """No connection, a connection that broke, or a server that fell silent."""

    stage: Stage = Stage.CONNECT


@dataclass(frozen=True, slots=True)
class Deferred:
    """4yz."""

    reply: Reply
    stage: Stage


@dataclass(frozen=True, slots=True)
class Refused:
    """5yz."""

    reply: Reply
    stage: Stage


@dataclass(frozen=True, slots=True)
class NoSuchDomain:
    """The recipient's domain does not exist (NXDOMAIN), or has neither MX nor address. A missing *host* of an MX or
    ntamx is a :class:`NetworkFailure`."""


@dataclass(frozen=True, slots=True)
class NullMx:
    """The recipient's domain says that it takes no mail (RFC 7505)."""


@dataclass(frozen=True, slots=True)
class DnsTrouble:
    """No answer, SERVFAIL or a bogus one: nothing is known, not even that a host may be used (RFC 7672 §2.1.2)."""


Outcome = Accepted | InsufficientSecurity | NetworkFailure | Deferred | Refused | NoSuchDomain | NullMx | DnsTrouble


# --- what follows ------------------------------------------------------------------------------------------------


class Cause(Wording):
    """Why a step failed, for the trace and for the report to the sender; each ends with the remedy."""

    LEVEL_NOT_REACHED = (
        "level-not-reached",
        "The receiving server doesn't reach the demanded level of transport security. Choose another method of "
        "verification for this recipient, or ask the recipient's administrator.",
        "De ontvangende server haalt het gevraagde niveau van transportbeveiliging niet. Kies voor deze ontvanger een "
        "andere verificatiemethode, of vraag de beheerder van de ontvanger.",
    )
    REQUIRETLS_NOT_MET = (
        "requiretls-not-met",
        "The message was sent with REQUIRETLS, and the receiving server doesn't promise it over a proven connection. "
        "Send it without, or choose a method of verification for this recipient.",
        "Het bericht is verstuurd met REQUIRETLS, en de ontvangende server zegt dat niet toe over een bewezen "
        "verbinding. Verstuur het zonder, of kies een verificatiemethode voor deze ontvanger.",
    )
    NO_CONNECTION = (
        "no-connection",
        "The receiving server could not be reached within the time that is allowed. Send the message again later.",
        "De ontvangende server was binnen de toegestane tijd niet bereikbaar. Verstuur het bericht later opnieuw.",
    )
    DEFERRED_TOO_LONG = (
        "deferred-too-long",
        "The receiving server kept asking to try again later. Send the message again later, or ask the recipient.",
        "De ontvangende server bleef vragen om het later te proberen. Verstuur het bericht later opnieuw, of vraag het "
        "de ontvanger.",
    )
    DNS_TOO_LONG = (
        "dns-too-long",
        "The name servers of the recipient's domain gave no usable answer. Send the message again later.",
        "De naamservers van het domein van de ontvanger gaven geen bruikbaar antwoord. Verstuur het bericht later "
        "opnieuw.",
    )
    SERVER_REFUSES = (
        "server-refuses",
        "The receiving server takes no mail from this gateway. Ask the administrator to read the server's answer.",
        "De ontvangende server neemt geen post van deze gateway aan. Vraag de beheerder het antwoord van de server te "
        "lezen.",
    )
    RECIPIENT_REFUSED = (
        "recipient-refused",
        "The receiving server refuses this recipient. Check the address.",
        "De ontvangende server weigert deze ontvanger. Controleer het adres.",
    )
    MESSAGE_REFUSED = (
        "message-refused",
        "The receiving server refuses the message. Its answer says why.",
        "De ontvangende server weigert het bericht. In het antwoord staat waarom.",
    )
    TOO_LARGE = (
        "too-large",
        "The message is too large for the receiving server.",
        "Het bericht is te groot voor de ontvangende server.",
    )
    NO_SUCH_DOMAIN = (
        "no-such-domain",
        "The recipient's domain doesn't exist. Check the address.",
        "Het domein van de ontvanger bestaat niet. Controleer het adres.",
    )
    TAKES_NO_MAIL = (
        "takes-no-mail",
        "The recipient's domain takes no mail. Check the address.",
        "Het domein van de ontvanger neemt geen post aan. Controleer het adres.",
    )
    NTA_SENDER_RECORD = (
        "nta-sender-record",
        "Not possible over NTA 7516: the sender's domain has no NTA 7516 record that is valid and in force. "
        "Ask the sender's administrator.",
        "Niet mogelijk via NTA 7516: het domein van de verzender heeft geen NTA 7516-record dat geldig en van "
        "kracht is. Vraag het de beheerder van de verzender.",
    )
    NTA_SENDER_DMARC = (
        "nta-sender-dmarc",
        "Not possible over NTA 7516: the DMARC policy of the sender's domain is not quarantine or reject. "
        "Ask the sender's administrator.",
        "Niet mogelijk via NTA 7516: het DMARC-beleid van het domein van de verzender is niet quarantine of "
        "reject. Vraag het de beheerder van de verzender.",
    )
    NTA_SENDER_SPF = (
        "nta-sender-spf",
        "Not possible over NTA 7516: SPF of the sender's domain doesn't allow the gateway. Ask the sender's "
        "administrator.",
        "Niet mogelijk via NTA 7516: SPF van het domein van de verzender staat de gateway niet toe. Vraag het de "
        "beheerder van de verzender.",
    )
    NTA_SENDER_DKIM = (
        "nta-sender-dkim",
        "Not possible over NTA 7516: the gateway has no DKIM key of the sender's domain. Ask the sender's "
        "administrator.",
        "Niet mogelijk via NTA 7516: de gateway heeft geen DKIM-sleutel van het domein van de verzender. Vraag "
        "het de beheerder van de verzender.",
    )
    NTA_RECIPIENT_NO_RECORD = (
        "nta-recipient-no-record",
        "Not possible over NTA 7516: the recipient's domain publishes no NTA 7516 record any more. Ask the "
        "recipient's administrator.",
        "Niet mogelijk via NTA 7516: het domein van de ontvanger publiceert geen NTA 7516-record meer. Vraag het "
        "de beheerder van de ontvanger.",
    )
    NTA_RECIPIENT_INVALID = (
        "nta-recipient-invalid",
        "Not possible over NTA 7516: the NTA 7516 record of the recipient's domain is not valid. Ask the "
        "recipient's administrator.",
        "Niet mogelijk via NTA 7516: het NTA 7516-record van het domein van de ontvanger is niet geldig. Vraag "
        "het de beheerder van de ontvanger.",
    )
    NTA_RECIPIENT_OUT_OF_DATE = (
        "nta-recipient-out-of-date",
        "Not possible over NTA 7516: the NTA 7516 record of the recipient's domain is not in force. Ask the "
        "recipient's administrator.",
        "Niet mogelijk via NTA 7516: het NTA 7516-record van het domein van de ontvanger is niet van kracht. "
        "Vraag het de beheerder van de ontvanger.",
    )
    NTA_RECIPIENT_NOT_SIGNED = (
        "nta-recipient-not-signed",
        "Not possible over NTA 7516: the NTA 7516 record of the recipient's domain is not protected by "
        "DNSSEC. Ask the recipient's administrator.",
        "Niet mogelijk via NTA 7516: het NTA 7516-record van het domein van de ontvanger is niet met DNSSEC "
        "beveiligd. Vraag het de beheerder van de ontvanger.",
    )
    NTA_NO_PROVEN_HOST = (
        "nta-no-proven-host",
        "Not possible over NTA 7516: none of the recipient's servers proves with DNSSEC and DANE that it is "
        "the right one. Ask the recipient's administrator.",
        "Niet mogelijk via NTA 7516: geen van de servers van de ontvanger bewijst met DNSSEC en DANE dat het de "
        "juiste is. Vraag het de beheerder van de ontvanger.",
    )


# How the two domains stood when the message was to leave; a standing that isn't here stops no mail for good.
NTA_SENDER: Final[Mapping[Standing, Cause]] = {
    Standing.NO_RECORD: Cause.NTA_SENDER_RECORD,
    Standing.INVALID_RECORD: Cause.NTA_SENDER_RECORD,
    Standing.OUT_OF_DATE: Cause.NTA_SENDER_RECORD,
    Standing.DMARC_TOO_WEAK: Cause.NTA_SENDER_DMARC,
    Standing.SPF_DOES_NOT_PASS: Cause.NTA_SENDER_SPF,
}
NTA_RECIPIENT: Final[Mapping[Standing, Cause]] = {
    Standing.NO_RECORD: Cause.NTA_RECIPIENT_NO_RECORD,
    Standing.INVALID_RECORD: Cause.NTA_RECIPIENT_INVALID,
    Standing.OUT_OF_DATE: Cause.NTA_RECIPIENT_OUT_OF_DATE,
    Standing.NOT_SIGNED: Cause.NTA_RECIPIENT_NOT_SIGNED,
}


@dataclass(frozen=True, slots=True)
class Done:
    """The receiving server has taken responsibility."""


@dataclass(frozen=True, slots=True)
class NextHost:
    """Try the next MX host (or address) now."""


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Begin this step again, first host first, after this delay."""

    delay: Duration


@dataclass(frozen=True, slots=True)
class NextStep:
    """This step failed for good; the plan goes on. Kept, because it is the answer if nothing else succeeds."""

    status: str
    why: Wording


@dataclass(frozen=True, slots=True)
class Bounce:
    """Tell the sender; the plan is over."""

    status: str
    why: Wording


@dataclass(frozen=True, slots=True)
class LargePartsBecomeLinks:
    """Make the readable message smaller and try the same host again."""


Next = Done | NextHost | RetryAt | NextStep | Bounce | LargePartsBecomeLinks


# Enhanced status codes (RFC 3463 §3 and its registry, RFC 5248). 5.7.30 is for messages that came with REQUIRETLS
# (RFC 8689) alone; 5.7.10 speaks of authentication mechanisms and does not fit.
TRANSPORT_NOT_SUPPORTED: Final = "5.7.4"  # RFC 3463 §3.8: TLS missing or too old
SERVER_NOT_AUTHENTICATED: Final = "5.7.5"  # RFC 3463 §3.8: the certificate, or the TLSA record, proves nothing
REQUIRETLS_NEEDED: Final = "5.7.30"  # RFC 8689 §5
TIME_EXPIRED: Final = "5.4.7"  # RFC 3463 §3.5
TOO_BIG: Final = "5.3.4"  # RFC 3463 §3.4
NO_SUCH_SYSTEM: Final = "5.1.2"  # RFC 3463 §3.2
NULL_MX_STATUS: Final = "5.1.10"  # RFC 7505 §4.2
UNSPECIFIED: Final = "5.0.0"


# --- the rules ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CodeMail:
    """A mail with a code, asked for by a person who waits; like a notification, but its level may be demanded."""

    needs: TransportSecurity | None = None


Carried = Readable | Notify | CodeMail


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the step stands when the outcome comes in."""

    tries: int  # of this step, this one included
    age: Duration  # since the message was accepted or released from a hold; a code mail: since the code was asked for
    more_hosts: bool = False  # hosts or addresses that were not tried in this round
    can_shrink: bool = False  # parts are left that may become links (never S/MIME or PGP)


class _Then(IntEnum):
    """What a 5yz means; the whole dialogue in three words."""

    NEXT_HOST_THEN_ROW = 1
    BOUNCE_RECIPIENT = 2
    BOUNCE_MESSAGE = 3


_AFTER_5YZ: Final[Mapping[Stage, _Then]] = {
    Stage.CONNECT: _Then.NEXT_HOST_THEN_ROW,
    Stage.GREETING: _Then.NEXT_HOST_THEN_ROW,
    Stage.EHLO: _Then.NEXT_HOST_THEN_ROW,
    Stage.STARTTLS: _Then.NEXT_HOST_THEN_ROW,
    Stage.MAIL: _Then.NEXT_HOST_THEN_ROW,
    Stage.RCPT: _Then.BOUNCE_RECIPIENT,
    Stage.DATA: _Then.BOUNCE_MESSAGE,
    Stage.END_OF_DATA: _Then.BOUNCE_MESSAGE,
}


def after(carried: Carried, outcome: Outcome, *, progress: Progress, retry: RetryPolicy, spread: float) -> Next:
    """What to do now. Never lowers a demand, never tries again what is refused for good, and always ends: with
    ``retry`` used up a readable step gives way to the next one and a mail of our own bounces.

    Only a readable step is ever answered with :class:`NextStep` or :class:`LargePartsBecomeLinks`.
    """
    match outcome:
        case Accepted():
            return Done()
        case NoSuchDomain():
            return Bounce(NO_SUCH_SYSTEM, Cause.NO_SUCH_DOMAIN)
        case NullMx():
            return Bounce(NULL_MX_STATUS, Cause.TAKES_NO_MAIL)
        case InsufficientSecurity():
            return _after_insufficient_security(carried, outcome, progress, retry, spread)
        case DnsTrouble():
            return _again(carried, Cause.DNS_TOO_LONG, Stage.CONNECT, progress, retry, spread)
        case NetworkFailure(stage):
            return _again(carried, Cause.NO_CONNECTION, stage, progress, retry, spread)
        case Deferred(_, stage):
            return _again(carried, Cause.DEFERRED_TOO_LONG, stage, progress, retry, spread)
        case Refused(reply, stage):
            return _after_refusal(carried, reply, stage, progress)
        case unreachable:
            assert_never(unreachable)


def _after_insufficient_security(
    carried: Carried, outcome: InsufficientSecurity, progress: Progress, retry: RetryPolicy, spread: float
) -> Next:
    """Readable: next row at once. NTA 7516: its other hosts first, never ordinary mail (norm 6.1.2)."""
    reached = outcome.reached
    match carried:
        case Readable(needs=needs, over_nta=over_nta, requires_tls=requires_tls):
            if over_nta and progress.more_hosts:
                return NextHost()
            if requires_tls and outcome.why is None:
                return NextStep(REQUIRETLS_NEEDED, Cause.REQUIRETLS_NOT_MET)
            general = Cause.NTA_NO_PROVEN_HOST if over_nta else Cause.LEVEL_NOT_REACHED
            return NextStep(_status_of_shortfall(reached, needs), outcome.why or general)
        case CodeMail(needs=needs) if needs is not None and not reached.meets(needs):
            return Bounce(_status_of_shortfall(reached, needs), Cause.LEVEL_NOT_REACHED)
        case Notify() | CodeMail():
            # nothing is demanded of this mail, so it was DANE that forbade the connection: RFC 7672 §2.2 wants delay
            return _again(carried, Cause.LEVEL_NOT_REACHED, Stage.STARTTLS, progress, retry, spread)
        case unreachable:
            assert_never(unreachable)


def _status_of_shortfall(reached: TransportSecurity, needs: TransportSecurity) -> str:
    return TRANSPORT_NOT_SUPPORTED if reached.tls < needs.tls else SERVER_NOT_AUTHENTICATED


def _again(carried: Carried, cause: Cause, stage: Stage, progress: Progress, retry: RetryPolicy, spread: float) -> Next:
    """Another host where no content has left yet (RFC 5321 §5.1); else, or without one, later; else no more."""
    if progress.more_hosts and stage < Stage.DATA:
        return NextHost()
    delay = next_try(retry, progress.tries, age=progress.age, spread=spread)
    if delay is not None:
        return RetryAt(delay)
    return _no_more(carried, TIME_EXPIRED, cause)


def _after_refusal(carried: Carried, reply: Reply, stage: Stage, progress: Progress) -> Next:
    status = reply.status if reply.status and reply.status.startswith("5.") else UNSPECIFIED
    if _is_for_size(reply, stage):
        if progress.can_shrink and isinstance(carried, Readable):
            return LargePartsBecomeLinks()
        return _no_more(carried, TOO_BIG, Cause.TOO_LARGE)
    match _AFTER_5YZ[stage]:
        case _Then.NEXT_HOST_THEN_ROW:
            return NextHost() if progress.more_hosts else _no_more(carried, status, Cause.SERVER_REFUSES)
        case _Then.BOUNCE_RECIPIENT:
            return Bounce(status, Cause.RECIPIENT_REFUSED)
        case _Then.BOUNCE_MESSAGE:
            return Bounce(status, Cause.MESSAGE_REFUSED)
        case unreachable:
            assert_never(unreachable)


def _is_for_size(reply: Reply, stage: Stage) -> bool:
    """5.3.4 and 5.2.3 speak of the message's size wherever they come, MAIL and RCPT with SIZE included (RFC 1870 §6).
    A bare 552 does so except at RCPT, where it means a full mailbox or too many recipients (RFC 5321 §4.5.3.1.10)."""
    if stage < Stage.MAIL:
        return False
    if reply.status in {"5.3.4", "5.2.3"}:
        return True
    return reply.code == 552 and stage != Stage.RCPT and reply.status in {None, "5.3.0", "5.0.0"}


def _no_more(carried: Carried, status: str, why: Wording) -> NextStep | Bounce:
    return NextStep(status, why) if isinstance(carried, Readable) else Bounce(status, why)


def close(ended: Undeliverable, last: NextStep | None) -> Bounce:
    """The bounce for a plan that came to its end: what the last attempt met tells the sender more than the plan."""
    return Bounce(last.status, last.why) if last else Bounce(ended.status, ended.why)


# --- before a notification ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Proceed:
    """Send the notification."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask the recipient's MX first: EHLO, STARTTLS and authentication, no MAIL; then ask again with what it reached."""


def before_notifying(step: Notify, *, reached: TransportSecurity | None) -> Proceed | Probe | Bounce:
    """Row 7 after transport: may the notification go, given that its code must travel at the demanded level?

    ``reached`` is the level that the failed attempt, or the probe, found at the recipient's *ordinary* MX just now;
    ``None`` where no attempt came that far (also after an attempt over NTA 7516: other servers). A probe that meets
    network or DNS trouble is an outcome for :func:`after`.
    """
    if step.code_mail_needs is None:
        return Proceed()
    if reached is None:
        return Probe()
    if reached.meets(step.code_mail_needs):
        return Proceed()
    return Bounce(_status_of_shortfall(reached, step.code_mail_needs), Cause.LEVEL_NOT_REACHED)
