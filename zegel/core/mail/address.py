"""Addresses, parsed once at the border. Inside there are no addresses or domains as ``str``."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from itertools import groupby
from typing import Final

import idna

MAX_LOCAL_PART: Final = 64  # octets, RFC 5321 §4.5.3.1.1
MAX_DOMAIN: Final = 255  # octets, RFC 5321 §4.5.3.1.2
MAX_PATH: Final = 254  # RFC 5321 §4.5.3.1.3, less the two angle brackets

_MAX_WRITTEN: Final = 4 * MAX_DOMAIN  # characters of a domain with its U-labels

_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_ATEXT: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]"
_DOT_ATOM: Final = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~\u0080-\U0010ffff]|\\[ -~])*)"')


class NotADomain(ValueError):
    """The text is not a domain name that mail can be sent to."""


class NotAMailbox(ValueError):
    """The text is not a mailbox of RFC 5321 §4.1.2 (or RFC 6531)."""


@dataclass(frozen=True, slots=True, order=True)
class Domain:
    """A domain name in its A-label form, lower case, without the root dot."""

    ascii: str

    @classmethod
    def parse(cls, text: str) -> Domain:
        """Accepts A-labels and U-labels (RFC 5890); raises :class:`NotADomain`. Address literals are refused:
        a mailbox on a bare IP address has no organisation that could be trusted with it."""
        if len(text) > _MAX_WRITTEN:  # what is remembered is bounded in size too
            raise NotADomain("not a domain name")
        return _domain(text)

    @property
    def unicode(self) -> str:
        """For people: U-labels where they decode, else the A-labels."""
        try:
            return idna.decode(self.ascii)
        except (idna.IDNAError, UnicodeError):
            return self.ascii

    def is_within(self, parent: Domain) -> bool:
        """True for the parent itself and for every name below it."""
        return self.ascii == parent.ascii or self.ascii.endswith("." + parent.ascii)

    def __str__(self) -> str:
        return self.ascii


@lru_cache(4096)  # the same addresses come again and again
def _domain(text: str) -> Domain:
    name = text.strip().rstrip(".").lower()
    if not name or "." not in name:
        raise NotADomain("a domain needs at least two labels")
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError) as cause:
            raise NotADomain("not an internationalised domain name") from cause
    if len(name) > MAX_DOMAIN or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise NotADomain("not a domain name")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return Domain(name)
    raise NotADomain("an IP address is not a domain name")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One mailbox. Equality and hash follow :attr:`key`, because no system of this century
    delivers ``Jan@`` and ``jan@`` to different people, and a second spelling must not be a second recipient."""

    local: str
    domain: Domain
    key: str = field(init=False, repr=False)
    """What identifies the mailbox: equal for every spelling of it."""

    def __post_init__(self) -> None:
        local = self.local.lower() if self.local.isascii() else _folded(self.local)
        object.__setattr__(self, "key", f"{local}@{self.domain.ascii}")

    @classmethod
    def parse(cls, text: str) -> Mailbox:
        """``local@domain`` without angle brackets; quoted local-parts are unquoted. Raises :class:`NotAMailbox`."""
        return _mailbox(text)

    @property
    def needs_smtputf8(self) -> bool:
        """RFC 6531: the local-part has non-ASCII characters (the domain always has A-labels)."""
        return not self.local.isascii()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mailbox) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        if _DOT_ATOM.fullmatch(self.local):
            return f"{self.local}@{self.domain.ascii}"
        escaped = self.local.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"@{self.domain.ascii}'


def _folded(local: str) -> str:
    """Composed or not, in capitals or not, it is the same text (RFC 6532 §3.1). Nothing more is: ``groß`` and ``gross``
    look alike to a comparison of words, and are the mailboxes of two people. So are ``k`` and the sign for kelvin."""
    return "".join(
        "".join(run) if is_other else unicodedata.normalize("NFC", unicodedata.normalize("NFC", "".join(run)).lower())
        for is_other, run in groupby(local, _is_a_letter_in_another_place)
    )


def _is_a_letter_in_another_place(char: str) -> bool:
    """Unicode has this letter twice, and calls both the same (a singleton, such as U+212A for ``K``), or the capital of
    the same (U+03F4). No mail server has to: whoever can choose such a spelling may not get another's mail with it."""
    one = unicodedata.decomposition(char)
    return char == "\u03f4" or (one != "" and " " not in one)


@lru_cache(4096)
def _mailbox(text: str) -> Mailbox:
    local, at, domain_text = text.strip(" \t\r\n").rpartition("@")  # other white space is part of a local-part
    if not at or not local:
        raise NotAMailbox("an address is local-part@domain")
    quoted = _QUOTED.fullmatch(local)
    if quoted is not None:
        local = re.sub(r"\\(.)", r"\1", quoted[1])
    elif not _DOT_ATOM.fullmatch(local):
        raise NotAMailbox("not a local-part")
    if not local or len(local.encode("utf-8", "surrogatepass")) > MAX_LOCAL_PART:
        raise NotAMailbox("the local-part is empty or longer than 64 octets")
    if any("\ud800" <= char <= "\udfff" for char in local):
        raise NotAMailbox("not UTF-8")
    try:
        mailbox = Mailbox(local, Domain.parse(domain_text))
    except NotADomain as cause:
        raise NotAMailbox(str(cause)) from cause
    if len(str(mailbox).encode()) > MAX_PATH:
        raise NotAMailbox("longer than 254 octets")
    return mailbox


class NullPath(Enum):
    """The null reverse-path ``<>`` (RFC 5321 §4.5.5): nobody is told about a failure."""

    NULL = ""

    def __str__(self) -> str:
        return ""


NULL_PATH: Final = NullPath.NULL
ReversePath = Mailbox | NullPath


def parse_reverse_path(text: str) -> ReversePath:
    """The text between the angle brackets of ``MAIL FROM``; empty is the null reverse-path."""
    return Mailbox.parse(text) if text.strip() else NULL_PATH
