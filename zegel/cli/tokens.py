"""Tokens of the API, from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zegel import compose
from zegel.cli.base import Trouble, config_option, ready, tells_trouble
from zegel.cli.named import organisation_named

if TYPE_CHECKING:
    from zegel.accounts.models import ApiToken

SCOPES = ("explain",)  # accounts.tokens.Scope, which needs Django; a test compares


@click.group()
def token() -> None:
    """Tokens of the API: what a program shows to use it."""


@token.command("add")
@click.argument("description")
@click.option("--organisation", "organisation_name", required=True)
@click.option(
    "--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True, help="What for; again for each."
)
@click.option("--days", type=click.IntRange(1, 366), default=90, show_default=True, help="How long it is valid.")
@config_option
@tells_trouble
def token_add(
    description: str, organisation_name: str, scopes: tuple[str, ...], days: int, config: Path | None
) -> None:
    """Make a token. It is shown once, now."""
    ready(config)
    from zegel.accounts import tokens

    made = tokens.issue(
        organisation_named(organisation_name),
        description[:200],
        scopes={tokens.Scope(scope) for scope in scopes},
        life=timedelta(days=days),
        now=compose.now(),
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

    for one in ApiToken.objects.select_related("organisation").order_by("id"):
        used = one.last_used_at.isoformat(timespec="minutes") if one.last_used_at else "never"
        click.echo(
            f"{one.name}  {_state(one)}  {' '.join(one.scopes)}  until {one.expires_at.isoformat(timespec='minutes')}  "
            f"last used {used}  {one.organisation}: {one.description}"
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
    tokens.disable(found, now=compose.now())
    click.echo(f"Disabled {name}.")


def _state(one: ApiToken) -> str:
    if one.disabled_at is not None:
        return "disabled"
    return "in force" if compose.now() < one.expires_at else "expired"


COMMANDS: Sequence[click.Command] = (token,)
