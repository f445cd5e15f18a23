"""Who the client says it is: SASL PLAIN (RFC 4616) and LOGIN, spoken as RFC 4954 frames them.

A stage is what the server waits for; an answer turns it into the next stage, into credentials, or into a
failure. Nothing here knows whether a password is right.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar, Final

from zegel.core.secret import Secret


@dataclass(frozen=True, slots=True)
class Plain:
    """One response carries identity, name and password (RFC 4616 §2)."""

    challenge: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class LoginName:
    """LOGIN, first question. No RFC describes it; old mail programs know nothing else."""

    challenge: ClassVar[str] = "VXNlcm5hbWU6"  # "Username:"


@dataclass(frozen=True, slots=True)
class LoginPassword:
    """LOGIN, second question."""

    username: str
    challenge: ClassVar[str] = "UGFzc3dvcmQ6"  # "Password:"


Stage = Plain | LoginName | LoginPassword


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name and a password, both non-empty and without NUL; the name is printable."""

    username: str
    password: Secret[str]


class Failure(Enum):
    """Why an exchange ended without credentials."""

    CANCELLED = auto()
    """The client sent ``*`` (RFC 4954 §4)."""
    MALFORMED = auto()
    """Not base64, or not what the mechanism prescribes."""
    OTHER_IDENTITY = auto()
    """PLAIN with an authorisation identity that is not the name: nobody acts as somebody else here."""


MECHANISMS: Final[Mapping[str, Stage]] = {"PLAIN": Plain(), "LOGIN": LoginName()}
"""What is offered, and the stage that each starts in."""


def answer(stage: Stage, response: bytes) -> Stage | Credentials | Failure:
    """What the client's line (without CRLF) makes of the stage."""
    if response == b"*":
        return Failure.CANCELLED
    try:
        # Strict: RFC 4954 §4 forbids to ignore foreign characters and padding in the middle.
        message = binascii.a2b_base64(response, strict_mode=True)
        match stage:
            case Plain():
                return _plain(message)
            case LoginName():
                username = message.decode()
                return LoginPassword(username) if _is_name(username) else Failure.MALFORMED
            case LoginPassword(username):
                return _credentials(username, message.decode())
    except ValueError:  # binascii.Error and UnicodeDecodeError are both
        return Failure.MALFORMED


def _plain(message: bytes) -> Credentials | Failure:
    parts = message.decode().split("\0")
    if len(parts) != 3:
        return Failure.MALFORMED
    identity, username, password = parts
    if identity not in ("", username):
        return Failure.OTHER_IDENTITY
    return _credentials(username, password) if _is_name(username) else Failure.MALFORMED


def _credentials(username: str, password: str) -> Credentials | Failure:
    if not password or "\0" in password:
        return Failure.MALFORMED
    return Credentials(username, Secret(password))


def _is_name(username: str) -> bool:
    return bool(username) and username.isprintable()
