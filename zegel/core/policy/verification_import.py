"""A file of verification data: CSV as spreadsheets write it, read and judged row by row.

A row is judged as what somebody types for one recipient would be, by the same functions. What is wrong with it is
told by line, column and reason; nothing that stands in a cell is told, but for an address that is one.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, assert_never

from zegel.core.mail.address import Mailbox, NotAMailbox
from zegel.core.policy.access_code import (
    LONGEST,
    LONGEST_HINT,
    SHORTEST,
    Flaw,
    NotAnAccessCode,
    parse_access_code,
    parse_hint,
)
from zegel.core.policy.phone import NotAMobileNumber, example_mobile, parse_mobile
from zegel.core.policy.verification import AccessCode, Method, SmsCode, method_of
from zegel.core.policy.wording import Wording
from zegel.core.secret import Secret

MAX_OCTETS: Final = 50_000_000
MAX_ROWS: Final = 200_000
MAX_RECORD: Final = 16_384  # octets of one row
MAX_LINES: Final = 20  # of one row, with line breaks between quotation marks
_SEPARATORS: Final = ",;"
_NAMED_SEPARATOR: Final = re.compile(r"sep=([,;])", re.IGNORECASE)  # the first line that Excel writes and hides
_TITLE: Final = re.compile(r"[^\W\d][^\W\d_]*(?:[ _.-][^\W\d_]+)*")  # no digit: a cell of a row is no title
_LONGEST_TITLE: Final = 40
_ROUNDED: Final = re.compile(r"[0-9]+(?:[.,][0-9]+)?E\+?[0-9]+", re.IGNORECASE)
_EXAMPLE: Final = "client@example.org"


class Column(Enum):
    """A column that is understood, by its title."""

    ADDRESS = "email_address"
    NAME = "full_name"  # for who keeps the file: nothing needs it here, and it is not kept
    PHONE = "phone_number"
    CODE = "access_code"
    HINT = "access_code_hint"


class FileFault(Wording):
    """Why nothing of a file can be judged. What follows a colon are the titles that :class:`Refused` names."""

    TOO_LARGE = (
        "too-large",
        f"The file is larger than {MAX_OCTETS // 1_000_000} MB. Divide it over several files.",
        f"Het bestand is groter dan {MAX_OCTETS // 1_000_000} MB. Verdeel het over meer bestanden.",
    )
    TOO_MANY = (
        "too-many",
        f"The file has more than {MAX_ROWS} rows. Divide it over several files.",
        f"Het bestand heeft meer dan {MAX_ROWS} rijen. Verdeel het over meer bestanden.",
    )
    EMPTY = (
        "empty",
        "There are no rows in the file.",
        "Er staan geen rijen in het bestand.",
    )
    WORKBOOK = (
        "workbook",
        "This is a workbook or an archive, not CSV. Save it in the spreadsheet as CSV UTF-8.",
        "Dit is een werkmap of een archief, geen CSV. Sla het in het rekenprogramma op als CSV UTF-8.",
    )
    UTF_16 = (
        "utf-16",
        "This text is in UTF-16, or no text. Save it in the spreadsheet as CSV UTF-8.",
        "Deze tekst is in UTF-16, of geen tekst. Sla het in het rekenprogramma op als CSV UTF-8.",
    )
    NO_HEADER = (
        "no-header",
        "The first line does not name the columns. Write there for example: "
        "email_address,full_name,phone_number,access_code,access_code_hint",
        "De eerste regel noemt de kolommen niet. Schrijf daar bijvoorbeeld: "
        "email_address,full_name,phone_number,access_code,access_code_hint",
    )
    NO_ADDRESS = (
        "no-address",
        "The column email_address is missing: nobody knows whose rows these are.",
        "De kolom email_address ontbreekt: niemand weet van wie deze rijen zijn.",
    )
    NO_VALUE = (
        "no-value",
        "The columns phone_number and access_code are both missing: there is nothing to verify anybody with.",
        "De kolommen phone_number en access_code ontbreken allebei: er is niets om iemand mee te controleren.",
    )
    HINT_ALONE = (
        "hint-alone",
        "There is a column access_code_hint, and the column access_code is missing.",
        "Er is een kolom access_code_hint, en de kolom access_code ontbreekt.",
    )
    TWICE = (
        "twice",
        "The first line names a column twice:",
        "De eerste regel noemt een kolom twee keer:",
    )
    LOST = (
        "lost",
        "The file that was kept sealed can’t be opened any more. Import it once more.",
        "Het verzegeld bewaarde bestand kan niet meer geopend worden. Importeer het nog eens.",
    )


class RowFault(Wording):
    """What is wrong with a row, and what would do."""

    NO_ADDRESS = (
        "no-address",
        f"The address is missing. Write it like {_EXAMPLE}.",
        f"Het adres ontbreekt. Schrijf het als {_EXAMPLE}.",
    )
    ADDRESS = (
        "address",
        f"This is not one e-mail address. Write it like {_EXAMPLE}.",
        f"Dit is niet één e-mailadres. Schrijf het als {_EXAMPLE}.",
    )
    NOTHING = (
        "nothing",
        "Neither a number nor an access code stands here. Fill in one of them, such as {phone}.",
        "Hier staat geen nummer en geen toegangscode. Vul een van beide in, zoals {phone}.",
    )
    PHONE = (
        "phone",
        "This is not the number of one mobile telephone that can get text messages; or a spreadsheet left out a plus "
        "sign or a zero. Write it like {phone}.",
        "Dit is niet het nummer van één mobiele telefoon die sms’en kan ontvangen; of een rekenprogramma liet een "
        "plusteken of een nul weg. Schrijf het als {phone}.",
    )
    ROUNDED = (
        "rounded",
        "A spreadsheet rounded this number. Make its column text there, enter the number again, and write it like "
        "{phone}.",
        "Een rekenprogramma rondde dit nummer af. Maak er daar een tekstkolom van, voer het nummer opnieuw in, en "
        "schrijf het als {phone}.",
    )
    CODE_LENGTH = (
        "code-length",
        f"An access code has {SHORTEST} to {LONGEST} characters. Write for example four words.",
        f"Een toegangscode heeft {SHORTEST} tot {LONGEST} tekens. Schrijf bijvoorbeeld vier woorden.",
    )
    CODE_SPACES = (
        "code-spaces",
        "Between the characters of an access code only ordinary spaces are possible. Type it by hand.",
        "Tussen de tekens van een toegangscode kunnen alleen gewone spaties staan. Typ de code met de hand.",
    )
    CODE_INVISIBLE = (
        "code-invisible",
        "In this access code are characters that nobody sees, or a line break. Type it by hand.",
        "In deze toegangscode staan tekens die niemand ziet, of een regeleinde. Typ de code met de hand.",
    )
    HINT = (
        "hint",
        f"A hint is one line of at most {LONGEST_HINT} characters, such as: the number on your client card.",
        f"Een geheugensteun is één regel van hooguit {LONGEST_HINT} tekens, zoals: het nummer op uw cliëntenpas.",
    )
    HINT_TELLS = (
        "hint-tells",
        "The access code itself stands in the hint, and who has the link can read it. Write what reminds of the code, "
        "such as: the number on your client card.",
        "De toegangscode zelf staat in de geheugensteun, en wie de link heeft kan die lezen. Schrijf wat aan de code "
        "herinnert, zoals: het nummer op uw cliëntenpas.",
    )
    HINT_ALONE = (
        "hint-alone",
        "A hint belongs to an access code, and there is none. Fill in both.",
        "Een geheugensteun hoort bij een toegangscode, en die is er niet. Vul beide in.",
    )
    CONFLICT = (
        "conflict",
        "This recipient has another number or access code on another line, and nobody knows which is right. Leave one "
        "of the lines.",
        "Deze ontvanger heeft op een andere regel een ander nummer of een andere toegangscode, en niemand weet welke "
        "klopt. Laat één van de regels staan.",
    )
    CHANGED = (
        "changed",
        "Somebody added, changed or removed this meanwhile. That was left as it is; if the file is right, import it "
        "once more.",
        "Iemand heeft dit intussen toegevoegd, veranderd of verwijderd. Dat is zo gelaten; klopt het bestand, "
        "importeer het dan nog eens.",
    )
    COLUMNS = (
        "columns",
        "There are more cells than columns. Put a cell with a comma or semicolon in it between quotation marks.",
        "Er zijn meer cellen dan kolommen. Zet een cel met een komma of puntkomma erin tussen aanhalingstekens.",
    )
    QUOTES = (
        "quotes",
        'A quotation mark does not close, or stands inside a cell. Write it twice there, such as "a ""b"" c".',
        'Een aanhalingsteken sluit niet, of staat midden in een cel. Schrijf het daar dubbel, zoals "a ""b"" c".',
    )
    ENCODING = (
        "encoding",
        "This line is written in another encoding than the rest, or in none. Save the file as CSV UTF-8.",
        "Deze regel is in een andere codering geschreven dan de rest, of in geen. Sla het bestand op als CSV UTF-8.",
    )
    CONTROL = (
        "control",
        "There are characters here that are no text. Type the row by hand.",
        "Hier staan tekens die geen tekst zijn. Typ de rij met de hand.",
    )
    LONG = (
        "long",
        f"The row is longer than {MAX_RECORD} octets. Leave out the columns that are not needed.",
        f"De rij is langer dan {MAX_RECORD} octetten. Laat de kolommen weg die niet nodig zijn.",
    )

    def said(self, language: str, *, region: str) -> str:
        """In Dutch or English, with a number as ``region`` writes one."""
        return (self.nl if language == "nl" else self.en).replace("{phone}", example_mobile(region))


_FLAWS: Final = {
    Flaw.LENGTH: RowFault.CODE_LENGTH,
    Flaw.SPACES: RowFault.CODE_SPACES,
    Flaw.INVISIBLE: RowFault.CODE_INVISIBLE,
    Flaw.HINT: RowFault.HINT,
    Flaw.HINT_TELLS: RowFault.HINT_TELLS,
}


# --- the first line ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row begins."""

    octet: int  # from 0
    line: int  # from 1, as an editor counts them


class Encoding(Enum):
    """As Python calls it."""

    UTF_8 = "utf-8"
    WINDOWS_1252 = "cp1252"  # of a file that is not UTF-8; old spreadsheets write so


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows of a file are read."""

    encoding: Encoding
    separator: str
    columns: Mapping[Column, int]
    width: int  # columns in all
    unknown: tuple[str, ...]  # titles that say nothing here: their cells are not read
    first: Place

    @property
    def missing(self) -> tuple[Column, ...]:
        """What the file says nothing about."""
        return tuple(column for column in Column if column not in self.columns)

    def to_json(self) -> dict[str, Any]:
        """For :meth:`of_json`."""
        return {
            "encoding": self.encoding.value,
            "separator": self.separator,
            "columns": {column.value: place for column, place in self.columns.items()},
            "width": self.width,
            "unknown": list(self.unknown),
            "first": [self.first.octet, self.first.line],
        }

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> Layout:
        """What :meth:`to_json` wrote."""
        return cls(
            Encoding(stored["encoding"]),
            stored["separator"],
            {Column(title): place for title, place in stored["columns"].items()},
            stored["width"],
            tuple(stored["unknown"]),
            Place(*stored["first"]),
        )


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing of the file is judged."""

    fault: FileFault
    titles: tuple[str, ...] = ()

    def said(self, language: str) -> str:
        """In Dutch or English."""
        sentence = self.fault.nl if language == "nl" else self.fault.en
        return f"{sentence} {', '.join(self.titles)}." if self.titles else sentence


def read_layout(beginning: bytes, *, is_utf8: bool) -> Layout | Refused:
    """``beginning``: at least :data:`MAX_RECORD` octets of the file, or all that it has. ``is_utf8``: all of it is."""
    if not beginning.strip():
        return Refused(FileFault.EMPTY)
    if beginning.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        return Refused(FileFault.WORKBOOK)
    if beginning.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in beginning.partition(b"\n")[0]:
        return Refused(FileFault.UTF_16)
    encoding = Encoding.UTF_8 if is_utf8 else Encoding.WINDOWS_1252
    mark = len(b"\xef\xbb\xbf") if beginning.startswith(b"\xef\xbb\xbf") else 0
    lines = _Lines([beginning[mark:]], Place(mark, 1))
    separators = _SEPARATORS
    while (line := lines.take()) is not None:
        text = line.text(Encoding.UTF_8 if mark else encoding)
        if text is None or line.is_long:
            return Refused(FileFault.NO_HEADER)
        if named := _NAMED_SEPARATOR.fullmatch(text.strip()):
            separators = named[1]
        elif text.strip(_SEPARATORS + " \t\r"):
            return _layout(text, encoding, separators, lines.next)
    return Refused(FileFault.EMPTY)


def _layout(text: str, encoding: Encoding, separators: str, first: Place) -> Layout | Refused:
    separator, titles = max(((one, _titles(text, one)) for one in separators), key=lambda found: _known(found[1]))
    known = [title for title in titles if title in _COLUMNS]
    if not known:
        return Refused(FileFault.NO_HEADER)
    twice = tuple(dict.fromkeys(title for title in known if known.count(title) > 1))
    if twice:
        return Refused(FileFault.TWICE, twice)
    columns = {_COLUMNS[title]: place for place, title in enumerate(titles) if title in _COLUMNS}
    if Column.ADDRESS not in columns:
        return Refused(FileFault.NO_ADDRESS)
    if Column.CODE not in columns and Column.HINT in columns:
        return Refused(FileFault.HINT_ALONE)
    if Column.CODE not in columns and Column.PHONE not in columns:
        return Refused(FileFault.NO_VALUE)
    unknown = tuple(_shown(title, place) for place, title in enumerate(titles, 1) if title not in _COLUMNS)
    return Layout(encoding, separator, columns, len(titles), tuple(filter(None, unknown)), first)


_COLUMNS: Final = {column.value: column for column in Column}


def _known(titles: Sequence[str]) -> int:
    return sum(title in _COLUMNS for title in titles)


def _titles(line: str, separator: str) -> tuple[str, ...]:
    try:
        return tuple(cell.strip().lower() for cell in next(csv.reader([line], delimiter=separator, strict=True)))
    except csv.Error:
        return ()


def _shown(title: str, place: int) -> str:
    """A title; its place where it looks like the cell of a row, which may be a number or a code. Empty for none."""
    if not title:
        return ""
    return title if len(title) <= _LONGEST_TITLE and _TITLE.fullmatch(title) else f"#{place}"


# --- rows --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Line:
    octets: bytes  # without its end; of one that is too long the beginning
    size: int  # with its end

    @property
    def is_long(self) -> bool:
        return len(self.octets) > MAX_RECORD

    def text(self, encoding: Encoding) -> str | None:
        """``None``: not in that encoding. In a file that isn't UTF-8 a line that is would become other text."""
        if self.octets.isascii():
            return self.octets.decode("ascii")
        is_utf8 = _is_utf8(self.octets)
        if is_utf8 != (encoding is Encoding.UTF_8):
            return None
        try:
            return self.octets.decode(encoding.value)
        except UnicodeDecodeError:
            return None


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class _Lines:
    """Lines of a stream, one after the other, of which a few can be given back."""

    def __init__(self, pieces: Iterable[bytes], at: Place) -> None:
        self.next = at
        self._lines = _split(pieces)
        self._back: deque[_Line] = deque()

    def take(self) -> _Line | None:
        line = self._back.popleft() if self._back else next(self._lines, None)
        if line is not None:
            self.next = Place(self.next.octet + line.size, self.next.line + 1)
        return line

    def give_back(self, lines: Sequence[_Line]) -> None:
        """The last ones that were taken."""
        self._back.extendleft(reversed(lines))
        octets = sum(line.size for line in lines)
        self.next = Place(self.next.octet - octets, self.next.line - len(lines))


def _split(pieces: Iterable[bytes]) -> Iterator[_Line]:
    """At LF; a CR before it goes too. A line that has no end in sight is not kept."""
    kept, size = b"", 0
    for piece in pieces:
        *whole, rest = piece.split(b"\n")
        for octets in whole:
            yield _Line((kept + octets)[: MAX_RECORD + 2].removesuffix(b"\r"), size + len(octets) + 1)
            kept, size = b"", 0
        kept, size = (kept + rest)[: MAX_RECORD + 2], size + len(rest)
    if size:
        yield _Line(kept.removesuffix(b"\r"), size)


@dataclass(frozen=True, slots=True)
class Record:
    """One row of the file, as far as it could be taken apart. Never printed: a number or code stands in it."""

    line: int  # its first
    after: Place
    cells: Secret[Mapping[Column, str]] | RowFault


def records(pieces: Iterable[bytes], layout: Layout, *, at: Place) -> Iterator[Record]:
    """All rows from ``at`` on, of which ``pieces`` are the octets; empty ones are left out.

    A row that can't be taken apart costs nothing but its own first line: the next line is looked at by itself.
    """
    lines = _Lines(pieces, at)
    while True:
        line = lines.next.line
        cells = _next_cells(lines, layout)
        if cells is None:
            return
        if isinstance(cells, RowFault):
            yield Record(line, lines.next, cells)
        elif any(cell.strip() for cell in cells):
            yield Record(line, lines.next, _named(cells, layout))


def _next_cells(lines: _Lines, layout: Layout) -> list[str] | RowFault | None:
    taken: list[_Line] = []
    first = lines.take()
    if first is None:
        return None
    text = first.text(layout.encoding)
    if first.is_long:
        return RowFault.LONG
    if text is None:
        return RowFault.ENCODING
    more = _more(lines, layout.encoding, taken, len(first.octets))
    try:
        return next(csv.reader(_chained(text, more), delimiter=layout.separator, strict=True), [])
    except csv.Error:
        lines.give_back(taken)
        return RowFault.CONTROL if _has_control(text) else RowFault.QUOTES


def _chained(first: str, more: Iterator[str]) -> Iterator[str]:
    yield first + "\n"
    yield from more


def _more(lines: _Lines, encoding: Encoding, taken: list[_Line], size: int) -> Iterator[str]:
    """Lines that a quotation mark makes part of the row; those that are asked for are noted in ``taken``."""
    while len(taken) + 1 < MAX_LINES and (line := lines.take()) is not None:
        taken.append(line)
        size += len(line.octets)
        text = line.text(encoding)
        if text is None or size > MAX_RECORD:
            return
        yield text + "\n"


def _named(cells: Sequence[str], layout: Layout) -> Secret[Mapping[Column, str]] | RowFault:
    if any(cell.strip() for cell in cells[layout.width :]):
        return RowFault.COLUMNS
    if any(_has_control(cell) for cell in cells):
        return RowFault.CONTROL
    found = {column: cells[place].strip() for column, place in layout.columns.items() if place < len(cells)}
    return Secret({column: cell for column, cell in found.items() if cell})


def _has_control(text: str) -> bool:
    return not text.isprintable() and any(char < " " and char not in "\t\n" for char in text)


# --- judging one row ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with a cell, or (without a column) with the whole row."""

    fault: RowFault
    column: Column | None = None
    other: int | None = None  # the line that it contradicts


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a row says: these values hold for all messages to the recipient."""

    recipient: Mailbox
    values: tuple[SmsCode | AccessCode, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A row, judged by itself."""

    line: int
    address: str  # empty where there is none that is one
    wanted: Wanted | None
    complaints: tuple[Complaint, ...]  # none, where something is wanted


def judge(record: Record, *, region: str) -> Row:
    """``region``: whose national numbers are understood."""
    if isinstance(record.cells, RowFault):
        return Row(record.line, "", None, (Complaint(record.cells),))
    cells = record.cells.reveal()
    recipient = _recipient(cells.get(Column.ADDRESS, ""))
    found = [recipient, _phone(cells, region), *_code(cells)]
    if not any(cells.get(column) for column in (Column.PHONE, Column.CODE, Column.HINT)):
        found.append(Complaint(RowFault.NOTHING))
    complaints = tuple(one for one in found if isinstance(one, Complaint))
    address = str(recipient) if isinstance(recipient, Mailbox) else ""
    if complaints or not isinstance(recipient, Mailbox):
        return Row(record.line, address, None, complaints)
    values = tuple(one for one in found if isinstance(one, SmsCode | AccessCode))
    return Row(record.line, address, Wanted(recipient, values), ())


def _recipient(cell: str) -> Mailbox | Complaint:
    if not cell:
        return Complaint(RowFault.NO_ADDRESS, Column.ADDRESS)
    try:
        return Mailbox.parse(cell)
    except NotAMailbox:
        return Complaint(RowFault.ADDRESS, Column.ADDRESS)


def _phone(cells: Mapping[Column, str], region: str) -> SmsCode | Complaint | None:
    cell = cells.get(Column.PHONE, "")
    if not cell:
        return None
    try:
        return SmsCode(Secret(parse_mobile(cell, region=region)))
    except NotAMobileNumber:
        return Complaint(RowFault.ROUNDED if _ROUNDED.fullmatch(cell) else RowFault.PHONE, Column.PHONE)


def _code(cells: Mapping[Column, str]) -> tuple[AccessCode | Complaint, ...]:
    code, hint = cells.get(Column.CODE, ""), cells.get(Column.HINT, "")
    if not code:
        return (Complaint(RowFault.HINT_ALONE, Column.HINT),) if hint else ()
    try:
        code = parse_access_code(code)
    except NotAnAccessCode as cause:
        return (Complaint(_FLAWS[cause.flaw], Column.CODE),)
    try:
        hint = parse_hint(hint, code=code) if hint else ""
    except NotAnAccessCode as cause:
        return (Complaint(_FLAWS[cause.flaw], Column.HINT),)
    return (AccessCode(Secret(code), Secret(hint) if hint else None),)


# --- judging them together ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Together:
    """A row among the others of its file."""

    number: int  # from 0
    row: Row
    wanted: Wanted | None  # without what an earlier row says already
    spoiled: tuple[tuple[int, int], ...] = ()  # numbers and lines of earlier rows that were good, and are not any more

    @property
    def is_bad(self) -> bool:
        """Nothing of it is imported."""
        return bool(self.row.complaints)


class Reading:
    """The rows of one file in their order, each held against those before it.

    What stands there twice is said once. Of two rows that give one recipient different numbers or codes neither is
    taken: a program can't know which is right, and the wrong one opens the message to a stranger.
    """

    def __init__(self, *, region: str) -> None:
        self._region = region
        self._lines: list[int] = []
        self._is_bad = bytearray()
        self._said: dict[bytes, tuple[int, bytes]] = {}  # digests: of 200 000 rows, what they are made of is too much

    @property
    def rows(self) -> int:
        """So far."""
        return len(self._lines)

    def read(self, record: Record) -> Together:
        """The next one."""
        row = judge(record, region=self._region)
        number = len(self._lines)
        self._lines.append(row.line)
        self._is_bad.append(row.wanted is None)
        if row.wanted is None:
            return Together(number, row, None)
        new, others = self._held_against_others(number, row.wanted)
        if not others:
            return Together(number, row, Wanted(row.wanted.recipient, new))
        complaints = tuple(Complaint(RowFault.CONFLICT, None, self._lines[one]) for one in others)
        spoiled = tuple((one, self._lines[one]) for one in others if not self._is_bad[one])
        for one in (number, *others):
            self._is_bad[one] = True
        return Together(number, Row(row.line, row.address, None, complaints), None, spoiled)

    def _held_against_others(
        self, number: int, wanted: Wanted
    ) -> tuple[tuple[SmsCode | AccessCode, ...], tuple[int, ...]]:
        """What is new, and the rows that it contradicts: one may say the number, and another one the code."""
        new: list[SmsCode | AccessCode] = []
        contradicted: dict[int, None] = {}
        for value in wanted.values:
            what, how = _digest(wanted.recipient.key, method_of(value).value), _digest(*_parts(value))
            before, said = self._said.setdefault(what, (number, how))
            if before == number:
                new.append(value)
            elif said != how or self._is_bad[before]:
                contradicted[before] = None
        return tuple(new), tuple(contradicted)


def _parts(value: SmsCode | AccessCode) -> tuple[str, ...]:
    match value:
        case SmsCode(phone=phone):
            return ("phone", phone.reveal())
        case AccessCode(code=code, hint=hint):
            return ("code", code.reveal(), hint.reveal() if hint else "")
        case unreachable:
            assert_never(unreachable)


def _digest(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()


# --- what a row does ---------------------------------------------------------------------------------------------


class Effect(Enum):
    """What becomes of what is known, for one value. The number is stored."""

    NONE = 0  # the row says nothing of the kind, or an earlier one says it
    ADD = 1
    CHANGE = 2
    SAME = 3  # it is known, as it stands here


@dataclass(frozen=True, slots=True)
class Effects:
    """Of one good row; one octet as stored."""

    number: Effect = Effect.NONE
    code: Effect = Effect.NONE

    @classmethod
    def of(cls, effects: Mapping[Method, Effect]) -> Effects:
        """By method."""
        return cls(effects.get(Method.SMS, Effect.NONE), effects.get(Method.ACCESS_CODE, Effect.NONE))

    @property
    def octet(self) -> int:
        """Never :data:`BAD`."""
        return self.number.value << 2 | self.code.value

    @classmethod
    def of_octet(cls, octet: int) -> Effects:
        """What :attr:`octet` says."""
        return cls(Effect(octet >> 2), Effect(octet & 3))

    def of_method(self, method: Method) -> Effect:
        """For a value of that method."""
        return self.number if method is Method.SMS else self.code

    @property
    def together(self) -> Effect:
        """What is said of the row as a whole: that it changes something before that it adds something."""
        both = (self.number, self.code)
        return next((one for one in (Effect.CHANGE, Effect.ADD) if one in both), Effect.SAME)


BAD: Final = 0xFF  # in the place of a row's effects
