"""Decision: what would be needed for something better than a plan has.

Each remedy is a sentence and a change of the case. What is offered was tried on the table first: following the
remedies of a row, one after the other, puts that row in the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from zegel.core.policy.case import Case, RecipientAccount
from zegel.core.policy.precedence import PRECEDENCE, Notify, Plan, plan
from zegel.core.policy.reasons import Why
from zegel.core.policy.transport import PROVEN
from zegel.core.policy.verification import AccessCode, Method, SmsCode, at_least, method_of
from zegel.core.policy.wording import Wording
from zegel.core.secret import Secret


class Remedy(Wording):
    """What somebody can do, and who."""

    MAKE_ACCOUNT = (
        "make-account",
        "The recipient gets an account here, with a second factor.",
        "De ontvanger krijgt hier een account, met een tweede factor.",
    )
    SET_UP_SECOND_FACTOR = (
        "set-up-second-factor",
        "The recipient signs in and sets up a second factor.",
        "De ontvanger logt in en stelt een tweede factor in.",
    )
    PASS_METHOD = (
        "pass-method",
        "The recipient opens one message with the method that is specified or remembered; then the account counts.",
        "De ontvanger opent één bericht met de opgegeven of onthouden methode; daarna telt het account.",
    )
    SENDER_COMPLIES = (
        "sender-complies",
        "The sender's domain gets a valid NTA 7516 record, a DMARC policy of quarantine or reject, and SPF that allows "
        "the gateway: its administrator publishes these.",
        "Het domein van de verzender krijgt een geldig NTA 7516-record, een DMARC-beleid quarantine of reject, en SPF "
        "die de gateway toestaat: de beheerder ervan publiceert die.",
    )
    RECIPIENT_COMPLIES = (
        "recipient-complies",
        "The recipient's domain gets a valid NTA 7516 record, signed with DNSSEC: its administrator publishes it.",
        "Het domein van de ontvanger krijgt een geldig NTA 7516-record, ondertekend met DNSSEC: de beheerder ervan "
        "publiceert dat.",
    )
    NAME_METHOD = (
        "name-method",
        "The message names SMS or an access code for the recipient, in the field zivver-access-right.",
        "Het bericht noemt sms of een toegangscode voor de ontvanger, in het veld zivver-access-right.",
    )
    NAME_OTHER_METHOD = (
        "name-other-method",
        "The message names the other method in zivver-access-right: of SMS and access code, the policy allows it.",
        "Het bericht noemt de andere methode in zivver-access-right: van sms en toegangscode staat het beleid die toe.",
    )
    NAME_NO_METHOD = (
        "name-no-method",
        "The message leaves the recipient out of zivver-access-right, so that other methods count.",
        "Het bericht laat de ontvanger weg uit zivver-access-right, zodat andere methoden tellen.",
    )
    ASK_OR_LIST = (
        "ask-or-list",
        "The message asks for direct delivery (zivver-direct-delivery), or an administrator puts the recipient's "
        "domain on the direct-delivery list.",
        "Het bericht vraagt om directe bezorging (zivver-direct-delivery), of een beheerder zet het domein van de "
        "ontvanger op de lijst voor directe bezorging.",
    )
    LIST_DOMAIN = (
        "list-domain",
        "An administrator puts the recipient's domain on the direct-delivery list.",
        "Een beheerder zet het domein van de ontvanger op de lijst voor directe bezorging.",
    )
    ASK_FOR_TRANSPORT = (
        "ask-for-transport",
        "The message asks for direct delivery as well (zivver-direct-delivery); the named method then comes after it.",
        "Het bericht vraagt ook om directe bezorging (zivver-direct-delivery); de genoemde methode komt dan daarna.",
    )
    SUPPLY_NUMBER = (
        "supply-number",
        "Somebody of the organisation enters the recipient's mobile number, or the recipient opens a message with an "
        "SMS code.",
        "Iemand van de organisatie vult het mobiele nummer van de ontvanger in, of de ontvanger opent een bericht met "
        "een sms-code.",
    )
    SUPPLY_CODE = (
        "supply-code",
        "Somebody of the organisation enters an access code for the recipient, or the recipient opens a message with "
        "one.",
        "Iemand van de organisatie vult een toegangscode voor de ontvanger in, of de ontvanger opent een bericht met "
        "een toegangscode.",
    )
    ADMIT_EMAIL = (
        "admit-email",
        "The message leaves zivver-minimum-recipient-verification out, or gives it the value email-verification.",
        "Het bericht laat zivver-minimum-recipient-verification weg, of geeft het de waarde email-verification.",
    )
    ALLOW_METHOD = (
        "allow-method",
        "An administrator allows this method in the organisation's policy.",
        "Een beheerder staat deze methode toe in het beleid van de organisatie.",
    )
    ALLOW_TRANSPORT = (
        "allow-transport",
        "An administrator lets messages ask for direct delivery, in the organisation's policy.",
        "Een beheerder laat berichten om directe bezorging vragen, in het beleid van de organisatie.",
    )
    LOWER_MINIMUM = (
        "lower-minimum",
        "An administrator sets a minimum for the recipient's domain that this method meets.",
        "Een beheerder stelt voor het domein van de ontvanger een minimum in waaraan deze methode voldoet.",
    )
    LIFT_MINIMUM = (
        "lift-minimum",
        "An administrator takes the minimum for the recipient's domain away: with one nothing is delivered readable.",
        "Een beheerder haalt het minimum voor het domein van de ontvanger weg: met een minimum wordt niets leesbaar "
        "bezorgd.",
    )


@dataclass(frozen=True, slots=True)
class Better:
    """A row above what a plan ends with, and all that is needed for it, in this order."""

    rank: int
    remedies: tuple[Remedy, ...]


def better(case: Case, found: Plan) -> tuple[Better, ...]:
    """What would be needed for each missed row above the end of the plan, by rank.

    Nothing where the plan ends with the best row; something for whoever is held or can't be served at all.
    """
    end = found.steps[-1]
    rank = end.rank if isinstance(end, Notify) else len(PRECEDENCE) + 1
    above = [row.rank for row in PRECEDENCE if row.rank < rank and _obstacle(found, row.rank) is not None]
    ways = ((one, _way_to(one, case, found)) for one in above)
    return tuple(Better(one, way) for one, way in ways if way)


def follow(remedy: Remedy, case: Case, rank: int) -> Case:
    """The case once somebody did it, for the row of that rank; unchanged where it would not help."""
    return _CHANGES[remedy](case, rank)


def _way_to(rank: int, case: Case, found: Plan) -> tuple[Remedy, ...]:
    """Empty where nothing that anybody does leads to the row."""
    remedies: list[Remedy] = []
    while (why := _obstacle(found, rank)) is not None:
        changed = ((remedy, follow(remedy, case, rank)) for remedy in REMEDIES.get(why, ()) if remedy not in remedies)
        helpful = next(((remedy, after) for remedy, after in changed if after != case), None)
        if helpful is None:
            return ()
        remedies.append(helpful[0])
        case = helpful[1]
        found = plan(case)
    return tuple(remedies)


def _obstacle(found: Plan, rank: int) -> Why | None:
    """Why the row leads nowhere; ``None``: it is in the plan, and to good purpose."""
    finding = found.findings[rank - 1]
    return None if finding.hit and finding.why is not Why.POLICY_CONTRADICTS_MESSAGE else finding.why


# --- the table ---------------------------------------------------------------------------------------------------

REMEDIES: Final[Mapping[Why, tuple[Remedy, ...]]] = MappingProxyType(
    {
        Why.NO_ACCOUNT: (Remedy.MAKE_ACCOUNT,),
        Why.NO_SECOND_FACTOR: (Remedy.SET_UP_SECOND_FACTOR,),
        Why.METHOD_NOT_PASSED_YET: (Remedy.PASS_METHOD, Remedy.NAME_NO_METHOD),
        Why.METHOD_GOES_BEFORE_INBOUND: (Remedy.MAKE_ACCOUNT,),
        Why.SENDER_DOES_NOT_COMPLY: (Remedy.SENDER_COMPLIES,),
        Why.RECIPIENT_DOES_NOT_COMPLY: (Remedy.RECIPIENT_COMPLIES,),
        Why.MESSAGE_NAMES_NO_METHOD: (Remedy.NAME_METHOD,),
        Why.POLICY_CONTRADICTS_MESSAGE: (Remedy.NAME_OTHER_METHOD, Remedy.ALLOW_METHOD, Remedy.LOWER_MINIMUM),
        Why.NOT_ASKED_NOT_LISTED: (Remedy.ASK_OR_LIST, Remedy.LIST_DOMAIN, Remedy.ASK_FOR_TRANSPORT),
        Why.METHOD_GOES_BEFORE_LIST: (Remedy.ASK_FOR_TRANSPORT,),
        Why.POLICY_FORBIDS_TRANSPORT: (Remedy.ALLOW_TRANSPORT,),
        Why.POLICY_DEMANDS_VERIFICATION: (Remedy.MAKE_ACCOUNT, Remedy.LIFT_MINIMUM),
        Why.POLICY_FORBIDS_METHOD: (Remedy.ALLOW_METHOD, Remedy.LOWER_MINIMUM),
        Why.NEVER_OPENED: (Remedy.SUPPLY_NUMBER, Remedy.SUPPLY_CODE),
        Why.MESSAGE_EXCLUDES_EMAIL: (Remedy.ADMIT_EMAIL,),
        Why.NOT_REACHED: (Remedy.NAME_NO_METHOD,),
        Why.SAME_ROAD_TRIED_BEFORE: (),  # row 1 goes there already
    }
)
"""By the reason of a missed row; the first that changes anything is taken."""

_ACCOUNT, _SPECIFIED, _SMS, _ACCESS_CODE, _EMAIL = 1, 3, 5, 6, 7
_METHOD_OF_ROW: Final = MappingProxyType(
    {_ACCOUNT: Method.ACCOUNT, _SMS: Method.SMS, _ACCESS_CODE: Method.ACCESS_CODE, _EMAIL: Method.EMAIL}
)
_SOME_NUMBER: Final = SmsCode(Secret(""))
_SOME_CODE: Final = AccessCode(Secret(""))


def _method(case: Case, rank: int) -> Method | None:
    if rank == _SPECIFIED:
        return method_of(case.asked.verification) if case.asked.verification else None
    return _METHOD_OF_ROW.get(rank)


def _allows(case: Case, method: Method) -> bool:
    return method in case.policy.allowed and (not case.policy.required or method in case.policy.required)


def _make_account(case: Case, rank: int) -> Case:
    return replace(case, account=RecipientAccount(True)) if rank == _ACCOUNT and case.account is None else case


def _set_up_second_factor(case: Case, rank: int) -> Case:
    return replace(case, account=replace(case.account, has_second_factor=True)) if case.account else case


def _pass_method(case: Case, rank: int) -> Case:
    named = case.asked.verification
    if case.account is None or (named is not None and not _allows(case, method_of(named))):
        return case  # a method that the policy forbids is never passed
    return replace(case, account=replace(case.account, proven_methods=frozenset(Method)))


def _sender_complies(case: Case, rank: int) -> Case:
    return replace(case, nta=replace(case.nta, sender_complies=True))


def _recipient_complies(case: Case, rank: int) -> Case:
    return replace(case, nta=replace(case.nta, recipient_complies=True))


def _name_method(case: Case, rank: int) -> Case:
    by_sms = _allows(case, Method.SMS) or not _allows(case, Method.ACCESS_CODE)
    return replace(case, asked=replace(case.asked, verification=_SOME_NUMBER if by_sms else _SOME_CODE))


def _name_other_method(case: Case, rank: int) -> Case:
    other = _SOME_CODE if _method(case, _SPECIFIED) is Method.SMS else _SOME_NUMBER
    return replace(case, asked=replace(case.asked, verification=other)) if _allows(case, method_of(other)) else case


def _name_no_method(case: Case, rank: int) -> Case:
    return replace(case, asked=replace(case.asked, verification=None))


def _ask_or_list(case: Case, rank: int) -> Case:
    either_will_do = case.policy.allows_transport and case.asked.verification is None
    return _list_domain(case, rank) if either_will_do else case


def _list_domain(case: Case, rank: int) -> Case:
    if case.asked.verification is not None:
        return case
    return replace(case, policy=replace(case.policy, lists_domain=PROVEN))


def _ask_for_transport(case: Case, rank: int) -> Case:
    return replace(case, asked=replace(case.asked, transport=PROVEN))


def _supply_number(case: Case, rank: int) -> Case:
    if rank != _SMS:
        return case
    supplied = case.remembered.supplied | {Method.SMS}
    return replace(case, remembered=replace(case.remembered, sms=_SOME_NUMBER, supplied=supplied))


def _supply_code(case: Case, rank: int) -> Case:
    if rank != _ACCESS_CODE:
        return case
    supplied = case.remembered.supplied | {Method.ACCESS_CODE}
    return replace(case, remembered=replace(case.remembered, access_code=_SOME_CODE, supplied=supplied))


def _admit_email(case: Case, rank: int) -> Case:
    return replace(case, asked=replace(case.asked, never_email=False))


def _allow_method(case: Case, rank: int) -> Case:
    method = _method(case, rank)
    return replace(case, policy=replace(case.policy, allowed=case.policy.allowed | {method})) if method else case


def _allow_transport(case: Case, rank: int) -> Case:
    return replace(case, policy=replace(case.policy, allows_transport=True))


def _lower_minimum(case: Case, rank: int) -> Case:
    method = _method(case, rank)
    if method is None or not case.policy.required:
        return case
    return replace(case, policy=replace(case.policy, required=case.policy.required | at_least(method)))


def _lift_minimum(case: Case, rank: int) -> Case:
    return replace(case, policy=replace(case.policy, required=frozenset()))


_CHANGES: Final[Mapping[Remedy, Callable[[Case, int], Case]]] = MappingProxyType(
    {
        Remedy.MAKE_ACCOUNT: _make_account,
        Remedy.SET_UP_SECOND_FACTOR: _set_up_second_factor,
        Remedy.PASS_METHOD: _pass_method,
        Remedy.SENDER_COMPLIES: _sender_complies,
        Remedy.RECIPIENT_COMPLIES: _recipient_complies,
        Remedy.NAME_METHOD: _name_method,
        Remedy.NAME_OTHER_METHOD: _name_other_method,
        Remedy.NAME_NO_METHOD: _name_no_method,
        Remedy.ASK_OR_LIST: _ask_or_list,
        Remedy.LIST_DOMAIN: _list_domain,
        Remedy.ASK_FOR_TRANSPORT: _ask_for_transport,
        Remedy.SUPPLY_NUMBER: _supply_number,
        Remedy.SUPPLY_CODE: _supply_code,
        Remedy.ADMIT_EMAIL: _admit_email,
        Remedy.ALLOW_METHOD: _allow_method,
        Remedy.ALLOW_TRANSPORT: _allow_transport,
        Remedy.LOWER_MINIMUM: _lower_minimum,
        Remedy.LIFT_MINIMUM: _lift_minimum,
    }
)
