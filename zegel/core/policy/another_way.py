"""Portal: a recipient can't use the method that was decided; why, and what the sender may allow in its place.

What may be allowed is asked of the table: nothing weaker than the policy and the message demand is ever offered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from enum import Enum
from types import MappingProxyType
from typing import Final

from zegel.core.clock import Duration, Instant
from zegel.core.policy.case import Case
from zegel.core.policy.precedence import Notify, plan
from zegel.core.policy.verification import AccessCode, Method, SmsCode
from zegel.core.secret import Secret

ASK_AGAIN_AFTER: Final[Duration] = timedelta(hours=24)  # the sender gets no more than one mail in that time


class Hindrance(Enum):
    """Why a recipient can't use a method, as stored. Closed: there is no place for a stranger's words to a sender."""

    NUMBER_CHANGED = "number-changed"
    NO_TEXT_MESSAGES = "no-text-messages"
    NOTHING_COMES = "nothing-comes"
    CODE_NOT_KNOWN = "code-not-known"
    CODE_REFUSED = "code-refused"
    NO_SIGN_IN = "no-sign-in"


HINDRANCES: Final[Mapping[Method, tuple[Hindrance, ...]]] = MappingProxyType(
    {
        Method.ACCOUNT: (Hindrance.NO_SIGN_IN,),
        Method.SMS: (Hindrance.NUMBER_CHANGED, Hindrance.NOTHING_COMES, Hindrance.NO_TEXT_MESSAGES),
        Method.ACCESS_CODE: (Hindrance.CODE_NOT_KNOWN, Hindrance.CODE_REFUSED),
        Method.EMAIL: (Hindrance.NOTHING_COMES,),
    }
)

_SOME_NUMBER: Final = SmsCode(Secret(""))
_SOME_CODE: Final = AccessCode(Secret(""))


def other_ways(case: Case) -> tuple[Notify, ...]:
    """What a sender may allow for this recipient, the safest first; the steps are without a number.

    A number or an access code, as if the message had named it; a code by e-mail where the message would have come to
    that with nothing remembered, and then at the level that it demands. A message that named a method never opens with
    a code by e-mail (seed), also when its sender would like it to. An account can't be allowed: it is there or not.
    """
    bare = Case(asked=case.asked, policy=case.policy)
    cases = [replace(bare, asked=replace(case.asked, verification=named)) for named in (_SOME_NUMBER, _SOME_CODE)]
    if case.asked.verification is None:
        cases.append(bare)
    ends = (plan(one).steps[-1] for one in cases)
    return tuple(replace(step, masked=None) for step in ends if isinstance(step, Notify))


def may_ask(last: Instant | None, now: Instant) -> bool:
    """Whether the sender may be told once more; a clock that was set back allows nothing sooner."""
    return last is None or now >= last + ASK_AGAIN_AFTER
