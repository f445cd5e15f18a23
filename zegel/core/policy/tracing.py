"""Delivery: what is known of a message's way, in words that claim no more than that.

*Accepted by the receiving server* is not *read*: only the portal sees that a message is opened. A page, an export and a
proof of delivery take their sentences from here, so that they never differ.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import tzinfo
from enum import Enum
from typing import Final, assert_never

from zegel.core.clock import Instant
from zegel.core.policy.carriage import NTA_RECIPIENT, NTA_SENDER, Cause
from zegel.core.policy.ended import wording_of
from zegel.core.policy.explain import Bilingual, Said
from zegel.core.policy.nta7516 import Standing
from zegel.core.policy.transport import Authentication, Tls
from zegel.core.policy.verification import Method
from zegel.core.policy.wording import Wording


class Attempted(Wording):
    """How one attempt ended; the code is the outcome as it is stored."""

    ACCEPTED = ("Accepted", "accepted by the receiving server", "aangenomen door de ontvangende server")
    INSUFFICIENT_SECURITY = (
        "InsufficientSecurity",
        "connection not secure enough; nothing was sent",
        "verbinding niet veilig genoeg; er is niets verstuurd",
    )
    NETWORK_FAILURE = (
        "NetworkFailure",
        "no connection, or a connection that broke",
        "geen verbinding, of een verbinding die wegviel",
    )
    DEFERRED = (
        "Deferred",
        "the receiving server asks to try again later",
        "de ontvangende server vraagt het later opnieuw te proberen",
    )
    REFUSED = ("Refused", "refused by the receiving server", "geweigerd door de ontvangende server")
    NO_SUCH_DOMAIN = (
        "NoSuchDomain",
        "the domain does not exist or has no mail server",
        "het domein bestaat niet of heeft geen mailserver",
    )
    NULL_MX = ("NullMx", "the domain takes no mail", "het domein neemt geen mail aan")
    DNS_TROUBLE = (
        "DnsTrouble",
        "no usable answer from the name servers",
        "geen bruikbaar antwoord van de naamservers",
    )
    BOUNCED = ("Bounced", "came back later: can’t be delivered", "kwam later terug: niet te bezorgen")
    DELAYED_ELSEWHERE = (
        "DelayedElsewhere",
        "a server further on reports a delay",
        "een server verderop meldt vertraging",
    )
    ARRIVED_ELSEWHERE = (
        "ArrivedElsewhere",
        "a server further on reports that it arrived",
        "een server verderop meldt dat het is aangekomen",
    )
    AUTO_REPLY = ("AutoReply", "an automatic reply came back", "er kwam een automatisch antwoord terug")
    UNCLEAR = (
        "Unclear",
        "something came back that is no report",
        "er kwam iets terug dat geen melding is",
    )


class Carries(Wording):
    """What a mail carries; the code is the kind of the transmission as it is stored."""

    READABLE = ("readable", "readable message", "leesbaar bericht")
    NOTIFICATION = ("notification", "notification", "notificatiebericht")
    REMINDER = ("reminder", "reminder", "herinnering")
    AGAIN = ("again", "notification, once more", "notificatiebericht, nog eens")
    ANSWER = ("answer", "word of an answer", "bericht over een antwoord")
    READABLE_ANSWER = ("readable-answer", "readable answer", "leesbaar antwoord")
    CODE = ("code", "code", "code")
    REPORT = ("report", "report to the sender", "melding aan de afzender")
    NOTICE = ("notice", "notice to the sender", "kennisgeving aan de afzender")


class EventKind(Enum):
    """What happened; the word stands in exports, and never gets another meaning."""

    ACCEPTED = "accepted"
    DECIDED = "decided"
    TOLD = "sender-told"  # that the recipient is held, or did not open after a reminder
    ATTEMPT = "attempt"
    NOTIFIED = "notified"  # as the recipient's row says; where no attempt says so
    DELIVERED = "delivered"
    TAKEN = "taken"  # one of both
    CONFIRMED = "confirmed"  # by a report of the server that took the message, for which the sender asked
    CODE_ASKED = "code-asked"
    WRONG_CODE = "wrong-code"
    VERIFIED = "verified"
    OPENED = "opened"
    READ_FOR_MAILBOX = "read-for-mailbox"
    ANSWERED = "answered"
    SENDER_ANSWERED = "sender-answered"
    METHOD_UNUSABLE = "method-unusable"
    METHOD_ALLOWED = "method-allowed"
    METHOD_REFUSED = "method-refused"
    METHOD_LOST = "method-lost"  # by a restore
    REVOKED = "revoked"
    EXPIRY_CHANGED = "expiry-changed"
    NOTIFY_AGAIN = "notify-again"
    PUT_ASIDE = "put-aside"  # since a restore
    DESTROYED = "destroyed"
    UNDELIVERABLE = "undeliverable"
    WAITS = "waits"  # has no time: for what the recipient waits


class SenderHears(Wording):
    """What the sender hears of a recipient who can't be served."""

    REPORT = ("report", "The sender gets a report.", "De afzender krijgt daarvan een melding.")
    NO_ADDRESS = (
        "no-address",
        "The message was sent with an empty return path, so nobody gets a report.",
        "Het bericht is verstuurd met een leeg retouradres; niemand krijgt daarvan een melding.",
    )
    NOT_ASKED = (
        "not-asked",
        "The message was sent with the request not to report this.",
        "Het bericht is verstuurd met het verzoek dit niet te melden.",
    )


METHODS: Final = {
    Method.ACCOUNT.value: Said("account", "account"),
    Method.SMS.value: Said("SMS code", "sms-code"),
    Method.ACCESS_CODE.value: Said("access code", "toegangscode"),
    Method.EMAIL.value: Said("e-mail verification", "e-mailverificatie"),
}
_TLS: Final[dict[int, Said]] = {
    Tls.NONE: Said("without TLS", "zonder TLS"),
    Tls.ENCRYPTED: Said("over TLS below 1.2", "over TLS lager dan 1.2"),
    Tls.TLS_1_2: Said("over TLS 1.2", "over TLS 1.2"),
    Tls.TLS_1_3: Said("over TLS 1.3", "over TLS 1.3"),
}
_AUTHENTICATION: Final[dict[int, Said]] = {
    Authentication.NONE: Said("server not authenticated", "server niet geverifieerd"),
    Authentication.CERTIFICATE: Said("certificate checked", "certificaat gecontroleerd"),
    Authentication.SIGNED_MX: Said(
        "certificate checked, host named by MTA-STS or signed DNS",
        "certificaat gecontroleerd, server genoemd door MTA-STS of ondertekende DNS",
    ),
    Authentication.DANE: Said("certificate checked by DANE", "certificaat gecontroleerd met DANE"),
}
_MONTHS: Final = (
    ("January", "januari"),
    ("February", "februari"),
    ("March", "maart"),
    ("April", "april"),
    ("May", "mei"),
    ("June", "juni"),
    ("July", "juli"),
    ("August", "augustus"),
    ("September", "september"),
    ("October", "oktober"),
    ("November", "november"),
    ("December", "december"),
)


def method_in_words(method: str) -> Said:
    """Of a stored method; one of another version is shown as it is."""
    return METHODS.get(method, Said(method, method))


def moment(at: Instant, zone: tzinfo) -> Said:
    """*26 November 2026 14:03*, in local time."""
    local = at.astimezone(zone)
    en, nl = _MONTHS[local.month - 1]
    return Said(f"{local.day} {en} {local:%Y %H:%M}", f"{local.day} {nl} {local:%Y %H:%M}")


def over(tls: int, authentication: int) -> Said:
    """*over TLS 1.3, certificate checked by DANE*"""
    how = _TLS.get(tls, Said(f"over TLS ({tls})", f"over TLS ({tls})"))
    if not tls:
        return how
    who = _AUTHENTICATION.get(authentication, Said(str(authentication), str(authentication)))
    return Said(f"{how.en}, {who.en}", f"{how.nl}, {who.nl}")


_OF_NTA: Final = re.compile(r"NTA 7516(, (?P<side>sender|recipient))?: (?P<code>.*)")


def nta_in_words(reply: str) -> Wording | None:
    """What an attempt over NTA 7516 was held up by, for a reply that is a word of ours; ``None`` for any other."""
    found = _OF_NTA.fullmatch(reply)
    if found is None:
        return None
    if found["side"] is None:
        return Cause.NTA_NO_PROVEN_HOST
    causes = NTA_SENDER if found["side"] == "sender" else NTA_RECIPIENT
    known: dict[str, Wording] = {standing.value: cause for standing, cause in causes.items()}
    return {**known, Standing.NOT_KNOWN_NOW.value: Standing.NOT_KNOWN_NOW}.get(found["code"], Cause.NTA_SENDER_DKIM)


_NAMED: Final = {
    "dnssec": Said("host named by DNS that is signed (DNSSEC)", "server genoemd door ondertekende DNS (DNSSEC)"),
    "mta-sts": Said(
        "host named by the domain’s MTA-STS policy", "server genoemd door het MTA-STS-beleid van het domein"
    ),
}
_KNOWN: Final[dict[int, Said]] = {
    Authentication.NONE: _AUTHENTICATION[Authentication.NONE],
    Authentication.CERTIFICATE: Said("valid certificate", "geldig certificaat"),
    Authentication.SIGNED_MX: Said("valid certificate", "geldig certificaat"),
    Authentication.DANE: Said("DANE: a signed TLSA record matched", "DANE: een ondertekend TLSA-record klopte"),
}


def authenticity(authentication: int, named_by: str) -> Said:
    """How well the server at the other end was known, and what said that it is one of the domain's."""
    if authentication == Authentication.SIGNED_MX and not named_by:  # stored before that was kept
        return _AUTHENTICATION[Authentication.SIGNED_MX]
    parts = [_KNOWN.get(authentication, Said(str(authentication), str(authentication)))]
    parts += [_NAMED[way] for way in named_by.split() if way in _NAMED]
    return Said("; ".join(one.en for one in parts), "; ".join(one.nl for one in parts))


# --- the certificate that was shown ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is kept of a server's certificate, taken apart; what isn't known is empty."""

    names: tuple[str, ...] = ()
    issuer: str = ""
    until: str = ""
    sha256: str = ""
    tlsa: str = ""  # the record that it matched: usage, selector, matching type
    trouble: str = ""  # why it was not believed


_END: Final = re.compile(r"(?:^|; )sha256 (?P<sha256>[0-9a-f]{64})(?:; tlsa (?P<tlsa>\d+ \d+ \d+))?$")
_MIDDLE: Final = re.compile(r"(?P<names>[^;]*); issued by (?P<issuer>.*); until (?P<until>[^;]*)", re.DOTALL)
_TROUBLE: Final = re.compile(r"(?P<trouble>not verified|not valid: [^;]*)(?:; |$)")


def certificate_of(kept: str) -> Certificate:
    """Of the line that is kept with an attempt. It holds what a stranger's certificate says of itself: whatever stands
    there, nothing is raised."""
    trouble = _TROUBLE.match(kept)
    rest = kept[trouble.end() :] if trouble else kept
    end = _END.search(rest)
    middle = _MIDDLE.fullmatch(rest[: end.start()] if end else rest)
    return Certificate(
        names=tuple(name for name in middle["names"].split(",") if name) if middle else (),
        issuer=middle["issuer"] if middle else "",
        until=middle["until"] if middle else "",
        sha256=end["sha256"] if end else "",
        tlsa=(end["tlsa"] or "") if end else "",
        trouble=trouble["trouble"] if trouble else "",
    )


# --- one sentence for each recipient -----------------------------------------------------------------------------


class Stands(Enum):
    """Where a recipient is, as it is stored."""

    ACCEPTED = "accepted"
    DECIDED = "decided"
    HELD = "held"
    NOTIFIED = "notified"
    DELIVERED = "delivered"
    OPENED = "opened"
    UNDELIVERABLE = "undeliverable"

    @property
    def is_final(self) -> bool:
        """What the gateway had to do is done."""
        return self in (Stands.DELIVERED, Stands.OPENED, Stands.UNDELIVERABLE)


@dataclass(frozen=True, slots=True)
class Taken:
    """The receiving server that took a mail."""

    host: str
    tls: int
    authentication: int
    at: Instant


class Confirmed(Wording):
    """What was reported of a message that was delivered readable; the code is the action as it is stored."""

    DELIVERED = (
        "delivered",
        "Confirmed by a report: the receiving server delivered it to the mailbox.",
        "Bevestigd met een melding: de ontvangende server heeft het in de mailbox bezorgd.",
    )
    RELAYED = (
        "relayed",
        "Confirmed by a report: the receiving server passed it on to one that confirms nothing.",
        "Bevestigd met een melding: de ontvangende server heeft het doorgegeven aan een server die niets bevestigt.",
    )
    EXPANDED = (
        "expanded",
        "Confirmed by a report: the receiving server forwarded it to the address or addresses behind this one.",
        "Bevestigd met een melding: de ontvangende server heeft het doorgestuurd naar het adres of de adressen achter "
        "dit adres.",
    )


@dataclass(frozen=True, slots=True)
class Way:
    """What the summary of one recipient is made of."""

    stands: Stands
    accepted_at: Instant
    decided_at: Instant | None = None
    taken: Taken | None = None  # of the message or the notification; ``None``: no attempt says so
    delivered_at: Instant | None = None
    opened_at: Instant | None = None
    opened_with: str = ""
    tries: int = 0
    next_try: Instant | None = None
    reason: str = ""
    hears: SenderHears = SenderHears.REPORT
    revoked_at: Instant | None = None
    destroyed_at: Instant | None = None
    confirmed: Bilingual | None = None


NOT_KNOWN_IF_READ: Final = Said("Whether it was read is not known.", "Of het gelezen is, is niet bekend.")


def summary(way: Way, zone: tzinfo) -> Said:
    """Where the message is for this recipient: true, complete, and no more than is known."""
    return joined(*(one for one in (_stands(way, zone), _taken_back(way, zone), _destroyed(way, zone)) if one))


def joined(*sentences: Bilingual) -> Said:
    """One after the other."""
    return Said(" ".join(one.en for one in sentences), " ".join(one.nl for one in sentences))


def _stands(way: Way, zone: tzinfo) -> Said:
    match way.stands:
        case Stands.ACCEPTED:
            at = moment(way.accepted_at, zone)
            return Said(
                f"Accepted on {at.en}; how it goes out is still to be decided.",
                f"Aangenomen op {at.nl}; hoe het verstuurd wordt, moet nog worden besloten.",
            )
        case Stands.DECIDED:
            return _under_way(way, zone)
        case Stands.HELD:
            return _held(way, zone)
        case Stands.NOTIFIED:
            return joined(_notified(way, zone), Said("Not opened yet.", "Nog niet geopend."))
        case Stands.DELIVERED:
            took = _took(way, zone, "Delivered readable", "Leesbaar bezorgd")
            return joined(*(one for one in (took, way.confirmed) if one), NOT_KNOWN_IF_READ)
        case Stands.OPENED:
            return joined(_opened(way, zone), *([_notified(way, zone)] if way.delivered_at else []))
        case Stands.UNDELIVERABLE:
            return joined(Said("Not delivered.", "Niet bezorgd."), *_why(way.reason), way.hears)
        case unreachable:
            assert_never(unreachable)


def _why(code: str) -> list[Bilingual]:
    if not code:
        return []
    wording = wording_of(code)
    return [wording if wording is not None else Said(f"({code})", f"({code})")]


def _under_way(way: Way, zone: tzinfo) -> Said:
    yet = Said("On its way: no receiving server has taken it yet.", "Onderweg: geen server heeft het nog aangenomen.")
    if not way.tries:
        return yet
    times = Said(
        f"{way.tries} {'attempt' if way.tries == 1 else 'attempts'} so far.",
        f"Tot nu toe {way.tries} {'poging' if way.tries == 1 else 'pogingen'}.",
    )
    if way.next_try is None:
        return joined(yet, times)
    at = moment(way.next_try, zone)
    return joined(yet, times, Said(f"The next one is due on {at.en}.", f"De volgende is op {at.nl}."))


def _held(way: Way, zone: tzinfo) -> Said:
    why = Said(
        "Held: what the organisation demands of this recipient is not known, and nothing was sent.",
        "Vastgehouden: wat de organisatie van deze ontvanger eist is niet bekend, en er is niets verstuurd.",
    )
    if way.decided_at is None:
        return why
    at = moment(way.decided_at, zone)
    return joined(why, Said(f"Last decided on {at.en}.", f"Laatst besloten op {at.nl}."))


def _notified(way: Way, zone: tzinfo) -> Said:
    return _took(way, zone, "Notification delivered", "Notificatiebericht bezorgd")


def _took(way: Way, zone: tzinfo, en: str, nl: str) -> Said:
    taken = way.taken
    if taken is None:
        if way.delivered_at is None:
            return Said(f"{en}.", f"{nl}.")
        at = moment(way.delivered_at, zone)
        return Said(f"{en}, {at.en}.", f"{nl}, {at.nl}.")
    at, how = moment(taken.at, zone), over(taken.tls, taken.authentication)
    host = taken.host
    return Said(f"{en} to {host} {how.en}, {at.en}.", f"{nl} bij {host} {how.nl}, {at.nl}.")


def _opened(way: Way, zone: tzinfo) -> Said:
    nothing = on = Said("", "")
    how = method_in_words(way.opened_with)
    if way.opened_at is not None:
        at = moment(way.opened_at, zone)
        on = Said(f" on {at.en}", f" op {at.nl}")
    after = Said(f", after verification: {how.en}", f", na verificatie: {how.nl}") if way.opened_with else nothing
    return Said(f"Opened on the portal{on.en}{after.en}.", f"Geopend op het portaal{on.nl}{after.nl}.")


def _taken_back(way: Way, zone: tzinfo) -> Said | None:
    if way.revoked_at is None:
        return None
    at = moment(way.revoked_at, zone)
    if way.stands is Stands.DELIVERED:
        return Said(
            f"The sender revoked it on {at.en}; what was delivered readable stays with the recipient.",
            f"De afzender trok het in op {at.nl}; wat leesbaar bezorgd is, houdt de ontvanger.",
        )
    return Said(
        f"The sender revoked it on {at.en}: it can’t be opened any more.",
        f"De afzender trok het in op {at.nl}: het is niet meer te openen.",
    )


def _destroyed(way: Way, zone: tzinfo) -> Said | None:
    if way.destroyed_at is None:
        return None
    at = moment(way.destroyed_at, zone)
    return Said(
        f"Its keys here were destroyed on {at.en}: the gateway can’t open it any more.",
        f"De sleutels ervan zijn hier vernietigd op {at.nl}: de gateway kan het niet meer openen.",
    )
