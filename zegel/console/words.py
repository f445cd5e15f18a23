"""What states, levels and outcomes are called on the administrator's pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from zegel.core.policy.transport import Authentication, Tls, TransportSecurity
from zegel.core.policy.verification import Method
from zegel.core.policy.wording import Wording
from zegel.journey.custody.models import Recipient

Words = str | Promise


@dataclass(frozen=True, slots=True)
class Badge:
    """A state in words, and the colour that goes with it."""

    words: Words
    kind: str  # good, warn, bad, accent, or nothing


_S: Final = Recipient.State
_STATES: Final[dict[str, Badge]] = {
    _S.ACCEPTED: Badge(_("accepted"), ""),
    _S.DECIDED: Badge(_("on its way"), "accent"),
    _S.HELD: Badge(_("held"), "warn"),
    _S.NOTIFIED: Badge(_("notified"), "accent"),
    _S.DELIVERED: Badge(_("delivered"), "good"),
    _S.OPENED: Badge(_("opened"), "good"),
    _S.UNDELIVERABLE: Badge(_("undeliverable"), "bad"),
}
_METHODS: Final[dict[str, Words]] = {
    Method.ACCOUNT.value: _("account"),
    Method.SMS.value: _("SMS code"),
    Method.ACCESS_CODE.value: _("access code"),
    Method.EMAIL.value: _("e-mail verification"),
}
_AUTHENTICATION: Final[dict[int, Words]] = {
    Authentication.NONE: _("server not authenticated"),
    Authentication.CERTIFICATE: _("valid certificate"),
    Authentication.SIGNED_MX: _("valid certificate, host named by MTA-STS or signed DNS"),
    Authentication.DANE: _("DANE"),
}
_TLS: Final[dict[int, Words]] = {
    Tls.NONE: _("no TLS"),
    Tls.ENCRYPTED: _("TLS below 1.2"),
    Tls.TLS_1_2: _("TLS 1.2"),
    Tls.TLS_1_3: _("TLS 1.3"),
}


def state(value: str) -> Badge:
    """Of a recipient."""
    return _STATES.get(value, Badge(value, ""))


def method(value: str) -> Words:
    """Of verification."""
    return _METHODS.get(value, value)


def authentication(value: int) -> Words:
    """How well the receiving server was known."""
    return _AUTHENTICATION.get(value, str(value))


def level(security: TransportSecurity) -> str:
    """Both halves of a level."""
    return f"{_TLS[security.tls]}, {_AUTHENTICATION[security.authentication]}"


def said(wording: Wording) -> str:
    """The sentence in the visitor's language."""
    return wording.nl if get_language() == "nl" else wording.en
