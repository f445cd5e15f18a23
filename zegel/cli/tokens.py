"""Tokens of the API, from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zegel.cli.base import Trouble, config_option, ready, tells_trouble
from zegel.cli.named import mailbox_named, organisation_named
from zegel.compose import clock

if TYPE_CHECKING:
    from zegel.accounts.models import Account, ApiToken

SCOPES = (  # accounts.tokens.Scope, which needs Django; a test compares
    "credentials:read",
    "credentials:write",
    "domains:read",
    "domains:write",
    "accounts:read",
    "accounts:write",
    "policies:read",
    "policies:write",
    "verification:read",
    "verification:write",
    "trace:read",
    "explain",
    "messages:send",
    "messages:read",
    "webhooks:read",
    "webhooks:write",
    "alarms:read",
    "alarms:write",
    "privacy:export",
    "privacy:erase",
    "scim",
)


@click.group()
def token() -> None:
    """Tokens of the API: what a program shows to use it."""


@token.command("add")
@click.argument("description")
@click.option("--organisation", "organisation_name", help="Whose program it is.")
@click.option("--account", "address", help="Instead: whose own messages it reads, with the scope messages:read.")
@click.option(
    "--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True, help="What for; again for each."
)
@click.option("--days", type=click.IntRange(1, 366), default=90, show_default=True, help="How long it is valid.")
@config_option
@tells_trouble
def token_add(
    description: str,
    organisation_name: str | None,
    address: str | None,
    scopes: tuple[str, ...],
    days: int,
    config: Path | None,
) -> None:
    """Make a token. It is shown once, now."""
    ready(config)
    from zegel.accounts import tokens

    if (organisation_name is None) == (address is None):
        raise Trouble("Say whose token it is: --organisation NAME, or --account ADDRESS")
    asked = {tokens.Scope(scope) for scope in scopes}
    allowed = tokens.OF_ORGANISATIONS if address is None else tokens.OF_ACCOUNTS
    if not asked <= allowed:
        names = " ".join(sorted(scope.value for scope in allowed))
        raise Trouble(f"This token can have the scopes: {names}")
    made = tokens.issue(
        organisation_named(organisation_name) if organisation_name is not None else _account(str(address)),
        description[:200],
        scopes=asked,
        life=timedelta(days=days),
        now=clock.now(),
    )
    click.echo(made.secret.reveal())
    click.echo(
        f"Valid until {made.token.expires_at:%Y-%m-%d %H:%M} UTC. Write it down now: it is not stored and can't be "
        f"shown again. To end it: zegel token disable {made.token.name}",
        err=True,
    )


@token.command("list")
@config_option
@tells_trouble
def token_list(config: Path | None) -> None:
    """List tokens, without what makes them usable."""
    ready(config)
    from zegel.accounts.models import ApiToken

    for one in ApiToken.objects.select_related("organisation", "account").order_by("id"):
        used = one.last_used_at.isoformat(timespec="minutes") if one.last_used_at else "never"
        click.echo(
            f"{one.name}  {_state(one)}  {' '.join(one.scopes)}  until {one.expires_at.isoformat(timespec='minutes')}  "
            f"last used {used}  {one.account or one.organisation}: {one.description}"
        )


@token.command("disable")
@click.argument("name")
@config_option
@tells_trouble
def token_disable(name: str, config: Path | None) -> None:
    """Disable a token: refused from now on."""
    ready(config)
    from zegel.accounts import tokens
    from zegel.accounts.models import ApiToken

    found = ApiToken.objects.filter(name=name).first()
    if found is None:
        raise Trouble(f"There is no token {name!r}. See: zegel token list")
    tokens.disable(found, now=clock.now())
    click.echo(f"Disabled {name}.")


def _account(address: str) -> Account:
    from zegel.accounts.models import Account

    found = Account.objects.filter(key=mailbox_named(address).key).first()
    if found is None:
        raise Trouble(f"There is no account {address!r}. See: zegel account list")
    return found


def _state(one: ApiToken) -> str:
    if one.disabled_at is not None:
        return "disabled"
    return "in force" if clock.now() < one.expires_at else "expired"


COMMANDS: Sequence[click.Command] = (token,)
