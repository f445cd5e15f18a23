"""What a receiving server is asked to report about a readable message: DSN parameters (RFC 3461), values in, words out.

Its reports come to the return path of that one mail, which is ours, and never to the sender: so what is asked here
decides what the gateway gets to know, and what the sender hears is decided where that comes home (ADR 50).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from zegel.core.mail.address import Mailbox
from zegel.core.smtp.lines import BadParameter, parse_original_recipient

KEYWORD: Final = "DSN"  # RFC 3461 §3
REFUSES_PARAMETERS: Final = frozenset({501, 504, 555})  # RFC 5321 §4.2.2
MAIL: Final = " RET=HDRS"
"""RFC 3461 §4.3, whatever the sender asked: no content comes back. There is no ENVID: the return path says which mail
it was, and that of the sender is nobody else's business (ADR 50)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be reported about one recipient; that the mail failed is so always.

    ``original``: ORCPT as the sender gave it, decoded (``rfc822;ontvanger@example.org``); empty where none was given.
    """

    original: str = ""
    success: bool = False
    delay: bool = False


def rcpt(asked: Asked, recipient: Mailbox) -> str:
    """The parameters of RCPT, each with a space before it: ASCII, and one line whatever the sender gave.

    FAILURE also where the sender asked for NEVER: a bounce changes what the trace says, and the sender hears nothing.
    """
    wishes = (("SUCCESS", asked.success), ("FAILURE", True), ("DELAY", asked.delay))
    notify = ",".join(word for word, is_asked in wishes if is_asked)
    orcpt = original_recipient(asked, recipient)
    return f" NOTIFY={notify}" if orcpt is None else f" NOTIFY={notify} ORCPT={orcpt}"


def original_recipient(asked: Asked, recipient: Mailbox) -> str | None:
    """The value of ORCPT (RFC 3461 §4.2): the sender's, letter for letter (§5.2.1 d), or else the address as it was
    submitted. ``None``: it can't be written so that it is read as what it is, or is longer than may be.

    The 7-bit form of UTF-8 is understood by who knows nothing of SMTPUTF8 (RFC 6533 §3).
    """
    kind, _, address = (asked.original or _of(recipient)).partition(";")
    value = f"{kind};{_unitext(address) if kind.lower() == 'utf-8' else _xtext(address)}"
    try:
        is_understood = parse_original_recipient(value, unicode=False) == (kind, address)
    except BadParameter:
        return None
    return value if is_understood else None


def _of(recipient: Mailbox) -> str:
    return f"{'utf-8' if recipient.needs_smtputf8 else 'rfc822'};{recipient}"


_NOT_XTEXT: Final = re.compile(r"[^!-*,-<>-~]")
_NOT_UNITEXT: Final = re.compile(r"[^!-*,-<>-\[\]-~]")


def _xtext(text: str) -> str:
    """RFC 3461 §4."""
    return _NOT_XTEXT.sub(lambda char: f"+{ord(char[0]):02X}", text)


def _unitext(text: str) -> str:
    """RFC 6533 §3, ``utf-8-addr-xtext``."""
    return _NOT_UNITEXT.sub(lambda char: rf"\x{{{ord(char[0]):02X}}}", text)
