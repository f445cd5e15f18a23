"""What roles, states of accounts and objections are called on the administrator's pages."""

from __future__ import annotations

from typing import Final

from django.utils.translation import gettext_lazy as _

from zegel.console.words import Badge, Words
from zegel.core.policy.people import Objection
from zegel.core.policy.roles import Role

ROLES: Final[dict[Role, Words]] = {
    Role.OWNER: _("owner"),
    Role.ADMINISTRATOR: _("administrator"),
    Role.POLICY: _("policy"),
    Role.SUPPORT: _("support"),
    Role.SENDER: _("sender"),
}
WHAT_ROLES_DO: Final[dict[Role, Words]] = {
    Role.OWNER: _("everything, owners and identity providers included"),
    Role.ADMINISTRATOR: _("everything, but for owners and identity providers"),
    Role.POLICY: _("what recipients are allowed and asked, and their verification data"),
    Role.SUPPORT: _("find messages and see their way, never their content"),
    Role.SENDER: _("send, and read what was sent to them; no administration"),
}
SUSPENDED: Final = Badge(_("suspended"), "bad")
FUNCTIONAL: Final = Badge(_("functional mailbox"), "accent")
IN_USE: Final = Badge(_("in use"), "good")
INVITED: Final = Badge(_("invited"), "accent")
NO_FACTOR: Final = Badge(_("no second step of its own"), "warn")
NOT_IN_USE: Final = Badge(_("not in use yet"), "warn")

OBJECTIONS: Final[dict[Objection, Words]] = {
    Objection.NOT_ALLOWED: _("Your role does not allow this."),
    Objection.MORE_THAN_OWN: _("Nobody gives, takes away or manages more rights than they have. Ask an owner."),
    Objection.OWN: _("Nobody changes their own role, or suspends or resets themselves. Ask somebody else."),
    Objection.LAST_OWNER: _("This is the last owner who can sign in. Make somebody else an owner first."),
    Objection.SUSPENDED: _("This account is suspended. Resume it first."),
    Objection.FUNCTIONAL: _("This is a functional mailbox, to which nobody signs in."),
    Objection.PERSONAL: _("This is one person’s own mailbox. Others read it only once it is passed on."),
    Objection.IN_USE: _("This account is in use: its holder has a second step. Did they lose it? Then reset it."),
    Objection.TOO_OFTEN: _("Too many invitations went to this address. Try again tomorrow."),
    Objection.SUCCESSOR_SUSPENDED: _("The successor is suspended. Name somebody whose account is in use."),
    Objection.SUCCESSOR_FUNCTIONAL: _("The successor is a functional mailbox. Name a person."),
    Objection.SUCCESSOR_IS_READ: _("Others read the successor’s own mailbox, and reading is not handed on."),
    Objection.SUCCESSOR_SAME: _("The successor is the account itself. Name somebody else."),
    Objection.SUCCESSOR_ELSEWHERE: _("The successor is not of your organisation."),
    Objection.NOT_THEIR_DOMAIN: _("This address is not in a domain of yours that is in place."),
    Objection.HAS_ACCOUNT: _("There is an account for this address already. Search for it."),
    Objection.FREE_ACCOUNT: _("A guest made a free account for this address."),
    Objection.TAKEN: _("This address has an account elsewhere on this gateway. Ask who runs the gateway."),
    Objection.NOT_A_PERSON: _("A functional mailbox has no role but that of a sender."),
}
