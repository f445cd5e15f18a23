"""Decision: what is known about one recipient goes in, the plan for that recipient comes out.

``PRECEDENCE`` is the table of the seed. Everything else in this module reads it: the plan, the findings behind the
plan, and the page ``docs/precedence.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, assert_never

from zegel.core.policy.case import INBOUND_DIRECT_DELIVERY_LEVEL, Case, case_from_json, case_to_json
from zegel.core.policy.phone import mask_phone
from zegel.core.policy.reasons import Why
from zegel.core.policy.transport import (
    PROVEN,
    Authentication,
    Tls,
    TransportSecurity,
    level_from_json,
    level_to_json,
)
from zegel.core.policy.verification import AccountSignIn, EmailCode, Method, SmsCode, Verification, method_of

TABLE_VERSION: Final = 1  # goes up when the same case would get another plan
REQUIRETLS_LEVEL: Final = TransportSecurity(Tls.TLS_1_2, Authentication.SIGNED_MX)
NTA_7516_LEVEL: Final = TransportSecurity(Tls.TLS_1_2, Authentication.DANE)
DELIVERY_NOT_AUTHORISED: Final = "5.7.1"  # RFC 3463 §3.8: nothing may be sent to this recipient in any allowed way


# --- the plan ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Readable:
    """Deliver the message itself, over nothing that falls short of ``needs``; not possible: the next step."""

    rank: int
    needs: TransportSecurity
    over_nta: bool = False  # to the ntamx hosts, by the rules of NTA 7516
    requires_tls: bool = False  # the server must promise REQUIRETLS in its turn


@dataclass(frozen=True, slots=True)
class Notify:
    """Deliver a notification; the recipient verifies in the portal. Ends the plan."""

    rank: int
    method: Method
    masked: str | None = None  # of the telephone number, where there is one
    code_mail_needs: TransportSecurity | None = None  # not met at that moment: bounce, and never a code below it


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait until somebody supplies what one of these methods needs (D-6). Ends the plan."""

    required: frozenset[Method]


@dataclass(frozen=True, slots=True)
class Undeliverable:
    """Tell the sender. Ends the plan; after readable steps it means that none of them succeeded."""

    status: str
    why: Why


Step = Readable | Notify | Hold | Undeliverable


@dataclass(frozen=True, slots=True)
class Finding:
    """What one row of the table had to say about this case; ``hit`` means that the row is in the plan."""

    rank: int
    name: str
    hit: bool
    why: Why


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps, best first: any number of :class:`Readable` ones, then exactly one of another kind."""

    steps: tuple[Step, ...]
    findings: tuple[Finding, ...]  # all rows, by rank
    verification: Verification | None = None  # what the Notify step needs; not part of the stored form: seal it


# --- the table ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hit:
    """The row applies."""

    why: Why


@dataclass(frozen=True, slots=True)
class Miss:
    """The row does not apply."""

    why: Why


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    rank: int
    name: str
    naam: str
    applied_when: str
    recipient_gets: str
    applies: Callable[[Case], Hit | Miss]
    steps: Callable[[Case], tuple[Step, ...]]
    verification: Callable[[Case], Verification | None] = lambda case: None


def _allows(case: Case, method: Method) -> bool:
    return method in case.policy.allowed and (not case.policy.required or method in case.policy.required)


def _demanded(case: Case) -> TransportSecurity | None:
    """What the message asks of transport. Nothing that reads like a demand is ever below the seed's default."""
    return PROVEN.at_least(case.asked.transport) if case.asked.transport else None


def _never_below_the_message(case: Case, level: TransportSecurity) -> TransportSecurity:
    """RFC 8689 §4.2.1 wants an MX that nobody can have forged, besides a certificate that is valid for it."""
    demanded = level.at_least(_demanded(case) or PROVEN)
    return demanded.at_least(REQUIRETLS_LEVEL) if case.asked.requires_tls else demanded


def _readable(case: Case, rank: int, level: TransportSecurity, *, over_nta: bool = False) -> Readable:
    return Readable(rank, _never_below_the_message(case, level), over_nta, case.asked.requires_tls)


# Row 1


def _goes_inbound_direct(case: Case) -> bool:
    return case.takes_inbound_direct_delivery and case.asked.verification is None and not case.policy.required


def _account(case: Case) -> Hit | Miss:
    if _goes_inbound_direct(case):
        return Hit(Why.TAKES_INBOUND_DIRECT_DELIVERY)
    own = _own_account(case)
    if case.takes_inbound_direct_delivery and own == Miss(Why.NO_ACCOUNT):
        named = case.asked.verification is not None
        return Miss(Why.METHOD_GOES_BEFORE_INBOUND if named else Why.POLICY_DEMANDS_VERIFICATION)
    return own


def _own_account(case: Case) -> Hit | Miss:
    account = case.account
    if account is None:
        return Miss(Why.NO_ACCOUNT)
    if not account.has_second_factor:
        return Miss(Why.NO_SECOND_FACTOR)
    if not _allows(case, Method.ACCOUNT):
        return Miss(Why.POLICY_FORBIDS_METHOD)
    replaced = _method_an_account_would_replace(case)
    if replaced is not None and replaced not in account.proven_methods and not account.vouched_for:
        return Miss(Why.METHOD_NOT_PASSED_YET)  # D-9
    return Hit(Why.HAS_ACCOUNT)


def _method_an_account_would_replace(case: Case) -> Method | None:
    if case.asked.verification is not None:
        return method_of(case.asked.verification)
    if isinstance(_remembered_sms(case), Hit):
        return Method.SMS
    return Method.ACCESS_CODE if isinstance(_remembered_access_code(case), Hit) else None


def _account_steps(case: Case) -> tuple[Step, ...]:
    steps: tuple[Step, ...] = ()
    if _goes_inbound_direct(case):
        steps = (_readable(case, 1, INBOUND_DIRECT_DELIVERY_LEVEL),)
    if isinstance(_own_account(case), Hit):
        steps = (*steps, Notify(1, Method.ACCOUNT))
    return steps


# Row 2


def _nta_7516(case: Case) -> Hit | Miss:
    if not case.nta.sender_complies:
        return Miss(Why.SENDER_DOES_NOT_COMPLY)
    if not case.nta.recipient_complies:
        return Miss(Why.RECIPIENT_DOES_NOT_COMPLY)
    if case.policy.required:
        return Miss(Why.POLICY_DEMANDS_VERIFICATION)
    return Hit(Why.BOTH_COMPLY)


def _nta_7516_steps(case: Case) -> tuple[Step, ...]:
    return (_readable(case, 2, NTA_7516_LEVEL, over_nta=True),)


# Row 3


def _specified(case: Case) -> Hit | Miss:
    asked = case.asked.verification
    if asked is None:
        return Miss(Why.MESSAGE_NAMES_NO_METHOD)
    return Hit(Why.MESSAGE_NAMES_METHOD if _allows(case, method_of(asked)) else Why.POLICY_CONTRADICTS_MESSAGE)


def _specified_steps(case: Case) -> tuple[Step, ...]:
    asked = case.asked.verification
    assert asked is not None
    if not _allows(case, method_of(asked)):
        return (Undeliverable(DELIVERY_NOT_AUTHORISED, Why.POLICY_CONTRADICTS_MESSAGE),)
    return (Notify(3, method_of(asked), _masked(asked)),)


# Row 4


def _transport(case: Case) -> Hit | Miss:
    asked = case.asked.transport is not None
    if not asked and case.policy.lists_domain is None:
        return Miss(Why.NOT_ASKED_NOT_LISTED)
    if case.policy.required:
        return Miss(Why.POLICY_DEMANDS_VERIFICATION)
    if not asked and case.asked.verification is not None:
        return Miss(Why.METHOD_GOES_BEFORE_LIST)
    if asked and not case.policy.allows_transport:
        return Miss(Why.POLICY_FORBIDS_TRANSPORT)
    if _goes_inbound_direct(case):
        return Miss(Why.SAME_ROAD_TRIED_BEFORE)
    return Hit(Why.MESSAGE_ASKS_TRANSPORT if asked else Why.DOMAIN_IS_LISTED)


def _transport_steps(case: Case) -> tuple[Step, ...]:
    level = case.asked.transport or case.policy.lists_domain
    assert level is not None
    return (_readable(case, 4, level),)


# Rows 5 and 6


def _remembered_sms(case: Case) -> Hit | Miss:
    return _remembered(case, Method.SMS, case.remembered.sms)


def _remembered_access_code(case: Case) -> Hit | Miss:
    return _remembered(case, Method.ACCESS_CODE, case.remembered.access_code)


def _remembered(case: Case, method: Method, known: Verification | None) -> Hit | Miss:
    if known is None:
        return Miss(Why.NEVER_OPENED)
    if not _allows(case, method):
        return Miss(Why.POLICY_FORBIDS_METHOD)
    return Hit(Why.SUPPLIED if method in case.remembered.supplied else Why.OPENED_BEFORE)


# Row 7


def _email(case: Case) -> Hit | Miss:
    if case.asked.never_email:
        return Miss(Why.MESSAGE_EXCLUDES_EMAIL)
    if not _allows(case, Method.EMAIL):
        return Miss(Why.POLICY_FORBIDS_METHOD)
    return Hit(Why.NOTHING_SAFER_AT_LEVEL if _code_mail_needs(case) else Why.NOTHING_SAFER)


def _email_steps(case: Case) -> tuple[Step, ...]:
    return (Notify(7, Method.EMAIL, code_mail_needs=_code_mail_needs(case)),)


def _code_mail_needs(case: Case) -> TransportSecurity | None:
    """The demand of the message holds for its code as well, unless the message lifts it; also where the policy kept
    direct delivery from being tried (a probe tells then)."""
    return None if case.asked.email_after_transport_unconditionally else _demanded(case)


NOTIFICATION: Final = "notification"
READABLE: Final = "readable message"

PRECEDENCE: Final[tuple[Row, ...]] = (
    Row(
        1,
        "Account",
        "Zegel-account",
        "the recipient has an account here with a second factor (D-9); or the recipient's organisation has inbound "
        "direct delivery on and the message names no method",
        "notification; with inbound direct delivery: readable message",
        _account,
        _account_steps,
        lambda case: AccountSignIn(),
    ),
    Row(
        2,
        "NTA 7516",
        "NTA 7516",
        "sender and recipient both comply with NTA 7516",
        READABLE,
        _nta_7516,
        _nta_7516_steps,
    ),
    Row(
        3,
        "Specified by the sender",
        "Opgegeven methode",
        "an access-right field names SMS or an access code for this recipient",
        NOTIFICATION,
        _specified,
        _specified_steps,
        lambda case: case.asked.verification,
    ),
    Row(
        4,
        "Transport security",
        "Transportbeveiliging",
        "a direct-delivery field asks and the organisation's policy permits; or the message names no method and the "
        "domain is on the organisation's direct-delivery list",
        READABLE,
        _transport,
        _transport_steps,
    ),
    Row(
        5,
        "SMS code",
        "SMS-code",
        "anyone in the organisation used SMS for this recipient before, and the recipient opened that message; or "
        "somebody of the organisation entered the number",
        NOTIFICATION,
        _remembered_sms,
        lambda case: (Notify(5, Method.SMS, _masked(case.remembered.sms)),),
        lambda case: case.remembered.sms,
    ),
    Row(
        6,
        "Access code",
        "Toegangscode",
        "anyone in the organisation used an access code for this recipient before, and the recipient opened that "
        "message; or somebody of the organisation entered the code",
        NOTIFICATION,
        _remembered_access_code,
        lambda case: (Notify(6, Method.ACCESS_CODE),),
        lambda case: case.remembered.access_code,
    ),
    Row(
        7,
        "E-mail verification",
        "E-mailverificatie",
        "nothing safer is available; where the message asked for transport security its code travels at no less, "
        "unless the message lifts that",
        NOTIFICATION,
        _email,
        _email_steps,
        lambda case: EmailCode(),
    ),
)


# --- reading the table -------------------------------------------------------------------------------------------


def plan(case: Case) -> Plan:
    """The steps for one recipient, best first, and what each row said.

    Only readable steps can be followed by another; the last step is always a :class:`Notify`, a :class:`Hold` or an
    :class:`Undeliverable`. No step is weaker than the message asked, and after a method that the message named
    nothing follows (seed; D-1, D-3, D-6, D-9).
    """
    steps: tuple[Step, ...] = ()
    findings: list[Finding] = []
    verification: Verification | None = None
    for row in _in_order(case):
        found = row.applies(case)
        if isinstance(found, Hit) and _is_ended(steps):
            found = Miss(Why.NOT_REACHED)
        if isinstance(found, Hit):
            steps = (*steps, *row.steps(case))
            if isinstance(steps[-1], Notify):
                verification = row.verification(case)
        findings.append(Finding(row.rank, row.name, isinstance(found, Hit), found.why))
    if not _is_ended(steps):
        steps = (*steps, _end(case, tried=bool(steps)))
    return Plan(steps, tuple(sorted(findings, key=lambda finding: finding.rank)), verification)


def _in_order(case: Case) -> tuple[Row, ...]:
    """By rank, but with both fields in the message transport goes first and the named method follows it (D-1)."""
    if case.asked.verification is None or case.asked.transport is None:
        return PRECEDENCE
    first, second, third, fourth, *rest = PRECEDENCE
    return (first, second, fourth, third, *rest)


def _is_ended(steps: tuple[Step, ...]) -> bool:
    return bool(steps) and not isinstance(steps[-1], Readable)


def _end(case: Case, *, tried: bool) -> Hold | Undeliverable:
    """No row leads to a notification. Held is only who lacks what the policy demands and nobody knows (D-6)."""
    if _allows(case, Method.EMAIL):
        return Undeliverable(DELIVERY_NOT_AUTHORISED, Why.MESSAGE_EXCLUDES_EMAIL)
    allowed = frozenset(method for method in Method if _allows(case, method))
    if not allowed:
        return Undeliverable(DELIVERY_NOT_AUTHORISED, Why.NO_METHOD_ALLOWED)
    if tried or not case.policy.holds:  # exhausted by transport: bounced, as the seed says
        return Undeliverable(DELIVERY_NOT_AUTHORISED, Why.LACKS_WHAT_POLICY_DEMANDS)
    return Hold(allowed)


def _masked(verification: Verification | None) -> str | None:
    return mask_phone(verification.phone.reveal()) if isinstance(verification, SmsCode) else None


def asked_more_than_allowed(case: Case, found: Plan) -> bool:
    """The message asks for direct delivery and the policy keeps it from that: safer, but the sender is told. A named
    method that isn't allowed needs no word more than its report."""
    return case.asked.transport is not None and any(
        finding.rank == 4 and finding.why in _AGAINST_TRANSPORT for finding in found.findings
    )


_AGAINST_TRANSPORT: Final = frozenset({Why.POLICY_FORBIDS_TRANSPORT, Why.POLICY_DEMANDS_VERIFICATION})

# What decided on the day of a stored plan. A change of the table gets a new number, and the old one stays.
TABLES: Final[Mapping[int, Callable[[Case], Plan]]] = {TABLE_VERSION: plan}


# --- the stored form ---------------------------------------------------------------------------------------------

_FORM: Final = 1


class UnknownPlan(ValueError):
    """A stored plan of a form that this version doesn't read."""


def plan_to_json(plan: Plan, case: Case) -> dict[str, Any]:
    """For storing and showing, with the facts behind it: no number and no code stands in it, a telephone number only
    masked. :func:`replay` decides it again."""
    return {
        "form": _FORM,
        "table": TABLE_VERSION,
        "case": case_to_json(case),
        "steps": [_step_to_json(step) for step in plan.steps],
        "findings": [
            {"rank": finding.rank, "name": finding.name, "hit": finding.hit, "why": finding.why.value}
            for finding in plan.findings
        ],
    }


def plan_from_json(stored: Mapping[str, Any]) -> Plan:
    """What :func:`plan_to_json` wrote; ``verification`` is ``None``, since it is sealed elsewhere."""
    if stored.get("form") != _FORM:
        raise UnknownPlan("a stored plan of an unknown form")
    return Plan(
        steps=tuple(_step_from_json(step) for step in stored["steps"]),
        findings=tuple(
            Finding(finding["rank"], finding["name"], finding["hit"], _WHY[finding["why"]])
            for finding in stored["findings"]
        ),
    )


@dataclass(frozen=True, slots=True)
class Replayed:
    """A stored decision, and the same facts put to the table of its day once more."""

    table: int
    case: Case  # its numbers are masked, its codes empty
    stored: Plan
    again: Plan

    @property
    def is_same(self) -> bool:
        """The table says today what it said then."""
        return self.stored == self.again


def replay(stored: Mapping[str, Any]) -> Replayed:
    """Decides a stored plan again. Raises :class:`UnknownPlan` where its form or its table is not known here, or its
    facts were not stored yet."""
    table: int = stored.get("table", 0)
    if table not in TABLES or "case" not in stored:
        raise UnknownPlan("a stored plan without its facts, or of an unknown table")
    case = case_from_json(stored["case"])
    return Replayed(table, case, plan_from_json(stored), without_secrets(TABLES[table](case)))


def without_secrets(plan: Plan) -> Plan:
    """The plan as it comes back from storage."""
    return replace(plan, verification=None)


_WHY: Final = {why.value: why for why in Why}


def _step_to_json(step: Step) -> dict[str, Any]:
    match step:
        case Readable(rank, needs, over_nta, requires_tls):
            level = level_to_json(needs)
            more = {"over_nta": over_nta, "requires_tls": requires_tls}
            return {"kind": "readable", "rank": rank, "needs": level, **more}
        case Notify(rank, method, masked, needs_for_code):
            demand = level_to_json(needs_for_code) if needs_for_code else None
            return {"kind": "notify", "rank": rank, "method": method.value, "masked": masked, "code_mail_needs": demand}
        case Hold(required):
            return {"kind": "hold", "required": sorted(method.value for method in required)}
        case Undeliverable(status, why):
            return {"kind": "undeliverable", "status": status, "why": why.value}
        case unreachable:
            assert_never(unreachable)


def _step_from_json(stored: Mapping[str, Any]) -> Step:
    match stored["kind"]:
        case "readable":
            promised = stored.get("requires_tls", False)
            return Readable(stored["rank"], level_from_json(stored["needs"]), stored["over_nta"], promised)
        case "notify":
            level = level_from_json(stored["code_mail_needs"]) if stored["code_mail_needs"] else None
            return Notify(stored["rank"], Method(stored["method"]), stored["masked"], level)
        case "hold":
            return Hold(frozenset(Method(method) for method in stored["required"]))
        case "undeliverable":
            return Undeliverable(stored["status"], _WHY[stored["why"]])
        case _:
            raise UnknownPlan("a stored step of an unknown kind")


# --- the page ----------------------------------------------------------------------------------------------------


def as_markdown(table: tuple[Row, ...]) -> str:
    """``docs/precedence.md``, printed from the table in force."""
    lines = "".join(
        f"| {row.rank} | {row.name} | {row.naam} | {row.applied_when} | {row.recipient_gets} |\n" for row in table
    )
    reasons = "".join(f"| `{why.value}` | {why.en} | {why.nl} |\n" for why in Why)
    return _PAGE.format(version=TABLE_VERSION, lines=lines, reasons=reasons)


_PAGE: Final = """\
# How a recipient's method is chosen

<!-- Printed by zegel.core.policy.precedence.as_markdown; a test compares. Table version {version}. -->

For every recipient the rows that apply are put in a plan, best first.

| # | method | methode | applied when | the recipient gets |
|---|---|---|---|---|
{lines}
## How the plan is walked

- Only readable steps (rows 2 and 4, and inbound direct delivery in row 1) fall back to the next row that applies.
- The first notification ends the plan. If its mail can't be delivered it is tried again, then reported to the sender.
- After a method that the message names nothing follows: no message slides from SMS to a code by e-mail.
- A message with both fields for a recipient tries transport first, then the named method (D-1).
- A named method goes before the direct-delivery list and before inbound direct delivery.
- Inbound direct delivery and row 4 use the same servers, so that row 4 isn't tried after it.
- No readable step demands less than the message asked, and none less than TLS 1.2 with a valid certificate.
- NTA 7516 demands TLS 1.2 with DANE, to the hosts that the recipient's record names.
- A message that was submitted with REQUIRETLS (RFC 8689) is readable only for servers that promise REQUIRETLS in their
  turn and that DNSSEC, MTA-STS or DANE has named; elsewhere it is the next row.
- A message that asked for transport security sends the code of row 7 at that level or not at all, unless
  `minimum-recipient-verification: email-verification` lifts this. The same field, empty or invalid, excludes row 7
  (D-3).
- Where the organisation's policy demands certain methods, only those count and nothing is delivered readable. A
  recipient about whom nothing fitting is known is held, or reported, as the policy says (D-6).
- Where a message names a method that the policy doesn't allow, no other takes its place: the plan ends there, and the
  sender is told unless a row before it served the recipient.
- An account that proves nothing but the mailbox doesn't replace a specified or remembered method until the recipient
  has passed that method once (D-9).

## What is recorded

Every row leaves a finding, with one of these reasons.

| code | English | Nederlands |
|---|---|---|
{reasons}"""
