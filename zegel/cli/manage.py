"""Organisations, domains, accounts and credentials from the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zegel import compose
from zegel.cli.base import Trouble, config_option, ready, tells_trouble
from zegel.core.mail.address import Domain, Mailbox, NotADomain, NotAMailbox
from zegel.edge import keyring

if TYPE_CHECKING:
    from zegel.accounts.models import Organisation, SendingDomain
    from zegel.settings import Settings


@click.group()
def organisation() -> None:
    """Organisations: whom this gateway works for."""


@organisation.command("add")
@click.argument("name")
@click.option("--language", type=click.Choice(["nl", "en"]), default="nl", show_default=True)
@config_option
@tells_trouble
def organisation_add(name: str, language: str, config: Path | None) -> None:
    """Add an organisation."""
    ready(config)
    from zegel.accounts.models import Organisation

    if Organisation.objects.filter(name=name).exists():
        raise Trouble(f"There is an organisation {name!r} already.")
    Organisation.objects.create(name=name, language=language)
    click.echo(f"Added {name}. Next: zegel domain add DOMAIN --organisation {name!r}")


@click.group()
def domain() -> None:
    """Sending domains: what an organisation sends for, and the DNS records that allow it."""


@domain.command("add")
@click.argument("name")
@click.option("--organisation", "organisation_name", required=True)
@config_option
@tells_trouble
def domain_add(name: str, organisation_name: str, config: Path | None) -> None:
    """Add a sending domain and print the records to publish."""
    settings = ready(config)
    from zegel.accounts import domains
    from zegel.accounts.models import SendingDomain

    owner = _organisation(organisation_name)
    parsed = _domain(name)
    if SendingDomain.objects.filter(name=parsed.ascii).exists():
        raise Trouble(f"{parsed} is a sending domain already.")
    added = domains.add(owner, parsed, sealing=keyring.submission_keys(settings.keys).sealing)
    _print_records(added, settings)
    click.echo(f"\nPublish these records, then run: zegel domain check {parsed}")


@domain.command("check")
@click.argument("name")
@config_option
@tells_trouble
def domain_check(name: str, config: Path | None) -> None:
    """Look the records of a sending domain up, now; mail is accepted for it once they are in place."""
    settings = ready(config)
    from zegel.accounts.models import SendingDomain

    found = SendingDomain.objects.filter(name=_domain(name).ascii).first()
    if found is None:
        raise Trouble(f"{name} is not a sending domain. Add it with: zegel domain add {name}")
    if not check_domain(found, settings):
        raise click.exceptions.Exit(1)


def check_domain(found: SendingDomain, settings: Settings, *, quiet: bool = False) -> bool:
    """Checks, records and prints what was found; ``True`` when the domain may send."""
    from zegel.accounts import domains
    from zegel.edge.dns import DnsResolver

    wanted = domains.records(found, settings.hostname)
    findings = asyncio.run(domains.look(wanted, dns=DnsResolver(settings.resolver())))
    domains.conclude(found, findings, now=compose.now())
    if not quiet:
        for one in findings:
            state = "right" if one.is_right else "not found" if not one.found else "different"
            state = state if one.is_conclusive else "not to be known now: the name server gave no usable answer"
            click.echo(f"{one.record.kind:5} {one.record.name}: {state}")
            if not one.is_right:
                click.echo(f"      expected: {one.record.value}")
                for text in one.found:
                    click.echo(f"      found:    {text}")
        click.echo("In place: mail is accepted." if found.in_place else "Not in place: mail is refused.")
    return found.in_place


@click.group()
def account() -> None:
    """Accounts: who may send, and who administers."""


@account.command("add")
@click.argument("address")
@click.option("--organisation", "organisation_name", required=True)
@click.option("--name", "display_name", default="", help="As shown to recipients.")
@click.option("--administrator", is_flag=True, help="May administer the organisation in the console.")
@click.option("--password", help="For signing in; asked for when it is left out. '-' gives none: sending only.")
@config_option
@tells_trouble
def account_add(
    address: str,
    organisation_name: str,
    display_name: str,
    password: str | None,
    config: Path | None,
    *,
    administrator: bool,
) -> None:
    """Add an account."""
    ready(config)
    from django.contrib.auth.password_validation import validate_password
    from django.core.exceptions import ValidationError

    from zegel.accounts.models import Account

    try:
        mailbox = Mailbox.parse(address)
    except NotAMailbox as cause:
        raise Trouble(f"{address!r} is not an e-mail address: {cause}. Write it like naam@voorbeeld.nl.") from cause
    owner = _organisation(organisation_name)
    if Account.objects.filter(key=mailbox.key).exists():
        raise Trouble(f"{mailbox} has an account already.")
    if password is None:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    if password != "-":  # noqa: S105
        try:
            validate_password(password)
        except ValidationError as cause:
            raise Trouble(f"This password is not accepted: {' '.join(cause.messages)}") from cause
    Account.objects.create_user(
        str(mailbox),
        None if password == "-" else password,  # noqa: S105
        organisation=owner,
        display_name=display_name,
        is_administrator=administrator,
    )
    click.echo(f"Added {mailbox}.")


@click.group()
def credentials() -> None:
    """SMTP credentials: what a mail server signs in with."""


@credentials.command("add")
@click.argument("description")
@click.option("--organisation", "organisation_name", required=True)
@config_option
@tells_trouble
def credentials_add(description: str, organisation_name: str, config: Path | None) -> None:
    """Make credentials. The password is shown once, now."""
    ready(config)
    from zegel.accounts import credentials as smtp

    made = smtp.issue(_organisation(organisation_name), description)
    click.echo(f"username: {made.credential.username}\npassword: {made.secret.reveal()}")
    click.echo("Write the password down now: it is not stored and can't be shown again.", err=True)


@credentials.command("list")
@config_option
@tells_trouble
def credentials_list(config: Path | None) -> None:
    """List credentials."""
    ready(config)
    from zegel.accounts.models import SmtpCredential

    for one in SmtpCredential.objects.select_related("organisation").order_by("id"):
        state = "disabled" if one.disabled_at else "enabled"
        used = one.last_used_at.isoformat(timespec="minutes") if one.last_used_at else "never"
        click.echo(f"{one.username}  {state}  last used {used}  {one.organisation}: {one.description}")


@credentials.command("disable")
@click.argument("username")
@config_option
@tells_trouble
def credentials_disable(username: str, config: Path | None) -> None:
    """Disable credentials: refused from now on, also in open sessions. What was accepted is still delivered."""
    ready(config)
    from zegel.accounts import credentials as smtp
    from zegel.accounts.models import SmtpCredential

    found = SmtpCredential.objects.filter(username=username).first()
    if found is None:
        raise Trouble(f"There are no credentials {username!r}. See: zegel credentials list")
    smtp.disable(found)
    click.echo(f"Disabled {username}.")


@click.group()
def policy() -> None:
    """What an organisation allows."""


@policy.command("direct-delivery")
@click.argument("name")
@click.option("--organisation", "organisation_name", required=True)
@click.option("--remove", is_flag=True, help="Take the domain off the list.")
@config_option
@tells_trouble
def direct_delivery(name: str, organisation_name: str, config: Path | None, *, remove: bool) -> None:
    """Deliver to a recipient domain readable, over at least TLS 1.2 and a valid certificate."""
    ready(config)
    from zegel.accounts.models import DirectDeliveryDomain

    owner, parsed = _organisation(organisation_name), _domain(name)
    if remove:
        DirectDeliveryDomain.objects.filter(organisation=owner, domain=parsed.ascii).delete()
        click.echo(f"{parsed} is off the list.")
    else:
        DirectDeliveryDomain.objects.get_or_create(organisation=owner, domain=parsed.ascii)
        click.echo(f"{parsed} is on the list.")


def _organisation(name: str) -> Organisation:
    from zegel.accounts.models import Organisation

    found = Organisation.objects.filter(name=name).first()
    if found is None:
        known = ", ".join(Organisation.objects.values_list("name", flat=True)) or "none"
        raise Trouble(
            f"There is no organisation {name!r} (known: {known}). Add it with: zegel organisation add {name!r}"
        )
    return found


def _domain(name: str) -> Domain:
    try:
        return Domain.parse(name)
    except NotADomain as cause:
        raise Trouble(f"{name!r} is not a domain name: {cause}. Write it like voorbeeld.nl.") from cause


def _print_records(added: SendingDomain, settings: Settings) -> None:
    from zegel.accounts import domains

    for record in domains.records(added, settings.hostname):
        value = f"{record.value}." if record.kind == "CNAME" else f'"{record.value}"'
        click.echo(f"{record.name}. {record.kind} {value}")


COMMANDS: Sequence[click.Command] = (organisation, domain, account, credentials, policy)
