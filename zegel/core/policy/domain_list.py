"""A list of recipient domains for direct delivery, as somebody else keeps it (row 4).

Text with one domain a line, or CSV whose first column is headed ``domain``. A list of which any line isn't understood
is not taken at all: with half of it mail would go otherwise than its keeper meant, and nobody would notice.
"""

from __future__ import annotations

import csv
import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from zegel.core.mail.address import Domain, NotADomain
from zegel.core.policy.directives import AUTHENTICATION_WORDS, TLS_WORDS
from zegel.core.policy.transport import Authentication, Tls, TransportSecurity
from zegel.core.policy.wording import Wording

MAX_OCTETS: Final = 1_000_000
MAX_LINES: Final = 50_000
MAX_LINE: Final = 1000  # characters
MOST_TOLD: Final = 10  # lines that are named

_TITLES: Final = frozenset({"domain", "domains", "domein", "domeinen", "domain name", "domeinnaam"})
_LEVEL_TITLES: Final = frozenset({"level", "niveau", "tls", "auth", "authentication", "authenticatie"})
_LEVEL_WORDS: Final = frozenset({*TLS_WORDS, *AUTHENTICATION_WORDS})
_SEPARATORS: Final = ";,\t"


class LineFault(Wording):
    """Why one line is not understood."""

    ADDRESS = "address", "an e-mail address; write its domain alone", "een e-mailadres; schrijf alleen het domein"
    WILDCARD = (
        "wildcard",
        "a wildcard; write every domain in full",
        "een jokerteken; schrijf elk domein voluit",
    )
    URL = "url", "the address of a web page, not a domain", "het adres van een webpagina, geen domein"
    IP = "ip", "an IP address, not a domain", "een IP-adres, geen domein"
    ONE_LABEL = "one-label", "not a domain: it has no dot", "geen domein: er staat geen punt in"
    NO_DOMAIN = "no-domain", "not a domain", "geen domein"
    NO_LEVEL = (
        "no-level",
        "the words behind the domain are no level; write for example: tls1.3 dane",
        "de woorden achter het domein zijn geen niveau; schrijf bijvoorbeeld: tls1.3 dane",
    )
    HIDDEN_LEVEL = (
        "hidden-level",
        "a level in a column with another title than level",
        "een niveau in een kolom met een andere titel dan niveau",
    )
    COLUMNS = (
        "columns",
        "not as many columns as the first line, or a quotation mark that is not closed",
        "niet evenveel kolommen als de eerste regel, of een aanhalingsteken dat niet sluit",
    )
    TOO_LONG = "too-long", f"longer than {MAX_LINE} characters", f"langer dan {MAX_LINE} tekens"


class ListFault(Wording):
    """Why nothing is taken of a list."""

    TOO_LARGE = (
        "too-large",
        "The list is larger than 1 MB.",
        "De lijst is groter dan 1 MB.",
    )
    TOO_MANY = (
        "too-many",
        f"The list has more than {MAX_LINES} lines.",
        f"De lijst heeft meer dan {MAX_LINES} regels.",
    )
    NOT_TEXT = (
        "not-text",
        "The list is not text in UTF-8.",
        "De lijst is geen tekst in UTF-8.",
    )
    LINES = (
        "lines",
        "The list has lines that are not understood, so nothing of it was taken.",
        "De lijst heeft regels die niet begrepen worden; daarom is er niets van overgenomen.",
    )
    EMPTY = (
        "empty",
        "The list is empty, and it had domains before. They stay until you say that it may be empty.",
        "De lijst is leeg, en er stonden eerst domeinen op. Die blijven gelden tot u zegt dat ze leeg mag zijn.",
    )


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line by its number, counted from 1."""

    number: int
    fault: LineFault


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """Nothing is taken. ``lines`` are the first of ``bad`` lines in all."""

    fault: ListFault
    lines: tuple[BadLine, ...] = ()
    bad: int = 0


@dataclass(frozen=True, slots=True)
class DomainList:
    """All that the list says: the least transport security for each of its domains."""

    levels: Mapping[Domain, TransportSecurity]


class NotALevel(ValueError):
    """The words are no level."""


def read_list(octets: bytes, *, otherwise: TransportSecurity) -> DomainList | NotUnderstood:
    """``otherwise`` is the level of lines that name none, and fills in the half that a line leaves out. A domain that
    stands there twice gets the stricter of both, half by half."""
    if len(octets) > MAX_OCTETS:
        return NotUnderstood(ListFault.TOO_LARGE)
    try:
        lines = _lines(octets.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return NotUnderstood(ListFault.NOT_TEXT)
    if len(lines) > MAX_LINES:
        return NotUnderstood(ListFault.TOO_MANY)
    levels: dict[Domain, TransportSecurity] = {}
    bad: list[BadLine] = []
    for number, read in _entries(lines, otherwise):
        if isinstance(read, LineFault):
            bad.append(BadLine(number, read))
        else:
            domain, level = read
            levels[domain] = levels.get(domain, level).at_least(level)
    if bad:
        return NotUnderstood(ListFault.LINES, tuple(bad[:MOST_TOLD]), len(bad))
    return DomainList(levels)


def parse_level(words: Sequence[str], *, otherwise: TransportSecurity) -> TransportSecurity:
    """Words as in the field ``zegel-direct-delivery``, where ``tls`` and ``auth`` may be left out and each half at most
    once: ``tls1.3 dane``, ``tls tls1.2 auth mta-sts``, ``dane``. Raises :class:`NotALevel`."""
    halves: dict[str, Tls | Authentication] = {}
    expected = ""
    for word in (one.lower() for one in words):
        if word in ("tls", "auth") and not expected:
            expected = word
            continue
        half, value = ("tls", TLS_WORDS.get(word)) if word in TLS_WORDS else ("auth", AUTHENTICATION_WORDS.get(word))
        if value is None or half in halves or expected not in ("", half):
            raise NotALevel("not a level")
        halves[half], expected = value, ""
    if expected:
        raise NotALevel("not a level")
    return TransportSecurity(
        Tls(halves.get("tls", otherwise.tls)), Authentication(halves.get("auth", otherwise.authentication))
    )


# --- lines -------------------------------------------------------------------------------------------------------

_Read = tuple[Domain, TransportSecurity] | LineFault


def _lines(text: str) -> list[str]:
    """At CR, LF or both, and nowhere else: a line number must be the one that an editor shows."""
    lines = re.split(r"\r\n|\r|\n", text)
    return lines[:-1] if lines[-1] == "" else lines


def _entries(lines: Sequence[str], otherwise: TransportSecurity) -> Iterator[tuple[int, _Read]]:
    header: _Header | None = None
    is_first = True
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE:
            yield number, LineFault.TOO_LONG
            continue
        text = re.sub(r"(?:^|\s)#.*", "", line, count=1) if header is None else line
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        if is_first and (header := _header(text)) is not None:
            is_first = False
            continue
        is_first = False
        yield number, _row(text, header, otherwise) if header is not None else _entry(text.split(), otherwise)


def _entry(words: Sequence[str], otherwise: TransportSecurity) -> _Read:
    """A domain, and perhaps a level behind it."""
    try:
        domain = Domain.parse(words[0])
    except NotADomain:
        return _why_no_domain(words[0])
    try:
        return domain, parse_level(words[1:], otherwise=otherwise)
    except NotALevel:
        return LineFault.NO_LEVEL


def _why_no_domain(word: str) -> LineFault:
    if _is_ip(word.strip("[]")):
        return LineFault.IP
    for mark, fault in (("@", LineFault.ADDRESS), ("*", LineFault.WILDCARD), ("/", LineFault.URL)):
        if mark in word:
            return fault
    if word.startswith("."):
        return LineFault.WILDCARD
    return LineFault.NO_DOMAIN if "." in word.rstrip(".") else LineFault.ONE_LABEL


def _is_ip(word: str) -> bool:
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return True


# --- CSV ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Header:
    separator: str
    titles: tuple[str, ...]


def _header(line: str) -> _Header | None:
    """``None`` for a line that is no header: the list is then one domain a line."""
    separator = next((char for char in line if char in _SEPARATORS), ",")
    cells = _cells(line, separator) or ()
    titles = tuple(cell.lower() for cell in cells)
    return _Header(separator, titles) if titles and titles[0] in _TITLES else None


def _cells(line: str, separator: str) -> tuple[str, ...] | None:
    """``None`` when quotation marks don't close: a cell that goes on in the next line would swallow it."""
    try:
        return tuple(cell.strip() for cell in next(csv.reader([line], delimiter=separator, strict=True)))
    except csv.Error:
        return None


def _row(line: str, header: _Header, otherwise: TransportSecurity) -> _Read:
    cells = _cells(line, header.separator)
    if cells is None or any(cells[len(header.titles) :]):
        return LineFault.COLUMNS
    words: list[str] = []
    for title, cell in list(zip(header.titles, cells, strict=False))[1:]:
        if title in _LEVEL_TITLES:
            words += cell.split()
        elif not _LEVEL_WORDS.isdisjoint(cell.lower().split()):
            return LineFault.HIDDEN_LEVEL
    return _entry([cells[0], *words], otherwise)
