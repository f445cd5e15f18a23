"""What is known of a recipient, printed or erased; and the end of an organisation."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from zegel.cli.base import Trouble, config_option, ready, tells_trouble
from zegel.cli.named import mailbox_named, organisation_named
from zegel.compose import clock
from zegel.edge.blobs import Blobs
from zegel.edge.wake import ring

_whose = click.option("--organisation", "organisation_name", required=True)
_yes = click.option("--yes", is_flag=True, help="Don't ask whether it is meant.")


@click.command("export")
@click.argument("address")
@_whose
@config_option
@tells_trouble
def recipients_export(address: str, organisation_name: str, config: Path | None) -> None:
    """Print all that an organisation knows of a recipient, as JSON: no content, no number and no code whole."""
    ready(config)
    from zegel.accounts.audit import note
    from zegel.core.policy.audit import Act
    from zegel.journey.known import known_of

    owner, mailbox = organisation_named(organisation_name), mailbox_named(address)
    known = known_of(owner, mailbox)
    note(Act.RECIPIENT_EXPORTED, owner, str(mailbox), {"messages": len(known["messages"])}, now=clock.now())
    click.echo(json.dumps(known, ensure_ascii=False, indent=2))


@click.command("erase")
@click.argument("address")
@_whose
@_yes
@config_option
@tells_trouble
def recipients_erase(address: str, organisation_name: str, config: Path | None, *, yes: bool) -> None:
    """Erase what an organisation knows of a recipient: numbers, codes, devices, its name in traces, its ways in."""
    settings = ready(config)
    from django.db import transaction

    from zegel.journey.custody import retention
    from zegel.journey.custody.forgetting import forget_recipient

    owner, mailbox = organisation_named(organisation_name), mailbox_named(address)
    if not yes:
        click.confirm(
            f"{mailbox} loses all messages of {owner} that it did not get readable, for good. Who is still to get one "
            "won't, and its sender is told. Go on?",
            abort=True,
        )
    with transaction.atomic():
        done = forget_recipient(owner, mailbox, now=clock.now())
    retention.empty_log()
    ring(settings.run)
    click.echo(
        f"Erased: {done.messages} messages, {done.numbers_and_codes} numbers and codes, {done.devices} devices. "
        "The audit log keeps what it has until its term (docs/erasure.md)."
    )


@click.command("erase")
@click.argument("name")
@click.option("--report", type=click.Path(path_type=Path), help="Write how much there was to this file, as JSON.")
@click.option("--yes", "confirmed", metavar="NAME", help="The name once more, in the place of the question.")
@config_option
@tells_trouble
def organisation_erase(name: str, report: Path | None, confirmed: str | None, config: Path | None) -> None:
    """Erase an organisation: nothing is accepted any more, its keys are destroyed, then all that it had.

    Mail that is still on its way is not delivered. What was interrupted goes on when the command is given again.
    """
    settings = ready(config)
    from zegel.journey.custody import forgetting, retention

    found = organisation_named(name)
    if confirmed is None:
        click.echo(f"{found}: {_size(found.pk)}. All of it will be gone, here and from every backup that is restored.")
        confirmed = click.prompt("Write its name once more to go on", default="", show_default=False)
    if confirmed != found.name:
        raise Trouble("That is another name. Nothing was erased.")
    if report is not None and report.exists():
        raise Trouble(f"{report} is there already. Name a file that isn't.")
    blobs = Blobs(settings.blobs)
    done = forgetting.erase(found, now=clock.now, remove=blobs.remove, tell=_progress)
    is_empty = retention.empty_log()
    told = {"organisation": name, "at": clock.now().isoformat(timespec="seconds"), **asdict(done)}
    if report is not None:
        report.write_text(json.dumps(told, ensure_ascii=False, indent=2) + "\n", "utf-8")
    ring(settings.run)
    click.echo(
        f"Erased {name}: {done.messages} messages to {done.recipients} recipients, {done.numbers_and_codes} numbers "
        f"and codes, {done.accounts} accounts, {done.domains} domains. Its audit log had {done.audit_entries} entries, "
        f"the last with the hash {done.audit_head or 'none'}."
    )
    if not is_empty:
        click.echo("The write-ahead log is still read by somebody: restart the gateway to empty it.", err=True)


def _size(organisation: int) -> str:
    from zegel.accounts.models import Account
    from zegel.journey.custody.models import Submission

    messages = Submission.objects.filter(organisation=organisation).count()
    return f"{messages} messages, {Account.objects.filter(organisation=organisation).count()} accounts"


def _progress(done: object) -> None:
    messages = getattr(done, "messages", 0)
    if messages % 1000 < 50 and sys.stderr.isatty():
        click.echo(f"{messages} messages", err=True)
