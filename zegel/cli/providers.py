"""Where an organisation's people sign in, from the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zegel.cli.base import Trouble, config_option, ready, tells_trouble
from zegel.cli.named import domain_named, organisation_named
from zegel.compose import clock
from zegel.core.policy.identity import Kind, NotAProvider
from zegel.core.secret import Secret

if TYPE_CHECKING:
    from zegel.accounts.models import IdentityProvider


@click.group()
def provider() -> None:
    """Sign-in services of organisations: OpenID Connect and SAML."""


@provider.command("add")
@click.argument("name")
@click.option("--organisation", "organisation_name", required=True)
@click.option("--kind", type=click.Choice([one.value for one in Kind]), default=Kind.OIDC.value, show_default=True)
@click.option("--issuer", required=True, help="URL of the issuer; for SAML the URL of the metadata, or @FILE with it.")
@click.option(
    "--domain", "domains", multiple=True, required=True, help="Whose addresses it answers for; again for each."
)
@click.option("--client-id", default="")
@click.option("--secret", help="The client's secret; - reads it from the standard input.")
@click.option("--required", is_flag=True, help="People of these domains must sign in there. Owners need not.")
@click.option("--makes-accounts", is_flag=True, help="Who signs in there gets an account here.")
@click.option("--factor", "contexts", multiple=True, help="An amr, acr or AuthnContextClassRef that means two factors.")
@config_option
@tells_trouble
def provider_add(
    name: str,
    organisation_name: str,
    kind: str,
    issuer: str,
    domains: tuple[str, ...],
    client_id: str,
    secret: str | None,
    required: bool,
    makes_accounts: bool,
    contexts: tuple[str, ...],
    config: Path | None,
) -> None:
    """Add a sign-in service. It is asked what it is, now."""
    ready(config)
    from zegel.accounts import providers

    wanted = providers.Wanted(
        kind=Kind(kind),
        name=name[:100],
        issuer=_text_of(issuer),
        domains=tuple(domain_named(one) for one in domains),
        client_id=client_id,
        secret=_secret(secret),
        is_required=required,
        makes_accounts=makes_accounts,
        factor_contexts=contexts,
    )
    try:
        made = providers.add(organisation_named(organisation_name), wanted, now=clock.now())
    except NotAProvider as cause:
        raise Trouble(str(cause)) from None
    click.echo(str(made.pk))
    click.echo("To be registered there:", err=True)
    for what, address in _addresses(made):
        click.echo(f"  {what}: {address}", err=True)


@provider.command("list")
@config_option
@tells_trouble
def provider_list(config: Path | None) -> None:
    """List sign-in services, without secrets."""
    ready(config)
    from zegel.accounts.models import IdentityProvider

    for one in IdentityProvider.objects.select_related("organisation").order_by("created_at"):
        used = one.used_at.isoformat(timespec="minutes") if one.used_at else "never"
        click.echo(
            f"{one.pk}  {one.kind}  {'required' if one.is_required else 'beside passwords'}  "
            f"{' '.join(one.domains)}  last used {used}  {one.organisation}: {one.name} ({one.issuer})"
        )
        for what, address in _addresses(one):
            click.echo(f"    {what}: {address}")


@provider.command("remove")
@click.argument("number")
@click.option("--yes", is_flag=True, help="Don't ask whether it is meant.")
@config_option
@tells_trouble
def provider_remove(number: str, yes: bool, config: Path | None) -> None:
    """Remove a sign-in service: nobody signs in by it any more, and who did is signed out."""
    ready(config)
    from zegel.accounts import providers

    one = _numbered(number)
    if not yes:
        click.confirm(f"Remove {one.name} of {one.organisation}? Who signed in by it is signed out.", abort=True)
    known = providers.remove(one)
    click.echo(f"Removed {one.name}. {known} accounts signed in by it.")


def _numbered(number: str) -> IdentityProvider:
    import uuid

    from zegel.accounts.models import IdentityProvider

    try:
        found = IdentityProvider.objects.select_related("organisation").filter(pk=uuid.UUID(number)).first()
    except ValueError:
        found = None
    if found is None:
        raise Trouble(f"There is no sign-in service {number!r}. See: zegel provider list")
    return found


def _addresses(one: IdentityProvider) -> list[tuple[str, str]]:
    from zegel.accounts import oidc

    match Kind(one.kind):
        case Kind.OIDC:
            return [("redirect URI", oidc.callback_url(one))]
        case Kind.SAML:
            from zegel.accounts import saml

            return [("entity ID and metadata", saml.entity_id(one)), ("ACS", saml.answer_url(one))]


def _text_of(issuer: str) -> str:
    if not issuer.startswith("@"):
        return issuer
    try:
        return Path(issuer[1:]).read_text("utf-8")
    except UnicodeError:
        raise Trouble(f"{issuer[1:]} is no text.") from None


def _secret(given: str | None) -> Secret[str] | None:
    """A command line is seen by others; the standard input isn't."""
    if given is None:
        return None
    return Secret(sys.stdin.readline().rstrip("\n") if given == "-" else given)


COMMANDS: Sequence[click.Command] = (provider,)
