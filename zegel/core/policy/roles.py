"""Who may do what in an organisation: a table. A role has what it needs for its work and nothing else."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Capability(Enum):
    """Something that an account may do for its organisation."""

    TRACE = "trace"  # find a message and see its way; never its content
    NUMBERS = "numbers"  # how much was sent by which way, and what goes wrong
    POLICY = "policy"  # what recipients are allowed and asked; lists of domains; the look
    VERIFICATION = "verification"  # numbers and codes of recipients: list, add, correct, import
    SUBMISSION = "submission"  # SMTP credentials, what proves a client, caps
    DOMAINS = "domains"  # sending domains and their keys
    PROGRAMS = "programs"  # API tokens, webhooks
    ACCOUNTS = "accounts"  # invite, suspend; functional mailboxes and their readers; erase what is known of somebody
    AUDIT = "audit"  # read and export the audit log
    ORGANISATION = "organisation"  # owners, identity providers, how long the audit log is kept, the end of it all


class Role(Enum):
    """What an account is for, most rights first; as stored."""

    OWNER = "owner"
    ADMINISTRATOR = "administrator"
    POLICY = "policy"
    SUPPORT = "support"
    SENDER = "sender"  # and reads what it was sent; no administration


MAY: Final[dict[Role, frozenset[Capability]]] = {
    Role.OWNER: frozenset(Capability),
    Role.ADMINISTRATOR: frozenset(Capability) - {Capability.ORGANISATION},
    Role.POLICY: frozenset({Capability.POLICY, Capability.VERIFICATION}),
    Role.SUPPORT: frozenset({Capability.TRACE, Capability.NUMBERS}),
    Role.SENDER: frozenset(),
}


def may(role: Role, capability: Capability) -> bool:
    """The table's answer."""
    return capability in MAY[role]


def may_make(by: Role, role: Role) -> bool:
    """Whether somebody with the role ``by`` may give that role, or take it away: whoever manages accounts, and nobody
    more than they have."""
    return may(by, Capability.ACCOUNTS) and MAY[role] <= MAY[by]


# --- the page ----------------------------------------------------------------------------------------------------


def as_markdown() -> str:
    """``docs/roles.md``, printed from the table in force."""
    header = " | ".join(role.value for role in Role)
    lines = "".join(
        f"| {_SAID[one]} | " + " | ".join("yes" if may(role, one) else "–" for role in Role) + " |\n"
        for one in Capability
    )
    makes = "".join(f"| {by.value} | {_listed(by)} |\n" for by in Role)
    return _PAGE.format(header=header, rule="---|" * len(Role), lines=lines, makes=makes)


def _listed(by: Role) -> str:
    return ", ".join(role.value for role in Role if may_make(by, role)) or "–"


_SAID: Final[dict[Capability, str]] = {
    Capability.TRACE: "find a message, see its way and its evidence (never its content)",
    Capability.NUMBERS: "see how much goes which way, and what goes wrong",
    Capability.POLICY: "set what recipients are allowed and asked, domains for direct delivery, the look",
    Capability.VERIFICATION: "add, correct, import and remove numbers and codes of recipients",
    Capability.SUBMISSION: "make and disable SMTP credentials, set what proves a client, caps",
    Capability.DOMAINS: "add, check and remove sending domains and their keys",
    Capability.PROGRAMS: "make API tokens and webhooks",
    Capability.ACCOUNTS: "invite, suspend, give roles; functional mailboxes; pass a mailbox on; erase what is known",
    Capability.AUDIT: "read and export the audit log",
    Capability.ORGANISATION: "manage owners, identity providers, the term of the audit log, the end of it all",
}

_PAGE: Final = """\
# Roles

<!-- Printed by zegel.core.policy.roles.as_markdown; a test compares. -->

An account has one role, in its organisation. Whatever the role, it may send, and read what it was sent; nobody signs in
without a second factor; and nobody, the owner included, reads what others sent or received, but for the functional
mailboxes that they are a reader of and a mailbox that was passed on to them.

| may | {header} |
|---|{rule}
{lines}
## Who gives which role

Nobody changes the own role or suspends themselves, and nobody changes an account that may do more than they. The last
owner who can sign in can't be given another role, suspended or removed.

| a | gives, takes away, and manages accounts with |
|---|---|
{makes}
The user of the machine may do all of it: `zegel account role ADDRESS ROLE`. See [accounts.md](accounts.md).
"""
