"""The header section as octets: read, edited, never re-serialised (RFC 5322 §2.2, §3.6).

A field that nobody touched leaves as it came, to the octet, so that signatures over it stay valid.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from zegel.core.mail.address import Mailbox, NotAMailbox

MAX_HEADER_SECTION: Final = 262_144  # octets; twice what the largest header sections of today need

_FIELD: Final = re.compile(rb"([!-9;-~]++):[^\r\n\0]*+(?:\r\n[ \t][^\r\n\0]*+)*\r\n(?![ \t])")  # RFC 5322 §2.2, §2.2.3
_BARE: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_LONGEST_MESSAGE_ID: Final = 998
_MESSAGE_ID: Final = re.compile(r"<[!-;=?A-~\u00a1-\U0010ffff]+@[!-;=?A-~\u00a1-\U0010ffff]+>")  # RFC 5322 §3.6.4


class BrokenHeader(ValueError):
    """The octets are not a header section; the reason is fixed text and quotes nothing."""


class HeaderTooLong(ValueError):
    """The header section is longer than the limit that the reader was given."""


class NotOneAuthor(ValueError):
    """The From field doesn't name exactly one author beyond doubt; the reason is fixed text and quotes nothing."""


class Field(NamedTuple):
    """One header field with its octets untouched: folding and the final CRLF are part of ``raw``."""

    name: str
    raw: bytes
    key: str
    """The name in lower case: field names are case-insensitive (RFC 5322 §1.2.2)."""

    @property
    def value(self) -> bytes:
        """What follows the colon, unfolded (RFC 5322 §2.2.3), without white space around it."""
        return self.raw[len(self.name) + 1 :].replace(b"\r\n", b"").strip(b" \t")


@dataclass(frozen=True, slots=True)
class HeaderSection:
    """Fields in their order. Every change gives a new section and leaves the other fields' octets alone."""

    fields: tuple[Field, ...] = ()

    @classmethod
    def parse(cls, octets: bytes) -> HeaderSection:
        """Reads a header section without the empty line that ends it; ``encode`` gives the same octets back.

        Raises :class:`BrokenHeader` for whatever two readers could understand differently: white space before a
        colon, a first line that continues nothing, a line that is no field, NUL, bare CR or LF, a last line
        without CRLF.
        """
        fields = []
        position = 0
        while position < len(octets):
            found = _FIELD.match(octets, position)
            if found is None:
                raise BrokenHeader(_what_is_broken(octets, position))
            name = found[1].decode("ascii")
            fields.append(Field(name, found[0], name.lower()))
            position = found.end()
        return cls(tuple(fields))

    def all(self, name: str) -> tuple[Field, ...]:
        """Every field of that name, in order; upper and lower case are equal."""
        key = name.lower()
        return tuple([field for field in self.fields if field.key == key])

    def first(self, name: str) -> Field | None:
        """The topmost field of that name."""
        key = name.lower()
        for field in self.fields:
            if field.key == key:
                return field
        return None

    def count(self, name: str) -> int:
        """How many fields have that name."""
        return len(self.all(name))

    def without(self, names: Collection[str]) -> HeaderSection:
        """The section less every field of these names."""
        keys = frozenset(name.lower() for name in names)
        return HeaderSection(tuple(field for field in self.fields if field.key not in keys))

    def prepend(self, raw: bytes) -> HeaderSection:
        """The section with these fields on top, where trace fields belong (RFC 5321 §4.4).
        Raises :class:`BrokenHeader` if ``raw`` is not a header section of its own."""
        return HeaderSection(HeaderSection.parse(raw).fields + self.fields)

    def append(self, raw: bytes) -> HeaderSection:
        """The section with these fields at the end. Raises :class:`BrokenHeader` like :meth:`prepend`."""
        return HeaderSection(self.fields + HeaderSection.parse(raw).fields)

    def encode(self) -> bytes:
        """The octets, without the empty line."""
        return b"".join([field.raw for field in self.fields])

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)


def _what_is_broken(octets: bytes, position: int) -> str:
    line = octets[position : position + 1000]
    if position == 0 and line.startswith((b" ", b"\t")):
        return "the header section begins with white space"
    if position == 0 and line.startswith(b"From "):
        return "an mbox separator is not a field"
    if b"\0" in octets:
        return "NUL in the header section"
    if _BARE.search(octets):
        return "bare CR or LF in the header section"
    if not octets.endswith(b"\r\n"):
        return "the last field has no CRLF"
    return "a line is neither a field nor the continuation of one"


class HeaderReader:
    """Finds the end of the header section in octets that arrive in pieces, looking at each octet once."""

    def __init__(self, limit: int = MAX_HEADER_SECTION) -> None:
        """A header section of more than ``limit`` octets, its empty line not counted, is :class:`HeaderTooLong`."""
        self._limit = limit
        self._buffer = bytearray()
        self._ended = False

    def feed(self, octets: bytes) -> tuple[bytes, bytes] | None:
        """``None`` while the header section goes on; then, once, the section (each line with its CRLF, the empty
        line left out) and what came of the body. How the octets are cut makes no difference."""
        if self._ended:
            raise ValueError("the header section has ended")
        buffer = self._buffer
        begin = max(0, len(buffer) - 3)  # an end that began in the last piece
        buffer += octets
        if buffer.startswith(b"\r\n"):  # no field at all
            end = 0
        elif (found := buffer.find(b"\r\n\r\n", begin)) >= 0:
            end = found + 2
        else:
            # It isn't in there, so the section has at least all octets but the last one.
            if len(buffer) - 1 > self._limit:
                raise HeaderTooLong("the header section is too long")
            return None
        if end > self._limit:
            raise HeaderTooLong("the header section is too long")
        self._ended = True
        return bytes(buffer[:end]), bytes(buffer[end + 2 :])

    def finish(self) -> bytes:
        """The content ended before an empty line: all of it is the header section, for a message needs no body
        (RFC 5322 §2.1). Only to be called when :meth:`feed` gave no section."""
        if self._ended:
            raise ValueError("the header section has ended")
        self._ended = True
        if len(self._buffer) > self._limit:
            raise HeaderTooLong("the header section is too long")
        return bytes(self._buffer)


# Charsets


_CODECS: Final = {
    # label: codec. What mail uses, superset codecs where senders mean those. A closed table: an unknown name would
    # be looked for on disk, and some codecs of Python (idna, punycode, unicode_escape) aren't charsets of mail.
    **{name: name for name in ("koi8-r", "koi8-u", "iso-2022-jp", "iso-2022-kr", "euc-jp", "euc-kr", "big5", "hz")},
    **{name: name for name in ("utf-8", "utf-16", "utf-16le", "utf-16be", "utf-32", "gb18030", "tis-620")},
    **{f"windows-{number}": f"cp{number}" for number in (874, 1250, 1251, 1252, 1253, 1254, 1255, 1256, 1257, 1258)},
    **{f"cp{number}": f"cp{number}" for number in (437, 850, 852, 866, 874, 1250, 1251, 1252, 1253, 1254, 1257)},
    **{f"iso-8859-{number}": f"iso8859-{number}" for number in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)},
    "iso-8859-8-i": "iso8859-8",
    "iso-8859-9": "cp1254",
    "iso-8859-11": "cp874",
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "latin-1": "cp1252",
    "utf8": "utf-8",
    "unicode-1-1-utf-8": "utf-8",
    "macintosh": "mac-roman",
    "ibm437": "cp437",
    "ibm850": "cp850",
    "big5-hkscs": "big5hkscs",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "gb_2312-80": "gb18030",
    "cp936": "gb18030",
    "ks_c_5601-1987": "cp949",
    "cp949": "cp949",
    "hz-gb-2312": "hz",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "windows-31j": "cp932",
    "cp932": "cp932",
    "iso-2022-jp-2": "iso2022_jp_2",
}


def decode(octets: bytes, charset: str | None) -> str:
    """Text in that charset; never raises. Octets that don't fit become U+FFFD.

    No charset, US-ASCII with high bits and an unknown charset are read as UTF-8 if they are, else as Windows-1252,
    which nearly everything is that says nothing (and which holds Latin-1).
    """
    codec = _CODECS.get((charset or "").strip().lower())
    if codec is not None and codec != "cp1252":
        return octets.decode(codec, "replace")
    if codec is None:
        try:
            return octets.decode("utf-8")
        except UnicodeDecodeError:
            pass
    try:
        return octets.decode("cp1252")
    except UnicodeDecodeError:
        return octets.decode("latin-1")  # the five octets that Windows-1252 leaves open


# Unstructured text


_ENCODED_WORD: Final = re.compile(r"=\?([!-)+->@-~]{1,75})(?:\*[!->@-~]{0,75})?\?([BbQq])\?([^?]*\??)\?=")
_NOT_BASE64: Final = re.compile(r"[^A-Za-z0-9+/]+")

_UNWANTED: Final = {
    # Control characters, line and paragraph separator, and what turns the direction of text that follows.
    **dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]),
    0x09: " ",
}


def decode_words(value: bytes) -> str:
    """The text that the sender meant: encoded words (RFC 2047) decoded, raw UTF-8 (RFC 6532) read.

    Never raises; what can't be decoded shows as U+FFFD. The result has no control characters, CR, LF and NUL
    included, and none that reverse the text after it, however they were encoded.
    """
    text = value.decode("utf-8", "replace")
    if "=?" in text:
        text = "".join(_decoded_words(text))
    return text.translate(_UNWANTED)


def _decoded_words(text: str) -> Iterator[str]:
    """Words side by side in one charset are joined before decoding: senders cut characters in two
    (against RFC 2047 §5), and white space between encoded words is not text (§6.2)."""
    charset, end = "", 0
    joined: list[bytes] = []
    for word in _ENCODED_WORD.finditer(text):
        gap = text[end : word.start()]
        adjacent = end > 0 and not gap.strip(" \t\r\n")
        if not adjacent or word[1].lower() != charset:
            yield decode(b"".join(joined), charset)
            joined.clear()
        if not adjacent:
            yield gap
        charset = word[1].lower()
        joined.append(_from_b(word[3]) if word[2] in "Bb" else _from_q(word[3]))
        end = word.end()
    yield decode(b"".join(joined), charset)
    yield text[end:]


def _from_b(encoded: str) -> bytes:
    digits = _NOT_BASE64.sub("", encoded.partition("=")[0])
    if len(digits) % 4 == 1:
        digits = digits[:-1]
    return binascii.a2b_base64(digits + "=" * (-len(digits) % 4))


def _from_q(encoded: str) -> bytes:
    return binascii.a2b_qp(encoded.encode("utf-8"), header=True)  # header: "_" is a space


# Addresses


@dataclass(frozen=True, slots=True)
class Author:
    """A mailbox with the name that is shown beside it; the name may be empty and proves nothing."""

    display: str
    mailbox: Mailbox


class _Kind(Enum):
    """What a piece of a structured field is (RFC 5322 §3.2)."""

    ATOM = 1
    ENCODED_WORD = 2
    QUOTED = 3
    COMMENT = 4
    SPECIAL = 5


@dataclass(frozen=True, slots=True)
class _Token:
    kind: _Kind
    text: str  # quoted strings with, comments without what encloses them
    apart: bool  # white space or a comment stands before it


_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<word>=\?[^?\s"<>()@,:;]{1,150}\?[BbQq]\?[^?\s"]*\?=)
    |(?P<quoted>"[^"\\]*+(?:\\.[^"\\]*+)*")
    |(?P<special>[<>@,:;.()\[\]"\\])
    |(?P<atom>[^ \t\r\n<>@,:;.()\[\]"\\]+)""",
    re.VERBOSE | re.DOTALL,
)
_IN_COMMENT: Final = re.compile(r"\\.|[()]", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_AMBIGUOUS: Final = {
    # Characters that make an address for readers who don't know comments, or who decode too early.
    _Kind.COMMENT: frozenset("<>@"),
    _Kind.ENCODED_WORD: frozenset('<>@,:;()"\\'),
}

_MAX_FROM: Final = 8192  # octets of the From field: one name and one address, however they are encoded
_MAX_ADDRESS: Final = 1000  # characters as written, escapes included; what is longer isn't looked at
_NOT_AN_ADDRESS: Final = "the From field is not an address"
_TWO_READINGS: Final = "the From field can be read in more than one way"


# What nearly every From, To and Cc looks like: nothing in it has two readings. All else goes the long way.
_SIMPLE: Final = re.compile(
    r"""[ \t]*+(?:(?:"(?P<quoted>[ !#-'*-;?A-\[\]^-~]*+)"|(?P<atoms>[A-Za-z0-9-]++(?:[ ][A-Za-z0-9-]++)*))[ ])?
    (?:<(?P<inside>[A-Za-z0-9._+-]++@[A-Za-z0-9.-]++)>|
    (?<![" A-Za-z0-9-])(?P<bare>[A-Za-z0-9._+-]++@[A-Za-z0-9.-]++))[ \t]*+""",
    re.VERBOSE,
)


def _simple(text: str) -> Author | None:
    found = _SIMPLE.fullmatch(text)
    if found is None:
        return None
    try:
        mailbox = Mailbox.parse(found["inside"] or found["bare"])
    except NotAMailbox:
        return None
    return Author(" ".join((found["quoted"] or found["atoms"] or "").split()), mailbox)


class BrokenAddress(ValueError):
    """An entry of an address list that is not ``display <mailbox>`` or ``mailbox``. Quotes nothing."""


def author(section: HeaderSection) -> Author:
    """The one author of the message: one From field with one address (RFC 5322 §3.6.2, narrowed to what an account
    can be found for; seed: "het mailadres van de afzender (From:)").

    Raises :class:`NotOneAuthor` otherwise, and also where another reader might find another author: an address
    outside the angle brackets that differs from the one inside, a comment with an address, an encoded word with
    specials, a group, a source route. A display name is never taken for an address, nor decoded before the
    address is found.
    """
    found = section.all("From")
    if len(found) != 1:
        raise NotOneAuthor("there must be exactly one From field")
    if len(found[0].raw) > _MAX_FROM:
        raise NotOneAuthor("the From field is too long")
    text = found[0].value.decode("utf-8", "surrogateescape")
    return _simple(text) or _author_of(text)


def _author_of(text: str) -> Author:
    tokens = _tokens(text)
    if any(token.kind is _Kind.SPECIAL and token.text in '"()' for token in tokens):
        raise NotOneAuthor(_NOT_AN_ADDRESS)  # something was opened and not closed
    if any(_AMBIGUOUS.get(token.kind, frozenset()) & {*token.text} for token in tokens):
        raise NotOneAuthor(_TWO_READINGS)
    entries, grouped = _entries(tokens)
    if grouped:
        raise NotOneAuthor("the From field names a group")
    if len(entries) > 1:
        raise NotOneAuthor("the From field has more than one address")
    if not entries:
        raise NotOneAuthor(_NOT_AN_ADDRESS)
    try:
        one = _entry(entries[0])
    except BrokenAddress:
        raise NotOneAuthor(_NOT_AN_ADDRESS) from None
    _refuse_a_second_address(entries[0], one.mailbox)
    return one


def _refuse_a_second_address(tokens: list[_Token], mailbox: Mailbox) -> None:
    """``jan@a.test <jan@a.test>`` is sloppy; ``jan@a.test <piet@b.test>`` is two authors."""
    brackets = [number for number, token in enumerate(tokens) if token.kind is _Kind.SPECIAL and token.text == "<"]
    phrase = tokens[: brackets[0]] if brackets else []
    if any(token.kind is _Kind.SPECIAL and token.text not in ".[]" for token in phrase):
        try:
            same = Mailbox.parse("".join(token.text for token in phrase)) == mailbox
        except NotAMailbox:
            same = False
        if not same:
            raise NotOneAuthor(_TWO_READINGS)


def addresses(value: bytes) -> tuple[Author, ...]:
    """The mailboxes of a To or Cc value, groups opened; entries that can't be read are left out. Never raises."""
    text = value.decode("utf-8", "surrogateescape")
    simple = _simple(text)
    return (simple,) if simple is not None else _mailboxes_of(text)


def all_addresses(value: bytes) -> tuple[Author, ...]:
    """As :func:`addresses`, for who sends to all that are named. Raises :class:`BrokenAddress` for an entry that can't
    be read: left out, somebody would get nothing, and nobody hear of it."""
    entries, _ = _entries(_tokens(value.decode("utf-8", "surrogateescape")))
    return tuple([_entry(entry) for entry in entries])


def _mailboxes_of(text: str) -> tuple[Author, ...]:
    entries, _ = _entries(_tokens(text))
    found = []
    for entry in entries:
        try:
            found.append(_entry(entry))
        except BrokenAddress:
            continue
    return tuple(found)


def _tokens(text: str) -> list[_Token]:
    """In one pass, whatever the text. A quote or parenthesis that is never closed stays a special, and the others
    of its kind behind it become spaces: they could not be closed either."""
    tokens: list[_Token] = []
    position, apart = 0, False
    while position < len(text):
        found = _TOKEN.match(text, position)
        assert found is not None  # the alternatives cover every character
        kind, piece, end = found.lastgroup, found[0], found.end()
        if piece == "(" and (close := _end_of_comment(text, position)) > 0:
            tokens.append(_Token(_Kind.COMMENT, text[end : close - 1], apart))
            position, apart = close, True
            continue
        if piece in ('"', "("):
            text = text[:end] + text[end:].replace(piece, " ")
        if kind != "space":
            tokens.append(_Token(_KINDS[kind or ""], piece, apart))
        position, apart = end, kind == "space"
    return tokens


_KINDS: Final = {
    "word": _Kind.ENCODED_WORD,
    "quoted": _Kind.QUOTED,
    "special": _Kind.SPECIAL,
    "atom": _Kind.ATOM,
}


def _end_of_comment(text: str, position: int) -> int:
    """Behind the parenthesis that closes the one at ``position`` (comments nest, RFC 5322 §3.2.2); 0: none does."""
    depth = 0
    for mark in _IN_COMMENT.finditer(text, position):
        if mark[0] == "(":
            depth += 1
        elif mark[0] == ")":
            depth -= 1
            if depth == 0:
                return mark.end()
    return 0


def _entries(tokens: list[_Token]) -> tuple[list[list[_Token]], bool]:
    """The list cut at its commas, and whether groups (RFC 5322 §3.4) were in it. Entries of nothing but comments
    are left out (obs-addr-list)."""
    entries: list[list[_Token]] = []
    entry: list[_Token] = []
    grouped = inside = routed = False
    for token in tokens:
        mark = token.text if token.kind is _Kind.SPECIAL else ""
        if mark == "<":
            inside, routed = True, False
        elif mark == ">":
            inside = False
        elif mark == "@" and inside and entry and entry[-1].text == "<":
            routed = True  # obs-route: commas and colons are part of it
        if (mark == "," and not (inside and routed)) or mark == ";":
            entries.append(entry)
            entry, inside = [], False
        elif mark == ":" and not inside:
            entry, grouped = [], True
        else:
            entry.append(token)
    entries.append(entry)
    return [entry for entry in entries if any(token.kind is not _Kind.COMMENT for token in entry)], grouped


def _entry(tokens: list[_Token]) -> Author:
    comments = [token.text for token in tokens if token.kind is _Kind.COMMENT]
    words = [token for token in tokens if token.kind is not _Kind.COMMENT]
    opening = [number for number, token in enumerate(words) if token.kind is _Kind.SPECIAL and token.text == "<"]
    if not opening:
        return Author(_display_of(comments[-1] if comments else ""), _mailbox(words))  # (name), before RFC 822
    if len(opening) > 1 or words[-1].kind is not _Kind.SPECIAL or words[-1].text != ">":
        raise BrokenAddress
    begin = opening[0]
    return Author(_display_of(_phrase(words[:begin])), _mailbox(words[begin + 1 : -1]))


def _mailbox(tokens: list[_Token]) -> Mailbox:
    """White space and comments inside the address are refused (RFC 5322 §3.4.1: "SHOULD NOT be used around the @");
    so are routes, address literals and encoded words (RFC 2047 §5)."""
    if not tokens or any(token.apart for token in tokens[1:]):
        raise BrokenAddress
    if any(token.kind is _Kind.ENCODED_WORD for token in tokens):
        raise BrokenAddress
    if sum(token.kind is _Kind.SPECIAL and token.text == "@" for token in tokens) != 1:
        raise BrokenAddress
    text = "".join(token.text for token in tokens)
    if len(text) > _MAX_ADDRESS:
        raise BrokenAddress
    try:
        return Mailbox.parse(text)
    except NotAMailbox:
        raise BrokenAddress from None


def _phrase(tokens: list[_Token]) -> str:
    return "".join((" " if token.apart else "") + _unquoted(token) for token in tokens)


def _unquoted(token: _Token) -> str:
    return _ESCAPE.sub(r"\1", token.text[1:-1]) if token.kind is _Kind.QUOTED else token.text


def _display_of(phrase: str) -> str:
    return " ".join(decode_words(phrase.encode("utf-8", "surrogateescape")).split())


def references(section: HeaderSection, *, most: int) -> tuple[str, ...]:
    """The Message-IDs that a message says it answers (RFC 5322 §3.6.4), the closest last, at most so many: those of
    ``References``, then that of ``In-Reply-To``."""
    found: dict[str, None] = {}
    for name in ("References", "In-Reply-To"):
        for field in section.all(name):
            for one in _MESSAGE_ID.findall(field.value.decode("utf-8", "replace")):
                if len(one) <= _LONGEST_MESSAGE_ID and "\ufffd" not in one:
                    found.pop(one, None)
                    found[one] = None
    return tuple(found)[-most:]


def message_id(section: HeaderSection) -> str | None:
    """The Message-ID with its angle brackets, if there is exactly one field and it is well-formed
    (RFC 5322 §3.6.4, RFC 6532 §3.2)."""
    found = section.all("Message-ID")
    if len(found) != 1:
        return None
    text = found[0].value.decode("utf-8", "replace")
    return text if _MESSAGE_ID.fullmatch(text) and "\ufffd" not in text else None
