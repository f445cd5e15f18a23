"""Webhooks of an organisation, and who is mailed about its alarms, from the command line."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zegel.cli.base import Trouble, config_option, ready, tells_trouble
from zegel.cli.named import mailbox_named, organisation_named
from zegel.compose import clock
from zegel.core.policy.webhooks import CHOICE, EVENTS
from zegel.edge import keyring
from zegel.edge.wake import ring

if TYPE_CHECKING:
    from zegel.accounts.models import Webhook
    from zegel.accounts.webhooks import NewSecret

EVENT_NAMES = [event.value for event in CHOICE]


@click.group()
def webhooks() -> None:
    """Web addresses of programs that hear of milestones and alarms. See docs/webhooks.md."""


@webhooks.command("add")
@click.argument("url")
@click.option("--organisation", "organisation_name", required=True, help="Whose milestones and alarms.")
@click.option("--description", required=True, help="Which program it is.")
@click.option("--event", "events", type=click.Choice(EVENT_NAMES), multiple=True, help="Again for each; none: all.")
@config_option
@tells_trouble
def webhooks_add(
    url: str, organisation_name: str, description: str, events: tuple[str, ...], config: Path | None
) -> None:
    """Add a webhook. Its secret is shown once, now."""
    settings = ready(config)
    from zegel.accounts import webhooks as hooks

    wanted = hooks.Wanted(description[:200], url, frozenset(EVENTS[one] for one in events or EVENT_NAMES))
    sealing = keyring.sealing_key(settings.keys)
    try:
        made = hooks.add(organisation_named(organisation_name), wanted, sealing=sealing, now=clock.now())
    except hooks.NotAWebhook as cause:
        raise Trouble(f"{cause} Such as {hooks.EXAMPLE}") from None
    _show(made)


@webhooks.command("list")
@config_option
@tells_trouble
def webhooks_list(config: Path | None) -> None:
    """List webhooks, without their secrets."""
    ready(config)
    from zegel.accounts.models import Webhook
    from zegel.journey.custody import outbox

    for one in Webhook.objects.select_related("organisation").order_by("organisation__name", "created_at"):
        waits = outbox.waiting(one)
        click.echo(
            f"{one.pk}  {_state(one)}  {one.url}  {' '.join(one.events)}  waiting {waits}  "
            f"{one.organisation}: {one.description}"
        )


@webhooks.command("requests")
@click.argument("webhook", type=click.UUID)
@config_option
@tells_trouble
def webhooks_requests(webhook: uuid.UUID, config: Path | None) -> None:
    """List the last requests of a webhook, and how they ended; never what was said."""
    ready(config)
    from zegel.journey.custody import outbox

    for one in outbox.last_requests(_named(webhook)):
        at = one.at.isoformat(timespec="seconds")
        click.echo(f"{one.id}  {at}  {one.event}  {one.state}  tries {one.tries}  {one.outcome or '-'}")


@webhooks.command("test")
@click.argument("webhook", type=click.UUID)
@config_option
@tells_trouble
def webhooks_test(webhook: uuid.UUID, config: Path | None) -> None:
    """Send a test; the running gateway does so in a moment."""
    settings = ready(config)
    from django.db import transaction

    from zegel.journey.custody import outbox

    with transaction.atomic():
        identity = outbox.try_out(_named(webhook), now=clock.now())
    ring(settings.run)
    click.echo(f"A test with webhook-id {identity} is sent in a moment. See: zegel webhooks requests {webhook}")


@webhooks.command("renew")
@click.argument("webhook", type=click.UUID)
@config_option
@tells_trouble
def webhooks_renew(webhook: uuid.UUID, config: Path | None) -> None:
    """Make a second secret; requests are signed with both until the previous one is ended. It is shown once, now."""
    settings = ready(config)
    from zegel.accounts import webhooks as hooks

    try:
        made = hooks.renew(_named(webhook), sealing=keyring.sealing_key(settings.keys), now=clock.now())
    except hooks.StillRenewing:
        raise Trouble(f"Two secrets are valid already. First: zegel webhooks end-previous {webhook}") from None
    _show(made)


@webhooks.command("end-previous")
@click.argument("webhook", type=click.UUID)
@config_option
@tells_trouble
def webhooks_end_previous(webhook: uuid.UUID, config: Path | None) -> None:
    """End the previous secret of a webhook that was renewed."""
    ready(config)
    from django.db import transaction

    from zegel.accounts import webhooks as hooks

    with transaction.atomic():
        one = _named(webhook)
        if one.previous_secret is None:
            raise Trouble("There is no previous secret.")
        hooks.end_previous(one, now=clock.now())
    click.echo("Requests are signed with the new secret alone.")


@webhooks.command("remove")
@click.argument("webhook", type=click.UUID)
@config_option
@tells_trouble
def webhooks_remove(webhook: uuid.UUID, config: Path | None) -> None:
    """Remove a webhook: it is told nothing any more, nor of what waited."""
    ready(config)
    from zegel.accounts import webhooks as hooks

    one = _named(webhook)
    hooks.remove(one, now=clock.now())
    click.echo(f"Removed {one.url}.")


@click.command("alarms-to")
@click.argument("name")
@click.argument("addresses", nargs=-1)
@click.option("--administrators", is_flag=True, help="Owners and administrators again, as at the start.")
@click.option("--nobody", is_flag=True, help="Nobody; webhooks and `zegel alarms` still tell.")
@config_option
@tells_trouble
def alarms_to(
    name: str, addresses: tuple[str, ...], config: Path | None, *, administrators: bool, nobody: bool
) -> None:
    """Say who is mailed about alarms of an organisation."""
    ready(config)
    from django.db import transaction

    from zegel.accounts import webhooks as hooks

    if (bool(addresses), administrators, nobody).count(True) != 1:
        raise Trouble("Name addresses, or say --administrators or --nobody.")
    if len(addresses) > hooks.MOST_ADDRESSES:
        raise Trouble(f"{hooks.MOST_ADDRESSES} addresses at most: let the rest read a shared mailbox.")
    asked = None if administrators else [mailbox_named(one) for one in addresses]
    with transaction.atomic():
        hooks.set_alarm_addresses(organisation_named(name), asked, now=clock.now())
    click.echo("Stored.")


def _named(webhook: uuid.UUID) -> Webhook:
    from zegel.accounts.models import Webhook

    found = Webhook.objects.filter(pk=webhook).select_related("organisation").first()
    if found is None:
        raise Trouble(f"There is no webhook {webhook}. See: zegel webhooks list")
    return found


def _show(made: NewSecret) -> None:
    click.echo(made.secret.reveal())
    click.echo(
        f"The secret of {made.webhook.pk}, for {made.webhook.url}. Write it down now: it can't be shown again. To try "
        f"it: zegel webhooks test {made.webhook.pk}",
        err=True,
    )


def _state(one: Webhook) -> str:
    if one.is_gone:
        return "gone"
    return "enabled" if one.disabled_at is None else "disabled"


COMMANDS: Sequence[click.Command] = (webhooks,)
