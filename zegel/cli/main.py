"""The command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import click

from zegel import VERSION
from zegel.cli import (
    alarms,
    audit,
    backup,
    domains,
    erasing,
    explain,
    init,
    lists,
    manage,
    people,
    policies,
    prove,
    providers,
    readers,
    recipients,
    texting,
    tls_report,
    tokens,
    trace,
    webhooks,
)
from zegel.cli.base import config_option, ready, settings_of, tells_trouble
from zegel.cli.local import run_local, surroundings
from zegel.cli.supervise import Supervisor, require_free, tell_service_manager
from zegel.compose import process, state
from zegel.compose.metrics import count
from zegel.compose.process import ROLE_VARIABLE, Role
from zegel.compose.running import run_role
from zegel.edge.log import configure
from zegel.settings import Settings

ROLES = ("submission", "recorder", "inbound", "dispatch", "web", "certificates", "metrics")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="zegel")
def main() -> None:
    """Zegel, an encryption gateway for e-mail.

    Your mail server hands Zegel its outgoing mail over SMTP; Zegel delivers every message to every recipient in the
    safest way that this recipient can use, and can show what it did.

    Start here: `zegel local` runs everything on this machine to look at. `zegel init` sets the real thing up,
    `zegel run --config FILE` runs it, and `zegel doctor --config FILE` says whether all is well, and what to do if not.
    """


@main.command()
@config_option
@click.option("--role", type=click.Choice(ROLES), help="Run this role alone, in this process.")
@tells_trouble
def run(config: Path | None, role: str | None) -> None:
    """Run the gateway: submission server, dispatch, portal.

    Without --role all of them run under one supervisor, which starts a role again when it ends. Stops in order on
    SIGTERM and Ctrl-C.
    """
    if role is not None:
        settings = settings_of(config)
        os.environ[ROLE_VARIABLE] = role
        run_role(settings, cast(Role, role))
        return
    settings = settings_of(config)
    supervisor = supervisor_for(settings, config)
    supervise(supervisor)


def supervisor_for(settings: Settings, config: Path | None) -> Supervisor:
    """All roles of a configuration, checked and prepared, not started yet."""
    supervisor = Supervisor(settings, config)
    supervisor.take_folder()
    submission, portal = settings.submission, settings.portal
    require_free(
        [
            *(("submission.listen", one) for one in submission.listen),
            *(("submission.listen_implicit_tls", one) for one in submission.listen_implicit_tls),
            *(("inbound.listen", one) for one in settings.inbound.listen),
            ("portal.listen", portal.listen),
            *(("acme.listen", one) for one in settings.acme.listen if settings.acme.directory),
            *(("metrics.listen", one) for one in (settings.metrics.listen,) if one is not None),
        ]
    )
    configure(settings.log_level)
    process.start_django()
    state.prepare(settings)
    state.release_leases()
    if submission.has_recorder:
        supervisor.add("recorder")
    supervisor.add("submission", submission.processes)
    if settings.inbound.listen:
        supervisor.add("inbound")
    supervisor.add("dispatch", settings.delivery.processes)
    supervisor.add("web")
    if settings.acme.directory:
        supervisor.add("certificates")
    if settings.metrics.listen is not None:
        supervisor.add("metrics")
    count(settings, "supervisor")
    return supervisor


def supervise(supervisor: Supervisor) -> None:
    """Starts, watches until told to stop, and stops."""
    try:
        supervisor.start()
        tell_service_manager("READY=1")
        supervisor.watch()
    finally:
        tell_service_manager("STOPPING=1")
        supervisor.stop()


@main.command()
@click.option("--folder", type=click.Path(path_type=Path), default=Path("state"), show_default=True)
@click.option("--log", "shows_log", is_flag=True, help="Show the log on the screen; else it goes to a file.")
@click.option(
    "--move-ports",
    type=click.IntRange(0, 57_000),
    default=0,
    metavar="N",
    help="Add N to every port, where the usual ones are taken; counts at the first start in a folder.",
)
@tells_trouble
def local(folder: Path, *, shows_log: bool, move_ports: int) -> None:
    """Run everything on this machine, with a small DNS zone, a receiving mail server and an SMS outbox, to look at.

    Nothing leaves the machine. A second start goes on with the data of the first. Ctrl-C stops all of it.
    """
    run_local(folder, shows_log=shows_log, move_ports=move_ports)


@main.command()
@config_option
@tells_trouble
def migrate(config: Path | None) -> None:
    """Make folders, keys and database, or bring the database up to this version. `zegel run` does so by itself."""
    ready(config)
    click.echo("Ready.")


for command in (
    *init.COMMANDS,
    *manage.COMMANDS,
    *domains.COMMANDS,
    *policies.COMMANDS,
    *recipients.COMMANDS,
    *lists.COMMANDS,
    *tokens.COMMANDS,
    *providers.COMMANDS,
    *explain.COMMANDS,
    *trace.COMMANDS,
    *prove.COMMANDS,
    *alarms.COMMANDS,
    *webhooks.COMMANDS,
    *backup.COMMANDS,
    *audit.COMMANDS,
    *tls_report.COMMANDS,
    texting.sms_test,
    surroundings,
):
    main.add_command(command)
manage.account.add_command(readers.readers)
manage.organisation.add_command(erasing.organisation_erase)
manage.organisation.add_command(webhooks.alarms_to)
recipients.recipients.add_command(erasing.recipients_export)
recipients.recipients.add_command(erasing.recipients_erase)
for command in people.COMMANDS:
    manage.account.add_command(command)
