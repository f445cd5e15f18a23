"""How a recipient proves to be the intended reader: the kinds, and the kinds with what they need."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from zegel.core.secret import Secret


class Method(Enum):
    """A kind of verification, as stored and shown; the safest first."""

    ACCOUNT = "account"
    SMS = "sms"
    ACCESS_CODE = "access-code"
    EMAIL = "email"


@dataclass(frozen=True, slots=True)
class AccountSignIn:
    """Sign-in to an account that has a second factor."""


@dataclass(frozen=True, slots=True)
class SmsCode:
    """A code to this number: E.164, a mobile number."""

    phone: Secret[str]


@dataclass(frozen=True, slots=True)
class AccessCode:
    """A code that sender and recipient share already."""

    code: Secret[str]
    hint: Secret[str] | None = None


@dataclass(frozen=True, slots=True)
class EmailCode:
    """A code to the mailbox that got the notification."""


Verification = AccountSignIn | SmsCode | AccessCode | EmailCode


def method_of(verification: Verification) -> Method:
    """The kind, without what it needs: safe to store, show and log."""
    match verification:
        case AccountSignIn():
            return Method.ACCOUNT
        case SmsCode():
            return Method.SMS
        case AccessCode():
            return Method.ACCESS_CODE
        case EmailCode():
            return Method.EMAIL


def at_least(minimum: Method) -> frozenset[Method]:
    """``minimum`` and what is safer, in the order of the precedence table: account, SMS, access code, e-mail."""
    methods = tuple(Method)
    return frozenset(methods[: methods.index(minimum) + 1])
