"""What the audit log says, in words. A word of another version is shown as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from zegel.console import words
from zegel.console.words import Words
from zegel.core.policy.audit import BEFORE, Act, ActorKind

GROUPS: Final[tuple[tuple[Words, dict[Act, Words]], ...]] = (
    (
        _("Sign-in"),
        {
            Act.SIGNED_IN: _("Signed in"),
            Act.PASSWORD_CHANGED: _("Password changed"),
            Act.FACTOR_ADDED: _("Second step added"),
            Act.FACTOR_REMOVED: _("Second step removed"),
        },
    ),
    (
        _("Organisation"),
        {
            Act.ORGANISATION_ADDED: _("Organisation added"),
            Act.ORGANISATION_CHANGED: _("Organisation changed"),
            Act.ORGANISATION_ERASED: _("Organisation erased"),
            Act.PROOF_CHANGED: _("Proof of submission changed"),
            Act.CAPS_CHANGED: _("Limits changed"),
            Act.LOOK_CHANGED: _("Look changed"),
            Act.ALARMS_CHANGED: _("Alarms changed"),
            Act.PROVIDER_CHANGED: _("Identity provider changed"),
        },
    ),
    (
        _("Accounts"),
        {
            Act.ACCOUNT_ADDED: _("Account added"),
            Act.ACCOUNT_CHANGED: _("Account changed"),
            Act.ACCOUNT_TAKEN_IN: _("Free account taken in"),
            Act.ACCOUNT_SUSPENDED: _("Account suspended"),
            Act.ACCOUNT_RESUMED: _("Account resumed"),
            Act.ACCOUNT_ERASED: _("Account erased"),
            Act.ROLE_CHANGED: _("Role changed"),
            Act.INVITED: _("Invitation sent"),
            Act.INVITATION_WITHDRAWN: _("Invitation withdrawn"),
            Act.READER_ADDED: _("Reader of a mailbox added"),
            Act.READER_REMOVED: _("Reader of a mailbox removed"),
            Act.MAILBOX_PASSED_ON: _("Mailbox passed on to a successor"),
        },
    ),
    (
        _("Submission and programs"),
        {
            Act.CREDENTIAL_ISSUED: _("SMTP credential made"),
            Act.CREDENTIAL_ROTATED: _("SMTP credential: second secret made"),
            Act.CREDENTIAL_PREVIOUS_ENDED: _("SMTP credential: previous secret ended"),
            Act.CREDENTIAL_BOUND: _("SMTP credential bound"),
            Act.CREDENTIAL_DISABLED: _("SMTP credential disabled"),
            Act.TOKEN_ISSUED: _("API token made"),
            Act.TOKEN_DISABLED: _("API token disabled"),
            Act.WEBHOOK_ADDED: _("Webhook added"),
            Act.WEBHOOK_CHANGED: _("Webhook changed"),
            Act.WEBHOOK_REMOVED: _("Webhook removed"),
        },
    ),
    (
        _("Domains"),
        {
            Act.DOMAIN_ADDED: _("Domain added"),
            Act.DOMAIN_REMOVED: _("Domain removed"),
            Act.DOMAIN_IN_PLACE: _("DNS records in place"),
            Act.DOMAIN_MISSING: _("DNS records missing"),
            Act.DOMAIN_REFUSED: _("DNS records missing: mail is refused"),
            Act.DKIM_ADDED: _("Second DKIM key made"),
            Act.DKIM_ROTATED: _("New DKIM key made"),
            Act.DKIM_WITHDRAWN: _("New DKIM key withdrawn"),
            Act.DKIM_PREVIOUS_ENDED: _("Previous DKIM key ended"),
        },
    ),
    (
        _("Policy"),
        {
            Act.POLICY_CHANGED: _("Policy for recipients changed"),
            Act.DIRECT_DELIVERY_CHANGED: _("Direct-delivery domain entered or changed"),
            Act.DIRECT_DELIVERY_REMOVED: _("Direct-delivery domain removed"),
            Act.MINIMUM_CHANGED: _("Minimum entered or changed"),
            Act.MINIMUM_REMOVED: _("Minimum removed"),
            Act.LIST_ADDED: _("List of domains added"),
            Act.LIST_CHANGED: _("List of domains changed"),
            Act.LIST_REMOVED: _("List of domains removed"),
        },
    ),
    (
        _("Recipients"),
        {
            Act.VERIFICATION_ADDED: _("Number or code added"),
            Act.VERIFICATION_CHANGED: _("Number or code changed"),
            Act.VERIFICATION_REMOVED: _("Number or code removed"),
            Act.VERIFICATION_IMPORTED: _("Numbers and codes imported"),
            Act.RECIPIENT_EXPORTED: _("Data about a recipient exported"),
            Act.RECIPIENT_ERASED: _("Data about a recipient erased"),
        },
    ),
    (
        _("Messages"),
        {
            Act.MESSAGE_SUPPLIED: _("Held message: what was lacking filled in"),
            Act.MESSAGE_REVOKED: _("Message revoked"),
            Act.EXPIRY_CHANGED: _("Expiry changed"),
            Act.METHOD_ALLOWED: _("Another method allowed"),
            Act.METHOD_REFUSED: _("Another method refused"),
            Act.NOTIFIED_AGAIN: _("Notified once more"),
            Act.PROOF_EXPORTED: _("Proof of delivery exported"),
        },
    ),
    (
        _("Audit log and gateway"),
        {
            Act.AUDIT_EXPORTED: _("Audit log exported"),
            Act.AUDIT_TERM_CHANGED: _("Term of the audit log changed"),
            Act.AUDIT_SHORTENED: _("Entries removed, their term was over"),
            Act.TRACE_TERM_CHANGED: _("Term of traces changed"),
            Act.TRACES_REMOVED: _("Traces removed at the end of their term"),
            Act.BACKED_UP: _("Backup made"),
            Act.RESTORED: _("Backup restored"),
            Act.QUEUE_RELEASED: _("Mail that waited released"),
            Act.QUEUE_ENDED: _("Mail that waited ended"),
        },
    ),
)
_ACTS: Final[dict[str, Words]] = {act.value: said for _, group in GROUPS for act, said in group.items()}

_NAMES: Final[dict[str, Words]] = {
    "account": _("account"),
    "all": _("all of them"),
    "allowed": _("allowed methods"),
    "allows_transport": _("a message may ask for direct delivery"),
    "answer_megabytes": _("most megabytes of a file in an answer"),
    "authentication": _("proof"),
    "authors": _("may send for"),
    "chain": _("whose log"),
    "colour": _("colour"),
    "days": _("days"),
    "description": _("description"),
    "display_name": _("name"),
    "domains_added": _("domains added"),
    "domains_changed": _("domains changed"),
    "domains_removed": _("domains removed"),
    "entries": _("entries"),
    "expires_after_days": _("days until a message expires"),
    "for": _("for messages of"),
    "from": _("from"),
    "hash": _("hash of the last of them"),
    "help_en": _("where to turn, in English"),
    "help_nl": _("where to turn, in Dutch"),
    "hold_days": _("days that recipients are held"),
    "holds": _("recipients who lack something are held"),
    "host": _("web server"),
    "how": _("how"),
    "introduction_en": _("introduction in English"),
    "introduction_nl": _("introduction in Dutch"),
    "is_functional": _("functional mailbox"),
    "kind": _("kind"),
    "language": _("language"),
    "last": _("number of the last of them"),
    "level": _("at least"),
    "logo": _("logo"),
    "masked": _("number"),
    "message": _("message"),
    "messages_per_day": _("messages per 24 hours"),
    "messages_per_hour": _("messages per hour"),
    "method": _("method"),
    "name": _("name"),
    "networks": _("networks"),
    "password": _("password"),
    "reader": _("reader"),
    "recipients": _("recipients"),
    "recipients_per_day": _("recipients per 24 hours"),
    "recipients_per_hour": _("recipients per hour"),
    "records": _("records"),
    "region": _("country"),
    "remembers_devices_days": _("days that a device is remembered"),
    "remind_after_days": _("days until a reminder"),
    "role": _("role"),
    "scopes": _("may be used for"),
    "selector": _("selector"),
    "spf_needs_dkim": _("SPF counts only with a DKIM signature"),
    "spf_networks": _("SPF counts from"),
    "subject": _("subject of a notification"),
    "text_countries": _("countries of text messages"),
    "texts_per_day": _("text messages per 24 hours"),
    "texts_per_hour": _("text messages per hour"),
    "texts_per_month": _("text messages per 30 days"),
    "takes_inbound_direct_delivery": _("inbound direct delivery"),
    "to": _("to"),
    "until": _("until"),
}
_METHODS: Final = ("method", "allowed")  # names of details whose values are methods
_BY: Final[dict[str, Words]] = {
    ActorKind.TOKEN.value: _("a program"),
    ActorKind.COMMAND_LINE.value: _("command line"),
    ActorKind.GATEWAY.value: _("the gateway itself"),
}


@dataclass(frozen=True, slots=True)
class Detail:
    """Something about an act; ``before``: of a setting, what it was."""

    name: Words
    value: str
    before: str | None = None
    message: str = ""  # its value is the identifier of a message


def act(value: str) -> Words:
    """What was done."""
    return _ACTS.get(value, value)


def choices() -> list[tuple[Any, Any]]:
    """All that can be done, in groups."""
    groups = [(group, [(act.value, said) for act, said in acts.items()]) for group, acts in GROUPS]
    return [("", _("everything")), *groups]


def by(kind: str) -> Words:
    """What acted; empty for a person."""
    return _BY.get(kind, "")


def details(found: Mapping[str, Any]) -> Sequence[Detail]:
    """In the order in which they were noted; nothing for what is empty."""
    return [
        Detail(
            _NAMES.get(name, name),
            _value(name, value),
            _value(name, found[name + BEFORE]) if name + BEFORE in found else None,
            value if name == "message" else "",
        )
        for name, value in found.items()
        if not name.endswith(BEFORE) and (value not in ("", []) or name + BEFORE in found)
    ]


def _value(name: str, value: Any) -> str:
    match value:
        case bool():
            return gettext("yes") if value else gettext("no")
        case None | "" | []:
            return gettext("none")
        case list():
            return ", ".join(_value(name, one) for one in value)
        case str() if name in _METHODS:
            return str(words.method(value))
        case _:
            return str(value)
