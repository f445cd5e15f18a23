"""What states, levels and outcomes are called on the administrator's pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from zegel.core.policy.carriage import NTA_RECIPIENT, NTA_SENDER, Cause
from zegel.core.policy.ended import wording_of
from zegel.core.policy.nta7516 import Standing
from zegel.core.policy.transport import Authentication, Tls, TransportSecurity
from zegel.core.policy.verification import Method
from zegel.core.policy.wording import Wording
from zegel.journey.custody.models import Recipient, Transmission

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
_OUTCOMES: Final[dict[str, Badge]] = {
    "Accepted": Badge(_("accepted by the receiving server"), "good"),
    "InsufficientSecurity": Badge(_("connection not secure enough; nothing was sent"), "warn"),
    "NetworkFailure": Badge(_("no connection, or a connection that broke"), "warn"),
    "Deferred": Badge(_("the receiving server asks to try again later"), "warn"),
    "Refused": Badge(_("refused by the receiving server"), "bad"),
    "NoSuchDomain": Badge(_("the domain does not exist or has no mail server"), "bad"),
    "NullMx": Badge(_("the domain takes no mail"), "bad"),
    "DnsTrouble": Badge(_("no usable answer from the name servers"), "warn"),
    "Bounced": Badge(_("came back later: can’t be delivered"), "bad"),
    "DelayedElsewhere": Badge(_("a server further on reports a delay"), "warn"),
    "ArrivedElsewhere": Badge(_("a server further on reports that it arrived"), "good"),
    "AutoReply": Badge(_("an automatic reply came back"), ""),
    "Unclear": Badge(_("something came back that is no report"), ""),
}
_OF_NTA: Final = re.compile(r"NTA 7516(, (?P<side>sender|recipient))?: (?P<code>.*)")
_METHODS: Final[dict[str, Words]] = {
    Method.ACCOUNT.value: _("account"),
    Method.SMS.value: _("SMS code"),
    Method.ACCESS_CODE.value: _("access code"),
    Method.EMAIL.value: _("e-mail verification"),
}
_KINDS: Final[dict[str, Words]] = {
    Transmission.Kind.READABLE: _("readable message"),
    Transmission.Kind.NOTIFICATION: _("notification"),
    Transmission.Kind.REMINDER: _("reminder"),
    Transmission.Kind.AGAIN: _("notification, once more"),
    Transmission.Kind.ANSWER: _("word of an answer"),
    Transmission.Kind.READABLE_ANSWER: _("readable answer"),
    Transmission.Kind.CODE: _("code"),
    Transmission.Kind.REPORT: _("report"),
    Transmission.Kind.NOTICE: _("notice"),
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


def outcome(value: str) -> Badge:
    """Of an attempt."""
    return _OUTCOMES.get(value, Badge(value, ""))


def method(value: str) -> Words:
    """Of verification."""
    return _METHODS.get(value, value)


def kind(value: str) -> Words:
    """Of a transmission."""
    return _KINDS.get(value, value)


def authentication(value: int) -> Words:
    """How well the receiving server was known."""
    return _AUTHENTICATION.get(value, str(value))


def level(security: TransportSecurity) -> str:
    """Both halves of a level."""
    return f"{_TLS[security.tls]}, {_AUTHENTICATION[security.authentication]}"


def said(wording: Wording) -> str:
    """The sentence in the visitor's language."""
    return wording.nl if get_language() == "nl" else wording.en


def of_nta(reply: str) -> str:
    """What an attempt over NTA 7516 was held up by, for a reply that is a word of ours; empty for any other."""
    found = _OF_NTA.fullmatch(reply)
    if found is None:
        return ""
    if found["side"] is None:
        return said(Cause.NTA_NO_PROVEN_HOST)
    causes = NTA_SENDER if found["side"] == "sender" else NTA_RECIPIENT
    known: dict[str, Wording] = {standing.value: cause for standing, cause in causes.items()}
    wording = {**known, Standing.NOT_KNOWN_NOW.value: Standing.NOT_KNOWN_NOW}.get(found["code"])
    return said(wording or Cause.NTA_SENDER_DKIM)


def reason(code: str) -> str:
    """The sentence under a stored code; a code of another version is shown as it is."""
    wording = wording_of(code)
    return said(wording) if wording else code
