"""All that may be known about one recipient when the decision is made."""

from __future__ import annotations

from dataclasses import dataclass, field

from zegel.core.policy.transport import PROVEN, TransportSecurity
from zegel.core.policy.verification import AccessCode, Method, SmsCode


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
    """Verification data that this recipient has opened a message with before; the sender's own goes before that of
    the rest of the organisation."""

    sms: SmsCode | None = None
    access_code: AccessCode | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What the message asks for this recipient through control fields (directives that concern this recipient)."""

    verification: SmsCode | AccessCode | None = None  # zivver-access-right
    transport: TransportSecurity | None = None  # zivver-direct-delivery
    email_after_transport_unconditionally: bool = False  # zivver-minimum-recipient-verification: email-verification
    never_email: bool = False  # the same field, empty or invalid (D-3)


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
