"""What an organisation allows and demands about recipients: what may be stored, what follows, and what is odd about it.

The decision reads the same values as :class:`zegel.core.policy.case.OrganisationPolicy`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from zegel.core.mail.address import Domain
from zegel.core.policy import domain_list
from zegel.core.policy.directives import AUTHENTICATION_WORDS, LONGEST_EXPIRY, TLS_WORDS
from zegel.core.policy.holding import LONGEST_HOLD
from zegel.core.policy.transport import PROVEN, TransportSecurity
from zegel.core.policy.verification import Method, at_least
from zegel.core.policy.wording import Wording

LONGEST_EXPIRY_DAYS: Final = LONGEST_EXPIRY.days
LONGEST_WAIT: Final = 60  # days until a reminder
LARGEST_ANSWER: Final = 2000  # megabytes of a file
LONGEST_TRUST: Final = 90  # days that a device is remembered
DEFAULT_HOLD: Final = 5  # days, D-6


class NotAPolicy(ValueError):
    """A value that can't be understood, or that nobody could be served with; the text says how it is written."""


@dataclass(frozen=True, slots=True)
class RecipientPolicy:
    """What an organisation allows and demands about recipients. Equal values print equally in every process."""

    allowed: tuple[Method, ...] = tuple(Method)  # the safest first
    allows_transport: bool = True  # a message may ask for direct delivery (row 4)
    holds: bool = True  # a recipient who lacks what is demanded (D-6); else reported at once
    hold_days: int = DEFAULT_HOLD
    takes_inbound_direct_delivery: bool = False
    expires_after_days: int | None = None  # None: conversations don't expire by themselves
    remind_after_days: int | None = 3  # of a message that was not opened; None: nobody is reminded
    answer_megabytes: int | None = None  # most of a file in an answer; None: as many as the gateway allows
    remembers_devices_days: int | None = None  # on which guests need no code; None: none is remembered
    subject: str = "generic"  # accounts.models.Organisation.Subject


def checked(policy: RecipientPolicy) -> RecipientPolicy:
    """The policy in its one form. Raises :class:`NotAPolicy` for one that can't be in force."""
    if not policy.allowed:
        raise NotAPolicy("at least one method must be allowed, such as sms")
    if not 1 <= policy.hold_days <= LONGEST_HOLD:
        raise NotAPolicy(f"a recipient is held for 1 to {LONGEST_HOLD} days, such as {DEFAULT_HOLD}")
    if policy.expires_after_days is not None and not 1 <= policy.expires_after_days <= LONGEST_EXPIRY_DAYS:
        raise NotAPolicy(f"conversations expire after 1 to {LONGEST_EXPIRY_DAYS} days, such as 30, or never")
    if policy.remind_after_days is not None and not 1 <= policy.remind_after_days <= LONGEST_WAIT:
        raise NotAPolicy(f"recipients are reminded after 1 to {LONGEST_WAIT} days, such as 3, or never")
    if policy.answer_megabytes is not None and not 1 <= policy.answer_megabytes <= LARGEST_ANSWER:
        raise NotAPolicy(f"a file in an answer has at most 1 to {LARGEST_ANSWER} megabytes, such as 100, or default")
    if policy.remembers_devices_days is not None and not 1 <= policy.remembers_devices_days <= LONGEST_TRUST:
        raise NotAPolicy(f"devices are remembered for 1 to {LONGEST_TRUST} days, such as 30, or never")
    return policy


# --- as it is written --------------------------------------------------------------------------------------------


def parse_methods(text: str) -> tuple[Method, ...]:
    """Methods, separated by commas or white space, the safest first. Raises :class:`NotAPolicy`."""
    words = text.replace(",", " ").split()
    known = {method.value: method for method in Method}
    for word in words:
        if word not in known:
            raise NotAPolicy(f"{word[:50]!r} is not a method; write some of {','.join(known)}, such as account,sms")
    return tuple(method for method in Method if method.value in words)


def parse_level(text: str) -> TransportSecurity:
    """``tls1.3 dane``: a half that isn't named is that of :data:`PROVEN`, and nothing below it can be written.

    Raises :class:`NotAPolicy`.
    """
    words = text.split()
    try:
        if words:
            return domain_list.parse_level(words, otherwise=PROVEN)
    except domain_list.NotALevel:
        pass
    raise NotAPolicy(
        f"{text[:50]!r} is not a level; write one of {', '.join(TLS_WORDS)} and one of "
        f"{', '.join(AUTHENTICATION_WORDS)}, such as 'tls1.3 dane'"
    )


def written_level(level: TransportSecurity) -> str:
    """As :func:`parse_level` reads it; what is below :data:`PROVEN` is demanded as that."""
    level = level.at_least(PROVEN)
    tls = next(word for word, value in TLS_WORDS.items() if value == level.tls)
    return f"{tls} {next(word for word, value in AUTHENTICATION_WORDS.items() if value == level.authentication)}"


def parse_minimum_domain(text: str, *, every_other: str) -> str:
    """A domain in A-labels, or the word for all that have no line of their own. Raises ``NotADomain``."""
    return every_other if text.strip() == every_other else Domain.parse(text).ascii


# --- who may be served now ---------------------------------------------------------------------------------------


def is_laxer(new: RecipientPolicy, old: RecipientPolicy) -> bool:
    """Somebody who was held under ``old`` may be served under ``new``."""
    return (
        bool(set(new.allowed) - set(old.allowed))
        or new.allows_transport > old.allows_transport
        or new.takes_inbound_direct_delivery > old.takes_inbound_direct_delivery
    )


def trusts_less(new: RecipientPolicy, old: RecipientPolicy) -> bool:
    """A device that was remembered under ``old`` would not be, or not so long, under ``new``."""
    if old.remembers_devices_days is None or new.remembers_devices_days is None:
        return old.remembers_devices_days is not None
    return new.remembers_devices_days < old.remembers_devices_days


def is_lower(new: Method | None, old: Method | None) -> bool:
    """The minimum ``new`` admits something that ``old`` didn't; ``None`` demands nothing."""
    if old is None or new is None:
        return old is not None
    return bool(at_least(new) - at_least(old))


# --- what is odd about it ----------------------------------------------------------------------------------------


class Caution(Wording):
    """What an administrator may not have meant."""

    ONLY_ACCOUNTS = (
        "only-accounts",
        "Nothing but an account is allowed. Nobody can supply one for a recipient: who has none is held until the term "
        "ends, or reported.",
        "Alleen een account is toegestaan. Dat kan niemand voor een ontvanger invullen: wie er geen heeft, wordt "
        "vastgehouden tot de termijn voorbij is, of gemeld.",
    )
    NOBODY_KNOWN = (
        "nobody-known",
        "E-mail verification is not allowed, and recipients about whom nothing is known are not held. Messages to them "
        "are reported as undeliverable, unless they name a method or are delivered directly.",
        "E-mailverificatie is niet toegestaan, en ontvangers van wie niets bekend is worden niet vastgehouden. "
        "Berichten aan hen worden als onbestelbaar gemeld, tenzij ze een methode noemen of direct worden bezorgd.",
    )
    MINIMUM_NOT_ALLOWED = (
        "minimum-not-allowed",
        "No allowed method meets the minimum. Messages to these recipients are reported as undeliverable.",
        "Geen toegestane methode voldoet aan het minimum. Berichten aan deze ontvangers worden als onbestelbaar "
        "gemeld.",
    )
    NOTHING_DIRECT = (
        "nothing-direct",
        "A minimum holds for every domain, so nothing is delivered directly: direct-delivery domains and imported "
        "lists don't count.",
        "Voor elk domein geldt een minimum, dus er wordt niets direct bezorgd: domeinen voor directe bezorging en "
        "geïmporteerde lijsten tellen niet.",
    )
    LISTED_IN_VAIN = (
        "listed-in-vain",
        "A minimum holds for this domain, so nothing is delivered to it directly.",
        "Voor dit domein geldt een minimum, dus er wordt niets direct bezorgd.",
    )


@dataclass(frozen=True, slots=True)
class Cautioned:
    """A caution, and the domain that it is about (or ``*``); ``None``: all recipients."""

    caution: Caution
    domain: str | None = None


def cautions(
    policy: RecipientPolicy, *, minimums: Mapping[str, Method], listed: Collection[str], every_other: str
) -> tuple[Cautioned, ...]:
    """What is odd about a policy with these minimums by domain, and with direct delivery to these domains: all, or any
    of them and all that have a minimum."""
    allowed = set(policy.allowed)
    found = []
    if allowed == {Method.ACCOUNT}:
        found.append(Cautioned(Caution.ONLY_ACCOUNTS))
    elif Method.EMAIL not in allowed and not policy.holds:
        found.append(Cautioned(Caution.NOBODY_KNOWN))
    found += [
        Cautioned(Caution.MINIMUM_NOT_ALLOWED, domain)
        for domain, minimum in minimums.items()
        if not at_least(minimum) & allowed
    ]
    if every_other in minimums:
        found += [Cautioned(Caution.NOTHING_DIRECT)] if listed else []
    else:
        found += [Cautioned(Caution.LISTED_IN_VAIN, domain) for domain in listed if domain in minimums]
    return tuple(found)
