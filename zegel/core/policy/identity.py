"""Whose account somebody may use whom an identity provider of an organisation vouches for.

The provider of one organisation says nothing about the accounts of another one, nor about those that guests made: an
address alone never opens an account (P20). Whom a provider once meant with an address, it must always mean.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from zegel.core.mail.address import Mailbox
from zegel.core.policy.wording import Wording


class Kind(Enum):
    """How a provider tells who somebody is, as stored."""

    OIDC = "oidc"
    SAML = "saml"


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a provider said of one person, once its signature and its bounds were examined."""

    subject: str  # never another person's, never another for the same person (OpenID Connect Core §5.7)
    address: Mailbox | None
    says_verified: bool | None = None  # of the address; None: it doesn't say
    is_managed: bool = True  # by the organisation; not: the provider serves everybody, and the person came by themself
    name: str = ""
    contexts: frozenset[str] = frozenset()  # acr and amr (RFC 8176 §2), or AuthnContextClassRef: how it was proven


@dataclass(frozen=True, slots=True)
class Rules:
    """What an administrator set about a provider."""

    domains: frozenset[str]  # A-labels: sending domains of the organisation whose records are in place
    makes_accounts: bool
    factor_contexts: frozenset[str]  # each of them means that a second factor was used; empty: none is believed


class Holder(Enum):
    """Whose the account with that address is."""

    NOBODY = "nobody"
    THIS_ORGANISATION = "this-organisation"
    ANOTHER_ORGANISATION = "another-organisation"
    GUEST = "guest"


@dataclass(frozen=True, slots=True)
class Known:
    """What is on record here."""

    holder: Holder  # of the account with the address that the provider names
    is_active: bool = True
    subject_of_account: str | None = None  # by which this provider meant that account before
    subject_means_another: bool = False  # this provider meant another account by this subject before
    is_functional: bool = False  # a mailbox that people read together, each from an account of their own
    relies_on_provider: bool = False  # it counts as one with two factors for the provider's alone; it has none itself


class TurnedAway(Wording):
    """Why somebody whom a provider vouches for may not in."""

    NO_ADDRESS = (
        "no-address",
        "Your organisation’s sign-in service does not name your e-mail address.",
        "De aanmelddienst van uw organisatie noemt uw e-mailadres niet.",
    )
    NOT_VERIFIED = (
        "not-verified",
        "Your organisation’s sign-in service says that your e-mail address was not verified.",
        "De aanmelddienst van uw organisatie zegt dat uw e-mailadres niet is gecontroleerd.",
    )
    OTHER_DOMAIN = (
        "other-domain",
        "Your e-mail address is in a domain that this sign-in service does not answer for.",
        "Uw e-mailadres hoort bij een domein waarvoor deze aanmelddienst niet instaat.",
    )
    NO_ACCOUNT = (
        "no-account",
        "There is no account here for you yet.",
        "Er is hier nog geen account voor u.",
    )
    NOT_OURS = (
        "not-ours",
        "The account with your e-mail address is not one of this organisation.",
        "Het account met uw e-mailadres is niet van deze organisatie.",
    )
    OTHER_SUBJECT = (
        "other-subject",
        "Your organisation’s sign-in service means somebody else with this e-mail address than before.",
        "De aanmelddienst van uw organisatie bedoelt met dit e-mailadres iemand anders dan eerder.",
    )
    SUSPENDED = (
        "suspended",
        "This account can’t be used.",
        "Dit account kan niet worden gebruikt.",
    )
    FUNCTIONAL = (
        "functional",
        "This is a mailbox that several people read. Each of them signs in with their own address.",
        "Dit is een postvak dat meer mensen lezen. Ieder van hen meldt zich aan met het eigen adres.",
    )
    ONE_FACTOR = (
        "one-factor",
        "Your organisation’s sign-in service did not ask you for a second step this time. Sign in there anew, with it.",
        "De aanmelddienst van uw organisatie vroeg u deze keer niet om een tweede stap. Meld u daar opnieuw aan, met "
        "die stap.",
    )


@dataclass(frozen=True, slots=True)
class SignsIn:
    """Into the account with the address. ``binds``: the subject is remembered from now on."""

    binds: bool
    showed_second_factor: bool


@dataclass(frozen=True, slots=True)
class MakesAccount:
    """And signs in to it."""

    showed_second_factor: bool


Admission = SignsIn | MakesAccount | TurnedAway


def admit(said: Assertion, rules: Rules, known: Known) -> Admission:
    """What follows from what a provider said."""
    if said.address is None:
        return TurnedAway.NO_ADDRESS
    if said.address.domain.ascii not in rules.domains or not said.is_managed:
        return TurnedAway.OTHER_DOMAIN
    if said.says_verified is False:
        return TurnedAway.NOT_VERIFIED
    if known.subject_means_another or known.subject_of_account not in (None, said.subject):
        return TurnedAway.OTHER_SUBJECT
    showed = shows_second_factor(said.contexts, rules.factor_contexts)
    match known.holder:
        case Holder.NOBODY:
            return MakesAccount(showed) if rules.makes_accounts else TurnedAway.NO_ACCOUNT
        case Holder.THIS_ORGANISATION:
            if not known.is_active:
                return TurnedAway.SUSPENDED
            if known.is_functional:
                return TurnedAway.FUNCTIONAL
            if known.relies_on_provider and not showed:  # else one factor would do to set up another here
                return TurnedAway.ONE_FACTOR
            return SignsIn(known.subject_of_account is None, showed)
        case Holder.ANOTHER_ORGANISATION | Holder.GUEST:
            return TurnedAway.NOT_OURS
        case _:
            assert_never(known.holder)


def shows_second_factor(contexts: Collection[str], believed: Collection[str]) -> bool:
    """One of the contexts that the administrator named is among those that the provider stated."""
    return not set(contexts).isdisjoint(believed)


class Unfit(Wording):
    """Why a provider is not taken as it was filled in, or as it describes itself."""

    NO_DESCRIPTION = (
        "no-description",
        "What the address gives is not the description of a sign-in service.",
        "Wat het adres geeft, is geen beschrijving van een aanmelddienst.",
    )
    OTHER_ISSUER = (
        "other-issuer",
        "The sign-in service calls itself something else than the address that was filled in",
        "De aanmelddienst noemt zichzelf anders dan het adres dat is ingevuld",
    )
    NO_ENDPOINT = (
        "no-endpoint",
        "The sign-in service names no usable https:// address for this",
        "De aanmelddienst noemt hiervoor geen bruikbaar https://-adres",
    )
    NO_CERTIFICATE = (
        "no-certificate",
        "The metadata has no certificate to examine signatures with.",
        "De metadata bevat geen certificaat om handtekeningen mee te controleren.",
    )
    PRIVATE = (
        "private",
        "The sign-in service has no address on the internet. For one inside your network, the operator of this gateway "
        "sets portal.private_identity_providers.",
        "De aanmelddienst heeft geen adres op internet. Voor een dienst binnen uw netwerk stelt de beheerder van deze "
        "gateway portal.private_identity_providers in.",
    )
    STATUS = (
        "status",
        "The address answers with status",
        "Het adres antwoordt met status",
    )
    NOT_A_DOMAIN = (
        "not-a-domain",
        "This is no domain name; write it like voorbeeld.nl",
        "Dit is geen domeinnaam; schrijf die als voorbeeld.nl",
    )
    NO_DOMAIN = (
        "no-domain",
        "Name at least one sending domain of your organisation, such as voorbeeld.nl.",
        "Noem ten minste één verzenddomein van uw organisatie, bijvoorbeeld voorbeeld.nl.",
    )
    NOT_IN_PLACE = (
        "not-in-place",
        "This is no sending domain of your organisation whose records are in place",
        "Dit is geen verzenddomein van uw organisatie waarvan de records in orde zijn",
    )
    TAKEN = (
        "taken",
        "Another sign-in service of your organisation answers for this domain already",
        "Een andere aanmelddienst van uw organisatie staat al in voor dit domein",
    )
    NO_NAME = (
        "no-name",
        "Give it a name, such as “Staff accounts”.",
        "Geef een naam, bijvoorbeeld ‘Medewerkersaccounts’.",
    )
    SECRET_AGAIN = (
        "secret-again",
        "It was for another address. Fill in the one that the sign-in service at this address gave.",
        "Dit hoorde bij een ander adres. Vul in wat de aanmelddienst op dit adres gaf.",
    )
    NAME_TAKEN = (
        "name-taken",
        "There is a sign-in service of that name already.",
        "Er is al een aanmelddienst met die naam.",
    )
    NO_CLIENT_ID = (
        "no-client-id",
        "Fill in the client ID that the sign-in service gave when this gateway was registered there, such as zegel.",
        "Vul de client-ID in die de aanmelddienst gaf toen deze gateway daar werd aangemeld, bijvoorbeeld zegel.",
    )


class NotAProvider(ValueError):
    """What is wrong with what was filled in, or with what the provider says of itself. ``field``: where it stands in a
    form; ``about``: what in it."""

    def __init__(self, field: str, why: Wording, about: str = "") -> None:
        super().__init__(f"{why.en}: {about}" if about else why.en)
        self.field, self.why, self.about = field, why, about
