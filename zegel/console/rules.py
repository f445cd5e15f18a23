"""What the pages about submission show and change, as values, each with the version that its form carries along."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self

from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from zegel.accounts.models import Organisation, SmtpCredential
from zegel.accounts.submitting import caps_of, used_by
from zegel.console.words import Words
from zegel.core.policy.submitting import Caps, is_bound


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

    @classmethod
    def of(cls, credential: SmtpCredential) -> Self:
        """The one in force."""
        return cls(tuple(credential.networks), tuple(credential.authors), caps_of(credential))


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
