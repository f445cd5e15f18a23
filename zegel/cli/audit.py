"""The audit log from the command line: exported, verified without a gateway, and how long it is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import click

from zegel.cli.base import Trouble, config_option, ready, tells_trouble
from zegel.cli.named import organisation_named
from zegel.compose import clock
from zegel.core.policy.audit import (
    LONGEST_TERM,
    SHORTEST_TERM,
    NotATerm,
    Sound,
    Unsound,
    parse_term,
    understood,
    verify,
)

ALWAYS = "always"


@click.group()
def audit() -> None:
    """The audit log: who did what to what, and when."""


@audit.command("export")
@click.option("--organisation", "organisation_name", help="Whose log.")
@click.option("--gateway", is_flag=True, help="The gateway's own: backups, restores.")
@config_option
@tells_trouble
def audit_export(organisation_name: str | None, config: Path | None, *, gateway: bool) -> None:
    """Print a whole log, a line of JSON for each entry, oldest first. That it was exported stands in it."""
    if gateway == (organisation_name is not None):
        raise Trouble("Name a log: --organisation NAME, or --gateway for that of the gateway itself.")
    ready(config)
    from zegel.accounts import audit as log

    for line in log.export(None if organisation_name is None else organisation_named(organisation_name)):
        click.echo(line)


@audit.command("verify")
@click.argument("file", type=click.File("r", encoding="utf-8", errors="replace"))
@click.option("--known", metavar="HASH", help="Of an entry of an earlier export, or of the gateway's log.")
def audit_verify(file: TextIO, known: str | None) -> None:
    """Say whether an exported log is what was written. Needs neither configuration nor database; FILE may be -."""
    match verify(_lines(file), known=known.strip().lower() if known is not None else None):
        case Sound(entries=0):
            click.echo("There is no entry in this file.", err=True)
            raise click.exceptions.Exit(1)
        case Sound(is_whole=False, last=last):
            click.echo(
                f"The file is cut off: entry {last} is not the one that says that the log was exported.", err=True
            )
            raise click.exceptions.Exit(1)
        case Sound() as sound:
            click.echo(_sentence(sound))
        case Unsound(line=line, why=why):
            click.echo(f"Line {line}: {why}.", err=True)
            raise click.exceptions.Exit(1)


def _lines(file: TextIO) -> Iterator[object]:
    for line in file:
        yield understood(line)


def _sentence(sound: Sound) -> str:
    which = f"entry {sound.first}" if sound.entries == 1 else f"entries {sound.first} to {sound.last}"
    before = "" if sound.first == 1 else ", those before were removed when their term was over"
    return f"Sound: {which}{before}; keep this hash of the last one for the next time: {sound.head}"


@audit.command("term")
@click.option("--organisation", "organisation_name", required=True)
@click.option("--days", metavar=f"DAYS|{ALWAYS}", help=f"From {SHORTEST_TERM} to {LONGEST_TERM}, or {ALWAYS}.")
@click.option("--yes", "is_meant", is_flag=True, help="Entries may go.")
@config_option
@tells_trouble
def audit_term(organisation_name: str, days: str | None, config: Path | None, *, is_meant: bool) -> None:
    """Show or set how long entries are kept. Removed ones can't be brought back; the log says that they were."""
    ready(config)
    from zegel.accounts import audit as log

    owner = organisation_named(organisation_name)
    if days is not None:
        wanted = days_or_always(days)
        if not is_meant and (count := log.over(owner, wanted, now=clock.now())):
            raise Trouble(f"{count} entries would be removed. Export the log first, then say --yes.")
        log.keep(owner, wanted)
    click.echo(f"kept: {f'{owner.audit_days} days' if owner.audit_days else ALWAYS}")


def days_or_always(text: str) -> int | None:
    """A term, as it is written on the command line."""
    try:
        return None if text == ALWAYS else parse_term(text)
    except NotATerm as cause:
        raise Trouble(f"--days: {text[:50]!r} can't be used: {cause}, or {ALWAYS}.") from None


COMMANDS: Sequence[click.Command] = (audit,)
