"""NTA 7516: what a mail domain says of itself in its TXT record, and whether that stands (standards A, version 1).

The record is a claim of the domain's owner. Nothing follows from it alone: what it leads to is verified at every
delivery. Its form is that of the public page of Cryptshare on DNS for NTA 7516.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final

from zegel.core.mail.address import Domain, NotADomain
from zegel.core.policy.wording import Wording

VERSION_TAG: Final = "nta7516-1"
MOST_PRIORITY: Final = 65535  # as for an MX, RFC 5321 §5.1

_MONTH: Final = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")
_NTAMX: Final = re.compile(r"([0-9]{1,5})[ \t]+([^ \t]+)")
_SINGLE: Final = ("startdate", "enddate", "provider")


class Standing(Wording):
    """How a domain stands, as the sender's or the recipient's."""

    COMPLIES = (
        "nta-complies",
        "The domain complies with NTA 7516.",
        "Het domein voldoet aan NTA 7516.",
    )
    NO_RECORD = (
        "nta-no-record",
        "The domain publishes no NTA 7516 record.",
        "Het domein publiceert geen NTA 7516-record.",
    )
    INVALID_RECORD = (
        "nta-invalid-record",
        "The domain's NTA 7516 record is not valid. Ask the domain's administrator to mend it.",
        "Het NTA 7516-record van het domein is niet geldig. Vraag de beheerder van het domein om het te herstellen.",
    )
    OUT_OF_DATE = (
        "nta-out-of-date",
        "The domain's NTA 7516 record is not in force today: it begins later, or has ended.",
        "Het NTA 7516-record van het domein is vandaag niet van kracht: het begint later of is verlopen.",
    )
    NOT_SIGNED = (
        "nta-not-signed",
        "The domain's NTA 7516 record is not protected by DNSSEC, or the gateway's resolver doesn't validate.",
        "Het NTA 7516-record van het domein is niet met DNSSEC beveiligd, of de resolver van de gateway controleert "
        "dat niet.",
    )
    DMARC_TOO_WEAK = (
        "nta-dmarc-too-weak",
        "The domain's DMARC policy is not quarantine or reject.",
        "Het DMARC-beleid van het domein is niet quarantine of reject.",
    )
    SPF_DOES_NOT_PASS = (
        "nta-spf-does-not-pass",
        "SPF of the domain's return path doesn't allow the gateway's own addresses.",
        "SPF van het retouradres van het domein staat de adressen van de gateway niet toe.",
    )
    NOT_KNOWN_NOW = (
        "nta-not-known-now",
        "The DNS gave no conclusive answer about NTA 7516 for this domain.",
        "De DNS gaf over NTA 7516 geen uitsluitsel voor dit domein.",
    )


class Fault(Wording):
    """Why a record is not valid (standards A)."""

    SEVERAL_RECORDS = (
        "nta-several-records",
        "There is more than one NTA 7516 record.",
        "Er is meer dan één NTA 7516-record.",
    )
    MISSING = (
        "nta-missing-tag",
        "The start date, the end date or the provider is missing.",
        "De begindatum, de einddatum of de aanbieder ontbreekt.",
    )
    TWICE = (
        "nta-tag-twice",
        "A tag that may stand there once stands there twice.",
        "Een onderdeel dat één keer mag voorkomen, staat er twee keer.",
    )
    MONTH = (
        "nta-bad-month",
        "A date is not a month in the form YYYY-MM.",
        "Een datum is geen maand in de vorm JJJJ-MM.",
    )
    ENDS_BEFORE_START = (
        "nta-ends-before-start",
        "The end date comes before the start date.",
        "De einddatum ligt vóór de begindatum.",
    )
    HOST = (
        "nta-bad-host",
        "A mail host is not a number and a host name; an IP address is not a host name.",
        "Een mailserver is geen nummer met een hostnaam; een IP-adres is geen hostnaam.",
    )
    MALFORMED = (
        "nta-malformed",
        "A part of the record has no name and value.",
        "Een onderdeel van het record heeft geen naam en waarde.",
    )


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month."""

    year: int
    month: int

    @classmethod
    def of(cls, day: date) -> Month:
        """The month that a day lies in."""
        return cls(day.year, day.month)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"


@dataclass(frozen=True, slots=True)
class Record:
    """A valid record. No ``hosts``: the domain's ordinary MX."""

    start: Month
    end: Month
    provider: str
    hosts: tuple[tuple[int, Domain], ...] = ()  # (priority, host), lowest priority first


@dataclass(frozen=True, slots=True)
class NoRecord:
    """None of the texts is an NTA 7516 record; the draft form ``v=NTA7516;…`` is none."""


@dataclass(frozen=True, slots=True)
class InvalidRecord:
    """There is one, and it counts for nothing."""

    fault: Fault


def read(texts: Iterable[str]) -> Record | NoRecord | InvalidRecord:
    """What the TXT records of a mail domain say; each with its strings joined. Never raises."""
    records = [parts for parts in (_parts(text) for text in texts) if _tag(parts[0]) == ("v", VERSION_TAG)]
    if not records:
        return NoRecord()
    if len(records) > 1:
        return InvalidRecord(Fault.SEVERAL_RECORDS)
    try:
        return _record(records[0][1:])
    except _Faulty as faulty:
        return InvalidRecord(faulty.fault)


def in_date(record: Record, today: date) -> bool:
    """From the first day of its first month through the last day of its last one. ``today`` is the date in
    Europe/Amsterdam."""
    return record.start <= Month.of(today) <= record.end


class _Faulty(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self.fault = fault


def _parts(text: str) -> list[str]:
    """Between the semicolons; one at the end is allowed."""
    parts = text.split(";")
    return parts[:-1] if len(parts) > 1 and not parts[-1].strip() else parts


def _tag(part: str) -> tuple[str, str]:
    """Names are read in any case, the version too: a second spelling is not another record."""
    name, _, value = part.partition("=")
    name, value = name.strip().lower(), value.strip()
    return name, value.lower() if name == "v" else value


def _record(parts: list[str]) -> Record:
    if any("=" not in part for part in parts):  # ``ntamx 10 host`` must not come out as the ordinary MX
        raise _Faulty(Fault.MALFORMED)
    tags = [_tag(part) for part in parts]
    if any(name == "v" for name, _ in tags):
        raise _Faulty(Fault.TWICE)
    start, end, provider = (_only(tags, name) for name in _SINGLE)
    record = Record(_month(start), _month(end), provider, _hosts(tags))
    if record.end < record.start:
        raise _Faulty(Fault.ENDS_BEFORE_START)
    return record


def _only(tags: list[tuple[str, str]], name: str) -> str:
    values = [value for known, value in tags if known == name]
    if len(values) > 1:
        raise _Faulty(Fault.TWICE)
    if not values or not values[0]:
        raise _Faulty(Fault.MISSING)
    return values[0]


def _month(text: str) -> Month:
    found = _MONTH.fullmatch(text)
    if found is None:
        raise _Faulty(Fault.MONTH)
    return Month(int(found[1]), int(found[2]))


def _hosts(tags: list[tuple[str, str]]) -> tuple[tuple[int, Domain], ...]:
    return tuple(sorted(_host(value) for name, value in tags if name == "ntamx"))


def _host(text: str) -> tuple[int, Domain]:
    found = _NTAMX.fullmatch(text)
    if found is None or int(found[1]) > MOST_PRIORITY:
        raise _Faulty(Fault.HOST)
    try:
        return int(found[1]), Domain.parse(found[2])
    except NotADomain:
        raise _Faulty(Fault.HOST) from None
