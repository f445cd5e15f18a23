"""A sending domain: what its owner publishes, how what is found is judged, and what follows from it.

Three records are needed: they show that the domain is the organisation's, let its DKIM signatures be verified and bring
bounces home. All others are judged and never refused for: they are the domain's own business, and good advice.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from typing import Final, assert_never

from zegel.core.clock import Duration, Instant
from zegel.core.mail.address import Domain
from zegel.core.policy import mta_sts, nta7516
from zegel.core.policy.dmarc import Policy
from zegel.core.policy.submitting import Spf
from zegel.core.policy.wording import Wording

# --- what is published --------------------------------------------------------------------------------------------


class Purpose(Wording):
    """What a record is for."""

    OWNERSHIP = ("ownership", "Shows that the domain is yours.", "Laat zien dat het domein van u is.")
    DKIM = (
        "dkim",
        "Lets receivers verify the DKIM signature of your mail.",
        "Laat ontvangers de DKIM-handtekening van uw mail controleren.",
    )
    RETURN_PATH = (
        "return-path",
        "Brings bounces to the gateway, and lets SPF pass for your mail and count for DMARC.",
        "Brengt bounces naar de gateway, en laat SPF voor uw mail slagen en meetellen voor DMARC.",
    )
    DKIM_ED25519 = (
        "dkim-ed25519",
        "For a second DKIM signature (Ed25519) beside the first.",
        "Voor een tweede DKIM-handtekening (Ed25519) naast de eerste.",
    )
    NEXT_DKIM = (
        "next-dkim",
        "The new DKIM key. Mail is signed with it from the check that finds this record.",
        "De nieuwe DKIM-sleutel. Mail wordt ermee ondertekend vanaf de controle die dit record vindt.",
    )
    NEXT_DKIM_ED25519 = (
        "next-dkim-ed25519",
        "The new second DKIM key (Ed25519).",
        "De nieuwe tweede DKIM-sleutel (Ed25519).",
    )
    PREVIOUS_DKIM = (
        "previous-dkim",
        "The previous DKIM key. Keep it published for mail that is still on its way.",
        "De vorige DKIM-sleutel. Laat die staan voor mail die nog onderweg is.",
    )
    PREVIOUS_DKIM_ED25519 = (
        "previous-dkim-ed25519",
        "The previous second DKIM key (Ed25519). Keep it published for mail that is still on its way.",
        "De vorige tweede DKIM-sleutel (Ed25519). Laat die staan voor mail die nog onderweg is.",
    )
    GATEWAY_SPF = (
        "gateway-spf",
        "SPF of the gateway. Its operator publishes this once, for all domains; your return path leads there.",
        "SPF van de gateway. De beheerder daarvan publiceert dit eenmalig voor alle domeinen; uw retouradres leidt "
        "daarheen.",
    )
    SPF = (
        "spf",
        "SPF of your own domain, for the other servers that send for it. Zegel needs nothing in it: mail from here has "
        "its return path in zegel-bounce. Add no include for it.",
        "SPF van uw eigen domein, voor de andere servers die ervoor versturen. Zegel hoeft er niet in: mail van hier "
        "heeft zijn retouradres in zegel-bounce. Voeg er geen include voor toe.",
    )
    DMARC = (
        "dmarc",
        "Asks receivers to refuse mail that claims to be yours and isn’t. Mail from here passes by DKIM and by its "
        "return path. Begin with p=none until the reports show that all of your own mail passes.",
        "Vraagt ontvangers om mail te weigeren die van u lijkt en dat niet is. Mail van hier slaagt via DKIM en via "
        "het retouradres. Begin met p=none tot de rapporten laten zien dat al uw eigen mail slaagt.",
    )
    MTA_STS = (
        "mta-sts",
        "Lets others send to your domain over verified TLS only. It needs a policy on a web server too, and does "
        "nothing for what you send.",
        "Laat anderen alleen over gecontroleerde TLS naar uw domein sturen. Daar hoort een policy op een webserver "
        "bij; voor wat u verstuurt doet het niets.",
    )
    TLS_RPT = (
        "tls-rpt",
        "Asks others to report where TLS to your domain failed. It does nothing for what you send.",
        "Vraagt anderen te melden waar TLS naar uw domein mislukte. Voor wat u verstuurt doet het niets.",
    )
    NTA7516 = (
        "nta7516",
        "Only for who takes part in NTA 7516.",
        "Alleen voor wie meedoet aan NTA 7516.",
    )


PURPOSES: Final[Mapping[str, Purpose]] = {one.value: one for one in Purpose}


class Weight(Enum):
    """What follows where a record isn't right."""

    NEEDED = "needed"  # a warning, then refusal
    OPTIONAL = "optional"  # something of the gateway's stays unused
    ADVISED = "advised"  # nothing here


WEIGHT: Final[Mapping[Purpose, Weight]] = {
    Purpose.OWNERSHIP: Weight.NEEDED,
    Purpose.DKIM: Weight.NEEDED,
    Purpose.RETURN_PATH: Weight.NEEDED,
    Purpose.DKIM_ED25519: Weight.OPTIONAL,
    Purpose.NEXT_DKIM: Weight.OPTIONAL,
    Purpose.NEXT_DKIM_ED25519: Weight.OPTIONAL,
    Purpose.PREVIOUS_DKIM: Weight.OPTIONAL,
    Purpose.PREVIOUS_DKIM_ED25519: Weight.OPTIONAL,
    Purpose.GATEWAY_SPF: Weight.ADVISED,
    Purpose.SPF: Weight.ADVISED,
    Purpose.DMARC: Weight.ADVISED,
    Purpose.MTA_STS: Weight.ADVISED,
    Purpose.TLS_RPT: Weight.ADVISED,
    Purpose.NTA7516: Weight.ADVISED,
}


@dataclass(frozen=True, slots=True)
class Record:
    """A record that the domain's owner publishes."""

    purpose: str  # value of a Purpose
    name: str
    kind: str
    value: str
    is_needed: bool = True  # the domain may not send without it

    @property
    def what(self) -> Purpose:
        """What it is for, in words."""
        return PURPOSES[self.purpose]

    @property
    def weight(self) -> Weight:
        """What follows where it isn't right."""
        return WEIGHT[self.what]

    @property
    def is_example(self) -> bool:
        """What to publish depends on what else the domain does; the value is one that is often right."""
        return self.weight is Weight.ADVISED and self.what is not Purpose.GATEWAY_SPF


@dataclass(frozen=True, slots=True)
class Keys:
    """What is published of a pair of DKIM keys; an empty record: there is no such key."""

    selector: str
    record: str
    ed25519_selector: str
    ed25519_record: str


_TXT, _CNAME = "TXT", "CNAME"
PAIRS: Final = (
    (Purpose.DKIM, Purpose.DKIM_ED25519),
    (Purpose.NEXT_DKIM, Purpose.NEXT_DKIM_ED25519),
    (Purpose.PREVIOUS_DKIM, Purpose.PREVIOUS_DKIM_ED25519),
)


def own_records(
    domain: Domain, gateway: str, token: str, keys: Keys, *, following: Keys | None, previous: Keys | None
) -> tuple[Record, ...]:
    """What the gateway needs or can use, the needed ones first. The second DKIM key is for whom it pleases: many
    verifiers don't know its kind yet, and every mail has the other signature too (RFC 8463 §6)."""
    current, others = _of_keys(domain, keys, *PAIRS[0]), []
    for pair, purposes in ((following, PAIRS[1]), (previous, PAIRS[2])):
        others += _of_keys(domain, pair, *purposes) if pair is not None else []
    return (
        _record(Purpose.OWNERSHIP, f"_zegel.{domain}", _TXT, f"zegel-domain={token}"),
        current[0],
        _record(Purpose.RETURN_PATH, return_path_host(domain), _CNAME, gateway),
        *current[1:],
        *others,
    )


def return_path_host(domain: Domain) -> str:
    """Where the reverse-path of every mail lies: below the author's domain, so that SPF counts for DMARC (relaxed
    alignment), and a CNAME to the gateway, so that its SPF and its MX hold there."""
    return f"zegel-bounce.{domain}"


def _of_keys(domain: Domain, keys: Keys, first: Purpose, second: Purpose) -> list[Record]:
    found = [_record(first, f"{keys.selector}._domainkey.{domain}", _TXT, keys.record)]
    if keys.ed25519_record:
        name = f"{keys.ed25519_selector}._domainkey.{domain}"
        found.append(_record(second, name, _TXT, keys.ed25519_record))
    return found


def advice(domain: Domain, gateway: str, today: date) -> tuple[Record, ...]:
    """What is good to have beside it, and no condition of anything here."""
    provider = f"v=NTA7516-1;startdate={today:%Y-%m};enddate={today.year + 2}-{today:%m};provider=NAME"
    return (
        _record(Purpose.GATEWAY_SPF, gateway, _TXT, "v=spf1 a -all"),
        _record(Purpose.SPF, domain.ascii, _TXT, "v=spf1 mx -all"),
        _record(Purpose.DMARC, f"_dmarc.{domain}", _TXT, f"v=DMARC1; p=quarantine; rua=mailto:dmarc@{domain}"),
        _record(Purpose.MTA_STS, f"_mta-sts.{domain}", _TXT, f"v=STSv1; id={today:%Y%m%d}"),
        _record(Purpose.TLS_RPT, f"_smtp._tls.{domain}", _TXT, f"v=TLSRPTv1; rua=mailto:tls-reports@{domain}"),
        _record(Purpose.NTA7516, domain.ascii, _TXT, provider),
    )


def _record(purpose: Purpose, name: str, kind: str, value: str) -> Record:
    return Record(purpose.value, name, kind, value, is_needed=WEIGHT[purpose] is Weight.NEEDED)


# --- how it is judged ---------------------------------------------------------------------------------------------


class State(Enum):
    """How a record was found."""

    RIGHT = "right"
    DIFFERENT = "different"
    ABSENT = "absent"
    UNKNOWN = "unknown"  # the DNS gave no usable answer: nothing follows from that


class Reason(Wording):
    """Why it isn't right."""

    OTHER_VALUE = (
        "other-value",
        "Something else stands there.",
        "Er staat iets anders.",
    )
    QUOTED = (
        "quoted",
        "Quotation marks are part of the value. Enter it without them.",
        "Er staan aanhalingstekens in de waarde. Voer die in zonder.",
    )
    OTHER_TYPE = (
        "other-type",
        "The name exists, without a record of this type.",
        "De naam bestaat, maar zonder record van dit type.",
    )
    SEVERAL = (
        "several",
        "More than one such record stands there. Only one may: receivers use none of them.",
        "Er staat meer dan één zo’n record. Er mag er één zijn: ontvangers gebruiken dan geen van alle.",
    )
    OTHER_KEY = (
        "other-key",
        "It is another key than the gateway’s.",
        "Het is een andere sleutel dan die van de gateway.",
    )
    REVOKED = (
        "revoked",
        "The key is withdrawn: p= is empty.",
        "De sleutel is ingetrokken: p= is leeg.",
    )
    NOT_FOR_MAIL = (
        "not-for-mail",
        "The record keeps receivers from using the key for mail (v=, k=, h= or s=).",
        "Het record houdt ontvangers af van het gebruik van de sleutel voor mail (v=, k=, h= of s=).",
    )
    IN_TEST = (
        "in-test",
        "t=y says that the key is only being tested; some receivers then ignore it. Leave it out.",
        "t=y zegt dat de sleutel alleen wordt getest; sommige ontvangers negeren die dan. Laat het weg.",
    )
    NO_FINAL_DOT = (
        "no-final-dot",
        "The domain was put behind the name: write a dot at the end of the value.",
        "Het domein is achter de naam gezet: schrijf een punt aan het eind van de waarde.",
    )
    SPF_LETS_EVERYBODY = (
        "spf-lets-everybody",
        "It lets every server of the world send for the domain.",
        "Het laat elke server ter wereld voor het domein versturen.",
    )
    SPF_DOES_NOT_PASS = (
        "spf-does-not-pass",
        "SPF doesn’t pass for all addresses of the gateway’s host name. DKIM alone then carries DMARC.",
        "SPF slaagt niet voor alle adressen van de hostnaam van de gateway. DMARC rust dan op DKIM alleen.",
    )
    ASKS_NOTHING = (
        "asks-nothing",
        "It asks receivers to refuse nothing yet: p=none, or a record that can’t be read.",
        "Het vraagt ontvangers nog niets te weigeren: p=none, of een record dat niet te lezen is.",
    )
    NOT_UNDERSTOOD = (
        "not-understood",
        "It is not a record of this kind that others can read.",
        "Het is geen record van deze soort dat anderen kunnen lezen.",
    )


REASONS: Final[Mapping[str, Reason]] = {one.value: one for one in Reason}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the DNS said at a record's name, and what was made of it where more than the text counts."""

    texts: tuple[str, ...] = ()
    name_exists: bool = False
    spf: Spf | None = None  # GATEWAY_SPF: the worst that the gateway's addresses get
    dmarc: Policy | None = None  # DMARC: what the walk up the tree came to
    reports_to: int = 0  # TLS_RPT: as many destinations were understood


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one record stands, and what of the answer is about it."""

    state: State
    reason: Reason | None = None
    found: tuple[str, ...] = ()


def judge(record: Record, seen: Seen) -> Verdict:
    """Of a conclusive answer."""
    match record.what:
        case Purpose.OWNERSHIP:
            return _equal(record, seen)
        case Purpose.RETURN_PATH:
            return _host(record, seen)
        case (
            Purpose.DKIM
            | Purpose.DKIM_ED25519
            | Purpose.NEXT_DKIM
            | Purpose.NEXT_DKIM_ED25519
            | Purpose.PREVIOUS_DKIM
            | Purpose.PREVIOUS_DKIM_ED25519
        ):
            return _key(record, seen)
        case Purpose.GATEWAY_SPF:
            return _gateway_spf(seen)
        case Purpose.SPF:
            return _spf(seen)
        case Purpose.DMARC:
            return _dmarc(seen)
        case Purpose.MTA_STS:
            return _only(seen, "v=stsv1", is_read=mta_sts.record_id(seen.texts) is not None)
        case Purpose.TLS_RPT:
            return _only(seen, "v=tlsrptv1", is_read=seen.reports_to > 0)
        case Purpose.NTA7516:
            return _only(seen, "v=nta7516-1", is_read=isinstance(nta7516.read(seen.texts), nta7516.Record))
        case unreachable:
            assert_never(unreachable)


def _absent(seen: Seen) -> Verdict:
    return Verdict(State.ABSENT, Reason.OTHER_TYPE if seen.name_exists else None)


def _equal(record: Record, seen: Seen) -> Verdict:
    """Others may stand beside it: each organisation that claims the domain has one of its own."""
    found = tuple(text.strip() for text in seen.texts)
    if record.value in found:
        return Verdict(State.RIGHT, found=seen.texts)
    if not found:
        return _absent(seen)
    quoted = any(text.strip("\"'\\“”") == record.value for text in found)
    return Verdict(State.DIFFERENT, Reason.QUOTED if quoted else Reason.OTHER_VALUE, seen.texts)


def _host(record: Record, seen: Seen) -> Verdict:
    found = tuple(text.rstrip(".").lower() for text in seen.texts)
    wanted = record.value.rstrip(".").lower()
    if not found:
        return _absent(seen)
    if wanted in found:
        return Verdict(State.RIGHT, found=seen.texts)
    doubled = any(one.startswith(f"{wanted}.") for one in found)
    return Verdict(State.DIFFERENT, Reason.NO_FINAL_DOT if doubled else Reason.OTHER_VALUE, seen.texts)


def _key(record: Record, seen: Seen) -> Verdict:
    """White space and the order of tags are the publisher's business; the key is ours (RFC 6376 §3.6.1)."""
    if not seen.texts:
        return _absent(seen)
    if len(seen.texts) > 1:  # RFC 6376 §3.6.2.2: results are then undefined
        return Verdict(State.DIFFERENT, Reason.SEVERAL, seen.texts)
    reason = _key_trouble(_tags(seen.texts[0]), _tags(record.value))
    return Verdict(State.RIGHT if reason is None else State.DIFFERENT, reason, seen.texts)


def _key_trouble(found: Mapping[str, str], wanted: Mapping[str, str]) -> Reason | None:
    if found.get("p") == "":
        return Reason.REVOKED
    key = _octets(found.get("p", ""))
    if not key or key != _octets(wanted.get("p", "")):
        return Reason.OTHER_KEY
    is_usable = (
        found.get("v", "DKIM1") == "DKIM1"
        and ("v" not in found or next(iter(found)) == "v")
        and found.get("k", "rsa") == wanted.get("k", "rsa")
        and "sha256" in _listed(found.get("h", "sha256"))
        and bool({"*", "email"} & _listed(found.get("s", "*")))
    )
    if not is_usable:
        return Reason.NOT_FOR_MAIL
    return Reason.IN_TEST if "y" in _listed(found.get("t", "")) else None


def _tags(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(";") if "=" in part)
    return {name.strip(): "".join(value.split()) for name, _, value in pairs}


def _listed(value: str) -> set[str]:
    return set(value.split(":"))


def _octets(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def _gateway_spf(seen: Seen) -> Verdict:
    found = _spf_records(seen.texts)
    match seen.spf:
        case Spf.PASS:
            return Verdict(State.RIGHT, found=found)
        case Spf.TEMPERROR | None:
            return Verdict(State.UNKNOWN, found=found)
        case _:
            return Verdict(State.DIFFERENT, Reason.SPF_DOES_NOT_PASS, found) if found else Verdict(State.ABSENT)


def _spf(seen: Seen) -> Verdict:
    """What it lets is the domain's own business, as long as it can be read."""
    found = _spf_records(seen.texts)
    if not found:
        return Verdict(State.ABSENT)
    if len(found) > 1:  # RFC 7208 §4.5: an error
        return Verdict(State.DIFFERENT, Reason.SEVERAL, found)
    terms = found[0].lower().split(" ")
    if "all" in terms or "+all" in terms:
        return Verdict(State.DIFFERENT, Reason.SPF_LETS_EVERYBODY, found)
    return Verdict(State.RIGHT, found=found)


def _spf_records(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(text for text in texts if text.lower().split(" ")[0] == "v=spf1")  # RFC 7208 §4.5


def _dmarc(seen: Seen) -> Verdict:
    found = _beginning("v=dmarc1", seen.texts)
    if not found:
        return Verdict(State.ABSENT)
    if seen.dmarc is not None and seen.dmarc >= Policy.QUARANTINE:
        return Verdict(State.RIGHT, found=found)
    return Verdict(State.DIFFERENT, Reason.SEVERAL if len(found) > 1 else Reason.ASKS_NOTHING, found)


def _only(seen: Seen, beginning: str, *, is_read: bool) -> Verdict:
    found = _beginning(beginning, seen.texts)
    if not found:
        return Verdict(State.ABSENT)
    if is_read:
        return Verdict(State.RIGHT, found=found)
    return Verdict(State.DIFFERENT, Reason.SEVERAL if len(found) > 1 else Reason.NOT_UNDERSTOOD, found)


def _beginning(version: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Those that mean to be such a record."""
    return tuple(text for text in texts if text.replace(" ", "").lower().startswith(version))


# --- what follows -------------------------------------------------------------------------------------------------

PATIENCE: Final = timedelta(hours=72)  # a record that was there may be missing this long before submissions are refused
SURE: Final = 2  # checks in a row that miss something: one alone may have met a zone that was just being replaced


@dataclass(frozen=True, slots=True)
class Standing:
    """How a domain stands."""

    in_place: bool = False
    missing_since: Instant | None = None
    misses: int = 0  # checks in a row that missed something needed


def follows(before: Standing, *, is_right: bool, may_hold: bool, now: Instant) -> Standing:
    """After a conclusive check. ``may_hold``: no other organisation has the domain in place.

    What is missing stops a domain that was in place only after :data:`PATIENCE`, and not before :data:`SURE` checks
    missed it. A moment that lies ahead comes of a clock that was set back since: the time counts anew from here.
    """
    if is_right:
        return Standing(in_place=may_hold)
    since = before.missing_since if before.missing_since is not None and before.missing_since <= now else now
    misses = before.misses + 1
    is_over = now - since >= PATIENCE and misses >= SURE
    return Standing(before.in_place and not is_over, since, misses)


class Word(Enum):
    """What the administrators were told last, as stored."""

    NOTHING = ""
    MISSING = "missing"  # and when mail will be refused
    REFUSED = "refused"
    IN_PLACE = "in-place"  # again


def to_tell(now: Standing, told: Word, *, was_in_place: bool) -> Word | None:
    """What the administrators are to hear; ``None``: nothing new. Of a domain that never was in place they hear
    nothing: they are just about it."""
    if now.in_place and now.missing_since is None:
        return Word.IN_PLACE if told in (Word.MISSING, Word.REFUSED) else None
    if now.in_place:
        return Word.MISSING if now.misses >= SURE and told is not Word.MISSING else None
    return Word.REFUSED if was_in_place and told is not Word.REFUSED else None


# --- when it is looked again --------------------------------------------------------------------------------------

DAILY: Final[Duration] = timedelta(days=1)
SOON: Final[Duration] = timedelta(hours=1)
EAGER: Final[Duration] = timedelta(days=2)  # so long a new domain, or one that was just stopped, is looked at hourly
LONGEST: Final[Duration] = timedelta(hours=26)  # nothing is put off further than this
_PLACES: Final = 97  # domains share the day out


def every(standing: Standing, *, added_at: Instant | None, was_in_place: bool, rotates: bool, now: Instant) -> Duration:
    """How long until a domain is looked at again: daily; hourly where its owner waits for the answer.

    =======================================  ========
    domain                                   is looked at
    =======================================  ========
    in place                                 daily
    in place, something missing              hourly
    not in place, though nothing is missing  hourly
    a new DKIM key awaits its record         hourly
    not in place, added within two days      hourly
    stopped within two days                  hourly
    not in place otherwise                   daily
    =======================================  ========
    """
    if rotates or standing.in_place is (standing.missing_since is not None):
        return SOON
    if standing.in_place:
        return DAILY
    since = standing.missing_since
    is_new = added_at is not None and now - added_at < EAGER
    is_just_stopped = was_in_place and since is not None and now - since < PATIENCE + EAGER
    return SOON if is_new or is_just_stopped else DAILY


def due_next(now: Instant, wait: Duration, number: int) -> Instant:
    """A little later for each domain, so that those of one hour drift apart. ``number``: any, of the domain."""
    return now + wait + wait / 24 * (number * 37 % _PLACES) / _PLACES


def is_due(due_at: Instant | None, now: Instant) -> bool:
    """Also what lies further ahead than anything is put off: the clock was set back since."""
    return due_at is None or due_at <= now or due_at > now + LONGEST


# --- DKIM keys, renewed -------------------------------------------------------------------------------------------

QUEUE_LIFE: Final[Duration] = timedelta(days=5)  # RFC 5321 §4.5.4.1: so long other servers may keep mail
PREVIOUS_STAYS: Final[Duration] = QUEUE_LIFE + timedelta(days=2)
_NAMED: Final = re.compile(r"zegel(\d{6})(?:-(\d{1,4}))?")


def next_selector(current: str, today: date) -> str:
    """With the month in it, and one that the domain never had: a verifier may remember the old record of a name."""
    month, found = f"{today:%Y%m}", _NAMED.fullmatch(current)
    if found is None or found[1] < month:
        return f"zegel{month}"
    return f"zegel{found[1]}-{int(found[2] or 1) + 1}"


def safe_to_end(left_at: Instant) -> Instant:
    """From when no mail that was signed with the previous key can still be on its way."""
    return left_at + PREVIOUS_STAYS
