"""Who reads a functional mailbox, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from zegel.cli.base import Trouble, config_option, ready, tells_trouble
from zegel.cli.named import mailbox_named

if TYPE_CHECKING:
    from zegel.accounts.models import Account


@click.group()
def readers() -> None:
    """Functional mailboxes: who reads and answers as an account such as info@example.org."""


@readers.command("list")
@click.argument("mailbox")
@config_option
@tells_trouble
def readers_list(mailbox: str, config: Path | None) -> None:
    """List who reads a mailbox."""
    ready(config)
    from zegel.accounts import mailboxes
    from zegel.accounts.sign_in import with_second_factor

    found = mailboxes.readers_of(_account(mailbox))
    able = with_second_factor({one.id for one in found})
    for one in found:
        click.echo(f"{one}{'' if one.id in able else '  (no second factor yet)'}")
    if not found:
        click.echo("Nobody but its own account.")


@readers.command("add")
@click.argument("mailbox")
@click.argument("reader")
@config_option
@tells_trouble
def readers_add(mailbox: str, reader: str, config: Path | None) -> None:
    """Let READER read and answer as MAILBOX. Both are accounts of the same organisation."""
    ready(config)
    from zegel.accounts import mailboxes

    shared, added = _account(mailbox), _account(reader)
    try:
        mailboxes.add_reader(shared, added)
    except mailboxes.NotAReader as cause:
        raise Trouble(f"{cause}.") from cause
    click.echo(f"{added} reads {shared} from now on.")


@readers.command("remove")
@click.argument("mailbox")
@click.argument("reader")
@config_option
@tells_trouble
def readers_remove(mailbox: str, reader: str, config: Path | None) -> None:
    """READER no longer reads MAILBOX, from the next click on."""
    ready(config)
    from zegel.accounts import mailboxes

    shared, removed = _account(mailbox), _account(reader)
    if not mailboxes.remove_reader(shared, removed):
        raise Trouble(f"{removed} does not read {shared}. See: zegel account readers list {shared}")
    click.echo(f"{removed} no longer reads {shared}.")


def _account(address: str) -> Account:
    from zegel.accounts.models import Account

    found = Account.objects.filter(key=mailbox_named(address).key).first()
    if found is None:
        raise Trouble(f"{address} has no account. Add it with: zegel account add {address} --organisation NAME")
    return found
