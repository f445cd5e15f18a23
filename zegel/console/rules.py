"""What the pages about submission and recipients show and change, as values, each with the version that its form
carries along."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self

from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from zegel.accounts import policy as policies
from zegel.accounts.models import DirectDeliveryDomain, DomainMinimum, Organisation, SmtpCredential
from zegel.accounts.submitting import caps_of, text_caps_of, text_money_of, texts_used_by, used_by
from zegel.console import words
from zegel.console.words import Words
from zegel.core.clock import Instant
from zegel.core.mail.address import Domain
from zegel.core.policy.submitting import Caps, is_bound
from zegel.core.policy.texts import TextCaps, is_spent, written_cents
from zegel.core.policy.transport import PROVEN, TransportSecurity
from zegel.journey.custody.models import VerificationData


def version_of(shown: object) -> str:
    """Another one for any other value. Who stores what was made of an older value than the one in force is told so,
    and overwrites nothing unseen."""
    return hashlib.sha256(repr(shown).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Binding:
    """From where, for whom and how much a credential may be used."""

    networks: tuple[str, ...]
    authors: tuple[str, ...]
    caps: Caps
    text_caps: TextCaps

    @classmethod
    def of(cls, credential: SmtpCredential) -> Self:
        """The one in force."""
        networks, authors = tuple(credential.networks), tuple(credential.authors)
        return cls(networks, authors, caps_of(credential), text_caps_of(credential))


@dataclass(frozen=True, slots=True)
class Proof:
    """What proves that a client may submit for an organisation, and what SPF is bound to (D-8)."""

    authentication: str  # Organisation.Authentication
    networks: tuple[str, ...]
    needs_dkim: bool

    @classmethod
    def of(cls, organisation: Organisation) -> Self:
        """The one in force."""
        return cls(organisation.authentication, tuple(organisation.spf_networks), organisation.spf_needs_dkim)

    @property
    def uses_spf(self) -> bool:
        """SPF proves something."""
        return self.authentication != Organisation.Authentication.CREDENTIALS

    @property
    def is_loose(self) -> bool:
        """SPF proves something, and nothing tells whose mail it is: no network (all of the internet is none), and no
        DKIM signature."""
        return self.uses_spf and not is_bound(self.networks) and not self.needs_dkim


@dataclass(frozen=True, slots=True)
class Spent:
    """What was accepted in a stretch of time, and the most that may be."""

    used: int
    most: int | None

    @property
    def is_reached(self) -> bool:
        """One more is refused."""
        return self.most is not None and self.used >= self.most


@dataclass(frozen=True, slots=True)
class Use:
    """Of messages, or of their recipients."""

    words: Words
    hour: Spent
    day: Spent


def use_of(whose: Organisation | SmtpCredential) -> tuple[Use, ...]:
    """Of this hour and day, beside the caps in force."""
    used, caps = used_by(whose, now=timezone.now()), caps_of(whose)
    return (
        Use(
            _("Messages"),
            Spent(used.messages_this_hour, caps.messages_per_hour),
            Spent(used.messages_today, caps.messages_per_day),
        ),
        Use(
            _("Recipients"),
            Spent(used.recipients_this_hour, caps.recipients_per_hour),
            Spent(used.recipients_today, caps.recipients_per_day),
        ),
    )


@dataclass(frozen=True, slots=True)
class Texts:
    """Text messages that were asked for, beside the caps in force."""

    hour: Spent
    day: Spent
    month: Spent
    countries: tuple[str, ...]
    currency: str
    spent: str  # in the last 30 days
    most: str  # that may be; empty: no limit
    is_spent: bool
    is_priced: bool


def texts_of(whose: Organisation | SmtpCredential) -> Texts:
    """Of this hour, day and month."""
    used, caps = texts_used_by(whose, now=timezone.now()), text_caps_of(whose)
    money = text_money_of(whose if isinstance(whose, Organisation) else whose.organisation)
    return Texts(
        Spent(used.this_hour, caps.texts_per_hour),
        Spent(used.today, caps.texts_per_day),
        Spent(used.this_month, caps.texts_per_month),
        caps.text_countries,
        money.currency,
        written_cents(used.cents_this_month),
        written_cents(money.most_per_month) if money.most_per_month is not None else "",
        is_spent(money, used),
        is_priced=bool(money.price or money.prices or used.cents_this_month),
    )


# --- recipients --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DirectDomain:
    """A direct-delivery domain that was entered here."""

    id: int
    domain: str
    level: TransportSecurity

    @classmethod
    def of(cls, entry: DirectDeliveryDomain) -> Self:
        """As it is in force."""
        return cls(entry.pk, _shown(entry.domain), policies.level_of(entry))

    @property
    def level_words(self) -> str:
        """The least that is demanded of the connection; nothing below the default ever is."""
        return words.level(self.level.at_least(PROVEN))


@dataclass(frozen=True, slots=True)
class Minimum:
    """What recipients of a domain must verify with at least."""

    id: int
    domain: str
    method: Words
    is_of_every_other: bool

    @classmethod
    def of(cls, minimum: DomainMinimum) -> Self:
        """As it is in force."""
        is_of_every_other = minimum.domain == DomainMinimum.EVERY_OTHER
        domain = minimum.domain if is_of_every_other else _shown(minimum.domain)
        return cls(minimum.pk, domain, words.method(minimum.method), is_of_every_other)


@dataclass(frozen=True, slots=True)
class Doubt:
    """What the administrator may not have meant, and of which domain."""

    said: str
    domain: str | None  # None: all recipients
    is_of_every_other: bool


def doubts_of(organisation: Organisation) -> tuple[Doubt, ...]:
    """About all that is in force."""
    return tuple(
        Doubt(
            words.said(one.caution),
            _shown(one.domain) if one.domain else None,
            one.domain == DomainMinimum.EVERY_OTHER,
        )
        for one in policies.cautions_of(organisation)
    )


@dataclass(frozen=True, slots=True)
class Known:
    """What a recipient is verified with, as far as it is shown."""

    row: VerificationData
    method: Words
    origin: Words
    whose: str  # empty: of the whole organisation

    @classmethod
    def of(cls, row: VerificationData) -> Self:
        """As it is in force; an access code shows nothing of itself."""
        return cls(row, words.method(row.method), row.get_origin_display(), row.account.email if row.account else "")

    @property
    def value(self) -> tuple[str, str, Instant]:
        """Another one for another number or code; an opening that confirms it changes nothing."""
        return self.row.method, self.row.masked, self.row.created_at


def _shown(domain: str) -> str:
    """U-labels for people, with the A-labels beside them: some letters look like others."""
    unicode = Domain(domain).unicode
    return domain if unicode == domain else f"{unicode} ({domain})"
