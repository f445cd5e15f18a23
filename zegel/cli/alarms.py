"""What stands that somebody has to do something about."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zegel.cli.base import config_option, ready, tells_trouble
from zegel.compose import clock
from zegel.core.policy.alarms import Alarm, Severity

if TYPE_CHECKING:
    from zegel.settings import Settings

_COLOURS = {Severity.CRITICAL: "red", Severity.WARNING: "yellow"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@config_option
@tells_trouble
def alarms(config: Path | None, *, as_json: bool) -> None:
    """List the alarms that stand, of the gateway and of every organisation. Exit code 1 when there is one.

    The console shows them too, under Overview. What each means: docs/alarms.md.
    """
    settings = ready(config)
    standing = list(_standing(settings))
    for whose, alarm in standing:
        click.echo(_as_json(whose, alarm) if as_json else _as_text(whose, alarm))
    if not standing and not as_json:
        click.echo("No alarm stands.")
    raise click.exceptions.Exit(int(bool(standing)))


def _standing(settings: Settings) -> Iterator[tuple[str, Alarm]]:
    from zegel.accounts.models import Organisation
    from zegel.journey.watch import standing_of, standing_of_gateway

    now = clock.now()
    for alarm in standing_of_gateway(settings, now=now):
        yield "", alarm
    for organisation in Organisation.objects.order_by("name", "id"):
        for alarm in standing_of(organisation, now=now):
            yield organisation.name, alarm


def _as_text(whose: str, alarm: Alarm) -> str:
    severity = alarm.condition.severity
    sign = click.style(f"{severity.value:8}", fg=_COLOURS[severity])
    about = f"{whose}: " if whose else ""
    return f"{sign}  {about}{alarm.what.en}\n          {alarm.condition.remedy.en}"


def _as_json(whose: str, alarm: Alarm) -> str:
    told = {
        "alarm": alarm.condition.value,
        "severity": alarm.condition.severity.value,
        "organisation": whose or None,
        "about": alarm.about,
        "number": alarm.number,
        "says": alarm.what.en,
        "remedy": alarm.condition.remedy.en,
    }
    return json.dumps(told, ensure_ascii=False)


COMMANDS: Sequence[click.Command] = (alarms,)
