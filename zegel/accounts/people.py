"""Accounts of an organisation: made, suspended, given a role, passed on; for console, API and command line alike.

Every change is made under locks of its organisation and of its account, in that order, and is noted in the audit log
in the same transaction. Who wants it is asked by :mod:`zegel.core.policy.people`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from allauth.mfa.models import Authenticator
from django.db import transaction

from zegel.accounts import audit, mailboxes, proving, sessions, throttle, tokens
from zegel.accounts.models import Account, MailboxReader, Organisation
from zegel.accounts.sign_in import with_second_factor
from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.policy import people as rules
from zegel.core.policy.audit import Act
from zegel.core.policy.people import Objection, Subject, Successor
from zegel.core.policy.roles import Role

By = Account | Role | None
"""Who wants it: somebody; a program, with the rights of a role; ``None``: the user of the machine, who may do all."""

_SECRETS: Final = ("password", "code")  # kinds of secrets whose tries are counted (accounts.adapter, accounts.forms)


class Refused(Exception):
    """Nothing was changed. The text is half a sentence."""

    def __init__(self, why: Objection) -> None:
        super().__init__(why.value)
        self.why = why


# --- making ------------------------------------------------------------------------------------------------------


def refuse_address(organisation: Organisation, mailbox: Mailbox) -> None:
    """Raises :class:`Refused`, unless the organisation may make an account for this address now. Of addresses outside
    of its own domains it learns nothing."""
    domains = organisation.sending_domains.filter(in_place=True)
    if not domains.filter(name=mailbox.domain.ascii).exists():
        raise Refused(Objection.NOT_THEIR_DOMAIN)
    found = Account.objects.filter(key=mailbox.key).first()
    if found is None:
        return
    if found.organisation_id is None:
        raise Refused(Objection.FREE_ACCOUNT)
    is_ours = found.organisation_id == organisation.pk
    raise Refused(Objection.HAS_ACCOUNT if is_ours else Objection.TAKEN)


def make(
    organisation: Organisation,
    mailbox: Mailbox,
    *,
    role: Role = Role.SENDER,
    display_name: str = "",
    language: str = "",
    is_functional: bool = False,
    by: By,
) -> Account:
    """A new account in one of the organisation's own domains; nobody can sign in to it until it is invited. Raises
    :class:`Refused`."""
    with transaction.atomic():
        _lock(organisation.pk)
        _object(rules.to_role(role_of(by), Subject(Role.SENDER, is_functional=is_functional), role))
        refuse_address(organisation, mailbox)
        account = Account.objects.create_user(
            str(mailbox),
            organisation=organisation,
            role=role.value,
            display_name=display_name,
            language=language,
            is_functional=is_functional,
        )
        audit.note(Act.ACCOUNT_ADDED, organisation, account.email, {"role": role.value, "is_functional": is_functional})
        return account


# --- changing ----------------------------------------------------------------------------------------------------


def describe(account: Account, *, display_name: str, language: str, by: By) -> None:
    """Another name or language. ``language`` empty: the organisation's. Raises :class:`Refused`."""
    with transaction.atomic():
        current = locked(account)
        _object(rules.to_managing(role_of(by), Role(current.role)))
        current.display_name, current.language = display_name, language
        current.save(update_fields=["display_name", "language"])
        details = {"display_name": current.display_name, "language": language}
        audit.note(Act.ACCOUNT_CHANGED, current.organisation, current.email, details)


def change_role(account: Account, role: Role, *, by: By) -> bool:
    """From the next click on. ``False``: it had that role. Raises :class:`Refused`."""
    with transaction.atomic():
        current = locked(account)
        _object(rules.to_role(role_of(by), subject(current, by), role))
        if current.role == role.value:
            return False
        details = {"from": current.role, "to": role.value}
        current.role = role.value
        current.save(update_fields=["role"])
        audit.note(Act.ROLE_CHANGED, current.organisation, current.email, details)
        return True


def suspend(account: Account, *, by: By, now: Instant) -> bool:
    """It is signed out everywhere, can't sign in, and nothing is accepted that is From its address; what was accepted
    is delivered. ``False``: it was suspended. Raises :class:`Refused`."""
    with transaction.atomic():
        current = locked(account)
        _object(rules.to_suspending(role_of(by), subject(current, by)))
        return _suspend(current, now=now)


def resume(account: Account, *, by: By) -> bool:
    """It can be used as before, with the same role. ``False``: it was not suspended. Raises :class:`Refused`."""
    with transaction.atomic():
        current = locked(account)
        _object(rules.to_managing(role_of(by), Role(current.role)))
        if current.is_active:
            return False
        current.is_active = True
        current.save(update_fields=["is_active"])
        audit.note(Act.ACCOUNT_RESUMED, current.organisation, current.email)
        return True


def take_factors_away(account: Account, *, by: By, now: Instant, password: str | None = None) -> None:
    """For who lost password, second factor and recovery codes: none of these opens anything any more, nor does a token
    that its holder made, and it is signed out everywhere. ``password``: a new one, to be handed over; else its holder
    needs an invitation. Raises :class:`Refused`."""
    with transaction.atomic():
        current = locked(account)
        _object(rules.to_resetting(role_of(by), subject(current, by)))
        _take_factors_away(current, now=now, password=password)


def begin_anew(account: Account, *, by: By, now: Instant) -> None:
    """The address is another person's now: as :func:`take_factors_away`, also where it is suspended. Raises
    :class:`Refused`."""
    with transaction.atomic():
        current = locked(account)
        _object(rules.to_managing(role_of(by), Role(current.role)))
        _take_factors_away(current, now=now)


def withdraw_invitation(account: Account, *, by: By, now: Instant) -> bool:
    """No link that was sent to it leads anywhere; the account stays, and nobody can sign in to it until it is invited
    again. ``False``: none was open. Raises :class:`Refused`."""
    with transaction.atomic():
        current = locked(account)
        _object(rules.to_managing(role_of(by), Role(current.role)))
        if proving.open_invitation(current, now) is None:
            return False
        proving.end_invitations(current, now=now)
        audit.note(Act.INVITATION_WITHDRAWN, current.organisation, current.email)
        return True


# --- functional mailboxes, and a leaver's ------------------------------------------------------------------------


def add_reader(mailbox: Account, reader: Account, *, by: By) -> None:
    """``reader`` reads and answers as the functional mailbox from now on. Raises :class:`Refused` for somebody's own
    mailbox, and :class:`zegel.accounts.mailboxes.NotAReader`."""
    with transaction.atomic():
        current = locked(mailbox)
        _object(rules.to_managing(role_of(by), Role(current.role)))
        _object(None if current.is_functional else Objection.PERSONAL)
        mailboxes.add_reader(current, reader)


def remove_reader(mailbox: Account, reader: Account, *, by: By) -> bool:
    """From the next click on. ``False``: it was none. Raises :class:`Refused`."""
    with transaction.atomic():
        current = locked(mailbox)
        _object(rules.to_managing(role_of(by), Role(current.role)))
        return mailboxes.remove_reader(current, reader)


def refuse_successor(leaver: Account, successor: Account, *, by: By) -> None:
    """Raises :class:`Refused`, unless :func:`pass_on` could be done now."""
    to = Successor(
        is_same=leaver.pk == successor.pk,
        is_ours=leaver.organisation_id == successor.organisation_id,
        is_active=successor.is_active,
        is_functional=successor.is_functional,
        is_read_by_others=successor.readers.exists(),
    )
    _object(rules.to_passing_on(role_of(by), subject(leaver, by), to))


def pass_on(leaver: Account, successor: Account, *, by: By, now: Instant) -> None:
    """The leaver is suspended, and the successor reads that mailbox from now on, and those that had been passed on to
    the leaver. Functional mailboxes lose the leaver as a reader. Raises :class:`Refused`."""
    with transaction.atomic():
        current = locked(leaver)
        heir = Account.objects.select_for_update().get(pk=successor.pk)
        refuse_successor(current, heir, by=by)
        inherited = list(current.mailboxes.filter(is_successor=True).select_related("mailbox"))
        for one in current.mailboxes.select_related("mailbox"):
            mailboxes.remove_reader(one.mailbox, current)
        for mailbox in (current, *(one.mailbox for one in inherited)):
            MailboxReader.objects.update_or_create(mailbox=mailbox, reader=heir, defaults={"is_successor": True})
            audit.note(Act.MAILBOX_PASSED_ON, current.organisation, mailbox.email, {"to": heir.email})
        _suspend(current, now=now)


# --- shared ------------------------------------------------------------------------------------------------------


def locked(account: Account) -> Account:
    """Inside a transaction: the account as it is now, and as it stays until the end. Its organisation is locked first:
    of two who take the last two owners' rights at once, one waits."""
    assert account.organisation_id is not None
    _lock(account.organisation_id)
    rows = Account.objects.select_for_update(of=("self",)).select_related("organisation")
    return rows.get(pk=account.pk, organisation=account.organisation_id)


def role_of(by: By) -> Role | None:
    """With which rights: those that they have now, not those that they came to the page with. Raises :class:`Refused`
    for who may not sign in any more."""
    if not isinstance(by, Account):
        return by
    role = Account.objects.filter(pk=by.pk, is_active=True).values_list("role", flat=True).first()
    if role is None:
        raise Refused(Objection.NOT_ALLOWED)
    return Role(role)


def subject(account: Account, by: By) -> Subject:
    """What the rules ask about an account."""
    about = Subject(
        Role(account.role),
        is_active=account.is_active,
        is_functional=account.is_functional,
        is_own=isinstance(by, Account) and by.pk == account.pk,
    )
    return replace(about, is_last_owner=is_last_owner(account))


def is_last_owner(account: Account) -> bool:
    """Without it the organisation has no owner who can sign in; or no owner at all, where none of them could."""
    if account.role != Role.OWNER.value or not account.is_active:
        return False
    owners = Account.objects.filter(organisation=account.organisation_id, role=Role.OWNER.value, is_active=True)
    others = set(owners.exclude(pk=account.pk).values_list("pk", flat=True))
    able = with_second_factor({*others, account.pk})
    return not (others & able if account.pk in able else others)


def _take_factors_away(current: Account, *, now: Instant, password: str | None = None) -> None:
    Authenticator.objects.filter(user=current).delete()
    current.set_password(password)
    current.save(update_fields=["password"])
    sessions.end_all(current)
    tokens.end_all(current, now=now)
    proving.end_invitations(current, now=now)
    for kind in _SECRETS:
        throttle.forget(kind, current.key)
    audit.note(Act.FACTOR_REMOVED, current.organisation, current.email, {"all": True, "password": True})


def _suspend(current: Account, *, now: Instant) -> bool:
    if not current.is_active:
        return False
    current.is_active = False
    current.save(update_fields=["is_active"])
    sessions.end_all(current)
    proving.end_invitations(current, now=now)
    audit.note(Act.ACCOUNT_SUSPENDED, current.organisation, current.email)
    return True


def _lock(organisation: int) -> None:
    Organisation.objects.select_for_update().only("pk").get(pk=organisation)


def _role(by: By) -> Role | None:
    return Role(by.role) if isinstance(by, Account) else by


def _object(why: Objection | None) -> None:
    if why is not None:
        raise Refused(why)
