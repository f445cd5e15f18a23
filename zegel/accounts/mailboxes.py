"""Functional mailboxes: accounts that several people of one organisation read and answer as."""

from __future__ import annotations

from collections.abc import Collection

from django.db import transaction
from django.db.models import Q

from zegel.accounts import sign_in
from zegel.accounts.audit import note
from zegel.accounts.models import Account, MailboxReader
from zegel.core.policy.audit import Act


class NotAReader(ValueError):
    """That account can't read that mailbox; the text says why."""


def read_by(account: Account) -> list[Account]:
    """The mailboxes that this account reads now, by address. Asked at every request: what was taken away is gone at
    once, and so is a mailbox that left the organisation, or a reader who did. One that was suspended is gone as well,
    unless it was passed on."""
    if account.organisation_id is None or not account.is_active:
        return []
    mine = MailboxReader.objects.filter(reader=account).filter(Q(mailbox__is_active=True) | Q(is_successor=True))
    found = Account.objects.filter(id__in=mine.values("mailbox"), organisation=account.organisation_id)
    return list(found.select_related("organisation").order_by("email"))


def readers_of(mailbox: Account) -> list[Account]:
    """Who reads it, by address."""
    found = Account.objects.filter(mailboxes__mailbox=mailbox, organisation=mailbox.organisation_id, is_active=True)
    return list(found.order_by("email"))


def add_reader(mailbox: Account, reader: Account) -> None:
    """From now on. Raises :class:`NotAReader`; twice is once."""
    if mailbox.organisation_id is None or mailbox.organisation_id != reader.organisation_id:
        raise NotAReader(f"{mailbox} and {reader} are not of the same organisation")
    if mailbox == reader:
        raise NotAReader(f"{mailbox} reads its own messages already")
    if MailboxReader.objects.filter(mailbox=reader).exists() or MailboxReader.objects.filter(reader=mailbox).exists():
        raise NotAReader("a mailbox that others read does not read another one")
    with transaction.atomic():
        _, is_new = MailboxReader.objects.get_or_create(mailbox=mailbox, reader=reader)
        if is_new:
            note(Act.READER_ADDED, mailbox.organisation, mailbox.email, {"reader": reader.email})


def remove_reader(mailbox: Account, reader: Account) -> bool:
    """From the next request on. ``False``: it was none."""
    with transaction.atomic():
        was_one = bool(MailboxReader.objects.filter(mailbox=mailbox, reader=reader).delete()[0])
        if was_one:
            note(Act.READER_REMOVED, mailbox.organisation, mailbox.email, {"reader": reader.email})
    return was_one


def secured(accounts: Collection[int]) -> set[int]:
    """Those of ``accounts`` (ids) that take a second factor to read as: their own, or that of each who reads them."""
    own = sign_in.secured(accounts)
    others = MailboxReader.objects.filter(mailbox__in=set(accounts) - own, reader__is_active=True)
    pairs = [
        (mailbox, reader)
        for mailbox, reader, one, other in others.values_list(
            "mailbox", "reader", "mailbox__organisation", "reader__organisation"
        )
        if one is not None and one == other
    ]
    able = sign_in.secured({reader for _, reader in pairs}) if pairs else set()
    return own | {mailbox for mailbox, reader in pairs if reader in able}
