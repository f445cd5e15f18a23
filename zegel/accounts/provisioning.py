"""Accounts as a directory keeps them (ADR 43): it has no more rights than an administrator, and never an owner's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.db import transaction
from django.db.models import Q, QuerySet

from zegel.accounts import mailboxes, people
from zegel.accounts.models import Account, MailboxReader, Organisation, Provisioned
from zegel.core.clock import Instant
from zegel.core.mail.address import Mailbox
from zegel.core.policy.people import Objection
from zegel.core.policy.roles import Role

BY: Final = Role.ADMINISTRATOR
MOST_READERS: Final = 200


class Unfit(ValueError):
    """What was asked can't be: half a sentence that says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a directory says of one account."""

    address: Mailbox
    external_id: str = ""
    given_name: str = ""
    family_name: str = ""
    display_name: str = ""
    language: str = ""
    is_active: bool = True
    role: Role = Role.SENDER
    is_mailbox: bool = False
    readers: frozenset[int] = frozenset()  # ids of accounts


def listed(organisation: Organisation) -> QuerySet[Account]:
    """All that the directory may see, oldest first: not what it deleted."""
    shown = Account.objects.filter(organisation=organisation).exclude(provisioned__is_hidden=True)
    return shown.select_related("provisioned", "organisation").order_by("pk")


def with_address(found: QuerySet[Account], address: Mailbox) -> QuerySet[Account]:
    """That one; none, or one."""
    return found.filter(key=address.key)


def with_external_id(found: QuerySet[Account], external_id: str) -> QuerySet[Account]:
    """Those."""
    return found.filter(provisioned__external_id=external_id) if external_id else found.none()


def entry_of(account: Account) -> Entry:
    """As it is now."""
    more = _more(account)
    readers = MailboxReader.objects.filter(mailbox=account, is_successor=False) if account.is_functional else ()
    return Entry(
        address=account.mailbox,
        external_id=more.external_id,
        given_name=more.given_name,
        family_name=more.family_name,
        display_name=account.display_name,
        language=account.language,
        is_active=account.is_active,
        role=Role(account.role),
        is_mailbox=account.is_functional,
        readers=frozenset(one.reader_id for one in readers),
    )


def changed_at(account: Account) -> Instant:
    """When the directory changed it last; else, when it was made."""
    more = Provisioned.objects.filter(account=account).first()
    return more.changed_at if more is not None else account.created_at


def create(organisation: Organisation, entry: Entry, *, now: Instant) -> Account:
    """A new account; or one that the directory deleted, as it wants it now. Unless the directory says that it is the
    same person as then, nobody signs in as before: the address may have another holder. Raises
    :class:`zegel.accounts.people.Refused` and :class:`Unfit`."""
    with transaction.atomic():
        hidden = Q(organisation=organisation, key=entry.address.key, provisioned__is_hidden=True)
        account = Account.objects.filter(hidden).first()
        if account is None:
            account = people.make(
                organisation,
                entry.address,
                role=entry.role,
                display_name=entry.display_name,
                language=entry.language,
                is_functional=entry.is_mailbox,
                by=BY,
            )
        elif account.is_functional is not entry.is_mailbox:
            raise Unfit("it was another kind of account before")
        elif not entry.external_id or entry.external_id != _more(account).external_id:
            people.begin_anew(account, by=BY, now=now)
        change(account, entry, now=now)
        return Account.objects.get(pk=account.pk)


def change(account: Account, entry: Entry, *, now: Instant) -> None:
    """What differs is changed, by the functions that pages use. Raises :class:`zegel.accounts.people.Refused` and
    :class:`Unfit`."""
    with transaction.atomic():
        current = people.locked(account)
        before = entry_of(current)
        if entry.address.key != before.address.key or entry.is_mailbox is not before.is_mailbox:
            raise Unfit("the address and the kind of an account stay what they are")
        if (entry.display_name, entry.language) != (before.display_name, before.language):
            people.describe(current, display_name=entry.display_name, language=entry.language, by=BY)
        if entry.role is not before.role:
            people.change_role(current, entry.role, by=BY)
        if entry.is_active is not before.is_active:
            if entry.is_active:
                people.resume(current, by=BY)
            else:
                people.suspend(current, by=BY, now=now)
        _read_by(current, before.readers, entry.readers)
        Provisioned.objects.update_or_create(
            account=current,
            defaults={
                "external_id": entry.external_id,
                "given_name": entry.given_name,
                "family_name": entry.family_name,
                "is_hidden": False,
                "changed_at": now,
            },
        )


def remove(account: Account, *, now: Instant) -> None:
    """It is suspended, and the directory sees it no more. Its messages stay: erasing them is not a directory's to do.
    Raises :class:`zegel.accounts.people.Refused`."""
    with transaction.atomic():
        current = people.locked(account)
        if Role(current.role) is Role.OWNER:
            raise people.Refused(Objection.MORE_THAN_OWN)
        people.suspend(current, by=BY, now=now)
        Provisioned.objects.update_or_create(account=current, defaults={"is_hidden": True, "changed_at": now})


def addresses_of(numbers: Sequence[int]) -> dict[int, str]:
    """For showing who reads."""
    return dict(Account.objects.filter(pk__in=numbers).values_list("pk", "email"))


def _more(account: Account) -> Provisioned:
    found = Provisioned.objects.filter(account=account).first()
    return found or Provisioned(account=account)


def _read_by(mailbox: Account, before: frozenset[int], wanted: frozenset[int]) -> None:
    if wanted == before:
        return
    if not mailbox.is_functional or len(wanted) > MOST_READERS:
        raise Unfit("only a functional mailbox has readers, and at most 200")
    ours = Account.objects.filter(organisation=mailbox.organisation_id, pk__in=wanted | before)
    found = {one.pk: one for one in ours}
    if wanted - found.keys():
        raise Unfit("a reader is no account of this organisation")
    try:
        for number in wanted - before:
            people.add_reader(mailbox, found[number], by=BY)
    except mailboxes.NotAReader as cause:
        raise Unfit(str(cause)) from None
    for number in before - wanted:
        people.remove_reader(mailbox, found[number], by=BY)
