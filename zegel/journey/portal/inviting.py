"""Inviting people of an organisation: an account, and a mail with the way to a password and a second factor.

The mail is made by the report stop, like every mail to who proves a mailbox; what happens at the link is in
:mod:`zegel.journey.portal.invited`. Whoever calls this rings afterwards.
"""

from __future__ import annotations

from django.db import transaction

from zegel.accounts import audit, people, proving, taking_in
from zegel.accounts.addresses import language_of
from zegel.accounts.models import Account, Organisation
from zegel.accounts.people import By, Refused
from zegel.accounts.sign_in import has_second_factor
from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.policy import people as rules
from zegel.core.policy.audit import Act
from zegel.core.policy.people import Objection
from zegel.core.policy.roles import Role
from zegel.journey import milestones


def invite(
    organisation: Organisation,
    mailbox: Mailbox,
    *,
    role: Role,
    display_name: str,
    language: str,
    by: By,
    now: Instant,
) -> Account:
    """A new account in one of the organisation's own domains, and the mail to its holder. Raises
    :class:`zegel.accounts.people.Refused`."""
    with transaction.atomic():
        account = people.make(organisation, mailbox, role=role, display_name=display_name, language=language, by=by)
        invite_again(account, by=by, now=now)
        return account


def invite_again(account: Account, *, by: By, now: Instant) -> None:
    """Another mail; links that were sent before lead nowhere from now on. Raises
    :class:`zegel.accounts.people.Refused`."""
    with transaction.atomic():
        current = people.locked(account)
        able = has_second_factor(current)
        why = rules.to_inviting(people.role_of(by), people.subject(current, by), has_second_factor=able)
        if why is not None:
            raise Refused(why)
        organisation = current.organisation
        assert organisation is not None
        proof = proving.invite(current, language=language_of(current, organisation), now=now)
        if proof is None:
            raise Refused(Objection.TOO_OFTEN)
        milestones.mailbox_asked(proof.id, now=now)
        audit.note(Act.INVITED, organisation, current.email)


def reset(account: Account, *, by: By, now: Instant) -> None:
    """For who lost password, second factor and recovery codes: all of these are gone, and an invitation is the way to
    new ones. Raises :class:`zegel.accounts.people.Refused`."""
    with transaction.atomic():
        people.take_factors_away(account, by=by, now=now)
        invite_again(account, by=by, now=now)


def take_in(guest: Account, organisation: Organisation, *, role: Role, display_name: str, by: By, now: Instant) -> None:
    """A guest's free account becomes one of the organisation; one that was not finished gets an invitation. Raises
    :class:`zegel.accounts.people.Refused` and :class:`zegel.accounts.taking_in.StaysItsOwn`."""
    with transaction.atomic():
        why = rules.to_managing(people.role_of(by), role)
        if why is not None:
            raise Refused(why)
        taking_in.take_in(guest, organisation, display_name=display_name, role=role, password=None, now=now)
        taken = Account.objects.get(pk=guest.pk)
        if not has_second_factor(taken):
            invite_again(taken, by=by, now=now)
