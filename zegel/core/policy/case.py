"""All that may be known about one recipient when the decision is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zegel.core.policy.phone import mask_phone
from zegel.core.policy.transport import PROVEN, TransportSecurity, level_from_json, level_to_json
from zegel.core.policy.verification import AccessCode, Method, SmsCode
from zegel.core.secret import Secret


@dataclass(frozen=True, slots=True)
class OrganisationPolicy:
    """What the sender's organisation allows and demands for this recipient (its domain lists already looked up)."""

    allowed: frozenset[Method] = frozenset(Method)
    allows_transport: bool = True  # may a message ask for direct delivery (row 4)
    lists_domain: TransportSecurity | None = None  # the domain is on the direct-delivery list, at this level
    required: frozenset[Method] = frozenset()  # one of these is demanded for this recipient's domain (D-6)
    holds: bool = True  # a recipient who lacks what is required is held; else bounced


@dataclass(frozen=True, slots=True)
class RecipientAccount:
    """An active account of the recipient at this gateway."""

    has_second_factor: bool
    proven_methods: frozenset[Method] = frozenset()  # D-9: passed once since the account was made
    vouched_for: bool = False  # D-9: more than proof of the mailbox made it (an administrator knows the holder)


@dataclass(frozen=True, slots=True)
class Nta7516Facts:
    """Both sides' records as of the decision; verified again at delivery."""

    sender_complies: bool = False
    recipient_complies: bool = False


@dataclass(frozen=True, slots=True)
class Remembered:
    """Verification data that this recipient has opened a message with before, or that was supplied for later ones; the
    sender's own goes before that of the rest of the organisation."""

    sms: SmsCode | None = None
    access_code: AccessCode | None = None
    supplied: frozenset[Method] = frozenset()  # not opened with yet: somebody of the organisation entered it


@dataclass(frozen=True, slots=True)
class Asked:
    """What the message asks for this recipient through control fields (directives that concern this recipient)."""

    verification: SmsCode | AccessCode | None = None  # zivver-access-right
    transport: TransportSecurity | None = None  # zivver-direct-delivery
    email_after_transport_unconditionally: bool = False  # zivver-minimum-recipient-verification: email-verification
    never_email: bool = False  # the same field, empty or invalid (D-3)
    requires_tls: bool = False  # REQUIRETLS: readable only to servers that promise it, over a proven way (RFC 8689)


@dataclass(frozen=True, slots=True)
class Case:
    """Gathered facts about one recipient; the input of the decision."""

    asked: Asked = field(default_factory=Asked)
    policy: OrganisationPolicy = field(default_factory=OrganisationPolicy)
    account: RecipientAccount | None = None
    takes_inbound_direct_delivery: bool = False
    nta: Nta7516Facts = field(default_factory=Nta7516Facts)
    remembered: Remembered = field(default_factory=Remembered)


INBOUND_DIRECT_DELIVERY_LEVEL = PROVEN  # product: IDD travels over at least tls1.2 + certificate-validation


# --- the stored form ----------------------------------------------------------------------------------------------


def case_to_json(case: Case) -> dict[str, Any]:
    """The facts as they may be stored and shown: of a number its masked form, of a code that there was one."""
    asked, policy, account, nta, remembered = case.asked, case.policy, case.account, case.nta, case.remembered
    return {
        "asked": {
            "verification": _verification_to_json(asked.verification),
            "transport": _level_or_none(asked.transport),
            "email_after_transport_unconditionally": asked.email_after_transport_unconditionally,
            "never_email": asked.never_email,
            "requires_tls": asked.requires_tls,
        },
        "policy": {
            "allowed": _names(policy.allowed),
            "allows_transport": policy.allows_transport,
            "lists_domain": _level_or_none(policy.lists_domain),
            "required": _names(policy.required),
            "holds": policy.holds,
        },
        "account": account
        and {
            "has_second_factor": account.has_second_factor,
            "proven_methods": _names(account.proven_methods),
            "vouched_for": account.vouched_for,
        },
        "takes_inbound_direct_delivery": case.takes_inbound_direct_delivery,
        "nta": {"sender_complies": nta.sender_complies, "recipient_complies": nta.recipient_complies},
        "remembered": {
            "sms": _verification_to_json(remembered.sms),
            "access_code": _verification_to_json(remembered.access_code),
            "supplied": _names(remembered.supplied),
        },
    }


def case_from_json(stored: Mapping[str, Any]) -> Case:
    """What :func:`case_to_json` wrote: enough to decide again, and to verify nobody."""
    asked, policy, account, remembered = (stored[name] for name in ("asked", "policy", "account", "remembered"))
    sms, code = _verification(remembered["sms"]), _verification(remembered["access_code"])
    return Case(
        asked=Asked(
            **{**asked, "verification": _verification(asked["verification"]), "transport": _level(asked["transport"])}
        ),
        policy=OrganisationPolicy(
            **{
                **policy,
                "allowed": _methods(policy["allowed"]),
                "lists_domain": _level(policy["lists_domain"]),
                "required": _methods(policy["required"]),
            }
        ),
        account=account and RecipientAccount(**{**account, "proven_methods": _methods(account["proven_methods"])}),
        takes_inbound_direct_delivery=stored["takes_inbound_direct_delivery"],
        nta=Nta7516Facts(**stored["nta"]),
        remembered=Remembered(
            sms=sms if isinstance(sms, SmsCode) else None,
            access_code=code if isinstance(code, AccessCode) else None,
            supplied=_methods(remembered["supplied"]),
        ),
    )


def _verification_to_json(verification: SmsCode | AccessCode | None) -> str | None:
    match verification:
        case SmsCode(phone=phone):
            return f"{Method.SMS.value} {mask_phone(phone.reveal())}"
        case AccessCode():
            return Method.ACCESS_CODE.value
        case None:
            return None


def _verification(stored: str | None) -> SmsCode | AccessCode | None:
    if stored is None:
        return None
    method, _, shown = stored.partition(" ")
    return SmsCode(Secret(shown)) if method == Method.SMS.value else AccessCode(Secret(""))


def _level_or_none(level: TransportSecurity | None) -> dict[str, str] | None:
    return level_to_json(level) if level else None


def _level(stored: Mapping[str, str] | None) -> TransportSecurity | None:
    return level_from_json(stored) if stored else None


def _names(methods: Iterable[Method]) -> list[str]:
    return sorted(method.value for method in methods)


def _methods(names: Iterable[str]) -> frozenset[Method]:
    return frozenset(Method(name) for name in names)
