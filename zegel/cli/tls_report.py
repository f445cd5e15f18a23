"""What receiving servers' TLS was worth on one day, as reports that their domains may ask for (RFC 8460)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from zegel.cli.base import Trouble, config_option, ready, tells_trouble
from zegel.compose import clock
from zegel.core.mail.address import Domain, Mailbox, NotADomain, NotAMailbox
from zegel.core.smtp.tls_report import Reporter, as_json, report


@click.command("tls-report")
@click.option(
    "--day",
    type=click.DateTime(["%Y-%m-%d"]),
    required=True,
    metavar="YYYY-MM-DD",
    help="In UTC, 30 days back at most.",
)
@click.option("--domain", "written", metavar="DOMAIN", help="Of this recipients' domain alone.")
@click.option("--organisation-name", "organisation", metavar="NAME", help="Who reports; else the hostname.")
@click.option("--contact", metavar="ADDRESS", help="Who can be asked about it; else postmaster at the hostname.")
@config_option
@tells_trouble
def tls_report(
    day: datetime, written: str | None, organisation: str | None, contact: str | None, config: Path | None
) -> None:
    """Print the TLS reports of a day: one line of JSON (RFC 8460 §4.4) for each domain that mail went to.

    Nothing is sent, and nobody is asked whether a report is wanted. Without sessions on that day nothing is printed.
    """
    settings = ready(config)
    from zegel.journey.delivery.tls_results import counted_on

    today = clock.now().astimezone(UTC).date()
    if day.date() > today:
        raise Trouble("That day is still to come. Days are in UTC.")
    host = settings.hostname
    by = Reporter(organisation or host, _contact(contact) or f"postmaster@{host}", host)
    for domain, counted in counted_on(day.date(), _domain(written)).items():
        click.echo(as_json(report(domain, day.date(), counted, by=by)))
    if day.date() == today:
        click.echo("zegel: This day is not over: what is printed is not the whole of it.", err=True)


def _domain(written: str | None) -> Domain | None:
    try:
        return None if written is None else Domain.parse(written)
    except NotADomain as cause:
        raise Trouble("--domain is not a domain.") from cause


def _contact(written: str | None) -> str | None:
    try:
        return None if written is None else str(Mailbox.parse(written))
    except NotAMailbox as cause:
        raise Trouble("--contact is not an e-mail address.") from cause


COMMANDS: Final = (tls_report,)
