"""Sending domains from the command line: added, looked up, listed, removed; their DKIM keys, renewed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from zegel.cli.base import Trouble, config_option, ready, tells_trouble
from zegel.cli.named import domain_named, organisation_named
from zegel.compose import clock
from zegel.core.policy.sending_domain import PATIENCE, PREVIOUS_STAYS, State, safe_to_end
from zegel.edge import keyring

if TYPE_CHECKING:
    from zegel.accounts.domains import Finding
    from zegel.accounts.models import SendingDomain
    from zegel.settings import Settings

WITHIN: Final = 30.0  # seconds for all records together
_SAID: Final = {
    State.RIGHT: "right",
    State.DIFFERENT: "different",
    State.ABSENT: "not found",
    State.UNKNOWN: "not to be known now: the name server gave no usable answer",
}
_organisation_option = click.option(
    "--organisation", "organisation_name", help="Whose, where more than one claims the domain."
)


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

    owner = organisation_named(organisation_name)
    parsed = domain_named(name)
    try:
        added = domains.add(owner, parsed, sealing=keyring.submission_keys(settings.keys).sealing, now=clock.now())
    except domains.NotAdded as cause:
        raise Trouble(str(cause)) from cause
    print_records(added, settings)
    click.echo(f"\nPublish these records. They are looked for every hour; to look now: zegel domain check {parsed}")


@domain.command("list")
@config_option
@tells_trouble
def domain_list(config: Path | None) -> None:
    """List sending domains and how they stand."""
    ready(config)
    from zegel.accounts.models import SendingDomain

    found = SendingDomain.objects.select_related("organisation").prefetch_related("dkim_pairs")
    for one in found.order_by("name", "organisation__name"):
        checked = f"{one.checked_at:%Y-%m-%d %H:%M}" if one.checked_at else "never"
        click.echo(f"{one.name}  {standing(one)}  checked {checked}  {one.organisation}")
        for pair in one.dkim_pairs.all():
            if pair.stage == pair.Stage.NEXT:
                click.echo(f"    new DKIM keys wait for the record of {pair.selector}")
            else:
                click.echo(f"    previous DKIM keys {pair.selector}: safe to end from {_moment(safe_to_end(pair.at))}")


def standing(one: SendingDomain) -> str:
    """In a few words."""
    if one.in_place and one.missing_since is not None:
        return f"in place, records missing: refused from {_moment(one.missing_since + PATIENCE)}"
    if one.in_place:
        return "in place"
    if one.is_held_elsewhere:
        return "not in place: another organisation has it"
    return "refused" if one.proved_at is not None else "not in place yet"


@domain.command("check")
@click.argument("name")
@_organisation_option
@config_option
@tells_trouble
def domain_check(name: str, organisation_name: str | None, config: Path | None) -> None:
    """Look the records of a sending domain up, now; mail is accepted for it once they are in place."""
    settings = ready(config)
    if not check_domain(_named(name, organisation_name), settings):
        raise click.exceptions.Exit(1)


@domain.command("remove")
@click.argument("name")
@_organisation_option
@click.option("--yes", is_flag=True, help="Don't ask.")
@config_option
@tells_trouble
def domain_remove(name: str, organisation_name: str | None, config: Path | None, *, yes: bool) -> None:
    """Remove a sending domain and its DKIM keys. Its mail is refused from then on; its accounts stay."""
    ready(config)
    from zegel.accounts import domains

    found = _named(name, organisation_name)
    if not yes:
        click.confirm(
            f"Mail of {found} is refused from now on, its accounts can't send any more, and its DKIM keys are "
            "destroyed. Remove it?",
            abort=True,
        )
    try:
        domains.remove(found)
    except domains.LastOne as cause:
        raise Trouble(
            f"{found} is the only domain that the gateway can write from for {found.organisation}: codes and reports "
            "come from there. Put another one in place first."
        ) from cause
    click.echo(f"Removed {name}. Its records can be taken out of the DNS.")


@domain.command("rotate-dkim")
@click.argument("name")
@_organisation_option
@config_option
@tells_trouble
def domain_rotate_dkim(name: str, organisation_name: str | None, config: Path | None) -> None:
    """Make new DKIM keys and print their records. Mail is signed with them once those are seen."""
    settings = ready(config)
    from zegel.accounts import domains

    found = _named(name, organisation_name)
    try:
        domains.rotate_dkim(found, sealing=keyring.submission_keys(settings.keys).sealing, now=clock.now())
    except domains.StillRotating as cause:
        raise Trouble(
            f"Keys of {found} are being renewed already. See: zegel domain list; "
            f"then: zegel domain end-previous-dkim {found}"
        ) from cause
    for record in domains.records(found, settings.hostname):
        if record.purpose.startswith("next-"):
            click.echo(f'{record.name}. {record.kind} "{record.value}"')
    click.echo(
        "\nPublish these records beside those of today. Mail is signed with the new keys from the check that finds the "
        f"first of them; to look now: zegel domain check {found}"
    )


@domain.command("withdraw-dkim")
@click.argument("name")
@_organisation_option
@config_option
@tells_trouble
def domain_withdraw_dkim(name: str, organisation_name: str | None, config: Path | None) -> None:
    """Destroy the new DKIM keys that wait for their records. Mail is signed as before."""
    ready(config)
    from zegel.accounts import domains

    found = _named(name, organisation_name)
    try:
        selector = domains.withdraw_next_dkim(found)
    except domains.NothingToWithdraw as cause:
        raise Trouble(
            f"{found} has no new keys that wait: none were made, or mail is signed with them already. "
            "See: zegel domain list"
        ) from cause
    click.echo(
        f"Withdrawn. The records of {selector} and {selector}-ed25519 can be taken out of the DNS, if they are there."
    )


@domain.command("end-previous-dkim")
@click.argument("name")
@_organisation_option
@click.option("--early", is_flag=True, help="Also while mail that was signed with them may be on its way.")
@config_option
@tells_trouble
def domain_end_previous_dkim(name: str, organisation_name: str | None, config: Path | None, *, early: bool) -> None:
    """Destroy the DKIM keys that were in use before the rotation."""
    ready(config)
    from zegel.accounts import domains

    found = _named(name, organisation_name)
    try:
        selector = domains.end_previous_dkim(found, now=clock.now(), may_be_early=early)
    except domains.NothingToEnd as cause:
        raise Trouble(f"{found} has no previous keys. Renew them first: zegel domain rotate-dkim {found}") from cause
    except domains.TooEarly as cause:
        days = PREVIOUS_STAYS.days
        raise Trouble(
            f"Mail that was signed with them may still be on its way: other servers keep it for days. It is safe from "
            f"{_moment(cause.safe_at)}, {days} days after they were last used. To end them now all the same: --early"
        ) from cause
    click.echo(f"Ended. The records of {selector} and {selector}-ed25519 can be taken out of the DNS.")


def _named(name: str, organisation_name: str | None) -> SendingDomain:
    from zegel.accounts.models import SendingDomain

    found = SendingDomain.objects.filter(name=domain_named(name).ascii).select_related("organisation")
    if organisation_name is not None:
        found = found.filter(organisation=organisation_named(organisation_name))
    ours = list(found.order_by("pk"))
    if not ours:
        raise Trouble(f"{name} is not a sending domain. Add it with: zegel domain add {name}")
    if len(ours) > 1:
        whose = ", ".join(repr(one.organisation.name) for one in ours)
        raise Trouble(f"{name} is claimed by {whose}. Say which with --organisation.")
    return ours[0]


def check_domain(found: SendingDomain, settings: Settings, *, quiet: bool = False) -> bool:
    """Checks, records and prints what was found; ``True`` when the domain may send."""
    from zegel.accounts import domains
    from zegel.edge.dns import DnsResolver

    domains.complete(found, sealing=keyring.submission_keys(settings.keys).sealing)
    began = clock.now()
    wanted = domains.all_records(found, settings.hostname, now=began)

    async def look() -> tuple[domains.Finding, ...]:
        return await domains.look(wanted, dns=DnsResolver(settings.resolver()), within=WITHIN)

    findings = asyncio.run(look())
    domains.conclude(found, findings, now=clock.now(), looked_at=began)
    if not quiet:
        for one in findings:
            _print(one)
        if found.is_held_elsewhere:
            click.echo("All is right, but another organisation on this gateway has this domain.")
        click.echo("In place: mail is accepted." if found.in_place else "Not in place: mail is refused.")
    return found.in_place


def _print(one: Finding) -> None:
    aside = "" if one.record.is_needed else f" ({one.record.weight.value})"
    click.echo(f"{one.record.kind:5} {one.record.name}: {_SAID[one.state]}{aside}")
    if one.is_right:
        return
    if one.reason is not None:
        click.echo(f"      {one.reason.en}")
    click.echo(f"      {'for instance' if one.record.is_example else 'expected'}: {one.record.value}")
    for text in one.found:
        click.echo(f"      found:    {text}")


def print_records(added: SendingDomain, settings: Settings) -> None:
    """What its owner publishes, as a zone file has it."""
    from zegel.accounts import domains

    for record in domains.records(added, settings.hostname):
        value = f"{record.value}." if record.kind == "CNAME" else f'"{record.value}"'
        if not record.is_needed:
            click.echo("\nOptional, for a second DKIM signature (Ed25519):")
        click.echo(f"{record.name}. {record.kind} {value}")


def _moment(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M} UTC"


COMMANDS: Sequence[click.Command] = (domain,)
