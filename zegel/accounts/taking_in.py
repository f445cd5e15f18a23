"""A guest's free account becomes one of the organisation whose domain its address is in (D-9)."""

from __future__ import annotations

from allauth.mfa.models import Authenticator
from django.db import transaction

from zegel.accounts import sessions, tokens
from zegel.accounts.audit import note
from zegel.accounts.models import Account, Organisation, SendingDomain
from zegel.accounts.sign_in import has_second_factor
from zegel.core.clock import Instant
from zegel.core.policy.audit import Act
from zegel.core.policy.roles import Role


class StaysItsOwn(Exception):
    """One sentence: why the account can't be taken in."""


def refuse_what_is_not_theirs(account: Account, organisation: Organisation) -> None:
    """Raises :class:`StaysItsOwn`, unless it is a free account in a domain that is proven to be the organisation's."""
    domain = account.mailbox.domain
    if account.organisation_id is not None:
        raise StaysItsOwn(f"{account} has an account already.")
    if not SendingDomain.objects.filter(organisation=organisation, name=domain.ascii, in_place=True).exists():
        raise StaysItsOwn(
            f"{account} has a free account, which its holder made as a guest. It can be taken in once {domain} is a "
            f"sending domain of {organisation} with its records in place. See: zegel domain add, zegel domain check"
        )


def take_in(
    account: Account,
    organisation: Organisation,
    *,
    display_name: str,
    role: Role,
    password: str | None,
    now: Instant,
) -> None:
    """The account is the organisation's from now on; its sessions and its holder's tokens end. Raises
    :class:`StaysItsOwn`.

    One with a second factor keeps that and its password. One without was not finished, by whoever had the mailbox then:
    nothing of it stays, and ``password`` is the new one.
    """
    with transaction.atomic():
        locked = Account.objects.select_for_update().get(id=account.id)
        refuse_what_is_not_theirs(locked, organisation)
        if not has_second_factor(locked):
            Authenticator.objects.filter(user=locked).delete()
            locked.set_password(password)
            locked.created_at = now
        locked.organisation, locked.role = organisation, role.value
        locked.display_name = display_name or locked.display_name
        locked.save()
        sessions.end_all(locked)
        tokens.end_all(locked, now=now)
        note(Act.ACCOUNT_TAKEN_IN, organisation, locked.email, {"role": role.value})
