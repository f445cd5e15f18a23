"""The matrix of receiving servers: what each of them is, what is demanded of it, and what follows.

``docs/delivery-matrix.md`` is printed from it: ``python -m tests.interop.delivery_matrix --write``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from itertools import groupby
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parents[2] / "docs" / "delivery-matrix.md"


class Demand(Enum):
    """What is asked of the way to the recipient: the words of the page."""

    NOTHING = "nothing (a notification)"
    LISTED = "default, by the list"
    PROVEN = "default, by the message"
    TLS_1_3 = "`tls1.3`, and a number"
    MTA_STS = "`mta-sts`, and a number"
    DANE = "`dane`, and a number"
    NTA = "NTA 7516"


FIELDS: Final[Mapping[Demand, str]] = {
    Demand.PROVEN: "tls tls1.2 auth certificate-validation",
    Demand.TLS_1_3: "tls tls1.3 auth certificate-validation",
    Demand.MTA_STS: "tls tls1.2 auth mta-sts",
    Demand.DANE: "tls tls1.2 auth dane",
}
NAMES_A_NUMBER: Final = frozenset({Demand.TLS_1_3, Demand.MTA_STS, Demand.DANE})


class Zone(Enum):
    """Where the recipient's domain lives."""

    OPEN = "unsigned"
    SIGNED = "signed"
    BOGUS = "signed by another key"
    HOST_IS_BOGUS = "signed; the MX host by another key"


class Tlsa(Enum):
    """A TLSA record of the MX host."""

    OWN = "3 1 1 of its key"
    OTHER = "3 1 1 of another key"
    ANCHOR = "2 1 1 of its authority"
    UNUSABLE = "0 1 1"


class Web(Enum):
    """The host of the MTA-STS policy."""

    SERVES = ""
    DOWN = "its host is down"
    DOWN_AND_KEPT = "its host is down, fetched half a day ago"
    DOWN_AND_ENDED = "its host is down, fetched before `max_age`"
    WRONG_CERTIFICATE = "its host shows a certificate of another name"
    REDIRECTS = "its host redirects to where it is"


class Nta(Enum):
    """The NTA 7516 record of the recipient's domain."""

    NAMES_THE_HOST = "`ntamx` is the host"
    EXPIRED = "its `enddate` has passed"
    NAMES_NONE = "no `ntamx`"


class By(Enum):
    """Who plays the server."""

    SCRIPT = "a script"
    POSTFIX = "Postfix"
    EXIM = "Exim"
    OPENSMTPD = "OpenSMTPD"


class Shows(Enum):
    """The server's certificate."""

    NONE = "no STARTTLS"
    GOOD = "valid"
    WILDCARD = "wildcard"
    SELF_SIGNED = "self-signed"
    UNKNOWN_AUTHORITY = "unknown CA"
    EXPIRED = "expired"
    WRONG_NAME = "wrong name"
    ANCHORED = "CA of its own"
    ANCHORED_WRONG_NAME = "CA of its own, wrong name"


class Says(Enum):
    """What the server does wrong; ``mends``: at the next try it does no more."""

    NOTHING = ""
    STRIPPED = "STARTTLS removed from its answer to EHLO"
    STARTTLS_454 = "454 to STARTTLS"
    STARTTLS_554 = "554 to STARTTLS"
    GREETING_421 = "421 to the connection, once"
    GREETING_554 = "554 to the connection"
    EHLO_421 = "421 to EHLO, once"
    EHLO_5YZ = "550 to EHLO and HELO"
    MAIL_4YZ = "451 to MAIL, once"
    MAIL_5YZ = "550 to MAIL"
    RCPT_4YZ = "451 to RCPT (greylisting), once"
    RCPT_5YZ = "550 to RCPT"
    DATA_4YZ = "451 to DATA, once"
    DATA_5YZ = "554 to DATA"
    DOT_4YZ = "451 to the final dot, once"
    DOT_5YZ = "550 to the final dot"
    ALWAYS_LATER = "451 to RCPT, always"
    SILENT = "silent after the connection, once"
    HANGS_UP = "hangs up after the final dot, once"
    SLOW = "answers the final dot late"
    REFUSES_ONE = "550 to RCPT of one mailbox"
    SMALL_SIZE = "announces SIZE 40000"
    TINY_SIZE = "announces SIZE 400"


class Letter(Enum):
    """What is sent."""

    SHORT = ""
    LONG = "100 kB of text"
    ATTACHED = "an attachment of 100 kB"


class Gets(Enum):
    """What the recipient has in the end."""

    READABLE = "the message"
    NOTIFICATION = "a notification"
    NOTHING = "nothing"
    NOTHING_YET = "nothing yet"


@dataclass(frozen=True, slots=True)
class Situation:
    """A recipient's domain and its server. ``key`` is the label of the domain."""

    key: str
    title: str
    zone: Zone = Zone.OPEN
    tlsa: tuple[Tlsa, ...] = ()
    policy: str = ""  # the mode of its MTA-STS policy; empty: it has none
    names_the_host: bool = True  # the policy does
    web: Web = Web.SERVES
    nta: Nta | None = None
    is_validated: bool = True
    by: By = By.SCRIPT
    shows: Shows = Shows.GOOD
    tls: str = ""  # the only version that it speaks; empty: 1.2 and 1.3
    says: Says = Says.NOTHING
    letter: Letter = Letter.SHORT


@dataclass(frozen=True, slots=True)
class Row:
    """One line: ``learns`` are action and status of the reports to the sender, ``trace`` the attempts (equal ones that
    follow each other are one), ``saw`` is how often the server was sent the message's content."""

    situation: Situation
    demand: Demand
    gets: Gets
    trace: tuple[str, ...]
    learns: tuple[str, ...] = ()
    saw: int = 0
    mailbox: str = "lezer"
    to_the_end: bool = False  # else it is watched for five hours
    by_the_gateway: bool = False  # also tried with `zegel run`, in its own processes

    @property
    def name(self) -> str:
        """Of the test."""
        who = "" if self.mailbox == "lezer" else f"-{self.mailbox}"
        return f"{self.situation.key}-{self.demand.name.lower()}{who}"


# --- words of the rows --------------------------------------------------------------------------------------------

READABLE, NOTIFICATION = Gets.READABLE, Gets.NOTIFICATION


def _readable(level: str) -> str:
    return f"readable: Accepted, {level}"


def _notified(level: str) -> str:
    return f"notification: Accepted, {level}"


def _weak(level: str, kind: str = "readable") -> str:
    return f"{kind}: InsufficientSecurity, {level}"


def _row(situation: Situation, demand: Demand, *trace: str, gateway: bool = False) -> Row:
    """One in which the last attempt was accepted, and the sender hears of nothing."""
    kind = trace[-1].partition(":")[0]
    assert ": Accepted" in trace[-1]
    is_readable = kind == "readable"
    gets = READABLE if is_readable else NOTIFICATION
    return Row(situation, demand, gets, trace, saw=int(is_readable), by_the_gateway=gateway)


def _waits(
    situation: Situation, demand: Demand, level: str, status: str = "4.7.5", why: str = "", *, gateway: bool = False
) -> Row:
    """No mail goes there now, not even a notification; after four hours the sender hears of it."""
    kinds = ["notification"] if demand is Demand.NOTHING else ["readable", "notification"]
    what = why or "InsufficientSecurity"
    trace = tuple(f"{kind}: {what}, {level}" for kind in kinds)
    return Row(situation, demand, Gets.NOTHING_YET, trace, (f"delayed {status}",), by_the_gateway=gateway)


def _fails(situation: Situation, demand: Demand, *trace: str, status: str, saw: int = 0, gateway: bool = False) -> Row:
    return Row(situation, demand, Gets.NOTHING, trace, (f"failed {status}",), saw, by_the_gateway=gateway)


# --- the matrix ---------------------------------------------------------------------------------------------------

_CLEAR, _12, _13 = "none none", "tls1.2 certificate", "tls1.3 certificate"
_NOBODY_12, _NOBODY = "tls1.2 none", "tls1.3 none"
_SIGNED, _MATCHED = "tls1.3 signed-mx", "tls1.3 dane"
_N, _L, _P = Demand.NOTHING, Demand.LISTED, Demand.PROVEN


def _encryption() -> Iterator[Row]:
    plain = Situation("klaar", "No STARTTLS", by=By.POSTFIX, shows=Shows.NONE)
    yield _row(plain, _N, _notified(_CLEAR))
    yield _row(plain, _L, _weak(_CLEAR), _notified(_CLEAR), gateway=True)
    yield _fails(plain, _P, _weak(_CLEAR), status="5.7.4", gateway=True)
    small = replace(plain, key="klaar-ook", by=By.OPENSMTPD)
    yield _row(small, _N, _notified(_CLEAR))
    yield _row(small, _L, _weak(_CLEAR), _notified(_CLEAR), gateway=True)
    stripped = Situation("gestript", "STARTTLS stripped", says=Says.STRIPPED)
    yield _row(stripped, _L, _weak(_CLEAR), _notified(_CLEAR))
    yield _fails(stripped, _P, _weak(_CLEAR), status="5.7.4")
    for key, says in (("s454", Says.STARTTLS_454), ("s554", Says.STARTTLS_554)):
        refused = Situation(key, "STARTTLS refused", says=says)
        yield _row(refused, _L, _weak(_CLEAR), _notified(_CLEAR), gateway=key == "s454")
        yield _fails(refused, _P, _weak(_CLEAR), status="5.7.4")
    for version in ("1.0", "1.1"):
        old = Situation(f"tls{version.replace('.', '')}", f"TLS {version} only", tls=version)
        yield _row(old, _L, _weak(_CLEAR), _notified(_CLEAR))
        yield _fails(old, _P, _weak(_CLEAR), status="5.7.4")
    good = Situation("tls12", "TLS 1.2 only", by=By.POSTFIX, tls="1.2")
    yield _row(good, _L, _readable(_12), gateway=True)
    yield _row(good, Demand.TLS_1_3, _weak(_12), _notified(_12))
    better = Situation("tls13", "TLS 1.3 only", by=By.POSTFIX, tls="1.3")
    yield _row(better, _L, _readable(_13))
    yield _row(better, Demand.TLS_1_3, _readable(_13))
    usual = Situation("tls", "TLS 1.2 and 1.3", by=By.EXIM)
    yield _row(usual, _N, _notified(_13))
    yield _row(usual, _L, _readable(_13), gateway=True)
    yield _row(usual, _P, _readable(_13))


def _certificates() -> Iterator[Row]:
    bad = {
        "zelf": Shows.SELF_SIGNED,
        "vreemd": Shows.UNKNOWN_AUTHORITY,
        "verlopen": Shows.EXPIRED,
        "naam": Shows.WRONG_NAME,
    }
    for key, shows in bad.items():
        situation = Situation(key, f"Certificate: {shows.value}", by=By.POSTFIX, shows=shows)
        if shows is Shows.SELF_SIGNED:
            yield _row(situation, _N, _notified(_NOBODY))
        yield _row(situation, _L, _weak(_NOBODY_12), _notified(_NOBODY), gateway=shows is Shows.SELF_SIGNED)
        yield _fails(situation, _P, _weak(_NOBODY_12), status="5.7.5")
    wildcard = Situation("ster", "Certificate: wildcard", by=By.POSTFIX, shows=Shows.WILDCARD)
    yield _row(wildcard, _L, _readable(_13))
    yield _row(wildcard, _P, _readable(_13))


def _dane() -> Iterator[Row]:
    signed = Situation("", "", zone=Zone.SIGNED, by=By.POSTFIX, shows=Shows.SELF_SIGNED)
    match = replace(signed, key="ee", title="DANE-EE matches", tlsa=(Tlsa.OWN,))
    yield _row(match, _N, _notified(_MATCHED))
    yield _row(match, _L, _readable(_MATCHED))
    yield _row(match, Demand.DANE, _readable(_MATCHED), gateway=True)
    other = replace(signed, key="ander", title="DANE-EE doesn't match", tlsa=(Tlsa.OTHER,), shows=Shows.GOOD)
    yield replace(
        _waits(other, _N, _NOBODY), to_the_end=True, gets=Gets.NOTHING, learns=("delayed 4.7.5", "failed 5.4.7")
    )
    yield _waits(other, _L, _NOBODY, gateway=True)
    yield _waits(other, Demand.DANE, _NOBODY)
    rolls = replace(signed, key="wissel", title="DANE-EE rolls over", tlsa=(Tlsa.OTHER, Tlsa.OWN))
    yield _row(rolls, Demand.DANE, _readable(_MATCHED))
    anchor = replace(signed, key="ta", title="DANE-TA matches", tlsa=(Tlsa.ANCHOR,), shows=Shows.ANCHORED)
    yield _row(anchor, Demand.DANE, _readable(_MATCHED), gateway=True)
    misnamed = replace(anchor, key="ta-naam", title="DANE-TA, wrong name", shows=Shows.ANCHORED_WRONG_NAME)
    yield _waits(misnamed, Demand.DANE, _NOBODY)
    bare = replace(
        signed, key="ee-klaar", title="TLSA, no STARTTLS", tlsa=(Tlsa.OWN,), by=By.SCRIPT, says=Says.STRIPPED
    )
    yield _waits(bare, _N, _CLEAR)
    yield _waits(bare, _L, _CLEAR)
    unusable = replace(signed, key="onbruik", title="TLSA unusable", tlsa=(Tlsa.UNUSABLE,), shows=Shows.GOOD)
    yield _row(unusable, _L, _readable(_SIGNED))
    yield _row(unusable, Demand.DANE, _weak(_NOBODY), _notified(_SIGNED))
    unproven = replace(unusable, key="onbruik-zelf", shows=Shows.SELF_SIGNED)
    yield _row(unproven, _N, _notified(_NOBODY))
    yield _row(unproven, _L, _weak(_NOBODY_12), _notified(_NOBODY))
    yield _waits(replace(unusable, key="onbruik-klaar", shows=Shows.NONE), _N, _CLEAR)
    bogus = Situation("vals", "Bogus signatures", zone=Zone.BOGUS)
    yield _waits(bogus, _N, _CLEAR, "4.4.3", "DnsTrouble")
    yield replace(_waits(bogus, _L, _CLEAR, "4.4.3", "DnsTrouble"), trace=(f"readable: DnsTrouble, {_CLEAR}",))
    host = Situation("vals-elders", "Bogus signatures", zone=Zone.HOST_IS_BOGUS)
    yield replace(_waits(host, _L, _CLEAR, "4.4.3", "DnsTrouble"), trace=(f"readable: DnsTrouble, {_CLEAR}",))
    unheeded = replace(
        bogus, key="vals-blind", title="Bogus signatures, resolver without validation", is_validated=False
    )
    yield _row(unheeded, _L, _readable(_13))
    unknown = replace(match, key="blind", title="Resolver without validation", is_validated=False)
    yield _row(unknown, Demand.DANE, _weak(_NOBODY_12), _notified(_NOBODY))
    unseen = replace(other, key="blind-ander", title="Resolver without validation", is_validated=False)
    yield _row(unseen, _L, _readable(_13))
    yield _row(unseen, Demand.DANE, _weak(_13), _notified(_13))


def _mta_sts() -> Iterator[Row]:
    sts = Demand.MTA_STS
    none = Situation("geen-sts", "No policy", by=By.POSTFIX)
    yield _row(none, sts, _weak(_13), _notified(_13))
    signed = Situation("mx-getekend", "No policy, MX by DNSSEC", zone=Zone.SIGNED)
    yield _row(signed, sts, _readable(_SIGNED))
    enforce = Situation("dwingt", "MTA-STS enforce", policy="enforce", by=By.POSTFIX)
    yield _row(enforce, sts, _readable(_SIGNED), gateway=True)
    yield _row(enforce, _N, _notified(_SIGNED))
    broken = replace(enforce, key="dwingt-zelf", shows=Shows.SELF_SIGNED)
    yield _waits(broken, _N, _NOBODY_12)
    yield _waits(broken, _L, _NOBODY_12, gateway=True)
    yield _waits(replace(enforce, key="dwingt-klaar", by=By.SCRIPT, says=Says.STRIPPED), _N, _CLEAR)
    testing = replace(enforce, key="probeert", title="MTA-STS testing", policy="testing")
    yield _row(testing, sts, _weak(_13), _notified(_13), gateway=True)
    yield _row(replace(testing, key="probeert-zelf", shows=Shows.SELF_SIGNED), _N, _notified(_NOBODY))
    yield _row(replace(enforce, key="niets", title="MTA-STS none", policy="none"), sts, _weak(_13), _notified(_13))
    both = replace(enforce, key="dwingt-dane", title="MTA-STS enforce, DANE-EE doesn't match", zone=Zone.SIGNED)
    yield _waits(replace(both, tlsa=(Tlsa.OTHER,)), sts, _NOBODY)
    strange = replace(enforce, key="noemt-ander", title="MTA-STS doesn't name the host", names_the_host=False)
    yield _waits(strange, _N, _CLEAR)
    yield _waits(strange, _L, _CLEAR)
    down = replace(enforce, key="web-weg", title="Policy host down", web=Web.DOWN)
    yield _row(down, sts, _weak(_13), _notified(_13))
    yield _row(down, _L, _readable(_13))
    kept = replace(down, key="web-bewaard", title="Policy kept", web=Web.DOWN_AND_KEPT)
    yield _row(kept, sts, _readable(_SIGNED))
    yield _waits(replace(kept, key="web-bewaard-zelf", shows=Shows.SELF_SIGNED), _N, _NOBODY_12)
    ended = replace(down, key="web-op", title="Policy ended", web=Web.DOWN_AND_ENDED)
    yield _row(ended, sts, _weak(_13), _notified(_13))
    for key, title, web in (
        ("web-naam", "Wrong certificate of the policy host", Web.WRONG_CERTIFICATE),
        ("web-door", "Policy host redirects", Web.REDIRECTS),
    ):
        yield _row(replace(enforce, key=key, title=title, web=web), sts, _weak(_13), _notified(_13))


def _nta() -> Iterator[Row]:
    valid = Situation(
        "nta",
        "NTA 7516 valid",
        zone=Zone.SIGNED,
        tlsa=(Tlsa.OWN,),
        nta=Nta.NAMES_THE_HOST,
        by=By.POSTFIX,
        shows=Shows.SELF_SIGNED,
    )
    yield _row(valid, Demand.NTA, _readable(_MATCHED), gateway=True)
    expired = replace(valid, key="nta-op", title="NTA 7516 expired", nta=Nta.EXPIRED)
    yield _row(expired, Demand.NTA, _weak(_CLEAR), _notified(_MATCHED))
    ordinary = replace(valid, key="nta-mx", title="NTA 7516 without ntamx", nta=Nta.NAMES_NONE)
    yield _row(ordinary, Demand.NTA, _readable(_MATCHED))
    bare = replace(valid, key="nta-kaal", title="ntamx without DANE", tlsa=(), shows=Shows.GOOD)
    yield _row(bare, Demand.NTA, _weak(_CLEAR), _notified(_SIGNED))


def _answers() -> Iterator[Row]:
    def mended(key: str, says: Says, what: str, by: By = By.EXIM, *, saw: int = 1, gateway: bool = False) -> Row:
        row = _row(Situation(key, says.value.partition(",")[0], by=by, says=says), _L, what, _readable(_13))
        return replace(row, saw=saw, by_the_gateway=gateway)

    yield mended("g421", Says.GREETING_421, f"readable: Deferred at greeting, {_CLEAR}", By.SCRIPT)
    yield mended("e421", Says.EHLO_421, f"readable: Deferred at ehlo, {_CLEAR}", By.SCRIPT)
    yield mended("m4", Says.MAIL_4YZ, f"readable: Deferred at mail, {_13}")
    yield mended("r4", Says.RCPT_4YZ, f"readable: Deferred at rcpt, {_13}", gateway=True)
    yield mended("d4", Says.DATA_4YZ, f"readable: Deferred at data, {_13}")
    yield mended("p4", Says.DOT_4YZ, f"readable: Deferred at end_of_data, {_13}", saw=2)
    yield mended("stil", Says.SILENT, f"readable: NetworkFailure at greeting, {_CLEAR}", By.SCRIPT)
    yield mended("hangt", Says.HANGS_UP, f"readable: NetworkFailure at end_of_data, {_13}", By.SCRIPT, saw=2)
    yield _row(Situation("traag", "Late reply", says=Says.SLOW), _L, _readable(_13))

    def both(stage: str, level: str) -> tuple[str, str]:
        return f"readable: Refused at {stage}, {level}", f"notification: Refused at {stage}, {level}"

    def refused(key: str, says: Says, by: By = By.EXIM) -> Situation:
        return Situation(key, says.value, by=by, says=says)

    yield _fails(refused("g5", Says.GREETING_554, By.SCRIPT), _L, *both("greeting", _CLEAR), status="5.3.2")
    yield _fails(refused("e5", Says.EHLO_5YZ), _L, *both("ehlo", _CLEAR), status="5.7.1")
    yield _fails(refused("m5", Says.MAIL_5YZ), _L, *both("mail", _13), status="5.7.1")
    yield _fails(refused("r5", Says.RCPT_5YZ), _L, f"readable: Refused at rcpt, {_13}", status="5.7.1", gateway=True)
    yield _fails(refused("d5", Says.DATA_5YZ, By.SCRIPT), _L, f"readable: Refused at data, {_13}", status="5.6.0")
    dot = f"readable: Refused at end_of_data, {_13}"
    yield _fails(refused("p5", Says.DOT_5YZ), _L, dot, status="5.7.1", saw=1)
    always = Situation("altijd", "451 for five days", says=Says.ALWAYS_LATER)
    yield Row(
        always,
        _L,
        Gets.NOTHING,
        (f"readable: Deferred at rcpt, {_13}", f"notification: Deferred at rcpt, {_13}"),
        ("delayed 4.3.0", "failed 5.4.7"),
        to_the_end=True,
    )
    one = Situation("deels", "One of two recipients refused", by=By.POSTFIX, says=Says.REFUSES_ONE)
    yield replace(_row(one, _L, _readable(_13)), by_the_gateway=True)
    yield replace(
        _fails(one, _L, f"readable: Refused at rcpt, {_13}", status="5.1.1"), mailbox="weg", saw=1, by_the_gateway=True
    )


def _size() -> Iterator[Row]:
    long = Situation("lang", "SIZE below the message's", by=By.POSTFIX, says=Says.SMALL_SIZE, letter=Letter.LONG)
    yield _row(long, _L, f"readable: Refused at mail, {_13}", _notified(_13))
    attached = replace(long, key="bijlage", letter=Letter.ATTACHED)
    yield _row(attached, _L, f"readable: Refused at mail, {_13}", _readable(_13))
    tiny = Situation("krap", "SIZE below a notification's", by=By.POSTFIX, says=Says.TINY_SIZE)
    both = f"readable: Refused at mail, {_13}", f"notification: Refused at mail, {_13}"
    yield _fails(tiny, _L, *both, status="5.3.4")


GROUPS: Final[Mapping[str, tuple[Row, ...]]] = {
    "Encryption": tuple(_encryption()),
    "Certificates": tuple(_certificates()),
    "DANE and DNSSEC": tuple(_dane()),
    "MTA-STS": tuple(_mta_sts()),
    "NTA 7516": tuple(_nta()),
    "What the server answers": tuple(_answers()),
    "Size": tuple(_size()),
}
MATRIX: Final = tuple(row for rows in GROUPS.values() for row in rows)
SITUATIONS: Final = tuple(dict.fromkeys(row.situation for row in MATRIX))


# --- as a page ----------------------------------------------------------------------------------------------------

_INTRODUCTION: Final = """# Receiving servers, and what follows

<!-- Printed by tests.interop.delivery_matrix; a test compares. -->

Each line is a test (`tests/interop/test_delivery_matrix.py`): real DNS (NSD, signed zones, unbound), real mail servers
where they can play the part, a real HTTPS host for MTA-STS. How delivery works: [delivery.md](delivery.md).

- **Demanded.** *Default* is TLS 1.2 and a valid certificate: *by the list* where the recipient's domain is on the
  list for direct delivery, so that a notification may follow; *by the message* where its `direct-delivery` field asks
  and nothing else is named, so that the sender gets a report. *And a number*: the message also names a telephone.
- **Sender.** The report (RFC 3464): action and status. *Delayed* comes after four hours.
- **Trace.** Each attempt: what was sent, how it ended, the TLS and the authentication that were reached. Equal
  ones that follow each other are one.
- **Content.** How often the server was sent the content of the message. A server below the level got not one octet of
  it: the server itself was asked, and no mail transaction was begun there for a readable message.
- **A script** is a server of our own, where no real one can be made to behave so badly.
- **+** The line is also tested with `zegel run` in its own processes.
"""
_HEAD: Final = "| demanded | recipient gets | sender | trace | content |\n|---|---|---|---|---|\n"


def as_markdown() -> str:
    """The page."""
    return "\n".join([_INTRODUCTION, *(_section(title, rows) for title, rows in GROUPS.items())])


def _section(title: str, rows: tuple[Row, ...]) -> str:
    parts = [f"## {title}\n"]
    for situation, found in groupby(rows, key=lambda row: row.situation):
        parts.append(
            f"**{situation.title}.** {_dns(situation)}; {_server(situation)}.\n\n{_HEAD}{_lines(tuple(found))}"
        )
    return "\n".join(parts)


def _lines(rows: tuple[Row, ...]) -> str:
    return "".join(
        f"| {row.demand.value}{_about(row)} | {row.gets.value} | {', '.join(row.learns) or '–'} | "
        f"{'; '.join(row.trace)} | {row.saw or 'none'} |\n"
        for row in rows
    )


def _about(row: Row) -> str:
    others = f"; {row.mailbox}@" if row.situation.says is Says.REFUSES_ONE else ""
    return others + (" **+**" if row.by_the_gateway else "")


def _dns(situation: Situation) -> str:
    words = [situation.zone.value]
    words += [f"TLSA {one.value}" for one in situation.tlsa]
    if situation.nta is not None:
        words.append(f"NTA 7516: {situation.nta.value}")
    if situation.policy:
        words.append(f"MTA-STS `{situation.policy}`" + ("" if situation.names_the_host else " for another host"))
        words += [situation.web.value] if situation.web.value else []
    if not situation.is_validated:
        words.append("the gateway's resolver doesn't validate")
    return f"DNS {', '.join(words)}"


def _server(situation: Situation) -> str:
    words = [situation.by.value]
    if situation.shows is Shows.NONE:
        words.append(situation.shows.value)
    else:
        words.append(f"TLS {situation.tls or '1.2 and 1.3'}, certificate: {situation.shows.value}")
    words += [situation.says.value] if situation.says.value else []
    letter = f"; sent: {situation.letter.value}" if situation.letter.value else ""
    return f"server {', '.join(words)}{letter}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(as_markdown(), encoding="utf-8")
    else:
        sys.stdout.write(as_markdown())
