"""What all commands share: the configuration, Django, and errors told in one sentence."""

from __future__ import annotations

import errno
import functools
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import click
from django.db import DatabaseError

from zegel.cli.supervise import CONFIGURATION
from zegel.compose import process, state
from zegel.compose.database import unusable_database
from zegel.compose.process import NotReady
from zegel.core.policy.audit import Actor, ActorKind
from zegel.edge.journal import JournalTrouble
from zegel.edge.keyring import KeyTrouble
from zegel.edge.log import configure
from zegel.edge.tls import CertificateTrouble
from zegel.settings import BadSettings, Settings, load, load_from_environment

P = ParamSpec("P")
R = TypeVar("R")

config_option = click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path),
    envvar="ZEGEL_CONFIG",
    help="The configuration file (TOML). Also read from ZEGEL_CONFIG.",
)


class Trouble(click.ClickException):
    """One sentence for the operator; the exit code says that the configuration, not the command, is at fault."""

    exit_code = CONFIGURATION

    def show(self, file: object = None) -> None:
        if self.message:
            click.echo(f"zegel: {self.message}", err=True)


def tells_trouble(command: Callable[P, R]) -> Callable[P, R]:
    """Known troubles become one sentence instead of a stack trace."""

    @functools.wraps(command)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (BadSettings, KeyTrouble, JournalTrouble, CertificateTrouble, NotReady) as cause:
            raise Trouble(str(cause)) from cause
        except DatabaseError as cause:
            raise Trouble(unusable_database(cause)) from cause
        except OSError as cause:
            if cause.errno == errno.EPIPE:  # whoever read what we print went away; click knows what to do
                raise
            where = f"{cause.filename}: " if cause.filename else ""
            raise Trouble(f"{where}{cause.strerror or cause}. {_remedy(cause)}") from cause

    return told


def _remedy(cause: OSError) -> str:
    match cause.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "Free some space on that disk, and start again."
        case errno.EADDRINUSE | errno.EADDRNOTAVAIL:
            return "Stop what listens there, or change the setting."
        case _:
            return "Give it to the user that Zegel runs as, or name another."


def settings_of(config: Path | None) -> Settings:
    """The settings of a configuration file; this process then uses that file."""
    settings = load(config) if config is not None else load_from_environment()
    process.use(config)
    return settings


def ready(config: Path | None) -> Settings:
    """As :func:`settings_of`, with Django started and folders, keys and schema in place."""
    settings = settings_of(config)
    configure(settings.log_level)  # on standard error, beside what is printed for people
    process.start_django()
    state.prepare(settings)
    act_as_user(settings.log_level)
    return settings


def act_as_user(log_level: str) -> None:
    """What this process notes was done by the user of this machine that it runs as; no variable says otherwise. The
    log, in which each entry's hash stands, goes to standard error."""
    from zegel.accounts import audit

    configure(log_level)
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container users may have no name
        name = str(os.getuid())
    audit.act_as(Actor(ActorKind.COMMAND_LINE, name))
